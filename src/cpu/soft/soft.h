/* SPDX-License-Identifier: MIT */
/*
 * The inside of the soft CPU.
 *
 * The guest's instructions are decoded once into arrays of `struct op`, one
 * array (a block) for a straight run of code within one page frame. An op names
 * the function that executes it, with the operand fields taken apart. Blocks
 * are keyed by absolute address, hold nothing that depends on the mode of the
 * CPU, and are shared by all vCPUs (block.c). Each function ends with a jump to
 * the next op's function, so that execution runs from op to op without a loop;
 * a branch jumps to the first op of the target block, which it remembers. Where
 * the compiler does not turn calls at the end of a function into jumps
 * (sanitizer builds), the functions return the next op to a loop: CPU_THREADED.
 *
 * Nothing but the run loop (run.c) stores the instruction address: it is the
 * virtual address of the page that the CPU executes in, plus the op's offset in
 * its page. Likewise the condition code is kept as the operands that it
 * would be computed from. cpu_sync() brings both into cpu_state.
 *
 * On hosts that have a translator, the function of an op may be host code made for it
 * and those behind it; it does what their functions would do (translate.h).
 *
 * An exception leaves the instruction by longjmp to the run loop. So before an
 * instruction changes anything, it has made every check and every access that
 * can fail: see "Guest memory" below.
 *
 * How to write an instruction:
 *
 *	INSN(ar)                    // name as in the table; `c` the vCPU, `o` the op
 *	{
 *		...
 *	}
 *
 * INSN_FAST is the same with the body inlined, for short ones whose local
 * variables never have their address taken. INSN_JUMP is for what may
 * branch: its body returns the next op. INSN_LAST is for what changes the mode,
 * the mapping or the interruption masks: the block ends with it, and the run
 * loop looks at everything afresh. The row in the table (insn-*.def) says
 * which of the last two it is (JUMP, LAST flags), because the decoder has to know.
 *
 * Source: Principles of Operation (SA22-7832); chapter 5 "Program Execution",
 * 6 "Interruption".
 */
#ifndef ZVISOR_CPU_SOFT_SOFT_H
#define ZVISOR_CPU_SOFT_SOFT_H

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/byteorder.h"
#include "base/shared.h"
#include "base/spin.h"
#include "base/util.h"
#include "cpu/arch.h"
#include "cpu/vcpu.h"
#include "zpci/window.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define CPU_THREADED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CPU_THREADED 0
#endif
#endif
#ifndef CPU_THREADED
#define CPU_THREADED 1
#endif

#if defined(__clang__) && CPU_THREADED
#define TAIL_CALL __attribute__((musttail))
#else
#define TAIL_CALL
#endif

struct op;
typedef const struct op *op_fn(struct vcpu *, const struct op *);

/*
 * A decoded instruction. Which fields a format fills:
 *
 *	RR RRE RRF RRD	r1 r2 r3 (also m3) m4
 *	RX RXY RXE	r1 x2 b2 d2 (RXE: m3); RXF: r3 too
 *	RS RSY		r1 r3 (also m3) b2 d2; RSL: l1 b1 d1
 *	RI RIL		r1 (also m1) imm; relative ones: imm, in bytes from the instruction
 *	RSI RIE		r1 r3 and imm (relative, bytes) or d1 (an immediate); see decode.c
 *	SI SIY SIL	b1 d1 imm
 *	S		b2 d2
 *	SS		l1 (l2) or r1 r3, b1 d1 b2 d2; SSE, SSF: r3 b1 d1 b2 d2
 *
 * b1, b2, x2 are 16 for "none". Lengths are as encoded: one less than the bytes.
 */
struct op {
	op_fn *fn;
	union {
		int64_t imm;
		uint64_t uimm;
		const struct op *chain; /* branch: first op of the target block, or NULL */
	};
	int32_t d1, d2;
	union {
		uint8_t r1, l1, m1;
	};
	union {
		uint8_t r2, l2;
	};
	union {
		uint8_t r3, m3;
	};
	uint8_t m4;
	uint8_t x2, b1, b2;
	uint8_t length;  /* of the instruction in bytes; of the EX(RL) for its target */
	uint16_t offset; /* of the instruction in its page */
	uint16_t insn;   /* row in the instruction table */
	uint16_t index;  /* instructions before this one in its block */
	uint16_t flags;  /* OP_* */
};

