/* SPDX-License-Identifier: MIT */
/*
 * A machine: memory, vCPUs, service processor, channel subsystem, PCI functions
 * and console, put together from a configuration, started from files, run until
 * it ends.
 *
 *   struct machine_config --machine_create--> machine --machine_run--> exit status
 *
 * A host thread executes each vCPU, one serves the console, devices have their own;
 * the thread that calls machine_run() takes signals and does what concerns the
 * whole machine: resets, the end.
 */
#ifndef ZVISOR_MACHINE_MACHINE_H
#define ZVISOR_MACHINE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"
#include "machine/lockstep.h"
#include "machine/sclp.h"

struct device_config;
struct machine;
struct machine_version;

#define MACHINE_MEMORY_MIN (64 * MIB)
#define MACHINE_MEMORY_MAX (4096 * GIB)
#define MACHINE_MEMORY_DEFAULT GIB

/* How a run ends, as the exit status of a process. */
enum machine_status {
	MACHINE_POWERED_OFF = 0,
	MACHINE_FAILED = 1,
	MACHINE_WRONG_REQUEST = 2,
	MACHINE_CRASHED = 3,
};

/* What it points to belongs to the caller, and outlives the machine. */
struct machine_config {
	const char *kernel;
	const char *initrd; /* or NULL */
	const char *append; /* or NULL */
	uint64_t memory_size;
	unsigned int cpus;
	const struct machine_version *version;
	uint32_t features_off; /* of the version's features, those left out */
	enum sclp_console console;
	struct device_config *devices;
	unsigned int device_count;
	bool stats;
	struct lockstep_config lockstep; /* with one CPU and no device */
};

/*
 * Make the machine and load the guest. Signals that end or stop a process are
 * blocked from now on; machine_run() takes them. On failure leaves one line in
 * `error` and returns MACHINE_FAILED or MACHINE_WRONG_REQUEST; otherwise 0.
 */
enum machine_status machine_create(const struct machine_config *config, struct machine **machine,
				   char *error, size_t error_size);

/* Run until the guest ends or is ended. Reports what a person has to know. */
enum machine_status machine_run(struct machine *machine);

/* Gives devices some seconds to end what they have begun; what then has not is left. */
void machine_destroy(struct machine *machine);

#endif
