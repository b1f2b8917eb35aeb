/* SPDX-License-Identifier: MIT */
/*
 * For how long to wait awake before falling asleep.
 *
 * Waking a thread takes some 60 microseconds where the host's CPU has gone idle meanwhile:
 * more than the answer of a fast device. So a thread that waits first looks again and again
 * at what it waits for, and sleeps when a window of time is over. The window goes by what
 * has come of it, as that of KVM's halt polling does (Linux, virt/kvm/kvm_main.c,
 * kvm_vcpu_halt(), and Documentation/virt/kvm/halt-polling.rst):
 *
 *	a wait ended within the window		it was right
 *	soon after it				twice as long as this wait, the next time
 *	after more than the longest window	half as long: a late answer among many does not
 *						count for much, and whoever has nothing to do
 *						for long soon costs nothing
 *
 * A thread that waits awake takes the place of one that has something to do, perhaps of
 * the very one it waits for. So there has to be more than one CPU; it lets others go first now
 * and then (sched_yield()), and when it finds that it did not run for a while, somebody else
 * wants its CPU: it goes to sleep, and the window becomes half as long.
 *
 * How to: spin_begin(); while nothing has come and spin_goes_on(), look; if nothing has
 * come, sleep; spin_end(). All times are those of deadline_now() (deadline.h).
 */
#ifndef ZVISOR_BASE_SPIN_H
#define ZVISOR_BASE_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SPIN_LONGEST_NS 200000u
#define SPIN_SHORTEST_NS 10000u
/*
 * Who did not run for so long was not alone. A look takes about one microsecond, a tick of a
 * kernel that is itself a guest up to this.
 */
#define SPIN_GAP_NS 100000u

/*
 * So often who waits lets others go first on its CPU: the one it waits for may have been woken
 * there, as the peer of a socket often is (WF_SYNC; Linux, kernel/sched/fair.c,
 * wake_affine_idle()).
 */
#define SPIN_YIELD_NS 10000u

/* One for each thread that waits, or kind of wait. All zeros at first. */
struct spin {
	uint32_t window; /* 0: sleep at once */
	bool crowded; /* this time */
	uint64_t begun, looked, yielded;
};

/* How many CPUs the calling thread may run on. */
unsigned int spin_cpus(void);

static inline bool spin_wanted(const struct spin *spin)
{
	return spin->window;
}

/* Between two looks at memory: spares the core, and the other one that writes it. */
static inline void spin_pause(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

void spin_begin(struct spin *spin, uint64_t now);
/* Nothing has come: look again? Others may have run before it returns. */
bool spin_goes_on(struct spin *spin, uint64_t now);
/* The wait is over, however it was spent. */
void spin_end(struct spin *spin, uint64_t now);

/*
 * Is it worth while to wait here, where something may come soon or never will? After
 * each time that nothing came, this many times are let pass: 8, 16, and so on to 4096. Where
 * something has come, nothing may come SPIN_GUESS_TRUST - 1 times in a row before that begins.
 * All zeros at first. By any thread; two at once may make it less certain, and nothing else.
 */
#define SPIN_GUESS_TRUST 4
struct spin_guess {
	_Atomic uint16_t skip, skipped, trust;
};
bool spin_guess(struct spin_guess *guess);
void spin_guess_was(struct spin_guess *guess, bool right);

#endif
