/* SPDX-License-Identifier: MIT */
/*
 * Resets with functions enabled, interruptions and translation registered, and DMA
 * under way: DIAG X'308' subcodes 1 (load normal) and 0 (modified clear), after
 * which this program goes on, and 3 (re-IPL), after which it begins anew. What a
 * restarted operating system finds has to be clean.
 *
 * Sources: docs/zpci.md, "Events and states"; Linux, arch/s390/kernel/ipl.c (the
 * subcodes), arch/s390/pci/pci.c (what it takes for granted when it starts);
 * QEMU, s390_pci_device_reset() in hw/s390x/s390-pci-bus.c.
 */
#include "zpci/interruption.h"

#include "../../../src/devices/testdev_regs.h"

#define SHORT_PSW 0x0008000180000000ull /* 64-bit addressing */
#define TARGET 0x5000ull

extern char reset_entry[];
void reset_and_return(uint64_t subcode);
extern uint64_t reset_stack, reset_cr0;

uint64_t reset_stack;
uint64_t reset_cr0;

asm(".pushsection .text\n"
    "reset_and_return:\n"
    "	stmg	%r6,%r15,48(%r15)\n"
    "	stgrl	%r15,reset_stack\n"
    "	lgr	%r3,%r2\n"
    "	lghi	%r2,0\n"
    "	diag	%r2,%r3,0x308\n"
    "0:	j	0b\n"
    "reset_entry:\n"
    "	larl	%r1,reset_cr0\n"
    "	lctlg	%c0,%c0,0(%r1)\n"
    "	lgrl	%r15,reset_stack\n"
    "	lmg	%r6,%r15,48(%r15)\n"
    "	br	%r14\n"
    ".popsection");

static struct function *f;
static struct dma dma;
static struct fib fib;
static uint64_t *third;
static uint8_t *page, *vectors, *summary, *fmb;

static uint32_t take(uint64_t limit)
{
	return interruption_take(CR6_ALL, limit);
}

/* Does it store? It does, soon; it does not, for a while. */
static bool streams(uint64_t limit)
{
	volatile uint8_t *first = page;

	*first = 0;
	return wait_for(*first, limit);
}

/* Everything that can be on is on, and a transfer repeats itself where one can. */
static void busy(void)
{
	uint64_t block[8] = { 0 };

	iotable_map(third, f->query.sdma + TARGET, page, 0);
	memset(vectors, 0, PAGE_SIZE);
	memset(summary, 0, PAGE_SIZE);
	service_start(f, third, &dma);
	memset(&fib, 0, sizeof(fib));
	fib.interruption = FIB_ISC(3) | FIB_NOI(8) | FIB_SUMMARY;
	fib.aibv = (uint64_t)vectors;
	fib.aisb = (uint64_t)summary;
	modify(f, REGISTER_INTERRUPTIONS, &fib);
	memset(&fib, 0, sizeof(fib));
	fib.fmb_address = (uint64_t)fmb;
	modify(f, SET_MEASUREMENT, &fib);
	msix_set(f, &dma.msix, dma.entry, f->group.msi_address, 1);
	dma_message(&dma); /* its interruption stays pending */
	wait_for(*(volatile uint8_t *)vectors, PATIENCE);
	if (facility(72))
		insn_sic(1, 3, block);
	if (dma.kind == DMA_TESTDEV) {
		bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_ADDRESS, 8, f->query.sdma + TARGET);
		bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_LENGTH, 8, 64);
		bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_PATTERN, 8, ~0ull);
		bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_DELAY, 8, 1);
		bar_write(f, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_COMMAND, 8,
			  TESTDEV_OP_FILL | TESTDEV_DMA_THREAD | TESTDEV_DMA_REPEAT);
		if (!streams(PATIENCE))
			note("the transfer does not repeat itself");
	}
}

static void reset(uint64_t subcode)
{
	/* The CPU's own address of 0 is absolute 0: its prefix is 0. */
	*(volatile uint64_t *)lowcore() = SHORT_PSW | (uint64_t)reset_entry;
	reset_cr0 = ctl_store(0);
	reset_and_return(subcode);
}

