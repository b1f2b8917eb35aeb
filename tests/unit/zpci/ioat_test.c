/* SPDX-License-Identifier: MIT */
/* The walk of the tables, registration of translation, and RPCIT. */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "zpci/internal.h"

/* --- the walk, on memory alone ----------------------------------------------------- */

#define MEMORY_SIZE (1 * MIB)
#define TABLE 0x10000
#define NEXT 0x20000
#define PAGES 0x30000

static int walk_setup(void **state)
{
	static uint8_t bytes[MEMORY_SIZE] __attribute__((aligned(4096)));
	static struct dma_memory memory = { .base = bytes, .size = MEMORY_SIZE };

	memset(bytes, 0, sizeof(bytes));
	*state = &memory;
	return 0;
}

static void put(struct dma_memory *m, uint64_t table, unsigned index, uint64_t entry)
{
	store_be64(m->base + table + 8 * index, entry);
}

static const uint64_t iova = 5ull << 31 | 7ull << 20 | 9ull << 12 | 0x123;

static void put_three_levels(struct dma_memory *m)
{
	put(m, TABLE, 5, NEXT | 0x7);
	put(m, NEXT, 7, PAGES);
	put(m, PAGES, 9, 0x42000);
}

static void walk_of_three_levels_finds_the_page(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put_three_levels(m);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), 0);
	assert_int_equal(t.iova, iova & ~0xfffull);
	assert_int_equal(t.absolute, 0x42000);
	assert_int_equal(t.size, 4096);
	assert_true(t.writable);
}

static void walk_starts_at_the_level_that_the_designation_says(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;
	uint64_t second = 3ull << 42 | iova, first = 2ull << 53 | second;

	put_three_levels(m);
	put(m, 0x40000, 3, TABLE | 0xb);
	put(m, 0x50000, 2, 0x40000 | 0xf);
	assert_int_equal(ioat_walk(m, NEXT | 0x800, 7ull << 20 | 9ull << 12, &t), 0);
	assert_int_equal(t.absolute, 0x42000);
	assert_int_equal(ioat_walk(m, 0x40000 | 0x808, second, &t), 0);
	assert_int_equal(t.absolute, 0x42000);
	assert_int_equal(ioat_walk(m, 0x50000 | 0x80c, first, &t), 0);
	assert_int_equal(t.absolute, 0x42000);
	assert_int_equal(t.iova, first & ~0xfffull);
}

static void bits_to_the_left_of_what_the_table_covers_are_ignored(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put_three_levels(m);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, 1ull << 42 | iova, &t), 0);
	assert_int_equal(t.absolute, 0x42000);
	assert_int_equal(t.iova, (1ull << 42 | iova) & ~0xfffull);
	assert_int_equal(ioat_walk(m, NEXT | 0x800, iova, &t), 0);
	assert_int_equal(t.absolute, 0x42000);
}

static void page_table_can_be_designated_without_one_above(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put(m, PAGES, 9, 0x42200);
	assert_int_equal(ioat_walk(m, PAGES | 0x81c, iova, &t), 0);
	assert_int_equal(t.absolute, 0x42000);
	assert_int_equal(t.size, 4096);
	assert_false(t.writable);
	put(m, PAGES, 9, 0x42400);
	assert_int_equal(ioat_walk(m, PAGES | 0x81c, iova, &t), PEC_TRANSLATION_PROTECTION);
}

static void invalid_entry_at_any_level_has_no_translation(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put_three_levels(m);
	put(m, TABLE, 5, NEXT | 0x27);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TRANSLATION_PROTECTION);
	put_three_levels(m);
	put(m, NEXT, 7, PAGES | 0x20);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TRANSLATION_PROTECTION);
	put_three_levels(m);
	put(m, PAGES, 9, 0x42400);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TRANSLATION_PROTECTION);
}

static void entry_of_zeros_is_an_invalid_table_entry(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
	put(m, TABLE, 5, NEXT | 0x7);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
	put(m, NEXT, 7, PAGES);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
}

