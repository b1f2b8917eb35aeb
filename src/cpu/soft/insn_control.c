/* SPDX-License-Identifier: MIT */
/*
 * Control instructions: the PSW, control registers, clocks, supervisor and
 * monitor calls, and what a CPU says about itself. Those that have to do with
 * address spaces and storage keys are in insn_storage.c.
 *
 * Source: Principles of Operation, chapter 10 "Control Instructions", and
 * chapter 7 for STORE CLOCK, STORE FACILITY LIST EXTENDED and their like.
 */
#include "cpu/soft/complex.h"

static inline void require_aligned(struct vcpu *c, const struct op *o, uint64_t ea,
				   unsigned int size)
{
	if (unlikely(ea & (size - 1)))
		pgm(c, o, PGM_SPECIFICATION);
}

/* ---- PSW ---- */

/* These leave by themselves: the address comes from the new PSW. */
INSN_JUMP(lpswe)
{
	uint64_t ea = ea2(c, o), mask, addr;

	require_aligned(c, o, ea, 8);
	mask = ld64(c, o, ea, o->b2);
	addr = ld64(c, o, (ea + 8) & c->addr_mask, o->b2);
	leave_to(c, o, 0);
	c->s.breaking_event = op_address(c, o);
	psw_load(c, mask, addr);
	return &op_leave;
}

INSN_JUMP(lpsw)
{
	uint64_t ea = ea2(c, o), psw, mask;

	require_aligned(c, o, ea, 8);
	psw = ld64(c, o, ea, o->b2);
	/* The short format has bit 12 one, and the addressing mode in bits 31 and 32. */
	mask = (psw & ~0x7fffffffull) ^ PSW_BIT12;
	leave_to(c, o, 0);
	c->s.breaking_event = op_address(c, o);
	psw_load(c, mask, psw & 0x7fffffff);
	return &op_leave;
}

INSN_JUMP(svc)
{
	count_instructions(c, o);
	supervisor_call(c, o);
	return &op_leave;
}

/* The system mask: bits 0-7 of the PSW. A change may make it invalid. */
static void set_system_mask(struct vcpu *c, const struct op *o, uint8_t mask)
{
	uint64_t psw = (psw_current_mask(c) & ~(0xffull << 56)) | (uint64_t)mask << 56;

	psw_load(c, psw, op_next_address(c, o));
	/* The early exception it may raise shows the length of this instruction. */
	if (c->psw_invalid)
		c->per_length = o->length;
}

INSN_LAST(ssm)
{
	uint8_t mask;

	if (c->s.cr[0] & CR0_SSM_SUPPRESSION)
		pgm(c, o, PGM_SPECIAL_OPERATION);
	mask = ld8(c, o, ea2(c, o), o->b2);
	set_system_mask(c, o, mask);
}

INSN_LAST(stnsm)
{
	uint8_t mask = (uint8_t)(c->s.psw_mask >> 56);

	st8(c, o, ea1(c, o), o->b1, mask);
	set_system_mask(c, o, mask & (uint8_t)o->imm);
}

INSN_LAST(stosm)
{
	uint8_t mask = (uint8_t)(c->s.psw_mask >> 56);

	st8(c, o, ea1(c, o), o->b1, mask);
	set_system_mask(c, o, mask | (uint8_t)o->imm);
}

INSN_LAST(spka)
{
	unsigned int key = (unsigned int)(ea2(c, o) >> 4) & 15;

	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[3] << key & 0x80000000))
		pgm(c, o, PGM_PRIVILEGED);
	c->s.psw_mask = (c->s.psw_mask & ~PSW_KEY) | (uint64_t)key << PSW_KEY_SHIFT;
	mmu_update_space(c);
}

INSN(ipk)
{
	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[0] & CR0_EXTRACTION_AUTHORITY))
		pgm(c, o, PGM_PRIVILEGED);
	c->s.gr[2] = (c->s.gr[2] & ~0xffull) |
		     ((c->s.psw_mask & PSW_KEY) >> PSW_KEY_SHIFT) << 4;
}

INSN(epsw)
{
	uint64_t psw = psw_current_mask(c);

	set_lo32(c, o->r1, (uint32_t)(psw >> 32));
	if (o->r2)
		set_lo32(c, o->r2, (uint32_t)psw);
}

