/* SPDX-License-Identifier: MIT */
/*
 * The promise of interruptions: no bit is left set unnoticed, under any load.
 *
 * Devices send messages from several threads, through libzpci and the machine's
 * interrupt controller, to CPUs that do what Linux does in its handlers
 * (arch/s390/pci/pci_irq.c): clear a bit, look who sent, set the mode again, look once
 * more. A CPU here is a thread that asks for interruptions all the time; waking one
 * up is another test's matter (tests/guest/zpci/delivery.c). Who clears a vector's bit
 * writes down how many messages had been sent for it by then. After each short round that is
 * to be all of them, before anything else is sent.
 */
#include "guest.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "machine/floating.h"
#include "zpci/internal.h"

#define MSI 0xfe00000000000000ull
#define ISC 2
#define CPUS 3
#define SENDERS 3
#define VECTORS 48 /* each sender has its own, and they are spread over the CPUs */
#define ROUNDS 4000
#define MESSAGES 2 /* of each sender in a round */
#define LIMIT_SECONDS 20 /* for a round */

enum delivery { SUMMED, WITHOUT_SUMMARY, DIRECTED };

struct vcpu {
	struct storm *storm;
	unsigned address;
	pthread_t thread;
	atomic_bool stopped;
};

struct cpu_complex {
	struct vcpu cpus[CPUS];
};

struct storm {
	struct cpu_complex complex;
	struct floating floating;
	struct guest *g;
	enum delivery delivery;
	unsigned mode;
	bool stopping; /* CPUs stop and start meanwhile */
	atomic_bool quit;
	atomic_uint round, sending; /* the senders that have not finished it */
	atomic_uint sent[VECTORS], seen[VECTORS];
	atomic_uint taken;
};

/* Anything may happen between two steps, also where there is one host CPU. */
static void dawdle(void)
{
	static _Thread_local unsigned random;

	if (!random)
		random = (unsigned)(uintptr_t)&random >> 4 | 1;
	random = random * 1103515245 + 12345;
	if (!(random >> 16 & 3))
		sched_yield();
}

/* --- the controller's view of the CPUs ------------------------------------------------- */

void cpu_complex_floating_pending(struct cpu_complex *complex, enum cpu_floating_class class,
				  uint64_t mask)
{
}

void cpu_complex_directed_pending(struct cpu_complex *complex, unsigned int cpu, uint64_t mask)
{
}

struct vcpu *cpu_complex_vcpu(struct cpu_complex *complex, unsigned int index)
{
	return index < CPUS ? &complex->cpus[index] : NULL;
}

bool vcpu_is_stopped(const struct vcpu *v)
{
	bool stopped = v->stopped;

	dawdle();
	return stopped;
}

/* Between the bit of a vector and what follows. */
static void on_written(struct guest *g)
{
	dawdle();
}

static void present(struct guest *g, unsigned isc)
{
	floating_adapter(&((struct storm *)g->controller)->floating, isc);
}

static bool present_directed(struct guest *g, unsigned cpu, unsigned isc)
{
	return floating_directed(&((struct storm *)g->controller)->floating, cpu, isc);
}

/* --- what a program does -------------------------------------------------------------------- */

/* Clear a bit; was it set? */
static bool test_and_clear(struct storm *storm, uint64_t absolute, unsigned bit)
{
	uint8_t *byte = guest_at(storm->g, absolute + bit / 8), mask = 0x80 >> bit % 8;

	if (!(__atomic_load_n(byte, __ATOMIC_RELAXED) & mask))
		return false;
	return __atomic_fetch_and(byte, (uint8_t)~mask, __ATOMIC_SEQ_CST) & mask;
}

/* Of two CPUs that saw something, the one that saw more counts. */
static void note_seen(struct storm *storm, unsigned vector, unsigned sent)
{
	unsigned seen = storm->seen[vector];

	while (seen < sent && !atomic_compare_exchange_weak(&storm->seen[vector], &seen, sent))
		;
}

