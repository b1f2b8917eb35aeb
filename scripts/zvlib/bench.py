# SPDX-License-Identifier: MIT
"""Measures zvisor and, in turn with it, QEMU from Debian; prints a table, writes build/bench.json.

Two kinds of guests are measured. Freestanding ones (bench/guest) time short slices of a
known number of instructions with their own clock. Debian's kernel is timed by this machine's
clock up to /init, and by its own in the shell script that it then runs.

Passthrough is measured in an x86-64 host with VFIO, which QEMU emulates (zvlib/hosts.py): what zvisor
does there is compared with what the host's kernel does by itself, in the same host.

Each value is the median of all slices or runs. zvisor and its peer take turns, so that what
else happens on the machine meets both. A ratio says how many times as fast as its peer zvisor is.
Of what runs for seconds, the host's CPU time is taken as well (all threads of the process): it
tells more than the clock where other work shares the machine.
"""

import argparse
import collections
import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

from zvlib import debian, hosts, initrd, run

NAMES = ["loop", "timer", "boot", "shell", "fork", "nvme", "pci", "zpci", "memory"]
ALL_NAMES = NAMES + ["vfio-user", "direct", "passthrough"]
MIB = 1 << 20

# How a measure reads: what it is, its unit, whether more is better, what it is to reach, and
# what is known of the peer where it is not measured here. reach_ratio: of the peer's speed.
Measure = collections.namedtuple("Measure", "title unit more reach reach_ratio stated")
MEASURES = {
    "loop-mixed": Measure("bare-metal loop, as compiled code", "million/s", True, 300, None, None),
    "loop-registers": Measure("bare-metal loop, registers only", "million/s", True, None, None, None),
    "loop-memory": Measure("bare-metal loop, loads and stores", "million/s", True, None, None, None),
    "timer-wait": Measure("timer of 100 us, waiting CPU, late by", "us", False, 190, None, None),
    "timer-busy": Measure("timer of 100 us, busy CPU, late by", "us", False, None, None, None),
    "boot-speed": Measure("boot, of one core's time", "million/s", True, 150, None, "660, QEMU 11.1"),
    "init": Measure("launch to /init", "s", False, 25, None, "6 to 7, QEMU 11.1"),
    "shell": Measure("shell loop, 100,000 rounds", "s", False, None, 0.5, "5.4 to 8.2, QEMU 11.1"),
    "fork": Measure("fork and exec of busybox", "/s", True, None, 0.5, None),
    "nvme-4k": Measure("NVMe reads of 4 KiB, one at a time", "/s", True, 5000, None, "1,250, QEMU 11.1"),
    "nvme-1m": Measure("NVMe reads of 1 MiB", "MB/s", True, 500, None, "540, QEMU 11.1"),
    "pcilg-config": Measure("PCILG of config space, NVMe", "ns", False, 60, None, "88 to 170, QEMU 11.1"),
    "pcilg-bar": Measure("PCILG of a BAR, NVMe", "ns", False, 60, None, None),
    "pcistg-config": Measure("PCISTG to config space, NVMe", "ns", False, None, None, None),
    "pcistg-bar": Measure("PCISTG to a BAR, NVMe", "ns", False, 60, None, "180 to 460, QEMU 11.1"),
    "sic": Measure("SIC, beside NVMe", "ns", False, 60, None, None),
    "zpci-pcilg-config": Measure("PCILG of config space, testdev", "ns", False, None, 3, None),
    "zpci-pcilg-bar": Measure("PCILG of a BAR, testdev", "ns", False, None, 3, None),
    "zpci-pcistg-config": Measure("PCISTG to config space, testdev", "ns", False, None, 3, None),
    "zpci-pcistg-bar": Measure("PCISTG to a BAR, testdev", "ns", False, None, 3, None),
    "zpci-pcistb": Measure("PCISTB of 128 bytes", "ns", False, None, 3, None),
    "zpci-sic": Measure("SIC, beside testdev", "ns", False, None, None, None),
    "nvme-queue-1": Measure("NVMe reads of 4 KiB, 1 of 4 vCPUs", "/s", True, None, None, None),
    "nvme-queue-4": Measure("NVMe reads of 4 KiB, 4 vCPUs, a queue each", "/s", True, None, None, None),
    "nvme-scaling": Measure("4 queues against 1", "times", True, None, None, None),
    "zpci-rpcit-pair": Measure("RPCIT, a page mapped, a page unmapped", "ns", False, None, 3, None),
    "zpci-rpcit-range": Measure("RPCIT over 256 MiB, both, of a page", "ns", False, None, 5, None),
    "zpci-rpcit-aperture": Measure("RPCIT over 16 GiB with 100 changes", "us", False, None, None, None),
    "rpcit-used": Measure("RPCIT for a page in use, and its next use", "ns", False, None, None, None),
    "dma-miss": Measure("DMA of a byte, page not in the IOTLB", "ns", False, None, None, None),
    "dma-copy": Measure("copy of a page", "ns", False, None, None, None),
    "dma-overhead": Measure("the same by DMA takes more by", "ns", False, 50, None, None),
    "walk-page": Measure("walk of 256 MiB in one run, of a page", "ns", False, None, None, None),
    "work-speed": Measure("shell, fork, NVMe, of one core's time", "million/s", True, None, None, None),
    "eventfd-wake": Measure("host: an eventfd wakes a thread", "us", False, None, None, None),
    "interrupt-idle": Measure("host: an eventfd's interrupt, waiting CPU", "us", False, None, None, None),
    "interrupt-ratio": Measure("the latter against the former", "times", False, 1.5, None, None),
    "interrupt-busy": Measure("host: an eventfd's interrupt, busy CPU", "us", False, None, None, None),
    "type1-map-calls": Measure("host: type1, 256 pages mapped, a call each", "us", False, None, None, None),
    "type1-map": Measure("the same by one RPCIT", "us", False, None, None, None),
    "type1-map-ratio": Measure("the latter against the former", "times", False, 1.1, None, None),
    "type1-unmap-calls": Measure("host: type1, 256 pages unmapped, a call each", "us", False, None, None, None),
    "type1-unmap": Measure("the same by one RPCIT", "us", False, None, None, None),
    "type1-flush": Measure("the same by one RPCIT for 4 GiB", "us", False, None, None, None),
    "type1-unmap-ratio": Measure("a call each against one RPCIT", "times", True, 10, None, None),
    "bar-store-native": Measure("host: store to a mapped BAR, native", "ns", False, None, None, None),
    "bar-store": Measure("host: PCISTG to it, in a guest", "ns", False, None, None, None),
    "bar-store-ratio": Measure("the latter against the former", "times", False, 2, None, None),
    "built-in-4k": Measure("NVMe reads of 4 KiB, built in", "/s", True, None, None, None),
    "served-4k": Measure("the same by vfio-user", "/s", True, None, None, None),
    "served-ratio": Measure("the latter against the former", "times", True, 0.7, None, None),
    "translated-4k": Measure("NVMe reads of 4 KiB, newer kernel, translated", "/s", True, None, None, None),
    "direct-4k": Measure("the same with direct mapping", "/s", True, None, None, None),
    "direct-ratio": Measure("the latter against the former", "times", True, None, None, None),
    "memory": Measure("memory beside the guest's own", "MiB", False, 64, None, None),
}

