# SPDX-License-Identifier: MIT
"""Linux uses loads and stores by address where the machine has them, and handles where not."""

import hashlib

import pytest

from conftest import compile_for_guest, finish

MIB = 1 << 20

SCRIPT = """
modprobe nvme && dev=$(disk mio) || exit 1
grep -q ' pcimio' /proc/cpuinfo && say has pcimio
dd if=$dev bs=64k iflag=direct 2>/dev/null | sha256sum >/tmp/sum
say sum $(cat /tmp/sum)
yes zvisor | dd of=$dev bs=4k count=64 oflag=direct iflag=fullblock 2>/dev/null
"""


@pytest.mark.parametrize("machine, append, mio", [
    ("zvisor-1.0", "quiet", True),
    ("zvisor-1.0,mio=off", "quiet", False),
    ("zvisor-0.9", "quiet", False),
    ("zvisor-1.0", "quiet pci=nomio", False),
])
def test_nvme_works_with_and_without_addresses(boot, make_disk, machine, append, mio):
    path = make_disk("mio", 4 * MIB)
    with open(path, "rb") as file:
        before = file.read()
    guest = finish(boot(SCRIPT, append=append, cpus=2, devices=[f"nvme,file={path},serial=mio"],
                        more=["--machine", machine, "--trace", "zpci_pci*"]))
    assert ("zvisor-guest: has pcimio" in guest.console) == mio
    assert f"zvisor-guest: sum {hashlib.sha256(before).hexdigest()}" in guest.console
    with open(path, "rb") as file:
        after = file.read()
    text = (b"zvisor\n" * 40000)[:64 * 4096]
    assert after == text + before[len(text):]
    # The controller's registers are in a BAR, and the doorbells with them.
    assert ("zpci_pcistgi: " in guest.errors) == mio
    assert ("zpci_pcilgi: " in guest.errors) == mio
    assert ("as=0 " in guest.errors) == (not mio)
    # Config space has handles only.
    assert "as=15 " in guest.errors


def test_a_program_uses_addresses(boot, newer_guest, make_disk):
    """In the problem state by its own instructions, and in the secondary space by the kernel's."""
    machine = finish(boot("mmio /sys/bus/pci/devices/0001:00:00.0/resource0",
                          other_guest=newer_guest, files=compile_for_guest("mmio"),
                          devices=[f"nvme,file={make_disk('unused', MIB)},uid=1"],
                          more=["--trace", "zpci_pci*"]))
    said = [line for line in machine.console.split("\n") if line.startswith("mmio: ")]
    assert said == ["mmio: load cc 0 version 00040100",
                    "mmio: store cc 0 asq 0030120000000000",
                    "mmio: block cc 0 asq 0070560000000000 acq 0090780000000000",
                    "mmio: system call version 00040100",
                    "mmio: system call asq 0050340000000000"]
    assert "zpci_pciwb: " in machine.errors
