/* SPDX-License-Identifier: MIT */
/*
 * A hostile server at the client of vfio-user.
 *
 * The client connects to it, makes a function of what it says, and uses that as a guest
 * would: registers, config space, interrupts, mappings, resets. The server's answers, and
 * what it asks for in between, come from the input. Wrong are: a crash, a sanitizer's
 * finding, a client that waits for ever, a byte changed in memory that was not mapped
 * for it at that time, and registers that are mapped when the function has gone.
 *
 *	user_client_fuzz [-max_total_time=SECONDS] [CORPUS]
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/irq_sources.h"
#include "base/util.h"
#include "devices/device.h"
#include "vfio/user_protocol.h"
#include "vfio/user_ring.h"
#include "zpci/pci.h"
#include "zpci/zpci.h"

#include "input.h"

#define PAGES 16u
#define BUS 0x100000000ull
#define OPERATIONS_MAX 60
#define ANSWERS_MAX 2000
#define FILLING 0x33 /* of memory; the server stores 0xee */

struct fuzz {
	char path[64];
	int listener;
	int file; /* sealed: registers that may be mapped */
	uint8_t *memory;
	struct device_host host;
	struct irq_sources *sources;
	pthread_t thread;
	atomic_bool quit;
	/* The server's, in its thread. */
	struct input in;
	uint8_t buffer[USER_PAYLOAD_MAX], answer[8192];
};

/* --- the server ---------------------------------------------------------------------------- */

static void send_message(int socket, struct user_header *header, const void *payload, size_t length,
			 const int *fd)
{
	const struct iovec part = { (void *)(uintptr_t)payload, length };
	uint32_t size = header->size;

	if (size == sizeof(*header) + length) {
		(void)user_message_write(socket, header, &part, 1, fd, fd ? 1 : 0,
					 deadline_in_ms(5000));
	} else {
		(void)!send(socket, header, sizeof(*header), MSG_NOSIGNAL);
		(void)!send(socket, payload, length, MSG_NOSIGNAL);
	}
}

static void ask_for_memory(struct fuzz *f, int socket)
{
	bool write = take(&f->in, 1) & 1;
	uint8_t where = (uint8_t)take(&f->in, 1);
	struct user_dma_access access = {
		.address = where < 250 ? BUS + where % (PAGES + 2) * PAGE_SIZE + take(&f->in, 1) :
					 take(&f->in, 8),
		.count = where & 1 ? take(&f->in, 2) : 64,
	};
	size_t length = sizeof(access);
	struct user_header header = { .id = 9, .command = write ? USER_DMA_WRITE : USER_DMA_READ };

	memcpy(f->answer, &access, sizeof(access));
	if (write) {
		length += MIN(access.count, 4096u);
		memset(f->answer + sizeof(access), 0xee, length - sizeof(access));
	}
	header.size = (uint32_t)(sizeof(header) + length);
	send_message(socket, &header, f->answer, length, NULL);
}

/* A config space that a function can be made of, if the input does not change it. */
static void make_config(uint8_t *config)
{
	static const uint8_t head[] = { 0x34, 0x12, 0x54, 0x5a, 0, 0, 0x10, 0, 1, 2, 8, 1 };
	static const uint8_t capability[] = { 0x11, 0, 7, 0, 0x00, 0x20, 0, 0, 0, 0x30, 0, 0 };

	memset(config, 0, 4096);
	memcpy(config, head, sizeof(head));
	config[0x10] = 4;
	config[0x34] = 0x40;
	memcpy(config + 0x40, capability, sizeof(capability));
}

