/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t buffer[USER_PAYLOAD_MAX];

void peer_send_raw(int socket, const struct user_header *header, const void *payload,
		   size_t length, const int *fds, unsigned fd_count)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)header, sizeof(*header) },
				{ (void *)(uintptr_t)payload, length } };
	uint8_t control[CMSG_SPACE(253 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
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
	/* The other side may have closed before it has all. */
	(void)sendmsg(socket, &message, MSG_NOSIGNAL);
}

void peer_send(int socket, unsigned command, uint32_t flags, const void *payload, size_t length,
	       const int *fds, unsigned fd_count)
{
	const struct user_header header = {
		.id = 7,
		.command = (uint16_t)command,
		.size = (uint32_t)(sizeof(header) + length),
		.flags = flags,
	};

	peer_send_raw(socket, &header, payload, length, fds, fd_count);
}

bool peer_receive(int socket, struct user_message *message)
{
	struct pollfd ready = { .fd = socket, .events = POLLIN };
	const char *why = NULL;
	int rc;

	assert_int_equal(poll(&ready, 1, PEER_PATIENCE_MS), 1);
	rc = user_message_read(socket, message, buffer, NULL, &why);
	if (rc == -ECONNRESET)
		return false;
	assert_int_equal(rc, 0);
	return true;
}

static int take_answer(int socket, unsigned command, void *reply, size_t reply_length)
{
	struct user_message message;

	assert_true(peer_receive(socket, &message));
	assert_int_equal(message.header.id, 7);
	assert_int_equal(message.header.command, command);
	assert_int_equal(message.header.flags & USER_TYPE_MASK, USER_TYPE_REPLY);
	if (message.header.flags & USER_ERROR) {
		assert_int_equal(message.length, 0);
		assert_int_not_equal(message.header.error, 0);
		return (int)message.header.error;
	}
	if (reply) {
		assert_int_equal(message.length, reply_length);
		memcpy(reply, message.payload, reply_length);
	}
	user_fds_close(&message.fds);
	return 0;
}

int peer_call(int socket, unsigned command, const void *payload, size_t length, void *reply,
	      size_t reply_length)
{
	peer_send(socket, command, 0, payload, length, NULL, 0);
	return take_answer(socket, command, reply, reply_length);
}

int peer_call_fds(int socket, unsigned command, const void *payload, size_t length, const int *fds,
		  unsigned fd_count)
{
	peer_send(socket, command, 0, payload, length, fds, fd_count);
	return take_answer(socket, command, NULL, 0);
}

void peer_greet(int socket)
{
	struct {
		struct user_version version;
		char text[64];
	} hello = { { 0, 1 }, "{\"capabilities\":{\"max_msg_fds\":8}}" };

	assert_int_equal(peer_call(socket, USER_VERSION, &hello, 4 + strlen(hello.text) + 1, NULL,
				   0), 0);
}

void peer_write(int socket, unsigned region, uint64_t offset, uint64_t value, unsigned size)
{
	struct {
		struct user_region_access access;
		uint64_t value;
	} command = { { offset, region, size }, htole64(value) };

	assert_int_equal(peer_call(socket, USER_REGION_WRITE, &command, 16 + size, NULL, 0), 0);
}

uint64_t peer_read(int socket, unsigned region, uint64_t offset, unsigned size)
{
	const struct user_region_access access = { offset, region, size };
	struct {
		struct user_region_access access;
		uint64_t value;
	} reply = { 0 };

	assert_int_equal(peer_call(socket, USER_REGION_READ, &access, sizeof(access), &reply,
				   16 + size), 0);
	assert_memory_equal(&reply.access, &access, sizeof(access));
	return le64toh(reply.value);
}

int peer_map(int socket, uint64_t address, uint64_t size, int fd, uint64_t offset, uint32_t flags)
{
	const struct user_dma_map map = { sizeof(map), flags, offset, address, size };

	return peer_call_fds(socket, USER_DMA_MAP, &map, sizeof(map), &fd, fd >= 0);
}

int peer_unmap(int socket, uint64_t address, uint64_t size)
{
	const struct user_dma_unmap unmap = { sizeof(unmap), 0, address, size };
	struct user_dma_unmap reply;

	return peer_call(socket, USER_DMA_UNMAP, &unmap, sizeof(unmap), &reply, sizeof(reply));
}

int peer_memory(size_t size, bool sealed)
{
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (sealed)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

uint64_t peer_event(int fd, int timeout_ms)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&ready, 1, timeout_ms) == 1)
		assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	return count;
}
