/* SPDX-License-Identifier: MIT */
/*
 * General instructions, where an application that runs on any Linux could not
 * look: what they do in other addressing modes, with the overflow mask on, and
 * the rare ones that Linux has no use for. Source: Principles of Operation,
 * chapter 7.
 *
 * QEMU 7.2 does not get through it: it dies of dividing -2^63 by -1 and of CSST
 * that stores one byte, and does not know BASSM, BSM and PLO.
 */
#include "lib/guest.h"

#define CC(r) PSW_CC_GET((r)->psw.mask)

/* A run in 64-bit mode with these registers; the rest is 0. */
static struct run state(uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	struct run r = run_init(PSW_64, NULL);

	r.gr[2] = r2;
	r.gr[3] = r3;
	r.gr[4] = r4;
	r.gr[5] = r5;
	return r;
}

static void run_in(struct run *r, uint64_t mode, const void *code)
{
	r->psw.mask = mode;
	r->psw.addr = (uint64_t)(uintptr_t)code;
	run(r);
}

/* ---- Compare and trap ---- */

SNIPPET(crt_eq, "crte 2,3");
SNIPPET(cgrt_lt, "cgrtl 2,3");
SNIPPET(clrt_lt, "clrtl 2,3");
SNIPPET(clgrt_gt, "clgrth 2,3");
SNIPPET(cit_lt, "citl 2,-1");
SNIPPET(cgit_ne, "cgitne 2,7");
SNIPPET(clfit_gt, "clfith 2,0x7fff");
SNIPPET(clgit_le, "clgitnh 2,0xffff");

