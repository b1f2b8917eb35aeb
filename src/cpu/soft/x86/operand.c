/* SPDX-License-Identifier: MIT */
/* What instructions work on: registers, immediates, guest memory; and the condition code. */
#include "cpu/soft/x86/emit.h"

#define W X86_W

void emit_leave(struct translation_run *t, uint8_t *site, enum stub_kind kind, unsigned int size)
{
	t->stub[t->stubs++] = (struct stub){ site, (uint8_t)kind, (uint8_t)size, (uint16_t)t->k };
}

void emit_exit_if(struct translation_run *t, enum x86_condition condition)
{
	emit_leave(t, x86_jump_if(&t->p, condition), STUB_EXIT, 0);
}

/* Go on with the op that rsi points to. */
void emit_run_op(struct translation_run *t)
{
#if CPU_THREADED
	x86_mem(&t->p, 0xff, 4, RSI, offsetof(struct op, fn));
#else
	x86_reg(&t->p, X86_LOAD | W, RAX, RSI);
	x86_8(&t->p, 0xc3);
#endif
}

/* Addresses are not cut: an addressing mode of fewer bits is not translated for. */
void emit_need_mode64(struct translation_run *t)
{
	if (t->mode64)
		return;
	x86_mem(&t->p, 0x83, X86_G_CMP, RDI, AT(addr_mask) + 4);
	x86_8(&t->p, 0xff);
	emit_exit_if(t, X86_NE);
	t->mode64 = true;
	t->flags = false;
}

/* Registers other than 0, 2, 4, 6 are there only with the AFP-register control. */
void emit_need_float(struct translation_run *t, unsigned int r)
{
	const unsigned int byte = __builtin_ctzll(CR0_AFP) / 8, bit = __builtin_ctzll(CR0_AFP) % 8;

	if (t->afp || !(r & 9))
		return;
	x86_mem(&t->p, 0xf6, 0, RDI, AT(s.cr[0]) + (int32_t)byte); /* test with an immediate */
	x86_8(&t->p, 1u << bit);
	emit_exit_if(t, X86_E);
	t->afp = true;
	t->flags = false;
}

/* ---- Condition code ---- */

void emit_cc_kind(struct translation_run *t, enum known_cc known)
{
	static const uint8_t kinds[] = {
		[CC_IS_SIGNED] = CC_SIGNED,
		[CC_IS_UNSIGNED] = CC_UNSIGNED,
		[CC_IS_VALUE] = CC_VALUE,
		[CC_IS_BIT] = CC_VALUE,
	};

	if (t->cc == CC_UNKNOWN || kinds[t->cc] != kinds[known])
		x86_store_imm(&t->p, 0, RDI, AT(cc_kind), kinds[known]);
	t->cc = known;
	t->flags = false;
}

/* The outcome of comparing two registers, which are as wide as the comparison. */
void emit_cc_compared(struct translation_run *t, enum known_cc known, unsigned int a,
		      unsigned int b)
{
	x86_mem(&t->p, X86_STORE | W, a, RDI, AT(cc_a));
	x86_mem(&t->p, X86_STORE | W, b, RDI, AT(cc_b));
	emit_cc_kind(t, known);
	x86_reg(&t->p, X86_CMP | W, a, b);
	t->flags = true;
}

/* A result compared with 0, all 64 bits of the register being it. */
void emit_cc_signed(struct translation_run *t, unsigned int reg)
{
	x86_mem(&t->p, X86_STORE | W, reg, RDI, AT(cc_a));
	x86_store_imm(&t->p, W, RDI, AT(cc_b), 0);
	emit_cc_kind(t, CC_IS_SIGNED);
	x86_reg(&t->p, X86_TEST | W, reg, reg);
	t->flags = true;
}

/* 0 or not; changes the register. */
void emit_cc_nonzero(struct translation_run *t, unsigned int reg)
{
	x86_store_imm(&t->p, W, RDI, AT(cc_a), 0);
	x86_mem(&t->p, X86_STORE | W, reg, RDI, AT(cc_b));
	emit_cc_kind(t, CC_IS_UNSIGNED);
	/* The flags of comparing 0 with it */
	x86_unary(&t->p, X86_NEG, W, reg);
	t->flags = true;
}

/* Carry is 2, a result that is not 0 is 1: from the flags that were just set. */
void emit_cc_carry(struct translation_run *t, enum x86_condition carry)
{
	x86_reg(&t->p, (0x90u + carry) | X86_0F, 0, RCX);
	x86_reg(&t->p, (0x90u + X86_NE) | X86_0F, 0, RAX);
	x86_reg(&t->p, X86_MOVZX8, RCX, RCX);
	x86_reg(&t->p, X86_MOVZX8, RAX, RAX);
	x86_reg(&t->p, X86_ADD, RAX, RCX);
	x86_reg(&t->p, X86_ADD, RAX, RCX);
	x86_mem(&t->p, X86_STORE | W, RAX, RDI, AT(cc_a));
	emit_cc_kind(t, CC_IS_VALUE);
}

