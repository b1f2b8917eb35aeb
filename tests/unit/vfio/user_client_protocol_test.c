/* SPDX-License-Identifier: MIT */
/*
 * The client of vfio-user, and a server that answers as it should, but for the one message
 * at which a test has it say something else.
 */
#include "fake_server.h"
#include "peer.h"

#include <endian.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/irq_sources.h"
#include "base/log.h"
#include "base/util.h"
#include "devices/device.h"
#include "dma/dma.h"
#include "pci/host.h"
#include "zpci/pci.h"
#include "zpci/zpci.h"

#define PAGES 16u
#define IOVA 0x100000000ull
#define VALUE(offset) (0xabc00000ull + (offset)) /* of a register */
#define MAPPED_VALUE 0x77 /* of each byte in the file of BAR 2 */
#define BAR2_SIZE 0x4000u

/* --- what is said to a person ---------------------------------------------------------------- */

#define LINES_MAX 16
static struct {
	pthread_mutex_t lock;
	unsigned count;
	char text[LINES_MAX][400];
} lines = { .lock = PTHREAD_MUTEX_INITIALIZER };

void log_line(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	pthread_mutex_lock(&lines.lock);
	vsnprintf(lines.text[lines.count++ % LINES_MAX], sizeof(lines.text[0]), format, args);
	pthread_mutex_unlock(&lines.lock);
	va_end(args);
}

void log_write(const char *text, unsigned long length)
{
}

static unsigned count_lines(void)
{
	unsigned count;

	pthread_mutex_lock(&lines.lock);
	count = lines.count;
	pthread_mutex_unlock(&lines.lock);
	return count;
}

/* --- the server ------------------------------------------------------------------------------ */

struct fake;

/* Answers a command in its own way; false: hang up. In the server's thread: no asserts. */
typedef bool twist_function(struct fake *f, int socket, struct user_message *message);

struct fake {
	struct fake_server server;
	int file; /* of BAR 2 */

	pthread_mutex_t lock; /* guards: */
	unsigned command; /* the next one of these is for `twist` */
	unsigned skip; /* but so many first */
	twist_function *twist;
	bool always; /* and all that come after it */
	const char *text; /* whatever a twist goes by */
	uint32_t number;
	size_t length;
	uint8_t bytes[256];
	int results[16];

	/* The thread's: what a twist goes by, when its turn has come. */
	struct {
		const char *text;
		uint32_t number;
		size_t length;
		uint8_t bytes[256];
	} now;
	uint8_t buffer[USER_PAYLOAD_MAX], answer[8192];
};

static void reply(int socket, const struct user_message *message, uint32_t flags, uint32_t error,
		  const void *payload, size_t length, const int *fd)
{
	const struct user_header header = {
		.id = message->header.id,
		.command = message->header.command,
		.size = (uint32_t)(sizeof(header) + length),
		.flags = USER_TYPE_REPLY | flags,
		.error = error,
	};

	peer_send_raw(socket, &header, payload, length, fd, fd ? 1 : 0);
}

/* Vendor and device, a BAR 0 and a BAR 2, and MSI-X with 8 vectors behind the registers. */
static void make_config(uint8_t *config)
{
	static const uint8_t head[] = { 0x34, 0x12, 0x78, 0x56, 0, 0, 0x10, 0, 1, 0, 0, 0xff };
	static const uint8_t msix[] = { 0x11, 0, 7, 0, 0x00, 0x20, 0, 0, 0, 0x30, 0, 0 };

	memset(config, 0, 4096);
	memcpy(config, head, sizeof(head));
	config[0x34] = 0x40;
	memcpy(config + 0x40, msix, sizeof(msix));
}

static size_t read_region(struct fake *f, const struct user_message *message)
{
	struct user_region_access access;
	uint64_t value;
	uint8_t config[4096];

	memcpy(&access, message->payload, sizeof(access));
	access.count = MIN(access.count, 4096u);
	memcpy(f->answer, &access, sizeof(access));
	memset(f->answer + sizeof(access), 0, access.count);
	make_config(config);
	value = htole64(VALUE(access.offset));
	if (access.region == VFIO_PCI_CONFIG_REGION_INDEX)
		memcpy(f->answer + sizeof(access), config + access.offset % 4096,
		       MIN(access.count, 4096 - access.offset % 4096));
	else
		memcpy(f->answer + sizeof(access), &value, MIN(access.count, sizeof(value)));
	return sizeof(access) + access.count;
}

