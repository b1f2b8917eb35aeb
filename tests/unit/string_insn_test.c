/* SPDX-License-Identifier: MIT */
/*
 * Moves, compares, searches, translations: overlap, lengths, padding, what is
 * found where; and that an exception finds nothing changed, an interruption
 * registers that say how far it got.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu_fixture.h"

#define A 0x10000u
#define B 0x20000u
#define END CPU_MEMORY /* behind it nothing can be accessed */

static unsigned int execute(struct cpu_fixture *f, const char *insn)
{
	unsigned int cc;

	assert_int_equal(cpu_execute(f, insn, &cc), PGM_NONE);
	return cc;
}

static unsigned int interruption(struct cpu_fixture *f, const char *insn)
{
	unsigned int cc;

	return cpu_execute(f, insn, &cc);
}

/* Execute again and again while the condition code is 3; returns the last one. */
static unsigned int execute_all(struct cpu_fixture *f, const char *insn)
{
	unsigned int cc = 3;

	for (unsigned int i = 0; i < 10000 && cc == 3; i++)
		cc = execute(f, insn);
	return cc;
}

static void put(struct cpu_fixture *f, uint32_t at, const char *text)
{
	memcpy(f->memory + at, text, strlen(text));
}

static void registers(struct cpu_fixture *f, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	f->s->gr[2] = r2;
	f->s->gr[3] = r3;
	f->s->gr[4] = r4;
	f->s->gr[5] = r5;
}

/* Something in the whole of memory behind the page of the code. */
static void fill(struct cpu_fixture *f, uint32_t from, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		f->memory[from + i] = (uint8_t)(i * 7 + i / 251);
}

static void move_copies_byte_by_byte_whatever_the_distance(void **state)
{
	struct cpu_fixture *f = *state;
	uint8_t expected[1024];
	char insn[16];

	for (int distance = -40; distance <= 40; distance++) {
		for (unsigned int size = 1; size <= 256; size += size < 20 ? 1 : 59) {
			uint32_t from = A + 0xf80, to = from + (uint32_t)distance;

			fill(f, A + 0xe00, sizeof(expected));
			memcpy(expected, f->memory + A + 0xe00, sizeof(expected));
			for (unsigned int i = 0; i < size; i++)
				expected[0x180 + distance + (int)i] = expected[0x180 + i];
			f->s->gr[2] = to;
			f->s->gr[4] = from;
			snprintf(insn, sizeof(insn), "d2%02x20004000", size - 1);
			execute(f, insn);
			assert_memory_equal(f->memory + A + 0xe00, expected, sizeof(expected));
		}
	}
}

static void logic_on_storage_sets_the_condition_code(void **state)
{
	struct cpu_fixture *f = *state;

	registers(f, A, 0, B, 0);
	fill(f, A, 300);
	memcpy(f->memory + B, f->memory + A, 300);
	assert_int_equal(execute(f, "d70620004000"), 0);
	for (int i = 0; i < 7; i++)
		assert_int_equal(f->memory[A + (uint32_t)i], 0);
	assert_int_equal(f->memory[A + 7], f->memory[B + 7]);
	f->memory[A + 100] = 1;
	assert_int_equal(execute(f, "d7ff20002000"), 0);
	assert_int_equal(f->memory[A + 100], 0);
	f->memory[A + 14] = 0x0f;
	f->memory[B + 14] = 0x3c;
	assert_int_equal(execute(f, "d40e20004000"), 1);
	assert_int_equal(f->memory[A + 14], 0x0c);
	assert_int_equal(execute(f, "d60e20004000"), 1);
	assert_int_equal(f->memory[A + 14], 0x3c);
	/* From the byte to its left: the first byte spreads. */
	memset(f->memory + A, 0, 32);
	f->memory[A] = 0x81;
	registers(f, A + 1, 0, A, 0);
	assert_int_equal(execute(f, "d61e20004000"), 1);
	for (int i = 0; i < 32; i++)
		assert_int_equal(f->memory[A + (uint32_t)i], 0x81);
}

