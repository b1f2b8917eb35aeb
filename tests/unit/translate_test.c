/* SPDX-License-Identifier: MIT */
/* vcpu_translate(): what a handler of the machine learns of an address, or which exception. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "cpu_fixture.h"

#define MODE (PSW_EA | PSW_BA)
#define LOAD "b9d20012"  /* PCILG 1,2, which the handlers below take over */
#define STORE "b9d00012" /* PCISTG 1,2 */

/* A segment table for the first 2 GiB, and a page table for its first megabyte. */
#define SEGMENTS 0x10000u
#define PAGES 0x14000u
#define REGISTERS 0x8000123456789000ull /* not in memory */

static int translate(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	bool write = (insn->raw >> 48 & 0xff) == 0xd0;
	uint64_t absolute;

	if (vcpu_translate(v, vcpu_gr(v, 2), 2, write, &absolute))
		return -1;
	vcpu_set_gr(v, 1, absolute);
	return 0;
}

static int setup(void **state)
{
	struct cpu_fixture *f;

	cpu_fixture_setup(state);
	f = *state;
	assert_int_equal(cpu_complex_set_handler(f->complex, 0xb9d2, translate), 0);
	assert_int_equal(cpu_complex_set_handler(f->complex, 0xb9d0, translate), 0);
	return 0;
}

static unsigned int execute(struct cpu_fixture *f, const char *insn, uint64_t address)
{
	unsigned int cc;

	f->s->gr[1] = 0;
	f->s->gr[2] = address;
	return cpu_execute(f, insn, &cc);
}

/* Translation on; page 5 is where registers are, page 6 too and protected. */
static void turn_translation_on(struct cpu_fixture *f)
{
	for (unsigned int i = 0; i < 2048; i++)
		store_be64(f->memory + SEGMENTS + 8 * i, SEGMENT_INVALID);
	store_be64(f->memory + SEGMENTS, PAGES);
	for (unsigned int i = 0; i < 256; i++)
		store_be64(f->memory + PAGES + 8 * i, (uint64_t)i << PAGE_SHIFT);
	store_be64(f->memory + PAGES + 8 * 5, REGISTERS);
	store_be64(f->memory + PAGES + 8 * 6, REGISTERS | PTE_PROTECT);
	store_be64(f->memory + PAGES + 8 * 7, PTE_INVALID);
	f->s->cr[1] = SEGMENTS | ASCE_TYPE_SEGMENT | ASCE_LENGTH;
	f->mask = MODE | PSW_DAT;
}

static void address_outside_memory_is_given(void **state)
{
	struct cpu_fixture *f = *state;

	assert_int_equal(execute(f, LOAD, 0x8000000000000123), PGM_NONE);
	assert_int_equal(f->s->gr[1], 0x8000000000000123);
	turn_translation_on(f);
	assert_int_equal(execute(f, LOAD, 0x5678), PGM_NONE);
	assert_int_equal(f->s->gr[1], REGISTERS | 0x678);
	assert_int_equal(execute(f, STORE, 0x5678), PGM_NONE);
	assert_int_equal(f->s->gr[1], REGISTERS | 0x678);
	assert_int_equal(execute(f, LOAD, 0x6ff8), PGM_NONE);
	assert_int_equal(f->s->gr[1], REGISTERS | 0xff8);
}

static void what_the_tables_forbid_is_an_exception(void **state)
{
	struct cpu_fixture *f = *state;

	turn_translation_on(f);
	assert_int_equal(execute(f, STORE, 0x6ff8), PGM_PROTECTION);
	assert_int_equal(load_be64(f->memory + LC_TEID) & PAGE_MASK, 0x6000);
	assert_int_equal(execute(f, LOAD, 0x7123), PGM_PAGE_TRANSLATION);
	assert_int_equal(load_be64(f->memory + LC_TEID) & PAGE_MASK, 0x7000);
	assert_int_equal(execute(f, LOAD, 0x100000), PGM_SEGMENT_TRANSLATION);
	assert_int_equal(execute(f, LOAD, 0x80000000), PGM_ASCE_TYPE);
	assert_int_equal(f->s->gr[1], 0);
}

static void address_is_one_of_the_addressing_mode(void **state)
{
	struct cpu_fixture *f = *state;

	turn_translation_on(f);
	f->mask = PSW_BA | PSW_DAT;
	assert_int_equal(execute(f, LOAD, 0xffffffff80005678), PGM_NONE);
	assert_int_equal(f->s->gr[1], REGISTERS | 0x678);
}

static void memory_is_protected_from_it_as_from_an_access(void **state)
{
	struct cpu_fixture *f = *state;

	/* Storage key 2 with fetch protection for page 9, as SSKE sets it. */
	f->s->gr[3] = 0x28;
	f->s->gr[4] = 0x9000;
	assert_int_equal(execute(f, "b22b0034", 0), PGM_NONE);
	assert_int_equal(execute(f, STORE, 0x9000), PGM_NONE);
	f->mask = MODE | 1ull << PSW_KEY_SHIFT;
	assert_int_equal(execute(f, LOAD, 0x9000), PGM_PROTECTION);
	assert_int_equal(execute(f, STORE, 0x9000), PGM_PROTECTION);
	f->mask = MODE | 2ull << PSW_KEY_SHIFT;
	assert_int_equal(execute(f, STORE, 0x9000), PGM_NONE);
	/* Outside of memory there are no keys. */
	assert_int_equal(execute(f, STORE, REGISTERS), PGM_NONE);

	f->mask = MODE;
	f->s->cr[0] |= CR0_LOW_ADDRESS_PROTECTION;
	assert_int_equal(execute(f, STORE, 0x1ff), PGM_PROTECTION);
	assert_int_equal(execute(f, LOAD, 0x1ff), PGM_NONE);
	assert_int_equal(execute(f, STORE, 0x200), PGM_NONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cpu_fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(address_outside_memory_is_given),
		TEST(what_the_tables_forbid_is_an_exception),
		TEST(address_is_one_of_the_addressing_mode),
		TEST(memory_is_protected_from_it_as_from_an_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
