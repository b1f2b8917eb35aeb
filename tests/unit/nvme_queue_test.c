/* SPDX-License-Identifier: MIT */
/* Queues of NVM commands: many at once, aborted ones, and the end of those in flight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_image.h"
#include "pci/host.h"

/* Queues 2, from READ_PAGE on; the first of them has no more than 16 pages. */
static void create_second_pair(struct guest *g, uint16_t sq_size, uint16_t cq_size)
{
	uint64_t sq_bus = guest_bus(READ_PAGE), cq_bus = guest_bus(READ_PAGE + 16);

	g->queues[2] = (struct guest_queue){
		.sq_size = sq_size,
		.cq_size = cq_size,
		.phase = true,
		.sq_bus = sq_bus,
		.cq_bus = cq_bus,
	};
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, cq_size, 2, cq_bus), NULL), 0);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, sq_size, 2, sq_bus), NULL), 0);
}

static void more_commands_than_requests_all_complete_once(void **state)
{
	enum { ENTRIES = 1024, COMMANDS = ENTRIES - 1 };
	struct guest *g = *state;
	static bool seen[65536];
	uint16_t first = g->next_cid;

	memset(seen, 0, sizeof(seen));
	create_second_pair(g, ENTRIES, ENTRIES);
	first = g->next_cid;
	for (unsigned i = 0; i < COMMANDS; i++)
		guest_put(g, 2, guest_rw(g, NVME_IO_READ, i * 8, 8, PAGE + i));
	guest_ring(g, 2);
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct nvme_completion completion = guest_wait(g, 2);
		uint16_t cid = le16_get(completion.cid);

		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		assert_in_range((uint16_t)(cid - first), 0, COMMANDS - 1);
		assert_false(seen[cid]);
		seen[cid] = true;
	}
	assert_pattern(g, guest_bus(PAGE), 0, COMMANDS * 4096);
}

static void completions_wait_for_room_in_the_queue(void **state)
{
	enum { CQ_ENTRIES = 4, COMMANDS = 40 };
	struct guest *g = *state;
	struct nvme_completion completion;

	create_second_pair(g, GUEST_ENTRIES, CQ_ENTRIES);
	for (unsigned i = 0; i < COMMANDS; i++)
		guest_put(g, 2, guest_rw(g, NVME_IO_READ, i, 1, PAGE + i));
	guest_ring(g, 2);
	/* An entry that the guest has not taken is never written over. */
	while (guest_interrupts(g, 2) == 0)
		usleep(10);
	usleep(1000);
	for (unsigned i = 0; i < COMMANDS; i++) {
		completion = guest_wait(g, 2);
		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	}
	assert_false(guest_peek(g, 2, &completion));
}

static void several_submission_queues_share_a_completion_queue(void **state)
{
	struct guest *g = *state;
	unsigned from[5] = { 0 };

	for (unsigned id = 2; id <= 4; id++) {
		g->queues[id] = (struct guest_queue){
			.sq_size = GUEST_ENTRIES,
			.sq_bus = guest_bus(READ_PAGE + id),
		};
		assert_int_equal(guest_execute(g, 0,
					       guest_create_sq(id, GUEST_ENTRIES, 1,
							       guest_bus(READ_PAGE + id)),
					       NULL),
				 0);
	}
	for (unsigned i = 0; i < 15; i++) {
		for (unsigned id = 1; id <= 4; id++)
			guest_put(g, id, guest_rw(g, NVME_IO_READ, i, 1, PAGE + 4 * i + id));
	}
	for (unsigned id = 1; id <= 4; id++)
		guest_ring(g, id);
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_completion completion = guest_wait(g, 1);

		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		from[le16_get(completion.sq_id)]++;
	}
	for (unsigned id = 1; id <= 4; id++)
		assert_int_equal(from[id], 15);
	assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_DELETE_SQ, 3, 0, 0), NULL), 0);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 1, PAGE), NVME_STATUS_SUCCESS);
}

