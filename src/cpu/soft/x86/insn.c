/* SPDX-License-Identifier: MIT */
/* What instructions do that do not branch; `m` says what kind it is. */
#include "cpu/soft/x86/emit.h"

#define W X86_W

static void arithmetic(struct translation_run *t, const struct template *m, unsigned int opcode)
{
	emit_operand(t, m);
	emit_first(t, m);
	x86_reg(&t->p, opcode | template_width(m), RDX, RAX);
	emit_exit_if(t, X86_O);
	emit_signed_result(t, m, RDX);
}

static void logical(struct translation_run *t, const struct template *m, unsigned int opcode)
{
	emit_operand(t, m);
	emit_first(t, m);
	x86_reg(&t->p, opcode | template_width(m), RDX, RAX);
	emit_result(t, m, RDX);
	emit_cc_nonzero(t, RDX);
}

static void arithmetic_logical(struct translation_run *t, const struct template *m)
{
	bool subtract = m->operation == SUBTRACT_LOGICAL;

	emit_operand(t, m);
	emit_first(t, m);
	x86_reg(&t->p, (subtract ? X86_SUB : X86_ADD) | template_width(m), RDX, RAX);
	emit_result(t, m, RDX);
	emit_cc_carry(t, subtract ? X86_AE : X86_B);
}

/* With the carry that the condition code holds; a borrow is the complement added. */
static void arithmetic_carry(struct translation_run *t, const struct template *m)
{
	if (t->cc != CC_IS_VALUE && t->cc != CC_IS_BIT) {
		x86_mem(&t->p, 0x83, X86_G_CMP, RDI, AT(cc_kind));
		x86_8(&t->p, CC_VALUE);
		emit_exit_if(t, X86_NE);
		t->cc = CC_IS_VALUE;
	}
	emit_operand(t, m);
	emit_first(t, m);
	if (m->operation == SUBTRACT_BORROW)
		x86_unary(&t->p, X86_NOT, template_width(m), RAX);
	/* The left bit of the code to the host's carry */
	x86_mem(&t->p, X86_BT, 4, RDI, AT(cc_a));
	x86_8(&t->p, 1);
	x86_reg(&t->p, X86_ADC | template_width(m), RDX, RAX);
	emit_result(t, m, RDX);
	emit_cc_carry(t, X86_B);
}

static void compare(struct translation_run *t, const struct template *m, bool is_signed)
{
	emit_operand(t, m);
	emit_load_register(t, RDX, current(t)->r1, m->bits == 64 ? D64 : is_signed ? S32 : U32);
	emit_cc_compared(t, is_signed ? CC_IS_SIGNED : CC_IS_UNSIGNED, RDX, RAX);
}

static void compare_storage(struct translation_run *t, const struct template *m, bool is_signed)
{
	emit_address(t);
	emit_load(t, (enum type)m->type);
	x86_imm(&t->p, RCX, template_immediate(current(t), m));
	emit_cc_compared(t, is_signed ? CC_IS_SIGNED : CC_IS_UNSIGNED, RAX, RCX);
}

/* On a part of the register: the rest stays, and the part alone gives the code. */
static void logical_part(struct translation_run *t, const struct template *m)
{
	uint64_t value = template_immediate(current(t), m);
	uint64_t part = (m->type == U16 ? 0xffffull : 0xffffffffull) << m->shift;

	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, gr_at(current(t)->r1));
	x86_imm(&t->p, RAX, m->operation == AND_PART ? value | ~part : value);
	x86_reg(&t->p, (m->operation == AND_PART ? X86_AND : X86_OR) | W, RDX, RAX);
	x86_mem(&t->p, X86_STORE | W, RDX, RDI, gr_at(current(t)->r1));
	x86_imm(&t->p, RAX, part);
	x86_reg(&t->p, X86_AND | W, RDX, RAX);
	emit_cc_nonzero(t, RDX);
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
	emit_cc_kind(t, CC_IS_VALUE);
}

