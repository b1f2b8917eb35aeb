/* SPDX-License-Identifier: MIT */
/*
 * Instructions that look characters up in a table, and those that convert
 * between UTF-8, UTF-16 and UTF-32.
 *
 * Only those pages of a table are accessed that the characters ask for. So when a
 * table lies in one page it is looked up directly, otherwise (rarely) mostly byte
 * by byte through the TLB.
 *
 * The ones with a length in a register do a unit that stays within a page where
 * it can, collect what they will store, store it at once, and set condition
 * code 3. A character that lies across pages gets a unit of its own. Thus an
 * access exception always finds an instruction that has changed nothing.
 *
 * Source: Principles of Operation (SA22-7832), chapter 7 "General Instructions";
 * for malformed characters the tables under CONVERT UTF-8 TO UTF-16 and its kin.
 */
#include "cpu/soft/operand.h"

#define UNIT 256 /* characters or bytes */

/* ---- One table of 256 bytes ---- */

struct table {
	uint64_t address;
	unsigned int ar;
	const uint8_t *direct; /* when it lies in one page */
};

/* At least one byte of the table is going to be needed. */
static struct table table_at(struct vcpu *c, const struct op *o, uint64_t address, unsigned int ar)
{
	struct table t = { address, ar, NULL };

	if (page_left(address) >= 256)
		t.direct = page_read(c, o, address, ar, 256);
	return t;
}

static inline uint8_t table_look_up(struct vcpu *c, const struct op *o, const struct table *t,
				    uint8_t argument)
{
	if (likely(t->direct))
		return shared_byte(t->direct + argument);
	return ld8(c, o, (t->address + argument) & c->addr_mask, t->ar);
}

/*
 * The operand may lie within its own table, so each result is in storage before
 * the next is looked up. That a page of the table is missing has to show before.
 */
INSN(tr)
{
	size_t size = o->l1 + 1u, left;
	uint64_t table = ea2(c, o);
	const uint8_t *part[2] = { NULL, NULL };
	uint8_t arguments[256];
	struct span d;

	span_write(c, o, ea1(c, o), o->b1, size, &d);
	span_get(&d, arguments);
	left = page_left(table);
	for (size_t i = 0; i < size; i++) {
		if (arguments[i] < left) {
			if (!part[0])
				part[0] = page_read(c, o, table, o->b2, MIN(left, 256));
		} else if (!part[1]) {
			part[1] = page_read(c, o, (table + left) & c->addr_mask, o->b2,
					    256 - left);
		}
	}
	for (size_t i = 0; i < size; i++) {
		uint8_t argument = arguments[i];

		shared_set_byte(span_at(&d, i),
				shared_byte(argument < left ? part[0] + argument :
							      part[1] + (argument - left)));
	}
	span_written(c, &d);
}

/* Put the address of an argument byte into GR1: the left bits stay as they are. */
static void set_argument_address(struct vcpu *c, uint64_t address)
{
	if (c->addr_mask == 0xffffff)
		c->s.gr[1] = (c->s.gr[1] & ~0xffffffull) | address;
	else
		set_gr_address(c, 1, address);
}

static void translate_and_test(struct vcpu *c, const struct op *o, uint64_t step)
{
	struct table t = table_at(c, o, ea2(c, o), o->b2);
	uint64_t at = ea1(c, o);

	for (unsigned int left = o->l1;; left--) {
		uint8_t function = table_look_up(c, o, &t, ld8(c, o, at, o->b1));

		if (function) {
			set_argument_address(c, at);
			c->s.gr[2] = (c->s.gr[2] & ~0xffull) | function;
			set_cc(c, left ? 1 : 2);
			return;
		}
		if (!left)
			break;
		at = (at + step) & c->addr_mask;
	}
	set_cc(c, 0);
}

INSN(trt)
{
	translate_and_test(c, o, 1);
}

INSN(trtr)
{
	translate_and_test(c, o, ~0ull);
}

