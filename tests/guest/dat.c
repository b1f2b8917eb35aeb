/* SPDX-License-Identifier: MIT */
/*
 * Dynamic address translation: all table levels, frames of EDAT-1 and -2, the
 * four address spaces, access registers, protection, and the instructions that
 * move between spaces, invalidate and translate. Sources: Principles of
 * Operation, chapter 3 "Dynamic Address Translation", "Protection", chapter 5
 * "Access-Register Translation", chapter 10.
 *
 * QEMU 7.2 passes up to the access-register mode, which its TCG has not: it dies
 * of it.
 */
#include "lib/guest.h"

#define TABLE_REGION1 0xc
#define TABLE_REGION2 0x8
#define TABLE_REGION3 0x4
#define TABLE_SEGMENT 0x0
#define ENTRY_INVALID 0x20
#define ENTRY_PROTECT 0x200
#define ENTRY_FRAME 0x400
#define PAGE_INVALID 0x400
#define PAGE_PROTECT 0x200
#define CR0_EDAT BIT64(40)
#define CR0_LOW_ADDRESS_PROTECTION BIT64(35)
#define CR0_SECONDARY BIT64(37)

#define TEID_ADDRESS (~0xfffull)
#define WINDOW 0x1000000ull /* 16 MiB: where pages are mapped as a test wants them */

/* The identity mapping of the first 16 MiB, and a segment behind it for tests. */
struct space {
	uint64_t *segments;
	uint64_t *window; /* page table of the segment at WINDOW */
	uint64_t *regions[3]; /* third, second, first */
	uint64_t asce[4]; /* by table level: segment, third, second, first */
};

static void space_create(struct space *s)
{
	s->segments = frames(4 * PAGE_SIZE, PAGE_SIZE);
	for (unsigned i = 0; i < 2048; i++)
		s->segments[i] = ENTRY_INVALID;
	for (unsigned i = 0; i < 17; i++) {
		uint64_t *pages = frames(2048, 2048);

		for (unsigned j = 0; j < 256; j++)
			pages[j] = i < 16 ? (uint64_t)i << 20 | j << 12 : PAGE_INVALID;
		s->segments[i] = (uint64_t)pages;
		s->window = pages;
	}
	s->asce[0] = (uint64_t)s->segments | 3;
	for (unsigned level = 0; level < 3; level++) {
		static const unsigned type[] = { TABLE_REGION3, TABLE_REGION2, TABLE_REGION1 };
		uint64_t lower = level ? (uint64_t)s->regions[level - 1] : (uint64_t)s->segments;

		s->regions[level] = frames(4 * PAGE_SIZE, PAGE_SIZE);
		for (unsigned i = 0; i < 2048; i++)
			s->regions[level][i] = ENTRY_INVALID | type[level];
		s->regions[level][0] = lower | type[level] | 3;
		s->asce[level + 1] = (uint64_t)s->regions[level] | type[level] | 3;
	}
}

static void purge(void)
{
	asm volatile("ptlb" : : : "memory");
}

SNIPPET(load, "lg 3,0(2)");
SNIPPET(load_y, "lgb 3,0(2)");
SNIPPET(store, "stg 3,0(2)");
SNIPPET(tprot, "lghi 3,0x40\ntprot 0(2),0(3)");
SNIPPET(load_ar, "lg 3,0(4)");
SNIPPET(fetch_there, "br 2");

static struct run access(const void *code, uint64_t space, uint64_t address)
{
	struct run r = run_init(PSW_64 | PSW_DAT | space, code);

	r.gr[2] = address;
	r.gr[3] = 0x1122334455667788;
	r.gr[4] = address;
	run(&r);
	return r;
}

static void expect_fault(uint64_t address, unsigned code, const char *what)
{
	struct run r = access(load, PSW_PRIMARY, address);

	expect_pgm(&r, code, load, NULLIFIED, "%s", what);
	check_eq(r.teid & TEID_ADDRESS, address & TEID_ADDRESS, "%s: its address", what);
}