/* In f->answer; 0: as any other server would. */
static size_t make_answer(struct fake *f, const struct user_message *message)
{
	struct user_region_info region;
	struct user_irq_info irq;
	size_t length = 0;

	switch (message->header.command) {
	case USER_DEVICE_GET_REGION_INFO:
		memcpy(&region, message->payload, sizeof(region));
		region.argsz = sizeof(region);
		region.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
		region.size = region.index == 0				   ? 0x4000 :
			      region.index == 2				   ? BAR2_SIZE :
			      region.index == VFIO_PCI_CONFIG_REGION_INDEX ? 4096 :
									     0;
		memcpy(f->answer, &region, length = sizeof(region));
		break;
	case USER_DEVICE_GET_IRQ_INFO:
		memcpy(&irq, message->payload, sizeof(irq));
		irq.flags = VFIO_IRQ_INFO_EVENTFD;
		irq.count = irq.index == VFIO_PCI_MSIX_IRQ_INDEX ? 8 :
			    irq.index == VFIO_PCI_ERR_IRQ_INDEX	 ? 1 :
								   0;
		memcpy(f->answer, &irq, length = sizeof(irq));
		break;
	case USER_REGION_READ:
		length = read_region(f, message);
		break;
	}
	return length;
}

static bool answer(struct fake *f, int socket, struct user_message *message)
{
	size_t length = make_answer(f, message);

	if (length)
		reply(socket, message, 0, 0, f->answer, length, NULL);
	return length;
}

/* Is it to be answered in another way? NULL: no. */
static twist_function *take_twist(struct fake *f, unsigned command)
{
	twist_function *twist = NULL;

	pthread_mutex_lock(&f->lock);
	if (f->twist && f->command == command && (!f->skip || !f->skip--)) {
		twist = f->twist;
		f->now.text = f->text;
		f->now.number = f->number;
		f->now.length = f->length;
		memcpy(f->now.bytes, f->bytes, sizeof(f->bytes));
		if (!f->always)
			f->twist = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	return twist;
}

static bool answer_or_twist(struct fake_server *server, int socket, struct user_message *message)
{
	struct fake *f = server->opaque;
	twist_function *twist;

	if ((message->header.flags & USER_TYPE_MASK) != USER_TYPE_COMMAND)
		return true;
	twist = take_twist(f, message->header.command);
	if (!twist)
		return answer(f, socket, message);
	if (!twist(f, socket, message))
		shutdown(socket, SHUT_RDWR);
	return true;
}

static bool read_message(struct fake *f, int socket, struct user_message *message)
{
	const char *why;

	return !user_message_read(socket, message, f->buffer, 0, &why);
}

static void twist_from(struct fake *f, unsigned command, unsigned skip, bool always,
		       twist_function *twist)
{
	pthread_mutex_lock(&f->lock);
	f->command = command;
	f->skip = skip;
	f->always = always;
	f->twist = twist;
	pthread_mutex_unlock(&f->lock);
}

static void twist_at(struct fake *f, unsigned command, twist_function *twist)
{
	twist_from(f, command, 0, false, twist);
}

/* --- the guest ------------------------------------------------------------------------------- */

struct world {
	struct fake fake;
	struct device_host host;
	struct irq_sources *sources;
	struct pci_dma_space *space; /* of nothing; a function that is attached has one */
	struct dma_memory nothing;
	struct device_made made;
	atomic_uint errors;
	unsigned descriptors; /* that were open before */
	char error[DEVICE_ERROR_MAX];
};

static unsigned open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void unplug_wanted(void *opaque, uint32_t fid)
{
}

static void on_error(void *opaque, enum pci_error error)
{
	((struct world *)opaque)->errors++;
}

static void on_vector(void *opaque, bool msix, unsigned vector)
{
}

static const struct pci_msi_ops msi_ops = { .notify = on_vector, .error = on_error };
static const struct dma_space_ops space_ops;

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct fake *f = &w->fake;
	const unsigned descriptors = open_descriptors();
	int memory = peer_memory(PAGES * PAGE_SIZE, true);
	uint8_t *bar;

	w->descriptors = descriptors;
	f->file = peer_memory(BAR2_SIZE, true);
	bar = mmap(NULL, BAR2_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->file, 0);
	assert_ptr_not_equal(bar, MAP_FAILED);
	memset(bar, MAPPED_VALUE, BAR2_SIZE);
	munmap(bar, BAR2_SIZE);
	pthread_mutex_init(&f->lock, NULL);
	f->server.registers = -1;
	f->server.answer = answer_or_twist;
	f->server.opaque = f;
	fake_server_start(&f->server);

	w->host = (struct device_host){
		.memory = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory,
			       0),
		.memory_size = PAGES * PAGE_SIZE,
		.memory_fd = memory,
		.unplug_wanted = unplug_wanted,
	};
	assert_ptr_not_equal(w->host.memory, MAP_FAILED);
	w->sources = irq_sources_create();
	w->space = dma_space_new(&w->nothing, &space_ops, w);
	lines.count = 0;
	*state = w;
	return 0;
}

/* What the server did before it answered has been done before what comes now. */
static void settle(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	pthread_mutex_unlock(&f->lock);
}

