/* SPDX-License-Identifier: MIT */
/*
 * Which of several waiting vCPUs is woken for an I/O interruption, and who takes it
 * if that one is kept from it. Each vCPU has a thread and a lowcore of its own; what it
 * takes ends in a disabled wait, and its thread.
 *
 * In the second half they wait for an eventfd as well, which makes the interruption
 * pending when it is written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/irq_sources.h"
#include "cpu/soft/complex.h"

#define CPUS 3
#define MEMORY (2 * MIB)
#define MODE (PSW_EA | PSW_BA)
#define ISC_MASK 0x20000000u
#define LIMIT_SECONDS 20
#define ROUNDS 3000

struct fixture {
	uint8_t *memory;
	struct cpu_complex *complex;
	struct vcpu *vcpu[CPUS];
	pthread_t thread[CPUS];
	atomic_bool floating;        /* an I/O interruption is pending for whoever comes */
	atomic_bool directed[CPUS];  /* … for this one */
	atomic_uint taken[CPUS];     /* I/O interruptions */
	atomic_uint reminders;
	/* What they wait for besides, in the second half. */
	struct cpu_idle_ops idle;
	struct irq_sources *sources;
	struct irq_source *source;
	int event;
};

static bool take_io(void *opaque, struct vcpu *v, uint64_t cr6, struct cpu_io_interruption *io)
{
	struct fixture *f = opaque;

	if (!(cr6 & ISC_MASK) || (!atomic_exchange(&f->directed[v->index], false) &&
				  !atomic_exchange(&f->floating, false)))
		return false;
	*io = (struct cpu_io_interruption){ .interruption_word = 0x90000000 };
	f->taken[v->index]++;
	return true;
}

static bool take_external(void *opaque, struct vcpu *v, uint64_t cr0,
			  struct cpu_external_interruption *i)
{
	return false;
}

static bool take_mchk(void *opaque, struct vcpu *v, uint64_t cr14, struct cpu_mchk_interruption *i)
{
	return false;
}

static void remind(void *opaque)
{
	struct fixture *f = opaque;

	f->reminders++;
	if (f->floating)
		cpu_complex_floating_pending(f->complex, CPU_FLOATING_IO, ISC_MASK);
}

static const struct cpu_floating_ops floating_ops = {
	.remind = remind,
	.take_io = take_io,
	.take_external = take_external,
	.take_mchk = take_mchk,
};

static void *run(void *opaque)
{
	vcpu_run(opaque);
	return NULL;
}

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

#define wait_until(condition) \
	do { \
		time_t until = seconds() + LIMIT_SECONDS; \
		while (!(condition) && seconds() <= until) \
			usleep(10); \
		assert_true(condition); \
	} while (0)

static bool idle_wanted(void *opaque)
{
	return irq_sources_any(((struct fixture *)opaque)->sources);
}

static void idle_serve(void *opaque, const struct epoll_event *events, unsigned int count)
{
	irq_sources_serve(((struct fixture *)opaque)->sources, events, count);
}

static void idle_serve_rest(void *opaque)
{
	irq_sources_serve_rest(((struct fixture *)opaque)->sources);
}

static void idle_watch(void *opaque, bool on)
{
	irq_sources_watch(((struct fixture *)opaque)->sources, on);
}

static void make_floating(void *opaque)
{
	struct fixture *f = opaque;

	f->floating = true;
	cpu_complex_floating_pending(f->complex, CPU_FLOATING_IO, ISC_MASK);
}

static void add_source(struct fixture *f)
{
	assert_int_equal(irq_source_add(f->sources, f->event, make_floating, f, &f->source), 0);
}

static void remove_source(struct fixture *f)
{
	irq_source_remove(f->source);
	f->source = NULL;
}

static void signal_event(struct fixture *f)
{
	const uint64_t one = 1;

	assert_int_equal(write(f->event, &one, sizeof(one)), sizeof(one));
}

