# SPDX-License-Identifier: MIT
"""The same guest gives the same registers, whichever way its code is executed.

Two zvisors boot the same kernel, with time that is the count of instructions, and write
a hash of the registers each EVERY instructions into a pipe. So both can be read along:
the first line that differs ends the test and says where.
"""

import os
import subprocess
from itertools import islice

import pytest

from zvlib import initrd, run

# A prime, so that the places are not always the same in the guest's loops.
EVERY = 100003

# Processes, pipes, compression and floating point, once the kernel is up.
SCRIPT = """
seq 1 300 | gzip -1 | gunzip | sha1sum
awk 'BEGIN { for (i = 1; i <= 300; i++) x += i / 3; printf "%.9f\\n", x }'
ls -lR /sys/bus | sort -r | md5sum
"""


class Run:
    """A guest whose hashes can be read as they come: (count, hash) as bytes, line by line."""

    def __init__(self, command):
        self.read_end, write_end = os.pipe()
        command = [word.replace("PIPE", f"/dev/fd/{write_end}") for word in command]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, pass_fds=[write_end])
        os.close(write_end)
        self.lines = os.fdopen(self.read_end, "rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(30)
        self.process.stderr.close()
        self.lines.close()


@pytest.fixture(scope="module")
def image(guest, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("lockstep") / "initrd")
    initrd.build(guest, path, SCRIPT)
    return path


@pytest.fixture
def start(guest, zvisor, image):
    def start_one(how, start=0, memory="512M"):
        return Run(run.zvisor_command(guest.kernel, image, "", memory,
                                      more=["--lockstep", f"{EVERY}@{start},{how},PIPE"]))
    return start_one


# From where and how far, in millions of instructions (None: until the guest has powered off).
# The first 2000 million are the kernel's decompressor; the last 30 or so are the script.
# A CPU that decodes each instruction afresh goes only as far as there is time for.
@pytest.mark.parametrize("how,first,millions", [
    ("translated", 0, None), ("flushed", 0, None), ("unchained", 0, None),
    ("uncached", 0, 30), ("uncached", 2000, 60), ("uncached", 2900, None)])
def test_the_registers_are_the_same_however_code_is_executed(start, how, first, millions):
    first *= 1000000
    limit = millions * 1000000 // EVERY if millions else None
    compared = 0
    with start("cached", first) as one, start(how, first) as other:
        for expected, seen in zip(islice(one.lines, limit), other.lines):
            assert expected == seen, f"the runs differ at or before instruction {seen.split()[0].decode()}"
            compared += 1
        if limit:
            assert compared == limit
        else:
            assert not one.lines.read() and not other.lines.read()
            assert one.process.wait(30) == other.process.wait(30) == 0
            assert first + compared * EVERY > 2000000000


def test_guests_that_are_not_the_same_differ(start):
    """What they have in memory makes a difference once the kernel is decompressed."""
    with start("cached", 2000000000) as one, start("cached", 2000000000, "256M") as other:
        assert any(a != b for a, b in zip(one.lines, other.lines))


@pytest.mark.parametrize("value", ["", "1000", "0,cached,f", "1000,cached,", "1000,somehow,f", "many,cached,f", "1000@,cached,f"])
def test_a_wrong_request_is_refused(guest, zvisor, value):
    result = subprocess.run([zvisor, "run", "--kernel", guest.kernel, "--lockstep", value],
                            capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and f"--lockstep {value}" in result.stderr


def test_more_than_one_cpu_cannot_be_reproduced(guest, zvisor):
    result = subprocess.run([zvisor, "run", "--kernel", guest.kernel, "--cpus", "2",
                             "--lockstep", "1000,cached,/dev/null"], capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert "--lockstep" in result.stderr
