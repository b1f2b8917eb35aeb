/* SPDX-License-Identifier: MIT */
/*
 * What the files of libzpci share.
 *
 * A slot, once filled, keeps its struct zpci_function until the whole library is
 * destroyed, so that a handle can be looked up without a lock: take the
 * pointer from the slot, count yourself in, and only then compare the handle.
 * Whoever takes the device away first makes the handle invalid and then waits
 * until nobody is counted in.
 *
 * Counting costs two locked operations, which is most of what a load or a store
 * of a register takes. So these put the function's address into a place of
 * their vCPU's own instead (a hazard pointer). For that to be safe, the store
 * there must be seen before the handle is read; it is the remover, who has
 * time, that sees to it, by a barrier on all threads (membarrier(2)).
 *
 * Each function has two locks. `control` serializes the instructions that change
 * its state and may be held while DMA drains or the device resets. `lock` guards
 * the state itself and is held for moments; the device's own threads take it,
 * when a transfer fails and when a message arrives. A thread that holds `lock`
 * waits for nothing. Order: control, lock, the DMA space's own, events.
 */
#ifndef ZPCI_INTERNAL_H
#define ZPCI_INTERNAL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/abi.h"
#include "base/byteorder.h"
#include "base/util.h"
#include "dma/dma.h"
#include "pci/host.h"
#include "zpci/zpci.h"

/* Function handles; see zpci.h. */
#define FH_ENABLED 0x80000000u
#define FH_GENERATION_SHIFT 16
#define FH_GENERATION_MASK 0x7fffu
#define FH_INDEX_MASK 0x0000ffffu

#define MSI_ADDRESS 0xfe00000000000000ull
/* Bits of the address of a message that name a CPU, for directed delivery. */
#define MSI_ADDRESS_CPU 0xffff00ull
#define MSI_ADDRESS_CPU_SHIFT 8

/*
 * States of a function, as Linux and QEMU name them. Error: loads, stores, DMA
 * and interruptions are blocked. Blocked: loads and stores are possible again.
 */
enum function_state {
	FUNCTION_RESERVED,
	FUNCTION_STANDBY,
	FUNCTION_DISABLED,
	FUNCTION_ENABLED,
	FUNCTION_BLOCKED,
	FUNCTION_ERROR,
	FUNCTION_PERMANENT_ERROR,
};

/* Status codes of the instructions; bits 32-39 of the register with the handle. */
enum {
	STATUS_RESOURCES_NOT_AVAILABLE = 4,
	STATUS_FUNCTION_IN_ERROR = 8,
	STATUS_BLOCKED = 12,
	STATUS_INSUFFICIENT_RESOURCES = 16,
	STATUS_INVALID_ADDRESS_SPACE = 20,
	STATUS_SEQUENCE = 24,
	STATUS_INVALID_DMA_SPACE = 28,
	STATUS_ERROR_RECOVERY = 40,
};

/* PCI event codes of error events (first group) and availability events. */
enum pci_event_code {
	PEC_INVALID_ADDRESS_SPACE = 0x0001,
	PEC_OUT_OF_RANGE = 0x0002,
	PEC_TRANSLATION_PROTECTION = 0x0004,
	PEC_ADDRESSING = 0x0005,
	PEC_KEY = 0x0006,
	PEC_INVALID_TABLE_ENTRY = 0x0007,
	PEC_TABLE_LENGTH = 0x0008,
	PEC_TABLE_TYPE = 0x0009,
	PEC_SYSTEM_ERROR = 0x000b,
	PEC_NO_MSI = 0x0010,
	PEC_INVALID_VECTOR = 0x0011,
	PEC_FMB_ADDRESS = 0x002a,
	PEC_FMB_PROTECTION = 0x002c,
	PEC_PERMANENT_ERROR = 0x003b,

	PEC_TO_CONFIGURED = 0x0301,
	PEC_RESERVED_TO_STANDBY = 0x0302,
	PEC_DECONFIGURE_REQUEST = 0x0303,
	PEC_CONFIGURED_TO_STANDBY = 0x0304,
	PEC_STANDBY_TO_RESERVED = 0x0308,
};

