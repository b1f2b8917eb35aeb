/* SPDX-License-Identifier: MIT */
/* DMA spaces: copies, accesses in flight, the IOTLB, invalidation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/util.h"
#include "dma/dma.h"

#define MEMORY (1 * MIB)
#define REASON_UNMAPPED 7
#define REASON_PROTECTED 8
#define REASON_ADDRESSING 9
#define IOVA 0x40000000ull
#define PAGES 64

/* A translator that is an array: pages from IOVA on; and one block of 1 MiB. */
struct world {
	struct dma_memory memory;
	struct pci_dma_space *space;
	uint64_t absolute[PAGES]; /* 0: not mapped */
	bool read_only[PAGES];
	bool elsewhere[PAGES]; /* `absolute` is an offset in `other` */
	bool remote[PAGES];    /* … and nobody says so */
	uint8_t *other;
	atomic_uint transfers;
	bool transfers_fail;
	size_t transfer_max; /* if not 0: what is beyond it fails */
	atomic_bool hold, held; /* a transfer waits for its end */
	uint64_t block_iova, block_absolute, block_size;
	unsigned translations;
	unsigned faults;
	uint64_t fault_iova;
	int fault_reason;
	enum pci_dma_direction fault_direction;
	unsigned reports;
	uint64_t report_absolute[8], report_length[8];
};

static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *t)
{
	struct world *w = opaque;
	uint64_t page = (iova - IOVA) / PAGE_SIZE;

	w->translations++;
	if (w->block_size && iova - w->block_iova < w->block_size) {
		*t = (struct dma_translation){ w->block_iova, w->block_absolute, w->block_size,
					       true };
		return 0;
	}
	if (page >= PAGES || !w->absolute[page])
		return REASON_UNMAPPED;
	*t = (struct dma_translation){ iova & PAGE_MASK, w->absolute[page], PAGE_SIZE,
				       !w->read_only[page] };
	if (w->elsewhere[page])
		t->host = w->other + w->absolute[page];
	t->remote = w->remote[page];
	return 0;
}

/* A peer that has the bytes of remote pages. */
static int transfer(void *opaque, uint64_t iova, void *buffer, size_t length,
		    enum pci_dma_direction direction, size_t *moved)
{
	struct world *w = opaque;
	uint8_t *bytes = buffer;

	w->transfers++;
	if (w->transfers_fail)
		return REASON_ADDRESSING;
	for (w->held = w->hold; w->hold;)
		usleep(100);
	for (size_t i = 0; i < length; i++) {
		uint64_t page = (iova + i - IOVA) / PAGE_SIZE;
		uint8_t *at = w->other + w->absolute[page] + (iova + i) % PAGE_SIZE;

		assert_true(page < PAGES && w->remote[page]);
		*moved = i;
		if (w->transfer_max && i == w->transfer_max)
			return REASON_ADDRESSING;
		if (direction == PCI_DMA_TO_DEVICE)
			bytes[i] = *at;
		else
			*at = bytes[i];
	}
	return 0;
}

static void fault(void *opaque, uint64_t iova, enum pci_dma_direction direction, int reason)
{
	struct world *w = opaque;

	w->faults++;
	w->fault_iova = iova;
	w->fault_reason = reason;
	w->fault_direction = direction;
}

static void written(void *opaque, uint64_t absolute, uint64_t length)
{
	struct world *w = opaque;
	unsigned i = w->reports++ % 8;

	w->report_absolute[i] = absolute;
	w->report_length[i] = length;
}

static const struct dma_space_ops ops = {
	.translate = translate,
	.fault = fault,
	.reason_protected = REASON_PROTECTED,
	.reason_addressing = REASON_ADDRESSING,
	.transfer = transfer,
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->memory = (struct dma_memory){ aligned_alloc(4096, MEMORY), MEMORY, written, w };
	memset(w->memory.base, 0, MEMORY);
	w->other = aligned_alloc(4096, MEMORY);
	memset(w->other, 0, MEMORY);
	w->space = dma_space_new(&w->memory, &ops, w);
	assert_non_null(w->space);
	dma_space_open(w->space);
	dma_space_set_bus_master(w->space, true);
	w->absolute[0] = 0x10000;
	w->absolute[1] = 0x30000;
	w->absolute[2] = 0x31000; /* goes on in memory */
	w->absolute[3] = 0x20000;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	dma_space_free(w->space);
	free(w->memory.base);
	free(w->other);
	free(w);
	return 0;
}

