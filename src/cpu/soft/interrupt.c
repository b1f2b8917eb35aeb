/* SPDX-License-Identifier: MIT */
/*
 * Interruptions: program interruptions as instructions raise them, and
 * the external, I/O, machine-check and restart ones when they are pending and
 * enabled. The PSW swap, and what is stored in the lowcore with it.
 *
 * Source: Principles of Operation, chapter 6 "Interruption"; chapter 4
 * "Program-Event Recording"; chapter 3 "Assigned Storage Locations".
 */
#include "cpu/soft/complex.h"

/* ---- Lowcore: the two pages at the prefix ---- */

static uint8_t *lowcore_host(const struct vcpu *c, unsigned int offset)
{
	return c->complex->memory + c->s.prefix + offset;
}

uint64_t lowcore(const struct vcpu *c, unsigned int offset)
{
	return host_load64(lowcore_host(c, offset));
}

/* The whole of a lowcore store is reported once, by psw_swap(). */
static void lowcore_put16(struct vcpu *c, unsigned int offset, uint16_t v)
{
	host_store16(lowcore_host(c, offset), v);
}

static void lowcore_put32(struct vcpu *c, unsigned int offset, uint32_t v)
{
	host_store32(lowcore_host(c, offset), v);
}

static void lowcore_put64(struct vcpu *c, unsigned int offset, uint64_t v)
{
	host_store64(lowcore_host(c, offset), v);
}

/* ---- The PSW ---- */

uint64_t psw_current_mask(struct vcpu *c)
{
	return (c->s.psw_mask & ~PSW_CC) | (uint64_t)get_cc(c) << PSW_CC_SHIFT;
}

static void admit(struct vcpu *c, enum cpu_floating_class class, bool enabled, uint64_t mask)
{
	atomic_store_explicit(&c->admits[class], enabled ? mask : 0, memory_order_relaxed);
}

void psw_apply(struct vcpu *c)
{
	uint64_t mask = c->s.psw_mask;

	c->addr_mask = mask & PSW_EA ? ~0ull : mask & PSW_BA ? 0x7fffffffull : 0xffffffull;
	c->per_active = (mask & PSW_PER) &&
			(c->s.cr[9] & (CR9_BRANCH | CR9_IFETCH | CR9_STORE));
	mmu_update_space(c);
	c->window.barred = mask & PSW_PROBLEM ? 1 : 0;
	admit(c, CPU_FLOATING_IO, mask & PSW_IO, c->s.cr[6]);
	admit(c, CPU_FLOATING_EXTERNAL, mask & PSW_EXT, c->s.cr[0]);
	admit(c, CPU_FLOATING_MCHK, mask & PSW_MCHK, c->s.cr[14]);
	/* It may admit what was pending. This comes after the stores: see enabled_for(). */
	attention_set(c);
}

static bool psw_invalid(uint64_t mask, uint64_t addr)
{
	if (mask & PSW_RESERVED)
		return true;
	if ((mask & PSW_EA) && !(mask & PSW_BA))
		return true;
	if (!(mask & PSW_EA) && addr & ~(mask & PSW_BA ? 0x7fffffffull : 0xffffffull))
		return true;
	return false;
}

void psw_load(struct vcpu *c, uint64_t mask, uint64_t addr)
{
	bool per = c->per_active;

	c->s.psw_mask = mask & ~PSW_CC;
	c->s.psw_addr = addr;
	set_cc(c, (mask & PSW_CC) >> PSW_CC_SHIFT);
	psw_apply(c);
	if (per != c->per_active)
		mmu_flush_all(c);
	c->psw_invalid = psw_invalid(mask, addr);
}

/* Old PSW away, new PSW in. */
static void psw_swap(struct vcpu *c, unsigned int old, unsigned int new, uint64_t address)
{
	lowcore_put64(c, old, psw_current_mask(c));
	lowcore_put64(c, old + 8, address);
	memory_written(c->complex, c->s.prefix, 512);
	psw_load(c, lowcore(c, new), lowcore(c, new + 8));
}

void supervisor_call(struct vcpu *c, const struct op *o)
{
	uint64_t next = op_next_address(c, o);

	lowcore_put16(c, LC_SVC_ILC, o->length);
	lowcore_put16(c, LC_SVC_CODE, (uint16_t)o->imm);
	psw_swap(c, LC_SVC_OLD_PSW, LC_SVC_NEW_PSW, next);
}

