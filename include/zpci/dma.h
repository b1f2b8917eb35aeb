/* SPDX-License-Identifier: MIT */
/*
 * Memory, as the device behind a PCI function reaches it.
 *
 * A device names memory by I/O virtual addresses (IOVA), and has of its function
 * (pci_function_dma()) a DMA space, which turns them into host memory the way that the
 * guest has told libzpci. The device sees neither tables nor states.
 *
 * Two ways to use it:
 *
 *   Copies.   pci_dma_read() and pci_dma_write() move up to a few KiB at once and
 *             are done when they return. For queue entries, lists, registers.
 *
 *   Accesses. pci_dma_access_begin() translates a list of IOVA ranges to a list of
 *             host buffers (struct iovec), which the device hands to io_uring,
 *             a socket or another thread; pci_dma_access_end() says that it has
 *             finished. In between, the buffers stay valid as host memory, and a
 *             guest that takes one of the pages away (RPCIT) is made to wait. So an
 *             access is to end soon, and when pci_device_ops.reset returns, all have.
 *
 * A space lets transfers through while the guest has the function enabled, has
 * registered a translation and made the function bus master. Otherwise each returns
 * -EPERM, and nothing else happens. When a translation fails, that call has
 * transferred nothing and returns -EFAULT; by then the function is in the error
 * state and the guest has been told: the device need not say so itself, but give its
 * command up. Memory of another process that is reached by messages (vfio-user) can
 * fail later than that, when part of it was transferred or when an access ends; the
 * function is in the error state then, too.
 *
 * Whatever a device stores is reported, after the last byte has landed and before the
 * call returns, to zpci_guest_memory.written.
 *
 * Guest memory is shared with running CPUs. Copies of up to PCI_DMA_ORDERED_MAX bytes
 * move each naturally aligned unit of 8 bytes (and 4, 2, 1 at the ends) with one
 * atomic access, in ascending order of addresses, so that a 16-byte queue entry whose
 * valid bit stands in its last bytes is never seen half written. Longer ones have no
 * order within.
 *
 * Threads: all may be called from any thread, also in callbacks of the device and
 * with its locks held, as long as zpci_guest_memory.written does not need these. There
 * is one lock per space, and no function's DMA ever takes that of another.
 */
#ifndef ZPCI_DMA_H
#define ZPCI_DMA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct pci_dma_space;

#define PCI_DMA_COPY_MAX 65536  /* bytes of one pci_dma_read() or pci_dma_write() */
#define PCI_DMA_ORDERED_MAX 512 /* see above */

/* Seen from memory's owner, the guest, as Linux names it. */
enum pci_dma_direction {
	PCI_DMA_TO_DEVICE = 1,   /* the device reads memory */
	PCI_DMA_FROM_DEVICE = 2, /* the device writes memory */
};

/*
 * Copy `length` bytes between the device's buffer and memory from `iova` on, which
 * need not be aligned. Return 0, -EPERM (see above), -EFAULT (translation failed, no
 * byte was moved) or -EINVAL (longer than PCI_DMA_COPY_MAX).
 */
int pci_dma_read(struct pci_dma_space *space, uint64_t iova, void *buffer, size_t length);
int pci_dma_write(struct pci_dma_space *space, uint64_t iova, const void *buffer, size_t length);

/* In bytes; neither need be aligned. */
struct pci_dma_range {
	uint64_t iova;
	uint64_t length;
};

/*
 * An access in flight. The struct is the caller's, lives from begin to end, and
 * is not to be looked into.
 */
struct pci_dma_access {
	struct pci_dma_space *space;
	struct pci_dma_access *next, *previous;
	const struct pci_dma_range *ranges;
	const struct iovec *iov;
	unsigned range_count;
	unsigned iov_count;
	enum pci_dma_direction direction;
	uint64_t epoch;
	uint64_t first, last; /* hull of all ranges, to skip quickly */
	uint8_t *bounce;      /* where memory is reached by message: the buffer */
	uint64_t reserved[3];
};

/*
 * How many iovec entries a range can need at most: one a page. Neighbours in
 * host memory are merged, so it is usually fewer.
 */
static inline uint64_t pci_dma_range_iov_max(const struct pci_dma_range *range)
{
	return range->length ? ((range->iova & 0xfff) + range->length + 0xfff) >> 12 : 0;
}

/*
 * Translate all `ranges`, in order, into `iov` and begin an access. Both arrays
 * belong to the caller and stay unchanged until pci_dma_access_end(). Empty ranges
 * are allowed. Returns the number of iovec entries used, or
 *	-EPERM   see above,
 *	-EFAULT  a translation failed; nothing has begun,
 *	-E2BIG   `iov_capacity` is too small; nothing has begun.
 * An end is owed after a result of 0 or more, and only then.
 */
int pci_dma_access_begin(struct pci_dma_space *space, struct pci_dma_access *access,
			 enum pci_dma_direction direction, const struct pci_dma_range *ranges,
			 unsigned range_count, struct iovec *iov, unsigned iov_capacity);

/*
 * The device has finished, on whatever thread. For PCI_DMA_FROM_DEVICE, the first
 * `written` bytes of the list were stored (or may have been: after a failed read, name
 * the whole length); they are reported to the owner of memory before this returns.
 */
void pci_dma_access_end(struct pci_dma_access *access, uint64_t written);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
