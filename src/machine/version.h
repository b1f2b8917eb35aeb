/* SPDX-License-Identifier: MIT */
/*
 * Machine versions.
 *
 * A machine version is a promise to a guest: what it saw when it was started on
 * "zvisor-1.0" it sees on every later zvisor that is asked for "zvisor-1.0". So
 * whatever a guest can see and a later version has different stands in this
 * table and nowhere else; a feature never appears in an older version.
 */
#ifndef ZVISOR_MACHINE_VERSION_H
#define ZVISOR_MACHINE_VERSION_H

#include <stdint.h>
#include <stdio.h>

#include "cpu/vcpu.h"

struct machine_version {
	const char *name;
	const uint16_t *facilities; /* STFLE bit numbers, ascending */
	unsigned int facility_count;
	uint16_t machine_type;      /* as STIDP shows it: 0x2817 is a z196 */
	const char *model;          /* STSI 1.1.1 */
};

/* NULL stands for the newest. NULL is returned when there is none of that name. */
const struct machine_version *machine_version_find(const char *name);

/* One line each, the newest first. */
void machine_version_print_all(FILE *out);

struct cpu_model machine_version_cpu_model(const struct machine_version *version);

#endif
