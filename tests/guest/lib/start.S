/* SPDX-License-Identifier: MIT */
/*
 * Entry points of the freestanding guests: from the loader, from SIGP restart
 * and from every class of interruption; and run_asm, which leaves the guest's
 * own context for a PSW under test and comes back with the next interruption.
 *
 * Offsets below 0x200 are the assigned storage locations of the Principles of
 * Operation; the lowcore fields at 0x400 and up are ours, see struct lowcore.
 */
#define LC_SAVE_GR	0x400
#define LC_SAVE_AR	0x480
#define LC_RUN		0x4c0
#define LC_RUN_SP	0x4c8
#define LC_RUN_PSW	0x4d0
#define LC_BOOT_SP	0x4e0
#define LC_BOOT_FN	0x4e8
#define LC_BOOT_ARG	0x4f0
#define LC_PANIC_SP	0x4f8

/* struct run */
#define RUN_GR		0x00
#define RUN_MASK	0x80
#define RUN_AR		0x90

	.section .start, "ax"
	.globl _start
_start:
	lhi	%r1, 2			/* SIGP set architecture: z/Architecture */
	xr	%r0, %r0
	xr	%r3, %r3
	sigp	%r1, %r0, 0x12
	sam64
	larl	%r15, boot_stack_end - 160
	xc	0(8,%r15), 0(%r15)
	brasl	%r14, guest_start
0:	j	0b

	.org	0x400			/* parameter area of the Linux boot protocol */
	.quad	0, 0, 0
	.org	0x480
	.globl	command_line
command_line:
	.byte	0
	.org	0x1000

	.macro	entry name, class
	.globl	entry_\name
entry_\name:
	stmg	%r0, %r15, LC_SAVE_GR(%r0)
	lghi	%r2, \class
	j	interruption
	.endm

	entry	restart, 0
	entry	ext, 1
	entry	svc, 2
	entry	pgm, 3
	entry	mcck, 4
	entry	io, 5

interruption:
	stam	%a0, %a15, LC_SAVE_AR(%r0)
	ltg	%r3, LC_RUN(%r0)
	jz	0f
	lg	%r15, LC_RUN_SP(%r0)
	lmg	%r6, %r15, 48(%r15)
	br	%r14
0:	lg	%r15, LC_PANIC_SP(%r0)
	brasl	%r14, guest_unexpected
	j	0b

/*
 * long run_asm(struct run *r): all general and access registers and the PSW
 * come from r. Returns the class of the interruption that ended it.
 */
	.globl	run_asm
run_asm:
	stmg	%r6, %r15, 48(%r15)
	stg	%r15, LC_RUN_SP(%r0)
	stg	%r2, LC_RUN(%r0)
	mvc	LC_RUN_PSW(16,%r0), RUN_MASK(%r2)
	lam	%a0, %a15, RUN_AR(%r2)
	lmg	%r0, %r15, RUN_GR(%r2)
	lpswe	LC_RUN_PSW(%r0)

/* A further CPU arrives here by SIGP restart. */
	.globl	smp_entry
smp_entry:
	lg	%r15, LC_BOOT_SP(%r0)
	lg	%r2, LC_BOOT_ARG(%r0)
	lg	%r1, LC_BOOT_FN(%r0)
	basr	%r14, %r1
	brasl	%r14, smp_return
0:	j	0b

	.section .bss
	.balign	8
	.skip	16384
boot_stack_end:
