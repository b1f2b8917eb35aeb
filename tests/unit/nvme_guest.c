/* SPDX-License-Identifier: MIT */
/* See nvme_guest.h. */
#include "nvme_guest.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_host.h"

#define WAIT_LIMIT_S 60

/* Pages of queue n: 4 for submission, 1 for completion, from 8 n on. */
#define QUEUE_PAGE(n) (8u * (n))
#define PRP_LIST_PAGE (8u * GUEST_QUEUES) /* and one each 4 KiB after it, by queue position */
#define PRP_LIST_PAGES 64u

static unsigned swap_page(unsigned page)
{
	return page ^ 1;
}

uint64_t guest_bus(unsigned page)
{
	return GUEST_BUS + page * PAGE_SIZE;
}

uint8_t *guest_page(struct guest *g, unsigned page)
{
	return g->memory + swap_page(page) * PAGE_SIZE;
}

static uint8_t *at_bus(struct guest *g, uint64_t bus)
{
	return guest_page(g, (unsigned)((bus - GUEST_BUS) / PAGE_SIZE)) + bus % PAGE_SIZE;
}

void guest_store(struct guest *g, uint64_t bus, const void *data, size_t size)
{
	const uint8_t *from = data;

	while (size) {
		size_t part = MIN(size, PAGE_SIZE - bus % PAGE_SIZE);

		memcpy(at_bus(g, bus), from, part);
		bus += part;
		from += part;
		size -= part;
	}
}

void guest_load(struct guest *g, uint64_t bus, void *data, size_t size)
{
	uint8_t *to = data;

	while (size) {
		size_t part = MIN(size, PAGE_SIZE - bus % PAGE_SIZE);

		memcpy(to, at_bus(g, bus), part);
		bus += part;
		to += part;
		size -= part;
	}
}

struct guest *guest_new_device(const char *text)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct device_config config;
	char error[DEVICE_ERROR_MAX] = "";

	assert_non_null(g);
	g->memory = mmap(NULL, GUEST_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(g->memory, MAP_FAILED);
	if (device_parse(text, &config, error, sizeof(error)))
		fail_msg("%s", error);
	if (device_create(&config, "nvme0", &g->function, error, sizeof(error)))
		fail_msg("%s", error);
	device_config_clear(&config);
	g->bus = host_attach(g->function, g->memory, GUEST_PAGES, GUEST_BUS);
	return g;
}

struct guest *guest_new(uint64_t size, const char *properties)
{
	char path[64] = "/var/tmp/zvisor-nvme-XXXXXX", text[256];
	int fd = mkstemp(path);
	struct guest *g;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	snprintf(text, sizeof(text), "nvme,file=%s%s", path, properties);
	g = guest_new_device(text);
	memcpy(g->path, path, sizeof(path));
	return g;
}

void guest_free(struct guest *g)
{
	host_detach(g->function, g->bus);
	pci_function_free(g->function);
	host_free(g->bus);
	munmap(g->memory, GUEST_PAGES * PAGE_SIZE);
	if (g->path[0])
		unlink(g->path);
	free(g);
}

void guest_unmap(struct guest *g, unsigned page)
{
	host_set_mapped(g->bus, page, false);
}

void guest_map(struct guest *g, unsigned page)
{
	host_set_mapped(g->bus, page, true);
}

bool guest_is_quiet(struct guest *g)
{
	return host_is_quiet(g->bus);
}

void guest_reset_function(struct guest *g)
{
	pci_function_reset(g->function);
	host_set_up_function(g->function);
}

