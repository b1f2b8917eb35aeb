/* SPDX-License-Identifier: MIT */
/*
 * How late a timer is: the clock comparator is set 100 microseconds ahead, the CPU
 * waits enabled, and the first thing after the interruption is to look at the
 * clock. That is what a sleeping program in a guest meets, with the host's own
 * lateness in waking a thread in it. Prints a line for each wait, and for
 * comparison the same without waiting, in a loop:
 *
 *	bench NAME WAITS NANOSECONDS-LATE
 */
#include "lib/guest.h"

#define WAITS 401
#define AHEAD (100 * TOD_MICROSECOND)
#define CR0_CLOCK_COMPARATOR BIT64(52)

SNIPPET(spin, "0: j 0b");

static uint64_t clock(void)
{
	uint64_t t;

	asm volatile("stckf %0" : "=Q"(t) : : "cc");
	return t;
}

static void set_comparator(uint64_t at)
{
	asm volatile("sckc %0" : : "Q"(at));
}

static void measure(const char *name, uint64_t wait)
{
	for (unsigned i = 0; i < WAITS; i++) {
		struct run r = run_init(PSW_64 | PSW_EXT | wait, spin);
		uint64_t due = clock() + AHEAD, now;

		set_comparator(due);
		run(&r);
		now = clock();
		if (r.exit != RUN_EXT || r.code != EXT_CLOCK_COMPARATOR || now <= due)
			bail("a wait ended with exit %u, code %x, before its time: %u",
			     (unsigned)r.exit, r.code, now <= due);
		/* TOD units are a 4096th of a microsecond. */
		print("bench %s 1 %lu\n", name, (now - due) * 125 / 512);
	}
}

void guest_main(void)
{
	ctl_load(0, ctl_store(0) | CR0_CLOCK_COMPARATOR);
	measure("timer-wait", PSW_WAIT);
	measure("timer-busy", 0);
	set_comparator(~0ull);
}
