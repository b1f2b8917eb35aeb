# SPDX-License-Identifier: MIT
"""An x86-64 host with type1 VFIO gives its NVMe controllers to bare-metal guests."""

import hashlib
import re

import pytest

import laboratory
from conftest import teller
from zvlib import disk, hosts

# Only to end a host that hangs.
LIMIT = 300


def test_a_bare_metal_guest_drives_the_nvme_controller_of_the_host(x86, tmp_path, say):
    image = tmp_path / "disk"
    disk.make(image, 16 << 20, 21)
    before = image.read_bytes()
    status, said = hosts.perform(x86, str(tmp_path), """
guest() { zvisor run --kernel /guests/$1 --memory 64M --device vfio,$2; }

! guest hello host=$ZVISOR_FUNCTION || exit 1
vfio_bind $ZVISOR_FUNCTION
ls /dev/vfio/[0-9]*
guest zpci-disk host=$ZVISOR_FUNCTION
guest zpci-neighbours host=$ZVISOR_FUNCTION
guest zpci-describe sysfsdev=/sys/bus/pci/devices/$ZVISOR_FUNCTION
# The kernel has so many mappings for each container.
echo 100 >/sys/module/vfio_iommu_type1/parameters/dma_entry_limit
zvisor run --kernel /guests/zpci-limit --memory 64M --device vfio-pci,host=$ZVISOR_FUNCTION,iommufd=off
""", LIMIT, say, disk=str(image))
    assert status == 0
    assert not re.search(r"^not ok", said, re.M)
    # One line says what to do about a function that is not bound.
    refused = [line for line in said.splitlines() if line.startswith("zvisor: ")]
    assert len(refused) == 1 and "vfio-pci" in refused[0], refused
    assert re.search(r"^# disk: zvisor-host, 32768 blocks of 512 bytes$", said, re.M)
    assert re.search(r"^1\.\.13$", said, re.M)
    # Pages came and went beside others that the controller stored into.
    assert re.search(r"^1\.\.6$", said, re.M)
    # A guest that wants more mappings than there are is told so, and loses none.
    assert re.search(r"^1\.\.7$", said, re.M)
    # The page that the guest took away was gone from the host's IOMMU, too.
    assert re.search(r"DMAR: .*DMA Write.*Request device \[00:04\.0\]", said)
    assert re.search(r"^# function vendor=1b36 device=10 ", said, re.M)
    assert disk.complaints(said, before, image.read_bytes()) == []


# --- what a host with more to give away says; laboratory.py ---------------------------------

@pytest.fixture(scope="module")
def lab(x86, tmp_path_factory, request):
    return laboratory.Laboratory(x86, str(tmp_path_factory.mktemp("lab")), teller(request.config), 2 * LIMIT)


def group(said):
    return re.search(r"^host: group (\d+)$", said, re.M).group(1)


def refusal(said):
    """The one line that zvisor ended with, without the name of the option."""
    lines = re.findall(r"^zvisor: --device vfio: (.*)$", said, re.M)
    assert len(lines) == 1 and re.search("^host: status 2$", said, re.M), said
    return lines[0]


def passed(said, count=1):
    """Programs came to their end, and every check passed."""
    assert not re.search(r"^not ok|^Bail out|^host: in vain", said, re.M), said
    assert len(re.findall(r"^1\.\.\d+$", said, re.M)) == count, said
    assert len(re.findall(r"^host: status 0$", said, re.M)) == count, said


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def holds(lab, said, address, serial):
    """The host's own driver finds what the guest wrote, and what was there before."""
    offset, data = laboratory.written(said)[serial]
    assert offset == 1024 * 4096 and len(data) == 8 * 4096
    assert f"host: {address} holds {sha256(data)}  -\n" in said
    assert f"host: {address} begins {sha256(lab.before[serial][:4096])}  -\n" in said


def test_an_address_that_no_device_has(lab):
    lines = re.findall(r"^zvisor: --device vfio: (.*)$", lab.section("no-such-device"), re.M)
    assert lines == [
        "host=1e:00.0: there is no such device (lspci -D lists those that there are)",
        "sysfsdev=/nonsense: there is no such device (lspci -D lists those that there are)",
        "host=nonsense: wants DOMAIN:BUS:SLOT.FUNCTION, hexadecimal, as lspci -D has it",
    ]


def test_a_device_that_the_iommu_does_not_translate(lab):
    assert refusal(lab.section("no-iommu")) == (
        "host=41:00.0: the host has no IOMMU for it: switch it on in the firmware (VT-d, AMD-Vi), and boot the host's "
        "kernel with intel_iommu=on on Intel's")


def test_a_device_that_is_not_bound_is_refused_with_the_commands_that_bind_it(lab):
    bind = ("modprobe vfio-pci; echo vfio-pci > /sys/bus/pci/devices/{0}/driver_override; {1}"
            "echo {0} > /sys/bus/pci/drivers_probe")
    unbind = "echo {0} > /sys/bus/pci/devices/{0}/driver/unbind; "
    assert refusal(lab.section("no-driver")) == (
        "host=0000:00:04.0: it is bound to no driver instead of vfio-pci; bind it, as root: "
        + bind.format("0000:00:04.0", ""))
    assert refusal(lab.section("other-driver")) == (
        "host=0000:00:07.0: it is bound to nvme instead of vfio-pci; bind it, as root: "
        + bind.format("0000:00:07.0", unbind.format("0000:00:07.0")))


