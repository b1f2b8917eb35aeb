/* SPDX-License-Identifier: MIT */
/*
 * The exact binary floating-point arithmetic against a reference that follows
 * the definitions with integers of any size (GMP): take the value of the
 * operands apart, compute the precise result as a fraction times a power of two,
 * and look between which two numbers of the format it lies.
 *
 * Operands are random, drawn so that ties, carries, cancellation, subnormal
 * numbers and the ends of the range come up often. BFP_CASES says how many per
 * operation and format, BFP_SEED which; a failure prints operation, operands
 * and mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <gmp.h>

#include "base/util.h"
#include "cpu/soft/bfp/bfp.h"
#include "cpu/soft/bfp/fast.h"

#define ANY_TRAP 0xf8

static const struct bfp_format *const formats[] = { &bfp_short, &bfp_long, &bfp_extended };
static const enum bfp_mode modes[] = {
	BFP_NEAREST_EVEN, BFP_TOWARD_ZERO, BFP_UP, BFP_DOWN, BFP_NEAREST_AWAY, BFP_PREPARE_SHORTER,
};

/* What a test works with; cmocka hands it to each. */
struct work {
	uint64_t random;
	unsigned long cases;
	mpz_t num, den, a, b, c, q, r, t;
	long exp;  /* the precise result is num / den * 2^exp, or the square root of it */
	bool sign;
	bool root;
	bool up; /* the last rounding made the magnitude larger */
};