static void levels(struct space *s)
{
	static const unsigned invalid[] = { PGM_SEGMENT, PGM_REGION3, PGM_REGION2, PGM_REGION1 };
	static const unsigned shift[] = { 20, 31, 42, 53 };
	static const char *const names[] = { "segment", "region-third", "region-second",
					     "region-first" };
	uint64_t *data = frames(PAGE_SIZE, PAGE_SIZE);

	*data = 0xfeedfacecafebeef;
	s->window[5] = (uint64_t)data;
	for (unsigned level = 0; level < 4; level++) {
		struct run r;

		ctl_load(1, s->asce[level]);
		r = access(load, PSW_PRIMARY, WINDOW + 5 * PAGE_SIZE);
		if (expect_done(&r, "a %s table translates", names[level]))
			check_eq(r.gr[3], *data, "to the right page under a %s table", names[level]);
		expect_fault(1ull << shift[level] << 6 | 0x123000, invalid[level],
			     level == 0 ? "an invalid segment" : "an invalid region");
		/* The index beyond the table's length is as if its entry were invalid. */
		ctl_load(1, s->asce[level] & ~3ull);
		expect_fault(1ull << shift[level] << 9, invalid[level], "beyond the table");
		ctl_load(1, s->asce[level]);
		if (level < 3)
			expect_fault(1ull << (shift[level] + 11), PGM_ASCE_TYPE,
				     "an address that the ASCE's type has no table for");
	}
	ctl_load(1, s->asce[1]);
	expect_fault(WINDOW + 6 * PAGE_SIZE, PGM_PAGE, "an invalid page");
	s->window[6] = (uint64_t)data | 0x800;
	purge();
	{
		struct run r = access(load, PSW_PRIMARY, WINDOW + 6 * PAGE_SIZE);

		expect_pgm(&r, PGM_TRANSLATION_SPEC, load, SUPPRESSED, "bit 52 of a page-table entry");
		s->window[6] = PAGE_INVALID;
		s->segments[17] = (uint64_t)s->window | TABLE_REGION3;
		purge();
		r = access(load, PSW_PRIMARY, WINDOW + (1 << 20));
		expect_pgm(&r, PGM_TRANSLATION_SPEC, load, SUPPRESSED, "a segment entry of another type");
		s->segments[17] = ENTRY_INVALID;
		purge();
	}
}

static void edat(struct space *s)
{
	struct run r;
	uint64_t *data = frames(PAGE_SIZE, PAGE_SIZE);

	*data = 0x0123456789abcdef;
	s->segments[32] = ((uint64_t)data & ~0xfffffull) | ENTRY_FRAME;
	purge();
	if (facility(8)) {
		ctl_load(0, ctl_store(0) | CR0_EDAT);
		r = access(load, PSW_PRIMARY, (32ull << 20) | ((uint64_t)data & 0xfffff));
		if (expect_done(&r, "a 1 MiB frame translates"))
			check_eq(r.gr[3], *data, "to the right byte of the frame");
		s->segments[32] |= ENTRY_PROTECT;
		purge();
		r = access(store, PSW_PRIMARY, (32ull << 20) | ((uint64_t)data & 0xfffff));
		expect_pgm(&r, PGM_PROTECTION, store, SUPPRESSED, "a store to a protected 1 MiB frame");
		check_eq(r.teid & 4, 4, "the identification says DAT protection");
		/* Protection of a region covers all below it. */
		s->segments[32] &= ~(uint64_t)ENTRY_PROTECT;
		s->regions[0][0] |= ENTRY_PROTECT;
		purge();
		r = access(store, PSW_PRIMARY, (32ull << 20) | ((uint64_t)data & 0xfffff));
		expect_pgm(&r, PGM_PROTECTION, store, SUPPRESSED, "a store under a protected region");
		s->regions[0][0] &= ~(uint64_t)ENTRY_PROTECT;
		purge();
	} else {
		skip("1 MiB frames", "no EDAT-1");
	}
	if (facility(78)) {
		s->regions[0][1] = ENTRY_FRAME | TABLE_REGION3;
		purge();
		r = access(load, PSW_PRIMARY, (1ull << 31) + (uint64_t)data);
		if (expect_done(&r, "a 2 GiB frame translates"))
			check_eq(r.gr[3], *data, "to the right byte of the large frame");
		s->regions[0][1] = ENTRY_INVALID | TABLE_REGION3;
	} else {
		skip("2 GiB frames", "no EDAT-2");
	}
	s->segments[32] = ENTRY_INVALID;
	purge();
}

