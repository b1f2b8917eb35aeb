/* SPDX-License-Identifier: MIT */
/*
 * A machine from the inside: what hangs together where. For the files of this
 * room only.
 *
 * Locks: `lock` guards what the vCPU threads and the main thread agree about
 * (who rests, who is held, how it ended). It is taken last and nothing is called
 * with it held but the CPU's vcpu_request_exit().
 */
#ifndef ZVISOR_MACHINE_INTERNAL_H
#define ZVISOR_MACHINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "cpu/vcpu.h"
#include "machine/console.h"
#include "machine/control.h"
#include "machine/css.h"
#include "machine/floating.h"
#include "machine/ipl.h"
#include "machine/machine.h"
#include "machine/memory.h"
#include "machine/sclp.h"
#include "machine/version.h"

struct irq_sources;
struct machine_devices;
struct zpci;

enum machine_reset {
	MACHINE_RESET_NONE,
	MACHINE_RESET_MODIFIED_CLEAR, /* DIAG X'308' subcode 0 */
	MACHINE_RESET_LOAD_NORMAL,    /* subcode 1 */
	MACHINE_RESET_REIPL,          /* subcode 3 */
};

/* One vCPU and its thread; guarded by the machine's lock. */
struct machine_cpu {
	struct machine *machine;
	struct vcpu *vcpu;
	pthread_t thread;
	bool thread_started;
	bool held;    /* the thread waits for the end of `hold` */
	bool resting; /* vcpu_run() has nothing to do, because of `rest` */
	enum vcpu_exit rest;
	uint64_t psw_mask, psw_addr; /* at that moment */
	unsigned int kicks; /* state changes from outside, counted */
	unsigned int seen;  /* of these, before the last vcpu_run() */
};

struct machine {
	struct machine_config config;
	const struct machine_version *version;
	uint32_t features; /* of the version, without those left out */
	struct memory memory;
	struct floating floating;
	struct cpu_complex *cpus;
	struct css css;
	struct sclp sclp;
	struct lockstep lockstep;
	bool sclp_ready, css_ready, lock_ready;
	struct console *console;
	struct zpci *zpci;
	struct machine_pci_vcpu *pci_vcpus; /* by CPU address; of pci.c */
	struct machine_devices *devices;
	struct irq_sources *irq_sources; /* the devices' */
	struct cpu_idle_ops idle_ops; /* … which idle CPUs wait for */
	struct ipl_entry entry;
	int wake;    /* eventfd: the main thread shall look */
	int signals; /* signalfd */
	struct timespec started;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hold; /* all vCPU threads shall leave vcpu_run() and wait */
	bool quit; /* … and end */
	bool paused; /* they shall wait until the monitor says otherwise */
	uint64_t paused_tod; /* the guest's clock at that moment, when it stands still */
	bool ended; /* all vCPUs rest for good, see their `rest` */
	const char *end_requested; /* why, as events name it: Ctrl-a x, the monitor; or NULL */
	bool shut_down; /* the main loop has ended */
	enum machine_reset reset;
	unsigned int reset_cpu;
	const char *reset_reason; /* as events name it; NULL: they do not tell */
	bool reset_by_guest;
	/* The main thread's: since when a reset waits for the host, in ms; 0: it does not. */
	uint64_t reset_since;
	bool reset_complained;
	struct machine_cpu cpu[CPU_MAX_VCPUS];

	/* Set before the run. */
	machine_listener *listener;
	void *listener_opaque;
};

/* The main thread shall look. Any thread. */
void machine_wake(struct machine *machine);

/* Tell whoever listens. Any thread, no lock of this file held. */
void machine_tell(struct machine *machine, const struct machine_event *event);

/* From an instruction handler: stop all vCPUs and reset, soon. */
void machine_request_reset(struct machine *machine, enum machine_reset kind, struct vcpu *vcpu);

/* The run is over, by somebody's wish: `why` as events name it. Any thread. */
void machine_request_end(struct machine *machine, const char *why);

/*
 * reset.c: no vCPU runs. Load what was asked for; let a vCPU start at a PSW; reset as asked.
 * 0, or -errno with a line in `error`.
 */
int machine_load(struct machine *machine, char *error, size_t error_size);
void machine_enter(struct machine *machine, unsigned int cpu, uint64_t psw_mask, uint64_t psw_addr);
int machine_perform_reset(struct machine *machine, enum machine_reset kind, unsigned int cpu,
			  char *error, size_t error_size);

/* wiring.c */
extern const struct cpu_floating_ops machine_floating_ops;
bool machine_irq_sources_wanted(void *opaque);
void machine_irq_sources_serve(void *opaque, const struct epoll_event *events, unsigned int count);
void machine_irq_sources_serve_rest(void *opaque);
void machine_irq_sources_watch(void *opaque, bool on);
extern const struct console_ops machine_console_ops;
extern const struct sclp_ops machine_sclp_ops;
void machine_on_vcpu_state_changed(void *opaque, struct vcpu *vcpu);
void machine_on_memory_written(void *opaque, uint64_t absolute, uint64_t length);

/* Put the handlers of these instructions into the CPUs' table. 0 or -errno. */
int service_install(struct machine *machine); /* SERVC, DIAG, STSI */

/* Present privileged-operation if the CPU is in the problem state; nonzero then. */
static inline int machine_privileged(struct vcpu *vcpu)
{
	return vcpu_problem_state(vcpu) ? vcpu_program(vcpu, PGM_PRIVILEGED) : 0;
}

static inline unsigned int machine_cpu_address(struct vcpu *vcpu)
{
	return vcpu_state(vcpu)->cpu_address;
}

#endif
