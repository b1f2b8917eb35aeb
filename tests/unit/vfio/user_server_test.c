/* SPDX-License-Identifier: MIT */
/* The server of vfio-user, with testdev behind it, and a client that says what it likes. */
#include "peer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "devices/device.h"
#include "devices/testdev_regs.h"
#include "vfio/user_ring.h"
#include "vfio/user_server.h"
#include "zpci/pci.h"

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define IOVA 0x7000000000ull
#define MEMORY (1 * MIB)

/* A time limit that tests wait for, and how often a slow client does a little in it. */
#define SHORT_MS 3000
#define SLOWLY_US 50000
#define SLOW_STEPS (PEER_PATIENCE_MS * 1000 / SLOWLY_US) /* 400 */

struct world {
	struct pci_function *function;
	struct user_server *server;
	int ends[2]; /* the server's, ours */
	int socket;
	pthread_t thread;
	char why[256];
};

static void *serve(void *opaque)
{
	struct world *w = opaque;

	user_server_serve(w->server, w->ends[0], w->why, sizeof(w->why));
	return NULL;
}

static void join(struct world *w)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->ends), 0);
	w->socket = w->ends[1];
	assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
}

/* The client goes; what the server said of it is in `why`. */
static void leave(struct world *w)
{
	shutdown(w->socket, SHUT_RDWR);
	pthread_join(w->thread, NULL);
	close(w->socket);
}

static int setup_with(void **state, const char *device, unsigned timeout_ms)
{
	struct world *w = calloc(1, sizeof(*w));
	struct device_config config;
	char error[DEVICE_ERROR_MAX];

	assert_int_equal(device_parse(device, &config, error, sizeof(error)), 0);
	assert_int_equal(device_create(&config, "testdev0", &w->function, error, sizeof(error)),
			 0);
	device_config_clear(&config);
	w->server = user_server_new(w->function, timeout_ms);
	assert_non_null(w->server);
	join(w);
	*state = w;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, "testdev,memory=65536", PEER_PATIENCE_MS);
}

/* A server that waits for a moment only, with enough memory to be slow about. */
static int setup_impatient(void **state)
{
	return setup_with(state, "testdev,memory=1048576", SHORT_MS);
}

static int setup_greeted(void **state)
{
	setup(state);
	peer_greet(((struct world *)*state)->socket);
	return 0;
}

static int setup_bus_master(void **state)
{
	setup_greeted(state);
	peer_write(((struct world *)*state)->socket, CONFIG, PCI_COMMAND,
		   PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	leave(w);
	user_server_free(w->server);
	pci_function_free(w->function);
	free(w);
	return 0;
}

/* The server hangs up, says this, and serves the next client as if nothing had been. */
static void expect_end(struct world *w, const char *why)
{
	struct user_message message;

	while (peer_receive(w->socket, &message))
		user_fds_close(&message.fds);
	pthread_join(w->thread, NULL);
	close(w->socket);
	if (!strstr(w->why, why))
		fail_msg("\"%s\" is not in \"%s\"", why, w->why);
	join(w);
	peer_greet(w->socket);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_ID, 8), TESTDEV_ID_VALUE);
}

/* --- the device as the client sees it ------------------------------------------------- */

static void device_describes_itself(void **state)
{
	struct world *w = *state;
	struct user_device_info device = { .argsz = sizeof(device) };
	struct user_region_info region = { .argsz = sizeof(region), .index = 1 };
	struct user_irq_info irq = { .argsz = sizeof(irq), .index = VFIO_PCI_MSIX_IRQ_INDEX };

	assert_int_equal(peer_call(w->socket, USER_DEVICE_GET_INFO, &device, sizeof(device),
				   &device, sizeof(device)), 0);
	assert_int_equal(device.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
	assert_int_equal(device.regions, VFIO_PCI_NUM_REGIONS);
	assert_int_equal(device.irqs, VFIO_PCI_NUM_IRQS);
	assert_int_equal(peer_call(w->socket, USER_DEVICE_GET_REGION_INFO, &region, sizeof(region),
				   &region, sizeof(region)), 0);
	assert_int_equal(region.index, 1);
	assert_int_equal(region.size, TESTDEV_RECORDER_SIZE);
	assert_int_equal(region.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
	assert_int_equal(peer_call(w->socket, USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), &irq,
				   sizeof(irq)), 0);
	assert_int_equal(irq.count, pci_function_msix_vectors(w->function));
	assert_true(irq.flags & VFIO_IRQ_INFO_EVENTFD);
	irq.index = VFIO_PCI_NUM_IRQS;
	assert_int_equal(peer_call(w->socket, USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), NULL,
				   0), EINVAL);
	region.index = VFIO_PCI_NUM_REGIONS;
	assert_int_equal(peer_call(w->socket, USER_DEVICE_GET_REGION_INFO, &region, sizeof(region),
				   NULL, 0), EINVAL);
	assert_int_equal(peer_read(w->socket, CONFIG, 0, 4),
			 TESTDEV_PCI_DEVICE << 16 | TESTDEV_PCI_VENDOR);
}

static void version_is_the_lower_of_both(void **state)
{
	struct world *w = *state;
	const struct user_version version = { 0, 9 };
	struct user_message message;
	struct user_version reply;

	peer_send(w->socket, USER_VERSION, 0, &version, sizeof(version), NULL, 0);
	assert_true(peer_receive(w->socket, &message));
	memcpy(&reply, message.payload, sizeof(reply));
	assert_int_equal(reply.major, 0);
	assert_int_equal(reply.minor, USER_VERSION_MINOR);
	assert_non_null(strstr((char *)message.payload + 4, "\"max_msg_fds\""));
	assert_int_equal(message.payload[message.length - 1], 0);
}

