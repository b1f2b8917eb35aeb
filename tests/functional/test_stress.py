# SPDX-License-Identifier: MIT
"""All CPUs of a guest at work at once; the host has worked out what they must print."""

import bz2
import gzip
import hashlib
import lzma
import os
import subprocess

import pytest

from conftest import COMPLAINT, ROOT, finish
from zvlib import run

CPUS = 4

# $1 is the number of the worker, $2 the first number of its data.
WORK = """
data=/tmp/data.$1
seq $2 $(($2 + 19999)) >$data
for sum in md5sum sha1sum sha256sum sha512sum; do
	$sum <$data | cut -d' ' -f1
done
sha3sum -a 256 <$data | cut -d' ' -f1
gzip -c <$data | gunzip | md5sum | cut -d' ' -f1
bzip2 -c <$data | bunzip2 | md5sum | cut -d' ' -f1
for kind in gz bz2 xz; do
	cp /zvisor/packed.$kind /tmp/packed.$1.$kind
done
gunzip -c /tmp/packed.$1.gz | md5sum | cut -d' ' -f1
bunzip2 -c /tmp/packed.$1.bz2 | md5sum | cut -d' ' -f1
unxz -c /tmp/packed.$1.xz | md5sum | cut -d' ' -f1
sort -r $data | md5sum | cut -d' ' -f1
sort -n -r $data | md5sum | cut -d' ' -f1
dd if=$data bs=777 2>/dev/null | dd bs=13k 2>/dev/null | dd bs=4k 2>/dev/null | md5sum | cut -d' ' -f1
awk '{ x += $1 / 7; y[$1 % 97] += $1 } END { printf "%.6f %d\\n", x, y[13] }' <$data
i=0
while [ $i -lt 40 ]; do
	i=$((i + 1))
	echo $i | cat | grep -q "^$i\\$" || echo lost $i
done
rm -f $data /tmp/packed.$1.*
"""

# Two workers on each CPU: one stays there, the other goes where the kernel likes.
WORK_EVERYWHERE = """
for worker in $(seq 0 7); do
	mask=f
	[ $worker -lt 4 ] && mask=$(printf %x $((1 << worker)))
	taskset $mask sh /zvisor/work $worker $((worker * 1000 + 1)) >/tmp/out.$worker 2>&1 &
done
wait
for worker in $(seq 0 7); do
	while read -r line; do say "worker $worker: $line"; done </tmp/out.$worker
done
dmesg
"""

PACKED = "".join(f"{number * number} and {'again ' * (number % 5)}\n" for number in range(20000)).encode()


def expected_lines(first):
    numbers = range(first, first + 20000)
    lines = [f"{number}\n" for number in numbers]
    data = "".join(lines).encode()

    def md5(content):
        return hashlib.md5(content).hexdigest()

    x = 0.0
    for number in numbers:
        x += number / 7
    return [
        *[hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256", "sha512", "sha3_256")],
        *[md5(data)] * 2,
        *[md5(PACKED)] * 3,
        md5("".join(sorted(lines, key=lambda line: line[:-1], reverse=True)).encode()),
        md5("".join(reversed(lines)).encode()),
        md5(data),
        f"{x:.6f} {sum(number for number in numbers if number % 97 == 13)}",
    ]


def test_eight_workers_compute_what_the_host_computes(boot):
    files = {"zvisor/work": WORK.encode(), "zvisor/packed.gz": gzip.compress(PACKED),
             "zvisor/packed.bz2": bz2.compress(PACKED), "zvisor/packed.xz": lzma.compress(PACKED, check=lzma.CHECK_CRC32)}
    console = finish(boot(WORK_EVERYWHERE, files=files, cpus=CPUS), 600).console
    assert not COMPLAINT.search(console), console[-4000:]
    for worker in range(8):
        start = f"zvisor-guest: worker {worker}: "
        got = [line[len(start):] for line in console.split("\n") if line.startswith(start)]
        assert got == expected_lines(worker * 1000 + 1)


@pytest.fixture(scope="module")
def stress():
    """The program that makes CPUs meet in the kernel."""
    source = os.path.join(ROOT, "tests", "functional", "guest", "stress.c")
    output = os.path.join(run.build_folder(), "stress")
    subprocess.run(["s390x-linux-gnu-gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-march=z196",
                    "-std=gnu17", "-D_GNU_SOURCE", "-pthread", "-o", output, source], check=True)
    with open(output, "rb") as file:
        return {"bin/stress": file.read()}


def test_cpus_that_meet_in_the_kernel_lose_nothing(boot, stress):
    kinds = {"wakeups": 1500, "pipes": 1000, "signals": 3000, "protect": 40, "forks": 60}
    script = "".join(f"stress {kind} {rounds}\n" for kind, rounds in kinds.items())
    console = finish(boot(script + "dmesg\n", files=stress, cpus=CPUS), 600).console
    assert not COMPLAINT.search(console), console[-4000:]
    for kind in kinds:
        assert f"stress: {kind} ok\n" in console, console[-2000:]