static void traps(void)
{
	static const struct {
		const char *name;
		const void *code;
		uint64_t a, b;
		bool trap;
	} cases[] = {
		{ "CRT of equal words", crt_eq, 0x100000005, 5, true },
		{ "CRT of unequal words", crt_eq, 5, 6, false },
		{ "CGRT of less", cgrt_lt, -1ull, 0, true },
		{ "CGRT of greater", cgrt_lt, 1, 0, false },
		{ "CLRT of what is less if signed", clrt_lt, 0x80000000, 1, false },
		{ "CLRT of less", clrt_lt, 1, 0x80000000, true },
		{ "CLGRT of greater", clgrt_gt, -1ull, 0, true },
		{ "CIT of less", cit_lt, 0xfffffffe, 0, true },
		{ "CIT of equal", cit_lt, 0xffffffff, 0, false },
		{ "CGIT of equal", cgit_ne, 7, 0, false },
		{ "CGIT of unequal", cgit_ne, 0x100000007, 0, true },
		{ "CLFIT of greater", clfit_gt, 0xffffffff00008000, 0, true },
		{ "CLFIT of equal", clfit_gt, 0xffffffff00007fff, 0, false },
		{ "CLGIT of not greater", clgit_le, 0xffff, 0, true },
		{ "CLGIT of greater", clgit_le, 0x10000, 0, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct run r = state(cases[i].a, cases[i].b, 0, 0);

		run_in(&r, PSW_64, cases[i].code);
		if (!cases[i].trap) {
			expect_done(&r, "%s", cases[i].name);
			continue;
		}
		ok(r.exit == RUN_PGM && r.code == PGM_DATA && r.dxc == 0xff &&
		   r.psw.addr == (uint64_t)(uintptr_t)cases[i].code + r.ilc,
		   "%s", cases[i].name);
	}
}

/* ---- Fixed-point overflow and divide ---- */

SNIPPET(over_sla, "sla 2,1");
SNIPPET(over_slag, "slag 2,3,1");
SNIPPET(over_slda, "slda 2,40");
SNIPPET(over_asi, "asi 0(4),1");
SNIPPET(over_agsi, "agsi 0(4),1");
SNIPPET(over_laa, "laa 2,3,0(4)");
SNIPPET(over_aih, "aih 2,1");
SNIPPET(over_lpr, "lpr 2,3");
SNIPPET(over_lcgr, "lcgr 2,3");

static void overflows(void)
{
	static uint64_t operand __attribute__((aligned(8)));
	static const struct {
		const char *name;
		const void *code;
		uint64_t r2, r3, operand;
		uint64_t r2_after, operand_after;
	} cases[] = {
		{ "SLA", over_sla, 0x40000001, 0, 0, 2, 0 },
		{ "SLAG", over_slag, 0, 0xbfffffffffffffff, 0, 0xfffffffffffffffe, 0 },
		{ "SLDA", over_slda, 1, 1, 0, 0x100, 0 },
		{ "ASI", over_asi, 0, 0, 0x7fffffff00000001, 0, 0x8000000000000001 },
		{ "AGSI", over_agsi, 0, 0, 0x7fffffffffffffff, 0, 0x8000000000000000 },
		{ "LAA", over_laa, 0, 0x80000000, 0x8000000000000001, 0x80000000, 1 },
		{ "AIH", over_aih, 0x7fffffff00000001, 0, 0, 0x8000000000000001, 0 },
		{ "LPR", over_lpr, 0, 0x80000000, 0, 0x80000000, 0 },
		{ "LCGR", over_lcgr, 0, 1ull << 63, 0, 1ull << 63, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned mask = 0; mask <= 8; mask += 8) {
			struct run r = state(cases[i].r2, cases[i].r3,
					     (uintptr_t)&operand, 0);
			const char *name = cases[i].name;

			operand = cases[i].operand;
			barrier();
			run_in(&r, PSW_64 | PSW_PM(mask), cases[i].code);
			barrier();
			if (mask)
				ok(r.exit == RUN_PGM && r.code == PGM_FIXED_OVERFLOW &&
				   r.psw.addr == (uint64_t)(uintptr_t)cases[i].code + r.ilc,
				   "%s interrupts behind itself when it overflows", name);
			else
				expect_done(&r, "%s overflows in silence", name);
			ok(r.gr[2] == cases[i].r2_after && operand == cases[i].operand_after &&
			   CC(&r) == 3,
			   "%s has its result and code 3, overflow mask %u", name, mask >> 3);
		}
	}
}

SNIPPET(div_dr, "dr 2,4");
SNIPPET(div_dlr, "dlr 2,4");
SNIPPET(div_dlgr, "dlgr 2,4");
SNIPPET(div_dsgr, "dsgr 2,4");
SNIPPET(div_dsgfr, "dsgfr 2,4");

static void divides(void)
{
	static const struct {
		const char *name;
		const void *code;
		uint64_t r2, r3, r4;
	} cases[] = {
		{ "DR by 0", div_dr, 0, 5, 0 },
		{ "DR with a quotient of 2^31", div_dr, 0, 0x80000000, 1 },
		{ "DR with a quotient of -2^31 - 1", div_dr, 0xffffffff, 0x7fffffff, 1 },
		{ "DR of -2^63 by -1", div_dr, 0x80000000, 0, 0xffffffff },
		{ "DLR by 0", div_dlr, 0, 5, 0 },
		{ "DLR with a quotient of 2^32", div_dlr, 1, 0, 1 },
		{ "DLGR by 0", div_dlgr, 0, 5, 0 },
		{ "DLGR with a quotient of 2^64", div_dlgr, 1, 0, 1 },
		{ "DSGR by 0", div_dsgr, 0, 5, 0 },
		{ "DSGR of -2^63 by -1", div_dsgr, 0, 1ull << 63, -1ull },
		{ "DSGFR of -2^63 by -1", div_dsgfr, 0, 1ull << 63, 0xffffffff },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct run r = state(cases[i].r2, cases[i].r3, cases[i].r4, 0);

		run_in(&r, PSW_64, cases[i].code);
		ok(r.exit == RUN_PGM && r.code == PGM_FIXED_DIVIDE &&
		   r.gr[2] == cases[i].r2 && r.gr[3] == cases[i].r3,
		   "%s is suppressed", cases[i].name);
	}
}

/* ---- Linkage and modes ---- */

SNIPPET(link_bal, "bal 2,0(4)\nsvc 0");
SNIPPET(link_bas, "bas 2,0(4)\nsvc 0");
SNIPPET(link_balr0, "balr 2,0");
SNIPPET(link_bassm, "bassm 2,4\nsvc 0");
SNIPPET(link_bsm, "bsm 2,4\nsvc 0");
SNIPPET(link_bsm0, "bsm 2,0");
SNIPPET(link_target, "nopr");

static void linkage(void)
{
	const uint64_t target = (uintptr_t)link_target;
	struct run r;

	r = state(-1ull, 0, target, 0);
	run_in(&r, PSW_CC(2) | PSW_PM(5), link_bal);
	check_eq(r.gr[2], 0xffffffff00000000 | 2u << 30 | 2 << 28 | 5 << 24 |
		 ((uintptr_t)link_bal + 4), "BAL links everything in the 24-bit mode");
	r = state(-1ull, 0, target, 0);
	run_in(&r, PSW_CC(2) | PSW_PM(5), link_balr0);
	check_eq(r.gr[2], 0xffffffff00000000 | 1u << 30 | 2 << 28 | 5 << 24 |
		 ((uintptr_t)link_balr0 + 2), "BALR without a branch links");
	r = state(-1ull, 0, target, 0);
	run_in(&r, PSW_BA | PSW_CC(2), link_bal);
	check_eq(r.gr[2], 0xffffffff80000000 | ((uintptr_t)link_bal + 4),
		 "BAL links address and mode in the 31-bit mode");
	r = state(-1ull, 0, target, 0);
	run_in(&r, PSW_CC(2) | PSW_PM(5), link_bas);
	check_eq(r.gr[2], 0xffffffff00000000 | ((uintptr_t)link_bas + 4),
		 "BAS links an address in the 24-bit mode");
	r = state(-1ull, 0, target, 0);
	run_in(&r, PSW_64, link_bas);
	check_eq(r.gr[2], (uintptr_t)link_bas + 4, "BAS links 64 bits in the 64-bit mode");

	static const uint64_t modes[] = { 0, PSW_BA, PSW_64 };
	static const uint64_t marks[] = { 0, 0x80000000, 1 };

	for (unsigned from = 0; from < 3; from++) {
		for (unsigned to = 0; to < 3; to++) {
			uint64_t behind = (uintptr_t)link_bassm + 2;

			r = state(-1ull << 32, 0, target | marks[to], 0);
			run_in(&r, modes[from], link_bassm);
			ok(r.exit == RUN_SVC && r.code == DONE &&
			   (r.psw.mask & PSW_64) == modes[to],
			   "BASSM from mode %u to %u", from, to);
			check_eq(r.gr[2], (from == 2 ? 0 : -1ull << 32) | behind | marks[from],
				 "BASSM from mode %u to %u says where it was", from, to);

			r = state(0x55aa00007ffffff0, 0, target | marks[to], 0);
			run_in(&r, modes[from], link_bsm);
			ok(r.exit == RUN_SVC && r.code == DONE &&
			   (r.psw.mask & PSW_64) == modes[to],
			   "BSM from mode %u to %u", from, to);
			check_eq(r.gr[2], 0x55aa00007ffffff0 | marks[from],
				 "BSM from mode %u to %u changes one bit of R1", from, to);
		}
	}
	r = state(0x80000000, 0, 0, 0);
	run_in(&r, 0, link_bsm0);
	ok(r.exit == RUN_SVC && r.code == DONE && !r.gr[2] && !(r.psw.mask & PSW_64),
	   "BSM without R2 only saves the mode");
}

/* ---- Program mask, access registers ---- */

SNIPPET(spm_ipm, "spm 2\nipm 3");
SNIPPET(ears, "sar 2,3\ncpya 4,2\near 5,4");
SNIPPET(lae_, "lae 2,8(3,4)");

static void registers(void)
{
	static const struct {
		uint64_t space;
		uint32_t alet;
	} spaces[] = {
		{ PSW_PRIMARY, 0 }, { PSW_SECONDARY, 1 }, { PSW_HOME, 2 }, { PSW_AR, 0x1234 },
	};
	struct run r = state(0x2a000000, -1ull, 0, 0);

	run_in(&r, PSW_64, spm_ipm);
	check_eq(r.gr[3], 0xffffffff2affffff, "IPM gives what SPM has set");
	check_eq(r.psw.mask >> 40 & 0xff, 0x2a, "SPM sets code and program mask");

	r = state(0, 0xa5a5a5a5cafe0001, 0, -1ull);
	run_in(&r, PSW_64, ears);
	check_eq(r.ar[2], 0xcafe0001, "SAR sets an access register");
	check_eq(r.ar[4], 0xcafe0001, "CPYA copies it");
	check_eq(r.gr[5], 0xffffffffcafe0001, "EAR gives it to the right half");

	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
		r = state(0, 0x100, 0x20, 0);
		r.ar[2] = 77;
		r.ar[4] = 0x1234;
		run_in(&r, PSW_64 | spaces[i].space, lae_);
		check_eq(r.gr[2], 0x128, "LAE loads the address, space %u", i);
		check_eq(r.ar[2], spaces[i].alet, "LAE names the space %u", i);
	}
}