static void moves_across_a_page_that_is_missing_change_nothing(void **state)
{
	static const char *const insns[] = {
		"d20f20004000", "d10f20004000", "d30f20004000", "d40f20004000", "d60f20004000",
		"d70f20004000", "e80f2000400f", "dc0f20004000", "902e2000", "eb2e20000024",
		"9b2e2000", "be2f2000", "d70f20002000", "efab4000200f",
	};
	struct cpu_fixture *f = *state;
	uint64_t gr[16];
	uint8_t before[16];

	for (size_t i = 0; i < ARRAY_SIZE(insns); i++) {
		uint32_t at = END - (insns[i][0] == 'b' ? 3 : 8);

		fill(f, B, 300);
		fill(f, END - 16, 16);
		memcpy(before, f->memory + END - 16, 16);
		registers(f, at, 1, B, 1);
		memcpy(gr, f->s->gr, sizeof(gr));
		assert_int_equal(interruption(f, insns[i]), PGM_ADDRESSING);
		assert_memory_equal(f->memory + END - 16, before, 16);
		assert_memory_equal(f->s->gr, gr, sizeof(gr));
	}
	/* Sources. */
	registers(f, A, 1, END - 8, 1);
	memset(f->memory + A, 0x55, 16);
	memset(before, 0x55, 16);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(interruption(f, insns[i]), PGM_ADDRESSING);
		assert_memory_equal(f->memory + A, before, 16);
	}
	memcpy(gr, f->s->gr, sizeof(gr));
	assert_int_equal(interruption(f, "98674000"), PGM_NONE);
	assert_int_equal(interruption(f, "98684000"), PGM_ADDRESSING);
	assert_int_equal(interruption(f, "ebc540000004"), PGM_ADDRESSING);
	assert_int_equal(interruption(f, "ef5c2000400f"), PGM_ADDRESSING);
	assert_int_equal(f->s->gr[5], gr[5]);
	assert_int_equal(f->s->gr[12], gr[12]);
}

static void load_multiple_disjoint_takes_halves_from_two_places(void **state)
{
	struct cpu_fixture *f = *state;

	registers(f, A, 0, A + 0xff8, 0);
	for (uint32_t i = 0; i < 4; i++) {
		store_be32(f->memory + A + 4 * i, 0x11110000 + i);
		store_be32(f->memory + A + 0xff8 + 4 * i, 0x22220000 + i);
	}
	execute(f, "efe120004000"); /* 14, 15, 0, 1 */
	assert_int_equal(f->s->gr[14], 0x1111000022220000);
	assert_int_equal(f->s->gr[1], 0x1111000322220003);
	/* The base register itself is loaded. */
	registers(f, A, 0, A + 8, 0);
	execute(f, "ef2220004000");
	assert_int_equal(f->s->gr[2], 0x1111000011110002);
}

static void store_multiple_high_stores_the_left_halves(void **state)
{
	struct cpu_fixture *f = *state;

	registers(f, A, 0, 0, 0);
	f->s->gr[14] = 0x0102030405060708;
	f->s->gr[15] = 0x1112131415161718;
	execute(f, "ebef20000026");
	assert_int_equal(load_be64(f->memory + A), 0x0102030411121314);
	execute(f, "eb0120000096");
	assert_int_equal(f->s->gr[0], 0x0102030400000000);
	assert_int_equal(f->s->gr[1], 0x1112131400000000);
}

static void access_registers_want_a_word_boundary(void **state)
{
	struct cpu_fixture *f = *state;

	registers(f, A, 0, 0, 0);
	store_be32(f->memory + A, 0xcafe);
	store_be32(f->memory + A + 4, 0xbabe);
	execute(f, "9af02000");
	assert_int_equal(f->s->ar[15], 0xcafe);
	assert_int_equal(f->s->ar[0], 0xbabe);
	execute(f, "eb0f2010009b");
	assert_int_equal(load_be32(f->memory + A + 0x10), 0xbabe);
	assert_int_equal(load_be32(f->memory + A + 0x10 + 60), 0xcafe);
	assert_int_equal(interruption(f, "9af02002"), PGM_SPECIFICATION);
	assert_int_equal(interruption(f, "9bf02001"), PGM_SPECIFICATION);
}

static void move_long_pads_and_compares_lengths(void **state)
{
	struct cpu_fixture *f = *state;

	fill(f, B, 0x4000);
	memset(f->memory + A, 0xee, 0x4000);
	registers(f, A + 5, 0xff003000, B + 9, 0x7a002801);
	assert_int_equal(execute(f, "0e24"), 2);
	assert_memory_equal(f->memory + A + 5, f->memory + B + 9, 0x2801);
	assert_int_equal(f->memory[A + 4], 0xee);
	for (uint32_t i = 0x2801; i < 0x3000; i++)
		assert_int_equal(f->memory[A + 5 + i], 0x7a);
	assert_int_equal(f->memory[A + 5 + 0x3000], 0xee);
	assert_int_equal(f->s->gr[2], A + 5 + 0x3000);
	assert_int_equal(f->s->gr[3], 0xff000000);
	assert_int_equal(f->s->gr[4], B + 9 + 0x2801);
	assert_int_equal(f->s->gr[5], 0x7a000000);

	registers(f, A, 10, B, 20);
	assert_int_equal(execute(f, "0e24"), 1);
	assert_int_equal(f->s->gr[5], 10);
	registers(f, A, 0, B, 0);
	assert_int_equal(execute(f, "0e24"), 0);
	assert_int_equal(interruption(f, "0e25"), PGM_SPECIFICATION);
	assert_int_equal(interruption(f, "0e34"), PGM_SPECIFICATION);
}

