/* SPDX-License-Identifier: MIT */
/*
 * The controller as a PCI function: registers, enabling and disabling, shutdown,
 * reset, and the thread that waits for the host's disk.
 *
 * Disabling does not wait on the vCPU's thread: the queues close at once, so that
 * nothing more is fetched, posted or interrupts, but CSTS.RDY falls only when the
 * last transfer under way has ended. A reset of the function does wait: when it
 * returns, no DMA happens any more.
 *
 * Source: NVM Express Base Specification 1.4, sections 2 (PCI), 3 (registers),
 * 7.3 (resets), 7.6 (initialisation, shutdown).
 */
#include "devices/nvme.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/trace.h"
#include "devices/nvme_controller.h"
#include "devices/nvme_ids.h"

/* BAR 0: registers and doorbells, the MSI-X table, its pending bits. */
#define BAR_SIZE (16 * KIB)
#define BAR_MSIX_TABLE 0x2000
#define BAR_MSIX_PENDING 0x3000
static_assert(NVME_REG_DOORBELLS + 8 * NVME_QUEUES <= BAR_MSIX_TABLE, "doorbells fit");
static_assert(BAR_MSIX_TABLE + 16 * NVME_VECTORS <= BAR_MSIX_PENDING, "table fits");

/* Disabling may have to wait for the host's disk: 20 seconds. */
#define READY_TIMEOUT 40

/* How often the thread looks without being woken up: see block_queue_run(). */
#define TICK_MS 100
#define SHORTAGE_PAUSE_US 1000

static const uint64_t capabilities = NVME_CAP_MQES(NVME_ENTRIES_MAX - 1) | NVME_CAP_CQR |
				     NVME_CAP_TO(READY_TIMEOUT) | NVME_CAP_CSS_NVM |
				     NVME_CAP_MPSMIN(0) | NVME_CAP_MPSMAX(0);

void nvme_wake(struct nvme_controller *c)
{
	uint64_t one = 1;

	/* Fails only when it is already signalled 2^64 - 2 times. */
	(void)!write(c->wake_fd, &one, sizeof(one));
}

void nvme_note(struct nvme_controller *c, uint32_t note)
{
	atomic_fetch_or(&c->notes, note);
}

void nvme_fatal(struct nvme_controller *c)
{
	trace_nvme_phase(c->name, "fatal");
	atomic_fetch_or(&c->csts, NVME_CSTS_CFS);
}

/* --- enable, disable, shutdown: the controller's lock is held ----------------------- */

static bool configuration_is_valid(const struct nvme_register_state *r)
{
	return NVME_CC_CSS(r->cc) == 0 && NVME_CC_MPS(r->cc) == 0 && NVME_CC_AMS(r->cc) == 0 &&
	       NVME_AQA_ASQS(r->aqa) > 0 && NVME_AQA_ACQS(r->aqa) > 0;
}

static void enable(struct nvme_controller *c)
{
	struct nvme_cq *cq = &c->cq[0];

	if (!configuration_is_valid(&c->registers)) {
		trace_nvme_phase(c->name, "not enabled: bad configuration");
		atomic_store(&c->csts, NVME_CSTS_CFS);
		return;
	}
	nvme_events_reset(c);
	pthread_mutex_lock(&cq->lock);
	nvme_features_reset(c);
	c->io_queues_made = false;
	nvme_cq_open(cq, c->registers.acq, NVME_AQA_ACQS(c->registers.aqa) + 1, true, 0);
	nvme_sq_open(&c->sq[0], cq, c->registers.asq, NVME_AQA_ASQS(c->registers.aqa) + 1);
	pthread_mutex_unlock(&cq->lock);
	trace_nvme_phase(c->name, "enabled");
	c->phase = NVME_ENABLED;
	atomic_store(&c->csts, NVME_CSTS_RDY);
	nvme_wake(c); /* begin to tick */
}

static void close_queues(struct nvme_controller *c)
{
	/* From here, nothing of queue 0 executes and no queue is made. */
	pthread_mutex_lock(&c->cq[0].lock);
	for (unsigned id = 1; id < NVME_QUEUES; id++) {
		pthread_mutex_lock(&c->cq[id].lock);
		nvme_cq_close(&c->cq[id]);
		pthread_mutex_unlock(&c->cq[id].lock);
	}
	while (c->async_request_count)
		nvme_release(c->async_requests[--c->async_request_count]);
	nvme_cq_close(&c->cq[0]);
	pthread_mutex_unlock(&c->cq[0].lock);
}

