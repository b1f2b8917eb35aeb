/* SPDX-License-Identifier: MIT */
/*
 * Admin commands that make and end queues, abort commands, and carry events. They
 * execute under the lock of queue 0, one at a time.
 *
 * Source: NVM Express Base Specification 1.4, sections 5.1 to 5.6 and 5.2
 * (asynchronous events).
 */
#include <string.h>

#include "base/trace.h"
#include "devices/nvme_controller.h"

#define FAIL(status) ((uint16_t)((status) | NVME_STATUS_DNR))

const uint32_t nvme_admin_effects[256] = {
	[NVME_ADMIN_DELETE_SQ] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_CREATE_SQ] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_GET_LOG_PAGE] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_DELETE_CQ] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_CREATE_CQ] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_IDENTIFY] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_ABORT] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_SET_FEATURES] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_GET_FEATURES] = NVME_COMMAND_SUPPORTED,
	[NVME_ADMIN_ASYNC_EVENT_REQUEST] = NVME_COMMAND_SUPPORTED,
};

/* --- queues ------------------------------------------------------------------------ */

static bool is_io_queue(uint32_t id)
{
	return id && id <= NVME_IO_QUEUES_MAX;
}

/* What both create commands have in common: PRP1, queue size, contiguous. */
static uint16_t check_ring(const struct nvme_command *command)
{
	uint32_t size = (le32_get(command->cdw10) >> 16) + 1;

	if (size < 2 || size > NVME_ENTRIES_MAX)
		return FAIL(NVME_STATUS_QUEUE_SIZE_INVALID);
	if (le64_get(command->prp1) & ~PAGE_MASK)
		return FAIL(NVME_STATUS_PRP_OFFSET_INVALID);
	if (!(le32_get(command->cdw11) & NVME_QUEUE_CONTIGUOUS))
		return FAIL(NVME_STATUS_INVALID_FIELD);
	return NVME_STATUS_SUCCESS;
}

static uint16_t create_cq(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	uint32_t cdw10 = le32_get(r->command.cdw10), cdw11 = le32_get(r->command.cdw11);
	uint32_t id = cdw10 & 0xffff, vector = cdw11 >> 16;
	uint16_t status = NVME_STATUS_SUCCESS;
	struct nvme_cq *cq;

	if (!is_io_queue(id) || c->cq[id].state.exists)
		return FAIL(NVME_STATUS_QID_INVALID);
	status = check_ring(&r->command);
	if (status)
		return status;
	if (vector >= NVME_VECTORS)
		return FAIL(NVME_STATUS_VECTOR_INVALID);
	if (atomic_load(&c->entry_sizes) != (NVME_CQES << 4 | NVME_SQES))
		return FAIL(NVME_STATUS_INVALID_FIELD);

	cq = &c->cq[id];
	pthread_mutex_lock(&cq->lock);
	if (nvme_cq_prepare(cq))
		status = NVME_STATUS_INTERNAL_ERROR;
	else
		nvme_cq_open(cq, le64_get(r->command.prp1), (cdw10 >> 16) + 1,
			     cdw11 & NVME_CQ_INTERRUPTS, (uint16_t)vector);
	pthread_mutex_unlock(&cq->lock);
	c->io_queues_made |= !status;
	return status;
}

static uint16_t create_sq(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	uint32_t cdw10 = le32_get(r->command.cdw10), cdw11 = le32_get(r->command.cdw11);
	uint32_t id = cdw10 & 0xffff, cqid = cdw11 >> 16;
	uint16_t status;

	if (!is_io_queue(id) || atomic_load(&c->sq[id].cq))
		return FAIL(NVME_STATUS_QID_INVALID);
	if (!is_io_queue(cqid) || !c->cq[cqid].state.exists)
		return FAIL(NVME_STATUS_CQ_INVALID);
	status = check_ring(&r->command);
	if (status)
		return status;

	pthread_mutex_lock(&c->cq[cqid].lock);
	nvme_sq_open(&c->sq[id], &c->cq[cqid], le64_get(r->command.prp1), (cdw10 >> 16) + 1);
	pthread_mutex_unlock(&c->cq[cqid].lock);
	return NVME_STATUS_SUCCESS;
}

/*
 * Commands that were not fetched are dropped. Those under way end first, with a
 * completion each; then the delete command does (nvme_admin_work).
 */
