/* SPDX-License-Identifier: MIT */
/*
 * How long it takes from the write of a device's eventfd until the guest executes an
 * instruction of its handler: a machine with one CPU and a PCI function whose only vector
 * has an eventfd, as those of passed-through devices do. The guest answers each
 * interrupt with its first instruction, a store to the function, which is when the time
 * is taken; that it takes such a store some ten nanoseconds to come here is part of it.
 * Beside it, in turn, what the kernel alone needs: a thread that sleeps in read() of an
 * eventfd looks at the clock as soon as it comes back. Each has slept for a while, on
 * another core than the one from which it is woken.
 *
 *	interrupt_bench GUEST [ROUNDS]     GUEST: bench/guest/interrupt, as built
 *
 *	bench interrupt-idle 1 NS       the CPU was in an enabled wait
 *	bench interrupt-busy 1 NS       it executed code
 *	bench eventfd-wake 1 NS         the thread
 *
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/irq_sources.h"
#include "devices/device.h"
#include "interrupt_bench.h"
#include "machine/machine.h"
#include "machine/version.h"
#include "zpci/pci.h"

#define BAR_SIZE 8192
#define MSIX_TABLE_AT 4096
#define MSIX_PENDING_AT 6144
#define ROUNDS 401
/* Long enough for a thread, and the core that it was on, to be asleep. */
#define SLEEP_NS 2000000
/* Nothing here takes as long, unless it hangs. */
#define PATIENCE_SECONDS 30

/* Somebody who is waiting for an eventfd, and when it had come to that. */
struct sleeper {
	int event;
	sem_t ready, woken;
	atomic_uint_fast64_t at;
};

struct bench {
	struct sleeper guest, thread;
	atomic_uint_fast64_t what; /* what the guest is told */
	struct pci_function *function;
	struct irq_sources *sources;
	struct irq_source *source;
	unsigned rounds;
	struct {
		uint64_t idle, busy, thread;
	} * taken; /* nanoseconds, by round */
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void end(const char *why)
{
	printf("interrupt_bench: %s\n", why);
	exit(1);
}

/* --- the function ------------------------------------------------------------------------ */

static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct bench *b = device;

	return offset == BENCH_WHAT ? atomic_load(&b->what) : 0;
}

static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct bench *b = device;

	if (offset == BENCH_ANSWER) {
		atomic_store(&b->guest.at, now());
		sem_post(&b->guest.woken);
	} else if (offset == BENCH_READY) {
		sem_post(&b->guest.ready);
	}
}

static void on_event(void *opaque)
{
	struct bench *b = opaque;

	pci_function_msix_notify(b->function, 0);
}

static void destroy(void *device)
{
	struct bench *b = device;

	irq_source_remove(b->source);
}

static const struct pci_device_ops ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.destroy = destroy,
};

/* A device type has no state but what it is made of; there is one function in this program. */
static struct bench bench;

static int create(const struct device_config *config, const char *name,
		  struct pci_function **function, char *error, size_t error_size)
{
	const struct pci_function_info info = {
		.name = name,
		.vendor_id = 0x1234,
		.device_id = 0x5a42,
		.class_code = 0xff0000,
	};
	struct bench *b = &bench;
	int rc;

	b->function = pci_function_new(&info, &ops, b);
	if (!b->function)
		return -ENOMEM;
	rc = pci_function_add_bar(b->function, BENCH_BAR, BAR_SIZE, false, false);
	if (!rc && pci_function_add_msix(b->function, 1, BENCH_BAR, MSIX_TABLE_AT, BENCH_BAR,
					 MSIX_PENDING_AT) < 0)
		rc = -EINVAL;
	if (!rc)
		rc = irq_source_add(config->irq_sources, b->guest.event, on_event, b, &b->source);
	if (rc)
		snprintf(error, error_size, "device: %s", strerror(-rc));
	*function = b->function;
	return rc;
}

static const struct device_property no_properties[] = { { .name = NULL } };
static const struct device_type type = {
	.name = "bench",
	.properties = no_properties,
	.create = create,
};

/* --- measuring ----------------------------------------------------------------------------- */

static void wait_for(sem_t *semaphore, const char *what)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += PATIENCE_SECONDS;
	if (sem_timedwait(semaphore, &limit))
		end(what);
}

