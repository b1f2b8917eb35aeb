# SPDX-License-Identifier: MIT
"""Brings Debian's kernel, its modules and busybox, leaving the system as it is.

apt-get runs with lists, cache and status of its own and with the architecture wanted
(s390x for a guest), but with the system's sources, proxies and keys: what this machine
may reach, and how, is for its owner to say. A guest from another suite uses a
sources file derived from the system's.

A guest is one folder, <cache>/guest/<suite>:
    kernel      the raw image as Debian ships it
    release     the kernel's version, as uname -r in the guest says it
    modules/    what belongs in /lib/modules/<release>
    busybox     statically linked
    packages    the packages that all this came from, with their versions
The kernel of another architecture is in <cache>/guest/<suite>-<architecture>, and
<cache>/sysroot/<suite>-<architecture> has the libraries that a build for it links with.
A package of another suite, for this machine, is in <cache>/package/<suite>-<package>, with all
that it needs down to the C library: such a program runs beside the system's.
Each is put together beside its place and renamed into it, so that a run that is
cut short leaves nothing half done; a lock makes a second run wait for the first.
"""

import collections
import fcntl
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ARCHITECTURE = "s390x"
BUSYBOX = "busybox-static"
# What building zvisor and its unit tests takes, beyond a compiler and its C library.
LIBRARIES = ["liburing2", "liburing-dev", "libjansson4", "libjansson-dev", "libcmocka0", "libcmocka-dev",
             "libgmp10", "libgmp-dev", "libseccomp2", "libseccomp-dev"]

Guest = collections.namedtuple("Guest", "path kernel release modules busybox packages")


class FetchError(Exception):
    """Something that a person has to know of, in one line."""


def cache_folder():
    """Where fetched and derived things are kept: the clone's own .cache, or XDG_CACHE_HOME."""
    if os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(os.environ["XDG_CACHE_HOME"], "zvisor")
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.join(os.path.dirname(os.path.dirname(here)), ".cache")


def system_suite():
    """The suite that this system was installed from, as os-release has it."""
    try:
        with open("/etc/os-release", encoding="utf-8") as release:
            found = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', release.read(), re.M)
    except OSError:
        found = None
    if not found:
        raise FetchError("/etc/os-release does not name the suite of this system; say it with --suite")
    return found.group(1)


def open_guest(path):
    """The guest kept in a folder, or None if there is none."""
    try:
        with open(os.path.join(path, "release"), encoding="ascii") as file:
            release = file.read().strip()
        with open(os.path.join(path, "packages"), encoding="ascii") as file:
            packages = file.read().split("\n")
    except FileNotFoundError:
        return None
    return Guest(path, os.path.join(path, "kernel"), release, os.path.join(path, "modules"),
                 os.path.join(path, "busybox"), [line for line in packages if line])


def fetch(suite=None, refresh=False, say=print, architecture=ARCHITECTURE):
    """The guest of a suite (default: the system's), fetched unless it is kept already."""
    suite = suite or system_suite()
    name = suite if architecture == ARCHITECTURE else f"{suite}-{architecture}"
    path, new = _keep("guest", name, suite, architecture, refresh, open_guest, _assemble, say)
    guest = open_guest(path)
    if new:
        say(f"fetch-guest: Linux {guest.release} is in {path}")
    return guest


def sysroot(architecture, say=print):
    """A folder with the libraries of the system's suite for another architecture."""
    suite = system_suite()
    path, _ = _keep("sysroot", f"{suite}-{architecture}", suite, architecture, False, _open_sysroot,
                    _assemble_sysroot, say)
    return path


Package = collections.namedtuple("Package", "path versions")


def package(name, suite, say=print):
    """A package of another suite and what it depends on, in a folder."""
    path, _ = _keep("package", f"{suite}-{name}", suite, _own_architecture(), False, _open_package,
                    lambda apt, new, say: _assemble_package(apt, name, new, say), say)
    return _open_package(path)


