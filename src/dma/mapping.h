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
 * The number of runs is bounded, and all addresses for them are there from the
 * beginning; memory is taken as they are used. Runs that continue each other are one.
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
	 * nothing has happened: -ENOSPC, nothing more can be mapped. But with
	 * -ENOTRECOVERABLE part of it has been mapped and cannot be taken away again.
	 */
	int (*map)(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable);
	/*
	 * Take away what is mapped in [iova, iova + length): part of a range that
	 * was mapped at once, or several of them. When this returns 0, no access
	 * uses it. Else, any of it may still be mapped.
	 */
	int (*unmap)(void *opaque, uint64_t iova, uint64_t length);
};

/* More than this are not kept, whatever is asked for: 200 MB, if a guest uses them all. */
#define DMA_MAPPING_RUNS_MAX (1u << 22)

/* At most `runs_max` runs. `ops` is kept. NULL when out of memory. */
struct dma_mapping *dma_mapping_new(const struct dma_mapping_ops *ops, void *opaque,
				    unsigned runs_max);

/* Unmaps what is mapped, if the backend can. NULL is allowed. */
void dma_mapping_free(struct dma_mapping *m);

/*
 * Changes end with 0, or one of these. -EIO: the backend could not unmap. What that was
 * about counts as mapped still, so that who tries again tries all of it. What a device
 * can reach is not known until then.
 */

/*
 * Nothing of [first, last] (the last byte) is to be mapped. -ENOSPC when a run would
 * become two and there is no room for the second, which is then not mapped any more.
 */
int dma_mapping_take_away(struct dma_mapping *m, uint64_t first, uint64_t last);

/*
 * All of [first, last] is to lead to `absolute` and on. -ENOSPC when there is no room
 * for a run, or what the backend said; part of it may be mapped then, and what is
 * mapped is right.
 */
int dma_mapping_make(struct dma_mapping *m, uint64_t first, uint64_t last, uint64_t absolute,
		     bool writable);

/* What is mapped as one: [first, last], from `absolute` on. */
struct dma_mapped {
	uint64_t first, last, absolute;
	bool writable;
};

/* The run that has `iova`, or else the first one behind; false: there is none. */
bool dma_mapping_next(const struct dma_mapping *m, uint64_t iova, struct dma_mapped *run);
/* The last one that begins at `iova` or before. */
bool dma_mapping_previous(const struct dma_mapping *m, uint64_t iova, struct dma_mapped *run);

/* Number of runs; whether an address is mapped, and where to. */
unsigned dma_mapping_count(const struct dma_mapping *m);
bool dma_mapping_find(const struct dma_mapping *m, uint64_t iova, uint64_t *absolute,
		      bool *writable);

#endif
