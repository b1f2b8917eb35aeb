/* SPDX-License-Identifier: MIT */
/*
 * Binary floating-point arithmetic: see bfp.h for the ideas.
 *
 * An unpacked finite number has the value sig * 2^(exp - 127), with the
 * leftmost bit of sig one, subnormal operands included. The significand of a
 * NaN is its fraction, left-aligned, so that it fits a shorter or a longer format
 * by being packed; its leftmost bit says that the NaN is quiet.
 */
#include "cpu/soft/bfp/bfp.h"

#include "base/util.h"

const struct bfp_format bfp_short = {
	.precision = 24, .width = 32, .emax = 127, .scale = 192, .rounded_scale = 0,
};
const struct bfp_format bfp_long = {
	.precision = 53, .width = 64, .emax = 1023, .scale = 1536, .rounded_scale = 512,
};
const struct bfp_format bfp_extended = {
	.precision = 113, .width = 128, .emax = 16383, .scale = 24576, .rounded_scale = 8192,
};

enum class { ZERO, FINITE, INFINITE, QUIET_NAN, SIGNALLING_NAN };

struct number {
	enum class class;
	bool sign;
	int32_t exp;
	bfp128 sig;
};

#define TOP ((bfp128)1 << 127)

static const struct number default_nan = { .class = QUIET_NAN, .sig = TOP };

static unsigned int leading_zeros(bfp128 v)
{
	uint64_t high = (uint64_t)(v >> 64);

	return high ? (unsigned int)__builtin_clzll(high) :
		      64 + (unsigned int)__builtin_clzll((uint64_t)v);
}

/* Shift right; ones that fall out stay visible in the rightmost bit. */
static bfp128 shift_right_jam(bfp128 v, unsigned int count)
{
	if (count == 0)
		return v;
	if (count >= 128)
		return v != 0;
	return v >> count | (v << (128 - count) != 0);
}

/* ---- Unpacking and packing ---- */

static struct number unpack(const struct bfp_format *f, bfp128 bits)
{
	unsigned int fraction_bits = f->precision - 1u;
	bfp128 fraction = bits & (((bfp128)1 << fraction_bits) - 1);
	int32_t biased = (int32_t)(bits >> fraction_bits) & (2 * f->emax + 1);
	struct number n = { .sign = bits >> (f->width - 1) & 1 };

	if (biased == 2 * f->emax + 1) {
		n.sig = fraction << (128 - fraction_bits);
		n.class = !fraction ? INFINITE : n.sig & TOP ? QUIET_NAN : SIGNALLING_NAN;
	} else if (biased) {
		n.class = FINITE;
		n.exp = biased - f->emax;
		n.sig = TOP | fraction << (127 - fraction_bits);
	} else if (fraction) {
		unsigned int shift = leading_zeros(fraction);

		n.class = FINITE;
		n.exp = 1 - f->emax - (int32_t)(fraction_bits - (127 - shift));
		n.sig = fraction << shift;
	}
	return n;
}

static bfp128 assemble(const struct bfp_format *f, bool sign, uint32_t biased, bfp128 fraction)
{
	return (bfp128)sign << (f->width - 1) | (bfp128)biased << (f->precision - 1) | fraction;
}

static bfp128 pack_zero(const struct bfp_format *f, bool sign)
{
	return assemble(f, sign, 0, 0);
}

static bfp128 pack_infinity(const struct bfp_format *f, bool sign)
{
	return assemble(f, sign, 2u * (uint32_t)f->emax + 1, 0);
}

static bfp128 pack_largest(const struct bfp_format *f, bool sign)
{
	return pack_infinity(f, sign) - 1;
}

static bfp128 pack_nan(const struct bfp_format *f, const struct number *n)
{
	return assemble(f, n->sign, 2u * (uint32_t)f->emax + 1,
			(n->sig | TOP) >> (129 - f->precision));
}

/* A significand of f->precision bits, and an exponent in range. */
static bfp128 pack_normal(const struct bfp_format *f, bool sign, int32_t exp, bfp128 significand)
{
	return assemble(f, sign, 0, 0) |
	       (((bfp128)(uint32_t)(exp + f->emax - 1) << (f->precision - 1)) + significand);
}

/* ---- Rounding ---- */

