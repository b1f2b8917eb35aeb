/* SPDX-License-Identifier: MIT */
/* A guest that says a growing number twenty times a second. Ends with its machine. */
#include "lib/guest.h"

#define PAUSE (50000 * TOD_MICROSECOND)

void guest_main(void)
{
	uint64_t next = tod_clock();

	for (uint64_t i = 0;; i++) {
		note("tick %lu", i);
		next += PAUSE;
		while (tod_clock() < next)
			;
	}
}
