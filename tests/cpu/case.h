/* SPDX-License-Identifier: MIT */
/*
 * A case of the differential CPU test, as a file has it: what `cases.py` writes
 * and both executors read, and what both executors write and `compare` reads.
 * All numbers are big-endian.
 *
 * An executor builds the arena below at its fixed addresses, fills what is
 * mapped with the pseudo-random stream that the seed starts, applies the
 * patches, loads registers and PSW, and executes from `start` in the problem
 * state until the first program interruption. There always is one: the code
 * page is zero, an operation exception, wherever the case did not put code.
 */
#ifndef CASE_H
#define CASE_H

#include <stdint.h>
#include <string.h>

/* The arena: pages that can be written, one that cannot, and none. */
#define ARENA 0x800000ul
#define ARENA_PAGES 9
#define ARENA_READ_ONLY 7
#define ARENA_MAP "wwww-wwr-"
#define CODE 0x900000ul		/* one page, writable too */
#define CASE_PAGE 4096ul
/* Of the code page, the executors' own. */
#define CODE_LIMIT 0xf00

#define CASE_MAGIC 0x43415345u

enum { AMODE_24, AMODE_31, AMODE_64 };

struct case_header {
	uint32_t magic;
	uint32_t length;	/* of all of it, patches included */
	uint64_t seed;
	uint64_t gr[16];
	uint64_t fpr[16];
	uint32_t ar[16];
	uint32_t fpc;
	uint8_t cc;
	uint8_t program_mask;
	uint8_t amode;
	uint8_t patches;
	uint64_t start;
	/* Then patches: uint32_t address; uint32_t length; the bytes. */
};

#define RESULT_RANGES 16
#define RESULT_BYTES 1024

struct result {
	uint32_t magic;
	/*
	 * How it ended. On QEMU: signal, si_code, and 0 in pgm_code; on the soft
	 * CPU the program-interruption code. died: the executor did not survive.
	 */
	uint32_t died;
	uint32_t signal;
	int32_t si_code;
	uint32_t pgm_code;
	uint32_t ilc;
	uint64_t teid;
	uint64_t psw_mask;
	uint64_t psw_addr;
	uint64_t gr[16];
	uint64_t fpr[16];
	uint32_t ar[16];
	uint32_t fpc;
	uint32_t dxc;
	/* What changed in arena and code page: ranges, their bytes in sequence. */
	uint32_t changed;
	uint32_t bytes;
	struct {
		uint32_t address;
		uint32_t length;
	} range[RESULT_RANGES];
	uint8_t byte[RESULT_BYTES];
};

static inline uint16_t case_be16(uint16_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(v);
#else
	return v;
#endif
}

static inline uint32_t case_be32(uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap32(v);
#else
	return v;
#endif
}

static inline uint64_t case_be64(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap64(v);
#else
	return v;
#endif
}

/* The arena's bytes before the patches (xorshift64*), code page zero. */
static inline void case_fill(uint8_t *arena, uint64_t seed)
{
	static const char map[] = ARENA_MAP;
	uint64_t x = seed | 1;

	for (unsigned page = 0; page < ARENA_PAGES; page++) {
		if (map[page] == '-')
			continue;
		for (unsigned i = 0; i < CASE_PAGE; i += 8) {
			uint64_t v;

			x ^= x >> 12;
			x ^= x << 25;
			x ^= x >> 27;
			v = case_be64(x * 0x2545f4914f6cdd1dull);
			memcpy(arena + page * CASE_PAGE + i, &v, sizeof(v));
		}
	}
}

/* Notes what differs between before and now, both length bytes at address. */
static inline void case_diff(struct result *r, const uint8_t *before,
			     const uint8_t *now, uint64_t address, uint64_t length)
{
	uint32_t bytes = case_be32(r->bytes);
	uint32_t changed = case_be32(r->changed);
	uint64_t i = 0;

	while (i < length) {
		uint64_t start;

		if (i % 8 == 0 && i + 8 <= length && !memcmp(before + i, now + i, 8)) {
			i += 8;
			continue;
		}
		if (before[i] == now[i]) {
			i++;
			continue;
		}
		/* A range goes on over fewer than 8 equal bytes. */
		start = i;
		for (uint64_t equal = 0; i < length && equal < 8; i++)
			equal = before[i] == now[i] ? equal + 1 : 0;
		while (i > start && before[i - 1] == now[i - 1])
			i--;
		if (changed < RESULT_RANGES) {
			uint64_t n = i - start;

			r->range[changed].address = case_be32((uint32_t)(address + start));
			r->range[changed].length = case_be32((uint32_t)n);
			if (n > RESULT_BYTES - bytes)
				n = RESULT_BYTES - bytes;
			memcpy(r->byte + bytes, now + start, n);
			bytes += (uint32_t)n;
		}
		changed++;
	}
	r->changed = case_be32(changed);
	r->bytes = case_be32(bytes);
}

#endif