/*
 * Take the rightmost `drop` bits off. The result is in units of the last bit
 * that is kept, and may have one bit more than was kept.
 */
static bfp128 round_significand(bfp128 sig, unsigned int drop, bool sign, enum bfp_mode mode,
				uint8_t *raised)
{
	bfp128 kept = drop >= 128 ? 0 : sig >> drop;
	bfp128 rest = drop > 128 ? sig != 0 : drop == 128 ? sig : drop ? sig << (128 - drop) : 0;
	bool up = false;

	if (!rest)
		return kept;
	switch (mode) {
	case BFP_NEAREST_EVEN:
		up = rest > TOP || (rest == TOP && (kept & 1));
		break;
	case BFP_NEAREST_AWAY:
		up = rest >= TOP;
		break;
	case BFP_UP:
		up = !sign;
		break;
	case BFP_DOWN:
		up = sign;
		break;
	case BFP_PREPARE_SHORTER:
		up = !(kept & 1);
		break;
	case BFP_TOWARD_ZERO:
		break;
	}
	*raised |= up ? BFP_INEXACT | BFP_INCREMENTED : BFP_INEXACT;
	return kept + up;
}

/* Is the result of an overflow that does not trap infinity, or the largest number? */
static bool overflow_to_infinity(bool sign, enum bfp_mode mode)
{
	switch (mode) {
	case BFP_NEAREST_EVEN:
	case BFP_NEAREST_AWAY:
		return true;
	case BFP_UP:
		return !sign;
	case BFP_DOWN:
		return sign;
	default:
		return false;
	}
}

/*
 * Round a finite number to format f and pack it. The result of an overflow or
 * underflow that traps goes into the format `trapped`, with its exponent moved
 * by `scale`.
 */
static bfp128 round_finite(const struct bfp_format *f, const struct bfp_format *trapped,
			   int32_t scale, const struct number *n, struct bfp_status *st)
{
	unsigned int drop = 128u - f->precision;
	int32_t emin = 1 - f->emax;
	int32_t exp = n->exp;
	uint8_t raised = 0;
	bfp128 sig;

	if (exp < emin && !(st->trap & BFP_UNDERFLOW)) {
		unsigned int more = (unsigned int)MIN(emin - exp, 128);

		sig = round_significand(n->sig, drop + more, n->sign, st->mode, &raised);
		st->raised |= raised | (raised ? BFP_UNDERFLOW : 0);
		/* A carry into the implied bit makes it the smallest normal number. */
		return assemble(f, n->sign, 0, 0) | sig;
	}
	sig = round_significand(n->sig, drop, n->sign, st->mode, &raised);
	if (sig >> f->precision) {
		sig >>= 1;
		exp++;
	}
	/* Tininess counts before rounding: a carry does not undo it. */
	if (n->exp < emin) {
		st->raised |= raised | BFP_UNDERFLOW;
		exp += scale;
		f = trapped;
	} else if (exp > f->emax) {
		st->raised |= raised | BFP_OVERFLOW;
		if (!(st->trap & BFP_OVERFLOW)) {
			bool infinity = overflow_to_infinity(n->sign, st->mode);

			st->raised &= (uint8_t)~BFP_INCREMENTED;
			st->raised |= infinity ? BFP_INEXACT | BFP_INCREMENTED : BFP_INEXACT;
			return infinity ? pack_infinity(f, n->sign) : pack_largest(f, n->sign);
		}
		exp -= scale;
		f = trapped;
	} else {
		st->raised |= raised;
	}
	if (f->precision > 128 - drop)
		sig <<= f->precision - (128 - drop);
	return pack_normal(f, n->sign, exp, sig);
}

static bfp128 round_and_pack(const struct bfp_format *f, const struct number *n,
			     struct bfp_status *st)
{
	switch (n->class) {
	case ZERO:
		return pack_zero(f, n->sign);
	case FINITE:
		return round_finite(f, f, f->scale, n, st);
	case INFINITE:
		return pack_infinity(f, n->sign);
	default:
		return pack_nan(f, n);
	}
}

/* ---- NaNs ---- */

static bool is_nan(const struct number *n)
{
	return n->class >= QUIET_NAN;
}

static struct number invalid(struct bfp_status *st)
{
	st->raised |= BFP_INVALID;
	return default_nan;
}

