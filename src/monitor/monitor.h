/* SPDX-License-Identifier: MIT */
/*
 * The monitor: a UNIX socket at which clients speak QMP (qmp.h) to a machine.
 *
 * One thread serves all clients, up to MONITOR_CLIENTS_MAX at once, and executes their
 * commands. It never waits for a client: what one does not read is kept, up to a limit, and
 * meanwhile nothing more is taken from that client; one that lets events pile up
 * beyond the limit is cut off. So no client holds up another one or the machine.
 */
#ifndef ZVISOR_MONITOR_MONITOR_H
#define ZVISOR_MONITOR_MONITOR_H

#include <stddef.h>

struct machine;
struct monitor;

#define MONITOR_CLIENTS_MAX 8
/* Bytes of output that wait for a client: above it no command is taken from that one … */
#define MONITOR_OUTPUT_HIGH 65536
/* … and above this, an event cuts it off. */
#define MONITOR_OUTPUT_MAX 4194304

/*
 * Both: 0, or a negative errno with a line in `error`; -ENOMEM and -EIO are failures of the host,
 * the rest wrong requests.
 *
 * Listen at `path`, which must be free, or a socket at which nobody listens any more. That can be
 * done before there is a machine: a path that is of no use is found out before devices are opened.
 */
int monitor_create(const char *path, struct monitor **monitor, char *error, size_t error_size);

/* Let clients in. The machine has not run yet, and outlives the monitor. */
int monitor_start(struct monitor *monitor, struct machine *machine, char *error, size_t error_size);

/* After the run. Clients get what is left for them, if they take it; the socket goes. */
void monitor_destroy(struct monitor *monitor);

#endif
