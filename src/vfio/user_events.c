/* SPDX-License-Identifier: MIT */
/*
 * The client's eventfds and their watchdog; see user_events.h. eventfd_write() of Linux
 * (fs/eventfd.c) waits for room in a way that a signal ends, and looks for room first: one that
 * has it is written, whatever signal is pending.
 */
#include "vfio/user_events.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/deadline.h"
#include "base/event.h"
#include "base/util.h"

/* The first two are those of the CPU (cpu/soft/clock.c, idle.c). */
#define WAKE_SIGNAL (SIGRTMIN + 2)

/* A signal that came before the write began to wait has done nothing. */
#define AGAIN_MS 10

struct user_events {
	pthread_t watchdog;
	unsigned look_ms;
	pthread_key_t unblocked; /* the threads in which the signal is */

	pthread_mutex_t lock; /* guards what follows; held for moments */
	pthread_cond_t changed; /* for the watchdog */
	int peer; /* -1: nobody */
	bool shut; /* nothing is written */
	bool ending; /* the watchdog shall end */
	bool resting; /* it waits until something is written */
	uint64_t writes; /* that were begun */
	bool writing; /* the last one has not ended */
	bool signalled; /* so its thread has been */
	pthread_t writer;
};

/* --- the watchdog: with the lock held ---------------------------------------------------- */

static void wait_ms(struct user_events *e, unsigned ms)
{
	const struct timespec until = deadline_timespec(deadline_in_ms(ms));

	while (!e->ending && pthread_cond_timedwait(&e->changed, &e->lock, &until) != ETIMEDOUT)
		;
}

static bool has_hung_up(int socket)
{
	struct pollfd peer = { .fd = socket };

	return poll(&peer, 1, 0) == 1 && peer.revents & (POLLHUP | POLLERR);
}

/* The writer cannot leave user_events_give() meanwhile, so it is a thread. */
static void interrupt_write(struct user_events *e)
{
	const uint64_t which = e->writes;

	while (e->writing && e->writes == which && !e->ending) {
		e->signalled = true;
		pthread_kill(e->writer, WAKE_SIGNAL);
		wait_ms(e, AGAIN_MS);
	}
}

static void *watch(void *opaque)
{
	struct user_events *e = opaque;
	uint64_t seen = 0;

	pthread_mutex_lock(&e->lock);
	while (!e->ending) {
		e->resting = !e->writing && e->writes == seen;
		while (e->resting && !e->ending)
			pthread_cond_wait(&e->changed, &e->lock);
		seen = e->writes;
		wait_ms(e, e->look_ms);
		if (e->peer >= 0 && has_hung_up(e->peer))
			e->shut = true;
		if (e->writing && (e->shut || e->writes == seen))
			interrupt_write(e);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* --- writing -------------------------------------------------------------------------------- */

static void unblock_signal(struct user_events *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	/* When this cannot be noted, it is done each time. */
	(void)pthread_setspecific(e->unblocked, e);
}

static bool begin(struct user_events *e)
{
	bool go;

	if (unlikely(!pthread_getspecific(e->unblocked)))
		unblock_signal(e);
	pthread_mutex_lock(&e->lock);
	go = !e->shut;
	if (go) {
		e->writes++;
		e->writing = true;
		e->signalled = false;
		e->writer = pthread_self();
		if (unlikely(e->resting)) {
			e->resting = false;
			pthread_cond_signal(&e->changed);
		}
	}
	pthread_mutex_unlock(&e->lock);
	return go;
}

/* Has it been ended by the watchdog, and not by a signal of somebody else? */
static bool was_told(struct user_events *e)
{
	bool told;

	pthread_mutex_lock(&e->lock);
	told = e->signalled;
	pthread_mutex_unlock(&e->lock);
	return told;
}

static int end(struct user_events *e, int error)
{
	bool signalled;

	pthread_mutex_lock(&e->lock);
	e->writing = false;
	signalled = e->signalled;
	if (error == EINTR) {
		error = e->shut ? ENOTCONN : ETIMEDOUT;
		e->shut = true;
	}
	pthread_mutex_unlock(&e->lock);
	/* One that was sent has been handled at the latest when a system call comes back. */
	if (unlikely(signalled))
		sched_yield();
	return -error;
}

int user_events_give(struct user_events *e, int fd)
{
	int error;

	if (!begin(e))
		return -ENOTCONN;
	do
		error = event_give(fd) ? 0 : errno;
	while (unlikely(error == EINTR) && !was_told(e));
	return end(e, error);
}

/* --- clients ----------------------------------------------------------------------------------- */

void user_events_open(struct user_events *e, int socket)
{
	pthread_mutex_lock(&e->lock);
	e->peer = socket;
	e->shut = false;
	pthread_mutex_unlock(&e->lock);
}

void user_events_close(struct user_events *e)
{
	pthread_mutex_lock(&e->lock);
	e->peer = -1;
	e->shut = true;
	pthread_mutex_unlock(&e->lock);
}

static void on_signal(int signal)
{
	(void)signal;
}

struct user_events *user_events_new(unsigned look_ms)
{
	const struct sigaction action = { .sa_handler = on_signal };
	struct user_events *e = calloc(1, sizeof(*e));
	pthread_condattr_t monotonic;

	if (!e)
		return NULL;
	if (sigaction(WAKE_SIGNAL, &action, NULL) || pthread_key_create(&e->unblocked, NULL))
		goto free_events;
	e->look_ms = look_ms;
	e->peer = -1;
	e->shut = true;
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&e->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (!pthread_create(&e->watchdog, NULL, watch, e))
		return e;
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	pthread_key_delete(e->unblocked);
free_events:
	free(e);
	return NULL;
}

void user_events_free(struct user_events *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->ending = true;
	pthread_cond_signal(&e->changed);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->watchdog, NULL);
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	pthread_key_delete(e->unblocked);
	free(e);
}
