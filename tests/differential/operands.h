/* SPDX-License-Identifier: MIT */
/* What operands.c and operands_guest.c say to each other: one case, one outcome. */
#ifndef ZVISOR_TESTS_DIFFERENTIAL_OPERANDS_H
#define ZVISOR_TESTS_DIFFERENTIAL_OPERANDS_H

#include <stdint.h>

#define WINDOW 0x1f8000u     /* storage that operands may lie in; none behind it */
#define WINDOW_SIZE 0x8000u

/* All numbers in guest byte order. */
struct operands_case {
	uint64_t gr[16];
	uint8_t code[16];
	uint8_t window[WINDOW_SIZE];
};

struct operands_outcome {
	uint64_t gr[16];
	uint32_t signal; /* s390x Linux's number; 0: it completed, the rest is valid */
	uint32_t cc;
	uint8_t window[WINDOW_SIZE];
};

#endif
