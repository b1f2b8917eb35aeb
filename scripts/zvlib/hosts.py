# SPDX-License-Identifier: MIT
"""Hosts with real VFIO, in QEMU: Debian's kernel of an architecture, an IOMMU, PCI functions.

Where KVM does not work and no device can be given away, such a host is as real as one gets:
its kernel binds an emulated NVMe controller to vfio-pci, and maps its DMA by an emulated
IOMMU. zvisor and the guests it runs are put into the host's initrd, with the libraries
that they need; the host runs a script, and this side looks at its console and, in the
end, at the image of the disk.

A script for a host finds there:
    /bin/zvisor, /guests/NAME   as built
    vfio_bind ADDRESS           gives a function to vfio-pci
    ZVISOR_FUNCTION             the address of the function that is to be passed through
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from zvlib import debian, disk, host_kernel, initrd, run

# Where a host's programs look for what they are linked with.
LIBRARY_FOLDERS = {
    "amd64": ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib", "/lib"],
    "s390x": ["{sysroot}/usr/lib/s390x-linux-gnu", "/usr/s390x-linux-gnu/lib"],
}
MODULES = ["vfio", "vfio_iommu_type1", "vfio_pci", "iommufd"]

PRELUDE = """set -e
export PATH=/bin HOME=/ TERM=dumb LD_LIBRARY_PATH=/lib
mkdir -p /dev/shm /dev/hugepages /var/tmp
mount -t tmpfs tmpfs /dev/shm
# Memory of a guest is pinned.
ulimit -l unlimited
# What the kernel has to say of VFIO, and of what went wrong.
echo 5 >/proc/sys/kernel/printk
# The module of type1 is asked for when the container is opened; nobody loads it here.
for module in vfio_iommu_type1 vfio_pci iommufd; do
	modprobe $module 2>/dev/null || true
done
vfio_bind()
{
	local device=/sys/bus/pci/devices/$1

	[ ! -e "$device/driver" ] || echo "$1" >"$device/driver/unbind"
	echo vfio-pci >"$device/driver_override"
	echo "$1" >/sys/bus/pci/drivers_probe
	[ "$(basename "$(readlink "$device/driver")")" = vfio-pci ] || {
		echo "$1 is not bound to vfio-pci"
		return 1
	}
	echo "host: $1 is bound to vfio-pci, group $(basename "$(readlink "$device/iommu_group")")"
}
"""


class HostError(Exception):
    """Something that a person has to know of, in one line."""


def _needs(program):
    """The names of the libraries that an ELF program needs, and its interpreter's path."""
    said = subprocess.run(["readelf", "-dlW", program], capture_output=True, text=True, check=True,
                          env=dict(os.environ, LC_ALL="C")).stdout
    interpreter = re.search(r"program interpreter: (\S+)\]", said)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", said), interpreter and interpreter.group(1)


def libraries(architecture, programs):
    """What programs are linked with, for an initrd: {path in the host: content}."""
    folders = [folder.format(sysroot=debian.sysroot(architecture) if "{" in folder else "")
               for folder in LIBRARY_FOLDERS[architecture]]
    found = {}

    def add(name, target):
        if target in found:
            return
        for folder in folders:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                break
        else:
            raise HostError(f"{name}, which zvisor for {architecture} is linked with, is in none of {', '.join(folders)}")
        with open(path, "rb") as file:
            found[target] = file.read()
        follow(path)

    def follow(path):
        needed, interpreter = _needs(path)
        for name in needed:
            add(name, f"lib/{name}")
        if interpreter:
            add(os.path.basename(interpreter), interpreter.lstrip("/"))

    for program in programs:
        follow(program)
    return found


class Host:
    """What a kind of host is made of; boot() gives it a script."""

    def __init__(self, architecture, guest, build, function, memory="3G", cpus=2):
        self.architecture, self.guest, self.build = architecture, guest, build
        self.function, self.memory, self.cpus = function, memory, cpus

    def programs(self):
        """{name in the host: path} of what was built."""
        found = {"bin/zvisor": os.path.join(self.build, "src/zvisor")}
        for folder in ("tests/guest", "tests/guest/zpci"):
            for name in sorted(os.listdir(os.path.join(self.build, folder))):
                path = os.path.join(self.build, folder, name)
                if os.path.isfile(path) and "." not in name:
                    found[f"guests/{name}"] = path
        return found

    def initrd(self, path, script, files=()):
        """Writes the host's initrd; files are {path in the host: path here}."""
        programs = self.programs()
        content = {}
        for target, source in {**programs, **dict(files)}.items():
            with open(source, "rb") as file:
                content[target] = file.read()
        # What else is to run there may be linked with something, too.
        elves = [source for target, source in {**programs, **dict(files)}.items()
                 if content[target][:4] == b"\x7fELF" and not target.startswith("guests/")]
        content.update(libraries(self.architecture, elves))
        text = PRELUDE + f"export ZVISOR_FUNCTION={self.function}\n" + script
        with open(path, "wb") as file:
            file.write(initrd.base_archive(self.guest, MODULES))
            file.write(initrd.script_archive(text, content))
        return path

    def boot(self, folder, script, files=(), **more):
        """A running host (run.Machine): its standard output is its console."""
        path = self.initrd(os.path.join(folder, "host-initrd"), script, files)
        return run.Machine(self.command(path, **more))


