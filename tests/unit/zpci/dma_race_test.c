/* SPDX-License-Identifier: MIT */
/*
 * DMA spaces while a guest changes its tables: a page that is taken away is taken away when the
 * invalidation returns, whatever devices do meanwhile.
 *
 * The guest gives each page now one frame, now the other. The frame that it has back it marks,
 * and looks, before it gives it away again, whether the mark is still there.
 */
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

#include "base/deadline.h"
#include "base/util.h"
#include "dma/dma.h"

#define IOVA 0x40000000ull
#define PAGES 4u
/* Or as many as there is time for: where others compute, too, who waits for a lock waits long. */
#define TURNS 1000000u
#define TURNS_MS 3000
#define STORED 0xd0d0d0d0d0d0d0d0ull

struct world {
	struct dma_memory memory;
	struct pci_dma_space *space;
	_Atomic uint64_t table[PAGES]; /* absolute address, 0: none */
	atomic_bool over;
	atomic_uint stores; /* by devices */
};

static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *t)
{
	struct world *w = opaque;
	uint64_t absolute =
		atomic_load_explicit(&w->table[(iova - IOVA) / PAGE_SIZE], memory_order_relaxed);

	if (!absolute)
		return 1;
	*t = (struct dma_translation){ iova & PAGE_MASK, absolute, PAGE_SIZE, true };
	return 0;
}

static const struct dma_space_ops ops = {
	.translate = translate,
	.reason_protected = 2,
	.reason_addressing = 3,
};

static int setup(void **state)
{
	const uint64_t size = (2 * PAGES + 1) * PAGE_SIZE;
	struct world *w = calloc(1, sizeof(*w));

	w->memory = (struct dma_memory){ .base = aligned_alloc(PAGE_SIZE, size), .size = size };
	memset(w->memory.base, 0, size);
	w->space = dma_space_new(&w->memory, &ops, w);
	dma_space_open(w->space);
	dma_space_set_bus_master(w->space, true);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	dma_space_free(w->space);
	free(w->memory.base);
	free(w);
	return 0;
}

/* --- devices ---------------------------------------------------------------------------- */

/* It copies, which takes no time. */
static void *copies(void *opaque)
{
	const uint64_t value = STORED;
	struct world *w = opaque;

	for (unsigned i = 0; !w->over; i++)
		w->stores += !pci_dma_write(w->space, IOVA + i % PAGES * PAGE_SIZE, &value, 8);
	return NULL;
}

/* It finds out where memory is, and stores there a little later. */
static void *accesses(void *opaque)
{
	struct world *w = opaque;

	for (unsigned i = 0; !w->over; i++) {
		const struct pci_dma_range range = { IOVA + i % PAGES * PAGE_SIZE, 8 };
		struct pci_dma_access access;
		struct iovec iov;

		if (pci_dma_access_begin(w->space, &access, PCI_DMA_FROM_DEVICE, &range, 1, &iov,
					 1) != 1)
			continue;
		__atomic_store_n((uint64_t *)iov.iov_base, STORED, __ATOMIC_RELAXED);
		pci_dma_access_end(&access, 8);
		w->stores++;
	}
	return NULL;
}

/* --- the guest --------------------------------------------------------------------------- */

typedef int invalidation(struct pci_dma_space *space, uint64_t iova, uint64_t length,
			 uint64_t timeout_us);

static void change_tables(struct world *w, void *(*device)(void *), invalidation *take_away)
{
	const uint64_t until = deadline_in_ms(TURNS_MS);
	pthread_t threads[2];
	unsigned marks = 0;
	bool kept = true;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, device, w), 0);
	for (unsigned turn = 0; kept && (turn < TURNS || !w->stores); turn++) {
		unsigned page = turn % PAGES, other = turn / PAGES % 2;
		/* Frame 0 is none. */
		uint64_t given = (1 + 2 * page + other) * PAGE_SIZE;
		uint64_t back = (1 + 2 * page + !other) * PAGE_SIZE, mark = turn;

		if (turn >= PAGES)
			marks += __atomic_load_n((uint64_t *)(w->memory.base + given),
						 __ATOMIC_RELAXED) == turn - PAGES;
		/* Now and then there is nothing. */
		atomic_store_explicit(&w->table[page], turn % 7 ? given : 0, memory_order_relaxed);
		while (take_away(w->space, IOVA + page * PAGE_SIZE, PAGE_SIZE, 100))
			continue;
		__atomic_store_n((uint64_t *)(w->memory.base + back), mark, __ATOMIC_RELAXED);
		kept = turn < PAGES || marks == turn - PAGES + 1;
		if (!kept)
			print_error("a device stored after turn %u into a frame of page %u that "
				    "had been taken away\n",
				    turn - PAGES, page);
		if (turn >= PAGES && turn % 16 == 0 && w->stores && deadline_is_past(until))
			break;
	}
	w->over = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(kept);
	assert_true(marks);
	assert_true(w->stores);
}

static void nothing_is_copied_to_a_page_that_was_taken_away(void **state)
{
	change_tables(*state, copies, dma_space_invalidate);
}

static void no_access_is_left_to_a_page_that_was_taken_away(void **state)
{
	change_tables(*state, accesses, dma_space_invalidate);
}

static void no_access_is_left_to_a_page_that_was_refreshed(void **state)
{
	change_tables(*state, accesses, dma_space_refresh);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_copied_to_a_page_that_was_taken_away),
		TEST(no_access_is_left_to_a_page_that_was_taken_away),
		TEST(no_access_is_left_to_a_page_that_was_refreshed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
