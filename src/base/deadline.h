/* SPDX-License-Identifier: MIT */
/*
 * Until when something is waited for: nanoseconds of CLOCK_MONOTONIC, which nobody sets.
 * Whoever does several things one after the other takes one deadline for all of them.
 */
#ifndef ZVISOR_BASE_DEADLINE_H
#define ZVISOR_BASE_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define DEADLINE_NEVER UINT64_MAX
#define DEADLINE_NS_PER_MS 1000000ull

static inline uint64_t deadline_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t deadline_in_ms(unsigned ms)
{
	return deadline_now() + ms * DEADLINE_NS_PER_MS;
}

static inline bool deadline_is_past(uint64_t deadline)
{
	return deadline != DEADLINE_NEVER && deadline_now() >= deadline;
}

/* For pthread_cond_timedwait() and the like, with that clock. */
static inline struct timespec deadline_timespec(uint64_t deadline)
{
	return (struct timespec){ .tv_sec = (time_t)(deadline / 1000000000),
				  .tv_nsec = (long)(deadline % 1000000000) };
}

/* What is left, as a time to wait; it has not to be DEADLINE_NEVER. */
static inline struct timespec deadline_left(uint64_t deadline)
{
	uint64_t now = deadline_now();

	return deadline_timespec(deadline > now ? deadline - now : 0);
}

#endif
