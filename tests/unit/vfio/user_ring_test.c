/* SPDX-License-Identifier: MIT */
/* Commands of vfio-user in shared memory: the ring by itself, and beside a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/util.h"
#include "vfio/user_channel.h"
#include "vfio/user_ring.h"

#define TIMEOUT_MS 20000

/* Where the client's side of the ring's memory has what it has. */
#define AT_WRITTEN 0
#define AT_SLOTS 128
#define SLOT_SIZE 64
#define AT_COMMAND 8

/* --- the ring ------------------------------------------------------------------------- */

/* Both sides of one, and the memory between them, for a client that keeps to no rule. */
struct sides {
	struct user_ring *client, *server;
	int fd;
	uint8_t *memory;
};

static struct sides new_sides(void)
{
	struct sides s;
	int fd = -1;

	s.client = user_ring_new(&fd);
	assert_non_null(s.client);
	s.fd = fd;
	s.server = user_ring_open(fd);
	assert_non_null(s.server);
	s.memory = mmap(NULL, AT_SLOTS + USER_RING_SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);
	assert_ptr_not_equal(s.memory, MAP_FAILED);
	return s;
}

static void free_sides(struct sides *s)
{
	munmap(s->memory, AT_SLOTS + USER_RING_SLOTS * SLOT_SIZE);
	user_ring_free(s->client);
	user_ring_free(s->server);
	close(s->fd);
}

static struct user_header posted(unsigned command, uint16_t id)
{
	return (struct user_header){
		.id = id,
		.command = (uint16_t)command,
		.flags = USER_TYPE_COMMAND | USER_NO_REPLY,
	};
}

static void put(struct sides *s, uint16_t id, uint64_t after, const void *data, size_t length)
{
	const struct iovec part = { (void *)(uintptr_t)data, length };
	struct user_header header = posted(USER_REGION_WRITE, id);

	(void)user_ring_put(s->client, after, &header, &part, length ? 1 : 0);
}

static void commands_come_out_as_they_were_put(void **state)
{
	struct sides s = new_sides();
	uint8_t data[USER_RING_COMMAND_MAX - sizeof(struct user_header)];
	struct user_message message;
	const char *why;

	assert_int_equal(user_ring_take(s.server, 0, &message, &why), -EAGAIN);
	for (unsigned i = 0; i < 3 * USER_RING_SLOTS; i++) {
		size_t length = i % (sizeof(data) + 1);

		memset(data, (int)i, sizeof(data));
		put(&s, (uint16_t)i, 0, data, length);
		assert_int_equal(user_ring_take(s.server, 0, &message, &why), 0);
		assert_int_equal(message.header.id, (uint16_t)i);
		assert_int_equal(message.header.command, USER_REGION_WRITE);
		assert_int_equal(message.length, length);
		assert_int_equal(message.fds.count, 0);
		assert_memory_equal(message.payload, data, length);
		assert_int_equal(user_ring_take(s.server, 0, &message, &why), -EAGAIN);
	}
	free_sides(&s);
}

static void command_waits_for_those_of_the_socket_before_it(void **state)
{
	struct sides s = new_sides();
	struct user_message message;
	const char *why;

	put(&s, 1, 2, NULL, 0);
	put(&s, 2, 3, NULL, 0);
	assert_false(user_ring_is_ready(s.server, 1));
	assert_int_equal(user_ring_take(s.server, 1, &message, &why), -EAGAIN);
	assert_true(user_ring_is_ready(s.server, 2));
	assert_int_equal(user_ring_take(s.server, 2, &message, &why), 0);
	assert_int_equal(message.header.id, 1);
	assert_false(user_ring_is_ready(s.server, 2));
	assert_int_equal(user_ring_take(s.server, 2, &message, &why), -EAGAIN);
	assert_int_equal(user_ring_take(s.server, 3, &message, &why), 0);
	assert_int_equal(message.header.id, 2);
	free_sides(&s);
}

