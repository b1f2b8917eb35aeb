/* SPDX-License-Identifier: MIT */
/*
 * TOD clock, clock comparator, CPU timer.
 *
 * The TOD clock is the host's monotonic clock plus an offset, in units of
 * 2^-12 microseconds (bit 51 of the clock is a microsecond). The CPU timer goes
 * by the monotonic clock alone: setting the TOD clock does not touch it. A vCPU
 * that sets the TOD clock asks the others to look at their clock comparators
 * again. Each vCPU has a
 * host timer that signals its thread when the next of its two clock events
 * comes, and so makes it look up; a timer that rings too early only costs a
 * look, so setting a later time does not touch it. In the deterministic mode
 * time is the number of instructions executed.
 *
 * Source: Principles of Operation, chapter 4: "Timing".
 */
#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cpu/soft/complex.h"

/* Guest TOD at 1970-01-01: 25567 days after 1900-01-01, in TOD units. */
#define TOD_UNIX_EPOCH 0x7d91048bca000000ull
#define NS_TO_TOD(ns) ((ns) / 125 * 512 + (ns) % 125 * 512 / 125)
#define TOD_TO_NS(tod) ((tod) / 512 * 125 + (tod) % 512 * 125 / 512)
/* Deterministic mode: an instruction takes 5 ns, which is 20.48 units. */
#define TOD_PER_INSTRUCTION 20

static uint64_t host_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void clock_init(struct cpu_complex *x)
{
	if (x->config.deterministic)
		x->tod_offset = (int64_t)TOD_UNIX_EPOCH;
	else
		x->tod_offset = (int64_t)(TOD_UNIX_EPOCH + NS_TO_TOD(host_ns(CLOCK_REALTIME)) -
					  NS_TO_TOD(host_ns(CLOCK_MONOTONIC)));
}

static uint64_t tod_offset(const struct vcpu *c)
{
	return (uint64_t)__atomic_load_n(&c->complex->tod_offset, __ATOMIC_RELAXED);
}

uint64_t clock_steady(const struct vcpu *c, const struct op *o)
{
	if (c->complex->config.deterministic)
		return TOD_PER_INSTRUCTION * (vcpu_instructions(c) + (o ? o->index : 0));
	return NS_TO_TOD(host_ns(CLOCK_MONOTONIC));
}

uint64_t clock_tod(const struct vcpu *c, const struct op *o)
{
	return clock_steady(c, o) + tod_offset(c);
}

uint64_t cpu_complex_tod(struct cpu_complex *x)
{
	const struct vcpu *c = x->vcpus[0];

	/* Another thread's business, but where time is the count of the one CPU's instructions. */
	return clock_tod(c, x->config.deterministic ? c->handler_op : NULL);
}

/* Timers that were armed ring too early now, and are armed again then. */
void cpu_complex_set_tod(struct cpu_complex *x, uint64_t tod)
{
	if (!x->config.deterministic)
		__atomic_add_fetch(&x->tod_offset, (int64_t)(tod - cpu_complex_tod(x)),
				   __ATOMIC_RELAXED);
}

uint64_t clock_tod_unique(const struct vcpu *c, const struct op *o)
{
	struct cpu_complex *x = c->complex;
	uint64_t now = clock_tod(c, o), last = atomic_load_explicit(&x->tod_last,
								    memory_order_relaxed);

	do {
		if (now <= last)
			now = last + 1;
	} while (!atomic_compare_exchange_weak_explicit(&x->tod_last, &last, now,
							memory_order_relaxed,
							memory_order_relaxed));
	return now;
}

uint64_t clock_cpu_timer(const struct vcpu *c, const struct op *o)
{
	return c->s.cpu_timer - (clock_steady(c, o) - c->cpu_timer_base);
}

void clock_set_cpu_timer(struct vcpu *c, const struct op *o, uint64_t value)
{
	c->s.cpu_timer = value;
	c->cpu_timer_base = clock_steady(c, o);
	clock_update_pending(c, o);
	clock_arm(c);
}

void clock_set_comparator(struct vcpu *c, const struct op *o, uint64_t value)
{
	c->s.clock_comparator = value;
	clock_update_pending(c, o);
	clock_arm(c);
}

void clock_set(struct vcpu *c, const struct op *o, uint64_t value)
{
	struct cpu_complex *x = c->complex;

	__atomic_store_n(&x->tod_offset, (int64_t)(value - clock_steady(c, o)), __ATOMIC_SEQ_CST);
	atomic_store(&x->tod_last, 0);
	for (unsigned int i = 0; i < x->count; i++) {
		if (x->vcpus[i] == c)
			continue;
		atomic_fetch_or(&x->vcpus[i]->pending, PENDING_CLOCK_SET);
		vcpu_kick(x->vcpus[i]);
	}
	clock_look_again(c, o);
}

void clock_look_again(struct vcpu *c, const struct op *o)
{
	c->timer_armed = false;
	clock_update_pending(c, o);
	clock_arm(c);
}