static uint64_t random64(struct work *w)
{
	/* SplitMix64. */
	uint64_t z = (w->random += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned int random_below(struct work *w, unsigned int limit)
{
	return (unsigned int)(random64(w) % limit);
}

static bfp128 random128(struct work *w)
{
	return (bfp128)random64(w) << 64 | random64(w);
}

static unsigned int fraction_bits(const struct bfp_format *f)
{
	return f->precision - 1u;
}

static uint32_t exponent_field_max(const struct bfp_format *f)
{
	return 2u * (uint32_t)f->emax + 1;
}

static bfp128 make(const struct bfp_format *f, bool sign, uint32_t biased, bfp128 fraction)
{
	return (bfp128)sign << (f->width - 1) | (bfp128)biased << fraction_bits(f) |
	       (fraction & (((bfp128)1 << fraction_bits(f)) - 1));
}

static uint32_t exponent_field(const struct bfp_format *f, bfp128 v)
{
	return (uint32_t)(v >> fraction_bits(f)) & exponent_field_max(f);
}

static bfp128 fraction_field(const struct bfp_format *f, bfp128 v)
{
	return v & (((bfp128)1 << fraction_bits(f)) - 1);
}

static bool sign_field(const struct bfp_format *f, bfp128 v)
{
	return v >> (f->width - 1) & 1;
}

static bool any_nan(const struct bfp_format *f, bfp128 v)
{
	return exponent_field(f, v) == exponent_field_max(f) && fraction_field(f, v);
}

static bool signalling_nan(const struct bfp_format *f, bfp128 v)
{
	return any_nan(f, v) && !(v >> (fraction_bits(f) - 1) & 1);
}

static bool infinite(const struct bfp_format *f, bfp128 v)
{
	return exponent_field(f, v) == exponent_field_max(f) && !fraction_field(f, v);
}

static bool zero(const struct bfp_format *f, bfp128 v)
{
	return !exponent_field(f, v) && !fraction_field(f, v);
}

static bfp128 quiet(const struct bfp_format *f, bfp128 v)
{
	return v | (bfp128)1 << (fraction_bits(f) - 1);
}

static bfp128 infinity(const struct bfp_format *f, bool sign)
{
	return make(f, sign, exponent_field_max(f), 0);
}

static bfp128 default_nan(const struct bfp_format *f)
{
	return quiet(f, infinity(f, false));
}

static bfp128 random_fraction(struct work *w, const struct bfp_format *f)
{
	bfp128 v = random128(w);

	switch (random_below(w, 8)) {
	case 0: /* few ones */
		return v & random128(w) & random128(w) & random128(w) & random128(w);
	case 1: /* many */
		return v | random128(w) | random128(w) | random128(w) | random128(w);
	case 2: /* ones on the left */
		return ~(bfp128)0 << random_below(w, 113);
	case 3: /* ones on the right */
		return ((bfp128)1 << random_below(w, 113)) - 1;
	case 4: /* a short number in a long one */
		return v << (fraction_bits(f) - random_below(w, fraction_bits(f)));
	case 5:
		return (bfp128)random_below(w, 4) - 2;
	default:
		return v;
	}
}

/* `near`: another operand, to have exponents that meet. */
static bfp128 random_operand(struct work *w, const struct bfp_format *f, bfp128 near)
{
	uint32_t top = exponent_field_max(f);
	uint32_t biased;

	switch (random_below(w, 16)) {
	case 0: /* zero and subnormal */
		biased = 0;
		break;
	case 1:
		biased = random_below(w, 4);
		break;
	case 2: /* the largest, infinity, NaN */
		biased = top - random_below(w, 4);
		break;
	case 3: /* around one, and where integers end */
		biased = (uint32_t)f->emax + random_below(w, 2u * f->precision) - f->precision / 2;
		break;
	case 4:
	case 5:
	case 6: /* a result at the lower end of the range of products and quotients */
		biased = random_below(w, (uint32_t)f->emax + f->precision);
		break;
	case 7:
		biased = random_below(w, top + 1);
		break;
	default:
		biased = exponent_field(f, near) + random_below(w, 2u * f->precision + 4) -
			 f->precision - 2;
		biased = biased >= top ? top - 1 : biased;
		break;
	}
	if (!random_below(w, 40))
		return make(f, random_below(w, 2), random_below(w, 2) * top, 0);
	return make(f, random_below(w, 2), biased, random_fraction(w, f));
}

static void set128(mpz_t z, bfp128 v)
{
	mpz_set_ui(z, (unsigned long)(v >> 64));
	mpz_mul_2exp(z, z, 64);
	mpz_add_ui(z, z, (unsigned long)(uint64_t)v);
}

static bfp128 get128(const mpz_t z)
{
	uint64_t words[2] = { 0 };

	assert_true(mpz_sizeinbase(z, 2) <= 128);
	mpz_export(words, NULL, -1, 8, 0, 0, z);
	return (bfp128)words[1] << 64 | words[0];
}

/* |v| = z * 2^result; z is signed like v. */
static long value(const struct bfp_format *f, bfp128 v, mpz_t z)
{
	uint32_t biased = exponent_field(f, v);
	bfp128 m = fraction_field(f, v);

	if (biased)
		m |= (bfp128)1 << fraction_bits(f);
	else
		biased = 1;
	set128(z, m);
	if (sign_field(f, v))
		mpz_neg(z, z);
	return (long)biased - f->emax - (long)fraction_bits(f);
}

static void align(mpz_t a, long *a_exp, mpz_t b, long *b_exp)
{
	if (*a_exp > *b_exp) {
		mpz_mul_2exp(a, a, (unsigned long)(*a_exp - *b_exp));
		*a_exp = *b_exp;
	} else {
		mpz_mul_2exp(b, b, (unsigned long)(*b_exp - *a_exp));
		*b_exp = *a_exp;
	}
}

/* ---- The reference for rounding ---- */

static long floor_half(long v)
{
	return v >= 0 ? v / 2 : -((1 - v) / 2);
}

/* w->q = floor(precise / 2^quantum). Returns how the rest compares: 0, <1/2, 1/2, >1/2: 0 to 3. */
static int cut(struct work *w, long quantum)
{
	long shift = w->exp - (w->root ? 2 : 1) * quantum;
	int half;

	mpz_set(w->r, w->num);
	mpz_set(w->t, w->den);
	if (shift >= 0)
		mpz_mul_2exp(w->r, w->r, (unsigned long)shift);
	else
		mpz_mul_2exp(w->t, w->t, (unsigned long)-shift);
	if (w->root) {
		/* (q + 1/2)^2 against r / t, all times 4 t. */
		mpz_fdiv_q(w->q, w->r, w->t);
		mpz_sqrt(w->q, w->q);
		mpz_mul(w->c, w->q, w->q);
		mpz_mul(w->c, w->c, w->t);
		if (mpz_cmp(w->c, w->r) == 0)
			return 0;
		mpz_mul_2exp(w->c, w->q, 1);
		mpz_add_ui(w->c, w->c, 1);
		mpz_mul(w->c, w->c, w->c);
		mpz_mul(w->c, w->c, w->t);
		mpz_mul_2exp(w->r, w->r, 2);
		half = mpz_cmp(w->r, w->c);
	} else {
		mpz_fdiv_qr(w->q, w->r, w->r, w->t);
		if (mpz_sgn(w->r) == 0)
			return 0;
		mpz_mul_2exp(w->r, w->r, 1);
		half = mpz_cmp(w->r, w->t);
	}
	return half < 0 ? 1 : half == 0 ? 2 : 3;
}

static bool rounds_up(struct work *w, int rest, enum bfp_mode mode)
{
	bool odd = mpz_odd_p(w->q);

	switch (mode) {
	case BFP_NEAREST_EVEN:
		return rest == 3 || (rest == 2 && odd);
	case BFP_NEAREST_AWAY:
		return rest >= 2;
	case BFP_UP:
		return rest && !w->sign;
	case BFP_DOWN:
		return rest && w->sign;
	case BFP_PREPARE_SHORTER:
		return rest && !odd;
	default:
		return false;
	}
}

static uint8_t round_quotient(struct work *w, long quantum, enum bfp_mode mode)
{
	int rest = cut(w, quantum);

	w->up = rounds_up(w, rest, mode);
	if (w->up)
		mpz_add_ui(w->q, w->q, 1);
	return rest ? w->up ? BFP_INEXACT | BFP_INCREMENTED : BFP_INEXACT : 0;
}

/* Bits of w->q * 2^quantum, which is a number of the format. */
static bfp128 encode(struct work *w, const struct bfp_format *f, long quantum)
{
	long extra = (long)mpz_sizeinbase(w->q, 2) - f->precision;
	long emin_quantum = 1 - f->emax - (long)fraction_bits(f);

	if (mpz_sgn(w->q) == 0)
		return make(f, w->sign, 0, 0);
	if (extra > 0 || quantum + extra >= emin_quantum) {
		if (extra > 0) {
			assert_true(mpz_scan1(w->q, 0) >= (unsigned long)extra);
			mpz_fdiv_q_2exp(w->q, w->q, (unsigned long)extra);
		} else {
			mpz_mul_2exp(w->q, w->q, (unsigned long)-extra);
		}
		quantum += extra;
		assert_true(quantum >= emin_quantum && quantum <= f->emax - (long)fraction_bits(f));
		return make(f, w->sign, (uint32_t)(quantum - emin_quantum + 1), get128(w->q));
	}
	assert_true(quantum >= emin_quantum);
	mpz_mul_2exp(w->q, w->q, (unsigned long)(quantum - emin_quantum));
	return make(f, w->sign, 0, get128(w->q));
}

/* The precise result is in w and not zero. */
static bfp128 reference_round(struct work *w, const struct bfp_format *f,
			      const struct bfp_format *trapped, int scale, struct bfp_status *st)
{
	long size = (long)mpz_sizeinbase(w->num, 2) - (long)mpz_sizeinbase(w->den, 2) + w->exp;
	long e = w->root ? floor_half(size) : size; /* or one more or less */
	long emin = 1 - f->emax;
	bool tiny, overflow;
	uint8_t raised;

	for (e++; ; e--) {
		cut(w, e);
		if (mpz_sgn(w->q))
			break;
	}
	tiny = e < emin;
	raised = round_quotient(w, e - (long)fraction_bits(f), st->mode);
	overflow = !tiny && (mpz_sizeinbase(w->q, 2) > f->precision ? e + 1 : e) > f->emax;
	if (tiny && (st->trap & BFP_UNDERFLOW)) {
		st->raised |= raised | BFP_UNDERFLOW;
		return encode(w, trapped, e - (long)fraction_bits(f) + scale);
	}
	if (tiny) {
		raised = round_quotient(w, emin - (long)fraction_bits(f), st->mode);
		st->raised |= raised ? raised | BFP_UNDERFLOW : 0;
		return encode(w, f, emin - (long)fraction_bits(f));
	}
	if (overflow && (st->trap & BFP_OVERFLOW)) {
		st->raised |= raised | BFP_OVERFLOW;
		return encode(w, trapped, e - (long)fraction_bits(f) - scale);
	}
	if (overflow) {
		bool to_infinity = st->mode == BFP_NEAREST_EVEN || st->mode == BFP_NEAREST_AWAY ||
				   st->mode == (w->sign ? BFP_DOWN : BFP_UP);

		st->raised |= BFP_OVERFLOW | BFP_INEXACT | (to_infinity ? BFP_INCREMENTED : 0);
		return to_infinity ? infinity(f, w->sign) : infinity(f, w->sign) - 1;
	}
	st->raised |= raised;
	return encode(w, f, e - (long)fraction_bits(f));
}

static bfp128 reference_result(struct work *w, const struct bfp_format *f, struct bfp_status *st)
{
	w->sign = mpz_sgn(w->num) < 0;
	mpz_abs(w->num, w->num);
	if (mpz_sgn(w->num) == 0)
		return make(f, st->mode == BFP_DOWN, 0, 0);
	return reference_round(w, f, f, f->scale, st);
}

/* Does one of the operands decide as a NaN? */
static bool reference_nan(const struct bfp_format *f, const bfp128 *operands, unsigned int count,
			  bfp128 *r, struct bfp_status *st)
{
	for (unsigned int i = 0; i < count; i++) {
		if (signalling_nan(f, operands[i])) {
			st->raised |= BFP_INVALID;
			*r = quiet(f, operands[i]);
			return true;
		}
	}
	for (unsigned int i = 0; i < count; i++) {
		if (any_nan(f, operands[i])) {
			*r = operands[i];
			return true;
		}
	}
	return false;
}

static bfp128 reference_invalid(const struct bfp_format *f, struct bfp_status *st)
{
	st->raised |= BFP_INVALID;
	return default_nan(f);
}

/* ---- The reference for each operation ---- */

static bfp128 reference_add(struct work *w, const struct bfp_format *f, bfp128 a, bfp128 b,
			    struct bfp_status *st)
{
	bool a_sign = sign_field(f, a), b_sign = sign_field(f, b);
	long b_exp;
	bfp128 r;

	if (reference_nan(f, (bfp128[]){ a, b }, 2, &r, st))
		return r;
	if (infinite(f, a) && infinite(f, b) && a_sign != b_sign)
		return reference_invalid(f, st);
	if (infinite(f, a) || infinite(f, b))
		return infinite(f, a) ? a : b;
	if (zero(f, a) && zero(f, b) && a_sign == b_sign)
		return a;
	w->exp = value(f, a, w->a);
	b_exp = value(f, b, w->b);
	align(w->a, &w->exp, w->b, &b_exp);
	mpz_add(w->num, w->a, w->b);
	mpz_set_ui(w->den, 1);
	w->root = false;
	return reference_result(w, f, st);
}

static bfp128 reference_multiply(struct work *w, const struct bfp_format *f, bfp128 a, bfp128 b,
				 struct bfp_status *st)
{
	bool sign = sign_field(f, a) != sign_field(f, b);
	bfp128 r;

	if (reference_nan(f, (bfp128[]){ a, b }, 2, &r, st))
		return r;
	if ((infinite(f, a) && zero(f, b)) || (zero(f, a) && infinite(f, b)))
		return reference_invalid(f, st);
	if (infinite(f, a) || infinite(f, b))
		return infinity(f, sign);
	if (zero(f, a) || zero(f, b))
		return make(f, sign, 0, 0);
	w->exp = value(f, a, w->a);
	w->exp += value(f, b, w->b);
	mpz_mul(w->num, w->a, w->b);
	mpz_set_ui(w->den, 1);
	w->root = false;
	return reference_result(w, f, st);
}

static bfp128 reference_divide(struct work *w, const struct bfp_format *f, bfp128 a, bfp128 b,
			       struct bfp_status *st)
{
	bool sign = sign_field(f, a) != sign_field(f, b);
	bfp128 r;

	if (reference_nan(f, (bfp128[]){ a, b }, 2, &r, st))
		return r;
	if ((infinite(f, a) && infinite(f, b)) || (zero(f, a) && zero(f, b)))
		return reference_invalid(f, st);
	if (infinite(f, a))
		return infinity(f, sign);
	if (zero(f, b)) {
		st->raised |= BFP_DIVIDE_BY_ZERO;
		return infinity(f, sign);
	}
	if (zero(f, a) || infinite(f, b))
		return make(f, sign, 0, 0);
	w->exp = value(f, a, w->num);
	w->exp -= value(f, b, w->den);
	if (mpz_sgn(w->den) < 0) {
		mpz_neg(w->den, w->den);
		mpz_neg(w->num, w->num);
	}
	w->root = false;
	return reference_result(w, f, st);
}

static bfp128 reference_root(struct work *w, const struct bfp_format *f, bfp128 a,
			     struct bfp_status *st)
{
	bfp128 r;

	if (reference_nan(f, &a, 1, &r, st))
		return r;
	if (zero(f, a))
		return a;
	if (sign_field(f, a))
		return reference_invalid(f, st);
	if (infinite(f, a))
		return a;
	w->exp = value(f, a, w->num);
	mpz_set_ui(w->den, 1);
	w->root = true;
	return reference_result(w, f, st);
}

static bfp128 reference_multiply_add(struct work *w, const struct bfp_format *f, bfp128 a, bfp128 b,
				     bfp128 c, struct bfp_status *st)
{
	bool sign = sign_field(f, a) != sign_field(f, b);
	long c_exp;
	bfp128 r;

	if ((infinite(f, a) && zero(f, b)) || (zero(f, a) && infinite(f, b)))
		return reference_invalid(f, st);
	if (reference_nan(f, (bfp128[]){ a, b, c }, 3, &r, st))
		return r;
	if (infinite(f, a) || infinite(f, b)) {
		if (infinite(f, c) && sign != sign_field(f, c))
			return reference_invalid(f, st);
		return infinity(f, sign);
	}
	if (infinite(f, c))
		return c;
	if ((zero(f, a) || zero(f, b)) && zero(f, c) && sign == sign_field(f, c))
		return c;
	w->exp = value(f, a, w->a);
	w->exp += value(f, b, w->b);
	mpz_mul(w->num, w->a, w->b);
	c_exp = value(f, c, w->c);
	align(w->num, &w->exp, w->c, &c_exp);
	mpz_add(w->num, w->num, w->c);
	mpz_set_ui(w->den, 1);
	w->root = false;
	return reference_result(w, f, st);
}

/* ---- Comparing with it ---- */

static void check(const struct bfp_format *f, const char *what, bfp128 a, bfp128 b,
		  const struct bfp_status *st, bfp128 r, const struct bfp_status *expected_st,
		  bfp128 expected)
{
	if (st->raised & st->trap & (BFP_INVALID | BFP_DIVIDE_BY_ZERO))
		r = expected; /* suppressed */
	if (r == expected && st->raised == expected_st->raised)
		return;
	print_error("%s, %u bits, mode %u, trap %02x\n", what, f->width, st->mode, st->trap);
	print_error("a %016lx%016lx b %016lx%016lx\n", (uint64_t)(a >> 64), (uint64_t)a,
		    (uint64_t)(b >> 64), (uint64_t)b);
	print_error("is     %016lx%016lx raised %02x\n", (uint64_t)(r >> 64), (uint64_t)r,
		    st->raised);
	print_error("should %016lx%016lx raised %02x\n", (uint64_t)(expected >> 64),
		    (uint64_t)expected, expected_st->raised);
	fail();
}

static void random_status(struct work *w, struct bfp_status st[2])
{
	st[0] = (struct bfp_status){
		.mode = modes[random_below(w, ARRAY_SIZE(modes))],
		.trap = random_below(w, 2) ? 0 : random_below(w, 32) << 3,
	};
	st[1] = st[0];
}

#define FOR_EACH_CASE(w, f, formats_used) \
	for (const struct bfp_format *const *f_ = formats, *f = *f_; \
	     f_ < formats + (formats_used) && (f = *f_, true); f_++) \
		for (unsigned long i_ = 0; i_ < (w)->cases; i_++)

static void sums_and_differences_are_the_precise_ones_rounded_once(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a);
		bfp128 minus = (bfp128)!any_nan(f, b) << (f->width - 1);
		struct bfp_status st[2];

		random_status(w, st);
		check(f, "add", a, b, &st[0], bfp_add(f, a, b, &st[0]), &st[1],
		      reference_add(w, f, a, b, &st[1]));
		st[0].raised = st[1].raised = 0;
		check(f, "subtract", a, b, &st[0], bfp_subtract(f, a, b, &st[0]), &st[1],
		      reference_add(w, f, a, b ^ minus, &st[1]));
	}
}