static void protection_at_any_level_counts(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put_three_levels(m);
	assert_int_equal(ioat_walk(m, TABLE | 0xa04, iova, &t), 0);
	assert_false(t.writable);
	put(m, TABLE, 5, NEXT | 0x207);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), 0);
	assert_false(t.writable);
	put_three_levels(m);
	put(m, NEXT, 7, PAGES | 0x200);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), 0);
	assert_false(t.writable);
	put_three_levels(m);
	put(m, PAGES, 9, 0x42200);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), 0);
	assert_false(t.writable);
}

static void malformed_region_entries_have_codes_of_their_own(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put_three_levels(m);
	put(m, TABLE, 5, NEXT | 0x6); /* length */
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TABLE_LENGTH);
	put(m, TABLE, 5, NEXT | 0x47); /* offset */
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TABLE_LENGTH);
	put(m, TABLE, 5, NEXT | 0xb); /* region-second in a region-third table */
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TABLE_TYPE);
	put(m, TABLE, 5, NEXT | 0x7);
	put(m, NEXT, 7, PAGES | 0x4);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_TABLE_TYPE);
}

static void segment_and_region_third_entries_can_designate_frames(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	put_three_levels(m);
	put(m, NEXT, 7, 0x500400);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), 0);
	assert_int_equal(t.iova, iova & ~(MIB - 1));
	assert_int_equal(t.absolute, 0x500000);
	assert_int_equal(t.size, MIB);
	put(m, TABLE, 5, 0x80000000 | 0x607);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), 0);
	assert_int_equal(t.iova, 5ull << 31);
	assert_int_equal(t.absolute, 0x80000000);
	assert_int_equal(t.size, 2 * GIB);
	assert_false(t.writable);
}

static void designation_of_a_frame_needs_no_table(void **state)
{
	struct dma_translation t;

	assert_int_equal(ioat_walk(*state, 0x7000 | 0x810, iova, &t), 0);
	assert_int_equal(t.absolute, 0x7000);
	assert_int_equal(t.size, 4096);
	assert_int_equal(ioat_walk(*state, 0x300000 | 0x811, iova, &t), 0);
	assert_int_equal(t.absolute, 0x300000);
	assert_int_equal(t.size, MIB);
	assert_int_equal(ioat_walk(*state, 0x80000000 | 0xa16, iova, &t), 0);
	assert_int_equal(t.absolute, 0x80000000);
	assert_int_equal(t.size, 2 * GIB);
	assert_false(t.writable);
}

