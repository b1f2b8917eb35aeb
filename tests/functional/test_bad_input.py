# SPDX-License-Identifier: MIT
"""Wrong requests: each is one line that names option and value, exit status 2, and nothing is touched."""

import os
import struct
import subprocess

import pytest

from zvlib import disk, run

MIB = 1 << 20


def elf_of_another_machine():
    """The header of an x86-64 executable."""
    return struct.pack("<4sBBBBQHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, 62, 1, 0x401000, 0, 0, 0, 64, 0, 0,
                       0, 0, 0) + bytes(8192)


@pytest.fixture
def files(folder, guest):
    """The good and bad files that the requests name, by letter."""
    paths = {name: os.path.join(folder, name) for name in
             ("disk", "odd", "empty", "locked", "elf", "text", "large", "missing")}
    disk.make(paths["disk"], MIB, "disk")
    disk.make(paths["odd"], MIB + 100, "odd")
    disk.make(paths["locked"], MIB, "locked")
    os.chmod(paths["locked"], 0o444)
    with open(paths["empty"], "wb"):
        pass
    with open(paths["elf"], "wb") as file:
        file.write(elf_of_another_machine())
    with open(paths["large"], "wb") as file:
        file.truncate(200 * MIB)
    paths.update(kernel=guest.kernel, folder=folder)
    return paths


# The arguments, and the words that the line must have. "{kernel}" and so on are the files above.
KERNEL = ["--kernel", "{kernel}"]
WRONG = {
    "no kernel": ([], ["--kernel"]),
    "a kernel that is not there": (["--kernel", "{missing}"], ["--kernel", "{missing}"]),
    "a kernel that is a folder": (["--kernel", "{folder}"], ["--kernel", "{folder}"]),
    "a kernel that is empty": (["--kernel", "{empty}"], ["--kernel", "{empty}"]),
    "a kernel for another machine": (["--kernel", "{elf}"], ["--kernel", "{elf}"]),
    "a kernel that does not fit": (["--kernel", "{large}", "--memory", "64M"], ["--kernel", "{large}"]),
    "an initrd that is not there": ([*KERNEL, "--initrd", "{missing}"], ["--initrd", "{missing}"]),
    "an initrd that does not fit": ([*KERNEL, "--initrd", "{large}", "--memory", "128M"], ["--initrd", "{large}"]),
    "a command line that does not fit": ([*KERNEL, "--append", "x" * 8192], ["--append"]),
    "too little memory": ([*KERNEL, "--memory", "63M"], ["--memory", "63M"]),
    "memory of half a megabyte more": ([*KERNEL, "--memory", "66048K"], ["--memory", "66048K"]),
    "memory that is no number": ([*KERNEL, "--memory", "much"], ["--memory", "much"]),
    "memory beyond all numbers": ([*KERNEL, "--memory", "99999999999999999999G"], ["--memory"]),
    "negative memory": ([*KERNEL, "--memory", "-1G"], ["--memory", "-1G"]),
    "no vCPU": ([*KERNEL, "--cpus", "0"], ["--cpus", "0"]),
    "too many vCPUs": ([*KERNEL, "--cpus", "1000"], ["--cpus", "1000"]),
    "vCPUs that are no number": ([*KERNEL, "--cpus", "two"], ["--cpus", "two"]),
    "a disk that is not there": ([*KERNEL, "--device", "nvme,file={missing}"], ["--device", "{missing}"]),
    "a disk that is a folder": ([*KERNEL, "--device", "nvme,file={folder}"], ["--device", "{folder}"]),
    "a disk of odd size": ([*KERNEL, "--device", "nvme,file={odd}"], ["--device", "{odd}", "512"]),
    "an empty disk": ([*KERNEL, "--device", "nvme,file={empty}"], ["--device", "{empty}"]),
    "a disk without a file": ([*KERNEL, "--device", "nvme"], ["--device", "file"]),
    "the same disk twice": ([*KERNEL, "--device", "nvme,file={disk}", "--device", "nvme,file={disk}"],
                            ["--device", "{disk}"]),
    "the same uid twice": ([*KERNEL, "--device", "nvme,file={disk},uid=5", "--device",
                            "nvme,file={locked},readonly=on,uid=5"], ["--device", "uid", "5"]),
    "the same fid twice": ([*KERNEL, "--device", "nvme,file={disk},fid=7", "--device",
                            "nvme,file={locked},readonly=on,fid=7"], ["--device", "fid", "7"]),
    "uid 0": ([*KERNEL, "--device", "nvme,file={disk},uid=0"], ["--device", "uid", "0"]),
    "a uid beyond 16 bits": ([*KERNEL, "--device", "nvme,file={disk},uid=65536"], ["--device", "uid", "65536"]),
    "the same address twice": ([*KERNEL, "--device", "testdev,addr=2.1", "--device", "testdev,addr=2.1"],
                               ["--device", "addr=2.1"]),
    "function 0 that does not say it is one of several": (
        [*KERNEL, "--device", "testdev,addr=2", "--device", "testdev,addr=2.1"], ["--device", "multifunction=on"]),
    "a block that is no multiple of 8": ([*KERNEL, "--device", "testdev,store-block=20"],
                                         ["--device", "store-block=20"]),
    "a DMA range that is no multiple of pages": ([*KERNEL, "--device", "testdev,dma-size=5000"],
                                                 ["--device", "dma-size=5000"]),
    "a serial number that is too long": ([*KERNEL, "--device", "nvme,file={disk},serial=123456789012345678901"],
                                         ["--device", "serial"]),
    "a server that is not there": ([*KERNEL, "--device", "vfio-user,socket={missing}"],
                                   ["--device", "{missing}", "start the server first"]),
    "a server that is a file": ([*KERNEL, "--device", "vfio-user-pci,socket={disk}"],
                                ["--device", "{disk}", "is not a socket"]),
    "a PCI device that is a folder": ([*KERNEL, "--device", "vfio,sysfsdev={folder}"],
                                      ["--device", "{folder}", "no PCI device"]),
    "a PCI device of another bus": ([*KERNEL, "--device", "vfio-pci,sysfsdev=/sys/devices/system/cpu/cpu0"],
                                    ["--device", "cpu0", "no PCI device"]),
    # The disk is of no use either: the socket is made first.
    "a monitor in a folder that is not there": ([*KERNEL, "--qmp", "unix:{missing}/qmp", "--device",
                                                 "nvme,file={odd}"], ["--qmp", "{missing}/qmp"]),
    "a disk of odd size, with a monitor": ([*KERNEL, "--qmp", "unix:{folder}/qmp", "--device", "nvme,file={odd}"],
                                           ["--device", "{odd}", "512"]),
    "an unknown device": ([*KERNEL, "--device", "floppy,file={disk}"], ["--device", "floppy"]),
    "an unknown property": ([*KERNEL, "--device", "nvme,file={disk},colour=red"], ["--device", "colour"]),
    "an unknown value": ([*KERNEL, "--device", "nvme,file={disk},readonly=maybe"], ["--device", "readonly", "maybe"]),
    "an unknown option": ([*KERNEL, "--floppy"], ["--floppy"]),
    "an option without its value": (["--kernel"], ["--kernel"]),
    "a word too many": ([*KERNEL, "surplus"], ["surplus"]),
}


