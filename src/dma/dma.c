/* SPDX-License-Identifier: MIT */
/*
 * DMA spaces: translation, copies, and accesses in flight. The contract is in
 * dma.h; the cache of translations is in iotlb.h.
 *
 * One mutex guards all of it. It is held while an answer is looked up or
 * fetched, and during a copy, and for nothing that can block: an invalidation
 * that must wait for accesses in flight sleeps on a condition variable. A copy of which
 * a part is remote may block: it is an access in flight until it has ended.
 *
 * Accesses carry a number that grows (their epoch). An invalidation waits only
 * for those that are older than itself: younger ones have been translated
 * after it had emptied the cache, and a busy device cannot hold it up forever.
 *
 * Who gives up waiting and calls again begins anew, for translations may have changed in
 * between, and a busy device always has something in flight that is older than a call. So a
 * refresh does not wait for each: it asks the translator once more, and lets those go on that
 * would be given the same pages now. What is left are accesses to pages that were taken away while
 * they were in flight. No others come as long as nothing else is taken away, and these end.
 *
 * Mostly nothing is in flight, and nobody is translating. An invalidation of a few pages sees
 * that by a word that whoever translates sets meanwhile, and takes no lock; see
 * invalidate_at_once().
 */
#include "dma/dma.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/shared.h"
#include "base/util.h"
#include "dma/iotlb.h"

#define PAGES_AT_ONCE 16u /* that are invalidated without the lock */
#define COPY_PAGES_MAX (PCI_DMA_COPY_MAX / PAGE_SIZE + 1)

struct pci_dma_space {
	const struct dma_memory *memory;
	const struct dma_space_ops *ops;
	void *opaque;

	pthread_mutex_t lock;
	pthread_cond_t ended; /* an access has ended and somebody waits */
	unsigned waiters;
	bool open;
	bool bus_master;
	uint64_t epoch;
	struct pci_dma_access in_flight; /* head of a ring */
	atomic_uint in_flight_count;
	/* 1 while a thread translates, and until what it has found is in flight, or done. */
	atomic_uint translating;
	struct dma_counters counters;
	uint64_t inject_count; /* pages until one fails, 0: none will */
	int inject_reason;

	struct iotlb iotlb; /* its table is there from when it is first opened */
};

/* Part of a transfer that is contiguous in host memory, or not there (NULL). */
struct piece {
	uint8_t *host;
	size_t length;
};

struct fault {
	uint64_t iova;
	int reason;
};

