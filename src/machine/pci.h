/* SPDX-License-Identifier: MIT */
/*
 * The machine's side of libzpci: it lends the library a CPU, memory and an
 * interrupt line, hands it the PCI instructions, plugs the devices that were
 * asked for, and fetches events for the channel subsystem.
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
};

/*
 * Make the devices of the machine's configuration, plug them, and put the PCI
 * instructions into the CPUs' table, which exists. Negative errno
 * and one line in `error` on failure; -EIO and -ENOMEM are failures of the host,
 * the rest wrong requests.
 */
int machine_pci_create(struct machine *machine, char *error, size_t error_size);
void machine_pci_destroy(struct machine *machine);

/* A subsystem reset. No vCPU runs. */
void machine_pci_reset(struct machine *machine);

/*
 * Measurement blocks are brought up to date by the main thread, a few times a
 * second, if there is a function to measure.
 */
bool machine_pci_wants_time(const struct machine *machine);
void machine_pci_update(struct machine *machine);

/* SCLP configure and deconfigure: the response code. */
uint16_t machine_pci_configure(struct machine *machine, uint32_t fid, bool on);

/* The oldest event that waits; false: none does. */
bool machine_pci_next_event(struct machine *machine, struct machine_pci_event *event);

#endif
