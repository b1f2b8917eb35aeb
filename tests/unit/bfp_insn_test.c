/* SPDX-License-Identifier: MIT */
/*
 * The floating-point instructions on a vCPU: what is stored, what becomes of the
 * FPC register and the condition code, and which interruption is taken. The
 * numbers themselves are the business of bfp_test.c.
 *
 * Each case executes one instruction. Behind it lies one that is invalid, so
 * that an operation exception means that it completed without any.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu/arch.h"
#include "cpu/vcpu.h"

#define MEMORY MIB
#define CODE 0x2000
#define DATA 0x3000
#define COMPLETED PGM_OPERATION

#define ONE 0x3ff0000000000000
#define TWO 0x4000000000000000
#define THREE 0x4008000000000000
#define LARGEST 0x7fefffffffffffff
#define INFINITY_D 0x7ff0000000000000
#define SNAN 0x7ff0000000000001
#define QNAN 0x7ff8000000000000
#define SIGN (1ull << 63)

struct cpu {
	uint8_t *memory;
	struct cpu_complex *complex;
	struct vcpu *vcpu;
	struct cpu_state *s;
	uint64_t next;    /* address behind the instruction */
	uint64_t address; /* in the old PSW */
	uint16_t code;    /* of the program interruption */
	uint8_t dxc;
	uint8_t cc;
};

static uint32_t rre(uint16_t opcode, unsigned int r1, unsigned int r2)
{
	return (uint32_t)opcode << 16 | r1 << 4 | r2;
}

static uint32_t rrf(uint16_t opcode, unsigned int m3, unsigned int m4, unsigned int r1,
		    unsigned int r2)
{
	return rre(opcode, r1, r2) | m3 << 12 | m4 << 8;
}

static void run(struct cpu *cpu, const uint8_t *insn, size_t length)
{
	memcpy(cpu->memory + CODE, insn, length);
	memset(cpu->memory + CODE + length, 0, 2);
	cpu_complex_memory_written(cpu->complex, CODE, length + 2);
	store_be64(cpu->memory + LC_PGM_NEW_PSW, PSW_WAIT | PSW_EA | PSW_BA);
	store_be64(cpu->memory + LC_PGM_NEW_PSW + 8, 0);
	memset(cpu->memory + LC_DATA_EXC_CODE, 0, 4);
	/* A condition code that is there to be left alone or changed. */
	cpu->s->psw_mask = PSW_EA | PSW_BA | 1ull << PSW_CC_SHIFT;
	cpu->s->psw_addr = CODE;
	vcpu_start(cpu->vcpu);
	assert_int_equal(vcpu_run(cpu->vcpu), VCPU_EXIT_DISABLED_WAIT);
	cpu->code = load_be16(cpu->memory + LC_PGM_CODE);
	cpu->dxc = (uint8_t)load_be32(cpu->memory + LC_DATA_EXC_CODE);
	cpu->cc = load_be64(cpu->memory + LC_PGM_OLD_PSW) >> PSW_CC_SHIFT & 3;
	cpu->next = CODE + length;
	cpu->address = load_be64(cpu->memory + LC_PGM_OLD_PSW + 8);
}

static void run4(struct cpu *cpu, uint32_t insn)
{
	uint8_t bytes[4];

	store_be32(bytes, insn);
	run(cpu, bytes, sizeof(bytes));
}

/* Second operand at DATA, which general register 1 points to. */
static void run6(struct cpu *cpu, uint16_t opcode, unsigned int r1, unsigned int r3)
{
	uint8_t bytes[6] = { (uint8_t)(opcode >> 8), 0, 0x10, 0, 0, (uint8_t)opcode };

	bytes[1] = (uint8_t)((r3 ? r3 : r1) << 4);
	bytes[4] = (uint8_t)(r3 ? r1 << 4 : 0);
	cpu->s->gr[1] = DATA;
	run(cpu, bytes, sizeof(bytes));
}