/* ---- Program interruptions ---- */

_Noreturn void pgm(struct vcpu *c, const struct op *o, enum pgm_code code)
{
	c->pgm_code = (uint16_t)code;
	c->fault_op = o;
	siglongjmp(*c->escape, 1);
}

_Noreturn void pgm_data(struct vcpu *c, const struct op *o, uint8_t dxc)
{
	c->dxc = dxc;
	/* The data-exception code goes to the FPC register as well, when there is one. */
	if ((c->s.cr[0] & CR0_AFP) || dxc >= 4)
		c->s.fpc = (c->s.fpc & ~0xff00u) | (uint32_t)dxc << 8;
	pgm(c, o, PGM_DATA);
}

int vcpu_program(struct vcpu *c, enum pgm_code code)
{
	c->pgm_code = (uint16_t)code;
	c->fault_op = c->handler_op;
	return -14; /* -EFAULT */
}

/* Does the old PSW designate the instruction itself, to be executed again? */
static bool nullifying(uint16_t code)
{
	switch (code) {
	case PGM_SEGMENT_TRANSLATION: case PGM_PAGE_TRANSLATION:
	case PGM_REGION_FIRST_TRANSLATION: case PGM_REGION_SECOND_TRANSLATION:
	case PGM_REGION_THIRD_TRANSLATION: case PGM_ASCE_TYPE:
	case PGM_TRACE_TABLE: case PGM_AFX_TRANSLATION: case PGM_ASX_TRANSLATION:
	case PGM_LX_TRANSLATION: case PGM_EX_TRANSLATION: case PGM_PRIMARY_AUTHORITY:
	case PGM_SECONDARY_AUTHORITY: case PGM_ALET_SPECIFICATION ... PGM_EXTENDED_AUTHORITY:
	case PGM_STACK_FULL ... PGM_STACK_OPERATION: case PGM_LFX_TRANSLATION:
	case PGM_LSX_TRANSLATION:
		return true;
	default:
		return false;
	}
}

static bool has_teid(uint16_t code)
{
	switch (code) {
	case PGM_PROTECTION: case PGM_SEGMENT_TRANSLATION: case PGM_PAGE_TRANSLATION:
	case PGM_REGION_FIRST_TRANSLATION ... PGM_REGION_THIRD_TRANSLATION: case PGM_ASCE_TYPE:
	case PGM_ALET_SPECIFICATION ... PGM_EXTENDED_AUTHORITY:
		return true;
	default:
		return false;
	}
}

static void store_per(struct vcpu *c)
{
	/* ATMID: EA, 1 (valid), BA, DAT, ASC (chapter 4, "Identification of Cause"). */
	uint64_t mask = c->s.psw_mask;
	uint8_t atmid = (uint8_t)((mask & PSW_EA ? 0x80 : 0) | 0x40 | (mask & PSW_BA ? 0x20 : 0) |
				  (mask & PSW_DAT ? 0x10 : 0) | ((mask & PSW_ASC) >> 46) << 2);

	*lowcore_host(c, LC_PER_CODE) = c->per_code;
	*lowcore_host(c, LC_PER_ATMID) = atmid;
	lowcore_put64(c, LC_PER_ADDRESS, c->per_address);
}

/* Present pgm_code (and a PER event), raised at fault_op. psw_addr is its page's. */
void program_interruption(struct vcpu *c)
{
	const struct op *o = c->fault_op;
	uint16_t code = c->pgm_code;
	uint64_t address;
	unsigned int length;

	if (o) {
		address = nullifying(code) ? op_address(c, o) : op_next_address(c, o);
		length = o->length;
	} else { /* outside an instruction: psw_addr is right */
		address = c->s.psw_addr;
		length = c->per_length;
	}
	c->per_length = 0;
	c->pgm_code = 0;
	c->fault_op = NULL;

	lowcore_put16(c, LC_PGM_ILC, (uint16_t)length);
	lowcore_put16(c, LC_PGM_CODE, code | (c->per_code ? PGM_PER : 0));
	if (code == PGM_DATA)
		lowcore_put32(c, LC_DATA_EXC_CODE, c->dxc);
	if (code == PGM_MONITOR_EVENT) {
		lowcore_put16(c, LC_MONITOR_CLASS, c->monitor_class);
		lowcore_put64(c, LC_MONITOR_CODE, c->monitor_code);
	}
	if (has_teid(code)) {
		lowcore_put64(c, LC_TEID, c->teid);
		*lowcore_host(c, LC_EXC_ACCESS_ID) = c->access_id;
	}
	if (c->per_code)
		store_per(c);
	c->per_code = 0;
	lowcore_put64(c, LC_BREAKING_EVENT, c->s.breaking_event);
	psw_swap(c, LC_PGM_OLD_PSW, LC_PGM_NEW_PSW, address);
	/* An invalid new PSW would interrupt for ever. */
	if (c->psw_invalid)
		c->check_stop = true;
}

