/* SPDX-License-Identifier: MIT */
/*
 * What must happen at once when two CPUs do it to the same place: two CPUs add to
 * the same numbers, set and reset bits of the same bytes, and one looks at pairs
 * that the other changes. Source: Principles of Operation, chapter 5 "Interlocked
 * Update", chapter 7.
 */
#include "lib/guest.h"

#define ROUNDS 200000
#define CHANGES 100

#define ASM(code) ".machine push\n.machine \"z196\"\n" code "\n.machine pop\n"

static struct {
	uint32_t cs, asi, alsi, laa, laal, xored, plo;
	uint64_t csg, cds, agsi, algsi, laag, laalg, xoredg;
	uint64_t cdsg[2] __attribute__((aligned(16)));
	uint64_t quadword[2] __attribute__((aligned(16)));
	uint32_t pair[2] __attribute__((aligned(8)));
	uint64_t pairg[2] __attribute__((aligned(16)));
	uint8_t byte[3];
	unsigned lost[3]; /* bits that one CPU set and did not find, by CPU */
	unsigned ready;
	unsigned seen_enough;
} s;

static void add_with_compare_and_swap(void)
{
	uint32_t old = s.cs;
	uint64_t oldg = s.csg;

	asm volatile("0: lr %%r5,%0\n ahi %%r5,1\n cs %0,%%r5,%1\n jne 0b\n"
		     : "+&d"(old), "+Q"(s.cs) : : "cc", "r5");
	asm volatile("0: lgr %%r5,%0\n aghi %%r5,1\n csg %0,%%r5,%1\n jne 0b\n"
		     : "+&d"(oldg), "+Q"(s.csg) : : "cc", "r5");
	/* The same number in both halves. */
	asm volatile("lm %%r2,%%r3,%0\n0: lr %%r4,%%r2\n lr %%r5,%%r3\n ahi %%r4,1\n ahi %%r5,1\n"
		     "cds %%r2,%%r4,%0\n jne 0b\n"
		     : "+Q"(s.cds) : : "cc", "r2", "r3", "r4", "r5");
	asm volatile("lmg %%r2,%%r3,%0\n0: lgr %%r4,%%r2\n lgr %%r5,%%r3\n aghi %%r4,1\n"
		     "aghi %%r5,1\n cdsg %%r2,%%r4,%0\n jne 0b\n"
		     : "+Q"(s.cdsg) : : "cc", "r2", "r3", "r4", "r5");
	/* PLO function 4: compare and swap. */
	asm volatile("lghi %%r0,4\n larl %%r1,.\n l %%r2,%0\n0: lr %%r3,%%r2\n ahi %%r3,1\n"
		     "plo %%r2,%0,%%r4,0\n jne 0b\n"
		     : "+Q"(s.plo) : : "cc", "r0", "r1", "r2", "r3");
}

static void add_immediate(void)
{
	asm volatile(ASM("asi %0,1\n alsi %1,1\n agsi %2,1\n algsi %3,1")
		     : "+S"(s.asi), "+S"(s.alsi), "+S"(s.agsi), "+S"(s.algsi) : : "cc");
}

