/* SPDX-License-Identifier: MIT */
/*
 * The host's IOMMU: which DMA addresses a guest gets, and what is made of the kernel's
 * answers for a container. The kernel is the function below, which the linker puts in the
 * place of ioctl().
 */
#include <errno.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "vfio/iommu.h"

#define CONTAINER 1000

/* --- a kernel --------------------------------------------------------------------------- */

static struct {
	uint32_t info_size; /* with all capabilities */
	unsigned info_calls;
	bool grows; /* more each time it is asked */
	uint64_t mapped; /* bytes */
	uint64_t maps_max;
	int unmap_error;
} kernel;

/* Many bytes that mean nothing here, then addresses, then the number of mappings at the end. */
static void put_capabilities(uint8_t *info, uint32_t size)
{
	struct vfio_iommu_type1_info_dma_avail avail = {
		.header = { .id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1 },
		.avail = 1234,
	};
	const struct iova_range ranges[2] = { { 0, 0xfedfffff }, { 0xfef00000, 0x7fffffffff } };
	struct vfio_iommu_type1_info_cap_iova_range cap = {
		.header = { .id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1 },
		.nr_iovas = ARRAY_SIZE(ranges),
	};
	struct vfio_info_cap_header other = { .id = 77, .version = 1 };
	uint32_t avail_at = size - sizeof(avail), at = avail_at - sizeof(ranges) - sizeof(cap);

	cap.header.next = avail_at;
	other.next = at;
	memcpy(info + sizeof(struct vfio_iommu_type1_info), &other, sizeof(other));
	memcpy(info + at, &cap, sizeof(cap));
	memcpy(info + at + sizeof(cap), ranges, sizeof(ranges));
	memcpy(info + avail_at, &avail, sizeof(avail));
}

/* As vfio_iommu_type1.c does it: what does not fit is not given, but how much it is. */
static int get_info(uint8_t *info)
{
	struct vfio_iommu_type1_info head;
	uint32_t room;

	memcpy(&head, info, sizeof(head));
	room = head.argsz;
	kernel.info_calls++;
	if (kernel.grows)
		kernel.info_size = room + 64;
	head.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	head.iova_pgsizes = 4096 | 2 * MIB;
	head.cap_offset = 0;
	if (room < kernel.info_size) {
		head.argsz = kernel.info_size;
	} else {
		head.cap_offset = sizeof(head);
		put_capabilities(info, kernel.info_size);
	}
	memcpy(info, &head, sizeof(head));
	return 0;
}

static int map_dma(const struct vfio_iommu_type1_dma_map *request)
{
	if (kernel.mapped + request->size > kernel.maps_max) {
		errno = ENOSPC;
		return -1;
	}
	kernel.mapped += request->size;
	return 0;
}

static int unmap_dma(const struct vfio_iommu_type1_dma_unmap *request)
{
	errno = kernel.unmap_error;
	if (errno)
		return -1;
	kernel.mapped -= MIN(kernel.mapped, request->size);
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	assert_int_equal(fd, CONTAINER);
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return get_info(argument);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(argument);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(argument);
	default:
		fail_msg("request %#lx", request);
		return -1;
	}
}

static int setup(void **state)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel.info_size = 256;
	kernel.maps_max = UINT64_MAX;
	return 0;
}

static struct vfio_iommu *create(void)
{
	static uint8_t memory[4096];
	struct vfio_iommu *iommu = NULL;
	char error[200];

	assert_int_equal(vfio_type1_create(CONTAINER, memory, GIB, &iommu, error, sizeof(error)), 0);
	return iommu;
}

/* --- type1 -------------------------------------------------------------------------------- */

static void check_capabilities(const struct vfio_iommu *iommu)
{
	assert_int_equal(iommu->range_count, 2);
	assert_int_equal(iommu->ranges[0].last, 0xfedfffff);
	assert_int_equal(iommu->ranges[1].first, 0xfef00000);
	assert_int_equal(iommu->ranges[1].last, 0x7fffffffff);
	assert_int_equal(iommu->mappings_max, 1234);
}

static void addresses_and_number_of_mappings_are_the_kernels(void **state)
{
	struct vfio_iommu *iommu = create();

	check_capabilities(iommu);
	assert_int_equal(kernel.info_calls, 1);
	iommu->ops->destroy(iommu);
}

static void capabilities_that_do_not_fit_are_asked_for_again(void **state)
{
	struct vfio_iommu *iommu;

	kernel.info_size = 20000;
	iommu = create();
	check_capabilities(iommu);
	assert_int_equal(kernel.info_calls, 2);
	iommu->ops->destroy(iommu);
}

static void capabilities_that_never_fit_are_an_error(void **state)
{
	struct vfio_iommu *iommu = NULL;
	char error[200] = "";

	kernel.info_size = 0x40000000;
	assert_true(vfio_type1_create(CONTAINER, NULL, GIB, &iommu, error, sizeof(error)) < 0);
	assert_null(iommu);
	assert_true(strlen(error) > 0);
	kernel.grows = true;
	assert_true(vfio_type1_create(CONTAINER, NULL, GIB, &iommu, error, sizeof(error)) < 0);
}

