/* SPDX-License-Identifier: MIT */
/*
 * Maps and unmaps pages at random while testdev stores to one of those that are mapped, again
 * and again. Wherever testdev is, what it touches is what is mapped:
 *
 *	- its log names the page that it was told to use, and each transfer went well, as the
 *	  neighbours of that page came and went;
 *	- a page that was unmapped keeps the stamp that it got when RPCIT had returned;
 *	- a transfer to a page that is not mapped is an error of the function, and does
 *	  nothing. (That takes a recovery, so it happens rarely.)
 *
 * Options: operations=N how many times a page is mapped or unmapped, seed=N.
 */
#include "zpci/iotable.h"
#include "zpci/zpci.h"

#include "../../../src/devices/testdev_regs.h"

#ifndef OPERATIONS
#define OPERATIONS 3000
#endif
#define SLOTS 64u
#define BUS_OFFSET 0x300000ull /* from the start of DMA */
#define RANGE 0x80000000ull
#define TARGET_EACH 8	/* operations between two targets */
#define MISTAKE_EACH 500 /* … between two transfers to a page that is not mapped */
#define WORDS (PAGE_SIZE / 8)
#define LOG_LOOKED_AT 4u

static struct function *f;
static uint64_t *third;
static struct fib fib;
static uint8_t *pages;
static bool mapped[SLOTS];
static uint64_t stamp[SLOTS]; /* of one that is not mapped */
static uint64_t random_state = 1, pattern = 1;

static uint64_t next_random(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

static uint64_t bus(unsigned slot)
{
	return f->query.sdma + BUS_OFFSET + slot * PAGE_SIZE;
}

/* Neighbours on the bus are not neighbours in memory. */
static volatile uint64_t *page(unsigned slot)
{
	return (volatile uint64_t *)(pages + (slot * 5 % SLOTS) * PAGE_SIZE);
}

static uint64_t reg_read(uint64_t reg)
{
	return bar_read(f, TESTDEV_BAR_REGISTERS, reg, 8);
}

static void reg_write(uint64_t reg, uint64_t value)
{
	bar_write(f, TESTDEV_BAR_REGISTERS, reg, 8, value);
}

static bool refresh(unsigned slot)
{
	struct answer answer = CC(2);

	(void)wait_for(!answered(answer = insn_rpcit(f->fh, bus(slot), PAGE_SIZE), CC(2)),
		       PATIENCE);
	return answered(answer, CC(0));
}

/* ---- The device ---- */

static void begin(unsigned slot, uint64_t command)
{
	reg_write(TESTDEV_LOG_COUNT, 0);
	reg_write(TESTDEV_DMA_ADDRESS, bus(slot));
	reg_write(TESTDEV_DMA_LENGTH, PAGE_SIZE);
	reg_write(TESTDEV_DMA_PATTERN, ++pattern);
	reg_write(TESTDEV_DMA_STEP, 0);
	reg_write(TESTDEV_DMA_COMMAND, command);
}

/* Stop, and look at what was done: false when it was not what it was told to do. */
static bool end(unsigned slot)
{
	uint64_t count;

	if (!wait_for(reg_read(TESTDEV_LOG_COUNT), PATIENCE))
		return false;
	reg_write(TESTDEV_DMA_COMMAND, TESTDEV_OP_STOP);
	if (!wait_for(!(reg_read(TESTDEV_DMA_STATUS) & TESTDEV_STATUS_BUSY), PATIENCE))
		return false;
	count = reg_read(TESTDEV_LOG_COUNT);
	for (unsigned i = 0; i < LOG_LOOKED_AT && i < count; i++) {
		uint64_t entry = TESTDEV_LOG +
				 (count - 1 - i) % TESTDEV_LOG_ENTRIES * TESTDEV_LOG_ENTRY_SIZE;
		uint64_t what = reg_read(entry + TESTDEV_LOG_WHAT);
		unsigned outcome = what >> 8 & 0xff;

		if (reg_read(entry + TESTDEV_LOG_ADDRESS) != bus(slot) ||
		    (what & 0xff) != TESTDEV_OP_FILL ||
		    (outcome != TESTDEV_DONE_OK && outcome != TESTDEV_DONE_STOPPED))
			return false;
	}
	return count && page(slot)[0] == swap(pattern, 8) &&
	       page(slot)[WORDS - 1] == swap(pattern, 8);
}

static void restart(void)
{
	function_restart(f);
	events_drop();
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + RANGE - 1;
	fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0)))
		note("translation is not registered");
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* ---- Pages ---- */

