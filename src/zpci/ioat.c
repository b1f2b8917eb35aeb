/* SPDX-License-Identifier: MIT */
/*
 * I/O address translation: from a DMA address to a guest-absolute one.
 *
 * A program registers the range of DMA addresses that a function may use and
 * the designation of its tables (the I/O-translation anchor, IOTA). The tables
 * look like those of dynamic address translation, but are their own kind:
 *
 *   region-first  > region-second > region-third > segment > page table
 *   2^64            2^53            2^42           2^31      2^20   bytes each
 *
 * all with 2048 entries but the page table with 256. The designation's type
 * says where a walk starts; it may also designate one frame with no table. The
 * bits of an address to the left of what the table (or frame) covers are not
 * looked at: the registered range alone says which addresses are good. A bit of
 * the designation says whether there is translation at all: without it, and if
 * the function allows that, an address is the guest-absolute one plus the start
 * of the function's DMA range.
 *
 * Entries are fetched once each with one access, since the guest may change
 * them meanwhile. Nothing that a guest writes here is more than a number until it
 * has been compared with the size of memory.
 *
 * There are two ways to ask. ioat_walk() answers for one address, for functions
 * whose addresses are translated when they are used. A cursor (ioat_cursor_next())
 * goes through a range and answers with runs, for functions whose translations are
 * made in the host beforehand; it takes a page table at a time, skips what an
 * invalid upper entry leaves out, and stops when it has fetched as many entries as
 * it was allowed to.
 *
 * Sources: Linux, arch/s390/include/asm/pci_dma.h (layout of the designation and
 * the entries) and drivers/iommu/s390-iommu.c; QEMU, table_translate() in
 * hw/s390x/s390-pci-bus.c (which error has which code; it masks the index, too).
 * The storage key's place in the designation is the hole between the type and the
 * protection bit: Linux has "ZPCI_KEY", a default of 0 shifted left by 5.
 */
#include <errno.h>

#include "zpci/internal.h"

/* The designation. */
#define IOTA_TRANSLATE 0x800ull
#define IOTA_PROTECTED 0x200ull
#define IOTA_KEY(iota) ((iota) >> 5 & 15)
#define IOTA_TYPE(iota) ((iota) >> 2 & 7)
#define IOTA_FRAME_SIZE(iota) ((iota) & 3)
#define IOTA_TABLE_ORIGIN (~0x3fffull)
#define IOTA_PAGE_TABLE_ORIGIN (~0xfffull)

enum designation_type {
	DT_SEGMENT_TABLE = 0,
	DT_REGION_THIRD_TABLE = 1,
	DT_REGION_SECOND_TABLE = 2,
	DT_REGION_FIRST_TABLE = 3,
	DT_PAGE_FRAME = 4,
	DT_IO_PAGE_FRAME = 5,
	DT_PAGE_TABLE = 7,
};

static const uint64_t frame_sizes[4] = { 4 * KIB, 1 * MIB, 2 * GIB, 0 };

/* Entries of region and segment tables. */
#define ENTRY_INVALID 0x20ull
#define ENTRY_PROTECTED 0x200ull /* of page tables too */
#define ENTRY_FRAME 0x400ull     /* it designates a frame, not a table */
#define ENTRY_TYPE(entry) ((entry) >> 2 & 3)
#define REGION_LENGTH 0x3ull
#define REGION_OFFSET 0xc0ull
#define REGION_ORIGIN (~0x3fffull)
#define SEGMENT_ORIGIN (~0x7ffull)
/* Entries of page tables. */
#define PAGE_INVALID 0x400ull
#define PAGE_ORIGIN (~0xfffull)

#define INDEX_MASK 0x7ffull
#define PAGE_INDEX_MASK 0xffull
#define SEGMENT_SHIFT 20
#define PAGE_TABLE_SHIFT 12

/* Levels count as designation types do: segment table 0, region-first 3. */
static unsigned level_shift(unsigned level)
{
	return SEGMENT_SHIFT + 11 * level;
}

static bool is_frame(unsigned type)
{
	return type == DT_PAGE_FRAME || type == DT_IO_PAGE_FRAME;
}

uint8_t ioat_designation_mask(void)
{
	return 0x80 >> DT_SEGMENT_TABLE | 0x80 >> DT_REGION_THIRD_TABLE |
	       0x80 >> DT_REGION_SECOND_TABLE | 0x80 >> DT_REGION_FIRST_TABLE |
	       0x80 >> DT_PAGE_FRAME | 0x80 >> DT_IO_PAGE_FRAME | 0x80 >> DT_PAGE_TABLE;
}

