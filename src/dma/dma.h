/* SPDX-License-Identifier: MIT */
/*
 * A DMA space: the memory as one PCI function sees it. What a device does with it is
 * in zpci/dma.h; here is what its owner does.
 *
 * How an IOVA becomes a guest-absolute address is not known here: a translator,
 * given as a callback, answers for one address at a time and says how large a block
 * its answer covers; the space remembers answers in a bounded cache (the IOTLB) that
 * belongs to this one function.
 *
 * Invalidation is the promise towards the guest: dma_space_invalidate() forgets
 * the cached answers for a range and returns 0 once no access that began
 * earlier still uses a page of it.
 *
 * When a translation fails, nothing has been transferred by that call; the
 * fault callback is told (with no lock of the space held), and the device's
 * call returns a negative errno. Remote memory (below) can fail later, when what comes
 * before in the same call has been transferred, or when an access ends.
 *
 * Where a block is, the translator says in one of three ways: by an absolute address in
 * the space's memory; by a host address, when memory is not in one piece; or not at
 * all, because it is in no memory of this process, and then its bytes are moved by the
 * owner's `transfer`. Accesses to such memory go through a buffer, which is filled when
 * they begin or emptied when they end; a device sees no difference.
 *
 * Threads: everything here may be called from any thread. Callbacks: `translate` is
 * called with the space's lock held and must not call back into the space; `fault`,
 * `written` and `transfer` are called without it.
 */
#ifndef ZVISOR_DMA_DMA_H
#define ZVISOR_DMA_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include "zpci/dma.h"

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
 * `absolute`. The block need not lie in guest memory; the space checks. With `host`
 * (aligned to a page, not NULL) they are there, and with `remote` nowhere here; then
 * `absolute` means nothing.
 */
struct dma_translation {
	uint64_t iova;
	uint64_t absolute;
	uint64_t size;
	bool writable;
	bool once; /* good for this transfer only: not to be cached */
	uint8_t *host;
	bool remote;
};

struct dma_space_ops {
	/*
	 * Translate the page that contains `iova`. Returns 0, or a reason
	 * above 0 that `fault` is given as it is. The space itself refuses a
	 * store to a block that is not writable with `reason_protected`, and a
	 * block that is not all in guest memory with `reason_addressing`.
	 */
	int (*translate)(void *opaque, uint64_t iova, enum pci_dma_direction direction,
			 struct dma_translation *translation);
	/* A transfer failed at `iova` for `reason`. May be NULL. */
	void (*fault)(void *opaque, uint64_t iova, enum pci_dma_direction direction, int reason);
	int reason_protected;
	int reason_addressing;
	/*
	 * Move bytes between `buffer` and memory that is remote, in ascending order. Returns 0,
	 * or a reason as `translate` does with `*moved` the number of bytes before it. It may
	 * block, but not for ever: an invalidation waits for it. NULL when no translation
	 * says "remote".
	 */
	int (*transfer)(void *opaque, uint64_t iova, void *buffer, size_t length,
			enum pci_dma_direction direction, size_t *moved);
};

/* Both pointers are kept and must outlive the space. NULL when out of memory. */
struct pci_dma_space *dma_space_new(const struct dma_memory *memory,
				    const struct dma_space_ops *ops, void *opaque);

/* No access may be in flight. NULL is allowed. */
void dma_space_free(struct pci_dma_space *space);

/*
 * A space lets transfers through only while it is open and its function may be
 * bus master. Otherwise each transfer returns -EPERM and no fault is raised. A
 * new space is closed and without bus master. Closing or taking bus master away
 * does not wait for accesses in flight; dma_space_drain() does.
 */
void dma_space_open(struct pci_dma_space *space);
void dma_space_close(struct pci_dma_space *space);
void dma_space_set_bus_master(struct pci_dma_space *space, bool on);

/*
 * Forget what is cached for [iova, iova + length) and wait, at most
 * `timeout_us` microseconds (0: do not wait, UINT64_MAX: without limit), for
 * the accesses that began before this call and use a page of the range.
 * Returns 0, or -EAGAIN when some are still in flight: repeat the call. The
 * range may be all of the address space: length UINT64_MAX.
 */
int dma_space_invalidate(struct pci_dma_space *space, uint64_t iova, uint64_t length,
			 uint64_t timeout_us);

/*
 * The same, but an access is waited for only if the translator would not give it the same pages
 * now. So it ends, when it is repeated, however busy the device is. For a translator whose answers are
 * all that matters: who is about to take the memory itself away has to wait for every
 * access. The translator is asked with `timeout_us` of 0, too, for as many pages as are in flight.
 */
int dma_space_refresh(struct pci_dma_space *space, uint64_t iova, uint64_t length,
		      uint64_t timeout_us);

/* As dma_space_invalidate(), for all addresses. */
int dma_space_drain(struct pci_dma_space *space, uint64_t timeout_us);

/* How many callers are waiting in these now. */
unsigned dma_space_waiters(struct pci_dma_space *space);

/*
 * For tests of recovery: of the pages that transfers will translate, let number
 * `count` (1: the next) fail for `reason`, once. 0: none.
 */
void dma_space_inject(struct pci_dma_space *space, uint64_t count, int reason);

/* Bytes that went through so far, by direction as the device sees it. */
struct dma_counters {
	uint64_t read, written;
};
struct dma_counters dma_space_counters(struct pci_dma_space *space);

/* Guest memory as it is, for a device's owner; never NULL. */
const struct dma_memory *dma_space_memory(const struct pci_dma_space *space);

#endif
