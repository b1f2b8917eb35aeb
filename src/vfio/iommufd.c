/* SPDX-License-Identifier: MIT */
/*
 * Mappings by iommufd: see iommu.h.
 *
 * All of memory is mapped in an IOAS that no device uses, and a page table (HWPT) is
 * allocated for it, which makes the kernel pin it; what the function's own IOAS gets is
 * copied from there, and the kernel finds the pages in the other page table. Kernels before
 * 6.7 allocate no page table for itself: there each copy pins.
 *
 * A call costs as much as with type1, or more. What saves time is that pages which are one
 * behind the other, in memory and on the bus, can be one call, since iommufd divides a
 * mapping when a part of it goes. It does so in an IOAS without large pages, where nothing
 * of the IOMMU's table has to change for the parts that stay, and for the requests of
 * containers alone, which are about the IOAS that it has been told (iopt_cut_iova() in
 * io_pagetable.c, iommufd_vfio_unmap_dma() in vfio_compat.c). In Linux 6.6 a mapping that
 * has been divided corrupts the kernel (CVE-2023-52801, "Fix missing update of domains_itree
 * after splitting iopt_area"); there, each page is mapped for itself.
 *
 * The kernel has no limit of the number of mappings but memory, so we have: a guest could
 * otherwise make it remember pages without end. It also goes through all mappings of a
 * page when that page is mapped or unmapped, so that a guest which maps one page everywhere
 * waits for each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "vfio/iommu.h"
#include "vfio/uapi.h"

/* Mappings of a page: each memory page four times, but never fewer than type1 has; 64 GiB. */
#define MAPPINGS_LEAST 65535ull
#define MAPPINGS_EACH 4
#define MAPPINGS_MOST (1ull << 24)

struct iommufd {
	struct vfio_iommu iommu;
	int fd;
	uint32_t all; /* the IOAS that has all of memory */
	uint32_t ours; /* the function's */
	uint64_t pages; /* mapped */
	bool may_divide; /* what it has mapped, if there are no large pages */
	bool divides; /* so it is now */
};

static struct iommufd *iommufd_of(struct vfio_iommu *iommu)
{
	return (struct iommufd *)((char *)iommu - offsetof(struct iommufd, iommu));
}

/* Whether the function's IOAS is mapped in large pages; only while it is empty. */
static int use_huge_pages(struct iommufd *i, bool use)
{
	struct iommu_option request = {
		.size = sizeof(request),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = i->ours,
		.val64 = use,
	};

	return ioctl(i->fd, IOMMU_OPTION, &request) ? -errno : 0;
}

/* The whole of what was mapped by one call, or any number of such. */
static int unmap_whole(struct iommufd *i, uint64_t iova, uint64_t *length)
{
	struct iommu_ioas_unmap request = {
		.size = sizeof(request),
		.ioas_id = i->ours,
		.iova = iova,
		.length = *length,
	};

	if (ioctl(i->fd, IOMMU_IOAS_UNMAP, &request))
		return -errno;
	*length = request.length;
	return 0;
}

/* The kernel divides what is mapped at both ends, and takes away what is between. */
static int unmap_part(struct iommufd *i, uint64_t iova, uint64_t *length)
{
	struct vfio_iommu_type1_dma_unmap request = {
		.argsz = sizeof(request),
		.iova = iova,
		.size = *length,
	};

	if (ioctl(i->fd, VFIO_IOMMU_UNMAP_DMA, &request))
		return -errno;
	*length = request.size;
	return 0;
}

static int unmap(struct vfio_iommu *iommu, uint64_t iova, uint64_t length)
{
	struct iommufd *i = iommufd_of(iommu);
	int rc = (i->divides ? unmap_part : unmap_whole)(i, iova, &length);

	if (!rc)
		i->pages -= MIN(i->pages, length / PAGE_SIZE);
	return rc;
}

static int copy(struct iommufd *i, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct iommu_ioas_copy request = {
		.size = sizeof(request),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 (writable ? IOMMU_IOAS_MAP_WRITEABLE : 0),
		.dst_ioas_id = i->ours,
		.src_ioas_id = i->all,
		.length = length,
		.dst_iova = iova,
		.src_iova = absolute,
	};

	if (!ioctl(i->fd, IOMMU_IOAS_COPY, &request)) {
		i->pages += length / PAGE_SIZE;
		return 0;
	}
	return errno == ENOMEM ? -ENOSPC : -errno;
}

static int map(struct vfio_iommu *iommu, uint64_t iova, uint64_t absolute, uint64_t length,
	       bool writable)
{
	struct iommufd *i = iommufd_of(iommu);

	if (i->pages + length / PAGE_SIZE > iommu->mappings_max)
		return -ENOSPC;
	if (!i->pages && !i->divides)
		i->divides = i->may_divide && !use_huge_pages(i, false);
	if (i->divides)
		return copy(i, iova, absolute, length, writable);
	for (uint64_t done = 0; done < length; done += PAGE_SIZE) {
		int rc = copy(i, iova + done, absolute + done, PAGE_SIZE, writable);

		if (rc)
			return done && unmap(iommu, iova, done) ? -ENOTRECOVERABLE : rc;
	}
	return 0;
}