static uint16_t delete_sq(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	uint32_t id = le32_get(r->command.cdw10) & 0xffff;
	struct nvme_cq *cq = is_io_queue(id) ? atomic_load(&c->sq[id].cq) : NULL;
	struct nvme_sq *sq = &c->sq[cq ? id : 0];
	uint16_t status = NVME_NO_STATUS;

	if (!cq || sq->deletion)
		return FAIL(NVME_STATUS_QID_INVALID);
	pthread_mutex_lock(&cq->lock);
	if (sq->requests) {
		sq->deletion = r;
	} else {
		nvme_sq_close(sq);
		status = NVME_STATUS_SUCCESS;
	}
	pthread_mutex_unlock(&cq->lock);
	return status;
}

static uint16_t delete_cq(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	uint32_t id = le32_get(r->command.cdw10) & 0xffff;
	uint16_t status = NVME_STATUS_SUCCESS;

	if (!is_io_queue(id) || !c->cq[id].state.exists)
		return FAIL(NVME_STATUS_QID_INVALID);
	pthread_mutex_lock(&c->cq[id].lock);
	if (c->cq[id].sqs)
		status = FAIL(NVME_STATUS_QUEUE_DELETION_INVALID);
	else
		nvme_cq_close(&c->cq[id]);
	pthread_mutex_unlock(&c->cq[id].lock);
	return status;
}

static void finish_deletion(struct nvme_sq *sq)
{
	struct nvme_cq *cq = atomic_load(&sq->cq);
	struct nvme_request *r = sq->deletion;
	bool ended;

	pthread_mutex_lock(&cq->lock);
	ended = !sq->requests;
	if (ended) {
		sq->deletion = NULL;
		nvme_sq_close(sq);
	}
	pthread_mutex_unlock(&cq->lock);
	if (ended)
		nvme_complete(r, NVME_STATUS_SUCCESS);
}

/* --- abort ------------------------------------------------------------------------------ */

static bool abort_async_request(struct nvme_controller *c, uint16_t cid)
{
	for (unsigned i = 0; i < c->async_request_count; i++) {
		struct nvme_request *r = c->async_requests[i];

		if (le16_get(r->command.cid) != cid)
			continue;
		c->async_requests[i] = c->async_requests[--c->async_request_count];
		nvme_complete(r, NVME_STATUS_ABORT_REQUESTED);
		return true;
	}
	return false;
}

/* Lock of the cq held. */
static bool cancel_command(struct nvme_cq *cq, const struct nvme_sq *sq, uint16_t cid)
{
	for (unsigned i = 0; i < NVME_REQUESTS; i++) {
		struct nvme_request *r = &cq->requests[i];

		if (r->in_block && r->sq == sq && le16_get(r->command.cid) == cid)
			return block_queue_cancel(cq->blocks, &r->block);
	}
	return false;
}

/* What the host's kernel has begun is not aborted; it ends by itself. */
static uint16_t abort_command(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	uint32_t cdw10 = le32_get(r->command.cdw10);
	uint32_t id = cdw10 & 0xffff;
	uint16_t cid = (uint16_t)(cdw10 >> 16);
	struct nvme_cq *cq = id < NVME_QUEUES ? atomic_load(&c->sq[id].cq) : NULL;
	bool aborted;

	if (!cq)
		return FAIL(NVME_STATUS_INVALID_FIELD);
	if (!id) {
		aborted = abort_async_request(c, cid) || cancel_command(cq, &c->sq[0], cid);
	} else {
		pthread_mutex_lock(&cq->lock);
		aborted = cancel_command(cq, &c->sq[id], cid);
		pthread_mutex_unlock(&cq->lock);
	}
	r->result = !aborted;
	return NVME_STATUS_SUCCESS;
}

/* --- asynchronous events ------------------------------------------------------------------ */

void nvme_events_reset(struct nvme_controller *c)
{
	pthread_mutex_lock(&c->event_lock);
	c->events.event_count = 0;
	c->events.masked_types = 0;
	c->events.temperature_reported = false;
	pthread_mutex_unlock(&c->event_lock);
}

void nvme_raise_event(struct nvme_controller *c, unsigned type, unsigned information,
		      unsigned log_page)
{
	struct nvme_event_state *e = &c->events;
	uint32_t event = log_page << 16 | information << 8 | type;
	bool known = false;

	trace_nvme_event(c->name, event);
	pthread_mutex_lock(&c->event_lock);
	for (unsigned i = 0; i < e->event_count; i++)
		known |= e->events[i] == event;
	if (!known && !(e->masked_types & 1u << type) && e->event_count < NVME_EVENTS_MAX)
		e->events[e->event_count++] = event;
	pthread_mutex_unlock(&c->event_lock);
	nvme_note(c, NVME_NOTE_ADMIN);
}

