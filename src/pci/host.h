/* SPDX-License-Identifier: MIT */
/*
 * What the host side of a PCI function does with it beyond zpci/pci.h: lend it
 * memory and take its interrupts, for as long as it is plugged.
 */
#ifndef ZVISOR_PCI_HOST_H
#define ZVISOR_PCI_HOST_H

#include "zpci/pci.h"

/*
 * Takes the messages of MSI and MSI-X: a store of `data` at `address` of the
 * function's bus. Called from any thread. `error` takes errors of the function,
 * and may be NULL; then there are none.
 *
 * With `notify`, somebody else keeps the guest's vectors and masks: it is told of each
 * vector that is raised while the function is bus master, whatever the table here says,
 * and `deliver` is not called.
 */
struct pci_msi_ops {
	void (*deliver)(void *opaque, uint64_t address, uint32_t data);
	void (*error)(void *opaque, enum pci_error error);
	void (*notify)(void *opaque, bool msix, unsigned vector);
};

/* The first word of config space (vendor, device), also while that is not there. */
uint32_t pci_function_identity(const struct pci_function *f);

/* Returns 0 or -EBUSY. `dma` stays the caller's, and must outlive the attachment. */
int pci_function_attach(struct pci_function *f, struct pci_dma_space *dma,
			const struct pci_msi_ops *msi, void *opaque);

/* The device is told, and reset; afterwards it uses neither memory nor interrupts. */
void pci_function_detach(struct pci_function *f);

/*
 * Begin nothing new until a reset; true when that would not have to wait for the host,
 * false: ask again later. It never waits itself.
 */
bool pci_function_quiesce(struct pci_function *f);

/*
 * The same until it is true, for at most so many microseconds. Then nothing can begin, and
 * no one else can reset it, before this thread has called one of the two others: reset it, or
 * only let others do so. A vCPU may wait for that (pci_function_reset()), so the vCPU is
 * not to be waited for in between.
 */
bool pci_function_settle(struct pci_function *f, unsigned limit_us);
void pci_function_reset_settled(struct pci_function *f);
void pci_function_unsettle(struct pci_function *f);

/* The guest is about to enable it, and nobody else resets it meanwhile. */
void pci_function_enabling(struct pci_function *f);

/* Is there memory of the host behind any of its BARs? */
bool pci_function_has_memory(const struct pci_function *f);
/*
 * The memory of the host behind the register at `offset` of a BAR: as pci_device_ops.bar_memory
 * has it, with no byte of it elsewhere, be it in the MSI-X table or behind the BAR's end.
 */
void *pci_function_bar_memory(const struct pci_function *f, unsigned bar, uint64_t offset,
			      uint64_t *first, uint64_t *length);

/* Its kind of measurement, and the counters of that, 0 where it has none. */
enum pci_measurement pci_function_measurement(const struct pci_function *f);
void pci_function_counters(struct pci_function *f, uint64_t counters[PCI_COUNTERS_MAX]);

#endif
