/* SPDX-License-Identifier: MIT */
/*
 * What the vCPUs share, and the internal entry points between the files of the
 * soft CPU: code cache (block.c), address translation (mmu.c), interruptions
 * (interrupt.c), clocks (clock.c), the run loop (run.c).
 */
#ifndef ZVISOR_CPU_SOFT_COMPLEX_H
#define ZVISOR_CPU_SOFT_COMPLEX_H

#include "cpu/soft/soft.h"
#include "cpu/soft/translate.h"

/* page_flags: who wants to know of stores into the page */
#define PAGE_HAS_CODE 1

#define BLOCK_MAX_OPS 64
#define BLOCK_HASH_SIZE 65536
/* Decoded code is thrown away and made anew when there is more of it than this. */
#define CODE_MAX_BYTES (28 * MIB)
#define CODE_CHUNK_BYTES (256 * KIB)

struct block {
	uint64_t absolute;        /* of its first instruction */
	struct block *hash_next;  /* read without a lock: written before it is published */
	struct block *page_next;  /* under code.lock */
	uint32_t bytes;           /* of guest code */
	uint32_t count;           /* of ops, the closing one included */
	struct op ops[];          /* and behind them the bytes that they were decoded from */
};

/*
 * A page frame: which of its 64-byte pieces have decoded code, and the blocks. It lives as
 * long as the complex, because devices look at it that nobody asks to stand still.
 */
struct code_page {
	_Atomic uint64_t pieces;
	struct block *blocks; /* under code.lock */
};

struct code_chunk {
	struct code_chunk *next;
	size_t used;
	unsigned char bytes[];
};

struct code_cache {
	pthread_mutex_t lock;
	_Atomic(struct block *) hash[BLOCK_HASH_SIZE];
	struct code_page *pages; /* by page frame */
	struct code_chunk *chunks;
	size_t bytes;
	struct host_code host;
	uint64_t flushes;
};

/* vcpu.pending: what only this CPU can take */
#define PENDING_EMERGENCY 1
#define PENDING_EXTERNAL_CALL 2
#define PENDING_CLOCK_COMPARATOR 4
#define PENDING_CPU_TIMER 8
#define PENDING_STOP 16
#define PENDING_RESTART 32
#define PENDING_EXIT 64
#define PENDING_STORE_STATUS 128
#define PENDING_CPU_RESET 256
#define PENDING_INITIAL_RESET 512
#define PENDING_CLOCK_SET 1024 /* another CPU has set the TOD clock */

/* PER code, byte 150 */
#define PER_BRANCH 0x80
#define PER_IFETCH 0x40
#define PER_STORE 0x20
#define PER_STORE_REAL 0x08
#define PER_NULLIFICATION 0x01

struct cpu_complex {
	struct cpu_complex_config config;
	uint8_t *memory;
	uint64_t size;          /* bytes of guest memory */
	uint8_t *page_flags;    /* PAGE_HAS_CODE …, by page frame */
	uint8_t *storage_keys;  /* KEY_*, by page frame; atomically updated */
	uint16_t rows[65536];   /* opcode to row of the table + 1; 0: operation exception */
	cpu_insn_handler **handlers; /* by row */
	struct code_cache code;
	struct vcpu *vcpus[CPU_MAX_VCPUS];
	unsigned int count;

	_Atomic uint64_t tod_last;  /* for STCK, which never gives a value twice */
	atomic_uint unseen_writers; /* cpu_complex_stores_unseen() */
	atomic_bool cannot_poll; /* the host's kernel has no epoll_pwait2(2) */
	unsigned int host_cpus;
	atomic_uint spinning; /* vCPUs that are idle, but awake */
	int64_t tod_offset;         /* guest TOD minus the host's monotonic clock, TOD units */
	uint64_t steering_offset;

	/* One vCPU alone: the others are out of guest code. See exclusive_begin(). */
	pthread_mutex_t exclusive_lock;
	pthread_cond_t exclusive_cond;
	atomic_bool exclusive;
	pthread_mutex_t plo_lock;
	pthread_mutex_t sigp_lock;
};

static inline uint8_t *absolute_host(struct cpu_complex *x, uint64_t absolute)
{
	return x->memory + absolute;
}

uint16_t insn_opcode(uint64_t raw);
op_fn insn_privileged, insn_privileged_access, insn_machine, insn_machine_access, insn_stale,
	insn_operation_exception, insn_crossing, insn_resume, insn_goto_next;

/* block.c */
int code_init(struct cpu_complex *);
void code_destroy(struct cpu_complex *);
/* Ops for the instruction at an absolute address; NULL: execute it without the cache. */
const struct op *code_find(struct vcpu *, uint64_t absolute);
/* Too much of it: the run loop is to call code_flush_full(). */
bool code_full(struct cpu_complex *);
/* Throw all of it away: if there is too much, or whatever there is. Between two blocks. */
void code_flush_full(struct vcpu *);
void code_flush_all(struct vcpu *);
void code_written(struct cpu_complex *, uint64_t absolute, uint64_t length);
/* Drop the code of a page frame that is not what memory has there now. */
void code_compare(struct cpu_complex *, uint64_t frame);
bool code_same_frame(const struct op *, const struct op *first);
bool code_is_uncached_page(struct cpu_complex *, uint64_t absolute);

