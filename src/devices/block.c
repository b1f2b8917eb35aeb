/* SPDX-License-Identifier: MIT */
/*
 * Images through io_uring.
 *
 * A request is a short series of steps, each one submission: a transfer may be
 * repeated for what a short one left, zeroing tries the cheap ways first, and a
 * durable zeroing ends with a sync. A step's completion either starts the next
 * or is the request's.
 *
 * Wake-ups. The kernel signals the eventfd for each completion, also for those
 * that happen while we submit; waking a thread for what we are about to see
 * ourselves would cost more than the I/O. So the signal is switched off during
 * a submission, and the ring is looked at once more after it has been switched
 * on again.
 */
#include "devices/block.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/shared.h"
#include "base/util.h"
#include "devices/block_ring.h"

/* Copies of misaligned buffers that a queue may hold at a time; further requests wait. */
#define BOUNCE_BUDGET (2 * BLOCK_LENGTH_MAX)

/* How often a step is repeated that the kernel could not do now. */
#define RETRIES_MAX 16

#define ZERO_BUFFER_SIZE (64 * KIB)
#define ZERO_IOV_COUNT (BLOCK_LENGTH_MAX / ZERO_BUFFER_SIZE)

struct block {
	int fd;
	bool direct;
	uint64_t size;
	uint32_t memory_alignment; /* of buffers, when direct; a power of two */
};

struct block_list {
	struct block_request *first, **last;
};

struct block_queue {
	struct block *block;
	struct io_uring ring;
	unsigned unsubmitted;
	uint64_t bounce_bytes;
	/* Started, but without a place in the ring or a bounce buffer yet; in order. */
	struct block_list waiting;
};

enum step {
	STEP_TRANSFER,
	STEP_PUNCH,
	STEP_ZERO_RANGE,
	STEP_WRITE_ZEROS,
	STEP_SYNC,
	STEP_NO_MEMORY, /* fails with -ENOMEM, in its turn */
};

static uint8_t zeros[ZERO_BUFFER_SIZE] __attribute__((aligned(4096)));

/* --- opening --------------------------------------------------------------- */

__attribute__((format(printf, 5, 6))) static int complain(int code, char *error, size_t error_size,
							  const char *path, const char *format, ...)
{
	int used = snprintf(error, error_size, "file=%s: ", path);
	va_list args;

	if (used >= 0 && (size_t)used < error_size) {
		va_start(args, format);
		vsnprintf(error + used, error_size - (size_t)used, format, args);
		va_end(args);
	}
	return code;
}

static int check_kind(const struct stat *st, const char *path, char *error, size_t error_size)
{
	if (S_ISDIR(st->st_mode))
		return complain(-EISDIR, error, error_size, path,
				"is a directory; wants a raw image file or a block device");
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return complain(-EINVAL, error, error_size, path,
				"is neither a file nor a block device");
	return 0;
}

/* Somebody who took away all write permissions meant it, whatever root may do. */
static bool is_marked_readonly(int fd, const struct stat *st)
{
	int readonly = 0;

	if (S_ISBLK(st->st_mode))
		return !ioctl(fd, BLKROGET, &readonly) && readonly;
	return !(st->st_mode & 0222);
}

static int get_size(struct block *b, const struct stat *st, const char *path, char *error,
		    size_t error_size)
{
	if (S_ISBLK(st->st_mode)) {
		if (ioctl(b->fd, BLKGETSIZE64, &b->size))
			return complain(-errno, error, error_size, path, "cannot tell its size: %s",
					strerror(errno));
	} else {
		b->size = (uint64_t)st->st_size;
	}
	if (!b->size)
		return complain(-EINVAL, error, error_size, path, "is empty");
	if (b->size % BLOCK_SECTOR)
		return complain(-EINVAL, error, error_size, path,
				"its size of %llu bytes is not a multiple of %u",
				(unsigned long long)b->size, BLOCK_SECTOR);
	return 0;
}

/*
 * Writers exclude everybody, readers exclude writers. The lock belongs to the open
 * file: it also keeps two devices of one process apart, and ends with it.
 */
