/* SPDX-License-Identifier: MIT */
/*
 * Address translation and protection.
 *
 * A TLB entry belongs to an address-space number, which stands for an ASCE, the
 * access key and whether addresses are real. Numbers are given out as spaces come
 * into use; flushing a space means forgetting its number, flushing all means
 * forgetting all of them, neither touches the TLB. Whatever makes an
 * access unusual (low-address protection, keys that differ within a page's
 * first half, storage-alteration events, the first write to a page whose change
 * bit is 0) leaves the tag invalid, so that it comes here each time.
 *
 * Source: Principles of Operation, chapter 3: "Protection", "Dynamic Address
 * Translation"; chapter 5: "Access-Register Translation"; chapter 6: "Access
 * Exceptions" for their order.
 */
#include <sched.h>

#include "cpu/soft/complex.h"

/* Space identification in the TEID's low bits, and what names the operand's space. */
#define SPACE_PRIMARY 0
#define SPACE_AR 1
#define SPACE_SECONDARY 2
#define SPACE_HOME 3

#define TEID_STORE 0x400
#define TEID_FETCH 0x800
#define TEID_PROTECTION_DAT 0x004

struct space {
	uint64_t asce;
	bool real;
	uint8_t key;
	uint8_t id; /* SPACE_* */
	uint8_t ar;
	uint32_t asid;
};

uint64_t mmu_real_to_absolute(const struct vcpu *c, uint64_t real)
{
	uint64_t area = real & ~0x1fffull;

	if (area == 0)
		return real + c->s.prefix;
	if (area == c->s.prefix)
		return real - c->s.prefix;
	return real;
}

_Noreturn void mmu_exception(struct vcpu *c, const struct op *o, enum pgm_code code, uint64_t va,
			     enum access access, unsigned int space_id, unsigned int ar,
			     bool dat_protection)
{
	c->teid = (va & PAGE_MASK) | (access == ACCESS_WRITE ? TEID_STORE : TEID_FETCH) |
		  (dat_protection ? TEID_PROTECTION_DAT : 0) | space_id;
	c->access_id = (uint8_t)ar;
	pgm(c, o, code);
}

/* ---- Walking the guest's tables ---- */

static bool table_entry(struct vcpu *c, uint64_t absolute, uint64_t *entry)
{
	struct cpu_complex *x = c->complex;

	if (!range_fits(absolute, 8, x->size))
		return false;
	*entry = be64_get((be64){ __atomic_load_n((uint64_t *)absolute_host(x, absolute),
						  __ATOMIC_RELAXED) });
	return true;
}

/* What a region- or segment-table entry means for the walk. */
struct level {
	uint8_t shift;  /* of the table's index in the address: 11 bits */
	uint8_t type;   /* ASCE_TYPE_*, also the entry's type field */
	enum pgm_code invalid;
};

static const struct level levels[] = {
	{ 53, ASCE_TYPE_REGION1, PGM_REGION_FIRST_TRANSLATION },
	{ 42, ASCE_TYPE_REGION2, PGM_REGION_SECOND_TRANSLATION },
	{ 31, ASCE_TYPE_REGION3, PGM_REGION_THIRD_TRANSLATION },
	{ 20, ASCE_TYPE_SEGMENT, PGM_SEGMENT_TRANSLATION },
};

enum pgm_code mmu_walk(struct vcpu *c, uint64_t asce, uint64_t va, struct translation *t)
{
	bool edat1 = c->s.cr[0] & CR0_EDAT;
	bool edat2 = edat1 && (c->complex->config.model.facilities[FACILITY_EDAT2 / 64] &
			       BIT64(FACILITY_EDAT2 % 64));
	unsigned int level = 3 - ((asce & ASCE_TYPE) >> 2);
	unsigned int offset = 0, length = asce & ASCE_LENGTH;
	uint64_t table = asce & ASCE_TABLE_ORIGIN, entry;

	*t = (struct translation){ 0 };
	if (asce & ASCE_REAL_SPACE) {
		t->absolute = mmu_real_to_absolute(c, va);
		return PGM_NONE;
	}
	if (level > 0 && va >> (levels[level].shift + 11))
		return PGM_ASCE_TYPE;

