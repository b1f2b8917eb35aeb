/* SPDX-License-Identifier: MIT */
/*
 * Several vCPUs at one controller. Each thread is one, with a queue pair of its own;
 * the image has a region for each, whose content it verifies all the time.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_guest.h"

#define THREADS 4
#define ROUNDS 300
#define REGION_BLOCKS 4096
#define SIZE (THREADS * REGION_BLOCKS * 512ull)
#define DEPTH 8
#define BLOCKS 16 /* two pages each */

struct vcpu {
	struct guest *guest;
	unsigned queue;
	unsigned errors;
	uint16_t next_cid;
	_Atomic bool *stop;
};

/* As guest_put(), with identifiers that no other thread uses. */
static void put(struct vcpu *v, struct nvme_command command)
{
	struct guest_queue *q = &v->guest->queues[v->queue];

	command.cid = le16_of(v->next_cid++);
	guest_store(v->guest, q->sq_bus + (uint64_t)q->sq_tail * sizeof(command), &command,
		    sizeof(command));
	q->sq_tail = (q->sq_tail + 1) % q->sq_size;
}

static struct nvme_command transfer(struct vcpu *v, uint8_t opcode, unsigned slot, unsigned page)
{
	uint64_t slba = (v->queue - 1) * REGION_BLOCKS + slot * BLOCKS;

	return (struct nvme_command){
		.opcode = opcode,
		.nsid = le32_of(1),
		.prp1 = le64_of(guest_bus(page)),
		.prp2 = le64_of(guest_bus(page + 1)),
		.cdw10 = le32_of((uint32_t)slba),
		.cdw12 = le32_of(BLOCKS - 1),
	};
}

static bool wait_for(struct vcpu *v, unsigned count)
{
	while (count) {
		struct nvme_completion completion;

		if (guest_poll(v->guest, v->queue, &completion)) {
			v->errors += guest_status(&completion) != 0;
			count--;
		} else if (v->stop && *v->stop) {
			return false;
		} else {
			usleep(20);
		}
	}
	return true;
}

static unsigned page_of(const struct vcpu *v, unsigned index)
{
	return GUEST_DATA_PAGE + v->queue * 256 + index * 2;
}

static void *write_and_verify(void *argument)
{
	struct vcpu *v = argument;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			for (unsigned p = 0; p < 2; p++)
				memset(guest_page(v->guest, page_of(v, i) + p),
				       (int)(round * DEPTH + i * 3 + p + v->queue), PAGE_SIZE);
			put(v, transfer(v, NVME_IO_WRITE, (round + i) % 64, page_of(v, i)));
		}
		guest_ring(v->guest, v->queue);
		wait_for(v, DEPTH);
		for (unsigned i = 0; i < DEPTH; i++)
			put(v, transfer(v, NVME_IO_READ, (round + i) % 64, page_of(v, 32 + i)));
		guest_ring(v->guest, v->queue);
		wait_for(v, DEPTH);
		for (unsigned i = 0; i < DEPTH; i++) {
			for (unsigned p = 0; p < 2; p++)
				v->errors += memcmp(guest_page(v->guest, page_of(v, i) + p),
						    guest_page(v->guest, page_of(v, 32 + i) + p),
						    PAGE_SIZE) != 0;
		}
	}
	return NULL;
}

