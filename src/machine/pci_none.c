/* SPDX-License-Identifier: MIT */
/* The machine's side of libzpci, in a build that has none: no device, no event. */
#include <errno.h>
#include <stdio.h>

#include "machine/internal.h"
#include "machine/pci.h"

int machine_pci_create(struct machine *machine, char *error, size_t error_size)
{
	if (!machine->config.device_count)
		return 0;
	snprintf(error, error_size, "--device: this zvisor was built without PCI");
	return -EOPNOTSUPP;
}

void machine_pci_destroy(struct machine *machine)
{
}

void machine_pci_reset(struct machine *machine)
{
}

uint16_t machine_pci_configure(struct machine *machine, uint32_t fid, bool on)
{
	return 0x09f0; /* adapter identification not recognized */
}

bool machine_pci_next_event(struct machine *machine, struct machine_pci_event *event)
{
	return false;
}
