/* SPDX-License-Identifier: MIT */
/*
 * One connection of vfio-user, as both sides use it: commands are sent and their replies
 * waited for, by several threads at once, while the peer sends commands too.
 *
 * Whoever waits reads. There is no thread whose place it is to read the socket: a wake-up
 * of a thread that hands a reply to another costs more than all else in a message. A
 * thread that waits for a reply reads, unless another does already, and gives each reply
 * to whom it belongs, by its number; when it has its own, the next one that waits takes
 * over. A command of the peer that turns up meanwhile goes to the channel's handler at
 * once (the client's: it answers out of guest memory and waits for nothing), or is kept in
 * order until user_channel_command() asks for it (the server's, whose commands may take
 * long and need replies themselves). What is kept is bounded.
 *
 * Beside the socket there may be a ring in shared memory (user_ring.h), for commands that want no
 * reply. The thread that is in user_channel_command() looks there, unless it sleeps: then, as
 * the client sees in the ring, they come over the socket. All commands are executed in the order
 * in which they were sent.
 *
 * The first error ends the connection: a message that is malformed, a reply that nobody
 * waits for, a peer that does not answer in time, an end of the stream. From then on
 * everything fails with -ENOTCONN at once, and user_channel_why() tells why.
 *
 * Nobody is held up for longer than the time limit, whatever the peer does: a message has it
 * from its first byte to its last, a command from its sending to its reply, with all the
 * waiting for other threads. Several commands may have one deadline together.
 *
 * Threads: all but new and free may be called from any thread. Locks: `send` and `state`,
 * in this order; neither is held while somebody reads, nor when the handler is called.
 */
#ifndef ZVISOR_VFIO_USER_CHANNEL_H
#define ZVISOR_VFIO_USER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfio/user_protocol.h"
#include "vfio/user_ring.h"

struct user_channel;

struct user_channel_ops {
	/*
	 * A command has come. Called by whichever thread reads, one command at a time. It may
	 * send replies, and no commands that it waits for. Descriptors that it does not take
	 * out of the message are closed afterwards. 0, or -EPROTO with a reason in `why`: the
	 * connection ends.
	 */
	int (*command)(void *opaque, struct user_channel *channel, struct user_message *message,
		       const char **why);
};

/*
 * Takes `socket` over. Without `ops`, commands are kept for user_channel_command(). A
 * peer has `timeout_ms` to answer, to read, or to send a message. NULL when out of memory;
 * then the socket is still the caller's.
 */
struct user_channel *user_channel_new(int socket, unsigned timeout_ms,
				      const struct user_channel_ops *ops, void *opaque);

/* No thread may be in any of these. NULL is allowed. */
void user_channel_free(struct user_channel *channel);

/* End the connection, from any thread. The first reason is kept; `why` is copied. */
void user_channel_end(struct user_channel *channel, const char *why);

bool user_channel_is_open(struct user_channel *channel);

/* One line, without the name of either side; empty while it is open. */
void user_channel_why(struct user_channel *channel, char *text, size_t size);

/*
 * With `ops`: to be polled by a thread that calls user_channel_poll() when it is readable:
 * there is something to read and nobody waits for a reply, or the peer has gone.
 */
int user_channel_watch(const struct user_channel *channel);

/*
 * What may be sent at most, as the peer has announced: bytes of data and descriptors in a
 * message. The least of it holds until the versions are known.
 */
void user_channel_set_limits(struct user_channel *channel, uint32_t transfer_max, unsigned fds_max);
uint32_t user_channel_transfer_max(const struct user_channel *channel);
unsigned user_channel_fds_max(const struct user_channel *channel);

/*
 * From now on, commands that want no reply may go through a ring (user_ring.h): ours, if the channel
 * has `ops`, else the peer's. The channel takes it over. Before other threads use the channel; or
 * by the one that calls user_channel_command().
 */
void user_channel_set_ring(struct user_channel *channel, struct user_ring *ring);
bool user_channel_has_ring(const struct user_channel *channel);

/* --- sending commands --------------------------------------------------------------- */

/*
 * A command, and room for its reply. `parts` and `fds` are the caller's and are used until
 * it has been sent; `reply` until it is done.
 */
struct user_request {
	unsigned command;
	struct iovec parts[USER_PARTS_MAX];
	unsigned part_count;
	const int *fds;
	unsigned fd_count;
	void *reply; /* the payload of the reply: at most `reply_max` bytes */
	uint32_t reply_max;
	uint32_t reply_length; /* how many came */
	int reply_fd; /* the first descriptor that came; -1: none. The caller's */
	int error; /* 0, what the peer answered (negative), or -ENOTCONN */
	uint64_t until; /* base/deadline.h; 0: the channel's limit, from now on */

	/* The channel's. */
	struct user_request *next;
	uint64_t posted; /* before it */
	uint16_t id;
	bool done;
};

/* Send it and wait for the reply: `error`. */
int user_channel_call(struct user_channel *channel, struct user_request *request);

/*
 * Send it, and say that no reply is wanted. 0 or -ENOTCONN. Now and then one is, and is waited
 * for: else a peer that is slow, or waits for us, could have any number of commands to keep.
 * What the peer answers is in `error` then, which is 0 otherwise.
 */
int user_channel_post(struct user_channel *channel, struct user_request *request);

/*
 * In two steps, for several on their way at once: at most USER_WINDOW, as replies to
 * commands that nobody reads fill the socket.
 */
#define USER_WINDOW 64
int user_channel_send(struct user_channel *channel, struct user_request *request);
int user_channel_wait(struct user_channel *channel, struct user_request *request);

/* --- answering commands --------------------------------------------------------------- */

/* `error` is a positive errno, or 0. If no reply is wanted, nothing is sent. */
int user_channel_reply(struct user_channel *channel, const struct user_header *command, int error,
		       const struct iovec *parts, unsigned part_count);

/*
 * The next command of the peer: waited for as long as `timeout_ms` says, -1: without a
 * limit. The payload is good until the next call; descriptors that are left in the message
 * are closed by then. One thread at a time. 0, -EAGAIN (nothing has come) or -ENOTCONN.
 */
int user_channel_command(struct user_channel *channel, struct user_message **message,
			 int timeout_ms);

/*
 * Read of what is there, for no longer than the time limit in all, and deal with it, unless
 * another thread does; for a thread that was told by poll(2). 0 or -ENOTCONN.
 */
int user_channel_poll(struct user_channel *channel);

#endif