# Which measures belong to a name on the command line.
OF_NAME = {
    "loop": ["loop-mixed", "loop-registers", "loop-memory"],
    "timer": ["timer-wait", "timer-busy"],
    "boot": ["boot-speed", "init"],
    "shell": ["shell"],
    "fork": ["fork", "work-speed"],
    "nvme": ["nvme-4k", "nvme-1m"],
    "pci": ["pcilg-config", "pcilg-bar", "pcistg-config", "pcistg-bar", "sic"],
    "zpci": ["zpci-pcilg-config", "zpci-pcilg-bar", "zpci-pcistg-config", "zpci-pcistg-bar", "zpci-pcistb",
             "zpci-sic", "zpci-rpcit-pair", "zpci-rpcit-range", "zpci-rpcit-aperture",
             "rpcit-used", "dma-miss", "dma-copy", "dma-overhead", "walk-page", "nvme-queue-1", "nvme-queue-4", "nvme-scaling"],
    "memory": ["memory"],
    "vfio-user": ["built-in-4k", "served-4k", "served-ratio"],
    "direct": ["translated-4k", "direct-4k", "direct-ratio"],
    "passthrough": ["eventfd-wake", "interrupt-idle", "interrupt-ratio", "interrupt-busy", "type1-map-calls",
                    "type1-map", "type1-map-ratio", "type1-unmap-calls", "type1-unmap", "type1-flush",
                    "type1-unmap-ratio", "bar-store-native", "bar-store", "bar-store-ratio"],
}

# What is measured in a host with VFIO: slices whose names are those of other measures, and ratios.
HOST_SLICES = {"pcistg-bar": "bar-store"}
HOST_RATIOS = {"interrupt-ratio": ("interrupt-idle", "eventfd-wake"), "type1-map-ratio": ("type1-map", "type1-map-calls"),
               "type1-unmap-ratio": ("type1-unmap-calls", "type1-unmap"), "bar-store-ratio": ("bar-store", "bar-store-native")}