/* The runtime stores to low addresses itself: so the snippet switches the protection on. */
SNIPPET(store_low, "lctlg 0,0,0(5)\nstore_low_stg: stg 3,0(2)");
extern char store_low_stg[];

static struct run low_store(uint64_t address)
{
	uint64_t cr0 = ctl_store(0), protecting = cr0 | CR0_LOW_ADDRESS_PROTECTION;
	struct run r = run_init(PSW_64 | PSW_DAT, store_low);

	r.gr[2] = address;
	r.gr[3] = *(volatile uint64_t *)address;
	r.gr[5] = (uint64_t)&protecting;
	run(&r);
	ctl_load(0, cr0);
	return r;
}

/* Effective addresses 0 to 511 and 4096 to 4607. */
static void low_addresses(void)
{
	struct run r = low_store(8);

	expect_pgm(&r, PGM_PROTECTION, store_low_stg, SUPPRESSED,
		   "a store to address 8 under low-address protection");
	r = low_store(4096 + 504);
	expect_pgm(&r, PGM_PROTECTION, store_low_stg, SUPPRESSED,
		   "a store to 4600 under low-address protection");
	r = low_store(0x600);
	expect_done(&r, "0x600 is no low address");
	r = low_store(4096 + 512);
	expect_done(&r, "4608 is no low address");
}

#define ASCE_PRIVATE 0x100
#define CR0_FETCH_PROTECTION_OVERRIDE BIT64(38)
#define KEY_FETCH 0x08

static struct run load_low(unsigned key)
{
	struct run r = run_init(PSW_64 | PSW_DAT | PSW_KEY(key), load);

	r.gr[2] = 1024;
	run(&r);
	return r;
}

static unsigned tprot_low(void)
{
	struct run r = access(tprot, PSW_PRIMARY, 1024);

	return PSW_CC_GET(r.psw.mask);
}

/* Low addresses of a private space are like all others. */
static void private_space(struct space *s)
{
	uint64_t cr0 = ctl_store(0);
	struct run r;

	asm volatile("sske %0,%1" : : "d"(0x30ull | KEY_FETCH), "a"(0ull) : "memory");
	ctl_load(0, cr0 | CR0_FETCH_PROTECTION_OVERRIDE);
	r = load_low(4);
	expect_done(&r, "a load from address 1024 under fetch-protection override");
	check_eq(tprot_low(), 1, "TPROT of it");
	ctl_load(1, s->asce[1] | ASCE_PRIVATE);
	r = load_low(4);
	expect_pgm(&r, PGM_PROTECTION, load, SUPPRESSED, "the same in a private space");
	check_eq(tprot_low(), 2, "TPROT of it in a private space");
	ctl_load(0, cr0);
	asm volatile("sske %0,%1" : : "d"(0ull), "a"(0ull) : "memory");

	r = low_store(8);
	expect_done(&r, "a store to address 8 of a private space under low-address protection");
	ctl_load(1, s->asce[1]);
}

