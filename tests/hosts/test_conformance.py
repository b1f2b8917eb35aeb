# SPDX-License-Identifier: MIT
"""The conformance suite on a function of an x86-64 host: a virtio entropy device, by VFIO.

Where such a function differs from a built-in one, tests/guest/zpci/vfio-differences says why.
"""

import fnmatch
import os
import re

import pytest

from conftest import teller
from zvlib import hosts, run

# Only to end a host that hangs; a check that nothing happens takes its time.
LIMIT = 1800
DIFFERENCES = os.path.join(run.ROOT, "tests/guest/zpci/vfio-differences")

# {program: (CPUs, properties of the function)}. The others want functions of zvisor's own.
PROGRAMS = {
    "clp": (1, ""), "identity": (1, ""), "loadstore": (1, ""), "nobar": (1, ""),
    "controls": (1, ",relaxed-translation=off"), "events": (1, ""), "interrupts": (1, ""), "mio": (1, ""),
    "directed": (2, ""), "matrix": (1, ""), "reset": (1, ""), "direct": (1, ",relaxed-translation=on"),
    "translation": (1, ""),
}


def differences():
    """[(pattern of a name, why)]"""
    with open(DIFFERENCES, encoding="utf-8") as file:
        return [tuple(line.strip().split(" | ", 1)) for line in file if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def said(x86, tmp_path_factory, request):
    script = "vfio_bind 0000:00:05.0\n"
    for name, (cpus, properties) in PROGRAMS.items():
        script += f"""echo "host: section {name}"
zvisor run --kernel /guests/zpci-{name} --memory 64M --cpus {cpus} --device vfio,host=00:05.0{properties} \\
	--device testdev --device testdev 2>&1 || echo "host: ended with $?"
"""
    status, text = hosts.perform(x86, str(tmp_path_factory.mktemp("conformance")), script + "echo host: section end\n",
                                 LIMIT, teller(request.config))
    assert status == 0
    return text


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_function_of_the_host_is_as_one_of_zvisor_but_for_known_differences(said, name):
    text = re.search(rf"^host: section {name}$(.*?)^host: section ", said, re.M | re.S).group(1)
    planned = re.search(r"^1\.\.(\d+)$", text, re.M)
    assert planned and "host: ended" not in text, text
    checks = re.findall(r"^(not )?ok \d+ - (\S+)", text, re.M)
    assert len(checks) == int(planned.group(1)) > 0
    unknown = [check for failed, check in checks
               if failed and not any(fnmatch.fnmatch(check, pattern) for pattern, _ in differences())]
    assert not unknown, text


def test_each_known_difference_is_one(said):
    failed = re.findall(r"^not ok \d+ - (\S+)", said, re.M)
    assert failed
    assert not [pattern for pattern, _ in differences() if not fnmatch.filter(failed, pattern)]
