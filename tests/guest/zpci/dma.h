/* SPDX-License-Identifier: MIT */
/*
 * Functions that do DMA and send messages when they are told to.
 *
 * Two kinds are known: testdev, zvisor's function for tests, and a virtio entropy
 * device, which QEMU has: its stores are random bytes, its loads are of a
 * descriptor, and it sends a message when it is done. What a kind needs in memory
 * for itself is one page, which the program maps at DMA_SERVICE (as an offset in the
 * function's DMA range) before dma_start().
 *
 * Sources: src/devices/testdev_regs.h; Virtual I/O Device 1.1, sections 2.6 (split
 * virtqueues), 4.1.4 (PCI), 5.4 (entropy device).
 */
#ifndef ZPCI_DMA_H
#define ZPCI_DMA_H

#include "zpci/msix.h"
#include "zpci/zpci.h"

#define DMA_SERVICE 0x10000ull
/* Bytes of a transfer: what dma_store() stores and dma_load() loads. */
#define DMA_LENGTH 16

enum dma_kind { DMA_NONE, DMA_TESTDEV, DMA_ENTROPY };

struct dma {
	struct function *f;
	enum dma_kind kind;
	struct msix msix;
	unsigned entry; /* the MSI-X entry that dma_message() uses */
	uint8_t *service; /* absolute address of the page */
	uint64_t service_bus; /* its DMA address */
	uint64_t buffer; /* DMA address of bytes in it that may be stored to */
	/* virtio */
	unsigned common_bar, notify_bar;
	uint64_t common, notify;
	uint16_t requests;
};

/* What drives the function; the function is enabled. False: nothing does. */
bool dma_find(struct dma *d, struct function *f);
/* The page is at another DMA address than usual; before dma_start(). */
void dma_service_at(struct dma *d, uint64_t bus);
/* After the function was enabled and its translation registered. */
void dma_start(struct dma *d);

/*
 * The device stores DMA_LENGTH bytes, of which some are not 0, to a DMA address;
 * or it loads as many, which dma_put() put at `absolute` before, from one. These return
 * when the device is done, when the function is in error, or after a second.
 * dma_load() says whether the device got what was put.
 */
void dma_store(struct dma *d, uint64_t address);
void dma_put(struct dma *d, void *absolute);
bool dma_load(struct dma *d, uint64_t address);

/* Messages: switch MSI-X on; then dma_message() lets entry d->entry send one. */
void dma_messages_on(struct dma *d);
void dma_message(struct dma *d);

#endif