/* The selected bit is in eax and the rest of it is 0. */
void emit_cc_bit(struct translation_run *t)
{
	x86_unary(&t->p, X86_NEG, 0, RAX);
	x86_reg(&t->p, 0x1b, RAX, RAX); /* sbb: all ones if it was not 0 */
	x86_group(&t->p, X86_G_AND, 0, RAX, 3);
	x86_mem(&t->p, X86_STORE | W, RAX, RDI, AT(cc_a));
	emit_cc_kind(t, CC_IS_BIT);
	t->flags = true;
}

/* ---- Guest memory ---- */

unsigned int type_size(enum type type)
{
	static const uint8_t sizes[] = {
		[U8] = 1, [S8] = 1, [U16] = 2, [S16] = 2, [U32] = 4, [S32] = 4, [D64] = 8,
	};

	return sizes[type];
}

/* rcx = base + index + displacement; 16 stands for no register. */
void emit_base_index(struct translation_run *t, unsigned int base, unsigned int index,
		     int32_t displacement)
{
	emit_need_mode64(t);
	if (base == 16) {
		base = index;
		index = 16;
	}
	if (base == 16) {
		x86_imm(&t->p, RCX, (uint64_t)(int64_t)displacement);
		return;
	}
	x86_mem(&t->p, X86_LOAD | W, RCX, RDI, gr_at(base));
	if (index != 16)
		x86_mem(&t->p, X86_ADD | W, RCX, RDI, gr_at(index));
	if (displacement)
		x86_group(&t->p, X86_G_ADD, W, RCX, displacement);
}

/* rcx = the address that lies so many bytes from the instruction. */
static void relative(struct translation_run *t, int64_t distance)
{
	emit_need_mode64(t);
	distance += current(t)->offset;
	if (distance == (int32_t)distance) {
		x86_mem(&t->p, X86_LOAD | W, RCX, RDI, AT(page));
		if (distance)
			x86_group(&t->p, X86_G_ADD, W, RCX, (int32_t)distance);
	} else {
		x86_imm(&t->p, RCX, (uint64_t)distance);
		x86_mem(&t->p, X86_ADD | W, RCX, RDI, AT(page));
	}
}

void emit_first_address(struct translation_run *t)
{
	emit_base_index(t, current(t)->b1, 16, current(t)->d1);
}

void emit_address(struct translation_run *t)
{
	const struct op *o = current(t);

	switch ((enum insn_format)insn_table[o->insn].format) {
	case F_RX:
	case F_RXY:
		emit_base_index(t, o->b2, o->x2, o->d2);
		break;
	case F_SI:
	case F_SIY:
	case F_SIL:
		emit_first_address(t);
		break;
	case F_RIL_REL:
		relative(t, o->imm);
		break;
	default:
		emit_base_index(t, o->b2, 16, o->d2);
		break;
	}
}

/*
 * The operand at rcx is in a page that the TLB knows for this kind of access, or exit.
 * rdx = TLB entry, r9 = what to add to an address.
 */
void emit_find_page(struct translation_run *t, int32_t tag, unsigned int size)
{
	if (!t->space) {
		x86_mem(&t->p, X86_LOAD, R8, RDI, AT(data_asid));
		t->space = true;
	}
	x86_reg(&t->p, X86_LOAD, RDX, RCX);
	x86_shift(&t->p, X86_SHR, 0, RDX, PAGE_SHIFT - __builtin_ctz(sizeof(struct tlb_entry)));
	x86_group(&t->p, X86_G_AND, 0, RDX, (TLB_ENTRIES - 1) * (int32_t)sizeof(struct tlb_entry));
	x86_mem_index(&t->p, X86_LEA | W, RDX, RDI, RDX, AT(tlb));
	x86_mem(&t->p, X86_LEA | W, RAX, RCX, (int32_t)size - 1);
	x86_group(&t->p, X86_G_AND, W, RAX, (int32_t)PAGE_MASK);
	x86_reg(&t->p, X86_OR | W, RAX, R8);
	x86_mem(&t->p, X86_CMP | W, RAX, RDX, tag);
	emit_exit_if(t, X86_NE);
	x86_mem(&t->p, X86_LOAD | W, R9, RDX, offsetof(struct tlb_entry, addend));
}

/* rax = the operand at rcx, extended. */
void emit_load(struct translation_run *t, enum type type)
{
	static const uint32_t opcodes[] = {
		[U8] = X86_MOVZX8, [S8] = X86_MOVSX8 | W, [U16] = X86_MOVZX16,	[S16] = X86_MOVZX16,
		[U32] = X86_LOAD,  [S32] = X86_LOAD,	  [D64] = X86_LOAD | W,
	};

	emit_find_page(t, offsetof(struct tlb_entry, tag_read), type_size(type));
	x86_mem_index(&t->p, opcodes[type], RAX, RCX, R9, 0);
	switch (type_size(type)) {
	case 2:
		x86_shift(&t->p, X86_ROL, X86_16, RAX, 8);
		if (type == S16)
			x86_reg(&t->p, X86_MOVSX16 | W, RAX, RAX);
		break;
	case 4:
		x86_bswap(&t->p, 0, RAX);
		if (type == S32)
			x86_reg(&t->p, X86_MOVSXD | W, RAX, RAX);
		break;
	case 8:
		x86_bswap(&t->p, W, RAX);
		break;
	default:
		break;
	}
}

