/* SPDX-License-Identifier: MIT */
/*
 * Queues: from a doorbell to a fetched command, and from a completed one to an
 * interrupt.
 *
 * A completion queue is run by whoever rings a doorbell of one of its submission
 * queues, and by the device's thread. Running takes the lock if it is free; if not,
 * it leaves a word (`work`) for the thread that has it, which looks after
 * unlocking. Each run is bounded by the number of requests; what is left then is
 * for the device's thread, so that no vCPU is held up by what others submit.
 *
 * Source: NVM Express Base Specification 1.4, sections 4.1 (queues), 4.6
 * (completion entries), 7.6.1 (doorbells of queues that do not exist).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/trace.h"
#include "devices/nvme_controller.h"

/* How often one caller runs a queue for what others have rung meanwhile. */
#define RUNS_MAX 4

/* --- requests ----------------------------------------------------------------- */

static void done_init(struct nvme_request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static struct nvme_request *take_request(struct nvme_sq *sq, struct nvme_cq *cq)
{
	struct nvme_request *r = cq->free;

	cq->free = r->next;
	cq->busy++;
	sq->requests++;
	r->sq = sq;
	r->busy = true;
	r->result = 0;
	return r;
}

void nvme_release(struct nvme_request *r)
{
	struct nvme_cq *cq = r->cq;
	struct nvme_sq *sq = r->sq;

	nvme_end_access(r, 0);
	free(r->buffer);
	r->buffer = NULL;
	r->busy = false;
	r->next = cq->free;
	cq->free = r;
	cq->busy--;
	sq->requests--;
	if (sq->deletion && !sq->requests)
		nvme_note(cq->controller, NVME_NOTE_ADMIN);
}

void nvme_complete(struct nvme_request *r, uint16_t status)
{
	struct nvme_cq *cq = r->cq;

	if (status & NVME_STATUS_MORE)
		nvme_log_error(cq->controller, r, status);
	r->status = status;
	r->next = NULL;
	*cq->done.last = r;
	cq->done.last = &r->next;
}

void nvme_start_block(struct nvme_request *r, void (*done)(struct block_request *block, int result))
{
	r->in_block = true;
	r->cq->in_block++;
	r->block.done = done;
	block_queue_start(r->cq->blocks, &r->block);
}

struct nvme_request *nvme_end_block(struct block_request *block)
{
	struct nvme_request *r = container_of(block, struct nvme_request, block);
	struct nvme_cq *cq = r->cq;

	r->in_block = false;
	cq->in_block--;
	if (cq->state.exists)
		return r;
	nvme_end_access(r, r->length);
	nvme_release(r);
	if (!cq->in_block)
		nvme_note(cq->controller, NVME_NOTE_QUIET);
	return NULL;
}

/* --- making and closing queues ---------------------------------------------------- */

int nvme_cq_init(struct nvme_controller *c, uint16_t id)
{
	struct nvme_cq *cq = &c->cq[id];

	cq->controller = c;
	cq->id = id;
	c->sq[id].id = id;
	done_init(&cq->done);
	return -pthread_mutex_init(&cq->lock, NULL);
}

void nvme_cq_destroy(struct nvme_cq *cq)
{
	block_queue_free(cq->blocks);
	free(cq->requests);
	if (cq->segments)
		munmap(cq->segments, cq->segments_size);
	pthread_mutex_destroy(&cq->lock);
}

/* Pages of it that no transfer has needed stay unused memory. */
static int map_segments(struct nvme_cq *cq)
{
	size_t each = NVME_SEGMENTS_MAX * (sizeof(struct pci_dma_range) + sizeof(struct iovec));
	uint8_t *at;

	cq->segments_size = NVME_REQUESTS * each;
	at = mmap(NULL, cq->segments_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		  0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	cq->segments = at;
	for (unsigned i = 0; i < NVME_REQUESTS; i++, at += each) {
		cq->requests[i].ranges = (struct pci_dma_range *)at;
		cq->requests[i].iov =
			(struct iovec *)(at + NVME_SEGMENTS_MAX * sizeof(struct pci_dma_range));
	}
	return 0;
}

int nvme_cq_prepare(struct nvme_cq *cq)
{
	struct nvme_controller *c = cq->controller;
	int ret;

	if (cq->blocks)
		return 0;
	if (!cq->requests) {
		cq->requests = calloc(NVME_REQUESTS, sizeof(*cq->requests));
		if (!cq->requests)
			return -ENOMEM;
	}
	if (!cq->segments) {
		ret = map_segments(cq);
		if (ret)
			return ret;
	}
	/* One more than requests: the flush of a shutdown. */
	ret = block_queue_new(c->block, NVME_REQUESTS + 1, c->wake_fd, &cq->blocks);
	if (ret)
		return ret;
	for (unsigned i = NVME_REQUESTS; i-- > 0;) {
		cq->requests[i].cq = cq;
		cq->requests[i].next = cq->free;
		cq->free = &cq->requests[i];
	}
	return 0;
}

void nvme_cq_open(struct nvme_cq *cq, uint64_t address, uint32_t size, bool interrupts,
		  uint16_t vector)
{
	cq->state = (struct nvme_cq_state){
		.exists = true,
		.interrupts = interrupts,
		.phase = true,
		.vector = vector,
		.size = size,
		.address = address,
	};
	atomic_store(&cq->doorbell, 0);
	atomic_store(&cq->full, false);
	cq->posted = false;
	atomic_store(&cq->open, true);
}

void nvme_sq_open(struct nvme_sq *sq, struct nvme_cq *cq, uint64_t address, uint32_t size)
{
	sq->state = (struct nvme_sq_state){
		.exists = true,
		.cqid = cq->id,
		.size = size,
		.address = address,
	};
	sq->next = cq->sqs;
	cq->sqs = sq;
	atomic_store(&sq->doorbell, 0);
	atomic_store(&sq->cq, cq);
}

void nvme_sq_close(struct nvme_sq *sq)
{
	struct nvme_cq *cq = atomic_load(&sq->cq);
	struct nvme_sq **link = &cq->sqs;

	while (*link != sq)
		link = &(*link)->next;
	*link = sq->next;
	atomic_store(&sq->cq, NULL);
	if (sq->deletion) {
		nvme_release(sq->deletion);
		sq->deletion = NULL;
	}
	sq->state = (struct nvme_sq_state){ 0 };
}

void nvme_cq_close(struct nvme_cq *cq)
{
	while (cq->sqs)
		nvme_sq_close(cq->sqs);
	atomic_store(&cq->open, false);
	cq->state = (struct nvme_cq_state){ 0 };
	cq->posted = false;
	while (cq->done.first) {
		struct nvme_request *r = cq->done.first;

		cq->done.first = r->next;
		nvme_release(r);
	}
	done_init(&cq->done);
}

/* --- submission ------------------------------------------------------------------------ */

static uint32_t read_tail(struct nvme_sq *sq, struct nvme_controller *c)
{
	uint32_t tail = atomic_load(&sq->doorbell);

	if (tail < sq->state.size) {
		sq->state.tail = tail;
	} else if (atomic_compare_exchange_strong(&sq->doorbell, &tail, sq->state.tail)) {
		nvme_raise_event(c, NVME_EVENT_TYPE_ERROR, NVME_EVENT_ERROR_INVALID_DOORBELL_VALUE,
				 NVME_LOG_ERROR);
	}
	return sq->state.tail;
}

static void execute(struct nvme_request *r)
{
	const struct nvme_command *command = &r->command;
	uint16_t status;

	trace_nvme_command(r->cq->controller->name, r->sq->id, le16_get(command->cid),
			   command->opcode, le32_get(command->nsid), le32_get(command->cdw10),
			   le32_get(command->cdw11), le32_get(command->cdw12));
	if (NVME_FLAGS_FUSE(r->command.flags))
		status = NVME_STATUS_INVALID_FIELD | NVME_STATUS_DNR;
	else
		status = r->cq->id ? nvme_io_execute(r) : nvme_admin_execute(r);
	if (status != NVME_NO_STATUS)
		nvme_complete(r, status);
}

/*
 * Take some commands. They are copied before the first is looked at, and never
 * read again from guest memory.
 */
static unsigned fetch(struct nvme_sq *sq, struct nvme_cq *cq)
{
	struct nvme_controller *c = cq->controller;
	struct pci_dma_space *space = pci_function_dma(c->function);
	struct nvme_command commands[NVME_FETCH_MAX];
	uint32_t tail = read_tail(sq, c);
	uint32_t head = sq->state.head;
	uint32_t count = tail >= head ? tail - head : sq->state.size - head;

	count = MIN(count, MIN(NVME_REQUESTS - cq->busy, NVME_FETCH_MAX));
	if (!count || sq->deletion || (atomic_load(&c->csts) & NVME_CSTS_CFS))
		return 0;
	if (!space || pci_dma_read(space, sq->state.address + ((uint64_t)head << NVME_SQES),
				   commands, (size_t)count << NVME_SQES)) {
		nvme_fatal(c);
		return 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct nvme_request *r = take_request(sq, cq);

		sq->state.head = head + i + 1 == sq->state.size ? 0 : head + i + 1;
		r->command = commands[i];
		execute(r);
	}
	return count;
}

static bool has_commands(const struct nvme_sq *sq)
{
	return sq->state.exists && !sq->deletion && sq->state.head != sq->state.tail;
}

/* Round robin. True when commands are left, because no request was free. */
static bool fetch_all(struct nvme_cq *cq)
{
	bool progress, left;

	do {
		progress = false;
		left = false;
		for (struct nvme_sq *sq = cq->sqs; sq; sq = sq->next) {
			progress |= fetch(sq, cq) != 0;
			left |= has_commands(sq);
		}
	} while (progress && left && cq->free);
	return left;
}

/* --- completion ---------------------------------------------------------------------------- */

static bool is_full(struct nvme_cq *cq)
{
	uint32_t head = atomic_load(&cq->doorbell);
	uint32_t next = cq->state.tail + 1 == cq->state.size ? 0 : cq->state.tail + 1;

	if (head < cq->state.size) {
		cq->state.head = head;
	} else if (atomic_compare_exchange_strong(&cq->doorbell, &head, cq->state.head)) {
		nvme_raise_event(cq->controller, NVME_EVENT_TYPE_ERROR,
				 NVME_EVENT_ERROR_INVALID_DOORBELL_VALUE, NVME_LOG_ERROR);
	}
	return next == cq->state.head;
}

/* The doorbell is read again after `full` is set: see nvme_ring_cq(). */
static bool has_room(struct nvme_cq *cq)
{
	if (likely(!is_full(cq)))
		return true;
	atomic_store(&cq->full, true);
	if (is_full(cq))
		return false;
	atomic_store(&cq->full, false);
	return true;
}

static bool post(struct nvme_cq *cq, const struct nvme_request *r)
{
	struct nvme_controller *c = cq->controller;
	struct pci_dma_space *space = pci_function_dma(c->function);
	struct nvme_completion entry = {
		.result = le32_of(r->result),
		.sq_head = le16_of((uint16_t)r->sq->state.head),
		.sq_id = le16_of(r->sq->id),
		.cid = r->command.cid,
		.status = le16_of((uint16_t)(r->status << 1 | cq->state.phase)),
	};

	trace_nvme_completion(c->name, r->sq->id, le16_get(entry.cid), r->status, r->result);
	if (!space ||
	    pci_dma_write(space, cq->state.address + ((uint64_t)cq->state.tail << NVME_CQES),
			  &entry, sizeof(entry))) {
		nvme_fatal(c);
		return false;
	}
	if (++cq->state.tail == cq->state.size) {
		cq->state.tail = 0;
		cq->state.phase = !cq->state.phase;
	}
	cq->posted = true;
	return true;
}

/* True when requests have become free. */
static bool post_all(struct nvme_cq *cq)
{
	bool progress = false;

	while (cq->done.first && !(atomic_load(&cq->controller->csts) & NVME_CSTS_CFS) &&
	       has_room(cq)) {
		struct nvme_request *r = cq->done.first;

		if (!post(cq, r))
			break;
		cq->done.first = r->next;
		if (!cq->done.first)
			cq->done.last = &cq->done.first;
		nvme_release(r);
		progress = true;
	}
	if (cq->posted && cq->state.interrupts)
		pci_function_msix_notify(cq->controller->function, cq->state.vector);
	cq->posted = false;
	return progress;
}

/* --- running --------------------------------------------------------------------------------- */

/* True when there is more to do at once. */
static bool run_once(struct nvme_cq *cq)
{
	struct nvme_controller *c = cq->controller;
	bool left = false, handed_over = true;

	if (!cq->blocks)
		return false;
	if (cq->in_block)
		handed_over = block_queue_run(cq->blocks);
	if (!cq->id)
		nvme_admin_work(c);
	if (cq->state.exists) {
		left = fetch_all(cq);
		if (cq->in_block)
			handed_over = block_queue_run(cq->blocks);
		left &= post_all(cq);
	}
	if (!handed_over) {
		atomic_store(&c->short_of_resources, true);
		return true;
	}
	return left;
}

static void run(struct nvme_cq *cq)
{
	unsigned runs = 0;

	atomic_store(&cq->work, true);
	while (atomic_load(&cq->work)) {
		bool more;

		if (runs++ == RUNS_MAX) {
			nvme_wake(cq->controller);
			return;
		}
		if (pthread_mutex_trylock(&cq->lock))
			return;
		atomic_store(&cq->work, false);
		more = run_once(cq);
		pthread_mutex_unlock(&cq->lock);
		if (more) {
			atomic_store(&cq->work, true);
			nvme_wake(cq->controller);
			return;
		}
		/* Unlocking does not order what follows; the load above must come later. */
		atomic_thread_fence(memory_order_seq_cst);
	}
}

void nvme_run_notes(struct nvme_controller *c)
{
	for (unsigned runs = 0; atomic_load(&c->notes); runs++) {
		uint32_t notes;

		if (runs == RUNS_MAX) {
			nvme_wake(c);
			return;
		}
		notes = atomic_exchange(&c->notes, 0);
		if (notes & NVME_NOTE_ADMIN)
			run(&c->cq[0]);
		if (notes & NVME_NOTE_QUIET)
			nvme_check_quiet(c);
	}
}

void nvme_queue_run(struct nvme_cq *cq)
{
	run(cq);
	nvme_run_notes(cq->controller);
}

/* --- doorbells ---------------------------------------------------------------------------------- */

static void ring_nothing(struct nvme_controller *c)
{
	nvme_raise_event(c, NVME_EVENT_TYPE_ERROR, NVME_EVENT_ERROR_INVALID_DOORBELL,
			 NVME_LOG_ERROR);
	nvme_run_notes(c);
}

void nvme_ring_sq(struct nvme_controller *c, unsigned id, uint32_t value)
{
	struct nvme_cq *cq = id < NVME_QUEUES ? atomic_load(&c->sq[id].cq) : NULL;

	if (!cq) {
		ring_nothing(c);
		return;
	}
	atomic_store(&c->sq[id].doorbell, value & 0xffff);
	nvme_queue_run(cq);
}

void nvme_ring_cq(struct nvme_controller *c, unsigned id, uint32_t value)
{
	struct nvme_cq *cq = id < NVME_QUEUES ? &c->cq[id] : NULL;

	if (!cq || !atomic_load(&cq->open)) {
		ring_nothing(c);
		return;
	}
	atomic_store(&cq->doorbell, value & 0xffff);
	if (atomic_load(&cq->full)) {
		atomic_store(&cq->full, false);
		nvme_queue_run(cq);
	}
}
