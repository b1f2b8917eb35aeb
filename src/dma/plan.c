/* SPDX-License-Identifier: MIT */
/* The difference between what is mapped and what is wanted; see plan.h. */
#include "dma/plan.h"

#include <assert.h>

#include "base/util.h"

void dma_plan_begin(struct dma_plan *plan, const struct dma_mapping *mapping)
{
	plan->mapping = mapping;
	plan->stale_count = 0;
	plan->missing_count = 0;
	plan->missing_bytes = 0;
	plan->stale_bytes = 0;
	plan->fence = true;
}

void dma_plan_jump(struct dma_plan *plan)
{
	plan->fence = true;
}

/* All of it is mapped. */
static void add_stale(struct dma_plan *plan, uint64_t first, uint64_t last)
{
	if (plan->fence) {
		assert(plan->stale_count < DMA_PLAN_ROOM);
		plan->stale[plan->stale_count++].first = first;
	}
	plan->stale[plan->stale_count - 1].last = last;
	plan->stale_bytes += last - first + 1;
	plan->fence = false;
}

/* The part of `run` that is [first, last]; nothing if that is empty. */
static void add_missing(struct dma_plan *plan, const struct dma_mapped *run, uint64_t first,
			uint64_t last)
{
	if (first > last)
		return;
	assert(plan->missing_count < DMA_PLAN_ROOM);
	plan->missing[plan->missing_count++] = (struct dma_mapped){
		.first = first,
		.last = last,
		.absolute = run->absolute + (first - run->first),
		.writable = run->writable,
	};
	plan->missing_bytes += last - first + 1;
}

uint64_t dma_plan_nothing(struct dma_plan *plan, uint64_t first, uint64_t last)
{
	uint64_t room = DMA_PLAN_STALE_BYTES - MIN(plan->stale_bytes, DMA_PLAN_STALE_BYTES);
	struct dma_mapped there;

	room = MAX(room, DMA_PLAN_PIECE);
	while (dma_mapping_next(plan->mapping, first, &there) && there.first <= last) {
		uint64_t begin = MAX(there.first, first), end = MIN(there.last, last);

		if (end - begin >= room)
			end = begin + (room - 1);
		add_stale(plan, begin, end);
		room -= end - begin + 1;
		if (end == last || !room)
			return end;
		first = end + 1;
	}
	return last;
}

bool dma_plan_make(struct dma_plan *plan, const struct dma_mapped *run)
{
	uint64_t at = run->first, wrong = run->first;
	struct dma_mapped there;
	bool some = false;

	while (dma_mapping_next(plan->mapping, at, &there) && there.first <= run->last) {
		uint64_t begin = MAX(there.first, at), end = MIN(there.last, run->last);

		if (there.writable == run->writable &&
		    there.absolute - there.first == run->absolute - run->first) {
			if (begin > wrong)
				add_missing(plan, run, wrong, begin - 1);
			plan->fence = true;
			if (end == run->last)
				return true;
			some = true;
			wrong = end + 1;
		} else {
			add_stale(plan, begin, end);
		}
		if (end == run->last)
			break;
		at = end + 1;
	}
	add_missing(plan, run, wrong, run->last);
	return some;
}
