/* SPDX-License-Identifier: MIT */
/*
 * What PCI instructions cost: finds the first PCI function by CLP, enables it,
 * and repeats loads, stores, SIC and RPCIT, timed by the guest's own TOD clock (in
 * short slices, see loop.c). Prints the function, and a line for each slice:
 *
 *	function VENDOR:DEVICE
 *	bench NAME INSTRUCTIONS NANOSECONDS
 *
 * Loads and stores touch registers without side effects: of an NVMe controller
 * (the version; the attributes of the admin queues, while it is disabled), of a
 * virtio device (the selector of feature bits; blocks go to its own configuration,
 * where an entropy source has nothing), or testdev's plain memory.
 *
 * For RPCIT, a region-third table is registered with page tables for 256 MiB. What
 * counts is RPCIT, without the stores to the tables but for the first:
 *
 *	rpcit-pair     a page is mapped, RPCIT for it, unmapped, RPCIT for it
 *	rpcit-range    256 MiB are mapped, one RPCIT, unmapped, one RPCIT; per page and pair
 *	rpcit-aperture 100 pages all over the 256 MiB change, one RPCIT for 16 GiB
 *
 * With ACCESS_ONLY there are none of these: of a passed-through function they are work of
 * the host's kernel, and take minutes.
 *
 * QEMU fetches and keeps the translations when it executes RPCIT, zvisor forgets what
 * it has kept, and fetches when a function does DMA: bench/zpci_bench.c measures that.
 *
 * Sources: Linux arch/s390/include/asm/clp.h, pci_clp.h, pci_insn.h; NVM Express
 * 1.4, section 3.1; virtio 1.1, section 4.1.4.
 */
#include "../../src/devices/testdev_regs.h"
#include "lib/guest.h"

#define CLP_PCI 2
#define CLP_LIST 2
#define CLP_SET 5
#define CLP_SET_ENABLE 0
#define CLP_OK 0x10
#define CONFIG_SPACE 15

#define SLICES 101
#define SLICE_NS 500000ull
#define WARM_UP 5
/* Of a slice's loop; its branch is then lost in them. */
#define UNROLLED 8

struct list_entry {
	uint16_t device;
	uint16_t vendor;
	uint32_t configured;
	uint32_t fid;
	uint32_t fh;
};

struct list {
	uint16_t length;
	uint16_t command;
	uint32_t at_4;
	uint32_t at_8[6];
	struct {
		uint16_t length;
		uint16_t code;
		uint32_t at_4;
		uint64_t format;
		uint64_t resume;
		uint8_t at_18[7];
		uint8_t entry_size;
		struct list_entry entries[64];
	} response;
};

struct set {
	uint16_t length;
	uint16_t command;
	uint32_t at_4;
	uint64_t at_8;
	uint32_t fh;
	uint8_t at_14[2];
	uint8_t operation;
	uint8_t spaces;
	uint64_t at_18;
	struct {
		uint16_t length;
		uint16_t code;
		uint32_t at_4;
		uint64_t at_8;
		uint32_t fh;
		uint32_t at_14[3];
	} response;
};

static unsigned clp(void *block)
{
	uint64_t ignored;
	unsigned cc;

	asm volatile(".insn rrf,0xb9a00000,%[ignored],%[block],0,2\n"
		     "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=d"(cc), [ignored] "=d"(ignored)
		     : [block] "a"(block)
		     : "cc", "memory");
	return cc;
}

/* What the second operand of a load or store designates: an even-odd pair. */
struct place {
	uint64_t request;
	uint64_t offset;
};

static struct place place(uint32_t fh, unsigned space, uint64_t offset, unsigned length)
{
	return (struct place){ (uint64_t)fh << 32 | space << 16 | length, offset };
}

#define LOAD ".insn rre,0xb9d20000,%[data],2\n"
#define STORE ".insn rre,0xb9d00000,%[data],2\n"
#define TIMES_8(insn) insn insn insn insn insn insn insn insn

static unsigned load(struct place where, uint64_t *data)
{
	register uint64_t request asm("2") = where.request;
	register uint64_t offset asm("3") = where.offset;
	unsigned cc;

	*data = 0;
	asm volatile(LOAD "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=d"(cc), [data] "+&d"(*data), "+d"(request)
		     : "d"(offset)
		     : "cc", "memory");
	return cc;
}

