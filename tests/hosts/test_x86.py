# SPDX-License-Identifier: MIT
"""An x86-64 host with type1 VFIO gives its NVMe controller to a bare-metal guest."""

import re

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
    # A guest that wants more mappings than there are is told so, and loses none.
    assert re.search(r"^1\.\.7$", said, re.M)
    # The page that the guest took away was gone from the host's IOMMU, too.
    assert re.search(r"DMAR: .*DMA Write.*Request device \[00:04\.0\]", said)
    assert re.search(r"^# function vendor=1b36 device=10 ", said, re.M)
    assert disk.complaints(said, before, image.read_bytes()) == []
