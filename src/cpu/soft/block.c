/* SPDX-License-Identifier: MIT */
/*
 * The cache of decoded code, shared by the vCPUs.
 *
 * A block is a run of instructions within one page frame, keyed by the absolute
 * address of its first. It goes on behind conditional branches and ends with an
 * unconditional one, with the page, or after BLOCK_MAX_OPS.
 *
 * Looking up takes no lock. Making and dropping blocks takes code.lock. A block
 * that is dropped (its code was stored to) leaves the hash and has every op's
 * function replaced by insn_stale, which goes on with a fresh look-up: so
 * whoever is in the block, or still has a pointer to it, never executes another
 * old instruction. Its memory stays until the cache is full; then one vCPU, with
 * all others out of guest code, throws everything away (exclusive_begin()).
 *
 * Who stores and who decodes: a store is followed by a load of the page's flag,
 * and decoding sets the flag before it reads the code, with a barrier in all
 * threads between (membarrier(2)) when the flag was not set. So either the store
 * is seen by the decoder, or the flag by the one who stores. The same game is
 * played with the bit of the 64-byte piece, there with real fences.
 *
 * Some devices store and nobody hears of it (passed-through ones that reach all of
 * memory). While there is one, a page's code is compared with memory, of which each
 * block keeps its part, when a vCPU's TLB learns of the page: what a program has read from
 * a device it maps before it executes it, and whatever mapped the page before has been purged.
 *
 * The pages that hold lowcores are stored to all the time; what little code
 * Linux executes there is not kept.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/trace.h"
#include "cpu/soft/complex.h"

#define PIECE_SHIFT 6 /* 64 pieces of a page */

