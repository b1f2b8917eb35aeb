/* SPDX-License-Identifier: MIT */
/*
 * I/O translation tables: a region-third table with what is below it, made as
 * addresses are mapped. Source: Linux, arch/s390/include/asm/pci_dma.h.
 */
#ifndef ZPCI_IOTABLE_H
#define ZPCI_IOTABLE_H

#include "zpci/zpci.h"

#define IOTA_TRANSLATE 0x800ull
#define IOTA_PROTECTED 0x200ull
#define IOTA_TYPE(t) ((uint64_t)(t) << 2)

enum designation_type {
	SEGMENT_TABLE = 0,
	REGION_THIRD = 1,
	REGION_SECOND = 2,
	REGION_FIRST = 3,
	PAGE_FRAME = 4,
	IO_PAGE_FRAME = 5,
	PAGE_TABLE = 7,
};

#define ENTRY_INVALID 0x20ull
#define ENTRY_PROTECTED 0x200ull
#define ENTRY_FRAME 0x400ull
#define ENTRY_TYPE(level) ((uint64_t)(level) << 2)
#define ENTRY_LENGTH 3ull /* of region entries: a whole table */
#define PAGE_INVALID 0x400ull

#define TABLE_BYTES 0x4000ull
#define PAGE_TABLE_BYTES 0x800ull

static inline uint64_t *iotable_new(void)
{
	uint64_t *table = frames(TABLE_BYTES, TABLE_BYTES);

	for (unsigned i = 0; i < 2048; i++)
		table[i] = ENTRY_INVALID;
	return table;
}

static inline uint64_t *iotable_new_pages(void)
{
	uint64_t *table = frames(PAGE_SIZE, PAGE_SIZE);

	for (unsigned i = 0; i < 256; i++)
		table[i] = PAGE_INVALID;
	return table;
}

/* The entries for an address, those above made valid. */
static inline uint64_t *region_entry(uint64_t *third, uint64_t address)
{
	return &third[address >> 31 & 0x7ff];
}

static inline uint64_t *segment_entry(uint64_t *third, uint64_t address)
{
	uint64_t *entry = region_entry(third, address);

	if (*entry & ENTRY_INVALID)
		*entry = (uint64_t)iotable_new() | ENTRY_TYPE(REGION_THIRD) | ENTRY_LENGTH;
	return (uint64_t *)(*entry & ~(TABLE_BYTES - 1)) + (address >> 20 & 0x7ff);
}

static inline uint64_t *page_entry(uint64_t *third, uint64_t address)
{
	uint64_t *entry = segment_entry(third, address);

	if (*entry & ENTRY_INVALID)
		*entry = (uint64_t)iotable_new_pages() | ENTRY_TYPE(SEGMENT_TABLE);
	return (uint64_t *)(*entry & ~(PAGE_TABLE_BYTES - 1)) + (address >> 12 & 0xff);
}

static inline void iotable_map(uint64_t *third, uint64_t address, const void *absolute,
			       uint64_t bits)
{
	*page_entry(third, address) = (uint64_t)absolute | bits;
}

#endif