#define OP_EXECUTED 1     /* lives in the vCPU, not in a block: a target of EXECUTE … */
#define OP_ALWAYS_JUMPS 2 /* an unconditional branch */
#define OP_PAGE_END 4     /* closing op of a block that ends with its page */

/* Lazy condition code: what the code follows from. */
enum cc_kind {
	CC_VALUE,    /* cc_a is the condition code */
	CC_SIGNED,   /* 0, 1, 2 as cc_a is equal, less, greater than cc_b, signed */
	CC_UNSIGNED, /* likewise, unsigned */
};

#define TLB_ENTRIES 1024
#define TLB_INVALID (~0ull) /* address-space number 0xfff is never given out */
#define TLB_ASID_MAX 0xffe

/*
 * A virtual page in the space with the number in the low 12 bits of the tag.
 * tag_read and tag_write are TLB_INVALID where such an access needs a closer
 * look. The flag byte is the page's in cpu_complex.page_flags.
 */
struct tlb_entry {
	uint64_t tag_read;
	uint64_t tag_write;
	uintptr_t addend; /* host address = virtual address + addend */
	const uint8_t *flags;
};

#define JUMP_LINES 256
#define JUMP_SLOTS 64

/* Where execution continues at a virtual instruction address. */
struct jump_entry {
	uint64_t addr; /* ~0 when empty */
	const struct op *op;
	uint32_t asid;
} __attribute__((aligned(32)));

#define EX_SLOTS 64

/* The last targets of EXECUTE, decoded; then an op that goes on behind the EX. */
struct ex_slot {
	uint64_t raw;     /* the modified instruction, left-aligned */
	uint64_t relative; /* target address minus address of the EXECUTE */
	struct op op[2];
};

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* An address-space-control element in use, and the number the TLB knows it by. */
struct asid_slot {
	uint64_t asce;
	uint16_t asid;   /* 0: empty */
	uint8_t key;     /* access key, when not 0 */
	uint8_t real;
};

struct vcpu {
	struct cpu_state s;

	/* Hot: what executing code touches all the time. */
	uint64_t cc_a, cc_b;
	uint32_t cc_kind;
	/*
	 * Execution leaves the code at the first branch where icount passes this. Normally
	 * out of reach; any thread sets it to 0 to get attention.
	 */
	_Atomic uint64_t limit;
	uint64_t addr_mask;    /* of the addressing mode: 24, 31 or 64 bits */
	uint64_t page;         /* virtual address of the page executed in */
	uint32_t data_asid;    /* TLB number of the space of operands; 0 in AR mode: look closer */
	uint32_t fetch_asid;
	const struct op *chain_from; /* branch that was last followed by its chain */
	atomic_ullong icount;  /* instructions executed before the current block; own thread writes */
	struct zpci_window window;
	struct cpu_complex *complex;
	const struct op *ex_resume; /* where to go on behind the target of EXECUTE */

	/* An exception on its way: op that caused it and what it is. */
	sigjmp_buf *escape;
	const struct op *fault_op;
	const struct op *handler_op; /* that a handler of the machine executes now, or NULL */
	uint16_t pgm_code;     /* of a program interruption to present, or 0 */
	uint64_t teid;         /* translation-exception identification */
	uint8_t access_id;     /* exception access identification */
	uint8_t dxc;           /* data-exception code */
	uint16_t monitor_class;
	uint64_t monitor_code;
	uint8_t per_code;      /* PER events of the instruction, to present after it */
	uint8_t per_length;    /* and its instruction's length */
	uint64_t per_address;
	bool per_active;       /* any PER event is enabled in PSW and CR9 */

	/* Interruptions that this CPU alone can take; see interrupt.c. Any thread sets. */
	atomic_uint pending;
	_Atomic uint64_t emergency_from; /* CPU addresses that signalled; bit per address */
	atomic_uint external_call_from;     /* CPU address + 1, or 0 */
	/*
	 * What others look at to see whether this CPU would take a floating interruption:
	 * by class, the subclass mask if the PSW admits the class, else 0. Own thread sets.
	 */
	_Atomic uint64_t admits[CPU_FLOATING_CLASSES];