static void move_long_refuses_destructive_overlap(void **state)
{
	struct cpu_fixture *f = *state;

	fill(f, A, 256);
	registers(f, A + 1, 16, A, 16);
	assert_int_equal(execute(f, "0e24"), 3);
	assert_int_equal(f->memory[A + 1], 7);
	assert_int_equal(f->s->gr[3], 16);
	registers(f, A + 15, 16, A, 16);
	assert_int_equal(execute(f, "0e24"), 3);
	registers(f, A + 16, 16, A, 16);
	assert_int_equal(execute(f, "0e24"), 0);
	registers(f, A + 15, 16, A, 15); /* only 15 bytes are used as a source */
	assert_int_equal(execute(f, "0e24"), 2);
	registers(f, A, 16, A + 1, 16);
	assert_int_equal(execute(f, "0e24"), 0);
}

static void move_long_stops_with_an_exception_where_the_registers_say(void **state)
{
	struct cpu_fixture *f = *state;
	uint32_t left;

	fill(f, B, 0x4000);
	registers(f, END - 0x2100, 0x3000, B, 0x3000);
	assert_int_equal(interruption(f, "0e24"), PGM_ADDRESSING);
	left = (uint32_t)f->s->gr[3];
	assert_true(left >= 0xf00 && left <= 0x3000);
	assert_int_equal(f->s->gr[5], left);
	assert_int_equal(f->s->gr[2], END - 0x2100 + 0x3000 - left);
	assert_int_equal(f->s->gr[4], B + 0x3000 - left);
	assert_memory_equal(f->memory + END - 0x2100, f->memory + B, 0x3000 - left);
}

struct disturber {
	struct cpu_fixture *f;
	atomic_bool stop;
};

static void *disturb(void *opaque)
{
	struct disturber *d = opaque;

	while (!atomic_load(&d->stop)) {
		vcpu_request_exit(d->f->vcpu);
		sched_yield();
	}
	return NULL;
}

static void interrupted_long_instructions_go_on_where_they_were(void **state)
{
	struct cpu_fixture *f = *state;
	struct disturber d = { .f = f };
	uint32_t size = 0x70000;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, disturb, &d), 0);
	for (int i = 0; i < 200; i++) {
		fill(f, 0x20000 + (uint32_t)i, size);
		memset(f->memory + 0x100000, 0, size + 8);
		registers(f, 0x100003, size, 0x20000 + (uint32_t)i, size);
		assert_int_equal(execute(f, "0e24"), 0);
		assert_memory_equal(f->memory + 0x100003, f->memory + 0x20000 + i, size);
		assert_int_equal(f->s->gr[2], 0x100003 + size);
		registers(f, 0x100003, size, 0x20000 + (uint32_t)i, size);
		assert_int_equal(execute(f, "0f24"), 0);
		assert_int_equal(f->s->gr[5], 0);
	}
	atomic_store(&d.stop, true);
	pthread_join(thread, NULL);
}

