/* SPDX-License-Identifier: MIT */
/*
 * What a vCPU is, whoever executes it.
 *
 * A machine has one `struct cpu_complex`: the vCPUs, the guest's memory as they
 * see it, and what they share (decoded code, storage keys, the TOD clock). Each
 * `struct vcpu` is executed by a host thread of its own, which calls
 * vcpu_run(); everything declared here as "own thread" may be called by that
 * thread alone, the rest by any thread.
 *
 * The CPU executes the instruction set; it knows no device, no service
 * processor and no PCI. An instruction that belongs to the machine (SERVC,
 * DIAG, CHSC, the channel and PCI instructions, STSI) goes to a handler that
 * the machine has put into a table by opcode, with its operands decoded. A
 * handler runs on the vCPU's thread, must not block, and uses the functions
 * below to reach registers and guest-virtual memory. It returns 0 when the
 * instruction completed; when it has called vcpu_program(), or an access
 * function returned nonzero (which means that a program interruption is
 * pending), it returns that nonzero value and must have changed nothing that
 * the architecture forbids to change.
 *
 * Source: z/Architecture Principles of Operation (SA22-7832), chapters 3 to 6.
 */
#ifndef ZVISOR_CPU_VCPU_H
#define ZVISOR_CPU_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/arch.h"

struct cpu_complex;
struct epoll_event;
struct vcpu;
struct zpci_window;

#define CPU_MAX_VCPUS 64

/* What a guest can see of a CPU; the whole of it, and all that is saved. */
struct cpu_state {
	uint64_t gr[17]; /* gr[16] is always 0: what an address has for "no base register" */
	uint64_t cr[16];
	uint64_t fpr[16];
	uint32_t ar[16];
	uint64_t psw_mask; /* condition code included when the vCPU is not running */
	uint64_t psw_addr;
	uint64_t cpu_timer;  /* value at cpu_timer_base; see clock.c */
	uint64_t clock_comparator;
	uint64_t breaking_event; /* PER-3 breaking-event address */
	uint32_t prefix;     /* bits 0-32 of the prefix: an 8 KiB boundary */
	uint32_t fpc;
	uint32_t todpr;      /* TOD programmable register, 16 bits used */
	uint16_t cpu_address;
	uint8_t stopped;     /* 1 in the stopped state */
};

/* What the machine version and the options say the CPU looks like. */
struct cpu_model {
	uint64_t facilities[4]; /* STFLE bits, bit 0 leftmost of [0] */
	uint64_t cpu_id;        /* STIDP */
};

/* A decoded instruction that the CPU hands to the machine. */
struct cpu_insn {
	uint64_t raw;     /* left-aligned: the first halfword is bits 0-15 */
	uint8_t length;   /* 2, 4 or 6 bytes */
	uint8_t r1, r2, r3; /* as the format has them; r2 is 0 where there is none */
	uint8_t b2;       /* base register (and access register) of the operand */
	uint64_t address; /* of the storage operand, base (index) and displacement added */
	int64_t displacement; /* for DIAG: the function code is in `address` */
};

typedef int cpu_insn_handler(void *opaque, struct vcpu *, const struct cpu_insn *);

/* A floating interruption on its way into a CPU. */
enum cpu_floating_class {
	CPU_FLOATING_IO,
	CPU_FLOATING_EXTERNAL,
	CPU_FLOATING_MCHK,
	CPU_FLOATING_CLASSES,
};

struct cpu_io_interruption {
	uint32_t subchannel_id;  /* lowcore 184 */
	uint32_t parameter;      /* lowcore 188 */
	uint32_t interruption_word; /* lowcore 192: A bit, directed, ISC */
};

struct cpu_external_interruption {
	uint16_t code;           /* lowcore 134 */
	uint16_t cpu_address;    /* lowcore 132 */
	uint32_t parameter;      /* lowcore 128 */
	uint64_t parameter64;    /* lowcore 4536 (0x11B8) */
};

struct cpu_mchk_interruption {
	uint64_t code;           /* lowcore 232 */
};

/*
 * The floating interrupt controller, which the machine owns. Each take_*
 * function is called on a vCPU's thread, which is enabled for the class; it
 * removes and returns the most urgent interruption that the CPU's subclass mask
 * admits, or returns false. They are called at every change of a PSW: when nothing is
 * pending they must cost next to nothing (a load or two). take_io also takes what is
 * directed to this vCPU alone.
 *
 * A vCPU that was asked to take something may be kept from it by an interruption
 * of another class. It then calls `remind`, which tells the CPUs again, by
 * cpu_complex_floating_pending(), of what is still pending.
 */