static void expect(const struct cpu *cpu, uint16_t code, uint8_t dxc, uint32_t fpc, unsigned int cc)
{
	/* Suppressed or completed, the old PSW points behind. */
	assert_int_equal(cpu->address, cpu->next + (code == COMPLETED ? 2 : 0));
	assert_int_equal(cpu->code, code);
	assert_int_equal(cpu->dxc, dxc);
	assert_int_equal(cpu->s->fpc, fpc);
	assert_int_equal(cpu->cc, cc);
}

static void set(struct cpu *cpu, uint32_t fpc, uint64_t f0, uint64_t f2)
{
	cpu->s->fpc = fpc;
	cpu->s->fpr[0] = f0;
	cpu->s->fpr[2] = f2;
}

static void an_exact_result_sets_no_flag(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, ONE, TWO);
	run4(cpu, rre(0xb31a, 0, 2)); /* adbr */
	expect(cpu, COMPLETED, 0, 0, 2);
	assert_int_equal(cpu->s->fpr[0], THREE);
	run4(cpu, rre(0xb31b, 0, 0)); /* sdbr: nothing is left */
	expect(cpu, COMPLETED, 0, 0, 0);
	assert_int_equal(cpu->s->fpr[0], 0);
}

static void an_inexact_result_sets_its_flag(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, ONE, THREE);
	run4(cpu, rre(0xb31d, 0, 2)); /* ddbr */
	expect(cpu, COMPLETED, 0, 0x00080000, 1);
	assert_int_equal(cpu->s->fpr[0], 0x3fd5555555555555);
	set(cpu, 0, ONE, 0x3c00000000000000);
	run4(cpu, rre(0xb31a, 0, 2)); /* adbr */
	expect(cpu, COMPLETED, 0, 0x00080000, 2);
	assert_int_equal(cpu->s->fpr[0], ONE);
	set(cpu, 0, ONE | 1, ONE | 1);
	run4(cpu, rre(0xb31c, 0, 2)); /* mdbr */
	expect(cpu, COMPLETED, 0, 0x00080000, 1);
	set(cpu, 0, ONE, TWO);
	run4(cpu, rre(0xb315, 0, 2)); /* sqdbr */
	expect(cpu, COMPLETED, 0, 0x00080000, 1);
	assert_int_equal(cpu->s->fpr[0], 0x3ff6a09e667f3bcd);
}

static void the_rounding_mode_of_the_fpc_is_in_force(void **state)
{
	static const uint64_t third[8] = {
		0x3fd5555555555555, 0x3fd5555555555555, 0x3fd5555555555556, 0x3fd5555555555555,
		0, 0, 0, 0x3fd5555555555555,
	};
	struct cpu *cpu = *state;

	for (uint32_t mode = 0; mode < 8; mode++) {
		if (mode >= 4 && mode < 7)
			continue;
		set(cpu, mode, ONE, THREE);
		run4(cpu, rre(0xb31d, 0, 2));
		expect(cpu, COMPLETED, 0, 0x00080000 | mode, 1);
		assert_int_equal(cpu->s->fpr[0], third[mode]);
	}
}

static void an_inexact_result_that_traps_is_stored_first(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0x08000000, ONE, 0x3c00000000000000);
	run4(cpu, rre(0xb31b, 0, 2)); /* sdbr: truncated would be less than 1 */
	expect(cpu, PGM_DATA, 0x0c, 0x08000c00, 2);
	assert_int_equal(cpu->s->fpr[0], ONE);
	set(cpu, 0x08000000, ONE, 0x3c00000000000000);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, PGM_DATA, 0x08, 0x08000800, 2);
	assert_int_equal(cpu->s->fpr[0], ONE);
	/* Not with an exact one. */
	set(cpu, 0x08000000, ONE, TWO);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, COMPLETED, 0, 0x08000000, 2);
}