static void compare_long_stops_at_the_first_difference(void **state)
{
	struct cpu_fixture *f = *state;

	fill(f, A, 0x3000);
	memcpy(f->memory + B + 3, f->memory + A, 0x3000);
	registers(f, A, 0x2fff, B + 3, 0x2fff);
	assert_int_equal(execute(f, "0f24"), 0);
	f->memory[A + 0x1801] = 0x10;
	f->memory[B + 3 + 0x1801] = 0x11;
	registers(f, A, 0x2fff, B + 3, 0x2fff);
	assert_int_equal(execute(f, "0f24"), 1);
	assert_int_equal(f->s->gr[2], A + 0x1801);
	assert_int_equal(f->s->gr[4], B + 3 + 0x1801);
	assert_int_equal(f->s->gr[3], 0x2fff - 0x1801);
	registers(f, B + 3, 0x2fff, A, 0x2fff);
	assert_int_equal(execute_all(f, "a9240000"), 2);
	assert_int_equal(f->s->gr[2], B + 3 + 0x1801);
	/* Against the padding, which for CLCLE is in the second address. */
	memset(f->memory + A, ' ', 100);
	registers(f, A, 100, B, 0);
	assert_int_equal(execute_all(f, "a9240020"), 0);
	assert_int_equal(f->s->gr[2], A + 100);
	registers(f, A, 100, B, 0);
	assert_int_equal(execute_all(f, "a9240021"), 1);
	registers(f, B, 0, A, 100);
	assert_int_equal(execute_all(f, "a9240021"), 2);
	/* In front of a page that is missing, a difference is all that counts. */
	registers(f, END - 4, 100, B + 3, 100);
	memcpy(f->memory + END - 4, f->memory + B + 3, 4);
	f->memory[END - 1] ^= 1;
	assert_true(execute_all(f, "a9240000"));
	assert_int_equal(f->s->gr[2], END - 1);
}

static void unicode_compare_and_move_work_on_pairs(void **state)
{
	struct cpu_fixture *f = *state;

	put(f, A + 0xfff, "\1\2\3\4\5\6");
	put(f, B, "\1\2\3\5\5\6");
	registers(f, A + 0xfff, 6, B, 6);
	assert_int_equal(execute_all(f, "eb240000008f"), 1);
	assert_int_equal(f->s->gr[2], A + 0xfff + 2);
	assert_int_equal(f->s->gr[5], 4);
	registers(f, A + 0xfff, 6, B, 3);
	assert_int_equal(interruption(f, "eb240000008f"), PGM_SPECIFICATION);
	assert_int_equal(interruption(f, "eb240000008e"), PGM_SPECIFICATION);
	registers(f, A + 0xffd, 9000, B, 4);
	assert_int_equal(execute_all(f, "eb240abc008e"), 2);
	assert_memory_equal(f->memory + A + 0xffd, "\1\2\3\5\xa\xbc\xa\xbc", 8);
	assert_memory_equal(f->memory + A + 0xffd + 8998, "\xa\xbc", 3);
}

static void addresses_wrap_and_keep_the_left_half_in_31_bit_mode(void **state)
{
	struct cpu_fixture *f = *state;

	f->mask = PSW_BA;
	put(f, A, "hello");
	registers(f, 0xabcd000080000000 | B, 0xffffffff00000005, 0x1234567800000000 | A,
		  0xeeeeeeee00000005);
	assert_int_equal(execute_all(f, "a8240000"), 0);
	assert_memory_equal(f->memory + B, "hello", 5);
	assert_int_equal(f->s->gr[2], 0xabcd000000000000 | (B + 5));
	assert_int_equal(f->s->gr[3], 0xffffffff00000000);
	assert_int_equal(f->s->gr[4], 0x1234567800000000 | (A + 5));

	/* In the 24-bit mode 8 bits more are cleared, even when nothing is moved. */
	f->mask = 0;
	registers(f, 0xabcd0000ff000000 | B, 0, 0xff000000 | A, 0);
	execute(f, "0e24");
	assert_int_equal(f->s->gr[2], 0xabcd000000000000 | B);
	assert_int_equal(f->s->gr[4], A);
}

static void strings_end_with_the_character_in_register_0(void **state)
{
	struct cpu_fixture *f = *state;

	f->s->gr[0] = 0xffffffff00000000 | '.';
	put(f, A + 0xffc, "abcdef.");
	put(f, B + 0xffe, "abcdeg.");
	registers(f, A + 0xffc, 0, B + 0xffe, 0);
	assert_int_equal(execute_all(f, "b25d0024"), 1);
	assert_int_equal(f->s->gr[2], A + 0xffc + 5);
	assert_int_equal(f->s->gr[4], B + 0xffe + 5);
	put(f, B + 0xffe, "abc.");
	registers(f, A + 0xffc, 0, B + 0xffe, 0);
	assert_int_equal(execute_all(f, "b25d0024"), 2);
	put(f, A + 0xffc, "abc.");
	registers(f, A + 0xffc, 0, B + 0xffe, 0);
	assert_int_equal(execute_all(f, "b25d0024"), 0);
	assert_int_equal(f->s->gr[2], A + 0xffc);

	registers(f, A + 0x5000, 0, A + 0xffc, 0);
	assert_int_equal(execute_all(f, "b2550024"), 1);
	assert_memory_equal(f->memory + A + 0x5000, "abc.", 5);
	assert_int_equal(f->s->gr[2], A + 0x5003);
	assert_int_equal(f->s->gr[4], A + 0xffc);

	registers(f, A + 0x5000, 0, A + 0xffc, 0);
	assert_int_equal(execute_all(f, "b25e0024"), 1);
	assert_int_equal(f->s->gr[2], A + 0xfff);
	registers(f, A + 0xfff, 0, A + 0xffc, 0);
	assert_int_equal(execute_all(f, "b25e0024"), 2);
	assert_int_equal(f->s->gr[2], A + 0xfff);

	f->s->gr[0] = 0x100;
	assert_int_equal(interruption(f, "b25d0024"), PGM_SPECIFICATION);
	assert_int_equal(interruption(f, "b2550024"), PGM_SPECIFICATION);
	assert_int_equal(interruption(f, "b25e0024"), PGM_SPECIFICATION);
	f->s->gr[0] = 0x10000;
	assert_int_equal(interruption(f, "b9be0024"), PGM_SPECIFICATION);
}

