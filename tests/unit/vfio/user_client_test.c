/* SPDX-License-Identifier: MIT */
/* The client of vfio-user against servers that are hostile, slow, or somebody else's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/byteorder.h"
#include "base/irq_sources.h"
#include "base/util.h"
#include "devices/device.h"
#include "pci/host.h"
#include "vfio/user_client_internal.h"
#include "zpci/pci.h"
#include "zpci/zpci.h"

#include "fake_server.h"

#define MEMORY_SIZE 0x100000u

/* A function of a server, as a guest has it. */
struct guest {
	struct fake_server server;
	struct device_config config;
	struct device_host host;
	struct device_made made;
};

static void unplug_wanted(void *opaque, uint32_t fid)
{
}

static void connect_guest(struct guest *g, bool share_memory)
{
	char text[128], error[DEVICE_ERROR_MAX] = "";
	int memory = memfd_create("memory", MFD_CLOEXEC);

	assert_true(memory >= 0);
	assert_int_equal(ftruncate(memory, MEMORY_SIZE), 0);
	fake_server_start(&g->server);
	g->host = (struct device_host){
		.memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0),
		.memory_size = MEMORY_SIZE,
		.memory_fd = memory,
		.unplug_wanted = unplug_wanted,
	};
	assert_ptr_not_equal(g->host.memory, MAP_FAILED);
	snprintf(text, sizeof(text), "vfio-user,socket=%s,share-memory=%s", g->server.path,
		 share_memory ? "on" : "off");
	assert_int_equal(device_parse(text, &g->config, error, sizeof(error)), 0);
	g->config.irq_sources = irq_sources_create();
	assert_non_null(g->config.irq_sources);
	if (device_create_on(&g->config, "tested", &g->host, &g->made, error, sizeof(error)))
		fail_msg("%s", error);
	pci_function_config_write(g->made.function, PCI_COMMAND, 2,
				  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void disconnect_guest(struct guest *g)
{
	struct irq_sources *sources = g->config.irq_sources;

	pci_function_free(g->made.function);
	irq_sources_destroy(sources);
	device_config_clear(&g->config);
	fake_server_stop(&g->server);
	munmap(g->host.memory, MEMORY_SIZE);
	close(g->host.memory_fd);
	if (g->server.registers >= 0)
		close(g->server.registers);
	free(g);
}

/* It has no registers that can be mapped, unless a test gives it some. */
static struct guest *new_guest(void)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->server.registers = -1;
	return g;
}

/* Bytes of servers' registers that are mapped here, in all. */
static size_t mapped_registers(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long first, end;
	size_t bytes = 0;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "memfd:registers") && sscanf(line, "%lx-%lx", &first, &end) == 2)
			bytes += end - first;
	fclose(maps);
	return bytes;
}

static uint32_t load(struct guest *g, uint64_t offset)
{
	uint64_t value = 0;

	assert_int_equal(pci_function_bar_read(g->made.function, 0, offset, 4, &value), 0);
	return (uint32_t)value;
}

/* The server closes, and a reset, whether it finds that out or not, connects again. */
static void come_back(struct guest *g)
{
	const unsigned connections = g->server.connections;

	fake_server_drop(&g->server);
	pci_function_reset(g->made.function);
	assert_int_equal(g->server.connections, connections + 1);
}

/* --- a server that has been away --------------------------------------------------------- */