static void protection(struct space *s)
{
	uint64_t *data = frames(2 * PAGE_SIZE, PAGE_SIZE), at = WINDOW + 8 * PAGE_SIZE;
	struct run r;

	s->window[8] = (uint64_t)data | PAGE_PROTECT;
	s->window[9] = (uint64_t)data + PAGE_SIZE;
	s->window[10] = PAGE_INVALID;
	purge();
	*data = 7;
	r = access(load, PSW_PRIMARY, at);
	expect_done(&r, "a protected page can be read");
	r = access(store, PSW_PRIMARY, at);
	expect_pgm(&r, PGM_PROTECTION, store, SUPPRESSED, "a store to a protected page");
	check_eq(r.teid & TEID_ADDRESS, at, "a store to a protected page: its address");
	check_eq(r.teid & 4, 4, "a store to a protected page: DAT protection");
	check_eq(*data, 7, "nothing was stored");
	if (facility(75))
		check_eq(r.teid & 0xc00, 0x400, "a store to a protected page: a store");
	/* A store that crosses from a good page into an invalid one stores nothing. */
	memset((uint8_t *)data + PAGE_SIZE, 0x55, PAGE_SIZE);
	r = access(store, PSW_PRIMARY, at + 2 * PAGE_SIZE - 4);
	expect_pgm(&r, PGM_PAGE, store, NULLIFIED, "a store across into an invalid page");
	check_eq(r.teid & TEID_ADDRESS, at + 2 * PAGE_SIZE, "the address is the second page's");
	check_eq(*(uint32_t *)((uint8_t *)data + 2 * PAGE_SIZE - 4), 0x55555555,
		 "nothing was stored into the first page");
	r = access(load_y, PSW_PRIMARY, at + 2 * PAGE_SIZE - 1);
	expect_done(&r, "the last byte of a page");

	low_addresses();
	private_space(s);
}

static void spaces(struct space *primary, struct space *secondary, struct space *home)
{
	uint64_t *data = frames(3 * PAGE_SIZE, PAGE_SIZE), at = WINDOW + 12 * PAGE_SIZE;
	struct run r;

	for (unsigned i = 0; i < 3; i++)
		data[i * 512] = i + 1;
	primary->window[12] = (uint64_t)data;
	secondary->window[12] = (uint64_t)data + PAGE_SIZE;
	home->window[12] = (uint64_t)data + 2 * PAGE_SIZE;
	ctl_load(0, ctl_store(0) | CR0_SECONDARY);
	ctl_load(1, primary->asce[1]);
	ctl_load(7, secondary->asce[1]);
	ctl_load(13, home->asce[1]);
	purge();
	r = access(load, PSW_PRIMARY, at);
	check_eq(r.gr[3], 1, "primary-space mode reads the primary space");
	r = access(load, PSW_SECONDARY, at);
	check_eq(r.gr[3], 2, "secondary-space mode reads the secondary space");
	r = access(load, PSW_HOME, at);
	check_eq(r.gr[3], 3, "home-space mode reads the home space");
	/* In the AR mode base register 4 counts with its access register. */
	for (unsigned alet = 0; alet < 2; alet++) {
		r = run_init(PSW_64 | PSW_DAT | PSW_AR, load_ar);
		r.gr[4] = at;
		r.ar[4] = alet;
		run(&r);
		check_eq(r.gr[3], alet + 1, "ALET %u in the access-register mode", alet);
	}
	r = run_init(PSW_64 | PSW_DAT | PSW_AR, load_ar);
	r.gr[4] = at;
	r.ar[4] = 0xfe000002;
	run(&r);
	expect_pgm(&r, PGM_ALET_SPEC, load_ar, NULLIFIED, "an ALET with reserved bits");
	check_eq(r.exc_access_id, 4, "the exception names access register 4");

	/* An access list in the dispatchable unit: entry 2 is the home space. */
	{
		uint32_t *ducto = frames(64, 64), *list = frames(128, 128), *aste = frames(64, 64);

		ducto[4] = (uint32_t)(uint64_t)list;
		list[2 * 4 + 2] = (uint32_t)(uint64_t)aste;
		list[2 * 4 + 3] = 77;
		aste[2] = (uint32_t)(home->asce[1] >> 32);
		aste[3] = (uint32_t)home->asce[1];
		aste[5] = 77;
		list[0] = list[4] = 0x80000000;
		ctl_load(2, (uint64_t)ducto);
		r = run_init(PSW_64 | PSW_DAT | PSW_AR, load_ar);
		r.gr[4] = at;
		r.ar[4] = 2;
		run(&r);
		if (expect_done(&r, "an ALET through the access list"))
			check_eq(r.gr[3], 3, "reads the space of its ASTE");
		aste[5] = 78;
		asm volatile("palb" : : : "memory");
		r = run_init(PSW_64 | PSW_DAT | PSW_AR, load_ar);
		r.gr[4] = at;
		r.ar[4] = 2;
		run(&r);
		expect_pgm(&r, PGM_ASTE_SEQUENCE, load_ar, NULLIFIED, "an old ASTE sequence number");
		r = run_init(PSW_64 | PSW_DAT | PSW_AR, load_ar);
		r.gr[4] = at;
		r.ar[4] = 1 << 3 | 3;
		run(&r);
		expect_pgm(&r, PGM_ALEN_TRANSLATION, load_ar, NULLIFIED, "an ALET beyond the access list");
	}
}