static int create(struct world *w, const char *more)
{
	struct device_config config;
	char text[128];
	int rc;

	snprintf(text, sizeof(text), "vfio-user,socket=%s%s", w->fake.server.path, more);
	assert_int_equal(device_parse(text, &config, w->error, sizeof(w->error)), 0);
	config.irq_sources = w->sources;
	w->made = (struct device_made){ 0 };
	rc = device_create_on(&config, "client0", &w->host, &w->made, w->error, sizeof(w->error));
	device_config_clear(&config);
	settle(&w->fake);
	if (!rc)
		assert_int_equal(pci_function_attach(w->made.function, w->space, &msi_ops, w), 0);
	return rc;
}

static void destroy(struct world *w)
{
	if (w->made.function)
		pci_function_free(w->made.function);
	w->made.function = NULL;
}

static uint64_t load(struct world *w, unsigned bar, uint64_t offset)
{
	uint64_t value = 0;

	assert_int_equal(pci_function_bar_read(w->made.function, bar, offset, 8, &value), 0);
	settle(&w->fake);
	return value;
}

static int setup_created(void **state)
{
	struct world *w;

	setup(state);
	w = *state;
	assert_int_equal(create(w, ",share-memory=off"), 0);
	w->made.mapping->gate(w->made.mapping_opaque, true);
	pci_function_config_write(w->made.function, PCI_COMMAND, 2,
				  PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	load(w, 0, 0); /* it has been told of it */
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct fake *f = &w->fake;

	destroy(w);
	fake_server_stop(&f->server);
	close(f->file);
	dma_space_free(w->space);
	irq_sources_destroy(w->sources);
	munmap(w->host.memory, PAGES * PAGE_SIZE);
	close(w->host.memory_fd);
	/* Whatever the server has sent along is closed. */
	assert_int_equal(open_descriptors(), w->descriptors);
	free(w);
	return 0;
}

/* One line has been said since there were `before`, and this is in it. */
static void expect_line(unsigned before, const char *text)
{
	for (unsigned i = 0; count_lines() == before; i++) {
		assert_in_range(i, 0, PEER_PATIENCE_MS);
		usleep(1000);
	}
	assert_int_equal(count_lines(), before + 1);
	if (!strstr(lines.text[before % LINES_MAX], text))
		fail_msg("\"%s\" is not in \"%s\"", text, lines.text[before % LINES_MAX]);
}

/*
 * The connection has ended for this reason: a line says so, the function is in error, its
 * registers are gone; and a reset brings it all back.
 */
static void expect_gone(struct world *w, const char *why)
{
	unsigned before;

	/* Its own thread tells; it may have done so already. */
	expect_line(0, why);
	for (unsigned i = 0; !w->errors; i++) {
		assert_in_range(i, 0, PEER_PATIENCE_MS);
		usleep(1000);
	}
	assert_true(load(w, 0, 0) == UINT64_MAX);
	pci_function_bar_write(w->made.function, 0, 0, 4, 1);
	assert_int_equal(w->errors, 1);
	before = count_lines();
	pci_function_reset(w->made.function);
	expect_line(before, "again");
	assert_true(load(w, 0, 0) == VALUE(0));
	assert_int_equal(w->errors, 1);
}

/* --- the version ----------------------------------------------------------------------------- */

static bool say_version(struct fake *f, int socket, struct user_message *message)
{
	struct {
		struct user_version version;
		char text[512];
	} hello = { { (uint16_t)(f->now.number >> 16), (uint16_t)f->now.number }, "" };

	memcpy(hello.text, f->now.text, f->now.length);
	reply(socket, message, 0, 0, &hello, 4 + f->now.length, NULL);
	return true;
}

static int create_with_version(struct world *w, uint32_t version, const char *text, size_t length)
{
	w->fake.number = version;
	w->fake.text = text;
	w->fake.length = length;
	twist_at(&w->fake, USER_VERSION, say_version);
	return create(w, "");
}

static void what_a_server_need_not_say_it_need_not_say(void **state)
{
	static const char *const texts[] = {
		"{}",
		"{\"capabilities\":{}}",
		"{\"capabilities\":{\"unheard_of\":[1,{\"a\":null}],\"max_msg_fds\":1}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":4096}},\"more\":1}",
		"{\"capabilities\":{\"max_msg_fds\":1000000000000,\"pgsizes\":2101248}}",
	};
	struct world *w = *state;

	/* An older minor version has all that is used here; and no text is needed. */
	assert_int_equal(create_with_version(w, 0, "", 0), 0);
	assert_true(load(w, 0, 8) == VALUE(8));
	destroy(w);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(create_with_version(w, 1, texts[i], strlen(texts[i]) + 1), 0);
		assert_true(load(w, 0, 8) == VALUE(8));
		destroy(w);
	}
	assert_int_equal(count_lines(), 0);
}

