/* SPDX-License-Identifier: MIT */
/*
 * What is to be done to bring a mapping in line with what is wanted.
 *
 * Whoever goes through a range says of each part what is wanted there, in ascending order,
 * and the plan notes where that differs from what is mapped (mapping.h): as few ranges
 * to be unmapped as there can be, and what is to be mapped. Then all of the first is
 * done, and only then the second: a page that moves has never two addresses, however the
 * two lie, and what is mapped makes use of what has been given back.
 *
 * To unmap, a call may span holes, and addresses that are about to be mapped; it
 * ends where something is mapped that stays.
 *
 * A plan is of bounded size. It is filled while the mapping does not change, and forgotten
 * once it has been carried out.
 */
#ifndef ZVISOR_DMA_PLAN_H
#define ZVISOR_DMA_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "dma/mapping.h"

/* One call of dma_plan_make(), and so many changes at most: 2^8 pages. */
#define DMA_PLAN_PIECE 0x100000ull

/* A plan that has this is full, and one with less has room for another piece. */
#define DMA_PLAN_CHANGES 256
#define DMA_PLAN_BYTES (8 * DMA_PLAN_PIECE)
/* Of what is mapped and is to go: hosts unmap page by page, some microseconds each. */
#define DMA_PLAN_STALE_BYTES (64 * DMA_PLAN_PIECE)

/* Of the pages of a piece, every other one. */
#define DMA_PLAN_ROOM (DMA_PLAN_CHANGES + 130)

struct dma_plan {
	const struct dma_mapping *mapping;
	unsigned stale_count, missing_count;
	uint64_t missing_bytes, stale_bytes; /* to be mapped; mapped, and to be unmapped */
	bool fence; /* something that stays lies behind the last stale range */
	struct {
		uint64_t first, last;
	} stale[DMA_PLAN_ROOM];
	struct dma_mapped missing[DMA_PLAN_ROOM];
};

void dma_plan_begin(struct dma_plan *plan, const struct dma_mapping *mapping);

/* What is said next need not lie behind what was said before, but nowhere twice. */
void dma_plan_jump(struct dma_plan *plan);

/*
 * Nothing of [first, last] is to be mapped. The address of the last byte that this
 * was noted of: `last`, or the plan is full; a piece is noted in any case.
 */
uint64_t dma_plan_nothing(struct dma_plan *plan, uint64_t first, uint64_t last);

/*
 * All of it is to lead to run->absolute and on. It is not longer than DMA_PLAN_PIECE, or
 * begins an empty plan and nothing follows. Says whether some of it is right already.
 */
bool dma_plan_make(struct dma_plan *plan, const struct dma_mapped *run);

static inline bool dma_plan_full(const struct dma_plan *plan)
{
	return plan->stale_count + plan->missing_count >= DMA_PLAN_CHANGES ||
	       plan->missing_bytes >= DMA_PLAN_BYTES || plan->stale_bytes >= DMA_PLAN_STALE_BYTES;
}

#endif