static void deleting_a_queue_waits_for_its_commands(void **state)
{
	struct guest *g = *state;
	unsigned completed = 0;
	struct nvme_completion completion;

	for (unsigned i = 0; i < 60; i++) {
		struct nvme_command command = guest_rw(g, NVME_IO_WRITE, i * 64, 64, PAGE);

		command.cdw12 = le32_of(63 | NVME_RW_FUA);
		guest_put(g, 1, command);
	}
	guest_ring(g, 1);
	guest_submit(g, 0, guest_admin(NVME_ADMIN_DELETE_SQ, 1, 0, 0));
	completion = guest_wait(g, 0);
	assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	/* All completions that will ever come are there. */
	assert_true(guest_is_quiet(g));
	while (guest_poll(g, 1, &completion)) {
		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		completed++;
	}
	assert_int_equal(completed, 60);
	assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_DELETE_CQ, 1, 0, 0), NULL), 0);
}

/*
 * The kernel runs a few flushes at a time, and the others wait: one of those can be
 * aborted. Whether it was still waiting is the kernel's business; that the answer of
 * the abort and the end of the command agree is ours.
 */
static bool abort_last_of_many_flushes(struct guest *g)
{
	struct nvme_completion completion;
	uint16_t cid = 0, status = 0xffff;
	uint32_t not_aborted;

	for (unsigned i = 0; i < 8; i++)
		guest_put(g, 1, guest_rw(g, NVME_IO_WRITE, i * 2048, 2048, PAGE));
	for (unsigned i = 0; i < 50; i++)
		cid = guest_put(g, 1, guest_rw(g, NVME_IO_FLUSH, 0, 1, PAGE));
	guest_ring(g, 1);
	assert_int_equal(guest_execute(g, 0,
				       guest_admin(NVME_ADMIN_ABORT, (uint32_t)cid << 16 | 1, 0, 0),
				       &not_aborted),
			 NVME_STATUS_SUCCESS);
	for (unsigned i = 0; i < 58; i++) {
		completion = guest_wait(g, 1);
		if (le16_get(completion.cid) == cid)
			status = guest_status(&completion);
		else
			assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	}
	assert_int_equal(status, not_aborted ? NVME_STATUS_SUCCESS : NVME_STATUS_ABORT_REQUESTED);
	return !not_aborted;
}

static void a_command_that_the_host_has_not_begun_can_be_aborted(void **state)
{
	bool aborted = false;

	for (unsigned round = 0; round < 50 && !aborted; round++)
		aborted = abort_last_of_many_flushes(*state);
	assert_true(aborted);
}

/* Both aborts are executed before the queue is looked at again. */
static bool abort_twice(struct guest *g)
{
	struct nvme_completion completion;
	uint16_t cid = 0, status = 0xffff;
	bool aborted = false;

	for (unsigned i = 0; i < 8; i++)
		guest_put(g, 1, guest_rw(g, NVME_IO_WRITE, i * 2048, 2048, PAGE));
	for (unsigned i = 0; i < 50; i++)
		cid = guest_put(g, 1, guest_rw(g, NVME_IO_FLUSH, 0, 1, PAGE));
	guest_ring(g, 1);
	for (unsigned i = 0; i < 2; i++)
		guest_put(g, 0, guest_admin(NVME_ADMIN_ABORT, (uint32_t)cid << 16 | 1, 0, 0));
	guest_ring(g, 0);
	for (unsigned i = 0; i < 2; i++) {
		completion = guest_wait(g, 0);
		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		aborted |= !le32_get(completion.result);
	}
	for (unsigned i = 0; i < 58; i++) {
		completion = guest_wait(g, 1);
		if (le16_get(completion.cid) == cid)
			status = guest_status(&completion);
	}
	assert_int_equal(status, aborted ? NVME_STATUS_ABORT_REQUESTED : NVME_STATUS_SUCCESS);
	return aborted;
}

