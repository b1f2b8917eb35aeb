/* SPDX-License-Identifier: MIT */
/*
 * libzpci: the zPCI architecture of IBM Z as a library.
 *
 * On Z, PCI functions are reached by instructions alone. There is no bus to
 * scan and no memory to map: an operating system asks for the list of functions
 * (CLP), gets for each a handle, enables it, and from then on loads and stores
 * its registers (PCILG, PCISTG, PCISTB), tells the machine where its I/O
 * translation tables and interrupt indicators are (MPCIFC), and says when it
 * has changed the tables (RPCIT). This library is all of that, with no virtual
 * machine attached. A VMM that embeds it
 *
 *   - hands over guest memory and three small sets of functions: what a vCPU
 *     can do (struct zpci_vcpu_ops), where interruptions and events go
 *     (struct zpci_machine_ops), and a function model for each device
 *     (struct pci_function, see pci.h);
 *   - calls zpci_insn_…() when a guest executes one of the instructions, with
 *     the operands decoded as the instruction format has them.
 *
 * Terms. A function has a function identifier (`fid`, 32 bits, names it for
 * good, chosen by whoever configures the machine), may have a user-defined
 * identifier (`uid`, 16 bits, what Linux makes its PCI domain number of), and a
 * function handle (`fh`), which changes: bit 0 says that the function is
 * enabled, bits 1 to 15 count the times that its slot was filled, bits 16 to 31
 * are the number of the slot. Bits are numbered from the left.
 *
 * Threads. Instructions run on the threads of vCPUs, any number at once, also on
 * one function. Loads, stores, DMA and interruptions take no lock that two
 * functions share. All the rest may be called from any thread unless it says
 * otherwise, but never from within one of the callbacks below.
 *
 * The architecture is not published in full. docs/zpci.md says of each answer
 * given here where it comes from.
 */
#ifndef ZPCI_ZPCI_H
#define ZPCI_ZPCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zpci/version.h"
#include "zpci/window.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct zpci;
struct pci_function;

/* Program-interruption codes that the instructions raise themselves. */
enum zpci_program {
	ZPCI_PGM_OPERATION = 0x01,
	ZPCI_PGM_PRIVILEGED_OPERATION = 0x02,
	ZPCI_PGM_SPECIFICATION = 0x06,
	ZPCI_PGM_SPECIAL_OPERATION = 0x13,
	ZPCI_PGM_OPERAND = 0x15,
};

/*
 * A vCPU, as the library knows it. The embedder has one for each vCPU, as a rule in
 * its own structure for it, and hands it over with each instruction; nobody else
 * touches it meanwhile.
 */
struct zpci_vcpu {
	uint64_t *registers; /* general registers 0 to 15 */
	/*
	 * A number from 0 on that no two vCPUs share; below ZPCI_FAST_VCPUS loads and
	 * stores are cheaper. Directed delivery takes it for the CPU address.
	 */
	unsigned index;
	/* The condition code that the instruction has set. Not of PCIWB and SIC: they set none. */
	unsigned cc;
	/*
	 * The CPU is in the problem state. An embedder that has raised the
	 * privileged-operation exception itself may leave it false.
	 */
	bool problem_state;
	/* The MIO-addressing control, bit 58 of control register 2, is one. */
	bool mio_addressing;
	/* See window.h; outlives the zPCI. NULL: the embedder has no use for it. */
	struct zpci_window *window;
	uint64_t reserved[3]; /* 0 */
};

/*
 * What libzpci asks of the vCPU that executes an instruction. All are called on the
 * caller's thread.
 */
struct zpci_vcpu_ops {
	/* Make a program interruption pending. Returns nonzero. */
	int (*program)(struct zpci_vcpu *vcpu, enum zpci_program code);
	/*
	 * Guest-virtual memory by effective address and access register. At
	 * most 4096 bytes, possibly in two pages. 0, or nonzero when nothing
	 * was transferred and an access exception is pending.
	 */
	int (*read)(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, void *to, size_t length);
	int (*write)(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, const void *from,
		     size_t length);
	/*
	 * The absolute address behind a guest-virtual one, for a fetch or a
	 * store; it may lie outside guest memory. Result as above.
	 */
	int (*translate)(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, bool write,
			 uint64_t *absolute);
};

