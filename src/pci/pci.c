/* SPDX-License-Identifier: MIT */
/*
 * PCI functions: config space, BARs, capabilities, MSI and MSI-X. The contract
 * is in pci.h.
 *
 * Config space is three images: what is read, what it was after power on, and
 * which bits a write can change. That is enough for nearly all registers,
 * sizing a BAR included; what a write sets in motion (bus master, unmasking,
 * function-level reset) is looked at after the bits have changed.
 *
 * The MSI-X table and the pending bits are kept as the little-endian bytes that
 * the guest reads, so that accesses of any size need no decoding.
 */
#include "pci/host.h"
#include "zpci/pci.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/abi.h"
#include "base/byteorder.h"
#include "base/util.h"
#include "dma/dma.h"

#define CAPABILITIES_START 0x40
#define CAPABILITIES_END 0x100

#define BAR_64BIT 0x4
#define BAR_PREFETCHABLE 0x8

/* MSI-X capability, offsets from its header. */
#define MSIX_CONTROL 2
#define MSIX_CONTROL_ENABLE 0x8000
#define MSIX_CONTROL_MASK_ALL 0x4000
#define MSIX_TABLE 4
#define MSIX_PBA 8
/* One entry of the table. */
#define MSIX_ENTRY_SIZE 16
#define MSIX_ENTRY_DATA 8
#define MSIX_ENTRY_CONTROL 12
#define MSIX_ENTRY_MASKED 0x1

/*
 * MSI capability. With a 64-bit address the data are at 12 instead of 8; masks and
 * pending bits follow, if there are any.
 */
#define MSI_CONTROL 2
#define MSI_CONTROL_ENABLE 0x0001
#define MSI_CONTROL_MULTIPLE_SHIFT 4
#define MSI_CONTROL_64BIT 0x0080
#define MSI_CONTROL_MASKING 0x0100
#define MSI_ADDRESS 4
#define MSI_ADDRESS_HIGH 8
#define MSI_LENGTH_MAX 24

/* PCI Express capability. */
#define EXPRESS_DEVICE_CONTROL 8
#define EXPRESS_RESET 0x8000
#define EXPRESS_LENGTH 0x3c

/* What a vCPU waits at most for a reset; a disk that works has answered by then. */
#define RESET_SETTLE_US 10000
#define SETTLE_PAUSE_US 100

struct bar {
	uint64_t size; /* 0: none */
	uint32_t flags;
};

struct msix {
	unsigned vectors; /* 0: no such capability */
	unsigned offset;  /* of the capability */
	unsigned table_bar, pba_bar;
	uint64_t table_offset, pba_offset;
	uint8_t *table;   /* 16 bytes a vector */
	uint8_t *pending; /* 8 bytes each 64 vectors */
};

struct msi {
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

	pthread_mutex_t lock;       /* config, msix, msi */
	pthread_mutex_t reset_lock; /* one reset at a time */

	/* Read without the lock: words change as a whole. */
	_Alignas(4) uint8_t config[PCI_CONFIG_SIZE];
	uint8_t initial[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];
	struct bar bars[PCI_BAR_COUNT];
	unsigned next_capability;
	unsigned last_capability; /* header to link the next one from, 0: none */
	unsigned express;         /* offset of the capability, 0: none */
	struct msix msix;
	struct msi msi;

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

struct message {
	uint64_t address;
	uint32_t data;
};

/* --- words of config space ------------------------------------------------- */

static uint32_t config_word(const struct pci_function *f, unsigned offset)
{
	return le32toh(__atomic_load_n((const uint32_t *)(f->config + offset), __ATOMIC_RELAXED));
}

/* With the lock held. */
static void set_config_word(struct pci_function *f, unsigned offset, uint32_t value)
{
	__atomic_store_n((uint32_t *)(f->config + offset), htole32(value), __ATOMIC_RELAXED);
}

/* --- description ------------------------------------------------------------ */

struct pci_function *pci_function_new_sized(const struct pci_function_info *given, size_t info_size,
					    const struct pci_device_ops *ops, size_t ops_size,
					    void *device)
{
	struct pci_function *f = calloc(1, sizeof(*f));
	struct pci_function_info copy;
	const struct pci_function_info *info = &copy;

	if (!f)
		return NULL;
	if (abi_copy(&copy, sizeof(copy), given, info_size) ||
	    abi_copy(&f->ops, sizeof(f->ops), ops, ops_size)) {
		free(f);
		errno = E2BIG;
		return NULL;
	}
	f->name = strdup(info->name ? info->name : "pci");
	if (!f->name) {
		free(f);
		return NULL;
	}
	f->device = device;
	f->measurement = info->measurement;
	f->unsplit = info->unsplit;
	f->next_capability = CAPABILITIES_START;
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->reset_lock, NULL);