static void an_invalid_operation_that_traps_changes_nothing(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0x80000000, INFINITY_D, INFINITY_D | SIGN);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, PGM_DATA, 0x80, 0x80008000, 1);
	assert_int_equal(cpu->s->fpr[0], INFINITY_D);
	set(cpu, 0, INFINITY_D, INFINITY_D | SIGN);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, COMPLETED, 0, 0x00800000, 3);
	assert_int_equal(cpu->s->fpr[0], QNAN);
	/* Load and test makes a signalling NaN quiet, load complement does not. */
	set(cpu, 0x80000000, 5, SNAN);
	run4(cpu, rre(0xb312, 0, 2));
	expect(cpu, PGM_DATA, 0x80, 0x80008000, 1);
	assert_int_equal(cpu->s->fpr[0], 5);
	set(cpu, 0, 5, SNAN);
	run4(cpu, rre(0xb312, 0, 2));
	expect(cpu, COMPLETED, 0, 0x00800000, 3);
	assert_int_equal(cpu->s->fpr[0], QNAN | 1);
	set(cpu, 0x80000000, 5, SNAN);
	run4(cpu, rre(0xb313, 0, 2));
	expect(cpu, COMPLETED, 0, 0x80000000, 3);
	assert_int_equal(cpu->s->fpr[0], SNAN | SIGN);
}

static void a_division_by_zero_that_traps_changes_nothing(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0x40000000, ONE, SIGN);
	run4(cpu, rre(0xb31d, 0, 2));
	expect(cpu, PGM_DATA, 0x40, 0x40004000, 1);
	assert_int_equal(cpu->s->fpr[0], ONE);
	set(cpu, 0, ONE, SIGN);
	run4(cpu, rre(0xb31d, 0, 2));
	expect(cpu, COMPLETED, 0, 0x00400000, 1);
	assert_int_equal(cpu->s->fpr[0], INFINITY_D | SIGN);
}

static void an_overflow_traps_with_the_scaled_result(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0x28000000, LARGEST, LARGEST);
	run4(cpu, rre(0xb31a, 0, 2)); /* twice the largest: exact but for its exponent */
	expect(cpu, PGM_DATA, 0x20, 0x28002000, 2);
	assert_int_equal(cpu->s->fpr[0], 0x1fffffffffffffff);
	set(cpu, 0, LARGEST, LARGEST);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, COMPLETED, 0, 0x00280000, 2);
	assert_int_equal(cpu->s->fpr[0], INFINITY_D);
	/* The overflow does not trap, the inexact result does. */
	set(cpu, 0x08000000, LARGEST, LARGEST);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, PGM_DATA, 0x0c, 0x08200c00, 2);
	assert_int_equal(cpu->s->fpr[0], INFINITY_D);
	set(cpu, 0x08000001, LARGEST, LARGEST);
	run4(cpu, rre(0xb31a, 0, 2));
	expect(cpu, PGM_DATA, 0x08, 0x08200801, 2);
	assert_int_equal(cpu->s->fpr[0], LARGEST);
}

static void an_underflow_is_one_when_it_traps_or_is_inexact(void **state)
{
	struct cpu *cpu = *state;

	/* Half of the smallest normal number is subnormal and exact. */
	set(cpu, 0, 0x0010000000000000, TWO);
	run4(cpu, rre(0xb31d, 0, 2));
	expect(cpu, COMPLETED, 0, 0, 1);
	assert_int_equal(cpu->s->fpr[0], 0x0008000000000000);
	set(cpu, 0x10000000, 0x0010000000000000, TWO);
	run4(cpu, rre(0xb31d, 0, 2));
	expect(cpu, PGM_DATA, 0x10, 0x10001000, 1);
	assert_int_equal(cpu->s->fpr[0], 0x6000000000000000);
	set(cpu, 0, 1, TWO);
	run4(cpu, rre(0xb31d, 0, 2));
	expect(cpu, COMPLETED, 0, 0x00180000, 1);
	assert_int_equal(cpu->s->fpr[0], 0);
}

static void a_load_rounded_that_traps_leaves_a_long_number(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0x20000000, 0, 0x47f0000000000000); /* 2^128 */
	run4(cpu, rrf(0xb344, 0, 0, 0, 2));
	expect(cpu, PGM_DATA, 0x20, 0x20002000, 1);
	assert_int_equal(cpu->s->fpr[0], 0x27f0000000000000);
	set(cpu, 0, 0x1111111122222222, 0x47f0000000000000);
	run4(cpu, rrf(0xb344, 0, 0, 0, 2));
	expect(cpu, COMPLETED, 0, 0x00280000, 1);
	assert_int_equal(cpu->s->fpr[0], 0x7f80000022222222);
}

