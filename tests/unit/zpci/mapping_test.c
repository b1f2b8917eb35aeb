/* SPDX-License-Identifier: MIT */
/* What is mapped in a host: the runs of a mapping, and libzpci's use of it. */
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dma/mapping.h"
#include "dma/plan.h"

/* --- a host's IOMMU: where each page leads to ---------------------------------------- */

#define HOST_PAGES 32768u
#define NOTHING UINT64_MAX
#define READ_ONLY 1ull

struct host {
	uint64_t base; /* address of the first page */
	uint64_t pages[HOST_PAGES]; /* with READ_ONLY */
	unsigned maps, unmaps, mapped, mapped_max;
	unsigned longest, wholes; /* pages of a call; calls for what is a whole */
	uint64_t refused; /* an absolute address that cannot be mapped, if not 0 */
	bool open;
	bool owners; /* a page of memory has one address, below 64 */
	bool stuck; /* it does not unmap */
	unsigned tried; /* calls of map, those that it refused too */
	/* The calls: 'm' and 'u', with the first page. */
	char calls[4096];
};

static void record(struct host *h, char what, uint64_t iova)
{
	size_t used = strlen(h->calls);

	if (used < sizeof(h->calls) - 32)
		snprintf(h->calls + used, 32, "%c%u ", what, (unsigned)((iova - h->base) / 4096));
}

static int host_map(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct host *h = opaque;

	assert_true(length && !(iova % 4096) && !(absolute % 4096) && !(length % 4096));
	h->tried++;
	if (h->mapped_max && h->mapped + length / 4096 > h->mapped_max)
		return -ENOSPC;
	if (h->refused && h->refused - absolute < length)
		return -EFAULT;
	h->maps++;
	record(h, 'm', iova);
	h->longest = MAX(h->longest, (unsigned)(length / 4096));
	for (; length; length -= 4096, iova += 4096, absolute += 4096) {
		uint64_t page = (iova - h->base) / 4096;

		assert_true(page < HOST_PAGES);
		assert_true(h->pages[page] == NOTHING);
		if (h->owners) {
			/* Nobody else has it. */
			for (unsigned i = 0; i < 64; i++)
				assert_true(h->pages[i] != absolute);
		}
		h->pages[page] = absolute | (writable ? 0 : READ_ONLY);
		h->mapped++;
	}
	return 0;
}

static int host_map_whole(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length,
			  bool writable)
{
	((struct host *)opaque)->wholes++;
	return host_map(opaque, iova, absolute, length, writable);
}

static int host_unmap(void *opaque, uint64_t iova, uint64_t length)
{
	struct host *h = opaque;
	uint64_t first = (iova - h->base) / 4096, last = (iova + length - 1 - h->base) / 4096;

	assert_true(length && !(iova % 4096) && !(length % 4096) && last < HOST_PAGES);
	/* Nothing is asked for in vain at the ends. */
	assert_true(h->pages[first] != NOTHING && h->pages[last] != NOTHING);
	h->unmaps++;
	record(h, 'u', iova);
	if (h->stuck)
		return -ENOMEM;
	for (uint64_t page = first; page <= last; page++) {
		h->mapped -= h->pages[page] != NOTHING;
		h->pages[page] = NOTHING;
	}
	return 0;
}

static void host_gate(void *opaque, bool open)
{
	((struct host *)opaque)->open = open;
}

static void host_init(struct host *h, uint64_t base)
{
	memset(h, 0, sizeof(*h));
	h->base = base;
	for (unsigned i = 0; i < HOST_PAGES; i++)
		h->pages[i] = NOTHING;
}

/* --- runs --------------------------------------------------------------------------------- */

static const struct dma_mapping_ops host_ops = { .map = host_map, .unmap = host_unmap };

static struct host host;

static struct dma_mapping *new_mapping(unsigned runs)
{
	struct dma_mapping *m;

	host_init(&host, 0);
	m = dma_mapping_new(&host_ops, &host, runs);
	assert_non_null(m);
	return m;
}

static uint64_t at(unsigned page)
{
	return (uint64_t)page * 4096;
}

static void runs_that_continue_each_other_are_one(void **state)
{
	struct dma_mapping *m = new_mapping(8);

	assert_int_equal(dma_mapping_make(m, at(10), at(12) - 1, at(100), true), 0);
	assert_int_equal(dma_mapping_make(m, at(14), at(16) - 1, at(104), true), 0);
	assert_int_equal(dma_mapping_count(m), 2);
	assert_int_equal(dma_mapping_make(m, at(12), at(14) - 1, at(102), true), 0);
	assert_int_equal(dma_mapping_count(m), 1);
	assert_int_equal(dma_mapping_make(m, at(16), at(17) - 1, at(106), false), 0);
	assert_int_equal(dma_mapping_make(m, at(9), at(10) - 1, at(98), true), 0);
	assert_int_equal(dma_mapping_count(m), 3);
	dma_mapping_free(m);
	assert_int_equal(host.mapped, 0);
}

