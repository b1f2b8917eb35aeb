/* SPDX-License-Identifier: MIT */
/* A connection of vfio-user; see user_channel.h. */
#include "vfio/user_channel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/spin.h"
#include "base/util.h"

/* Commands that wait to be asked for, and bytes of their payloads. */
#define KEPT_MAX 1024
#define KEPT_BYTES_MAX (4u << 20)

/* So many commands are sent without a reply before there is one to wait for. */
#define POSTED_MAX 256

/*
 * What user_channel_poll() reads at once: so many messages, and none begins after this part of
 * the time limit, which holds for all of them together, so that the last one has enough of it.
 */
#define POLL_MAX 64
#define POLL_BEGIN_PART 4

/*
 * Who waits for a command looks at the ring so often, which is about a microsecond, for each time
 * at the socket; and takes so many of the ring before it looks whether the peer is still there.
 */
#define RING_LOOKS 16
#define RING_RUN_MAX 64

#define WHY_MAX 160

/* What who watches is told of, while nobody waits, or somebody does. */
#define WATCH_IDLE (EPOLLIN | EPOLLRDHUP)
#define WATCH_BUSY EPOLLRDHUP

struct kept {
	struct kept *next;
	struct user_message message;
	uint8_t payload[];
};

struct user_channel {
	int socket;
	int watch; /* epoll(7) of it, for one with `ops`; else -1 */
	int kick; /* eventfd for who polls for a command, that another thread has read; or -1 */
	unsigned timeout_ms;
	const struct user_channel_ops *ops;
	void *opaque;

	struct user_ring *ring; /* or NULL */
	pthread_mutex_t send; /* guards the ring, with `ops`, and: */
	uint64_t sent; /* commands, over the socket */

	pthread_mutex_t state; /* guards what follows */
	pthread_cond_t changed; /* a reply has come, or nobody reads any more, or it is over */
	bool reading;
	uint64_t reading_until; /* the deadline of who reads; 0: none but that of the message */
	uint64_t polling_until; /* that of user_channel_poll(), which waits for no message; or 0 */
	bool asked; /* a thread waits for a command, until another one does not read … */
	bool polling; /* … or for the socket and `kick` */
	bool may_spin; /* awake at first */
	struct spin command_spin;
	unsigned waiters;
	uint16_t next_id;
	struct user_request *waiting;
	struct kept *first_kept, **last_kept, *current;
	unsigned kept_count;
	size_t kept_bytes;
	uint64_t taken; /* commands of the socket; what follows is for who takes them */
	struct user_message from_ring;
	unsigned ring_run;
	char why[WHY_MAX];

	/* Commands that were sent without a reply, and how many of them the peer has executed. */
	atomic_uint_fast64_t posted, executed;

	atomic_bool ended;
	atomic_uint transfer_max, fds_max;

	struct user_message incoming; /* whoever reads has these */
	struct user_ahead ahead; /* empty, when nobody reads */
	uint8_t *payload; /* of that, USER_PAYLOAD_MAX bytes; most are never touched */
};

