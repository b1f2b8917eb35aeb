/* SPDX-License-Identifier: MIT */
/*
 * The translator for x86-64 hosts; translate.h says what it is.
 *
 * What costs an interpreter most in large code is the indirect jump from op to op,
 * which the host predicts badly, and then that each op's operands are fetched as
 * data. Translated code has neither: operands are constants in it, and it jumps
 * at branches only, each from a place of its own.
 *
 * Registers of the host in a run: rdi the vCPU, rsi the run's first op, r8 the
 * TLB number of the operands' space once it was loaded; the rest is scratch. The guest's
 * registers stay in the vCPU.
 *
 * While a run is translated it is known how the condition code is kept (`cc`): what set it
 * is mostly in the same run, and then a branch need not ask. When the last
 * instruction of the host that changed the flags was the comparison itself, it
 * even finds the outcome there (`flags`).
 *
 * Behind the straight code of a run come its stubs: the ways out. At an exit the op
 * in question is executed by its own function, found in the op as it is then, so
 * that a dropped block is noticed. Only for the run's first op, whose function is
 * the run, the function is a constant.
 *
 * Stores look at the page's flags behind the store, as the functions do (access.h).
 */
#include "cpu/soft/complex.h"
#include "cpu/soft/translate.h"

#ifdef __x86_64__

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/soft/x86.h"

/* Room for code; a run must fit whatever is in it. */
#define HOST_CODE_BYTES (24 * MIB)
#define MAX_BYTES_OF_OP 448
#define MAX_BYTES_OF_BLOCK ((BLOCK_MAX_OPS + 1) * MAX_BYTES_OF_OP)

#define W X86_W
#define MIN_RUN 2

enum operation {
	NONE,
	SET,
	SET_BYTE,
	SET_HIGH,
	SET_FLOAT,
	TEST,
	STORE,
	LOAD_ADDRESS,
	ADD,
	SUBTRACT,
	ADD_LOGICAL,
	SUBTRACT_LOGICAL,
	ADD_CARRY,
	SUBTRACT_BORROW,
	COMPARE,
	COMPARE_LOGICAL,
	COMPARE_STORAGE,
	COMPARE_STORAGE_LOGICAL,
	AND,
	OR,
	XOR,
	AND_PART,
	OR_PART,
	TEST_MASK,
	MULTIPLY,
	SHIFT_LEFT,
	SHIFT_RIGHT,
	SHIFT_SIGNED,
	ROTATE,
	ROTATE_INSERT,
	ROTATE_AND,
	ROTATE_OR,
	ROTATE_XOR,
	LOAD_MULTIPLE,
	STORE_MULTIPLE,
	MOVE,
	COMPARE_FIELDS,
	LOAD_ON_CONDITION,
	BRANCH_CONDITION,
	BRANCH_CONDITION_REGISTER,
	BRANCH_COUNT,
	BRANCH_SAVE,
	BRANCH_SAVE_REGISTER,
	COMPARE_BRANCH,
	COMPARE_BRANCH_LOGICAL,
	GO_NEXT,
};

/* Where the operand comes from that is not in the register of the result, and how it is extended. */
enum operand {
	NO_OPERAND,
	R2,
	R3,
	FLOAT_R1,
	FLOAT_R2,
	ACCESS_REGISTER,
	IMMEDIATE,
	IMMEDIATE_U32,
	IMMEDIATE_U16,
	IMMEDIATE_U8,
	MEMORY,
};
enum type { U8, S8, U16, S16, U32, S32, D64 };

/*
 * An instruction, named by its function (instructions that differ in their format alone
 * have the same). For those that work on parts of a register `part` says which.
 */
struct template
{
	op_fn *fn;
	uint8_t operation;
	uint8_t bits; /* of the result: 32 (the right half), 64 */
	uint8_t operand;
	uint8_t type;
	uint8_t shift; /* immediates of 16 or 32 bits that belong further left */
};

#define TEMPLATE(name, ...) op_fn insn_##name;
#include "cpu/soft/translate-x86.def"
#undef TEMPLATE

static const struct template templates[] = {
	{ NULL, NONE, 0, 0, 0, 0 },
#define TEMPLATE(name, ...) { insn_##name, __VA_ARGS__ },
#include "cpu/soft/translate-x86.def"
#undef TEMPLATE
};
static const struct template go_next = { insn_goto_next, GO_NEXT, 0, 0, 0, 0 };

/* How the condition code is kept at a place in a run, as far as is known. */
enum known_cc {
	CC_UNKNOWN,
	CC_IS_SIGNED,
	CC_IS_UNSIGNED,
	CC_IS_VALUE,
	CC_IS_BIT, /* a value, 0 or 3 */
};

enum stub_kind {
	STUB_EXIT, /* execute op k by its function */
	STUB_NOTICED, /* a store by op k into a page whose flags are set */
	STUB_TAKEN, /* the branch at k is taken */
};

struct stub {
	uint8_t *site; /* distance of the jump to it */
	uint8_t kind;
	uint8_t size; /* of the store */
	uint16_t k;
};

struct translation_run {
	uint8_t *p;
	struct op *ops; /* the first of the run, which rsi points to */
	unsigned int k; /* the one being translated */
	enum known_cc cc;
	bool flags; /* the host's flags are the comparison that cc stands for */
	bool mode64; /* known to be in the 64-bit addressing mode */
	bool space; /* r8 is loaded */
	bool afp; /* known to have the AFP-register control */
	unsigned int stubs;
	struct stub stub[(BLOCK_MAX_OPS + 1) * 6];
};

/* ---- Where things are ---- */

#define AT(member) ((int32_t)offsetof(struct vcpu, member))

static int32_t gr_at(unsigned int r)
{
	return AT(s.gr) + 8 * (int32_t)r;
}

static int32_t op_at(unsigned int k)
{
	return (int32_t)(k * sizeof(struct op));
}

static const struct op *current(const struct translation_run *t)
{
	return &t->ops[t->k];
}

static void leave_by(struct translation_run *t, uint8_t *site, enum stub_kind kind,
		     unsigned int size)
{
	t->stub[t->stubs++] = (struct stub){ site, (uint8_t)kind, (uint8_t)size, (uint16_t)t->k };
}

static void exit_if(struct translation_run *t, enum x86_condition condition)
{
	leave_by(t, x86_jump_if(&t->p, condition), STUB_EXIT, 0);
}