static void a_string_ends_before_a_page_that_is_missing(void **state)
{
	struct cpu_fixture *f = *state;

	f->s->gr[0] = 0;
	memset(f->memory + END - 300, 'x', 299);
	memset(f->memory + B, 'x', 300);
	registers(f, END - 300, 0, B, 0);
	assert_int_equal(execute_all(f, "b25d0024"), 1); /* "xx…" < "xx…x" */
	assert_int_equal(f->s->gr[2], END - 1);
	registers(f, 0, 0, END - 300, 0);
	assert_int_equal(execute_all(f, "b25e0024"), 1);
	assert_int_equal(f->s->gr[2], END - 1);
	registers(f, B, 0, END - 300, 0);
	assert_int_equal(execute_all(f, "b2550024"), 1);
	assert_int_equal(f->s->gr[2], B + 299);
	f->memory[END - 1] = 'x';
	memset(f->memory + B, 'y', 300);
	registers(f, B, 0, END - 100, 0);
	assert_int_equal(interruption(f, "b2550024"), PGM_ADDRESSING);
	assert_int_equal(f->memory[B], 'y');
	assert_int_equal(f->s->gr[2], B);
}

static void compare_until_substring_equal_finds_the_run(void **state)
{
	struct cpu_fixture *f = *state;

	f->s->gr[0] = 3;
	f->s->gr[1] = '-';
	put(f, A, "abXXcdefgh");
	put(f, B, "abYYcdeZZZ");
	registers(f, A, 10, B, 10);
	assert_int_equal(execute_all(f, "b2570024"), 0);
	assert_int_equal(f->s->gr[2], A + 4);
	assert_int_equal(f->s->gr[3], 6);
	f->s->gr[0] = 4;
	registers(f, A, 10, B, 10);
	assert_int_equal(execute_all(f, "b2570024"), 2);
	assert_int_equal(f->s->gr[3], 0);
	registers(f, A, 7, B, 7);
	assert_int_equal(execute_all(f, "b2570024"), 1);
	assert_int_equal(f->s->gr[4], B + 4);
}

static void checksum_adds_words_with_end_around_carry(void **state)
{
	struct cpu_fixture *f = *state;
	uint64_t sum = 0;

	fill(f, A, 0x3000);
	f->s->gr[6] = 0xaaaaaaaa00000000;
	registers(f, 0, 0, A + 1, 0x2ffd);
	for (uint32_t i = 0; i < 0x2ffc; i += 4)
		sum += load_be32(f->memory + A + 1 + i);
	sum += (uint64_t)f->memory[A + 0x2ffd] << 24;
	while (sum >> 32)
		sum = (uint32_t)sum + (sum >> 32);
	assert_int_equal(execute_all(f, "b2410064"), 0);
	assert_int_equal(f->s->gr[6], 0xaaaaaaaa00000000 | sum);
	assert_int_equal(f->s->gr[4], A + 0x2ffe);
	assert_int_equal(f->s->gr[5], 0);
}

/* A segment table at 0x34000, a page table at 0x31000: the first megabyte as it is. */
static void translation_on(struct cpu_fixture *f)
{
	for (uint32_t i = 0; i < 2048; i++)
		store_be64(f->memory + 0x34000 + 8 * i, 0x20);
	store_be64(f->memory + 0x34000, 0x31000);
	for (uint32_t i = 0; i < 256; i++)
		store_be64(f->memory + 0x31000 + 8 * i, (uint64_t)i << 12);
	f->s->cr[1] = 0x34000 | 3;
	f->mask |= PSW_DAT;
}