static void copies_cross_pages_that_are_apart_in_memory(void **state)
{
	struct world *w = *state;
	char buffer[] = "across two pages", back[sizeof(buffer)];

	assert_int_equal(pci_dma_write(w->space, IOVA + 0xff9, buffer, sizeof(buffer)), 0);
	assert_memory_equal(w->memory.base + 0x10ff9, buffer, 7);
	assert_memory_equal(w->memory.base + 0x30000, buffer + 7, sizeof(buffer) - 7);
	assert_int_equal(pci_dma_read(w->space, IOVA + 0xff9, back, sizeof(buffer)), 0);
	assert_string_equal(back, buffer);
	assert_int_equal(w->reports, 2);
	assert_int_equal(w->report_absolute[0], 0x10ff9);
	assert_int_equal(w->report_length[0], 7);
	assert_int_equal(w->report_absolute[1], 0x30000);
	assert_int_equal(w->report_length[1], sizeof(buffer) - 7);
}

static void copies_of_every_length_and_alignment_are_exact(void **state)
{
	struct world *w = *state;
	uint8_t buffer[600], back[600];

	for (unsigned length = 1; length < 40; length++) {
		for (unsigned offset = 0; offset < 9; offset++) {
			uint8_t *at = w->memory.base + 0x10100 + offset;

			memset(w->memory.base + 0x10100, 0xee, 64);
			for (unsigned i = 0; i < length; i++)
				buffer[i] = rand();
			assert_int_equal(
				pci_dma_write(w->space, IOVA + 0x100 + offset, buffer, length), 0);
			assert_memory_equal(at, buffer, length);
			assert_int_equal(at[length], 0xee);
			if (offset)
				assert_int_equal(at[-1], 0xee);
			assert_int_equal(
				pci_dma_read(w->space, IOVA + 0x100 + offset, back, length), 0);
			assert_memory_equal(back, buffer, length);
		}
	}
	assert_int_equal(pci_dma_write(w->space, IOVA + 3, buffer, 600), 0);
	assert_memory_equal(w->memory.base + 0x10003, buffer, 600);
}

static void failed_copy_moves_nothing_and_reports_where(void **state)
{
	struct world *w = *state;
	uint8_t buffer[2 * 4096];

	memset(buffer, 0x5a, sizeof(buffer));
	assert_int_equal(pci_dma_write(w->space, IOVA + 0x3f00, buffer, 0x200), -EFAULT);
	assert_int_equal(w->memory.base[0x20f00], 0);
	assert_int_equal(w->reports, 0);
	assert_int_equal(w->faults, 1);
	assert_int_equal(w->fault_iova, IOVA + 0x4000);
	assert_int_equal(w->fault_reason, REASON_UNMAPPED);
	assert_int_equal(w->fault_direction, PCI_DMA_FROM_DEVICE);
	assert_int_equal(pci_dma_read(w->space, IOVA + 0x4010, buffer, 1), -EFAULT);
	assert_int_equal(w->fault_iova, IOVA + 0x4010);
	assert_int_equal(w->fault_direction, PCI_DMA_TO_DEVICE);
}

static void read_only_page_can_be_read_only(void **state)
{
	struct world *w = *state;
	char byte = 1;

	w->read_only[0] = true;
	assert_int_equal(pci_dma_read(w->space, IOVA, &byte, 1), 0);
	assert_int_equal(pci_dma_write(w->space, IOVA, &byte, 1), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_PROTECTED);
}

static void page_outside_memory_is_not_touched(void **state)
{
	struct world *w = *state;
	char byte;

	w->absolute[0] = MEMORY;
	assert_int_equal(pci_dma_read(w->space, IOVA, &byte, 1), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_ADDRESSING);
	w->absolute[0] = ~0xfffull;
	assert_int_equal(pci_dma_read(w->space, IOVA, &byte, 1), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_ADDRESSING);
}

static void transfer_beyond_the_last_address_fails(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { UINT64_MAX - 3, 8 };
	struct pci_dma_access access;
	struct iovec iov[4];
	char buffer[8];

	assert_int_equal(pci_dma_read(w->space, UINT64_MAX - 3, buffer, 8), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_ADDRESSING);
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, iov,
					      4),
			 -EFAULT);
	assert_int_equal(w->faults, 2);
}

static void closed_space_or_no_bus_master_refuses_without_a_fault(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { IOVA, 8 };
	struct pci_dma_access access;
	struct iovec iov;
	char byte;

	dma_space_close(w->space);
	assert_int_equal(pci_dma_read(w->space, IOVA, &byte, 1), -EPERM);
	assert_int_equal(pci_dma_write(w->space, IOVA, &byte, 1), -EPERM);
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, &iov,
					      1),
			 -EPERM);
	dma_space_open(w->space);
	dma_space_set_bus_master(w->space, false);
	assert_int_equal(pci_dma_read(w->space, IOVA, &byte, 1), -EPERM);
	assert_int_equal(w->faults, 0);
	dma_space_set_bus_master(w->space, true);
	assert_int_equal(pci_dma_read(w->space, IOVA, &byte, 1), 0);
}