/* All wait, enabled for I/O and external interruptions. */
static int start(struct fixture *f, void **state, uint64_t new_psw_mask)
{
	struct cpu_complex_config config = {
		.memory_size = MEMORY,
		.vcpus = CPUS,
		.model = { .facilities = { ~0ull, ~0ull } },
		.floating = &floating_ops,
		.idle = f->sources ? &f->idle : NULL,
		.opaque = f,
	};

	f->memory = aligned_alloc(MIB, MEMORY);
	assert_non_null(f->memory);
	memset(f->memory, 0, MEMORY);
	config.memory = f->memory;
	f->complex = cpu_complex_create(&config);
	assert_non_null(f->complex);
	for (unsigned int i = 0; i < CPUS; i++) {
		struct vcpu *v = cpu_complex_vcpu(f->complex, i);
		struct cpu_state *s = vcpu_state(v);

		f->vcpu[i] = v;
		s->prefix = i * 0x2000;
		s->cr[0] |= CR0_EMERGENCY_SIGNAL;
		s->cr[6] = ISC_MASK;
		s->psw_mask = MODE | PSW_WAIT | PSW_IO | PSW_EXT;
		store_be64(f->memory + s->prefix + LC_IO_NEW_PSW, new_psw_mask);
		store_be64(f->memory + s->prefix + LC_EXT_NEW_PSW, new_psw_mask);
		vcpu_start(v);
		assert_int_equal(pthread_create(&f->thread[i], NULL, run, v), 0);
	}
	for (unsigned int i = 0; i < CPUS; i++)
		wait_until(f->vcpu[i]->waiting && !atomic_load(&f->vcpu[i]->asked) &&
			   atomic_load(&f->vcpu[i]->limit));
	*state = f;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	return start(f, state, MODE | PSW_WAIT);
}

static struct fixture *create_with_source(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->sources = irq_sources_create();
	assert_non_null(f->sources);
	f->idle = (struct cpu_idle_ops){
		.epoll = irq_sources_idle_fd(f->sources),
		.wanted = idle_wanted,
		.serve = idle_serve,
		.serve_rest = idle_serve_rest,
		.watch = idle_watch,
	};
	f->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(f->event >= 0);
	add_source(f);
	return f;
}

static int setup_with_source(void **state)
{
	return start(create_with_source(), state, MODE | PSW_WAIT);
}

/* What they take puts them back to sleep. */
static int setup_for_ever(void **state)
{
	return start(create_with_source(), state, MODE | PSW_WAIT | PSW_IO | PSW_EXT);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->source)
		remove_source(f);
	for (unsigned int i = 0; i < CPUS; i++) {
		vcpu_request_exit(f->vcpu[i]);
		pthread_join(f->thread[i], NULL);
	}
	cpu_complex_destroy(f->complex);
	if (f->sources) {
		irq_sources_destroy(f->sources);
		close(f->event);
	}
	free(f->memory);
	free(f);
	return 0;
}

static unsigned int taken(struct fixture *f)
{
	return f->taken[0] + f->taken[1] + f->taken[2];
}

static void each_floating_interruption_wakes_one_that_waits(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 1; i <= CPUS; i++) {
		make_floating(f);
		wait_until(taken(f) == i);
	}
	for (unsigned int i = 0; i < CPUS; i++)
		assert_int_equal(f->taken[i], 1);
}

static void one_that_was_asked_already_is_not_asked_again(void **state)
{
	struct fixture *f = *state;

	/* As if others had just asked, and these two had not woken up yet. */
	atomic_store(&f->vcpu[0]->asked, true);
	atomic_store(&f->vcpu[1]->asked, true);
	make_floating(f);
	wait_until(taken(f));
	assert_int_equal(f->taken[2], 1);
}

static void when_all_were_asked_all_look(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < CPUS; i++)
		atomic_store(&f->vcpu[i]->asked, true);
	make_floating(f);
	wait_until(taken(f));
	for (unsigned int i = 0; i < CPUS; i++)
		wait_until(!atomic_load(&f->vcpu[i]->asked));
}

static void what_an_external_interruption_keeps_it_from_another_one_takes(void **state)
{
	struct fixture *f = *state;

	/* A signal, of which it has not been told yet. */
	atomic_fetch_or(&f->vcpu[0]->emergency_from, 2);
	atomic_fetch_or(&f->vcpu[0]->pending, PENDING_EMERGENCY);
	make_floating(f);
	wait_until(taken(f));
	assert_int_equal(f->taken[0], 0);
	assert_int_equal(load_be16(f->memory + LC_EXT_CODE), EXT_EMERGENCY_SIGNAL);
	assert_true(f->reminders > 0);
}

