/* SPDX-License-Identifier: MIT */
/*
 * Program interruptions with DAT off: code, instruction-length code, and where
 * the old PSW points. Sources: Principles of Operation, chapter 6 ("Program
 * Interruption", "Program-Interruption Conditions", "Instruction-Length Code").
 */
#include "lib/guest.h"

#define BEYOND 0x7fff00000000ull	/* no memory is there */

/* Operation exceptions of each length. */
SNIPPET(op_2, ".short 0x0000");
SNIPPET(op_4, ".long 0xb2ff0000");
SNIPPET(op_6, ".short 0xe3ff,0,0xff");
SNIPPET(op_6c, ".short 0xc0f2,0,0");

/* Privileged operations; the operands are good. */
SNIPPET(priv_ssm, "ssm 0(2)");
SNIPPET(priv_stnsm, "stnsm 0(2),0xff");
SNIPPET(priv_stosm, "stosm 0(2),0");
SNIPPET(priv_lpsw, "lpsw 0(2)");
SNIPPET(priv_lpswe, "lpswe 0(2)");
SNIPPET(priv_lctl, "lctl 0,0,0(2)");
SNIPPET(priv_lctlg, "lctlg 0,0,0(2)");
SNIPPET(priv_stctg, "stctg 0,0,0(2)");
SNIPPET(priv_stctl, "stctl 0,0,0(2)");
SNIPPET(priv_sigp, "sigp 0,2,0");
SNIPPET(priv_diag, ".insn rs,0x83000000,0,0,0x44(0)");
SNIPPET(priv_spx, "spx 0(2)");
SNIPPET(priv_stpx, "stpx 0(2)");
SNIPPET(priv_stap, "stap 0(2)");
SNIPPET(priv_stidp, "stidp 0(2)");
SNIPPET(priv_sck, "sck 0(2)");
SNIPPET(priv_sckc, "sckc 0(2)");
SNIPPET(priv_stckc, "stckc 0(2)");
SNIPPET(priv_spt, "spt 0(2)");
SNIPPET(priv_stpt, "stpt 0(2)");
SNIPPET(priv_ptlb, "ptlb");
SNIPPET(priv_ipte, "ipte 3,4");
SNIPPET(priv_iske, "iske 3,2");
SNIPPET(priv_sske, "sske 3,2");
SNIPPET(priv_rrbe, "rrbe 3,2");
SNIPPET(priv_tprot, "tprot 0(2),0");
SNIPPET(priv_lra, "lra 3,0(2)");
SNIPPET(priv_lrag, "lrag 3,0(2)");
SNIPPET(priv_lura, "lura 3,2");
SNIPPET(priv_lurag, "lurag 3,2");
SNIPPET(priv_stura, "stura 3,2");
SNIPPET(priv_sturg, "sturg 3,2");
SNIPPET(priv_stsi, "stsi 0(2)");
SNIPPET(priv_csp, "csp 4,6");
SNIPPET(priv_cspg, "cspg 4,6");
SNIPPET(priv_stfl, "stfl 0(0)");
SNIPPET(priv_servc, ".insn rre,0xb2200000,3,2");
SNIPPET(priv_tb, "tb 0,2");
SNIPPET(priv_palb, "palb");
SNIPPET(priv_ptff_set, "lghi 0,0x40\n.insn e,0x0104");
SNIPPET(priv_idte, "idte 4,6,8");
SNIPPET(priv_mvcp, "mvcp 0(4,2),0(2),3");
SNIPPET(priv_ssch, "ssch 0(2)");
SNIPPET(priv_stsch, "stsch 0(2)");
SNIPPET(priv_tpi, "tpi 0(2)");
SNIPPET(priv_chsc, ".insn rre,0xb25f0000,2,0");

static const struct {
	const char *name;
	const char *code;
} privileged[] = {
#define P(x) { #x, priv_##x }
	P(ssm), P(stnsm), P(stosm), P(lpsw), P(lpswe), P(lctl), P(lctlg),
	P(stctg), P(stctl), P(sigp), P(diag), P(spx), P(stpx), P(stap), P(stidp),
	P(sck), P(sckc), P(stckc), P(spt), P(stpt), P(ptlb), P(ipte), P(iske),
	P(sske), P(rrbe), P(tprot), P(lra), P(lrag), P(lura), P(lurag), P(stura),
	P(sturg), P(stsi), P(csp), P(cspg), P(stfl), P(servc), P(tb), P(palb),
	P(idte), P(ssch), P(stsch), P(tpi), P(chsc),
#undef P
};