/* Addresses are not cut: an addressing mode of fewer bits is not translated for. */
static void need_mode64(struct translation_run *t)
{
	if (t->mode64)
		return;
	x86_mem(&t->p, 0x83, X86_G_CMP, RDI, AT(addr_mask) + 4);
	x86_8(&t->p, 0xff);
	exit_if(t, X86_NE);
	t->mode64 = true;
	t->flags = false;
}

/* Registers other than 0, 2, 4, 6 are there only with the AFP-register control. */
static void need_float(struct translation_run *t, unsigned int r)
{
	const unsigned int byte = __builtin_ctzll(CR0_AFP) / 8, bit = __builtin_ctzll(CR0_AFP) % 8;

	if (t->afp || !(r & 9))
		return;
	x86_mem(&t->p, 0xf6, 0, RDI, AT(s.cr[0]) + (int32_t)byte); /* test with an immediate */
	x86_8(&t->p, 1u << bit);
	exit_if(t, X86_E);
	t->afp = true;
	t->flags = false;
}

/* ---- Condition code ---- */

static void cc_is(struct translation_run *t, enum known_cc known)
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
static void cc_compared(struct translation_run *t, enum known_cc known, unsigned int a,
			unsigned int b)
{
	x86_mem(&t->p, X86_STORE | W, a, RDI, AT(cc_a));
	x86_mem(&t->p, X86_STORE | W, b, RDI, AT(cc_b));
	cc_is(t, known);
	x86_reg(&t->p, X86_CMP | W, a, b);
	t->flags = true;
}

/* A result compared with 0, all 64 bits of the register being it. */
static void cc_signed(struct translation_run *t, unsigned int reg)
{
	x86_mem(&t->p, X86_STORE | W, reg, RDI, AT(cc_a));
	x86_store_imm(&t->p, W, RDI, AT(cc_b), 0);
	cc_is(t, CC_IS_SIGNED);
	x86_reg(&t->p, X86_TEST | W, reg, reg);
	t->flags = true;
}

/* 0 or not; changes the register. */
static void cc_nonzero(struct translation_run *t, unsigned int reg)
{
	x86_store_imm(&t->p, W, RDI, AT(cc_a), 0);
	x86_mem(&t->p, X86_STORE | W, reg, RDI, AT(cc_b));
	cc_is(t, CC_IS_UNSIGNED);
	/* The flags of comparing 0 with it */
	x86_unary(&t->p, X86_NEG, W, reg);
	t->flags = true;
}

/* Carry is 2, a result that is not 0 is 1: from the flags that were just set. */
static void cc_carry(struct translation_run *t, enum x86_condition carry)
{
	x86_reg(&t->p, (0x90u + carry) | X86_0F, 0, RCX);
	x86_reg(&t->p, (0x90u + X86_NE) | X86_0F, 0, RAX);
	x86_reg(&t->p, X86_MOVZX8, RCX, RCX);
	x86_reg(&t->p, X86_MOVZX8, RAX, RAX);
	x86_reg(&t->p, X86_ADD, RAX, RCX);
	x86_reg(&t->p, X86_ADD, RAX, RCX);
	x86_mem(&t->p, X86_STORE | W, RAX, RDI, AT(cc_a));
	cc_is(t, CC_IS_VALUE);
}

/* The selected bit is in eax and the rest of it is 0. */
static void cc_bit(struct translation_run *t)
{
	x86_unary(&t->p, X86_NEG, 0, RAX);
	x86_reg(&t->p, 0x1b, RAX, RAX); /* sbb: all ones if it was not 0 */
	x86_group(&t->p, X86_G_AND, 0, RAX, 3);
	x86_mem(&t->p, X86_STORE | W, RAX, RDI, AT(cc_a));
	cc_is(t, CC_IS_BIT);
	t->flags = true;
}

/* ---- Guest memory ---- */

static unsigned int size_of(enum type type)
{
	static const uint8_t sizes[] = {
		[U8] = 1, [S8] = 1, [U16] = 2, [S16] = 2, [U32] = 4, [S32] = 4, [D64] = 8,
	};

	return sizes[type];
}

/* rcx = base + index + displacement; 16 stands for no register. */
static void base_index(struct translation_run *t, unsigned int base, unsigned int index,
		       int32_t displacement)
{
	need_mode64(t);
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
	need_mode64(t);
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

static void first_address(struct translation_run *t)
{
	base_index(t, current(t)->b1, 16, current(t)->d1);
}

static void address(struct translation_run *t)
{
	const struct op *o = current(t);

	switch ((enum insn_format)insn_table[o->insn].format) {
	case F_RX:
	case F_RXY:
		base_index(t, o->b2, o->x2, o->d2);
		break;
	case F_SI:
	case F_SIY:
	case F_SIL:
		first_address(t);
		break;
	case F_RIL_REL:
		relative(t, o->imm);
		break;
	default:
		base_index(t, o->b2, 16, o->d2);
		break;
	}
}

/*
 * The operand at rcx is in a page that the TLB knows for this kind of access, or exit.
 * rdx = TLB entry, r9 = what to add to an address.
 */
static void find_page(struct translation_run *t, int32_t tag, unsigned int size)
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
	exit_if(t, X86_NE);
	x86_mem(&t->p, X86_LOAD | W, R9, RDX, offsetof(struct tlb_entry, addend));
}