INSN_LAST(sac)
{
	unsigned int mode = (unsigned int)(ea2(c, o) >> 8) & 15;

	if (!(c->s.psw_mask & PSW_DAT) ||
	    (!(c->s.cr[0] & CR0_SECONDARY_SPACE) && mode != 2))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if (mode > 3)
		pgm(c, o, PGM_SPECIFICATION);
	if (mode == 3 && (c->s.psw_mask & PSW_PROBLEM))
		pgm(c, o, PGM_PRIVILEGED);
	/* The operand's order differs from the PSW's: 1 is secondary, 2 access-register. */
	c->s.psw_mask = (c->s.psw_mask & ~PSW_ASC) |
			(mode == 1 ? PSW_ASC_SECONDARY : mode == 2 ? PSW_ASC_AR :
			 mode == 3 ? PSW_ASC_HOME : PSW_ASC_PRIMARY);
	mmu_update_space(c);
}

INSN(iac)
{
	unsigned int asc = (unsigned int)((c->s.psw_mask & PSW_ASC) >> 46);
	unsigned int mode = asc == 1 ? 2 : asc == 2 ? 1 : asc;

	if (!(c->s.psw_mask & PSW_DAT))
		pgm(c, o, PGM_SPECIAL_OPERATION);
	if ((c->s.psw_mask & PSW_PROBLEM) && !(c->s.cr[0] & CR0_EXTRACTION_AUTHORITY))
		pgm(c, o, PGM_PRIVILEGED);
	c->s.gr[o->r1] = (c->s.gr[o->r1] & ~0xff00ull) | mode << 8;
	set_cc(c, mode);
}

/*
 * Addressing modes. It is the address of this instruction that has to be one of the new
 * mode; the next one's may wrap.
 */
static const struct op *set_mode(struct vcpu *c, const struct op *o, uint64_t mask, uint64_t bits)
{
	if (op_address(c, o) & ~mask)
		pgm(c, o, PGM_SPECIFICATION);
	leave_to(c, o, (op_address(c, o) + o->length) & mask);
	c->s.psw_mask = (c->s.psw_mask & ~(PSW_EA | PSW_BA)) | bits;
	c->addr_mask = mask;
	return &op_leave;
}

INSN_JUMP(sam24)
{
	return set_mode(c, o, 0xffffff, 0);
}

INSN_JUMP(sam31)
{
	return set_mode(c, o, 0x7fffffff, PSW_BA);
}

INSN_JUMP(sam64)
{
	return set_mode(c, o, ~0ull, PSW_EA | PSW_BA);
}

INSN(tam)
{
	set_cc(c, c->s.psw_mask & PSW_EA ? 3 : c->s.psw_mask & PSW_BA ? 1 : 0);
}

/* ---- Control registers ---- */

/* What follows from control registers from … to changing. */
static void control_changed(struct vcpu *c, const struct op *o, const uint64_t *old)
{
	const uint64_t translation = CR0_EDAT | CR0_LOW_ADDRESS_PROTECTION |
				     CR0_FETCH_PROTECTION_OVERRIDE |
				     CR0_STORAGE_PROTECTION_OVERRIDE;
	bool flush = (old[0] ^ c->s.cr[0]) & translation;

	for (unsigned int i = 9; i < 12; i++)
		flush |= old[i] != c->s.cr[i] && (c->s.psw_mask & PSW_PER);
	if (old[0] != c->s.cr[0]) {
		clock_update_pending(c, o);
		clock_arm(c);
	}
	psw_apply(c);
	if (flush)
		mmu_flush_all(c);
}

INSN_LAST(lctlg)
{
	unsigned int n = ((o->r3 - o->r1) & 15) + 1;
	uint64_t ea = ea2(c, o), old[16], new[16];

	require_aligned(c, o, ea, 8);
	memcpy(old, c->s.cr, sizeof(old));
	for (unsigned int i = 0; i < n; i++)
		new[i] = ld64(c, o, (ea + 8 * i) & c->addr_mask, o->b2);
	for (unsigned int i = 0; i < n; i++)
		__atomic_store_n(&c->s.cr[(o->r1 + i) & 15], new[i], __ATOMIC_RELAXED);
	control_changed(c, o, old);
}