static void unmap_that_the_kernel_refuses_is_an_error(void **state)
{
	struct vfio_iommu *iommu = create();

	assert_int_equal(iommu->ops->map(iommu, GIB, 0, 4 * PAGE_SIZE, true), 0);
	kernel.unmap_error = ENOMEM;
	assert_int_equal(iommu->ops->unmap(iommu, GIB, 4 * PAGE_SIZE), -ENOMEM);
	kernel.unmap_error = 0;
	assert_int_equal(iommu->ops->unmap(iommu, GIB, 4 * PAGE_SIZE), 0);
	assert_int_equal(kernel.mapped, 0);
	iommu->ops->destroy(iommu);
}

static void map_that_ends_halfway_leaves_nothing_or_says_so(void **state)
{
	struct vfio_iommu *iommu = create();

	kernel.maps_max = 3 * PAGE_SIZE;
	assert_int_equal(iommu->ops->map(iommu, GIB, 0, 4 * PAGE_SIZE, true), -ENOSPC);
	assert_int_equal(kernel.mapped, 0);
	kernel.unmap_error = ENOMEM;
	assert_int_equal(iommu->ops->map(iommu, GIB, 0, 4 * PAGE_SIZE, true), -ENOTRECOVERABLE);
	iommu->ops->destroy(iommu);
}

/* --- which addresses a guest gets --------------------------------------------------------- */

static void check_range(const struct iova_range *ranges, unsigned count, uint64_t first,
			uint64_t last)
{
	uint64_t chosen_first = 1, chosen_last = 1;

	assert_true(vfio_choose_range(ranges, count, &chosen_first, &chosen_last));
	assert_int_equal(chosen_first, first);
	assert_int_equal(chosen_last, last);
}

static void everything_is_the_usual_range(void **state)
{
	check_range((struct iova_range[]){ { 0, UINT64_MAX } }, 1, 4 * GIB, 0x1ffffffffffffff);
}

static void width_of_39_bits_and_the_hole_for_interrupts(void **state)
{
	const struct iova_range ranges[] = { { 0, 0xfedfffff }, { 0xfef00000, 0x7fffffffff } };

	check_range(ranges, 2, 4 * GIB, 0x7fffffffff);
}

static void largest_range_between_holes(void **state)
{
	const struct iova_range ranges[] = {
		{ 0, 0xfedfffff },
		{ 0xfef00000, 0x9ffffffff }, /* 36 GiB from 4 GiB on */
		{ 0xb00000000, 0x2cffffffff }, /* 136 GiB */
		{ 0x3000000000, 0x3fffffffff }, /* 64 GiB */
	};

	check_range(ranges, 4, 0xb00000000, 0x2cffffffff);
}

static void addresses_of_32_bits_only(void **state)
{
	const struct iova_range ranges[] = { { 0, 0xfedfffff }, { 0xfef00000, 0xffffffff } };

	check_range(ranges, 2, 0, 0xfedfffff);
}

/* Too little from 4 GiB on to leave what is below. */
static void width_of_33_bits(void **state)
{
	const struct iova_range ranges[] = { { 0x1000, 0x1ffffffff } };

	check_range(ranges, 1, 0x1000, 0x1ffffffff);
}

static void nothing_from_4_gib_on_but_far_beyond_what_guests_know(void **state)
{
	const struct iova_range ranges[] = { { 0, 0x7fffffff },
					     { 0x200000000000000, 0x3ffffffffffffff } };

	check_range(ranges, 2, 0, 0x7fffffff);
}

static void whole_pages_only(void **state)
{
	uint64_t first, last;

	check_range((struct iova_range[]){ { 0x1800, 0x57ff } }, 1, 0x2000, 0x4fff);
	assert_false(vfio_choose_range((struct iova_range[]){ { 0x1800, 0x27ff } }, 1, &first, &last));
	assert_false(vfio_choose_range((struct iova_range[]){ { 0, 0xffe } }, 1, &first, &last));
	assert_false(vfio_choose_range((struct iova_range[]){ { UINT64_MAX - 10, UINT64_MAX } }, 1,
				       &first, &last));
	assert_false(vfio_choose_range(NULL, 0, &first, &last));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(addresses_and_number_of_mappings_are_the_kernels, setup),
		cmocka_unit_test_setup(capabilities_that_do_not_fit_are_asked_for_again, setup),
		cmocka_unit_test_setup(capabilities_that_never_fit_are_an_error, setup),
		cmocka_unit_test_setup(unmap_that_the_kernel_refuses_is_an_error, setup),
		cmocka_unit_test_setup(map_that_ends_halfway_leaves_nothing_or_says_so, setup),
		cmocka_unit_test(everything_is_the_usual_range),
		cmocka_unit_test(width_of_39_bits_and_the_hole_for_interrupts),
		cmocka_unit_test(largest_range_between_holes),
		cmocka_unit_test(addresses_of_32_bits_only),
		cmocka_unit_test(width_of_33_bits),
		cmocka_unit_test(nothing_from_4_gib_on_but_far_beyond_what_guests_know),
		cmocka_unit_test(whole_pages_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