static void test_under_mask(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);
	unsigned int mask = m->operand == MEMORY ? (uint8_t)o->imm : (uint16_t)o->imm;

	if (m->operand == MEMORY) {
		emit_address(t);
		emit_load(t, U8);
	} else {
		x86_mem(&t->p, X86_MOVZX16, RAX, RDI, gr_at(o->r1) + m->shift / 8);
	}
	x86_group(&t->p, X86_G_AND, 0, RAX, (int32_t)mask);
	if (mask & (mask - 1))
		cc_mixed(t, mask, m->operand != MEMORY);
	else
		emit_cc_bit(t);
}

static void store(struct translation_run *t, const struct template *m)
{
	if (m->operand == FLOAT_R1)
		emit_need_float(t, current(t)->r1);
	emit_address(t);
	emit_find_page(t, offsetof(struct tlb_entry, tag_write), type_size((enum type)m->type));
	emit_operand(t, m);
	emit_store_value(t, type_size((enum type)m->type), 0);
	emit_stored(t, type_size((enum type)m->type));
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

	emit_base_index(t, current(t)->b2, 16, current(t)->d2);
	emit_find_page(t, offsetof(struct tlb_entry, tag_read), size);
	x86_mem_index(&t->p, X86_LEA | W, R10, RCX, R9, 0);
	emit_first_address(t);
	emit_find_page(t, offsetof(struct tlb_entry, tag_write), size);
	if (size > 1) {
		/* Byte by byte means something else where the first lies over the second. */
		x86_mem_index(&t->p, X86_LEA | W, RAX, RCX, R9, 0);
		x86_reg(&t->p, X86_SUB | W, RAX, R10);
		x86_group(&t->p, X86_G_CMP, W, RAX, (int32_t)size);
		emit_exit_if(t, X86_B);
	}
	x86_mem(&t->p, loads[size], RAX, R10, 0);
	x86_mem_index(&t->p, stores[size], RAX, RCX, R9, 0);
	emit_stored(t, size);
}

static void compare_fields(struct translation_run *t)
{
	static const uint8_t types[] = { [1] = U8, [2] = U16, [4] = U32, [8] = D64 };
	enum type type = (enum type)types[current(t)->l1 + 1];

	emit_first_address(t);
	emit_load(t, type);
	x86_reg(&t->p, X86_LOAD | W, R10, RAX);
	emit_base_index(t, current(t)->b2, 16, current(t)->d2);
	emit_load(t, type);
	emit_cc_compared(t, CC_IS_UNSIGNED, R10, RAX);
}

static unsigned int registers_of(const struct op *o)
{
	return ((o->r3 - o->r1) & 15u) + 1;
}

static void multiple(struct translation_run *t, bool is_load)
{
	const struct op *o = current(t);
	unsigned int n = registers_of(o);

	emit_address(t);
	emit_find_page(t,
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
			emit_store_value(t, 8, 8 * (int32_t)i);
		}
	}
	if (!is_load)
		emit_stored(t, 8 * n);
}

static void shift(struct translation_run *t, const struct template *m)
{
	/* branch_specialise() has put a constant count there. */
	unsigned int count = (unsigned int)current(t)->imm, bits = m->bits;

	emit_operand(t, m);
	switch ((enum operation)m->operation) {
	case ROTATE:
		x86_shift(&t->p, X86_ROL, template_width(m), RAX, count & (bits - 1));
		break;
	case SHIFT_SIGNED:
		x86_shift(&t->p, X86_SAR, W, RAX, count);
		emit_signed_result(t, m, RAX);
		return;
	default:
		if (count >= bits)
			x86_imm(&t->p, RAX, 0);
		else
			x86_shift(&t->p, m->operation == SHIFT_LEFT ? X86_SHL : X86_SHR,
				  template_width(m), RAX, count);
		break;
	}
	emit_result(t, m, RAX);
}

