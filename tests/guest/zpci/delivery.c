/* SPDX-License-Identifier: MIT */
/*
 * Adapter interruptions and several CPUs: which of them takes a floating one,
 * interruptions that are directed to one, and storms of both, after which no
 * indicator may be left. docs/zpci.md, the sections "Interruptions" and "SET
 * INTERRUPTION CONTROLS". Wants 4 CPUs, and testdev.
 *
 * CPUs other than this one wait for interruptions and do what Linux does in its
 * handlers (arch/s390/pci/pci_irq.c): clear bits, set the mode again, look once more. They
 * look at no indicator without an interruption, so one that is set without them
 * being told stays set, and that is what is looked for in the end.
 */
#include "../../../src/devices/testdev_regs.h"
#include "zpci/interruption.h"

#define CPUS 4
#define ISC 2
#define CR0_EMERGENCY BIT64(49)
#define VECTORS_MAX 2048
#define VECTOR_BYTES (VECTORS_MAX / 8)

static struct function *f;
static struct msix msix;
static unsigned vectors; /* that there are */

/* Indicators. Floating: one vector for the function. Directed: one for each CPU. */
static uint64_t *aibv, *dibv[CPUS];
static uint64_t *aisb, *disb;

static bool directed;
static unsigned mode; /* SIC_ALL or SIC_SINGLE, of what is in use */
static volatile uint8_t seen[VECTORS_MAX];

struct cpu {
	unsigned address;
	bool vector; /* registers a vector of its own */
	uint64_t cr6;
	uint64_t psw; /* bits to wait with, besides those for an end */
	volatile bool ready, quit;
	volatile uint32_t word; /* of the last interruption */
	volatile unsigned taken, taken_directed;
};

static struct cpu cpu[CPUS];

static void sic(unsigned operation, unsigned isc, const void *block)
{
	static const uint64_t nothing[5];

	if (!block)
		block = nothing;
	asm volatile(".insn rsy,0xeb00000000d1,%[operation],%[isc],0(%[block])"
		     :
		     : [operation] "d"((uint64_t)operation), [isc] "d"((uint64_t)isc << 27),
		       [block] "a"(block)
		     : "memory");
}

/* ---- What the other CPUs do ---- */

SNIPPET(delivery_wait, "0: j 0b");

static void scan(uint64_t *vector)
{
	for (unsigned i = 0; i < VECTORS_MAX / 64; i++) {
		uint64_t bits = __atomic_load_n(&vector[i], __ATOMIC_RELAXED);

		if (bits)
			bits = __atomic_exchange_n(&vector[i], 0, __ATOMIC_SEQ_CST);
		for (unsigned bit = 0; bits; bit++, bits <<= 1)
			if (bits >> 63)
				seen[i * 64 + bit] = 1;
	}
}

static void handle_floating(void)
{
	for (int turn = 0; turn < 2; turn++) {
		if (__atomic_exchange_n(aisb, 0, __ATOMIC_SEQ_CST))
			scan(aibv);
		if (mode != SIC_SINGLE)
			return;
		if (!turn)
			sic(SIC_SINGLE, ISC, NULL);
	}
}

/* For a CPU that could not take what was directed to it. */
static void handle_fallback(void)
{
	for (int turn = 0; turn < 2; turn++) {
		uint64_t bits = __atomic_exchange_n(disb, 0, __ATOMIC_SEQ_CST);

		for (unsigned i = 0; i < CPUS; i++)
			if (bits & BIT64(i))
				scan(dibv[i]);
		if (!turn)
			sic(SIC_SINGLE, ISC, NULL);
	}
}

static void handle_directed(struct cpu *c)
{
	scan(dibv[c->address]);
	if (mode != SIC_SINGLE)
		return;
	sic(SIC_DIRECTED_SINGLE, ISC, NULL);
	scan(dibv[c->address]);
}

static void handle(struct cpu *c)
{
	c->word = *(volatile uint32_t *)&lowcore()->at_0b8[8];
	if (c->word & IO_DIRECTED) {
		c->taken_directed++;
		handle_directed(c);
	} else if (directed) {
		handle_fallback();
	} else {
		handle_floating();
	}
	c->taken++;
}