SNIPPET(lpswe_bad, "lpswe 0(2)");
SNIPPET(spec_mr_odd, ".insn rr,0x1c00,3,4");
SNIPPET(spec_dlg_odd, ".insn rre,0xb9870000,3,4");
SNIPPET(spec_lpsw_align, "lpsw 4(2)");
SNIPPET(spec_lctlg_align, "lctlg 0,0,4(2)");
SNIPPET(spec_stctg_align, "stctg 0,0,4(2)");
SNIPPET(spec_cs_align, "cs 4,6,2(2)");
SNIPPET(spec_csg_align, "csg 4,6,4(2)");
SNIPPET(spec_cdsg_align, "cdsg 4,6,8(2)");
SNIPPET(spec_cdsg_odd, ".insn rsy,0xeb000000003e,5,6,0(2)");
SNIPPET(spec_mvcl_odd, ".insn rr,0x0e00,5,6");
SNIPPET(spec_mvcle_odd, ".insn rs,0xa8000000,4,7,0");
SNIPPET(spec_lpq_odd, ".insn rxy,0xe3000000008f,5,0(2)");
SNIPPET(spec_lpq_align, "lpq 4,8(2)");
SNIPPET(spec_lxr_odd, ".insn rre,0xb34a0000,2,4");
SNIPPET(spec_lrl, ".insn ril,0xc40d00000000,4,.+2");
SNIPPET(spec_ex_odd, "ex 0,1(2)");
SNIPPET(spec_mc, "mc 0,0x10");
SNIPPET(spec_bc_odd, "b 1(2)");
SNIPPET(spec_sske_none, "nopr");
SNIPPET(spec_mp_long, "mp 0(3,2),0(10,2)");
SNIPPET(spec_dp_l1l2, "dp 0(3,2),0(3,2)");
SNIPPET(spec_stsi_align, "stsi 8(2)");
SNIPPET(spec_plo, "plo 4,0(2),6,0(2)");
SNIPPET(spec_stfle, ".insn s,0xb2b00000,4(2)");

static const struct {
	const char *name;
	const char *code;
} specification[] = {
#define S(x, what) { what, spec_##x }
	S(mr_odd, "MR with an odd R1"),
	S(dlg_odd, "DLGR with an odd R1"),
	S(lpsw_align, "LPSW not on a doubleword"),
	S(lctlg_align, "LCTLG not on a doubleword"),
	S(stctg_align, "STCTG not on a doubleword"),
	S(cs_align, "CS not on a word"),
	S(csg_align, "CSG not on a doubleword"),
	S(cdsg_align, "CDSG not on a quadword"),
	S(cdsg_odd, "CDSG with an odd R1"),
	S(mvcl_odd, "MVCL with an odd R1"),
	S(mvcle_odd, "MVCLE with an odd R3"),
	S(lpq_odd, "LPQ with an odd R1"),
	S(lpq_align, "LPQ not on a quadword"),
	S(lxr_odd, "AXBR with a register of no pair"),
	S(lrl, "LRL not on a word"),
	S(ex_odd, "EX of an odd address"),
	S(mc, "MC with a class above 15"),
	S(mp_long, "MP with L2 above 7"),
	S(dp_l1l2, "DP with L2 not below L1"),
	S(stsi_align, "STSI not on a page"),
	S(plo, "PLO with an unknown function code"),
	S(stfle, "STFLE not on a doubleword"),
#undef S
};

SNIPPET(addr_lg, "lg 4,0(3)");
SNIPPET(addr_stg, "stg 4,0(3)");
SNIPPET(addr_l, "l 4,0(3)");
SNIPPET(addr_mvc, "mvc 0(8,2),0(3)");
SNIPPET(addr_mvc_to, "mvc 0(8,3),0(2)");
SNIPPET(addr_lctlg, "lctlg 0,0,0(3)");
SNIPPET(addr_cs, "cs 4,6,0(3)");
SNIPPET(addr_lmg, "lmg 4,5,0(3)");
SNIPPET(addr_lhi, "lh 4,0(3)");
SNIPPET(addr_iske, "iske 4,3");
SNIPPET(addr_sske, "sske 4,3");
SNIPPET(addr_rrbe, "rrbe 4,3");
SNIPPET(addr_spx, "spx 0(2)");
SNIPPET(addr_ex, "ex 0,0(3)");