static void version_that_cannot_be_used_is_refused_in_a_line(void **state)
{
	static const struct {
		uint32_t version;
		const char *text, *error;
	} cases[] = {
		{ 2, "{}", "version 0.2" },
		{ 0x10000, "{}", "version 1.0" },
		{ 1, "{", "not a JSON object" },
		{ 1, "[]", "not a JSON object" },
		{ 1, "{\"capabilities\":1}", "not an object" },
		{ 1, "{\"capabilities\":{\"max_msg_fds\":\"8\"}}", "not a number" },
		{ 1, "{\"capabilities\":{\"max_dma_maps\":-1}}", "not a number" },
		{ 1, "{\"capabilities\":{\"max_data_xfer_size\":1.5}}", "not a number" },
		{ 1, "{\"capabilities\":{\"pgsizes\":65536}}", "pages of 4 KiB" },
		{ 1, "{\"capabilities\":{\"max_msg_fds\":0}}", "too little" },
		{ 1, "{\"capabilities\":{\"max_dma_maps\":0}}", "too little" },
		{ 1, "{\"capabilities\":{\"max_data_xfer_size\":7}}", "too little" },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(create_with_version(w, cases[i].version, cases[i].text,
						strlen(cases[i].text) + 1) < 0);
		if (!strstr(w->error, cases[i].error) || !strstr(w->error, w->fake.server.path))
			fail_msg("%s: \"%s\"", cases[i].text, w->error);
	}
	assert_true(create_with_version(w, 1, "{}", 2) < 0);
	assert_non_null(strstr(w->error, "NUL"));
	/* Memory that is not shared takes no descriptor. */
	w->fake.text = "{\"capabilities\":{\"max_msg_fds\":0}}";
	w->fake.length = strlen(w->fake.text) + 1;
	twist_at(&w->fake, USER_VERSION, say_version);
	assert_int_equal(create(w, ",share-memory=off"), 0);
	assert_int_equal(count_lines(), 0);
}

/* --- what the device is ---------------------------------------------------------------------- */

static bool say_bytes(struct fake *f, int socket, struct user_message *message)
{
	reply(socket, message, 0, 0, f->now.bytes, f->now.length, NULL);
	return true;
}

static bool say_error(struct fake *f, int socket, struct user_message *message)
{
	reply(socket, message, USER_ERROR, f->now.number, NULL, 0, NULL);
	return true;
}

static bool hang_up(struct fake *f, int socket, struct user_message *message)
{
	return false;
}

static void expect_refusal(struct world *w, const char *error)
{
	assert_true(create(w, "") < 0);
	if (!strstr(w->error, error))
		fail_msg("\"%s\" is not in \"%s\"", error, w->error);
}

static void server_that_cannot_say_what_its_device_is_is_refused(void **state)
{
	static const unsigned needed[] = { USER_VERSION,
					   USER_DEVICE_GET_INFO,
					   USER_DEVICE_GET_REGION_INFO,
					   USER_DEVICE_GET_IRQ_INFO,
					   USER_REGION_READ,
					   USER_DEVICE_RESET };
	struct user_device_info device = { 16, VFIO_DEVICE_FLAGS_PCI, 9, 5 };
	struct world *w = *state;
	struct fake *f = &w->fake;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		f->number = EIO;
		twist_at(f, needed[i], say_error);
		assert_true(create(w, "") < 0);
		twist_at(f, needed[i], hang_up);
		assert_true(create(w, "") < 0);
		/* Less than what was asked for. A reset has nothing to say. */
		f->length = 3;
		twist_at(f, needed[i], say_bytes);
		assert_true(create(w, "") < 0);
		/* More. */
		f->length = 200;
		twist_at(f, needed[i], say_bytes);
		assert_true(create(w, "") < 0);
	}
	f->length = sizeof(device);
	device.flags = 0;
	memcpy(f->bytes, &device, sizeof(device));
	twist_at(f, USER_DEVICE_GET_INFO, say_bytes);
	expect_refusal(w, "no PCI function");
	device.flags = VFIO_DEVICE_FLAGS_PCI;
	device.regions = 7;
	memcpy(f->bytes, &device, sizeof(device));
	twist_at(f, USER_DEVICE_GET_INFO, say_bytes);
	expect_refusal(w, "no PCI function");
	/* With more than there can be, and with an index that there is not, it is usable. */
	device = (struct user_device_info){ 16, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
					    UINT32_MAX, UINT32_MAX };
	memcpy(f->bytes, &device, sizeof(device));
	twist_at(f, USER_DEVICE_GET_INFO, say_bytes);
	assert_int_equal(create(w, ""), 0);
	destroy(w);
	f->number = EINVAL;
	twist_at(f, USER_DEVICE_GET_IRQ_INFO, say_error);
	assert_int_equal(create(w, ""), 0);
	destroy(w);
	f->number = EINVAL;
	twist_from(f, USER_DEVICE_GET_REGION_INFO, 2, false, say_error);
	assert_int_equal(create(w, ""), 0);
	assert_int_equal(pci_function_bar_size(w->made.function, 2), 0);
	destroy(w);
	assert_int_equal(count_lines(), 0);
}

