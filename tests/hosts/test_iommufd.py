# SPDX-License-Identifier: MIT
"""An x86-64 host with iommufd gives its NVMe controller to a bare-metal guest.

The second test tells what mappings cost there; no figure fails it.
"""

import os
import re
import statistics

from zvlib import disk, host_kernel, hosts, run

# Only to end a host that hangs.
LIMIT = 900


def test_a_bare_metal_guest_drives_the_nvme_controller_of_the_host_by_iommufd(iommufd, tmp_path, say):
    image = tmp_path / "disk"
    disk.make(image, 16 << 20, 22)
    before = image.read_bytes()
    status, said = hosts.perform(iommufd, str(tmp_path), """
guest() { zvisor run --kernel /guests/$1 --memory 64M --device vfio,host=$ZVISOR_FUNCTION$2; }

# Told in the end, lest it gets into a line of a guest's.
echo 1 >/proc/sys/kernel/printk
vfio_bind $ZVISOR_FUNCTION
ls /dev/iommu /dev/vfio/devices/vfio*
guest zpci-disk ,iommufd=on
# Without the node of containers there is no other way.
rm /dev/vfio/vfio
guest zpci-describe
guest zpci-neighbours
guest zpci-mixed ,relaxed-translation=on
guest zpci-limit-full
dmesg | grep "Request device"
""", LIMIT, say, disk=str(image))
    assert status == 0
    assert not re.search(r"^not ok", said, re.M)
    assert re.search(r"^# disk: zvisor-host, 32768 blocks of 512 bytes$", said, re.M)
    assert re.search(r"^1\.\.13$", said, re.M)
    # Pages came and went beside others that the controller stored into.
    assert re.search(r"^1\.\.6$", said, re.M)
    # Large pages, mapped once for all, and small ones came after one another.
    assert re.search(r"^1\.\.9$", said, re.M)
    # A guest that wants more mappings than there are is told so, and loses none.
    assert re.search(r"^1\.\.7$", said, re.M)
    # The pages that the guests took away were gone from the host's IOMMU, and no others.
    faults = re.findall(r"DMA (\w+) .*Request device \[(?:0000:)?00:04\.0\] fault addr 0x([0-9a-f]+)", said)
    assert set(faults) == {("Write", "140005000"), ("Write", "150021000")}, faults
    assert re.search(r"^# function vendor=1b36 device=10 ", said, re.M)
    assert disk.complaints(said, before, image.read_bytes()) == []


def test_what_mappings_cost_by_iommufd_is_told_beside_type1(iommufd, tmp_path, say):
    image = disk.make(str(tmp_path / "disk"), 16 << 20, 1)
    bench = os.path.join(run.build_folder(), "bench/mapping_bench")
    status, said = hosts.perform(iommufd, str(tmp_path), """
vfio_bind $ZVISOR_FUNCTION
mapping_bench $ZVISOR_FUNCTION >/tmp/type1
mapping_bench $ZVISOR_FUNCTION iommufd >/tmp/iommufd
grep -h "^bench [it]" /tmp/type1 /tmp/iommufd
""", LIMIT, lambda line: None, disk=image, files={"bin/mapping_bench": bench})
    assert status == 0, said
    taken = {}
    for name, nanoseconds in re.findall(r"^bench (\S+) 1 (\d+)$", said, re.M):
        taken.setdefault(name, []).append(int(nanoseconds) / 1000)
    say(f"256 pages, {host_kernel.package()}: median in microseconds")
    for name in [name[6:] for name in taken if name.startswith("type1-")]:
        one, other = (statistics.median(taken[f"{kind}-{name}"]) for kind in ("type1", "iommufd"))
        say(f"{name:<16} type1 {one:6.0f}   iommufd {other:6.0f}   {one / other:.1f} times")
    assert {len(samples) for samples in taken.values()} == {51}
