/* SPDX-License-Identifier: MIT */
/* Eventfds of a client that wants to hold the writer up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/deadline.h"
#include "vfio/user_events.h"

#define FULL (UINT64_MAX - 1)
#define LOOK_MS 500
/* Less than that. */
#define MOMENT_US 200000

struct world {
	struct user_events *events;
	int ends[2]; /* the server's, the client's */
	int fd;
	atomic_bool done;
};

static int setup_with(void **state, unsigned look_ms)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->ends), 0);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(w->fd >= 0);
	w->events = user_events_new(look_ms);
	assert_non_null(w->events);
	user_events_open(w->events, w->ends[0]);
	*state = w;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, LOOK_MS);
}

/* In which nobody is too late. */
static int setup_patient(void **state)
{
	return setup_with(state, 60000);
}

static int teardown(void **state)
{
	struct world *w = *state;

	user_events_close(w->events);
	user_events_free(w->events);
	close(w->ends[0]);
	close(w->ends[1]);
	close(w->fd);
	free(w);
	return 0;
}

static void fill(struct world *w)
{
	const uint64_t full = FULL;

	assert_int_equal(write(w->fd, &full, sizeof(full)), sizeof(full));
}

static void fill_and_block(struct world *w)
{
	fill(w);
	assert_int_equal(fcntl(w->fd, F_SETFL, O_RDWR), 0);
}

static uint64_t take(struct world *w)
{
	uint64_t count = 0;

	assert_int_equal(fcntl(w->fd, F_SETFL, O_RDWR | O_NONBLOCK), 0);
	return read(w->fd, &count, sizeof(count)) < 0 ? 0 : count;
}

static void one_that_is_full_and_does_not_block_has_been_signalled(void **state)
{
	struct world *w = *state;

	assert_int_equal(user_events_give(w->events, w->fd), 0);
	assert_true(take(w) == 1);
	fill(w);
	assert_int_equal(user_events_give(w->events, w->fd), -EAGAIN);
	assert_true(take(w) == FULL);
	assert_int_equal(user_events_give(w->events, w->fd), 0);
	assert_true(take(w) == 1);
}

static void one_that_is_full_and_blocks_is_the_last_of_its_client(void **state)
{
	struct world *w = *state;

	fill_and_block(w);
	assert_int_equal(user_events_give(w->events, w->fd), -ETIMEDOUT);
	assert_int_equal(user_events_give(w->events, w->fd), -ENOTCONN);
	assert_true(take(w) == FULL);
	assert_int_equal(user_events_give(w->events, w->fd), -ENOTCONN);
	user_events_close(w->events);
	assert_int_equal(user_events_give(w->events, w->fd), -ENOTCONN);
	/* Of the next client, too, and however often. */
	user_events_open(w->events, w->ends[0]);
	assert_int_equal(user_events_give(w->events, w->fd), 0);
	assert_true(take(w) == 1);
	fill_and_block(w);
	assert_int_equal(user_events_give(w->events, w->fd), -ETIMEDOUT);
}

static void write_of_a_thread_that_blocks_signals_is_interrupted(void **state)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	one_that_is_full_and_blocks_is_the_last_of_its_client(state);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void on_signal(int signal)
{
	(void)signal;
}

static void *give(void *opaque)
{
	struct world *w = opaque;
	int rc = user_events_give(w->events, w->fd);

	w->done = true;
	return (void *)(intptr_t)rc;
}

/* Somebody else's signals come all the time, and then the client takes what there is. */
static void one_that_is_read_in_time_is_written(void **state)
{
	const struct sigaction action = { .sa_handler = on_signal };
	struct world *w = *state;
	struct sigaction old;
	pthread_t thread;
	uint64_t count;
	void *rc;

	sigaction(SIGUSR1, &action, &old);
	fill_and_block(w);
	assert_int_equal(pthread_create(&thread, NULL, give, w), 0);
	for (unsigned i = 0; i < 30; i++) {
		usleep(MOMENT_US / 30);
		pthread_kill(thread, SIGUSR1);
	}
	assert_false(w->done);
	/* Not with take(): a write that begins when the flag is back does not wait. */
	assert_int_equal(read(w->fd, &count, sizeof(count)), sizeof(count));
	assert_true(count == FULL);
	pthread_join(thread, &rc);
	sigaction(SIGUSR1, &old, NULL);
	assert_int_equal((intptr_t)rc, 0);
	assert_true(take(w) == 1);
}

/* Lets each write through when it has waited for a moment. */
static void *let_through(void *opaque)
{
	/* With the write, before or after, that is full. */
	const uint64_t more = FULL - 1;
	struct world *w = opaque;

	while (!w->done) {
		usleep(MOMENT_US);
		(void)take(w);
		(void)!write(w->fd, &more, sizeof(more));
		fcntl(w->fd, F_SETFL, O_RDWR);
	}
	return NULL;
}

static void client_that_has_left_its_eventfd_to_another_holds_up_nobody(void **state)
{
	struct world *w = *state;
	const uint64_t limit = deadline_in_ms(20000);
	pthread_t thread;
	int rc;

	fill_and_block(w);
	assert_int_equal(pthread_create(&thread, NULL, let_through, w), 0);
	shutdown(w->ends[1], SHUT_RDWR);
	do
		rc = user_events_give(w->events, w->fd);
	while ((!rc || rc == -EAGAIN) && !deadline_is_past(limit));
	w->done = true;
	pthread_join(thread, NULL);
	assert_int_equal(rc, -ENOTCONN);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_that_is_full_and_does_not_block_has_been_signalled),
		TEST(one_that_is_full_and_blocks_is_the_last_of_its_client),
		TEST(write_of_a_thread_that_blocks_signals_is_interrupted),
		cmocka_unit_test_setup_teardown(one_that_is_read_in_time_is_written, setup_patient,
						teardown),
		TEST(client_that_has_left_its_eventfd_to_another_holds_up_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
