/* SPDX-License-Identifier: MIT */
/*
 * RPCIT without DMA, SET INTERRUPTION CONTROLS, SCLP configure and deconfigure, and
 * events: CHSC store event information, channel reports, machine checks.
 * docs/zpci.md, the sections of these names.
 */
#include "zpci/zpci.h"

#define CR14_CHANNEL_REPORT BIT64(35)

static struct function *f;

static void register_nothing_mapped(uint64_t pba, uint64_t pal)
{
	static struct fib fib;
	static uint64_t *table;

	if (!table)
		table = frames(4 * PAGE_SIZE, 4 * PAGE_SIZE);
	/* Every entry is invalid, and none is zero. */
	for (unsigned i = 0; i < 2048; i++)
		table[i] = 0x20;
	memset(&fib, 0, sizeof(fib));
	fib.pba = pba;
	fib.pal = pal;
	fib.iota = (uint64_t)table | 0x804;
	modify(f, REGISTER_TRANSLATION, &fib);
}

/* ---- RPCIT ---- */

static void rpcit(void)
{
	uint64_t sdma = f->query.sdma;

	insn_psw = PSW_PROBLEM;
	check_answer(insn_rpcit(f->fh, sdma, 4096), PGM(PGM_PRIVILEGED), 'Q', "rpcit.problem",
		     "in the problem state: privileged-operation exception");
	insn_psw = 0;
	check_answer(insn_rpcit_odd(f->fh, sdma, 4096), PGM(PGM_SPECIFICATION), 'Q', "rpcit.odd",
		     "R2 odd: specification exception");
	check_answer(insn_rpcit(f->fh ^ 0xffff, sdma, 4096), CC(3), 'Q', "rpcit.handle",
		     "handle of no function: condition code 3");
	check_answer(insn_rpcit(f->fh, sdma, 4096), CC(3), 'Q', "rpcit.disabled",
		     "disabled function: condition code 3");
	function_enable(f);
	events_drop();
	check_answer(insn_rpcit(f->fh, sdma, 4096), STATUS(8), 'Q', "rpcit.none",
		     "no translation registered: condition code 1, status 8");
	{
		struct event event = event_next();

		check(event.content == 1 && event.pec == 1 && event.fh == f->fh, 'Q',
		      "rpcit.none.event", "no translation registered: error event 0001");
		check_value(event.address, sdma, 'Q', "rpcit.none.address",
			    "and the event has the address");
		check_value(event_next().content, 0, 'L', "rpcit.none.one", "one event, not more");
	}
	check_answer(insn_rpcit(f->fh, sdma, 4096), STATUS(40), 'Q', "rpcit.error",
		     "error state: condition code 1, status 40");
	check_value(event_next().content, 0, 'L', "rpcit.error.event",
		    "in the error state there is no further event");
	function_restart(f);
	register_nothing_mapped(sdma, sdma + 0xfffff);
	check_answer(insn_rpcit(f->fh, sdma, 4096), CC(0), 'L', "rpcit",
		     "range of invalid entries: condition code 0");
	check_answer(insn_rpcit(f->fh, sdma, 0x100000), CC(0), 'L', "rpcit.all",
		     "the registered range as a whole: condition code 0");
	check_answer(insn_rpcit(f->fh, sdma, 0), CC(0), 'Q', "rpcit.empty",
		     "range of 0 bytes: condition code 0");
	check_answer(insn_rpcit(f->fh, sdma + 0x100000, 4096), STATUS(8), 'Q', "rpcit.above",
		     "range behind the registered one: condition code 1, status 8");
	{
		struct event event = event_next();

		check(event.content == 1 && event.pec == 2, 'Q', "rpcit.above.event",
		      "range behind the registered one: error event 0002");
		check_value(event.address, sdma + 0x100000, 'Q', "rpcit.above.address",
			    "and the event has the address");
	}
	check_value(stored_controls(f).controls, 0xf0, 'Q', "rpcit.above.state",
		    "the function is in error, its translation still registered: controls f0");
	modify(f, RESET_ERROR, NULL);
	events_drop();
	if (sdma) {
		check_answer(insn_rpcit(f->fh, 0, 4096), STATUS(8), 'Q', "rpcit.below",
			     "range before the registered one: condition code 1, status 8");
		check_value(event_next().pec, 2, 'Q', "rpcit.below.event",
			    "range before the registered one: error event 0002");
		modify(f, RESET_ERROR, NULL);
	} else {
		not_here('Q', "rpcit.below",
			 "range before the registered one: condition code 1, status 8",
			 "the DMA range begins at 0");
		not_here('Q', "rpcit.below.event",
			 "range before the registered one: error event 0002",
			 "the DMA range begins at 0");
	}
	insn_rpcit(f->fh, sdma + 0x100000, 4096);
	modify(f, RESET_BLOCK, NULL);
	check_answer(insn_rpcit(f->fh, sdma, 4096), CC(0), 'Q', "rpcit.blocked",
		     "blocked state: condition code 0");
	function_disable(f);
	events_drop();
}

