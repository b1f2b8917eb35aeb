/* SPDX-License-Identifier: MIT */
/* A driver for an NVMe controller; see nvme.h. */
#include "zpci/nvme.h"

#define CLASS_NVME 0x010802u
#define BAR 0

enum {
	REG_CAP = 0x00,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
	REG_DOORBELLS = 0x1000,
};

#define CC_ENABLE 1u
#define CC_ENTRY_SIZES (6u << 16 | 4u << 20)
#define CSTS_READY 1u

enum {
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
	IO_FLUSH = 0x00,
	IO_WRITE = 0x01,
	IO_READ = 0x02,
};

#define IDENTIFY_NAMESPACE 0
#define IDENTIFY_CONTROLLER 1
#define QUEUE_CONTIGUOUS 1u
#define QUEUE_INTERRUPTS 2u
#define QUEUE_ENTRIES 8u
#define NAMESPACE 1u

#define COMMAND_BYTES 64u
#define COMPLETION_BYTES 16u
#define ISC 3u
#define VECTOR(queue) ((queue)->id)

#define CR0_CLOCK_COMPARATOR BIT64(52)
#define CR6_ISC(isc) (BIT64(32) >> (isc))

uint8_t *nvme_page(const struct nvme *n, unsigned page)
{
	return n->arena + (page ^ 1) * PAGE_SIZE;
}

uint64_t nvme_page_bus(const struct nvme *n, unsigned page)
{
	if (!n->third)
		return n->f->query.sdma + (uint64_t)nvme_page(n, page);
	return n->f->query.sdma + NVME_ARENA + page * PAGE_SIZE;
}

static uint32_t reg_read(const struct nvme *n, unsigned reg)
{
	return bar_read(n->f, BAR, reg, 4);
}

static void reg_write(const struct nvme *n, unsigned reg, uint32_t value)
{
	bar_write(n->f, BAR, reg, 4, value);
}

/* Registers of 64 bits are written in halves: not every controller takes them whole. */
static void reg_write64(const struct nvme *n, unsigned reg, uint64_t value)
{
	reg_write(n, reg, value & 0xffffffff);
	reg_write(n, reg + 4, value >> 32);
}

bool nvme_is(const struct function *f)
{
	return config_read(f, 8, 4) >> 8 == CLASS_NVME;
}

uint32_t nvme_configuration(const struct function *f)
{
	return (uint32_t)bar_read(f, BAR, REG_CC, 4);
}

/* ---- Translation and interruptions ---- */

static void prepare(struct nvme *n, struct function *f)
{
	memset(n, 0, sizeof(*n));
	n->f = f;
	n->patience = PATIENCE;
	/* One more, for the exchange of neighbours. */
	n->arena = frames((NVME_PAGES + 1) * PAGE_SIZE, PAGE_SIZE);
	n->vectors = frames(PAGE_SIZE, PAGE_SIZE);
	n->summary = n->vectors + PAGE_SIZE / 2;
}

static const char *register_interruptions(struct nvme *n)
{
	struct function *f = n->f;
	struct fib fib = { 0 };

	if (!msix_find(f, &n->msix))
		return "no MSI-X";
	fib.interruption = FIB_ISC(ISC) | FIB_NOI(2) | FIB_SUMMARY;
	fib.aibv = (uint64_t)n->vectors;
	fib.aisb = (uint64_t)n->summary;
	if (!answered(modify(f, REGISTER_INTERRUPTIONS, &fib), CC(0)))
		return "interruptions are not taken";
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	msix_set(f, &n->msix, 0, f->group.msi_address, 0);
	msix_set(f, &n->msix, 1, f->group.msi_address, 1);
	msix_switch(f, &n->msix, true);
	return NULL;
}

const char *nvme_register(struct nvme *n, struct function *f)
{
	struct fib fib = { 0 };

	prepare(n, f);
	n->third = iotable_new();
	for (unsigned i = 0; i < NVME_PAGES; i++)
		iotable_map(n->third, nvme_page_bus(n, i), nvme_page(n, i), 0);
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + 0x7fffffff;
	if (fib.pal > f->query.edma)
		fib.pal = f->query.edma;
	fib.iota = (uint64_t)n->third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0)))
		return "the translation table is not taken";
	if (!answered(insn_rpcit(f->fh, nvme_page_bus(n, 0), NVME_PAGES * PAGE_SIZE), CC(0)))
		return "RPCIT for the arena";
	return register_interruptions(n);
}

const char *nvme_register_direct(struct nvme *n, struct function *f)
{
	struct fib fib = { .pba = f->query.sdma, .pal = f->query.edma };

	prepare(n, f);
	if (!(f->group.flags & GROUP_RELAXED_TRANSLATION))
		return "its group wants translation";
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0)))
		return "translation off is not taken";
	return register_interruptions(n);
}

SNIPPET(nvme_sleeps, "0: j 0b");

