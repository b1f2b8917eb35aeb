/* SPDX-License-Identifier: MIT */
/*
 * The machine's side of libzpci: it lends the library a CPU, memory and an
 * interrupt line, hands it the PCI instructions, and fetches events for the
 * channel subsystem. The functions themselves are devices.h's.
 */
#ifndef ZVISOR_MACHINE_PCI_H
#define ZVISOR_MACHINE_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/css.h"

struct machine;

struct machine_pci_event {
	uint8_t content_code;
	uint8_t data[CSS_EVENT_MAX];
	unsigned int length;
	bool more; /* another one waits */
	bool lost; /* some before it did not find room */
};

/*
 * Put the PCI instructions into the CPUs' table, which exists. Negative errno and one
 * line in `error` on failure.
 */
int machine_pci_create(struct machine *machine, char *error, size_t error_size);
/* What was plugged is unplugged; the devices themselves stay. */
void machine_pci_destroy(struct machine *machine);

/*
 * The host has ended what functions had under way, and will not be given more before a
 * reset; false: try again, for function `fid` at least it has not. No vCPU runs.
 */
bool machine_pci_quiesce(struct machine *machine, uint32_t *fid);

/* A subsystem reset. No vCPU runs, and functions are quiet. */
void machine_pci_reset(struct machine *machine);

/* The CPU with this address has stopped: others are told of its interruptions. */
void machine_pci_cpu_stopped(struct machine *machine, unsigned int cpu);

/* Bring measurement blocks up to date: the main thread, a few times a second. */
void machine_pci_update(struct machine *machine);

/* SCLP configure and deconfigure: the response code. */
uint16_t machine_pci_configure(struct machine *machine, uint32_t fid, bool on);

/* The oldest event that waits; false: none does. */
bool machine_pci_next_event(struct machine *machine, struct machine_pci_event *event);
/* It could not be stored: it is the oldest again. */
void machine_pci_return_event(struct machine *machine, const struct machine_pci_event *event);

#endif
