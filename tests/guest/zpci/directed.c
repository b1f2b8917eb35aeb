/* SPDX-License-Identifier: MIT */
/*
 * Directed delivery: interruptions for one CPU, by the address of the message.
 * docs/zpci.md, the sections on SIC, on MPCIFC, and "Interruptions". Where SCLP
 * does not announce it, its controls are refused.
 */
#include "zpci/interruption.h"

#define ISC 5
#define FLOATING_ISC 3
#define VECTOR_BYTES 256

static struct function *f;
static struct dma dma;
static struct fib fib;
static uint64_t *third;
static uint8_t *vectors; /* of each CPU */
static uint8_t *summary;
static struct diib diib;
static struct cdiib cdiib;

static uint8_t *vector_of(unsigned cpu)
{
	return vectors + (uint64_t)cpu * VECTOR_BYTES;
}

/* ---- Taking interruptions ---- */

static uint32_t take(uint64_t limit)
{
	return interruption_take(CR6_ALL, limit);
}

/* What CPU 1 does: registers its vector, takes one interruption, and stops. */
static struct {
	struct answer registered;
	volatile bool ready;
	volatile uint32_t word;
	volatile uint64_t limit;
} other;

static void other_cpu(void *unused)
{
	struct cdiib own = { .vector = (uint64_t)vector_of(1) };

	other.registered = insn_sic(SIC_SET_CPU, 0, &own);
	other.ready = true;
	other.word = take(other.limit);
}

static void other_start(uint64_t limit)
{
	other.ready = false;
	other.word = 0;
	other.limit = limit;
	cpu_start(1, other_cpu, NULL);
	wait_for(other.ready, PATIENCE);
}

/* ---- Set-up ---- */

static struct answer direct(unsigned cpus)
{
	memset(&diib, 0, sizeof(diib));
	diib.isc = FIB_ISC(FLOATING_ISC);
	diib.cpus = cpus;
	diib.summary = (uint64_t)summary;
	return insn_sic(SIC_DIRECT, 0, &diib);
}

static struct answer set_cpu(void)
{
	memset(&cdiib, 0, sizeof(cdiib));
	cdiib.vector = (uint64_t)vector_of(0);
	return insn_sic(SIC_SET_CPU, 0, &cdiib);
}

static struct answer register_directed(unsigned noi, unsigned first)
{
	memset(&fib, 0, sizeof(fib));
	fib.format = 1;
	fib.interruption = FIB_NOI(noi);
	fib.reserved3 = first << 16; /* the first bit, as a halfword */
	return modify(f, REGISTER_DIRECTED, &fib);
}

static struct answer deregister_directed(void)
{
	memset(&fib, 0, sizeof(fib));
	fib.format = 1;
	return modify(f, DEREGISTER_DIRECTED, &fib);
}

static void clear(void)
{
	memset(vectors, 0, 8 * VECTOR_BYTES);
	memset(summary, 0, 64);
}

static void setup(void)
{
	function_restart(f);
	events_drop();
	service_start(f, third, &dma);
	clear();
}

static void send(unsigned cpu, unsigned data)
{
	msix_set(f, &dma.msix, dma.entry, f->group.msi_address | (uint64_t)cpu << 8, data);
	dma_message(&dma);
}

/* ---- Where it is not announced ---- */