/* ---- SIC ---- */

static void sic(void)
{
	static const struct {
		unsigned mode;
		const char *id, *what;
	} unknown[] = {
		{ 2, "sic.mode-2", "mode 2: operand exception" },
		{ 3, "sic.mode-3", "mode 3: operand exception" },
		{ 255, "sic.mode-255", "mode 255: operand exception" },
	};
	uint64_t block[8] = { 0 };

	if (!facility(72)) {
		check_answer(insn_sic(0, 3, block), PGM(PGM_OPERATION), 'Q', "sic.facility",
			     "facility 72 not installed: operation exception");
		return;
	}
	not_here('Q', "sic.facility", "facility 72 not installed: operation exception",
		 "facility 72 is installed");
	insn_psw = PSW_PROBLEM;
	check_answer(insn_sic(0, 3, block), PGM(PGM_PRIVILEGED), 'Q', "sic.problem",
		     "in the problem state: privileged-operation exception");
	insn_psw = 0;
	check_answer(insn_sic(1, 3, block), CC(2), 'Q', "sic.single",
		     "mode 1: the condition code stays as it was");
	check_answer(insn_sic(0, 3, block), CC(2), 'L', "sic.all",
		     "mode 0: the condition code stays as it was");
	check_answer(insn_sic_raw(0xabcd12345eef0000ull, 0xffffffffc7ffffffull | 3ull << 27, block),
		     CC(2), 'Q', "sic.bits", "other bits of R1 and R3 are ignored");
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
		check_answer(insn_sic(unknown[i].mode, 3, block), PGM(PGM_OPERAND), 'Q',
			     unknown[i].id, unknown[i].what);
}

/* ---- SCLP ---- */

static void sclp_checks(void)
{
	uint32_t unknown = f->fid ^ 0x5a5a0000;
	uint32_t enabled;

	check_value(sclp_configure(f->fid, true), 0x120, 'Q', "sclp.configure.configured",
		    "configure, not in standby: response 0120");
	check_value(sclp_configure(unknown, true), 0x9f0, 'Q', "sclp.configure.unknown",
		    "configure, fid not known: response 09f0");
	check_value(sclp_configure(unknown, false), 0x9f0, 'Q', "sclp.deconfigure.unknown",
		    "deconfigure, fid not known: response 09f0");
	check_value(sclp_configure_type(3, f->fid, true, 16), 0x6f0, 'Q', "sclp.configure.type",
		    "configure, another type of adapter: response 06f0");
	check_value(sclp_configure_type(2, f->fid, true, 8), 0x300, 'Q', "sclp.configure.length",
		    "configure, a block of 8 bytes: response 0300");
	check_value(sclp_configure(f->fid, false), 0x20, 'L', "sclp.deconfigure",
		    "deconfigure: response 0020");
	check_value(sclp_configure(f->fid, false), 0x120, 'Q', "sclp.deconfigure.standby",
		    "deconfigure, standby: response 0120");
	check_value(sclp_configure(f->fid, true), 0x20, 'L', "sclp.configure",
		    "configure, standby: response 0020");
	function_refresh_handle(f);
	check(f->configured, 'L', "sclp.configure.listed", "configured: the list says so");
	function_enable(f);
	enabled = f->fh;
	check_value(sclp_configure(f->fid, false), 0x20, 'Q', "sclp.deconfigure.enabled",
		    "deconfigure, enabled: response 0020");
	check_answer(insn_pcilg(place(enabled, CONFIG_SPACE, 4), 0, NULL), CC(3), 'C',
		     "sclp.deconfigure.disabled", "after that the handle is not valid");
	sclp_configure(f->fid, true);
	function_refresh_handle(f);
	check_value(f->fh >> 31, 0, 'C', "sclp.configure.handle",
		    "configured again: the handle is a disabled one");
	if (f->fh >> 31)
		function_disable(f);
	check_value(function_set(f, CLP_ENABLE, 1), CLP_OK, 'C', "sclp.configure.enable",
		    "configured again: the function can be enabled");
	function_disable(f);
}