static void directed_interruption_wakes_its_vcpu_alone(void **state)
{
	struct fixture *f = *state;

	f->directed[1] = true;
	cpu_complex_directed_pending(f->complex, 1, ISC_MASK);
	wait_until(f->taken[1]);
	assert_true(f->vcpu[0]->waiting && f->vcpu[2]->waiting);
	cpu_complex_directed_pending(f->complex, CPUS, ISC_MASK); /* there is none */
	/* Not enabled: it is left alone. */
	f->directed[2] = true;
	cpu_complex_directed_pending(f->complex, 2, ISC_MASK << 1);
	assert_int_not_equal(atomic_load(&f->vcpu[2]->limit), 0);
}

static void each_event_wakes_one_that_waits(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 1; i <= CPUS; i++) {
		signal_event(f);
		wait_until(taken(f) == i);
	}
	for (unsigned int i = 0; i < CPUS; i++)
		assert_int_equal(f->taken[i], 1);
}

static void one_that_waits_for_events_is_woken_by_others_too(void **state)
{
	struct fixture *f = *state;

	f->directed[1] = true;
	cpu_complex_directed_pending(f->complex, 1, ISC_MASK);
	wait_until(f->taken[1]);
	make_floating(f);
	wait_until(taken(f) == 2);
	vcpu_request_exit(f->vcpu[2]);
	vcpu_request_exit(f->vcpu[0]);
	assert_int_equal(f->taken[1], 1);
}

/* Another thread's, and its own host timer's, while it waits for events. */
static void one_that_waits_for_events_sees_its_clock_comparator(void **state)
{
	struct fixture *f = *state;
	struct vcpu *v = f->vcpu[2];
	struct cpu_state *s = vcpu_state(v);

	vcpu_request_exit(v);
	pthread_join(f->thread[2], NULL);
	s->cr[0] |= CR0_CLOCK_COMPARATOR;
	/* 2 ms. */
	s->clock_comparator = cpu_complex_tod(f->complex) + (2000ull << 12);
	assert_int_equal(pthread_create(&f->thread[2], NULL, run, v), 0);
	wait_until(host_load16(f->memory + s->prefix + LC_EXT_CODE));
	assert_int_equal(host_load16(f->memory + s->prefix + LC_EXT_CODE), EXT_CLOCK_COMPARATOR);
	assert_true(cpu_complex_tod(f->complex) > s->clock_comparator);
}

/* Events, interruptions from elsewhere, sources that go and come: all of it is taken. */
static void no_wakeup_is_lost(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 1; i <= ROUNDS; i++) {
		unsigned int cpu = i % CPUS, before = taken(f), expected = 1;

		if (f->source)
			signal_event(f);
		else
			make_floating(f);
		if (i % 5 == 0) {
			f->directed[cpu] = true;
			cpu_complex_directed_pending(f->complex, cpu, ISC_MASK);
			expected++;
		}
		wait_until(taken(f) - before == expected);
		if (i % 64 == 0)
			remove_source(f);
		else if (i % 64 == 32 && !f->source)
			add_source(f);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_WITH_SOURCE(name) cmocka_unit_test_setup_teardown(name, setup_with_source, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_floating_interruption_wakes_one_that_waits),
		TEST(one_that_was_asked_already_is_not_asked_again),
		TEST(when_all_were_asked_all_look),
		TEST(what_an_external_interruption_keeps_it_from_another_one_takes),
		TEST(directed_interruption_wakes_its_vcpu_alone),
		TEST_WITH_SOURCE(each_event_wakes_one_that_waits),
		TEST_WITH_SOURCE(one_that_waits_for_events_is_woken_by_others_too),
		TEST_WITH_SOURCE(one_that_waits_for_events_sees_its_clock_comparator),
		cmocka_unit_test_setup_teardown(no_wakeup_is_lost, setup_for_ever, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
