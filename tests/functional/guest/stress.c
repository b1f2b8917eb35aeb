/* SPDX-License-Identifier: MIT */
/*
 * Makes CPUs meet in the kernel, from inside a guest, where a mistake of the
 * machine shows as a wrong result or as something that never happens:
 *
 *   stress wakeups ROUNDS      threads on all CPUs pass a turn around with futexes
 *   stress pipes ROUNDS        processes on all CPUs pass a number around
 *   stress signals COUNT       queued signals from one CPU to another, none lost
 *   stress protect ROUNDS      no store reaches a page after mprotect() has returned
 *   stress forks ROUNDS        parents and children do not see each other's stores
 *
 * Prints "stress: WHAT ok", or what is wrong, with an exit status of 1. What
 * hangs is ended by an alarm.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CPUS	8
#define LIMIT		150	/* seconds until something counts as hanging */

static int cpus;

static void fail(const char *what)
{
	printf("stress: FAILED: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

static void start(pthread_t *thread, void *(*entry)(void *), long argument)
{
	if (pthread_create(thread, NULL, entry, (void *)argument))
		fail("pthread_create");
}

/* Each thread sleeps until it is its turn and then gives the turn to the next. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed[MAX_CPUS];
	long turn;
	long last;
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *take_turns(void *argument)
{
	long cpu = (long)argument;

	stay_on(cpu);
	pthread_mutex_lock(&ring.lock);
	for (;;) {
		while (ring.turn % cpus != cpu && ring.turn < ring.last)
			pthread_cond_wait(&ring.changed[cpu], &ring.lock);
		if (ring.turn >= ring.last)
			break;
		ring.turn++;
		pthread_cond_signal(&ring.changed[ring.turn % cpus]);
	}
	for (int i = 0; i < cpus; i++)
		pthread_cond_signal(&ring.changed[i]);
	pthread_mutex_unlock(&ring.lock);
	return NULL;
}

static void wakeups(long rounds)
{
	pthread_t threads[MAX_CPUS];

	ring.last = rounds * cpus;
	for (int i = 0; i < cpus; i++)
		pthread_cond_init(&ring.changed[i], NULL);
	for (int i = 0; i < cpus; i++)
		start(&threads[i], take_turns, i);
	for (int i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	if (ring.turn != ring.last)
		fail("turns were lost");
}

static void pipes(long rounds)
{
	int ends[MAX_CPUS + 1][2];
	long number = 0;

	for (int i = 0; i <= cpus; i++)
		if (pipe(ends[i]))
			fail("pipe");
	for (int i = 0; i < cpus; i++) {
		if (fork())
			continue;
		stay_on(i);
		for (long round = 0; round < rounds; round++) {
			if (read(ends[i][0], &number, sizeof(number)) != sizeof(number))
				_exit(1);
			number = number * 3 + i;
			if (write(ends[i + 1][1], &number, sizeof(number)) != sizeof(number))
				_exit(1);
		}
		_exit(0);
	}
	for (long round = 0; round < rounds; round++) {
		long expected = round;

		for (int i = 0; i < cpus; i++)
			expected = expected * 3 + i;
		number = round;
		if (write(ends[0][1], &number, sizeof(number)) != sizeof(number) ||
		    read(ends[cpus][0], &number, sizeof(number)) != sizeof(number))
			fail("pipe");
		if (number != expected)
			fail("a number changed on its way");
	}
	for (int status; wait(&status) > 0;)
		if (status)
			fail("a process of the ring");
}

/* Signals with values are queued, so each of them arrives, and in order. */
static _Atomic long arrived;
static _Atomic int disorder;

static void count_signal(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	if (info->si_value.sival_int != arrived)
		disorder = 1;
	arrived++;
}

static void signals(long count)
{
	struct sigaction action = { .sa_sigaction = count_signal, .sa_flags = SA_SIGINFO };
	union sigval value;
	int status;
	pid_t child;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGRTMIN, &action, NULL))
		fail("sigaction");
	child = fork();
	if (!child) {
		stay_on(cpus - 1);
		while (arrived < count)
			;
		_exit(disorder);
	}
	stay_on(0);
	for (long i = 0; i < count; i++) {
		value.sival_int = i;
		while (sigqueue(child, SIGRTMIN, value)) {
			if (errno != EAGAIN)
				fail("sigqueue");
			sched_yield();
		}
	}
	if (waitpid(child, &status, 0) != child || status)
		fail("signals came out of order");
}