static void modifiers_choose_the_rounding_and_suppress_inexact(void **state)
{
	struct cpu *cpu = *state;

	for (unsigned int m3 = 0; m3 < 16; m3++) {
		static const uint64_t rounded[8] = { TWO, THREE, 0, THREE, TWO, TWO, THREE, TWO };

		set(cpu, 0, 0, 0x4004000000000000); /* 2.5 */
		run4(cpu, rrf(0xb35f, m3, m3 & 1 ? 4 : 8, 0, 2)); /* fidbra */
		if (m3 == 2 || m3 > 7) {
			expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
			continue;
		}
		expect(cpu, COMPLETED, 0, m3 & 1 ? 0 : 0x00080000, 1);
		assert_int_equal(cpu->s->fpr[0], rounded[m3]);
	}
}

static void a_conversion_out_of_range_is_invalid_and_inexact(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, 0, LARGEST);
	cpu->s->gr[3] = 0;
	run4(cpu, rrf(0xb3a9, 5, 0, 3, 2)); /* cgdbr */
	expect(cpu, COMPLETED, 0, 0x00880000, 3);
	assert_int_equal(cpu->s->gr[3], INT64_MAX);
	set(cpu, 0, 0, QNAN);
	run4(cpu, rrf(0xb3a9, 5, 4, 3, 2));
	expect(cpu, COMPLETED, 0, 0x00800000, 3);
	assert_int_equal(cpu->s->gr[3], 1ull << 63);
	set(cpu, 0x80000000, 0, QNAN);
	cpu->s->gr[3] = 99;
	run4(cpu, rrf(0xb3ad, 5, 0, 3, 2)); /* clgdbr */
	expect(cpu, PGM_DATA, 0x80, 0x80008000, 1);
	assert_int_equal(cpu->s->gr[3], 99);
	/* A result of 32 bits leaves the left half. */
	set(cpu, 0, 0, 0xc004000000000000); /* -2.5 */
	cpu->s->gr[3] = 0x1234567800000000;
	run4(cpu, rrf(0xb399, 5, 0, 3, 2)); /* cfdbr */
	expect(cpu, COMPLETED, 0, 0x00080000, 1);
	assert_int_equal(cpu->s->gr[3], 0x12345678fffffffe);
	/* What rounds to zero has no sign, but a condition code. */
	set(cpu, 0, 0, 0xbfe0000000000000); /* -0.5 */
	run4(cpu, rrf(0xb3ad, 5, 0, 3, 2));
	expect(cpu, COMPLETED, 0, 0x00080000, 1);
	assert_int_equal(cpu->s->gr[3], 0);
}

static void integers_convert_whatever_their_sign(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, 0, 0);
	cpu->s->gr[3] = 0xffffffff80000000;
	run4(cpu, rrf(0xb395, 0, 0, 0, 3)); /* cdfbr */
	assert_int_equal(cpu->s->fpr[0], 0xc1e0000000000000);
	run4(cpu, rrf(0xb391, 0, 0, 0, 3)); /* cdlfbr */
	assert_int_equal(cpu->s->fpr[0], 0x41e0000000000000);
	run4(cpu, rrf(0xb3a5, 0, 0, 0, 3)); /* cdgbr */
	assert_int_equal(cpu->s->fpr[0], 0xc1e0000000000000);
	expect(cpu, COMPLETED, 0, 0, 1);
	run4(cpu, rrf(0xb3a1, 0, 0, 0, 3)); /* cdlgbr: 33 ones */
	assert_int_equal(cpu->s->fpr[0], 0x43effffffff00000);
	expect(cpu, COMPLETED, 0, 0, 1);
	cpu->s->gr[3] = UINT64_MAX;
	run4(cpu, rrf(0xb3a1, 5, 0, 0, 3)); /* toward zero */
	assert_int_equal(cpu->s->fpr[0], 0x43efffffffffffff);
	expect(cpu, COMPLETED, 0, 0x00080000, 1);
	run4(cpu, rrf(0xb3a6, 0, 0, 0, 3)); /* cxgbr: -1 */
	assert_int_equal(cpu->s->fpr[0], 0xbfff000000000000);
	assert_int_equal(cpu->s->fpr[2], 0);
}

