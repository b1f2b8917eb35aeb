/* SPDX-License-Identifier: MIT */
/*
 * The short cut through the host's floating-point unit.
 *
 * When the guest rounds to nearest and inexact does not trap, a host with IEEE
 * arithmetic gives the same bits, as long as the result is a normal number (or
 * a zero that can only be exact): then no operand was a NaN or an infinity,
 * nothing overflowed and nothing was tiny. What remains is whether the
 * result is inexact. Mostly nobody needs to know, because the guest's inexact
 * flag is set already and stays set (`flagged`). Until then each function proves
 * cheaply that the result is exact, or declines: the exact arithmetic of bfp.h
 * then finds out and sets the flag. Declining is always right.
 *
 * The host is in its default mode, rounding to nearest, which nothing in the
 * program changes. Its exception flags are not looked at: reading them costs more.
 */
#ifndef ZVISOR_CPU_SOFT_BFP_FAST_H
#define ZVISOR_CPU_SOFT_BFP_FAST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if __FLT_EVAL_METHOD__ == 0
#define BFP_HAVE_FAST 1
#else
#define BFP_HAVE_FAST 0
#endif

#define BFP_FAST_INLINE static inline __attribute__((always_inline))

BFP_FAST_INLINE float bfp_float(uint32_t bits)
{
	float v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

BFP_FAST_INLINE double bfp_double(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

BFP_FAST_INLINE uint32_t bfp_float_bits(float v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

BFP_FAST_INLINE uint64_t bfp_double_bits(double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

/*
 * Normal, and not the smallest binade: a result there may have been tiny before
 * it was rounded.
 */
BFP_FAST_INLINE bool bfp_plain32(uint32_t bits)
{
	return (bits >> 23 & 0xff) - 2u < 0xfd;
}

BFP_FAST_INLINE bool bfp_plain64(uint64_t bits)
{
	return (bits >> 52 & 0x7ff) - 2u < 0x7fd;
}

/* How many bits from the leading one to the last one the significand has, at most. */
BFP_FAST_INLINE unsigned int bfp_length64(double v)
{
	return 53u - (unsigned int)__builtin_ctzll(bfp_double_bits(v) | 1ull << 52);
}

BFP_FAST_INLINE bool bfp_product_fits64(double a, double b)
{
	return bfp_length64(a) + bfp_length64(b) <= 53;
}

/* The rounding error of a sum is a number itself (Knuth's TwoSum): is it zero? */
#define BFP_SUM_EXACT(type, a, b, sum) ({ \
	type t_ = (sum) - (a); \
	type u_ = (sum) - t_; \
	type v_ = (b) - t_; \
	type w_ = (a) - u_; \
	v_ + w_ == 0; })

BFP_FAST_INLINE bool bfp_fast_add32(uint32_t a, uint32_t b, bool flagged, uint32_t *r)
{
	float x = bfp_float(a), y = bfp_float(b), sum = x + y;

	*r = bfp_float_bits(sum);
	return (bfp_plain32(*r) || sum == 0) && (flagged || BFP_SUM_EXACT(float, x, y, sum));
}

BFP_FAST_INLINE bool bfp_fast_add64(uint64_t a, uint64_t b, bool flagged, uint64_t *r)
{
	double x = bfp_double(a), y = bfp_double(b), sum = x + y;

	*r = bfp_double_bits(sum);
	return (bfp_plain64(*r) || sum == 0) && (flagged || BFP_SUM_EXACT(double, x, y, sum));
}

BFP_FAST_INLINE bool bfp_fast_multiply32(uint32_t a, uint32_t b, bool flagged, uint32_t *r)
{
	float x = bfp_float(a), y = bfp_float(b), product = x * y;

	*r = bfp_float_bits(product);
	if (bfp_plain32(*r))
		return flagged || (double)x * (double)y == (double)product;
	return product == 0 && (x == 0 || y == 0);
}

BFP_FAST_INLINE bool bfp_fast_multiply64(uint64_t a, uint64_t b, bool flagged, uint64_t *r)
{
	double x = bfp_double(a), y = bfp_double(b), product = x * y;

	*r = bfp_double_bits(product);
	if (bfp_plain64(*r))
		return flagged || bfp_product_fits64(x, y);
	return product == 0 && (x == 0 || y == 0);
}

/* Short by short gives long: always exact. */
BFP_FAST_INLINE bool bfp_fast_multiply32_to_64(uint32_t a, uint32_t b, uint64_t *r)
{
	double product = (double)bfp_float(a) * (double)bfp_float(b);

	*r = bfp_double_bits(product);
	return bfp_plain64(*r) || product == 0;
}

BFP_FAST_INLINE bool bfp_fast_divide32(uint32_t a, uint32_t b, bool flagged, uint32_t *r)
{
	float x = bfp_float(a), y = bfp_float(b), q = x / y;

	*r = bfp_float_bits(q);
	if (bfp_plain32(*r))
		return flagged || (double)q * (double)y == (double)x;
	return q == 0 && x == 0;
}

BFP_FAST_INLINE bool bfp_fast_divide64(uint64_t a, uint64_t b, bool flagged, uint64_t *r)
{
	double x = bfp_double(a), y = bfp_double(b), q = x / y;

	*r = bfp_double_bits(q);
	if (bfp_plain64(*r))
		return flagged || (bfp_product_fits64(q, y) && q * y == x);
	return q == 0 && x == 0;
}

BFP_FAST_INLINE bool bfp_fast_square_root32(uint32_t a, bool flagged, uint32_t *r)
{
#if defined(__x86_64__)
	float x = bfp_float(a);
	float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));

	*r = bfp_float_bits(root);
	return bfp_plain32(*r) && (flagged || (double)root * (double)root == (double)x);
#else
	return false;
#endif
}

