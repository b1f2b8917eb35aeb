/* SPDX-License-Identifier: MIT */
/*
 * The channel subsystem, of a machine that has none of the things that one
 * connects: no subchannels, no channel paths. A guest can look and finds
 * nothing (condition code 3 of the subchannel instructions).
 *
 * What is real are channel reports and store-event-information (CHSC), because
 * PCI events travel there: a PCI event makes a channel-report word (CRW) for
 * "channel subsystem" pending, a machine check says so, the guest fetches the CRW
 * (STCRW) and then the event (CHSC X'000E').
 *
 * Sources: Principles of Operation, chapters 14 "I/O Instructions" and 17
 * (channel-report words). CHSC is not described there: Linux
 * drivers/s390/cio/chsc.c, and what QEMU's target/s390x/ioinst.c answers.
 */
#ifndef ZVISOR_MACHINE_CSS_H
#define ZVISOR_MACHINE_CSS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;
struct cpu_complex;

#define CSS_EVENT_MAX 64 /* bytes of content-code dependent data of a PCI event */

struct css {
	pthread_mutex_t lock;
	bool crw_pending; /* one for the channel subsystem waits for STCRW */
	/*
	 * A machine check announces the first CRW after the guest has seen that
	 * there are none; it reads until then.
	 */
	bool announce;
};

void css_init(struct css *css);
void css_destroy(struct css *css);
void css_reset(struct css *css);

/* Put the handlers of the I/O instructions into the CPUs' table. 0 or -errno. */
int css_install(struct machine *machine);

/* A PCI event waits to be fetched. Any thread. */
void css_event_pending(struct machine *machine);

#endif