#define ZPCI_FAST_VCPUS 64

/* What SIC sets for an interruption subclass, floating or of one vCPU. */
enum zpci_interruption_mode {
	ZPCI_INTERRUPTION_ALL = 0,    /* every adapter interruption is presented */
	ZPCI_INTERRUPTION_SINGLE = 1, /* after the next one, none until the mode is set again */
};

/*
 * Where things go that the library does not do itself. Called from any thread,
 * with a lock of one function held: they must not call back into the library.
 */
struct zpci_machine_ops {
	/*
	 * An adapter interruption for interruption subclass `isc`, floating.
	 * Suppression by mode is the callee's. Indicators are already set.
	 */
	void (*adapter_interruption)(void *opaque, unsigned isc);
	/*
	 * SET INTERRUPTION CONTROLS for a subclass. NULL: the adapter-interruption
	 * suppression facility (72) is not installed.
	 */
	void (*set_interruption_mode)(void *opaque, unsigned isc,
				      enum zpci_interruption_mode mode);
	/*
	 * The same two for one vCPU, by its CPU address: an adapter interruption
	 * that is directed to it, and the mode of these. False: this vCPU cannot
	 * take it (there is none, or it is stopped); it is then presented
	 * floating. NULL: no directed delivery, whatever struct zpci_config says.
	 */
	bool (*directed_interruption)(void *opaque, unsigned cpu, unsigned isc);
	void (*set_directed_mode)(void *opaque, unsigned cpu, unsigned isc,
				  enum zpci_interruption_mode mode);
	/*
	 * An event can be fetched with zpci_next_event(): the channel subsystem
	 * makes a channel report (a machine check) of it. Called when one is
	 * queued, but not again before one has been fetched. May be NULL.
	 */
	void (*event_pending)(void *opaque);
	/*
	 * The guest has deconfigured the function `fid` after
	 * zpci_request_unplug(): whoever asked can zpci_unplug() it now (from a
	 * thread of its own, as always). May be NULL.
	 */
	void (*deconfigured)(void *opaque, uint32_t fid);
	/* The guest's TOD clock. NULL: measurement blocks have no time. */
	uint64_t (*tod)(void *opaque);
	/*
	 * A trace record, one line without its end: `event` names the kind
	 * ("zpci_pcilg"), `text` is for a person. NULL: no time is spent on
	 * tracing.
	 */
	void (*trace)(void *opaque, const char *event, const char *text);
};

/*
 * Guest memory: absolute addresses [0, size), mapped at `base` in one piece. Both are
 * multiples of 4096.
 * `written`, if not NULL, is told what libzpci or a device has stored.
 */
struct zpci_guest_memory {
	uint8_t *base;
	uint64_t size;
	void (*written)(void *opaque, uint64_t absolute, uint64_t length);
	void *opaque;
	/*
	 * The storage key of the page frame that contains an absolute address, as
	 * ISKE gives it. NULL: DMA is not checked against storage keys. Called
	 * from any thread, with a lock of one function held.
	 */
	uint8_t (*storage_key)(void *opaque, uint64_t absolute);
	/*
	 * Told, if not NULL, when a function that translates in a host (zpci_function_config.mapping) begins to
	 * reach all of memory without tables (direct mapping), and when it ends: what it
	 * stores meanwhile, `written` is not told. From any thread, with a lock of the
	 * function held; begins and ends of several functions may overlap.
	 */
	void (*stores_unseen)(void *opaque, bool begin);
	void *reserved[2]; /* NULL */
};

struct zpci_config {
	struct zpci_guest_memory memory;
	const struct zpci_vcpu_ops *vcpu; /* copied */
	const struct zpci_machine_ops *machine; /* copied */
	void *opaque;                           /* for the machine's functions */
	/* Announce that user-defined identifiers are unique, and see to it. */
	bool uid_checking;
	/*
	 * Interruptions can be directed to a vCPU. The guest is told by SCLP
	 * (read SCP information, byte 135), which is the embedder's.
	 */
	bool directed_interruptions;
	/*
	 * The PCI memory-I/O facility (153) is installed: BARs have addresses, and
	 * PCILGI, PCISTGI, PCISTBI and PCIWB work. The addresses have bit 0 one:
	 * guest memory must end below 2^63.
	 */
	bool mio;
};

