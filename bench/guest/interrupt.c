/* SPDX-License-Identifier: MIT */
/*
 * Waits for interrupts of the first PCI function, which is that of bench/interrupt_bench.c,
 * and answers each with its handler's first instruction: a store to the function's BAR.
 * What the function is told is in that file.
 */
#include "../interrupt_bench.h"
#include "zpci/msix.h"

#define ISC 2
#define CR6_ISC(isc) (BIT64(32) >> (isc))

/* PCISTG of register 4 to where registers 2 and 3 say, and on as the runtime has it. */
SNIPPET(answer_first, ".insn rre,0xb9d00000,4,2\n\tjg entry_io");
SNIPPET(interrupt_busy, "0: j 0b");

static uint64_t *indicators; /* the vector, and 64 bytes on the summary */

static void register_interrupts(const struct function *f)
{
	struct fib fib = { .interruption = FIB_ISC(ISC) | FIB_NOI(1) | FIB_SUMMARY };
	struct answer answer;
	struct msix msix;

	if (!msix_find(f, &msix))
		bail("the function has no MSI-X");
	indicators = frames(PAGE_SIZE, PAGE_SIZE);
	fib.aibv = (uint64_t)indicators;
	fib.aisb = (uint64_t)(indicators + 8);
	answer = modify(f, REGISTER_INTERRUPTIONS, &fib);
	if (answer.pgm || answer.cc)
		bail("interruptions cannot be registered: cc %u status %u", answer.cc,
		     answer.status);
	msix_set(f, &msix, 0, f->group.msi_address, 0);
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	msix_switch(f, &msix, true);
	ctl_load(6, ctl_store(6) | CR6_ISC(ISC));
}

void guest_main(void)
{
	struct function *f = function_find();
	uint64_t what;

	if (!f)
		bail("there is no PCI function");
	function_enable(f);
	register_interrupts(f);
	lowcore()->io_new.addr = (uint64_t)answer_first;
	while ((what = bar_read(f, BENCH_BAR, BENCH_WHAT, 8)) != BENCH_END) {
		struct run r = run_init(PSW_64 | PSW_IO | (what == BENCH_WAIT ? PSW_WAIT : 0),
					interrupt_busy);

		r.gr[2] = place(f->fh, BENCH_BAR, 8);
		r.gr[3] = BENCH_ANSWER;
		r.gr[4] = swap(what, 8);
		bar_write(f, BENCH_BAR, BENCH_READY, 8, what);
		run(&r);
		if (r.exit != RUN_IO)
			bail("something else than an interrupt: exit %u", (unsigned)r.exit);
		indicators[8] = 0;
		indicators[0] = 0;
	}
}
