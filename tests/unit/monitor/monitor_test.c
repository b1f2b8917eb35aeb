/* SPDX-License-Identifier: MIT */
/* The monitor's socket: clients that read, do not read, vanish, are too many. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fake_machine.h"
#include "monitor/monitor.h"

#define LIMIT 20000 /* milliseconds, only to end a test that hangs */

static const char negotiate[] = "{\"execute\":\"qmp_capabilities\"}";
static const char query[] = "{\"execute\":\"query-status\"}";

struct fixture {
	char folder[64], path[80];
	struct machine machine;
	struct monitor *monitor;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char error[256];

	strcpy(fixture->folder, "/tmp/zvisor-monitor-XXXXXX");
	if (!mkdtemp(fixture->folder))
		return -1;
	snprintf(fixture->path, sizeof(fixture->path), "%s/qmp", fixture->folder);
	*state = fixture;
	if (monitor_create(fixture->path, &fixture->monitor, error, sizeof(error)))
		return -1;
	return monitor_start(fixture->monitor, &fixture->machine, error, sizeof(error));
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	int rc;

	monitor_destroy(fixture->monitor);
	/* Only empty folders can be removed: the socket is gone. */
	rc = rmdir(fixture->folder);
	free(fixture);
	return rc;
}

/* What the monitor calls: as if there were no descriptors, when a test says so. */
static atomic_bool out_of_descriptors;
static atomic_uint refusals;

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	if (out_of_descriptors) {
		refusals++;
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_accept4, fd, address, length, flags);
}

static int call(struct fixture *fixture)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, fixture->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* One line into `line`, without its end; false when the other end has closed. */
static bool hear(int fd, char *line, size_t size)
{
	size_t used = 0;

	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		ssize_t got;

		if (poll(&wait, 1, LIMIT) != 1)
			fail_msg("the monitor says nothing");
		got = recv(fd, line + used, 1, 0);
		if (got <= 0)
			return false;
		if (line[used] == '\n')
			break;
		if (used < size - 1)
			used++;
	}
	line[used] = '\0';
	return true;
}

static void expect(int fd, const char *part)
{
	char line[512];

	if (!hear(fd, line, sizeof(line)))
		fail_msg("closed before \"%s\"", part);
	if (!strstr(line, part))
		fail_msg("\"%s\" does not contain \"%s\"", line, part);
}

static int client(struct fixture *fixture)
{
	int fd = call(fixture);

	expect(fd, "\"QMP\"");
	say(fd, negotiate);
	expect(fd, "return");
	return fd;
}

static void commands_of_one_piece_are_answered_in_order(void **state)
{
	int fd = client(*state);

	say(fd, "{\"execute\":\"query-status\",\"id\":1}{\"execute\":\"x\",\"id\":2}\n"
		"{\"execute\":\"query-status\",\"id\":3}");
	expect(fd, "\"id\": 1");
	expect(fd, "\"id\": 2");
	expect(fd, "\"id\": 3");
	close(fd);
}

static void who_has_said_all_still_gets_the_answers(void **state)
{
	int fd = call(*state);
	char line[512];

	say(fd, negotiate);
	say(fd, query);
	shutdown(fd, SHUT_WR);
	expect(fd, "QMP");
	expect(fd, "return");
	expect(fd, "running");
	assert_false(hear(fd, line, sizeof(line)));
	close(fd);
}

static void events_reach_all_who_have_negotiated(void **state)
{
	struct fixture *fixture = *state;
	int first = client(fixture), second = client(fixture), silent = call(fixture);

	expect(silent, "QMP");
	fake_machine_tell(&fixture->machine, MACHINE_EVENT_DEVICE_DELETED);
	expect(first, "DEVICE_DELETED");
	expect(second, "DEVICE_DELETED");
	say(silent, query);
	expect(silent, "CommandNotFound");
	close(first);
	close(second);
	close(silent);
}

