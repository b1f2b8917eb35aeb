/* SPDX-License-Identifier: MIT */
/* The NVMe controller's registers, queues and admin commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nvme_guest.h"

#define DATA guest_bus(GUEST_DATA_PAGE)
#define SIZE (8 * MIB)
#define CC_SIZES (NVME_CQES << 20 | NVME_SQES << 16)

static int setup(void **state)
{
	*state = guest_new(SIZE, ",serial=S1");
	return 0;
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

static int setup_enabled(void **state)
{
	setup(state);
	guest_enable(*state);
	return 0;
}

static int setup_started(void **state)
{
	setup(state);
	guest_start(*state);
	return 0;
}

static uint16_t admin(struct guest *g, uint8_t opcode, uint32_t cdw10, uint32_t cdw11,
		      uint32_t *result)
{
	return guest_execute(g, 0, guest_admin(opcode, cdw10, cdw11, DATA), result);
}

static uint16_t identify(struct guest *g, uint32_t cns, uint32_t nsid, void *data)
{
	struct nvme_command command = guest_admin(NVME_ADMIN_IDENTIFY, cns, 0, DATA);
	uint16_t status;

	memset(guest_page(g, GUEST_DATA_PAGE), 0xee, PAGE_SIZE);
	command.nsid = le32_of(nsid);
	status = guest_execute(g, 0, command, NULL);
	memcpy(data, guest_page(g, GUEST_DATA_PAGE), PAGE_SIZE);
	return status;
}

/* --- registers --------------------------------------------------------------- */

static void capabilities_say_what_the_controller_can_do(void **state)
{
	struct guest *g = *state;
	uint64_t cap = guest_read_register(g, NVME_REG_CAP, 8);

	assert_int_equal((cap & 0xffff) + 1, 1024);
	assert_int_equal(cap >> 16 & 1, 1);
	assert_int_equal(cap >> 32 & 15, 0);
	assert_int_equal(cap >> 37 & 1, 1);
	assert_int_equal(cap >> 48 & 0xff, 0);
	assert_int_equal(guest_read_register(g, NVME_REG_CAP, 4), cap & 0xffffffff);
	assert_int_equal(guest_read_register(g, NVME_REG_CAP + 4, 4), cap >> 32);
	assert_int_equal(guest_read_register(g, NVME_REG_CAP + 3, 1), cap >> 24 & 0xff);
	assert_int_equal(guest_read_register(g, NVME_REG_VS, 4), NVME_VERSION_1_4);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), 0);
	assert_int_equal(guest_read_register(g, NVME_REG_DOORBELLS, 4), 0);
}

static void admin_queue_registers_keep_what_is_written(void **state)
{
	struct guest *g = *state;

	guest_write_register(g, NVME_REG_AQA, 4, 0xffffffff);
	guest_write_register(g, NVME_REG_ASQ, 8, 0x123456789abcdefull);
	guest_write_register(g, NVME_REG_ACQ, 4, 0x11112fff);
	guest_write_register(g, NVME_REG_ACQ + 4, 4, 0x22222222);
	assert_int_equal(guest_read_register(g, NVME_REG_AQA, 4), 0x0fff0fff);
	assert_int_equal(guest_read_register(g, NVME_REG_ASQ, 8), 0x123456789abc000ull);
	assert_int_equal(guest_read_register(g, NVME_REG_ACQ, 8), 0x2222222211112000ull);
}

static void enabling_makes_it_ready_and_disabling_unready(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_equal(guest_read_register(g, NVME_REG_CC, 4), CC_SIZES | NVME_CC_EN);
	guest_disable(g);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), 0);
	guest_enable(g);
}

static void enabling_without_queues_is_fatal_until_disabled(void **state)
{
	struct guest *g = *state;

	guest_write_register(g, NVME_REG_CC, 4, CC_SIZES | NVME_CC_EN);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), NVME_CSTS_CFS);
	guest_write_register(g, NVME_REG_CC, 4, CC_SIZES);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), 0);
	guest_enable(g);
}

static void enabling_with_what_is_not_supported_is_fatal(void **state)
{
	static const uint32_t bad[] = { 1 << 4, 1 << 7, 1 << 11 };
	struct guest *g = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		guest_write_register(g, NVME_REG_AQA, 4, 0x003f003f);
		guest_write_register(g, NVME_REG_CC, 4, CC_SIZES | NVME_CC_EN | bad[i]);
		assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), NVME_CSTS_CFS);
		guest_write_register(g, NVME_REG_CC, 4, CC_SIZES);
	}
}

static void shutdown_completes_and_ends_with_a_reset(void **state)
{
	struct guest *g = *state;

	guest_write_register(g, NVME_REG_CC, 4, CC_SIZES | NVME_CC_EN | 1 << 14);
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
	guest_disable(g);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), 0);
	guest_enable(g);
}

