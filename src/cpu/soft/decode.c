/* SPDX-License-Identifier: MIT */
/*
 * Taking an instruction apart into the operand fields of an op.
 *
 * Source: Principles of Operation, chapter 5, "Instruction Formats".
 */
#include <stdio.h>

#include "cpu/soft/complex.h"
#include "cpu/soft/soft.h"

/* Bits first … first + count - 1 of an instruction, bit 0 leftmost. */
static inline uint32_t field(uint64_t raw, unsigned int first, unsigned int count)
{
	return (uint32_t)(raw >> (64 - first - count)) & (uint32_t)((1ull << count) - 1);
}

static inline int32_t sfield(uint64_t raw, unsigned int first, unsigned int count)
{
	return (int32_t)((int64_t)(raw << first) >> (64 - count));
}

static inline uint8_t base(uint64_t raw, unsigned int first)
{
	uint8_t r = (uint8_t)field(raw, first, 4);

	return r ? r : 16;
}

/* The 20-bit signed displacement: DL at bit 20, DH at bit 32. */
static inline int32_t long_displacement(uint64_t raw)
{
	return sfield(raw, 32, 8) * 4096 + (int32_t)field(raw, 20, 12);
}

/* Bits i3 to i4 of a doubleword, around the end if i3 is greater. */
static uint64_t rotate_mask(unsigned int i3, unsigned int i4)
{
	uint64_t from = ~0ull >> (i3 & 63);
	uint64_t to = ~0ull << (63 - (i4 & 63));

	return (i3 & 63) <= (i4 & 63) ? from & to : from | to;
}

static void decode_relative(const struct insn *insn, int32_t halfwords, int64_t relative,
			    struct op *o)
{
	if (insn->flags & JUMP)
		o->d2 = (int32_t)(halfwords + relative / 2);
	else
		o->imm = 2ll * halfwords + relative;
}

static void decode_operand1(uint64_t raw, struct op *o)
{
	o->b1 = base(raw, 16);
	o->d1 = (int32_t)field(raw, 20, 12);
}

static void decode_operand2(uint64_t raw, unsigned int first, struct op *o)
{
	o->b2 = base(raw, first);
	o->d2 = (int32_t)field(raw, first + 4, 12);
}

static void decode_operands(const struct insn *insn, uint64_t raw, int64_t relative,
			    struct op *o)
{
	uint8_t hi = (uint8_t)field(raw, 8, 4), lo = (uint8_t)field(raw, 12, 4);

