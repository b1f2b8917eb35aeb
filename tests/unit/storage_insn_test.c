/* SPDX-License-Identifier: MIT */
/* Control instructions about tables, keys and frames; the tables lie at the addresses below. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "cpu_fixture.h"

#define SEGMENTS 0x10000u
#define PAGES 0x20000u
#define VALID_SEGMENTS (SEGMENTS | ASCE_TYPE_SEGMENT)

static unsigned int execute(struct cpu_fixture *f, const char *insn)
{
	unsigned int cc;

	assert_int_equal(cpu_execute(f, insn, &cc), PGM_NONE);
	return cc;
}

static unsigned int interruption(struct cpu_fixture *f, const char *insn)
{
	unsigned int cc;

	return cpu_execute(f, insn, &cc);
}

/* Segment 0 has a page table; page 1 is at 0x5000, page 2 invalid. Segment 1 is invalid. */
static void make_tables(struct cpu_fixture *f)
{
	store_be64(f->memory + SEGMENTS, PAGES);
	store_be64(f->memory + SEGMENTS + 8, SEGMENT_INVALID);
	store_be64(f->memory + PAGES + 8, 0x5000);
	store_be64(f->memory + PAGES + 16, PTE_INVALID);
	f->s->cr[1] = VALID_SEGMENTS;
	f->s->gr[2] = 0x1111222233334444;
}

static void lra_tells_where_the_invalid_entry_is(void **state)
{
	struct cpu_fixture *f = *state;

	make_tables(f);
	f->s->gr[1] = 0x1234;
	assert_int_equal(execute(f, "e32010000003"), 0);
	assert_int_equal(f->s->gr[2], 0x5234);
	f->s->gr[1] = 0x2000;
	assert_int_equal(execute(f, "e32010000003"), 2);
	assert_int_equal(f->s->gr[2], PAGES + 16);
	f->s->gr[1] = 0x100000;
	assert_int_equal(execute(f, "e32010000003"), 1);
	assert_int_equal(f->s->gr[2], SEGMENTS + 8);
}

static void lra_tells_the_code_of_any_other_exception_and_keeps_the_left_half(void **state)
{
	struct cpu_fixture *f = *state;

	make_tables(f);
	f->s->gr[1] = 0x80000000;
	assert_int_equal(execute(f, "e32010000003"), 3);
	assert_int_equal(f->s->gr[2], 0x1111222280000000ull | PGM_ASCE_TYPE);
	f->s->gr[1] = 0x40000000; /* behind the end of a table of 4 KiB */
	assert_int_equal(execute(f, "e32010000003"), 3);
	assert_int_equal(f->s->gr[2], 0x1111222280000000ull | PGM_SEGMENT_TRANSLATION);
}

/* CRDTE 4,6 with the ASCE in 0: 4 compared, 5 replaces, table in 6, address in 7. */
static void crdte_replaces_entries_of_every_type_of_table(void **state)
{
	static const struct { unsigned int type, shift; } types[] = {
		{ 0x00, 12 }, { 0x10, 20 }, { 0x14, 31 }, { 0x18, 42 }, { 0x1c, 53 },
	};
	struct cpu_fixture *f = *state;

	for (unsigned int i = 0; i < 5; i++) {
		store_be64(f->memory + SEGMENTS + 24, 0x1234);
		f->s->gr[4] = 0x1234;
		f->s->gr[5] = 0x5678;
		f->s->gr[6] = SEGMENTS | types[i].type;
		f->s->gr[7] = 3ull << types[i].shift;
		assert_int_equal(execute(f, "b98f0046"), 0);
		assert_int_equal(load_be64(f->memory + SEGMENTS + 24), 0x5678);
	}
	f->s->gr[6] = SEGMENTS | 0x11;
	assert_int_equal(interruption(f, "b98f0046"), PGM_SPECIFICATION);
	f->s->gr[6] = SEGMENTS | 0x04;
	assert_int_equal(interruption(f, "b98f0046"), PGM_SPECIFICATION);
}

static void idte_goes_on_at_the_first_entry_behind_the_last(void **state)
{
	struct cpu_fixture *f = *state;

	f->s->gr[4] = SEGMENTS;
	f->s->gr[6] = 2047ull << 20 | 1; /* the last entry, and one more */
	execute(f, "b98e0046");
	assert_int_equal(load_be64(f->memory + SEGMENTS + 8 * 2047), SEGMENT_INVALID);
	assert_int_equal(load_be64(f->memory + SEGMENTS), SEGMENT_INVALID);
	assert_int_equal(load_be64(f->memory + SEGMENTS + 8), 0);
	assert_int_equal(load_be64(f->memory + SEGMENTS + 8 * 2048), 0);
}

static unsigned int key_at(struct cpu_fixture *f, uint64_t address)
{
	f->s->gr[9] = address;
	f->s->gr[8] = 0;
	execute(f, "b2290089"); /* ISKE 8,9 */
	return (unsigned int)f->s->gr[8];
}

