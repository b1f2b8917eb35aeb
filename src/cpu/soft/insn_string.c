/* SPDX-License-Identifier: MIT */
/*
 * Instructions on storage operands: move, compare, combine, search, checksum,
 * and registers loaded and stored by the several.
 *
 * Three kinds, by what happens when there is much to do:
 *  - short ones (up to 256 bytes, or 64 registers' worth): all of the operands is found first, so
 *    that any access exception comes before anything has changed;
 *  - MVCL and CLCL are interruptible: between two units of operation, which end
 *    at page boundaries, the registers tell how far it got, and the instruction
 *    is repeated;
 *  - the rest do one unit and set condition code 3, upon which the program
 *    branches back. CLST, MVST, SRST and SRSTU do at least 256 bytes, because
 *    programs may count on that.
 * In the compares and searches a unit stops at a page boundary, so that a page
 * behind the byte that decides is never touched.
 *
 * Source: Principles of Operation (SA22-7832), chapter 7 "General Instructions";
 * chapter 5 "Interruptible Instructions", "Storage-Operand Consistency".
 */
#include "cpu/soft/complex.h"
#include "cpu/soft/operand.h"

#define UNIT 4096u /* bytes, the most that a span holds */
#define STRING_MINIMUM 256 /* bytes that the string instructions do before they set CC 3 */

/* ---- Copying ---- */

/* 0 <= to - from < size: what has been stored is fetched again. */
void copy_overlapping(uint8_t *to, const uint8_t *from, size_t size)
{
	size_t distance = (size_t)(to - from);

	if (distance == 0)
		return;
	if (distance == 1) {
		shared_fill(to, shared_byte(from), size);
		return;
	}
	for (; distance >= 16 && size >= 16; size -= 16, to += 16, from += 16)
		OPERAND_COPY(operand_chunk, to, from);
	for (; distance >= 8 && size >= 8; size -= 8, to += 8, from += 8)
		OPERAND_COPY(struct access_64, to, from);
	for (; size; size--)
		OPERAND_COPY(uint8_t, to++, from++);
}

/* Bytes from offset i to the end of the part that it lies in. */
static size_t span_left(const struct span *s, size_t i)
{
	return i < s->length[0] ? s->length[0] - i : s->length[0] + s->length[1] - i;
}

void copy_spans(const struct span *to, const struct span *from, size_t size)
{
	for (size_t i = 0, n; i < size; i += n) {
		n = MIN(size - i, MIN(span_left(to, i), span_left(from, i)));
		copy_bytes(span_at(to, i), span_at(from, i), n);
	}
}

void fill_span(const struct span *s, uint8_t value, size_t size)
{
	size_t first = MIN(size, s->length[0]);

	shared_fill(s->part[0], value, first);
	if (size > first)
		shared_fill(s->part[1], value, size - first);
}

static NOINLINE_ void move_slow(struct vcpu *c, const struct op *o, uint64_t to, uint64_t from,
				size_t size)
{
	struct span d, s;

	span_read(c, o, from, o->b2, size, &s);
	span_write(c, o, to, o->b1, size, &d);
	copy_spans(&d, &s, size);
	span_written(c, &d);
}

INSN_FAST(mvc)
{
	uint64_t to = ea1(c, o), from = ea2(c, o);
	size_t size = o->l1 + 1u;
	const struct tlb_entry *d = tlb_writable(c, to, size), *s = tlb_readable(c, from, size);

	if (unlikely(!d || !s)) {
		move_slow(c, o, to, from, size);
		return;
	}
	copy_bytes(tlb_host(d, to), tlb_host(s, from), size);
	tlb_written(c, o, d, to, size);
}

/* MOVE INVERSE: the second operand is named by its rightmost byte. */
INSN(mvcin)
{
	size_t size = o->l1 + 1u;
	struct span d, s;

	span_read(c, o, (ea2(c, o) - o->l1) & c->addr_mask, o->b2, size, &s);
	span_write(c, o, ea1(c, o), o->b1, size, &d);
	for (size_t i = 0; i < size; i++)
		shared_set_byte(span_at(&d, i), shared_byte(span_at(&s, size - 1 - i)));
	span_written(c, &d);
}

/* MOVE NUMERICS and MOVE ZONES replace the bits of `mask` in each byte. */
static void move_masked(struct vcpu *c, const struct op *o, uint8_t mask)
{
	size_t size = o->l1 + 1u;
	struct span d, s;

	span_read(c, o, ea2(c, o), o->b2, size, &s);
	span_write(c, o, ea1(c, o), o->b1, size, &d);
	for (size_t i = 0; i < size; i++) {
		uint8_t *to = span_at(&d, i);

		shared_set_byte(to, (uint8_t)((shared_byte(to) & ~mask) |
					      (shared_byte(span_at(&s, i)) & mask)));
	}
	span_written(c, &d);
}

INSN(mvn)
{
	move_masked(c, o, 0x0f);
}

INSN(mvz)
{
	move_masked(c, o, 0xf0);
}

/* ---- AND, OR, EXCLUSIVE OR of storage with storage ---- */

enum combine { COMBINE_AND, COMBINE_OR, COMBINE_XOR };

static inline uint64_t combine(enum combine how, uint64_t a, uint64_t b)
{
	return how == COMBINE_AND ? a & b : how == COMBINE_OR ? a | b : a ^ b;
}

