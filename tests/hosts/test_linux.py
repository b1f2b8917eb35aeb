# SPDX-License-Identifier: MIT
"""Debian's Linux for s390x, booted by zvisor in an x86-64 host, uses the host's NVMe controller.

Two emulations stand on one another (the host is one), so this takes minutes: two on two
cores that have nothing else to do. The host allows few mappings, so that the guest comes to the
limit, which is Linux's sign to give back what it had unmapped and not told of.
"""

import hashlib
import os
import re

from zvlib import debian, disk, hosts, initrd

# Only to end a host that hangs; a machine that does other things takes much longer.
LIMIT = 3600

# The queues take some 50, each request of 64 KiB up to 17 more.
MAPPINGS = 200

SIZE = 16 << 20
WRITTEN_AT, WRITTEN = 8 << 20, 1 << 20

GUEST = f"""
tries=600
while [ ! -b /dev/nvme0n1 ] && [ $((tries = tries - 1)) -gt 0 ]; do sleep 0.1; done
say() {{ echo "zvisor-guest: $*"; }}
say "$(cat /sys/block/nvme0n1/device/serial)"
say "read $(dd if=/dev/nvme0n1 bs=64k count=16 iflag=direct 2>/dev/null | sha256sum)"
yes passed through | head -c {WRITTEN} | dd of=/dev/nvme0n1 bs=64k seek={WRITTEN_AT >> 16} oflag=direct 2>/dev/null
sync
say "again $(dd if=/dev/nvme0n1 bs=64k skip={WRITTEN_AT >> 16} count=16 iflag=direct 2>/dev/null | sha256sum)"
grep nvme /proc/interrupts
"""


def test_linux_reads_and_writes_the_nvme_disk_of_the_host(x86, tmp_path, say):
    image = str(tmp_path / "disk")
    disk.make(image, SIZE, 31)
    with open(image, "rb") as file:
        first = hashlib.sha256(file.read(1 << 20)).hexdigest()
    data = disk.pattern("passed through", WRITTEN)
    expected = disk.sha256_with(image, WRITTEN_AT, data)
    guest = debian.fetch(os.environ.get("ZVISOR_TEST_SUITE"))
    guest_initrd = initrd.build(guest, str(tmp_path / "guest-initrd"), GUEST)
    # Checking the kernel's certificates is a quarter of a boot; nothing here needs them.
    status, said = hosts.perform(x86, str(tmp_path), f"""
echo {MAPPINGS} >/sys/module/vfio_iommu_type1/parameters/dma_entry_limit
vfio_bind $ZVISOR_FUNCTION
set -o pipefail
zvisor run --kernel /linux/kernel --initrd /linux/initrd --memory 512M \\
	--append "zv.module=nvme initcall_blacklist=load_system_certificate_list" --device vfio,host=$ZVISOR_FUNCTION \\
	--trace zpci_rpcit 2>trace | while read -r line; do echo "guest: $line"; done
echo "limit reached: $(grep -c "zpci_rpcit: .* cc=1 status=16$" trace)"
""", LIMIT, say, disk=image, files={"linux/kernel": guest.kernel, "linux/initrd": guest_initrd})
    assert status == 0
    assert "guest: zvisor-guest: zvisor-host" in said
    assert f"guest: zvisor-guest: read {first}" in said
    assert f"guest: zvisor-guest: again {hashlib.sha256(data).hexdigest()}" in said
    assert re.search(r"^limit reached: [1-9]", said, re.M), said
    assert disk.sha256(image) == expected
