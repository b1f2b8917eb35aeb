/* SPDX-License-Identifier: MIT */
/*
 * Interrupt sources; see irq_sources.h.
 *
 * A thread that was given an event holds a pointer to its source, and nobody knows that it
 * does. So the memory of a source is not freed before the set is; it is used again for the
 * next one. The worst that such a pointer can do is to have a look at the eventfd of
 * another source, which is not readable. A thread that calls a callback is counted in the
 * source's `state`, so that removing can wait for it.
 */
#include "base/irq_sources.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/event.h"
#include "base/spin.h"
#include "base/util.h"

#define EVENTS_AT_ONCE 32
/* So often a CPU looks for more before it leaves the rest to the set's thread. */
#define CPU_ROUNDS 4

/* irq_source.state: how many threads are at it, and */
#define SOURCE_LIVE 0x80000000u
#define SOURCE_AWAITED 0x40000000u /* somebody waits until there is none */

struct irq_source {
	struct irq_sources *set;
	atomic_uint state;
	int fd;
	irq_source_callback *callback;
	void *opaque;
	struct irq_source *next; /* all of the set, under its lock */
	struct irq_source *next_free;
};

struct irq_sources {
	int idle_epoll; /* idle CPUs wait for it */
	int own_epoll; /* the thread does, */
	int thread_epoll; /* by this one, which has own_epoll and `tell` */
	int tell; /* eventfd: the thread shall look at `quit` and at idle_epoll */
	atomic_bool quit;
	atomic_uint count;
	pthread_mutex_t watch_lock;
	unsigned int watchers; /* CPUs that look all the time */
	pthread_mutex_t lock;
	pthread_cond_t left; /* an awaited source */
	bool thread_runs;
	pthread_t thread;
	struct irq_source *all, *free;
};

/* --- serving ------------------------------------------------------------------------- */

static bool source_enter(struct irq_source *source)
{
	unsigned int old = atomic_load_explicit(&source->state, memory_order_relaxed);

	do {
		if (!(old & SOURCE_LIVE))
			return false;
	} while (!atomic_compare_exchange_weak(&source->state, &old, old + 1));
	return true;
}

/* Afterwards the source may be another one; the set stays. */
static void source_leave(struct irq_source *source)
{
	struct irq_sources *set = source->set;

	if (atomic_fetch_sub(&source->state, 1) - 1 != SOURCE_AWAITED)
		return;
	pthread_mutex_lock(&set->lock);
	pthread_cond_broadcast(&set->left);
	pthread_mutex_unlock(&set->lock);
}

static void source_serve(struct irq_source *source)
{
	if (!source_enter(source))
		return;
	/* Nothing is there: another thread was faster, or another process has taken it back. */
	if (event_take(source->fd))
		source->callback(source->opaque);
	source_leave(source);
}

void irq_sources_serve(struct irq_sources *set, const struct epoll_event *events,
		       unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		source_serve(events[i].data.ptr);
}

static unsigned int look(int epoll, struct epoll_event *events, int timeout)
{
	int count = epoll_wait(epoll, events, EVENTS_AT_ONCE, timeout);

	return count > 0 ? (unsigned int)count : 0;
}

static void tell_thread(struct irq_sources *set)
{
	uint64_t one = 1;

	/* It fails only when the thread has been told very often. */
	if (write(set->tell, &one, sizeof(one)) < 0)
		return;
}

void irq_sources_serve_rest(struct irq_sources *set)
{
	struct epoll_event events[EVENTS_AT_ONCE];

	for (unsigned int round = 0; round < CPU_ROUNDS; round++) {
		unsigned int count = look(set->idle_epoll, events, 0);

		irq_sources_serve(set, events, count);
		if (count < EVENTS_AT_ONCE)
			return;
	}
	/* The guest shall get on. */
	tell_thread(set);
}

/* EPOLLERR and EPOLLHUP, which cannot be left out, do not happen to it. */
static void set_own_events(struct irq_sources *set, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = set->own_epoll };

	epoll_ctl(set->thread_epoll, EPOLL_CTL_MOD, set->own_epoll, &event);
}

void irq_sources_watch(struct irq_sources *set, bool on)
{
	pthread_mutex_lock(&set->watch_lock);
	/* Putting it back looks at what is there. */
	if (on ? !set->watchers++ : !--set->watchers)
		set_own_events(set, on ? 0 : EPOLLIN);
	pthread_mutex_unlock(&set->watch_lock);
}

bool irq_sources_look(struct irq_sources *set, uint64_t ns)
{
	struct spin spin = { .window = (uint32_t)MIN(ns, SPIN_LONGEST_NS) };
	struct epoll_event events[EVENTS_AT_ONCE];
	unsigned int count;
	bool on;

	spin_begin(&spin, deadline_now());
	irq_sources_watch(set, true);
	/* Also once more when the time is over, which may have passed without this thread. */
	do {
		on = spin_goes_on(&spin, deadline_now());
		count = look(set->idle_epoll, events, 0);
	} while (!count && on);
	irq_sources_serve(set, events, count);
	irq_sources_watch(set, false);
	return count;
}

/* --- the set's thread ------------------------------------------------------------------ */

static void *set_thread(void *opaque)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	struct irq_sources *set = opaque;

	while (!atomic_load(&set->quit)) {
		uint64_t told;

		(void)look(set->thread_epoll, events, -1);
		irq_sources_serve(set, events, look(set->own_epoll, events, 0));
		if (read(set->tell, &told, sizeof(told)) > 0)
			irq_sources_serve_rest(set);
	}
	return NULL;
}

