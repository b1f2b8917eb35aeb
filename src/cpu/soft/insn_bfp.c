/* SPDX-License-Identifier: MIT */
/*
 * Binary floating-point instructions, and those that move floating-point
 * numbers about without looking at them.
 *
 * Each arithmetic instruction first tries the host's floating-point unit
 * (bfp/fast.h), and calls a function named ..._exact when that declines.
 * There, everything comes from bfp/bfp.h, and IEEE exceptions are dealt with: a
 * trap for an invalid operation or a division by zero suppresses the
 * instruction; any other trap comes after the result and the condition code
 * have been set.
 *
 * Registers: a short number is in the left half of a register, whose right half
 * a short result leaves alone; an extended one is in registers r and r + 2. E, D
 * and X in names stand for short, long and extended, as in the mnemonics.
 *
 * Source: Principles of Operation (SA22-7832), chapter 9 "Floating-Point
 * Overview and Support Instructions", 19 "Binary-Floating-Point Instructions".
 */
#include "cpu/soft/bfp/bfp.h"
#include "cpu/soft/bfp/fast.h"
#include "cpu/soft/soft.h"

/* Floating-point-control register */
#define FPC_MASK_SHIFT 24
#define FPC_MASK_INEXACT (BFP_INEXACT << FPC_MASK_SHIFT)
#define FPC_FLAG_SHIFT 16
#define FPC_FLAG_INEXACT (BFP_INEXACT << FPC_FLAG_SHIFT)
#define FPC_FLAGS 0x00ff0000u
#define FPC_DFP_ROUNDING 0x70u
#define FPC_DFP_ROUNDING_SHIFT 4
#define FPC_ROUNDING 0x07u
#define FPC_RESERVED 0x03030088u

#define IEEE_EXCEPTIONS 0xf8 /* of a byte of masks or flags; 0x04 is the DFP quantum exception */
#define DXC_SIMULATED 0x03

#define MODIFIER_NO_INEXACT 0x4 /* bit 1 of M4: suppress the inexact exception */

#define E (&bfp_short)
#define D (&bfp_long)
#define X (&bfp_extended)

#define SIGN32 0x80000000u
#define SIGN64 0x8000000000000000ull

/* ---- Operands ---- */

static inline void require_bfp(struct vcpu *c, const struct op *o)
{
	if (unlikely(!(c->s.cr[0] & CR0_AFP)))
		pgm_data(c, o, DXC_BFP_INSTRUCTION);
}

/* Registers other than 0, 2, 4, 6 are there only with the AFP-register control. */
static inline void require_fpr(struct vcpu *c, const struct op *o, unsigned int r)
{
	if (unlikely(!(c->s.cr[0] & CR0_AFP)) && (r & 9))
		pgm_data(c, o, DXC_AFP_REGISTER);
}

static inline void require_pair(struct vcpu *c, const struct op *o, unsigned int r)
{
	if (unlikely(r & 2))
		pgm(c, o, PGM_SPECIFICATION);
}

static inline uint32_t get_e(const struct vcpu *c, unsigned int r)
{
	return (uint32_t)(c->s.fpr[r] >> 32);
}

static inline uint64_t get_d(const struct vcpu *c, unsigned int r)
{
	return c->s.fpr[r];
}

static inline bfp128 get_x(const struct vcpu *c, unsigned int r)
{
	return (bfp128)c->s.fpr[r] << 64 | c->s.fpr[r + 2];
}

static inline void put_e(struct vcpu *c, unsigned int r, uint32_t v)
{
	c->s.fpr[r] = (uint64_t)v << 32 | lo32(c->s.fpr[r]);
}

static inline void put_d(struct vcpu *c, unsigned int r, uint64_t v)
{
	c->s.fpr[r] = v;
}

static inline void put_x(struct vcpu *c, unsigned int r, bfp128 v)
{
	c->s.fpr[r] = (uint64_t)(v >> 64);
	c->s.fpr[r + 2] = (uint64_t)v;
}

static void put(struct vcpu *c, unsigned int r, const struct bfp_format *f, bfp128 v)
{
	if (f == E)
		put_e(c, r, (uint32_t)v);
	else if (f == D)
		put_d(c, r, (uint64_t)v);
	else
		put_x(c, r, v);
}

static inline uint32_t storage_e(struct vcpu *c, const struct op *o)
{
	return ld32(c, o, ea2x(c, o), o->b2);
}

static inline uint64_t storage_d(struct vcpu *c, const struct op *o)
{
	return ld64(c, o, ea2x(c, o), o->b2);
}

/* Condition code of a result that is not a NaN. Minus zero is zero. */
static inline void set_cc_e(struct vcpu *c, uint32_t v)
{
	set_cc_signed(c, v == SIGN32 ? 0 : (int32_t)v, 0);
}

static inline void set_cc_d(struct vcpu *c, uint64_t v)
{
	set_cc_signed(c, v == SIGN64 ? 0 : (int64_t)v, 0);
}

/* ---- Rounding and exceptions ---- */

/* May the host compute? It rounds to nearest, and cannot trap. */
static inline bool fast(const struct vcpu *c)
{
	return BFP_HAVE_FAST && likely(!(c->s.fpc & (FPC_MASK_INEXACT | FPC_ROUNDING)));
}

