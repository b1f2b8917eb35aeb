/* SPDX-License-Identifier: MIT */
/*
 * Control instructions about storage: translation and its invalidation, storage
 * keys, real and absolute addresses, moves between address spaces.
 *
 * Source: Principles of Operation, chapter 10 "Control Instructions"; chapter 3
 * for what the keys and tables mean.
 */
#include "cpu/soft/complex.h"

#define SPACE_PRIMARY 0
#define SPACE_AR 1
#define SPACE_SECONDARY 2
#define SPACE_HOME 3

static inline void require_aligned(struct vcpu *c, const struct op *o, uint64_t ea,
				   unsigned int size)
{
	if (unlikely(ea & (size - 1)))
		pgm(c, o, PGM_SPECIFICATION);
}

/* ---- Purging and invalidating ---- */

INSN_LAST(ptlb)
{
	mmu_flush_all(c);
}

INSN(palb)
{
}

/* One entry invalid; the TLBs of all CPUs (or this one: M4 bit 3) forget it. */
INSN_LAST(ipte)
{
	uint64_t origin = c->s.gr[o->r1] & SEGMENT_ORIGIN, va = c->s.gr[o->r2];
	unsigned int first = (unsigned int)(va >> 12) & 0xff, count = 1;
	bool local = o->m4 & 1;

	if (o->r3) /* IPTE-range facility: additional entries */
		count += (unsigned int)c->s.gr[o->r3] & 0xff;
	if (first + count > 256)
		pgm(c, o, PGM_SPECIFICATION);
	for (unsigned int i = 0; i < count; i++) {
		uint64_t absolute = origin + 8 * (first + i);

		if (!range_fits(absolute, 8, c->complex->size))
			pgm(c, o, PGM_ADDRESSING);
		__atomic_fetch_or((uint64_t *)absolute_host(c->complex, absolute),
				  be64_of(PTE_INVALID).raw, __ATOMIC_SEQ_CST);
		memory_written(c->complex, absolute, 8);
		if (local)
			mmu_flush_page_index(c, first + i);
		else if (count == 1)
			mmu_flush_everywhere(c, (int)first);
	}
	if (count > 1 && !local)
		mmu_flush_everywhere(c, -1);
}

/* Invalidate region- or segment-table entries, or clear what an ASCE has made. */
INSN_LAST(idte)
{
	uint64_t designation = c->s.gr[o->r1], va = c->s.gr[o->r2];
	bool local = o->m4 & 1;

	if (va & 0xff000)
		pgm(c, o, PGM_SPECIFICATION);
	if (!(va & 0x800)) { /* R2 bit 52: clearing by ASCE, nothing is invalidated */
		static const uint8_t shift[] = { 20, 31, 42, 53 };
		unsigned int type = (designation & ASCE_TYPE) >> 2;
		unsigned int count = (va & 0x7ff) + 1;
		unsigned int index = (va >> shift[type]) & 0x7ff;

		for (unsigned int i = 0; i < count; i++) {
			/* Behind the last entry of the table comes its first. */
			uint64_t absolute = (designation & ASCE_TABLE_ORIGIN) +
					    8 * ((index + i) & 0x7ff);

			if (!range_fits(absolute, 8, c->complex->size))
				pgm(c, o, PGM_ADDRESSING);
			__atomic_fetch_or((uint64_t *)absolute_host(c->complex, absolute),
					  be64_of(SEGMENT_INVALID).raw, __ATOMIC_SEQ_CST);
			memory_written(c->complex, absolute, 8);
		}
	}
	if (local)
		mmu_flush_all(c);
	else
		mmu_flush_everywhere(c, -1);
}

/*
 * COMPARE AND SWAP AND PURGE, and COMPARE AND REPLACE DAT TABLE ENTRY: an exchange,
 * then everybody's TLB.
 */
