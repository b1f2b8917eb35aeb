/* SPDX-License-Identifier: MIT */
/*
 * Passed-through functions, with a device that is made up here: what of its config space a
 * guest sees, which accesses reach it and how, its interrupts, errors and resets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/byteorder.h"
#include "base/irq_sources.h"
#include "base/util.h"
#include "devices/device.h"
#include "pci/host.h"
#include "vfio/passthrough.h"
#include "zpci/pci.h"
#include "zpci/zpci.h"

#define BAR0_SIZE 0x4000u /* the page at 0x1000 is not mapped */
#define HOLE 0x1000u
#define TABLE 0x2000u /* MSI-X, in what is mapped */
#define PENDING 0x3000u
#define BAR2_SIZE 0x1000u /* not mapped at all */
#define MSIX_VECTORS 64
#define DEVICE_VECTORS_AT_ONCE 40 /* as many as the host has */

#define AT_PM 0x40
#define AT_MSI 0x48
#define AT_EXPRESS 0x60
#define AT_MSIX 0xa0
#define AT_EA 0xb0
#define AT_VENDOR 0xc0

struct access {
	bool write;
	unsigned region;
	uint64_t offset;
	size_t length;
	uint64_t value;
};

/* The device, and whoever the function is plugged into. */
struct fake {
	uint8_t config[PCI_CONFIG_SIZE];
	_Alignas(8) uint8_t bar0[BAR0_SIZE];
	uint64_t config_size;
	bool resizable, closed, fails;
	int unmap_error, reset_error;
	struct access accesses[64];
	unsigned access_count, resets, busy; /* resets that will be refused for a while */

	unsigned msix_vectors; /* that the host has for it */

	/* Eventfds that it would write, by index and number; -1: none. */
	int fds[VFIO_PCI_NUM_IRQS][MSIX_VECTORS];
	unsigned enabled[VFIO_PCI_NUM_IRQS];
	unsigned calls;

	struct irq_sources *sources;
	struct device_host host;
	struct device_made made;
	struct pci_function *f;
	atomic_uint messages, errors, wanted;
	_Atomic uint64_t last_address;
	atomic_uint last_data;
};

/* --- the backend --------------------------------------------------------------------- */

static int region_info(void *backend, unsigned region, struct passthrough_region *info)
{
	struct fake *d = backend;

	switch (region) {
	case 0:
		info->size = BAR0_SIZE;
		info->areas = 2;
		info->area[0] = (struct passthrough_area){ 0, HOLE, d->bar0 };
		info->area[1] = (struct passthrough_area){ 0x2000, 0x2000, d->bar0 + 0x2000 };
		break;
	case 2:
		info->size = BAR2_SIZE;
		break;
	case 4:
		info->size = 256; /* I/O */
		break;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		info->size = d->config_size;
		break;
	default:
		break;
	}
	return 0;
}

static void note(struct fake *d, bool write, unsigned region, uint64_t offset, const void *data,
		 size_t length)
{
	struct access *a = &d->accesses[d->access_count++ % ARRAY_SIZE(d->accesses)];

	*a = (struct access){ write, region, offset, length, 0 };
	memcpy(&a->value, data, MIN(length, sizeof(a->value)));
	a->value = le64toh(a->value);
}

static int region_read(void *backend, unsigned region, uint64_t offset, void *data, size_t length)
{
	struct fake *d = backend;

	if (d->fails)
		return -EIO;
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		memcpy(data, d->config + offset, length);
	else
		memset(data, 0x5a, length);
	note(d, false, region, offset, data, length);
	return 0;
}

static int region_write(void *backend, unsigned region, uint64_t offset, const void *data,
			size_t length)
{
	struct fake *d = backend;

	note(d, true, region, offset, data, length);
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		memcpy(d->config + offset, data, length);
	return 0;
}

static int irq_count(void *backend, unsigned index, unsigned *count)
{
	const unsigned counts[] = { 1, 4, ((struct fake *)backend)->msix_vectors, 1, 1 };

	*count = counts[index];
	return 0;
}

