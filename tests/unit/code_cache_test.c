/* SPDX-License-Identifier: MIT */
/*
 * The cache of decoded code against guests that mean it ill: one that decodes ever
 * more code and never lets go, and a device that stores into code meanwhile. And against a
 * device that nobody sees store.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "cpu/soft/complex.h"
#include "cpu_fixture.h"

#define FIELD 0x10000u
#define RETURN 0x07fe /* BR 14 */

/*
 * All of memory from FIELD on is returns; a loop calls each of them, so that every
 * halfword begins a block: many times what the cache holds. No interruption is
 * enabled that would make the CPU look up.
 */
static void call_every_halfword(struct cpu_fixture *f)
{
	unsigned int cc;

	for (uint32_t at = FIELD; at < CPU_MEMORY; at += 2)
		store_be16(f->memory + at, RETURN);
	f->s->gr[1] = FIELD;
	f->s->gr[2] = (CPU_MEMORY - FIELD) / 2;
	/* BASR 14,1; LA 1,2(1); BRCT 2,*-6 */
	assert_int_equal(cpu_execute(f, "0de141101002a726fffd", &cc), PGM_NONE);
	assert_int_equal(f->s->gr[1], CPU_MEMORY);
}

static void decoded_code_is_bounded_whatever_a_guest_executes(void **state)
{
	struct cpu_fixture *f = *state;
	/* At least: a block for each halfword, of the return and its closing op. */
	size_t decoded = (CPU_MEMORY - FIELD) / 2 * (sizeof(struct block) + 2 * sizeof(struct op));

	call_every_halfword(f);
	assert_true(f->complex->code.flushes >= decoded / (CODE_MAX_BYTES + CODE_CHUNK_BYTES));
}

struct device {
	struct cpu_fixture *f;
	atomic_bool end;
};

/* It writes what is there already: the CPU has to decode it again, nothing else changes. */
static void *device_thread(void *opaque)
{
	struct device *d = opaque;

	while (!atomic_load(&d->end))
		for (uint32_t at = FIELD; at < CPU_MEMORY; at += 1024)
			cpu_complex_memory_written(d->f->complex, at, 64);
	return NULL;
}

static void a_device_stores_into_code_while_the_full_cache_is_emptied(void **state)
{
	struct cpu_fixture *f = *state;
	struct device d = { .f = f };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, device_thread, &d), 0);
	for (unsigned int i = 0; i < 3; i++)
		call_every_halfword(f);
	atomic_store(&d.end, true);
	pthread_join(thread, NULL);
	assert_true(f->complex->code.flushes > 0);
}

#define PROGRAM 0x20000u
#define PTLB "b20d0000"

/* LGHI 2,value, then an operation exception. */
static void put_program(struct cpu_fixture *f, uint16_t value)
{
	store_be32(f->memory + PROGRAM, 0xa7290000u | value);
	store_be16(f->memory + PROGRAM + 4, 0);
}

static uint64_t result(struct cpu_fixture *f)
{
	assert_int_equal(cpu_execute_at(f, PROGRAM), PGM_OPERATION);
	return f->s->gr[2];
}

static void purge(struct cpu_fixture *f)
{
	unsigned int cc;

	assert_int_equal(cpu_execute(f, PTLB, &cc), PGM_NONE);
}

static void unseen_stores_are_seen_when_the_page_is_translated_anew(void **state)
{
	struct cpu_fixture *f = *state;

	put_program(f, 1);
	assert_int_equal(result(f), 1);
	/* Who stores without telling, and has not said that he would, is not noticed. */
	put_program(f, 2);
	purge(f);
	assert_int_equal(result(f), 1);
	cpu_complex_stores_unseen(f->complex, true);
	purge(f);
	assert_int_equal(result(f), 2);
	for (uint16_t value = 3; value < 10; value++) {
		put_program(f, value);
		purge(f);
		assert_int_equal(result(f), value);
	}
	/* What is stored until the end counts. */
	put_program(f, 10);
	cpu_complex_stores_unseen(f->complex, false);
	assert_int_equal(result(f), 10);
}

static void code_that_has_not_changed_is_kept(void **state)
{
	struct cpu_fixture *f = *state;
	const struct op *ops;

	cpu_complex_stores_unseen(f->complex, true);
	put_program(f, 1);
	assert_int_equal(result(f), 1);
	ops = code_find(f->vcpu, PROGRAM);
	f->memory[PROGRAM + 6] ^= 1; /* behind it, in the same piece */
	purge(f);
	assert_int_equal(result(f), 1);
	assert_ptr_equal(code_find(f->vcpu, PROGRAM), ops);
}

static void the_code_of_an_instruction_that_crosses_pages_is_compared(void **state)
{
	struct cpu_fixture *f = *state;
	uint8_t *end = f->memory + PROGRAM + PAGE_SIZE;

	cpu_complex_stores_unseen(f->complex, true);
	store_be32(end - 2, 0xa7290001u);
	store_be16(end + 2, 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(cpu_execute_at(f, PROGRAM + PAGE_SIZE - 2), PGM_OPERATION);
		assert_int_equal(f->s->gr[2], 1);
		purge(f);
	}
	store_be16(end - 2, 0); /* no instruction */
	purge(f);
	assert_int_equal(cpu_execute_at(f, PROGRAM + PAGE_SIZE - 2), PGM_OPERATION);
	assert_int_equal(f->old_psw_addr, PROGRAM + PAGE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(decoded_code_is_bounded_whatever_a_guest_executes,
						cpu_fixture_setup, cpu_fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_device_stores_into_code_while_the_full_cache_is_emptied,
			cpu_fixture_setup, cpu_fixture_teardown),
		cmocka_unit_test_setup_teardown(
			unseen_stores_are_seen_when_the_page_is_translated_anew,
			cpu_fixture_setup, cpu_fixture_teardown),
		cmocka_unit_test_setup_teardown(code_that_has_not_changed_is_kept,
						cpu_fixture_setup, cpu_fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_code_of_an_instruction_that_crosses_pages_is_compared,
			cpu_fixture_setup, cpu_fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