static void shutdown_of_a_disabled_controller_completes(void **state)
{
	struct guest *g = *state;

	guest_write_register(g, NVME_REG_CC, 4, 2 << 14);
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
}

static void queues_off_the_bus_are_fatal_until_reset(void **state)
{
	struct guest *g = *state;
	struct nvme_completion completion;

	guest_unmap(g, 0); /* the admin submission queue */
	guest_submit(g, 0, guest_admin(NVME_ADMIN_ABORT, 0, 0, 0));
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_CFS, NVME_CSTS_CFS);
	assert_false(guest_peek(g, 0, &completion));
	guest_map(g, 0);
	guest_disable(g);
	guest_enable(g);

	guest_unmap(g, 4); /* the admin completion queue */
	guest_submit(g, 0, guest_admin(NVME_ADMIN_ABORT, 0, 0, 0));
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_CFS, NVME_CSTS_CFS);
	guest_map(g, 4);
	guest_disable(g);
	guest_start(g);
}

static void function_reset_returns_to_power_on(void **state)
{
	struct guest *g = *state;

	guest_reset_function(g);
	assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4), 0);
	assert_int_equal(guest_read_register(g, NVME_REG_CC, 4), 0);
	assert_int_equal(guest_read_register(g, NVME_REG_AQA, 4), 0);
	assert_int_equal(guest_read_register(g, NVME_REG_ASQ, 8), 0);
	guest_start(g);
}

/* --- identify -------------------------------------------------------------------- */

static void identify_controller_describes_a_1_4_controller(void **state)
{
	struct nvme_identify_controller id;

	assert_int_equal(identify(*state, NVME_CNS_CONTROLLER, 0, &id), NVME_STATUS_SUCCESS);
	assert_memory_equal(id.sn, "S1                  ", 20);
	assert_memory_equal(id.mn, "zvisor NVMe   ", 14);
	assert_int_equal(le32_get(id.ver), NVME_VERSION_1_4);
	assert_int_equal(id.cntrltype, 1);
	assert_int_equal(id.mdts, 8);
	assert_int_equal(id.sqes, 0x66);
	assert_int_equal(id.cqes, 0x44);
	assert_int_equal(le32_get(id.nn), 1);
	assert_int_equal(id.vwc, 7);
	assert_int_equal(id.aerl, 3);
	assert_memory_equal(id.subnqn, "nqn.2014-08.org.nvmexpress:uuid:", 32);
	assert_int_equal(strlen(id.subnqn), 32 + 36);
}

static void identify_namespace_tells_the_size(void **state)
{
	struct nvme_identify_namespace id;

	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE, 1, &id), NVME_STATUS_SUCCESS);
	assert_int_equal(le64_get(id.nsze), SIZE / 512);
	assert_int_equal(le64_get(id.ncap), SIZE / 512);
	assert_int_equal(id.lbaf[0].data_size, 9);
	assert_int_equal(id.flbas, 0);
	assert_int_equal(id.nsattr, 0);
	assert_int_equal(id.dlfeat, 9);
}

static void identify_namespace_shows_write_protection(void **state)
{
	struct guest *g = guest_new(SIZE, ",readonly=on");
	struct nvme_identify_namespace id;

	guest_enable(g);
	assert_int_equal(identify(g, NVME_CNS_NAMESPACE, 1, &id), NVME_STATUS_SUCCESS);
	assert_int_equal(id.nsattr, NVME_NSATTR_WRITE_PROTECTED);
	guest_free(g);
}

static void identify_lists_the_only_namespace(void **state)
{
	le32 list[1024];

	assert_int_equal(identify(*state, NVME_CNS_ACTIVE_NAMESPACES, 0, list), 0);
	assert_int_equal(le32_get(list[0]), 1);
	for (unsigned i = 1; i < 1024; i++)
		assert_int_equal(le32_get(list[i]), 0);
	assert_int_equal(identify(*state, NVME_CNS_ACTIVE_NAMESPACES, 1, list), 0);
	assert_int_equal(le32_get(list[0]), 0);
	assert_int_equal(identify(*state, NVME_CNS_ACTIVE_NAMESPACES, 0xfffffffe, list),
			 NVME_STATUS_INVALID_NAMESPACE);
}

static void identify_lists_descriptors_of_the_namespace(void **state)
{
	uint8_t list[4096];
	struct nvme_identify_namespace id;

	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE, 1, &id), 0);
	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE_DESCRIPTORS, 1, list), 0);
	assert_int_equal(list[0], NVME_NIDT_EUI64);
	assert_int_equal(list[1], 8);
	assert_memory_equal(list + 4, id.eui64, 8);
	assert_int_equal(list[12], NVME_NIDT_UUID);
	assert_int_equal(list[13], 16);
	assert_int_equal(list[32], 0);
}