static void *sleeping_thread(void *opaque)
{
	struct sleeper *s = opaque;
	uint64_t count;

	for (;;) {
		sem_post(&s->ready);
		if (read(s->event, &count, sizeof(count)) != (ssize_t)sizeof(count))
			end("the eventfd cannot be read");
		atomic_store(&s->at, now());
		sem_post(&s->woken);
		if (!atomic_load(&bench.what))
			return NULL;
	}
}

/*
 * Nanoseconds from a write to whoever was waiting for it. The guest asks for `what` comes next
 * when it has been woken.
 */
static uint64_t wake(struct sleeper *s, unsigned what)
{
	const struct timespec sleep = { .tv_nsec = SLEEP_NS };
	const uint64_t one = 1;
	uint64_t begin;

	wait_for(&s->ready, "nobody gets ready for an interrupt");
	atomic_store(&bench.what, what);
	nanosleep(&sleep, NULL);
	begin = now();
	if (write(s->event, &one, sizeof(one)) < 0)
		end("the eventfd cannot be written");
	wait_for(&s->woken, "an interrupt was not answered");
	return atomic_load(&s->at) - begin;
}

/* The calling thread is to be on the first of the cores that it may use, or on the second. */
static void stay_on(int number)
{
	cpu_set_t may, one;

	if (sched_getaffinity(0, sizeof(may), &may) || CPU_COUNT(&may) < 2)
		return;
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &may) && number-- == 0)
			CPU_SET(i, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *measure(void *opaque)
{
	struct bench *b = opaque;

	stay_on(0);
	for (unsigned i = 0; i < b->rounds; i++) {
		bool last = i + 1 == b->rounds;

		/* While the thread sleeps, the guest waits: the core that they share sleeps, too. */
		b->taken[i].thread = wake(&b->thread, BENCH_WAIT);
		b->taken[i].idle = wake(&b->guest, BENCH_BUSY);
		b->taken[i].busy = wake(&b->guest, last ? BENCH_END : BENCH_WAIT);
	}
	/* The last one of the thread, which ends it. */
	wake(&b->thread, BENCH_END);
	return NULL;
}

/* When the guest does not print any more. */
static void print_all(const struct bench *b)
{
	for (unsigned i = 0; i < b->rounds; i++) {
		printf("bench interrupt-idle 1 %llu\n", (unsigned long long)b->taken[i].idle);
		printf("bench interrupt-busy 1 %llu\n", (unsigned long long)b->taken[i].busy);
		printf("bench eventfd-wake 1 %llu\n", (unsigned long long)b->taken[i].thread);
	}
}

static void sleeper_init(struct sleeper *s, int flags)
{
	s->event = eventfd(0, EFD_CLOEXEC | flags);
	if (s->event < 0 || sem_init(&s->ready, 0, 0) || sem_init(&s->woken, 0, 0))
		end("no eventfd");
}

int main(int argc, char **argv)
{
	struct device_config device = { .type = &type };
	struct machine_config config = {
		.kernel = argv[1],
		.memory_size = MACHINE_MEMORY_MIN,
		.cpus = 1,
		.version = machine_version_find(NULL),
		.devices = &device,
		.device_count = 1,
	};
	char error[DEVICE_ERROR_MAX];
	struct machine *machine;
	pthread_t thread, measuring;
	enum machine_status status;

	if (argc < 2 || argc > 3)
		end("wants a guest, and perhaps a number of rounds");
	bench.rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : ROUNDS;
	bench.taken = calloc(bench.rounds, sizeof(*bench.taken));
	if (!bench.rounds || !bench.taken)
		end("wants to do some rounds");
	sleeper_init(&bench.guest, EFD_NONBLOCK);
	sleeper_init(&bench.thread, 0);
	atomic_store(&bench.what, BENCH_WAIT);
	status = machine_create(&config, &machine, error, sizeof(error));
	if (status)
		end(error);
	if (pthread_create(&measuring, NULL, measure, &bench))
		end("no thread");
	/* And what is created from here on. */
	stay_on(1);
	if (pthread_create(&thread, NULL, sleeping_thread, &bench.thread))
		end("no thread");
	status = machine_run(machine);
	if (status)
		end("the guest did not come to its end");
	pthread_join(measuring, NULL);
	pthread_join(thread, NULL);
	machine_destroy(machine);
	print_all(&bench);
	free(bench.taken);
	return 0;
}