static void move_page_can_tell_an_invalid_page_by_condition_code(void **state)
{
	struct cpu_fixture *f = *state;

	translation_on(f);
	fill(f, B, PAGE_SIZE);
	registers(f, A + 123, 0, B + 77, 0);
	assert_int_equal(execute(f, "b2540024"), 0);
	assert_memory_equal(f->memory + A, f->memory + B, PAGE_SIZE);
	assert_int_equal(f->s->gr[2], A + 123);

	store_be64(f->memory + 0x31000 + 8 * 0x40, 0x400);
	registers(f, 0x40000, 0, B, 0);
	assert_int_equal(interruption(f, "b2540024"), PGM_PAGE_TRANSLATION);
	f->s->gr[0] = 0x100;
	assert_int_equal(execute(f, "b2540024"), 1);
	registers(f, A, 0, 0x40000, 0);
	assert_int_equal(execute(f, "b2540024"), 2);
	registers(f, 0x40000, 0, 0x40000, 0);
	assert_int_equal(execute(f, "b2540024"), 2);
	registers(f, 0x100000, 0, B, 0);
	assert_int_equal(interruption(f, "b2540024"), PGM_SEGMENT_TRANSLATION);
	f->s->gr[0] = 0x1000;
	assert_int_equal(interruption(f, "b2540024"), PGM_SPECIFICATION);
	f->s->gr[0] = 0xc00;
	assert_int_equal(interruption(f, "b2540024"), PGM_SPECIFICATION);

	/* With a key of its own for the destination: storage has key 0. */
	registers(f, A, 0, B, 0);
	f->s->gr[0] = 0x800;
	assert_int_equal(execute(f, "b2540024"), 0);
	f->s->gr[0] = 0x810;
	assert_int_equal(interruption(f, "b2540024"), PGM_PROTECTION);
	f->s->gr[0] = 0x410;
	assert_int_equal(execute(f, "b2540024"), 0);
	f->mask |= PSW_PROBLEM;
	assert_int_equal(interruption(f, "b2540024"), PGM_PRIVILEGED);
	f->s->cr[3] = 0x40000000;
	assert_int_equal(execute(f, "b2540024"), 0);
	f->s->gr[0] = 0;
	assert_int_equal(execute(f, "b2540024"), 0); /* the PSW key is back */
}

static void characters_under_mask(void **state)
{
	struct cpu_fixture *f = *state;

	store_be32(f->memory + A, 0x81020304);
	f->s->gr[2] = A;
	f->s->gr[3] = 0x1111111155555555;
	assert_int_equal(execute(f, "bf352000"), 1);
	assert_int_equal(f->s->gr[3], 0x1111111155815502);
	assert_int_equal(execute(f, "eb3a20010080"), 2);
	assert_int_equal(f->s->gr[3], 0x0211031155815502);
	assert_int_equal(execute(f, "bf302000"), 0);
	assert_int_equal(execute(f, "bd352000"), 0);
	assert_int_equal(execute(f, "bd372000"), 2);
	execute(f, "be372008");
	assert_memory_equal(f->memory + A + 8, "\x81\x55\x02\0", 4);
	execute(f, "eb392010002c");
	assert_memory_equal(f->memory + A + 16, "\x02\x11\0", 3);
	/* Without a mask, inserting and comparing still touch a byte. */
	f->s->gr[2] = END;
	assert_int_equal(interruption(f, "bf302000"), PGM_ADDRESSING);
	assert_int_equal(interruption(f, "bd302000"), PGM_ADDRESSING);
}

static void translate_within_its_own_table(void **state)
{
	struct cpu_fixture *f = *state;

	for (uint32_t table = A + 0xf00; table <= A + 0xff0; table += 0xf0) {
		uint8_t expected[256];

		for (uint32_t i = 0; i < 256; i++)
			f->memory[table + i] = (uint8_t)(i * 5 + 1);
		memcpy(expected, f->memory + table, 256);
		for (int i = 0; i < 200; i++)
			expected[i] = expected[expected[i]];
		registers(f, table, 0, table, 0);
		execute(f, "dcc720004000");
		assert_memory_equal(f->memory + table, expected, 256);
	}
}

static void only_the_bytes_of_a_table_that_are_asked_for_are_accessed(void **state)
{
	struct cpu_fixture *f = *state;

	memset(f->memory + END - 128, 'T', 128);
	memset(f->memory + A, 127, 16);
	registers(f, A, 0, END - 128, 0);
	execute(f, "dc0720004000");
	assert_int_equal(f->memory[A + 7], 'T');
	f->memory[A + 15] = 128;
	memset(f->memory + A, 127, 8);
	assert_int_equal(interruption(f, "dc0f20004000"), PGM_ADDRESSING);
	assert_int_equal(f->memory[A], 127);
	assert_int_equal(execute(f, "dd0f20004000"), 1);
	assert_int_equal(f->s->gr[1], A);
}

