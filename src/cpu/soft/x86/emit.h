/* SPDX-License-Identifier: MIT */
/*
 * The inside of the translator for x86-64 hosts: a run on its way to host code, and
 * what its files share.
 *
 * Registers of the host in a run: rdi the vCPU, rsi the run's first op, r8 the
 * TLB number of the operands' space once it was loaded; the rest is scratch. The guest's
 * registers stay in the vCPU.
 *
 * While a run is translated it is known how the condition code is kept (`cc`): what set it
 * is mostly in the same run, and then a branch need not ask. When the last
 * instruction of the host that changed the flags was the comparison itself, it
 * even finds the outcome there (`flags`).
 *
 * Behind the straight code of a run come its stubs: the ways out. At an exit the op
 * in question is executed by its own function, found in the op as it is then, so
 * that a dropped block is noticed. Only for the run's first op, whose function is
 * the run, the function is a constant.
 *
 * What is usually an instruction of the machine (PCI STORE) would, once it is executed by
 * its function, leave the rest of the run to functions, too. So the op behind such a
 * one gets the place behind its code as function. It knows nothing but the condition code.
 *
 * Stores look at the page's flags behind the store, as the functions do (access.h).
 */
#ifndef ZVISOR_CPU_SOFT_X86_EMIT_H
#define ZVISOR_CPU_SOFT_X86_EMIT_H

#include "cpu/soft/complex.h"
#include "cpu/soft/x86/assemble.h"

enum operation {
	NONE,
	SET,
	SET_BYTE,
	SET_HIGH,
	SET_FLOAT,
	TEST,
	STORE,
	LOAD_ADDRESS,
	ADD,
	SUBTRACT,
	ADD_LOGICAL,
	SUBTRACT_LOGICAL,
	ADD_CARRY,
	SUBTRACT_BORROW,
	COMPARE,
	COMPARE_LOGICAL,
	COMPARE_STORAGE,
	COMPARE_STORAGE_LOGICAL,
	AND,
	OR,
	XOR,
	AND_PART,
	OR_PART,
	TEST_MASK,
	MULTIPLY,
	SHIFT_LEFT,
	SHIFT_RIGHT,
	SHIFT_SIGNED,
	ROTATE,
	ROTATE_INSERT,
	ROTATE_AND,
	ROTATE_OR,
	ROTATE_XOR,
	LOAD_MULTIPLE,
	STORE_MULTIPLE,
	MOVE,
	COMPARE_FIELDS,
	STORE_BY_WINDOW,
	LOAD_ON_CONDITION,
	BRANCH_CONDITION,
	BRANCH_CONDITION_REGISTER,
	BRANCH_COUNT,
	BRANCH_SAVE,
	BRANCH_SAVE_REGISTER,
	COMPARE_BRANCH,
	COMPARE_BRANCH_LOGICAL,
	GO_NEXT,
};

/* Where the operand comes from that is not in the register of the result, and how it is extended. */
enum operand {
	NO_OPERAND,
	R2,
	R3,
	FLOAT_R1,
	FLOAT_R2,
	ACCESS_REGISTER,
	IMMEDIATE,
	IMMEDIATE_U32,
	IMMEDIATE_U16,
	IMMEDIATE_U8,
	MEMORY,
};
enum type { U8, S8, U16, S16, U32, S32, D64 };

/*
 * An instruction, named by its function (instructions that differ in their format alone
 * have the same).
 */
struct template
{
	op_fn *fn;
	uint8_t operation;
	uint8_t bits; /* of the result: 32 (the right half), 64 */
	uint8_t operand;
	uint8_t type;
	uint8_t shift; /* immediates of 16 or 32 bits that belong further left */
};

/* How the condition code is kept at a place in a run, as far as is known. */
enum known_cc {
	CC_UNKNOWN,
	CC_IS_SIGNED,
	CC_IS_UNSIGNED,
	CC_IS_VALUE,
	CC_IS_BIT, /* a value, 0 or 3 */
};

enum stub_kind {
	STUB_EXIT, /* execute op k by its function */
	STUB_NOTICED, /* a store by op k into a page whose flags are set */
	STUB_TAKEN, /* the branch at k is taken */
};

struct stub {
	uint8_t *site; /* distance of the jump to it */
	uint8_t kind;
	uint8_t size; /* of the store */
	uint16_t k;
};