static void identify_refuses_what_is_not_there(void **state)
{
	uint8_t data[4096];

	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE, 0, data),
			 NVME_STATUS_INVALID_NAMESPACE);
	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE, 2, data),
			 NVME_STATUS_INVALID_NAMESPACE);
	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE, NVME_NSID_ALL, data),
			 NVME_STATUS_INVALID_NAMESPACE);
	assert_int_equal(identify(*state, NVME_CNS_NAMESPACE_DESCRIPTORS, 7, data),
			 NVME_STATUS_INVALID_NAMESPACE);
	assert_int_equal(identify(*state, 0x06, 0, data), NVME_STATUS_INVALID_FIELD);
	assert_int_equal(data[0], 0xee);
}

static void identify_spans_two_pages(void **state)
{
	struct guest *g = *state;
	struct nvme_command command = guest_admin(NVME_ADMIN_IDENTIFY, NVME_CNS_CONTROLLER, 0,
						  DATA + 0x800);
	char serial[20];

	/* Bus address 0 is not there. */
	assert_int_equal(guest_execute(g, 0, command, NULL), NVME_STATUS_DATA_TRANSFER_ERROR);
	command.prp2 = le64_of(guest_bus(GUEST_DATA_PAGE + 5));
	assert_int_equal(guest_execute(g, 0, command, NULL), NVME_STATUS_SUCCESS);
	guest_load(g, DATA + 0x804, serial, sizeof(serial));
	assert_memory_equal(serial, "S1    ", 6);
	command.prp2 = le64_of(guest_bus(GUEST_DATA_PAGE + 5) + 8);
	assert_int_equal(guest_execute(g, 0, command, NULL), NVME_STATUS_PRP_OFFSET_INVALID);
}

static void two_devices_have_two_identities(void **state)
{
	struct guest *other = guest_new(SIZE, ",serial=S1");
	struct nvme_identify_controller a, b;

	guest_enable(other);
	identify(*state, NVME_CNS_CONTROLLER, 0, &a);
	identify(other, NVME_CNS_CONTROLLER, 0, &b);
	assert_string_not_equal(a.subnqn, b.subnqn);
	guest_free(other);
}

/* --- features ----------------------------------------------------------------------- */

static uint16_t set_feature(struct guest *g, uint32_t id, uint32_t value)
{
	return admin(g, NVME_ADMIN_SET_FEATURES, id, value, NULL);
}

static uint32_t get_feature(struct guest *g, uint32_t id, uint32_t select, uint32_t cdw11)
{
	uint32_t value;

	assert_int_equal(admin(g, NVME_ADMIN_GET_FEATURES, select << 8 | id, cdw11, &value),
			 NVME_STATUS_SUCCESS);
	return value;
}

static void simple_features_are_kept_until_the_next_enable(void **state)
{
	static const uint8_t ids[] = {
		NVME_FEATURE_ARBITRATION,
		NVME_FEATURE_INTERRUPT_COALESCING,
		NVME_FEATURE_ASYNC_EVENTS,
	};
	struct guest *g = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_int_equal(set_feature(g, ids[i], 0x1234), NVME_STATUS_SUCCESS);
		assert_int_equal(get_feature(g, ids[i], NVME_SELECT_CURRENT, 0), 0x1234);
		assert_int_equal(get_feature(g, ids[i], NVME_SELECT_DEFAULT, 0), 0);
		assert_int_equal(get_feature(g, ids[i], NVME_SELECT_SAVED, 0), 0);
		assert_int_equal(get_feature(g, ids[i], NVME_SELECT_CAPABILITIES, 0),
				 NVME_CAPABILITY_CHANGEABLE);
	}
	guest_disable(g);
	guest_enable(g);
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		assert_int_equal(get_feature(g, ids[i], NVME_SELECT_CURRENT, 0), 0);
}

static void number_of_queues_is_64_until_one_is_made(void **state)
{
	struct guest *g = *state;
	uint32_t value;

	assert_int_equal(admin(g, NVME_ADMIN_SET_FEATURES, NVME_FEATURE_NUMBER_OF_QUEUES,
			       3 << 16 | 3, &value),
			 NVME_STATUS_SUCCESS);
	assert_int_equal(value, 63 << 16 | 63);
	assert_int_equal(get_feature(g, NVME_FEATURE_NUMBER_OF_QUEUES, 0, 0), 63 << 16 | 63);
	assert_int_equal(set_feature(g, NVME_FEATURE_NUMBER_OF_QUEUES, 0xffff),
			 NVME_STATUS_INVALID_FIELD);
	guest_create_queues(g, 1);
	assert_int_equal(set_feature(g, NVME_FEATURE_NUMBER_OF_QUEUES, 0),
			 NVME_STATUS_SEQUENCE_ERROR);
}

