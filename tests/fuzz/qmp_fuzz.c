/* SPDX-License-Identifier: MIT */
/*
 * A hostile client of the monitor.
 *
 * The input is what it says, after one byte that says in pieces of what size. The
 * machine behind the commands is that of the unit tests. Wrong are: a crash, a
 * sanitizer's finding, a line of output that is not one line of ASCII and JSON, an
 * answer without a command, and a protocol that does not come back to itself.
 *
 *	qmp_fuzz [-max_total_time=SECONDS] [CORPUS]
 */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/monitor/fake_machine.h"
#include "base/util.h"
#include "monitor/qmp.h"

static const char last_words[] = "\n\xff{\"execute\":\"query-version\",\"id\":\"last words\"}";

struct listener {
	size_t lines;
	bool heard_last_words;
};

static void wrong(const char *what, const char *line, size_t length)
{
	fprintf(stderr, "%s: %.*s\n", what, (int)length, line);
	abort();
}

static void on_line(void *opaque, const char *line, size_t length)
{
	struct listener *listener = opaque;
	json_t *object, *id;

	if (length < 2 || line[length - 2] != '\r' || line[length - 1] != '\n')
		wrong("a line without end", line, length);
	for (size_t i = 0; i < length - 2; i++)
		if (line[i] < 0x20)
			wrong("not ASCII", line, length);
	object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object))
		wrong("not a JSON object", line, length);
	if (!json_object_get(object, "QMP") && !json_object_get(object, "return") ==
						       !json_object_get(object, "error"))
		wrong("neither result nor error", line, length);
	id = json_object_get(object, "id");
	listener->heard_last_words = id && json_is_string(id) &&
				     !strcmp(json_string_value(id), "last words");
	listener->lines++;
	json_decref(object);
}

static void say(struct qmp *qmp, const char *data, size_t length, size_t piece)
{
	while (length) {
		size_t given = MIN(piece, length), taken = qmp_input(qmp, data, given);

		if (!taken || taken > given)
			wrong("took what was not given", data, given);
		data += taken;
		length -= taken;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine machine = { .functions = 2 };
	struct listener listener = { 0 };
	struct qmp *qmp = qmp_create(&machine, on_line, &listener);

	if (!qmp || listener.lines != 1)
		abort();
	if (size) {
		/* Half of the inputs begin after the negotiation. */
		if (data[0] & 1)
			say(qmp, "{\"execute\":\"qmp_capabilities\"}", 30, 30);
		say(qmp, (const char *)data + 1, size - 1, data[0] / 2 + 1u);
	}
	/* No answer needs less than one byte of input. */
	if (listener.lines > size + 2)
		wrong("more answers than commands", "", 0);
	say(qmp, last_words, strlen(last_words), strlen(last_words));
	if (!listener.heard_last_words)
		wrong("the last command was not answered", (const char *)data, size);
	qmp_destroy(qmp);
	return 0;
}