/* --- the walk ----------------------------------------------------------------------- */

/* False if the entry is not in memory. */
static bool fetch_entry(const struct dma_memory *memory, uint64_t origin, uint64_t index,
			uint64_t *entry)
{
	uint64_t absolute = origin + index * sizeof(uint64_t);
	be64 raw;

	if (!range_fits(absolute, sizeof(uint64_t), memory->size))
		return false;
	raw.raw = __atomic_load_n((uint64_t *)(memory->base + absolute), __ATOMIC_RELAXED);
	*entry = be64_get(raw);
	return true;
}

/* Where the way down from the designation ends: above the page table, or at one. */
enum descent_end {
	END_INVALID,    /* at an invalid entry */
	END_FRAME,      /* at a frame of more than a page, or at one with no table */
	END_PAGE_TABLE, /* the page's entry is to be looked at */
};

struct descent {
	enum descent_end end;
	uint64_t origin;  /* of the frame or the page table */
	uint64_t size;    /* of what is invalid, of the frame, of what the table covers */
	bool writable;
	unsigned fetched; /* number of entries */
};

/* A PCI event code, or 0. */
static int descend(const struct dma_memory *memory, uint64_t iota, uint64_t iova, struct descent *d)
{
	unsigned type = IOTA_TYPE(iota);

	*d = (struct descent){
		.end = END_PAGE_TABLE,
		.size = 1ull << SEGMENT_SHIFT,
		.writable = !(iota & IOTA_PROTECTED),
	};
	if (is_frame(type)) {
		d->end = END_FRAME;
		d->size = frame_sizes[IOTA_FRAME_SIZE(iota)];
		d->origin = iota & ~(d->size - 1);
		return 0;
	}
	if (type == DT_PAGE_TABLE) {
		d->origin = iota & IOTA_PAGE_TABLE_ORIGIN;
		return 0;
	}
	d->origin = iota & IOTA_TABLE_ORIGIN;
	for (int level = type; level >= 0; level--) {
		unsigned shift = level_shift(level);
		uint64_t entry;

		d->size = 1ull << shift;
		d->fetched++;
		if (!fetch_entry(memory, d->origin, iova >> shift & INDEX_MASK, &entry) || !entry)
			return PEC_INVALID_TABLE_ENTRY;
		if (entry & ENTRY_INVALID) {
			d->end = END_INVALID;
			return 0;
		}
		if (ENTRY_TYPE(entry) != (unsigned)level)
			return PEC_TABLE_TYPE;
		if (entry & ENTRY_PROTECTED)
			d->writable = false;
		if (level <= DT_REGION_THIRD_TABLE && entry & ENTRY_FRAME) {
			d->end = END_FRAME;
			d->origin = entry & ~(d->size - 1);
			return 0;
		}
		if (level > 0 &&
		    ((entry & REGION_LENGTH) != REGION_LENGTH || entry & REGION_OFFSET))
			return PEC_TABLE_LENGTH;
		d->origin = entry & (level > 0 ? REGION_ORIGIN : SEGMENT_ORIGIN);
	}
	return 0;
}

static bool fetch_page_entry(const struct dma_memory *memory, uint64_t origin, uint64_t iova,
			     uint64_t *entry)
{
	return fetch_entry(memory, origin, iova >> PAGE_TABLE_SHIFT & PAGE_INDEX_MASK, entry) &&
	       *entry;
}

int ioat_walk(const struct dma_memory *memory, uint64_t iota, uint64_t iova,
	      struct dma_translation *t)
{
	struct descent d;
	uint64_t entry;
	int pec = descend(memory, iota, iova, &d);

	if (pec)
		return pec;
	switch (d.end) {
	case END_INVALID:
		return PEC_TRANSLATION_PROTECTION;
	case END_FRAME:
		*t = (struct dma_translation){
			.iova = iova & ~(d.size - 1),
			.absolute = d.origin,
			.size = d.size,
			.writable = d.writable,
		};
		return 0;
	default:
		break;
	}
	if (!fetch_page_entry(memory, d.origin, iova, &entry))
		return PEC_INVALID_TABLE_ENTRY;
	if (entry & PAGE_INVALID)
		return PEC_TRANSLATION_PROTECTION;
	*t = (struct dma_translation){
		.iova = iova & PAGE_MASK,
		.absolute = entry & PAGE_ORIGIN,
		.size = PAGE_SIZE,
		.writable = d.writable && !(entry & ENTRY_PROTECTED),
	};
	return 0;
}

