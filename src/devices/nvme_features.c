/* SPDX-License-Identifier: MIT */
/*
 * Features: what the guest can set and get. None is saved across a reset.
 *
 * Source: NVM Express Base Specification 1.4, sections 5.13, 5.21.
 */
#include "devices/nvme_controller.h"

#define FAIL(status) ((uint16_t)((status) | NVME_STATUS_DNR))

/* Temperature threshold (5.21.1.4). */
#define THRESHOLD_VALUE(v) ((uint16_t)(v))
#define THRESHOLD_SENSOR(v) (((v) >> 16) & 15)
#define THRESHOLD_TYPE(v) (((v) >> 20) & 3)
#define THRESHOLD_OVER 0
#define THRESHOLD_UNDER 1
#define SENSOR_COMPOSITE 0
#define SENSOR_ALL 15

#define ERROR_RECOVERY_DULBE 0x10000u
#define POWER_STATE(v) ((v) & 31)
#define VECTOR(v) ((v) & 0xffff)
#define VECTOR_NO_COALESCING 0x10000u

static const uint8_t capabilities[] = {
	[NVME_FEATURE_ARBITRATION] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_POWER_MANAGEMENT] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_TEMPERATURE_THRESHOLD] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_ERROR_RECOVERY] = NVME_CAPABILITY_CHANGEABLE |
					NVME_CAPABILITY_PER_NAMESPACE,
	[NVME_FEATURE_VOLATILE_WRITE_CACHE] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_NUMBER_OF_QUEUES] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_INTERRUPT_COALESCING] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_INTERRUPT_VECTOR] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_WRITE_ATOMICITY] = NVME_CAPABILITY_CHANGEABLE,
	[NVME_FEATURE_ASYNC_EVENTS] = NVME_CAPABILITY_CHANGEABLE,
};

static const struct nvme_feature_state defaults = {
	.over_temperature = 0x157,
};

void nvme_features_reset(struct nvme_controller *c)
{
	c->features = defaults;
	atomic_store(&c->write_cache, true);
}

bool nvme_temperature_exceeded(const struct nvme_controller *c)
{
	return NVME_TEMPERATURE >= c->features.over_temperature ||
	       NVME_TEMPERATURE <= c->features.under_temperature;
}

static uint16_t check_feature(const struct nvme_request *r, uint8_t *capability)
{
	uint32_t id = le32_get(r->command.cdw10) & 0xff;
	uint32_t nsid = le32_get(r->command.nsid);

	if (id >= ARRAY_SIZE(capabilities) || !capabilities[id])
		return FAIL(NVME_STATUS_INVALID_FIELD);
	*capability = capabilities[id];
	if (*capability & NVME_CAPABILITY_PER_NAMESPACE) {
		if (nsid != NVME_NSID && nsid != NVME_NSID_ALL)
			return FAIL(NVME_STATUS_INVALID_NAMESPACE);
	} else if (nsid && nsid != NVME_NSID_ALL) {
		if (nsid != NVME_NSID)
			return FAIL(NVME_STATUS_INVALID_NAMESPACE);
		if (r->command.opcode == NVME_ADMIN_SET_FEATURES)
			return FAIL(NVME_STATUS_FEATURE_NOT_PER_NAMESPACE);
	}
	return NVME_STATUS_SUCCESS;
}

/* --- set ------------------------------------------------------------------------------ */

static uint16_t set_threshold(struct nvme_feature_state *f, uint32_t value)
{
	uint32_t sensor = THRESHOLD_SENSOR(value);

	if (THRESHOLD_TYPE(value) > THRESHOLD_UNDER)
		return FAIL(NVME_STATUS_INVALID_FIELD);
	if (sensor != SENSOR_COMPOSITE && sensor != SENSOR_ALL)
		return NVME_STATUS_SUCCESS; /* a sensor that is not there */
	if (THRESHOLD_TYPE(value) == THRESHOLD_OVER)
		f->over_temperature = THRESHOLD_VALUE(value);
	else
		f->under_temperature = THRESHOLD_VALUE(value);
	return NVME_STATUS_SUCCESS;
}

static uint32_t queue_counts(void)
{
	return (NVME_IO_QUEUES_MAX - 1) << 16 | (NVME_IO_QUEUES_MAX - 1);
}

static uint16_t set_queue_counts(struct nvme_request *r, uint32_t value)
{
	if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff)
		return FAIL(NVME_STATUS_INVALID_FIELD);
	if (r->cq->controller->io_queues_made)
		return FAIL(NVME_STATUS_SEQUENCE_ERROR);
	r->result = queue_counts(); /* more than asked for is allowed */
	return NVME_STATUS_SUCCESS;
}

static void write_cache_flushed(struct block_request *block, int result)
{
	struct nvme_request *r = nvme_end_block(block);

	if (r)
		nvme_complete(r, nvme_status_of_host(BLOCK_FLUSH, result));
}

/* What is in the cache when it is switched off has to leave it. */
static uint16_t set_write_cache(struct nvme_request *r, uint32_t value)
{
	bool was_on = atomic_exchange(&r->cq->controller->write_cache, value & 1);

	if (!was_on || value & 1)
		return NVME_STATUS_SUCCESS;
	r->block.operation = BLOCK_FLUSH;
	r->block.offset = r->block.length = 0;
	nvme_start_block(r, write_cache_flushed);
	return NVME_NO_STATUS;
}