static void table_outside_memory_is_an_invalid_table_entry(void **state)
{
	struct dma_memory *m = *state;
	struct dma_translation t;

	assert_int_equal(ioat_walk(m, MEMORY_SIZE | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
	assert_int_equal(ioat_walk(m, ~0x3fffull | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
	put(m, TABLE, 5, 0xfffffffffff00000 | 0x7);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
	put_three_levels(m);
	put(m, NEXT, 7, MEMORY_SIZE);
	assert_int_equal(ioat_walk(m, TABLE | 0x804, iova, &t), PEC_INVALID_TABLE_ENTRY);
}

/* --- a range ------------------------------------------------------------------------- */

/* With the whole budget, and the end of the range as run. */
static void expect_run(struct ioat_cursor *c, uint64_t first, uint64_t last, uint64_t absolute,
		       bool writable)
{
	struct ioat_run run = { 0 };

	assert_int_equal(ioat_cursor_next(c, &run), 0);
	assert_int_equal(run.first, first);
	assert_int_equal(run.last, last);
	assert_true(run.valid);
	assert_int_equal(run.absolute, absolute);
	assert_int_equal(run.writable, writable);
}

static void expect_gap(struct ioat_cursor *c, uint64_t first, uint64_t last)
{
	struct ioat_run run = { 0 };

	assert_int_equal(ioat_cursor_next(c, &run), 0);
	assert_int_equal(run.first, first);
	assert_int_equal(run.last, last);
	assert_false(run.valid);
}

static void put_invalid_tables(struct dma_memory *m)
{
	for (unsigned i = 0; i < 2048; i++) {
		put(m, TABLE, i, 0x20);
		put(m, NEXT, i, 0x20);
	}
	for (unsigned i = 0; i < 256; i++)
		put(m, PAGES, i, 0x400);
}

#define SEGMENT (5ull << 31 | 7ull << 20)

static void range_is_walked_in_runs(void **state)
{
	struct dma_memory *m = *state;
	struct ioat_cursor c;
	struct ioat_run run;

	put_invalid_tables(m);
	put_three_levels(m);
	put(m, PAGES, 10, 0x43000); /* goes on */
	put(m, PAGES, 11, 0x44200); /* goes on, but protected */
	put(m, PAGES, 255, 0x50000);
	put(m, NEXT, 8, 0x100400); /* a frame of 1 MiB */
	ioat_cursor_init(&c, m, TABLE | 0x804, 0, (1ull << 42) - 1);
	c.budget = 7000;
	expect_gap(&c, 0, SEGMENT + 0x8fff);
	expect_run(&c, SEGMENT + 0x9000, SEGMENT + 0xafff, 0x42000, true);
	expect_run(&c, SEGMENT + 0xb000, SEGMENT + 0xbfff, 0x44000, false);
	expect_gap(&c, SEGMENT + 0xc000, SEGMENT + 0xfefff);
	expect_run(&c, SEGMENT + 0xff000, SEGMENT + 0xfffff, 0x50000, true);
	expect_run(&c, SEGMENT + 0x100000, SEGMENT + 0x1fffff, 0x100000, true);
	expect_gap(&c, SEGMENT + 0x200000, (1ull << 42) - 1);
	assert_int_equal(ioat_cursor_next(&c, &run), -ENOENT);
	/* Those of the table, those of one region with the way down to them, its pages. */
	assert_true(7000 - c.budget < 2048 + 2 * 2048 + 256 + 4);
}

static void runs_join_across_page_tables(void **state)
{
	struct dma_memory *m = *state;
	struct ioat_cursor c;

	put_invalid_tables(m);
	put(m, TABLE, 5, NEXT | 0x7);
	put(m, NEXT, 7, PAGES);
	put(m, NEXT, 8, PAGES + 0x800);
	for (unsigned i = 0; i < 512; i++)
		put(m, PAGES, i, 0x100000 + i * 0x1000);
	ioat_cursor_init(&c, m, TABLE | 0x804, SEGMENT + 0x3000, SEGMENT + 0x1fffff);
	c.budget = 1000;
	expect_run(&c, SEGMENT + 0x3000, SEGMENT + 0x1fffff, 0x103000, true);
}

static void walk_of_a_range_stops_at_its_budget_and_goes_on(void **state)
{
	struct dma_memory *m = *state;
	struct ioat_cursor c;
	struct ioat_run run;
	uint64_t next = 0;
	unsigned pages = 0, attempts = 0;
	int rc = 0;

	put_invalid_tables(m);
	/* Every segment has the same page table: 2^19 pages from 3 * 16 KiB. */
	for (unsigned i = 0; i < 2048; i++)
		put(m, NEXT, i, PAGES);
	for (unsigned i = 0; i < 256; i++)
		put(m, PAGES, i, 0x10000 + i % 2 * 0x8000);
	while (rc != -ENOENT) {
		ioat_cursor_init(&c, m, NEXT | 0x800, next, (1ull << 31) - 1);
		c.budget = 1000;
		while (!(rc = ioat_cursor_next(&c, &run)))
			pages += (run.last - run.first + 1) >> 12;
		assert_true(rc == -EAGAIN || rc == -ENOENT);
		next = c.next;
		attempts++;
		assert_true(attempts < 1000);
	}
	assert_int_equal(pages, 2048 * 256);
	assert_true(attempts > 500);
}

static void frames_without_a_table_use_up_the_budget_too(void **state)
{
	struct ioat_cursor c;
	struct ioat_run run;
	int rc;

	ioat_cursor_init(&c, *state, 0x7000 | 0x810, 0, UINT64_MAX);
	c.budget = 1000;
	while (!(rc = ioat_cursor_next(&c, &run)))
		assert_int_equal(run.last - run.first, 0xfff);
	assert_int_equal(rc, -EAGAIN);
	assert_true(c.next <= 1000 * 0x1000);
}

static void walk_of_a_range_reports_what_is_wrong_where_it_is(void **state)
{
	struct dma_memory *m = *state;
	struct ioat_cursor c;
	struct ioat_run run;

	put_invalid_tables(m);
	put_three_levels(m);
	put(m, PAGES, 12, 0);
	ioat_cursor_init(&c, m, TABLE | 0x804, SEGMENT + 0x9000, SEGMENT + 0xfffff);
	c.budget = 1000;
	expect_run(&c, SEGMENT + 0x9000, SEGMENT + 0x9fff, 0x42000, true);
	expect_gap(&c, SEGMENT + 0xa000, SEGMENT + 0xbfff);
	assert_int_equal(ioat_cursor_next(&c, &run), PEC_INVALID_TABLE_ENTRY);
	assert_int_equal(c.next, SEGMENT + 0xc000);
}

static void range_may_end_with_the_address_space(void **state)
{
	struct dma_memory *m = *state;
	struct ioat_cursor c;
	struct ioat_run run;

	put_invalid_tables(m);
	ioat_cursor_init(&c, m, TABLE | 0x80c, 0, UINT64_MAX);
	c.budget = 10000;
	expect_gap(&c, 0, UINT64_MAX);
	assert_int_equal(ioat_cursor_next(&c, &run), -ENOENT);
}

/* --- registration --------------------------------------------------------------------- */

static uint8_t *range_fib(struct guest *g, uint64_t pba, uint64_t pal, uint64_t iota)
{
	uint8_t *fib = guest_fib(g);

	store_be64(fib + 16, pba);
	store_be64(fib + 24, pal);
	store_be64(fib + 32, iota);
	return fib;
}

static struct pci_dma_space *space(struct guest *g)
{
	return pci_function_dma(g->function);
}

static void dma_goes_where_the_tables_say(void **state)
{
	struct guest *g = *state;
	char buffer[8] = "written";

	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA + 0x5000, 0x9000, true);
	assert_int_equal(pci_dma_write(space(g), SDMA + 0x5010, buffer, 8), 0);
	assert_string_equal(guest_at(g, 0x9010), "written");
	assert_int_equal(g->written_first, 0x9010);
	assert_int_equal(g->written_length, 8);
	strcpy(guest_at(g, 0x9010), "changed");
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x5010, buffer, 8), 0);
	assert_string_equal(buffer, "changed");
}

static void translation_registers_once_and_deregisters_once(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	range_fib(g, SDMA, SDMA + GIB, TABLES_AT | IOTA_RTTO);
	assert_int_equal(guest_mpcifc(g, 5), 0);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 24);
	assert_int_equal(guest_mpcifc(g, 6), 0);
	assert_int_equal(g->vcpu.cc, 1);
	guest_mpcifc(g, 4);
	assert_int_equal(g->vcpu.cc, 0);
	guest_mpcifc(g, 4);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 24);
	guest_mpcifc(g, 6);
	assert_int_equal(g->vcpu.cc, 0);
	guest_mpcifc(g, 5);
	assert_int_equal(g->vcpu.cc, 0);
	guest_mpcifc(g, 5);
	assert_int_equal(g->vcpu.cc, 1);
}

