/* SPDX-License-Identifier: MIT */
/*
 * Function measurement: a block in guest memory in which the machine counts what
 * a program does with a function, brought up to date at intervals.
 *
 * A bit of the time stamp is one while the block changes, so that a program can
 * tell a consistent block from one that is being written.
 *
 * Source: struct zpci_fmb in Linux, arch/s390/include/asm/pci.h, and its use in
 * pci_debug.c; QEMU, fmb_update() (the update bit).
 */
#include <stddef.h>

#include "zpci/internal.h"

struct fmb {
	be32 format; /* 8 bits of it; then which format-dependent counters are valid */
	be32 samples;
	be64 last_update; /* TOD clock, but bit 63 is one while the block changes */
	be64 counters[FMB_COUNTERS];
	be64 dma_read;  /* format 0: bytes */
	be64 dma_written;
};

static_assert(sizeof(struct fmb) == 64, "layout of a measurement block");

#define FMB_FORMAT 0u
#define FMB_DMA_VALID (1u << 23)
#define FMB_UPDATING 1ull

/* One access each, since a program reads meanwhile. The block is aligned. */
static void store64(const struct zpci_function *f, size_t offset, uint64_t value)
{
	be64 raw = be64_of(value);
	uint8_t *host = f->zpci->memory.base + f->measurement.address + offset;

	__atomic_store_n((uint64_t *)host, raw.raw, __ATOMIC_RELEASE);
}

uint64_t measurement_counter(const struct zpci_function *f, unsigned counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < COUNTER_LANES; i++)
		sum += atomic_load_explicit(&f->lanes[i].counters[counter], memory_order_relaxed);
	return sum;
}

void measurement_start(struct zpci_function *f, uint64_t address)
{
	struct measurement *m = &f->measurement;

	*m = (struct measurement){ .address = address };
	for (unsigned i = 0; i < FMB_COUNTERS; i++)
		m->since[i] = measurement_counter(f, i);
}

void measurement_stop(struct zpci_function *f)
{
	f->measurement = (struct measurement){ 0 };
}

/* With the function's lock held. */
static void update(struct zpci_function *f)
{
	const struct zpci_machine_ops *machine = f->zpci->config.machine;
	uint64_t now = machine->tod ? machine->tod(f->zpci->config.opaque) : 0;
	struct measurement *m = &f->measurement;
	struct dma_counters dma = dma_space_counters(f->dma);

	store64(f, offsetof(struct fmb, last_update), now | FMB_UPDATING);
	m->samples++;
	store64(f, 0, (uint64_t)(FMB_FORMAT << 24 | FMB_DMA_VALID) << 32 | m->samples);
	for (unsigned i = 0; i < FMB_COUNTERS; i++)
		store64(f, offsetof(struct fmb, counters) + i * sizeof(be64),
			measurement_counter(f, i) - m->since[i]);
	store64(f, offsetof(struct fmb, dma_read), dma.read);
	store64(f, offsetof(struct fmb, dma_written), dma.written);
	store64(f, offsetof(struct fmb, last_update), now & ~FMB_UPDATING);
	zpci_memory_written(f->zpci, m->address, sizeof(struct fmb));
}

void zpci_update_measurements(struct zpci *zpci, uint64_t now_ms)
{
	for (unsigned i = 0; i < ZPCI_FUNCTIONS_MAX; i++) {
		struct zpci_function *f = function_enter_slot(zpci, i);
		uint64_t failed = 0;

		if (!f) {
			if (!atomic_load(&zpci->slots[i]))
				break; /* slots fill from the first on */
			continue;
		}
		pthread_mutex_lock(&f->lock);
		if (f->measurement.address && now_ms >= f->measurement.next_ms) {
			if (memory_contains(zpci, f->measurement.address, sizeof(struct fmb))) {
				f->measurement.next_ms = now_ms + f->config.update_interval;
				update(f);
			} else {
				failed = f->measurement.address;
				measurement_stop(f);
			}
		}
		pthread_mutex_unlock(&f->lock);
		if (failed)
			event_error(f, PEC_FMB_ADDRESS, failed);
		function_leave(f);
	}
}