/* mmu.c */
void mmu_update_space(struct vcpu *); /* after PSW or control registers changed */
void mmu_flush_all(struct vcpu *);
void mmu_flush_page_index(struct vcpu *, unsigned int page_index);
void mmu_flush_jumps(struct vcpu *);
/* On all vCPUs, and wait until it has happened. page_index < 0: everything. */
void mmu_flush_everywhere(struct vcpu *, int page_index);
void mmu_serve_flush_requests(struct vcpu *);

struct translation {
	uint64_t absolute; /* or real, for a real space */
	bool write_protected;
	bool acc_valid;    /* key comes from the table entry */
	uint8_t acc;       /* KEY_ACC | KEY_FETCH bits, when acc_valid */
	uint64_t invalid_entry; /* address of the segment- or page-table entry with I one, or 0 */
};

/* Translate under an ASCE. Returns PGM_NONE or the exception. No side effects. */
enum pgm_code mmu_walk(struct vcpu *, uint64_t asce, uint64_t va, struct translation *);
/*
 * ASCE for an access register in the access-register mode (ART). Returns
 * PGM_NONE or the exception; *asce and *fetch_only (access-list-controlled
 * protection) only valid then.
 */
enum pgm_code mmu_access_register(struct vcpu *, uint32_t alet, bool test_eax, uint16_t eax,
				  uint64_t *asce, bool *fetch_only);
uint64_t mmu_real_to_absolute(const struct vcpu *, uint64_t real);
/* Host address of real storage for size aligned bytes, else addressing exception. */
uint8_t *mmu_real(struct vcpu *, const struct op *, uint64_t real, unsigned int size);
/*
 * Host address of one byte's page position under an explicit space (ASCE, key);
 * raises access exceptions. Whole access within the page.
 */
uint8_t *mmu_explicit(struct vcpu *, const struct op *, uint64_t asce, bool real, unsigned int key,
		      unsigned int space_id, uint64_t va, enum access);
/*
 * After a store to `size` bytes of one page at host, by address ea: somebody may have to
 * hear of it; also the place of storage-alteration events.
 */
void mmu_written(struct vcpu *, uint64_t ea, const uint8_t *host, size_t size);
/*
 * Key-controlled protection: may an access with this key (0-15) touch a page with this
 * storage key (KEY_*)? The overrides of control register 0 included.
 */
bool mmu_key_allows(const struct vcpu *, uint8_t access_key, uint8_t storage_key, uint64_t va,
		    bool private_space, enum access);
_Noreturn void mmu_exception(struct vcpu *, const struct op *, enum pgm_code, uint64_t va,
			     enum access, unsigned int space_id, unsigned int ar, bool dat_protection);
uint64_t mmu_fetch(struct vcpu *, const struct op *, uint64_t address);
void memory_written(struct cpu_complex *, uint64_t absolute, uint64_t length);

/* interrupt.c */
void program_interruption(struct vcpu *);
/* Deliver what is pending and enabled. True when something was. */
bool interrupt_deliver(struct vcpu *);
/* When none is left to deliver. */
void interrupt_answer(struct vcpu *);
void supervisor_call(struct vcpu *, const struct op *);
/* New PSW from an instruction or a lowcore; raises the early exceptions. */
void psw_load(struct vcpu *, uint64_t mask, uint64_t addr);
void psw_apply(struct vcpu *); /* derive addr_mask, spaces … from s.psw_mask */
uint64_t psw_current_mask(struct vcpu *); /* with the condition code */
uint64_t lowcore(const struct vcpu *, unsigned int offset);
void attention_set(struct vcpu *);
void vcpu_kick(struct vcpu *); /* attention, and wake it when it sleeps */

/* clock.c; `op` is the instruction that asks or sets, NULL between two instructions */
void clock_init(struct cpu_complex *);
uint64_t clock_tod_unique(const struct vcpu *, const struct op *);
uint64_t clock_tod(const struct vcpu *, const struct op *);
void clock_set(struct vcpu *, const struct op *, uint64_t value);
/* What the CPU timer goes by, in TOD units: the TOD clock without what SET CLOCK did. */
uint64_t clock_steady(const struct vcpu *, const struct op *);
/* The host timer has rung, or the TOD clock was set. */
void clock_look_again(struct vcpu *, const struct op *);
uint64_t clock_cpu_timer(const struct vcpu *, const struct op *);
void clock_set_cpu_timer(struct vcpu *, const struct op *, uint64_t);
void clock_set_comparator(struct vcpu *, const struct op *, uint64_t);
void clock_update_pending(struct vcpu *, const struct op *);
/* Nanoseconds until the next clock event of the vCPU, -1 for none. */
int64_t clock_next_event(struct vcpu *);
void clock_arm(struct vcpu *);
/* Deterministic mode: the instruction count at which the next event comes. */
uint64_t clock_next_event_count(struct vcpu *);
int clock_init_thread(struct vcpu *);
void clock_exit_thread(struct vcpu *);

/* idle.c */
int idle_init(struct cpu_complex *);
void idle_init_thread(struct vcpu *);
/* Out of guest code, until there is attention to pay. Was it the time of a clock event? */
bool idle_sleep(struct vcpu *);
/* Another thread: wake it up if it sleeps. */
void idle_wake(struct vcpu *);

/* run.c */
void guest_enter(struct vcpu *);
void exclusive_begin(struct vcpu *);
void exclusive_end(struct vcpu *);

/* sigp.c */
void store_status(struct vcpu *, uint64_t absolute);
void sigp_stop_here(struct vcpu *); /* on its own thread, out of guest code */

#endif
