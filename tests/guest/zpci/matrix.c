/* SPDX-License-Identifier: MIT */
/*
 * Every operation in every state: what it answers, and the state that it leads to.
 * docs/zpci.md, "States", is this table. A check's name is the operation and the
 * state it is executed in.
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

#include "../../../src/devices/testdev_regs.h"

enum state { STANDBY, DISABLED, ENABLED, BLOCKED, ERROR, PERMANENT, STATES };

static const char *const state_names[STATES] = { "standby", "disabled", "enabled",
						 "blocked", "error",	"permanent" };

static struct function *f;
static struct dma dma;
static struct fib fib;
static uint64_t *third;
static uint8_t *page;

#define OUTSIDE 0x200000000ull /* offset of an address that is not registered */

/* ---- Where it is, and how to get somewhere ---- */

static enum state observe(void)
{
	struct fib stored;
	struct answer a;

	function_refresh_handle(f);
	if (!f->configured)
		return STANDBY;
	a = insn_stpcifc(control(f->fh, 0, 0), &stored);
	if (answered(a, STATUS(8)))
		return PERMANENT;
	if (!answered(a, CC(0)))
		return STATES;
	switch (stored.controls & 0xe0) {
	case 0x00:
		return DISABLED;
	case 0x80:
		return ENABLED;
	case 0xc0:
		return BLOCKED;
	case 0xe0:
		return ERROR;
	default:
		return STATES;
	}
}

static void register_translation(void)
{
	memset(&fib, 0, sizeof(fib));
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + 0x7fffffff;
	fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	modify(f, REGISTER_TRANSLATION, &fib);
	insn_rpcit(f->fh, fib.pba, 0x20000);
}

static bool reach(enum state wanted)
{
	if (wanted == PERMANENT && dma.kind != DMA_TESTDEV)
		return false;
	/* Through standby, whatever was before. */
	sclp_configure(f->fid, false);
	events_drop();
	if (wanted == STANDBY)
		return observe() == STANDBY;
	sclp_configure(f->fid, true);
	function_refresh_handle(f);
	if (f->fh >> 31)
		function_set(f, CLP_DISABLE, 0);
	if (wanted == DISABLED)
		return observe() == DISABLED;
	function_set(f, CLP_ENABLE, 1);
	register_translation();
	dma_start(&dma);
	if (wanted == PERMANENT)
		bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_ERROR, 8, TESTDEV_ERROR_PERMANENT);
	else if (wanted != ENABLED)
		insn_rpcit(f->fh, f->query.sdma + OUTSIDE, PAGE_SIZE);
	if (wanted == BLOCKED)
		modify(f, RESET_BLOCK, NULL);
	events_drop();
	return observe() == wanted;
}

/* ---- Operations: each gives a number ---- */

/* An instruction's answer as a number, apart from the codes of CLP and SCLP. */
#define ANSWER(cc, status) (0x10000u | (cc) << 8 | (status))

static unsigned number(struct answer a)
{
	return a.pgm ? 0x20000u | a.pgm : ANSWER(a.cc, a.status);
}

static unsigned do_configure(void)
{
	return sclp_configure(f->fid, true);
}

static unsigned do_deconfigure(void)
{
	return sclp_configure(f->fid, false);
}

static unsigned do_query(void)
{
	clp_prepare(CLP_QUERY_FUNCTION, sizeof(struct function_response))->fh = f->fh;
	return clp_call();
}

static unsigned do_enable(void)
{
	return function_set(f, CLP_ENABLE, 1);
}

static unsigned do_disable(void)
{
	return function_set(f, CLP_DISABLE, 0);
}

static unsigned do_enable_mio(void)
{
	return function_set(f, CLP_ENABLE_MIO, 0);
}

static unsigned do_disable_mio(void)
{
	return function_set(f, CLP_DISABLE_MIO, 0);
}

static unsigned do_load(void)
{
	return number(insn_pcilg(place(f->fh | 1u << 31, CONFIG_SPACE, 4), 0, NULL));
}

static unsigned do_store(void)
{
	return number(insn_pcistg(place(f->fh | 1u << 31, CONFIG_SPACE, 1), 0x3c, 0));
}

static unsigned do_store_block(void)
{
	static uint8_t block[16] __attribute__((aligned(16))) = { [12] = 1 };

	return number(insn_pcistb(place(f->fh | 1u << 31, dma.msix.bar, sizeof(block)),
				  dma.msix.table, block));
}

static unsigned do_stpcifc(void)
{
	return number(insn_stpcifc(control(f->fh, 0, 0), &fib));
}

static unsigned do_rpcit(void)
{
	return number(insn_rpcit(f->fh, f->query.sdma, PAGE_SIZE));
}

