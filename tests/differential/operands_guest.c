/* SPDX-License-Identifier: MIT */
/*
 * The side of operands.c that runs on s390x Linux, or on qemu-s390x: executes
 * what comes in on standard input with the registers and storage given, writes
 * what came out to standard output.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "operands.h"

extern uint64_t registers_in[16], registers_out[17];
extern uint8_t slot[16];
void run_slot(void);

/* Loads and stores relative to the instruction, since no register is left for a base. */
#define EACH(op, area) \
	" " op " %r0," area "\n " op " %r1," area "+8\n " op " %r2," area "+16\n" \
	" " op " %r3," area "+24\n " op " %r4," area "+32\n " op " %r5," area "+40\n" \
	CALLEE(op, area)
#define CALLEE(op, area) \
	" " op " %r6," area "+48\n " op " %r7," area "+56\n " op " %r8," area "+64\n" \
	" " op " %r9," area "+72\n " op " %r10," area "+80\n " op " %r11," area "+88\n" \
	" " op " %r12," area "+96\n " op " %r13," area "+104\n " op " %r14," area "+112\n" \
	" " op " %r15," area "+120\n"

__asm__(".section .body,\"awx\",@progbits\n"
	" .balign 4096\n"
	" .globl run_slot, registers_in, registers_out, slot\n"
	"run_slot:\n"
	CALLEE("stgrl", "registers_saved")
	" cr %r0,%r0\n" /* condition code 0 */
	EACH("lgrl", "registers_in")
	"slot: .fill 16,1,7\n"
	EACH("stgrl", "registers_out")
	" ipm %r0\n"
	" stgrl %r0,registers_out+128\n"
	CALLEE("lgrl", "registers_saved")
	" br %r14\n"
	" .balign 8\n"
	"registers_in: .fill 128,1,0\n"
	"registers_out: .fill 136,1,0\n"
	"registers_saved: .fill 128,1,0\n"
	" .balign 4096\n"
	" .previous\n");

static sigjmp_buf escape;

static void caught(int number)
{
	siglongjmp(escape, number);
}

int main(void)
{
	static const int signals[] = { SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP };
	static uint8_t stack[65536];
	static struct operands_case in;
	static struct operands_outcome out;
	stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = caught, .sa_flags = SA_ONSTACK | SA_NODEFER };
	uint8_t *window = mmap((void *)(uintptr_t)WINDOW, WINDOW_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (window != (void *)(uintptr_t)WINDOW) {
		perror("mmap");
		return 1;
	}
	sigaltstack(&other, NULL);
	for (unsigned int i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	while (fread(&in, sizeof(in), 1, stdin) == 1) {
		memcpy(window, in.window, WINDOW_SIZE);
		memcpy(slot, in.code, sizeof(in.code));
		memcpy(registers_in, in.gr, sizeof(in.gr));
		out.signal = (uint32_t)sigsetjmp(escape, 1);
		if (!out.signal)
			run_slot();
		memcpy(out.gr, registers_out, sizeof(out.gr));
		out.cc = (uint32_t)(registers_out[16] >> 28) & 3;
		memcpy(out.window, window, WINDOW_SIZE);
		if (fwrite(&out, sizeof(out), 1, stdout) != 1 || fflush(stdout))
			return 1;
	}
	return 0;
}