INSN_LAST(csp)
{
	uint64_t ea = c->s.gr[o->r2] & c->addr_mask & ~3ull;
	unsigned int purge = (unsigned int)c->s.gr[o->r2] & 3;
	uint32_t old = lo32(c->s.gr[o->r1]), expected;
	uint32_t *p;

	require_even(c, o, o->r1);
	p = interlocked_operand(c, o, ea, o->r2, 4);
	expected = be32_of(old).raw;
	if (__atomic_compare_exchange_n(p, &expected, be32_of(lo32(c->s.gr[o->r1 + 1])).raw, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		interlocked_written(c, o, ea, o->r2, 4);
		set_cc(c, 0);
		if (purge)
			mmu_flush_everywhere(c, -1);
	} else {
		set_lo32(c, o->r1, be32_get((be32){ expected }));
		set_cc(c, 1);
	}
}

static bool swap64(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar, uint64_t new)
{
	uint64_t expected = be64_of(c->s.gr[o->r1]).raw;
	uint64_t *p = interlocked_operand(c, o, ea, ar, 8);

	if (__atomic_compare_exchange_n(p, &expected, be64_of(new).raw, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST)) {
		interlocked_written(c, o, ea, ar, 8);
		set_cc(c, 0);
		return true;
	}
	c->s.gr[o->r1] = be64_get((be64){ expected });
	set_cc(c, 1);
	return false;
}

INSN_LAST(cspg)
{
	uint64_t ea = c->s.gr[o->r2] & c->addr_mask & ~7ull;
	unsigned int purge = (unsigned int)c->s.gr[o->r2] & 3;

	require_even(c, o, o->r1);
	if (swap64(c, o, ea, o->r2, c->s.gr[o->r1 + 1]) && purge)
		mmu_flush_everywhere(c, -1);
}

INSN_LAST(crdte)
{
	uint64_t ea;

	require_even(c, o, o->r1);
	require_even(c, o, o->r2);
	/*
	 * R2 designates the table, with its type in the last five bits: 00000 page table,
	 * 10000 segment table, 101, 110 and 111 with 00: region third, second, first. R2+1
	 * has the address whose entry it is.
	 */
	if (c->s.gr[o->r2] & 3 || (c->s.gr[o->r2] & 0x1c && !(c->s.gr[o->r2] & 0x10)))
		pgm(c, o, PGM_SPECIFICATION);
	if (c->s.gr[o->r2] & 0x10) {
		unsigned int type = (c->s.gr[o->r2] & ASCE_TYPE) >> 2;
		static const uint8_t shift[] = { 20, 31, 42, 53 };

		ea = (c->s.gr[o->r2] & ASCE_TABLE_ORIGIN) +
		     8 * ((c->s.gr[o->r2 + 1] >> shift[type]) & 0x7ff);
	} else {
		ea = (c->s.gr[o->r2] & SEGMENT_ORIGIN) + 8 * ((c->s.gr[o->r2 + 1] >> 12) & 0xff);
	}
	uint64_t expected = be64_of(c->s.gr[o->r1]).raw;
	uint64_t *p = (uint64_t *)mmu_real(c, o, ea, 8);

	if (__atomic_compare_exchange_n(p, &expected, be64_of(c->s.gr[o->r1 + 1]).raw, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		memory_written(c->complex, (uint64_t)((uint8_t *)p - c->complex->memory), 8);
		set_cc(c, 0);
		if (o->m4 & 1)
			mmu_flush_all(c);
		else
			mmu_flush_everywhere(c, -1);
	} else {
		c->s.gr[o->r1] = be64_get((be64){ expected });
		set_cc(c, 1);
	}
}

/* ---- Real addresses ---- */

/*
 * LOAD REAL ADDRESS under the current translation mode. Where a segment- or page-table
 * entry is invalid, codes 1 and 2, the register gets the entry's address; whatever
 * else there is against a translation is code 3 with the interruption code.
 */
static void load_real(struct vcpu *c, const struct op *o, bool wide)
{
	uint64_t ea = ea2x(c, o), asce;
	struct translation t = { 0 };
	enum pgm_code code = PGM_NONE;
	bool fetch_only;

	switch (c->s.psw_mask & PSW_ASC) {
	case PSW_ASC_SECONDARY:
		asce = c->s.cr[7];
		break;
	case PSW_ASC_HOME:
		asce = c->s.cr[13];
		break;
	case PSW_ASC_AR:
		code = mmu_access_register(c, o->b2 == 16 || o->b2 == 0 ? 0 : c->s.ar[o->b2], true,
					   (uint16_t)(c->s.cr[8] >> 16), &asce, &fetch_only);
		break;
	default:
		asce = c->s.cr[1];
		break;
	}
	if (!code)
		code = mmu_walk(c, asce, ea, &t);
	if (code == PGM_ADDRESSING || code == PGM_TRANSLATION_SPEC)
		pgm(c, o, code);
	if (!code) {
		uint64_t real = mmu_real_to_absolute(c, t.absolute); /* its own inverse */

		if (!wide && real > 0x7fffffff && c->addr_mask != ~0ull)
			pgm(c, o, PGM_SPECIAL_OPERATION);
		if (wide || c->addr_mask == ~0ull)
			c->s.gr[o->r1] = real;
		else
			set_lo32(c, o->r1, (uint32_t)real);
		set_cc(c, 0);
		return;
	}
	if (t.invalid_entry && (wide || c->addr_mask == ~0ull || t.invalid_entry <= 0x7fffffff)) {
		if (wide || c->addr_mask == ~0ull)
			c->s.gr[o->r1] = t.invalid_entry;
		else
			set_lo32(c, o->r1, (uint32_t)t.invalid_entry);
		set_cc(c, code == PGM_SEGMENT_TRANSLATION ? 1 : 2);
		return;
	}
	set_lo32(c, o->r1, 0x80000000u | code);
	set_cc(c, 3);
}

INSN(lra)
{
	load_real(c, o, false);
}

INSN(lrag)
{
	load_real(c, o, true);
}

INSN(lura)
{
	uint64_t real = gr_address(c, o->r2);

	require_aligned(c, o, real, 4);
	set_lo32(c, o->r1, load_be32(mmu_real(c, o, real, 4)));
}

INSN(lurag)
{
	uint64_t real = gr_address(c, o->r2);

	require_aligned(c, o, real, 8);
	c->s.gr[o->r1] = load_be64(mmu_real(c, o, real, 8));
}

static void store_real(struct vcpu *c, const struct op *o, unsigned int size)
{
	uint64_t real = gr_address(c, o->r2);
	uint8_t *p;

	require_aligned(c, o, real, size);
	if ((c->s.cr[0] & CR0_LOW_ADDRESS_PROTECTION) && !(real & ~0x11ffull)) {
		c->teid = 0;
		pgm(c, o, PGM_PROTECTION);
	}
	p = mmu_real(c, o, real, size);
	if (size == 4)
		store_be32(p, lo32(c->s.gr[o->r1]));
	else
		store_be64(p, c->s.gr[o->r1]);
	memory_written(c->complex, (uint64_t)(p - c->complex->memory), size);
	/* Its own event, for all addresses; both masks are needed. */
	if (c->per_active && !(~c->s.cr[9] & (CR9_STORE | CR9_STURA)))
		c->per_code |= PER_STORE_REAL;
}

INSN(stura)
{
	store_real(c, o, 4);
}

INSN(sturg)
{
	store_real(c, o, 8);
}

INSN(strag)
{
	uint64_t ea = ea1(c, o), asce = c->s.cr[1];
	struct translation t = { 0 };
	enum pgm_code code;

	require_aligned(c, o, ea, 8);
	require_write(c, o, ea, o->b1, 8);
	code = mmu_walk(c, asce, ea2(c, o), &t);
	if (code)
		mmu_exception(c, o, code, ea2(c, o), ACCESS_READ, SPACE_PRIMARY, 0, false);
	st64(c, o, ea, o->b1, mmu_real_to_absolute(c, t.absolute));
}

/* TEST PROTECTION: what would a fetch and a store with this key be allowed to? */
INSN(tprot)
{
	uint64_t ea = ea1(c, o), asce = c->s.cr[1];
	uint8_t key = (uint8_t)(ea2(c, o) >> 4) & 15, storage;
	struct translation t = { 0 };
	enum pgm_code code = PGM_NONE;
	bool fetch_only = false, private_space = false, low;
	unsigned int cc = 0;

	if (!(c->s.psw_mask & PSW_DAT)) {
		t.absolute = mmu_real_to_absolute(c, ea);
	} else {
		if ((c->s.psw_mask & PSW_ASC) == PSW_ASC_SECONDARY)
			asce = c->s.cr[7];
		else if ((c->s.psw_mask & PSW_ASC) == PSW_ASC_HOME)
			asce = c->s.cr[13];
		else if ((c->s.psw_mask & PSW_ASC) == PSW_ASC_AR)
			code = mmu_access_register(c, o->b1 & 15 ? c->s.ar[o->b1 & 15] : 0, true,
						   (uint16_t)(c->s.cr[8] >> 16), &asce,
						   &fetch_only);
		if (!code)
			code = mmu_walk(c, asce, ea, &t);
		private_space = asce & ASCE_PRIVATE_SPACE;
	}
	if (code == PGM_ADDRESSING || code == PGM_TRANSLATION_SPEC)
		mmu_exception(c, o, code, ea, ACCESS_READ, 0, 0, false);
	if (code) {
		set_cc(c, 3);
		return;
	}
	if (!range_fits(t.absolute, 1, c->complex->size))
		pgm(c, o, PGM_ADDRESSING);
	storage = t.acc_valid ? t.acc : c->complex->storage_keys[t.absolute >> PAGE_SHIFT];
	low = (c->s.cr[0] & CR0_LOW_ADDRESS_PROTECTION) && !private_space && !(ea & ~0x11ffull);
	if (!mmu_key_allows(c, key, storage, ea, private_space, ACCESS_READ))
		cc = 2;
	else if (!mmu_key_allows(c, key, storage, ea, private_space, ACCESS_WRITE) ||
		 t.write_protected || fetch_only || low)
		cc = 1;
	set_cc(c, cc);
}

INSN(tb)
{
	uint64_t real = gr_address(c, o->r2) & PAGE_MASK;
	uint8_t *p;

	if ((c->s.cr[0] & CR0_LOW_ADDRESS_PROTECTION) && !(real & ~0x1fffull)) {
		c->teid = 0;
		pgm(c, o, PGM_PROTECTION);
	}
	p = mmu_real(c, o, real, 4096);
	shared_fill(p, 0, PAGE_SIZE);
	memory_written(c->complex, (uint64_t)(p - c->complex->memory), PAGE_SIZE);
	c->s.gr[0] = 0;
	set_cc(c, 0);
}

/* ---- Storage keys ---- */

static uint8_t *key_of(struct vcpu *c, const struct op *o, uint64_t real)
{
	uint8_t *p = mmu_real(c, o, real & PAGE_MASK, 1);

	return &c->complex->storage_keys[(uint64_t)(p - c->complex->memory) >> PAGE_SHIFT];
}

INSN(iske)
{
	uint8_t key = __atomic_load_n(key_of(c, o, gr_address(c, o->r2)), __ATOMIC_RELAXED);

	c->s.gr[o->r1] = (c->s.gr[o->r1] & ~0xffull) | (key & 0xfe);
}

/* TLBs know what the key allowed, and whether reference and change are recorded. */
static void key_set(struct vcpu *c, uint8_t *key, uint8_t value, bool *flush)
{
	uint8_t old = __atomic_exchange_n(key, value, __ATOMIC_SEQ_CST);

	if ((old ^ value) & (KEY_ACC | KEY_FETCH) || old & ~value)
		*flush = true;
}

/*
 * With the conditional-SSKE facility the reference (MR) or change bit (MC) may be ignored:
 * a key that differs in nothing else stays. Returns whether it was set; *old what it was.
 */
static bool key_set_conditionally(struct vcpu *c, uint8_t *key, uint8_t value, bool ignore_r,
				  bool ignore_c, uint8_t *old, bool *flush)
{
	uint8_t count = KEY_ACC | KEY_FETCH | KEY_REFERENCE | KEY_CHANGE;

	*old = __atomic_load_n(key, __ATOMIC_RELAXED);
	if (ignore_r)
		count &= (uint8_t)~KEY_REFERENCE;
	if (ignore_c)
		count &= (uint8_t)~KEY_CHANGE;
	if ((ignore_r || ignore_c) && !((*old ^ value) & count))
		return false;
	key_set(c, key, value, flush);
	return true;
}

INSN_LAST(sske)
{
	uint64_t address = gr_address(c, o->r2) & PAGE_MASK;
	uint8_t value = (uint8_t)c->s.gr[o->r1] & 0xfe, old;
	unsigned int m3 = o->r3, cc = 0;
	bool conditional = m3 & 6, flush = false;
	uint8_t *key;

	/* Multiple-block control (EDAT-1): up to the next 1 MiB boundary. */
	do {
		if (m3 & 1) {
			if (!range_fits(address, 1, c->complex->size))
				pgm(c, o, PGM_ADDRESSING);
			key = &c->complex->storage_keys[address >> PAGE_SHIFT];
		} else {
			key = key_of(c, o, address);
		}
		cc = key_set_conditionally(c, key, value, m3 & 4, m3 & 2, &old, &flush);
		address += PAGE_SIZE;
	} while ((m3 & 1) && (address & 0xfffff));
	if (conditional && !(m3 & 1)) {
		c->s.gr[o->r1] = (c->s.gr[o->r1] & ~0xff00ull) | (uint64_t)old << 8;
		set_cc(c, cc);
	} else if (conditional) {
		set_cc(c, 3);
	}
	if (m3 & 1)
		set_gr_address(c, o->r2, address | (c->s.gr[o->r2] & ~PAGE_MASK));
	if (flush)
		mmu_flush_everywhere(c, -1);
}

INSN_LAST(rrbe)
{
	uint8_t *key = key_of(c, o, gr_address(c, o->r2));
	uint8_t old = __atomic_fetch_and(key, (uint8_t)~KEY_REFERENCE, __ATOMIC_SEQ_CST);

	set_cc(c, (old & (KEY_REFERENCE | KEY_CHANGE)) >> 1);
	if (old & KEY_REFERENCE)
		mmu_flush_everywhere(c, -1);
}

INSN(ivsk)
{
	struct translation t = { 0 };
	enum pgm_code code = mmu_walk(c, c->s.cr[1], gr_address(c, o->r2), &t);

	if (!(c->s.psw_mask & PSW_DAT))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[0] & CR0_EXTRACTION_AUTHORITY))
		pgm(c, o, PGM_PRIVILEGED);
	if (code)
		mmu_exception(c, o, code, gr_address(c, o->r2), ACCESS_READ, 0, 0, false);
	if (!range_fits(t.absolute, 1, c->complex->size))
		pgm(c, o, PGM_ADDRESSING);
	c->s.gr[o->r1] = (c->s.gr[o->r1] & ~0xffull) |
			 (c->complex->storage_keys[t.absolute >> PAGE_SHIFT] & 0xf8);
}