	*o = (struct op){
		.fn = insn->fn,
		.b1 = 16, .b2 = 16, .x2 = 16,
		.insn = (uint16_t)(insn - insn_table),
	};
	switch ((enum insn_format)insn->format) {
	case F_E:
		break;
	case F_I:
		o->imm = (int64_t)field(raw, 8, 8);
		break;
	case F_RR:
		o->r1 = hi;
		o->r2 = lo;
		break;
	case F_RRE: case F_RRF:
		o->r3 = (uint8_t)field(raw, 16, 4);
		o->m4 = (uint8_t)field(raw, 20, 4);
		o->r1 = (uint8_t)field(raw, 24, 4);
		o->r2 = (uint8_t)field(raw, 28, 4);
		break;
	case F_RRD:
		o->r1 = (uint8_t)field(raw, 16, 4);
		o->r3 = (uint8_t)field(raw, 24, 4);
		o->r2 = (uint8_t)field(raw, 28, 4);
		break;
	case F_RX: case F_RXE: case F_RXY:
		o->r1 = hi;
		o->x2 = lo ? lo : 16;
		decode_operand2(raw, 16, o);
		if (insn->format == F_RXY)
			o->d2 = long_displacement(raw);
		if (insn->format == F_RXE)
			o->m3 = (uint8_t)field(raw, 32, 4);
		break;
	case F_RXF:
		o->r3 = hi;
		o->x2 = lo ? lo : 16;
		decode_operand2(raw, 16, o);
		o->r1 = (uint8_t)field(raw, 32, 4);
		break;
	case F_RS: case F_RSY:
		o->r1 = hi;
		o->r3 = lo;
		decode_operand2(raw, 16, o);
		if (insn->format == F_RSY)
			o->d2 = long_displacement(raw);
		break;
	case F_RSL:
		o->l1 = hi;
		decode_operand1(raw, o);
		break;
	case F_RI:
		o->r1 = hi;
		o->imm = sfield(raw, 16, 16);
		break;
	case F_RI_REL:
		o->r1 = hi;
		decode_relative(insn, sfield(raw, 16, 16), relative, o);
		break;
	case F_RIL:
		o->r1 = hi;
		o->imm = sfield(raw, 16, 32);
		break;
	case F_RIL_U:
		o->r1 = hi;
		o->imm = (int64_t)field(raw, 16, 32);
		break;
	case F_RIL_REL:
		o->r1 = hi;
		decode_relative(insn, sfield(raw, 16, 32), relative, o);
		break;
	case F_RSI: case F_RIE_E:
		o->r1 = hi;
		o->r3 = lo;
		decode_relative(insn, sfield(raw, 16, 16), relative, o);
		break;
	case F_RIE_A: case F_RIE_G:
		o->r1 = hi;
		o->imm = sfield(raw, 16, 16);
		o->m3 = insn->format == F_RIE_G ? lo : (uint8_t)field(raw, 32, 4);
		break;
	case F_RIE_B:
		o->r1 = hi;
		o->r2 = lo;
		o->m3 = (uint8_t)field(raw, 32, 4);
		decode_relative(insn, sfield(raw, 16, 16), relative, o);
		break;
	case F_RIE_C:
		o->r1 = hi;
		o->m3 = lo;
		o->d1 = sfield(raw, 32, 8);
		decode_relative(insn, sfield(raw, 16, 16), relative, o);
		break;
	case F_RIE_D:
		o->r1 = hi;
		o->r3 = lo;
		o->imm = sfield(raw, 16, 16);
		break;
	case F_RIE_F:
		o->r1 = hi;
		o->r2 = lo;
		o->m3 = (uint8_t)field(raw, 16, 8);
		o->m4 = (uint8_t)field(raw, 24, 8);
		o->d1 = (int32_t)field(raw, 32, 8);
		o->uimm = rotate_mask(o->m3, o->m4);
		break;
	case F_RIS:
		o->r1 = hi;
		o->m3 = lo;
		decode_operand2(raw, 16, o);
		o->imm = sfield(raw, 32, 8);
		break;
	case F_RRS:
		o->r1 = hi;
		o->r2 = lo;
		decode_operand2(raw, 16, o);
		o->m3 = (uint8_t)field(raw, 32, 4);
		break;
	case F_SI: case F_SIY:
		o->imm = (int64_t)field(raw, 8, 8);
		decode_operand1(raw, o);
		if (insn->format == F_SIY)
			o->d1 = long_displacement(raw);
		break;
	case F_SIL:
		decode_operand1(raw, o);
		o->imm = sfield(raw, 32, 16);
		break;
	case F_S:
		decode_operand2(raw, 16, o);
		break;
	case F_SS_A: case F_SS_F: case F_SSE:
		o->l1 = (uint8_t)field(raw, 8, 8);
		o->l2 = o->l1;
		decode_operand1(raw, o);
		decode_operand2(raw, 32, o);
		break;
	case F_SS_B: case F_SS_C: case F_SS_D: case F_SS_E:
		o->r1 = hi; /* also l1 */
		o->r2 = lo; /* also l2 */
		o->r3 = lo;
		decode_operand1(raw, o);
		decode_operand2(raw, 32, o);
		break;
	case F_SSF:
		o->r3 = hi;
		decode_operand1(raw, o);
		decode_operand2(raw, 32, o);
		break;
	}
	if (insn->flags & MACHINE)
		o->uimm = raw;
}

/* Does execution never go on behind it? BALR, BASR and BCR branch nowhere with R2 0. */
static bool always_jumps(const struct insn *insn, const struct op *o)
{
	switch (insn->opcode) {
	case 0x47: case 0xa704: case 0xc004: /* BC, BRC, BRCL */
		return o->m1 == 15;
	case 0x07:
		return o->m1 == 15 && o->r2;
	case 0x05: case 0x0d: case 0x0c: case 0x0b: /* BALR, BASR, BASSM, BSM */
		return o->r2;
	case 0x45: case 0x4d: case 0xa705: case 0xc005: /* BAL, BAS, BRAS, BRASL */
		return true;
	default:
		return false;
	}
}

void insn_decode(const struct insn *insn, uint64_t raw, int64_t relative, struct op *o)
{
	decode_operands(insn, raw, relative, o);
	if (always_jumps(insn, o))
		o->flags |= OP_ALWAYS_JUMPS;
	if (insn->flags & PRIVILEGED && insn->fn == insn_machine_access && insn->format == F_RRE)
		o->fn = insn_privileged_access;
	else if (insn->flags & PRIVILEGED)
		o->fn = insn_privileged;
	else
		o->fn = branch_specialise(insn, o);
}