static void translate_and_test_says_which_byte_and_what_for(void **state)
{
	struct cpu_fixture *f = *state;

	f->memory[B + ';'] = 9;
	put(f, A + 0xffe, "ab;cd");
	registers(f, ~0ull, 0, B, 0);
	f->s->gr[1] = ~0ull;
	f->s->gr[6] = A + 0xffe;
	assert_int_equal(execute(f, "dd0460004000"), 1);
	assert_int_equal(f->s->gr[1], A + 0x1000);
	assert_int_equal(f->s->gr[2], 0xffffffffffffff09);
	assert_int_equal(execute(f, "dd0260004000"), 2);
	assert_int_equal(execute(f, "dd0160004000"), 0);
	f->s->gr[6] += 4;
	assert_int_equal(execute(f, "d00460004000"), 1);
	assert_int_equal(execute(f, "d00260004000"), 2);
	assert_int_equal(f->s->gr[1], A + 0x1000);
	f->mask = 0;
	f->s->gr[1] = ~0ull;
	execute(f, "d00260004000");
	assert_int_equal(f->s->gr[1], 0xffffffffff000000 | (A + 0x1000));
}

static void translate_and_test_extended_knows_wide_arguments_and_functions(void **state)
{
	struct cpu_fixture *f = *state;

	f->s->gr[1] = B;
	put(f, A + 0xffd, "ab;cd");
	f->memory[B + ';'] = 9;
	registers(f, A + 0xffd, 5, ~0ull, 0);
	assert_int_equal(execute_all(f, "b9bf0024"), 1);
	assert_int_equal(f->s->gr[2], A + 0xfff);
	assert_int_equal(f->s->gr[3], 3);
	assert_int_equal(f->s->gr[4], 9);
	registers(f, A + 0xffd + 4, 5, ~0ull, 0);
	assert_int_equal(execute_all(f, "b9bd0024"), 1);
	assert_int_equal(f->s->gr[2], A + 0xfff);
	assert_int_equal(f->s->gr[3], 3);
	registers(f, A + 0xffd, 2, ~0ull, 0);
	assert_int_equal(execute_all(f, "b9bf0024"), 0);
	assert_int_equal(f->s->gr[4], 0);

	/* Two bytes each; then arguments above 255 are not looked up. */
	store_be16(f->memory + B + 2 * 0x1234, 0xabcd);
	put(f, A + 0xffd, "\1\1\x12\x34");
	registers(f, A + 0xffd, 4, ~0ull, 0);
	assert_int_equal(execute_all(f, "b9bfc024"), 1);
	assert_int_equal(f->s->gr[2], A + 0xfff);
	assert_int_equal(f->s->gr[4], 0xabcd);
	registers(f, A + 0xffd, 4, ~0ull, 0);
	assert_int_equal(execute_all(f, "b9bfe024"), 0);
	registers(f, A + 0xffd, 3, ~0ull, 0);
	assert_int_equal(interruption(f, "b9bfc024"), PGM_SPECIFICATION);
}

