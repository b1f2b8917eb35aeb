/* SPDX-License-Identifier: MIT */
/*
 * The host side of the guest of nvme_guest.h: attaches a function to an array as
 * its memory, and counts its interrupts. A bus page n is memory page n with its
 * lowest bit inverted.
 */
#ifndef ZVISOR_TESTS_NVME_HOST_H
#define ZVISOR_TESTS_NVME_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "pci/host.h"
#include "zpci/pci.h"

/* With bus master and all vectors enabled: vector n is interrupt n. */
void *host_attach(struct pci_function *f, uint8_t *memory, unsigned pages, uint64_t bus_base);
void host_detach(struct pci_function *f, void *host);
void host_free(void *host);

/* Bus master and vectors again, after a reset of the function. */
void host_set_up_function(struct pci_function *f);

/* Waits for transfers under way when it takes a page away. */
void host_set_mapped(void *host, unsigned page, bool mapped);

bool host_is_quiet(void *host); /* no transfer is under way */
uint64_t host_written_bytes(void *host);
unsigned host_interrupts(void *host, unsigned vector);

#endif
