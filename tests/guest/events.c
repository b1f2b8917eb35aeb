/* SPDX-License-Identifier: MIT */
/*
 * Code that changes, program-event recording, and clocks. Sources: Principles of
 * Operation, chapter 5 "Sequence of Storage References" (conceptual order:
 * a store is seen by the next instruction), chapter 4 "Program-Event
 * Recording", "Timing"; Linux arch/s390/kernel/ptrace.c for how PER is used.
 *
 * QEMU 7.2 comes as far as SET CLOCK: its other CPU is not woken.
 */
#include "lib/guest.h"

#define CR9_BRANCH BIT64(32)
#define CR9_IFETCH BIT64(33)
#define CR9_STORE BIT64(34)
#define PER_BRANCH 0x80
#define PER_IFETCH 0x40
#define CR9_STORE_REAL BIT64(36)
#define PER_STORE 0x20
#define PER_STORE_REAL 0x08
#define CR0_CLOCK_COMPARATOR BIT64(52)
#define CR0_CPU_TIMER BIT64(53)

/* ---- Code that changes ---- */

SNIPPET(next_insn, "sth 3,next_insn_target-next_insn(2)\n"
		   "next_insn_target: lghi 4,1\n");
SNIPPET(patched_loop, "patched_loop_top: lghi 4,1\n"
		      "agr 6,4\n"
		      "mvc patched_loop_top-patched_loop(4,2),0(3)\n"
		      "brctg 5,patched_loop_top\n");
SNIPPET(exrl_changes, "exrl 0,exrl_changes_target\n"
		      "mvc exrl_changes_target-exrl_changes(4,2),0(3)\n"
		      "exrl 0,exrl_changes_target\n"
		      "j exrl_changes_out\n"
		      "exrl_changes_target: aghi 4,1\n"
		      "exrl_changes_out: nopr\n");

static void changing_code(void)
{
	static const uint16_t lghi_2[] = { 0xa749, 0x0002 }, aghi_16[] = { 0xa74b, 16 };
	struct run r;

	/* LGHI R4,1 becomes LHI R5,1 (0xa758) when its first halfword is stored over. */
	r = run_init(PSW_64, next_insn);
	r.gr[2] = (uint64_t)next_insn;
	r.gr[3] = 0xa759;
	run(&r);
	expect_done(&r, "a store to the next instruction");
	check_eq(r.gr[4] << 8 | r.gr[5], 1, "the next instruction is the stored one");

	r = run_init(PSW_64, patched_loop);
	r.gr[2] = (uint64_t)patched_loop;
	r.gr[3] = (uint64_t)lghi_2;
	r.gr[5] = 3;
	run(&r);
	expect_done(&r, "a loop that changes its first instruction");
	check_eq(r.gr[6], 1 + 2 + 2, "sees the change in the next round");

	r = run_init(PSW_64, exrl_changes);
	r.gr[2] = (uint64_t)exrl_changes;
	r.gr[3] = (uint64_t)aghi_16;
	run(&r);
	expect_done(&r, "a target of EXRL that changes");
	check_eq(r.gr[4], 17, "is executed as it is each time");
}

/* Instructions at the end of a page, the second half stored later. */
static void changing_across_pages(void)
{
	uint8_t *code = frames(2 * PAGE_SIZE, PAGE_SIZE);
	uint8_t *at = code + PAGE_SIZE - 2;
	static const uint8_t text[] = { 0xa7, 0x49, 0x00, 0x01, 0x0a, 0xff }; /* LGHI R4,1; SVC */

	memcpy(at, text, sizeof(text));
	for (unsigned i = 1; i < 4; i++) {
		struct run r;

		code[PAGE_SIZE + 1] = (uint8_t)i;
		r = run_init(PSW_64, at);
		run(&r);
		check_eq(r.gr[4], i, "round %u of an instruction across a page end", i);
	}
}

/* Another CPU rewrites code that this one executes. */
static uint8_t *shared_code;
static volatile uint32_t generation, seen;

static void writer(void *arg)
{
	for (uint32_t i = 1; i <= 1000; i++) {
		while (seen != i - 1)
			serialize();
		*(volatile uint16_t *)(shared_code + 2) = (uint16_t)i; /* LGHI's immediate */
		serialize();
		generation = i;
	}
}

static void changed_by_another_cpu(void)
{
	/* LGHI R2,0; BR R14 */
	static const uint8_t text[] = { 0xa7, 0x29, 0x00, 0x00, 0x07, 0xfe };
	uint64_t (*function)(void);
	unsigned wrong = 0;

	if (cpu_count() < 2) {
		skip("code changed by another CPU", "one CPU");
		return;
	}
	shared_code = frames(PAGE_SIZE, PAGE_SIZE);
	memcpy(shared_code, text, sizeof(text));
	function = (uint64_t (*)(void))shared_code;
	cpu_start(1, writer, NULL);
	for (uint32_t i = 1; i <= 1000; i++) {
		while (generation != i)
			serialize();
		serialize();
		if (function() != i)
			wrong++;
		seen = i;
	}
	cpu_join(1);
	check_eq(wrong, 0, "code changed by another CPU is seen after it said so");
}

