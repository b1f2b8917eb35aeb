/* SPDX-License-Identifier: MIT */
/* The runtime itself: console, run(), program interruption, power-off. */
#include "lib/guest.h"

SNIPPET(snip_add, "agr 2,3");
SNIPPET(snip_invalid, ".short 0x0000");

void guest_main(void)
{
	struct run r = run_init(PSW_64, snip_add);

	r.gr[2] = 40;
	r.gr[3] = 2;
	run(&r);
	expect_done(&r, "a snippet runs to its end");
	check_eq(r.gr[2], 42, "with the registers it was given");
	check_eq(r.psw.addr, (uint64_t)snip_add_end + 2, "SVC old PSW");
	check_eq(r.ilc, 2, "SVC instruction length");

	run_at(&r, snip_invalid);
	expect_pgm(&r, PGM_OPERATION, snip_invalid, SUPPRESSED,
		   "operation code 0");
	ok(memory_size() >= 64ull << 20, "%lu MiB of memory", memory_size() >> 20);
	ok(cpu_count() >= 1, "%u CPUs", cpu_count());
	note("command line: %s", command_line);
}