	for (;; level++) {
		const struct level *l = &levels[level];
		unsigned int index = (va >> l->shift) & 0x7ff;

		/* The table has quarters of 512 entries from `offset` to `length`. */
		if (index >> 9 < offset || index >> 9 > length)
			return l->invalid;
		if (!table_entry(c, table + 8 * index, &entry))
			return PGM_ADDRESSING;
		if (entry & SEGMENT_INVALID) {
			t->invalid_entry = level == 3 ? table + 8 * index : 0;
			return l->invalid;
		}
		if ((entry & SEGMENT_TYPE) != l->type)
			return PGM_TRANSLATION_SPEC;
		if (edat1 && (entry & SEGMENT_PROTECT))
			t->write_protected = true;
		if (level == 2 && edat2 && (entry & REGION3_FORMAT)) {
			t->absolute = (entry & REGION3_FRAME) | (va & ~REGION3_FRAME);
			goto frame;
		}
		if (level == 3)
			break;
		table = entry & REGION_ORIGIN;
		offset = (entry & REGION_OFFSET) >> 6;
		length = entry & REGION_LENGTH;
	}

	if (entry & SEGMENT_PROTECT)
		t->write_protected = true;
	if ((entry & SEGMENT_COMMON) && (asce & ASCE_PRIVATE_SPACE))
		return PGM_TRANSLATION_SPEC;
	if (edat1 && (entry & SEGMENT_FORMAT)) {
		t->absolute = (entry & SEGMENT_FRAME) | (va & ~SEGMENT_FRAME);
		goto frame;
	}
	table = (entry & SEGMENT_ORIGIN) + 8 * ((va >> 12) & 0xff);
	if (!table_entry(c, table, &entry))
		return PGM_ADDRESSING;
	if (entry & PTE_INVALID) {
		t->invalid_entry = table;
		return PGM_PAGE_TRANSLATION;
	}
	if (entry & PTE_ZERO)
		return PGM_TRANSLATION_SPEC;
	if (entry & PTE_PROTECT)
		t->write_protected = true;
	/* What the tables give is a real address for a page, an absolute one for a frame. */
	t->absolute = mmu_real_to_absolute(c, (entry & PTE_FRAME) | (va & ~PAGE_MASK));
	return PGM_NONE;
frame:
	if (entry & REGION3_ACC_VALID) {
		t->acc_valid = true;
		t->acc = (uint8_t)((entry & (REGION3_ACC | REGION3_FETCH)) >> 8);
	}
	return PGM_NONE;
}

/* ---- Access-register translation ---- */

static enum pgm_code real_words(struct vcpu *c, uint64_t real, uint32_t *to, unsigned int words)
{
	uint64_t absolute = mmu_real_to_absolute(c, real);

	if (!range_fits(absolute, 4ull * words, c->complex->size))
		return PGM_ADDRESSING;
	for (unsigned int i = 0; i < words; i++)
		to[i] = host_load32(absolute_host(c->complex, absolute) + 4 * i);
	return PGM_NONE;
}