/* ---- Caches ---- */

SNIPPET(ecag_, "ecag 2,0,0(3)");

static uint64_t ecag(unsigned attribute, unsigned level, unsigned type)
{
	struct run r = state(0, attribute << 4 | level << 1 | type, 0, 0);

	run_in(&r, PSW_64, ecag_);
	return r.gr[2];
}

static void caches(void)
{
	uint64_t topology = ecag(0, 0, 0);
	bool sane = true, absent = true;

	for (unsigned level = 0; level < 8; level++) {
		uint64_t summary = topology >> (56 - 8 * level) & 0xff;

		for (unsigned type = 0; type < 2; type++) {
			uint64_t line = ecag(1, level, type);
			uint64_t size = ecag(2, level, type);
			uint64_t ways = ecag(3, level, type);

			if (summary >> 2 & 3)
				sane &= line && size && ways && size % (line * ways) == 0;
			else
				absent &= line == -1ull && size == -1ull && ways == -1ull;
		}
	}
	ok(topology >> 56, "ECAG: there is a first level");
	ok(sane, "ECAG: lines, ways and size of each level go together");
	ok(absent, "ECAG: a level that is not there answers -1");
	check_eq(ecag(5, 0, 0), -1ull, "ECAG: no such attribute");
}

/* ---- Compare and swap and store ---- */

