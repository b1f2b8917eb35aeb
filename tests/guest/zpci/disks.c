/* SPDX-License-Identifier: MIT */
/*
 * Uses all NVMe controllers that there are at once, by turns, while their owner takes one
 * away. It says which is which, and what it has written there, so that the owner can look:
 *
 *	# SERIAL seed SEED		the first eight bytes that were read
 *	# SERIAL wrote OFFSET LENGTH SEED	the pattern of disk.c; what is told last counts
 *	# under way			something has been written everywhere, and more is
 *
 * It is built for each of the things that may happen meanwhile: enum meanwhile.
 */
#include "zpci/nvme.h"

#define FACTOR 0x9e3779b97f4a7c15ull
#define DISKS 4u
#define ROUNDS 8u
/* For what somebody else does meanwhile; and for a command that may have gone with its disk. */
#define OWNER_PATIENCE (120 * SECOND)
#define GONE_PATIENCE (5 * SECOND)
#define AT 0x400000ul /* bytes, where a disk is written to */
#define LENGTH ((unsigned long)(NVME_DATA_PAGES * PAGE_SIZE))
#define MARK 0x0123456789abcdefull

enum {
	SYSTEM_ERROR = 0x000b,
	WANTED_BACK = 0x0303,
	TAKEN_AWAY = 0x0304,
	RESERVED = 0x0308,
};

enum meanwhile {
	nothing,
	wanted, /* goes on until one is wanted back, and gives it back */
	removed, /* goes on until one is gone */
	failed, /* goes on until one fails, and recovers it */
	again, /* re-IPLs with the controllers running, and does it all once more */
	running, /* leaves them running at the end */
	direct, /* does without translation */
};

#ifndef MEANWHILE
#define MEANWHILE nothing
#endif

struct disk {
	struct function f;
	struct nvme nvme;
	uint64_t seed;
	bool gone;
};

static struct disk disks[DISKS];
static unsigned count;

/* ---- One disk ---- */

static uint64_t blocks(const struct disk *d, uint64_t bytes)
{
	return bytes / d->nvme.block_bytes;
}

static uint64_t *words(const struct disk *d, unsigned page)
{
	return (uint64_t *)nvme_page(&d->nvme, NVME_DATA + page);
}

static uint64_t pattern(uint64_t seed, unsigned word)
{
	return (seed + word + 1) * FACTOR;
}

static bool write_and_read(struct disk *d, uint64_t seed)
{
	unsigned n = (unsigned)blocks(d, LENGTH);

	for (unsigned k = 0; k < LENGTH / 8; k++)
		words(d, k / 512)[k % 512] = pattern(seed, k);
	if (nvme_write(&d->nvme, blocks(d, AT), n))
		return false;
	for (unsigned i = 0; i < NVME_DATA_PAGES; i++)
		memset(words(d, i), 0, PAGE_SIZE);
	if (nvme_read(&d->nvme, blocks(d, AT), n))
		return false;
	for (unsigned k = 0; k < LENGTH / 8; k++)
		if (words(d, k / 512)[k % 512] != pattern(seed, k))
			return false;
	return true;
}

/* The last that is written, and its owner is told. */
static bool write_for_the_owner(struct disk *d)
{
	uint64_t seed = d->seed ^ tod_clock();

	if (!write_and_read(d, seed) || nvme_flush(&d->nvme))
		return false;
	print("# %s wrote %lu %lu %lx\n", d->nvme.serial, AT, LENGTH, (unsigned long)seed);
	return true;
}

static bool start(struct disk *d)
{
	const char *problem;

	function_enable(&d->f);
	if (!ok(!(nvme_configuration(&d->f) & 1), "a controller is not running when it is found"))
		note("its configuration is %x", nvme_configuration(&d->f));
	problem = MEANWHILE == direct ? nvme_register_direct(&d->nvme, &d->f) :
					nvme_register(&d->nvme, &d->f);
	if (!problem)
		problem = nvme_start(&d->nvme);
	if (!ok(!problem, "it starts")) {
		note("%s", problem);
		return false;
	}
	/* A command that goes with its disk is not waited for that long. */
	if (MEANWHILE == removed || MEANWHILE == failed)
		d->nvme.patience = GONE_PATIENCE;
	return true;
}

/* Was this done already? A page behind what is written says so. */
static bool marked(struct disk *d)
{
	uint64_t at = blocks(d, AT + LENGTH);
	unsigned n = (unsigned)blocks(d, PAGE_SIZE);

	if (nvme_read(&d->nvme, at, n))
		return false;
	if (words(d, 0)[0] == MARK)
		return true;
	memset(words(d, 0), 0, PAGE_SIZE);
	words(d, 0)[0] = MARK;
	if (!ok(!nvme_write(&d->nvme, at, n) && !nvme_flush(&d->nvme), "a mark is written"))
		return true;
	return false;
}

/* ---- All of them ---- */

static void find(void)
{
	struct list_entry list[16];
	unsigned n = functions_list(list, ARRAY_SIZE(list));

	for (unsigned i = 0; i < n && i < ARRAY_SIZE(list) && count < DISKS; i++) {
		struct disk *d = &disks[count];

		d->f = (struct function){ .fid = list[i].fid };
		if (!function_refresh_handle(&d->f) || !function_query(&d->f))
			continue;
		function_enable(&d->f);
		if (nvme_is(&d->f))
			count++;
		function_disable(&d->f);
	}
}

static struct disk *disk_of(uint32_t fid)
{
	for (unsigned i = 0; i < count; i++)
		if (disks[i].f.fid == fid)
			return &disks[i];
	return NULL;
}