static void products_are_the_precise_ones_rounded_once(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a);
		struct bfp_status st[2];

		random_status(w, st);
		check(f, "multiply", a, b, &st[0], bfp_multiply(f, f, a, b, &st[0]), &st[1],
		      reference_multiply(w, f, a, b, &st[1]));
	}
}

static void products_in_the_next_longer_format_are_exact(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 2) {
		const struct bfp_format *to = f_[1];
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a), r;
		struct bfp_status st = { .mode = modes[random_below(w, 6)], .trap = 0x78 };

		if (any_nan(f, a) || any_nan(f, b))
			continue;
		r = bfp_multiply(f, to, a, b, &st);
		if (st.raised) {
			assert_int_equal(st.raised, BFP_INVALID);
			assert_true(r == default_nan(to));
			continue;
		}
		if (infinite(f, a) || infinite(f, b)) {
			assert_true(infinite(to, r));
			continue;
		}
		w->exp = value(f, a, w->a) + value(f, b, w->b) - value(to, r, w->c);
		mpz_mul(w->num, w->a, w->b);
		if (w->exp >= 0)
			mpz_mul_2exp(w->num, w->num, (unsigned long)w->exp);
		else
			mpz_mul_2exp(w->c, w->c, (unsigned long)-w->exp);
		assert_int_equal(mpz_cmp(w->num, w->c), 0);
		assert_int_equal(sign_field(to, r), sign_field(f, a) != sign_field(f, b));
	}
}

