/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores to a BAR that is not there; a program of its own, as QEMU 7.2
 * does not survive it.
 */
#include "zpci/zpci.h"

void guest_main(void)
{
	struct function *f = function_find();
	unsigned missing = 6;
	static uint8_t block[64] __attribute__((aligned(8)));

	function_enable(f);
	for (unsigned bar = 0; bar < 6; bar++)
		if (!bar_exists(f, bar))
			missing = bar;
	if (missing == 6)
		bail("not here: a function without some BAR");
	check_answer(insn_pcilg(place(f->fh, missing, 4), 0, NULL), PGM(PGM_OPERAND), 'C',
		     "pcilg.bar.missing", "a BAR that is not there: operand exception");
	check_answer(insn_pcistg(place(f->fh, missing, 4), 0, 0), PGM(PGM_OPERAND), 'C',
		     "pcistg.bar.missing", "a BAR that is not there: operand exception");
	check_answer(insn_pcistb(place(f->fh, missing, 16), 0, block), PGM(PGM_OPERAND), 'C',
		     "pcistb.bar.missing", "a BAR that is not there: operand exception");
	function_disable(f);
}