static void what_is_right_already_is_not_touched(void **state)
{
	struct dma_mapping *m = new_mapping(8);

	dma_mapping_make(m, at(10), at(20) - 1, at(100), true);
	host.maps = 0;
	assert_int_equal(dma_mapping_make(m, at(10), at(20) - 1, at(100), true), 0);
	assert_int_equal(dma_mapping_take_away(m, at(20), at(400)), 0);
	assert_int_equal(host.maps + host.unmaps, 0);
	/* More on both sides of it. */
	assert_int_equal(dma_mapping_make(m, at(8), at(22) - 1, at(98), true), 0);
	assert_int_equal(host.maps, 2);
	assert_int_equal(host.unmaps, 0);
	/* Of another kind in the middle. */
	assert_int_equal(dma_mapping_make(m, at(12), at(14) - 1, at(102), false), 0);
	assert_int_equal(host.unmaps, 1);
	assert_int_equal(host.maps, 3);
	assert_int_equal(host.pages[13], at(103) | READ_ONLY);
	assert_int_equal(host.pages[14], at(104));
	dma_mapping_free(m);
}

static void neighbours_are_taken_away_at_once(void **state)
{
	struct dma_mapping *m = new_mapping(64);

	for (unsigned i = 0; i < 50; i++)
		dma_mapping_make(m, at(3 * i), at(3 * i + 1) - 1, at(500), true);
	assert_int_equal(dma_mapping_count(m), 50);
	assert_int_equal(dma_mapping_take_away(m, 0, UINT64_MAX), 0);
	assert_int_equal(host.unmaps, 1);
	assert_int_equal(dma_mapping_count(m), 0);
	dma_mapping_free(m);
}

static void lack_of_room_is_told_and_nothing_wrong_is_mapped(void **state)
{
	struct dma_mapping *m = new_mapping(2);

	assert_int_equal(dma_mapping_make(m, at(0), at(9) - 1, at(100), true), 0);
	assert_int_equal(dma_mapping_make(m, at(20), at(29) - 1, at(100), true), 0);
	assert_int_equal(dma_mapping_make(m, at(40), at(41) - 1, at(100), true), -ENOSPC);
	/* In the middle of a run: what cannot be remembered is not mapped. */
	assert_int_equal(dma_mapping_take_away(m, at(3), at(5) - 1), -ENOSPC);
	assert_int_equal(host.pages[2], at(102));
	for (unsigned i = 3; i < 9; i++)
		assert_int_equal(host.pages[i], NOTHING);
	assert_int_equal(dma_mapping_make(m, at(9), at(10) - 1, at(102), true), -ENOSPC);
	assert_int_equal(dma_mapping_make(m, at(3), at(4) - 1, at(103), true), 0);
	dma_mapping_free(m);
	assert_int_equal(host.mapped, 0);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 16;
}

static void random_changes_leave_what_was_asked_for(void **state)
{
	struct dma_mapping *m = new_mapping(4096);
	static uint64_t wanted[4096];
	uint64_t random = 88172645463325252ull;

	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		wanted[i] = NOTHING;
	for (unsigned round = 0; round < 20000; round++) {
		unsigned first = next_random(&random) % 300;
		unsigned last = MIN(first + next_random(&random) % 20, 299);
		/* Often so that runs meet. */
		uint64_t absolute = at(first + next_random(&random) % 2 * 1000);
		bool writable = next_random(&random) % 4;

		if (next_random(&random) % 3) {
			assert_int_equal(dma_mapping_make(m, at(first), at(last + 1) - 1, absolute,
							  writable),
					 0);
			for (unsigned i = first; i <= last; i++)
				wanted[i] = (absolute + at(i - first)) | (writable ? 0 : READ_ONLY);
		} else {
			assert_int_equal(dma_mapping_take_away(m, at(first), at(last + 1) - 1), 0);
			for (unsigned i = first; i <= last; i++)
				wanted[i] = NOTHING;
		}
		if (round % 16)
			continue;
		assert_memory_equal(host.pages, wanted, sizeof(wanted));
		for (unsigned i = 0; i < 300; i++) {
			uint64_t found = 0;
			bool found_writable = false;

			if (dma_mapping_find(m, at(i), &found, &found_writable))
				assert_int_equal(wanted[i],
						 found | (found_writable ? 0 : READ_ONLY));
			else
				assert_int_equal(wanted[i], NOTHING);
		}
	}
	dma_mapping_free(m);
}

/* Pages of this process that have been touched, in bytes. */
static uint64_t resident(void)
{
	unsigned long size, pages;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void room_for_many_runs_costs_nothing_until_it_is_used(void **state)
{
	uint64_t before = resident();
	struct dma_mapping *m = new_mapping(UINT32_MAX);

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(dma_mapping_make(m, at(2 * i), at(2 * i + 1) - 1, at(500), true),
				 0);
	assert_true(resident() < before + 32 * MIB);
	dma_mapping_free(m);
	assert_int_equal(host.mapped, 0);
}

/* All of them, more than once, in another order each time. */
static void runs_that_were_given_back_are_used_again(void **state)
{
	struct dma_mapping *m = new_mapping(10);

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 10; i++) {
			unsigned page = 2 * ((i * 7 + round) % 10);

			assert_int_equal(
				dma_mapping_make(m, at(page), at(page + 1) - 1, at(500), true), 0);
		}
		assert_int_equal(dma_mapping_make(m, at(30), at(31) - 1, at(500), true), -ENOSPC);
		assert_int_equal(dma_mapping_take_away(m, at(2 * (round % 10)), at(20) - 1), 0);
	}
	dma_mapping_free(m);
	assert_int_equal(host.mapped, 0);
}