/* I/O address translation as registered by MPCIFC. */
struct ioat {
	bool registered;
	uint64_t pba, pal; /* first and last byte that may be translated */
	uint64_t iota;     /* designation of the table */
};

/*
 * Where the messages of a function go, as registered by MPCIFC: floating, with
 * indicators of its own, or directed, with bits in the vector of each CPU.
 */
struct interrupt_route {
	bool registered;
	bool directed;
	uint16_t noi; /* number of vectors */
	/* Floating. */
	bool summary;      /* there is a summary bit */
	uint8_t isc;
	uint8_t aibvo;     /* offset of the first vector's bit, 0 to 63 */
	uint8_t aisbo;
	uint64_t aibv, aisb; /* guest-absolute addresses */
	/* Directed: the first vector's bit. */
	uint16_t dibvo;
};

/*
 * What SIC registers for directed delivery. Messages are delivered meanwhile,
 * without a lock, so each is one atomic word. A vector has been found to lie in
 * memory when it was registered; the summary bits, which consist of two words,
 * are looked at again when they are used.
 */
struct directed {
	bool available;
	_Atomic uint64_t summary; /* guest-absolute, a doubleword */
	_Atomic uint32_t control; /* number of CPUs, and the subclass; 0: not registered */
	_Atomic uint64_t vectors[ZPCI_DIRECTED_CPUS]; /* guest-absolute; 0: none */
};

/* What is counted here; behind it, in a measurement block, what its format has. */
enum { FMB_LOADS, FMB_STORES, FMB_STORE_BLOCKS, FMB_REFRESHES, FMB_COUNTERS };
#define FMB_VALUES (FMB_COUNTERS + PCI_COUNTERS_MAX)

/*
 * Counters in lanes: the first vCPUs have one each and need no locked operation;
 * all others share the last.
 */
#define COUNTER_LANES (ZPCI_FAST_VCPUS + 1)
#define COUNTER_LANE_SHARED (COUNTER_LANES - 1)

struct counter_lane {
	_Alignas(64) _Atomic uint64_t counters[FMB_COUNTERS];
};

struct measurement {
	uint64_t address;  /* of the block, guest-absolute; 0: off */
	uint64_t next_ms;
	uint32_t samples;
	uint64_t since[FMB_VALUES]; /* the counters when it was switched on */
	unsigned serial; /* how often it was switched on */
};

/* What functions of the same kind have in common: CLP query function group. */
struct function_group {
	uint16_t interrupts;
	uint16_t store_block_max;
	uint16_t update_interval;
	bool refresh;
	bool relaxed_translation;
	bool used;
	unsigned functions; /* that are plugged and belong to it */
};

struct zpci_function {
	struct zpci *zpci;
	uint32_t index;
	atomic_uint users; /* instructions that are executing */

	/* The identity; set while the handle is invalid. */
	struct zpci_function_config config;
	struct zpci_mapping_ops mapping_ops; /* what config.mapping leads to */
	uint8_t pfgid;
	struct pci_function *pci;
	struct pci_dma_space *dma;

	pthread_mutex_t control;
	pthread_mutex_t lock;
	_Atomic uint32_t fh;   /* the valid handle; 0: none */
	_Atomic uint8_t state; /* enum function_state; changes with `lock` held */
	struct function_mapping *mapping; /* NULL: translates when it is used */
	struct ioat ioat;      /* ioat_set(), with both locks held and DMA closed */
	/* The same range for RPCIT, which takes no lock of ours; empty: nothing registered. */
	_Atomic uint64_t refreshable_first, refreshable_last;
	struct interrupt_route route;
	struct measurement measurement;
	atomic_bool mio; /* loads and stores by address are enabled */
	bool has_windows; /* vCPUs may have windows into its BARs */
	bool unplug_requested;

	struct counter_lane lanes[COUNTER_LANES];
};

#define EVENTS_MAX 1024

struct event_queue {
	pthread_mutex_t lock;
	unsigned first, count;
	bool announced; /* and none was fetched since */
	bool lost;
	struct zpci_event ring[EVENTS_MAX];
};

#define GROUPS 256