void emit_stored(struct translation_run *t, unsigned int size)
{
	x86_mem(&t->p, X86_LOAD | W, R9, RDX, offsetof(struct tlb_entry, flags));
	x86_mem(&t->p, 0x80, X86_G_CMP, R9, 0);
	x86_8(&t->p, 0);
	emit_leave(t, x86_jump_if(&t->p, X86_NE), STUB_NOTICED, size);
	t->flags = false;
}

/* Byte-swapped to [rcx + r9 + displacement] */
void emit_store_value(struct translation_run *t, unsigned int size, int32_t displacement)
{
	switch (size) {
	case 1:
		x86_mem_index(&t->p, X86_STORE8, RAX, RCX, R9, displacement);
		break;
	case 2:
		x86_shift(&t->p, X86_ROL, X86_16, RAX, 8);
		x86_mem_index(&t->p, X86_STORE | X86_16, RAX, RCX, R9, displacement);
		break;
	case 4:
		x86_bswap(&t->p, 0, RAX);
		x86_mem_index(&t->p, X86_STORE, RAX, RCX, R9, displacement);
		break;
	default:
		x86_bswap(&t->p, W, RAX);
		x86_mem_index(&t->p, X86_STORE | W, RAX, RCX, R9, displacement);
		break;
	}
}

/* ---- Operands ---- */

void emit_load_register(struct translation_run *t, unsigned int reg, unsigned int r, enum type type)
{
	static const uint32_t opcodes[] = {
		[U8] = X86_MOVZX8,	 [S8] = X86_MOVSX8 | W, [U16] = X86_MOVZX16,
		[S16] = X86_MOVSX16 | W, [U32] = X86_LOAD,	[S32] = X86_MOVSXD | W,
		[D64] = X86_LOAD | W,
	};

	x86_mem(&t->p, opcodes[type], reg, RDI, gr_at(r));
}

uint64_t template_immediate(const struct op *o, const struct template *m)
{
	/* The immediates of the compare-and-branch instructions are in d1. */
	uint64_t v = insn_table[o->insn].format == F_RIE_C ? (uint64_t)(int64_t)o->d1 : o->uimm;

	switch ((enum operand)m->operand) {
	case IMMEDIATE_U32:
		v = (uint32_t)v;
		break;
	case IMMEDIATE_U16:
		v = (uint16_t)v;
		break;
	case IMMEDIATE_U8:
		v = (uint8_t)v;
		break;
	default:
		break;
	}
	return v << m->shift;
}

/* rax = the operand, extended as the template says. */
void emit_operand(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);

	switch ((enum operand)m->operand) {
	case NO_OPERAND:
		emit_load_register(t, RAX, o->r1, (enum type)m->type);
		break;
	case R2:
		emit_load_register(t, RAX, o->r2, (enum type)m->type);
		break;
	case R3:
		emit_load_register(t, RAX, o->r3, (enum type)m->type);
		break;
	case FLOAT_R1:
	case FLOAT_R2: {
		unsigned int r = m->operand == FLOAT_R1 ? o->r1 : o->r2;

		emit_need_float(t, r);
		x86_mem(&t->p, X86_LOAD | W, RAX, RDI, AT(s.fpr) + 8 * (int32_t)r);
		break;
	}
	case ACCESS_REGISTER:
		x86_mem(&t->p, X86_LOAD, RAX, RDI, AT(s.ar) + 4 * (int32_t)o->r2);
		break;
	case IMMEDIATE:
	case IMMEDIATE_U32:
	case IMMEDIATE_U16:
	case IMMEDIATE_U8:
		x86_imm(&t->p, RAX, template_immediate(o, m));
		break;
	case MEMORY:
		emit_address(t);
		emit_load(t, (enum type)m->type);
		break;
	}
}

/* The first operand, where it is not the register of the result */
static unsigned int first_register(const struct op *o)
{
	switch ((enum insn_format)insn_table[o->insn].format) {
	case F_RRF:
		return o->r2;
	case F_RIE_D:
		return o->r3;
	default:
		return o->r1;
	}
}

void emit_first(struct translation_run *t, const struct template *m)
{
	x86_mem(&t->p, X86_LOAD | template_width(m), RDX, RDI, gr_at(first_register(current(t))));
}

void emit_result(struct translation_run *t, const struct template *m, unsigned int reg)
{
	x86_mem(&t->p, X86_STORE | template_width(m), reg, RDI, gr_at(current(t)->r1));
}

/* A result with its condition code from comparing it with 0; it is in rax or eax. */
void emit_signed_result(struct translation_run *t, const struct template *m, unsigned int reg)
{
	emit_result(t, m, reg);
	if (m->bits == 32)
		x86_reg(&t->p, X86_MOVSXD | W, reg, reg);
	emit_cc_signed(t, reg);
}