static void a_short_result_leaves_the_right_half_of_its_register(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, 0x3f80000011111111, 0x4000000022222222);
	run4(cpu, rre(0xb30a, 0, 2)); /* aebr */
	expect(cpu, COMPLETED, 0, 0, 2);
	assert_int_equal(cpu->s->fpr[0], 0x4040000011111111);
	store_be32(cpu->memory + DATA, 0x40000000);
	run6(cpu, 0xed17, 0, 0); /* meeb */
	assert_int_equal(cpu->s->fpr[0], 0x40c0000011111111);
	run6(cpu, 0xed0c, 0, 0); /* mdeb has a long one */
	assert_int_equal(cpu->s->fpr[0], 0x4028000000000000);
}

static void an_extended_result_fills_a_pair_of_registers(void **state)
{
	struct cpu *cpu = *state;

	cpu->s->fpc = 0;
	cpu->s->fpr[0] = cpu->s->fpr[1] = 0x3fff000000000000;
	cpu->s->fpr[2] = 0;
	cpu->s->fpr[3] = 1;
	run4(cpu, rre(0xb34a, 0, 1)); /* axbr: half a unit in the last place is even */
	expect(cpu, COMPLETED, 0, 0x00080000, 2);
	assert_int_equal(cpu->s->fpr[0], 0x4000000000000000);
	assert_int_equal(cpu->s->fpr[2], 0);
	store_be64(cpu->memory + DATA, THREE);
	run6(cpu, 0xed05, 5, 0); /* lxdb */
	assert_int_equal(cpu->s->fpr[5], 0x4000800000000000);
	assert_int_equal(cpu->s->fpr[7], 0);
	run4(cpu, rrf(0xb345, 0, 0, 0, 5)); /* ldxbr */
	assert_int_equal(cpu->s->fpr[0], THREE);
}

static void registers_that_are_no_pair_are_a_specification_exception(void **state)
{
	static const uint16_t both[] = {
		0xb34a, 0xb34b, 0xb34c, 0xb34d, 0xb349, 0xb348, 0xb316, 0xb342, 0xb343, 0xb365,
		0xb345, 0xb346, 0xb347,
	};
	struct cpu *cpu = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(both); i++) {
		set(cpu, 0, 0, 0);
		run4(cpu, rre(both[i], 0, 2));
		expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
		run4(cpu, rre(both[i], 15, 4));
		expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	}
	run4(cpu, rre(0xb305, 6, 4)); /* lxdbr */
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	run4(cpu, rrf(0xb3a6, 0, 0, 2, 0)); /* cxgbr */
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	run4(cpu, rrf(0xb3aa, 0, 0, 0, 2)); /* cgxbr */
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	run6(cpu, 0xed12, 3, 0); /* tcxb */
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	run4(cpu, rrf(0xb35b, 1, 0, 1, 2)); /* didbr: a register twice */
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	run4(cpu, rrf(0xb35b, 2, 0, 1, 2));
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
	run4(cpu, rrf(0xb35b, 3, 0, 1, 1));
	expect(cpu, PGM_SPECIFICATION, 0, 0, 1);
}

static void a_multiply_and_add_adds_the_first_operand(void **state)
{
	struct cpu *cpu = *state;
	const uint32_t madbr = 0xb31e0000, msdbr = 0xb31f0000;

	set(cpu, 0, ONE, TWO);
	cpu->s->fpr[4] = THREE;
	run4(cpu, madbr | 0 << 12 | 2 << 4 | 4);
	assert_int_equal(cpu->s->fpr[0], 0x401c000000000000); /* 7 */
	run4(cpu, msdbr | 0 << 12 | 2 << 4 | 4);
	assert_int_equal(cpu->s->fpr[0], 0xbff0000000000000);
	store_be64(cpu->memory + DATA, TWO);
	run6(cpu, 0xed1e, 4, 2); /* madb: 3 + 2 * 2 */
	assert_int_equal(cpu->s->fpr[4], 0x401c000000000000);
	expect(cpu, COMPLETED, 0, 0, 1);
	/* The third operand's NaN comes first, then the second's. */
	set(cpu, 0, QNAN | 1, QNAN | 2);
	cpu->s->fpr[4] = QNAN | 3;
	run4(cpu, madbr | 0 << 12 | 2 << 4 | 4);
	assert_int_equal(cpu->s->fpr[0], QNAN | 2);
}