SNIPPET(csst_, "csst 0(2),0(3),4");

static void swap_and_store(void)
{
	static uint64_t first[2] __attribute__((aligned(16)));
	static uint64_t second[2] __attribute__((aligned(16)));
	static uint64_t list[4] __attribute__((aligned(16)));

	for (unsigned fc = 0; fc <= 2; fc++) {
		for (unsigned sc = 0; sc <= 4; sc++) {
			for (unsigned equal = 0; equal < 2; equal++) {
				const uint64_t a = 0x1111111122222222, b = 0x3333333344444444;
				const uint64_t x = 0x5555555566666666, y = 0x7777777788888888;
				const uint64_t sv = 0x0102030405060708, tv = 0x090a0b0c0d0e0f10;
				struct run r = state((uintptr_t)first, (uintptr_t)second, a, b);
				uint64_t want_first[2] = { a, b }, want_second[2] = { 0, 0 };
				bool good;

				first[0] = a;
				first[1] = b;
				second[0] = second[1] = 0;
				list[0] = x;
				list[1] = y;
				list[2] = sv;
				list[3] = tv;
				barrier();
				r.gr[0] = sc << 8 | fc;
				r.gr[1] = (uintptr_t)list;
				if (fc == 0)
					r.gr[4] = 0xffffffff00000000 | a >> 32;
				if (!equal)
					r.gr[4] ^= 1;
				if (equal) {
					memcpy(want_first, list, 4u << fc);
					memcpy(want_second, &list[2], 1u << sc);
				}
				run_in(&r, PSW_64, csst_);
				barrier();
				good = r.exit == RUN_SVC && CC(&r) == !equal &&
				       !memcmp(first, want_first, 16) &&
				       !memcmp(second, want_second, 16) &&
				       r.gr[4] == (fc ? a : 0xffffffff00000000 | a >> 32) &&
				       r.gr[5] == b;
				ok(good, "CSST function %u, storing %u bytes, %s", fc, 1u << sc,
				   equal ? "equal" : "unequal");
			}
		}
	}
}

/* ---- Perform locked operation ---- */

SNIPPET(plo_, "plo 4,0(2),6,0(3)");

/* An operand of 4, 8 or 16 bytes that says who it is. */
static void fill(uint8_t *p, unsigned size, uint8_t what)
{
	memset(p, what, size);
}

struct plo_memory {
	uint8_t op[9][16]; /* operand n at op[n] */
	uint8_t list[144];
} __attribute__((aligned(16)));

/* Where the parameter list has a value of an operand, and an address. */
static uint8_t *slot(struct plo_memory *m, unsigned offset, unsigned size)
{
	return m->list + offset + 16 - size;
}

/*
 * One function code. `outcome` is the condition code that is to come of it. The
 * operands are bytes of 0xnn, nn the number of the operand, 0x1c what the first is
 * compared with, 0x1e what takes its place.
 */
