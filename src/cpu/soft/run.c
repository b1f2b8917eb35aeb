/* SPDX-License-Identifier: MIT */
/*
 * The run loop: finds the code at the instruction address, executes it, and
 * between two blocks sees to everything else: interruptions, waiting, stopping,
 * requests of other vCPUs to flush the TLB or to be alone.
 *
 * Code is left at a branch when somebody wants attention (the limit is 0), by an instruction that
 * ends its block, or by an exception. Then psw_addr and the instruction count are
 * right. A vCPU asleep in an enabled wait is out of guest code, so nobody
 * waits for it.
 */
#include <sched.h>

#include "cpu/soft/complex.h"

#define LIMIT_FAR (~0ull)

/* ---- In and out of guest code ---- */

void guest_enter(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;

	for (;;) {
		atomic_store(&c->in_code, true);
		atomic_store(&c->in_guest, true);
		if (!atomic_load(&x->exclusive))
			break;
		atomic_store(&c->in_guest, false);
		atomic_store(&c->in_code, false);
		pthread_mutex_lock(&x->exclusive_lock);
		while (atomic_load(&x->exclusive))
			pthread_cond_wait(&x->exclusive_cond, &x->exclusive_lock);
		pthread_mutex_unlock(&x->exclusive_lock);
	}
	mmu_serve_flush_requests(c);
}

static void guest_leave(struct vcpu *c)
{
	atomic_store(&c->in_guest, false);
	atomic_store(&c->in_code, false);
}

void exclusive_begin(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;

	guest_leave(c);
	pthread_mutex_lock(&x->exclusive_lock);
	while (atomic_load(&x->exclusive))
		pthread_cond_wait(&x->exclusive_cond, &x->exclusive_lock);
	atomic_store(&x->exclusive, true);
	pthread_mutex_unlock(&x->exclusive_lock);
	for (unsigned int i = 0; i < x->count; i++) {
		if (x->vcpus[i] == c)
			continue;
		attention_set(x->vcpus[i]);
		while (atomic_load(&x->vcpus[i]->in_code))
			sched_yield();
	}
}

void exclusive_end(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;

	pthread_mutex_lock(&x->exclusive_lock);
	atomic_store(&x->exclusive, false);
	pthread_cond_broadcast(&x->exclusive_cond);
	pthread_mutex_unlock(&x->exclusive_lock);
	guest_enter(c);
}

/* ---- From block to block ---- */

static const struct op *leave(struct vcpu *c, const struct op *o)
{
	return NULL;
}

const struct op op_leave = { .fn = leave };

const struct op *leave_to(struct vcpu *c, const struct op *o, uint64_t address)
{
	count_instructions(c, o);
	c->s.psw_addr = address;
	return &op_leave;
}

const struct op *leave_behind(struct vcpu *c, const struct op *o)
{
	return leave_to(c, o, op_next_address(c, o));
}

