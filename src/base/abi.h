/* SPDX-License-Identifier: MIT */
/*
 * Structures that a program was compiled with and a library is given: the program may be
 * older or newer than the library, its structure shorter or longer.
 */
#ifndef ZVISOR_BASE_ABI_H
#define ZVISOR_BASE_ABI_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Take over what both know; members that the program did not know are 0. -E2BIG when
 * it uses one that is not known here.
 */
static inline int abi_copy(void *to, size_t to_size, const void *from, size_t from_size)
{
	const unsigned char *bytes = (const unsigned char *)from;

	for (size_t i = to_size; i < from_size; i++) {
		if (bytes[i])
			return -E2BIG;
	}
	memset(to, 0, to_size);
	memcpy(to, from, from_size < to_size ? from_size : to_size);
	return 0;
}

#endif