/*
 * Everything is copied but memory itself, which must outlive the library. NULL with
 * errno ENOMEM, or E2BIG (version.h).
 */
struct zpci *zpci_create_sized(const struct zpci_config *config, size_t config_size,
			       size_t vcpu_size, size_t machine_size);

static inline struct zpci *zpci_create(const struct zpci_config *config)
{
	return zpci_create_sized(config, sizeof(*config), sizeof(*config->vcpu),
				 sizeof(*config->machine));
}

/*
 * Unplugs what is plugged, and waits for what devices have under way in the host, for
 * which zpci_quiesce() says whether there is any. No vCPU may run. NULL is allowed.
 */
void zpci_destroy(struct zpci *zpci);

/* --- functions ------------------------------------------------------------- */

/*
 * How the bus of a passed-through function is mapped in a host's IOMMU. At first nothing is
 * mapped, and nothing is let through. map and unmap are called one at a time, from threads
 * of vCPUs and of whoever unplugs or resets; gate is called from any thread, also meanwhile.
 * Addresses and lengths are multiples of 4 KiB.
 */
struct zpci_mapping_ops {
	/*
	 * Make DMA to [iova, iova + length), of which nothing is mapped, go to
	 * guest-absolute addresses from `absolute` on, which are in memory. 0; -ENOSPC,
	 * nothing more can be mapped; or another negative errno. Nothing has
	 * happened then, and the guest sees that resources are lacking. -ENOTRECOVERABLE:
	 * part of it has been mapped and cannot be unmapped; see there.
	 */
	int (*map)(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable);
	/*
	 * Take away what is mapped in the range: part of what was mapped at once, or
	 * several such ranges with holes. When it returns 0, no DMA uses it any more.
	 * Else the function is put into the error state, where `gate` keeps its DMA back,
	 * and does not leave it before its tables have been unmapped after all.
	 */
	int (*unmap)(void *opaque, uint64_t iova, uint64_t length);
	/*
	 * Let DMA through, or keep it back whatever is mapped: the function is in
	 * error, or its tables are being changed. May be called again with the same
	 * value, with a lock of the function held: it must be quick.
	 */
	void (*gate)(void *opaque, bool open);
	/*
	 * As map, for a range that will be taken away as a whole, or not at all: that of a
	 * function without translation. NULL: map does.
	 */
	int (*map_whole)(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length,
			 bool writable);
};

#define ZPCI_FUNCTIONS_MAX 4096
#define ZPCI_UTIL_STRING_SIZE 64

/* What a function looks like. zpci_function_defaults() gives the usual. */
struct zpci_function_config {
	uint32_t fid;
	uint16_t uid;             /* 0: none */
	uint16_t pchid;           /* physical channel identifier */
	uint16_t vfn;             /* virtual function number */
	uint8_t pft;              /* function type: 0 not told, 5 ISM */
	uint8_t pfip[4];          /* internal path, what SMC compares */
	/*
	 * One of several functions of a device. Functions with the same topology
	 * identifier (and, for older programs, PCHID) are on one bus, where `rid`
	 * is the address: its rightmost 8 bits device and function.
	 */
	bool has_rid;
	uint16_t rid;
	uint16_t tid;
	/* EBCDIC, not terminated; shown if has_util_string. */
	bool has_util_string;
	uint8_t util_string[ZPCI_UTIL_STRING_SIZE];

	uint64_t sdma, edma; /* first and last DMA address, of whole pages */
	uint16_t interrupts;      /* how many vectors a guest may register, 1 to 2048 */
	uint16_t store_block_max; /* bytes of PCISTB, a multiple of 8 from 16 to 4096 */
	uint16_t update_interval; /* of the measurement block, milliseconds */
	/* RPCIT is needed also after an invalid entry was made valid. */
	bool refresh;
	/*
	 * Translations are made in a host beforehand: how, and how many ranges of
	 * them there can be (0: 65536). RPCIT is then always needed. NULL: they are
	 * made when an address is used.
	 */
	const struct zpci_mapping_ops *mapping; /* copied */
	void *mapping_opaque;
	uint32_t mappings_max;
	/* The guest may register translation off, and gets all memory at sdma. */
	bool relaxed_translation;
	/* PCISTB of any length and alignment within 4096 bytes (ISM). */
	bool relaxed_store_block;
	/*
	 * BARs have addresses, where the facility is installed; not with one of more
	 * than 2^44 bytes, nor with relaxed_store_block.
	 */
	bool mio;
	/* Start in the standby state instead of the disabled one. */
	bool standby;
	/*
	 * The number of the function's group, if no group of other functions has it; 0:
	 * whatever is free.
	 */
	uint8_t pfgid;
};