SNIPPET(mvcos, "mvcos 0(4),0(2),5");
SNIPPET(mvcp, "mvcp 0(5,4),0(2),6");
SNIPPET(mvcs, "mvcs 0(5,4),0(2),6");
SNIPPET(lra, "lra 3,0(2)");
SNIPPET(sac, "sac 0(2)");

#define CR9_STORE BIT64(34)
#define PER_STORE 0x20

/* A move of 16 bytes to `at` is a storage alteration, whatever the space. */
static void move_event(const char *name, const void *code, uint64_t at, bool in_range)
{
	struct run r = run_init(PSW_64 | PSW_DAT | PSW_PER, code);

	ctl_load(9, CR9_STORE);
	ctl_load(10, in_range ? at + 15 : at + 16);
	ctl_load(11, at + 23);
	r.gr[0] = 0x0081;
	r.gr[2] = at + 256;
	r.gr[4] = at;
	r.gr[5] = 16;
	run(&r);
	ctl_load(9, 0);
	if (!in_range) {
		expect_done(&r, "%s: no event for a store beside the range", name);
		return;
	}
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PER, "%s: a PER event", name);
	check_eq(r.per_code, PER_STORE, "%s: a storage alteration", name);
	check_eq(r.per_address, (uint64_t)code, "%s: it names the instruction", name);
}