/*
 * The NaN that an operation on these operands gives, in order of precedence: a
 * signalling one before a quiet one, an earlier operand before a later one.
 * Returns NULL when there is none.
 */
static const struct number *pick_nan(const struct number *const operand[], unsigned int count,
				     struct bfp_status *st)
{
	for (unsigned int i = 0; i < count; i++) {
		if (operand[i]->class == SIGNALLING_NAN) {
			st->raised |= BFP_INVALID;
			return operand[i];
		}
	}
	for (unsigned int i = 0; i < count; i++) {
		if (operand[i]->class == QUIET_NAN)
			return operand[i];
	}
	return NULL;
}

#define PICK_NAN(st, ...) \
	pick_nan((const struct number *const[]){ __VA_ARGS__ }, \
		 sizeof((const struct number *const[]){ __VA_ARGS__ }) / sizeof(void *), st)

/* ---- Addition ---- */

static struct number normalize(struct number n)
{
	unsigned int shift = leading_zeros(n.sig);

	n.sig <<= shift;
	n.exp -= (int32_t)shift;
	return n;
}

static struct number add_finite(const struct number *a, const struct number *b, enum bfp_mode mode)
{
	struct number sum = { .class = FINITE };
	bfp128 x, y;

	if (b->exp > a->exp || (b->exp == a->exp && b->sig > a->sig)) {
		const struct number *larger = b;

		b = a;
		a = larger;
	}
	/* One place to the right, where there is room for the carry. */
	x = shift_right_jam(a->sig, 1);
	y = shift_right_jam(b->sig, 1 + (unsigned int)(a->exp - b->exp));
	sum.sign = a->sign;
	sum.exp = a->exp + 1;
	sum.sig = a->sign == b->sign ? x + y : x - y;
	if (!sum.sig)
		return (struct number){ .class = ZERO, .sign = mode == BFP_DOWN };
	return normalize(sum);
}

/* Neither is a NaN. */
static struct number add(const struct number *a, const struct number *b, struct bfp_status *st)
{
	if (a->class == INFINITE || b->class == INFINITE) {
		if (a->class == b->class && a->sign != b->sign)
			return invalid(st);
		return a->class == INFINITE ? *a : *b;
	}
	if (a->class == ZERO && b->class == ZERO) {
		struct number zero = *a;

		if (a->sign != b->sign)
			zero.sign = st->mode == BFP_DOWN;
		return zero;
	}
	if (a->class == ZERO)
		return *b;
	if (b->class == ZERO)
		return *a;
	return add_finite(a, b, st->mode);
}

static bfp128 add_or_subtract(const struct bfp_format *f, bfp128 a_bits, bfp128 b_bits,
			      bool subtract, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits), b = unpack(f, b_bits), sum;
	const struct number *nan = PICK_NAN(st, &a, &b);

	if (nan)
		return pack_nan(f, nan);
	b.sign ^= subtract;
	sum = add(&a, &b, st);
	return round_and_pack(f, &sum, st);
}

bfp128 bfp_add(const struct bfp_format *f, bfp128 a, bfp128 b, struct bfp_status *st)
{
	return add_or_subtract(f, a, b, false, st);
}

bfp128 bfp_subtract(const struct bfp_format *f, bfp128 a, bfp128 b, struct bfp_status *st)
{
	return add_or_subtract(f, a, b, true, st);
}

/* ---- Multiplication ---- */

/* The left half of the product of 256 bits, the right half jammed into it. */
static bfp128 multiply_high_jam(bfp128 a, bfp128 b)
{
	uint64_t a1 = (uint64_t)(a >> 64), a0 = (uint64_t)a;
	uint64_t b1 = (uint64_t)(b >> 64), b0 = (uint64_t)b;
	bfp128 high = (bfp128)a1 * b1;
	bfp128 middle1, middle2, low, carry;

	if (!a0 && !b0)
		return high;
	middle1 = (bfp128)a1 * b0;
	middle2 = (bfp128)a0 * b1;
	low = (bfp128)a0 * b0;
	carry = (low >> 64) + (uint64_t)middle1 + (uint64_t)middle2;
	high += (middle1 >> 64) + (middle2 >> 64) + (carry >> 64);
	return high | ((uint64_t)carry != 0 || (uint64_t)low != 0);
}