/* TRANSLATE EXTENDED: up to a byte that equals the test byte in GR0. */
INSN(tre)
{
	uint64_t address = gr_address(c, o->r1), length = gr_length(c, o->r1 + 1u);
	uint8_t test = (uint8_t)c->s.gr[0], result[UNIT];
	size_t size, done = 0;
	bool found = false;

	require_even(c, o, o->r1);
	size = (size_t)MIN(MIN(length, UNIT), page_left(address));
	if (size) {
		const uint8_t *from = page_read(c, o, address, o->r1, size);
		uint64_t table = gr_address(c, o->r2);
		struct table t = { 0 };
		struct span d;

		for (; done < size; done++) {
			uint8_t byte = shared_byte(from + done);

			found = byte == test;
			if (found)
				break;
			if (!done)
				t = table_at(c, o, table, o->r2);
			result[done] = table_look_up(c, o, &t, byte);
		}
		if (done) {
			span_write(c, o, address, o->r1, done, &d);
			span_put(c, &d, result);
		}
	}
	length -= done;
	set_gr_address(c, o->r1, (address + done) & c->addr_mask);
	set_gr_length(c, o->r1 + 1u, length);
	set_cc(c, found ? 1 : length ? 3 : 0);
}

/* ---- Characters of one or two bytes ---- */

static uint16_t load_character(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
			       unsigned int size)
{
	return size == 2 ? ld16(c, o, ea, ar) : ld8(c, o, ea, ar);
}

/*
 * TRANSLATE ONE (TWO) TO ONE (TWO). Table in GR1, test character in GR0; the
 * length is that of the second operand, in bytes.
 */
static void translate_characters(struct vcpu *c, const struct op *o, unsigned int from_size,
				 unsigned int to_size)
{
	uint64_t to = gr_address(c, o->r1), from = gr_address(c, o->r2);
	uint64_t length = gr_length(c, o->r1 + 1u);
	uint64_t table = gr_address(c, 1) & ~7ull;
	uint16_t test = (uint16_t)(to_size == 2 ? c->s.gr[0] : c->s.gr[0] & 0xff);
	bool tested = !(o->m3 & 1), found = false;
	uint8_t result[2 * UNIT];
	size_t count = 0;
	struct span d;

	require_even(c, o, o->r1);
	if (length & (from_size - 1))
		pgm(c, o, PGM_SPECIFICATION);
	while (count < UNIT && count * from_size < length) {
		uint64_t at = (from + count * from_size) & c->addr_mask;
		uint64_t into = (to + count * to_size) & c->addr_mask;
		uint16_t character;

		if (count && (page_left(at) < from_size || page_left(into) < to_size ||
			      !(at & (PAGE_SIZE - 1)) || !(into & (PAGE_SIZE - 1))))
			break;
		character = load_character(c, o, at, o->r2, from_size);
		character = load_character(c, o, (table + character * to_size) & c->addr_mask, 1,
					   to_size);
		found = tested && character == test;
		if (found)
			break;
		if (to_size == 2)
			store_be16(result + 2 * count, character);
		else
			result[count] = (uint8_t)character;
		count++;
	}
	if (count) {
		span_write(c, o, to, o->r1, count * to_size, &d);
		span_put(c, &d, result);
	}
	length -= count * from_size;
	set_gr_address(c, o->r1, (to + count * to_size) & c->addr_mask);
	set_gr_length(c, o->r1 + 1u, length);
	set_gr_address(c, o->r2, (from + count * from_size) & c->addr_mask);
	set_cc(c, found ? 1 : length ? 3 : 0);
}

INSN(troo)
{
	translate_characters(c, o, 1, 1);
}

INSN(trot)
{
	translate_characters(c, o, 1, 2);
}

INSN(trto)
{
	translate_characters(c, o, 2, 1);
}

INSN(trtt)
{
	translate_characters(c, o, 2, 2);
}