static void take_interruptions(void *arg)
{
	struct cpu *c = arg;

	ctl_load(0, ctl_store(0) | CR0_EMERGENCY);
	ctl_load(6, c->cr6);
	if (c->vector) {
		struct cdiib block = { .vector = (uint64_t)dibv[c->address] };

		sic(SIC_SET_CPU, 0, &block);
		sic(mode == SIC_SINGLE ? SIC_DIRECTED_SINGLE : SIC_DIRECTED_ALL, ISC, NULL);
	}
	c->ready = true;
	while (!c->quit) {
		struct run r = run_init(PSW_64 | PSW_EXT | c->psw, delivery_wait);

		run(&r);
		if (r.exit == RUN_IO)
			handle(c);
	}
}

#define IDLE (PSW_IO | PSW_WAIT)
#define BUSY PSW_IO
#define DEAF 0ull

static void start(unsigned address, uint64_t psw, uint64_t cr6)
{
	struct cpu *c = &cpu[address];

	memset(c, 0, sizeof(*c));
	c->address = address;
	c->psw = psw;
	c->cr6 = cr6;
	c->vector = directed;
	cpu_start(address, take_interruptions, c);
	if (!wait_for(c->ready, PATIENCE))
		bail("CPU %u is not ready", address);
	/* Ready is shortly before it waits. */
	for (uint64_t begin = tod_clock(); tod_clock() - begin < 1000 * TOD_MICROSECOND;)
		barrier();
}

static void stop(unsigned address)
{
	cpu[address].quit = true;
	serialize();
	sigp(address, SIGP_EMERGENCY, 0, NULL);
	cpu_join(address);
}

static void start_all(uint64_t psw)
{
	for (unsigned i = 1; i < CPUS; i++)
		start(i, psw, CR6_ISC(ISC));
}

static void stop_all(void)
{
	for (unsigned i = 1; i < CPUS; i++)
		stop(i);
}

/* ---- The function ---- */

static void fire(unsigned first, unsigned count)
{
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_FIRE, 8, (uint64_t)count << 16 | first);
}

static void program(unsigned first, unsigned count, unsigned address)
{
	for (unsigned i = first; i < first + count; i++)
		msix_set(f, &msix, i, f->group.msi_address | (uint64_t)address << 8, i);
}

static void indicators_clear(void)
{
	memset(aibv, 0, VECTOR_BYTES);
	for (unsigned i = 0; i < CPUS; i++)
		memset(dibv[i], 0, VECTOR_BYTES);
	*aisb = 0;
	*disb = 0;
	memset((void *)seen, 0, sizeof(seen));
	serialize();
}

static bool all_clear(void)
{
	for (unsigned i = 0; i < VECTORS_MAX / 64; i++) {
		if (__atomic_load_n(&aibv[i], __ATOMIC_RELAXED))
			return false;
		for (unsigned j = 0; j < CPUS; j++)
			if (__atomic_load_n(&dibv[j][i], __ATOMIC_RELAXED))
				return false;
	}
	return true;
}

static bool all_seen(void)
{
	for (unsigned i = 0; i < vectors; i++)
		if (!seen[i])
			return false;
	return true;
}

static void begin(void)
{
	function_restart(f);
	events_drop();
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	indicators_clear();
	msix_switch(f, &msix, true);
}

static void begin_floating(unsigned with_mode)
{
	struct fib fib = {
		.interruption = FIB_ISC(ISC) | FIB_NOI(vectors) | FIB_SUMMARY | FIB_AISBO(0),
		.aibv = (uint64_t)aibv,
		.aisb = (uint64_t)aisb,
	};

	directed = false;
	mode = with_mode;
	begin();
	sic(mode, ISC, NULL);
	if (!answered(modify(f, REGISTER_INTERRUPTIONS, &fib), CC(0)))
		bail("interruptions are not registered");
}

static void begin_directed(unsigned with_mode)
{
	struct diib block = { .isc = FIB_ISC(ISC), .cpus = CPUS, .summary = (uint64_t)disb };
	struct fib fib = { .format = 1, .interruption = FIB_NOI(vectors) };

	directed = true;
	mode = with_mode;
	begin();
	sic(SIC_DIRECT, 0, &block);
	sic(SIC_SINGLE, ISC, NULL);
	if (!answered(modify(f, REGISTER_DIRECTED, &fib), CC(0)))
		bail("directed interruptions are not registered");
}

