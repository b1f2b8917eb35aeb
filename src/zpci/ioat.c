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
 * says where a walk starts; it may also designate one frame with no table.
 * A bit of the designation says whether there is translation at all: without it,
 * and if the function allows that, an address is the guest-absolute one plus the
 * start of the function's DMA range.
 *
 * Entries are fetched once each with one access, since the guest may change
 * them meanwhile. Nothing that a guest writes here is more than a number until it
 * has been compared with the size of memory.
 *
 * Sources: Linux, arch/s390/include/asm/pci_dma.h (layout of the designation and
 * the entries) and drivers/iommu/s390-iommu.c; QEMU, table_translate() in
 * hw/s390x/s390-pci-bus.c (which error has which code).
 */
#include <errno.h>

#include "zpci/internal.h"

/* The designation. */
#define IOTA_TRANSLATE 0x800ull
#define IOTA_PROTECTED 0x200ull
#define IOTA_TYPE(iota) ((iota) >> 2 & 7)
#define IOTA_FRAME_SIZE(iota) ((iota) & 3)
#define IOTA_TABLE_ORIGIN (~0x3fffull)

enum designation_type {
	DT_SEGMENT_TABLE = 0,
	DT_REGION_THIRD_TABLE = 1,
	DT_REGION_SECOND_TABLE = 2,
	DT_REGION_FIRST_TABLE = 3,
	DT_PAGE_FRAME = 4,
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

uint8_t ioat_designation_mask(void)
{
	return 0x80 >> DT_SEGMENT_TABLE | 0x80 >> DT_REGION_THIRD_TABLE |
	       0x80 >> DT_REGION_SECOND_TABLE | 0x80 >> DT_REGION_FIRST_TABLE |
	       0x80 >> DT_PAGE_FRAME;
}

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

static int walk_page_table(const struct dma_memory *memory, uint64_t origin, uint64_t iova,
			   bool writable, struct dma_translation *t)
{
	uint64_t entry;

	if (!fetch_entry(memory, origin, iova >> PAGE_TABLE_SHIFT & PAGE_INDEX_MASK, &entry) ||
	    !entry)
		return PEC_INVALID_TABLE_ENTRY;
	if (entry & PAGE_INVALID)
		return PEC_TRANSLATION_PROTECTION;
	*t = (struct dma_translation){
		.iova = iova & PAGE_MASK,
		.absolute = entry & PAGE_ORIGIN,
		.size = PAGE_SIZE,
		.writable = writable && !(entry & ENTRY_PROTECTED),
	};
	return 0;
}

static struct dma_translation frame(uint64_t iova, uint64_t designation, uint64_t size,
				    bool writable)
{
	return (struct dma_translation){
		.iova = iova & ~(size - 1),
		.absolute = designation & ~(size - 1),
		.size = size,
		.writable = writable,
	};
}

int ioat_walk(const struct dma_memory *memory, uint64_t iota, uint64_t iova,
	      struct dma_translation *t)
{
	bool writable = !(iota & IOTA_PROTECTED);
	uint64_t origin = iota & IOTA_TABLE_ORIGIN;
	unsigned type = IOTA_TYPE(iota), shift;

