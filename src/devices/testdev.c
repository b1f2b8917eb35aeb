/* SPDX-License-Identifier: MIT */
/*
 * testdev: a synthetic PCI function that does what a test tells it to. Its
 * registers are in testdev_regs.h; this file has its BARs, its log and its row in
 * the table of devices, testdev_dma.c its transfers, testdev_thread.c its thread
 * and its interrupts.
 */
#include "devices/testdev.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "devices/testdev_device.h"
#include "zpci/pci.h"

#define DEFAULT_VECTORS 32
#define DEFAULT_MEMORY 65536
#define LOG_SIZE (TESTDEV_LOG_ENTRIES * TESTDEV_LOG_ENTRY_SIZE)

/* --- the log ------------------------------------------------------------------------ */

void testdev_log(struct testdev *d, unsigned kind, unsigned outcome, uint64_t length,
		 uint64_t address, uint64_t value)
{
	uint8_t *entry = d->log + d->log_count % TESTDEV_LOG_ENTRIES * TESTDEV_LOG_ENTRY_SIZE;

	d->log_count++;
	store_le64(entry + TESTDEV_LOG_NUMBER, d->log_count);
	store_le64(entry + TESTDEV_LOG_WHAT, kind | outcome << 8 | length << 16);
	store_le64(entry + TESTDEV_LOG_ADDRESS, address);
	store_le64(entry + TESTDEV_LOG_VALUE, value);
}

/* --- registers ------------------------------------------------------------------------ */

/* Registers that keep what was stored. */
static uint64_t *plain_register(struct testdev *d, uint64_t offset)
{
	switch (offset) {
	case TESTDEV_SCRATCH:
		return &d->scratch;
	case TESTDEV_DMA_ADDRESS:
		return &d->parameters.address;
	case TESTDEV_DMA_LENGTH:
		return &d->parameters.length;
	case TESTDEV_DMA_PATTERN:
		return &d->parameters.pattern;
	case TESTDEV_DMA_STEP:
		return &d->parameters.step;
	case TESTDEV_DMA_LOCAL:
		return &d->parameters.local;
	case TESTDEV_DMA_DELAY:
		return &d->parameters.delay_us;
	case TESTDEV_RATE_INTERVAL:
		return &d->rate_interval;
	case TESTDEV_RATE_COUNT:
		return &d->rate_count;
	case TESTDEV_FAIL:
		return &d->fail;
	case TESTDEV_COUNTERS:
	case TESTDEV_COUNTERS + 8:
	case TESTDEV_COUNTERS + 16:
	case TESTDEV_COUNTERS + 24:
		return &d->counters[(offset - TESTDEV_COUNTERS) / 8];
	default:
		return NULL;
	}
}

static uint64_t register_read(struct testdev *d, uint64_t offset)
{
	const uint64_t *plain = plain_register(d, offset);

	if (plain)
		return *plain;
	if (offset >= TESTDEV_LOG)
		return offset - TESTDEV_LOG < LOG_SIZE ? load_le64(d->log + offset - TESTDEV_LOG) :
							 0;
	switch (offset) {
	case TESTDEV_ID:
		return TESTDEV_ID_VALUE;
	case TESTDEV_VECTORS:
		return pci_function_msix_vectors(d->function) |
		       (uint64_t)pci_function_msi_vectors(d->function) << 16;
	case TESTDEV_MEMORY_SIZE:
		return d->memory_size;
	case TESTDEV_RESETS:
		return d->resets;
	case TESTDEV_DMA_COMMAND:
		return d->command;
	case TESTDEV_DMA_STATUS:
		return (d->busy ? TESTDEV_STATUS_BUSY : 0) | (uint64_t)d->last.outcome << 8;
	case TESTDEV_DMA_DONE:
		return d->last.done;
	case TESTDEV_DMA_RESULT:
		return d->last.result;
	case TESTDEV_DMA_COUNT:
		return d->transfers;
	case TESTDEV_DMA_HELD:
		return testdev_dma_held(d);
	case TESTDEV_DMA_REJECTED:
		return d->rejected;
	case TESTDEV_FIRED:
		return d->fired;
	case TESTDEV_RATE:
		return d->rate.active ? d->rate_command : 0;
	case TESTDEV_LOG_COUNT:
		return d->log_count;
	default:
		return 0;
	}
}