static void scan_vectors(struct vcpu *v, uint64_t absolute)
{
	struct storm *storm = v->storm;

	for (unsigned vector = 0; vector < VECTORS; vector++) {
		if (!test_and_clear(storm, absolute, vector))
			continue;
		dawdle();
		note_seen(storm, vector, storm->sent[vector]);
	}
	dawdle();
}

static bool set_mode_again(struct storm *storm)
{
	if (storm->mode == FLOATING_MODE_SINGLE)
		floating_set_mode(&storm->floating, ISC, FLOATING_MODE_SINGLE);
	return storm->mode == FLOATING_MODE_SINGLE;
}

static void handle_floating(struct vcpu *v)
{
	struct storm *storm = v->storm;
	int turns = 0;

	do {
		if (storm->delivery == WITHOUT_SUMMARY || test_and_clear(storm, AISB_AT, 9)) {
			dawdle();
			scan_vectors(v, AIBV_AT);
		}
	} while (!turns++ && set_mode_again(storm));
}

/* On behalf of the CPU, which Linux would send a request. */
static void handle_fallback(struct vcpu *v)
{
	struct storm *storm = v->storm;
	int turns = 0;

	do {
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			if (test_and_clear(storm, DISB_AT, cpu))
				scan_vectors(v, DIBV_AT(cpu));
	} while (!turns++ && set_mode_again(storm));
}

static void handle_directed(struct vcpu *v)
{
	struct storm *storm = v->storm;

	scan_vectors(v, DIBV_AT(v->address));
	if (storm->mode != FLOATING_MODE_SINGLE)
		return;
	floating_set_directed_mode(&storm->floating, v->address, ISC, FLOATING_MODE_SINGLE);
	scan_vectors(v, DIBV_AT(v->address));
}

/*
 * As a CPU of the machine does it: first it is stopped, then others are told. It does not
 * help any more in this round.
 */
static void stop_for_a_round(struct vcpu *v)
{
	struct storm *storm = v->storm;
	unsigned round = storm->round;

	v->stopped = true;
	dawdle();
	if (floating_withdraw_directed(&storm->floating, v->address))
		zpci_directed_fallback(storm->g->zpci, v->address);
	while (storm->round == round && !storm->quit)
		sched_yield();
	v->stopped = false;
}

static void *run_cpu(void *opaque)
{
	struct vcpu *v = opaque;
	struct storm *storm = v->storm;
	struct cpu_io_interruption io;

	for (unsigned turn = v->address; !storm->quit; turn++) {
		dawdle();
		/* One CPU is always there, or nobody would take what is floating. */
		if (storm->stopping && v->address && turn % 3 == 0)
			stop_for_a_round(v);
		if (!floating_take_io(&storm->floating, v->address, 0xff000000, &io)) {
			sched_yield();
			continue;
		}
		storm->taken++;
		if (io.interruption_word & 0x40000000)
			handle_directed(v);
		else if (storm->delivery == DIRECTED)
			handle_fallback(v);
		else
			handle_floating(v);
	}
	return NULL;
}

/* --- what devices do ---------------------------------------------------------------------------- */

struct sender {
	struct storm *storm;
	unsigned number;
	pthread_t thread;
};

static void send_messages(struct sender *sender, unsigned round)
{
	struct storm *storm = sender->storm;

	for (unsigned i = 0; i < MESSAGES; i++) {
		unsigned which = (round + i * i) % (VECTORS / SENDERS);
		unsigned vector = which * SENDERS + sender->number;

		storm->sent[vector]++;
		pci_function_msix_notify(storm->g->function, vector);
		dawdle();
	}
}

static void *run_sender(void *opaque)
{
	struct sender *sender = opaque;
	struct storm *storm = sender->storm;

	for (unsigned round = 0; round < ROUNDS; round++) {
		while (storm->round <= round && !storm->quit)
			sched_yield();
		if (storm->quit)
			break;
		send_messages(sender, round);
		storm->sending--;
	}
	return NULL;
}

static bool all_seen(struct storm *storm)
{
	for (unsigned i = 0; i < VECTORS; i++)
		if (storm->seen[i] != storm->sent[i])
			return false;
	return true;
}

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* False: something was not seen in time. */
static bool wait_for_round(struct storm *storm)
{
	time_t until = seconds() + LIMIT_SECONDS;

	while (storm->sending || !all_seen(storm)) {
		if (seconds() > until)
			return false;
		sched_yield();
	}
	return true;
}

