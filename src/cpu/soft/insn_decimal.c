/* SPDX-License-Identifier: MIT */
/*
 * Decimal arithmetic, conversions between packed, zoned, ASCII, Unicode and
 * binary numbers, editing.
 *
 * Operands are found, then fetched into copies, then checked, so that access
 * exceptions come before data exceptions and both before anything has changed.
 * The ones that check nothing (PACK, UNPK, MVO) work on storage itself, right to
 * left, because overlapping operands are allowed there.
 *
 * Source: Principles of Operation (SA22-7832), chapter 8 "Decimal Instructions";
 * chapter 7 for the conversions.
 */
#include "cpu/soft/decimal.h"
#include "cpu/soft/soft.h"

static void data_exception_if(struct vcpu *c, const struct op *o, bool condition)
{
	if (unlikely(condition))
		pgm_data(c, o, DXC_DECIMAL);
}

/* ---- Arithmetic: first operand l1 b1 d1, second l2 b2 d2, lengths of 4 bits ---- */

static size_t size1(const struct op *o)
{
	return o->l1 + 1u;
}

static size_t size2(const struct op *o)
{
	return o->l2 + 1u;
}

/* A number already found; data exception when it is none. */
static struct decimal fetch_decimal(struct vcpu *c, const struct op *o, const struct span *s,
				    size_t size)
{
	uint8_t field[DECIMAL_MAX_BYTES];
	struct decimal d;

	span_get(s, field);
	data_exception_if(c, o, !decimal_read(&d, field, size));
	return d;
}

static void store_decimal(struct vcpu *c, const struct span *s, size_t size, struct decimal d)
{
	uint8_t field[DECIMAL_MAX_BYTES];

	decimal_write(&d, field, size);
	span_put(c, s, field);
}

/* Condition code of a result; an overflow interrupts when the program mask says so. */
static void set_decimal_result(struct vcpu *c, const struct op *o, const struct decimal *d,
			       bool overflow)
{
	if (overflow) {
		set_cc(c, 3);
		if (c->s.psw_mask & PSW_PGM_DECIMAL)
			pgm_completed(c, o, PGM_DECIMAL_OVERFLOW);
		return;
	}
	set_cc(c, !d->magnitude ? 0 : d->negative ? 1 : 2);
}

static void add_decimal(struct vcpu *c, const struct op *o, bool subtract)
{
	struct decimal a, b;
	struct span s1, s2;

	span_write(c, o, ea1(c, o), o->b1, size1(o), &s1);
	span_read(c, o, ea2(c, o), o->b2, size2(o), &s2);
	a = fetch_decimal(c, o, &s1, size1(o));
	b = fetch_decimal(c, o, &s2, size2(o));
	b.negative ^= subtract;
	a = decimal_add(a, b);
	store_decimal(c, &s1, size1(o), a);
	set_decimal_result(c, o, &a, decimal_overflows(&a, size1(o)));
}

INSN(ap)
{
	add_decimal(c, o, false);
}

INSN(sp)
{
	add_decimal(c, o, true);
}

INSN(zap)
{
	struct span s1, s2;
	struct decimal d;
	bool overflow;

	span_write(c, o, ea1(c, o), o->b1, size1(o), &s1);
	span_read(c, o, ea2(c, o), o->b2, size2(o), &s2);
	d = fetch_decimal(c, o, &s2, size2(o));
	overflow = decimal_overflows(&d, size1(o));
	if (!d.magnitude)
		d.negative = false;
	store_decimal(c, &s1, size1(o), d);
	set_decimal_result(c, o, &d, overflow);
}

INSN(cp)
{
	struct decimal a, b;
	struct span s1, s2;

	span_read(c, o, ea1(c, o), o->b1, size1(o), &s1);
	span_read(c, o, ea2(c, o), o->b2, size2(o), &s2);
	a = fetch_decimal(c, o, &s1, size1(o));
	b = fetch_decimal(c, o, &s2, size2(o));
	set_cc_signed(c, decimal_compare(&a, &b), 0);
}

/* The second operand of MP and DP: at most 8 bytes, and shorter than the first. */
static void require_short_second(struct vcpu *c, const struct op *o)
{
	if (o->l2 > 7 || o->l2 >= o->l1)
		pgm(c, o, PGM_SPECIFICATION);
}

