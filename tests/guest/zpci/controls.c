/* SPDX-License-Identifier: MIT */
/*
 * MODIFY and STORE PCI FUNCTION CONTROLS: each operation and what it can answer.
 * docs/zpci.md, the sections of these names.
 */
#include "zpci/iotable.h"
#include "zpci/zpci.h"

#define IOTA_TRANSLATE 0x800ull
#define IOTA_REGION_THIRD 0x4ull
#define IOTA_TYPE(t) ((uint64_t)(t) << 2)

static struct function *f;
static struct fib fib;
static uint64_t vectors[64], summary[8];

static struct answer mpcifc(unsigned operation)
{
	return insn_mpcifc(control(f->fh, 0, operation), &fib);
}

static void clear(void)
{
	memset(&fib, 0, sizeof(fib));
}

static void translation_fib(void)
{
	static uint64_t *table;

	/* Entries that are no entries are not what is looked at here. */
	if (!table)
		table = iotable_new();
	clear();
	fib.pba = f->query.sdma;
	fib.pal = f->query.sdma + 0xffffffff;
	if (fib.pal > f->query.edma)
		fib.pal = f->query.edma;
	fib.iota = (uint64_t)table | IOTA_REGION_THIRD | IOTA_TRANSLATE;
}

static void interruption_fib(void)
{
	clear();
	fib.interruption = FIB_ISC(3) | FIB_NOI(8) | FIB_AIBVO(0) | FIB_SUMMARY | FIB_AISBO(5);
	fib.aibv = (uint64_t)vectors;
	fib.aisb = (uint64_t)summary;
}

static void common(void)
{
	struct fib *last = (struct fib *)(memory_size() - 40);
	uint32_t enabled = f->fh;

	clear();
	insn_psw = PSW_PROBLEM;
	check_answer(mpcifc(RESET_ERROR), PGM(PGM_PRIVILEGED), 'Q', "mpcifc.problem",
		     "in the problem state: privileged-operation exception");
	check_answer(insn_stpcifc(control(f->fh, 0, 0), &fib), PGM(PGM_PRIVILEGED), 'Q',
		     "stpcifc.problem", "in the problem state: privileged-operation exception");
	insn_psw = 0;
	check_answer(insn_mpcifc(control(f->fh, 0, RESET_ERROR), (uint8_t *)&fib + 4),
		     PGM(PGM_SPECIFICATION), 'Q', "mpcifc.alignment",
		     "FIB not on a doubleword: specification exception");
	check_answer(insn_stpcifc(control(f->fh, 0, 0), (uint8_t *)&fib + 4),
		     PGM(PGM_SPECIFICATION), 'Q', "stpcifc.alignment",
		     "FIB not on a doubleword: specification exception");
	check_answer(insn_mpcifc(control(f->fh, 0, RESET_ERROR), last), PGM(PGM_ADDRESSING), 'Q',
		     "mpcifc.memory", "FIB in part outside memory: addressing exception");
	check_answer(insn_stpcifc(control(f->fh, 0, 0), last), PGM(PGM_ADDRESSING), 'Q',
		     "stpcifc.memory", "FIB in part outside memory: addressing exception");
	check_answer(insn_mpcifc(control(f->fh ^ 0xffff, 0, RESET_ERROR), &fib), CC(3), 'Q',
		     "mpcifc.handle", "handle of no function: condition code 3");
	check_answer(insn_mpcifc(control(enabled & ~(1u << 31), 0, RESET_ERROR), &fib), CC(3), 'Q',
		     "mpcifc.handle.stale",
		     "disabled handle of an enabled function: condition code 3");
	check_answer(insn_stpcifc(control(f->fh ^ 0xffff, 0, 0), &fib), CC(3), 'Q',
		     "stpcifc.handle", "handle of no function: condition code 3");
	check_answer(insn_stpcifc(control(f->fh, 1, 0), &fib), STATUS(28), 'Q', "stpcifc.space",
		     "DMA space 1: condition code 1, status 28");
	check_answer(insn_stpcifc(control(f->fh, 1, 0), (uint8_t *)&fib + 4), STATUS(28), 'Q',
		     "stpcifc.space.first", "DMA space 1 comes before the FIB's alignment");
	clear();
	fib.format = 2;
	check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q', "mpcifc.format",
		     "FIB format 2: operand exception");
	fib.format = 0xff;
	check_answer(mpcifc(RESET_ERROR), PGM(PGM_OPERAND), 'Q', "mpcifc.format.ff",
		     "FIB format ff: operand exception");
	clear();
	for (unsigned i = 0; i < 4; i++) {
		static const struct {
			uint8_t operation;
			const char *id, *what;
		} unknown[] = {
			{ 0, "mpcifc.operation-0", "operation 0: operand exception" },
			{ 1, "mpcifc.operation-1", "operation 1: operand exception" },
			{ 8, "mpcifc.operation-8", "operation 8: operand exception" },
			{ 255, "mpcifc.operation-255", "operation 255: operand exception" },
		};

		check_answer(mpcifc(unknown[i].operation), PGM(PGM_OPERAND), 'Q', unknown[i].id,
			     unknown[i].what);
	}
}