INSN_LAST(lctl)
{
	unsigned int n = ((o->r3 - o->r1) & 15) + 1;
	uint64_t ea = ea2(c, o), old[16];
	uint32_t new[16];

	require_aligned(c, o, ea, 4);
	memcpy(old, c->s.cr, sizeof(old));
	for (unsigned int i = 0; i < n; i++)
		new[i] = ld32(c, o, (ea + 4 * i) & c->addr_mask, o->b2);
	for (unsigned int i = 0; i < n; i++) {
		unsigned int r = (o->r1 + i) & 15;

		__atomic_store_n(&c->s.cr[r], (c->s.cr[r] & 0xffffffff00000000ull) | new[i],
				 __ATOMIC_RELAXED);
	}
	control_changed(c, o, old);
}

INSN(stctg)
{
	unsigned int n = ((o->r3 - o->r1) & 15) + 1;
	uint64_t ea = ea2(c, o);
	struct span s;

	require_aligned(c, o, ea, 8);
	span_write(c, o, ea, o->b2, 8 * n, &s);
	for (unsigned int i = 0; i < n; i++)
		host_store64(span_at(&s, 8 * i), c->s.cr[(o->r1 + i) & 15]);
	span_written(c, &s);
}

INSN(stctl)
{
	unsigned int n = ((o->r3 - o->r1) & 15) + 1;
	uint64_t ea = ea2(c, o);
	struct span s;

	require_aligned(c, o, ea, 4);
	span_write(c, o, ea, o->b2, 4 * n, &s);
	for (unsigned int i = 0; i < n; i++)
		host_store32(span_at(&s, 4 * i), lo32(c->s.cr[(o->r1 + i) & 15]));
	span_written(c, &s);
}

/* ---- Clocks ---- */

INSN(stck)
{
	uint64_t ea = ea2(c, o);

	require_write(c, o, ea, o->b2, 8);
	st64(c, o, ea, o->b2, clock_tod_unique(c, o));
	set_cc(c, 0);
}

INSN(stckf)
{
	uint64_t ea = ea2(c, o);

	require_write(c, o, ea, o->b2, 8);
	st64(c, o, ea, o->b2, clock_tod(c, o));
	set_cc(c, 0);
}

/* Epoch index 0, the 64 bits of the clock, 40 more, the programmable field. */
INSN(stcke)
{
	uint8_t value[16] = { 0 };
	uint64_t tod = clock_tod_unique(c, o);
	struct span s;

	span_write(c, o, ea2(c, o), o->b2, sizeof(value), &s);
	store_be64(value + 1, tod);
	/* Bits 64 and up of the clock must not all be zero: they order what STCK orders. */
	value[9] = 0x10;
	store_be16(value + 14, (uint16_t)c->s.todpr);
	span_put(c, &s, value);
	set_cc(c, 0);
}

/* The guest sets its clock; Linux does not. The offset of all CPUs changes. */
INSN_LAST(sck)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	clock_set(c, o, ld64(c, o, ea, o->b2));
	set_cc(c, 0);
}

INSN_LAST(sckc)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	clock_set_comparator(c, o, ld64(c, o, ea, o->b2));
}

INSN(stckc)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	st64(c, o, ea, o->b2, c->s.clock_comparator);
}

INSN_LAST(spt)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	clock_set_cpu_timer(c, o, ld64(c, o, ea, o->b2));
}

INSN(stpt)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	require_write(c, o, ea, o->b2, 8);
	st64(c, o, ea, o->b2, clock_cpu_timer(c, o));
}

INSN(sckpf)
{
	if (c->s.gr[0] & 0xffff0000)
		pgm(c, o, PGM_SPECIFICATION);
	c->s.todpr = (uint16_t)c->s.gr[0];
}

/* EXTRACT CPU TIME: operand 1 minus the CPU timer, operand 2, and what R3 points to. */
INSN(ectg)
{
	uint64_t at3 = gr_address(c, o->r3);
	uint64_t first, second, third;

	first = ld64(c, o, ea1(c, o), o->b1);
	second = ld64(c, o, ea2(c, o), o->b2);
	third = ld64(c, o, at3, o->r3);
	c->s.gr[0] = first - clock_cpu_timer(c, o);
	c->s.gr[1] = second;
	c->s.gr[o->r3] = third;
}