static void pfmf_sets_the_key_unless_only_what_it_may_ignore_differs(void **state)
{
	struct cpu_fixture *f = *state;

	f->s->gr[5] = 0x30000;
	f->s->gr[4] = 0x20000 | 0x10;
	execute(f, "b9af0045");
	assert_int_equal(key_at(f, 0x30000), 0x10);
	f->s->gr[4] = 0x20000 | 0x600 | 0x16; /* reference and change ignored: nothing differs */
	execute(f, "b9af0045");
	assert_int_equal(key_at(f, 0x30000), 0x10);
	f->s->gr[4] = 0x20000 | 0x600 | 0x24;
	execute(f, "b9af0045");
	assert_int_equal(key_at(f, 0x30000), 0x24);
}

struct caller {
	struct vcpu *vcpu;
	atomic_bool end;
};

static void *call(void *opaque)
{
	struct caller *caller = opaque;

	while (!atomic_load(&caller->end))
		vcpu_request_exit(caller->vcpu);
	return NULL;
}

static void pfmf_clears_a_large_frame_however_often_it_is_interrupted(void **state)
{
	struct cpu_fixture *f = *state;
	struct caller caller = { .vcpu = f->vcpu };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
	for (unsigned int i = 0; i < 20; i++) {
		memset(f->memory + MIB, 0xee, MIB);
		f->s->gr[4] = 0x11000;
		f->s->gr[5] = MIB;
		execute(f, "b9af0045");
		assert_int_equal(f->s->gr[5], 2 * MIB);
		for (uint32_t at = MIB; at < 2 * MIB; at++)
			assert_int_equal(f->memory[at], 0);
	}
	atomic_store(&caller.end, true);
	pthread_join(thread, NULL);
}

static void mvcos_wants_secondary_space_control_for_the_secondary_space(void **state)
{
	struct cpu_fixture *f = *state;

	f->mask |= PSW_DAT;
	f->s->cr[1] = f->s->cr[7] = ASCE_REAL_SPACE;
	f->s->gr[0] = 0x81; /* operand 2: AS secondary, valid */
	f->s->gr[1] = 0x30000;
	f->s->gr[3] = 0x31000;
	f->s->gr[2] = 8;
	assert_int_equal(interruption(f, "c82010003000"), PGM_SPECIAL_OPERATION);
	f->s->cr[0] |= CR0_SECONDARY_SPACE;
	memcpy(f->memory + 0x31000, "eightlet", 8);
	assert_int_equal(execute(f, "c82010003000"), 0);
	assert_memory_equal(f->memory + 0x30000, "eightlet", 8);
}

/*
 * AR mode, with the ALET of entry 2 in access register 3: a space of its own, of real
 * addresses, behind an entry that `first_word` says more about.
 */
static void make_access_list(struct cpu_fixture *f, uint32_t first_word)
{
	const uint32_t duct = 0x40000, list = 0x41000, aste = 0x42000;

	f->mask |= PSW_DAT | PSW_ASC_AR;
	f->s->cr[1] = ASCE_REAL_SPACE;
	f->s->cr[2] = duct;
	f->s->ar[3] = 2;
	store_be32(f->memory + duct + 16, list);
	store_be32(f->memory + list + 32, first_word);
	store_be32(f->memory + list + 40, aste);
	store_be64(f->memory + aste + 8, ASCE_REAL_SPACE);
}

static void a_fetch_only_access_list_entry_forbids_stores(void **state)
{
	struct cpu_fixture *f = *state;

	make_access_list(f, 0x02000000);
	f->s->gr[3] = 0x30000;
	store_be64(f->memory + 0x30000, 0x1234);
	execute(f, "e32030000004"); /* LG 2,0(3) */
	assert_int_equal(f->s->gr[2], 0x1234);
	assert_int_equal(interruption(f, "e32030000024"), PGM_PROTECTION); /* STG */
	assert_int_equal(execute(f, "e50130000000"), 1); /* TPROT */
	store_be32(f->memory + 0x41020, 0);
	execute(f, "e32030000024");
	assert_int_equal(execute(f, "e50130000000"), 0);
}

static void mvck_uses_access_registers(void **state)
{
	struct cpu_fixture *f = *state;

	make_access_list(f, 0x80000000); /* invalid */
	f->s->gr[1] = 0x30000;
	f->s->gr[3] = 0x31000;
	f->s->gr[2] = 8;
	assert_int_equal(interruption(f, "d92410003000"), PGM_ALEN_TRANSLATION);
	store_be32(f->memory + 0x41020, 0);
	memcpy(f->memory + 0x31000, "eightlet", 8);
	assert_int_equal(execute(f, "d92410003000"), 0);
	assert_memory_equal(f->memory + 0x30000, "eightlet", 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cpu_fixture_setup, cpu_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lra_tells_where_the_invalid_entry_is),
		TEST(lra_tells_the_code_of_any_other_exception_and_keeps_the_left_half),
		TEST(crdte_replaces_entries_of_every_type_of_table),
		TEST(idte_goes_on_at_the_first_entry_behind_the_last),
		TEST(pfmf_sets_the_key_unless_only_what_it_may_ignore_differs),
		TEST(pfmf_clears_a_large_frame_however_often_it_is_interrupted),
		TEST(mvcos_wants_secondary_space_control_for_the_secondary_space),
		TEST(a_fetch_only_access_list_entry_forbids_stores),
		TEST(mvck_uses_access_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