struct user_channel *user_channel_new(int socket, unsigned timeout_ms,
				      const struct user_channel_ops *ops, void *opaque)
{
	struct epoll_event idle = { .events = WATCH_IDLE };
	struct user_channel *channel = calloc(1, sizeof(*channel));
	pthread_condattr_t monotonic;

	if (!channel)
		return NULL;
	channel->payload = mmap(NULL, USER_PAYLOAD_MAX, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	channel->watch = ops ? epoll_create1(EPOLL_CLOEXEC) : -1;
	channel->kick = ops ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (channel->payload == MAP_FAILED || (ops ? channel->watch : channel->kick) < 0 ||
	    (ops && epoll_ctl(channel->watch, EPOLL_CTL_ADD, socket, &idle)))
		goto fail;
	channel->socket = socket;
	channel->timeout_ms = timeout_ms;
	channel->ops = ops;
	channel->opaque = opaque;
	channel->transfer_max = 4096;
	channel->fds_max = 1;
	channel->last_kept = &channel->first_kept;
	channel->may_spin = spin_cpus() > 1;
	pthread_mutex_init(&channel->send, NULL);
	pthread_mutex_init(&channel->state, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&channel->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return channel;
fail:
	if (channel->payload != MAP_FAILED)
		munmap(channel->payload, USER_PAYLOAD_MAX);
	if (channel->watch >= 0)
		close(channel->watch);
	if (channel->kick >= 0)
		close(channel->kick);
	free(channel);
	return NULL;
}

static void free_kept(struct kept *kept)
{
	if (kept)
		user_fds_close(&kept->message.fds);
	free(kept);
}

void user_channel_free(struct user_channel *channel)
{
	if (!channel)
		return;
	while (channel->first_kept) {
		struct kept *kept = channel->first_kept;

		channel->first_kept = kept->next;
		free_kept(kept);
	}
	free_kept(channel->current);
	user_fds_close(&channel->ahead.fds);
	user_ring_free(channel->ring);
	munmap(channel->payload, USER_PAYLOAD_MAX);
	if (channel->watch >= 0)
		close(channel->watch);
	if (channel->kick >= 0)
		close(channel->kick);
	close(channel->socket);
	pthread_cond_destroy(&channel->changed);
	pthread_mutex_destroy(&channel->state);
	pthread_mutex_destroy(&channel->send);
	free(channel);
}

/* With `state` held. Who reads or writes comes back from that. */
static void end_locked(struct user_channel *channel, const char *why)
{
	if (channel->ended)
		return;
	snprintf(channel->why, sizeof(channel->why), "%s", why);
	channel->ended = true;
	shutdown(channel->socket, SHUT_RDWR);
	for (struct user_request *r = channel->waiting; r; r = r->next) {
		r->error = -ENOTCONN;
		r->done = true;
	}
	channel->waiting = NULL;
	pthread_cond_broadcast(&channel->changed);
}

void user_channel_end(struct user_channel *channel, const char *why)
{
	pthread_mutex_lock(&channel->state);
	end_locked(channel, why);
	pthread_mutex_unlock(&channel->state);
}

bool user_channel_is_open(struct user_channel *channel)
{
	return !channel->ended;
}

void user_channel_why(struct user_channel *channel, char *text, size_t size)
{
	pthread_mutex_lock(&channel->state);
	snprintf(text, size, "%s", channel->why);
	pthread_mutex_unlock(&channel->state);
}

int user_channel_watch(const struct user_channel *channel)
{
	return channel->watch;
}

void user_channel_set_limits(struct user_channel *channel, uint32_t transfer_max, unsigned fds_max)
{
	/* Never nothing: who sends in pieces of that does not get on. */
	channel->transfer_max = MIN(MAX(transfer_max, USER_TRANSFER_MIN), USER_TRANSFER_MAX);
	channel->fds_max = MIN(fds_max, USER_FDS_MAX);
}

uint32_t user_channel_transfer_max(const struct user_channel *channel)
{
	return channel->transfer_max;
}

unsigned user_channel_fds_max(const struct user_channel *channel)
{
	return channel->fds_max;
}

void user_channel_set_ring(struct user_channel *channel, struct user_ring *ring)
{
	channel->ring = ring;
	if (!channel->ops && channel->may_spin)
		user_ring_watch(ring, true);
}

bool user_channel_has_ring(const struct user_channel *channel)
{
	return channel->ring;
}

/* --- what comes in: by whoever reads, with `state` held ------------------------------------ */

static void describe(char *text, size_t size, const struct user_message *message, const char *why)
{
	const char *kind = (message->header.flags & USER_TYPE_MASK) == USER_TYPE_REPLY ? "reply" :
											 "command";

	snprintf(text, size, "%s %s (%u) of %u bytes: %s",
		 user_command_name(message->header.command), kind, message->header.command,
		 message->header.size, why);
}

static const char *take_reply(struct user_channel *channel, struct user_message *message)
{
	struct user_request **link = &channel->waiting, *r;

	while (*link && (*link)->id != message->header.id)
		link = &(*link)->next;
	r = *link;
	if (!r)
		return "nobody has asked for it";
	if (r->command != message->header.command)
		return "another one was asked for";
	if (message->header.flags & USER_ERROR) {
		uint32_t error = message->header.error;

		r->error = error && error < 4096 ? -(int)error : -EIO;
	} else if (message->length > r->reply_max) {
		return "larger than what was asked for";
	} else if (message->length) {
		memcpy(r->reply, message->payload, message->length);
	}
	/* It executes commands in order. */
	channel->executed = MAX(channel->executed, r->posted);
	r->reply_length = r->error ? 0 : message->length;
	r->reply_fd = user_fds_take(&message->fds, 0);
	*link = r->next;
	r->done = true;
	pthread_cond_broadcast(&channel->changed);
	return NULL;
}

static void kick(struct user_channel *channel)
{
	const uint64_t one = 1;

	/* A counter that is full has been seen to be written. */
	if (channel->polling && write(channel->kick, &one, sizeof(one)) < 0)
		return;
}

static const char *keep_command(struct user_channel *channel, struct user_message *message)
{
	struct kept *kept;

	if (channel->kept_count >= KEPT_MAX ||
	    message->length > KEPT_BYTES_MAX - channel->kept_bytes)
		return "too many commands before an answer";
	kept = malloc(sizeof(*kept) + message->length);
	if (!kept)
		return "out of memory";
	kept->next = NULL;
	kept->message = *message;
	kept->message.payload = kept->payload;
	memcpy(kept->payload, message->payload, message->length);
	message->fds.count = 0;
	*channel->last_kept = kept;
	channel->last_kept = &kept->next;
	channel->kept_count++;
	channel->kept_bytes += message->length;
	pthread_cond_broadcast(&channel->changed);
	kick(channel);
	return NULL;
}

/* Milliseconds, from its first byte on. */
static unsigned time_for_message(const struct user_channel *channel)
{
	uint64_t until = channel->polling_until, now;

	if (!until)
		return channel->timeout_ms;
	now = deadline_now();
	return until > now ? (unsigned)((until - now) / DEADLINE_NS_PER_MS) : 0;
}

/*
 * Read a message and deal with it. Comes and goes with `state` held; only one thread is
 * here. `until` 0: -EAGAIN when there is none. `more`: as in user_message_read_ahead().
 */
static int read_next(struct user_channel *channel, uint64_t until, bool more)
{
	const struct user_patience patience = { until, time_for_message(channel) };
	struct user_message *message = &channel->incoming;
	char text[WHY_MAX];
	const char *why = NULL;
	int rc;

	channel->reading = true;
	channel->reading_until = until ? until : channel->polling_until;
	pthread_mutex_unlock(&channel->state);
	rc = user_message_read_ahead(channel->socket, &channel->ahead, more, message,
				     channel->payload, &patience, &why);
	if (!rc && channel->ops && (message->header.flags & USER_TYPE_MASK) == USER_TYPE_COMMAND)
		rc = channel->ops->command(channel->opaque, channel, message, &why);
	pthread_mutex_lock(&channel->state);
	channel->reading = false;
	if (!rc && (message->header.flags & USER_TYPE_MASK) == USER_TYPE_REPLY)
		why = take_reply(channel, message);
	else if (!rc && !channel->ops)
		why = keep_command(channel, message);
	/* Those that nobody has taken; of a command that is refused, too. */
	user_fds_close(&message->fds);
	if (!rc && !why)
		return 0;
	if (rc == -EAGAIN && !until)
		return rc;
	if (rc == -ECONNRESET)
		end_locked(channel, "the other side has closed the connection");
	else if (rc == -EAGAIN)
		end_locked(channel, "the other side does not answer");
	else if (rc && rc != -EPROTO)
		end_locked(channel, strerror(-rc));
	if (why) {
		describe(text, sizeof(text), message, why);
		end_locked(channel, text);
	}
	return -ENOTCONN;
}

/*
 * The next message; and where commands are kept until they are asked for, those that came with it,
 * so that none is left where nobody would look for it. There are few: no more are read with them.
 */
static int read_some(struct user_channel *channel, uint64_t until)
{
	int rc = read_next(channel, until, !channel->ops);

	while (!rc && user_ahead_any(&channel->ahead))
		rc = read_next(channel, until, false);
	return rc;
}

/* Another one may want to read now. */
static void leave(struct user_channel *channel)
{
	if (channel->waiting || channel->asked || channel->ended)
		pthread_cond_broadcast(&channel->changed);
	pthread_mutex_unlock(&channel->state);
}

/* --- commands to the peer ------------------------------------------------------------------ */

static const char does_not_read[] = "the other side does not read";

/* ThreadSanitizer does not know pthread_mutex_clocklock(), and would find the unlock wrong. */
static int lock_until(pthread_mutex_t *mutex, uint64_t until)
{
#ifdef __SANITIZE_THREAD__
	const struct timespec pause = { .tv_nsec = 100000 };
	int rc;

	while ((rc = pthread_mutex_trylock(mutex)) && !deadline_is_past(until))
		nanosleep(&pause, NULL);
	return rc;
#else
	const struct timespec deadline = deadline_timespec(until);

	return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &deadline);
#endif
}

/* False: it has ended, or does so now, as who is sending does not come to an end. */
static bool lock_send(struct user_channel *channel, uint64_t until)
{
	if (!lock_until(&channel->send, until))
		return true;
	user_channel_end(channel, does_not_read);
	return false;
}

/* With `send` held. */
static bool goes_into_ring(const struct user_channel *channel, const struct user_request *request)
{
	size_t size = sizeof(struct user_header);

	if (!channel->ops || !channel->ring || !user_ring_is_watched(channel->ring) ||
	    request->fd_count || channel->posted - channel->executed > USER_RING_SLOTS)
		return false;
	for (unsigned i = 0; i < request->part_count; i++)
		size += request->parts[i].iov_len;
	return size <= USER_RING_COMMAND_MAX;
}

/* With `send` held. 0, or an error of user_message_write(). */
static int put_command(struct user_channel *channel, struct user_header *header,
		       const struct user_request *request)
{
	struct user_header wake = {
		.id = header->id,
		.command = USER_RING,
		.flags = USER_TYPE_COMMAND | USER_NO_REPLY,
	};

	if (header->flags & USER_NO_REPLY && goes_into_ring(channel, request)) {
		if (user_ring_put(channel->ring, channel->sent, header, request->parts,
				  request->part_count))
			return 0;
		channel->sent++;
		return user_message_write(channel->socket, &wake, NULL, 0, NULL, 0, request->until);
	}
	channel->sent++;
	return user_message_write(channel->socket, header, request->parts, request->part_count,
				  request->fds, request->fd_count, request->until);
}

static int send_request(struct user_channel *channel, struct user_request *request, uint32_t flags)
{
	struct user_header header = {
		.command = (uint16_t)request->command,
		.flags = USER_TYPE_COMMAND | flags,
	};
	char text[WHY_MAX];
	int rc;

	request->error = 0;
	request->reply_fd = -1;
	request->reply_length = 0;
	request->done = false;
	if (!request->until)
		request->until = deadline_in_ms(channel->timeout_ms);
	if (!lock_send(channel, request->until)) {
		request->error = -ENOTCONN;
		return -ENOTCONN;
	}
	pthread_mutex_lock(&channel->state);
	header.id = request->id = channel->next_id++;
	rc = channel->ended ? -ENOTCONN : 0;
	if (!rc && flags & USER_NO_REPLY) {
		channel->posted++;
	} else if (!rc) {
		request->posted = channel->posted;
		request->next = channel->waiting;
		channel->waiting = request;
	}
	pthread_mutex_unlock(&channel->state);
	if (!rc) {
		rc = put_command(channel, &header, request);
		if (rc) {
			snprintf(text, sizeof(text), "sending %s: %s",
				 user_command_name(request->command),
				 rc == -EAGAIN ? does_not_read : strerror(-rc));
			user_channel_end(channel, text);
		}
	}
	pthread_mutex_unlock(&channel->send);
	if (rc)
		request->error = -ENOTCONN;
	return rc ? -ENOTCONN : 0;
}

int user_channel_send(struct user_channel *channel, struct user_request *request)
{
	return send_request(channel, request, 0);
}

int user_channel_post(struct user_channel *channel, struct user_request *request)
{
	int rc;

	if (likely(channel->posted - channel->executed < POSTED_MAX))
		return send_request(channel, request, USER_NO_REPLY);
	rc = user_channel_call(channel, request);
	if (request->reply_fd >= 0)
		close(request->reply_fd);
	/* What else the peer says most do not want to know. */
	return rc == -ENOTCONN ? rc : 0;
}

/* Whoever watches need not wake for replies. */
static void set_watch(struct user_channel *channel, uint32_t events)
{
	struct epoll_event event = { .events = events };

	if (channel->watch >= 0)
		epoll_ctl(channel->watch, EPOLL_CTL_MOD, channel->socket, &event);
}

int user_channel_wait(struct user_channel *channel, struct user_request *request)
{
	const struct timespec deadline = deadline_timespec(request->until);

	pthread_mutex_lock(&channel->state);
	if (!channel->waiters++)
		set_watch(channel, WATCH_BUSY);
	while (!request->done && !channel->ended) {
		if (!channel->reading)
			(void)read_some(channel, request->until);
		else
			pthread_cond_timedwait(&channel->changed, &channel->state, &deadline);
		/* Commands of the peer are no answer. */
		if (!request->done && deadline_is_past(request->until))
			end_locked(channel, "the other side does not answer");
	}
	if (!request->done)
		request->error = -ENOTCONN;
	if (!--channel->waiters)
		set_watch(channel, WATCH_IDLE);
	leave(channel);
	return request->error;
}

int user_channel_call(struct user_channel *channel, struct user_request *request)
{
	return user_channel_send(channel, request) ? request->error :
						     user_channel_wait(channel, request);
}

/* --- commands of the peer -------------------------------------------------------------------- */

int user_channel_reply(struct user_channel *channel, const struct user_header *command, int error,
		       const struct iovec *parts, unsigned part_count)
{
	struct user_header header = {
		.id = command->id,
		.command = command->command,
		.flags = USER_TYPE_REPLY | (error ? USER_ERROR : 0),
		.error = (uint32_t)error,
	};
	uint64_t until = deadline_in_ms(channel->timeout_ms);
	char text[WHY_MAX];
	int rc;

	if (command->flags & USER_NO_REPLY)
		return 0;
	/* With `ops`, it is answered by who reads, and may wait for something itself. */
	if (channel->ops && channel->reading_until)
		until = MIN(until, channel->reading_until);
	if (!lock_send(channel, until))
		return -ENOTCONN;
	rc = channel->ended ? -ENOTCONN :
			      user_message_write(channel->socket, &header, parts,
						 error ? 0 : part_count, NULL, 0, until);
	if (rc) {
		snprintf(text, sizeof(text), "answering %s: %s",
			 user_command_name(command->command),
			 rc == -EAGAIN ? does_not_read : strerror(-rc));
		user_channel_end(channel, text);
	}
	pthread_mutex_unlock(&channel->send);
	return rc ? -ENOTCONN : 0;
}

/* With `state` held. */
static struct user_message *take_kept(struct user_channel *channel)
{
	struct kept *kept = channel->first_kept;

	if (!kept)
		return NULL;
	channel->first_kept = kept->next;
	if (!kept->next)
		channel->last_kept = &channel->first_kept;
	channel->kept_count--;
	channel->kept_bytes -= kept->message.length;
	channel->taken++;
	channel->current = kept;
	return &kept->message;
}

/* With `state` held. Those of the ring come before those of the socket that were sent after them. */
static struct user_message *take_next(struct user_channel *channel)
{
	char text[WHY_MAX];
	const char *why;
	int rc;

	if (!channel->ring)
		return take_kept(channel);
	if (channel->ended)
		return NULL;
	rc = user_ring_take(channel->ring, channel->taken, &channel->from_ring, &why);
	if (rc == -EAGAIN)
		return take_kept(channel);
	if (!rc) {
		channel->ring_run++;
		return &channel->from_ring;
	}
	describe(text, sizeof(text), &channel->from_ring, why);
	end_locked(channel, text);
	return NULL;
}

/* With `state` held. Nobody would look at the socket as long as the ring is full. */
static void look_for_the_end(struct user_channel *channel)
{
	if (channel->ring_run < RING_RUN_MAX || channel->reading || channel->ended)
		return;
	channel->ring_run = 0;
	(void)read_some(channel, 0);
}

static bool ring_is_ready(const struct user_channel *channel)
{
	return channel->ring && user_ring_is_ready(channel->ring, channel->taken);
}

/* With `state` held, which others may have meanwhile. */
static void look_at_ring(struct user_channel *channel)
{
	if (!channel->ring)
		return;
	pthread_mutex_unlock(&channel->state);
	for (unsigned i = 0; i < RING_LOOKS && !ring_is_ready(channel); i++)
		spin_pause();
	pthread_mutex_lock(&channel->state);
}

/* This side is going to sleep. False: something has come; it must not. */
static bool leave_ring(struct user_channel *channel)
{
	if (channel->ring && channel->may_spin)
		user_ring_watch(channel->ring, false);
	return !ring_is_ready(channel);
}

static void return_to_ring(struct user_channel *channel)
{
	if (channel->ring && channel->may_spin)
		user_ring_watch(channel->ring, true);
}

/* Somebody else reads: until a command has come, or the time is over. */
static int wait_for_command(struct user_channel *channel, int timeout_ms)
{
	const struct timespec deadline =
		deadline_timespec(deadline_in_ms(timeout_ms > 0 ? (unsigned)timeout_ms : 0));
	int rc = 0;

	channel->asked = true;
	if (leave_ring(channel))
		rc = timeout_ms < 0 ?
			     pthread_cond_wait(&channel->changed, &channel->state) :
			     pthread_cond_timedwait(&channel->changed, &channel->state, &deadline);
	return_to_ring(channel);
	channel->asked = false;
	return rc ? -EAGAIN : 0;
}

/* Not as the one who reads: a thread that waits for a reply may, and finds commands. */
static void poll_for_command(struct user_channel *channel, int timeout_ms)
{
	struct pollfd ready[2] = { { .fd = channel->socket, .events = POLLIN },
				   { .fd = channel->kick, .events = POLLIN } };
	uint64_t count;

	channel->polling = true;
	leave(channel);
	if (leave_ring(channel))
		poll(ready, 2, timeout_ms);
	return_to_ring(channel);
	pthread_mutex_lock(&channel->state);
	channel->polling = false;
	if (ready[1].revents && read(channel->kick, &count, sizeof(count)) < 0)
		return; /* it has been seen */
}

int user_channel_command(struct user_channel *channel, struct user_message **message,
			 int timeout_ms)
{
	struct spin *spin = &channel->command_spin;
	int rc = 0;

	pthread_mutex_lock(&channel->state);
	free_kept(channel->current);
	channel->current = NULL;
	spin_begin(spin, deadline_now());
	do {
		look_for_the_end(channel);
		*message = take_next(channel);
		if (*message)
			break;
		if (channel->ended)
			rc = -ENOTCONN;
		else if (!channel->reading)
			rc = read_some(channel, 0);
		else
			rc = wait_for_command(channel, timeout_ms);
		if (rc != -EAGAIN || !timeout_ms)
			continue;
		rc = 0;
		/* Who waits for a reply shall be the one who reads. */
		if (channel->may_spin && !channel->waiters && spin_goes_on(spin, deadline_now())) {
			look_at_ring(channel);
			continue;
		}
		poll_for_command(channel, timeout_ms);
		if (timeout_ms > 0)
			timeout_ms = 0;
	} while (!rc);
	spin_end(spin, deadline_now());
	leave(channel);
	return rc;
}

int user_channel_poll(struct user_channel *channel)
{
	const uint64_t last = deadline_in_ms(channel->timeout_ms / POLL_BEGIN_PART);
	unsigned count = 0;
	int rc = 0;

	pthread_mutex_lock(&channel->state);
	if (!channel->reading) {
		channel->polling_until = deadline_in_ms(channel->timeout_ms);
		do
			rc = channel->ended ? -ENOTCONN : read_some(channel, 0);
		while (!rc && ++count < POLL_MAX && !deadline_is_past(last));
		channel->polling_until = 0;
	}
	rc = channel->ended ? -ENOTCONN : 0;
	leave(channel);
	return rc;
}
