/* SPDX-License-Identifier: MIT */
/*
 * Instructions that other CPUs see happen at once: compare and swap, the
 * interlocked updates of storage, quadwords, pairs.
 *
 * An update works on the host's memory with the host's atomic operations, on
 * values in guest byte order. The page of the operand must be one that can be
 * stored into, even where the comparison will fail: that is what the
 * architecture checks too.
 *
 * ADD IMMEDIATE and its like are interlocked when the operand is aligned
 * (interlocked-access facility 1). AND, OR and EXCLUSIVE OR IMMEDIATE on a byte
 * need not be at this level of the architecture; they are, because programs
 * that rely on it cannot ask first.
 *
 * Source: Principles of Operation (SA22-7832), chapter 7 "General
 * Instructions"; chapter 5 "Interlocked Update", "Block-Concurrent References".
 */
#include "cpu/soft/complex.h"
#include "cpu/soft/soft.h"

#define G1 (c->s.gr[o->r1])
#define G3 (c->s.gr[o->r3])
#define W1 lo32(G1)
#define W3 lo32(G3)
#define IMM8 ((uint8_t)o->imm)

/* ---- The operand in host memory ---- */

struct update {
	void *p;
	const struct tlb_entry *e; /* NULL when the TLB did not know */
};

static ALWAYS_INLINE_ struct update update_begin(struct vcpu *c, const struct op *o, uint64_t ea,
						 unsigned int ar, unsigned int size)
{
	const struct tlb_entry *e = &c->tlb[(ea >> PAGE_SHIFT) % TLB_ENTRIES];

	if (likely(e->tag_write == ((ea & PAGE_MASK) | c->data_asid)))
		return (struct update){ (void *)(uintptr_t)(ea + e->addend), e };
	return (struct update){ interlocked_operand(c, o, ea, ar, size), NULL };
}

static ALWAYS_INLINE_ void update_end(struct vcpu *c, const struct op *o, struct update u,
				      uint64_t ea, unsigned int ar, unsigned int size)
{
	if (unlikely(!u.e))
		interlocked_written(c, o, ea, ar, size);
	else if (unlikely(__atomic_load_n(u.e->flags, __ATOMIC_RELAXED)))
		store_notice(c, o, u.e, ea, size);
}

static ALWAYS_INLINE_ void require_aligned(struct vcpu *c, const struct op *o, uint64_t ea,
					   unsigned int size)
{
	if (unlikely(ea & (size - 1)))
		pgm(c, o, PGM_SPECIFICATION);
}

/* A quadword as it lies in memory; `word` is in guest byte order. */
union quadword {
	unsigned __int128 whole;
	uint64_t word[2];
};

static inline union quadword quadword_of(uint64_t high, uint64_t low)
{
	return (union quadword){ .word = { ACCESS_SWAP_64(high), ACCESS_SWAP_64(low) } };
}

static NOINLINE_ unsigned __int128 swap_quadword(void *p, unsigned __int128 expected,
						 unsigned __int128 desired)
{
#ifdef __s390x__
	/* The compilers know no builtin for it there. */
	asm volatile("cdsg %0,%2,%1"
		     : "+d"(expected), "+QS"(*(volatile unsigned __int128 *)p)
		     : "d"(desired)
		     : "cc", "memory");
	return expected;
#elif defined(__x86_64__)
	uint64_t low = (uint64_t)expected, high = (uint64_t)(expected >> 64);

	/* libtsan makes two stores of the builtin, under a lock that others do not take. */
	asm volatile("lock cmpxchg16b %0"
		     : "+m"(*(volatile unsigned __int128 *)p), "+a"(low), "+d"(high)
		     : "b"((uint64_t)desired), "c"((uint64_t)(desired >> 64))
		     : "cc", "memory");
	return (unsigned __int128)high << 64 | low;
#else
	return __sync_val_compare_and_swap((unsigned __int128 *)p, expected, desired);
#endif
}

/* ---- Compare and swap ---- */

#define SWAP_WORD(p, expected, desired) \
	ACCESS_SWAP_32(__sync_val_compare_and_swap((uint32_t *)(p), ACCESS_SWAP_32(expected), \
						   ACCESS_SWAP_32(desired)))