static void registers_of_the_same_device_are_where_they_were(void **state)
{
	struct guest *g = new_guest();
	uint8_t value[4];
	int before = fake_server_registers(FAKE_BAR_SIZE);
	int after = fake_server_registers(FAKE_BAR_SIZE);

	g->server.registers = before;
	g->server.areas = 1;
	g->server.area[0] = (struct vfio_region_sparse_mmap_area){ 0x2000, 0x1000 };
	connect_guest(g, false);
	assert_int_equal(mapped_registers(), 0x1000);
	g->server.registers = after;
	come_back(g);
	pci_function_config_write(g->made.function, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(mapped_registers(), 0x1000);
	store_le32(value, 0x12345678);
	assert_int_equal(pwrite(after, value, sizeof(value), 0x2010), sizeof(value));
	assert_int_equal(load(g, 0x2010), 0x12345678);
	disconnect_guest(g);
	assert_int_equal(mapped_registers(), 0);
	close(before);
}

static void a_server_that_comes_back_with_larger_areas_gets_no_memory(void **state)
{
	struct guest *g = new_guest();

	g->server.registers = fake_server_registers(FAKE_BAR_SIZE);
	g->server.areas = 1;
	g->server.area[0] = (struct vfio_region_sparse_mmap_area){ 0, 0x1000 };
	connect_guest(g, false);
	assert_int_equal(mapped_registers(), 0x1000);
	g->server.areas = 0;
	come_back(g);
	/* The first ones stay, for who is using them; nothing lies around them, or is left over. */
	assert_int_equal(mapped_registers(), 0x1000);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), UINT16_MAX);
	disconnect_guest(g);
	assert_int_equal(mapped_registers(), 0);
}

static void areas_of_another_device_are_not_left_mapped(void **state)
{
	struct guest *g = new_guest();

	g->server.registers = fake_server_registers(FAKE_BAR_SIZE);
	g->server.areas = 1;
	g->server.area[0] = (struct vfio_region_sparse_mmap_area){ 0, 0x1000 };
	connect_guest(g, false);
	g->server.areas = 3;
	g->server.area[1] = (struct vfio_region_sparse_mmap_area){ 0x3000, 0x2000 };
	g->server.area[2] = (struct vfio_region_sparse_mmap_area){ 0x8000, 0x1000 };
	for (unsigned i = 0; i < 3; i++) {
		come_back(g);
		assert_int_equal(mapped_registers(), 0x1000);
	}
	disconnect_guest(g);
}

/* Dies of the first reset of its life. */
static bool die_of_reset(struct fake_server *s, int socket, struct user_message *message)
{
	unsigned *resets = s->opaque;

	if (message->header.command != USER_DEVICE_RESET || (*resets)++)
		return false;
	shutdown(socket, SHUT_RDWR);
	return true;
}

/* As a server that is away, and back. */
static void move_server(struct fake_server *s, bool away)
{
	char elsewhere[80];

	snprintf(elsewhere, sizeof(elsewhere), "%s-away", s->path);
	assert_int_equal(rename(away ? s->path : elsewhere, away ? elsewhere : s->path), 0);
}

static void a_function_that_found_no_server_connects_when_it_is_enabled(void **state)
{
	struct guest *g = new_guest();
	unsigned resets;

	connect_guest(g, false);
	resets = g->server.commands[USER_DEVICE_RESET];
	move_server(&g->server, true);
	fake_server_drop(&g->server);
	assert_int_equal(load(g, 0), UINT32_MAX);
	pci_function_enabling(g->made.function);
	assert_int_equal(g->server.connections, 1);
	move_server(&g->server, false);
	pci_function_enabling(g->made.function);
	assert_int_equal(g->server.connections, 2);
	assert_int_equal(g->server.commands[USER_DEVICE_RESET], resets + 1);
	/* What is connected is left alone. */
	pci_function_enabling(g->made.function);
	assert_int_equal(g->server.connections, 2);
	assert_int_equal(g->server.commands[USER_DEVICE_RESET], resets + 1);
	disconnect_guest(g);
}

static void a_reset_that_the_server_dies_of_connects_again(void **state)
{
	struct guest *g = new_guest();
	unsigned resets = 1;

	g->server.answer = die_of_reset;
	g->server.opaque = &resets;
	connect_guest(g, false);
	resets = 0;
	pci_function_reset(g->made.function);
	assert_int_equal(g->server.connections, 2);
	assert_int_equal(resets, 2);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
	disconnect_guest(g);
}

/* --- mappings ------------------------------------------------------------------------------ */

#define BUS 0x100000000ull

