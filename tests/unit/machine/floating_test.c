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
	unsigned int directed; /* times that one CPU was told */
	unsigned int cpu;
} told;

struct vcpu {
	bool stopped;
	/* Becomes stopped when it is looked at for the second time. */
	bool stopping;
	unsigned int looks;
} cpus[4];

struct vcpu *cpu_complex_vcpu(struct cpu_complex *complex, unsigned int index)
{
	return index < ARRAY_SIZE(cpus) ? &cpus[index] : NULL;
}

bool vcpu_is_stopped(const struct vcpu *v)
{
	return v->stopped || (v->stopping && ((struct vcpu *)v)->looks++);
}

void cpu_complex_directed_pending(struct cpu_complex *complex, unsigned int cpu, uint64_t mask)
{
	told.directed++;
	told.class = CPU_FLOATING_IO;
	told.mask = mask;
	told.cpu = cpu;
}

void cpu_complex_floating_pending(struct cpu_complex *complex, enum cpu_floating_class class,
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
	memset(cpus, 0, sizeof(cpus));
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
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	assert_int_equal(io.subchannel_id, 0);
	assert_int_equal(io.parameter, 0);
	assert_int_equal(io.interruption_word, 0x98000000);
	assert_false(floating_take_io(f, 0, ALL_ISCS, &io));
}

static void masked_isc_stays_pending(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 2);
	assert_false(floating_take_io(f, 0, ALL_ISCS & ~0x20000000u, &io));
	assert_true(floating_take_io(f, 0, 0x20000000, &io));
}

static void lowest_isc_goes_first(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 7);
	floating_adapter(f, 1);
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	assert_int_equal(io.interruption_word >> 27 & 7, 1);
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	assert_int_equal(io.interruption_word >> 27 & 7, 7);
}

static void pending_interruption_is_not_made_pending_twice(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_adapter(f, 3);
	floating_adapter(f, 3);
	assert_int_equal(told.times, 1);
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	assert_false(floating_take_io(f, 0, ALL_ISCS, &io));
}

static void mode_single_lets_one_through_until_it_is_set_again(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	assert_int_equal(floating_set_mode(f, 3, FLOATING_MODE_SINGLE), 0);
	floating_adapter(f, 3);
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	floating_adapter(f, 3);
	assert_int_equal(told.times, 1);
	assert_false(floating_take_io(f, 0, ALL_ISCS, &io));
	assert_int_equal(floating_set_mode(f, 3, FLOATING_MODE_SINGLE), 0);
	floating_adapter(f, 3);
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
}

static void mode_all_ends_suppression(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_set_mode(f, 3, FLOATING_MODE_SINGLE);
	floating_adapter(f, 3);
	assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	assert_int_equal(floating_set_mode(f, 3, FLOATING_MODE_ALL), 0);
	for (int i = 0; i < 3; i++) {
		floating_adapter(f, 3);
		assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
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
		assert_true(floating_take_io(f, 0, 0x08000000, &io));
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
	assert_int_equal(mchk.code, 0x00400f5d40330000);
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
	floating_set_directed_mode(f, 0, 3, FLOATING_MODE_SINGLE);
	floating_directed(f, 0, 3);
	floating_service(f, 0x1000);
	floating_channel_report(f);
	floating_reset(f);
	assert_false(floating_take_io(f, 0, UINT64_MAX, &io));
	assert_false(floating_take_external(f, UINT64_MAX, &external));
	assert_false(floating_take_mchk(f, UINT64_MAX, &mchk));
	for (int i = 0; i < 2; i++) {
		floating_adapter(f, 3);
		assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	}
}

/* --- directed --- */

static void directed_interruption_is_for_its_cpu_alone(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	assert_true(floating_directed(f, 2, 3));
	assert_int_equal(told.directed, 1);
	assert_int_equal(told.cpu, 2);
	assert_int_equal(told.mask, 0x10000000);
	assert_int_equal(told.times, 0);
	assert_false(floating_take_io(f, 1, ALL_ISCS, &io));
	assert_false(floating_take_io(f, 2, ALL_ISCS & ~0x10000000u, &io));
	assert_true(floating_take_io(f, 2, ALL_ISCS, &io));
	assert_int_equal(io.interruption_word, 0xd8000000);
	assert_int_equal(io.subchannel_id, 0);
	assert_int_equal(io.parameter, 0);
	assert_false(floating_take_io(f, 2, ALL_ISCS, &io));
}

static void more_urgent_of_floating_and_directed_goes_first(void **state)
{
	static const struct {
		unsigned int floating, directed;
		bool directed_first;
	} cases[] = { { 3, 4, false }, { 4, 3, true }, { 3, 3, true }, { 7, 0, true } };
	struct floating *f = *state;
	struct cpu_io_interruption io;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		floating_adapter(f, cases[i].floating);
		floating_directed(f, 1, cases[i].directed);
		for (int turn = 0; turn < 2; turn++) {
			assert_true(floating_take_io(f, 1, ALL_ISCS, &io));
			assert_int_equal(!!(io.interruption_word & 0x40000000),
					 cases[i].directed_first == !turn);
		}
		assert_false(floating_take_io(f, 1, ALL_ISCS, &io));
	}
}