/* A region that can be mapped, in areas: what the reply says is in `bytes`. */
static bool say_region(struct fake *f, int socket, struct user_message *message)
{
	struct user_region_info info;

	memcpy(&info, message->payload, sizeof(info));
	if (info.index != 2)
		return answer(f, socket, message);
	reply(socket, message, 0, 0, f->now.bytes, f->now.length, &f->file);
	return true;
}

struct sparse {
	struct user_region_info info;
	struct peer_sparse sparse;
	struct vfio_region_sparse_mmap_area area[4];
};

static const struct sparse sparse_usual = {
	.info = {
		.argsz = sizeof(struct sparse),
		.flags = 7 | VFIO_REGION_INFO_FLAG_CAPS,
		.index = 2,
		.cap_offset = sizeof(struct user_region_info),
		.size = BAR2_SIZE,
	},
	.sparse = { .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
		    .nr_areas = 1 },
	.area = { { 0x1000, 0x1000 } },
};

static int create_sparse(struct world *w, const struct sparse *sparse, size_t length)
{
	struct fake *f = &w->fake;

	memcpy(f->bytes, sparse, sizeof(*sparse));
	f->length = length;
	twist_from(f, USER_DEVICE_GET_REGION_INFO, 0, true, say_region);
	return create(w, "");
}

/* Which of the BAR's pages are mapped, as a mask; what is not is read by message. */
static unsigned mapped_pages(struct world *w)
{
	unsigned mask = 0;

	for (unsigned page = 0; page < BAR2_SIZE / PAGE_SIZE; page++) {
		uint64_t value = load(w, 2, page * PAGE_SIZE + 8);

		if (value == MAPPED_VALUE * 0x0101010101010101ull)
			mask |= 1u << page;
		else
			assert_true(value == VALUE(page * PAGE_SIZE + 8));
	}
	return mask;
}

static void expect_mapped(struct world *w, const struct sparse *sparse, size_t length,
			  unsigned mask)
{
	assert_int_equal(create_sparse(w, sparse, length), 0);
	assert_int_equal(mapped_pages(w), mask);
	destroy(w);
}

static void areas_are_mapped_as_far_as_they_make_sense(void **state)
{
	const size_t all = sizeof(struct sparse);
	struct sparse s = sparse_usual;
	struct world *w = *state;

	expect_mapped(w, &s, all, 1u << 1);
	s.sparse.nr_areas = 3;
	s.area[1] = (struct vfio_region_sparse_mmap_area){ 0x2000, 0x2000 };
	s.area[2] = (struct vfio_region_sparse_mmap_area){ 0, 0 };
	expect_mapped(w, &s, all, 0xe);
	/* Outside of the region, of the address space. */
	s.area[1] = (struct vfio_region_sparse_mmap_area){ 0x3000, 0x2000 };
	s.area[2] = (struct vfio_region_sparse_mmap_area){ UINT64_MAX - 0xfff, 0x2000 };
	expect_mapped(w, &s, all, 1u << 1);
	/* Not at a page. */
	s.area[1] = (struct vfio_region_sparse_mmap_area){ 0x2010, 0x1000 };
	expect_mapped(w, &s, all, 1u << 1);
	/* More areas than came. */
	s = sparse_usual;
	s.sparse.nr_areas = UINT32_MAX;
	expect_mapped(w, &s, all, 1u << 1);
	expect_mapped(w, &s, offsetof(struct sparse, area) + 15, 0);
	expect_mapped(w, &s, sizeof(s.info) + 15, 0xf); /* no list: the region is one area */
	/* No such list: the region as a whole. */
	s = sparse_usual;
	s.info.cap_offset = 0;
	expect_mapped(w, &s, all, 0xf);
	s.info.cap_offset = UINT32_MAX;
	expect_mapped(w, &s, all, 0xf);
	s.info.cap_offset = (uint32_t)all - 4;
	expect_mapped(w, &s, all, 0xf);
	s = sparse_usual;
	s.sparse.header.id = 77;
	s.sparse.header.next = s.info.cap_offset; /* round and round */
	expect_mapped(w, &s, all, 0xf);
	s.sparse.header.next = UINT32_MAX;
	expect_mapped(w, &s, all, 0xf);
	/* Beyond the end of the file. */
	s = sparse_usual;
	s.info.offset = 0x2000;
	expect_mapped(w, &s, all, 1u << 1);
	s.info.offset = 0x3000;
	expect_mapped(w, &s, all, 0);
	s.info.offset = UINT64_MAX - 0xfff;
	expect_mapped(w, &s, all, 0);
	/* A file that could shrink is not touched. */
	close(w->fake.file);
	w->fake.file = peer_memory(BAR2_SIZE, false);
	expect_mapped(w, &sparse_usual, all, 0);
	assert_int_equal(count_lines(), 0);
}

/* --- what ends a connection ------------------------------------------------------------------ */

