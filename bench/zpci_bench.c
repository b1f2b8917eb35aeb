/* SPDX-License-Identifier: MIT */
/*
 * What translation costs in libzpci, without a guest. Prints lines as the guests of
 * bench/guest do, a line for each slice:
 *
 *	bench NAME PAGES NANOSECONDS
 *
 *	dma-copy       memcpy() of a page of 4 KiB, there and back in turn
 *	dma-page       the same as DMA of a function, translated, with a warm IOTLB
 *	dma-overhead   the difference of the two, of the same slice
 *	dma-miss       one byte by DMA from pages of which none is in the IOTLB
 *	walk-page      a page in a walk of 256 MiB in one run (as for a host's IOMMU)
 *	rpcit-used     RPCIT for a page whose translation is in the IOTLB, and the DMA that
 *	               fetches it again
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../tests/unit/zpci/guest.h"
#include "zpci/internal.h"

#define SLICES 101
#define ROUNDS 40
/* Few enough for copy and copied to stay in a core's own cache. */
#define PAGES 32
#define DATA_AT 0x200000
#define SEGMENTS 256u
#define RANGE_TABLES_AT 0x120000

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void slice(const char *name, unsigned pages, uint64_t ns)
{
	printf("bench %s %u %llu\n", name, pages, (unsigned long long)ns);
}

static uint64_t copy_slice(struct guest *g, uint8_t *buffer)
{
	uint64_t begin = now();

	for (unsigned i = 0; i < ROUNDS * PAGES; i++) {
		uint8_t *page = guest_at(g, DATA_AT + i % PAGES * PAGE_SIZE);

		if (i & PAGES)
			memcpy(page, buffer, PAGE_SIZE);
		else
			memcpy(buffer, page, PAGE_SIZE);
		/* Each copy is to be made. */
		asm volatile("" ::: "memory");
	}
	return now() - begin;
}

static uint64_t dma_slice(struct pci_dma_space *space, uint8_t *buffer)
{
	uint64_t begin = now();
	int wrong = 0;

	for (unsigned i = 0; i < ROUNDS * PAGES; i++) {
		uint64_t iova = SDMA + i % PAGES * PAGE_SIZE;

		if (i & PAGES)
			wrong |= pci_dma_write(space, iova, buffer, PAGE_SIZE);
		else
			wrong |= pci_dma_read(space, iova, buffer, PAGE_SIZE);
	}
	assert_int_equal(wrong, 0);
	return now() - begin;
}

static void measure_copies(struct guest *g, struct pci_dma_space *space)
{
	static uint8_t buffer[PAGE_SIZE] __attribute__((aligned(4096)));

	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t copy = copy_slice(g, buffer), dma = dma_slice(space, buffer);

		slice("dma-copy", ROUNDS * PAGES, copy);
		slice("dma-page", ROUNDS * PAGES, dma);
		slice("dma-overhead", ROUNDS * PAGES, dma > copy ? dma - copy : 0);
	}
}

static void measure_misses(struct guest *g, struct pci_dma_space *space)
{
	char byte;

	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t ns = 0, begin;

		for (unsigned round = 0; round < ROUNDS; round++) {
			guest_rpcit(g, SDMA, GIB);
			begin = now();
			for (unsigned page = 0; page < PAGES; page++)
				pci_dma_read(space, SDMA + page * PAGE_SIZE, &byte, 1);
			ns += now() - begin;
		}
		slice("dma-miss", ROUNDS * PAGES, ns);
		begin = now();
		for (unsigned round = 0; round < ROUNDS * PAGES; round++) {
			pci_dma_read(space, SDMA, &byte, 1);
			guest_rpcit(g, SDMA, PAGE_SIZE);
		}
		slice("rpcit-used", ROUNDS * PAGES, now() - begin);
		assert_int_equal(g->vcpu.cc, 0);
	}
}

/* 256 page tables, the last of which ends the memory. */
static void measure_walk(struct guest *g)
{
	struct dma_memory memory = { g->memory, GUEST_MEMORY, NULL, NULL };
	uint64_t pages = RANGE_TABLES_AT + 0x4000;

	for (unsigned i = 0; i < SEGMENTS; i++)
		store_be64(guest_at(g, RANGE_TABLES_AT + 8 * i), pages + i * 0x800);
	for (unsigned i = 0; i < SEGMENTS * 256; i++)
		store_be64(guest_at(g, pages + 8 * i), MIB + i * PAGE_SIZE);
	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t begin = now();
		struct ioat_cursor c;
		struct ioat_run run;

		ioat_cursor_init(&c, &memory, RANGE_TABLES_AT | 0x800, 0, SEGMENTS * MIB - 1);
		c.budget = 1 << 20;
		assert_int_equal(ioat_cursor_next(&c, &run), 0);
		assert_int_equal(run.last, SEGMENTS * MIB - 1);
		slice("walk-page", SEGMENTS * 256, now() - begin);
	}
}

int main(void)
{
	struct pci_dma_space *space;
	struct guest *g;
	void *state;

	guest_setup(&state);
	g = state;
	/* Composing a trace takes most of the time of an instruction. */
	g->zpci->traced = false;
	guest_enable(g);
	guest_register_translation(g);
	space = pci_function_dma(g->function);
	for (unsigned i = 0; i < PAGES; i++)
		guest_map(g, SDMA + i * PAGE_SIZE, DATA_AT + i * PAGE_SIZE, true);
	measure_copies(g, space);
	measure_misses(g, space);
	guest_disable(g);
	measure_walk(g);
	guest_teardown(&state);
	printf("1..0\n");
	return 0;
}