static void refused(void)
{
	static const struct {
		unsigned mode;
		const char *id, *what;
	} modes[] = {
		{ 4, "sic.direct.absent", "mode 4, not announced: operand exception" },
		{ 16, "sic.directed.all.absent", "mode 16, not announced: operand exception" },
		{ 17, "sic.directed.single.absent", "mode 17, not announced: operand exception" },
		{ 18, "sic.set-cpu.absent", "mode 18, not announced: operand exception" },
	};
	static const char id_register[] = "mpcifc.directed.register.absent";
	static const char id_deregister[] = "mpcifc.directed.deregister.absent";
	static const char what[] = "operations 16 and 17, not announced: operand exception";

	if (sclp_directed()) {
		for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
			not_here('Q', modes[i].id, modes[i].what, "directed delivery is announced");
		not_here('Q', id_register, what, "directed delivery is announced");
		not_here('Q', id_deregister, what, "directed delivery is announced");
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
		check_answer(insn_sic(modes[i].mode, 0, &diib), PGM(PGM_OPERAND), 'Q', modes[i].id,
			     modes[i].what);
	check_answer(register_directed(1, 0), PGM(PGM_OPERAND), 'Q', id_register, what);
	check_answer(deregister_directed(), PGM(PGM_OPERAND), 'Q', id_deregister, what);
}

/* ---- SIC ---- */

static void sic(void)
{
	check_answer(insn_sic(SIC_SET_CPU, 0, &cdiib), PGM(PGM_OPERAND), 'C', "sic.set-cpu.first",
		     "mode 18 before mode 4: operand exception");
	check_answer(insn_sic(SIC_DIRECT, 0, (uint8_t *)&diib + 4), PGM(PGM_SPECIFICATION), 'C',
		     "sic.direct.alignment",
		     "mode 4, block not on a doubleword: specification exception");
	check_answer(insn_sic(SIC_DIRECT, 0, (void *)(memory_size() - 8)), PGM(PGM_ADDRESSING), 'C',
		     "sic.direct.access",
		     "mode 4, block in part outside memory: addressing exception");
	memset(&diib, 0, sizeof(diib));
	diib.cpus = 2;
	diib.summary = memory_size();
	check_answer(insn_sic(SIC_DIRECT, 0, &diib), PGM(PGM_OPERAND), 'C', "sic.direct.memory",
		     "mode 4, summary outside memory: operand exception");
	diib.summary = (uint64_t)summary + 4;
	check_answer(insn_sic(SIC_DIRECT, 0, &diib), PGM(PGM_OPERAND), 'C', "sic.direct.summary",
		     "mode 4, summary not on a doubleword: operand exception");
	check_answer(direct(2), CC(2), 'L', "sic.direct",
		     "mode 4: the condition code stays as it was");
	check_answer(insn_sic(SIC_SET_CPU, 0, (uint8_t *)&cdiib + 4), PGM(PGM_SPECIFICATION), 'C',
		     "sic.set-cpu.alignment",
		     "mode 18, block not on a doubleword: specification exception");
	memset(&cdiib, 0, sizeof(cdiib));
	cdiib.vector = memory_size() - 8;
	check_answer(insn_sic(SIC_SET_CPU, 0, &cdiib), PGM(PGM_OPERAND), 'C', "sic.set-cpu.memory",
		     "mode 18, vector in part outside memory: operand exception");
	cdiib.vector = (uint64_t)vectors + 4;
	check_answer(insn_sic(SIC_SET_CPU, 0, &cdiib), PGM(PGM_OPERAND), 'C', "sic.set-cpu.vector",
		     "mode 18, vector not on a doubleword: operand exception");
	check_answer(set_cpu(), CC(2), 'L', "sic.set-cpu",
		     "mode 18: the condition code stays as it was");
	check_answer(insn_sic(SIC_DIRECTED_SINGLE, ISC, &cdiib), CC(2), 'L', "sic.directed.single",
		     "mode 17: the condition code stays as it was");
	check_answer(insn_sic(SIC_DIRECTED_ALL, ISC, &cdiib), CC(2), 'L', "sic.directed.all",
		     "mode 16: the condition code stays as it was");
	if (cpu_count() > 1) {
		direct(1);
		other_start(1);
		cpu_join(1);
		check_answer(other.registered, PGM(PGM_OPERAND), 'C', "sic.set-cpu.beyond",
			     "mode 18 on a CPU that mode 4 did not count: operand exception");
	} else {
		not_here('C', "sic.set-cpu.beyond",
			 "mode 18 on a CPU that mode 4 did not count: operand exception",
			 "one CPU");
	}
}

/* ---- MPCIFC ---- */

static void controls(void)
{
	struct fib stored;

	check_answer(deregister_directed(), STATUS(24), 'L', "mpcifc.directed.deregister.none",
		     "deregister directed, none registered: condition code 1, status 24");
	memset(&fib, 0, sizeof(fib));
	fib.interruption = FIB_NOI(2);
	check_answer(modify(f, REGISTER_DIRECTED, &fib), PGM(PGM_OPERAND), 'Q',
		     "mpcifc.directed.format",
		     "register directed with FIB format 0: operand exception");
	check_answer(register_directed(f->group.interrupts + 1, 0), PGM(PGM_OPERAND), 'C',
		     "mpcifc.directed.many", "more vectors than the group has: operand exception");
	check_answer(register_directed(8, 2041), PGM(PGM_OPERAND), 'C', "mpcifc.directed.beyond",
		     "vectors beyond bit 2048: operand exception");
	check_answer(register_directed(8, 16), CC(0), 'L', "mpcifc.directed.register",
		     "register directed: condition code 0");
	stored = stored_controls(f);
	check(stored.format == 1 && stored.interruption == FIB_NOI(8) &&
		      stored.reserved3 >> 16 == 16,
	      'C', "stpcifc.directed", "STPCIFC: format 1, the number of vectors, the first bit");
	check_answer(register_directed(8, 16), STATUS(24), 'L', "mpcifc.directed.register.twice",
		     "register directed twice: condition code 1, status 24");
	memset(&fib, 0, sizeof(fib));
	fib.interruption = FIB_ISC(3) | FIB_NOI(8);
	fib.aibv = (uint64_t)vectors;
	check_answer(modify(f, REGISTER_INTERRUPTIONS, &fib), STATUS(24), 'C',
		     "mpcifc.directed.register.floating",
		     "register floating while directed are registered: status 24");
	check_answer(modify(f, DEREGISTER_INTERRUPTIONS, NULL), STATUS(24), 'C',
		     "mpcifc.directed.deregister.floating",
		     "deregister floating while directed are registered: status 24");
	check_answer(deregister_directed(), CC(0), 'L', "mpcifc.directed.deregister",
		     "deregister directed: condition code 0");
	register_directed(8, 16);
	function_restart(f);
	check_answer(register_directed(8, 16), CC(0), 'L', "mpcifc.directed.disable",
		     "disable deregisters directed interruptions");
	deregister_directed();
}

/* ---- Delivery ---- */

static void delivery(void)
{
	uint32_t word = IO_ADAPTER | IO_DIRECTED | IO_ISC(FLOATING_ISC);
	struct event event;

	setup();
	direct(2);
	set_cpu();
	register_directed(8, 16);
	send(0, 3);
	check(bit(vector_of(0), 19) && bits_set(vector_of(0), VECTOR_BYTES) == 1, 'L',
	      "directed.bit", "the bit of first bit plus data is set in the CPU's vector");
	check_value(take(PATIENCE), word, 'L', "directed.interruption",
		    "a directed adapter interruption of the subclass of mode 4");
	check(!bits_set(summary, 64), 'L', "directed.summary", "no summary bit is set");
	check_value(take(QUIET), 0, 'L', "directed.once", "an interruption is taken once");
	send(0, 3);
	check_value(take(PATIENCE), word, 'C', "directed.set",
		    "with the bit set already: an interruption again");
	send(0, 1);
	check(bit(vector_of(0), 17) && bit(vector_of(0), 19), 'L', "directed.kept",
	      "bits that were set before stay");
	take(PATIENCE);

	insn_sic(SIC_DIRECTED_SINGLE, FLOATING_ISC, &cdiib);
	clear();
	send(0, 1);
	check_value(take(PATIENCE), word, 'L', "directed.single.first",
		    "mode 17: the first interruption comes");
	send(0, 2);
	check(bit(vector_of(0), 18), 'L', "directed.single.bit",
	      "mode 17, after that: bits are set");
	check_value(take(QUIET), 0, 'L', "directed.single", "mode 17, after that: no interruption");
	insn_sic(SIC_DIRECTED_ALL, FLOATING_ISC, &cdiib);
	send(0, 4);
	check_value(take(PATIENCE), word, 'L', "directed.all", "mode 16: they come again");

	send(5, 1);
	event = event_wait();
	check(event.content == 1 && event.pec == 0x10, 'C', "directed.none.event",
	      "a CPU without a vector: event 0010");
	setup();
	direct(0);
	register_directed(8, 16);
	send(0, 1);
	check_value(event_wait().pec, 0x10, 'C', "directed.off",
		    "after mode 4 with no CPUs: event 0010");
}

static void other_cpus(void)
{
	uint32_t word = IO_ADAPTER | IO_DIRECTED | IO_ISC(FLOATING_ISC);

	if (cpu_count() < 2) {
		rest_not_here("two CPUs");
		return;
	}
	setup();
	direct(2);
	set_cpu();
	other_start(PATIENCE);
	register_directed(8, 32);
	check_answer(other.registered, CC(2), 'L', "sic.set-cpu.other", "mode 18 on another CPU");
	send(1, 6);
	cpu_join(1);
	check_value(other.word, word, 'L', "directed.other", "the other CPU is interrupted");
	check(bit(vector_of(1), 38) && !bits_set(vector_of(0), VECTOR_BYTES), 'L',
	      "directed.other.bit", "the bit is in its vector");
	check_value(take(QUIET), 0, 'L', "directed.other.only", "and this one is not interrupted");

	/* It has stopped. */
	clear();
	send(1, 7);
	check(bit(vector_of(1), 39), 'L', "directed.stopped.bit",
	      "the CPU is stopped: its vector's bit is set");
	check(bit(summary, 1) && bits_set(summary, 64) == 1, 'L', "directed.stopped.summary",
	      "the CPU is stopped: its summary bit is set");
	check_value(take(PATIENCE), IO_ADAPTER | IO_ISC(FLOATING_ISC), 'L', "directed.stopped",
		    "the CPU is stopped: a floating interruption");
	send(1, 5);
	check_value(take(QUIET), 0, 'L', "directed.stopped.again",
		    "with the summary bit set there is no other");
	clear();
	send(1, 5);
	check_value(take(PATIENCE), IO_ADAPTER | IO_ISC(FLOATING_ISC), 'L',
		    "directed.stopped.cleared", "with the summary cleared there is one");
}

void guest_main(void)
{
	f = function_find();
	third = iotable_new();
	summary = frames(PAGE_SIZE, PAGE_SIZE);
	vectors = frames(PAGE_SIZE, PAGE_SIZE);
	function_enable(f);
	refused();
	check(sclp_directed() ? f->group.dnoi >= 1 && f->group.dnoi <= 2048 && f->group.maxcpu :
				!f->group.dnoi && !f->group.maxcpu,
	      'C', "clp.group.directed",
	      "the group has directed interrupts where SCLP announces them, and no others");
	if (!sclp_directed()) {
		rest_not_here("directed delivery");
		return;
	}
	if (!dma_find(&dma, f) || !dma.msix.entries)
		bail("not here: a function that sends messages on command");
	sic();
	controls();
	delivery();
	other_cpus();
	function_disable(f);
}