static void a_command_that_was_aborted_twice_stays_aborted(void **state)
{
	bool aborted = false;

	for (unsigned round = 0; round < 50 && !aborted; round++)
		aborted = abort_twice(*state);
	assert_true(aborted);
}

static void put_slow_writes(struct guest *g)
{
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_command command = guest_rw(g, i % 2 ? NVME_IO_WRITE : NVME_IO_READ,
						       i * 256, 256, PAGE + 32 * i);

		command.cdw12 = le32_of(255 | NVME_RW_FUA);
		guest_put(g, 1, command);
	}
	guest_ring(g, 1);
}

static void nothing_happens_after_a_reset_with_commands_in_flight(void **state)
{
	struct guest *g = *state;

	for (unsigned round = 0; round < 10; round++) {
		unsigned interrupts;
		uint64_t written;

		put_slow_writes(g);
		if (round % 2)
			guest_reset_function(g);
		else
			guest_disable(g);
		assert_true(guest_is_quiet(g));
		interrupts = guest_interrupts(g, 1);
		written = guest_written_bytes(g);
		usleep(2000);
		assert_int_equal(guest_interrupts(g, 1), interrupts);
		assert_int_equal(guest_written_bytes(g), written);
		guest_start(g);
		assert_int_equal(rw(g, NVME_IO_READ, 1, 1, PAGE), NVME_STATUS_SUCCESS);
	}
}

static void a_controller_that_has_come_to_rest_has_nothing_in_flight(void **state)
{
	struct guest *g = *state;

	for (unsigned round = 0; round < 5; round++) {
		unsigned attempts = 0;

		put_slow_writes(g);
		while (!pci_function_quiesce(g->function)) {
			assert_true(attempts++ < 10000);
			usleep(1000);
		}
		assert_true(guest_is_quiet(g));
		assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4) & NVME_CSTS_RDY, 0);
		guest_reset_function(g);
		guest_start(g);
		assert_int_equal(rw(g, NVME_IO_READ, 1, 1, PAGE), NVME_STATUS_SUCCESS);
	}
}

static void a_device_with_commands_in_flight_can_be_removed(void **state)
{
	struct guest *g = guest_new(IMAGE_SIZE, "");

	image_write(g->path, IMAGE_SIZE);
	guest_start(g);
	put_slow_writes(g);
	guest_free(g);
}

static void enabling_at_once_after_disabling_waits_for_commands_in_flight(void **state)
{
	struct guest *g = *state;

	for (unsigned round = 0; round < 10; round++) {
		put_slow_writes(g);
		guest_write_register(g, NVME_REG_CC, 4, 0);
		guest_enable(g);
		/* RDY may still have been the old one: nothing of queue 1 is left. */
		guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_RDY, NVME_CSTS_RDY);
		guest_disable(g);
		guest_start(g);
	}
	assert_int_equal(rw(g, NVME_IO_READ, 1, 1, PAGE), NVME_STATUS_SUCCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIRECT(more_commands_than_requests_all_complete_once),
		CACHED(more_commands_than_requests_all_complete_once),
		DIRECT(completions_wait_for_room_in_the_queue),
		CACHED(completions_wait_for_room_in_the_queue),
		DIRECT(several_submission_queues_share_a_completion_queue),
		DIRECT(deleting_a_queue_waits_for_its_commands),
		CACHED(deleting_a_queue_waits_for_its_commands),
		CACHED(a_command_that_the_host_has_not_begun_can_be_aborted),
		CACHED(a_command_that_was_aborted_twice_stays_aborted),
		DIRECT(nothing_happens_after_a_reset_with_commands_in_flight),
		CACHED(nothing_happens_after_a_reset_with_commands_in_flight),
		DIRECT(a_controller_that_has_come_to_rest_has_nothing_in_flight),
		cmocka_unit_test(a_device_with_commands_in_flight_can_be_removed),
		DIRECT(enabling_at_once_after_disabling_waits_for_commands_in_flight),
	};

	return cmocka_run_group_tests_name("nvme queue", tests, NULL, NULL);
}