/* ---- Floating: which CPU ---- */

static unsigned taken_by(unsigned address)
{
	return cpu[address].taken;
}

/* An external interruption comes first, and after it the CPU is disabled. */
static void distracted(void)
{
	bool taken = true;

	begin_floating(SIC_ALL);
	program(0, 8, 0);
	start(1, IDLE, CR6_ISC(ISC));
	start(2, IDLE, CR6_ISC(ISC));
	for (unsigned i = 0; i < 200 && taken; i++) {
		unsigned before = taken_by(1) + taken_by(2);

		cpu[1].psw = DEAF;
		serialize();
		sigp(1, SIGP_EMERGENCY, 0, NULL);
		fire(1, 1);
		taken = wait_for(taken_by(1) + taken_by(2) > before, PATIENCE);
		cpu[1].psw = IDLE;
		serialize();
		sigp(1, SIGP_EMERGENCY, 0, NULL);
		for (uint64_t from = tod_clock(); tod_clock() - from < 200 * TOD_MICROSECOND;)
			barrier();
	}
	check(taken, 'L', "int.cpu.distracted",
	      "a CPU that has an external interruption first: another idle one takes it");
	stop(1);
	stop(2);
}

static void floating(void)
{
	begin_floating(SIC_ALL);
	program(0, 8, 0);
	start(1, IDLE, CR6_ISC(ISC + 1));
	start(2, DEAF | PSW_WAIT, CR6_ISC(ISC));
	start(3, IDLE, CR6_ISC(ISC));
	fire(1, 1);
	check(wait_for(taken_by(3), PATIENCE), 'L', "int.cpu.enabled",
	      "a floating interruption goes to the CPU that is enabled for it");
	check(!taken_by(1) && !taken_by(2), 'L', "int.cpu.disabled",
	      "and to none that is not, by its PSW or by control register 6");
	check_value(cpu[3].word, IO_ADAPTER | IO_ISC(ISC), 'L', "int.cpu.word",
		    "and has the subclass in its identification word");
	stop_all();

	begin_floating(SIC_ALL);
	program(0, 8, 0);
	start(1, DEAF, CR6_ISC(ISC));
	start(2, DEAF | PSW_WAIT, CR6_ISC(ISC));
	fire(1, 1);
	start(3, BUSY, CR6_ISC(ISC));
	check(wait_for(taken_by(3), PATIENCE), 'L', "int.cpu.later",
	      "one that no CPU was enabled for is taken by the first that becomes so");
	stop_all();

	begin_floating(SIC_ALL);
	program(0, 8, 0);
	start_all(BUSY);
	fire(1, 1);
	check(wait_for(taken_by(1) + taken_by(2) + taken_by(3), PATIENCE), 'L', "int.cpu.busy",
	      "where no CPU is idle, a busy one takes it");
	for (uint64_t from = tod_clock(); tod_clock() - from < QUIET;)
		barrier();
	check_value(taken_by(1) + taken_by(2) + taken_by(3), 1, 'L', "int.cpu.one",
		    "and no other one takes it too");
	stop_all();
	distracted();
}

/* ---- Directed ---- */

static bool directed_available(void)
{
	struct diib block = { .cpus = 0 };

	return facility(72) && !insn_sic(SIC_DIRECT, 0, &block).pgm;
}

