/* SPDX-License-Identifier: MIT */
/*
 * Host code against the functions: random programs, executed by a CPU that translates
 * and by one that does not, leave the same registers, memory and interruptions.
 *
 * A program is a straight run with branches forward, so it ends, most often with the
 * operation exception behind it. It is executed a few times, because the first time
 * no page is in the TLB and no branch knows its target, and then most of the work is
 * done by the functions. A failure shows the seed of its program; with
 * ZVISOR_SEED=N in the environment the test begins with that one.
 *
 * Programs of a second kind may branch anywhere, store into themselves, and lie across
 * two pages that translation puts in different places. They are in the problem state, and
 * the clock comparator ends them: time is the number of instructions.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu/soft/complex.h"
#include "cpu_fixture.h"

#ifndef PROGRAMS
#define PROGRAMS 4000
#endif
#define WILD_PROGRAMS (PROGRAMS / 4)
#define WILD_INSTRUCTIONS 600 /* after which the clock ends it */
#define REPEATS 3
#define MAX_INSTRUCTIONS 24

#define DATA 0x10000u
#define FAR_DATA 0x20000u

/* The base registers; programs leave them alone. */
#define FIRST_BASE 12
#define INDEX 11
#define LINK 10

struct row {
	uint16_t opcode;
	uint8_t format;
	const char *mnemonic;
	uint8_t flags;
};