/* Neither is a NaN. Exact for short and long operands, whose product fits. */
static struct number multiply(const struct number *a, const struct number *b, struct bfp_status *st)
{
	struct number p = { .class = FINITE, .sign = a->sign != b->sign };

	if (a->class == INFINITE || b->class == INFINITE) {
		if (a->class == ZERO || b->class == ZERO)
			return invalid(st);
		p.class = INFINITE;
		return p;
	}
	if (a->class == ZERO || b->class == ZERO) {
		p.class = ZERO;
		return p;
	}
	p.exp = a->exp + b->exp + 1;
	p.sig = multiply_high_jam(a->sig, b->sig);
	return normalize(p);
}

bfp128 bfp_multiply(const struct bfp_format *from, const struct bfp_format *to, bfp128 a_bits,
		    bfp128 b_bits, struct bfp_status *st)
{
	struct number a = unpack(from, a_bits), b = unpack(from, b_bits), p;
	const struct number *nan = PICK_NAN(st, &a, &b);

	if (nan)
		return pack_nan(to, nan);
	p = multiply(&a, &b, st);
	return round_and_pack(to, &p, st);
}

bfp128 bfp_multiply_add(const struct bfp_format *f, bfp128 a_bits, bfp128 b_bits, bfp128 c_bits,
			bool subtract, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits), b = unpack(f, b_bits), c = unpack(f, c_bits);
	const struct number *nan;
	struct number r;

	/* An invalid product ends the operation before the sum is looked at. */
	if ((a.class == INFINITE && b.class == ZERO) || (a.class == ZERO && b.class == INFINITE)) {
		r = invalid(st);
		return pack_nan(f, &r);
	}
	nan = PICK_NAN(st, &a, &b, &c);
	if (nan)
		return pack_nan(f, nan);
	c.sign ^= subtract;
	a = multiply(&a, &b, st);
	r = add(&a, &c, st);
	return round_and_pack(f, &r, st);
}

/* ---- Division ---- */

/*
 * One digit of a long division in base 2^64: the quotient of r * 2^64 + next
 * by d, which leaves the remainder in r. r is less than d, whose leftmost bit
 * is one. (Knuth, The Art of Computer Programming 4.3.1, algorithm D.)
 */
static uint64_t divide_digit(bfp128 *r, uint64_t next, bfp128 d)
{
	uint64_t d1 = (uint64_t)(d >> 64), d0 = (uint64_t)d;
	uint64_t q;
	bfp128 left;

	if ((uint64_t)(*r >> 64) == d1) {
		q = UINT64_MAX;
		left = (bfp128)(uint64_t)*r + d1;
	} else {
		q = (uint64_t)(*r / d1);
		left = *r % d1;
	}
	while (!(left >> 64) && (bfp128)q * d0 > (left << 64 | next)) {
		q--;
		left += d1;
	}
	*r = (*r << 64 | next) - q * d;
	return q;
}

bfp128 bfp_divide(const struct bfp_format *f, bfp128 a_bits, bfp128 b_bits, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits), b = unpack(f, b_bits);
	const struct number *nan = PICK_NAN(st, &a, &b);
	struct number q = { .class = FINITE, .sign = a.sign != b.sign };
	bfp128 rest, next = 0;

	if (nan)
		return pack_nan(f, nan);
	if (a.class == b.class && a.class != FINITE) {
		q = invalid(st);
		return pack_nan(f, &q);
	}
	if (a.class == INFINITE)
		return pack_infinity(f, q.sign);
	if (b.class == ZERO) {
		st->raised |= BFP_DIVIDE_BY_ZERO;
		return pack_infinity(f, q.sign);
	}
	if (a.class == ZERO || b.class == INFINITE)
		return pack_zero(f, q.sign);

	q.exp = a.exp - b.exp - 1;
	rest = a.sig;
	if (a.sig >= b.sig) {
		q.exp++;
		rest = a.sig >> 1;
		next = a.sig << 127;
	}
	q.sig = (bfp128)divide_digit(&rest, (uint64_t)(next >> 64), b.sig) << 64;
	q.sig |= divide_digit(&rest, (uint64_t)next, b.sig);
	q.sig |= rest != 0;
	return round_and_pack(f, &q, st);
}

