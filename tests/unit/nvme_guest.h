/* SPDX-License-Identifier: MIT */
/*
 * A guest for tests of the NVMe controller: memory, a bus with holes, and as much
 * of a driver as tests need.
 *
 * Memory has GUEST_PAGES pages. The bus address of page n is GUEST_BUS + n pages,
 * and neighbours on the bus are not neighbours in host memory (pages are swapped
 * in pairs), so that transfers consist of several pieces as they do with a real
 * translation. A page can be taken off the bus.
 *
 * Queue 0 is the admin queue. Functions that fail end the test.
 */
#ifndef ZVISOR_TESTS_NVME_GUEST_H
#define ZVISOR_TESTS_NVME_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "devices/device.h"
#include "devices/nvme_spec.h"
#include "zpci/pci.h"

#define GUEST_PAGES 4096u
#define GUEST_BUS 0x700000000ull
#define GUEST_QUEUES 65
#define GUEST_ENTRIES 64 /* of the queues that guest_create_queues() makes */

/* The first pages of memory are queues; tests use what begins here. */
#define GUEST_DATA_PAGE 1024u

struct guest_queue {
	uint32_t sq_size, cq_size;
	uint32_t sq_tail, cq_head;
	bool phase;
	uint64_t sq_bus, cq_bus;
};

struct guest {
	struct pci_function *function;
	uint8_t *memory;
	char path[64]; /* of the image, if guest_new() made it */
	struct guest_queue queues[GUEST_QUEUES];
	uint16_t next_cid;
	void *bus; /* see nvme_host.h */
};

/* The device from text ("nvme,file=…"); attached, not enabled. */
struct guest *guest_new_device(const char *text);

/* One with an image of its own of `size` bytes, and more properties (or ""). */
struct guest *guest_new(uint64_t size, const char *properties);
void guest_free(struct guest *g);

/* Bus address and host pointer of a page of memory. */
uint64_t guest_bus(unsigned page);
uint8_t *guest_page(struct guest *g, unsigned page);

/* Copies across pages, by bus address. */
void guest_store(struct guest *g, uint64_t bus, const void *data, size_t size);
void guest_load(struct guest *g, uint64_t bus, void *data, size_t size);

void guest_unmap(struct guest *g, unsigned page);
void guest_map(struct guest *g, unsigned page);

/* Is no transfer under way? How many bytes were reported as written to memory? */
bool guest_is_quiet(struct guest *g);
uint64_t guest_written_bytes(struct guest *g);

/*
 * Waits until so many bytes were reported. A report follows its data: who polls a
 * completion in memory may see it before the owner of memory is told.
 */
void guest_wait_written(struct guest *g, uint64_t bytes);

unsigned guest_interrupts(struct guest *g, unsigned vector);

uint64_t guest_read_register(struct guest *g, uint64_t offset, unsigned size);
void guest_write_register(struct guest *g, uint64_t offset, unsigned size, uint64_t value);
void guest_wait_register(struct guest *g, uint64_t offset, uint32_t mask, uint32_t value);
void guest_ring_sq(struct guest *g, unsigned queue, uint32_t value);
void guest_ring_cq(struct guest *g, unsigned queue, uint32_t value);

/* Reset of the function, after which it is set up again but not enabled. */
void guest_reset_function(struct guest *g);

void guest_enable(struct guest *g);
void guest_disable(struct guest *g);

/* Queue pair 1 … count, vector n for queue n. */
void guest_create_queues(struct guest *g, unsigned count);
/* enable and one queue pair */
void guest_start(struct guest *g);

/* Put a command into a queue, and tell the controller; returns its identifier. */
uint16_t guest_put(struct guest *g, unsigned queue, struct nvme_command command);
void guest_ring(struct guest *g, unsigned queue);
uint16_t guest_submit(struct guest *g, unsigned queue, struct nvme_command command);

/* The next completion, if there is one; with and without telling the controller. */
bool guest_peek(struct guest *g, unsigned queue, struct nvme_completion *completion);
bool guest_poll(struct guest *g, unsigned queue, struct nvme_completion *completion);
struct nvme_completion guest_wait(struct guest *g, unsigned queue);

/* Status field without phase, more and do-not-retry. */
uint16_t guest_status(const struct nvme_completion *completion);

/* Submit, wait; the status, and dword 0 if `result` is not NULL. */
uint16_t guest_execute(struct guest *g, unsigned queue, struct nvme_command command,
		       uint32_t *result);

/* Commands. Data is at bus addresses of consecutive pages from `page`, with a PRP list. */
struct nvme_command guest_rw(struct guest *g, uint8_t opcode, uint64_t slba, uint32_t blocks,
			     unsigned page);
struct nvme_command guest_admin(uint8_t opcode, uint32_t cdw10, uint32_t cdw11, uint64_t prp1);
struct nvme_command guest_create_cq(unsigned id, uint32_t size, unsigned vector, uint64_t bus);
struct nvme_command guest_create_sq(unsigned id, uint32_t size, unsigned cqid, uint64_t bus);

#endif