static int lock(struct block *b, const struct block_options *options, char *error,
		size_t error_size)
{
	struct flock lock = {
		.l_type = options->readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (!fcntl(b->fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return complain(-EBUSY, error, error_size, options->path,
				"is in use by another zvisor or another device");
	if (errno == ENOLCK || errno == EINVAL || errno == EOPNOTSUPP)
		return 0; /* a file system without locks */
	return complain(-errno, error, error_size, options->path, "cannot be locked: %s",
			strerror(errno));
}

/*
 * Can the image be read directly in sectors of 512 bytes, and how must buffers
 * be aligned? What the kernel says is tried before it is believed.
 */
static bool probe_direct(struct block *b)
{
	uint32_t alignment = BLOCK_SECTOR;
	void *buffer;
	bool works;

#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		if (!stx.stx_dio_offset_align || stx.stx_dio_offset_align > BLOCK_SECTOR ||
		    stx.stx_dio_mem_align > PAGE_SIZE)
			return false;
		alignment = MAX(alignment, stx.stx_dio_mem_align);
	}
#endif
	if (posix_memalign(&buffer, PAGE_SIZE, 2 * PAGE_SIZE))
		return false;
	works = pread(b->fd, (uint8_t *)buffer + alignment, BLOCK_SECTOR, 0) == BLOCK_SECTOR;
	free(buffer);
	b->memory_alignment = alignment;
	return works;
}

static void use_direct(struct block *b)
{
	int flags = fcntl(b->fd, F_GETFL);

	if (flags < 0 || fcntl(b->fd, F_SETFL, flags | O_DIRECT))
		return;
	b->direct = probe_direct(b);
	if (!b->direct)
		(void)fcntl(b->fd, F_SETFL, flags);
}

/* A machine without io_uring should say so before it boots. */
static int check_io_uring(const char *path, char *error, size_t error_size)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(1, &ring, 0);

	if (ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE)
		return complain(ret, error, error_size, path, "cannot set up io_uring: %s",
				strerror(-ret));
	if (ret)
		return complain(ret, error, error_size, path,
				"this host does not allow io_uring (%s); see kernel.io_uring_disabled "
				"and the container's seccomp profile",
				strerror(-ret));
	io_uring_queue_exit(&ring);
	return 0;
}

