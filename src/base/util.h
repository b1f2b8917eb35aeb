/* SPDX-License-Identifier: MIT */
/* Small things every room needs: bounds, bits, containers, branch hints. */
#ifndef ZVISOR_BASE_UTIL_H
#define ZVISOR_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Where it pays, and where it would only be in the way of what is executed often. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

/* Guest pages and frames are 4 KiB whatever the host's are. */
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_MASK (~(PAGE_SIZE - 1))

/*
 * Bit n of a 64-bit (32-bit) register in the numbering of IBM manuals, where
 * bit 0 is the leftmost.
 */
#define BIT64(n) (1ull << (63 - (n)))
#define BIT32(n) (1u << (31 - (n)))

/* Does [start, start + length) lie in [0, limit)? Safe against wrap-around. */
static inline bool range_fits(uint64_t start, uint64_t length, uint64_t limit)
{
	return length <= limit && start <= limit - length;
}

/*
 * How much of `left` bytes (at least one) at `offset` one naturally aligned access can do, of
 * `most` bytes at the most, a power of two.
 */
static inline unsigned aligned_piece(uint64_t offset, uint64_t left, unsigned most)
{
	while (most > left || offset & (most - 1))
		most /= 2;
	return most;
}

#endif
