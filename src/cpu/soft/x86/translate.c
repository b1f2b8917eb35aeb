/* SPDX-License-Identifier: MIT */
/*
 * The translator for x86-64 hosts: which ops become a run, and the memory for the
 * code. translate.h says what it is, emit.h how a run looks.
 *
 * What costs an interpreter most in large code is the indirect jump from op to op,
 * which the host predicts badly, and then that each op's operands are fetched as
 * data. Translated code has neither: operands are constants in it, and it jumps
 * at branches only, each from a place of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/soft/x86/emit.h"

#define W X86_W

/* Room for code */
#define HOST_CODE_BYTES (24 * MIB)

#define MIN_RUN 2

#define PCI_STORE 0xb9d0

#define TEMPLATE(name, ...) op_fn insn_##name;
#include "cpu/soft/x86/templates.def"
#undef TEMPLATE

static const struct template templates[] = {
	{ NULL, NONE, 0, 0, 0, 0 },
#define TEMPLATE(name, ...) { insn_##name, __VA_ARGS__ },
#include "cpu/soft/x86/templates.def"
#undef TEMPLATE
	{ insn_privileged_access, STORE_BY_WINDOW, 0, 0, 0, 0 },
};
static const struct template go_next = { insn_goto_next, GO_NEXT, 0, 0, 0, 0 };

/* ---- A run ---- */

/* Can this op be translated, knowing how the condition code is kept before it? */
static const struct template *template_of(const struct host_code *code, const struct op *o,
					  enum known_cc cc)
{
	const struct template *m;

	if (!o->length)
		return o->fn == insn_goto_next ? &go_next : NULL;
	if (o->fn == insn_crossing || o->fn == insn_operation_exception)
		return NULL;
	m = &templates[code->templates[o->insn]];
	switch ((enum operation)m->operation) {
	case NONE:
		return NULL;
	case BRANCH_CONDITION_REGISTER:
	case BRANCH_SAVE_REGISTER:
		return o->r2 ? m : NULL;
	case STORE_BY_WINDOW:
		return o->r2 & 1 ? NULL : m;
	case MOVE:
	case COMPARE_FIELDS:
		return o->l1 < 8 && !(o->l1 & (o->l1 + 1)) ? m : NULL;
	case LOAD_ON_CONDITION:
		return cc != CC_UNKNOWN ? m : NULL;
	case TEST_MASK:
		return (m->type == U8 ? (uint8_t)o->imm : (uint16_t)o->imm) ? m : NULL;
	case SHIFT_LEFT:
	case SHIFT_RIGHT:
	case SHIFT_SIGNED:
	case ROTATE:
		return o->b2 == 16 ? m : NULL;
	default:
		break;
	}
	/* Relative operands are aligned, which depends on the place in the page alone, or an exception. */
	if (insn_table[o->insn].format == F_RIL_REL && m->operation != LOAD_ADDRESS &&
	    !(insn_table[o->insn].flags & JUMP) &&
	    ((o->offset + o->uimm) & (type_size(m->type) - 1)))
		return NULL;
	return m;
}

/* How the condition code is kept behind the op. */
static enum known_cc cc_behind(const struct template *m, enum known_cc cc)
{
	switch ((enum operation)m->operation) {
	case TEST:
	case ADD:
	case SUBTRACT:
	case COMPARE:
	case COMPARE_STORAGE:
	case SHIFT_SIGNED:
	case ROTATE_INSERT:
		return CC_IS_SIGNED;
	case COMPARE_LOGICAL:
	case COMPARE_STORAGE_LOGICAL:
	case AND:
	case OR:
	case XOR:
	case AND_PART:
	case OR_PART:
	case ROTATE_AND:
	case ROTATE_OR:
	case ROTATE_XOR:
	case COMPARE_FIELDS:
		return CC_IS_UNSIGNED;
	case ADD_LOGICAL:
	case SUBTRACT_LOGICAL:
	case ADD_CARRY:
	case SUBTRACT_BORROW:
	case TEST_MASK:
	case STORE_BY_WINDOW:
		return CC_IS_VALUE;
	default:
		return cc;
	}
}

static void translate_op(struct translation_run *t, const struct template *m)
{
	if (m->operation >= LOAD_ON_CONDITION)
		translate_branch(t, m);
	else
		translate_insn(t, m);
}

/* rsi = op k, and its function goes on. */
static void go_on_with(struct translation_run *t, unsigned int k)
{
	if (k)
		x86_group(&t->p, X86_G_ADD, W, RSI, op_at(k));
	if (k && !t->again[k]) {
		emit_run_op(t);
		return;
	}
	x86_imm(&t->p, RAX, (uint64_t)(uintptr_t)t->ops[k].fn);
	x86_reg(&t->p, 0xff, 4, RAX);
}

static void stub(struct translation_run *t, const struct host_code *code, const struct stub *s)
{
	t->k = s->k;
	x86_land(s->site, t->p);
	switch ((enum stub_kind)s->kind) {
	case STUB_EXIT:
		go_on_with(t, s->k);
		break;
	case STUB_NOTICED:
		/* rdx and rcx have the entry and the address. */
		x86_mem(&t->p, X86_LEA | W, RSI, RSI, op_at(s->k));
		x86_imm(&t->p, R8, s->size);
		x86_imm(&t->p, RAX, (uint64_t)(uintptr_t)store_noticed);
		x86_reg(&t->p, 0xff, 4, RAX);
		break;
	case STUB_TAKEN:
		emit_taken(t, template_of(code, current(t), CC_IS_VALUE));
		break;
	}
}