static void command(struct testdev *d, uint64_t offset, uint64_t value)
{
	switch (offset) {
	case TESTDEV_DMA_COMMAND:
		testdev_dma_command(d, value);
		break;
	case TESTDEV_FIRE:
		testdev_fire(d, value & 0xffff, MAX(value >> 16 & 0xffff, 1));
		break;
	case TESTDEV_RATE:
		testdev_rate_command(d, value);
		break;
	case TESTDEV_LOG_COUNT:
		d->log_count = 0;
		memset(d->log, 0, LOG_SIZE);
		break;
	case TESTDEV_ERROR:
		if (value == TESTDEV_ERROR_FUNCTION)
			pci_function_raise_error(d->function, PCI_ERROR_FUNCTION);
		else if (value == TESTDEV_ERROR_PERMANENT)
			pci_function_raise_error(d->function, PCI_ERROR_PERMANENT);
		break;
	}
}

static void register_write(struct testdev *d, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t *plain = plain_register(d, offset & ~7ull);
	unsigned shift = 8 * (offset & 7);
	uint64_t mask = size == 8 ? UINT64_MAX : ((1ull << 8 * size) - 1) << shift;

	if (plain)
		*plain = (*plain & ~mask) | (value << shift & mask);
	else if (offset % 8 == 0)
		command(d, offset, value);
}

/* --- plain memory ------------------------------------------------------------------------ */

/* The bytes behind an offset, or NULL: the BAR has no plain memory. */
static uint8_t *plain_memory(struct testdev *d, unsigned bar, uint64_t offset)
{
	switch (bar) {
	case TESTDEV_BAR_MEMORY:
		return d->memory + offset;
	case TESTDEV_BAR_SMALL:
		return d->small + offset;
	default:
		return NULL;
	}
}

/* Accesses are aligned; vCPUs may race, and then see the old or the new value. */
static uint64_t memory_load(const uint8_t *at, unsigned size)
{
	switch (size) {
	case 1:
		return __atomic_load_n(at, __ATOMIC_RELAXED);
	case 2:
		return le16toh(__atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED));
	case 4:
		return le32toh(__atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED));
	default:
		return le64toh(__atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED));
	}
}

static void memory_store(uint8_t *at, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		__atomic_store_n(at, (uint8_t)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)at, htole16((uint16_t)value), __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)at, htole32((uint32_t)value), __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)at, htole64(value), __ATOMIC_RELAXED);
	}
}

/* --- BARs ---------------------------------------------------------------------------------- */

static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct testdev *d = device;
	const uint8_t *plain = plain_memory(d, bar, offset);
	uint64_t value = 0;

	if (plain)
		return memory_load(plain, size);
	pthread_mutex_lock(&d->lock);
	if (bar == TESTDEV_BAR_REGISTERS) {
		value = register_read(d, offset & ~7ull) >> 8 * (offset & 7);
	} else if (bar == TESTDEV_BAR_RECORDER) {
		value = memory_load(d->recorder + offset, size);
		testdev_log(d, TESTDEV_LOG_LOAD, 0, size, offset, value);
	}
	pthread_mutex_unlock(&d->lock);
	return value;
}

static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct testdev *d = device;
	uint8_t *plain = plain_memory(d, bar, offset);

	if (plain) {
		memory_store(plain, size, value);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (bar == TESTDEV_BAR_REGISTERS) {
		register_write(d, offset, size, value);
	} else if (bar == TESTDEV_BAR_RECORDER) {
		memory_store(d->recorder + offset, size, value);
		testdev_log(d, TESTDEV_LOG_STORE, 0, size, offset, value);
	}
	pthread_mutex_unlock(&d->lock);
}