static inline bool flagged(const struct vcpu *c)
{
	return c->s.fpc & FPC_FLAG_INEXACT;
}

static struct bfp_status status(const struct vcpu *c)
{
	return (struct bfp_status){
		.mode = c->s.fpc & FPC_ROUNDING,
		.trap = c->s.fpc >> FPC_MASK_SHIFT & IEEE_EXCEPTIONS,
	};
}

/* The rounding method that a modifier names; 0 is the one of the FPC register. */
static uint8_t rounding(struct vcpu *c, const struct op *o, unsigned int modifier)
{
	static const uint8_t mode[] = {
		[1] = BFP_NEAREST_AWAY, [3] = BFP_PREPARE_SHORTER, [4] = BFP_NEAREST_EVEN,
		[5] = BFP_TOWARD_ZERO, [6] = BFP_UP, [7] = BFP_DOWN,
	};

	if (modifier == 0)
		return c->s.fpc & FPC_ROUNDING;
	if (modifier == 2 || modifier > 7)
		pgm(c, o, PGM_SPECIFICATION);
	return mode[modifier];
}

/* Before the result is put anywhere. */
static void suppress_if_trapped(struct vcpu *c, const struct op *o, const struct bfp_status *st)
{
	uint8_t trapped = st->raised & st->trap & (BFP_INVALID | BFP_DIVIDE_BY_ZERO);

	if (trapped)
		pgm_data(c, o, trapped);
}

static bool range_trapped(const struct bfp_status *st)
{
	return st->raised & st->trap & (BFP_OVERFLOW | BFP_UNDERFLOW);
}

/* When result and condition code are set. */
static void finish_but(struct vcpu *c, const struct op *o, const struct bfp_status *st,
		       bool no_inexact)
{
	uint8_t raised = st->raised;

	if (!raised)
		return;
	/* The code says whether the trapped result is inexact, and which way. No flag is set. */
	if (range_trapped(st))
		pgm_data_completed(c, o, raised);
	c->s.fpc |= (uint32_t)(raised & IEEE_EXCEPTIONS & ~BFP_INEXACT) << FPC_FLAG_SHIFT;
	if (!(raised & BFP_INEXACT) || no_inexact)
		return;
	if (st->trap & BFP_INEXACT)
		pgm_data_completed(c, o, raised & (BFP_INEXACT | BFP_INCREMENTED));
	c->s.fpc |= FPC_FLAG_INEXACT;
}

static void finish(struct vcpu *c, const struct op *o, const struct bfp_status *st)
{
	finish_but(c, o, st, false);
}

/* ---- Add, subtract, multiply, divide ---- */

enum operation { ADD, SUBTRACT, MULTIPLY, DIVIDE };

static NOINLINE_ void arithmetic_exact(struct vcpu *c, const struct op *o, enum operation operation,
				       const struct bfp_format *f, bfp128 a, bfp128 b)
{
	struct bfp_status st = status(c);
	bfp128 r = 0;

	switch (operation) {
	case ADD:
		r = bfp_add(f, a, b, &st);
		break;
	case SUBTRACT:
		r = bfp_subtract(f, a, b, &st);
		break;
	case MULTIPLY:
		r = bfp_multiply(f, f, a, b, &st);
		break;
	case DIVIDE:
		r = bfp_divide(f, a, b, &st);
		break;
	}
	suppress_if_trapped(c, o, &st);
	put(c, o->r1, f, r);
	if (operation == ADD || operation == SUBTRACT)
		set_cc(c, bfp_condition_code(f, r));
	finish(c, o, &st);
}

static ALWAYS_INLINE_ void add_e(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	uint32_t r;

	if (fast(c) && likely(bfp_fast_add32(a, b, flagged(c), &r))) {
		put_e(c, o->r1, r);
		set_cc_e(c, r);
	} else {
		arithmetic_exact(c, o, ADD, E, a, b);
	}
}

static ALWAYS_INLINE_ void add_d(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	uint64_t r;

	if (fast(c) && likely(bfp_fast_add64(a, b, flagged(c), &r))) {
		put_d(c, o->r1, r);
		set_cc_d(c, r);
	} else {
		arithmetic_exact(c, o, ADD, D, a, b);
	}
}

static ALWAYS_INLINE_ void subtract_e(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	uint32_t r;

	if (fast(c) && likely(bfp_fast_add32(a, b ^ SIGN32, flagged(c), &r))) {
		put_e(c, o->r1, r);
		set_cc_e(c, r);
	} else {
		arithmetic_exact(c, o, SUBTRACT, E, a, b);
	}
}

static ALWAYS_INLINE_ void subtract_d(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	uint64_t r;

	if (fast(c) && likely(bfp_fast_add64(a, b ^ SIGN64, flagged(c), &r))) {
		put_d(c, o->r1, r);
		set_cc_d(c, r);
	} else {
		arithmetic_exact(c, o, SUBTRACT, D, a, b);
	}
}

static ALWAYS_INLINE_ void multiply_e(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	uint32_t r;

	if (fast(c) && likely(bfp_fast_multiply32(a, b, flagged(c), &r)))
		put_e(c, o->r1, r);
	else
		arithmetic_exact(c, o, MULTIPLY, E, a, b);
}

