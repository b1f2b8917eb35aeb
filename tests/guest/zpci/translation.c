/* SPDX-License-Identifier: MIT */
/*
 * I/O address translation as DMA meets it: each designation type, protection and
 * what is wrong at each level, and the way out of the error state. docs/zpci.md, the
 * section of that name.
 *
 * What is wrong with a table may be found by the refresh or by the transfer; both
 * are executed, and the event counts.
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

#define RANGE 0x200000000ull /* bytes that are registered */
#define TARGET 0x080305000ull /* offset of the page that transfers go to */

static struct function *f;
static struct dma dma;
static uint64_t *third;
static uint64_t target; /* its DMA address */
static uint8_t *page; /* what it is mapped to */
static struct fib fib;

/* Everything afresh, the page at `target` mapped, and other entries as `change` likes. */
static void setup_with(void (*change)(void), uint64_t iota_bits)
{
	function_restart(f);
	events_drop();
	for (unsigned i = 0; i < 2048; i++)
		third[i] = ENTRY_INVALID;
	iotable_map(third, f->query.sdma + DMA_SERVICE, dma.service, 0);
	iotable_map(third, target, page, 0);
	memset(page, 0, PAGE_SIZE);
	if (change)
		change();
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + RANGE - 1;
	fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE | iota_bits;
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0)))
		note("translation is not registered");
	insn_rpcit(f->fh, f->query.sdma + DMA_SERVICE, PAGE_SIZE);
	dma_start(&dma);
}

static void setup(void)
{
	setup_with(NULL, 0);
}

static void refresh(uint64_t address, uint64_t length)
{
	uint64_t begin = tod_clock();

	while (answered(insn_rpcit(f->fh, address, length), CC(2)) &&
	       tod_clock() - begin < PATIENCE)
		;
}

static bool stored(const uint8_t *at)
{
	uint8_t any = 0;

	for (unsigned i = 0; i < DMA_LENGTH; i++)
		any |= ((const volatile uint8_t *)at)[i];
	return any;
}

/* Refresh the page and let the device store to `address`. */
static void transfer(uint64_t address)
{
	refresh(address & ~0xfffull, PAGE_SIZE);
	dma_store(&dma, address);
}

/* ---- What works ---- */

static void works(void)
{
	struct answer refreshed;

	setup();
	refreshed = insn_rpcit(f->fh, target, PAGE_SIZE);
	check_answer(refreshed, CC(0), 'L', "ioat.page.refresh",
		     "refresh of a mapped page: condition code 0");
	dma_store(&dma, target + 0x120);
	check(stored(page + 0x120), 'L', "ioat.page.store", "a store reaches the page");
	check(!stored(page + 0x110) && !stored(page + 0x130), 'L', "ioat.page.store.only",
	      "and nothing else of it");
	check_value(event_next().content, 0, 'L', "ioat.page.event", "there is no event");
	check_value(stored_controls(f).controls, 0x90, 'L', "ioat.page.state",
		    "and the function stays enabled");
	dma_put(&dma, page + 0x200);
	check(dma_load(&dma, target + 0x200), 'L', "ioat.page.load", "a load comes from the page");

	/* Two pages that are neighbours for the device only. */
	{
		uint8_t *second = frames(2 * PAGE_SIZE, PAGE_SIZE) + PAGE_SIZE;

		iotable_map(third, target + PAGE_SIZE, second, 0);
		refresh(target, 2 * PAGE_SIZE);
		memset(page, 0, PAGE_SIZE);
		dma_store(&dma, target + PAGE_SIZE - DMA_LENGTH / 2);
		check(stored(page + PAGE_SIZE - DMA_LENGTH) && stored(second), 'L',
		      "ioat.page.cross", "a store across two pages reaches both");
	}

	/* Take it away, give it something else. */
	{
		uint8_t *other = frames(PAGE_SIZE, PAGE_SIZE);

		iotable_map(third, target, other, 0);
		refresh(target, PAGE_SIZE);
		memset(page, 0, PAGE_SIZE);
		dma_store(&dma, target);
		check(stored(other) && !stored(page), 'L', "ioat.page.changed",
		      "an entry that was changed is in effect after the refresh");
		*page_entry(third, target) = PAGE_INVALID;
		refresh(target, PAGE_SIZE);
		memset(other, 0, PAGE_SIZE);
		dma_store(&dma, target);
		check(!stored(other), 'L', "ioat.page.taken",
		      "a page that was taken away is not stored to after the refresh");
	}

	setup();
	*page_entry(third, target) = PAGE_INVALID;
	refresh(target, PAGE_SIZE);
	iotable_map(third, target, page, 0);
	if (f->group.flags & GROUP_REFRESH)
		refresh(target, PAGE_SIZE);
	dma_store(&dma, target);
	check(stored(page), 'L', "ioat.page.mapped",
	      "a page that was mapped is in effect, with a refresh where the group wants one");
}

