# SPDX-License-Identifier: MIT
"""A function fails, and Debian's kernel brings it back while the guest goes on."""

import re

import pytest

from conftest import finish
from disklayout import after_writers

MIB = 1 << 20


# Soon after the driver has begun to use the disk, and under load.
@pytest.mark.parametrize("page", [2000, 25000])
def test_a_transfer_without_translation_is_recovered_from(boot, make_disk, disktool, page):
    """One of two disks fails in the midst of writing; both hold what was written."""
    disks = {"bad": make_disk("bad", 32 * MIB), "good": make_disk("good", 16 * MIB)}
    before = {}
    for name, path in disks.items():
        with open(path, "rb") as file:
            before[name] = file.read()
    machine = boot(
        """
        modprobe nvme || exit 1
        bad=$(disk bad) && good=$(disk good) || exit 1
        disktool writers $bad 8 200 & first=$!
        disktool writers $good 4 200 & second=$!
        wait $first && wait $second || exit 1
        dmesg | grep -e zpci -e nvme
        """,
        files=disktool, cpus=2,
        devices=[f"nvme,file={disks['bad']},serial=bad,uid=1,x-fail-translation={page}",
                 f"nvme,file={disks['good']},serial=good,uid=2"])
    finish(machine, 600)
    assert len(re.findall(r"Event 0x4 reports an error for PCI function", machine.console)) == 1
    assert "The device is ready to resume operations" in machine.console
    assert "Automatic recovery failed" not in machine.console
    for name, writers in (("bad", 8), ("good", 4)):
        with open(disks[name], "rb") as file:
            assert file.read() == after_writers(before[name], writers, 200), f"disk {name} differs"
