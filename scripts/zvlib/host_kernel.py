# SPDX-License-Identifier: MIT
"""Builds the kernel of a host with iommufd from Debian's linux-source, once.

Debian's own kernels have no iommufd. The newest source is taken, since that of Debian 12
is older than VFIO's device nodes. <cache>/host has, while and after it is made:
    source/     the source as unpacked, with what is built in it; removed in the end
    build.log   what make said
    config      what the kernel was built from: tests/hosts/iommufd.config as it was then
    package     the package of the source, with its version
    kernel      the kernel's image
A run that is cut short goes on where it was.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from zvlib import debian, run

ARCHITECTURE = "amd64"
CONFIG = os.path.join(run.ROOT, "tests/hosts/iommufd.config")
SOURCE = "linux-source"
# How often it is told how far the build is, in seconds.
TELL = 30


def folder():
    return os.path.join(debian.cache_folder(), "host")


def suite():
    return os.environ.get("ZVISOR_TEST_NEWER_SUITE", "forky")


def _text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def built():
    """The kernel's image, or None if there is none of the configuration as it is now."""
    kernel = os.path.join(folder(), "kernel")
    wanted = _text(CONFIG) == _text(os.path.join(folder(), "config"))
    return kernel if wanted and os.path.exists(kernel) else None


def package():
    """What the kernel was built from, with its version."""
    return (_text(os.path.join(folder(), "package")) or "").strip()


def _fetch_source(source, say):
    """Unpacks the source into a folder, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".work-", dir=folder()) as work:
        say(f"host kernel: reading the package lists of {suite()}")
        apt = debian.Apt(work, suite(), ARCHITECTURE)
        apt.update()
        found = re.search(r"^Depends:.*?(linux-source-[0-9][^ ,(]*)", apt.show(SOURCE), re.M)
        if not found:
            raise debian.FetchError(f"{SOURCE} of {suite()} does not say which source it stands for")
        name = found.group(1)
        text = apt.show(name)
        version = re.search(r"^Version: (.*)$", text, re.M).group(1)
        size = int(re.search(r"^Size: (\d+)$", text, re.M).group(1))
        say(f"host kernel: {name} {version}, {size / 1e6:.1f} MB")
        tree = apt.unpack(apt.download(name))
        say("host kernel: unpacking it")
        new = os.path.join(work, "source")
        os.mkdir(new)
        subprocess.run(["tar", "-xJf", os.path.join(tree, "usr/src", f"{name}.tar.xz"), "-C", new,
                        "--strip-components=1"], check=True)
        with open(os.path.join(folder(), "package"), "w", encoding="utf-8") as file:
            file.write(f"{name} {version}\n")
        os.rename(new, source)


def _configure(source):
    """Writes .config; what the kernel's own rules have dropped would be missed later, so it fails here."""
    subprocess.run(["make", "-s", "-C", source, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig"], check=True,
                   stdout=subprocess.DEVNULL)
    have = set(_text(os.path.join(source, ".config")).splitlines())
    wanted = [line for line in _text(CONFIG).splitlines() if line.startswith("CONFIG_") and not line.endswith("=n")]
    lost = [line for line in wanted if line not in have]
    if lost:
        raise debian.FetchError(f"this source has no {', '.join(lost)}")


def _make(source, say):
    """Builds the image, telling how far it is."""
    begin = told = time.monotonic()
    count = 0
    last = []
    with open(os.path.join(folder(), "build.log"), "w", encoding="utf-8") as log, \
            subprocess.Popen(["make", "-C", source, f"-j{os.cpu_count() or 1}", "bzImage"], text=True, errors="replace",
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as make:
        for line in make.stdout:
            log.write(line)
            last = [*last[-19:], line]
            count += bool(re.match(r" +(CC|AS) ", line))
            if time.monotonic() - told >= TELL:
                told = time.monotonic()
                say(f"host kernel: {count} files compiled of some 1200, {told - begin:.0f} s")
    if make.returncode != 0:
        raise debian.FetchError("the kernel cannot be built: " + "".join(last))


def fetch(say=print):
    """The image of the host's kernel, made unless it is there already; half an hour on two cores."""
    os.makedirs(folder(), exist_ok=True)
    with open(os.path.join(folder(), ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if built():
            return built()
        source = os.path.join(folder(), "source")
        if not os.path.isdir(source):
            _fetch_source(source, say)
        _configure(source)
        say(f"host kernel: building {package()}")
        _make(source, say)
        kernel = os.path.join(folder(), "kernel")
        os.replace(os.path.join(source, "arch/x86/boot/bzImage"), kernel)
        shutil.copyfile(CONFIG, os.path.join(folder(), "config"))
        shutil.rmtree(source)
    say(f"host kernel: {kernel}")
    return kernel


def main():
    try:
        fetch(lambda line: print(line, flush=True))
    except (debian.FetchError, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"host kernel: {error}")


if __name__ == "__main__":
    main()
