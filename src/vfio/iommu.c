/* SPDX-License-Identifier: MIT */
/* Which DMA addresses a guest gets; see iommu.h. */
#include "vfio/iommu.h"

#include "base/util.h"

/*
 * Guests know addresses from 4 GiB on, which is where functions have them on most machines,
 * and up to 57 bits. Below are the holes that hosts have for their interrupts.
 */
#define USUAL_FIRST (4 * GIB)
#define USUAL_LAST 0x1ffffffffffffffull

/* Less than this is not worth leaving the lower addresses for. */
#define ENOUGH (16 * GIB)

/* The largest part of any range that lies in [low, high]. */
static bool largest(const struct iova_range *ranges, unsigned count, uint64_t low, uint64_t high,
		    uint64_t *first, uint64_t *last)
{
	bool found = false;

	for (unsigned i = 0; i < count; i++) {
		uint64_t from = MAX(ranges[i].first, low), to = MIN(ranges[i].last, high);

		/* Whole pages. */
		from = from > UINT64_MAX - PAGE_SIZE ? UINT64_MAX :
						       (from + PAGE_SIZE - 1) & PAGE_MASK;
		if (to != UINT64_MAX)
			to = ((to + 1) & PAGE_MASK) - 1;
		if (to < from || to == UINT64_MAX || (found && to - from <= *last - *first))
			continue;
		*first = from;
		*last = to;
		found = true;
	}
	return found;
}

bool vfio_choose_range(const struct iova_range *ranges, unsigned count, uint64_t *first,
		       uint64_t *last)
{
	if (largest(ranges, count, USUAL_FIRST, USUAL_LAST, first, last) &&
	    *last - *first >= ENOUGH - 1)
		return true;
	return largest(ranges, count, 0, USUAL_LAST, first, last);
}
