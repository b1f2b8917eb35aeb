# SPDX-License-Identifier: MIT
"""A disk of the host that does not answer holds up nobody but those who use it."""

import os
import signal
import subprocess
import time

import pytest

from conftest import BOOT_LIMIT, ROOT
from test_hotplug import SHELL, Guest
from zvlib import disk, qmp, run

MIB = 1 << 20

# What must not wait for the disk ends within so many seconds, on a slow machine, too.
AT_ONCE = 30


@pytest.fixture(scope="session")
def preload():
    """A library that makes a disk hang."""
    output = os.path.join(run.build_folder(), "hang.so")
    source = os.path.join(ROOT, "tests", "functional", "host", "hang.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", output,
                    source], check=True)
    return output


class Hung:
    """A guest with two disks, of which `hung` hangs between hang() and answer()."""

    def __init__(self, guest, flag, paths):
        self.guest, self.flag, self.paths = guest, flag, paths

    def hang(self):
        """Reads of the disk are under way and do not end."""
        with open(self.flag, "w"):
            pass
        self.guest.execute("dev=$(disk hung); for i in 1 2 3 4; do "
                           "dd if=$dev of=/dev/null bs=64k count=4 skip=$i iflag=direct 2>/dev/null & done; "
                           "until read -r reads rest </sys/block/${dev##*/}/inflight && [ $reads -gt 0 ]; do "
                           "sleep 0.1; done")

    def answer(self):
        os.unlink(self.flag)

    def steady_works(self):
        assert self.guest.sum("steady") == disk.sha256(self.paths["steady"])


@pytest.fixture
def hung(command, make_disk, folder, disktool, preload):
    flag, path = os.path.join(folder, "hang"), qmp.socket_path(folder)
    paths = {name: make_disk(name, 4 * MIB) for name in ("steady", "hung")}
    machine = run.Machine(command(SHELL, files=disktool, cpus=2, more=["--qmp", f"unix:{path}"],
                                  devices=[f"nvme,file={paths[name]},serial={name},id={name}" for name in paths]),
                          stdin=subprocess.PIPE, env={**os.environ, "LD_PRELOAD": preload, "HANG_FILE": paths["hung"],
                                                              "HANG_WHILE": flag})
    with qmp.Client(path) as client:
        machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
        yield Hung(Guest(machine, client), flag, paths)
    machine.kill()


def test_a_disk_that_hangs_can_be_taken_away_when_it_answers_and_does_not_keep_zvisor_from_ending(hung):
    client = hung.guest.client
    hung.hang()
    begun = time.monotonic()
    client.command("device_del", id="hung", force=True)
    client.command("device_del", id="hung", force=True)
    # Neither the monitor nor another disk waits, nor does what comes and goes.
    devices = client.command("query-pci")[0]["devices"]
    assert [each["qdev_id"] for each in devices] == ["steady", "hung"]
    client.command("device_add", driver="testdev", id="other")
    client.command("device_del", id="other", force=True)
    client.wait_event("DEVICE_DELETED", device="other")
    assert time.monotonic() - begun < AT_ONCE
    hung.steady_works()
    assert not client.events
    hung.answer()
    client.wait_event("DEVICE_DELETED", device="hung")
    hung.guest.execute("gone hung")
    hung.steady_works()
    client.command("device_add", driver="nvme", id="hung", file=hung.paths["hung"], serial="hung")
    hung.hang()
    client.command("quit")
    assert hung.guest.machine.wait(AT_ONCE) == 0
    assert "is left as it is: its host does not answer" in hung.guest.machine.errors


def test_a_reset_waits_for_a_disk_that_hangs_and_nobody_else_does(hung):
    client = hung.guest.client
    hung.hang()
    client.command("system_reset")
    begun = time.monotonic()
    # It is said after some seconds; until the disk answers, the guest stands still.
    while "reset waits for the device with fid=" not in hung.guest.machine.errors:
        assert time.monotonic() - begun < AT_ONCE
        assert client.command("query-status")["running"]
        time.sleep(0.1)
    client.command("stop")
    client.command("cont")
    assert not [each for each in client.events if each["event"] == "RESET"]
    hung.answer()
    client.wait_event("RESET")
    hung.guest.machine.process.send_signal(signal.SIGQUIT)
    assert hung.guest.machine.wait(AT_ONCE) == 1
    assert "left as it is" not in hung.guest.machine.errors
