/* SPDX-License-Identifier: MIT */
/* The IOTLB of a DMA space; see iotlb.h. */
#include "dma/iotlb.h"

#include <string.h>

bool iotlb_find_block(const struct iotlb *iotlb, uint64_t page, uint8_t **host, bool *writable)
{
	for (unsigned i = 0; iotlb_has_blocks(iotlb) && i < IOTLB_BLOCKS; i++) {
		const struct dma_translation *block = &iotlb->blocks[i];

		if (block->size && page - block->iova < block->size) {
			*host = block->host ? block->host + (page - block->iova) : NULL;
			*writable = block->writable;
			return true;
		}
	}
	return false;
}

void iotlb_add(struct iotlb *iotlb, const struct dma_translation *t)
{
	struct iotlb_page *entry;

	if (t->size > PAGE_SIZE) {
		iotlb->blocks[iotlb->next_block++ % IOTLB_BLOCKS] = *t;
		atomic_store_explicit(&iotlb->blocks_used, true, memory_order_release);
		return;
	}
	if (!iotlb->pages)
		return;
	entry = iotlb_slot(iotlb, t->iova);
	entry->host = t->host;
	atomic_store_explicit(&entry->tag,
			      t->iova | IOTLB_VALID | (t->writable ? IOTLB_WRITABLE : 0),
			      memory_order_relaxed);
	atomic_store_explicit(&iotlb->pages_used, true, memory_order_release);
}

void iotlb_drop_all(struct iotlb *iotlb)
{
	if (atomic_load_explicit(&iotlb->pages_used, memory_order_relaxed)) {
		for (unsigned i = 0; i < IOTLB_PAGES; i++)
			atomic_store_explicit(&iotlb->pages[i].tag, 0, memory_order_relaxed);
		atomic_store_explicit(&iotlb->pages_used, false, memory_order_release);
	}
	memset(iotlb->blocks, 0, sizeof(iotlb->blocks));
	atomic_store_explicit(&iotlb->blocks_used, false, memory_order_release);
}

void iotlb_drop(struct iotlb *iotlb, uint64_t first, uint64_t last)
{
	if ((last >> PAGE_SHIFT) - (first >> PAGE_SHIFT) >= IOTLB_PAGES - 1) {
		iotlb_drop_all(iotlb);
		return;
	}
	(void)iotlb_drop_pages(iotlb, first, last);
	for (unsigned i = 0; iotlb_has_blocks(iotlb) && i < IOTLB_BLOCKS; i++) {
		struct dma_translation *block = &iotlb->blocks[i];

		if (block->size && block->iova <= last && block->iova + (block->size - 1) >= first)
			block->size = 0;
	}
}