static bool is_quiet(struct nvme_controller *c)
{
	bool quiet = true;

	for (unsigned id = 0; id < NVME_QUEUES && quiet; id++) {
		pthread_mutex_lock(&c->cq[id].lock);
		quiet = !c->cq[id].in_block;
		pthread_mutex_unlock(&c->cq[id].lock);
	}
	return quiet;
}

static void finish_stop(struct nvme_controller *c)
{
	if (c->phase != NVME_STOPPING || !is_quiet(c))
		return;
	trace_nvme_phase(c->name, "disabled");
	c->phase = NVME_DISABLED;
	atomic_store(&c->csts, 0);
	pthread_cond_broadcast(&c->quiet);
	if (c->registers.cc & NVME_CC_EN && !c->resetting)
		enable(c); /* the guest did not wait */
}

static void disable(struct nvme_controller *c)
{
	c->phase = NVME_STOPPING;
	close_queues(c);
	finish_stop(c);
}

void nvme_check_quiet(struct nvme_controller *c)
{
	pthread_mutex_lock(&c->lock);
	finish_stop(c);
	pthread_mutex_unlock(&c->lock);
}

static void set_shutdown_status(struct nvme_controller *c, uint32_t status)
{
	uint32_t old = atomic_load(&c->csts);

	while (!atomic_compare_exchange_weak(&c->csts, &old, (old & ~NVME_CSTS_SHST_MASK) | status))
		;
}