static const struct {
	const char *name;
	const char *code;
} addressing[] = {
#define A(x) { #x, addr_##x }
	A(lg), A(stg), A(l), A(mvc), A(mvc_to), A(lctlg), A(cs), A(lmg), A(lhi),
	A(iske), A(sske), A(rrbe), A(ex),
#undef A
};

SNIPPET(exec_ex, "ex 0,0(2)");
SNIPPET(exec_exrl, ".insn ril,0xc60000000000,0,exec_target");
SNIPPET(exec_target, "ex 0,0(2)");

SNIPPET(div_dr, "dr 4,6");
SNIPPET(div_dlgr, "dlgr 4,6");
SNIPPET(div_dsgr, "dsgr 4,6");
SNIPPET(div_dsgr_min, "dsgr 4,6");
SNIPPET(ovf_ar, "ar 4,6");
SNIPPET(ovf_agr, "agr 4,6");
SNIPPET(ovf_lcr, "lcr 4,4");
SNIPPET(data_ap, "ap 0(4,2),4(4,2)");
SNIPPET(data_cvb, "cvb 4,0(2)");
SNIPPET(data_adb, "adbr %f0,%f2");
SNIPPET(data_crt, "crte 4,4");
SNIPPET(data_cgit, "cgite 4,7");
SNIPPET(data_clrt, "clrtl 4,6");
SNIPPET(trap2, "trap2");
SNIPPET(jump_there, "br 3");
SNIPPET(b_odd, "br 3");
SNIPPET(cc_pm, "spm 3");

static uint64_t area[512] __attribute__((aligned(4096)));
static uint64_t area2[64] __attribute__((aligned(4096)));

static struct run fresh(uint64_t mask, const void *code)
{
	struct run r = run_init(mask, code);

	r.gr[2] = (uint64_t)area;
	return r;
}

static void operations(void)
{
	struct run r;

	r = fresh(PSW_64, op_2);
	run(&r);
	expect_pgm(&r, PGM_OPERATION, op_2, SUPPRESSED, "operation, 2 bytes");
	r = fresh(PSW_64, op_4);
	run(&r);
	expect_pgm(&r, PGM_OPERATION, op_4, SUPPRESSED, "operation, 4 bytes");
	r = fresh(PSW_64, op_6);
	run(&r);
	expect_pgm(&r, PGM_OPERATION, op_6, SUPPRESSED, "operation, 6 bytes (E3)");
	r = fresh(PSW_64, op_6c);
	run(&r);
	expect_pgm(&r, PGM_OPERATION, op_6c, SUPPRESSED, "operation, 6 bytes (C0)");
}

static void privileges(void)
{
	struct run r;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(privileged); i++) {
		r = fresh(PSW_64 | PSW_PROBLEM, privileged[i].code);
		run(&r);
		expect_pgm(&r, PGM_PRIVILEGED, privileged[i].code, SUPPRESSED,
			   "%s in the problem state", privileged[i].name);
	}
	r = fresh(PSW_64 | PSW_PROBLEM, priv_ptff_set);
	run(&r);
	expect_pgm(&r, PGM_PRIVILEGED, priv_ptff_set + 4, SUPPRESSED,
		   "PTFF control function in the problem state");
}