/* In what a message differs from the right reply; `text` of the server is one. */
struct wrong {
	const char *why;
	int id, command, size, payload;
	uint32_t flags;
	bool hang_up, fd, right_first;
};

static bool say_wrong(struct fake *f, int socket, struct user_message *message)
{
	const struct wrong *wrong = (const struct wrong *)f->now.text;
	struct user_header header = {
		.id = (uint16_t)(message->header.id + wrong->id),
		.command = wrong->command ? (uint16_t)wrong->command : message->header.command,
		.flags = wrong->flags,
	};
	size_t length = make_answer(f, message) + (size_t)wrong->payload;

	if (wrong->right_first)
		reply(socket, message, 0, 0, f->answer, length, NULL);
	header.size = (uint32_t)(sizeof(header) + length + (size_t)wrong->size);
	peer_send_raw(socket, &header, f->answer, length, &f->file, wrong->fd);
	return !wrong->hang_up;
}

static void message_that_is_wrong_ends_the_connection_and_a_reset_makes_another(void **state)
{
	const int payload = sizeof(struct user_region_access) + 8;
	const struct wrong cases[] = {
		{ .why = "larger than what was asked for", .flags = 1, .payload = 8 },
		{ .why = "nobody has asked for it", .flags = 1, .id = 1 },
		{ .why = "nobody has asked for it", .flags = 1, .right_first = true },
		{ .why = "another one was asked for", .flags = 1, .command = USER_REGION_WRITE },
		{ .why = "neither command nor reply", .flags = 3 },
		{ .why = "unknown flags", .flags = 0x41 },
		{ .why = "an unknown command", .flags = 1, .command = 40 },
		{ .why = "a size below that of a header", .flags = 1, .size = -payload - 8 },
		{ .why = "too large", .flags = 1, .size = USER_PAYLOAD_MAX },
		{ .why = "it ends too early", .flags = 1, .size = 8, .hang_up = true },
		{ .why = "it ends too early",
		  .flags = 1,
		  .payload = -payload,
		  .size = payload,
		  .hang_up = true },
		{ .why = "not the server's to send", .command = USER_DEVICE_RESET },
		{ .why = "not the server's to send", .command = USER_VERSION },
		{ .why = "it has file descriptors", .command = USER_DMA_READ, .fd = true },
		{ .why = "it has the wrong size", .command = USER_DMA_READ },
		{ .why = "it has the wrong size", .command = USER_DMA_READ, .payload = -payload },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w->errors = 0;
		w->fake.text = (const char *)&cases[i];
		twist_at(&w->fake, USER_REGION_READ, say_wrong);
		/* One that comes after the right one is as good as lost. */
		assert_true(load(w, 0, 0x18) == (cases[i].right_first ? VALUE(0x18) : UINT64_MAX));
		expect_gone(w, cases[i].why);
		assert_int_equal(w->fake.server.connections, i + 2);
		lines.count = 0;
	}
}

static void server_that_dies_is_told_of_though_nobody_asks(void **state)
{
	struct world *w = *state;

	fake_server_drop(&w->fake.server);
	expect_line(0, "the other side has closed the connection");
	expect_gone(w, "closed the connection");
}

static void what_was_mapped_is_told_to_a_server_that_comes_back(void **state)
{
	struct world *w = *state;
	unsigned before;

	assert_int_equal(w->made.mapping->map(w->made.mapping_opaque, IOVA, 0, 3 * PAGE_SIZE, true),
			 0);
	load(w, 0, 0); /* what was posted has been seen */
	assert_int_equal(w->fake.server.commands[USER_DMA_MAP], 3);
	twist_at(&w->fake, USER_REGION_READ, hang_up);
	load(w, 0, 0);
	expect_line(0, "closed the connection");
	/* It is another one, and of no use: registers stay away. */
	before = w->fake.server.connections;
	w->fake.length = sizeof(struct user_region_access) + 4;
	memset(w->fake.bytes, 0x55, w->fake.length);
	twist_from(&w->fake, USER_REGION_READ, 0, true, say_bytes); /* its vendor and device */
	pci_function_reset(w->made.function);
	expect_line(1, "another device");
	assert_int_equal(w->fake.server.connections, before + 1);
	assert_true(load(w, 0, 0) == UINT64_MAX);
	assert_int_equal(w->fake.server.commands[USER_DMA_MAP], 3);
	/* Again, that is no news; but each time the function is in error. */
	for (unsigned i = 0; w->errors < 2; i++) {
		assert_in_range(i, 0, PEER_PATIENCE_MS);
		usleep(1000);
	}
	pci_function_reset(w->made.function);
	for (unsigned i = 0; w->errors < 3; i++) {
		assert_in_range(i, 0, PEER_PATIENCE_MS);
		usleep(1000);
	}
	assert_int_equal(count_lines(), 2);
	twist_at(&w->fake, USER_REGION_READ, answer);
	pci_function_reset(w->made.function);
	expect_line(2, "again");
	assert_true(load(w, 0, 0) == VALUE(0));
	assert_int_equal(w->fake.server.commands[USER_DMA_MAP], 6);
	w->made.mapping->unmap(w->made.mapping_opaque, IOVA, 3 * PAGE_SIZE);
	assert_int_equal(count_lines(), 3);
}