/*
 * PERFORM FRAME MANAGEMENT FUNCTION: set keys and clear frames of 4 KiB, 1 MiB or 2 GiB;
 * the large ones can be interrupted, with the address of the next page in R2.
 */
INSN_JUMP(pfmf)
{
	uint64_t control = c->s.gr[o->r1], address = gr_address(c, o->r2) & PAGE_MASK, end;
	bool set_key = control & 0x20000, clear = control & 0x10000, flush = false, again = false;
	bool ignore_r = control & 0x400, ignore_c = control & 0x200;
	unsigned int size = (unsigned int)(control >> 12) & 7;
	uint64_t span = size == 0 ? PAGE_SIZE : size == 1 ? MIB : 2 * GIB;

	/* 0x800: the nonquiescing-key-setting facility, which is not there; 0x8000 is a hint. */
	if (control & 0xfffc0901 || size > 2 || (size == 2 && c->addr_mask == 0xffffff))
		pgm(c, o, PGM_SPECIFICATION);
	if (clear && (c->s.cr[0] & CR0_LOW_ADDRESS_PROTECTION) && size == 0 && address < 0x2000) {
		c->teid = 0;
		pgm(c, o, PGM_PROTECTION);
	}
	end = (address & ~(span - 1)) + span;
	if (size == 0) {
		address = mmu_real_to_absolute(c, address);
		end = address + PAGE_SIZE;
	}
	for (; address < end && !again; address += PAGE_SIZE) {
		uint8_t *key, old;

		if (!range_fits(address, PAGE_SIZE, c->complex->size))
			pgm(c, o, PGM_ADDRESSING);
		key = &c->complex->storage_keys[address >> PAGE_SHIFT];
		if (clear) {
			shared_fill(absolute_host(c->complex, address), 0, PAGE_SIZE);
			memory_written(c->complex, address, PAGE_SIZE);
		}
		if (set_key)
			key_set_conditionally(c, key, (uint8_t)control & 0xfe, ignore_r, ignore_c,
					      &old, &flush);
		if (size) {
			set_gr_address(c, o->r2, address + PAGE_SIZE);
			again = address + PAGE_SIZE < end && interruption_wanted(c);
		}
	}
	if (flush)
		mmu_flush_everywhere(c, -1);
	return again ? repeat(c, o) : leave_behind(c, o);
}

