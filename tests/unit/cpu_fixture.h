/* SPDX-License-Identifier: MIT */
/*
 * A CPU on a bench: 64-bit mode, translation off, two megabytes of memory, one
 * instruction executed at a time. A program interruption is caught and told.
 * Memory ends at CPU_MEMORY: what lies behind raises an addressing exception.
 */
#ifndef ZVISOR_TESTS_UNIT_CPU_FIXTURE_H
#define ZVISOR_TESTS_UNIT_CPU_FIXTURE_H

#include <stdint.h>

#include "cpu/vcpu.h"

#define CPU_MEMORY 0x200000u

struct cpu_fixture {
	uint8_t *memory;
	struct cpu_complex *complex;
	struct vcpu *vcpu;
	struct vcpu *other;    /* a second one, stopped, for orders that are sent to it */
	struct vcpu *told;     /* the last whose state an order changed */
	struct cpu_state *s;
	uint64_t mask;         /* of the PSW to execute with: 64-bit mode at first */
	uint64_t old_psw_addr; /* of the program interruption */
	unsigned int exits;    /* times that vcpu_run() returned */
};

/* For cmocka: a fresh CPU in *state. Registers are 0, memory is 0. */
int cpu_fixture_setup(void **state);
/* The same with code executed in a given way. */
int cpu_fixture_setup_as(void **state, enum cpu_execution);
/* And with instructions for time: clocks ring after a number of them. */
int cpu_fixture_setup_deterministic(void **state, enum cpu_execution);
int cpu_fixture_teardown(void **state);

/*
 * Execute the instruction, given as hex digits. Returns the program-interruption
 * code, 0 for none; the condition code as it was then is in *cc.
 */
unsigned int cpu_execute(struct cpu_fixture *, const char *hex, unsigned int *cc);

/* Where that puts the instruction. */
#define CPU_CODE 0x2000u

/* The new PSW of program interruptions, should a program have overwritten it. */
void cpu_fixture_catch(struct cpu_fixture *);

/*
 * Execute the code at CPU_CODE until it raises a program interruption; returns its code, or
 * CPU_CHECK_STOP.
 */
#define CPU_CHECK_STOP 0x10000u
unsigned int cpu_execute_there(struct cpu_fixture *);
/* Likewise from another address, or until whatever else ends in a disabled wait. */
unsigned int cpu_execute_at(struct cpu_fixture *, uint64_t address);

#endif