static unsigned store(struct place where, uint64_t data)
{
	register uint64_t request asm("2") = where.request;
	register uint64_t offset asm("3") = where.offset;
	unsigned cc;

	asm volatile(STORE "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=d"(cc), "+d"(request)
		     : [data] "d"(data), "d"(offset)
		     : "cc", "memory");
	return cc;
}

static void load_loop(uint64_t rounds, const struct place *where)
{
	register uint64_t request asm("2") = where->request;
	register uint64_t offset asm("3") = where->offset;
	uint64_t data = 0;

	asm volatile("0:\n" TIMES_8(LOAD)
		     "brctg %[n],0b"
		     : [n] "+&d"(rounds), [data] "+&d"(data), "+d"(request)
		     : "d"(offset)
		     : "cc", "memory");
}

static void store_loop(uint64_t rounds, const struct place *where)
{
	register uint64_t request asm("2") = where->request;
	register uint64_t offset asm("3") = where->offset;
	uint64_t data = 0;

	asm volatile("0:\n" TIMES_8(STORE)
		     "brctg %[n],0b"
		     : [n] "+&d"(rounds), "+d"(request)
		     : [data] "d"(data), "d"(offset)
		     : "cc", "memory");
}

/* What a block store designates: a register with the request, one with the offset. */
#define BLOCK 128
#define STORE_BLOCK ".insn rsy,0xeb00000000d0,2,3,%[block]\n"

static uint8_t block_data[BLOCK] __attribute__((aligned(BLOCK)));

static unsigned store_block(struct place where)
{
	register uint64_t request asm("2") = where.request;
	register uint64_t offset asm("3") = where.offset;
	unsigned cc;

	asm volatile(STORE_BLOCK "ipm %[cc]\n"
				 "srl %[cc],28"
		     : [cc] "=d"(cc), "+d"(request)
		     : [block] "Q"(block_data), "d"(offset)
		     : "cc", "memory");
	return cc;
}

static void store_block_loop(uint64_t rounds, const struct place *where)
{
	register uint64_t request asm("2") = where->request;
	register uint64_t offset asm("3") = where->offset;

	asm volatile("0:\n" TIMES_8(STORE_BLOCK) "brctg %[n],0b"
		     : [n] "+&d"(rounds), "+d"(request)
		     : [block] "Q"(block_data), "d"(offset)
		     : "cc", "memory");
}

#define SIC ".insn rsy,0xeb00000000d1,%[mode],%[isc],%[block]\n"
#define SIC_ALL 0
#define ISC_PCI 2

static void sic_loop(uint64_t rounds, const struct place *where)
{
	uint64_t block[2] = { 0 };

	asm volatile("0:\n" TIMES_8(SIC)
		     "brctg %[n],0b"
		     : [n] "+&d"(rounds)
		     : [mode] "d"((uint64_t)SIC_ALL), [isc] "d"((uint64_t)ISC_PCI << 27),
		       [block] "Q"(block)
		     : "cc", "memory");
}

/* TOD units are a 4096th of a microsecond. */
static uint64_t tod_to_ns(uint64_t tod)
{
	return tod * 125 / 512;
}

static uint64_t time_of(void (*loop)(uint64_t, const struct place *), uint64_t rounds,
			const struct place *where)
{
	uint64_t begin = tod_clock();

	loop(rounds, where);
	return tod_to_ns(tod_clock() - begin);
}

static void measure(const char *name, void (*loop)(uint64_t, const struct place *),
		    struct place where)
{
	uint64_t rounds = 64, ns;

	/*
	 * The last of several times: the first ones, code is translated, which in a host that is
	 * itself emulated takes longer than many rounds.
	 */
	for (;; rounds *= 2) {
		for (unsigned i = 0; i < WARM_UP; i++)
			ns = time_of(loop, rounds, &where);
		if (ns > SLICE_NS / 4)
			break;
	}
	rounds = rounds * (SLICE_NS / 1000) / (ns / 1000);
	for (unsigned i = 0; i < SLICES; i++)
		print("bench %s %lu %lu\n", name, rounds * UNROLLED, time_of(loop, rounds, &where));
}

