/* SPDX-License-Identifier: MIT */
/*
 * Transfers of testdev: copies, patterns, checksums, and accesses that stay in
 * flight for as long as a test wants. See testdev_regs.h for what they do.
 *
 * The guest may ask for any address and any length. A vCPU's thread executes at
 * most TESTDEV_INLINE_MAX bytes; the device's thread looks between pieces
 * whether it shall stop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "devices/testdev_device.h"
#include "zpci/pci.h"

#define PIECE 16384

#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

static unsigned outcome_of(int error)
{
	switch (error) {
	case 0:
		return TESTDEV_DONE_OK;
	case -EPERM:
		return TESTDEV_DONE_BLOCKED;
	case -EFAULT:
		return TESTDEV_DONE_FAULT;
	default:
		return TESTDEV_DONE_INVALID;
	}
}

/* --- what is done to bytes ------------------------------------------------------- */

/* Bytes [offset, offset + length) of the pattern. */
static void make_pattern(const struct testdev_parameters *p, uint64_t offset, uint8_t *to,
			 size_t length)
{
	uint8_t word[8];

	for (size_t i = 0; i < length; i++, offset++) {
		if (!i || offset % 8 == 0)
			store_le64(word, p->pattern + offset / 8 * p->step);
		to[i] = word[offset % 8];
	}
}

static uint64_t hash(uint64_t seed, const uint8_t *data, size_t length)
{
	while (length--)
		seed = (seed ^ *data++) * FNV_PRIME;
	return seed;
}

/* How many bytes are as the pattern says, up to the first that is not? */
static size_t same_as_pattern(const struct testdev_parameters *p, uint64_t offset,
			      const uint8_t *data, size_t length)
{
	uint8_t word[8];
	size_t i;

	for (i = 0; i < length; i++, offset++) {
		if (!i || offset % 8 == 0)
			store_le64(word, p->pattern + offset / 8 * p->step);
		if (data[i] != word[offset % 8])
			break;
	}
	return i;
}

/* --- transfers that end --------------------------------------------------------------- */

/* One piece; false when the rest need not be looked at. */
static bool move(struct testdev *d, struct pci_dma_space *space, const struct testdev_job *job,
		 uint64_t offset, size_t length, struct testdev_end *end)
{
	const struct testdev_parameters *p = &job->p;
	uint64_t iova = p->address + offset;
	uint8_t buffer[PIECE];
	int error = 0;

	switch (job->operation) {
	case TESTDEV_OP_READ:
		error = pci_dma_read(space, iova, d->memory + p->local + offset, length);
		break;
	case TESTDEV_OP_WRITE:
		error = pci_dma_write(space, iova, d->memory + p->local + offset, length);
		break;
	case TESTDEV_OP_FILL:
		make_pattern(p, offset, buffer, length);
		error = pci_dma_write(space, iova, buffer, length);
		break;
	default:
		error = pci_dma_read(space, iova, buffer, length);
	}
	end->outcome = outcome_of(error);
	if (error)
		return false;
	end->done += length;
	if (job->operation == TESTDEV_OP_CHECKSUM) {
		end->result = hash(end->result, buffer, length);
	} else if (job->operation == TESTDEV_OP_COMPARE) {
		size_t same = same_as_pattern(p, offset, buffer, length);

		if (same < length)
			end->result = offset + same;
		return same == length;
	}
	return true;
}

static bool parameters_valid(const struct testdev *d, const struct testdev_job *job)
{
	const struct testdev_parameters *p = &job->p;

	if (p->length && p->address + (p->length - 1) < p->address)
		return false;
	switch (job->operation) {
	case TESTDEV_OP_READ:
	case TESTDEV_OP_WRITE:
		return range_fits(p->local, p->length, d->memory_size);
	case TESTDEV_OP_FILL:
	case TESTDEV_OP_CHECKSUM:
	case TESTDEV_OP_COMPARE:
		return true;
	case TESTDEV_OP_HOLD_FILL:
	case TESTDEV_OP_HOLD_CHECKSUM:
		return p->length && p->length <= TESTDEV_HOLD_MAX;
	default:
		return false;
	}
}