static void what_cannot_be_unmapped_counts_as_mapped(void **state)
{
	struct dma_mapping *m = new_mapping(2);
	uint64_t absolute;
	bool writable;

	assert_int_equal(dma_mapping_make(m, at(0), at(9) - 1, at(100), true), 0);
	assert_int_equal(dma_mapping_make(m, at(20), at(29) - 1, at(100), true), 0);
	host.stuck = true;
	assert_int_equal(dma_mapping_take_away(m, 0, UINT64_MAX), -EIO);
	assert_int_equal(dma_mapping_count(m), 2);
	/* Nor is something else mapped in its place. */
	assert_int_equal(dma_mapping_make(m, at(3), at(4) - 1, at(200), true), -EIO);
	assert_true(dma_mapping_find(m, at(3), &absolute, &writable));
	assert_int_equal(absolute, at(103));
	host.stuck = false;
	assert_int_equal(dma_mapping_take_away(m, 0, UINT64_MAX), 0);
	assert_int_equal(host.mapped, 0);
	dma_mapping_free(m);
}

/* --- plans -------------------------------------------------------------------------------- */

static struct dma_plan plan;

static bool want(unsigned first, unsigned pages, unsigned absolute)
{
	const struct dma_mapped run = { at(first), at(first + pages) - 1, at(absolute), true };

	return dma_plan_make(&plan, &run);
}

static void plan_spans_holes_and_what_is_new_but_nothing_that_stays(void **state)
{
	struct dma_mapping *m = new_mapping(64);

	for (unsigned i = 0; i < 20; i += 2)
		assert_int_equal(dma_mapping_make(m, at(i), at(i + 1) - 1, at(100 + i), true), 0);
	dma_plan_begin(&plan, m);
	dma_plan_nothing(&plan, at(0), at(3) - 1); /* 0 and 2 */
	want(3, 1, 500);
	want(4, 1, 501); /* instead of 104 */
	assert_true(want(6, 1, 106));
	dma_plan_nothing(&plan, at(7), at(13) - 1); /* 8, 10, 12 */
	assert_true(want(13, 4, 113)); /* around 14; 16 is right, too */
	dma_plan_nothing(&plan, at(17), UINT64_MAX);
	assert_int_equal(plan.stale_count, 3);
	assert_int_equal(plan.stale[0].first, at(0));
	assert_int_equal(plan.stale[0].last, at(5) - 1);
	assert_int_equal(plan.stale[1].first, at(8));
	assert_int_equal(plan.stale[1].last, at(13) - 1);
	assert_int_equal(plan.stale[2].first, at(18));
	assert_int_equal(plan.stale[2].last, at(19) - 1);
	assert_int_equal(plan.missing_count, 4);
	assert_int_equal(plan.missing[2].first, at(13));
	assert_int_equal(plan.missing[2].last, at(14) - 1);
	assert_int_equal(plan.missing[3].first, at(15));
	assert_int_equal(plan.missing[3].absolute, at(115));
	assert_int_equal(plan.missing_bytes, 4 * 4096);
	dma_mapping_free(m);
}

static void plan_that_is_not_full_has_room_for_any_piece(void **state)
{
	struct dma_mapping *m = new_mapping(4096);

	/* Every other page of it right, so that nothing can be merged. */
	for (unsigned i = 0; i < 1024; i += 2) {
		assert_int_equal(dma_mapping_make(m, at(i), at(i + 1) - 1, at(1000 + i), true), 0);
		assert_int_equal(dma_mapping_make(m, at(i + 1), at(i + 2) - 1, at(0), true), 0);
	}
	dma_plan_begin(&plan, m);
	for (unsigned i = 0; !dma_plan_full(&plan); i += 256) {
		assert_true(i < 1024);
		want(i, 256, 1000 + i);
	}
	assert_in_range(plan.stale_count, 128, DMA_PLAN_ROOM);
	assert_int_equal(plan.stale_count, plan.missing_count);
	dma_mapping_free(m);
}

/* However many of them are in between. */
static void plan_is_full_when_enough_is_to_be_unmapped(void **state)
{
	const unsigned most = DMA_PLAN_STALE_BYTES / 4096, piece = DMA_PLAN_PIECE / 4096;
	struct dma_mapping *m = new_mapping(64);

	/* Half of it in runs of 1 MiB with a page in between, and one that is longer than all. */
	for (unsigned i = 0; i < most / piece / 2; i++)
		assert_int_equal(dma_mapping_make(m, at(i * (piece + 1)),
						  at(i * (piece + 1) + piece) - 1, at(1000), true),
				 0);
	assert_int_equal(dma_mapping_make(m, at(most), at(most + most) - 1, at(9), true), 0);

	dma_plan_begin(&plan, m);
	assert_int_equal(dma_plan_nothing(&plan, 0, at(most) - 1), at(most) - 1);
	assert_false(dma_plan_full(&plan));
	assert_int_equal(dma_plan_nothing(&plan, at(most), UINT64_MAX), at(most + most / 2) - 1);
	assert_true(dma_plan_full(&plan));
	assert_int_equal(plan.stale_count, 1);
	assert_int_equal(plan.stale[0].first, 0);
	assert_int_equal(plan.stale[0].last, at(most + most / 2) - 1);

	/* A piece has room in a plan that is not full, but by a page. */
	dma_plan_begin(&plan, m);
	assert_int_equal(dma_plan_nothing(&plan, at(most), at(most + most - 1) - 1),
			 at(most + most - 1) - 1);
	assert_false(dma_plan_full(&plan));
	assert_int_equal(dma_plan_nothing(&plan, 0, at(piece) - 1), at(piece) - 1);
	assert_true(dma_plan_full(&plan));

	/* What leads elsewhere is work as well. */
	dma_plan_begin(&plan, m);
	for (unsigned i = 0; i < most; i += piece) {
		assert_false(dma_plan_full(&plan));
		plan.missing_bytes = 0;
		want(most + i, piece, 5000);
	}
	assert_true(dma_plan_full(&plan));
	dma_mapping_free(m);
}