/* ---- PER ---- */

SNIPPET(per_steps, "lghi 3,1\n"
		   "stg 3,0(2)\n"
		   "j per_steps_on\n"
		   "nopr\n"
		   "per_steps_on: lghi 3,2\n");

static void per(void)
{
	static uint64_t variable[2];
	struct run r;

	/* Single step: instruction-fetching events everywhere. */
	ctl_load(9, CR9_IFETCH);
	ctl_load(10, 0);
	ctl_load(11, ~0ull);
	r = run_init(PSW_64 | PSW_PER, per_steps);
	r.gr[2] = (uint64_t)variable;
	run(&r);
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PER, "an instruction-fetching event");
	check_eq(r.per_code, PER_IFETCH, "its PER code");
	check_eq(r.per_address, (uint64_t)per_steps, "its address");
	check_eq(r.psw.addr, (uint64_t)per_steps + 4, "the instruction has been executed");
	check_eq(r.gr[3], 1, "and had its effect");
	run(&r); /* goes on from where it was */
	check_eq(r.per_address, (uint64_t)per_steps + 4, "the next step is the next instruction");
	run(&r);
	check_eq(r.psw.addr, (uint64_t)per_steps + 16, "a step over a branch ends at its target");

	/* Only in a range. */
	ctl_load(10, (uint64_t)per_steps + 4);
	ctl_load(11, (uint64_t)per_steps + 5);
	r = run_init(PSW_64 | PSW_PER, per_steps);
	r.gr[2] = (uint64_t)variable;
	run(&r);
	check_eq(r.per_address, (uint64_t)per_steps + 4, "an event for one instruction of a range");

	/* Storage alteration. */
	ctl_load(9, CR9_STORE);
	ctl_load(10, (uint64_t)&variable[1]);
	ctl_load(11, (uint64_t)&variable[1] + 7);
	r = run_init(PSW_64 | PSW_PER, per_steps);
	r.gr[2] = (uint64_t)&variable[1];
	run(&r);
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PER, "a storage-alteration event");
	check_eq(r.per_code, PER_STORE, "its PER code is store");
	check_eq(r.per_address, (uint64_t)per_steps + 4, "it names the storing instruction");
	check_eq(variable[1], 1, "the store took place");
	r = run_init(PSW_64 | PSW_PER, per_steps);
	r.gr[2] = (uint64_t)&variable[0];
	run(&r);
	expect_done(&r, "no event for a store beside the range");

	/* Successful branching. */
	ctl_load(9, CR9_BRANCH);
	r = run_init(PSW_64 | PSW_PER, per_steps);
	r.gr[2] = (uint64_t)variable;
	run(&r);
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PER, "a branch event");
	check_eq(r.per_code, PER_BRANCH, "its PER code is branch");
	check_eq(r.per_address, (uint64_t)per_steps + 10, "it names the branch");
	check_eq(r.psw.addr, (uint64_t)per_steps + 16, "which has been taken");
	r = run_init(PSW_64, per_steps);
	r.gr[2] = (uint64_t)variable;
	run(&r);
	expect_done(&r, "no event without the PER mask");
	ctl_load(9, 0);
}

SNIPPET(per_stura, "stura 3,2");
SNIPPET(per_sturg, "sturg 3,2");

static void per_store_real(const char *name, const void *code)
{
	static uint64_t variable;
	struct run r = run_init(PSW_64 | PSW_PER, code);

	/* The range does not count for this event. */
	ctl_load(10, (uint64_t)&variable + 4096);
	ctl_load(11, (uint64_t)&variable + 4096);
	ctl_load(9, CR9_STORE);
	r.gr[2] = (uint64_t)&variable;
	r.gr[3] = 0x0102030401020304;
	run(&r);
	expect_done(&r, "%s: no event without the mask for real addresses", name);
	ctl_load(9, CR9_STORE | CR9_STORE_REAL);
	variable = 0;
	r.psw = (struct psw){ PSW_64 | PSW_PER, (uint64_t)code };
	run(&r);
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PER, "%s: an event", name);
	check_eq(r.per_code, PER_STORE_REAL, "%s: a store using a real address", name);
	check_eq(r.per_address, (uint64_t)code, "%s: it names the instruction", name);
	check_eq(*(volatile uint32_t *)&variable, 0x01020304, "%s: which has stored", name);
	ctl_load(9, 0);
}

/* ---- Clocks ---- */

/* As often as GR 5 says, so that what never interrupts does not keep us for ever. */
SNIPPET(spin, "0: brctg 5,0b");
#define SPINS 100000000

static struct run spin_with(uint64_t mask)
{
	struct run r = run_init(PSW_64 | PSW_EXT | mask, spin);

