/* SPDX-License-Identifier: MIT */
/*
 * Asks for more mappings than there are for a passed-through NVMe controller, whose limit
 * is ENTRIES at most: as zpci-limit, what the owner of the host has set dma_entry_limit
 * of vfio_iommu_type1 to; as zpci-limit-full, what zvisor allows a guest of 64 MiB with
 * iommufd, which the kernel does not limit.
 */
#include "zpci/nvme.h"

#define MANY 0x50000000ull /* offset in the DMA range */
#define INSUFFICIENT_RESOURCES 16
#ifndef ENTRIES
#define ENTRIES 100u
#endif
#define KEPT 10u
/* Fewer than ENTRIES where these are all that memory has. */
#define FRAMES (ENTRIES < 4096u ? ENTRIES : 4096u)

static struct nvme nvme;

/* As Linux does it: condition code 2 is repeated. */
static struct answer refresh(uint64_t start, uint64_t length)
{
	struct answer answer;

	do
		answer = insn_rpcit(nvme.f->fh, start, length);
	while (!answer.pgm && answer.cc == 2);
	return answer;
}

static bool works(void)
{
	memset(nvme_page(&nvme, NVME_DATA), 0, PAGE_SIZE);
	return !nvme_identify(&nvme, NVME_DATA) &&
	       !memcmp(nvme_page(&nvme, NVME_DATA) + 4, nvme.serial, strlen(nvme.serial));
}

void guest_main(void)
{
	struct function *f = function_find();
	uint8_t *frame = frames(FRAMES * PAGE_SIZE, PAGE_SIZE);
	uint64_t many = f->query.sdma + MANY;
	const char *failed;

	function_enable(f);
	if (!ok(nvme_is(f), "an NVMe controller"))
		return;
	failed = nvme_register(&nvme, f);
	if (!failed)
		failed = nvme_start(&nvme);
	if (!ok(!failed, "the controller starts"))
		return;
	for (unsigned i = 0; i < ENTRIES; i++)
		iotable_map(nvme.third, many + i * PAGE_SIZE, frame + i % FRAMES * PAGE_SIZE, 0);
	ok(answered(refresh(many, ENTRIES * PAGE_SIZE), STATUS(INSUFFICIENT_RESOURCES)),
	   "RPCIT for too many pages: insufficient resources");
	ok(works(), "what was mapped before works");
	for (unsigned i = KEPT; i < ENTRIES; i++)
		*page_entry(nvme.third, many + i * PAGE_SIZE) = PAGE_INVALID;
	for (unsigned i = 0; i < KEPT; i++)
		iotable_map(nvme.third, many + (ENTRIES + i) * PAGE_SIZE, frame, 0);
	ok(answered(refresh(f->query.sdma, 0x80000000), CC(0)),
	   "RPCIT for all, after most were taken away");
	ok(works(), "the controller works");
	ok(answered(refresh(many + ENTRIES * PAGE_SIZE, KEPT * PAGE_SIZE), CC(0)),
	   "RPCIT for the pages that found room then");
	modify(f, DEREGISTER_INTERRUPTIONS, NULL);
	function_disable(f);
}