static void rotate_insert(struct translation_run *t, const struct template *m)
{
	const struct op *o = current(t);
	uint64_t selected = o->uimm;

	emit_operand(t, m);
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
	emit_signed_result(t, m, RAX);
}

static void rotate_logical(struct translation_run *t, const struct template *m)
{
	static const uint8_t opcodes[] = {
		[ROTATE_AND] = X86_AND,
		[ROTATE_OR] = X86_OR,
		[ROTATE_XOR] = X86_XOR,
	};
	const struct op *o = current(t);

	emit_operand(t, m);
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
	emit_cc_nonzero(t, RAX);
}

/*
 * PCI STORE by the CPU's window: see zpci/window.h, whose order of accesses this is. rcx is not 0
 * if anything keeps it from being done so; a branch costs more than all of that.
 */
static void store_by_window(struct translation_run *t)
{
	const struct op *o = current(t);
	uint8_t *through;

	x86_store_imm(&t->p, W, RDI, AT(window.in_use), 1);
	x86_mem(&t->p, X86_LOAD | W, RAX, RDI, gr_at(o->r2));
	x86_mem(&t->p, X86_XOR | W, RAX, RDI, AT(window.request));
	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, gr_at(o->r2 + 1u));
	x86_mem(&t->p, X86_XOR | W, RDX, RDI, AT(window.first));
	x86_mem(&t->p, X86_LOAD | W, RCX, RDI, AT(window.mask));
	x86_reg(&t->p, X86_AND | W, RCX, RDX);
	x86_reg(&t->p, X86_OR | W, RCX, RAX);
	x86_mem(&t->p, X86_OR | W, RCX, RDI, AT(window.shut));
	through = x86_jump_if(&t->p, X86_E);
	x86_store_imm(&t->p, W, RDI, AT(window.in_use), 0);
	emit_leave(t, x86_jump(&t->p), STUB_EXIT, 0);

	x86_land(through, t->p);
	x86_mem(&t->p, X86_LOAD | W, R9, RDI, AT(window.host));
	x86_mem(&t->p, X86_LOAD, RAX, RDI, gr_at(o->r1));
	x86_bswap(&t->p, 0, RAX);
	x86_mem_index(&t->p, X86_STORE, RAX, R9, RDX, 0);
	x86_mem(&t->p, X86_LOAD | W, R9, RDI, AT(window.count));
	x86_mem(&t->p, 0x83 | W, X86_G_ADD, R9, 0);
	x86_8(&t->p, 1);
	x86_store_imm(&t->p, W, RDI, AT(window.in_use), 0);
	x86_store_imm(&t->p, W, RDI, AT(cc_a), 0);
	emit_cc_kind(t, CC_IS_VALUE);

	t->mode64 = t->space = t->afp = false;
	t->again[t->k + 1] = t->p;
}

void translate_insn(struct translation_run *t, const struct template *m)
{
	switch ((enum operation)m->operation) {
	case NONE:
		break;
	case SET:
		emit_operand(t, m);
		emit_result(t, m, RAX);
		break;
	case SET_BYTE:
		emit_operand(t, m);
		x86_mem(&t->p, X86_STORE8, RAX, RDI, gr_at(current(t)->r1));
		break;
	case SET_HIGH:
		x86_store_imm(&t->p, 0, RDI, gr_at(current(t)->r1) + 4,
			      (int32_t)template_immediate(current(t), m));
		break;
	case TEST:
		emit_operand(t, m);
		emit_signed_result(t, m, RAX);
		break;
	case STORE:
		store(t, m);
		break;
	case LOAD_ADDRESS:
		emit_address(t);
		emit_result(t, m, RCX);
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
		emit_operand(t, m);
		x86_mem(&t->p, X86_IMUL | template_width(m), RAX, RDI, gr_at(current(t)->r1));
		emit_result(t, m, RAX);
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
		emit_need_float(t, current(t)->r1);
		emit_operand(t, m);
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
	case STORE_BY_WINDOW:
		store_by_window(t);
		break;
	default:
		break;
	}
}
