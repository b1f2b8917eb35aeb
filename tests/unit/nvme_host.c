/* SPDX-License-Identifier: MIT */
/* See nvme_host.h. */
#include "nvme_host.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/util.h"
#include "dma/dma.h"

#define VECTORS_MAX 128
#define MSI_ADDRESS 0xfee00000u
#define MSIX_ENABLE 0x8000u

enum { REASON_UNMAPPED = 1, REASON_PROTECTED, REASON_ADDRESSING };

struct host {
	struct dma_memory memory;
	struct pci_dma_space *space;
	unsigned pages;
	uint64_t bus_base;
	_Atomic bool *unmapped;
	_Atomic uint64_t written;
	_Atomic unsigned interrupts[VECTORS_MAX];
};

static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *translation)
{
	struct host *h = opaque;
	uint64_t page = (iova - h->bus_base) / PAGE_SIZE;

	if (iova < h->bus_base || page >= h->pages || h->unmapped[page])
		return REASON_UNMAPPED;
	*translation = (struct dma_translation){
		.iova = iova,
		.absolute = (page ^ 1) * PAGE_SIZE,
		.size = PAGE_SIZE,
		.writable = true,
	};
	return 0;
}

static void written(void *opaque, uint64_t absolute, uint64_t length)
{
	((struct host *)opaque)->written += length;
}

static void deliver(void *opaque, uint64_t address, uint32_t data)
{
	struct host *h = opaque;

	if (address != MSI_ADDRESS || data >= VECTORS_MAX)
		abort();
	h->interrupts[data]++;
}

static const struct dma_space_ops space_ops = {
	.translate = translate,
	.reason_protected = REASON_PROTECTED,
	.reason_addressing = REASON_ADDRESSING,
};

static const struct pci_msi_ops msi_ops = { .deliver = deliver };

static unsigned find_capability(struct pci_function *f, uint8_t id)
{
	unsigned at = pci_function_config_read(f, PCI_CAPABILITY_LIST, 1);

	while (at && pci_function_config_read(f, at, 1) != id)
		at = pci_function_config_read(f, at + 1, 1);
	return at;
}

/* What a guest's PCI code does: message n for vector n, all unmasked. */
static void enable_interrupts(struct pci_function *f)
{
	unsigned at = find_capability(f, PCI_CAP_ID_MSIX);
	uint32_t table = pci_function_config_read(f, at + 4, 4);
	unsigned vectors = pci_function_msix_vectors(f);

	for (unsigned v = 0; v < vectors; v++) {
		uint64_t entry = (table & ~7u) + 16 * v;

		if (pci_function_bar_write(f, table & 7, entry, 8, MSI_ADDRESS) ||
		    pci_function_bar_write(f, table & 7, entry + 8, 8, v))
			abort();
	}
	pci_function_config_write(f, at + 2, 2, MSIX_ENABLE);
}

void host_set_up_function(struct pci_function *f)
{
	pci_function_config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	enable_interrupts(f);
}

void *host_attach(struct pci_function *f, uint8_t *memory, unsigned pages, uint64_t bus_base)
{
	struct host *h = calloc(1, sizeof(*h));

	if (!h)
		abort();
	h->memory = (struct dma_memory){
		.base = memory,
		.size = pages * PAGE_SIZE,
		.written = written,
		.opaque = h,
	};
	h->pages = pages;
	h->bus_base = bus_base;
	h->unmapped = calloc(pages, sizeof(*h->unmapped));
	h->space = dma_space_new(&h->memory, &space_ops, h);
	if (!h->unmapped || !h->space || pci_function_attach(f, h->space, &msi_ops, h))
		abort();
	dma_space_open(h->space);
	host_set_up_function(f);
	return h;
}

void host_detach(struct pci_function *f, void *host)
{
	pci_function_detach(f);
}

void host_free(void *host)
{
	struct host *h = host;

	dma_space_free(h->space);
	free(h->unmapped);
	free(h);
}

void host_set_mapped(void *host, unsigned page, bool mapped)
{
	struct host *h = host;

	h->unmapped[page] = !mapped;
	(void)dma_space_invalidate(h->space, h->bus_base + page * PAGE_SIZE, PAGE_SIZE, UINT64_MAX);
}

bool host_is_quiet(void *host)
{
	return !dma_space_drain(((struct host *)host)->space, 0);
}

uint64_t host_written_bytes(void *host)
{
	return ((struct host *)host)->written;
}

unsigned host_interrupts(void *host, unsigned vector)
{
	return ((struct host *)host)->interrupts[vector];
}
