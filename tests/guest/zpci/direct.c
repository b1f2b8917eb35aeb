/* SPDX-License-Identifier: MIT */
/*
 * Direct mapping: a function whose translation is registered as off, so that a DMA
 * address is an absolute one plus the start of the DMA range. docs/zpci.md, the
 * sections on MPCIFC and on I/O address translation.
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

static struct function *f;
static struct dma dma;
static struct fib fib;
static uint8_t *page;

static struct answer register_off(uint64_t pba, uint64_t pal)
{
	memset(&fib, 0, sizeof(fib));
	fib.pba = pba;
	fib.pal = pal;
	return modify(f, REGISTER_TRANSLATION, &fib);
}

static void setup(uint64_t pal)
{
	function_restart(f);
	events_drop();
	memset(page, 0, PAGE_SIZE);
	register_off(f->query.sdma, pal);
	dma_start(&dma);
}

static bool stored(const volatile uint8_t *at)
{
	uint8_t any = 0;

	for (unsigned i = 0; i < DMA_LENGTH; i++)
		any |= at[i];
	return any;
}

static uint64_t dma_address(const void *absolute)
{
	return f->query.sdma + (uint64_t)absolute;
}

void guest_main(void)
{
	uint64_t last, pal;
	uint8_t *end;
	uint64_t *third;
	struct event event;

	f = function_find();
	function_enable(f);
	if (!(f->group.flags & GROUP_RELAXED_TRANSLATION))
		bail("not here: a group with relaxed translation");
	if (!dma_find(&dma, f))
		bail("not here: a function that does DMA on command");
	dma_service_at(&dma, dma_address(dma.service));
	page = frames(PAGE_SIZE, PAGE_SIZE);
	third = iotable_new();
	last = f->query.sdma + memory_size() - 1;
	pal = f->query.edma;

	function_restart(f);
	check_answer(register_off(f->query.sdma, pal), CC(0), 'L', "direct.register",
		     "register with translation off: condition code 0");
	check_value(stored_controls(f).controls, FIB_ENABLED | FIB_DMA_REGISTERED, 'Q',
		    "direct.controls", "and the controls are 90");
	setup(pal);
	dma_store(&dma, dma_address(page + 0x40));
	check(stored(page + 0x40), 'L', "direct.store",
	      "a store to start of DMA plus an absolute address reaches it");
	dma_put(&dma, page + 0x80);
	check(dma_load(&dma, dma_address(page + 0x80)), 'L', "direct.load",
	      "a load comes from there");
	end = (uint8_t *)memory_size() - 64;
	memset(end, 0, 64);
	dma_store(&dma, dma_address(end));
	check(stored(end), 'L', "direct.end", "the end of memory is reached");
	{
		uint8_t *low = (uint8_t *)0x3000;

		asm("" : "+a"(low));
		memset(low, 0, 64);
		dma_store(&dma, dma_address(low));
		check(stored(low), 'L', "direct.begin", "and its beginning");
	}
	check_answer(insn_rpcit(f->fh, dma_address(page), PAGE_SIZE), CC(0), 'C', "direct.rpcit",
		     "RPCIT: condition code 0");
	check_value(event_next().content, 0, 'L', "direct.event", "there is no event");
	dma_store(&dma, last + 1);
	event = event_wait();
	check(event.content == 1 && event.pec == 5 && event.address == last + 1, 'C',
	      "direct.memory", "behind memory: event 0005");
	setup(pal);
	dma_store(&dma, f->query.sdma - PAGE_SIZE);
	check_value(event_wait().pec, 2, 'Q', "direct.below", "before the range: event 0002");
	/* What the device has in memory for itself is before the page. */
	setup(dma_address(page) + PAGE_SIZE - 1);
	dma_store(&dma, dma_address(page) + PAGE_SIZE - DMA_LENGTH);
	check(stored(page + PAGE_SIZE - DMA_LENGTH), 'C', "direct.range.inside",
	      "a range that ends earlier: inside of it stores work");
	dma_store(&dma, dma_address(page) + PAGE_SIZE);
	check_value(event_wait().pec, 2, 'Q', "direct.range.outside",
		    "a range that ends earlier: behind it event 0002");

	/* From off to on and back. */
	setup(pal);
	iotable_map(third, f->query.sdma, page, 0);
	iotable_map(third, dma.service_bus, dma.service, 0);
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + 0x7fffffff;
	fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	check_answer(modify(f, REREGISTER_TRANSLATION, &fib), CC(0), 'C', "direct.to-table",
		     "reregister with a table: condition code 0");
	/* A device may have stopped: a function of a host is no bus master meanwhile. */
	dma_start(&dma);
	dma_store(&dma, f->query.sdma + 0x100);
	check(stored(page + 0x100), 'C', "direct.to-table.store", "and it is used");
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = pal;
	memset(page, 0, PAGE_SIZE);
	check_answer(modify(f, REREGISTER_TRANSLATION, &fib), CC(0), 'C', "direct.from-table",
		     "reregister with translation off: condition code 0");
	dma_start(&dma);
	dma_store(&dma, dma_address(page + 0x140));
	check(stored(page + 0x140), 'C', "direct.from-table.store", "and absolute addresses work");
	check_answer(modify(f, DEREGISTER_TRANSLATION, NULL), CC(0), 'L', "direct.deregister",
		     "deregister: condition code 0");
	memset(page, 0, PAGE_SIZE);
	dma_store(&dma, dma_address(page));
	check(!stored(page), 'L', "direct.deregister.no-dma", "after that nothing is stored");
	function_restart(f);
	function_disable(f);
}