enum pgm_code mmu_access_register(struct vcpu *c, uint32_t alet, bool test_eax, uint16_t eax,
				  uint64_t *asce, bool *fetch_only)
{
	uint32_t ald, ale[4], aste[16];
	uint64_t list;
	enum pgm_code code;

	*fetch_only = false;
	if (alet == 0) {
		*asce = c->s.cr[1];
		return PGM_NONE;
	}
	if (alet == 1) {
		*asce = c->s.cr[7];
		return PGM_NONE;
	}
	if (alet & 0xfe000000)
		return PGM_ALET_SPECIFICATION;
	/* Access-list designation: of the primary ASTE, or of the dispatchable unit. */
	list = alet & 0x01000000 ? (c->s.cr[5] & 0x7fffffc0) : (c->s.cr[2] & 0x7fffffc0);
	code = real_words(c, list + 16, &ald, 1);
	if (code)
		return code;
	if ((alet & 0xffff) >> 3 > (ald & 0x7f))
		return PGM_ALEN_TRANSLATION;
	code = real_words(c, (ald & 0x7fffff80) + 16 * (alet & 0xffff), ale, 4);
	if (code)
		return code;
	if (ale[0] & 0x80000000)
		return PGM_ALEN_TRANSLATION;
	if (((ale[0] >> 16) & 0xff) != ((alet >> 16) & 0xff))
		return PGM_ALE_SEQUENCE;
	code = real_words(c, ale[2] & 0x7fffffc0, aste, 16);
	if (code)
		return code;
	if (aste[0] & 0x80000000)
		return PGM_ASTE_VALIDITY;
	if (aste[5] != ale[3])
		return PGM_ASTE_SEQUENCE;
	/* Private entries (bit 7) want the same EAX, or authority in the table. */
	if (test_eax && (ale[0] & 0x01000000) && (ale[0] & 0xffff) != eax) {
		uint8_t authority = 0;
		uint64_t table = aste[0] & 0x7ffffffc;

		if (eax >> 4 > (aste[1] >> 4 & 0xfff) ||
		    !range_fits(mmu_real_to_absolute(c, table + (eax >> 2)), 1, c->complex->size))
			return PGM_EXTENDED_AUTHORITY;
		authority = shared_byte(
			absolute_host(c->complex, mmu_real_to_absolute(c, table + (eax >> 2))));
		if (!(authority << (2 * (eax & 3)) & 0x40))
			return PGM_EXTENDED_AUTHORITY;
	}
	*asce = (uint64_t)aste[2] << 32 | aste[3];
	*fetch_only = ale[0] & 0x02000000;
	return PGM_NONE;
}

/* ---- Spaces and their numbers ---- */

static void forget_spaces(struct vcpu *c)
{
	memset(c->asids, 0, sizeof(c->asids));
}

void mmu_flush_jumps(struct vcpu *c)
{
	for (unsigned int i = 0; i < JUMP_LINES; i++) {
		for (unsigned int j = 0; j < JUMP_SLOTS; j++)
			c->jumps[i][j].addr = ~0ull;
	}
}

static uint32_t asid_of(struct vcpu *c, uint64_t asce, bool real, uint8_t key)
{
	struct asid_slot *slot;

	if (real)
		asce = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(c->asids); i++) {
		slot = &c->asids[i];
		if (slot->asid && slot->asce == asce && slot->real == real && slot->key == key)
			return slot->asid;
	}
	if (c->asid_next > TLB_ASID_MAX) {
		for (unsigned int i = 0; i < TLB_ENTRIES; i++)
			c->tlb[i].tag_read = c->tlb[i].tag_write = TLB_INVALID;
		c->low[0].tag_write = c->low[1].tag_write = TLB_INVALID;
		mmu_flush_jumps(c);
		forget_spaces(c);
		c->asid_next = 1;
		/* The numbers of the current spaces are among those given out anew. */
		mmu_update_space(c);
		return asid_of(c, asce, real, key);
	}
	slot = &c->asids[c->asid_victim++ % ARRAY_SIZE(c->asids)];
	*slot = (struct asid_slot){
		.asce = asce, .real = real, .key = key, .asid = (uint16_t)c->asid_next++,
	};
	return slot->asid;
}

static inline uint8_t psw_key(const struct vcpu *c)
{
	return (uint8_t)((c->s.psw_mask & PSW_KEY) >> PSW_KEY_SHIFT);
}

static struct space fetch_space(struct vcpu *c)
{
	struct space s = { .key = psw_key(c) };

	if (!(c->s.psw_mask & PSW_DAT)) {
		s.real = true;
	} else if ((c->s.psw_mask & PSW_ASC) == PSW_ASC_HOME) {
		s.asce = c->s.cr[13];
		s.id = SPACE_HOME;
	} else {
		s.asce = c->s.cr[1];
	}
	return s;
}

/* The space of an operand. Not in the AR mode: `ar` is then to be looked at. */
static struct space operand_space(struct vcpu *c)
{
	struct space s = { .key = psw_key(c) };

	if (!(c->s.psw_mask & PSW_DAT)) {
		s.real = true;
		return s;
	}
	switch (c->s.psw_mask & PSW_ASC) {
	case PSW_ASC_SECONDARY:
		s.asce = c->s.cr[7];
		s.id = SPACE_SECONDARY;
		break;
	case PSW_ASC_HOME:
		s.asce = c->s.cr[13];
		s.id = SPACE_HOME;
		break;
	default:
		s.asce = c->s.cr[1];
		break;
	}
	return s;
}

