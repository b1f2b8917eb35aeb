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
	be32 format; /* 8 bits of it; then which of format 0's counters are valid */
	be32 samples;
	be64 last_update; /* TOD clock, but bit 63 is one while the block changes */
	be64 values[FMB_VALUES];
};

static_assert(sizeof(struct fmb) == 80, "layout of a measurement block");

#define FMB_DMA_VALID (1u << 23)
#define FMB_UPDATING 1ull

/* How many counters a format has of its own. */
static const uint8_t format_counters[] = {
	[PCI_MEASURES_DMA] = 2,
	[PCI_MEASURES_PACKETS] = 4,
	[PCI_MEASURES_WORK] = 2,
	[PCI_MEASURES_SENT] = 1,
};

static unsigned value_count(const struct zpci_function *f)
{
	return FMB_COUNTERS + format_counters[pci_function_measurement(f->pci)];
}

static unsigned block_size(const struct zpci_function *f)
{
	return (unsigned)offsetof(struct fmb, values) + value_count(f) * 8;
}

unsigned measurement_words(const struct zpci_function *f)
{
	return block_size(f) / 4;
}

/* One access each, since a program reads meanwhile. The block is aligned. */
static void store64(const struct zpci_function *f, size_t offset, uint64_t value)
{
	be64 raw = be64_of(value);
	uint8_t *host = f->zpci->memory.base + f->measurement.address + offset;

	__atomic_store_n((uint64_t *)host, raw.raw, __ATOMIC_RELEASE);
}

static uint64_t counter(const struct zpci_function *f, unsigned counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < COUNTER_LANES; i++)
		sum += atomic_load_explicit(&f->lanes[i].counters[counter], memory_order_relaxed);
	return sum;
}

/* All values as they are now. Without the function's lock, since the device is asked. */
static void collect(struct zpci_function *f, uint64_t values[FMB_VALUES])
{
	for (unsigned i = 0; i < FMB_COUNTERS; i++)
		values[i] = counter(f, i);
	if (pci_function_measurement(f->pci) == PCI_MEASURES_DMA) {
		struct dma_counters dma = dma_space_counters(f->dma);

		values[FMB_COUNTERS] = dma.read;
		values[FMB_COUNTERS + 1] = dma.written;
	} else {
		pci_function_counters(f->pci, values + FMB_COUNTERS);
	}
}

/* One that does not count: how much is possible. */
static bool is_level(const struct zpci_function *f, unsigned value)
{
	return pci_function_measurement(f->pci) == PCI_MEASURES_WORK && value == FMB_COUNTERS + 1;
}

void measurement_start(struct zpci_function *f, uint64_t address)
{
	struct measurement m = { .address = address };

	collect(f, m.since);
	for (unsigned i = 0; i < FMB_VALUES; i++)
		if (is_level(f, i))
			m.since[i] = 0;
	pthread_mutex_lock(&f->lock);
	m.serial = f->measurement.serial + 1;
	f->measurement = m;
	pthread_mutex_unlock(&f->lock);
}

void measurement_stop(struct zpci_function *f)
{
	f->measurement = (struct measurement){ .serial = f->measurement.serial };
}

/* With the function's lock held. */
static void update(struct zpci_function *f, const uint64_t values[FMB_VALUES])
{
	const struct zpci_machine_ops *machine = f->zpci->config.machine;
	uint64_t now = machine->tod ? machine->tod(f->zpci->config.opaque) : 0;
	enum pci_measurement format = pci_function_measurement(f->pci);
	struct measurement *m = &f->measurement;
	uint32_t word = (uint32_t)format << 24 | (format == PCI_MEASURES_DMA ? FMB_DMA_VALID : 0);

	store64(f, offsetof(struct fmb, last_update), now | FMB_UPDATING);
	m->samples++;
	store64(f, 0, (uint64_t)word << 32 | m->samples);
	for (unsigned i = 0; i < value_count(f); i++) {
		/* A device that has been reset counts from 0. */
		if (values[i] < m->since[i])
			m->since[i] = 0;
		store64(f, offsetof(struct fmb, values) + i * sizeof(be64),
			values[i] - m->since[i]);
	}
	store64(f, offsetof(struct fmb, last_update), now & ~FMB_UPDATING);
	zpci_memory_written(f->zpci, m->address, block_size(f));
}

/* Is it due? The lock is let go meanwhile, so that this is asked twice. */
static bool due(struct zpci_function *f, uint64_t now_ms)
{
	return f->measurement.address && now_ms >= f->measurement.next_ms;
}

/* The address of a block that is not in memory, and has been given up; or 0. */
static uint64_t update_if_due(struct zpci_function *f, uint64_t now_ms)
{
	uint64_t values[FMB_VALUES] = { 0 };
	uint64_t failed = 0;
	unsigned serial;
	bool look;

	pthread_mutex_lock(&f->lock);
	look = due(f, now_ms);
	serial = f->measurement.serial;
	pthread_mutex_unlock(&f->lock);
	if (!look)
		return 0;
	collect(f, values);
	pthread_mutex_lock(&f->lock);
	/* Switched on anew meanwhile, it counts from later than these values: its turn comes. */
	look = due(f, now_ms) && f->measurement.serial == serial;
	if (look && memory_contains(f->zpci, f->measurement.address, block_size(f))) {
		f->measurement.next_ms = now_ms + f->config.update_interval;
		update(f, values);
	} else if (look) {
		failed = f->measurement.address;
		measurement_stop(f);
	}
	pthread_mutex_unlock(&f->lock);
	return failed;
}

void zpci_update_measurements(struct zpci *zpci, uint64_t now_ms)
{
	for (unsigned i = 0; i < ZPCI_FUNCTIONS_MAX; i++) {
		struct zpci_function *f = function_enter_slot(zpci, i);
		uint64_t failed;

		if (!f) {
			if (!atomic_load(&zpci->slots[i]))
				break; /* slots fill from the first on */
			continue;
		}
		failed = update_if_due(f, now_ms);
		if (failed)
			event_error(f, PEC_FMB_ADDRESS, failed);
		function_leave(f);
	}
}