/* Sleep until the adapter interruption comes; was it there in time? */
static bool interruption_wait(uint64_t until)
{
	uint64_t cr0 = ctl_store(0), cr6 = ctl_store(6);
	struct run r = run_init(PSW_64 | PSW_IO | PSW_EXT | PSW_WAIT, nvme_sleeps);

	asm volatile("sckc %0" : : "Q"(until));
	ctl_load(0, cr0 | CR0_CLOCK_COMPARATOR);
	ctl_load(6, CR6_ISC(ISC));
	run(&r);
	ctl_load(6, cr6);
	ctl_load(0, cr0);
	return r.exit == RUN_IO;
}

static bool vector_take(struct nvme *n, unsigned vector)
{
	uint8_t bit = 0x80 >> vector;

	/* In this order: a message in between finds the summary bit clear. */
	__atomic_fetch_and(n->summary, (uint8_t)~0x80, __ATOMIC_SEQ_CST);
	return __atomic_fetch_and(n->vectors, (uint8_t)~bit, __ATOMIC_SEQ_CST) & bit;
}

/* ---- Queues ---- */

struct command {
	uint8_t opcode;
	uint32_t nsid;
	uint64_t prp1, prp2;
	uint32_t word10, word11, word12;
};

static void doorbell(const struct nvme *n, unsigned index, unsigned value)
{
	reg_write(n, REG_DOORBELLS + index * n->doorbell_stride, value);
}

static void put32(uint8_t *at, uint32_t value)
{
	*(volatile uint32_t *)at = __builtin_bswap32(value);
}

static void put64(uint8_t *at, uint64_t value)
{
	*(volatile uint64_t *)at = __builtin_bswap64(value);
}

static uint32_t get32(const uint8_t *at)
{
	return __builtin_bswap32(*(const volatile uint32_t *)at);
}

static void begin(struct nvme *n, struct nvme_queue *q, const struct command *c)
{
	uint8_t *entry = nvme_page(n, q->sq_page) + q->tail * COMMAND_BYTES;

	memset(entry, 0, COMMAND_BYTES);
	put32(entry, c->opcode | q->tail << 16);
	put32(entry + 4, c->nsid);
	put64(entry + 24, c->prp1);
	put64(entry + 32, c->prp2);
	put32(entry + 40, c->word10);
	put32(entry + 44, c->word11);
	put32(entry + 48, c->word12);
	serialize();
	q->tail = (q->tail + 1) % q->entries;
	doorbell(n, 2 * q->id, q->tail);
}

/* The last word of the queue's next completion; it counts once its phase is the queue's. */
static uint32_t completion(const struct nvme *n, const struct nvme_queue *q)
{
	return get32(nvme_page(n, q->cq_page) + q->head * COMPLETION_BYTES + 12);
}

static bool ended(const struct nvme_queue *q, uint32_t answer)
{
	return (answer >> 16 & 1) == q->phase;
}

/* The status of the command that has been begun. */
static unsigned end(struct nvme *n, struct nvme_queue *q)
{
	uint64_t until = tod_clock() + n->patience;
	uint32_t answer;

	/* The bit may be set by the time that we get to sleep; then so is the interruption. */
	n->interrupted = interruption_wait(until) && vector_take(n, VECTOR(q));
	answer = completion(n, q);
	if (!ended(q, answer))
		return NVME_NO_ANSWER;
	if (++q->head == q->entries) {
		q->head = 0;
		q->phase = !q->phase;
	}
	doorbell(n, 2 * q->id + 1, q->head);
	return answer >> 17;
}

static unsigned execute(struct nvme *n, struct nvme_queue *q, const struct command *c)
{
	begin(n, q, c);
	return end(n, q);
}

unsigned nvme_identify(struct nvme *n, unsigned page)
{
	return execute(n, &n->admin,
		       &(struct command){ .opcode = ADMIN_IDENTIFY,
					  .prp1 = nvme_page_bus(n, page),
					  .word10 = IDENTIFY_CONTROLLER });
}

static const char *identify(struct nvme *n)
{
	const uint8_t *data = nvme_page(n, NVME_DATA);

	if (nvme_identify(n, NVME_DATA))
		return "identify controller";
	memcpy(n->serial, data + 4, 20);
	for (unsigned i = 20; i && (n->serial[i - 1] == ' ' || !n->serial[i - 1]); i--)
		n->serial[i - 1] = 0;
	if (execute(n, &n->admin,
		    &(struct command){ .opcode = ADMIN_IDENTIFY,
				       .nsid = NAMESPACE,
				       .prp1 = nvme_page_bus(n, NVME_DATA),
				       .word10 = IDENTIFY_NAMESPACE }))
		return "identify namespace";
	n->blocks = get32(data) | (uint64_t)get32(data + 4) << 32;
	n->block_bytes = 1u << (get32(data + 128 + 4 * (data[26] & 15)) >> 16 & 31);
	if (!n->blocks || n->block_bytes < 512 || n->block_bytes > NVME_BLOCK_MAX)
		return "a namespace of strange size";
	return NULL;
}

