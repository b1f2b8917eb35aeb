/* SPDX-License-Identifier: MIT */
/*
 * What of a function's bus is mapped in a host's IOMMU.
 *
 * A passed-through function does not ask before each access: its translations
 * have to be made beforehand. A mapping remembers, as runs of addresses, what has
 * been made, so that "this range is to be so" leads to the calls that are missing
 * and to no others: what is right already is not touched, since the function may be
 * using it; what is wrong is taken away before anything is mapped.
 *
 * The number of runs is bounded, and all memory for them is there from the
 * beginning. Runs that continue each other are one.
 *
 * Not thread-safe: one thread at a time.
 */
#ifndef ZVISOR_DMA_MAPPING_H
#define ZVISOR_DMA_MAPPING_H

#include <stdbool.h>
#include <stdint.h>

struct dma_mapping;

/* All addresses and lengths are multiples of 4 KiB. */
struct dma_mapping_ops {
	/*
	 * Make [iova, iova + length) lead to guest-absolute addresses from
	 * `absolute` on. Nothing of it is mapped. 0, or a negative errno and
	 * nothing has happened: -ENOSPC, nothing more can be mapped.
	 */
	int (*map)(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable);
	/*
	 * Take away what is mapped in [iova, iova + length): part of a range that
	 * was mapped at once, or several of them. When this returns, no access
	 * uses it. It cannot fail.
	 */
	void (*unmap)(void *opaque, uint64_t iova, uint64_t length);
};

/* At most `runs_max` runs. `ops` is kept. NULL when out of memory. */
struct dma_mapping *dma_mapping_new(const struct dma_mapping_ops *ops, void *opaque,
				    unsigned runs_max);

/* Unmaps what is mapped. NULL is allowed. */
void dma_mapping_free(struct dma_mapping *m);

/*
 * Nothing of [first, last] (the last byte) is to be mapped. 0; or -ENOSPC when a run would
 * become two and there is no room for the second, which is then not mapped any more.
 */
int dma_mapping_take_away(struct dma_mapping *m, uint64_t first, uint64_t last);

/*
 * All of [first, last] is to lead to `absolute` and on. 0, -ENOSPC when there is no room
 * for a run, or what the backend said; part of it may be mapped then, and what is
 * mapped is right.
 */
int dma_mapping_make(struct dma_mapping *m, uint64_t first, uint64_t last, uint64_t absolute,
		     bool writable);

/* How often the backend has been called: the work that has been done. */
uint64_t dma_mapping_calls(const struct dma_mapping *m);

/* Number of runs; whether an address is mapped, and where to. */
unsigned dma_mapping_count(const struct dma_mapping *m);
bool dma_mapping_find(const struct dma_mapping *m, uint64_t iova, uint64_t *absolute,
		      bool *writable);

#endif
