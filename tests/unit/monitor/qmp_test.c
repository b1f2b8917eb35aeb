/* SPDX-License-Identifier: MIT */
/* The monitor's protocol: what is answered to what, without a socket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "fake_machine.h"
#include "monitor/json_stream.h"
#include "monitor/qmp.h"

struct session {
	struct machine machine;
	struct qmp *qmp;
	json_t *said; /* the lines, in order */
};

static void on_line(void *opaque, const char *line, size_t length)
{
	struct session *session = opaque;

	/* One line, ASCII, and JSON. */
	assert_true(length > 2 && !memcmp(line + length - 2, "\r\n", 2));
	for (size_t i = 0; i < length - 2; i++)
		assert_in_range(line[i], 0x20, 0x7f);
	json_array_append_new(session->said, json_loadb(line, length, 0, NULL));
}

static int set_up(void **state)
{
	struct session *session = calloc(1, sizeof(*session));

	session->said = json_array();
	session->qmp = qmp_create(&session->machine, on_line, session);
	*state = session;
	return session->qmp ? 0 : -1;
}

static int tear_down(void **state)
{
	struct session *session = *state;

	qmp_destroy(session->qmp);
	json_decref(session->said);
	free(session);
	return 0;
}

static void feed(struct session *session, const char *data, size_t length)
{
	while (length) {
		size_t taken = qmp_input(session->qmp, data, length);

		assert_in_range(taken, 1, length);
		data += taken;
		length -= taken;
	}
}

/* How many lines were said in answer to a text; they are in session->said. */
static size_t say(struct session *session, const char *text)
{
	json_array_clear(session->said);
	feed(session, text, strlen(text));
	return json_array_size(session->said);
}

static json_t *ask(struct session *session, const char *text)
{
	if (say(session, text) != 1)
		fail_msg("%zu answers to %s", json_array_size(session->said), text);
	return json_array_get(session->said, 0);
}

static void expect_error(struct session *session, const char *text, const char *error_class,
			 const char *part)
{
	json_t *error = json_object_get(ask(session, text), "error");

	assert_non_null(error);
	assert_string_equal(json_string_value(json_object_get(error, "class")), error_class);
	if (!strstr(json_string_value(json_object_get(error, "desc")), part))
		fail_msg("%s: \"%s\" does not contain \"%s\"", text,
			 json_string_value(json_object_get(error, "desc")), part);
}

static json_t *expect_return(struct session *session, const char *text)
{
	json_t *result = json_object_get(ask(session, text), "return");

	if (!result)
		fail_msg("%s: an error", text);
	return result;
}

static struct session *negotiated(void **state)
{
	struct session *session = *state;

	expect_return(session, "{\"execute\":\"qmp_capabilities\"}");
	return session;
}

/* --------------------------------------------------------------------------------------- */

static void a_client_is_greeted_and_must_negotiate_first(void **state)
{
	struct session *session = *state;
	json_t *greeting = json_object_get(json_array_get(session->said, 0), "QMP");

	assert_true(json_is_array(json_object_get(greeting, "capabilities")));
	assert_true(json_is_object(json_object_get(greeting, "version")));
	expect_error(session, "{\"execute\":\"stop\"}", "CommandNotFound", "Expecting capabilities");
	assert_false(qmp_wants_events(session->qmp));
	expect_error(session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
		     "GenericError", "does not accept value 'oob'");
	expect_return(session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}");
	assert_true(qmp_wants_events(session->qmp));
	expect_error(session, "{\"execute\":\"qmp_capabilities\"}", "CommandNotFound",
		     "already complete");
	assert_string_equal(session->machine.record, "");
}

static void an_id_of_any_kind_comes_back(void **state)
{
	static const char *const ids[] = { "null", "1", "\"a\\u00e4\"", "[1, {\"b\": 2}]", "{}",
					   "1.5", "true" };
	struct session *session = negotiated(state);

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		json_t *id = json_loads(ids[i], JSON_DECODE_ANY, NULL);
		char text[200];

		snprintf(text, sizeof(text), "{\"execute\":\"query-status\",\"id\":%s}", ids[i]);
		assert_true(json_equal(json_object_get(ask(session, text), "id"), id));
		snprintf(text, sizeof(text), "{\"id\":%s,\"execute\":\"x\"}", ids[i]);
		assert_true(json_equal(json_object_get(ask(session, text), "id"), id));
		json_decref(id);
	}
	assert_null(json_object_get(ask(session, "{\"execute\":\"query-status\"}"), "id"));
}

