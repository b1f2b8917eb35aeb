# SPDX-License-Identifier: MIT
"""zvisor built for s390x: its tests under qemu-s390x, and an s390x host that gives a function away.

What the guest's CLP answers say of that function is what the host's own machine says of it
to a bare program.
"""

import os
import re
import subprocess

from zvlib import hosts, run

# Only to end a host that hangs.
LIMIT = 900

BUILD = os.path.abspath(os.environ.get("ZVISOR_BUILD_S390X") or os.path.join(run.ROOT, "build-s390x"))
USER_EMULATION = "qemu-s390x-static -L /usr/s390x-linux-gnu"
# These want io_uring, seccomp or eventfds sent to another process, which user emulation has not.
IN_THE_HOST = {
    "nvme_admin": "nvme_admin_test", "nvme_disk": "nvme_disk_test", "nvme_hang": "nvme_hang_test",
    "nvme_io": "nvme_io_test", "nvme_queue": "nvme_queue_test", "nvme_threads": "nvme_threads_test",
    "device": "device_test",
    "vfio_user_sandbox": "vfio/user_sandbox_test", "vfio_user_server": "vfio/user_server_test",
}
# What the host's VFIO tells of a function. (The DMA range ends where the host's own memory does;
# measurement and the table types are zvisor's, which both walks the tables and measures.)
FUNCTION = ["vendor", "device", "vfn", "pfgid", "pchid", "pft", "sdma", "bar_size", "pfip", "util_str"]
GROUP = ["pfgid", "noi", "version", "maxstbl", "mui", "dasm", "msia"]


def answers(said):
    """What tests/guest/zpci/describe.c says: {"function": {field: value}, "group": …} of the one function."""
    found = {}
    for kind in ("function", "group"):
        lines = re.findall(rf"^# {kind} (.*)$", said, re.M)
        assert len(lines) == 1, said
        found[kind] = dict(word.split("=", 1) for word in lines[0].split())
    return found


def test_the_unit_tests_pass_on_the_s390x_build(say):
    listed = subprocess.run(["meson", "test", "-C", BUILD, "--list", "--suite", "unit"], text=True, timeout=LIMIT,
                            capture_output=True, check=True).stdout
    names = [name for name in re.findall(r"/ (\S+)$", listed, re.M) if name not in IN_THE_HOST]
    assert len(names) > 20, listed
    done = subprocess.run(["meson", "test", "-C", BUILD, "--no-rebuild", "--print-errorlogs", "-t", "10", *names],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2 * LIMIT, check=False)
    for line in re.findall(r"^ *\d+/\d+ .*$", done.stdout, re.M):
        say(line)
    assert done.returncode == 0, done.stdout


def test_the_conformance_suite_passes_on_the_s390x_build(say, tmp_path):
    env = dict(os.environ, ZVISOR_BUILD=BUILD, ZVISOR_WRAPPER=USER_EMULATION)
    done = subprocess.run([os.path.join(run.ROOT, "scripts/conformance"), "--no-qemu", "--different", "--json",
                           str(tmp_path / "conformance.json")], env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT, check=False)
    say(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
    assert re.search(r"^zvisor: \d{3,} passed, 0 failed, \d+ not here, 0 missing$", done.stdout, re.M)


def test_an_s390x_host_gives_a_function_away_and_its_guest_is_told_what_the_host_is(tmp_path, say):
    outer = run.qemu_command(os.path.join(BUILD, "tests/guest/zpci/zpci-describe"), memory="64M",
                             more=["-cpu", "max", "-no-reboot", *hosts.S390X_FUNCTION])
    announced = answers(subprocess.run(outer, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
                                       check=True).stdout.decode().replace("\r", ""))
    files = {f"tests/{name}": os.path.join(BUILD, "tests/unit", path) for name, path in IN_THE_HOST.items()}
    status, said = hosts.perform(hosts.S390x(BUILD), str(tmp_path), """
# Each reset of the function would be told.
echo 4 >/proc/sys/kernel/printk
guest() { zvisor run --kernel /guests/$1 --memory 64M --device vfio,host=$ZVISOR_FUNCTION; }
for test in /tests/*; do
	echo "host: $test"
	$test >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
	grep -E "PASSED|FAILED" /tmp/said
done
vfio_bind $ZVISOR_FUNCTION
guest zpci-describe
guest zpci-loadstore >/tmp/said || { cat /tmp/said; exit 1; }
grep -v '^ok' /tmp/said
""", LIMIT, say, files=files)
    assert status == 0
    assert len(re.findall(r"PASSED", said)) == len(IN_THE_HOST)
    assert not re.search(r"^not ok|Bail out", said, re.M)
    assert re.search(r"^1\.\.\d{2,}$", said, re.M)
    seen = answers(said)
    for kind, fields in (("function", FUNCTION), ("group", GROUP)):
        assert {field: seen[kind][field] for field in fields} == \
            {field: announced[kind][field] for field in fields}
    # As many addresses as the host can map, not more than its machine offers.
    assert int(seen["function"]["sdma"], 16) < int(seen["function"]["edma"], 16) \
        <= int(announced["function"]["edma"], 16)
