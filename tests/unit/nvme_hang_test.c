/* SPDX-License-Identifier: MIT */
/*
 * A disk of the host that does not answer: whoever wants the controller to come to rest is
 * not held up by it, and goes on when it answers again.
 *
 * The io_uring_submit() that the device calls is the one below: as long as `hanging` is
 * set, it takes nothing, so that what was begun does not end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/util.h"
#include "nvme_guest.h"
#include "nvme_host.h"
#include "pci/host.h"

#define SIZE (64 * 512ull)
#define SHUTDOWN (1u << 14) /* CC.SHN */
#define DEVICE_CONTROL 8 /* in the PCI Express capability */
#define FUNCTION_LEVEL_RESET 0x8000
#define ALL_ONES 0xffffffffu

/* Longer than any of the calls takes that must not wait; a slow machine has its time. */
#define AT_ONCE_S 5
#define WAIT_LIMIT_S 60

static atomic_bool hanging;
static atomic_uint flushes;

int io_uring_submit(struct io_uring *ring)
{
	int (*submit)(struct io_uring *) = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, __func__);

	if (hanging)
		return -EBUSY;
	for (unsigned at = ring->sq.sqe_head; at != ring->sq.sqe_tail; at++)
		if (ring->sq.sqes[at & *ring->sq.kring_mask].opcode == IORING_OP_FSYNC)
			flushes++;
	return submit(ring);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int setup(void **state)
{
	struct guest *g = guest_new(SIZE, "");

	guest_start(g);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	hanging = false;
	guest_free(*state);
	return 0;
}

static void begin_a_read_that_hangs(struct guest *g)
{
	hanging = true;
	guest_submit(g, 1, guest_rw(g, NVME_IO_READ, 0, 8, GUEST_DATA_PAGE));
	assert_false(guest_is_quiet(g));
}

static void expect_that_it_works(struct guest *g)
{
	guest_start(g);
	assert_int_equal(guest_execute(g, 1, guest_rw(g, NVME_IO_READ, 0, 8, GUEST_DATA_PAGE),
				       NULL),
			 NVME_STATUS_SUCCESS);
}

static unsigned express(struct guest *g)
{
	unsigned at = pci_function_config_read(g->function, PCI_CAPABILITY_LIST, 1);

	while (pci_function_config_read(g->function, at, 1) != PCI_CAP_ID_EXP)
		at = pci_function_config_read(g->function, at + 1, 1);
	return at;
}

static void function_level_reset_ends_when_the_host_answers(void **state)
{
	struct guest *g = *state;
	unsigned control = express(g) + DEVICE_CONTROL;
	double begun = now();

	begin_a_read_that_hangs(g);
	pci_function_config_write(g->function, control, 2, FUNCTION_LEVEL_RESET);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(pci_function_config_read(g->function, 0, 4), ALL_ONES);
	assert_true(now() - begun < AT_ONCE_S);
	hanging = false;
	begun = now();
	while (pci_function_config_read(g->function, 0, 4) == ALL_ONES)
		assert_true(now() - begun < WAIT_LIMIT_S);
	assert_true(guest_is_quiet(g));
	host_set_up_function(g->function);
	expect_that_it_works(g);
}

static void what_shall_come_to_rest_cannot_be_enabled_by_the_guest(void **state)
{
	struct guest *g = *state;
	double begun = now();

	begin_a_read_that_hangs(g);
	assert_false(pci_function_quiesce(g->function));
	assert_false(pci_function_settle(g->function, 1000));
	assert_true(now() - begun < AT_ONCE_S);
	guest_write_register(g, NVME_REG_CC, 4, NVME_CC_EN);
	hanging = false;
	begun = now();
	while (!pci_function_quiesce(g->function))
		assert_true(now() - begun < WAIT_LIMIT_S);
	guest_write_register(g, NVME_REG_CC, 4, NVME_CC_EN);
	guest_write_register(g, NVME_REG_CC, 4, SHUTDOWN);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), 0);
	assert_true(pci_function_quiesce(g->function));
	guest_reset_function(g);
	expect_that_it_works(g);
}

static uint32_t shutdown_status(struct guest *g)
{
	return (uint32_t)guest_read_register(g, NVME_REG_CSTS, 4) & NVME_CSTS_SHST_MASK;
}

static void write_shutdown(struct guest *g, uint32_t shutdown)
{
	uint32_t cc = (uint32_t)guest_read_register(g, NVME_REG_CC, 4);

	guest_write_register(g, NVME_REG_CC, 4, (cc & ~(3u << 14)) | shutdown);
}

static void shutdown_that_was_called_off_does_not_complete(void **state)
{
	struct guest *g = *state;

	hanging = true;
	write_shutdown(g, SHUTDOWN);
	assert_int_equal(shutdown_status(g), NVME_CSTS_SHST_OCCURRING);
	write_shutdown(g, 0);
	assert_int_equal(shutdown_status(g), 0);
	flushes = 0;
	hanging = false;
	while (!flushes)
		sched_yield();
	/* Each command looks at the queue that has the flush, too. */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_GET_FEATURES, 7, 0, 0),
					       NULL),
				 NVME_STATUS_SUCCESS);
		assert_int_equal(shutdown_status(g), 0);
	}
}

static void shutdown_flushes_what_was_written_while_one_was_flushing(void **state)
{
	struct guest *g = *state;

	hanging = true;
	flushes = 0;
	write_shutdown(g, SHUTDOWN);
	write_shutdown(g, 0);
	write_shutdown(g, SHUTDOWN);
	assert_int_equal(shutdown_status(g), NVME_CSTS_SHST_OCCURRING);
	hanging = false;
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
	assert_int_equal(flushes, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(function_level_reset_ends_when_the_host_answers),
		TEST(what_shall_come_to_rest_cannot_be_enabled_by_the_guest),
		TEST(shutdown_that_was_called_off_does_not_complete),
		TEST(shutdown_flushes_what_was_written_while_one_was_flushing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