static void load_and_operate(unsigned cpu)
{
	uint32_t bit = 1u << cpu, old;
	uint64_t bitg = 1ull << (40 + cpu), oldg;

	asm volatile(ASM("lhi %%r2,1\n laa %%r3,%%r2,%0\n laal %%r3,%%r2,%1\n lghi %%r2,1\n"
			 "laag %%r3,%%r2,%2\n laalg %%r3,%%r2,%3")
		     : "+S"(s.laa), "+S"(s.laal), "+S"(s.laag), "+S"(s.laalg)
		     : : "cc", "r2", "r3");
	/* Set one's own bit, find it, reset it, find it reset, twice change it. */
	asm volatile(ASM("lao %0,%2,%1") : "=&d"(old), "+S"(s.xored) : "d"(bit) : "cc");
	s.lost[cpu] += !!(old & bit);
	asm volatile(ASM("lan %0,%2,%1") : "=&d"(old), "+S"(s.xored) : "d"(~bit) : "cc");
	s.lost[cpu] += !(old & bit);
	asm volatile(ASM("lax %0,%2,%1\n lax %0,%2,%1")
		     : "=&d"(old), "+S"(s.xored) : "d"(bit) : "cc");
	s.lost[cpu] += !(old & bit);
	asm volatile(ASM("laog %0,%2,%1") : "=&d"(oldg), "+S"(s.xoredg) : "d"(bitg) : "cc");
	s.lost[cpu] += !!(oldg & bitg);
	asm volatile(ASM("lang %0,%2,%1") : "=&d"(oldg), "+S"(s.xoredg) : "d"(~bitg) : "cc");
	s.lost[cpu] += !(oldg & bitg);
	asm volatile(ASM("laxg %0,%2,%1\n laxg %0,%2,%1")
		     : "=&d"(oldg), "+S"(s.xoredg) : "d"(bitg) : "cc");
	s.lost[cpu] += !(oldg & bitg);
}

/* Each CPU has a bit of each byte. */
static void change_bits(unsigned cpu)
{
	if (cpu) {
		asm volatile("oi %0,0x40" : "+Q"(s.byte[0]) : : "cc");
		asm volatile("ni %0,0xbf" : "+Q"(s.byte[1]) : : "cc");
		asm volatile("xi %0,0x40" : "+Q"(s.byte[2]) : : "cc");
		s.lost[cpu] += !(s.byte[0] & 0x40) + !!(s.byte[1] & 0x40);
		asm volatile("ni %0,0xbf" : "+Q"(s.byte[0]) : : "cc");
		asm volatile("oi %0,0x40" : "+Q"(s.byte[1]) : : "cc");
		s.lost[cpu] += !!(s.byte[0] & 0x40) + !(s.byte[1] & 0x40);
	} else {
		asm volatile("oi %0,0x02" : "+Q"(s.byte[0]) : : "cc");
		asm volatile("ni %0,0xfd" : "+Q"(s.byte[1]) : : "cc");
		asm volatile("xi %0,0x02" : "+Q"(s.byte[2]) : : "cc");
		s.lost[cpu] += !(s.byte[0] & 0x02) + !!(s.byte[1] & 0x02);
		asm volatile("ni %0,0xfd" : "+Q"(s.byte[0]) : : "cc");
		asm volatile("oi %0,0x02" : "+Q"(s.byte[1]) : : "cc");
		s.lost[cpu] += !!(s.byte[0] & 0x02) + !(s.byte[1] & 0x02);
	}
}

/* Neither goes ahead before the other is there. */
static void meet(unsigned cpus)
{
	volatile unsigned *ready = &s.ready;
	uint32_t old = *ready;

	asm volatile("0: lr %%r5,%0\n ahi %%r5,1\n cs %0,%%r5,%1\n jne 0b\n"
		     : "+&d"(old), "+Q"(s.ready) : : "cc", "r5");
	while (*ready < cpus)
		barrier();
}

static void work(unsigned cpu)
{
	meet(2);
	for (unsigned i = 0; i < ROUNDS; i++) {
		add_with_compare_and_swap();
		add_immediate();
		load_and_operate(cpu);
		change_bits(cpu);
		barrier();
	}
}

static void worker(void *arg)
{
	work(1);
}

/* Always changes both of a pair at once, to the same number. */
static void writer(void *arg)
{
	meet(4);
	for (uint64_t i = 1; !*(volatile unsigned *)&s.seen_enough; i++) {
		asm volatile("lgr %%r2,%1\n lgr %%r3,%1\n stpq %%r2,%0"
			     : "=S"(s.quadword) : "d"(i) : "r2", "r3");
		asm volatile("lm %%r2,%%r3,%0\n0: lr %%r4,%1\n lr %%r5,%1\n"
			     "cds %%r2,%%r4,%0\n jne 0b\n"
			     : "+Q"(s.pair) : "d"(i) : "cc", "r2", "r3", "r4", "r5");
		asm volatile("lmg %%r2,%%r3,%0\n0: lgr %%r4,%1\n lgr %%r5,%1\n"
			     "cdsg %%r2,%%r4,%0\n jne 0b\n"
			     : "+Q"(s.pairg) : "d"(i) : "cc", "r2", "r3", "r4", "r5");
	}
}