/* Unless the guest has called it off, or has enabled the controller again. */
static void complete_shutdown(struct nvme_controller *c)
{
	uint32_t old = atomic_load(&c->csts);

	while ((old & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_OCCURRING &&
	       !atomic_compare_exchange_weak(
		       &c->csts, &old, (old & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_COMPLETE))
		;
}

/* With the lock of queue 0 held. */
static void flush_for_shutdown(struct nvme_controller *c);

static void shutdown_done(struct block_request *block, int result)
{
	struct nvme_controller *c = container_of(block, struct nvme_controller, shutdown);
	struct nvme_cq *cq = &c->cq[0];

	cq->in_block--;
	if (result)
		nvme_fatal(c); /* there is no other way to say that data may be lost */
	if (c->shutdown_again) {
		flush_for_shutdown(c);
		return;
	}
	c->shutdown_busy = false;
	complete_shutdown(c);
	if (!cq->state.exists && !cq->in_block)
		nvme_note(c, NVME_NOTE_QUIET);
}

static void flush_for_shutdown(struct nvme_controller *c)
{
	struct nvme_cq *cq = &c->cq[0];

	c->shutdown_again = false;
	c->shutdown_busy = true;
	c->shutdown.operation = BLOCK_FLUSH;
	c->shutdown.done = shutdown_done;
	cq->in_block++;
	block_queue_start(cq->blocks, &c->shutdown);
}

static void start_shutdown(struct nvme_controller *c)
{
	struct nvme_cq *cq = &c->cq[0];

	set_shutdown_status(c, NVME_CSTS_SHST_OCCURRING);
	pthread_mutex_lock(&cq->lock);
	/* A flush that is under way may not have what was written since it began. */
	if (c->shutdown_busy)
		c->shutdown_again = true;
	else
		flush_for_shutdown(c);
	pthread_mutex_unlock(&cq->lock);
}

/* --- registers ------------------------------------------------------------------------ */

static void write_cc(struct nvme_controller *c, uint32_t value)
{
	bool shutdown = false;
	uint32_t old;

	trace_nvme_cc(c->name, value);
	pthread_mutex_lock(&c->lock);
	if (c->resetting) {
		pthread_mutex_unlock(&c->lock);
		return;
	}
	old = c->registers.cc;
	value &= NVME_CC_WRITABLE;
	c->registers.cc = value;
	atomic_store(&c->entry_sizes, NVME_CC_IOCQES(value) << 4 | NVME_CC_IOSQES(value));
	if (value & NVME_CC_EN && c->phase == NVME_DISABLED && !(old & NVME_CC_EN)) {
		enable(c);
	} else if (!(value & NVME_CC_EN) && c->phase == NVME_ENABLED) {
		disable(c);
	} else if (!(value & NVME_CC_EN) && c->phase == NVME_DISABLED) {
		atomic_fetch_and(&c->csts, ~NVME_CSTS_CFS); /* a failed enable is over */
	}
	if (NVME_CC_SHN(value) && !NVME_CC_SHN(old)) {
		start_shutdown(c);
		shutdown = true;
	} else if (!NVME_CC_SHN(value) && NVME_CC_SHN(old)) {
		set_shutdown_status(c, 0);
	}
	pthread_mutex_unlock(&c->lock);
	if (shutdown)
		nvme_queue_run(&c->cq[0]);
}

static void write_admin_register(struct nvme_controller *c, uint64_t offset, uint32_t value)
{
	struct nvme_register_state *r = &c->registers;

	pthread_mutex_lock(&c->lock);
	switch (offset) {
	case NVME_REG_AQA:
		r->aqa = value & NVME_AQA_WRITABLE;
		break;
	case NVME_REG_ASQ:
		r->asq = (r->asq & ~0xffffffffull) | (value & PAGE_MASK);
		break;
	case NVME_REG_ASQ + 4:
		r->asq = (uint64_t)value << 32 | (uint32_t)r->asq;
		break;
	case NVME_REG_ACQ:
		r->acq = (r->acq & ~0xffffffffull) | (value & PAGE_MASK);
		break;
	case NVME_REG_ACQ + 4:
		r->acq = (uint64_t)value << 32 | (uint32_t)r->acq;
		break;
	}
	pthread_mutex_unlock(&c->lock);
}

static void write_register(struct nvme_controller *c, uint64_t offset, uint32_t value)
{
	if (offset >= NVME_REG_DOORBELLS) {
		unsigned index = (unsigned)((offset - NVME_REG_DOORBELLS) / 4);

		if (index % 2)
			nvme_ring_cq(c, index / 2, value);
		else
			nvme_ring_sq(c, index / 2, value);
	} else if (offset == NVME_REG_CC) {
		write_cc(c, value);
	} else {
		write_admin_register(c, offset, value);
	}
}

static uint32_t read_register(struct nvme_controller *c, uint64_t offset)
{
	struct nvme_register_state r;

	switch (offset) {
	case NVME_REG_CAP:
		return (uint32_t)capabilities;
	case NVME_REG_CAP + 4:
		return (uint32_t)(capabilities >> 32);
	case NVME_REG_VS:
		return NVME_VERSION_1_4;
	case NVME_REG_CSTS:
		return atomic_load(&c->csts);
	}
	pthread_mutex_lock(&c->lock);
	r = c->registers;
	pthread_mutex_unlock(&c->lock);
	switch (offset) {
	case NVME_REG_CC:
		return r.cc;
	case NVME_REG_AQA:
		return r.aqa;
	case NVME_REG_ASQ:
		return (uint32_t)r.asq;
	case NVME_REG_ASQ + 4:
		return (uint32_t)(r.asq >> 32);
	case NVME_REG_ACQ:
		return (uint32_t)r.acq;
	case NVME_REG_ACQ + 4:
		return (uint32_t)(r.acq >> 32);
	}
	return 0; /* INTMS and INTMC, which MSI-X does not use, and what is not there */
}

/* Registers have 4 bytes, or 8 that may be accessed as two of 4 (3.1). */
static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct nvme_controller *c = device;
	uint64_t value;

	if (offset >= NVME_REG_DOORBELLS)
		return 0;
	if (size == 8)
		return read_register(c, offset) | (uint64_t)read_register(c, offset + 4) << 32;
	value = read_register(c, offset & ~3ull) >> (offset & 3) * 8;
	return size == 4 ? value : value & ((1u << size * 8) - 1);
}

static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct nvme_controller *c = device;

	if (size < 4)
		return; /* not defined for any register */
	write_register(c, offset, (uint32_t)value);
	if (size == 8)
		write_register(c, offset + 4, (uint32_t)(value >> 32));
}

/* --- the thread ------------------------------------------------------------------------- */

static bool is_enabled(struct nvme_controller *c)
{
	return atomic_load(&c->csts) & NVME_CSTS_RDY;
}

static bool has_work(struct nvme_cq *cq)
{
	return atomic_load(&cq->work) || atomic_load(&cq->in_block);
}

static void *thread_main(void *argument)
{
	struct nvme_controller *c = argument;

	while (!atomic_load(&c->quit)) {
		struct pollfd fd = { .fd = c->wake_fd, .events = POLLIN };
		uint64_t count;

		if (poll(&fd, 1, is_enabled(c) ? TICK_MS : -1) > 0)
			(void)!read(c->wake_fd, &count, sizeof(count));
		if (atomic_exchange(&c->short_of_resources, false))
			usleep(SHORTAGE_PAUSE_US);
		for (unsigned id = 0; id < NVME_QUEUES; id++) {
			if (has_work(&c->cq[id]))
				nvme_queue_run(&c->cq[id]);
		}
		nvme_run_notes(c);
	}
	return NULL;
}

