# SPDX-License-Identifier: MIT
"""A newer kernel does without I/O address translation where it may; what is on the disks is the same."""

import re

from conftest import BOOT_LIMIT, finish
from disklayout import after_writers
from zvlib import qmp

MIB = 1 << 20

PRELUDE = """
modprobe nvme || exit 1

# The folder of a disk's PCI function.
function_of() { name=${1##*/}; readlink -f /sys/block/$name/device/device; }
group_type() { cat $(function_of $1)/iommu_group/type; }
"""


def content(path):
    with open(path, "rb") as file:
        return file.read()


def refreshes(machine, index):
    """How many RPCIT the trace has for the function in a slot."""
    return len(re.findall(rf"zpci_rpcit: fh=8[0-9a-f]{{3}}{index:04x} ", machine.errors))


def test_functions_without_and_with_translation_side_by_side(boot, newer_guest, make_disk, disktool):
    disks = {name: make_disk(name, 32 * MIB) for name in ("direct", "tables")}
    before = {name: content(path) for name, path in disks.items()}
    machine = finish(boot(PRELUDE + """
        direct=$(disk direct) && tables=$(disk tables) || exit 1
        say direct has $(group_type $direct)
        say tables has $(group_type $tables)
        disktool writers $direct 4 100 & first=$!
        disktool writers $tables 4 100 & second=$!
        wait $first && wait $second
        """, other_guest=newer_guest, files=disktool, cpus=2, memory="3G", append="quiet iommu.passthrough=1",
        devices=[f"nvme,file={disks['direct']},serial=direct",
                 f"nvme,file={disks['tables']},serial=tables,relaxed-translation=off"],
        more=["--trace", "zpci_rpcit"]), 600)
    assert "zvisor-guest: direct has identity\n" in machine.console
    assert re.search("^zvisor-guest: tables has DMA", machine.console, re.M)
    for name, path in disks.items():
        assert content(path) == after_writers(before[name], 4, 100), f"disk {name} differs"
    assert refreshes(machine, 0) == 0
    assert refreshes(machine, 1) > 0


def test_an_older_machine_version_translates(boot, newer_guest, make_disk, disktool):
    path = make_disk("old", 16 * MIB)
    before = content(path)
    machine = finish(boot(PRELUDE + """
        old=$(disk old) || exit 1
        say old has $(group_type $old)
        disktool writers $old 3 60
        """, other_guest=newer_guest, files=disktool, append="quiet iommu.passthrough=1",
        devices=[f"nvme,file={path},serial=old"],
        more=["--machine", "zvisor-0.9", "--trace", "zpci_rpcit"]), 600)
    assert re.search("^zvisor-guest: old has DMA", machine.console, re.M)
    assert content(path) == after_writers(before, 3, 60)
    assert refreshes(machine, 0) > 0


def test_a_guest_changes_from_one_to_the_other_and_back(boot, newer_guest, make_disk, disktool):
    """To identity by removing the device and finding it again: Linux forgets the offset with the driver."""
    path = make_disk("both", 16 * MIB)
    wanted = content(path)
    machine = finish(boot(PRELUDE + """
        both=$(disk both) && folder=$(function_of $both) && name=${folder##*/} || exit 1
        say first $(group_type $both)
        disktool writers $both 4 40 || exit 1
        echo $name >/sys/bus/pci/drivers/nvme/unbind
        echo DMA >$folder/iommu_group/type || exit 1
        echo $name >/sys/bus/pci/drivers/nvme/bind
        both=$(disk both) || exit 1
        say then $(group_type $both)
        disktool writers $both 3 40 || exit 1
        echo 1 >$folder/remove
        echo 1 >/sys/bus/pci/rescan
        both=$(disk both) || exit 1
        say last $(group_type $both)
        disktool writers $both 5 40 || exit 1
        """, other_guest=newer_guest, files=disktool, append="quiet iommu.passthrough=1",
        devices=[f"nvme,file={path},serial=both"], more=["--trace", "zpci_rpcit"]), 600)
    said = re.findall("^zvisor-guest: (?:first|then|last) (.*)$", machine.console, re.M)
    assert [kind.split("-")[0] for kind in said] == ["identity", "DMA", "identity"]
    for writers in (4, 3, 5):
        wanted = after_writers(wanted, writers, 40)
    assert content(path) == wanted
    assert refreshes(machine, 0) > 0


def test_a_failed_transfer_without_translation_is_recovered_from(boot, newer_guest, make_disk, disktool, folder):
    path = make_disk("bad", 16 * MIB)
    before = content(path)
    socket = qmp.socket_path(folder)
    machine = boot(PRELUDE + """
        bad=$(disk bad) || exit 1
        say ready; read line
        disktool writers $bad 4 100 || exit 1
        say still $(group_type $bad)
        dmesg | grep -e zpci -e nvme
        """, other_guest=newer_guest, files=disktool, cpus=2, append="quiet iommu.passthrough=1",
        devices=[f"nvme,id=bad,file={path},serial=bad"],
        more=["--qmp", f"unix:{socket}", "--trace", "zpci_rpcit", "--trace", "zpci_error"])
    with qmp.Client(socket) as client:
        machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
        client.command("x-zpci-fail-translation", id="bad", count=1000, code=4)
        machine.send("\n")
        finish(machine, 600)
    assert "zvisor-guest: still identity\n" in machine.console
    assert "The device is ready to resume operations" in machine.console
    assert len(re.findall("zpci_error: .* pec=0004 ", machine.errors)) == 1
    assert content(path) == after_writers(before, 4, 100)
    assert refreshes(machine, 0) == 0