def test_a_group_of_which_the_host_has_a_part_is_refused_with_the_devices_that_it_has(lab):
    said = lab.section("group")
    assert refusal(said) == (
        f"host=0000:00:07.0: the devices of IOMMU group {group(said)} can only be passed through together, and drivers "
        "of the host still have 0000:00:07.1 (nvme): bind these to vfio-pci, too, or unbind them")
    passed(lab.section("whole-group"))


def test_a_device_in_use_is_refused_with_the_way_to_find_by_whom(lab):
    for name, address in (("in-use", "0000:00:04.0"), ("group-twice", "0000:00:07.1")):
        said = lab.section(name)
        assert refusal(said) == (
            f"host={address}: it is in use, or another function of its IOMMU group is (fuser -v "
            f"/dev/vfio/{group(said)} says by which program)")


def test_a_kernel_that_lacks_an_interface(lab):
    assert refusal(lab.section("no-type1")) == (
        "host=0000:00:04.0: the kernel's VFIO has no type 1 container: as root, modprobe vfio_iommu_type1")
    assert refusal(lab.section("no-iommufd")) == (
        "host=0000:00:04.0: iommufd=on: the kernel has no /dev/iommu, or no node below /dev/vfio/devices for it "
        "(Linux 6.6 with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV has); leave it away")


def test_a_person_without_permission_is_told_how_to_get_it(lab):
    said = lab.section("no-permission")
    assert refusal(said) == (f"host=0000:00:04.0: no permission for /dev/vfio/{group(said)}: run as root, or, as root: "
                             f"chown 1000 /dev/vfio/{group(said)}")


def test_the_limit_of_locked_memory_is_told_with_the_value_that_it_must_have(lab):
    line = ("host={0}: the limit of locked memory is {1} KiB, and the guest's memory has to be locked for each of its "
            "functions: it must be {2} at least (ulimit -l {2}, or memlock in /etc/security/limits.conf, or "
            "LimitMEMLOCK= of the service)")
    assert refusal(lab.section("limit")) == line.format("0000:00:04.0", 64, 65536)
    assert refusal(lab.section("limit-of-two")) == line.format("0000:01:00.0", 65536, 131072)


def test_two_functions_in_one_guest_of_a_user_within_the_limit(lab):
    said = lab.section("two")
    passed(said)
    for serial, content in lab.before.items():
        assert f"# {serial} seed {int.from_bytes(content[:8], 'big'):x}\n" in said
    assert laboratory.written(said).keys() == lab.before.keys()


def test_direct_mapping_of_functions_of_the_host(lab):
    passed(lab.section("direct"))


def test_a_function_is_reset_when_the_guest_disables_it_and_when_it_begins_anew(lab):
    said = lab.section("re-ipl")
    assert len(re.findall("^# re-IPL$", said, re.M)) == 1
    passed(said)


def test_a_host_that_wants_a_device_back_gets_it_from_a_guest_that_uses_it(lab):
    said = lab.section("wanted-by-host")
    passed(said)
    assert "host: still open" not in said
    assert "the others go on" in said
    holds(lab, said, laboratory.FIRST, "zvisor-host")


def test_the_monitor_asks_the_guest_for_a_device_that_it_uses(lab):
    said = lab.section("wanted-by-monitor")
    passed(said)
    assert '{"return": {}}' in said
    holds(lab, said, laboratory.SECOND, "zvisor-second")


def test_a_device_is_removed_while_the_guest_uses_it(lab):
    said = lab.section("removed")
    passed(said)
    # The device was gone when the monitor answered.
    assert re.search(r'DEVICE_DELETED.*"device": "a"(?s:.*)^host: removed$', said, re.M)
    assert f"host: {laboratory.FIRST} begins {sha256(lab.before['zvisor-host'][:4096])}  -\n" in said


def test_an_error_that_the_host_reports_is_an_event_and_the_guest_recovers(lab):
    said = lab.section("failed")
    passed(said)
    assert re.findall(r"^zvisor: vfio\d+: the host reports an error of the device$", said, re.M) == \
        ["zvisor: vfio1: the host reports an error of the device"]


def test_a_host_can_use_its_devices_when_zvisor_was_killed(lab):
    said = lab.section("killed")
    assert not re.search("^host: in vain", said, re.M), said
    for address, serial in ((laboratory.FIRST, "zvisor-host"), (laboratory.SECOND, "zvisor-second")):
        assert f"host: {address} begins {sha256(lab.before[serial][:4096])}  -\n" in said


def test_a_function_is_reset_before_its_guest_gets_it_and_after_it_had_it(lab):
    said = lab.section("running")
    passed(said, 2)
    # No bus master, and off; then on by the host's hand, and each guest's first check is that it is off.
    assert int(re.search("^host: command ([0-9a-f]+)$", said, re.M).group(1), 16) & 4 == 0
    assert [int(value, 16) & 1 for value in re.findall("^host: configuration (0x[0-9A-F]+)$", said, re.M)] == [0, 1]


def test_the_disks_hold_what_the_guests_wrote_last_and_all_else_as_it_was(lab):
    assert lab.status == 0
    last = laboratory.written(lab.said)
    for serial, content in lab.before.items():
        offset, data = last[serial]
        expected = content[:offset] + data + content[offset + len(data):]
        if serial == "zvisor-host":
            # The mark of the program that re-IPLs.
            at = offset + len(data)
            expected = expected[:at] + (0x0123456789abcdef).to_bytes(8, "big") + bytes(4088) + expected[at + 4096:]
        assert lab.after[serial] == expected