static void specifications(void)
{
	struct run r;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(specification); i++) {
		uint64_t cr0 = ctl_store(0);

		ctl_load(0, cr0 | BIT64(45));	/* AFP registers */
		r = fresh(PSW_64, specification[i].code);
		/* Good operands for all but the thing that is wrong. */
		r.gr[0] = 0x7f;
		r.gr[4] = r.gr[6] = (uint64_t)area2;
		if (specification[i].code == spec_stsi_align)
			r.gr[0] = 0x10000001, r.gr[1] = 1;
		run(&r);
		ctl_load(0, cr0);
		expect_pgm(&r, PGM_SPECIFICATION, specification[i].code,
			   SUPPRESSED, "%s", specification[i].name);
	}

	/*
	 * A PSW of LPSWE that is wrong: the PSW is loaded first, and the
	 * exception is recognized with it, ILC 0 or 2 and the old PSW as loaded
	 * ("Early Exception Recognition").
	 */
	r = fresh(PSW_64, lpswe_bad);
	area[0] = PSW_EA;	/* 64-bit needs both */
	area[1] = 0x1234;
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "LPSWE of a mask with EA and no BA");
	check_eq(r.psw.addr, 0x1234, "its address is in the old PSW");
	check_eq(r.psw.mask, PSW_EA, "its mask is in the old PSW");
	area[0] = PSW_BA;	/* 31-bit: the address may have no more bits */
	area[1] = 0x80001234;
	r = fresh(PSW_64, lpswe_bad);
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "LPSWE of a 31-bit PSW with bit 32 of the address");
	check_eq(r.psw.addr, 0x80001234, "its address is in the old PSW");
	area[0] = 0;		/* 24-bit */
	area[1] = 0x1001234;
	r = fresh(PSW_64, lpswe_bad);
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "LPSWE of a 24-bit PSW with a longer address");
	area[0] = PSW_64 | BIT64(0);
	area[1] = 0x1234;
	r = fresh(PSW_64, lpswe_bad);
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "LPSWE of a mask with an unassigned bit");
	area[0] = PSW_64;
	area[1] = 0x12345;
	r = fresh(PSW_64, lpswe_bad);
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "LPSWE of an odd address");
	check_eq(r.psw.addr, 0x12345, "its address is in the old PSW");
	check_eq(r.ilc, 0, "ILC 0 after LPSWE of an odd address");

	r = fresh(PSW_64, b_odd);
	r.gr[3] = (uint64_t)area | 1;
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "a branch to an odd address");
	check_eq(r.psw.addr, (uint64_t)area | 1, "the odd address is in the old PSW");
}

static void addresses(void)
{
	struct run r;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(addressing); i++) {
		r = fresh(PSW_64, addressing[i].code);
		r.gr[3] = BEYOND;
		r.gr[4] = 0x1122334455667788;
		run(&r);
		expect_pgm(&r, PGM_ADDRESSING, addressing[i].code, SUPPRESSED,
			   "%s beyond memory", addressing[i].name);
		if (addressing[i].code[0] != (char)0xd2)
			check_eq(r.gr[4], 0x1122334455667788,
				 "%s beyond memory changes nothing",
				 addressing[i].name);
	}
	r = fresh(PSW_64, addr_lg);
	r.gr[3] = memory_size() - 8;
	run(&r);
	expect_done(&r, "lg of the last doubleword");
	r = fresh(PSW_64, addr_lg);
	r.gr[3] = memory_size() - 4;
	run(&r);
	expect_pgm(&r, PGM_ADDRESSING, addr_lg, SUPPRESSED,
		   "lg across the end of memory");
	r = fresh(PSW_64, addr_lg);
	r.gr[3] = -8ull;
	run(&r);
	expect_pgm(&r, PGM_ADDRESSING, addr_lg, SUPPRESSED,
		   "lg of the last address there is");
	area[0] = 0x7fffe000ull << 32;
	r = fresh(PSW_64, addr_spx);
	run(&r);
	expect_pgm(&r, PGM_ADDRESSING, addr_spx, SUPPRESSED, "spx beyond memory");

	/* The fetch of the instruction itself: nothing is known of its length. */
	r = fresh(PSW_64, jump_there);
	r.gr[3] = BEYOND;
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_ADDRESSING, "a branch beyond memory");
	ok(r.psw.addr - BEYOND <= 6, "the old PSW points there");
}

static void execute(void)
{
	struct run r;

	r = fresh(PSW_64, exec_ex);
	r.gr[2] = (uint64_t)exec_target;
	run(&r);
	expect_pgm(&r, PGM_EXECUTE, exec_ex, SUPPRESSED, "EX of EX");
	r = fresh(PSW_64, exec_exrl);
	run(&r);
	expect_pgm(&r, PGM_EXECUTE, exec_exrl, SUPPRESSED, "EXRL of EX");
	r = fresh(PSW_64, exec_ex);
	r.gr[2] = (uint64_t)op_2;
	run(&r);
	expect_pgm(&r, PGM_OPERATION, exec_ex, SUPPRESSED,
		   "EX of an invalid operation has EX's length");
	r = fresh(PSW_64 | PSW_PROBLEM, exec_ex);
	r.gr[2] = (uint64_t)priv_iske;
	run(&r);
	expect_pgm(&r, PGM_PRIVILEGED, exec_ex, SUPPRESSED,
		   "EX of a privileged operation");
}