/* ---- The other classes ---- */

static bool external_deliver(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;
	unsigned int pending = atomic_load(&c->pending);
	struct cpu_external_interruption ext = { 0 };
	uint64_t cr0 = c->s.cr[0], from = 0;

	if ((pending & PENDING_EMERGENCY) && (cr0 & CR0_EMERGENCY_SIGNAL)) {
		from = atomic_load(&c->emergency_from);
		/* Taken already, between the two steps of the one who signalled. */
		if (!from)
			atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_EMERGENCY);
		if (!from && atomic_load(&c->emergency_from))
			atomic_fetch_or(&c->pending, PENDING_EMERGENCY);
	}
	if (from) {
		ext.code = EXT_EMERGENCY_SIGNAL;
		ext.cpu_address = (uint16_t)__builtin_ctzll(from);
		if (atomic_fetch_and(&c->emergency_from, ~(from & -from)) == (from & -from))
			atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_EMERGENCY);
		/* Another may have signalled between the two. */
		if (atomic_load(&c->emergency_from))
			atomic_fetch_or(&c->pending, PENDING_EMERGENCY);
	} else if ((pending & PENDING_EXTERNAL_CALL) && (cr0 & CR0_EXTERNAL_CALL)) {
		ext.code = EXT_EXTERNAL_CALL;
		atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_EXTERNAL_CALL);
		ext.cpu_address = (uint16_t)(atomic_exchange(&c->external_call_from, 0) - 1);
	} else if ((pending & PENDING_CLOCK_COMPARATOR) && (cr0 & CR0_CLOCK_COMPARATOR)) {
		ext.code = EXT_CLOCK_COMPARATOR;
	} else if ((pending & PENDING_CPU_TIMER) && (cr0 & CR0_CPU_TIMER)) {
		ext.code = EXT_CPU_TIMER;
	} else if (x->config.floating &&
		   x->config.floating->take_external(x->config.opaque, c, cr0, &ext)) {
		;
	} else {
		return false;
	}
	lowcore_put32(c, LC_EXT_PARAMETER, ext.parameter);
	lowcore_put64(c, LC_EXT_PARAMETER64, ext.parameter64);
	lowcore_put16(c, LC_EXT_CODE, ext.code);
	lowcore_put16(c, LC_EXT_CPU_ADDRESS, ext.cpu_address);
	psw_swap(c, LC_EXT_OLD_PSW, LC_EXT_NEW_PSW, c->s.psw_addr);
	return true;
}

static bool io_deliver(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;
	struct cpu_io_interruption io;

	if (!x->config.floating ||
	    !x->config.floating->take_io(x->config.opaque, c, c->s.cr[6], &io))
		return false;
	lowcore_put32(c, LC_IO_SUBCHANNEL_ID, io.subchannel_id);
	lowcore_put32(c, LC_IO_PARAMETER, io.parameter);
	lowcore_put32(c, LC_IO_WORD, io.interruption_word);
	psw_swap(c, LC_IO_OLD_PSW, LC_IO_NEW_PSW, c->s.psw_addr);
	return true;
}