static void conversions_between_utf_8_16_and_32(void **state)
{
	static const char utf8[] = "aZ\xc3\xa4\xe2\x82\xac\xe0\xa4\x85\xf0\x9f\x98\x80";
	static const uint16_t utf16[] = { 'a', 'Z', 0xe4, 0x20ac, 0x905, 0xd83d, 0xde00 };
	static const uint32_t utf32[] = { 'a', 'Z', 0xe4, 0x20ac, 0x905, 0x1f600 };
	uint8_t wide[14], wider[24];
	struct cpu_fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(utf16); i++)
		store_be16(wide + 2 * i, utf16[i]);
	for (size_t i = 0; i < ARRAY_SIZE(utf32); i++)
		store_be32(wider + 4 * i, utf32[i]);
	/* Across a page boundary in every character. */
	for (uint32_t from = B + 0xff0; from < B + 0x1000; from++) {
		memcpy(f->memory + from, utf8, 14);
		registers(f, A + 0xff7, 100, from, 14);
		assert_int_equal(execute_all(f, "b2a71024"), 0);
		assert_memory_equal(f->memory + A + 0xff7, wide, 14);
		assert_int_equal(f->s->gr[3], 86);
		registers(f, A + 0xff7, 100, from, 14);
		assert_int_equal(execute_all(f, "b9b01024"), 0);
		assert_memory_equal(f->memory + A + 0xff7, wider, 24);

		memcpy(f->memory + from, wide, 14);
		registers(f, A + 0xff7, 14, from, 14);
		assert_int_equal(execute_all(f, "b2a61024"), 0);
		assert_memory_equal(f->memory + A + 0xff7, utf8, 14);
		registers(f, A + 0xff7, 23, from, 14);
		assert_int_equal(execute_all(f, "b9b11024"), 1);
		assert_int_equal(f->s->gr[5], 4);

		memcpy(f->memory + from, wider, 24);
		registers(f, A + 0xff7, 14, from, 24);
		assert_int_equal(execute_all(f, "b9b20024"), 0);
		assert_memory_equal(f->memory + A + 0xff7, utf8, 14);
		registers(f, A + 0xff7, 14, from, 24);
		assert_int_equal(execute_all(f, "b9b30024"), 0);
		assert_memory_equal(f->memory + A + 0xff7, wide, 14);
	}
}

static void malformed_characters_are_told_from_incomplete_ones(void **state)
{
	static const struct {
		const char *text;
		unsigned int loose, strict;
	} rows[] = {
		{ "\x80\x80\x80\x80", 2, 2 }, { "\xc3\x28\x41\x41", 0, 2 },
		{ "\xc0\x80\x41\x41", 0, 2 }, { "\xe0\x9f\xbf\x41", 0, 2 },
		{ "\xe0\xa0\x80\x41", 0, 0 }, { "\xed\xa0\x80\x41", 0, 2 },
		{ "\xf4\x90\x80\x80", 0, 2 }, { "\xf4\x8f\xbf\xbf", 0, 0 },
		{ "\xf8\x80\x80\x80", 2, 2 }, { "\x41\x41\x41\xc3", 0, 0 },
	};
	struct cpu_fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		memcpy(f->memory + B, rows[i].text, 4);
		registers(f, A, 100, B, 4);
		assert_int_equal(execute_all(f, "b2a70024"), rows[i].loose);
		registers(f, A, 100, B, 4);
		assert_int_equal(execute_all(f, "b2a71024"), rows[i].strict);
	}
	assert_int_equal(f->s->gr[5], 1); /* the last: one byte of a character is left */
	store_be32(f->memory + B, 0xd8000041);
	registers(f, A, 100, B, 4);
	assert_int_equal(execute_all(f, "b2a61024"), 2);
	store_be32(f->memory + B, 0x110000);
	registers(f, A, 100, B, 4);
	assert_int_equal(execute_all(f, "b9b20024"), 2);
	store_be32(f->memory + B, 0xd800);
	registers(f, A, 100, B, 4);
	assert_int_equal(execute_all(f, "b9b20024"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cpu_fixture_setup, cpu_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(move_copies_byte_by_byte_whatever_the_distance),
		TEST(logic_on_storage_sets_the_condition_code),
		TEST(moves_across_a_page_that_is_missing_change_nothing),
		TEST(load_multiple_disjoint_takes_halves_from_two_places),
		TEST(store_multiple_high_stores_the_left_halves),
		TEST(access_registers_want_a_word_boundary),
		TEST(move_long_pads_and_compares_lengths),
		TEST(move_long_refuses_destructive_overlap),
		TEST(move_long_stops_with_an_exception_where_the_registers_say),
		TEST(interrupted_long_instructions_go_on_where_they_were),
		TEST(compare_long_stops_at_the_first_difference),
		TEST(unicode_compare_and_move_work_on_pairs),
		TEST(addresses_wrap_and_keep_the_left_half_in_31_bit_mode),
		TEST(strings_end_with_the_character_in_register_0),
		TEST(a_string_ends_before_a_page_that_is_missing),
		TEST(compare_until_substring_equal_finds_the_run),
		TEST(checksum_adds_words_with_end_around_carry),
		TEST(move_page_can_tell_an_invalid_page_by_condition_code),
		TEST(characters_under_mask),
		TEST(translate_within_its_own_table),
		TEST(only_the_bytes_of_a_table_that_are_asked_for_are_accessed),
		TEST(translate_and_test_says_which_byte_and_what_for),
		TEST(translate_and_test_extended_knows_wide_arguments_and_functions),
		TEST(conversions_between_utf_8_16_and_32),
		TEST(malformed_characters_are_told_from_incomplete_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
