# SPDX-License-Identifier: MIT
"""Disks that a process of their own serves, by vfio-user, to a guest with Debian's nvme driver."""

import hashlib
import os
import re
import select
import socket
import struct

import pytest

from conftest import BOOT_LIMIT, finish
from disklayout import after_writers
from zvlib import run
from zvlib.served import Server

MIB = 1 << 20

# How often the bare guest maps or unmaps a page; 10,000,000 take some 25 minutes.
CHURN = int(os.environ.get("ZVISOR_CHURN_OPERATIONS", "20000"))


@pytest.fixture
def serve(tmp_path):
    """serve("nvme,file=...", name) starts a server; again with the same name: after it was killed."""
    servers = []

    def start(device, name, more=()):
        # A socket's name has to be short.
        server = Server(device, os.path.join(tmp_path, name), more)
        servers.append(server)
        return server
    yield start
    for server in servers:
        if server.process.returncode is None:
            server.kill()


def content(path):
    with open(path, "rb") as file:
        return file.read()


def test_served_disks_hold_what_the_guest_wrote(boot, make_disk, disktool, serve):
    """One server maps the guest's memory, the other has to ask for it."""
    disks = {"mapped": make_disk("mapped", 32 * MIB), "asked": make_disk("asked", 16 * MIB)}
    before = {name: content(path) for name, path in disks.items()}
    servers = {name: serve(f"nvme,file={path},serial={name}", name) for name, path in disks.items()}
    machine = boot(
        """
        modprobe nvme || exit 1
        mapped=$(disk mapped) && asked=$(disk asked) || exit 1
        disktool writers $mapped 8 50 & first=$!
        disktool writers $asked 4 20 & second=$!
        wait $first && wait $second
        """,
        files=disktool, cpus=2,
        devices=[f"vfio-user,socket={servers['mapped'].socket}",
                 f"vfio-user,socket={servers['asked'].socket},share-memory=off"])
    finish(machine, 600)
    for name, writers, rounds in (("mapped", 8, 50), ("asked", 4, 20)):
        assert content(disks[name]) == after_writers(before[name], writers, rounds), f"disk {name} differs"
    for server in servers.values():
        server.wait_for("the client is gone: the other side has closed the connection")


@pytest.mark.parametrize("direct", ["on", "off"])
def test_direct_mapping_needs_no_message_for_each_transfer(boot, newer_guest, make_disk, serve, direct):
    """Without it there are as many as transfers, which shows that they are counted."""
    reads = 2000
    server = serve(f"nvme,file={make_disk('disk', 16 * MIB)},serial=disk", "disk",
                   ("--trace", "user_server_command"))
    machine = boot(
        f"""
        modprobe nvme || exit 1
        served=$(disk disk) || exit 1
        dd if=$served of=/dev/null bs=4k count={reads} iflag=direct 2>/dev/null || exit 1
        """,
        other_guest=newer_guest, append="quiet iommu.passthrough=1",
        devices=[f"vfio-user,socket={server.socket},relaxed-translation={direct}"])
    finish(machine, 120)
    server.wait_for("the client is gone: the other side has closed the connection")
    commands = [line.split()[2] for line in server.lines if " user_server_command: " in line]
    assert commands.count("REGION_WRITE") >= reads
    maps, unmaps = commands.count("DMA_MAP"), commands.count("DMA_UNMAP")
    assert (maps < 20 and unmaps < 20) if direct == "on" else maps >= reads, (maps, unmaps)