/* Without the lock. */
static struct testdev_end transfer(struct testdev *d, const struct testdev_job *job)
{
	struct pci_dma_space *space = pci_function_dma(d->function);
	struct testdev_end end = { 0 };
	uint64_t offset = 0;

	if (job->operation == TESTDEV_OP_CHECKSUM)
		end.result = FNV_OFFSET;
	else if (job->operation == TESTDEV_OP_COMPARE)
		end.result = UINT64_MAX;
	if (!space) {
		end.outcome = TESTDEV_DONE_BLOCKED;
		return end;
	}
	while (offset < job->p.length) {
		size_t length = MIN(job->p.length - offset, PIECE);

		if (atomic_load_explicit(&d->cancel, memory_order_relaxed)) {
			end.outcome = TESTDEV_DONE_STOPPED;
			break;
		}
		if (!move(d, space, job, offset, length, &end))
			break;
		offset += length;
	}
	return end;
}

static void note_end(struct testdev *d, const struct testdev_job *job,
		     const struct testdev_end *end)
{
	d->last = *end;
	d->transfers++;
	testdev_log(d, job->operation, end->outcome, end->done, job->p.address, end->result);
	if (job->notify)
		testdev_fire(d, job->vector, 1);
}

/* The job there is; for whoever finds it due and not running. */
void testdev_dma_run_job(struct testdev *d)
{
	const struct testdev_job job = d->job;
	struct testdev_end end;

	d->running = true;
	pthread_mutex_unlock(&d->lock);
	end = transfer(d, &job);
	pthread_mutex_lock(&d->lock);
	d->running = false;
	d->busy = job.repeat && end.outcome == TESTDEV_DONE_OK && !d->stop;
	/* A repetition with no delay still lets others have the lock. */
	d->job_due = testdev_now() + MIN(job.p.delay_us, UINT32_MAX) * 1000;
	if (d->stop && !d->resetting)
		atomic_store(&d->cancel, false);
	d->stop = d->stop && d->resetting;
	note_end(d, &job, &end);
	pthread_cond_broadcast(&d->changed);
}

/* --- accesses that stay -------------------------------------------------------------------- */

static void end_hold(struct testdev *d, struct testdev_hold *hold, bool complete)
{
	struct testdev_end end = { .outcome = complete ? TESTDEV_DONE_OK : TESTDEV_DONE_STOPPED };
	bool fill = hold->job.operation == TESTDEV_OP_HOLD_FILL;

	end.result = fill ? 0 : FNV_OFFSET;
	for (unsigned i = 0; complete && i < hold->iov_count; i++) {
		const struct iovec *part = &hold->iov[i];

		if (fill)
			make_pattern(&hold->job.p, end.done, part->iov_base, part->iov_len);
		else
			end.result = hash(end.result, part->iov_base, part->iov_len);
		end.done += part->iov_len;
	}
	pci_dma_access_end(&hold->access, fill ? end.done : 0);
	hold->active = false;
	note_end(d, &hold->job, &end);
}

static struct testdev_hold *free_hold(struct testdev *d)
{
	if (!d->holds)
		d->holds = calloc(TESTDEV_HOLDS, sizeof(*d->holds));
	for (unsigned i = 0; d->holds && i < TESTDEV_HOLDS; i++) {
		if (!d->holds[i].active)
			return &d->holds[i];
	}
	return NULL;
}

static void begin_hold(struct testdev *d, const struct testdev_job *job)
{
	struct pci_dma_space *space = pci_function_dma(d->function);
	struct testdev_hold *hold = free_hold(d);
	struct testdev_end end = { 0 };
	int count;

	if (!hold || !parameters_valid(d, job)) {
		d->rejected++;
		d->last = (struct testdev_end){ .outcome = TESTDEV_DONE_INVALID };
		return;
	}
	hold->job = *job;
	hold->range = (struct pci_dma_range){ job->p.address, job->p.length };
	count = space ? pci_dma_access_begin(space, &hold->access,
					     job->operation == TESTDEV_OP_HOLD_FILL ?
						     PCI_DMA_FROM_DEVICE :
						     PCI_DMA_TO_DEVICE,
					     &hold->range, 1, hold->iov, ARRAY_SIZE(hold->iov)) :
			-EPERM;
	if (count < 0) {
		end.outcome = outcome_of(count);
		note_end(d, job, &end);
		return;
	}
	hold->iov_count = count;
	hold->active = true;
	hold->due = TESTDEV_NEVER;
	d->last = end;
	if (job->p.delay_us) {
		hold->due = testdev_now() + MIN(job->p.delay_us, UINT32_MAX) * 1000;
		/* Without a thread it waits for RELEASE; there is nothing better. */
		(void)testdev_thread_wake(d);
	}
}

