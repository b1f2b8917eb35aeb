/* SPDX-License-Identifier: MIT */
/*
 * A DMA space: the memory as one PCI function sees it.
 *
 * A device names memory by I/O virtual addresses (IOVA). A DMA space turns them
 * into host pointers. How an IOVA becomes a guest-absolute address is not known
 * here: a translator, given as a callback, answers for one address at a time
 * and says how large a block its answer covers; the space remembers answers in
 * a bounded cache (the IOTLB) that belongs to this one function.
 *
 * Two ways to use it:
 *
 *   Copies.   dma_read() and dma_write() move up to a few KiB at once and are
 *             done when they return. For queue entries, lists, registers.
 *
 *   Accesses. dma_access_begin() translates a list of IOVA ranges to a list of
 *             host buffers (struct iovec), which the device hands to io_uring,
 *             a socket or another thread; dma_access_end() says that it has
 *             finished. In between, the buffers stay valid as host memory, and
 *             an invalidation that takes one of the pages away waits.
 *
 * Invalidation is the promise towards the guest: dma_space_invalidate() forgets
 * the cached answers for a range and returns 0 once no access that began
 * earlier still uses a page of it.
 *
 * When a translation fails, nothing has been transferred by that call; the
 * fault callback is told (with no lock of the space held), and the device's
 * call returns a negative errno.
 *
 * Whatever a device stores in memory is reported, after the last byte has
 * landed and before the call returns, through dma_memory.written: decoded code,
 * dirty tracking and storage keys hang on it.
 *
 * Threads: everything here may be called from any thread. There is one lock per
 * space, and no function's DMA ever takes that of another function. Callbacks:
 * `translate` is called with the lock held and must not call back into the
 * space; `fault` and `written` are called without it.
 *
 * Guest memory is shared with running CPUs. Copies of up to DMA_ORDERED_MAX
 * bytes move each naturally aligned unit of 8 bytes (and 4, 2, 1 at the ends)
 * with one atomic access, in ascending order of addresses, so that a 16-byte
 * queue entry whose valid bit stands in its last bytes is never seen half
 * written. Longer ones have no order within.
 */
#ifndef ZVISOR_DMA_DMA_H
#define ZVISOR_DMA_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct dma_space;

#define DMA_COPY_MAX 65536  /* bytes of one dma_read() or dma_write() */
#define DMA_ORDERED_MAX 512 /* see above */

/* Seen from memory's owner, the guest, as Linux names it. */
enum dma_direction {
	DMA_TO_DEVICE = 1,   /* the device reads memory */
	DMA_FROM_DEVICE = 2, /* the device writes memory */
};

/*
 * Guest memory: absolute addresses [0, size), mapped in one piece at `base`.
 * `written` may be NULL. It is told ranges of absolute addresses, never empty,
 * never across the end of memory, from any thread.
 */
struct dma_memory {
	uint8_t *base;
	uint64_t size;
	void (*written)(void *opaque, uint64_t absolute, uint64_t length);
	void *opaque;
};

/*
 * A translator's answer: `size` bytes (a power of two, at least a page, and
 * `iova` and `absolute` are multiples of it) from `iova` on are found at
 * `absolute`. The block need not lie in guest memory; the space checks.
 */
struct dma_translation {
	uint64_t iova;
	uint64_t absolute;
	uint64_t size;
	bool writable;
	bool once; /* good for this transfer only: not to be cached */
};

struct dma_space_ops {
	/*
	 * Translate the page that contains `iova`. Returns 0, or a reason
	 * above 0 that `fault` is given as it is. The space itself refuses a
	 * store to a block that is not writable with `reason_protected`, and a
	 * block that is not all in guest memory with `reason_addressing`.
	 */
	int (*translate)(void *opaque, uint64_t iova, enum dma_direction direction,
			 struct dma_translation *translation);
	/* A transfer failed at `iova` for `reason`. May be NULL. */
	void (*fault)(void *opaque, uint64_t iova, enum dma_direction direction, int reason);
	int reason_protected;
	int reason_addressing;
};