/* With the lock held. */
static int start_thread(struct irq_sources *set)
{
	sigset_t all, old;
	int error;

	if (set->thread_runs)
		return 0;
	/* Signals are for others. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&set->thread, NULL, set_thread, set);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return -error;
	pthread_setname_np(set->thread, "interrupts");
	set->thread_runs = true;
	return 0;
}

/* --- sources come and go ---------------------------------------------------------------- */

static int watch(int epoll, int fd, struct irq_source *source)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE,
		.data.ptr = source,
	};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* With the lock held. */
static struct irq_source *take_free(struct irq_sources *set)
{
	struct irq_source *source = set->free;

	if (source) {
		set->free = source->next_free;
		return source;
	}
	source = calloc(1, sizeof(*source));
	if (!source)
		return NULL;
	source->set = set;
	source->next = set->all;
	set->all = source;
	return source;
}

static void give_free(struct irq_source *source)
{
	struct irq_sources *set = source->set;

	pthread_mutex_lock(&set->lock);
	source->next_free = set->free;
	set->free = source;
	pthread_mutex_unlock(&set->lock);
}

/* Nobody is at it, and nobody will come. */
static void source_end(struct irq_source *source)
{
	struct irq_sources *set = source->set;

	pthread_mutex_lock(&set->lock);
	atomic_fetch_or(&source->state, SOURCE_AWAITED);
	atomic_fetch_and(&source->state, ~SOURCE_LIVE);
	while (atomic_load(&source->state) != SOURCE_AWAITED)
		pthread_cond_wait(&set->left, &set->lock);
	atomic_store(&source->state, 0);
	pthread_mutex_unlock(&set->lock);
}

int irq_source_add(struct irq_sources *set, int fd, irq_source_callback *callback, void *opaque,
		   struct irq_source **result)
{
	int flags = fcntl(fd, F_GETFL), rc;
	struct irq_source *source;

	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK))
		return -EINVAL;
	pthread_mutex_lock(&set->lock);
	rc = start_thread(set);
	source = rc ? NULL : take_free(set);
	pthread_mutex_unlock(&set->lock);
	if (!source)
		return rc ? rc : -ENOMEM;
	source->fd = fd;
	source->callback = callback;
	source->opaque = opaque;
	/* From here on it may be called. */
	atomic_store(&source->state, SOURCE_LIVE);
	rc = watch(set->idle_epoll, fd, source);
	if (rc)
		goto end;
	rc = watch(set->own_epoll, fd, source);
	if (rc)
		goto forget;
	atomic_fetch_add(&set->count, 1);
	*result = source;
	return 0;
forget:
	epoll_ctl(set->idle_epoll, EPOLL_CTL_DEL, fd, NULL);
end:
	source_end(source);
	give_free(source);
	return rc;
}

void irq_source_remove(struct irq_source *source)
{
	struct irq_sources *set = source->set;

	atomic_fetch_sub(&set->count, 1);
	epoll_ctl(set->idle_epoll, EPOLL_CTL_DEL, source->fd, NULL);
	epoll_ctl(set->own_epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source_end(source);
	give_free(source);
}

bool irq_sources_any(const struct irq_sources *set)
{
	return atomic_load_explicit(&set->count, memory_order_relaxed);
}

int irq_sources_idle_fd(const struct irq_sources *set)
{
	return set->idle_epoll;
}

/* --- made and taken apart ----------------------------------------------------------------- */

static void free_set(struct irq_sources *set)
{
	struct irq_source *source;

	while ((source = set->all)) {
		set->all = source->next;
		free(source);
	}
	if (set->idle_epoll >= 0)
		close(set->idle_epoll);
	if (set->own_epoll >= 0)
		close(set->own_epoll);
	if (set->thread_epoll >= 0)
		close(set->thread_epoll);
	if (set->tell >= 0)
		close(set->tell);
	pthread_cond_destroy(&set->left);
	pthread_mutex_destroy(&set->watch_lock);
	pthread_mutex_destroy(&set->lock);
	free(set);
}

struct irq_sources *irq_sources_create(void)
{
	struct epoll_event ready = { .events = EPOLLIN };
	struct irq_sources *set = calloc(1, sizeof(*set));
	int error;

	if (!set)
		return NULL;
	pthread_mutex_init(&set->lock, NULL);
	pthread_mutex_init(&set->watch_lock, NULL);
	pthread_cond_init(&set->left, NULL);
	set->idle_epoll = epoll_create1(EPOLL_CLOEXEC);
	set->own_epoll = epoll_create1(EPOLL_CLOEXEC);
	set->thread_epoll = epoll_create1(EPOLL_CLOEXEC);
	set->tell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (set->idle_epoll < 0 || set->own_epoll < 0 || set->thread_epoll < 0 || set->tell < 0 ||
	    epoll_ctl(set->thread_epoll, EPOLL_CTL_ADD, set->own_epoll, &ready) ||
	    epoll_ctl(set->thread_epoll, EPOLL_CTL_ADD, set->tell, &ready)) {
		error = errno;
		free_set(set);
		errno = error;
		return NULL;
	}
	return set;
}

void irq_sources_destroy(struct irq_sources *set)
{
	if (!set)
		return;
	if (set->thread_runs) {
		atomic_store(&set->quit, true);
		tell_thread(set);
		pthread_join(set->thread, NULL);
	}
	free_set(set);
}