/* --- functions ------------------------------------------------------------------------------- */

static const struct zpci_mapping_ops function_ops = {
	.map = host_map,
	.unmap = host_unmap,
	.gate = host_gate,
	.map_whole = host_map_whole,
};

static int mapped_setup(void **state)
{
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	struct guest *g = guest_new();

	host_init(&host, SDMA);
	config.mapping = &function_ops;
	config.mapping_opaque = &host;
	config.mappings_max = 1000;
	config.relaxed_translation = true;
	guest_plug(g, &config);
	guest_enable(g);
	*state = g;
	return 0;
}

static int mapped_teardown(void **state)
{
	guest_free(*state);
	/* Whatever happened, nothing is left when the function is gone. */
	assert_int_equal(host.mapped, 0);
	return 0;
}

static void group_says_that_refresh_is_needed(void **state)
{
	struct guest *g = *state;
	uint8_t *block = guest_at(g, 0x2000);

	memset(block, 0, 4096);
	store_be16(block, 32);
	store_be16(block + 2, 4);
	store_be32(block + 16, 0xff);
	store_be16(block + 32, 64);
	g->gr[4] = 0x2000;
	zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 2);
	assert_int_equal(load_be16(block + 34), 0x0010);
	assert_int_equal(block[32 + 19] & 1, 1);
}

static void registration_maps_what_the_tables_say(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	guest_map(g, SDMA + 0x3000, 0x9000, true);
	guest_map(g, SDMA + 0x4000, 0xa000, true);
	guest_map(g, SDMA + 0x5000, 0xb000, false);
	assert_int_equal(host.mapped, 0); /* not before it is told */
	store_be64(guest_fib(g) + 16, SDMA);
	store_be64(guest_at(g, FIB_AT + 24), SDMA + 4 * GIB - 1);
	store_be64(guest_at(g, FIB_AT + 32), TABLES_AT | IOTA_RTTO);
	assert_true(host.open);
	guest_mpcifc(g, 6);
	assert_int_equal(g->vcpu.cc, 0);
	assert_true(host.open);
	assert_int_equal(host.maps, 2);
	assert_int_equal(host.pages[3], 0x9000);
	assert_int_equal(host.pages[4], 0xa000);
	assert_int_equal(host.pages[5], 0xb000 | READ_ONLY);
	guest_mpcifc(g, 5);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 0);
	assert_false(host.open);
}

static void refresh_maps_and_unmaps_what_has_changed(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	for (unsigned i = 0; i < 100; i++)
		guest_map(g, SDMA + i * 0x1000, 0x10000 + i * 0x1000, true);
	guest_rpcit(g, SDMA, 100 * 0x1000);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 100);
	assert_int_equal(host.maps, 1);
	for (unsigned i = 0; i < 100; i += 10)
		guest_unmap(g, SDMA + i * 0x1000);
	guest_map(g, SDMA + 0x5000, 0x9000, true);
	guest_rpcit(g, SDMA, 4 * GIB); /* what Linux does for many unmaps */
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 90);
	assert_int_equal(host.unmaps, 11);
	assert_int_equal(host.maps, 2);
	assert_int_equal(host.pages[5], 0x9000);
	assert_int_equal(host.pages[10], NOTHING);
	/* Only the range that was named. */
	guest_unmap(g, SDMA + 0x1000);
	guest_unmap(g, SDMA + 0x2000);
	guest_rpcit(g, SDMA + 0x2000, 0x1000);
	assert_int_equal(host.pages[1], 0x11000);
	assert_int_equal(host.pages[2], NOTHING);
}

/* A second page table, and entries of the segment table. */
#define OTHER_PAGES_AT (TABLES_AT + 0x10000)

static void put_segment(struct guest *g, unsigned index, uint64_t entry)
{
	store_be64(guest_at(g, TABLES_AT + 0x4000 + 8 * index), entry);
}

static void put_empty_segments(struct guest *g, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++)
		put_segment(g, i, OTHER_PAGES_AT);
	for (unsigned i = 0; i < 256; i++)
		store_be64(guest_at(g, OTHER_PAGES_AT + 8 * i), 0x400);
}

static unsigned refresh_until_done(struct guest *g, uint64_t start, uint64_t length)
{
	unsigned attempts = 0;

	do {
		guest_rpcit(g, start, length);
		assert_true(++attempts < 1000);
	} while (g->vcpu.cc == 2);
	return attempts;
}

