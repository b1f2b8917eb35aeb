/* SPDX-License-Identifier: MIT */
/*
 * The console, with pipes and a pseudo-terminal for its descriptors. Nothing
 * sleeps: the tests wait for the console's calls, or for bytes, with a limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/console.h"

#define LIMIT 20 /* seconds */

struct fixture {
	struct console *console;
	int in, out;     /* the tests' ends */
	int guest_in, guest_out; /* the console's */
	pthread_mutex_t lock;
	pthread_cond_t called;
	unsigned int inputs, rooms, ends;
};

static void count(struct fixture *f, unsigned int *counter)
{
	pthread_mutex_lock(&f->lock);
	(*counter)++;
	pthread_cond_broadcast(&f->called);
	pthread_mutex_unlock(&f->lock);
}

static void on_input(void *opaque)
{
	count(opaque, &((struct fixture *)opaque)->inputs);
}

static void on_room(void *opaque)
{
	count(opaque, &((struct fixture *)opaque)->rooms);
}

static void on_end(void *opaque)
{
	count(opaque, &((struct fixture *)opaque)->ends);
}

static const struct console_ops ops = { .input = on_input, .room = on_room, .end = on_end };

static void wait_more(struct fixture *f, const unsigned int *counter, unsigned int than)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += LIMIT;
	pthread_mutex_lock(&f->lock);
	while (*counter <= than)
		assert_int_equal(pthread_cond_timedwait(&f->called, &f->lock, &limit), 0);
	pthread_mutex_unlock(&f->lock);
}

static void start(struct fixture *f)
{
	const struct console_config config = {
		.in = f->guest_in,
		.out = f->guest_out,
		.raw = true,
		.ops = &ops,
		.opaque = f,
	};

	assert_int_equal(console_create(&config, &f->console), 0);
}

static int setup_pipes(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int in[2], out[2];

	assert_non_null(f);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	f->guest_in = in[0];
	f->in = in[1];
	f->out = out[0];
	f->guest_out = out[1];
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->called, NULL);
	start(f);
	*state = f;
	return 0;
}

static int setup_terminal(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_non_null(f);
	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	f->in = f->out = master;
	f->guest_in = f->guest_out = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(f->guest_in >= 0);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->called, NULL);
	start(f);
	*state = f;
	return 0;
}

static void close_once(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	console_destroy(f->console);
	if (f->in == f->out)
		f->out = -1;
	if (f->guest_in == f->guest_out)
		f->guest_out = -1;
	close_once(&f->in);
	close_once(&f->out);
	close_once(&f->guest_in);
	close_once(&f->guest_out);
	pthread_cond_destroy(&f->called);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

/* Read until `length` bytes are there. */
static void read_all(int fd, void *to, size_t length)
{
	uint8_t *next = to;

	while (length) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		ssize_t done;

		assert_int_equal(poll(&poll_fd, 1, LIMIT * 1000), 1);
		done = read(fd, next, length);
		assert_true(done > 0);
		next += done;
		length -= (size_t)done;
	}
}

static void type(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->in, text, strlen(text)), strlen(text));
}

/* What the guest reads, until `length` bytes have come. */
static void guest_reads(struct fixture *f, char *to, size_t length)
{
	size_t got = 0;

	while (got < length) {
		unsigned int before;
		size_t piece;

		pthread_mutex_lock(&f->lock);
		before = f->inputs;
		pthread_mutex_unlock(&f->lock);
		piece = console_read(f->console, to + got, length - got);
		got += piece;
		if (!piece && !console_has_input(f->console))
			wait_more(f, &f->inputs, before - (before != 0));
	}
}

static void output_comes_out_in_order(void **state)
{
	struct fixture *f = *state;
	char got[11];

	assert_int_equal(console_write(f->console, "hello ", 6), 0);
	assert_int_equal(console_write(f->console, "world", 5), 0);
	read_all(f->out, got, sizeof(got));
	assert_memory_equal(got, "hello world", 11);
	assert_int_equal(console_drain(f->console, f->guest_in), 0);
}