static void other_features_check_their_values(void **state)
{
	struct guest *g = *state;

	assert_int_equal(set_feature(g, NVME_FEATURE_POWER_MANAGEMENT, 1),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(set_feature(g, NVME_FEATURE_POWER_MANAGEMENT, 0), NVME_STATUS_SUCCESS);
	assert_int_equal(set_feature(g, NVME_FEATURE_TEMPERATURE_THRESHOLD, 1 << 20 | 300), 0);
	assert_int_equal(get_feature(g, NVME_FEATURE_TEMPERATURE_THRESHOLD, 0, 1 << 20), 300);
	assert_int_equal(set_feature(g, NVME_FEATURE_TEMPERATURE_THRESHOLD, 2 << 20),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(set_feature(g, NVME_FEATURE_INTERRUPT_VECTOR, 1 << 16 | 64), 0);
	assert_int_equal(get_feature(g, NVME_FEATURE_INTERRUPT_VECTOR, 0, 64), 1 << 16 | 64);
	assert_int_equal(get_feature(g, NVME_FEATURE_INTERRUPT_VECTOR, 0, 3), 3);
	assert_int_equal(set_feature(g, NVME_FEATURE_INTERRUPT_VECTOR, 65),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(set_feature(g, NVME_FEATURE_WRITE_ATOMICITY, 1), 0);
	assert_int_equal(get_feature(g, NVME_FEATURE_WRITE_ATOMICITY, 0, 0), 1);
	assert_int_equal(get_feature(g, NVME_FEATURE_VOLATILE_WRITE_CACHE, 0, 0), 1);
	assert_int_equal(set_feature(g, NVME_FEATURE_VOLATILE_WRITE_CACHE, 0), 0);
	assert_int_equal(get_feature(g, NVME_FEATURE_VOLATILE_WRITE_CACHE, 0, 0), 0);
	assert_int_equal(set_feature(g, 0x7f, 0), NVME_STATUS_INVALID_FIELD);
	assert_int_equal(set_feature(g, 0, 0), NVME_STATUS_INVALID_FIELD);
	assert_int_equal(admin(g, NVME_ADMIN_GET_FEATURES, 4 << 8 | 1, 0, NULL),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(set_feature(g, NVME_FEATURE_SAVE | NVME_FEATURE_ARBITRATION, 0),
			 NVME_STATUS_FEATURE_NOT_SAVEABLE);
}

static void features_belong_to_the_controller_or_the_namespace(void **state)
{
	struct nvme_command command = guest_admin(NVME_ADMIN_SET_FEATURES,
						  NVME_FEATURE_ARBITRATION, 1, 0);

	command.nsid = le32_of(1);
	assert_int_equal(guest_execute(*state, 0, command, NULL),
			 NVME_STATUS_FEATURE_NOT_PER_NAMESPACE);
	command.nsid = le32_of(9);
	assert_int_equal(guest_execute(*state, 0, command, NULL), NVME_STATUS_INVALID_NAMESPACE);
	command.cdw10 = le32_of(NVME_FEATURE_ERROR_RECOVERY);
	assert_int_equal(guest_execute(*state, 0, command, NULL), NVME_STATUS_INVALID_NAMESPACE);
	command.nsid = le32_of(1);
	assert_int_equal(guest_execute(*state, 0, command, NULL), NVME_STATUS_SUCCESS);
}

/* --- log pages -------------------------------------------------------------------------- */

static uint16_t get_log(struct guest *g, uint32_t id, uint32_t size, uint64_t offset, void *data)
{
	struct nvme_command command = guest_admin(NVME_ADMIN_GET_LOG_PAGE,
						  (size / 4 - 1) << 16 | id, 0, DATA);
	uint16_t status;

	command.nsid = le32_of(NVME_NSID_ALL);
	command.cdw12 = le32_of((uint32_t)offset);
	command.cdw13 = le32_of((uint32_t)(offset >> 32));
	memset(guest_page(g, GUEST_DATA_PAGE), 0xee, PAGE_SIZE);
	status = guest_execute(g, 0, command, NULL);
	if (!status)
		guest_load(g, DATA, data, MIN(size, PAGE_SIZE));
	return status;
}

static void smart_log_counts_commands(void **state)
{
	struct guest *g = *state;
	struct nvme_smart_log log;

	for (unsigned i = 0; i < 3; i++) {
		guest_execute(g, 1, guest_rw(g, NVME_IO_WRITE, 0, 8, GUEST_DATA_PAGE), NULL);
		guest_execute(g, 1, guest_rw(g, NVME_IO_READ, 0, 8, GUEST_DATA_PAGE), NULL);
	}
	assert_int_equal(get_log(g, NVME_LOG_SMART, sizeof(log), 0, &log), NVME_STATUS_SUCCESS);
	assert_int_equal(log.temperature[0] | log.temperature[1] << 8, 0x137);
	assert_int_equal(log.critical_warning, 0);
	assert_int_equal(log.available_spare, 100);
	assert_int_equal(le64_get(log.host_reads[0]), 3);
	assert_int_equal(le64_get(log.host_writes[0]), 3);
	assert_int_equal(le64_get(log.data_units_read[0]), 1);
	assert_int_equal(le64_get(log.media_errors[0]), 0);
}

static void other_logs_say_what_the_controller_has(void **state)
{
	struct nvme_firmware_log firmware;
	struct nvme_commands_log commands;
	struct nvme_error_entry errors[64];

	assert_int_equal(get_log(*state, NVME_LOG_FIRMWARE, sizeof(firmware), 0, &firmware), 0);
	assert_int_equal(firmware.active, 1);
	assert_memory_equal(firmware.revision[0], "1       ", 8);
	assert_int_equal(get_log(*state, NVME_LOG_COMMANDS, sizeof(commands), 0, &commands), 0);
	assert_int_equal(le32_get(commands.admin[NVME_ADMIN_IDENTIFY]), 1);
	assert_int_equal(le32_get(commands.io[NVME_IO_WRITE]), 3);
	assert_int_equal(le32_get(commands.io[0x7f]), 0);
	assert_int_equal(get_log(*state, NVME_LOG_ERROR, sizeof(errors), 0, errors), 0);
	assert_int_equal(le64_get(errors[0].count), 0);
}

static void log_pages_are_read_in_part_and_never_past_their_end(void **state)
{
	struct nvme_commands_log commands;
	uint8_t part[4096];

	assert_int_equal(get_log(*state, NVME_LOG_COMMANDS, sizeof(commands), 0, &commands), 0);
	assert_int_equal(get_log(*state, NVME_LOG_COMMANDS, 16, 1024, part), 0);
	assert_memory_equal(part, (uint8_t *)&commands + 1024, 16);
	assert_int_equal(guest_page(*state, GUEST_DATA_PAGE)[16], 0xee);
	/* Asks for more than there is. */
	assert_int_equal(get_log(*state, NVME_LOG_SMART, 4096, 256, part), 0);
	assert_int_equal(guest_page(*state, GUEST_DATA_PAGE)[256], 0xee);
	assert_int_equal(get_log(*state, NVME_LOG_SMART, 4, 512, part),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(get_log(*state, NVME_LOG_SMART, 4, 2, part), NVME_STATUS_INVALID_FIELD);
	assert_int_equal(get_log(*state, NVME_LOG_SMART, 4, UINT64_MAX - 3, part),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(get_log(*state, 0x70, 4, 0, part), NVME_STATUS_LOG_PAGE_INVALID);
}

/* --- asynchronous events ---------------------------------------------------------------------- */

static struct nvme_command async_request(void)
{
	return guest_admin(NVME_ADMIN_ASYNC_EVENT_REQUEST, 0, 0, 0);
}

static void doorbells_of_no_queue_are_events(void **state)
{
	struct guest *g = *state;
	uint16_t cid = guest_submit(g, 0, async_request());
	struct nvme_completion completion;

	assert_false(guest_peek(g, 0, &completion));
	guest_ring_sq(g, 5, 1);
	completion = guest_wait(g, 0);
	assert_int_equal(le16_get(completion.cid), cid);
	assert_int_equal(le32_get(completion.result), NVME_LOG_ERROR << 16);
}

static void doorbell_values_past_the_queue_are_events(void **state)
{
	struct guest *g = *state;
	struct nvme_completion completion;

	guest_submit(g, 0, async_request());
	guest_ring_sq(g, 1, GUEST_ENTRIES);
	completion = guest_wait(g, 0);
	assert_int_equal(le32_get(completion.result), NVME_LOG_ERROR << 16 | 1 << 8);
	/* The queue goes on. */
	assert_int_equal(guest_execute(g, 1, guest_rw(g, NVME_IO_READ, 0, 1, GUEST_DATA_PAGE),
				       NULL),
			 NVME_STATUS_SUCCESS);
}

static void an_event_is_masked_until_its_log_is_read(void **state)
{
	struct guest *g = *state;
	struct nvme_completion completion;
	struct nvme_error_entry entry;

	guest_submit(g, 0, async_request());
	guest_submit(g, 0, async_request());
	guest_ring_sq(g, 5, 1);
	guest_wait(g, 0);
	guest_ring_sq(g, 5, 1);
	assert_false(guest_peek(g, 0, &completion));
	/* With "retain", still masked. */
	get_log(g, NVME_LOG_RETAIN_EVENT | NVME_LOG_ERROR, sizeof(entry), 0, &entry);
	guest_ring_sq(g, 5, 1);
	assert_false(guest_peek(g, 0, &completion));
	get_log(g, NVME_LOG_ERROR, sizeof(entry), 0, &entry);
	guest_ring_sq(g, 5, 1);
	completion = guest_wait(g, 0);
	assert_int_equal(le32_get(completion.result), NVME_LOG_ERROR << 16);
}

static void events_wait_for_a_request(void **state)
{
	struct guest *g = *state;
	struct nvme_completion completion;

	guest_ring_cq(g, 9, 1);
	guest_submit(g, 0, async_request());
	completion = guest_wait(g, 0);
	assert_int_equal(le32_get(completion.result), NVME_LOG_ERROR << 16);
}

static void temperature_over_the_threshold_is_an_event_if_wanted(void **state)
{
	struct guest *g = *state;
	struct nvme_completion completion;
	struct nvme_smart_log log;
	uint16_t cid = guest_submit(g, 0, async_request());

	assert_int_equal(set_feature(g, NVME_FEATURE_TEMPERATURE_THRESHOLD, 300), 0);
	assert_false(guest_peek(g, 0, &completion));
	guest_submit(g, 0, guest_admin(NVME_ADMIN_SET_FEATURES, NVME_FEATURE_ASYNC_EVENTS,
				       NVME_SMART_WARNING_TEMPERATURE, 0));
	completion = guest_wait(g, 0);
	assert_int_not_equal(le16_get(completion.cid), cid);
	completion = guest_wait(g, 0);
	assert_int_equal(le16_get(completion.cid), cid);
	assert_int_equal(le32_get(completion.result), NVME_LOG_SMART << 16 | 1 << 8 | 1);
	get_log(g, NVME_LOG_SMART, sizeof(log), 0, &log);
	assert_int_equal(log.critical_warning, NVME_SMART_WARNING_TEMPERATURE);
}

static void too_many_event_requests_are_refused(void **state)
{
	struct guest *g = *state;

	for (unsigned i = 0; i < 4; i++)
		guest_submit(g, 0, async_request());
	assert_int_equal(guest_execute(g, 0, async_request(), NULL), NVME_STATUS_ASYNC_LIMIT);
}

/* --- abort --------------------------------------------------------------------------------- */

static void abort_ends_an_event_request(void **state)
{
	struct guest *g = *state;
	uint16_t cid = guest_submit(g, 0, async_request());
	uint16_t abort_cid = guest_submit(g, 0, guest_admin(NVME_ADMIN_ABORT,
							    (uint32_t)cid << 16, 0, 0));
	bool seen_abort = false, seen_request = false;

	for (unsigned i = 0; i < 2; i++) {
		struct nvme_completion completion = guest_wait(g, 0);

		if (le16_get(completion.cid) == cid) {
			seen_request = true;
			assert_int_equal(guest_status(&completion), NVME_STATUS_ABORT_REQUESTED);
		} else {
			seen_abort = true;
			assert_int_equal(le16_get(completion.cid), abort_cid);
			assert_int_equal(le32_get(completion.result) & 1, 0);
		}
	}
	assert_true(seen_abort && seen_request);
}

static void abort_of_an_unknown_command_says_not_aborted(void **state)
{
	uint32_t result;

	assert_int_equal(admin(*state, NVME_ADMIN_ABORT, 0x7777u << 16 | 1, 0, &result), 0);
	assert_int_equal(result & 1, 1);
	assert_int_equal(admin(*state, NVME_ADMIN_ABORT, 0x7777u << 16 | 0, 0, &result), 0);
	assert_int_equal(result & 1, 1);
	assert_int_equal(admin(*state, NVME_ADMIN_ABORT, 0x7777u << 16 | 2, 0, NULL),
			 NVME_STATUS_INVALID_FIELD);
	assert_int_equal(admin(*state, NVME_ADMIN_ABORT, 0xffff, 0, NULL),
			 NVME_STATUS_INVALID_FIELD);
}

/* --- queues ----------------------------------------------------------------------------------- */

static void unknown_admin_commands_are_refused(void **state)
{
	struct nvme_completion completion;
	struct nvme_command command = guest_admin(0x7f, 0, 0, 0);

	assert_int_equal(guest_execute(*state, 0, command, NULL), NVME_STATUS_INVALID_OPCODE);
	guest_submit(*state, 0, command);
	completion = guest_wait(*state, 0);
	assert_int_equal(le16_get(completion.status) >> 1 & NVME_STATUS_DNR, NVME_STATUS_DNR);
	command = guest_admin(NVME_ADMIN_IDENTIFY, 1, 0, DATA);
	command.flags = NVME_PSDT_SGL_MPTR_BUFFER << 6;
	assert_int_equal(guest_execute(*state, 0, command, NULL), NVME_STATUS_INVALID_FIELD);
	command.flags = 1; /* fused */
	assert_int_equal(guest_execute(*state, 0, command, NULL), NVME_STATUS_INVALID_FIELD);
}

static void bad_completion_queues_are_refused(void **state)
{
	struct guest *g = *state;
	struct nvme_command command;

	assert_int_equal(guest_execute(g, 0, guest_create_cq(0, 16, 0, DATA), NULL),
			 NVME_STATUS_QID_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_cq(65, 16, 0, DATA), NULL),
			 NVME_STATUS_QID_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_cq(1, 16, 0, DATA), NULL),
			 NVME_STATUS_QID_INVALID); /* exists */
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, 1, 0, DATA), NULL),
			 NVME_STATUS_QUEUE_SIZE_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, 1025, 0, DATA), NULL),
			 NVME_STATUS_QUEUE_SIZE_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, 16, 65, DATA), NULL),
			 NVME_STATUS_VECTOR_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, 16, 0, DATA + 64), NULL),
			 NVME_STATUS_PRP_OFFSET_INVALID);
	command = guest_create_cq(2, 16, 0, DATA);
	command.cdw11 = le32_of(NVME_CQ_INTERRUPTS);
	assert_int_equal(guest_execute(g, 0, command, NULL), NVME_STATUS_INVALID_FIELD);
}