/* ---- Address spaces ---- */

INSN(epar)
{
	if (!(c->s.psw_mask & PSW_DAT))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[0] & CR0_EXTRACTION_AUTHORITY))
		pgm(c, o, PGM_PRIVILEGED);
	set_lo32(c, o->r1, (uint16_t)c->s.cr[4]);
}

INSN(esar)
{
	if (!(c->s.psw_mask & PSW_DAT))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[0] & CR0_EXTRACTION_AUTHORITY))
		pgm(c, o, PGM_PRIVILEGED);
	set_lo32(c, o->r1, (uint16_t)c->s.cr[3]);
}

/* SET SECONDARY ASN to the current primary; others need the ASN tables, which Linux has not. */
INSN_LAST(ssar)
{
	if (!(c->s.psw_mask & PSW_DAT))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if ((uint16_t)c->s.gr[o->r1] != (uint16_t)c->s.cr[4])
		pgm(c, o, PGM_ASX_TRANSLATION);
	c->s.cr[3] = (c->s.cr[3] & ~0xffffull) | (uint16_t)c->s.gr[o->r1];
	c->s.cr[7] = c->s.cr[1];
	mmu_update_space(c);
}

/* One side of a move between spaces. */
struct side {
	uint64_t asce;
	uint64_t address;
	unsigned int key;
	unsigned int space;
	bool real;
};