static void refresh_of_many_changes_takes_several_attempts(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	for (unsigned segment = 0; segment < 8; segment++) {
		uint64_t pages = OTHER_PAGES_AT + segment * 0x800;

		put_segment(g, segment, pages);
		for (unsigned i = 0; i < 256; i++)
			store_be64(guest_at(g, pages + 8 * i), i % 3 ? 0x400 : 0x9000);
	}
	assert_in_range(refresh_until_done(g, SDMA, 8 * MIB), 2, 10);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 8 * 86);
	assert_int_equal(host.maps, 8 * 86); /* none twice */
}

/* One entry of an upper table, and 80 MiB are gone. */
static void what_one_entry_takes_away_takes_several_attempts(void **state)
{
	struct guest *g = *state;
	uint8_t *region = guest_at(g, TABLES_AT + 8 * (SDMA >> 31));
	uint64_t entry;
	unsigned attempts = 0;

	guest_register_translation(g);
	for (unsigned segment = 0; segment < 80; segment++)
		put_segment(g, segment, MIB | 0x400);
	refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 80 * 256);
	entry = load_be64(region);
	store_be64(region, 0x27);
	do {
		unsigned before = host.mapped;

		guest_rpcit(g, SDMA, 2 * GIB);
		assert_true(before - host.mapped <= DMA_PLAN_STALE_BYTES / 4096);
		assert_true(++attempts < 10);
	} while (g->vcpu.cc == 2);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 0);
	/* As few calls as there can be. */
	assert_int_equal(host.unmaps, 2);
	assert_int_equal(attempts, 2);
	store_be64(region, entry);
	refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(host.mapped, 80 * 256);
}

/* Linux waits before it repeats, and what it has called leaves the time of day in registers. */
static void refresh_is_repeated_with_what_calls_leave_in_registers(void **state)
{
	struct guest *g = *state;
	unsigned attempts = 0;

	guest_register_translation(g);
	put_empty_segments(g, 2048);
	do {
		for (unsigned r = 0; r < 15; r++)
			g->gr[r] = 0x9e3779b97f4a7c15ull * ++attempts;
		guest_rpcit(g, SDMA, 2 * GIB);
		assert_true(attempts < 15 * 20);
	} while (g->vcpu.cc == 2);
	assert_int_equal(g->vcpu.cc, 0);
}

static void another_refresh_does_not_go_on_where_one_ended(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	put_empty_segments(g, 2048);
	guest_rpcit(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 2);
	put_segment(g, 0, TABLES_AT + 0x8000);
	guest_map(g, SDMA, 0x9000, true);
	g->gr[15] -= 160; /* another one, with a stack of its own */
	refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.pages[0], 0x9000);
}

static void refresh_that_ended_elsewhere_is_not_gone_on_with(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	put_empty_segments(g, 2048);
	guest_rpcit(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 2);
	/* The program goes on with it on another CPU, */
	g->vcpu.index = 1;
	refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	/* comes back, and does with the same registers the same for another change. */
	g->vcpu.index = 0;
	put_segment(g, 0, TABLES_AT + 0x8000);
	guest_map(g, SDMA, 0x9000, true);
	refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.pages[0], 0x9000);
}

/* More entries than an attempt fetches; the first segment has a table of its own. */
static void begin_long_refresh(struct guest *g)
{
	guest_register_translation(g);
	put_empty_segments(g, 2048);
	put_segment(g, 0, TABLES_AT + 0x8000);
	guest_map(g, SDMA, 0x9000, true);
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	guest_rpcit(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 2);
	assert_int_equal(host.pages[0], 0x9000);
}

/* "Condition code 2, change what was walked, the same again": on purpose. */
static void repetition_after_a_change_behind_it_ends_with_what_the_tables_say(void **state)
{
	struct guest *g = *state;

	begin_long_refresh(g);
	guest_unmap(g, SDMA);
	assert_in_range(refresh_until_done(g, SDMA, 2 * GIB), 7, 10);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.pages[0], NOTHING);
	assert_int_equal(host.pages[1], 0xa000);
}

/* Before whichever attempt: the last is not known beforehand. */
static void change_before_each_attempt_is_seen_by_the_last(void **state)
{
	struct guest *g = *state;
	unsigned attempts = 0;
	uint64_t absolute;

	begin_long_refresh(g);
	do {
		assert_true(++attempts < 100);
		absolute = attempts & 1 ? 0x20000 : 0x30000;
		guest_map(g, SDMA, absolute, true);
		guest_rpcit(g, SDMA, 2 * GIB);
	} while (g->vcpu.cc == 2);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.pages[0], absolute);
	assert_int_equal(host.pages[1], 0xa000);
}

/* Behind the entries that an attempt may fetch there is a look at what is mapped only. */
static void change_far_behind_is_seen_too(void **state)
{
	struct guest *g = *state;
	const unsigned far = 400;

	guest_register_translation(g);
	host.base = SDMA + far * MIB;
	put_empty_segments(g, 2048);
	put_segment(g, far, TABLES_AT + 0x8000);
	guest_map(g, SDMA, 0x9000, true);
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	while (host.mapped != 2) {
		guest_rpcit(g, SDMA, 2 * GIB);
		assert_int_equal(g->vcpu.cc, 2);
	}
	guest_unmap(g, SDMA);
	refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.pages[0], NOTHING);
	assert_int_equal(host.pages[1], 0xa000);
}