/* ---- After one that this program goes on after ---- */

struct names {
	const char *list, *handle, *dma, *interruption, *event, *crw, *enable, *controls, *command,
		*msix, *vector, *sic, *works;
};

#define NAMES(reset) \
	{ \
		reset ".list", reset ".handle", reset ".dma", reset ".interruption", \
			reset ".event", reset ".crw", reset ".enable", reset ".controls", \
			reset ".command", reset ".msix", reset ".vectors", reset ".sic", \
			reset ".works" \
	}

static void clean(const struct names *n, uint32_t enabled)
{
	uint32_t crw;
	struct fib stored;

	check(function_refresh_handle(f) && !(f->fh >> 31) && f->configured, 'L', n->list,
	      "the function is listed as disabled and configured");
	check_answer(insn_pcilg(place(enabled, CONFIG_SPACE, 4), 0, NULL), CC(3), 'L', n->handle,
		     "the enabled handle from before: condition code 3");
	if (dma.kind == DMA_TESTDEV)
		check(!streams(QUIET), 'L', n->dma, "DMA that was under way has ended");
	else
		not_here('L', n->dma, "DMA that was under way has ended", "testdev");
	check_value(take(QUIET), 0, 'L', n->interruption,
		    "an interruption that was pending is gone");
	check_value(event_next().content, 0, 'Q', n->event, "there is no event");
	check_answer(insn_stcrw(&crw), CC(1), 'L', n->crw, "and no channel report");
	check_value(function_set(f, CLP_ENABLE, 1), CLP_OK, 'L', n->enable,
		    "the function can be enabled");
	stored = stored_controls(f);
	check(stored.controls == FIB_ENABLED && !stored.iota && !stored.aibv && !stored.aisb &&
		      !stored.fmb_address,
	      'L', n->controls, "nothing is registered");
	check_value(config_read(f, PCI_COMMAND, 2) & 6, 0, 'L', n->command,
		    "it is no bus master, its memory space is off");
	check_value(config_read(f, dma.msix.capability + 2, 2) & MSIX_ENABLE, 0, 'L', n->msix,
		    "MSI-X is off");
	memset(vectors, 0, PAGE_SIZE);
	busy();
	check(take(PATIENCE) != 0, 'L', n->vector, "interruptions can be registered, and come");
	function_restart(f);
	if (facility(72)) {
		/* Mode single was on before: two must come. */
		busy();
		reset(1);
		function_refresh_handle(f);
		function_enable(f);
		memset(&fib, 0, sizeof(fib));
		fib.interruption = FIB_ISC(3) | FIB_NOI(8) | FIB_SUMMARY;
		fib.aibv = (uint64_t)vectors;
		fib.aisb = (uint64_t)summary;
		modify(f, REGISTER_INTERRUPTIONS, &fib);
		memset(&fib, 0, sizeof(fib));
		fib.pba = f->query.sdma;
		fib.pal = f->query.sdma + 0x7fffffff;
		fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
		modify(f, REGISTER_TRANSLATION, &fib);
		insn_rpcit(f->fh, fib.pba, 0x20000);
		dma_start(&dma);
		dma_messages_on(&dma);
		msix_set(f, &dma.msix, dma.entry, f->group.msi_address, 1);
		for (unsigned i = 0; i < 2; i++) {
			memset(summary, 0, 8);
			dma_message(&dma);
			if (!take(PATIENCE)) {
				check(false, 'L', n->sic, "mode all is in effect");
				note("interruption %u does not come", i);
				goto out;
			}
		}
		check(true, 'L', n->sic, "mode all is in effect");
	} else {
		not_here('L', n->sic, "mode all is in effect", "facility 72");
	}
out:
	function_restart(f);
	busy();
	if (dma.kind == DMA_TESTDEV)
		check(streams(PATIENCE), 'L', n->works, "DMA works again");
	else
		not_here('L', n->works, "DMA works again", "testdev");
	take(PATIENCE);
}