/*
 * Up to `length` bytes, in pieces that lie in a page on both sides. Both operands are
 * accessible as a whole before anything moves: at most 4096 bytes, two pages each.
 */
static void move_between(struct vcpu *c, const struct op *o, const struct side *to,
			 const struct side *from, uint64_t length)
{
	uint8_t *t[2], *f[2], buffer[PAGE_SIZE];
	uint64_t tl, fl;

	if (!length)
		return;
	tl = MIN(length, PAGE_SIZE - (to->address & ~PAGE_MASK));
	fl = MIN(length, PAGE_SIZE - (from->address & ~PAGE_MASK));
	f[0] = mmu_explicit(c, o, from->asce, from->real, from->key, from->space, from->address,
			    ACCESS_READ);
	f[1] = fl == length ? NULL :
	       mmu_explicit(c, o, from->asce, from->real, from->key, from->space,
			    (from->address + fl) & c->addr_mask, ACCESS_READ);
	t[0] = mmu_explicit(c, o, to->asce, to->real, to->key, to->space, to->address,
			    ACCESS_WRITE);
	t[1] = tl == length ? NULL :
	       mmu_explicit(c, o, to->asce, to->real, to->key, to->space,
			    (to->address + tl) & c->addr_mask, ACCESS_WRITE);
	if (!f[1] && !t[1] && !THREAD_SANITIZER) {
		memmove(t[0], f[0], length);
	} else {
		shared_read(buffer, f[0], fl);
		if (f[1])
			shared_read(buffer + fl, f[1], length - fl);
		shared_write(t[0], buffer, tl);
		if (t[1])
			shared_write(t[1], buffer + tl, length - tl);
	}
	mmu_written(c, to->address, t[0], tl);
	if (t[1])
		mmu_written(c, (to->address + tl) & c->addr_mask, t[1], length - tl);
}