def test_a_guest_that_comes_to_the_limit_of_mappings_goes_on(boot, make_disk, serve):
    """Linux unmaps lazily: what it used before stays mapped until it is told that resources are lacking."""
    path = make_disk("disk", 16 * MIB)
    server = serve(f"nvme,file={path},serial=disk", "disk")
    machine = boot(
        """
        modprobe nvme || exit 1
        served=$(disk disk) || exit 1
        for pass in $(seq 17); do
            dd if=$served of=/dev/null bs=4k iflag=direct 2>/dev/null || exit 1
        done
        say "holds $(dd if=$served bs=64k iflag=direct 2>/dev/null | sha256sum)"
        """,
        devices=[f"vfio-user,socket={server.socket}"], more=["--trace", "zpci_rpcit"])
    finish(machine, 300)
    assert f"holds {hashlib.sha256(content(path)).hexdigest()}" in machine.console
    assert re.search(r"zpci_rpcit: .* cc=1 status=16$", machine.errors, re.M), "the limit was not reached"


SCRIPT = """
modprobe nvme || exit 1
served=$(disk served) && own=$(disk own) || exit 1
writers() {
	while [ ! -e /tmp/stop ]; do
		disktool writers $1 $2 50 >/tmp/writers || { say "writers failed"; return 1; }
	done
}
# The driver goes on for a while after that message, and gives the disk up if it dies again then: so,
# when the disk can be read.
recovered=0
while sleep 0.1; do
	count=$(dmesg | grep -c "The device is ready to resume operations")
	[ $count = $recovered ] && continue
	dd if=$served of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null && say "recovered $count"
	recovered=$count
done &
writers $served 8 & first=$!
writers $own 4 & second=$!
sleep 1
say writing
read line
touch /tmp/stop
wait $first && wait $second || exit 1
"""


def test_a_server_that_was_killed_comes_back_and_the_guest_goes_on(boot, make_disk, disktool, serve):
    """In the midst of writing, twice; both disks hold what was written."""
    disks = {"served": make_disk("served", 32 * MIB), "own": make_disk("own", 16 * MIB)}
    before = {name: content(path) for name, path in disks.items()}
    device = f"nvme,file={disks['served']},serial=served"
    server = serve(device, "served")
    machine = boot(SCRIPT, files=disktool, cpus=2,
                   devices=[f"vfio-user,socket={server.socket}", f"nvme,file={disks['own']},serial=own"])
    machine.expect("^zvisor-guest: writing$", BOOT_LIMIT)
    for number in (1, 2):
        server.kill()
        server = serve(device, "served")
        machine.expect(f"^zvisor-guest: recovered {number}$", 120)
    machine.send("\n")
    finish(machine, 300)
    assert "writers failed" not in machine.console
    assert "Automatic recovery failed" not in machine.console
    for name, writers in (("served", 8), ("own", 4)):
        assert content(disks[name]) == after_writers(before[name], writers, 50), f"disk {name} differs"


def test_a_function_that_linux_has_given_up_comes_back_when_it_is_recovered(boot, make_disk, serve):
    """The server is away for longer than the driver waits; then enabling alone has to connect again."""
    path = make_disk("disk", 16 * MIB)
    device = f"nvme,file={path},serial=served"
    server = serve(device, "served")
    machine = boot(
        """
        modprobe nvme || exit 1
        served=$(disk served) || exit 1
        function=$(readlink -f /sys/block/${served##*/}/device/device)
        say ready
        until dmesg | grep -q "Automatic recovery failed"; do sleep 0.2; done
        say "given up"
        read line
        echo 1 >$function/recover
        served=$(disk served) || exit 1
        say "holds $(dd if=$served bs=64k iflag=direct 2>/dev/null | sha256sum)"
        """,
        devices=[f"vfio-user,socket={server.socket}"])
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    server.kill()
    machine.expect("^zvisor-guest: given up$", 120)
    serve(device, "served")
    machine.send("\n")
    finish(machine, 120)
    assert f"holds {hashlib.sha256(content(path)).hexdigest()}" in machine.console


