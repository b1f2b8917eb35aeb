/* SPDX-License-Identifier: MIT */
/*
 * Mappings by a VFIO container, type 1 version 2: see iommu.h. The kernel pins a page when
 * it is mapped, counts it against the limit of locked memory, and has a number of mappings
 * (dma_entry_limit of vfio_iommu_type1, 65535 unless set otherwise) that a container
 * may have.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "vfio/iommu.h"

/*
 * The kernel's answer has capabilities behind it: some ranges, few bytes each. If they are
 * more than there is room for, it says how much it wants.
 */
#define INFO_USUAL 4096u
#define INFO_MAX 0x100000u
#define DMA_ENTRIES_USUAL 65535

struct type1 {
	struct vfio_iommu iommu;
	int container;
};

static struct type1 *type1_of(struct vfio_iommu *iommu)
{
	return (struct type1 *)((char *)iommu - offsetof(struct type1, iommu));
}

static int unmap(struct vfio_iommu *iommu, uint64_t iova, uint64_t length)
{
	struct vfio_iommu_type1_dma_unmap request = {
		.argsz = sizeof(request),
		.iova = iova,
		.size = length,
	};

	return ioctl(type1_of(iommu)->container, VFIO_IOMMU_UNMAP_DMA, &request) ? -errno : 0;
}

static int map_whole(struct vfio_iommu *iommu, uint64_t iova, uint64_t absolute, uint64_t length,
		     bool writable)
{
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request),
		.flags = VFIO_DMA_MAP_FLAG_READ | (writable ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)iommu->memory + absolute,
		.iova = iova,
		.size = length,
	};

	if (!ioctl(type1_of(iommu)->container, VFIO_IOMMU_MAP_DMA, &request))
		return 0;
	/* Out of locked memory: it helps to unmap something, too. */
	return errno == ENOMEM ? -ENOSPC : -errno;
}

static int map(struct vfio_iommu *iommu, uint64_t iova, uint64_t absolute, uint64_t length,
	       bool writable)
{
	for (uint64_t done = 0; done < length; done += PAGE_SIZE) {
		int rc = map_whole(iommu, iova + done, absolute + done, PAGE_SIZE, writable);

		if (rc)
			return done && unmap(iommu, iova, done) ? -ENOTRECOVERABLE : rc;
	}
	return 0;
}

static void destroy(struct vfio_iommu *iommu)
{
	free(type1_of(iommu));
}

static const struct vfio_iommu_ops ops = {
	.map = map,
	.map_whole = map_whole,
	.unmap = unmap,
	.destroy = destroy,
};

/* --- what the kernel says of a container -------------------------------------------------- */

struct info {
	uint8_t *bytes; /* struct vfio_iommu_type1_info, and capabilities */
	uint32_t size;
};

static void take_ranges(struct vfio_iommu *iommu, const struct info *info, uint32_t at)
{
	struct vfio_iommu_type1_info_cap_iova_range cap;
	struct iova_range range;

	if (!range_fits(at, sizeof(cap), info->size))
		return;
	memcpy(&cap, info->bytes + at, sizeof(cap));
	at += sizeof(cap);
	while (iommu->range_count < MIN(cap.nr_iovas, VFIO_IOVA_RANGES_MAX) &&
	       range_fits(at, sizeof(range), info->size)) {
		memcpy(&range, info->bytes + at, sizeof(range));
		iommu->ranges[iommu->range_count++] = range;
		at += sizeof(range);
	}
}

static void take_capabilities(struct vfio_iommu *iommu, const struct info *info, uint32_t at)
{
	struct vfio_iommu_type1_info_dma_avail avail;
	struct vfio_info_cap_header cap;

	/* A list of some five entries. */
	for (unsigned i = 0; i < 32 && at && range_fits(at, sizeof(cap), info->size); i++) {
		memcpy(&cap, info->bytes + at, sizeof(cap));
		if (cap.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			take_ranges(iommu, info, at);
		if (cap.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL &&
		    range_fits(at, sizeof(avail), info->size)) {
			memcpy(&avail, info->bytes + at, sizeof(avail));
			iommu->mappings_max = avail.avail;
		}
		at = cap.next;
	}
}

/* With all of its capabilities; what it wants may have grown meanwhile, but not for ever. */
static int get_info(int container, struct info *info)
{
	struct vfio_iommu_type1_info head = { .argsz = INFO_USUAL };
	unsigned attempts = 0;

	do {
		uint8_t *bytes = realloc(info->bytes, head.argsz);

		if (!bytes)
			return -ENOMEM;
		info->bytes = bytes;
		info->size = head.argsz;
		memset(bytes, 0, info->size);
		head = (struct vfio_iommu_type1_info){ .argsz = info->size };
		memcpy(bytes, &head, sizeof(head));
		if (ioctl(container, VFIO_IOMMU_GET_INFO, bytes))
			return -errno;
		memcpy(&head, bytes, sizeof(head));
	} while (head.argsz > info->size && head.argsz <= INFO_MAX && ++attempts < 8);
	return head.argsz > info->size ? -E2BIG : 0;
}

/* Page sizes, usable addresses, number of mappings. */
static int understand(struct vfio_iommu *iommu, const struct info *info)
{
	struct vfio_iommu_type1_info head;

	memcpy(&head, info->bytes, sizeof(head));
	iommu->mappings_max = DMA_ENTRIES_USUAL;
	if (head.flags & VFIO_IOMMU_INFO_CAPS)
		take_capabilities(iommu, info, head.cap_offset);
	/* Old kernels do not say; then all addresses may be used. */
	if (!iommu->range_count)
		iommu->ranges[iommu->range_count++] = (struct iova_range){ 0, UINT64_MAX };
	if (head.flags & VFIO_IOMMU_INFO_PGSIZES && !(head.iova_pgsizes & (2 * PAGE_SIZE - 1)))
		return -EOPNOTSUPP;
	return 0;
}

static int ask(struct type1 *t)
{
	struct info info = { 0 };
	int rc = get_info(t->container, &info);

	if (!rc)
		rc = understand(&t->iommu, &info);
	free(info.bytes);
	return rc;
}

int vfio_type1_create(int container, uint8_t *memory, uint64_t memory_size,
		      struct vfio_iommu **iommu, char *error, size_t error_size)
{
	struct type1 *t = calloc(1, sizeof(*t));
	int rc;

	if (!t) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
	}
	t->iommu = (struct vfio_iommu){ .ops = &ops, .memory = memory, .memory_size = memory_size };
	t->container = container;
	rc = ask(t);
	if (rc) {
		snprintf(error, error_size,
			 rc == -EOPNOTSUPP ? "the host's IOMMU has no pages of 4 KiB" :
					     "the kernel does not say what its IOMMU can do");
		free(t);
		return rc;
	}
	*iommu = &t->iommu;
	return 0;
}