static struct side side_of(struct vcpu *c, uint64_t address, unsigned int asc)
{
	struct side s = {
		.address = address & c->addr_mask,
		.key = (unsigned int)((c->s.psw_mask & PSW_KEY) >> PSW_KEY_SHIFT),
		.real = !(c->s.psw_mask & PSW_DAT),
		.space = asc,
	};

	s.asce = asc == SPACE_SECONDARY ? c->s.cr[7] : asc == SPACE_HOME ? c->s.cr[13] : c->s.cr[1];
	return s;
}

/* The operand's space is that of an access register. */
static void side_by_register(struct vcpu *c, const struct op *o, struct side *s, unsigned int ar,
			     bool write)
{
	bool fetch_only;
	enum pgm_code code = mmu_access_register(c, ar && ar < 16 ? c->s.ar[ar] : 0, true,
						 (uint16_t)(c->s.cr[8] >> 16), &s->asce,
						 &fetch_only);

	s->space = SPACE_AR;
	if (!code && write && fetch_only)
		code = PGM_PROTECTION;
	if (code)
		mmu_exception(c, o, code, s->address, write ? ACCESS_WRITE : ACCESS_READ, SPACE_AR,
			      ar, false);
}

static unsigned int current_space(struct vcpu *c)
{
	switch (c->s.psw_mask & PSW_ASC) {
	case PSW_ASC_SECONDARY: return SPACE_SECONDARY;
	case PSW_ASC_HOME: return SPACE_HOME;
	default: return SPACE_PRIMARY;
	}
}

