/* SPDX-License-Identifier: MIT */
/*
 * All functions that there are, 4096 where the machine has them: listed, enabled at
 * the same time, each with its own config space, DMA and interruptions.
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

#define MOST 4096u

static struct list_entry entries[MOST];
static struct function functions[MOST];
static uint8_t seen[MOST / 8];

static bool all(bool (*of)(unsigned), unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!of(i)) {
			note("function %u, fid %x", i, functions[i].fid);
			return false;
		}
	}
	return true;
}

static bool handle_new(unsigned i)
{
	unsigned slot = functions[i].fh & 0xffff;
	bool new = slot < MOST && !(seen[slot / 8] & 0x80 >> slot % 8);

	if (new)
		seen[slot / 8] |= 0x80 >> slot % 8;
	return new;
}

static bool fid_ascends(unsigned i)
{
	for (unsigned j = i > 8 ? i - 8 : 0; j < i; j++)
		if (functions[j].fid == functions[i].fid)
			return false;
	return true;
}

static bool query(unsigned i)
{
	return function_query(&functions[i]) && functions[i].query.fid == functions[i].fid;
}

static bool enable(unsigned i)
{
	return function_set(&functions[i], CLP_ENABLE, 1) == CLP_OK;
}

static bool disable(unsigned i)
{
	return function_set(&functions[i], CLP_DISABLE, 0) == CLP_OK;
}

static bool vendor(unsigned i)
{
	return config_read(&functions[i], 0, 2) == functions[i].vendor;
}

static bool mark(unsigned i)
{
	config_write(&functions[i], 0x3c, 1, i & 0xff);
	return true;
}

static bool marked(unsigned i)
{
	return config_read(&functions[i], 0x3c, 1) == (i & 0xff);
}

/* ---- DMA and messages of each ---- */

static struct dma dma;
static uint64_t *third;
static uint8_t *page, *vectors, *summary;

static bool transfers(unsigned i)
{
	struct function *f = &functions[i];
	struct fib fib = {
		.pba = f->query.sdma,
		.pal = f->query.sdma + 0xfffff,
		.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE,
	};
	bool good;

	dma.f = f;
	if (!answered(modify(f, REGISTER_TRANSLATION, &fib), CC(0)))
		return false;
	insn_rpcit(f->fh, fib.pba, 0x100000);
	dma_start(&dma);
	memset(page, 0, DMA_LENGTH);
	dma_store(&dma, f->query.sdma);
	good = page[0] || page[1] || page[2] || page[3];
	return good;
}

static bool interrupts(unsigned i)
{
	struct function *f = &functions[i];
	volatile uint8_t *vector = vectors + 8ull * i;
	struct fib fib = {
		.interruption = FIB_ISC(3) | FIB_NOI(2) | FIB_SUMMARY | FIB_AISBO(i % 64),
		.aibv = (uint64_t)vector,
		.aisb = (uint64_t)(summary + i / 64 * 8),
	};

	dma.f = f;
	if (!answered(modify(f, REGISTER_INTERRUPTIONS, &fib), CC(0)))
		return false;
	dma_start(&dma);
	msix_set(f, &dma.msix, 0, f->group.msi_address, 1);
	dma_messages_on(&dma);
	dma_message(&dma);
	return wait_for(*vector == 0x40, PATIENCE) && summary[i / 8] & 0x80 >> i % 8;
}

static bool no_other_vector(unsigned i)
{
	for (unsigned j = 1; j < 8; j++)
		if (vectors[8 * i + j])
			return false;
	return vectors[8 * i] == 0x40;
}

void guest_main(void)
{
	unsigned n = functions_list(entries, MOST);

	if (n < 4096)
		not_here('Q', "many.4096", "4096 functions", "fewer are there");
	else
		check_value(n, 4096, 'Q', "many.4096", "4096 functions");
	if (n > MOST)
		n = MOST;
	for (unsigned i = 0; i < n; i++) {
		functions[i].fid = entries[i].fid;
		functions[i].fh = entries[i].fh;
		functions[i].vendor = entries[i].vendor;
		functions[i].device = entries[i].device;
	}
	check(all(handle_new, n), 'Q', "many.handles", "each has a slot of its own");
	check(all(fid_ascends, n), 'L', "many.fids", "and a fid of its own");
	check(all(query, n), 'L', "many.query", "each can be queried");
	check(all(enable, n), 'L', "many.enable", "each can be enabled, all at a time");
	check(all(vendor, n), 'L', "many.config", "each has its config space");
	all(mark, n);
	check(all(marked, n), 'L', "many.config.own", "of its own");

	page = frames(PAGE_SIZE, PAGE_SIZE);
	vectors = frames(8 * MOST, PAGE_SIZE);
	summary = frames(PAGE_SIZE, PAGE_SIZE);
	third = iotable_new();
	if (n && dma_find(&dma, &functions[0]) && dma.msix.entries) {
		iotable_map(third, functions[0].query.sdma, page, 0);
		iotable_map(third, functions[0].query.sdma + DMA_SERVICE, dma.service, 0);
		check(all(transfers, n), 'L', "many.dma", "each does DMA");
		check(all(interrupts, n), 'L', "many.interrupts", "each sets its bits");
		check(all(no_other_vector, n), 'L', "many.interrupts.own", "and only these");
	} else {
		not_here('L', "many.dma", "each does DMA", "functions that do");
		not_here('L', "many.interrupts", "each sets its bits", "functions that do");
		not_here('L', "many.interrupts.own", "and only these", "functions that do");
	}
	check(all(disable, n), 'L', "many.disable", "each can be disabled");
}