	store_le16(f->initial + PCI_VENDOR_ID, info->vendor_id);
	store_le16(f->initial + PCI_DEVICE_ID, info->device_id);
	store_le16(f->initial + PCI_SUBSYSTEM_VENDOR_ID, info->subsystem_vendor_id);
	store_le16(f->initial + PCI_SUBSYSTEM_ID, info->subsystem_id);
	f->initial[PCI_REVISION_ID] = info->revision;
	f->initial[PCI_CLASS_CODE] = info->class_code;
	f->initial[PCI_CLASS_CODE + 1] = info->class_code >> 8;
	f->initial[PCI_CLASS_CODE + 2] = info->class_code >> 16;
	store_le16(f->writable + PCI_COMMAND,
		   PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
		   PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
	memcpy(f->config, f->initial, sizeof(f->config));
	return f;
}

void pci_function_free(struct pci_function *f)
{
	if (!f)
		return;
	if (f->dma)
		pci_function_detach(f);
	else
		pci_function_reset(f);
	if (f->ops.destroy)
		f->ops.destroy(f->device);
	pthread_mutex_destroy(&f->reset_lock);
	pthread_mutex_destroy(&f->lock);
	free(f->msix.table);
	free(f->msix.pending);
	free(f->name);
	free(f);
}

const char *pci_function_name(const struct pci_function *f)
{
	return f->name;
}

void *pci_function_device(const struct pci_function *f)
{
	return f->device;
}

/* Put bytes into the image after power on, and into what is read now. */
static void describe(struct pci_function *f, unsigned offset, const void *bytes,
		     const void *writable, unsigned length)
{
	memcpy(f->initial + offset, bytes, length);
	memcpy(f->config + offset, bytes, length);
	if (writable)
		memcpy(f->writable + offset, writable, length);
}

void pci_function_set_multifunction(struct pci_function *f)
{
	const uint8_t type = PCI_HEADER_MULTIFUNCTION;

	describe(f, PCI_HEADER_TYPE, &type, NULL, sizeof(type));
}

int pci_function_add_bar(struct pci_function *f, unsigned bar, uint64_t size, bool is_64bit,
			 bool prefetchable)
{
	uint32_t flags = (is_64bit ? BAR_64BIT : 0) | (prefetchable ? BAR_PREFETCHABLE : 0);
	uint8_t value[8], mask[8];
	unsigned words = is_64bit ? 2 : 1;

	if (bar + words > PCI_BAR_COUNT || f->bars[bar].size || size < 16 || size & (size - 1))
		return -EINVAL;
	if (is_64bit ? f->bars[bar + 1].size != 0 : size > 1ull << 31)
		return -EINVAL;
	if (bar && f->bars[bar - 1].flags & BAR_64BIT)
		return -EINVAL;
	f->bars[bar] = (struct bar){ size, flags };
	store_le64(value, flags);
	store_le64(mask, ~(size - 1));
	describe(f, PCI_BAR0 + 4 * bar, value, mask, 4 * words);
	return 0;
}

int pci_function_add_capability(struct pci_function *f, uint8_t id, const void *body,
				const uint8_t *writable, unsigned length)
{
	unsigned offset = f->next_capability;
	unsigned total = (2 + length + 3) & ~3u;
	uint8_t header[2] = { id, 0 };

	if (length > CAPABILITIES_END || offset + total > CAPABILITIES_END)
		return -ENOSPC;
	describe(f, offset, header, NULL, 2);
	if (length)
		describe(f, offset + 2, body, writable, length);
	f->next_capability += total;

	uint8_t link = offset;
	if (f->last_capability) {
		describe(f, f->last_capability + 1, &link, NULL, 1);
	} else {
		uint8_t status[2];

		store_le16(status, PCI_STATUS_CAPABILITIES);
		describe(f, PCI_STATUS, status, NULL, 2);
		describe(f, PCI_CAPABILITY_POINTER, &link, NULL, 1);
	}
	f->last_capability = offset;
	return offset;
}

int pci_function_add_express(struct pci_function *f)
{
	uint8_t body[EXPRESS_LENGTH - 2] = { 0 }, writable[EXPRESS_LENGTH - 2] = { 0 };
	int offset;

	/* Version 2, an endpoint; capable of function-level reset, role-based errors. */
	store_le16(body + 0x02 - 2, 0x0002);
	store_le32(body + 0x04 - 2, 1u << 28 | 1u << 15);
	store_le16(body + 0x08 - 2, 0x2810); /* relaxed ordering, no snoop, 512 byte reads */
	store_le16(writable + 0x08 - 2, 0x7fff);
	store_le32(body + 0x0c - 2, 4 << 4 | 2); /* link: four lanes of 5 GT/s */
	store_le16(writable + 0x10 - 2, 0x01fb);
	store_le16(body + 0x12 - 2, 4 << 4 | 2);
	store_le16(writable + 0x28 - 2, 0x001f); /* completion timeout */
	offset = pci_function_add_capability(f, PCI_CAPABILITY_EXPRESS, body, writable,
					     sizeof(body));
	if (offset > 0)
		f->express = offset;
	return offset;
}

int pci_function_add_power_management(struct pci_function *f)
{
	uint8_t body[6] = { 0 }, writable[6] = { 0 };

	store_le16(body, 0x0003);     /* version 1.2, no PME */
	store_le16(body + 2, 0x0008); /* no soft reset */
	store_le16(writable + 2, 0x0003);
	return pci_function_add_capability(f, PCI_CAPABILITY_PM, body, writable, sizeof(body));
}

/* The body of an MSI capability, behind its header; returns its length, or -EINVAL. */
static int msi_body(struct msi *msi, uint8_t *body, uint8_t *writable)
{
	unsigned log = 0, data = msi->is_64bit ? 12 : 8;

	while (1u << log < msi->vectors)
		log++;
	if (!msi->vectors || msi->vectors > 32 || 1u << log != msi->vectors)
		return -EINVAL;
	memset(body, 0, MSI_LENGTH_MAX - 2);
	memset(writable, 0, MSI_LENGTH_MAX - 2);
	store_le16(body, (msi->is_64bit ? MSI_CONTROL_64BIT : 0) |
			 (msi->masks ? MSI_CONTROL_MASKING : 0) | log << 1);
	store_le16(writable, MSI_CONTROL_ENABLE | 7 << MSI_CONTROL_MULTIPLE_SHIFT);
	store_le32(writable + MSI_ADDRESS - 2, ~3u);
	if (msi->is_64bit)
		store_le32(writable + MSI_ADDRESS_HIGH - 2, ~0u);
	store_le16(writable + data - 2, 0xffff);
	if (msi->masks)
		store_le32(writable + data + 4 - 2,
			   msi->vectors == 32 ? ~0u : (1u << msi->vectors) - 1);
	return (int)(data + (msi->masks ? 12 : 2)) - 2;
}

static void set_msi(struct pci_function *f, struct msi *msi, unsigned offset, unsigned length)
{
	msi->offset = offset;
	msi->data = offset + (msi->is_64bit ? 12 : 8);
	msi->mask = msi->data + 4;
	msi->pending = msi->data + 8;
	msi->end = offset + 2 + length;
	f->msi = *msi;
}

int pci_function_add_msi(struct pci_function *f, unsigned vectors)
{
	struct msi msi = { .vectors = vectors, .is_64bit = true, .masks = true };
	uint8_t body[MSI_LENGTH_MAX - 2], writable[MSI_LENGTH_MAX - 2];
	int length = msi_body(&msi, body, writable), offset;

	if (length < 0 || f->msi.vectors)
		return -EINVAL;
	offset = pci_function_add_capability(f, PCI_CAPABILITY_MSI, body, writable, length);
	if (offset > 0)
		set_msi(f, &msi, offset, length);
	return offset;
}

int pci_function_place_config(struct pci_function *f, unsigned offset, const void *bytes,
			      const void *writable, unsigned length)
{
	if (!range_fits(offset, length, PCI_CONFIG_SIZE))
		return -EINVAL;
	describe(f, offset, bytes, writable, length);
	return 0;
}

/* Behind the two bytes of a header. */
static bool capability_fits(unsigned offset, unsigned length)
{
	return offset >= CAPABILITIES_START && offset % 4 == 0 &&
	       range_fits(offset + 2, length, CAPABILITIES_END);
}

int pci_function_place_msi(struct pci_function *f, unsigned offset, unsigned vectors,
			   bool is_64bit, bool masks)
{
	struct msi msi = { .vectors = vectors, .is_64bit = is_64bit, .masks = masks };
	uint8_t body[MSI_LENGTH_MAX - 2], writable[MSI_LENGTH_MAX - 2];
	int length = msi_body(&msi, body, writable);

	if (length < 0 || f->msi.vectors || !capability_fits(offset, length))
		return -EINVAL;
	describe(f, offset + 2, body, writable, length);
	set_msi(f, &msi, offset, length);
	return 0;
}

static void msix_reset(struct msix *msix)
{
	memset(msix->table, 0, msix->vectors * MSIX_ENTRY_SIZE);
	for (unsigned i = 0; i < msix->vectors; i++)
		msix->table[i * MSIX_ENTRY_SIZE + MSIX_ENTRY_CONTROL] = MSIX_ENTRY_MASKED;
	memset(msix->pending, 0, (msix->vectors + 63) / 64 * 8);
}

#define MSIX_BODY 10

/* Check and prepare; 0, -EINVAL, or -ENOMEM. */
static int msix_new(const struct pci_function *f, struct msix *msix, uint8_t *body,
		    uint8_t *writable)
{
	uint64_t table_size = (uint64_t)msix->vectors * MSIX_ENTRY_SIZE;
	uint64_t pba_size = (msix->vectors + 63ull) / 64 * 8;

	if (!msix->vectors || msix->vectors > PCI_MSIX_VECTORS_MAX || f->msix.vectors ||
	    msix->table_offset % 8 || msix->pba_offset % 8 || msix->table_bar >= PCI_BAR_COUNT ||
	    msix->pba_bar >= PCI_BAR_COUNT ||
	    !range_fits(msix->table_offset, table_size, f->bars[msix->table_bar].size) ||
	    !range_fits(msix->pba_offset, pba_size, f->bars[msix->pba_bar].size))
		return -EINVAL;
	if (msix->table_bar == msix->pba_bar && msix->table_offset < msix->pba_offset + pba_size &&
	    msix->pba_offset < msix->table_offset + table_size)
		return -EINVAL;
	msix->table = malloc(table_size);
	msix->pending = malloc(pba_size);
	if (!msix->table || !msix->pending) {
		free(msix->pending);
		free(msix->table);
		return -ENOMEM;
	}
	msix_reset(msix);
	memset(body, 0, MSIX_BODY);
	memset(writable, 0, MSIX_BODY);
	store_le16(body, msix->vectors - 1);
	store_le16(writable, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	store_le32(body + MSIX_TABLE - 2, (uint32_t)msix->table_offset | msix->table_bar);
	store_le32(body + MSIX_PBA - 2, (uint32_t)msix->pba_offset | msix->pba_bar);
	return 0;
}

int pci_function_add_msix(struct pci_function *f, unsigned vectors, unsigned table_bar,
			  uint32_t table_offset, unsigned pba_bar, uint32_t pba_offset)
{
	uint8_t body[MSIX_BODY], writable[MSIX_BODY];
	struct msix msix = {
		.vectors = vectors,
		.table_bar = table_bar, .table_offset = table_offset,
		.pba_bar = pba_bar, .pba_offset = pba_offset,
	};
	int rc = msix_new(f, &msix, body, writable), offset;

	if (rc)
		return rc == -ENOMEM ? -ENOSPC : rc;
	offset = pci_function_add_capability(f, PCI_CAPABILITY_MSIX, body, writable, sizeof(body));
	if (offset < 0) {
		free(msix.pending);
		free(msix.table);
		return -ENOSPC;
	}
	msix.offset = offset;
	f->msix = msix;
	return offset;
}

int pci_function_place_msix(struct pci_function *f, unsigned offset, unsigned vectors,
			    unsigned table_bar, uint32_t table_offset, unsigned pba_bar,
			    uint32_t pba_offset)
{
	uint8_t body[MSIX_BODY], writable[MSIX_BODY];
	struct msix msix = {
		.vectors = vectors,
		.offset = offset,
		.table_bar = table_bar, .table_offset = table_offset,
		.pba_bar = pba_bar, .pba_offset = pba_offset,
	};
	int rc;

	if (!capability_fits(offset, MSIX_BODY))
		return -EINVAL;
	rc = msix_new(f, &msix, body, writable);
	if (rc)
		return rc;
	describe(f, offset + 2, body, writable, sizeof(body));
	f->msix = msix;
	return 0;
}

/* --- interrupts -------------------------------------------------------------- */

static void deliver(struct pci_function *f, const struct message *message)
{
	if (f->msi_ops)
		f->msi_ops->deliver(f->msi_opaque, message->address, message->data);
}

/* Somebody else keeps the vectors, and has been told, if it may be. */
static bool told_of_vector(struct pci_function *f, bool msix, unsigned vector)
{
	if (likely(!f->msi_ops || !f->msi_ops->notify))
		return false;
	if (f->bus_master)
		f->msi_ops->notify(f->msi_opaque, msix, vector);
	return true;
}

static uint8_t *msix_entry(struct pci_function *f, unsigned vector)
{
	return f->msix.table + vector * MSIX_ENTRY_SIZE;
}

static uint8_t pending_bit(unsigned vector)
{
	return 1 << vector % 8;
}

/* With the lock held. */
static bool msix_blocked(struct pci_function *f, unsigned vector)
{
	return load_le16(f->config + f->msix.offset + MSIX_CONTROL) & MSIX_CONTROL_MASK_ALL ||
	       msix_entry(f, vector)[MSIX_ENTRY_CONTROL] & MSIX_ENTRY_MASKED;
}

static struct message msix_message(struct pci_function *f, unsigned vector)
{
	const uint8_t *entry = msix_entry(f, vector);

	return (struct message){ load_le64(entry), load_le32(entry + MSIX_ENTRY_DATA) };
}

/*
 * Pending vectors that are no longer masked are delivered, each once. Called
 * without the lock after something was unmasked.
 */
static void msix_deliver_pending(struct pci_function *f, unsigned first, unsigned last)
{
	for (unsigned vector = first; vector <= last; vector++) {
		struct message message;
		uint8_t *pending = &f->msix.pending[vector / 8];
		bool due;

		pthread_mutex_lock(&f->lock);
		due = *pending & pending_bit(vector) && f->msix_enabled && f->bus_master &&
		      !msix_blocked(f, vector);
		if (due) {
			*pending &= ~pending_bit(vector);
			message = msix_message(f, vector);
		}
		pthread_mutex_unlock(&f->lock);
		if (due)
			deliver(f, &message);
	}
}

void pci_function_msix_notify(struct pci_function *f, unsigned vector)
{
	struct message message;
	bool due = false;

	if (vector >= f->msix.vectors || told_of_vector(f, true, vector) || !f->msix_enabled)
		return;
	pthread_mutex_lock(&f->lock);
	if (f->msix_enabled && f->bus_master) {
		due = !msix_blocked(f, vector);
		if (due)
			message = msix_message(f, vector);
		else
			f->msix.pending[vector / 8] |= pending_bit(vector);
	}
	pthread_mutex_unlock(&f->lock);
	if (due)
		deliver(f, &message);
}

/* How many vectors of MSI are in use. With the lock held. */
static unsigned msi_vectors_enabled(struct pci_function *f)
{
	unsigned log = load_le16(f->config + f->msi.offset + MSI_CONTROL) >>
			       MSI_CONTROL_MULTIPLE_SHIFT & 7;

	return MIN(1u << log, f->msi.vectors);
}

/*
 * Message of an MSI vector: the low bits of the data name it, as many bits as
 * the guest has enabled vectors; more are folded onto the last one.
 */
static struct message msi_message(struct pci_function *f, unsigned vector)
{
	const uint8_t *cap = f->config + f->msi.offset;
	unsigned enabled = msi_vectors_enabled(f);
	uint32_t data = load_le16(f->config + f->msi.data);

	return (struct message){
		f->msi.is_64bit ? load_le64(cap + MSI_ADDRESS) : load_le32(cap + MSI_ADDRESS),
		(data & ~(enabled - 1)) | MIN(vector, enabled - 1),
	};
}

/* With the lock held. */
static bool msi_blocked(struct pci_function *f, unsigned vector)
{
	return f->msi.masks && load_le32(f->config + f->msi.mask) >> vector & 1;
}

static void msi_deliver_pending(struct pci_function *f)
{
	for (unsigned vector = 0; vector < f->msi.vectors && f->msi.masks; vector++) {
		struct message message;
		uint32_t pending;
		bool due;

		pthread_mutex_lock(&f->lock);
		pending = load_le32(f->config + f->msi.pending);
		due = pending >> vector & 1 && f->msi_enabled && f->bus_master &&
		      !msi_blocked(f, vector);
		if (due) {
			set_config_word(f, f->msi.pending, pending & ~(1u << vector));
			message = msi_message(f, vector);
		}
		pthread_mutex_unlock(&f->lock);
		if (due)
			deliver(f, &message);
	}
}

void pci_function_msi_notify(struct pci_function *f, unsigned vector)
{
	struct message message;
	bool due = false;

	if (vector >= f->msi.vectors || told_of_vector(f, false, vector) || !f->msi_enabled)
		return;
	pthread_mutex_lock(&f->lock);
	if (f->msi_enabled && f->bus_master) {
		due = !msi_blocked(f, vector);
		if (due)
			message = msi_message(f, vector);
		else
			set_config_word(f, f->msi.pending,
					load_le32(f->config + f->msi.pending) | 1u << vector);
	}
	pthread_mutex_unlock(&f->lock);
	if (due)
		deliver(f, &message);
}

void pci_function_raise_error(struct pci_function *f, enum pci_error error)
{
	const struct pci_msi_ops *ops;
	void *opaque;

	pthread_mutex_lock(&f->lock);
	ops = f->msi_ops;
	opaque = f->msi_opaque;
	pthread_mutex_unlock(&f->lock);
	if (ops && ops->error)
		ops->error(opaque, error);
}

bool pci_function_msix_enabled(const struct pci_function *f)
{
	return f->msix_enabled;
}

bool pci_function_msi_enabled(const struct pci_function *f)
{
	return f->msi_enabled;
}

bool pci_function_msix_masked(struct pci_function *f, unsigned vector)
{
	bool masked;

	if (vector >= f->msix.vectors)
		return true;
	pthread_mutex_lock(&f->lock);
	masked = msix_blocked(f, vector);
	pthread_mutex_unlock(&f->lock);
	return masked;
}

unsigned pci_function_msix_vectors(const struct pci_function *f)
{
	return f->msix.vectors;
}

unsigned pci_function_msi_vectors(const struct pci_function *f)
{
	return f->msi.vectors;
}

unsigned pci_function_msi_enabled_vectors(struct pci_function *f)
{
	unsigned vectors = 0;

	pthread_mutex_lock(&f->lock);
	if (f->msi_enabled)
		vectors = msi_vectors_enabled(f);
	pthread_mutex_unlock(&f->lock);
	return vectors;
}

enum pci_measurement pci_function_measurement(const struct pci_function *f)
{
	return f->measurement;
}

void pci_function_counters(struct pci_function *f, uint64_t counters[PCI_COUNTERS_MAX])
{
	memset(counters, 0, PCI_COUNTERS_MAX * sizeof(*counters));
	if (f->ops.counters)
		f->ops.counters(f->device, counters);
}

/* --- attaching and reset ------------------------------------------------------ */

struct pci_dma_space *pci_function_dma(struct pci_function *f)
{
	return f->dma;
}

bool pci_function_is_bus_master(const struct pci_function *f)
{
	return f->bus_master;
}

/* Derive what others ask from config space. With the lock held. */
static void update_derived(struct pci_function *f)
{
	f->bus_master = load_le16(f->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
	f->msix_enabled = f->msix.vectors &&
		load_le16(f->config + f->msix.offset + MSIX_CONTROL) & MSIX_CONTROL_ENABLE;
	f->msi_enabled = f->msi.vectors &&
		load_le16(f->config + f->msi.offset + MSI_CONTROL) & MSI_CONTROL_ENABLE;
	if (f->dma)
		dma_space_set_bus_master(f->dma, f->bus_master);
}

int pci_function_attach(struct pci_function *f, struct pci_dma_space *dma,
			const struct pci_msi_ops *msi, void *opaque)
{
	if (f->dma)
		return -EBUSY;
	pthread_mutex_lock(&f->lock);
	f->msi_ops = msi;
	f->msi_opaque = opaque;
	f->dma = dma;
	update_derived(f);
	pthread_mutex_unlock(&f->lock);
	if (f->ops.attached)
		f->ops.attached(f->device);
	return 0;
}

/* As after power on, all but the device. */
static void reset_config(struct pci_function *f)
{
	pthread_mutex_lock(&f->lock);
	for (unsigned offset = 0; offset < PCI_CONFIG_SIZE; offset += 4)
		set_config_word(f, offset, load_le32(f->initial + offset));
	if (f->msix.vectors)
		msix_reset(&f->msix);
	update_derived(f);
	pthread_mutex_unlock(&f->lock);
}

/* With reset_lock held. */
static void reset_all(struct pci_function *f)
{
	/* Silence first, so that nothing of before is heard of during the reset. */
	reset_config(f);
	if (f->ops.reset)
		f->ops.reset(f->device);
	f->resetting = false;
}

/* With reset_lock held. */
static bool quiesce(struct pci_function *f)
{
	return !f->ops.quiesce || f->ops.quiesce(f->device);
}

void pci_function_reset(struct pci_function *f)
{
	pthread_mutex_lock(&f->reset_lock);
	pci_function_reset_settled(f);
}

bool pci_function_quiesce(struct pci_function *f)
{
	bool quiet;

	/* A reset under way may be waiting for the host. */
	if (pthread_mutex_trylock(&f->reset_lock))
		return false;
	quiet = quiesce(f);
	pthread_mutex_unlock(&f->reset_lock);
	return quiet;
}

bool pci_function_settle(struct pci_function *f, unsigned limit_us)
{
	const struct timespec pause = { 0, SETTLE_PAUSE_US * 1000 };

	for (unsigned waited = 0;; waited += SETTLE_PAUSE_US) {
		if (!pthread_mutex_trylock(&f->reset_lock)) {
			if (quiesce(f))
				return true;
			pthread_mutex_unlock(&f->reset_lock);
		}
		if (waited >= limit_us)
			return false;
		nanosleep(&pause, NULL);
	}
}

void pci_function_reset_settled(struct pci_function *f)
{
	reset_all(f);
	pthread_mutex_unlock(&f->reset_lock);
}

void pci_function_unsettle(struct pci_function *f)
{
	pthread_mutex_unlock(&f->reset_lock);
}

void pci_function_detach(struct pci_function *f)
{
	if (!f->dma)
		return;
	if (f->ops.detaching)
		f->ops.detaching(f->device);
	pci_function_reset(f);
	pthread_mutex_lock(&f->lock);
	f->dma = NULL;
	f->msi_ops = NULL;
	pthread_mutex_unlock(&f->lock);
}

/* Is no function-level reset under way, or can it be ended now? */
static bool is_ready(struct pci_function *f)
{
	if (likely(!atomic_load_explicit(&f->resetting, memory_order_relaxed)))
		return true;
	if (pthread_mutex_trylock(&f->reset_lock))
		return false;
	if (f->resetting && quiesce(f))
		reset_all(f);
	pthread_mutex_unlock(&f->reset_lock);
	return !f->resetting;
}

/*
 * Function-level reset. It ends at once where the device allows that, else when what the
 * host has under way for it has ended. No vCPU waits for that: until then the
 * function is silent, and its config space reads as if it were not there, as it may of
 * a function that needs longer than 100 ms (Linux looks for up to a minute:
 * pci_dev_wait() in drivers/pci/pci.c). Whoever looks ends the reset when that is possible.
 */
static void function_level_reset(struct pci_function *f)
{
	const struct timespec pause = { 0, SETTLE_PAUSE_US * 1000 };

	f->resetting = true;
	reset_config(f);
	for (unsigned waited = 0; !is_ready(f) && waited < RESET_SETTLE_US;
	     waited += SETTLE_PAUSE_US)
		nanosleep(&pause, NULL);
}

/* --- config space --------------------------------------------------------------- */

uint32_t pci_function_config_read(struct pci_function *f, unsigned offset, unsigned size)
{
	uint32_t value;

	if (!range_fits(offset, size, PCI_CONFIG_SIZE) || size > 4)
		return ~0u >> (size >= 4 ? 0 : 32 - 8 * size);
	if (!is_ready(f))
		return ~0u >> (32 - 8 * size);
	value = config_word(f, offset & ~3u) >> 8 * (offset & 3);
	if (size < 4)
		value &= (1u << 8 * size) - 1;
	return f->ops.config_read ? f->ops.config_read(f->device, offset, size, value) : value;
}

uint32_t pci_function_identity(const struct pci_function *f)
{
	return config_word(f, PCI_VENDOR_ID);
}

static bool touches(unsigned offset, unsigned size, unsigned reg, unsigned reg_size)
{
	return offset < reg + reg_size && reg < offset + size;
}

/* Change the bits of a word that can be changed; atomically, as not all hold the lock. */
static void write_config(struct pci_function *f, unsigned offset, unsigned size, uint32_t value)
{
	unsigned shift = 8 * (offset & 3);
	uint32_t *word = (uint32_t *)(f->config + (offset & ~3u));
	uint32_t bytes = (size == 4 ? ~0u : (1u << 8 * size) - 1) << shift;
	uint32_t mask = htole32(load_le32(f->writable + (offset & ~3u)) & bytes);
	uint32_t bits = htole32(value << shift) & mask;
	uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(word, &old, (old & ~mask) | bits, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* A word that more depends on than itself. */
static COLD void write_controls(struct pci_function *f, unsigned offset, unsigned size,
				uint32_t value, bool msix, bool msi)
{
	pthread_mutex_lock(&f->lock);
	write_config(f, offset, size, value);
	update_derived(f);
	pthread_mutex_unlock(&f->lock);
	if (f->msix_enabled && msix)
		msix_deliver_pending(f, 0, f->msix.vectors - 1);
	if (f->msi_enabled && msi)
		msi_deliver_pending(f);
}

void pci_function_config_write(struct pci_function *f, unsigned offset, unsigned size,
			       uint32_t value)
{
	unsigned reset_byte = f->express + EXPRESS_DEVICE_CONTROL + 1;
	unsigned word = offset & ~3u;
	bool reset, command, msix, msi;

	if (!size || size > 4 || offset & (size - 1) || !range_fits(offset, size, PCI_CONFIG_SIZE))
		return;
	reset = f->express && touches(offset, size, reset_byte, 1) &&
		value >> 8 * (reset_byte - offset) & (EXPRESS_RESET >> 8);
	if (!is_ready(f))
		return;
	if (reset) {
		function_level_reset(f);
		return;
	}
	command = word == PCI_COMMAND;
	msix = f->msix.vectors && touches(word, 4, f->msix.offset + MSIX_CONTROL, 2);
	msi = f->msi.vectors && touches(word, 4, f->msi.offset, f->msi.end - f->msi.offset);
	if (likely(!command && !msix && !msi))
		write_config(f, offset, size, value);
	else
		write_controls(f, offset, size, value, command || msix, command || msi);
	if (f->ops.config_write)
		f->ops.config_write(f->device, offset, size, value);
}

/* --- BARs ------------------------------------------------------------------------ */

uint64_t pci_function_bar_size(const struct pci_function *f, unsigned bar)
{
	return bar < PCI_BAR_COUNT ? f->bars[bar].size : 0;
}

uint32_t pci_function_bar_value(struct pci_function *f, unsigned bar)
{
	return bar < PCI_BAR_COUNT ? config_word(f, PCI_BAR0 + 4 * bar) : 0;
}

/* Where in the MSI-X table, or the pending bits, is this offset? */
static bool in_msix_table(const struct pci_function *f, unsigned bar, uint64_t offset)
{
	return f->msix.vectors && bar == f->msix.table_bar &&
	       offset - f->msix.table_offset < f->msix.vectors * MSIX_ENTRY_SIZE;
}

static bool in_msix_pba(const struct pci_function *f, unsigned bar, uint64_t offset)
{
	return f->msix.vectors && bar == f->msix.pba_bar &&
	       offset - f->msix.pba_offset < (f->msix.vectors + 63) / 64 * 8;
}

static uint64_t msix_read(struct pci_function *f, const uint8_t *bytes, unsigned size)
{
	uint64_t value = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	pthread_mutex_unlock(&f->lock);
	return value;
}

static void msix_table_write(struct pci_function *f, uint64_t offset, unsigned size,
			     uint64_t value)
{
	unsigned vector = offset / MSIX_ENTRY_SIZE;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = value >> 8 * i;

		switch ((offset + i) % MSIX_ENTRY_SIZE) {
		case 0: byte &= ~3; break; /* addresses are of words */
		case MSIX_ENTRY_CONTROL: byte &= MSIX_ENTRY_MASKED; break;
		case MSIX_ENTRY_CONTROL + 1 ... MSIX_ENTRY_SIZE - 1: byte = 0; break;
		}
		f->msix.table[offset + i] = byte;
	}
	pthread_mutex_unlock(&f->lock);
	msix_deliver_pending(f, vector, vector);
	if (f->ops.msix_changed)
		f->ops.msix_changed(f->device, vector);
}

/* Pieces: 1, 2, 4 or 8 bytes at a multiple of their size. */

static uint64_t read_piece(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size)
{
	if (unlikely(in_msix_table(f, bar, offset)))
		return msix_read(f, f->msix.table + (offset - f->msix.table_offset), size);
	if (unlikely(in_msix_pba(f, bar, offset)))
		return msix_read(f, f->msix.pending + (offset - f->msix.pba_offset), size);
	return f->ops.bar_read(f->device, bar, offset, size);
}

static void write_piece(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			uint64_t value)
{
	if (unlikely(in_msix_table(f, bar, offset)))
		msix_table_write(f, offset - f->msix.table_offset, size, value);
	else if (likely(!in_msix_pba(f, bar, offset)))
		f->ops.bar_write(f->device, bar, offset, size, value);
}

static unsigned piece_at(uint64_t offset, unsigned size)
{
	unsigned piece = 8;

	while (piece > size || offset & (piece - 1))
		piece /= 2;
	return piece;
}

/* Is the access one piece, as nearly all are? */
static bool is_piece(uint64_t offset, unsigned size)
{
	return !(size & (size - 1)) && !(offset & (size - 1));
}

static uint64_t low_bytes(uint64_t value, unsigned size)
{
	return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

static bool in_bar(const struct pci_function *f, unsigned bar, uint64_t offset, unsigned size)
{
	return bar < PCI_BAR_COUNT && range_fits(offset, size, f->bars[bar].size);
}

static bool touches_msix(const struct pci_function *f, unsigned bar, uint64_t offset,
			 unsigned length)
{
	const struct msix *msix = &f->msix;

	if (!msix->vectors)
		return false;
	return (bar == msix->table_bar &&
		offset < msix->table_offset + msix->vectors * MSIX_ENTRY_SIZE &&
		msix->table_offset < offset + length) ||
	       (bar == msix->pba_bar && offset < msix->pba_offset + (msix->vectors + 63) / 64 * 8 &&
		msix->pba_offset < offset + length);
}

/* What is not one piece goes to the device in one nevertheless. */
static bool takes_unsplit(const struct pci_function *f, unsigned bar, uint64_t offset,
			  unsigned size)
{
	return f->unsplit && !touches_msix(f, bar, offset, size);
}

int pci_function_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t *value)
{
	unsigned done = 0;

	if (!size || size > 8 || !in_bar(f, bar, offset, size))
		return -ERANGE;
	if (likely(is_piece(offset, size))) {
		*value = low_bytes(read_piece(f, bar, offset, size), size);
		return 0;
	}
	if (takes_unsplit(f, bar, offset, size)) {
		*value = low_bytes(f->ops.bar_read(f->device, bar, offset, size), size);
		return 0;
	}
	*value = 0;
	while (done < size) {
		unsigned piece = piece_at(offset + done, size - done);

		*value |= low_bytes(read_piece(f, bar, offset + done, piece), piece) << 8 * done;
		done += piece;
	}
	return 0;
}

int pci_function_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t value)
{
	unsigned done = 0;

	if (!size || size > 8 || !in_bar(f, bar, offset, size))
		return -ERANGE;
	if (likely(is_piece(offset, size))) {
		write_piece(f, bar, offset, size, low_bytes(value, size));
		return 0;
	}
	if (takes_unsplit(f, bar, offset, size)) {
		f->ops.bar_write(f->device, bar, offset, size, low_bytes(value, size));
		return 0;
	}
	while (done < size) {
		unsigned piece = piece_at(offset + done, size - done);

		write_piece(f, bar, offset + done, piece, low_bytes(value >> 8 * done, piece));
		done += piece;
	}
	return 0;
}

bool pci_function_has_memory(const struct pci_function *f)
{
	return f->ops.bar_memory;
}

/* Of [*first, *end), keep the part that `offset` is in and [from, to) is not. */
static void cut_out(uint64_t offset, uint64_t from, uint64_t to, uint64_t *first, uint64_t *end)
{
	if (offset < from)
		*end = MIN(*end, from);
	else
		*first = MAX(*first, to);
}

void *pci_function_bar_memory(const struct pci_function *f, unsigned bar, uint64_t offset,
			      uint64_t *first, uint64_t *length)
{
	const struct msix *msix = &f->msix;
	uint64_t at, end;
	uint8_t *host;

	if (!f->ops.bar_memory || !in_bar(f, bar, offset, 1) || in_msix_table(f, bar, offset) ||
	    in_msix_pba(f, bar, offset))
		return NULL;
	host = f->ops.bar_memory(f->device, bar, offset, &at, length);
	if (!host)
		return NULL;
	*first = at;
	end = MIN(at + *length, f->bars[bar].size);
	if (msix->vectors && bar == msix->table_bar)
		cut_out(offset, msix->table_offset,
			msix->table_offset + msix->vectors * MSIX_ENTRY_SIZE, first, &end);
	if (msix->vectors && bar == msix->pba_bar)
		cut_out(offset, msix->pba_offset, msix->pba_offset + (msix->vectors + 63) / 64 * 8,
			first, &end);
	*length = end - *first;
	return host + (*first - at);
}

int pci_function_bar_write_block(struct pci_function *f, unsigned bar, uint64_t offset,
				 const void *data, unsigned length)
{
	const uint8_t *bytes = data;

	if (!length || length > PCI_BLOCK_MAX || !in_bar(f, bar, offset, length))
		return -ERANGE;
	if (f->ops.bar_write_block && !touches_msix(f, bar, offset, length))
		return f->ops.bar_write_block(f->device, bar, offset, data, length);
	while (length) {
		unsigned piece = piece_at(offset, length);
		uint64_t value = 0;

		for (unsigned i = 0; i < piece; i++)
			value |= (uint64_t)bytes[i] << 8 * i;
		write_piece(f, bar, offset, piece, value);
		bytes += piece;
		offset += piece;
		length -= piece;
	}
	return 0;
}
