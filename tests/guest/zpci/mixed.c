/* SPDX-License-Identifier: MIT */
/*
 * An NVMe controller, passed through with relaxed-translation=on: with tables, then with all of
 * memory as it is, then with the tables again, of which a single page is taken away as ever.
 */
#include "zpci/nvme.h"

static struct nvme nvme;

static bool reregister(uint64_t *third)
{
	struct fib fib = { 0 };

	nvme.third = third;
	if (third)
		fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	fib.pba = nvme.f->query.sdma;
	fib.pal = fib.pba + 0x7fffffff;
	if (fib.pal > nvme.f->query.edma)
		fib.pal = nvme.f->query.edma;
	return answered(modify(nvme.f, REREGISTER_TRANSLATION, &fib), CC(0));
}

/* It starts, since its queues are elsewhere on the bus now, and stores what it is told to. */
static bool works(void)
{
	const char *failed = nvme_start(&nvme);

	if (failed)
		note("%s", failed);
	memset(nvme_page(&nvme, NVME_DATA), 0, PAGE_SIZE);
	return !failed && !nvme_identify(&nvme, NVME_DATA) &&
	       !memcmp(nvme_page(&nvme, NVME_DATA) + 4, nvme.serial, strlen(nvme.serial));
}

static void page_goes(void)
{
	uint64_t bus = nvme_page_bus(&nvme, NVME_DATA);
	uint64_t *words = (uint64_t *)nvme_page(&nvme, NVME_DATA);
	bool same = true;

	memset(words, 0x5a, PAGE_SIZE);
	*page_entry(nvme.third, bus) = PAGE_INVALID;
	ok(answered(insn_rpcit(nvme.f->fh, bus, PAGE_SIZE), CC(0)), "RPCIT for a page that goes");
	nvme.patience = SECOND;
	note("a command into no page ends with status %x", nvme_identify(&nvme, NVME_DATA));
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		same = same && ((volatile uint64_t *)words)[i] == 0x5a5a5a5a5a5a5a5aull;
	ok(same, "nothing is stored into it");
}

void guest_main(void)
{
	struct function *f = function_find();
	const char *failed;
	uint64_t *third;

	function_enable(f);
	if (!ok(nvme_is(f), "an NVMe controller"))
		return;
	if (!ok(f->group.flags & GROUP_RELAXED_TRANSLATION, "which may do without tables"))
		return;
	failed = nvme_register(&nvme, f);
	if (!ok(!failed && works(), "it works with tables"))
		return;
	third = nvme.third;
	ok(reregister(NULL), "all of memory is registered");
	ok(works(), "it works without tables");
	ok(reregister(third), "the tables are registered again");
	ok(works(), "it works with tables again");
	page_goes();
	modify(f, DEREGISTER_INTERRUPTIONS, NULL);
	function_disable(f);
}
