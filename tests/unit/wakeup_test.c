/* SPDX-License-Identifier: MIT */
/*
 * Which of several waiting vCPUs is woken for an I/O interruption, and who takes it
 * if that one is kept from it. Each vCPU has a thread and a lowcore of its own; what it
 * takes ends in a disabled wait, and its thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "cpu/soft/complex.h"

#define CPUS 3
#define MEMORY (2 * MIB)
#define MODE (PSW_EA | PSW_BA)
#define ISC_MASK 0x20000000u
#define LIMIT_SECONDS 20

struct fixture {
	uint8_t *memory;
	struct cpu_complex *complex;
	struct vcpu *vcpu[CPUS];
	pthread_t thread[CPUS];
	atomic_bool floating;        /* an I/O interruption is pending for whoever comes */
	atomic_bool directed[CPUS];  /* … for this one */
	atomic_uint taken[CPUS];     /* I/O interruptions */
	atomic_uint reminders;
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

#define wait_until(condition)                                   \
	do {                                                    \
		time_t until = seconds() + LIMIT_SECONDS;       \
		while (!(condition) && seconds() <= until)      \
			usleep(100);                            \
		assert_true(condition);                         \
	} while (0)

/* All wait, enabled for I/O and external interruptions. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct cpu_complex_config config = {
		.memory_size = MEMORY,
		.vcpus = CPUS,
		.model = { .facilities = { ~0ull, ~0ull } },
		.floating = &floating_ops,
		.opaque = f,
	};

	assert_non_null(f);
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
		store_be64(f->memory + s->prefix + LC_IO_NEW_PSW, MODE | PSW_WAIT);
		store_be64(f->memory + s->prefix + LC_EXT_NEW_PSW, MODE | PSW_WAIT);
		vcpu_start(v);
		assert_int_equal(pthread_create(&f->thread[i], NULL, run, v), 0);
	}
	for (unsigned int i = 0; i < CPUS; i++)
		wait_until(f->vcpu[i]->waiting && !atomic_load(&f->vcpu[i]->asked) &&
			   atomic_load(&f->vcpu[i]->limit));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < CPUS; i++) {
		vcpu_request_exit(f->vcpu[i]);
		pthread_join(f->thread[i], NULL);
	}
	cpu_complex_destroy(f->complex);
	free(f->memory);
	free(f);
	return 0;
}

static void make_floating(struct fixture *f)
{
	f->floating = true;
	cpu_complex_floating_pending(f->complex, CPU_FLOATING_IO, ISC_MASK);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_floating_interruption_wakes_one_that_waits),
		TEST(one_that_was_asked_already_is_not_asked_again),
		TEST(when_all_were_asked_all_look),
		TEST(what_an_external_interruption_keeps_it_from_another_one_takes),
		TEST(directed_interruption_wakes_its_vcpu_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
