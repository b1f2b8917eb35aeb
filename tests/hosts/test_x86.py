# SPDX-License-Identifier: MIT
"""An x86-64 host with type1 VFIO gives its NVMe controller to a guest."""

from zvlib import disk, hosts

# Only to end a host that hangs.
LIMIT = 300


def test_the_host_has_an_iommu_and_binds_its_function_to_vfio(x86, tmp_path, say):
    image = disk.make(tmp_path / "disk", 1 << 20, 1)
    status, said = hosts.perform(x86, str(tmp_path), """
vfio_bind $ZVISOR_FUNCTION
[ -c /dev/vfio/vfio ] && ls /dev/vfio/[0-9]*
zvisor run --kernel /guests/hello --memory 64M
""", LIMIT, say, disk=image)
    assert status == 0
    assert "/dev/vfio/1" in said
    assert "ok 1 - " in said and "not ok" not in said