/* More than buffer and pipe hold, with nobody reading at first. */
static void slow_reader_gets_all_output(void **state)
{
	enum { PIECE = 4096, PIECES = 256 };
	struct fixture *f = *state;
	uint8_t piece[PIECE], got[PIECE];
	unsigned int written = 0, seen = 0, rooms = 0;

	while (seen < PIECES) {
		int rc = -EAGAIN;

		if (written < PIECES) {
			memset(piece, (int)written, PIECE);
			rc = console_write(f->console, piece, PIECE);
		}
		if (!rc) {
			written++;
			continue;
		}
		/* Full, or all written: only now is something taken out. */
		assert_int_equal(rc, -EAGAIN);
		read_all(f->out, got, PIECE);
		for (unsigned int i = 0; i < PIECE; i++)
			assert_int_equal(got[i], (uint8_t)seen);
		seen++;
	}
	assert_int_equal(console_drain(f->console, f->guest_in), 0);
	pthread_mutex_lock(&f->lock);
	rooms = f->rooms;
	pthread_mutex_unlock(&f->lock);
	assert_true(rooms > 0);
}

static void output_to_a_reader_that_left_is_dropped(void **state)
{
	struct fixture *f = *state;
	uint8_t piece[4096] = { 0 };

	close_once(&f->out);
	for (unsigned int i = 0; i < 2 * CONSOLE_BUFFER / sizeof(piece); i++) {
		unsigned int before = f->rooms;

		if (console_write(f->console, piece, sizeof(piece)) == -EAGAIN)
			wait_more(f, &f->rooms, before);
	}
	assert_int_equal(console_drain(f->console, f->guest_in), 0);
}

static void drain_can_be_given_up(void **state)
{
	struct fixture *f = *state;
	uint8_t piece[4096] = { 0 };
	int cancel = eventfd(1, EFD_CLOEXEC);

	/* Smaller than the buffer, which so cannot get empty. */
	assert_in_range(fcntl(f->guest_out, F_SETPIPE_SZ, 4096), 1, CONSOLE_BUFFER / 2);
	/* Until neither pipe nor buffer take any more. */
	while (!console_write(f->console, piece, sizeof(piece)))
		;
	assert_int_equal(console_drain(f->console, cancel), -ECANCELED);
	close(cancel);
}

static void input_of_a_pipe_waits_for_the_guest(void **state)
{
	enum { PIECE = 1024, PIECES = 200 };
	struct fixture *f = *state;
	char piece[PIECE], got[PIECE];
	int flags = fcntl(f->in, F_GETFL);
	unsigned int sent = 0, seen = 0;

	assert_int_equal(fcntl(f->in, F_SETFL, flags | O_NONBLOCK), 0);
	while (seen < PIECES) {
		if (sent < PIECES) {
			memset(piece, 'a' + (int)sent % 26, PIECE);
			if (write(f->in, piece, PIECE) == PIECE) {
				sent++;
				continue;
			}
			assert_int_equal(errno, EAGAIN);
		}
		guest_reads(f, got, PIECE);
		for (unsigned int i = 0; i < PIECE; i++)
			assert_int_equal(got[i], 'a' + (int)seen % 26);
		seen++;
	}
}

static void control_a_in_a_pipe_is_data(void **state)
{
	struct fixture *f = *state;
	char got[3];

	type(f, "\1xy");
	guest_reads(f, got, 3);
	assert_memory_equal(got, "\1xy", 3);
	assert_int_equal(f->ends, 0);
}

static void end_of_input_is_no_end_of_the_console(void **state)
{
	struct fixture *f = *state;
	char got[4];

	type(f, "last");
	close_once(&f->in);
	guest_reads(f, got, 4);
	assert_memory_equal(got, "last", 4);
	assert_int_equal(console_write(f->console, "more", 4), 0);
	read_all(f->out, got, 4);
	assert_memory_equal(got, "more", 4);
}

