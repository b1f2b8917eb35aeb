/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest at the NVMe controller.
 *
 * An input is a program of small operations: stores to registers and doorbells,
 * commands put into queues with any field changed, lists in memory, pages taken off
 * the bus, resets. The controller runs as in a machine, with its thread, on an
 * image in a file. Wrong are: a crash, a sanitizer's finding, a transfer that is
 * still under way after a reset, and a controller that does not become ready again.
 *
 *	nvme_fuzz [-max_total_time=SECONDS] [CORPUS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/nvme_host.h"
#include "base/util.h"
#include "devices/device.h"
#include "devices/nvme_spec.h"

#include "input.h"

#define PAGES 64u
#define BUS 0x700000000ull
#define IMAGE_SIZE (256 * KIB)
#define QUEUES 4u /* that commands are put into; page 2n is the SQ, 2n + 1 the CQ */
#define ENTRIES 16u
#define OPERATIONS_MAX 400

struct fuzz {
	struct pci_function *function;
	uint8_t *memory;
	void *host;
	uint32_t tails[QUEUES];
};

static uint8_t *page(struct fuzz *f, unsigned number)
{
	return f->memory + ((number % PAGES) ^ 1) * PAGE_SIZE;
}

/* Mostly a page on the bus, with a small offset; now and then anything. */
static uint64_t take_address(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	if (kind >= 250)
		return take(in, 8);
	return BUS + (kind % PAGES) * PAGE_SIZE + (kind & 0x80 ? take(in, 1) << 4 : 0);
}

static void store(struct fuzz *f, uint64_t offset, unsigned size, uint64_t value)
{
	(void)pci_function_bar_write(f->function, 0, offset, size, value);
}

static uint32_t load(struct fuzz *f, uint64_t offset)
{
	uint64_t value = 0;

	(void)pci_function_bar_read(f->function, 0, offset, 4, &value);
	return (uint32_t)value;
}

static void wait_ready(struct fuzz *f, uint32_t ready)
{
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t csts = load(f, NVME_REG_CSTS);

		if ((csts & NVME_CSTS_RDY) == ready || csts & NVME_CSTS_CFS)
			return;
		usleep(100);
	}
	fprintf(stderr, "the controller does not become %s\n", ready ? "ready" : "unready");
	abort();
}

static void put(struct fuzz *f, unsigned queue, struct nvme_command command)
{
	memcpy(page(f, 2 * queue) + f->tails[queue] * sizeof(command), &command, sizeof(command));
	f->tails[queue] = (f->tails[queue] + 1) % ENTRIES;
}

static void ring(struct fuzz *f, unsigned queue)
{
	store(f, NVME_REG_DOORBELLS + 8 * queue, 4, f->tails[queue]);
}

static void create_queue_pair(struct fuzz *f, unsigned id)
{
	struct nvme_command command = {
		.opcode = NVME_ADMIN_CREATE_CQ,
		.prp1 = le64_of(BUS + (2 * id + 1) * PAGE_SIZE),
		.cdw10 = le32_of((ENTRIES - 1) << 16 | id),
		.cdw11 = le32_of(id << 16 | NVME_CQ_INTERRUPTS | NVME_QUEUE_CONTIGUOUS),
	};

	put(f, 0, command);
	command.opcode = NVME_ADMIN_CREATE_SQ;
	command.prp1 = le64_of(BUS + 2 * id * PAGE_SIZE);
	put(f, 0, command);
	ring(f, 0);
}