static void interruptions(void)
{
	struct fib stored;

	interruption_fib();
	check_answer(mpcifc(DEREGISTER_INTERRUPTIONS), STATUS(24), 'L',
		     "mpcifc.int.deregister.none",
		     "deregister interruptions, none registered: condition code 1, status 24");
	check_answer(mpcifc(REGISTER_INTERRUPTIONS), CC(0), 'L', "mpcifc.int.register",
		     "register interruptions: condition code 0");
	stored = stored_controls(f);
	check_value(stored.interruption, fib.interruption, 'Q', "stpcifc.int.word",
		    "subclass, number and offsets are stored");
	check_value(stored.aibv, fib.aibv, 'Q', "stpcifc.int.aibv",
		    "the vector's address is stored");
	check_value(stored.aisb, fib.aisb, 'Q', "stpcifc.int.aisb",
		    "the summary's address is stored");
	check_answer(mpcifc(REGISTER_INTERRUPTIONS), STATUS(24), 'L', "mpcifc.int.register.twice",
		     "register interruptions twice: condition code 1, status 24");
	check_answer(mpcifc(DEREGISTER_INTERRUPTIONS), CC(0), 'L', "mpcifc.int.deregister",
		     "deregister interruptions: condition code 0");
	stored = stored_controls(f);
	check(!stored.interruption && !stored.aibv && !stored.aisb, 'Q', "stpcifc.int.none",
	      "after that none of it is stored");
	fib.aibv = memory_size() - 1;
	fib.interruption = FIB_ISC(3) | FIB_NOI(16) | FIB_SUMMARY;
	check_answer(mpcifc(REGISTER_INTERRUPTIONS), STATUS(4), 'C', "mpcifc.int.vector.memory",
		     "vector outside memory: condition code 1, status 4");
	if (stored_controls(f).aibv)
		mpcifc(DEREGISTER_INTERRUPTIONS);
	interruption_fib();
	fib.aisb = memory_size();
	check_answer(mpcifc(REGISTER_INTERRUPTIONS), STATUS(4), 'C', "mpcifc.int.summary.memory",
		     "summary outside memory: condition code 1, status 4");
	if (stored_controls(f).aibv)
		mpcifc(DEREGISTER_INTERRUPTIONS);
	interruption_fib();
	if (f->group.interrupts >= 4095) {
		not_here('C', "mpcifc.int.many",
			 "more vectors than the group has: operand exception",
			 "the group has all there can be");
	} else {
		fib.interruption = FIB_ISC(3) | FIB_NOI(f->group.interrupts + 1) | FIB_SUMMARY;
		check_answer(mpcifc(REGISTER_INTERRUPTIONS), PGM(PGM_OPERAND), 'C',
			     "mpcifc.int.many",
			     "more vectors than the group has: operand exception");
	}
	if (stored_controls(f).aibv)
		mpcifc(DEREGISTER_INTERRUPTIONS);
	/* Through a disable and back. */
	interruption_fib();
	mpcifc(REGISTER_INTERRUPTIONS);
	function_restart(f);
	check_answer(mpcifc(REGISTER_INTERRUPTIONS), CC(0), 'Q', "mpcifc.int.disable",
		     "disable deregisters interruptions");
	mpcifc(DEREGISTER_INTERRUPTIONS);
}

