/* SPDX-License-Identifier: MIT */
/*
 * DIAG X'308' subcodes 0 and 1: the resets after which a CPU goes on at the short
 * PSW at absolute 0, with memory as it was; subcode 3, which loads the guest again.
 */
#include "lib/guest.h"

#define MARK 0x1122334455667788ull
#define SHORT_PSW 0x0008000180000000ull /* 64-bit addressing */

extern char reset_entry[];
void reset_and_return(uint64_t subcode);
extern uint64_t reset_control[16], reset_general[2], reset_psw_mask, reset_stack;

uint64_t reset_control[16];
uint64_t reset_general[2];
uint64_t reset_psw_mask; /* both halves, as EPSW gives them */
uint64_t reset_stack;

/*
 * Registers 4 and 5 carry a mark into the reset; what is in them afterwards goes to
 * reset_general.
 */
asm(".pushsection .text\n"
    "reset_and_return:\n"
    "	stmg	%r6,%r15,48(%r15)\n"
    "	stgrl	%r15,reset_stack\n"
    "	lgr	%r3,%r2\n"
    "	lghi	%r2,0\n"
    "	lgrl	%r4,reset_mark\n"
    "	lgr	%r5,%r4\n"
    "	diag	%r2,%r3,0x308\n"
    "0:	j	0b\n"
    "reset_entry:\n"
    "	larl	%r1,reset_general\n"
    "	stmg	%r4,%r5,0(%r1)\n"
    "	epsw	%r2,%r3\n"
    "	sllg	%r2,%r2,32\n"
    "	llgfr	%r3,%r3\n"
    "	ogr	%r2,%r3\n"
    "	stgrl	%r2,reset_psw_mask\n"
    "	larl	%r1,reset_control\n"
    "	stctg	%c0,%c15,0(%r1)\n"
    "	lgrl	%r15,reset_stack\n"
    "	lmg	%r6,%r15,48(%r15)\n"
    "	br	%r14\n"
    "	.balign 8\n"
    "reset_mark:\n"
    "	.quad	0x1122334455667788\n"
    ".popsection");

static volatile uint64_t turns;

static void turn(void *unused)
{
	for (;;)
		turns++;
}

static void reset(uint64_t subcode)
{
	uint64_t before;

	cpu_start(1, turn, NULL);
	before = turns;
	while (turns == before)
		;
	/* The CPU's own address of 0 is absolute 0: its prefix is 0. */
	*(volatile uint64_t *)lowcore() = SHORT_PSW | (uint64_t)reset_entry;
	ctl_load(1, 0x12345000);
	ctl_load(13, 0x54321000);
	reset_and_return(subcode);
	ctl_load(0, reset_control[0]);
}

static void check_reset_state(const char *name)
{
	uint64_t status = 0, before;

	check_eq(reset_psw_mask & ~PSW_CC(3), PSW_64, "%s: PSW mask from absolute 0", name);
	check_eq(reset_control[0], 0xe0, "%s: CR0 has its initial value", name);
	check_eq(reset_control[1], 0, "%s: CR1 is 0", name);
	check_eq(reset_control[13], 0, "%s: CR13 is 0", name);
	check_eq(reset_control[14], 0xc2000000, "%s: CR14 has its initial value", name);
	check_eq(sigp(1, SIGP_SENSE, 0, &status), 1, "%s: the other CPU has a status", name);
	check_eq(status & 0x40, 0x40, "%s: it is stopped", name);
	before = turns;
	for (uint64_t start = tod_clock(); tod_clock() - start < 1000 * TOD_MICROSECOND;)
		;
	check_eq(turns, before, "%s: and executes nothing", name);
}

/* The last days of the TOD clock, in 2042: it alone outlives a load clear. */
#define FUTURE 0xfff0000000000000ull

/*
 * Load clear leaves no storage key. The guest that was loaded again knows by the clock
 * that it is, so all of this happens before the first line is printed.
 */
static void load_clear(void)
{
	uint8_t *page = (uint8_t *)(memory_size() - PAGE_SIZE);
	uint64_t key = 0x36, t = FUTURE;

	if (tod_clock() < FUTURE) {
		asm volatile("sske %0,%1" : : "d"(key), "a"(page) : "memory");
		*page = 1;
		asm volatile("sck %0" : : "Q"(t) : "cc");
		asm volatile("diag %0,%1,0x308" : : "d"(0ull), "d"(3ull) : "memory");
		bail("DIAG X'308' subcode 3 came back");
	}
	ok(true, "load clear: the guest is loaded again, and the TOD clock goes on");
	key = 0;
	asm volatile("iske %0,%1" : "+d"(key) : "a"(page));
	check_eq(key, 0, "load clear: storage keys are 0");
	check_eq(*page, 0, "load clear: so is memory");
}

void guest_main(void)
{
	load_clear();
	reset(1);
	check_reset_state("load normal");
	check_eq(reset_general[0], MARK, "load normal: general registers stay");
	check_eq(reset_general[1], MARK, "load normal: all of them");

	reset(0);
	check_reset_state("modified clear");
	check_eq(reset_general[0] | reset_general[1], 0, "modified clear: general registers are 0");

	reset(1);
	check_reset_state("load normal again");
}