static void registration_checks_range_and_designation(void **state)
{
	struct guest *g = *state;
	static const struct { uint64_t pba, pal, iota; } bad[] = {
		{ SDMA - 0x1000, SDMA + GIB, TABLES_AT | 0x804 },
		{ SDMA, 0x0200000000000000, TABLES_AT | 0x804 },
		{ SDMA + GIB, SDMA, TABLES_AT | 0x804 },
		{ SDMA, SDMA + GIB, TABLES_AT | 0x818 }, /* type 6 */
		{ SDMA, SDMA + GIB, TABLES_AT | 0x813 }, /* no such frame size */
		{ SDMA, SDMA + GIB, TABLES_AT | 0x817 },
		{ SDMA, SDMA + GIB, 0 },                 /* without translation */
	};

	guest_enable(g);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		guest_clear(g);
		range_fib(g, bad[i].pba, bad[i].pal, bad[i].iota);
		assert_int_not_equal(guest_mpcifc(g, 4), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	}
	range_fib(g, SDMA, SDMA + GIB, TABLES_AT | 0x804);
	g->gr[5] = (uint64_t)g->fh << 32 | 1 << 16 | 4;
	assert_int_equal(zpci_insn_mpcifc(g->zpci, &g->vcpu, 5, FIB_AT, 1), 0);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 28);
}