static bool in_ar_mode(const struct vcpu *c)
{
	return (c->s.psw_mask & (PSW_DAT | PSW_ASC)) == (PSW_DAT | PSW_ASC_AR);
}

static struct space ar_space(struct vcpu *c, const struct op *o, uint64_t va, unsigned int ar,
			     enum access access)
{
	struct space s = { .key = psw_key(c), .id = SPACE_AR, .ar = (uint8_t)ar };
	uint32_t alet = ar == 0 || ar > 15 ? 0 : c->s.ar[ar];
	bool fetch_only;
	enum pgm_code code = mmu_access_register(c, alet, true, (uint16_t)(c->s.cr[8] >> 16),
						 &s.asce, &fetch_only);

	if (!code && fetch_only && access == ACCESS_WRITE)
		code = PGM_PROTECTION;
	if (code)
		mmu_exception(c, o, code, va, access, SPACE_AR, ar, false);
	s.asid = asid_of(c, s.asce, false, s.key);
	return s;
}

void mmu_update_space(struct vcpu *c)
{
	struct space s = fetch_space(c);

	c->fetch_asid = asid_of(c, s.asce, s.real, s.key);
	if (in_ar_mode(c)) {
		c->data_asid = 0;
	} else {
		s = operand_space(c);
		c->data_asid = asid_of(c, s.asce, s.real, s.key);
	}
}

/* ---- Filling the TLB ---- */

/* Neither low-address protection nor fetch-protection override is for private spaces. */
static bool is_private(const struct space *s)
{
	return !s->real && (s->asce & ASCE_PRIVATE_SPACE);
}

static bool low_address_protected(const struct vcpu *c, const struct space *s, uint64_t va)
{
	return (c->s.cr[0] & CR0_LOW_ADDRESS_PROTECTION) && !is_private(s) &&
	       (va & ~0x11ffull) == 0;
}

static bool low_page(const struct vcpu *c, uint64_t va)
{
	return (c->s.cr[0] & CR0_LOW_ADDRESS_PROTECTION) && va < 2 * PAGE_SIZE;
}

bool mmu_key_allows(const struct vcpu *c, uint8_t access_key, uint8_t storage_key, uint64_t va,
		    bool private_space, enum access access)
{
	if (access_key == 0 || access_key << 4 == (storage_key & KEY_ACC))
		return true;
	if ((c->s.cr[0] & CR0_STORAGE_PROTECTION_OVERRIDE) && (storage_key & KEY_ACC) == 0x90)
		return true;
	if (access == ACCESS_WRITE)
		return false;
	if (!(storage_key & KEY_FETCH))
		return true;
	return (c->s.cr[0] & CR0_FETCH_PROTECTION_OVERRIDE) && va < 2048 && !private_space;
}

/* A storage key has its page's access and fetch bits, or the frame's table entry has. */
static uint8_t effective_key(struct vcpu *c, const struct translation *t)
{
	uint8_t key = __atomic_load_n(&c->complex->storage_keys[t->absolute >> PAGE_SHIFT],
				      __ATOMIC_RELAXED);

	return t->acc_valid ? (uint8_t)((key & ~(KEY_ACC | KEY_FETCH)) | t->acc) : key;
}

static void key_record(struct vcpu *c, uint64_t absolute, uint8_t bits)
{
	uint8_t *key = &c->complex->storage_keys[absolute >> PAGE_SHIFT];

	if ((__atomic_load_n(key, __ATOMIC_RELAXED) & bits) != bits)
		__atomic_fetch_or(key, bits, __ATOMIC_RELAXED);
}

/*
 * Translate and check one access within a page; the host address of the byte.
 * The TLB learns what it may.
 */
static uint8_t *page_fill(struct vcpu *c, const struct op *o, const struct space *s, uint64_t va,
			  enum access access)
{
	struct cpu_complex *x = c->complex;
	struct tlb_entry *e;
	struct translation t = { .absolute = 0 };
	enum pgm_code code = PGM_NONE;
	uint64_t tag = (va & PAGE_MASK) | s->asid;
	bool write_ok, write_cached;
	uint8_t key;

