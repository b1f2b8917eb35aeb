/* SPDX-License-Identifier: MIT */
/*
 * Windows: stores to memory of the host behind a BAR, which a vCPU does by itself. window.h says
 * how; here is what opens and shuts them.
 *
 * That is as safe as a store that is done here. Whoever takes the function away has shut the
 * windows to it, and then waits for stores that had begun before they could know, in the same
 * way as for other instructions (wait_for_users()): `in_use` is to a window what a hazard
 * pointer is to them.
 * A window is opened with the function's lock held, under which its state changes.
 */
#include "zpci/internal.h"

_Static_assert(offsetof(struct zpci_window, shut) % 8 == 0 &&
		       offsetof(struct zpci_window, barred) ==
			       offsetof(struct zpci_window, shut) + 4,
	       "a CPU looks at both as one doubleword");

#define WINDOW_BYTES 4 /* of each store: what doorbells have */
/* Of so many stores elsewhere, one has the window follow. */
#define REFUSALS 16

bool window_possible(const struct zpci_function *f)
{
	return f->zpci->has_membarrier && !f->zpci->traced && pci_function_has_memory(f->pci);
}

static void shut(struct zpci_window *window)
{
	__atomic_store_n(&window->shut, 1, __ATOMIC_RELAXED);
}

void window_shut_all(struct zpci_function *f)
{
	if (!f->has_windows)
		return;
	for (unsigned i = 0; i < ZPCI_FAST_VCPUS; i++) {
		struct window_slot *slot = &f->zpci->windows[i];

		if (slot->owner == f) {
			shut(slot->window);
			slot->owner = NULL;
		}
	}
}

void window_wait_all(struct zpci_function *f)
{
	const struct timespec pause = { 0, 20000 };

	if (!f->has_windows)
		return;
	/* Whose they have been is forgotten; a store is short, whoever's. */
	for (unsigned i = 0; i < ZPCI_FAST_VCPUS; i++) {
		const struct zpci_window *window =
			__atomic_load_n(&f->zpci->windows[i].window, __ATOMIC_ACQUIRE);

		while (window && __atomic_load_n(&window->in_use, __ATOMIC_ACQUIRE))
			nanosleep(&pause, NULL);
	}
}

/*
 * The largest block around `offset`, at a multiple of its size, that lies in [first, end): its
 * mask. There is one of WINDOW_BYTES at least.
 */
static uint64_t block_mask(uint64_t offset, uint64_t first, uint64_t end)
{
	uint64_t size = WINDOW_BYTES;

	while (size < 1ull << 62 && (offset & -(2 * size)) >= first &&
	       (offset & -(2 * size)) + 2 * size <= end)
		size *= 2;
	return -size;
}

/* Where it is open to now it need not be any more. */
static void leave(struct window_slot *slot)
{
	struct zpci_function *f = slot->owner;

	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	if (slot->owner == f) {
		shut(slot->window);
		slot->owner = NULL;
	}
	pthread_mutex_unlock(&f->lock);
}

COLD void window_open(struct zpci_function *f, struct zpci_vcpu *vcpu, const struct place *place,
		      uint64_t request)
{
	struct zpci_window *window = vcpu->window;
	struct window_slot *slot = &f->zpci->windows[MIN(vcpu->index, ZPCI_FAST_VCPUS - 1)];
	uint64_t at, length, mask;
	uint8_t *host;

	if (!window || vcpu->index >= ZPCI_FAST_VCPUS || place->length != WINDOW_BYTES ||
	    place->address_space >= PCI_BAR_COUNT || place->offset % WINDOW_BYTES)
		return;
	if (slot->owner && ++slot->refused % REFUSALS)
		return;
	host = pci_function_bar_memory(f->pci, place->address_space, place->offset, &at, &length);
	if (!host || (uintptr_t)host % WINDOW_BYTES || at % WINDOW_BYTES ||
	    place->offset - at > length - WINDOW_BYTES)
		return;
	mask = block_mask(place->offset, at, at + length);
	leave(slot);
	__atomic_store_n(&slot->window, window, __ATOMIC_RELEASE);
	window->request = request;
	window->mask = mask | (WINDOW_BYTES - 1);
	window->first = place->offset & mask;
	window->host = host + (window->first - at);
	window->count = (uint64_t *)&f->lanes[vcpu->index].counters[FMB_STORES];
	pthread_mutex_lock(&f->lock);
	if (f->fh & FH_ENABLED && outcome_good(access_check(f))) {
		slot->owner = f;
		__atomic_store_n(&window->shut, 0, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&f->lock);
}