/* ---- Square root ---- */

/* More bits than the longest format has, and few enough that the remainder fits. */
#define ROOT_BITS 118

bfp128 bfp_square_root(const struct bfp_format *f, bfp128 a_bits, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits);
	const struct number *nan = PICK_NAN(st, &a);
	struct number root = { .class = FINITE };
	bfp128 radicand = a.sig, rest = 0;
	unsigned int extra = 0;

	if (nan)
		return pack_nan(f, nan);
	if (a.class == ZERO || (a.class == INFINITE && !a.sign))
		return a_bits;
	if (a.sign) {
		root = invalid(st);
		return pack_nan(f, &root);
	}
	/*
	 * Digit by digit, two bits of the radicand for each of the root. The first
	 * two are 01 when the exponent is even, 10 or 11 when the radicand is
	 * doubled to make it so.
	 */
	if (!(a.exp & 1)) {
		extra = (unsigned int)(radicand & 1);
		radicand >>= 1;
	}
	root.exp = (a.exp - (a.exp & 1)) / 2;
	for (unsigned int i = 0; i < ROOT_BITS; i++) {
		bfp128 trial = root.sig << 2 | 1;

		rest = rest << 2 | radicand >> 126;
		radicand <<= 2;
		if (i == 63)
			radicand |= (bfp128)extra << 127;
		root.sig <<= 1;
		if (rest >= trial) {
			rest -= trial;
			root.sig |= 1;
		}
	}
	root.sig <<= 128 - ROOT_BITS;
	root.sig |= rest != 0;
	return round_and_pack(f, &root, st);
}

/* ---- Divide to integer ---- */

/* Does the integer part n of a quotient, with a rest, become n + 1? half: -1, 0, 1. */
static bool quotient_rounds_up(uint64_t n, int half, bool sign, enum bfp_mode mode)
{
	switch (mode) {
	case BFP_NEAREST_EVEN:
		return half > 0 || (half == 0 && (n & 1));
	case BFP_NEAREST_AWAY:
		return half >= 0;
	case BFP_UP:
		return !sign;
	case BFP_DOWN:
		return sign;
	case BFP_PREPARE_SHORTER:
		return !(n & 1);
	default:
		return false;
	}
}

static int compare_u128(bfp128 a, bfp128 b)
{
	return (a > b) - (a < b);
}

/* A finite number from an integer times a power of two. */
static struct number number_from(bool sign, bfp128 integer, int32_t exp)
{
	struct number n = { .class = ZERO, .sign = sign };

	if (integer) {
		n.class = FINITE;
		n.exp = exp + 127;
		n.sig = integer;
		n = normalize(n);
	}
	return n;
}

/*
 * The quotient has as many bits as the format at most. If the precise one needs
 * more, it is cut off there: the remainder is incomplete, and the program is
 * to repeat the division with the remainder. It is so even where the
 * quotient's exponent is too large for the format, which is not an overflow but
 * has condition codes of its own.
 */