void zpci_function_defaults_sized(struct zpci_function_config *config, size_t config_size,
				  uint32_t fid);

static inline struct zpci_function_config zpci_function_defaults(uint32_t fid)
{
	struct zpci_function_config config;

	zpci_function_defaults_sized(&config, sizeof(config), fid);
	return config;
}

/*
 * Plug a function in. The library attaches to `f`; the caller keeps owning it and
 * may free it after zpci_unplug() or zpci_destroy(). `announce` tells a running
 * guest by an event. Returns 0, or a negative errno with a line for a person in
 * `error` (if not NULL): -EEXIST fid or uid in use, -EINVAL a value out of range,
 * -ENOSPC no slot or no group left, -EBUSY already attached, -ENOMEM, -E2BIG (version.h).
 */
int zpci_plug_sized(struct zpci *zpci, struct pci_function *f,
		    const struct zpci_function_config *config, size_t config_size,
		    size_t mapping_size, bool announce, char *error, size_t error_size);

static inline int zpci_plug(struct zpci *zpci, struct pci_function *f,
			    const struct zpci_function_config *config, bool announce, char *error,
			    size_t error_size)
{
	return zpci_plug_sized(zpci, f, config, sizeof(*config), sizeof(*config->mapping), announce,
			       error, error_size);
}

/*
 * Ask the guest to give a function back (a deconfiguration request), which it
 * answers by SCLP deconfigure: see zpci_machine_ops.deconfigured. A function in
 * standby is reported at once. -ENOENT if there is none.
 */
int zpci_request_unplug(struct zpci *zpci, uint32_t fid);

/*
 * Take a function away, whatever the guest does with it: DMA and interruptions
 * end, its handle becomes invalid, and the guest is told. When this returns the
 * library does not refer to the pci_function any more. -ENOENT if there is none.
 * -EBUSY: its device has something under way in the host, as quiesce() of its
 * operations says. It begins nothing new, all else is as before; try again later.
 * Not on a vCPU's thread while that executes an instruction.
 */
int zpci_unplug(struct zpci *zpci, uint32_t fid);

/* Is there a function with this fid (uid)? Also one that is being unplugged. */
bool zpci_fid_in_use(struct zpci *zpci, uint32_t fid);
bool zpci_uid_in_use(struct zpci *zpci, uint16_t uid);

/*
 * Make errors, to see how a guest recovers.
 *
 * zpci_inject_error(): as if the function had failed on its own account. It goes
 * into the error state, or for event code 003b into the permanent error state,
 * and the guest is told `pec` and `address`; codes 002a to 002c, which are about
 * measurement, change no state. -ENOENT no such function, -EINVAL no event code of
 * an error (1 to ff), -EBUSY the function is not in a state in which it could fail.
 *
 * zpci_inject_translation_failure(): of the pages that DMA of the function will
 * go to, number `count` (1: the next; 0: none) has no translation, for the reason
 * `pec`. It may be set at any time, and is forgotten when it has happened.
 * -ENOENT, -EINVAL as above.
 */
int zpci_inject_error(struct zpci *zpci, uint32_t fid, uint16_t pec, uint64_t address);
int zpci_inject_translation_failure(struct zpci *zpci, uint32_t fid, uint16_t pec, uint64_t count);

/*
 * Reset the set of functions, as a subsystem reset does: all are disabled or
 * keep standby, nothing is registered, no event is pending. No vCPU may run.
 * It waits for what devices have under way in the host. Who has other things to do
 * meanwhile calls zpci_quiesce() first, again and again until it is true: then
 * nothing has to be waited for. False: `fid` is told of a function for which it does.
 * A reset has to follow, and no vCPU may run already.
 */