static void bad_submission_queues_are_refused(void **state)
{
	struct guest *g = *state;

	assert_int_equal(guest_execute(g, 0, guest_create_sq(0, 16, 1, DATA), NULL),
			 NVME_STATUS_QID_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(65, 16, 1, DATA), NULL),
			 NVME_STATUS_QID_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(1, 16, 1, DATA), NULL),
			 NVME_STATUS_QID_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, 16, 0, DATA), NULL),
			 NVME_STATUS_CQ_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, 16, 2, DATA), NULL),
			 NVME_STATUS_CQ_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, 16, 0xffff, DATA), NULL),
			 NVME_STATUS_CQ_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, 1, 1, DATA), NULL),
			 NVME_STATUS_QUEUE_SIZE_INVALID);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, 16, 1, DATA + 8), NULL),
			 NVME_STATUS_PRP_OFFSET_INVALID);
}

static void queues_need_entry_sizes(void **state)
{
	struct guest *g = *state;

	guest_write_register(g, NVME_REG_CC, 4, NVME_CC_EN);
	assert_int_equal(guest_execute(g, 0, guest_create_cq(1, 16, 1, DATA), NULL),
			 NVME_STATUS_INVALID_FIELD);
}

static void deleted_queues_are_gone_and_can_be_made_again(void **state)
{
	struct guest *g = *state;

	assert_int_equal(admin(g, NVME_ADMIN_DELETE_CQ, 1, 0, NULL),
			 NVME_STATUS_QUEUE_DELETION_INVALID);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_SQ, 1, 0, NULL), NVME_STATUS_SUCCESS);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_SQ, 1, 0, NULL), NVME_STATUS_QID_INVALID);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_CQ, 1, 0, NULL), NVME_STATUS_SUCCESS);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_CQ, 1, 0, NULL), NVME_STATUS_QID_INVALID);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_SQ, 0, 0, NULL), NVME_STATUS_QID_INVALID);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_CQ, 0, 0, NULL), NVME_STATUS_QID_INVALID);
	assert_int_equal(admin(g, NVME_ADMIN_DELETE_SQ, 0xffff, 0, NULL),
			 NVME_STATUS_QID_INVALID);
	guest_create_queues(g, 1);
	assert_int_equal(guest_execute(g, 1, guest_rw(g, NVME_IO_READ, 0, 1, GUEST_DATA_PAGE),
				       NULL),
			 NVME_STATUS_SUCCESS);
}

