/* SPDX-License-Identifier: MIT */
/*
 * Floating interruptions: those that any CPU may take that is enabled for them.
 *
 *   adapter interruptions   one pending bit for each of the 8 interruption
 *                           subclasses (ISC); what happened is in indicators
 *                           in guest memory, so a bit is all there is
 *   service signal          from the service processor, one slot
 *   channel report pending  a machine check, one bit
 *
 * and, kept beside them because a CPU takes them by the same means,
 *
 *   directed adapter interruptions   the same for one CPU; if that one is
 *                                    stopped they become floating ones
 *
 * A source makes one pending and tells the CPUs; a CPU that is enabled takes it.
 * Each is one atomic word (of directed ones, one for each CPU); there is no lock, so that devices and
 * CPUs never wait for each other here.
 *
 * Adapter-interruption suppression (facility 72) is kept here because what it
 * suppresses is the interruption, not the indicator: in mode "single" of an ISC
 * one interruption gets through, and the next only after the guest has set
 * the mode again (SIC). The guest then scans its indicators with interruptions
 * in effect off. A CPU has modes of its own for what is directed to it.
 *
 * Sources: Principles of Operation, chapters 6 "Interruption" and 17 "I/O
 * Support Functions"; for suppression, Linux arch/s390/pci/pci_irq.c and the KVM
 * interface KVM_DEV_FLIC_AISM (Documentation/virt/kvm/devices/s390_flic.rst).
 */
#ifndef ZVISOR_MACHINE_FLOATING_H
#define ZVISOR_MACHINE_FLOATING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cpu/vcpu.h"

#define FLOATING_ISCS 8
#define FLOATING_SERVICE_EVENT 1u /* parameter: events can be read */

enum floating_mode {
	FLOATING_MODE_ALL = 0,
	FLOATING_MODE_SINGLE = 1,
};

/*
 * Adapter interruptions, bits by ISC with ISC 0 leftmost: pending in bits 0-7 (of
 * 32), mode single in 8-15, no more before SIC in 16-23.
 */
typedef atomic_uint floating_adapters;

struct floating {
	/* Who is told that something has become pending; set once, before use. */
	struct cpu_complex *cpus;
	floating_adapters adapter;
	floating_adapters directed[CPU_MAX_VCPUS]; /* by CPU address */
	/* The parameter in bits 32-63, and bit 0 when one is pending. */
	atomic_uint_fast64_t service;
	atomic_bool channel_report;
};

/* Nothing pending, all ISCs in mode all. */
void floating_reset(struct floating *floating);

/* An adapter interruption for `isc` (0 to 7). Any thread. */
void floating_adapter(struct floating *floating, unsigned int isc);

/* What SIC sets. -EINVAL for a mode or ISC that does not exist. */
int floating_set_mode(struct floating *floating, unsigned int isc, unsigned int mode);

/*
 * The same for the CPU with this address. False: it cannot take it, since it is stopped
 * or not there; nothing has become pending.
 */
bool floating_directed(struct floating *floating, unsigned int cpu, unsigned int isc);
int floating_set_directed_mode(struct floating *floating, unsigned int cpu, unsigned int isc,
			       unsigned int mode);
/*
 * The CPU has stopped: take back what is pending for it, and end suppression. Was there
 * any of these? Then there may be indicators that nobody has been told of.
 */
bool floating_withdraw_directed(struct floating *floating, unsigned int cpu);

/*
 * The service signal: `parameter` is the address of a finished SCCB, or 0, with
 * FLOATING_SERVICE_EVENT or without. One that is still pending is merged. Any
 * thread.
 */
void floating_service(struct floating *floating, uint32_t parameter);
bool floating_service_pending(struct floating *floating);

/* A channel report can be stored. Any thread. */
void floating_channel_report(struct floating *floating);

/* Tell the CPUs again of what is pending and floating. Any thread. */
void floating_remind(struct floating *floating);

/*
 * The taking ends, for struct cpu_floating_ops. On a vCPU's thread; `cpu` is its
 * address.
 */
bool floating_take_io(struct floating *floating, unsigned int cpu, uint64_t cr6,
		      struct cpu_io_interruption *io);
/* It could not be stored after all: as if it had not been taken. */
void floating_put_back_io(struct floating *floating, unsigned int cpu,
			  const struct cpu_io_interruption *io);
bool floating_take_external(struct floating *floating, uint64_t cr0,
			    struct cpu_external_interruption *external);
bool floating_take_mchk(struct floating *floating, uint64_t cr14,
			struct cpu_mchk_interruption *mchk);

#endif
