/* SPDX-License-Identifier: MIT */
/*
 * A hostile client at the server of vfio-user, with testdev behind it.
 *
 * An input is a program: messages with any field changed, descriptors of several kinds, commands
 * in shared memory, bytes without form, answers to what the server asks. After each, a client that behaves
 * finds the device as new. Wrong are: a crash, a sanitizer's finding, a server that does not
 * come back, and a device that still has something of the client before.
 *
 *	user_server_fuzz [-max_total_time=SECONDS] [CORPUS]
 */
#include <fcntl.h>
#include <poll.h>
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
#include "vfio/user_protocol.h"
#include "vfio/user_ring.h"
#include "vfio/user_server.h"
#include "zpci/pci.h"

#include "input.h"

#define OPERATIONS_MAX 100
#define MEMORY (64 * PAGE_SIZE)
#define BUS 0x700000000ull
#define CONFIG_REGION 7
/* Nobody waits as long: whoever has nothing more to say hangs up. */
#define TIMEOUT_MS 2000

enum { FD_SEALED, FD_UNSEALED, FD_EVENT, FD_NULL, FD_RING, FD_COUNT };

/* The ring: how many commands there are, and the first of them. */
#define RING_SIZE (9 * PAGE_SIZE)
#define RING_SLOTS_AT 128
#define RING_SLOT_SIZE 64

struct fuzz {
	struct pci_function *function;
	struct user_server *server;
	int fds[FD_COUNT];
	int ends[2];
	uint8_t *ring; /* memory, until the next client's */
	uint64_t put, sent; /* commands of the client: there, and over the socket */
	uint8_t buffer[USER_PAYLOAD_MAX];
};

static void *serve(void *opaque)
{
	struct fuzz *f = opaque;
	char why[256];

	user_server_serve(f->server, f->ends[0], why, sizeof(why));
	return NULL;
}

static void connect_client(struct fuzz *f, pthread_t *thread)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->ends) ||
	    pthread_create(thread, NULL, serve, f))
		abort();
	/* A server that is busy with itself shall not hold the fuzzer up. */
	fcntl(f->ends[1], F_SETFL, O_NONBLOCK);
}

static void hang_up(struct fuzz *f, pthread_t thread)
{
	shutdown(f->ends[1], SHUT_RDWR);
	pthread_join(thread, NULL);
	close(f->ends[1]);
}

static void send_message(struct fuzz *f, struct user_header *header, const void *payload,
			 size_t length, const int *fds, unsigned fd_count)
{
	struct iovec iov[2] = { { header, sizeof(*header) },
				{ (void *)(uintptr_t)payload, length } };
	uint8_t control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	if (fd_count) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	(void)!sendmsg(f->ends[1], &message, MSG_NOSIGNAL);
}

/* Mostly something that is there. */
static uint64_t take_address(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	return kind < 240 ? BUS + kind % 16 * PAGE_SIZE : take(in, 8);
}

static uint64_t take_size(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	return kind < 240 ? (kind % 4 + 1) * PAGE_SIZE : take(in, 8);
}

/* Version 0.1, how much data the client takes in a message, whether it posts maps, and has a ring. */
static size_t make_version(struct input *in, uint8_t *payload)
{
	static const char *const sizes[] = { "1048576", "0",	 "1",  "7",    "8",
					     "64",	"65536", "-1", "4096", "4294967296" };
	uint8_t kind = (uint8_t)take(in, 1);
	const char *size = sizes[kind % ARRAY_SIZE(sizes)];
	bool posts = kind / ARRAY_SIZE(sizes) % 2;
	bool ring = kind / ARRAY_SIZE(sizes) / 2 % 2;

	memcpy(payload, "\0\0\1\0", 4);
	return 4 + 1 +
	       (size_t)sprintf((char *)payload + 4,
			       "{\"capabilities\":{\"max_msg_fds\":8,"
			       "\"max_data_xfer_size\":%s%s%s}}",
			       size, posts ? ",\"zvisor_posted_maps\":true" : "",
			       ring ? ",\"zvisor_ring\":true" : "");
}

