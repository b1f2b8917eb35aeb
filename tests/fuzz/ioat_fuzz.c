/* SPDX-License-Identifier: MIT */
/*
 * Walks of I/O-translation tables that a hostile guest has made.
 *
 * An input is a designation, entries for the tables, entries that other CPUs of the
 * guest store meanwhile, and addresses. While the tables stand still, the walk of one
 * address and the walk of a range have to agree about every page. Then threads
 * change the tables while a function does DMA through them and RPCIT is executed:
 * whatever the tables say at any moment, nothing outside memory is touched (the
 * sanitizer sees to that), each walk ends, and one that succeeds answers with a
 * block that a DMA space can use.
 *
 *	ioat_fuzz [-max_total_time=SECONDS] [CORPUS]
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zpci/internal.h"

#include "input.h"

/* Small, so that numbers that point somewhere often point at a table. */
#define MEMORY_SIZE (256 * KIB)
#define ENTRIES_MAX 64u
#define CHANGES_MAX 32u
#define ADDRESSES_MAX 16u

struct change {
	uint64_t place; /* of the entry, guest-absolute */
	uint64_t entry;
};

struct fuzz {
	struct dma_memory memory;
	uint64_t iota;
	struct change changes[CHANGES_MAX];
	unsigned change_count;
	uint64_t addresses[ADDRESSES_MAX];
	unsigned address_count;
	atomic_bool stop;
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

/*
 * Entries are mostly what a guest would write: a table's or a frame's place with a
 * type, a length and flags.
 */
static uint64_t take_entry(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);
	uint64_t place = take(in, 1) * 0x800 % MEMORY_SIZE, flags = take(in, 2);

	switch (kind % 8) {
	case 0:
		return take(in, 8);
	case 1:
		return 0;
	case 2:
		return place | (flags & 0xfff);
	case 3:
		return place | 0x400; /* an invalid page, a frame */
	case 4:
		return place | 0x20; /* an invalid table */
	default:
		/* Of a region table, or of a segment or page table. */
		return kind & 0x80 ? (place & ~0x3fffull) | (flags & 0xc) | 3 | (flags & 0x600) :
				     place | (flags & 0x200);
	}
}

static struct change take_change(struct input *in)
{
	return (struct change){ take(in, 2) * 8 % MEMORY_SIZE, take_entry(in) };
}

static void put(struct fuzz *f, const struct change *change)
{
	__atomic_store_n((uint64_t *)(f->memory.base + change->place),
			 be64_of(change->entry).raw, __ATOMIC_RELAXED);
}

static uint64_t take_address(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	/* An index of each level, or whatever. */
	if (kind & 1)
		return take(in, 8);
	return (kind & 2 ? take(in, 1) % 8 << 53 : 0) | (kind & 4 ? take(in, 1) % 8 << 42 : 0) |
	       (kind & 8 ? take(in, 1) % 8 << 31 : 0) | (kind & 16 ? take(in, 2) % 2048 << 20 : 0) |
	       take(in, 1) << 12;
}

static void check_translation(const struct dma_translation *t, uint64_t iova)
{
	check(t->size >= PAGE_SIZE && !(t->size & (t->size - 1)), "no block size");
	check(!(t->iova % t->size) && !(t->absolute % t->size), "a block that is not aligned");
	check(iova - t->iova < t->size, "a block without the address");
}

/* --- tables that stand still --------------------------------------------------------- */

static void compare_page(struct fuzz *f, const struct ioat_run *run, uint64_t iova)
{
	struct dma_translation t;
	int pec = ioat_walk(&f->memory, f->iota, iova, &t);

	if (!run->valid) {
		check(pec == PEC_TRANSLATION_PROTECTION, "a run is invalid and its page is not");
		return;
	}
	check(!pec, "a run is valid and its page is not");
	check_translation(&t, iova);
	check(t.writable == run->writable, "protection differs");
	check(t.absolute + ((iova & PAGE_MASK) - t.iova) ==
		      run->absolute + ((iova & PAGE_MASK) - run->first),
	      "page and run go to different places");
}

static void compare_range(struct fuzz *f, uint64_t first, uint64_t length)
{
	uint64_t last = length > UINT64_MAX - first ? UINT64_MAX : first + length;
	uint64_t expected = first & PAGE_MASK;
	struct ioat_cursor c;
	struct ioat_run run;
	int rc;

	ioat_cursor_init(&c, &f->memory, f->iota, first, last);
	c.budget = 2000;
	while (!(rc = ioat_cursor_next(&c, &run))) {
		check(run.first == expected && run.last >= run.first, "runs do not follow");
		check(run.last <= (last | ~PAGE_MASK), "a run beyond the range");
		compare_page(f, &run, run.first);
		compare_page(f, &run, run.last);
		expected = run.last + 1;
	}
	if (rc > 0) {
		struct dma_translation t;

		check(c.next == expected, "an error elsewhere");
		check(ioat_walk(&f->memory, f->iota, c.next, &t) == rc, "another error");
	} else {
		check(rc == -ENOENT || (rc == -EAGAIN && !c.budget), "a walk that gives up");
		check(rc != -ENOENT || expected == (last | ~PAGE_MASK) + 1, "a range cut short");
	}
}