static int record_block(struct testdev *d, uint64_t offset, const void *data, unsigned length)
{
	bool fails = d->fail & TESTDEV_FAIL_BLOCKS;
	uint64_t first = 0;

	memcpy(&first, data, MIN(length, sizeof(first)));
	if (!fails)
		memcpy(d->recorder + offset, data, length);
	testdev_log(d, TESTDEV_LOG_BLOCK, fails ? TESTDEV_DONE_INVALID : TESTDEV_DONE_OK, length,
		    offset, le64toh(first));
	return fails ? -EIO : 0;
}

static int bar_write_block(void *device, unsigned bar, uint64_t offset, const void *data,
			   unsigned length)
{
	struct testdev *d = device;
	uint8_t *plain = plain_memory(d, bar, offset);
	int error = 0;

	if (plain) {
		memcpy(plain, data, length);
		return 0;
	}
	pthread_mutex_lock(&d->lock);
	if (bar == TESTDEV_BAR_RECORDER) {
		error = record_block(d, offset, data, length);
	} else if (bar == TESTDEV_BAR_REGISTERS && offset % 8 == 0 && length % 8 == 0) {
		for (unsigned i = 0; i < length; i += 8)
			register_write(d, offset + i, 8, load_le64((const uint8_t *)data + i));
	} else {
		error = -EINVAL;
	}
	pthread_mutex_unlock(&d->lock);
	return error;
}

/* --- life ---------------------------------------------------------------------------------- */

static void reset(void *device)
{
	struct testdev *d = device;

	pthread_mutex_lock(&d->lock);
	testdev_dma_reset(d);
	d->rate = (struct testdev_rate){ 0 };
	d->rate_interval = d->rate_count = d->rate_command = d->fired = 0;
	d->scratch = d->fail = d->log_count = 0;
	memset(d->counters, 0, sizeof(d->counters));
	/* All zeros again, and gives the memory back. */
	madvise(d->mapping, d->mapping_size, MADV_DONTNEED);
	d->resets++;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

static void counters(void *device, uint64_t counters[PCI_COUNTERS_MAX])
{
	struct testdev *d = device;

	pthread_mutex_lock(&d->lock);
	memcpy(counters, d->counters, sizeof(d->counters));
	pthread_mutex_unlock(&d->lock);
}

static void destroy(void *device)
{
	struct testdev *d = device;

	testdev_thread_end(d);
	if (d->mapping)
		munmap(d->mapping, d->mapping_size);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d->holds);
	free(d);
}

static const struct pci_device_ops testdev_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_write_block = bar_write_block,
	.reset = reset,
	.counters = counters,
	.destroy = destroy,
};

static int map_memory(struct testdev *d)
{
	void *mapping;

	d->mapping_size = d->memory_size + TESTDEV_RECORDER_SIZE + TESTDEV_SMALL_SIZE + LOG_SIZE;
	mapping = mmap(NULL, d->mapping_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapping == MAP_FAILED)
		return -ENOMEM;
	d->mapping = d->memory = mapping;
	d->recorder = d->memory + d->memory_size;
	d->small = d->recorder + TESTDEV_RECORDER_SIZE;
	d->log = d->small + TESTDEV_SMALL_SIZE;
	return 0;
}

static struct testdev *new_testdev(uint64_t memory_size)
{
	struct testdev *d = calloc(1, sizeof(*d));
	pthread_condattr_t attributes;

	if (!d)
		return NULL;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	d->memory_size = memory_size;
	if (map_memory(d)) {
		destroy(d);
		return NULL;
	}
	return d;
}

