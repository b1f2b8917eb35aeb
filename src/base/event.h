/* SPDX-License-Identifier: MIT */
/*
 * Eventfds that another process has, too. O_NONBLOCK is the open file's, so whoever else has it
 * can take it off at any time: it says nothing about whether a read waits.
 */
#ifndef ZVISOR_BASE_EVENT_H
#define ZVISOR_BASE_EVENT_H

#include <stdbool.h>

/* Take what has been signalled. False: nothing has. It does not wait, whatever the flag. */
bool event_take(int fd);

/*
 * Signal it. False with errno set; EAGAIN: it has been signalled as often as it goes. With the flag
 * taken off, it waits until somebody takes that, or for a signal (EINTR): there is no write
 * to an eventfd that does not go by the flag. vfio/user_events.h is for those of a stranger.
 */
bool event_give(int fd);

#endif