static int map_whole(struct vfio_iommu *iommu, uint64_t iova, uint64_t absolute, uint64_t length,
		     bool writable)
{
	struct iommufd *i = iommufd_of(iommu);

	i->divides = i->divides && use_huge_pages(i, true);
	return copy(i, iova, absolute, length, writable);
}

/* What it has goes with the descriptor. */
static void destroy(struct vfio_iommu *iommu)
{
	free(iommufd_of(iommu));
}

static const struct vfio_iommu_ops ops = {
	.map = map,
	.map_whole = map_whole,
	.unmap = unmap,
	.destroy = destroy,
};

static int new_ioas(int fd, uint32_t *id)
{
	struct iommu_ioas_alloc request = { .size = sizeof(request) };

	if (ioctl(fd, IOMMU_IOAS_ALLOC, &request))
		return -errno;
	*id = request.out_ioas_id;
	return 0;
}

/* Linux 6.8 or newer has this request, of which the size here is wrong. */
static bool divides_well(struct iommufd *i)
{
	uint32_t size = 0;

	return ioctl(i->fd, IOMMU_HWPT_INVALIDATE, &size) && errno == EINVAL;
}

static bool can_divide(struct iommufd *i)
{
	struct iommu_vfio_ioas request = {
		.size = sizeof(request),
		.ioas_id = i->ours,
		.op = IOMMU_VFIO_IOAS_SET,
	};

	return divides_well(i) && !ioctl(i->fd, IOMMU_VFIO_IOAS, &request);
}

static int map_all(struct iommufd *i, uint32_t device_id)
{
	struct iommu_ioas_map request = {
		.size = sizeof(request),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = i->all,
		.user_va = (uintptr_t)i->iommu.memory,
		.length = i->iommu.memory_size,
		.iova = 0,
	};
	struct iommu_hwpt_alloc table = {
		.size = sizeof(table),
		.dev_id = device_id,
		.pt_id = i->all,
	};

	if (ioctl(i->fd, IOMMU_IOAS_MAP, &request))
		return -errno;
	if (!ioctl(i->fd, IOMMU_HWPT_ALLOC, &table))
		i->iommu.pins_memory = true;
	else if (errno != ENOTTY && errno != EOPNOTSUPP && errno != EINVAL)
		return -errno;
	return 0;
}

static int ask_ranges(struct iommufd *i)
{
	struct iommu_iova_range ranges[VFIO_IOVA_RANGES_MAX];
	struct iommu_ioas_iova_ranges request = {
		.size = sizeof(request),
		.ioas_id = i->ours,
		.num_iovas = VFIO_IOVA_RANGES_MAX,
		.allowed_iovas = (uintptr_t)ranges,
	};

	if (ioctl(i->fd, IOMMU_IOAS_IOVA_RANGES, &request) && errno != EMSGSIZE)
		return -errno;
	if (request.out_iova_alignment > PAGE_SIZE)
		return -EOPNOTSUPP;
	i->iommu.range_count = MIN(request.num_iovas, VFIO_IOVA_RANGES_MAX);
	for (unsigned n = 0; n < i->iommu.range_count; n++)
		i->iommu.ranges[n] = (struct iova_range){ ranges[n].start, ranges[n].last };
	return 0;
}

/* In this order: a device that is attached says which addresses there are. */
static int set_up(struct iommufd *i, int device, uint32_t device_id, const char **what)
{
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	int rc;

	*what = "the kernel gives no address space for it";
	rc = new_ioas(i->fd, &i->ours);
	if (!rc)
		rc = new_ioas(i->fd, &i->all);
	if (rc)
		return rc;
	*what = "the device cannot be attached to an address space";
	attach.pt_id = i->ours;
	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return -errno;
	*what = "the kernel does not say which DMA addresses there are, in pages of 4 KiB";
	rc = ask_ranges(i);
	if (rc)
		return rc;
	i->may_divide = can_divide(i);
	*what = "the guest's memory cannot be pinned";
	return map_all(i, device_id);
}

int vfio_iommufd_create(int fd, int device, uint32_t device_id, uint8_t *memory,
			uint64_t memory_size, struct vfio_iommu **iommu, char *error,
			size_t error_size)
{
	struct iommufd *i = calloc(1, sizeof(*i));
	const char *what;
	int rc;

	if (!i) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
	}
	i->iommu = (struct vfio_iommu){ .ops = &ops, .memory = memory, .memory_size = memory_size };
	i->iommu.mappings_max = (uint32_t)MIN(
		MAX(MAPPINGS_LEAST, MAPPINGS_EACH * memory_size / PAGE_SIZE), MAPPINGS_MOST);
	i->fd = fd;
	rc = set_up(i, device, device_id, &what);
	if (rc) {
		snprintf(error, error_size, "%s: %s", what, strerror(-rc));
		free(i);
		return rc;
	}
	*iommu = &i->iommu;
	return 0;
}