void nvme_unmask_events(struct nvme_controller *c, unsigned type)
{
	pthread_mutex_lock(&c->event_lock);
	c->events.masked_types &= ~(1u << type);
	pthread_mutex_unlock(&c->event_lock);
	nvme_note(c, NVME_NOTE_ADMIN);
}

/* The next event that may be reported; its type is masked from then on. */
static bool take_event(struct nvme_controller *c, uint32_t *event)
{
	struct nvme_event_state *e = &c->events;
	bool found = false;

	pthread_mutex_lock(&c->event_lock);
	for (unsigned i = 0; i < e->event_count && !found; i++) {
		*event = e->events[i];
		if (e->masked_types & 1u << (*event & 7))
			continue;
		found = true;
		e->masked_types |= 1u << (*event & 7);
		e->event_count--;
		memmove(&e->events[i], &e->events[i + 1],
			(e->event_count - i) * sizeof(e->events[0]));
	}
	pthread_mutex_unlock(&c->event_lock);
	return found;
}

static void check_temperature(struct nvme_controller *c)
{
	bool exceeded = nvme_temperature_exceeded(c) &&
			(c->features.async_events & NVME_SMART_WARNING_TEMPERATURE);
	bool due;

	pthread_mutex_lock(&c->event_lock);
	due = exceeded && !c->events.temperature_reported;
	c->events.temperature_reported = exceeded;
	pthread_mutex_unlock(&c->event_lock);
	if (due)
		nvme_raise_event(c, NVME_EVENT_TYPE_SMART, NVME_EVENT_SMART_TEMPERATURE,
				 NVME_LOG_SMART);
}

static void deliver_events(struct nvme_controller *c)
{
	uint32_t event;

	while (c->async_request_count && take_event(c, &event)) {
		struct nvme_request *r = c->async_requests[--c->async_request_count];

		r->result = event;
		nvme_complete(r, NVME_STATUS_SUCCESS);
	}
}

static uint16_t async_event_request(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;

	if (c->async_request_count == NVME_ASYNC_REQUESTS_MAX)
		return FAIL(NVME_STATUS_ASYNC_LIMIT);
	c->async_requests[c->async_request_count++] = r;
	deliver_events(c);
	return NVME_NO_STATUS;
}

void nvme_log_error(struct nvme_controller *c, const struct nvme_request *r, uint16_t status)
{
	struct nvme_event_state *e = &c->events;

	pthread_mutex_lock(&c->event_lock);
	e->errors[e->error_count % NVME_ERROR_ENTRIES] = (struct nvme_error_entry){
		.count = le64_of(e->error_count + 1),
		.sqid = le16_of(r->sq->id),
		.cid = r->command.cid,
		.status = le16_of((uint16_t)(status << 1)),
		.parameter_location = le16_of(0xffff), /* no parameter's fault */
		.lba = le64_of(r->block.offset >> NVME_BLOCK_SHIFT),
		.nsid = r->command.nsid,
	};
	e->error_count++;
	pthread_mutex_unlock(&c->event_lock);
}

void nvme_admin_work(struct nvme_controller *c)
{
	if (!c->cq[0].state.exists)
		return;
	for (unsigned id = 1; id < NVME_QUEUES; id++) {
		if (c->sq[id].deletion)
			finish_deletion(&c->sq[id]);
	}
	check_temperature(c);
	deliver_events(c);
}

/* --- the table ---------------------------------------------------------------------------- */

uint16_t nvme_admin_execute(struct nvme_request *r)
{
	/* Over PCI, admin commands have PRPs only (4.2). */
	if (NVME_FLAGS_PSDT(r->command.flags))
		return FAIL(NVME_STATUS_INVALID_FIELD);
	switch (r->command.opcode) {
	case NVME_ADMIN_DELETE_SQ:
		return delete_sq(r);
	case NVME_ADMIN_CREATE_SQ:
		return create_sq(r);
	case NVME_ADMIN_GET_LOG_PAGE:
		return nvme_get_log_page(r);
	case NVME_ADMIN_DELETE_CQ:
		return delete_cq(r);
	case NVME_ADMIN_CREATE_CQ:
		return create_cq(r);
	case NVME_ADMIN_IDENTIFY:
		return nvme_identify(r);
	case NVME_ADMIN_ABORT:
		return abort_command(r);
	case NVME_ADMIN_SET_FEATURES:
		return nvme_set_features(r);
	case NVME_ADMIN_GET_FEATURES:
		return nvme_get_features(r);
	case NVME_ADMIN_ASYNC_EVENT_REQUEST:
		return async_event_request(r);
	}
	return FAIL(NVME_STATUS_INVALID_OPCODE);
}