# Ratios of two kinds of reads in Linux.
READ_RATIOS = {"served-ratio": ("served-4k", "built-in-4k"), "direct-ratio": ("direct-4k", "translated-4k")}
# Direct mapping takes a kernel of 6.15 or newer.
NEWER_SUITE = "forky"
HOST_SCRIPT = """
vfio_bind $ZVISOR_FUNCTION
# Its serial line is slow: first all is measured, then told, and no more than is wanted.
interrupt_bench /bench/interrupt 101 >/tmp/interrupt
mapping_bench $ZVISOR_FUNCTION >/tmp/mapping
zvisor run --kernel /bench/access --memory 64M --device vfio,host=$ZVISOR_FUNCTION </dev/null >/tmp/access
grep -h -E "^bench (interrupt|eventfd|type1|bar-store|pcistg-bar)" /tmp/interrupt /tmp/mapping /tmp/access
"""
HOST_FILES = {"bin/interrupt_bench": "bench/interrupt_bench", "bin/mapping_bench": "bench/mapping_bench",
              "bench/interrupt": "bench/guest/interrupt", "bench/access": "bench/guest/access"}
# Until a host has done all that, on a machine that is busy with other things.
HOST_LIMIT = 500

SHELL_ROUNDS = 100000
# No round begins that might not end within this.
LIMIT_SECONDS = 600

