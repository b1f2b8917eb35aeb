/* SPDX-License-Identifier: MIT */
/*
 * General instructions: loads and stores, binary integer arithmetic, logic,
 * shifts, comparisons.
 *
 * Most of them are one operation on operands that come in a dozen forms (a
 * register, its left or right half, storage of some width, an immediate). So
 * the operation is a small inline function that says what happens to the
 * register and the condition code, the operand is one of the macros below, and
 * an instruction is the line that puts them together.
 *
 * An operand in storage is fetched before any register changes, because the
 * access may not come back. An instruction that finds fixed-point overflow
 * completes: the result is put away first, then the interruption is presented
 * if the program mask admits it.
 *
 * Source: Principles of Operation (SA22-7832), chapter 7 "General Instructions".
 */
#include <assert.h>

#include "cpu/soft/soft.h"

/* ---- Operands, by the field that designates them ---- */

/* 64-bit registers, their right halves (W: word) and left halves (H: high word) */
#define G1 (c->s.gr[o->r1])
#define G2 (c->s.gr[o->r2])
#define G3 (c->s.gr[o->r3])
#define W1 lo32(G1)
#define W2 lo32(G2)
#define W3 lo32(G3)
#define H1 hi32(G1)
#define H2 hi32(G2)
#define H3 hi32(G3)
/* Sign-extended right halves */
#define SW2 ((int64_t)(int32_t)W2)

/* Storage with an index (RX, RXY), where speed does not matter; see FETCH below */
#define M32 ld32(c, o, ea2x(c, o), o->b2)
#define M64 ld64(c, o, ea2x(c, o), o->b2)

/* Immediates: as decoded, and the 16 bits that logical RI instructions have */
#define IMM (o->imm)
#define IMM8 ((uint8_t)o->imm)
#define IMM16 ((uint16_t)o->imm)
#define IMM32 ((uint32_t)o->imm)

static inline uint32_t hi32(uint64_t v)
{
	return (uint32_t)(v >> 32);
}

static inline uint64_t relative_address(struct vcpu *c, const struct op *o, unsigned int alignment)
{
	uint64_t ea = (op_address(c, o) + o->uimm) & c->addr_mask;

	if (alignment > 2 && unlikely(ea & (alignment - 1)))
		pgm(c, o, PGM_SPECIFICATION);
	return ea;
}

/* ---- Operations ---- */

__attribute__((cold)) void fixed_overflow(struct vcpu *c, const struct op *o)
{
	set_cc(c, 3);
	if (c->s.psw_mask & PSW_PGM_FIXED)
		pgm_completed(c, o, PGM_FIXED_OVERFLOW);
}

static ALWAYS_INLINE_ void set_signed32(struct vcpu *c, const struct op *o, unsigned int r,
					int32_t result, bool overflow)
{
	set_lo32(c, r, (uint32_t)result);
	if (unlikely(overflow))
		fixed_overflow(c, o);
	else
		set_cc_signed(c, result, 0);
}

static ALWAYS_INLINE_ void set_signed64(struct vcpu *c, const struct op *o, unsigned int r,
					int64_t result, bool overflow)
{
	c->s.gr[r] = (uint64_t)result;
	if (unlikely(overflow))
		fixed_overflow(c, o);
	else
		set_cc_signed(c, result, 0);
}

static ALWAYS_INLINE_ void set_signed_hi(struct vcpu *c, const struct op *o, unsigned int r,
					 int32_t result, bool overflow)
{
	set_hi32(c, r, (uint32_t)result);
	if (unlikely(overflow))
		fixed_overflow(c, o);
	else
		set_cc_signed(c, result, 0);
}

static ALWAYS_INLINE_ void add32(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	int32_t sum;
	bool overflow = __builtin_add_overflow((int32_t)a, (int32_t)b, &sum);

	set_signed32(c, o, o->r1, sum, overflow);
}

static ALWAYS_INLINE_ void add64(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	int64_t sum;
	bool overflow = __builtin_add_overflow((int64_t)a, (int64_t)b, &sum);

	set_signed64(c, o, o->r1, sum, overflow);
}

static ALWAYS_INLINE_ void add_hi(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	int32_t sum;
	bool overflow = __builtin_add_overflow((int32_t)a, (int32_t)b, &sum);

	set_signed_hi(c, o, o->r1, sum, overflow);
}

static ALWAYS_INLINE_ void sub32(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	int32_t difference;
	bool overflow = __builtin_sub_overflow((int32_t)a, (int32_t)b, &difference);

	set_signed32(c, o, o->r1, difference, overflow);
}

static ALWAYS_INLINE_ void sub64(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	int64_t difference;
	bool overflow = __builtin_sub_overflow((int64_t)a, (int64_t)b, &difference);

	set_signed64(c, o, o->r1, difference, overflow);
}

static ALWAYS_INLINE_ void sub_hi(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	int32_t difference;
	bool overflow = __builtin_sub_overflow((int32_t)a, (int32_t)b, &difference);

	set_signed_hi(c, o, o->r1, difference, overflow);
}

/*
 * Logical addition and subtraction: the left bit of the condition code is the
 * carry out (for a subtraction: no borrow), the right one that the result is not 0.
 */
static ALWAYS_INLINE_ uint32_t addl_32(struct vcpu *c, uint32_t a, uint32_t b)
{
	uint32_t sum;
	unsigned int carry = __builtin_add_overflow(a, b, &sum);

	set_cc(c, carry * 2 + (sum != 0));
	return sum;
}

static ALWAYS_INLINE_ uint64_t addl_64(struct vcpu *c, uint64_t a, uint64_t b)
{
	uint64_t sum;
	unsigned int carry = __builtin_add_overflow(a, b, &sum);

	set_cc(c, carry * 2 + (sum != 0));
	return sum;
}

static ALWAYS_INLINE_ uint32_t subl_32(struct vcpu *c, uint32_t a, uint32_t b)
{
	set_cc(c, (a >= b) * 2u + (a != b));
	return a - b;
}

static ALWAYS_INLINE_ uint64_t subl_64(struct vcpu *c, uint64_t a, uint64_t b)
{
	set_cc(c, (a >= b) * 2u + (a != b));
	return a - b;
}

static ALWAYS_INLINE_ unsigned int carry_in(const struct vcpu *c)
{
	if (likely(c->cc_kind == CC_VALUE))
		return (unsigned int)c->cc_a >> 1;
	return get_cc(c) >> 1;
}

static ALWAYS_INLINE_ uint32_t addc_32(struct vcpu *c, uint32_t a, uint32_t b)
{
	uint64_t sum = (uint64_t)a + b + carry_in(c);

	set_cc(c, (unsigned int)(sum >> 32) * 2 + (lo32(sum) != 0));
	return lo32(sum);
}

