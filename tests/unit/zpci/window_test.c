/* SPDX-License-Identifier: MIT */
/* Windows: what they are opened to, and that nothing gets through one that must not. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "zpci/internal.h"

#define BAR_SIZE 0x10000u
#define AREA_AT 0x1000u /* memory is from here to the end */
#define TABLE_AT 0x8000u
#define PBA_AT 0xc000u

/* A device whose registers are memory. */
struct memory_device {
	uint8_t *memory; /* of AREA_AT */
	unsigned writes; /* that it was told of */
};

static uint64_t read_nothing(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	return 0;
}

static void count_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	((struct memory_device *)device)->writes++;
}

static void *bar_memory(void *device, unsigned bar, uint64_t offset, uint64_t *first,
			uint64_t *length)
{
	*first = AREA_AT;
	*length = BAR_SIZE; /* the end is for the model to see */
	return offset < AREA_AT ? NULL : ((struct memory_device *)device)->memory;
}

static const struct pci_device_ops ops = {
	.bar_read = read_nothing,
	.bar_write = count_write,
	.bar_memory = bar_memory,
};

struct bench {
	struct guest *g;
	struct memory_device device;
	struct zpci_window window;
};

static struct pci_function *new_function(struct bench *b)
{
	static const struct pci_function_info info = { .name = "memory" };
	struct pci_function *f = pci_function_new(&info, &ops, &b->device);

	assert_non_null(f);
	assert_int_equal(pci_function_add_bar(f, 0, BAR_SIZE, false, false), 0);
	assert_true(pci_function_add_msix(f, 64, 0, TABLE_AT, 0, PBA_AT) > 0);
	return f;
}

static int setup(void **state)
{
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->device.memory =
		mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(b->device.memory != MAP_FAILED);
	b->g = guest_new();
	/* What is traced goes through the library. */
	b->g->zpci->traced = false;
	b->window.shut = 1;
	b->g->vcpu.window = &b->window;
	guest_plug_function(b->g, new_function(b), &config);
	guest_enable(b->g);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	guest_free(b->g);
	munmap(b->device.memory, BAR_SIZE);
	free(b);
	return 0;
}

/* As window.h has it; true: done. */
static bool store(struct zpci_window *w, uint64_t request, uint64_t offset, uint32_t value)
{
	bool done;

	__atomic_store_n(&w->in_use, 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	done = !__atomic_load_n(&w->shut, __ATOMIC_ACQUIRE) && request == w->request &&
	       (offset & w->mask) == w->first;
	if (done) {
		*(volatile uint32_t *)(w->host + (offset - w->first)) = htobe32(value);
		__atomic_store_n(w->count, __atomic_load_n(w->count, __ATOMIC_RELAXED) + 1,
				 __ATOMIC_RELAXED);
	}
	__atomic_store_n(&w->in_use, 0, __ATOMIC_RELEASE);
	return done;
}

static uint64_t request_of(const struct guest *g, unsigned space, unsigned length)
{
	return (uint64_t)g->fh << 32 | space << 16 | length;
}

static bool passes(struct bench *b, uint64_t offset)
{
	return store(&b->window, request_of(b->g, 0, 4), offset, 0x11223344);
}

/* The guest executes PCI STORE of 4 bytes. */
static void store_by_library(struct bench *b, uint64_t offset)
{
	assert_int_equal(guest_pcistg(b->g, 0, offset, 4, 0), 0);
	assert_int_equal(b->g->vcpu.cc, 0);
}

static void nothing_passes_before_a_store(void **state)
{
	struct bench *b = *state;

	assert_false(passes(b, 0x2000));
}

static void a_store_opens_the_window_to_what_is_around_it(void **state)
{
	struct bench *b = *state;

	store_by_library(b, 0x5004);
	assert_int_equal(b->device.writes, 1);
	assert_true(passes(b, 0x5004));
	assert_memory_equal(b->device.memory + 0x5004 - AREA_AT, "\x11\x22\x33\x44", 4);
	assert_true(passes(b, 0x4000));
	assert_true(passes(b, 0x7ffc));
	assert_int_equal(b->device.writes, 1);
}

static void what_is_not_memory_and_the_msix_structures_are_outside(void **state)
{
	static const uint64_t places[] = { 0x1000, 0x7ffc, 0x8400, 0xbffc, 0xc008, 0xfffc };
	struct bench *b = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		b->window.shut = 1;
		b->g->zpci->windows[0].owner = NULL;
		store_by_library(b, places[i]);
		assert_true(passes(b, places[i]));
		assert_false(passes(b, 0xffc));
		assert_false(passes(b, TABLE_AT));
		assert_false(passes(b, TABLE_AT + 64 * 16 - 4));
		assert_false(passes(b, PBA_AT));
		assert_false(passes(b, PBA_AT + 4));
		assert_false(passes(b, BAR_SIZE));
		assert_false(passes(b, places[i] + 1));
		assert_false(passes(b, places[i] + 2));
		assert_false(passes(b, places[i] + (1ull << 40)));
		assert_false(passes(b, places[i] - (1ull << 40)));
	}
}