static void quotients_are_the_precise_ones_rounded_once(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a);
		struct bfp_status st[2];

		random_status(w, st);
		check(f, "divide", a, b, &st[0], bfp_divide(f, a, b, &st[0]), &st[1],
		      reference_divide(w, f, a, b, &st[1]));
	}
}

static void square_roots_are_the_precise_ones_rounded_once(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, 0);
		struct bfp_status st[2];

		if (random_below(w, 8))
			a &= ~((bfp128)1 << (f->width - 1));
		if (random_below(w, 4) == 0) { /* a square, or next to one */
			struct bfp_status any = { 0 };
			bfp128 half = make(f, 0, exponent_field(f, a),
					   fraction_field(f, a) >> f->precision / 2
								<< f->precision / 2);

			a = bfp_multiply(f, f, half, half, &any);
			a += fraction_field(f, a) ? (bfp128)random_below(w, 3) - 1 : 0;
		}
		random_status(w, st);
		check(f, "square root", a, 0, &st[0], bfp_square_root(f, a, &st[0]), &st[1],
		      reference_root(w, f, a, &st[1]));
	}
}

static void a_multiply_and_add_rounds_once(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 2) {
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a);
		struct bfp_status any = { 0 };
		bfp128 near = bfp_multiply(f, f, a, b, &any);
		bfp128 c = random_operand(w, f, any_nan(f, near) ? a : near), minus;
		struct bfp_status st[2];

		if (random_below(w, 8) == 0) /* cancel all but the error of the product */
			c = near ^ (bfp128)1 << (f->width - 1);
		minus = (bfp128)!any_nan(f, c) << (f->width - 1);
		random_status(w, st);
		check(f, "multiply and add", a, b, &st[0],
		      bfp_multiply_add(f, a, b, c, false, &st[0]), &st[1],
		      reference_multiply_add(w, f, a, b, c, &st[1]));
		st[0].raised = st[1].raised = 0;
		check(f, "multiply and subtract", a, b, &st[0],
		      bfp_multiply_add(f, a, b, c, true, &st[0]), &st[1],
		      reference_multiply_add(w, f, a, b, c ^ minus, &st[1]));
	}
}