struct pci_dma_space *dma_space_new(const struct dma_memory *memory,
				    const struct dma_space_ops *ops, void *opaque)
{
	struct pci_dma_space *space = calloc(1, sizeof(*space));
	pthread_condattr_t monotonic;

	if (!space)
		return NULL;
	space->memory = memory;
	space->ops = ops;
	space->opaque = opaque;
	space->in_flight.next = &space->in_flight;
	space->in_flight.previous = &space->in_flight;
	pthread_mutex_init(&space->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&space->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return space;
}

void dma_space_free(struct pci_dma_space *space)
{
	if (!space)
		return;
	pthread_cond_destroy(&space->ended);
	pthread_mutex_destroy(&space->lock);
	free(space->iotlb.pages);
	free(space);
}

const struct dma_memory *dma_space_memory(const struct pci_dma_space *space)
{
	return space->memory;
}

void dma_space_inject(struct pci_dma_space *space, uint64_t count, int reason)
{
	pthread_mutex_lock(&space->lock);
	space->inject_count = count;
	space->inject_reason = reason;
	pthread_mutex_unlock(&space->lock);
}

struct dma_counters dma_space_counters(struct pci_dma_space *space)
{
	struct dma_counters counters;

	pthread_mutex_lock(&space->lock);
	counters = space->counters;
	pthread_mutex_unlock(&space->lock);
	return counters;
}

/* --- translation, with the lock held ---------------------------------------- */

/* What an invalidation has done before it looked, this thread sees; or else it is seen. */
static void lock_to_translate(struct pci_dma_space *space)
{
	pthread_mutex_lock(&space->lock);
	atomic_exchange_explicit(&space->translating, 1, memory_order_acq_rel);
}

static void unlock_translated(struct pci_dma_space *space)
{
	atomic_store_explicit(&space->translating, 0, memory_order_release);
	pthread_mutex_unlock(&space->lock);
}

/*
 * Ask the translator; its answer becomes one that says where the block is in the host,
 * if it is. Returns 0 or a reason.
 */
static int translate_block(struct pci_dma_space *space, uint64_t page,
			   enum pci_dma_direction direction, struct dma_translation *t)
{
	int reason = space->ops->translate(space->opaque, page, direction, t);

	if (reason || t->host || t->remote)
		return reason;
	/* The block may stick out of memory and this page not. */
	while (!range_fits(t->absolute, t->size, space->memory->size)) {
		if (t->size <= PAGE_SIZE)
			return space->ops->reason_addressing;
		t->size /= 2;
		if (page & t->size) {
			t->iova += t->size;
			t->absolute += t->size;
		}
	}
	t->host = space->memory->base + t->absolute;
	return 0;
}

/*
 * The page that contains `iova`: its host address, NULL when it is remote. False, with the
 * reason in `fault`, when it cannot be used.
 */
static bool translate_page(struct pci_dma_space *space, uint64_t iova,
			   enum pci_dma_direction direction, uint8_t **host, struct fault *fault)
{
	uint64_t page = iova & PAGE_MASK;
	struct dma_translation t;
	bool writable;

	if (unlikely(space->inject_count) && !--space->inject_count) {
		fault->reason = space->inject_reason;
		goto failed;
	}
	if (!iotlb_find(&space->iotlb, page, host, &writable)) {
		fault->reason = translate_block(space, page, direction, &t);
		if (fault->reason)
			goto failed;
		if (!t.once)
			iotlb_add(&space->iotlb, &t);
		*host = t.host ? t.host + (page - t.iova) : NULL;
		writable = t.writable;
	}
	if (likely(direction != PCI_DMA_FROM_DEVICE || writable))
		return true;
	fault->reason = space->ops->reason_protected;
failed:
	fault->iova = iova;
	return false;
}

/* Ask the translator, whatever is cached. */
static bool leads_to(struct pci_dma_space *space, uint64_t iova, enum pci_dma_direction direction,
		     const uint8_t *host)
{
	struct dma_translation t;

	return !translate_block(space, iova & PAGE_MASK, direction, &t) && t.host &&
	       t.host + (iova - t.iova) == host && (t.writable || direction != PCI_DMA_FROM_DEVICE);
}

static bool may_transfer(const struct pci_dma_space *space)
{
	return space->open && space->bus_master;
}

/* --- opening and closing --------------------------------------------------- */

void dma_space_open(struct pci_dma_space *space)
{
	pthread_mutex_lock(&space->lock);
	/* Without the table the space works, only slower: no reason to fail. */
	if (!space->iotlb.pages)
		space->iotlb.pages = calloc(IOTLB_PAGES, sizeof(*space->iotlb.pages));
	space->open = true;
	pthread_mutex_unlock(&space->lock);
}

void dma_space_close(struct pci_dma_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->open = false;
	iotlb_drop_all(&space->iotlb);
	pthread_mutex_unlock(&space->lock);
}

void dma_space_set_bus_master(struct pci_dma_space *space, bool on)
{
	pthread_mutex_lock(&space->lock);
	space->bus_master = on;
	pthread_mutex_unlock(&space->lock);
}

/* --- invalidation ---------------------------------------------------------- */

static bool ranges_overlap(const struct pci_dma_access *access, uint64_t first, uint64_t last)
{
	if (access->first > last || access->last < first)
		return false;
	for (unsigned i = 0; i < access->range_count; i++) {
		const struct pci_dma_range *range = &access->ranges[i];

		if (range->length && (range->iova & PAGE_MASK) <= last &&
		    range->iova + (range->length - 1) >= first)
			return true;
	}
	return false;
}

/* Would it be given the same now, where it is in [first, last], which are whole pages? */
static bool translated_the_same(struct pci_dma_space *space, const struct pci_dma_access *access,
				uint64_t first, uint64_t last)
{
	const struct iovec *part = access->iov;
	uint64_t in_part = 0;

	/* Translators are not to be asked while the space is closed; a buffer does not tell. */
	if (!space->open || !part || access->bounce)
		return false;
	for (unsigned i = 0; i < access->range_count; i++) {
		uint64_t iova = access->ranges[i].iova, left = access->ranges[i].length;

		while (left) {
			uint64_t in_page = MIN(left, PAGE_SIZE - iova % PAGE_SIZE);

			if (iova >= first && iova <= last &&
			    !leads_to(space, iova, access->direction,
				      (uint8_t *)part->iov_base + in_part))
				return false;
			iova += in_page;
			left -= in_page;
			in_part += in_page;
			if (in_part == part->iov_len) {
				part++;
				in_part = 0;
			}
		}
	}
	return true;
}

enum manner { WAIT_FOR_ALL, WAIT_FOR_CHANGED };

/*
 * Is there one to wait for among the accesses [*from, end)? *from becomes the first of them, as
 * those before it need not be looked at again.
 */
static bool in_use(struct pci_dma_space *space, uint64_t first, uint64_t last, enum manner manner,
		   uint64_t *from, uint64_t end)
{
	for (const struct pci_dma_access *a = space->in_flight.next;
	     a != &space->in_flight && a->epoch < end; a = a->next) {
		if (a->epoch < *from || !ranges_overlap(a, first, last) ||
		    (manner == WAIT_FOR_CHANGED && translated_the_same(space, a, first, last)))
			continue;
		*from = a->epoch;
		return true;
	}
	return false;
}

static struct timespec deadline_after(uint64_t us)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += us / 1000000;
	t.tv_nsec += us % 1000000 * 1000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/*
 * If not, whoever will translate sees what this thread has done. It is an addition, which stores,
 * and no mere load: a load could come before what this thread has stored.
 */
static bool somebody_translates(struct pci_dma_space *space)
{
	return atomic_fetch_add_explicit(&space->translating, 0, memory_order_acq_rel);
}

/*
 * Without the lock, if all is well. Who has translated before the first look has left what it
 * found in the cache, and in flight, to be seen here. Who translates after it finds the new
 * tables, or else an entry that is not dropped yet: hence the second look. It is also needed when
 * there was nothing to drop: another CPU's invalidation may have dropped what a thread has found.
 */
static bool invalidate_at_once(struct pci_dma_space *space, uint64_t first, uint64_t last)
{
	if ((last - first) / PAGE_SIZE >= PAGES_AT_ONCE || somebody_translates(space) ||
	    iotlb_has_blocks(&space->iotlb))
		return false;
	if (iotlb_drop_pages(&space->iotlb, first, last) && somebody_translates(space))
		return false;
	return !atomic_load_explicit(&space->in_flight_count, memory_order_acquire);
}

/* Whole pages are meant: a page that is touched is taken away. */
static int invalidate(struct pci_dma_space *space, uint64_t first, uint64_t last,
		      enum manner manner, uint64_t timeout_us)
{
	struct timespec deadline;
	uint64_t from = 0, end;
	int error = 0;

	first &= PAGE_MASK;
	last |= ~PAGE_MASK;
	if (likely(invalidate_at_once(space, first, last)))
		return 0;
	pthread_mutex_lock(&space->lock);
	iotlb_drop(&space->iotlb, first, last);
	end = space->epoch;
	if (likely(!in_use(space, first, last, manner, &from, end)))
		goto out;
	error = -EAGAIN;
	if (!timeout_us)
		goto out;
	if (timeout_us != UINT64_MAX)
		deadline = deadline_after(MIN(timeout_us, 1000000000ull));
	space->waiters++;
	do {
		int rc = timeout_us == UINT64_MAX ?
			 pthread_cond_wait(&space->ended, &space->lock) :
			 pthread_cond_timedwait(&space->ended, &space->lock, &deadline);

		if (!in_use(space, first, last, manner, &from, end)) {
			error = 0;
			break;
		}
		if (rc == ETIMEDOUT)
			break;
	} while (true);
	space->waiters--;
out:
	pthread_mutex_unlock(&space->lock);
	return error;
}

static int invalidate_length(struct pci_dma_space *space, uint64_t iova, uint64_t length,
			     enum manner manner, uint64_t timeout_us)
{
	if (!length)
		return 0;
	if (length - 1 > UINT64_MAX - iova)
		length = UINT64_MAX - iova + 1;
	return invalidate(space, iova, iova + (length - 1), manner, timeout_us);
}

int dma_space_invalidate(struct pci_dma_space *space, uint64_t iova, uint64_t length,
			 uint64_t timeout_us)
{
	return invalidate_length(space, iova, length, WAIT_FOR_ALL, timeout_us);
}

int dma_space_refresh(struct pci_dma_space *space, uint64_t iova, uint64_t length,
		      uint64_t timeout_us)
{
	return invalidate_length(space, iova, length, WAIT_FOR_CHANGED, timeout_us);
}

unsigned dma_space_waiters(struct pci_dma_space *space)
{
	unsigned waiters;

	pthread_mutex_lock(&space->lock);
	waiters = space->waiters;
	pthread_mutex_unlock(&space->lock);
	return waiters;
}

int dma_space_drain(struct pci_dma_space *space, uint64_t timeout_us)
{
	return invalidate(space, 0, UINT64_MAX, WAIT_FOR_ALL, timeout_us);
}

/* --- copies ----------------------------------------------------------------- */

/*
 * Each aligned unit moves at once, in ascending order. Release and acquire keep
 * the compiler and a weakly ordered host from changing the order.
 */
#define COPY_UNIT(type)                                                         \
	static void store_##type(uint8_t *host, const uint8_t *buffer)         \
	{                                                                      \
		type v;                                                        \
		memcpy(&v, buffer, sizeof(v));                                 \
		__atomic_store_n((type *)host, v, __ATOMIC_RELEASE);           \
	}                                                                      \
	static void load_##type(uint8_t *buffer, const uint8_t *host)          \
	{                                                                      \
		type v = __atomic_load_n((const type *)host, __ATOMIC_ACQUIRE);\
		memcpy(buffer, &v, sizeof(v));                                 \
	}
COPY_UNIT(uint8_t)
COPY_UNIT(uint16_t)
COPY_UNIT(uint32_t)
COPY_UNIT(uint64_t)

static size_t unit_at(const uint8_t *host, size_t length)
{
	size_t unit = 8;

	while (unit > length || (uintptr_t)host & (unit - 1))
		unit /= 2;
	return unit;
}

static void copy_to_memory(uint8_t *host, const uint8_t *buffer, size_t length)
{
	if (length > PCI_DMA_ORDERED_MAX) {
		shared_write(host, buffer, length);
		return;
	}
	while (length) {
		size_t unit = unit_at(host, length);

		switch (unit) {
		case 8: store_uint64_t(host, buffer); break;
		case 4: store_uint32_t(host, buffer); break;
		case 2: store_uint16_t(host, buffer); break;
		default: store_uint8_t(host, buffer); break;
		}
		host += unit;
		buffer += unit;
		length -= unit;
	}
}

static void copy_from_memory(uint8_t *buffer, const uint8_t *host, size_t length)
{
	if (length > PCI_DMA_ORDERED_MAX) {
		shared_read(buffer, host, length);
		return;
	}
	while (length) {
		size_t unit = unit_at(host, length);

		switch (unit) {
		case 8: load_uint64_t(buffer, host); break;
		case 4: load_uint32_t(buffer, host); break;
		case 2: load_uint16_t(buffer, host); break;
		default: load_uint8_t(buffer, host); break;
		}
		host += unit;
		buffer += unit;
		length -= unit;
	}
}

static void report_fault(struct pci_dma_space *space, enum pci_dma_direction direction,
			 const struct fault *fault)
{
	if (space->ops->fault)
		space->ops->fault(space->opaque, fault->iova, direction, fault->reason);
}

static void report_written(struct pci_dma_space *space, const uint8_t *host, size_t length)
{
	const struct dma_memory *memory = space->memory;

	/* What is elsewhere or remote is not the memory's owner's. */
	if (memory->written && length && host &&
	    range_fits((uintptr_t)host - (uintptr_t)memory->base, length, memory->size))
		memory->written(memory->opaque, (uintptr_t)host - (uintptr_t)memory->base, length);
}

/* Does the range end before the address space does? If not, say what is wrong. */
static bool range_ends(struct pci_dma_space *space, uint64_t iova, uint64_t length,
		       struct fault *fault)
{
	if (length - 1 <= UINT64_MAX - iova)
		return true;
	*fault = (struct fault){ iova, space->ops->reason_addressing };
	return false;
}

/*
 * Translate [iova, iova + length), length not 0, into pieces of a page and less.
 * The number of them, or 0 with `fault` filled.
 */
static unsigned translate_pieces(struct pci_dma_space *space, uint64_t iova, size_t length,
				 enum pci_dma_direction direction, struct piece *pieces,
				 bool *remote, struct fault *fault)
{
	unsigned count = 0;

	if (!range_ends(space, iova, length, fault))
		return 0;
	while (length) {
		size_t in_page = MIN(length, PAGE_SIZE - iova % PAGE_SIZE);
		uint8_t *host;

		if (!translate_page(space, iova, direction, &host, fault))
			return 0;
		if (unlikely(!host))
			*remote = true;
		pieces[count++] = (struct piece){ host ? host + iova % PAGE_SIZE : NULL, in_page };
		iova += in_page;
		length -= in_page;
	}
	return count;
}

static void copy_piece(const struct piece *piece, uint8_t *buffer, enum pci_dma_direction direction)
{
	if (direction == PCI_DMA_TO_DEVICE)
		copy_from_memory(buffer, piece->host, piece->length);
	else
		copy_to_memory(piece->host, buffer, piece->length);
}

/* With the lock held. */
static void count_bytes(struct pci_dma_space *space, enum pci_dma_direction direction,
			uint64_t length)
{
	if (direction == PCI_DMA_TO_DEVICE)
		space->counters.read += length;
	else
		space->counters.written += length;
}

/* With the lock held; others look at it without. */
static void count_in_flight(struct pci_dma_space *space, int more)
{
	unsigned count = atomic_load_explicit(&space->in_flight_count, memory_order_relaxed);

	atomic_store_explicit(&space->in_flight_count, count + (unsigned)more,
			      memory_order_release);
}

/* With the lock held. */
static void link_access(struct pci_dma_space *space, struct pci_dma_access *access)
{
	access->epoch = space->epoch++;
	access->next = &space->in_flight;
	access->previous = space->in_flight.previous;
	access->previous->next = access;
	access->next->previous = access;
	count_in_flight(space, 1);
}

/* With the lock held. */
static void unlink_access(struct pci_dma_space *space, struct pci_dma_access *access)
{
	access->previous->next = access->next;
	access->next->previous = access->previous;
	count_in_flight(space, -1);
	if (space->waiters)
		pthread_cond_broadcast(&space->ended);
}

/* In ascending order. What was stored before it failed is reported, too. */
static int move_pieces(struct pci_dma_space *space, uint64_t iova, uint8_t *buffer,
		       const struct piece *pieces, unsigned count, enum pci_dma_direction direction,
		       struct fault *fault)
{
	for (unsigned i = 0; i < count;) {
		size_t length = pieces[i].length, moved = 0;

		if (pieces[i].host) {
			copy_piece(&pieces[i], buffer, direction);
			if (direction == PCI_DMA_FROM_DEVICE)
				report_written(space, pieces[i].host, length);
			i++;
		} else {
			while (++i < count && !pieces[i].host)
				length += pieces[i].length;
			fault->reason = space->ops->transfer(space->opaque, iova, buffer, length,
							     direction, &moved);
			fault->iova = iova + moved;
			if (fault->reason)
				return -EFAULT;
		}
		iova += length;
		buffer += length;
	}
	return 0;
}

/*
 * A copy of which a part is remote. Comes as from lock_to_translate(), and goes without the lock:
 * an invalidation finds the access in flight.
 */
static int copy_in_flight(struct pci_dma_space *space, const struct pci_dma_range *range,
			  uint8_t *buffer, const struct piece *pieces, unsigned count,
			  enum pci_dma_direction direction, struct fault *fault)
{
	struct pci_dma_access access = {
		.ranges = range,
		.range_count = 1,
		.first = range->iova & PAGE_MASK,
		.last = range->iova + (range->length - 1),
	};
	int error;

	link_access(space, &access);
	unlock_translated(space);
	error = move_pieces(space, range->iova, buffer, pieces, count, direction, fault);
	pthread_mutex_lock(&space->lock);
	unlink_access(space, &access);
	if (!error)
		count_bytes(space, direction, range->length);
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* As pci_dma_read() and pci_dma_write(), but `fault` says why it failed. */
static int copy(struct pci_dma_space *space, uint64_t iova, uint8_t *buffer, size_t length,
		enum pci_dma_direction direction, struct fault *fault)
{
	const struct pci_dma_range range = { iova, length };
	struct piece pieces[COPY_PAGES_MAX];
	bool remote = false;
	uint8_t *at = buffer;
	unsigned count;

	lock_to_translate(space);
	if (!may_transfer(space)) {
		unlock_translated(space);
		return -EPERM;
	}
	count = translate_pieces(space, iova, length, direction, pieces, &remote, fault);
	if (unlikely(count && remote))
		return copy_in_flight(space, &range, buffer, pieces, count, direction, fault);
	for (unsigned i = 0; i < count; i++) {
		copy_piece(&pieces[i], at, direction);
		at += pieces[i].length;
	}
	if (count)
		count_bytes(space, direction, length);
	unlock_translated(space);
	if (!count)
		return -EFAULT;
	for (unsigned i = 0; direction == PCI_DMA_FROM_DEVICE && i < count; i++)
		report_written(space, pieces[i].host, pieces[i].length);
	return 0;
}

static int copy_or_fault(struct pci_dma_space *space, uint64_t iova, uint8_t *buffer,
			 size_t length, enum pci_dma_direction direction)
{
	struct fault fault;
	int error;

	if (!length)
		return 0;
	if (length > PCI_DMA_COPY_MAX)
		return -EINVAL;
	error = copy(space, iova, buffer, length, direction, &fault);
	if (error == -EFAULT)
		report_fault(space, direction, &fault);
	return error;
}

int pci_dma_read(struct pci_dma_space *space, uint64_t iova, void *buffer, size_t length)
{
	return copy_or_fault(space, iova, buffer, length, PCI_DMA_TO_DEVICE);
}

int pci_dma_write(struct pci_dma_space *space, uint64_t iova, const void *buffer, size_t length)
{
	/* In this direction nothing stores to the buffer. */
	return copy_or_fault(space, iova, (uint8_t *)(uintptr_t)buffer, length,
			     PCI_DMA_FROM_DEVICE);
}

/* --- accesses ---------------------------------------------------------------- */

/*
 * Add one range to the list, merging with what is there where host memory goes
 * on. Returns 0, -E2BIG, -EFAULT with `fault` filled, or -EREMOTE: it is not all in host
 * memory.
 */
static int add_range(struct pci_dma_space *space, struct pci_dma_access *access,
		     const struct pci_dma_range *range, struct iovec *iov, unsigned capacity,
		     struct fault *fault)
{
	uint64_t iova = range->iova, length = range->length;

	if (!range_ends(space, iova, length, fault))
		return -EFAULT;
	access->first = MIN(access->first, iova & PAGE_MASK);
	access->last = MAX(access->last, iova + (length - 1));
	while (length) {
		uint64_t in_page = MIN(length, PAGE_SIZE - iova % PAGE_SIZE);
		struct iovec *last = access->iov_count ? &iov[access->iov_count - 1] : NULL;
		uint8_t *host;

		if (!translate_page(space, iova, access->direction, &host, fault))
			return -EFAULT;
		if (unlikely(!host))
			return -EREMOTE;
		host += iova % PAGE_SIZE;
		if (last && (uint8_t *)last->iov_base + last->iov_len == host) {
			last->iov_len += in_page;
		} else if (access->iov_count == capacity) {
			return -E2BIG;
		} else {
			iov[access->iov_count++] = (struct iovec){ host, in_page };
		}
		iova += in_page;
		length -= in_page;
	}
	return 0;
}

/*
 * Move the first `length` bytes of an access between its buffer and memory. The first
 * error ends it, if the device reads; what it has written has to go where it can. The
 * first error is also the one that `fault` and the result tell of.
 */
static int copy_bounce(struct pci_dma_access *access, uint64_t length, struct fault *fault)
{
	uint8_t *at = access->bounce;
	struct fault later;
	int error = 0;

	for (unsigned i = 0; i < access->range_count && length; i++) {
		uint64_t iova = access->ranges[i].iova;
		uint64_t left = MIN(length, access->ranges[i].length);

		length -= left;
		while (left) {
			size_t part = MIN(left, PCI_DMA_COPY_MAX);
			int rc = copy(access->space, iova, at, part, access->direction,
				      error ? &later : fault);

			if (!error)
				error = rc;
			if (error && access->direction == PCI_DMA_TO_DEVICE)
				return error;
			at += part;
			iova += part;
			left -= part;
		}
	}
	return error;
}

/*
 * Begin an access to memory of which some is remote: the device is given a buffer. Part of
 * what it would write may be protected: that is known only at the end, but each page has
 * been translated, or will be here.
 */
static int begin_bounced(struct pci_dma_space *space, struct pci_dma_access *access,
			 struct iovec *iov, unsigned capacity, struct fault *fault)
{
	uint64_t length = 0;
	int error = 0;

	access->first = UINT64_MAX;
	for (unsigned i = 0; i < access->range_count; i++) {
		const struct pci_dma_range *range = &access->ranges[i];

		if (!range->length)
			continue;
		if (!range_ends(space, range->iova, range->length, fault))
			return -EFAULT;
		if (range->length > capacity * PAGE_SIZE - length)
			return -E2BIG;
		length += range->length;
		access->first = MIN(access->first, range->iova & PAGE_MASK);
		access->last = MAX(access->last, range->iova + (range->length - 1));
	}
	access->bounce = aligned_alloc(PAGE_SIZE, (length + PAGE_SIZE - 1) & PAGE_MASK);
	if (!access->bounce)
		return -E2BIG;
	if (access->direction == PCI_DMA_TO_DEVICE)
		error = copy_bounce(access, length, fault);
	lock_to_translate(space);
	for (unsigned i = 0; access->direction == PCI_DMA_FROM_DEVICE && !error &&
			     i < access->range_count; i++) {
		const struct pci_dma_range *range = &access->ranges[i];
		uint8_t *host;

		for (uint64_t done = 0; !error && done < range->length;
		     done += PAGE_SIZE - (range->iova + done) % PAGE_SIZE)
			if (!translate_page(space, range->iova + done, access->direction, &host,
					    fault))
				error = -EFAULT;
	}
	if (!error && !may_transfer(space))
		error = -EPERM;
	if (!error)
		link_access(space, access);
	unlock_translated(space);
	if (error) {
		free(access->bounce);
		return error;
	}
	iov[0] = (struct iovec){ access->bounce, length };
	access->iov_count = 1;
	return 0;
}

int pci_dma_access_begin(struct pci_dma_space *space, struct pci_dma_access *access,
			 enum pci_dma_direction direction, const struct pci_dma_range *ranges,
			 unsigned range_count, struct iovec *iov, unsigned iov_capacity)
{
	struct fault fault;
	uint64_t length = 0;
	int error = 0;

	*access = (struct pci_dma_access){
		.space = space,
		.ranges = ranges,
		.iov = iov,
		.range_count = range_count,
		.direction = direction,
		.first = UINT64_MAX,
	};
	lock_to_translate(space);
	if (!may_transfer(space)) {
		unlock_translated(space);
		return -EPERM;
	}
	for (unsigned i = 0; i < range_count && !error; i++) {
		if (ranges[i].length)
			error = add_range(space, access, &ranges[i], iov, iov_capacity, &fault);
		length += ranges[i].length;
	}
	if (!error) {
		count_bytes(space, direction, length);
		link_access(space, access);
	}
	unlock_translated(space);
	if (unlikely(error == -EREMOTE))
		error = begin_bounced(space, access, iov, iov_capacity, &fault);
	if (error == -EFAULT)
		report_fault(space, direction, &fault);
	return error ? error : (int)access->iov_count;
}

void pci_dma_access_end(struct pci_dma_access *access, uint64_t written)
{
	struct pci_dma_space *space = access->space;
	struct fault fault;

	/*
	 * First the report, then the end: whoever waits for the end may rely on
	 * the memory's owner knowing what was stored.
	 */
	if (access->direction == PCI_DMA_FROM_DEVICE && access->bounce) {
		/* The device has been told that it may store there, so it takes it for done. */
		if (copy_bounce(access, written, &fault) == -EFAULT)
			report_fault(space, access->direction, &fault);
	} else if (access->direction == PCI_DMA_FROM_DEVICE) {
		for (unsigned i = 0; i < access->iov_count && written; i++) {
			size_t length = MIN(written, access->iov[i].iov_len);

			report_written(space, access->iov[i].iov_base, length);
			written -= length;
		}
	}
	pthread_mutex_lock(&space->lock);
	unlink_access(space, access);
	pthread_mutex_unlock(&space->lock);
	free(access->bounce);
}
