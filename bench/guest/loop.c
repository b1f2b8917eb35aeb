/* SPDX-License-Identifier: MIT */
/*
 * How many instructions a second: loops of a known number of instructions, each
 * timed by the guest's own TOD clock. The slices are shorter than what a host's
 * scheduler gives at a time, so that the median tells of the CPU even when other
 * work runs on the host. Prints a line for each slice:
 *
 *	bench NAME INSTRUCTIONS NANOSECONDS
 *
 * "mixed" is what compiled code looks like: of 14 instructions 4 load, 1 stores,
 * 3 branch, and one branch goes the other way at every eighth element or so,
 * as the data has it. "registers" touches no memory. "memory" does little else.
 */
#include "lib/guest.h"

#define SLICES 101
#define SLICE_NS 1000000ull

#define MIXED_INSNS 14
static uint64_t mixed(uint64_t rounds, uint64_t *table)
{
	uint64_t sum = 1, index = 0, x, extra = 0;

	asm volatile(
		"	lgr	%[i],%[n]\n"
		"0:	lg	%[x],0(%[k],%[t])\n"	/* 1 */
		"	ag	%[sum],8(%[k],%[t])\n"
		"	xg	%[x],4096(%[k],%[t])\n"
		"	sllg	%[x],%[x],3\n"
		"	agr	%[sum],%[x]\n"		/* 5 */
		"	stg	%[sum],0(%[k],%[t])\n"
		"	la	%[k],16(%[k])\n"
		"	nill	%[k],0xff8\n"
		"	llgc	%[x],7(%[k],%[t])\n"
		"	tmll	%[x],7\n"		/* 10 */
		"	jnz	1f\n"
		"	aghi	%[sum],3\n"		/* now and then */
		"	aghi	%[extra],2\n"		/* counts these two */
		"1:	cgr	%[sum],%[x]\n"
		"	je	2f\n"			/* hardly ever */
		"2:	brctg	%[i],0b\n"		/* 14 */
		: [sum] "+&d"(sum), [k] "+&a"(index), [x] "=&d"(x), [extra] "+&d"(extra),
		  [i] "=&d"((uint64_t){ 0 })
		: [n] "d"(rounds), [t] "a"(table)
		: "cc", "memory");
	return rounds * MIXED_INSNS + extra;
}

#define REGISTERS_INSNS 8
static uint64_t registers(uint64_t rounds, uint64_t *table)
{
	uint64_t a = 1, b = 2, c = 3;

	asm volatile(
		"	lgr	%[i],%[n]\n"
		"0:	agr	%[a],%[b]\n"
		"	xgr	%[c],%[a]\n"
		"	sllg	%[b],%[a],7\n"
		"	srlg	%[a],%[c],3\n"
		"	ogr	%[c],%[b]\n"
		"	aghi	%[b],11\n"
		"	sgr	%[c],%[a]\n"
		"	brctg	%[i],0b\n"
		: [a] "+&d"(a), [b] "+&d"(b), [c] "+&d"(c), [i] "=&d"((uint64_t){ 0 })
		: [n] "d"(rounds)
		: "cc");
	return rounds * REGISTERS_INSNS;
}

#define MEMORY_INSNS 8
static uint64_t memory(uint64_t rounds, uint64_t *table)
{
	uint64_t x;

	asm volatile(
		"	lgr	%[i],%[n]\n"
		"0:	lg	%[x],0(%[t])\n"
		"	stg	%[x],64(%[t])\n"
		"	llgf	%[x],128(%[t])\n"
		"	st	%[x],192(%[t])\n"
		"	lg	%[x],64(%[t])\n"
		"	stg	%[x],8(%[t])\n"
		"	mvc	256(8,%[t]),8(%[t])\n"
		"	brctg	%[i],0b\n"
		: [x] "=&d"(x), [i] "=&d"((uint64_t){ 0 })
		: [n] "d"(rounds), [t] "a"(table)
		: "cc", "memory");
	return rounds * MEMORY_INSNS;
}

/* TOD units are a 4096th of a microsecond. */
static uint64_t tod_to_ns(uint64_t tod)
{
	return tod * 125 / 512;
}

static void measure(const char *name, uint64_t (*loop)(uint64_t, uint64_t *), uint64_t *table)
{
	uint64_t rounds = 1024, begin, ns;

	/* As many rounds as make a slice. */
	for (;;) {
		begin = tod_clock();
		loop(rounds, table);
		ns = tod_to_ns(tod_clock() - begin);
		if (ns > SLICE_NS / 4)
			break;
		rounds *= 2;
	}
	rounds = rounds * (SLICE_NS / 1000) / (ns / 1000);
	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t insns;

		begin = tod_clock();
		insns = loop(rounds, table);
		ns = tod_to_ns(tod_clock() - begin);
		print("bench %s %lu %lu\n", name, insns, ns);
	}
}

void guest_main(void)
{
	uint64_t *table = frames(4 * PAGE_SIZE, PAGE_SIZE), x = 88172645463325252ull;

	for (unsigned i = 0; i < 4 * PAGE_SIZE / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		table[i] = x;
	}
	measure("mixed", mixed, table);
	measure("registers", registers, table);
	measure("memory", memory, table);
}