/* ---- Events ---- */

static uint8_t sei[4096] __attribute__((aligned(4096)));

static unsigned sei_code(unsigned length, uint64_t types)
{
	memset(sei, 0, 128);
	*(uint16_t *)sei = length;
	*(uint16_t *)(sei + 2) = 0x000e;
	*(uint64_t *)(sei + 8) = types;
	if (!answered(insn_chsc(sei), CC(0)))
		return 0x10000;
	return *(uint16_t *)(sei + length + 2);
}

SNIPPET(events_wait, "0: j 0b");

static void fail_function(void)
{
	insn_rpcit(f->fh, f->query.sdma, 4096);
}

static void chsc_events(void)
{
	uint64_t cr14 = ctl_store(14);
	uint32_t crw = 0;
	struct answer a = { 0 };
	struct run r;

	function_enable(f);
	events_drop();
	check_value(sei_code(16, BIT64(2)), 5, 'Q', "sei.none", "no event: response 0005");
	check_value(sei_code(24, BIT64(2)), 3, 'C', "sei.length",
		    "request of 24 bytes: response 0003");
	fail_function();
	check_value(sei_code(16, BIT64(3)), 5, 'Q', "sei.type",
		    "an event, but not of a type asked for: response 0005");
	check_value(sei_code(16, BIT64(2)), 1, 'L', "sei", "an event: response 0001");
	check_value(*(uint16_t *)(sei + 16), 4080, 'Q', "sei.response-length",
		    "a response of 4080 bytes");
	check_value(*(uint32_t *)(sei + 20), 2, 'L', "sei.notification", "notification type 2");
	check_value(sei[27], 1, 'L', "sei.content", "content code 1: an error");
	check_value(sei[24] & 0x80, 0, 'L', "sei.more.none", "the flag for more is 0");
	check_value(sei_code(16, BIT64(2)), 5, 'L', "sei.once", "an event is fetched once");
	modify(f, RESET_ERROR, NULL);
	fail_function();
	modify(f, RESET_ERROR, NULL);
	fail_function();
	sei_code(16, BIT64(2));
	check_value(sei[24] & 0x80, 0x80, 'L', "sei.more", "two events: the flag for more is 1");
	sei_code(16, BIT64(2));
	check_value(sei[24] & 0x80, 0, 'L', "sei.more.last", "at the last the flag is 0");
	check_answer(insn_stcrw(&crw), CC(0), 'L', "crw", "a channel report is there");
	check_value(crw >> 24 & 0xf, 0xb, 'L', "crw.source",
		    "its source is the channel subsystem's event information");
	for (unsigned i = 0; i < 64 && crw; i++)
		a = insn_stcrw(&crw);
	check_answer(a, CC(1), 'L', "crw.end", "when there is none: condition code 1");
	check_value(crw, 0, 'L', "crw.end.zero", "when there is none: a word of zeros");

	/* With the machine check. */
	modify(f, RESET_ERROR, NULL);
	ctl_load(14, cr14 | CR14_CHANNEL_REPORT);
	fail_function();
	r = run_init(PSW_64 | PSW_MCCK, events_wait);
	/* A clock comparator ends the wait if the machine check does not come. */
	asm volatile("sckc %0" : : "Q"((uint64_t){ tod_clock() + PATIENCE }));
	{
		uint64_t cr0 = ctl_store(0);

		ctl_load(0, (cr0 | BIT64(52)));
		r.psw.mask |= PSW_EXT;
		run(&r);
		ctl_load(0, cr0);
	}
	check_value(r.exit, RUN_MCCK, 'L', "crw.machine-check",
		    "an event brings a machine check for a channel report");
	check_value(*(volatile uint64_t *)((uint8_t *)lowcore() + 0xe8) >> 54 & 1, 1, 'L',
		    "crw.machine-check.code", "its code says so");
	ctl_load(14, cr14);
	function_disable(f);
	events_drop();
}

/* More events than anybody fetches. */
static void too_many(void)
{
	unsigned n = 0;

	function_enable(f);
	events_drop();
	for (unsigned i = 0; i < 1100; i++) {
		fail_function();
		modify(f, RESET_ERROR, NULL);
	}
	while (n < 2000 && event_next().content)
		n++;
	check_value(n, 1024, 'C', "sei.most", "of 1100 events that nobody fetched, 1024 are kept");
	function_disable(f);
	events_drop();
}

void guest_main(void)
{
	f = function_find();
	rpcit();
	sic();
	sclp_checks();
	chsc_events();
	too_many();
}