static void regions_are_accessed_in_any_length(void **state)
{
	struct world *w = *state;
	uint8_t command[16 + 300], reply[16 + 300];
	struct user_region_access access = { 3, TESTDEV_BAR_MEMORY, 300 };

	memcpy(command, &access, sizeof(access));
	for (unsigned i = 0; i < 300; i++)
		command[16 + i] = (uint8_t)(i * 3);
	assert_int_equal(peer_call(w->socket, USER_REGION_WRITE, command, sizeof(command), NULL,
				   0), 0);
	assert_int_equal(peer_call(w->socket, USER_REGION_READ, &access, sizeof(access), reply,
				   sizeof(reply)), 0);
	assert_memory_equal(reply, command, sizeof(command));
	for (unsigned size = 1; size <= 7; size++)
		assert_int_equal(peer_read(w->socket, TESTDEV_BAR_MEMORY, 4, size) & 0xff, 3);
	access.count = 0;
	assert_int_equal(peer_call(w->socket, USER_REGION_READ, &access, sizeof(access), NULL, 0),
			 EINVAL);
	access = (struct user_region_access){ 65536 - 4, TESTDEV_BAR_MEMORY, 8 };
	assert_int_equal(peer_call(w->socket, USER_REGION_READ, &access, sizeof(access), NULL, 0),
			 EINVAL);
	access.offset = UINT64_MAX;
	assert_int_equal(peer_call(w->socket, USER_REGION_READ, &access, sizeof(access), NULL, 0),
			 EINVAL);
	access = (struct user_region_access){ 0, 3, 8 };
	assert_int_equal(peer_call(w->socket, USER_REGION_READ, &access, sizeof(access), NULL, 0),
			 EINVAL);
}

static void block_arrives_as_one_store(void **state)
{
	static const unsigned lengths[] = { 16, 128, 4096 };
	struct world *w = *state;
	uint8_t command[16 + 4096];

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct user_region_access access = { 0, TESTDEV_BAR_RECORDER, lengths[i] };
		unsigned entry = TESTDEV_LOG + i * TESTDEV_LOG_ENTRY_SIZE;

		memcpy(command, &access, sizeof(access));
		memset(command + 16, (int)i, lengths[i]);
		assert_int_equal(peer_call(w->socket, USER_REGION_WRITE, command, 16 + lengths[i],
					   NULL, 0), 0);
		assert_int_equal(peer_read(w->socket, 0, TESTDEV_LOG_COUNT, 8), i + 1);
		assert_int_equal(peer_read(w->socket, 0, entry + TESTDEV_LOG_WHAT, 8),
				 (uint64_t)lengths[i] << 16 | TESTDEV_LOG_BLOCK);
	}
}

static void command_without_reply_is_done_before_the_next(void **state)
{
	struct world *w = *state;
	struct {
		struct user_region_access access;
		uint64_t value;
	} command = { { TESTDEV_SCRATCH, 0, 8 }, 0 };

	for (uint64_t value = 1; value < 100; value++) {
		command.value = htole64(value);
		peer_send(w->socket, USER_REGION_WRITE, USER_NO_REPLY, &command, sizeof(command),
			  NULL, 0);
	}
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 99);
}

static void reset_is_a_reset(void **state)
{
	struct world *w = *state;

	peer_write(w->socket, 0, TESTDEV_SCRATCH, 5, 8);
	assert_int_equal(peer_call(w->socket, USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 0);
}

static void function_of_another_is_left_to_it(void **state)
{
	struct world *w = *state;

	assert_null(user_server_new(w->function, PEER_PATIENCE_MS));
	assert_true(peer_read(w->socket, CONFIG, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
	assert_non_null(pci_function_dma(w->function));
}

static void command_that_is_not_done_here_is_refused(void **state)
{
	struct world *w = *state;
	uint8_t payload[40] = { 0 };

	assert_int_equal(peer_call(w->socket, USER_REGION_WRITE_MULTI, payload, sizeof(payload),
				   NULL, 0), EOPNOTSUPP);
	assert_int_equal(peer_call(w->socket, 14, payload, 8, NULL, 0), EOPNOTSUPP);
	assert_int_equal(peer_call(w->socket, USER_DEVICE_GET_REGION_IO_FDS, payload, 16, NULL,
				   0), EOPNOTSUPP);
}

/* --- interrupts ------------------------------------------------------------------------- */

static int set_irqs(struct world *w, uint32_t index, uint32_t flags, uint32_t start,
		    uint32_t count, const int *fds, unsigned fd_count)
{
	const struct user_irq_set set = { sizeof(set), flags, index, start, count };

	return peer_call_fds(w->socket, USER_DEVICE_SET_IRQS, &set, sizeof(set), fds, fd_count);
}

#define ASSIGN (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define NOTHING (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)

static void vectors_are_eventfds(void **state)
{
	struct world *w = *state;
	int fds[3];

	for (unsigned i = 0; i < 3; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 4, 3, fds, 3), 0);
	peer_write(w->socket, 0, TESTDEV_FIRE, 3 << 16 | 4, 8);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(peer_event(fds[i], PEER_PATIENCE_MS), 1);
	/* One is taken back, the others stay. */
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 5, 1, NULL, 0), 0);
	peer_write(w->socket, 0, TESTDEV_FIRE, 3 << 16 | 4, 8);
	assert_int_equal(peer_event(fds[0], PEER_PATIENCE_MS), 1);
	assert_int_equal(peer_event(fds[2], PEER_PATIENCE_MS), 1);
	assert_int_equal(peer_event(fds[1], 0), 0);
	/* The client triggers one by itself. */
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, NOTHING, 6, 1, NULL, 0), 0);
	assert_int_equal(peer_event(fds[2], PEER_PATIENCE_MS), 1);
	/* All are. */
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, NOTHING, 0, 0, NULL, 0), 0);
	peer_write(w->socket, 0, TESTDEV_FIRE, 3 << 16 | 4, 8);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_ID, 8), TESTDEV_ID_VALUE);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(peer_event(fds[i], 0), 0);
		close(fds[i]);
	}
}

#define FULL (UINT64_MAX - 1)

/* The eventfd of vector 4, which cannot be written. */
static int assign_full(struct world *w)
{
	const uint64_t full = FULL;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 4, 1, &fd, 1), 0);
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	return fd;
}

/* Nobody waits for the answer. */
static void post_write(struct world *w, uint64_t offset, uint64_t value)
{
	const struct {
		struct user_region_access access;
		uint64_t value;
	} command = { { offset, 0, 8 }, htole64(value) };

	peer_send(w->socket, USER_REGION_WRITE, USER_NO_REPLY, &command, sizeof(command), NULL, 0);
}

