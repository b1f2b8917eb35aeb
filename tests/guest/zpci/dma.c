/* SPDX-License-Identifier: MIT */
/* Functions that do DMA when they are told to; see dma.h. */
#include "zpci/dma.h"

#include "../../../src/devices/testdev_regs.h"

#define PATTERN 0x1122334455667788ull
#define STEP 0x0101010101010101ull

static bool in_error(const struct dma *d)
{
	return !answered(insn_pcilg(place(d->f->fh, CONFIG_SPACE, 4), 0, NULL), CC(0));
}

/* ---- testdev ---- */

static uint64_t testdev_read(const struct dma *d, uint64_t reg)
{
	return bar_read(d->f, TESTDEV_BAR_REGISTERS, reg, 8);
}

static void testdev_write(const struct dma *d, uint64_t reg, uint64_t value)
{
	bar_write(d->f, TESTDEV_BAR_REGISTERS, reg, 8, value);
}

static void testdev_transfer(struct dma *d, unsigned operation, uint64_t address)
{
	testdev_write(d, TESTDEV_DMA_ADDRESS, address);
	testdev_write(d, TESTDEV_DMA_LENGTH, DMA_LENGTH);
	testdev_write(d, TESTDEV_DMA_PATTERN, PATTERN);
	testdev_write(d, TESTDEV_DMA_STEP, STEP);
	testdev_write(d, TESTDEV_DMA_COMMAND, operation);
	wait_for(in_error(d) || !(testdev_read(d, TESTDEV_DMA_STATUS) & TESTDEV_STATUS_BUSY),
		 PATIENCE);
}

/* ---- virtio entropy ---- */

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_ENTROPY 0x1044
#define CAPABILITY_VENDOR 9
#define VIRTIO_COMMON 1
#define VIRTIO_NOTIFY 2

enum {
	FEATURE_SELECT = 0x00,
	DRIVER_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	STATUS_REGISTER = 0x14,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_DESCRIPTORS = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
};

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8
#define STATUS_NEEDS_RESET 0x40
#define FEATURE_INDIRECT (1u << 28)
#define FEATURE_VERSION_1 1u /* bits 32 and 33 */
#define FEATURE_ACCESS_PLATFORM 2u

#define RING_SIZE 8u
#define RING_DESCRIPTORS 0x000
#define RING_DRIVER 0x100
#define RING_DEVICE 0x200
#define RING_BUFFER 0x400
#define DESCRIPTOR_WRITE 2
#define DESCRIPTOR_INDIRECT 4
#define NO_VECTOR 0xffff

struct descriptor { /* little-endian */
	uint64_t address;
	uint32_t length;
	uint16_t flags;
	uint16_t next;
};

static void common_write(const struct dma *d, unsigned reg, unsigned length, uint64_t value)
{
	if (length == 8) {
		common_write(d, reg, 4, value & 0xffffffff);
		common_write(d, reg + 4, 4, value >> 32);
		return;
	}
	bar_write(d->f, d->common_bar, d->common + reg, length, value);
}

static uint64_t common_read(const struct dma *d, unsigned reg, unsigned length)
{
	return bar_read(d->f, d->common_bar, d->common + reg, length);
}

static bool entropy_find(struct dma *d)
{
	unsigned at = config_read(d->f, 0x34, 1);
	uint64_t multiplier = 0;

	if (d->f->vendor != VIRTIO_VENDOR || d->f->device != VIRTIO_ENTROPY)
		return false;
	d->common = d->notify = ~0ull;
	for (unsigned left = 48; at && left; left--) {
		if (config_read(d->f, at, 1) == CAPABILITY_VENDOR) {
			unsigned kind = config_read(d->f, at + 3, 1);
			unsigned bar = config_read(d->f, at + 4, 1);
			uint64_t offset = config_read(d->f, at + 8, 4);

			if (kind == VIRTIO_COMMON) {
				d->common_bar = bar;
				d->common = offset;
			} else if (kind == VIRTIO_NOTIFY) {
				d->notify_bar = bar;
				d->notify = offset;
				multiplier = config_read(d->f, at + 16, 4);
			}
		}
		at = config_read(d->f, at + 1, 1);
	}
	/* Queue 0 notifies at offset 0, whatever the multiplier. */
	return d->common != ~0ull && d->notify != ~0ull && multiplier != 0xffffffff;
}

