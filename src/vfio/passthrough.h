/* SPDX-License-Identifier: MIT */
/*
 * A PCI function of a device that exists elsewhere: behind the host's kernel (VFIO), or
 * in another process (vfio-user). Both reach it by the same few things, which VFIO has
 * made of a PCI device (linux/vfio.h): regions to be read and written, interrupts that
 * come as eventfds, a reset. A backend brings these; here is what all of them share:
 *
 *   Config space   is an image: its layout is the device's. Command register, BARs,
 *                  power state, MSI and MSI-X are kept by our model, and so is
 *                  the list of capabilities, without those that mean nothing to a
 *                  guest on Z or that a guest must not have. All else is read from and
 *                  written to the device.
 *   BARs           Where a backend has mapped a part of one into our memory, aligned
 *                  loads and stores of 1, 2, 4 and 8 bytes go there directly, as
 *                  one access. All else is one access of the region, of the guest's length.
 *                  MSI-X table and pending bits are the model's wherever they are.
 *   Interrupts     The messages that the guest sets are the model's. The device's
 *                  vectors have eventfds, which are armed when the guest first has
 *                  use for them; irq_sources calls us, and the model does the rest.
 *   DMA            The ranges that libzpci wants mapped are handed through. While the
 *                  function may not do DMA (an error, tables that change), the device is no
 *                  bus master, whatever the guest has set.
 *
 * What of config space is the model's follows QEMU, hw/vfio/pci.c, and what Linux,
 * drivers/vfio/pci/vfio_pci_config.c, lets through.
 */
#ifndef ZVISOR_VFIO_PASSTHROUGH_H
#define ZVISOR_VFIO_PASSTHROUGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zpci/pci.h"

struct device_host;
struct device_made;
struct irq_sources;
struct passthrough;

#define PASSTHROUGH_AREAS_MAX 16

/* A part of a region that is in our memory, from `host` on, until the backend is closed. */
struct passthrough_area {
	uint64_t offset, length;
	void *host;
};

struct passthrough_region {
	uint64_t size; /* bytes, 0: there is no such region */
	unsigned areas;
	struct passthrough_area area[PASSTHROUGH_AREAS_MAX];
};

/*
 * Regions and interrupts have the numbers of linux/vfio.h (VFIO_PCI_…_REGION_INDEX,
 * VFIO_PCI_…_IRQ_INDEX). All return 0 or a negative errno. Called from any thread,
 * several at once; of set_irqs and reset, one at a time. None may call back into
 * passthrough_…() before it returns.
 */
struct passthrough_backend_ops {
	/* A region that does not exist has size 0. Called once for each, at the beginning. */
	int (*region_info)(void *backend, unsigned region, struct passthrough_region *info);
	/* All of `length` bytes, in one access. */
	int (*region_read)(void *backend, unsigned region, uint64_t offset, void *data,
			   size_t length);
	int (*region_write)(void *backend, unsigned region, uint64_t offset, const void *data,
			    size_t length);
	/* How many interrupts an index has. */
	int (*irq_count)(void *backend, unsigned index, unsigned *count);
	/*
	 * From now on interrupts [start, start + count) of an index write these eventfds; -1:
	 * none. `count` 0: no interrupt of this index is in use any more. An index
	 * of which none was in use may get as many as start + count with the first call; more
	 * later may fail, and are then asked for after all of them were given up.
	 */
	int (*set_irqs)(void *backend, unsigned index, unsigned start, unsigned count,
			const int *eventfds);
	/* -ENOTTY: the device cannot be reset. */
	int (*reset)(void *backend);
	/*
	 * As struct zpci_mapping_ops has them: guest-absolute addresses. map NULL: the
	 * device's DMA needs nothing to be mapped; map_whole NULL: it is like map.
	 */
	int (*map)(void *backend, uint64_t iova, uint64_t absolute, uint64_t length, bool writable);
	int (*map_whole)(void *backend, uint64_t iova, uint64_t absolute, uint64_t length,
			 bool writable);
	int (*unmap)(void *backend, uint64_t iova, uint64_t length);
	/*
	 * Write the command register, before anything that is asked for afterwards, without
	 * waiting for anybody but the host's kernel: called with locks held, so it may be
	 * done a moment later. NULL: region_write can be used for it.
	 */
	void (*set_command)(void *backend, uint16_t command);
	/*
	 * A guest is about to enable the function. True: it was lost, the reset of before was in
	 * vain, and it is there again and reset. NULL: it is never lost.
	 */
	bool (*come_back)(void *backend);
	/* The last call; not after passthrough_create() has failed. */
	void (*close)(void *backend);
};

struct passthrough_setup {
	const char *name; /* for messages */
	uint32_t fid;
	const struct passthrough_backend_ops *ops; /* kept */
	void *backend;
	struct irq_sources *irq_sources;
	const struct device_host *host; /* kept */
};

/*
 * Reset the device and make a function of it: sets made->function and made->mapping, and
 * leaves the rest of `made` as it is. The function owns the backend from then on. NULL with
 * a negative errno in *rc and what is wrong, as a phrase, in `error`; the backend is then
 * still the caller's.
 */
struct passthrough *passthrough_create(const struct passthrough_setup *setup,
				       struct device_made *made, int *rc, char *error,
				       size_t error_size);

/* The device does not work any more. Any thread, but with no lock that an op takes. */
void passthrough_fail(struct passthrough *p, enum pci_error error);

/* Whoever the device belongs to wants it back. Any thread. */
void passthrough_want_back(struct passthrough *p);

#endif