static ALWAYS_INLINE_ void multiply_d(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	uint64_t r;

	if (fast(c) && likely(bfp_fast_multiply64(a, b, flagged(c), &r)))
		put_d(c, o->r1, r);
	else
		arithmetic_exact(c, o, MULTIPLY, D, a, b);
}

static ALWAYS_INLINE_ void divide_e(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	uint32_t r;

	if (fast(c) && likely(bfp_fast_divide32(a, b, flagged(c), &r)))
		put_e(c, o->r1, r);
	else
		arithmetic_exact(c, o, DIVIDE, E, a, b);
}

static ALWAYS_INLINE_ void divide_d(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	uint64_t r;

	if (fast(c) && likely(bfp_fast_divide64(a, b, flagged(c), &r)))
		put_d(c, o->r1, r);
	else
		arithmetic_exact(c, o, DIVIDE, D, a, b);
}

/* A register that is no pair is found before the operand in storage is looked at. */
static ALWAYS_INLINE_ void require_bfp_pair(struct vcpu *c, const struct op *o)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1);
}

/* The two forms of an instruction: second operand in a register, or in storage. */
#define TWO_OPERANDS_AFTER(check, size, rr, rx, function) \
	INSN_FAST(rr) \
	{ \
		check(c, o); \
		function(c, o, get_##size(c, o->r1), get_##size(c, o->r2)); \
	} \
	INSN_FAST(rx) \
	{ \
		check(c, o); \
		function(c, o, get_##size(c, o->r1), storage_##size(c, o)); \
	}
#define TWO_OPERANDS(size, rr, rx, function) TWO_OPERANDS_AFTER(require_bfp, size, rr, rx, function)

#define ARITHMETIC_EXTENDED(rr, operation) \
	INSN(rr) \
	{ \
		require_bfp(c, o); \
		require_pair(c, o, o->r1 | o->r2); \
		arithmetic_exact(c, o, operation, X, get_x(c, o->r1), get_x(c, o->r2)); \
	}

TWO_OPERANDS(e, aebr, aeb, add_e)
TWO_OPERANDS(d, adbr, adb, add_d)
ARITHMETIC_EXTENDED(axbr, ADD)
TWO_OPERANDS(e, sebr, seb, subtract_e)
TWO_OPERANDS(d, sdbr, sdb, subtract_d)
ARITHMETIC_EXTENDED(sxbr, SUBTRACT)
TWO_OPERANDS(e, meebr, meeb, multiply_e)
TWO_OPERANDS(d, mdbr, mdb, multiply_d)
ARITHMETIC_EXTENDED(mxbr, MULTIPLY)
TWO_OPERANDS(e, debr, deb, divide_e)
TWO_OPERANDS(d, ddbr, ddb, divide_d)
ARITHMETIC_EXTENDED(dxbr, DIVIDE)

/* The product of two numbers in the next longer format. */
static NOINLINE_ void multiply_longer_exact(struct vcpu *c, const struct op *o,
					    const struct bfp_format *from,
					    const struct bfp_format *to, bfp128 a, bfp128 b)
{
	struct bfp_status st = status(c);
	bfp128 r = bfp_multiply(from, to, a, b, &st);

	suppress_if_trapped(c, o, &st);
	put(c, o->r1, to, r);
	finish(c, o, &st);
}

static ALWAYS_INLINE_ void multiply_e_to_d(struct vcpu *c, const struct op *o, uint32_t a,
					   uint32_t b)
{
	uint64_t r;

	if (BFP_HAVE_FAST && likely(bfp_fast_multiply32_to_64(a, b, &r)))
		put_d(c, o->r1, r);
	else
		multiply_longer_exact(c, o, E, D, a, b);
}

static ALWAYS_INLINE_ void multiply_d_to_x(struct vcpu *c, const struct op *o, uint64_t a,
					   uint64_t b)
{
	multiply_longer_exact(c, o, D, X, a, b);
}

TWO_OPERANDS(e, mdebr, mdeb, multiply_e_to_d)
TWO_OPERANDS_AFTER(require_bfp_pair, d, mxdbr, mxdb, multiply_d_to_x)

/* ---- Multiply and add, multiply and subtract ---- */

static NOINLINE_ void multiply_add_exact(struct vcpu *c, const struct op *o,
					 const struct bfp_format *f, bfp128 third, bfp128 second,
					 bfp128 first, bool subtract)
{
	struct bfp_status st = status(c);
	bfp128 r = bfp_multiply_add(f, third, second, first, subtract, &st);

	suppress_if_trapped(c, o, &st);
	put(c, o->r1, f, r);
	finish(c, o, &st);
}

static ALWAYS_INLINE_ void multiply_add_e(struct vcpu *c, const struct op *o, uint32_t second,
					  bool subtract)
{
	uint32_t third = get_e(c, o->r3), first = get_e(c, o->r1);
	uint32_t r;

	if (fast(c) && flagged(c) &&
	    likely(bfp_fast_multiply_add32(third, second, subtract ? first ^ SIGN32 : first, &r)))
		put_e(c, o->r1, r);
	else
		multiply_add_exact(c, o, E, third, second, first, subtract);
}

static ALWAYS_INLINE_ void multiply_add_d(struct vcpu *c, const struct op *o, uint64_t second,
					  bool subtract)
{
	uint64_t third = get_d(c, o->r3), first = get_d(c, o->r1);
	uint64_t r;

	if (fast(c) && flagged(c) &&
	    likely(bfp_fast_multiply_add64(third, second, subtract ? first ^ SIGN64 : first, &r)))
		put_d(c, o->r1, r);
	else
		multiply_add_exact(c, o, D, third, second, first, subtract);
}

#define MULTIPLY_ADD(size, rr, rx, subtract) \
	INSN_FAST(rr) \
	{ \
		require_bfp(c, o); \
		multiply_add_##size(c, o, get_##size(c, o->r2), subtract); \
	} \
	INSN_FAST(rx) \
	{ \
		require_bfp(c, o); \
		multiply_add_##size(c, o, storage_##size(c, o), subtract); \
	}

MULTIPLY_ADD(e, maebr, maeb, false)
MULTIPLY_ADD(d, madbr, madb, false)
MULTIPLY_ADD(e, msebr, mseb, true)
MULTIPLY_ADD(d, msdbr, msdb, true)

/* ---- Square root ---- */

static NOINLINE_ void square_root_exact(struct vcpu *c, const struct op *o,
					const struct bfp_format *f, bfp128 a)
{
	struct bfp_status st = status(c);
	bfp128 r = bfp_square_root(f, a, &st);

	suppress_if_trapped(c, o, &st);
	put(c, o->r1, f, r);
	finish(c, o, &st);
}

static ALWAYS_INLINE_ void square_root_e(struct vcpu *c, const struct op *o, uint32_t a)
{
	uint32_t r;

	if (fast(c) && likely(bfp_fast_square_root32(a, flagged(c), &r)))
		put_e(c, o->r1, r);
	else
		square_root_exact(c, o, E, a);
}

static ALWAYS_INLINE_ void square_root_d(struct vcpu *c, const struct op *o, uint64_t a)
{
	uint64_t r;

	if (fast(c) && likely(bfp_fast_square_root64(a, flagged(c), &r)))
		put_d(c, o->r1, r);
	else
		square_root_exact(c, o, D, a);
}

#define ONE_OPERAND_AFTER(check, size, rr, rx, function) \
	INSN_FAST(rr) \
	{ \
		check(c, o); \
		function(c, o, get_##size(c, o->r2)); \
	} \
	INSN_FAST(rx) \
	{ \
		check(c, o); \
		function(c, o, storage_##size(c, o)); \
	}
#define ONE_OPERAND(size, rr, rx, function) ONE_OPERAND_AFTER(require_bfp, size, rr, rx, function)

ONE_OPERAND(e, sqebr, sqeb, square_root_e)
ONE_OPERAND(d, sqdbr, sqdb, square_root_d)

INSN(sqxbr)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1 | o->r2);
	square_root_exact(c, o, X, get_x(c, o->r2));
}

/* ---- Compare ---- */

static NOINLINE_ void compare_exact(struct vcpu *c, const struct op *o, const struct bfp_format *f,
				    bfp128 a, bfp128 b, bool signalling)
{
	struct bfp_status st = status(c);
	unsigned int cc = bfp_compare(f, a, b, signalling, &st);

	suppress_if_trapped(c, o, &st);
	set_cc(c, cc);
	finish(c, o, &st);
}

static ALWAYS_INLINE_ void compare_e(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b,
				     bool signalling)
{
	int cc = BFP_FAST_COMPARE(bfp_float(a), bfp_float(b));

	if (likely(cc >= 0))
		set_cc(c, (unsigned int)cc);
	else
		compare_exact(c, o, E, a, b, signalling);
}

static ALWAYS_INLINE_ void compare_d(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b,
				     bool signalling)
{
	int cc = BFP_FAST_COMPARE(bfp_double(a), bfp_double(b));

	if (likely(cc >= 0))
		set_cc(c, (unsigned int)cc);
	else
		compare_exact(c, o, D, a, b, signalling);
}

#define COMPARE(size, rr, rx, signalling) \
	INSN_FAST(rr) \
	{ \
		require_bfp(c, o); \
		compare_##size(c, o, get_##size(c, o->r1), get_##size(c, o->r2), signalling); \
	} \
	INSN_FAST(rx) \
	{ \
		require_bfp(c, o); \
		compare_##size(c, o, get_##size(c, o->r1), storage_##size(c, o), signalling); \
	}

#define COMPARE_EXTENDED(rr, signalling) \
	INSN(rr) \
	{ \
		require_bfp(c, o); \
		require_pair(c, o, o->r1 | o->r2); \
		compare_exact(c, o, X, get_x(c, o->r1), get_x(c, o->r2), signalling); \
	}

COMPARE(e, cebr, ceb, false)
COMPARE(d, cdbr, cdb, false)
COMPARE_EXTENDED(cxbr, false)
COMPARE(e, kebr, keb, true)
COMPARE(d, kdbr, kdb, true)
COMPARE_EXTENDED(kxbr, true)

/* ---- Test data class ---- */

INSN(tceb)
{
	require_bfp(c, o);
	set_cc(c, (bfp_data_class(E, get_e(c, o->r1)) & ea2x(c, o)) != 0);
}

INSN(tcdb)
{
	require_bfp(c, o);
	set_cc(c, (bfp_data_class(D, get_d(c, o->r1)) & ea2x(c, o)) != 0);
}

INSN(tcxb)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1);
	set_cc(c, (bfp_data_class(X, get_x(c, o->r1)) & ea2x(c, o)) != 0);
}