static void eventfd_that_is_full_has_been_signalled(void **state)
{
	struct world *w = *state;
	int fd = assign_full(w);

	peer_write(w->socket, 0, TESTDEV_FIRE, 1 << 16 | 4, 8);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, NOTHING, 4, 1, NULL, 0), 0);
	assert_true(peer_event(fd, 0) == FULL);
	peer_write(w->socket, 0, TESTDEV_FIRE, 1 << 16 | 4, 8);
	assert_int_equal(peer_event(fd, PEER_PATIENCE_MS), 1);
	close(fd);
}

#define BLOCKED "an eventfd for interrupts was full"

/* The thread that serves is stuck in it; then one of the device's. */
static void eventfd_that_is_full_and_blocks_holds_up_nobody(void **state)
{
	struct world *w = *state;
	int fd = assign_full(w);

	assert_int_equal(fcntl(fd, F_SETFL, O_RDWR), 0);
	post_write(w, TESTDEV_FIRE, 1 << 16 | 4);
	expect_end(w, BLOCKED);
	close(fd);

	peer_write(w->socket, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	fd = assign_full(w);
	assert_int_equal(fcntl(fd, F_SETFL, O_RDWR), 0);
	post_write(w, TESTDEV_RATE_INTERVAL, 1000000);
	post_write(w, TESTDEV_RATE_COUNT, 0);
	post_write(w, TESTDEV_RATE, 1 << 16 | 4);
	expect_end(w, BLOCKED);
	close(fd);
}

static void what_is_no_vector_or_no_eventfd_is_refused(void **state)
{
	struct world *w = *state;
	unsigned vectors = pci_function_msix_vectors(w->function);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), file = peer_memory(4096, false), pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, vectors, 1, &fd, 1), EINVAL);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, UINT32_MAX, 1, &fd, 1),
			 EINVAL);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 0, 2, &fd, 1), EINVAL);
	assert_int_equal(set_irqs(w, VFIO_PCI_INTX_IRQ_INDEX, ASSIGN, 0, 1, &fd, 1), EINVAL);
	assert_int_equal(set_irqs(w, 77, ASSIGN, 0, 1, &fd, 1), EINVAL);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 0, 1, &file, 1), EINVAL);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 0, 1, &pipes[1], 1), EINVAL);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX,
				  VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_MASK, 0, 1, &fd,
				  1), EINVAL);
	close(fd);
	close(file);
	close(pipes[0]);
	close(pipes[1]);
}

/* --- memory --------------------------------------------------------------------------------- */

#define READ_WRITE (USER_DMA_READABLE | USER_DMA_WRITABLE)

static void begin_transfer(struct world *w, uint64_t address, uint64_t length, uint64_t command)
{
	peer_write(w->socket, 0, TESTDEV_DMA_ADDRESS, address, 8);
	peer_write(w->socket, 0, TESTDEV_DMA_LENGTH, length, 8);
	peer_write(w->socket, 0, TESTDEV_DMA_PATTERN, 0x1122334455667788, 8);
	peer_write(w->socket, 0, TESTDEV_DMA_STEP, 1, 8);
	peer_write(w->socket, 0, TESTDEV_DMA_COMMAND, command, 8);
}

static unsigned outcome(struct world *w)
{
	return TESTDEV_STATUS_OUTCOME(peer_read(w->socket, 0, TESTDEV_DMA_STATUS, 8));
}

