/* SPDX-License-Identifier: MIT */
/*
 * Guest-virtual loads and stores: the part of the TLB that is inlined into
 * instructions. Included by soft.h only; the rest is mmu.c.
 *
 * A hit compares the page of the operand's last byte with the tag, so that an
 * operand that crosses into the next page misses as well. After a store the
 * page's flag byte is read: nonzero means that somebody wants to know of
 * stores (decoded code, dirty tracking). Reading it after the store, against a
 * process-wide memory barrier on the side that sets it, leaves no gap.
 */
#ifndef ZVISOR_CPU_SOFT_ACCESS_H
#define ZVISOR_CPU_SOFT_ACCESS_H

uint64_t load_slow(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar, unsigned int size);
void store_slow(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar, unsigned int size,
		uint64_t value);
void store_notice(struct vcpu *, const struct op *, const struct tlb_entry *, uint64_t ea,
		  unsigned int size);
/* store_notice(), then the next op goes to the run loop. */
const struct op *store_noticed(struct vcpu *, const struct op *, const struct tlb_entry *,
			       uint64_t ea, unsigned int size);
void require_write_slow(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar,
			unsigned int size);
/*
 * Host pointer for an interlocked update of an operand aligned to its size
 * (1 to 16 bytes); after the update call interlocked_written().
 */
void *interlocked_operand(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar,
			  unsigned int size);
void interlocked_written(struct vcpu *, const struct op *, uint64_t ea, unsigned int ar,
			 unsigned int size);

#define ACCESS_SWAP_8(v) (v)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ACCESS_SWAP_16(v) __builtin_bswap16(v)
#define ACCESS_SWAP_32(v) __builtin_bswap32(v)
#define ACCESS_SWAP_64(v) __builtin_bswap64(v)
#else
#define ACCESS_SWAP_16(v) (v)
#define ACCESS_SWAP_32(v) (v)
#define ACCESS_SWAP_64(v) (v)
#endif

/*
 * One access where the address is aligned. The host may be given an unaligned
 * address too, which x86 takes; a thread sanitizer is told that the access is
 * atomic, which it is when aligned.
 */
#if THREAD_SANITIZER || !(defined(__x86_64__) || defined(__s390x__))
#define ACCESS_LOAD(bits, p) ({ \
	uint##bits##_t v_; \
	if ((uintptr_t)(p) & (bits / 8 - 1)) \
		shared_read(&v_, (const void *)(p), bits / 8); \
	else \
		v_ = __atomic_load_n((const uint##bits##_t *)(p), __ATOMIC_RELAXED); \
	v_; })
#define ACCESS_STORE(bits, p, v) do { \
	uint##bits##_t v_ = (v); \
	if ((uintptr_t)(p) & (bits / 8 - 1)) \
		shared_write((void *)(p), &v_, bits / 8); \
	else \
		__atomic_store_n((uint##bits##_t *)(p), v_, __ATOMIC_RELAXED); \
	} while (0)
#else
#define ACCESS_LOAD(bits, p) (((const volatile struct access_##bits *)(p))->v)
#define ACCESS_STORE(bits, p, x) (((volatile struct access_##bits *)(p))->v = (x))
#endif

/* Host pointers to guest memory: values as the guest has them. */
#define ACCESS_HOST(bits) \
	static inline uint##bits##_t host_load##bits(const void *p) \
	{ \
		return ACCESS_SWAP_##bits(ACCESS_LOAD(bits, p)); \
	} \
	static inline void host_store##bits(void *p, uint##bits##_t value) \
	{ \
		ACCESS_STORE(bits, p, ACCESS_SWAP_##bits(value)); \
	}

#define ACCESS_DEFINE(bits) \
	struct access_##bits { uint##bits##_t v; } __attribute__((packed, may_alias)); \
	static inline uint##bits##_t ld##bits(struct vcpu *c, const struct op *o, uint64_t ea, \
					      unsigned int ar) \
	{ \
		const struct tlb_entry *e = &c->tlb[(ea >> PAGE_SHIFT) % TLB_ENTRIES]; \
		if (unlikely(e->tag_read != \
			     (((ea + bits / 8 - 1) & PAGE_MASK) | c->data_asid))) \
			return (uint##bits##_t)load_slow(c, o, ea, ar, bits / 8); \
		return ACCESS_SWAP_##bits(ACCESS_LOAD(bits, ea + e->addend)); \
	} \
	static inline void st##bits(struct vcpu *c, const struct op *o, uint64_t ea, \
				    unsigned int ar, uint##bits##_t value) \
	{ \
		const struct tlb_entry *e = &c->tlb[(ea >> PAGE_SHIFT) % TLB_ENTRIES]; \
		if (unlikely(e->tag_write != \
			     (((ea + bits / 8 - 1) & PAGE_MASK) | c->data_asid))) { \
			store_slow(c, o, ea, ar, bits / 8, value); \
			return; \
		} \
		ACCESS_STORE(bits, ea + e->addend, ACCESS_SWAP_##bits(value)); \
		atomic_signal_fence(memory_order_seq_cst); \
		if (unlikely(__atomic_load_n(e->flags, __ATOMIC_RELAXED))) \
			store_notice(c, o, e, ea, bits / 8); \
	}

ACCESS_DEFINE(8)
ACCESS_DEFINE(16)
ACCESS_DEFINE(32)
ACCESS_DEFINE(64)
ACCESS_HOST(16)
ACCESS_HOST(32)
ACCESS_HOST(64)

/* Raise the exception that a store there would raise, if any. At most 4096 bytes. */
static inline void require_write(struct vcpu *c, const struct op *o, uint64_t ea, unsigned int ar,
				 unsigned int size)
{
	const struct tlb_entry *e = &c->tlb[(ea >> PAGE_SHIFT) % TLB_ENTRIES];

	if (unlikely(e->tag_write != (((ea + size - 1) & PAGE_MASK) | c->data_asid)))
		require_write_slow(c, o, ea, ar, size);
}

#endif
