# SPDX-License-Identifier: MIT
"""Debian's kernel is left in the midst of I/O, and another boot finds the functions and the data.

Three functions are enabled, two of them written to without pause, when the guest goes: after its
drivers shut them down, or with transfers under way. What follows is a load of the whole machine, or
a reset of its I/O under a kernel that is in memory already.

What the boot before still had under way must not reach the disks of the next one: the writers leave
the same on a disk however often they were cut off, so one late write of an earlier run would show.

Debian's kernels are not made for kdump. That a reset of I/O alone finds transfers under way is left
to the freestanding guest (tests/guest/zpci/reset.c).
"""

import os
import re

import pytest

from conftest import BOOT_LIMIT, COMPLAINT, PRELUDE, compile_for_guest, finish
from disklayout import after_writers, first_lost_round
from zvlib import initrd, qmp

MIB = 1 << 20
LENGTH = 8  # sectors of a round of the log
ROUNDS = 40  # of the writers

# Both boots run it. Which one it is stands on a disk.
SCRIPT = f"""
modprobe nvme || exit 1
state=$(disk state) && log=$(disk log) && busy=$(disk busy) || exit 1
if [ "$(head -n 1 $state)" = first ]; then
	echo again | dd of=$state conv=notrunc,fsync 2>/dev/null || exit 1
	before_leaving || exit 1
	disktool log $log 1000000 {LENGTH} &
	while disktool writers $busy 8 {ROUNDS} >/dev/null; do :; done &
	say busy
	read line
	leave
	sleep 120
	say "still here"
	exit 1
fi
say "second boot"
second_boot || exit 1
disktool writers $busy 8 {ROUNDS} || exit 1
dmesg
"""

# How the guest leaves, and what each boot has to do for that.
WAYS = {
    # The drivers are asked to shut their functions down, then the machine is loaded anew.
    "reboot": "leave() { reboot -f; }",
    # Nobody is asked: the machine is loaded anew with transfers under way.
    "emergency": "leave() { echo b >/proc/sysrq-trigger; }",
    # Nor is the guest.
    "monitor": "leave() { :; }",
    # The drivers are asked; the next kernel is in memory, and enters after a reset of I/O.
    "kexec": """
before_leaving() { kexec load /next/kernel /next/initrd "quiet zv.by=kexec"; }
leave() { kexec now; }
second_boot() { grep -q zv.by=kexec /proc/cmdline; }
""",
}
DEFAULTS = """
before_leaving() { :; }
second_boot() { :; }
"""


@pytest.mark.parametrize("way", WAYS)
def test_the_next_boot_uses_what_the_last_one_left_in_use(boot, guest, make_disk, disktool, folder, way):
    script = DEFAULTS + WAYS[way] + SCRIPT
    files = dict(disktool)
    if way == "kexec":
        files |= compile_for_guest("kexec")
        next_initrd = initrd.build(guest, os.path.join(folder, "next"), PRELUDE + script, disktool)
        for name, path in (("kernel", guest.kernel), ("initrd", next_initrd)):
            with open(path, "rb") as file:
                files[f"next/{name}"] = file.read()
    log = make_disk("log", 64 * MIB)
    busy = make_disk("busy", 16 * MIB)
    with open(busy, "rb") as file:
        before = file.read()
    state = os.path.join(folder, "state.img")
    with open(state, "wb") as file:
        file.write(b"first\n".ljust(MIB, b"\0"))

    socket = qmp.socket_path(folder)
    machine = boot(script, files=files, cpus=2, more=["--qmp", f"unix:{socket}"],
                   devices=[f"nvme,file={path},serial={name},uid={uid}"
                            for uid, (name, path) in enumerate((("state", state), ("log", log), ("busy", busy)), 1)])
    machine.expect("^zvisor-guest: busy$", BOOT_LIMIT)
    machine.expect("^disktool: flushed 100$", BOOT_LIMIT)
    if way == "monitor":
        with qmp.Client(socket) as client:
            client.command("system_reset")
    else:
        machine.send("\n")
    machine.expect("^zvisor-guest: second boot$", BOOT_LIMIT)
    finish(machine, BOOT_LIMIT)

    first, second = machine.console.split("zvisor-guest: second boot")
    assert not COMPLAINT.search(second)
    assert not re.search(r"reports an error for PCI function|nvme.*(timeout|reset)|I/O error", second)
    flushed = max(int(number) for number in re.findall(r"^disktool: flushed (\d+)$", first, re.M))
    with open(log, "rb") as file:
        assert first_lost_round(file.read(), flushed, LENGTH) is None
    with open(busy, "rb") as file:
        assert file.read() == after_writers(before, 8, ROUNDS), "something of an earlier boot was written late"