static void vcpus_with_queues_of_their_own_do_not_disturb_each_other(void **state)
{
	struct guest *g = guest_new(SIZE, *state);
	pthread_t threads[THREADS];
	struct vcpu vcpus[THREADS];

	guest_enable(g);
	guest_create_queues(g, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		vcpus[i] = (struct vcpu){ .guest = g, .queue = i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, write_and_verify, &vcpus[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(vcpus[i].errors, 0);
	}
	guest_free(g);
}

/*
 * Submission queues of different vCPUs, one completion queue: the doorbells contend
 * for it, and each command is still executed once.
 */
#define SHARED_COMMANDS 1500
#define SHARED_OUTSTANDING 12

struct submitter {
	struct vcpu vcpu;
	_Atomic unsigned outstanding;
};

static void *submit_to_shared_queue(void *argument)
{
	struct submitter *s = argument;

	for (unsigned i = 0; i < SHARED_COMMANDS && !*s->vcpu.stop; i++) {
		while (s->outstanding == SHARED_OUTSTANDING && !*s->vcpu.stop)
			usleep(5);
		s->outstanding++;
		put(&s->vcpu, transfer(&s->vcpu, NVME_IO_READ, i % 64, page_of(&s->vcpu, i % 64)));
		guest_ring(s->vcpu.guest, s->vcpu.queue);
		if (!(i % 64))
			guest_ring_cq(s->vcpu.guest, 40, 1); /* a queue that is not there */
	}
	return NULL;
}

static void create_queues_with_one_completion_queue(struct guest *g)
{
	guest_create_queues(g, 1);
	for (unsigned id = 2; id <= THREADS; id++) {
		g->queues[id] = (struct guest_queue){
			.sq_size = GUEST_ENTRIES,
			.sq_bus = guest_bus(512 + id),
		};
		assert_int_equal(guest_execute(g, 0,
					       guest_create_sq(id, GUEST_ENTRIES, 1,
							       g->queues[id].sq_bus),
					       NULL),
				 NVME_STATUS_SUCCESS);
	}
}

static void vcpus_that_share_a_completion_queue_lose_and_repeat_nothing(void **state)
{
	struct guest *g = guest_new(SIZE, *state);
	struct submitter submitters[THREADS];
	static unsigned char seen[THREADS][SHARED_COMMANDS];
	pthread_t threads[THREADS];
	_Atomic bool stop = false;
	unsigned bad = 0;

	memset(seen, 0, sizeof(seen));
	guest_enable(g);
	create_queues_with_one_completion_queue(g);
	for (unsigned i = 0; i < THREADS; i++) {
		submitters[i] = (struct submitter){
			.vcpu = { .guest = g, .queue = i + 1, .stop = &stop },
		};
		assert_int_equal(pthread_create(&threads[i], NULL, submit_to_shared_queue,
						&submitters[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS * SHARED_COMMANDS && !bad; i++) {
		struct nvme_completion completion = guest_wait(g, 1);
		unsigned from = le16_get(completion.sq_id) - 1u;
		unsigned cid = le16_get(completion.cid);

		if (from >= THREADS || cid >= SHARED_COMMANDS || seen[from][cid]++ ||
		    guest_status(&completion)) {
			bad++;
			break;
		}
		submitters[from].outstanding--;
	}
	stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(bad, 0);
	guest_free(g);
}

static void *submit_until_stopped(void *argument)
{
	struct vcpu *v = argument;

	while (!*v->stop) {
		for (unsigned i = 0; i < DEPTH; i++)
			put(v, transfer(v, i % 2 ? NVME_IO_WRITE : NVME_IO_READ, i,
					page_of(v, i)));
		guest_ring(v->guest, v->queue);
		wait_for(v, DEPTH);
	}
	return NULL;
}

static void resets_while_vcpus_submit_leave_a_working_controller(void **state)
{
	struct guest *g = guest_new(SIZE, *state);
	struct nvme_completion completion;

	for (unsigned round = 0; round < 30; round++) {
		_Atomic bool stop = false;
		pthread_t threads[THREADS];
		struct vcpu vcpus[THREADS];

		guest_enable(g);
		guest_create_queues(g, THREADS);
		for (unsigned i = 0; i < THREADS; i++) {
			vcpus[i] = (struct vcpu){ .guest = g, .queue = i + 1, .stop = &stop };
			assert_int_equal(pthread_create(&threads[i], NULL, submit_until_stopped,
							&vcpus[i]),
					 0);
		}
		usleep(1000 + 200 * round);
		if (round % 2) {
			guest_reset_function(g);
			assert_true(guest_is_quiet(g));
		} else {
			guest_disable(g);
		}
		stop = true;
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
	}
	guest_start(g);
	assert_int_equal(guest_execute(g, 1, guest_rw(g, NVME_IO_READ, 0, 8, GUEST_DATA_PAGE),
				       NULL),
			 NVME_STATUS_SUCCESS);
	assert_false(guest_peek(g, 1, &completion));
	guest_free(g);
}

#define BOTH(f) \
	{ #f " (direct)", f, NULL, NULL, "" }, { #f " (cached)", f, NULL, NULL, ",direct=off" }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(vcpus_with_queues_of_their_own_do_not_disturb_each_other),
		BOTH(vcpus_that_share_a_completion_queue_lose_and_repeat_nothing),
		BOTH(resets_while_vcpus_submit_leave_a_working_controller),
	};

	return cmocka_run_group_tests_name("nvme threads", tests, NULL, NULL);
}