/* An operand in the space that the translation mode says. */
static struct side current_side(struct vcpu *c, const struct op *o, uint64_t address,
				unsigned int ar, bool write)
{
	struct side s = side_of(c, address, current_space(c));

	if ((c->s.psw_mask & (PSW_DAT | PSW_ASC)) == (PSW_DAT | PSW_ASC_AR))
		side_by_register(c, o, &s, ar, write);
	return s;
}

static void require_key(struct vcpu *c, const struct op *o, unsigned int key)
{
	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[3] << key & 0x80000000))
		pgm(c, o, PGM_PRIVILEGED);
}

/* MOVE TO PRIMARY, TO SECONDARY, WITH KEY: at most 256 bytes, cc 3 when there are more. */
static void move_key(struct vcpu *c, const struct op *o, struct side t, struct side f,
		     bool key_is_source)
{
	unsigned int key = (unsigned int)(c->s.gr[o->r3] >> 4) & 15;
	uint64_t length = gr_length(c, o->r1);

	/* The key is that of the secondary space, or of the source. */
	if (key_is_source)
		f.key = key;
	else
		t.key = key;
	require_key(c, o, key);
	move_between(c, o, &t, &f, MIN(length, 256));
	set_cc(c, length > 256 ? 3 : 0);
}

static void require_secondary(struct vcpu *c, const struct op *o)
{
	if (!(c->s.cr[0] & CR0_SECONDARY_SPACE) || !(c->s.psw_mask & PSW_DAT) ||
	    (c->s.psw_mask & PSW_ASC) == PSW_ASC_AR || (c->s.psw_mask & PSW_ASC) == PSW_ASC_HOME)
		pgm(c, o, PGM_SPECIAL_OPERATION);
}