	if (access == ACCESS_WRITE && low_address_protected(c, s, va)) {
		mmu_exception(c, o, PGM_PROTECTION, va, access, s->id, s->ar, false);
	}
	if (s->real)
		t.absolute = mmu_real_to_absolute(c, va);
	else
		code = mmu_walk(c, s->asce, va, &t);
	if (code)
		mmu_exception(c, o, code, va, access, s->id, s->ar, false);
	if (!range_fits(t.absolute, 1, x->size))
		mmu_exception(c, o, PGM_ADDRESSING, va, access, s->id, s->ar, false);
	if (access == ACCESS_WRITE && t.write_protected)
		mmu_exception(c, o, PGM_PROTECTION, va, access, s->id, s->ar, true);
	key = effective_key(c, &t);
	if (!mmu_key_allows(c, s->key, key, va, is_private(s), access))
		mmu_exception(c, o, PGM_PROTECTION, va, access, s->id, s->ar, false);

	key_record(c, t.absolute, access == ACCESS_WRITE ? KEY_REFERENCE | KEY_CHANGE :
							    KEY_REFERENCE);
	write_ok = !t.write_protected &&
		   mmu_key_allows(c, s->key, key, va, is_private(s), ACCESS_WRITE);
	write_cached = write_ok && !(c->per_active && (c->s.cr[9] & CR9_STORE)) &&
		       (access == ACCESS_WRITE || (key & KEY_CHANGE));

	if (unlikely(atomic_load_explicit(&x->unseen_writers, memory_order_relaxed)) &&
	    x->page_flags[t.absolute >> PAGE_SHIFT] & PAGE_HAS_CODE)
		code_compare(x, t.absolute >> PAGE_SHIFT);
	e = &c->tlb[(va >> PAGE_SHIFT) % TLB_ENTRIES];
	*e = (struct tlb_entry){
		.tag_read = tag,
		.tag_write = write_cached && !low_page(c, va) ? tag : TLB_INVALID,
		.addend = (uintptr_t)absolute_host(x, t.absolute & PAGE_MASK) - (va & PAGE_MASK),
		.flags = &x->page_flags[t.absolute >> PAGE_SHIFT],
	};
	/* A fetch-protection override stops in the middle of the page. */
	if (s->key && va < PAGE_SIZE && (c->s.cr[0] & CR0_FETCH_PROTECTION_OVERRIDE))
		e->tag_read = TLB_INVALID;
	if (write_cached && low_page(c, va)) {
		c->low[va >> PAGE_SHIFT] = *e;
		c->low[va >> PAGE_SHIFT].tag_write = tag;
	}
	return (uint8_t *)(va + e->addend);
}

/* Host address of a byte of an operand; the rest of its page may be used. */
static uint8_t *operand_host(struct vcpu *c, const struct op *o, uint64_t va, unsigned int ar,
			     enum access access)
{
	struct tlb_entry *e = &c->tlb[(va >> PAGE_SHIFT) % TLB_ENTRIES];
	struct space s;

	if (unlikely(!c->data_asid)) {
		s = ar_space(c, o, va, ar, access);
	} else {
		s.asid = c->data_asid;
	}
	if ((access == ACCESS_WRITE ? e->tag_write : e->tag_read) == ((va & PAGE_MASK) | s.asid))
		return (uint8_t *)(va + e->addend);
	if (access == ACCESS_WRITE && va < 2 * PAGE_SIZE && (va & ~0x11ffull) &&
	    c->low[va >> PAGE_SHIFT].tag_write == ((va & PAGE_MASK) | s.asid))
		return (uint8_t *)(va + c->low[va >> PAGE_SHIFT].addend);
	if (likely(c->data_asid)) {
		s = operand_space(c);
		s.asid = c->data_asid;
	}
	return page_fill(c, o, &s, va, access);
}

static uint64_t host_absolute(struct vcpu *c, const uint8_t *host)
{
	return (uint64_t)(host - c->complex->memory);
}