	/* Sleep and flush requests; see run.c. */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool waiting;   /* in an enabled wait */
	atomic_bool asked; /* to take a floating interruption, when nobody else was */
	bool asleep; /* the thread waits for wake, and was not woken; under lock */
	bool polls; /* … or, when this is set too, for cpu_idle_ops.epoll */
	atomic_bool serving; /* the thread looks at what came by it */
	bool can_poll; /* the next three are of its thread */
	struct spin spin; /* how long it stays awake when it gets idle */
	pthread_t thread;
	sigset_t polling_mask;
	atomic_bool in_guest;  /* may use its TLB; else flushes wait for nothing */
	atomic_bool in_code;   /* may use decoded code; else it may be thrown away */
	atomic_bool flush_everything;     /* flush requests of other vCPUs */
	_Atomic uint64_t flush_pages[4];  /* bit per page index */
	timer_t timer;
	bool has_timer;
	bool timer_armed;
	uint64_t timer_deadline; /* clock_steady() when the host timer rings */
	uint64_t cpu_timer_base; /* clock_steady() when cpu_timer was last set */
	volatile sig_atomic_t timer_rang;
	bool psw_invalid;        /* the PSW that was loaded has a bad format: early exception */
	bool check_stop;
	uint64_t reported;       /* instruction count of the last report */

	unsigned int index;
	struct asid_slot asids[16];
	uint32_t asid_next;
	uint16_t asid_victim;
	struct tlb_entry low[2]; /* pages 0 and 1 for stores, under low-address protection */
	struct tlb_entry tlb[TLB_ENTRIES];
	struct jump_entry jumps[JUMP_LINES][JUMP_SLOTS];
	struct ex_slot ex[EX_SLOTS];
	struct op step[3];     /* an instruction executed without the cache */
};

/* ---- The instruction table (table.c, from the insn-*.def files) ---- */

enum insn_format {
	F_E, F_I, F_RR, F_RRE, F_RRF, F_RRD, F_RX, F_RXY, F_RXE, F_RXF, F_RS, F_RSY, F_RSL,
	F_RI, F_RI_REL, F_RIL, F_RIL_U, F_RIL_REL, F_RSI, F_RIE_A, F_RIE_B, F_RIE_C, F_RIE_D,
	F_RIE_E, F_RIE_F, F_RIE_G, F_RIS, F_RRS, F_SI, F_SIY, F_SIL, F_S, F_SS_A, F_SS_B, F_SS_C,
	F_SS_D, F_SS_E, F_SS_F, F_SSE, F_SSF,
};

#define JUMP 1       /* may branch, or ends the block by itself */
#define LAST 2       /* the block ends with it */
#define MACHINE 4    /* executed by a handler of the machine */
#define PRIVILEGED 8 /* privileged-operation exception in the problem state */
#define AFP 16       /* data exception when CR0 has no AFP-register control */

struct insn {
	uint16_t opcode;
	uint8_t format;
	uint8_t flags;
	uint8_t facility; /* STFLE bit that it belongs to; 0: always there (bit 0 is always 1) */
	const char *mnemonic;
	op_fn *fn;
};

extern const struct insn insn_table[];
extern const unsigned int insn_table_size;
/* Row for an instruction whose first halfwords are left-aligned in raw, or NULL. */
const struct insn *insn_lookup(uint64_t raw);
/*
 * Take apart an instruction. `relative` is added to relative operands (the target
 * of EXECUTE lies elsewhere). Fills everything but offset, length, index.
 */
void insn_decode(const struct insn *, uint64_t raw, int64_t relative, struct op *);
/*
 * A function that does the same for this very op, only faster: chosen by mask,
 * immediate or missing index. May put other values into the op's fields.
 */
op_fn *branch_specialise(const struct insn *, struct op *);
/* One line of assembler for people: "lg %r1,8(%r2)". Returns to. */
char *insn_disassemble(uint64_t raw, uint64_t address, char *to, size_t size);
static inline unsigned int insn_length(uint8_t first_byte)
{
	return first_byte < 0x40 ? 2 : first_byte < 0xc0 ? 4 : 6;
}