static size_t make_payload(struct input *in, unsigned command, uint8_t *payload)
{
	static const uint32_t offsets[] = {
		TESTDEV_DMA_ADDRESS, TESTDEV_DMA_LENGTH, TESTDEV_DMA_COMMAND, TESTDEV_FIRE,
		TESTDEV_ERROR,	     PCI_COMMAND,	 TESTDEV_LOG_COUNT,   TESTDEV_DMA_LOCAL,
	};
	struct user_dma_map map = { .argsz = 32 };
	struct user_dma_unmap unmap = { .argsz = 24 };
	struct user_region_access access;
	struct user_irq_set set = { .argsz = 20 };
	uint64_t value;

	switch (command) {
	case USER_VERSION:
		return make_version(in, payload);
	case USER_DMA_MAP:
		map.flags = (uint32_t)take(in, 1) % 8;
		if (map.flags > 4)
			map.flags = (map.flags & 3) | USER_DMA_SAME_FILE;
		map.address = take_address(in);
		map.size = take_size(in);
		map.offset = take(in, 1) % 70 * PAGE_SIZE;
		memcpy(payload, &map, sizeof(map));
		return sizeof(map);
	case USER_DMA_UNMAP:
		unmap.flags = (uint32_t)take(in, 1) % 4;
		unmap.address = unmap.flags == USER_UNMAP_ALL ? 0 : take_address(in);
		unmap.size = unmap.flags == USER_UNMAP_ALL ? 0 : take_size(in);
		memcpy(payload, &unmap, sizeof(unmap));
		return sizeof(unmap);
	case USER_REGION_READ:
	case USER_REGION_WRITE:
		access.offset = offsets[take(in, 1) % ARRAY_SIZE(offsets)];
		access.region = take(in, 1) % 10;
		access.count = take(in, 1) & 0x80 ? (uint32_t)take(in, 4) : 8;
		memcpy(payload, &access, sizeof(access));
		if (command == USER_REGION_READ)
			return sizeof(access);
		access.count = MIN(access.count, 4096u);
		memcpy(payload, &access, sizeof(access));
		memset(payload + sizeof(access), 0x5a, access.count);
		switch (access.offset) {
		case TESTDEV_DMA_ADDRESS:
			value = take_address(in) + take(in, 1);
			break;
		case TESTDEV_DMA_LENGTH:
			value = take(in, 2);
			break;
		case TESTDEV_DMA_COMMAND:
			value = take(in, 1) % 10 | take(in, 1) << 8;
			break;
		default:
			value = take(in, 4);
		}
		if (access.count >= 8)
			memcpy(payload + sizeof(access), &value, sizeof(value));
		return sizeof(access) + access.count;
	case USER_RING:
		return 0;
	case USER_DEVICE_SET_IRQS:
		set.flags = (uint32_t)take(in, 1);
		set.index = take(in, 1) % 6;
		set.start = take(in, 1) % 140;
		set.count = take(in, 1) % 4;
		memcpy(payload, &set, sizeof(set));
		memset(payload + sizeof(set), 1, 4);
		return sizeof(set) + (set.flags & 2 ? set.count : 0);
	default: /* the rest of them are small structs */
		memset(payload, 0, 32);
		payload[0] = 64;
		payload[8] = (uint8_t)take(in, 1);
		return command == USER_DEVICE_RESET	      ? 0 :
		       command == USER_DEVICE_GET_REGION_INFO ? 32 :
								16;
	}
}

static void send_something(struct fuzz *f, struct input *in, unsigned command)
{
	uint8_t payload[8192];
	size_t length = make_payload(in, command, payload);
	uint8_t twist = (uint8_t)take(in, 1);
	struct user_header header = {
		.id = (uint16_t)take(in, 1),
		.command = (uint16_t)command,
		.flags = twist & 1 ? USER_NO_REPLY : 0,
	};
	int fds[4];
	unsigned count = 0;

	if (twist & 2)
		count = 1 + take(in, 1) % 3;
	for (unsigned i = 0; i < count; i++)
		fds[i] = f->fds[take(in, 1) % FD_COUNT];
	if ((twist & 0xf0) == 0xf0 && length)
		payload[take(in, 2) % length] = (uint8_t)take(in, 1);
	if ((twist & 0xf0) == 0xe0)
		length = take(in, 1) % (length + 8);
	header.size = (uint32_t)(sizeof(header) + length);
	if ((twist & 0xf0) == 0xd0)
		header.size = (uint32_t)take(in, 4);
	if ((twist & 0xf0) == 0xc0)
		header.flags = (uint32_t)take(in, 1);
	send_message(f, &header, payload, length, fds, count);
	f->sent++;
}