struct translation_run {
	uint8_t *p;
	struct op *ops; /* the first of the run, which rsi points to */
	unsigned int k; /* the one being translated */
	enum known_cc cc;
	bool flags; /* the host's flags are the comparison that cc stands for */
	bool mode64; /* known to be in the 64-bit addressing mode */
	bool space; /* r8 is loaded */
	bool afp; /* known to have the AFP-register control */
	uint8_t *again[BLOCK_MAX_OPS + 2]; /* where op k can be gone on with, or NULL */
	unsigned int stubs;
	struct stub stub[(BLOCK_MAX_OPS + 1) * 6];
};

/* ---- Where things are ---- */

#define AT(member) ((int32_t)offsetof(struct vcpu, member))

static inline int32_t gr_at(unsigned int r)
{
	return AT(s.gr) + 8 * (int32_t)r;
}

static inline int32_t op_at(unsigned int k)
{
	return (int32_t)(k * sizeof(struct op));
}

static inline const struct op *current(const struct translation_run *t)
{
	return &t->ops[t->k];
}

/* REX.W for a result of 64 bits */
static inline unsigned int template_width(const struct template *m)
{
	return m->bits == 64 ? X86_W : 0;
}

/* ---- Ways out (operand.c) ---- */

/* The jump whose distance is at `site` leaves the run at the current op; `size` of a store. */
void emit_leave(struct translation_run *, uint8_t *site, enum stub_kind, unsigned int size);
void emit_exit_if(struct translation_run *, enum x86_condition);
/* Addresses are not cut: an addressing mode of fewer bits is not translated for. */
void emit_need_mode64(struct translation_run *);
/* Registers other than 0, 2, 4, 6 are there only with the AFP-register control. */
void emit_need_float(struct translation_run *, unsigned int r);
/* Go on with the op that rsi points to. */
void emit_run_op(struct translation_run *);

/* ---- Condition code (operand.c); what is set from registers of the host ---- */

void emit_cc_kind(struct translation_run *, enum known_cc);
/* The outcome of comparing two registers, which are as wide as the comparison. */
void emit_cc_compared(struct translation_run *, enum known_cc, unsigned int a, unsigned int b);
/* A result compared with 0, all 64 bits of the register being it. */
void emit_cc_signed(struct translation_run *, unsigned int reg);
/* 0 or not; changes the register. */
void emit_cc_nonzero(struct translation_run *, unsigned int reg);
/* Carry is 2, a result that is not 0 is 1: from the flags that were just set. */
void emit_cc_carry(struct translation_run *, enum x86_condition carry);
/* The selected bit is in eax and the rest of it is 0. */
void emit_cc_bit(struct translation_run *);

/* ---- Guest memory (operand.c): addresses in rcx ---- */

unsigned int type_size(enum type);
/* rcx = base + index + displacement; 16 stands for no register. */
void emit_base_index(struct translation_run *, unsigned int base, unsigned int index,
		     int32_t displacement);
/* rcx = address of the operand in storage, as the format has it; of the first of two */
void emit_address(struct translation_run *);
void emit_first_address(struct translation_run *);
/*
 * The operand at rcx is in a page that the TLB knows for this kind of access (`tag`: offset
 * in its entry), or exit. rdx = TLB entry, r9 = what to add to an address; rax is lost.
 */
void emit_find_page(struct translation_run *, int32_t tag, unsigned int size);
/* rax = the operand at rcx, extended. */
void emit_load(struct translation_run *, enum type);
/* rax, byte-swapped, to the operand at rcx + displacement, whose page was found. */
void emit_store_value(struct translation_run *, unsigned int size, int32_t displacement);
/* Behind a store: rcx and rdx as emit_find_page() left them. */
void emit_stored(struct translation_run *, unsigned int size);

/* ---- Operands (operand.c) ---- */

void emit_load_register(struct translation_run *, unsigned int reg, unsigned int r, enum type);
uint64_t template_immediate(const struct op *, const struct template *);
/* rax = the operand, extended as the template says. */
void emit_operand(struct translation_run *, const struct template *);
/* rdx = the first operand, where it is not in storage */
void emit_first(struct translation_run *, const struct template *);
/* A register to R1; with the condition code from comparing it with 0 */
void emit_result(struct translation_run *, const struct template *, unsigned int reg);
void emit_signed_result(struct translation_run *, const struct template *, unsigned int reg);

/* ---- Instructions (insn.c, branch.c) ---- */

void translate_insn(struct translation_run *, const struct template *);
/* Those from LOAD_ON_CONDITION on. */
void translate_branch(struct translation_run *, const struct template *);
/* What a branch does when it is taken. */
void emit_taken(struct translation_run *, const struct template *);
static inline bool template_is_branch(const struct template *m)
{
	return m->operation >= BRANCH_CONDITION;
}

#endif