static uint8_t *map_here(int fd)
{
	uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void check_dma(struct world *w, bool sealed)
{
	int fd = peer_memory(MEMORY, sealed), error = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint8_t *memory = map_here(fd);
	uint64_t first;

	assert_int_equal(set_irqs(w, VFIO_PCI_ERR_IRQ_INDEX, ASSIGN, 0, 1, &error, 1), 0);
	assert_int_equal(peer_map(w->socket, IOVA, 0x3000, fd, 0x10000, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA + 0x3000, 0x1000, fd, 0x20000, READ_WRITE), 0);
	begin_transfer(w, IOVA + 0x1008, 0x2ff8, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	memcpy(&first, memory + 0x11008, 8);
	first = le64toh(first);
	assert_true(first == 0x1122334455667788);
	memcpy(&first, memory + 0x20ff8, 8);
	first = le64toh(first);
	assert_true(first == 0x1122334455667788 + 0x2ff0 / 8);
	begin_transfer(w, IOVA + 0x1008, 0x2ff8, TESTDEV_OP_COMPARE);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	assert_true(peer_read(w->socket, 0, TESTDEV_DMA_RESULT, 8) == UINT64_MAX);
	assert_int_equal(peer_event(error, 0), 0);

	/* What has been unmapped is not touched, and the client hears of the attempt. */
	assert_int_equal(peer_unmap(w->socket, IOVA + 0x3000, 0x1000), 0);
	begin_transfer(w, IOVA + 0x3000, 8, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_FAULT);
	assert_int_equal(peer_event(error, PEER_PATIENCE_MS), 1);
	memcpy(&first, memory + 0x20000, 8);
	first = le64toh(first);
	assert_true(first == 0x1122334455667788 + 0x1ff8 / 8);
	begin_transfer(w, IOVA, 0x3000, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);

	/* Read-only memory can be read only. */
	assert_int_equal(peer_map(w->socket, IOVA + 0x3000, 0x1000, fd, 0x20000,
				  USER_DMA_READABLE), 0);
	begin_transfer(w, IOVA + 0x3000, 8, TESTDEV_OP_CHECKSUM);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	begin_transfer(w, IOVA + 0x3000, 8, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_FAULT);
	munmap(memory, MEMORY);
	close(error);
	close(fd);
}

static void device_reaches_what_is_mapped_and_nothing_else(void **state)
{
	check_dma(*state, true);
}

static void memory_that_could_shrink_is_not_mapped_but_used(void **state)
{
	check_dma(*state, false);
}

static void memory_that_shrinks_is_a_failed_transfer(void **state)
{
	struct world *w = *state;
	int fd = peer_memory(MEMORY, false);

	assert_int_equal(peer_map(w->socket, IOVA, MEMORY, fd, 0, READ_WRITE), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	begin_transfer(w, IOVA, 8, TESTDEV_OP_CHECKSUM);
	assert_int_equal(outcome(w), TESTDEV_DONE_FAULT);
	close(fd);
}

static void mapping_that_cannot_be_is_refused(void **state)
{
	struct world *w = *state;
	int fd = peer_memory(MEMORY, true), pipes[2];
	int read_only;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read_only >= 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(peer_map(w->socket, IOVA, 0x2000, fd, 0, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA + 0x1000, 0x1000, fd, 0, READ_WRITE), EEXIST);
	assert_int_equal(peer_map(w->socket, IOVA - 0x1000, 0x4000, -1, 0, READ_WRITE), EEXIST);
	assert_int_equal(peer_map(w->socket, 0, 0, fd, 0, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x800, fd, 0, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0x10, 0x1000, fd, 0, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x1000, fd, 8, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x1000, fd, MEMORY, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x2000, fd, UINT64_MAX - 0xfff, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, UINT64_MAX - 0xfff, 0x2000, fd, 0, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x1000, fd, 0, 0x80), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x1000, pipes[0], 0, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x1000, read_only, 0, READ_WRITE), EINVAL);
	assert_int_equal(peer_map(w->socket, 0, 0x1000, read_only, 0, USER_DMA_READABLE), 0);
	assert_int_equal(peer_unmap(w->socket, IOVA, 0x1000), ENOENT);
	assert_int_equal(peer_unmap(w->socket, IOVA + 0x4000, 0x1000), ENOENT);
	assert_int_equal(peer_unmap(w->socket, IOVA, 0), ENOENT);
	assert_int_equal(peer_unmap(w->socket, IOVA, 0x2000), 0);
	close(pipes[0]);
	close(pipes[1]);
	close(read_only);
	close(fd);
}

static void unmap_waits_for_an_access_and_the_rest_goes_on(void **state)
{
	struct world *w = *state;
	int fd = peer_memory(MEMORY, true);
	uint8_t *memory = map_here(fd);
	const struct user_dma_unmap unmap = { sizeof(unmap), 0, IOVA, 0x1000 };
	struct user_message message;
	uint64_t value;

	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, fd, 0, READ_WRITE), 0);
	begin_transfer(w, IOVA, 8, TESTDEV_OP_HOLD_FILL);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_DMA_HELD, 8), 1);
	peer_send(w->socket, USER_DMA_UNMAP, 0, &unmap, sizeof(unmap), NULL, 0);
	/* No answer before this one's, which ends the access. */
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_ID, 8), TESTDEV_ID_VALUE);
	memcpy(&value, memory, 8);
	value = le64toh(value);
	assert_true(value == 0);
	peer_write(w->socket, 0, TESTDEV_DMA_COMMAND, TESTDEV_OP_RELEASE, 8);
	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(message.header.command, USER_DMA_UNMAP);
	assert_int_equal(message.header.flags, USER_TYPE_REPLY);
	memcpy(&value, memory, 8);
	value = le64toh(value);
	assert_true(value == 0x1122334455667788);
	munmap(memory, MEMORY);
	close(fd);
}

/* Answer the server's next command out of `memory`, which begins at IOVA. */
static void answer_dma(struct world *w, uint8_t *memory, int error)
{
	struct user_message message;
	struct user_dma_access access;
	uint8_t reply[16 + 4096];
	struct user_header header;

	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(message.header.flags & USER_TYPE_MASK, USER_TYPE_COMMAND);
	memcpy(&access, message.payload, sizeof(access));
	assert_in_range(access.address, IOVA, IOVA + 0xfff);
	assert_in_range(access.count, 1, IOVA + 0x1000 - access.address);
	header = message.header;
	header.flags = USER_TYPE_REPLY | (error ? USER_ERROR : 0);
	header.error = (uint32_t)error;
	header.size = sizeof(header);
	memcpy(reply, &access, sizeof(access));
	if (error) {
		peer_send_raw(w->socket, &header, NULL, 0, NULL, 0);
	} else if (message.header.command == USER_DMA_READ) {
		memcpy(reply + 16, memory + (access.address - IOVA), access.count);
		header.size += (uint32_t)(16 + access.count);
		peer_send_raw(w->socket, &header, reply, 16 + access.count, NULL, 0);
	} else {
		assert_int_equal(message.header.command, USER_DMA_WRITE);
		assert_int_equal(message.length, 16 + access.count);
		memcpy(memory + (access.address - IOVA), message.payload + 16, access.count);
		header.size += 16;
		peer_send_raw(w->socket, &header, reply, 16, NULL, 0);
	}
}

static void memory_without_a_file_is_reached_by_messages(void **state)
{
	struct world *w = *state;
	const struct {
		struct user_region_access access;
		uint64_t value;
	} fill = { { TESTDEV_DMA_COMMAND, 0, 8 }, htole64(TESTDEV_OP_FILL) },
	  compare = { { TESTDEV_DMA_COMMAND, 0, 8 }, htole64(TESTDEV_OP_COMPARE) },
	  scratch = { { TESTDEV_SCRATCH, 0, 8 }, htole64(77) };
	struct user_message message;
	uint8_t memory[4096] = { 0 };
	uint64_t value;

	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, -1, 0, READ_WRITE), 0);
	begin_transfer(w, IOVA + 0x40, 0x100, TESTDEV_OP_STOP);
	peer_send(w->socket, USER_REGION_WRITE, 0, &fill, sizeof(fill), NULL, 0);
	/* One that comes while the server waits for the answer is kept. */
	peer_send(w->socket, USER_REGION_WRITE, USER_NO_REPLY, &scratch, sizeof(scratch), NULL, 0);
	answer_dma(w, memory, 0);
	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(message.header.command, USER_REGION_WRITE);
	memcpy(&value, memory + 0x48, 8);
	value = le64toh(value);
	assert_true(value == 0x1122334455667789);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 77);

	memory[0x45] ^= 1;
	peer_send(w->socket, USER_REGION_WRITE, 0, &compare, sizeof(compare), NULL, 0);
	answer_dma(w, memory, 0);
	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_DMA_RESULT, 8), 5);

	peer_send(w->socket, USER_REGION_WRITE, 0, &compare, sizeof(compare), NULL, 0);
	answer_dma(w, memory, EFAULT);
	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(outcome(w), TESTDEV_DONE_FAULT);
}