/* rax = the operand at rcx, extended. */
static void load(struct translation_run *t, enum type type)
{
	static const uint32_t opcodes[] = {
		[U8] = X86_MOVZX8, [S8] = X86_MOVSX8 | W, [U16] = X86_MOVZX16,	[S16] = X86_MOVZX16,
		[U32] = X86_LOAD,  [S32] = X86_LOAD,	  [D64] = X86_LOAD | W,
	};

	find_page(t, offsetof(struct tlb_entry, tag_read), size_of(type));
	x86_mem_index(&t->p, opcodes[type], RAX, RCX, R9, 0);
	switch (size_of(type)) {
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

static void stored(struct translation_run *t, unsigned int size)
{
	x86_mem(&t->p, X86_LOAD | W, R9, RDX, offsetof(struct tlb_entry, flags));
	x86_mem(&t->p, 0x80, X86_G_CMP, R9, 0);
	x86_8(&t->p, 0);
	leave_by(t, x86_jump_if(&t->p, X86_NE), STUB_NOTICED, size);
	t->flags = false;
}

/* Byte-swapped to [rcx + r9 + displacement] */
static void store_value(struct translation_run *t, unsigned int size, int32_t displacement)
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

static void load_register(struct translation_run *t, unsigned int reg, unsigned int r,
			  enum type type)
{
	static const uint32_t opcodes[] = {
		[U8] = X86_MOVZX8,	 [S8] = X86_MOVSX8 | W, [U16] = X86_MOVZX16,
		[S16] = X86_MOVSX16 | W, [U32] = X86_LOAD,	[S32] = X86_MOVSXD | W,
		[D64] = X86_LOAD | W,
	};

	x86_mem(&t->p, opcodes[type], reg, RDI, gr_at(r));
}

static uint64_t immediate(const struct op *o, const struct template *m)
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
static void operand(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);

	switch ((enum operand)m->operand) {
	case NO_OPERAND:
		load_register(t, RAX, o->r1, (enum type)m->type);
		break;
	case R2:
		load_register(t, RAX, o->r2, (enum type)m->type);
		break;
	case R3:
		load_register(t, RAX, o->r3, (enum type)m->type);
		break;
	case FLOAT_R1:
	case FLOAT_R2: {
		unsigned int r = m->operand == FLOAT_R1 ? o->r1 : o->r2;

		need_float(t, r);
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
		x86_imm(&t->p, RAX, immediate(o, m));
		break;
	case MEMORY:
		address(t);
		load(t, (enum type)m->type);
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

static unsigned int width(const struct template *m)
{
	return m->bits == 64 ? W : 0;
}

static void first(struct translation_run *t, const struct template *m)
{
	x86_mem(&t->p, X86_LOAD | width(m), RDX, RDI, gr_at(first_register(current(t))));
}

static void result(struct translation_run *t, const struct template *m, unsigned int reg)
{
	x86_mem(&t->p, X86_STORE | width(m), reg, RDI, gr_at(current(t)->r1));
}

/* A result with its condition code from comparing it with 0; it is in rax or eax. */
static void signed_result(struct translation_run *t, const struct template *m, unsigned int reg)
{
	result(t, m, reg);
	if (m->bits == 32)
		x86_reg(&t->p, X86_MOVSXD | W, reg, reg);
	cc_signed(t, reg);
}

/* ---- Operations ---- */

static void arithmetic(struct translation_run *t, const struct template *m, unsigned int opcode)
{
	operand(t, m);
	first(t, m);
	x86_reg(&t->p, opcode | width(m), RDX, RAX);
	exit_if(t, X86_O);
	signed_result(t, m, RDX);
}

static void logical(struct translation_run *t, const struct template *m, unsigned int opcode)
{
	operand(t, m);
	first(t, m);
	x86_reg(&t->p, opcode | width(m), RDX, RAX);
	result(t, m, RDX);
	cc_nonzero(t, RDX);
}

static void arithmetic_logical(struct translation_run *t, const struct template *m)
{
	bool subtract = m->operation == SUBTRACT_LOGICAL;

	operand(t, m);
	first(t, m);
	x86_reg(&t->p, (subtract ? X86_SUB : X86_ADD) | width(m), RDX, RAX);
	result(t, m, RDX);
	cc_carry(t, subtract ? X86_AE : X86_B);
}

/* With the carry that the condition code holds; a borrow is the complement added. */
static void arithmetic_carry(struct translation_run *t, const struct template *m)
{
	if (t->cc != CC_IS_VALUE && t->cc != CC_IS_BIT) {
		x86_mem(&t->p, 0x83, X86_G_CMP, RDI, AT(cc_kind));
		x86_8(&t->p, CC_VALUE);
		exit_if(t, X86_NE);
		t->cc = CC_IS_VALUE;
	}
	operand(t, m);
	first(t, m);
	if (m->operation == SUBTRACT_BORROW)
		x86_unary(&t->p, X86_NOT, width(m), RAX);
	/* The left bit of the code to the host's carry */
	x86_mem(&t->p, X86_BT, 4, RDI, AT(cc_a));
	x86_8(&t->p, 1);
	x86_reg(&t->p, X86_ADC | width(m), RDX, RAX);
	result(t, m, RDX);
	cc_carry(t, X86_B);
}

static void compare(struct translation_run *t, const struct template *m, bool is_signed)
{
	operand(t, m);
	load_register(t, RDX, current(t)->r1, m->bits == 64 ? D64 : is_signed ? S32 : U32);
	cc_compared(t, is_signed ? CC_IS_SIGNED : CC_IS_UNSIGNED, RDX, RAX);
}

static void compare_storage(struct translation_run *t, const struct template *m, bool is_signed)
{
	address(t);
	load(t, (enum type)m->type);
	x86_imm(&t->p, RCX, immediate(current(t), m));
	cc_compared(t, is_signed ? CC_IS_SIGNED : CC_IS_UNSIGNED, RAX, RCX);
}

/* On a part of the register: the rest stays, and the part alone gives the code. */
static void logical_part(struct translation_run *t, const struct template *m)
{
	uint64_t value = immediate(current(t), m);
	uint64_t part = (m->type == U16 ? 0xffffull : 0xffffffffull) << m->shift;

	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, gr_at(current(t)->r1));
	x86_imm(&t->p, RAX, m->operation == AND_PART ? value | ~part : value);
	x86_reg(&t->p, (m->operation == AND_PART ? X86_AND : X86_OR) | W, RDX, RAX);
	x86_mem(&t->p, X86_STORE | W, RDX, RDI, gr_at(current(t)->r1));
	x86_imm(&t->p, RAX, part);
	x86_reg(&t->p, X86_AND | W, RDX, RAX);
	cc_nonzero(t, RDX);
}

/*
 * What TEST UNDER MASK selected is in eax: 0 if none of the bits, 3 if all. Else 1, or for
 * bits of a register 2 if the leftmost of the mask is one.
 */
static void cc_mixed(struct translation_run *t, unsigned int mask, bool leftmost_counts)
{
	unsigned int leftmost = 31u - (unsigned int)__builtin_clz(mask);

	x86_reg(&t->p, X86_LOAD, RDX, RAX);
	x86_shift(&t->p, X86_SHR, 0, RDX, leftmost);
	x86_reg(&t->p, X86_XOR, RCX, RCX);
	x86_reg(&t->p, X86_XOR, R9, R9);
	x86_reg(&t->p, X86_TEST, RAX, RAX);
	x86_reg(&t->p, (0x90u + X86_NE) | X86_0F, 0, RCX);
	x86_group(&t->p, X86_G_CMP, 0, RAX, (int32_t)mask);
	x86_reg(&t->p, (0x90u + X86_E) | X86_0F, 0, R9);
	x86_reg(&t->p, X86_ADD, RCX, R9);
	x86_reg(&t->p, X86_ADD, RCX, leftmost_counts ? RDX : R9);
	x86_mem(&t->p, X86_STORE | W, RCX, RDI, AT(cc_a));
	cc_is(t, CC_IS_VALUE);
}

static void test_under_mask(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);
	unsigned int mask = m->operand == MEMORY ? (uint8_t)o->imm : (uint16_t)o->imm;

	if (m->operand == MEMORY) {
		address(t);
		load(t, U8);
	} else {
		x86_mem(&t->p, X86_MOVZX16, RAX, RDI, gr_at(o->r1) + m->shift / 8);
	}
	x86_group(&t->p, X86_G_AND, 0, RAX, (int32_t)mask);
	if (mask & (mask - 1))
		cc_mixed(t, mask, m->operand != MEMORY);
	else
		cc_bit(t);
}

static void store(struct translation_run *t, const struct template *m)
{
	if (m->operand == FLOAT_R1)
		need_float(t, current(t)->r1);
	address(t);
	find_page(t, offsetof(struct tlb_entry, tag_write), size_of((enum type)m->type));
	operand(t, m);
	store_value(t, size_of((enum type)m->type), 0);
	stored(t, size_of((enum type)m->type));
}

/* Fields of the size of a register, the second one loaded before the first is stored. */
static void move(struct translation_run *t)
{
	static const uint32_t loads[] = {
		[1] = X86_MOVZX8,
		[2] = X86_MOVZX16,
		[4] = X86_LOAD,
		[8] = X86_LOAD | W,
	};
	static const uint32_t stores[] = {
		[1] = X86_STORE8,
		[2] = X86_STORE | X86_16,
		[4] = X86_STORE,
		[8] = X86_STORE | W,
	};
	unsigned int size = current(t)->l1 + 1u;

	base_index(t, current(t)->b2, 16, current(t)->d2);
	find_page(t, offsetof(struct tlb_entry, tag_read), size);
	x86_mem_index(&t->p, X86_LEA | W, R10, RCX, R9, 0);
	first_address(t);
	find_page(t, offsetof(struct tlb_entry, tag_write), size);
	if (size > 1) {
		/* Byte by byte means something else where the first lies over the second. */
		x86_mem_index(&t->p, X86_LEA | W, RAX, RCX, R9, 0);
		x86_reg(&t->p, X86_SUB | W, RAX, R10);
		x86_group(&t->p, X86_G_CMP, W, RAX, (int32_t)size);
		exit_if(t, X86_B);
	}
	x86_mem(&t->p, loads[size], RAX, R10, 0);
	x86_mem_index(&t->p, stores[size], RAX, RCX, R9, 0);
	stored(t, size);
}

static void compare_fields(struct translation_run *t)
{
	static const uint8_t types[] = { [1] = U8, [2] = U16, [4] = U32, [8] = D64 };
	enum type type = (enum type)types[current(t)->l1 + 1];

	first_address(t);
	load(t, type);
	x86_reg(&t->p, X86_LOAD | W, R10, RAX);
	base_index(t, current(t)->b2, 16, current(t)->d2);
	load(t, type);
	cc_compared(t, CC_IS_UNSIGNED, R10, RAX);
}

static unsigned int registers_of(const struct op *o)
{
	return ((o->r3 - o->r1) & 15u) + 1;
}

static void multiple(struct translation_run *t, bool is_load)
{
	const struct op *o = current(t);
	unsigned int n = registers_of(o);

	address(t);
	find_page(t,
		  is_load ? offsetof(struct tlb_entry, tag_read) :
			    offsetof(struct tlb_entry, tag_write),
		  8 * n);
	for (unsigned int i = 0; i < n; i++) {
		int32_t gr = gr_at((o->r1 + i) & 15);

		if (is_load) {
			x86_mem_index(&t->p, X86_LOAD | W, RAX, RCX, R9, 8 * (int32_t)i);
			x86_bswap(&t->p, W, RAX);
			x86_mem(&t->p, X86_STORE | W, RAX, RDI, gr);
		} else {
			x86_mem(&t->p, X86_LOAD | W, RAX, RDI, gr);
			store_value(t, 8, 8 * (int32_t)i);
		}
	}
	if (!is_load)
		stored(t, 8 * n);
}

static void shift(struct translation_run *t, const struct template *m)
{
	/* branch_specialise() has put a constant count there. */
	unsigned int count = (unsigned int)current(t)->imm, bits = m->bits;

	operand(t, m);
	switch ((enum operation)m->operation) {
	case ROTATE:
		x86_shift(&t->p, X86_ROL, width(m), RAX, count & (bits - 1));
		break;
	case SHIFT_SIGNED:
		x86_shift(&t->p, X86_SAR, W, RAX, count);
		signed_result(t, m, RAX);
		return;
	default:
		if (count >= bits)
			x86_imm(&t->p, RAX, 0);
		else
			x86_shift(&t->p, m->operation == SHIFT_LEFT ? X86_SHL : X86_SHR, width(m),
				  RAX, count);
		break;
	}
	result(t, m, RAX);
}

static void rotate_insert(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);
	uint64_t selected = o->uimm;

	operand(t, m);
	x86_shift(&t->p, X86_ROL, W, RAX, (unsigned int)o->d1 & 63);
	if (~selected) {
		x86_imm(&t->p, RDX, selected);
		x86_reg(&t->p, X86_AND | W, RAX, RDX);
		if (!(o->m4 & 0x80)) {
			x86_imm(&t->p, RDX, ~selected);
			x86_mem(&t->p, X86_AND | W, RDX, RDI, gr_at(o->r1));
			x86_reg(&t->p, X86_OR | W, RAX, RDX);
		}
	}
	signed_result(t, m, RAX);
}

static void rotate_logical(struct translation_run *t, const struct template *m)
{
	static const uint8_t opcodes[] = {
		[ROTATE_AND] = X86_AND,
		[ROTATE_OR] = X86_OR,
		[ROTATE_XOR] = X86_XOR,
	};
	const struct op *o = current(t);

	operand(t, m);
	x86_shift(&t->p, X86_ROL, W, RAX, (unsigned int)o->d1 & 63);
	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, gr_at(o->r1));
	x86_reg(&t->p, opcodes[m->operation] | W, RAX, RDX);
	x86_imm(&t->p, RCX, o->uimm);
	x86_reg(&t->p, X86_AND | W, RAX, RCX);
	/* The leftmost bit of I3: only for the condition code */
	if (!(o->m3 & 0x80)) {
		x86_unary(&t->p, X86_NOT, W, RCX);
		x86_reg(&t->p, X86_AND | W, RDX, RCX);
		x86_reg(&t->p, X86_OR | W, RDX, RAX);
		x86_mem(&t->p, X86_STORE | W, RDX, RDI, gr_at(o->r1));
	}
	cc_nonzero(t, RAX);
}

