/* SPDX-License-Identifier: MIT */
/*
 * Purging the TLBs of all CPUs while one of them executes an instruction that the machine
 * handles, as those of PCI: nobody waits for it, and nothing old is used behind it.
 *
 * The purging CPU executes on the thread of the test; the other on one of its own, with
 * dynamic address translation on: page PAGE leads to frame 0 or 1.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu_fixture.h"

#define LIMIT_SECONDS 20
#define CALLS 1000

#define OTHER_CODE 0x4000u
#define OTHER_PREFIX 0x6000u
#define LOCK_WORD 0x8000u /* of COMPARE AND SWAP AND PURGE */
#define SEGMENTS 0x10000u
#define PAGES 0x11000u
#define PAGE 0x80000u
#define FRAME(i) (0x100000u + (i) * 0x1000u)

static struct cpu_fixture *fixture;
static atomic_bool in_handler, go_on, gave_up, reads, quit;
static atomic_uint calls, stale;
static int read_result;
static uint64_t read_value;

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void wait_for(atomic_bool *condition)
{
	time_t until = seconds() + LIMIT_SECONDS;

	while (!*condition && seconds() <= until)
		usleep(10);
	assert_true(*condition);
}

/* Of a device that does not answer. */
static int handle_slowly(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	time_t until = seconds() + LIMIT_SECONDS;

	in_handler = true;
	while (!go_on && !gave_up) {
		usleep(10);
		gave_up = seconds() > until;
	}
	read_result = reads ? vcpu_read(v, PAGE, 0, &read_value, 8) : 0;
	return read_result;
}

/* Who looks at the page whenever it likes may find 1 only. */
static int handle_often(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	unsigned int spins = calls++ * 7919 % 5000;
	uint8_t value[8];

	if (quit)
		return vcpu_program(v, PGM_OPERAND);
	for (atomic_uint i = 0; i < spins; i++)
		;
	if (vcpu_read(v, PAGE, 0, value, 8) || load_be64(value) != 1)
		stale++;
	for (atomic_uint i = 0; i < spins; i++)
		;
	return 0;
}

static void map_page(unsigned int frame)
{
	__atomic_store_n((uint64_t *)(fixture->memory + PAGES + 8 * (PAGE >> 12)),
			 be64_of(FRAME(frame)).raw, __ATOMIC_SEQ_CST);
}

static void fill(unsigned int frame, uint64_t value)
{
	__atomic_store_n((uint64_t *)(fixture->memory + FRAME(frame)), be64_of(value).raw,
			 __ATOMIC_SEQ_CST);
}

static int setup(void **state)
{
	struct cpu_state *s;

	cpu_fixture_setup(state);
	fixture = *state;
	for (unsigned int i = 0; i < 512; i++)
		store_be64(fixture->memory + SEGMENTS + 8 * i, i ? 0x20 : PAGES);
	for (unsigned int i = 0; i < 256; i++)
		store_be64(fixture->memory + PAGES + 8 * i, i * 0x1000);
	map_page(0);
	fill(0, 0x0101010101010101);
	fill(1, 0x0202020202020202);
	vcpu_clear_reset(fixture->other);
	s = vcpu_state(fixture->other);
	s->prefix = OTHER_PREFIX;
	s->cr[1] = SEGMENTS;
	s->psw_mask = PSW_EA | PSW_BA | PSW_DAT;
	s->psw_addr = OTHER_CODE;
	s->gr[7] = PAGE;
	store_be64(fixture->memory + OTHER_PREFIX + LC_PGM_NEW_PSW, PSW_EA | PSW_BA | PSW_WAIT);
	store_be64(fixture->memory + OTHER_PREFIX + LC_PGM_NEW_PSW + 8, 0);
	in_handler = go_on = gave_up = reads = quit = false;
	calls = stale = 0;
	read_value = 0;
	return 0;
}

static void *run(void *opaque)
{
	enum vcpu_exit why;

	do
		why = vcpu_run(fixture->other);
	while (why == VCPU_EXIT_REQUEST);
	return NULL;
}

static pthread_t start(const uint8_t *program, size_t size, cpu_insn_handler *handler)
{
	pthread_t thread;

	assert_int_equal(cpu_complex_set_handler(fixture->complex, 0xb9d2, handler), 0);
	memcpy(fixture->memory + OTHER_CODE, program, size);
	vcpu_state_changed(fixture->other);
	vcpu_start(fixture->other);
	assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
	return thread;
}

static unsigned int code_of_other(void)
{
	return load_be16(fixture->memory + OTHER_PREFIX + LC_PGM_CODE);
}