def command(fetched, program):
    """What runs a program of a package: with the loader and the libraries that came with it."""
    path = fetched.path
    loaders = glob.glob(os.path.join(path, "lib*", "ld-linux*.so*")) + \
        glob.glob(os.path.join(path, "usr/lib*", "ld-linux*.so*"))
    folders = [os.path.join(path, "usr/lib", triplet) for triplet in os.listdir(os.path.join(path, "usr/lib"))
               if re.fullmatch(r"[a-z0-9_]+-linux-gnu", triplet)]
    if not loaders or not folders:
        raise FetchError(f"{path} has no C library")
    return [loaders[0], "--library-path", ":".join(folders), os.path.join(path, "usr/bin", program)]


def _own_architecture():
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def _open_package(path):
    try:
        with open(os.path.join(path, "packages"), encoding="utf-8") as file:
            return Package(path, file.read().split("\n"))
    except FileNotFoundError:
        return None


def _assemble_package(apt, name, new, say):
    say(f"fetch: reading the package lists of {apt.suite}")
    apt.update()
    packages = apt.download_all(name)
    for file in packages:
        tree = apt.unpack(file)
    for entry in os.listdir(tree):
        shutil.move(os.path.join(tree, entry), new)
    versions = sorted(os.path.basename(file).removesuffix(".deb") for file in packages)
    with open(os.path.join(new, "packages"), "w", encoding="utf-8") as file:
        file.write("\n".join(versions))
    say(f"fetch: {next(v for v in versions if v.startswith(name + '_'))} and {len(versions) - 1} that it needs")


def _open_sysroot(path):
    """Has the sysroot there the libraries that are wanted now?"""
    try:
        with open(os.path.join(path, "packages"), encoding="ascii") as file:
            return file.read().split() == LIBRARIES
    except FileNotFoundError:
        return False