static unsigned do_register(void)
{
	static uint8_t vector[64], summary[64];

	memset(&fib, 0, sizeof(fib));
	fib.interruption = FIB_ISC(3) | FIB_NOI(1) | FIB_SUMMARY;
	fib.aibv = (uint64_t)vector;
	fib.aisb = (uint64_t)summary;
	return number(modify(f, REGISTER_INTERRUPTIONS, &fib));
}

static unsigned do_reset_error(void)
{
	return number(modify(f, RESET_ERROR, NULL));
}

static unsigned do_reset_block(void)
{
	return number(modify(f, RESET_BLOCK, NULL));
}

static unsigned do_dma(void)
{
	memset(page, 0, DMA_LENGTH);
	dma_store(&dma, f->query.sdma);
	return page[0] || page[1] || page[2] || page[3];
}

static unsigned do_failing(void)
{
	return number(insn_rpcit(f->fh, f->query.sdma + OUTSIDE, PAGE_SIZE));
}

/* ---- The table ---- */

struct cell {
	unsigned answer;
	enum state next;
	char grade;
};

/* The same state; another one; nothing to check. */
#define STAYS(answer, state, grade) \
	{ \
		answer, state, grade \
	}
#define NONE \
	{ \
		0, STATES, 0 \
	}
#define CC3 ANSWER(3, 0)
#define CC0 ANSWER(0, 0)
#define CC1(status) ANSWER(1, status)

static const struct operation {
	const char *name;
	unsigned (*execute)(void);
	bool mio;
	struct cell in[STATES];
} operations[] = {
	{ "sclp-configure",
	  do_configure,
	  false,
	  { { 0x20, DISABLED, 'C' },
	    STAYS(0x120, DISABLED, 'Q'),
	    STAYS(0x120, ENABLED, 'Q'),
	    STAYS(0x120, BLOCKED, 'Q'),
	    STAYS(0x120, ERROR, 'Q'),
	    STAYS(0x120, PERMANENT, 'Q') } },
	{ "sclp-deconfigure",
	  do_deconfigure,
	  false,
	  { STAYS(0x120, STANDBY, 'Q'),
	    { 0x20, STANDBY, 'Q' },
	    { 0x20, STANDBY, 'Q' },
	    { 0x20, STANDBY, 'Q' },
	    { 0x20, STANDBY, 'Q' },
	    { 0x20, STANDBY, 'Q' } } },
	{ "query",
	  do_query,
	  false,
	  { STAYS(0x10, STANDBY, 'L'), STAYS(0x10, DISABLED, 'L'), STAYS(0x10, ENABLED, 'L'),
	    STAYS(0x10, BLOCKED, 'Q'), STAYS(0x10, ERROR, 'Q'), STAYS(0x10, PERMANENT, 'Q') } },
	{ "enable",
	  do_enable,
	  false,
	  { STAYS(0x102, STANDBY, 'C'),
	    { 0x10, ENABLED, 'L' },
	    STAYS(0x102, ENABLED, 'Q'),
	    STAYS(0x102, BLOCKED, 'Q'),
	    STAYS(0x102, ERROR, 'Q'),
	    STAYS(0x106, PERMANENT, 'C') } },
	{ "disable",
	  do_disable,
	  false,
	  { STAYS(0x102, STANDBY, 'C'),
	    STAYS(0x102, DISABLED, 'Q'),
	    { 0x10, DISABLED, 'L' },
	    { 0x10, DISABLED, 'Q' },
	    { 0x10, DISABLED, 'Q' },
	    { 0x10, DISABLED, 'Q' } } },
	{ "enable-mio",
	  do_enable_mio,
	  true,
	  { STAYS(0x102, STANDBY, 'C'), STAYS(0x102, DISABLED, 'C'), STAYS(0x10, ENABLED, 'L'),
	    STAYS(0x10, BLOCKED, 'C'), STAYS(0x10, ERROR, 'C'), STAYS(0x106, PERMANENT, 'C') } },
	{ "disable-mio",
	  do_disable_mio,
	  true,
	  { STAYS(0x102, STANDBY, 'C'), STAYS(0x102, DISABLED, 'C'), STAYS(0x105, ENABLED, 'C'),
	    STAYS(0x105, BLOCKED, 'C'), STAYS(0x105, ERROR, 'C'), STAYS(0x106, PERMANENT, 'C') } },
	{ "pcilg",
	  do_load,
	  false,
	  { STAYS(CC3, STANDBY, 'C'), STAYS(CC3, DISABLED, 'Q'), STAYS(CC0, ENABLED, 'L'),
	    STAYS(CC0, BLOCKED, 'L'), STAYS(CC1(12), ERROR, 'Q'),
	    STAYS(CC1(12), PERMANENT, 'Q') } },
	{ "pcistg",
	  do_store,
	  false,
	  { STAYS(CC3, STANDBY, 'C'), STAYS(CC3, DISABLED, 'Q'), STAYS(CC0, ENABLED, 'L'),
	    STAYS(CC0, BLOCKED, 'L'), STAYS(CC1(12), ERROR, 'Q'),
	    STAYS(CC1(12), PERMANENT, 'Q') } },
	{ "pcistb",
	  do_store_block,
	  false,
	  { STAYS(CC3, STANDBY, 'C'), STAYS(CC3, DISABLED, 'Q'), STAYS(CC0, ENABLED, 'L'),
	    STAYS(CC0, BLOCKED, 'Q'), STAYS(CC1(12), ERROR, 'Q'),
	    STAYS(CC1(12), PERMANENT, 'Q') } },
	{ "stpcifc",
	  do_stpcifc,
	  false,
	  { STAYS(CC3, STANDBY, 'Q'), STAYS(CC0, DISABLED, 'Q'), STAYS(CC0, ENABLED, 'Q'),
	    STAYS(CC0, BLOCKED, 'Q'), STAYS(CC0, ERROR, 'Q'), STAYS(CC1(8), PERMANENT, 'Q') } },
	{ "rpcit",
	  do_rpcit,
	  false,
	  { STAYS(CC3, STANDBY, 'Q'), STAYS(CC3, DISABLED, 'Q'), STAYS(CC0, ENABLED, 'L'),
	    STAYS(CC0, BLOCKED, 'Q'), STAYS(CC1(40), ERROR, 'Q'), STAYS(CC3, PERMANENT, 'Q') } },
	{ "mpcifc-register",
	  do_register,
	  false,
	  { STAYS(CC3, STANDBY, 'Q'), STAYS(CC3, DISABLED, 'Q'), STAYS(CC0, ENABLED, 'L'),
	    STAYS(CC0, BLOCKED, 'Q'), STAYS(CC0, ERROR, 'Q'), STAYS(CC3, PERMANENT, 'Q') } },
	{ "mpcifc-reset-error",
	  do_reset_error,
	  false,
	  { STAYS(CC3, STANDBY, 'Q'),
	    STAYS(CC3, DISABLED, 'Q'),
	    STAYS(CC1(24), ENABLED, 'Q'),
	    { CC0, ENABLED, 'L' },
	    { CC0, ENABLED, 'Q' },
	    STAYS(CC3, PERMANENT, 'Q') } },
	{ "mpcifc-reset-block",
	  do_reset_block,
	  false,
	  { STAYS(CC3, STANDBY, 'Q'),
	    STAYS(CC3, DISABLED, 'Q'),
	    STAYS(CC1(24), ENABLED, 'Q'),
	    STAYS(CC1(24), BLOCKED, 'Q'),
	    { CC0, BLOCKED, 'L' },
	    STAYS(CC3, PERMANENT, 'Q') } },
	/* 1: it stores. Linux's recovery expects that a function in error does not. */
	{ "dma",
	  do_dma,
	  false,
	  { NONE, NONE, STAYS(1, ENABLED, 'L'), STAYS(0, BLOCKED, 'L'), STAYS(0, ERROR, 'Q'),
	    STAYS(0, PERMANENT, 'Q') } },
	{ "rpcit-failing",
	  do_failing,
	  false,
	  { NONE, NONE, { CC1(8), ERROR, 'Q' }, NONE, NONE, NONE } },
};

