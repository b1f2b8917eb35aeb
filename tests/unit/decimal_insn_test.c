/* SPDX-License-Identifier: MIT */
/*
 * Decimal instructions: results, signs, overflow, and the exceptions, each of
 * which must find storage as it was. Random numbers are checked against binary
 * arithmetic and snprintf().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "cpu_fixture.h"

#define FIRST 0x10000u  /* address of the first operand, in register 1 */
#define SECOND 0x11000u /* and of the second, in register 2 */

static void put_hex(struct cpu_fixture *f, uint32_t at, const char *hex)
{
	for (; *hex; hex += 2) {
		char byte[3] = { hex[0], hex[1], 0 };

		f->memory[at++] = (uint8_t)strtoul(byte, NULL, 16);
	}
}

static void assert_hex(struct cpu_fixture *f, uint32_t at, const char *hex)
{
	char is[520];
	size_t size = strlen(hex) / 2;

	for (size_t i = 0; i < size; i++)
		snprintf(is + 2 * i, 3, "%02x", f->memory[at + i]);
	assert_string_equal(is, hex);
}

struct result {
	const char *insn; /* first halfword; operands are at 0(%r1) and 0(%r2) */
	const char *first, *second;
	unsigned int pgm, cc;
	const char *after;
};

/* Does each row's instruction do what the row says? cc 9: not looked at. */
static void check_rows(struct cpu_fixture *f, const struct result *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct result *r = &rows[i];
		char insn[16];
		unsigned int cc, pgm;

		snprintf(insn, sizeof(insn), "%s10002000", r->insn);
		put_hex(f, FIRST, r->first);
		put_hex(f, SECOND, r->second);
		f->s->gr[1] = FIRST;
		f->s->gr[2] = SECOND;
		pgm = cpu_execute(f, insn, &cc);
		if (pgm != r->pgm || (r->cc != 9 && cc != r->cc))
			print_error("%s %s,%s: interruption %u, condition code %u\n", r->insn,
				    r->first, r->second, pgm, cc);
		assert_int_equal(pgm, r->pgm);
		if (r->cc != 9)
			assert_int_equal(cc, r->cc);
		assert_hex(f, FIRST, r->after);
	}
}