static void translation(void)
{
	struct fib stored;

	translation_fib();
	check_answer(insn_mpcifc(control(f->fh, 1, REGISTER_TRANSLATION), &fib), STATUS(28), 'Q',
		     "mpcifc.ioat.space", "register translation for DMA space 1: status 28");
	check_answer(insn_mpcifc(control(f->fh, 1, DEREGISTER_TRANSLATION), &fib), STATUS(28), 'Q',
		     "mpcifc.ioat.deregister.space",
		     "deregister translation for DMA space 1: status 28");
	check_answer(insn_mpcifc(control(f->fh, 1, REREGISTER_TRANSLATION), &fib), STATUS(28), 'Q',
		     "mpcifc.ioat.reregister.space",
		     "reregister translation for DMA space 1: status 28");
	check_answer(mpcifc(DEREGISTER_TRANSLATION), STATUS(24), 'Q', "mpcifc.ioat.deregister.none",
		     "deregister translation, none registered: condition code 1, status 24");
	check_answer(mpcifc(REREGISTER_TRANSLATION), STATUS(24), 'Q', "mpcifc.ioat.reregister.none",
		     "reregister translation, none registered: condition code 1, status 24");
	check_value(stored_controls(f).controls, FIB_ENABLED, 'Q', "stpcifc.enabled",
		    "enabled, nothing registered: controls 80");
	check_answer(mpcifc(REGISTER_TRANSLATION), CC(0), 'L', "mpcifc.ioat.register",
		     "register translation: condition code 0");
	stored = stored_controls(f);
	check_value(stored.controls, FIB_ENABLED | FIB_DMA_REGISTERED, 'Q', "stpcifc.registered",
		    "translation registered: controls 90");
	check(stored.pba == fib.pba && stored.pal == fib.pal, 'Q', "stpcifc.ioat.range",
	      "the range is stored");
	check_value(stored.iota, fib.iota, 'Q', "stpcifc.ioat.iota", "the designation is stored");
	check_answer(mpcifc(REGISTER_TRANSLATION), STATUS(24), 'Q', "mpcifc.ioat.register.twice",
		     "register translation twice: condition code 1, status 24");
	fib.pal = fib.pba + 0xfffff;
	check_answer(modify(f, REREGISTER_TRANSLATION, &fib), CC(0), 'Q', "mpcifc.ioat.reregister",
		     "reregister translation: condition code 0");
	check_value(stored_controls(f).pal, fib.pal, 'Q', "mpcifc.ioat.reregister.range",
		    "reregister translation: the new range is in effect");
	check_answer(modify(f, DEREGISTER_TRANSLATION, &fib), CC(0), 'L', "mpcifc.ioat.deregister",
		     "deregister translation: condition code 0");
	stored = stored_controls(f);
	check(!stored.pba && !stored.pal && !stored.iota && stored.controls == FIB_ENABLED, 'Q',
	      "stpcifc.ioat.none", "after that none of it is stored");

	translation_fib();
	fib.pba += 0x123;
	fib.pal -= 0x456;
	mpcifc(REGISTER_TRANSLATION);
	stored = stored_controls(f);
	check(!(stored.pba & 0xfff) && (stored.pal & 0xfff) == 0xfff, 'Q', "mpcifc.ioat.rounded",
	      "the range is rounded outward to pages");
	modify(f, DEREGISTER_TRANSLATION, NULL);
	translation_fib();
	if (f->query.sdma) {
		fib.pba = f->query.sdma - 4096;
		check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q',
			     "mpcifc.ioat.below",
			     "range begins below the DMA range: operand exception");
	} else {
		not_here('Q', "mpcifc.ioat.below",
			 "range begins below the DMA range: operand exception",
			 "the DMA range begins at 0");
	}
	translation_fib();
	if (f->query.edma + 1) {
		fib.pal = f->query.edma + 1;
		check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q',
			     "mpcifc.ioat.above",
			     "range ends above the DMA range: operand exception");
	} else {
		not_here('Q', "mpcifc.ioat.above",
			 "range ends above the DMA range: operand exception",
			 "the DMA range has no end");
	}
	translation_fib();
	fib.pal = fib.pba - 1;
	fib.pba += 8192;
	fib.pal = fib.pba - 4096;
	check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q', "mpcifc.ioat.reverse",
		     "range ends before it begins: operand exception");
	translation_fib();
	fib.iota = (fib.iota & ~0x1cull) | IOTA_TYPE(6);
	check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q', "mpcifc.ioat.type-6",
		     "designation type 6: operand exception");
	modify(f, DEREGISTER_TRANSLATION, NULL);
	translation_fib();
	fib.iota = 0x800 | IOTA_TYPE(4) | 3;
	check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q', "mpcifc.ioat.frame-3",
		     "designation of a frame of size 3: operand exception");
	modify(f, DEREGISTER_TRANSLATION, NULL);
	translation_fib();
	if (f->group.flags & GROUP_RELAXED_TRANSLATION) {
		not_here('Q', "mpcifc.ioat.off",
			 "translation off, not announced: operand exception",
			 "the group announces relaxed translation");
	} else {
		fib.iota = 0;
		check_answer(mpcifc(REGISTER_TRANSLATION), PGM(PGM_OPERAND), 'Q', "mpcifc.ioat.off",
			     "translation off, not announced: operand exception");
	}
	translation_fib();
	mpcifc(REGISTER_TRANSLATION);
	function_restart(f);
	check_value(stored_controls(f).controls, FIB_ENABLED, 'L', "mpcifc.ioat.disable",
		    "disable deregisters translation");
	modify(f, DEREGISTER_TRANSLATION, NULL);
}

