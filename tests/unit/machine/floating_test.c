/* SPDX-License-Identifier: MIT */
/* The floating interrupt controller; the CPUs are the counters below. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/floating.h"

#define ALL_ISCS 0xff000000u

/* What the CPUs were told last; cmocka runs one test at a time. */
static struct {
	unsigned int times;
	enum cpu_floating_class class;
	uint64_t mask;
} told;

void cpu_complex_floating_pending(struct cpu_complex *cpus, enum cpu_floating_class class,
				  uint64_t mask)
{
	told.times++;
	told.class = class;
	told.mask = mask;
}

static int setup(void **state)
{
	static struct floating floating;

	memset(&told, 0, sizeof(told));
	floating_reset(&floating);
	*state = &floating;
	return 0;
}

static void adapter_interruption_names_its_isc(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 3);
	assert_int_equal(told.class, CPU_FLOATING_IO);
	assert_int_equal(told.mask, 0x10000000);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
	assert_int_equal(io.subchannel_id, 0);
	assert_int_equal(io.parameter, 0);
	assert_int_equal(io.interruption_word, 0x98000000);
	assert_false(floating_take_io(f, ALL_ISCS, &io));
}

static void masked_isc_stays_pending(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 2);
	assert_false(floating_take_io(f, ALL_ISCS & ~0x20000000u, &io));
	assert_true(floating_take_io(f, 0x20000000, &io));
}

static void lowest_isc_goes_first(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 7);
	floating_adapter(f, 1);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
	assert_int_equal(io.interruption_word >> 27 & 7, 1);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
	assert_int_equal(io.interruption_word >> 27 & 7, 7);
}

static void pending_interruption_is_not_made_pending_twice(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 3);
	floating_adapter(f, 3);
	assert_int_equal(told.times, 1);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
	assert_false(floating_take_io(f, ALL_ISCS, &io));
}

static void mode_single_lets_one_through_until_it_is_set_again(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	assert_int_equal(floating_set_mode(f, 3, FLOATING_MODE_SINGLE), 0);
	floating_adapter(f, 3);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
	floating_adapter(f, 3);
	assert_int_equal(told.times, 1);
	assert_false(floating_take_io(f, ALL_ISCS, &io));
	assert_int_equal(floating_set_mode(f, 3, FLOATING_MODE_SINGLE), 0);
	floating_adapter(f, 3);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
}

static void mode_all_ends_suppression(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_set_mode(f, 3, FLOATING_MODE_SINGLE);
	floating_adapter(f, 3);
	assert_true(floating_take_io(f, ALL_ISCS, &io));
	assert_int_equal(floating_set_mode(f, 3, FLOATING_MODE_ALL), 0);
	for (int i = 0; i < 3; i++) {
		floating_adapter(f, 3);
		assert_true(floating_take_io(f, ALL_ISCS, &io));
	}
}

static void mode_of_one_isc_does_not_concern_another(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_set_mode(f, 3, FLOATING_MODE_SINGLE);
	floating_adapter(f, 3);
	floating_adapter(f, 3);
	for (int i = 0; i < 2; i++) {
		floating_adapter(f, 4);
		assert_true(floating_take_io(f, 0x08000000, &io));
	}
	assert_int_equal(floating_set_mode(f, 8, FLOATING_MODE_ALL), -EINVAL);
	assert_int_equal(floating_set_mode(f, 0, 2), -EINVAL);
}

static void service_signal_carries_sccb_and_event_bit(void **state)
{
	struct floating *f = *state;
	struct cpu_external_interruption external;

	floating_service(f, FLOATING_SERVICE_EVENT);
	floating_service(f, 0x12345678);
	assert_true(floating_service_pending(f));
	assert_int_equal(told.class, CPU_FLOATING_EXTERNAL);
	assert_int_equal(told.mask, CR0_SERVICE_SIGNAL);
	assert_false(floating_take_external(f, ~CR0_SERVICE_SIGNAL, &external));
	assert_true(floating_take_external(f, CR0_SERVICE_SIGNAL, &external));
	assert_int_equal(external.code, 0x2401);
	assert_int_equal(external.parameter, 0x12345679);
	assert_false(floating_take_external(f, CR0_SERVICE_SIGNAL, &external));
}

static void newer_sccb_takes_the_place_of_one_nobody_was_told_of(void **state)
{
	struct floating *f = *state;
	struct cpu_external_interruption external;

	floating_service(f, 0x1000);
	floating_service(f, 0x2008);
	assert_true(floating_take_external(f, CR0_SERVICE_SIGNAL, &external));
	assert_int_equal(external.parameter, 0x2008);
}

static void channel_report_is_a_machine_check(void **state)
{
	struct floating *f = *state;
	struct cpu_mchk_interruption mchk;

	floating_channel_report(f);
	assert_int_equal(told.class, CPU_FLOATING_MCHK);
	assert_int_equal(told.mask, 0x10000000);
	assert_false(floating_take_mchk(f, 0, &mchk));
	assert_true(floating_take_mchk(f, 0x10000000, &mchk));
	assert_true(mchk.code & 0x0040000000000000);
	assert_false(floating_take_mchk(f, 0x10000000, &mchk));
}

static void reset_leaves_nothing_pending(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;
	struct cpu_external_interruption external;
	struct cpu_mchk_interruption mchk;

	floating_set_mode(f, 3, FLOATING_MODE_SINGLE);
	floating_adapter(f, 3);
	floating_service(f, 0x1000);
	floating_channel_report(f);
	floating_reset(f);
	assert_false(floating_take_io(f, UINT64_MAX, &io));
	assert_false(floating_take_external(f, UINT64_MAX, &external));
	assert_false(floating_take_mchk(f, UINT64_MAX, &mchk));
	for (int i = 0; i < 2; i++) {
		floating_adapter(f, 3);
		assert_true(floating_take_io(f, ALL_ISCS, &io));
	}
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(adapter_interruption_names_its_isc),
		TEST(masked_isc_stays_pending),
		TEST(lowest_isc_goes_first),
		TEST(pending_interruption_is_not_made_pending_twice),
		TEST(mode_single_lets_one_through_until_it_is_set_again),
		TEST(mode_all_ends_suppression),
		TEST(mode_of_one_isc_does_not_concern_another),
		TEST(service_signal_carries_sccb_and_event_bit),
		TEST(newer_sccb_takes_the_place_of_one_nobody_was_told_of),
		TEST(channel_report_is_a_machine_check),
		TEST(reset_leaves_nothing_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
