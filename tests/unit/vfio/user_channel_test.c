/* SPDX-License-Identifier: MIT */
/* Time limits of a connection of vfio-user, against peers that do a little all the time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/deadline.h"
#include "vfio/user_channel.h"

#define TIMEOUT_MS 200

/* Of a test that has failed: it is not waited for longer. */
#define PATIENCE_S 60

struct pair {
	struct user_channel *channel;
	int peer;
	pthread_t thread;
	atomic_uint commands;
	uint8_t data[USER_TRANSFER_MAX];
};

static int count_command(void *opaque, struct user_channel *channel, struct user_message *message,
			 const char **why)
{
	struct pair *p = opaque;

	p->commands++;
	return 0;
}

static const struct user_channel_ops counting = { count_command };

static struct pair *new_pair(void *(*peer)(void *))
{
	struct pair *p = calloc(1, sizeof(*p));
	int ends[2];

	assert_non_null(p);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	p->peer = ends[1];
	p->channel = user_channel_new(ends[0], TIMEOUT_MS, &counting, p);
	assert_non_null(p->channel);
	user_channel_set_limits(p->channel, USER_TRANSFER_MAX, 1);
	if (peer)
		assert_int_equal(pthread_create(&p->thread, NULL, peer, p), 0);
	return p;
}

static void free_pair(struct pair *p)
{
	user_channel_end(p->channel, "the test is over");
	if (p->thread)
		pthread_join(p->thread, NULL);
	user_channel_free(p->channel);
	close(p->peer);
	free(p);
}

static void pause_ms(unsigned ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000L };

	nanosleep(&t, NULL);
}

/* The reply to the first command, of 4 KiB, a byte each 20 ms: that is 80 seconds. */
static void *drip(void *opaque)
{
	struct pair *p = opaque;
	struct user_header header;

	if (recv(p->peer, &header, sizeof(header), MSG_WAITALL) != sizeof(header))
		return NULL;
	header.flags = USER_TYPE_REPLY;
	header.size = 4096;
	memcpy(p->data, &header, sizeof(header));
	for (unsigned i = 0; i < 4096; i++) {
		if (send(p->peer, p->data + i, 1, MSG_NOSIGNAL) != 1)
			break;
		pause_ms(20);
	}
	return NULL;
}

static void a_reply_in_small_pieces_is_not_waited_for(void **state)
{
	struct pair *p = new_pair(drip);
	static uint8_t reply[4096];
	struct user_request request = {
		.command = USER_REGION_READ,
		.reply = reply,
		.reply_max = sizeof(reply),
	};

	assert_int_equal(user_channel_call(p->channel, &request), -ENOTCONN);
	assert_false(user_channel_is_open(p->channel));
	free_pair(p);
}

/* A command of 4 KiB in the same way. */
static void *drip_command(void *opaque)
{
	const struct user_header header = { .command = USER_DMA_READ, .size = 4096 };
	struct pair *p = opaque;

	memcpy(p->data, &header, sizeof(header));
	for (unsigned i = 0; i < 4096; i++) {
		if (send(p->peer, p->data + i, 1, MSG_NOSIGNAL) != 1)
			break;
		pause_ms(20);
	}
	return NULL;
}

static void a_command_in_small_pieces_is_not_waited_for(void **state)
{
	struct pair *p = new_pair(drip_command);

	for (unsigned i = 0; i < PATIENCE_S * 1000 && user_channel_is_open(p->channel); i++) {
		(void)user_channel_poll(p->channel);
		pause_ms(1);
	}
	assert_false(user_channel_is_open(p->channel));
	assert_int_equal(p->commands, 0);
	free_pair(p);
}

/* The other side has taken all that was sent to it. False: it has gone. */
static bool was_read(int peer)
{
	struct pollfd hung_up = { .fd = peer };
	int left;

	while (!poll(&hung_up, 1, 0)) {
		if (ioctl(peer, SIOCOUTQ, &left))
			return false;
		if (!left)
			return true;
		pause_ms(1);
	}
	return false;
}

#define DRIPPED 32

/*
 * Commands without end, each of which takes 120 ms at least, and each with the first byte of the
 * next behind its last. Nothing is sent in advance, however late it is read.
 */
