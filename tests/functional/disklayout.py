# SPDX-License-Identifier: MIT
"""What disktool (guest/disktool.c) leaves on a disk, worked out on the host."""

import struct

SECTOR = 512
MAX_SECTORS = 256
MASK = (1 << 64) - 1


def random_numbers(state):
    """xorshift64, as in disktool."""
    while True:
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        yield state


def sector(number, round_, writer):
    return struct.pack(">QII", number, round_, writer) * (SECTOR // 16)


def after_writers(content, writers, rounds):
    """The disk's content after `disktool writers DEVICE WRITERS ROUNDS`."""
    disk = bytearray(content)
    part = len(disk) // SECTOR // writers
    for writer in range(writers):
        numbers = random_numbers(0x9e3779b97f4a7c15 * (writer + 1) & MASK)
        for round_ in range(rounds):
            length = (next(numbers) % (MAX_SECTORS // 8) + 1) * 8
            first = part * writer + next(numbers) % ((part - length) // 8) * 8
            disk[first * SECTOR:(first + length) * SECTOR] = b"".join(
                sector(first + i, round_, writer) for i in range(length))
    return bytes(disk)


def first_lost_round(content, flushed, length):
    """The first of the rounds 0 to `flushed` of `disktool log` that is not whole, or None."""
    for round_ in range(flushed + 1):
        for number in range(round_ * length, (round_ + 1) * length):
            if content[number * SECTOR:(number + 1) * SECTOR] != sector(number, round_, 0):
                return round_
    return None