/* A datum that came from a shorter format, changed a little. */
static bfp128 random_widened(struct work *w, const struct bfp_format *to,
			     const struct bfp_format *from)
{
	struct bfp_status st = { 0 };
	bfp128 v = bfp_convert(from, to, random_operand(w, from, 0), &st);
	unsigned int extra = to->precision - from->precision;

	switch (random_below(w, 6)) {
	case 0:
		return v;
	case 1:
		return v + ((bfp128)1 << (extra - 1));
	case 2:
		return v + random_below(w, 3) - 1;
	default:
		return v + (random128(w) >> (128 - extra));
	}
}

static void a_conversion_to_a_shorter_format_rounds_once(void **state)
{
	struct work *w = *state;

	for (unsigned int to_i = 0; to_i < 3; to_i++) {
		for (unsigned int from_i = to_i + 1; from_i < 3; from_i++) {
			const struct bfp_format *to = formats[to_i], *from = formats[from_i];

			for (unsigned long i = 0; i < w->cases; i++) {
				bfp128 a = random_below(w, 4) ? random_widened(w, from, to) :
								random_operand(w, from, 0);
				int scale = from == &bfp_long ? 512 : 8192;
				struct bfp_status st[2];
				bfp128 expected, is;

				random_status(w, st);
				is = bfp_convert(from, to, a, &st[0]);
				if (any_nan(from, a)) {
					if (signalling_nan(from, a))
						st[1].raised = BFP_INVALID;
					expected = make(to, sign_field(from, a),
							exponent_field_max(to),
							fraction_field(from, quiet(from, a)) >>
							(from->precision - to->precision));
				} else if (infinite(from, a) || zero(from, a)) {
					expected = make(to, sign_field(from, a),
							exponent_field(from, a) ?
							exponent_field_max(to) : 0, 0);
				} else {
					w->exp = value(from, a, w->num);
					w->sign = sign_field(from, a);
					mpz_abs(w->num, w->num);
					mpz_set_ui(w->den, 1);
					w->root = false;
					expected = reference_round(w, to, from, scale, &st[1]);
				}
				check(to, "shorten", a, 0, &st[0], is, &st[1], expected);
			}
		}
	}
}

static void a_conversion_to_a_longer_format_and_back_changes_nothing(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 2) {
		bfp128 a = random_operand(w, f, 0), longer;
		struct bfp_status st = { .mode = modes[random_below(w, 6)], .trap = 0x78 };

		if (signalling_nan(f, a))
			continue;
		longer = bfp_convert(f, &bfp_extended, a, &st);
		if (f == &bfp_short) {
			bfp128 medium = bfp_convert(f, &bfp_long, a, &st);

			assert_true(bfp_convert(&bfp_long, &bfp_extended, medium, &st) == longer);
		}
		assert_int_equal(st.raised, 0);
		st.trap = 0;
		assert_true(bfp_convert(&bfp_extended, f, longer, &st) == a);
		assert_int_equal(st.raised & ~BFP_UNDERFLOW, 0);
	}
}

/* The integer that a number rounds to, in w->q; its exceptions. */
static uint8_t reference_integer(struct work *w, const struct bfp_format *f, bfp128 a,
				 enum bfp_mode mode)
{
	w->exp = value(f, a, w->num);
	w->sign = sign_field(f, a);
	mpz_abs(w->num, w->num);
	mpz_set_ui(w->den, 1);
	w->root = false;
	return round_quotient(w, 0, mode);
}

static void a_number_rounds_to_the_integer_that_the_method_says(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, make(f, 0, (uint32_t)f->emax + 20, 0)), expected;
		struct bfp_status st[2];

		random_status(w, st);
		st[0].trap = st[1].trap &= BFP_INVALID | BFP_INEXACT;
		if (!reference_nan(f, &a, 1, &expected, &st[1])) {
			expected = a;
			if (!infinite(f, a) && !zero(f, a)) {
				st[1].raised = reference_integer(w, f, a, st->mode);
				expected = encode(w, f, 0);
			}
		}
		check(f, "round to integer", a, 0, &st[0], bfp_round_to_integer(f, a, &st[0]),
		      &st[1], expected);
	}
}

static void a_conversion_to_an_integer_saturates_with_condition_code_3(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, make(f, 0, (uint32_t)f->emax + 31, 0));
		unsigned int bits = random_below(w, 2) ? 32 : 64, cc, expected_cc;
		bool is_signed = random_below(w, 2);
		uint64_t mask = bits == 32 ? UINT32_MAX : UINT64_MAX;
		uint64_t most = is_signed ? mask >> 1 : mask, least = is_signed ? most + 1 : 0;
		uint64_t r, expected;
		struct bfp_status st[2];

		random_status(w, st);
		st[0].trap = st[1].trap = 0;
		r = bfp_to_integer(f, a, bits, is_signed, &cc, &st[0]);
		expected_cc = zero(f, a) ? 0 : sign_field(f, a) ? 1 : 2;
		if (any_nan(f, a) || infinite(f, a)) {
			expected = any_nan(f, a) || sign_field(f, a) ? least : most;
			st[1].raised = BFP_INVALID | BFP_INEXACT;
			expected_cc = 3;
		} else {
			st[1].raised = reference_integer(w, f, a, st->mode);
			if (mpz_cmp_ui(w->q, w->sign ? least : most) > 0) {
				expected = w->sign ? least : most;
				st[1].raised = BFP_INVALID | BFP_INEXACT;
				expected_cc = 3;
			} else {
				expected = mpz_get_ui(w->q);
				if (w->sign)
					expected = -expected & mask;
			}
		}
		check(f, "to integer", a, bits, &st[0], r, &st[1], expected);
		assert_int_equal(cc, expected_cc);
	}
}

static void a_conversion_from_an_integer_rounds_once(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		uint64_t magnitude = random64(w) >> random_below(w, 64);
		bool negative = random_below(w, 2);
		struct bfp_status st[2];
		bfp128 expected = 0;

		if (random_below(w, 3) == 0)
			magnitude &= ~0ull << random_below(w, 64);
		random_status(w, st);
		if (magnitude) {
			mpz_set_ui(w->num, magnitude);
			mpz_set_ui(w->den, 1);
			w->exp = 0;
			w->sign = negative;
			w->root = false;
			expected = reference_round(w, f, f, 0, &st[1]);
		}
		check(f, "from integer", magnitude, negative, &st[0],
		      bfp_from_integer(f, negative, magnitude, &st[0]), &st[1], expected);
	}
}

/*
 * Divide to integer, from its definition: the precise quotient, rounded to an
 * integer; if that needs more bits than the format has, cut to the format instead.
 */