/* One that is as it should be, so that others are of use. */
static void give_ring(struct fuzz *f)
{
	struct user_header header = { .command = USER_RING, .size = sizeof(header) };

	send_message(f, &header, NULL, 0, &f->fds[FD_RING], 1);
	f->sent++;
}

/* A command in the ring, mostly a good one, and mostly in its turn. */
static void put_something(struct fuzz *f, struct input *in)
{
	static const uint8_t usual[] = { USER_REGION_WRITE, USER_REGION_WRITE, USER_DMA_MAP,
					 USER_DMA_UNMAP };
	const struct user_header wake = { .command = USER_RING, .flags = USER_NO_REPLY };
	uint8_t *slot = f->ring + RING_SLOTS_AT + f->put % USER_RING_SLOTS * RING_SLOT_SIZE;
	uint8_t payload[8192], twist = (uint8_t)take(in, 1);
	struct user_header header = { .flags = USER_NO_REPLY };
	uint64_t after = f->sent;
	size_t length;

	header.command = twist & 0x40 ? take(in, 1) % 34 : usual[twist % ARRAY_SIZE(usual)];
	length = make_payload(in, header.command, payload);
	header.size = (uint32_t)(sizeof(header) + length);
	if ((twist & 0x38) == 0x38)
		header.size = (uint32_t)take(in, 1);
	if ((twist & 0x38) == 0x30)
		header.flags = (uint32_t)take(in, 1);
	if ((twist & 0x38) == 0x28)
		after = take(in, 1);
	f->put++;
	if ((twist & 0x38) == 0x20)
		f->put = take(in, 8);
	memcpy(slot, &after, sizeof(after));
	memcpy(slot + sizeof(after), &header, sizeof(header));
	memcpy(slot + sizeof(after) + sizeof(header), payload,
	       MIN(length, USER_RING_COMMAND_MAX - sizeof(header)));
	__atomic_store_n((uint64_t *)f->ring, f->put, __ATOMIC_RELEASE);
	if (twist & 0x80) {
		header = wake;
		header.size = sizeof(header);
		send_message(f, &header, NULL, 0, NULL, 0);
		f->sent++;
	}
}

/* What the server has said; a question of it is answered, well or badly. */
static bool answer(struct fuzz *f, struct input *in, int timeout_ms)
{
	struct pollfd ready = { .fd = f->ends[1], .events = POLLIN };
	struct user_message message;
	struct user_dma_access access;
	const char *why;
	size_t length = sizeof(access);
	uint8_t twist;

	if (poll(&ready, 1, timeout_ms) <= 0)
		return false;
	if (user_message_read(f->ends[1], &message, f->buffer, NULL, &why))
		return false;
	user_fds_close(&message.fds);
	if ((message.header.flags & USER_TYPE_MASK) != USER_TYPE_COMMAND)
		return true;
	memcpy(&access, message.payload, sizeof(access));
	twist = (uint8_t)take(in, 1);
	if (message.header.command == USER_DMA_READ)
		length += access.count;
	if ((twist & 0xe0) == 0xe0)
		length = take(in, 2);
	message.header.flags = USER_TYPE_REPLY | (twist & 0x10 ? USER_ERROR : 0);
	if (twist & 0x08)
		message.header.id++;
	if (twist & 0x10)
		length = 0;
	message.header.size = (uint32_t)(sizeof(message.header) + length);
	send_message(f, &message.header, message.payload, length, f->fds, twist == 0x0f);
	return true;
}