/* --- tables that change ---------------------------------------------------------------- */

static void *change_tables(void *opaque)
{
	struct fuzz *f = opaque;

	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		for (unsigned i = 0; i < f->change_count; i++) {
			struct change other = f->changes[i];

			put(f, &other);
			other.entry ^= 1ull << (i % 12);
			put(f, &other);
		}
	}
	return NULL;
}

static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *t)
{
	struct fuzz *f = opaque;
	int pec = ioat_walk(&f->memory, f->iota, iova, t);

	if (!pec)
		check_translation(t, iova);
	return pec;
}

static const struct dma_space_ops space_ops = {
	.translate = translate,
	.reason_protected = PEC_TRANSLATION_PROTECTION,
	.reason_addressing = PEC_ADDRESSING,
};

/* Writes what it has read, so that a guest's tables change by DMA, too. */
static void transfer(struct pci_dma_space *space, uint64_t iova)
{
	static uint8_t buffer[0x2345];
	struct pci_dma_range range = { iova, 0x3000 };
	struct pci_dma_access access;
	struct iovec iov[4];

	(void)pci_dma_read(space, iova, buffer, sizeof(buffer));
	(void)pci_dma_write(space, iova ^ 0x1000, buffer, 64);
	if (pci_dma_access_begin(space, &access, PCI_DMA_FROM_DEVICE, &range, 1, iov,
				 ARRAY_SIZE(iov)) > 0) {
		check(dma_space_invalidate(space, iova, 1, 0) == -EAGAIN, "nobody is waited for");
		/* The tables may have changed or not. */
		(void)dma_space_refresh(space, iova, 0x3000, 0);
		*(volatile uint8_t *)iov[0].iov_base = 0;
		pci_dma_access_end(&access, 1);
	}
	check(!dma_space_invalidate(space, iova, 0x3000, 0), "somebody is waited for");
}

static void walk_moving_tables(struct fuzz *f)
{
	struct pci_dma_space *space = dma_space_new(&f->memory, &space_ops, f);
	struct ioat_cursor c;
	struct ioat_run run;
	pthread_t thread;

	if (!space)
		return;
	dma_space_open(space);
	dma_space_set_bus_master(space, true);
	f->stop = false;
	check(!pthread_create(&thread, NULL, change_tables, f), "no thread");
	for (unsigned i = 0; i < f->address_count; i++) {
		uint64_t expected = f->addresses[i] & PAGE_MASK;

		transfer(space, f->addresses[i]);
		ioat_cursor_init(&c, &f->memory, f->iota, f->addresses[i], UINT64_MAX);
		c.budget = 300;
		while (!ioat_cursor_next(&c, &run)) {
			check(run.first == expected && run.last >= run.first,
			      "runs do not follow");
			expected = run.last + 1;
		}
	}
	f->stop = true;
	pthread_join(thread, NULL);
	dma_space_free(space);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz f;
	struct input in = { data, size };
	unsigned entries;

	if (!f.memory.base) {
		f.memory = (struct dma_memory){ aligned_alloc(PAGE_SIZE, MEMORY_SIZE),
						MEMORY_SIZE, NULL, NULL };
		check(f.memory.base, "no memory");
	}
	memset(f.memory.base, 0, MEMORY_SIZE);
	f.iota = take(&in, 1) * 0x1000 % MEMORY_SIZE | 0x800 | (take(&in, 2) & 0xfff);
	/* A table to begin with, so that not all ends at entries of zeros. */
	for (unsigned i = 0; i < 2048; i++)
		put(&f, &(struct change){ i * 8, 0x4000 * (i % 8) | 7 });
	entries = (unsigned)take(&in, 1) % ENTRIES_MAX;
	for (unsigned i = 0; i < entries; i++) {
		struct change change = take_change(&in);
		unsigned repeat = (unsigned)take(&in, 1);

		/* Entries often come in rows. */
		for (unsigned j = 0; j <= repeat && change.place < MEMORY_SIZE; j++) {
			put(&f, &change);
			change.place += 8;
			change.entry += repeat & 1 ? PAGE_SIZE : 0;
		}
	}
	f.change_count = (unsigned)take(&in, 1) % CHANGES_MAX;
	for (unsigned i = 0; i < f.change_count; i++)
		f.changes[i] = take_change(&in);
	f.address_count = (unsigned)take(&in, 1) % ADDRESSES_MAX + 1;
	for (unsigned i = 0; i < f.address_count; i++)
		f.addresses[i] = take_address(&in);
	if (((f.iota >> 2 & 7) == 4 || (f.iota >> 2 & 7) == 5) && (f.iota & 3) == 3)
		return 0; /* never registered */
	if ((f.iota >> 2 & 7) == 6)
		return 0;
	for (unsigned i = 0; i < f.address_count; i++)
		compare_range(&f, f.addresses[i], 1ull << (f.addresses[i] >> 12) % 64);
	walk_moving_tables(&f);
	return 0;
}
