/* SPDX-License-Identifier: MIT */
/* A function of the host from the inside. For the files kernel*.c only. */
#ifndef ZVISOR_VFIO_KERNEL_INTERNAL_H
#define ZVISOR_VFIO_KERNEL_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfio/iommu.h"
#include "vfio/passthrough.h"

struct device_made;

#define KERNEL_REGIONS 9 /* those of a PCI function, linux/vfio.h */

struct kernel_region {
	uint64_t size, offset; /* in the device's file */
	unsigned areas;
	struct passthrough_area area[PASSTHROUGH_AREAS_MAX];
};

struct kernel_device {
	/* What a person called it, as "host=…" or "sysfsdev=…". */
	char called[PATH_MAX + 16];
	char sysfs[PATH_MAX]; /* its folder */
	char name[NAME_MAX + 1]; /* the last part of it, for a PCI function its address */

	int fd; /* of the device; these are -1 when there is none */
	int container, group; /* type1 */
	int iommufd;
	uint32_t iommufd_id;
	struct vfio_iommu *iommu;

	uint64_t others_lock; /* bytes of memory, by other devices of the machine */
	uint32_t flags; /* of VFIO_DEVICE_GET_INFO */
	struct kernel_region regions[KERNEL_REGIONS];
};

enum kernel_iommufd { KERNEL_IOMMUFD_AUTO, KERNEL_IOMMUFD_ON, KERNEL_IOMMUFD_OFF };

/*
 * kernel_open.c: find the device and open it, with the descriptors that its DMA needs. All
 * return 0 or a negative errno, with a line in `error` that says what to do, without the
 * device. Whatever happened, kernel_close() closes.
 */
int kernel_open(struct kernel_device *d, enum kernel_iommufd iommufd, uint8_t *memory,
		uint64_t memory_size, char *error, size_t error_size);
void kernel_close(struct kernel_device *d);

/* kernel_device.c: what the device has; its regions, interrupts, reset. */
int kernel_describe(struct kernel_device *d, struct device_made *made, char *error,
		    size_t error_size);
extern const struct passthrough_backend_ops kernel_backend_ops;

#endif
