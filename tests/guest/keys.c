/* SPDX-License-Identifier: MIT */
/*
 * Storage keys and key-controlled protection; prefixing; signalling between
 * CPUs; storms of invalidations on all CPUs. Sources: Principles of Operation,
 * chapter 3 "Storage Key", "Key-Controlled Protection", "Prefixing", chapter 4
 * "CPU Signaling and Response", chapter 10.
 */
#include "lib/guest.h"

#define KEY_FETCH 0x08
#define KEY_REFERENCE 0x04
#define KEY_CHANGE 0x02

static void sske(const void *page, unsigned key)
{
	asm volatile("sske %0,%1" : : "d"((uint64_t)key), "a"(page) : "memory");
}

static unsigned iske(const void *page)
{
	uint64_t key = 0;

	asm volatile("iske %0,%1" : "+d"(key) : "a"(page));
	return (unsigned)key & 0xff;
}

static unsigned rrbe(const void *page)
{
	unsigned cc;

	asm volatile("rrbe 0,%1\nipm %0\nsrl %0,28" : "=d"(cc) : "a"(page) : "cc");
	return cc;
}

static unsigned tprot(const void *page, uint64_t key)
{
	unsigned cc;

	asm volatile("tprot 0(%1),0(%2)\nipm %0\nsrl %0,28"
		     : "=d"(cc) : "a"(page), "a"(key << 4) : "cc");
	return cc;
}

SNIPPET(load, "lg 3,0(2)");
SNIPPET(store, "stg 3,0(2)");

static struct run with_key(const void *code, const void *page, unsigned key)
{
	struct run r = run_init(PSW_64 | PSW_KEY(key), code);

	r.gr[2] = (uint64_t)page;
	run(&r);
	return r;
}

static void keys(void)
{
	uint64_t *page = frames(PAGE_SIZE, PAGE_SIZE);
	struct run r;

	sske(page, 0x30);
	check_eq(iske(page), 0x30, "ISKE gives what SSKE set");
	(void)*(volatile uint64_t *)page;
	check_eq(iske(page) & (KEY_REFERENCE | KEY_CHANGE), KEY_REFERENCE, "a load sets the reference bit");
	*(volatile uint64_t *)page = 1;
	check_eq(iske(page) & (KEY_REFERENCE | KEY_CHANGE), KEY_REFERENCE | KEY_CHANGE,
		 "a store sets the change bit");
	check_eq(rrbe(page), 3, "RRBE gives reference and change");
	check_eq(iske(page) & (KEY_REFERENCE | KEY_CHANGE), KEY_CHANGE, "and resets the reference bit");
	(void)*(volatile uint64_t *)page;
	check_eq(iske(page) & KEY_REFERENCE, KEY_REFERENCE, "which the next load sets again");
	sske(page, 0x30);
	*(volatile uint64_t *)page = 2;
	check_eq(iske(page) & KEY_CHANGE, KEY_CHANGE, "a store sets the change bit again after SSKE");

	r = with_key(store, page, 3);
	expect_done(&r, "a store with the same key");
	r = with_key(store, page, 4);
	expect_pgm(&r, PGM_PROTECTION, store, SUPPRESSED, "a store with another key");
	r = with_key(load, page, 4);
	expect_done(&r, "a load with another key");
	r = with_key(store, page, 0);
	expect_done(&r, "a store with key 0");
	sske(page, 0x30 | KEY_FETCH);
	r = with_key(load, page, 4);
	expect_pgm(&r, PGM_PROTECTION, load, SUPPRESSED, "a load with another key under fetch protection");
	r = with_key(load, page, 3);
	expect_done(&r, "a load with the same key under fetch protection");
	check_eq(tprot(page, 3), 0, "TPROT with the same key");
	check_eq(tprot(page, 4), 2, "TPROT with another key under fetch protection");
	sske(page, 0x30);
	check_eq(tprot(page, 4), 1, "TPROT with another key");
	sske(page, 0);
}

#define CR0_FETCH_PROTECTION_OVERRIDE BIT64(38)
#define CR0_STORAGE_PROTECTION_OVERRIDE BIT64(39)

/* Both overrides of control register 0, for accesses and for TPROT, which foretells them. */
static void overrides(void)
{
	uint64_t *page = frames(PAGE_SIZE, PAGE_SIZE), cr0 = ctl_store(0);
	uint8_t *low = (uint8_t *)lowcore();
	unsigned low_key = iske(low);
	struct run r;

	sske(page, 0x90 | KEY_FETCH);
	check_eq(tprot(page, 4), 2, "TPROT of key 9 with another key under fetch protection");
	ctl_load(0, cr0 | CR0_STORAGE_PROTECTION_OVERRIDE);
	check_eq(tprot(page, 4), 0, "TPROT of key 9 under storage-protection override");
	r = with_key(store, page, 4);
	expect_done(&r, "a store to key 9 under storage-protection override");
	sske(page, 0x80 | KEY_FETCH);
	check_eq(tprot(page, 4), 2, "TPROT of key 8 under storage-protection override");
	ctl_load(0, cr0);
	sske(page, 0);

	sske(low, 0x30 | KEY_FETCH);
	check_eq(tprot(low + 1024, 4), 2, "TPROT of address 1024 under fetch protection");
	r = with_key(load, low + 1024, 4);
	expect_pgm(&r, PGM_PROTECTION, load, SUPPRESSED,
		   "a load from address 1024 under fetch protection");
	ctl_load(0, cr0 | CR0_FETCH_PROTECTION_OVERRIDE);
	check_eq(tprot(low + 1024, 4), 1, "TPROT of address 1024 under fetch-protection override");
	check_eq(tprot(low + 2048, 4), 2, "TPROT of address 2048 under fetch-protection override");
	r = with_key(load, low + 1024, 4);
	expect_done(&r, "a load from address 1024 under fetch-protection override");
	r = with_key(load, low + 2048, 4);
	expect_pgm(&r, PGM_PROTECTION, load, SUPPRESSED,
		   "a load from address 2048 under fetch-protection override");
	ctl_load(0, cr0);
	sske(low, low_key);
}

