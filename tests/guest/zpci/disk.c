/* SPDX-License-Identifier: MIT */
/*
 * Uses the disk behind an NVMe controller, passed through or zvisor's own: reads what its
 * owner put there and says its sum, writes what its owner can tell, lets pages come and
 * go. Its owner looks at the disk afterwards; scripts/zvlib/disk.py knows the pattern.
 * The seed of what is written is the disk's first eight bytes.
 *
 * Said for the owner, besides TAP:
 *
 *	# disk: SERIAL, N blocks of N bytes
 *	# read OFFSET LENGTH CRC32
 *	# wrote OFFSET LENGTH
 */
#include "zpci/nvme.h"

#define FACTOR 0x9e3779b97f4a7c15ull
#define READS 16u
#define KEPT 0x5aa55aa55aa55aa5ull

static struct nvme nvme;

static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n)
{
	crc = ~crc;
	while (n--) {
		crc ^= *p++;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* Of the data pages' first bytes. */
static uint32_t data_sum(unsigned bytes)
{
	uint32_t crc = 0;

	for (unsigned i = 0; bytes; i++) {
		unsigned part = bytes < PAGE_SIZE ? bytes : PAGE_SIZE;

		crc = crc32(crc, nvme_page(&nvme, NVME_DATA + i), part);
		bytes -= part;
	}
	return crc;
}

static uint64_t pattern(uint64_t seed, unsigned word)
{
	return (seed + word + 1) * FACTOR;
}

static void data_fill(uint64_t seed)
{
	for (unsigned i = 0; i < NVME_DATA_PAGES; i++)
		for (unsigned j = 0; j < 512; j++)
			((uint64_t *)nvme_page(&nvme, NVME_DATA + i))[j] =
				pattern(seed, 512 * i + j);
}

static bool data_is(uint64_t seed, unsigned words)
{
	for (unsigned k = 0; k < words; k++)
		if (((uint64_t *)nvme_page(&nvme, NVME_DATA + k / 512))[k % 512] !=
		    pattern(seed, k))
			return false;
	return true;
}

/* Whole pages, so that the numbers do not hang on the size of a block. */
static unsigned blocks_of(unsigned pages)
{
	return pages * PAGE_SIZE / nvme.block_bytes;
}

static bool read_and_tell(unsigned long first_page, unsigned pages)
{
	unsigned status = nvme_read(&nvme, (uint64_t)first_page * blocks_of(1), blocks_of(pages));

	if (status) {
		note("status %x", status);
		return false;
	}
	print("# read %lu %u %x\n", first_page * (unsigned long)PAGE_SIZE, pages * (unsigned)PAGE_SIZE,
	      data_sum(pages * PAGE_SIZE));
	return true;
}

/* The seed. */
static uint64_t reads(uint64_t pages)
{
	bool all = read_and_tell(0, 1), interrupted = nvme.interrupted;
	uint64_t seed = *(uint64_t *)nvme_page(&nvme, NVME_DATA), place = seed;

	for (unsigned i = 0; i < READS; i++) {
		unsigned length = 1 + i % NVME_DATA_PAGES;

		place = place * 6364136223846793005ull + 1442695040888963407ull;
		all = read_and_tell((place >> 33) % (pages - length + 1), length) && all;
		interrupted = interrupted && nvme.interrupted;
	}
	ok(all, "reads of one page to a list of pages, all over the disk");
	ok(interrupted, "an interruption for each wakes a CPU that sleeps");
	return seed;
}

static void writes(uint64_t pages, uint64_t seed)
{
	unsigned long at = pages / 2 * PAGE_SIZE;
	unsigned length = NVME_DATA_PAGES * PAGE_SIZE;
	bool written;

	data_fill(seed);
	written = !nvme_write(&nvme, at / nvme.block_bytes, blocks_of(NVME_DATA_PAGES));
	written = written && !nvme_flush(&nvme);
	if (ok(written, "a write and a flush"))
		print("# wrote %lu %u\n", at, length);
	for (unsigned i = 0; i < NVME_DATA_PAGES; i++)
		memset(nvme_page(&nvme, NVME_DATA + i), 0, PAGE_SIZE);
	ok(!nvme_read(&nvme, at / nvme.block_bytes, blocks_of(NVME_DATA_PAGES)) &&
		   data_is(seed, length / 8),
	   "what was written is read again");
}

/* A page elsewhere in memory for the one bus address, while its neighbours stay. */
static void pages_come_and_go(void)
{
	uint64_t bus = nvme_page_bus(&nvme, NVME_DATA);
	uint8_t *other = frames(PAGE_SIZE, PAGE_SIZE);
	uint64_t *mine = (uint64_t *)nvme_page(&nvme, NVME_DATA);

	memset(mine, 0, PAGE_SIZE);
	iotable_map(nvme.third, bus, other, 0);
	check_eq(insn_rpcit(nvme.f->fh, bus, PAGE_SIZE).cc, 0, "RPCIT when a page is exchanged");
	ok(!nvme_identify(&nvme, NVME_DATA), "a command that stores into it");
	ok(!memcmp(other + 4, nvme.serial, strlen(nvme.serial)) && !mine[0] && !mine[1],
	   "the data is in the new page, and not in the old");

	for (unsigned i = 0; i < 512; i++)
		((uint64_t *)other)[i] = KEPT;
	*page_entry(nvme.third, bus) = PAGE_INVALID;
	check_eq(insn_rpcit(nvme.f->fh, bus, PAGE_SIZE).cc, 0, "RPCIT when it is taken away");
	/* How this ends, if it does, is for the host's IOMMU and the controller to say. */
	nvme.patience = SECOND;
	note("a command into no page ends with status %x", nvme_identify(&nvme, NVME_DATA));
	for (unsigned i = 0; i < 512; i++)
		if (((volatile uint64_t *)other)[i] != KEPT)
			mine = NULL;
	ok(mine != NULL, "nothing is stored into a page that was taken away");
}

void guest_main(void)
{
	struct function *f = function_find();
	const char *failed;
	uint64_t pages;

	function_enable(f);
	if (!ok(nvme_is(f), "the function is an NVMe controller"))
		return;
	failed = nvme_register(&nvme, f);
	if (!ok(!failed, "translation and interruptions are registered")) {
		note("%s", failed);
		return;
	}
	failed = nvme_start(&nvme);
	if (!ok(!failed, "the controller starts, and tells what it is")) {
		note("%s", failed);
		return;
	}
	pages = nvme.blocks * nvme.block_bytes / PAGE_SIZE;
	print("# disk: %s, %lu blocks of %u bytes\n", nvme.serial, (unsigned long)nvme.blocks,
	      nvme.block_bytes);
	if (!ok(pages >= 2 * NVME_DATA_PAGES, "the disk is large enough"))
		return;
	writes(pages, reads(pages));
	pages_come_and_go();
	modify(f, DEREGISTER_INTERRUPTIONS, NULL);
	function_disable(f);
}
