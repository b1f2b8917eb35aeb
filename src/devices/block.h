/* SPDX-License-Identifier: MIT */
/*
 * An image: a raw file or a block device, read and written asynchronously.
 *
 * A struct block is the open image. It is locked against every other program
 * that locks its images, so that no two write to one. I/O goes through a
 * struct block_queue, of which a device may have as many as it likes: each is
 * an io_uring of its own, and no two share a lock.
 *
 *   block_queue_start(request) …  block_queue_run()  →  request->done()
 *
 * Starting a request only notes it; running the queue hands all that were started
 * to the kernel, which does not block, and runs done() for all that have
 * completed. What the kernel answers at once (data in the page cache, a hole in
 * the file) is done before that call returns. For the others the queue's wake-up
 * file descriptor, an eventfd, becomes readable, and somebody runs the queue
 * again. So a fast answer costs no thread switch, and a slow one holds up nobody.
 *
 * What a request promises when it is done with result 0:
 *	read, write	all bytes were moved; nothing was cut short
 *	durable write	… and have reached the disk (also durable zero)
 *	flush		all that was done on this image before it was started has
 *			reached the disk
 *	zero		the range reads as zeros
 *	discard		the range may read as zeros; space may have been freed
 * Requests that are under way together have no order among each other.
 *
 * The image is read and written directly (O_DIRECT) when it can be, past the
 * host's page cache. Guest buffers that are not aligned for that are copied
 * through a buffer here: writing partly through the page cache and partly past
 * it could lose data.
 *
 * Threads: calls on one queue are serialised by its owner. done() is called from
 * block_queue_run() alone, and may start requests.
 */
#ifndef ZVISOR_DEVICES_BLOCK_H
#define ZVISOR_DEVICES_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct block;
struct block_queue;

#define BLOCK_SECTOR 512u /* sizes, offsets and lengths are multiples of it */
#define BLOCK_LENGTH_MAX (1u << 20) /* of a read or write */

struct block_options {
	const char *path;
	bool readonly;
	bool direct; /* if the image can */
};

/*
 * Returns 0, or a negative errno with one line about it in `error` that begins
 * with file=PATH.
 */
int block_open(const struct block_options *options, struct block **block, char *error,
	       size_t error_size);

/* No queue may be left. NULL is allowed. */
void block_close(struct block *block);

uint64_t block_size(const struct block *block); /* bytes, not 0 */
bool block_is_direct(const struct block *block);

enum block_operation {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_ZERO,
	BLOCK_DISCARD,
};

/*
 * One request. It and the buffers are the caller's, and stay as they are until
 * done() is called, which may reuse or free them. Members below the line are
 * the queue's.
 */
struct block_request {
	enum block_operation operation;
	bool durable;   /* write, zero */
	bool may_unmap; /* zero: space may be freed */
	uint64_t offset, length;
	const struct iovec *iov; /* read, write: `length` bytes in all */
	unsigned iov_count;
	/* `result` is 0 or a negative errno. */
	void (*done)(struct block_request *request, int result);
	/* ---- */
	struct block_request *next;
	uint8_t step, retries;
	bool cancelled;
	uint64_t progress;
	void *bounce;
	struct iovec bounce_iov;
	struct iovec *rest; /* what is left after a short transfer, malloc()ed */
};

/*
 * `depth` is how many requests are under way at most; starting more is an error
 * of the caller. `wake_fd` is the caller's. Returns 0 or a negative errno.
 */
int block_queue_new(struct block *block, unsigned depth, int wake_fd, struct block_queue **queue);

/* No request may be under way. NULL is allowed. */
void block_queue_free(struct block_queue *queue);

void block_queue_start(struct block_queue *queue, struct block_request *request);

/*
 * Never blocks. False when the kernel was short of something and has to be asked
 * again, a little later, without a wake-up. A queue with requests under way should
 * also be run now and then without one, some times a second: the kernel does not
 * promise to order its look at "are wake-ups wanted?" after a completion.
 */
bool block_queue_run(struct block_queue *queue);

/*
 * Try to stop a request that was submitted. If the kernel has not begun it, it is
 * soon done with -ECANCELED, and the answer is true. Otherwise it goes on. Does
 * not block, and never calls done().
 */
bool block_queue_cancel(struct block_queue *queue, struct block_request *request);

#endif