static const uint8_t once[] = {
	0xe3, 0x40, 0x70, 0x00, 0x00, 0x04, /* lg %r4,0(%r7) */
	0xb9, 0xd2, 0x00, 0x12,             /* pcilg %r1,%r2 */
	0xe3, 0x50, 0x70, 0x00, 0x00, 0x04, /* lg %r5,0(%r7) */
	0x00, 0x00,
};

/* INVALIDATE PAGE TABLE ENTRY for the page, while the other CPU waits for its device. */
static pthread_t invalidate_meanwhile(void)
{
	pthread_t thread = start(once, sizeof(once), handle_slowly);
	unsigned int cc;

	wait_for(&in_handler);
	fixture->s->gr[1] = PAGES;
	fixture->s->gr[2] = PAGE;
	assert_int_equal(cpu_execute(fixture, "b2210012", &cc), 0);
	assert_false(gave_up); /* it would have waited for the handler */
	return thread;
}

static void end(pthread_t thread)
{
	go_on = true;
	pthread_join(thread, NULL);
}

static void purge_does_not_wait_for_a_handler(void **state)
{
	pthread_t thread = invalidate_meanwhile();

	map_page(1);
	end(thread);
	assert_int_equal(code_of_other(), PGM_OPERATION);
	assert_int_equal(vcpu_state(fixture->other)->gr[4], 0x0101010101010101);
	/* In the same block, without a branch in between. */
	assert_int_equal(vcpu_state(fixture->other)->gr[5], 0x0202020202020202);
}

static void handler_sees_what_was_purged_meanwhile(void **state)
{
	pthread_t thread = invalidate_meanwhile();

	reads = true;
	map_page(1);
	end(thread);
	assert_int_equal(code_of_other(), PGM_OPERATION);
	assert_int_equal(read_result, 0);
	assert_int_equal(read_value, 0x0202020202020202);
	assert_int_equal(vcpu_state(fixture->other)->gr[5], 0x0202020202020202);
}

static void handler_finds_an_invalid_page(void **state)
{
	pthread_t thread = invalidate_meanwhile();

	reads = true;
	end(thread);
	assert_int_equal(code_of_other(), PGM_PAGE_TRANSLATION);
	assert_int_not_equal(read_result, 0);
	assert_int_equal(vcpu_state(fixture->other)->gr[5], 0);
}

/* As many loads as GR9 has been made less by, of 1 each; the last ends half-way. */
static const uint8_t often[] = {
	0xe3, 0x40, 0x70, 0x00, 0x00, 0x04, /* lg %r4,0(%r7) */
	0xb9, 0x08, 0x00, 0x84,             /* agr %r8,%r4 */
	0xb9, 0xd2, 0x00, 0x12,             /* pcilg %r1,%r2 */
	0xe3, 0x40, 0x70, 0x00, 0x00, 0x04, /* lg %r4,0(%r7) */
	0xb9, 0x08, 0x00, 0x84,             /* agr %r8,%r4 */
	0xa7, 0x9b, 0xff, 0xfe,             /* aghi %r9,-2 */
	0xa7, 0xf4, 0xff, 0xf2,             /* j .-28 */
};

static void nothing_is_used_behind_a_purge(void **state)
{
	struct cpu_fixture *f = fixture;
	struct cpu_state *s;
	time_t until = seconds() + LIMIT_SECONDS;
	pthread_t thread;
	unsigned int cc;

	fill(0, 1);
	thread = start(often, sizeof(often), handle_often);
	for (unsigned int i = 1; calls < CALLS && seconds() < until; i++) {
		fill(i % 2, 1);
		map_page(i % 2);
		/* COMPARE AND SWAP AND PURGE: the TLBs of all CPUs. */
		f->s->gr[2] = LOCK_WORD | 1;
		f->s->gr[4] = f->s->gr[5] = 0;
		assert_int_equal(cpu_execute(f, "b2500042", &cc), 0);
		assert_int_equal(cc, 0);
		fill((i + 1) % 2, 0);
	}
	quit = true;
	pthread_join(thread, NULL);
	assert_int_equal(code_of_other(), PGM_OPERAND);
	assert_true(calls > 0);
	assert_int_equal(stale, 0);
	s = vcpu_state(f->other);
	assert_int_equal(s->gr[8] + s->gr[9], 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cpu_fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(purge_does_not_wait_for_a_handler),
		TEST(handler_sees_what_was_purged_meanwhile),
		TEST(handler_finds_an_invalid_page),
		TEST(nothing_is_used_behind_a_purge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