static int map_pages(struct guest *g, unsigned first, unsigned count)
{
	return g->made.mapping->map(g->made.mapping_opaque, BUS + first * PAGE_SIZE, 0,
				    count * PAGE_SIZE, true);
}

static void unmap_pages(struct guest *g, unsigned first, unsigned count)
{
	g->made.mapping->unmap(g->made.mapping_opaque, BUS + first * PAGE_SIZE, count * PAGE_SIZE);
}

/* As libvfio-user, which does not announce it: so many, and not more. */
#define REGIONS_MAX 16

static bool count_regions(struct fake_server *s, int socket, struct user_message *message)
{
	atomic_uint *regions = s->opaque;

	if (message->header.command == USER_DMA_UNMAP)
		(*regions)--;
	if (message->header.command != USER_DMA_MAP)
		return false;
	if (*regions == REGIONS_MAX) {
		if (!(message->header.flags & USER_NO_REPLY))
			fake_server_reply(socket, message, EINVAL, NULL, 0);
		return true;
	}
	(*regions)++;
	return false;
}

static void a_map_that_the_server_refuses_is_not_there(void **state)
{
	struct guest *g = new_guest();
	atomic_uint regions = 0;

	g->server.answer = count_regions;
	g->server.opaque = &regions;
	connect_guest(g, true);
	assert_int_equal(map_pages(g, 0, 10), 0);
	assert_int_equal(regions, 10);
	/* Not part of it either; and what was there before stays. */
	assert_int_equal(map_pages(g, 100, 10), -ENOSPC);
	assert_int_equal(regions, 10);
	assert_int_equal(map_pages(g, 200, 6), 0);
	assert_int_equal(map_pages(g, 300, 1), -ENOSPC);
	unmap_pages(g, 0, 10);
	assert_int_equal(regions, 6);
	assert_int_equal(map_pages(g, 100, 10), 0);
	unmap_pages(g, 0, 400);
	assert_int_equal(regions, 0);
	assert_int_equal(g->server.connections, 1);
	disconnect_guest(g);
}

static void no_more_is_mapped_than_the_server_has_announced(void **state)
{
	struct guest *g = new_guest();

	g->server.capabilities = "{\"max_dma_maps\":4,\"zvisor_posted_maps\":true}";
	connect_guest(g, true);
	assert_int_equal(map_pages(g, 0, 3), 0);
	assert_int_equal(map_pages(g, 10, 2), -ENOSPC);
	assert_int_equal(map_pages(g, 20, 1), 0);
	disconnect_guest(g);
}

struct files {
	atomic_uint sent, same;
};

static bool count_files(struct fake_server *s, int socket, struct user_message *message)
{
	struct files *files = s->opaque;
	struct user_dma_map map;

	if (message->header.command != USER_DMA_MAP)
		return false;
	memcpy(&map, message->payload, sizeof(map));
	files->sent += message->fds.count;
	files->same += map.flags == (USER_DMA_READABLE | USER_DMA_WRITABLE | USER_DMA_SAME_FILE);
	return false;
}

static void maps_are_posted_to_a_server_that_takes_them_all(void **state)
{
	struct guest *g = new_guest();
	struct files files = { 0 };

	g->server.capabilities = "{\"zvisor_posted_maps\":true}";
	g->server.answer = count_files;
	g->server.opaque = &files;
	connect_guest(g, true);
	for (unsigned run = 0; run < 10; run++)
		assert_int_equal(map_pages(g, run * 1000, 200), 0);
	/* It has executed them all when it has read this. */
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
	assert_int_equal(g->server.commands[USER_DMA_MAP], 2000);
	/* The first, which brings the file; and one now and then, so that they do not pile up. */
	assert_in_range(g->server.answered[USER_DMA_MAP], 1 + 2000 / 512, 1 + 2000 / 128);
	assert_int_equal(files.sent, 1);
	assert_int_equal(files.same, 1999);
	/* A server that comes anew has no file yet. */
	come_back(g);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
	assert_int_equal(files.sent, 2);
	assert_int_equal(files.same, 1999 + 1999);
	disconnect_guest(g);
}