static void client_knows_whether_anybody_looks(void **state)
{
	struct sides s = new_sides();
	struct user_header header = posted(USER_REGION_WRITE, 0);

	assert_false(user_ring_is_watched(s.client));
	assert_false(user_ring_put(s.client, 0, &header, NULL, 0));
	user_ring_watch(s.server, true);
	assert_true(user_ring_is_watched(s.client));
	assert_true(user_ring_put(s.client, 0, &header, NULL, 0));
	user_ring_watch(s.server, false);
	assert_false(user_ring_is_watched(s.client));
	assert_true(user_ring_is_ready(s.server, 0));
	free_sides(&s);
}

static void expect_refusal(const void *command, uint64_t written, const char *expected)
{
	struct sides s = new_sides();
	struct user_message message;
	const char *why = NULL;

	memcpy(s.memory + AT_SLOTS + AT_COMMAND, command, sizeof(struct user_header));
	memcpy(s.memory + AT_WRITTEN, &written, sizeof(written));
	assert_int_equal(user_ring_take(s.server, 0, &message, &why), -EPROTO);
	assert_string_equal(why, expected);
	assert_int_equal(message.length, 0);
	free_sides(&s);
}

static void what_is_no_command_is_refused(void **state)
{
	static const char no_room[] = "the ring has no room for it";
	static const char has_reply[] = "in the ring there are only commands without replies";
	struct user_header good = posted(USER_REGION_WRITE, 0), header;

	good.size = sizeof(good);
	header = good;
	header.size--;
	expect_refusal(&header, 1, no_room);
	header.size = 0;
	expect_refusal(&header, 1, no_room);
	header.size = USER_RING_COMMAND_MAX + 1;
	expect_refusal(&header, 1, no_room);
	header.size = UINT32_MAX;
	expect_refusal(&header, 1, no_room);
	header = good;
	header.flags = USER_TYPE_COMMAND;
	expect_refusal(&header, 1, has_reply);
	header.flags = USER_TYPE_REPLY | USER_NO_REPLY;
	expect_refusal(&header, 1, has_reply);
	header.flags = USER_NO_REPLY | USER_ERROR;
	expect_refusal(&header, 1, has_reply);
	header = good;
	header.command = 0;
	expect_refusal(&header, 1, "an unknown command");
	header.command = USER_COMMAND_MAX + 1;
	expect_refusal(&header, 1, "an unknown command");
	expect_refusal(&good, USER_RING_SLOTS + 1,
		       "more commands in the ring than it has room for");
	expect_refusal(&good, UINT64_MAX, "more commands in the ring than it has room for");
}

static void expect_no_ring(off_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	assert_null(user_ring_open(fd));
	close(fd);
}