/* ---- Exceptions (interrupt.c) ---- */

/* Program interruption; does not return. In a handler of the machine use vcpu_program(). */
_Noreturn void pgm(struct vcpu *, const struct op *, enum pgm_code);
_Noreturn void pgm_data(struct vcpu *, const struct op *, uint8_t dxc);
/*
 * The same for an instruction that has completed (fixed-point overflow, IEEE
 * inexact …): the condition code and results that were set stay.
 * PSW and ILC come out the same: the distinction is for the reader.
 */
#define pgm_completed pgm
#define pgm_data_completed pgm_data

/* Condition code 3, and the interruption if it is admitted; the result is in place. */
void fixed_overflow(struct vcpu *, const struct op *);

#define DXC_DECIMAL 0x00
#define DXC_AFP_REGISTER 0x01
#define DXC_BFP_INSTRUCTION 0x02

static inline void require_even(struct vcpu *c, const struct op *o, unsigned int r)
{
	if (unlikely(r & 1))
		pgm(c, o, PGM_SPECIFICATION);
}

static inline void require_supervisor(struct vcpu *c, const struct op *o)
{
	if (unlikely(c->s.psw_mask & PSW_PROBLEM))
		pgm(c, o, PGM_PRIVILEGED);
}

/* ---- Condition code ---- */

static inline void set_cc(struct vcpu *c, unsigned int cc)
{
	c->cc_a = cc;
	c->cc_kind = CC_VALUE;
}

static inline void set_cc_signed(struct vcpu *c, int64_t a, int64_t b)
{
	c->cc_a = (uint64_t)a;
	c->cc_b = (uint64_t)b;
	c->cc_kind = CC_SIGNED;
}

static inline void set_cc_unsigned(struct vcpu *c, uint64_t a, uint64_t b)
{
	c->cc_a = a;
	c->cc_b = b;
	c->cc_kind = CC_UNSIGNED;
}

/* 0 for zero, 1 for anything else: what the logical instructions set. */
static inline void set_cc_nonzero(struct vcpu *c, uint64_t value)
{
	set_cc_unsigned(c, 0, value);
}

static inline unsigned int get_cc(const struct vcpu *c)
{
	switch (c->cc_kind) {
	case CC_SIGNED:
		return (int64_t)c->cc_a == (int64_t)c->cc_b ? 0 :
		       (int64_t)c->cc_a < (int64_t)c->cc_b ? 1 : 2;
	case CC_UNSIGNED:
		return c->cc_a == c->cc_b ? 0 : c->cc_a < c->cc_b ? 1 : 2;
	default:
		return (unsigned int)c->cc_a;
	}
}

/* ---- Registers ---- */

static inline uint32_t lo32(uint64_t v)
{
	return (uint32_t)v;
}

static inline void set_lo32(struct vcpu *c, unsigned int r, uint32_t v)
{
	c->s.gr[r] = (c->s.gr[r] & 0xffffffff00000000ull) | v;
}

static inline void set_hi32(struct vcpu *c, unsigned int r, uint32_t v)
{
	c->s.gr[r] = (c->s.gr[r] & 0xffffffffull) | (uint64_t)v << 32;
}

/* An address in a register, as the addressing mode takes it. */
static inline uint64_t gr_address(const struct vcpu *c, unsigned int r)
{
	return c->s.gr[r] & c->addr_mask;
}

/* Put an address into a register: 64 bits, or the right 32 with bit 32 (24-bit: 32-39) zero. */
static inline void set_gr_address(struct vcpu *c, unsigned int r, uint64_t v)
{
	if (c->addr_mask == ~0ull)
		c->s.gr[r] = v;
	else
		set_lo32(c, r, (uint32_t)(v & c->addr_mask));
}

/* A length or count in a register: 64 bits in the 64-bit mode, else the right 32. */
static inline uint64_t gr_length(const struct vcpu *c, unsigned int r)
{
	return c->addr_mask == ~0ull ? c->s.gr[r] : lo32(c->s.gr[r]);
}

