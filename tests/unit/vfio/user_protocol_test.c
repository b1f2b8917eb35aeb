/* SPDX-License-Identifier: MIT */
/* Messages of vfio-user that come together: each is read as it was sent, with its descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfio/user_protocol.h"

#define MESSAGE_MS 200

/* At once: as a server reads that has something else to do. */
static const struct user_patience patience = { 0, MESSAGE_MS };

struct pair {
	int reader, writer;
	struct user_ahead ahead;
	uint8_t *payload;
};

static struct pair *new_pair(void)
{
	struct pair *p = calloc(1, sizeof(*p));
	int ends[2];

	assert_non_null(p);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	p->reader = ends[0];
	p->writer = ends[1];
	p->payload = malloc(USER_PAYLOAD_MAX);
	assert_non_null(p->payload);
	return p;
}

static void free_pair(struct pair *p)
{
	user_fds_close(&p->ahead.fds);
	free(p->payload);
	close(p->reader);
	close(p->writer);
	free(p);
}

/* A command with `length` bytes of value `id`, and perhaps a descriptor. */
static void put(struct pair *p, uint16_t id, size_t length, int fd)
{
	struct user_header header = { .id = id, .command = USER_REGION_WRITE };
	uint8_t bytes[4096];
	struct iovec part = { bytes, length };

	memset(bytes, id, length);
	assert_int_equal(user_message_write(p->writer, &header, &part, 1, &fd, fd >= 0, UINT64_MAX),
			 0);
}

static int get(struct pair *p, bool more, struct user_message *message)
{
	const char *why;

	return user_message_read_ahead(p->reader, &p->ahead, more, message, p->payload, &patience,
				       &why);
}

static void expect(struct pair *p, bool more, uint16_t id, size_t length, int fd)
{
	struct user_message message;
	struct stat sent, came;

	assert_int_equal(get(p, more, &message), 0);
	assert_int_equal(message.header.id, id);
	assert_int_equal(message.length, length);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(p->payload[i], (uint8_t)id);
	assert_int_equal(message.fds.count, fd >= 0);
	if (fd >= 0) {
		assert_int_equal(fstat(fd, &sent), 0);
		assert_int_equal(fstat(message.fds.fd[0], &came), 0);
		assert_int_equal(sent.st_ino, came.st_ino);
	}
	user_fds_close(&message.fds);
}

static void small_messages_are_read_together(void **state)
{
	struct pair *p = new_pair();
	uint8_t byte;

	for (uint16_t id = 0; id < 8; id++)
		put(p, id, 20, -1);
	expect(p, true, 0, 20, -1);
	assert_int_equal(recv(p->reader, &byte, 1, MSG_DONTWAIT), -1);
	for (uint16_t id = 1; id < 8; id++) {
		assert_true(user_ahead_any(&p->ahead));
		expect(p, false, id, 20, -1);
	}
	assert_false(user_ahead_any(&p->ahead));
	free_pair(p);
}

static void descriptors_are_of_the_message_that_they_were_sent_with(void **state)
{
	struct pair *p = new_pair();
	int fds[3];

	for (unsigned i = 0; i < 3; i++)
		fds[i] = memfd_create("test", MFD_CLOEXEC);
	put(p, 1, 20, -1);
	put(p, 2, 32, fds[0]);
	put(p, 3, 20, -1);
	put(p, 4, 32, fds[1]);
	put(p, 5, 32, fds[2]);
	put(p, 6, 0, -1);
	expect(p, true, 1, 20, -1);
	expect(p, false, 2, 32, fds[0]);
	expect(p, true, 3, 20, -1);
	expect(p, false, 4, 32, fds[1]);
	expect(p, true, 5, 32, fds[2]);
	expect(p, true, 6, 0, -1);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	free_pair(p);
}

/* Its beginning has come with others, its end has not. */
static void long_message_behind_a_short_one_is_whole(void **state)
{
	struct pair *p = new_pair();
	int fd = memfd_create("test", MFD_CLOEXEC);

	put(p, 1, 20, -1);
	put(p, 2, 4096, fd);
	put(p, 3, 4096, -1);
	put(p, 4, 20, -1);
	expect(p, true, 1, 20, -1);
	expect(p, false, 2, 4096, fd);
	assert_false(user_ahead_any(&p->ahead));
	expect(p, true, 3, 4096, -1);
	assert_false(user_ahead_any(&p->ahead));
	expect(p, true, 4, 20, -1);
	close(fd);
	free_pair(p);
}

static void without_more_nothing_is_read_beyond_the_end(void **state)
{
	struct pair *p = new_pair();

	put(p, 1, 20, -1);
	put(p, 2, 20, -1);
	expect(p, false, 1, 20, -1);
	assert_false(user_ahead_any(&p->ahead));
	expect(p, false, 2, 20, -1);
	free_pair(p);
}

static void message_that_stops_in_the_midst_is_refused(void **state)
{
	struct pair *p = new_pair();
	const struct user_header header = { .id = 2, .command = USER_REGION_WRITE, .size = 100 };
	struct user_message message;

	assert_int_equal(get(p, true, &message), -EAGAIN);
	put(p, 1, 20, -1);
	assert_int_equal(write(p->writer, &header, sizeof(header)), sizeof(header));
	expect(p, true, 1, 20, -1);
	assert_int_equal(get(p, false, &message), -EPROTO);
	close(p->writer);
	p->writer = -1;
	assert_int_equal(get(p, true, &message), -ECONNRESET);
	free_pair(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_messages_are_read_together),
		cmocka_unit_test(descriptors_are_of_the_message_that_they_were_sent_with),
		cmocka_unit_test(long_message_behind_a_short_one_is_whole),
		cmocka_unit_test(without_more_nothing_is_read_beyond_the_end),
		cmocka_unit_test(message_that_stops_in_the_midst_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