/* ---- What fails ---- */

/*
 * The device stores to `address`, or loads from there; an error event is due, and
 * the page is not stored to.
 */
static void check_error(bool load, uint64_t address, unsigned pec, char grade, const char *id,
			const char *what)
{
	struct event event;

	refresh(address & ~0xfffull, PAGE_SIZE);
	if (load)
		dma_load(&dma, address);
	else
		dma_store(&dma, address);
	event = event_wait();
	if (event.content != 1 || event.pec != pec || event.fh != f->fh || event.fid != f->fid ||
	    (event.address & ~0xfffull) != (address & ~0xfffull) || (!load && stored(page))) {
		check(false, grade, id, what);
		note("event content %u code %04x fh %08x fid %x address %lx, stored %u",
		     event.content, event.pec, event.fh, event.fid, event.address, stored(page));
	} else {
		check(true, grade, id, what);
	}
}

static void invalid_page(void)
{
	*page_entry(third, target) = PAGE_INVALID;
}

static void invalid_segment(void)
{
	*segment_entry(third, target) |= ENTRY_INVALID;
}

static void invalid_region(void)
{
	*region_entry(third, target) |= ENTRY_INVALID;
}

static void zero_page(void)
{
	*page_entry(third, target) = 0;
}

static void zero_segment(void)
{
	*segment_entry(third, target) = 0;
}

static void zero_region(void)
{
	*region_entry(third, target) = 0;
}

static void protected_page(void)
{
	*page_entry(third, target) |= ENTRY_PROTECTED;
}

static void protected_segment(void)
{
	*segment_entry(third, target) |= ENTRY_PROTECTED;
}

static void protected_region(void)
{
	*region_entry(third, target) |= ENTRY_PROTECTED;
}

static void short_region(void)
{
	*region_entry(third, target) &= ~ENTRY_LENGTH;
}

static void offset_region(void)
{
	*region_entry(third, target) |= 0x40;
}

static void region_of_type_0(void)
{
	*region_entry(third, target) &= ~ENTRY_TYPE(3);
}

static void segment_of_type_1(void)
{
	*segment_entry(third, target) |= ENTRY_TYPE(1);
}

static void page_outside(void)
{
	*page_entry(third, target) = memory_size();
}

static void table_outside(void)
{
	*segment_entry(third, target) = (memory_size() + 0x100000) | ENTRY_TYPE(SEGMENT_TABLE);
}