#define COMBINE_STEP(type, bytes) \
	do { \
		uint64_t result_ = combine(how, ACCESS_LOAD(type, to), ACCESS_LOAD(type, from)); \
		ACCESS_STORE(type, to, (uint##type##_t)result_); \
		any |= result_; \
		to += bytes; \
		from += bytes; \
	} while (0)

/* Returns 0 when all bytes of the result are zero. */
static inline uint64_t combine_bytes(enum combine how, uint8_t *to, const uint8_t *from,
				     size_t size)
{
	size_t distance = (size_t)((uintptr_t)to - (uintptr_t)from);
	uint64_t any = 0;

	/* Distance 0, an operand with itself, needs no order. */
	if (unlikely(distance - 1 < 7)) {
		while (size--)
			COMBINE_STEP(8, 1);
		return any;
	}
	for (; size >= 8; size -= 8)
		COMBINE_STEP(64, 8);
	if (size & 4)
		COMBINE_STEP(32, 4);
	if (size & 2)
		COMBINE_STEP(16, 2);
	if (size & 1)
		COMBINE_STEP(8, 1);
	return any;
}

static NOINLINE_ void combine_slow(struct vcpu *c, const struct op *o, enum combine how)
{
	size_t size = o->l1 + 1u;
	struct span d, s;
	uint64_t any = 0;

	span_read(c, o, ea2(c, o), o->b2, size, &s);
	span_write(c, o, ea1(c, o), o->b1, size, &d);
	for (size_t i = 0, n; i < size; i += n) {
		n = MIN(size - i, MIN(span_left(&d, i), span_left(&s, i)));
		any |= combine_bytes(how, span_at(&d, i), span_at(&s, i), n);
	}
	span_written(c, &d);
	set_cc_nonzero(c, any);
}

static inline __attribute__((always_inline)) void combine_operands(struct vcpu *c,
								    const struct op *o,
								    enum combine how)
{
	uint64_t to = ea1(c, o), from = ea2(c, o);
	size_t size = o->l1 + 1u;
	const struct tlb_entry *d = tlb_writable(c, to, size), *s = tlb_readable(c, from, size);

	if (unlikely(!d || !s)) {
		combine_slow(c, o, how);
		return;
	}
	set_cc_nonzero(c, combine_bytes(how, tlb_host(d, to), tlb_host(s, from), size));
	tlb_written(c, o, d, to, size);
}

INSN(nc)
{
	combine_operands(c, o, COMBINE_AND);
}

INSN(oc)
{
	combine_operands(c, o, COMBINE_OR);
}

INSN(xc)
{
	uint64_t to = ea1(c, o);
	size_t size = o->l1 + 1u;
	const struct tlb_entry *d;

	/* A field with itself is how programs clear it. */
	if (to == ea2(c, o) && (d = tlb_writable(c, to, size))) {
		shared_fill(tlb_host(d, to), 0, size);
		tlb_written(c, o, d, to, size);
		set_cc(c, 0);
		return;
	}
	combine_operands(c, o, COMBINE_XOR);
}

/* ---- Comparing ---- */

static NOINLINE_ void compare_slow(struct vcpu *c, const struct op *o, size_t size)
{
	struct span a, b;

	span_read(c, o, ea1(c, o), o->b1, size, &a);
	span_read(c, o, ea2(c, o), o->b2, size, &b);
	for (size_t i = 0, n; i < size; i += n) {
		const uint8_t *p = span_at(&a, i), *q = span_at(&b, i);
		size_t at;

		n = MIN(size - i, MIN(span_left(&a, i), span_left(&b, i)));
		at = first_difference(p, q, n);
		if (at < n) {
			set_cc_unsigned(c, shared_byte(p + at), shared_byte(q + at));
			return;
		}
	}
	set_cc(c, 0);
}

INSN_FAST(clc)
{
	uint64_t first = ea1(c, o), second = ea2(c, o);
	size_t size = o->l1 + 1u;
	const struct tlb_entry *e = tlb_readable(c, first, size), *f = tlb_readable(c, second, size);
	const uint8_t *a, *b;

	if (unlikely(!e || !f)) {
		compare_slow(c, o, size);
		return;
	}
	a = tlb_host(e, first);
	b = tlb_host(f, second);
	for (; size >= 8; size -= 8, a += 8, b += 8) {
		uint64_t x = ACCESS_SWAP_64(ACCESS_LOAD(64, a)), y = ACCESS_SWAP_64(ACCESS_LOAD(64, b));

		if (x != y) {
			set_cc_unsigned(c, x, y);
			return;
		}
	}
	if (size & 4) {
		uint32_t x = ACCESS_SWAP_32(ACCESS_LOAD(32, a)), y = ACCESS_SWAP_32(ACCESS_LOAD(32, b));

		if (x != y) {
			set_cc_unsigned(c, x, y);
			return;
		}
		a += 4;
		b += 4;
	}
	for (size &= 3; size > 1 && shared_byte(a) == shared_byte(b); size--) {
		a++;
		b++;
	}
	if (size)
		set_cc_unsigned(c, shared_byte(a), shared_byte(b));
	else
		set_cc(c, 0);
}

/* Index of the first byte that is not the padding (2 bytes repeated, from the first on), or size. */
static size_t first_unlike(const uint8_t *p, uint16_t padding, size_t size)
{
	size_t i = 0;

	for (; i + 8 <= size; i += 8)
		if (host_load64(p + i) != padding * 0x0001000100010001ull)
			break;
	while (i < size && shared_byte(p + i) == (uint8_t)(padding >> (i & 1 ? 0 : 8)))
		i++;
	return i;
}

/* One side of the long compares and moves: what is left of an operand. */
struct rest {
	uint64_t address, length;
	unsigned int r; /* register pair, and access register */
};

static void rest_advance(const struct vcpu *c, struct rest *a, uint64_t n)
{
	a->address = (a->address + n) & c->addr_mask;
	a->length -= n;
}

/* A unit of a compare that touches no second page. */
static size_t compare_unit(const struct rest *a, const struct rest *b)
{
	uint64_t n = UNIT;

	if (a->length && b->length)
		n = MIN(a->length, b->length);
	else
		n = a->length | b->length;
	if (a->length)
		n = MIN(n, page_left(a->address));
	if (b->length)
		n = MIN(n, page_left(b->address));
	return (size_t)n;
}

/*
 * Compare one unit of bytes, the shorter operand extended with the padding;
 * not both are empty. Goes to the first difference or to the end of the unit.
 * Returns the condition code of a difference, or 0.
 */
static unsigned int compare_rest(struct vcpu *c, const struct op *o, struct rest *a, struct rest *b,
				 uint16_t padding, size_t n)
{
	const uint8_t *p = NULL, *q = NULL;
	unsigned int cc = 0;
	uint8_t x, y;
	size_t at;

	if (a->length)
		p = page_read(c, o, a->address, a->r, n);
	if (b->length)
		q = page_read(c, o, b->address, b->r, n);
	if (p && q)
		at = first_difference(p, q, n);
	else
		at = first_unlike(p ? p : q, padding, n);
	if (at < n) {
		uint8_t pad = (uint8_t)(padding >> (at & 1 ? 0 : 8));

		x = p ? shared_byte(p + at) : pad;
		y = q ? shared_byte(q + at) : pad;
		cc = x < y ? 1 : 2;
	}
	if (p)
		rest_advance(c, a, at);
	if (q)
		rest_advance(c, b, at);
	return cc;
}

/* COMPARE LOGICAL LONG: 24-bit lengths; the padding is in bits 32-39 of R2 + 1. */
INSN_JUMP(clcl)
{
	struct rest a = { gr_address(c, o->r1), c->s.gr[o->r1 + 1] & 0xffffff, o->r1 };
	struct rest b = { gr_address(c, o->r2), c->s.gr[o->r2 + 1] & 0xffffff, o->r2 };
	uint16_t padding = (uint16_t)((c->s.gr[o->r2 + 1] >> 24 & 0xff) * 0x101);
	unsigned int cc = 0;
	bool unfinished;

	require_even(c, o, o->r1 | o->r2);
	do {
		unfinished = false;
		if (a.length || b.length) {
			cc = compare_rest(c, o, &a, &b, padding, compare_unit(&a, &b));
			unfinished = !cc && (a.length || b.length);
		}
		set_gr_address(c, o->r1, a.address);
		set_gr_address(c, o->r2, b.address);
		set_lo32(c, o->r1 + 1, (lo32(c->s.gr[o->r1 + 1]) & 0xff000000) | (uint32_t)a.length);
		set_lo32(c, o->r2 + 1, (lo32(c->s.gr[o->r2 + 1]) & 0xff000000) | (uint32_t)b.length);
	} while (unfinished && !interruption_wanted(c));
	if (unfinished)
		return repeat(c, o);
	set_cc(c, cc);
	return o + 1;
}

static void rest_put(struct vcpu *c, const struct rest *a)
{
	set_gr_address(c, a->r, a->address);
	set_gr_length(c, a->r + 1, a->length);
}

/* COMPARE LOGICAL LONG EXTENDED: lengths as wide as addresses, condition code 3. */
INSN(clcle)
{
	struct rest a = { gr_address(c, o->r1), gr_length(c, o->r1 + 1u), o->r1 };
	struct rest b = { gr_address(c, o->r3), gr_length(c, o->r3 + 1u), o->r3 };
	uint16_t padding = (uint16_t)((ea2(c, o) & 0xff) * 0x101);
	unsigned int cc = 0;

	require_even(c, o, o->r1 | o->r3);
	if (a.length || b.length) {
		cc = compare_rest(c, o, &a, &b, padding, compare_unit(&a, &b));
		if (!cc && (a.length || b.length))
			cc = 3;
	}
	rest_put(c, &a);
	rest_put(c, &b);
	set_cc(c, cc);
}

/* COMPARE LOGICAL LONG UNICODE: the same on characters of two bytes. */
INSN(clclu)
{
	struct rest a = { gr_address(c, o->r1), gr_length(c, o->r1 + 1u), o->r1 };
	struct rest b = { gr_address(c, o->r3), gr_length(c, o->r3 + 1u), o->r3 };
	uint16_t padding = (uint16_t)ea2(c, o);
	unsigned int cc = 0;

	require_even(c, o, o->r1 | o->r3);
	if ((a.length | b.length) & 1)
		pgm(c, o, PGM_SPECIFICATION);
	if (a.length || b.length) {
		size_t n = compare_unit(&a, &b) & ~1ull;

		if (n) {
			struct rest from_a = a, from_b = b;

			cc = compare_rest(c, o, &a, &b, padding, n);
			/* Stop at the character, not at the byte, that differs. */
			if (cc && ((a.address ^ from_a.address) & 1))
				rest_advance(c, &a, ~0ull);
			if (cc && ((b.address ^ from_b.address) & 1))
				rest_advance(c, &b, ~0ull);
		} else {
			uint16_t x = a.length ? ld16(c, o, a.address, a.r) : padding;
			uint16_t y = b.length ? ld16(c, o, b.address, b.r) : padding;

			cc = x == y ? 0 : x < y ? 1 : 2;
			if (!cc && a.length)
				rest_advance(c, &a, 2);
			if (!cc && b.length)
				rest_advance(c, &b, 2);
		}
		if (!cc && (a.length || b.length))
			cc = 3;
	}
	rest_put(c, &a);
	rest_put(c, &b);
	set_cc(c, cc);
}

/* ---- Long moves ---- */

/*
 * Move one unit, or pad when nothing is left of the source. A unit ends at a
 * page boundary of the destination, so that it is aligned from then on.
 */
static void move_rest(struct vcpu *c, const struct op *o, struct rest *to, struct rest *from,
		      uint8_t padding)
{
	size_t n = (size_t)MIN(to->length, page_left(to->address));
	struct span d, s;

	if (from->length) {
		n = (size_t)MIN(n, from->length);
		span_read(c, o, from->address, from->r, n, &s);
		span_write(c, o, to->address, to->r, n, &d);
		copy_spans(&d, &s, n);
		rest_advance(c, from, n);
	} else {
		span_write(c, o, to->address, to->r, n, &d);
		fill_span(&d, padding, n);
	}
	span_written(c, &d);
	rest_advance(c, to, n);
}

static unsigned int compare_lengths(uint64_t a, uint64_t b)
{
	return a == b ? 0 : a < b ? 1 : 2;
}

/*
 * Would a byte of the second operand be fetched after it was stored into? Access
 * registers that differ are taken for different spaces.
 */
static bool overlap_destructively(const struct vcpu *c, const struct rest *to,
				  const struct rest *from)
{
	uint64_t n = MIN(to->length, from->length);

	if ((c->s.psw_mask & PSW_ASC) == PSW_ASC_AR &&
	    (to->r ? c->s.ar[to->r] : 0) != (from->r ? c->s.ar[from->r] : 0))
		return false;
	return n > 1 && ((to->address - from->address) & c->addr_mask) - 1 < n - 1;
}

INSN_JUMP(mvcl)
{
	struct rest to = { gr_address(c, o->r1), c->s.gr[o->r1 + 1] & 0xffffff, o->r1 };
	struct rest from = { gr_address(c, o->r2), c->s.gr[o->r2 + 1] & 0xffffff, o->r2 };
	uint8_t padding = (uint8_t)(c->s.gr[o->r2 + 1] >> 24);
	unsigned int cc = compare_lengths(to.length, from.length);

	require_even(c, o, o->r1 | o->r2);
	if (overlap_destructively(c, &to, &from)) {
		set_gr_address(c, o->r1, to.address);
		set_gr_address(c, o->r2, from.address);
		set_cc(c, 3);
		return o + 1;
	}
	do {
		if (to.length)
			move_rest(c, o, &to, &from, padding);
		set_gr_address(c, o->r1, to.address);
		set_gr_address(c, o->r2, from.address);
		set_lo32(c, o->r1 + 1, (lo32(c->s.gr[o->r1 + 1]) & 0xff000000) | (uint32_t)to.length);
		set_lo32(c, o->r2 + 1,
			 (lo32(c->s.gr[o->r2 + 1]) & 0xff000000) | (uint32_t)from.length);
	} while (to.length && !interruption_wanted(c));
	if (to.length)
		return repeat(c, o);
	set_cc(c, cc);
	return o + 1;
}

INSN(mvcle)
{
	struct rest to = { gr_address(c, o->r1), gr_length(c, o->r1 + 1u), o->r1 };
	struct rest from = { gr_address(c, o->r3), gr_length(c, o->r3 + 1u), o->r3 };
	unsigned int cc = compare_lengths(to.length, from.length);

	require_even(c, o, o->r1 | o->r3);
	if (to.length)
		move_rest(c, o, &to, &from, (uint8_t)ea2(c, o));
	rest_put(c, &to);
	rest_put(c, &from);
	set_cc(c, to.length ? 3 : cc);
}

/* MOVE LONG UNICODE: the padding has two bytes; a character may lie across pages. */
INSN(mvclu)
{
	struct rest to = { gr_address(c, o->r1), gr_length(c, o->r1 + 1u), o->r1 };
	struct rest from = { gr_address(c, o->r3), gr_length(c, o->r3 + 1u), o->r3 };
	unsigned int cc = compare_lengths(to.length, from.length);
	uint16_t padding = (uint16_t)ea2(c, o);
	struct span d, s;

	require_even(c, o, o->r1 | o->r3);
	if ((to.length | from.length) & 1)
		pgm(c, o, PGM_SPECIFICATION);
	if (to.length) {
		size_t n = (size_t)MIN(to.length, UNIT);

		if (from.length) {
			n = (size_t)MIN(n, from.length);
			span_read(c, o, from.address, from.r, n, &s);
			span_write(c, o, to.address, to.r, n, &d);
			copy_spans(&d, &s, n);
			rest_advance(c, &from, n);
		} else {
			span_write(c, o, to.address, to.r, n, &d);
			for (size_t i = 0; i < n; i++)
				shared_set_byte(span_at(&d, i),
						(uint8_t)(padding >> (i & 1 ? 0 : 8)));
		}
		span_written(c, &d);
		rest_advance(c, &to, n);
	}
	rest_put(c, &to);
	rest_put(c, &from);
	set_cc(c, to.length ? 3 : cc);
}

/* ---- MOVE PAGE ---- */

#define MVPG_RESERVED 0xf000
#define MVPG_KEY_FOR_FIRST 0x0800
#define MVPG_KEY_FOR_SECOND 0x0400
#define MVPG_CC_OPTION 0x0100 /* say by condition code that a page is invalid */
#define MVPG_KEY 0x00f0

/* Find a page, with an access key other than the PSW's if `own_key`. Returns the exception. */
static enum pgm_code find_page(struct vcpu *c, const struct op *o, uint64_t address,
			       unsigned int ar, enum access access, bool own_key, struct span *s)
{
	uint64_t mask = c->s.psw_mask, key = lo32(c->s.gr[0]) & MVPG_KEY;
	sigjmp_buf *outer = c->escape, escape;
	enum pgm_code code;

	if (own_key) {
		c->s.psw_mask = (mask & ~PSW_KEY) | key >> 4 << PSW_KEY_SHIFT;
		mmu_update_space(c);
	}
	c->escape = &escape;
	if (!sigsetjmp(escape, 0)) {
		if (access == ACCESS_WRITE)
			span_write(c, o, address & PAGE_MASK, ar, PAGE_SIZE, s);
		else
			span_read(c, o, address & PAGE_MASK, ar, PAGE_SIZE, s);
		code = PGM_NONE;
	} else {
		code = c->pgm_code;
		c->pgm_code = 0;
	}
	c->escape = outer;
	if (own_key) {
		c->s.psw_mask = mask;
		mmu_update_space(c);
	}
	return code;
}

INSN(mvpg)
{
	uint32_t control = lo32(c->s.gr[0]);
	bool key_first = control & MVPG_KEY_FOR_FIRST, key_second = control & MVPG_KEY_FOR_SECOND;
	unsigned int key = (control & MVPG_KEY) >> 4;
	enum pgm_code code;
	struct span d, s;

	if ((control & MVPG_RESERVED) || (key_first && key_second))
		pgm(c, o, PGM_SPECIFICATION);
	/* A program may use the keys that the key mask in CR3 grants. */
	if ((key_first || key_second) && (c->s.psw_mask & PSW_PROBLEM) &&
	    !(c->s.cr[3] & BIT64(32 + key)))
		pgm(c, o, PGM_PRIVILEGED);

	code = find_page(c, o, gr_address(c, o->r2), o->r2, ACCESS_READ, key_second, &s);
	if (code == PGM_PAGE_TRANSLATION && (control & MVPG_CC_OPTION)) {
		set_cc(c, 2);
		return;
	}
	if (code)
		pgm(c, o, code);
	code = find_page(c, o, gr_address(c, o->r1), o->r1, ACCESS_WRITE, key_first, &d);
	if (code == PGM_PAGE_TRANSLATION && (control & MVPG_CC_OPTION)) {
		set_cc(c, 1);
		return;
	}
	if (code)
		pgm(c, o, code);
	copy_spans(&d, &s, PAGE_SIZE);
	span_written(c, &d);
	set_cc(c, 0);
}

/* ---- Strings that end with the character in general register 0 ---- */

static uint8_t ending_character(struct vcpu *c, const struct op *o)
{
	if (lo32(c->s.gr[0]) & 0xffffff00)
		pgm(c, o, PGM_SPECIFICATION);
	return (uint8_t)c->s.gr[0];
}

/* A byte of x is zero: its bit 0 is set in the result, as is none to the left of it. */
static inline uint64_t zero_byte(uint64_t x)
{
	return (x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull;
}

/* Index of the first byte at which a and b differ or that ends a string, or size. */
static size_t string_decides(const uint8_t *a, const uint8_t *b, uint8_t ending, size_t size)
{
	uint64_t pattern = ending * 0x0101010101010101ull;
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t x = host_load64(a + i);

		if (x != host_load64(b + i) || zero_byte(x ^ pattern))
			break;
	}
	for (; i < size; i++) {
		uint8_t x = shared_byte(a + i);

		if (x != shared_byte(b + i) || x == ending)
			break;
	}
	return i;
}

INSN(clst)
{
	uint8_t ending = ending_character(c, o);
	uint64_t first = gr_address(c, o->r1), second = gr_address(c, o->r2);
	size_t done = 0;

	while (done < STRING_MINIMUM) {
		size_t n = MIN(page_left(first), page_left(second)), at;
		const uint8_t *a = page_read(c, o, first, o->r1, n);
		const uint8_t *b = page_read(c, o, second, o->r2, n);
		uint8_t x, y;

		at = string_decides(a, b, ending, n);
		first = (first + at) & c->addr_mask;
		second = (second + at) & c->addr_mask;
		done += at;
		if (at == n)
			continue;
		x = shared_byte(a + at);
		y = shared_byte(b + at);
		if (x == y) {
			set_cc(c, 0);
			return;
		}
		set_gr_address(c, o->r1, first);
		set_gr_address(c, o->r2, second);
		set_cc(c, x == ending ? 1 : y == ending ? 2 : x < y ? 1 : 2);
		return;
	}
	set_gr_address(c, o->r1, first);
	set_gr_address(c, o->r2, second);
	set_cc(c, 3);
}

INSN(srst)
{
	uint8_t character = ending_character(c, o);
	uint64_t at = gr_address(c, o->r2);
	uint64_t left = (gr_address(c, o->r1) - at) & c->addr_mask;
	size_t done = 0;

	while (left && done < STRING_MINIMUM) {
		size_t n = (size_t)MIN(left, page_left(at));
		const uint8_t *p = page_read(c, o, at, o->r2, n);
		const uint8_t *found = shared_find(p, character, n);

		if (found) {
			set_gr_address(c, o->r1, (at + (size_t)(found - p)) & c->addr_mask);
			set_cc(c, 1);
			return;
		}
		at = (at + n) & c->addr_mask;
		left -= n;
		done += n;
	}
	if (!left) {
		set_cc(c, 2);
		return;
	}
	set_gr_address(c, o->r2, at);
	set_cc(c, 3);
}

/* SEARCH STRING UNICODE. An end at the other parity counts as one byte further on. */
INSN(srstu)
{
	uint16_t character = (uint16_t)c->s.gr[0];
	uint64_t at = gr_address(c, o->r2);
	uint64_t left = (gr_address(c, o->r1) - at) & c->addr_mask;

	if (lo32(c->s.gr[0]) & 0xffff0000)
		pgm(c, o, PGM_SPECIFICATION);
	left += left & 1;
	for (unsigned int done = 0; left && done < UNIT; done += 2) {
		if (ld16(c, o, at, o->r2) == character) {
			set_gr_address(c, o->r1, at);
			set_cc(c, 1);
			return;
		}
		at = (at + 2) & c->addr_mask;
		left -= 2;
		/* Keep what was found so far from being lost to a page that is not there. */
		if (done >= STRING_MINIMUM && page_left(at) <= 2)
			break;
	}
	if (!left) {
		set_cc(c, 2);
		return;
	}
	set_gr_address(c, o->r2, at);
	set_cc(c, 3);
}

INSN(mvst)
{
	uint8_t ending = ending_character(c, o);
	uint64_t to = gr_address(c, o->r1), from = gr_address(c, o->r2);
	const uint8_t *found = NULL;
	struct span d, s;
	size_t size = 0;

	/* At most to the end of the page behind: less than a span holds. */
	while (!found && size < STRING_MINIMUM) {
		uint64_t at = (from + size) & c->addr_mask;
		size_t n = page_left(at);
		const uint8_t *p;

		if (size)
			n = MIN(n, STRING_MINIMUM);
		p = page_read(c, o, at, o->r2, n);
		found = shared_find(p, ending, n);
		size += found ? (size_t)(found - p) + 1 : n;
	}
	span_read(c, o, from, o->r2, size, &s);
	span_write(c, o, to, o->r1, size, &d);
	copy_spans(&d, &s, size);
	span_written(c, &d);
	to = (to + size) & c->addr_mask;
	if (found) {
		set_gr_address(c, o->r1, (to - 1) & c->addr_mask);
		set_cc(c, 1);
		return;
	}
	set_gr_address(c, o->r1, to);
	set_gr_address(c, o->r2, (from + size) & c->addr_mask);
	set_cc(c, 3);
}

/*
 * COMPARE UNTIL SUBSTRING EQUAL: find where as many bytes as register 0 says
 * are equal in both operands at the same offset. Lengths are signed; what is
 * negative counts as zero.
 */
INSN(cuse)
{
	struct rest a = { gr_address(c, o->r1), gr_length(c, o->r1 + 1u), o->r1 };
	struct rest b = { gr_address(c, o->r2), gr_length(c, o->r2 + 1u), o->r2 };
	struct rest from_a = a, from_b = b;
	uint8_t wanted = (uint8_t)c->s.gr[0], padding = (uint8_t)c->s.gr[1];
	uint64_t sign = c->addr_mask == ~0ull ? BIT64(0) : BIT64(32);
	unsigned int equal = 0, done = 0, cc = 2;

	require_even(c, o, o->r1 | o->r2);
	if (a.length & sign)
		from_a.length = a.length = 0;
	if (b.length & sign)
		from_b.length = b.length = 0;
	if (!wanted) {
		set_cc(c, 0);
		return;
	}
	for (; a.length || b.length; done++) {
		uint8_t x, y;

		if (!equal && done >= STRING_MINIMUM) {
			cc = 3;
			break;
		}
		x = a.length ? ld8(c, o, a.address, a.r) : padding;
		y = b.length ? ld8(c, o, b.address, b.r) : padding;
		if (x == y && !equal) {
			from_a = a;
			from_b = b;
		}
		if (a.length)
			rest_advance(c, &a, 1);
		if (b.length)
			rest_advance(c, &b, 1);
		equal = x == y ? equal + 1 : 0;
		cc = equal ? 1 : 2;
		if (equal == wanted) {
			cc = 0;
			break;
		}
	}
	if (!done && cc == 2) {
		set_cc(c, 2);
		return;
	}
	rest_put(c, cc < 2 ? &from_a : &a);
	rest_put(c, cc < 2 ? &from_b : &b);
	set_cc(c, cc);
}

/* CHECKSUM: words added with the carry added back in, the last one padded with zeros. */
INSN(cksm)
{
	struct rest a = { gr_address(c, o->r2), gr_length(c, o->r2 + 1u), o->r2 };
	uint64_t sum = lo32(c->s.gr[o->r1]);
	size_t n = (size_t)MIN(a.length, UNIT), i;
	uint8_t bytes[UNIT + 3];
	struct span s;

	require_even(c, o, o->r2);
	if (n) {
		span_read(c, o, a.address, a.r, n, &s);
		span_get(&s, bytes);
		memset(bytes + n, 0, 3);
		for (i = 0; i < n; i += 4)
			sum += load_be32(bytes + i);
		sum = lo32(sum) + (sum >> 32);
		sum = lo32(sum) + (sum >> 32);
		rest_advance(c, &a, n);
	}
	set_lo32(c, o->r1, (uint32_t)sum);
	rest_put(c, &a);
	set_cc(c, a.length ? 3 : 0);
}

/* ---- Bytes of a register under a mask ---- */

/* The bytes of `value` that the mask selects, side by side. */
static uint32_t gather(uint32_t value, unsigned int mask)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < 4; i++)
		if (mask & (8u >> i))
			v = v << 8 | (value >> (24 - 8 * i) & 0xff);
	return v;
}

