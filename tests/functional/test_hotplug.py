# SPDX-License-Identifier: MIT
"""Functions come and go while the guest uses others: asked for, by force, and by its own hand."""

import os
import re

import pytest

from conftest import BOOT_LIMIT, COMPLAINT
from disklayout import after_writers
from zvlib import disk, qmp, run

MIB = 1 << 20

# How often a disk comes and goes in the long test.
CYCLES = int(os.environ.get("ZVISOR_TEST_PLUGS", "20"))

# What the guest reads from its console is executed there. "gone" waits until a disk is.
SHELL = """
gone() {
	tries=600
	while [ $((tries = tries - 1)) -gt 0 ]; do
		grep -qs "$1" /sys/block/nvme*n1/device/serial || return 0
		sleep 0.1
	done
	return 1
}
# Writes to a disk until that fails; ends when it has begun.
write_on() {
	rm -f /tmp/lost
	read -r a b c d before rest </sys/block/${1##*/}/stat
	disktool writers $1 4 100000 >/tmp/lost &
	until read -r a b c d writes rest </sys/block/${1##*/}/stat && [ $writes -gt $before ]; do sleep 0.1; done
}
modprobe nvme || exit 1
say listening
while read -r line; do
	[ "$line" = end ] && break
	eval "$line"
	say "status $?"
done
"""


class Guest:
    """A guest that does what it is told, and its monitor."""

    def __init__(self, machine, client):
        self.machine = machine
        self.client = client

    def execute(self, line, limit=120):
        """What the line says; it must end well."""
        begin = len(self.machine.console)
        self.machine.send(line + "\n")
        status = self.machine.expect(r"^zvisor-guest: status (\d+)$", limit).group(1)
        said = self.machine.console[begin:]
        assert status == "0", f"'{line}' ended with {status}:\n{said}"
        return said

    def sum(self, name):
        """The checksum of a disk's content as the guest reads it."""
        return re.search("^sum ([0-9a-f]{64})", self.execute(f"dev=$(disk {name}) && echo sum $(sha256sum <$dev)"),
                         re.M).group(1)

    def remove(self, name):
        """Ask for a device and wait until the guest has given it back."""
        self.client.command("device_del", id=name)
        self.client.wait_event("DEVICE_DELETED", device=name, path=f"/machine/peripheral/{name}")

    def end(self):
        self.machine.send("end\n")
        self.machine.expect("^zvisor-guest: script ended with 0$", BOOT_LIMIT)
        assert self.machine.wait(60) == 0, self.machine.errors


@pytest.fixture
def guest_shell(boot, folder, disktool):
    clients = []

    def start(script="", **more):
        path = qmp.socket_path(folder)
        machine = boot(script + SHELL, files=disktool, more=["--qmp", f"unix:{path}"], **more)
        clients.append(qmp.Client(path))
        machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
        return Guest(machine, clients[-1])
    yield start
    for client in clients:
        client.close()


def content(path):
    with open(path, "rb") as file:
        return file.read()


# Writes to a disk until it is told to stop, and says how often it has.
START_WRITERS = ("dev=$(disk steady) && rm -f /tmp/stop && { rounds=0; while [ ! -e /tmp/stop ]; do "
                 "disktool writers $dev 4 50 || touch /tmp/failed; rounds=$((rounds + 1)); "
                 "echo $rounds >/tmp/rounds; done; } & true")
STOP_WRITERS = "touch /tmp/stop; wait; [ ! -e /tmp/failed ] && say rounds $(cat /tmp/rounds)"


def test_a_disk_comes_and_goes_under_io_on_another(guest_shell, make_disk):
    steady, coming = make_disk("steady", 16 * MIB), make_disk("coming", 4 * MIB)
    before, total = content(steady), disk.sha256(coming)
    guest = guest_shell(cpus=2, devices=[f"nvme,file={steady},serial=steady,id=steady"])
    guest.execute(START_WRITERS)
    for cycle in range(CYCLES):
        guest.client.command("device_add", driver="nvme", id="coming", file=coming, serial="coming",
                             uid=100 + cycle % 7, readonly=bool(cycle % 2))
        assert guest.sum("coming") == total, f"cycle {cycle}"
        # Every other time in the midst of reading.
        if cycle % 2:
            guest.execute("dd if=$dev of=/dev/null bs=64k iflag=direct 2>/dev/null & true")
        guest.remove("coming")
        guest.execute("gone coming; wait $! 2>/dev/null; true" if cycle % 2 else "gone coming")
    rounds = guest.execute(STOP_WRITERS, 600)
    assert int(re.search(r"rounds (\d+)", rounds).group(1)) > 0
    log = guest.execute("dmesg | grep -v 'Command line'")
    assert not COMPLAINT.search(log), log
    guest.end()
    assert content(steady) == after_writers(before, 4, 50)
    assert disk.sha256(coming) == total


