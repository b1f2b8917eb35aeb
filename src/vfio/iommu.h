/* SPDX-License-Identifier: MIT */
/*
 * What of a device's bus the host's IOMMU translates: two interfaces of the kernel to one
 * thing. Each function has a translation of its own that nobody else changes.
 *
 *	type1	 a container with one group; memory is pinned when it is mapped
 *	iommufd	 an IOAS; all of memory is pinned once in another one, and aliased from there
 *
 * type1 does not split what was mapped at once. A guest takes away single pages, so there each
 * page is mapped for itself; what goes is one call, however many pages. iommufd can be made to
 * split. docs/dma.md says what it costs.
 *
 * Sources: Linux, drivers/vfio/vfio_iommu_type1.c, drivers/iommu/iommufd/.
 */
#ifndef ZVISOR_VFIO_IOMMU_H
#define ZVISOR_VFIO_IOMMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VFIO_IOVA_RANGES_MAX 32

struct iova_range {
	uint64_t first, last;
};

struct vfio_iommu {
	const struct vfio_iommu_ops *ops;
	uint8_t *memory; /* guest-absolute 0 */
	uint64_t memory_size;
	/* DMA addresses that can be mapped, ascending. */
	struct iova_range ranges[VFIO_IOVA_RANGES_MAX];
	unsigned range_count;
	uint32_t mappings_max; /* pages */
	bool pins_memory; /* all of it, all the time */
};

/* As struct zpci_mapping_ops has them; one at a time. */
struct vfio_iommu_ops {
	int (*map)(struct vfio_iommu *iommu, uint64_t iova, uint64_t absolute, uint64_t length,
		   bool writable);
	int (*map_whole)(struct vfio_iommu *iommu, uint64_t iova, uint64_t absolute,
			 uint64_t length, bool writable);
	int (*unmap)(struct vfio_iommu *iommu, uint64_t iova, uint64_t length);
	/* Not the descriptors, which belong to who made them. */
	void (*destroy)(struct vfio_iommu *iommu);
};

/*
 * `container` has a group and is otherwise new. 0 or a negative errno with a phrase in
 * `error`.
 */
int vfio_type1_create(int container, uint8_t *memory, uint64_t memory_size,
		      struct vfio_iommu **iommu, char *error, size_t error_size);

/* The device is bound to `iommufd`, as object `device_id`, and attached here. */
int vfio_iommufd_create(int iommufd, int device, uint32_t device_id, uint8_t *memory,
			uint64_t memory_size, struct vfio_iommu **iommu, char *error,
			size_t error_size);

/*
 * The range of DMA addresses for a guest out of those that the host has: [*first, *last].
 * False: there is none. It has the usual addresses (4 GiB on) where it can.
 */
bool vfio_choose_range(const struct iova_range *ranges, unsigned count, uint64_t *first,
		       uint64_t *last);

#endif