class X86(Host):
    """q35 with an IOMMU that remaps interrupts, an NVMe controller, and at 0000:00:05.0 an entropy source."""

    PROGRAM = "qemu-system-x86_64"

    def __init__(self, build, guest=None, thread="single", **more):
        """thread: whether QEMU executes all vCPUs in a "single" one, or each in one of its own ("multi").

        With "multi", QEMU 7.2 has been seen to die in memory_region_dispatch_write() with a region of
        -1: a vCPU's TLB refers to the memory map that another vCPU has just changed by moving a BAR
        (tcg_commit(); since 8.2 each vCPU changes to the new map by itself). Who measures wants "multi".
        """
        super().__init__("amd64", guest or debian.fetch(architecture="amd64"), build, "0000:00:04.0", **more)
        self.thread = thread

    def command(self, initrd_path, disk=None, append="", more=()):
        command = [self.PROGRAM, "-machine", "q35,kernel-irqchip=split", "-accel", f"tcg,thread={self.thread}",
                   "-cpu", "max", "-smp", str(self.cpus), "-m", self.memory,
                   "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
                   "-device", "intel-iommu,intremap=on",
                   "-kernel", self.guest.kernel, "-initrd", initrd_path,
                   "-device", "virtio-rng-pci,addr=5.0,iommu_platform=on,disable-legacy=on",
                   # The kernel's check of its timer fails on a machine that is busy.
                   "-append", ("console=ttyS0 intel_iommu=on no_timer_check quiet panic=-1 mitigations=off "
                               + append).strip()]
        if disk:
            command += ["-drive", f"file={disk},if=none,id=disk,format=raw",
                        "-device", "nvme,drive=disk,serial=zvisor-host,addr=4.0"]
        return command + list(more)


class Iommufd(X86):
    """The same with a kernel that has iommufd and no modules."""

    def __init__(self, build, **more):
        kernel = host_kernel.fetch()
        guest = debian.fetch(architecture="amd64")
        super().__init__(build, guest._replace(kernel=kernel, modules=os.path.dirname(kernel) + "/no-modules"), **more)


# What the s390x host's own machine is made with, and a bare guest on the outer QEMU.
S390X_FUNCTION = ["-device", "zpci,uid=5,fid=9,target=function",
                  "-device", "virtio-rng-pci,id=function,iommu_platform=on,disable-legacy=on"]


class S390x(Host):
    """QEMU's s390x machine with a virtio entropy source behind zPCI, which Debian 12's QEMU has."""

    PROGRAM = "qemu-system-s390x"

    def __init__(self, build, guest=None, memory="2G", **more):
        # VFIO knows zPCI's own numbers; Linux 6.12 and newer.
        super().__init__("s390x", guest or debian.fetch(os.environ.get("ZVISOR_TEST_NEWER_SUITE", "forky")), build,
                         "0005:00:00.0", memory=memory, **more)

    def command(self, initrd_path, disk=None, append=""):
        return run.qemu_command(self.guest.kernel, initrd_path, ("quiet " + append).strip(), self.memory, self.cpus,
                                ["-cpu", "max", "-no-reboot", *S390X_FUNCTION])


def follow(machine, pattern, limit, say):
    """Tells line by line what a host says until a line matches; returns the match."""
    deadline = time.monotonic() + limit
    while True:
        line = machine.expect("^.+$", max(1, deadline - time.monotonic())).group(0)
        if isinstance(line, bytes):
            line = line.decode(errors="replace")
        say(line)
        if found := re.search(pattern, line):
            return found


def perform(host, folder, script, limit, say=print, **more):
    """Boots a host for a script, tells what it says, and waits for its end: (status of the script, all that it said)."""
    with host.boot(folder, script, **more) as machine:
        try:
            ended = follow(machine, r"^zvisor-guest: script ended with (\d+)", limit, say)
            machine.wait(60)
        except run.RunError as error:
            raise HostError(f"the {host.architecture} host: {error}") from None
        return int(ended.group(1)), machine.console


def main():
    parser = argparse.ArgumentParser(prog="scripts/test-hosts", description="Boots a host and runs a script in it.")
    parser.add_argument("--host", choices=sorted(KINDS), default="x86")
    parser.add_argument("--disk", help="image of its NVMe disk (default: one of 16 MiB, made for this)")
    parser.add_argument("--limit", type=float, default=600, help="seconds")
    parser.add_argument("--file", action="append", default=[], metavar="HERE:THERE", help="put a file into the host")
    parser.add_argument("script", help="shell script; scripts/zvlib/hosts.py says what it finds there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = options.disk or disk.make(os.path.join(folder, "disk"), 16 << 20, 1)
        with open(options.script, encoding="utf-8") as file:
            script = file.read()
        files = {there: here for here, there in (pair.split(":", 1) for pair in options.file)}
        try:
            status, _ = perform(KINDS[options.host](run.build_folder()), folder, script, options.limit,
                                disk=image, files=files)
        except (HostError, debian.FetchError, OSError) as error:
            sys.exit(f"test-hosts: {error}")
    sys.exit(status)


KINDS = {"iommufd": Iommufd, "s390x": S390x, "x86": X86}

if __name__ == "__main__":
    main()