def test_a_disk_taken_away_by_force_fails_alone_and_can_come_again(guest_shell, make_disk):
    steady, victim = make_disk("steady", 16 * MIB), make_disk("victim", 16 * MIB)
    before = content(steady)
    guest = guest_shell(cpus=2, devices=[f"nvme,file={steady},serial=steady",
                                         f"nvme,file={victim},serial=victim,id=victim"])
    guest.execute(START_WRITERS)
    for _ in range(3):
        guest.execute("write_on $(disk victim)")
        guest.client.command("device_del", id="victim", force=True)
        guest.client.wait_event("DEVICE_DELETED", device="victim")
        with pytest.raises(qmp.QmpError) as error:
            guest.client.command("device_del", id="victim")
        assert error.value.error_class == "DeviceNotFound"
        guest.execute("gone victim && grep -q disktool: /tmp/lost")
        # The file is free again, and the guest is told of the new function.
        guest.client.command("device_add", driver="nvme", id="victim", file=victim, serial="victim")
        assert guest.sum("victim") == disk.sha256(victim)
    guest.execute(STOP_WRITERS, 600)
    guest.end()
    assert content(steady) == after_writers(before, 4, 50)


def test_who_does_not_give_a_device_back_is_asked_once(guest_shell, make_disk):
    """A guest without zPCI does not hear the request; the second one does not ask."""
    path = make_disk("deaf", 4 * MIB)
    guest = guest_shell(append="quiet pci=off", devices=[f"nvme,file={path},id=deaf"])
    guest.client.command("device_del", id="deaf")
    guest.execute("true")
    assert guest.client.command("query-pci")[0]["devices"][0]["qdev_id"] == "deaf"
    assert not guest.client.events
    guest.client.command("device_del", id="/machine/peripheral/deaf")
    guest.client.wait_event("DEVICE_DELETED", device="deaf")
    assert guest.client.command("query-pci") == [{"bus": 0, "devices": []}]
    guest.end()


def test_a_guest_may_say_that_it_keeps_a_device(zvisor, bare_guest, folder, make_disk):
    """By configuring what it is asked for; then a second request is not the second one."""
    path = qmp.socket_path(folder)
    command = run.zvisor_command(bare_guest("keeper"), memory="64M", more=["--qmp", f"unix:{path}"],
                                 devices=[f"nvme,file={make_disk('kept', 1 * MIB)},id=kept,fid=1"])
    with run.Machine(command) as machine, qmp.Client(path) as client:
        machine.expect("kept$", 60)
        for _ in range(3):
            client.command("device_del", id="kept")
            refused = client.wait_event("DEVICE_UNPLUG_GUEST_ERROR")
            assert refused["data"] == {"device": "kept", "path": "/machine/peripheral/kept"}
        assert client.command("query-pci")[0]["devices"][0]["qdev_id"] == "kept"
        client.command("device_del", id="kept", force=True)
        client.wait_event("DEVICE_DELETED", device="kept")
        machine.expect("^not ok", 60)


def test_a_reset_takes_what_was_asked_for(guest_shell, make_disk):
    path = make_disk("asked", 4 * MIB)
    guest = guest_shell(append="quiet pci=off", devices=[f"nvme,file={path},id=asked"])
    guest.client.command("device_del", id="asked")
    guest.client.command("system_reset")
    guest.client.wait_event("DEVICE_DELETED", device="asked")
    guest.machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
    guest.end()


def test_a_device_that_cannot_be_is_refused_and_nothing_is_left_of_it(guest_shell, make_disk, folder):
    path = make_disk("one", 4 * MIB)
    guest = guest_shell(devices=[f"nvme,file={path},id=one,uid=5,fid=7"])
    other = make_disk("two", 4 * MIB)
    for text, arguments in (
            ("is in use by another", {"file": path}),
            ("No such file", {"file": os.path.join(folder, "none")}),
            ("uid 0x5: uid in use", {"file": other, "uid": 5}),
            ("fid in use", {"file": other, "fid": 7}),
            ("wants a number", {"file": other, "uid": -1}),
            ("wants a number", {"file": other, "fid": 1 << 32}),
            ("wants on or off", {"file": other, "readonly": "maybe"}),
            ("wants an identifier", {"file": other, "id": "a b"}),
            ("Duplicate device ID 'one'", {"file": other, "id": "one"}),
            ("wants file=", {}),
            ("expects a string, a number or a boolean", {"file": {"a": 1}})):
        with pytest.raises(qmp.QmpError) as error:
            guest.client.command("device_add", driver="nvme", **arguments)
        assert error.value.error_class == "GenericError" and text in error.value.text
    assert len(guest.client.command("query-pci")[0]["devices"]) == 1
    # As text, too, as older clients have it, and without an id.
    guest.client.command("device_add", driver="nvme", file=other, serial="two", uid="0x10")
    assert guest.sum("two") == disk.sha256(other)
    unnamed = guest.client.command("query-pci")[0]["devices"][1]
    assert unnamed["qdev_id"] == "" and unnamed["x-zpci"]["uid"] == 16
    guest.client.command("device_del", id=unnamed["x-zpci"]["path"])
    deleted = guest.client.wait_event("DEVICE_DELETED")
    assert deleted["data"] == {"path": unnamed["x-zpci"]["path"]}
    guest.end()


