/* SPDX-License-Identifier: MIT */
/*
 * States that a device brings about, and changes of state with DMA under way: what
 * only testdev does on command. docs/zpci.md, the sections on RPCIT, on MPCIFC,
 * and "Events and states".
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

#include "../../../src/devices/testdev_regs.h"

#define TARGET 0x5000ull /* offsets of two pages in the DMA range */
#define OTHER 0x6000ull

static struct function *f;
static struct dma dma;
static uint64_t *third;
static uint8_t *page;
static struct fib fib;

static uint64_t reg(uint64_t offset)
{
	return bar_read(f, TESTDEV_BAR_REGISTERS, offset, 8);
}

static void set_reg(uint64_t offset, uint64_t value)
{
	bar_write(f, TESTDEV_BAR_REGISTERS, offset, 8, value);
}

static void register_translation(void)
{
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + 0x7fffffff;
	fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	modify(f, REGISTER_TRANSLATION, &fib);
}

static void setup(void)
{
	function_restart(f);
	events_drop();
	iotable_map(third, f->query.sdma + DMA_SERVICE, dma.service, 0);
	iotable_map(third, f->query.sdma + TARGET, page, 0);
	iotable_map(third, f->query.sdma + OTHER, page + PAGE_SIZE, 0);
	memset(page, 0, 2 * PAGE_SIZE);
	register_translation();
	dma_start(&dma);
}

/* ---- Errors of the device ---- */

static void device_errors(void)
{
	struct event event;
	struct fib stored;
	uint64_t data;

	setup();
	set_reg(TESTDEV_ERROR, TESTDEV_ERROR_FUNCTION);
	event = event_wait();
	check(event.content == 1 && event.pec == 0xb && event.fh == f->fh && event.fid == f->fid,
	      'C', "state.device-error.event", "the device reports an error: event 000b");
	check_value(stored_controls(f).controls, 0xf0, 'C', "state.device-error",
		    "the device reports an error: error state");
	modify(f, RESET_ERROR, NULL);
	dma_store(&dma, f->query.sdma + TARGET);
	check(page[0] != 0, 'C', "state.device-error.reset", "after reset error DMA works");

	setup();
	set_reg(TESTDEV_ERROR, TESTDEV_ERROR_PERMANENT);
	event = event_wait();
	check(event.content == 1 && event.pec == 0x3b && event.fh == f->fh, 'L',
	      "state.permanent.event", "the device is broken for good: event 003b");
	check_answer(insn_pcilg(place(f->fh, CONFIG_SPACE, 4), 0, &data), STATUS(12), 'Q',
		     "pcilg.permanent", "permanent error: condition code 1, status 12");
	check_answer(insn_pcistg(place(f->fh, CONFIG_SPACE, 1), 0x3c, 0), STATUS(12), 'Q',
		     "pcistg.permanent", "permanent error: condition code 1, status 12");
	check_answer(insn_stpcifc(control(f->fh, 0, 0), &stored), STATUS(8), 'Q',
		     "stpcifc.permanent", "permanent error: condition code 1, status 8");
	check_answer(insn_mpcifc(control(f->fh, 0, RESET_ERROR), &fib), CC(3), 'Q',
		     "mpcifc.permanent", "permanent error: condition code 3");
	check_answer(insn_rpcit(f->fh, f->query.sdma + TARGET, PAGE_SIZE), CC(3), 'Q',
		     "rpcit.permanent", "permanent error: condition code 3");
	check_value(event_next().content, 0, 'L', "state.permanent.event.one",
		    "there is one event, not more");
	check(function_refresh_handle(f), 'L', "state.permanent.listed",
	      "a function in permanent error is listed");
	check_value(sclp_configure(f->fid, false), 0x20, 'Q', "sclp.deconfigure.permanent",
		    "deconfigure in permanent error: response 0020");
	sclp_configure(f->fid, true);
	function_refresh_handle(f);
}

/* ---- With a transfer in flight ---- */

static void hold(void)
{
	set_reg(TESTDEV_DMA_ADDRESS, f->query.sdma + TARGET);
	set_reg(TESTDEV_DMA_LENGTH, 64);
	set_reg(TESTDEV_DMA_PATTERN, 0x1111111111111111ull);
	set_reg(TESTDEV_DMA_STEP, 0);
	set_reg(TESTDEV_DMA_DELAY, 0);
	set_reg(TESTDEV_DMA_COMMAND, TESTDEV_OP_HOLD_FILL);
	wait_for(reg(TESTDEV_DMA_HELD) == 1, PATIENCE);
}

static void release(void)
{
	set_reg(TESTDEV_DMA_COMMAND, TESTDEV_OP_RELEASE);
	wait_for(reg(TESTDEV_DMA_HELD) == 0, PATIENCE);
}

