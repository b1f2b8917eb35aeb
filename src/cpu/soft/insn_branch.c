/* SPDX-License-Identifier: MIT */
/*
 * Branches, and the choice of faster functions for decoded instructions.
 *
 * The condition code is mostly the outcome of a comparison that nobody has
 * turned into a code yet (enum cc_kind). So a conditional branch does not ask
 * for the code: there is one function for each of the fourteen masks that mean
 * anything, which repeats the comparison that its mask asks about.
 *
 * A branch that also changes registers has computed where it goes before it
 * changes them, because the registers may be the same.
 *
 * Source: Principles of Operation (SA22-7832), chapter 7 "General
 * Instructions", chapter 5 "Subroutine Linkage without the Linkage Stack".
 */
#include "cpu/soft/soft.h"

#define G1 (c->s.gr[o->r1])
#define G2 (c->s.gr[o->r2])
#define G3 (c->s.gr[o->r3])

/* ---- Branch on condition ---- */

/*
 * Is the condition code one of the mask's? Meant for a constant mask. A
 * comparison never comes out as code 3, so that bit counts for values alone.
 */
static ALWAYS_INLINE_ bool holds(uint64_t a, uint64_t b, bool is_signed, unsigned int mask)
{
	bool less = is_signed ? (int64_t)a < (int64_t)b : a < b;
	bool greater = is_signed ? (int64_t)a > (int64_t)b : a > b;

	switch (mask & 14) {
	case 14:
		return true;
	case 12:
		return !greater;
	case 10:
		return !less;
	case 8:
		return a == b;
	case 6:
		return a != b;
	case 4:
		return less;
	case 2:
		return greater;
	default:
		return false;
	}
}

static ALWAYS_INLINE_ bool cc_in(const struct vcpu *c, unsigned int mask)
{
	uint32_t kind = c->cc_kind;

	if (kind == CC_VALUE)
		return mask << c->cc_a & 8;
	/* Equality is the same in both kinds. */
	if (kind == CC_SIGNED || (mask & 14) == 8 || (mask & 14) == 6)
		return holds(c->cc_a, c->cc_b, true, mask);
	return holds(c->cc_a, c->cc_b, false, mask);
}