static void directed_mode_single_is_of_one_cpu(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	assert_int_equal(floating_set_directed_mode(f, 1, 3, FLOATING_MODE_SINGLE), 0);
	for (int i = 0; i < 2; i++) {
		assert_true(floating_directed(f, 1, 3));
		assert_int_equal(floating_take_io(f, 1, ALL_ISCS, &io), !i);
		assert_true(floating_directed(f, 2, 3));
		assert_true(floating_take_io(f, 2, ALL_ISCS, &io));
		floating_adapter(f, 3);
		assert_true(floating_take_io(f, 0, ALL_ISCS, &io));
	}
	assert_int_equal(floating_set_directed_mode(f, 1, 3, FLOATING_MODE_SINGLE), 0);
	assert_true(floating_directed(f, 1, 3));
	assert_true(floating_take_io(f, 1, ALL_ISCS, &io));
	assert_int_equal(floating_set_directed_mode(f, 1, 8, FLOATING_MODE_ALL), -EINVAL);
	assert_int_equal(floating_set_directed_mode(f, 1, 0, 2), -EINVAL);
	assert_int_equal(floating_set_directed_mode(f, CPU_MAX_VCPUS, 0, 0), -EINVAL);
}

static void stopped_cpu_takes_nothing_and_keeps_nothing(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	cpus[1].stopped = true;
	assert_false(floating_directed(f, 1, 3));
	assert_false(floating_directed(f, 4, 3)); /* there is none */
	cpus[1].stopped = false;
	assert_false(floating_take_io(f, 1, ALL_ISCS, &io));
}

static void cpu_that_stops_at_that_moment_keeps_nothing(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	cpus[1].stopping = true;
	assert_false(floating_directed(f, 1, 3));
	assert_int_equal(told.directed, 0);
	assert_false(floating_take_io(f, 1, ALL_ISCS, &io));
}

static void what_a_stopped_cpu_has_not_taken_is_withdrawn(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	assert_false(floating_withdraw_directed(f, 1));
	floating_directed(f, 1, 3);
	assert_true(floating_withdraw_directed(f, 1));
	assert_false(floating_withdraw_directed(f, 1));
	assert_false(floating_take_io(f, 1, ALL_ISCS, &io));
	/* Something may have been suppressed; and it does not last, but the mode does. */
	floating_set_directed_mode(f, 1, 3, FLOATING_MODE_SINGLE);
	floating_directed(f, 1, 3);
	assert_true(floating_take_io(f, 1, ALL_ISCS, &io));
	assert_true(floating_withdraw_directed(f, 1));
	for (int i = 0; i < 2; i++) {
		floating_directed(f, 1, 3);
		assert_int_equal(floating_take_io(f, 1, ALL_ISCS, &io), !i);
	}
}

static void what_is_put_back_is_pending_also_in_mode_single(void **state)
{
	struct floating *f = *state;
	struct cpu_io_interruption io;

	floating_set_mode(f, 3, FLOATING_MODE_SINGLE);
	floating_set_directed_mode(f, 1, 3, FLOATING_MODE_SINGLE);
	floating_adapter(f, 3);
	floating_directed(f, 1, 3);
	for (int i = 0; i < 3; i++) {
		assert_true(floating_take_io(f, 1, ALL_ISCS, &io));
		assert_int_equal(io.interruption_word, 0xd8000000);
		floating_put_back_io(f, 1, &io);
	}
	assert_true(floating_take_io(f, 1, ALL_ISCS, &io));
	for (int i = 0; i < 3; i++) {
		assert_true(floating_take_io(f, 2, ALL_ISCS, &io));
		assert_int_equal(io.interruption_word, 0x98000000);
		floating_put_back_io(f, 2, &io);
	}
}

static void reminder_is_of_all_that_is_pending(void **state)
{
	struct floating *f = *state;

	floating_remind(f);
	assert_int_equal(told.times, 0);
	floating_adapter(f, 3);
	floating_adapter(f, 0);
	floating_remind(f);
	assert_int_equal(told.times, 3);
	assert_int_equal(told.class, CPU_FLOATING_IO);
	assert_int_equal(told.mask, 0x90000000);
	floating_service(f, FLOATING_SERVICE_EVENT);
	floating_channel_report(f);
	told.times = 0;
	floating_remind(f);
	assert_int_equal(told.times, 3);
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
		TEST(directed_interruption_is_for_its_cpu_alone),
		TEST(more_urgent_of_floating_and_directed_goes_first),
		TEST(directed_mode_single_is_of_one_cpu),
		TEST(stopped_cpu_takes_nothing_and_keeps_nothing),
		TEST(cpu_that_stops_at_that_moment_keeps_nothing),
		TEST(what_a_stopped_cpu_has_not_taken_is_withdrawn),
		TEST(what_is_put_back_is_pending_also_in_mode_single),
		TEST(reminder_is_of_all_that_is_pending),
		TEST(service_signal_carries_sccb_and_event_bit),
		TEST(newer_sccb_takes_the_place_of_one_nobody_was_told_of),
		TEST(channel_report_is_a_machine_check),
		TEST(reset_leaves_nothing_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