static struct nvme_queue queue(unsigned id, unsigned sq_page, unsigned cq_page)
{
	return (struct nvme_queue){
		.id = id,
		.sq_page = sq_page,
		.cq_page = cq_page,
		.entries = QUEUE_ENTRIES,
		.phase = true,
	};
}

const char *nvme_start(struct nvme *n)
{
	const uint32_t size = (QUEUE_ENTRIES - 1) << 16;
	const char *failed;

	/* 500 ms is the unit of the time-out that the controller asks for. */
	uint64_t limit = PATIENCE + (reg_read(n, REG_CAP) >> 24) * SECOND / 2;

	n->doorbell_stride = 4u << (reg_read(n, REG_CAP + 4) & 15);
	n->admin = queue(0, NVME_ADMIN_SQ, NVME_ADMIN_CQ);
	n->io = queue(1, NVME_IO_SQ, NVME_IO_CQ);
	for (unsigned i = 0; i < NVME_PAGES; i++)
		memset(nvme_page(n, i), 0, PAGE_SIZE);
	memset(n->vectors, 0, PAGE_SIZE);

	reg_write(n, REG_CC, 0);
	if (!wait_for(!(reg_read(n, REG_CSTS) & CSTS_READY), limit))
		return "the controller does not stop";
	reg_write(n, REG_AQA, (QUEUE_ENTRIES - 1) | size);
	reg_write64(n, REG_ASQ, nvme_page_bus(n, NVME_ADMIN_SQ));
	reg_write64(n, REG_ACQ, nvme_page_bus(n, NVME_ADMIN_CQ));
	reg_write(n, REG_CC, CC_ENABLE | CC_ENTRY_SIZES);
	if (!wait_for(reg_read(n, REG_CSTS) & CSTS_READY, limit))
		return "the controller does not start";
	failed = identify(n);
	if (failed)
		return failed;
	if (execute(n, &n->admin,
		    &(struct command){ .opcode = ADMIN_CREATE_CQ,
				       .prp1 = nvme_page_bus(n, NVME_IO_CQ),
				       .word10 = n->io.id | size,
				       .word11 = QUEUE_CONTIGUOUS | QUEUE_INTERRUPTS |
						 VECTOR(&n->io) << 16 }))
		return "a completion queue";
	if (execute(n, &n->admin,
		    &(struct command){ .opcode = ADMIN_CREATE_SQ,
				       .prp1 = nvme_page_bus(n, NVME_IO_SQ),
				       .word10 = n->io.id | size,
				       .word11 = QUEUE_CONTIGUOUS | n->io.id << 16 }))
		return "a submission queue";
	return NULL;
}

/* ---- Reads and writes ---- */

/* Where a command's pages are; the first one is in the command itself. */
static void list_pages(struct nvme *n, struct command *c, const uint64_t *bus, unsigned pages)
{
	c->prp1 = bus[0];
	c->prp2 = pages < 2 ? 0 : bus[1];
	if (pages <= 2)
		return;
	for (unsigned i = 1; i < pages; i++)
		put64(nvme_page(n, NVME_PRP_LIST) + 8 * (i - 1), bus[i]);
	c->prp2 = nvme_page_bus(n, NVME_PRP_LIST);
}

static unsigned transfer(struct nvme *n, unsigned opcode, uint64_t lba, unsigned blocks)
{
	unsigned pages = (blocks * n->block_bytes + PAGE_SIZE - 1) / PAGE_SIZE;
	struct command c = {
		.opcode = opcode,
		.nsid = NAMESPACE,
		.word10 = lba & 0xffffffff,
		.word11 = lba >> 32,
		.word12 = blocks - 1,
	};
	uint64_t bus[NVME_DATA_PAGES];

	if (!pages || pages > NVME_DATA_PAGES)
		return NVME_NO_ANSWER;
	for (unsigned i = 0; i < pages; i++)
		bus[i] = nvme_page_bus(n, NVME_DATA + i);
	list_pages(n, &c, bus, pages);
	return execute(n, &n->io, &c);
}

unsigned nvme_read(struct nvme *n, uint64_t lba, unsigned blocks)
{
	return transfer(n, IO_READ, lba, blocks);
}

unsigned nvme_write(struct nvme *n, uint64_t lba, unsigned blocks)
{
	return transfer(n, IO_WRITE, lba, blocks);
}

void nvme_begin_read(struct nvme *n, uint64_t lba, const uint64_t *bus, unsigned pages)
{
	struct command c = {
		.opcode = IO_READ,
		.nsid = NAMESPACE,
		.word10 = lba & 0xffffffff,
		.word11 = lba >> 32,
		.word12 = pages * PAGE_SIZE / n->block_bytes - 1,
	};

	list_pages(n, &c, bus, pages);
	begin(n, &n->io, &c);
}

bool nvme_ended(const struct nvme *n)
{
	return ended(&n->io, completion(n, &n->io));
}

unsigned nvme_end_read(struct nvme *n)
{
	return end(n, &n->io);
}

unsigned nvme_flush(struct nvme *n)
{
	return execute(n, &n->io, &(struct command){ .opcode = IO_FLUSH, .nsid = NAMESPACE });
}
