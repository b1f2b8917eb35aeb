/* SPDX-License-Identifier: MIT */
/*
 * Storage operands longer than a register: found in the TLB without a call
 * where that is possible, copied as the architecture wants to see it.
 *
 * What other CPUs can see of a copy: every byte of the destination is written
 * once and with its final value, and an aligned doubleword is read and written
 * as one ("Block-Concurrent References" in chapter 5 of the Principles of
 * Operation). A C library's memcpy() promises neither, so there is one here.
 *
 * Operands that overlap are processed "as if one byte at a time, left to right".
 * That is decided by host addresses: two virtual addresses may name one byte.
 */
#ifndef ZVISOR_CPU_SOFT_OPERAND_H
#define ZVISOR_CPU_SOFT_OPERAND_H

#include "cpu/soft/soft.h"

/* TLB entry through which [ea, ea + size) can be read (written), all in one page; or NULL. */
static inline const struct tlb_entry *tlb_readable(const struct vcpu *c, uint64_t ea, size_t size)
{
	const struct tlb_entry *e = &c->tlb[(ea >> PAGE_SHIFT) % TLB_ENTRIES];

	return likely(e->tag_read == (((ea + size - 1) & PAGE_MASK) | c->data_asid)) ? e : NULL;
}

static inline const struct tlb_entry *tlb_writable(const struct vcpu *c, uint64_t ea, size_t size)
{
	const struct tlb_entry *e = &c->tlb[(ea >> PAGE_SHIFT) % TLB_ENTRIES];

	return likely(e->tag_write == (((ea + size - 1) & PAGE_MASK) | c->data_asid)) ? e : NULL;
}

static inline uint8_t *tlb_host(const struct tlb_entry *e, uint64_t ea)
{
	return (uint8_t *)(uintptr_t)(ea + e->addend);
}

/* After a write through the entry, as access.h says. */
static inline void tlb_written(struct vcpu *c, const struct op *o, const struct tlb_entry *e,
			       uint64_t ea, size_t size)
{
	atomic_signal_fence(memory_order_seq_cst);
	if (unlikely(__atomic_load_n(e->flags, __ATOMIC_RELAXED)))
		store_notice(c, o, e, ea, (unsigned int)size);
}

/* Bytes from ea to the end of its page. */
static inline size_t page_left(uint64_t ea)
{
	return PAGE_SIZE - (ea & (PAGE_SIZE - 1));
}

/*
 * [ea, ea + size) within one page, for reading. The shortest way to the bytes
 * of a long operand that is gone through page by page.
 */
static inline const uint8_t *page_read(struct vcpu *c, const struct op *o, uint64_t ea,
				       unsigned int ar, size_t size)
{
	const struct tlb_entry *e = tlb_readable(c, ea, size);
	struct span s;

	if (likely(e))
		return tlb_host(e, ea);
	span_read(c, o, ea, ar, size, &s);
	return s.part[0];
}

typedef uint64_t operand_chunk __attribute__((vector_size(16), aligned(1), may_alias));

#if THREAD_SANITIZER
#define OPERAND_COPY(type, d, s) \
	do { \
		uint8_t *d_ = (d); \
		const uint8_t *s_ = (s); \
		type v_; \
		shared_read(&v_, s_, sizeof(v_)); \
		shared_write(d_, &v_, sizeof(v_)); \
	} while (0)
#else
#define OPERAND_COPY(type, d, s) \
	(*(volatile type *)(d) = *(const volatile type *)(s))
#endif

void copy_overlapping(uint8_t *to, const uint8_t *from, size_t size);

/* Copy left to right, byte by byte as far as the result tells. */
static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t size)
{
	size_t distance = (size_t)((uintptr_t)to - (uintptr_t)from);

	if (unlikely(distance < size)) {
		copy_overlapping(to, from, size);
		return;
	}
	for (; size >= 16; size -= 16, to += 16, from += 16)
		OPERAND_COPY(operand_chunk, to, from);
	if (size & 8) {
		OPERAND_COPY(struct access_64, to, from);
		to += 8;
		from += 8;
	}
	if (size & 4) {
		OPERAND_COPY(struct access_32, to, from);
		to += 4;
		from += 4;
	}
	if (size & 2) {
		OPERAND_COPY(struct access_16, to, from);
		to += 2;
		from += 2;
	}
	if (size & 1)
		OPERAND_COPY(uint8_t, to, from);
}

/* copy_bytes() between operands that may lie in two pieces each; `to` still wants span_written(). */
void copy_spans(const struct span *to, const struct span *from, size_t size);
/* Store one value into all bytes; `s` still wants span_written(). */
void fill_span(const struct span *s, uint8_t value, size_t size);

/* Index of the first byte at which a and b differ, or size. */
static inline size_t first_difference(const uint8_t *a, const uint8_t *b, size_t size)
{
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t x = host_load64(a + i) ^ host_load64(b + i);

		if (x)
			return i + (size_t)__builtin_clzll(x) / 8;
	}
	while (i < size && shared_byte(a + i) == shared_byte(b + i))
		i++;
	return i;
}

#endif