void mmu_written(struct vcpu *c, uint64_t ea, const uint8_t *host, size_t size)
{
	uint64_t absolute = host_absolute(c, host);

	atomic_signal_fence(memory_order_seq_cst);
	if (unlikely(__atomic_load_n(&c->complex->page_flags[absolute >> PAGE_SHIFT],
				     __ATOMIC_RELAXED)))
		memory_written(c->complex, absolute, size);
	if (unlikely(c->per_active && (c->s.cr[9] & CR9_STORE))) {
		uint64_t from = c->s.cr[10], to = c->s.cr[11], last = ea + size - 1;

		if (from <= to ? (last >= from && ea <= to) : (last >= from || ea <= to))
			c->per_code |= PER_STORE;
	}
}

void store_notice(struct vcpu *c, const struct op *o, const struct tlb_entry *e, uint64_t ea,
		  unsigned int size)
{
	memory_written(c->complex, host_absolute(c, (uint8_t *)(ea + e->addend)), size);
}

static inline unsigned int left_in_page(uint64_t ea)
{
	return (unsigned int)(PAGE_SIZE - (ea & ~PAGE_MASK));
}

uint64_t load_slow(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
		   unsigned int size)
{
	const uint8_t *p = operand_host(c, o, ea, ar, ACCESS_READ);
	unsigned int left = left_in_page(ea);
	uint8_t bytes[8];

	if (likely(left >= size)) {
		switch (size) {
		case 1:
			return shared_byte(p);
		case 2: return ACCESS_SWAP_16(ACCESS_LOAD(16, p));
		case 4: return ACCESS_SWAP_32(ACCESS_LOAD(32, p));
		default: return ACCESS_SWAP_64(ACCESS_LOAD(64, p));
		}
	}
	shared_read(bytes, p, left);
	p = operand_host(c, o, (ea + left) & c->addr_mask, ar, ACCESS_READ);
	shared_read(bytes + left, p, size - left);
	switch (size) {
	case 2: return load_be16(bytes);
	case 4: return load_be32(bytes);
	default: return load_be64(bytes);
	}
}

void store_slow(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
		unsigned int size, uint64_t value)
{
	unsigned int left = left_in_page(ea);
	uint8_t *p, *q, bytes[8];

	p = operand_host(c, o, ea, ar, ACCESS_WRITE);
	if (likely(left >= size)) {
		switch (size) {
		case 1: ACCESS_STORE(8, p, (uint8_t)value); break;
		case 2: ACCESS_STORE(16, p, ACCESS_SWAP_16((uint16_t)value)); break;
		case 4: ACCESS_STORE(32, p, ACCESS_SWAP_32((uint32_t)value)); break;
		default: ACCESS_STORE(64, p, ACCESS_SWAP_64(value)); break;
		}
		mmu_written(c, ea, p, size);
		return;
	}
	q = operand_host(c, o, (ea + left) & c->addr_mask, ar, ACCESS_WRITE);
	store_be64(bytes, value << (64 - 8 * size));
	shared_write(p, bytes, left);
	shared_write(q, bytes + left, size - left);
	mmu_written(c, ea, p, left);
	mmu_written(c, (ea + left) & c->addr_mask, q, size - left);
}

void require_write_slow(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
			unsigned int size)
{
	operand_host(c, o, ea, ar, ACCESS_WRITE);
	if (left_in_page(ea) < size)
		operand_host(c, o, (ea + left_in_page(ea)) & c->addr_mask, ar, ACCESS_WRITE);
}

void *interlocked_operand(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
			  unsigned int size)
{
	return operand_host(c, o, ea, ar, ACCESS_WRITE);
}

void interlocked_written(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
			 unsigned int size)
{
	mmu_written(c, ea, operand_host(c, o, ea, ar, ACCESS_WRITE), size);
}

static void span_find(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
		      size_t length, enum access access, struct span *s)
{
	unsigned int left = left_in_page(ea);

	s->part[0] = operand_host(c, o, ea, ar, access);
	s->absolute[0] = host_absolute(c, s->part[0]);
	s->address = ea;
	if (length <= left) {
		s->length[0] = (uint32_t)length;
		s->length[1] = 0;
		s->part[1] = NULL;
		s->absolute[1] = 0;
		return;
	}
	s->length[0] = left;
	s->length[1] = (uint32_t)(length - left);
	s->part[1] = operand_host(c, o, (ea + left) & c->addr_mask, ar, access);
	s->absolute[1] = host_absolute(c, s->part[1]);
}