static int open_image(struct block *b, const struct block_options *options, char *error,
		      size_t error_size)
{
	const char *path = options->path;
	struct stat st;
	int ret;

	/* Before opening: opening a FIFO or a tape does things. */
	if (stat(path, &st))
		return complain(-errno, error, error_size, path, "%s", strerror(errno));
	ret = check_kind(&st, path, error, error_size);
	if (ret)
		return ret;

	b->fd = open(path, (options->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (b->fd < 0) {
		ret = -errno;
		if (!options->readonly && (ret == -EACCES || ret == -EROFS || ret == -EPERM) &&
		    !access(path, R_OK))
			return complain(ret, error, error_size, path,
					"can only be read; add readonly=on");
		return complain(ret, error, error_size, path, "%s", strerror(-ret));
	}
	/* With O_NONBLOCK, io_uring would answer -EAGAIN instead of waiting for us. */
	if (fstat(b->fd, &st) || fcntl(b->fd, F_SETFL, 0))
		return complain(-errno, error, error_size, path, "%s", strerror(errno));
	ret = check_kind(&st, path, error, error_size);
	if (ret)
		return ret;
	if (!options->readonly && is_marked_readonly(b->fd, &st))
		return complain(-EROFS, error, error_size, path,
				"is marked as read-only; add readonly=on");
	ret = get_size(b, &st, path, error, error_size);
	if (ret)
		return ret;
	ret = lock(b, options, error, error_size);
	if (ret)
		return ret;
	if (options->direct)
		use_direct(b);
	return check_io_uring(path, error, error_size);
}

int block_open(const struct block_options *options, struct block **block, char *error,
	       size_t error_size)
{
	struct block *b = calloc(1, sizeof(*b));
	int ret;

	*block = NULL;
	if (!b)
		return complain(-ENOMEM, error, error_size, options->path, "out of memory");
	b->fd = -1;
	ret = open_image(b, options, error, error_size);
	if (ret) {
		block_close(b);
		return ret;
	}
	*block = b;
	return 0;
}

void block_close(struct block *b)
{
	if (!b)
		return;
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}

uint64_t block_size(const struct block *b)
{
	return b->size;
}

bool block_is_direct(const struct block *b)
{
	return b->direct;
}

/* --- lists ------------------------------------------------------------------- */

static void list_init(struct block_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void list_append(struct block_list *list, struct block_request *r)
{
	r->next = NULL;
	*list->last = r;
	list->last = &r->next;
}

static void list_remove_first(struct block_list *list)
{
	list->first = list->first->next;
	if (!list->first)
		list->last = &list->first;
}

/* --- queues ------------------------------------------------------------------ */

int block_queue_new(struct block *block, unsigned depth, int wake_fd, struct block_queue **queue)
{
	struct block_queue *q = calloc(1, sizeof(*q));
	int ret;

	*queue = NULL;
	if (!q)
		return -ENOMEM;
	q->block = block;
	list_init(&q->waiting);
	ret = block_ring_init(&q->ring, depth, wake_fd);
	if (ret) {
		free(q);
		return ret;
	}
	*queue = q;
	return 0;
}

void block_queue_free(struct block_queue *q)
{
	if (!q)
		return;
	io_uring_queue_exit(&q->ring);
	free(q);
}

/* --- bounce buffers ------------------------------------------------------------ */

static bool is_transfer(const struct block_request *r)
{
	return r->operation == BLOCK_READ || r->operation == BLOCK_WRITE;
}

static bool needs_bounce(const struct block *b, const struct block_request *r)
{
	uintptr_t misaligned = 0;

	if (!b->direct || !is_transfer(r))
		return false;
	for (unsigned i = 0; i < r->iov_count; i++) {
		misaligned |= (uintptr_t)r->iov[i].iov_base & (b->memory_alignment - 1);
		misaligned |= r->iov[i].iov_len & (BLOCK_SECTOR - 1);
	}
	return misaligned != 0;
}

enum direction { GATHER, SCATTER };

static void copy_bounce(const struct block_request *r, enum direction direction)
{
	uint8_t *at = r->bounce;

	for (unsigned i = 0; i < r->iov_count; i++) {
		const struct iovec *v = &r->iov[i];

		if (direction == GATHER)
			shared_read(at, v->iov_base, v->iov_len);
		else
			shared_write(v->iov_base, at, v->iov_len);
		at += v->iov_len;
	}
}

/* False: not now, another request has to give its buffer back first. */
static bool get_bounce(struct block_queue *q, struct block_request *r)
{
	if (q->bounce_bytes && q->bounce_bytes + r->length > BOUNCE_BUDGET)
		return false;
	if (posix_memalign(&r->bounce, PAGE_SIZE, r->length)) {
		r->bounce = NULL;
		r->step = STEP_NO_MEMORY;
		return true;
	}
	q->bounce_bytes += r->length;
	r->bounce_iov = (struct iovec){ r->bounce, r->length };
	if (r->operation == BLOCK_WRITE)
		copy_bounce(r, GATHER);
	return true;
}

static void put_bounce(struct block_queue *q, struct block_request *r)
{
	if (!r->bounce)
		return;
	q->bounce_bytes -= r->length;
	free(r->bounce);
	r->bounce = NULL;
}

/* --- steps ----------------------------------------------------------------------- */

static enum step first_step(const struct block_request *r)
{
	switch (r->operation) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return STEP_TRANSFER;
	case BLOCK_FLUSH:
		return STEP_SYNC;
	case BLOCK_ZERO:
		return r->may_unmap ? STEP_PUNCH : STEP_ZERO_RANGE;
	case BLOCK_DISCARD:
		return STEP_PUNCH;
	}
	return STEP_SYNC;
}

static const struct iovec *transfer_iov(const struct block_request *r, unsigned *count)
{
	if (r->bounce) {
		*count = 1;
		return &r->bounce_iov;
	}
	if (r->rest) {
		*count = r->iov_count; /* those used up have length 0 */
		return r->rest;
	}
	*count = r->iov_count;
	return r->iov;
}

static void prepare_transfer(const struct block *b, struct block_request *r,
			     struct io_uring_sqe *sqe)
{
	unsigned count;
	const struct iovec *iov = transfer_iov(r, &count);
	uint64_t offset = r->offset + r->progress;

	if (r->operation == BLOCK_READ) {
		if (count == 1)
			io_uring_prep_read(sqe, b->fd, iov->iov_base, (unsigned)iov->iov_len, offset);
		else
			io_uring_prep_readv(sqe, b->fd, iov, count, offset);
		return;
	}
	if (count == 1)
		io_uring_prep_write(sqe, b->fd, iov->iov_base, (unsigned)iov->iov_len, offset);
	else
		io_uring_prep_writev(sqe, b->fd, iov, count, offset);
	sqe->rw_flags = r->durable ? RWF_DSYNC : 0;
}

static void prepare_zero_write(const struct block *b, struct block_request *r,
			       struct io_uring_sqe *sqe)
{
	uint64_t left = MIN(r->length - r->progress, BLOCK_LENGTH_MAX);
	unsigned count = 0;

	if (!r->rest)
		r->rest = calloc(ZERO_IOV_COUNT, sizeof(*r->rest));
	if (!r->rest) {
		r->step = STEP_NO_MEMORY;
		io_uring_prep_nop(sqe);
		return;
	}
	while (left) {
		uint64_t length = MIN(left, ZERO_BUFFER_SIZE);

		r->rest[count++] = (struct iovec){ zeros, length };
		left -= length;
	}
	io_uring_prep_writev(sqe, b->fd, r->rest, count, r->offset + r->progress);
	sqe->rw_flags = r->durable ? RWF_DSYNC : 0;
}

static void prepare_step(const struct block *b, struct block_request *r, struct io_uring_sqe *sqe)
{
	switch ((enum step)r->step) {
	case STEP_TRANSFER:
		prepare_transfer(b, r, sqe);
		break;
	case STEP_PUNCH:
		io_uring_prep_fallocate(sqe, b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)r->offset, (off_t)r->length);
		break;
	case STEP_ZERO_RANGE:
		io_uring_prep_fallocate(sqe, b->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
					(off_t)r->offset, (off_t)r->length);
		break;
	case STEP_WRITE_ZEROS:
		prepare_zero_write(b, r, sqe);
		break;
	case STEP_SYNC:
		io_uring_prep_fsync(sqe, b->fd, IORING_FSYNC_DATASYNC);
		break;
	case STEP_NO_MEMORY:
		io_uring_prep_nop(sqe);
		break;
	}
	/* What was not possible without waiting is left to a worker of the kernel. */
	if (r->retries)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, r);
}

