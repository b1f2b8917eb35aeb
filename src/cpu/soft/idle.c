/* SPDX-License-Identifier: MIT */
/*
 * How the thread of an idle vCPU sleeps: on a condition variable of its own, or, when the
 * machine has something to wait for (struct cpu_idle_ops), in epoll_pwait2(2).
 *
 * From there a signal gets it out. The signal is blocked all the time but in that call, so
 * that one that comes before it is not lost. A signal that finds the thread awake
 * stays pending; it ends the next sleep too early, which costs a look.
 *
 * A wake-up costs more than what a fast device takes to answer. So a vCPU that waits for
 * eventfds stays awake for a moment first (base/spin.h), and looks at the same two things
 * that would end its sleep. It does so only where the host has a CPU left besides those that
 * vCPUs use: the device may need it.
 *
 * The host timer of the clocks (clock.c) interrupts the call, too. It may ring just before;
 * the time limit is for that, and because it is what ends a sleep on the condition variable.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "base/deadline.h"
#include "cpu/soft/complex.h"

#define EVENTS_AT_ONCE 8
#define WAKE_SIGNAL (SIGRTMIN + 1)

static void on_wake_signal(int number)
{
}

int idle_init(struct cpu_complex *x)
{
	struct sigaction action = { .sa_handler = on_wake_signal };

	x->host_cpus = spin_cpus();
	sigemptyset(&action.sa_mask);
	return x->config.idle && sigaction(WAKE_SIGNAL, &action, NULL) ? -errno : 0;
}

void idle_init_thread(struct vcpu *c)
{
	sigset_t wake;

	if (!c->complex->config.idle || c->complex->config.deterministic)
		return;
	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &wake, &c->polling_mask);
	sigdelset(&c->polling_mask, WAKE_SIGNAL);
	c->thread = pthread_self();
	c->can_poll = true;
}

static bool shall_poll(const struct vcpu *c)
{
	const struct cpu_complex *x = c->complex;

	return c->can_poll && !atomic_load_explicit(&x->cannot_poll, memory_order_relaxed) &&
	       x->config.idle->wanted(x->config.opaque);
}

/* The next two: with the lock held, for `ns` nanoseconds if not negative. Is the time over? */
static bool sleep_alone(struct vcpu *c, int64_t ns)
{
	struct timespec until;
	bool over = false;

	c->asleep = true;
	if (ns < 0) {
		pthread_cond_wait(&c->wake, &c->lock);
	} else {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += ns / 1000000000;
		until.tv_nsec += ns % 1000000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		over = pthread_cond_timedwait(&c->wake, &c->lock, &until);
	}
	c->asleep = false;
	return over;
}

/* Without the lock from here on. It waits no more, and got `count` events, or an error. */
static void serve(struct vcpu *c, const struct epoll_event *events, int count)
{
	struct cpu_complex *x = c->complex;

	atomic_store(&c->serving, true);
	if (count > 0)
		x->config.idle->serve(x->config.opaque, events, (unsigned int)count);
	if (count <= 0 || count == EVENTS_AT_ONCE)
		x->config.idle->serve_rest(x->config.opaque);
	atomic_store(&c->serving, false);
}

/* Is there a CPU of the host for this one, all that execute, and one more thread? */
static bool has_room(const struct vcpu *c)
{
	const struct cpu_complex *x = c->complex;
	unsigned int busy = atomic_load_explicit(&x->spinning, memory_order_relaxed) + 1;

	for (unsigned int i = 0; i < x->count; i++)
		busy += atomic_load_explicit(&x->vcpus[i]->in_guest, memory_order_relaxed);
	return busy < x->host_cpus;
}

/* True: something has come, and was served. */
static bool stay_awake(struct vcpu *c, int64_t ns)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	struct cpu_complex *x = c->complex;
	const struct cpu_idle_ops *idle = x->config.idle;
	bool attention;
	uint64_t now;
	int count;

	atomic_fetch_add(&x->spinning, 1);
	idle->watch(x->config.opaque, true);
	do {
		count = epoll_wait(idle->epoll, events, EVENTS_AT_ONCE, 0);
		attention = !atomic_load(&c->limit);
		now = deadline_now();
	} while (!count && !attention && (ns < 0 || now - c->spin.begun < (uint64_t)ns) &&
		 spin_goes_on(&c->spin, now));
	if (count || attention)
		serve(c, events, count);
	idle->watch(x->config.opaque, false);
	atomic_fetch_sub(&x->spinning, 1);
	return count || attention;
}

/* True when the time is over. */
static bool fall_asleep(struct vcpu *c, int64_t ns)
{
	const struct timespec limit = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	struct epoll_event events[EVENTS_AT_ONCE];
	struct cpu_complex *x = c->complex;
	int count = -1;

	pthread_mutex_lock(&c->lock);
	c->asleep = c->polls = atomic_load(&c->limit);
	pthread_mutex_unlock(&c->lock);
	if (c->polls)
		count = epoll_pwait2(x->config.idle->epoll, events, EVENTS_AT_ONCE,
				     ns < 0 ? NULL : &limit, &c->polling_mask);
	if (count < 0 && c->polls && errno != EINTR)
		atomic_store(&x->cannot_poll, true);
	pthread_mutex_lock(&c->lock);
	c->asleep = c->polls = false;
	pthread_mutex_unlock(&c->lock);
	serve(c, events, count);
	return count == 0;
}

static bool sleep_polling(struct vcpu *c, int64_t ns)
{
	uint64_t spent;
	bool over = false;

	pthread_mutex_unlock(&c->lock);
	spin_begin(&c->spin, deadline_now());
	if (!spin_wanted(&c->spin) || !has_room(c) || !stay_awake(c, ns)) {
		spent = deadline_now() - c->spin.begun;
		over = fall_asleep(c, ns < 0 ? ns : MAX(ns - (int64_t)spent, 0));
	}
	spin_end(&c->spin, deadline_now());
	pthread_mutex_lock(&c->lock);
	return over;
}

bool idle_sleep(struct vcpu *c)
{
	bool over = false;

	pthread_mutex_lock(&c->lock);
	while (atomic_load(&c->limit)) {
		bool clocks = (c->s.psw_mask & PSW_EXT) && !c->complex->config.deterministic;
		int64_t ns = clocks ? clock_next_event(c) : -1;

		over = ns == 0 || (shall_poll(c) ? sleep_polling(c, ns) : sleep_alone(c, ns));
		if (over)
			attention_set(c);
	}
	pthread_mutex_unlock(&c->lock);
	return over;
}

void idle_wake(struct vcpu *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->asleep && c->polls)
		pthread_kill(c->thread, WAKE_SIGNAL);
	else if (c->asleep)
		pthread_cond_signal(&c->wake);
	/* Once is enough: signals would queue up. */
	c->asleep = false;
	pthread_mutex_unlock(&c->lock);
}