static void unmap_waits_for_a_message_that_is_not_answered_yet(void **state)
{
	struct world *w = *state;
	const struct {
		struct user_region_access access;
		uint64_t value;
	} fill = { { TESTDEV_DMA_COMMAND, 0, 8 }, htole64(TESTDEV_OP_FILL | TESTDEV_DMA_THREAD) };
	const struct user_dma_unmap unmap = { sizeof(unmap), 0, IOVA, 0x1000 };
	struct user_message message;
	struct user_header header;
	struct user_dma_access access;

	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, -1, 0, READ_WRITE), 0);
	begin_transfer(w, IOVA + 0x40, 0x100, TESTDEV_OP_STOP);
	peer_send(w->socket, USER_REGION_WRITE, USER_NO_REPLY, &fill, sizeof(fill), NULL, 0);
	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(message.header.command, USER_DMA_WRITE);
	header = message.header;
	memcpy(&access, message.payload, sizeof(access));
	peer_send(w->socket, USER_DMA_UNMAP, 0, &unmap, sizeof(unmap), NULL, 0);
	/* No answer to that before this one's. */
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_ID, 8), TESTDEV_ID_VALUE);
	header.flags = USER_TYPE_REPLY;
	header.size = sizeof(header) + sizeof(access);
	peer_send_raw(w->socket, &header, &access, sizeof(access), NULL, 0);
	assert_true(peer_receive(w->socket, &message));
	assert_int_equal(message.header.command, USER_DMA_UNMAP);
	assert_int_equal(message.header.flags, USER_TYPE_REPLY);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
}

static void nothing_of_a_client_is_left_for_the_next(void **state)
{
	struct world *w = *state;
	int fd = peer_memory(MEMORY, true), irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint8_t *memory = map_here(fd);
	uint64_t value;

	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, fd, 0, READ_WRITE), 0);
	assert_int_equal(set_irqs(w, VFIO_PCI_MSIX_IRQ_INDEX, ASSIGN, 0, 1, &irq, 1), 0);
	peer_write(w->socket, 0, TESTDEV_SCRATCH, 5, 8);
	begin_transfer(w, IOVA, 8, TESTDEV_OP_HOLD_FILL);
	leave(w);
	join(w);
	peer_greet(w->socket);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 0);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_DMA_HELD, 8), 0);
	peer_write(w->socket, CONFIG, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	begin_transfer(w, IOVA, 8, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_FAULT);
	memcpy(&value, memory, 8);
	value = le64toh(value);
	assert_true(value == 0 || value == 0x1122334455667788); /* of the first one */
	peer_write(w->socket, 0, TESTDEV_FIRE, 0, 8);
	assert_int_equal(peer_event(irq, 0), 0);
	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, fd, 0, READ_WRITE), 0);
	munmap(memory, MEMORY);
	close(irq);
	close(fd);
}

/* --- what ends a connection -------------------------------------------------------------------- */

static void first_message_is_the_version(void **state)
{
	struct world *w = *state;

	peer_send(w->socket, USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
	expect_end(w, "before the version");
}

static void version_comes_once(void **state)
{
	struct world *w = *state;
	const struct user_version version = { 0, 1 };

	peer_send(w->socket, USER_VERSION, 0, &version, sizeof(version), NULL, 0);
	expect_end(w, "sent before");
}

static void send_version(struct world *w, uint16_t major, const void *text, size_t length)
{
	struct {
		struct user_version version;
		char text[8192];
	} hello = { { major, 1 }, "" };

	memcpy(hello.text, text, length);
	peer_send(w->socket, USER_VERSION, 0, &hello, 4 + length, NULL, 0);
}

static void version_that_is_none_ends_it(void **state)
{
	static char long_text[5000];
	struct world *w = *state;
	uint8_t two[2] = { 0 };

	peer_send(w->socket, USER_VERSION, 0, two, sizeof(two), NULL, 0);
	expect_end(w, "too short");
	leave(w), join(w);
	send_version(w, 1, "", 0);
	expect_end(w, "no such version");
	leave(w), join(w);
	send_version(w, 0, "{}", 2);
	expect_end(w, "NUL");
	leave(w), join(w);
	send_version(w, 0, "{}\0{}", 6);
	expect_end(w, "NUL");
	leave(w), join(w);
	send_version(w, 0, "[1]", 4);
	expect_end(w, "not a JSON object");
	leave(w), join(w);
	send_version(w, 0, "{\"a\":", 6);
	expect_end(w, "not a JSON object");
	leave(w), join(w);
	send_version(w, 0, "{\"capabilities\":3}", 19);
	expect_end(w, "not an object");
	leave(w), join(w);
	send_version(w, 0, "{\"capabilities\":{\"max_msg_fds\":-1}}", 36);
	expect_end(w, "not a number");
	leave(w), join(w);
	memset(long_text, ' ', sizeof(long_text) - 1);
	send_version(w, 0, long_text, sizeof(long_text));
	expect_end(w, "too long");
}

/* The server can do it as well. */
static void greet_as_one_that_can(struct world *w, const char *capability)
{
	struct user_message message;
	char text[100];

	snprintf(text, sizeof(text), "{\"capabilities\":{\"%s\":true}}", capability);
	send_version(w, 0, text, strlen(text) + 1);
	assert_true(peer_receive(w->socket, &message));
	assert_non_null(strstr((const char *)message.payload + 4, capability));
}

static void greet_as_one_that_posts_maps(struct world *w)
{
	greet_as_one_that_can(w, "zvisor_posted_maps");
}

/* Half a page: whether somebody wants to know or not, it cannot be. */
static void post_impossible_map(struct world *w)
{
	const struct user_dma_map map = { sizeof(map), USER_DMA_READABLE, 0, IOVA, 2048 };

	peer_send(w->socket, USER_DMA_MAP, USER_NO_REPLY, &map, sizeof(map), NULL, 0);
}

static void map_without_a_reply_that_fails_ends_it_for_a_client_that_relies_on_it(void **state)
{
	struct world *w = *state;

	peer_greet(w->socket);
	post_impossible_map(w);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_ID, 8), TESTDEV_ID_VALUE);
	leave(w), join(w);
	greet_as_one_that_posts_maps(w);
	post_impossible_map(w);
	expect_end(w, "no reply is wanted");
}