static void in_flight(void)
{
	uint64_t target = f->query.sdma + TARGET;
	struct answer a;

	setup();
	hold();
	check_answer(insn_rpcit(f->fh, target, PAGE_SIZE), CC(0), 'C', "rpcit.kept",
		     "with DMA in flight on a page that is still mapped: condition code 0");
	*page_entry(third, target) = PAGE_INVALID;
	check_answer(insn_rpcit(f->fh, target, PAGE_SIZE), CC(2), 'L', "rpcit.busy",
		     "with DMA in flight on a page taken away: condition code 2");
	check_answer(insn_rpcit(f->fh, f->query.sdma + OTHER, PAGE_SIZE), CC(0), 'C',
		     "rpcit.busy.other", "for another page: condition code 0");
	release();
	check_answer(insn_rpcit(f->fh, target, PAGE_SIZE), CC(0), 'L', "rpcit.busy.repeated",
		     "repeated when the DMA has ended: condition code 0");
	check_value(page[0], 0x11, 'L', "rpcit.busy.stored", "and it has been stored by then");

	setup();
	hold();
	a = insn_mpcifc(control(f->fh, 0, DEREGISTER_TRANSLATION), &fib);
	check_answer(a, CC(2), 'L', "mpcifc.ioat.busy",
		     "deregister translation with DMA in flight: condition code 2");
	dma_store(&dma, f->query.sdma + OTHER);
	check_value(page[PAGE_SIZE], 0, 'C', "mpcifc.ioat.busy.no-dma", "no new DMA meanwhile");
	release();
	check_answer(modify(f, DEREGISTER_TRANSLATION, NULL), CC(0), 'L',
		     "mpcifc.ioat.busy.repeated",
		     "repeated when the DMA has ended: condition code 0");
	setup();
	hold();
	check_value(function_set(f, CLP_DISABLE, 0), CLP_OK, 'L', "clp.set.disable.busy",
		    "disable with DMA in flight: response 0010");
	memset(page, 0, PAGE_SIZE);
	check(!wait_for(page[0], QUIET), 'L', "clp.set.disable.busy.stored",
	      "and nothing is stored after that");
	function_enable(f);
}

/* A transfer that is repeated until it is stopped. */
static void stream(void)
{
	set_reg(TESTDEV_DMA_ADDRESS, f->query.sdma + TARGET);
	set_reg(TESTDEV_DMA_LENGTH, 64);
	set_reg(TESTDEV_DMA_PATTERN, 0x2222222222222222ull);
	set_reg(TESTDEV_DMA_STEP, 0);
	set_reg(TESTDEV_DMA_DELAY, 1);
	set_reg(TESTDEV_DMA_COMMAND, TESTDEV_OP_FILL | TESTDEV_DMA_THREAD | TESTDEV_DMA_REPEAT);
}

/* Does it store? It does, soon; it does not, for a while. */
static bool streams(uint64_t limit)
{
	volatile uint8_t *first = page;

	*first = 0;
	return wait_for(*first, limit);
}

static void streaming(void)
{
	struct event event;

	setup();
	stream();
	check(streams(PATIENCE), 'C', "stream",
	      "a transfer that is repeated stores again and again");
	modify(f, DEREGISTER_TRANSLATION, NULL);
	check(!streams(QUIET), 'L', "stream.deregister", "deregister translation ends it");
	event = event_next();
	check(!event.content || (event.content == 1 && event.fh == f->fh), 'C',
	      "stream.deregister.event", "with an error event, or none");

	setup();
	stream();
	streams(PATIENCE);
	*page_entry(third, f->query.sdma + TARGET) = PAGE_INVALID;
	while (answered(insn_rpcit(f->fh, f->query.sdma + TARGET, PAGE_SIZE), CC(2)))
		;
	check(!streams(QUIET), 'L', "stream.refresh", "an invalid page and its refresh end it");
	check_value(event_wait().pec, 4, 'Q', "stream.refresh.event", "with event 0004");

	setup();
	stream();
	streams(PATIENCE);
	function_disable(f);
	check(!streams(QUIET), 'L', "stream.disable", "disable ends it");
	check_value(event_next().content, 0, 'L', "stream.disable.event", "without an event");
	function_enable(f);
	setup();
	stream();
	streams(PATIENCE);
	sclp_configure(f->fid, false);
	check(!streams(QUIET), 'L', "stream.deconfigure", "deconfigure ends it");
	sclp_configure(f->fid, true);
	function_refresh_handle(f);
	function_enable(f);
	setup();
	check(!streams(QUIET), 'L', "stream.again", "and it does not go on after enable");
}

/* ---- One store ---- */

static void block_store(void)
{
	static uint8_t block[128] __attribute__((aligned(128)));
	uint64_t entry = TESTDEV_LOG, what;

	setup();
	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = i;
	set_reg(TESTDEV_LOG_COUNT, 0);
	check_answer(insn_pcistb(place(f->fh, TESTDEV_BAR_RECORDER, sizeof(block)), 0, block),
		     CC(0), 'L', "pcistb.128", "128 bytes: condition code 0");
	check_value(reg(TESTDEV_LOG_COUNT), 1, 'C', "pcistb.one",
		    "they reach the device as one store");
	what = reg(entry + TESTDEV_LOG_WHAT);
	check_value(what >> 16, sizeof(block), 'C', "pcistb.one.length", "of 128 bytes");
	set_reg(TESTDEV_FAIL, TESTDEV_FAIL_BLOCKS);
	check_answer(insn_pcistb(place(f->fh, TESTDEV_BAR_RECORDER, 64), 0, block),
		     PGM(PGM_OPERAND), 'Q', "pcistb.refused",
		     "a store that the device refuses: operand exception");
	set_reg(TESTDEV_FAIL, 0);
	/* All that a load or store of a BAR can be. */
	{
		bool all = true;

		for (unsigned offset = 0; offset < 8; offset++) {
			for (unsigned length = 1; length <= 8 - offset; length++) {
				uint64_t data = 0x8877665544332211ull >> (64 - 8 * length);
				uint64_t got = 0;

				insn_pcistg(place(f->fh, TESTDEV_BAR_SMALL, length), 64 + offset,
					    data);
				insn_pcilg(place(f->fh, TESTDEV_BAR_SMALL, length), 64 + offset,
					   &got);
				all &= got == data;
			}
		}
		check(all, 'C', "pcilg.bar.every",
		      "each length and alignment within a doubleword: what was stored is loaded");
	}
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	if (!dma_find(&dma, f) || dma.kind != DMA_TESTDEV)
		bail("not here: testdev");
	third = iotable_new();
	page = frames(2 * PAGE_SIZE, PAGE_SIZE);
	in_flight();
	streaming();
	block_store();
	device_errors();
}