/* Both pointers are kept and must outlive the space. NULL when out of memory. */
struct dma_space *dma_space_new(const struct dma_memory *memory, const struct dma_space_ops *ops,
				void *opaque);

/* No access may be in flight. NULL is allowed. */
void dma_space_free(struct dma_space *space);

/*
 * A space lets transfers through only while it is open and its function may be
 * bus master. Otherwise each transfer returns -EPERM and no fault is raised. A
 * new space is closed and without bus master. Closing or taking bus master away
 * does not wait for accesses in flight; dma_space_drain() does.
 */
void dma_space_open(struct dma_space *space);
void dma_space_close(struct dma_space *space);
void dma_space_set_bus_master(struct dma_space *space, bool on);

/*
 * Forget what is cached for [iova, iova + length) and wait, at most
 * `timeout_us` microseconds (0: do not wait, UINT64_MAX: without limit), for
 * the accesses that began before this call and use a page of the range.
 * Returns 0, or -EAGAIN when some are still in flight: repeat the call. The
 * range may be all of the address space: length UINT64_MAX.
 */
int dma_space_invalidate(struct dma_space *space, uint64_t iova, uint64_t length,
			 uint64_t timeout_us);

/* The same for all addresses. */
int dma_space_drain(struct dma_space *space, uint64_t timeout_us);

/* How many callers are waiting in these two now. */
unsigned dma_space_waiters(struct dma_space *space);

/*
 * Copy `length` bytes between the device's buffer and memory. Return 0, -EPERM
 * (space closed or no bus master), -EFAULT (translation failed; the fault was
 * reported; no byte was moved) or -EINVAL (longer than DMA_COPY_MAX).
 */
int dma_read(struct dma_space *space, uint64_t iova, void *buffer, size_t length);
int dma_write(struct dma_space *space, uint64_t iova, const void *buffer, size_t length);

struct dma_range {
	uint64_t iova;
	uint64_t length;
};

/*
 * An access in flight. The struct is the caller's, lives from begin to end, and
 * is not to be looked into.
 */
struct dma_access {
	struct dma_space *space;
	struct dma_access *next, *previous;
	const struct dma_range *ranges;
	const struct iovec *iov;
	unsigned range_count;
	unsigned iov_count;
	enum dma_direction direction;
	uint64_t epoch;
	uint64_t first, last; /* hull of all ranges, to skip quickly */
};

/*
 * How many iovec entries a range can need at most: one a page. Neighbours in
 * host memory are merged, so it is usually fewer.
 */
static inline uint64_t dma_range_iov_max(const struct dma_range *range)
{
	return range->length ? ((range->iova & 0xfff) + range->length + 0xfff) >> 12 : 0;
}

/*
 * Translate all `ranges`, in order, into `iov` and begin an access. Both arrays
 * belong to the caller and stay unchanged until dma_access_end(). Empty ranges
 * are allowed. Returns the number of iovec entries used, or
 *	-EPERM   the space is closed or the function not bus master,
 *	-EFAULT  a translation failed (reported); nothing has begun,
 *	-E2BIG   `iov_capacity` is too small; nothing has begun.
 * An end is owed after a result of 0 or more, and only then.
 */
int dma_access_begin(struct dma_space *space, struct dma_access *access,
		     enum dma_direction direction, const struct dma_range *ranges,
		     unsigned range_count, struct iovec *iov, unsigned iov_capacity);

/*
 * The device has finished. For DMA_FROM_DEVICE, the first `written` bytes of the
 * list were stored (or may have been: after a failed read, name the whole
 * length); they are reported to the owner of memory before this returns.
 */
void dma_access_end(struct dma_access *access, uint64_t written);

/*
 * For tests of recovery: of the pages that transfers will translate, let number
 * `count` (1: the next) fail for `reason`, once. 0: none.
 */
void dma_space_inject(struct dma_space *space, uint64_t count, int reason);

/* Bytes that went through so far, by direction as the device sees it. */
struct dma_counters {
	uint64_t read, written;
};
struct dma_counters dma_space_counters(struct dma_space *space);

/* Guest memory as it is, for a device's owner; never NULL. */
const struct dma_memory *dma_space_memory(const struct dma_space *space);

#endif
