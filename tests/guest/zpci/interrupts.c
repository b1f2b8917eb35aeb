/* SPDX-License-Identifier: MIT */
/*
 * Adapter interruptions: from a function's message to the vector bit, the summary
 * bit, the interruption, and what suppresses it. docs/zpci.md, the sections
 * "Interruptions" and "SET INTERRUPTION CONTROLS".
 */
#include "zpci/interruption.h"

#define IO_WORD(isc) (IO_ADAPTER | IO_ISC(isc))

static struct function *f;
static struct dma dma;
static uint64_t *third;
static uint8_t *vectors, *summary;
static struct fib fib;

/* ---- Taking interruptions ---- */

static uint32_t take_soon(void)
{
	return interruption_take(CR6_ALL, PATIENCE);
}

static bool quiet(void)
{
	return interruption_take(CR6_ALL, QUIET) == 0;
}

/* ---- Set-up ---- */

static void indicators_clear(void)
{
	memset(vectors, 0, PAGE_SIZE);
	memset(summary, 0, 64);
}

static void register_route(unsigned isc, unsigned noi, unsigned aibvo, bool with_summary,
			   unsigned aisbo)
{
	modify(f, DEREGISTER_INTERRUPTIONS, NULL);
	memset(&fib, 0, sizeof(fib));
	fib.interruption = FIB_ISC(isc) | FIB_NOI(noi) | FIB_AIBVO(aibvo) |
			   (with_summary ? FIB_SUMMARY | FIB_AISBO(aisbo) : 0);
	fib.aibv = (uint64_t)vectors;
	fib.aisb = with_summary ? (uint64_t)summary : 0;
	indicators_clear();
	if (!answered(modify(f, REGISTER_INTERRUPTIONS, &fib), CC(0)))
		note("interruptions are not registered");
}

static void setup(void)
{
	function_restart(f);
	events_drop();
	for (unsigned i = 0; i < 2048; i++)
		third[i] = ENTRY_INVALID;
	service_start(f, third, &dma);
	while (interruption_take(CR6_ALL, TOD_MICROSECOND))
		;
}

static void send(unsigned vector)
{
	msix_set(f, &dma.msix, dma.entry, f->group.msi_address, vector);
	dma_message(&dma);
}

/* ---- Bits ---- */