static void *drip_commands(void *opaque)
{
	const struct user_header header = { .command = USER_DMA_READ, .size = DRIPPED };
	struct pair *p = opaque;

	memcpy(p->data, &header, sizeof(header));
	memcpy(p->data + DRIPPED, &header, 1);
	if (send(p->peer, p->data, 1, MSG_NOSIGNAL) != 1)
		return NULL;
	for (;;) {
		for (unsigned i = 1; i < DRIPPED; i++) {
			bool end = i == DRIPPED - 1;

			pause_ms(4);
			if (!was_read(p->peer) ||
			    send(p->peer, p->data + i, end ? 2 : 1, MSG_NOSIGNAL) != (end ? 2 : 1))
				return NULL;
		}
	}
}

/* One in 64 of them would take 8 seconds. Who reads so slowly that they are too late sees the end. */
static void commands_in_small_pieces_have_one_time_limit(void **state)
{
	struct pair *p = new_pair(drip_commands);

	for (unsigned i = 0; i < 3; i++) {
		const unsigned before = p->commands;

		(void)user_channel_poll(p->channel);
		assert_in_range(p->commands - before, 0, 2);
	}
	free_pair(p);
}

/* It takes half a second or longer for a message of 1 MiB, and is never silent for long. */
static void *read_slowly(void *opaque)
{
	struct pair *p = opaque;
	static uint8_t piece[16384];

	do
		pause_ms(10);
	while (recv(p->peer, piece, sizeof(piece), 0) > 0);
	return NULL;
}

static void a_peer_that_reads_in_small_pieces_is_not_waited_for(void **state)
{
	struct pair *p = new_pair(read_slowly);
	struct user_request request = {
		.command = USER_REGION_WRITE,
		.parts = { { p->data, sizeof(p->data) } },
		.part_count = 1,
	};

	assert_int_equal(user_channel_post(p->channel, &request), -ENOTCONN);
	assert_false(user_channel_is_open(p->channel));
	free_pair(p);
}

static void *post_for_ever(void *opaque)
{
	struct pair *p = opaque;
	struct user_request request = {
		.command = USER_REGION_WRITE,
		.parts = { { p->data, sizeof(p->data) } },
		.part_count = 1,
		.until = DEADLINE_NEVER,
	};

	assert_int_equal(user_channel_post(p->channel, &request), -ENOTCONN);
	return NULL;
}

static void nobody_waits_behind_a_sender_for_longer_than_he_has_time(void **state)
{
	struct pair *p = new_pair(post_for_ever);
	struct user_request request = { .command = USER_REGION_WRITE };
	uint8_t first;

	/* It is sending. */
	assert_int_equal(recv(p->peer, &first, 1, 0), 1);
	assert_int_equal(user_channel_post(p->channel, &request), -ENOTCONN);
	assert_false(user_channel_is_open(p->channel));
	free_pair(p);
}

static void several_commands_have_one_deadline(void **state)
{
	struct pair *p = new_pair(NULL);
	struct user_request request = {
		.command = USER_REGION_READ,
		.until = deadline_now(),
	};

	assert_int_equal(user_channel_call(p->channel, &request), -ENOTCONN);
	free_pair(p);
}

static void commands_that_do_not_end_are_read_in_portions(void **state)
{
	const struct user_header header = { .command = USER_DMA_READ, .size = sizeof(header) };
	struct pair *p = new_pair(NULL);
	unsigned before;

	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(send(p->peer, &header, sizeof(header), 0), sizeof(header));
	assert_int_equal(user_channel_poll(p->channel), 0);
	assert_in_range(p->commands, 1, 199);
	do {
		before = p->commands;
		assert_int_equal(user_channel_poll(p->channel), 0);
	} while (p->commands > before);
	assert_int_equal(p->commands, 200);
	free_pair(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_in_small_pieces_is_not_waited_for),
		cmocka_unit_test(a_command_in_small_pieces_is_not_waited_for),
		cmocka_unit_test(commands_in_small_pieces_have_one_time_limit),
		cmocka_unit_test(a_peer_that_reads_in_small_pieces_is_not_waited_for),
		cmocka_unit_test(nobody_waits_behind_a_sender_for_longer_than_he_has_time),
		cmocka_unit_test(several_commands_have_one_deadline),
		cmocka_unit_test(commands_that_do_not_end_are_read_in_portions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
