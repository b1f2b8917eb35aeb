# SPDX-License-Identifier: MIT
"""Debian's kernel boots, works on all its CPUs and powers off."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import BOOT_LIMIT, COMPLAINT, finish
from zvlib import run

# Something of everything that busybox does, on each CPU: processes, pipes, sorting,
# compression, arithmetic. What it prints follows from the number alone.
WORK = """
seq $1 $(($1 + 3000)) | sort -r | md5sum
seq 1 20000 | gzip -1 | gunzip | sha1sum
awk -v n=$1 'BEGIN { for (i = 1; i <= 20000; i++) x += i * n / 3; printf "%.9f\\n", x }'
i=0
while [ $i -lt 300 ]; do
	i=$((i + 1))
	echo $i | grep -q $i || echo lost $i
done
"""

WORK_EVERYWHERE = """
cpus=$(nproc)
say "cpus $cpus"
for cpu in $(seq 0 $((cpus - 1))); do
	taskset $(printf %x $((1 << cpu))) sh /zvisor/work 7 >/tmp/out.$cpu 2>&1 &
done
wait
for cpu in $(seq 0 $((cpus - 1))); do
	say "sum $(md5sum </tmp/out.$cpu)"
done
say "lines $(wc -l </tmp/out.0)"
"""


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_busybox_works_the_same_on_every_cpu(boot, cpus):
    machine = finish(boot(WORK_EVERYWHERE, files={"zvisor/work": WORK.encode()}, cpus=cpus))
    assert f"zvisor-guest: cpus {cpus}\n" in machine.console
    sums = re.findall(r"^zvisor-guest: sum (\S+)", machine.console, re.M)
    assert len(sums) == cpus
    assert len(set(sums)) == 1, "the CPUs disagree on what the same work gives"
    assert "zvisor-guest: lines 3\n" in machine.console


def test_the_guest_sees_the_memory_that_it_was_given(boot):
    for memory, least, most in (("64M", 20, 64), ("256M", 190, 256), ("2G", 1900, 2048)):
        machine = boot("say memory $(($(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) / 1024))",
                       memory=memory)
        finish(machine)
        seen = int(re.search(r"^zvisor-guest: memory (\d+)$", machine.console, re.M).group(1))
        assert least <= seen <= most


def test_the_command_line_reaches_the_guest_whole(boot):
    words = "quiet " + " ".join(f"word{i}={'x' * 20}" for i in range(25))
    machine = finish(boot("cat /proc/cmdline", append=words))
    assert words + "\n" in machine.console


def test_time_goes_by_as_on_the_host(boot):
    import time
    machine = boot("say ready; read go; sleep 5; say stop")
    machine.expect("^zvisor-guest: ready$", BOOT_LIMIT)
    start = time.monotonic()
    machine.send("\n")
    machine.expect("^zvisor-guest: stop$", BOOT_LIMIT)
    # Never too early; how late depends on what else this machine does.
    assert time.monotonic() - start > 4.5
    finish(machine)


def test_reboot_starts_the_same_guest_again(boot):
    machine = boot("say first; reboot -f")
    machine.expect("^zvisor-guest: first$", BOOT_LIMIT)
    machine.expect("^zvisor-guest: first$", BOOT_LIMIT)
    machine.kill()


def test_a_crashed_guest_ends_the_run_and_shows_its_psw(boot):
    machine = boot("echo c >/proc/sysrq-trigger", append="quiet panic=0")
    machine.expect("Kernel panic", BOOT_LIMIT)
    assert machine.wait(60) == 3
    assert re.search(r"^zvisor: .*\bPSW\b.*[0-9a-f]{16}", machine.errors, re.M | re.I), machine.errors


def test_no_boot_of_many_fails(command):
    """By default 20 in a row on 1, 2 and 4 CPUs, two guests beside one another."""
    boots = int(os.environ.get("ZVISOR_TEST_BOOTS", "20"))
    commands = {cpus: command("say up $(nproc); ls -lR /sys/devices >/dev/null; dmesg | grep -c .", cpus=cpus)
                for cpus in (1, 2, 4)}

    def one(number):
        cpus = (1, 2, 4)[number % 3]
        with run.Machine(commands[cpus]) as machine:
            machine.expect(f"^zvisor-guest: up {cpus}$", 2 * BOOT_LIMIT)
            finish(machine)
            # "quiet" lets none but the kernel's complaints through.
            assert not COMPLAINT.search(machine.console)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(boots)))
