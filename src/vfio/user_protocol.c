/* SPDX-License-Identifier: MIT */
/* Messages of vfio-user over a socket; see user_protocol.h. */
#include "vfio/user_protocol.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

static_assert(sizeof(struct user_header) == 16 && sizeof(struct user_dma_map) == 32 &&
	      sizeof(struct user_dma_unmap) == 24 && sizeof(struct user_device_info) == 16 &&
	      sizeof(struct user_region_info) == 32 && sizeof(struct user_irq_info) == 16 &&
	      sizeof(struct user_irq_set) == 20 && sizeof(struct user_region_access) == 16 &&
	      sizeof(struct user_dma_access) == 16, "as on the wire");

union control {
	struct cmsghdr header;
	uint8_t bytes[CMSG_SPACE(USER_FDS_MAX * sizeof(int))];
};

const char *user_command_name(unsigned command)
{
	static const char *const names[] = {
		[USER_VERSION] = "VERSION",
		[USER_DMA_MAP] = "DMA_MAP",
		[USER_DMA_UNMAP] = "DMA_UNMAP",
		[USER_DEVICE_GET_INFO] = "DEVICE_GET_INFO",
		[USER_DEVICE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
		[USER_DEVICE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
		[USER_DEVICE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
		[USER_DEVICE_SET_IRQS] = "DEVICE_SET_IRQS",
		[USER_REGION_READ] = "REGION_READ",
		[USER_REGION_WRITE] = "REGION_WRITE",
		[USER_DMA_READ] = "DMA_READ",
		[USER_DMA_WRITE] = "DMA_WRITE",
		[USER_DEVICE_RESET] = "DEVICE_RESET",
		[USER_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
	};

	return command < ARRAY_SIZE(names) && names[command] ? names[command] : "command";
}

void user_fds_close(struct user_fds *fds)
{
	for (unsigned i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
	fds->count = 0;
}

int user_fds_take(struct user_fds *fds, unsigned index)
{
	int fd;

	if (index >= fds->count)
		return -1;
	fd = fds->fd[index];
	fds->fd[index] = -1;
	return fd;
}

/* --- reading ------------------------------------------------------------------------- */

/*
 * Descriptors come with the byte that they were sent with, wherever in the message that
 * is. All that the kernel has put into `control` are ours now, wanted or not. False: more
 * than there may be.
 */
static bool take_fds(const struct msghdr *header, struct user_fds *fds)
{
	bool fit = !(header->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)header, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (fds->count < USER_FDS_MAX) {
				fds->fd[fds->count++] = fd;
			} else {
				close(fd);
				fit = false;
			}
		}
	}
	return fit;
}

/* All of `length` bytes, of which `*done` came. -ECONNRESET: the peer has closed. */
static int read_all(int socket, void *to, size_t length, int flags, struct user_fds *fds,
		    size_t *done, const char **why)
{
	uint8_t *at = to;

	for (*done = 0; *done < length;) {
		struct iovec iov = { at + *done, length - *done };
		union control control;
		struct msghdr header = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		ssize_t got = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
		if (!got)
			return -ECONNRESET;
		*done += (size_t)got;
		if (!take_fds(&header, fds)) {
			*why = "too many file descriptors";
			return -EPROTO;
		}
		flags &= ~MSG_DONTWAIT; /* what has begun is to end */
	}
	return 0;
}

static const char *fault_of(const struct user_header *header)
{
	uint32_t type = header->flags & USER_TYPE_MASK;

	if (header->size < sizeof(*header))
		return "a size below that of a header";
	if (header->size - sizeof(*header) > USER_PAYLOAD_MAX)
		return "too large";
	if (type != USER_TYPE_COMMAND && type != USER_TYPE_REPLY)
		return "neither command nor reply";
	if (header->flags & ~(uint32_t)(USER_TYPE_MASK | USER_NO_REPLY | USER_ERROR))
		return "unknown flags";
	if (!header->command || header->command > USER_COMMAND_MAX)
		return "an unknown command";
	return NULL;
}

int user_message_read(int socket, struct user_message *message, uint8_t *payload, int flags,
		      const char **why)
{
	size_t done;
	int rc;

	*why = NULL;
	message->fds.count = 0;
	message->payload = payload;
	message->length = 0;
	/* Not more than the header: what is beyond may be another message's, with its fds. */
	rc = read_all(socket, &message->header, sizeof(message->header), flags, &message->fds,
		      &done, why);
	if (rc && !done)
		goto fail;
	if (!rc) {
		*why = fault_of(&message->header);
		rc = *why ? -EPROTO : 0;
	}
	if (!rc) {
		message->length = message->header.size - (uint32_t)sizeof(message->header);
		rc = read_all(socket, payload, message->length, 0, &message->fds, &done, why);
	}
	if (!rc)
		return 0;
	if (rc == -ECONNRESET || rc == -EAGAIN) {
		*why = rc == -EAGAIN ? "the rest of it does not come" : "it ends too early";
		rc = -EPROTO;
	}
fail:
	user_fds_close(&message->fds);
	return rc;
}

/* --- writing --------------------------------------------------------------------------- */

int user_message_write(int socket, struct user_header *header, const struct iovec *parts,
		       unsigned part_count, const int *fds, unsigned fd_count)
{
	struct iovec iov[1 + USER_PARTS_MAX] = { { header, sizeof(*header) } };
	union control control;
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 1 + part_count };
	size_t left = sizeof(*header);

	if (part_count > USER_PARTS_MAX || fd_count > USER_FDS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < part_count; i++) {
		iov[1 + i] = parts[i];
		left += parts[i].iov_len;
	}
	if (left > sizeof(*header) + USER_PAYLOAD_MAX)
		return -EMSGSIZE;
	header->size = (uint32_t)left;
	if (fd_count) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	while (left) {
		ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		left -= (size_t)sent;
		message.msg_control = NULL;
		message.msg_controllen = 0;
		while (left && (size_t)sent >= message.msg_iov->iov_len) {
			sent -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (left) {
			message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + sent;
			message.msg_iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}