/* ---- Branches ---- */

/* The host's condition for a mask of three outcomes that is not all or none of them. */
static enum x86_condition outcome(unsigned int mask, bool is_signed)
{
	switch (mask & 14) {
	case 12:
		return is_signed ? X86_LE : X86_BE;
	case 10:
		return is_signed ? X86_GE : X86_AE;
	case 8:
		return X86_E;
	case 6:
		return X86_NE;
	case 4:
		return is_signed ? X86_L : X86_B;
	default:
		return is_signed ? X86_G : X86_A;
	}
}

enum decision { NEVER, ALWAYS, SOMETIMES };

static enum decision decide(unsigned int mask, unsigned int possible)
{
	mask &= possible;
	return !mask ? NEVER : mask == possible ? ALWAYS : SOMETIMES;
}

/* al = the bit of the mask that the code in ecx selects, flags set */
static void select_mask(struct translation_run *t, unsigned int mask)
{
	x86_imm(&t->p, RAX, mask);
	x86_reg(&t->p, 0xd3, X86_SHL, RAX);
	x86_8(&t->p, 0xa8); /* test al */
	x86_8(&t->p, 8);
}

/* Not knowing how the code is kept: NE when it is one of the mask's. */
static void condition_unknown(struct translation_run *t, unsigned int mask)
{
	uint8_t *value, *done;

	x86_mem(&t->p, X86_LOAD | W, RCX, RDI, AT(cc_a));
	x86_mem(&t->p, X86_LOAD, RDX, RDI, AT(cc_kind));
	x86_reg(&t->p, X86_TEST, RDX, RDX);
	_Static_assert(CC_VALUE == 0, "tested for");
	value = x86_jump_if(&t->p, X86_E);
	/* Outcomes of a comparison: equality does not depend on its kind, the rest is left to others. */
	if (decide(mask, 14) == SOMETIMES && (mask & 14) != 8 && (mask & 14) != 6) {
		x86_group(&t->p, X86_G_CMP, 0, RDX, CC_SIGNED);
		exit_if(t, X86_NE);
	}
	x86_reg(&t->p, X86_XOR, RAX, RAX);
	if (decide(mask, 14) == SOMETIMES) {
		x86_mem(&t->p, X86_CMP | W, RCX, RDI, AT(cc_b));
		x86_reg(&t->p, (0x90u + outcome(mask, true)) | X86_0F, 0, RAX);
	} else if (decide(mask, 14) == ALWAYS) {
		x86_imm(&t->p, RAX, 1);
	}
	x86_reg(&t->p, X86_TEST, RAX, RAX);
	done = x86_jump(&t->p);
	x86_land(value, t->p);
	select_mask(t, mask);
	x86_land(done, t->p);
}