/* --- errors that are answers ----------------------------------------------------------------- */

static void error_of_the_server_is_the_guests_and_not_the_connections(void **state)
{
	const uint8_t block[64] = { 0 };
	struct world *w = *state;
	struct fake *f = &w->fake;

	f->number = EIO;
	twist_at(f, USER_REGION_READ, say_error);
	assert_true(load(w, 0, 0) == UINT64_MAX);
	/* No error and nothing else either; less than was asked for. */
	f->number = 0;
	twist_at(f, USER_REGION_READ, say_error);
	assert_true(load(w, 0, 0) == UINT64_MAX);
	f->length = sizeof(struct user_region_access) + 7;
	twist_at(f, USER_REGION_READ, say_bytes);
	assert_true(load(w, 0, 0) == UINT64_MAX);
	assert_int_equal(pci_function_bar_write_block(w->made.function, 0, 0, block, 64), 0);
	f->number = ENXIO;
	twist_at(f, USER_REGION_WRITE, say_error);
	assert_int_equal(pci_function_bar_write_block(w->made.function, 0, 0, block, 64), -ENXIO);
	f->number = UINT32_MAX; /* no errno */
	twist_at(f, USER_REGION_WRITE, say_error);
	assert_int_equal(pci_function_bar_write_block(w->made.function, 0, 0, block, 64), -EIO);
	f->number = ENOSPC;
	twist_at(f, USER_DEVICE_RESET, say_error);
	pci_function_reset(w->made.function);
	f->number = ENOSPC;
	twist_at(f, USER_DEVICE_SET_IRQS, say_error);
	pci_function_config_write(w->made.function, 0x42, 2, 0x8000);
	pci_function_config_write(w->made.function, 0x42, 2, 0);
	assert_true(load(w, 0, 0) == VALUE(0));
	assert_int_equal(w->errors, 0);
	assert_int_equal(f->server.connections, 1);
}

static void memory_that_is_not_unmapped_goes_with_the_connection(void **state)
{
	struct world *w = *state;

	assert_int_equal(w->made.mapping->map(w->made.mapping_opaque, IOVA, 0, PAGE_SIZE, true), 0);
	w->fake.number = ENOENT;
	twist_at(&w->fake, USER_DMA_UNMAP, say_error);
	w->made.mapping->unmap(w->made.mapping_opaque, IOVA, PAGE_SIZE);
	expect_line(0, "it does not unmap memory");
	expect_gone(w, "it does not unmap memory");
}

/* --- several at once ------------------------------------------------------------------------- */

/* Answers this one after the next. */
static bool answer_later(struct fake *f, int socket, struct user_message *message)
{
	uint8_t payload[sizeof(struct user_region_access)];
	struct user_message first = *message, second;

	memcpy(payload, message->payload, sizeof(payload));
	first.payload = payload;
	if (!read_message(f, socket, &second))
		return false;
	return answer(f, socket, &second) && answer(f, socket, &first);
}

struct reader {
	struct world *w;
	uint64_t offset, value;
};

static void *read_register(void *opaque)
{
	struct reader *reader = opaque;

	pci_function_bar_read(reader->w->made.function, 0, reader->offset, 8, &reader->value);
	return NULL;
}

static void replies_may_come_in_any_order(void **state)
{
	struct world *w = *state;

	for (unsigned round = 0; round < 20; round++) {
		struct reader readers[2] = { { w, 0x20, 0 }, { w, 0x100, 0 } };
		pthread_t threads[2];

		twist_at(&w->fake, USER_REGION_READ, answer_later);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(
				pthread_create(&threads[i], NULL, read_register, &readers[i]), 0);
		for (unsigned i = 0; i < 2; i++) {
			pthread_join(threads[i], NULL);
			assert_true(readers[i].value == VALUE(readers[i].offset));
		}
	}
	assert_int_equal(count_lines(), 0);
}

/* --- the server asks for memory -------------------------------------------------------------- */

/* 0 or the error of the answer; -1: none came. What was read is in f->answer. */
static int ask_memory(struct fake *f, int socket, unsigned command, uint64_t address,
		      uint64_t count)
{
	struct {
		struct user_dma_access access;
		uint8_t data[2 * PAGE_SIZE];
	} ask = { .access = { address, count } };
	size_t length = sizeof(ask.access) + (command == USER_DMA_WRITE ? count : 0);
	struct user_message got;

	memset(ask.data, 0xee, sizeof(ask.data));
	peer_send(socket, command, 0, &ask, length, NULL, 0);
	if (!read_message(f, socket, &got) || got.header.id != 7 || got.header.command != command)
		return -1;
	if (got.header.flags & USER_ERROR)
		return (int)got.header.error;
	if (got.length != sizeof(ask.access) + (command == USER_DMA_READ ? count : 0) ||
	    memcmp(got.payload, &ask.access, sizeof(ask.access)))
		return -1;
	memcpy(f->answer, got.payload, got.length);
	return 0;
}