static void add_and_subtract_give_the_sum_its_sign_and_condition_code(void **state)
{
	static const struct result rows[] = {
		{ "fa11", "123c", "001c", 0, 2, "124c" },
		{ "fa11", "123c", "124d", 0, 1, "001d" },
		{ "fa11", "123c", "123d", 0, 0, "000c" },
		{ "fb11", "123d", "123d", 0, 0, "000c" },
		{ "fa11", "000d", "000d", 0, 0, "000c" },
		{ "fa11", "123a", "001b", 0, 2, "122c" },
		{ "fa11", "123f", "001e", 0, 2, "124c" },
		{ "fb11", "001c", "123c", 0, 1, "122d" },
		{ "fa10", "123c", "7d", 0, 2, "116c" },
		{ "fa01", "9d", "012c", 0, 2, "3c" }, /* only the sum has to fit */
		{ "faff", "9999999999999999999999999999999c", "0000000000000000000000000000001d",
		  0, 2, "9999999999999999999999999999998c" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void overflow_truncates_and_keeps_the_sign_of_the_sum(void **state)
{
	static const struct result rows[] = {
		{ "fa11", "999c", "001c", 0, 3, "000c" },
		{ "fa11", "999d", "001d", 0, 3, "000d" },
		{ "fa01", "1c", "123c", 0, 3, "4c" },
		{ "f801", "0000", "123d", 0, 3, "3d00" },
		{ "faff", "9999999999999999999999999999999c", "0000000000000000000000000000001c",
		  0, 3, "0000000000000000000000000000000c" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void decimal_overflow_interrupts_when_the_program_mask_admits_it(void **state)
{
	static const struct result rows[] = {
		{ "fa11", "999c", "001c", PGM_DECIMAL_OVERFLOW, 3, "000c" },
	};
	struct cpu_fixture *f = *state;

	f->mask |= PSW_PGM_DECIMAL;
	check_rows(f, rows, ARRAY_SIZE(rows));
}

static void invalid_digits_and_signs_are_data_exceptions_that_change_nothing(void **state)
{
	static const struct result rows[] = {
		{ "fa11", "1a3c", "001c", PGM_DATA, 9, "1a3c" },
		{ "fa11", "1234", "001c", PGM_DATA, 9, "1234" },
		{ "fa11", "123c", "0010", PGM_DATA, 9, "123c" },
		{ "fb11", "123c", "b01c", PGM_DATA, 9, "123c" },
		{ "f811", "ffff", "0a1c", PGM_DATA, 9, "ffff" },
		{ "f911", "12ac", "001c", PGM_DATA, 9, "12ac" },
		{ "fc10", "12ac", "1c", PGM_DATA, 9, "12ac" },
		{ "fd10", "12ac", "1c", PGM_DATA, 9, "12ac" },
	};
	struct cpu_fixture *f = *state;

	f->s->fpc = 0x00001200;
	f->s->cr[0] |= CR0_AFP;
	check_rows(f, rows, ARRAY_SIZE(rows));
	assert_int_equal(f->s->fpc, 0); /* DXC 0 */
	assert_int_equal(f->memory[LC_DATA_EXC_CODE + 3], 0);
}

static void zero_and_add_looks_at_the_second_operand_only(void **state)
{
	static const struct result rows[] = {
		{ "f821", "ffffff", "123d", 0, 1, "00123d" },
		{ "f821", "abcdef", "000d", 0, 0, "00000c" },
		{ "f812", "ffff", "00456a", 0, 2, "456c" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void compare_takes_both_zeros_as_equal(void **state)
{
	static const struct result rows[] = {
		{ "f911", "000c", "000d", 0, 0, "000c" },
		{ "f912", "123c", "00123f", 0, 0, "123c" },
		{ "f911", "123d", "122d", 0, 1, "123d" },
		{ "f911", "001d", "001c", 0, 1, "001d" },
		{ "f911", "002c", "001c", 0, 2, "002c" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void multiply_wants_room_for_the_product(void **state)
{
	static const struct result rows[] = {
		{ "fc31", "0000012c", "012d", PGM_NONE, 9, "0000144d" },
		{ "fc31", "0000012c", "000d", PGM_NONE, 9, "0000000d" }, /* a negative zero */
		{ "fc31", "0001012c", "012d", PGM_DATA, 9, "0001012c" },
		{ "fc11", "001c", "001c", PGM_SPECIFICATION, 9, "001c" },
		{ "fcf8", "0000000000000000000000000000001c", "00000000000000001c",
		  PGM_SPECIFICATION, 9, "0000000000000000000000000000001c" },
		{ "fcf7", "0000000000000000999999999999999d", "999999999999999d", PGM_NONE, 9,
		  "0999999999999998000000000000001c" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void divide_puts_the_quotient_left_of_the_remainder(void **state)
{
	static const struct result rows[] = {
		{ "fd30", "0000123d", "7c", PGM_NONE, 9, "00017d4d" },
		{ "fd30", "0000000d", "7d", PGM_NONE, 9, "00000c0d" },
		{ "fd30", "0123456c", "0c", PGM_DECIMAL_DIVIDE, 9, "0123456c" },
		{ "fd30", "1000000c", "1c", PGM_DECIMAL_DIVIDE, 9, "1000000c" },
		{ "fd30", "0999999c", "9d", PGM_DECIMAL_DIVIDE, 9, "0999999c" },
		{ "fd30", "0899999c", "9d", PGM_NONE, 9, "99999d8c" },
		{ "fd11", "001c", "001c", PGM_SPECIFICATION, 9, "001c" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void shift_and_round_goes_both_ways(void **state)
{
	/* The shift is in the address of the second operand, the rounding digit in I3. */
	static const struct {
		const char *insn, *first;
		unsigned int pgm, cc;
		const char *after;
	} rows[] = {
		{ "f02510000002", "00123c", 0, 2, "12300c" },
		{ "f02510000003", "00123d", 0, 3, "23000d" },
		{ "f02510000005", "00123d", 0, 3, "00000d" },
		{ "f0251000003f", "00125c", 0, 2, "00013c" }, /* right by 1 */
		{ "f0201000003f", "00129c", 0, 2, "00012c" },
		{ "f0251000003e", "99950d", 0, 1, "01000d" }, /* right by 2 */
		{ "f02510000020", "99999d", 0, 0, "00000c" }, /* right by 32 */
		{ "f02510000000", "00000b", 0, 0, "00000c" },
		{ "f0251000001f", "00000d", 0, 0, "00000c" },
		{ "f02510000001", "00001a", 0, 2, "00010c" },
		{ "f02a10000001", "00001a", PGM_DATA, 9, "00001a" },
	};
	struct cpu_fixture *f = *state;
	unsigned int cc;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		f->s->gr[1] = FIRST;
		put_hex(f, FIRST, rows[i].first);
		assert_int_equal(cpu_execute(f, rows[i].insn, &cc), rows[i].pgm);
		if (rows[i].cc != 9)
			assert_int_equal(cc, rows[i].cc);
		assert_hex(f, FIRST, rows[i].after);
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1dull;
}

/* v as a packed number of `size` bytes. */
static void put_number(struct cpu_fixture *f, uint32_t at, long long v, size_t size)
{
	char hex[40];

	snprintf(hex, sizeof(hex), "%0*lld%c", (int)(2 * size - 1), v < 0 ? -v : v,
		 v < 0 ? 'd' : 'c');
	put_hex(f, at, hex);
}

static void arithmetic_agrees_with_binary_arithmetic(void **state)
{
	struct cpu_fixture *f = *state;
	uint64_t seed = 20240229;
	char expected[40];
	unsigned int cc;

	for (int i = 0; i < 3000; i++) {
		long long a = (long long)(next_random(&seed) >> (next_random(&seed) % 24 + 15));
		long long b = (long long)(next_random(&seed) >> (next_random(&seed) % 24 + 40));

		a = next_random(&seed) & 1 ? -a : a;
		b = next_random(&seed) & 1 ? -b : b;
		f->s->gr[1] = FIRST;
		f->s->gr[2] = SECOND;

		put_number(f, FIRST, a, 12);
		put_number(f, SECOND, b, 5);
		assert_int_equal(cpu_execute(f, "fab410002000", &cc), 0);
		put_number(f, SECOND + 0x100, a + b, 12);
		assert_memory_equal(f->memory + FIRST, f->memory + SECOND + 0x100, 12);
		assert_int_equal(cc, a + b == 0 ? 0 : a + b < 0 ? 1 : 2);

		put_number(f, FIRST, a, 12);
		assert_int_equal(cpu_execute(f, "fbb410002000", &cc), 0);
		put_number(f, SECOND + 0x100, a - b, 12);
		assert_memory_equal(f->memory + FIRST, f->memory + SECOND + 0x100, 12);

		put_number(f, FIRST, a, 16);
		assert_int_equal(cpu_execute(f, "f9f410002000", &cc), 0);
		assert_int_equal(cc, a == b ? 0 : a < b ? 1 : 2);

		put_number(f, FIRST, a / 1000000, 12);
		assert_int_equal(cpu_execute(f, "fcb410002000", &cc), 0);
		put_number(f, SECOND + 0x100, a / 1000000 * b, 12);
		assert_memory_equal(f->memory + FIRST, f->memory + SECOND + 0x100, 11);

		if (!b)
			continue;
		put_number(f, FIRST, a, 16);
		assert_int_equal(cpu_execute(f, "fdf410002000", &cc), 0);
		snprintf(expected, sizeof(expected), "%021lld%c%09lld%c", llabs(a / b),
			 (a < 0) != (b < 0) ? 'd' : 'c', llabs(a % b), a < 0 ? 'd' : 'c');
		assert_hex(f, FIRST, expected);
	}
}

static void convert_to_binary_checks_digits_and_range(void **state)
{
	static const struct {
		const char *insn, *number;
		unsigned int pgm;
		uint64_t after;
	} rows[] = {
		{ "4f302000", "000002147483647c", 0, 0xaaaaaaaa7fffffff },
		{ "4f302000", "000002147483648d", 0, 0xaaaaaaaa80000000 },
		{ "4f302000", "000002147483648c", PGM_FIXED_DIVIDE, 0xaaaaaaaa80000000 },
		{ "4f302000", "000004294967297c", PGM_FIXED_DIVIDE, 0xaaaaaaaa00000001 },
		{ "4f302000", "000000000000000d", 0, 0xaaaaaaaa00000000 },
		{ "4f302000", "00000000000000ac", PGM_DATA, 0xaaaaaaaaaaaaaaaa },
		{ "e33020000006", "000000000000123b", 0, 0xaaaaaaaaffffff85 },
		{ "e3302000000e", "0000000000009223372036854775807c", 0, 0x7fffffffffffffff },
		{ "e3302000000e", "0000000000009223372036854775808d", 0, 0x8000000000000000 },
		{ "e3302000000e", "0000000000009223372036854775808c", PGM_FIXED_DIVIDE,
		  0xaaaaaaaaaaaaaaaa },
		{ "e3302000000e", "9999999999999999999999999999999d", PGM_FIXED_DIVIDE,
		  0xaaaaaaaaaaaaaaaa },
		{ "e3302000000e", "00000000000092233720368547758081", PGM_DATA,
		  0xaaaaaaaaaaaaaaaa },
	};
	struct cpu_fixture *f = *state;
	unsigned int cc;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		f->s->gr[2] = SECOND;
		f->s->gr[3] = 0xaaaaaaaaaaaaaaaa;
		put_hex(f, SECOND, rows[i].number);
		assert_int_equal(cpu_execute(f, rows[i].insn, &cc), rows[i].pgm);
		assert_int_equal(f->s->gr[3], rows[i].after);
	}
}

static void convert_to_decimal_and_back(void **state)
{
	struct cpu_fixture *f = *state;
	uint64_t seed = 4711;
	char expected[40];
	unsigned int cc;

	for (int i = 0; i < 1000; i++) {
		int64_t v = (int64_t)next_random(&seed) >> (next_random(&seed) % 64);

		f->s->gr[2] = SECOND;
		f->s->gr[3] = (uint64_t)v;
		assert_int_equal(cpu_execute(f, "e3302000002e", &cc), 0);
		snprintf(expected, sizeof(expected), "%031llu%c",
			 v < 0 ? -(unsigned long long)v : (unsigned long long)v,
			 v < 0 ? 'd' : 'c');
		assert_hex(f, SECOND, expected);
		f->s->gr[3] = 0;
		assert_int_equal(cpu_execute(f, "e3302000000e", &cc), 0);
		assert_int_equal(f->s->gr[3], v);

		assert_int_equal(cpu_execute(f, "4e302000", &cc), 0);
		snprintf(expected, sizeof(expected), "%015lld%c", llabs((int32_t)v),
			 (int32_t)v < 0 ? 'd' : 'c');
		assert_hex(f, SECOND, expected);
	}
}

static void pack_unpack_and_move_with_offset(void **state)
{
	static const struct result rows[] = {
		{ "f223", "ffffff", "f1f2f3c4", 0, 9, "01234c" },
		{ "f213", "ffff", "f1f2f3c4", 0, 9, "234c" },
		{ "f331", "ffffffff", "123c", 0, 9, "f0f1f2c3" },
		{ "f312", "ffff", "00123d", 0, 9, "f2d3" },
		{ "f121", "fffffc", "1234", 0, 9, "01234c" },
		{ "f112", "fffc", "123456", 0, 9, "456c" },
		{ "e902", "ffffffffffffffffffffffffffffffff", "313233", 0, 9,
		  "0000000000000000000000000000123c" },
		{ "e91f", "ffffffffffffffffffffffffffffffff",
		  "3930303030303030303030303030303030303030303030303030303030303038", 0, 9,
		  "0000000000000000000000000000008c" },
		{ "e920", "ff", "00", PGM_SPECIFICATION, 9, "ff" },
		{ "e105", "ffffffffffffffffffffffffffffffff", "003100320033", 0, 9,
		  "0000000000000000000000000000123c" },
		{ "e104", "ff", "00", PGM_SPECIFICATION, 9, "ff" },
		{ "e141", "ff", "00", PGM_SPECIFICATION, 9, "ff" },
		{ "ea03", "ffffffff", "0000000000000000000000000000123c", 0, 0, "30313233" },
		{ "ea01", "ffff", "0000000000000000000000000000123d", 0, 1, "3233" },
		{ "ea01", "ffff", "00000000000000000000000000001230", 0, 3, "3233" },
		{ "ea20", "ffff", "0000000000000000000000000000123d", PGM_SPECIFICATION, 9,
		  "ffff" },
		{ "e203", "ffffffff", "0000000000000000000000000000123b", 0, 1, "00320033" },
		{ "e202", "ffff", "00", PGM_SPECIFICATION, 9, "ffff" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void unpack_onto_itself_fetches_each_byte_once(void **state)
{
	struct cpu_fixture *f = *state;
	unsigned int cc;

	put_hex(f, FIRST, "12345c0000");
	f->s->gr[1] = FIRST;
	f->s->gr[2] = FIRST;
	/* 5 bytes out of 3: right by as many bytes as the packed field has, less two, is 1. */
	assert_int_equal(cpu_execute(f, "f34210002000", &cc), 0);
	assert_hex(f, FIRST, "f1f2f3f4c5");
}

static void test_decimal_tells_digits_from_sign(void **state)
{
	static const struct {
		const char *number;
		unsigned int cc;
	} rows[] = {
		{ "123c", 0 }, { "1234", 1 }, { "1a3c", 2 }, { "1a34", 3 }, { "a23f", 2 },
	};
	struct cpu_fixture *f = *state;
	unsigned int cc;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		put_hex(f, FIRST, rows[i].number);
		f->s->gr[1] = FIRST;
		assert_int_equal(cpu_execute(f, "eb10100000c0", &cc), 0);
		assert_int_equal(cc, rows[i].cc);
	}
}

/* The examples of appendix A of the Principles of Operation, and their edges. */
static void edit_fills_a_pattern(void **state)
{
	static const struct result rows[] = {
		{ "de0c", "4020206b2020214b202040c3d9", "0257426c", 0, 2,
		  "4040f26bf5f7f44bf2f6404040" },
		{ "de0c", "4020206b2020214b202040c3d9", "0000026d", 0, 1,
		  "404040404040404bf2f640c3d9" },
		{ "de0c", "4020206b2020214b202040c3d9", "0000000c", 0, 0,
		  "404040404040404bf0f0404040" },
		{ "de06", "40202022212020", "120c456d", 0, 1, "40f1f24040f4f5" },
		{ "de02", "402020", "a23c", PGM_DATA, 9, "402020" },
	};

	check_rows(*state, rows, ARRAY_SIZE(rows));
}

static void edit_and_mark_gives_the_address_of_the_first_digit(void **state)
{
	struct cpu_fixture *f = *state;
	unsigned int cc;

	f->s->gr[1] = ~0ull;
	f->s->gr[3] = FIRST;
	f->s->gr[4] = SECOND;
	put_hex(f, FIRST, "4020206b2020214b202040c3d9");
	put_hex(f, SECOND, "0257426c");
	assert_int_equal(cpu_execute(f, "df0c30004000", &cc), 0);
	assert_int_equal(f->s->gr[1], FIRST + 2);
	assert_int_equal(cc, 2);

	/* Forced by the significance starter: the register stays. */
	f->s->gr[1] = ~0ull;
	put_hex(f, FIRST, "4020206b2020214b202040c3d9");
	put_hex(f, SECOND, "0000026d");
	assert_int_equal(cpu_execute(f, "df0c30004000", &cc), 0);
	assert_int_equal(f->s->gr[1], ~0ull);
}

static void an_operand_that_ends_outside_memory_changes_nothing(void **state)
{
	static const char *const insns[] = {
		"fa7710002000", "fb7710002000", "f87710002000", "fc7310002000", "fd7310002000",
		"f07510000001", "f17710002000", "f27710002000", "f37710002000", "e90710002000",
		"ea0710002000", "e10710002000", "e20710002000", "de0710002000",
	};
	struct cpu_fixture *f = *state;
	uint8_t before[8];
	unsigned int cc;

	for (size_t i = 0; i < ARRAY_SIZE(insns); i++) {
		f->s->gr[1] = CPU_MEMORY - 7;
		f->s->gr[2] = SECOND;
		put_hex(f, CPU_MEMORY - 8, "0000000000012300");
		put_hex(f, SECOND, "0000000000001c1c");
		memcpy(before, f->memory + CPU_MEMORY - 8, 8);
		assert_int_equal(cpu_execute(f, insns[i], &cc), PGM_ADDRESSING);
		assert_memory_equal(f->memory + CPU_MEMORY - 8, before, 8);

		f->s->gr[1] = FIRST;
		f->s->gr[2] = CPU_MEMORY - 2;
		if (!strncmp(insns[i], "f0", 2) || !strncmp(insns[i], "de", 2))
			continue;
		put_hex(f, FIRST, "000000000000123c");
		assert_int_equal(cpu_execute(f, insns[i], &cc), PGM_ADDRESSING);
		assert_hex(f, FIRST, "000000000000123c");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cpu_fixture_setup, cpu_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(add_and_subtract_give_the_sum_its_sign_and_condition_code),
		TEST(overflow_truncates_and_keeps_the_sign_of_the_sum),
		TEST(decimal_overflow_interrupts_when_the_program_mask_admits_it),
		TEST(invalid_digits_and_signs_are_data_exceptions_that_change_nothing),
		TEST(zero_and_add_looks_at_the_second_operand_only),
		TEST(compare_takes_both_zeros_as_equal),
		TEST(multiply_wants_room_for_the_product),
		TEST(divide_puts_the_quotient_left_of_the_remainder),
		TEST(shift_and_round_goes_both_ways),
		TEST(arithmetic_agrees_with_binary_arithmetic),
		TEST(convert_to_binary_checks_digits_and_range),
		TEST(convert_to_decimal_and_back),
		TEST(pack_unpack_and_move_with_offset),
		TEST(unpack_onto_itself_fetches_each_byte_once),
		TEST(test_decimal_tells_digits_from_sign),
		TEST(edit_fills_a_pattern),
		TEST(edit_and_mark_gives_the_address_of_the_first_digit),
		TEST(an_operand_that_ends_outside_memory_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
