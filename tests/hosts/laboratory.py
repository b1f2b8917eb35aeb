# SPDX-License-Identifier: MIT
"""An x86-64 host with more to give away, and a script that does so in every way.

    0000:00:04.0    NVMe controller "zvisor-host" with a disk
    0000:01:00.0    another, "zvisor-second", behind a root port that can report errors
    0000:00:07.0/1  two NVMe controllers without disks, in one IOMMU group
    NOT_ISOLATED    a function behind a bridge that the IOMMU does not translate

A host is booted once for all tests: its script goes through sections, each of which says
what happened; a test looks at one of them.
"""

import os
import re

from zvlib import disk, hosts, qmp, run

FIRST, SECOND, PAIR = "0000:00:04.0", "0000:01:00.0", ("0000:00:07.0", "0000:00:07.1")
MIB = 1 << 20

PRELUDE = r"""
set +e
first=0000:00:04.0 second=0000:01:00.0 pair0=0000:00:07.0 pair1=0000:00:07.1
devices=/sys/bus/pci/devices
a="--device vfio,host=$first,id=a" b="--device vfio,host=$second,id=b"
printf 'root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >/etc/passwd

section() { echo "host: section $1"; }
group() { basename "$(readlink $devices/$1/iommu_group)"; }
# guest NAME OPTION...: its status is said.
guest()
{
	local name=$1
	shift
	zvisor run --kernel /guests/$name --memory 64M "$@" 2>&1
	echo "host: status $?"
}
# as_user KILOBYTES NAME OPTION...: with a limit of locked memory.
as_user()
{
	local limit=$1 name=$2
	shift 2
	su user -c "ulimit -l $limit; zvisor run --kernel /guests/$name --memory 64M $*" 2>&1
	echo "host: status $?"
}
wait_until()
{
	local tries=1200
	until eval "$1"; do
		[ $((tries = tries - 1)) -gt 0 ] || { echo "host: in vain: $1"; return 1; }
		sleep 0.1
	done
}
# begin NAME OPTION...: until everything is under way.
begin()
{
	local name=$1
	shift
	zvisor run --kernel /guests/$name --memory 64M "$@" >/tmp/said 2>&1 &
	pid=$!
	wait_until "grep -q 'under way' /tmp/said"
}
ended()
{
	wait $pid
	echo "host: status $?"
	cat /tmp/said
}
# What a host's own driver finds on a disk: where the guest wrote, and the first page.
look_at()
{
	echo >$devices/$1/driver_override
	[ ! -e $devices/$1/driver ] || echo $1 >$devices/$1/driver/unbind
	echo $1 >/sys/bus/pci/drivers/nvme/bind
	wait_until "ls -d $devices/$1/nvme/nvme*/nvme*n1" >/dev/null
	local node=/dev/$(basename $devices/$1/nvme/nvme*/nvme*n1)
	wait_until "[ -b $node ]"
	echo "host: $1 holds $(dd if=$node bs=4096 skip=1024 count=8 2>/dev/null | sha256sum)"
	echo "host: $1 begins $(dd if=$node bs=4096 count=1 2>/dev/null | sha256sum)"
	vfio_bind $1
}
"""

