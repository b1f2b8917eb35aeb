/* SPDX-License-Identifier: MIT */
/* Passed-through functions: their BARs, reset, and life; see passthrough.h. */
#include "vfio/passthrough.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/byteorder.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "devices/device.h"
#include "vfio/passthrough_internal.h"
#include "zpci/zpci.h"

_Static_assert(VFIO_PCI_BAR0_REGION_INDEX == 0 && VFIO_PCI_BAR5_REGION_INDEX == 5,
	       "BARs and regions have the same numbers");

/* A reset that finds the device in use is tried again, for half a second. */
#define RESET_ATTEMPTS 100

/* --- BARs ------------------------------------------------------------------------- */

/* Where [offset, offset + length) of a BAR is in our memory; NULL: not all in one area. */
static void *mapped(const struct passthrough *p, unsigned bar, uint64_t offset, unsigned length)
{
	const struct passthrough_bar *b = &p->bars[bar];

	for (unsigned i = 0; i < b->areas; i++) {
		uint64_t in_area = offset - b->area[i].offset;

		if (range_fits(in_area, length, b->area[i].length))
			return (uint8_t *)b->area[i].host + in_area;
	}
	return NULL;
}

/* One access of the region. What cannot be read is all ones, as on any bus. */
static uint64_t region_load(struct passthrough *p, unsigned bar, uint64_t offset, unsigned size)
{
	uint8_t bytes[8] = { 0 };

	if (p->ops->region_read(p->backend, bar, offset, bytes, size))
		return UINT64_MAX;
	return load_le64(bytes);
}

static bool is_aligned(const void *host, unsigned size)
{
	return !((uintptr_t)host & (size - 1));
}

/*
 * Each is one load or store of the host's CPU, whatever the compiler would like better.
 * Sizes that are no power of two reach the device as an access of the region.
 */
static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct passthrough *p = device;
	const void *host = mapped(p, bar, offset, size);

	if (unlikely(!host || !is_aligned(host, size)))
		return region_load(p, bar, offset, size);
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)host;
	case 2:
		return le16toh(*(const volatile uint16_t *)host);
	case 4:
		return le32toh(*(const volatile uint32_t *)host);
	case 8:
		return le64toh(*(const volatile uint64_t *)host);
	default:
		return region_load(p, bar, offset, size);
	}
}

static void region_store(struct passthrough *p, unsigned bar, uint64_t offset, unsigned size,
			 uint64_t value)
{
	uint8_t bytes[8];

	store_le64(bytes, value);
	/* A store to a bus is not answered. */
	(void)p->ops->region_write(p->backend, bar, offset, bytes, size);
}

static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct passthrough *p = device;
	void *host = mapped(p, bar, offset, size);

	if (unlikely(!host || !is_aligned(host, size))) {
		region_store(p, bar, offset, size, value);
		return;
	}
	switch (size) {
	case 1:
		*(volatile uint8_t *)host = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)host = htole16((uint16_t)value);
		break;
	case 4:
		*(volatile uint32_t *)host = htole32((uint32_t)value);
		break;
	case 8:
		*(volatile uint64_t *)host = htole64(value);
		break;
	default:
		region_store(p, bar, offset, size, value);
	}
}

static void *bar_memory(void *device, unsigned bar, uint64_t offset, uint64_t *first,
			uint64_t *length)
{
	const struct passthrough *p = device;
	const struct passthrough_bar *b = &p->bars[bar];

	for (unsigned i = 0; i < b->areas; i++) {
		if (range_fits(offset - b->area[i].offset, 1, b->area[i].length)) {
			*first = b->area[i].offset;
			*length = b->area[i].length;
			return b->area[i].host;
		}
	}
	return NULL;
}

static int bar_write_block(void *device, unsigned bar, uint64_t offset, const void *data,
			   unsigned length)
{
	struct passthrough *p = device;
	uint8_t *host = mapped(p, bar, offset, length);

	if (!host || !is_aligned(host, 8) || length % 8)
		return p->ops->region_write(p->backend, bar, offset, data, length);
	for (unsigned i = 0; i < length; i += 8)
		*(volatile uint64_t *)(host + i) = htole64(load_le64((const uint8_t *)data + i));
	return 0;
}

/* --- reset, errors ---------------------------------------------------------------- */

/* The kernel does not wait for whoever is at the device's registers just now: it says EAGAIN. */
static int reset_when_free(struct passthrough *p)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int rc = p->ops->reset(p->backend);

	for (unsigned i = 0; i < RESET_ATTEMPTS && rc == -EAGAIN; i++) {
		nanosleep(&pause, NULL);
		rc = p->ops->reset(p->backend);
	}
	return rc;
}