bool zpci_quiesce(struct zpci *zpci, uint32_t *fid);
void zpci_reset(struct zpci *zpci);

/* --- instructions ----------------------------------------------------------- */

/*
 * Execute an instruction for `vcpu`. Register numbers are those of the
 * instruction's fields; `address` and `ar` are the effective address of the
 * storage operand and the access register that goes with its base. Each sets
 * vcpu->cc (but PCIWB and SIC leave the condition code as it is) and returns 0, or has made
 * a program interruption pending and returns nonzero.
 */

/* CALL LOGICAL PROCESSOR, RRF: R1, R2, R3 (its leftmost bit selects an immediate
 * command), M4 (the logical processor). */
int zpci_insn_clp(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2, unsigned r3,
		  unsigned m4);
/* PCI LOAD, PCI STORE, RRE: R1, R2. */
int zpci_insn_pcilg(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2);
int zpci_insn_pcistg(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2);
/* PCI STORE BLOCK, RSY: R1, R3, D2(B2). */
int zpci_insn_pcistb(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r3,
		     uint64_t address, unsigned ar);
/*
 * The same by address, from any state of the CPU: PCI LOAD, PCI STORE (pcilgi,
 * pcistgi), RRE: R1, R2; PCI STORE BLOCK (pcistbi), RSY: R1, R3, D2(B2); PCI WRITE
 * BARRIER (pciwb). The address is a guest-virtual one, in a register: it is
 * translated with zpci_vcpu_ops.translate, access register R2 or R3.
 */
int zpci_insn_pcilgi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2);
int zpci_insn_pcistgi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2);
int zpci_insn_pcistbi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r3,
		      uint64_t address, unsigned ar);
int zpci_insn_pciwb(struct zpci *zpci, struct zpci_vcpu *vcpu);
/* MODIFY PCI FUNCTION CONTROLS, STORE PCI FUNCTION CONTROLS, RXY: R1, D2(X2,B2). */
int zpci_insn_mpcifc(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, uint64_t address,
		     unsigned ar);
int zpci_insn_stpcifc(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, uint64_t address,
		      unsigned ar);
/* REFRESH PCI TRANSLATIONS, RRE: R1, R2. */
int zpci_insn_rpcit(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2);
/* SET INTERRUPTION CONTROLS, RSY: R1, R3, D2(B2). */
int zpci_insn_sic(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r3,
		  uint64_t address, unsigned ar);

/* --- directed delivery ---------------------------------------------------------- */

/* CPU addresses below this can have interruptions directed to them. */
#define ZPCI_DIRECTED_CPUS 512

/*
 * The vCPU with this address has stopped and will not take the directed
 * interruption that was pending for it, or that suppression may have kept back:
 * present it floating. Any thread, also a vCPU's; not from within a callback.
 */
void zpci_directed_fallback(struct zpci *zpci, unsigned cpu);

/* --- service processor and channel subsystem ---------------------------------- */

/*
 * SCLP configure and deconfigure I/O adapter for an adapter of type PCI function.
 * The result is the SCLP response code.
 */
uint16_t zpci_sclp_configure(struct zpci *zpci, uint32_t fid);
uint16_t zpci_sclp_deconfigure(struct zpci *zpci, uint32_t fid);

#define ZPCI_CCDF_SIZE 32

/*
 * An event for CHSC store event information, notification type 2: the content
 * code and the content-code dependent field, in guest byte order.
 */
struct zpci_event {
	uint8_t content_code; /* 1 error, 2 availability */
	bool lost; /* since the one before, some did not find room */
	uint8_t ccdf[ZPCI_CCDF_SIZE];
};

/* The oldest event, removed; false if there is none. */
bool zpci_next_event(struct zpci *zpci, struct zpci_event *event);
bool zpci_has_event(struct zpci *zpci);

/*
 * Put an event back that could not be given to the guest: it is the oldest again. With
 * no room for it, because others have come since, it is lost as these would be.
 */
void zpci_return_event(struct zpci *zpci, const struct zpci_event *event);

/*
 * Bring the measurement blocks up to date whose interval has passed, `now_ms`
 * being any clock in milliseconds that does not go back. Call it a few times a
 * second.
 */
void zpci_update_measurements(struct zpci *zpci, uint64_t now_ms);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