#define SWAP_DOUBLEWORD(p, expected, desired) \
	ACCESS_SWAP_64(__sync_val_compare_and_swap((uint64_t *)(p), ACCESS_SWAP_64(expected), \
						   ACCESS_SWAP_64(desired)))

INSN_FAST(cs)
{
	uint64_t ea = ea2(c, o);
	uint32_t expected = W1;
	uint32_t found;
	struct update u;

	require_aligned(c, o, ea, 4);
	u = update_begin(c, o, ea, o->b2, 4);
	found = SWAP_WORD(u.p, expected, W3);
	if (found == expected) {
		update_end(c, o, u, ea, o->b2, 4);
		set_cc(c, 0);
	} else {
		set_lo32(c, o->r1, found);
		set_cc(c, 1);
	}
}

INSN_FAST(csg)
{
	uint64_t ea = ea2(c, o);
	uint64_t expected = G1;
	uint64_t found;
	struct update u;

	require_aligned(c, o, ea, 8);
	u = update_begin(c, o, ea, o->b2, 8);
	found = SWAP_DOUBLEWORD(u.p, expected, G3);
	if (found == expected) {
		update_end(c, o, u, ea, o->b2, 8);
		set_cc(c, 0);
	} else {
		G1 = found;
		set_cc(c, 1);
	}
}

INSN(cds)
{
	uint64_t ea = ea2(c, o);
	uint64_t expected, found;
	struct update u;

	require_even(c, o, o->r1 | o->r3);
	require_aligned(c, o, ea, 8);
	expected = G1 << 32 | lo32(c->s.gr[o->r1 + 1]);
	u = update_begin(c, o, ea, o->b2, 8);
	found = SWAP_DOUBLEWORD(u.p, expected, G3 << 32 | lo32(c->s.gr[o->r3 + 1]));
	if (found == expected) {
		update_end(c, o, u, ea, o->b2, 8);
		set_cc(c, 0);
	} else {
		set_lo32(c, o->r1, (uint32_t)(found >> 32));
		set_lo32(c, o->r1 + 1, lo32(found));
		set_cc(c, 1);
	}
}

INSN(cdsg)
{
	uint64_t ea = ea2(c, o);
	union quadword expected, desired, found;
	struct update u;

	require_even(c, o, o->r1 | o->r3);
	require_aligned(c, o, ea, 16);
	expected = quadword_of(G1, c->s.gr[o->r1 + 1]);
	desired = quadword_of(G3, c->s.gr[o->r3 + 1]);
	u = update_begin(c, o, ea, o->b2, 16);
	found.whole = swap_quadword(u.p, expected.whole, desired.whole);
	if (found.whole == expected.whole) {
		update_end(c, o, u, ea, o->b2, 16);
		set_cc(c, 0);
	} else {
		G1 = ACCESS_SWAP_64(found.word[0]);
		c->s.gr[o->r1 + 1] = ACCESS_SWAP_64(found.word[1]);
		set_cc(c, 1);
	}
}

/* ---- Operands of a word up to a quadword as they lie in memory ---- */

struct value {
	uint64_t word[2]; /* in memory order; what the operand does not fill is 0 */
};

static void value_load(struct value *v, const void *p, unsigned int size)
{
	*v = (struct value){ 0 };
	switch (size) {
	case 1:
		*(uint8_t *)v->word = shared_byte(p);
		break;
	case 2:
		*(uint16_t *)v->word = __atomic_load_n((const uint16_t *)p, __ATOMIC_SEQ_CST);
		break;
	case 4:
		*(uint32_t *)v->word = __atomic_load_n((const uint32_t *)p, __ATOMIC_SEQ_CST);
		break;
	case 8:
		v->word[0] = __atomic_load_n((const uint64_t *)p, __ATOMIC_SEQ_CST);
		break;
	case 16: {
		/* Swapping 0 for 0 changes nothing, and reads both halves at once. */
		union quadword q = { .whole = swap_quadword((void *)(uintptr_t)p, 0, 0) };

		v->word[0] = q.word[0];
		v->word[1] = q.word[1];
		break;
	}
	}
}