/* ---- Load and test, complement, negative, positive ---- */

static NOINLINE_ void load_and_test_exact(struct vcpu *c, const struct op *o,
					  const struct bfp_format *f, bfp128 a)
{
	struct bfp_status st = status(c);
	bfp128 r = bfp_load_and_test(f, a, &st);

	suppress_if_trapped(c, o, &st);
	put(c, o->r1, f, r);
	set_cc(c, bfp_condition_code(f, r));
	finish(c, o, &st);
}

INSN_FAST(ltebr)
{
	uint32_t a = get_e(c, o->r2);

	require_bfp(c, o);
	if (likely((a & ~SIGN32) <= 0x7f800000)) {
		put_e(c, o->r1, a);
		set_cc_e(c, a);
	} else {
		load_and_test_exact(c, o, E, a);
	}
}

INSN_FAST(ltdbr)
{
	uint64_t a = get_d(c, o->r2);

	require_bfp(c, o);
	if (likely((a & ~SIGN64) <= 0x7ff0000000000000)) {
		put_d(c, o->r1, a);
		set_cc_d(c, a);
	} else {
		load_and_test_exact(c, o, D, a);
	}
}

INSN(ltxbr)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1 | o->r2);
	load_and_test_exact(c, o, X, get_x(c, o->r2));
}