# /proc/uptime counts hundredths of seconds: each part is to take seconds.
SCRIPT_HEAD = """
begin() { echo "zvisor-guest: begin $1"; read start rest </proc/uptime; }
end() { read stop rest </proc/uptime; echo "zvisor-guest: took $1 $2 $start $stop"; }
"""
SCRIPTS = {
    "shell": """
begin shell
i=0
while [ $i -lt COUNT ]; do i=$((i+1)); done
end shell COUNT
""",
    "fork": """
begin fork
i=0
while [ $i -lt COUNT ]; do /bin/true; i=$((i+1)); done
end fork COUNT
""",
    "nvme": """
modprobe nvme
tries=300
while [ ! -b /dev/nvme0n1 ] && [ $((tries = tries - 1)) -gt 0 ]; do sleep 0.1; done
begin nvme-4k
dd if=/dev/nvme0n1 of=/dev/null bs=4k count=COUNT4K iflag=direct 2>/dev/null || exit 1
end nvme-4k COUNT4K
begin nvme-1m
dd if=/dev/nvme0n1 of=/dev/null bs=1M count=COUNT1M iflag=direct 2>/dev/null || exit 1
end nvme-1m COUNT1M
""",
    "reads": """
modprobe nvme
tries=300
while [ ! -b /dev/nvme0n1 ] && [ $((tries = tries - 1)) -gt 0 ]; do sleep 0.1; done
begin MEASURE
dd if=/dev/nvme0n1 of=/dev/null bs=4k count=COUNT4K iflag=direct 2>/dev/null || exit 1
end MEASURE COUNT4K
""",
    "queues": """
modprobe nvme
tries=300
while [ ! -b /dev/nvme0n1 ] && [ $((tries = tries - 1)) -gt 0 ]; do sleep 0.1; done
read_on() { taskset $((1 << $1)) dd if=/dev/nvme0n1 of=/dev/null bs=4k count=COUNTQ skip=$(($1 * 65536)) \\
	iflag=direct 2>/dev/null; }
begin nvme-queue-1
read_on 0 || exit 1
end nvme-queue-1 COUNTQ
begin nvme-queue-4
for cpu in 0 1 2 3; do read_on $cpu & done
wait
end nvme-queue-4 $((4 * COUNTQ))
""",
}
# How much of each: for a whole measurement, for a quick one.
COUNTS = {"shell": (SHELL_ROUNDS, SHELL_ROUNDS // 5), "fork": (1000, 200), "COUNT4K": (16384, 4096),
          "COUNT1M": (1024, 256), "COUNTQ": (65536, 32768)}
DISK_MIB = 1024


class Failed(Exception):
    """Why something could not be measured, in one line."""


class Side:
    """zvisor or its peer: what runs, and what was measured with it."""

    def __init__(self, name):
        self.name = name
        self.samples = collections.defaultdict(list)
        self.cpu = collections.defaultdict(list)
        self.has_nvme = True

    def take(self, measure, value, cpu=None):
        """A sample, and the same by the host's CPU time if that is known."""
        self.samples[measure].append(value)
        if cpu is not None:
            self.cpu[measure].append(cpu)

    def value(self, measure):
        return statistics.median(self.samples[measure]) if self.samples[measure] else None

    def cpu_value(self, measure):
        return statistics.median(self.cpu[measure]) if self.cpu[measure] else None


class Zvisor(Side):
    def freestanding(self, guest, disk, name):
        devices = {"pci": [f"nvme,file={disk}"], "zpci": ["testdev"]}.get(name, [])
        return run.zvisor_command(guest, memory="64M", devices=devices)

    def linux(self, guest, image, disk, cpus=1):
        devices = [f"nvme,file={disk}"] if disk else []
        return run.zvisor_command(guest.kernel, image, "quiet", "1G", cpus, devices, stats=True)


class Qemu(Side):
    def __init__(self, name):
        super().__init__(name)
        devices = subprocess.run([run.qemu_program(), "-device", "help"], capture_output=True, text=True,
                                 check=False).stdout
        self.has_nvme = 'name "nvme"' in devices

    def _nvme(self, disk):
        if not disk:
            return []
        return ["-drive", f"file={disk},if=none,id=disk,format=raw,cache=none,aio=native",
                "-device", "zpci,uid=1,fid=1,target=nvme", "-device", "nvme,serial=bench,drive=disk,id=nvme"]

    def freestanding(self, guest, disk, name):
        more = ["-cpu", "max"]
        if name == "pci" and self.has_nvme:
            more += self._nvme(disk)
        elif name in ("pci", "zpci"):
            # Without NVMe, a function that is as small; and one with room for a block.
            more += ["-device", "zpci,uid=1,fid=1,target=pci",
                     "-device", "virtio-rng-pci,id=pci,disable-legacy=on"]
        return run.qemu_command(guest, memory="64M", more=more)

    def linux(self, guest, image, disk, cpus=1):
        return run.qemu_command(guest.kernel, image, "quiet", "1G", cpus, self._nvme(disk))


class Bench:
    def __init__(self, options):
        self.options = options
        self.names = options.names or NAMES
        self.rounds = 1 if options.quick else options.rounds
        self.begin = time.monotonic()
        self.zvisor = Zvisor("zvisor")
        self.sides = [self.zvisor]
        self.peer = None
        self.instructions = None
        self.failed = []

    def say(self, text):
        seconds = int(time.monotonic() - self.begin)
        print(f"bench: {seconds // 60}:{seconds % 60:02d} {text}", flush=True)

    def measure(self, folder):
        if run.qemu_program() and not self.options.alone:
            self.peer = Qemu("QEMU " + version([run.qemu_program(), "--version"]))
            self.sides.append(self.peer)
        bare = [name for name in ("loop", "timer", "pci", "zpci") if name in self.names]
        workloads = [name for name in ("shell", "fork", "nvme") if name in self.names]
        queues = "zpci" in self.names
        boots = "boot" in self.names
        if "memory" in self.names and not workloads and not boots:
            boots = True
        disk = os.path.join(folder, "disk.img")
        with open(disk, "wb") as file:
            file.truncate(DISK_MIB * MIB)
        self.guest = None
        images = {}
        if boots or workloads or queues:
            self.guest = debian.fetch(self.options.suite, say=self.say)
            if boots:
                images["boot"] = initrd.build(self.guest, os.path.join(folder, "initrd-boot"), "")
            if queues:
                images["queues"] = initrd.build(self.guest, os.path.join(folder, "initrd-queues"),
                                                self.script(self.zvisor, ["queues"]))
            for side in self.sides:
                images[side] = initrd.build(self.guest, os.path.join(folder, f"initrd-{len(images)}"),
                                            self.script(side, workloads))
        longest = 0
        for number in range(1, self.rounds + 1):
            begin = time.monotonic()
            if begin - self.begin + longest > LIMIT_SECONDS:
                self.say(f"no round {number}: it would take too long")
                self.rounds = number - 1
                break
            for name in bare:
                self.each(number, f"bare-metal {name}",
                          lambda side, name=name: self.bare_metal(side, name, disk))
            if "zpci" in self.names:
                self.library(number)
            if "passthrough" in self.names:
                self.alone(number, "a host with VFIO", lambda: self.host(folder, disk))
            if boots:
                self.each(number, "boot", lambda side: self.boot(side, images["boot"]))
            if workloads:
                self.each(number, "boot with " + ", ".join(workloads),
                          lambda side: self.workload(side, images[side], workloads, disk))
            if "vfio-user" in self.names:
                self.alone(number, "Linux and vfio-user", lambda: self.served(folder, disk))
            if "direct" in self.names:
                self.alone(number, "Linux and direct mapping", lambda: self.direct(folder, disk))
            if queues:
                self.each(number, "boot with 4 CPUs and queues", lambda side: self.queues(side, images["queues"], disk))
            longest = max(longest, time.monotonic() - begin)

    def each(self, number, what, function):
        for side in self.sides:
            self.say(f"round {number} of {self.rounds}: {what}, {side.name}")
            try:
                function(side)
            except (run.RunError, Failed) as error:
                self.failed.append(f"{what}, {side.name}: {error}")
                self.say(f"failed: {error}")

    def script(self, side, workloads):
        script = SCRIPT_HEAD
        for name in workloads:
            if name == "nvme" and not side.has_nvme:
                continue
            part = SCRIPTS[name]
            if name in COUNTS:
                part = part.replace("COUNT", str(COUNTS[name][self.options.quick]))
            for word in ("COUNT4K", "COUNT1M", "COUNTQ"):
                part = part.replace(word, str(COUNTS[word][self.options.quick]))
            script += part
        return script

    def library(self, number):
        """libzpci with no guest: what no instruction of a guest shows."""
        self.say(f"round {number} of {self.rounds}: libzpci alone")
        program = os.path.join(run.build_folder(), "bench", "zpci_bench")
        if not os.path.exists(program):
            self.failed.append(f"there is no {program}: it takes cmocka to build it")
            return
        text = subprocess.run([program], capture_output=True, text=True, check=False, timeout=120).stdout
        if not text.endswith("1..0\n"):
            self.failed.append("zpci_bench did not come to its end")
        for name, count, nanoseconds in re.findall(r"^bench (\S+) (\d+) (\d+)$", text, re.M):
            if name in MEASURES:
                self.zvisor.take(name, int(nanoseconds) / int(count))

    def alone(self, number, what, function):
        """What has no peer to be compared with."""
        self.say(f"round {number} of {self.rounds}: {what}")
        try:
            function()
        except (run.RunError, hosts.HostError, Failed) as error:
            self.failed.append(f"{what}: {error}")
            self.say(f"failed: {error}")

    def reads(self, measure, guest, folder, device, append="quiet"):
        """Reads of 4 KiB in a boot of their own."""
        script = SCRIPT_HEAD + SCRIPTS["reads"].replace("MEASURE", measure).replace(
            "COUNT4K", str(COUNTS["COUNT4K"][self.options.quick]))
        image = initrd.build(guest, os.path.join(folder, f"initrd-{measure}"), script)
        self.work(self.zvisor, run.zvisor_command(guest.kernel, image, append, "1G", 1, [device]))

    def read_ratio(self, ratio):
        above, below = (self.zvisor.samples[name] for name in READ_RATIOS[ratio])
        self.zvisor.take(ratio, above[-1] / below[-1])

    def served(self, folder, disk):
        guest = debian.fetch(self.options.suite, say=self.say)
        self.reads("built-in-4k", guest, folder, f"nvme,file={disk}")
        socket = os.path.join(folder, "device")
        with subprocess.Popen([run.zvisor_program(), "device", f"nvme,file={disk},socket={socket}"],
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
            try:
                # Its first line says that it is waiting for a client; the few behind it fit into the pipe.
                server.stderr.readline()
                self.reads("served-4k", guest, folder, f"vfio-user,socket={socket}")
            finally:
                server.terminate()
        self.read_ratio("served-ratio")

    def direct(self, folder, disk):
        guest = debian.fetch(NEWER_SUITE, say=self.say)
        append = "quiet iommu.passthrough=1"
        self.reads("translated-4k", guest, folder, f"nvme,file={disk},relaxed-translation=off", append)
        self.reads("direct-4k", guest, folder, f"nvme,file={disk},relaxed-translation=on", append)
        self.read_ratio("direct-ratio")

    def host(self, folder, disk):
        files = {there: os.path.join(run.build_folder(), here) for there, here in HOST_FILES.items()}
        for path in files.values():
            if not os.path.exists(path):
                raise Failed(f"there is no {path}: it takes cmocka and s390x-linux-gnu-gcc to build it")
        status, said = hosts.perform(hosts.X86(run.build_folder(), thread="multi"), folder, HOST_SCRIPT,
                                     HOST_LIMIT, say=lambda line: None, disk=disk, files=files)
        if status:
            raise Failed(f"the script in the host ended with {status}: {said.splitlines()[-2]}")
        slices = collections.defaultdict(list)
        for name, count, nanoseconds in re.findall(r"^bench (\S+) (\d+) (\d+)\r?$", said, re.M):
            name = HOST_SLICES.get(name, name)
            if name in OF_NAME["passthrough"]:
                unit = 1e3 if MEASURES[name].unit == "us" else 1
                slices[name].append(int(nanoseconds) / int(count) / unit)
        for name, samples in slices.items():
            for sample in samples:
                self.zvisor.take(name, sample)
        for ratio, (above, below) in HOST_RATIOS.items():
            if above not in slices or below not in slices:
                raise Failed(f"{above} or {below} was not measured")
            self.zvisor.take(ratio, statistics.median(slices[above]) / statistics.median(slices[below]))

    def bare_metal(self, side, name, disk):
        guest = os.path.join(run.build_folder(), "bench", "guest", "pci" if name == "zpci" else name)
        if not os.path.exists(guest):
            raise Failed(f"there is no {guest}: it takes s390x-linux-gnu-gcc to build it")
        with run.Machine(side.freestanding(guest, disk, name), stdin=subprocess.DEVNULL) as machine:
            machine.expect(r"^1\.\.0$", 120)
            machine.wait(30)
            lines = re.findall(r"^bench (\S+) (\d+) (\d+)$", machine.console, re.M)
        for slice_name, count, nanoseconds in lines:
            if name == "loop":
                side.take("loop-" + slice_name, int(count) / int(nanoseconds) * 1e3)
            elif name == "timer" or slice_name == "rpcit-aperture":
                side.take(("zpci-" if name == "zpci" else "") + slice_name, int(nanoseconds) / 1e3)
            elif name == "zpci":
                side.take("zpci-" + slice_name, int(nanoseconds) / int(count))
            else:
                side.take(slice_name, int(nanoseconds) / int(count))

    def to_init(self, side, machine):
        machine.expect(r"^zvisor-guest: init after ", 300)
        side.take("init", time.monotonic() - machine.started, cpu_seconds(machine.process.pid))

    def boot(self, side, image):
        before = children_seconds()
        with run.Machine(side.linux(self.guest, image, None), stdin=None) as machine:
            self.to_init(side, machine)
            machine.expect(r"^zvisor-guest: power off$", 60)
            machine.wait(60)
            stats = machine.stats()
        seconds = children_seconds() - before
        if stats:
            self.instructions = stats["instructions"]
            side.take("memory", stats["memory_kib"] / 1024)
        # The peer does not count them; they are the same but for the idle loop's.
        if self.instructions:
            side.take("boot-speed", self.instructions / seconds / 1e6)

    def queues(self, side, image, disk):
        if not side.has_nvme:
            return
        before = {name: len(side.samples[name]) for name in ("nvme-queue-1", "nvme-queue-4")}
        self.workload(side, image, ["nvme"], disk, 4)
        one, four = (side.samples[name][count:] for name, count in before.items())
        if one and four:
            side.take("nvme-scaling", four[-1] / one[-1])

    def workload(self, side, image, workloads, disk, cpus=1):
        disk = disk if "nvme" in workloads and side.has_nvme else None
        stats, used = self.work(side, side.linux(self.guest, image, disk, cpus), cpus == 1)
        if stats and cpus == 1:
            side.take("memory", stats["memory_kib"] / 1024)
            if self.instructions and used:
                side.take("work-speed", (stats["instructions"] - self.instructions) / used / 1e6)

    def work(self, side, command, launch=False):
        """One boot and what its script measures: the run's statistics, and the CPU time of the measured parts."""
        with run.Machine(command, stdin=None) as machine:
            if launch:
                self.to_init(side, machine)
            used = 0
            while True:
                begun = machine.expect(r"^zvisor-guest: (?:begin (\S+)|script ended with (\d+))$", 120)
                if begun.group(2):
                    break
                before = cpu_seconds(machine.process.pid)
                took = machine.expect(r"^zvisor-guest: (?:took \S+ (\d+) ([0-9.]+) ([0-9.]+)"
                                      r"|script ended with \d+)$", 300)
                if not took.group(1):
                    raise Failed(f"the guest did not get through {begun.group(1)}")
                cpu = cpu_seconds(machine.process.pid) - before
                used += cpu
                self.worked(side, begun.group(1), int(took.group(1)), float(took.group(3)) - float(took.group(2)), cpu)
            machine.expect(r"^zvisor-guest: power off$", 60)
            machine.wait(60)
            stats = machine.stats()
        if begun.group(2) != "0":
            raise Failed(f"the script in the guest ended with {begun.group(2)}")
        return stats, used

    def worked(self, side, name, count, seconds, cpu):
        # The clocks count hundredths; what is shorter is no measurement.
        if seconds < 0.1 or cpu < 0.1:
            raise Failed(f"{name} took only {seconds} s, {cpu} s of CPU time")
        values = []
        for time_taken in (seconds, cpu):
            if name == "shell":
                values.append(time_taken * SHELL_ROUNDS / count)
            elif name == "nvme-1m":
                values.append(count * MIB / time_taken / 1e6)
            else:
                values.append(count / time_taken)
        side.take(name, *values)

    # --- what comes out ---

    def rows(self):
        wanted = [measure for name in self.names for measure in OF_NAME[name]]
        return [self.row(measure) for measure in wanted]

    def row(self, name):
        measure = MEASURES[name]
        value = self.zvisor.value(name)
        peer = self.peer.value(name) if self.peer else None
        ratio = None
        if value and peer:
            ratio = value / peer if measure.more else peer / value
        reached = None
        if measure.reach is not None and value is not None:
            reached = value >= measure.reach if measure.more else value <= measure.reach
        if measure.reach_ratio is not None and ratio is not None:
            reached = ratio >= measure.reach_ratio
        return {"name": name, "title": measure.title, "unit": measure.unit, "value": value,
                "reach": measure.reach, "reach_ratio": measure.reach_ratio, "reached": reached,
                "peer": peer, "peer_stated": measure.stated, "ratio": ratio,
                "spread": spread(self.zvisor.samples[name]),
                "samples": len(self.zvisor.samples[name]),
                "by_cpu_time": self.zvisor.cpu_value(name),
                "peer_by_cpu_time": self.peer.cpu_value(name) if self.peer else None,
                "peer_spread": spread(self.peer.samples[name]) if self.peer else None,
                "peer_samples": len(self.peer.samples[name]) if self.peer else 0}

    def limits(self):
        """What limits the CPU, with the numbers that show it."""
        mixed, registers = self.zvisor.value("loop-mixed"), self.zvisor.value("loop-registers")
        if not mixed or not registers:
            return None
        text = (f"What limits the CPU: translated code keeps the guest's registers and condition code in memory,"
                f" {1e3 / registers:.2f} ns for an instruction that does nothing else; {1e3 / mixed:.2f} ns in the"
                " mixed loop, where loads and stores look their page up first")
        work = self.zvisor.value("work-speed")
        if work:
            text += (f"; {1e3 / work:.2f} ns in the large code of shell and kernel, where a branch out of the page"
                     " looks its target up, and what is not translated is executed by a function")
        return text + "."


def spread(samples):
    """The middle half of the samples."""
    if len(samples) < 2:
        return None
    quarters = statistics.quantiles(samples, n=4, method="inclusive")
    return [quarters[0], quarters[2]]


def cpu_seconds(pid):
    """Host CPU time of a process so far, user and system, of all its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_seconds():
    """Host CPU time of all that ran here and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def version(command):
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+\.\d+(\.\d+)*", text)
    return found.group(0) if found else "?"


def commit():
    try:
        result = subprocess.run(["git", "-C", run.ROOT, "describe", "--always", "--dirty"], capture_output=True,
                                text=True, check=False)
    except OSError:
        return None  # There need be no git here.
    return result.stdout.strip() or None


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return re.search(r"^model name\s*: (.*)$", file.read(), re.M).group(1)
    except (OSError, AttributeError):
        return platform.machine()


def handlers_are_jumps():
    """Does execution go from one instruction to the next by jumps? It must not pile up calls.

    The functions of instructions call nothing through pointers but the next of them;
    insn_finish…() is libzpci's, and a PCI instruction calls its handler.
    """
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", run.zvisor_program()],
                          capture_output=True, text=True, check=True).stdout
    handlers = re.findall(r"^[0-9a-f]+ <insn_(?!finish|privileged_access)\w+>:\n(.*?)(?:\n\n|\Z)", code, re.M | re.S)
    return len(handlers) > 500 and not any(re.search(r"\tcall\s+\*", handler) for handler in handlers)


def number(value, unit=""):
    if value is None:
        return "-"
    if unit == "s":
        return f"{value:.1f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(bench, load):
    head = ["", "unit", "zvisor", "reach", "", bench.peer.name if bench.peer else "peer", "ratio"]
    rows = []
    for row in bench.rows():
        if row["reach"] is not None:
            reach = f"{row['reach']:,}"
        elif row["reach_ratio"] is not None:
            reach = f"ratio {row['reach_ratio']}"
        else:
            reach = ""
        peer = number(row["peer"], row["unit"])
        if row["peer"] is None and row["peer_stated"]:
            peer = f"{row['peer_stated']} *"
        rows.append([row["title"], row["unit"], number(row["value"], row["unit"]), reach,
                     {True: "reached", False: "missed", None: ""}[row["reached"]], peer,
                     f"{row['ratio']:.2f}" if row["ratio"] else ""])
    widths = [max(len(line[i]) for line in [head] + rows) for i in range(len(head))]
    lines = []
    for line in [head] + rows:
        left = (0, 1, 4)
        lines.append("  ".join(cell.ljust(width) if i in left else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip())
    lines.insert(1, "-" * len(max(lines, key=len)))
    notes = []
    if any("*" in row[5] for row in rows):
        notes.append("* stated, not measured here")
    if bench.peer and not bench.peer.has_nvme and {"pci", "zpci"} & set(bench.names):
        notes.append(f"{bench.peer.name} has no NVMe on s390x: its PCI instructions are measured with a virtio"
                     " function.")
    if "passthrough" in bench.names:
        notes.append("The host with VFIO is emulated by QEMU, instruction by instruction: what zvisor executes there"
                     " takes some ten times as long as outside, devices and IOMMU do not.")
    if "zpci" in bench.names:
        notes.append("RPCIT walks no table in zvisor: it forgets translations, and DMA fetches them anew"
                     " (\"not in the IOTLB\"). QEMU walks them all.")
    if bench.limits():
        notes.append(bench.limits())
    notes.append(f"Medians; ratio: how many times as fast as the peer. zvisor is built with optimization"
                 f" (release, across files); {bench.built}.")
    notes.append(f"On {os.cpu_count()} cores, {processor()}; load at the beginning {load[0]:.1f}, at the end"
                 f" {os.getloadavg()[0]:.1f}.")
    if load[0] > 0.7:
        notes.append("Other work ran on this machine: what took seconds took longer than it does alone.")
    notes += by_cpu_time(bench)
    notes = [textwrap.fill(note, 110, subsequent_indent="    ") for note in notes]
    return "\n".join(lines + [""] + notes)


def by_cpu_time(bench):
    """What the long measures come to when only the CPU time that they used is counted."""
    lines = []
    for row in bench.rows():
        value, peer = row["by_cpu_time"], row["peer_by_cpu_time"]
        if not value:
            continue
        text = f"    {row['title']}: {number(value, row['unit'])} {row['unit']}"
        if peer:
            ratio = value / peer if MEASURES[row["name"]].more else peer / value
            text += f" ({bench.peer.name}: {number(peer, row['unit'])}, ratio {ratio:.2f})"
        lines.append(text)
    return ["If only the CPU time of the host is counted:"] + lines if lines else []


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="measure only these: " + " ".join(ALL_NAMES) + " (default: all but " + ", ".join(ALL_NAMES[len(NAMES):]) + ")")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is repeated at most (default: 5)")
    parser.add_argument("--quick", action="store_true", help="once each, and less of it")
    parser.add_argument("--alone", action="store_true", help="without QEMU beside it")
    parser.add_argument("--check", action="store_true", help="look at the arguments, measure nothing")
    parser.add_argument("--suite", help="boot the kernel of this suite of Debian (default: the system's own)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: it takes at least 1")
    for name in options.names:
        if name not in ALL_NAMES:
            parser.error(f"no such measure: {name} (there are: {' '.join(ALL_NAMES)})")
    if options.check:
        return 0

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    load = os.getloadavg()
    bench = Bench(options)
    jumps = handlers_are_jumps()
    bench.built = ("its instructions end in jumps to the next, as they must" if jumps else
                   "NOT all of its instructions end in a jump to the next")
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=run.build_folder()) as folder:
            bench.measure(folder)
    except KeyboardInterrupt:
        print("bench: interrupted")
        return 1
    except (debian.FetchError, OSError) as error:
        print(f"bench: {error}")
        return 1
    print()
    print(table(bench, load))
    path = os.path.join(run.ROOT, "build", "bench.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit(),
                   "seconds": round(time.monotonic() - bench.begin), "rounds": bench.rounds,
                   "quick": options.quick,
                   "host": {"processor": processor(), "cores": os.cpu_count(), "load": load},
                   "build": {"type": "release", "instructions_end_in_jumps": jumps},
                   "guest": bench.guest.release if bench.guest else None,
                   "peer": bench.peer.name if bench.peer else None,
                   "limits": bench.limits(), "failed": bench.failed, "measures": bench.rows()}, file, indent=1)
        file.write("\n")
    print(f"\nbench: wrote {os.path.relpath(path)}")
    for why in bench.failed:
        print(f"bench: FAILED: {why.splitlines()[0]}")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
