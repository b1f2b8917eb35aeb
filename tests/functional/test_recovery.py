# SPDX-License-Identifier: MIT
"""A function fails, and Debian's kernel brings it back while the guest goes on."""

import random
import re

from conftest import BOOT_LIMIT, finish
from disklayout import after_writers
from zvlib import qmp

MIB = 1 << 20

# The errors of a transfer and of a message, and those of the function itself
# (include/hw/s390x/s390-pci-bus.h of QEMU).
TRANSFER_ERRORS = [1, 2, 3, 4, 5, 6, 7, 8, 9]
FUNCTION_ERRORS = [0xa, 0xb, 0x10, 0x11, 0x12, 0x13, 0x3a]

# The writers leave the same on a disk however often they run.
SCRIPT = """
modprobe nvme || exit 1
bad=$(disk bad) && good=$(disk good) || exit 1
writers() {
	while [ ! -e /tmp/stop ]; do
		disktool writers $1 $2 50 >/tmp/writers || { say "writers failed"; return 1; }
	done
}
recovered=0
while sleep 0.1; do
	count=$(dmesg | grep -c "The device is ready to resume operations")
	[ $count = $recovered ] || say "recovered $count"
	recovered=$count
done &
writers $bad 8 & first=$!
writers $good 4 & second=$!
say listening
read line
touch /tmp/stop
wait $first && wait $second || exit 1
dmesg | grep zpci
"""


def test_linux_recovers_from_every_error_under_load(boot, make_disk, disktool, folder):
    """One of two disks fails again and again in the midst of writing; both hold what was written."""
    disks = {"bad": make_disk("bad", 32 * MIB), "good": make_disk("good", 16 * MIB)}
    before = {}
    for name, path in disks.items():
        with open(path, "rb") as file:
            before[name] = file.read()
    socket = qmp.socket_path(folder)
    machine = boot(SCRIPT, files=disktool, cpus=2, more=["--qmp", f"unix:{socket}"],
                   devices=[f"nvme,id={name},file={path},serial={name},uid={uid}"
                            for uid, (name, path) in enumerate(disks.items(), 1)])
    # Which page of the writers' fails differs, but is the same in each run.
    choose = random.Random(1)
    with qmp.Client(socket) as client:
        machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
        for number, code in enumerate(TRANSFER_ERRORS + FUNCTION_ERRORS, 1):
            if code in TRANSFER_ERRORS:
                client.command("x-zpci-fail-translation", id="bad", count=choose.randrange(1, 3000), code=code)
            else:
                client.command("x-zpci-inject-error", id="bad", code=code)
            machine.expect(f"^zvisor-guest: recovered {number}$", 120)
        machine.send("\n")
        finish(machine, 300)
    assert "writers failed" not in machine.console
    codes = re.findall(r"Event 0x([0-9a-f]+) reports an error for PCI function", machine.console)
    assert [int(code, 16) for code in codes] == TRANSFER_ERRORS + FUNCTION_ERRORS
    assert "Automatic recovery failed" not in machine.console
    for name, writers in (("bad", 8), ("good", 4)):
        with open(disks[name], "rb") as file:
            assert file.read() == after_writers(before[name], writers, 50), f"disk {name} differs"