static void barrier_everywhere(void)
{
	if (syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0)
		syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

int code_init(struct cpu_complex *x)
{
	x->code.pages = calloc(x->size >> PAGE_SHIFT, sizeof(*x->code.pages));
	if (!x->code.pages)
		return -ENOMEM;
	pthread_mutex_init(&x->code.lock, NULL);
	syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	if (x->config.execution != CPU_EXECUTE_CACHED)
		translate_init(&x->code.host);
	return 0;
}

static void free_chunks(struct code_cache *code)
{
	struct code_chunk *next;

	for (struct code_chunk *chunk = code->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	code->chunks = NULL;
	code->bytes = 0;
}

void code_destroy(struct cpu_complex *x)
{
	free_chunks(&x->code);
	translate_destroy(&x->code.host);
	free(x->code.pages);
	pthread_mutex_destroy(&x->code.lock);
}

static void *code_alloc(struct code_cache *code, size_t size)
{
	struct code_chunk *chunk = code->chunks;

	size = (size + 15) & ~15ull;
	if (!chunk || chunk->used + size > CODE_CHUNK_BYTES) {
		chunk = malloc(sizeof(*chunk) + CODE_CHUNK_BYTES);
		if (!chunk)
			return NULL;
		chunk->next = code->chunks;
		chunk->used = 0;
		code->chunks = chunk;
		__atomic_store_n(&code->bytes, code->bytes + CODE_CHUNK_BYTES, __ATOMIC_RELAXED);
	}
	chunk->used += size;
	return chunk->bytes + chunk->used - size;
}

/* Everything goes. The caller is alone (exclusive_begin()). */
static void code_flush(struct cpu_complex *x)
{
	pthread_mutex_lock(&x->code.lock);
	for (size_t i = 0; i < BLOCK_HASH_SIZE; i++)
		atomic_store_explicit(&x->code.hash[i], NULL, memory_order_relaxed);
	for (uint64_t i = 0; i < x->size >> PAGE_SHIFT; i++) {
		struct code_page *page = &x->code.pages[i];

		/* Most pages never had code: they are not touched. */
		if (!atomic_load_explicit(&page->pieces, memory_order_relaxed) && !page->blocks)
			continue;
		page->blocks = NULL;
		atomic_store_explicit(&page->pieces, 0, memory_order_relaxed);
		__atomic_and_fetch(&x->page_flags[i], (uint8_t)~PAGE_HAS_CODE, __ATOMIC_RELAXED);
	}
	free_chunks(&x->code);
	translate_forget(&x->code.host);
	/* Where machine code was there will be other: no host CPU is to have fetched it before. */
	syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	x->code.flushes++;
	for (unsigned int i = 0; i < x->count; i++) {
		mmu_flush_jumps(x->vcpus[i]);
		x->vcpus[i]->chain_from = NULL;
		x->vcpus[i]->ex_resume = NULL;
	}
	pthread_mutex_unlock(&x->code.lock);
}

bool code_full(struct cpu_complex *x)
{
	return __atomic_load_n(&x->code.bytes, __ATOMIC_RELAXED) >= CODE_MAX_BYTES ||
	       translate_full(&x->code.host);
}

void code_flush_full(struct vcpu *c)
{
	exclusive_begin(c);
	/* Another one may have done it meanwhile. */
	if (code_full(c->complex))
		code_flush(c->complex);
	exclusive_end(c);
}

void code_flush_all(struct vcpu *c)
{
	exclusive_begin(c);
	code_flush(c->complex);
	exclusive_end(c);
}

static inline size_t hash_of(uint64_t absolute)
{
	return (size_t)((absolute >> 1) * 0x9e3779b97f4a7c15ull >> 48) % BLOCK_HASH_SIZE;
}

static struct block *block_lookup(struct cpu_complex *x, uint64_t absolute)
{
	struct block *b = atomic_load_explicit(&x->code.hash[hash_of(absolute)],
					       memory_order_acquire);

	while (b && b->absolute != absolute)
		b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE);
	return b;
}

bool code_is_uncached_page(struct cpu_complex *x, uint64_t absolute)
{
	uint64_t area = absolute & ~0x1fffull;

	if (area == 0)
		return true;
	for (unsigned int i = 0; i < x->count; i++) {
		if (__atomic_load_n(&x->vcpus[i]->s.prefix, __ATOMIC_RELAXED) == area)
			return true;
	}
	return false;
}

/* Is the op, which is in a block, in the same page frame as the block that `first` begins? */
bool code_same_frame(const struct op *o, const struct op *first)
{
	/* The closing op shares its index with the one before it. */
	unsigned int at = o->length ? o->index : o->index + 1u;
	const struct block *a = container_of(o - at, struct block, ops);
	const struct block *b = container_of(first, struct block, ops);

	return ((a->absolute ^ b->absolute) & PAGE_MASK) == 0;
}

static struct code_page *page_prepare(struct cpu_complex *x, uint64_t frame)
{
	if (!(__atomic_fetch_or(&x->page_flags[frame], PAGE_HAS_CODE, __ATOMIC_SEQ_CST) &
	      PAGE_HAS_CODE))
		barrier_everywhere();
	return &x->code.pages[frame];
}

/* The instruction at an absolute address, left-aligned; what lies behind the page is 0. */
static uint64_t read_code(struct cpu_complex *x, uint64_t absolute)
{
	unsigned int left = PAGE_SIZE - (absolute & ~PAGE_MASK);
	const uint8_t *p = absolute_host(x, absolute);
	uint64_t raw = 0;

	for (unsigned int i = 0; i < 6 && i < left; i += 2)
		raw |= (uint64_t)host_load16(p + i) << (48 - 8 * i);
	return raw;
}

static void trace_decoded(uint64_t absolute, uint64_t raw)
{
	char text[96];

	if (trace_enabled(TRACE_ID_cpu_decode))
		trace_cpu_decode(absolute, insn_disassemble(raw, absolute, text, sizeof(text)));
}

/*
 * Decode the run at an absolute address to ops; returns how many, and the bytes of code, of
 * which `source` gets those within the page.
 */
static unsigned int decode_run(struct cpu_complex *x, struct code_page *page, uint64_t absolute,
			       struct op *ops, uint8_t *source, uint32_t *bytes)
{
	uint64_t start = absolute;
	unsigned int n = 0;
	bool open = true;

	while (open && n < BLOCK_MAX_OPS) {
		uint32_t offset = (uint32_t)(absolute & ~PAGE_MASK);
		const struct insn *insn;
		uint64_t raw;
		unsigned int length;
		struct op *o = &ops[n];

		/* Announce the pieces before they are read. */
		atomic_fetch_or(&page->pieces,
				3ull << (offset >> PIECE_SHIFT) &
					(offset >> PIECE_SHIFT == 63 ? 1ull << 63 : ~0ull));
		atomic_thread_fence(memory_order_seq_cst);
		raw = read_code(x, absolute);
		length = insn_length((uint8_t)(raw >> 56));
		for (unsigned int i = 0; i < length; i += 2)
			store_be16(source + (absolute - start) + i, (uint16_t)(raw >> (48 - 8 * i)));
		if (offset + length > PAGE_SIZE) {
			*o = (struct op){ .fn = insn_crossing };
			open = false;
		} else if (!x->rows[insn_opcode(raw)]) {
			*o = (struct op){ .fn = insn_operation_exception };
			open = false;
		} else {
			insn = &insn_table[x->rows[insn_opcode(raw)] - 1];
			insn_decode(insn, raw, 0, o);
			open = !(insn->flags & LAST) && offset + length < PAGE_SIZE;
			/* Behind an unconditional branch there is nothing to go on with. */
			if (o->flags & OP_ALWAYS_JUMPS)
				open = false;
		}
		o->offset = (uint16_t)offset;
		o->length = (uint8_t)length;
		o->index = (uint16_t)n++;
		trace_decoded(absolute, raw);
		absolute += length;
	}
	/*
	 * Behind the last instruction: go on in another block. Not an instruction
	 * itself, so it lends the offset of the next and length 0, and jumping from
	 * it counts those before it only.
	 */
	ops[n] = (struct op){
		.fn = insn_goto_next,
		.offset = (uint16_t)(absolute & ~PAGE_MASK),
		.index = (uint16_t)(n - 1),
		.flags = (absolute & ~PAGE_MASK) ? 0 : OP_PAGE_END,
	};
	*bytes = (uint32_t)(absolute - start);
	return n + 1;
}

const struct op *code_find(struct vcpu *c, uint64_t absolute)
{
	struct cpu_complex *x = c->complex;
	struct block *b = block_lookup(x, absolute);
	uint8_t source[6 * BLOCK_MAX_OPS];
	struct op ops[BLOCK_MAX_OPS + 1];
	struct code_page *page;
	unsigned int count;
	uint32_t bytes;

	if (likely(b))
		return b->ops;
	if (code_is_uncached_page(x, absolute))
		return NULL;
	pthread_mutex_lock(&x->code.lock);
	b = block_lookup(x, absolute);
	if (b)
		goto out;
	page = page_prepare(x, absolute >> PAGE_SHIFT);
	count = decode_run(x, page, absolute, ops, source, &bytes);
	b = code_alloc(&x->code, sizeof(*b) + count * sizeof(struct op) + bytes);
	if (!b)
		goto out;
	b->absolute = absolute;
	b->bytes = bytes;
	b->count = count;
	memcpy(b->ops, ops, count * sizeof(struct op));
	memcpy(&b->ops[count], source, bytes);
	translate_block(&x->code.host, b->ops, count);
	b->page_next = page->blocks;
	page->blocks = b;
	b->hash_next = atomic_load_explicit(&x->code.hash[hash_of(absolute)], memory_order_relaxed);
	atomic_store_explicit(&x->code.hash[hash_of(absolute)], b, memory_order_release);
	/* A program with all interruptions off never looks up by itself, and fills memory. */
	if (code_full(x))
		attention_set(c);
out:
	pthread_mutex_unlock(&x->code.lock);
	return b ? b->ops : NULL;
}

static void block_unhash(struct cpu_complex *x, struct block *b)
{
	struct block *at = atomic_load_explicit(&x->code.hash[hash_of(b->absolute)],
						memory_order_relaxed);

	if (at == b) {
		atomic_store_explicit(&x->code.hash[hash_of(b->absolute)], b->hash_next,
				      memory_order_release);
		return;
	}
	while (at->hash_next != b)
		at = at->hash_next;
	__atomic_store_n(&at->hash_next, b->hash_next, __ATOMIC_RELEASE);
}

/* The block that a page's list has at *link. */
static void block_drop(struct cpu_complex *x, struct block **link)
{
	struct block *b = *link;

	*link = b->page_next;
	block_unhash(x, b);
	for (uint32_t i = 0; i < b->count; i++)
		__atomic_store_n(&b->ops[i].fn, insn_stale, __ATOMIC_RELAXED);
}

static void page_dropped(struct cpu_complex *x, struct code_page *page, uint64_t frame)
{
	if (page->blocks)
		return;
	atomic_store(&page->pieces, 0);
	__atomic_and_fetch(&x->page_flags[frame], (uint8_t)~PAGE_HAS_CODE, __ATOMIC_SEQ_CST);
}

static void page_drop(struct cpu_complex *x, struct code_page *page, uint64_t absolute,
		      uint64_t length)
{
	struct block **link = &page->blocks;

	while (*link) {
		struct block *b = *link;

		/* The closing instruction may reach into the next page; its first bytes count. */
		if (absolute >= b->absolute + b->bytes || b->absolute >= absolute + length) {
			link = &b->page_next;
			continue;
		}
		block_drop(x, link);
	}
	page_dropped(x, page, absolute >> PAGE_SHIFT);
}

void code_written(struct cpu_complex *x, uint64_t absolute, uint64_t length)
{
	while (length) {
		uint32_t offset = (uint32_t)(absolute & ~PAGE_MASK);
		uint64_t part = MIN(length, PAGE_SIZE - offset);
		unsigned int first = offset >> PIECE_SHIFT;
		unsigned int last = (unsigned int)(offset + part - 1) >> PIECE_SHIFT;
		uint64_t pieces = ~0ull << first & ~0ull >> (63 - last);
		struct code_page *page;

		page = &x->code.pages[absolute >> PAGE_SHIFT];
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&page->pieces, memory_order_relaxed) & pieces) {
			pthread_mutex_lock(&x->code.lock);
			page_drop(x, page, absolute, part);
			pthread_mutex_unlock(&x->code.lock);
		}
		absolute += part;
		length -= part;
	}
}