def refused(arguments, words):
    result = subprocess.run([run.zvisor_program(), "run", *arguments], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().split("\n")
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("zvisor: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_in_one_line(zvisor, files, name):
    before = {path: disk.sha256(path) for path in (files["disk"], files["odd"], files["locked"])}
    listing = sorted(os.listdir(files["folder"]))
    arguments, words = WRONG[name]
    refused([word.format(**files) if "{" in word else word for word in arguments],
            [word.format(**files) for word in words])
    assert {path: disk.sha256(path) for path in before} == before
    assert sorted(os.listdir(files["folder"])) == listing


def test_a_disk_that_may_not_be_written_needs_readonly(zvisor, files):
    if os.geteuid() == 0:
        # Root may write to everything; a read-only file system says no to root as well.
        folder = os.path.join(files["folder"], "ro")
        os.mkdir(folder)
        prepare = (f"mount -t tmpfs none {folder} && truncate -s 1M {folder}/disk && "
                   f"mount -o remount,ro {folder} && ")
        namespace = ["unshare", "--mount", "sh", "-c"]
        if subprocess.run([*namespace, prepare + "true"], capture_output=True, check=False).returncode:
            pytest.skip("no mount namespaces here")
        argv = [*namespace, prepare + 'exec "$@"', "sh"]
        path = f"{folder}/disk"
    else:
        argv, path = [], files["locked"]
    result = subprocess.run([*argv, run.zvisor_program(), "run", "--kernel", files["kernel"], "--device",
                             f"nvme,file={path}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=60, check=False)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().split("\n")) == 1
    assert "--device" in result.stderr and path in result.stderr and "readonly=on" in result.stderr


def test_a_disk_in_use_by_another_zvisor_is_refused(boot, files):
    machine = boot("sleep 1000", devices=[f"nvme,file={files['disk']}"])
    machine.expect("KASLR|zvisor-guest", 120)
    refused(["--kernel", files["kernel"], "--device", f"nvme,file={files['disk']}"], ["--device", files["disk"]])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["devices"]])
def test_what_only_informs_ends_well(zvisor, arguments):
    result = subprocess.run([zvisor, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=60, check=False)
    assert result.returncode == 0
    assert result.stdout and not result.stderr


def test_trace_shows_each_pci_instruction_with_its_condition_code(boot, files):
    machine = boot("true", devices=[f"nvme,file={files['disk']}"], more=["--trace", "zpci_*"])
    machine.expect("^zvisor-guest: script ended with 0$", 180)
    assert machine.wait(60) == 0
    for event in ("zpci_clp", "zpci_pcilg"):
        lines = [line for line in machine.errors.split("\n") if f" {event}: " in line]
        assert lines, f"no {event}"
        assert all("cc=" in line for line in lines)
