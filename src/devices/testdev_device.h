/* SPDX-License-Identifier: MIT */
/*
 * What the files of testdev share.
 *
 * A machine may have thousands of them, so that one which nobody uses must cost
 * next to nothing: its memory is mapped and not touched, and its thread begins
 * when something is to be done later.
 *
 * One lock guards everything but plain memory, which is accessed as memory is. It
 * is not held while a transfer moves bytes: whoever executes the job, a vCPU or
 * the thread, sets `running`, and a reset sets `cancel` and waits until that is
 * over.
 */
#ifndef ZVISOR_DEVICES_TESTDEV_DEVICE_H
#define ZVISOR_DEVICES_TESTDEV_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/testdev_regs.h"
#include "zpci/dma.h"

struct pci_function;

#define TESTDEV_NEVER UINT64_MAX

/* What a guest stores before a command; a command takes a copy. */
struct testdev_parameters {
	uint64_t address, length, pattern, step, local, delay_us;
};

struct testdev_job {
	struct testdev_parameters p;
	uint8_t operation;
	bool repeat, notify;
	uint16_t vector;
};

/* How a transfer ended. */
struct testdev_end {
	uint8_t outcome; /* TESTDEV_DONE_… */
	uint64_t done, result;
};

struct testdev_hold {
	bool active;
	uint64_t due; /* nanoseconds of CLOCK_MONOTONIC, or TESTDEV_NEVER */
	struct testdev_job job;
	struct pci_dma_range range;
	struct iovec iov[TESTDEV_HOLD_MAX / 4096 + 1];
	unsigned iov_count;
	struct pci_dma_access access;
};

struct testdev_rate {
	bool active;
	uint16_t first, count;
	uint16_t turn;
	uint64_t left; /* TESTDEV_NEVER: no end */
	uint64_t interval, due;
};

struct testdev {
	struct pci_function *function;
	uint8_t *mapping; /* all of the following */
	uint64_t mapping_size;
	uint8_t *memory, *small, *recorder, *log;
	uint64_t memory_size;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t resets, scratch, fail;

	struct testdev_parameters parameters;
	struct testdev_job job;
	bool busy; /* there is a job */
	bool running; /* and somebody executes it now */
	bool stop; /* it shall end */
	bool resetting;
	atomic_bool cancel; /* everything shall end */
	uint64_t job_due;
	struct testdev_end last;
	uint64_t command, transfers, rejected;
	struct testdev_hold *holds; /* TESTDEV_HOLDS, or NULL until there is one */

	uint64_t rate_interval, rate_count, rate_command, fired;
	struct testdev_rate rate;

	uint64_t log_count;
	uint64_t counters[4];

	pthread_t thread;
	bool has_thread, quit;
};

/* All with the lock held. */

void testdev_log(struct testdev *d, unsigned kind, unsigned outcome, uint64_t length,
		 uint64_t address, uint64_t value);

/* testdev_dma.c */
void testdev_dma_command(struct testdev *d, uint64_t command); /* the lock may be let go */
void testdev_dma_run_job(struct testdev *d); /* likewise */
void testdev_dma_end_due_holds(struct testdev *d, uint64_t now);
void testdev_dma_reset(struct testdev *d); /* likewise */
uint64_t testdev_dma_next_due(const struct testdev *d);
unsigned testdev_dma_held(const struct testdev *d);

/* testdev_thread.c */
uint64_t testdev_now(void);
void testdev_fire(struct testdev *d, unsigned first, unsigned count);
void testdev_rate_command(struct testdev *d, uint64_t command);
/* Something is to be done at another time than before: 0 or a negative errno. */
int testdev_thread_wake(struct testdev *d);
/* Without the lock. */
void testdev_thread_end(struct testdev *d);

#endif