/* All but the first of those for which it is asked; its first client's. */
static bool refuse_maps(struct fake_server *s, int socket, struct user_message *message)
{
	if (message->header.command != USER_DMA_MAP || message->header.flags & USER_NO_REPLY ||
	    s->answered[USER_DMA_MAP] < 2 || s->connections > 1)
		return false;
	fake_server_reply(socket, message, ENOMEM, NULL, 0);
	return true;
}

static void a_server_that_does_not_take_them_all_after_all_is_not_used(void **state)
{
	struct guest *g = new_guest();

	g->server.capabilities = "{\"zvisor_posted_maps\":true}";
	g->server.answer = refuse_maps;
	connect_guest(g, true);
	assert_int_equal(map_pages(g, 0, 400), -ENOTCONN);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), UINT16_MAX);
	/* One that does takes its place. */
	come_back(g);
	assert_int_equal(map_pages(g, 0, 400), 0);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
	disconnect_guest(g);
}

static void stores_do_not_pile_up_at_a_slow_server(void **state)
{
	struct guest *g = new_guest();

	connect_guest(g, false);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(pci_function_bar_write(g->made.function, 0, 8, 4, i), 0);
	assert_in_range(g->server.answered[USER_REGION_WRITE], 2000 / 512, 2000 / 128);
	disconnect_guest(g);
}

/* What a server does with a ring: it is awake all the time, if it takes it. */
struct ring_use {
	bool refuses;
	struct user_ring *ring;
	uint64_t taken;
	unsigned from_ring;
};

static bool use_ring(struct fake_server *s, int socket, struct user_message *message)
{
	struct ring_use *use = s->opaque;
	struct user_message command;
	const char *why;

	if (message->header.command == USER_VERSION) {
		user_ring_free(use->ring);
		use->ring = NULL;
		use->taken = 0;
	}
	while (use->ring && !user_ring_take(use->ring, use->taken, &command, &why))
		use->from_ring += command.header.command == USER_REGION_WRITE;
	use->taken++;
	if (message->header.command != USER_RING)
		return false;
	assert_int_equal(message->fds.count, 1);
	if (!use->refuses) {
		use->ring = user_ring_open(message->fds.fd[0]);
		assert_non_null(use->ring);
		user_ring_watch(use->ring, true);
	}
	fake_server_reply(socket, message, use->refuses ? ENOMEM : 0, NULL, 0);
	return true;
}

static void store_often(struct guest *g)
{
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(pci_function_bar_write(g->made.function, 0, 8, 4, i), 0);
	/* It has executed them all when it has read this. */
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
}

/* What the client says at first has been executed when this returns. */
static void offer_ring(struct guest *g, struct ring_use *use)
{
	g->server.capabilities = "{\"zvisor_ring\":true}";
	g->server.answer = use_ring;
	g->server.opaque = use;
	connect_guest(g, true);
	assert_int_equal(g->server.commands[USER_RING], 1);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
}

static void stores_go_through_a_ring_while_the_server_is_awake(void **state)
{
	struct guest *g = new_guest();
	struct ring_use use = { 0 };
	unsigned before, over_socket;

	offer_ring(g, &use);
	before = use.from_ring;
	over_socket = g->server.commands[USER_REGION_WRITE];
	store_often(g);
	over_socket = g->server.commands[USER_REGION_WRITE] - over_socket;
	assert_in_range(over_socket, 2000 / 512, 2000 / 128);
	assert_int_equal(over_socket + use.from_ring - before, 2000);
	user_ring_watch(use.ring, false);
	over_socket = g->server.commands[USER_REGION_WRITE];
	store_often(g);
	assert_int_equal(g->server.commands[USER_REGION_WRITE] - over_socket, 2000);
	/* One that comes anew has a new one. */
	come_back(g);
	assert_int_equal(g->server.commands[USER_RING], 2);
	before = use.from_ring;
	store_often(g);
	assert_in_range(use.from_ring - before, 2000 - 2000 / 128, 2000);
	disconnect_guest(g);
	user_ring_free(use.ring);
}

