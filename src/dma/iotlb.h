/* SPDX-License-Identifier: MIT */
/*
 * The IOTLB of a DMA space: translations that were valid when the translator gave them.
 * A failure is never cached, so that a guest needs no refresh after it has made an
 * invalid entry valid.
 *
 * It has two parts. Pages of 4 KiB live in a direct-mapped table; larger blocks in a handful
 * of entries that are searched one after the other.
 *
 * Threads: all with the lock of the space held, but for iotlb_drop_pages() and
 * iotlb_has_blocks(). Who calls these sees what was done before the answer became what it is.
 */
#ifndef ZVISOR_DMA_IOTLB_H
#define ZVISOR_DMA_IOTLB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "dma/dma.h"

#define IOTLB_PAGES 2048 /* entries, a power of two */
#define IOTLB_BLOCKS 8

/* iotlb_page.tag: the page's IOVA with these, of no use in an address; or 0. */
#define IOTLB_VALID 1ull
#define IOTLB_WRITABLE 2ull

struct iotlb_page {
	_Atomic uint64_t tag;
	uint8_t *host; /* NULL: remote */
};

struct iotlb {
	struct iotlb_page *pages; /* NULL: no page is cached */
	atomic_bool pages_used, blocks_used;
	struct dma_translation blocks[IOTLB_BLOCKS]; /* size 0: free */
	unsigned next_block;
};

static inline struct iotlb_page *iotlb_slot(const struct iotlb *iotlb, uint64_t page)
{
	return &iotlb->pages[page / PAGE_SIZE % IOTLB_PAGES];
}

static inline uint64_t iotlb_tag(const struct iotlb_page *entry)
{
	return atomic_load_explicit(&entry->tag, memory_order_relaxed);
}

/* Where the page at `page` is; false: that is not cached. */
bool iotlb_find_block(const struct iotlb *iotlb, uint64_t page, uint8_t **host, bool *writable);
static inline bool iotlb_find(const struct iotlb *iotlb, uint64_t page, uint8_t **host,
			      bool *writable)
{
	if (likely(iotlb->pages)) {
		const struct iotlb_page *entry = iotlb_slot(iotlb, page);
		uint64_t tag = iotlb_tag(entry);

		if (likely((tag & ~IOTLB_WRITABLE) == (page | IOTLB_VALID))) {
			*host = entry->host;
			*writable = tag & IOTLB_WRITABLE;
			return true;
		}
	}
	return iotlb_find_block(iotlb, page, host, writable);
}

/* With `host`, or remote. */
void iotlb_add(struct iotlb *iotlb, const struct dma_translation *t);

/* What has a byte of [first, last]. */
void iotlb_drop(struct iotlb *iotlb, uint64_t first, uint64_t last);
void iotlb_drop_all(struct iotlb *iotlb);

/*
 * The pages of [first, last] alone, and without the lock: at worst another thread's new entry
 * goes with them. False: the table was empty. Of an empty slot that is not said, since another
 * thread may have dropped what was there a moment ago.
 */
static inline bool iotlb_drop_pages(struct iotlb *iotlb, uint64_t first, uint64_t last)
{
	if (!atomic_load_explicit(&iotlb->pages_used, memory_order_acquire))
		return false;
	for (uint64_t page = first & PAGE_MASK;; page += PAGE_SIZE) {
		struct iotlb_page *entry = iotlb_slot(iotlb, page);

		if ((iotlb_tag(entry) & ~IOTLB_WRITABLE) == (page | IOTLB_VALID))
			atomic_store_explicit(&entry->tag, 0, memory_order_relaxed);
		if (last - page < PAGE_SIZE)
			return true;
	}
}

/* Without the lock, too. False: there is no larger block. */
static inline bool iotlb_has_blocks(const struct iotlb *iotlb)
{
	return atomic_load_explicit(&iotlb->blocks_used, memory_order_acquire);
}

#endif