static void who_does_not_read_is_not_listened_to(void **state)
{
	struct fixture *fixture = *state;
	int deaf = client(fixture), other;
	size_t sent = 0;

	/* What it says backs up in the end, whatever the size of the kernel's buffers. */
	while (sent < 64 * MIB) {
		struct pollfd room = { .fd = deaf, .events = POLLOUT };
		ssize_t done = send(deaf, query, strlen(query), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (done > 0)
			sent += (size_t)done;
		else if (!poll(&room, 1, 500))
			break;
	}
	assert_true(sent < 64 * MIB);
	other = client(fixture);
	say(other, query);
	expect(other, "running");
	close(other);
	/* It may begin to read after all, and be answered. */
	for (size_t i = 0; i < sent / strlen(query) - 1; i++)
		expect(deaf, "running");
	close(deaf);
}

static void who_lets_events_pile_up_is_cut_off(void **state)
{
	struct fixture *fixture = *state;
	int deaf = client(fixture), other = client(fixture);
	char line[512];
	unsigned int heard = 0;

	/* An event has about 150 bytes. */
	for (unsigned int i = 0; i < 2 * MONITOR_OUTPUT_MAX / 100; i++) {
		fake_machine_tell(&fixture->machine, MACHINE_EVENT_DEVICE_DELETED);
		expect(other, "DEVICE_DELETED");
	}
	say(other, query);
	expect(other, "running");
	while (hear(deaf, line, sizeof(line)))
		heard++;
	assert_in_range(heard, 1, 2 * MONITOR_OUTPUT_MAX / 100 - 1);
	close(deaf);
	close(other);
}

static void clients_that_vanish_make_room(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < 100; i++) {
		int fd = client(fixture);

		say(fd, i % 2 ? query : "{\"exec");
		close(fd);
	}
}

static void of_too_many_the_last_is_closed(void **state)
{
	struct fixture *fixture = *state;
	int clients[MONITOR_CLIENTS_MAX], more;
	char line[512];

	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++)
		clients[i] = client(fixture);
	more = call(fixture);
	assert_false(hear(more, line, sizeof(line)));
	close(more);
	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++) {
		say(clients[i], query);
		expect(clients[i], "running");
		close(clients[i]);
	}
}

static void the_last_words_arrive(void **state)
{
	struct fixture *fixture = *state;
	int fd = client(fixture);
	char line[512];

	fake_machine_tell(&fixture->machine, MACHINE_EVENT_SHUT_DOWN);
	monitor_destroy(fixture->monitor);
	fixture->monitor = NULL;
	expect(fd, "SHUTDOWN");
	assert_false(hear(fd, line, sizeof(line)));
	assert_int_equal(access(fixture->path, F_OK), -1);
	close(fd);
}

/* What was created, or the errno; the text of an error names the path. */
static int create(struct fixture *fixture, struct monitor **monitor, const char *part)
{
	char error[256] = "";
	int rc = monitor_create(fixture->path, monitor, error, sizeof(error));

	if (!rc)
		return monitor_start(*monitor, &fixture->machine, error, sizeof(error));
	if (rc && (!strstr(error, part) || !strstr(error, fixture->path)))
		fail_msg("\"%s\" does not name %s and \"%s\"", error, fixture->path, part);
	return rc;
}

static void a_path_in_use_is_refused_and_a_stale_one_replaced(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fixture *fixture = *state;
	struct monitor *second;
	FILE *file;
	int fd;

	assert_int_equal(create(fixture, &second, "another program"), -EADDRINUSE);
	fd = client(fixture);
	close(fd);

	monitor_destroy(fixture->monitor);
	fixture->monitor = NULL;
	file = fopen(fixture->path, "w");
	fclose(file);
	assert_int_equal(create(fixture, &second, "not a socket"), -EEXIST);
	assert_int_equal(unlink(fixture->path), 0);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(address.sun_path, fixture->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(create(fixture, &fixture->monitor, ""), 0);
	fd = client(fixture);
	close(fd);
}

static void a_socket_that_somebody_replaced_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	FILE *file;

	assert_int_equal(unlink(fixture->path), 0);
	file = fopen(fixture->path, "w");
	fclose(file);
	monitor_destroy(fixture->monitor);
	fixture->monitor = NULL;
	assert_int_equal(unlink(fixture->path), 0);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void without_descriptors_a_client_waits_and_the_monitor_does_not_spin(void **state)
{
	struct fixture *fixture = *state;
	uint64_t begun = now_ms();
	unsigned int seen;
	char line[1024];
	int fd;

	refusals = 0;
	out_of_descriptors = true;
	fd = call(fixture);
	while ((seen = refusals) < 3)
		usleep(1000);
	/* The first at once, each other one a while after the one before. */
	assert_in_range((seen - 1) * 50, 0, now_ms() - begun);
	out_of_descriptors = false;
	assert_true(hear(fd, line, sizeof(line)));
	assert_non_null(strstr(line, "QMP"));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(commands_of_one_piece_are_answered_in_order, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_has_said_all_still_gets_the_answers, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(events_reach_all_who_have_negotiated, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_does_not_read_is_not_listened_to, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_lets_events_pile_up_is_cut_off, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(clients_that_vanish_make_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_too_many_the_last_is_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_last_words_arrive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_path_in_use_is_refused_and_a_stale_one_replaced,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_socket_that_somebody_replaced_is_left_alone,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			without_descriptors_a_client_waits_and_the_monitor_does_not_spin, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