	r.gr[5] = SPINS;
	run(&r);
	return r;
}

static void set_comparator(uint64_t t)
{
	asm volatile("sckc %0" : : "Q"(t));
}

static void set_cpu_timer(uint64_t t)
{
	asm volatile("spt %0" : : "Q"(t));
}

static void clocks(void)
{
	uint64_t cr0 = ctl_store(0), before, timer;
	struct run r;

	ctl_load(0, (cr0 & ~CR0_CPU_TIMER) | CR0_CLOCK_COMPARATOR);
	before = tod_clock();
	set_comparator(before + 1000 * TOD_MICROSECOND);
	r = spin_with(0);
	check_eq(r.exit == RUN_EXT ? r.code : 0, EXT_CLOCK_COMPARATOR, "the clock comparator interrupts a loop");
	ok(tod_clock() - before >= 1000 * TOD_MICROSECOND, "not before its time");
	set_comparator(tod_clock() + 100 * TOD_MICROSECOND);
	r = spin_with(PSW_WAIT);
	check_eq(r.exit == RUN_EXT ? r.code : 0, EXT_CLOCK_COMPARATOR, "and an enabled wait");
	/* The condition lasts until the comparator is set anew. */
	r = spin_with(0);
	check_eq(r.exit == RUN_EXT ? r.code : 0, EXT_CLOCK_COMPARATOR, "and again while it is behind the clock");
	set_comparator(~0ull);

	ctl_load(0, (cr0 & ~CR0_CLOCK_COMPARATOR) | CR0_CPU_TIMER);
	set_cpu_timer(500 * TOD_MICROSECOND);
	r = spin_with(0);
	check_eq(r.exit == RUN_EXT ? r.code : 0, EXT_CPU_TIMER, "the CPU timer interrupts");
	asm volatile("stpt %0" : "=Q"(timer));
	ok((int64_t)timer < 0, "and goes on to count below zero");
	set_cpu_timer(~0ull >> 1);
	ctl_load(0, cr0);
	{
		uint64_t a = tod_clock(), b = tod_clock();

		ok(a != b && a < b, "no two STCK give the same value");
	}
}

#define HOUR (3600000000 * TOD_MICROSECOND)

static void set_clock(uint64_t t)
{
	asm volatile("sck %0" : : "Q"(t) : "cc");
}

static uint64_t cpu_timer(void)
{
	uint64_t timer;

	asm volatile("stpt %0" : "=Q"(timer));
	return timer;
}

static volatile uint32_t sleeping, woken_by;

/* Wait, in one way or the other, for what comes in an hour. */
static void sleep_an_hour(void *wait)
{
	struct run r = run_init(PSW_64 | PSW_EXT | (uint64_t)wait, spin);

	ctl_load(0, (ctl_store(0) & ~CR0_CPU_TIMER) | CR0_CLOCK_COMPARATOR);
	set_comparator(tod_clock() + HOUR);
	sleeping = 1;
	run(&r);
	woken_by = r.exit == RUN_EXT ? r.code : ~0u;
	set_comparator(~0ull);
}

/* SET CLOCK is for all CPUs: each finds that its clock comparator's time has come. */
static void clock_of_all_cpus(const char *name, uint64_t wait)
{
	uint64_t timer, before;

	sleeping = woken_by = 0;
	cpu_start(1, sleep_an_hour, (void *)wait);
	while (!sleeping)
		serialize();
	/* Long enough that it sleeps. */
	for (before = tod_clock(); tod_clock() - before < 20000 * TOD_MICROSECOND;)
		;
	set_cpu_timer(HOUR);
	before = tod_clock();
	set_clock(before + 2 * HOUR);
	timer = cpu_timer();
	ok(timer < HOUR && timer > HOUR / 2, "%s: the CPU timer does not go by the TOD clock",
	   name);
	ok(tod_clock() - before >= 2 * HOUR, "%s: the TOD clock is set", name);
	while (!woken_by && (int64_t)(HOUR - cpu_timer()) < (int64_t)(10000000 * TOD_MICROSECOND))
		serialize();
	check_eq(woken_by, EXT_CLOCK_COMPARATOR,
		 "%s: the other CPU's clock comparator interrupts it", name);
	if (!woken_by)
		sigp(1, SIGP_STOP, 0, NULL);
	cpu_join(1);
	set_cpu_timer(~0ull >> 1);
	set_clock(before);
}

void guest_main(void)
{
	changing_code();
	changing_across_pages();
	changed_by_another_cpu();
	per();
	per_store_real("STURA", per_stura);
	per_store_real("STURG", per_sturg);
	clocks();
	if (cpu_count() < 2) {
		skip("SET CLOCK and other CPUs", "one CPU");
	} else {
		clock_of_all_cpus("SCK, the other waits", PSW_WAIT);
		clock_of_all_cpus("SCK, the other is busy", 0);
	}
}