static void address_outside_the_registered_range_is_an_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	char byte;

	guest_enable(g);
	guest_register_translation(g);
	assert_int_equal(pci_dma_read(space(g), SDMA + 4 * GIB, &byte, 1), -EFAULT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_OUT_OF_RANGE);
}

static void key_in_the_designation_is_compared_with_storage_keys(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	char byte = 0;

	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	g->storage_key = 0x38; /* key 3, fetch-protected */
	assert_int_equal(pci_dma_write(space(g), SDMA, &byte, 1), 0); /* by key 0 */
	range_fib(g, SDMA, SDMA + GIB, TABLES_AT | 0x804 | 3 << 5);
	guest_mpcifc(g, 6);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(pci_dma_write(space(g), SDMA, &byte, 1), 0);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), 0);
	g->storage_key = 0x40; /* another key; no refresh is needed */
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), 0);
	assert_int_equal(pci_dma_write(space(g), SDMA, &byte, 1), -EFAULT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_KEY);
	guest_mpcifc(g, 7);
	g->storage_key = 0x48;
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), -EFAULT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_KEY);
}

/* --- direct mapping ------------------------------------------------------------------------ */

static struct guest *relaxed_guest(void)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.relaxed_translation = true;
	guest_plug(g, &config);
	guest_enable(g);
	return g;
}

static void function_without_translation_sees_memory_at_sdma(void **state)
{
	struct guest *g = relaxed_guest();
	char buffer[8] = "direct!";
	struct zpci_event event;

	range_fib(g, SDMA, 0x1ffffffffffffff, 0);
	assert_int_equal(guest_mpcifc(g, 4), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(pci_dma_write(space(g), SDMA + 0x7ffc, buffer, 8), 0);
	assert_string_equal(guest_at(g, 0x7ffc), "direct!");
	assert_int_equal(pci_dma_write(space(g), SDMA + GUEST_MEMORY - 8, buffer, 8), 0);
	assert_int_equal(pci_dma_write(space(g), SDMA + GUEST_MEMORY - 4, buffer, 8), -EFAULT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be64(event.ccdf + 16), SDMA + GUEST_MEMORY);
	guest_free(g);
}

static void guest_switches_between_translation_and_none(void **state)
{
	struct guest *g = relaxed_guest();
	uint32_t value;

	guest_register_translation(g);
	guest_map(g, SDMA + 0x1000, 0x9000, true);
	store_be32(guest_at(g, 0x9000), 1);
	store_be32(guest_at(g, 0x1000), 2);
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x1000, &value, 4), 0);
	assert_int_equal(load_be32(&value), 1);
	range_fib(g, SDMA, SDMA + GIB, 0);
	guest_mpcifc(g, 6);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x1000, &value, 4), 0);
	assert_int_equal(load_be32(&value), 2);
	range_fib(g, SDMA, SDMA + GIB, TABLES_AT | IOTA_RTTO);
	guest_mpcifc(g, 6);
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x1000, &value, 4), 0);
	assert_int_equal(load_be32(&value), 1);
	guest_free(g);
}

