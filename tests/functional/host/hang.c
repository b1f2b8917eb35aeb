/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into zvisor: a disk of the host that does not answer. As long as the file that
 * HANG_WHILE names exists, what is begun for the image HANG_FILE is not given to the
 * kernel, so that it does not end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_for(const struct io_uring_sqe *sqe, const struct stat *image)
{
	struct stat st;

	return !fstat(sqe->fd, &st) && st.st_dev == image->st_dev && st.st_ino == image->st_ino;
}

int io_uring_submit(struct io_uring *ring)
{
	int (*submit)(struct io_uring *) = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, __func__);
	const char *image = getenv("HANG_FILE"), *condition = getenv("HANG_WHILE");
	struct stat st;

	if (image && condition && !access(condition, F_OK) && !stat(image, &st))
		for (unsigned at = ring->sq.sqe_head; at != ring->sq.sqe_tail; at++)
			if (is_for(&ring->sq.sqes[at & *ring->sq.kring_mask], &st))
				return -EBUSY;
	return submit(ring);
}
