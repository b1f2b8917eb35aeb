/* SPDX-License-Identifier: MIT */
/*
 * What mapping memory for a passed-through function costs: 256 pages are mapped and unmapped
 * by a guest's tables and RPCIT, and beside that, in turn, by the kernel's calls alone. Also
 * what a store to a BAR of that function costs a program of the host. Prints a line
 * for each slice, TYPE being type1 or iommufd:
 *
 *	mapping_bench ADDRESS [iommufd]     of a function that is bound to vfio-pci
 *
 *	bench TYPE-map-calls 1 NS     a call for each page
 *	bench TYPE-unmap-calls 1 NS   likewise
 *	bench TYPE-map 1 NS           one RPCIT for all, the tables being valid
 *	bench TYPE-unmap 1 NS         one RPCIT for all, the tables being invalid
 *	bench TYPE-flush 1 NS         the same, for 4 GiB: Linux's lazy flush
 *	bench TYPE-map-scattered 1 NS    TYPE-map, of pages that are nowhere neighbours in memory
 *	bench TYPE-unmap-scattered 1 NS
 *	bench bar-store-native N NS   stores of 4 bytes, which do not harm an NVMe controller
 *
 * The guest is the one of the tests of libzpci: nothing but an array.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../tests/unit/zpci/guest.h"
#include "devices/device.h"
#include "vfio/kernel_internal.h"

#define SLICES 51
#define PAGES 256u
#define RANGE (PAGES * PAGE_SIZE)
#define DATA_AT 0x200000
#define APERTURE (4 * GIB)
/* NVMe: attributes of the admin queues, which are looked at when it is enabled. */
#define HARMLESS_BAR 0
#define HARMLESS_REGISTER 0x24
#define STORES 2000

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void end(const char *why)
{
	printf("mapping_bench: %s\n", why);
	exit(1);
}

/* --- by the kernel's calls ----------------------------------------------------------------- */

static uint64_t map_by_calls(struct vfio_iommu *iommu)
{
	uint64_t begin = now();

	for (unsigned i = 0; i < PAGES; i++)
		if (iommu->ops->map(iommu, SDMA + i * PAGE_SIZE, DATA_AT + i * PAGE_SIZE, PAGE_SIZE,
				    true))
			end("a page cannot be mapped");
	return now() - begin;
}

static uint64_t unmap_by_calls(struct vfio_iommu *iommu)
{
	uint64_t begin = now();

	for (unsigned i = 0; i < PAGES; i++)
		iommu->ops->unmap(iommu, SDMA + i * PAGE_SIZE, PAGE_SIZE);
	return now() - begin;
}

/* --- by RPCIT ------------------------------------------------------------------------------ */

static int map(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct vfio_iommu *iommu = opaque;

	return iommu->ops->map(iommu, iova, absolute, length, writable);
}

static int unmap(void *opaque, uint64_t iova, uint64_t length)
{
	struct vfio_iommu *iommu = opaque;

	return iommu->ops->unmap(iommu, iova, length);
}

static void gate(void *opaque, bool open)
{
}

static const struct zpci_mapping_ops mapping_ops = { .map = map, .unmap = unmap, .gate = gate };

static uint64_t refresh(struct guest *g, uint64_t length)
{
	uint64_t begin = now();

	do {
		guest_rpcit(g, SDMA, length);
	} while (g->vcpu.cc == 2);
	if (g->vcpu.cc)
		end("RPCIT failed");
	return now() - begin;
}

/* A stride of 1 makes neighbours of them; of another odd number, not. */
static void map_tables(struct guest *g, unsigned stride)
{
	for (unsigned i = 0; i < PAGES; i++)
		guest_map(g, SDMA + i * PAGE_SIZE, DATA_AT + i * stride % PAGES * PAGE_SIZE, true);
}

static void unmap_tables(struct guest *g)
{
	for (unsigned i = 0; i < PAGES; i++)
		guest_unmap(g, SDMA + i * PAGE_SIZE);
}

static void slice(const char *type, const char *what, uint64_t ns)
{
	printf("bench %s-%s 1 %llu\n", type, what, (unsigned long long)ns);
}

static void measure(struct guest *g, struct vfio_iommu *iommu, const char *type)
{
	for (unsigned i = 0; i < SLICES; i++) {
		slice(type, "map-calls", map_by_calls(iommu));
		slice(type, "unmap-calls", unmap_by_calls(iommu));
		map_tables(g, 1);
		slice(type, "map", refresh(g, RANGE));
		unmap_tables(g);
		slice(type, "unmap", refresh(g, RANGE));
		map_tables(g, 1);
		refresh(g, RANGE);
		unmap_tables(g);
		slice(type, "flush", refresh(g, APERTURE));
		map_tables(g, 5);
		slice(type, "map-scattered", refresh(g, RANGE));
		unmap_tables(g);
		slice(type, "unmap-scattered", refresh(g, RANGE));
	}
}

/* --- a BAR --------------------------------------------------------------------------------- */

static void measure_stores(struct kernel_device *d)
{
	struct passthrough_region region = { 0 };
	volatile uint32_t *word;

	if (kernel_backend_ops.region_info(d, HARMLESS_BAR, &region) || !region.areas ||
	    region.area[0].offset || region.area[0].length < HARMLESS_REGISTER + 4)
		end("the function has no BAR 0 that can be mapped");
	word = (volatile uint32_t *)((uint8_t *)region.area[0].host + HARMLESS_REGISTER);
	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t begin = now();

		for (unsigned n = 0; n < STORES; n++)
			*word = 0;
		printf("bench bar-store-native %u %llu\n", STORES,
		       (unsigned long long)(now() - begin));
	}
}

int main(int argc, char **argv)
{
	struct kernel_device d = { .fd = -1, .container = -1, .group = -1, .iommufd = -1 };
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	struct guest *g = guest_new();
	char error[DEVICE_ERROR_MAX];
	struct device_made made = { 0 };
	bool iommufd = argc == 3 && !strcmp(argv[2], "iommufd");

	if (argc < 2 || (argc > 2 && !iommufd))
		end("wants the address of a PCI function, as lspci -D has it");
	snprintf(d.called, sizeof(d.called), "host=%s", argv[1]);
	snprintf(d.sysfs, sizeof(d.sysfs), "/sys/bus/pci/devices/%s", argv[1]);
	snprintf(d.name, sizeof(d.name), "%s", argv[1]);
	if (kernel_open(&d, iommufd ? KERNEL_IOMMUFD_ON : KERNEL_IOMMUFD_OFF, g->memory,
			GUEST_MEMORY, error, sizeof(error)) ||
	    kernel_describe(&d, &made, error, sizeof(error)))
		end(error);
	config.uid = GUEST_UID;
	config.mapping = &mapping_ops;
	config.mapping_opaque = d.iommu;
	config.mappings_max = d.iommu->mappings_max;
	guest_plug(g, &config);
	guest_enable(g);
	guest_register_translation(g);
	measure(g, d.iommu, iommufd ? "iommufd" : "type1");
	measure_stores(&d);
	guest_free(g);
	kernel_close(&d);
	return 0;
}
