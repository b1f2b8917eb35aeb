/* SPDX-License-Identifier: MIT */
/*
 * The runs of a mapping, in a treap: a search tree by address that is a heap by
 * numbers drawn at random, which keeps it balanced whatever the order of insertion.
 * Nodes come from an array that is mapped once and used from its beginning: there may be
 * millions, and the kernel gives a page of them when it is touched. The contract is in
 * mapping.h.
 */
#include "dma/mapping.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/util.h"

struct run {
	uint64_t first, last, absolute;
	bool writable;
	uint32_t priority;
	struct run *left, *right; /* `right` also links what is free */
};

struct dma_mapping {
	const struct dma_mapping_ops *ops;
	void *opaque;
	struct run *root;
	struct run *free; /* what was given back */
	unsigned count, handed_out, max;
	uint64_t random;
	struct run runs[];
};

static size_t size_of(unsigned runs)
{
	return sizeof(struct dma_mapping) + runs * sizeof(struct run);
}

struct dma_mapping *dma_mapping_new(const struct dma_mapping_ops *ops, void *opaque,
				    unsigned runs_max)
{
	unsigned max = MIN(runs_max, DMA_MAPPING_RUNS_MAX);
	struct dma_mapping *m = mmap(NULL, size_of(max), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return NULL;
	m->max = max;
	m->ops = ops;
	m->opaque = opaque;
	/* A guest that knew the numbers could make the tree a list. */
	if (getrandom(&m->random, sizeof(m->random), 0) != sizeof(m->random) || !m->random)
		m->random = 0x9e3779b97f4a7c15ull;
	return m;
}

void dma_mapping_free(struct dma_mapping *m)
{
	if (!m)
		return;
	(void)dma_mapping_take_away(m, 0, UINT64_MAX);
	munmap(m, size_of(m->max));
}

unsigned dma_mapping_count(const struct dma_mapping *m)
{
	return m->count;
}

/* --- the tree ------------------------------------------------------------------ */

/* All runs of `tree` below `first` go to *low, the others to *high. */
static void split(struct run *tree, uint64_t first, struct run **low, struct run **high)
{
	while (tree) {
		if (tree->first < first) {
			*low = tree;
			low = &tree->right;
			tree = tree->right;
		} else {
			*high = tree;
			high = &tree->left;
			tree = tree->left;
		}
	}
	*low = NULL;
	*high = NULL;
}

/* All runs of `low` are below those of `high`. */
static struct run *join(struct run *low, struct run *high)
{
	struct run *root, **place = &root;

	while (low && high) {
		if (low->priority > high->priority) {
			*place = low;
			place = &low->right;
			low = low->right;
		} else {
			*place = high;
			place = &high->left;
			high = high->left;
		}
	}
	*place = low ? low : high;
	return root;
}

/* The first run that ends at `iova` or behind. */
static struct run *first_from(const struct dma_mapping *m, uint64_t iova)
{
	struct run *found = NULL;

	for (struct run *run = m->root; run;) {
		if (run->last >= iova) {
			found = run;
			run = run->left;
		} else {
			run = run->right;
		}
	}
	return found;
}

/* The last run that begins at `iova` or before. */
static struct run *last_to(const struct dma_mapping *m, uint64_t iova)
{
	struct run *found = NULL;

	for (struct run *run = m->root; run;) {
		if (run->first <= iova) {
			found = run;
			run = run->right;
		} else {
			run = run->left;
		}
	}
	return found;
}

static uint32_t draw(struct dma_mapping *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (uint32_t)(m->random >> 32);
}

static bool has_room(const struct dma_mapping *m)
{
	return m->free || m->handed_out < m->max;
}

static struct run *take_free(struct dma_mapping *m)
{
	struct run *run = m->free;

	if (!run)
		return &m->runs[m->handed_out++];
	m->free = run->right;
	return run;
}

/* There is room. */
static void insert(struct dma_mapping *m, uint64_t first, uint64_t last, uint64_t absolute,
		   bool writable)
{
	struct run *run = take_free(m), **place = &m->root;

	*run = (struct run){
		.first = first,
		.last = last,
		.absolute = absolute,
		.writable = writable,
		.priority = draw(m),
	};
	while (*place && (*place)->priority >= run->priority)
		place = (*place)->first < first ? &(*place)->right : &(*place)->left;
	split(*place, first, &run->left, &run->right);
	*place = run;
	m->count++;
}

static void drop(struct dma_mapping *m, struct run *run)
{
	struct run **place = &m->root;

	while (*place != run)
		place = (*place)->first < run->first ? &(*place)->right : &(*place)->left;
	*place = join(run->left, run->right);
	run->right = m->free;
	m->free = run;
	m->count--;
}

/* --- changes ---------------------------------------------------------------------- */

static bool same(const struct run *run, uint64_t iova, uint64_t absolute, bool writable)
{
	return run->absolute + (iova - run->first) == absolute && run->writable == writable;
}

static int unmap(struct dma_mapping *m, uint64_t first, uint64_t last)
{
	return m->ops->unmap(m->opaque, first, last - first + 1) ? -EIO : 0;
}

/*
 * Forget [first, last], which lies in `run` and has been unmapped. What is left of it
 * may be two runs; without a place for the second, that is unmapped as well.
 */
static int cut(struct dma_mapping *m, struct run *run, uint64_t first, uint64_t last)
{
	uint64_t end = run->last;

	if (first == run->first && last == end) {
		drop(m, run);
		return 0;
	}
	if (first == run->first) {
		run->absolute += last + 1 - run->first;
		run->first = last + 1;
		return 0;
	}
	if (last != end && !has_room(m) && unmap(m, last + 1, end))
		return -EIO;
	run->last = first - 1;
	if (last == end)
		return 0;
	if (!has_room(m))
		return -ENOSPC;
	insert(m, last + 1, end, run->absolute + (last + 1 - run->first), run->writable);
	return 0;
}

int dma_mapping_take_away(struct dma_mapping *m, uint64_t first, uint64_t last)
{
	struct run *run = first_from(m, first);
	uint64_t begin, end;
	int rc;

	if (!run || run->first > last)
		return 0;
	/* One call for all, since holes do not matter. */
	begin = MAX(run->first, first);
	end = MIN(last_to(m, last)->last, last);
	rc = unmap(m, begin, end);
	while (!rc && (run = first_from(m, begin)) && run->first <= end)
		rc = cut(m, run, MAX(run->first, begin), MIN(run->last, end));
	return rc;
}

/* Nothing of [first, last] is mapped. */
static int add(struct dma_mapping *m, uint64_t first, uint64_t last, uint64_t absolute,
	       bool writable)
{
	struct run *before = first ? first_from(m, first - 1) : NULL;
	struct run *behind = last < UINT64_MAX ? first_from(m, last + 1) : NULL;
	int rc;

	if (before && (before->last != first - 1 || !same(before, first, absolute, writable)))
		before = NULL;
	if (behind && (behind->first != last + 1 || !same(behind, first, absolute, writable)))
		behind = NULL;
	if (!before && !behind && !has_room(m))
		return -ENOSPC;
	rc = m->ops->map(m->opaque, first, absolute, last - first + 1, writable);
	if (rc && rc != -ENOTRECOVERABLE)
		return rc;
	if (before && behind) {
		before->last = behind->last;
		drop(m, behind);
	} else if (before) {
		before->last = last;
	} else if (behind) {
		behind->absolute -= behind->first - first;
		behind->first = first;
	} else {
		insert(m, first, last, absolute, writable);
	}
	return rc ? -EIO : 0;
}

int dma_mapping_make(struct dma_mapping *m, uint64_t first, uint64_t last, uint64_t absolute,
		     bool writable)
{
	uint64_t at = first;
	struct run *run;
	int rc;

	/* What is there and wrong goes first. */
	while ((run = first_from(m, at)) && run->first <= last) {
		uint64_t begin = MAX(run->first, first), end = MIN(run->last, last);

		if (!same(run, begin, absolute + (begin - first), writable)) {
			rc = dma_mapping_take_away(m, begin, end);
			if (rc)
				return rc;
		}
		if (end == last)
			break;
		at = end + 1;
	}
	/* Then what is missing. */
	at = first;
	while (true) {
		uint64_t end = last;

		run = first_from(m, at);
		if (run && run->first <= at) {
			if (run->last >= last)
				return 0;
			at = run->last + 1;
			continue;
		}
		if (run && run->first <= last)
			end = run->first - 1;
		rc = add(m, at, end, absolute + (at - first), writable);
		if (rc)
			return rc;
		if (end == last)
			return 0;
		at = end + 1;
	}
}

static bool tell(const struct run *run, struct dma_mapped *mapped)
{
	if (run)
		*mapped =
			(struct dma_mapped){ run->first, run->last, run->absolute, run->writable };
	return run;
}

bool dma_mapping_next(const struct dma_mapping *m, uint64_t iova, struct dma_mapped *run)
{
	return tell(first_from(m, iova), run);
}

bool dma_mapping_previous(const struct dma_mapping *m, uint64_t iova, struct dma_mapped *run)
{
	return tell(last_to(m, iova), run);
}

bool dma_mapping_find(const struct dma_mapping *m, uint64_t iova, uint64_t *absolute,
		      bool *writable)
{
	const struct run *run = first_from(m, iova);

	if (!run || run->first > iova)
		return false;
	*absolute = run->absolute + (iova - run->first);
	*writable = run->writable;
	return true;
}