/* TRANSLATE AND TEST (REVERSE) EXTENDED: M3 says how wide arguments and functions are. */
static void translate_and_test_extended(struct vcpu *c, const struct op *o, bool reverse)
{
	unsigned int argument_size = o->m3 & 8 ? 2 : 1, function_size = o->m3 & 4 ? 2 : 1;
	bool limited = o->m3 & 2;
	uint64_t address = gr_address(c, o->r1), length = gr_length(c, o->r1 + 1u);
	uint64_t table = gr_address(c, 1);
	uint16_t function = 0;
	uint64_t first_page;

	require_even(c, o, o->r1);
	if (length & (argument_size - 1))
		pgm(c, o, PGM_SPECIFICATION);
	first_page = address & PAGE_MASK;
	while (length) {
		uint16_t argument;

		if (((address ^ first_page) & PAGE_MASK) || page_left(address) < argument_size) {
			if (address != gr_address(c, o->r1))
				break;
		}
		argument = load_character(c, o, address, o->r1, argument_size);
		if (!limited || argument < 256)
			function = load_character(c, o,
						  (table + argument * function_size) & c->addr_mask,
						  1, function_size);
		if (function)
			break;
		address = (reverse ? address - argument_size : address + argument_size) &
			  c->addr_mask;
		length -= argument_size;
	}
	set_gr_address(c, o->r1, address);
	set_gr_length(c, o->r1 + 1u, length);
	if (length && !function) {
		set_cc(c, 3);
		return;
	}
	set_gr_length(c, o->r2, function);
	set_cc(c, function ? 1 : 0);
}

INSN(trte)
{
	translate_and_test_extended(c, o, false);
}

INSN(trtre)
{
	translate_and_test_extended(c, o, true);
}

/* ---- Unicode ---- */

enum encoding { UTF8, UTF16, UTF32 };

#define CONVERTED ~0u /* otherwise a condition code */

/*
 * Read a character at `ea`, of at most `left` bytes, into *character, its size
 * into *size. Returns CONVERTED; 0 when the operand ends before the character
 * does; 2 when it is no character.
 */
static unsigned int read_utf8(struct vcpu *c, const struct op *o, uint64_t ea, uint64_t left,
			      bool strict, uint32_t *character, unsigned int *size)
{
	static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t first = ld8(c, o, ea, o->r2);
	bool well_formed = true;
	uint32_t v;

	if (first < 0x80) {
		*character = first;
		*size = 1;
		return CONVERTED;
	}
	if (first < 0xc0 || first > 0xf7)
		return 2;
	if (strict && (first < 0xc2 || first > 0xf4))
		return 2;
	*size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (left < *size)
		return 0;
	v = first & (0x7fu >> *size);
	for (unsigned int i = 1; i < *size; i++) {
		uint8_t byte = ld8(c, o, (ea + i) & c->addr_mask, o->r2);

		well_formed &= (byte & 0xc0) == 0x80;
		v = v << 6 | (byte & 0x3f);
	}
	well_formed &= v >= smallest[*size] && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff);
	if (strict && !well_formed)
		return 2;
	*character = v;
	return CONVERTED;
}

static unsigned int read_utf16(struct vcpu *c, const struct op *o, uint64_t ea, uint64_t left,
			       bool strict, uint32_t *character, unsigned int *size)
{
	uint16_t high, low;

	if (left < 2)
		return 0;
	high = ld16(c, o, ea, o->r2);
	if ((high & 0xfc00) != 0xd800) {
		*character = high;
		*size = 2;
		return CONVERTED;
	}
	if (left < 4)
		return 0;
	low = ld16(c, o, (ea + 2) & c->addr_mask, o->r2);
	if (strict && (low & 0xfc00) != 0xdc00)
		return 2;
	*character = 0x10000 + ((high & 0x3ffu) << 10 | (low & 0x3ffu));
	*size = 4;
	return CONVERTED;
}

static unsigned int read_utf32(struct vcpu *c, const struct op *o, uint64_t ea, uint64_t left,
			       uint32_t *character, unsigned int *size)
{
	if (left < 4)
		return 0;
	*character = ld32(c, o, ea, o->r2);
	*size = 4;
	/* Of the surrogates only the high half is refused. */
	return *character > 0x10ffff || (*character & ~0x3ffu) == 0xd800 ? 2 : CONVERTED;
}

/*
 * Encode a character; returns its bytes, at most 4. `pair` asks for surrogates
 * in UTF-16 whatever the value: four bytes of UTF-8 become two characters even
 * if nobody checked that two are needed.
 */