/* IOVA: two pages that can be written, then one that cannot, then none. */
static bool ask_before_answering(struct fake *f, int socket, struct user_message *message)
{
	const struct {
		unsigned command;
		uint64_t address, count;
	} asked[] = {
		{ USER_DMA_READ, IOVA + 8, 16 },
		{ USER_DMA_READ, IOVA + PAGE_SIZE - 8, 16 },
		{ USER_DMA_WRITE, IOVA + PAGE_SIZE - 8, 16 },
		{ USER_DMA_READ, IOVA + 2 * PAGE_SIZE, PAGE_SIZE },
		{ USER_DMA_WRITE, IOVA + 2 * PAGE_SIZE, 1 },
		{ USER_DMA_WRITE, IOVA + 2 * PAGE_SIZE - 8, 16 },
		{ USER_DMA_READ, IOVA + 3 * PAGE_SIZE - 1, 2 },
		{ USER_DMA_READ, IOVA - 1, 2 },
		{ USER_DMA_READ, 0, 8 },
		{ USER_DMA_READ, UINT64_MAX - 7, 16 },
		{ USER_DMA_READ, IOVA, 0 },
		{ USER_DMA_WRITE, IOVA, 0 },
	};
	struct user_message kept = *message;
	uint8_t payload[sizeof(struct user_region_access)];

	memcpy(payload, message->payload, sizeof(payload));
	kept.payload = payload;
	for (unsigned i = 0; i < ARRAY_SIZE(asked); i++)
		f->results[i] =
			ask_memory(f, socket, asked[i].command, asked[i].address, asked[i].count);
	return answer(f, socket, &kept);
}

static void memory_is_answered_for_while_a_reply_is_waited_for(void **state)
{
	static const int expected[] = { 0,	0,	0,	0,	EFAULT, EFAULT,
					EFAULT, EFAULT, EFAULT, EINVAL, EINVAL, EINVAL };
	struct world *w = *state;
	uint8_t *memory = w->host.memory;

	/* The bus's pages in memory the other way round. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(w->made.mapping->map(w->made.mapping_opaque, IOVA + i * PAGE_SIZE,
						      (5 - i) * PAGE_SIZE, PAGE_SIZE, i < 2),
				 0);
	memset(memory, 0x44, PAGES * PAGE_SIZE);
	twist_at(&w->fake, USER_REGION_READ, ask_before_answering);
	assert_true(load(w, 0, 0x30) == VALUE(0x30));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(w->fake.results[i], expected[i]);
	for (unsigned i = 0; i < PAGES * PAGE_SIZE; i++) {
		bool written = (i >= 6 * PAGE_SIZE - 8 && i < 6 * PAGE_SIZE) ||
			       (i >= 4 * PAGE_SIZE && i < 4 * PAGE_SIZE + 8);

		assert_int_equal(memory[i], written ? 0xee : 0x44);
	}

	/* What has been taken away, or may not be had now, is not touched. */
	w->made.mapping->unmap(w->made.mapping_opaque, IOVA, PAGE_SIZE);
	twist_at(&w->fake, USER_REGION_READ, ask_before_answering);
	assert_true(load(w, 0, 0x30) == VALUE(0x30));
	assert_int_equal(w->fake.results[0], EFAULT);
	assert_int_equal(w->fake.results[3], 0);
	pci_function_config_write(w->made.function, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	twist_at(&w->fake, USER_REGION_READ, ask_before_answering);
	assert_true(load(w, 0, 0x30) == VALUE(0x30));
	assert_int_equal(w->fake.results[3], EPERM);
	assert_int_equal(count_lines(), 0);
	assert_int_equal(w->errors, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_CREATED(name) cmocka_unit_test_setup_teardown(name, setup_created, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_a_server_need_not_say_it_need_not_say),
		TEST(version_that_cannot_be_used_is_refused_in_a_line),
		TEST(server_that_cannot_say_what_its_device_is_is_refused),
		TEST(areas_are_mapped_as_far_as_they_make_sense),
		TEST_CREATED(message_that_is_wrong_ends_the_connection_and_a_reset_makes_another),
		TEST_CREATED(server_that_dies_is_told_of_though_nobody_asks),
		TEST_CREATED(what_was_mapped_is_told_to_a_server_that_comes_back),
		TEST_CREATED(error_of_the_server_is_the_guests_and_not_the_connections),
		TEST_CREATED(memory_that_is_not_unmapped_goes_with_the_connection),
		TEST_CREATED(replies_may_come_in_any_order),
		TEST_CREATED(memory_is_answered_for_while_a_reply_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