/* --- a range ------------------------------------------------------------------------ */

/*
 * What is found at `c->next`, to the end of the page, frame, or range that an
 * invalid entry leaves out.
 */
static int piece(struct ioat_cursor *c, struct ioat_run *run)
{
	uint64_t iova = c->next, size = PAGE_SIZE, entry;

	if (!c->in_table) {
		struct descent d;
		int pec = descend(c->memory, c->iota, iova, &d);

		/* The lookup of a frame that needs no table is work as well. */
		c->budget -= MIN(MAX(d.fetched, 1), c->budget);
		if (pec)
			return pec;
		c->in_table = d.end == END_PAGE_TABLE;
		c->origin = d.origin;
		c->writable = d.writable;
		if (!c->in_table) {
			size = d.size;
			run->valid = d.end == END_FRAME;
			run->writable = run->valid && d.writable;
			run->absolute = run->valid ? d.origin + (iova & (size - 1)) : 0;
		}
	}
	if (c->in_table) {
		c->budget -= MIN(1, c->budget);
		if (!fetch_page_entry(c->memory, c->origin, iova, &entry))
			return PEC_INVALID_TABLE_ENTRY;
		run->valid = !(entry & PAGE_INVALID);
		run->writable = run->valid && c->writable && !(entry & ENTRY_PROTECTED);
		run->absolute = run->valid ? entry & PAGE_ORIGIN : 0;
	}
	run->first = iova;
	run->last = MIN(iova | (size - 1), c->last);
	return 0;
}

static bool continues(const struct ioat_run *run, const struct ioat_run *next)
{
	if (run->valid != next->valid || run->writable != next->writable)
		return false;
	return !run->valid || run->absolute + (next->first - run->first) == next->absolute;
}

void ioat_cursor_init(struct ioat_cursor *c, const struct dma_memory *memory, uint64_t iota,
		      uint64_t first, uint64_t last)
{
	*c = (struct ioat_cursor){
		.memory = memory,
		.iota = iota,
		.next = first & PAGE_MASK,
		.last = last | ~PAGE_MASK,
	};
}

int ioat_cursor_next(struct ioat_cursor *c, struct ioat_run *run)
{
	bool found = false;

	while (!c->ended) {
		struct ioat_run next;
		int pec;

		if (c->has_ahead) {
			next = c->ahead;
			c->has_ahead = false;
		} else {
			if (!c->budget)
				return found ? 0 : -EAGAIN;
			/* What is wrong is met again, and reported, when its turn comes. */
			pec = piece(c, &next);
			if (pec)
				return found ? 0 : pec;
		}
		if (found && !continues(run, &next)) {
			c->ahead = next;
			c->has_ahead = true;
			return 0;
		}
		if (!found)
			*run = next;
		run->last = next.last;
		found = true;
		c->ended = next.last == c->last;
		c->next = next.last + 1;
		if (!(c->next & ((1ull << SEGMENT_SHIFT) - 1)))
			c->in_table = false;
	}
	return found ? 0 : -ENOENT;
}

#define STORAGE_KEY_FETCH_PROTECTED 0x08

/* --- the translator of the function's DMA space ----------------------------------------- */

/*
 * Without translation. Blocks of 2 GiB keep the cache small; the start of the DMA
 * range is a multiple of a page only, so it may have to be pages.
 */
static struct dma_translation direct(const struct zpci_function *f, uint64_t iova)
{
	uint64_t sdma = f->config.sdma;
	uint64_t size = sdma % (2 * GIB) ? PAGE_SIZE : 2 * GIB;
	uint64_t start = iova & ~(size - 1);

	return (struct dma_translation){
		.iova = start, .absolute = start - sdma, .size = size, .writable = true,
	};
}

/* Only the page asked for, if the block is not all in the registered range. */
static void clip(const struct ioat *ioat, uint64_t iova, struct dma_translation *t)
{
	if (t->iova >= ioat->pba && t->iova + (t->size - 1) <= ioat->pal)
		return;
	t->absolute += (iova & PAGE_MASK) - t->iova;
	t->iova = iova & PAGE_MASK;
	t->size = PAGE_SIZE;
}