static void measurement(void)
{
	uint8_t *block = frames(PAGE_SIZE, PAGE_SIZE);
	const volatile uint32_t *samples = (const volatile uint32_t *)(block + 4);
	const volatile uint64_t *updated = (const volatile uint64_t *)(block + 8);
	struct event event;
	uint64_t limit = f->group.update_interval * 1000ull * TOD_MICROSECOND + PATIENCE;

	events_drop();
	clear();
	check_answer(mpcifc(SET_MEASUREMENT), CC(0), 'L', "mpcifc.fmb.off",
		     "measurement with address 0: condition code 0");
	fib.fmb_address = (uint64_t)block | 4;
	insn_mpcifc(control(f->fh, 0, SET_MEASUREMENT) | 0x5a000000, &fib);
	check_value(insn_gr[2] >> 24 & 0xff, 0x5a, 'Q', "mpcifc.fmb.key.status",
		    "measurement address not on 16 bytes: the status code does not change");
	event = event_next();
	check(event.content == 1 && event.pec == 0x2c && event.fh == f->fh, 'Q',
	      "mpcifc.fmb.key.event", "measurement address not on 16 bytes: error event 002c");
	check_value(stored_controls(f).controls, FIB_ENABLED, 'Q', "mpcifc.fmb.key.state",
		    "and the function stays enabled");
	events_drop();
	clear();
	fib.fmb_address = (uint64_t)block;
	check_answer(mpcifc(SET_MEASUREMENT), CC(0), 'L', "mpcifc.fmb.on",
		     "measurement with an address: condition code 0");
	check_value(stored_controls(f).fmb_address, (uint64_t)block, 'Q', "stpcifc.fmb",
		    "the measurement block's address is stored");
	config_read(f, 0, 4);
	check(wait_for(*updated, limit), 'L', "mpcifc.fmb.update",
	      "the block is updated within the group's interval");
	wait_for(!(*updated & 1), PATIENCE);
	check_value(*samples, 1, 'C', "mpcifc.fmb.samples", "the first sample counts 1");
	check(wait_for(*(volatile uint64_t *)(block + 16), limit), 'L', "mpcifc.fmb.loads",
	      "and counts loads");
	function_restart(f);
	check_value(stored_controls(f).fmb_address, 0, 'Q', "mpcifc.fmb.disable",
		    "disable ends measurement");
}