/*
 * Writers store to a page all the time, each in a slot of its own. Once mprotect()
 * has made the page read-only on one CPU, every other CPU must have forgotten that
 * it might store there.
 */
static volatile long *page;
static __thread sigjmp_buf refused;
static atomic_int stop;

static void refuse(int signal)
{
	(void)signal;
	siglongjmp(refused, 1);
}

static void *store_always(void *argument)
{
	long cpu = (long)argument;

	stay_on(cpu);
	/* A refused store comes back to here; the yield lets others protect. */
	if (sigsetjmp(refused, 1))
		sched_yield();
	while (!stop)
		page[cpu]++;
	return NULL;
}

static void protect(long rounds)
{
	pthread_t threads[MAX_CPUS];
	long before[MAX_CPUS];

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		fail("mmap");
	signal(SIGSEGV, refuse);
	stay_on(0);
	for (int i = 1; i < cpus; i++)
		start(&threads[i], store_always, i);
	for (long round = 0; round < rounds; round++) {
		/* Whoever stores has really begun to, so a stale translation is there. */
		for (int i = 1; i < cpus; i++)
			for (long was = page[i]; page[i] == was;)
				sched_yield();
		if (mprotect((void *)page, 4096, PROT_READ))
			fail("mprotect");
		for (int i = 1; i < cpus; i++)
			before[i] = page[i];
		for (int spin = 0; spin < 3000; spin++)
			for (int i = 1; i < cpus; i++)
				if (page[i] != before[i])
					fail("a store to a page after its protection");
		if (mprotect((void *)page, 4096, PROT_READ | PROT_WRITE))
			fail("mprotect");
	}
	stop = 1;
	for (int i = 1; i < cpus; i++)
		pthread_join(threads[i], NULL);
}

/* A page's content says whose it is and of which round. */
#define PAGES	32

static void mark(long (*memory)[512], long who)
{
	for (int i = 0; i < PAGES; i++)
		memory[i][i] = who * PAGES + i;
}

static int is_marked(long (*memory)[512], long who)
{
	for (int i = 0; i < PAGES; i++)
		if (memory[i][i] != who * PAGES + i)
			return 0;
	return 1;
}

static void fork_on(int cpu, long rounds)
{
	long (*memory)[512] = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;

	if (memory == MAP_FAILED)
		fail("mmap");
	stay_on(cpu);
	for (long round = 1; round <= rounds; round++) {
		mark(memory, round);
		pid_t child = fork();

		if (!child) {
			stay_on((cpu + round) % cpus);
			if (!is_marked(memory, round))
				_exit(1);
			mark(memory, -round);
			_exit(!is_marked(memory, -round));
		}
		/* Even and odd rounds store before and after the child has. */
		if (round % 2)
			mark(memory, round + 1000000);
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			fail("a child saw what is not its own");
		if (!is_marked(memory, round % 2 ? round + 1000000 : round))
			fail("a parent saw what is not its own");
	}
}

static void forks(long rounds)
{
	for (int i = 0; i < cpus; i++)
		if (!fork()) {
			alarm(LIMIT);
			fork_on(i, rounds);
			_exit(0);
		}
	for (int status; wait(&status) > 0;)
		if (status)
			fail("a parent");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(long rounds);
	} kinds[] = {
		{ "wakeups", wakeups }, { "pipes", pipes }, { "signals", signals },
		{ "protect", protect }, { "forks", forks },
	};

	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	alarm(LIMIT);
	for (size_t i = 0; argc == 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[1], kinds[i].name)) {
			kinds[i].run(atol(argv[2]));
			printf("stress: %s ok\n", argv[1]);
			return 0;
		}
	fprintf(stderr, "stress: KIND ROUNDS\n");
	return 2;
}