static ALWAYS_INLINE_ uint64_t addc_64(struct vcpu *c, uint64_t a, uint64_t b)
{
	uint64_t sum;
	unsigned int carry = __builtin_add_overflow(a, b, &sum);

	carry |= __builtin_add_overflow(sum, (uint64_t)carry_in(c), &sum);
	set_cc(c, carry * 2 + (sum != 0));
	return sum;
}

#define AL32(a, b) set_lo32(c, o->r1, addl_32(c, a, b))
#define AL64(a, b) (G1 = addl_64(c, a, b))
#define SL32(a, b) set_lo32(c, o->r1, subl_32(c, a, b))
#define SL64(a, b) (G1 = subl_64(c, a, b))
#define ALC32(a, b) set_lo32(c, o->r1, addc_32(c, a, b))
#define ALC64(a, b) (G1 = addc_64(c, a, b))

/* Logic: the condition code says whether the result is 0. */
static ALWAYS_INLINE_ void logic32(struct vcpu *c, const struct op *o, uint32_t result)
{
	set_lo32(c, o->r1, result);
	set_cc_nonzero(c, result);
}

static ALWAYS_INLINE_ void logic64(struct vcpu *c, const struct op *o, uint64_t result)
{
	c->s.gr[o->r1] = result;
	set_cc_nonzero(c, result);
}

#define CMP32(a, b) set_cc_signed(c, (int32_t)(a), (int32_t)(b))
#define CMP64(a, b) set_cc_signed(c, (int64_t)(a), (int64_t)(b))
#define CMPL32(a, b) set_cc_unsigned(c, (uint32_t)(a), (uint32_t)(b))
#define CMPL64(a, b) set_cc_unsigned(c, (uint64_t)(a), (uint64_t)(b))

#define SET32(v) set_lo32(c, o->r1, (uint32_t)(v))
#define SETHI(v) set_hi32(c, o->r1, (uint32_t)(v))
#define SET64(v) ((void)(G1 = (uint64_t)(v)))

/* ---- Instructions with an operand in storage ---- */

/*
 * The address is nearly always one that the TLB knows. A function that may call
 * another keeps registers on the stack, so what does call is a function of its
 * own, name_miss, which does the whole instruction by ldN or stN and returns the
 * next op to the run loop.
 *
 * In the statements `v` is the operand. FETCH: instructions with an index (RX,
 * RXY); FETCH_SI: storage as the first operand; FETCH_RELATIVE: storage relative to
 * the instruction. What programs are full of comes twice, FETCH_HOT: name_base,
 * which branch_specialise() puts in the place of name, does without the index.
 */
static_assert(!(sizeof(struct tlb_entry) & (sizeof(struct tlb_entry) - 1)), "scaled by a mask");

static ALWAYS_INLINE_ const struct tlb_entry *tlb_entry(const struct vcpu *c, uint64_t ea)
{
	/* The index and its scaling in one shift: the compiler makes two of them. */
	size_t offset = ea / (PAGE_SIZE / sizeof(struct tlb_entry)) &
			(TLB_ENTRIES - 1) * sizeof(struct tlb_entry);

	return (const struct tlb_entry *)((const char *)c->tlb + offset);
}

static ALWAYS_INLINE_ uint64_t tlb_tag(const struct vcpu *c, uint64_t ea, unsigned int size)
{
	return ((ea + size - 1) & PAGE_MASK) | c->data_asid;
}

#define MISS_ static __attribute__((noinline, cold)) const struct op *

__attribute__((noinline, cold)) const struct op *store_noticed(struct vcpu *c, const struct op *o,
							       const struct tlb_entry *e,
							       uint64_t ea, unsigned int size)
{
	store_notice(c, o, e, ea, size);
	return o + 1;
}

#define FETCH_(name, bits, address, ar, ...) \
	MISS_ name##_miss(struct vcpu *c, const struct op *o) \
	{ \
		uint##bits##_t v = ld##bits(c, o, address, ar); \
		__VA_ARGS__; \
		return o + 1; \
	} \
	op_fn insn_##name; \
	const struct op *insn_##name(struct vcpu *c, const struct op *o) \
	{ \
		uint64_t ea = address; \
		const struct tlb_entry *e = tlb_entry(c, ea); \
		uint##bits##_t v; \
		if (unlikely(e->tag_read != tlb_tag(c, ea, bits / 8))) \
			TAIL_CALL return name##_miss(c, o); \
		v = ACCESS_SWAP_##bits(ACCESS_LOAD(bits, ea + e->addend)); \
		__VA_ARGS__; \
		RUN_OP(c, o + 1); \
	}