SCRIPT = r"""
section no-such-device
guest hello --device vfio,host=1e:00.0
guest hello --device vfio,sysfsdev=/nonsense
guest hello --device vfio,host=nonsense
section no-iommu
echo "host: address $(basename $devices/0000:40:*/0000:41:00.0)"
guest hello --device vfio,host=41:00.0
section no-driver
guest hello $a
section other-driver
modprobe nvme
wait_until "[ -e $devices/$pair1/driver -a -e $devices/$pair0/driver -a -e $devices/$first/driver -a -e $devices/$second/driver ]"
guest hello --device vfio,host=$pair0
section group
vfio_bind $pair0
echo "host: group $(group $pair0)"
guest hello --device vfio,host=$pair0
section whole-group
vfio_bind $pair1
guest hello --device vfio,host=$pair0
section group-twice
echo "host: group $(group $pair0)"
guest hello --device vfio,host=$pair0 --device vfio,host=$pair1

vfio_bind $first
vfio_bind $second
section no-type1
rmmod vfio_iommu_type1
guest hello $a
modprobe vfio_iommu_type1
section no-iommufd
guest hello $a,iommufd=on
section no-permission
echo "host: group $(group $first)"
as_user 65536 hello $a
section limit
chown 1000 /dev/vfio/$(group $first) /dev/vfio/$(group $second)
as_user 64 hello $a
section limit-of-two
as_user 65536 hello $a $b
section two
as_user 131072 zpci-disks-nothing $a $b
chown 0 /dev/vfio/*

section direct
guest zpci-disks-direct $a,relaxed-translation=on $b,relaxed-translation=on
section re-ipl
guest zpci-disks-again $a $b

section wanted-by-host
begin zpci-disks-wanted $a $b
section in-use
echo "host: group $(group $first)"
guest hello $a
section wanted-by-host
echo $first >/sys/bus/pci/drivers/vfio-pci/unbind
ls -l /proc/$pid/fd | grep -q "vfio/$(group $first)\$" && echo "host: still open"
ended
look_at $first
section wanted-by-monitor
begin zpci-disks-wanted --qmp unix:/tmp/qmp $a $b
qmp /tmp/qmp '{"execute": "device_del", "arguments": {"id": "b"}}'
ended
look_at $second
section removed
begin zpci-disks-removed --qmp unix:/tmp/qmp $a $b
qmp /tmp/qmp '{"execute": "device_del", "arguments": {"id": "a", "force": true}}'
echo "host: removed"
ended
look_at $first
section failed
begin zpci-disks-failed $a $b
echo "outer: error"
ended
section killed
begin zpci-disks-wanted $a $b
kill -9 $pid
ended >/dev/null
look_at $first
look_at $second

section running
cc() { devmem $(($(head -n 1 $devices/$first/resource | cut -d ' ' -f 1) + 0x14)) 32; }
store() { devmem $(($(head -n 1 $devices/$first/resource | cut -d ' ' -f 1) + $1)) 32 $2; }
guest zpci-disks-running $a $b
echo $first >/sys/bus/pci/drivers/vfio-pci/unbind
echo "host: command $(dd if=$devices/$first/config bs=1 skip=4 count=1 2>/dev/null | xxd -p)"
echo 1 >$devices/$first/enable
echo "host: configuration $(cc)"
# Now it is left running for the next one.
store 0x24 0x70007; store 0x28 0x1000; store 0x30 0x2000; store 0x14 0x460001
echo "host: configuration $(cc)"
vfio_bind $first
guest zpci-disks-nothing $a $b
section end
"""


def devices(folder, second):
    return [
        "-drive", f"file={second},if=none,id=second,format=raw",
        "-device", "pcie-root-port,id=root-port,bus=pcie.0,addr=8.0,chassis=1",
        "-device", "nvme,bus=root-port,drive=second,serial=zvisor-second",
        "-device", "nvme,serial=zvisor-pair-0,addr=7.0,multifunction=on",
        "-device", "nvme,serial=zvisor-pair-1,addr=7.1",
        "-device", "pxb-pcie,id=bypass,bus_nr=64,bus=pcie.0,addr=9.0,bypass_iommu=on",
        "-device", "pcie-root-port,id=bypass-port,bus=bypass,chassis=2",
        "-device", "virtio-rng-pci,bus=bypass-port,disable-legacy=on",
        "-qmp", f"unix:{qmp.socket_path(folder)},server=on,wait=off",
    ]


class Laboratory:
    """What was said in each section, and the disks before and after."""

    def __init__(self, host, folder, say, limit):
        images = {serial: disk.make(os.path.join(folder, serial), 16 * MIB, seed)
                  for serial, seed in (("zvisor-host", 31), ("zvisor-second", 32))}
        self.before = self._content(images)

        def tell(line):
            say(line)
            if line == "outer: error":
                with qmp.Client(qmp.socket_path(folder)) as outer:
                    outer.command("human-monitor-command",
                                  command_line="pcie_aer_inject_error root-port COMP_TIME")

        self.status, self.said = hosts.perform(
            host, folder, PRELUDE + SCRIPT, limit, tell, disk=images["zvisor-host"],
            more=devices(folder, images["zvisor-second"]),
            files={"bin/qmp": os.path.join(run.build_folder(), "tests/hosts/qmp")})
        self.after = self._content(images)

    @staticmethod
    def _content(images):
        found = {}
        for serial, path in images.items():
            with open(path, "rb") as file:
                found[serial] = file.read()
        return found

    def section(self, name):
        parts = re.findall(rf"^host: section {name}$(.*?)(?=^host: section )", self.said, re.M | re.S)
        assert parts, f"the host's script did not get to section {name}"
        return "".join(parts)


def written(said):
    """What a guest has told of what it wrote at last: {serial: (offset, bytes)}."""
    return {serial: (int(offset), disk.words(int(seed, 16), int(length))) for serial, offset, length, seed in
            re.findall(r"^# (\S+) wrote (\d+) (\d+) ([0-9a-f]+)$", said, re.M)}