static void arithmetic(void)
{
	uint64_t cr0 = ctl_store(0);
	struct run r;

	r = fresh(PSW_64, div_dr);
	r.gr[4] = 1;
	run(&r);
	expect_pgm(&r, PGM_FIXED_DIVIDE, div_dr, SUPPRESSED, "DR by zero");
	check_eq(r.gr[4], 1, "and the dividend is as it was");
	r = fresh(PSW_64, div_dr);
	r.gr[4] = 1, r.gr[6] = 1;
	run(&r);
	expect_pgm(&r, PGM_FIXED_DIVIDE, div_dr, SUPPRESSED, "DR too large");
	r = fresh(PSW_64, div_dlgr);
	r.gr[4] = 1, r.gr[6] = 1;
	run(&r);
	expect_pgm(&r, PGM_FIXED_DIVIDE, div_dlgr, SUPPRESSED, "DLGR too large");
	r = fresh(PSW_64, div_dsgr);
	r.gr[5] = 1;
	run(&r);
	expect_pgm(&r, PGM_FIXED_DIVIDE, div_dsgr, SUPPRESSED, "DSGR by zero");
	r = fresh(PSW_64, div_dsgr_min);
	r.gr[5] = BIT64(0), r.gr[6] = -1ull;
	run(&r);
	expect_pgm(&r, PGM_FIXED_DIVIDE, div_dsgr_min, SUPPRESSED,
		   "DSGR of the smallest by -1");

	r = fresh(PSW_64, ovf_ar);
	r.gr[4] = 0x7fffffff, r.gr[6] = 1;
	run(&r);
	expect_done(&r, "AR overflow with the mask off");
	check_eq(PSW_CC_GET(r.psw.mask), 3, "sets cc 3");
	r = fresh(PSW_64 | PSW_PM(8), ovf_ar);
	r.gr[4] = 0x7fffffff, r.gr[6] = 1;
	run(&r);
	expect_pgm(&r, PGM_FIXED_OVERFLOW, ovf_ar, SUPPRESSED,
		   "AR overflow with the mask on");
	check_eq(r.gr[4], 0x80000000, "has completed: the result");
	check_eq(PSW_CC_GET(r.psw.mask), 3, "has completed: cc 3");
	r = fresh(PSW_64 | PSW_PM(8), ovf_agr);
	r.gr[4] = 0x7fffffffffffffff, r.gr[6] = 1;
	run(&r);
	expect_pgm(&r, PGM_FIXED_OVERFLOW, ovf_agr, SUPPRESSED,
		   "AGR overflow with the mask on");
	check_eq(r.gr[4], BIT64(0), "has completed");
	r = fresh(PSW_64 | PSW_PM(8), ovf_lcr);
	r.gr[4] = 0x80000000;
	run(&r);
	expect_pgm(&r, PGM_FIXED_OVERFLOW, ovf_lcr, SUPPRESSED,
		   "LCR overflow with the mask on");

	area[0] = 0x0000000c0000000a;	/* the sign of the second is good... */
	area[1] = 0;
	r = fresh(PSW_64, data_ap);
	area[0] = 0x0000000c0000a00c;	/* ... and one digit is not */
	run(&r);
	expect_pgm(&r, PGM_DATA, data_ap, SUPPRESSED, "AP with a bad digit");
	check_eq(r.dxc & 0xff, 0, "its data-exception code is 0");
	area[0] = 0x0000000000000001;
	r = fresh(PSW_64, data_cvb);
	run(&r);
	expect_pgm(&r, PGM_DATA, data_cvb, SUPPRESSED, "CVB with a bad sign");
	area[0] = 0x000002147483648c;
	r = fresh(PSW_64, data_cvb);
	run(&r);
	expect_pgm(&r, PGM_FIXED_DIVIDE, data_cvb, SUPPRESSED, "CVB too large");
	check_eq(r.gr[4] & 0xffffffff, 0x80000000, "has completed: the low 32 bits");

	/* Floating point wants the AFP-register control of CR0. */
	ctl_load(0, cr0 & ~BIT64(45));
	r = fresh(PSW_64, data_adb);
	run(&r);
	expect_pgm(&r, PGM_DATA, data_adb, SUPPRESSED,
		   "BFP instruction without the AFP-register control");
	check_eq(r.dxc, 2, "its data-exception code is 2");
	ctl_load(0, cr0 | BIT64(45));
	r = fresh(PSW_64, data_adb);
	run(&r);
	expect_done(&r, "BFP instruction with the AFP-register control");
	ctl_load(0, cr0);

	r = fresh(PSW_64, data_crt);
	run(&r);
	expect_pgm(&r, PGM_DATA, data_crt, SUPPRESSED, "CRT traps");
	check_eq(r.dxc, 0xff, "its data-exception code is 0xff");
	r = fresh(PSW_64, data_cgit);
	r.gr[4] = 7;
	run(&r);
	expect_pgm(&r, PGM_DATA, data_cgit, SUPPRESSED, "CGIT traps");
	r = fresh(PSW_64, data_clrt);
	r.gr[4] = 7, r.gr[6] = 7;
	run(&r);
	expect_done(&r, "CLRT that does not trap");
}