/* The function that a vCPU's load or store is using. */
struct hazard {
	_Alignas(64) struct zpci_function *_Atomic f;
};

/* The window of a vCPU, and whose BAR it is open to; the latter changes with its `lock` held. */
struct window_slot {
	struct zpci_window *window;
	struct zpci_function *_Atomic owner;
	unsigned refused; /* own thread */
};

struct zpci {
	struct zpci_config config; /* its pointers lead to these two: */
	struct zpci_vcpu_ops vcpu_ops;
	struct zpci_machine_ops machine_ops;
	struct dma_memory memory;
	void (*stores_unseen)(void *opaque, bool begin); /* with memory.opaque */
	pthread_mutex_t slots_lock; /* plugging, unplugging, and who lists */
	struct zpci_function *_Atomic slots[ZPCI_FUNCTIONS_MAX];
	unsigned slots_used; /* all higher ones are NULL */
	uint16_t next_generation[ZPCI_FUNCTIONS_MAX];
	struct function_group groups[GROUPS];
	struct event_queue events;
	struct directed directed;
	bool has_membarrier;
	bool traced;
	struct hazard hazards[ZPCI_FAST_VCPUS];
	struct window_slot windows[ZPCI_FAST_VCPUS];
};

/* --- how an instruction ends -------------------------------------------------- */

enum outcome_kind {
	OUTCOME_CC,
	OUTCOME_STATUS, /* condition code 1 and a status code */
	OUTCOME_PROGRAM,
	OUTCOME_ACCESS, /* an access exception is pending already */
	OUTCOME_NONE, /* for a trace of something that is no instruction */
};

struct outcome {
	uint8_t kind;
	uint8_t value; /* condition code, status code, interruption code */
};

static inline struct outcome outcome_cc(unsigned cc)
{
	return (struct outcome){ OUTCOME_CC, cc };
}

static inline struct outcome outcome_status(unsigned status)
{
	return (struct outcome){ OUTCOME_STATUS, status };
}

static inline struct outcome outcome_program(enum zpci_program code)
{
	return (struct outcome){ OUTCOME_PROGRAM, code };
}

static inline struct outcome outcome_access(void)
{
	return (struct outcome){ OUTCOME_ACCESS, 0 };
}

static inline struct outcome outcome_none(void)
{
	return (struct outcome){ OUTCOME_NONE, 0 };
}

static inline bool outcome_good(struct outcome outcome)
{
	return outcome.kind == OUTCOME_CC && outcome.value == 0;
}

#define CC_INVALID_HANDLE 3

/* All but OUTCOME_CC. */
int insn_finish_otherwise(struct zpci *zpci, struct zpci_vcpu *vcpu, struct outcome outcome,
			  unsigned r);

/*
 * Make it so: condition code, status code in bits 32-39 of GR `r`, interruption.
 * The result is that of the instruction function.
 */
static inline int insn_finish(struct zpci *zpci, struct zpci_vcpu *vcpu, struct outcome outcome,
			      unsigned r)
{
	if (unlikely(outcome.kind != OUTCOME_CC))
		return insn_finish_otherwise(zpci, vcpu, outcome, r);
	vcpu->cc = outcome.value;
	return 0;
}

/*
 * Trace one instruction or happening; the arguments are not evaluated unless
 * somebody listens. TRACE_INSN appends how the instruction ended.
 */
#define TRACE(zpci, event, ...) \
	do { \
		if (unlikely((zpci)->traced)) \
			trace_record(zpci, event, outcome_none(), __VA_ARGS__); \
	} while (0)
#define TRACE_INSN(zpci, event, outcome, ...) \
	do { \
		if (unlikely((zpci)->traced)) \
			trace_record(zpci, event, outcome, __VA_ARGS__); \
	} while (0)

void trace_record(struct zpci *zpci, const char *event, struct outcome outcome, const char *format,
		  ...) __attribute__((cold, format(printf, 4, 5)));

/* --- guest memory --------------------------------------------------------------- */

static inline bool memory_contains(const struct zpci *zpci, uint64_t absolute, uint64_t length)
{
	return range_fits(absolute, length, zpci->memory.size);
}

