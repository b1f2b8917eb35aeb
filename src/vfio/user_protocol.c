/* SPDX-License-Identifier: MIT */
/* Messages of vfio-user over a socket; see user_protocol.h. */
#include "vfio/user_protocol.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/util.h"

static_assert(sizeof(struct user_header) == 16 && sizeof(struct user_dma_map) == 32 &&
		      sizeof(struct user_dma_unmap) == 24 &&
		      sizeof(struct user_device_info) == 16 &&
		      sizeof(struct user_region_info) == 32 && sizeof(struct user_irq_info) == 16 &&
		      sizeof(struct user_irq_set) == 20 &&
		      sizeof(struct user_region_access) == 16 &&
		      sizeof(struct user_dma_access) == 16,
	      "as on the wire");

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
		[USER_RING] = "RING",
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

bool user_file_can_be_mapped(int fd, int wanted)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;

	return seals >= 0 && (seals & wanted) == wanted && !fstatfs(fd, &fs) &&
	       fs.f_type != HUGETLBFS_MAGIC;
}

/* Until the socket can be read or written, or is dead. 0, or -EAGAIN when the time is over. */
static int wait_until(int socket, short events, uint64_t until)
{
	struct pollfd ready = { .fd = socket, .events = events };

	for (;;) {
		struct timespec left = { 0 };
		int count;

		if (until != DEADLINE_NEVER)
			left = deadline_left(until);
		count = ppoll(&ready, 1, until != DEADLINE_NEVER ? &left : NULL, NULL);
		if (count > 0)
			return 0;
		if (!count)
			return -EAGAIN;
		if (errno != EINTR)
			return -errno;
	}
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

/* One message that comes in. */
struct reading {
	int socket;
	const struct user_patience *patience;
	bool begun;
	uint64_t end; /* of the time that it has; 0: not known yet */
	struct user_ahead *ahead; /* or NULL */
	bool more; /* may be read than what is asked for */
	struct user_fds *fds;
	const char *why;
};

/* 0, or -EAGAIN when the time is over. */
static int wait_for_more(struct reading *r)
{
	const struct user_patience *patience = r->patience;

	if (!r->begun)
		return patience->until ? wait_until(r->socket, POLLIN, patience->until) : -EAGAIN;
	if (!r->end) {
		r->end = deadline_in_ms(patience->message_ms);
		if (patience->until)
			r->end = MIN(r->end, patience->until);
	}
	return wait_until(r->socket, POLLIN, r->end);
}

/* What there is, once there is something: a number of bytes. -ECONNRESET: the peer has closed. */
static ssize_t read_some(struct reading *r, void *to, size_t length)
{
	struct iovec iov = { to, length };
	union control control;
	ssize_t got;

	for (;;) {
		struct msghdr header = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		int rc = 0;

		got = recvmsg(r->socket, &header,
			      MSG_CMSG_CLOEXEC | (r->patience ? MSG_DONTWAIT : 0));
		if (!got)
			return -ECONNRESET;
		if (got > 0 && take_fds(&header, r->fds))
			break;
		if (got > 0) {
			r->begun = true;
			r->why = "too many file descriptors";
			return -EPROTO;
		}
		if (errno == EINTR)
			continue;
		rc = (errno == EAGAIN || errno == EWOULDBLOCK) && r->patience ? wait_for_more(r) :
										-errno;
		if (rc)
			return rc;
	}
	r->begun = true;
	return got;
}

/* All of `length` bytes. */
static int read_all(struct reading *r, void *to, size_t length)
{
	struct user_ahead *ahead = r->ahead;
	uint8_t *at = to;

	while (length) {
		ssize_t got;

		if (ahead && user_ahead_any(ahead)) {
			got = (ssize_t)MIN(length, ahead->end - ahead->begin);
			memcpy(at, ahead->bytes + ahead->begin, (size_t)got);
			ahead->begin += (unsigned)got;
			r->begun = true;
		} else if (r->more) {
			got = read_some(r, ahead->bytes, sizeof(ahead->bytes));
			if (got < 0)
				return (int)got;
			ahead->begin = 0;
			ahead->end = (unsigned)got;
			r->more = false;
			continue;
		} else {
			got = read_some(r, at, length);
			if (got < 0)
				return (int)got;
		}
		at += got;
		length -= (size_t)got;
	}
	return 0;
}

const char *user_header_fault(const struct user_header *header)
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

int user_message_read_ahead(int socket, struct user_ahead *ahead, bool more,
			    struct user_message *message, uint8_t *payload,
			    const struct user_patience *patience, const char **why)
{
	struct reading r = {
		.socket = socket,
		.patience = patience,
		.ahead = ahead,
		.more = more,
		.fds = ahead ? &ahead->fds : &message->fds,
	};
	int rc;

	*why = NULL;
	message->fds.count = 0;
	message->payload = payload;
	message->length = 0;
	rc = read_all(&r, &message->header, sizeof(message->header));
	if (rc && !r.begun)
		goto fail;
	if (!rc) {
		r.why = user_header_fault(&message->header);
		rc = r.why ? -EPROTO : 0;
	}
	if (!rc) {
		message->length = message->header.size - (uint32_t)sizeof(message->header);
		rc = read_all(&r, payload, message->length);
	}
	if (!rc) {
		if (ahead && !user_ahead_any(ahead)) {
			message->fds = ahead->fds;
			ahead->fds.count = 0;
		}
		return 0;
	}
	if (rc == -ECONNRESET || rc == -EAGAIN) {
		r.why = rc == -EAGAIN ? "the rest of it does not come" : "it ends too early";
		rc = -EPROTO;
	}
	*why = r.why;
fail:
	user_fds_close(r.fds);
	return rc;
}

int user_message_read(int socket, struct user_message *message, uint8_t *payload,
		      const struct user_patience *patience, const char **why)
{
	/* Not more than is asked for: what is beyond may be another message's, with its fds. */
	return user_message_read_ahead(socket, NULL, false, message, payload, patience, why);
}

/* --- writing --------------------------------------------------------------------------- */

int user_message_write(int socket, struct user_header *header, const struct iovec *parts,
		       unsigned part_count, const int *fds, unsigned fd_count, uint64_t until)
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
		ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		int rc = 0;

		if (sent < 0 && errno == EINTR)
			continue;
		/* Also after a part of it: a peer may read a little all the time. */
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			rc = wait_until(socket, POLLOUT, until);
		else if (sent < 0)
			rc = -errno;
		if (rc)
			return rc;
		if (sent < 0)
			continue;
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
