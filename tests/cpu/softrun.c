/* SPDX-License-Identifier: MIT */
/*
 * Executes cases (case.h) on the soft CPU. Reads cases on standard input, writes
 * results to standard output.
 *
 * The arena lies at the same virtual addresses as in the oracle, mapped one to
 * one by DAT tables; the lowcore's program-new PSW is a disabled wait, so the
 * first program interruption ends the run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "case.h"
#include "cpu/vcpu.h"

#define MEMORY (16 * MIB)
#define SEGMENT_TABLE 0x10000ull	/* 2048 entries: 2 GiB */
#define PAGE_TABLES 0x20000ull		/* for segments 8 (arena) and 9 (code) */

/* Assigned storage (Principles of Operation, chapter 3). */
#define PGM_ILC_AT 0x8c
#define PGM_CODE_AT 0x8e
#define DXC_AT 0x90
#define TEID_AT 0xa8
#define PGM_OLD_PSW_AT 0x150
#define NEW_PSWS_AT 0x1a0

#define CASE_PSW (BIT64(5) | BIT64(15))	/* DAT, problem state */
#define WAIT_PSW (BIT64(14) | BIT64(31) | BIT64(32))

static bool no_io(void *opaque, struct vcpu *v, uint64_t mask,
		  struct cpu_io_interruption *i)
{
	return false;
}

static bool no_external(void *opaque, struct vcpu *v, uint64_t mask,
			struct cpu_external_interruption *e)
{
	return false;
}

static bool no_mchk(void *opaque, struct vcpu *v, uint64_t mask,
		    struct cpu_mchk_interruption *m)
{
	return false;
}

static const struct cpu_floating_ops no_interruptions = {
	.take_io = no_io, .take_external = no_external, .take_mchk = no_mchk,
};

static void map_page(uint8_t *memory, uint64_t address, uint64_t bits)
{
	uint64_t segment = address >> 20;
	uint64_t table = PAGE_TABLES + (segment - (ARENA >> 20)) * 2048;

	store_be64(memory + table + ((address >> 12) & 0xff) * 8, address | bits);
}

static void build_tables(uint8_t *memory)
{
	static const char map[] = ARENA_MAP;
	unsigned int i;

	for (i = 0; i < 2048; i++)
		store_be64(memory + SEGMENT_TABLE + i * 8, 0x20);
	for (i = 0; i < 512; i++)
		store_be64(memory + PAGE_TABLES + i * 8, 0x400);
	store_be64(memory + SEGMENT_TABLE + (ARENA >> 20) * 8, PAGE_TABLES);
	store_be64(memory + SEGMENT_TABLE + (CODE >> 20) * 8, PAGE_TABLES + 2048);
	for (i = 0; i < ARENA_PAGES; i++)
		if (map[i] != '-')
			map_page(memory, ARENA + i * CASE_PAGE,
				 map[i] == 'r' ? 0x200 : 0);
	map_page(memory, CODE, 0);
}

static int load_case(const struct case_header *c, uint8_t *memory,
		     struct cpu_state *s)
{
	const uint8_t *p = (const uint8_t *)(c + 1);
	const uint8_t *end = (const uint8_t *)c + load_be32(&c->length);
	unsigned int i;

	case_fill(memory + ARENA, load_be64(&c->seed));
	memset(memory + CODE, 0, CASE_PAGE);
	for (i = 0; i < c->patches; i++) {
		uint32_t address, length;

		if (end - p < 8)
			return -EINVAL;
		address = load_be32(p);
		length = load_be32(p + 4);
		if ((uint64_t)(end - p) < 8 + (uint64_t)length ||
		    !range_fits(address, length, MEMORY))
			return -EINVAL;
		memcpy(memory + address, p + 8, length);
		p += 8 + length;
	}