uint64_t guest_written_bytes(struct guest *g)
{
	return host_written_bytes(g->bus);
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

void guest_wait_written(struct guest *g, uint64_t bytes)
{
	time_t limit = now() + WAIT_LIMIT_S;

	while (guest_written_bytes(g) < bytes) {
		assert_true(now() < limit);
		usleep(10);
	}
	assert_int_equal(guest_written_bytes(g), bytes);
}

unsigned guest_interrupts(struct guest *g, unsigned vector)
{
	return host_interrupts(g->bus, vector);
}

/* --- registers ------------------------------------------------------------- */

uint64_t guest_read_register(struct guest *g, uint64_t offset, unsigned size)
{
	uint64_t value;

	assert_int_equal(pci_function_bar_read(g->function, 0, offset, size, &value), 0);
	return value;
}

void guest_write_register(struct guest *g, uint64_t offset, unsigned size, uint64_t value)
{
	assert_int_equal(pci_function_bar_write(g->function, 0, offset, size, value), 0);
}

void guest_wait_register(struct guest *g, uint64_t offset, uint32_t mask, uint32_t value)
{
	time_t limit = now() + WAIT_LIMIT_S;

	while ((guest_read_register(g, offset, 4) & mask) != value) {
		if (now() > limit)
			fail_msg("register 0x%llx stays 0x%llx", (unsigned long long)offset,
				 (unsigned long long)guest_read_register(g, offset, 4));
		usleep(50);
	}
}

void guest_ring_sq(struct guest *g, unsigned queue, uint32_t value)
{
	guest_write_register(g, NVME_REG_DOORBELLS + 8 * queue, 4, value);
}

void guest_ring_cq(struct guest *g, unsigned queue, uint32_t value)
{
	guest_write_register(g, NVME_REG_DOORBELLS + 8 * queue + 4, 4, value);
}

static void init_queue(struct guest *g, unsigned id, uint32_t sq_size, uint32_t cq_size)
{
	struct guest_queue *q = &g->queues[id];

	*q = (struct guest_queue){
		.sq_size = sq_size,
		.cq_size = cq_size,
		.phase = true,
		.sq_bus = guest_bus(QUEUE_PAGE(id)),
		.cq_bus = guest_bus(QUEUE_PAGE(id) + 4),
	};
	for (unsigned i = 0; i < 8; i++)
		memset(guest_page(g, QUEUE_PAGE(id) + i), 0, PAGE_SIZE);
}

void guest_enable(struct guest *g)
{
	init_queue(g, 0, GUEST_ENTRIES, GUEST_ENTRIES);
	guest_write_register(g, NVME_REG_AQA, 4, (GUEST_ENTRIES - 1) << 16 | (GUEST_ENTRIES - 1));
	guest_write_register(g, NVME_REG_ASQ, 8, g->queues[0].sq_bus);
	guest_write_register(g, NVME_REG_ACQ, 8, g->queues[0].cq_bus);
	guest_write_register(g, NVME_REG_CC, 4, NVME_CQES << 20 | NVME_SQES << 16 | NVME_CC_EN);
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_RDY | NVME_CSTS_CFS, NVME_CSTS_RDY);
}

void guest_disable(struct guest *g)
{
	guest_write_register(g, NVME_REG_CC, 4, NVME_CQES << 20 | NVME_SQES << 16);
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_RDY, 0);
}

void guest_create_queues(struct guest *g, unsigned count)
{
	for (unsigned id = 1; id <= count; id++) {
		init_queue(g, id, GUEST_ENTRIES, GUEST_ENTRIES);
		assert_int_equal(guest_execute(g, 0,
					       guest_create_cq(id, GUEST_ENTRIES, id,
							       g->queues[id].cq_bus),
					       NULL),
				 NVME_STATUS_SUCCESS);
		assert_int_equal(guest_execute(g, 0,
					       guest_create_sq(id, GUEST_ENTRIES, id,
							       g->queues[id].sq_bus),
					       NULL),
				 NVME_STATUS_SUCCESS);
	}
}

void guest_start(struct guest *g)
{
	guest_enable(g);
	guest_create_queues(g, 1);
}

/* --- commands ----------------------------------------------------------------- */

uint16_t guest_put(struct guest *g, unsigned queue, struct nvme_command command)
{
	struct guest_queue *q = &g->queues[queue];

	command.cid = le16_of(g->next_cid);
	guest_store(g, q->sq_bus + (uint64_t)q->sq_tail * sizeof(command), &command,
		    sizeof(command));
	q->sq_tail = (q->sq_tail + 1) % q->sq_size;
	return g->next_cid++;
}

void guest_ring(struct guest *g, unsigned queue)
{
	guest_ring_sq(g, queue, g->queues[queue].sq_tail);
}

uint16_t guest_submit(struct guest *g, unsigned queue, struct nvme_command command)
{
	uint16_t cid = guest_put(g, queue, command);

	guest_ring(g, queue);
	return cid;
}