static unsigned int write_utf(enum encoding encoding, uint32_t v, bool pair, uint8_t *to)
{
	switch (encoding) {
	case UTF32:
		store_be32(to, v);
		return 4;
	case UTF16:
		if (v < 0x10000 && !pair) {
			store_be16(to, (uint16_t)v);
			return 2;
		}
		v -= 0x10000;
		store_be16(to, (uint16_t)(0xd800 | (v >> 10 & 0x3ff)));
		store_be16(to + 2, (uint16_t)(0xdc00 | (v & 0x3ff)));
		return 4;
	default:
		if (v < 0x80) {
			to[0] = (uint8_t)v;
			return 1;
		}
		if (v < 0x800) {
			to[0] = (uint8_t)(0xc0 | v >> 6);
			to[1] = (uint8_t)(0x80 | (v & 0x3f));
			return 2;
		}
		if (v < 0x10000) {
			to[0] = (uint8_t)(0xe0 | v >> 12);
			to[1] = (uint8_t)(0x80 | (v >> 6 & 0x3f));
			to[2] = (uint8_t)(0x80 | (v & 0x3f));
			return 3;
		}
		to[0] = (uint8_t)(0xf0 | v >> 18);
		to[1] = (uint8_t)(0x80 | (v >> 12 & 0x3f));
		to[2] = (uint8_t)(0x80 | (v >> 6 & 0x3f));
		to[3] = (uint8_t)(0x80 | (v & 0x3f));
		return 4;
	}
}

static void convert(struct vcpu *c, const struct op *o, enum encoding source, enum encoding result)
{
	uint64_t to = gr_address(c, o->r1), from = gr_address(c, o->r2);
	uint64_t to_left = gr_length(c, o->r1 + 1u), from_left = gr_length(c, o->r2 + 1u);
	bool strict = source != UTF32 && (o->m3 & 1);
	uint8_t bytes[4 * UNIT];
	unsigned int cc = 3;
	size_t stored = 0;
	struct span d;

	require_even(c, o, o->r1 | o->r2);
	for (unsigned int count = 0; count < UNIT; count++) {
		unsigned int size = 0, room, outcome;
		uint32_t character = 0;
		uint8_t encoded[4];

		if (!from_left) {
			cc = 0;
			break;
		}
		/* What may reach into another page is done first in a unit. */
		if (count && (page_left(from) < 4 || !(from & (PAGE_SIZE - 1)) ||
			      page_left(to + stored) < 4 || !((to + stored) & (PAGE_SIZE - 1))))
			break;
		if (source == UTF8)
			outcome = read_utf8(c, o, from, from_left, strict, &character, &size);
		else if (source == UTF16)
			outcome = read_utf16(c, o, from, from_left, strict, &character, &size);
		else
			outcome = read_utf32(c, o, from, from_left, &character, &size);
		if (outcome != CONVERTED) {
			cc = outcome;
			break;
		}
		room = write_utf(result, character, source == UTF8 && size == 4, encoded);
		if (to_left < room) {
			cc = 1;
			break;
		}
		memcpy(bytes + stored, encoded, room);
		stored += room;
		to_left -= room;
		from = (from + size) & c->addr_mask;
		from_left -= size;
	}
	if (stored) {
		span_write(c, o, to, o->r1, stored, &d);
		span_put(c, &d, bytes);
	}
	set_gr_address(c, o->r1, (to + stored) & c->addr_mask);
	set_gr_length(c, o->r1 + 1u, to_left);
	set_gr_address(c, o->r2, from);
	set_gr_length(c, o->r2 + 1u, from_left);
	set_cc(c, cc);
}

INSN(cu12)
{
	convert(c, o, UTF8, UTF16);
}

INSN(cu14)
{
	convert(c, o, UTF8, UTF32);
}

INSN(cu21)
{
	convert(c, o, UTF16, UTF8);
}

INSN(cu24)
{
	convert(c, o, UTF16, UTF32);
}

INSN(cu41)
{
	convert(c, o, UTF32, UTF8);
}

INSN(cu42)
{
	convert(c, o, UTF32, UTF16);
}
