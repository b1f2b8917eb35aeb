/* SPDX-License-Identifier: MIT */
/*
 * Eventfds that are shared; see event.h. RWF_NOWAIT: preadv2(2); eventfd_read() of Linux
 * (fs/eventfd.c) looks at it since 5.8, eventfd_write() does not.
 */
#include "base/event.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

bool event_give(int fd)
{
	const uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one);
}

bool event_take(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	uint64_t count;
	const struct iovec part = { &count, sizeof(count) };
	ssize_t done = preadv2(fd, &part, 1, -1, RWF_NOWAIT);

	/* An older kernel: who takes the flag off, and the signal back in between, is waited for. */
	if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) && poll(&ready, 1, 0) == 1)
		done = read(fd, &count, sizeof(count));
	return done == (ssize_t)sizeof(count);
}
