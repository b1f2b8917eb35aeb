/* SPDX-License-Identifier: MIT */
/*
 * A driver for an NVMe controller, by hand: one admin queue pair, one pair for reads and
 * writes, one command at a time, an MSI-X vector for each.
 *
 * What the controller reads and writes is an arena of pages, which the translation
 * table maps at NVME_ARENA (as an offset in the function's DMA range) one by one, in an
 * order other than that in memory. A transfer uses its data pages.
 *
 * Source: NVM Express 1.4, chapters 3 (registers), 4 (queues, physical region pages),
 * 5 (admin commands), 6 (reads and writes).
 */
#ifndef ZPCI_NVME_H
#define ZPCI_NVME_H

#include "zpci/iotable.h"
#include "zpci/msix.h"
#include "zpci/zpci.h"

#define NVME_ARENA 0x40000000ull
#define NVME_DATA_PAGES 8u
#define NVME_BLOCK_MAX 4096u
/* Every controller's list of a page has room for so many, and takes a transfer as large. */
#define NVME_LIST_MAX 32u
/* What a command ends with when the controller says nothing in time. */
#define NVME_NO_ANSWER 0xffff

enum nvme_page {
	NVME_ADMIN_SQ,
	NVME_ADMIN_CQ,
	NVME_IO_SQ,
	NVME_IO_CQ,
	NVME_PRP_LIST,
	NVME_DATA,
	NVME_PAGES = NVME_DATA + NVME_DATA_PAGES,
};

struct nvme_queue {
	unsigned id, sq_page, cq_page, entries;
	unsigned tail, head;
	bool phase;
};

struct nvme {
	struct function *f;
	struct msix msix;
	uint64_t *third; /* the translation table; NULL: none, DMA addresses are absolute ones */
	uint8_t *arena;
	uint8_t *vectors, *summary;
	unsigned doorbell_stride;
	struct nvme_queue admin, io;
	/* Of the controller and its namespace 1. */
	char serial[21];
	uint64_t blocks;
	unsigned block_bytes;
	/* How long a command may take, in units of the TOD clock. */
	uint64_t patience;
	/* Did the last command's interruption come? */
	bool interrupted;
};

/* Is the function an NVMe controller? It is enabled. */
bool nvme_is(const struct function *f);
/* Its register Controller Configuration; bit 0: it is running. */
uint32_t nvme_configuration(const struct function *f);
/* Register translation and interruptions, and map the arena. What went wrong, or NULL. */
const char *nvme_register(struct nvme *n, struct function *f);
/* The same with translation off; for functions that may do without. */
const char *nvme_register_direct(struct nvme *n, struct function *f);
/* Reset and start the controller, identify it, make the queue pair. */
const char *nvme_start(struct nvme *n);

uint8_t *nvme_page(const struct nvme *n, unsigned page);
uint64_t nvme_page_bus(const struct nvme *n, unsigned page);

/*
 * Transfer blocks to or from the first data pages, which are not one behind the other in
 * memory. The command's status: 0 it was done.
 */
unsigned nvme_read(struct nvme *n, uint64_t lba, unsigned blocks);
unsigned nvme_write(struct nvme *n, uint64_t lba, unsigned blocks);
unsigned nvme_flush(struct nvme *n);

/*
 * A read into pages anywhere on the bus, NVME_LIST_MAX at most, while the program goes on:
 * begin; perhaps look whether it has ended; end, which waits for it.
 */
void nvme_begin_read(struct nvme *n, uint64_t lba, const uint64_t *bus, unsigned pages);
bool nvme_ended(const struct nvme *n);
unsigned nvme_end_read(struct nvme *n);
/* The controller's own data into one page of the arena. */
unsigned nvme_identify(struct nvme *n, unsigned page);

#endif
