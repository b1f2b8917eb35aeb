# SPDX-License-Identifier: MIT
"""PCI interruptions in Linux with 4 CPUs: directed to the CPU that a queue belongs to, and floating."""

import re

import pytest

from conftest import finish
from zvlib import disk

MIB = 1 << 20
CPUS = 4

# Each CPU reads the whole disk, so that each queue has interruptions; taskset keeps it on its CPU.
SCRIPT = """
modprobe nvme && dev=$(disk irq) || exit 1
for cpu in 0 1 2 3; do
	say sum $(taskset -c $cpu dd if=$dev bs=64k iflag=direct 2>/dev/null | sha256sum)
done
{ cat /proc/interrupts; } | while read line; do say "irq $line"; done
"""


def counts(console, name):
    """The counts of the line of /proc/interrupts with this name, by CPU."""
    for line in re.findall(r"^zvisor-guest: irq (.*)$", console, re.M):
        words = line.split()
        if words[0] == name + ":" or words[-1] == name:
            return [int(word) for word in words[1:1 + CPUS]]
    raise AssertionError(f"no {name} in /proc/interrupts")


def run(boot, make_disk, append="quiet", more=(), other_guest=None):
    path = make_disk("irq", 4 * MIB)
    machine = finish(boot(SCRIPT, cpus=CPUS, append=append, more=more, other_guest=other_guest,
                          devices=[f"nvme,file={path},serial=irq"]), 300)
    sums = re.findall(r"^zvisor-guest: sum (\w+)", machine.console, re.M)
    assert sums == [disk.sha256(path)] * CPUS
    return machine.console


def queues(console):
    """For each I/O queue, its counts by CPU."""
    return [counts(console, f"nvme0q{number}") for number in range(1, CPUS + 1)]


@pytest.mark.parametrize("kernel", ["the system's kernel", "a newer kernel"])
def test_directed_interrupts_go_to_the_cpu_of_their_queue(boot, make_disk, request, kernel):
    newer = request.getfixturevalue("newer_guest") if kernel == "a newer kernel" else None
    console = run(boot, make_disk, other_guest=newer)
    cpus = set()
    for by_cpu in queues(console):
        most = max(by_cpu)
        assert most > 32
        assert sum(by_cpu) == most, "a queue's interruption on another CPU"
        cpus.add(by_cpu.index(most))
    assert len(cpus) == CPUS, "two queues on one CPU"
    assert all(count > 32 for count in counts(console, "PCD"))
    assert sum(counts(console, "PCF")) == 0


@pytest.mark.parametrize("how", ["a machine without directed interrupts", "an older machine", "a kernel that wants none"])
def test_floating_interrupts_go_to_any_cpu(boot, make_disk, how):
    append, more = "quiet", ()
    if how == "a machine without directed interrupts":
        more = ("--machine", "zvisor-1.0,directed-interrupts=off")
    elif how == "an older machine":
        more = ("--machine", "zvisor-0.9")
    else:
        append = "quiet pci=force_floating"
    console = run(boot, make_disk, append, more)
    assert sum(counts(console, "PCF")) > 4 * 32
    assert sum(counts(console, "PCD")) == 0
    assert all(sum(by_cpu) > 32 for by_cpu in queues(console))


def test_interrupts_follow_their_affinity(boot, make_disk):
    """The admin queue's interruption is one that Linux lets a person move."""
    machine = finish(boot(
        """
        modprobe nvme && dev=$(disk irq) || exit 1
        irq=$(sed -n 's/^ *\\([0-9]*\\):.*nvme0q0$/\\1/p' /proc/interrupts)
        for cpu in 1 2 3; do
            echo $cpu >/proc/irq/$irq/smp_affinity_list || exit 1
            before=$(awk "/nvme0q0/ { print \\$$((cpu + 2)) }" /proc/interrupts)
            # This only queues the work.
            echo 1 >/sys/class/nvme/nvme0/rescan_controller
            tries=600
            while after=$(awk "/nvme0q0/ { print \\$$((cpu + 2)) }" /proc/interrupts)
                    [ $after -le $before ] && [ $((tries = tries - 1)) -gt 0 ]; do
                sleep 0.1
            done
            say moved $cpu $((after > before))
        done
        """, cpus=CPUS, devices=[f"nvme,file={make_disk('irq', 4 * MIB)},serial=irq"]), 300)
    assert re.findall(r"^zvisor-guest: moved (\d) (\d)$", machine.console, re.M) == [("1", "1"), ("2", "1"), ("3", "1")]


def test_cpus_come_and_go_while_their_queues_are_busy(boot, make_disk):
    """What was directed to a CPU that goes is not lost, and when it is back it has its own again."""
    path = make_disk("irq", 4 * MIB)
    machine = finish(boot(
        """
        modprobe nvme && dev=$(disk irq) || exit 1
        for cpu in 1 2 3; do
            taskset -c $cpu dd if=$dev of=/dev/null bs=4k iflag=direct 2>/dev/null & busy=$!
            echo 0 >/sys/devices/system/cpu/cpu$cpu/online || exit 1
            say sum $(dd if=$dev bs=64k iflag=direct 2>/dev/null | sha256sum)
            echo 1 >/sys/devices/system/cpu/cpu$cpu/online || exit 1
            say sum $(taskset -c $cpu dd if=$dev bs=64k iflag=direct 2>/dev/null | sha256sum)
            wait $busy || exit 1
        done
        dmesg | grep -i 'nvme.*timeout' && exit 1
        true
        """, cpus=CPUS, devices=[f"nvme,file={path},serial=irq"]), 300)
    sums = re.findall(r"^zvisor-guest: sum (\w+)", machine.console, re.M)
    assert sums == [disk.sha256(path)] * 6
