/* SPDX-License-Identifier: MIT */
/*
 * A ring with restrictions; see block_ring.h, and io_uring_register(2) for
 * IORING_REGISTER_RESTRICTIONS: they hold from the moment that the ring is enabled.
 */
#include "devices/block_ring.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

/* Shared libraries of liburing before 2.4 have no function for these two. */
static int register_with(struct io_uring *ring, unsigned what, const void *list, unsigned count)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, list, count) ? -errno : 0;
}

static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t operations[] = {
		IORING_OP_NOP,	  IORING_OP_READ,  IORING_OP_READV,	IORING_OP_WRITE,
		IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
	};
	struct io_uring_restriction list[ARRAY_SIZE(operations) + 2] = {
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP,
		  .register_op = IORING_REGISTER_SYNC_CANCEL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++)
		list[2 + i] = (struct io_uring_restriction){
			.opcode = IORING_RESTRICTION_SQE_OP,
			.sqe_op = operations[i],
		};
	return register_with(ring, IORING_REGISTER_RESTRICTIONS, list, ARRAY_SIZE(list));
}

static int init(struct io_uring *ring, unsigned depth, int wake_fd, bool restricted)
{
	int ret = io_uring_queue_init(depth, ring, restricted ? IORING_SETUP_R_DISABLED : 0);

	if (ret)
		return ret;
	ret = io_uring_register_eventfd(ring, wake_fd);
	if (!ret && restricted)
		ret = restrict_ring(ring);
	if (!ret && restricted)
		ret = register_with(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (ret)
		io_uring_queue_exit(ring);
	return ret;
}

int block_ring_init(struct io_uring *ring, unsigned depth, int wake_fd)
{
	int ret = init(ring, depth, wake_fd, true);

	return ret == -EINVAL ? init(ring, depth, wake_fd, false) : ret;
}
