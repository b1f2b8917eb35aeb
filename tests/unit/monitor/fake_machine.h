/* SPDX-License-Identifier: MIT */
/*
 * A machine for the monitor's tests: machine/control.h without anything behind it. It
 * keeps a record of what was asked, as words, and answers as it was told to.
 */
#ifndef ZVISOR_TESTS_UNIT_MONITOR_FAKE_MACHINE_H
#define ZVISOR_TESTS_UNIT_MONITOR_FAKE_MACHINE_H

#include <stdbool.h>

#include "machine/control.h"

#define FAKE_RECORD_SIZE 4096

struct machine {
	enum machine_run_state state;
	char record[FAKE_RECORD_SIZE]; /* "pause add(nvme,id,uid) …" */
	int answer;                    /* of what can fail */
	unsigned int functions;        /* how many query-pci finds */
	machine_listener *listener;
	void *opaque;
};

/* Tell the listener, if there is one. */
void fake_machine_tell(struct machine *machine, enum machine_event_kind kind);

#endif