static void states(void)
{
	struct fib stored;
	uint32_t enabled = f->fh;
	struct event event;

	clear();
	check_answer(mpcifc(RESET_ERROR), STATUS(24), 'Q', "mpcifc.reset-error.enabled",
		     "reset error, enabled: condition code 1, status 24");
	check_answer(mpcifc(RESET_BLOCK), STATUS(24), 'Q', "mpcifc.reset-block.enabled",
		     "reset block, enabled: condition code 1, status 24");
	/* RPCIT with no translation registered brings the error state. */
	insn_rpcit(f->fh, f->query.sdma, 4096);
	event = event_next();
	check(event.content == 1 && event.fh == f->fh && event.fid == f->fid, 'L',
	      "state.error.event", "the error state comes with an event with handle and fid");
	check_value(stored_controls(f).controls, 0xe0, 'Q', "stpcifc.error",
		    "error state: controls e0");
	check_value(function_set(f, CLP_ENABLE, 1), 0x102, 'Q', "clp.set.enable.error",
		    "enable in the error state: response 0102");
	interruption_fib();
	check_answer(mpcifc(REGISTER_INTERRUPTIONS), CC(0), 'Q', "mpcifc.int.register.error",
		     "register interruptions in the error state: condition code 0");
	mpcifc(DEREGISTER_INTERRUPTIONS);
	clear();
	check_answer(mpcifc(RESET_BLOCK), CC(0), 'Q', "mpcifc.reset-block.error",
		     "reset block, error: condition code 0");
	check_value(stored_controls(f).controls, 0xc0, 'Q', "stpcifc.blocked",
		    "blocked state: controls c0");
	check_answer(mpcifc(RESET_BLOCK), STATUS(24), 'Q', "mpcifc.reset-block.blocked",
		     "reset block, blocked: condition code 1, status 24");
	check_answer(mpcifc(RESET_ERROR), CC(0), 'Q', "mpcifc.reset-error.blocked",
		     "reset error, blocked: condition code 0");
	check_value(stored_controls(f).controls, 0x80, 'Q', "state.blocked.enabled",
		    "which leads to the enabled state");
	insn_rpcit(f->fh, f->query.sdma, 4096);
	check_answer(mpcifc(RESET_ERROR), CC(0), 'Q', "mpcifc.reset-error.error",
		     "reset error, error: condition code 0");
	check_value(stored_controls(f).controls, 0x80, 'Q', "state.error.enabled",
		    "which leads to the enabled state");
	insn_rpcit(f->fh, f->query.sdma, 4096);
	check_value(function_set(f, CLP_DISABLE, 0), CLP_OK, 'L', "clp.set.disable.error",
		    "disable in the error state: response 0010");
	events_drop();

	check_answer(insn_mpcifc(control(f->fh, 0, RESET_ERROR), &fib), CC(3), 'Q',
		     "mpcifc.disabled", "MPCIFC, disabled: condition code 3");
	check_answer(insn_stpcifc(control(enabled, 0, 0), &fib), CC(3), 'Q',
		     "stpcifc.disabled.handle",
		     "STPCIFC, disabled, enabled handle: condition code 3");
	memset(&stored, 0xff, sizeof(stored));
	check_answer(insn_stpcifc(control(f->fh, 0, 0), &stored), CC(0), 'Q', "stpcifc.disabled",
		     "STPCIFC, disabled: condition code 0");
	clear();
	check(!memcmp(&stored, &fib, sizeof(fib)), 'Q', "stpcifc.disabled.zero",
	      "STPCIFC, disabled: a FIB of zeros");
	function_enable(f);
	check_answer(insn_stpcifc(control(f->fh & ~(1u << 31), 0, 0), &fib), CC(0), 'Q',
		     "stpcifc.stale", "STPCIFC, enabled, disabled handle: condition code 0");
	check_value(insn_gr[2] >> 32, f->fh, 'Q', "stpcifc.stale.handle",
		    "STPCIFC, enabled, disabled handle: the bit is set in R1");
	function_disable(f);
	sclp_configure(f->fid, false);
	check_answer(insn_mpcifc(control(f->fh, 0, RESET_ERROR), &fib), CC(3), 'Q',
		     "mpcifc.standby", "MPCIFC, standby: condition code 3");
	check_answer(insn_stpcifc(control(f->fh, 0, 0), &fib), CC(3), 'Q', "stpcifc.standby",
		     "STPCIFC, standby: condition code 3");
	sclp_configure(f->fid, true);
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	common();
	interruptions();
	translation();
	measurement();
	states();
}