/* Which parts of region 2 can be mapped: a list, another one each time, or none. */
static size_t make_areas(struct fuzz *f, struct user_region_info *region)
{
	struct vfio_region_info_cap_sparse_mmap sparse = {
		{ VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 }, .nr_areas = take(&f->in, 1) & 3
	};
	size_t length = sizeof(*region) + sizeof(sparse);

	if (!sparse.nr_areas)
		return sizeof(*region);
	for (unsigned i = 0; i < sparse.nr_areas; i++) {
		uint8_t what = (uint8_t)take(&f->in, 1);
		struct vfio_region_sparse_mmap_area area = {
			.offset = (what & 3) * PAGE_SIZE,
			.size = (what >> 2 & 3) * PAGE_SIZE,
		};

		memcpy(f->answer + length, &area, sizeof(area));
		length += sizeof(area);
	}
	region->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	region->cap_offset = sizeof(*region);
	memcpy(f->answer + sizeof(*region), &sparse, sizeof(sparse));
	return length;
}

/* Version 0.1; what else there is follows from how much there is to come. */
static size_t make_version(struct fuzz *f)
{
	memcpy(f->answer, "\0\0\1\0", 4);
	return 4 + 1 +
	       (size_t)sprintf((char *)f->answer + 4, "{\"capabilities\":{\"max_msg_fds\":8%s%s}}",
			       f->in.size & 1 ? ",\"zvisor_ring\":true" : "",
			       f->in.size & 2 ? ",\"zvisor_posted_maps\":true" : "");
}

/* It says that it looks there, for ever, and never does. */
static void watch_ring(const struct user_message *message)
{
	struct user_ring *ring = message->fds.count ? user_ring_open(message->fds.fd[0]) : NULL;

	if (ring)
		user_ring_watch(ring, true);
	user_ring_free(ring);
}

static size_t make_answer(struct fuzz *f, const struct user_message *message)
{
	struct user_device_info device = { 16, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI, 9,
					   5 };
	struct user_region_info region = { .argsz = 32 };
	struct user_irq_info irq = { 16, VFIO_IRQ_INFO_EVENTFD, 0, 1 };
	struct user_region_access access = { 0 };
	uint8_t config[4096];
	size_t length;

	switch (message->header.command) {
	case USER_VERSION:
		return make_version(f);
	case USER_RING:
		watch_ring(message);
		return 0;
	case USER_DEVICE_GET_INFO:
		memcpy(f->answer, &device, sizeof(device));
		return sizeof(device);
	case USER_DEVICE_GET_REGION_INFO:
		if (message->length >= sizeof(region))
			memcpy(&region, message->payload, sizeof(region));
		region.flags = 3 | (region.index == 2 ? VFIO_REGION_INFO_FLAG_MMAP : 0);
		region.size = region.index == 0 ? 0x4000 :
			      region.index == 2 ? 0x2000 :
			      region.index == 7 ? 4096 :
						  0;
		region.cap_offset = 0;
		length = region.index == 2 ? make_areas(f, &region) : sizeof(region);
		memcpy(f->answer, &region, sizeof(region));
		return length;
	case USER_DEVICE_GET_IRQ_INFO:
		if (message->length >= sizeof(irq))
			irq.count = message->payload[8] == 2 ? 8 : 1;
		memcpy(f->answer, &irq, sizeof(irq));
		return sizeof(irq);
	case USER_REGION_READ:
		memcpy(&access, message->payload, sizeof(access));
		access.count = MIN(access.count, 4096u);
		memcpy(f->answer, message->payload, sizeof(access));
		memset(f->answer + sizeof(access), 0x11, access.count);
		make_config(config);
		if (access.region == VFIO_PCI_CONFIG_REGION_INDEX &&
		    range_fits(access.offset, access.count, sizeof(config)))
			memcpy(f->answer + sizeof(access), config + access.offset, access.count);
		return sizeof(access) + access.count;
	case USER_REGION_WRITE:
		memcpy(f->answer, message->payload, 16);
		return 16;
	case USER_DMA_UNMAP:
		memcpy(f->answer, message->payload, 24);
		return 24;
	default:
		return 0;
	}
}