static void a_server_may_do_without_a_ring(void **state)
{
	struct guest *g = new_guest();
	struct ring_use use = { .refuses = true };
	unsigned before;

	offer_ring(g, &use);
	before = g->server.commands[USER_REGION_WRITE];
	store_often(g);
	assert_int_equal(g->server.commands[USER_REGION_WRITE] - before, 2000);
	disconnect_guest(g);
}

static void a_server_that_takes_less_back_than_it_had_is_not_used(void **state)
{
	struct guest *g = new_guest();
	atomic_uint regions = 0;

	g->server.answer = count_regions;
	g->server.opaque = &regions;
	connect_guest(g, true);
	assert_int_equal(map_pages(g, 0, 10), 0);
	regions = 10;
	come_back(g);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), UINT16_MAX);
	/* Another time it has room. */
	regions = 0;
	come_back(g);
	assert_int_equal(regions, 10);
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
	disconnect_guest(g);
}

/*
 * A copy for the server that is held up in its midst: the page is not accessible, and whoever
 * touches it stays in the signal's handler until the test lets go.
 */
static struct {
	int touched[2], go_on[2]; /* pipes */
	uint8_t *page;
} held;

static void hold(int signal)
{
	char byte = 0;

	if (write(held.touched[1], &byte, 1) != 1 || read(held.go_on[0], &byte, 1) != 1 ||
	    mprotect(held.page, PAGE_SIZE, PROT_READ | PROT_WRITE))
		_exit(1);
}

struct taking_away {
	struct guest *guest;
	bool gate; /* or a page */
	atomic_bool done;
};

static void *take_away(void *opaque)
{
	struct taking_away *t = opaque;

	if (t->gate)
		t->guest->made.mapping->gate(t->guest->made.mapping_opaque, false);
	else
		unmap_pages(t->guest, 0, 1);
	t->done = true;
	return NULL;
}

static void expect_a_wait_for_the_copy(struct guest *g, bool gate)
{
	const struct timespec while_nothing_comes = { .tv_nsec = 200000000 };
	const struct sigaction holding = { .sa_handler = hold };
	struct {
		struct user_dma_access access;
		uint64_t value;
	} store = { { BUS, 8 }, 0x1122334455667788 };
	struct user_header header = { .id = 1, .command = USER_DMA_WRITE };
	const struct iovec part = { &store, sizeof(store) };
	struct taking_away t = { .guest = g, .gate = gate };
	struct sigaction before;
	pthread_t thread;
	char byte;

	assert_int_equal(pipe(held.touched), 0);
	assert_int_equal(pipe(held.go_on), 0);
	held.page = g->host.memory;
	g->made.mapping->gate(g->made.mapping_opaque, true);
	assert_int_equal(map_pages(g, 0, 1), 0);
	sigaction(SIGSEGV, &holding, &before);
	assert_int_equal(mprotect(held.page, PAGE_SIZE, PROT_NONE), 0);
	assert_int_equal(user_message_write(g->server.socket, &header, &part, 1, NULL, 0,
					    DEADLINE_NEVER),
			 0);
	assert_int_equal(read(held.touched[0], &byte, 1), 1);
	/* It answers nobody any more; but it has asked before. */
	if (!gate)
		fake_server_drop(&g->server);
	assert_int_equal(pthread_create(&thread, NULL, take_away, &t), 0);
	nanosleep(&while_nothing_comes, NULL);
	assert_false(t.done);
	assert_int_equal(write(held.go_on[1], &byte, 1), 1);
	pthread_join(thread, NULL);
	assert_int_equal(*(uint64_t *)g->host.memory, store.value);
	sigaction(SIGSEGV, &before, NULL);
	for (unsigned i = 0; i < 2; i++) {
		close(held.touched[i]);
		close(held.go_on[i]);
	}
}

static void an_unmap_waits_for_a_copy_though_the_server_has_gone(void **state)
{
	struct guest *g = new_guest();

	connect_guest(g, false);
	expect_a_wait_for_the_copy(g, false);
	disconnect_guest(g);
}

