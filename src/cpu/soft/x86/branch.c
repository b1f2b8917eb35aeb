/* SPDX-License-Identifier: MIT */
/*
 * Branches, and what else depends on the condition code.
 *
 * Straight code only decides: what a taken branch does is in a stub. Within the
 * page it goes to the op that it remembers (its chain); else to where the vCPU's
 * jump cache says. Whatever is not known there, the branch's function finds out.
 */
#include "cpu/soft/x86/emit.h"

#define W X86_W

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
		emit_exit_if(t, X86_NE);
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

/* rdx = instructions behind op k; exit if the limit is reached. */
static void check_limit(struct translation_run *t)
{
	x86_mem(&t->p, X86_LOAD | W, RDX, RDI, AT(icount));
	x86_group(&t->p, X86_G_ADD, W, RDX, current(t)->index + 1);
	x86_mem(&t->p, X86_CMP | W, RDX, RDI, AT(limit));
	emit_exit_if(t, X86_A);
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
		x86_mem(&t->p, 0x83 | template_width(m), 5, RDI, gr_at(current(t)->r1)); /* sub */
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
	emit_exit_if(t, X86_E);
	check_limit(t);
	take_effect(t, m);
	if (t->k)
		x86_group(&t->p, X86_G_ADD, W, RSI, op_at(t->k));
	x86_mem(&t->p, X86_STORE | W, RSI, RDI, AT(chain_from));
	x86_reg(&t->p, X86_LOAD | W, RSI, RAX);
	emit_run_op(t);
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
	emit_exit_if(t, X86_NE);
	x86_mem(&t->p, X86_LOAD, RDX, RDI, AT(fetch_asid));
	x86_mem(&t->p, X86_CMP, RDX, RAX, offsetof(struct jump_entry, asid));
	emit_exit_if(t, X86_NE);
	check_limit(t);
	take_effect(t, m);
	x86_group(&t->p, X86_G_AND, W, RCX, (int32_t)PAGE_MASK);
	x86_mem(&t->p, X86_STORE | W, RCX, RDI, AT(page));
	x86_mem(&t->p, X86_LOAD | W, RSI, RAX, offsetof(struct jump_entry, op));
	emit_run_op(t);
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

void emit_taken(struct translation_run *t, const struct template *m)
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
		emit_leave(t, x86_jump(&t->p), STUB_TAKEN, 0);
	else if (decision == SOMETIMES)
		emit_leave(t, x86_jump_if(&t->p, which), STUB_TAKEN, 0);
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

	x86_mem(&t->p, X86_LOAD | template_width(m), RAX, RDI, gr);
	x86_group(&t->p, X86_G_ADD, template_width(m), RAX, -1);
	branch_if(t, SOMETIMES, X86_NE);
	x86_mem(&t->p, X86_STORE | template_width(m), RAX, RDI, gr);
	t->flags = false;
}

static void compare_branch(struct translation_run *t, const struct template *m, bool is_signed)
{
	unsigned int mask = current(t)->m3;
	enum decision decision = decide(mask, 14);

	if (decision == SOMETIMES) {
		emit_operand(t, m);
		emit_load_register(t, RDX, current(t)->r1,
				   m->bits == 64 ? D64 :
				   is_signed	 ? S32 :
						   U32);
		x86_reg(&t->p, X86_CMP | W, RDX, RAX);
		t->flags = false;
	}
	branch_if(t, decision, outcome(mask, is_signed));
}

/* The link is saved as the 64-bit mode has it. */
static void branch_save(struct translation_run *t)
{
	emit_need_mode64(t);
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
	emit_operand(t, m);
	emit_result(t, m, RAX);
	if (skip)
		x86_land(skip, t->p);
}

void translate_branch(struct translation_run *t, const struct template *m)
{
	/* The target's address is calculated. */
	if (template_is_branch(m) && (names_register(m) || !in_page(current(t))))
		emit_need_mode64(t);
	switch ((enum operation)m->operation) {
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
	default:
		break;
	}
}