/* Is the condition code one of the mask's? When only the host's flags can tell: which. */
static enum decision condition(struct translation_run *t, unsigned int mask,
			       enum x86_condition *which)
{
	enum decision d;

	switch (t->cc) {
	case CC_UNKNOWN:
		d = decide(mask, 15);
		if (d != SOMETIMES)
			return d;
		condition_unknown(t, mask);
		*which = X86_NE;
		return SOMETIMES;
	case CC_IS_BIT:
		d = decide(mask, 9);
		if (d != SOMETIMES)
			return d;
		if (!t->flags) {
			x86_mem(&t->p, 0x83 | W, X86_G_CMP, RDI, AT(cc_a));
			x86_8(&t->p, 0);
		}
		*which = mask & 8 ? X86_E : X86_NE;
		break;
	case CC_IS_VALUE:
		x86_mem(&t->p, X86_LOAD, RCX, RDI, AT(cc_a));
		select_mask(t, mask);
		*which = X86_NE;
		return SOMETIMES;
	default:
		d = decide(mask, 14);
		if (d != SOMETIMES)
			return d;
		if (!t->flags) {
			x86_mem(&t->p, X86_LOAD | W, RAX, RDI, AT(cc_a));
			x86_mem(&t->p, X86_CMP | W, RAX, RDI, AT(cc_b));
		}
		*which = outcome(mask, t->cc == CC_IS_SIGNED);
		break;
	}
	t->flags = true;
	return SOMETIMES;
}

/* Go on with the op that rsi points to. */
static void run_op(struct translation_run *t)
{
#if CPU_THREADED
	x86_mem(&t->p, 0xff, 4, RSI, offsetof(struct op, fn));
#else
	x86_reg(&t->p, X86_LOAD | W, RAX, RSI);
	x86_8(&t->p, 0xc3);
#endif
}

/* rdx = instructions behind op k; exit if the limit is reached. */
static void check_limit(struct translation_run *t)
{
	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, AT(icount));
	x86_group(&t->p, X86_G_ADD, W, RDX, current(t)->index + 1);
	x86_mem(&t->p, X86_CMP | W, RDX, RDI, AT(limit));
	exit_if(t, X86_A);
}

static void note_branch(struct translation_run *t)
{
	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, AT(page));
	if (current(t)->offset)
		x86_group(&t->p, X86_G_ADD, W, RDX, current(t)->offset);
	x86_mem(&t->p, X86_STORE | W, RDX, RDI, AT(s.breaking_event));
}

/* The address behind the instruction to R1, in the 64-bit mode */
static void save_link(struct translation_run *t)
{
	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, AT(page));
	x86_group(&t->p, X86_G_ADD, W, RDX, current(t)->offset + current(t)->length);
	x86_mem(&t->p, X86_STORE | W, RDX, RDI, gr_at(current(t)->r1));
}