static void map_of_the_same_file_needs_no_descriptor(void **state)
{
	const uint32_t same = READ_WRITE | USER_DMA_SAME_FILE;
	struct world *w = *state;
	int first = peer_memory(MEMORY, true), second = peer_memory(MEMORY, true);
	uint8_t *memory = map_here(second);
	uint64_t value;

	greet_as_one_that_posts_maps(w);
	peer_write(w->socket, CONFIG, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	/* There is none yet; then that of a map that was good, and came last. */
	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, -1, 0, same), EINVAL);
	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, first, 0, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA + 0x1000, 0x1000, second, 0, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, first, 0, READ_WRITE), EEXIST);
	assert_int_equal(peer_map(w->socket, IOVA + 0x2000, 0x1000, -1, 0, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA + 0x3000, 0x1000, -1, 0x2000, same), 0);
	begin_transfer(w, IOVA + 0x3000, 8, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	memcpy(&value, memory + 0x2000, 8);
	assert_true(value != 0);
	/* No more of it than there is, and nobody's descriptor besides. */
	assert_int_equal(peer_map(w->socket, IOVA + 0x4000, 0x1000, -1, MEMORY, same), EINVAL);
	assert_int_equal(peer_map(w->socket, IOVA + 0x4000, 0x1000, -1, 0x800, same), EINVAL);
	assert_int_equal(peer_map(w->socket, IOVA + 0x4000, 0x1000, first, 0, same), EINVAL);
	/* Who has not said that it would is like any other client. */
	leave(w), join(w);
	peer_greet(w->socket);
	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, first, 0, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA + 0x1000, 0x1000, -1, 0, same), EINVAL);
	munmap(memory, MEMORY);
	close(second);
	close(first);
}

/* The server's answer: 0 or an errno. */
static int give_ring(struct world *w, int fd)
{
	return peer_call_fds(w->socket, USER_RING, NULL, 0, &fd, 1);
}

/* Behind `after` commands of the socket. */
static void put_store(struct user_ring *ring, uint64_t after, uint64_t offset, uint64_t value)
{
	const struct user_region_access access = { offset, 0, 8 };
	uint64_t data = htole64(value);
	const struct iovec parts[] = { { (void *)(uintptr_t)&access, sizeof(access) },
				       { &data, sizeof(data) } };
	struct user_header header = { .command = USER_REGION_WRITE, .flags = USER_NO_REPLY };

	(void)user_ring_put(ring, after, &header, parts, 2);
}

static void stores_come_through_a_ring(void **state)
{
	struct world *w = *state;
	int fd;
	struct user_ring *ring = user_ring_new(&fd);

	greet_as_one_that_can(w, "zvisor_ring");
	assert_int_equal(give_ring(w, fd), 0);
	put_store(ring, 2, TESTDEV_SCRATCH, 0x1111);
	/* Before what was sent after it; and after what was sent before it. */
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 0x1111);
	put_store(ring, 4, TESTDEV_SCRATCH, 0x3333);
	post_write(w, TESTDEV_SCRATCH, 0x2222);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 0x3333);
	/* A call to look there has no answer, and is no harm if there is nothing. */
	peer_send(w->socket, USER_RING, USER_NO_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 0x3333);
	/* The next client's commands go another way. */
	leave(w), join(w);
	put_store(ring, 0, TESTDEV_SCRATCH, 0x4444);
	peer_greet(w->socket);
	assert_int_equal(peer_read(w->socket, 0, TESTDEV_SCRATCH, 8), 0);
	user_ring_free(ring);
	close(fd);
}

static void what_is_no_ring_is_not_used(void **state)
{
	struct world *w = *state;
	int unsealed = peer_memory(MEMORY, false), sealed = peer_memory(MEMORY, true), fd;
	struct user_ring *ring = user_ring_new(&fd);

	peer_greet(w->socket);
	assert_int_equal(give_ring(w, fd), EOPNOTSUPP);
	leave(w), join(w);
	greet_as_one_that_can(w, "zvisor_ring");
	assert_int_equal(give_ring(w, unsealed), EINVAL);
	assert_int_equal(give_ring(w, sealed), EINVAL);
	assert_int_equal(give_ring(w, w->socket), EINVAL);
	assert_int_equal(give_ring(w, fd), 0);
	peer_send(w->socket, USER_RING, 0, NULL, 0, &fd, 1);
	expect_end(w, "there is one ring");
	leave(w), join(w);
	greet_as_one_that_can(w, "zvisor_ring");
	peer_send(w->socket, USER_RING, 0, NULL, 0, (int[]){ fd, fd }, 2);
	expect_end(w, "more than one file descriptor");
	leave(w), join(w);
	greet_as_one_that_can(w, "zvisor_ring");
	peer_send(w->socket, USER_RING, 0, "data", 4, &fd, 1);
	expect_end(w, "wrong size");
	user_ring_free(ring);
	close(fd);
	close(sealed);
	close(unsealed);
}

static void command_of_a_ring_is_checked_as_any_other(void **state)
{
	struct user_header header = { .command = USER_VERSION, .flags = USER_NO_REPLY };
	const struct iovec half = { "half", 4 };
	struct world *w = *state;

	for (unsigned i = 0; i < 2; i++) {
		int fd;
		struct user_ring *ring = user_ring_new(&fd);

		greet_as_one_that_can(w, "zvisor_ring");
		assert_int_equal(give_ring(w, fd), 0);
		header.command = i ? USER_REGION_WRITE : USER_VERSION;
		(void)user_ring_put(ring, 2, &header, &half, 1);
		peer_send(w->socket, USER_RING, USER_NO_REPLY, NULL, 0, NULL, 0);
		expect_end(w, i ? "wrong size" : "sent before");
		leave(w), join(w);
		user_ring_free(ring);
		close(fd);
	}
}

