/* SPDX-License-Identifier: MIT */
/*
 * A function of the host, once it is open: regions, interrupts, reset, and on a host on Z
 * what its machine says of it (linux/vfio_zdev.h).
 */
#include <errno.h>
#include <linux/vfio.h>
#include <linux/vfio_zdev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "devices/device.h"
#include "vfio/kernel_internal.h"

#define INFO_MAX 4096 /* of an answer with its capabilities; those that are used are small */
#define CAPABILITIES_MAX 64

/* Only Z's instructions reach mapped registers there, and a load of C is none of them. */
#ifdef __s390x__
#define REGIONS_CAN_BE_TOUCHED false
#else
#define REGIONS_CAN_BE_TOUCHED true
#endif

/* --- capabilities of an answer ---------------------------------------------------------- */

/* Copy a capability, as far as both have it. False: there is none. */
static bool find_capability(const uint8_t *info, uint32_t first, uint16_t id, void *to, size_t size,
			    uint32_t *place)
{
	struct vfio_info_cap_header header;
	uint32_t at = first;

	for (unsigned i = 0; i < CAPABILITIES_MAX && at; i++, at = header.next) {
		if (!range_fits(at, sizeof(header), INFO_MAX))
			return false;
		memcpy(&header, info + at, sizeof(header));
		if (header.id != id)
			continue;
		memset(to, 0, size);
		memcpy(to, info + at, MIN(size, INFO_MAX - at));
		*place = at;
		return true;
	}
	return false;
}

/* --- regions ---------------------------------------------------------------------------------- */

static void map_area(struct kernel_device *d, struct kernel_region *r, uint64_t offset,
		     uint64_t length)
{
	void *host;

	if (!length || r->areas == PASSTHROUGH_AREAS_MAX || !range_fits(offset, length, r->size))
		return;
	/* What cannot be mapped is read and written. */
	host = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
		    (off_t)(r->offset + offset));
	if (host != MAP_FAILED)
		r->area[r->areas++] = (struct passthrough_area){ offset, length, host };
}

static void map_region(struct kernel_device *d, struct kernel_region *r, const uint8_t *info)
{
	const struct vfio_region_info *head = (const struct vfio_region_info *)info;
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area;
	uint32_t at;

	if (!REGIONS_CAN_BE_TOUCHED || !(head->flags & VFIO_REGION_INFO_FLAG_MMAP))
		return;
	if (!(head->flags & VFIO_REGION_INFO_FLAG_CAPS) ||
	    !find_capability(info, head->cap_offset, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &sparse,
			     sizeof(sparse), &at)) {
		map_area(d, r, 0, r->size);
		return;
	}
	at += sizeof(sparse);
	for (uint32_t i = 0; i < sparse.nr_areas && range_fits(at, sizeof(area), INFO_MAX); i++) {
		memcpy(&area, info + at, sizeof(area));
		map_area(d, r, area.offset, area.size);
		at += sizeof(area);
	}
}

static int region_info(void *backend, unsigned region, struct passthrough_region *info)
{
	_Alignas(8) uint8_t answer[INFO_MAX] = { 0 };
	struct vfio_region_info *head = (struct vfio_region_info *)answer;
	struct kernel_device *d = backend;
	struct kernel_region *r = &d->regions[region];

	head->argsz = sizeof(answer);
	head->index = region;
	if (ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, head))
		return errno == EINVAL ? 0 : -errno;
	if (head->argsz > sizeof(answer))
		head->flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_CAPS;
	r->size = head->size;
	r->offset = head->offset;
	map_region(d, r, answer);
	info->size = r->size;
	info->areas = r->areas;
	memcpy(info->area, r->area, sizeof(info->area));
	return 0;
}

static int region_read(void *backend, unsigned region, uint64_t offset, void *data, size_t length)
{
	struct kernel_device *d = backend;
	const struct kernel_region *r = &d->regions[region];
	ssize_t done;

	if (!range_fits(offset, length, r->size))
		return -EINVAL;
	done = pread(d->fd, data, length, (off_t)(r->offset + offset));
	if (done < 0)
		return -errno;
	return (size_t)done == length ? 0 : -EIO;
}