#define BRANCH_ON(mask) \
	INSN_JUMP_FAST(brc_##mask) { return cc_in(c, mask) ? jump_relative(c, o) : o + 1; } \
	INSN_JUMP_FAST(bcr_##mask) \
	{ \
		return cc_in(c, mask) ? jump_to(c, o, gr_address(c, o->r2)) : o + 1; \
	}
BRANCH_ON(1)
BRANCH_ON(2)
BRANCH_ON(3)
BRANCH_ON(4)
BRANCH_ON(5)
BRANCH_ON(6)
BRANCH_ON(7)
BRANCH_ON(8)
BRANCH_ON(9)
BRANCH_ON(10)
BRANCH_ON(11)
BRANCH_ON(12)
BRANCH_ON(13)
BRANCH_ON(14)

INSN_JUMP_FAST(brc_15) { return jump_relative(c, o); }
INSN_JUMP_FAST(bcr_15) { return jump_to(c, o, gr_address(c, o->r2)); }
INSN_FAST(branch_never) { (void)c; }
/* Waits until what this CPU stored can be seen by the others. */
INSN_FAST(serialize) { (void)c; atomic_thread_fence(memory_order_seq_cst); }

INSN_JUMP(brc)
{
	return o->m1 << get_cc(c) & 8 ? jump_relative(c, o) : o + 1;
}

INSN_JUMP(bcr)
{
	if (!o->r2) {
		if (o->m1 >= 14)
			atomic_thread_fence(memory_order_seq_cst);
		return o + 1;
	}
	return o->m1 << get_cc(c) & 8 ? jump_to(c, o, gr_address(c, o->r2)) : o + 1;
}

INSN_JUMP(bc)
{
	return o->m1 << get_cc(c) & 8 ? jump_to(c, o, ea2x(c, o)) : o + 1;
}

/* ---- Branch and save, and link ---- */

/* What a return needs: the address behind the instruction, and the mode if there is room. */
static ALWAYS_INLINE_ void save_link(struct vcpu *c, const struct op *o)
{
	uint64_t next = op_next_address(c, o);

	if (likely(c->s.psw_mask & PSW_EA))
		G1 = next;
	else
		set_lo32(c, o->r1, (uint32_t)next | (c->s.psw_mask & PSW_BA ? 1u << 31 : 0));
}

INSN_JUMP_FAST(bras) { save_link(c, o); return jump_relative(c, o); }
INSN_JUMP_FAST(basr)
{
	uint64_t target = gr_address(c, o->r2);

	save_link(c, o);
	return o->r2 ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP(bas)
{
	uint64_t target = ea2x(c, o);

	save_link(c, o);
	return jump_to(c, o, target);
}

/* BRANCH AND LINK gives more in the 24-bit mode: instruction length, code, program mask. */
static void save_link_information(struct vcpu *c, const struct op *o)
{
	uint64_t mask = (c->s.psw_mask & PSW_PGM_MASK) >> 40;

	if (c->s.psw_mask & (PSW_EA | PSW_BA)) {
		save_link(c, o);
		return;
	}
	set_lo32(c, o->r1, (uint32_t)((o->length / 2u) << 30 | get_cc(c) << 28 | mask << 24 |
				      op_next_address(c, o)));
}

INSN_JUMP(balr)
{
	uint64_t target = gr_address(c, o->r2);

	save_link_information(c, o);
	return o->r2 ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP(bal)
{
	uint64_t target = ea2x(c, o);

	save_link_information(c, o);
	return jump_to(c, o, target);
}

/* ---- Branch and set mode: the target says which mode it wants ---- */

static const struct op *branch_and_set_mode(struct vcpu *c, const struct op *o, uint64_t target)
{
	uint64_t mode = 0, mask = 0xffffff;

	if (target & 1) {
		mode = PSW_EA | PSW_BA;
		mask = ~1ull;
	} else if (target & 0x80000000) {
		mode = PSW_BA;
		mask = 0x7fffffff;
	}
	target &= mask;
	if ((c->s.psw_mask & (PSW_EA | PSW_BA)) == mode)
		return jump_to(c, o, target);
	c->s.breaking_event = op_address(c, o);
	c->s.psw_mask = (c->s.psw_mask & ~(PSW_EA | PSW_BA)) | mode;
	c->addr_mask = mask | 1;
	return leave_to(c, o, target);
}

INSN_JUMP(bassm)
{
	uint64_t target = G2;

	save_link(c, o);
	if (c->s.psw_mask & PSW_EA)
		G1 |= 1;
	return o->r2 ? branch_and_set_mode(c, o, target) : o + 1;
}

INSN_JUMP(bsm)
{
	uint64_t target = G2;

	if (o->r1) {
		if (c->s.psw_mask & PSW_EA)
			G1 |= 1;
		else if (c->s.psw_mask & PSW_BA)
			G1 |= 0x80000000;
		else
			G1 &= ~0x80000000ull;
	}
	return o->r2 ? branch_and_set_mode(c, o, target) : o + 1;
}

/* ---- Branch on count, on index ---- */

static ALWAYS_INLINE_ bool count32(struct vcpu *c, unsigned int r)
{
	uint32_t count = lo32(c->s.gr[r]) - 1;

	set_lo32(c, r, count);
	return count != 0;
}

static ALWAYS_INLINE_ bool count_hi(struct vcpu *c, unsigned int r)
{
	c->s.gr[r] -= 1ull << 32;
	return c->s.gr[r] >> 32 != 0;
}

INSN_JUMP_FAST(brct) { return count32(c, o->r1) ? jump_relative(c, o) : o + 1; }
INSN_JUMP_FAST(brctg) { return --G1 ? jump_relative(c, o) : o + 1; }
INSN_JUMP_FAST(brcth) { return count_hi(c, o->r1) ? jump_relative(c, o) : o + 1; }
INSN_JUMP(bct)
{
	uint64_t target = ea2x(c, o);

	return count32(c, o->r1) ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP(bctg)
{
	uint64_t target = ea2x(c, o);

	return --G1 ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP_FAST(bctr)
{
	uint64_t target = gr_address(c, o->r2);

	return count32(c, o->r1) && o->r2 ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP_FAST(bctgr)
{
	uint64_t target = gr_address(c, o->r2);

	return --G1 && o->r2 ? jump_to(c, o, target) : o + 1;
}

/* The comparand is in the odd register of the pair, as it was before the addition. */
static ALWAYS_INLINE_ bool index_high32(struct vcpu *c, const struct op *o)
{
	int32_t comparand = (int32_t)lo32(c->s.gr[o->r3 | 1]);
	uint32_t sum = lo32(G1) + lo32(G3);

	set_lo32(c, o->r1, sum);
	return (int32_t)sum > comparand;
}

static ALWAYS_INLINE_ bool index_high64(struct vcpu *c, const struct op *o)
{
	int64_t comparand = (int64_t)c->s.gr[o->r3 | 1];

	G1 += G3;
	return (int64_t)G1 > comparand;
}

INSN_JUMP_FAST(brxh) { return index_high32(c, o) ? jump_relative(c, o) : o + 1; }
INSN_JUMP_FAST(brxle) { return !index_high32(c, o) ? jump_relative(c, o) : o + 1; }
INSN_JUMP_FAST(brxhg) { return index_high64(c, o) ? jump_relative(c, o) : o + 1; }
INSN_JUMP_FAST(brxlg) { return !index_high64(c, o) ? jump_relative(c, o) : o + 1; }
INSN_JUMP(bxh)
{
	uint64_t target = ea2(c, o);

	return index_high32(c, o) ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP(bxle)
{
	uint64_t target = ea2(c, o);

	return !index_high32(c, o) ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP(bxhg)
{
	uint64_t target = ea2(c, o);

	return index_high64(c, o) ? jump_to(c, o, target) : o + 1;
}
INSN_JUMP(bxleg)
{
	uint64_t target = ea2(c, o);

	return !index_high64(c, o) ? jump_to(c, o, target) : o + 1;
}

/* ---- Compare and branch; the condition code stays ---- */

/*
 * What is compared, as 64-bit integers: extending 32 bits by their kind of sign
 * keeps their order. The immediate of RIE-c is in d1.
 */
#define S32(v) ((uint64_t)(int64_t)(int32_t)(v))
#define U32(v) ((uint64_t)(uint32_t)(v))
#define IMM_D1 ((uint64_t)(int64_t)o->d1)
#define IMM_D1_U ((uint64_t)(uint8_t)o->d1)

#define COMPARE_AND_BRANCH(name, a, b, is_signed, mask, target) \
	INSN_JUMP_FAST(name) { return holds(a, b, is_signed, mask) ? target : o + 1; }

/*
 * The relative ones, of which programs are full, come as one function per mask;
 * under its own name, the one for any mask.
 */
#define COMPARE_AND_BRANCH_RELATIVE(name, a, b, is_signed) \
	COMPARE_AND_BRANCH(name, a, b, is_signed, o->m3, jump_relative(c, o)) \
	COMPARE_AND_BRANCH(name##_8, a, b, is_signed, 8, jump_relative(c, o)) \
	COMPARE_AND_BRANCH(name##_6, a, b, is_signed, 6, jump_relative(c, o)) \
	COMPARE_AND_BRANCH(name##_4, a, b, is_signed, 4, jump_relative(c, o)) \
	COMPARE_AND_BRANCH(name##_2, a, b, is_signed, 2, jump_relative(c, o)) \
	COMPARE_AND_BRANCH(name##_12, a, b, is_signed, 12, jump_relative(c, o)) \
	COMPARE_AND_BRANCH(name##_10, a, b, is_signed, 10, jump_relative(c, o))

COMPARE_AND_BRANCH_RELATIVE(crj, S32(G1), S32(G2), true)
COMPARE_AND_BRANCH_RELATIVE(cgrj, G1, G2, true)
COMPARE_AND_BRANCH_RELATIVE(clrj, U32(G1), U32(G2), false)
COMPARE_AND_BRANCH_RELATIVE(clgrj, G1, G2, false)
COMPARE_AND_BRANCH_RELATIVE(cij, S32(G1), IMM_D1, true)
COMPARE_AND_BRANCH_RELATIVE(cgij, G1, IMM_D1, true)
COMPARE_AND_BRANCH_RELATIVE(clij, U32(G1), IMM_D1_U, false)
COMPARE_AND_BRANCH_RELATIVE(clgij, G1, IMM_D1_U, false)

#define TO_EA jump_to(c, o, (c->s.gr[o->b2] + (uint64_t)(int64_t)o->d2) & c->addr_mask)

COMPARE_AND_BRANCH(crb, S32(G1), S32(G2), true, o->m3, TO_EA)
COMPARE_AND_BRANCH(cgrb, G1, G2, true, o->m3, TO_EA)
COMPARE_AND_BRANCH(clrb, U32(G1), U32(G2), false, o->m3, TO_EA)
COMPARE_AND_BRANCH(clgrb, G1, G2, false, o->m3, TO_EA)
COMPARE_AND_BRANCH(cib, S32(G1), (uint64_t)(int64_t)(int8_t)o->imm, true, o->m3, TO_EA)
COMPARE_AND_BRANCH(cgib, G1, (uint64_t)(int64_t)(int8_t)o->imm, true, o->m3, TO_EA)
COMPARE_AND_BRANCH(clib, U32(G1), (uint64_t)(uint8_t)o->imm, false, o->m3, TO_EA)
COMPARE_AND_BRANCH(clgib, G1, (uint64_t)(uint8_t)o->imm, false, o->m3, TO_EA)

/* ---- Faster functions for what the decoder found ---- */

/* The functions with the mask in their name; mask 15 and 0 by themselves. */
#define ONE_PER_MASK(name) { \
	insn_branch_never, insn_##name##_1, insn_##name##_2, insn_##name##_3, \
	insn_##name##_4, insn_##name##_5, insn_##name##_6, insn_##name##_7, \
	insn_##name##_8, insn_##name##_9, insn_##name##_10, insn_##name##_11, \
	insn_##name##_12, insn_##name##_13, insn_##name##_14, insn_##name##_15 }

/* Comparisons have three outcomes: the last bit of the mask means nothing. */
#define ONE_PER_OUTCOME(name) { insn_##name, { \
	insn_branch_never, insn_##name##_2, insn_##name##_4, insn_##name##_6, \
	insn_##name##_8, insn_##name##_10, insn_##name##_12, insn_brc_15 } }

/* Those that the other files have; see there. */
op_fn insn_tm, insn_tm_bit, insn_tmhh, insn_tmhh_bit, insn_tmhl, insn_tmhl_bit, insn_tmlh,
	insn_tmlh_bit, insn_tmll, insn_tmll_bit, insn_risbg, insn_risbg_zero, insn_risbg_keep;

#define SHIFTS(row) row(sll) row(srl) row(sra) row(sllk) row(srlk) row(srak) row(sllg) \
	row(srlg) row(srag) row(rll) row(rllg)
#define INDEXED(row) row(l) row(lg) row(lgf) row(llgf) row(llgc) row(llc) row(llgh) row(la) \
	row(st) row(stg) row(stc) row(sth) row(ag) row(alg) row(alcg) row(ng) row(ltg) row(cg) \
	row(clg)

#define DECLARE_SHIFT(name) op_fn insn_##name, insn_##name##_by;
#define DECLARE_INDEXED(name) op_fn insn_##name, insn_##name##_base;
SHIFTS(DECLARE_SHIFT)
INDEXED(DECLARE_INDEXED)

struct replacement {
	op_fn *fn, *faster;
};

static op_fn *replace(const struct replacement *table, size_t rows, op_fn *fn)
{
	for (size_t i = 0; i < rows; i++) {
		if (table[i].fn == fn)
			return table[i].faster;
	}
	return fn;
}

op_fn *branch_specialise(const struct insn *insn, struct op *o)
{
	static op_fn *const brc[16] = ONE_PER_MASK(brc);
	static op_fn *const bcr[16] = ONE_PER_MASK(bcr);
	static const struct {
		op_fn *fn;
		op_fn *by_outcome[8];
	} compare_and_branch[] = {
		ONE_PER_OUTCOME(crj), ONE_PER_OUTCOME(cgrj), ONE_PER_OUTCOME(clrj),
		ONE_PER_OUTCOME(clgrj), ONE_PER_OUTCOME(cij), ONE_PER_OUTCOME(cgij),
		ONE_PER_OUTCOME(clij), ONE_PER_OUTCOME(clgij),
	};
	static const struct replacement one_bit[] = {
		{ insn_tm, insn_tm_bit }, { insn_tmhh, insn_tmhh_bit },
		{ insn_tmhl, insn_tmhl_bit }, { insn_tmlh, insn_tmlh_bit },
		{ insn_tmll, insn_tmll_bit },
	};
#define SHIFT_ROW(name) { insn_##name, insn_##name##_by },
#define INDEXED_ROW(name) { insn_##name, insn_##name##_base },
	static const struct replacement shifts[] = { SHIFTS(SHIFT_ROW) };
	static const struct replacement indexed[] = { INDEXED(INDEXED_ROW) };

	switch (insn->format) {
	case F_RI_REL:
	case F_RIL_REL:
		return insn->fn == insn_brc ? brc[o->m1 & 15] : insn->fn;
	case F_RR:
		if (insn->fn != insn_bcr)
			return insn->fn;
		if (o->r2)
			return bcr[o->m1 & 15];
		return o->m1 >= 14 ? insn_serialize : insn_branch_never;
	case F_RIE_B:
	case F_RIE_C:
		for (size_t i = 0; i < ARRAY_SIZE(compare_and_branch); i++) {
			if (compare_and_branch[i].fn == insn->fn)
				return compare_and_branch[i].by_outcome[o->m3 >> 1 & 7];
		}
		return insn->fn;
	case F_RIE_F:
		if (insn->fn == insn_risbg)
			return o->m4 & 0x80 ? insn_risbg_zero : insn_risbg_keep;
		return insn->fn;
	case F_RI:
		/* The mask of TEST UNDER MASK: 16 bits of the immediate */
		if (__builtin_popcount((uint16_t)o->imm) == 1)
			return replace(one_bit, ARRAY_SIZE(one_bit), insn->fn);
		return insn->fn;
	case F_SI:
	case F_SIY:
		if (__builtin_popcount((uint8_t)o->imm) == 1)
			return replace(one_bit, ARRAY_SIZE(one_bit), insn->fn);
		return insn->fn;
	case F_RX:
	case F_RXY:
		return o->x2 == 16 ? replace(indexed, ARRAY_SIZE(indexed), insn->fn) : insn->fn;
	case F_RS:
	case F_RSY: {
		op_fn *fn = o->b2 == 16 ? replace(shifts, ARRAY_SIZE(shifts), insn->fn) : insn->fn;

		/* A shift by a constant finds it in imm. */
		if (fn != insn->fn)
			o->imm = o->d2 & 63;
		return fn;
	}
	default:
		return insn->fn;
	}
}
