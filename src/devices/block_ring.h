/* SPDX-License-Identifier: MIT */
/*
 * An io_uring that works on open files and nothing else.
 *
 * What a ring does is seen by no filter of system calls (seccomp). So a ring of ours is
 * made with the list of what block.c asks it for, and can never be asked for anything
 * else, as opening a file or connecting a socket: not by a process that serves a device
 * and has been taken over by its client, either (user_sandbox.h).
 */
#ifndef ZVISOR_DEVICES_BLOCK_RING_H
#define ZVISOR_DEVICES_BLOCK_RING_H

#include <liburing.h>

/*
 * `wake_fd` is an eventfd that completions signal. 0 or a negative errno. A kernel that
 * knows no such list (before 5.10, which has no Landlock either) makes one without.
 */
int block_ring_init(struct io_uring *ring, unsigned depth, int wake_fd);

#endif