static void directed_checks(void)
{
	uint32_t code[3];

	begin_directed(SIC_SINGLE);
	program(0, 8, 2);
	start_all(IDLE);
	fire(5, 1);
	check(wait_for(taken_by(2), PATIENCE), 'L', "dint.cpu",
	      "a directed interruption goes to the CPU that the message's address names");
	check_value(cpu[2].word, IO_ADAPTER | IO_DIRECTED | IO_ISC(ISC), 'L', "dint.word",
		    "and has the directed bit and the subclass in its identification word");
	check(seen[5] && all_clear(), 'L', "dint.vector", "the bit was set in that CPU's vector");
	check(!taken_by(1) && !taken_by(3), 'L', "dint.others", "no other CPU has one");
	check_value(*disb, 0, 'L', "dint.summary", "and no summary bit is set");
	stop_all();

	/* The CPU does not look at its vector: one comes, and then no more. */
	begin_directed(SIC_SINGLE);
	program(0, 8, 1);
	start(1, DEAF, CR6_ISC(ISC));
	start(2, IDLE, CR6_ISC(ISC));
	fire(3, 1);
	check(wait_for(dibv[1][0] == BIT64(3), PATIENCE), 'L', "dint.deaf.bit",
	      "a CPU that is disabled: the bit is set in its vector");
	for (uint64_t from = tod_clock(); tod_clock() - from < QUIET;)
		barrier();
	check(!taken_by(1) && !taken_by(2), 'L', "dint.deaf", "and nobody is interrupted");
	cpu[1].psw = BUSY;
	sigp(1, SIGP_EMERGENCY, 0, NULL);
	check(wait_for(taken_by(1), PATIENCE), 'L', "dint.deaf.later", "until it is enabled");
	stop(2);

	/* Stopped. */
	stop(1);
	indicators_clear();
	start(2, IDLE, CR6_ISC(ISC));
	fire(4, 1);
	check(wait_for(taken_by(2), PATIENCE), 'L', "dint.stopped",
	      "a CPU that is stopped: another one has a floating interruption");
	check_value(cpu[2].word, IO_ADAPTER | IO_ISC(ISC), 'L', "dint.stopped.word",
		    "without the directed bit");
	check(wait_for(seen[4] && all_clear(), PATIENCE), 'L', "dint.stopped.summary",
	      "and the summary bit of the stopped one led to its vector");
	stop(2);

	/* It is pending, and then the CPU stops. */
	begin_directed(SIC_SINGLE);
	program(0, 8, 1);
	start(1, DEAF, CR6_ISC(ISC));
	start(2, IDLE, CR6_ISC(ISC));
	fire(6, 1);
	wait_for(dibv[1][0] == BIT64(6), PATIENCE);
	stop(1);
	check(wait_for(taken_by(2), PATIENCE), 'C', "dint.stops",
	      "a CPU that stops before it takes it: it becomes a floating one");
	check(wait_for(seen[6] && all_clear(), PATIENCE), 'C', "dint.stops.summary",
	      "and the summary bit of the stopped one leads to its vector");
	stop(2);

	/* TEST PENDING INTERRUPTION, by this CPU. */
	begin_directed(SIC_ALL);
	program(0, 8, 0);
	{
		struct cdiib own = { .vector = (uint64_t)dibv[0] };
		uint64_t cr6 = ctl_store(6);

		sic(SIC_SET_CPU, 0, &own);
		sic(SIC_DIRECTED_ALL, ISC, NULL);
		fire(7, 1);
		ctl_load(6, CR6_ISC(ISC));
		check_answer(insn_tpi(code), CC(1), 'C', "dint.tpi",
			     "TEST PENDING INTERRUPTION finds what is directed to this CPU");
		check_value(code[2], IO_ADAPTER | IO_DIRECTED | IO_ISC(ISC), 'C', "dint.tpi.word",
			    "with the directed bit");
		ctl_load(6, cr6);
	}
	/* A CPU without vector. */
	program(0, 8, CPUS - 1);
	fire(0, 1);
	{
		struct event event = event_wait();

		check(event.content == 1 && event.pec == 0x10 && event.fh == f->fh, 'C',
		      "dint.none.event", "the CPU has no vector: event 0010");
	}
}

/* ---- Storms ---- */

#define ROUNDS 20
#define SINGLES 20000

static void rounds(const char *id, const char *what)
{
	bool all = true;

	for (unsigned i = 0; i < ROUNDS && all; i++) {
		memset((void *)seen, 0, sizeof(seen));
		serialize();
		fire(0, vectors);
		all = wait_for(all_seen(), PATIENCE);
	}
	check(all, 'L', id, what);
}