static void a_division_to_integer_gives_both_results(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, 0x401e000000000000, TWO); /* 7.5 and 2 */
	cpu->s->fpr[4] = 5;
	run4(cpu, rrf(0xb35b, 4, 5, 0, 2)); /* toward zero */
	expect(cpu, COMPLETED, 0, 0, 0);
	assert_int_equal(cpu->s->fpr[0], 0x3ff8000000000000);
	assert_int_equal(cpu->s->fpr[4], THREE);
	set(cpu, 0x80000000, ONE, 0);
	cpu->s->fpr[4] = 5;
	run4(cpu, rrf(0xb35b, 4, 5, 0, 2));
	expect(cpu, PGM_DATA, 0x80, 0x80008000, 1);
	assert_int_equal(cpu->s->fpr[0], ONE);
	assert_int_equal(cpu->s->fpr[4], 5);
	/* 2^1000 / 3: an incomplete remainder. */
	set(cpu, 0, 0x7e70000000000000, THREE);
	run4(cpu, rrf(0xb35b, 4, 5, 0, 2));
	expect(cpu, COMPLETED, 0, 0, 2);
}

static void comparing_with_a_quiet_nan_is_invalid_only_when_signalling(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, QNAN, ONE);
	run4(cpu, rre(0xb319, 0, 2)); /* cdbr */
	expect(cpu, COMPLETED, 0, 0, 3);
	run4(cpu, rre(0xb318, 0, 2)); /* kdbr */
	expect(cpu, COMPLETED, 0, 0x00800000, 3);
	set(cpu, 0x80000000, QNAN, ONE);
	run4(cpu, rre(0xb318, 0, 2));
	expect(cpu, PGM_DATA, 0x80, 0x80008000, 1);
	set(cpu, 0, SIGN, 0);
	run4(cpu, rre(0xb318, 0, 2));
	expect(cpu, COMPLETED, 0, 0, 0);
	store_be64(cpu->memory + DATA, TWO);
	run6(cpu, 0xed19, 0, 0); /* cdb */
	expect(cpu, COMPLETED, 0, 0, 1);
}

static void the_class_mask_is_the_address(void **state)
{
	struct cpu *cpu = *state;
	const uint8_t minus_zero[] = { 0xed, 0x00, 0x04, 0x00, 0x00, 0x11 };
	const uint8_t any_but_minus_zero[] = { 0xed, 0x00, 0x0b, 0xff, 0x00, 0x11 };

	set(cpu, 0, SIGN, 0);
	run(cpu, minus_zero, sizeof(minus_zero));
	expect(cpu, COMPLETED, 0, 0, 1);
	run(cpu, any_but_minus_zero, sizeof(any_but_minus_zero));
	expect(cpu, COMPLETED, 0, 0, 0);
}

static void without_afp_registers_there_are_four_and_no_bfp(void **state)
{
	struct cpu *cpu = *state;

	cpu->s->cr[0] &= ~CR0_AFP;
	set(cpu, 0, ONE, TWO);
	run4(cpu, rre(0xb31a, 0, 2)); /* adbr */
	expect(cpu, PGM_DATA, 2, 0, 1);
	run4(cpu, 0xb29c1000); /* stfpc */
	expect(cpu, PGM_DATA, 2, 0, 1);
	run4(cpu, rre(0xb365, 0, 1)); /* lxr */
	expect(cpu, PGM_DATA, 1, 0, 1);
	cpu->s->gr[1] = DATA;
	store_be64(cpu->memory + DATA, THREE);
	run4(cpu, 0x68801000); /* ld %f8 */
	expect(cpu, PGM_DATA, 1, 0, 1);
	run4(cpu, 0x68601000); /* ld %f6 */
	expect(cpu, COMPLETED, 0, 0, 1);
	assert_int_equal(cpu->s->fpr[6], THREE);
	cpu->s->cr[0] |= CR0_AFP;
}