INSN(mp)
{
	struct decimal a, b;
	struct span s1, s2;

	require_short_second(c, o);
	span_write(c, o, ea1(c, o), o->b1, size1(o), &s1);
	span_read(c, o, ea2(c, o), o->b2, size2(o), &s2);
	a = fetch_decimal(c, o, &s1, size1(o));
	b = fetch_decimal(c, o, &s2, size2(o));
	/* The multiplicand has as many bytes of zeros as the multiplier has bytes. */
	data_exception_if(c, o, decimal_overflows(&a, size1(o) - size2(o)));
	a.magnitude *= b.magnitude;
	a.negative ^= b.negative;
	store_decimal(c, &s1, size1(o), a);
}

/* The quotient takes the left of the first operand, the remainder the size of the second. */
INSN(dp)
{
	size_t quotient_size = size1(o) - size2(o);
	uint8_t field[DECIMAL_MAX_BYTES];
	struct decimal a, b, quotient;
	struct span s1, s2;

	require_short_second(c, o);
	span_write(c, o, ea1(c, o), o->b1, size1(o), &s1);
	span_read(c, o, ea2(c, o), o->b2, size2(o), &s2);
	a = fetch_decimal(c, o, &s1, size1(o));
	b = fetch_decimal(c, o, &s2, size2(o));
	if (!b.magnitude)
		pgm(c, o, PGM_DECIMAL_DIVIDE);
	quotient.magnitude = a.magnitude / b.magnitude;
	quotient.negative = a.negative ^ b.negative;
	if (decimal_overflows(&quotient, quotient_size))
		pgm(c, o, PGM_DECIMAL_DIVIDE);
	a.magnitude %= b.magnitude;
	decimal_write(&quotient, field, quotient_size);
	decimal_write(&a, field + quotient_size, size2(o));
	span_put(c, &s1, field);
}

/* SHIFT AND ROUND DECIMAL: 6 bits of the second address, signed; the rounding digit is I3. */
INSN(srp)
{
	int left = (int)((ea2(c, o) & 63) ^ 32) - 32;
	unsigned int rounding = o->m3;
	struct decimal d;
	struct span s;
	bool overflow;

	span_write(c, o, ea1(c, o), o->b1, size1(o), &s);
	d = fetch_decimal(c, o, &s, size1(o));
	data_exception_if(c, o, rounding > 9);
	overflow = decimal_shift(&d, size1(o), left, rounding);
	store_decimal(c, &s, size1(o), d);
	set_decimal_result(c, o, &d, overflow);
}

INSN(tp)
{
	uint8_t field[DECIMAL_MAX_BYTES];
	struct span s;
	bool sign, digits;

	span_read(c, o, ea1(c, o), o->b1, size1(o), &s);
	span_get(&s, field);
	sign = decimal_sign_valid(field[size1(o) - 1] & 15);
	digits = decimal_digits_valid(field, size1(o));
	set_cc(c, (sign ? 0 : 1) | (digits ? 0 : 2));
}

/* ---- Binary ---- */

/* Minus the magnitude for a negative number, modulo 2 to the 64th. */
static uint64_t signed_binary(const struct decimal *d)
{
	uint64_t v = (uint64_t)d->magnitude;

	return d->negative ? -v : v;
}

static struct decimal load_decimal(struct vcpu *c, const struct op *o, size_t size)
{
	struct span s;

	span_read(c, o, ea2x(c, o), o->b2, size, &s);
	return fetch_decimal(c, o, &s, size);
}

/* A number too large for 32 bits leaves its right 32 bits, and interrupts. */
INSN(cvb)
{
	struct decimal d = load_decimal(c, o, 8);

	set_lo32(c, o->r1, (uint32_t)signed_binary(&d));
	if (d.magnitude > 0x7fffffffu + (unsigned int)d.negative)
		pgm_completed(c, o, PGM_FIXED_DIVIDE);
}

/* A number too large for 64 bits leaves the register alone. */
INSN(cvbg)
{
	struct decimal d = load_decimal(c, o, 16);

	if (d.magnitude > 0x7fffffffffffffffull + d.negative)
		pgm(c, o, PGM_FIXED_DIVIDE);
	c->s.gr[o->r1] = signed_binary(&d);
}