/* True: go on with this client. */
static bool answer(struct fuzz *f, int socket, struct user_message *message)
{
	size_t length = make_answer(f, message);
	struct user_header header = message->header;
	uint8_t twist = (uint8_t)take(&f->in, 1);
	bool mapped = message->header.command == USER_DEVICE_GET_REGION_INFO;

	header.flags = USER_TYPE_REPLY;
	header.error = 0;
	while (twist >= 0xf0 && f->in.size) {
		ask_for_memory(f, socket);
		twist = (uint8_t)take(&f->in, 1);
	}
	if (message->header.flags & USER_NO_REPLY && twist < 0xc0)
		return true;
	if ((twist & 0xf0) == 0xa0 && length)
		f->answer[take(&f->in, 2) % length] = (uint8_t)take(&f->in, 1);
	if ((twist & 0xf0) == 0xb0)
		length = take(&f->in, 2) % sizeof(f->answer);
	if (twist == 0xc1)
		header.id++;
	if (twist == 0xc2)
		header.flags |= USER_ERROR, header.error = (uint32_t)take(&f->in, 1), length = 0;
	if (twist == 0xc3)
		header.flags = (uint32_t)take(&f->in, 1);
	if (twist == 0xc4)
		header.command = (uint16_t)take(&f->in, 1);
	if (twist == 0xc5)
		return false;
	header.size = (uint32_t)(sizeof(header) + length);
	if (twist == 0xc6)
		header.size = (uint32_t)take(&f->in, 4);
	send_message(socket, &header, f->answer, length, mapped || twist == 0xc7 ? &f->file : NULL);
	return twist != 0xc6;
}

static void serve(struct fuzz *f, int socket)
{
	const struct timeval limit = { .tv_sec = 5 };
	struct user_message message;
	const char *why;

	setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	for (unsigned i = 0; i < ANSWERS_MAX; i++) {
		bool more;

		if (user_message_read(socket, &message, f->buffer, NULL, &why))
			return;
		more = (message.header.flags & USER_TYPE_MASK) != USER_TYPE_COMMAND ||
		       answer(f, socket, &message);
		user_fds_close(&message.fds);
		if (!more)
			return;
	}
}

static void *server(void *opaque)
{
	struct fuzz *f = opaque;

	while (!f->quit) {
		int socket = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

		if (!f->quit && socket >= 0)
			serve(f, socket);
		if (socket >= 0)
			close(socket);
	}
	return NULL;
}

/* Wake the server out of accept(). */
static void end_server(struct fuzz *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	f->quit = true;
	memcpy(address.sun_path, f->path, sizeof(f->path));
	(void)!connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	pthread_join(f->thread, NULL);
}

/* --- the guest ----------------------------------------------------------------------------------- */

struct guest {
	struct device_made made;
	uint8_t *memory;
	bool open; /* the gate */
	bool mapped[PAGES]; /* of the bus: page n leads to page n of memory */
	bool writable[PAGES]; /* while it is mapped */
	bool stored[PAGES]; /* perhaps, by the server, since it was last filled */
};

/* The server may not store to a page any more: what it has stored before does not matter. */
static void close_page(struct guest *g, unsigned page)
{
	memset(g->memory + page * PAGE_SIZE, FILLING, PAGE_SIZE);
	g->stored[page] = false;
}

static void map_page(struct guest *g, unsigned page, bool writable)
{
	if (!g->made.mapping || g->mapped[page])
		return;
	g->mapped[page] = !g->made.mapping->map(g->made.mapping_opaque, BUS + page * PAGE_SIZE,
						page * PAGE_SIZE, PAGE_SIZE, writable);
	g->writable[page] = writable;
	if (!g->mapped[page])
		close_page(g, page);
	else if (g->open && writable)
		g->stored[page] = true;
}

static void unmap_page(struct guest *g, unsigned page)
{
	if (!g->made.mapping)
		return;
	g->made.mapping->unmap(g->made.mapping_opaque, BUS + page * PAGE_SIZE, PAGE_SIZE);
	g->mapped[page] = false;
	close_page(g, page);
}

static void set_gate(struct guest *g, bool open)
{
	if (!g->made.mapping)
		return;
	g->made.mapping->gate(g->made.mapping_opaque, open);
	g->open = open;
	for (unsigned page = 0; page < PAGES; page++) {
		if (!open)
			close_page(g, page);
		else if (g->mapped[page] && g->writable[page])
			g->stored[page] = true;
	}
}

