/* SPDX-License-Identifier: MIT */
/* Packed decimal numbers; see decimal.h. */
#include "cpu/soft/decimal.h"

decimal_magnitude decimal_power(unsigned int n)
{
	decimal_magnitude p = 1;

	while (n--)
		p *= 10;
	return p;
}

bool decimal_digits_valid(const uint8_t *field, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (field[i] >> 4 > 9)
			return false;
		if (i + 1 < bytes && (field[i] & 15) > 9)
			return false;
	}
	return true;
}

bool decimal_read(struct decimal *d, const uint8_t *field, size_t bytes)
{
	unsigned int sign = field[bytes - 1] & 15;
	decimal_magnitude v = 0;

	if (!decimal_sign_valid(sign) || !decimal_digits_valid(field, bytes))
		return false;
	for (size_t i = 0; i + 1 < bytes; i++)
		v = v * 100 + (field[i] >> 4) * 10u + (field[i] & 15u);
	d->magnitude = v * 10 + (field[bytes - 1] >> 4);
	d->negative = decimal_sign_minus(sign);
	return true;
}

void decimal_write(const struct decimal *d, uint8_t *field, size_t bytes)
{
	decimal_magnitude v = d->magnitude;

	field[bytes - 1] = (uint8_t)((unsigned int)(v % 10) << 4 |
				     (d->negative ? DECIMAL_MINUS : DECIMAL_PLUS));
	v /= 10;
	for (size_t i = bytes - 1; i-- > 0; v /= 100) {
		unsigned int pair = (unsigned int)(v % 100);

		field[i] = (uint8_t)(pair / 10 << 4 | pair % 10);
	}
}

struct decimal decimal_add(struct decimal a, struct decimal b)
{
	if (a.negative == b.negative) {
		a.magnitude += b.magnitude;
	} else if (a.magnitude >= b.magnitude) {
		a.magnitude -= b.magnitude;
	} else {
		b.magnitude -= a.magnitude;
		a = b;
	}
	if (!a.magnitude)
		a.negative = false;
	return a;
}

int decimal_compare(const struct decimal *a, const struct decimal *b)
{
	if (!a->magnitude && !b->magnitude)
		return 0;
	if (a->negative != b->negative)
		return a->negative ? -1 : 1;
	if (a->magnitude == b->magnitude)
		return 0;
	return (a->magnitude < b->magnitude) != a->negative ? -1 : 1;
}

bool decimal_shift(struct decimal *d, size_t bytes, int left, unsigned int rounding)
{
	unsigned int digits = decimal_digits(bytes);
	bool lost = false;

	if (left < 0) {
		d->magnitude /= decimal_power((unsigned int)-left - 1);
		d->magnitude = (d->magnitude + rounding) / 10;
	} else if ((unsigned int)left >= digits) {
		lost = d->magnitude && left;
		if (left)
			d->magnitude = 0;
	} else {
		decimal_magnitude kept = d->magnitude % decimal_power(digits - (unsigned int)left);

		lost = kept != d->magnitude;
		d->magnitude = kept * decimal_power((unsigned int)left);
	}
	if (!d->magnitude && !lost)
		d->negative = false;
	return lost;
}