/* As many bytes from storage as the mask has bits. */
static uint32_t load_under_mask(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int mask)
{
	unsigned int n = (unsigned int)__builtin_popcount(mask);
	uint32_t v;

	switch (n) {
	case 4:
		return ld32(c, o, ea, o->b2);
	case 3:
		v = (uint32_t)ld16(c, o, ea, o->b2) << 8;
		return v | ld8(c, o, (ea + 2) & c->addr_mask, o->b2);
	case 2:
		return ld16(c, o, ea, o->b2);
	default:
		return ld8(c, o, ea, o->b2); /* also for no byte at all: access is tested */
	}
}

/* Returns the register's half with the bytes inserted. */
static uint32_t insert_under_mask(struct vcpu *c, const struct op *o, uint32_t into)
{
	unsigned int n = (unsigned int)__builtin_popcount(o->m3);
	uint32_t v = load_under_mask(c, o, ea2(c, o), o->m3);
	unsigned int shift = 8 * n;

	if (!n) {
		set_cc(c, 0);
		return into;
	}
	set_cc_signed(c, (int32_t)(v << (32 - shift)), 0);
	for (unsigned int i = 0; i < 4; i++) {
		if (!(o->m3 & (8u >> i)))
			continue;
		shift -= 8;
		into &= ~(0xff000000u >> 8 * i);
		into |= (v >> shift & 0xff) << (24 - 8 * i);
	}
	return into;
}