/* Is what a block was decoded from still there? */
static bool block_is_true(struct cpu_complex *x, const struct block *b)
{
	uint32_t bytes = MIN(b->bytes, PAGE_SIZE - (uint32_t)(b->absolute & ~PAGE_MASK));
	const uint8_t *source = (const uint8_t *)&b->ops[b->count];
	uint8_t now[6 * BLOCK_MAX_OPS];

	shared_read(now, absolute_host(x, b->absolute), bytes);
	return memcmp(now, source, bytes) == 0;
}

void code_compare(struct cpu_complex *x, uint64_t frame)
{
	struct code_page *page = &x->code.pages[frame];
	struct block **link = &page->blocks;

	pthread_mutex_lock(&x->code.lock);
	while (*link) {
		if (block_is_true(x, *link))
			link = &(*link)->page_next;
		else
			block_drop(x, link);
	}
	page_dropped(x, page, frame);
	pthread_mutex_unlock(&x->code.lock);
}

void memory_written(struct cpu_complex *x, uint64_t absolute, uint64_t length)
{
	uint64_t end = absolute + length;

	while (absolute < end) {
		uint64_t part = MIN(end - absolute, PAGE_SIZE - (absolute & ~PAGE_MASK));

		if (__atomic_load_n(&x->page_flags[absolute >> PAGE_SHIFT], __ATOMIC_RELAXED) &
		    PAGE_HAS_CODE)
			code_written(x, absolute, part);
		absolute += part;
	}
}

void cpu_complex_memory_written(struct cpu_complex *x, uint64_t absolute, uint64_t length)
{
	if (!range_fits(absolute, length, x->size))
		return;
	atomic_thread_fence(memory_order_seq_cst);
	memory_written(x, absolute, length);
}

void cpu_complex_use_windows(struct cpu_complex *x)
{
	pthread_mutex_lock(&x->code.lock);
	translate_windows(&x->code.host);
	pthread_mutex_unlock(&x->code.lock);
	/* What there is has been made without. */
	cpu_complex_memory_written(x, 0, x->size);
}

void cpu_complex_stores_unseen(struct cpu_complex *x, bool begin)
{
	atomic_fetch_add(&x->unseen_writers, begin ? 1u : -1u);
	if (!begin)
		cpu_complex_memory_written(x, 0, x->size);
}