unsigned int bfp_divide_to_integer(const struct bfp_format *f, bfp128 a_bits, bfp128 b_bits,
				   enum bfp_mode quotient_mode, bfp128 *quotient,
				   bfp128 *remainder, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits), b = unpack(f, b_bits);
	const struct number *nan = PICK_NAN(st, &a, &b);
	bool sign = a.sign != b.sign;
	unsigned int cc = 0;
	uint64_t dividend, divisor, n = 0;
	int32_t distance, shift;
	struct number q, r;
	int half;

	if (nan || a.class == INFINITE || b.class == ZERO) {
		if (!nan) {
			r = invalid(st);
			nan = &r;
		}
		*quotient = *remainder = pack_nan(f, nan);
		return 1;
	}
	if (a.class == ZERO || b.class == INFINITE) {
		*quotient = pack_zero(f, sign);
		*remainder = a_bits;
		return 0;
	}

	/* a is dividend * 2^(a.exp - 63), and likewise b. */
	dividend = (uint64_t)(a.sig >> 64);
	divisor = (uint64_t)(b.sig >> 64);
	distance = a.exp - b.exp;
	shift = MIN(distance, dividend >= divisor ? f->precision - 1 : f->precision);
	if (shift < 0) {
		r = a;
		half = distance < -1 ? -1 : compare_u128(dividend, divisor);
	} else {
		bfp128 shifted = (bfp128)dividend << shift;
		uint64_t rest = (uint64_t)(shifted % divisor);

		n = (uint64_t)(shifted / divisor);
		r = number_from(a.sign, rest, a.exp - 63 - shift);
		half = compare_u128((bfp128)rest * 2, divisor);
	}

	if (distance > shift && shift >= 0) {
		uint8_t trap = st->trap;

		q = number_from(sign, n, distance - shift);
		if (r.class != ZERO)
			cc = 2;
		if (q.exp > f->emax) {
			q.exp -= f->scale;
			cc |= 1;
		}
		*quotient = round_and_pack(f, &q, st);
		/* An incomplete remainder is exact, and its tininess is no exception. */
		st->trap &= (uint8_t)~BFP_UNDERFLOW;
		*remainder = round_and_pack(f, &r, st);
		st->trap = trap;
		return cc;
	}

	if (r.class != ZERO && quotient_rounds_up(n, half, sign, quotient_mode)) {
		n++;
		b.sign = !a.sign;
		r = add_finite(&r, &b, st->mode);
		if (r.class == ZERO)
			r.sign = a.sign;
	}
	q = number_from(sign, n, 0);
	*quotient = round_and_pack(f, &q, st);
	*remainder = round_and_pack(f, &r, st);
	return 0;
}

/* ---- Conversions ---- */

bfp128 bfp_convert(const struct bfp_format *from, const struct bfp_format *to, bfp128 a_bits,
		   struct bfp_status *st)
{
	struct number a = unpack(from, a_bits);
	const struct number *nan = PICK_NAN(st, &a);

	if (nan)
		return pack_nan(to, nan);
	if (a.class == FINITE)
		return round_finite(to, from, from->rounded_scale, &a, st);
	return round_and_pack(to, &a, st);
}

bfp128 bfp_round_to_integer(const struct bfp_format *f, bfp128 a_bits, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits);
	const struct number *nan = PICK_NAN(st, &a);
	bfp128 integer;

	if (nan)
		return pack_nan(f, nan);
	if (a.class != FINITE || a.exp >= f->precision - 1)
		return a_bits;
	integer = round_significand(a.sig, (unsigned int)MIN(127 - a.exp, 129), a.sign, st->mode,
				    &st->raised);
	a = number_from(a.sign, integer, 0);
	return round_and_pack(f, &a, st);
}

bfp128 bfp_from_integer(const struct bfp_format *f, bool negative, uint64_t magnitude,
			struct bfp_status *st)
{
	struct number n = number_from(negative && magnitude, magnitude, 0);

	return round_and_pack(f, &n, st);
}

uint64_t bfp_to_integer(const struct bfp_format *f, bfp128 a_bits, unsigned int bits,
			bool is_signed, unsigned int *cc, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits);
	uint64_t most = UINT64_MAX >> (64 - bits) >> is_signed; /* the largest integer */
	uint64_t least = is_signed ? most + 1 : 0;              /* magnitude of the smallest */
	uint64_t limit = a.sign ? least : most;
	bfp128 n = 0;
	bool fits = !is_nan(&a) && a.class != INFINITE && a.exp < 64;
	uint8_t raised = 0;

	*cc = a.class == ZERO ? 0 : a.sign ? 1 : 2;
	if (a.class == ZERO)
		return 0;
	if (fits) {
		n = round_significand(a.sig, (unsigned int)MIN(127 - a.exp, 129), a.sign, st->mode,
				      &raised);
		fits = n <= limit;
	}
	if (!fits) {
		/* Also inexact, a NaN too, if the invalid operation does not trap. */
		st->raised |= BFP_INVALID | BFP_INEXACT;
		*cc = 3;
		n = is_nan(&a) ? least : limit;
		a.sign |= is_nan(&a);
	} else {
		st->raised |= raised;
	}
	return (a.sign ? -(uint64_t)n : (uint64_t)n) & UINT64_MAX >> (64 - bits);
}

/* ---- Comparing and testing ---- */