static unsigned int length_of_run(const struct host_code *code, const struct op *ops,
				  unsigned int count)
{
	enum known_cc cc = CC_UNKNOWN;
	unsigned int n = 0;

	while (n < count) {
		const struct template *m = template_of(code, &ops[n], cc);

		if (!m)
			break;
		cc = cc_behind(m, cc);
		n++;
	}
	return n;
}

/* Not those that are moves alone, or that use what the flags say. */
static bool changes_flags(const struct template *m)
{
	switch ((enum operation)m->operation) {
	case SET:
		return m->operand == MEMORY;
	case BRANCH_CONDITION:
	case BRANCH_CONDITION_REGISTER:
	case LOAD_ON_CONDITION:
		return false;
	default:
		return true;
	}
}

static op_fn *function_at(const struct host_code *code, const uint8_t *p)
{
	return (op_fn *)(uintptr_t)(code->execute + (p - code->write));
}

/* Code that has rsi point to the run's first op again, and goes on with the current one. */
static op_fn *enter_again(struct translation_run *t, const struct host_code *code)
{
	uint8_t *begin = t->p;

	x86_group(&t->p, X86_G_ADD, W, RSI, -op_at(t->k));
	x86_land(x86_jump(&t->p), t->again[t->k]);
	return function_at(code, begin);
}

static void translate_run(struct host_code *code, struct op *ops, unsigned int n, bool goes_on)
{
	struct translation_run t = { .p = code->write + code->used, .ops = ops };
	bool open = true;

	for (t.k = 0; t.k < n; t.k++) {
		const struct template *m = template_of(code, current(&t), t.cc);

		if (changes_flags(m))
			t.flags = false;
		translate_op(&t, m);
		open = !(current(&t)->flags & OP_ALWAYS_JUMPS) && m != &go_next;
	}
	if (open && goes_on)
		go_on_with(&t, n);
	/* Stubs make stubs: the exits of a branch. */
	for (unsigned int i = 0; i < t.stubs; i++)
		stub(&t, code, &t.stub[i]);
	for (t.k = 1; t.k < n; t.k++) {
		if (t.again[t.k])
			ops[t.k].fn = enter_again(&t, code);
	}
	ops[0].fn = function_at(code, code->write + code->used);
	__atomic_store_n(&code->used, ((size_t)(t.p - code->write) + 15) & ~15ull,
			 __ATOMIC_RELAXED);
}

void translate_block(struct host_code *code, struct op *ops, unsigned int count)
{
	unsigned int i = 0;

	if (code->size - code->used < TRANSLATE_BLOCK_BYTES)
		return;
	while (i < count) {
		unsigned int n = length_of_run(code, ops + i, count - i);

		if (n >= MIN_RUN)
			translate_run(code, ops + i, n, i + n < count);
		i += n + 1;
	}
}

bool translate_full(const struct host_code *code)
{
	return code->size &&
	       code->size - __atomic_load_n(&code->used, __ATOMIC_RELAXED) < TRANSLATE_BLOCK_BYTES;
}

void translate_forget(struct host_code *code)
{
	code->most = MAX(code->most, code->used);
	code->used = 0;
}

/* ---- Memory ---- */

static uint8_t template_number(op_fn *fn)
{
	for (unsigned int i = 1; i < ARRAY_SIZE(templates); i++) {
		if (templates[i].fn == fn)
			return (uint8_t)i;
	}
	return 0;
}

void translate_init(struct host_code *code)
{
	void *write = MAP_FAILED, *execute = MAP_FAILED;
	int fd;

	_Static_assert(ARRAY_SIZE(templates) < 256, "a template's number is one byte");
	*code = (struct host_code){ 0 };
#if THREAD_SANITIZER
	/* It cannot see the accesses of host code. */
	return;
#endif
	code->templates = calloc(insn_table_size, 1);
	fd = memfd_create("zvisor-code", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, HOST_CODE_BYTES) == 0) {
		write = mmap(NULL, HOST_CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		execute = mmap(NULL, HOST_CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	}
	if (!code->templates || write == MAP_FAILED || execute == MAP_FAILED) {
		log_line("the guest runs at a third of its speed: there is no memory for host "
			 "code: %s",
			 strerror(errno));
		if (write != MAP_FAILED)
			munmap(write, HOST_CODE_BYTES);
		if (execute != MAP_FAILED)
			munmap(execute, HOST_CODE_BYTES);
		if (fd >= 0)
			close(fd);
		return;
	}
	close(fd);
	code->write = write;
	code->execute = execute;
	code->size = HOST_CODE_BYTES;
	for (unsigned int i = 0; i < insn_table_size; i++) {
		if (!(insn_table[i].flags & (PRIVILEGED | MACHINE)))
			code->templates[i] = template_number(insn_table[i].fn);
	}
}

void translate_windows(struct host_code *code)
{
	for (unsigned int i = 0; code->size && i < insn_table_size; i++) {
		if (insn_table[i].opcode == PCI_STORE)
			code->templates[i] = template_number(insn_privileged_access);
	}
}

void translate_destroy(struct host_code *code)
{
	if (code->size) {
		munmap(code->write, code->size);
		munmap(code->execute, code->size);
	}
	free(code->templates);
	*code = (struct host_code){ 0 };
}
