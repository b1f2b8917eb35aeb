/* SPDX-License-Identifier: MIT */
/*
 * PCI functions: their description, config space and resets. The contract is in
 * zpci/pci.h; registers are in bar.c, interrupts in msi.c.
 *
 * Config space is three images: what is read, what it was after power on, and
 * which bits a write can change. That is enough for nearly all registers,
 * sizing a BAR included; what a write sets in motion (bus master, unmasking,
 * function-level reset) is looked at after the bits have changed.
 */
#include "pci/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/abi.h"
#include "dma/dma.h"

#define HEADER_MULTIFUNCTION 0x80 /* PCI_HEADER_TYPE_MFD, in Linux since 6.7 */
#define EXPRESS_LENGTH 0x3c /* an endpoint's, version 2 */
#define FOUR_LANES (4 << 4) /* in PCI_EXP_LNKCAP and PCI_EXP_LNKSTA */

/* What a vCPU waits at most for a reset; a disk that works has answered by then. */
#define RESET_SETTLE_US 10000
#define SETTLE_PAUSE_US 100

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
	f->initial[PCI_CLASS_PROG] = info->class_code;
	f->initial[PCI_CLASS_PROG + 1] = info->class_code >> 8;
	f->initial[PCI_CLASS_PROG + 2] = info->class_code >> 16;
	store_le16(f->writable + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
						      PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
						      PCI_COMMAND_INTX_DISABLE);
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

void pci_describe(struct pci_function *f, unsigned offset, const void *bytes, const void *writable,
		  unsigned length)
{
	memcpy(f->initial + offset, bytes, length);
	memcpy(f->config + offset, bytes, length);
	if (writable)
		memcpy(f->writable + offset, writable, length);
}

void pci_function_set_multifunction(struct pci_function *f)
{
	const uint8_t type = HEADER_MULTIFUNCTION;

	pci_describe(f, PCI_HEADER_TYPE, &type, NULL, sizeof(type));
}

int pci_function_add_capability(struct pci_function *f, uint8_t id, const void *body,
				const uint8_t *writable, unsigned length)
{
	unsigned offset = f->next_capability;
	unsigned total = (2 + length + 3) & ~3u;
	uint8_t header[2] = { id, 0 };

	if (length > CAPABILITIES_END || offset + total > CAPABILITIES_END)
		return -ENOSPC;
	pci_describe(f, offset, header, NULL, 2);
	if (length)
		pci_describe(f, offset + 2, body, writable, length);
	f->next_capability += total;

	uint8_t link = offset;
	if (f->last_capability) {
		pci_describe(f, f->last_capability + 1, &link, NULL, 1);
	} else {
		uint8_t status[2];

		store_le16(status, PCI_STATUS_CAP_LIST);
		pci_describe(f, PCI_STATUS, status, NULL, 2);
		pci_describe(f, PCI_CAPABILITY_LIST, &link, NULL, 1);
	}
	f->last_capability = offset;
	return offset;
}

int pci_function_add_express(struct pci_function *f)
{
	uint8_t body[EXPRESS_LENGTH - 2] = { 0 }, writable[EXPRESS_LENGTH - 2] = { 0 };
	int offset;

	/* Version 2, an endpoint; capable of function-level reset, role-based errors. */
	store_le16(body + PCI_EXP_FLAGS - 2, 2);
	store_le32(body + PCI_EXP_DEVCAP - 2, PCI_EXP_DEVCAP_FLR | PCI_EXP_DEVCAP_RBER);
	store_le16(body + PCI_EXP_DEVCTL - 2, PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN |
						      PCI_EXP_DEVCTL_READRQ_512B);
	store_le16(writable + PCI_EXP_DEVCTL - 2, 0xffff & ~PCI_EXP_DEVCTL_BCR_FLR);
	store_le32(body + PCI_EXP_LNKCAP - 2, PCI_EXP_LNKCAP_SLS_5_0GB | FOUR_LANES);
	store_le16(writable + PCI_EXP_LNKCTL - 2, 0x01fb);
	store_le16(body + PCI_EXP_LNKSTA - 2, PCI_EXP_LNKSTA_CLS_5_0GB | FOUR_LANES);
	store_le16(writable + PCI_EXP_DEVCTL2 - 2,
		   PCI_EXP_DEVCTL2_COMP_TIMEOUT | PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
	offset = pci_function_add_capability(f, PCI_CAP_ID_EXP, body, writable, sizeof(body));
	if (offset > 0)
		f->express = offset;
	return offset;
}

int pci_function_add_power_management(struct pci_function *f)
{
	uint8_t body[PCI_PM_SIZEOF - 2] = { 0 }, writable[PCI_PM_SIZEOF - 2] = { 0 };

	store_le16(body + PCI_PM_PMC - 2, 3); /* version 1.2, no PME */
	store_le16(body + PCI_PM_CTRL - 2, PCI_PM_CTRL_NO_SOFT_RESET);
	store_le16(writable + PCI_PM_CTRL - 2, PCI_PM_CTRL_STATE_MASK);
	return pci_function_add_capability(f, PCI_CAP_ID_PM, body, writable, sizeof(body));
}

int pci_function_place_config(struct pci_function *f, unsigned offset, const void *bytes,
			      const void *writable, unsigned length)
{
	if (!range_fits(offset, length, PCI_CONFIG_SIZE))
		return -EINVAL;
	pci_describe(f, offset, bytes, writable, length);
	return 0;
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
	pci_msi_update(f);
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
		pci_set_config_word(f, offset, load_le32(f->initial + offset));
	if (f->msix.vectors)
		pci_msix_reset(&f->msix);
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

void pci_function_enabling(struct pci_function *f)
{
	if (!f->ops.enabling)
		return;
	pthread_mutex_lock(&f->reset_lock);
	f->ops.enabling(f->device);
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
	value = pci_config_word(f, offset & ~3u) >> 8 * (offset & 3);
	if (size < 4)
		value &= (1u << 8 * size) - 1;
	return f->ops.config_read ? f->ops.config_read(f->device, offset, size, value) : value;
}

uint32_t pci_function_identity(const struct pci_function *f)
{
	return pci_config_word(f, PCI_VENDOR_ID);
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
		pci_msix_deliver_pending(f, 0, f->msix.vectors - 1);
	if (f->msi_enabled && msi)
		pci_msi_deliver_pending(f);
}

void pci_function_config_write(struct pci_function *f, unsigned offset, unsigned size,
			       uint32_t value)
{
	unsigned reset_byte = f->express + PCI_EXP_DEVCTL + 1;
	unsigned word = offset & ~3u;
	bool reset, command, msix, msi;

	if (!size || size > 4 || offset & (size - 1) || !range_fits(offset, size, PCI_CONFIG_SIZE))
		return;
	reset = f->express && touches(offset, size, reset_byte, 1) &&
		value >> 8 * (reset_byte - offset) & (PCI_EXP_DEVCTL_BCR_FLR >> 8);
	if (!is_ready(f))
		return;
	if (reset) {
		function_level_reset(f);
		return;
	}
	command = word == PCI_COMMAND;
	msix = f->msix.vectors && touches(word, 4, f->msix.offset + PCI_MSIX_FLAGS, 2);
	msi = f->msi.vectors && touches(word, 4, f->msi.offset, f->msi.end - f->msi.offset);
	if (likely(!command && !msix && !msi))
		write_config(f, offset, size, value);
	else
		write_controls(f, offset, size, value, command || msix, command || msi);
	if (f->ops.config_write)
		f->ops.config_write(f->device, offset, size, value);
}
