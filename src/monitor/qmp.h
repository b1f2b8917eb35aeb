/* SPDX-License-Identifier: MIT */
/*
 * The QEMU Machine Protocol: what one client says and hears, without its socket.
 *
 * The machine greets; the client says qmp_capabilities; then each command is a JSON
 * object {"execute": NAME, "arguments": {…}, "id": ANYTHING} that is answered, in
 * order, by {"return": …} or {"error": {"class": …, "desc": …}} with the same id.
 * Events come in between. Names, classes, texts and shapes are QEMU's, so that what
 * talks to QEMU talks to zvisor.
 *
 * Whatever a client sends has an answer or is dropped; none of it can take more
 * memory or time than JSON_STREAM_LENGTH_MAX bytes of JSON do.
 *
 * Sources: QEMU, docs/interop/qmp-spec.txt, qapi/qmp-dispatch.c, the schemas in qapi; and what
 * Debian's qemu-system-s390x answers (tests/functional/test_qmp.py asks both).
 */
#ifndef ZVISOR_MONITOR_QMP_H
#define ZVISOR_MONITOR_QMP_H

#include <stdbool.h>
#include <stddef.h>

struct machine;
struct machine_event;
struct qmp;

/* Takes one line of output, with its end; it is the caller's. */
typedef void qmp_send(void *opaque, const char *line, size_t length);

/*
 * A client of `machine`; sends the greeting. NULL when out of memory. Used by one
 * thread at a time.
 */
struct qmp *qmp_create(struct machine *machine, qmp_send *send, void *opaque);
void qmp_destroy(struct qmp *qmp);

/*
 * Take input up to the end of the next command, execute and answer that. Returns how
 * many bytes were taken, at least 1; the rest is to be given again.
 */
size_t qmp_input(struct qmp *qmp, const char *data, size_t length);

/* Events are for clients that have said qmp_capabilities. */
bool qmp_wants_events(const struct qmp *qmp);

/* The line of an event, which is the caller's to free; NULL when out of memory. */
char *qmp_event_line(const struct machine_event *event);

#endif