void span_read(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar, size_t length,
	       struct span *s)
{
	span_find(c, o, ea, ar, length, ACCESS_READ, s);
}

void span_write(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar, size_t length,
		struct span *s)
{
	span_find(c, o, ea, ar, length, ACCESS_WRITE, s);
}

void span_written(struct vcpu *c, const struct span *s)
{
	if (s->length[0])
		mmu_written(c, s->address, s->part[0], s->length[0]);
	if (s->length[1])
		mmu_written(c, (s->address + s->length[0]) & c->addr_mask, s->part[1],
			    s->length[1]);
}

/* ---- Accesses outside the operand spaces ---- */

uint8_t *mmu_real(struct vcpu *c, const struct op *o, uint64_t real, unsigned int size)
{
	uint64_t absolute = mmu_real_to_absolute(c, real);

	if (!range_fits(absolute, size, c->complex->size))
		pgm(c, o, PGM_ADDRESSING);
	return absolute_host(c->complex, absolute);
}

uint8_t *mmu_explicit(struct vcpu *c, const struct op *o, uint64_t asce, bool real,
		      unsigned int key, unsigned int space_id, uint64_t va, enum access access)
{
	struct space s = {
		.asce = asce, .real = real, .key = (uint8_t)key, .id = (uint8_t)space_id,
	};
	struct tlb_entry *e = &c->tlb[(va >> PAGE_SHIFT) % TLB_ENTRIES];

	s.asid = asid_of(c, asce, real, s.key);
	if ((access == ACCESS_WRITE ? e->tag_write : e->tag_read) == ((va & PAGE_MASK) | s.asid))
		return (uint8_t *)(va + e->addend);
	return page_fill(c, o, &s, va, access);
}

/* Six bytes of instruction; the second page is touched only if the length reaches it. */
uint64_t mmu_fetch(struct vcpu *c, const struct op *o, uint64_t address)
{
	struct space s = fetch_space(c);
	uint8_t bytes[6] = { 0 };
	unsigned int done = 0, length = 6;

	s.asid = c->fetch_asid;
	while (done < length) {
		uint64_t va = (address + done) & c->addr_mask;
		struct tlb_entry *e = &c->tlb[(va >> PAGE_SHIFT) % TLB_ENTRIES];
		unsigned int part;
		const uint8_t *p;

		if (e->tag_read == ((va & PAGE_MASK) | s.asid))
			p = (const uint8_t *)(va + e->addend);
		else
			p = page_fill(c, o, &s, va, ACCESS_FETCH);
		if (done == 0)
			length = insn_length(shared_byte(p));
		part = MIN(length - done, left_in_page(va));
		shared_read(bytes + done, p, part);
		done += part;
	}
	return (uint64_t)load_be32(bytes) << 32 | (uint64_t)load_be16(bytes + 4) << 16;
}

int vcpu_translate(struct vcpu *c, uint64_t address, unsigned int ar, bool write,
		   uint64_t *absolute)
{
	enum access access = write ? ACCESS_WRITE : ACCESS_READ;
	struct translation t = { 0 };
	struct space s;
	enum pgm_code code;
	sigjmp_buf *outer = c->escape, escape;

	address &= c->addr_mask;
	c->escape = &escape;
	if (sigsetjmp(escape, 0)) {
		c->escape = outer;
		return -14;
	}
	code = PGM_NONE;
	s = in_ar_mode(c) ? ar_space(c, c->handler_op, address, ar, access) : operand_space(c);
	if (write && low_address_protected(c, &s, address))
		mmu_exception(c, c->handler_op, PGM_PROTECTION, address, access, s.id, s.ar, false);
	if (s.real)
		t.absolute = mmu_real_to_absolute(c, address);
	else
		code = mmu_walk(c, s.asce, address, &t);
	if (code)
		mmu_exception(c, c->handler_op, code, address, access, s.id, s.ar, false);
	if (write && t.write_protected)
		mmu_exception(c, c->handler_op, PGM_PROTECTION, address, access, s.id, s.ar, true);
	/* What lies outside of memory has no storage key. */
	if (range_fits(t.absolute, 1, c->complex->size) &&
	    !mmu_key_allows(c, s.key, effective_key(c, &t), address, is_private(&s), access))
		mmu_exception(c, c->handler_op, PGM_PROTECTION, address, access, s.id, s.ar, false);
	*absolute = t.absolute;
	c->escape = outer;
	return 0;
}