static void copy_that_is_too_long_is_refused(void **state)
{
	struct world *w = *state;
	static char buffer[PCI_DMA_COPY_MAX + 1];

	for (unsigned i = 0; i < PAGES; i++)
		w->absolute[i] = 0x10000;
	assert_int_equal(pci_dma_write(w->space, IOVA + 1, buffer, PCI_DMA_COPY_MAX), 0);
	assert_int_equal(pci_dma_write(w->space, IOVA, buffer, PCI_DMA_COPY_MAX + 1), -EINVAL);
	assert_int_equal(pci_dma_read(w->space, IOVA, buffer, 0), 0);
}

/* --- accesses ----------------------------------------------------------------------- */

static void access_merges_what_goes_on_in_memory(void **state)
{
	struct world *w = *state;
	struct pci_dma_range ranges[] = { { IOVA + 0x800, 0x2800 },
					  { 0, 0 },
					  { IOVA + 0x3000, 16 } };
	struct pci_dma_access access;
	struct iovec iov[8];

	assert_int_equal(
		pci_dma_access_begin(w->space, &access, PCI_DMA_FROM_DEVICE, ranges, 3, iov, 8), 3);
	assert_ptr_equal(iov[0].iov_base, w->memory.base + 0x10800);
	assert_int_equal(iov[0].iov_len, 0x800);
	assert_ptr_equal(iov[1].iov_base, w->memory.base + 0x30000);
	assert_int_equal(iov[1].iov_len, 0x2000);
	assert_ptr_equal(iov[2].iov_base, w->memory.base + 0x20000);
	assert_int_equal(iov[2].iov_len, 16);
	pci_dma_access_end(&access, 0x900);
	assert_int_equal(w->reports, 2); /* only what was stored */
	assert_int_equal(w->report_length[0], 0x800);
	assert_int_equal(w->report_absolute[1], 0x30000);
	assert_int_equal(w->report_length[1], 0x100);
}

static void access_with_too_small_a_list_has_not_begun(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { IOVA, 0x2000 };
	struct pci_dma_access access;
	struct iovec iov[1];

	assert_int_equal(pci_dma_range_iov_max(&range), 2);
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, iov,
					      1),
			 -E2BIG);
	assert_int_equal(dma_space_drain(w->space, 0), 0);
	assert_int_equal(w->faults, 0);
}

static void failed_access_has_not_begun(void **state)
{
	struct world *w = *state;
	struct pci_dma_range ranges[] = { { IOVA, 0x1000 }, { IOVA + 0x5000, 1 } };
	struct pci_dma_access access;
	struct iovec iov[4];

	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, ranges, 2, iov,
					      4),
			 -EFAULT);
	assert_int_equal(w->fault_iova, IOVA + 0x5000);
	assert_int_equal(dma_space_drain(w->space, 0), 0);
}

static void reading_memory_reports_no_store(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { IOVA, 0x1000 };
	struct pci_dma_access access;
	struct iovec iov;

	pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, &iov, 1);
	pci_dma_access_end(&access, 0x1000);
	assert_int_equal(w->reports, 0);
	assert_int_equal(dma_space_counters(w->space).read, 0x1000);
	assert_int_equal(dma_space_counters(w->space).written, 0);
}

/* --- the IOTLB ------------------------------------------------------------------------ */

static void translation_is_asked_for_once(void **state)
{
	struct world *w = *state;
	char byte;

	for (unsigned i = 0; i < 100; i++)
		pci_dma_read(w->space, IOVA + i, &byte, 1);
	assert_int_equal(w->translations, 1);
	pci_dma_write(w->space, IOVA, &byte, 1);
	assert_int_equal(w->translations, 1);
}

static void old_answer_holds_until_it_is_invalidated(void **state)
{
	struct world *w = *state;
	uint8_t byte;

	w->memory.base[0x40000] = 42;
	pci_dma_read(w->space, IOVA, &byte, 1);
	w->absolute[0] = 0x40000;
	pci_dma_read(w->space, IOVA, &byte, 1);
	assert_int_equal(byte, 0);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 0x1000, 0x3000, 0), 0);
	pci_dma_read(w->space, IOVA, &byte, 1);
	assert_int_equal(byte, 0);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 0xfff, 1, 0), 0);
	pci_dma_read(w->space, IOVA, &byte, 1);
	assert_int_equal(byte, 42);
}