static int describe(struct pci_function *f, const struct testdev *d, unsigned msix, unsigned msi)
{
	if (pci_function_add_bar(f, TESTDEV_BAR_REGISTERS, TESTDEV_REGISTERS_SIZE, false, false) ||
	    pci_function_add_bar(f, TESTDEV_BAR_RECORDER, TESTDEV_RECORDER_SIZE, false, false) ||
	    pci_function_add_bar(f, TESTDEV_BAR_MEMORY, d->memory_size, true, true) ||
	    pci_function_add_bar(f, TESTDEV_BAR_MSIX, TESTDEV_MSIX_SIZE, false, false) ||
	    pci_function_add_bar(f, TESTDEV_BAR_SMALL, TESTDEV_SMALL_SIZE, false, false) ||
	    pci_function_add_power_management(f) < 0 || pci_function_add_express(f) < 0 ||
	    (msi && pci_function_add_msi(f, msi) < 0) ||
	    (msix && pci_function_add_msix(f, msix, TESTDEV_BAR_MSIX, 0, TESTDEV_BAR_MSIX,
					   TESTDEV_MSIX_PENDING) < 0))
		return -ENOMEM;
	return 0;
}

static uint64_t number_or(const struct device_config *config, const char *property, uint64_t preset)
{
	const struct device_value *value = device_config_value(config, property);

	return value->given ? value->number : preset;
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static int create(const struct device_config *config, const char *name,
		  struct pci_function **function, char *error, size_t error_size)
{
	const struct pci_function_info info = {
		.name = name,
		.vendor_id = TESTDEV_PCI_VENDOR,
		.device_id = TESTDEV_PCI_DEVICE,
		.subsystem_vendor_id = TESTDEV_PCI_VENDOR,
		.class_code = TESTDEV_PCI_CLASS,
		.revision = 1,
		.measurement = (enum pci_measurement)number_or(config, "measurement", 0),
	};
	uint64_t memory_size = number_or(config, "memory", DEFAULT_MEMORY);
	uint64_t msi = number_or(config, "msi", 0);
	struct testdev *d;

	if (!is_power_of_two(memory_size)) {
		snprintf(error, error_size, "device testdev: memory=%llu: wants a power of two",
			 (unsigned long long)memory_size);
		return -EINVAL;
	}
	if (msi && !is_power_of_two(msi)) {
		snprintf(error, error_size, "device testdev: msi=%llu: wants 0 or a power of two",
			 (unsigned long long)msi);
		return -EINVAL;
	}
	d = new_testdev(memory_size);
	if (d)
		d->function = pci_function_new(&info, &testdev_ops, d);
	if (!d || !d->function) {
		if (d)
			destroy(d);
		snprintf(error, error_size, "device testdev: out of memory");
		return -ENOMEM;
	}
	if (describe(d->function, d, (unsigned)number_or(config, "vectors", DEFAULT_VECTORS),
		     (unsigned)msi)) {
		pci_function_free(d->function);
		snprintf(error, error_size, "device testdev: out of memory");
		return -ENOMEM;
	}
	*function = d->function;
	return 0;
}

static const struct device_property properties[] = {
	{ "vectors", DEVICE_NUMBER, .preset = "32", .minimum = 0, .maximum = PCI_MSIX_VECTORS_MAX,
	  .help = "MSI-X vectors" },
	{ "msi", DEVICE_NUMBER, .preset = "0", .minimum = 0, .maximum = 32,
	  .help = "MSI vectors, 0 or a power of two" },
	{ "memory", DEVICE_NUMBER, .preset = "65536", .minimum = PAGE_SIZE, .maximum = GIB,
	  .help = "bytes of plain memory in BAR 2, a power of two" },
	{ "measurement", DEVICE_NUMBER, .preset = "0", .minimum = PCI_MEASURES_DMA,
	  .maximum = PCI_MEASURES_SENT, .help = "format of the measurement block" },
	{ "relaxed-store-block", DEVICE_SWITCH, .preset = "off",
	  .help = "block stores of any length and alignment, as ISM takes them" },
	{ "dma-size", DEVICE_NUMBER, .preset = "all there can be", .minimum = PAGE_SIZE,
	  .maximum = 1ull << 56, .help = "bytes of the range of DMA addresses" },
	{ NULL },
};
static_assert(ARRAY_SIZE(properties) <= DEVICE_PROPERTIES_MAX, "values fit");

const struct device_type testdev_device_type = {
	.name = "testdev",
	.help = "synthetic function for tests: DMA, interrupts and errors on command",
	.properties = properties,
	.store_block_max = PCI_BLOCK_MAX,
	.create = create,
};
