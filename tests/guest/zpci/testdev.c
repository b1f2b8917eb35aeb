/* SPDX-License-Identifier: MIT */
/*
 * testdev, the tool of other tests, is checked itself: what it transfers, what it
 * holds, what its log says of it, and how it interrupts and fails. Its registers:
 * src/devices/testdev_regs.h.
 *
 * Bus addresses from sdma on are mapped page by page (Linux,
 * arch/s390/include/asm/pci_dma.h: designation, tables, entries).
 */
#include "../../../src/devices/testdev_regs.h"
#include "zpci/msix.h"
#include "zpci/zpci.h"

#define TABLE_ENTRIES 2048
#define PAGE_ENTRIES 256
#define REGION_THIRD_DESIGNATION 0x804ull
#define REGION_INVALID 0x27ull
#define REGION_VALID 0x07ull
#define SEGMENT_INVALID 0x20ull
#define PAGE_INVALID 0x400ull

static uint64_t regions[TABLE_ENTRIES] __attribute__((aligned(16384)));
static uint64_t segments[TABLE_ENTRIES] __attribute__((aligned(16384)));
static uint64_t pages[PAGE_ENTRIES] __attribute__((aligned(2048)));
static uint8_t memory[4][PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t indicators[32] __attribute__((aligned(256)));
static uint64_t summary;

static struct function *f;
static uint64_t bus; /* of the first page */

static void map(unsigned page, const void *to)
{
	pages[page] = to ? (uint64_t)to : PAGE_INVALID;
}

static void register_translation(void)
{
	struct fib fib = { 0 };

	bus = f->query.sdma;
	for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
		regions[i] = REGION_INVALID;
		segments[i] = SEGMENT_INVALID;
	}
	regions[bus >> 31 & 0x7ff] = (uint64_t)segments | REGION_VALID;
	segments[bus >> 20 & 0x7ff] = (uint64_t)pages;
	for (unsigned i = 0; i < PAGE_ENTRIES; i++)
		map(i, i < ARRAY_SIZE(memory) ? memory[i] : NULL);
	fib.pba = f->query.sdma;
	fib.pal = f->query.edma;
	fib.iota = (uint64_t)regions | REGION_THIRD_DESIGNATION;
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0)))
		bail("no translation");
}

static uint64_t reg(unsigned offset)
{
	return bar_read(f, TESTDEV_BAR_REGISTERS, offset, 8);
}

static void set_reg(unsigned offset, uint64_t value)
{
	bar_write(f, TESTDEV_BAR_REGISTERS, offset, 8, value);
}

static unsigned transfer(uint64_t address, uint64_t length, uint64_t command)
{
	set_reg(TESTDEV_DMA_ADDRESS, address);
	set_reg(TESTDEV_DMA_LENGTH, length);
	set_reg(TESTDEV_DMA_COMMAND, command);
	if (!wait_for(!(reg(TESTDEV_DMA_STATUS) & TESTDEV_STATUS_BUSY), PATIENCE))
		bail("a transfer does not end");
	return TESTDEV_STATUS_OUTCOME(reg(TESTDEV_DMA_STATUS));
}

static uint64_t log_word(uint64_t n, unsigned word)
{
	return reg(TESTDEV_LOG + (n % TESTDEV_LOG_ENTRIES) * TESTDEV_LOG_ENTRY_SIZE + word);
}

/* Kind, outcome and bytes of an entry, as testdev_regs.h has them. */
static uint64_t what(unsigned kind, unsigned outcome, uint64_t length)
{
	return kind | outcome << 8 | length << 16;
}