static void a_division_to_integer_gives_quotient_and_remainder_by_definition(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 2) {
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a), n, r;
		enum bfp_mode mode = modes[random_below(w, 6)];
		uint32_t distance = random_below(w, f->precision + 3u);
		bool sign;
		unsigned int cc, expected_cc = 0;
		bfp128 expected_n, expected_r;
		struct bfp_status st[2];
		long a_exp, b_exp;

		if (random_below(w, 2) == 0)
			a = make(f, random_below(w, 2),
				 MIN(exponent_field(f, b) + distance, exponent_field_max(f) - 1),
				 random_fraction(w, f));
		sign = sign_field(f, a) != sign_field(f, b);
		random_status(w, st);
		cc = bfp_divide_to_integer(f, a, b, mode, &n, &r, &st[0]);
		if (reference_nan(f, (bfp128[]){ a, b }, 2, &expected_n, &st[1]) ||
		    infinite(f, a) || zero(f, b)) {
			if (!any_nan(f, a) && !any_nan(f, b))
				expected_n = reference_invalid(f, &st[1]);
			check(f, "quotient", a, b, &st[0], n, &st[1], expected_n);
			check(f, "remainder", a, b, &st[0], r, &st[1], expected_n);
			assert_int_equal(cc, 1);
			continue;
		}
		if (infinite(f, b) || zero(f, a)) {
			check(f, "quotient", a, b, &st[0], n, &st[1], make(f, sign, 0, 0));
			check(f, "remainder", a, b, &st[0], r, &st[1], a);
			assert_int_equal(cc, 0);
			continue;
		}
		a_exp = value(f, a, w->a);
		b_exp = value(f, b, w->b);
		align(w->a, &a_exp, w->b, &b_exp);
		mpz_abs(w->num, w->a);
		mpz_abs(w->den, w->b);
		w->exp = 0;
		w->sign = sign;
		w->root = false;
		cut(w, 0);
		if (mpz_sizeinbase(w->q, 2) > f->precision) {
			long quantum = (long)mpz_sizeinbase(w->q, 2) - f->precision;
			bool partial;

			cut(w, quantum);
			mpz_mul_2exp(w->c, w->q, (unsigned long)quantum);
			mpz_mul(w->c, w->c, w->den);
			mpz_sub(w->c, w->num, w->c);
			partial = mpz_sgn(w->c) != 0;
			expected_cc = partial ? 2 : 0;
			if (quantum + f->precision - 1 > f->emax) {
				expected_cc |= 1;
				quantum -= f->scale;
			}
			expected_n = encode(w, f, quantum);
			w->sign = sign_field(f, a);
			mpz_set(w->q, w->c);
			if (partial) {
				/* Exact, and never an underflow. */
				quantum = a_exp;
				while (mpz_even_p(w->q)) {
					mpz_fdiv_q_2exp(w->q, w->q, 1);
					quantum++;
				}
				assert_true(mpz_sizeinbase(w->q, 2) <= f->precision);
				expected_r = encode(w, f, quantum);
			} else {
				expected_r = make(f, w->sign, 0, 0);
			}
		} else {
			round_quotient(w, 0, mode);
			/* r = a - b * n, |a| and |b| and then the sign of a. */
			mpz_mul(w->c, w->q, w->den);
			mpz_sub(w->num, w->num, w->c);
			expected_n = encode(w, f, 0);
			w->sign = sign_field(f, a) != (mpz_sgn(w->num) < 0);
			mpz_abs(w->num, w->num);
			mpz_set_ui(w->den, 1);
			w->exp = a_exp;
			expected_r = mpz_sgn(w->num) == 0 ? make(f, sign_field(f, a), 0, 0) :
				     reference_round(w, f, f, f->scale, &st[1]);
		}
		check(f, "quotient", a, b, &st[0], n, &st[1], expected_n);
		check(f, "remainder", a, b, &st[0], r, &st[1], expected_r);
		assert_int_equal(cc, expected_cc);
	}
}

static void comparing_orders_numbers_and_finds_nans_unordered(void **state)
{
	struct work *w = *state;

	FOR_EACH_CASE(w, f, 3) {
		bfp128 a = random_operand(w, f, 0), b = random_operand(w, f, a);
		bool signalling = random_below(w, 2);
		struct bfp_status st = { 0 };
		unsigned int expected = 3;
		uint8_t raised = 0;
		int order;

		if (random_below(w, 8) == 0)
			b = a ^ (bfp128)random_below(w, 2) << (f->width - 1);
		if (any_nan(f, a) || any_nan(f, b)) {
			if (signalling || signalling_nan(f, a) || signalling_nan(f, b))
				raised = BFP_INVALID;
		} else {
			/* The value that infinity's bits would have is larger than any other. */
			long a_exp = value(f, a, w->a), b_exp = value(f, b, w->b);

			align(w->a, &a_exp, w->b, &b_exp);
			order = mpz_cmp(w->a, w->b);
			expected = order == 0 ? 0 : order < 0 ? 1 : 2;
		}
		assert_int_equal(bfp_compare(f, a, b, signalling, &st), expected);
		assert_int_equal(st.raised, raised);
	}
}