static const struct row rows[] = {
#define INSN_ROW(opcode, format, mnemonic, facility, function, flags) \
	{ opcode, F_##format, mnemonic, flags },
#include "cpu/soft/insn-general.def"
#undef INSN_ROW
	{ 0xd2, F_SS_A, "mvc", 0 },   { 0xd5, F_SS_A, "clc", 0 },   { 0xd7, F_SS_A, "xc", 0 },
	{ 0xeb04, F_RSY, "lmg", 0 },  { 0xeb24, F_RSY, "stmg", 0 }, { 0x90, F_RS, "stm", 0 },
	{ 0x60, F_RX, "std", 0 },     { 0x68, F_RX, "ld", 0 },	    { 0xb3c1, F_RRE, "ldgr", 0 },
	{ 0xb3cd, F_RRE, "lgdr", 0 },
};

static uint64_t next_random(uint64_t *seed)
{
	/* splitmix64 */
	uint64_t z = (*seed += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static unsigned int below(uint64_t *seed, unsigned int n)
{
	return (unsigned int)(next_random(seed) % n);
}

static uint64_t value(uint64_t *seed)
{
	static const uint64_t special[] = {
		0,
		1,
		~0ull,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x7fffffffffffffff,
		1ull << 63,
		0xffffffff80000000,
	};

	switch (below(seed, 4)) {
	case 0:
		return special[below(seed, ARRAY_SIZE(special))];
	case 1:
		/* Odd: nothing to branch to. */
		return below(seed, 256) | 1;
	default:
		return next_random(seed);
	}
}

static void put(uint64_t *raw, unsigned int bit, unsigned int bits, uint64_t v)
{
	uint64_t mask = ((1ull << bits) - 1) << (64 - bit - bits);

	*raw = (*raw & ~mask) | (v << (64 - bit - bits) & mask);
}

static unsigned int some_register(uint64_t *seed)
{
	return below(seed, LINK);
}

/* A base register and a displacement near it; at bit `at` */
static void put_base(uint64_t *seed, uint64_t *raw, unsigned int at)
{
	put(raw, at, 4, below(seed, 12) ? FIRST_BASE + below(seed, 4) : 0);
	put(raw, at + 4, 12, below(seed, 32) * (below(seed, 3) ? 8 : 1));
}

static bool is_relative_branch(const struct row *row)
{
	return (row->flags & JUMP) && row->format != F_RR;
}

/* An instruction, left-aligned; the distance of a relative branch comes later. */
static uint64_t instruction(uint64_t *seed, const struct row *row)
{
	uint64_t raw = next_random(seed);
	unsigned int high = row->opcode >> 8, low = row->opcode & 0xff;

	put(&raw, 0, 8, high ? high : low);
	put(&raw, 8, 4, some_register(seed));
	put(&raw, 12, 4, some_register(seed));
	switch ((enum insn_format)row->format) {
	case F_RRE:
	case F_RRF:
		put(&raw, 8, 8, low);
		put(&raw, 16, 4, some_register(seed));
		put(&raw, 24, 4, some_register(seed));
		put(&raw, 28, 4, some_register(seed));
		break;
	case F_RX:
	case F_RXY:
		put(&raw, 12, 4, below(seed, 4) ? 0 : INDEX);
		put_base(seed, &raw, 16);
		break;
	case F_RS:
	case F_RSY: {
		unsigned int r1 = some_register(seed);

		/* Registers in sequence end before the bases. */
		put(&raw, 8, 4, r1);
		put(&raw, 12, 4, r1 + below(seed, LINK - r1));
		put_base(seed, &raw, 16);
		if (!below(seed, 2))
			put(&raw, 16, 4, 0);
		break;
	}
	case F_SI:
	case F_SIY:
	case F_SIL:
	case F_S:
		if (row->opcode > 0xff)
			put(&raw, 8, 8, low);
		else if (!below(seed, 2))
			put(&raw, 8, 8, 1u << below(seed, 8));
		put_base(seed, &raw, 16);
		break;
	case F_RI:
	case F_RIL:
	case F_RIL_U:
		put(&raw, 12, 4, low);
		break;
	case F_RI_REL:
		put(&raw, 12, 4, low);
		break;
	case F_RIL_REL:
		put(&raw, 12, 4, low);
		put(&raw, 16, 32, 3 + below(seed, 512));
		break;
	case F_SS_A:
	case F_SS_B:
	case F_SS_C:
	case F_SS_D:
	case F_SS_E:
	case F_SSF:
		if (row->format == F_SSF)
			put(&raw, 12, 4, low);
		put(&raw, 8, row->format == F_SS_A ? 8 : 0, below(seed, 20));
		put_base(seed, &raw, 16);
		put_base(seed, &raw, 32);
		break;
	case F_RIS:
	case F_RRS:
		put_base(seed, &raw, 16);
		break;
	default:
		break;
	}
	/* Without a base, not so far that it overwrites the new PSWs. */
	if ((row->format == F_RXY || row->format == F_RSY || row->format == F_SIY) &&
	    !(raw >> 44 & 15))
		put(&raw, 32, 8, 0);
	/* The links are in a register that nobody branches to. */
	if (row->opcode == 0x0d || row->opcode == 0xa705 || row->opcode == 0xc005)
		put(&raw, 8, 4, LINK);
	if (high >= 0xc0 && row->opcode > 0xff && row->format != F_RIL && row->format != F_RIL_U &&
	    row->format != F_RIL_REL && row->format != F_SIL && row->format != F_SSF)
		put(&raw, 40, 8, low);
	return raw;
}

/*
 * Branches go forward, or to an address in a register, which is nearly never one where
 * there is code: else programs would not end.
 */
static const struct row *some_row(uint64_t *seed, bool wild)
{
	for (;;) {
		const struct row *row = &rows[below(seed, ARRAY_SIZE(rows))];

		if (wild || !(row->flags & JUMP))
			return row;
		switch ((enum insn_format)row->format) {
		case F_RI_REL:
		case F_RIL_REL:
		case F_RIE_B:
		case F_RIE_C:
		case F_RIE_E:
		case F_RSI:
			return row;
		case F_RR:
			if (row->opcode == 0x07 || row->opcode == 0x0d) /* BCR, BASR */
				return row;
			break;
		default:
			break;
		}
	}
}

static size_t make_program(uint64_t *seed, uint8_t *code, bool wild)
{
	const struct row *row[MAX_INSTRUCTIONS];
	size_t start[MAX_INSTRUCTIONS + 1] = { 0 };
	unsigned int n = 2 + below(seed, MAX_INSTRUCTIONS - 1);

	for (unsigned int i = 0; i < n; i++) {
		uint64_t raw;

		row[i] = some_row(seed, wild);
		raw = instruction(seed, row[i]);
		/* To where the last BRANCH AND SAVE came from */
		if (wild && row[i]->format == F_RR && (row[i]->flags & JUMP) && below(seed, 4))
			put(&raw, 12, 4, LINK);
		store_be64(code + start[i], raw);
		start[i + 1] = start[i] + insn_length((uint8_t)(raw >> 56));
	}
	for (unsigned int i = 0; i < n; i++) {
		unsigned int to = i + 1 + below(seed, n - i);
		int32_t halfwords;

		if (!is_relative_branch(row[i]))
			continue;
		if (wild && below(seed, 2))
			to = below(seed, n);
		halfwords = (int32_t)(start[to] - start[i]) / 2;
		if (row[i]->format == F_RIL_REL)
			store_be32(code + start[i] + 2, (uint32_t)halfwords);
		else if (row[i]->format >= F_RI_REL && row[i]->format != F_RRS)
			store_be16(code + start[i] + 2, (uint16_t)halfwords);
	}
	/* An operation code that does not exist. */
	store_be64(code + start[n], 0);
	return start[n] + 8;
}

/* What both CPUs begin with; code at CPU_CODE. */
static void prepare(struct cpu_fixture *f, uint64_t seed, const uint8_t *code, size_t length)
{
	memset(f->s->fpr, 0, sizeof(f->s->fpr));
	for (unsigned int r = 0; r < 16; r++) {
		f->s->gr[r] = value(&seed);
		f->s->fpr[r] = value(&seed);
		f->s->ar[r] = 0;
	}
	f->s->gr[INDEX] = below(&seed, 64);
	f->s->gr[12] = DATA + 0x100;
	f->s->gr[13] = DATA + 0x100 + below(&seed, 64);
	f->s->gr[14] = FAR_DATA + 0xff0; /* operands that cross into the next page */
	f->s->gr[15] = CPU_CODE + 0x800; /* in the page of the code */
	f->s->breaking_event = 0;
	f->s->cr[0] = below(&seed, 4) ? 0x40000 : 0; /* AFP-register control */
	/* A program that made a new PSW an invalid one would be interrupted without end. */
	f->s->cr[0] |= CR0_LOW_ADDRESS_PROTECTION;
	f->mask = below(&seed, 8) ? PSW_EA | PSW_BA : PSW_BA;
	f->mask |= (uint64_t)below(&seed, 4) << PSW_CC_SHIFT;
	if (!below(&seed, 8))
		f->mask |= PSW_PGM_FIXED;
	for (uint32_t i = 0; i < 0x400; i++) {
		f->memory[DATA + i] = (uint8_t)(i * 37 + seed);
		f->memory[FAR_DATA + 0xe00 + i] = (uint8_t)(i * 11 + seed);
	}
	cpu_fixture_catch(f);
	memcpy(f->memory + CPU_CODE, code, length);
	cpu_complex_memory_written(f->complex, CPU_CODE, length);
}

static void show(uint64_t seed, const uint8_t *code, size_t length)
{
	char text[96];

	print_message("ZVISOR_SEED=%llu\n", (unsigned long long)seed);
	for (size_t at = 0; at + 8 < length;) {
		uint64_t raw = load_be64(code + at);

		print_message("  %04zx  %s\n", at,
			      insn_disassemble(raw, CPU_CODE + at, text, sizeof(text)));
		at += insn_length(code[at]);
	}
}

/* All memory from time to time; mostly, where the programs' addresses are. */
#define COMPARE_ALL 64

static bool same_memory(const struct cpu_fixture *a, const struct cpu_fixture *b, uint64_t seed)
{
	if (seed % COMPARE_ALL == 0)
		return !memcmp(a->memory, b->memory, CPU_MEMORY);
	return !memcmp(a->memory, b->memory, 0x4000) &&
	       !memcmp(a->memory + DATA, b->memory + DATA, 0x2000) &&
	       !memcmp(a->memory + FAR_DATA, b->memory + FAR_DATA, 0x2000);
}

static bool differ(struct cpu_fixture *a, struct cpu_fixture *b, uint64_t seed)
{
	return memcmp(a->s->gr, b->s->gr, sizeof(a->s->gr)) ||
	       memcmp(a->s->fpr, b->s->fpr, sizeof(a->s->fpr)) || !same_memory(a, b, seed) ||
	       a->s->breaking_event != b->s->breaking_event ||
	       vcpu_instructions(a->vcpu) != vcpu_instructions(b->vcpu);
}

static void a_program_does_the_same_translated_or_not(void **state)
{
	uint64_t first = getenv("ZVISOR_SEED") ? strtoull(getenv("ZVISOR_SEED"), NULL, 0) : 1;
	void *states[2] = { NULL, NULL };
	struct cpu_fixture *functions, *translated;
	static uint8_t code[MAX_INSTRUCTIONS * 6 + 8];

	cpu_fixture_setup_as(&states[0], CPU_EXECUTE_CACHED);
	cpu_fixture_setup_as(&states[1], CPU_EXECUTE_TRANSLATED);
	functions = states[0];
	translated = states[1];
	for (uint64_t seed = first; seed < first + PROGRAMS; seed++) {
		uint64_t random = seed;
		size_t length = make_program(&random, code, false);

		for (unsigned int i = 0; i < REPEATS; i++) {
			unsigned int expected, got;

			prepare(functions, random, code, length);
			prepare(translated, random, code, length);
			expected = cpu_execute_there(functions);
			got = cpu_execute_there(translated);
			if (expected != got || differ(functions, translated, seed))
				show(seed, code, length);
			assert_int_equal(got, expected);
			for (unsigned int r = 0; r < 16; r++) {
				assert_int_equal(translated->s->gr[r], functions->s->gr[r]);
				assert_int_equal(translated->s->fpr[r], functions->s->fpr[r]);
			}
			assert_int_equal(vcpu_instructions(translated->vcpu),
					 vcpu_instructions(functions->vcpu));
			assert_int_equal(translated->s->breaking_event,
					 functions->s->breaking_event);
			assert_true(same_memory(functions, translated, seed));
		}
	}
	cpu_fixture_teardown(&states[0]);
	cpu_fixture_teardown(&states[1]);
}

/* ---- Programs of the second kind ---- */

#define SECOND_PAGE (CPU_CODE + 0x1000)
#define TABLES 0x100000u
#define SPACES 2
#define SPACE_TABLES 0x4000u /* of a space: segment table, then its two page tables */

/* Where a page of a space is: that of the code in both at the same place. */
static uint32_t frame_of(unsigned int space, uint32_t page)
{
	switch (page << PAGE_SHIFT) {
	case CPU_CODE:
		return 0x42000;
	case SECOND_PAGE:
	case FAR_DATA + 0x1000: /* the code once more */
		return 0x83000;
	case DATA:
		return space ? 0x91000 : 0x90000;
	default:
		return page << PAGE_SHIFT;
	}
}

static uint64_t make_tables(struct cpu_fixture *f, unsigned int space)
{
	uint32_t segments = TABLES + space * SPACE_TABLES, pages = segments + 0x1000;

	memset(f->memory + segments, 0xff, 0x1000); /* invalid */
	for (uint32_t i = 0; i < CPU_MEMORY >> 20; i++)
		store_be64(f->memory + segments + 8 * i, pages + 0x800 * i);
	for (uint32_t page = 0; page < CPU_MEMORY >> PAGE_SHIFT; page++)
		store_be64(f->memory + pages + 8 * page, frame_of(space, page));
	return segments;
}

static uint8_t *virtual_byte(struct cpu_fixture *f, uint32_t address)
{
	if (f->mask & PSW_DAT)
		address = frame_of(0, address >> PAGE_SHIFT) | (address & ~(uint32_t)PAGE_MASK);
	return f->memory + address;
}

static void prepare_wild(struct cpu_fixture *f, uint64_t seed, const uint8_t *code, size_t length,
			 uint32_t address)
{
	static const unsigned int psws[] = { LC_EXT_NEW_PSW, LC_SVC_NEW_PSW, LC_PGM_NEW_PSW };

	memset(f->memory, 0, 0x4000);
	for (unsigned int i = 0; i < ARRAY_SIZE(psws); i++) {
		store_be64(f->memory + psws[i], PSW_EA | PSW_BA | PSW_WAIT);
		store_be64(f->memory + psws[i] + 8, psws[i]);
	}
	memset(f->memory + 0x42000, 0, PAGE_SIZE);
	memset(f->memory + 0x83000, 0, PAGE_SIZE);
	prepare(f, seed, code, 0);
	f->s->cr[1] = make_tables(f, 0);
	f->s->cr[7] = f->s->cr[13] = make_tables(f, 1);
	f->mask |= PSW_PROBLEM | PSW_EXT;
	if (below(&seed, 2))
		f->mask |= PSW_DAT | (uint64_t)below(&seed, 4) << 46;
	f->s->cr[0] |= CR0_CLOCK_COMPARATOR;
	f->s->gr[LINK] = address;
	/* With a displacement, into the program; through another page if translation is on */
	f->s->gr[13] = address - below(&seed, 64);
	f->s->gr[14] = below(&seed, 2) ? FAR_DATA + 0xff0 : FAR_DATA + 0x1000 - below(&seed, 64);
	f->s->gr[15] = address - below(&seed, 128);
	f->s->fpc = 0;
	for (unsigned int r = 0; r < 16; r++)
		f->s->ar[r] = r < FIRST_BASE ? 0 : below(&seed, 2);
	/* Nothing is changed yet. New PSWs and tables have another key than the program. */
	f->mask |= 2ull << PSW_KEY_SHIFT;
	memset(f->complex->storage_keys, 0, CPU_MEMORY >> PAGE_SHIFT);
	memset(f->complex->storage_keys + 2, 0x20, (TABLES >> PAGE_SHIFT) - 2);
	if (!below(&seed, 4))
		f->complex->storage_keys[0x83] = f->complex->storage_keys[3] = 0x10;
	for (size_t i = 0; i < length; i++)
		*virtual_byte(f, address + (uint32_t)i) = code[i];
	cpu_complex_memory_written(f->complex, 0, CPU_MEMORY);
	f->s->clock_comparator = clock_tod(f->vcpu, NULL) + 20 * WILD_INSTRUCTIONS;
}

static bool same_frames(const struct cpu_fixture *a, const struct cpu_fixture *b)
{
	static const uint32_t frames[] = { 0x42000, 0x83000, 0x90000, 0x91000 };

	for (unsigned int i = 0; i < ARRAY_SIZE(frames); i++)
		if (memcmp(a->memory + frames[i], b->memory + frames[i], PAGE_SIZE))
			return false;
	return !memcmp(a->complex->storage_keys, b->complex->storage_keys,
		       CPU_MEMORY >> PAGE_SHIFT);
}

static void wild_programs_do_the_same_translated_or_not(void **state)
{
	uint64_t first = getenv("ZVISOR_SEED") ? strtoull(getenv("ZVISOR_SEED"), NULL, 0) : 1;
	void *states[2] = { NULL, NULL };
	struct cpu_fixture *functions, *translated;
	static uint8_t code[MAX_INSTRUCTIONS * 6 + 8];

	cpu_fixture_setup_deterministic(&states[0], CPU_EXECUTE_CACHED);
	cpu_fixture_setup_deterministic(&states[1], CPU_EXECUTE_TRANSLATED);
	functions = states[0];
	translated = states[1];
	for (uint64_t seed = first; seed < first + WILD_PROGRAMS; seed++) {
		uint64_t random = seed;
		size_t length = make_program(&random, code, true);
		uint32_t address = SECOND_PAGE - 2 * below(&random, (unsigned int)length / 2);

		for (unsigned int i = 0; i < REPEATS; i++) {
			unsigned int expected, got;

			prepare_wild(functions, random, code, length, address);
			prepare_wild(translated, random, code, length, address);
			expected = cpu_execute_at(functions, address);
			got = cpu_execute_at(translated, address);
			if (expected != got || differ(functions, translated, seed) ||
			    !same_frames(functions, translated))
				show(seed, code, length);
			assert_int_equal(got, expected);
			for (unsigned int r = 0; r < 16; r++) {
				assert_int_equal(translated->s->gr[r], functions->s->gr[r]);
				assert_int_equal(translated->s->ar[r], functions->s->ar[r]);
			}
			assert_int_equal(vcpu_instructions(translated->vcpu),
					 vcpu_instructions(functions->vcpu));
			assert_int_equal(translated->old_psw_addr, functions->old_psw_addr);
			assert_false(differ(functions, translated, seed));
			assert_true(same_frames(functions, translated));
		}
	}
	cpu_fixture_teardown(&states[0]);
	cpu_fixture_teardown(&states[1]);
}

/* ---- Code that changes ---- */

/*
 * The third time round, the run stores into its own next instruction: STC 4,0(5);
 * LA 3,1(3); LR 5,7; LR 7,6; BRCT 2. The first two times the store is for the same page, so
 * that host code does the third.
 */
static void a_store_into_the_next_instruction_counts_at_once(void **state)
{
	struct cpu_fixture *f = *state;
	unsigned int cc;

	f->s->gr[2] = 4;
	f->s->gr[3] = 0;
	f->s->gr[4] = 5; /* the displacement then */
	f->s->gr[5] = f->s->gr[7] = CPU_CODE + 0x800;
	f->s->gr[6] = CPU_CODE + 4 + 3;
	assert_int_equal(cpu_execute(f, "424050004130300118571876a726fffa", &cc), PGM_NONE);
	assert_int_equal(f->s->gr[3], 1 + 1 + 5 + 5);
}

static void *run_vcpu(void *vcpu)
{
	vcpu_run(vcpu);
	return NULL;
}

#define OTHER_CODE 0x8000u
#define OTHER_PREFIX 0x10000u

/* A loop without end; then the other CPU makes its first instruction an invalid one. */
static void a_store_of_another_cpu_ends_a_loop(void **state)
{
	struct cpu_fixture *f = *state;
	struct cpu_state *other = vcpu_state(f->other);
	uint64_t before = vcpu_instructions(f->vcpu);
	pthread_t thread;

	store_be64(f->memory + CPU_CODE, 0xa73a0001a7f4fffe); /* AHI 3,1; BRC 15,*-4 */
	store_be64(f->memory + OTHER_CODE, 0xe544f00000000000); /* MVHHI 0(15),0; invalid */
	f->s->psw_mask = f->mask;
	f->s->psw_addr = CPU_CODE;
	vcpu_start(f->vcpu);
	assert_int_equal(pthread_create(&thread, NULL, run_vcpu, f->vcpu), 0);
	while (vcpu_instructions(f->vcpu) < before + 1000000)
		sched_yield();

	vcpu_clear_reset(f->other);
	other->prefix = OTHER_PREFIX;
	other->gr[15] = CPU_CODE;
	other->psw_mask = f->mask;
	other->psw_addr = OTHER_CODE;
	store_be64(f->memory + OTHER_PREFIX + LC_PGM_NEW_PSW, f->mask | PSW_WAIT);
	vcpu_start(f->other);
	run_vcpu(f->other);
	pthread_join(thread, NULL);
	assert_int_equal(load_be16(f->memory + LC_PGM_CODE), PGM_OPERATION);
}

/* ---- Room ---- */

/* A block of nothing but one instruction, with operands that take the most code. */
static void no_block_has_more_host_code_than_is_set_aside(void **state)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cpu_fixture *f = *state;
		uint8_t *code = f->memory + CPU_CODE;
		uint64_t seed = i, raw = instruction(&seed, &rows[i]);
		unsigned int length = insn_length((uint8_t)(raw >> 56));
		size_t used;

		if (rows[i].format == F_RS || rows[i].format == F_RSY)
			put(&raw, 8, 8, 0x0f); /* all registers */
		memset(code, 0, PAGE_SIZE);
		for (unsigned int j = 0; j < BLOCK_MAX_OPS; j++) {
			uint8_t bytes[8];

			store_be64(bytes, raw);
			memcpy(code + j * length, bytes, length);
		}
		cpu_complex_memory_written(f->complex, CPU_CODE, PAGE_SIZE);
		for (unsigned int r = 0; r < 16; r++)
			f->s->gr[r] = DATA;
		/* Branches are much shorter, and some of these would never end. */
		if (rows[i].flags & JUMP)
			continue;
		used = f->complex->code.host.used;
		cpu_execute_there(f);
		assert_in_range(f->complex->code.host.used - used, 0, TRANSLATE_BLOCK_BYTES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_does_the_same_translated_or_not),
		cmocka_unit_test(wild_programs_do_the_same_translated_or_not),
#define TEST(name) cmocka_unit_test_setup_teardown(name, cpu_fixture_setup, cpu_fixture_teardown)
		TEST(a_store_into_the_next_instruction_counts_at_once),
		TEST(a_store_of_another_cpu_ends_a_loop),
		TEST(no_block_has_more_host_code_than_is_set_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