static void locked_operation(unsigned code, unsigned outcome)
{
	static struct plo_memory m, before;
	unsigned operation = code / 4, form = code % 4;
	unsigned size = form == 0 ? 4 : form == 3 ? 16 : 8;
	bool in_registers = form == 0 || form == 2;
	bool listed = !in_registers || operation >= 4;
	uint64_t all = size == 4 ? 0xffffffff : -1ull, keep = ~all, ones = 0x0101010101010101;
	struct run r = state((uintptr_t)m.op[2], 0, 0, 0);
	uint64_t want_gr[16];
	bool good = true;

	memset(&m, 0, sizeof(m));
	for (unsigned n = 2; n <= 8; n += 2)
		fill(m.op[n], size, (uint8_t)n);
	r.gr[3] = listed ? (uintptr_t)m.list : (uintptr_t)m.op[4];
	for (unsigned n = 4; n < 8; n++)
		r.gr[n] = keep & 0xdead00000000;
	r.gr[0] = code;
	r.gr[1] = 0x1000;
	if (in_registers) {
		r.gr[4] |= all & ones * (outcome == 1 ? 0x1c : 2);
		r.gr[5] |= all & ones * 0x1e;
		r.gr[6] |= all & ones * (operation == 2 && outcome != 2 ? 4 : 0x3c);
		r.gr[7] |= all & ones * 0x3e;
	} else {
		fill(slot(&m, 0, size), size, outcome == 1 ? 0x1c : 2);
		fill(slot(&m, 16, size), size, 0x1e);
		fill(slot(&m, 32, size), size, operation == 2 && outcome != 2 ? 4 : 0x3c);
	}
	if (listed) {
		fill(slot(&m, 48, size), size, 0x3e);
		fill(slot(&m, 80, size), size, 0x5e);
		fill(slot(&m, 112, size), size, 0x7e);
		*(uint64_t *)(m.list + 72) = (uintptr_t)m.op[4];
		*(uint64_t *)(m.list + 104) = (uintptr_t)m.op[6];
		*(uint64_t *)(m.list + 136) = (uintptr_t)m.op[8];
	}
	before = m;
	memcpy(want_gr, r.gr, sizeof(want_gr));
	barrier();
	run_in(&r, PSW_64, plo_);
	barrier();

	if (outcome == 1) {
		if (in_registers)
			want_gr[4] = (want_gr[4] & keep) | (all & ones * 2);
		else
			fill(slot(&before, 0, size), size, 2);
	} else if (outcome == 2 || operation == 0) {
		if (in_registers)
			want_gr[6] = (want_gr[6] & keep) | (all & ones * 4);
		else
			fill(slot(&before, 32, size), size, 4);
	} else {
		fill(before.op[2], size, 0x1e);
		if (operation == 2 || operation >= 3)
			fill(before.op[4], size,
			     operation == 3 && in_registers ? 0x3c : 0x3e);
		if (operation >= 4)
			fill(before.op[6], size, 0x5e);
		if (operation >= 5)
			fill(before.op[8], size, 0x7e);
	}
	for (unsigned n = 0; n < 16; n++)
		good &= r.gr[n] == want_gr[n];
	good &= r.exit == RUN_SVC && r.code == DONE && CC(&r) == outcome &&
		!memcmp(&m, &before, sizeof(m));
	ok(good, "PLO function %u, code %u", code, outcome);
	if (!good)
		note("exit %u code %x cc %u r4 %lx r6 %lx", r.exit, r.code, CC(&r), r.gr[4],
		     r.gr[6]);
}

static void locked_operations(void)
{
	struct run r = state(0, 0, 0, 0);

	for (unsigned code = 0; code < 24; code++) {
		for (unsigned outcome = 0; outcome <= (code / 4 == 2 ? 2 : 1); outcome++)
			locked_operation(code, outcome);
	}
	r.gr[0] = 0x100 | 23;
	run_in(&r, PSW_64, plo_);
	check_eq(CC(&r), 0, "PLO knows function 23");
	r = state(0, 0, 0, 0);
	r.gr[0] = 0x100 | 24;
	run_in(&r, PSW_64, plo_);
	check_eq(CC(&r), 3, "PLO does not know function 24");
}

void guest_main(void)
{
	traps();
	overflows();
	divides();
	linkage();
	registers();
	caches();
	swap_and_store();
	locked_operations();
}