static NOINLINE_ void insert_slow(struct vcpu *c, const struct op *o)
{
	set_lo32(c, o->r1, insert_under_mask(c, o, lo32(c->s.gr[o->r1])));
}

INSN_FAST(icm)
{
	if (likely(o->m3 == 15)) {
		uint32_t v = ld32(c, o, ea2(c, o), o->b2);

		set_lo32(c, o->r1, v);
		set_cc_signed(c, (int32_t)v, 0);
	} else {
		insert_slow(c, o);
	}
}

INSN(icmh)
{
	set_hi32(c, o->r1, insert_under_mask(c, o, (uint32_t)(c->s.gr[o->r1] >> 32)));
}

static void store_under_mask(struct vcpu *c, const struct op *o, uint32_t value)
{
	uint64_t ea = ea2(c, o);
	uint32_t v = gather(value, o->m3);

	switch (__builtin_popcount(o->m3)) {
	case 4:
		st32(c, o, ea, o->b2, v);
		break;
	case 3:
		require_write(c, o, ea, o->b2, 3);
		st16(c, o, ea, o->b2, (uint16_t)(v >> 8));
		st8(c, o, (ea + 2) & c->addr_mask, o->b2, (uint8_t)v);
		break;
	case 2:
		st16(c, o, ea, o->b2, (uint16_t)v);
		break;
	case 1:
		st8(c, o, ea, o->b2, (uint8_t)v);
		break;
	}
}

