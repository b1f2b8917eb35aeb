/* SPDX-License-Identifier: MIT */
/*
 * Log pages.
 *
 * Source: NVM Express Base Specification 1.4, section 5.14.
 */
#include <string.h>

#include "devices/nvme_controller.h"
#include "devices/nvme_ids.h"

#define FAIL(status) ((uint16_t)((status) | NVME_STATUS_DNR))

/* The part of the page that was asked for. What lies beyond its end is not sent. */
static uint16_t send_log(struct nvme_request *r, const void *page, uint64_t size)
{
	uint32_t cdw10 = le32_get(r->command.cdw10), cdw11 = le32_get(r->command.cdw11);
	uint64_t dwords = ((uint64_t)(cdw11 & 0xffff) << 16 | cdw10 >> 16) + 1;
	uint64_t offset = (uint64_t)le32_get(r->command.cdw13) << 32 | le32_get(r->command.cdw12);

	if (offset & 3 || offset >= size)
		return FAIL(NVME_STATUS_INVALID_FIELD);
	return nvme_copy_to_host(r, (const uint8_t *)page + offset, MIN(dwords * 4, size - offset));
}

/* The newest entry first. */
static uint16_t error_log(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	struct nvme_error_entry page[NVME_ERROR_ENTRIES] = { 0 };
	struct nvme_event_state *e = &c->events;

	pthread_mutex_lock(&c->event_lock);
	for (uint64_t i = 0; i < MIN(e->error_count, NVME_ERROR_ENTRIES); i++)
		page[i] = e->errors[(e->error_count - 1 - i) % NVME_ERROR_ENTRIES];
	pthread_mutex_unlock(&c->event_lock);
	return send_log(r, page, sizeof(page));
}

static void sum_counters(struct nvme_controller *c, struct nvme_counter_state *sum)
{
	for (unsigned id = 1; id < NVME_QUEUES; id++) {
		struct nvme_cq *cq = &c->cq[id];

		pthread_mutex_lock(&cq->lock);
		sum->read_commands += cq->counters.read_commands;
		sum->write_commands += cq->counters.write_commands;
		sum->read_sectors += cq->counters.read_sectors;
		sum->write_sectors += cq->counters.write_sectors;
		sum->media_errors += cq->counters.media_errors;
		pthread_mutex_unlock(&cq->lock);
	}
}

static uint64_t data_units(uint64_t sectors)
{
	return (sectors + 999) / 1000;
}

static uint16_t smart_log(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	struct nvme_counter_state sum = { 0 };
	struct timespec now;
	struct nvme_smart_log page = {
		.temperature = { NVME_TEMPERATURE & 0xff, NVME_TEMPERATURE >> 8 },
		.available_spare = 100,
		.spare_threshold = 10,
	};
	uint32_t nsid = le32_get(r->command.nsid);

	if (nsid != NVME_NSID_ALL && nsid != 0) /* one log for the controller (LPA bit 0) */
		return FAIL(NVME_STATUS_INVALID_FIELD);
	if (nvme_temperature_exceeded(c))
		page.critical_warning |= NVME_SMART_WARNING_TEMPERATURE;
	sum_counters(c, &sum);
	clock_gettime(CLOCK_MONOTONIC, &now);
	page.data_units_read[0] = le64_of(data_units(sum.read_sectors));
	page.data_units_written[0] = le64_of(data_units(sum.write_sectors));
	page.host_reads[0] = le64_of(sum.read_commands);
	page.host_writes[0] = le64_of(sum.write_commands);
	page.power_cycles[0] = le64_of(1);
	page.power_on_hours[0] = le64_of((uint64_t)(now.tv_sec - c->created.tv_sec) / 3600);
	page.media_errors[0] = le64_of(sum.media_errors);
	pthread_mutex_lock(&c->event_lock);
	page.error_entries[0] = le64_of(c->events.error_count);
	pthread_mutex_unlock(&c->event_lock);
	return send_log(r, &page, sizeof(page));
}

static uint16_t firmware_log(struct nvme_request *r)
{
	struct nvme_firmware_log page = { .active = 1 };

	memset(page.revision[0], ' ', sizeof(page.revision[0]));
	memcpy(page.revision[0], NVME_FIRMWARE, strlen(NVME_FIRMWARE));
	return send_log(r, &page, sizeof(page));
}

static uint16_t commands_log(struct nvme_request *r)
{
	struct nvme_commands_log page = { 0 };

	for (unsigned i = 0; i < 256; i++) {
		page.admin[i] = le32_of(nvme_admin_effects[i]);
		page.io[i] = le32_of(nvme_io_effects[i]);
	}
	return send_log(r, &page, sizeof(page));
}

uint16_t nvme_get_log_page(struct nvme_request *r)
{
	struct nvme_controller *c = r->cq->controller;
	uint32_t cdw10 = le32_get(r->command.cdw10);
	bool retain = cdw10 & NVME_LOG_RETAIN_EVENT;
	uint16_t status;

	switch (cdw10 & 0xff) {
	case NVME_LOG_ERROR:
		status = error_log(r);
		if (!status && !retain)
			nvme_unmask_events(c, NVME_EVENT_TYPE_ERROR);
		return status;
	case NVME_LOG_SMART:
		status = smart_log(r);
		if (!status && !retain)
			nvme_unmask_events(c, NVME_EVENT_TYPE_SMART);
		return status;
	case NVME_LOG_FIRMWARE:
		return firmware_log(r);
	case NVME_LOG_COMMANDS:
		return commands_log(r);
	}
	return FAIL(NVME_STATUS_LOG_PAGE_INVALID);
}