/* PERFORM TIMING FACILITY FUNCTION: the queries; nothing steers this clock. */
INSN(ptff)
{
	unsigned int function = c->s.gr[0] & 0x7f;
	uint64_t ea = gr_address(c, 1);
	uint8_t block[32] = { 0 };
	size_t size;
	struct span s;

	switch (function) {
	case 0x00: /* PTFF-QAF: which functions there are, a bit each */
		size = 16;
		block[0] = 0xf0; /* QAF, QTO, QSI, QPT */
		break;
	case 0x01: /* PTFF-QTO: physical clock, TOD offset, logical and TOD epoch difference */
		size = 32;
		store_be64(block, clock_tod(c, o));
		break;
	case 0x02: { /* PTFF-QSI: physical clock, old and new episode, 56 bytes */
		uint8_t info[56] = { 0 };

		store_be64(info, clock_tod(c, o));
		span_write(c, o, ea, 1, sizeof(info), &s);
		span_put(c, &s, info);
		set_cc(c, 0);
		return;
	}
	case 0x03: /* PTFF-QPT: physical clock */
		size = 8;
		store_be64(block, clock_tod(c, o));
		break;
	default:
		if (c->s.gr[0] & 0x80)
			pgm(c, o, PGM_SPECIFICATION);
		set_cc(c, 3);
		return;
	}
	if (c->s.gr[0] & 0x80)
		pgm(c, o, PGM_SPECIFICATION);
	span_write(c, o, ea, 1, size, &s);
	span_put(c, &s, block);
	set_cc(c, 0);
}

/* ---- Prefix, identification, facilities ---- */

INSN_LAST(spx)
{
	uint64_t ea = ea2(c, o), prefix;

	require_aligned(c, o, ea, 4);
	prefix = ld32(c, o, ea, o->b2) & 0x7fffe000;
	if (!range_fits(prefix, 0x2000, c->complex->size))
		pgm(c, o, PGM_ADDRESSING);
	__atomic_store_n(&c->s.prefix, (uint32_t)prefix, __ATOMIC_RELAXED);
	/* What was decoded in the new lowcore is not kept from now on. */
	memory_written(c->complex, prefix, 0x2000);
	mmu_flush_all(c);
}

INSN(stpx)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 4);
	st32(c, o, ea, o->b2, c->s.prefix);
}

INSN(stap)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 2);
	st16(c, o, ea, o->b2, c->s.cpu_address);
}

INSN(stidp)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	st64(c, o, ea, o->b2, c->complex->config.model.cpu_id);
}

INSN(stfl)
{
	uint32_t list = (uint32_t)(c->complex->config.model.facilities[0] >> 32);

	store_be32(mmu_real(c, o, LC_STFL, 4), list);
	memory_written(c->complex, c->s.prefix + LC_STFL, 4);
}

INSN(stfle)
{
	const uint64_t *list = c->complex->config.model.facilities;
	unsigned int have = ARRAY_SIZE(c->complex->config.model.facilities);
	unsigned int wanted = (c->s.gr[0] & 0xff) + 1, n;
	uint64_t ea = ea2(c, o);
	struct span s;

	require_aligned(c, o, ea, 8);
	while (have > 1 && !list[have - 1])
		have--;
	n = MIN(have, wanted);
	span_write(c, o, ea, o->b2, 8 * n, &s);
	for (unsigned int i = 0; i < n; i++)
		host_store64(span_at(&s, 8 * i), list[i]);
	span_written(c, &s);
	c->s.gr[0] = (c->s.gr[0] & ~0xffull) | (have - 1);
	set_cc(c, wanted >= have ? 0 : 3);
}

/* LOAD PROGRAM PARAMETER: a register of the sampling facility, which has no other use. */
INSN(lpp)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, 8);
	ld64(c, o, ea, o->b2);
}

/* ---- Monitor call, trace ---- */

INSN(mc)
{
	unsigned int class = (unsigned int)o->imm;

	if (class & 0xf0)
		pgm(c, o, PGM_SPECIFICATION);
	if (!(c->s.cr[8] & (0x8000ull >> class)))
		return;
	c->monitor_class = (uint16_t)class;
	c->monitor_code = ea1(c, o);
	pgm_completed(c, o, PGM_MONITOR_EVENT);
}

/* TRACE: nothing to do while explicit tracing is off in CR12; no entries are written. */
INSN(trace)
{
	uint64_t ea = ea2(c, o);

	require_aligned(c, o, ea, o->length == 6 ? 8 : 4);
	if (c->s.cr[12] & 1)
		pgm(c, o, PGM_TRACE_TABLE);
}