static void store_binary(struct vcpu *c, const struct op *o, int64_t v, size_t size)
{
	struct decimal d = { v < 0 ? -(uint64_t)v : (uint64_t)v, v < 0 };
	struct span s;

	span_write(c, o, ea2x(c, o), o->b2, size, &s);
	store_decimal(c, &s, size, d);
}

INSN(cvd)
{
	store_binary(c, o, (int32_t)lo32(c->s.gr[o->r1]), 8);
}

INSN(cvdg)
{
	store_binary(c, o, (int64_t)c->s.gr[o->r1], 16);
}

/* ---- Zoned and packed, unchecked ---- */

static uint8_t swap_halves(uint8_t v)
{
	return (uint8_t)(v << 4 | v >> 4);
}

/* A result byte is stored as soon as the bytes for it were fetched: operands may overlap. */
INSN(pack)
{
	size_t i = o->l1, j = o->l2;
	struct span to, from;

	span_read(c, o, ea2(c, o), o->b2, size2(o), &from);
	span_write(c, o, ea1(c, o), o->b1, size1(o), &to);
	shared_set_byte(span_at(&to, i), swap_halves(shared_byte(span_at(&from, j))));
	while (i--) {
		uint8_t v = 0;

		if (j)
			v = shared_byte(span_at(&from, --j)) & 15;
		if (j)
			v |= (uint8_t)(shared_byte(span_at(&from, --j)) << 4);
		shared_set_byte(span_at(&to, i), v);
	}
	span_written(c, &to);
}

/* Both digits of a byte come from one fetch of it, even when the first is stored over it. */
INSN(unpk)
{
	size_t i = o->l1, j = o->l2;
	struct span to, from;

	span_read(c, o, ea2(c, o), o->b2, size2(o), &from);
	span_write(c, o, ea1(c, o), o->b1, size1(o), &to);
	shared_set_byte(span_at(&to, i), swap_halves(shared_byte(span_at(&from, j))));
	while (i) {
		uint8_t v = j ? shared_byte(span_at(&from, --j)) : 0;

		shared_set_byte(span_at(&to, --i), 0xf0 | (v & 15));
		if (i)
			shared_set_byte(span_at(&to, --i), 0xf0 | v >> 4);
	}
	span_written(c, &to);
}

/* MOVE WITH OFFSET: the digits go to the left of the last half byte of the first operand. */
INSN(mvo)
{
	size_t i = o->l1, j = o->l2;
	struct span to, from;
	uint8_t right;

	span_read(c, o, ea2(c, o), o->b2, size2(o), &from);
	span_write(c, o, ea1(c, o), o->b1, size1(o), &to);
	right = shared_byte(span_at(&to, i)) & 15;
	for (bool more = true;;) {
		uint8_t v = more ? shared_byte(span_at(&from, j)) : 0;

		shared_set_byte(span_at(&to, i), (uint8_t)(v << 4 | right));
		if (!i--)
			break;
		right = v >> 4;
		more = more && j--;
	}
	span_written(c, &to);
}

/* ---- ASCII and Unicode: 31 digits, 16 bytes packed ---- */

/* Characters of `width` bytes with the digit in the last four bits; plus. */
static void pack_characters(struct vcpu *c, const struct op *o, size_t size, unsigned int width)
{
	size_t count = size / width;
	uint8_t characters[64], field[DECIMAL_MAX_BYTES] = { 0 };
	struct span to, from;

	span_read(c, o, ea2(c, o), o->b2, size, &from);
	span_write(c, o, ea1(c, o), o->b1, sizeof(field), &to);
	span_get(&from, characters);
	field[15] = DECIMAL_PLUS;
	/* Half byte i from the right; a 32nd digit is ignored. */
	for (size_t i = 1; i <= count && i < 32; i++) {
		uint8_t digit = characters[(count + 1 - i) * width - 1] & 15;

		field[15 - i / 2] |= (uint8_t)(i & 1 ? digit << 4 : digit);
	}
	span_put(c, &to, field);
}

INSN(pka)
{
	if (o->l2 > 31)
		pgm(c, o, PGM_SPECIFICATION);
	pack_characters(c, o, size2(o), 1);
}