/* A client that takes `most` bytes of data in a message. */
static void send_transfer_max(struct world *w, unsigned most)
{
	char text[80];

	snprintf(text, sizeof(text), "{\"capabilities\":{\"max_data_xfer_size\":%u}}", most);
	send_version(w, 0, text, strlen(text) + 1);
}

static void client_that_takes_less_than_a_register_is_not_served(void **state)
{
	static const unsigned sizes[] = { 0, 1, 7 };
	struct world *w = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		send_transfer_max(w, sizes[i]);
		expect_end(w, "too little");
		leave(w), join(w);
	}
}

/* The least that is served; a transfer takes as many messages as that needs. */
static void client_that_takes_a_register_gets_its_memory_in_pieces(void **state)
{
	struct world *w = *state;
	const struct {
		struct user_region_access access;
		uint64_t value;
	} fill = { { TESTDEV_DMA_COMMAND, 0, 8 }, htole64(TESTDEV_OP_FILL) },
	  compare = { { TESTDEV_DMA_COMMAND, 0, 8 }, htole64(TESTDEV_OP_COMPARE) };
	struct user_message message;
	uint8_t memory[4096] = { 0 };
	int fd = peer_memory(MEMORY, false);

	send_transfer_max(w, USER_TRANSFER_MIN);
	assert_true(peer_receive(w->socket, &message));
	peer_write(w->socket, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_int_equal(peer_map(w->socket, IOVA, 0x1000, -1, 0, READ_WRITE), 0);
	assert_int_equal(peer_map(w->socket, IOVA + MEMORY, MEMORY, fd, 0, READ_WRITE), 0);
	begin_transfer(w, IOVA + MEMORY + 8, 64, TESTDEV_OP_FILL);
	assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	begin_transfer(w, IOVA + MEMORY + 8, 64, TESTDEV_OP_COMPARE);
	assert_true(peer_read(w->socket, 0, TESTDEV_DMA_RESULT, 8) == UINT64_MAX);
	begin_transfer(w, IOVA + 8, 64, TESTDEV_OP_STOP);
	for (unsigned i = 0; i < 2; i++) {
		peer_send(w->socket, USER_REGION_WRITE, 0, i ? &compare : &fill, sizeof(fill), NULL,
			  0);
		for (unsigned piece = 0; piece < 64 / USER_TRANSFER_MIN; piece++)
			answer_dma(w, memory, 0);
		assert_true(peer_receive(w->socket, &message));
		assert_int_equal(message.header.command, USER_REGION_WRITE);
		assert_int_equal(outcome(w), TESTDEV_DONE_OK);
	}
	assert_true(peer_read(w->socket, 0, TESTDEV_DMA_RESULT, 8) == UINT64_MAX);
	close(fd);
}

static void malformed_header_ends_it(void **state)
{
	static const struct {
		struct user_header header;
		const char *why;
	} cases[] = {
		{ { 1, USER_DEVICE_RESET, 15, 0, 0 }, "below that of a header" },
		{ { 1, USER_DEVICE_RESET, 0, 0, 0 }, "below that of a header" },
		{ { 1, USER_REGION_WRITE, UINT32_MAX, 0, 0 }, "too large" },
		{ { 1, USER_REGION_WRITE, USER_PAYLOAD_MAX + 17, 0, 0 }, "too large" },
		{ { 1, USER_DEVICE_RESET, 16, 2, 0 }, "neither command nor reply" },
		{ { 1, USER_DEVICE_RESET, 16, 0x100, 0 }, "unknown flags" },
		{ { 1, 0, 16, 0, 0 }, "an unknown command" },
		{ { 1, USER_COMMAND_MAX + 1, 16, 0, 0 }, "an unknown command" },
		{ { 1, USER_DMA_READ, 16, USER_TYPE_REPLY, 0 }, "nobody has asked" },
		{ { 1, USER_DMA_READ, 16, 0, 0 }, "not the client's" },
	};
	struct world *w = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		peer_send_raw(w->socket, &cases[i].header, NULL, 0, NULL, 0);
		expect_end(w, cases[i].why);
	}
}

static void message_that_stops_in_the_middle_ends_it(void **state)
{
	struct world *w = *state;
	const struct user_header header = { 1, USER_REGION_WRITE, 100, 0, 0 };

	peer_send_raw(w->socket, &header, "abc", 3, NULL, 0);
	shutdown(w->socket, SHUT_WR);
	expect_end(w, "too early");
	assert_int_equal(send(w->socket, &header, 5, 0), 5);
	shutdown(w->socket, SHUT_WR);
	expect_end(w, "too early");
}

/* What the server says of the client that is there, when it has hung up by itself. */
static void expect_impatience(struct world *w, const char *why)
{
	pthread_join(w->thread, NULL);
	close(w->socket);
	if (!strstr(w->why, why))
		fail_msg("\"%s\" is not in \"%s\"", why, w->why);
	join(w);
}

static void client_that_says_nothing_makes_room(void **state)
{
	expect_impatience(*state, "says nothing");
}

/* Each byte comes in time; the message does not. */
static void drip(struct world *w, const uint8_t *message)
{
	unsigned steps = 0;

	while (send(w->socket, message + steps, 1, MSG_NOSIGNAL) == 1 && steps++ < SLOW_STEPS)
		usleep(SLOWLY_US);
	assert_in_range(steps, 1, SLOW_STEPS - 1);
	expect_impatience(w, "the rest of it does not come");
}

static void client_that_drips_makes_room(void **state)
{
	static const struct {
		struct user_header header;
		uint8_t payload[4096];
	} greeting = { .header = { 1, USER_VERSION, sizeof(greeting), 0, 0 } },
	  command = { .header = { 1, USER_REGION_WRITE, sizeof(command), 0, 0 } };
	struct world *w = *state;

	drip(w, (const uint8_t *)&greeting);
	peer_greet(w->socket);
	drip(w, (const uint8_t *)&command);
}

