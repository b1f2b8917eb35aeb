# SPDX-License-Identifier: MIT
"""Makes initrds: cpio archives in the "newc" format with busybox, modules and a script.

The kernel unpacks archives that follow one another, so what one boot runs is a small
archive behind the large one that all boots share (busybox and modules). Nothing is
compressed: unpacking would cost the guest more time than reading costs the host.

The init mounts what a shell needs, says how long the kernel took, and runs
/zvisor/script if there is one, else the shell on the console; then it powers the
machine off. Words of the kernel command line steer it:
    zv.module=A,B   load these modules (and what they depend on) before the script
    zv.shell        a shell on the console, after the script
Its lines on the console start with "zvisor-guest:", to be told from the kernel's.

Modules come without the tables that depmod makes, so their dependencies are read
from the modules themselves (the .modinfo section), and modprobe in the guest gets a
modules.dep made from that.
"""

import lzma
import os
import re
import stat
import struct
import tempfile

# What a guest here may want to load, with whatever these depend on. A kernel
# that lacks one, or has it built in, is no trouble.
MODULES = ["nvme"]

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
# The line-mode console is ttyS0, and its terminal sclp_line0.
[ ! -e /dev/sclp_line0 ] || ln -s sclp_line0 /dev/ttyS0
read uptime rest </proc/uptime
echo "zvisor-guest: init after $uptime s, $(nproc) cpus, Linux $(uname -r)"
# What the kernel says from here on stays in its log, off the console.
echo 3 >/proc/sys/kernel/printk
status=0
for word in $(cat /proc/cmdline); do
	case $word in
	zv.module=*)
		for module in $(echo "${word#*=}" | tr , ' '); do
			modprobe "$module" || status=1
		done ;;
	zv.shell) shell=yes ;;
	esac
done
if [ -f /zvisor/script ]; then
	sh /zvisor/script || status=$?
	echo "zvisor-guest: script ended with $status"
else
	shell=yes
fi
if [ -n "$shell" ]; then
	echo "zvisor-guest: shell"
	setsid cttyhack sh
fi
sync
echo "zvisor-guest: power off"
# That terminal keeps the last line for a moment.
[ ! -e /dev/sclp_line0 ] || sleep 1
poweroff -f
"""


class Archive:
    """A cpio archive in the making; the same content always gives the same bytes."""

    def __init__(self):
        self._parts = []
        self._folders = set()
        self._inode = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self._parts += [header, bytes(-len(header) % 4), data, bytes(-len(data) % 4)]

    def folder(self, path):
        path = path.strip("/")
        if path and path not in self._folders:
            self.folder(os.path.dirname(path))
            self._folders.add(path)
            self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, mode=0o644):
        self.folder(os.path.dirname(path))
        self._entry(path.strip("/"), stat.S_IFREG | mode, data)

    def device(self, path, major, minor):
        self.folder(os.path.dirname(path))
        self._entry(path.strip("/"), stat.S_IFCHR | 0o600, rdev=(major, minor))

    def data(self):
        end = b"070701" + b"00000000" * 4 + b"00000001" + b"00000000" * 6 + b"0000000b" + b"00000000"
        return b"".join(self._parts) + end + b"TRAILER!!!\0" + bytes(-(len(end) + 11) % 4)


def module_name(path):
    """The name by which modprobe knows a module file: nvme-core.ko.xz is nvme_core."""
    return re.sub(r"\.ko(\.xz)?$", "", os.path.basename(path)).replace("-", "_")


def module_data(path):
    with open(path, "rb") as file:
        data = file.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


def module_depends(data):
    """The names of the modules that a module needs, from the .modinfo section of its ELF file."""
    order = "<" if data[5] == 1 else ">"
    shoff, = struct.unpack_from(order + "Q", data, 40)
    shentsize, shnum, shstrndx = struct.unpack_from(order + "HHH", data, 58)

    def section(index):
        name, _, _, _, offset, size = struct.unpack_from(order + "IIQQQQ", data, shoff + index * shentsize)
        return name, data[offset:offset + size]

    _, names = section(shstrndx)
    for index in range(shnum):
        name, content = section(index)
        if names[name:names.index(b"\0", name)] == b".modinfo":
            for line in content.split(b"\0"):
                if line.startswith(b"depends="):
                    return [word.replace("-", "_") for word in line[8:].decode().split(",") if word]
    return []


def find_modules(guest, wanted):
    """The modules wanted and all that they need: {name: (path below the modules folder, data, needs)}."""
    files = {}
    for folder, _, names in os.walk(os.path.join(guest.modules, "kernel")):
        for name in names:
            if re.search(r"\.ko(\.xz)?$", name):
                files[module_name(name)] = os.path.join(folder, name)
    found = {}
    queue = [name.replace("-", "_") for name in wanted]
    while queue:
        name = queue.pop()
        if name in found or name not in files:
            continue
        data = module_data(files[name])
        path = re.sub(r"\.xz$", "", os.path.relpath(files[name], guest.modules))
        found[name] = (path, data, module_depends(data))
        queue += found[name][2]
    return found


def _all_needs(found, name):
    """Everything that a module needs, nearest first, as modules.dep wants it."""
    needs = []
    queue = list(found[name][2])
    while queue:
        need = queue.pop(0)
        if need in needs:
            needs.remove(need)
        if need in found:
            needs.append(need)
            queue += found[need][2]
    return needs


def base_archive(guest, modules=()):
    """The large part: busybox, init and modules."""
    archive = Archive()
    for folder in ("proc", "sys", "dev", "tmp", "etc", "zvisor"):
        archive.folder(folder)
    # Without a console node the kernel starts init with no output at all.
    archive.device("dev/console", 5, 1)
    with open(guest.busybox, "rb") as file:
        archive.file("bin/busybox", file.read(), 0o755)
    archive.file("init", INIT.encode(), 0o755)
    found = find_modules(guest, [*MODULES, *modules])
    root = f"lib/modules/{guest.release}"
    archive.folder(root)
    table = []
    for name, (path, data, _) in sorted(found.items()):
        archive.file(f"{root}/{path}", data)
        table.append(" ".join([path + ":"] + [found[need][0] for need in _all_needs(found, name)]))
    archive.file(f"{root}/modules.dep", "\n".join(table + [""]).encode())
    return archive.data()


def script_archive(script, files=()):
    """The small part: what one boot runs, and files {path: data} that it needs (all executable)."""
    archive = Archive()
    archive.file("zvisor/script", script.encode() if isinstance(script, str) else script, 0o755)
    for path, data in sorted(dict(files).items()):
        archive.file(path, data, 0o755)
    return archive.data()


def build(guest, path, script=None, files=(), modules=()):
    """Writes a whole initrd to a file, whole or not at all; returns the path."""
    data = base_archive(guest, modules)
    if script is not None:
        data += script_archive(script, files)
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".initrd-", dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        os.fchmod(handle, 0o644)
    os.rename(name, path)
    return path