static void stores_of_other_kinds_do_not_open_it(void **state)
{
	struct bench *b = *state;

	guest_pcistg(b->g, 0, 0x2000, 8, 0);
	guest_pcistg(b->g, 0, 0x2000, 2, 0);
	guest_pcistg(b->g, 0, 0x2001, 4, 0);
	guest_pcistg(b->g, 15, 4, 4, 6);
	guest_pcistg(b->g, 0, TABLE_AT, 4, 0);
	guest_pcistg(b->g, 0, 0x10, 4, 0);
	assert_int_equal(b->window.shut, 1);
	store_by_library(b, 0x2000);
	assert_int_equal(b->window.shut, 0);
}

static void the_whole_request_counts(void **state)
{
	struct bench *b = *state;

	store_by_library(b, 0x2000);
	assert_false(store(&b->window, request_of(b->g, 0, 8), 0x2000, 0));
	assert_false(store(&b->window, request_of(b->g, 1, 4), 0x2000, 0));
	assert_false(store(&b->window, request_of(b->g, 0, 4) ^ 1ull << 48, 0x2000, 0));
	assert_false(store(&b->window, 0, 0x2000, 0));
}

static void a_function_that_is_disabled_shuts_it(void **state)
{
	struct bench *b = *state;

	store_by_library(b, 0x2000);
	assert_true(passes(b, 0x2000));
	guest_disable(b->g);
	assert_int_equal(b->window.shut, 1);
	guest_enable(b->g);
	assert_int_equal(b->window.shut, 1);
	store_by_library(b, 0x2000);
	assert_true(passes(b, 0x2000));
}

static void a_function_in_error_shuts_it(void **state)
{
	struct bench *b = *state;

	store_by_library(b, 0x2000);
	assert_true(function_fail(b->g->zpci->slots[0], PEC_SYSTEM_ERROR, 0));
	assert_false(passes(b, 0x2000));
	/* Nor does a store that is refused. */
	guest_pcistg(b->g, 0, 0x2000, 4, 0);
	assert_int_equal(b->g->vcpu.cc, 1);
	assert_false(passes(b, 0x2000));
}

static void it_follows_a_guest_that_stores_elsewhere(void **state)
{
	struct bench *b = *state;
	unsigned stores = 0;

	store_by_library(b, 0x2000);
	while (!passes(b, 0xe000)) {
		store_by_library(b, 0xe000);
		assert_true(++stores < 100);
	}
	assert_true(stores > 1);
	assert_false(passes(b, 0x2000));
}

