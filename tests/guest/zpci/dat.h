/* SPDX-License-Identifier: MIT */
/*
 * One address space in which all of memory is where it is, but for one page that
 * may not be stored to and one that is not there: for operands whose access fails.
 * Source: Principles of Operation, chapter 3, "Dynamic Address Translation".
 */
#ifndef ZPCI_DAT_H
#define ZPCI_DAT_H

#include "lib/guest.h"

#define DAT_SEGMENTS 64u /* of 1 MiB */
#define DAT_SEGMENT_INVALID 0x20ull
#define DAT_PAGE_INVALID 0x400ull
#define DAT_PAGE_PROTECTED 0x200ull

static uint64_t dat_pages[DAT_SEGMENTS][256] __attribute__((aligned(4096)));

/* Let a page's entry be this. */
__attribute__((unused)) static void dat_map(const void *page, uint64_t entry)
{
	dat_pages[(uint64_t)page >> 20][(uint64_t)page >> 12 & 0xff] = entry;
	asm volatile("ptlb" : : : "memory");
}

/* CR1 is loaded; PSW_DAT then uses it. Either page may be NULL. */
static void dat_prepare(const void *read_only, const void *missing)
{
	static uint64_t segments[2048] __attribute__((aligned(4096)));

	for (unsigned i = 0; i < 2048; i++)
		segments[i] = i < DAT_SEGMENTS ? (uint64_t)dat_pages[i] : DAT_SEGMENT_INVALID;
	for (unsigned i = 0; i < DAT_SEGMENTS; i++) {
		for (unsigned j = 0; j < 256; j++) {
			uint64_t page = (uint64_t)i << 20 | (uint64_t)j << 12;

			dat_pages[i][j] = page;
			if (read_only && page == (uint64_t)read_only)
				dat_pages[i][j] |= DAT_PAGE_PROTECTED;
			if (missing && page == (uint64_t)missing)
				dat_pages[i][j] |= DAT_PAGE_INVALID;
		}
	}
	asm volatile("ptlb" : : : "memory");
	ctl_load(1, (uint64_t)segments | 3); /* segment table, 2048 entries */
}

#endif