static void moves(struct space *primary, struct space *secondary)
{
	uint8_t *data = frames(4 * PAGE_SIZE, PAGE_SIZE);
	uint64_t at = WINDOW + 16 * PAGE_SIZE;
	struct run r;

	primary->window[16] = (uint64_t)data;
	primary->window[17] = PAGE_INVALID;
	secondary->window[16] = (uint64_t)data + PAGE_SIZE;
	secondary->window[17] = (uint64_t)data + 2 * PAGE_SIZE;
	purge();
	memset(data, 0x11, PAGE_SIZE);
	memset(data + PAGE_SIZE, 0x22, 2 * PAGE_SIZE);

	/* From the secondary to the primary space: OAC 2 says "space given, secondary". */
	r = run_init(PSW_64 | PSW_DAT, mvcos);
	r.gr[0] = 0x0081;
	r.gr[2] = at;
	r.gr[4] = at + 16;
	r.gr[5] = 100;
	run(&r);
	if (expect_done(&r, "MVCOS from the secondary space")) {
		check_eq(PSW_CC_GET(r.psw.mask), 0, "with condition code 0");
		check_eq(data[15], 0x11, "nothing before the operand changed");
		check_eq(data[16], 0x22, "the first byte moved");
		check_eq(data[115], 0x22, "the last byte moved");
		check_eq(data[116], 0x11, "nothing behind the operand changed");
	}
	r = run_init(PSW_64 | PSW_DAT, mvcos);
	r.gr[0] = 0x0081;
	r.gr[2] = at;
	r.gr[4] = at;
	r.gr[5] = 5000;
	run(&r);
	if (expect_done(&r, "MVCOS of more than 4096 bytes"))
		check_eq(PSW_CC_GET(r.psw.mask), 3, "moves 4096 of them, condition code 3");
	memset(data, 0x11, PAGE_SIZE);
	r = run_init(PSW_64 | PSW_DAT, mvcos);
	r.gr[0] = 0x0081;
	r.gr[2] = at;
	r.gr[4] = at + PAGE_SIZE - 8;
	r.gr[5] = 16;
	run(&r);
	expect_pgm(&r, PGM_PAGE, mvcos, NULLIFIED, "MVCOS into an invalid second page");
	check_eq(data[PAGE_SIZE - 8], 0x11, "has changed nothing in the first");

	r = run_init(PSW_64 | PSW_DAT, mvcp);
	r.gr[2] = at;
	r.gr[4] = at;
	r.gr[5] = 300;
	run(&r);
	if (expect_done(&r, "MVCP")) {
		check_eq(PSW_CC_GET(r.psw.mask), 3, "moves 256 of 300 bytes, condition code 3");
		check_eq(data[255] << 8 | data[256], 0x2211, "and not one more");
	}
	r = run_init(PSW_64 | PSW_DAT, mvcs);
	r.gr[2] = at + 256;
	r.gr[4] = at;
	r.gr[5] = 8;
	run(&r);
	if (expect_done(&r, "MVCS"))
		check_eq(data[PAGE_SIZE + 7] << 8 | data[PAGE_SIZE + 8], 0x1122, "moves 8 bytes");
	move_event("MVCOS", mvcos, at, true);
	move_event("MVCOS", mvcos, at, false);
	move_event("MVCP", mvcp, at, true);
	move_event("MVCS", mvcs, at, true);
	r = run_init(PSW_64 | PSW_DAT | PSW_HOME, mvcs);
	r.gr[5] = 8;
	run(&r);
	expect_pgm(&r, PGM_SPECIAL_OPERATION, mvcs, SUPPRESSED, "MVCS in the home-space mode");

	r = access(lra, PSW_PRIMARY, at + 0x123);
	check_eq(r.gr[3], (uint64_t)data + 0x123, "LRA gives the real address");
	r = access(lra, PSW_PRIMARY, at + PAGE_SIZE);
	check_eq(PSW_CC_GET(r.psw.mask), 2, "LRA of an invalid page: condition code 2");
	r = access(lra, PSW_PRIMARY, 0x40000000);
	check_eq(PSW_CC_GET(r.psw.mask), 1, "LRA of an invalid segment: condition code 1");

	r = access(sac, PSW_PRIMARY, 0x100);
	if (expect_done(&r, "SAC"))
		check_eq(r.psw.mask & PSW_HOME, PSW_SECONDARY, "SAC 1 sets the secondary space");
	r = access(sac, PSW_PRIMARY, 0x400);
	expect_pgm(&r, PGM_SPECIFICATION, sac, SUPPRESSED, "SAC 4");
	r = access(sac, PSW_PROBLEM, 0x300);
	expect_pgm(&r, PGM_PRIVILEGED, sac, SUPPRESSED, "SAC 3 in the problem state");
}

static void ipte(uint64_t *table, uint64_t address)
{
	asm volatile("ipte %0,%1" : : "a"(table), "a"(address) : "memory");
}

