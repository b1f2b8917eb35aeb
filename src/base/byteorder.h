/* SPDX-License-Identifier: MIT */
/*
 * Byte order by type.
 *
 * A structure that a guest or a device protocol lays out in memory declares its
 * fields as be16 … be64 or le16 … le64. Each is a struct with one member, so a
 * plain assignment, addition or comparison does not compile; the value is had
 * with be32_get(f) and stored with be32_set(&f, v). All of them have alignment
 * 1 or their natural one: the types are not packed, so lay structures out as
 * the architecture does and check with static_assert.
 *
 * load_be32(p) and store_be32(p, v) (and twins) work on any address, aligned or
 * not, and are not atomic. They are for buffers private to the caller; memory
 * that other threads write goes through the atomic accessors of its owner.
 */
#ifndef ZVISOR_BASE_BYTEORDER_H
#define ZVISOR_BASE_BYTEORDER_H

#include <stdint.h>
#include <string.h>

typedef struct { uint16_t raw; } be16;
typedef struct { uint32_t raw; } be32;
typedef struct { uint64_t raw; } be64;
typedef struct { uint16_t raw; } le16;
typedef struct { uint32_t raw; } le32;
typedef struct { uint64_t raw; } le64;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTEORDER_SWAP_be(bits, v) __builtin_bswap##bits(v)
#define BYTEORDER_SWAP_le(bits, v) (v)
#else
#define BYTEORDER_SWAP_be(bits, v) (v)
#define BYTEORDER_SWAP_le(bits, v) __builtin_bswap##bits(v)
#endif

#define BYTEORDER_DEFINE(order, bits)                                          \
	static inline uint##bits##_t order##bits##_get(order##bits f)          \
	{                                                                      \
		return BYTEORDER_SWAP_##order(bits, f.raw);                    \
	}                                                                      \
	static inline order##bits order##bits##_of(uint##bits##_t v)           \
	{                                                                      \
		return (order##bits){ BYTEORDER_SWAP_##order(bits, v) };       \
	}                                                                      \
	static inline void order##bits##_set(order##bits *f, uint##bits##_t v) \
	{                                                                      \
		f->raw = BYTEORDER_SWAP_##order(bits, v);                      \
	}                                                                      \
	static inline uint##bits##_t load_##order##bits(const void *p)         \
	{                                                                      \
		uint##bits##_t v;                                              \
		memcpy(&v, p, sizeof(v));                                      \
		return BYTEORDER_SWAP_##order(bits, v);                        \
	}                                                                      \
	static inline void store_##order##bits(void *p, uint##bits##_t v)      \
	{                                                                      \
		v = BYTEORDER_SWAP_##order(bits, v);                           \
		memcpy(p, &v, sizeof(v));                                      \
	}

BYTEORDER_DEFINE(be, 16)
BYTEORDER_DEFINE(be, 32)
BYTEORDER_DEFINE(be, 64)
BYTEORDER_DEFINE(le, 16)
BYTEORDER_DEFINE(le, 32)
BYTEORDER_DEFINE(le, 64)

#undef BYTEORDER_DEFINE

/* Up to 8 bytes as a little-endian number, and its low bytes back again. */
static inline uint64_t load_le_bytes(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << 8 * i;
	return value;
}

static inline void store_le_bytes(uint8_t *to, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

#endif