static void vector_bits(void)
{
	unsigned last = f->group.interrupts - 1;
	struct {
		unsigned vector, offset;
		const char *id, *what;
	} places[] = {
		{ 0, 0, "int.vector.first", "vector 0: bit 0 of the vector is set" },
		{ 7, 0, "int.vector.7", "vector 7: bit 7" },
		{ 8, 0, "int.vector.8", "vector 8: bit 8" },
		{ last, 0, "int.vector.last", "the group's last vector: its bit" },
		{ 0, 5, "int.vector.offset", "vector 0 at offset 5: bit 5" },
		{ 3, 63, "int.vector.offset.63", "vector 3 at offset 63: bit 66" },
		{ last, 63, "int.vector.offset.last", "the last vector at offset 63: its bit" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		register_route(3, f->group.interrupts, places[i].offset, true, 0);
		send(places[i].vector);
		check(bit(vectors, places[i].offset + places[i].vector) &&
			      bits_set(vectors, PAGE_SIZE) == 1,
		      'L', places[i].id, places[i].what);
		take_soon();
	}
	register_route(3, 8, 0, true, 0);
	send(2);
	bit(vectors, 2);
	send(5);
	check(bit(vectors, 5) && bit(vectors, 2) && bits_set(vectors, PAGE_SIZE) == 2, 'L',
	      "int.vector.kept", "bits that were set before stay");
	take_soon();
}

static void summary_bits(void)
{
	static const struct {
		unsigned offset;
		const char *id, *what;
	} places[] = {
		{ 0, "int.summary", "summary at offset 0: bit 0 is set" },
		{ 7, "int.summary.7", "summary at offset 7: bit 7" },
		{ 8, "int.summary.8", "summary at offset 8: bit 8" },
		{ 63, "int.summary.63", "summary at offset 63: bit 63" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		register_route(3, 8, 0, true, places[i].offset);
		send(1);
		check(bit(summary, places[i].offset) && bits_set(summary, 64) == 1, 'L',
		      places[i].id, places[i].what);
		take_soon();
	}
}

/* ---- Interruptions ---- */

static void presented(void)
{
	static const char *const ids[] = { "int.isc.0", "int.isc.1", "int.isc.2", "int.isc.3",
					   "int.isc.4", "int.isc.5", "int.isc.6", "int.isc.7" };
	uint32_t code[3];

	for (unsigned isc = 0; isc < 8; isc++) {
		register_route(isc, 8, 0, true, 0);
		send(1);
		check_value(take_soon(), IO_WORD(isc), 'L', ids[isc],
			    "an adapter interruption of the subclass registered");
	}
	check(quiet(), 'L', "int.once", "an interruption is taken once");
	register_route(3, 8, 0, true, 0);
	send(1);
	bit(summary, 0);
	check_value(interruption_take(CR6_ALL & ~CR6_ISC(3), QUIET), 0, 'L', "int.masked",
		    "none while its subclass is off in control register 6");
	check_value(take_soon(), IO_WORD(3), 'L', "int.masked.later", "but when it is on");

	register_route(5, 8, 0, true, 0);
	send(1);
	bit(summary, 0);
	register_route(2, 8, 0, true, 0);
	send(1);
	bit(summary, 0);
	check_value(take_soon(), IO_WORD(2), 'L', "int.priority", "of two, subclass 2 before 5");
	check_value(take_soon(), IO_WORD(5), 'L', "int.priority.second", "then subclass 5");

	register_route(3, 8, 0, true, 0);
	send(1);
	take_soon();
	send(2);
	check(bit(vectors, 2), 'L', "int.summary.set",
	      "with the summary set: the vector's bit is set");
	check(quiet(), 'L', "int.summary.set.none", "but there is no interruption");
	indicators_clear();
	send(2);
	check_value(take_soon(), IO_WORD(3), 'L', "int.summary.cleared",
		    "with the summary cleared there is one again");
	vectors[0] = 0x40;
	summary[0] = 0;
	send(1);
	check_value(take_soon(), IO_WORD(3), 'L', "int.vector.set",
		    "with the vector's bit set and the summary clear there is one");

	register_route(4, 8, 0, true, 0);
	send(1);
	bit(summary, 0);
	check_answer(insn_tpi(code), CC(1), 'L', "tpi",
		     "TEST PENDING INTERRUPTION: condition code 1");
	check_value(code[2], IO_WORD(4), 'L', "tpi.word", "and the identification word");
	check_answer(insn_tpi(code), CC(0), 'L', "tpi.none", "then none: condition code 0");
}

/* TPI looks at the subclass mask. */
static void presented_with_mask(void)
{
	uint64_t cr6 = ctl_store(6);

	ctl_load(6, CR6_ALL);
	presented();
	ctl_load(6, cr6);
}

static void no_summary(void)
{
	register_route(3, 8, 0, false, 0);
	send(1);
	check(bit(vectors, 1), 'C', "int.no-summary.bit", "no summary: the vector's bit is set");
	check_value(take_soon(), IO_WORD(3), 'C', "int.no-summary", "no summary: an interruption");
	send(1);
	check(quiet(), 'C', "int.no-summary.set",
	      "no summary, the vector's bit set: no interruption");
	send(2);
	check_value(take_soon(), IO_WORD(3), 'C', "int.no-summary.other",
		    "no summary, another vector: an interruption");
	*(volatile uint8_t *)lowcore() = 0;
}

/* ---- Suppression ---- */

static void suppression(void)
{
	uint64_t block[8] = { 0 };

	if (!facility(72)) {
		not_here('L', "sic.suppress", "single: one interruption", "facility 72");
		return;
	}
	register_route(3, 8, 0, true, 0);
	insn_sic(1, 3, block);
	send(1);
	check_value(take_soon(), IO_WORD(3), 'L', "sic.suppress.first",
		    "mode single: the first interruption comes");
	indicators_clear();
	send(2);
	check(bit(vectors, 2) && bit(summary, 0), 'L', "sic.suppress.bits",
	      "mode single, after that: bits are set");
	check(quiet(), 'L', "sic.suppress", "mode single, after that: no interruption");
	insn_sic(1, 3, block);
	check(quiet(), 'Q', "sic.suppress.lost",
	      "mode single again: what was suppressed does not come later");
	indicators_clear();
	send(3);
	check_value(take_soon(), IO_WORD(3), 'L', "sic.suppress.again",
		    "mode single again: one comes again");
	insn_sic(0, 3, block);
	for (unsigned i = 0; i < 2; i++) {
		indicators_clear();
		send(1);
		check_value(take_soon(), IO_WORD(3), 'L', i ? "sic.all.second" : "sic.all.first",
			    "mode all: each interruption comes");
	}
	insn_sic(1, 4, block);
	indicators_clear();
	send(1);
	take_soon();
	indicators_clear();
	send(1);
	check_value(take_soon(), IO_WORD(3), 'L', "sic.suppress.subclass",
		    "mode single of another subclass: each interruption comes");
	insn_sic(0, 4, block);
}

/* ---- What is not delivered ---- */

static void not_delivered(void)
{
	struct event event;

	/* In error, and blocked. */
	register_route(3, 8, 0, true, 0);
	msix_set(f, &dma.msix, dma.entry, f->group.msi_address, 1);
	modify(f, DEREGISTER_TRANSLATION, NULL);
	insn_rpcit(f->fh, f->query.sdma, PAGE_SIZE);
	modify(f, RESET_BLOCK, NULL);
	if (dma.kind == DMA_TESTDEV) {
		dma_message(&dma);
		check(quiet() && !bits_set(vectors, PAGE_SIZE) && !bits_set(summary, 64), 'Q',
		      "int.blocked", "blocked state: nothing is set, no interruption");
	} else {
		not_here('Q', "int.blocked", "blocked state: nothing is set, no interruption",
			 "a device that sends messages without DMA");
	}
	setup();
	register_route(3, 8, 0, true, 0);
	msix_set(f, &dma.msix, dma.entry, f->group.msi_address, 1);
	msix_switch(f, &dma.msix, false);
	dma_message(&dma);
	check(quiet() && !bits_set(vectors, PAGE_SIZE), 'L', "int.msix.off",
	      "MSI-X off: nothing is set");
	setup();
	register_route(3, 8, 0, true, 0);
	msix_set(f, &dma.msix, dma.entry, f->group.msi_address, 1);
	bar_write(f, dma.msix.bar, dma.msix.table + dma.entry * MSIX_ENTRY_SIZE + 12, 4,
		  MSIX_ENTRY_MASKED);
	dma_message(&dma);
	check(quiet() && !bits_set(vectors, PAGE_SIZE), 'L', "int.msix.masked",
	      "an entry that is masked: nothing is set");
	bar_write(f, dma.msix.bar, dma.msix.table + dma.entry * MSIX_ENTRY_SIZE + 12, 4, 0);
	check(bit(vectors, 1), 'L', "int.msix.unmasked", "unmasked: its bit is set");
	check_value(take_soon(), IO_WORD(3), 'L', "int.msix.unmasked.interruption",
		    "unmasked: the interruption comes");

	setup();
	register_route(3, 8, 0, true, 0);
	for (unsigned cpu = 1; cpu < 0x10000; cpu <<= 5) {
		indicators_clear();
		msix_set(f, &dma.msix, dma.entry, f->group.msi_address | (uint64_t)cpu << 8, 4);
		dma_message(&dma);
		if (!bit(vectors, 4) || take_soon() != IO_WORD(3)) {
			check(false, 'C', "int.address.cpu",
			      "the CPU's address in the MSI address is ignored");
			note("CPU address %x", cpu);
			goto next;
		}
	}
	check(true, 'C', "int.address.cpu", "the CPU's address in the MSI address is ignored");
next:
	setup();
	modify(f, DEREGISTER_INTERRUPTIONS, NULL);
	indicators_clear();
	send(1);
	event = event_wait();
	check(event.content == 1 && event.pec == 0x10 && event.fh == f->fh, 'C', "int.none.event",
	      "nothing registered: event 0010");
	check(quiet() && !bits_set(vectors, PAGE_SIZE), 'L', "int.none",
	      "nothing registered: nothing is set");
	setup();
	register_route(3, 8, 0, true, 0);
	send(8);
	event = event_wait();
	check(event.content == 1 && event.pec == 0x11 && event.fh == f->fh, 'C',
	      "int.outside.event", "a vector that is not registered: event 0011");
	check_value(bits_set(vectors, PAGE_SIZE), 0, 'C', "int.outside",
		    "a vector that is not registered: nothing is set");
	while (interruption_take(CR6_ALL, QUIET))
		;
	setup();
	register_route(3, 8, 0, true, 0);
	function_restart(f);
	check_value(bits_set(vectors, PAGE_SIZE), 0, 'L', "int.disabled",
		    "a function that was disabled sets nothing");
}

/* ---- A message that is a store ---- */

static void other_address(void)
{
	volatile uint8_t *spot = dma.service + 0x800;

	setup();
	register_route(3, 8, 0, true, 0);
	msix_set(f, &dma.msix, dma.entry, f->query.sdma + DMA_SERVICE + 0x800, 0x12345678);
	dma_message(&dma);
	check(wait_for(spot[0] == 0x78 && spot[1] == 0x56 && spot[2] == 0x34 && spot[3] == 0x12,
		       PATIENCE),
	      'C', "int.address.other", "a message to another address: a store of 4 bytes there");
	check(quiet(), 'C', "int.address.other.none", "and no interruption");
}

/* ---- All vectors ---- */

static void all_vectors(void)
{
	unsigned n = f->group.interrupts;
	bool all = true;

	setup();
	register_route(3, n, 1, true, 9);
	/*
	 * One after the other: what becomes of a message when its entry is written before it
	 * was sent is undefined (PCI Local Bus Specification 3.0, section 6.8.2), and a
	 * device may send it after it has said that it is done.
	 */
	for (unsigned i = 0; i < n; i++) {
		send(i);
		all &= bit(vectors, 1 + i);
	}
	check(all, 'L', "int.vector.all", "each vector of the group sets its bit");
	check_value(bits_set(vectors, PAGE_SIZE), n, 'L', "int.vector.all.only", "and no other");
	take_soon();
	check(quiet(), 'L', "int.vector.all.coalesced", "and all of them are one interruption");
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	if (!dma_find(&dma, f) || !dma.msix.entries)
		bail("not here: a function that sends messages on command");
	third = iotable_new();
	vectors = frames(PAGE_SIZE, PAGE_SIZE);
	summary = frames(PAGE_SIZE, PAGE_SIZE);
	setup();
	vector_bits();
	summary_bits();
	presented_with_mask();
	no_summary();
	suppression();
	all_vectors();
	not_delivered();
	other_address();
	function_disable(f);
}
