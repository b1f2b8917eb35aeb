# SPDX-License-Identifier: MIT
"""Disk images with known content, and what they must hold after a guest wrote to them."""

import hashlib
import os
import random
import re
import struct
import zlib


def make(path, size, seed):
    """A disk whose content follows from a seed; it is on the host's disk when this returns."""
    source = random.Random(seed)
    with open(path, "wb") as file:
        left = size
        while left:
            part = min(left, 1 << 20)
            file.write(source.randbytes(part))
            left -= part
        file.flush()
        os.fsync(file.fileno())
    return path


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def pattern(line, size):
    """What `yes LINE | head -c SIZE` prints."""
    line = line.encode() + b"\n"
    return (line * (size // len(line) + 1))[:size]


def sha256_with(path, offset, data):
    """The sum that a disk would have with some data written over its content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        content = file.read()
    digest.update(content[:offset])
    digest.update(data)
    digest.update(content[offset + len(data):])
    return digest.hexdigest()


def words(seed, size):
    """What tests/guest/zpci/disk.c writes, from the seed that is the disk's first eight bytes."""
    return struct.pack(f">{size // 8}Q", *((seed + i + 1) * 0x9e3779b97f4a7c15 % (1 << 64)
                                           for i in range(size // 8)))


def complaints(said, before, after):
    """What is wrong with a disk that tests/guest/zpci/disk.c used and told of; its content before, and after."""
    wrong = []
    reads = [(int(at), int(size), int(crc, 16)) for at, size, crc in
             re.findall(r"^# read (\d+) (\d+) ([0-9a-f]+)$", said, re.M)]
    for at, size, crc in reads:
        if zlib.crc32(before[at:at + size]) != crc:
            wrong.append(f"the guest read something else than the {size} bytes at {at}")
    written = re.findall(r"^# wrote (\d+) (\d+)$", said, re.M)
    if not reads or not written:
        wrong.append("the guest did not tell what it read and wrote")
    expected = before
    for at, size in ((int(at), int(size)) for at, size in written):
        expected = expected[:at] + words(int.from_bytes(before[:8], "big"), size) + expected[at + size:]
    if after != expected:
        wrong.append("the disk does not hold what the guest wrote, and all else as it was")
    return wrong