/* The device's own thread sends, and this CPU has it send more. */
static void mixed(const char *id, const char *what)
{
	uint64_t fired = bar_read(f, TESTDEV_BAR_REGISTERS, TESTDEV_FIRED, 8) + SINGLES;
	unsigned turn = 0;

	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE_INTERVAL, 8, 1000);
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE_COUNT, 8, SINGLES);
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE, 8, (uint64_t)vectors << 16);
	for (uint64_t from = tod_clock(); tod_clock() - from < PATIENCE;) {
		fire(turn++ % vectors, 1);
		fired++;
		if (bar_read(f, TESTDEV_BAR_REGISTERS, TESTDEV_FIRED, 8) >= fired)
			break;
	}
	check(wait_for(all_clear(), PATIENCE), 'L', id, what);
}

static void storm_floating(void)
{
	static const struct {
		unsigned mode;
		uint64_t psw;
		const char *rounds, *mixed;
	} kinds[] = {
		{ SIC_ALL, IDLE, "storm.all.idle.rounds", "storm.all.idle" },
		{ SIC_SINGLE, IDLE, "storm.single.idle.rounds", "storm.single.idle" },
		{ SIC_SINGLE, BUSY, "storm.single.busy.rounds", "storm.single.busy" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		begin_floating(kinds[i].mode);
		program(0, vectors, 0);
		start_all(kinds[i].psw);
		rounds(kinds[i].rounds,
		       "all vectors at once, again and again: each bit comes to be seen");
		mixed(kinds[i].mixed, "messages one by one from two sides: no bit is left set");
		stop_all();
	}
	sic(SIC_ALL, ISC, NULL);
}

static void storm_directed(void)
{
	static const struct {
		unsigned mode;
		uint64_t psw;
		const char *rounds, *mixed;
	} kinds[] = {
		{ SIC_ALL, IDLE, "storm.directed.all.idle.rounds", "storm.directed.all.idle" },
		{ SIC_SINGLE, IDLE, "storm.directed.idle.rounds", "storm.directed.idle" },
		{ SIC_SINGLE, BUSY, "storm.directed.busy.rounds", "storm.directed.busy" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		begin_directed(kinds[i].mode);
		for (unsigned j = 0; j < vectors; j++)
			program(j, 1, j % (CPUS - 1) + 1);
		start_all(kinds[i].psw);
		rounds(kinds[i].rounds,
		       "all vectors, spread over CPUs, at once: each bit comes to be seen");
		mixed(kinds[i].mixed, "messages one by one from two sides: no bit is left set");
		stop_all();
	}
	/* CPUs come and go; one is always there for what is floating. */
	begin_directed(SIC_SINGLE);
	for (unsigned j = 0; j < vectors; j++)
		program(j, 1, j % (CPUS - 1) + 1);
	start_all(IDLE);
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE_INTERVAL, 8, 2000);
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE_COUNT, 8, 0);
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE, 8, (uint64_t)vectors << 16);
	for (unsigned i = 0; i < 40; i++) {
		stop(2 + i % 2);
		start(2 + i % 2, IDLE, CR6_ISC(ISC));
	}
	stop(3);
	bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_RATE, 8, 0);
	check(wait_for(all_clear(), PATIENCE), 'L', "storm.directed.stopping",
	      "CPUs stop and start meanwhile: no bit is left set");
	stop(1);
	stop(2);
	sic(SIC_ALL, ISC, NULL);
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	if (f->vendor != TESTDEV_PCI_VENDOR || f->device != TESTDEV_PCI_DEVICE)
		bail("not here: a function that sends messages on command");
	if (cpu_count() < CPUS)
		bail("not here: 4 CPUs");
	msix_find(f, &msix);
	vectors = f->group.interrupts < msix.entries ? f->group.interrupts : msix.entries;
	aibv = frames(PAGE_SIZE, PAGE_SIZE);
	aisb = frames(PAGE_SIZE, PAGE_SIZE);
	disb = frames(PAGE_SIZE, PAGE_SIZE);
	for (unsigned i = 0; i < CPUS; i++)
		dibv[i] = frames(PAGE_SIZE, PAGE_SIZE);
	check_value(f->group.interrupts,
		    bar_read(f, TESTDEV_BAR_REGISTERS, TESTDEV_VECTORS, 8) & 0xffff, 'L',
		    "int.vectors", "the group announces the vectors that the function has");
	floating();
	storm_floating();
	if (directed_available()) {
		directed_checks();
		storm_directed();
	} else {
		rest_not_here("directed delivery");
	}
	function_disable(f);
}
