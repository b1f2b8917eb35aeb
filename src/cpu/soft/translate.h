/* SPDX-License-Identifier: MIT */
/*
 * The translator: machine code of the host for runs of decoded instructions.
 *
 * A run is some consecutive ops of a block that the translator has code for. That
 * code is the function of the run's first op, an op_fn like any other: it is entered
 * with the vCPU and that op, and ends by going on with another op. So the rest of
 * the CPU does not know of it. The other ops of the run keep their functions, and
 * wherever something out of the ordinary happens (a page that the TLB does not
 * know, an overflow, a branch whose target is not known yet, attention) the code goes
 * on with the function of the very op, before it has changed anything. It calls
 * nothing, has no stack, and raises no exception.
 *
 * Only x86-64 hosts have a translator; elsewhere, or where the host does not let a
 * process make code, everything runs by the functions.
 */
#ifndef ZVISOR_CPU_SOFT_TRANSLATE_H
#define ZVISOR_CPU_SOFT_TRANSLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op;

/* What a block can need at most; a block is only begun where there is so much room. */
#define TRANSLATE_OP_BYTES 448
#define TRANSLATE_BLOCK_BYTES ((BLOCK_MAX_OPS + 1) * TRANSLATE_OP_BYTES)

/* The memory for it, mapped twice: once to write, once to execute. */
struct host_code {
	uint8_t *write;
	uint8_t *execute;
	size_t size;
	size_t used;
	size_t most; /* of it ever */
	uint8_t *templates; /* by row of the instruction table: number of its template, or 0 */
};

/* Never fails: without a translator, `size` is 0. */
void translate_init(struct host_code *);
void translate_destroy(struct host_code *);
/* From now on PCI STORE is tried by the CPU's window first (zpci/window.h). */
void translate_windows(struct host_code *);
/* Translate what can be in a block of `count` ops, which nobody executes yet. */
void translate_block(struct host_code *, struct op *ops, unsigned int count);
/* Is there so little room left that all of it should be thrown away? */
bool translate_full(const struct host_code *);
/* Throw it away. Nobody executes any of it. */
void translate_forget(struct host_code *);

#endif
