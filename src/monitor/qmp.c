/* SPDX-License-Identifier: MIT */
/* The QEMU Machine Protocol; see qmp.h. */
#include "monitor/qmp.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "machine/control.h"
#include "monitor/command.h"
#include "monitor/json_stream.h"

#define GENERIC_ERROR "GenericError"
#define COMMAND_NOT_FOUND "CommandNotFound"
#define CAPABILITIES "qmp_capabilities"

/* ASCII alone, so that no byte of the output needs to be looked at twice. */
#define OUTPUT_FLAGS (JSON_ENSURE_ASCII | JSON_REAL_PRECISION(17))

struct qmp {
	struct machine *machine;
	qmp_send *send;
	void *opaque;
	struct json_stream stream;
	bool negotiated;
};

void command_fail(struct command_error *error, const char *error_class, const char *format, ...)
{
	va_list args;

	error->error_class = error_class;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
}

/* --- output -------------------------------------------------------------------------- */

/* The object as a line; takes it over. NULL when out of memory. */
static char *line_of(json_t *object)
{
	char *text = object ? json_dumps(object, OUTPUT_FLAGS) : NULL;
	char *line = NULL;

	json_decref(object);
	if (text && asprintf(&line, "%s\r\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

static void send_object(struct qmp *qmp, json_t *object)
{
	char *line = line_of(object);

	if (line)
		qmp->send(qmp->opaque, line, strlen(line));
	free(line);
}

/* Texts come from clients and files: what is no UTF-8 is shown as '?'. */
static json_t *text_of(char *text)
{
	json_t *string = json_string(text);

	if (string)
		return string;
	for (char *c = text; *c; c++)
		if (*c & 0x80)
			*c = '?';
	return json_string(text);
}

static void send_error(struct qmp *qmp, struct command_error *error, json_t *id)
{
	json_t *reply = json_object();

	if (id)
		json_object_set(reply, "id", id);
	json_object_set_new(reply, "error",
			    json_pack("{s:s, s:o}", "class", error->error_class, "desc",
				      text_of(error->text)));
	send_object(qmp, reply);
}

static void send_return(struct qmp *qmp, json_t *result, json_t *id)
{
	json_t *reply = json_pack("{s:o}", "return", result ? result : json_object());

	if (id)
		json_object_set(reply, "id", id);
	send_object(qmp, reply);
}

/* --- commands -------------------------------------------------------------------------- */

static bool has_type(json_t *value, const struct command_argument *argument)
{
	switch (argument->type) {
	case ARGUMENT_STRING:
		return json_is_string(value);
	case ARGUMENT_BOOLEAN:
		return json_is_boolean(value);
	case ARGUMENT_INTEGER:
		return json_is_integer(value);
	}
	return false;
}

static const struct command_argument *find_argument(const struct command *command,
						    const char *name)
{
	for (const struct command_argument *a = command->arguments; a->name; a++)
		if (!strcmp(a->name, name))
			return a;
	return NULL;
}

static bool check_arguments(const struct command *command, json_t *arguments,
			    struct command_error *error)
{
	static const char *const type_names[] = {
		[ARGUMENT_STRING] = "string",
		[ARGUMENT_BOOLEAN] = "boolean",
		[ARGUMENT_INTEGER] = "integer",
	};
	const char *name;
	json_t *value;

	for (const struct command_argument *a = command->arguments; a->name; a++) {
		value = json_object_get(arguments, a->name);
		if (value && !has_type(value, a))
			command_fail(error, GENERIC_ERROR,
				     "Invalid parameter type for '%s', expected: %s", a->name,
				     type_names[a->type]);
		else if (!value && a->required)
			command_fail(error, GENERIC_ERROR, "Parameter '%s' is missing", a->name);
		if (error->error_class)
			return false;
	}
	json_object_foreach(arguments, name, value) {
		if (command->any_argument || find_argument(command, name))
			continue;
		command_fail(error, GENERIC_ERROR, "Parameter '%s' is unexpected", name);
		return false;
	}
	return true;
}

/* None of QEMU's capabilities is offered, but a client may ask for none of them. */
static void negotiate(struct qmp *qmp, json_t *arguments, struct command_error *error)
{
	json_t *value, *element;
	const char *name;
	size_t i;

	json_object_foreach(arguments, name, value) {
		if (strcmp(name, "enable")) {
			command_fail(error, GENERIC_ERROR, "Parameter '%s' is unexpected", name);
			return;
		}
		if (!json_is_array(value)) {
			command_fail(error, GENERIC_ERROR,
				     "Invalid parameter type for 'enable', expected: array");
			return;
		}
		json_array_foreach(value, i, element) {
			command_fail(error, GENERIC_ERROR,
				     "Parameter 'enable' does not accept value '%s'",
				     json_is_string(element) ? json_string_value(element) : "…");
			return;
		}
	}
	qmp->negotiated = true;
}

static json_t *list_commands(void)
{
	json_t *list = json_array();

	json_array_append_new(list, json_pack("{s:s}", "name", CAPABILITIES));
	json_array_append_new(list, json_pack("{s:s}", "name", "query-commands"));
	for (size_t i = 0; i < command_count; i++)
		json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
	return list;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < command_count; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* The two that are about the protocol are here, so that the table need not know it. */
static json_t *run_command(struct qmp *qmp, const char *name, json_t *arguments,
			   struct command_error *error)
{
	static const struct command no_arguments = { 0 };
	const struct command *command = find_command(name);

	if (!qmp->negotiated && strcmp(name, CAPABILITIES)) {
		command_fail(error, COMMAND_NOT_FOUND,
			     "Expecting capabilities negotiation with '" CAPABILITIES "'");
		return NULL;
	}
	if (!strcmp(name, CAPABILITIES)) {
		if (qmp->negotiated)
			command_fail(error, COMMAND_NOT_FOUND,
				     "Capabilities negotiation is already complete, command ignored");
		else
			negotiate(qmp, arguments, error);
		return NULL;
	}
	if (!strcmp(name, "query-commands"))
		return check_arguments(&no_arguments, arguments, error) ? list_commands() : NULL;
	if (!command) {
		command_fail(error, COMMAND_NOT_FOUND, "The command %s has not been found", name);
		return NULL;
	}
	if (!check_arguments(command, arguments, error))
		return NULL;
	return command->run(qmp->machine, arguments, error);
}

/* The command's name; NULL with an error when it is no command. */
static const char *check_request(json_t *request, struct command_error *error)
{
	const char *command = NULL, *name;
	json_t *value;

	json_object_foreach(request, name, value) {
		if (!strcmp(name, "execute")) {
			command = json_string_value(value);
			if (!command)
				command_fail(error, GENERIC_ERROR,
					     "QMP input member 'execute' must be a string");
		} else if (!strcmp(name, "arguments")) {
			if (!json_is_object(value))
				command_fail(error, GENERIC_ERROR,
					     "QMP input member 'arguments' must be an object");
		} else if (strcmp(name, "id")) {
			command_fail(error, GENERIC_ERROR, "QMP input member '%s' is unexpected",
				     name);
		}
		if (error->error_class)
			return NULL;
	}
	if (!command)
		command_fail(error, GENERIC_ERROR, "QMP input lacks member 'execute'");
	return command;
}

static void handle(struct qmp *qmp, const char *text, size_t length)
{
	struct command_error error = { 0 };
	json_t *request, *id = NULL, *result = NULL, *arguments;
	json_error_t problem;
	const char *name;

	request = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
	if (!request)
		command_fail(&error, GENERIC_ERROR, "JSON parse error, %s", problem.text);
	else if (!json_is_object(request))
		command_fail(&error, GENERIC_ERROR, "QMP input must be a JSON object");
	if (!error.error_class) {
		id = json_object_get(request, "id");
		name = check_request(request, &error);
		if (name) {
			arguments = json_object_get(request, "arguments");
			arguments = arguments ? json_incref(arguments) : json_object();
			result = run_command(qmp, name, arguments, &error);
			json_decref(arguments);
		}
	}
	if (error.error_class)
		send_error(qmp, &error, id);
	else
		send_return(qmp, result, id);
	json_decref(request);
}

static void complain(struct qmp *qmp, enum json_stream_found what, char byte)
{
	struct command_error error;

	if (what == JSON_STREAM_TOO_LONG)
		command_fail(&error, GENERIC_ERROR, "JSON token size limit exceeded");
	else if (what == JSON_STREAM_TOO_DEEP)
		command_fail(&error, GENERIC_ERROR, "JSON nesting depth limit exceeded");
	else if (byte >= 0x20 && byte < 0x7f)
		command_fail(&error, GENERIC_ERROR, "JSON parse error, stray '%c'", byte);
	else
		command_fail(&error, GENERIC_ERROR, "JSON parse error, stray byte 0x%02x",
			     (unsigned char)byte);
	send_error(qmp, &error, NULL);
}

size_t qmp_input(struct qmp *qmp, const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		enum json_stream_found found = json_stream_put(&qmp->stream, data[i]);

		if (found == JSON_STREAM_NOTHING)
			continue;
		if (found == JSON_STREAM_VALUE)
			handle(qmp, qmp->stream.text, qmp->stream.length);
		else
			complain(qmp, found, data[i]);
		return i + 1;
	}
	return length;
}

/* --- events ------------------------------------------------------------------------------ */

static json_t *event_data(const struct machine_event *event)
{
	json_t *data;

	switch (event->kind) {
	case MACHINE_EVENT_RESET:
	case MACHINE_EVENT_SHUT_DOWN:
		return json_pack("{s:b, s:s}", "guest", event->by_guest, "reason", event->reason);
	case MACHINE_EVENT_CRASHED:
		return json_pack("{s:s, s:{s:s, s:i, s:I, s:I, s:s}}", "action", "poweroff", "info",
				 "type", "s390", "core", (int)event->cpu, "psw-mask",
				 (json_int_t)event->psw_mask, "psw-addr",
				 (json_int_t)event->psw_addr, "reason", event->reason);
	case MACHINE_EVENT_DEVICE_DELETED:
	case MACHINE_EVENT_UNPLUG_REFUSED:
		data = json_object();
		if (*event->id)
			json_object_set_new(data, "device", json_string(event->id));
		json_object_set_new(data, "path", json_string(event->path));
		return data;
	default:
		return NULL;
	}
}

char *qmp_event_line(const struct machine_event *event)
{
	static const char *const names[] = {
		[MACHINE_EVENT_PAUSED] = "STOP",
		[MACHINE_EVENT_RESUMED] = "RESUME",
		[MACHINE_EVENT_RESET] = "RESET",
		[MACHINE_EVENT_POWER_DOWN] = "POWERDOWN",
		[MACHINE_EVENT_CRASHED] = "GUEST_PANICKED",
		[MACHINE_EVENT_SHUT_DOWN] = "SHUTDOWN",
		[MACHINE_EVENT_DEVICE_DELETED] = "DEVICE_DELETED",
		[MACHINE_EVENT_UNPLUG_REFUSED] = "DEVICE_UNPLUG_GUEST_ERROR",
	};
	json_t *data = event_data(event), *object;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	object = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
			   "microseconds", (json_int_t)(now.tv_nsec / 1000), "event",
			   names[event->kind]);
	if (data)
		json_object_set_new(object, "data", data);
	return line_of(object);
}

bool qmp_wants_events(const struct qmp *qmp)
{
	return qmp->negotiated;
}

/* --- made and taken apart ------------------------------------------------------------------- */

struct qmp *qmp_create(struct machine *machine, qmp_send *send, void *opaque)
{
	struct qmp *qmp = calloc(1, sizeof(*qmp));

	if (!qmp || json_stream_init(&qmp->stream)) {
		free(qmp);
		return NULL;
	}
	qmp->machine = machine;
	qmp->send = send;
	qmp->opaque = opaque;
	send_object(qmp, json_pack("{s:{s:o, s:[]}}", "QMP", "version", command_version(),
				   "capabilities"));
	return qmp;
}

void qmp_destroy(struct qmp *qmp)
{
	if (!qmp)
		return;
	json_stream_destroy(&qmp->stream);
	free(qmp);
}