static int set_irqs(void *backend, unsigned index, unsigned start, unsigned count,
		    const int *eventfds)
{
	struct fake *d = backend;

	d->calls++;
	if (!count) {
		d->enabled[index] = 0;
		for (unsigned i = 0; i < MSIX_VECTORS; i++)
			d->fds[index][i] = -1;
		return 0;
	}
	if (index == VFIO_PCI_MSIX_IRQ_INDEX && start + count > d->msix_vectors)
		return -EINVAL;
	if (start + count > DEVICE_VECTORS_AT_ONCE)
		return -ENOSPC;
	if (d->enabled[index] && start + count > d->enabled[index] && !d->resizable)
		return -EINVAL;
	d->enabled[index] = MAX(d->enabled[index], start + count);
	for (unsigned i = 0; i < count; i++)
		d->fds[index][start + i] = eventfds[i];
	return 0;
}

static int reset(void *backend)
{
	struct fake *d = backend;

	if (d->busy) {
		d->busy--;
		return -EAGAIN;
	}
	d->resets++;
	return d->reset_error;
}

static int map(void *backend, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	return 0;
}

static int unmap(void *backend, uint64_t iova, uint64_t length)
{
	return ((struct fake *)backend)->unmap_error;
}

static void close_device(void *backend)
{
	((struct fake *)backend)->closed = true;
}

static const struct passthrough_backend_ops backend_ops = {
	.region_info = region_info,
	.region_read = region_read,
	.region_write = region_write,
	.irq_count = irq_count,
	.set_irqs = set_irqs,
	.reset = reset,
	.map = map,
	.unmap = unmap,
	.close = close_device,
};

/* --- around it -------------------------------------------------------------------------- */

static void deliver(void *opaque, uint64_t address, uint32_t data)
{
	struct fake *d = opaque;

	d->last_address = address;
	d->last_data = data;
	d->messages++;
}

static void on_error(void *opaque, enum pci_error error)
{
	((struct fake *)opaque)->errors++;
}

static const struct pci_msi_ops msi_ops = { .deliver = deliver, .error = on_error };

static void unplug_wanted(void *opaque, uint32_t fid)
{
	assert_int_equal(fid, 7);
	((struct fake *)opaque)->wanted++;
}

static void capability(struct fake *d, unsigned at, uint8_t id, unsigned next)
{
	d->config[at] = id;
	d->config[at + 1] = (uint8_t)next;
}

static void extended(struct fake *d, unsigned at, unsigned id, unsigned next)
{
	store_le32(d->config + at, id | 1u << 16 | next << 20);
}

static struct fake *new_device(void)
{
	struct fake *d = calloc(1, sizeof(*d));
	uint8_t *c;

	assert_non_null(d);
	c = d->config;
	store_le16(c + PCI_VENDOR_ID, 0x1b36);
	store_le16(c + PCI_DEVICE_ID, 0x0010);
	store_le16(c + PCI_STATUS, PCI_STATUS_CAP_LIST | 0x8);
	store_le32(c + PCI_REVISION_ID, 0x01080202);
	c[PCI_HEADER_TYPE] = 0x80; /* one of several functions */
	store_le32(c + PCI_BASE_ADDRESS_0, 0xfe000004); /* 64 bits */
	store_le32(c + PCI_BASE_ADDRESS_0 + 8, 0xfd000000);
	store_le32(c + PCI_BASE_ADDRESS_0 + 16, 0x0000c001); /* I/O */
	store_le32(c + PCI_ROM_ADDRESS, 0xfc000000);
	c[PCI_INTERRUPT_PIN] = 1;
	c[PCI_CAPABILITY_LIST] = AT_PM;
	capability(d, AT_PM, PCI_CAP_ID_PM, AT_MSI);
	store_le16(c + AT_PM + 2, 0xfe03);
	capability(d, AT_MSI, PCI_CAP_ID_MSI, AT_EXPRESS);
	store_le16(c + AT_MSI + 2, 2 << 1); /* 4 vectors, 32 bits, no masks */
	capability(d, AT_EXPRESS, PCI_CAP_ID_EXP, AT_MSIX);
	store_le16(c + AT_EXPRESS + 2, 2);
	store_le32(c + AT_EXPRESS + 4, 1u << 28);
	capability(d, AT_MSIX, PCI_CAP_ID_MSIX, AT_EA);
	store_le16(c + AT_MSIX + 2, 255); /* more than the host has */
	store_le32(c + AT_MSIX + 4, TABLE);
	store_le32(c + AT_MSIX + 8, PENDING);
	capability(d, AT_EA, 0x14, AT_VENDOR);
	capability(d, AT_VENDOR, PCI_CAP_ID_VNDR, 0);
	c[AT_VENDOR + 2] = 16;
	extended(d, 0x100, 0x10, 0x140); /* SR-IOV */
	extended(d, 0x140, 0x01, 0x180);
	extended(d, 0x180, 0x0f, 0x1c0); /* ATS */
	extended(d, 0x1c0, 0x03, 0);
	d->config_size = PCI_CONFIG_SIZE;
	d->msix_vectors = MSIX_VECTORS;
	memset(d->fds, 0xff, sizeof(d->fds));
	d->sources = irq_sources_create();
	assert_non_null(d->sources);
	d->host = (struct device_host){ .unplug_wanted = unplug_wanted, .opaque = d };
	return d;
}