char *insn_disassemble(uint64_t raw, uint64_t address, char *to, size_t size)
{
	const struct insn *insn = insn_lookup(raw);
	struct op o;
	char operand1[32], operand2[40];

	if (!insn) {
		snprintf(to, size, ".insn 0x%0*llx", (int)insn_length((uint8_t)(raw >> 56)) * 2,
			 (unsigned long long)raw >>
				 (64 - 8 * insn_length((uint8_t)(raw >> 56))));
		return to;
	}
	decode_operands(insn, raw, 0, &o);
	snprintf(operand1, sizeof(operand1), "%d(%%r%d)", o.d1, o.b1 & 15);
	snprintf(operand2, sizeof(operand2), o.x2 < 16 ? "%d(%%r%d,%%r%d)" : "%d(%.0d%%r%d)",
		 o.d2, o.x2 < 16 ? o.x2 : 0, o.b2 & 15);
	switch ((enum insn_format)insn->format) {
	case F_E:
		snprintf(to, size, "%s", insn->mnemonic);
		break;
	case F_I:
		snprintf(to, size, "%s %lld", insn->mnemonic, (long long)o.imm);
		break;
	case F_RR: case F_RRE:
		snprintf(to, size, "%s %%r%d,%%r%d", insn->mnemonic, o.r1, o.r2);
		break;
	case F_RRF:
		snprintf(to, size, "%s %%r%d,%%r%d,%d,%d", insn->mnemonic, o.r1, o.r2, o.r3, o.m4);
		break;
	case F_RRD:
		snprintf(to, size, "%s %%r%d,%%r%d,%%r%d", insn->mnemonic, o.r1, o.r3, o.r2);
		break;
	case F_RX: case F_RXY: case F_RXE: case F_RXF:
		snprintf(to, size, "%s %%r%d,%s", insn->mnemonic, o.r1, operand2);
		break;
	case F_RS: case F_RSY:
		snprintf(to, size, "%s %%r%d,%%r%d,%s", insn->mnemonic, o.r1, o.r3, operand2);
		break;
	case F_RI: case F_RIL: case F_RIL_U: case F_RIE_A: case F_RIE_G:
		snprintf(to, size, "%s %%r%d,%lld", insn->mnemonic, o.r1, (long long)o.imm);
		break;
	case F_RIE_D:
		snprintf(to, size, "%s %%r%d,%%r%d,%lld", insn->mnemonic, o.r1, o.r3,
			 (long long)o.imm);
		break;
	case F_RI_REL: case F_RIL_REL: case F_RSI: case F_RIE_E:
		snprintf(to, size, "%s %%r%d,0x%llx", insn->mnemonic, o.r1,
			 (unsigned long long)address +
				 (insn->flags & JUMP ? 2ll * o.d2 : o.imm));
		break;
	case F_RIE_B:
		snprintf(to, size, "%s %%r%d,%%r%d,%d,0x%llx", insn->mnemonic, o.r1, o.r2, o.m3,
			 (unsigned long long)address + 2ll * o.d2);
		break;
	case F_RIE_C:
		snprintf(to, size, "%s %%r%d,%d,%d,0x%llx", insn->mnemonic, o.r1, o.d1, o.m3,
			 (unsigned long long)address + 2ll * o.d2);
		break;
	case F_RIE_F:
		snprintf(to, size, "%s %%r%d,%%r%d,%d,%d,%d", insn->mnemonic, o.r1, o.r2, o.m3,
			 o.m4, o.d1);
		break;
	case F_RIS: case F_RRS:
		snprintf(to, size, "%s %%r%d,%d,%d,%s", insn->mnemonic, o.r1,
			 insn->format == F_RIS ? (int)o.imm : o.r2, o.m3, operand2);
		break;
	case F_SI: case F_SIY: case F_SIL:
		snprintf(to, size, "%s %s,%lld", insn->mnemonic, operand1, (long long)o.imm);
		break;
	case F_S:
		snprintf(to, size, "%s %s", insn->mnemonic, operand2);
		break;
	case F_RSL: case F_SS_A: case F_SS_B: case F_SS_C: case F_SS_D: case F_SS_E: case F_SS_F:
		snprintf(to, size, "%s %s,%s,%d", insn->mnemonic, operand1, operand2, o.l1);
		break;
	case F_SSE: case F_SSF:
		snprintf(to, size, "%s %s,%s,%%r%d", insn->mnemonic, operand1, operand2, o.r3);
		break;
	}
	return to;
}