static void input_may_be_cut_anywhere(void **state)
{
	struct session *session = negotiated(state);
	const char *text = " {\"execute\" :\n\"query-status\", \"id\": \"}{\\\"\\\\\"}\t{\"execute\":\"stop\"}";

	json_array_clear(session->said);
	for (size_t i = 0; text[i]; i++)
		assert_int_equal(qmp_input(session->qmp, text + i, 1), 1);
	assert_int_equal(json_array_size(session->said), 2);
	assert_string_equal(session->machine.record, "pause ");
	/* And as one piece, of which one command is taken at a time. */
	assert_int_equal(qmp_input(session->qmp, text, strlen(text)), strcspn(text, "\t"));
}

static void what_is_no_command_is_answered_by_one_error(void **state)
{
	static const struct {
		const char *text, *part;
	} wrong[] = {
		{ "[]", "must be a JSON object" },
		{ "1\n", "must be a JSON object" },
		{ "nonsense\n", "JSON parse error" },
		{ "}\n", "stray '}'" },
		{ "\"{\n", "JSON parse error" },
		{ "{\"a\":\"\n", "stray byte 0x0a" },
		{ "{\"a\":\"\\u0000\"}", "JSON parse error" },
		{ "{\"a\":\"\xff", "stray byte 0xff" },
		{ "{\"\xc3\x28\":1}", "JSON parse error" },
		{ "{\"id\":99999999999999999999}", "JSON parse error" },
		{ "{\"id\":1e999}", "JSON parse error" },
		{ "{\"execute\":\"stop\",\"execute\":\"stop\"}", "duplicate" },
		{ "{]", "JSON parse error" },
		{ "{}", "lacks member 'execute'" },
		{ "{\"execute\":null}", "'execute' must be a string" },
		{ "{\"execute\":\"stop\",\"arguments\":[]}", "'arguments' must be an object" },
		{ "{\"execute\":\"stop\",\"control\":{}}", "'control' is unexpected" },
		{ "{\"exec-oob\":\"stop\"}", "'exec-oob' is unexpected" },
		{ "{\"execute\":\"stop\",\"arguments\":{\"now\":true}}", "'now' is unexpected" },
	};
	struct session *session = negotiated(state);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		expect_error(session, wrong[i].text, "GenericError", wrong[i].part);
		say(session, "\n");
		expect_return(session, "{\"execute\":\"query-status\"}");
	}
	assert_string_equal(session->machine.record, "");
	expect_error(session, "{\"execute\":\"%s%n\"}", "CommandNotFound", "The command %s%n has");
}

