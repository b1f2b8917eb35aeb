# SPDX-License-Identifier: MIT
"""The demo: an unmodified Debian kernel finds two NVMe functions, reads and writes both at once.

The host knows both disks' content. The guest prints the SHA-256 of what it reads; then it
writes a pattern over the second half of each disk. The host compares the first sums with its
own, and after the guest has powered off computes what the disks must hold now.
"""

import argparse
import os
import re
import signal
import sys
import tempfile
import time

from zvlib import debian, disk, initrd, run

MIB = 1 << 20
CPUS = 4
READS = 8192

# (uid, serial number, size): Linux shows the uid as the PCI domain.
DISKS = [(1, "zvdemo1", 48 * MIB), (2, "zvdemo2", 32 * MIB)]

SCRIPT = """
say() { echo "zvisor-guest: $*"; }

for function in /sys/bus/pci/devices/*; do
	[ -e "$function" ] || { say no PCI functions; exit 1; }
	cd $function
	say "pci ${function##*/} $(cat vendor):$(cat device) class $(cat class)" \\
		"fid $(cat function_id) uid $(cat uid)"
done

modprobe nvme || exit 1
wanted=WANTED
tries=600
while [ $(ls -d /sys/block/nvme*n1 2>/dev/null | wc -l) -lt $wanted ]; do
	[ $((tries = tries - 1)) -gt 0 ] || { say not all disks came up; dmesg | tail -20; exit 1; }
	sleep 0.1
done

# The numbers in the disks' names go by who was ready first; serial numbers do not.
disk=$(ls -d /sys/block/nvme*n1 | head -1)
read before rest </proc/uptime
dd if=/dev/${disk##*/} of=/dev/null bs=4k count=READS iflag=direct 2>/dev/null || say dd failed
read after rest </proc/uptime
say "reads READS from $before to $after"

one_disk() {
	name=$1
	serial=$(cat /sys/block/$name/device/serial | tr -d ' ')
	set -- $(sha256sum /dev/$name)
	say "sum $serial $1"
	half=$(($(cat /sys/block/$name/size) / 4096))
	yes "written by the guest to $serial" | head -c $((half << 20)) |
		dd of=/dev/$name bs=1M seek=$half iflag=fullblock conv=fsync 2>/dev/null &&
		say "wrote $serial"
}

for disk in /sys/block/nvme*n1; do
	one_disk ${disk##*/} &
done
wait
grep nvme /proc/interrupts | while read number counts; do say "interrupts $counts"; done
sync
"""


class Failed(Exception):
    """Why the demo failed, in one line; what was seen before it."""


def say(text):
    print(f"demo: {text}", flush=True)


def run_demo(options):
    guest = debian.fetch(options.suite, say=lambda text: print(text, flush=True))
    if not os.access(run.zvisor_program(), os.X_OK):
        raise Failed(f"there is no {run.zvisor_program()}")
    with tempfile.TemporaryDirectory(prefix="demo-", dir=run.build_folder()) as folder:
        say("making an initrd and two disks")
        script = SCRIPT.replace("WANTED", str(len(DISKS))).replace("READS", str(READS))
        image = initrd.build(guest, os.path.join(folder, "initrd"), script)
        disks = {}
        for uid, serial, size in DISKS:
            path = disk.make(os.path.join(folder, f"{serial}.img"), size, serial)
            half = disk.pattern(f"written by the guest to {serial}", size // 2)
            disks[serial] = (path, disk.sha256(path), disk.sha256_with(path, size // 2, half))
        command = run.zvisor_command(
            guest.kernel, image, "quiet", "1G", CPUS,
            [f"nvme,file={disks[serial][0]},serial={serial},uid={uid}" for uid, serial, _ in DISKS], stats=True)
        say(f"booting Debian's Linux {guest.release} with {CPUS} CPUs")
        return boot(command, disks, options.verbose)


def boot(command, disks, verbose):
    with run.Machine(command, stdin=None) as machine:
        try:
            found = machine.expect(r"^zvisor-guest: init after ([0-9.]+) s, (\d+) cpus", 240)
            to_init = time.monotonic() - machine.started
            if int(found.group(2)) != CPUS:
                raise Failed(f"the guest has {found.group(2)} CPUs, not {CPUS}")
            say(f"the guest reached /init after {to_init:.1f} s")
            machine.expect(r"^zvisor-guest: reads ", 180)
            say("the guest reads and writes both disks")
            machine.expect(r"^zvisor-guest: power off$", 600)
            status = machine.wait(60)
        except run.RunError as error:
            raise Failed(str(error)) from None
        finally:
            with open(os.path.join(run.build_folder(), "demo.log"), "w", encoding="utf-8") as log:
                log.write(machine.console + machine.errors)
        console = machine.console
        stats = machine.stats()

    lines = [line[len("zvisor-guest: "):] for line in console.split("\n") if line.startswith("zvisor-guest: ")]
    for line in lines:
        if verbose or line.startswith(("pci ", "sum ", "wrote ", "interrupts ")):
            print(f"    guest: {line}")
    if status != 0:
        raise Failed(f"zvisor ended with status {status}{last_line(machine.errors)}")
    if "script ended with 0" not in lines:
        raise Failed("the script in the guest failed; the console is in build/demo.log")
    functions = [line for line in lines if line.startswith("pci ")]
    if len(functions) != len(disks):
        raise Failed(f"the guest sees {len(functions)} PCI functions, not {len(disks)}")
    for serial, (path, before, after) in disks.items():
        if f"sum {serial} {before}" not in lines:
            raise Failed(f"the guest did not read what is on disk {serial}: its SHA-256 is {before}")
        if f"wrote {serial}" not in lines:
            raise Failed(f"the guest could not write to disk {serial}")
        if disk.sha256(path) != after:
            raise Failed(f"disk {serial} does not hold what the guest wrote")
    say("both sums are right, before and after")
    return {"time to /init": f"{to_init:.1f} s",
            "4 KiB reads, one at a time": reads_per_second(lines),
            "guest instructions": instructions_per_second(stats)}


def last_line(text):
    lines = text.strip().split("\n")
    return f": {lines[-1]}" if lines[-1] else ""


def reads_per_second(lines):
    for line in lines:
        found = re.match(r"reads (\d+) from ([0-9.]+) to ([0-9.]+)$", line)
        if found and float(found.group(3)) > float(found.group(2)):
            return f"{int(found.group(1)) / (float(found.group(3)) - float(found.group(2))):,.0f} a second"
    raise Failed("the guest did not say how fast it reads")


def instructions_per_second(stats):
    if "instructions" not in stats or not stats.get("seconds"):
        raise Failed("zvisor did not say how many instructions it executed")
    return (f"{stats['instructions'] / stats['seconds'] / 1e6:,.0f} million a second,"
            f" {stats['instructions'] / 1e9:,.1f} thousand million in all")


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--suite", help="boot the kernel of this suite of Debian (default: the system's own)")
    parser.add_argument("--verbose", action="store_true", help="show everything that the guest says")
    options = parser.parse_args()

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        table = run_demo(options)
    except KeyboardInterrupt:
        print("demo: FAIL: interrupted")
        return 1
    except (Failed, debian.FetchError, OSError) as error:
        # The reason is one line, and the last; what was seen stands before it.
        why, _, seen = str(error).partition("\n")
        if seen:
            print(seen)
        print(f"demo: FAIL: {why}")
        return 1
    width = max(len(name) for name in table)
    print()
    for name, value in table.items():
        print(f"    {name:<{width}}  {value}")
    print()
    print("demo: PASS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
