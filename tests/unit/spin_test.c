/* SPDX-License-Identifier: MIT */
/* How long a thread waits awake, by what has come of it. Time is a number here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/spin.h"
#include "base/util.h"

#define LOOK_NS 1000
#define SOON_NS (3 * SPIN_SHORTEST_NS)
#define LATE_NS (100 * SPIN_LONGEST_NS)

struct waiter {
	struct spin spin;
	uint64_t now;
	uint64_t awake; /* this time */
};

/* Wait for what comes after `ns`; each look takes LOOK_NS. True: it was awake then. */
static bool wait_for(struct waiter *w, uint64_t ns)
{
	uint64_t begun = w->now;
	bool awake;

	spin_begin(&w->spin, w->now);
	while ((awake = spin_goes_on(&w->spin, w->now)) && w->now - begun < ns)
		w->now += LOOK_NS;
	w->awake = w->now - begun;
	w->now = MAX(w->now, begun + ns);
	spin_end(&w->spin, w->now);
	return awake;
}

static void what_comes_soon_is_awaited_awake_after_a_few_times(void **state)
{
	struct waiter w = { .now = 1 };
	unsigned int asleep = 0;

	assert_false(spin_wanted(&w.spin));
	while (!wait_for(&w, SOON_NS))
		asleep++;
	assert_in_range(asleep, 1, 4);
	for (unsigned int i = 0; i < 100; i++)
		assert_true(wait_for(&w, SOON_NS));
	/* And it does not wait longer than it takes. */
	assert_in_range(w.awake, SOON_NS, SOON_NS + LOOK_NS);
}

static void who_waits_long_does_not_stay_awake(void **state)
{
	struct waiter w = { .now = 1 };
	uint64_t awake = 0;

	for (unsigned int i = 0; i < 10; i++)
		(void)wait_for(&w, SPIN_LONGEST_NS);
	for (unsigned int i = 0; i < 10; i++) {
		assert_false(wait_for(&w, LATE_NS));
		awake += w.awake;
	}
	assert_in_range(awake, 1, 2 * SPIN_LONGEST_NS + 10 * LOOK_NS);
	for (unsigned int i = 0; i < 10; i++) {
		assert_false(wait_for(&w, LATE_NS));
		assert_int_equal(w.awake, 0);
	}
}

static void one_late_answer_does_not_end_waiting_awake(void **state)
{
	struct waiter w = { .now = 1 };

	while (!wait_for(&w, SPIN_LONGEST_NS / 4))
		;
	assert_false(wait_for(&w, LATE_NS));
	assert_true(wait_for(&w, SPIN_LONGEST_NS / 5));
}

static void nothing_is_awaited_awake_longer_than_the_limit(void **state)
{
	struct waiter w = { .now = 1 };

	for (unsigned int i = 0; i < 100; i++) {
		(void)wait_for(&w, SPIN_LONGEST_NS - LOOK_NS);
		assert_in_range(w.spin.window, 0, SPIN_LONGEST_NS);
	}
	assert_int_equal(w.spin.window, SPIN_LONGEST_NS);
}

static void who_is_not_alone_on_its_cpu_stops_and_tries_less(void **state)
{
	struct waiter w = { .now = 1 };
	uint32_t before;

	while (!wait_for(&w, SOON_NS))
		;
	for (before = w.spin.window; before; before = w.spin.window) {
		spin_begin(&w.spin, w.now);
		assert_true(spin_goes_on(&w.spin, w.now += LOOK_NS));
		assert_false(spin_goes_on(&w.spin, w.now += SPIN_GAP_NS + 1));
		/* Also if what it waits for comes soon. */
		spin_end(&w.spin, w.now += LOOK_NS);
		assert_true(w.spin.window <= before / 2);
	}
	assert_false(spin_wanted(&w.spin));
}

static void what_never_comes_is_tried_less_and_less(void **state)
{
	struct spin_guess guess = { 0 };
	unsigned int tried = 0;

	for (unsigned int i = 0; i < 100000; i++) {
		if (!spin_guess(&guess))
			continue;
		tried++;
		spin_guess_was(&guess, false);
	}
	assert_in_range(tried, 10, 50);
}

static void what_has_come_once_is_tried_each_time(void **state)
{
	struct spin_guess guess = { 0 };

	for (unsigned int i = 0; i < 1000; i++)
		if (spin_guess(&guess))
			spin_guess_was(&guess, false);
	while (!spin_guess(&guess))
		;
	for (unsigned int i = 0; i < 100; i++) {
		spin_guess_was(&guess, true);
		assert_true(spin_guess(&guess));
	}
	/* Some failures are not much, */
	for (unsigned int i = 0; i < SPIN_GUESS_TRUST - 1; i++) {
		spin_guess_was(&guess, false);
		assert_true(spin_guess(&guess));
	}
	/* and nor is the next. */
	spin_guess_was(&guess, false);
	for (unsigned int i = 0; i < 8; i++)
		assert_false(spin_guess(&guess));
	assert_true(spin_guess(&guess));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_soon_is_awaited_awake_after_a_few_times),
		cmocka_unit_test(who_waits_long_does_not_stay_awake),
		cmocka_unit_test(one_late_answer_does_not_end_waiting_awake),
		cmocka_unit_test(nothing_is_awaited_awake_longer_than_the_limit),
		cmocka_unit_test(who_is_not_alone_on_its_cpu_stops_and_tries_less),
		cmocka_unit_test(what_never_comes_is_tried_less_and_less),
		cmocka_unit_test(what_has_come_once_is_tried_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