/* Both conditions are levels: they hold, or not, whenever one looks. */
void clock_update_pending(struct vcpu *c, const struct op *o)
{
	unsigned int set = 0;

	if (clock_tod(c, o) > c->s.clock_comparator)
		set |= PENDING_CLOCK_COMPARATOR;
	if ((int64_t)clock_cpu_timer(c, o) < 0)
		set |= PENDING_CPU_TIMER;
	atomic_fetch_and_explicit(&c->pending,
				  ~(unsigned int)(PENDING_CLOCK_COMPARATOR | PENDING_CPU_TIMER) |
					  set, memory_order_relaxed);
	if (set) {
		atomic_fetch_or_explicit(&c->pending, set, memory_order_relaxed);
		attention_set(c);
	}
}

/* TOD units until the next event that is enabled; 0: it has come; ~0: there is none. */
static uint64_t until_next_event(struct vcpu *c)
{
	uint64_t now = clock_tod(c, NULL), comparator = c->s.clock_comparator, until = ~0ull;
	int64_t timer = (int64_t)clock_cpu_timer(c, NULL);

	if ((c->s.cr[0] & CR0_CLOCK_COMPARATOR) && comparator != ~0ull)
		until = now > comparator ? 0 : comparator - now + 1;
	if (c->s.cr[0] & CR0_CPU_TIMER)
		until = MIN(until, timer < 0 ? 0 : (uint64_t)timer + 1);
	return until;
}

int64_t clock_next_event(struct vcpu *c)
{
	uint64_t until = until_next_event(c);

	if (until == ~0ull)
		return -1;
	if (!until)
		return 0;
	/* Far-away events are looked at again now and then. */
	return (int64_t)MIN(TOD_TO_NS(until) + 1, 3600000000000ull);
}

uint64_t clock_next_event_count(struct vcpu *c)
{
	uint64_t until = until_next_event(c);

	if (until == ~0ull || !until)
		return ~0ull;
	return vcpu_instructions(c) + (until - 1) / TOD_PER_INSTRUCTION + 1;
}

/*
 * The host timer is for the next event that is still to come. One that was seen to
 * have come is pending already, and taken when the masks admit it: a timer for it
 * would ring without end. One that came since then (this thread may have been off the
 * host's CPU meanwhile) is looked at again at once.
 */
void clock_arm(struct vcpu *c)
{
	unsigned int pending = atomic_load_explicit(&c->pending, memory_order_relaxed);
	uint64_t now, tod, ns, until = ~0ull;
	struct itimerspec when = { 0 };
	int64_t timer;

	if (!c->has_timer)
		return;
	now = clock_steady(c, NULL);
	tod = now + tod_offset(c);
	if ((c->s.cr[0] & CR0_CLOCK_COMPARATOR) && !(pending & PENDING_CLOCK_COMPARATOR))
		until = c->s.clock_comparator >= tod ? c->s.clock_comparator - tod : 0;
	timer = (int64_t)(c->s.cpu_timer - (now - c->cpu_timer_base));
	if ((c->s.cr[0] & CR0_CPU_TIMER) && !(pending & PENDING_CPU_TIMER))
		until = timer >= 0 ? MIN(until, (uint64_t)timer) : 0;
	if (until == ~0ull ||
	    (c->timer_armed && c->timer_deadline > now && c->timer_deadline - now <= until))
		return;
	ns = MIN(TOD_TO_NS(until) + 1, 3600000000000ull);
	when.it_value.tv_sec = (time_t)(ns / 1000000000);
	when.it_value.tv_nsec = (long)(ns % 1000000000);
	c->timer_armed = true;
	c->timer_deadline = now + NS_TO_TOD(ns);
	timer_settime(c->timer, 0, &when, NULL);
}

static void timer_rings(int signal_number, siginfo_t *info, void *context)
{
	struct vcpu *c = info->si_value.sival_ptr;

	if (info->si_code != SI_TIMER || !c)
		return;
	c->timer_rang = 1;
	atomic_store_explicit(&c->limit, 0, memory_order_relaxed);
}

int clock_init_thread(struct vcpu *c)
{
	struct sigaction action = { .sa_sigaction = timer_rings, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
	sigset_t unblock;

	if (c->has_timer || c->complex->config.deterministic)
		return 0;
	/* Wake-ups of this thread may not be put off by the default 50 microseconds. */
	prctl(PR_SET_TIMERSLACK, 1);
	sigemptyset(&action.sa_mask);
	sigaction(SIGRTMIN, &action, NULL);
	sigemptyset(&unblock);
	sigaddset(&unblock, SIGRTMIN);
	pthread_sigmask(SIG_UNBLOCK, &unblock, NULL);
	event.sigev_value.sival_ptr = c;
	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, &c->timer))
		return -errno;
	c->has_timer = true;
	c->timer_armed = false;
	return 0;
}

void clock_exit_thread(struct vcpu *c)
{
	if (c->has_timer)
		timer_delete(c->timer);
	c->has_timer = false;
}