/* Also of tables that are registered. */
static void registration_ends_with_what_the_tables_say(void **state)
{
	struct guest *g = *state;
	unsigned attempts = 0;

	guest_register_translation(g);
	put_empty_segments(g, 2048);
	put_segment(g, 0, TABLES_AT + 0x8000);
	guest_map(g, SDMA, 0x9000, true);
	store_be64(guest_fib(g) + 16, SDMA);
	store_be64(guest_at(g, FIB_AT + 24), SDMA + 4 * GIB - 1);
	store_be64(guest_at(g, FIB_AT + 32), TABLES_AT | IOTA_RTTO);
	guest_mpcifc(g, 6);
	assert_int_equal(g->vcpu.cc, 2);
	assert_int_equal(host.mapped, 1);
	guest_unmap(g, SDMA);
	do {
		assert_false(host.open);
		guest_mpcifc(g, 6);
		assert_true(++attempts < 100);
	} while (g->vcpu.cc == 2);
	assert_int_equal(g->vcpu.cc, 0);
	assert_true(host.open);
	assert_int_equal(host.mapped, 0);
}

/* As an interruption's handler does in the midst of a long one. */
static void short_refresh_does_not_send_a_long_one_back(void **state)
{
	struct guest *g = *state;
	unsigned attempts = 1;

	begin_long_refresh(g);
	do {
		g->gr[15] -= 160;
		guest_rpcit(g, SDMA, 0x1000);
		assert_int_equal(g->vcpu.cc, 0);
		g->gr[15] += 160;
		guest_rpcit(g, SDMA, 2 * GIB);
		assert_true(++attempts < 20);
	} while (g->vcpu.cc == 2);
	assert_int_equal(g->vcpu.cc, 0);
}

/* --- unmaps before maps ------------------------------------------------------------------- */

static void page_that_moves_to_a_lower_address_never_has_two(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	host.owners = true;
	for (unsigned i = 10; i < 20; i++)
		guest_map(g, SDMA + at(i), at(100 + i), true);
	guest_rpcit(g, SDMA, MIB);
	assert_int_equal(host.mapped, 10);
	host.calls[0] = 0;
	/* Each moves by one, to where another one was; and three of them far. */
	guest_unmap(g, SDMA + at(19));
	for (unsigned i = 9; i < 19; i++)
		guest_map(g, SDMA + at(i), at(100 + i + 1), true);
	guest_unmap(g, SDMA + at(14));
	guest_map(g, SDMA + at(3), at(115), true);
	guest_rpcit(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_string_equal(host.calls, "u10 m3 m9 m15 ");
	assert_int_equal(host.pages[9], at(110));
	assert_int_equal(host.pages[3], at(115));
	assert_int_equal(host.mapped, 10);
}

static void stale_pages_among_new_ones_are_one_call(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	for (unsigned i = 0; i < 40; i += 2)
		guest_map(g, SDMA + at(i), at(100 + i), true);
	guest_rpcit(g, SDMA, MIB);
	host.calls[0] = 0;
	for (unsigned i = 0; i < 40; i += 2) {
		/* But one, which stays. */
		if (i == 20)
			continue;
		guest_unmap(g, SDMA + at(i));
		guest_map(g, SDMA + at(i + 1), at(200), true);
	}
	guest_rpcit(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_memory_equal(host.calls, "u0 u22 m1 m3 ", 13);
	assert_int_equal(host.unmaps, 2);
	assert_int_equal(host.pages[20], at(120));
}

/* Where all room is taken, what goes makes room for what comes, in one attempt. */
static void what_goes_makes_room_for_what_comes_before_it(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	for (unsigned i = 10; i < 20; i++)
		guest_map(g, SDMA + at(i), 0x9000, true);
	guest_rpcit(g, SDMA, MIB);
	host.mapped_max = 10;
	for (unsigned i = 0; i < 10; i++) {
		guest_map(g, SDMA + at(i), 0x9000, true);
		guest_unmap(g, SDMA + at(i + 10));
	}
	assert_int_equal(refresh_until_done(g, SDMA, MIB), 1);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 10);
}

/* --- a host that fails ------------------------------------------------------------------ */

static void unmap_that_fails_puts_the_function_in_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	guest_register_translation(g);
	guest_map(g, SDMA + 0x1000, 0x9000, true);
	guest_rpcit(g, SDMA, MIB);
	assert_true(host.open);
	host.stuck = true;
	guest_unmap(g, SDMA + 0x1000);
	guest_rpcit(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 8);
	assert_false(host.open);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 0xb);
	/* It stays there as long as the page is mapped, */
	guest_fib(g);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 1);
	assert_false(host.open);
	/* disabled and enabled or not, whatever the new range is, */
	guest_disable(g);
	guest_enable(g);
	assert_false(host.open);
	store_be64(guest_fib(g) + 16, SDMA + MIB);
	store_be64(guest_at(g, FIB_AT + 24), SDMA + GIB);
	store_be64(guest_at(g, FIB_AT + 32), TABLES_AT | IOTA_RTTO);
	guest_mpcifc(g, 4);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 8);
	assert_false(host.open);
	assert_int_equal(host.mapped, 1);
	/* and no longer. */
	host.stuck = false;
	guest_disable(g);
	assert_int_equal(host.mapped, 0);
	guest_enable(g);
	guest_register_translation(g);
	assert_true(host.open);
}

