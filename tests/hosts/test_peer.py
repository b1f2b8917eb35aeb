# SPDX-License-Identifier: MIT
"""QEMU's vfio-user-pci, the reference of the protocol, with our server behind it: Debian's x86-64 Linux uses the disk."""

import hashlib
import json
import os
import re
import tempfile

import pytest

from zvlib import debian, disk, hosts, initrd, run
from zvlib.served import Server

# The first QEMU that has the device is 10.1.
SUITE = os.environ.get("ZVISOR_TEST_NEWER_SUITE", "forky")
PACKAGE = "qemu-system-x86"
MIB = 1 << 20

# Only to end a machine that hangs.
LIMIT = 300


@pytest.fixture(scope="session")
def qemu():
    """The command for a QEMU of a newer suite, which runs beside the system's."""
    package = debian.package(PACKAGE, SUITE)
    share = os.path.join(package.path, "usr/share")
    return [*debian.command(package, "qemu-system-x86_64"),
            "-L", os.path.join(share, "qemu"), "-L", os.path.join(share, "seabios")]


SCRIPT = """
wait_for()
{
	local tries=0

	until [ -b /dev/nvme0n1 ]; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || { echo "no disk"; exit 1; }
		sleep 0.1
	done
}
fresh() { echo 3 >/proc/sys/vm/drop_caches; }
interrupts() { awk '/nvme0q/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } END { print n }' /proc/interrupts; }

modprobe nvme
wait_for
function=$(readlink -f /sys/class/nvme/nvme0/device)
[ -e $function/iommu_group ] && translated=yes || translated=no
echo "peer: translated $translated"
echo "peer: serial $(cat /sys/class/nvme/nvme0/serial)"
echo "peer: before $(sha256sum </dev/nvme0n1)"
# Writers side by side, each with pages of its own.
for writer in 0 1 2 3; do
	yes "writer $writer" | head -c 2097152 | dd of=/dev/nvme0n1 bs=64k seek=$((writer * 64)) conv=fsync 2>/dev/null &
done
wait
fresh
echo "peer: after $(sha256sum </dev/nvme0n1)"
echo "peer: interrupts $(interrupts)"
# The function is reset, and comes back.
echo 1 >$function/reset
wait_for
fresh
echo "peer: reset $(sha256sum </dev/nvme0n1)"
# It is taken out and found anew.
echo 1 >$function/remove
[ ! -e /dev/nvme0n1 ]
echo 1 >/sys/bus/pci/rescan
wait_for
yes again | head -c 65536 | dd of=/dev/nvme0n1 bs=64k seek=255 conv=fsync 2>/dev/null
fresh
echo "peer: again $(sha256sum </dev/nvme0n1)"
"""


# What the server has of the guest's memory, as QEMU's options: all of it in a file; none of it, and it
# asks for each access; in a file, but only what the guest's I/O MMU maps, which changes all the time.
MEMORY = {
    "shared": ["-object", "memory-backend-memfd,id=memory,size=512M,share=on"],
    "asked-for": ["-object", "memory-backend-ram,id=memory,size=512M"],
    "translated": ["-object", "memory-backend-memfd,id=memory,size=512M,share=on",
                   "-device", "intel-iommu,caching-mode=on"],
}


@pytest.mark.parametrize("memory", MEMORY)
def test_linux_under_qemu_uses_a_disk_that_zvisor_serves(memory, qemu, tmp_path, say):
    guest = debian.fetch(architecture="amd64")
    image = str(disk.make(tmp_path / "disk", 16 * MIB, 5))
    with open(image, "rb") as file:
        content = bytearray(file.read())
    expected = [hashlib.sha256(content).hexdigest()]
    for writer in range(4):
        content[writer * 4 * MIB:writer * 4 * MIB + 2 * MIB] = disk.pattern(f"writer {writer}", 2 * MIB)
    expected += [hashlib.sha256(content).hexdigest()] * 2
    content[-65536:] = disk.pattern("again", 65536)
    expected.append(hashlib.sha256(content).hexdigest())

    # A socket's name has to be short.
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "s")
        server = Server(f"nvme,file={image},serial=peer", socket)
        try:
            said = boot(qemu, guest, initrd.build(guest, str(tmp_path / "initrd"), script="set -e\n" + SCRIPT),
                        socket, MEMORY[memory], say)
            server.wait_for("the client is gone: the other side has closed the connection")
        finally:
            server.kill()
    assert re.findall(r"^peer: (\w+) ([0-9a-f]{64})", said, re.M) == \
        list(zip(("before", "after", "reset", "again"), expected))
    assert re.search(r"^peer: serial peer *$", said, re.M)
    # Or that would not be what was to be tested.
    assert re.search(r"^peer: translated (\w+)$", said, re.M).group(1) == ("yes" if memory == "translated" else "no")
    assert int(re.search(r"^peer: interrupts (\d+)$", said, re.M).group(1)) > 10
    with open(image, "rb") as file:
        assert file.read() == content


def boot(qemu, guest, initrd_path, socket, memory, say):
    """Linux with the served disk runs its script to the end: what it said."""
    command = [*qemu, "-machine", "q35,accel=tcg,memory-backend=memory", "-cpu", "max", "-smp", "2", "-m", "512M",
               *memory, "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
               "-kernel", guest.kernel, "-initrd", initrd_path,
               # The kernel's check of its timer fails on a machine that is busy.
               "-append", "console=ttyS0 intel_iommu=on no_timer_check quiet panic=-1 mitigations=off",
               "-device", json.dumps({"driver": "vfio-user-pci", "socket": {"type": "unix", "path": socket}})]
    with run.Machine(command) as machine:
        hosts.follow(machine, "^zvisor-guest: script ended with 0", LIMIT, say)
        assert machine.wait(LIMIT) == 0
        return machine.console