static void fails(void)
{
	static const struct {
		void (*change)(void);
		uint16_t pec;
		char grade;
		const char *id, *what;
	} errors[] = {
		{ invalid_page, 4, 'Q', "ioat.page.invalid", "page invalid: event 0004" },
		{ invalid_segment, 4, 'Q', "ioat.segment.invalid", "segment invalid: event 0004" },
		{ invalid_region, 4, 'Q', "ioat.region.invalid", "region invalid: event 0004" },
		{ zero_page, 7, 'Q', "ioat.page.zero", "page entry of zeros: event 0007" },
		{ zero_segment, 7, 'Q', "ioat.segment.zero", "segment entry of zeros: event 0007" },
		{ zero_region, 7, 'Q', "ioat.region.zero", "region entry of zeros: event 0007" },
		{ protected_page, 4, 'Q', "ioat.page.protected",
		  "store to a protected page: event 0004" },
		{ protected_segment, 4, 'Q', "ioat.segment.protected",
		  "store to a protected segment: event 0004" },
		{ protected_region, 4, 'Q', "ioat.region.protected",
		  "store to a protected region: event 0004" },
		{ short_region, 8, 'Q', "ioat.region.length",
		  "region entry with a length below 3: event 0008" },
		{ offset_region, 8, 'Q', "ioat.region.offset",
		  "region entry with an offset: event 0008" },
		{ region_of_type_0, 9, 'Q', "ioat.region.type",
		  "region entry of another type: event 0009" },
		{ segment_of_type_1, 9, 'Q', "ioat.segment.type",
		  "segment entry of another type: event 0009" },
		{ page_outside, 5, 'C', "ioat.page.memory", "page outside memory: event 0005" },
		{ table_outside, 7, 'Q', "ioat.segment.memory",
		  "page table outside memory: event 0007" },
	};
	static const struct {
		void (*change)(void);
		const char *id, *what;
	} loads[] = {
		{ protected_page, "ioat.page.protected.load", "a load from a protected page" },
		{ protected_segment, "ioat.segment.protected.load",
		  "a load from a protected segment" },
		{ protected_region, "ioat.region.protected.load",
		  "a load from a protected region" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		setup_with(errors[i].change, 0);
		check_error(false, target, errors[i].pec, errors[i].grade, errors[i].id,
			    errors[i].what);
	}
	setup_with(invalid_page, 0);
	check_error(true, target, 4, 'Q', "ioat.page.invalid.load",
		    "a load from an invalid page: event 0004");
	for (unsigned i = 0; i < ARRAY_SIZE(loads); i++) {
		setup_with(loads[i].change, 0);
		dma_put(&dma, page);
		refresh(target, PAGE_SIZE);
		check(dma_load(&dma, target), 'Q', loads[i].id, loads[i].what);
	}
	/* A protected designation leaves no page to store to, not even the device's own. */
	if (dma.kind == DMA_TESTDEV) {
		setup_with(NULL, IOTA_PROTECTED);
		check_error(false, target, 4, 'Q', "ioat.protected",
			    "store with a protected designation: event 0004");
	} else {
		not_here('Q', "ioat.protected", "store with a protected designation: event 0004",
			 "a device that keeps nothing in memory");
	}
	setup();
	dma_store(&dma, f->query.sdma + RANGE);
	{
		struct event event = event_wait();

		check(event.content == 1 && event.pec == 2, 'C', "ioat.range.above",
		      "an address behind the registered range: event 0002");
		check_value(event.address & ~0xfffull, f->query.sdma + RANGE, 'C',
			    "ioat.range.address", "and the event has the address");
	}
	setup();
	dma_store(&dma, f->query.sdma - PAGE_SIZE);
	check_value(event_wait().pec, 2, 'Q', "ioat.range.below",
		    "an address before the registered range: event 0002");
}

/* ---- Frames of segments and regions ---- */

static uint8_t *mebibyte;

static void segment_frame(void)
{
	*segment_entry(third, target) = (uint64_t)mebibyte | ENTRY_FRAME |
					ENTRY_TYPE(SEGMENT_TABLE);
}

static void protected_segment_frame(void)
{
	segment_frame();
	protected_segment();
}

static void region_frame(void)
{
	*region_entry(third, target) = 0 | ENTRY_FRAME | ENTRY_TYPE(REGION_THIRD) | ENTRY_LENGTH;
}

static void enhanced(void)
{
	uint64_t offset = target & 0xff000;
	uint64_t spot = (uint64_t)page + 0x340;

	mebibyte = frames(0x100000, 0x100000);
	setup_with(segment_frame, 0);
	transfer(target + 0x80);
	check(stored(mebibyte + offset + 0x80), 'Q', "ioat.segment.frame",
	      "segment entry with bit 400: a frame of 1 MiB");
	setup_with(protected_segment_frame, 0);
	check_error(false, target, 4, 'Q', "ioat.segment.frame.protected",
		    "and protected: event 0004");
	setup_with(region_frame, 0);
	transfer((target & ~0x7fffffffull) + spot);
	check(stored((uint8_t *)spot), 'C', "ioat.region.frame",
	      "region-third entry with bit 400: a frame of 2 GiB");
}

/* An entry of zeros would be another matter; a protected page can be loaded from. */
static void absolute_page_0(void)
{
	*page_entry(third, target) = 0 | ENTRY_PROTECTED;
}

static void page_0(void)
{
	setup_with(absolute_page_0, 0);
	dma_put(&dma, (uint8_t *)lowcore() + 0x600);
	refresh(target, PAGE_SIZE);
	check(dma_load(&dma, target + 0x600), 'C', "ioat.page-0",
	      "absolute page 0 is like any other");
	events_drop();
}

/* ---- Storage keys ---- */

#define IOTA_KEY(key) ((uint64_t)(key) << 5)
#define KEY(access, fetch) ((access) << 4 | (fetch) << 3)

static void set_key(const void *frame, unsigned key)
{
	asm volatile("sske %0,%1" : : "d"(key), "a"(frame) : "memory");
}

static void keys(void)
{
	static const struct {
		unsigned designation, frame;
		bool load;
		uint16_t pec;
		char grade;
		const char *id, *what;
	} cases[] = {
		{ 0, KEY(5, 1), false, 0, 'L', "ioat.key.0", "key 0: stores to each frame" },
		{ 5, KEY(5, 1), false, 0, 'C', "ioat.key.same", "the frame's key: a store" },
		{ 5, KEY(6, 0), false, 6, 'C', "ioat.key.store",
		  "store, and the frame has another key: event 0006" },
		{ 5, KEY(6, 0), true, 0, 'C', "ioat.key.load",
		  "load, and the frame has another key: permitted" },
		{ 5, KEY(6, 1), true, 6, 'C', "ioat.key.fetch",
		  "load, and the frame has another key and fetch protection: event 0006" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct event event;
		bool good;

		if (dma.kind != DMA_TESTDEV) {
			not_here(cases[i].grade, cases[i].id, cases[i].what, "testdev");
			continue;
		}
		setup_with(NULL, IOTA_KEY(cases[i].designation));
		dma_put(&dma, page + 0x100);
		set_key(page, cases[i].frame);
		if (cases[i].load) {
			good = dma_load(&dma, target + 0x100);
		} else {
			dma_store(&dma, target);
			good = stored(page);
		}
		event = cases[i].pec ? event_wait() : event_next();
		set_key(page, 0);
		if (!check(good == !cases[i].pec && event.pec == cases[i].pec, cases[i].grade,
			   cases[i].id, cases[i].what))
			note("transferred %u, event %04x", good, event.pec);
	}
	if (dma.kind == DMA_TESTDEV) {
		setup_with(NULL, IOTA_KEY(5));
		set_key(page, KEY(5, 0));
		dma_store(&dma, target);
		memset(page, 0, DMA_LENGTH);
		set_key(page, KEY(6, 0));
		dma_store(&dma, target);
		check(!stored(page) && event_wait().pec == 6, 'C', "ioat.key.changed",
		      "a key that changes counts without a refresh");
		set_key(page, 0);
	} else {
		not_here('C', "ioat.key.changed", "a key that changes counts without a refresh",
			 "testdev");
	}
}

/* ---- Recovery ---- */

static void recovery(void)
{
	uint64_t data;

	setup_with(invalid_page, 0);
	transfer(target);
	check_answer(insn_pcilg(place(f->fh, CONFIG_SPACE, 4), 0, &data), STATUS(12), 'L',
		     "recovery.blocked", "after the failure loads answer status 12");
	check_value(event_wait().content, 1, 'L', "recovery.event", "there is an error event");
	check_value(event_next().content, 0, 'L', "recovery.event.one", "there is one, not more");
	iotable_map(third, target, page, 0);
	dma_store(&dma, target);
	check(!stored(page), 'L', "recovery.no-dma", "in the error state nothing is stored");
	check_answer(modify(f, RESET_BLOCK, NULL), CC(0), 'L', "recovery.reset-block",
		     "reset block: condition code 0");
	check_answer(insn_pcilg(place(f->fh, CONFIG_SPACE, 4), 0, &data), CC(0), 'L',
		     "recovery.load", "loads work again");
	refresh(target, PAGE_SIZE);
	dma_store(&dma, target);
	check(!stored(page), 'L', "recovery.blocked.no-dma",
	      "in the blocked state nothing is stored");
	check_answer(modify(f, RESET_ERROR, NULL), CC(0), 'L', "recovery.reset-error",
		     "reset error: condition code 0");
	refresh(f->query.sdma + DMA_SERVICE, PAGE_SIZE);
	dma_start(&dma);
	refresh(target, PAGE_SIZE);
	dma_store(&dma, target);
	check(stored(page), 'L', "recovery.dma",
	      "then DMA works with the translation registered before");

	setup_with(invalid_page, 0);
	transfer(target);
	setup();
	transfer(target);
	check(stored(page), 'L', "recovery.disable",
	      "from the error state through disable and enable: DMA works");

	setup();
	check_answer(modify(f, DEREGISTER_TRANSLATION, NULL), CC(0), 'L', "ioat.deregister",
		     "deregister translation: condition code 0");
	dma_store(&dma, target);
	check(!stored(page), 'L', "ioat.deregister.no-dma", "after that nothing is stored");
	events_drop();

	setup();
	refresh(target, PAGE_SIZE);
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	dma_store(&dma, target);
	check(!stored(page), 'L', "ioat.bus-master",
	      "a function that is no bus master stores nothing");
}

/* ---- Designation types ---- */

static uint64_t *table_above(uint64_t *below, unsigned level, uint64_t address)
{
	uint64_t *table = iotable_new();

	table[address >> (20 + 11 * level) & 0x7ff] = (uint64_t)below | ENTRY_TYPE(level) |
						      ENTRY_LENGTH;
	return table;
}

/* The device can be told by any designation, if it needs no page of its own there. */
static void designation(unsigned type, uint64_t origin, uint64_t address, const uint8_t *expected,
			const char *id, const char *what)
{
	bool announced = f->group.designations & 0x80 >> type;

	if (!announced || dma.kind != DMA_TESTDEV) {
		not_here('C', id, what,
			 announced ? "a device that keeps nothing in memory" :
				     "a group that announces the type");
		return;
	}
	function_restart(f);
	events_drop();
	memset(page, 0, PAGE_SIZE);
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = f->query.edma;
	fib.iota = origin | IOTA_TYPE(type) | IOTA_TRANSLATE;
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0))) {
		check(false, 'C', id, what);
		note("translation is not registered");
		return;
	}
	dma_start(&dma);
	dma_store(&dma, address);
	check(stored(expected), 'C', id, what);
}