static void reset(void *device)
{
	struct passthrough *p = device;
	int rc = 0;

	passthrough_irq_disarm(p);
	if (p->has_reset)
		rc = reset_when_free(p);
	/* Whose connection has ended has said so, and is no longer what it was in any case. */
	if (rc)
		trace_passthrough_reset_failed(pci_function_name(p->function), rc);
	if (rc && rc != -ENOTCONN && !atomic_exchange(&p->reset_told, true))
		log_line("%s: the device could not be reset, and is as the guest left it: %s",
			 pci_function_name(p->function), strerror(-rc));
	/* The model's is what it is after a reset; the device's may be anything. */
	passthrough_command_update(p);
}

static void enabling(void *device)
{
	struct passthrough *p = device;

	if (p->ops->come_back && p->ops->come_back(p->backend))
		passthrough_command_update(p);
}

void passthrough_fail(struct passthrough *p, enum pci_error error)
{
	pci_function_raise_error(p->function, error);
}

void passthrough_want_back(struct passthrough *p)
{
	p->host->unplug_wanted(p->host->opaque, p->fid);
}

/* --- DMA ------------------------------------------------------------------------------ */

static int map(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct passthrough *p = opaque;

	return p->ops->map(p->backend, iova, absolute, length, writable);
}

static int map_whole(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct passthrough *p = opaque;

	if (!p->ops->map_whole)
		return map(opaque, iova, absolute, length, writable);
	return p->ops->map_whole(p->backend, iova, absolute, length, writable);
}

static int unmap(void *opaque, uint64_t iova, uint64_t length)
{
	struct passthrough *p = opaque;
	int rc = p->ops->unmap(p->backend, iova, length);

	if (rc && !atomic_exchange(&p->unmap_told, true))
		log_line("%s: the host does not unmap memory (%s): the function is in error",
			 pci_function_name(p->function), strerror(-rc));
	return rc;
}

static void gate(void *opaque, bool open)
{
	passthrough_gate(opaque, open);
}

static const struct zpci_mapping_ops mapping_ops = {
	.map = map,
	.unmap = unmap,
	.gate = gate,
	.map_whole = map_whole,
};

/* --- made and taken apart --------------------------------------------------------------- */

static void destroy(void *device)
{
	struct passthrough *p = device;

	passthrough_irq_destroy(p);
	if (p->described)
		p->ops->close(p->backend);
	pthread_mutex_destroy(&p->irq_lock);
	pthread_mutex_destroy(&p->command_lock);
	free(p);
}

const struct pci_device_ops passthrough_device_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_write_block = bar_write_block,
	.bar_memory = bar_memory,
	.reset = reset,
	.enabling = enabling,
	.config_read = passthrough_config_read,
	.config_write = passthrough_config_write,
	.msix_changed = passthrough_irq_vector_changed,
	.destroy = destroy,
};

static int first_reset(struct passthrough *p, const char *name, char *error, size_t error_size)
{
	int rc = reset_when_free(p);

	p->has_reset = rc != -ENOTTY;
	if (!p->has_reset)
		log_line("%s: the device cannot be reset: the guest gets it as it is", name);
	if (!rc || rc == -ENOTTY)
		return 0;
	snprintf(error, error_size, "the device cannot be reset: %s", strerror(-rc));
	return rc;
}

/* Before there is a function: what it would free is freed here. */
static int describe(struct passthrough *p, const char *name, char *error, size_t error_size)
{
	int rc = first_reset(p, name, error, error_size);

	if (!rc)
		rc = passthrough_config_describe(p, name, error, error_size);
	if (rc)
		return rc;
	rc = passthrough_irq_create(p);
	if (rc)
		snprintf(error, error_size, "its interrupts cannot be used: %s", strerror(-rc));
	return rc;
}

struct passthrough *passthrough_create(const struct passthrough_setup *setup,
				       struct device_made *made, int *rc, char *error,
				       size_t error_size)
{
	struct passthrough *p = calloc(1, sizeof(*p));

	if (!p) {
		snprintf(error, error_size, "out of memory");
		*rc = -ENOMEM;
		return NULL;
	}
	pthread_mutex_init(&p->irq_lock, NULL);
	pthread_mutex_init(&p->command_lock, NULL);
	p->ops = setup->ops;
	p->backend = setup->backend;
	p->host = setup->host;
	p->irq_sources = setup->irq_sources;
	p->fid = setup->fid;
	p->gate_open = !p->ops->map;
	*rc = describe(p, setup->name, error, error_size);
	if (*rc) {
		if (p->function)
			pci_function_free(p->function);
		else
			destroy(p);
		return NULL;
	}
	p->described = true;
	passthrough_command_update(p);
	made->function = p->function;
	if (p->ops->map) {
		made->mapping = &mapping_ops;
		made->mapping_opaque = p;
	}
	return p;
}