static inline void set_gr_length(struct vcpu *c, unsigned int r, uint64_t v)
{
	if (c->addr_mask == ~0ull)
		c->s.gr[r] = v;
	else
		set_lo32(c, r, (uint32_t)v);
}

/* Addresses of storage operands. */
static inline uint64_t ea1(const struct vcpu *c, const struct op *o)
{
	return (c->s.gr[o->b1] + (uint64_t)(int64_t)o->d1) & c->addr_mask;
}

static inline uint64_t ea2(const struct vcpu *c, const struct op *o)
{
	return (c->s.gr[o->b2] + (uint64_t)(int64_t)o->d2) & c->addr_mask;
}

static inline uint64_t ea2x(const struct vcpu *c, const struct op *o)
{
	return (c->s.gr[o->b2] + c->s.gr[o->x2] + (uint64_t)(int64_t)o->d2) & c->addr_mask;
}

/* Virtual address of the instruction, and of the one behind it. */
static inline uint64_t op_address(const struct vcpu *c, const struct op *o)
{
	return c->page + o->offset;
}

static inline uint64_t op_next_address(const struct vcpu *c, const struct op *o)
{
	return (c->page + o->offset + o->length) & c->addr_mask;
}

/* ---- Guest memory ---- */

/*
 * ldN and stN read and write N bits at a guest-virtual address in the space of
 * operands, in guest byte order; `ar` is the access register that counts in the
 * access-register mode (the operand's base register). An aligned access is one
 * single access. They do not return when it raises an exception.
 *
 * An instruction that stores to two places, or stores and can still fail, first
 * makes sure with require_write().
 */
#include "cpu/soft/access.h"

/*
 * An operand longer than a register, found and checked before it is touched:
 * at most two pieces of host memory, since it is at most 4096 bytes long.
 */
struct span {
	uint8_t *part[2];
	uint32_t length[2];
	uint64_t absolute[2]; /* of the parts */
	uint64_t address;     /* virtual, of the first */
};

void span_read(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar, size_t length,
	       struct span *);
/* Also for read-modify-write: a page that can be written can be read. */
void span_write(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar, size_t length,
		struct span *);
/* The parts were written: drop decoded code. Always after a write to the span. */
void span_written(struct vcpu *, const struct span *);

static inline uint8_t *span_at(const struct span *s, size_t i)
{
	return i < s->length[0] ? s->part[0] + i : s->part[1] + (i - s->length[0]);
}

static inline void span_get(const struct span *s, void *to)
{
	shared_read(to, s->part[0], s->length[0]);
	if (s->length[1])
		shared_read((uint8_t *)to + s->length[0], s->part[1], s->length[1]);
}

static inline void span_put(struct vcpu *c, const struct span *s, const void *from)
{
	shared_write(s->part[0], from, s->length[0]);
	if (s->length[1])
		shared_write(s->part[1], (const uint8_t *)from + s->length[0], s->length[1]);
	span_written(c, s);
}

/*
 * Is there reason to break off a long, interruptible instruction between two of
 * its units of operation? Then it puts its progress into the registers and
 * (INSN_JUMP) returns repeat(), or sets condition code 3 where it has one.
 */
static inline bool interruption_wanted(const struct vcpu *c)
{
	return atomic_load_explicit(&c->limit, memory_order_relaxed) == 0;
}

/* ---- Going from op to op ---- */

#if CPU_THREADED
#define RUN_OP(c, next) do { \
		const struct op *next_ = (next); \
		TAIL_CALL return __atomic_load_n(&next_->fn, __ATOMIC_RELAXED)(c, next_); \
	} while (0)
#else
#define RUN_OP(c, next) return (next)
#endif

#define INSN_BODY_(name, inlining, type) \
	static inlining type name##_body(struct vcpu *c, const struct op *o); \
	op_fn insn_##name;
#define ALWAYS_INLINE_ inline __attribute__((always_inline))
#define NOINLINE_ __attribute__((noinline))

#define INSN_DEFINE_(name, inlining) \
	INSN_BODY_(name, inlining, void) \
	const struct op *insn_##name(struct vcpu *c, const struct op *o) \
	{ \
		name##_body(c, o); \
		RUN_OP(c, o + 1); \
	} \
	static inlining void name##_body(struct vcpu *c, const struct op *o)