uint16_t nvme_set_features(struct nvme_request *r)
{
	struct nvme_feature_state *f = &r->cq->controller->features;
	uint32_t cdw10 = le32_get(r->command.cdw10);
	uint32_t value = le32_get(r->command.cdw11);
	uint8_t capability;
	uint16_t status = check_feature(r, &capability);

	if (status)
		return status;
	if (cdw10 & NVME_FEATURE_SAVE)
		return FAIL(NVME_STATUS_FEATURE_NOT_SAVEABLE);

	switch (cdw10 & 0xff) {
	case NVME_FEATURE_ARBITRATION:
		f->arbitration = value;
		break;
	case NVME_FEATURE_POWER_MANAGEMENT:
		if (POWER_STATE(value))
			return FAIL(NVME_STATUS_INVALID_FIELD);
		f->power_management = value;
		break;
	case NVME_FEATURE_TEMPERATURE_THRESHOLD:
		status = set_threshold(f, value);
		break;
	case NVME_FEATURE_ERROR_RECOVERY:
		if (value & ERROR_RECOVERY_DULBE)
			return FAIL(NVME_STATUS_INVALID_FIELD);
		f->error_recovery = value;
		break;
	case NVME_FEATURE_VOLATILE_WRITE_CACHE:
		return set_write_cache(r, value);
	case NVME_FEATURE_NUMBER_OF_QUEUES:
		return set_queue_counts(r, value);
	case NVME_FEATURE_INTERRUPT_COALESCING:
		f->interrupt_coalescing = value & 0xffff;
		break;
	case NVME_FEATURE_INTERRUPT_VECTOR:
		if (VECTOR(value) >= NVME_VECTORS)
			return FAIL(NVME_STATUS_INVALID_FIELD);
		f->interrupt_vector[VECTOR(value)] = value & VECTOR_NO_COALESCING;
		break;
	case NVME_FEATURE_WRITE_ATOMICITY:
		f->write_atomicity = value & 1;
		break;
	case NVME_FEATURE_ASYNC_EVENTS:
		f->async_events = value;
		break;
	}
	/* A new threshold, or a new interest in it, may be an event. */
	nvme_note(r->cq->controller, NVME_NOTE_ADMIN);
	return status;
}

/* --- get ------------------------------------------------------------------------------ */

static uint16_t get_value(const struct nvme_feature_state *f, bool write_cache,
			  const struct nvme_command *command, uint32_t *value)
{
	uint32_t cdw11 = le32_get(command->cdw11);

	switch (le32_get(command->cdw10) & 0xff) {
	case NVME_FEATURE_ARBITRATION:
		*value = f->arbitration;
		break;
	case NVME_FEATURE_POWER_MANAGEMENT:
		*value = f->power_management;
		break;
	case NVME_FEATURE_TEMPERATURE_THRESHOLD:
		if (THRESHOLD_TYPE(cdw11) > THRESHOLD_UNDER)
			return FAIL(NVME_STATUS_INVALID_FIELD);
		if (THRESHOLD_SENSOR(cdw11) != SENSOR_COMPOSITE)
			*value = 0;
		else if (THRESHOLD_TYPE(cdw11) == THRESHOLD_OVER)
			*value = f->over_temperature;
		else
			*value = f->under_temperature;
		break;
	case NVME_FEATURE_ERROR_RECOVERY:
		*value = f->error_recovery;
		break;
	case NVME_FEATURE_VOLATILE_WRITE_CACHE:
		*value = write_cache;
		break;
	case NVME_FEATURE_NUMBER_OF_QUEUES:
		*value = queue_counts();
		break;
	case NVME_FEATURE_INTERRUPT_COALESCING:
		*value = f->interrupt_coalescing;
		break;
	case NVME_FEATURE_INTERRUPT_VECTOR:
		if (VECTOR(cdw11) >= NVME_VECTORS)
			return FAIL(NVME_STATUS_INVALID_FIELD);
		*value = f->interrupt_vector[VECTOR(cdw11)] | VECTOR(cdw11);
		break;
	case NVME_FEATURE_WRITE_ATOMICITY:
		*value = f->write_atomicity;
		break;
	case NVME_FEATURE_ASYNC_EVENTS:
		*value = f->async_events;
		break;
	}
	return NVME_STATUS_SUCCESS;
}

uint16_t nvme_get_features(struct nvme_request *r)
{
	const struct nvme_controller *c = r->cq->controller;
	uint8_t capability;
	uint16_t status = check_feature(r, &capability);

	if (status)
		return status;
	switch ((le32_get(r->command.cdw10) >> 8) & 7) {
	case NVME_SELECT_CURRENT:
		return get_value(&c->features, atomic_load(&c->write_cache), &r->command,
				 &r->result);
	case NVME_SELECT_DEFAULT:
	case NVME_SELECT_SAVED: /* nothing is saved: the default (5.13) */
		return get_value(&defaults, true, &r->command, &r->result);
	case NVME_SELECT_CAPABILITIES:
		r->result = capability;
		return NVME_STATUS_SUCCESS;
	}
	return FAIL(NVME_STATUS_INVALID_FIELD);
}