static bool unmap(unsigned slot)
{
	*page_entry(third, bus(slot)) = PAGE_INVALID;
	if (!refresh(slot))
		return false;
	mapped[slot] = false;
	stamp[slot] = next_random(~0ull);
	for (unsigned i = 0; i < WORDS; i++)
		page(slot)[i] = stamp[slot];
	return true;
}

static bool is_as_stamped(unsigned slot)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (page(slot)[i] != stamp[slot])
			return false;
	return true;
}

static bool map(unsigned slot)
{
	if (!is_as_stamped(slot))
		return false;
	iotable_map(third, bus(slot), (const void *)page(slot), 0);
	mapped[slot] = true;
	return refresh(slot);
}

/* One that is mapped, or not, as wanted; there is always one of both. */
static unsigned choose(bool wanted)
{
	unsigned slot = (unsigned)next_random(SLOTS);

	while (mapped[slot] != wanted)
		slot = (slot + 1) % SLOTS;
	return slot;
}

static bool in_error(void)
{
	return !answered(insn_pcilg(place(f->fh, CONFIG_SPACE, 4), 0, NULL), CC(0));
}

/* The device uses what is not mapped: it is told off. */
static bool mistake(void)
{
	unsigned slot = choose(false);

	begin(slot, TESTDEV_OP_FILL);
	if (!wait_for(in_error(), PATIENCE) || !is_as_stamped(slot))
		return false;
	restart();
	return true;
}

void guest_main(void)
{
	uint64_t operations = option("operations"), seed = option("seed"), done;
	bool order = true, device = true, mistakes = true;
	unsigned target;

	f = function_find();
	function_enable(f);
	if (f->vendor != TESTDEV_PCI_VENDOR || f->device != TESTDEV_PCI_DEVICE)
		bail("not here: testdev");
	random_state = seed ? seed : 1;
	operations = operations ? operations : OPERATIONS;
	third = iotable_new();
	pages = frames(SLOTS * PAGE_SIZE, PAGE_SIZE);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		*page_entry(third, bus(slot)) = PAGE_INVALID;
	restart();
	for (unsigned slot = 0; slot < SLOTS; slot++)
		order &= unmap(slot);
	/* Never all of them, never none. */
	order &= map(0);
	target = 0;
	begin(target, TESTDEV_OP_FILL | TESTDEV_DMA_THREAD | TESTDEV_DMA_REPEAT);
	for (done = 0; done < operations && order && device && mistakes; done++) {
		unsigned slot = 2 + (unsigned)next_random(SLOTS - 2);

		if (slot != target)
			order &= mapped[slot] ? unmap(slot) : map(slot);
		if (done % TARGET_EACH && done % MISTAKE_EACH)
			continue;
		device &= end(target);
		if (!(done % MISTAKE_EACH))
			mistakes &= mistake();
		target = choose(true);
		begin(target, TESTDEV_OP_FILL | TESTDEV_DMA_THREAD | TESTDEV_DMA_REPEAT);
	}
	device &= end(target);
	note("%lu operations", done);
	ok(order, "each RPCIT ends with 0, and nothing stores to a page that is not mapped");
	ok(device, "the device transfers to the page that it was told, and never fails");
	ok(mistakes, "a transfer to a page that is not mapped is an error, and stores nothing");
	ok(done == operations, "all of it");
}