/*
 * Key-controlled protection, by the key in the designation: 0 fits always, another
 * one has to match, or else only a fetch is possible, and only if the storage key
 * does not protect from it. Keys change without a refresh, so the answer is not
 * kept: it is asked for again page by page.
 */
static int check_key(const struct zpci_function *f, unsigned key, uint64_t iova,
		     enum pci_dma_direction direction, struct dma_translation *t)
{
	const struct zpci_guest_memory *memory = &f->zpci->config.memory;
	uint64_t page = t->absolute + ((iova & PAGE_MASK) - t->iova);
	uint8_t storage_key;

	if (!key || !memory->storage_key || !memory_contains(f->zpci, page, PAGE_SIZE))
		return 0;
	storage_key = memory->storage_key(memory->opaque, page);
	if (storage_key >> 4 != key &&
	    (direction == PCI_DMA_FROM_DEVICE || storage_key & STORAGE_KEY_FETCH_PROTECTED))
		return PEC_KEY;
	*t = (struct dma_translation){
		.iova = iova & PAGE_MASK,
		.absolute = page,
		.size = PAGE_SIZE,
		.writable = t->writable,
		.once = true,
	};
	return 0;
}

/*
 * Called with the lock of the DMA space held. `ioat` changes only while the space
 * is closed, so it is read without the function's lock.
 */
static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *t)
{
	struct zpci_function *f = opaque;
	const struct ioat *ioat = &f->ioat;
	int pec = 0;

	if (!ioat->registered)
		return PEC_INVALID_ADDRESS_SPACE;
	if (iova < ioat->pba || iova > ioat->pal)
		return PEC_OUT_OF_RANGE;
	if (ioat->iota & IOTA_TRANSLATE)
		pec = ioat_walk(&f->zpci->memory, ioat->iota, iova, t);
	else
		*t = direct(f, iova);
	if (pec)
		return pec;
	clip(ioat, iova, t);
	return check_key(f, IOTA_KEY(ioat->iota), iova, direction, t);
}

static void fault(void *opaque, uint64_t iova, enum pci_dma_direction direction, int reason)
{
	function_fail(opaque, reason, iova);
}

const struct dma_space_ops ioat_dma_ops = {
	.translate = translate,
	.fault = fault,
	.reason_protected = PEC_TRANSLATION_PROTECTION,
	.reason_addressing = PEC_ADDRESSING,
};

void ioat_set(struct zpci_function *f, const struct ioat *ioat)
{
	f->ioat = *ioat;
	atomic_store_explicit(&f->refreshable_first, ioat->registered ? ioat->pba : UINT64_MAX,
			      memory_order_relaxed);
	atomic_store_explicit(&f->refreshable_last, ioat->registered ? ioat->pal : 0,
			      memory_order_relaxed);
}

bool ioat_equal(const struct ioat *a, const struct ioat *b)
{
	return a->registered == b->registered && a->pba == b->pba && a->pal == b->pal &&
	       a->iota == b->iota;
}

bool ioat_translates(const struct ioat *ioat)
{
	return ioat->iota & IOTA_TRANSLATE;
}

int ioat_check(const struct zpci_function *f, const struct ioat *ioat)
{
	const struct zpci_function_config *config = &f->config;

	if (ioat->pba > ioat->pal || ioat->pba < config->sdma || ioat->pal > config->edma)
		return -EINVAL;
	if (!(ioat->iota & IOTA_TRANSLATE)) {
		/* All of memory has to be reachable. */
		return config->relaxed_translation &&
		       config->edma - config->sdma >= f->zpci->memory.size - 1 ? 0 : -EINVAL;
	}
	/* A host's IOMMU knows no storage keys. */
	if (f->mapping && IOTA_KEY(ioat->iota))
		return -EINVAL;
	switch (IOTA_TYPE(ioat->iota)) {
	case DT_SEGMENT_TABLE:
	case DT_REGION_THIRD_TABLE:
	case DT_REGION_SECOND_TABLE:
	case DT_REGION_FIRST_TABLE:
	case DT_PAGE_TABLE:
		return 0;
	case DT_PAGE_FRAME:
	case DT_IO_PAGE_FRAME:
		return frame_sizes[IOTA_FRAME_SIZE(ioat->iota)] ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}