def test_a_slot_is_powered_off_and_on_by_the_guest(guest_shell, make_disk):
    """Linux deconfigures and configures the function itself; the monitor's word counts, too."""
    steady, cycled = make_disk("steady", 16 * MIB), make_disk("cycled", 16 * MIB)
    before = {path: content(path) for path in (steady, cycled)}
    guest = guest_shell(cpus=2, devices=[f"nvme,file={steady},serial=steady",
                                         f"nvme,file={cycled},serial=cycled,id=cycled,fid=0x42"])
    slot = "/sys/bus/pci/slots/00000042/power"
    guest.execute(START_WRITERS)
    for _ in range(5):
        guest.execute("cycled=$(disk cycled) && disktool writers $cycled 4 20")
        guest.execute(f"echo 0 >{slot} && gone cycled && [ $(cat {slot}) = 0 ]")
        assert "cycled" in [each["qdev_id"] for each in guest.client.command("query-pci")[0]["devices"]]
        guest.execute(f"echo 1 >{slot} && disk cycled && [ $(cat {slot}) = 1 ]")
        assert guest.sum("cycled") == disk.sha256(cycled)
    # In the midst of writing, the writers fail and nobody else does.
    guest.execute("write_on $(disk cycled)")
    guest.execute(f"echo 0 >{slot} && gone cycled; wait $!; grep -q disktool: /tmp/lost")
    # What is powered off is given back at once.
    guest.remove("cycled")
    guest.client.command("device_add", driver="nvme", id="cycled", file=cycled, serial="cycled", fid=0x42)
    guest.execute("disktool writers $(disk cycled) 4 20")
    guest.execute(STOP_WRITERS, 600)
    log = guest.execute("dmesg | grep -v 'Command line'")
    assert not COMPLAINT.search(log), log
    guest.end()
    assert content(steady) == after_writers(before[steady], 4, 50)


def test_errors_on_purpose_are_recovered_from(guest_shell, make_disk):
    steady, failing = make_disk("steady", 16 * MIB), make_disk("failing", 32 * MIB)
    before = {path: content(path) for path in (steady, failing)}
    guest = guest_shell(cpus=2, devices=[f"nvme,file={steady},serial=steady",
                                         f"nvme,file={failing},serial=failing,id=failing"])
    guest.execute(START_WRITERS)
    guest.execute("failing=$(disk failing)")
    for number, (command, arguments) in enumerate((
            ("x-zpci-fail-translation", {}),
            ("x-zpci-fail-translation", {"count": 500, "code": 4}),
            ("x-zpci-inject-error", {"code": 0x3a, "address": 0x1234})), 1):
        guest.execute("disktool writers $failing 8 200 >/tmp/writers & true")
        guest.client.command(command, id="failing", **arguments)
        guest.execute("wait $! && grep -q '8 writers of 200 rounds: done' /tmp/writers", 600)
        guest.execute(f"[ $(dmesg | grep -c 'reports an error for PCI function') = {number} ]")
    guest.execute("! dmesg | grep 'Automatic recovery failed'")
    guest.execute(STOP_WRITERS, 600)
    # A permanent error is the end of the function, but not of the guest; another one helps.
    guest.client.command("x-zpci-inject-error", id="failing", code=0x3b)
    guest.execute("until dmesg | grep -q 'Event 0x3b reports an error for PCI function'; do sleep 0.1; done")
    with pytest.raises(qmp.QmpError) as error:
        guest.client.command("x-zpci-inject-error", id="failing", code=0x3a)
    assert "not in a state in which it could fail" in error.value.text
    guest.client.command("device_del", id="failing", force=True)
    guest.execute("gone failing")
    guest.client.command("device_add", driver="nvme", id="failing", file=failing, serial="failing")
    assert guest.sum("failing") == disk.sha256(failing)
    for command, arguments, text in (
            ("x-zpci-inject-error", {"id": "failing"}, "Parameter 'code' is missing"),
            ("x-zpci-inject-error", {"id": "failing", "code": 0x301}, "expects an event code"),
            ("x-zpci-inject-error", {"id": "none", "code": 1}, "Device 'none' not found"),
            ("x-zpci-fail-translation", {"id": "failing", "count": -1}, "expects a number")):
        with pytest.raises(qmp.QmpError) as error:
            guest.client.command(command, **arguments)
        assert text in error.value.text
    guest.end()
    assert content(steady) == after_writers(before[steady], 4, 50)
    assert content(failing) == after_writers(before[failing], 8, 200)
