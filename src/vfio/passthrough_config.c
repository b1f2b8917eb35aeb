/* SPDX-License-Identifier: MIT */
/*
 * Config space of passed-through functions.
 *
 * The device's layout is kept byte by byte, since drivers know where things are. What the
 * model keeps (`kept`): the header but for what is a device's own there, the links of both
 * lists of capabilities, and the bodies of those that we emulate:
 *
 *	power management  the device stays in D0, or its BARs could not be reached any more
 *			  (Linux, vfio_pci_core.c: a fault of a mapped BAR is SIGBUS then)
 *	MSI, MSI-X	  messages are the model's
 *
 * A guest may ask for a reset by PCI Express or by Advanced Features: both are ours, as
 * interrupts have to be given up first.
 *
 * Taken out of the lists, as QEMU does (hw/vfio/pci.c, vfio_add_ext_cap()), or because
 * nothing on Z has a use for it: whatever concerns other functions (SR-IOV, ARI), the
 * host's IOMMU (ATS, PRI, PASID), or the size and place of BARs.
 *
 * Memory accesses of the device are always on, whatever the guest's command register has,
 * since a BAR that is off cannot be touched (see above). Accesses from the guest do not depend on
 * it on Z.
 *
 * What a device says is not trusted: lists may be loops, capabilities may overlap.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "vfio/passthrough_internal.h"

#define HEADER_SIZE 0x40
#define CLASSIC_SIZE 0x100 /* where extended capabilities begin */

#define EXT_CAP_ID_VF_REBAR 0x24 /* PCI_EXT_CAP_ID_VF_REBAR, since 6.16 */
#define AF_LENGTH 6
#define MSIX_LENGTH (PCI_MSIX_PBA + 4)
/* The byte that a function-level reset is asked for in, and its bit there. */
#define EXPRESS_RESET (PCI_EXP_DEVCTL + 1)
#define EXPRESS_RESET_BIT (PCI_EXP_DEVCTL_BCR_FLR >> 8)

/* --- what the guest reads and writes ------------------------------------------------- */

uint32_t passthrough_config_read(void *device, unsigned offset, unsigned size, uint32_t value)
{
	struct passthrough *p = device;
	uint8_t bytes[4] = { 0 };
	unsigned kept = 0;

	size = MIN(size, sizeof(bytes));
	for (unsigned i = 0; i < size; i++)
		kept += p->kept[offset + i];
	if (kept == size)
		return value;
	if (p->ops->region_read(p->backend, VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes, size))
		memset(bytes, 0xff, size);
	for (unsigned i = 0; i < size; i++) {
		if (p->kept[offset + i])
			bytes[i] = (uint8_t)(value >> 8 * i);
	}
	return load_le32(bytes);
}

/* The bytes that are the device's, in as few pieces as there are. */
static void forward(struct passthrough *p, unsigned offset, unsigned size, const uint8_t *bytes)
{
	for (unsigned i = 0, end; i < size; i = end + 1) {
		for (end = i; end < size && !p->kept[offset + end]; end++)
			;
		if (end > i)
			(void)p->ops->region_write(p->backend, VFIO_PCI_CONFIG_REGION_INDEX,
						   offset + i, bytes + i, end - i);
	}
}

static bool asks_for_reset(unsigned reg, uint8_t bit, unsigned offset, unsigned size,
			   const uint8_t *bytes)
{
	return reg && reg - offset < size && bytes[reg - offset] & bit;
}

void passthrough_config_write(void *device, unsigned offset, unsigned size, uint32_t value)
{
	struct passthrough *p = device;
	uint8_t bytes[4];

	store_le32(bytes, value);
	if (asks_for_reset(p->express_reset, EXPRESS_RESET_BIT, offset, size, bytes) ||
	    asks_for_reset(p->af_reset, PCI_AF_CTRL_FLR, offset, size, bytes)) {
		pci_function_reset(p->function);
		return;
	}
	forward(p, offset, size, bytes);
	if (offset < PCI_COMMAND + 2 && offset + size > PCI_COMMAND)
		passthrough_command_update(p);
	/* Cheap where nothing has changed. */
	if (offset >= HEADER_SIZE)
		passthrough_irq_update(p);
}

/* --- the command register --------------------------------------------------------------- */

/* With command_lock held. */
static void set_command(struct passthrough *p)
{
	uint16_t guest = (uint16_t)pci_function_config_read(p->function, PCI_COMMAND, 2);
	uint16_t command = (guest & (PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR)) |
			   PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE;
	uint8_t bytes[2];

	if (!p->gate_open)
		command &= ~PCI_COMMAND_MASTER;
	if (p->ops->set_command) {
		p->ops->set_command(p->backend, command);
		return;
	}
	store_le16(bytes, command);
	(void)p->ops->region_write(p->backend, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, bytes,
				   sizeof(bytes));
}