INSN(stcm)
{
	store_under_mask(c, o, lo32(c->s.gr[o->r1]));
}

INSN(stcmh)
{
	store_under_mask(c, o, (uint32_t)(c->s.gr[o->r1] >> 32));
}

static void compare_under_mask(struct vcpu *c, const struct op *o, uint32_t value)
{
	uint32_t v = load_under_mask(c, o, ea2(c, o), o->m3);

	if (o->m3)
		set_cc_unsigned(c, gather(value, o->m3), v);
	else
		set_cc(c, 0);
}

INSN(clm)
{
	compare_under_mask(c, o, lo32(c->s.gr[o->r1]));
}

INSN(clmh)
{
	compare_under_mask(c, o, (uint32_t)(c->s.gr[o->r1] >> 32));
}

/* ---- Registers from R1 to R3, around through 0 ---- */

static inline unsigned int register_count(const struct op *o)
{
	return ((o->r3 - o->r1) & 15u) + 1;
}

enum multiple { MULTIPLE_LOW, MULTIPLE_HIGH, MULTIPLE_WHOLE, MULTIPLE_ACCESS };

static inline unsigned int multiple_size(enum multiple what)
{
	return what == MULTIPLE_WHOLE ? 8 : 4;
}

static inline void multiple_load(struct vcpu *c, enum multiple what, unsigned int r,
				 const uint8_t *p)
{
	if (what == MULTIPLE_WHOLE)
		c->s.gr[r] = ACCESS_SWAP_64(ACCESS_LOAD(64, p));
	else if (what == MULTIPLE_HIGH)
		set_hi32(c, r, ACCESS_SWAP_32(ACCESS_LOAD(32, p)));
	else if (what == MULTIPLE_LOW)
		set_lo32(c, r, ACCESS_SWAP_32(ACCESS_LOAD(32, p)));
	else
		c->s.ar[r] = ACCESS_SWAP_32(ACCESS_LOAD(32, p));
}

