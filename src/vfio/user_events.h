/* SPDX-License-Identifier: MIT */
/*
 * The eventfds of a client, written by a server of vfio-user that no client holds up.
 *
 * Whether a write to an eventfd that is full waits is said by a flag of the open file, which
 * the client has, too: it can take the flag off, fill the counter, and go away, and no write
 * goes by anything else (base/event.h). So a thread, the watchdog, looks now and then whether
 * one and the same write is still under way, and interrupts it by a signal, again and again until
 * it has come back. After that, nothing more is written for this client.
 *
 * The same happens at the next look to every write when the client has hung up: else one that
 * has left the eventfd to somebody else could let each of many writes through just in time.
 *
 * The signal is SIGRTMIN + 2: its handler, which does nothing, is the process's from
 * user_events_new() on and stays, and threads that write have it unblocked. It is sent
 * to a thread while that is in user_events_give(), and has arrived when that returns, so no other
 * system call is ever interrupted. Nothing is looked at while nothing is written.
 */
#ifndef ZVISOR_VFIO_USER_EVENTS_H
#define ZVISOR_VFIO_USER_EVENTS_H

struct user_events;

/* Makes the thread, which looks so often. NULL when something is lacking. */
struct user_events *user_events_new(unsigned look_ms);
/* No client is there. NULL is allowed. */
void user_events_free(struct user_events *events);

/* A client comes; one at a time. `socket` is looked at until it goes. */
void user_events_open(struct user_events *events, int socket);
/* From now on nothing is written; a write that is under way ends with the next look. */
void user_events_close(struct user_events *events);

/*
 * Signal one; by any thread, but one at a time. 0 or:
 *
 *	-EAGAIN		it is full: it has been signalled
 *	-ETIMEDOUT	it was full, blocked, and nobody took it; nothing is written any more
 *	-ENOTCONN	nothing is written any more
 *
 * or what else write(2) says.
 */
int user_events_give(struct user_events *events, int fd);

#endif