/* The sign of a NaN, which stays what it is, is set like any other. */
#define SIGN_INSN(size, format, rr, expression) \
	INSN(rr) \
	{ \
		require_bfp(c, o); \
		if (format == X) \
			require_pair(c, o, o->r1 | o->r2); \
		bfp128 sign = (bfp128)1 << (format->width - 1), a = get_##size(c, o->r2); \
		a = (expression); \
		put(c, o->r1, format, a); \
		set_cc(c, bfp_condition_code(format, a)); \
	}

SIGN_INSN(e, E, lcebr, a ^ sign)
SIGN_INSN(d, D, lcdbr, a ^ sign)
SIGN_INSN(x, X, lcxbr, a ^ sign)
SIGN_INSN(e, E, lnebr, a | sign)
SIGN_INSN(d, D, lndbr, a | sign)
SIGN_INSN(x, X, lnxbr, a | sign)
SIGN_INSN(e, E, lpebr, a & ~sign)
SIGN_INSN(d, D, lpdbr, a & ~sign)
SIGN_INSN(x, X, lpxbr, a & ~sign)

/* ---- Load lengthened, load rounded ---- */

static NOINLINE_ void lengthen_exact(struct vcpu *c, const struct op *o,
				     const struct bfp_format *from, const struct bfp_format *to,
				     bfp128 a)
{
	struct bfp_status st = status(c);
	bfp128 r = bfp_convert(from, to, a, &st);

	suppress_if_trapped(c, o, &st);
	put(c, o->r1, to, r);
	finish(c, o, &st);
}

static ALWAYS_INLINE_ void lengthen_e_to_d(struct vcpu *c, const struct op *o, uint32_t a)
{
	uint64_t r;

	if (likely(bfp_fast_lengthen(a, &r)))
		put_d(c, o->r1, r);
	else
		lengthen_exact(c, o, E, D, a);
}

static ALWAYS_INLINE_ void lengthen_e_to_x(struct vcpu *c, const struct op *o, uint32_t a)
{
	lengthen_exact(c, o, E, X, a);
}

static ALWAYS_INLINE_ void lengthen_d_to_x(struct vcpu *c, const struct op *o, uint64_t a)
{
	lengthen_exact(c, o, D, X, a);
}

ONE_OPERAND(e, ldebr, ldeb, lengthen_e_to_d)
ONE_OPERAND_AFTER(require_bfp_pair, e, lxebr, lxeb, lengthen_e_to_x)
ONE_OPERAND_AFTER(require_bfp_pair, d, lxdbr, lxdb, lengthen_d_to_x)

static NOINLINE_ void round_exact(struct vcpu *c, const struct op *o, const struct bfp_format *from,
				  const struct bfp_format *to, bfp128 a)
{
	struct bfp_status st = status(c);
	bfp128 r;

	st.mode = rounding(c, o, o->m3);
	r = bfp_convert(from, to, a, &st);
	suppress_if_trapped(c, o, &st);
	/* A trapped overflow or underflow leaves the number in the format it came in. */
	put(c, o->r1, range_trapped(&st) ? from : to, r);
	finish_but(c, o, &st, o->m4 & MODIFIER_NO_INEXACT);
}

INSN_FAST(ledbr)
{
	uint64_t a = get_d(c, o->r2);
	uint32_t r;

	require_bfp(c, o);
	if (o->m3 == 0 && fast(c) && likely(bfp_fast_round(a, flagged(c), &r)))
		put_e(c, o->r1, r);
	else
		round_exact(c, o, D, E, a);
}

INSN(lexbr)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1 | o->r2);
	round_exact(c, o, X, E, get_x(c, o->r2));
}