static inline void multiple_store(const struct vcpu *c, enum multiple what, unsigned int r,
				  uint8_t *p)
{
	if (what == MULTIPLE_WHOLE)
		ACCESS_STORE(64, p, ACCESS_SWAP_64(c->s.gr[r]));
	else if (what == MULTIPLE_HIGH)
		ACCESS_STORE(32, p, ACCESS_SWAP_32((uint32_t)(c->s.gr[r] >> 32)));
	else if (what == MULTIPLE_LOW)
		ACCESS_STORE(32, p, ACCESS_SWAP_32(lo32(c->s.gr[r])));
	else
		ACCESS_STORE(32, p, ACCESS_SWAP_32(c->s.ar[r]));
}

/* The operand lies in two pages, or not in the TLB. */
static NOINLINE_ void load_multiple_slow(struct vcpu *c, const struct op *o, uint64_t ea,
					 unsigned int ar, enum multiple what)
{
	unsigned int n = register_count(o), size = multiple_size(what);
	uint8_t copy[16 * 8];
	struct span s;

	span_read(c, o, ea, ar, n * size, &s);
	copy_bytes(copy, s.part[0], s.length[0]);
	copy_bytes(copy + s.length[0], s.part[1], s.length[1]);
	for (unsigned int i = 0; i < n; i++)
		multiple_load(c, what, (o->r1 + i) & 15, copy + i * size);
}