/* ---- States ---- */

static void from_states(void)
{
	function_restart(f);
	insn_rpcit(f->fh, f->query.sdma, PAGE_SIZE);
	reset(1);
	check_value(event_next().content, 0, 'C', "reset.error.event",
		    "an event that was not fetched is gone");
	check(function_refresh_handle(f) && !(f->fh >> 31), 'L', "reset.error",
	      "from the error state: disabled");
	check_value(function_set(f, CLP_ENABLE, 1), CLP_OK, 'L', "reset.error.enable",
		    "from the error state: the function can be enabled");
	check_value(stored_controls(f).controls, FIB_ENABLED, 'L', "reset.error.controls",
		    "from the error state: then it is enabled, not in error");
	function_disable(f);
	sclp_configure(f->fid, false);
	reset(1);
	check(function_refresh_handle(f) && !f->configured, 'Q', "reset.standby",
	      "from standby: standby");
	sclp_configure(f->fid, true);
	function_refresh_handle(f);
	function_enable(f);
}

/* ---- Re-IPL ---- */

/* How often was the function reset? It tells a first start from a second. */
static uint64_t resets(void)
{
	return bar_read(f, TESTDEV_BAR_REGISTERS, TESTDEV_RESETS, 8);
}

static void after_reipl(void)
{
	static uint64_t words[512];
	struct fib stored = stored_controls(f);
	volatile uint64_t *memory;
	bool quiet = true;

	check(stored.controls == FIB_ENABLED && !stored.iota && !stored.aibv && !stored.fmb_address,
	      'L', "reset.reipl.controls", "nothing is registered");
	check_value(config_read(f, PCI_COMMAND, 2) & 6, 0, 'L', "reset.reipl.command",
		    "the function is no bus master");
	check_value(take(QUIET), 0, 'L', "reset.reipl.interruption",
		    "an interruption that was pending is gone");
	check_value(event_next().content, 0, 'Q', "reset.reipl.event", "there is no event");
	/* Nothing stores into memory behind the program any more. */
	memory = frames(16 * PAGE_SIZE, PAGE_SIZE);
	wait_for(false, QUIET);
	for (unsigned i = 0; i < 16 * PAGE_SIZE / 8; i++)
		quiet &= memory[i] == 0;
	check(quiet && !words[0], 'L', "reset.reipl.dma", "DMA that was under way has ended");
	third = iotable_new();
	page = frames(PAGE_SIZE, PAGE_SIZE);
	vectors = frames(PAGE_SIZE, PAGE_SIZE);
	summary = frames(PAGE_SIZE, PAGE_SIZE);
	fmb = frames(PAGE_SIZE, PAGE_SIZE);
	busy();
	check(streams(PATIENCE), 'L', "reset.reipl.works", "DMA works again");
	check(take(PATIENCE) != 0, 'L', "reset.reipl.vectors", "interruptions come again");
	function_disable(f);
}

void guest_main(void)
{
	static const struct names normal = NAMES("reset.normal"), clear = NAMES("reset.clear");
	uint32_t enabled;

	f = function_find();
	check_value(f->fh >> 31, 0, 'L', "reset.start", "at the start the function is disabled");
	function_enable(f);
	if (!dma_find(&dma, f) || !dma.msix.entries)
		bail("not here: a function that does DMA on command");
	if (dma.kind == DMA_TESTDEV && resets() > 2) {
		after_reipl();
		return;
	}
	third = iotable_new();
	page = frames(PAGE_SIZE, PAGE_SIZE);
	vectors = frames(PAGE_SIZE, PAGE_SIZE);
	summary = frames(PAGE_SIZE, PAGE_SIZE);
	fmb = frames(PAGE_SIZE, PAGE_SIZE);
	busy();
	enabled = f->fh;
	reset(1);
	clean(&normal, enabled);
	enabled = f->fh;
	reset(0);
	clean(&clear, enabled);
	from_states();
	if (dma.kind != DMA_TESTDEV) {
		rest_not_here("testdev");
		return;
	}
	busy();
	reset(3);
}