bool guest_peek(struct guest *g, unsigned queue, struct nvme_completion *completion)
{
	struct guest_queue *q = &g->queues[queue];
	uint64_t bus = q->cq_bus + (uint64_t)q->cq_head * sizeof(*completion);
	const uint64_t *entry = (const uint64_t *)at_bus(g, bus);
	uint64_t last = __atomic_load_n(&entry[1], __ATOMIC_ACQUIRE);

	memcpy((uint8_t *)completion + 8, &last, 8);
	if ((le16_get(completion->status) & 1) != q->phase)
		return false;
	memcpy(completion, entry, 8);
	return true;
}

bool guest_poll(struct guest *g, unsigned queue, struct nvme_completion *completion)
{
	struct guest_queue *q = &g->queues[queue];

	if (!guest_peek(g, queue, completion))
		return false;
	if (++q->cq_head == q->cq_size) {
		q->cq_head = 0;
		q->phase = !q->phase;
	}
	guest_ring_cq(g, queue, q->cq_head);
	return true;
}

struct nvme_completion guest_wait(struct guest *g, unsigned queue)
{
	time_t limit = now() + WAIT_LIMIT_S;
	struct nvme_completion completion;

	while (!guest_poll(g, queue, &completion)) {
		if (now() > limit)
			fail_msg("no completion in queue %u", queue);
		usleep(10);
	}
	return completion;
}

uint16_t guest_status(const struct nvme_completion *completion)
{
	return le16_get(completion->status) >> 1 & 0x7ff;
}

uint16_t guest_execute(struct guest *g, unsigned queue, struct nvme_command command,
		       uint32_t *result)
{
	uint16_t cid = guest_submit(g, queue, command);
	struct nvme_completion completion = guest_wait(g, queue);

	assert_int_equal(le16_get(completion.cid), cid);
	assert_int_equal(le16_get(completion.sq_id), queue);
	assert_int_equal(le16_get(completion.sq_head), g->queues[queue].sq_tail);
	if (result)
		*result = le32_get(completion.result);
	return guest_status(&completion);
}

struct nvme_command guest_rw(struct guest *g, uint8_t opcode, uint64_t slba, uint32_t blocks,
			     unsigned page)
{
	struct nvme_command command = {
		.opcode = opcode,
		.nsid = le32_of(1),
		.prp1 = le64_of(guest_bus(page)),
		.cdw10 = le32_of((uint32_t)slba),
		.cdw11 = le32_of((uint32_t)(slba >> 32)),
		.cdw12 = le32_of(blocks - 1),
	};
	unsigned pages = (blocks * 512 + (unsigned)PAGE_SIZE - 1) / (unsigned)PAGE_SIZE;

	if (pages == 2) {
		command.prp2 = le64_of(guest_bus(page + 1));
	} else if (pages > 2) {
		unsigned list = PRP_LIST_PAGE + g->next_cid % PRP_LIST_PAGES;

		for (unsigned i = 1; i < pages; i++)
			store_le64(guest_page(g, list) + (i - 1) * 8, guest_bus(page + i));
		command.prp2 = le64_of(guest_bus(list));
	}
	return command;
}

struct nvme_command guest_admin(uint8_t opcode, uint32_t cdw10, uint32_t cdw11, uint64_t prp1)
{
	return (struct nvme_command){
		.opcode = opcode,
		.prp1 = le64_of(prp1),
		.cdw10 = le32_of(cdw10),
		.cdw11 = le32_of(cdw11),
	};
}

struct nvme_command guest_create_cq(unsigned id, uint32_t size, unsigned vector, uint64_t bus)
{
	return guest_admin(NVME_ADMIN_CREATE_CQ, (size - 1) << 16 | id,
			   vector << 16 | NVME_CQ_INTERRUPTS | NVME_QUEUE_CONTIGUOUS, bus);
}

struct nvme_command guest_create_sq(unsigned id, uint32_t size, unsigned cqid, uint64_t bus)
{
	return guest_admin(NVME_ADMIN_CREATE_SQ, (size - 1) << 16 | id,
			   cqid << 16 | NVME_QUEUE_CONTIGUOUS, bus);
}