static void the_fpc_register_takes_no_invalid_value(void **state)
{
	static const uint32_t bad[] = {
		0x00000004, 0x00000005, 0x00000006, 0x00000008, 0x00000080, 0x00010000,
		0x00020000, 0x01000000, 0x02000000,
	};
	struct cpu *cpu = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		cpu->s->fpc = 0x00080001;
		cpu->s->gr[3] = bad[i];
		run4(cpu, rre(0xb384, 3, 0)); /* sfpc */
		expect(cpu, PGM_SPECIFICATION, 0, 0x00080001, 1);
		cpu->s->gr[1] = DATA;
		store_be32(cpu->memory + DATA, bad[i]);
		run4(cpu, 0xb29d1000); /* lfpc */
		expect(cpu, PGM_SPECIFICATION, 0, 0x00080001, 1);
	}
	cpu->s->gr[3] = 0xffffffff88f81203;
	run4(cpu, rre(0xb384, 3, 0));
	expect(cpu, COMPLETED, 0, 0x88f81203, 1);
	cpu->s->gr[4] = 0x1111111122222222;
	run4(cpu, rre(0xb38c, 4, 0)); /* efpc */
	assert_int_equal(cpu->s->gr[4], 0x1111111188f81203);
	run4(cpu, 0xb29c1008); /* stfpc */
	assert_int_equal(load_be32(cpu->memory + DATA + 8), 0x88f81203);
}

static void setting_a_rounding_mode_leaves_the_rest(void **state)
{
	struct cpu *cpu = *state;

	cpu->s->fpc = 0xf8f81207;
	run4(cpu, 0xb299000e); /* srnm: two bits count */
	expect(cpu, COMPLETED, 0, 0xf8f81202, 1);
	run4(cpu, 0xb2b80007); /* srnmb */
	expect(cpu, COMPLETED, 0, 0xf8f81207, 1);
	run4(cpu, 0xb2b80004);
	expect(cpu, PGM_SPECIFICATION, 0, 0xf8f81207, 1);
	run4(cpu, 0xb2b80009);
	expect(cpu, PGM_SPECIFICATION, 0, 0xf8f81207, 1);
	run4(cpu, 0xb2b80f03);
	expect(cpu, COMPLETED, 0, 0xf8f81203, 1);
	run4(cpu, 0xb2b90005); /* srnmt */
	expect(cpu, COMPLETED, 0, 0xf8f81253, 1);
}

static void load_and_signal_traps_for_flags_that_were_set(void **state)
{
	struct cpu *cpu = *state;

	cpu->s->fpc = 0x00180000;
	cpu->s->gr[3] = 0xe0000002;
	run4(cpu, rre(0xb385, 3, 0)); /* sfasr: the masks are for others */
	expect(cpu, COMPLETED, 0, 0xe0180002, 1);
	cpu->s->fpc = 0x00180000;
	cpu->s->gr[3] = 0xf8400002;
	run4(cpu, rre(0xb385, 3, 0));
	expect(cpu, PGM_DATA, 0x1b, 0xf8581b02, 1);
	cpu->s->fpc = 0x00a80000;
	cpu->s->gr[1] = DATA;
	store_be32(cpu->memory + DATA, 0xf8000000);
	run4(cpu, 0xb2bd1000); /* lfas */
	expect(cpu, PGM_DATA, 0x83, 0xf8a88300, 1);
}