#define INSN(name) INSN_DEFINE_(name, NOINLINE_)
#define INSN_FAST(name) INSN_DEFINE_(name, ALWAYS_INLINE_)

/* The body returns the op to go on with, from jump_to() or o + 1. */
#define INSN_JUMP_DEFINE_(name, inlining) \
	INSN_BODY_(name, inlining, const struct op *) \
	const struct op *insn_##name(struct vcpu *c, const struct op *o) \
	{ \
		o = name##_body(c, o); \
		RUN_OP(c, o); \
	} \
	static inlining const struct op *name##_body(struct vcpu *c, const struct op *o)
#define INSN_JUMP(name) INSN_JUMP_DEFINE_(name, NOINLINE_)
#define INSN_JUMP_FAST(name) INSN_JUMP_DEFINE_(name, ALWAYS_INLINE_)

/* Ends the block: the run loop goes on at the next instruction. */
#define INSN_LAST(name) \
	INSN_BODY_(name, NOINLINE_, void) \
	const struct op *insn_##name(struct vcpu *c, const struct op *o) \
	{ \
		name##_body(c, o); \
		return leave_behind(c, o); \
	} \
	static NOINLINE_ void name##_body(struct vcpu *c, const struct op *o)

/* Leave the code: the run loop goes on at this address (or behind the instruction). */
const struct op *leave_to(struct vcpu *, const struct op *, uint64_t address);
const struct op *leave_behind(struct vcpu *, const struct op *);

/*
 * Branches. jump_relative() goes to o->imm bytes from the instruction, which
 * for them is kept in d2 because the chain takes the place of imm. jump_to()
 * goes anywhere. repeat() executes the instruction again, after whatever
 * wants attention.
 */
const struct op *jump_slow(struct vcpu *, const struct op *, uint64_t address);
const struct op *chain_slow(struct vcpu *, const struct op *);

static inline unsigned int jump_line(uint64_t addr)
{
	return (addr >> 12) & (JUMP_LINES - 1);
}

static inline unsigned int jump_slot(uint64_t addr)
{
	return (unsigned int)((addr >> 1) ^ (addr >> 7)) & (JUMP_SLOTS - 1);
}

/* The instruction count behind this op. */
static inline uint64_t count_behind(const struct vcpu *c, const struct op *o)
{
	return atomic_load_explicit(&c->icount, memory_order_relaxed) + o->index + 1;
}

static inline void count_instructions(struct vcpu *c, const struct op *o)
{
	atomic_store_explicit(&c->icount, count_behind(c, o), memory_order_relaxed);
}

static inline bool limit_reached(const struct vcpu *c, uint64_t count)
{
	return count > atomic_load_explicit(&c->limit, memory_order_relaxed);
}

static inline const struct op *jump_to(struct vcpu *c, const struct op *o, uint64_t address)
{
	struct jump_entry *e = &c->jumps[jump_line(address)][jump_slot(address)];
	uint64_t count = count_behind(c, o);

	if (unlikely(e->addr != address || e->asid != c->fetch_asid || limit_reached(c, count)))
		return jump_slow(c, o, address);
	atomic_store_explicit(&c->icount, count, memory_order_relaxed);
	c->s.breaking_event = op_address(c, o);
	c->page = address & PAGE_MASK;
	return e->op;
}

/* Another vCPU may set it meanwhile. */
static inline const struct op *op_chain(const struct op *o)
{
	return __atomic_load_n(&o->chain, __ATOMIC_ACQUIRE);
}

static inline const struct op *jump_relative(struct vcpu *c, const struct op *o)
{
	const struct op *to = op_chain(o);
	uint64_t count = count_behind(c, o);

	if (unlikely(!to || limit_reached(c, count)))
		return chain_slow(c, o);
	atomic_store_explicit(&c->icount, count, memory_order_relaxed);
	c->s.breaking_event = op_address(c, o);
	c->chain_from = o;
	return to;
}

extern const struct op op_leave;
const struct op *repeat(struct vcpu *, const struct op *);

#endif
