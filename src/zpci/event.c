/* SPDX-License-Identifier: MIT */
/*
 * Events: what a function tells the operating system on its own account.
 *
 * An error event says that a function went into the error state and why; an
 * availability event that a function came, went, or is wanted back. They queue
 * here until CHSC store event information fetches them. The queue is bounded: a
 * guest that lets a function fail over and over without fetching loses the
 * newest events, and is told so, never memory of the host.
 *
 * Source: struct zpci_ccdf_err and zpci_ccdf_avail in Linux,
 * arch/s390/pci/pci_event.c.
 */
#include <string.h>

#include "zpci/internal.h"

#define CONTENT_ERROR 1
#define CONTENT_AVAILABILITY 2

/* Content-code dependent fields; the availability event uses fewer of them. */
struct ccdf {
	be32 reserved1;
	be32 fh;
	be32 fid;
	be32 ett_and_mvn; /* of an error: expected table type, virtual function */
	be64 faddr;       /* of an error: the address that failed */
	be32 reserved2;
	be16 reserved3;
	be16 pec;
};

static_assert(sizeof(struct ccdf) == ZPCI_CCDF_SIZE, "layout of a CCDF");

/* Not again before one has been fetched. */
static void announce(struct zpci *zpci)
{
	struct event_queue *events = &zpci->events;
	bool due;

	pthread_mutex_lock(&events->lock);
	due = events->count && !events->announced;
	events->announced |= due;
	pthread_mutex_unlock(&events->lock);
	if (due && zpci->config.machine->event_pending)
		zpci->config.machine->event_pending(zpci->config.opaque);
}

static void queue(struct zpci *zpci, uint8_t content_code, const struct ccdf *ccdf)
{
	struct event_queue *events = &zpci->events;

	pthread_mutex_lock(&events->lock);
	if (events->count < EVENTS_MAX) {
		struct zpci_event *event =
			&events->ring[(events->first + events->count) % EVENTS_MAX];

		event->content_code = content_code;
		memcpy(event->ccdf, ccdf, sizeof(*ccdf));
		events->count++;
	} else {
		events->lost = true;
	}
	pthread_mutex_unlock(&events->lock);
	announce(zpci);
}

void event_error(struct zpci_function *f, enum pci_event_code pec, uint64_t address)
{
	struct ccdf ccdf = {
		.fh = be32_of(f->fh),
		.fid = be32_of(f->config.fid),
		.faddr = be64_of(address),
		.pec = be16_of(pec),
	};

	TRACE(f->zpci, "zpci_error", "fid=%#x fh=%08x pec=%04x address=%#llx", f->config.fid,
	      f->fh, pec, (unsigned long long)address);
	queue(f->zpci, CONTENT_ERROR, &ccdf);
}

void event_availability(struct zpci_function *f, enum pci_event_code pec, uint32_t fh)
{
	struct ccdf ccdf = {
		.fh = be32_of(fh),
		.fid = be32_of(f->config.fid),
		.pec = be16_of(pec),
	};

	TRACE(f->zpci, "zpci_availability", "fid=%#x fh=%08x pec=%04x", f->config.fid, fh, pec);
	queue(f->zpci, CONTENT_AVAILABILITY, &ccdf);
}

bool zpci_next_event(struct zpci *zpci, struct zpci_event *event)
{
	struct event_queue *events = &zpci->events;
	bool found;

	pthread_mutex_lock(&events->lock);
	found = events->count > 0;
	if (found) {
		*event = events->ring[events->first];
		events->first = (events->first + 1) % EVENTS_MAX;
		events->count--;
		event->lost = events->lost;
		events->lost = false;
		/* Who fetches no more than this one is told of the next. */
		events->announced = false;
	}
	pthread_mutex_unlock(&events->lock);
	return found;
}

void zpci_return_event(struct zpci *zpci, const struct zpci_event *event)
{
	struct event_queue *events = &zpci->events;

	pthread_mutex_lock(&events->lock);
	if (events->count < EVENTS_MAX) {
		events->first = (events->first + EVENTS_MAX - 1) % EVENTS_MAX;
		events->ring[events->first] = *event;
		events->count++;
		events->lost |= event->lost;
	} else {
		events->lost = true;
	}
	pthread_mutex_unlock(&events->lock);
	announce(zpci);
}

bool zpci_has_event(struct zpci *zpci)
{
	bool found;

	pthread_mutex_lock(&zpci->events.lock);
	found = zpci->events.count > 0;
	pthread_mutex_unlock(&zpci->events.lock);
	return found;
}

void event_drop_all(struct zpci *zpci)
{
	pthread_mutex_lock(&zpci->events.lock);
	zpci->events.count = 0;
	zpci->events.announced = false;
	zpci->events.lost = false;
	pthread_mutex_unlock(&zpci->events.lock);
}
