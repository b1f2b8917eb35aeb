/* SPDX-License-Identifier: MIT */
/* Waiting awake; see spin.h. */
#include "base/spin.h"

#include <sched.h>

#include "base/util.h"

unsigned int spin_cpus(void)
{
	cpu_set_t set;

	/* More than a set has room for: more than one. */
	return sched_getaffinity(0, sizeof(set), &set) ? CPU_SETSIZE :
							 (unsigned int)CPU_COUNT(&set);
}

void spin_begin(struct spin *spin, uint64_t now)
{
	spin->begun = spin->looked = spin->yielded = now;
	spin->crowded = false;
}

bool spin_goes_on(struct spin *spin, uint64_t now)
{
	spin->crowded |= now - spin->looked > SPIN_GAP_NS;
	spin->looked = now;
	if (spin->crowded || now - spin->begun >= spin->window)
		return false;
	if (now - spin->yielded >= SPIN_YIELD_NS) {
		spin->yielded = now;
		sched_yield();
	}
	return true;
}

void spin_end(struct spin *spin, uint64_t now)
{
	uint64_t waited = now - spin->begun;

	if (spin->crowded || waited > SPIN_LONGEST_NS)
		spin->window /= 2;
	else if (waited > spin->window)
		spin->window = (uint32_t)MIN(MAX(2 * waited, SPIN_SHORTEST_NS), SPIN_LONGEST_NS);
	if (spin->window < SPIN_SHORTEST_NS)
		spin->window = 0;
}

#define SKIP_FIRST 8
#define SKIP_MAX 4096

bool spin_guess(struct spin_guess *guess)
{
	uint16_t skipped = atomic_load_explicit(&guess->skipped, memory_order_relaxed);

	if (skipped >= atomic_load_explicit(&guess->skip, memory_order_relaxed))
		return true;
	atomic_store_explicit(&guess->skipped, skipped + 1, memory_order_relaxed);
	return false;
}

void spin_guess_was(struct spin_guess *guess, bool right)
{
	unsigned int skip = atomic_load_explicit(&guess->skip, memory_order_relaxed);
	unsigned int trust = atomic_load_explicit(&guess->trust, memory_order_relaxed);

	skip = right || trust > 1 ? 0 : MIN(MAX(2 * skip, SKIP_FIRST), SKIP_MAX);
	trust = right ? SPIN_GUESS_TRUST : trust ? trust - 1 : 0;
	atomic_store_explicit(&guess->trust, (uint16_t)trust, memory_order_relaxed);
	atomic_store_explicit(&guess->skip, (uint16_t)skip, memory_order_relaxed);
	atomic_store_explicit(&guess->skipped, 0, memory_order_relaxed);
}
