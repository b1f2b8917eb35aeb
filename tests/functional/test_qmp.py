# SPDX-License-Identifier: MIT
"""The monitor: what QEMU's clients say to it, and what hostile ones do."""

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from conftest import BOOT_LIMIT
from zvlib import qmp, run

# A guest that says every moment that it runs, by its own clock.
TICKS = """
say listening
while :; do
	read up rest </proc/uptime
	say "tick $up"
	sleep 0.1
done
"""

# What the guest reads from its console is executed there.
SHELL = """
say listening
while read -r line; do
	eval "$line"
	say "status $?"
done
"""


@pytest.fixture
def monitored(boot, folder):
    """Starts a guest with a monitor: (machine, client) = monitored(script)."""
    clients = []

    def start(script, **more):
        path = qmp.socket_path(folder)
        machine = boot(script, more=["--qmp", f"unix:{path}"], **more)
        clients.append(qmp.Client(path))
        machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
        return machine, clients[-1]
    yield start
    for client in clients:
        client.close()


@pytest.fixture
def ticking(zvisor, bare_guest, folder):
    """The same with a small guest that ticks at once: (machine, client)."""
    path = qmp.socket_path(folder)
    command = run.zvisor_command(bare_guest("ticker"), memory="64M", more=["--qmp", f"unix:{path}"])
    with run.Machine(command) as machine, qmp.Client(path) as client:
        yield machine, client


def expect_ticks(machine, count=3):
    """The guest runs: it says something that it had not said."""
    for _ in range(count):
        tick = machine.expect(r"tick (\S+)$", 60)
    return float(tick.group(1))


def settled(machine):
    """The console, once nothing more comes of what was said before the guest stopped."""
    deadline = time.monotonic() + 60
    before, console = None, machine.console
    while console != before:
        assert time.monotonic() < deadline, "the guest goes on"
        time.sleep(2)
        before, console = console, machine.console
    return console


# --- the protocol, asked of zvisor and of QEMU ---------------------------------------------

# Sent one after another, each to be answered by one line. Where the texts are QEMU's, they
# are compared; a parser's complaint is its own.
CONVERSATION = [
    ('{"execute": "query-status"}', True),
    ('{"execute": "qmp_capabilities", "arguments": {"x": 1}, "id": 3}', True),
    ('{"execute": "qmp_capabilities", "arguments": {"enable": 7}}', True),
    ('{"execute": "qmp_capabilities", "id": {"a": [1, 2.5, null, "\\u00e4"]}}', True),
    ('{"execute": "qmp_capabilities"}', True),
    ('{"execute": "nope", "id": "a"}', True),
    ('{"execute": 7}', True),
    ('{"foo": 7}', True),
    ('{}', True),
    ('{"id": 4}', True),
    ('{"execute": "query-status", "x": 1, "id": 5}', True),
    ('{"execute": "query-status", "arguments": 1}', True),
    ('{"execute": "query-status", "arguments": {"z": 1}}', True),
    ('{"execute": "query-status"\n,\n"id":\n[]}', True),
    ('[1]', True),
    ('{"execute": "query-status", "id": 1', None),
    ('}', True),
    ('{"a":}\n', False),
    ('}\n', False),
    ('nonsense\n', False),
    ('{"execute": "query-status" "id": 1}\n', False),
    ('{"execute": "query-status", "id": 1, "id": 2}\n', False),
    ('{"execute": "query-status", "id": "\\ud800x"}\n', False),
    ('{"execute": "stop"}', True),
    ('{"execute": "device_del"}', True),
    ('{"execute": "device_del", "arguments": {"id": "zz"}}', True),
    ('{"execute": "device_del", "arguments": {"id": 1}}', True),
    ('{"execute": "device_add"}', True),
    ('{"execute": "device_add", "arguments": {"driver": "nope"}}', True),
    ('{"execute": "device_add", "arguments": {"driver": "DEVICE", "foo": 3}}', True),
    ('{"execute": "device_add", "arguments": {"driver": "DEVICE", "id": "first"}}', True),
    ('{"execute": "device_add", "arguments": {"driver": "DEVICE", "id": "9r0"}}', False),
    ('{"execute": "query-status", "id": 18}', True),
]