void zpci_memory_written(struct zpci *zpci, uint64_t absolute, uint64_t length);

/* --- functions -------------------------------------------------------------------- */

/*
 * The function that a handle names, counted in; NULL if the handle is not valid
 * now. function_enter_any() ignores the enabled bit of the handle.
 */
struct zpci_function *function_enter(struct zpci *zpci, uint32_t fh);
struct zpci_function *function_enter_any(struct zpci *zpci, uint32_t fh);
void function_leave(struct zpci_function *f);

/*
 * The same for the short time of a load or store by `vcpu`, which uses one
 * function at a time. `index` is insn_vcpu_index().
 */
struct zpci_function *function_use(struct zpci *zpci, unsigned index, uint32_t fh);
void function_release(struct zpci_function *f, unsigned index);
/* The function in a slot, whatever its handle is now; to be released. */
struct zpci_function *function_use_slot(struct zpci *zpci, unsigned index, uint32_t slot);

/* The function in a slot, counted in, if it is plugged (not reserved). */
struct zpci_function *function_enter_slot(struct zpci *zpci, unsigned index);
struct zpci_function *function_enter_fid(struct zpci *zpci, uint32_t fid);

static inline enum function_state function_state(const struct zpci_function *f)
{
	return atomic_load_explicit(&f->state, memory_order_relaxed);
}

/* With `control` held: */
void function_enable(struct zpci_function *f);
/*
 * Let the device come to rest, for so many microseconds at most. False: it has not, and
 * disabling would have to wait for the host; it begins nothing new meanwhile. True:
 * function_disable() has to follow, with which it ends up disabled or in standby.
 */
bool function_settle(struct zpci_function *f, unsigned limit_us);
void function_disable(struct zpci_function *f, enum function_state state);

/*
 * Put an enabled function into the error state and report it. Any thread, no
 * lock held. Without effect in another state, but that PEC_PERMANENT_ERROR puts
 * a function into the permanent error state from each in which it is configured. Says
 * whether it has had one.
 */
bool function_fail(struct zpci_function *f, enum pci_event_code pec, uint64_t address);

/* Let DMA and stores by windows through or not, as state demands. With `lock` held. */
void function_update_access(struct zpci_function *f);

/* --- loads and stores, by handle and by address --------------------------------------- */

struct place {
	uint32_t fh;
	unsigned address_space;
	unsigned length;
	uint64_t offset;
};

#define LENGTH_MASK 0xf /* of loads and stores */
#define BLOCK_LENGTH_MASK 0x1fff

/* What the state allows: OUTCOME_CC 0, or the answer. */
struct outcome access_check(const struct zpci_function *f);
/*
 * The access to the function itself, which is in use; `index` is that of the vCPU.
 * place.fh does not count.
 */
struct outcome access_load(struct zpci_function *f, const struct place *place, unsigned index,
			   uint64_t *data);
struct outcome access_store(struct zpci_function *f, const struct place *place, unsigned index,
			    uint64_t data);
struct outcome access_store_block(struct zpci_function *f, struct zpci_vcpu *vcpu,
				  const struct place *place, unsigned index, uint64_t address,
				  unsigned ar);

/*
 * window.c: can vCPUs have windows into its BARs? Open the vCPU's to the place of a store that
 * was done, if there it can.
 */
bool window_possible(const struct zpci_function *f);
void window_open(struct zpci_function *f, struct zpci_vcpu *vcpu, const struct place *place,
		 uint64_t request);
/* No store by a window begins any more; with `lock` held. */
void window_shut_all(struct zpci_function *f);
/* They are shut, and the processors know it: wait for the stores that had begun. */
void window_wait_all(struct zpci_function *f);

/* Has the function addresses? */
bool mio_available(const struct zpci_function *f);
/* The address of a BAR's first byte; with `write_back` the other one. */
uint64_t mio_address(const struct zpci_function *f, unsigned bar, bool write_back);
/* The bit of an address that says write back, numbered from the left. */
#define MIO_WRITE_BACK_BIT 1

/* --- the rest, by file --------------------------------------------------------------- */