static void sixty_four_queues_work_each_with_its_vector(void **state)
{
	struct guest *g = *state;

	guest_create_queues(g, 64);
	for (unsigned id = 1; id <= 64; id++) {
		unsigned before = guest_interrupts(g, id);

		assert_int_equal(guest_execute(g, id,
					       guest_rw(g, NVME_IO_READ, id, 1, GUEST_DATA_PAGE),
					       NULL),
				 NVME_STATUS_SUCCESS);
		/* The entry is visible before the interrupt is raised. */
		while (guest_interrupts(g, id) == before)
			;
		assert_int_equal(guest_interrupts(g, id), before + 1);
	}
}

static void queues_without_interrupts_raise_none(void **state)
{
	struct guest *g = *state;
	struct nvme_command command = guest_create_cq(1, GUEST_ENTRIES, 1, guest_bus(12));

	guest_create_queues(g, 1);
	admin(g, NVME_ADMIN_DELETE_SQ, 1, 0, NULL);
	admin(g, NVME_ADMIN_DELETE_CQ, 1, 0, NULL);
	command.cdw11 = le32_of(1 << 16 | NVME_QUEUE_CONTIGUOUS);
	assert_int_equal(guest_execute(g, 0, command, NULL), NVME_STATUS_SUCCESS);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(1, GUEST_ENTRIES, 1, guest_bus(8)),
				       NULL),
			 NVME_STATUS_SUCCESS);
	assert_int_equal(guest_execute(g, 1, guest_rw(g, NVME_IO_FLUSH, 0, 1, GUEST_DATA_PAGE),
				       NULL),
			 NVME_STATUS_SUCCESS);
	/* Another queue's interrupt comes after any of that one. */
	assert_int_equal(admin(g, NVME_ADMIN_ABORT, 1, 0, NULL), 0);
	assert_int_equal(guest_interrupts(g, 1), 0);
}