static void too_much_is_answered_by_one_error_and_dropped(void **state)
{
	static char text[3 * JSON_STREAM_LENGTH_MAX];
	struct session *session = negotiated(state);

	for (int i = 0; i < 3; i++) {
		memset(text, i == 2 ? '[' : 'x', sizeof(text) - 1);
		if (i == 1)
			memcpy(text, "{\"id\":\"", 7);
		text[sizeof(text) - 1] = '\0';
		expect_error(session, text, "GenericError", i == 2 ? "depth limit" : "size limit");
		assert_int_equal(say(session, "\n"), 0);
		expect_return(session, "{\"execute\":\"query-status\"}");
	}
	/* What just fits is a value: one byte more than all but the closing quote and brace. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "{\"id\":\"", 7);
	strcpy(text + JSON_STREAM_LENGTH_MAX - 2, "\"}");
	expect_error(session, text, "GenericError", "lacks member");
	memset(text + JSON_STREAM_LENGTH_MAX - 2, 'x', 1);
	strcpy(text + JSON_STREAM_LENGTH_MAX - 1, "\"}");
	expect_error(session, text, "GenericError", "size limit");
}

static void the_byte_ff_brings_both_sides_together(void **state)
{
	struct session *session = negotiated(state);

	assert_int_equal(say(session, "{\"execute\":\"sto"), 0);
	assert_int_equal(say(session, "\xff{\"execute\":\"query-status\"}"), 2);
	assert_non_null(json_object_get(json_array_get(session->said, 0), "error"));
	assert_non_null(json_object_get(json_array_get(session->said, 1), "return"));
}

static void run_control_reaches_the_machine(void **state)
{
	struct session *session = negotiated(state);
	json_t *status;

	for (const char *const *name = (const char *const[]){ "stop", "cont", "system_reset",
							      "system_powerdown", "quit", NULL };
	     *name; name++) {
		char text[64];

		snprintf(text, sizeof(text), "{\"execute\":\"%s\"}", *name);
		assert_int_equal(json_object_size(expect_return(session, text)), 0);
	}
	assert_string_equal(session->machine.record, "pause resume reset power-down quit ");
	session->machine.state = MACHINE_PAUSED;
	status = expect_return(session, "{\"execute\":\"query-status\"}");
	assert_string_equal(json_string_value(json_object_get(status, "status")), "paused");
	assert_true(json_is_false(json_object_get(status, "running")));
}

static void a_device_is_added_by_the_table_of_properties(void **state)
{
	struct session *session = negotiated(state);

	expect_return(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\","
			       "\"id\":\"n1\",\"file\":\"/a,b\",\"uid\":7,\"readonly\":true}}");
	expect_return(session, "{\"execute\":\"device_add\",\"arguments\":{\"file\":\"c\","
			       "\"driver\":\"nvme\",\"uid\":\"0x10\",\"readonly\":\"off\"}}");
	assert_string_equal(session->machine.record, "add(nvme,n1,/a,b,7,1) add(nvme,,c,16,0) ");
	expect_error(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":1}}",
		     "GenericError", "Invalid parameter type for 'driver', expected: string");
	expect_error(session, "{\"execute\":\"device_add\"}", "GenericError",
		     "Parameter 'driver' is missing");
	expect_error(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"x\"}}",
		     "GenericError", "'x' is not a valid device model name");
	expect_error(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\",\"x\":1}}",
		     "GenericError", "Property 'nvme.x' not found");
	expect_error(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\",\"file\":1.5}}",
		     "GenericError", "'file' expects");
	expect_error(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\",\"file\":\"\"}}",
		     "GenericError", "wants the name of a file");
	session->machine.answer = -EIO;
	expect_error(session, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\",\"file\":\"d\"}}",
		     "GenericError", "it \"failed\"");
}

static void a_device_is_deleted_by_request_or_force(void **state)
{
	struct session *session = negotiated(state);

	expect_return(session, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"a\"}}");
	expect_return(session, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"b\",\"force\":true}}");
	assert_string_equal(session->machine.record, "del(a,0) del(b,1) ");
	session->machine.answer = -ENOENT;
	expect_error(session, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"c\"}}",
		     "DeviceNotFound", "Device 'c' not found");
	expect_error(session, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"c\",\"force\":1}}",
		     "GenericError", "'force', expected: boolean");
}

static void errors_on_purpose_are_checked_and_passed_on(void **state)
{
	struct session *session = negotiated(state);

	expect_return(session, "{\"execute\":\"x-zpci-inject-error\",\"arguments\":{\"id\":\"a\","
			       "\"code\":59,\"address\":4096}}");
	expect_return(session, "{\"execute\":\"x-zpci-fail-translation\",\"arguments\":{\"id\":\"a\"}}");
	assert_string_equal(session->machine.record, "error(a,0x3b,0x1000) fail(a,0x7,1) ");
	expect_error(session, "{\"execute\":\"x-zpci-inject-error\",\"arguments\":{\"id\":\"a\","
			      "\"code\":65536}}", "GenericError", "'code' expects");
	expect_error(session, "{\"execute\":\"x-zpci-fail-translation\",\"arguments\":{\"id\":\"a\","
			      "\"count\":-1}}", "GenericError", "'count' expects");
	session->machine.answer = -EBUSY;
	expect_error(session, "{\"execute\":\"x-zpci-inject-error\",\"arguments\":{\"id\":\"a\","
			      "\"code\":1}}", "GenericError", "not in a state");
	session->machine.answer = -ENOENT;
	expect_error(session, "{\"execute\":\"x-zpci-inject-error\",\"arguments\":{\"id\":\"a\","
			      "\"code\":1}}", "DeviceNotFound", "'a' not found");
}

static void functions_are_listed_in_order(void **state)
{
	struct session *session = negotiated(state);
	json_t *buses, *first;

	buses = expect_return(session, "{\"execute\":\"query-pci\"}");
	assert_int_equal(json_array_size(buses), 1);
	assert_int_equal(json_array_size(json_object_get(json_array_get(buses, 0), "devices")), 0);
	session->machine.functions = 70;
	buses = expect_return(session, "{\"execute\":\"query-pci\"}");
	assert_int_equal(json_array_size(buses), 3);
	assert_int_equal(json_array_size(json_object_get(json_array_get(buses, 1), "devices")), 32);
	assert_int_equal(json_array_size(json_object_get(json_array_get(buses, 2), "devices")), 6);
	first = json_array_get(json_object_get(json_array_get(buses, 0), "devices"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "qdev_id")), "one");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "id"), "device")),
			 0x5678);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "class_info"),
							    "class")), 0x108);
	first = json_array_get(json_object_get(first, "regions"), 0);
	assert_int_equal(json_integer_value(json_object_get(first, "size")), 0x4000);
	assert_true(json_is_true(json_object_get(first, "mem_type_64")));
}

static void every_event_is_a_line_of_its_name(void **state)
{
	static const struct {
		enum machine_event_kind kind;
		const char *name, *data;
	} events[] = {
		{ MACHINE_EVENT_PAUSED, "STOP", NULL },
		{ MACHINE_EVENT_RESUMED, "RESUME", NULL },
		{ MACHINE_EVENT_POWER_DOWN, "POWERDOWN", NULL },
		{ MACHINE_EVENT_RESET, "RESET", "{\"guest\":true,\"reason\":\"why\"}" },
		{ MACHINE_EVENT_SHUT_DOWN, "SHUTDOWN", "{\"guest\":true,\"reason\":\"why\"}" },
		{ MACHINE_EVENT_CRASHED, "GUEST_PANICKED",
		  "{\"action\":\"poweroff\",\"info\":{\"type\":\"s390\",\"core\":2,\"psw-mask\":-1,"
		  "\"psw-addr\":4095,\"reason\":\"why\"}}" },
		{ MACHINE_EVENT_DEVICE_DELETED, "DEVICE_DELETED",
		  "{\"device\":\"d\",\"path\":\"/p\"}" },
		{ MACHINE_EVENT_UNPLUG_REFUSED, "DEVICE_UNPLUG_GUEST_ERROR",
		  "{\"device\":\"d\",\"path\":\"/p\"}" },
	};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		const struct machine_event event = {
			.kind = events[i].kind,
			.by_guest = true,
			.reason = "why",
			.cpu = 2,
			.psw_mask = UINT64_MAX,
			.psw_addr = 4095,
			.id = "d",
			.path = "/p",
		};
		char *line = qmp_event_line(&event);
		json_t *object = json_loads(line, 0, NULL), *data;

		data = events[i].data ? json_loads(events[i].data, 0, NULL) : NULL;
		assert_string_equal(json_string_value(json_object_get(object, "event")),
				    events[i].name);
		assert_int_equal(json_object_size(json_object_get(object, "timestamp")), 2);
		if (data)
			assert_true(json_equal(json_object_get(object, "data"), data));
		else
			assert_null(json_object_get(object, "data"));
		json_decref(data);
		json_decref(object);
		free(line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_client_is_greeted_and_must_negotiate_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_id_of_any_kind_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(input_may_be_cut_anywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_command_is_answered_by_one_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(too_much_is_answered_by_one_error_and_dropped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_byte_ff_brings_both_sides_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(run_control_reaches_the_machine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_device_is_added_by_the_table_of_properties, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_device_is_deleted_by_request_or_force, set_up, tear_down),
		cmocka_unit_test_setup_teardown(errors_on_purpose_are_checked_and_passed_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(functions_are_listed_in_order, set_up, tear_down),
		cmocka_unit_test(every_event_is_a_line_of_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