static void join(char *to, const char *a, const char *b)
{
	for (; *a; a++)
		*to++ = *a;
	for (; *b; b++)
		*to++ = *b;
	*to = 0;
}

static void check_cell(const struct operation *o, enum state state)
{
	const struct cell *cell = &o->in[state];
	char id[64], what[64], prefix[64];
	enum state after;
	unsigned got;

	if (cell->next == STATES)
		return;
	join(prefix, "states.", o->name);
	join(id, prefix, ".");
	join(prefix, id, state_names[state]);
	join(what, "as the table says; then ", state_names[cell->next]);
	if (o->mio && !(f->query.flags & FUNCTION_MIO)) {
		not_here(cell->grade, prefix, what, "MIO addresses");
		return;
	}
	if (state == PERMANENT && dma.kind != DMA_TESTDEV) {
		not_here(cell->grade, prefix, what, "testdev");
		return;
	}
	if (!reach(state)) {
		check(false, cell->grade, prefix, what);
		note("the state is not reached; it is %s",
		     observe() < STATES ? state_names[observe()] : "none");
		return;
	}
	got = o->execute();
	after = observe();
	if (!check(got == cell->answer && after == cell->next, cell->grade, prefix, what))
		note("got %x and %s, want %x", got, after < STATES ? state_names[after] : "none",
		     cell->answer);
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	if (!dma_find(&dma, f) || !dma.msix.entries)
		bail("not here: a function that does DMA on command");
	third = iotable_new();
	page = frames(PAGE_SIZE, PAGE_SIZE);
	iotable_map(third, f->query.sdma, page, 0);
	iotable_map(third, f->query.sdma + DMA_SERVICE, dma.service, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++)
		for (enum state state = 0; state < STATES; state++)
			check_cell(&operations[i], state);
	reach(DISABLED);
}