static void direct_mapping_is_refused_where_the_aperture_is_too_small(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.relaxed_translation = true;
	config.edma = config.sdma + GUEST_MEMORY - 0x1000 - 1;
	guest_plug(g, &config);
	guest_enable(g);
	range_fib(g, SDMA, config.edma, 0);
	assert_int_not_equal(guest_mpcifc(g, 4), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_free(g);
}

/* --- RPCIT ---------------------------------------------------------------------------------- */

static void refresh_takes_a_page_away(void **state)
{
	struct guest *g = *state;
	uint32_t value;

	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	assert_int_equal(pci_dma_read(space(g), SDMA, &value, 4), 0);
	guest_unmap(g, SDMA);
	assert_int_equal(guest_rpcit(g, SDMA, 0x1000), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x1000, &value, 4), 0);
	assert_int_equal(pci_dma_read(space(g), SDMA, &value, 4), -EFAULT);
}

static void entry_that_was_made_valid_needs_no_refresh(void **state)
{
	struct guest *g = *state;
	uint32_t value;

	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x1000, &value, 4), 0);
	guest_map(g, SDMA, 0x9000, true);
	assert_int_equal(pci_dma_read(space(g), SDMA, &value, 4), 0);
}

static void refresh_of_the_whole_aperture_takes_everything_away(void **state)
{
	struct guest *g = *state;
	uint32_t value;

	guest_enable(g);
	guest_register_translation(g);
	for (unsigned i = 0; i < 256; i++) {
		guest_map(g, SDMA + i * 0x1000, 0x9000, true);
		assert_int_equal(pci_dma_read(space(g), SDMA + i * 0x1000, &value, 4), 0);
	}
	for (unsigned i = 0; i < 256; i++)
		guest_map(g, SDMA + i * 0x1000, 0xa000, true);
	store_be32(guest_at(g, 0xa000), 77);
	assert_int_equal(guest_rpcit(g, SDMA, 4 * GIB), 0);
	assert_int_equal(g->vcpu.cc, 0);
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(pci_dma_read(space(g), SDMA + i * 0x1000, &value, 4), 0);
		assert_int_equal(load_be32(&value), 77);
	}
}

static void refresh_checks_handle_registers_and_state(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(g->vcpu.cc, 3);
	guest_enable(g);
	assert_int_not_equal(zpci_insn_rpcit(g->zpci, &g->vcpu, 5, 7), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	g->vcpu.problem_state = true;
	assert_int_not_equal(guest_rpcit(g, SDMA, 0x1000), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
	g->vcpu.problem_state = false;
	guest_rpcit(g, SDMA, 0x1000); /* nothing registered */
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 8);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_INVALID_ADDRESS_SPACE);
	guest_rpcit(g, SDMA, 0x1000); /* in error by now */
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 40);
}

static void refresh_outside_the_registered_range_is_an_error(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_register_translation(g);
	guest_rpcit(g, 0x1000, 0x1000);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 8);
}

static void refresh_up_to_the_end_of_the_address_space_is_possible(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_register_translation(g);
	guest_rpcit(g, 0, UINT64_MAX);
	assert_int_equal(g->vcpu.cc, 0);
	guest_rpcit(g, SDMA, UINT64_MAX);
	assert_int_equal(g->vcpu.cc, 0);
	guest_rpcit(g, SDMA, 0);
	assert_int_equal(g->vcpu.cc, 0);
}

static void refresh_answers_cc_2_while_dma_to_a_lost_page_is_in_flight(void **state)
{
	struct guest *g = *state;
	struct pci_dma_range range = { SDMA, 0x1000 };
	struct pci_dma_access access;
	struct iovec iov;

	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	guest_map(g, SDMA + 0x1000, 0xa000, true);
	assert_int_equal(pci_dma_access_begin(space(g), &access, PCI_DMA_FROM_DEVICE, &range, 1,
					      &iov, 1),
			 1);
	assert_ptr_equal(iov.iov_base, guest_at(g, 0x9000));
	guest_unmap(g, SDMA);
	guest_rpcit(g, SDMA + 0x1000, 0x1000); /* another page */
	assert_int_equal(g->vcpu.cc, 0);
	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(g->vcpu.cc, 2);
	pci_dma_access_end(&access, 0x1000);
	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(g->vcpu.cc, 0);
}