static void attack(struct fuzz *f, struct input *in)
{
	static const uint8_t usual[] = { USER_REGION_WRITE, USER_REGION_WRITE, USER_REGION_WRITE,
					 USER_DMA_MAP,	    USER_DMA_UNMAP,    USER_DEVICE_SET_IRQS,
					 USER_REGION_READ,  USER_DEVICE_RESET };
	pthread_t thread;
	uint8_t hello;

	memset(f->ring, 0, RING_SIZE);
	f->put = f->sent = 0;
	connect_client(f, &thread);
	hello = (uint8_t)take(in, 1);
	if (hello < 250)
		send_something(f, &(struct input){ &hello, hello >= 200 }, USER_VERSION);
	if (hello >= 220 && hello < 240)
		give_ring(f);
	for (unsigned i = 0; i < OPERATIONS_MAX && in->size; i++) {
		uint8_t what = (uint8_t)take(in, 1);

		if (what < 160) {
			send_something(f, in, usual[what % ARRAY_SIZE(usual)]);
		} else if (what < 220) {
			send_something(f, in, what % 20);
		} else if (what < 240) {
			put_something(f, in);
		} else if (what == 240) {
			send_something(f, in, USER_RING);
		} else if (what < 250) {
			answer(f, in, 1);
		} else {
			size_t length = MIN(in->size, what % 40u);

			(void)!send(f->ends[1], in->data, length, MSG_NOSIGNAL);
			in->data += length;
			in->size -= length;
		}
		while (answer(f, in, 0))
			;
	}
	hang_up(f, thread);
}

static uint64_t read_register(struct fuzz *f, uint64_t offset)
{
	struct user_region_access access = { offset, 0, 8 };
	struct user_header header = { 1, USER_REGION_READ, 32, 0, 0 };
	struct user_message message;
	const char *why;
	uint64_t value = 0;

	send_message(f, &header, &access, sizeof(access), NULL, 0);
	if (user_message_read(f->ends[1], &message, f->buffer, NULL, &why) || message.length != 24) {
		fprintf(stderr, "the server does not answer a client that behaves\n");
		abort();
	}
	memcpy(&value, message.payload + sizeof(access), sizeof(value));
	return value;
}

static void behave(struct fuzz *f)
{
	struct user_message message;
	const char *why;
	pthread_t thread;

	connect_client(f, &thread);
	fcntl(f->ends[1], F_SETFL, 0);
	send_something(f, &(struct input){ NULL, 0 }, USER_VERSION);
	if (user_message_read(f->ends[1], &message, f->buffer, NULL, &why) ||
	    read_register(f, TESTDEV_ID) != TESTDEV_ID_VALUE || read_register(f, TESTDEV_SCRATCH) ||
	    read_register(f, TESTDEV_DMA_HELD) || read_register(f, TESTDEV_DMA_ADDRESS)) {
		fprintf(stderr, "the device has something of the client before\n");
		abort();
	}
	hang_up(f, thread);
}

static struct fuzz *set_up(void)
{
	struct fuzz *f = calloc(1, sizeof(*f));
	struct device_config config;
	char error[DEVICE_ERROR_MAX];

	if (!f || device_parse("testdev,memory=65536", &config, error, sizeof(error)) ||
	    device_create(&config, "testdev", &f->function, error, sizeof(error)))
		abort();
	device_config_clear(&config);
	f->server = user_server_new(f->function, TIMEOUT_MS);
	f->fds[FD_SEALED] = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	f->fds[FD_UNSEALED] = memfd_create("unsealed", MFD_CLOEXEC);
	f->fds[FD_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	f->fds[FD_RING] = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (!f->server || ftruncate(f->fds[FD_SEALED], MEMORY) ||
	    ftruncate(f->fds[FD_UNSEALED], MEMORY) ||
	    fcntl(f->fds[FD_SEALED], F_ADD_SEALS, F_SEAL_SHRINK) ||
	    ftruncate(f->fds[FD_RING], RING_SIZE) ||
	    fcntl(f->fds[FD_RING], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		abort();
	f->ring = mmap(NULL, RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->fds[FD_RING], 0);
	if (f->ring == MAP_FAILED)
		abort();
	return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz *f;
	struct input in = { data, size };

	if (!f)
		f = set_up();
	attack(f, &in);
	behave(f);
	return 0;
}