void passthrough_command_update(struct passthrough *p)
{
	pthread_mutex_lock(&p->command_lock);
	set_command(p);
	pthread_mutex_unlock(&p->command_lock);
}

void passthrough_gate(struct passthrough *p, bool open)
{
	pthread_mutex_lock(&p->command_lock);
	if (p->gate_open != open) {
		p->gate_open = open;
		set_command(p);
	}
	pthread_mutex_unlock(&p->command_lock);
}

/* What the guest will see, while it is put together. */
struct layout {
	uint8_t config[PCI_CONFIG_SIZE], writable[PCI_CONFIG_SIZE];
	/* Placed when all else is; 0: none. */
	unsigned msi, msi_vectors;
	uint16_t msi_control;
	unsigned msix, msix_vectors;
	uint32_t msix_table, msix_pba;
};

/* --- describing: capabilities -------------------------------------------------------------- */

static void keep(struct passthrough *p, unsigned offset, unsigned length)
{
	memset(p->kept + offset, 1, MIN(length, PCI_CONFIG_SIZE - offset));
}

/* Nothing is to be seen of a range. */
static void hide(struct passthrough *p, struct layout *l, unsigned offset, unsigned length)
{
	length = MIN(length, PCI_CONFIG_SIZE - offset);
	memset(l->config + offset, 0, length);
	keep(p, offset, length);
}