/* What Linux does for all that was unmapped lately, while a disk has always something to do. */
static void refresh_of_everything_ends_while_the_device_is_never_idle(void **state)
{
	struct guest *g = *state;
	struct pci_dma_range busy = { SDMA, 0x2000 }, lost = { SDMA + 0x2000, 0x1000 };
	struct pci_dma_access access[2], last;
	struct iovec iov[5];

	guest_enable(g);
	guest_register_translation(g);
	for (unsigned i = 0; i < 3; i++)
		guest_map(g, SDMA + i * 0x1000, 0x9000 + i * 0x2000, true);
	assert_int_equal(pci_dma_access_begin(space(g), &last, PCI_DMA_FROM_DEVICE, &lost, 1,
					      iov + 4, 1),
			 1);
	pci_dma_access_begin(space(g), &access[0], PCI_DMA_FROM_DEVICE, &busy, 1, iov, 2);
	guest_unmap(g, SDMA + 0x2000);
	for (unsigned i = 1; i < 40; i++) {
		assert_int_equal(pci_dma_access_begin(space(g), &access[i % 2], PCI_DMA_TO_DEVICE,
						      &busy, 1, iov + i % 2 * 2, 2),
				 2);
		guest_rpcit(g, SDMA, 4 * GIB);
		assert_int_equal(g->vcpu.cc, i <= 10 ? 2 : 0);
		if (i == 10)
			pci_dma_access_end(&last, 0x1000);
		pci_dma_access_end(&access[(i + 1) % 2], 0);
	}
	guest_map(g, SDMA + 0x1000, 0x9000, true);
	guest_rpcit(g, SDMA, 4 * GIB);
	assert_int_equal(g->vcpu.cc, 2);
	pci_dma_access_end(&access[1], 0);
	guest_rpcit(g, SDMA, 4 * GIB);
	assert_int_equal(g->vcpu.cc, 0);
}

static void deregistration_answers_cc_2_while_dma_is_in_flight(void **state)
{
	struct guest *g = *state;
	struct pci_dma_range range = { SDMA, 0x1000 };
	struct pci_dma_access access;
	struct iovec iov;
	char byte;

	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	pci_dma_access_begin(space(g), &access, PCI_DMA_TO_DEVICE, &range, 1, &iov, 1);
	guest_mpcifc(g, 5);
	assert_int_equal(g->vcpu.cc, 2);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), -EPERM);
	pci_dma_access_end(&access, 0);
	guest_mpcifc(g, 5);
	assert_int_equal(g->vcpu.cc, 0);
}

/* A device that reads and writes all the time while the guest maps and unmaps. */
struct busy {
	struct guest *g;
	atomic_bool stop;
	atomic_uint violations;
	atomic_uint transfers;
};

/*
 * The guest writes 1 to a page before it maps it and 0 after RPCIT
 * has returned; the device looks while its access is in flight.
 */

static void *busy_device(void *opaque)
{
	struct busy *busy = opaque;
	struct pci_dma_range range = { SDMA, 0x1000 };
	struct pci_dma_access access;
	struct iovec iov;

	while (!busy->stop) {
		int n = pci_dma_access_begin(space(busy->g), &access, PCI_DMA_TO_DEVICE, &range, 1,
					     &iov, 1);

		if (n != 1)
			continue;
		/* The page may have been given to somebody else only after our end. */
		for (int i = 0; i < 50; i++) {
			if (__atomic_load_n((uint8_t *)iov.iov_base, __ATOMIC_RELAXED) != 1)
				busy->violations++;
		}
		pci_dma_access_end(&access, 0);
		busy->transfers++;
	}
	return NULL;
}