static uint32_t enabled_function(void)
{
	static union {
		struct list list;
		struct set set;
	} block __attribute__((aligned(4096)));
	struct list_entry *entry = block.list.response.entries;

	block.list.length = 32;
	block.list.command = CLP_LIST;
	block.list.response.length = sizeof(block.list.response);
	if (clp(&block) || block.list.response.code != CLP_OK ||
	    block.list.response.length < 32 + sizeof(*entry))
		bail("no PCI function");
	print("function %04x:%04x\n", entry->vendor, entry->device);
	uint32_t fh = entry->fh;

	memset(&block, 0, sizeof(block));
	block.set.length = 32;
	block.set.command = CLP_SET;
	block.set.response.length = sizeof(block.set.response);
	block.set.fh = fh;
	block.set.operation = CLP_SET_ENABLE;
	block.set.spaces = 1;
	if (clp(&block) || block.set.response.code != CLP_OK)
		bail("the PCI function cannot be enabled: %x", block.set.response.code);
	return block.set.response.fh;
}

/* Config space is little-endian, and a load gives the bytes as they come. */
static uint64_t config(uint32_t fh, unsigned offset, unsigned length)
{
	uint64_t data, value = 0;

	if (load(place(fh, CONFIG_SPACE, offset, length), &data))
		bail("config space cannot be loaded from");
	for (unsigned i = 0; i < length; i++, data >>= 8)
		value = value << 8 | (data & 0xff);
	return value;
}

#ifndef ACCESS_ONLY
/* --- translation ------------------------------------------------------------------- */

#define SDMA (1ull << 32)
#define SEGMENTS 256u
#define PAGES (SEGMENTS * 256)
#define APERTURE (1ull << 34)
#define CHANGES 100u
#define INVALID_TABLE 0x20
#define INVALID_PAGE 0x400
#define REGION_THIRD 0x7 /* type and length */
#define IOTA_REGION_THIRD 0x804
#define REGISTER_TRANSLATION 4

static uint64_t regions[2048] __attribute__((aligned(16384)));
static uint64_t segments[2048] __attribute__((aligned(16384)));
static uint64_t pages[PAGES] __attribute__((aligned(4096)));

static void register_translation(uint32_t fh)
{
	static uint64_t fib[10];
	uint64_t request = (uint64_t)fh << 32 | REGISTER_TRANSLATION;
	unsigned cc;

	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		regions[i] = INVALID_TABLE;
		segments[i] = INVALID_TABLE;
	}
	for (unsigned i = 0; i < PAGES; i++)
		pages[i] = INVALID_PAGE;
	for (unsigned i = 0; i < SEGMENTS; i++)
		segments[i] = (uint64_t)&pages[i * 256];
	regions[SDMA >> 31] = (uint64_t)segments | REGION_THIRD;
	fib[2] = SDMA;
	fib[3] = SDMA + APERTURE - 1;
	fib[4] = (uint64_t)regions | IOTA_REGION_THIRD;
	asm volatile(".insn rxy,0xe300000000d0,%[request],%[fib]\n"
		     "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=d"(cc), [request] "+d"(request)
		     : [fib] "Q"(fib), "m"(fib)
		     : "cc", "memory");
	if (cc)
		bail("translation cannot be registered: cc %u", cc);
}

/* "Busy" is repeated, as Linux does it. */
static void refresh(uint32_t fh, uint64_t address, uint64_t length)
{
	register uint64_t start asm("2") = address;
	register uint64_t range asm("3") = length;
	unsigned cc;

	do {
		uint64_t request = (uint64_t)fh << 32;

		asm volatile(".insn rre,0xb9d30000,%[request],2\n"
			     "ipm %[cc]\n"
			     "srl %[cc],28"
			     : [cc] "=d"(cc), [request] "+d"(request)
			     : "d"(start), "d"(range)
			     : "cc", "memory");
	} while (cc == 2);
	if (cc)
		bail("RPCIT ends with cc %u", cc);
}

/* In units of the TOD clock. */
static uint64_t timed_refresh(uint32_t fh, uint64_t address, uint64_t length)
{
	uint64_t begin = tod_clock();

	refresh(fh, address, length);
	return tod_clock() - begin;
}

/* A page that is there, other ones for neighbours. */
static uint64_t page_at(unsigned i)
{
	return (i % 4096 + 1) * 2 * PAGE_SIZE;
}

#define REFRESH_SLICES 25u