static void failure_is_not_remembered(void **state)
{
	struct world *w = *state;
	char byte;

	assert_int_equal(pci_dma_read(w->space, IOVA + 0x8000, &byte, 1), -EFAULT);
	w->absolute[8] = 0x50000;
	assert_int_equal(pci_dma_read(w->space, IOVA + 0x8000, &byte, 1), 0);
}

static void large_block_is_one_answer(void **state)
{
	struct world *w = *state;
	uint8_t byte;

	w->block_iova = 0x80000000;
	w->block_size = MEMORY;
	w->memory.base[0xffff0] = 7;
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(pci_dma_read(w->space, 0x80000000 + i * 4096, &byte, 1), 0);
	assert_int_equal(w->translations, 1);
	assert_int_equal(pci_dma_read(w->space, 0x80000000 + 0xffff0, &byte, 1), 0);
	assert_int_equal(byte, 7);
	w->block_size = 0;
	assert_int_equal(dma_space_invalidate(w->space, 0x80000000 + 0x5000, 0x1000, 0), 0);
	assert_int_equal(pci_dma_read(w->space, 0x80000000, &byte, 1), -EFAULT);
}

static void block_that_sticks_out_of_memory_is_used_as_far_as_it_goes(void **state)
{
	struct world *w = *state;
	uint8_t byte;

	w->block_iova = 0x80000000;
	w->block_absolute = 0;
	w->block_size = 4 * MEMORY;
	w->memory.base[MEMORY - 1] = 9;
	assert_int_equal(pci_dma_read(w->space, 0x80000000 + MEMORY - 1, &byte, 1), 0);
	assert_int_equal(byte, 9);
	assert_int_equal(pci_dma_read(w->space, 0x80000000, &byte, 1), 0);
	assert_int_equal(w->translations, 1); /* both in the part that fits */
	assert_int_equal(pci_dma_read(w->space, 0x80000000 + MEMORY, &byte, 1), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_ADDRESSING);
}

static void pages_that_share_a_place_in_the_cache_are_told_apart(void **state)
{
	struct world *w = *state;
	uint8_t byte;

	w->memory.base[0x10000] = 1;
	w->block_iova = IOVA + 2048 * PAGE_SIZE; /* the same place as IOVA */
	w->block_absolute = 0x60000;
	w->block_size = PAGE_SIZE;
	w->memory.base[0x60000] = 2;
	for (unsigned i = 0; i < 3; i++) {
		pci_dma_read(w->space, IOVA, &byte, 1);
		assert_int_equal(byte, 1);
		pci_dma_read(w->space, w->block_iova, &byte, 1);
		assert_int_equal(byte, 2);
	}
}

/* --- waiting ------------------------------------------------------------------------------ */

static void invalidation_minds_only_the_pages_in_use(void **state)
{
	struct world *w = *state;
	struct pci_dma_range ranges[] = { { IOVA + 0x10, 16 }, { IOVA + 0x2ff0, 0x20 } };
	struct pci_dma_access access;
	struct iovec iov[4];

	assert_true(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, ranges, 2, iov, 4) >
		    0);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 0x1000, 0x1000, 0), 0);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 0x4000, 0x1000, 0), 0);
	assert_int_equal(dma_space_invalidate(w->space, IOVA, 1, 0), -EAGAIN);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 0x3fff, 1, 0), -EAGAIN);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 0x2000, 1, 1000), -EAGAIN);
	assert_int_equal(dma_space_drain(w->space, 0), -EAGAIN);
	pci_dma_access_end(&access, 0);
	assert_int_equal(dma_space_drain(w->space, 0), 0);
}

struct waiter {
	struct world *w;
	atomic_int done;
	int result;
};

static void *wait_for_drain(void *opaque)
{
	struct waiter *waiter = opaque;

	waiter->result = dma_space_invalidate(waiter->w->space, IOVA, 0x1000, UINT64_MAX);
	waiter->done = 1;
	return NULL;
}

static void invalidation_waits_for_dma_in_flight(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { IOVA, 0x1000 };
	struct pci_dma_access first, second;
	struct iovec iov[2];
	struct waiter waiter = { .w = w };
	pthread_t thread;

	pci_dma_access_begin(w->space, &first, PCI_DMA_TO_DEVICE, &range, 1, iov, 1);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_drain, &waiter), 0);
	for (unsigned i = 0; !dma_space_waiters(w->space); i++) {
		assert_in_range(i, 0, 100000);
		usleep(100);
	}
	assert_int_equal(waiter.done, 0);
	/* A younger access does not make it wait longer. */
	pci_dma_access_begin(w->space, &second, PCI_DMA_TO_DEVICE, &range, 1, iov + 1, 1);
	pci_dma_access_end(&first, 0);
	pthread_join(thread, NULL);
	assert_int_equal(waiter.result, 0);
	pci_dma_access_end(&second, 0);
}