static void quadword_store(void *p, union quadword q)
{
	union quadword old = { .word = { 0, 0 } };
	unsigned __int128 expected;

	do {
		expected = old.whole;
		old.whole = swap_quadword(p, expected, q.whole);
	} while (old.whole != expected);
}

static void value_store(const struct value *v, void *p, unsigned int size)
{
	switch (size) {
	case 1:
		__atomic_store_n((uint8_t *)p, *(const uint8_t *)v->word, __ATOMIC_SEQ_CST);
		break;
	case 2:
		__atomic_store_n((uint16_t *)p, *(const uint16_t *)v->word, __ATOMIC_SEQ_CST);
		break;
	case 4:
		__atomic_store_n((uint32_t *)p, *(const uint32_t *)v->word, __ATOMIC_SEQ_CST);
		break;
	case 8:
		__atomic_store_n((uint64_t *)p, v->word[0], __ATOMIC_SEQ_CST);
		break;
	case 16:
		quadword_store(p, (union quadword){ .word = { v->word[0], v->word[1] } });
		break;
	}
}

static bool value_equal(const struct value *a, const struct value *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* To and from general registers; 16 bytes are a pair of them. */
static void value_from_gr(struct value *v, const struct vcpu *c, unsigned int r, unsigned int size)
{
	*v = (struct value){ 0 };
	if (size == 4) {
		store_be32(v->word, lo32(c->s.gr[r]));
	} else {
		store_be64(&v->word[0], c->s.gr[r]);
		if (size == 16)
			store_be64(&v->word[1], c->s.gr[r + 1]);
	}
}

static void value_to_gr(const struct value *v, struct vcpu *c, unsigned int r, unsigned int size)
{
	if (size == 4) {
		set_lo32(c, r, load_be32(v->word));
	} else {
		c->s.gr[r] = load_be64(&v->word[0]);
		if (size == 16)
			c->s.gr[r + 1] = load_be64(&v->word[1]);
	}
}

static void value_fetch(struct value *v, struct vcpu *c, const struct op *o, uint64_t ea,
			unsigned int ar, unsigned int size)
{
	struct span s;

	*v = (struct value){ 0 };
	span_read(c, o, ea & c->addr_mask, ar, size, &s);
	span_get(&s, v->word);
}

/*
 * Compare and swap and store: a second store happens when the swap does. Function
 * code (GR0) 0, 1, 2: operand of 4, 8, 16 bytes; storage characteristic: the store
 * is of 1 << sc bytes. Parameter list (GR1): what to swap in; at 16, what to store.
 */
INSN(csst)
{
	unsigned int fc = c->s.gr[0] & 0xff;
	unsigned int sc = c->s.gr[0] >> 8 & 0xff;
	unsigned int size = 4u << (fc & 3);
	uint64_t list = gr_address(c, 1) & ~15ull;
	uint64_t swap_ea = ea1(c, o);
	uint64_t store_ea = ea2(c, o);
	struct value expected, desired, found, to_store;
	struct update u;
	struct span s;

	if (fc > 2 || sc > 4)
		pgm(c, o, PGM_SPECIFICATION);
	if (fc == 2)
		require_even(c, o, o->r3);
	require_aligned(c, o, swap_ea, size);
	require_aligned(c, o, store_ea, 1u << sc);

	value_from_gr(&expected, c, o->r3, size);
	value_fetch(&desired, c, o, list, 1, size);
	value_fetch(&to_store, c, o, list + 16, 1, 1u << sc);
	span_write(c, o, store_ea, o->b2, 1u << sc, &s);
	u = update_begin(c, o, swap_ea, o->b1, size);

	switch (size) {
	case 4: {
		uint32_t old = __sync_val_compare_and_swap((uint32_t *)u.p,
							   *(uint32_t *)expected.word,
							   *(uint32_t *)desired.word);
		found = (struct value){ 0 };
		*(uint32_t *)found.word = old;
		break;
	}
	case 8:
		found.word[0] = __sync_val_compare_and_swap((uint64_t *)u.p, expected.word[0],
							    desired.word[0]);
		found.word[1] = 0;
		break;
	default: {
		union quadword q = {
			.whole = swap_quadword(u.p,
				((union quadword){ .word = { expected.word[0],
							     expected.word[1] } }).whole,
				((union quadword){ .word = { desired.word[0],
							     desired.word[1] } }).whole)
		};

		found.word[0] = q.word[0];
		found.word[1] = q.word[1];
	}
	}
	if (!value_equal(&found, &expected)) {
		value_to_gr(&found, c, o->r3, size);
		set_cc(c, 1);
		return;
	}
	value_store(&to_store, s.part[0], 1u << sc);
	span_written(c, &s);
	update_end(c, o, u, swap_ea, o->b1, size);
	set_cc(c, 0);
}

/* ---- Load and operate: the old value to R1, the new one to storage ---- */

static ALWAYS_INLINE_ uint32_t fetch_add32(struct vcpu *c, const struct op *o, uint64_t ea,
					   unsigned int ar, uint32_t addend)
{
	struct update u = update_begin(c, o, ea, ar, 4);
	uint32_t *p = u.p;
	uint32_t old = __atomic_load_n(p, __ATOMIC_RELAXED);

	for (;;) {
		uint32_t sum = ACCESS_SWAP_32(ACCESS_SWAP_32(old) + addend);
		uint32_t found = __sync_val_compare_and_swap(p, old, sum);

		if (likely(found == old))
			break;
		old = found;
	}
	update_end(c, o, u, ea, ar, 4);
	return ACCESS_SWAP_32(old);
}

static ALWAYS_INLINE_ uint64_t fetch_add64(struct vcpu *c, const struct op *o, uint64_t ea,
					   unsigned int ar, uint64_t addend)
{
	struct update u = update_begin(c, o, ea, ar, 8);
	uint64_t *p = u.p;
	uint64_t old = __atomic_load_n(p, __ATOMIC_RELAXED);

	for (;;) {
		uint64_t sum = ACCESS_SWAP_64(ACCESS_SWAP_64(old) + addend);
		uint64_t found = __sync_val_compare_and_swap(p, old, sum);

		if (likely(found == old))
			break;
		old = found;
	}
	update_end(c, o, u, ea, ar, 8);
	return ACCESS_SWAP_64(old);
}

static ALWAYS_INLINE_ void set_cc_add32(struct vcpu *c, const struct op *o, uint32_t a, uint32_t b)
{
	int32_t sum;

	if (unlikely(__builtin_add_overflow((int32_t)a, (int32_t)b, &sum)))
		fixed_overflow(c, o);
	else
		set_cc_signed(c, sum, 0);
}

static ALWAYS_INLINE_ void set_cc_add64(struct vcpu *c, const struct op *o, uint64_t a, uint64_t b)
{
	int64_t sum;

	if (unlikely(__builtin_add_overflow((int64_t)a, (int64_t)b, &sum)))
		fixed_overflow(c, o);
	else
		set_cc_signed(c, sum, 0);
}

static ALWAYS_INLINE_ void set_cc_addl32(struct vcpu *c, uint32_t a, uint32_t b)
{
	uint32_t sum = a + b;

	set_cc(c, (sum < a) * 2u + (sum != 0));
}

static ALWAYS_INLINE_ void set_cc_addl64(struct vcpu *c, uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	set_cc(c, (sum < a) * 2u + (sum != 0));
}

INSN_FAST(laa)
{
	uint64_t ea = ea2(c, o);
	uint32_t addend = W3;
	uint32_t old;

	require_aligned(c, o, ea, 4);
	old = fetch_add32(c, o, ea, o->b2, addend);
	set_lo32(c, o->r1, old);
	set_cc_add32(c, o, old, addend);
}

INSN_FAST(laag)
{
	uint64_t ea = ea2(c, o);
	uint64_t addend = G3;
	uint64_t old;

	require_aligned(c, o, ea, 8);
	old = fetch_add64(c, o, ea, o->b2, addend);
	G1 = old;
	set_cc_add64(c, o, old, addend);
}

INSN_FAST(laal)
{
	uint64_t ea = ea2(c, o);
	uint32_t addend = W3;
	uint32_t old;

	require_aligned(c, o, ea, 4);
	old = fetch_add32(c, o, ea, o->b2, addend);
	set_lo32(c, o->r1, old);
	set_cc_addl32(c, old, addend);
}

INSN_FAST(laalg)
{
	uint64_t ea = ea2(c, o);
	uint64_t addend = G3;
	uint64_t old;

	require_aligned(c, o, ea, 8);
	old = fetch_add64(c, o, ea, o->b2, addend);
	G1 = old;
	set_cc_addl64(c, old, addend);
}

#define LOAD_AND_LOGIC(name, operation, operator) \
	INSN_FAST(name) \
	{ \
		uint64_t ea = ea2(c, o); \
		uint32_t operand = W3; \
		uint32_t old; \
		struct update u; \
		require_aligned(c, o, ea, 4); \
		u = update_begin(c, o, ea, o->b2, 4); \
		old = ACCESS_SWAP_32(operation((uint32_t *)u.p, ACCESS_SWAP_32(operand), \
					       __ATOMIC_SEQ_CST)); \
		update_end(c, o, u, ea, o->b2, 4); \
		set_lo32(c, o->r1, old); \
		set_cc_nonzero(c, old operator operand); \
	} \
	INSN_FAST(name##g) \
	{ \
		uint64_t ea = ea2(c, o); \
		uint64_t operand = G3; \
		uint64_t old; \
		struct update u; \
		require_aligned(c, o, ea, 8); \
		u = update_begin(c, o, ea, o->b2, 8); \
		old = ACCESS_SWAP_64(operation((uint64_t *)u.p, ACCESS_SWAP_64(operand), \
					       __ATOMIC_SEQ_CST)); \
		update_end(c, o, u, ea, o->b2, 8); \
		G1 = old; \
		set_cc_nonzero(c, old operator operand); \
	}
LOAD_AND_LOGIC(lan, __atomic_fetch_and, &)
LOAD_AND_LOGIC(lao, __atomic_fetch_or, |)
LOAD_AND_LOGIC(lax, __atomic_fetch_xor, ^)

/* ---- Storage and immediate ---- */

/* Where the operand is not aligned, fetch and store are two accesses. */
static NOINLINE_ uint32_t fetch_add32_unaligned(struct vcpu *c, const struct op *o, uint64_t ea,
						uint32_t addend)
{
	uint32_t old;

	require_write(c, o, ea, o->b1, 4);
	old = ld32(c, o, ea, o->b1);
	st32(c, o, ea, o->b1, old + addend);
	return old;
}

static NOINLINE_ uint64_t fetch_add64_unaligned(struct vcpu *c, const struct op *o, uint64_t ea,
						uint64_t addend)
{
	uint64_t old;

	require_write(c, o, ea, o->b1, 8);
	old = ld64(c, o, ea, o->b1);
	st64(c, o, ea, o->b1, old + addend);
	return old;
}

static ALWAYS_INLINE_ uint32_t add_immediate32(struct vcpu *c, const struct op *o, uint32_t addend)
{
	uint64_t ea = ea1(c, o);

	if (unlikely(ea & 3))
		return fetch_add32_unaligned(c, o, ea, addend);
	return fetch_add32(c, o, ea, o->b1, addend);
}

static ALWAYS_INLINE_ uint64_t add_immediate64(struct vcpu *c, const struct op *o, uint64_t addend)
{
	uint64_t ea = ea1(c, o);

	if (unlikely(ea & 7))
		return fetch_add64_unaligned(c, o, ea, addend);
	return fetch_add64(c, o, ea, o->b1, addend);
}

INSN_FAST(asi)
{
	uint32_t addend = (uint32_t)(int8_t)o->imm;

	set_cc_add32(c, o, add_immediate32(c, o, addend), addend);
}

INSN_FAST(agsi)
{
	uint64_t addend = (uint64_t)(int8_t)o->imm;

	set_cc_add64(c, o, add_immediate64(c, o, addend), addend);
}

INSN_FAST(alsi)
{
	uint32_t addend = (uint32_t)(int8_t)o->imm;

	set_cc_addl32(c, add_immediate32(c, o, addend), addend);
}

INSN_FAST(algsi)
{
	uint64_t addend = (uint64_t)(int8_t)o->imm;

	set_cc_addl64(c, add_immediate64(c, o, addend), addend);
}

#define LOGIC_IMMEDIATE(name, operation) \
	INSN_FAST(name) \
	{ \
		uint64_t ea = ea1(c, o); \
		struct update u = update_begin(c, o, ea, o->b1, 1); \
		bool nonzero = operation((uint8_t *)u.p, IMM8, __ATOMIC_SEQ_CST) != 0; \
		update_end(c, o, u, ea, o->b1, 1); \
		set_cc(c, nonzero); \
	}
LOGIC_IMMEDIATE(ni, __atomic_and_fetch)
LOGIC_IMMEDIATE(oi, __atomic_or_fetch)
LOGIC_IMMEDIATE(xi, __atomic_xor_fetch)

INSN(ts)
{
	uint64_t ea = ea2(c, o);
	struct update u = update_begin(c, o, ea, o->b2, 1);
	uint8_t old = __atomic_exchange_n((uint8_t *)u.p, 0xff, __ATOMIC_SEQ_CST);

	update_end(c, o, u, ea, o->b2, 1);
	set_cc(c, old >> 7);
}

/* ---- Quadwords and pairs ---- */

INSN(lpq)
{
	uint64_t ea = ea2x(c, o);
	struct value v;
	struct span s;

	require_even(c, o, o->r1);
	require_aligned(c, o, ea, 16);
	span_read(c, o, ea, o->b2, 16, &s);
	value_load(&v, s.part[0], 16);
	value_to_gr(&v, c, o->r1, 16);
}

INSN(stpq)
{
	uint64_t ea = ea2x(c, o);
	struct update u;

	require_even(c, o, o->r1);
	require_aligned(c, o, ea, 16);
	u = update_begin(c, o, ea, o->b2, 16);
	quadword_store(u.p, quadword_of(G1, c->s.gr[o->r1 + 1]));
	update_end(c, o, u, ea, o->b2, 16);
}

/*
 * Two operands as they were at one moment: the first was the same before and
 * after the second was fetched. Code 3 says that it was not to be had.
 */
INSN(lpd)
{
	uint64_t first_ea = ea1(c, o), second_ea = ea2(c, o);
	uint32_t first, second;

	require_even(c, o, o->r3);
	require_aligned(c, o, first_ea | second_ea, 4);
	first = ld32(c, o, first_ea, o->b1);
	atomic_thread_fence(memory_order_acquire);
	second = ld32(c, o, second_ea, o->b2);
	atomic_thread_fence(memory_order_acquire);
	set_cc(c, ld32(c, o, first_ea, o->b1) == first ? 0 : 3);
	set_lo32(c, o->r3, first);
	set_lo32(c, o->r3 + 1, second);
}

INSN(lpdg)
{
	uint64_t first_ea = ea1(c, o), second_ea = ea2(c, o);
	uint64_t first, second;

	require_even(c, o, o->r3);
	require_aligned(c, o, first_ea | second_ea, 8);
	first = ld64(c, o, first_ea, o->b1);
	atomic_thread_fence(memory_order_acquire);
	second = ld64(c, o, second_ea, o->b2);
	atomic_thread_fence(memory_order_acquire);
	set_cc(c, ld64(c, o, first_ea, o->b1) == first ? 0 : 3);
	G3 = first;
	c->s.gr[o->r3 + 1] = second;
}

/* ---- Perform locked operation ---- */

/*
 * Six operations, each on operands of four forms; function code = 4 * operation + form.
 * In all of them the second operand is compared with a value; if they are equal,
 * operands are exchanged, else the second operand takes the place of the value
 * (code 1). What is not in registers is in the parameter list, a slot of 16
 * bytes for each value, the value at the right.
 *
 * The locking is against other CPUs that do the same with the same program
 * lock token (GR1); here all tokens share one lock. An access exception must not
 * leave the instruction with the lock held, so operands are found before it is
 * taken: the second operand alone at first, because the address of the others
 * may be good only if the comparison comes out equal.
 */
enum plo_operation { PLO_CL, PLO_CS, PLO_DCS, PLO_CSST, PLO_CSDST, PLO_CSTST };
enum plo_form { PLO_REGISTER32, PLO_LIST64, PLO_REGISTER64, PLO_LIST128 };

#define PLO_TEST 0x100
#define PLO_RESERVED 0xfffffe00
#define PLO_CODES 24

/* Slots of the parameter list */
#define PLO_COMPARE1 0
#define PLO_REPLACE1 16
#define PLO_COMPARE3 32 /* for COMPARE AND LOAD, the third operand itself */
#define PLO_REPLACE3 48 /* or what is stored at the fourth operand */
#define PLO_STORE5 80
#define PLO_STORE7 112
/* The other operands in storage: access-list-entry token and address */
#define PLO_ALET4 68
#define PLO_ADDRESS4 72
#define PLO_ALET6 100
#define PLO_ADDRESS6 104
#define PLO_ALET8 132
#define PLO_ADDRESS8 136

struct plo {
	enum plo_operation operation;
	enum plo_form form;
	unsigned int size;
	bool in_registers; /* the first and third operand */
	uint64_t list;
};

static uint64_t plo_slot(const struct plo *p, unsigned int slot)
{
	return p->list + slot + 16 - p->size;
}

/* A value in the register r, or in the list. */
static void plo_value(struct value *v, struct vcpu *c, const struct op *o, const struct plo *p,
		      unsigned int r, unsigned int slot)
{
	if (p->in_registers)
		value_from_gr(v, c, r, p->size);
	else
		value_fetch(v, c, o, plo_slot(p, slot), o->b2, p->size);
}

static void plo_set_value(const struct value *v, struct vcpu *c, const struct op *o,
			  const struct plo *p, unsigned int r, unsigned int slot)
{
	struct span s;

	if (p->in_registers) {
		value_to_gr(v, c, r, p->size);
		return;
	}
	span_write(c, o, plo_slot(p, slot) & c->addr_mask, o->b2, p->size, &s);
	span_put(c, &s, v->word);
}

/* An operand whose address is in the list; in the AR mode R3 names the space it is in. */
static void plo_listed_operand(struct vcpu *c, const struct op *o, const struct plo *p,
			       unsigned int alet, unsigned int address, bool write,
			       struct span *s)
{
	bool ar_mode = (c->s.psw_mask & (PSW_DAT | PSW_ASC)) == (PSW_DAT | PSW_ASC_AR);
	uint64_t ea;

	if (ar_mode) {
		if (!o->r3)
			pgm(c, o, PGM_SPECIFICATION);
		c->s.ar[o->r3] = ld32(c, o, (p->list + alet) & c->addr_mask, o->b2);
	}
	ea = ld64(c, o, (p->list + address) & c->addr_mask, o->b2) & c->addr_mask;
	require_aligned(c, o, ea, p->size);
	if (write)
		span_write(c, o, ea, o->r3, p->size, s);
	else
		span_read(c, o, ea, o->r3, p->size, s);
}

static void plo_check(struct vcpu *c, const struct op *o, const struct plo *p, uint64_t ea2,
		      uint64_t ea4)
{
	bool ea4_is_list = !p->in_registers || p->operation >= PLO_CSDST;

	if (p->in_registers) {
		if (p->operation != PLO_CL)
			require_even(c, o, o->r1);
		if (p->operation == PLO_DCS)
			require_even(c, o, o->r3);
	}
	require_aligned(c, o, ea2, p->size);
	if (ea4_is_list)
		require_aligned(c, o, ea4, MIN(p->size, 8u));
	else if (p->operation != PLO_CS)
		require_aligned(c, o, ea4, p->size);
}

INSN(plo)
{
	static const uint8_t sizes[] = { 4, 8, 8, 16 };
	unsigned int code = c->s.gr[0] & 0xff;
	uint64_t second_ea = ea1(c, o), fourth_ea = ea2(c, o);
	struct plo p = { .operation = code / 4, .form = code % 4, .list = fourth_ea };
	struct value compare1, replace1, compare3, replace3, store5, store7, found2, found4;
	struct span second, fourth, sixth, eighth;
	pthread_mutex_t *lock = &c->complex->plo_lock;
	unsigned int cc;

	if (c->s.gr[0] & PLO_RESERVED)
		pgm(c, o, PGM_SPECIFICATION);
	if (c->s.gr[0] & PLO_TEST) {
		set_cc(c, code < PLO_CODES ? 0 : 3);
		return;
	}
	if (code >= PLO_CODES)
		pgm(c, o, PGM_SPECIFICATION);
	p.size = sizes[p.form];
	p.in_registers = p.form == PLO_REGISTER32 || p.form == PLO_REGISTER64;
	plo_check(c, o, &p, second_ea, fourth_ea);

	plo_value(&compare1, c, o, &p, o->r1, PLO_COMPARE1);
	if (p.operation == PLO_CL)
		span_read(c, o, second_ea, o->b1, p.size, &second);
	else
		span_write(c, o, second_ea, o->b1, p.size, &second);
	pthread_mutex_lock(lock);
	value_load(&found2, second.part[0], p.size);
	pthread_mutex_unlock(lock);
	if (!value_equal(&found2, &compare1)) {
		plo_set_value(&found2, c, o, &p, o->r1, PLO_COMPARE1);
		set_cc(c, 1);
		return;
	}

	if (p.operation != PLO_CL)
		plo_value(&replace1, c, o, &p, o->r1 + 1, PLO_REPLACE1);
	if (p.operation == PLO_DCS) {
		plo_value(&compare3, c, o, &p, o->r3, PLO_COMPARE3);
		plo_value(&replace3, c, o, &p, o->r3 + 1, PLO_REPLACE3);
	} else if (p.operation == PLO_CSST) {
		plo_value(&replace3, c, o, &p, o->r3, PLO_REPLACE3);
	} else if (p.operation >= PLO_CSDST) {
		value_fetch(&replace3, c, o, plo_slot(&p, PLO_REPLACE3), o->b2, p.size);
		value_fetch(&store5, c, o, plo_slot(&p, PLO_STORE5), o->b2, p.size);
	}
	if (p.operation == PLO_CSTST)
		value_fetch(&store7, c, o, plo_slot(&p, PLO_STORE7), o->b2, p.size);

	/* Nothing more to find for CS. A PLO that loads a register is done with the list. */
	if (p.operation == PLO_CL && !p.in_registers)
		require_write(c, o, plo_slot(&p, PLO_COMPARE3) & c->addr_mask, o->b2, p.size);
	if (p.operation != PLO_CS) {
		if (p.in_registers && p.operation < PLO_CSDST) {
			if (p.operation == PLO_CL)
				span_read(c, o, fourth_ea, o->b2, p.size, &fourth);
			else
				span_write(c, o, fourth_ea, o->b2, p.size, &fourth);
		} else {
			plo_listed_operand(c, o, &p, PLO_ALET4, PLO_ADDRESS4,
					   p.operation != PLO_CL, &fourth);
		}
	}
	if (p.operation >= PLO_CSDST)
		plo_listed_operand(c, o, &p, PLO_ALET6, PLO_ADDRESS6, true, &sixth);
	if (p.operation == PLO_CSTST)
		plo_listed_operand(c, o, &p, PLO_ALET8, PLO_ADDRESS8, true, &eighth);

	pthread_mutex_lock(lock);
	value_load(&found2, second.part[0], p.size);
	cc = value_equal(&found2, &compare1) ? 0 : 1;
	if (!cc && (p.operation == PLO_CL || p.operation == PLO_DCS)) {
		value_load(&found4, fourth.part[0], p.size);
		if (p.operation == PLO_DCS && !value_equal(&found4, &compare3))
			cc = 2;
	}
	if (!cc && p.operation != PLO_CL) {
		if (p.operation >= PLO_CSDST)
			value_store(&store5, sixth.part[0], p.size);
		if (p.operation == PLO_CSTST)
			value_store(&store7, eighth.part[0], p.size);
		if (p.operation != PLO_CS)
			value_store(&replace3, fourth.part[0], p.size);
		value_store(&replace1, second.part[0], p.size);
	}
	pthread_mutex_unlock(lock);

	if (cc == 1) {
		plo_set_value(&found2, c, o, &p, o->r1, PLO_COMPARE1);
	} else if (cc == 2 || p.operation == PLO_CL) {
		plo_set_value(&found4, c, o, &p, o->r3, PLO_COMPARE3);
	} else {
		span_written(c, &second);
		if (p.operation != PLO_CS)
			span_written(c, &fourth);
		if (p.operation >= PLO_CSDST)
			span_written(c, &sixth);
		if (p.operation == PLO_CSTST)
			span_written(c, &eighth);
	}
	set_cc(c, cc);
}
