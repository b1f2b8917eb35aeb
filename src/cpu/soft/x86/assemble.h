/* SPDX-License-Identifier: MIT */
/*
 * Writing x86-64 machine code: as much of the instruction set as the translator
 * (emit.h) uses. Memory operands are [base + displacement] or [base + index +
 * displacement], bases and indexes are not rsp, rbp, r12, r13, so that each form has one
 * encoding.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
 * chapter 2 "Instruction Format".
 */
#ifndef ZVISOR_CPU_SOFT_X86_ASSEMBLE_H
#define ZVISOR_CPU_SOFT_X86_ASSEMBLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum x86_register { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 };

/* An opcode; X86_0F for the two-byte ones, X86_W for operands of 64 bits, X86_16 for 16. */
#define X86_0F 0x100u
#define X86_W 0x200u
#define X86_16 0x400u

enum x86_opcode {
	X86_ADD = 0x03,
	X86_OR = 0x0b,
	X86_ADC = 0x13,
	X86_AND = 0x23,
	X86_SUB = 0x2b,
	X86_XOR = 0x33,
	X86_CMP = 0x3b,
	X86_MOVSXD = 0x63,
	X86_TEST = 0x85,
	X86_STORE8 = 0x88,
	X86_STORE = 0x89,
	X86_LOAD = 0x8b,
	X86_LEA = 0x8d,
	X86_IMUL = 0xaf | X86_0F,
	X86_MOVZX8 = 0xb6 | X86_0F,
	X86_MOVZX16 = 0xb7 | X86_0F,
	X86_MOVSX8 = 0xbe | X86_0F,
	X86_MOVSX16 = 0xbf | X86_0F,
	X86_BT = 0xba | X86_0F,
};

/* The operation in the middle of the ModRM byte, for opcodes that have one there. */
enum x86_group { X86_G_ADD = 0, X86_G_AND = 4, X86_G_CMP = 7 }; /* 81, 83 */
enum x86_shift { X86_ROL = 0, X86_SHL = 4, X86_SHR = 5, X86_SAR = 7 }; /* c1 */
enum x86_unary { X86_NOT = 2, X86_NEG = 3 }; /* f7 */

enum x86_condition {
	X86_O = 0,
	X86_B = 2,
	X86_AE = 3,
	X86_E = 4,
	X86_NE = 5,
	X86_BE = 6,
	X86_A = 7,
	X86_L = 12,
	X86_GE = 13,
	X86_LE = 14,
	X86_G = 15,
};

static inline void x86_8(uint8_t **p, unsigned int v)
{
	*(*p)++ = (uint8_t)v;
}

static inline void x86_32(uint8_t **p, uint32_t v)
{
	memcpy(*p, &v, 4);
	*p += 4;
}

static inline void x86_64(uint8_t **p, uint64_t v)
{
	memcpy(*p, &v, 8);
	*p += 8;
}

static inline void x86_opcode(uint8_t **p, unsigned int opcode, unsigned int reg,
			      unsigned int index, unsigned int base)
{
	unsigned int rex = (opcode & X86_W ? 8 : 0) | (reg > 7) << 2 | (index > 7) << 1 |
			   (base > 7);

	if (opcode & X86_16)
		x86_8(p, 0x66);
	if (rex)
		x86_8(p, 0x40 | rex);
	if (opcode & X86_0F)
		x86_8(p, 0x0f);
	x86_8(p, opcode & 0xff);
}

static inline void x86_modrm(uint8_t **p, unsigned int reg, unsigned int base, int32_t displacement)
{
	bool small = displacement == (int8_t)displacement;

	x86_8(p, (small ? 0x40u : 0x80u) | (reg & 7) << 3 | (base & 7));
	if (small)
		x86_8(p, (uint8_t)displacement);
	else
		x86_32(p, (uint32_t)displacement);
}

static inline void x86_mem(uint8_t **p, unsigned int opcode, unsigned int reg, unsigned int base,
			   int32_t displacement)
{
	x86_opcode(p, opcode, reg, 0, base);
	x86_modrm(p, reg, base, displacement);
}

static inline void x86_mem_index(uint8_t **p, unsigned int opcode, unsigned int reg,
				 unsigned int base, unsigned int index, int32_t displacement)
{
	x86_opcode(p, opcode, reg, index, base);
	x86_8(p, 0x84 | (reg & 7) << 3);
	x86_8(p, (index & 7) << 3 | (base & 7));
	x86_32(p, (uint32_t)displacement);
}

static inline void x86_reg(uint8_t **p, unsigned int opcode, unsigned int reg, unsigned int rm)
{
	x86_opcode(p, opcode, reg, 0, rm);
	x86_8(p, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* Opcode 81: reg OP= imm */
static inline void x86_group(uint8_t **p, enum x86_group group, unsigned int w, unsigned int reg,
			     int32_t imm)
{
	bool small = imm == (int8_t)imm;

	x86_reg(p, (small ? 0x83u : 0x81u) | w, group, reg);
	if (small)
		x86_8(p, (uint8_t)imm);
	else
		x86_32(p, (uint32_t)imm);
}

static inline void x86_shift(uint8_t **p, enum x86_shift shift, unsigned int w, unsigned int reg,
			     unsigned int count)
{
	if (!count)
		return;
	x86_reg(p, 0xc1 | w, shift, reg);
	x86_8(p, count);
}

static inline void x86_unary(uint8_t **p, enum x86_unary unary, unsigned int w, unsigned int reg)
{
	x86_reg(p, 0xf7 | w, unary, reg);
}

static inline void x86_bswap(uint8_t **p, unsigned int w, unsigned int reg)
{
	x86_opcode(p, (0xc8 + (reg & 7)) | X86_0F | w, 0, 0, reg);
}

/* reg = imm, in the shortest way; the flags stay. */
static inline void x86_imm(uint8_t **p, unsigned int reg, uint64_t imm)
{
	if (imm == (uint32_t)imm) {
		x86_opcode(p, 0xb8 + (reg & 7), 0, 0, reg);
		x86_32(p, (uint32_t)imm);
	} else if ((int64_t)imm == (int32_t)imm) {
		x86_reg(p, 0xc7 | X86_W, 0, reg);
		x86_32(p, (uint32_t)imm);
	} else {
		x86_opcode(p, (0xb8 + (reg & 7)) | X86_W, 0, 0, reg);
		x86_64(p, imm);
	}
}

/* [base + displacement] = imm, 32 bits or (w) 64 sign-extended */
static inline void x86_store_imm(uint8_t **p, unsigned int w, unsigned int base,
				 int32_t displacement, int32_t imm)
{
	x86_mem(p, 0xc7 | w, 0, base, displacement);
	x86_32(p, (uint32_t)imm);
}

/* Returns where the distance is, for x86_land(). */
static inline uint8_t *x86_jump_if(uint8_t **p, enum x86_condition condition)
{
	x86_8(p, 0x0f);
	x86_8(p, 0x80 + condition);
	x86_32(p, 0);
	return *p - 4;
}

static inline uint8_t *x86_jump(uint8_t **p)
{
	x86_8(p, 0xe9);
	x86_32(p, 0);
	return *p - 4;
}

static inline void x86_land(uint8_t *distance, const uint8_t *at)
{
	int32_t v = (int32_t)(at - (distance + 4));

	memcpy(distance, &v, 4);
}

#endif