INSN(ldxbr)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1 | o->r2);
	round_exact(c, o, X, D, get_x(c, o->r2));
}

/* ---- Load FP integer ---- */

static NOINLINE_ void round_to_integer(struct vcpu *c, const struct op *o,
				       const struct bfp_format *f, bfp128 a)
{
	struct bfp_status st = status(c);
	bfp128 r;

	st.mode = rounding(c, o, o->m3);
	r = bfp_round_to_integer(f, a, &st);
	suppress_if_trapped(c, o, &st);
	put(c, o->r1, f, r);
	finish_but(c, o, &st, o->m4 & MODIFIER_NO_INEXACT);
}

INSN(fiebr)
{
	require_bfp(c, o);
	round_to_integer(c, o, E, get_e(c, o->r2));
}

INSN(fidbr)
{
	require_bfp(c, o);
	round_to_integer(c, o, D, get_d(c, o->r2));
}

INSN(fixbr)
{
	require_bfp(c, o);
	require_pair(c, o, o->r1 | o->r2);
	round_to_integer(c, o, X, get_x(c, o->r2));
}

/* ---- Convert from fixed, from logical ---- */

static NOINLINE_ void from_integer_exact(struct vcpu *c, const struct op *o,
					 const struct bfp_format *f, bool negative,
					 uint64_t magnitude)
{
	struct bfp_status st = status(c);

	if (f == X)
		require_pair(c, o, o->r1);
	st.mode = rounding(c, o, o->m3);
	put(c, o->r1, f, bfp_from_integer(f, negative, magnitude, &st));
	finish_but(c, o, &st, o->m4 & MODIFIER_NO_INEXACT);
}

static ALWAYS_INLINE_ void from_integer(struct vcpu *c, const struct op *o,
					const struct bfp_format *f, bool negative,
					uint64_t magnitude)
{
	if (o->m3 == 0 && fast(c)) {
		if (f == D && (magnitude <= 1ull << 53 || flagged(c))) {
			double v = (double)magnitude;

			put_d(c, o->r1, bfp_double_bits(negative ? -v : v));
			return;
		}
		if (f == E && (magnitude <= 1ull << 24 || flagged(c))) {
			float v = (float)magnitude;

			put_e(c, o->r1, bfp_float_bits(negative ? -v : v));
			return;
		}
	}
	from_integer_exact(c, o, f, negative, magnitude);
}

#define FROM_FIXED(rr, format, type) \
	INSN_FAST(rr) \
	{ \
		int64_t v = (type)c->s.gr[o->r2]; \
		require_bfp(c, o); \
		from_integer(c, o, format, v < 0, v < 0 ? -(uint64_t)v : (uint64_t)v); \
	}

#define FROM_LOGICAL(rr, format, type) \
	INSN_FAST(rr) \
	{ \
		require_bfp(c, o); \
		from_integer(c, o, format, false, (type)c->s.gr[o->r2]); \
	}

FROM_FIXED(cefbr, E, int32_t)
FROM_FIXED(cdfbr, D, int32_t)
FROM_FIXED(cxfbr, X, int32_t)
FROM_FIXED(cegbr, E, int64_t)
FROM_FIXED(cdgbr, D, int64_t)
FROM_FIXED(cxgbr, X, int64_t)
FROM_LOGICAL(celfbr, E, uint32_t)
FROM_LOGICAL(cdlfbr, D, uint32_t)
FROM_LOGICAL(cxlfbr, X, uint32_t)
FROM_LOGICAL(celgbr, E, uint64_t)
FROM_LOGICAL(cdlgbr, D, uint64_t)
FROM_LOGICAL(cxlgbr, X, uint64_t)

/* ---- Convert to fixed, to logical ---- */

static NOINLINE_ void to_integer_exact(struct vcpu *c, const struct op *o,
				       const struct bfp_format *f, bfp128 a, unsigned int bits,
				       bool is_signed)
{
	struct bfp_status st = status(c);
	unsigned int cc;
	uint64_t r;

	st.mode = rounding(c, o, o->m3);
	r = bfp_to_integer(f, a, bits, is_signed, &cc, &st);
	suppress_if_trapped(c, o, &st);
	if (bits == 32)
		set_lo32(c, o->r1, (uint32_t)r);
	else
		c->s.gr[o->r1] = r;
	set_cc(c, cc);
	finish_but(c, o, &st, o->m4 & MODIFIER_NO_INEXACT);
}

/* What C casts do: round toward zero, which is what most programs ask for. */
static ALWAYS_INLINE_ void to_integer(struct vcpu *c, const struct op *o,
				      const struct bfp_format *f, bfp128 a_bits, double a,
				      unsigned int bits, bool is_signed)
{
	double limit = bits == 32 ? is_signed ? 0x1p31 : 0x1p32 : is_signed ? 0x1p63 : 0x1p64;

	if (o->m3 == 5 && !(c->s.fpc & FPC_MASK_INEXACT) &&
	    likely(a < limit && a > (is_signed ? -limit : -1))) {
		uint64_t r = is_signed ? (uint64_t)(int64_t)a : (uint64_t)a;

		if (flagged(c) || (is_signed ? (double)(int64_t)r : (double)r) == a) {
			if (bits == 32)
				set_lo32(c, o->r1, (uint32_t)r);
			else
				c->s.gr[o->r1] = r;
			set_cc_d(c, bfp_double_bits(a));
			return;
		}
	}
	to_integer_exact(c, o, f, a_bits, bits, is_signed);
}

