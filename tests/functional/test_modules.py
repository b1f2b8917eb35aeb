# SPDX-License-Identifier: MIT
"""The tests that Debian's kernel brings along, run on 4 CPUs: each would find a wrong instruction.

Modules that a kernel does not have are passed over; those of Debian 12 are test_bpf,
test_user_copy, raid6_pq, xor, test_static_keys, and the ciphers and digests, which the
kernel compares with known answers when they are first used. Each module's log stands
between two lines of its own on the console. Debian builds no translator of BPF for
s390x, so there is one to switch on only in other kernels.
"""

import os
import re

import pytest

from conftest import COMPLAINT, finish
from zvlib import initrd

# What a module says when all is well; without one it is enough that it loads.
LIBRARY = {
    "test_bpf": r"test_bpf: Summary: [1-9]\d* PASSED, 0 FAILED(?s:.*)"
                r"test_tail_calls: Summary: [1-9]\d* PASSED, 0 FAILED(?s:.*)"
                r"test_skb_segment: Summary: [1-9]\d* PASSED, 0 FAILED",
    "test_user_copy": r"test_user_copy: tests passed\.",
    "xor": r"xor: automatically using best checksumming function",
    "raid6_pq": r"raid6: using algorithm \S+ gen\(\)(?s:.*)raid6: using \S+ recovery algorithm",
    "test_static_keys": "",
}

LIBRARY_SCRIPT = """
load() {
	dmesg -c >/dev/null
	say "begin $1 $2"
	modprobe $1 || say "does not load"
	dmesg | grep -vE '#[0-9]+ .* PASS *$'
	say "end $1 $2"
	rmmod $1 2>/dev/null
}
jit=/proc/sys/net/core/bpf_jit_enable
for module in $(cat /zvisor/modules); do
	if [ $module = test_bpf ] && [ -e $jit ]; then
		echo 0 >$jit
		load $module interpreted
		echo 1 >$jit
		load $module translated
	else
		load $module
	fi
done
"""

# tcrypt asks for every algorithm that it knows, and never stays loaded.
CRYPTO_SCRIPT = """
[ -e /sys/module/cryptomgr/parameters/notests ] || say "no self-tests"
for module in sha512_generic jitterentropy_rng $(cat /zvisor/modules); do
	modprobe $module 2>/dev/null
done
modprobe tcrypt mode=0 2>/dev/null
dmesg
awk '/^driver/ { driver = $3 } /^selftest/ { print "zvisor-guest: selftest", driver, $3 }' /proc/crypto
"""


def in_kernel(guest, folders):
    """The names of all modules in some of the guest's folders."""
    names = []
    for folder in folders:
        for _, _, files in os.walk(os.path.join(guest.modules, "kernel", folder)):
            names += [initrd.module_name(name) for name in files if ".ko" in name]
    return sorted(names)


def run_modules(boot, script, modules, more=()):
    machine = boot(script, files={"zvisor/modules": " ".join(modules).encode()},
                   modules=[*modules, *more], cpus=4)
    console = finish(machine, 600).console
    assert not COMPLAINT.search(console), console[-4000:]
    return console


def test_debians_test_modules_find_nothing_wrong(boot, guest):
    modules = [name for name in LIBRARY if name in initrd.find_modules(guest, LIBRARY)]
    if not modules:
        pytest.skip("this kernel has no test modules")
    console = run_modules(boot, LIBRARY_SCRIPT, modules)
    for module in modules:
        logs = re.findall(rf"^zvisor-guest: begin {module}\b(.*?)^zvisor-guest: end {module}\b", console, re.M | re.S)
        assert logs, f"{module} was not loaded"
        for log in logs:
            assert "does not load" not in log, log
            assert re.search(LIBRARY[module], log), f"{module} says:\n{log}"
            if "translated" in log:
                assert re.search(r"\[[1-9]\d*/\d+ JIT'ed\]", log), log


def test_all_ciphers_and_digests_give_their_known_answers(boot, guest):
    modules = [name for name in in_kernel(guest, ["crypto", "lib/crypto"]) if name != "tcrypt"]
    console = run_modules(boot, CRYPTO_SCRIPT, modules, more=["tcrypt"])
    if "zvisor-guest: no self-tests" in console:
        pytest.skip("this kernel is built without the tests")
    # That an algorithm does not exist (error 2) is how Debian chose it.
    failed = [line for line in re.findall(r"^.*alg: .*[Ff]ailed.*$", console, re.M)
              if not re.search(r"\(rc=-2\)$|: -2$", line)]
    assert not failed, "\n".join(failed)
    results = re.findall(r"^zvisor-guest: selftest (\S+) (\S+)$", console, re.M)
    assert [driver for driver, result in results if result != "passed"] == []
    # So many that they cannot have been left out by mistake.
    assert len(results) >= 100
    drivers = {driver for driver, _ in results}
    assert drivers >= {"sha512-generic", "sha3-256-generic", "aes-generic", "crc32c-generic", "ghash-generic"}