static int region_write(void *backend, unsigned region, uint64_t offset, const void *data,
			size_t length)
{
	struct kernel_device *d = backend;
	const struct kernel_region *r = &d->regions[region];
	ssize_t done;

	if (!range_fits(offset, length, r->size))
		return -EINVAL;
	done = pwrite(d->fd, data, length, (off_t)(r->offset + offset));
	if (done < 0)
		return -errno;
	return (size_t)done == length ? 0 : -EIO;
}

/* --- interrupts and reset ------------------------------------------------------------------ */

static int irq_count(void *backend, unsigned index, unsigned *count)
{
	struct kernel_device *d = backend;
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };

	*count = 0;
	if (ioctl(d->fd, VFIO_DEVICE_GET_IRQ_INFO, &info))
		return -errno;
	if (info.flags & VFIO_IRQ_INFO_EVENTFD)
		*count = info.count;
	return 0;
}

static int set_irqs(void *backend, unsigned index, unsigned start, unsigned count,
		    const int *eventfds)
{
	struct kernel_device *d = backend;
	_Alignas(8) uint8_t
		request[sizeof(struct vfio_irq_set) + PCI_MSIX_VECTORS_MAX * sizeof(int32_t)];
	struct vfio_irq_set *set = (struct vfio_irq_set *)request;
	uint32_t what = count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE;
	int rc;

	if (count > PCI_MSIX_VECTORS_MAX)
		return -EINVAL;
	*set = (struct vfio_irq_set){
		.argsz = (uint32_t)(sizeof(*set) + count * sizeof(int32_t)),
		.flags = what | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
		.start = start,
		.count = count,
	};
	if (count)
		memcpy(set->data, eventfds, count * sizeof(int32_t));
	rc = ioctl(d->fd, VFIO_DEVICE_SET_IRQS, set);
	if (rc < 0)
		return -errno;
	/* How many there could be instead. */
	return rc ? -ENOSPC : 0;
}

/*
 * A function that has no reset of its own may be reset with its bus, where nobody else's
 * is on it: the kernel sees to that.
 */
static int hot_reset(struct kernel_device *d)
{
	_Alignas(8) uint8_t request[sizeof(struct vfio_pci_hot_reset) + sizeof(int32_t)] = { 0 };
	struct vfio_pci_hot_reset *reset = (struct vfio_pci_hot_reset *)request;
	const int32_t group = d->group;

	reset->argsz = sizeof(*reset);
	if (d->group >= 0) {
		reset->argsz += sizeof(group);
		reset->count = 1;
		memcpy(reset->group_fds, &group, sizeof(group));
	}
	if (!ioctl(d->fd, VFIO_DEVICE_PCI_HOT_RESET, reset))
		return 0;
	/* Busy, this time; or others are on the bus, or it has no such reset: never. */
	return errno == EAGAIN ? -EAGAIN : -ENOTTY;
}

