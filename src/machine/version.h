/* SPDX-License-Identifier: MIT */
/*
 * Machine versions.
 *
 * A machine version is a promise to a guest: what it saw when it was started on
 * "zvisor-1.0" it sees on every later zvisor that is asked for "zvisor-1.0". So
 * whatever a guest can see and a later version has different stands in this
 * table and nowhere else; a feature never appears in an older version.
 *
 * Features have names, by which a person can leave out one that the version has.
 */
#ifndef ZVISOR_MACHINE_VERSION_H
#define ZVISOR_MACHINE_VERSION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cpu/vcpu.h"

/* Bits of machine_version.features. */
#define MACHINE_MIO 0x1u /* PCI loads and stores by address */
#define MACHINE_RELAXED_TRANSLATION 0x2u /* what a device has if nothing is said of it */
#define MACHINE_DIRECTED_INTERRUPTS 0x4u /* PCI interruptions for one CPU */
#define MACHINE_UID_CHECKING 0x8u /* user-defined identifiers are unique */

/* A feature of the whole machine that can be left out: --machine NAME,PROPERTY=off. */
struct machine_property {
	const char *name;
	uint32_t feature;
	const char *help;
};

struct machine_version {
	const char *name;
	uint32_t features;
	const uint16_t *facilities; /* STFLE bit numbers, ascending */
	unsigned int facility_count;
	uint16_t machine_type;      /* as STIDP shows it: 0x2817 is a z196 */
	const char *model;          /* STSI 1.1.1 */
};

/* NULL stands for the newest. NULL is returned when there is none of that name. */
const struct machine_version *machine_version_find(const char *name);

/* The versions, one line each, the newest first; then the properties. */
void machine_version_print_all(FILE *out);

/* NULL when there is none of that name. */
const struct machine_property *machine_property_find(const char *name);

/* `features` are those of the version that were not left out. */
struct cpu_model machine_version_cpu_model(const struct machine_version *version,
					   uint32_t features);

#endif