/* By turns; the disk that fails, or NULL. */
static struct disk *round(uint64_t number)
{
	for (unsigned i = 0; i < count; i++)
		if (!disks[i].gone && !write_and_read(&disks[i], disks[i].seed + number))
			return &disks[i];
	return NULL;
}

/* The next event of a kind, while all disks are in use. The disk that it is about. */
static struct disk *in_use_until(unsigned content, unsigned pec, const char *what)
{
	uint64_t begin = tod_clock(), rounds = 0;
	struct disk *broken = NULL;
	struct event event;

	print("# under way\n");
	do {
		if (!broken)
			broken = round(rounds++);
		event = event_next();
	} while (!event.content && tod_clock() - begin < OWNER_PATIENCE);
	note("%lu rounds", (unsigned long)rounds);
	if (!ok(event.content == content && event.pec == pec && disk_of(event.fid), "%s", what)) {
		note("event content %u code %04x fid %x", event.content, event.pec, event.fid);
		return NULL;
	}
	ok(!broken || broken == disk_of(event.fid), "no other disk failed meanwhile");
	if (pec == WANTED_BACK)
		ok(!broken, "nor did this one");
	return disk_of(event.fid);
}

static void others_go_on(void)
{
	struct disk *broken = NULL;

	for (unsigned i = 0; i < ROUNDS && !broken; i++)
		broken = round(i);
	ok(!broken, "the others go on");
}

static void give_back(void)
{
	struct disk *d = in_use_until(2, WANTED_BACK, "a disk is wanted back: event 0303");
	struct event event;
	uint64_t begin;

	if (!d)
		return;
	ok(write_for_the_owner(d), "it works until it is given back");
	function_disable(&d->f);
	check_eq(sclp_configure(d->f.fid, false), 0x20, "it is given back");
	d->gone = true;
	begin = tod_clock();
	do
		event = event_next();
	while (!event.content && tod_clock() - begin < OWNER_PATIENCE);
	ok(event.content == 2 && event.pec == RESERVED && event.fid == d->f.fid,
	   "then it goes: event 0308");
	ok(!function_refresh_handle(&d->f), "it is not listed any more");
	others_go_on();
}

static void is_taken_away(void)
{
	struct disk *d = in_use_until(2, TAKEN_AWAY, "a disk is taken away: event 0304");

	if (!d)
		return;
	d->gone = true;
	ok(answered(insn_pcilg(place(d->f.fh, CONFIG_SPACE, 4), 0, NULL), CC(3)),
	   "its handle is none any more");
	for (unsigned i = 0; i < NVME_PAGES; i++)
		memset(nvme_page(&d->nvme, i), 0x5a, PAGE_SIZE);
	others_go_on();
	for (unsigned i = 0; i < NVME_PAGES; i++)
		for (unsigned j = 0; j < PAGE_SIZE; j++)
			if (nvme_page(&d->nvme, i)[j] != 0x5a)
				d = NULL;
	ok(d != NULL, "nothing is stored into its memory any more");
}

static void recovers(void)
{
	struct disk *d =
		in_use_until(1, SYSTEM_ERROR, "the host reports an error of a disk: event 000b");

	if (!d)
		return;
	ok(!answered(insn_pcilg(place(d->f.fh, CONFIG_SPACE, 4), 0, NULL), CC(0)),
	   "it is in the error state");
	d->gone = true;
	others_go_on();
	d->gone = false;
	function_disable(&d->f);
	if (start(d))
		ok(write_for_the_owner(d), "disabled and enabled, it works again");
}

static void restarts(void)
{
	struct disk *d = &disks[0];

	ok(nvme_configuration(&d->f) & 1, "a controller in use is running");
	function_restart(&d->f);
	ok(!(nvme_configuration(&d->f) & 1), "it is not when it was disabled and enabled");
	function_disable(&d->f);
	start(d);
}

/* The program begins anew, and no driver has stopped anything. */
static void re_ipl(void)
{
	print("# re-IPL\n");
	asm volatile("lghi %%r2,0; lghi %%r3,3; diag %%r2,%%r3,0x308" : : : "r2", "r3", "memory");
	ok(false, "re-IPL");
}

void guest_main(void)
{
	const enum meanwhile meanwhile = MEANWHILE;
	struct disk *broken = NULL;

	find();
	if (!ok(count != 0, "%u NVMe controllers", count))
		return;
	for (unsigned i = 0; i < count; i++) {
		struct disk *d = &disks[i];

		if (!start(d))
			return;
		if (nvme_read(&d->nvme, 0, (unsigned)blocks(d, PAGE_SIZE)))
			bail("a disk cannot be read");
		d->seed = words(d, 0)[0];
		print("# %s seed %lx\n", d->nvme.serial, (unsigned long)d->seed);
	}
	for (unsigned i = 0; i < ROUNDS && !broken; i++)
		broken = round(i);
	ok(!broken, "all can be written and read, by turns");
	restarts();
	if (meanwhile == wanted)
		give_back();
	if (meanwhile == removed)
		is_taken_away();
	if (meanwhile == failed)
		recovers();
	for (unsigned i = 0; i < count; i++)
		if (!disks[i].gone)
			ok(write_for_the_owner(&disks[i]), "the last is written");
	if (meanwhile == again && !marked(&disks[0]))
		re_ipl();
	for (unsigned i = 0; i < count && meanwhile != running; i++)
		if (!disks[i].gone)
			function_disable(&disks[i].f);
}
