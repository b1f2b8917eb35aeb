/* SPDX-License-Identifier: MIT */
/* The bytes of an input, taken from the front; zeros when there are no more. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *data;
	size_t size;
};

/* A number of `bytes` bytes. */
static inline uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && in->size; i++, in->size--)
		value = value << 8 | *in->data++;
	return value;
}

#endif