static void look_at_pairs(void)
{
	unsigned torn = 0, torn32 = 0, torn64 = 0, together = 0, changes = 0;
	uint64_t last = 0;
	bool backwards = false;

	cpu_start(1, writer, NULL);
	meet(4);
	/* The host may run one CPU at a time: look until there was something to see. */
	for (unsigned i = 0; i < ROUNDS || changes < CHANGES; i++) {
		uint64_t a, b, cc;

		asm volatile("lpq %%r2,%2\n lgr %0,%%r2\n lgr %1,%%r3"
			     : "=&d"(a), "=&d"(b) : "S"(s.quadword) : "r2", "r3");
		torn += a != b;
		backwards |= a < last;
		changes += a != last;
		last = a;
		asm volatile(ASM("lpd %%r2,%3,%4\n ipm %2\n llgfr %0,%%r2\n llgfr %1,%%r3")
			     : "=&d"(a), "=&d"(b), "=&d"(cc)
			     : "Q"(s.pair[0]), "Q"(s.pair[1]) : "r2", "r3", "cc");
		if (!(cc >> 28 & 3)) {
			torn32 += a != b;
			together++;
		}
		asm volatile(ASM("lpdg %%r2,%3,%4\n ipm %2\n lgr %0,%%r2\n lgr %1,%%r3")
			     : "=&d"(a), "=&d"(b), "=&d"(cc)
			     : "Q"(s.pairg[0]), "Q"(s.pairg[1]) : "r2", "r3", "cc");
		if (!(cc >> 28 & 3))
			torn64 += a != b;
	}
	*(volatile unsigned *)&s.seen_enough = 1;
	cpu_join(1);
	check_eq(torn, 0, "LPQ sees no half of an STPQ");
	ok(!backwards, "LPQ never sees an older value than before");
	check_eq(torn32, 0, "LPD with code 0 has a pair as it was");
	check_eq(torn64, 0, "LPDG with code 0 has a pair as it was");
	ok(together > 0, "LPD gets pairs");
}

void guest_main(void)
{
	const uint64_t both = 2 * ROUNDS;

	if (cpu_count() < 2) {
		skip("everything", "needs two CPUs");
		return;
	}
	s.byte[1] = 0xff;
	cpu_start(1, worker, NULL);
	work(0);
	cpu_join(1);
	check_eq(s.cs, both, "CS loses no update");
	check_eq(s.csg, both, "CSG loses no update");
	check_eq(s.cds, both << 32 | both, "CDS loses no update");
	ok(s.cdsg[0] == both && s.cdsg[1] == both, "CDSG loses no update");
	check_eq(s.plo, both, "PLO loses no update");
	check_eq(s.asi, both, "ASI loses no update");
	check_eq(s.alsi, both, "ALSI loses no update");
	check_eq(s.agsi, both, "AGSI loses no update");
	check_eq(s.algsi, both, "ALGSI loses no update");
	check_eq(s.laa, both, "LAA loses no update");
	check_eq(s.laal, both, "LAAL loses no update");
	check_eq(s.laag, both, "LAAG loses no update");
	check_eq(s.laalg, both, "LAALG loses no update");
	check_eq(s.lost[0] + s.lost[1], 0, "LAO, LAN, LAX, OI, NI and XI lose no bit");
	ok(!s.xored && !s.xoredg && !s.byte[0] && s.byte[1] == 0xff && !s.byte[2],
	   "after all changes the bits are as before");
	look_at_pairs();
}
