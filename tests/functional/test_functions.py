# SPDX-License-Identifier: MIT
"""How Linux sees functions: their addresses, identifiers and groups, and what they count."""

import hashlib
import re

import pytest

from conftest import finish

SHOW = """
for device in /sys/bus/pci/devices/*; do
	say "function ${device##*/} $(for file in function_id uid pchid pfgid pft; do
		printf '%s=%s ' $file $(cat $device/$file)
	done)text=$(hexdump -v -e '1/1 "%02x"' $device/util_string)"
done
"""


def functions(machine):
    """Attributes of each function by its PCI address."""
    return {address: dict(pair.split("=") for pair in rest.split())
            for address, rest in re.findall(r"^zvisor-guest: function (\S+) (.*)$", machine.console, re.M)}


@pytest.mark.parametrize("kernel", ["guest", "newer_guest"])
def test_functions_of_one_slot_are_on_one_bus(boot, request, kernel):
    # Older kernels know them by their PCHID, newer ones by their topology identifier.
    machine = boot(SHOW, other_guest=request.getfixturevalue(kernel), devices=[
        "testdev,addr=3.0,multifunction=on,uid=5", "testdev,addr=3.1,uid=6", "testdev,uid=7", "testdev,addr=4,uid=8"])
    seen = functions(finish(machine))
    assert set(seen) == {"0005:00:00.0", "0005:00:00.1", "0007:00:00.0", "0008:00:00.0"}
    assert seen["0005:00:00.0"]["pchid"] == seen["0005:00:00.1"]["pchid"]


def test_without_uid_checking_linux_numbers_the_domains(boot):
    seen = functions(finish(boot(SHOW, devices=["testdev,uid=5", "testdev,uid=5", "testdev,uid=0"],
                                 more=["--machine", "zvisor-1.0,uid-checking=off"])))
    assert set(seen) == {"0000:00:00.0", "0001:00:00.0", "0002:00:00.0"}
    assert sorted(function["uid"] for function in seen.values()) == ["0x0", "0x5", "0x5"]


def test_identifiers_reach_the_guest(boot):
    seen = functions(finish(boot(SHOW, devices=[
        "testdev,uid=0x1234,fid=0x87654321,pchid=0x1fc,pft=10,util-string=PORT 1",
        "testdev,uid=1,interrupts=64", "testdev,uid=2,interrupts=64", "testdev,uid=3,store-block=128"])))
    first = seen["1234:00:00.0"]
    assert (first["function_id"], first["pchid"], first["pft"]) == ("0x87654321", "0x01fc", "0x0a")
    assert bytes.fromhex(first["text"]).decode("cp500") == "PORT 1".ljust(64)
    assert seen["0001:00:00.0"]["text"] == "00" * 64
    groups = {address: function["pfgid"] for address, function in seen.items()}
    assert groups["0001:00:00.0"] == groups["0002:00:00.0"]
    assert len(set(groups.values())) == 3


COUNT = """
mount -t debugfs none /sys/kernel/debug
statistics=/sys/kernel/debug/pci/0001:00:00.0/statistics
samples() { sed -n 's/^ *Samples: *//p' $statistics; }
dd if=$(disk measured) of=/dev/null bs=64k count=32 2>/dev/null
# One update may be under way; the next has all.
enough=$(($(samples) + 2))
tries=600
while [ $(samples) -lt $enough ]; do
	[ $((tries = tries - 1)) -gt 0 ] || { say "no samples"; exit 1; }
	sleep 0.1
done
sed 's/^ *\\(.*\\):/zvisor-guest: counted \\1:/' $statistics
echo 0 >$statistics
"""

# What the instructions are called in traces, by the counter that they count in.
COUNTED = {
    "Load operations": {"pcilg", "pcilgi"},
    "Store operations": {"pcistg", "pcistgi"},
    "Store block operations": {"pcistb", "pcistbi"},
    "Refresh operations": {"rpcit"},
}


def measured(traces, fh):
    """What was done with a function between the two MPCIFC that switch its measurement, when it is alone."""
    counts, measuring = dict.fromkeys(COUNTED, 0), False
    for name, rest in re.findall(r"^\S+ zpci_(\w+): (.*)$", traces, re.M):
        if "fh=" in rest and f"fh={fh:08x}" not in rest:
            continue  # of another one; those with addresses have no handle
        if name == "mpcifc" and " operation=10 " in rest:
            measuring = not measuring
        if measuring and " cc=0" in rest:
            for counter, names in COUNTED.items():
                counts[counter] += name in names
    return counts


@pytest.mark.parametrize("mio", ["on", "off"])
def test_linux_shows_what_the_traces_show(boot, make_disk, mio):
    disk = make_disk("measured", 16 << 20)
    machine = boot(COUNT, modules=["nvme"], append="quiet zv.module=nvme s390_iommu=strict",
                   devices=[f"nvme,file={disk},serial=measured,uid=1,measurement-interval=250"],
                   more=["--machine", f"zvisor-1.0,mio={mio}", "--trace", "zpci_*"])
    finish(machine)
    counted = {name: int(value) for name, value in
               re.findall(r"^zvisor-guest: counted (.*):\t(\d+)$", machine.console, re.M)}
    assert {name: counted[name] for name in COUNTED} == measured(machine.errors, 0x80010000)
    assert all(counted[name] for name in ("Load operations", "Store operations", "Refresh operations"))
    assert counted["DMA write bytes"] >= 32 << 16
    assert counted["DMA read bytes"] >= 64  # a command, at least


def test_disks_that_are_functions_of_one_device_both_work(boot, make_disk):
    disks = [make_disk(name, 4 << 20) for name in ("first", "second")]
    machine = finish(boot("""
        for name in first second; do
            node=$(disk $name)
            say "sum $name $(cat /sys/block/${node##*/}/device/address) $(md5sum <$node | cut -d' ' -f1)"
        done
        """, modules=["nvme"], append="quiet zv.module=nvme", devices=[
        f"nvme,addr=2.0,multifunction=on,uid=9,file={disks[0]},serial=first",
        f"nvme,addr=2.1,file={disks[1]},serial=second"]))
    sums = {name: (address, value) for name, address, value in
            re.findall(r"^zvisor-guest: sum (\S+) (\S+) (\S+)$", machine.console, re.M)}
    for number, name in enumerate(("first", "second")):
        with open(disks[number], "rb") as file:
            assert sums[name] == (f"0009:00:00.{number}", hashlib.md5(file.read()).hexdigest())