	if (type == DT_PAGE_FRAME) {
		*t = frame(iova, iota, frame_sizes[IOTA_FRAME_SIZE(iota)], writable);
		return 0;
	}
	shift = level_shift(type) + 11;
	if (shift < 64 && iova >> shift)
		return PEC_OUT_OF_RANGE;
	for (int level = type; level >= 0; level--) {
		uint64_t entry;

		shift = level_shift(level);
		if (!fetch_entry(memory, origin, iova >> shift & INDEX_MASK, &entry) || !entry)
			return PEC_INVALID_TABLE_ENTRY;
		if (entry & ENTRY_INVALID)
			return PEC_TRANSLATION_PROTECTION;
		if (ENTRY_TYPE(entry) != (unsigned)level)
			return PEC_TABLE_TYPE;
		if (entry & ENTRY_PROTECTED)
			writable = false;
		if (level <= DT_REGION_THIRD_TABLE && entry & ENTRY_FRAME) {
			*t = frame(iova, entry, 1ull << shift, writable);
			return 0;
		}
		if (level > 0 && ((entry & REGION_LENGTH) != REGION_LENGTH || entry & REGION_OFFSET))
			return PEC_TABLE_LENGTH;
		origin = entry & (level > 0 ? REGION_ORIGIN : SEGMENT_ORIGIN);
	}
	return walk_page_table(memory, origin, iova, writable, t);
}

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
 * Called with the lock of the DMA space held. `ioat` changes only while the space
 * is closed, so it is read without the function's lock.
 */
static int translate(void *opaque, uint64_t iova, enum dma_direction direction,
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
	if (!pec)
		clip(ioat, iova, t);
	return pec;
}

static void fault(void *opaque, uint64_t iova, enum dma_direction direction, int reason)
{
	function_fail(opaque, reason, iova);
}

const struct dma_space_ops ioat_dma_ops = {
	.translate = translate,
	.fault = fault,
	.reason_protected = PEC_TRANSLATION_PROTECTION,
	.reason_addressing = PEC_ADDRESSING,
};

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
	switch (IOTA_TYPE(ioat->iota)) {
	case DT_SEGMENT_TABLE:
	case DT_REGION_THIRD_TABLE:
	case DT_REGION_SECOND_TABLE:
	case DT_REGION_FIRST_TABLE:
		return 0;
	case DT_PAGE_FRAME:
		return frame_sizes[IOTA_FRAME_SIZE(ioat->iota)] ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

/* --- REFRESH PCI TRANSLATIONS ------------------------------------------------------- */

/*
 * How long the instruction waits for DMA in flight before it tells the program to
 * try again. The vCPU takes no interruption meanwhile.
 */
#define REFRESH_WAIT_US 200

static struct outcome refresh(struct zpci_function *f, uint64_t start, uint64_t length)
{
	enum function_state state;
	struct ioat ioat;
	uint64_t last;

	pthread_mutex_lock(&f->lock);
	state = f->state;
	ioat = f->ioat;
	pthread_mutex_unlock(&f->lock);
	switch (state) {
	case FUNCTION_ENABLED:
	case FUNCTION_BLOCKED:
		break;
	case FUNCTION_ERROR:
		return outcome_status(STATUS_ERROR_RECOVERY);
	default:
		return outcome_cc(CC_INVALID_HANDLE);
	}
	if (!ioat.registered) {
		function_fail(f, PEC_INVALID_ADDRESS_SPACE, start);
		return outcome_status(STATUS_FUNCTION_IN_ERROR);
	}
	if (!length)
		return outcome_cc(0);
	last = length - 1 > UINT64_MAX - start ? UINT64_MAX : start + (length - 1);
	if (last < ioat.pba || start > ioat.pal) {
		function_fail(f, PEC_OUT_OF_RANGE, start);
		return outcome_status(STATUS_FUNCTION_IN_ERROR);
	}
	/*
	 * Translations are made when they are used, so there is nothing to walk:
	 * it is enough to forget, and to wait for who still uses what was.
	 */
	if (dma_space_invalidate(f->dma, start, last - start + 1, REFRESH_WAIT_US))
		return outcome_cc(2);
	measurement_count(f, FMB_REFRESHES, COUNTER_LANE_SHARED);
	return outcome_cc(0);
}

static struct outcome rpcit(struct zpci *zpci, void *vcpu, unsigned r1, unsigned r2)
{
	struct zpci_function *f;
	struct outcome outcome;

	if (insn_problem_state(zpci, vcpu))
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	if (r2 & 1)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	f = function_enter(zpci, insn_gr(zpci, vcpu, r1) >> 32);
	if (!f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = refresh(f, insn_gr(zpci, vcpu, r2), insn_gr(zpci, vcpu, r2 + 1));
	function_leave(f);
	return outcome;
}

int zpci_insn_rpcit(struct zpci *zpci, void *vcpu, unsigned r1, unsigned r2)
{
	struct outcome outcome = rpcit(zpci, vcpu, r1, r2);

	TRACE_INSN(zpci, "zpci_rpcit", outcome, "fh=%08llx address=%#llx length=%#llx",
		   (unsigned long long)insn_gr(zpci, vcpu, r1) >> 32,
		   (unsigned long long)insn_gr(zpci, vcpu, r2 & ~1u),
		   (unsigned long long)insn_gr(zpci, vcpu, r2 | 1));
	return insn_finish(zpci, vcpu, outcome, r1);
}