#define TO_INTEGER(rr_e, rr_d, rr_x, bits, is_signed) \
	INSN_FAST(rr_e) \
	{ \
		uint32_t a = get_e(c, o->r2); \
		require_bfp(c, o); \
		to_integer(c, o, E, a, (double)bfp_float(a), bits, is_signed); \
	} \
	INSN_FAST(rr_d) \
	{ \
		uint64_t a = get_d(c, o->r2); \
		require_bfp(c, o); \
		to_integer(c, o, D, a, bfp_double(a), bits, is_signed); \
	} \
	INSN(rr_x) \
	{ \
		require_bfp(c, o); \
		require_pair(c, o, o->r2); \
		to_integer_exact(c, o, X, get_x(c, o->r2), bits, is_signed); \
	}

TO_INTEGER(cfebr, cfdbr, cfxbr, 32, true)
TO_INTEGER(cgebr, cgdbr, cgxbr, 64, true)
TO_INTEGER(clfebr, clfdbr, clfxbr, 32, false)
TO_INTEGER(clgebr, clgdbr, clgxbr, 64, false)

/* ---- Divide to integer ---- */

static void divide_to_integer(struct vcpu *c, const struct op *o, const struct bfp_format *f,
			      bfp128 a, bfp128 b)
{
	struct bfp_status st = status(c);
	bfp128 quotient, remainder;
	unsigned int cc;
	uint8_t quotient_mode;

	if (o->r1 == o->r2 || o->r1 == o->r3 || o->r2 == o->r3)
		pgm(c, o, PGM_SPECIFICATION);
	quotient_mode = rounding(c, o, o->m4);
	cc = bfp_divide_to_integer(f, a, b, quotient_mode, &quotient, &remainder, &st);
	suppress_if_trapped(c, o, &st);
	put(c, o->r1, f, remainder);
	put(c, o->r3, f, quotient);
	set_cc(c, cc);
	finish(c, o, &st);
}

INSN(diebr)
{
	require_bfp(c, o);
	divide_to_integer(c, o, E, get_e(c, o->r1), get_e(c, o->r2));
}

INSN(didbr)
{
	require_bfp(c, o);
	divide_to_integer(c, o, D, get_d(c, o->r1), get_d(c, o->r2));
}

/* ---- Between binary and hexadecimal floating point ---- */

static void to_hfp(struct vcpu *c, const struct op *o, const struct bfp_format *f, bfp128 a)
{
	unsigned int cc;

	put_d(c, o->r1, bfp_to_hfp(f, a, &cc));
	set_cc(c, cc);
}

INSN(thder)
{
	require_fpr(c, o, o->r1 | o->r2);
	to_hfp(c, o, E, get_e(c, o->r2));
}

INSN(thdr)
{
	require_fpr(c, o, o->r1 | o->r2);
	to_hfp(c, o, D, get_d(c, o->r2));
}

static void from_hfp(struct vcpu *c, const struct op *o, const struct bfp_format *f)
{
	unsigned int cc;
	uint8_t mode = BFP_TOWARD_ZERO;

	require_fpr(c, o, o->r1 | o->r2);
	/* Here 0 is not the method of the FPC register, and 3 is none. */
	if (o->m3 == 3)
		pgm(c, o, PGM_SPECIFICATION);
	if (o->m3)
		mode = rounding(c, o, o->m3);
	put(c, o->r1, f, bfp_from_hfp(f, get_d(c, o->r2), mode, &cc));
	set_cc(c, cc);
}

INSN(tbedr)
{
	from_hfp(c, o, E);
}

INSN(tbdr)
{
	from_hfp(c, o, D);
}

/* ---- The floating-point-control register ---- */

static bool fpc_valid(uint32_t fpc)
{
	unsigned int mode = fpc & FPC_ROUNDING;

	return !(fpc & FPC_RESERVED) && (mode <= BFP_DOWN || mode == BFP_PREPARE_SHORTER);
}

static void set_fpc(struct vcpu *c, const struct op *o, uint32_t fpc)
{
	if (!fpc_valid(fpc))
		pgm(c, o, PGM_SPECIFICATION);
	c->s.fpc = fpc;
}

/*
 * Load FPC and signal: flags that are set already stay set, and trap where the
 * new masks say so, as if the exception had just been recognized.
 */
static void set_fpc_and_signal(struct vcpu *c, const struct op *o, uint32_t fpc)
{
	uint32_t flags = c->s.fpc & FPC_FLAGS;
	uint8_t signals = (uint8_t)(flags >> FPC_FLAG_SHIFT & fpc >> FPC_MASK_SHIFT);

	set_fpc(c, o, fpc);
	c->s.fpc |= flags;
	if (!signals)
		return;
	if (signals & BFP_INVALID)
		signals = BFP_INVALID;
	else if (signals & BFP_DIVIDE_BY_ZERO)
		signals = BFP_DIVIDE_BY_ZERO;
	else if (signals & BFP_OVERFLOW)
		signals &= BFP_OVERFLOW | BFP_INEXACT;
	else if (signals & BFP_UNDERFLOW)
		signals &= BFP_UNDERFLOW | BFP_INEXACT;
	else if (signals & BFP_INEXACT)
		signals = BFP_INEXACT;
	pgm_data_completed(c, o, signals | DXC_SIMULATED);
}