/* What else the instruction does, its count being in rdx, when nothing can keep it from branching any more. */
static void take_effect(struct translation_run *t, const struct template *m)
{
	x86_mem(&t->p, X86_STORE | W, RDX, RDI, AT(icount));
	switch ((enum operation)m->operation) {
	case GO_NEXT:
		return;
	case BRANCH_SAVE:
	case BRANCH_SAVE_REGISTER:
		save_link(t);
		break;
	case BRANCH_COUNT:
		x86_mem(&t->p, 0x83 | width(m), 5, RDI, gr_at(current(t)->r1)); /* sub */
		x86_8(&t->p, 1);
		break;
	default:
		break;
	}
	note_branch(t);
}

/* Within the page: to the target's first op, if it is known already. */
static void take_chain(struct translation_run *t, const struct template *m)
{
	x86_mem(&t->p, X86_LOAD | W, RAX, RSI, op_at(t->k) + (int32_t)offsetof(struct op, chain));
	x86_reg(&t->p, X86_TEST | W, RAX, RAX);
	exit_if(t, X86_E);
	check_limit(t);
	take_effect(t, m);
	if (t->k)
		x86_group(&t->p, X86_G_ADD, W, RSI, op_at(t->k));
	x86_mem(&t->p, X86_STORE | W, RSI, RDI, AT(chain_from));
	x86_reg(&t->p, X86_LOAD | W, RSI, RAX);
	run_op(t);
}

/* To the address in rcx, if the jump cache knows it; see jump_to(). */
static void take_address(struct translation_run *t, const struct template *m)
{
	_Static_assert(sizeof(struct jump_entry) == 32 && JUMP_LINES == 256, "scaled by shifts");

	/* Line, then slot within it */
	x86_reg(&t->p, X86_LOAD, RAX, RCX);
	x86_shift(&t->p, X86_SHR, 0, RAX, PAGE_SHIFT);
	x86_reg(&t->p, X86_MOVZX8, RAX, RAX);
	x86_shift(&t->p, X86_SHL, 0, RAX, __builtin_ctz(JUMP_SLOTS));
	x86_reg(&t->p, X86_LOAD, RDX, RCX);
	x86_shift(&t->p, X86_SHR, 0, RDX, 1);
	x86_reg(&t->p, X86_LOAD, R9, RCX);
	x86_shift(&t->p, X86_SHR, 0, R9, 7);
	x86_reg(&t->p, X86_XOR, RDX, R9);
	x86_group(&t->p, X86_G_AND, 0, RDX, JUMP_SLOTS - 1);
	x86_reg(&t->p, X86_ADD, RAX, RDX);
	x86_shift(&t->p, X86_SHL, 0, RAX, 5);
	x86_mem_index(&t->p, X86_LEA | W, RAX, RDI, RAX, AT(jumps));
	x86_mem(&t->p, X86_CMP | W, RCX, RAX, offsetof(struct jump_entry, addr));
	exit_if(t, X86_NE);
	x86_mem(&t->p, X86_LOAD, RDX, RDI, AT(fetch_asid));
	x86_mem(&t->p, X86_CMP, RDX, RAX, offsetof(struct jump_entry, asid));
	exit_if(t, X86_NE);
	check_limit(t);
	take_effect(t, m);
	x86_group(&t->p, X86_G_AND, W, RCX, (int32_t)PAGE_MASK);
	x86_mem(&t->p, X86_STORE | W, RCX, RDI, AT(page));
	x86_mem(&t->p, X86_LOAD | W, RSI, RAX, offsetof(struct jump_entry, op));
	run_op(t);
}

static bool names_register(const struct template *m)
{
	return m->operation == BRANCH_CONDITION_REGISTER || m->operation == BRANCH_SAVE_REGISTER;
}

/* Where a relative branch goes to, from the beginning of the page that it is in. */
static int64_t target(const struct op *o)
{
	if (!o->length)
		return o->flags & OP_PAGE_END ? (int64_t)PAGE_SIZE : o->offset;
	return o->offset + 2 * (int64_t)o->d2;
}

static bool in_page(const struct op *o)
{
	return target(o) >= 0 && target(o) < (int64_t)PAGE_SIZE;
}

static void take(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);

	if (names_register(m)) {
		x86_mem(&t->p, X86_LOAD | W, RCX, RDI, gr_at(o->r2));
		take_address(t, m);
	} else if (in_page(o)) {
		take_chain(t, m);
	} else {
		x86_imm(&t->p, RCX, (uint64_t)target(o));
		x86_mem(&t->p, X86_ADD | W, RCX, RDI, AT(page));
		take_address(t, m);
	}
}

static void branch_if(struct translation_run *t, enum decision decision, enum x86_condition which)
{
	if (decision == ALWAYS)
		leave_by(t, x86_jump(&t->p), STUB_TAKEN, 0);
	else if (decision == SOMETIMES)
		leave_by(t, x86_jump_if(&t->p, which), STUB_TAKEN, 0);
}

static void branch_condition(struct translation_run *t)
{
	enum x86_condition which = X86_E;
	unsigned int mask = current(t)->m1;
	enum decision decision = mask == 15 ? ALWAYS : condition(t, mask, &which);

	branch_if(t, decision, which);
}

static void branch_count(struct translation_run *t, const struct template *m)
{
	int32_t gr = gr_at(current(t)->r1);

	x86_mem(&t->p, X86_LOAD | width(m), RAX, RDI, gr);
	x86_group(&t->p, X86_G_ADD, width(m), RAX, -1);
	branch_if(t, SOMETIMES, X86_NE);
	x86_mem(&t->p, X86_STORE | width(m), RAX, RDI, gr);
	t->flags = false;
}

static void compare_branch(struct translation_run *t, const struct template *m, bool is_signed)
{
	unsigned int mask = current(t)->m3;
	enum decision decision = decide(mask, 14);

	if (decision == SOMETIMES) {
		operand(t, m);
		load_register(t, RDX, current(t)->r1, m->bits == 64 ? D64 : is_signed ? S32 : U32);
		x86_reg(&t->p, X86_CMP | W, RDX, RAX);
		t->flags = false;
	}
	branch_if(t, decision, outcome(mask, is_signed));
}

/* The link is saved as the 64-bit mode has it. */
static void branch_save(struct translation_run *t)
{
	need_mode64(t);
	branch_if(t, ALWAYS, X86_E);
}