static void lines_are_read_one_by_one(void **state)
{
	struct fixture *f = *state;
	char line[16];
	size_t length;

	type(f, "one\n\ntwo");
	while (!console_read_line(f->console, line, sizeof(line), &length))
		;
	assert_int_equal(length, 3);
	assert_memory_equal(line, "one", 3);
	while (!console_read_line(f->console, line, sizeof(line), &length))
		;
	assert_int_equal(length, 0);
	assert_false(console_has_line(f->console));
	close_once(&f->in);
	while (!console_read_line(f->console, line, sizeof(line), &length))
		;
	assert_int_equal(length, 3);
	assert_memory_equal(line, "two", 3);
}

static void line_longer_than_asked_for_comes_in_pieces(void **state)
{
	struct fixture *f = *state;
	char line[4];
	size_t length;

	type(f, "abcdef\ng\n");
	while (!console_read_line(f->console, line, sizeof(line), &length))
		;
	assert_int_equal(length, 4);
	while (!console_read_line(f->console, line, sizeof(line), &length))
		;
	assert_int_equal(length, 2);
	assert_memory_equal(line, "ef", 2);
	while (!console_read_line(f->console, line, sizeof(line), &length))
		;
	assert_int_equal(length, 1);
	assert_memory_equal(line, "g", 1);
}

static void control_a_x_on_a_terminal_ends(void **state)
{
	struct fixture *f = *state;

	type(f, "ab\1x");
	wait_more(f, &f->ends, 0);
}

static void control_a_twice_on_a_terminal_sends_one(void **state)
{
	struct fixture *f = *state;
	char got[3];

	type(f, "a\1\1b");
	guest_reads(f, got, 3);
	assert_memory_equal(got, "a\1b", 3);
	assert_int_equal(f->ends, 0);
}

/* Ctrl-c and line feeds are the guest's; afterwards all is as it was. */
static void terminal_is_raw_meanwhile_and_restored_after(void **state)
{
	struct fixture *f = *state;
	struct termios raw, restored;
	char got[2];

	assert_int_equal(tcgetattr(f->guest_in, &raw), 0);
	assert_false(raw.c_lflag & (ICANON | ECHO | ISIG));
	/* A line that a guest ends with a line feed alone ends on the screen, too. */
	assert_int_equal(raw.c_oflag & (OPOST | ONLCR), OPOST | ONLCR);
	type(f, "\3\r");
	guest_reads(f, got, 2);
	assert_memory_equal(got, "\3\r", 2);
	console_destroy(f->console);
	f->console = NULL;
	assert_int_equal(tcgetattr(f->guest_in, &restored), 0);
	assert_true(restored.c_lflag & ICANON);
	assert_true(restored.c_lflag & ECHO);
	assert_true(restored.c_lflag & ISIG);
}

static void terminal_that_is_suspended_is_usable_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct termios now;

	console_suspend(f->console);
	assert_int_equal(tcgetattr(f->guest_in, &now), 0);
	assert_true(now.c_lflag & ICANON);
	console_resume(f->console);
	assert_int_equal(tcgetattr(f->guest_in, &now), 0);
	assert_false(now.c_lflag & ICANON);
}

#define PIPE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_pipes, teardown)
#define TERMINAL_TEST(name) cmocka_unit_test_setup_teardown(name, setup_terminal, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIPE_TEST(output_comes_out_in_order),
		PIPE_TEST(slow_reader_gets_all_output),
		PIPE_TEST(output_to_a_reader_that_left_is_dropped),
		PIPE_TEST(drain_can_be_given_up),
		PIPE_TEST(input_of_a_pipe_waits_for_the_guest),
		PIPE_TEST(control_a_in_a_pipe_is_data),
		PIPE_TEST(end_of_input_is_no_end_of_the_console),
		PIPE_TEST(lines_are_read_one_by_one),
		PIPE_TEST(line_longer_than_asked_for_comes_in_pieces),
		TERMINAL_TEST(control_a_x_on_a_terminal_ends),
		TERMINAL_TEST(control_a_twice_on_a_terminal_sends_one),
		TERMINAL_TEST(terminal_is_raw_meanwhile_and_restored_after),
		TERMINAL_TEST(terminal_that_is_suspended_is_usable_meanwhile),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