static void measure_refresh(uint32_t fh)
{
	for (unsigned slice = 0; slice < REFRESH_SLICES; slice++) {
		uint64_t pair = tod_clock(), range = 0, aperture = 0;

		for (unsigned i = 0; i < 1000; i++) {
			unsigned page = (slice * 1000 + i) * 7 % PAGES;

			pages[page] = page_at(page);
			refresh(fh, SDMA + page * PAGE_SIZE, PAGE_SIZE);
			pages[page] = INVALID_PAGE;
			refresh(fh, SDMA + page * PAGE_SIZE, PAGE_SIZE);
		}
		print("bench rpcit-pair %u %lu\n", 1000, tod_to_ns(tod_clock() - pair));
		for (unsigned i = 0; i < PAGES; i++)
			pages[i] = page_at(i);
		range += timed_refresh(fh, SDMA, PAGES * PAGE_SIZE);
		for (unsigned i = 0; i < CHANGES; i++)
			pages[i * (PAGES / CHANGES)] = slice & 1 ? INVALID_PAGE : PAGE_SIZE;
		aperture = timed_refresh(fh, SDMA, APERTURE);
		for (unsigned i = 0; i < PAGES; i++)
			pages[i] = INVALID_PAGE;
		range += timed_refresh(fh, SDMA, PAGES * PAGE_SIZE);
		print("bench rpcit-range %u %lu\n", PAGES, tod_to_ns(range));
		print("bench rpcit-aperture 1 %lu\n", tod_to_ns(aperture));
	}
}

#endif

#define CLASS_NVME 0x010802
#define VENDOR_VIRTIO 0x1af4
#define CAPABILITY_VENDOR 9
#define VIRTIO_COMMON 1
#define VIRTIO_DEVICE 4

/* Where can be loaded from and stored to without harm: registers of 4 bytes, and a block. */
struct harmless {
	struct place to_load, to_store, block;
	bool has_block;
};

/* The region of a virtio device's registers that a capability of this type names. */
static bool virtio_region(uint32_t fh, unsigned type, unsigned length, struct place *where)
{
	unsigned at = (unsigned)config(fh, 0x34, 1);

	for (unsigned left = 48; at && left; left--) {
		if (config(fh, at, 1) == CAPABILITY_VENDOR && config(fh, at + 3, 1) == type) {
			*where = place(fh, (unsigned)config(fh, at + 4, 1), config(fh, at + 8, 4),
				       length);
			return true;
		}
		at = (unsigned)config(fh, at + 1, 1);
	}
	return false;
}

static struct harmless find_harmless(uint32_t fh)
{
	struct harmless h = { 0 };

	if (config(fh, 0x08, 4) >> 8 == CLASS_NVME) {
		h.to_load = place(fh, 0, 0x08, 4);
		h.to_store = place(fh, 0, 0x24, 4);
		return h;
	}
	if (config(fh, 0, 2) == VENDOR_VIRTIO && virtio_region(fh, VIRTIO_COMMON, 4, &h.to_load)) {
		h.to_store = h.to_load;
		h.has_block = virtio_region(fh, VIRTIO_DEVICE, BLOCK, &h.block);
		return h;
	}
	if (config(fh, 0, 2) == TESTDEV_PCI_VENDOR && config(fh, 2, 2) == TESTDEV_PCI_DEVICE) {
		h.to_load = h.to_store = place(fh, TESTDEV_BAR_SMALL, 0, 4);
		h.block = place(fh, TESTDEV_BAR_SMALL, 0, BLOCK);
		h.has_block = true;
		return h;
	}
	bail("no PCI function of a kind that is known here");
}

void guest_main(void)
{
	uint32_t fh = enabled_function();
	struct harmless h = find_harmless(fh);
	uint64_t data;

	if (load(h.to_load, &data) || store(h.to_store, 0) || (h.has_block && store_block(h.block)))
		bail("the BAR cannot be loaded from or stored to");
	measure("pcilg-config", load_loop, place(fh, CONFIG_SPACE, 0, 4));
	measure("pcilg-bar", load_loop, h.to_load);
	measure("pcistg-bar", store_loop, h.to_store);
	measure("pcistg-config", store_loop, place(fh, CONFIG_SPACE, 0x3c, 1));
	if (h.has_block)
		measure("pcistb", store_block_loop, h.block);
	measure("sic", sic_loop, h.to_load);
#ifndef ACCESS_ONLY
	register_translation(fh);
	measure_refresh(fh);
#endif
}