static void the_gate_waits_for_a_copy(void **state)
{
	struct guest *g = new_guest();

	connect_guest(g, false);
	expect_a_wait_for_the_copy(g, true);
	disconnect_guest(g);
}

/* --- the gate ---------------------------------------------------------------------------- */

struct held_up {
	atomic_bool hold, holds; /* the next store */
	atomic_uint command; /* of the function, as it has been told last */
	atomic_uint stores, too_early; /* before it was bus master */
};

static bool note_stores(struct fake_server *s, int socket, struct user_message *message)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct held_up *h = s->opaque;
	struct user_region_access access;

	if (message->header.command != USER_REGION_WRITE)
		return false;
	memcpy(&access, message->payload, sizeof(access));
	if (access.region == VFIO_PCI_CONFIG_REGION_INDEX && access.offset == PCI_COMMAND)
		h->command = message->payload[sizeof(access)];
	if (access.region)
		return false;
	h->stores++;
	if (!(h->command & PCI_COMMAND_MASTER))
		h->too_early++;
	h->holds = h->hold;
	while (h->hold && !s->quit)
		nanosleep(&pause, NULL);
	return false;
}

static void gate(struct guest *g, bool open)
{
	g->made.mapping->gate(g->made.mapping_opaque, open);
}

static void store(struct guest *g)
{
	assert_int_equal(pci_function_bar_write(g->made.function, 0, 8, 4, 1), 0);
}

static void what_the_gate_lets_through_comes_behind_its_opening(void **state)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct guest *g = new_guest();
	struct held_up h = { .hold = false };

	g->server.answer = note_stores;
	g->server.opaque = &h;
	connect_guest(g, true);
	for (unsigned i = 0; i < 100; i++) {
		gate(g, true);
		store(g);
		gate(g, false);
	}
	/* That it is closed is told, too, though nobody stores any more. */
	for (unsigned i = 0; h.command & PCI_COMMAND_MASTER || h.stores < 100; i++) {
		assert_in_range(i, 0, 60000);
		nanosleep(&pause, NULL);
	}
	assert_int_equal(h.too_early, 0);
	disconnect_guest(g);
}

/* More than it has room for, so that each waits for an answer in the end. */
static void the_gate_does_not_wait_for_a_server_that_hangs(void **state)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct guest *g = new_guest();
	struct held_up h = { .hold = true };

	g->server.answer = note_stores;
	g->server.opaque = &h;
	connect_guest(g, true);
	store(g);
	for (unsigned i = 0; !h.holds; i++) {
		assert_in_range(i, 0, 60000);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < 1000; i++)
		gate(g, i % 2);
	h.hold = false;
	/* It would have been given up. */
	assert_int_equal(pci_function_config_read(g->made.function, 0x0c, 2), 0);
	assert_int_equal(g->server.connections, 1);
	assert_true(h.command & PCI_COMMAND_MASTER);
	disconnect_guest(g);
}

/* --- a slow server ------------------------------------------------------------------------ */

#define TIMEOUT_MS 500

/* Just in time for each message, and so half a minute for all of them. */
static bool answer_late(struct fake_server *s, int socket, struct user_message *message)
{
	const struct timespec late = { .tv_nsec = 100000000 };
	const atomic_bool *is_late = s->opaque;

	if (*is_late)
		nanosleep(&late, NULL);
	return false;
}

struct slow {
	struct fake_server server;
	struct device_host host;
	atomic_bool is_late;
	struct user_client *client;
};

static struct slow *new_slow(void)
{
	struct slow *s = calloc(1, sizeof(*s));
	char error[256] = "";

	assert_non_null(s);
	s->server.registers = -1;
	s->server.answer = answer_late;
	s->server.opaque = &s->is_late;
	s->host.memory_fd = -1;
	fake_server_start(&s->server);
	s->client =
		user_client_new("tested", s->server.path, false, &s->host, USER_CLIENT_TIMEOUT_MS);
	assert_non_null(s->client);
	if (user_client_connect(s->client, error, sizeof(error)))
		fail_msg("%s", error);
	return s;
}

