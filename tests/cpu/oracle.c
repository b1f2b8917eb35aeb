/* SPDX-License-Identifier: MIT */
/*
 * Executes cases (case.h) on the s390x that this program runs on, which is
 * qemu-s390x user mode, or a real one. Reads cases on standard input, writes
 * results to standard output.
 *
 * Each case has a process of its own: the arena is shared, the child loads the
 * state and jumps, the signal handler writes down what the signal frame holds
 * and leaves. What does not come back to the handler (QEMU 7.2 gives up on some
 * instructions) is noted as died.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "case.h"

#define STATE 0xa00000ul	/* registers to load; out of the cases' sight */
#define CODE_STUB (CODE + CODE_LIMIT)

struct state {
	uint64_t gr[16];
	uint64_t fpr[16];
	uint32_t ar[16];
	uint32_t fpc;
	uint32_t cc_pm;
};

static struct result *out;	/* shared with the child */

static void leave(void)
{
	register long number asm("2") = 0;

	asm volatile("svc 248" : : "d"(number));	/* exit_group */
	__builtin_unreachable();
}

/* Runs with the case's access registers: no thread pointer, so no library. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
	const mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
	unsigned int i;

	out->signal = (uint32_t)signal;
	out->si_code = info->si_code;
	out->psw_mask = m->psw.mask;
	out->psw_addr = m->psw.addr;
	for (i = 0; i < 16; i++) {
		out->gr[i] = m->gregs[i];
		out->ar[i] = m->aregs[i];
		memcpy(&out->fpr[i], &m->fpregs.fprs[i], 8);
	}
	out->fpc = m->fpregs.fpc;
	out->died = 0;
	leave();
}

static void enter(void)
{
	asm volatile(
		"	llilf	%%r1,%[state]\n"
		"	ld	%%f0,0x80(%%r1)\n	ld	%%f1,0x88(%%r1)\n"
		"	ld	%%f2,0x90(%%r1)\n	ld	%%f3,0x98(%%r1)\n"
		"	ld	%%f4,0xa0(%%r1)\n	ld	%%f5,0xa8(%%r1)\n"
		"	ld	%%f6,0xb0(%%r1)\n	ld	%%f7,0xb8(%%r1)\n"
		"	ld	%%f8,0xc0(%%r1)\n	ld	%%f9,0xc8(%%r1)\n"
		"	ld	%%f10,0xd0(%%r1)\n	ld	%%f11,0xd8(%%r1)\n"
		"	ld	%%f12,0xe0(%%r1)\n	ld	%%f13,0xe8(%%r1)\n"
		"	ld	%%f14,0xf0(%%r1)\n	ld	%%f15,0xf8(%%r1)\n"
		"	lam	%%a0,%%a15,0x100(%%r1)\n"
		"	lfpc	0x140(%%r1)\n"
		"	l	%%r0,0x144(%%r1)\n"
		"	spm	%%r0\n"
		"	lmg	%%r0,%%r15,0(%%r1)\n"
		"	jg	case_stub\n"	/* --defsym: CODE_STUB */
		: : [state] "i"(STATE) : "memory");
	__builtin_unreachable();
}

/* At the end of the code page: the addressing mode, and a jump to the case. */
static void write_stub(uint64_t start, unsigned int amode)
{
	uint8_t *p = (uint8_t *)CODE_STUB;
	int32_t distance;

	p[0] = 0x01;
	p[1] = (uint8_t)(0x0c + amode);		/* SAM24, SAM31, SAM64 */
	p[2] = 0xc0;
	p[3] = 0xf4;				/* BRCL 15 */
	distance = (int32_t)((int64_t)(start - (CODE_STUB + 2)) / 2);
	memcpy(p + 4, &distance, 4);
}

static void protect(int read_only)
{
	mprotect((void *)(ARENA + ARENA_READ_ONLY * CASE_PAGE), CASE_PAGE,
		 read_only ? PROT_READ : PROT_READ | PROT_WRITE);
}

static void apply_patches(const struct case_header *c)
{
	const uint8_t *p = (const uint8_t *)(c + 1);

	for (unsigned int i = 0; i < c->patches; i++) {
		uint32_t address, length;

		memcpy(&address, p, 4);
		memcpy(&length, p + 4, 4);
		memcpy((void *)(uint64_t)address, p + 8, length);
		p += 8 + length;
	}
}

static void map_arena(void)
{
	static const char map[] = ARENA_MAP;

	for (unsigned int i = 0; i < ARENA_PAGES; i++)
		if (map[i] != '-' &&
		    mmap((void *)(ARENA + i * CASE_PAGE), CASE_PAGE,
			 PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			exit(3);
	if (mmap((void *)CODE, CASE_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ||
	    mmap((void *)STATE, CASE_PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		exit(3);
	out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (out == MAP_FAILED)
		exit(3);
}

static void copy_mapped(uint8_t *to)
{
	static const char map[] = ARENA_MAP;

	for (unsigned int i = 0; i < ARENA_PAGES; i++)
		if (map[i] != '-')
			memcpy(to + i * CASE_PAGE,
			       (const void *)(ARENA + i * CASE_PAGE), CASE_PAGE);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP };
	static uint8_t stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = {
		.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK
	};

	sigaltstack(&alternate, NULL);
	for (unsigned int i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

static void execute(const struct case_header *c)
{
	struct state *s = (struct state *)STATE;
	int status;
	pid_t child;

	memcpy(s->gr, c->gr, sizeof(s->gr));
	memcpy(s->fpr, c->fpr, sizeof(s->fpr));
	memcpy(s->ar, c->ar, sizeof(s->ar));
	s->fpc = c->fpc;
	s->cc_pm = (uint32_t)c->cc << 28 | (uint32_t)c->program_mask << 24;

	memset(out, 0, sizeof(*out));
	out->magic = CASE_MAGIC;
	out->died = 1;
	child = fork();
	if (child < 0)
		exit(3);
	if (child == 0) {
		alarm(5);
		enter();
	}
	waitpid(child, &status, 0);
}

int main(void)
{
	static union {
		struct case_header header;
		uint8_t bytes[65536];
	} c;
	static uint8_t before[ARENA_PAGES * CASE_PAGE], now[ARENA_PAGES * CASE_PAGE];
	static uint8_t code_before[CASE_PAGE];

	map_arena();
	catch_signals();
	while (fread(&c.header, sizeof(c.header), 1, stdin) == 1) {
		size_t rest = c.header.length - sizeof(c.header);

		if (c.header.magic != CASE_MAGIC ||
		    c.header.length > sizeof(c) ||
		    (rest && fread(&c.header + 1, rest, 1, stdin) != 1))
			return 2;
		protect(0);
		memset((void *)CODE, 0, CASE_PAGE);
		case_fill(before, c.header.seed);
		for (unsigned int i = 0; i < ARENA_PAGES; i++)
			if (ARENA_MAP[i] != '-')
				memcpy((void *)(ARENA + i * CASE_PAGE),
				       before + i * CASE_PAGE, CASE_PAGE);
		apply_patches(&c.header);
		protect(1);
		copy_mapped(before);
		memcpy(code_before, (const void *)CODE, CODE_LIMIT);
		write_stub(c.header.start, c.header.amode);
		execute(&c.header);
		copy_mapped(now);
		case_diff(out, before, now, ARENA, ARENA_PAGES * CASE_PAGE);
		case_diff(out, code_before, (const uint8_t *)CODE, CODE, CODE_LIMIT);
		fwrite(out, sizeof(*out), 1, stdout);
		fflush(stdout);
	}
	return 0;
}