static void signs_move_without_looking_at_the_number(void **state)
{
	struct cpu *cpu = *state;

	set(cpu, 0, 0, SNAN);
	cpu->s->fpr[4] = SIGN;
	run4(cpu, rrf(0xb372, 4, 0, 0, 2)); /* cpsdr */
	assert_int_equal(cpu->s->fpr[0], SNAN | SIGN);
	run4(cpu, rre(0xb370, 0, 0)); /* lpdfr */
	assert_int_equal(cpu->s->fpr[0], SNAN);
	run4(cpu, rre(0xb373, 0, 0)); /* lcdfr */
	assert_int_equal(cpu->s->fpr[0], SNAN | SIGN);
	run4(cpu, rre(0xb3cd, 3, 0)); /* lgdr */
	assert_int_equal(cpu->s->gr[3], SNAN | SIGN);
	cpu->s->gr[3] = ONE;
	run4(cpu, rre(0xb3c1, 15, 3)); /* ldgr */
	assert_int_equal(cpu->s->fpr[15], ONE);
	run4(cpu, rre(0xb324, 15, 2)); /* lder */
	assert_int_equal(cpu->s->fpr[15], SNAN & ~0xffffffffull);
	store_be32(cpu->memory + DATA, 0x12345678);
	run6(cpu, 0xed24, 15, 0); /* lde */
	assert_int_equal(cpu->s->fpr[15], 0x1234567800000000);
	run4(cpu, rre(0xb375, 15, 0)); /* lzdr */
	assert_int_equal(cpu->s->fpr[15], 0);
	expect(cpu, COMPLETED, 0, 0, 1);
}

static int set_up_with(void **state, bool extension)
{
	static struct cpu cpu;
	struct cpu_complex_config config = {
		.memory_size = MEMORY,
		.vcpus = 1,
		.deterministic = true,
	};

	cpu.memory = aligned_alloc(4096, MEMORY);
	memset(cpu.memory, 0, MEMORY);
	config.memory = cpu.memory;
	for (unsigned int bit = 0; bit < 64; bit++) {
		if (bit != 37 || extension)
			config.model.facilities[0] |= BIT64(bit);
	}
	cpu.complex = cpu_complex_create(&config);
	assert_non_null(cpu.complex);
	cpu.vcpu = cpu_complex_vcpu(cpu.complex, 0);
	cpu.s = vcpu_state(cpu.vcpu);
	cpu.s->cr[0] = CR0_AFP;
	*state = &cpu;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, true);
}

static int set_up_without_extension(void **state)
{
	return set_up_with(state, false);
}

static int tear_down(void **state)
{
	struct cpu *cpu = *state;

	cpu_complex_destroy(cpu->complex);
	free(cpu->memory);
	return 0;
}

static void unsigned_conversions_need_the_extension_facility(void **state)
{
	struct cpu *cpu = *state;

	run4(cpu, rrf(0xb3ad, 5, 0, 3, 2)); /* clgdbr */
	assert_int_equal(cpu->code, PGM_OPERATION);
	assert_int_equal(cpu->address, cpu->next);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_exact_result_sets_no_flag),
		TEST(an_inexact_result_sets_its_flag),
		TEST(the_rounding_mode_of_the_fpc_is_in_force),
		TEST(an_inexact_result_that_traps_is_stored_first),
		TEST(an_invalid_operation_that_traps_changes_nothing),
		TEST(a_division_by_zero_that_traps_changes_nothing),
		TEST(an_overflow_traps_with_the_scaled_result),
		TEST(an_underflow_is_one_when_it_traps_or_is_inexact),
		TEST(a_load_rounded_that_traps_leaves_a_long_number),
		TEST(modifiers_choose_the_rounding_and_suppress_inexact),
		TEST(a_conversion_out_of_range_is_invalid_and_inexact),
		TEST(integers_convert_whatever_their_sign),
		TEST(a_short_result_leaves_the_right_half_of_its_register),
		TEST(an_extended_result_fills_a_pair_of_registers),
		TEST(registers_that_are_no_pair_are_a_specification_exception),
		TEST(a_multiply_and_add_adds_the_first_operand),
		TEST(a_division_to_integer_gives_both_results),
		TEST(comparing_with_a_quiet_nan_is_invalid_only_when_signalling),
		TEST(the_class_mask_is_the_address),
		TEST(without_afp_registers_there_are_four_and_no_bfp),
		TEST(the_fpc_register_takes_no_invalid_value),
		TEST(setting_a_rounding_mode_leaves_the_rest),
		TEST(load_and_signal_traps_for_flags_that_were_set),
		TEST(signs_move_without_looking_at_the_number),
		cmocka_unit_test_setup_teardown(unsigned_conversions_need_the_extension_facility,
						set_up_without_extension, tear_down),
	};

	return cmocka_run_group_tests_name("bfp_insn", tests, NULL, NULL);
}
