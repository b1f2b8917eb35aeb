/* SPDX-License-Identifier: MIT */
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/util.h"
#include "peer.h"

#define CONFIG_SIZE 4096u

static void send_reply(int socket, const struct user_message *message, uint32_t error,
		       const void *payload, size_t length, const int *fd)
{
	struct user_header header = message->header;
	const struct iovec part = { (void *)(uintptr_t)payload, length };

	header.flags = USER_TYPE_REPLY | (error ? USER_ERROR : 0);
	header.error = error;
	/* The client may have gone. */
	(void)user_message_write(socket, &header, &part, 1, fd, fd ? 1 : 0, DEADLINE_NEVER);
}

void fake_server_reply(int socket, const struct user_message *message, uint32_t error,
		       const void *payload, size_t length)
{
	send_reply(socket, message, error, payload, length, NULL);
}

/* A memory controller of nobody's with one BAR of 64 bits. */
static void make_config(uint8_t *config)
{
	static const uint8_t head[] = { 0x34, 0x12, 0x54, 0x5a, 0, 0, 0, 0, 1, 2, 8, 1 };

	memset(config, 0, CONFIG_SIZE);
	memcpy(config, head, sizeof(head));
	config[0x10] = 4;
}

static void answer_region_info(struct fake_server *s, int socket,
			       const struct user_message *message)
{
	struct {
		struct user_region_info info;
		struct peer_sparse sparse;
		struct vfio_region_sparse_mmap_area area[FAKE_AREAS_MAX];
	} reply = { 0 };
	size_t length = sizeof(reply.info);
	bool mapped;

	memcpy(&reply.info, message->payload, MIN(message->length, sizeof(reply.info)));
	reply.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	reply.info.size = reply.info.index == 0				   ? FAKE_BAR_SIZE :
			  reply.info.index == VFIO_PCI_CONFIG_REGION_INDEX ? CONFIG_SIZE :
									     0;
	reply.info.cap_offset = 0;
	reply.info.offset = 0;
	mapped = !reply.info.index && s->registers >= 0;
	if (mapped)
		reply.info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (mapped && s->areas) {
		reply.info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		reply.info.cap_offset = (uint32_t)sizeof(reply.info);
		reply.sparse.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
		reply.sparse.header.version = 1;
		reply.sparse.nr_areas = s->areas;
		memcpy(reply.area, s->area, sizeof(s->area));
		length += sizeof(reply.sparse) + s->areas * sizeof(reply.area[0]);
	}
	send_reply(socket, message, 0, &reply, length, mapped ? &s->registers : NULL);
}

static void answer_read(int socket, const struct user_message *message)
{
	uint8_t reply[sizeof(struct user_region_access) + CONFIG_SIZE] = { 0 };
	uint8_t config[CONFIG_SIZE];
	struct user_region_access access;

	memcpy(&access, message->payload, sizeof(access));
	access.count = MIN(access.count, CONFIG_SIZE);
	make_config(config);
	memcpy(reply, &access, sizeof(access));
	if (access.region == VFIO_PCI_CONFIG_REGION_INDEX &&
	    range_fits(access.offset, access.count, sizeof(config)))
		memcpy(reply + sizeof(access), config + access.offset, access.count);
	send_reply(socket, message, 0, reply, sizeof(access) + access.count, NULL);
}

static void answer_as_usual(struct fake_server *s, int socket, const struct user_message *message)
{
	struct user_device_info device = {
		.argsz = sizeof(device),
		.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
		.regions = VFIO_PCI_NUM_REGIONS,
		.irqs = VFIO_PCI_NUM_IRQS,
	};
	struct user_irq_info irq = { .argsz = sizeof(irq) };
	struct {
		struct user_version version;
		char text[256];
	} hello = { { USER_VERSION_MAJOR, USER_VERSION_MINOR }, "" };
	size_t same = 0;

	switch (message->header.command) {
	case USER_VERSION:
		snprintf(hello.text, sizeof(hello.text), "{\"capabilities\":%s}",
			 s->capabilities ? s->capabilities : "{\"max_msg_fds\":8}");
		send_reply(socket, message, 0, &hello,
			   sizeof(hello.version) + strlen(hello.text) + 1, NULL);
		return;
	case USER_DEVICE_GET_INFO:
		send_reply(socket, message, 0, &device, sizeof(device), NULL);
		return;
	case USER_DEVICE_GET_REGION_INFO:
		answer_region_info(s, socket, message);
		return;
	case USER_DEVICE_GET_IRQ_INFO:
		memcpy(&irq, message->payload, MIN(message->length, sizeof(irq)));
		irq.count = 0;
		send_reply(socket, message, 0, &irq, sizeof(irq), NULL);
		return;
	case USER_REGION_READ:
		answer_read(socket, message);
		return;
	case USER_REGION_WRITE:
		same = sizeof(struct user_region_access);
		break;
	case USER_DMA_UNMAP:
		same = sizeof(struct user_dma_unmap);
		break;
	}
	if (!(message->header.flags & USER_NO_REPLY))
		send_reply(socket, message, 0, message->payload, same, NULL);
}

static void serve(struct fake_server *s, int socket)
{
	struct user_message message;
	const char *why;

	while (!user_message_read(socket, &message, s->payload, NULL, &why)) {
		if ((message.header.flags & USER_TYPE_MASK) == USER_TYPE_COMMAND) {
			s->commands[message.header.command]++;
			if (!(message.header.flags & USER_NO_REPLY))
				s->answered[message.header.command]++;
		}
		if ((!s->answer || !s->answer(s, socket, &message)) &&
		    (message.header.flags & USER_TYPE_MASK) == USER_TYPE_COMMAND)
			answer_as_usual(s, socket, &message);
		user_fds_close(&message.fds);
	}
}

static void *server(void *opaque)
{
	struct fake_server *s = opaque;

	while (!s->quit) {
		int socket = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

		if (socket < 0)
			break;
		s->socket = socket;
		s->connections++;
		if (!s->quit)
			serve(s, socket);
		s->socket = -1;
		close(socket);
	}
	return NULL;
}

void fake_server_start(struct fake_server *s)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(s->folder, "/tmp/zvisor-fake-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->path, sizeof(s->path), "%s/socket", s->folder);
	memcpy(address.sun_path, s->path, sizeof(s->path));
	s->socket = -1;
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(s->listener >= 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->listener, 8), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, server, s), 0);
}

void fake_server_drop(struct fake_server *s)
{
	int socket = s->socket;

	if (socket >= 0)
		shutdown(socket, SHUT_RDWR);
}

void fake_server_stop(struct fake_server *s)
{
	s->quit = true;
	shutdown(s->listener, SHUT_RDWR);
	fake_server_drop(s);
	pthread_join(s->thread, NULL);
	close(s->listener);
	unlink(s->path);
	rmdir(s->folder);
}

int fake_server_registers(size_t size)
{
	int fd = memfd_create("registers", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}