/* Each is asked for once an attempt, and there are few in one. */
static void frames_that_cannot_be_mapped_are_work(void **state)
{
	struct guest *g = *state;
	unsigned attempts = 0;

	guest_register_translation(g);
	host.mapped_max = 1;
	for (unsigned i = 0; i < 2048; i++)
		put_segment(g, i, MIB | 0x400);
	do {
		host.tried = 0;
		g->written_calls = 0;
		guest_rpcit(g, SDMA, 2 * GIB);
		assert_true(host.tried <= 256 && g->written_calls <= 256);
		assert_true(++attempts < 1000);
	} while (g->vcpu.cc == 2);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 16);
	assert_true(attempts >= 2048 / 8);
}

static void refresh_tells_when_nothing_more_can_be_mapped(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	host.mapped_max = 10;
	for (unsigned i = 0; i < 12; i++)
		guest_map(g, SDMA + 2 * i * 0x1000, 0x9000, true);
	refresh_until_done(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 16);
	assert_int_equal(host.mapped, 10);
	assert_false(zpci_has_event(g->zpci));
	/* The function works on; with less it is enough. */
	guest_unmap(g, SDMA + 0x8000);
	guest_unmap(g, SDMA + 0xa000);
	refresh_until_done(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.pages[22], 0x9000);
}

static void page_that_the_host_refuses_keeps_nothing_mapped_that_is_taken_away(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	guest_map(g, SDMA + 0x5000, 0x9000, true);
	guest_rpcit(g, SDMA, 0x10000);
	assert_int_equal(host.mapped, 1);
	host.refused = 0xa000;
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	guest_unmap(g, SDMA + 0x5000);
	guest_map(g, SDMA + 0x7000, 0xb000, true);
	refresh_until_done(g, SDMA, 0x10000);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 16);
	assert_int_equal(host.pages[5], NOTHING);
	assert_int_equal(host.pages[7], 0xb000);
}

static void run_that_is_mapped_in_part_counts_as_written(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	guest_map(g, SDMA + 0x2000, 0xa000, true);
	guest_rpcit(g, SDMA, 0x10000);
	assert_int_equal(g->vcpu.cc, 0);
	/* A page before it, which can be mapped, and one behind it, which cannot. */
	guest_map(g, SDMA + 0x1000, 0x9000, true);
	guest_map(g, SDMA + 0x3000, 0xb000, true);
	host.refused = 0xb000;
	guest_clear(g);
	refresh_until_done(g, SDMA, 0x10000);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(host.pages[1], 0x9000);
	assert_true(g->written_calls > 0);
}

static void what_is_taken_away_later_in_the_range_makes_room(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	host.mapped_max = 10;
	for (unsigned i = 10; i < 20; i++)
		guest_map(g, SDMA + i * 0x1000, 0x9000, true);
	refresh_until_done(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 0);
	for (unsigned i = 0; i < 10; i++) {
		guest_map(g, SDMA + i * 0x1000, 0x9000, true);
		guest_unmap(g, SDMA + (i + 10) * 0x1000);
	}
	refresh_until_done(g, SDMA, MIB);
	assert_int_equal(g->vcpu.cc, 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(host.pages[i], 0x9000);
}

static void tables_that_name_one_table_everywhere_take_bounded_attempts(void **state)
{
	struct guest *g = *state;
	unsigned attempts;

	guest_register_translation(g);
	put_empty_segments(g, 2048);
	attempts = refresh_until_done(g, SDMA, 2 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	/* 2^19 entries, 2^16 at most at a time. */
	assert_in_range(attempts, 8, 12);
}

static void malformed_table_is_an_error_and_keeps_dma_back(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	guest_rpcit(g, SDMA, 0x1000);
	store_be64(guest_at(g, TABLES_AT + 0x8000 + 8), 0);
	guest_rpcit(g, SDMA, 0x2000);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 8);
	assert_false(host.open);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be64(event.ccdf + 16), SDMA + 0x1000);
	assert_int_equal(load_be16(event.ccdf + 30), 7);
	/* Repaired, and changed while no refresh was possible. */
	guest_unmap(g, SDMA);
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	guest_fib(g);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	assert_true(host.open);
	assert_int_equal(host.pages[0], NOTHING);
	assert_int_equal(host.pages[1], 0xa000);
}

static void pages_outside_memory_are_not_mapped(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	guest_map(g, SDMA, GUEST_MEMORY, true);
	guest_map(g, SDMA + 0x1000, GUEST_MEMORY - 0x1000, true);
	guest_map(g, SDMA + 0x2000, GUEST_MEMORY, true);
	guest_map(g, SDMA + 0x3000, 0xfffffffffffff000, true);
	guest_rpcit(g, SDMA, 0x4000);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 1);
	assert_int_equal(host.pages[1], GUEST_MEMORY - 0x1000);
}

static void direct_mapping_is_all_of_memory_in_one(void **state)
{
	struct guest *g = *state;
	uint8_t *fib = guest_fib(g);

	store_be64(fib + 16, SDMA);
	store_be64(fib + 24, SDMA + 4 * GIB - 1);
	guest_mpcifc(g, 4);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.maps, 1);
	assert_int_equal(host.wholes, 1);
	assert_int_equal(host.mapped, GUEST_MEMORY / 4096);
	assert_int_equal(host.pages[77], 77 * 4096);
	guest_rpcit(g, SDMA, 4 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.maps, 1);
	/* Until it ends, nobody is told what the device stores; CPUs are to know that. */
	assert_int_equal(g->unseen_writers, 1);
	guest_mpcifc(g, 5);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->unseen_writers, 0);
}