extern const struct dma_space_ops ioat_dma_ops;
/* What can be said of a designation; 0 or a negative errno. */
int ioat_check(const struct zpci_function *f, const struct ioat *ioat);
void ioat_set(struct zpci_function *f, const struct ioat *ioat);
bool ioat_equal(const struct ioat *a, const struct ioat *b);
/* Are there tables, or is it the direct mapping? */
bool ioat_translates(const struct ioat *ioat);
/* A PCI event code, or 0 with the answer. */
int ioat_walk(const struct dma_memory *memory, uint64_t iota, uint64_t iova,
	      struct dma_translation *translation);

/* DMA addresses that have no translation, or go to absolute ones one after the other. */
struct ioat_run {
	uint64_t first, last;
	uint64_t absolute; /* of `first`, if valid */
	bool valid, writable;
};

/*
 * A walk of a range of DMA addresses. Set `budget` to the number of table entries
 * that it may fetch. To go on later, begin a new one at `next`, since a cursor
 * remembers entries.
 */
struct ioat_cursor {
	const struct dma_memory *memory;
	uint64_t iota;
	uint64_t next, last; /* still to be looked at; whole pages */
	unsigned budget;
	bool ended;
	/* The page table that `next` is in, so that its way down is not repeated. */
	bool in_table, writable;
	uint64_t origin;
	/* What was found at `next` and is not part of the run before it. */
	bool has_ahead;
	struct ioat_run ahead;
};

void ioat_cursor_init(struct ioat_cursor *cursor, const struct dma_memory *memory, uint64_t iota,
		      uint64_t first, uint64_t last);
/*
 * The next run, as long as tables and budget allow. 0; -ENOENT at the end; -EAGAIN
 * when the budget is used up; or a PCI event code, for the address in `next`.
 */
int ioat_cursor_next(struct ioat_cursor *cursor, struct ioat_run *run);

/* How designation types are announced in CLP query function group. */
uint8_t ioat_designation_mask(void);

/*
 * Functions with a mapping in a host; see mapping.c. 0 or -ENOMEM; without a backend
 * there is nothing to create, destroy, clear, or gate. The others ask for `control`.
 */
int mapping_create(struct zpci_function *f);
void mapping_destroy(struct zpci_function *f);
/* Let DMA through or not. */
void mapping_gate(struct zpci_function *f, bool open);
/* Nothing is mapped any more. */
void mapping_clear(struct zpci_function *f);
/* Map what `ioat` says, which is not in effect yet; and what f->ioat says of a range. */
struct outcome mapping_register(struct zpci_function *f, const struct ioat *ioat);
struct outcome mapping_refresh(struct zpci_function *f, struct zpci_vcpu *vcpu, unsigned index,
			       uint64_t first, uint64_t last);

extern const struct pci_msi_ops interrupt_msi_ops;
/* The indicators of a floating route lie in memory. */
bool interrupt_route_valid(const struct zpci_function *f, const struct interrupt_route *route);
/* A directed route lies within the vectors of CPUs. */
bool interrupt_directed_valid(const struct interrupt_route *route);
void interrupt_reset(struct zpci *zpci);

void event_error(struct zpci_function *f, enum pci_event_code pec, uint64_t address);
void event_availability(struct zpci_function *f, enum pci_event_code pec, uint32_t fh);
void event_drop_all(struct zpci *zpci);

/* Words of a function's measurement block. */
unsigned measurement_words(const struct zpci_function *f);
/* From now on, at `address`. With `control` held, but not `lock`: the device is asked. */
void measurement_start(struct zpci_function *f, uint64_t address);
/* With `lock` held. */
void measurement_stop(struct zpci_function *f);

/* `index` is that of the vCPU. */
static inline void measurement_count(struct zpci_function *f, unsigned counter, unsigned index)
{
	_Atomic uint64_t *c;

	if (index >= COUNTER_LANE_SHARED) {
		atomic_fetch_add_explicit(&f->lanes[COUNTER_LANE_SHARED].counters[counter], 1,
					  memory_order_relaxed);
		return;
	}
	c = &f->lanes[index].counters[counter];
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

#endif
