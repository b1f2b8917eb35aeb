/* SPDX-License-Identifier: MIT */
/*
 * Runs that can be compared: for tests of the CPU.
 *
 * With one vCPU, no device and no input, a guest is reproducible once time is the
 * count of instructions (cpu_complex_config.deterministic). Then two runs that
 * execute code in different ways (enum cpu_execution) have the same registers
 * after the same number of instructions. A hash of the registers is written at
 * each multiple of a number, a line each: "COUNT HASH", decimal and hexadecimal.
 * Where two such files begin to differ, one of the two ways has gone wrong; with
 * shorter steps from shortly before there, the instruction is found.
 */
#ifndef ZVISOR_MACHINE_LOCKSTEP_H
#define ZVISOR_MACHINE_LOCKSTEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cpu/vcpu.h"

/* What is asked for; `file` is NULL when nothing is. It may be a pipe. */
struct lockstep_config {
	const char *file;
	uint64_t every; /* instructions, not 0 */
	uint64_t from;  /* that many executed; cached until then */
	enum cpu_execution execution;
};

struct lockstep {
	FILE *file;
	bool failed; /* a line could not be written; said already */
};

/* 0, or -errno. */
int lockstep_open(struct lockstep *, const struct lockstep_config *);
void lockstep_close(struct lockstep *);

/* Write a line about the vCPU, on its thread. False, once, when that failed. */
bool lockstep_report(struct lockstep *, struct vcpu *);

/* Console output that keeps the vCPU waiting, so that there is always room. */
void lockstep_write_console(const void *data, size_t length);

#endif