static void end_holds(struct testdev *d, bool complete)
{
	for (unsigned i = 0; d->holds && i < TESTDEV_HOLDS; i++) {
		if (d->holds[i].active)
			end_hold(d, &d->holds[i], complete);
	}
}

void testdev_dma_end_due_holds(struct testdev *d, uint64_t now)
{
	for (unsigned i = 0; d->holds && i < TESTDEV_HOLDS; i++) {
		if (d->holds[i].active && d->holds[i].due <= now)
			end_hold(d, &d->holds[i], true);
	}
}

unsigned testdev_dma_held(const struct testdev *d)
{
	unsigned held = 0;

	for (unsigned i = 0; d->holds && i < TESTDEV_HOLDS; i++)
		held += d->holds[i].active;
	return held;
}

/* When has the thread something to do here next? */
uint64_t testdev_dma_next_due(const struct testdev *d)
{
	uint64_t due = d->busy && !d->running ? d->job_due : TESTDEV_NEVER;

	for (unsigned i = 0; d->holds && i < TESTDEV_HOLDS; i++) {
		if (d->holds[i].active)
			due = MIN(due, d->holds[i].due);
	}
	return due;
}

/* --- commands --------------------------------------------------------------------------------- */

static void stop(struct testdev *d)
{
	if (!d->busy)
		return;
	if (!d->running) {
		d->busy = false;
		return;
	}
	d->stop = true;
	atomic_store(&d->cancel, true);
}

static void begin(struct testdev *d, const struct testdev_job *job, bool thread)
{
	if (!parameters_valid(d, job)) {
		const struct testdev_end end = { .outcome = TESTDEV_DONE_INVALID };

		note_end(d, job, &end);
		return;
	}
	d->job = *job;
	d->busy = true;
	d->job_due = 0;
	if (!thread) {
		testdev_dma_run_job(d);
	} else if (testdev_thread_wake(d)) {
		d->busy = false;
		d->rejected++;
	}
}

void testdev_dma_command(struct testdev *d, uint64_t command)
{
	const struct testdev_job job = {
		.p = d->parameters,
		.operation = command & 0xff,
		.repeat = command & TESTDEV_DMA_REPEAT,
		.notify = command & TESTDEV_DMA_NOTIFY,
		.vector = command >> 16 & 0xffff,
	};
	bool thread = command & (TESTDEV_DMA_THREAD | TESTDEV_DMA_REPEAT) ||
		      job.p.length > TESTDEV_INLINE_MAX;

	d->command = command;
	if (d->resetting) {
		d->rejected++;
		return;
	}
	switch (job.operation) {
	case TESTDEV_OP_HOLD_FILL:
	case TESTDEV_OP_HOLD_CHECKSUM:
		begin_hold(d, &job);
		break;
	case TESTDEV_OP_RELEASE:
		end_holds(d, true);
		break;
	case TESTDEV_OP_STOP:
		stop(d);
		break;
	default:
		if (d->busy)
			d->rejected++;
		else
			begin(d, &job, thread);
	}
}

void testdev_dma_reset(struct testdev *d)
{
	d->resetting = true;
	atomic_store(&d->cancel, true);
	while (d->running)
		pthread_cond_wait(&d->changed, &d->lock);
	end_holds(d, false);
	d->busy = d->stop = false;
	atomic_store(&d->cancel, false);
	d->parameters = (struct testdev_parameters){ 0 };
	d->last = (struct testdev_end){ 0 };
	d->command = d->transfers = d->rejected = 0;
	d->resetting = false;
}
