/* SPDX-License-Identifier: MIT */
/*
 * Binary floating-point arithmetic, exact and independent of the host's.
 *
 * Operands and results are the bits of a datum in one of three formats, in the
 * rightmost bits of a bfp128. An operation unpacks its operands into sign,
 * exponent and a significand of 128 bits, computes on integers, and rounds once.
 * What the architecture leaves to the instruction (which exceptions trap, which
 * flags remain) goes in and out through a struct bfp_status; there is no other
 * state.
 *
 * The rightmost bit of a 128-bit significand stands for itself and for
 * whatever is to the right of it ("jammed"). The longest format has 113
 * bits, so that rounding sees 14 bits more and whether anything lies below
 * them, which is all that any rounding method asks.
 *
 * Overflow and underflow are decided before it is known whether they trap,
 * tininess before rounding, as the architecture has it. When they trap, the
 * result is the precise one, rounded to the precision of the format, its
 * exponent wrapped by the format's scale factor.
 *
 * Source: Principles of Operation (SA22-7832), chapter 9 "Floating-Point
 * Overview and Support Instructions" (rounding, exceptions, scale factors), and
 * 19 "Binary-Floating-Point Instructions" (results of each operation).
 */
#ifndef ZVISOR_CPU_SOFT_BFP_BFP_H
#define ZVISOR_CPU_SOFT_BFP_BFP_H

#include <stdbool.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 bfp128;

struct bfp_format {
	uint8_t precision;    /* bits of the significand, the implied one included */
	uint8_t width;        /* bits of a datum */
	int16_t emax;         /* largest exponent; also the bias. The smallest is 1 - emax */
	int16_t scale;        /* wraps the exponent of a trapped overflow or underflow */
	int16_t rounded_scale; /* the same for LOAD ROUNDED from this format */
};

extern const struct bfp_format bfp_short;
extern const struct bfp_format bfp_long;
extern const struct bfp_format bfp_extended;

/* Rounding modes, numbered as in the FPC; the one that the FPC cannot name takes 4. */
enum bfp_mode {
	BFP_NEAREST_EVEN = 0,
	BFP_TOWARD_ZERO = 1,
	BFP_UP = 2,
	BFP_DOWN = 3,
	BFP_NEAREST_AWAY = 4,
	BFP_PREPARE_SHORTER = 7, /* to odd: a later rounding to fewer bits is then right */
};

/* Exceptions: mask bits as in FPC byte 0, flags as in byte 1, codes as a DXC has them. */
#define BFP_INVALID 0x80
#define BFP_DIVIDE_BY_ZERO 0x40
#define BFP_OVERFLOW 0x20
#define BFP_UNDERFLOW 0x10
#define BFP_INEXACT 0x08
#define BFP_INCREMENTED 0x04 /* inexact, and the magnitude was rounded up */

struct bfp_status {
	uint8_t mode;   /* enum bfp_mode */
	uint8_t trap;   /* exceptions that trap */
	uint8_t raised; /* out: exceptions recognized; add to it, clear it before */
};

/*
 * Arithmetic. A trap on an invalid operation or a division by zero suppresses
 * the instruction: then the value returned means nothing.
 */
bfp128 bfp_add(const struct bfp_format *, bfp128 a, bfp128 b, struct bfp_status *);
bfp128 bfp_subtract(const struct bfp_format *, bfp128 a, bfp128 b, struct bfp_status *);
/* The product may be wanted in a longer format than that of the operands. */
bfp128 bfp_multiply(const struct bfp_format *from, const struct bfp_format *to, bfp128 a, bfp128 b,
		    struct bfp_status *);
/* a * b + c, or a * b - c, rounded once. Short and long only. */
bfp128 bfp_multiply_add(const struct bfp_format *, bfp128 a, bfp128 b, bfp128 c, bool subtract,
			struct bfp_status *);
bfp128 bfp_divide(const struct bfp_format *, bfp128 a, bfp128 b, struct bfp_status *);
bfp128 bfp_square_root(const struct bfp_format *, bfp128 a, struct bfp_status *);

/*
 * Quotient and remainder of DIVIDE TO INTEGER. The quotient is rounded by
 * quotient_mode, the remainder by status->mode. Returns the condition code.
 * Short and long only.
 */
unsigned int bfp_divide_to_integer(const struct bfp_format *, bfp128 a, bfp128 b,
				   enum bfp_mode quotient_mode, bfp128 *quotient,
				   bfp128 *remainder, struct bfp_status *);

/*
 * To a longer format or a shorter one. When a conversion to a shorter format
 * traps for overflow or underflow, the result is in the format of the operand.
 */
bfp128 bfp_convert(const struct bfp_format *from, const struct bfp_format *to, bfp128 a,
		   struct bfp_status *);
bfp128 bfp_round_to_integer(const struct bfp_format *, bfp128 a, struct bfp_status *);
bfp128 bfp_from_integer(const struct bfp_format *, bool negative, uint64_t magnitude,
			struct bfp_status *);
/*
 * To a signed or unsigned integer of 32 or 64 bits, returned in the rightmost
 * bits; *cc is the condition code.
 */
uint64_t bfp_to_integer(const struct bfp_format *, bfp128 a, unsigned int bits, bool is_signed,
			unsigned int *cc, struct bfp_status *);

/* Condition code: 0 equal, 1 low, 2 high, 3 unordered. Signalling: any NaN is invalid. */
unsigned int bfp_compare(const struct bfp_format *, bfp128 a, bfp128 b, bool signalling,
			 struct bfp_status *);
/* The operand, made quiet (invalid operation) if it is a signalling NaN. */
bfp128 bfp_load_and_test(const struct bfp_format *, bfp128 a, struct bfp_status *);
/* Condition code that follows from a result: 0 zero, 1 negative, 2 positive, 3 NaN. */
unsigned int bfp_condition_code(const struct bfp_format *, bfp128 a);
/* One bit of the 12 that TEST DATA CLASS knows; 0x800 is plus zero, 1 a negative SNaN. */
unsigned int bfp_data_class(const struct bfp_format *, bfp128 a);

/* Hexadecimal floating point, long; no IEEE exceptions. *cc is the condition code. */
uint64_t bfp_to_hfp(const struct bfp_format *, bfp128 a, unsigned int *cc);
bfp128 bfp_from_hfp(const struct bfp_format *, uint64_t a, enum bfp_mode, unsigned int *cc);

#endif