static bool mchk_deliver(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;
	struct cpu_mchk_interruption mchk;

	if (!x->config.floating ||
	    !x->config.floating->take_mchk(x->config.opaque, c, c->s.cr[14], &mchk))
		return false;
	/* Registers of the interrupted program: "Machine-Check Handling", chapter 11. */
	for (unsigned int i = 0; i < 16; i++) {
		lowcore_put64(c, LC_FPR_SAVE + 8 * i, c->s.fpr[i]);
		lowcore_put64(c, LC_GR_SAVE + 8 * i, c->s.gr[i]);
		lowcore_put32(c, LC_AR_SAVE + 4 * i, c->s.ar[i]);
		lowcore_put64(c, LC_CR_SAVE + 8 * i, c->s.cr[i]);
	}
	lowcore_put32(c, LC_FPC_SAVE, c->s.fpc);
	lowcore_put32(c, LC_TODPR_SAVE, c->s.todpr);
	lowcore_put64(c, LC_CPU_TIMER_SAVE, clock_cpu_timer(c, NULL));
	lowcore_put64(c, LC_CLOCK_COMPARATOR_SAVE, c->s.clock_comparator >> 8);
	lowcore_put64(c, LC_MCHK_CODE, mchk.code);
	psw_swap(c, LC_MCHK_OLD_PSW, LC_MCHK_NEW_PSW, c->s.psw_addr);
	return true;
}

static bool restart_deliver(struct vcpu *c)
{
	if (!(atomic_load(&c->pending) & PENDING_RESTART))
		return false;
	atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_RESTART);
	psw_swap(c, LC_RESTART_OLD_PSW, LC_RESTART_NEW_PSW, c->s.psw_addr);
	return true;
}

/* One interruption, the class of the highest priority first. */
bool interrupt_deliver(struct vcpu *c)
{
	if ((c->s.psw_mask & PSW_MCHK) && mchk_deliver(c))
		return true;
	if ((c->s.psw_mask & PSW_EXT) && external_deliver(c))
		return true;
	if ((c->s.psw_mask & PSW_IO) && io_deliver(c))
		return true;
	return restart_deliver(c);
}

void attention_set(struct vcpu *c)
{
	atomic_store(&c->limit, 0);
}

void vcpu_kick(struct vcpu *c)
{
	attention_set(c);
	idle_wake(c);
}

/* Would this vCPU take an interruption of the class with these subclass bits? */
static bool enabled_for(const struct vcpu *c, enum cpu_floating_class class, uint64_t mask)
{
	return atomic_load_explicit(&c->admits[class], memory_order_relaxed) & mask;
}

/* Ask one that waits, is enabled, and was not asked for another one just now. */
static bool ask_one(struct cpu_complex *x, enum cpu_floating_class class, uint64_t mask,
		    bool serving)
{
	for (unsigned int i = 0; i < x->count; i++) {
		struct vcpu *v = x->vcpus[i];

		if (atomic_load_explicit(serving ? &v->serving : &v->waiting,
					 memory_order_relaxed) &&
		    enabled_for(v, class, mask) && !atomic_exchange(&v->asked, true)) {
			vcpu_kick(v);
			return true;
		}
	}
	return false;
}

/*
 * One idle vCPU that is enabled and was not asked for another one just now, else all that
 * are enabled. Of the idle ones, one that is awake because it has brought the interruption
 * is the best. A vCPU whose masks change while they
 * are looked at here finds the interruption by itself: changing them asks for
 * attention, and what asks for attention passes a fence and looks.
 */
void cpu_complex_floating_pending(struct cpu_complex *x, enum cpu_floating_class class,
				  uint64_t mask)
{
	atomic_thread_fence(memory_order_seq_cst);
	if ((x->config.idle && ask_one(x, class, mask, true)) || ask_one(x, class, mask, false))
		return;
	for (unsigned int i = 0; i < x->count; i++) {
		if (enabled_for(x->vcpus[i], class, mask))
			vcpu_kick(x->vcpus[i]);
	}
}

void cpu_complex_directed_pending(struct cpu_complex *x, unsigned int cpu, uint64_t mask)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (cpu < x->count && enabled_for(x->vcpus[cpu], CPU_FLOATING_IO, mask))
		vcpu_kick(x->vcpus[cpu]);
}

/*
 * Having looked, forget that this vCPU was asked, so that it can be asked again. If it
 * took something else instead, what it was asked for is another one's to take.
 */
void interrupt_answer(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;

	if (likely(!atomic_load_explicit(&c->asked, memory_order_relaxed)))
		return;
	atomic_store(&c->asked, false);
	if (x->config.floating && x->config.floating->remind)
		x->config.floating->remind(x->config.opaque);
}