def converse(client, driver):
    """The answers, and which texts of errors are QEMU's own."""
    answers = []
    for line, same_text in CONVERSATION:
        client.send(line.replace("DEVICE", driver))
        if same_text is not None:
            answers.append(client.reply())
            if not same_text:
                answers[-1]["error"]["desc"] = "…"
            elif "error" in answers[-1]:
                answers[-1]["error"]["desc"] = answers[-1]["error"]["desc"].replace(driver, "DEVICE")
    return answers


def test_every_answer_is_qemus(guest, zvisor, folder, make_disk):
    if not run.qemu_program():
        pytest.skip("there is no QEMU here to compare with")
    answers = {}
    # QEMU 7.2 has no NVMe on s390x; the questions are about any PCI function.
    ours = ("nvme", run.zvisor_command(
        guest.kernel, devices=[f"nvme,file={make_disk('disk', 1 << 20)},id=first"],
        more=["-qmp", f"unix:{qmp.socket_path(folder, 'nvme')},server=on,wait=off"]))
    theirs = ("virtio-rng-pci", run.qemu_command(guest.kernel, more=[
        "-device", "virtio-rng-pci,id=first",
        "-qmp", f"unix:{qmp.socket_path(folder, 'virtio-rng-pci')},server=on,wait=off"]))
    for driver, command in (ours, theirs):
        # An id is all that a device there needs; ours wants a file as well.
        asked = f'{driver}", "file": "{make_disk("other", 1 << 20)}' if driver == "nvme" else driver
        with run.Machine(command) as machine, \
                qmp.Client(qmp.socket_path(folder, driver), negotiate=False) as client:
            greeting = client.greeting["QMP"]
            assert set(greeting) == {"version", "capabilities"}
            assert set(greeting["version"]["qemu"]) == {"major", "minor", "micro"}
            answers[driver] = [json.loads(json.dumps(answer).replace(driver, "DEVICE"))
                               for answer in converse(client, asked)]
            client.wait_event("STOP")
            functions = client.command("query-pci")[0]["devices"]
            assert [function["qdev_id"] for function in functions] == ["first"]
            assert {"bus", "slot", "function", "class_info", "id", "irq_pin", "regions"} <= set(functions[0])
            assert {"bar", "type", "address", "size"} <= set(functions[0]["regions"][0])
            names = {command["name"] for command in client.command("query-commands")}
            assert {"qmp_capabilities", "query-version", "query-status", "query-commands", "query-pci", "stop",
                    "cont", "system_reset", "system_powerdown", "quit", "device_add", "device_del"} <= names
            client.command("quit")
            shutdown = client.wait_event("SHUTDOWN")
            assert shutdown["data"] == {"guest": False, "reason": "host-qmp-quit"}
            assert set(shutdown["timestamp"]) == {"seconds", "microseconds"}
            with pytest.raises(qmp.Closed):
                client.receive()
            assert machine.wait(30) == 0
    for (question, _), ours, theirs in zip([line for line in CONVERSATION if line[1] is not None],
                                           answers["nvme"], answers["virtio-rng-pci"]):
        assert ours == theirs, question


# --- the run -----------------------------------------------------------------------------------

def test_a_stopped_guest_and_its_clock_stand_still(monitored):
    machine, client = monitored(TICKS, cpus=2)
    expect_ticks(machine)
    client.command("stop")
    client.wait_event("STOP")
    stopped = time.monotonic()
    assert client.command("query-status")["status"] == "paused"
    client.command("stop")  # for nothing, and no event
    before = settled(machine)
    last = float(re.findall(r"^zvisor-guest: tick (\S+)$", before, re.M)[-1])
    time.sleep(10)
    assert machine.console == before
    paused = time.monotonic() - stopped
    client.command("cont")
    client.wait_event("RESUME")
    assert client.command("query-status") == {"status": "running", "singlestep": False, "running": True}
    following = last
    while following <= last:
        following = expect_ticks(machine, 1)
    # It may have been slow before it stopped and after that.
    assert following - last < paused / 2, "the guest's clock went on while it was stopped"
    assert not client.events