static void use(struct guest *g, struct input *in)
{
	struct pci_function *function = g->made.function;
	uint8_t what = (uint8_t)take(in, 1), where = (uint8_t)take(in, 1);
	uint64_t value;
	uint8_t block[128] = { 0 };

	switch (what % 9) {
	case 0:
		pci_function_bar_read(function, where % 3, where * 8u, 8, &value);
		break;
	case 1:
		pci_function_bar_write(function, where % 3, where * 4u, 4, where);
		break;
	case 2:
		pci_function_bar_write_block(function, where % 3, where * 8u, block, sizeof(block));
		break;
	case 3:
		pci_function_config_read(function, where * 4u, 4);
		break;
	case 4:
		pci_function_config_write(function, where % 0x60 & ~3u, 4, (uint32_t)take(in, 4));
		break;
	case 5:
		map_page(g, where % PAGES, where & 0x80);
		break;
	case 6:
		unmap_page(g, where % PAGES);
		break;
	case 7:
		set_gate(g, where & 1);
		break;
	default:
		pci_function_reset(function);
	}
}

static void check_memory(const struct fuzz *f, const struct guest *g)
{
	for (unsigned page = 0; page < PAGES; page++) {
		for (unsigned i = 0; !g->stored[page] && i < PAGE_SIZE; i++) {
			if (f->memory[page * PAGE_SIZE + i] == FILLING)
				continue;
			fprintf(stderr, "page %u has changed, and was not mapped\n", page);
			abort();
		}
	}
}

/* Left over, or mapped over something else. */
static void check_registers(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "memfd:registers")) {
			fprintf(stderr, "registers are still mapped: %s", line);
			abort();
		}
	}
	if (maps)
		fclose(maps);
}

static void unplug_wanted(void *opaque, uint32_t fid)
{
}

static struct fuzz *set_up(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fuzz *f = calloc(1, sizeof(*f));
	int memory = memfd_create("memory", MFD_CLOEXEC);

	snprintf(f->path, sizeof(f->path), "/tmp/user-client-fuzz-%d", getpid());
	memcpy(address.sun_path, f->path, sizeof(f->path));
	unlink(f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f->file = memfd_create("registers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (bind(f->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(f->listener, 8) || ftruncate(memory, PAGES * PAGE_SIZE) ||
	    ftruncate(f->file, 0x4000) || fcntl(f->file, F_ADD_SEALS, F_SEAL_SHRINK))
		abort();
	f->memory = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	f->host = (struct device_host){
		.memory = f->memory,
		.memory_size = PAGES * PAGE_SIZE,
		.memory_fd = memory,
		.unplug_wanted = unplug_wanted,
	};
	f->sources = irq_sources_create();
	return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz *f;
	struct input in = { data, size / 2 };
	struct guest g = { 0 };
	struct device_config config;
	char text[128], error[DEVICE_ERROR_MAX];

	if (!f)
		f = set_up();
	memset(f->memory, FILLING, PAGES * PAGE_SIZE);
	g.memory = f->memory;
	f->in = (struct input){ data + size / 2, size - size / 2 };
	f->quit = false;
	snprintf(text, sizeof(text), "vfio-user,socket=%s,share-memory=%s", f->path,
		 take(&in, 1) & 1 ? "on" : "off");
	if (device_parse(text, &config, error, sizeof(error)) ||
	    pthread_create(&f->thread, NULL, server, f))
		abort();
	config.irq_sources = f->sources;
	if (!device_create_on(&config, "fuzzed", &f->host, &g.made, error, sizeof(error))) {
		set_gate(&g, true);
		pci_function_config_write(g.made.function, PCI_COMMAND, 2,
					  PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
		for (unsigned i = 0; i < OPERATIONS_MAX && in.size; i++)
			use(&g, &in);
		pci_function_free(g.made.function);
	}
	end_server(f);
	check_memory(f, &g);
	check_registers();
	device_config_clear(&config);
	return 0;
}