SNIPPET(mode_24, "l 4,0(3)");
SNIPPET(mode_lpsw, "lpsw 0(2)");
SNIPPET(mode_bsm, "bsm 4,3");
SNIPPET(mode_basr, "basr 4,0");
SNIPPET(mode_la, "la 4,0x123(3)");

static void modes(void)
{
	struct run r;

	area[0] = 0x11223344aabbccdd;
	r = fresh(0, mode_24);
	r.gr[3] = 0xffffffff00000000 | (uint64_t)area | 0xff000000;
	run(&r);
	expect_done(&r, "24-bit addressing ignores bits 0-39");
	check_eq(r.gr[4], 0x11223344, "and loads from the low 24 bits");
	r = fresh(PSW_BA, mode_24);
	r.gr[3] = 0xffffffff00000000 | (uint64_t)area | 0x80000000;
	run(&r);
	expect_done(&r, "31-bit addressing ignores bits 0-32");
	check_eq(r.gr[4], 0x11223344, "and loads from the low 31 bits");
	r = fresh(0, mode_la);
	r.gr[3] = 0xffffff, r.gr[4] = -1ull;
	run(&r);
	check_eq(r.gr[4], 0xffffffff00000122, "LA wraps at 24 bits");
	r = fresh(PSW_BA, mode_la);
	r.gr[3] = 0x7fffffff, r.gr[4] = -1ull;
	run(&r);
	check_eq(r.gr[4], 0xffffffff00000122, "LA wraps at 31 bits");
	r = fresh(PSW_BA, mode_basr);
	r.gr[4] = -1ull;
	run(&r);
	check_eq(r.gr[4], 0xffffffff80000000 | ((uint64_t)mode_basr + 2),
		 "BASR in 31-bit mode sets bit 32");
	r = fresh(0, mode_basr);
	r.gr[4] = -1ull;
	run(&r);
	check_eq(r.gr[4], 0xffffffff00000000 | ((uint64_t)mode_basr + 2),
		 "BASR in 24-bit mode leaves bits 0-31 and clears 32-39");

	/* LPSW expands an ESA/390 PSW; bit 12 of it must be one. */
	area[0] = BIT64(12) | BIT64(32) | (uint64_t)mode_lpsw_end;
	r = fresh(PSW_64, mode_lpsw);
	run(&r);
	expect_done(&r, "LPSW of a 31-bit PSW");
	check_eq(r.psw.mask, PSW_BA, "sets the 31-bit mode, bit 12 is gone");
	area[0] = BIT64(32) | (uint64_t)mode_lpsw_end;
	r = fresh(PSW_64, mode_lpsw);
	run(&r);
	ok(r.exit == RUN_PGM && r.code == PGM_SPECIFICATION,
	   "LPSW of a PSW with bit 12 zero");
}

void guest_main(void)
{
	operations();
	privileges();
	specifications();
	addresses();
	execute();
	arithmetic();
	modes();
}