static void describe_power_management(struct passthrough *p, struct layout *l, unsigned at)
{
	uint16_t capabilities = load_le16(l->config + at + PCI_PM_PMC) & PCI_PM_CAP_VER_MASK;

	hide(p, l, at + PCI_PM_PMC, PCI_PM_SIZEOF - PCI_PM_PMC);
	store_le16(l->config + at + PCI_PM_PMC, capabilities);
	store_le16(l->config + at + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);
	store_le16(l->writable + at + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
}

static void describe_express(struct passthrough *p, const struct layout *l, unsigned at)
{
	if (load_le32(l->config + at + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR)
		p->express_reset = at + EXPRESS_RESET;
}

static void describe_advanced_features(struct passthrough *p, struct layout *l, unsigned at)
{
	keep(p, at, AF_LENGTH);
	store_le16(l->config + at + PCI_AF_CTRL, 0);
	if (l->config[at + PCI_AF_CAP] & PCI_AF_CAP_FLR)
		p->af_reset = at + PCI_AF_CTRL;
}

static unsigned irq_count(struct passthrough *p, unsigned index)
{
	unsigned count = 0;

	return p->ops->irq_count(p->backend, index, &count) ? 0 : count;
}

/* False: the capability is not to be seen. */
static bool describe_msi(struct passthrough *p, struct layout *l, unsigned at)
{
	uint16_t control = load_le16(l->config + at + PCI_MSI_FLAGS);
	unsigned vectors = 1u << ((control & PCI_MSI_FLAGS_QMASK) >> 1);
	unsigned length = 10 + (control & PCI_MSI_FLAGS_64BIT ? 4 : 0) +
			  (control & PCI_MSI_FLAGS_MASKBIT ? 10 : 0);
	unsigned count = irq_count(p, VFIO_PCI_MSI_IRQ_INDEX);

	hide(p, l, at + PCI_MSI_FLAGS, length - PCI_MSI_FLAGS);
	while (vectors > count)
		vectors /= 2;
	if (!vectors || l->msi)
		return false;
	l->msi = at;
	l->msi_vectors = vectors;
	l->msi_control = control;
	return true;
}

static bool describe_msix(struct passthrough *p, struct layout *l, unsigned at)
{
	unsigned vectors = (load_le16(l->config + at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1;
	uint32_t table = load_le32(l->config + at + PCI_MSIX_TABLE);
	uint32_t pba = load_le32(l->config + at + PCI_MSIX_PBA);

	hide(p, l, at + PCI_MSIX_FLAGS, MSIX_LENGTH - PCI_MSIX_FLAGS);
	vectors = MIN(vectors, irq_count(p, VFIO_PCI_MSIX_IRQ_INDEX));
	if (!vectors || l->msix)
		return false;
	l->msix = at;
	l->msix_vectors = vectors;
	l->msix_table = table;
	l->msix_pba = pba;
	return true;
}

/* One of the list; false: take it out. */
static bool describe_capability(struct passthrough *p, struct layout *l, unsigned at)
{
	switch (l->config[at]) {
	case PCI_CAP_ID_PM:
		describe_power_management(p, l, at);
		return true;
	case PCI_CAP_ID_EXP:
		describe_express(p, l, at);
		return true;
	case PCI_CAP_ID_AF:
		describe_advanced_features(p, l, at);
		return true;
	case PCI_CAP_ID_MSI:
		return describe_msi(p, l, at);
	case PCI_CAP_ID_MSIX:
		return describe_msix(p, l, at);
	case PCI_CAP_ID_EA:
		return false;
	default:
		return true;
	}
}

/* Follow the list and link again what stays. */
static void describe_capabilities(struct passthrough *p, struct layout *l)
{
	uint8_t *config = l->config;
	bool has_list = load_le16(config + PCI_STATUS) & PCI_STATUS_CAP_LIST;
	unsigned at = config[PCI_CAPABILITY_LIST] & ~3u, link = PCI_CAPABILITY_LIST;
	bool seen[CLASSIC_SIZE / 4] = { false };

	config[PCI_CAPABILITY_LIST] = 0;
	/* The last bytes have no room for a body. */
	while (has_list && at >= HEADER_SIZE && at < CLASSIC_SIZE - PCI_MSI_FLAGS &&
	       !seen[at / 4]) {
		unsigned next = config[at + 1] & ~3u;

		seen[at / 4] = true;
		keep(p, at, 2);
		config[at + 1] = 0;
		if (describe_capability(p, l, at)) {
			config[link] = (uint8_t)at;
			link = at + 1;
		} else {
			config[at] = 0;
		}
		at = next;
	}
	if (!config[PCI_CAPABILITY_LIST])
		config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_CAP_LIST;
}

static bool extended_is_shown(unsigned id)
{
	switch (id) {
	case PCI_EXT_CAP_ID_ARI:
	case PCI_EXT_CAP_ID_ATS:
	case PCI_EXT_CAP_ID_SRIOV:
	case PCI_EXT_CAP_ID_PRI:
	case PCI_EXT_CAP_ID_REBAR:
	case PCI_EXT_CAP_ID_PASID:
	case EXT_CAP_ID_VF_REBAR:
		return false;
	default:
		return true;
	}
}

/*
 * The list begins at a fixed place: if what is there is not to be seen, an empty
 * capability (number 0) stays.
 */
static void describe_extended(struct passthrough *p, struct layout *l)
{
	uint8_t *config = l->config;
	unsigned at = CLASSIC_SIZE, last = CLASSIC_SIZE;
	bool seen[PCI_CONFIG_SIZE / 4] = { false };

	while (at >= CLASSIC_SIZE && at <= p->config_size - 4 && !seen[at / 4]) {
		uint32_t header = load_le32(config + at);
		unsigned next = header >> 20 & ~3u;
		bool shown = extended_is_shown(header & 0xffff);

		/* All ones: a device that has gone, or no extended config space behind a bridge. */
		if (!header || header == UINT32_MAX)
			break;
		seen[at / 4] = true;
		keep(p, at, 4);
		if (shown || at == CLASSIC_SIZE) {
			store_le32(config + at, shown ? header & 0xfffff : 0);
			if (at != CLASSIC_SIZE)
				store_le32(config + last,
					   (load_le32(config + last) & 0xfffff) | at << 20);
			last = at;
		} else {
			hide(p, l, at, 4);
		}
		at = next;
	}
}

/* --- describing: header and BARs -------------------------------------------------------------- */

static void describe_header(struct passthrough *p, uint8_t *config)
{
	static const struct {
		unsigned offset, length;
	} forwarded[] = {
		{ PCI_STATUS + 1, 1 },
		{ PCI_CACHE_LINE_SIZE, 2 },
		{ PCI_CARDBUS_CIS, 4 },
		{ PCI_MIN_GNT, 2 },
	};

	memset(p->kept, 1, HEADER_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(forwarded); i++)
		memset(p->kept + forwarded[i].offset, 0, forwarded[i].length);
	config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	memset(config + PCI_COMMAND, 0, 2);
	/* No built-in self-test, no ROM, no interrupt line; one function. */
	memset(config + PCI_HEADER_TYPE, 0, 2);
	memset(config + PCI_ROM_ADDRESS, 0, 4);
	memset(config + PCI_CAPABILITY_LIST + 1, 0, PCI_INTERRUPT_PIN - PCI_CAPABILITY_LIST);
}

static int describe_bars(struct passthrough *p, const uint8_t *config, char *error,
			 size_t error_size)
{
	for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
		uint32_t word = load_le32(config + PCI_BASE_ADDRESS_0 + 4 * i);
		struct passthrough_region region = { 0 };
		int rc = p->ops->region_info(p->backend, i, &region);

		if (rc) {
			snprintf(error, error_size, "BAR %u cannot be had: %s", i, strerror(-rc));
			return rc;
		}
		/* There is no I/O space on Z. */
		if (!region.size || word & PCI_BASE_ADDRESS_SPACE_IO)
			continue;
		if (pci_function_add_bar(p->function, i, region.size,
					 word & PCI_BASE_ADDRESS_MEM_TYPE_64,
					 word & PCI_BASE_ADDRESS_MEM_PREFETCH)) {
			snprintf(error, error_size, "BAR %u makes no sense: %#x, %llu bytes", i,
				 word, (unsigned long long)region.size);
			return -EINVAL;
		}
		for (unsigned a = 0; a < MIN(region.areas, PASSTHROUGH_AREAS_MAX); a++) {
			const struct passthrough_area *area = &region.area[a];

			if (range_fits(area->offset, area->length, region.size))
				p->bars[i].area[p->bars[i].areas++] = *area;
		}
	}
	return 0;
}

static int read_config(struct passthrough *p, uint8_t *config, char *error, size_t error_size)
{
	struct passthrough_region region = { 0 };
	int rc = p->ops->region_info(p->backend, VFIO_PCI_CONFIG_REGION_INDEX, &region);

	if (!rc && region.size < CLASSIC_SIZE)
		rc = -EINVAL;
	p->config_size = region.size < PCI_CONFIG_SIZE ? CLASSIC_SIZE : PCI_CONFIG_SIZE;
	if (!rc)
		rc = p->ops->region_read(p->backend, VFIO_PCI_CONFIG_REGION_INDEX, 0, config,
					 p->config_size);
	if (rc) {
		snprintf(error, error_size, "its config space cannot be read: %s", strerror(-rc));
		return rc;
	}
	if (load_le16(config + PCI_VENDOR_ID) == 0xffff) {
		snprintf(error, error_size, "the device does not answer");
		return -ENODEV;
	}
	if (config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) {
		snprintf(error, error_size,
			 "it is a bridge, and no function that a guest could have");
		return -EINVAL;
	}
	return 0;
}

static struct pci_function *new_function(struct passthrough *p, const char *name,
					 const uint8_t *config)
{
	const struct pci_function_info info = {
		.name = name,
		.vendor_id = load_le16(config + PCI_VENDOR_ID),
		.device_id = load_le16(config + PCI_DEVICE_ID),
		.subsystem_vendor_id = load_le16(config + PCI_SUBSYSTEM_VENDOR_ID),
		.subsystem_id = load_le16(config + PCI_SUBSYSTEM_ID),
		.class_code = load_le32(config + PCI_REVISION_ID) >> 8,
		.revision = config[PCI_REVISION_ID],
		.unsplit = true,
	};

	return pci_function_new(&info, &passthrough_device_ops, p);
}

/* The layout becomes the function's. BARs, and what of the header is ours, are there already. */
static int place(struct passthrough *p, const struct layout *l, char *error, size_t error_size)
{
	struct pci_function *f = p->function;
	const uint8_t *config = l->config;
	int rc = 0;

	(void)pci_function_place_config(f, 0, config, NULL, PCI_BASE_ADDRESS_0);
	(void)pci_function_place_config(f, PCI_CARDBUS_CIS, config + PCI_CARDBUS_CIS, NULL,
					PCI_INTERRUPT_LINE - PCI_CARDBUS_CIS);
	(void)pci_function_place_config(f, HEADER_SIZE, config + HEADER_SIZE,
					l->writable + HEADER_SIZE, PCI_CONFIG_SIZE - HEADER_SIZE);
	if (l->msi)
		rc = pci_function_place_msi(f, l->msi, l->msi_vectors,
					    l->msi_control & PCI_MSI_FLAGS_64BIT,
					    l->msi_control & PCI_MSI_FLAGS_MASKBIT);
	if (!rc && l->msix)
		rc = pci_function_place_msix(f, l->msix, l->msix_vectors, l->msix_table & 7,
					     l->msix_table & ~7u, l->msix_pba & 7,
					     l->msix_pba & ~7u);
	if (rc)
		snprintf(error, error_size, "its MSI or MSI-X capability makes no sense: %s",
			 strerror(-rc));
	return rc;
}

int passthrough_config_describe(struct passthrough *p, const char *name, char *error,
				size_t error_size)
{
	struct layout l = { 0 };
	int rc = read_config(p, l.config, error, error_size);

	if (rc)
		return rc;
	p->function = new_function(p, name, l.config);
	if (!p->function) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
	}
	rc = describe_bars(p, l.config, error, error_size);
	if (rc)
		return rc;
	keep(p, p->config_size, PCI_CONFIG_SIZE - p->config_size);
	describe_header(p, l.config);
	describe_capabilities(p, &l);
	if (p->config_size > CLASSIC_SIZE)
		describe_extended(p, &l);
	return place(p, &l, error, error_size);
}