/* From now on; until then it has all the time that a busy machine needs. */
static void be_late(struct slow *s)
{
	s->client->timeout_ms = TIMEOUT_MS;
	s->is_late = true;
}

static void free_slow(struct slow *s)
{
	s->is_late = false;
	user_client_free(s->client);
	fake_server_stop(&s->server);
	free(s);
}

/* --- connecting ------------------------------------------------------------------------ */

struct late_server {
	struct fake_server server;
	struct device_host host;
	struct user_client *client;
	char error[256];
};

static struct late_server *new_late_server(unsigned timeout_ms,
					   bool (*answer)(struct fake_server *s, int socket,
							  struct user_message *message))
{
	struct late_server *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->server.registers = -1;
	l->server.answer = answer;
	l->host.memory_fd = -1;
	fake_server_start(&l->server);
	l->client = user_client_new("tested", l->server.path, false, &l->host, timeout_ms);
	assert_non_null(l->client);
	return l;
}

static void free_late_server(struct late_server *l)
{
	user_client_free(l->client);
	fake_server_stop(&l->server);
	free(l);
}

static void *start_late(void *opaque)
{
	const struct timespec late = { .tv_nsec = 200000000 };
	struct fake_server *s = opaque;

	nanosleep(&late, NULL);
	move_server(s, false);
	return NULL;
}

static void a_server_that_does_not_listen_yet_is_waited_for(void **state)
{
	struct late_server *l = new_late_server(USER_CLIENT_TIMEOUT_MS, NULL);
	pthread_t thread;

	move_server(&l->server, true);
	assert_int_equal(pthread_create(&thread, NULL, start_late, &l->server), 0);
	if (user_client_connect(l->client, l->error, sizeof(l->error)))
		fail_msg("%s", l->error);
	pthread_join(thread, NULL);
	free_late_server(l);
}

static bool keep_silent(struct fake_server *s, int socket, struct user_message *message)
{
	return true;
}

static void a_server_that_does_not_greet_may_have_another_client(void **state)
{
	struct late_server *l = new_late_server(100, keep_silent);

	assert_int_equal(user_client_connect(l->client, l->error, sizeof(l->error)), -EPROTO);
	if (!strstr(l->error, "another client"))
		fail_msg("%s", l->error);
	free_late_server(l);
}

static void a_path_that_is_no_socket_is_not_waited_for(void **state)
{
	struct late_server *l = new_late_server(USER_CLIENT_TIMEOUT_MS, NULL);
	FILE *file;

	move_server(&l->server, true);
	file = fopen(l->server.path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(user_client_connect(l->client, l->error, sizeof(l->error)), -ENOTSOCK);
	if (!strstr(l->error, "not a socket"))
		fail_msg("%s", l->error);
	move_server(&l->server, false);
	free_late_server(l);
}

static void a_server_of_another_user_is_named(void **state)
{
	struct late_server *l = new_late_server(USER_CLIENT_TIMEOUT_MS, NULL);
	const bool is_root = !geteuid();
	int rc;

	assert_int_equal(chmod(l->server.folder, 0711), 0);
	assert_int_equal(chmod(l->server.path, 0), 0);
	if (is_root && seteuid(65534)) {
		free_late_server(l);
		return; /* there is no other user here */
	}
	rc = user_client_connect(l->client, l->error, sizeof(l->error));
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, -EACCES);
	if (!strstr(l->error, "another user"))
		fail_msg("%s", l->error);
	free_late_server(l);
}

static void an_unmap_of_many_regions_has_one_time_limit(void **state)
{
	struct slow *s = new_slow();

	for (unsigned page = 0; page < 40; page++)
		assert_int_equal(user_client_map(s->client, page * PAGE_SIZE, page * PAGE_SIZE,
						 PAGE_SIZE, PAGE_SIZE, true),
				 0);
	be_late(s);
	user_client_unmap(s->client, 0, 40 * PAGE_SIZE);
	assert_false(user_channel_is_open(s->client->channel));
	free_slow(s);
}

