/* SPDX-License-Identifier: MIT */
/*
 * Commands that want no reply, in memory that both sides of a connection share.
 *
 * A doorbell is a store of four bytes: sent over a socket it costs both sides a system call,
 * which is more than all else that is done for it. So a client may put such commands, as they
 * would be on the socket, into a ring, at which a server looks as long as it is awake. It says
 * whether it is: if not, the client sends them over the socket, which wakes it.
 *
 * The order of all commands is that in which the client has issued them. Each one in the ring
 * says how many went over the socket before it: the server executes it when it has taken
 * those, and before the next of them. Those that it has not taken when the connection ends are
 * lost. What wants a reply or has a descriptor goes over the socket.
 *
 * The ring is the client's, a file of 36864 bytes that is sealed against shrinking and growing:
 *
 *	byte 0	 8 bytes: how many commands have ever been put there, by the client
 *	64	 4 bytes: not 0 while the server looks, by the server
 *	128	 512 slots of 64 bytes, used in turn: `after` (8 bytes), and the command with its
 *		 header
 *
 * All numbers have the byte order of the host. The server writes nothing but whether it is awake;
 * so how much room there is the client has to know from replies. Neither trusts the other: the server copies a command before it looks at it, and
 * what a server says of itself makes a client lose only its own commands.
 */
#ifndef ZVISOR_VFIO_USER_RING_H
#define ZVISOR_VFIO_USER_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vfio/user_protocol.h"

#define USER_RING_SLOTS 512u
/* Bytes of a command with its header. */
#define USER_RING_COMMAND_MAX 56u

struct user_ring;

/* Memory of it is given back; NULL is allowed. */
void user_ring_free(struct user_ring *ring);

/* --- the client's side: one thread at a time ------------------------------------------ */

/* `fd` is the file, for the server, and the caller's. NULL, with errno. */
struct user_ring *user_ring_new(int *fd);

/* Is the server awake? Otherwise what is put there would have to wait. */
bool user_ring_is_watched(const struct user_ring *ring);

/*
 * Put a command there, whose size in the header is set here, and which fits. There must not be
 * USER_RING_SLOTS that may not have been executed. `after`: how many commands have been sent over
 * the socket. False: the server has fallen asleep meanwhile, and may not have seen it.
 */
bool user_ring_put(struct user_ring *ring, uint64_t after, struct user_header *header,
		   const struct iovec *parts, unsigned part_count);

/* --- the server's side: one thread at a time --------------------------------------------- */

/* The client's file stays the caller's. NULL when it is none of these, or there is no memory. */
struct user_ring *user_ring_open(int fd);

/*
 * Is there a command that may be executed when `taken` ones of the socket have been? One that is
 * not as it should be may.
 */
bool user_ring_is_ready(const struct user_ring *ring, uint64_t taken);

/*
 * Take it; it is good until the next call. 0, -EAGAIN: there is none; -EPROTO, with the reason in
 * `why`.
 */
int user_ring_take(struct user_ring *ring, uint64_t taken, struct user_message *message,
		   const char **why);

/*
 * From now on this side looks, or no longer. To look for the last time is the caller's,
 * after it has said so.
 */
void user_ring_watch(struct user_ring *ring, bool watched);

#endif