def test_a_reset_starts_the_guest_again(monitored):
    machine, client = monitored(TICKS)
    assert expect_ticks(machine) > 0
    client.command("system_reset")
    assert client.wait_event("RESET")["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
    machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
    expect_ticks(machine)
    # A machine that is stopped is reset as well, and stays stopped.
    client.command("stop")
    client.command("system_reset")
    client.wait_event("RESET")
    assert client.command("query-status")["status"] == "paused"
    client.command("cont")
    machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
    client.command("quit")
    assert machine.wait(30) == 0


def test_a_guest_is_asked_to_shut_down_and_does(monitored, folder):
    machine, client = monitored(TICKS)
    expect_ticks(machine)
    client.command("system_powerdown")
    client.wait_event("POWERDOWN")
    assert client.wait_event("SHUTDOWN")["data"] == {"guest": True, "reason": "guest-shutdown"}
    assert machine.wait(60) == 0
    assert not os.path.exists(qmp.socket_path(folder))


def test_what_a_guest_does_itself_is_an_event(monitored):
    machine, client = monitored(SHELL)
    machine.send("reboot -f\n")
    assert client.wait_event("RESET", BOOT_LIMIT)["data"] == {"guest": True, "reason": "guest-reset"}
    machine.expect("^zvisor-guest: listening$", BOOT_LIMIT)
    machine.send("echo c >/proc/sysrq-trigger\n")
    panic = client.wait_event("GUEST_PANICKED", BOOT_LIMIT)["data"]
    assert panic["action"] == "poweroff"
    assert panic["info"]["type"] == "s390" and panic["info"]["reason"] == "disabled-wait"
    assert client.wait_event("SHUTDOWN")["data"] == {"guest": True, "reason": "guest-panic"}
    assert machine.wait(60) == 3


# --- the socket ---------------------------------------------------------------------------------

def test_the_socket_is_for_its_owner_and_goes_with_the_machine(ticking, folder):
    machine, _ = ticking
    expect_ticks(machine)
    path = qmp.socket_path(folder)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    machine.kill(signal.SIGQUIT)
    assert not os.path.exists(path)


def test_a_socket_of_a_dead_machine_is_replaced_and_of_a_living_one_is_not(ticking, bare_guest, folder):
    path = qmp.socket_path(folder)
    machine, client = ticking
    expect_ticks(machine)
    command = run.zvisor_command(bare_guest("ticker"), memory="64M", more=["--qmp", f"unix:{path}"])
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 2 and second.stderr.count("\n") == 1
    assert "another program listens there" in second.stderr
    assert client.command("query-status")["running"]
    # Killed, it leaves its socket, at which nobody listens any more.
    machine.kill()
    assert os.path.exists(path)
    with run.Machine(command) as third, qmp.Client(path) as client:
        expect_ticks(third)
        client.command("quit")
        assert third.wait(30) == 0


@pytest.mark.parametrize("value, complaint", [
    ("tcp:localhost:4444", "not a socket"),
    ("unix:", "the path is missing"),
    ("unix:{folder}/file", "exists and is not a socket"),
    ("unix:{folder}/none/qmp", "No such file or directory"),
    ("unix:{folder}/" + 100 * "x", "longer than the 107 bytes"),
    ("unix:{folder}/qmp,wait=on", "wait=on: not an option"),
])
def test_a_wrong_socket_is_refused_in_one_line(guest, folder, value, complaint):
    with open(os.path.join(folder, "file"), "w", encoding="ascii") as file:
        file.write("kept")
    value = value.format(folder=folder)
    done = subprocess.run(run.zvisor_command(guest.kernel, more=["--qmp", value]),
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and complaint in done.stderr and value in done.stderr
    assert os.listdir(folder) == ["file"]


# --- hostile clients ------------------------------------------------------------------------------

def test_clients_that_say_nonsense_are_answered_and_disturb_nobody(ticking, folder):
    machine, client = ticking
    path = qmp.socket_path(folder)
    nonsense = [b"\0" * 100 + b"\n", b"\xff", b"\xc3\x28\n", b"]\n", b'{"execute": "\xc3\x28"}\n',
                b'"' + b"x" * 70000 + b"\n", b"[" * 2000 + b"\n", b'{"a":"' + b"x" * 200000 + b'"}\n',
                b"{'execute':'stop'}\n", b'{"execute":"query-status","id":"' + b"y" * 60000 + b'"}',
                b'{"execute":"device_add","arguments":{"driver":"nvme","file":"' + b"z" * 5000 + b'"}}',
                b'{"execute":"device_add","arguments":{"driver":"nvme","file":["a"]}}',
                b'{"execute":"device_add","arguments":{"driver":"nvme","file":"a\\u0000b"}}',
                b'{"execute":"device_add","arguments":{' + b",".join(b'"p%d":1' % i for i in range(5000)) + b"}}",
                b'{"execute":"device_del","arguments":{"id":""}}', b'{"execute":"%s%n%s%n"}',
                b'{"execute":"x-zpci-inject-error","arguments":{"id":"a","code":-1}}',
                b'{"execute":"x-zpci-inject-error","arguments":{"id":"a","code":99999999999999999999}}']
    for text in nonsense:
        with qmp.Client(path) as other:
            other.send(text)
            answer = other.reply()
            assert "error" in answer or answer["return"]["running"], text
            # And it goes on with what is right, at the latest on the next line.
            other.send(b'\n{"execute":"query-status","id":"next"}')
            while answer.get("id") != "next":
                answer = other.reply()
            assert answer["return"]["running"], text
    expect_ticks(machine)
    assert client.command("query-status")["running"]


def test_clients_that_vanish_disturb_nobody(ticking, folder):
    machine, client = ticking
    for sent in (b"", b"{", b'{"execute":"query-commands"}' * 200, b'{"execute":"query-pci"}{"execute":"que'):
        for _ in range(20):
            with qmp.Client(qmp.socket_path(folder)) as other:
                other.send(sent)
    expect_ticks(machine)
    assert client.command("query-status")["running"]


def test_a_client_that_does_not_read_stops_neither_the_guest_nor_other_clients(ticking, folder):
    machine, client = ticking
    deaf = qmp.Client(qmp.socket_path(folder))
    deaf.socket.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += deaf.socket.send(b'{"execute":"query-commands"}' * 1000)
    except BlockingIOError:
        pass
    assert sent < 64 << 20, "what a client says is taken without end"
    with open(f"/proc/{machine.process.pid}/status", encoding="ascii") as file:
        assert int(re.search(r"RssAnon:\s+(\d+) kB", file.read()).group(1)) < 256 << 10
    expect_ticks(machine)
    # Events pile up for it until it is cut off; there are enough of them.
    for _ in range(200):
        client.command("stop")
        client.command("cont")
    expect_ticks(machine)
    deaf.close()
    assert client.command("query-status")["running"]


def test_two_clients_are_served_and_both_hear_of_events(ticking, folder):
    machine, first = ticking
    with qmp.Client(qmp.socket_path(folder)) as second, \
            qmp.Client(qmp.socket_path(folder), negotiate=False) as silent:
        second.command("stop")
        for client in (first, second):
            client.wait_event("STOP")
        first.command("cont")
        for client in (first, second):
            client.wait_event("RESUME")
        # Who has not negotiated hears nothing but answers.
        silent.send({"execute": "query-status"})
        assert silent.receive()["error"]["class"] == "CommandNotFound"
    expect_ticks(machine)


def test_of_more_clients_than_there_are_places_the_last_are_closed(ticking, folder):
    machine, first = ticking
    path = qmp.socket_path(folder)
    others = [qmp.Client(path) for _ in range(7)]
    with pytest.raises(qmp.Closed):
        qmp.Client(path)
    others.pop().close()
    # Its place is free as soon as its end was noticed.
    deadline = time.monotonic() + 60
    while True:
        try:
            others.append(qmp.Client(path))
            break
        except qmp.Closed:
            assert time.monotonic() < deadline
    for client in others:
        assert client.command("query-status")["running"]
        client.close()
    assert first.command("query-status")["running"]
    expect_ticks(machine)