/* --- life --------------------------------------------------------------------------------- */

/*
 * As if the guest had cleared CC.EN, and could not set it again: commands that the host
 * has cannot be called back.
 */
static bool quiesce(void *device)
{
	struct nvme_controller *c = device;
	bool quiet;

	pthread_mutex_lock(&c->lock);
	c->resetting = true;
	c->registers.cc &= ~NVME_CC_EN;
	if (c->phase == NVME_ENABLED)
		disable(c);
	finish_stop(c);
	quiet = c->phase == NVME_DISABLED && is_quiet(c);
	if (!quiet)
		nvme_wake(c);
	pthread_mutex_unlock(&c->lock);
	return quiet;
}

static void reset(void *device)
{
	struct nvme_controller *c = device;

	pthread_mutex_lock(&c->lock);
	c->resetting = true;
	if (c->phase == NVME_ENABLED)
		disable(c);
	while (c->phase == NVME_STOPPING || !is_quiet(c)) {
		struct timespec limit;

		/* A shutdown under way in a disabled controller signals nothing: look. */
		clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_nsec += 1000000;
		if (limit.tv_nsec >= 1000000000) {
			limit.tv_nsec -= 1000000000;
			limit.tv_sec++;
		}
		nvme_wake(c);
		pthread_cond_timedwait(&c->quiet, &c->lock, &limit);
		finish_stop(c);
	}
	c->registers = (struct nvme_register_state){ 0 };
	atomic_store(&c->entry_sizes, 0);
	atomic_store(&c->csts, 0);
	c->resetting = false;
	pthread_mutex_unlock(&c->lock);

	nvme_events_reset(c);
	pthread_mutex_lock(&c->cq[0].lock);
	nvme_features_reset(c);
	pthread_mutex_unlock(&c->cq[0].lock);
}

static void destroy(void *device)
{
	struct nvme_controller *c = device;

	if (c->thread_running) {
		atomic_store(&c->quit, true);
		nvme_wake(c);
		pthread_join(c->thread, NULL);
	}
	for (unsigned id = 0; id < NVME_QUEUES; id++)
		nvme_cq_destroy(&c->cq[id]);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	block_close(c->block);
	pthread_mutex_destroy(&c->event_lock);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->quiet);
	free(c);
}

static const struct pci_device_ops nvme_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = reset,
	.destroy = destroy,
	.quiesce = quiesce,
};

/* FNV-1a: the identity has to be the same each time, and nothing more. */
static uint64_t hash(uint64_t seed, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size--)
		seed = (seed ^ *at++) * 0x100000001b3ull;
	return seed;
}

/*
 * Two functions of a guest must differ, and one must be the same after a restart:
 * Linux refuses a second controller with the same subsystem name, and names disks
 * by serial and UUID. So: from where the image is, the serial, and the FID.
 */
static void make_identity(struct nvme_controller *c, const struct device_config *config,
			  const char *path, const char *serial)
{
	struct nvme_identity_state *id = &c->identity;
	char resolved[PATH_MAX], text[sizeof(id->serial) + 1];
	uint32_t fid = config->has_fid ? config->fid : 0;
	uint64_t low = 0xcbf29ce484222325ull, high;

	if (!realpath(path, resolved))
		snprintf(resolved, sizeof(resolved), "%s", path);
	low = hash(low, resolved, strlen(resolved) + 1);
	low = hash(low, &fid, sizeof(fid));
	if (serial)
		low = hash(low, serial, strlen(serial));
	high = hash(low, "uuid", 4);

	snprintf(text, sizeof(text), "ZV%016llX", (unsigned long long)low);
	memset(id->serial, ' ', sizeof(id->serial));
	memcpy(id->serial, serial ? serial : text,
	       MIN(strlen(serial ? serial : text), sizeof(id->serial)));

	store_be64(id->uuid, high);
	store_be64(id->uuid + 8, low);
	id->uuid[6] = (uint8_t)((id->uuid[6] & 0x0f) | 0x80); /* version 8: of our own making */
	id->uuid[8] = (uint8_t)((id->uuid[8] & 0x3f) | 0x80); /* the variant of RFC 9562 */
	store_be64(id->eui64, high ^ low);
	id->eui64[0] = NVME_OUI_0;
	id->eui64[1] = NVME_OUI_1;
	id->eui64[2] = NVME_OUI_2;
}