static void the_host_gives_the_exact_bits_or_declines(void **state)
{
	struct work *w = *state;

/* Whatever the fast function accepts is right, and exact unless inexact is known. */
#define AGREES(type, call, exact) do { \
	struct bfp_status st_ = { 0 }; \
	type fast_, exact_; \
	for (int flagged = 0; flagged < 2; flagged++) { \
		st_.raised = 0; \
		exact_ = (type)(exact); \
		if (!(call)) \
			continue; \
		accepted++; \
		if (fast_ != exact_ || (st_.raised & ~(BFP_INEXACT | BFP_INCREMENTED)) || \
		    (!flagged && st_.raised)) { \
			print_error("%s: a %lx b %lx c %lx: %lx, should be %lx (%x)\n", #call, \
				    (uint64_t)a, (uint64_t)b, (uint64_t)c, (uint64_t)fast_, \
				    (uint64_t)exact_, st_.raised); \
			fail(); \
		} \
	} \
} while (0)
	unsigned long accepted = 0;

	for (unsigned long i = 0; i < w->cases; i++) {
		const struct bfp_format *f = &bfp_short;
		uint32_t a = (uint32_t)random_operand(w, f, 0);
		uint32_t b = (uint32_t)random_operand(w, f, a);
		uint32_t c = (uint32_t)random_operand(w, f, b);

		AGREES(uint32_t, bfp_fast_add32(a, b, flagged, &fast_), bfp_add(f, a, b, &st_));
		AGREES(uint32_t, bfp_fast_multiply32(a, b, flagged, &fast_),
		       bfp_multiply(f, f, a, b, &st_));
		AGREES(uint32_t, bfp_fast_divide32(a, b, flagged, &fast_),
		       bfp_divide(f, a, b, &st_));
		AGREES(uint32_t, bfp_fast_square_root32(a, flagged, &fast_),
		       bfp_square_root(f, a, &st_));
		AGREES(uint32_t, flagged && bfp_fast_multiply_add32(a, b, c, &fast_),
		       bfp_multiply_add(f, a, b, c, false, &st_));
		AGREES(uint64_t, bfp_fast_multiply32_to_64(a, b, &fast_),
		       bfp_multiply(f, &bfp_long, a, b, &st_));
		AGREES(uint64_t, bfp_fast_lengthen(a, &fast_),
		       bfp_convert(f, &bfp_long, a, &st_));
	}
	for (unsigned long i = 0; i < w->cases; i++) {
		const struct bfp_format *f = &bfp_long;
		uint64_t a = (uint64_t)random_operand(w, f, 0);
		uint64_t b = (uint64_t)random_operand(w, f, a);
		uint64_t c = (uint64_t)random_operand(w, f, b);

		AGREES(uint64_t, bfp_fast_add64(a, b, flagged, &fast_), bfp_add(f, a, b, &st_));
		AGREES(uint64_t, bfp_fast_multiply64(a, b, flagged, &fast_),
		       bfp_multiply(f, f, a, b, &st_));
		AGREES(uint64_t, bfp_fast_divide64(a, b, flagged, &fast_),
		       bfp_divide(f, a, b, &st_));
		AGREES(uint64_t, bfp_fast_square_root64(a, flagged, &fast_),
		       bfp_square_root(f, a, &st_));
		AGREES(uint64_t, flagged && bfp_fast_multiply_add64(a, b, c, &fast_),
		       bfp_multiply_add(f, a, b, c, false, &st_));
		a = (uint64_t)random_widened(w, &bfp_long, &bfp_short);
		AGREES(uint32_t, bfp_fast_round(a, flagged, &fast_),
		       bfp_convert(f, &bfp_short, a, &st_));
	}
	if (BFP_HAVE_FAST)
		assert_true(accepted > w->cases);
}

/* ---- Particular cases ---- */

static void nans_take_precedence_signalling_first_then_by_operand(void **state)
{
	const uint32_t qa = 0x7fc00001, qb = 0xffc00002, qc = 0x7fc00003;
	const uint32_t sa = 0xff800011, sb = 0x7f800022, sc = 0x7f800033;
	const struct bfp_format *f = &bfp_short;
	struct bfp_status st = { 0 };

	assert_true(bfp_add(f, qa, qb, &st) == qa);
	assert_true(bfp_multiply(f, f, 0x3f800000, qb, &st) == qb);
	/* Subtracting a NaN does not change its sign. */
	assert_true(bfp_subtract(f, 0, qb, &st) == qb);
	assert_true(bfp_multiply_add(f, qa, qb, qc, true, &st) == qa);
	assert_true(bfp_multiply_add(f, 0, qb, qc, true, &st) == qb);
	assert_int_equal(st.raised, 0);
	assert_true(bfp_divide(f, qa, sb, &st) == (sb | 0x400000));
	assert_int_equal(st.raised, BFP_INVALID);
	st.raised = 0;
	assert_true(bfp_add(f, sa, sb, &st) == (sa | 0x400000));
	assert_int_equal(st.raised, BFP_INVALID);
	st.raised = 0;
	assert_true(bfp_multiply_add(f, qa, qb, sc, false, &st) == (sc | 0x400000));
	assert_int_equal(st.raised, BFP_INVALID);
	/* The invalid product comes before any NaN that would have been added. */
	st.raised = 0;
	assert_true(bfp_multiply_add(f, 0x7f800000, 0, sc, false, &st) == 0x7fc00000);
	assert_int_equal(st.raised, BFP_INVALID);
}

static void a_nan_keeps_the_left_part_of_its_payload_in_another_format(void **state)
{
	struct bfp_status st = { 0 };

	assert_true(bfp_convert(&bfp_short, &bfp_long, 0xffc12345, &st) == 0xfff82468a0000000);
	assert_true(bfp_convert(&bfp_long, &bfp_short, 0xfff82468bfffffff, &st) == 0xffc12345);
	assert_int_equal(st.raised, 0);
	/* A payload that is lost altogether leaves a quiet NaN. */
	assert_true(bfp_convert(&bfp_long, &bfp_short, 0x7ff0000000000001, &st) == 0x7fc00000);
	assert_int_equal(st.raised, BFP_INVALID);
}

static void tininess_counts_before_rounding(void **state)
{
	/* (1 - 2^-24) * 2^-126 rounds up to the smallest normal number, and is tiny. */
	struct bfp_status st = { .mode = BFP_NEAREST_EVEN };
	bfp128 r;

	assert_true(bfp_convert(&bfp_long, &bfp_short, 0x380fffffffffffff, &st) == 0x00800000);
	assert_int_equal(st.raised, BFP_UNDERFLOW | BFP_INEXACT | BFP_INCREMENTED);
	/* An exact subnormal result is an exception only where it traps. */
	st.raised = 0;
	r = bfp_multiply(&bfp_short, &bfp_short, 0x00800000, 0x3f000000, &st);
	assert_true(r == 0x00400000);
	assert_int_equal(st.raised, 0);
	st.trap = BFP_UNDERFLOW;
	r = bfp_multiply(&bfp_short, &bfp_short, 0x00800000, 0x3f000000, &st);
	assert_true(r == 0x60000000);
	assert_int_equal(st.raised, BFP_UNDERFLOW);
}