def _keep(kind, name, suite, architecture, refresh, open_it, assemble, say):
    """<cache>/<kind>/<name>, made by assemble() unless open_it() finds it usable; and whether it was made."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise FetchError(f"'{suite}' is no name of a suite")
    keep = os.path.join(cache_folder(), kind)
    path = os.path.join(keep, name)
    os.makedirs(keep, exist_ok=True)
    with open(os.path.join(keep, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = open_it(path)
        if found and not refresh:
            return path, False
        # Whoever was killed here could not clean up.
        for left in glob.glob(os.path.join(keep, ".work-*")):
            shutil.rmtree(left)
        work = tempfile.mkdtemp(prefix=".work-", dir=keep)
        try:
            new = os.path.join(work, "new")
            os.mkdir(new)
            assemble(Apt(work, suite, architecture), new, say)
            if os.path.isdir(path):
                os.rename(path, os.path.join(work, "old"))
            os.rename(new, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return path, True


def _assemble_sysroot(apt, new, say):
    say(f"sysroot: reading the package lists of {apt.suite} for {apt.architecture}")
    apt.update()
    for name in LIBRARIES:
        tree = apt.unpack(apt.download(name))
    for entry in os.listdir(tree):
        shutil.move(os.path.join(tree, entry), new)
    with open(os.path.join(new, "packages"), "w", encoding="ascii") as file:
        file.write("\n".join(LIBRARIES) + "\n")
    say(f"sysroot: libraries for {apt.architecture}: {' '.join(LIBRARIES)}")


def _assemble(apt, new, say):
    say(f"fetch-guest: reading the package lists of {apt.suite} for {apt.architecture}")
    apt.update()
    # The metapackage depends on the one kernel that it stands for.
    found = re.search(r"^Depends:.*?(linux-image-[0-9][^ ,(]*)", apt.show(apt.kernel), re.M)
    if not found:
        raise FetchError(f"{apt.kernel} of {apt.suite} does not say which kernel it stands for")
    image = found.group(1)
    release = image[len("linux-image-"):]
    # Newer kernels come in parts, and the image's package is empty.
    parts = re.findall(rf"\b(linux-(?:binary|modules)-{re.escape(release)})\b", apt.show(image))
    packages = []
    for name in [*(sorted(set(parts)) or [image]), BUSYBOX]:
        text = apt.show(name)
        version = re.search(r"^Version: (.*)$", text, re.M).group(1)
        size = int(re.search(r"^Size: (\d+)$", text, re.M).group(1))
        say(f"fetch-guest: {name} {version}, {size / 1e6:.1f} MB")
        packages.append(f"{name} {version}")
        tree = apt.unpack(apt.download(name))  # all in one tree
    # The kernel first: it may be among the modules.
    places = {"kernel": [f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz-{release}",
                         f"usr/lib/modules/{release}/vmlinuz"],
              "modules": [f"lib/modules/{release}", f"usr/lib/modules/{release}"],
              "busybox": ["bin/busybox", "usr/bin/busybox"]}
    for wanted, paths in places.items():
        found = [path for path in paths if os.path.exists(os.path.join(tree, path))]
        if not found:
            raise FetchError(f"no {wanted} in {', '.join(packages)} of {apt.suite}")
        shutil.move(os.path.join(tree, found[0]), os.path.join(new, wanted))
    shutil.rmtree(tree)
    with open(os.path.join(new, "packages"), "w", encoding="ascii") as file:
        file.write("\n".join(packages) + "\n")
    with open(os.path.join(new, "release"), "w", encoding="ascii") as file:
        file.write(release + "\n")


class Apt:
    """apt with everything that it writes inside one folder."""

    def __init__(self, work, suite, architecture):
        self.work = work
        self.suite = suite
        self.architecture = architecture
        self.kernel = f"linux-image-{architecture}"
        for folder in ("lists/partial", "cache/archives/partial", "deb", "empty"):
            os.makedirs(os.path.join(work, folder))
        status = os.path.join(work, "status")
        with open(status, "w", encoding="ascii"):
            pass
        self.options = [
            f"APT::Architecture={architecture}",
            f"APT::Architectures={architecture}",
            f"Dir::State={work}",
            f"Dir::State::lists={work}/lists",
            f"Dir::State::status={status}",
            f"Dir::Cache={work}/cache",
            # The folders belong to whoever runs this, not to apt's own user.
            f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}",
            # Translations, contents and icons are of no use here.
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
            "Acquire::Retries=3",
            "APT::Update::Post-Invoke=",
            "APT::Update::Post-Invoke-Success=",
        ]
        if suite != system_suite():
            derived = os.path.join(work, "sources.sources")
            with open(derived, "w", encoding="utf-8") as file:
                file.write(derive_sources(_system_sources(), system_suite(), suite))
            self.options += [f"Dir::Etc::sourcelist={derived}", f"Dir::Etc::sourceparts={work}/empty"]

    def _run(self, command, **more):
        argv = [command[0]]
        for option in self.options:
            argv += ["-o", option]
        return subprocess.run(argv + command[1:], stdin=subprocess.DEVNULL, text=True, check=False,
                              env=dict(os.environ, LC_ALL="C.UTF-8"), **more)

    def update(self):
        result = self._run(["apt-get", "-q", "update"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # A source without s390x, or out of reach, matters only if what is
        # wanted is then nowhere to be found.
        if result.returncode != 0 and self._show(self.kernel) is None:
            raise FetchError(f"apt-get update failed: {_errors(result.stdout)}")

    def _show(self, name):
        result = self._run(["apt-cache", "--no-all-versions", "show", name], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
        return result.stdout if result.returncode == 0 and result.stdout else None

    def show(self, name):
        text = self._show(name)
        if text is None:
            raise FetchError(f"the package sources of this system have no {name} for {self.architecture}"
                             f" in {self.suite}")
        return text

    def download(self, name):
        """Downloads and checks one package; apt shows its own progress on a terminal."""
        folder = os.path.join(self.work, "deb")
        quiet = [] if sys.stderr.isatty() else ["-q"]
        result = self._run(["apt-get", *quiet, "download", name], cwd=folder,
                           stdout=None if sys.stderr.isatty() else subprocess.PIPE,
                           stderr=None if sys.stderr.isatty() else subprocess.STDOUT)
        found = glob.glob(os.path.join(folder, "*.deb"))
        if result.returncode != 0 or len(found) != 1:
            raise FetchError(f"apt-get could not download {name}: {_errors(result.stdout)}")
        return found[0]

    def download_all(self, name):
        """Downloads a package and all that it depends on: the paths of the files."""
        result = self._run(["apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install", name],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        found = glob.glob(os.path.join(self.work, "cache/archives", "*.deb"))
        if result.returncode != 0 or not found:
            raise FetchError(f"apt-get could not download {name} of {self.suite}: {_errors(result.stdout)}")
        return found

    def unpack(self, file):
        tree = os.path.join(self.work, "tree")
        result = subprocess.run(["dpkg-deb", "-x", file, tree], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise FetchError(f"cannot unpack {os.path.basename(file)}: {result.stderr.strip()}")
        os.unlink(file)
        return tree


def _errors(output):
    """What apt complains of, as one line."""
    lines = [line[2:].strip() for line in (output or "").split("\n") if line.startswith("E:")]
    return "; ".join(lines) or "see above"


def _system_sources():
    """The text of the system's sources: a list of (is it deb822, text)."""
    result = subprocess.run(
        ["apt-config", "shell", "main", "Dir::Etc::sourcelist/f", "parts", "Dir::Etc::sourceparts/d"],
        capture_output=True, text=True, check=True)
    places = dict(re.findall(r"^(main|parts)='(.*)'$", result.stdout, re.M))
    files = [places["main"]] if "main" in places else []
    if "parts" in places:
        files += sorted(glob.glob(os.path.join(places["parts"], "*.list")) +
                        glob.glob(os.path.join(places["parts"], "*.sources")))
    texts = []
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                texts.append((path.endswith(".sources"), file.read()))
        except OSError:
            pass
    return texts