static NOINLINE_ void store_multiple_slow(struct vcpu *c, const struct op *o, uint64_t ea,
					  enum multiple what)
{
	unsigned int n = register_count(o), size = multiple_size(what);
	uint8_t copy[16 * 8];
	struct span s;

	span_write(c, o, ea, o->b2, n * size, &s);
	for (unsigned int i = 0; i < n; i++)
		multiple_store(c, what, (o->r1 + i) & 15, copy + i * size);
	copy_bytes(s.part[0], copy, s.length[0]);
	copy_bytes(s.part[1], copy + s.length[0], s.length[1]);
	span_written(c, &s);
}

static inline __attribute__((always_inline)) void load_multiple(struct vcpu *c, const struct op *o,
								 uint64_t ea, unsigned int ar,
								 enum multiple what)
{
	const struct tlb_entry *e = tlb_readable(c, ea, register_count(o) * multiple_size(what));
	unsigned int r = o->r1;
	const uint8_t *p;

	if (unlikely(!e)) {
		load_multiple_slow(c, o, ea, ar, what);
		return;
	}
	for (p = tlb_host(e, ea);; p += multiple_size(what)) {
		multiple_load(c, what, r, p);
		if (r == o->r3)
			break;
		r = (r + 1) & 15;
	}
}

static inline __attribute__((always_inline)) void store_multiple(struct vcpu *c,
								  const struct op *o,
								  enum multiple what)
{
	uint64_t ea = ea2(c, o);
	unsigned int r = o->r1, size = register_count(o) * multiple_size(what);
	const struct tlb_entry *e = tlb_writable(c, ea, size);
	uint8_t *p;

