/* SPDX-License-Identifier: MIT */
/*
 * A passed-through function from the inside. For the files passthrough*.c only.
 *
 * Locks: `irq_lock` guards which of the device's interrupts are armed, and is held while
 * the backend arms them. `command_lock` guards what is in the device's command register;
 * libzpci calls gate() with a lock of its own held, so nothing is taken inside it.
 */
#ifndef ZVISOR_VFIO_PASSTHROUGH_INTERNAL_H
#define ZVISOR_VFIO_PASSTHROUGH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "vfio/passthrough.h"

struct irq_source;

/* An interrupt of the device. */
struct passthrough_vector {
	struct passthrough *p;
	unsigned number;
	int fd; /* -1: none yet */
	struct irq_source *source;
};

struct passthrough_bar {
	unsigned areas;
	struct passthrough_area area[PASSTHROUGH_AREAS_MAX];
};

struct passthrough {
	struct pci_function *function;
	const struct passthrough_backend_ops *ops;
	void *backend;
	const struct device_host *host;
	struct irq_sources *irq_sources;
	uint32_t fid;
	bool has_reset;
	bool described; /* the backend is ours */

	struct passthrough_bar bars[PCI_BAR_COUNT];

	/* Bytes of config space that the model keeps. */
	uint8_t kept[PCI_CONFIG_SIZE];
	unsigned config_size;
	/* The bytes in which, and the bits by which, a guest asks for a reset; 0: none. */
	unsigned express_reset, af_reset;

	pthread_mutex_t command_lock;
	bool gate_open;
	uint16_t command; /* of the device */

	pthread_mutex_t irq_lock;
	unsigned index; /* in use: VFIO_PCI_MSI(X)_IRQ_INDEX, or 0 */
	unsigned enabled; /* vectors that the device has been given */
	unsigned vector_count;
	struct passthrough_vector *vectors;
	struct passthrough_vector failed, wanted; /* error and request */
	/* To a person, once, as a guest may cause each again and again. */
	atomic_bool error_told, irq_told, reset_told, unmap_told;
};

/* passthrough_config.c: describe the function; forward what is the device's. */
int passthrough_config_describe(struct passthrough *p, const char *name, char *error,
				size_t error_size);
uint32_t passthrough_config_read(void *device, unsigned offset, unsigned size, uint32_t value);
void passthrough_config_write(void *device, unsigned offset, unsigned size, uint32_t value);
/* Bring the device's command register in line with the guest's and the gate. */
void passthrough_command_update(struct passthrough *p);
void passthrough_gate(struct passthrough *p, bool open);

/* passthrough_irq.c: after the guest has enabled or disabled them, or changed a vector. */
int passthrough_irq_create(struct passthrough *p);
void passthrough_irq_destroy(struct passthrough *p);
void passthrough_irq_update(struct passthrough *p);
void passthrough_irq_vector_changed(void *device, unsigned vector);
/* None is armed, and none is under way. */
void passthrough_irq_disarm(struct passthrough *p);

/* The ops of the function that is made of it; passthrough.c. */
extern const struct pci_device_ops passthrough_device_ops;

#endif
