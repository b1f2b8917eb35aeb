# SPDX-License-Identifier: MIT
"""Fixtures of the functional tests: Debian's guest, initrds for it, disks, running machines."""

import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from zvlib import debian, disk, initrd, run  # noqa: E402  (found by the line above)

# How long a guest may take at most, in seconds; only to end a test that hangs.
BOOT_LIMIT = 180

# How the kernel says that something went wrong in it.
COMPLAINT = re.compile(r"BUG:|Oops|Call Trace|rcu.*stall|soft lockup|WARNING:|blocked for more than"
                       r"|Unable to handle|illegal operation|specification exception")

# What every script in a guest may use.
PRELUDE = """
say() { echo "zvisor-guest: $*"; }

# The disk with a serial number, once it is there.
disk() {
	tries=600
	while [ $((tries = tries - 1)) -gt 0 ]; do
		for folder in /sys/block/nvme*n1; do
			[ -e $folder/device/serial ] || continue
			[ "$(cat $folder/device/serial | tr -d ' ')" = "$1" ] || continue
			[ -b /dev/${folder##*/} ] && echo /dev/${folder##*/} && return
		done
		sleep 0.1
	done
	say "no disk $1" >&2
	return 1
}
"""


@pytest.fixture(scope="session")
def guest():
    return debian.fetch(os.environ.get("ZVISOR_TEST_SUITE"))


@pytest.fixture(scope="session")
def newer_guest():
    """A kernel that can do without I/O address translation: Linux 6.15 or newer."""
    return debian.fetch(os.environ.get("ZVISOR_TEST_NEWER_SUITE", "forky"))


@pytest.fixture(scope="session")
def zvisor():
    program = run.zvisor_program()
    assert os.access(program, os.X_OK), f"{program} is not built"
    return program


@pytest.fixture
def folder():
    """A folder on a real file system, as direct I/O wants it; /tmp may be memory."""
    import tempfile
    with tempfile.TemporaryDirectory(prefix="functional-", dir=run.build_folder()) as path:
        yield path


def compile_for_guest(name):
    """A program of tests/functional/guest, as a file for an initrd."""
    source = os.path.join(ROOT, "tests", "functional", "guest", f"{name}.c")
    output = os.path.join(run.build_folder(), name)
    subprocess.run(["s390x-linux-gnu-gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-march=z196",
                    "-std=gnu17", "-D_GNU_SOURCE", "-o", output, source], check=True)
    with open(output, "rb") as file:
        return {f"bin/{name}": file.read()}


@pytest.fixture(scope="session")
def disktool():
    """The program that uses disks from inside a guest."""
    return compile_for_guest("disktool")


@pytest.fixture(scope="session")
def bare_guest():
    """Builds a freestanding guest: bare_guest("ticker") makes guest/ticker.c and returns its path.

    Or of other sources, named from the top of the project; with options for the compiler.
    """
    def make(name, sources=None, options=()):
        sources = sources or [os.path.join("tests", "functional", "guest", f"{name}.c")]
        library = os.path.join(ROOT, "tests", "guest")
        output = os.path.join(run.build_folder(), f"functional-{name}")
        subprocess.run(["s390x-linux-gnu-gcc", "-std=gnu17", "-m64", "-march=z10", "-msoft-float", "-O2", "-Wall",
                        "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-fno-pic", "-no-pie",
                        "-fno-stack-protector", "-fno-delete-null-pointer-checks", "-Wl,--build-id=none",
                        "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments", "-I", library,
                        "-T", os.path.join(library, "lib", "guest.ld"), "-o", output,
                        os.path.join(library, "lib", "start.S"), os.path.join(library, "lib", "guest.c"),
                        *(os.path.join(ROOT, source) for source in sources), *options], check=True)
        return output
    return make


@pytest.fixture
def make_disk(folder):
    """Makes a disk: make_disk("a", 16 << 20) returns its path."""
    def make(name, size, seed=None):
        return disk.make(os.path.join(folder, f"{name}.img"), size, seed or name)
    return make


@pytest.fixture
def command(guest, zvisor, folder):
    """The command line for a guest that runs a script: command(script, cpus=2, devices=[...])."""
    counter = iter(range(1000))

    def make(script, files=(), modules=(), append="quiet", memory="512M", cpus=1, devices=(), more=(),
             other_guest=None):
        taken = other_guest or guest
        image = os.path.join(folder, f"initrd-{next(counter)}")
        initrd.build(taken, image, PRELUDE + script if script is not None else None, files, modules)
        return run.zvisor_command(taken.kernel, image, append, memory, cpus, devices, more=more)
    return make


@pytest.fixture
def boot(command):
    """Starts such a guest; whatever still runs when the test ends is killed."""
    machines = []

    def start(script, stdin=subprocess.PIPE, **more):
        machine = run.Machine(command(script, **more), stdin=stdin)
        machines.append(machine)
        return machine
    yield start
    for machine in machines:
        machine.kill()


def finish(machine, limit=BOOT_LIMIT):
    """Waits until the guest has run its script and powered off, as it should."""
    machine.expect(r"^zvisor-guest: script ended with 0$", limit)
    status = machine.wait(60)
    assert status == 0, f"exit status {status}: {machine.errors}"
    return machine