static void register_interruptions(struct storm *storm)
{
	struct guest *g = storm->g;
	uint8_t *fib = guest_fib(g);

	switch (storm->delivery) {
	case SUMMED:
		guest_register_interruptions(g, ISC, VECTORS);
		break;
	case WITHOUT_SUMMARY:
		store_be32(fib + 40, ISC << 28 | VECTORS << 16);
		store_be64(fib + 48, AIBV_AT);
		assert_int_equal(guest_mpcifc(g, 2), 0);
		assert_int_equal(g->vcpu.cc, 0);
		break;
	case DIRECTED:
		guest_direct(g, ISC);
		guest_register_directed(g, VECTORS, 0);
		break;
	}
	for (unsigned i = 0; i < VECTORS; i++)
		guest_program_vector(g, i, MSI | i % CPUS << 8, i);
	floating_set_mode(&storm->floating, ISC, storm->mode);
	for (unsigned i = 0; i < CPUS; i++)
		floating_set_directed_mode(&storm->floating, i, ISC, storm->mode);
}

static void storm(struct guest *g, enum delivery delivery, unsigned mode, bool stopping)
{
	static struct storm storm;
	struct sender senders[SENDERS];
	bool complete = true;

	memset(&storm, 0, sizeof(storm));
	storm.g = g;
	storm.delivery = delivery;
	storm.mode = mode;
	storm.stopping = stopping;
	storm.floating.cpus = &storm.complex;
	floating_reset(&storm.floating);
	g->controller = &storm;
	g->present = present;
	g->present_directed = present_directed;
	g->on_written = on_written;
	guest_enable(g);
	register_interruptions(&storm);

	for (unsigned i = 0; i < CPUS; i++) {
		struct vcpu *v = &storm.complex.cpus[i];

		v->storm = &storm;
		v->address = i;
		assert_int_equal(pthread_create(&v->thread, NULL, run_cpu, v), 0);
	}
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i].storm = &storm;
		senders[i].number = i;
		assert_int_equal(pthread_create(&senders[i].thread, NULL, run_sender, &senders[i]), 0);
	}
	for (unsigned round = 0; round < ROUNDS && complete; round++) {
		storm.sending = SENDERS;
		storm.round++;
		complete = wait_for_round(&storm);
	}
	storm.quit = true;
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(storm.complex.cpus[i].thread, NULL);
	assert_true(complete);
	assert_true(storm.taken > 0);
}

static void floating_interruptions_in_mode_all(void **state)
{
	storm(*state, SUMMED, FLOATING_MODE_ALL, false);
}

static void floating_interruptions_in_mode_single(void **state)
{
	storm(*state, SUMMED, FLOATING_MODE_SINGLE, false);
}

static void floating_interruptions_without_summary(void **state)
{
	storm(*state, WITHOUT_SUMMARY, FLOATING_MODE_ALL, false);
}

static void floating_interruptions_without_summary_in_mode_single(void **state)
{
	storm(*state, WITHOUT_SUMMARY, FLOATING_MODE_SINGLE, false);
}

static void directed_interruptions_in_mode_all(void **state)
{
	storm(*state, DIRECTED, FLOATING_MODE_ALL, false);
}

static void directed_interruptions_in_mode_single(void **state)
{
	storm(*state, DIRECTED, FLOATING_MODE_SINGLE, false);
}

static void directed_interruptions_to_cpus_that_stop_and_start(void **state)
{
	storm(*state, DIRECTED, FLOATING_MODE_SINGLE, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(floating_interruptions_in_mode_all),
		TEST(floating_interruptions_in_mode_single),
		TEST(floating_interruptions_without_summary),
		TEST(floating_interruptions_without_summary_in_mode_single),
		TEST(directed_interruptions_in_mode_all),
		TEST(directed_interruptions_in_mode_single),
		TEST(directed_interruptions_to_cpus_that_stop_and_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