@pytest.mark.parametrize("share", ["on", "off"])
def test_a_served_device_touches_only_what_is_mapped(bare_guest, serve, share):
    """A guest maps and unmaps pages at random, while the device stores to one of those that are mapped."""
    server = serve("testdev", "testdev")
    guest = bare_guest("churn", ["tests/guest/zpci/zpci.c", "tests/guest/zpci/churn.c"], [f"-DOPERATIONS={CHURN}"])
    with run.Machine(run.zvisor_command(guest, memory="64M",
                                        devices=[f"vfio-user,socket={server.socket},share-memory={share}"])) as machine:
        status = machine.wait(120 + CHURN // 200)
        said = machine.console
    assert status == 0, said
    assert not re.search(r"^not ok", said, re.M), said
    assert re.search(f"^# +{CHURN} operations$", said, re.M), said
    assert re.search(r"^1\.\.4$", said, re.M), said


GREETING = struct.pack("=HHIIIHH", 1, 1, 20, 0, 0, 0, 1)


def test_who_waits_for_a_place_is_told_of_and_gets_it(serve):
    """The first one greets, stays and is silent, as a guest that does nothing."""
    server = serve("testdev", "testdev")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for client in (first, second):
            client.settimeout(60)
            client.connect(server.socket)
            client.sendall(GREETING)
        assert len(first.recv(20, socket.MSG_WAITALL)) == 20
        server.wait_for("another client waits")
        first.close()
        assert len(second.recv(20, socket.MSG_WAITALL)) == 20
    assert sum("another client waits" in line for line in server.lines) == 1, server.lines


# Of <linux/vfio.h>, of the protocol, and of testdev_regs.h.
SET_IRQS, REGION_WRITE, NO_REPLY = 8, 10, 0x10
EVENTFD, TRIGGER, MSIX = 1 << 2, 1 << 5, 2
CONFIG, COMMAND, MEMORY_AND_MASTER = 7, 4, 6
FIRE, ONE_OF_VECTOR_0 = 0x200, 1 << 16


def send_command(client, command, payload, flags=0, fds=()):
    """The reply, if there is one, has no payload."""
    header = struct.pack("=HHIII", 2, command, 16 + len(payload), flags, 0)
    socket.send_fds(client, [header + payload], fds)
    if not flags & NO_REPLY:
        reply = client.recv(16, socket.MSG_WAITALL)
        assert len(reply) == 16 and struct.unpack("=HHIII", reply)[4] == 0, reply


def register(region, offset, value, size):
    return struct.pack("<QII", offset, region, size) + value.to_bytes(size, "little")


def test_a_client_whose_interrupt_blocks_makes_room(serve):
    """Its eventfd is full and waits for somebody to read; the server is in its sandbox. Twice, and then all is well."""
    server = serve("testdev", "testdev")
    event = os.eventfd(0)
    for full in (True, True, False):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(server.socket)
            client.sendall(GREETING)
            # The text that follows the version is of no interest.
            length = struct.unpack("=HHIII", client.recv(16, socket.MSG_WAITALL))[2]
            assert len(client.recv(length - 16, socket.MSG_WAITALL)) == length - 16
            send_command(client, SET_IRQS, struct.pack("=5I", 20, EVENTFD | TRIGGER, MSIX, 0, 1), fds=[event])
            # The server has made it one that does not wait, for all who have it; so the client can, too.
            os.set_blocking(event, True)
            if full:
                os.eventfd_write(event, (1 << 64) - 2)
            send_command(client, REGION_WRITE, register(CONFIG, COMMAND, MEMORY_AND_MASTER, 2), NO_REPLY)
            send_command(client, REGION_WRITE, register(0, FIRE, ONE_OF_VECTOR_0, 8), NO_REPLY)
            if full:
                assert client.recv(1) == b""
                assert os.eventfd_read(event) == (1 << 64) - 2
            else:
                assert select.select([event], [], [], 60)[0] and os.eventfd_read(event) == 1
    os.close(event)
    server.wait_for("the client is gone: the other side has closed the connection")
    assert sum("gone: an eventfd for interrupts was full" in line for line in server.lines) == 2, server.lines