/* An access to pages 0 to 3, less the first and the last 16 bytes, and 8 of page 3 again. */
static void refresh_waits_for_an_access_whose_pages_have_changed(void **state)
{
	struct world *w = *state;
	const struct pci_dma_range ranges[] = { { IOVA + 16, 4 * PAGE_SIZE - 32 },
						{ 0, 0 },
						{ IOVA + 3 * PAGE_SIZE, 8 } };
	struct pci_dma_access access;
	struct iovec iov[5];

	assert_int_equal(
		pci_dma_access_begin(w->space, &access, PCI_DMA_FROM_DEVICE, ranges, 3, iov, 5), 4);
	assert_int_equal(dma_space_refresh(w->space, 0, UINT64_MAX, 0), 0);
	assert_int_equal(dma_space_invalidate(w->space, 0, UINT64_MAX, 0), -EAGAIN);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t page = IOVA + i * PAGE_SIZE, absolute = w->absolute[i];

		w->absolute[i] = 0;
		assert_int_equal(dma_space_refresh(w->space, 0, UINT64_MAX, 0), -EAGAIN);
		assert_int_equal(dma_space_refresh(w->space, page + 8, 1, 0), -EAGAIN);
		assert_int_equal(dma_space_refresh(w->space, page - PAGE_SIZE, PAGE_SIZE, 0), 0);
		assert_int_equal(dma_space_refresh(w->space, page + PAGE_SIZE, PAGE_SIZE, 0), 0);
		w->absolute[i] = 0x50000;
		assert_int_equal(dma_space_refresh(w->space, page, 1, 1000), -EAGAIN);
		w->absolute[i] = MEMORY;
		assert_int_equal(dma_space_refresh(w->space, page, 1, 0), -EAGAIN);
		w->absolute[i] = absolute;
		assert_int_equal(dma_space_refresh(w->space, 0, UINT64_MAX, 0), 0);
		w->read_only[i] = true;
		assert_int_equal(dma_space_refresh(w->space, page, 1, 0), -EAGAIN);
		w->read_only[i] = false;
	}
	/* It has a translation no more. */
	dma_space_close(w->space);
	assert_int_equal(dma_space_refresh(w->space, IOVA, 1, 0), -EAGAIN);
	dma_space_open(w->space);
	w->absolute[1] = 0;
	pci_dma_access_end(&access, 0);
	assert_int_equal(dma_space_refresh(w->space, 0, UINT64_MAX, 0), 0);
	assert_int_equal(w->faults, 0);
}

static void refresh_knows_pages_of_blocks_and_elsewhere(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { IOVA + 11 * PAGE_SIZE + 1, 2 };
	struct pci_dma_access access;
	struct iovec iov;

	w->absolute[11] = 0x40000;
	w->elsewhere[11] = true;
	pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, &iov, 1);
	w->read_only[11] = true;
	assert_int_equal(dma_space_refresh(w->space, range.iova, 1, 0), 0);
	w->elsewhere[11] = false;
	assert_int_equal(dma_space_refresh(w->space, range.iova, 1, 0), -EAGAIN);
	pci_dma_access_end(&access, 0);

	w->block_iova = range.iova = 0x80000000;
	w->block_size = MEMORY;
	range.iova += MEMORY - 100;
	range.length = 100;
	pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, &iov, 1);
	assert_int_equal(dma_space_refresh(w->space, 0x80000000, MEMORY, 0), 0);
	/* The same page in another block; and in one that is half in memory. */
	w->block_iova = 0x80000000 + MEMORY - PAGE_SIZE;
	w->block_absolute = MEMORY - PAGE_SIZE;
	w->block_size = PAGE_SIZE;
	assert_int_equal(dma_space_refresh(w->space, 0x80000000, MEMORY, 0), 0);
	w->block_iova = 0x80000000;
	w->block_absolute = 0;
	w->block_size = 2 * MEMORY;
	assert_int_equal(dma_space_refresh(w->space, 0x80000000, MEMORY, 0), 0);
	w->block_absolute = MEMORY;
	assert_int_equal(dma_space_refresh(w->space, 0x80000000, MEMORY, 0), -EAGAIN);
	pci_dma_access_end(&access, 0);
}