static int make_function(struct nvme_controller *c, struct pci_function **function)
{
	const struct pci_function_info info = {
		.name = c->name,
		.vendor_id = NVME_PCI_VENDOR,
		.device_id = NVME_PCI_DEVICE,
		.subsystem_vendor_id = NVME_PCI_VENDOR,
		.class_code = NVME_PCI_CLASS,
		.revision = 1,
	};
	struct pci_function *f = pci_function_new(&info, &nvme_ops, c);

	if (!f)
		return -ENOMEM;
	c->function = f;
	*function = f;
	if (pci_function_add_bar(f, 0, BAR_SIZE, true, false) ||
	    pci_function_add_power_management(f) < 0 || pci_function_add_express(f) < 0 ||
	    pci_function_add_msix(f, NVME_VECTORS, 0, BAR_MSIX_TABLE, 0, BAR_MSIX_PENDING) < 0)
		return -EINVAL;
	return 0;
}

/* What does not depend on the image; destroy() undoes it, as far as it came. */
static int init(struct nvme_controller *c, const char *name)
{
	int ret = 0;

	snprintf(c->name, sizeof(c->name), "%s", name);
	clock_gettime(CLOCK_MONOTONIC, &c->created);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->event_lock, NULL);
	pthread_cond_init(&c->quiet, NULL);
	for (uint16_t id = 0; id < NVME_QUEUES && !ret; id++)
		ret = nvme_cq_init(c, id);
	nvme_features_reset(c);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!ret && c->wake_fd < 0)
		ret = -errno;
	return ret;
}

/* `ahead`: what queues take is made now, as far as the host has it. */
static int start(struct nvme_controller *c, bool ahead)
{
	int ret = nvme_cq_prepare(&c->cq[0]);

	for (unsigned id = 1; !ret && ahead && id < NVME_QUEUES; id++)
		if (nvme_cq_prepare(&c->cq[id]))
			break;
	if (!ret)
		ret = -pthread_create(&c->thread, NULL, thread_main, c);
	c->thread_running = !ret;
	if (!ret)
		(void)pthread_setname_np(c->thread, "nvme");
	return ret;
}

static int create(const struct device_config *config, const char *name,
		  struct pci_function **function, char *error, size_t error_size)
{
	const char *path = device_config_value(config, "file")->text;
	const struct device_value *direct = device_config_value(config, "direct");
	const struct block_options options = {
		.path = path,
		.readonly = device_config_value(config, "readonly")->number,
		.direct = !direct->given || direct->number,
	};
	struct nvme_controller *c = calloc(1, sizeof(*c));
	char reason[DEVICE_ERROR_MAX];
	int ret;

	if (!c) {
		snprintf(error, error_size, "device nvme: file=%s: out of memory", path);
		return -ENOMEM;
	}
	ret = init(c, name);
	if (!ret) {
		ret = block_open(&options, &c->block, reason, sizeof(reason));
		if (ret) {
			snprintf(error, error_size, "device nvme: %s", reason);
			destroy(c);
			return ret;
		}
		c->blocks = block_size(c->block) >> NVME_BLOCK_SHIFT;
		c->readonly = options.readonly;
		make_identity(c, config, path, device_config_value(config, "serial")->text);
		ret = start(c, config->ahead);
	}
	if (!ret)
		ret = make_function(c, function);
	if (ret) {
		snprintf(error, error_size, "device nvme: file=%s: %s", path, strerror(-ret));
		if (*function)
			pci_function_free(*function);
		else
			destroy(c);
		*function = NULL;
	}
	return ret;
}

static const struct device_property properties[] = {
	{ "file", DEVICE_PATH, .required = true, .help = "raw image file or block device" },
	{ "serial", DEVICE_TEXT, .preset = "made from the file's name and fid", .minimum = 1,
	  .maximum = 20, .help = "serial number" },
	{ "readonly", DEVICE_SWITCH, .preset = "off", .help = "never write to the file" },
	{ "direct", DEVICE_SWITCH, .preset = "on",
	  .help = "bypass the host's page cache where the file can (O_DIRECT)" },
	{ NULL },
};
static_assert(ARRAY_SIZE(properties) <= DEVICE_PROPERTIES_MAX, "values fit");

const struct device_type nvme_device_type = {
	.name = "nvme",
	.help = "NVM Express 1.4 controller with one namespace",
	.properties = properties,
	.create = create,
};
