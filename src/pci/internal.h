/* SPDX-License-Identifier: MIT */
/*
 * A PCI function as its parts see it: pci.c describes it and has its config space and
 * its resets, bar.c its registers, msi.c its interrupts.
 */
#ifndef ZVISOR_PCI_INTERNAL_H
#define ZVISOR_PCI_INTERNAL_H

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "pci/host.h"

/* Where capabilities are. */
#define CAPABILITIES_START 0x40
#define CAPABILITIES_END 0x100

struct pci_bar {
	uint64_t size; /* 0: none */
	uint32_t flags;
};

struct pci_msix {
	unsigned vectors; /* 0: no such capability */
	unsigned offset; /* of the capability */
	unsigned table_bar, pba_bar;
	uint64_t table_offset, pba_offset;
	uint8_t *table; /* 16 bytes a vector */
	uint8_t *pending; /* 8 bytes each 64 vectors */
};

struct pci_msi {
	unsigned vectors;
	unsigned offset;
	bool is_64bit, masks;
	/* Offsets in config space. */
	unsigned data, mask, pending, end;
};

struct pci_function {
	char *name;
	struct pci_device_ops ops;
	void *device;
	enum pci_measurement measurement;
	bool unsplit;

	pthread_mutex_t lock; /* config, msix, msi */
	pthread_mutex_t reset_lock; /* one reset at a time */

	/* Read without the lock: words change as a whole. */
	_Alignas(4) uint8_t config[PCI_CONFIG_SIZE];
	uint8_t initial[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];
	struct pci_bar bars[PCI_BAR_COUNT];
	unsigned next_capability;
	unsigned last_capability; /* header to link the next one from, 0: none */
	unsigned express; /* offset of the capability, 0: none */
	struct pci_msix msix;
	struct pci_msi msi;

	/* What others ask often, derived from config. */
	atomic_bool bus_master;
	atomic_bool msix_enabled;
	atomic_bool msi_enabled;
	/* A function-level reset waits for the device; it ends with reset_lock held. */
	atomic_bool resetting;

	/* The host side; changes only while the device is quiet. */
	struct pci_dma_space *_Atomic dma;
	const struct pci_msi_ops *msi_ops;
	void *msi_opaque;
};

static inline uint32_t pci_config_word(const struct pci_function *f, unsigned offset)
{
	return le32toh(__atomic_load_n((const uint32_t *)(f->config + offset), __ATOMIC_RELAXED));
}

/* With the lock held. */
static inline void pci_set_config_word(struct pci_function *f, unsigned offset, uint32_t value)
{
	__atomic_store_n((uint32_t *)(f->config + offset), htole32(value), __ATOMIC_RELAXED);
}

/* Put bytes into the image after power on, and into what is read now. */
void pci_describe(struct pci_function *f, unsigned offset, const void *bytes, const void *writable,
		  unsigned length);

/* --- msi.c ------------------------------------------------------------------------ */

static inline uint64_t pci_msix_table_size(const struct pci_msix *msix)
{
	return (uint64_t)msix->vectors * PCI_MSIX_ENTRY_SIZE;
}

static inline uint64_t pci_msix_pba_size(const struct pci_msix *msix)
{
	return (msix->vectors + 63ull) / 64 * 8;
}

/* Empty and masked, nothing pending. With the lock held. */
void pci_msix_reset(struct pci_msix *msix);
/* What the capabilities say now. With the lock held. */
void pci_msi_update(struct pci_function *f);
/* Pending vectors that may be delivered now are, each once. Without the lock. */
void pci_msix_deliver_pending(struct pci_function *f, unsigned first, unsigned last);
void pci_msi_deliver_pending(struct pci_function *f);

/* Bytes of the table or of the pending bits. */
uint64_t pci_msix_read(struct pci_function *f, const uint8_t *bytes, unsigned size);
void pci_msix_table_write(struct pci_function *f, uint64_t offset, unsigned size, uint64_t value);

#endif