static bool try_start(struct block_queue *q, struct block_request *r)
{
	struct io_uring_sqe *sqe;

	if (!r->bounce && needs_bounce(q->block, r) && !get_bounce(q, r))
		return false;
	sqe = io_uring_get_sqe(&q->ring);
	if (!sqe)
		return false;
	prepare_step(q->block, r, sqe);
	q->unsubmitted++;
	return true;
}

static void start(struct block_queue *q, struct block_request *r)
{
	if (q->waiting.first || !try_start(q, r))
		list_append(&q->waiting, r);
}

static void start_waiting(struct block_queue *q)
{
	while (q->waiting.first) {
		struct block_request *r = q->waiting.first;

		if (!try_start(q, r))
			return;
		list_remove_first(&q->waiting);
	}
}

void block_queue_start(struct block_queue *q, struct block_request *r)
{
	r->step = (uint8_t)first_step(r);
	r->retries = 0;
	r->cancelled = false;
	r->progress = 0;
	r->bounce = NULL;
	r->rest = NULL;
	start(q, r);
}

static void finish(struct block_queue *q, struct block_request *r, int result)
{
	if (r->bounce && r->operation == BLOCK_READ && !result)
		copy_bounce(r, SCATTER);
	put_bounce(q, r);
	free(r->rest);
	r->rest = NULL;
	r->done(r, result);
}

