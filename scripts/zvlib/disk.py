# SPDX-License-Identifier: MIT
"""Disk images with known content, and what they must hold after a guest wrote to them."""

import hashlib
import os
import random


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