struct cpu_floating_ops {
	void (*remind)(void *opaque);
	bool (*take_io)(void *opaque, struct vcpu *, uint64_t cr6, struct cpu_io_interruption *);
	bool (*take_external)(void *opaque, struct vcpu *, uint64_t cr0,
			      struct cpu_external_interruption *);
	bool (*take_mchk)(void *opaque, struct vcpu *, uint64_t cr14,
			  struct cpu_mchk_interruption *);
};

/*
 * What idle vCPUs wait for besides their own affairs: interrupts of devices whose events
 * come by an epoll instance (epoll(7)). A vCPU that such an interrupt wakes up can take it
 * at once; if another thread woke up for it first, it would take twice the time. The
 * instance's members are edge-triggered, so that an event wakes one vCPU. Both functions
 * are called on a vCPU's thread.
 */
struct cpu_idle_ops {
	int epoll;
	/* Is it worth while? Asked whenever a vCPU falls asleep; shall cost a load or two. */
	bool (*wanted)(void *opaque);
	/* A vCPU has got these events. Making interruptions pending is all to be done now. */
	void (*serve)(void *opaque, const struct epoll_event *events, unsigned int count);
	/* It waits no more for another reason, or had no room for more: have others come, too? */
	void (*serve_rest)(void *opaque);
	/* It begins to look at `epoll` all the time without waiting for it, or does so no more. */
	void (*watch)(void *opaque, bool on);
};

/* Why vcpu_run() returned. */
enum vcpu_exit {
	VCPU_EXIT_STOPPED,       /* in the stopped state (SIGP stop, or by request) */
	VCPU_EXIT_DISABLED_WAIT, /* a wait PSW that nothing can end */
	VCPU_EXIT_CHECK_STOP,    /* a program interruption loop, bad prefix page … */
	VCPU_EXIT_REQUEST,       /* vcpu_request_exit() */
};

/* How code is executed; anything but the first is for tests, and slower. */
enum cpu_execution {
	CPU_EXECUTE_TRANSLATED, /* decoded once, and to host code where it can be */
	CPU_EXECUTE_CACHED, /* decoded once */
	CPU_EXECUTE_FLUSHED, /* decoded code and TLB are thrown away at each report */
	/* Back to the run loop at each branch and unit of operation (deterministic mode). */
	CPU_EXECUTE_UNCHAINED,
	CPU_EXECUTE_UNCACHED, /* each instruction decoded afresh (deterministic mode) */
};

struct cpu_complex_config {
	void *memory;          /* host address of guest absolute 0 */
	uint64_t memory_size;  /* bytes, a multiple of 1 MiB */
	unsigned int vcpus;    /* 1 … CPU_MAX_VCPUS */
	struct cpu_model model;
	const struct cpu_floating_ops *floating;
	const struct cpu_idle_ops *idle; /* NULL: nothing; outlives the vCPUs */
	void *opaque; /* for these ops and the handlers */
	/*
	 * Called on the thread of the vCPU that executed SIGP for an order that
	 * starts, restarts, stops or resets another vCPU, which may have left
	 * vcpu_run() because it is stopped or in a disabled wait: the machine calls
	 * vcpu_run() for it once more.
	 */
	void (*vcpu_state_changed)(void *opaque, struct vcpu *);
	/*
	 * For tests, with one vCPU: time is the count of instructions, so that two runs
	 * are the same. An enabled wait lasts no time: the count jumps to where the next
	 * clock event is due. `report` is called on the vCPU's thread before the
	 * instruction at each multiple of report_every (0: never) that is not jumped over.
	 * Until `from` instructions were executed, it is not, and the execution is cached.
	 */
	bool deterministic;
	enum cpu_execution execution;
	uint64_t from;
	uint64_t report_every;
	void (*report)(void *opaque, struct vcpu *);
};

/* Returns NULL with errno set when memory or threads' resources lack. */
struct cpu_complex *cpu_complex_create(const struct cpu_complex_config *);
void cpu_complex_destroy(struct cpu_complex *);
struct vcpu *cpu_complex_vcpu(struct cpu_complex *, unsigned int index);
unsigned int cpu_complex_count(struct cpu_complex *);
/* Bytes of shared memory that host code takes; the kernel counts them with the guest's. */
size_t cpu_complex_code_memory(struct cpu_complex *);

/*
 * Hand the instruction with this opcode to the machine. The opcode is that of
 * the instruction table: one byte (0x83 for DIAG) or two (0xB9A0 for CLP,
 * 0xE3D0 for MPCIFC, 0xEBD0 for PCISTB). Returns -EINVAL for one that the
 * table does not mark as the machine's. Before any vCPU runs.
 */
int cpu_complex_set_handler(struct cpu_complex *, uint16_t opcode, cpu_insn_handler *);

/*
 * Tell the CPUs that [absolute, absolute + length) of guest memory was written
 * by somebody else than a CPU: a device, a loader, the machine. Any thread; the
 * memory must have been written before the call.
 */