static void page_is_not_used_any_more_when_refresh_returns(void **state)
{
	struct guest *g = *state;
	struct busy busy = { .g = g };
	uint8_t *pages[2] = { guest_at(g, 0x9000), guest_at(g, 0xa000) };
	pthread_t thread;
	struct timespec start, now;

	guest_enable(g);
	guest_register_translation(g);
	__atomic_store_n(pages[0], 1, __ATOMIC_SEQ_CST);
	guest_map(g, SDMA, 0x9000, true);
	assert_int_equal(pthread_create(&thread, NULL, busy_device, &busy), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 1; i < 3000 || busy.transfers < 1000; i++) {
		/* Map the other page, refresh, and only then reuse the one before. */
		__atomic_store_n(pages[i % 2], 1, __ATOMIC_SEQ_CST);
		__atomic_store_n((uint64_t *)guest_at(g, TABLES_AT + 0x8000),
				 be64_of(i % 2 ? 0xa000 : 0x9000).raw, __ATOMIC_SEQ_CST);
		do {
			guest_rpcit(g, SDMA, 0x1000);
		} while (g->vcpu.cc == 2);
		assert_int_equal(g->vcpu.cc, 0);
		__atomic_store_n(pages[(i + 1) % 2], 0, __ATOMIC_SEQ_CST);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > 20)
			break;
	}
	busy.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(busy.violations, 0);
	assert_true(busy.transfers >= 1000);
}

int main(void)
{
#define WALK(name) cmocka_unit_test_setup(name, walk_setup)
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		WALK(walk_of_three_levels_finds_the_page),
		WALK(walk_starts_at_the_level_that_the_designation_says),
		WALK(bits_to_the_left_of_what_the_table_covers_are_ignored),
		WALK(page_table_can_be_designated_without_one_above),
		WALK(invalid_entry_at_any_level_has_no_translation),
		WALK(entry_of_zeros_is_an_invalid_table_entry),
		WALK(protection_at_any_level_counts),
		WALK(malformed_region_entries_have_codes_of_their_own),
		WALK(segment_and_region_third_entries_can_designate_frames),
		WALK(designation_of_a_frame_needs_no_table),
		WALK(table_outside_memory_is_an_invalid_table_entry),
		WALK(range_is_walked_in_runs),
		WALK(runs_join_across_page_tables),
		WALK(walk_of_a_range_stops_at_its_budget_and_goes_on),
		WALK(frames_without_a_table_use_up_the_budget_too),
		WALK(walk_of_a_range_reports_what_is_wrong_where_it_is),
		WALK(range_may_end_with_the_address_space),
		TEST(dma_goes_where_the_tables_say),
		TEST(translation_registers_once_and_deregisters_once),
		TEST(registration_checks_range_and_designation),
		TEST(address_outside_the_registered_range_is_an_error),
		TEST(key_in_the_designation_is_compared_with_storage_keys),
		cmocka_unit_test(function_without_translation_sees_memory_at_sdma),
		cmocka_unit_test(guest_switches_between_translation_and_none),
		cmocka_unit_test(direct_mapping_is_refused_where_the_aperture_is_too_small),
		TEST(refresh_takes_a_page_away),
		TEST(entry_that_was_made_valid_needs_no_refresh),
		TEST(refresh_of_the_whole_aperture_takes_everything_away),
		TEST(refresh_checks_handle_registers_and_state),
		TEST(refresh_outside_the_registered_range_is_an_error),
		TEST(refresh_up_to_the_end_of_the_address_space_is_possible),
		TEST(refresh_answers_cc_2_while_dma_to_a_lost_page_is_in_flight),
		TEST(refresh_of_everything_ends_while_the_device_is_never_idle),
		TEST(deregistration_answers_cc_2_while_dma_is_in_flight),
		TEST(page_is_not_used_any_more_when_refresh_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