INSN(lfpc)
{
	require_bfp(c, o);
	set_fpc(c, o, ld32(c, o, ea2(c, o), o->b2));
}

INSN(stfpc)
{
	require_bfp(c, o);
	st32(c, o, ea2(c, o), o->b2, c->s.fpc);
}

INSN(sfpc)
{
	require_bfp(c, o);
	set_fpc(c, o, lo32(c->s.gr[o->r1]));
}

INSN(efpc)
{
	require_bfp(c, o);
	set_lo32(c, o->r1, c->s.fpc);
}

INSN(lfas)
{
	require_bfp(c, o);
	set_fpc_and_signal(c, o, ld32(c, o, ea2(c, o), o->b2));
}

INSN(sfasr)
{
	require_bfp(c, o);
	set_fpc_and_signal(c, o, lo32(c->s.gr[o->r1]));
}

/* The older of the two knows four modes, the newer eight, of which three are none. */
INSN(srnm)
{
	require_bfp(c, o);
	c->s.fpc = (c->s.fpc & ~FPC_ROUNDING) | (ea2(c, o) & 3);
}

INSN(srnmb)
{
	uint32_t mode = ea2(c, o) & 0xff;

	require_bfp(c, o);
	if (mode > BFP_DOWN && mode != BFP_PREPARE_SHORTER)
		pgm(c, o, PGM_SPECIFICATION);
	c->s.fpc = (c->s.fpc & ~FPC_ROUNDING) | mode;
}

/* The decimal rounding mode; all of its values are modes. */
INSN(srnmt)
{
	require_bfp(c, o);
	c->s.fpc = (c->s.fpc & ~FPC_DFP_ROUNDING) | (ea2(c, o) & 7) << FPC_DFP_ROUNDING_SHIFT;
}

/* ---- Moving numbers, whatever their format ---- */

INSN_FAST(ler)
{
	require_fpr(c, o, o->r1 | o->r2);
	put_e(c, o->r1, get_e(c, o->r2));
}

INSN_FAST(ldr)
{
	require_fpr(c, o, o->r1 | o->r2);
	put_d(c, o->r1, get_d(c, o->r2));
}

INSN_FAST(lxr)
{
	require_fpr(c, o, o->r1 | o->r2);
	require_pair(c, o, o->r1 | o->r2);
	put_x(c, o->r1, get_x(c, o->r2));
}

INSN_FAST(le)
{
	require_fpr(c, o, o->r1);
	put_e(c, o->r1, storage_e(c, o));
}

INSN_FAST(ld)
{
	require_fpr(c, o, o->r1);
	put_d(c, o->r1, storage_d(c, o));
}

/* From short to long in hexadecimal; compilers like them because they set all of the register. */
INSN_FAST(lder)
{
	require_fpr(c, o, o->r1 | o->r2);
	put_d(c, o->r1, (uint64_t)get_e(c, o->r2) << 32);
}

INSN_FAST(lde)
{
	require_fpr(c, o, o->r1);
	put_d(c, o->r1, (uint64_t)storage_e(c, o) << 32);
}

INSN_FAST(ste)
{
	require_fpr(c, o, o->r1);
	st32(c, o, ea2x(c, o), o->b2, get_e(c, o->r1));
}

INSN_FAST(std)
{
	require_fpr(c, o, o->r1);
	st64(c, o, ea2x(c, o), o->b2, get_d(c, o->r1));
}

INSN_FAST(lzer)
{
	require_fpr(c, o, o->r1);
	put_e(c, o->r1, 0);
}

INSN_FAST(lzdr)
{
	require_fpr(c, o, o->r1);
	put_d(c, o->r1, 0);
}

INSN_FAST(lzxr)
{
	require_fpr(c, o, o->r1);
	require_pair(c, o, o->r1);
	put_x(c, o->r1, 0);
}

INSN_FAST(ldgr)
{
	require_fpr(c, o, o->r1);
	put_d(c, o->r1, c->s.gr[o->r2]);
}

INSN_FAST(lgdr)
{
	require_fpr(c, o, o->r2);
	c->s.gr[o->r1] = get_d(c, o->r2);
}

INSN_FAST(lpdfr)
{
	require_fpr(c, o, o->r1 | o->r2);
	put_d(c, o->r1, get_d(c, o->r2) & ~SIGN64);
}

INSN_FAST(lndfr)
{
	require_fpr(c, o, o->r1 | o->r2);
	put_d(c, o->r1, get_d(c, o->r2) | SIGN64);
}

INSN_FAST(lcdfr)
{
	require_fpr(c, o, o->r1 | o->r2);
	put_d(c, o->r1, get_d(c, o->r2) ^ SIGN64);
}

INSN_FAST(cpsdr)
{
	require_fpr(c, o, o->r1 | o->r2 | o->r3);
	put_d(c, o->r1, (get_d(c, o->r2) & ~SIGN64) | (get_d(c, o->r3) & SIGN64));
}