static void designations(void)
{
	uint64_t *second, *first, *segments, *pages;
	uint64_t offset = target & 0xfff;

	setup();
	second = table_above(third, REGION_SECOND, target);
	first = table_above(second, REGION_FIRST, target);
	segments = segment_entry(third, target) - (target >> 20 & 0x7ff);
	pages = page_entry(third, target) - (target >> 12 & 0xff);
	designation(REGION_SECOND, (uint64_t)second, target, page, "ioat.type.region-second",
		    "a region-second table");
	designation(REGION_FIRST, (uint64_t)first, target, page, "ioat.type.region-first",
		    "a region-first table");
	designation(SEGMENT_TABLE, (uint64_t)segments, target, page, "ioat.type.segment",
		    "a segment table");
	designation(PAGE_TABLE, (uint64_t)pages, target, page, "ioat.type.page-table",
		    "a page table");
	designation(PAGE_FRAME, (uint64_t)page, f->query.sdma + offset, page + offset,
		    "ioat.type.frame.4k", "a page frame of 4 KiB");
	designation(PAGE_FRAME, ((uint64_t)page & ~0xfffffull) | 1,
		    f->query.sdma + ((uint64_t)page & 0xfffff), page, "ioat.type.frame.1m",
		    "a page frame of 1 MiB");
	designation(PAGE_FRAME, 2, (f->query.sdma | 0x80000000ull) + (uint64_t)page, page,
		    "ioat.type.frame.2g", "a page frame of 2 GiB");
	designation(IO_PAGE_FRAME, (uint64_t)page, f->query.sdma + offset, page + offset,
		    "ioat.type.io-frame.4k", "an I/O page frame of 4 KiB");
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	if (!dma_find(&dma, f))
		bail("not here: a function that does DMA on command");
	target = f->query.sdma + TARGET;
	third = iotable_new();
	page = frames(PAGE_SIZE, PAGE_SIZE);
	works();
	fails();
	enhanced();
	page_0();
	keys();
	recovery();
	designations();
	function_disable(f);
}