def derive_sources(texts, system, suite):
    """Sources in deb822 form for another suite, from those entries that serve the system's own.

    Updates and security fixes live in suites with a name of their own, which
    need not exist for every suite; the main one is enough for a guest.
    """
    aliases = {system, f"{system}/", "stable", "oldstable", "testing", "unstable", "sid"}
    entries = []
    for is_deb822, text in texts:
        entries += _parse_deb822(text) if is_deb822 else _parse_one_line(text)
    stanzas = []
    for entry in entries:
        if "deb" not in entry.get("types", "").split() or entry.get("enabled", "yes").lower() == "no":
            continue
        if not aliases & set(entry.get("suites", "").split()) or "main" not in entry.get("components", "").split():
            continue
        lines = ["Types: deb", f"URIs: {entry['uris']}", f"Suites: {suite}", "Components: main"]
        for key, field in (("signed-by", "Signed-By"), ("trusted", "Trusted")):
            if key in entry:
                lines.append(f"{field}: {entry[key]}")
        stanza = "\n".join(lines) + "\n"
        if stanza not in stanzas:
            stanzas.append(stanza)
    if not stanzas:
        raise FetchError(f"none of this system's package sources serves {system}, so none is known for {suite}")
    return "\n".join(stanzas)


def _parse_deb822(text):
    entries = []
    for stanza in re.split(r"\n\s*\n", text):
        entry, key = {}, None
        for line in stanza.split("\n"):
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and key:
                # Kept as it is: an inline key needs its lines.
                entry[key] += "\n" + line
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                entry[key] = value.strip()
        if entry:
            entries.append(entry)
    return entries


def _parse_one_line(text):
    entries = []
    for line in text.split("\n"):
        found = re.match(r"\s*(deb)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if not found:
            continue
        entry = {"types": "deb", "uris": found.group(3), "suites": found.group(4), "components": found.group(5)}
        for option in (found.group(2) or "").split():
            key, _, value = option.partition("=")
            entry[key.lower()] = value.replace(",", " ")
        entries.append(entry)
    return entries
