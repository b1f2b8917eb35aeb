/* SPDX-License-Identifier: MIT */
/*
 * The thread of testdev, which begins with the first thing that is to be done
 * later, and its interrupts.
 */
#include <time.h>

#include "base/util.h"
#include "devices/testdev_device.h"
#include "zpci/pci.h"

/* So many at once, when the thread is late; then others get their turn. */
#define RATE_BATCH 64

#define SECOND 1000000000ull

uint64_t testdev_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* --- interrupts ---------------------------------------------------------------------- */

void testdev_fire(struct testdev *d, unsigned first, unsigned count)
{
	bool msix = pci_function_msix_enabled(d->function);

	for (unsigned vector = first; vector < first + count; vector++) {
		if (msix)
			pci_function_msix_notify(d->function, vector);
		else
			pci_function_msi_notify(d->function, vector);
	}
	d->fired += count;
}

static void run_rate(struct testdev *d, uint64_t now)
{
	struct testdev_rate *rate = &d->rate;

	for (unsigned i = 0; i < RATE_BATCH && rate->active && rate->due <= now; i++) {
		testdev_fire(d, rate->first + rate->turn, 1);
		rate->turn = (rate->turn + 1) % rate->count;
		rate->due += rate->interval;
		if (rate->left != TESTDEV_NEVER && !--rate->left)
			rate->active = false;
	}
}

void testdev_rate_command(struct testdev *d, uint64_t command)
{
	struct testdev_rate *rate = &d->rate;

	d->rate_command = command;
	*rate = (struct testdev_rate){
		.first = command & 0xffff,
		.count = command >> 16 & 0xffff,
		.left = d->rate_count ? d->rate_count : TESTDEV_NEVER,
		.interval = MIN(d->rate_interval, 3600 * SECOND),
		.due = testdev_now(),
	};
	rate->active = rate->count && !d->resetting;
	if (rate->active && testdev_thread_wake(d))
		rate->active = false;
}

/* --- the thread ------------------------------------------------------------------------- */

static uint64_t next_due(const struct testdev *d)
{
	uint64_t due = testdev_dma_next_due(d);

	return d->rate.active ? MIN(due, d->rate.due) : due;
}

static void wait_until(struct testdev *d, uint64_t due)
{
	const struct timespec when = { (time_t)(due / SECOND), (long)(due % SECOND) };

	if (due == TESTDEV_NEVER)
		pthread_cond_wait(&d->changed, &d->lock);
	else
		pthread_cond_timedwait(&d->changed, &d->lock, &when);
}

static void *thread_main(void *opaque)
{
	struct testdev *d = opaque;

	pthread_mutex_lock(&d->lock);
	while (!d->quit) {
		uint64_t now = testdev_now(), due = next_due(d);

		if (d->resetting || due > now) {
			wait_until(d, d->resetting ? TESTDEV_NEVER : due);
			continue;
		}
		run_rate(d, now);
		testdev_dma_end_due_holds(d, now);
		if (d->busy && !d->running && d->job_due <= now)
			testdev_dma_run_job(d);
		/* A mutex is not fair: without this, nobody else would have it for long. */
		pthread_mutex_unlock(&d->lock);
		nanosleep(&(struct timespec){ 0, 1 }, NULL);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

int testdev_thread_wake(struct testdev *d)
{
	int error = 0;

	if (!d->has_thread) {
		error = pthread_create(&d->thread, NULL, thread_main, d);
		d->has_thread = !error;
		if (!error)
			(void)pthread_setname_np(d->thread, "testdev");
	}
	pthread_cond_broadcast(&d->changed);
	return -error;
}

void testdev_thread_end(struct testdev *d)
{
	if (!d->has_thread)
		return;
	pthread_mutex_lock(&d->lock);
	d->quit = true;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	d->has_thread = false;
}
