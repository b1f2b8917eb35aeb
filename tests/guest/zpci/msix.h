/* SPDX-License-Identifier: MIT */
/*
 * The MSI-X table of a function: where messages come from, and also the one piece
 * of a BAR that functions of all kinds have and that can be stored to without
 * harm while MSI-X is off.
 * Source: PCI Local Bus Specification 3.0, section 6.8.2.
 */
#ifndef ZPCI_MSIX_H
#define ZPCI_MSIX_H

#include "zpci/zpci.h"

#define CAPABILITY_MSIX 0x11
#define MSIX_ENTRY_SIZE 16
#define MSIX_ENABLE 0x8000
#define MSIX_ENTRY_MASKED 1u

struct msix {
	unsigned capability;
	unsigned bar;
	uint64_t table;
	unsigned entries;
};

static inline bool msix_find(const struct function *f, struct msix *msix)
{
	uint32_t table;

	msix->capability = capability(f, CAPABILITY_MSIX);
	if (!msix->capability)
		return false;
	msix->entries = (config_read(f, msix->capability + 2, 2) & 0x7ff) + 1;
	table = config_read(f, msix->capability + 4, 4);
	msix->bar = table & 7;
	msix->table = table & ~7u;
	return true;
}

/* Let entry `entry` send `data` to `address`. */
static inline void msix_set(const struct function *f, const struct msix *msix, unsigned entry,
			    uint64_t address, uint32_t data)
{
	uint64_t at = msix->table + (uint64_t)entry * MSIX_ENTRY_SIZE;

	bar_write(f, msix->bar, at, 4, address & 0xffffffff);
	bar_write(f, msix->bar, at + 4, 4, address >> 32);
	bar_write(f, msix->bar, at + 8, 4, data);
	bar_write(f, msix->bar, at + 12, 4, 0);
}

static inline void msix_switch(const struct function *f, const struct msix *msix, bool on)
{
	config_write(f, msix->capability + 2, 2, on ? MSIX_ENABLE : 0);
}

#endif
