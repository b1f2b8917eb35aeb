/* SPDX-License-Identifier: MIT */
/*
 * The client of vfio-user from the inside; for the files user_client*.c only.
 *
 * A connection may end at any time, as a server may. Whoever needs it finds that out by
 * -ENOTCONN: reads are all ones then and writes go nowhere, as with a device that was
 * pulled out. A thread of the client's own, which otherwise answers the server when
 * nobody else listens, sees the end, too, and puts the function into the error state. The
 * guest recovers it by a reset: that is where a new connection is made, if the server is
 * back and is still the same device; and what was mapped and armed is told again.
 *
 * A server has a time limit for each thing that we do, whatever messages that takes; a reset
 * has it for all of a new connection. Nothing that a guest or a person asks for waits for longer.
 *
 * Locks: `lock` is held for reading by whoever uses the connection, for writing while it is
 * exchanged; who wants that comes before new readers, of which there may always be some. The list of what is mapped has a lock of its own, inside. Commands of the
 * server are answered by whichever thread reads, and need no more than that list; `copying`
 * is held while they touch memory, so that what has been unmapped can be waited for
 * without the server's word.
 */
#ifndef ZVISOR_VFIO_USER_CLIENT_INTERNAL_H
#define ZVISOR_VFIO_USER_CLIENT_INTERNAL_H

#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/deadline.h"
#include "base/spin.h"
#include "vfio/passthrough.h"
#include "vfio/user_channel.h"
#include "vfio/user_memory.h"

struct device_host;

#define USER_CLIENT_TIMEOUT_MS 10000
/* For so long a CPU waits for an interrupt that a store is answered by. */
#define USER_CLIENT_ANSWER_NS 25000
#define USER_CLIENT_ANSWERS 64
/* A server that was started a moment ago may not listen yet. */
#define USER_CLIENT_START_MS 2000
/* A reset waits so long for a server to come back. */
#define USER_CLIENT_RETURN_MS 5000

/* What a server says of its device; one that comes back says the same. */
struct user_client_identity {
	uint32_t flags;
	uint32_t id; /* vendor and device */
	struct passthrough_region regions[VFIO_PCI_NUM_REGIONS];
	uint32_t irqs[VFIO_PCI_NUM_IRQS];
};

struct user_client {
	char name[64]; /* for messages */
	char *path;
	bool share_memory;
	const struct device_host *host;
	unsigned timeout_ms; /* a server that does not answer within this time has gone */
	struct passthrough *function; /* set before the thread begins */

	pthread_rwlock_t lock;
	struct user_channel *channel; /* NULL before the first */
	unsigned connections; /* how many there were after the first */
	atomic_uint tries; /* to make one */
	bool refusal_told; /* why there is no other one */
	struct user_client_identity identity;
	uint32_t regions_max; /* that can be mapped at once */
	bool maps_posted; /* it wants to know of maps, and answers none: user_version.h */
	atomic_bool has_file; /* it has taken one map of our memory */

	struct user_memory *mapped; /* offsets are guest-absolute */
	uint8_t *data; /* of one command of the server */
	pthread_mutex_t copying; /* held while the server's command touches memory */
	atomic_bool bus_master;
	/* What the server is to be told before anything else: a command register, and a bit; or 0. */
	atomic_uint command;
	pthread_mutex_t telling; /* held by who does, until it is sent */
	/* The eventfds of errors and requests, which stay; the caller's. -1: none. */
	int error_fd, request_fd;
	struct irq_sources *irq_sources;
	bool may_spin;
	struct spin_guess answers[USER_CLIENT_ANSWERS]; /* by register */

	pthread_t thread;
	bool thread_started;
	int wake; /* eventfd: it was tried to connect, there is a `command`, or it is the end */
	atomic_bool quit;
};

/* user_client.c: of no server yet. NULL when out of memory. */
struct user_client *user_client_new(const char *name, const char *path, bool share_memory,
				    const struct device_host *host, unsigned timeout_ms);
void user_client_free(struct user_client *c);

/*
 * user_client_connect.c: connect, agree on a version, and learn what the device is. 0 or a
 * negative errno with a phrase in `error`. The first time it fills c->identity.
 */
int user_client_connect(struct user_client *c, char *error, size_t error_size);
/*
 * With `lock` held for writing: the same, after a server has gone. It is waited for until `end`; 0:
 * not at all. All of it has ended by `until`.
 */
int user_client_reconnect(struct user_client *c, uint64_t end, uint64_t until, char *error,
			  size_t error_size);
void user_client_forget_regions(struct user_client_identity *identity);

/*
 * user_client_commands.c: all with `lock` held for reading or writing. 0, -ENOTCONN, or what
 * the server says.
 */
int user_client_read(struct user_client *c, unsigned region, uint64_t offset, void *data,
		     size_t length);
int user_client_write(struct user_client *c, unsigned region, uint64_t offset, const void *data,
		      size_t length);
int user_client_set_irqs(struct user_client *c, unsigned index, unsigned start, unsigned count,
			 const int *eventfds, uint64_t until);
int user_client_reset(struct user_client *c, uint64_t until);
/*
 * Tell of what is in the list already, and, unless they have been told before (`again`), take
 * out of it what the server refuses; 0, -ENOSPC when it was one of them at least, or -ENOTCONN.
 */
int user_client_tell_maps(struct user_client *c, const struct user_region *regions, size_t count,
			  bool again, uint64_t until);
/*
 * In regions of `piece` bytes. 0, or an error and nothing is mapped of it: -ENOSPC for all that
 * the server does not want.
 */
int user_client_map(struct user_client *c, uint64_t iova, uint64_t absolute, uint64_t length,
		    uint64_t piece, bool writable);
void user_client_unmap(struct user_client *c, uint64_t iova, uint64_t length);

/* When the server's time for something that begins now is over. */
static inline uint64_t user_client_deadline(const struct user_client *c)
{
	return deadline_in_ms(c->timeout_ms);
}

/* What the server may say: ops of the channel, with a client. */
extern const struct user_channel_ops user_client_channel_ops;

#endif