static void a_trapped_overflow_is_scaled_by_the_format(void **state)
{
	struct bfp_status st = { .trap = BFP_OVERFLOW };
	bfp128 r;

	/* 2^127 * 2^127 / 2^192 = 2^62 */
	r = bfp_multiply(&bfp_short, &bfp_short, 0x7f000000, 0x7f000000, &st);
	assert_true(r == 0x5e800000);
	assert_int_equal(st.raised, BFP_OVERFLOW);
	/* 2^128, for a long operand 2^128 / 2^512 = 2^-384, in the long format */
	st.raised = 0;
	assert_true(bfp_convert(&bfp_long, &bfp_short, 0x47f0000000000000, &st) ==
		    0x27f0000000000000);
	assert_int_equal(st.raised, BFP_OVERFLOW);
}

static void every_datum_has_one_class(void **state)
{
	static const struct { uint32_t bits; unsigned int class; } classes[] = {
		{ 0x00000000, 0x800 }, { 0x80000000, 0x400 }, { 0x3f800000, 0x200 },
		{ 0x80800000, 0x100 }, { 0x007fffff, 0x080 }, { 0x80000001, 0x040 },
		{ 0x7f800000, 0x020 }, { 0xff800000, 0x010 }, { 0x7fc00000, 0x008 },
		{ 0xffffffff, 0x004 }, { 0x7f800001, 0x002 }, { 0xffbfffff, 0x001 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(classes); i++) {
		struct bfp_status st = { 0 };
		bfp128 widened;

		assert_int_equal(bfp_data_class(&bfp_short, classes[i].bits), classes[i].class);
		if (classes[i].class & 0x0c3)
			continue; /* subnormal and signalling ones change */
		widened = bfp_convert(&bfp_short, &bfp_extended, classes[i].bits, &st);
		assert_int_equal(bfp_data_class(&bfp_extended, widened), classes[i].class);
	}
}

static void hexadecimal_numbers_convert_both_ways(void **state)
{
	static const struct { uint64_t bfp, hfp; unsigned int cc; } exact[] = {
		{ 0, 0, 0 }, { 1ull << 63, 1ull << 63, 0 },
		{ 0x3ff0000000000000, 0x4110000000000000, 2 },  /* 1 */
		{ 0xbfe0000000000000, 0xc080000000000000, 1 },  /* -0.5 */
		{ 0x405ec00000000000, 0x427b000000000000, 2 },  /* 123 */
		{ 0x3fb999999999999a, 0x401999999999999a, 2 },  /* 0.1 */
	};
	unsigned int cc;

	for (unsigned int i = 0; i < ARRAY_SIZE(exact); i++) {
		assert_true(bfp_to_hfp(&bfp_long, exact[i].bfp, &cc) == exact[i].hfp);
		assert_int_equal(cc, exact[i].cc);
		assert_true(bfp_from_hfp(&bfp_long, exact[i].hfp, BFP_TOWARD_ZERO, &cc) ==
			    exact[i].bfp);
		assert_int_equal(cc, exact[i].cc);
	}
	/* Too large, too small, infinite, not a number. */
	assert_true(bfp_to_hfp(&bfp_long, 0xd000000000000000, &cc) == UINT64_MAX);
	assert_int_equal(cc, 3);
	assert_true(bfp_to_hfp(&bfp_long, 0x8010000000000000, &cc) == 1ull << 63);
	assert_int_equal(cc, 1);
	assert_true(bfp_to_hfp(&bfp_long, 0x7ff0000000000000, &cc) == UINT64_MAX >> 1);
	assert_int_equal(cc, 3);
	/* The largest HFP number is too large for a short one. */
	assert_true(bfp_from_hfp(&bfp_short, UINT64_MAX, BFP_TOWARD_ZERO, &cc) == 0xff7fffff);
	assert_int_equal(cc, 3);
	assert_true(bfp_from_hfp(&bfp_short, UINT64_MAX, BFP_NEAREST_EVEN, &cc) == 0xff800000);
	assert_int_equal(cc, 3);
	/* An unnormalized one has the value that it has. */
	assert_true(bfp_from_hfp(&bfp_long, 0x4600000100000000, BFP_UP, &cc) ==
		    0x3ff0000000000000);
}

static int set_up(void **state)
{
	struct work *w = calloc(1, sizeof(*w));
	const char *cases = getenv("BFP_CASES"), *seed = getenv("BFP_SEED");

	w->cases = cases ? strtoul(cases, NULL, 0) : 20000;
	w->random = seed ? strtoul(seed, NULL, 0) : 1;
	mpz_inits(w->num, w->den, w->a, w->b, w->c, w->q, w->r, w->t, NULL);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct work *w = *state;

	mpz_clears(w->num, w->den, w->a, w->b, w->c, w->q, w->r, w->t, NULL);
	free(w);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_and_differences_are_the_precise_ones_rounded_once),
		cmocka_unit_test(products_are_the_precise_ones_rounded_once),
		cmocka_unit_test(products_in_the_next_longer_format_are_exact),
		cmocka_unit_test(quotients_are_the_precise_ones_rounded_once),
		cmocka_unit_test(square_roots_are_the_precise_ones_rounded_once),
		cmocka_unit_test(a_multiply_and_add_rounds_once),
		cmocka_unit_test(a_conversion_to_a_shorter_format_rounds_once),
		cmocka_unit_test(a_conversion_to_a_longer_format_and_back_changes_nothing),
		cmocka_unit_test(a_number_rounds_to_the_integer_that_the_method_says),
		cmocka_unit_test(a_conversion_to_an_integer_saturates_with_condition_code_3),
		cmocka_unit_test(a_conversion_from_an_integer_rounds_once),
		cmocka_unit_test(a_division_to_integer_gives_quotient_and_remainder_by_definition),
		cmocka_unit_test(comparing_orders_numbers_and_finds_nans_unordered),
		cmocka_unit_test(the_host_gives_the_exact_bits_or_declines),
		cmocka_unit_test(nans_take_precedence_signalling_first_then_by_operand),
		cmocka_unit_test(a_nan_keeps_the_left_part_of_its_payload_in_another_format),
		cmocka_unit_test(tininess_counts_before_rounding),
		cmocka_unit_test(a_trapped_overflow_is_scaled_by_the_format),
		cmocka_unit_test(every_datum_has_one_class),
		cmocka_unit_test(hexadecimal_numbers_convert_both_ways),
	};

	return cmocka_run_group_tests_name("bfp", tests, set_up, tear_down);
}