BFP_FAST_INLINE bool bfp_fast_square_root64(uint64_t a, bool flagged, uint64_t *r)
{
#if defined(__x86_64__)
	__m128d x = _mm_set_sd(bfp_double(a));
	double root = _mm_cvtsd_f64(_mm_sqrt_sd(x, x));

	*r = bfp_double_bits(root);
	return bfp_plain64(*r) &&
	       (flagged || (bfp_product_fits64(root, root) && root * root == bfp_double(a)));
#else
	return false;
#endif
}

#if defined(__x86_64__)
__attribute__((target("fma")))
static inline double bfp_host_fma64(double a, double b, double c)
{
	return _mm_cvtsd_f64(_mm_fmadd_sd(_mm_set_sd(a), _mm_set_sd(b), _mm_set_sd(c)));
}
__attribute__((target("fma")))
static inline float bfp_host_fma32(float a, float b, float c)
{
	return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}
#define BFP_HAVE_FMA __builtin_cpu_supports("fma")
#else
#define bfp_host_fma64 __builtin_fma
#define bfp_host_fma32 __builtin_fmaf
#if defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
#define BFP_HAVE_FMA 1
#else
#define BFP_HAVE_FMA 0
#endif
#endif

/* a * b + c; whether that is exact takes too long to find out. */
BFP_FAST_INLINE bool bfp_fast_multiply_add32(uint32_t a, uint32_t b, uint32_t c, uint32_t *r)
{
	if (!BFP_HAVE_FMA)
		return false;
	*r = bfp_float_bits(bfp_host_fma32(bfp_float(a), bfp_float(b), bfp_float(c)));
	return bfp_plain32(*r);
}

BFP_FAST_INLINE bool bfp_fast_multiply_add64(uint64_t a, uint64_t b, uint64_t c, uint64_t *r)
{
	if (!BFP_HAVE_FMA)
		return false;
	*r = bfp_double_bits(bfp_host_fma64(bfp_double(a), bfp_double(b), bfp_double(c)));
	return bfp_plain64(*r);
}

/* Whatever the modes, unless it is a NaN. */
BFP_FAST_INLINE bool bfp_fast_lengthen(uint32_t a, uint64_t *r)
{
	float x = bfp_float(a);

	*r = bfp_double_bits((double)x);
	return x == x;
}

BFP_FAST_INLINE bool bfp_fast_round(uint64_t a, bool flagged, uint32_t *r)
{
	double x = bfp_double(a);
	float rounded = (float)x;

	*r = bfp_float_bits(rounded);
	return (bfp_plain32(*r) && (flagged || (double)rounded == x)) || x == 0;
}

/* Condition code of a comparison, or -1 when an operand is a NaN. */
#define BFP_FAST_COMPARE(a, b) ((a) == (b) ? 0 : (a) < (b) ? 1 : (a) > (b) ? 2 : -1)

#endif