static int create(struct fake *d, char *error, size_t error_size)
{
	const struct passthrough_setup setup = {
		.name = "fake0",
		.fid = 7,
		.ops = &backend_ops,
		.backend = d,
		.irq_sources = d->sources,
		.host = &d->host,
	};
	int rc;

	if (passthrough_create(&setup, &d->made, &rc, error, error_size))
		d->f = d->made.function;
	return rc;
}

static int setup(void **state)
{
	struct fake *d = new_device();
	char error[256] = "";

	if (create(d, error, sizeof(error)))
		fail_msg("%s", error);
	assert_int_equal(pci_function_attach(d->f, NULL, &msi_ops, d), 0);
	d->made.mapping->gate(d->made.mapping_opaque, true);
	d->access_count = 0;
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct fake *d = *state;

	pci_function_free(d->f);
	assert_true(d->closed);
	irq_sources_destroy(d->sources);
	free(d);
	return 0;
}

static void wait_for(atomic_uint *what, unsigned count)
{
	const struct timespec pause = { 0, 1000000 };

	for (unsigned i = 0; i < 20000 && *what < count; i++)
		nanosleep(&pause, NULL);
	assert_int_equal(*what, count);
}

/* The device raises an interrupt. */
static void raise_irq(struct fake *d, unsigned index, unsigned number)
{
	const uint64_t one = 1;

	assert_true(d->fds[index][number] >= 0);
	assert_int_equal(write(d->fds[index][number], &one, sizeof(one)), sizeof(one));
}

static uint32_t config_read(struct fake *d, unsigned offset, unsigned size)
{
	return pci_function_config_read(d->f, offset, size);
}

static void config_write(struct fake *d, unsigned offset, unsigned size, uint32_t value)
{
	pci_function_config_write(d->f, offset, size, value);
}

static uint64_t bar_read(struct fake *d, unsigned bar, uint64_t offset, unsigned size)
{
	uint64_t value;

	assert_int_equal(pci_function_bar_read(d->f, bar, offset, size, &value), 0);
	return value;
}

static void bar_write(struct fake *d, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	assert_int_equal(pci_function_bar_write(d->f, bar, offset, size, value), 0);
}

static void expect_access(const struct fake *d, unsigned number, bool write, unsigned region,
			  uint64_t offset, size_t length)
{
	const struct access *a = &d->accesses[number];

	assert_true(number < d->access_count);
	assert_int_equal(a->write, write);
	assert_int_equal(a->region, region);
	assert_int_equal(a->offset, offset);
	assert_int_equal(a->length, length);
}

/* --- config space ------------------------------------------------------------------------- */

static void the_list_of_capabilities_has_what_a_guest_may_see(void **state)
{
	static const unsigned expected[] = { AT_PM, AT_MSI, AT_EXPRESS, AT_MSIX, AT_VENDOR };
	struct fake *d = *state;
	unsigned at = config_read(d, PCI_CAPABILITY_LIST, 1);

	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_int_equal(at, expected[i]);
		assert_int_equal(config_read(d, at, 1), d->config[at]);
		at = config_read(d, at + 1, 1);
	}
	assert_int_equal(at, 0);
	assert_int_equal(config_read(d, AT_EA, 2), 0);
}

static void the_extended_list_is_without_what_concerns_the_host(void **state)
{
	struct fake *d = *state;

	assert_int_equal(config_read(d, 0x100, 4), 0x140u << 20);
	assert_int_equal(config_read(d, 0x140, 4), 0x1c0u << 20 | 0x10001);
	assert_int_equal(config_read(d, 0x180, 4), 0);
	assert_int_equal(config_read(d, 0x1c0, 4), 0x10003);
}

