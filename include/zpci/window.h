/* SPDX-License-Identifier: MIT */
/*
 * Stores to a BAR that a vCPU does without the library.
 *
 * Behind some BARs, those of passed-through devices above all, is nothing but memory of the
 * host, and that is where doorbells are: PCI STORE of 4 bytes is what drivers of such devices
 * execute most. An embedder with a CPU of its own may give each vCPU a window
 * (zpci_vcpu.window). The library opens it to the place of such a store when it has executed
 * one, and shuts it when the function is disabled, fails or is unplugged. An open window lets
 * through what the library would do, no more.
 *
 * To execute PCI STORE with R1 and R2, R2 being even, the vCPU's thread may, in this order,
 *
 *   1. store 1 at in_use;
 *   2. look whether `shut` and `barred` are 0, R2 is `request`, and R2+1 AND `mask` is `first`. If
 *      not: store 0 at in_use, and let the library execute the instruction;
 *   3. store the right half of R1, its bytes in the order that they have in the register, at
 *      `host` + (R2+1 less `first`), by one store; add 1 to *count; set condition code 0;
 *   4. store 0 at in_use.
 *
 * The compiler must keep the order, and a processor that of stores among themselves and of loads
 * among themselves. That `shut` is looked at after in_use was stored is what the library sees to
 * (membarrier(2)); where it cannot, it opens no windows.
 */
#ifndef ZPCI_WINDOW_H
#define ZPCI_WINDOW_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zpci_window {
	/* Written by the library when the vCPU executes PCI STORE. */
	uint64_t request, mask, first;
	uint8_t *host;
	uint64_t *count;
	uint64_t in_use; /* written by the vCPU's thread */
	/* Aligned, so that both can be looked at as one. */
	uint32_t shut; /* any thread of the library; to begin with, the embedder sets it to 1 */
	uint32_t barred; /* the embedder's: not now, because the CPU is in the problem state */
};

#ifdef __cplusplus
}
#endif

#endif