static int reset(void *backend)
{
	struct kernel_device *d = backend;

	if (!(d->flags & VFIO_DEVICE_FLAGS_RESET))
		return hot_reset(d);
	return ioctl(d->fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

/* --- DMA ----------------------------------------------------------------------------------- */

static int map(void *backend, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct vfio_iommu *iommu = ((struct kernel_device *)backend)->iommu;

	return iommu->ops->map(iommu, iova, absolute, length, writable);
}

static int map_whole(void *backend, uint64_t iova, uint64_t absolute, uint64_t length,
		     bool writable)
{
	struct vfio_iommu *iommu = ((struct kernel_device *)backend)->iommu;

	return iommu->ops->map_whole(iommu, iova, absolute, length, writable);
}

static int unmap(void *backend, uint64_t iova, uint64_t length)
{
	struct vfio_iommu *iommu = ((struct kernel_device *)backend)->iommu;

	return iommu->ops->unmap(iommu, iova, length);
}

static void close_device(void *backend)
{
	struct kernel_device *d = backend;

	for (unsigned r = 0; r < KERNEL_REGIONS; r++) {
		for (unsigned a = 0; a < d->regions[r].areas; a++)
			munmap(d->regions[r].area[a].host, d->regions[r].area[a].length);
	}
	kernel_close(d);
	free(d);
}

const struct passthrough_backend_ops kernel_backend_ops = {
	.region_info = region_info,
	.region_read = region_read,
	.region_write = region_write,
	.irq_count = irq_count,
	.set_irqs = set_irqs,
	.reset = reset,
	.map = map,
	.map_whole = map_whole,
	.unmap = unmap,
	.close = close_device,
};

/* --- what there is to say of it --------------------------------------------------------------- */

/* Text of variable length behind a capability; at most `size` bytes of it. */
static size_t take_bytes(const uint8_t *info, uint32_t at, uint32_t length, void *to, size_t size)
{
	length = (uint32_t)MIN(length, size);
	if (!range_fits(at, length, INFO_MAX))
		return 0;
	memcpy(to, info + at, length);
	return length;
}

/* A host on Z: the guest is told what the machine tells the host. */
static void describe_zpci(const uint8_t *info, uint32_t first, struct device_made *made)
{
	struct vfio_device_info_cap_zpci_base base;
	struct vfio_device_info_cap_zpci_group group;
	struct vfio_device_info_cap_zpci_util util;
	struct vfio_device_info_cap_zpci_pfip pfip;
	uint32_t at;

	if (find_capability(info, first, VFIO_DEVICE_INFO_CAP_ZPCI_BASE, &base, sizeof(base),
			    &at)) {
		made->sdma = base.start_dma;
		made->edma = base.end_dma;
		made->pchid = base.pchid;
		made->vfn = base.vfn;
		made->pft = base.pft;
		made->pfgid = base.gid;
	}
	if (find_capability(info, first, VFIO_DEVICE_INFO_CAP_ZPCI_GROUP, &group, sizeof(group),
			    &at)) {
		made->interrupts = MIN(group.noi, PCI_MSIX_VECTORS_MAX);
		if (group.maxstbl >= 16)
			made->store_block_max = MIN(group.maxstbl & ~7, PCI_BLOCK_MAX);
	}
	if (find_capability(info, first, VFIO_DEVICE_INFO_CAP_ZPCI_UTIL, &util, sizeof(util), &at))
		made->has_util_string = take_bytes(info, at + sizeof(util), util.size,
						   made->util_string, sizeof(made->util_string));
	if (find_capability(info, first, VFIO_DEVICE_INFO_CAP_ZPCI_PFIP, &pfip, sizeof(pfip), &at))
		(void)take_bytes(info, at + sizeof(pfip), pfip.size, made->pfip,
				 sizeof(made->pfip));
}

/* Addresses that host's IOMMU and machine both have. */
static int describe_dma(struct kernel_device *d, struct device_made *made, char *error,
			size_t error_size)
{
	const struct vfio_iommu *iommu = d->iommu;
	struct iova_range ranges[VFIO_IOVA_RANGES_MAX];
	uint64_t first = made->sdma, last = made->edma ? made->edma : UINT64_MAX;
	unsigned count = 0;

	for (unsigned i = 0; i < iommu->range_count; i++) {
		struct iova_range range = {
			MAX(iommu->ranges[i].first, first),
			MIN(iommu->ranges[i].last, last),
		};

		if (range.first <= range.last)
			ranges[count++] = range;
	}
	if (!vfio_choose_range(ranges, count, &made->sdma, &made->edma)) {
		snprintf(error, error_size,
			 "the host's IOMMU has no DMA addresses that a guest can use");
		return -EINVAL;
	}
	made->no_direct_mapping = made->edma - made->sdma < iommu->memory_size - 1;
	made->mappings_max = iommu->mappings_max;
	made->pins_memory = iommu->pins_memory;
	made->locks = iommu->memory_size;
	return 0;
}

int kernel_describe(struct kernel_device *d, struct device_made *made, char *error,
		    size_t error_size)
{
	_Alignas(8) uint8_t info[INFO_MAX] = { 0 };
	struct vfio_device_info *head = (struct vfio_device_info *)info;

	head->argsz = sizeof(info);
	if (ioctl(d->fd, VFIO_DEVICE_GET_INFO, head)) {
		snprintf(error, error_size, "the kernel says nothing of it: %s", strerror(errno));
		return -errno;
	}
	if (!(head->flags & VFIO_DEVICE_FLAGS_PCI)) {
		snprintf(error, error_size, "it is no PCI function");
		return -EINVAL;
	}
	d->flags = head->flags;
	if (head->flags & VFIO_DEVICE_FLAGS_CAPS && head->argsz <= sizeof(info))
		describe_zpci(info, head->cap_offset, made);
	return describe_dma(d, made, error, error_size);
}