static void client_that_takes_its_answer_slowly_makes_room(void **state)
{
	const struct user_region_access access = { 0, TESTDEV_BAR_MEMORY, MEMORY };
	struct world *w = *state;
	uint8_t some[4 * KIB];
	unsigned steps = 0;
	ssize_t got;

	peer_greet(w->socket);
	peer_send(w->socket, USER_REGION_READ, 0, &access, sizeof(access), NULL, 0);
	do {
		usleep(SLOWLY_US);
		got = recv(w->socket, some, sizeof(some), 0);
	} while (got > 0 && ++steps < MEMORY / sizeof(some));
	/* Not all of it has come. */
	assert_in_range(steps, 1, MEMORY / sizeof(some) - 1);
	expect_impatience(w, "does not read");
}

static void payload_of_the_wrong_size_ends_it(void **state)
{
	static const struct {
		unsigned command;
		size_t length;
	} cases[] = {
		{ USER_DMA_MAP, 31 },	      { USER_DMA_MAP, 33 },
		{ USER_DMA_UNMAP, 23 },	      { USER_DMA_UNMAP, 25 },
		{ USER_DEVICE_GET_INFO, 15 }, { USER_DEVICE_GET_REGION_INFO, 31 },
		{ USER_DEVICE_GET_IRQ_INFO, 15 }, { USER_DEVICE_SET_IRQS, 19 },
		{ USER_REGION_READ, 15 },     { USER_REGION_READ, 17 },
		{ USER_REGION_WRITE, 15 },    { USER_REGION_WRITE, 17 },
		{ USER_DEVICE_RESET, 1 },
	};
	struct world *w = *state;
	uint8_t payload[64] = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		peer_send(w->socket, cases[i].command, 0, payload, cases[i].length, NULL, 0);
		expect_end(w, "wrong size");
	}
}

static void asking_for_too_much_ends_it(void **state)
{
	struct world *w = *state;
	const struct user_region_access access = { 0, TESTDEV_BAR_MEMORY, USER_TRANSFER_MAX + 1 };
	const struct user_irq_set set = { 20, VFIO_IRQ_SET_DATA_BOOL |
					      VFIO_IRQ_SET_ACTION_TRIGGER,
					  VFIO_PCI_MSIX_IRQ_INDEX, 0, UINT32_MAX };

	peer_send(w->socket, USER_REGION_READ, 0, &access, sizeof(access), NULL, 0);
	expect_end(w, "more than there is room for");
	peer_send(w->socket, USER_DEVICE_SET_IRQS, 0, &set, sizeof(set), NULL, 0);
	expect_end(w, "wrong size");
}

static void descriptors_where_none_belong_end_it(void **state)
{
	struct world *w = *state;
	const struct user_dma_map map = { 32, READ_WRITE, 0, IOVA, 0x1000 };
	int fds[USER_FDS_MAX + 1];

	for (unsigned i = 0; i <= USER_FDS_MAX; i++)
		fds[i] = w->socket;
	peer_send(w->socket, USER_DEVICE_RESET, 0, NULL, 0, fds, 1);
	expect_end(w, "file descriptors");
	peer_send(w->socket, USER_DMA_MAP, 0, &map, sizeof(map), fds, 2);
	expect_end(w, "more than one");
	for (unsigned i = 0; i <= USER_FDS_MAX; i++)
		fds[i] = w->socket;
	peer_send(w->socket, USER_DMA_MAP, 0, &map, sizeof(map), fds, USER_FDS_MAX + 1);
	expect_end(w, "too many file descriptors");
}

int main(void)
{
#define TEST_AFTER(name, before) cmocka_unit_test_setup_teardown(name, before, teardown)
#define TEST(name) TEST_AFTER(name, setup_greeted)
#define TEST_DMA(name) TEST_AFTER(name, setup_bus_master)
	const struct CMUnitTest tests[] = {
		TEST(device_describes_itself),
		TEST_AFTER(version_is_the_lower_of_both, setup),
		TEST(regions_are_accessed_in_any_length),
		TEST(block_arrives_as_one_store),
		TEST(command_without_reply_is_done_before_the_next),
		TEST(reset_is_a_reset),
		TEST(command_that_is_not_done_here_is_refused),
		TEST_DMA(vectors_are_eventfds),
		TEST_DMA(eventfd_that_is_full_has_been_signalled),
		TEST_DMA(eventfd_that_is_full_and_blocks_holds_up_nobody),
		TEST(what_is_no_vector_or_no_eventfd_is_refused),
		TEST_DMA(device_reaches_what_is_mapped_and_nothing_else),
		TEST_DMA(memory_that_could_shrink_is_not_mapped_but_used),
		TEST_DMA(memory_that_shrinks_is_a_failed_transfer),
		TEST(mapping_that_cannot_be_is_refused),
		TEST_AFTER(map_of_the_same_file_needs_no_descriptor, setup),
		TEST_AFTER(stores_come_through_a_ring, setup),
		TEST_AFTER(what_is_no_ring_is_not_used, setup),
		TEST_AFTER(command_of_a_ring_is_checked_as_any_other, setup),
		TEST_DMA(unmap_waits_for_an_access_and_the_rest_goes_on),
		TEST_DMA(unmap_waits_for_a_message_that_is_not_answered_yet),
		TEST_DMA(function_of_another_is_left_to_it),
		TEST_DMA(memory_without_a_file_is_reached_by_messages),
		TEST_DMA(nothing_of_a_client_is_left_for_the_next),
		TEST_AFTER(first_message_is_the_version, setup),
		TEST(version_comes_once),
		TEST_AFTER(version_that_is_none_ends_it, setup),
		TEST_AFTER(map_without_a_reply_that_fails_ends_it_for_a_client_that_relies_on_it,
			   setup),
		TEST_AFTER(client_that_takes_less_than_a_register_is_not_served, setup),
		TEST_AFTER(client_that_takes_a_register_gets_its_memory_in_pieces, setup),
		TEST(malformed_header_ends_it),
		TEST(message_that_stops_in_the_middle_ends_it),
		TEST_AFTER(client_that_says_nothing_makes_room, setup_impatient),
		TEST_AFTER(client_that_drips_makes_room, setup_impatient),
		TEST_AFTER(client_that_takes_its_answer_slowly_makes_room, setup_impatient),
		TEST(payload_of_the_wrong_size_ends_it),
		TEST(asking_for_too_much_ends_it),
		TEST(descriptors_where_none_belong_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
