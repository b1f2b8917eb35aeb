# SPDX-License-Identifier: MIT
"""How Linux sees functions: their addresses, identifiers and groups, and what they count."""

import re

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


def test_functions_of_one_slot_are_on_one_bus(boot):
    seen = functions(finish(boot(SHOW, devices=[
        "testdev,addr=3.0,multifunction=on,uid=5", "testdev,addr=3.1,uid=6", "testdev,uid=7", "testdev,addr=4,uid=8"])))
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