static void enable(struct fuzz *f)
{
	memset(f->tails, 0, sizeof(f->tails));
	store(f, NVME_REG_CC, 4, 0);
	wait_ready(f, 0);
	store(f, NVME_REG_AQA, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	store(f, NVME_REG_ASQ, 8, BUS);
	store(f, NVME_REG_ACQ, 8, BUS + PAGE_SIZE);
	store(f, NVME_REG_CC, 4, NVME_CQES << 20 | NVME_SQES << 16 | NVME_CC_EN);
	wait_ready(f, NVME_CSTS_RDY);
	for (unsigned id = 1; id < QUEUES; id++)
		create_queue_pair(f, id);
}

/* A plausible command, of which the input may change anything. */
static void op_command(struct fuzz *f, struct input *in)
{
	unsigned queue = (unsigned)take(in, 1) % QUEUES;
	uint8_t opcode = (uint8_t)take(in, 1), changes = (uint8_t)take(in, 1);
	struct nvme_command command = {
		.opcode = opcode & 0x80 ? opcode : opcode & 0x0f,
		.nsid = le32_of(1),
		.cid = le16_of((uint16_t)take(in, 1)),
		.cdw10 = le32_of((uint32_t)take(in, 1)),
		.cdw12 = le32_of((uint32_t)take(in, 1)),
	};

	if (changes & 0x80) {
		command.flags = 1 << 6;
		command.sgl.address = le64_of(take_address(in));
		command.sgl.length = le32_of((uint32_t)take(in, 2) << 4);
		command.sgl.type = (uint8_t)take(in, 1);
	} else {
		command.prp1 = le64_of(take_address(in));
		command.prp2 = le64_of(take_address(in));
	}
	if (changes & 0x01)
		command.cdw10 = le32_of((uint32_t)take(in, 4));
	if (changes & 0x02)
		command.cdw11 = le32_of((uint32_t)take(in, 4));
	if (changes & 0x04)
		command.cdw12 = le32_of((uint32_t)take(in, 4));
	if (changes & 0x08)
		command.cdw13 = le32_of((uint32_t)take(in, 4));
	if (changes & 0x10)
		command.nsid = le32_of((uint32_t)take(in, 4));
	if (changes & 0x20)
		command.flags = (uint8_t)take(in, 1);
	put(f, queue, command);
	if (changes & 0x40)
		ring(f, queue);
}

/* PRP entries, SGL descriptors and ranges are all made of 8-byte units. */
static void op_list(struct fuzz *f, struct input *in)
{
	unsigned number = (unsigned)take(in, 1), count = (unsigned)take(in, 1) % 64 + 1;
	unsigned offset = (unsigned)take(in, 1) * 8 + (unsigned)take(in, 1) % 8 * 256;
	bool same = take(in, 1) & 1;
	uint64_t value = take_address(in);

	for (unsigned i = 0; i < count; i++) {
		if (!same)
			value = i % 2 && take(in, 1) & 1 ? take(in, 8) : take_address(in);
		store_le64(page(f, number) + (offset + 8 * i) % PAGE_SIZE, value);
	}
}

/* Ranges that are mostly valid, and the command for them. */
static void op_deallocate(struct fuzz *f, struct input *in)
{
	unsigned number = (unsigned)take(in, 1), count = (unsigned)take(in, 1);
	unsigned queue = (unsigned)take(in, 1) % (QUEUES - 1) + 1;
	struct nvme_dsm_range *ranges = (struct nvme_dsm_range *)page(f, number);

	for (unsigned i = 0; i < count % 8; i++)
		ranges[i] = (struct nvme_dsm_range){
			.length = le32_of((uint32_t)take(in, 1)),
			.slba = le64_of(take(in, 1)),
		};
	put(f, queue, (struct nvme_command){
			      .opcode = NVME_IO_DSM,
			      .nsid = le32_of(1),
			      .prp1 = le64_of(BUS + number % PAGES * PAGE_SIZE),
			      .cdw10 = le32_of(count % 8),
			      .cdw11 = le32_of(NVME_DSM_DEALLOCATE),
		      });
	ring(f, queue);
}

/* Queues made and deleted, events, aborts, features, logs, whatever is under way. */
static void op_admin(struct fuzz *f, struct input *in)
{
	static const uint8_t opcodes[] = {
		NVME_ADMIN_DELETE_SQ,	 NVME_ADMIN_DELETE_CQ,		 NVME_ADMIN_ABORT,
		NVME_ADMIN_SET_FEATURES, NVME_ADMIN_GET_FEATURES,	 NVME_ADMIN_IDENTIFY,
		NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_ASYNC_EVENT_REQUEST, NVME_ADMIN_CREATE_CQ,
		NVME_ADMIN_CREATE_SQ,
	};
	uint8_t opcode = opcodes[take(in, 1) % ARRAY_SIZE(opcodes)];
	bool creates = opcode == NVME_ADMIN_CREATE_CQ || opcode == NVME_ADMIN_CREATE_SQ;
	unsigned id = (unsigned)take(in, 1);
	struct nvme_command command = {
		.opcode = opcode,
		.nsid = le32_of((uint32_t)take(in, 1) % 3),
		.prp1 = le64_of(take_address(in)),
		.cdw10 = le32_of((creates ? ENTRIES - 1 : (uint32_t)take(in, 1)) << 16 | id % 16),
		.cdw11 = le32_of((uint32_t)take(in, 1) << 16 | (uint32_t)take(in, 1)),
	};

	put(f, 0, command);
	ring(f, 0);
}

static void op_consume(struct fuzz *f, struct input *in)
{
	unsigned queue = (unsigned)take(in, 1) % QUEUES;

	store(f, NVME_REG_DOORBELLS + 8 * queue + 4, 4, take(in, 1) % (ENTRIES + 1));
}

static void op_register(struct fuzz *f, struct input *in)
{
	static const unsigned sizes[] = { 4, 4, 8, 1, 2 };
	unsigned size = sizes[take(in, 1) % ARRAY_SIZE(sizes)];
	uint64_t offset = take(in, 1) & 1 ? NVME_REG_DOORBELLS + take(in, 2) % 0x400 :
					    take(in, 1) % 0x60;

	store(f, offset / size * size, size, take(in, size));
	(void)load(f, offset & ~3ull);
}

static void op_reset(struct fuzz *f, struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	if (how % 4 == 0) {
		pci_function_reset(f->function);
		if (!host_is_quiet(f->host)) {
			fprintf(stderr, "a transfer is under way after a reset\n");
			abort();
		}
		host_set_up_function(f->function);
	}
	if (how % 4 != 3)
		enable(f);
	else
		store(f, NVME_REG_CC, 4, take(in, 4));
}

/* Let the kernel complete what is under way, so that the next operation finds it done. */
static void op_settle(struct fuzz *f)
{
	for (unsigned i = 0; i < 10 && !host_is_quiet(f->host); i++)
		usleep(50);
	usleep(50);
}

static void run(struct fuzz *f, struct input *in)
{
	for (unsigned i = 0; in->size && i < OPERATIONS_MAX; i++) {
		switch (take(in, 1) % 16) {
		case 0:
			op_register(f, in);
			break;
		case 1:
			op_reset(f, in);
			break;
		case 2:
			host_set_mapped(f->host, (unsigned)take(in, 1) % PAGES, take(in, 1) & 1);
			break;
		case 3:
		case 4:
			op_list(f, in);
			break;
		case 5:
		case 6:
			op_consume(f, in);
			break;
		case 7:
			store(f, NVME_REG_DOORBELLS + 8 * (take(in, 1) % QUEUES), 4, take(in, 2));
			break;
		case 8:
			op_settle(f);
			break;
		case 9:
			op_deallocate(f, in);
			break;
		case 10:
			op_admin(f, in);
			break;
		default:
			op_command(f, in);
			break;
		}
	}
}

static struct fuzz *set_up(void)
{
	static struct fuzz f; /* lives as long as the process, and its leaks do not matter */
	struct device_config config;
	char error[DEVICE_ERROR_MAX], path[] = "/var/tmp/zvisor-fuzz-XXXXXX", text[64];
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, IMAGE_SIZE))
		abort();
	close(fd);
	snprintf(text, sizeof(text), "nvme,file=%s", path);
	if (device_parse(text, &config, error, sizeof(error)) ||
	    device_create(&config, "nvme0", &f.function, error, sizeof(error))) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	unlink(path);
	device_config_clear(&config);
	f.memory = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f.memory == MAP_FAILED)
		abort();
	f.host = host_attach(f.function, f.memory, PAGES, BUS);
	return &f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz *f;
	struct input in = { data, size };

	if (!f)
		f = set_up();
	memset(f->memory, 0, PAGES * PAGE_SIZE);
	for (unsigned i = 0; i < PAGES; i++)
		host_set_mapped(f->host, i, true);
	enable(f);
	run(f, &in);
	pci_function_reset(f->function);
	if (!host_is_quiet(f->host)) {
		fprintf(stderr, "a transfer is under way after a reset\n");
		abort();
	}
	host_set_up_function(f->function);
	return 0;
}
