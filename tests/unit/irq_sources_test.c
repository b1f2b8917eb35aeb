/* SPDX-License-Identifier: MIT */
/*
 * Interrupt sources: every write is followed by a call, whoever waits, comes or goes at that
 * moment; and a source that was removed is not called any more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "base/irq_sources.h"
#include "base/util.h"

#define LIMIT_SECONDS 60
#define SOURCES 40 /* more than are taken at once */
#define IDLERS 3
#define ROUNDS 2000

struct source {
	struct fixture *fixture;
	int fd;
	struct irq_source *source;
	atomic_uint calls;
	atomic_uint written, seen; /* the number of the last write */
};

struct fixture {
	struct irq_sources *set;
	struct source source[SOURCES];
	pthread_t idler[IDLERS];
	unsigned int idlers;
	atomic_uint by_idlers;
	atomic_bool stop;
	sem_t entered, go_on;
};

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

#define comes_true(condition) \
	({ \
		time_t until = seconds() + LIMIT_SECONDS; \
		while (!(condition) && seconds() <= until) \
			usleep(20); \
		(condition); \
	})
#define wait_until(condition) assert_true(comes_true(condition))

static void on_event(void *opaque)
{
	struct source *source = opaque;
	unsigned int written = atomic_load(&source->written);
	unsigned int seen = atomic_load(&source->seen);

	atomic_fetch_add(&source->calls, 1);
	/* Of two that run at once, for two writes, the one for the earlier may end last. */
	while (seen < written && !atomic_compare_exchange_weak(&source->seen, &seen, written))
		;
}

static void on_event_wait(void *opaque)
{
	struct source *source = opaque;

	sem_post(&source->fixture->entered);
	sem_wait(&source->fixture->go_on);
	on_event(opaque);
}

static void signal_source(struct source *source)
{
	const uint64_t one = 1;

	atomic_fetch_add(&source->written, 1);
	assert_int_equal(write(source->fd, &one, sizeof(one)), sizeof(one));
}