static void its_stores_are_counted(void **state)
{
	struct bench *b = *state;
	struct zpci_function *f = b->g->zpci->slots[0];
	uint64_t before;

	store_by_library(b, 0x2000);
	before = f->lanes[0].counters[FMB_STORES];
	for (unsigned i = 0; i < 10; i++)
		assert_true(passes(b, 0x2000));
	assert_int_equal(f->lanes[0].counters[FMB_STORES], before + 10);
}

/* Another vCPU, which stores whenever it can, by the window or the library. */
struct storing {
	struct guest guest; /* only its vCPU counts */
	struct zpci_window window;
	atomic_uint *fh;
	atomic_bool *stop;
	atomic_uint passed;
};

static void *keep_storing(void *opaque)
{
	struct storing *s = opaque;

	while (!*s->stop) {
		s->guest.fh = *s->fh;
		if (store(&s->window, request_of(&s->guest, 0, 4), 0x2000, 1))
			s->passed++;
		else
			guest_pcistg(&s->guest, 0, 0x2000, 4, 1);
	}
	return NULL;
}

/* The memory cannot be accessed when the function is not there: that ends the program. */
static void nobody_stores_to_a_function_that_has_been_unplugged(void **state)
{
	struct bench *b = *state;
	struct guest *g = b->g;
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	static struct storing storing;
	atomic_uint fh = g->fh;
	atomic_bool stop = false;
	pthread_t thread;

	storing = (struct storing){ .guest = *g, .fh = &fh, .stop = &stop };
	storing.window.shut = 1;
	storing.guest.vcpu.index = 3;
	storing.guest.vcpu.registers = storing.guest.gr;
	storing.guest.vcpu.window = &storing.window;
	assert_int_equal(pthread_create(&thread, NULL, keep_storing, &storing), 0);
	for (unsigned i = 0; i < 100; i++) {
		unsigned passed = storing.passed;

		while (storing.passed < passed + 10 + i)
			;
		assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
		assert_int_equal(mprotect(b->device.memory, BAR_SIZE, PROT_NONE), 0);
		usleep(i % 7 * 50);
		pci_function_free(g->function);
		assert_int_equal(mprotect(b->device.memory, BAR_SIZE, PROT_READ | PROT_WRITE), 0);
		guest_plug_function(g, new_function(b), &config);
		guest_enable(g);
		fh = g->fh;
	}
	stop = true;
	pthread_join(thread, NULL);
}

struct unplugging {
	struct zpci *zpci;
	int rc;
};

static void *unplug(void *opaque)
{
	struct unplugging *u = opaque;

	u->rc = zpci_unplug(u->zpci, GUEST_FID);
	return NULL;
}

static void unplugging_waits_for_a_store_that_has_begun(void **state)
{
	struct bench *b = *state;
	struct timespec until;
	pthread_t thread;
	struct unplugging unplugging = { b->g->zpci, 1 };

	store_by_library(b, 0x2000);
	__atomic_store_n(&b->window.in_use, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(pthread_create(&thread, NULL, unplug, &unplugging), 0);
	while (!__atomic_load_n(&b->window.shut, __ATOMIC_SEQ_CST))
		;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 50000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	assert_int_equal(pthread_timedjoin_np(thread, NULL, &until), ETIMEDOUT);
	__atomic_store_n(&b->window.in_use, 0, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_int_equal(unplugging.rc, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(nothing_passes_before_a_store),
		TEST(a_store_opens_the_window_to_what_is_around_it),
		TEST(what_is_not_memory_and_the_msix_structures_are_outside),
		TEST(stores_of_other_kinds_do_not_open_it),
		TEST(the_whole_request_counts),
		TEST(a_function_that_is_disabled_shuts_it),
		TEST(a_function_in_error_shuts_it),
		TEST(it_follows_a_guest_that_stores_elsewhere),
		TEST(its_stores_are_counted),
		TEST(nobody_stores_to_a_function_that_has_been_unplugged),
		TEST(unplugging_waits_for_a_store_that_has_begun),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
