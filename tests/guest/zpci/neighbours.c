/* SPDX-License-Identifier: MIT */
/*
 * Pages come and go while an NVMe controller, passed through, stores into their neighbours.
 *
 * A window of pages, one behind the other on the bus and in memory, is mapped by one RPCIT, so
 * that a host which can do so maps it as one. Then the controller reads the disk into some
 * of them, again and again, and all the time the others are taken away and given again, at
 * random and in pieces of random length. Each read must end well, and store what is on the
 * disk: a page that the host's IOMMU has not at that moment keeps its stamp. In the end a page from the middle is taken away, and a command into it stores nothing.
 */
#include "zpci/nvme.h"

#define WINDOW 0x50000000ull /* offset in the DMA range */
#define SLOTS 64u
#define READ NVME_LIST_MAX
#define ROUNDS 20u
#define READS 25u /* of each */
#define PIECE_MAX 8u
#define KEPT 0x5aa55aa55aa55aa5ull

static struct nvme nvme;
static uint8_t *pages;
static uint64_t random_state = 0x9e3779b97f4a7c15ull;
/* Is the slot read into? Else it comes and goes. */
static bool target[SLOTS];
static unsigned changes;
static uint64_t on_disk[READ];

static unsigned draw(unsigned limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % limit);
}

static uint64_t bus(unsigned slot)
{
	return nvme.f->query.sdma + WINDOW + slot * PAGE_SIZE;
}

static uint64_t *entry(unsigned slot)
{
	return page_entry(nvme.third, bus(slot));
}

static void give(unsigned slot)
{
	iotable_map(nvme.third, bus(slot), pages + slot * PAGE_SIZE, 0);
}

static bool refresh(unsigned slot, unsigned count)
{
	struct answer answer;

	do
		answer = insn_rpcit(nvme.f->fh, bus(slot), count * PAGE_SIZE);
	while (!answer.pgm && answer.cc == 2);
	return answered(answer, CC(0));
}

/* Nothing is mapped, then everything. */
static bool map_window(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		*entry(i) = PAGE_INVALID;
	if (!refresh(0, SLOTS))
		return false;
	for (unsigned i = 0; i < SLOTS; i++)
		give(i);
	return refresh(0, SLOTS);
}

/* A piece of the window without targets goes, or comes again. */
static bool change(void)
{
	unsigned slot = draw(SLOTS), length = 1 + draw(PIECE_MAX), count;
	bool away = !(*entry(slot) & PAGE_INVALID);

	for (count = 0; count < length && slot + count < SLOTS && !target[slot + count]; count++) {
		if (away)
			*entry(slot + count) = PAGE_INVALID;
		else
			give(slot + count);
	}
	changes += count;
	return !count || refresh(slot, count);
}

/* The first word of each page that is read, as it comes by the arena. */
static bool look_at_the_disk(void)
{
	const unsigned blocks = PAGE_SIZE / nvme.block_bytes;

	for (unsigned i = 0; i < READ; i++) {
		if (i % NVME_DATA_PAGES == 0 &&
		    nvme_read(&nvme, i * blocks, NVME_DATA_PAGES * blocks))
			return false;
		on_disk[i] = *(uint64_t *)nvme_page(&nvme, NVME_DATA + i % NVME_DATA_PAGES);
	}
	return true;
}

/* Has each page what the disk has? */
static bool read(const unsigned *slots)
{
	volatile uint64_t *words[READ];
	uint64_t list[READ];
	bool fine = true;
	unsigned status;

	for (unsigned i = 0; i < READ; i++) {
		words[i] = (volatile uint64_t *)(pages + slots[i] * PAGE_SIZE);
		*words[i] = KEPT;
		list[i] = bus(slots[i]);
	}
	nvme_begin_read(&nvme, 0, list, READ);
	do
		fine = change() && fine;
	while (!nvme_ended(&nvme) && fine);
	status = nvme_end_read(&nvme);
	if (status)
		note("a read ends with status %x", status);
	for (unsigned i = 0; i < READ; i++) {
		if (*words[i] != on_disk[i])
			note("page %u of the window was missed", slots[i]);
		fine = fine && *words[i] == on_disk[i];
	}
	return fine && !status;
}

static bool round_of_reads(void)
{
	unsigned slots[READ];
	bool fine = map_window();

	memset(target, 0, sizeof(target));
	for (unsigned i = 0; i < READ; i++) {
		do
			slots[i] = draw(SLOTS);
		while (target[slots[i]]);
		target[slots[i]] = true;
	}
	for (unsigned i = 0; i < READS && fine; i++)
		fine = read(slots);
	return fine;
}

static void page_in_the_middle(void)
{
	const unsigned slot = SLOTS / 2 + 1;
	uint64_t *words = (uint64_t *)(pages + slot * PAGE_SIZE);
	bool same = true, mapped = map_window();

	for (unsigned i = 0; i < 512; i++)
		words[i] = KEPT;
	*entry(slot) = PAGE_INVALID;
	ok(mapped && refresh(slot, 1), "RPCIT for a page in the middle");
	/* How this ends, if it does, is for the host's IOMMU and the controller to say. */
	nvme.patience = SECOND;
	nvme_begin_read(&nvme, 0, (uint64_t[]){ bus(slot) }, 1);
	note("a read into it ends with status %x", nvme_end_read(&nvme));
	for (unsigned i = 0; i < 512; i++)
		same = same && ((volatile uint64_t *)words)[i] == KEPT;
	ok(same, "nothing is stored into it");
}

void guest_main(void)
{
	struct function *f = function_find();
	const char *failed;
	bool all = true;

	function_enable(f);
	if (!ok(nvme_is(f), "an NVMe controller"))
		return;
	pages = frames(SLOTS * PAGE_SIZE, PAGE_SIZE);
	failed = nvme_register(&nvme, f);
	if (!failed)
		failed = nvme_start(&nvme);
	if (!ok(!failed, "the controller starts"))
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		give(i);
	if (!ok(look_at_the_disk(), "the disk is read"))
		return;
	for (unsigned i = 0; i < ROUNDS && all; i++)
		all = round_of_reads();
	ok(all, "reads, while the neighbours of their pages come and go");
	note("%u pages came or went", changes);
	page_in_the_middle();
	modify(f, DEREGISTER_INTERRUPTIONS, NULL);
	function_disable(f);
}