static void load_on_condition(struct translation_run *t, const struct template *m)
{
	enum x86_condition which;
	enum decision decision = condition(t, current(t)->m3, &which);
	uint8_t *skip = NULL;

	if (decision == NEVER)
		return;
	if (decision == SOMETIMES)
		skip = x86_jump_if(&t->p, which ^ 1);
	operand(t, m);
	result(t, m, RAX);
	if (skip)
		x86_land(skip, t->p);
}

/* ---- A run ---- */

/* Can this op be translated, knowing how the condition code is kept before it? */
static const struct template *template_of(const struct host_code *code, const struct op *o,
					  enum known_cc cc)
{
	const struct template *m;

	if (!o->length)
		return o->fn == insn_goto_next ? &go_next : NULL;
	if (o->fn == insn_crossing || o->fn == insn_operation_exception)
		return NULL;
	m = &templates[code->templates[o->insn]];
	switch ((enum operation)m->operation) {
	case NONE:
		return NULL;
	case BRANCH_CONDITION_REGISTER:
	case BRANCH_SAVE_REGISTER:
		return o->r2 ? m : NULL;
	case MOVE:
	case COMPARE_FIELDS:
		return o->l1 < 8 && !(o->l1 & (o->l1 + 1)) ? m : NULL;
	case LOAD_ON_CONDITION:
		return cc != CC_UNKNOWN ? m : NULL;
	case TEST_MASK:
		return (m->type == U8 ? (uint8_t)o->imm : (uint16_t)o->imm) ? m : NULL;
	case SHIFT_LEFT:
	case SHIFT_RIGHT:
	case SHIFT_SIGNED:
	case ROTATE:
		return o->b2 == 16 ? m : NULL;
	default:
		break;
	}
	/* Relative operands are aligned, which depends on the place in the page alone, or an exception. */
	if (insn_table[o->insn].format == F_RIL_REL && m->operation != LOAD_ADDRESS &&
	    !(insn_table[o->insn].flags & JUMP) && ((o->offset + o->uimm) & (size_of(m->type) - 1)))
		return NULL;
	return m;
}

/* How the condition code is kept behind the op. */
static enum known_cc cc_behind(const struct template *m, enum known_cc cc)
{
	switch ((enum operation)m->operation) {
	case TEST:
	case ADD:
	case SUBTRACT:
	case COMPARE:
	case COMPARE_STORAGE:
	case SHIFT_SIGNED:
	case ROTATE_INSERT:
		return CC_IS_SIGNED;
	case COMPARE_LOGICAL:
	case COMPARE_STORAGE_LOGICAL:
	case AND:
	case OR:
	case XOR:
	case AND_PART:
	case OR_PART:
	case ROTATE_AND:
	case ROTATE_OR:
	case ROTATE_XOR:
		return CC_IS_UNSIGNED;
	case ADD_LOGICAL:
	case SUBTRACT_LOGICAL:
	case ADD_CARRY:
	case SUBTRACT_BORROW:
		return CC_IS_VALUE;
	case TEST_MASK:
		return CC_IS_VALUE;
	case COMPARE_FIELDS:
		return CC_IS_UNSIGNED;
	default:
		return cc;
	}
}

static void translate_op(struct translation_run *t, const struct template *m)
{
	switch ((enum operation)m->operation) {
	case NONE:
		break;
	case SET:
		operand(t, m);
		result(t, m, RAX);
		break;
	case SET_BYTE:
		operand(t, m);
		x86_mem(&t->p, X86_STORE8, RAX, RDI, gr_at(current(t)->r1));
		break;
	case SET_HIGH:
		x86_store_imm(&t->p, 0, RDI, gr_at(current(t)->r1) + 4,
			      (int32_t)immediate(current(t), m));
		break;
	case TEST:
		operand(t, m);
		signed_result(t, m, RAX);
		break;
	case STORE:
		store(t, m);
		break;
	case LOAD_ADDRESS:
		address(t);
		result(t, m, RCX);
		break;
	case ADD:
		arithmetic(t, m, X86_ADD);
		break;
	case SUBTRACT:
		arithmetic(t, m, X86_SUB);
		break;
	case ADD_LOGICAL:
	case SUBTRACT_LOGICAL:
		arithmetic_logical(t, m);
		break;
	case ADD_CARRY:
	case SUBTRACT_BORROW:
		arithmetic_carry(t, m);
		break;
	case COMPARE:
		compare(t, m, true);
		break;
	case COMPARE_LOGICAL:
		compare(t, m, false);
		break;
	case COMPARE_STORAGE:
		compare_storage(t, m, true);
		break;
	case COMPARE_STORAGE_LOGICAL:
		compare_storage(t, m, false);
		break;
	case AND:
		logical(t, m, X86_AND);
		break;
	case OR:
		logical(t, m, X86_OR);
		break;
	case XOR:
		logical(t, m, X86_XOR);
		break;
	case AND_PART:
	case OR_PART:
		logical_part(t, m);
		break;
	case TEST_MASK:
		test_under_mask(t, m);
		break;
	case MULTIPLY:
		operand(t, m);
		x86_mem(&t->p, X86_IMUL | width(m), RAX, RDI, gr_at(current(t)->r1));
		result(t, m, RAX);
		break;
	case SHIFT_LEFT:
	case SHIFT_RIGHT:
	case SHIFT_SIGNED:
	case ROTATE:
		shift(t, m);
		break;
	case ROTATE_INSERT:
		rotate_insert(t, m);
		break;
	case ROTATE_AND:
	case ROTATE_OR:
	case ROTATE_XOR:
		rotate_logical(t, m);
		break;
	case SET_FLOAT:
		need_float(t, current(t)->r1);
		operand(t, m);
		x86_mem(&t->p, X86_STORE | W, RAX, RDI, AT(s.fpr) + 8 * current(t)->r1);
		break;
	case MOVE:
		move(t);
		break;
	case COMPARE_FIELDS:
		compare_fields(t);
		break;
	case LOAD_MULTIPLE:
		multiple(t, true);
		break;
	case STORE_MULTIPLE:
		multiple(t, false);
		break;
	case LOAD_ON_CONDITION:
		load_on_condition(t, m);
		break;
	case BRANCH_CONDITION:
	case BRANCH_CONDITION_REGISTER:
		branch_condition(t);
		break;
	case BRANCH_COUNT:
		branch_count(t, m);
		break;
	case BRANCH_SAVE:
	case BRANCH_SAVE_REGISTER:
		branch_save(t);
		break;
	case COMPARE_BRANCH:
		compare_branch(t, m, true);
		break;
	case COMPARE_BRANCH_LOGICAL:
		compare_branch(t, m, false);
		break;
	case GO_NEXT:
		branch_if(t, ALWAYS, X86_E);
		break;
	}
}