INSN(pku)
{
	if (o->l2 > 63 || !(o->l2 & 1))
		pgm(c, o, PGM_SPECIFICATION);
	pack_characters(c, o, size2(o), 2);
}

static void unpack_characters(struct vcpu *c, const struct op *o, unsigned int width)
{
	size_t size = size1(o), count = size / width;
	uint8_t characters[64] = { 0 }, field[DECIMAL_MAX_BYTES];
	unsigned int sign;
	struct span to, from;

	span_read(c, o, ea2(c, o), o->b2, sizeof(field), &from);
	span_write(c, o, ea1(c, o), o->b1, size, &to);
	span_get(&from, field);
	sign = field[15] & 15;
	for (size_t i = 1; i <= count; i++) {
		uint8_t digit = 0;

		if (i < 32)
			digit = i & 1 ? field[15 - i / 2] >> 4 : field[15 - i / 2] & 15;
		characters[(count + 1 - i) * width - 1] = 0x30 | digit;
	}
	span_put(c, &to, characters);
	set_cc(c, !decimal_sign_valid(sign) ? 3 : decimal_sign_minus(sign) ? 1 : 0);
}

INSN(unpka)
{
	if (o->l1 > 31)
		pgm(c, o, PGM_SPECIFICATION);
	unpack_characters(c, o, 1);
}

INSN(unpku)
{
	if (o->l1 > 63 || !(o->l1 & 1))
		pgm(c, o, PGM_SPECIFICATION);
	unpack_characters(c, o, 2);
}

/* ---- Editing ---- */

#define EDIT_DIGIT_SELECTOR 0x20
#define EDIT_SIGNIFICANCE_STARTER 0x21
#define EDIT_FIELD_SEPARATOR 0x22

/*
 * Edit the digits of the second operand into the pattern that is the first. For
 * EDMK *mark gets the index of the last digit that turned significance on.
 */
static void edit(struct vcpu *c, const struct op *o, int *mark)
{
	size_t size = o->l1 + 1u;
	uint64_t source = ea2(c, o);
	uint8_t pattern[256], fill, rest = 0;
	bool significant = false, nonzero = false, have_rest = false;
	struct span s;

	*mark = -1;
	span_write(c, o, ea1(c, o), o->b1, size, &s);
	span_get(&s, pattern);
	fill = pattern[0];
	for (size_t i = 0; i < size; i++) {
		uint8_t byte = pattern[i], digit;
		bool plus = false;

		if (byte == EDIT_FIELD_SEPARATOR) {
			significant = false;
			nonzero = false;
			pattern[i] = fill;
			continue;
		}
		if (byte != EDIT_DIGIT_SELECTOR && byte != EDIT_SIGNIFICANCE_STARTER) {
			if (!significant)
				pattern[i] = fill;
			continue;
		}
		if (have_rest) {
			digit = rest;
			have_rest = false;
		} else {
			uint8_t v = ld8(c, o, source, o->b2);

			source = (source + 1) & c->addr_mask;
			digit = v >> 4;
			data_exception_if(c, o, digit > 9);
			rest = v & 15;
			have_rest = rest <= 9;
			plus = !have_rest && !decimal_sign_minus(rest);
		}
		if (digit && !significant)
			*mark = (int)i;
		pattern[i] = digit || significant ? 0xf0 | digit : fill;
		significant |= digit || byte == EDIT_SIGNIFICANCE_STARTER;
		nonzero |= digit != 0;
		if (plus)
			significant = false;
	}
	span_put(c, &s, pattern);
	set_cc(c, !nonzero ? 0 : significant ? 1 : 2);
}

INSN(ed)
{
	int mark;

	edit(c, o, &mark);
}

/* EDIT AND MARK: GR1 gets the address of the first significant result byte. */
INSN(edmk)
{
	uint64_t address = ea1(c, o);
	int mark;

	edit(c, o, &mark);
	if (mark < 0)
		return;
	address = (address + (unsigned int)mark) & c->addr_mask;
	if (c->addr_mask == 0xffffff)
		c->s.gr[1] = (c->s.gr[1] & ~0xffffffull) | address;
	else
		set_gr_address(c, 1, address);
}
