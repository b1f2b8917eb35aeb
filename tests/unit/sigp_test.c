/* SPDX-License-Identifier: MIT */
/* SIGNAL PROCESSOR: what an order does to a CPU that runs, waits, stops, has stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "cpu/soft/complex.h"
#include "cpu_fixture.h"

#define MODE (PSW_EA | PSW_BA)

#define START "ae310004" /* SIGP 3,1,order; CPU 1 is in register 1 */
#define STOP "ae310005"
#define RESTART "ae310006"
#define INITIAL_RESET "ae31000b"
#define SENSE "ae310001"

static unsigned int order(struct cpu_fixture *f, const char *insn)
{
	unsigned int cc;

	f->told = NULL;
	f->s->gr[1] = 1;
	assert_int_equal(cpu_execute(f, insn, &cc), PGM_NONE);
	return cc;
}

/* The other CPU loads a wait PSW that admits nothing, and its thread is out of vcpu_run(). */
static void put_other_into_disabled_wait(struct cpu_fixture *f, uint64_t address)
{
	vcpu_state(f->other)->psw_mask = MODE | PSW_WAIT;
	vcpu_state(f->other)->psw_addr = address;
	vcpu_start(f->other);
	assert_int_equal(vcpu_run(f->other), VCPU_EXIT_DISABLED_WAIT);
}

static void restart_ends_a_disabled_wait(void **state)
{
	struct cpu_fixture *f = *state;

	put_other_into_disabled_wait(f, 0x1234);
	store_be64(f->memory + LC_RESTART_NEW_PSW, MODE | PSW_WAIT);
	store_be64(f->memory + LC_RESTART_NEW_PSW + 8, 0x5678);
	assert_int_equal(order(f, RESTART), 0);
	assert_ptr_equal(f->told, f->other);
	assert_int_equal(vcpu_run(f->other), VCPU_EXIT_DISABLED_WAIT);
	assert_int_equal(vcpu_state(f->other)->psw_addr, 0x5678);
	assert_int_equal(load_be64(f->memory + LC_RESTART_OLD_PSW + 8), 0x1234);
}

static void a_cpu_in_a_disabled_wait_can_be_stopped_and_reset(void **state)
{
	struct cpu_fixture *f = *state;

	put_other_into_disabled_wait(f, 0x1234);
	assert_int_equal(order(f, INITIAL_RESET), 2);
	assert_ptr_equal(f->told, f->other);
	assert_int_equal(vcpu_run(f->other), VCPU_EXIT_STOPPED);
	assert_int_equal(vcpu_state(f->other)->psw_addr, 0);
	assert_int_equal(order(f, INITIAL_RESET), 0);
	assert_int_equal(order(f, SENSE), 1);
	assert_int_equal(f->s->gr[3], 0x40);
}

static void a_cpu_that_is_stopping_is_busy_for_orders_that_start_it(void **state)
{
	struct cpu_fixture *f = *state;

	put_other_into_disabled_wait(f, 0x1234);
	assert_int_equal(order(f, STOP), 0);
	assert_int_equal(order(f, START), 2);
	assert_int_equal(order(f, RESTART), 2);
	assert_int_equal(vcpu_run(f->other), VCPU_EXIT_STOPPED);
	assert_int_equal(order(f, START), 0);
	assert_int_equal(vcpu_state(f->other)->stopped, 0);
}

static void an_emergency_signal_that_was_taken_does_not_come_again(void **state)
{
	struct cpu_fixture *f = *state;

	/* As if its sender were held up behind the first of its two steps. */
	atomic_fetch_or(&f->other->pending, PENDING_EMERGENCY);
	vcpu_state(f->other)->cr[0] |= CR0_EMERGENCY_SIGNAL;
	vcpu_state(f->other)->psw_mask = MODE | PSW_WAIT | PSW_EXT;
	vcpu_state(f->other)->psw_addr = 0x1234;
	store_be64(f->memory + LC_EXT_NEW_PSW, MODE | PSW_WAIT);
	vcpu_start(f->other);
	vcpu_request_exit(f->other);
	assert_int_equal(vcpu_run(f->other), VCPU_EXIT_REQUEST);
	assert_int_equal(vcpu_state(f->other)->psw_addr, 0x1234);
	assert_int_equal(load_be16(f->memory + LC_EXT_CODE), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cpu_fixture_setup, cpu_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(restart_ends_a_disabled_wait),
		TEST(a_cpu_in_a_disabled_wait_can_be_stopped_and_reset),
		TEST(a_cpu_that_is_stopping_is_busy_for_orders_that_start_it),
		TEST(an_emergency_signal_that_was_taken_does_not_come_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