void cpu_complex_memory_written(struct cpu_complex *, uint64_t absolute, uint64_t length);

/*
 * From now on (`begin`), or no longer, there is one more who stores to memory without
 * telling, such as a device that another process or the host's hardware lets reach all of
 * it. The CPUs then notice what has changed in a page of code when the guest has purged the
 * page's translation (IPTE, IDTE, PTLB …) and translates it anew. Any thread.
 */
void cpu_complex_stores_unseen(struct cpu_complex *, bool begin);

/* The storage key of the frame that contains an absolute address; 0 beyond memory. Any thread. */
uint8_t cpu_complex_storage_key(struct cpu_complex *, uint64_t absolute);

/*
 * A floating interruption has become pending: make a vCPU look that is enabled
 * for it, an idle one first. Any thread. `mask` are the bits of CR6 (CR0, CR14)
 * that admit it.
 */
void cpu_complex_floating_pending(struct cpu_complex *, enum cpu_floating_class, uint64_t mask);
/*
 * An I/O interruption has become pending for one vCPU, by its CPU address: make it look
 * if it is enabled for it, by these bits of CR6. Any thread.
 */
void cpu_complex_directed_pending(struct cpu_complex *, unsigned int cpu, uint64_t mask);

/*
 * Execute until there is a reason to stop. Own thread. Idles in here in an
 * enabled wait. Returns at once when the vCPU is in the stopped state.
 */
enum vcpu_exit vcpu_run(struct vcpu *);
/* Make vcpu_run() return VCPU_EXIT_REQUEST soon. Any thread, not from a signal handler. */
void vcpu_request_exit(struct vcpu *);

/*
 * Guest-visible state. Only while the vCPU is not running, or on its own thread
 * in an instruction handler (where psw_addr is that of the instruction and the
 * condition code is not valid: use vcpu_set_cc()).
 */
struct cpu_state *vcpu_state(struct vcpu *);
/*
 * By which it executes PCI STORE itself, where it can (zpci/window.h): once somebody has said
 * that windows are used, as looking at one that is shut takes time. For good; any thread.
 */
struct zpci_window *vcpu_window(struct vcpu *);
void cpu_complex_use_windows(struct cpu_complex *);
/* After state was changed from outside (prefix, control registers, PSW). */
void vcpu_state_changed(struct vcpu *);
struct cpu_complex *vcpu_complex(struct vcpu *);
uint64_t vcpu_instructions(const struct vcpu *); /* executed so far, roughly current */
/* A number that differs when the guest-visible registers do. Own thread. */
uint64_t vcpu_hash(struct vcpu *);

/* Resets of chapter 4, "Resets". The vCPU ends stopped and must not be running. */
void vcpu_cpu_reset(struct vcpu *);
void vcpu_initial_reset(struct vcpu *);
void vcpu_clear_reset(struct vcpu *);
/* What a clear reset does to the CPUs' common part: storage keys. All are stopped. */
void cpu_complex_clear(struct cpu_complex *);
void vcpu_start(struct vcpu *); /* leave the stopped state */
/* Any thread; another one may change it at once. */
bool vcpu_is_stopped(const struct vcpu *);

/* For instruction handlers, own thread. */
static inline uint64_t vcpu_gr(struct vcpu *v, unsigned int r)
{
	return vcpu_state(v)->gr[r];
}
static inline void vcpu_set_gr(struct vcpu *v, unsigned int r, uint64_t value)
{
	vcpu_state(v)->gr[r] = value;
}
void vcpu_set_cc(struct vcpu *, unsigned int cc);
bool vcpu_problem_state(struct vcpu *);
/* Present a program interruption when the handler returns. Returns -EFAULT. */
int vcpu_program(struct vcpu *, enum pgm_code);
/*
 * Guest-virtual memory in the current address space, `ar` naming the access
 * register that counts in access-register mode. At most PAGE_SIZE bytes; either
 * all of it is accessible or nothing was changed and an access exception is
 * pending: -EFAULT.
 */
int vcpu_read(struct vcpu *, uint64_t address, unsigned int ar, void *to, size_t length);
int vcpu_write(struct vcpu *, uint64_t address, unsigned int ar, const void *from, size_t length);
/*
 * The absolute address that a guest-virtual one translates to, which may lie
 * outside guest memory (the MIO instructions); inside, an access there has no
 * exception. Access exceptions as above.
 */
int vcpu_translate(struct vcpu *, uint64_t address, unsigned int ar, bool write, uint64_t *absolute);

/* The guest's TOD clock, now. Any thread. */
uint64_t cpu_complex_tod(struct cpu_complex *);
/*
 * Make it `tod` now, as if no time had passed. No vCPU runs. Without effect in the
 * deterministic mode, where only instructions are time.
 */
void cpu_complex_set_tod(struct cpu_complex *, uint64_t tod);

#endif
