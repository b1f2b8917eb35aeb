/* SPDX-License-Identifier: MIT */
/*
 * Packed decimal numbers: two digits a byte, the sign in the right half of the
 * last byte, 1 to 16 bytes. Their 31 digits fit into 128 bits, so arithmetic is
 * done there; a negative zero exists and is kept apart by the sign.
 *
 * Source: Principles of Operation (SA22-7832), chapter 8 "Decimal Instructions",
 * "Decimal-Number Formats".
 */
#ifndef ZVISOR_CPU_SOFT_DECIMAL_H
#define ZVISOR_CPU_SOFT_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 decimal_magnitude;

struct decimal {
	decimal_magnitude magnitude;
	bool negative;
};

#define DECIMAL_MAX_BYTES 16
#define DECIMAL_PLUS 0xc  /* the sign codes that results get */
#define DECIMAL_MINUS 0xd

/* Of a sign code: A to F are valid, B and D are minus. */
static inline bool decimal_sign_valid(unsigned int code)
{
	return code >= 10;
}

static inline bool decimal_sign_minus(unsigned int code)
{
	return code == 0xb || code == 0xd;
}

/* 10 to the n-th, n at most 38. */
decimal_magnitude decimal_power(unsigned int n);

/* Digits that a field has room for. */
static inline unsigned int decimal_digits(size_t bytes)
{
	return (unsigned int)(2 * bytes - 1);
}

/* Are all digits of the field digits (the sign aside)? */
bool decimal_digits_valid(const uint8_t *field, size_t bytes);

/* Read a field of 1 to 16 bytes; false when a digit or the sign is invalid. */
bool decimal_read(struct decimal *, const uint8_t *field, size_t bytes);

/* Write the rightmost digits that the field has room for, with the preferred sign. */
void decimal_write(const struct decimal *, uint8_t *field, size_t bytes);

/* Does the field have too few digits for the number? */
static inline bool decimal_overflows(const struct decimal *d, size_t bytes)
{
	return d->magnitude >= decimal_power(decimal_digits(bytes));
}

/* a + b. The sign of a zero sum is plus. */
struct decimal decimal_add(struct decimal a, struct decimal b);

/* -1, 0, 1 as a is less than, equal to, greater than b. Both zeros are equal. */
int decimal_compare(const struct decimal *a, const struct decimal *b);

/*
 * Shift by -32 to 31 digits to the left within a field; to the right (negative)
 * with `rounding` added to the last digit shifted out. Returns whether nonzero
 * digits were lost on the left. A zero result becomes plus unless they were.
 */
bool decimal_shift(struct decimal *, size_t bytes, int left, unsigned int rounding);

#endif