static void a_read_of_many_pieces_has_one_time_limit(void **state)
{
	struct slow *s = new_slow();
	uint8_t bytes[800];

	be_late(s);
	user_channel_set_limits(s->client->channel, USER_TRANSFER_MIN, 1);
	assert_int_equal(user_client_read(s->client, 0, 0, bytes, sizeof(bytes)), -ENOTCONN);
	free_slow(s);
}

static void a_new_connection_has_one_time_limit(void **state)
{
	struct slow *s = new_slow();
	char why[256];

	be_late(s);
	user_channel_end(s->client->channel, "the test wants it");
	fake_server_drop(&s->server);
	assert_int_not_equal(user_client_reconnect(s->client, 0, user_client_deadline(s->client),
						   why, sizeof(why)),
			     0);
	assert_false(user_channel_is_open(s->client->channel));
	free_slow(s);
}

static bool begin_a_command_after_a_reset(struct fake_server *s, int socket,
					  struct user_message *message)
{
	const struct user_header header = { .command = USER_DMA_READ, .size = 32 };
	const atomic_bool *begin = s->opaque;

	if (message->header.command != USER_DEVICE_RESET || !*begin)
		return false;
	fake_server_reply(socket, message, 0, NULL, 0);
	(void)send(socket, &header, 1, MSG_NOSIGNAL);
	return true;
}

/* A function is reset before it is freed, and what is begun then is not waited for. */
static void a_function_is_freed_in_the_midst_of_a_command(void **state)
{
	struct guest *g = new_guest();
	atomic_bool begin = false;
	uint64_t late;

	g->server.answer = begin_a_command_after_a_reset;
	g->server.opaque = &begin;
	connect_guest(g, false);
	begin = true;
	late = deadline_in_ms(USER_CLIENT_TIMEOUT_MS / 2);
	disconnect_guest(g);
	assert_false(deadline_is_past(late));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_of_the_same_device_are_where_they_were),
		cmocka_unit_test(a_server_that_comes_back_with_larger_areas_gets_no_memory),
		cmocka_unit_test(areas_of_another_device_are_not_left_mapped),
		cmocka_unit_test(a_function_that_found_no_server_connects_when_it_is_enabled),
		cmocka_unit_test(a_reset_that_the_server_dies_of_connects_again),
		cmocka_unit_test(a_map_that_the_server_refuses_is_not_there),
		cmocka_unit_test(no_more_is_mapped_than_the_server_has_announced),
		cmocka_unit_test(maps_are_posted_to_a_server_that_takes_them_all),
		cmocka_unit_test(a_server_that_does_not_take_them_all_after_all_is_not_used),
		cmocka_unit_test(stores_do_not_pile_up_at_a_slow_server),
		cmocka_unit_test(stores_go_through_a_ring_while_the_server_is_awake),
		cmocka_unit_test(a_server_may_do_without_a_ring),
		cmocka_unit_test(a_server_that_takes_less_back_than_it_had_is_not_used),
		cmocka_unit_test(an_unmap_waits_for_a_copy_though_the_server_has_gone),
		cmocka_unit_test(the_gate_waits_for_a_copy),
		cmocka_unit_test(what_the_gate_lets_through_comes_behind_its_opening),
		cmocka_unit_test(the_gate_does_not_wait_for_a_server_that_hangs),
		cmocka_unit_test(a_server_that_does_not_listen_yet_is_waited_for),
		cmocka_unit_test(a_server_that_does_not_greet_may_have_another_client),
		cmocka_unit_test(a_path_that_is_no_socket_is_not_waited_for),
		cmocka_unit_test(a_server_of_another_user_is_named),
		cmocka_unit_test(an_unmap_of_many_regions_has_one_time_limit),
		cmocka_unit_test(a_read_of_many_pieces_has_one_time_limit),
		cmocka_unit_test(a_new_connection_has_one_time_limit),
		cmocka_unit_test(a_function_is_freed_in_the_midst_of_a_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