/* Each access begins before the one before it ends, for as long as one likes. */
static void refresh_ends_however_busy_the_device_is(void **state)
{
	struct world *w = *state;
	struct pci_dma_range taken = { IOVA, 1 }, kept = { IOVA + 0x1000, 0x2000 };
	struct pci_dma_access slow, access[2];
	struct iovec iov[3];

	pci_dma_access_begin(w->space, &access[0], PCI_DMA_FROM_DEVICE, &kept, 1, iov, 1);
	pci_dma_access_begin(w->space, &slow, PCI_DMA_FROM_DEVICE, &taken, 1, iov + 2, 1);
	w->absolute[0] = 0;
	for (unsigned i = 1; i < 100; i++) {
		pci_dma_access_begin(w->space, &access[i % 2], PCI_DMA_FROM_DEVICE, &kept, 1,
				     iov + i % 2, 1);
		assert_int_equal(dma_space_refresh(w->space, 0, UINT64_MAX, i == 1 ? 1000 : 0),
				 i <= 50 ? -EAGAIN : 0);
		if (i == 50)
			pci_dma_access_end(&slow, 0);
		pci_dma_access_end(&access[(i + 1) % 2], 0);
	}
	/* What changes between two calls counts. */
	w->absolute[2] = 0;
	assert_int_equal(dma_space_refresh(w->space, 0, UINT64_MAX, 0), -EAGAIN);
	pci_dma_access_end(&access[1], 0);
}

static void *wait_for_refresh(void *opaque)
{
	struct waiter *waiter = opaque;

	waiter->result = dma_space_refresh(waiter->w->space, 0, UINT64_MAX, UINT64_MAX);
	waiter->done = 1;
	return NULL;
}

static void refresh_waits_for_the_last_that_has_changed(void **state)
{
	struct world *w = *state;
	const struct pci_dma_range range[] = {
		{ IOVA, 1 }, { IOVA + 0x1000, 1 }, { IOVA + 0x2000, 1 }, { IOVA + 0x3000, 1 }
	};
	struct waiter waiter = { .w = w };
	struct pci_dma_access access[4];
	struct iovec iov[4];
	pthread_t thread;

	for (unsigned i = 0; i < 4; i++)
		pci_dma_access_begin(w->space, &access[i], PCI_DMA_TO_DEVICE, &range[i], 1, &iov[i],
				     1);
	w->absolute[1] = w->absolute[3] = 0;
	assert_int_equal(pthread_create(&thread, NULL, wait_for_refresh, &waiter), 0);
	for (unsigned i = 0; !dma_space_waiters(w->space); i++) {
		assert_in_range(i, 0, 100000);
		usleep(100);
	}
	pci_dma_access_end(&access[1], 0);
	pci_dma_access_end(&access[2], 0);
	usleep(10000);
	assert_int_equal(waiter.done, 0);
	pci_dma_access_end(&access[3], 0);
	pthread_join(thread, NULL);
	assert_int_equal(waiter.result, 0);
	assert_int_equal(dma_space_drain(w->space, 0), -EAGAIN);
	pci_dma_access_end(&access[0], 0);
}

/* Pages 10 to 13: memory, elsewhere, remote, remote. */
static void mix_pages(struct world *w)
{
	for (unsigned i = 10; i < 14; i++)
		w->absolute[i] = 0x40000 + i * PAGE_SIZE;
	w->elsewhere[11] = true;
	w->remote[12] = w->remote[13] = true;
}

static void copies_reach_memory_wherever_it_is(void **state)
{
	struct world *w = *state;
	uint8_t buffer[3 * PAGE_SIZE + 100], back[sizeof(buffer)];
	const uint64_t iova = IOVA + 10 * PAGE_SIZE + 100;

	mix_pages(w);
	for (size_t i = 0; i < sizeof(buffer); i++)
		buffer[i] = i * 7 + i / 256;
	assert_int_equal(pci_dma_write(w->space, iova, buffer, sizeof(buffer)), 0);
	assert_memory_equal(w->memory.base + w->absolute[10] + 100, buffer, PAGE_SIZE - 100);
	assert_memory_equal(w->other + w->absolute[11], buffer + PAGE_SIZE - 100,
			    sizeof(buffer) - PAGE_SIZE + 100);
	assert_int_equal(w->transfers, 1); /* both remote pages at once */
	assert_int_equal(pci_dma_read(w->space, iova, back, sizeof(back)), 0);
	assert_memory_equal(back, buffer, sizeof(buffer));
	w->transfers_fail = true;
	assert_int_equal(pci_dma_read(w->space, iova, back, sizeof(back)), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_ADDRESSING);
	assert_int_equal(w->fault_iova, IOVA + 12 * PAGE_SIZE);
}