static void file_that_is_no_ring_is_refused(void **state)
{
	const off_t size = 9 * PAGE_SIZE;
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct user_ring *ring;
	int ends[2];

	/* That it would be one otherwise. */
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	ring = user_ring_open(fd);
	assert_non_null(ring);
	user_ring_free(ring);
	close(fd);
	expect_no_ring(size, F_SEAL_GROW);
	expect_no_ring(size, F_SEAL_SHRINK);
	expect_no_ring(size - 1, F_SEAL_SHRINK | F_SEAL_GROW);
	expect_no_ring(size + 1, F_SEAL_SHRINK | F_SEAL_GROW);
	expect_no_ring(size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_null(user_ring_open(ends[0]));
	close(ends[0]);
	close(ends[1]);
}

/* --- two channels with one ------------------------------------------------------------------ */

#define COMMANDS 60000u

/* A client that numbers its commands, and a server that looks whether they come in this order. */
struct pair {
	struct user_channel *client, *server;
	pthread_t thread;
	unsigned seed;
	bool naps; /* the server sleeps now and then before it looks */
	atomic_uint seen;
	bool in_order;
};

static void nap(unsigned us)
{
	const struct timespec t = { .tv_nsec = us * 1000L };

	nanosleep(&t, NULL);
}

/* Until the client has gone: each command is the one after that before. */
static void *serve(void *opaque)
{
	struct pair *p = opaque;
	struct user_message *message;
	unsigned number;
	int rc;

	for (;;) {
		rc = user_channel_command(p->server, &message,
					  p->naps && rand_r(&p->seed) % 2 ? 1 : -1);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			break;
		if (message->header.command == USER_RING)
			continue; /* a call to look */
		if (message->length < sizeof(number)) {
			p->in_order = false;
			break;
		}
		memcpy(&number, message->payload, sizeof(number));
		p->in_order &= number == p->seen;
		p->seen++;
		(void)user_channel_reply(p->server, &message->header, 0, NULL, 0);
		if (p->naps && rand_r(&p->seed) % 1000 == 0)
			nap(rand_r(&p->seed) % 400);
	}
	return NULL;
}

static int no_command(void *opaque, struct user_channel *channel, struct user_message *message,
		      const char **why)
{
	*why = "the test has none";
	return -EPROTO;
}

static struct pair *new_pair(bool naps)
{
	static const struct user_channel_ops ops = { no_command };
	struct pair *p = calloc(1, sizeof(*p));
	int ends[2], fd;

	assert_non_null(p);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	p->client = user_channel_new(ends[0], TIMEOUT_MS, &ops, p);
	p->server = user_channel_new(ends[1], TIMEOUT_MS, NULL, NULL);
	assert_non_null(p->client);
	assert_non_null(p->server);
	p->in_order = true;
	user_channel_set_limits(p->client, USER_TRANSFER_MAX, 1);
	user_channel_set_ring(p->client, user_ring_new(&fd));
	assert_true(user_channel_has_ring(p->client));
	user_channel_set_ring(p->server, user_ring_open(fd));
	assert_true(user_channel_has_ring(p->server));
	close(fd);
	p->naps = naps;
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
	return p;
}

static void end_pair(struct pair *p)
{
	user_channel_end(p->client, "the test is over");
	pthread_join(p->thread, NULL);
	assert_true(p->in_order);
	user_channel_free(p->client);
	user_channel_free(p->server);
	free(p);
}

/* One that has room in the ring, one that has none, or one with a reply. */
static void send_number(struct pair *p, unsigned number, unsigned kind)
{
	uint8_t data[64] = { 0 };
	struct user_request request = {
		.command = USER_REGION_WRITE,
		.parts = { { data, kind == 1 ? sizeof(data) : 8 } },
		.part_count = 1,
	};

	memcpy(data, &number, sizeof(number));
	assert_int_equal(kind == 2 ? user_channel_call(p->client, &request) :
				     user_channel_post(p->client, &request),
			 0);
}

/*
 * The server sleeps and wakes all the time; a command that it overlooked would be one that is never
 * executed, as nothing comes after the last one.
 */
static void commands_of_both_ways_are_executed_in_order(void **state)
{
	struct pair *p = new_pair(true);
	unsigned seed = 1;

	for (unsigned i = 0; i < COMMANDS; i++) {
		unsigned r = (unsigned)rand_r(&seed) % 100;

		send_number(p, i, r < 4 ? 1 : r < 6 ? 2 : 0);
		if (r == 7)
			nap((unsigned)rand_r(&seed) % 300);
	}
	send_number(p, COMMANDS, 2);
	/* It is answered after all before it have been executed. */
	assert_int_equal(p->seen, COMMANDS + 1);
	end_pair(p);
}

/* The last one is followed by nothing: whoever put it there wakes the server if it has to. */
static void server_that_falls_asleep_overlooks_nothing(void **state)
{
	struct pair *p = new_pair(false);

	for (unsigned i = 0; i < 2000; i++) {
		send_number(p, i, 0);
		/* About when the server's patience is over. */
		if (i % 2)
			nap(i % 250);
		for (unsigned waited = 0; p->seen <= i; waited++) {
			assert_true(waited < TIMEOUT_MS * 10);
			nap(100);
		}
	}
	end_pair(p);
}

/* It would go on for ever with one that has hung up and goes on writing its memory. */
static void server_sees_that_a_busy_client_has_gone(void **state)
{
	struct sides s = new_sides();
	struct user_channel *server;
	struct user_message *message;
	int ends[2], rc = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	server = user_channel_new(ends[0], TIMEOUT_MS, NULL, NULL);
	assert_non_null(server);
	user_channel_set_ring(server, user_ring_open(s.fd));
	put(&s, 1, 0, NULL, 0);
	assert_int_equal(user_channel_command(server, &message, -1), 0);
	close(ends[1]);
	for (unsigned i = 0; !rc && i < 10 * USER_RING_SLOTS; i++) {
		put(&s, 1, 0, NULL, 0);
		rc = user_channel_command(server, &message, -1);
	}
	assert_int_equal(rc, -ENOTCONN);
	user_channel_free(server);
	free_sides(&s);
}

/* Two of the socket, read together, and between them more than is taken of the ring in a row. */
static void command_behind_many_of_the_ring_is_found_at_once(void **state)
{
	const struct user_header plain = { .command = USER_DEVICE_RESET };
	struct sides s = new_sides();
	struct user_channel *server;
	struct user_message *message;
	struct user_header header;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	server = user_channel_new(ends[0], TIMEOUT_MS, NULL, NULL);
	assert_non_null(server);
	user_channel_set_ring(server, user_ring_open(s.fd));
	header = plain;
	assert_int_equal(user_message_write(ends[1], &header, NULL, 0, NULL, 0, DEADLINE_NEVER), 0);
	for (unsigned i = 0; i < USER_RING_SLOTS; i++)
		put(&s, (uint16_t)i, 1, NULL, 0);
	header = plain;
	assert_int_equal(user_message_write(ends[1], &header, NULL, 0, NULL, 0, DEADLINE_NEVER), 0);
	for (unsigned i = 0; i < USER_RING_SLOTS + 2; i++)
		assert_int_equal(user_channel_command(server, &message, 0), 0);
	assert_int_equal(message->header.command, USER_DEVICE_RESET);
	close(ends[1]);
	user_channel_free(server);
	free_sides(&s);
}

static void malformed_command_ends_the_connection(void **state)
{
	const uint64_t written = USER_RING_SLOTS + 1;
	struct sides s = new_sides();
	struct user_channel *server;
	struct user_message *message;
	char why[200];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	server = user_channel_new(ends[0], TIMEOUT_MS, NULL, NULL);
	assert_non_null(server);
	user_channel_set_ring(server, user_ring_open(s.fd));
	put(&s, 1, 0, "data", 4);
	memcpy(s.memory + AT_WRITTEN, &written, sizeof(written));
	assert_int_equal(user_channel_command(server, &message, -1), -ENOTCONN);
	user_channel_why(server, why, sizeof(why));
	assert_string_equal(why, "REGION_WRITE command (10) of 20 bytes: more commands in the ring "
				 "than it has room for");
	close(ends[1]);
	user_channel_free(server);
	free_sides(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_come_out_as_they_were_put),
		cmocka_unit_test(command_waits_for_those_of_the_socket_before_it),
		cmocka_unit_test(client_knows_whether_anybody_looks),
		cmocka_unit_test(what_is_no_command_is_refused),
		cmocka_unit_test(file_that_is_no_ring_is_refused),
		cmocka_unit_test(commands_of_both_ways_are_executed_in_order),
		cmocka_unit_test(server_that_falls_asleep_overlooks_nothing),
		cmocka_unit_test(server_sees_that_a_busy_client_has_gone),
		cmocka_unit_test(command_behind_many_of_the_ring_is_found_at_once),
		cmocka_unit_test(malformed_command_ends_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