static void add(struct source *source, irq_source_callback *callback)
{
	assert_int_equal(irq_source_add(source->fixture->set, source->fd, callback, source,
					&source->source),
			 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->set = irq_sources_create();
	assert_non_null(f->set);
	for (unsigned int i = 0; i < SOURCES; i++) {
		f->source[i].fixture = f;
		f->source[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_true(f->source[i].fd >= 0);
	}
	sem_init(&f->entered, 0, 0);
	sem_init(&f->go_on, 0, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	atomic_store(&f->stop, true);
	for (unsigned int i = 0; i < f->idlers; i++)
		pthread_join(f->idler[i], NULL);
	for (unsigned int i = 0; i < SOURCES; i++) {
		if (f->source[i].source)
			irq_source_remove(f->source[i].source);
		close(f->source[i].fd);
	}
	irq_sources_destroy(f->set);
	sem_destroy(&f->entered);
	sem_destroy(&f->go_on);
	free(f);
	return 0;
}

/* What an idle CPU does: waits for a while, looks, and is then busy for a while. */
static void *idler(void *opaque)
{
	struct fixture *f = opaque;
	struct epoll_event events[2];
	unsigned int seed = (unsigned int)(uintptr_t)events;

	while (!atomic_load(&f->stop)) {
		int count, busy = rand_r(&seed) % 400;

		if (busy % 4 == 0) {
			atomic_fetch_add(&f->by_idlers, irq_sources_look(f->set, 20000));
			continue;
		}
		count = epoll_wait(irq_sources_idle_fd(f->set), events, ARRAY_SIZE(events),
				   rand_r(&seed) % 3);
		if (count > 0)
			atomic_fetch_add(&f->by_idlers, (unsigned int)count);
		if (count > 0)
			irq_sources_serve(f->set, events, (unsigned int)count);
		if (count <= 0 || count == (int)ARRAY_SIZE(events))
			irq_sources_serve_rest(f->set);
		for (volatile int i = 0; i < busy; i++)
			;
	}
	return NULL;
}

static void start_idlers(struct fixture *f)
{
	for (f->idlers = 0; f->idlers < IDLERS; f->idlers++)
		assert_int_equal(pthread_create(&f->idler[f->idlers], NULL, idler, f), 0);
}

static void each_write_is_followed_by_a_call(void **state)
{
	struct fixture *f = *state;

	assert_false(irq_sources_any(f->set));
	add(&f->source[0], on_event);
	add(&f->source[1], on_event);
	assert_true(irq_sources_any(f->set));
	for (unsigned int i = 1; i <= 100; i++) {
		signal_source(&f->source[0]);
		wait_until(f->source[0].calls == i);
	}
	assert_int_equal(f->source[1].calls, 0);
}

static void what_was_written_before_it_was_added_is_not_lost(void **state)
{
	struct fixture *f = *state;

	signal_source(&f->source[0]);
	add(&f->source[0], on_event);
	wait_until(f->source[0].calls > 0);
	assert_int_equal(f->source[0].calls, 1);
}

static void unsuitable_descriptors_are_refused(void **state)
{
	struct fixture *f = *state;
	struct irq_source *source;
	int blocking = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(irq_source_add(f->set, blocking, on_event, NULL, &source), -EINVAL);
	assert_int_equal(irq_source_add(f->set, -1, on_event, NULL, &source), -EBADF);
	add(&f->source[0], on_event);
	assert_int_equal(irq_source_add(f->set, f->source[0].fd, on_event, NULL, &source), -EEXIST);
	close(blocking);
	signal_source(&f->source[0]);
	wait_until(f->source[0].calls > 0);
}

static void a_removed_source_is_not_called(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 100; i++) {
		unsigned int calls;

		add(&f->source[0], on_event);
		signal_source(&f->source[0]);
		irq_source_remove(f->source[0].source);
		f->source[0].source = NULL;
		calls = f->source[0].calls;
		signal_source(&f->source[0]);
		/* Another one in the same place of the set works. */
		add(&f->source[1], on_event);
		signal_source(&f->source[1]);
		wait_until(f->source[1].seen == f->source[1].written);
		assert_int_equal(f->source[0].calls, calls);
		irq_source_remove(f->source[1].source);
		f->source[1].source = NULL;
	}
	assert_false(irq_sources_any(f->set));
}

struct removal {
	struct irq_source *source;
	atomic_bool done;
};

static void *remove_source(void *opaque)
{
	struct removal *removal = opaque;

	irq_source_remove(removal->source);
	atomic_store(&removal->done, true);
	return NULL;
}

static void removing_waits_for_a_call_that_runs(void **state)
{
	struct fixture *f = *state;
	struct removal removal = { .done = false };
	pthread_t thread;

	add(&f->source[0], on_event_wait);
	removal.source = f->source[0].source;
	f->source[0].source = NULL;
	signal_source(&f->source[0]);
	sem_wait(&f->entered);
	assert_int_equal(pthread_create(&thread, NULL, remove_source, &removal), 0);
	/* It cannot be seen to wait, only not to wait: it would be done by then. */
	usleep(20000);
	assert_false(atomic_load(&removal.done));
	assert_int_equal(f->source[0].calls, 0);
	sem_post(&f->go_on);
	pthread_join(thread, NULL);
	assert_int_equal(f->source[0].calls, 1);
}

/* Somebody who waits in spite of that does so until the test's time is over. */
static void nobody_waits_for_an_eventfd_that_another_process_has_made_blocking(void **state)
{
	struct fixture *f = *state;
	struct epoll_event event;

	add(&f->source[0], on_event);
	assert_int_equal(fcntl(f->source[0].fd, F_SETFL, O_RDWR), 0);
	/* A CPU that was told of it, but another one has been faster. */
	event = (struct epoll_event){ .data.ptr = f->source[0].source };
	irq_sources_serve(f->set, &event, 1);
	assert_int_equal(f->source[0].calls, 0);
	signal_source(&f->source[0]);
	wait_until(f->source[0].calls == 1);
}

static void what_comes_while_a_cpu_looks_is_left_to_it(void **state)
{
	struct fixture *f = *state;

	add(&f->source[0], on_event);
	irq_sources_watch(f->set, true);
	irq_sources_watch(f->set, true);
	irq_sources_watch(f->set, false);
	signal_source(&f->source[0]);
	/* It cannot be seen that nobody was woken, only that somebody was. */
	usleep(20000);
	assert_int_equal(f->source[0].calls, 0);
	assert_true(irq_sources_look(f->set, 20000));
	assert_int_equal(f->source[0].calls, 1);
	signal_source(&f->source[0]);
	/* It has gone without having looked. */
	irq_sources_watch(f->set, false);
	wait_until(f->source[0].calls == 2);
	assert_false(irq_sources_look(f->set, 20000));
}

static void no_event_is_lost_while_idle_threads_come_and_go(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < SOURCES; i++)
		add(&f->source[i], on_event);
	start_idlers(f);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int first = round % SOURCES, count = round % 7 ? 1 + round % 3 : SOURCES;

		for (unsigned int i = 0; i < count; i++)
			signal_source(&f->source[(first + i) % SOURCES]);
		for (unsigned int i = 0; i < count; i++) {
			struct source *source = &f->source[(first + i) % SOURCES];

			wait_until(atomic_load(&source->seen) == source->written);
		}
	}
	assert_true(f->by_idlers > 0);
}

/* Returns NULL if all went well; a thread of its own cannot end the test. */
static void *coming_and_going(void *opaque)
{
	const uint64_t one = 1;
	struct source *source = opaque;
	unsigned int calls = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		if (source->calls != calls || irq_source_add(source->fixture->set, source->fd,
							     on_event, source, &source->source))
			return source;
		atomic_fetch_add(&source->written, 1);
		if (write(source->fd, &one, sizeof(one)) < 0 ||
		    (i % 2 && !comes_true(atomic_load(&source->seen) == source->written)))
			return source;
		irq_source_remove(source->source);
		source->source = NULL;
		calls = source->calls;
	}
	return NULL;
}

static void sources_come_and_go_while_others_are_served(void **state)
{
	struct fixture *f = *state;
	pthread_t thread[2];
	void *failed[2];
	bool all_seen = true;

	start_idlers(f);
	add(&f->source[2], on_event);
	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, coming_and_going, &f->source[i]),
				 0);
	for (unsigned int i = 0; i < ROUNDS && all_seen; i++) {
		signal_source(&f->source[2]);
		all_seen = comes_true(atomic_load(&f->source[2].seen) == f->source[2].written);
	}
	/* They work with the fixture until they have ended. */
	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], &failed[i]);
	assert_true(all_seen);
	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		assert_null(failed[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_write_is_followed_by_a_call),
		TEST(what_was_written_before_it_was_added_is_not_lost),
		TEST(unsuitable_descriptors_are_refused),
		TEST(a_removed_source_is_not_called),
		TEST(removing_waits_for_a_call_that_runs),
		TEST(nobody_waits_for_an_eventfd_that_another_process_has_made_blocking),
		TEST(what_comes_while_a_cpu_looks_is_left_to_it),
		TEST(no_event_is_lost_while_idle_threads_come_and_go),
		TEST(sources_come_and_go_while_others_are_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