static void access_to_remote_memory_goes_through_a_buffer(void **state)
{
	struct world *w = *state;
	const struct pci_dma_range ranges[] = { { IOVA + 10 * PAGE_SIZE + 8, 2 * PAGE_SIZE },
						{ IOVA + 13 * PAGE_SIZE, 16 } };
	const size_t length = 2 * PAGE_SIZE + 16;
	struct pci_dma_access access;
	struct iovec iov[4];

	mix_pages(w);
	memset(w->memory.base + w->absolute[10], 1, PAGE_SIZE);
	memset(w->other + w->absolute[11], 2, PAGE_SIZE);
	memset(w->other + w->absolute[12], 3, PAGE_SIZE);
	memset(w->other + w->absolute[13], 4, PAGE_SIZE);
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, ranges, 2, iov,
					      4), 1);
	assert_int_equal(iov[0].iov_len, length);
	assert_int_equal(((uint8_t *)iov[0].iov_base)[PAGE_SIZE - 9], 1);
	assert_int_equal(((uint8_t *)iov[0].iov_base)[PAGE_SIZE - 8], 2);
	assert_int_equal(((uint8_t *)iov[0].iov_base)[2 * PAGE_SIZE - 1], 3);
	assert_int_equal(((uint8_t *)iov[0].iov_base)[length - 1], 4);
	pci_dma_access_end(&access, 0);

	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_FROM_DEVICE, ranges, 2,
					      iov, 4), 1);
	memset(iov[0].iov_base, 9, length);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 12 * PAGE_SIZE, 1, 0), -EAGAIN);
	/* Whether its pages have changed cannot be told. */
	assert_int_equal(dma_space_refresh(w->space, IOVA + 10 * PAGE_SIZE, 1, 0), -EAGAIN);
	pci_dma_access_end(&access, length - 1);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 12 * PAGE_SIZE, 1, 0), 0);
	assert_int_equal(w->memory.base[w->absolute[10] + 7], 1);
	assert_int_equal(w->memory.base[w->absolute[10] + 8], 9);
	assert_int_equal(w->other[w->absolute[11] + 4095], 9);
	assert_int_equal(w->other[w->absolute[12] + 7], 9);
	assert_int_equal(w->other[w->absolute[12] + 8], 3);
	assert_int_equal(w->other[w->absolute[13] + 14], 9);
	assert_int_equal(w->other[w->absolute[13] + 15], 4); /* was not written */
}

static void access_to_remote_memory_fails_before_it_begins(void **state)
{
	struct world *w = *state;
	struct pci_dma_range range = { IOVA + 12 * PAGE_SIZE, 2 * PAGE_SIZE };
	struct pci_dma_access access;
	struct iovec iov[2];

	mix_pages(w);
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, iov,
					      1), -E2BIG);
	w->read_only[13] = true;
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_FROM_DEVICE, &range, 1,
					      iov, 2), -EFAULT);
	assert_int_equal(w->fault_reason, REASON_PROTECTED);
	assert_int_equal(w->transfers, 0);
	w->transfers_fail = true;
	assert_int_equal(pci_dma_access_begin(w->space, &access, PCI_DMA_TO_DEVICE, &range, 1, iov,
					      2), -EFAULT);
	assert_int_equal(w->faults, 2);
	assert_int_equal(dma_space_drain(w->space, 0), 0);
}

struct copier {
	struct world *w;
	int result;
};

static void *write_remote_page(void *opaque)
{
	struct copier *copier = opaque;

	copier->result = pci_dma_write(copier->w->space, IOVA + 13 * PAGE_SIZE, "later", 5);
	return NULL;
}

static void invalidation_waits_for_a_copy_by_message(void **state)
{
	struct world *w = *state;
	struct copier copier = { .w = w, .result = 1 };
	pthread_t thread;

	mix_pages(w);
	w->hold = true;
	assert_int_equal(pthread_create(&thread, NULL, write_remote_page, &copier), 0);
	for (unsigned i = 0; !w->held; i++) {
		assert_in_range(i, 0, 100000);
		usleep(100);
	}
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 13 * PAGE_SIZE, 1, 1000), -EAGAIN);
	assert_int_equal(dma_space_refresh(w->space, IOVA + 13 * PAGE_SIZE, 1, 0), -EAGAIN);
	assert_int_equal(dma_space_drain(w->space, 0), -EAGAIN);
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 12 * PAGE_SIZE, 1, 0), 0);
	w->absolute[13] = 0;
	w->hold = false;
	assert_int_equal(dma_space_invalidate(w->space, IOVA + 13 * PAGE_SIZE, 1, UINT64_MAX), 0);
	pthread_join(thread, NULL);
	assert_int_equal(copier.result, 0);
	/* After that nobody can. */
	assert_int_equal(pci_dma_write(w->space, IOVA + 13 * PAGE_SIZE, "never", 5), -EFAULT);
}