static void admin_queue_wraps(void **state)
{
	struct guest *g = *state;

	for (unsigned i = 0; i < 5 * GUEST_ENTRIES; i++)
		assert_int_equal(set_feature(g, NVME_FEATURE_ARBITRATION, i), 0);
	assert_int_equal(get_feature(g, NVME_FEATURE_ARBITRATION, 0, 0), 5 * GUEST_ENTRIES - 1);
}

#define TEST(f, s) cmocka_unit_test_setup_teardown(f, s, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(capabilities_say_what_the_controller_can_do, setup),
		TEST(admin_queue_registers_keep_what_is_written, setup),
		TEST(enabling_makes_it_ready_and_disabling_unready, setup),
		TEST(enabling_without_queues_is_fatal_until_disabled, setup),
		TEST(enabling_with_what_is_not_supported_is_fatal, setup),
		TEST(shutdown_completes_and_ends_with_a_reset, setup_started),
		TEST(shutdown_of_a_disabled_controller_completes, setup),
		TEST(queues_off_the_bus_are_fatal_until_reset, setup_enabled),
		TEST(function_reset_returns_to_power_on, setup_started),
		TEST(identify_controller_describes_a_1_4_controller, setup_enabled),
		TEST(identify_namespace_tells_the_size, setup_enabled),
		cmocka_unit_test(identify_namespace_shows_write_protection),
		TEST(identify_lists_the_only_namespace, setup_enabled),
		TEST(identify_lists_descriptors_of_the_namespace, setup_enabled),
		TEST(identify_refuses_what_is_not_there, setup_enabled),
		TEST(identify_spans_two_pages, setup_enabled),
		TEST(two_devices_have_two_identities, setup_enabled),
		TEST(simple_features_are_kept_until_the_next_enable, setup_enabled),
		TEST(number_of_queues_is_64_until_one_is_made, setup_enabled),
		TEST(other_features_check_their_values, setup_enabled),
		TEST(features_belong_to_the_controller_or_the_namespace, setup_enabled),
		TEST(smart_log_counts_commands, setup_started),
		TEST(other_logs_say_what_the_controller_has, setup_enabled),
		TEST(log_pages_are_read_in_part_and_never_past_their_end, setup_enabled),
		TEST(doorbells_of_no_queue_are_events, setup_started),
		TEST(doorbell_values_past_the_queue_are_events, setup_started),
		TEST(an_event_is_masked_until_its_log_is_read, setup_started),
		TEST(events_wait_for_a_request, setup_started),
		TEST(temperature_over_the_threshold_is_an_event_if_wanted, setup_enabled),
		TEST(too_many_event_requests_are_refused, setup_enabled),
		TEST(abort_ends_an_event_request, setup_enabled),
		TEST(abort_of_an_unknown_command_says_not_aborted, setup_started),
		TEST(unknown_admin_commands_are_refused, setup_enabled),
		TEST(bad_completion_queues_are_refused, setup_started),
		TEST(bad_submission_queues_are_refused, setup_started),
		TEST(queues_need_entry_sizes, setup_enabled),
		TEST(deleted_queues_are_gone_and_can_be_made_again, setup_started),
		TEST(sixty_four_queues_work_each_with_its_vector, setup_enabled),
		TEST(queues_without_interrupts_raise_none, setup_enabled),
		TEST(admin_queue_wraps, setup_enabled),
	};

	return cmocka_run_group_tests_name("nvme admin", tests, NULL, NULL);
}