	for (i = 0; i < 16; i++) {
		s->gr[i] = load_be64(&c->gr[i]);
		s->fpr[i] = load_be64(&c->fpr[i]);
		s->ar[i] = load_be32(&c->ar[i]);
		s->cr[i] = 0;
	}
	s->cr[0] = BIT64(45);				/* AFP registers */
	s->cr[1] = SEGMENT_TABLE | 0x3;			/* 2048 segment-table entries */
	s->cr[7] = s->cr[13] = s->cr[1];
	s->fpc = load_be32(&c->fpc);
	s->psw_mask = CASE_PSW | (uint64_t)c->cc << 44 |
		      (uint64_t)c->program_mask << 40;
	if (c->amode == AMODE_64)
		s->psw_mask |= BIT64(31);
	if (c->amode != AMODE_24)
		s->psw_mask |= BIT64(32);
	s->psw_addr = load_be64(&c->start);
	return 0;
}

static void store_result(struct result *r, const struct cpu_state *s,
			 const uint8_t *lowcore)
{
	unsigned int i;

	store_be32(&r->pgm_code, load_be16(lowcore + PGM_CODE_AT));
	store_be32(&r->ilc, load_be16(lowcore + PGM_ILC_AT));
	store_be32(&r->dxc, load_be32(lowcore + DXC_AT));
	store_be64(&r->teid, load_be64(lowcore + TEID_AT));
	store_be64(&r->psw_mask, load_be64(lowcore + PGM_OLD_PSW_AT));
	store_be64(&r->psw_addr, load_be64(lowcore + PGM_OLD_PSW_AT + 8));
	for (i = 0; i < 16; i++) {
		store_be64(&r->gr[i], s->gr[i]);
		store_be64(&r->fpr[i], s->fpr[i]);
		store_be32(&r->ar[i], s->ar[i]);
	}
	store_be32(&r->fpc, s->fpc);
}

int main(void)
{
	static union {
		struct case_header header;
		uint8_t bytes[65536];
	} c;
	static uint8_t arena[ARENA_PAGES * CASE_PAGE], code[CASE_PAGE];
	struct cpu_complex_config config = {
		.memory_size = MEMORY,
		.vcpus = 1,
		.model = { .facilities = { ~0ull, ~0ull, ~0ull, ~0ull } },
		.floating = &no_interruptions,
	};
	struct cpu_complex *complex;
	uint8_t *memory;
	struct vcpu *v;
	unsigned int i;

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 2;
	config.memory = memory;
	complex = cpu_complex_create(&config);
	if (!complex)
		return 2;
	v = cpu_complex_vcpu(complex, 0);
	vcpu_clear_reset(v);
	build_tables(memory);
	for (i = 0; i < 6; i++) {
		store_be64(memory + NEW_PSWS_AT + 16 * i, WAIT_PSW);
		store_be64(memory + NEW_PSWS_AT + 16 * i + 8, 0xdead);
	}

	while (fread(&c.header, sizeof(c.header), 1, stdin) == 1) {
		struct result r = { .magic = 0 };
		uint32_t length = load_be32(&c.header.length);
		enum vcpu_exit exit;

		if (length < sizeof(c.header) || length > sizeof(c) ||
		    (length > sizeof(c.header) &&
		     fread(&c.header + 1, length - sizeof(c.header), 1, stdin) != 1))
			return 2;
		store_be32(&r.magic, CASE_MAGIC);
		memset(memory + 0x80, 0, 0x40);
		if (load_case(&c.header, memory, vcpu_state(v)))
			return 2;
		memcpy(arena, memory + ARENA, sizeof(arena));
		memcpy(code, memory + CODE, sizeof(code));
		cpu_complex_memory_written(complex, 0, MEMORY);
		vcpu_start(v);
		vcpu_state_changed(v);
		exit = vcpu_run(v);
		if (exit != VCPU_EXIT_DISABLED_WAIT)
			store_be32(&r.died, 2);
		store_result(&r, vcpu_state(v), memory);
		case_diff(&r, arena, memory + ARENA, ARENA, sizeof(arena));
		case_diff(&r, code, memory + CODE, CODE, CODE_LIMIT);
		fwrite(&r, sizeof(r), 1, stdout);
		fflush(stdout);
	}
	cpu_complex_destroy(complex);
	munmap(memory, MEMORY);
	return 0;
}