static void copy_that_fails_by_message_reports_what_it_has_stored(void **state)
{
	struct world *w = *state;
	const uint64_t iova = IOVA + 10 * PAGE_SIZE + 100;
	uint8_t buffer[4 * PAGE_SIZE - 100];
	struct dma_counters before = dma_space_counters(w->space);

	mix_pages(w);
	memset(buffer, 5, sizeof(buffer));
	w->transfer_max = PAGE_SIZE + 3;
	assert_int_equal(pci_dma_write(w->space, iova, buffer, sizeof(buffer)), -EFAULT);
	assert_int_equal(w->faults, 1);
	assert_int_equal(w->fault_iova, IOVA + 13 * PAGE_SIZE + 3);
	/* The page in memory; the one elsewhere is of no interest to memory's owner. */
	assert_int_equal(w->memory.base[w->absolute[10] + 100], 5);
	assert_int_equal(w->reports, 1);
	assert_int_equal(w->report_absolute[0], w->absolute[10] + 100);
	assert_int_equal(w->report_length[0], PAGE_SIZE - 100);
	assert_int_equal(dma_space_counters(w->space).written, before.written);
	assert_int_equal(dma_space_drain(w->space, 0), 0);
}

static void access_whose_end_fails_is_a_fault(void **state)
{
	struct world *w = *state;
	const struct pci_dma_range ranges[] = { { IOVA + 12 * PAGE_SIZE, PAGE_SIZE },
						{ IOVA + 10 * PAGE_SIZE, 16 } };
	struct pci_dma_access access;
	struct iovec iov[2];

	mix_pages(w);
	assert_int_equal(
		pci_dma_access_begin(w->space, &access, PCI_DMA_FROM_DEVICE, ranges, 2, iov, 2), 1);
	memset(iov[0].iov_base, 6, PAGE_SIZE + 16);
	w->transfers_fail = true;
	pci_dma_access_end(&access, PAGE_SIZE + 16);
	assert_int_equal(w->faults, 1);
	assert_int_equal(w->fault_iova, IOVA + 12 * PAGE_SIZE);
	assert_int_equal(w->fault_reason, REASON_ADDRESSING);
	/* The rest is where it belongs. */
	assert_int_equal(w->memory.base[w->absolute[10]], 6);
	assert_int_equal(dma_space_drain(w->space, 0), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(copies_cross_pages_that_are_apart_in_memory),
		TEST(copies_of_every_length_and_alignment_are_exact),
		TEST(failed_copy_moves_nothing_and_reports_where),
		TEST(read_only_page_can_be_read_only),
		TEST(page_outside_memory_is_not_touched),
		TEST(transfer_beyond_the_last_address_fails),
		TEST(closed_space_or_no_bus_master_refuses_without_a_fault),
		TEST(copy_that_is_too_long_is_refused),
		TEST(access_merges_what_goes_on_in_memory),
		TEST(access_with_too_small_a_list_has_not_begun),
		TEST(failed_access_has_not_begun),
		TEST(reading_memory_reports_no_store),
		TEST(translation_is_asked_for_once),
		TEST(old_answer_holds_until_it_is_invalidated),
		TEST(failure_is_not_remembered),
		TEST(large_block_is_one_answer),
		TEST(block_that_sticks_out_of_memory_is_used_as_far_as_it_goes),
		TEST(pages_that_share_a_place_in_the_cache_are_told_apart),
		TEST(invalidation_minds_only_the_pages_in_use),
		TEST(invalidation_waits_for_dma_in_flight),
		TEST(refresh_waits_for_an_access_whose_pages_have_changed),
		TEST(refresh_knows_pages_of_blocks_and_elsewhere),
		TEST(refresh_ends_however_busy_the_device_is),
		TEST(refresh_waits_for_the_last_that_has_changed),
		TEST(copies_reach_memory_wherever_it_is),
		TEST(access_to_remote_memory_goes_through_a_buffer),
		TEST(access_to_remote_memory_fails_before_it_begins),
		TEST(invalidation_waits_for_a_copy_by_message),
		TEST(copy_that_fails_by_message_reports_what_it_has_stored),
		TEST(access_whose_end_fails_is_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