static void the_header_is_that_of_one_function_without_interrupt_line_and_rom(void **state)
{
	struct fake *d = *state;

	assert_int_equal(config_read(d, PCI_VENDOR_ID, 4), 0x00101b36);
	assert_int_equal(config_read(d, PCI_REVISION_ID, 4), 0x01080202);
	assert_int_equal(config_read(d, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(config_read(d, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(config_read(d, PCI_ROM_ADDRESS, 4), 0);
	assert_int_equal(config_read(d, PCI_STATUS, 1), PCI_STATUS_CAP_LIST);
	config_write(d, PCI_ROM_ADDRESS, 4, ~0u);
	assert_int_equal(config_read(d, PCI_ROM_ADDRESS, 4), 0);
}

static void bars_are_sized_without_the_device(void **state)
{
	struct fake *d = *state;

	assert_int_equal(pci_function_bar_size(d->f, 0), BAR0_SIZE);
	assert_int_equal(pci_function_bar_size(d->f, 2), BAR2_SIZE);
	assert_int_equal(pci_function_bar_size(d->f, 4), 0);
	assert_int_equal(config_read(d, PCI_BASE_ADDRESS_0 + 16, 4), 0);
	config_write(d, PCI_BASE_ADDRESS_0, 4, ~0u);
	assert_int_equal(config_read(d, PCI_BASE_ADDRESS_0, 4), ~(BAR0_SIZE - 1) | 4);
	assert_int_equal(d->access_count, 0);
}

static void a_devices_own_registers_are_read_and_written_there(void **state)
{
	struct fake *d = *state;

	d->config[AT_VENDOR + 4] = 0x77;
	assert_int_equal(config_read(d, AT_VENDOR + 4, 1), 0x77);
	expect_access(d, 0, false, VFIO_PCI_CONFIG_REGION_INDEX, AT_VENDOR + 4, 1);
	config_write(d, AT_VENDOR + 8, 4, 0x12345678);
	expect_access(d, 1, true, VFIO_PCI_CONFIG_REGION_INDEX, AT_VENDOR + 8, 4);
	assert_int_equal(load_le32(d->config + AT_VENDOR + 8), 0x12345678);
	/* Header and link are ours, what comes behind them is not. */
	config_write(d, AT_VENDOR, 4, 0xaabbccdd);
	expect_access(d, 2, true, VFIO_PCI_CONFIG_REGION_INDEX, AT_VENDOR + 2, 2);
	assert_int_equal(config_read(d, AT_VENDOR, 4), 0xaabb0000 | PCI_CAP_ID_VNDR);
}

static void what_cannot_be_read_is_all_ones_and_the_rest_stays(void **state)
{
	struct fake *d = *state;

	d->fails = true;
	assert_int_equal(config_read(d, AT_VENDOR, 4), 0xffff0000 | PCI_CAP_ID_VNDR);
	assert_true(bar_read(d, 2, 0, 4) == 0xffffffff);
}

static void the_power_state_is_kept_from_the_device(void **state)
{
	struct fake *d = *state;

	config_write(d, AT_PM + 4, 2, 0x8103);
	assert_int_equal(config_read(d, AT_PM + 4, 2), 0x000b);
	assert_int_equal(load_le16(d->config + AT_PM + 4), 0);
	assert_int_equal(config_read(d, AT_PM + 2, 2), 0x0003);
}

static uint16_t command_of(const struct fake *d)
{
	return load_le16(d->config + PCI_COMMAND);
}

static void the_device_is_bus_master_if_the_guest_and_the_gate_want_it(void **state)
{
	const uint16_t always = PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE;
	struct fake *d = *state;

	assert_int_equal(command_of(d), always);
	config_write(d, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(command_of(d), always | PCI_COMMAND_MASTER);
	assert_int_equal(config_read(d, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	d->made.mapping->gate(d->made.mapping_opaque, false);
	assert_int_equal(command_of(d), always);
	assert_int_equal(config_read(d, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	d->made.mapping->gate(d->made.mapping_opaque, true);
	assert_int_equal(command_of(d), always | PCI_COMMAND_MASTER);
	config_write(d, PCI_COMMAND, 2, 0);
	assert_int_equal(command_of(d), always);
}

/* --- BARs --------------------------------------------------------------------------------------- */

static void what_is_mapped_is_touched_directly(void **state)
{
	struct fake *d = *state;

	for (unsigned size = 1; size <= 8; size *= 2) {
		uint64_t value = 0x8877665544332211ull >> (64 - 8 * size);

		bar_write(d, 0, 0x100 + size, size, value);
		assert_true(bar_read(d, 0, 0x100 + size, size) == value);
		assert_int_equal(d->bar0[0x100 + size], value & 0xff);
		assert_int_equal(d->bar0[0x100 + size + size - 1], value >> (8 * size - 8));
	}
	assert_int_equal(d->access_count, 0);
}

static void what_is_not_mapped_is_one_access_of_the_guests_length(void **state)
{
	struct fake *d = *state;

	for (unsigned size = 1; size <= 8; size++) {
		d->access_count = 0;
		assert_true(bar_read(d, 0, HOLE, size) == 0x5a5a5a5a5a5a5a5aull >> (64 - 8 * size));
		expect_access(d, 0, false, 0, HOLE, size);
		bar_write(d, 2, 0x801, size, 0x0102030405060708ull);
		expect_access(d, 1, true, 2, 0x801, size);
		assert_true(d->accesses[1].value ==
			    0x0102030405060708ull << (64 - 8 * size) >> (64 - 8 * size));
		assert_int_equal(d->access_count, 2);
	}
}

static void what_is_half_mapped_is_not_cut_in_two(void **state)
{
	struct fake *d = *state;

	(void)bar_read(d, 0, HOLE - 2, 4);
	expect_access(d, 0, false, 0, HOLE - 2, 4);
	assert_int_equal(d->access_count, 1);
}

static void a_block_store_is_one_write(void **state)
{
	struct fake *d = *state;
	uint8_t block[PCI_BLOCK_MAX];

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 7);
	assert_int_equal(pci_function_bar_write_block(d->f, 2, 0x10, block, 128), 0);
	expect_access(d, 0, true, 2, 0x10, 128);
	assert_int_equal(pci_function_bar_write_block(d->f, 0, 0x80, block, 256), 0);
	assert_memory_equal(d->bar0 + 0x80, block, 256);
	assert_int_equal(d->access_count, 1);
}

static void the_table_of_msix_is_ours_where_it_is_mapped(void **state)
{
	struct fake *d = *state;

	bar_write(d, 0, TABLE + 16, 8, 0x1122334455667788ull);
	assert_true(bar_read(d, 0, TABLE + 16, 8) == 0x1122334455667788ull);
	assert_int_equal(d->bar0[TABLE + 16], 0);
	bar_write(d, 0, PENDING, 8, ~0ull);
	assert_true(bar_read(d, 0, PENDING, 8) == 0);
	/* Behind it, the device. */
	bar_write(d, 0, TABLE + 16 * MSIX_VECTORS, 4, 5);
	assert_int_equal(d->bar0[TABLE + 16 * MSIX_VECTORS], 5);
	assert_int_equal(d->access_count, 0);
}

/* --- interrupts ------------------------------------------------------------------------------------ */

static void set_vector(struct fake *d, unsigned vector, uint64_t address, uint32_t data)
{
	bar_write(d, 0, TABLE + 16 * vector, 8, address);
	bar_write(d, 0, TABLE + 16 * vector + 8, 4, data);
	bar_write(d, 0, TABLE + 16 * vector + 12, 4, 0);
}

static void enable_msix(struct fake *d)
{
	config_write(d, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	config_write(d, AT_MSIX + 2, 2, 0x8000);
}

static void a_vector_of_msix_sends_the_guests_message(void **state)
{
	struct fake *d = *state;

	assert_int_equal(pci_function_msix_vectors(d->f), MSIX_VECTORS);
	enable_msix(d);
	/* The device sees at once that it is enabled, and gets what it signals by when that is used. */
	assert_in_range(d->enabled[VFIO_PCI_MSIX_IRQ_INDEX], 1, 16);
	assert_int_equal(d->fds[VFIO_PCI_MSIX_IRQ_INDEX][3], -1);
	set_vector(d, 3, 0xfe00000000000000ull, 0x33);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 3);
	wait_for(&d->messages, 1);
	assert_true(d->last_address == 0xfe00000000000000ull);
	assert_int_equal(d->last_data, 0x33);
	/* A masked one stays armed, and is pending. */
	bar_write(d, 0, TABLE + 16 * 3 + 12, 4, 1);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 3);
	for (unsigned i = 0; i < 20000 && !bar_read(d, 0, PENDING, 8); i++)
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	assert_true(bar_read(d, 0, PENDING, 8) == 1 << 3);
	assert_int_equal(d->messages, 1);
	bar_write(d, 0, TABLE + 16 * 3 + 12, 4, 0);
	assert_int_equal(d->messages, 2);
}

/* With a kernel that cannot add vectors, all are given up for a moment: nothing is lost. */
static void more_vectors_are_asked_for_as_they_are_unmasked(void **state)
{
	struct fake *d = *state;

	enable_msix(d);
	set_vector(d, 0, 0x1000, 100);
	assert_in_range(d->enabled[VFIO_PCI_MSIX_IRQ_INDEX], 1, 16);
	set_vector(d, 30, 0x1000, 130);
	assert_true(d->enabled[VFIO_PCI_MSIX_IRQ_INDEX] > 30);
	wait_for(&d->messages, 1);
	assert_int_equal(d->last_data, 100);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 0);
	wait_for(&d->messages, 2);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 30);
	wait_for(&d->messages, 3);
	assert_int_equal(d->last_data, 130);
}

static void vectors_that_can_be_added_are_added(void **state)
{
	struct fake *d = *state;
	unsigned calls;

	d->resizable = true;
	enable_msix(d);
	set_vector(d, 0, 0x1000, 100);
	calls = d->calls;
	set_vector(d, 30, 0x1000, 130);
	assert_int_equal(d->calls, calls + 1);
	assert_int_equal(d->messages, 0);
}

static void a_vector_that_the_host_does_not_have_takes_none_away(void **state)
{
	struct fake *d = *state;

	enable_msix(d);
	set_vector(d, 0, 0x1000, 100);
	set_vector(d, DEVICE_VECTORS_AT_ONCE, 0x1000, 1);
	wait_for(&d->messages, 1);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 0);
	wait_for(&d->messages, 2);
	assert_int_equal(d->last_data, 100);
}

/* What another process serves has our eventfds, and their flags. */
static void eventfds_that_are_made_blocking_hold_up_no_guest_that_disables_them(void **state)
{
	struct fake *d = *state;

	enable_msix(d);
	for (unsigned i = 0; i < 2; i++) {
		set_vector(d, i, 0x1000, 100 + i);
		assert_int_equal(fcntl(d->fds[VFIO_PCI_MSIX_IRQ_INDEX][i], F_SETFL, O_RDWR), 0);
	}
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 1);
	wait_for(&d->messages, 1);
	config_write(d, AT_MSIX + 2, 2, 0);
	assert_int_equal(d->enabled[VFIO_PCI_MSIX_IRQ_INDEX], 0);
}

static void msi_has_as_many_vectors_as_the_guest_enables(void **state)
{
	struct fake *d = *state;

	config_write(d, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	config_write(d, AT_MSI + 4, 4, 0xfee00000);
	config_write(d, AT_MSI + 8, 2, 0x40);
	config_write(d, AT_MSI + 2, 2, 0x0011); /* two */
	assert_int_equal(d->enabled[VFIO_PCI_MSI_IRQ_INDEX], 2);
	raise_irq(d, VFIO_PCI_MSI_IRQ_INDEX, 1);
	wait_for(&d->messages, 1);
	assert_true(d->last_address == 0xfee00000);
	assert_int_equal(d->last_data, 0x41);
	config_write(d, AT_MSI + 2, 2, 0);
	assert_int_equal(d->enabled[VFIO_PCI_MSI_IRQ_INDEX], 0);
}

static void msix_is_enabled_early_with_fewer_vectors_than_msi_has(void **state)
{
	struct fake *d = new_device();
	char error[256];

	d->msix_vectors = 2;
	assert_int_equal(create(d, error, sizeof(error)), 0);
	assert_int_equal(pci_function_attach(d->f, NULL, &msi_ops, d), 0);
	enable_msix(d);
	assert_int_equal(d->enabled[VFIO_PCI_MSIX_IRQ_INDEX], 2);
	set_vector(d, 1, 0x1000, 101);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 1);
	wait_for(&d->messages, 1);
	*state = d;
	teardown(state);
}

static void errors_and_requests_of_the_host_are_passed_on(void **state)
{
	struct fake *d = *state;

	raise_irq(d, VFIO_PCI_ERR_IRQ_INDEX, 0);
	wait_for(&d->errors, 1);
	raise_irq(d, VFIO_PCI_REQ_IRQ_INDEX, 0);
	wait_for(&d->wanted, 1);
}

/* --- resets and life ---------------------------------------------------------------------------------- */

static void a_function_level_reset_resets_the_device_and_its_interrupts(void **state)
{
	struct fake *d = *state;
	unsigned resets = d->resets;

	enable_msix(d);
	set_vector(d, 0, 0x1000, 100);
	config_write(d, AT_EXPRESS + 8, 2, 0x8000);
	assert_int_equal(d->resets, resets + 1);
	assert_int_equal(d->enabled[VFIO_PCI_MSIX_IRQ_INDEX], 0);
	assert_int_equal(d->fds[VFIO_PCI_MSIX_IRQ_INDEX][0], -1);
	assert_false(pci_function_msix_enabled(d->f));
	assert_int_equal(command_of(d) & PCI_COMMAND_MASTER, 0);
	/* The guest's request itself has not reached it. */
	assert_int_equal(load_le16(d->config + AT_EXPRESS + 8), 0);
	/* And it works again. */
	enable_msix(d);
	set_vector(d, 0, 0x1000, 101);
	raise_irq(d, VFIO_PCI_MSIX_IRQ_INDEX, 0);
	wait_for(&d->messages, 1);
}

static void a_host_that_is_busy_is_asked_again_for_the_reset(void **state)
{
	struct fake *d = *state;
	unsigned resets = d->resets;

	d->busy = 3;
	pci_function_reset(d->f);
	assert_int_equal(d->resets, resets + 1);
	assert_int_equal(d->busy, 0);
}

static void it_is_reset_at_the_beginning_and_at_the_end(void **state)
{
	struct fake *d = new_device();
	char error[256];

	assert_int_equal(create(d, error, sizeof(error)), 0);
	assert_int_equal(d->resets, 1);
	pci_function_free(d->f);
	assert_int_equal(d->resets, 2);
	assert_true(d->closed);
	irq_sources_destroy(d->sources);
	free(d);
}

static void expect_refusal(struct fake *d, const char *part)
{
	char error[256] = "";

	assert_int_not_equal(create(d, error, sizeof(error)), 0);
	if (!strstr(error, part))
		fail_msg("\"%s\" is not in \"%s\"", part, error);
	assert_false(d->closed);
	irq_sources_destroy(d->sources);
	free(d);
}

static void what_is_no_function_is_refused(void **state)
{
	struct fake *d = new_device();

	d->config[PCI_HEADER_TYPE] = 1;
	expect_refusal(d, "bridge");
	d = new_device();
	memset(d->config, 0xff, sizeof(d->config));
	expect_refusal(d, "does not answer");
	d = new_device();
	store_le32(d->config + AT_MSIX + 4, 3); /* in a BAR that is not there */
	expect_refusal(d, "MSI-X");
	d = new_device();
	d->config_size = 64;
	expect_refusal(d, "config space");
}

static void lists_of_capabilities_that_are_loops_or_overlap_do_no_harm(void **state)
{
	for (unsigned seed = 0; seed < 2000; seed++) {
		struct fake *d = new_device();
		unsigned at, steps = 0;
		char error[256];

		srand(seed);
		for (at = AT_PM; at < PCI_CONFIG_SIZE; at++)
			d->config[at] = (uint8_t)(rand() & (seed % 3 ? 0xff : 0x14));
		d->config[PCI_CAPABILITY_LIST] = (uint8_t)rand();
		d->config_size = seed & 1 ? PCI_CONFIG_SIZE : 256;
		if (!create(d, error, sizeof(error))) {
			for (at = 0; at < PCI_CONFIG_SIZE; at += 4) {
				uint32_t value = config_read(d, at, 4);

				config_write(d, at, 4, value | (uint32_t)rand());
			}
			/* What the guest sees is a list, and ends. */
			at = config_read(d, PCI_CAPABILITY_LIST, 1);
			while (at && steps++ < 64)
				at = config_read(d, at + 1, 1);
			assert_true(steps < 64);
			pci_function_free(d->f);
		}
		irq_sources_destroy(d->sources);
		free(d);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* --- what is told to a person: once, as a guest may cause it again and again ------------------- */

struct listening {
	int pipe[2], kept;
};

static void listen_begin(struct listening *l)
{
	l->kept = dup(STDERR_FILENO);
	assert_int_equal(pipe(l->pipe), 0);
	dup2(l->pipe[1], STDERR_FILENO);
}

/* One line has been said, and this is in it. */
static void listen_end(struct listening *l, const char *part)
{
	char text[2000];
	ssize_t length;

	dup2(l->kept, STDERR_FILENO);
	close(l->kept);
	close(l->pipe[1]);
	length = read(l->pipe[0], text, sizeof(text) - 1);
	close(l->pipe[0]);
	assert_true(length > 0);
	text[length] = 0;
	if (!strstr(text, part) || strchr(text, '\n') != text + length - 1)
		fail_msg("not one line with \"%s\": %s", part, text);
}

static void unmap_that_fails_is_told_to_libzpci_and_once_to_a_person(void **state)
{
	struct fake *d = *state;
	const struct zpci_mapping_ops *ops = d->made.mapping;
	struct listening l;

	d->unmap_error = -ENOMEM;
	listen_begin(&l);
	for (unsigned i = 0; i < 3; i++)
		if (ops->unmap(d->made.mapping_opaque, 0x100000000, 0x1000) != -ENOMEM)
			d->fails = true;
	listen_end(&l, "does not unmap");
	assert_false(d->fails);
}

static void interrupts_that_the_host_does_not_have_are_told_once(void **state)
{
	struct fake *d = *state;
	struct listening l;

	listen_begin(&l);
	enable_msix(d);
	for (unsigned i = 0; i < 10; i++) {
		bar_write(d, 0, TABLE + 16 * (DEVICE_VECTORS_AT_ONCE + i) + 12, 4, 0);
		bar_write(d, 0, TABLE + 16 * DEVICE_VECTORS_AT_ONCE + 12, 4, i & 1);
	}
	listen_end(&l, "has no interrupt for vector 40");
}

static void resets_that_fail_are_told_once(void **state)
{
	struct fake *d = *state;
	struct listening l;

	listen_begin(&l);
	d->reset_error = -EIO;
	for (unsigned i = 0; i < 3; i++)
		pci_function_reset(d->f);
	listen_end(&l, "could not be reset");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_list_of_capabilities_has_what_a_guest_may_see),
		TEST(the_extended_list_is_without_what_concerns_the_host),
		TEST(the_header_is_that_of_one_function_without_interrupt_line_and_rom),
		TEST(bars_are_sized_without_the_device),
		TEST(a_devices_own_registers_are_read_and_written_there),
		TEST(what_cannot_be_read_is_all_ones_and_the_rest_stays),
		TEST(the_power_state_is_kept_from_the_device),
		TEST(the_device_is_bus_master_if_the_guest_and_the_gate_want_it),
		TEST(unmap_that_fails_is_told_to_libzpci_and_once_to_a_person),
		TEST(interrupts_that_the_host_does_not_have_are_told_once),
		TEST(resets_that_fail_are_told_once),
		TEST(what_is_mapped_is_touched_directly),
		TEST(what_is_not_mapped_is_one_access_of_the_guests_length),
		TEST(what_is_half_mapped_is_not_cut_in_two),
		TEST(a_block_store_is_one_write),
		TEST(the_table_of_msix_is_ours_where_it_is_mapped),
		TEST(a_vector_of_msix_sends_the_guests_message),
		TEST(more_vectors_are_asked_for_as_they_are_unmasked),
		TEST(vectors_that_can_be_added_are_added),
		TEST(a_vector_that_the_host_does_not_have_takes_none_away),
		TEST(eventfds_that_are_made_blocking_hold_up_no_guest_that_disables_them),
		TEST(msi_has_as_many_vectors_as_the_guest_enables),
		cmocka_unit_test(msix_is_enabled_early_with_fewer_vectors_than_msi_has),
		TEST(errors_and_requests_of_the_host_are_passed_on),
		TEST(a_function_level_reset_resets_the_device_and_its_interrupts),
		TEST(a_host_that_is_busy_is_asked_again_for_the_reset),
		cmocka_unit_test(it_is_reset_at_the_beginning_and_at_the_end),
		cmocka_unit_test(what_is_no_function_is_refused),
		cmocka_unit_test(lists_of_capabilities_that_are_loops_or_overlap_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