INSN(mvcp)
{
	require_secondary(c, o);
	move_key(c, o, side_of(c, ea1(c, o), SPACE_PRIMARY),
		 side_of(c, ea2(c, o), SPACE_SECONDARY), true);
}

INSN(mvcs)
{
	require_secondary(c, o);
	move_key(c, o, side_of(c, ea1(c, o), SPACE_SECONDARY),
		 side_of(c, ea2(c, o), SPACE_PRIMARY), false);
}

INSN(mvck)
{
	struct side t = current_side(c, o, ea1(c, o), o->b1, true);

	move_key(c, o, t, current_side(c, o, ea2(c, o), o->b2, false), true);
}

INSN(mvcsk)
{
	unsigned int key = (unsigned int)(c->s.gr[1] >> 4) & 15;
	struct side t = current_side(c, o, ea1(c, o), o->b1, true);
	struct side f = current_side(c, o, ea2(c, o), o->b2, false);

	require_key(c, o, key);
	f.key = key;
	move_between(c, o, &t, &f, (c->s.gr[0] & 0xff) + 1);
}

INSN(mvcdk)
{
	unsigned int key = (unsigned int)(c->s.gr[1] >> 4) & 15;
	struct side t = current_side(c, o, ea1(c, o), o->b1, true);
	struct side f = current_side(c, o, ea2(c, o), o->b2, false);

	require_key(c, o, key);
	t.key = key;
	move_between(c, o, &t, &f, (c->s.gr[0] & 0xff) + 1);
}

/*
 * MOVE WITH OPTIONAL SPECIFICATIONS. Each half of GR0 is an operand-access control:
 * bits 0-3 key, 8-9 address-space control, 14 "key given", 15 "space given".
 */
static struct side optional_side(struct vcpu *c, const struct op *o, uint64_t address,
				 unsigned int ar, uint16_t oac, bool write)
{
	struct side s = side_of(c, address, current_space(c));
	unsigned int asc = oac & 1 ? (oac >> 6) & 3 :
				     (unsigned int)((c->s.psw_mask & PSW_ASC) >> 46);

	if (oac & 2) {
		s.key = oac >> 12;
		require_key(c, o, s.key);
	}
	if ((oac & 1) && asc == 3 && (c->s.psw_mask & PSW_PROBLEM))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if (asc == 2 && !(c->s.cr[0] & CR0_SECONDARY_SPACE))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	s.space = asc;
	switch (asc) {
	case 0:
		s.asce = c->s.cr[1];
		break;
	case 1:
		side_by_register(c, o, &s, ar, write);
		break;
	case 2:
		s.asce = c->s.cr[7];
		break;
	default:
		s.asce = c->s.cr[13];
		break;
	}
	return s;
}

INSN(mvcos)
{
	uint64_t length = gr_length(c, o->r3), part = MIN(length, 4096);
	struct side t, f;

	if (!(c->s.psw_mask & PSW_DAT))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	t = optional_side(c, o, ea1(c, o), o->b1, (uint16_t)(c->s.gr[0] >> 16), true);
	f = optional_side(c, o, ea2(c, o), o->b2, (uint16_t)c->s.gr[0], false);
	move_between(c, o, &t, &f, part);
	set_cc(c, length > 4096 ? 3 : 0);
}