static void transfers(void)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	set_reg(TESTDEV_LOG_COUNT, 0);
	set_reg(TESTDEV_DMA_PATTERN, 0x1122334455667788);
	check_value(transfer(bus + 4090, 12, TESTDEV_OP_FILL), TESTDEV_DONE_OK, 'C', "testdev.fill",
		    "12 bytes of the pattern, across two pages");
	check(!memcmp(memory[0] + 4090, "\x88\x77\x66\x55\x44\x33", 6) &&
		      !memcmp(memory[1], "\x22\x11\x88\x77\x66\x55\0", 7) && !memory[0][4089],
	      'C', "testdev.fill.bytes", "are there, and no byte more");
	check(log_word(0, TESTDEV_LOG_NUMBER) == 1 &&
		      log_word(0, TESTDEV_LOG_WHAT) == what(TESTDEV_OP_FILL, 0, 12) &&
		      log_word(0, TESTDEV_LOG_ADDRESS) == bus + 4090,
	      'C', "testdev.log.fill", "the log has the transfer");

	memcpy(memory[2], "from the guest", 14);
	set_reg(TESTDEV_DMA_LOCAL, 3);
	transfer(bus + 2 * PAGE_SIZE, 14, TESTDEV_OP_READ);
	set_reg(TESTDEV_DMA_LOCAL, 8);
	transfer(bus + 3 * PAGE_SIZE, 9, TESTDEV_OP_WRITE);
	check(!memcmp(memory[3], "the guest", 9) && !memory[3][9], 'C', "testdev.copy",
	      "what was read to BAR 2 is written back from it");

	for (unsigned i = 0; i < PAGE_SIZE; i++)
		hash = (hash ^ memory[2][i]) * 0x100000001b3ull;
	transfer(bus + 2 * PAGE_SIZE, PAGE_SIZE, TESTDEV_OP_CHECKSUM | TESTDEV_DMA_THREAD);
	check_value(reg(TESTDEV_DMA_RESULT), hash, 'C', "testdev.checksum",
		    "a checksum by the device's thread");
	check_value(reg(TESTDEV_LOG_COUNT), 4, 'C', "testdev.log.count",
		    "four transfers in the log");
}

static void held(void)
{
	struct answer answer = CC(0);
	uint64_t end;

	set_reg(TESTDEV_DMA_PATTERN, 0x77);
	set_reg(TESTDEV_DMA_DELAY, 20000);
	memset(memory[1], 0, PAGE_SIZE);
	transfer(bus + PAGE_SIZE, PAGE_SIZE, TESTDEV_OP_HOLD_FILL);
	check_value(reg(TESTDEV_DMA_HELD), 1, 'C', "testdev.hold", "an access is held in flight");
	map(1, NULL);
	end = tod_clock() + PATIENCE;
	do
		answer = insn_rpcit(f->fh, bus + PAGE_SIZE, PAGE_SIZE);
	while (answered(answer, CC(2)) && tod_clock() < end);
	check_answer(answer, CC(0), 'L', "testdev.rpcit",
		     "RPCIT repeated until the access has ended");
	check_value(memory[1][0], 0x77, 'L', "testdev.rpcit.after",
		    "what it stored is there when RPCIT says so");
	check_value(reg(TESTDEV_DMA_HELD), 0, 'C', "testdev.hold.end", "after its time");
	set_reg(TESTDEV_DMA_DELAY, 0);
	map(1, memory[1]);
}

static void blocks(void)
{
	struct answer answer;
	uint64_t length = f->group.store_block_max & 0x1fff;

	for (unsigned i = 0; i < PAGE_SIZE; i++)
		memory[0][i] = (uint8_t)(i * 7);
	set_reg(TESTDEV_LOG_COUNT, 0);
	answer = insn_pcistb(place(f->fh, TESTDEV_BAR_RECORDER, (unsigned)length), 0x4000,
			     memory[0]);
	check_answer(answer, CC(0), 'L', "testdev.block.longest", "a block of the group's maximum");
	check(reg(TESTDEV_LOG_COUNT) == 1 &&
		      log_word(0, TESTDEV_LOG_WHAT) == what(TESTDEV_LOG_BLOCK, 0, length) &&
		      log_word(0, TESTDEV_LOG_ADDRESS) == 0x4000,
	      'C', "testdev.block.one-store", "arrives as one store of that length");
	check_value(bar_read(f, TESTDEV_BAR_RECORDER, 0x4000 + length - 1, 1),
		    memory[0][length - 1], 'L', "testdev.block.bytes",
		    "with all its bytes, in order");
}