static void count_before(struct vcpu *c, const struct op *o)
{
	unsigned int n = o->index;

	/* The closing op of a block has the index of the instruction before it. */
	if (o->length == 0)
		n++;
	atomic_store_explicit(&c->icount,
			      atomic_load_explicit(&c->icount, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

const struct op *repeat(struct vcpu *c, const struct op *o)
{
	count_before(c, o);
	c->s.psw_addr = op_address(c, o);
	attention_set(c);
	return &op_leave;
}

/*
 * The code at a virtual address, from the jump cache or by translation; NULL when
 * the translation is not in the TLB or the code is not to be cached.
 */
static const struct op *find_code(struct vcpu *c, uint64_t address)
{
	struct jump_entry *j = &c->jumps[jump_line(address)][jump_slot(address)];
	const struct tlb_entry *e = &c->tlb[(address >> PAGE_SHIFT) % TLB_ENTRIES];
	const struct op *op;

	if (j->addr == address && j->asid == c->fetch_asid &&
	    __atomic_load_n(&j->op->fn, __ATOMIC_RELAXED) != insn_stale)
		return j->op;
	if (e->tag_read != ((address & PAGE_MASK) | c->fetch_asid) || (address & 1))
		return NULL;
	op = code_find(c, (uint64_t)((uint8_t *)(address + e->addend) - c->complex->memory));
	if (op)
		*j = (struct jump_entry){ .addr = address, .op = op, .asid = c->fetch_asid };
	return op;
}

static const struct op *go_to(struct vcpu *c, uint64_t address)
{
	const struct op *op = NULL;

	if (!limit_reached(c, vcpu_instructions(c)) && !code_full(c->complex))
		op = find_code(c, address);
	if (!op) {
		c->s.psw_addr = address;
		return &op_leave;
	}
	c->page = address & PAGE_MASK;
	return op;
}

const struct op *jump_slow(struct vcpu *c, const struct op *o, uint64_t address)
{
	count_instructions(c, o);
	c->s.breaking_event = op_address(c, o);
	return go_to(c, address);
}

/*
 * A chain stays within a page frame: then no translation lies between the two. Blocks are
 * shared by all spaces and CPUs, so it is the frame that counts: another CPU may be
 * changing the translation of the page that this one executes in.
 */
static void chain_set(const struct op *from, const struct op *to)
{
	if (!code_same_frame(from, to))
		return;
	__atomic_store_n(&((struct op *)(uintptr_t)from)->chain, to, __ATOMIC_RELEASE);
}

const struct op *chain_slow(struct vcpu *c, const struct op *o)
{
	uint64_t address = (op_address(c, o) + 2 * (uint64_t)(int64_t)o->d2) & c->addr_mask;
	bool same_page = (address & PAGE_MASK) == c->page;
	const struct op *to = jump_to(c, o, address);

	if (same_page && to != &op_leave && !(o->flags & OP_EXECUTED))
		chain_set(o, to);
	return to;
}

INSN_JUMP_FAST(goto_next)
{
	const struct op *to;
	uint64_t address;

	if (!(o->flags & OP_PAGE_END)) {
		to = op_chain(o);
		if (likely(to && !limit_reached(c, count_behind(c, o)))) {
			count_instructions(c, o);
			c->chain_from = o;
			return to;
		}
		address = op_address(c, o);
	} else {
		address = (c->page + PAGE_SIZE) & c->addr_mask;
	}
	count_instructions(c, o);
	to = go_to(c, address);
	if (!(o->flags & OP_PAGE_END) && to != &op_leave)
		chain_set(o, to);
	return to;
}

/* An op of a block that was dropped: go on at its address with fresh code. */
INSN_JUMP(stale)
{
	const struct op *from = c->chain_from, *to;

	count_before(c, o);
	to = go_to(c, op_address(c, o));
	if (from && __atomic_load_n(&from->chain, __ATOMIC_RELAXED) == o && to != &op_leave)
		chain_set(from, to);
	return to;
}

/* ---- Instructions outside the blocks ---- */

INSN(operation_exception)
{
	pgm(c, o, PGM_OPERATION);
}

/* In front of each privileged instruction. */
const struct op *insn_privileged(struct vcpu *c, const struct op *o)
{
	require_supervisor(c, o);
	TAIL_CALL return insn_table[o->insn].fn(c, o);
}

/* Goes on behind an instruction that was executed outside its block. */
const struct op *insn_resume(struct vcpu *c, const struct op *o)
{
	o = c->ex_resume;
	RUN_OP(c, o);
}

static const struct op *step_done(struct vcpu *c, const struct op *o)
{
	return leave_behind(c, o - 1);
}

/* Unlike attention, this does not break off long instructions. */
static void leave_at_next_branch(struct vcpu *c)
{
	uint64_t far = LIMIT_FAR;

	/* Not over a request for attention that came meanwhile. */
	atomic_compare_exchange_strong(&c->limit, &far, MAX(vcpu_instructions(c), 1));
}

/* Decode the instruction at an address into c->step, to be executed alone. */
static const struct op *step_prepare(struct vcpu *c, uint64_t address)
{
	struct op *o = &c->step[0];
	uint16_t row;
	uint64_t raw;

	c->page = address & PAGE_MASK;
	*o = (struct op){
		.fn = insn_operation_exception, .offset = (uint16_t)(address & ~PAGE_MASK),
		.length = 2, .flags = OP_EXECUTED,
	};
	if (address & 1) {
		/* Nothing was fetched: the odd address itself is what the old PSW shows. */
		c->s.psw_addr = address;
		pgm(c, NULL, PGM_SPECIFICATION);
	}
	raw = mmu_fetch(c, o, address);
	row = c->complex->rows[insn_opcode(raw)];
	if (row)
		insn_decode(&insn_table[row - 1], raw, 0, o);
	o->offset = (uint16_t)(address & ~PAGE_MASK);
	o->length = (uint8_t)insn_length((uint8_t)(raw >> 56));
	o->flags |= OP_EXECUTED;
	c->step[1] = (struct op){ .fn = step_done };
	return o;
}

/* The last instruction of a page that goes on in the next one. */
INSN_JUMP(crossing)
{
	count_before(c, o);
	return step_prepare(c, op_address(c, o));
}

/* One instruction, PER events included. */
static void step(struct vcpu *c)
{
	uint64_t address = c->s.psw_addr & c->addr_mask, from = c->s.cr[10], to = c->s.cr[11];
	const struct op *o, *step_op;
	bool per = c->per_active;

	c->per_code = 0;
	o = step_op = step_prepare(c, address);
	if (per) {
		c->per_address = address;
		if ((c->s.cr[9] & CR9_IFETCH) &&
		    (from <= to ? address >= from && address <= to : address >= from || address <= to))
			c->per_code |= PER_IFETCH;
	}
	leave_at_next_branch(c);
	while (o)
		o = __atomic_load_n(&o->fn, __ATOMIC_RELAXED)(c, o);
	if (!per)
		return;
	if ((c->s.cr[9] & CR9_BRANCH) && c->s.breaking_event == address &&
	    c->s.psw_addr != ((address + step_op->length) & c->addr_mask)) {
		uint64_t target = c->s.psw_addr;

		if (!(c->s.cr[9] & CR9_BRANCH_ADDRESS_CONTROL) ||
		    (from <= to ? target >= from && target <= to : target >= from || target <= to))
			c->per_code |= PER_BRANCH;
	}
	if (c->per_code) {
		c->pgm_code = 0;
		c->fault_op = NULL;
		c->per_length = step_op->length;
		program_interruption(c);
	}
}

/* ---- EXECUTE ---- */

static const struct op *execute(struct vcpu *c, const struct op *o, uint64_t target)
{
	struct ex_slot *slot;
	uint64_t raw, relative = target - op_address(c, o);
	uint16_t row;

	if (target & 1)
		pgm(c, o, PGM_SPECIFICATION);
	raw = mmu_fetch(c, o, target);
	if (o->r1)
		raw |= (c->s.gr[o->r1] & 0xff) << 48;
	row = c->complex->rows[insn_opcode(raw)];
	slot = &c->ex[(raw ^ raw >> 17 ^ raw >> 35 ^ raw >> 50) % EX_SLOTS];
	if (slot->raw != raw || slot->relative != relative || !slot->op[0].fn) {
		if (!row)
			pgm(c, o, PGM_OPERATION);
		if (insn_table[row - 1].opcode == 0x44 || insn_table[row - 1].opcode == 0xc600)
			pgm(c, o, PGM_EXECUTE);
		slot->raw = raw;
		slot->relative = relative;
		insn_decode(&insn_table[row - 1], raw, (int64_t)relative, &slot->op[0]);
		slot->op[0].flags |= OP_EXECUTED;
		slot->op[1] = (struct op){ .fn = insn_resume };
	}
	/* The chain of a branch is never set here, so the op is as decoded. */
	slot->op[0].offset = o->offset;
	slot->op[0].length = o->length;
	slot->op[0].index = o->index;
	c->ex_resume = o + 1;
	return slot->op;
}

INSN_JUMP(ex)
{
	return execute(c, o, ea2x(c, o));
}

INSN_JUMP(exrl)
{
	return execute(c, o, (op_address(c, o) + o->uimm) & c->addr_mask);
}

/* ---- Instructions that the machine executes ---- */

static ALWAYS_INLINE_ void execute_by_machine(struct vcpu *c, const struct op *o,
					      enum insn_format format)
{
	cpu_insn_handler *handler = c->complex->handlers[o->insn];
	struct cpu_insn i = {
		.raw = o->uimm,
		.length = o->length,
		.r1 = o->r1, .r2 = o->r2, .r3 = o->r3,
	};
	int error;

	switch (format) {
	case F_RXY: case F_RX:
		i.address = ea2x(c, o);
		i.b2 = o->b2 & 15;
		break;
	case F_RS: case F_RSY: case F_S:
		i.address = ea2(c, o);
		i.b2 = o->b2 & 15;
		i.displacement = o->d2;
		break;
	default:
		break;
	}
	if (!handler)
		pgm(c, o, PGM_OPERATION);
	c->handler_op = o;
	c->s.psw_addr = op_address(c, o);
	error = handler(c->complex->config.opaque, c, &i);
	c->handler_op = NULL;
	if (error)
		pgm(c, o, c->pgm_code ? (enum pgm_code)c->pgm_code : PGM_OPERATION);
}

INSN_LAST(machine)
{
	execute_by_machine(c, o, (enum insn_format)insn_table[o->insn].format);
}

/* The same for those that change nothing that the CPU executes by: the block goes on. */
INSN(machine_access)
{
	execute_by_machine(c, o, (enum insn_format)insn_table[o->insn].format);
}

/* What a privileged one of these with two registers becomes: loads and stores of PCI. */
INSN_FAST(privileged_access)
{
	require_supervisor(c, o);
	execute_by_machine(c, o, F_RRE);
}

void vcpu_set_cc(struct vcpu *c, unsigned int cc)
{
	set_cc(c, cc);
}

struct zpci_window *vcpu_window(struct vcpu *c)
{
	return &c->window;
}

bool vcpu_problem_state(struct vcpu *c)
{
	return c->s.psw_mask & PSW_PROBLEM;
}

/* ---- Between two blocks ---- */

static void idle(struct vcpu *c)
{
	struct cpu_complex *x = c->complex;
	bool over;

	if (x->config.deterministic && (c->s.psw_mask & PSW_EXT)) {
		uint64_t next = clock_next_event_count(c);

		/* Time passes at once. */
		if (next != ~0ull) {
			atomic_store(&c->icount, next);
			clock_update_pending(c, NULL);
			return;
		}
	}
	guest_leave(c);
	atomic_store(&c->waiting, true);
	over = idle_sleep(c);
	atomic_store(&c->waiting, false);
	guest_enter(c);
	/* Otherwise the host timer says so when a clock event comes; to look at it takes time. */
	if (over || !c->has_timer)
		clock_update_pending(c, NULL);
}

static void early_specification(struct vcpu *c)
{
	c->psw_invalid = false;
	c->pgm_code = PGM_SPECIFICATION;
	c->fault_op = NULL;
	program_interruption(c);
}

/* See to what asked for attention. True: leave vcpu_run() with *reason. */
static bool attend(struct vcpu *c, enum vcpu_exit *reason)
{
	for (;;) {
		unsigned int pending;

		/* First: it asks for the attention that is paid here. */
		if (c->complex->config.deterministic)
			clock_update_pending(c, NULL);
		atomic_exchange(&c->limit, LIMIT_FAR);
		if (c->timer_rang || (atomic_load(&c->pending) & PENDING_CLOCK_SET)) {
			c->timer_rang = 0;
			atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_CLOCK_SET);
			clock_look_again(c, NULL);
		}
		if (atomic_load(&c->complex->exclusive)) {
			guest_leave(c);
			guest_enter(c);
		}
		mmu_serve_flush_requests(c);
		if (code_full(c->complex))
			code_flush_full(c);

		if (c->psw_invalid)
			early_specification(c);
		while (!c->check_stop && interrupt_deliver(c)) {
			if (c->psw_invalid)
				early_specification(c);
		}
		interrupt_answer(c);
		pending = atomic_load(&c->pending);
		if (c->check_stop) {
			c->check_stop = false;
			*reason = VCPU_EXIT_CHECK_STOP;
			return true;
		}
		if (pending & PENDING_EXIT) {
			atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_EXIT);
			*reason = VCPU_EXIT_REQUEST;
			return true;
		}
		if (pending & PENDING_STOP) {
			*reason = VCPU_EXIT_STOPPED;
			return true;
		}
		if (likely(!(c->s.psw_mask & PSW_WAIT)))
			return false;
		if (!(c->s.psw_mask & (PSW_IO | PSW_EXT | PSW_MCHK))) {
			*reason = VCPU_EXIT_DISABLED_WAIT;
			return true;
		}
		idle(c);
	}
}

static void report(struct vcpu *c, uint64_t count)
{
	const struct cpu_complex_config *config = &c->complex->config;

	c->reported = count;
	config->report(config->opaque, c);
	if (config->execution == CPU_EXECUTE_FLUSHED) {
		code_flush_all(c);
		mmu_flush_all(c);
	}
}

/*
 * The deterministic mode: execute up to shortly before the next event with the
 * limit at that place, then instruction by instruction (false). So events come at
 * the same instruction whatever the blocks are.
 */
static bool plan_deterministic(struct vcpu *c)
{
	const struct cpu_complex_config *config = &c->complex->config;
	uint64_t count = vcpu_instructions(c), next = clock_next_event_count(c);
	uint64_t limit = atomic_load(&c->limit);
	enum cpu_execution execution = config->execution;

	if (count < config->from) {
		next = MIN(next, config->from);
		execution = CPU_EXECUTE_CACHED;
	} else if (config->report_every) {
		uint64_t behind = count % config->report_every;

		if (!behind && count != c->reported)
			report(c, count);
		next = MIN(next, count - behind + config->report_every);
	}
	if (execution == CPU_EXECUTE_UNCACHED || next < count + BLOCK_MAX_OPS + 1)
		return false;
	if (execution == CPU_EXECUTE_UNCHAINED)
		attention_set(c);
	else if (limit)
		/* Not over a request for attention that came meanwhile. */
		atomic_compare_exchange_strong(&c->limit, &limit, next - BLOCK_MAX_OPS - 1);
	return true;
}

static void run_code(struct vcpu *c)
{
	const struct op *o;
	uint64_t address = c->s.psw_addr & c->addr_mask;

	if ((unlikely(c->complex->config.deterministic) && !plan_deterministic(c)) ||
	    unlikely(c->per_active)) {
		step(c);
		return;
	}
	c->page = address & PAGE_MASK;
	o = find_code(c, address);
	if (unlikely(!o)) {
		const struct op *fetch = step_prepare(c, address); /* fills the TLB, or faults */

		o = find_code(c, address);
		if (!o) {
			leave_at_next_branch(c);
			o = fetch;
		}
	}
	while (o)
		o = __atomic_load_n(&o->fn, __ATOMIC_RELAXED)(c, o);
}

enum vcpu_exit vcpu_run(struct vcpu *c)
{
	enum vcpu_exit reason;
	sigjmp_buf escape;

	if (__atomic_load_n(&c->s.stopped, __ATOMIC_ACQUIRE))
		return VCPU_EXIT_STOPPED;
	clock_init_thread(c);
	idle_init_thread(c);
	guest_enter(c);
	vcpu_state_changed(c);
	c->escape = &escape;
	if (sigsetjmp(escape, 0)) {
		/* An exception, possibly out of a handler that had its own way back. */
		c->escape = &escape;
		if (c->fault_op)
			count_before(c, c->fault_op);
		program_interruption(c);
	}
	do {
		/* A CPU that has executed nothing yet is not above any limit. */
		if (unlikely(limit_reached(c, vcpu_instructions(c)) || interruption_wanted(c)) &&
		    attend(c, &reason))
			break;
		run_code(c);
	} while (true);

	c->s.psw_mask = psw_current_mask(c);
	if (reason == VCPU_EXIT_STOPPED)
		sigp_stop_here(c); /* and then the state is others' to change */
	guest_leave(c);
	return reason;
}

/* ---- Looking at, and changing, a vCPU from outside ---- */

void vcpu_state_changed(struct vcpu *c)
{
	set_cc(c, (c->s.psw_mask & PSW_CC) >> PSW_CC_SHIFT);
	psw_load(c, c->s.psw_mask, c->s.psw_addr);
	c->s.psw_mask = psw_current_mask(c); /* so that it may be called again */
	mmu_flush_all(c);
	clock_update_pending(c, NULL);
	clock_arm(c);
}

void vcpu_request_exit(struct vcpu *c)
{
	atomic_fetch_or(&c->pending, PENDING_EXIT);
	vcpu_kick(c);
}

struct cpu_state *vcpu_state(struct vcpu *c)
{
	return &c->s;
}

struct cpu_complex *vcpu_complex(struct vcpu *c)
{
	return c->complex;
}

uint64_t vcpu_instructions(const struct vcpu *c)
{
	return atomic_load_explicit(&c->icount, memory_order_relaxed);
}

uint64_t vcpu_hash(struct vcpu *c)
{
	uint64_t hash = 0xcbf29ce484222325ull, psw[2] = { psw_current_mask(c), c->s.psw_addr };
	const struct { const void *p; size_t size; } parts[] = {
		{ psw, sizeof(psw) },
		{ c->s.gr, sizeof(c->s.gr) },
		{ c->s.cr, sizeof(c->s.cr) },
		{ c->s.fpr, sizeof(c->s.fpr) },
		{ c->s.ar, sizeof(c->s.ar) },
		{ &c->s.fpc, sizeof(c->s.fpc) },
		{ &c->s.prefix, sizeof(c->s.prefix) },
		{ &c->s.todpr, sizeof(c->s.todpr) },
		{ &c->s.breaking_event, sizeof(c->s.breaking_event) },
		{ &c->s.clock_comparator, sizeof(c->s.clock_comparator) },
	};

	/* FNV-1a over bytes. */
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const uint8_t *p = parts[i].p;

		for (size_t j = 0; j < parts[i].size; j++)
			hash = (hash ^ p[j]) * 0x100000001b3ull;
	}
	return hash;
}