static void entropy_start(struct dma *d)
{
	uint64_t service = d->service_bus;

	common_write(d, STATUS_REGISTER, 1, 0);
	wait_for(common_read(d, STATUS_REGISTER, 1) == 0, PATIENCE);
	memset(d->service, 0, PAGE_SIZE);
	d->requests = 0;
	common_write(d, STATUS_REGISTER, 1, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	common_write(d, DRIVER_SELECT, 4, 0);
	common_write(d, DRIVER_FEATURE, 4, FEATURE_INDIRECT);
	common_write(d, DRIVER_SELECT, 4, 1);
	common_write(d, DRIVER_FEATURE, 4, FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM);
	common_write(d, STATUS_REGISTER, 1,
		     STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	common_write(d, CONFIG_VECTOR, 2, NO_VECTOR);
	common_write(d, QUEUE_SELECT, 2, 0);
	common_write(d, QUEUE_SIZE, 2, RING_SIZE);
	common_write(d, QUEUE_VECTOR, 2, d->entry);
	common_write(d, QUEUE_DESCRIPTORS, 8, service + RING_DESCRIPTORS);
	common_write(d, QUEUE_DRIVER, 8, service + RING_DRIVER);
	common_write(d, QUEUE_DEVICE, 8, service + RING_DEVICE);
	common_write(d, QUEUE_ENABLE, 2, 1);
	common_write(d, STATUS_REGISTER, 1,
		     STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

static void entropy_request(struct dma *d, uint64_t address, unsigned flags)
{
	volatile struct descriptor *descriptor = (void *)(d->service + RING_DESCRIPTORS);
	volatile uint16_t *driver = (void *)(d->service + RING_DRIVER);
	volatile uint16_t *device = (void *)(d->service + RING_DEVICE);

	descriptor->address = swap(address, 8);
	descriptor->length = __builtin_bswap32(DMA_LENGTH);
	descriptor->flags = __builtin_bswap16(flags);
	driver[2 + d->requests % RING_SIZE] = 0;
	d->requests++;
	serialize();
	driver[1] = __builtin_bswap16(d->requests);
	serialize();
	bar_write(d->f, d->notify_bar, d->notify, 2, 0);
	wait_for(device[1] == __builtin_bswap16(d->requests) || in_error(d) ||
			 common_read(d, STATUS_REGISTER, 1) & STATUS_NEEDS_RESET,
		 PATIENCE);
}

/* ---- Both ---- */

void dma_service_at(struct dma *d, uint64_t bus)
{
	d->service_bus = bus;
	d->buffer = bus + RING_BUFFER;
}

bool dma_find(struct dma *d, struct function *f)
{
	memset(d, 0, sizeof(*d));
	d->f = f;
	dma_service_at(d, f->query.sdma + DMA_SERVICE);
	d->service = frames(PAGE_SIZE, PAGE_SIZE);
	msix_find(f, &d->msix);
	if (f->vendor == TESTDEV_PCI_VENDOR && f->device == TESTDEV_PCI_DEVICE &&
	    testdev_read(d, TESTDEV_ID) == TESTDEV_ID_VALUE)
		d->kind = DMA_TESTDEV;
	else if (entropy_find(d))
		d->kind = DMA_ENTROPY;
	return d->kind != DMA_NONE;
}

void dma_start(struct dma *d)
{
	config_write(d->f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (d->kind == DMA_ENTROPY)
		entropy_start(d);
}

void dma_store(struct dma *d, uint64_t address)
{
	if (d->kind == DMA_TESTDEV)
		testdev_transfer(d, TESTDEV_OP_FILL, address);
	else if (d->kind == DMA_ENTROPY)
		entropy_request(d, address, DESCRIPTOR_WRITE);
}

void dma_put(struct dma *d, void *absolute)
{
	if (d->kind == DMA_TESTDEV) {
		((uint64_t *)absolute)[0] = swap(PATTERN, 8);
		((uint64_t *)absolute)[1] = swap(PATTERN + STEP, 8);
	} else {
		struct descriptor *descriptor = absolute;

		descriptor->address = swap(d->buffer, 8);
		descriptor->length = __builtin_bswap32(DMA_LENGTH);
		descriptor->flags = __builtin_bswap16(DESCRIPTOR_WRITE);
		descriptor->next = 0;
	}
}

bool dma_load(struct dma *d, uint64_t address)
{
	const volatile uint64_t *buffer = (void *)(d->service + RING_BUFFER);

	if (d->kind == DMA_TESTDEV) {
		testdev_transfer(d, TESTDEV_OP_COMPARE, address);
		return !in_error(d) && testdev_read(d, TESTDEV_DMA_RESULT) == ~0ull &&
		       testdev_read(d, TESTDEV_DMA_STATUS) == 0;
	}
	memset(d->service + RING_BUFFER, 0, DMA_LENGTH);
	entropy_request(d, address, DESCRIPTOR_INDIRECT);
	return buffer[0] || buffer[1];
}

void dma_messages_on(struct dma *d)
{
	msix_switch(d->f, &d->msix, true);
	/* QEMU's device takes a vector only while MSI-X is on. */
	if (d->kind == DMA_ENTROPY)
		common_write(d, QUEUE_VECTOR, 2, d->entry);
}

void dma_message(struct dma *d)
{
	if (d->kind == DMA_TESTDEV)
		testdev_write(d, TESTDEV_FIRE, d->entry);
	else if (d->kind == DMA_ENTROPY)
		entropy_request(d, d->buffer, DESCRIPTOR_WRITE);
}