static void interrupts(void)
{
	struct msix msix;
	struct fib fib = { 0 };
	unsigned noi, set = 0;

	if (!msix_find(f, &msix))
		bail("testdev without MSI-X");
	noi = msix.entries < 2048 ? msix.entries : 2048;
	fib.interruption = FIB_ISC(3) | FIB_NOI(noi) | FIB_SUMMARY;
	fib.aibv = (uint64_t)indicators;
	fib.aisb = (uint64_t)&summary;
	if (!answered(modify(f, REGISTER_INTERRUPTIONS, &fib), CC(0)))
		bail("no interruptions");
	for (unsigned v = 0; v < noi; v++)
		msix_set(f, &msix, v, f->group.msi_address, v);
	msix_switch(f, &msix, true);
	set_reg(TESTDEV_FIRE, 5);
	check(indicators[0] == BIT64(5) && summary == BIT64(0), 'L', "testdev.fire.one",
	      "one vector: its bit and the summary bit");
	set_reg(TESTDEV_FIRE, (uint64_t)noi << 16);
	for (unsigned v = 0; v < noi; v++)
		set += indicators[v / 64] >> (63 - v % 64) & 1;
	check_value(set, noi, 'L', "testdev.fire.all", "all vectors at once");
	memset(indicators, 0, sizeof(indicators));
	set_reg(TESTDEV_RATE_INTERVAL, 10000);
	set_reg(TESTDEV_RATE_COUNT, 100);
	set_reg(TESTDEV_RATE, 2 | 3 << 16);
	wait_for(!reg(TESTDEV_RATE), PATIENCE);
	check(indicators[0] == (BIT64(2) | BIT64(3) | BIT64(4)) && reg(TESTDEV_FIRED) == noi + 101,
	      'C', "testdev.rate", "three vectors by turns, a hundred times");
	modify(f, DEREGISTER_INTERRUPTIONS, &fib);
}

static void errors(void)
{
	struct fib fib = { 0 };
	struct event event;

	events_drop();
	set_reg(TESTDEV_DMA_ADDRESS, bus + 100 * PAGE_SIZE);
	set_reg(TESTDEV_DMA_LENGTH, 8);
	set_reg(TESTDEV_DMA_COMMAND, TESTDEV_OP_FILL);
	event = event_wait();
	check(event.content == 1 && event.fh == f->fh && event.address == bus + 100 * PAGE_SIZE,
	      'L', "testdev.fault", "DMA to a page that is not mapped: an error event");
	modify(f, RESET_ERROR, &fib);
	set_reg(TESTDEV_ERROR, TESTDEV_ERROR_FUNCTION);
	event = event_wait();
	check(event.content == 1 && event.fh == f->fh && event.pec == 0x000b, 'C', "testdev.error",
	      "an error of the device: event 000b");
	check(answered(insn_pcilg(place(f->fh, 0, 8), 0, NULL), STATUS(12)), 'Q',
	      "testdev.error.blocked", "loads are blocked");
	modify(f, RESET_ERROR, &fib);
	check_value(reg(TESTDEV_ID), TESTDEV_ID_VALUE, 'L', "testdev.error.reset",
		    "until the error state is reset");
}

void guest_main(void)
{
	f = function_find();
	if (f->vendor != TESTDEV_PCI_VENDOR || f->device != TESTDEV_PCI_DEVICE) {
		rest_not_here("testdev");
		return;
	}
	function_enable(f);
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	check_value(reg(TESTDEV_ID), TESTDEV_ID_VALUE, 'C', "testdev.id", "it is one");
	register_translation();
	transfers();
	held();
	blocks();
	interrupts();
	errors();
	function_disable(f);
	function_enable(f);
	check(reg(TESTDEV_RESETS) == 1 && !reg(TESTDEV_LOG_COUNT) && !reg(TESTDEV_DMA_COUNT), 'Q',
	      "testdev.reset", "disabling the function resets the device");
	function_disable(f);
}
