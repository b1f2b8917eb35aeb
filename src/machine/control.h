/* SPDX-License-Identifier: MIT */
/*
 * What a monitor can ask of a machine while it runs, and what it is told.
 *
 * Requests come from one thread at a time, which is not a vCPU's and not the one that
 * runs the machine. None of them waits for the guest: what the guest has to do first
 * (shut down, give a device back) is asked for, and an event says when it is done.
 */
#ifndef ZVISOR_MACHINE_CONTROL_H
#define ZVISOR_MACHINE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device_config;
struct device_type;
struct machine;
struct pci_function;

/* --- the run -------------------------------------------------------------------- */

enum machine_run_state {
	MACHINE_RUNNING,
	MACHINE_PAUSED,
	MACHINE_SHUT_DOWN, /* the guest has ended, or was ended */
};

enum machine_run_state machine_run_state(struct machine *machine);

/*
 * Stop all vCPUs and the guest's clock; let them go on. When machine_pause() returns,
 * none executes any more. Devices complete what they have begun. Without effect on a
 * machine that is paused, or runs, already.
 */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);

/* A load clear reset, as from the operator. Soon. */
void machine_system_reset(struct machine *machine);

/* Ask the guest to shut down, if it listens. */
void machine_power_down(struct machine *machine);

/* End the run now. */
void machine_quit(struct machine *machine);

/* --- what a listener is told -------------------------------------------------------- */

enum machine_event_kind {
	MACHINE_EVENT_PAUSED,
	MACHINE_EVENT_RESUMED,
	MACHINE_EVENT_RESET,
	MACHINE_EVENT_POWER_DOWN, /* the guest was asked to shut down */
	MACHINE_EVENT_CRASHED,    /* a CPU can go on no more: cpu, reason, PSW */
	MACHINE_EVENT_SHUT_DOWN,
	MACHINE_EVENT_DEVICE_DELETED,
	MACHINE_EVENT_UNPLUG_REFUSED, /* the guest keeps the device */
};

struct machine_event {
	enum machine_event_kind kind;
	bool by_guest;      /* reset, shut down */
	const char *reason; /* …, crashed: a word as QEMU's events have it */
	unsigned int cpu;
	uint64_t psw_mask, psw_addr;
	const char *id;   /* of a device; empty: it has none */
	const char *path; /* of a device */
};

/* Called from any thread, also a vCPU's: it must be quick, and ask for nothing. */
typedef void machine_listener(void *opaque, const struct machine_event *event);

/* Before the run. */
void machine_listen(struct machine *machine, machine_listener *listener, void *opaque);

/* --- devices ------------------------------------------------------------------------- */

/*
 * Make a device and plug it in. uid and fid are chosen where `config` has none; it
 * is not needed afterwards. 0, or a negative errno with a line in `error`.
 */
int machine_device_add(struct machine *machine, struct device_config *config, char *error,
		       size_t error_size);

/*
 * Ask the guest to give a device back; MACHINE_EVENT_DEVICE_DELETED follows when it
 * has. With `force`, or when the guest was asked before, take it away at once.
 * `id` is an id or a path. -ENOENT: there is no such device.
 */
int machine_device_del(struct machine *machine, const char *id, bool force);

/*
 * Let a device's function fail, or let the page with number `count` that its DMA will
 * go to have no translation: see zpci_inject_error() and
 * zpci_inject_translation_failure(), whose errors these return. -ENOENT also when
 * there is no device with this id or path.
 */
int machine_device_inject_error(struct machine *machine, const char *id, uint16_t code,
				uint64_t address);
int machine_device_fail_translation(struct machine *machine, const char *id, uint16_t code,
				    uint64_t count);

struct machine_device_info {
	const char *id; /* or empty */
	const char *path;
	const struct device_type *type;
	struct pci_function *function;
	uint32_t fid;
	uint16_t uid;
};

/* In the order of plugging; no device goes meanwhile. */
void machine_for_each_device(struct machine *machine,
			     void (*visit)(void *opaque, const struct machine_device_info *info),
			     void *opaque);

#endif
