/* SPDX-License-Identifier: MIT */
/*
 * Linux's interface of iommufd, and of VFIO's device nodes, as far as it is used here:
 * distributions still have kernel headers without it. Layouts and numbers from
 * include/uapi/linux/iommufd.h and vfio.h (Linux 6.6).
 */
#ifndef ZVISOR_VFIO_UAPI_H
#define ZVISOR_VFIO_UAPI_H

#include <linux/ioctl.h>
#include <linux/vfio.h>
#include <stdint.h>

#define IOMMUFD_IOCTL(number) _IO(';', number)
#define IOMMU_DESTROY IOMMUFD_IOCTL(0x80)
#define IOMMU_IOAS_ALLOC IOMMUFD_IOCTL(0x81)
#define IOMMU_IOAS_COPY IOMMUFD_IOCTL(0x83)
#define IOMMU_IOAS_IOVA_RANGES IOMMUFD_IOCTL(0x84)
#define IOMMU_IOAS_MAP IOMMUFD_IOCTL(0x85)
#define IOMMU_IOAS_UNMAP IOMMUFD_IOCTL(0x86)
#define IOMMU_OPTION IOMMUFD_IOCTL(0x87)
#define IOMMU_VFIO_IOAS IOMMUFD_IOCTL(0x88)
#define IOMMU_HWPT_ALLOC IOMMUFD_IOCTL(0x89)
#define IOMMU_HWPT_INVALIDATE IOMMUFD_IOCTL(0x8d)

/* Flags of map and copy. */
#define IOMMU_IOAS_MAP_FIXED_IOVA 1
#define IOMMU_IOAS_MAP_WRITEABLE 2
#define IOMMU_IOAS_MAP_READABLE 4

/* `size` is that of the structure, in all of them. */
struct iommu_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};

struct iommu_iova_range {
	uint64_t start, last;
};

struct iommu_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas; /* in: room; out: how many there are */
	uint32_t reserved;
	uint64_t allowed_iovas; /* pointer to struct iommu_iova_range */
	uint64_t out_iova_alignment;
};

struct iommu_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};

struct iommu_ioas_copy {
	uint32_t size;
	uint32_t flags;
	uint32_t dst_ioas_id;
	uint32_t src_ioas_id;
	uint64_t length;
	uint64_t dst_iova;
	uint64_t src_iova;
};

struct iommu_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length; /* out: how many bytes were mapped */
};

/* Of an object: whether an IOAS may be mapped in large pages. */
#define IOMMU_OPTION_HUGE_PAGES 1
#define IOMMU_OPTION_OP_SET 0

struct iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t reserved;
	uint32_t object_id;
	uint64_t val64;
};

/* Which IOAS the requests of containers (VFIO_IOMMU_UNMAP_DMA) are about. */
#define IOMMU_VFIO_IOAS_SET 1

struct iommu_vfio_ioas {
	uint32_t size;
	uint32_t ioas_id;
	uint16_t op;
	uint16_t reserved;
};

struct iommu_hwpt_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pt_id;
	uint32_t out_hwpt_id;
	uint32_t reserved;
	uint32_t data_type;
	uint32_t data_len;
	uint64_t data_uptr;
};

/* Of a VFIO device node; newer headers have them. */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct vfio_device_bind_iommufd {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct vfio_device_attach_iommufd_pt {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id;
};

#endif

#endif