#define STORE_(name, bits, address, ar, value) \
	MISS_ name##_miss(struct vcpu *c, const struct op *o) \
	{ \
		st##bits(c, o, address, ar, (uint##bits##_t)(value)); \
		return o + 1; \
	} \
	op_fn insn_##name; \
	const struct op *insn_##name(struct vcpu *c, const struct op *o) \
	{ \
		uint64_t ea = address; \
		const struct tlb_entry *e = tlb_entry(c, ea); \
		if (unlikely(e->tag_write != tlb_tag(c, ea, bits / 8))) \
			TAIL_CALL return name##_miss(c, o); \
		ACCESS_STORE(bits, ea + e->addend, ACCESS_SWAP_##bits((uint##bits##_t)(value))); \
		atomic_signal_fence(memory_order_seq_cst); \
		if (unlikely(__atomic_load_n(e->flags, __ATOMIC_RELAXED))) \
			return store_noticed(c, o, e, ea, bits / 8); \
		RUN_OP(c, o + 1); \
	}

#define FETCH(name, bits, ...) FETCH_(name, bits, ea2x(c, o), o->b2, __VA_ARGS__)
#define FETCH_HOT(name, bits, ...) \
	FETCH(name, bits, __VA_ARGS__) \
	FETCH_(name##_base, bits, ea2(c, o), o->b2, __VA_ARGS__)
#define FETCH_SI(name, bits, ...) FETCH_(name, bits, ea1(c, o), o->b1, __VA_ARGS__)
#define FETCH_RELATIVE(name, bits, ...) \
	FETCH_(name, bits, relative_address(c, o, bits / 8), 0, __VA_ARGS__)
#define STORE(name, bits, value) STORE_(name, bits, ea2x(c, o), o->b2, value)
#define STORE_HOT(name, bits, value) \
	STORE(name, bits, value) \
	STORE_(name##_base, bits, ea2(c, o), o->b2, value)
#define STORE_SI(name, bits, value) STORE_(name, bits, ea1(c, o), o->b1, value)
#define STORE_RELATIVE(name, bits, value) \
	STORE_(name, bits, relative_address(c, o, bits / 8), 0, value)

/* ---- Load ---- */

INSN_FAST(lr) { SET32(W2); }
INSN_FAST(lgr) { SET64(G2); }
INSN_FAST(lgfr) { SET64(SW2); }
INSN_FAST(llgfr) { SET64(W2); }
INSN_FAST(llgtr) { SET64(W2 & 0x7fffffff); }
INSN_FAST(lbr) { SET32((int8_t)G2); }
INSN_FAST(lgbr) { SET64((int64_t)(int8_t)G2); }
INSN_FAST(lhr) { SET32((int16_t)G2); }
INSN_FAST(lghr) { SET64((int64_t)(int16_t)G2); }
INSN_FAST(llcr) { SET32((uint8_t)G2); }
INSN_FAST(llgcr) { SET64((uint8_t)G2); }
INSN_FAST(llhr) { SET32((uint16_t)G2); }
INSN_FAST(llghr) { SET64((uint16_t)G2); }

FETCH_HOT(l, 32, SET32(v))
FETCH_HOT(lg, 64, SET64(v))
FETCH_HOT(lgf, 32, SET64((int32_t)v))
FETCH_HOT(llgf, 32, SET64(v))
FETCH(llgt, 32, SET64(v & 0x7fffffff))
FETCH(lb, 8, SET32((int8_t)v))
FETCH(lgb, 8, SET64((int8_t)v))
FETCH(lh, 16, SET32((int16_t)v))
FETCH(lgh, 16, SET64((int16_t)v))
FETCH_HOT(llc, 8, SET32(v))
FETCH_HOT(llgc, 8, SET64(v))
FETCH(llh, 16, SET32(v))
FETCH_HOT(llgh, 16, SET64(v))
FETCH(ic, 8, SET64((G1 & ~0xffull) | v))

FETCH_RELATIVE(lrl, 32, SET32(v))
FETCH_RELATIVE(lgrl, 64, SET64(v))
FETCH_RELATIVE(lgfrl, 32, SET64((int32_t)v))
FETCH_RELATIVE(llgfrl, 32, SET64(v))
FETCH_RELATIVE(lhrl, 16, SET32((int16_t)v))
FETCH_RELATIVE(lghrl, 16, SET64((int16_t)v))
FETCH_RELATIVE(llhrl, 16, SET32(v))
FETCH_RELATIVE(llghrl, 16, SET64(v))

FETCH(lfh, 32, SETHI(v))
FETCH(lbh, 8, SETHI((int8_t)v))
FETCH(lhh, 16, SETHI((int16_t)v))
FETCH(llch, 8, SETHI(v))
FETCH(llhh, 16, SETHI(v))

FETCH(lrv, 32, SET32(__builtin_bswap32(v)))
FETCH(lrvg, 64, SET64(__builtin_bswap64(v)))
FETCH(lrvh, 16, SET64((G1 & ~0xffffull) | __builtin_bswap16(v)))
INSN_FAST(lrvr) { SET32(__builtin_bswap32(W2)); }
INSN_FAST(lrvgr) { SET64(__builtin_bswap64(G2)); }

INSN_FAST(lhi) { SET32(IMM); }
INSN_FAST(lghi) { SET64(IMM); }
INSN_FAST(lgfi) { SET64(IMM); }
INSN_FAST(llihf) { SET64(o->uimm << 32); }
INSN_FAST(llilf) { SET64(IMM32); }
INSN_FAST(llihh) { SET64((uint64_t)IMM16 << 48); }
INSN_FAST(llihl) { SET64((uint64_t)IMM16 << 32); }
INSN_FAST(llilh) { SET64((uint64_t)IMM16 << 16); }
INSN_FAST(llill) { SET64(IMM16); }
INSN_FAST(iihf) { SETHI(IMM32); }
INSN_FAST(iilf) { SET32(IMM32); }
INSN_FAST(iihh) { SET64((G1 & ~(0xffffull << 48)) | (uint64_t)IMM16 << 48); }
INSN_FAST(iihl) { SET64((G1 & ~(0xffffull << 32)) | (uint64_t)IMM16 << 32); }
INSN_FAST(iilh) { SET64((G1 & ~(0xffffull << 16)) | (uint64_t)IMM16 << 16); }
INSN_FAST(iill) { SET64((G1 & ~0xffffull) | IMM16); }

INSN_FAST(la) { set_gr_address(c, o->r1, ea2x(c, o)); }
INSN_FAST(la_base) { set_gr_address(c, o->r1, ea2(c, o)); }
INSN_FAST(larl) { set_gr_address(c, o->r1, relative_address(c, o, 1)); }

INSN(lae)
{
	uint64_t ea = ea2x(c, o);

	set_gr_address(c, o->r1, ea);
	switch (c->s.psw_mask & PSW_ASC) {
	case PSW_ASC_PRIMARY:
		c->s.ar[o->r1] = 0;
		break;
	case PSW_ASC_SECONDARY:
		c->s.ar[o->r1] = 1;
		break;
	case PSW_ASC_HOME:
		c->s.ar[o->r1] = 2;
		break;
	default:
		/* A base register of 0 means no register, and so ALET 0. */
		c->s.ar[o->r1] = o->b2 >= 1 && o->b2 <= 15 ? c->s.ar[o->b2] : 0;
	}
}

/* Load and test, complement, positive, negative */

INSN_FAST(ltr) { int32_t v = (int32_t)W2; SET32(v); CMP32(v, 0); }
INSN_FAST(ltgr) { uint64_t v = G2; SET64(v); CMP64(v, 0); }
INSN_FAST(ltgfr) { int64_t v = SW2; SET64(v); CMP64(v, 0); }
FETCH(lt, 32, SET32(v); CMP32(v, 0))
FETCH_HOT(ltg, 64, SET64(v); CMP64(v, 0))
FETCH(ltgf, 32, SET64((int32_t)v); CMP64((int32_t)v, 0))

INSN_FAST(lcr) { sub32(c, o, 0, W2); }
INSN_FAST(lcgr) { sub64(c, o, 0, G2); }
INSN_FAST(lcgfr) { sub64(c, o, 0, (uint64_t)SW2); }
INSN_FAST(lpr)
{
	uint32_t v = W2;

	if ((int32_t)v < 0)
		sub32(c, o, 0, v);
	else
		add32(c, o, 0, v);
}
INSN_FAST(lpgr)
{
	uint64_t v = G2;

	if ((int64_t)v < 0)
		sub64(c, o, 0, v);
	else
		add64(c, o, 0, v);
}
INSN_FAST(lpgfr)
{
	int64_t v = SW2;

	v = v < 0 ? -v : v;
	SET64(v);
	CMP64(v, 0);
}
INSN_FAST(lnr)
{
	int32_t v = (int32_t)W2;

	v = v > 0 ? -v : v;
	SET32(v);
	CMP32(v, 0);
}
INSN_FAST(lngr)
{
	int64_t v = (int64_t)G2;

	v = v > 0 ? -v : v;
	SET64(v);
	CMP64(v, 0);
}
INSN_FAST(lngfr)
{
	int64_t v = SW2;

	v = v > 0 ? -v : v;
	SET64(v);
	CMP64(v, 0);
}

/* ---- Store ---- */

STORE_HOT(st, 32, W1)
STORE_HOT(stg, 64, G1)
STORE_HOT(sth, 16, G1)
STORE_HOT(stc, 8, G1)
STORE(stfh, 32, H1)
STORE(sthh, 16, H1)
STORE(stch, 8, H1)
STORE(strv, 32, __builtin_bswap32(W1))
STORE(strvg, 64, __builtin_bswap64(G1))
STORE(strvh, 16, __builtin_bswap16((uint16_t)G1))
STORE_RELATIVE(strl, 32, W1)
STORE_RELATIVE(stgrl, 64, G1)
STORE_RELATIVE(sthrl, 16, G1)
STORE_SI(mvi, 8, IMM8)
STORE_SI(mvhhi, 16, IMM16)
STORE_SI(mvhi, 32, IMM32)
STORE_SI(mvghi, 64, o->uimm)

/* ---- Add and subtract ---- */

INSN_FAST(ar) { add32(c, o, W1, W2); }
INSN_FAST(agr) { add64(c, o, G1, G2); }
INSN_FAST(agfr) { add64(c, o, G1, (uint64_t)SW2); }
INSN_FAST(ark) { add32(c, o, W2, W3); }
INSN_FAST(agrk) { add64(c, o, G2, G3); }
FETCH(a, 32, add32(c, o, W1, v))
FETCH_HOT(ag, 64, add64(c, o, G1, v))
FETCH(agf, 32, add64(c, o, G1, (uint64_t)(int32_t)v))
FETCH(ah, 16, add32(c, o, W1, (uint32_t)(int16_t)v))
INSN_FAST(ahi) { add32(c, o, W1, IMM32); }
INSN_FAST(aghi) { add64(c, o, G1, o->uimm); }
INSN_FAST(ahik) { add32(c, o, W3, IMM32); }
INSN_FAST(aghik) { add64(c, o, G3, o->uimm); }
INSN_FAST(ahhhr) { add_hi(c, o, H2, H3); }
INSN_FAST(ahhlr) { add_hi(c, o, H2, W3); }
INSN_FAST(aih) { add_hi(c, o, H1, IMM32); }

INSN_FAST(sr) { sub32(c, o, W1, W2); }
INSN_FAST(sgr) { sub64(c, o, G1, G2); }
INSN_FAST(sgfr) { sub64(c, o, G1, (uint64_t)SW2); }
INSN_FAST(srk) { sub32(c, o, W2, W3); }
INSN_FAST(sgrk) { sub64(c, o, G2, G3); }
FETCH(s, 32, sub32(c, o, W1, v))
FETCH(sg, 64, sub64(c, o, G1, v))
FETCH(sgf, 32, sub64(c, o, G1, (uint64_t)(int32_t)v))
FETCH(sh, 16, sub32(c, o, W1, (uint32_t)(int16_t)v))
INSN_FAST(shhhr) { sub_hi(c, o, H2, H3); }
INSN_FAST(shhlr) { sub_hi(c, o, H2, W3); }

INSN_FAST(alr) { AL32(W1, W2); }
INSN_FAST(algr) { AL64(G1, G2); }
INSN_FAST(algfr) { AL64(G1, W2); }
INSN_FAST(alrk) { AL32(W2, W3); }
INSN_FAST(algrk) { AL64(G2, G3); }
FETCH(al, 32, AL32(W1, v))
FETCH_HOT(alg, 64, AL64(G1, v))
FETCH(algf, 32, AL64(G1, v))
INSN_FAST(alfi) { AL32(W1, IMM32); }
INSN_FAST(algfi) { AL64(G1, IMM32); }
INSN_FAST(alhsik) { AL32(W3, IMM32); }
INSN_FAST(alghsik) { AL64(G3, o->uimm); }
INSN_FAST(alhhhr) { SETHI(addl_32(c, H2, H3)); }
INSN_FAST(alhhlr) { SETHI(addl_32(c, H2, W3)); }
INSN_FAST(alsih) { SETHI(addl_32(c, H1, IMM32)); }
INSN_FAST(alsihn) { SETHI(H1 + IMM32); }

INSN_FAST(slr) { SL32(W1, W2); }
INSN_FAST(slgr) { SL64(G1, G2); }
INSN_FAST(slgfr) { SL64(G1, W2); }
INSN_FAST(slrk) { SL32(W2, W3); }
INSN_FAST(slgrk) { SL64(G2, G3); }
FETCH(sl, 32, SL32(W1, v))
FETCH(slg, 64, SL64(G1, v))
FETCH(slgf, 32, SL64(G1, v))
INSN_FAST(slfi) { SL32(W1, IMM32); }
INSN_FAST(slgfi) { SL64(G1, IMM32); }
INSN_FAST(slhhhr) { SETHI(subl_32(c, H2, H3)); }
INSN_FAST(slhhlr) { SETHI(subl_32(c, H2, W3)); }

/* With borrow: adding the complement and the carry is the same, carry included. */
INSN_FAST(alcr) { ALC32(W1, W2); }
INSN_FAST(alcgr) { ALC64(G1, G2); }
FETCH(alc, 32, ALC32(W1, v))
FETCH_HOT(alcg, 64, ALC64(G1, v))
INSN_FAST(slbr) { ALC32(W1, ~W2); }
INSN_FAST(slbgr) { ALC64(G1, ~G2); }
FETCH(slb, 32, ALC32(W1, ~v))
FETCH(slbg, 64, ALC64(G1, ~v))

/* ---- Compare ---- */

INSN_FAST(cr) { CMP32(W1, W2); }
INSN_FAST(cgr) { CMP64(G1, G2); }
INSN_FAST(cgfr) { CMP64(G1, SW2); }
FETCH(c, 32, CMP32(W1, v))
FETCH_HOT(cg, 64, CMP64(G1, v))
FETCH(cgf, 32, CMP64(G1, (int32_t)v))
FETCH(ch, 16, CMP32(W1, (int16_t)v))
FETCH(cgh, 16, CMP64(G1, (int16_t)v))
INSN_FAST(chi) { CMP32(W1, IMM); }
INSN_FAST(cghi) { CMP64(G1, IMM); }
FETCH_RELATIVE(crl, 32, CMP32(W1, v))
FETCH_RELATIVE(cgrl, 64, CMP64(G1, v))
FETCH_RELATIVE(cgfrl, 32, CMP64(G1, (int32_t)v))
FETCH_RELATIVE(chrl, 16, CMP32(W1, (int16_t)v))
FETCH_RELATIVE(cghrl, 16, CMP64(G1, (int16_t)v))
FETCH_SI(chhsi, 16, CMP64((int16_t)v, IMM))
FETCH_SI(chsi, 32, CMP64((int32_t)v, IMM))
FETCH_SI(cghsi, 64, CMP64(v, IMM))
FETCH(chf, 32, CMP32(H1, v))
INSN_FAST(chhr) { CMP32(H1, H2); }
INSN_FAST(chlr) { CMP32(H1, W2); }
INSN_FAST(cih) { CMP32(H1, IMM); }

INSN_FAST(clr) { CMPL32(W1, W2); }
INSN_FAST(clgr) { CMPL64(G1, G2); }
INSN_FAST(clgfr) { CMPL64(G1, W2); }
FETCH(cl, 32, CMPL32(W1, v))
FETCH_HOT(clg, 64, CMPL64(G1, v))
FETCH(clgf, 32, CMPL64(G1, v))
INSN_FAST(clfi) { CMPL32(W1, IMM32); }
INSN_FAST(clgfi) { CMPL64(G1, IMM32); }
FETCH_RELATIVE(clrl, 32, CMPL32(W1, v))
FETCH_RELATIVE(clgrl, 64, CMPL64(G1, v))
FETCH_RELATIVE(clgfrl, 32, CMPL64(G1, v))
FETCH_RELATIVE(clhrl, 16, CMPL32(W1, v))
FETCH_RELATIVE(clghrl, 16, CMPL64(G1, v))
FETCH_SI(cli, 8, CMPL32(v, IMM8))
FETCH_SI(clhhsi, 16, CMPL32(v, IMM16))
FETCH_SI(clfhsi, 32, CMPL32(v, IMM16))
FETCH_SI(clghsi, 64, CMPL64(v, IMM16))
FETCH(clhf, 32, CMPL32(H1, v))
INSN_FAST(clhhr) { CMPL32(H1, H2); }
INSN_FAST(clhlr) { CMPL32(H1, W2); }
INSN_FAST(clih) { CMPL32(H1, IMM32); }

/* ---- And, or, exclusive or ---- */

INSN_FAST(nr) { logic32(c, o, W1 & W2); }
INSN_FAST(ngr) { logic64(c, o, G1 & G2); }
INSN_FAST(nrk) { logic32(c, o, W2 & W3); }
INSN_FAST(ngrk) { logic64(c, o, G2 & G3); }
FETCH(n, 32, logic32(c, o, W1 & v))
FETCH_HOT(ng, 64, logic64(c, o, G1 & v))

INSN_FAST(or) { logic32(c, o, W1 | W2); }
INSN_FAST(ogr) { logic64(c, o, G1 | G2); }
INSN_FAST(ork) { logic32(c, o, W2 | W3); }
INSN_FAST(ogrk) { logic64(c, o, G2 | G3); }
FETCH(o, 32, logic32(c, o, W1 | v))
FETCH(og, 64, logic64(c, o, G1 | v))

INSN_FAST(xr) { logic32(c, o, W1 ^ W2); }
INSN_FAST(xgr) { logic64(c, o, G1 ^ G2); }
INSN_FAST(xrk) { logic32(c, o, W2 ^ W3); }
INSN_FAST(xgrk) { logic64(c, o, G2 ^ G3); }
FETCH(x, 32, logic32(c, o, W1 ^ v))
FETCH(xg, 64, logic64(c, o, G1 ^ v))

/* On a part of the register: the rest stays, and the part alone gives the code. */
static ALWAYS_INLINE_ void and_part(struct vcpu *c, const struct op *o, unsigned int shift,
				    unsigned int bits, uint64_t value)
{
	uint64_t part = ((1ull << bits) - 1) << shift;

	G1 &= value << shift | ~part;
	set_cc_nonzero(c, G1 & part);
}

static ALWAYS_INLINE_ void or_part(struct vcpu *c, const struct op *o, unsigned int shift,
				   unsigned int bits, uint64_t value)
{
	G1 |= value << shift;
	set_cc_nonzero(c, G1 & ((1ull << bits) - 1) << shift);
}

INSN_FAST(nihh) { and_part(c, o, 48, 16, IMM16); }
INSN_FAST(nihl) { and_part(c, o, 32, 16, IMM16); }
INSN_FAST(nilh) { and_part(c, o, 16, 16, IMM16); }
INSN_FAST(nill) { and_part(c, o, 0, 16, IMM16); }
INSN_FAST(nihf) { and_part(c, o, 32, 32, IMM32); }
INSN_FAST(nilf) { and_part(c, o, 0, 32, IMM32); }
INSN_FAST(oihh) { or_part(c, o, 48, 16, IMM16); }
INSN_FAST(oihl) { or_part(c, o, 32, 16, IMM16); }
INSN_FAST(oilh) { or_part(c, o, 16, 16, IMM16); }
INSN_FAST(oill) { or_part(c, o, 0, 16, IMM16); }
INSN_FAST(oihf) { or_part(c, o, 32, 32, IMM32); }
INSN_FAST(oilf) { or_part(c, o, 0, 32, IMM32); }
INSN_FAST(xihf)
{
	uint32_t v = H1 ^ IMM32;

	SETHI(v);
	set_cc_nonzero(c, v);
}
INSN_FAST(xilf) { logic32(c, o, W1 ^ IMM32); }

/* ---- Test under mask ---- */

static ALWAYS_INLINE_ void test_byte(struct vcpu *c, uint8_t value, uint8_t mask)
{
	uint8_t selected = value & mask;

	set_cc(c, !selected ? 0 : selected == mask ? 3 : 1);
}

/* For one bit there are two outcomes; most tests are of one bit. */
static ALWAYS_INLINE_ void test_bit(struct vcpu *c, uint64_t selected)
{
	set_cc(c, selected ? 3 : 0);
}

static ALWAYS_INLINE_ void test_halfword(struct vcpu *c, uint16_t value, uint16_t mask)
{
	uint16_t selected = value & mask;
	uint16_t leftmost = mask ? (uint16_t)(1u << (31 - __builtin_clz(mask))) : 0;

	if (!selected)
		set_cc(c, 0);
	else if (selected == mask)
		set_cc(c, 3);
	else
		set_cc(c, selected & leftmost ? 2 : 1);
}

FETCH_SI(tm, 8, test_byte(c, v, IMM8))
FETCH_SI(tm_bit, 8, test_bit(c, v & IMM8))
INSN_FAST(tmhh) { test_halfword(c, (uint16_t)(G1 >> 48), IMM16); }
INSN_FAST(tmhl) { test_halfword(c, (uint16_t)(G1 >> 32), IMM16); }
INSN_FAST(tmlh) { test_halfword(c, (uint16_t)(G1 >> 16), IMM16); }
INSN_FAST(tmll) { test_halfword(c, (uint16_t)G1, IMM16); }
INSN_FAST(tmhh_bit) { test_bit(c, G1 & (uint64_t)IMM16 << 48); }
INSN_FAST(tmhl_bit) { test_bit(c, G1 & (uint64_t)IMM16 << 32); }
INSN_FAST(tmlh_bit) { test_bit(c, G1 & (uint64_t)IMM16 << 16); }
INSN_FAST(tmll_bit) { test_bit(c, G1 & IMM16); }

/* ---- Multiply and divide ---- */

INSN_FAST(msr) { SET32(W1 * W2); }
INSN_FAST(msgr) { SET64(G1 * G2); }
INSN_FAST(msgfr) { SET64(G1 * (uint64_t)SW2); }
FETCH(ms, 32, SET32(W1 * v))
FETCH(msg, 64, SET64(G1 * v))
FETCH(msgf, 32, SET64(G1 * (uint64_t)(int32_t)v))
FETCH(mh, 16, SET32(W1 * (uint32_t)(int16_t)v))
INSN_FAST(mhi) { SET32(W1 * IMM32); }
INSN_FAST(mghi) { SET64(G1 * o->uimm); }
INSN_FAST(msfi) { SET32(W1 * IMM32); }
INSN_FAST(msgfi) { SET64(G1 * o->uimm); }

/* A doubleword in the right halves of an even-odd pair */
static ALWAYS_INLINE_ void set_pair32(struct vcpu *c, unsigned int r, uint64_t v)
{
	set_lo32(c, r, hi32(v));
	set_lo32(c, r + 1, lo32(v));
}

static ALWAYS_INLINE_ uint64_t pair32(const struct vcpu *c, unsigned int r)
{
	return c->s.gr[r] << 32 | lo32(c->s.gr[r + 1]);
}

static ALWAYS_INLINE_ void multiply32(struct vcpu *c, const struct op *o, uint32_t b)
{
	int64_t a = (int32_t)lo32(c->s.gr[o->r1 + 1]);

	set_pair32(c, o->r1, (uint64_t)(a * (int32_t)b));
}

static ALWAYS_INLINE_ void multiply_logical32(struct vcpu *c, const struct op *o, uint32_t b)
{
	set_pair32(c, o->r1, (uint64_t)lo32(c->s.gr[o->r1 + 1]) * b);
}

static ALWAYS_INLINE_ void multiply_logical64(struct vcpu *c, const struct op *o, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)c->s.gr[o->r1 + 1] * b;

	c->s.gr[o->r1] = (uint64_t)(product >> 64);
	c->s.gr[o->r1 + 1] = (uint64_t)product;
}

INSN_FAST(mr) { require_even(c, o, o->r1); multiply32(c, o, W2); }
INSN_FAST(m) { require_even(c, o, o->r1); multiply32(c, o, M32); }
INSN_FAST(mlr) { require_even(c, o, o->r1); multiply_logical32(c, o, W2); }
INSN_FAST(ml) { require_even(c, o, o->r1); multiply_logical32(c, o, M32); }
INSN_FAST(mlgr) { require_even(c, o, o->r1); multiply_logical64(c, o, G2); }
INSN_FAST(mlg) { require_even(c, o, o->r1); multiply_logical64(c, o, M64); }

static void divide32(struct vcpu *c, const struct op *o, uint32_t b)
{
	int64_t dividend = (int64_t)pair32(c, o->r1);
	int32_t divisor = (int32_t)b;
	int64_t quotient;

	/* The host traps where -2^63 is divided by -1. */
	if (!divisor || (dividend == INT64_MIN && divisor == -1))
		pgm(c, o, PGM_FIXED_DIVIDE);
	quotient = dividend / divisor;
	if (quotient != (int32_t)quotient)
		pgm(c, o, PGM_FIXED_DIVIDE);
	set_lo32(c, o->r1, (uint32_t)(dividend % divisor));
	set_lo32(c, o->r1 + 1, (uint32_t)quotient);
}

static ALWAYS_INLINE_ void divide_logical32(struct vcpu *c, const struct op *o, uint32_t divisor)
{
	uint64_t dividend = pair32(c, o->r1);

	if (unlikely(hi32(dividend) >= divisor))
		pgm(c, o, PGM_FIXED_DIVIDE);
	set_lo32(c, o->r1, (uint32_t)(dividend % divisor));
	set_lo32(c, o->r1 + 1, (uint32_t)(dividend / divisor));
}

static ALWAYS_INLINE_ void divide_logical64(struct vcpu *c, const struct op *o, uint64_t divisor)
{
	uint64_t high = c->s.gr[o->r1];
	uint64_t low = c->s.gr[o->r1 + 1];

	if (unlikely(high >= divisor))
		pgm(c, o, PGM_FIXED_DIVIDE);
	if (!high) {
		c->s.gr[o->r1] = low % divisor;
		c->s.gr[o->r1 + 1] = low / divisor;
	} else {
		unsigned __int128 dividend = (unsigned __int128)high << 64 | low;

		c->s.gr[o->r1] = (uint64_t)(dividend % divisor);
		c->s.gr[o->r1 + 1] = (uint64_t)(dividend / divisor);
	}
}

static ALWAYS_INLINE_ void divide_single(struct vcpu *c, const struct op *o, int64_t divisor)
{
	int64_t dividend = (int64_t)c->s.gr[o->r1 + 1];

	if (unlikely(!divisor || (dividend == INT64_MIN && divisor == -1)))
		pgm(c, o, PGM_FIXED_DIVIDE);
	c->s.gr[o->r1] = (uint64_t)(dividend % divisor);
	c->s.gr[o->r1 + 1] = (uint64_t)(dividend / divisor);
}

INSN(dr) { require_even(c, o, o->r1); divide32(c, o, W2); }
INSN(d) { require_even(c, o, o->r1); divide32(c, o, M32); }
INSN_FAST(dlr) { require_even(c, o, o->r1); divide_logical32(c, o, W2); }
INSN_FAST(dl) { require_even(c, o, o->r1); divide_logical32(c, o, M32); }
INSN(dlgr) { require_even(c, o, o->r1); divide_logical64(c, o, G2); }
INSN(dlg) { require_even(c, o, o->r1); divide_logical64(c, o, M64); }
INSN_FAST(dsgr) { require_even(c, o, o->r1); divide_single(c, o, (int64_t)G2); }
INSN_FAST(dsgfr) { require_even(c, o, o->r1); divide_single(c, o, SW2); }
INSN_FAST(dsg) { require_even(c, o, o->r1); divide_single(c, o, (int64_t)M64); }
INSN_FAST(dsgf) { require_even(c, o, o->r1); divide_single(c, o, (int32_t)M32); }

/* ---- Shift and rotate: six bits of the second-operand address count ---- */

#define COUNT ((unsigned int)(c->s.gr[o->b2] + (uint64_t)(int64_t)o->d2) & 63)
/* Without a base register: branch_specialise() has put the count there. */
#define COUNT_CONSTANT ((unsigned int)o->imm)

static ALWAYS_INLINE_ uint32_t rotate32(uint32_t v, unsigned int n)
{
	return v << (n & 31) | v >> (-n & 31);
}

static ALWAYS_INLINE_ uint64_t rotate64(uint64_t v, unsigned int n)
{
	return v << (n & 63) | v >> (-n & 63);
}

static ALWAYS_INLINE_ void set_shifted32(struct vcpu *c, const struct op *o, int32_t result)
{
	SET32(result);
	CMP32(result, 0);
}

static ALWAYS_INLINE_ void set_shifted64(struct vcpu *c, const struct op *o, int64_t result)
{
	SET64(result);
	CMP64(result, 0);
}

/* Both the general form, and name_by for a constant count */
#define SHIFT(name, ...) \
	SHIFT_(name, COUNT, __VA_ARGS__) \
	SHIFT_(name##_by, COUNT_CONSTANT, __VA_ARGS__)
#define SHIFT_(name, amount, ...) \
	INSN_FAST(name) \
	{ \
		unsigned int count = amount; \
		__VA_ARGS__; \
	}

SHIFT(sll, SET32((uint64_t)W1 << count))
SHIFT(srl, SET32((uint64_t)W1 >> count))
SHIFT(sllk, SET32((uint64_t)W3 << count))
SHIFT(srlk, SET32((uint64_t)W3 >> count))
SHIFT(sllg, SET64(G3 << count))
SHIFT(srlg, SET64(G3 >> count))
SHIFT(rll, SET32(rotate32(W3, count)))
SHIFT(rllg, SET64(rotate64(G3, count)))
SHIFT(sra, set_shifted32(c, o, (int32_t)((int64_t)(int32_t)W1 >> count)))
SHIFT(srak, set_shifted32(c, o, (int32_t)((int64_t)(int32_t)W3 >> count)))
SHIFT(srag, set_shifted64(c, o, (int64_t)G3 >> count))

/*
 * The sign stays and the rest is shifted; overflow when a bit unlike the sign
 * leaves the rest.
 */
static ALWAYS_INLINE_ void shift_left_signed32(struct vcpu *c, const struct op *o, uint32_t v)
{
	unsigned int count = COUNT;
	uint32_t result = (uint32_t)((uint64_t)v << count);
	int64_t shifted = (int64_t)((uint64_t)(int32_t)v << (count & 31));
	/* From 32 on the zeros that came in leave as well. */
	bool overflow = count < 32 ? shifted != (int32_t)shifted : v != 0;

	result = (result & 0x7fffffff) | (v & 0x80000000);
	set_signed32(c, o, o->r1, (int32_t)result, overflow);
}

static ALWAYS_INLINE_ bool shift_left_signed64(struct vcpu *c, const struct op *o, uint64_t v,
					       uint64_t *result)
{
	unsigned int count = COUNT;
	int64_t shifted = (int64_t)(v << count);

	*result = ((uint64_t)shifted & INT64_MAX) | (v & BIT64(0));
	return (shifted >> count) != (int64_t)v;
}

INSN_FAST(sla) { shift_left_signed32(c, o, W1); }
INSN_FAST(slak) { shift_left_signed32(c, o, W3); }
INSN(slag)
{
	uint64_t result;
	bool overflow = shift_left_signed64(c, o, G3, &result);

	set_signed64(c, o, o->r1, (int64_t)result, overflow);
}

INSN(slda)
{
	uint64_t result;
	bool overflow;

	require_even(c, o, o->r1);
	overflow = shift_left_signed64(c, o, pair32(c, o->r1), &result);
	set_pair32(c, o->r1, result);
	if (overflow)
		fixed_overflow(c, o);
	else
		CMP64(result, 0);
}
INSN(srda)
{
	int64_t result;

	require_even(c, o, o->r1);
	result = (int64_t)pair32(c, o->r1) >> COUNT;
	set_pair32(c, o->r1, (uint64_t)result);
	CMP64(result, 0);
}
INSN_FAST(sldl)
{
	require_even(c, o, o->r1);
	set_pair32(c, o->r1, pair32(c, o->r1) << COUNT);
}
INSN_FAST(srdl)
{
	require_even(c, o, o->r1);
	set_pair32(c, o->r1, pair32(c, o->r1) >> COUNT);
}

/*
 * Rotate, then something with the selected bits, of which o->uimm is the mask.
 * I3 (m3) bit 0: test only. I4 (m4) bit 0: zero the remaining bits. I5 (d1): count.
 */
#define ROTATED rotate64(G2, (unsigned int)o->d1)
#define SELECTED (o->uimm)

INSN_FAST(risbg_zero) { uint64_t v = ROTATED & SELECTED; SET64(v); CMP64(v, 0); }
INSN_FAST(risbg_keep)
{
	uint64_t v = (G1 & ~SELECTED) | (ROTATED & SELECTED);

	SET64(v);
	CMP64(v, 0);
}
INSN_FAST(risbg)
{
	uint64_t v = ROTATED & SELECTED;

	if (!(o->m4 & 0x80))
		v |= G1 & ~SELECTED;
	SET64(v);
	CMP64(v, 0);
}

static ALWAYS_INLINE_ void rotate_then_logic(struct vcpu *c, const struct op *o, uint64_t v)
{
	if (!(o->m3 & 0x80))
		SET64((G1 & ~SELECTED) | (v & SELECTED));
	set_cc_nonzero(c, v & SELECTED);
}

INSN_FAST(rnsbg) { rotate_then_logic(c, o, G1 & ROTATED); }
INSN_FAST(rosbg) { rotate_then_logic(c, o, G1 | ROTATED); }
INSN_FAST(rxsbg) { rotate_then_logic(c, o, G1 ^ ROTATED); }

/* Bits first to last of a word, around the end when last is before first */
static inline uint32_t selected_word(unsigned int first, unsigned int last)
{
	uint32_t from_first = UINT32_MAX >> first;
	uint32_t to_last = UINT32_MAX << (31 - last);

	return first <= last ? from_first & to_last : from_first | to_last;
}

static uint32_t insert_word(const struct op *o, uint32_t old, uint32_t rotated)
{
	uint32_t mask = selected_word(o->m3 & 31, o->m4 & 31);

	return (rotated & mask) | (o->m4 & 0x80 ? 0 : old & ~mask);
}

INSN(risbhg) { SETHI(insert_word(o, H1, hi32(ROTATED))); }
INSN(risblg) { SET32(insert_word(o, W1, lo32(ROTATED))); }

/* ---- Bits ---- */

INSN_FAST(flogr)
{
	uint64_t v = G2;
	unsigned int zeros;

	require_even(c, o, o->r1);
	if (!v) {
		G1 = 64;
		c->s.gr[o->r1 + 1] = 0;
		set_cc(c, 0);
		return;
	}
	zeros = (unsigned int)__builtin_clzll(v);
	G1 = zeros;
	c->s.gr[o->r1 + 1] = v & ~BIT64(zeros);
	set_cc(c, 2);
}

/* One count in each byte */
INSN_FAST(popcnt)
{
	uint64_t v = G2;

	v -= v >> 1 & 0x5555555555555555ull;
	v = (v & 0x3333333333333333ull) + (v >> 2 & 0x3333333333333333ull);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0full;
	logic64(c, o, v);
}

/* ---- On condition: m3 has a bit for each condition code ---- */

static ALWAYS_INLINE_ bool condition(const struct vcpu *c, unsigned int mask)
{
	return mask << get_cc(c) & 8;
}

INSN_FAST(locr) { if (condition(c, o->m3)) SET32(W2); }
INSN_FAST(locgr) { if (condition(c, o->m3)) SET64(G2); }
INSN_FAST(loc) { if (condition(c, o->m3)) SET32(ld32(c, o, ea2(c, o), o->b2)); }
INSN_FAST(locg) { if (condition(c, o->m3)) SET64(ld64(c, o, ea2(c, o), o->b2)); }
INSN_FAST(stoc) { if (condition(c, o->m3)) st32(c, o, ea2(c, o), o->b2, W1); }
INSN_FAST(stocg) { if (condition(c, o->m3)) st64(c, o, ea2(c, o), o->b2, G1); }

/* ---- Compare and trap: the mask is for equal, low, high ---- */

#define DXC_COMPARE_AND_TRAP 0xff

#define TRAP(a, b) do { \
	unsigned int outcome_ = (a) == (b) ? 8 : (a) < (b) ? 4 : 2; \
	if (unlikely(o->m3 & outcome_)) \
		pgm_data_completed(c, o, DXC_COMPARE_AND_TRAP); \
	} while (0)

INSN_FAST(crt) { TRAP((int32_t)W1, (int32_t)W2); }
INSN_FAST(cgrt) { TRAP((int64_t)G1, (int64_t)G2); }
INSN_FAST(clrt) { TRAP(W1, W2); }
INSN_FAST(clgrt) { TRAP(G1, G2); }
INSN_FAST(cit) { TRAP((int32_t)W1, (int32_t)IMM); }
INSN_FAST(cgit) { TRAP((int64_t)G1, IMM); }
INSN_FAST(clfit) { TRAP(W1, (uint32_t)IMM16); }
INSN_FAST(clgit) { TRAP(G1, (uint64_t)IMM16); }

/* ---- Access registers, program mask, hints ---- */

INSN_FAST(ear) { SET32(c->s.ar[o->r2]); }
INSN_FAST(sar) { c->s.ar[o->r1] = W2; }
INSN_FAST(cpya) { c->s.ar[o->r1] = c->s.ar[o->r2]; }

INSN_FAST(ipm)
{
	uint64_t mask = (c->s.psw_mask & PSW_PGM_MASK) >> 40;
	uint64_t byte = (uint64_t)get_cc(c) << 4 | mask;

	SET64((G1 & ~0xff000000ull) | byte << 24);
}

INSN(spm)
{
	uint64_t byte = G1 >> 24;

	c->s.psw_mask = (c->s.psw_mask & ~PSW_PGM_MASK) | (byte & 0xf) << 40;
	set_cc(c, (unsigned int)byte >> 4 & 3);
}

/* Prefetching is the host's business: it sees the accesses. */
INSN_FAST(pfd) { (void)c; }

/*
 * What caches there are: those of a z196, since programs tune themselves by it.
 * The answer for what does not exist is all ones.
 */
#define ECAG_ATTRIBUTE(ea) ((ea) >> 4 & 15)
#define ECAG_LEVEL(ea) ((ea) >> 1 & 7)
#define ECAG_INSTRUCTION 1
#define ECAG_RESERVED 0xffff00ull
/* Topology summary: one byte a level; scope (4 private, 8 shared), type (0 split, 3 unified) */
#define ECAG_TOPOLOGY 0x04070b0b00000000ull

INSN(ecag)
{
	static const struct {
		uint64_t size;
		uint16_t line;
		uint16_t ways;
	} caches[][2] = {
		/* data or unified, instruction */
		{ { 128 * KIB, 256, 8 }, { 64 * KIB, 256, 4 } },
		{ { 1536 * KIB, 256, 12 }, { 1536 * KIB, 256, 12 } },
		{ { 24 * MIB, 256, 12 }, { 24 * MIB, 256, 12 } },
		{ { 192 * MIB, 256, 24 }, { 192 * MIB, 256, 24 } },
	};
	uint64_t ea = ea2(c, o);
	unsigned int level = ECAG_LEVEL(ea);
	unsigned int type = ea & ECAG_INSTRUCTION;
	uint64_t answer = UINT64_MAX;

	if (!(ea & ECAG_RESERVED)) {
		switch (ECAG_ATTRIBUTE(ea)) {
		case 0:
			answer = ECAG_TOPOLOGY;
			break;
		case 1:
			if (level < ARRAY_SIZE(caches))
				answer = caches[level][type].line;
			break;
		case 2:
			if (level < ARRAY_SIZE(caches))
				answer = caches[level][type].size;
			break;
		case 3:
			if (level < ARRAY_SIZE(caches))
				answer = caches[level][type].ways;
			break;
		}
	}
	SET64(answer);
}
