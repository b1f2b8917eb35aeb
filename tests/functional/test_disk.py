# SPDX-License-Identifier: MIT
"""Debian's nvme driver uses disks; the host checks what is on them."""

import hashlib
import os
import re
import subprocess

import pytest

from conftest import BOOT_LIMIT, finish
from disklayout import SECTOR, after_writers, first_lost_round
from zvlib import disk, run

MIB = 1 << 20


def content(path):
    with open(path, "rb") as file:
        return file.read()


def test_many_writers_on_two_disks_leave_what_they_wrote(boot, make_disk, disktool):
    disks = {"one": make_disk("one", 32 * MIB), "two": make_disk("two", 16 * MIB)}
    before = {name: content(path) for name, path in disks.items()}
    machine = boot(
        """
        modprobe nvme || exit 1
        one=$(disk one) && two=$(disk two) || exit 1
        disktool writers $one 8 200 & first=$!
        disktool writers $two 4 200 & second=$!
        wait $first && wait $second
        """,
        files=disktool, cpus=4,
        devices=[f"nvme,file={path},serial={name},uid={uid}" for uid, (name, path) in enumerate(disks.items(), 1)])
    finish(machine, 600)
    for name, writers in (("one", 8), ("two", 4)):
        assert content(disks[name]) == after_writers(before[name], writers, 200), f"disk {name} differs"


def test_what_was_flushed_survives_a_kill(boot, make_disk, disktool):
    path = make_disk("log", 64 * MIB)
    length = 64
    # Killed at another place each time, in the midst of writing.
    for wanted in (5, 60):
        machine = boot(f"modprobe nvme && disktool log $(disk log) 100000 {length}", files=disktool, cpus=2,
                       devices=[f"nvme,file={path},serial=log"])
        machine.expect(f"^disktool: flushed {wanted}$", 600)
        machine.kill()
        flushed = max(int(number) for number in re.findall(r"^disktool: flushed (\d+)$", machine.console, re.M))
        assert flushed >= wanted
        assert first_lost_round(content(path), flushed, length) is None
        disk.make(path, 64 * MIB, "log")


def test_a_read_only_disk_can_be_read_and_not_written(boot, make_disk):
    path = make_disk("ro", 4 * MIB)
    os.chmod(path, 0o444)
    before = disk.sha256(path)
    machine = finish(boot(
        """
        modprobe nvme && dev=$(disk ro) || exit 1
        say sum $(sha256sum <$dev)
        say ro $(cat /sys/block/${dev##*/}/ro)
        dd if=/dev/zero of=$dev bs=4k count=1 conv=fsync 2>/dev/null && say written
        true
        """, devices=[f"nvme,file={path},serial=ro,readonly=on"]))
    assert f"zvisor-guest: sum {before}" in machine.console
    assert "zvisor-guest: written" not in machine.console
    assert disk.sha256(path) == before


def test_a_disk_that_fails_gives_the_guest_an_error_and_zvisor_goes_on(boot, make_disk):
    """The host's file loses its second half under the guest."""
    path = make_disk("short", 8 * MIB)
    machine = boot(
        """
        modprobe nvme && dev=$(disk short) || exit 1
        say ready; read go
        dd if=$dev of=/dev/null bs=64k skip=100 count=1 iflag=direct 2>/dev/null && say read what is not there
        dd if=$dev bs=1M count=4 iflag=direct 2>/dev/null | sha256sum >/tmp/sum
        say sum $(cat /tmp/sum)
        """, devices=[f"nvme,file={path},serial=short"])
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    os.truncate(path, 4 * MIB)
    machine.send("\n")
    finish(machine)
    assert "read what is not there" not in machine.console
    assert f"zvisor-guest: sum {disk.sha256(path)}" in machine.console


def test_a_full_host_gives_the_guest_an_error_and_zvisor_goes_on(command, folder):
    """A sparse file on a small file system of its own, mounted in a namespace of its own."""
    mount = os.path.join(folder, "small")
    os.mkdir(mount)
    path = os.path.join(mount, "disk.img")
    argv = command(
        """
        modprobe nvme && dev=$(disk full) || exit 1
        dd if=/dev/zero of=$dev bs=64k count=256 conv=fsync 2>/dev/null && say everything fitted
        dd if=$dev of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null && say still readable
        """, devices=[f"nvme,file={path},serial=full"])
    prepare = f"mount -t tmpfs -o size=4m none {mount} && truncate -s 16M {path} && "
    namespace = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*namespace, "sh", "-c", prepare + "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    with run.Machine([*namespace, "sh", "-c", prepare + 'exec "$@"', "sh", *argv]) as machine:
        finish(machine)
        assert "zvisor-guest: everything fitted" not in machine.console
        assert "zvisor-guest: still readable\n" in machine.console


def test_discarded_blocks_read_as_zeros_and_leave_the_rest(boot, make_disk):
    path = make_disk("trim", 8 * MIB)
    before = content(path)
    machine = finish(boot(
        "modprobe nvme && dev=$(disk trim) && blkdiscard -o 1048576 -l 2097152 $dev && "
        "say sum $(sha256sum <$dev)", devices=[f"nvme,file={path},serial=trim"]))
    after = content(path)
    assert after[:MIB] == before[:MIB] and after[3 * MIB:] == before[3 * MIB:]
    assert after[MIB:3 * MIB] == bytes(2 * MIB)
    assert f"zvisor-guest: sum {disk.sha256(path)}" in machine.console


def test_requests_of_one_sector_and_of_many(boot, make_disk):
    path = make_disk("sizes", 8 * MIB)
    before = content(path)
    machine = finish(boot(
        """
        modprobe nvme && dev=$(disk sizes) || exit 1
        for size in 512 4096 65536 1048576; do
            say $size $(dd if=$dev bs=$size skip=3 count=3 iflag=direct 2>/dev/null | sha256sum)
        done
        """, devices=[f"nvme,file={path},serial=sizes"]))
    for size in (SECTOR, 4096, 65536, MIB):
        wanted = hashlib.sha256(before[3 * size:6 * size]).hexdigest()
        assert f"zvisor-guest: {size} {wanted} " in machine.console