/* After a short transfer: let the buffers begin where it ended. */
static int advance(struct block_request *r, uint64_t bytes)
{
	if (r->bounce) {
		r->bounce_iov.iov_base = (uint8_t *)r->bounce_iov.iov_base + bytes;
		r->bounce_iov.iov_len -= bytes;
		return 0;
	}
	if (!r->rest) {
		r->rest = malloc(r->iov_count * sizeof(*r->rest));
		if (!r->rest)
			return -ENOMEM;
		memcpy(r->rest, r->iov, r->iov_count * sizeof(*r->rest));
	}
	for (unsigned i = 0; bytes; i++) {
		size_t used = MIN(r->rest[i].iov_len, bytes);

		r->rest[i].iov_base = (uint8_t *)r->rest[i].iov_base + used;
		r->rest[i].iov_len -= used;
		bytes -= used;
	}
	return 0;
}

/* The ways to free or zero a range that a file system or disk may not have. */
static bool is_unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV ||
	       result == -ENOTTY || result == -EINVAL;
}

/* More to do: r->step is the next. Otherwise *result is the request's. */
static bool next_step(struct block_request *r, int *result)
{
	uint64_t left;

	switch ((enum step)r->step) {
	case STEP_TRANSFER:
	case STEP_WRITE_ZEROS:
		if (*result < 0)
			return false;
		left = r->length - r->progress;
		if (!*result || (uint64_t)*result > left) {
			*result = -EIO; /* past the end: somebody has cut the file */
			return false;
		}
		r->progress += (uint64_t)*result;
		r->retries = 0;
		if (r->progress == r->length) {
			*result = 0;
			return false;
		}
		if (r->step == STEP_WRITE_ZEROS)
			return true;
		*result = advance(r, (uint64_t)*result);
		return !*result;
	case STEP_PUNCH:
	case STEP_ZERO_RANGE:
		if (is_unsupported(*result)) {
			if (r->operation == BLOCK_DISCARD) {
				*result = 0; /* it was only advice */
				return false;
			}
			r->step = r->step == STEP_PUNCH ? STEP_ZERO_RANGE : STEP_WRITE_ZEROS;
			return true;
		}
		if (*result < 0 || !r->durable)
			return false;
		r->step = STEP_SYNC;
		return true;
	case STEP_SYNC:
		return false;
	case STEP_NO_MEMORY:
		*result = -ENOMEM;
		return false;
	}
	return false;
}

static void complete(struct block_queue *q, struct block_request *r, int result)
{
	bool again = result == -EAGAIN || result == -EINTR ||
		     (result == -ECANCELED && !r->cancelled);

	/* -ECANCELED unasked: the thread that submitted it has ended. */
	if (again && r->retries < RETRIES_MAX) {
		r->retries++;
		start(q, r);
		return;
	}
	if (result == -EINTR || result == -EAGAIN)
		result = -EIO;
	if (next_step(r, &result))
		start(q, r);
	else
		finish(q, r, result);
}

static void reap(struct block_queue *q)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&q->ring, &cqe)) {
		struct block_request *r = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&q->ring, cqe);
		complete(q, r, result);
	}
	start_waiting(q);
}

static bool hand_over(struct block_queue *q)
{
	while (q->unsubmitted) {
		int ret = io_uring_submit(&q->ring);

		if (ret <= 0)
			return false;
		q->unsubmitted -= MIN((unsigned)ret, q->unsubmitted);
	}
	return true;
}

bool block_queue_run(struct block_queue *q)
{
	bool handed_over = true;

	reap(q);
	while (q->unsubmitted && handed_over) {
		(void)io_uring_cq_eventfd_toggle(&q->ring, false);
		handed_over = hand_over(q);
		reap(q);
		(void)io_uring_cq_eventfd_toggle(&q->ring, true);
		atomic_thread_fence(memory_order_seq_cst);
		reap(q);
	}
	return handed_over;
}

bool block_queue_cancel(struct block_queue *q, struct block_request *r)
{
	struct io_uring_sync_cancel_reg reg = {
		.addr = (uintptr_t)r,
		.timeout = { 0, 0 }, /* ask, do not wait */
	};

	/* Asked again before its end was seen: the kernel knows it no more. */
	if (r->cancelled)
		return true;
	r->cancelled = true;
	if (!io_uring_register_sync_cancel(&q->ring, &reg))
		return true;
	r->cancelled = false;
	return false;
}