/* ---- Prefixing ---- */

SNIPPET(set_prefix, "spx 0(2)\nmvc 0(8,4),0(3)\nspx 0(5)");

static void prefixing(void)
{
	uint32_t *area = frames(8192, 8192), old = 0;
	static uint32_t new_prefix;
	static uint64_t probe = 0x1234567890abcdef;
	struct run r;
	volatile uint8_t *low = (volatile uint8_t *)lowcore();

	asm volatile("stpx %0" : "=Q"(old));
	memcpy(area, (const void *)low, 8192);
	new_prefix = (uint32_t)(uint64_t)area;
	r = run_init(PSW_64, set_prefix);
	r.gr[2] = (uint64_t)&new_prefix;
	r.gr[3] = (uint64_t)&probe;
	r.gr[4] = 0x1e00; /* real: goes to the area while the prefix is set */
	r.gr[5] = (uint64_t)&old;
	run(&r);
	if (expect_done(&r, "SPX there and back")) {
		check_eq(*(uint64_t *)((uint8_t *)area + 0x1e00), probe,
			 "a store to real 0x1e00 went to the prefix area");
		check_eq(*(volatile uint64_t *)(low + 0x1e00) == probe, false, "and not to the old one");
	}
}

/* ---- Signals and storms ---- */

static volatile uint32_t started, stop_now;
static uint64_t *storm_table, storm_asce, storm_data[2];

#define STORM_VA 0x1000000ull
#define STORM_ROUNDS 2000

SNIPPET(storm_load, "lg 3,0(2)");

/*
 * Each CPU invalidates and remaps a page of its own in a table that all share, and
 * must see its new page at once.
 */
static volatile uint64_t storm_wrong[MAX_CPUS];

static void storm(void *arg)
{
	uint64_t me = (uint64_t)arg, va = STORM_VA + me * PAGE_SIZE, wrong = 0;

	ctl_load(1, storm_asce);
	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		struct run r;

		asm volatile("ipte %0,%1" : : "a"(storm_table), "a"(va) : "memory");
		storm_table[me] = storm_data[i & 1];
		r = run_init(PSW_64 | PSW_DAT, storm_load);
		r.gr[2] = va;
		run(&r);
		if (r.exit != RUN_SVC || r.gr[3] != (i & 1) + 1)
			wrong++;
	}
	storm_wrong[me] = wrong;
}

static void invalidation_storm(void)
{
	uint64_t *segments = frames(4 * PAGE_SIZE, PAGE_SIZE);
	unsigned cpus = cpu_count();

	if (cpus < 2) {
		skip("a storm of IPTE", "one CPU");
		return;
	}
	for (unsigned i = 0; i < 2048; i++)
		segments[i] = 0x20;
	for (unsigned i = 0; i < 17; i++) {
		uint64_t *pages = frames(2048, 2048);

		for (unsigned j = 0; j < 256; j++)
			pages[j] = i < 16 ? (uint64_t)i << 20 | j << 12 : 0x400;
		segments[i] = (uint64_t)pages;
		storm_table = pages;
	}
	for (unsigned i = 0; i < 2; i++) {
		uint64_t *page = frames(PAGE_SIZE, PAGE_SIZE);

		*page = i + 1;
		storm_data[i] = (uint64_t)page;
	}
	storm_asce = (uint64_t)segments | 3;
	for (unsigned i = 1; i < cpus; i++)
		cpu_start(i, storm, (void *)(uint64_t)i);
	storm(NULL);
	for (unsigned i = 1; i < cpus; i++)
		cpu_join(i);
	for (unsigned i = 0; i < cpus; i++)
		check_eq(storm_wrong[i], 0, "CPU %u sees its page after each IPTE of a storm", i);
}

static void signalled(void *arg)
{
	started = 1;
	while (!stop_now)
		serialize();
}

static void signals(void)
{
	uint64_t status = 0;

	if (cpu_count() < 2) {
		skip("SIGP", "one CPU");
		return;
	}
	check_eq(sigp(1, SIGP_SENSE, 0, &status), 1, "a CPU that was never started: status stored");
	check_eq(status & 0x40, 0x40, "it is stopped");
	check_eq(sigp(63, SIGP_SENSE, 0, &status), 3, "a CPU that is not there: condition code 3");
	check_eq(sigp(1, 0xff, 0, &status), 1, "an order that is not there: status stored");
	check_eq(status & 0xffffffff, 2, "invalid order");
	cpu_start(1, signalled, NULL);
	while (!started)
		serialize();
	check_eq(sigp(1, SIGP_SENSE, 0, &status), 0, "a running CPU: condition code 0");
	check_eq(sigp(1, SIGP_SET_PREFIX, 0x10000, &status), 1, "set prefix of a running CPU: status stored");
	check_eq(status & 0x200, 0x200, "incorrect state");
	check_eq(sigp(1, SIGP_STOP_STORE, 0, &status), 0, "stop and store status");
	cpu_join(1);
	ok(cpu_lowcore(1)->status_prefix == (uint32_t)(uint64_t)cpu_lowcore(1),
	   "the status of the stopped CPU is in its lowcore");
	check_eq(sigp(1, SIGP_START, 0, &status), 0, "start");
	stop_now = 1;
	cpu_join(1);
	ok(true, "it goes on where it was");
}

void guest_main(void)
{
	keys();
	overrides();
	prefixing();
	signals();
	invalidation_storm();
}