	if (unlikely(!e)) {
		store_multiple_slow(c, o, ea, what);
		return;
	}
	for (p = tlb_host(e, ea);; p += multiple_size(what)) {
		multiple_store(c, what, r, p);
		if (r == o->r3)
			break;
		r = (r + 1) & 15;
	}
	tlb_written(c, o, e, ea, size);
}

INSN_FAST(lm)
{
	load_multiple(c, o, ea2(c, o), o->b2, MULTIPLE_LOW);
}

INSN_FAST(lmg)
{
	load_multiple(c, o, ea2(c, o), o->b2, MULTIPLE_WHOLE);
}

INSN(lmh)
{
	load_multiple(c, o, ea2(c, o), o->b2, MULTIPLE_HIGH);
}

INSN_FAST(stm)
{
	store_multiple(c, o, MULTIPLE_LOW);
}

INSN_FAST(stmg)
{
	store_multiple(c, o, MULTIPLE_WHOLE);
}

INSN(stmh)
{
	store_multiple(c, o, MULTIPLE_HIGH);
}

/* LOAD MULTIPLE DISJOINT: the left halves from one place, the right halves from another. */
INSN(lmd)
{
	unsigned int n = register_count(o);
	uint8_t low[16 * 4];
	struct span s;

	/* Both operands are found before either changes a register. */
	span_read(c, o, ea2(c, o), o->b2, n * 4, &s);
	span_get(&s, low);
	load_multiple(c, o, ea1(c, o), o->b1, MULTIPLE_HIGH);
	for (unsigned int i = 0; i < n; i++)
		multiple_load(c, MULTIPLE_LOW, (o->r1 + i) & 15, low + 4 * i);
}

static void require_word(struct vcpu *c, const struct op *o)
{
	if (ea2(c, o) & 3)
		pgm(c, o, PGM_SPECIFICATION);
}

INSN(lam)
{
	require_word(c, o);
	load_multiple(c, o, ea2(c, o), o->b2, MULTIPLE_ACCESS);
}

INSN(stam)
{
	require_word(c, o);
	store_multiple(c, o, MULTIPLE_ACCESS);
}
