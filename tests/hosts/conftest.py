# SPDX-License-Identifier: MIT
"""Fixtures of the tests that pass real functions through: hosts in QEMU, see zvlib/hosts.py."""

import os
import sys
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from zvlib import debian, hosts, run  # noqa: E402  (found by the line above)


def teller(config):
    """Tells how far it is, whatever pytest does with output."""
    begin = time.monotonic()
    capture = config.pluginmanager.getplugin("capturemanager")

    def tell(line):
        with capture.global_and_fixture_disabled():
            print(f"  [{time.monotonic() - begin:4.0f} s] {line}", flush=True)
    return tell


@pytest.fixture
def say(request):
    return teller(request.config)


@pytest.fixture(scope="session")
def x86():
    return hosts.X86(run.build_folder(), debian.fetch(architecture="amd64"))


@pytest.fixture(scope="session")
def iommufd():
    return hosts.Iommufd(run.build_folder())