/* What was translated once is translated anew after an invalidation. */
static void invalidation(struct space *s)
{
	uint64_t *data = frames(2 * PAGE_SIZE, PAGE_SIZE), at = WINDOW + 20 * PAGE_SIZE;
	uint64_t *other;
	struct run r;

	data[0] = 1;
	data[512] = 2;
	s->window[20] = (uint64_t)data;
	purge();
	r = access(load, PSW_PRIMARY, at);
	check_eq(r.gr[3], 1, "before IPTE");
	ipte(s->window, at);
	check_eq(s->window[20] & PAGE_INVALID, PAGE_INVALID, "IPTE sets the invalid bit");
	r = access(load, PSW_PRIMARY, at);
	expect_pgm(&r, PGM_PAGE, load, NULLIFIED, "after IPTE");
	s->window[20] = (uint64_t)data + PAGE_SIZE;
	r = access(load, PSW_PRIMARY, at);
	check_eq(r.gr[3], 2, "after IPTE and a new entry");

	other = frames(2048, 2048);
	for (unsigned i = 0; i < 256; i++)
		other[i] = s->window[i];
	other[20] = (uint64_t)data;
	if (facility(3)) {
		/* IDTE of the segment-table entry, then another page table. */
		uint64_t address = 16ull << 20;

		asm volatile(".insn rrf,0xb98e0000,%0,%1,0,0"
			     : : "a"((uint64_t)s->segments), "a"(address) : "memory");
		check_eq(s->segments[16] & ENTRY_INVALID, ENTRY_INVALID, "IDTE sets the invalid bit");
		r = access(load, PSW_PRIMARY, at);
		expect_pgm(&r, PGM_SEGMENT, load, NULLIFIED, "after IDTE");
		s->segments[16] = (uint64_t)other;
		r = access(load, PSW_PRIMARY, at);
		check_eq(r.gr[3], 1, "after IDTE and a new entry");
		/* Clearing by ASCE. */
		other[20] = (uint64_t)data + PAGE_SIZE;
		asm volatile(".insn rrf,0xb98e0000,%0,%1,0,0"
			     : : "a"(s->asce[1]), "a"(0x800ull) : "memory");
		r = access(load, PSW_PRIMARY, at);
		check_eq(r.gr[3], 2, "after IDTE of all that the ASCE made");
		s->segments[16] = (uint64_t)s->window;
		purge();
	} else {
		skip("IDTE", "no DAT-enhancement facility");
	}
	{
		register uint64_t old asm("4") = s->window[20];
		register uint64_t new asm("5") = (uint64_t)data;
		register uint64_t where asm("6") = (uint64_t)&s->window[20] | 1;

		asm volatile("cspg 4,6" : "+d"(old), "+d"(new), "+a"(where) : : "cc", "memory");
		check_eq(s->window[20], (uint64_t)data, "CSPG exchanges");
		r = access(load, PSW_PRIMARY, at);
		check_eq(r.gr[3], 1, "and purges");
	}
}

static void fetches(struct space *s)
{
	uint8_t *code = frames(2 * PAGE_SIZE, PAGE_SIZE);
	uint64_t at = WINDOW + 24 * PAGE_SIZE;
	struct run r;

	/* A six-byte instruction across two pages that are not neighbours in real storage. */
	s->window[24] = (uint64_t)code + PAGE_SIZE;
	s->window[25] = (uint64_t)code;
	purge();
	code[2 * PAGE_SIZE - 4] = 0xe3; /* lg 3,0(4) */
	code[2 * PAGE_SIZE - 3] = 0x30;
	code[2 * PAGE_SIZE - 2] = 0x40;
	code[2 * PAGE_SIZE - 1] = 0x00;
	code[0] = 0x00;
	code[1] = 0x04;
	code[2] = 0x0a; /* svc 255 */
	code[3] = 0xff;
	r = access(fetch_there, PSW_PRIMARY, at + PAGE_SIZE - 4);
	check_eq(r.exit == RUN_SVC && r.code == DONE, true, "an instruction across two pages");
	s->window[25] = PAGE_INVALID;
	purge();
	r = access(fetch_there, PSW_PRIMARY, at + PAGE_SIZE - 4);
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PAGE, "its second page invalid");
	check_eq(r.psw.addr, at + PAGE_SIZE - 4, "the old PSW designates the instruction");
	check_eq(r.teid & TEID_ADDRESS, at + PAGE_SIZE, "the identification names the second page");
	r = access(fetch_there, PSW_PRIMARY, at + PAGE_SIZE);
	check_eq(r.exit == RUN_PGM ? r.code : 0, PGM_PAGE, "a branch into an invalid page");
	check_eq(r.psw.addr, at + PAGE_SIZE, "the old PSW designates the branch's target");
}

void guest_main(void)
{
	static struct space primary, secondary, home;
	uint64_t cr0 = ctl_store(0);

	space_create(&primary);
	space_create(&secondary);
	space_create(&home);
	levels(&primary);
	edat(&primary);
	ctl_load(1, primary.asce[1]);
	protection(&primary);
	spaces(&primary, &secondary, &home);
	moves(&primary, &secondary);
	invalidation(&primary);
	fetches(&primary);
	ctl_load(0, cr0);
}