static int handler_access(struct vcpu *c, uint64_t address, unsigned int ar, void *buffer,
			  size_t length, bool write)
{
	sigjmp_buf *outer = c->escape, escape;
	struct span s;

	if (!length)
		return 0;
	c->escape = &escape;
	if (sigsetjmp(escape, 0)) {
		c->escape = outer;
		return -14; /* -EFAULT */
	}
	span_find(c, c->handler_op, address & c->addr_mask, ar, length,
		  write ? ACCESS_WRITE : ACCESS_READ, &s);
	if (write)
		span_put(c, &s, buffer);
	else
		span_get(&s, buffer);
	c->escape = outer;
	return 0;
}

int vcpu_read(struct vcpu *c, uint64_t address, unsigned int ar, void *to, size_t length)
{
	return handler_access(c, address, ar, to, length, false);
}

int vcpu_write(struct vcpu *c, uint64_t address, unsigned int ar, const void *from, size_t length)
{
	return handler_access(c, address, ar, (void *)(uintptr_t)from, length, true);
}

/* ---- Flushing ---- */

void mmu_flush_all(struct vcpu *c)
{
	forget_spaces(c);
	mmu_update_space(c);
}

/* All entries that a page-table entry with this index can have made. */
void mmu_flush_page_index(struct vcpu *c, unsigned int page_index)
{
	for (unsigned int i = page_index; i < TLB_ENTRIES; i += 256)
		c->tlb[i].tag_read = c->tlb[i].tag_write = TLB_INVALID;
	if (page_index < 2)
		c->low[page_index].tag_write = TLB_INVALID;
	for (unsigned int j = 0; j < JUMP_SLOTS; j++)
		c->jumps[page_index % JUMP_LINES][j].addr = ~0ull;
}

/* Own thread, out of guest code or between two instructions. */
void mmu_serve_flush_requests(struct vcpu *c)
{
	if (atomic_exchange(&c->flush_everything, false))
		mmu_flush_all(c);
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t bits = atomic_exchange(&c->flush_pages[i], 0);

		for (; bits; bits &= bits - 1)
			mmu_flush_page_index(c, 64 * i + (unsigned int)__builtin_ctzll(bits));
	}
}

/* Leave what the core has to its other thread for a moment. */
static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

/*
 * The others flush at their next branch, or before they execute guest code again
 * when they are out of it. While this vCPU waits it counts as out of it too, or
 * two that flush each other's TLB would wait for ever.
 */
void mmu_flush_everywhere(struct vcpu *c, int page_index)
{
	struct cpu_complex *x = c->complex;

	if (page_index < 0)
		mmu_flush_all(c);
	else
		mmu_flush_page_index(c, (unsigned int)page_index);
	if (x->count == 1)
		return;

	atomic_store(&c->in_guest, false);
	for (unsigned int i = 0; i < x->count; i++) {
		struct vcpu *v = x->vcpus[i];

		if (v == c)
			continue;
		if (page_index < 0)
			atomic_store(&v->flush_everything, true);
		else
			atomic_fetch_or(&v->flush_pages[page_index / 64], 1ull << page_index % 64);
		attention_set(v);
	}
	for (unsigned int i = 0; i < x->count; i++) {
		struct vcpu *v = x->vcpus[i];

		for (unsigned int spins = 0; v != c && atomic_load(&v->in_guest) &&
		     (page_index < 0 ? atomic_load(&v->flush_everything) :
				       (atomic_load(&v->flush_pages[page_index / 64]) >>
					page_index % 64) & 1);
		     spins++) {
			if (spins > 200)
				sched_yield();
			else
				relax();
		}
	}
	/* Still in decoded code: nobody throws it away meanwhile (in_code). */
	atomic_store(&c->in_guest, true);
	mmu_serve_flush_requests(c);
}