/* rsi = op k, and its function goes on. */
static void go_on_with(struct translation_run *t, unsigned int k)
{
	if (k) {
		x86_group(&t->p, X86_G_ADD, W, RSI, op_at(k));
		run_op(t);
		return;
	}
	x86_imm(&t->p, RAX, (uint64_t)(uintptr_t)t->ops[0].fn);
	x86_reg(&t->p, 0xff, 4, RAX);
}

static void stub(struct translation_run *t, const struct host_code *code, const struct stub *s)
{
	t->k = s->k;
	x86_land(s->site, t->p);
	switch ((enum stub_kind)s->kind) {
	case STUB_EXIT:
		go_on_with(t, s->k);
		break;
	case STUB_NOTICED:
		/* rdx and rcx have the entry and the address. */
		x86_mem(&t->p, X86_LEA | W, RSI, RSI, op_at(s->k));
		x86_imm(&t->p, R8, s->size);
		x86_imm(&t->p, RAX, (uint64_t)(uintptr_t)store_noticed);
		x86_reg(&t->p, 0xff, 4, RAX);
		break;
	case STUB_TAKEN:
		take(t, template_of(code, current(t), CC_IS_VALUE));
		break;
	}
}

static unsigned int length_of_run(const struct host_code *code, const struct op *ops,
				  unsigned int count)
{
	enum known_cc cc = CC_UNKNOWN;
	unsigned int n = 0;

	while (n < count) {
		const struct template *m = template_of(code, &ops[n], cc);

		if (!m)
			break;
		cc = cc_behind(m, cc);
		n++;
	}
	return n;
}

static bool is_branch(const struct template *m)
{
	return m->operation >= BRANCH_CONDITION;
}

/* Not those that are moves alone, or that use what the flags say. */
static bool changes_flags(const struct template *m)
{
	switch ((enum operation)m->operation) {
	case SET:
		return m->operand == MEMORY;
	case BRANCH_CONDITION:
	case BRANCH_CONDITION_REGISTER:
	case LOAD_ON_CONDITION:
		return false;
	default:
		return true;
	}
}

static void translate_run(struct host_code *code, struct op *ops, unsigned int n, bool goes_on)
{
	struct translation_run t = { .p = code->write + code->used, .ops = ops };
	bool open = true;

	for (t.k = 0; t.k < n; t.k++) {
		const struct template *m = template_of(code, current(&t), t.cc);

		if (changes_flags(m))
			t.flags = false;
		if (names_register(m) || (is_branch(m) && !in_page(current(&t))))
			need_mode64(&t);
		translate_op(&t, m);
		open = !(current(&t)->flags & OP_ALWAYS_JUMPS) && m != &go_next;
	}
	if (open && goes_on)
		go_on_with(&t, n);
	/* Stubs make stubs: the exits of a branch. */
	for (unsigned int i = 0; i < t.stubs; i++)
		stub(&t, code, &t.stub[i]);
	ops[0].fn = (op_fn *)(uintptr_t)(code->execute + code->used);
	__atomic_store_n(&code->used, ((size_t)(t.p - code->write) + 15) & ~15ull,
			 __ATOMIC_RELAXED);
}

void translate_block(struct host_code *code, struct op *ops, unsigned int count)
{
	unsigned int i = 0;

	if (code->size - code->used < MAX_BYTES_OF_BLOCK)
		return;
	while (i < count) {
		unsigned int n = length_of_run(code, ops + i, count - i);

		if (n >= MIN_RUN)
			translate_run(code, ops + i, n, i + n < count);
		i += n + 1;
	}
}

bool translate_full(const struct host_code *code)
{
	return code->size &&
	       code->size - __atomic_load_n(&code->used, __ATOMIC_RELAXED) < MAX_BYTES_OF_BLOCK;
}

void translate_forget(struct host_code *code)
{
	code->most = MAX(code->most, code->used);
	code->used = 0;
}

/* ---- Memory ---- */

static uint8_t template_number(op_fn *fn)
{
	for (unsigned int i = 1; i < ARRAY_SIZE(templates); i++) {
		if (templates[i].fn == fn)
			return (uint8_t)i;
	}
	return 0;
}

void translate_init(struct host_code *code)
{
	int fd = memfd_create("zvisor-code", MFD_CLOEXEC);
	void *write = MAP_FAILED, *execute = MAP_FAILED;

	_Static_assert(ARRAY_SIZE(templates) < 256, "a template's number is one byte");
	*code = (struct host_code){ .templates = calloc(insn_table_size, 1) };
	if (fd >= 0 && ftruncate(fd, HOST_CODE_BYTES) == 0) {
		write = mmap(NULL, HOST_CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		execute = mmap(NULL, HOST_CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	if (!code->templates || write == MAP_FAILED || execute == MAP_FAILED) {
		if (write != MAP_FAILED)
			munmap(write, HOST_CODE_BYTES);
		if (execute != MAP_FAILED)
			munmap(execute, HOST_CODE_BYTES);
		return;
	}
	code->write = write;
	code->execute = execute;
	code->size = HOST_CODE_BYTES;
	for (unsigned int i = 0; i < insn_table_size; i++) {
		if (!(insn_table[i].flags & (PRIVILEGED | MACHINE)))
			code->templates[i] = template_number(insn_table[i].fn);
	}
}

void translate_destroy(struct host_code *code)
{
	if (code->size) {
		munmap(code->write, code->size);
		munmap(code->execute, code->size);
	}
	free(code->templates);
	*code = (struct host_code){ 0 };
}

#else

void translate_init(struct host_code *code)
{
	*code = (struct host_code){ 0 };
}

void translate_destroy(struct host_code *code)
{
}

void translate_block(struct host_code *code, struct op *ops, unsigned int count)
{
}

bool translate_full(const struct host_code *code)
{
	return false;
}

void translate_forget(struct host_code *code)
{
}

#endif