/* A host that needs a call a page is not asked for everything at once. */
static void long_runs_are_mapped_in_pieces_and_attempts(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	for (unsigned i = 0; i < 16; i++)
		put_segment(g, i, OTHER_PAGES_AT + i % 4 * 2048);
	for (unsigned i = 0; i < GUEST_MEMORY / 4096; i++)
		store_be64(guest_at(g, OTHER_PAGES_AT + 8 * i), i ? at(i) : 0x400);
	assert_true(refresh_until_done(g, SDMA, 16 * MIB) > 1);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(host.mapped, 16 * 256 - 4);
	assert_true(host.longest <= 256);
	assert_int_equal(host.wholes, 0);
}

/* CPUs keep what they know of memory, and nobody else tells them what the device stores. */
static void what_a_device_may_store_into_counts_as_written(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	guest_map(g, SDMA, 0x10000, true);
	g->written_calls = 0;
	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(g->written_calls, 1);
	assert_int_equal(g->written_first, 0x10000);
	assert_int_equal(g->written_length, 0x1000);
	/* Also when it was mapped already; not what the device cannot store into. */
	guest_map(g, SDMA + 0x1000, 0x20000, false);
	guest_rpcit(g, SDMA, 0x2000);
	assert_int_equal(g->written_calls, 2);
	assert_int_equal(g->written_first, 0x10000);
}

static void disabled_function_has_nothing_mapped(void **state)
{
	struct guest *g = *state;

	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(host.mapped, 1);
	guest_disable(g);
	assert_int_equal(host.mapped, 0);
	assert_false(host.open);
}

static void storage_key_cannot_be_had_from_a_host(void **state)
{
	struct guest *g = *state;
	uint8_t *fib = guest_fib(g);

	store_be64(fib + 16, SDMA);
	store_be64(fib + 24, SDMA + GIB);
	store_be64(fib + 32, TABLES_AT | IOTA_RTTO | 1 << 5);
	assert_int_not_equal(guest_mpcifc(g, 4), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, mapped_setup, mapped_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_that_continue_each_other_are_one),
		cmocka_unit_test(what_is_right_already_is_not_touched),
		cmocka_unit_test(neighbours_are_taken_away_at_once),
		cmocka_unit_test(lack_of_room_is_told_and_nothing_wrong_is_mapped),
		cmocka_unit_test(random_changes_leave_what_was_asked_for),
		cmocka_unit_test(room_for_many_runs_costs_nothing_until_it_is_used),
		cmocka_unit_test(runs_that_were_given_back_are_used_again),
		cmocka_unit_test(what_cannot_be_unmapped_counts_as_mapped),
		cmocka_unit_test(plan_spans_holes_and_what_is_new_but_nothing_that_stays),
		cmocka_unit_test(plan_that_is_not_full_has_room_for_any_piece),
		cmocka_unit_test(plan_is_full_when_enough_is_to_be_unmapped),
		TEST(group_says_that_refresh_is_needed),
		TEST(registration_maps_what_the_tables_say),
		TEST(refresh_maps_and_unmaps_what_has_changed),
		TEST(refresh_of_many_changes_takes_several_attempts),
		TEST(what_one_entry_takes_away_takes_several_attempts),
		TEST(refresh_is_repeated_with_what_calls_leave_in_registers),
		TEST(another_refresh_does_not_go_on_where_one_ended),
		TEST(refresh_that_ended_elsewhere_is_not_gone_on_with),
		TEST(repetition_after_a_change_behind_it_ends_with_what_the_tables_say),
		TEST(change_before_each_attempt_is_seen_by_the_last),
		TEST(change_far_behind_is_seen_too),
		TEST(registration_ends_with_what_the_tables_say),
		TEST(short_refresh_does_not_send_a_long_one_back),
		TEST(page_that_moves_to_a_lower_address_never_has_two),
		TEST(stale_pages_among_new_ones_are_one_call),
		TEST(what_goes_makes_room_for_what_comes_before_it),
		TEST(unmap_that_fails_puts_the_function_in_error),
		TEST(frames_that_cannot_be_mapped_are_work),
		TEST(refresh_tells_when_nothing_more_can_be_mapped),
		TEST(page_that_the_host_refuses_keeps_nothing_mapped_that_is_taken_away),
		TEST(run_that_is_mapped_in_part_counts_as_written),
		TEST(what_is_taken_away_later_in_the_range_makes_room),
		TEST(tables_that_name_one_table_everywhere_take_bounded_attempts),
		TEST(malformed_table_is_an_error_and_keeps_dma_back),
		TEST(pages_outside_memory_are_not_mapped),
		TEST(direct_mapping_is_all_of_memory_in_one),
		TEST(long_runs_are_mapped_in_pieces_and_attempts),
		TEST(what_a_device_may_store_into_counts_as_written),
		TEST(disabled_function_has_nothing_mapped),
		TEST(storage_key_cannot_be_had_from_a_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