unsigned int bfp_compare(const struct bfp_format *f, bfp128 a_bits, bfp128 b_bits, bool signalling,
			 struct bfp_status *st)
{
	struct number a = unpack(f, a_bits), b = unpack(f, b_bits);
	bfp128 magnitude = ((bfp128)1 << (f->width - 1)) - 1;
	bool less;

	if (is_nan(&a) || is_nan(&b)) {
		if (signalling || a.class == SIGNALLING_NAN || b.class == SIGNALLING_NAN)
			st->raised |= BFP_INVALID;
		return 3;
	}
	if (a_bits == b_bits || (a.class == ZERO && b.class == ZERO))
		return 0;
	if (a.sign != b.sign)
		less = a.sign;
	else
		less = ((a_bits & magnitude) < (b_bits & magnitude)) != a.sign;
	return less ? 1 : 2;
}

bfp128 bfp_load_and_test(const struct bfp_format *f, bfp128 a_bits, struct bfp_status *st)
{
	struct number a = unpack(f, a_bits);

	if (a.class != SIGNALLING_NAN)
		return a_bits;
	st->raised |= BFP_INVALID;
	return pack_nan(f, &a);
}

unsigned int bfp_condition_code(const struct bfp_format *f, bfp128 a_bits)
{
	struct number a = unpack(f, a_bits);

	return is_nan(&a) ? 3 : a.class == ZERO ? 0 : a.sign ? 1 : 2;
}

unsigned int bfp_data_class(const struct bfp_format *f, bfp128 a_bits)
{
	struct number a = unpack(f, a_bits);
	unsigned int positive = 0;

	switch (a.class) {
	case ZERO:
		positive = 0x800;
		break;
	case FINITE:
		positive = a.exp < 1 - f->emax ? 0x80 : 0x200;
		break;
	case INFINITE:
		positive = 0x20;
		break;
	case QUIET_NAN:
		positive = 0x8;
		break;
	case SIGNALLING_NAN:
		positive = 0x2;
		break;
	}
	return positive >> a.sign;
}

/* ---- Hexadecimal floating point ---- */

#define HFP_SIGN (1ull << 63)
#define HFP_FRACTION_BITS 56
#define HFP_BIAS 64
#define HFP_LARGEST (~0ull >> 1)

/* A normalized long HFP number: 0.fraction * 16^(characteristic - 64). Always exact. */
uint64_t bfp_to_hfp(const struct bfp_format *f, bfp128 a_bits, unsigned int *cc)
{
	struct number a = unpack(f, a_bits);
	uint64_t sign = a.sign ? HFP_SIGN : 0;
	unsigned int drop;
	int32_t digits;

	*cc = 3;
	if (is_nan(&a))
		return HFP_LARGEST;
	if (a.class == INFINITE)
		return HFP_LARGEST | sign;
	*cc = a.class == ZERO ? 0 : a.sign ? 1 : 2;
	if (a.class == ZERO)
		return sign;
	/* The value is (sig / 2^128) * 2^(exp + 1): the next multiple of 4 is the exponent. */
	digits = (a.exp + 1 + 4 * 8192 + 3) / 4 - 8192;
	if (digits > 63) {
		*cc = 3;
		return HFP_LARGEST | sign;
	}
	if (digits < -HFP_BIAS)
		return sign;
	drop = 128 - HFP_FRACTION_BITS + (unsigned int)(digits * 4 - (a.exp + 1));
	return sign | (uint64_t)(digits + HFP_BIAS) << HFP_FRACTION_BITS |
	       (uint64_t)(a.sig >> drop);
}

bfp128 bfp_from_hfp(const struct bfp_format *f, uint64_t a_bits, enum bfp_mode mode,
		    unsigned int *cc)
{
	bool sign = a_bits >> 63;
	int32_t characteristic = (int32_t)(a_bits >> HFP_FRACTION_BITS & 0x7f);
	struct number a = number_from(sign, a_bits & ((1ull << HFP_FRACTION_BITS) - 1),
				      (characteristic - HFP_BIAS) * 4 - HFP_FRACTION_BITS);
	struct bfp_status st = { .mode = mode };
	bfp128 r = round_and_pack(f, &a, &st);

	*cc = a.class == ZERO ? 0 : st.raised & BFP_OVERFLOW ? 3 : sign ? 1 : 2;
	return r;
}
