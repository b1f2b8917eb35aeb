/* SPDX-License-Identifier: MIT */
/*
 * What the function of bench/interrupt_bench.c and the guest say to each other, by registers
 * of 8 bytes. Nothing but numbers, so that a freestanding program can include it.
 */
#ifndef INTERRUPT_BENCH_H
#define INTERRUPT_BENCH_H

#define BENCH_BAR 0
#define BENCH_WHAT 0 /* read: how the next interrupt is to be waited for */
#define BENCH_END 0
#define BENCH_WAIT 1 /* in an enabled wait */
#define BENCH_BUSY 2 /* executing code */
#define BENCH_READY 8 /* written before the guest waits */
#define BENCH_ANSWER 16 /* written by the handler's first instruction */

#endif
