/* SPDX-License-Identifier: MIT */
/* Cuts a stream of bytes into JSON values; see json_stream.h. */
#include "monitor/json_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESYNC '\xff'

int json_stream_init(struct json_stream *stream)
{
	*stream = (struct json_stream){ .text = malloc(JSON_STREAM_LENGTH_MAX) };
	return stream->text ? 0 : -ENOMEM;
}

void json_stream_destroy(struct json_stream *stream)
{
	free(stream->text);
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static void start_afresh(struct json_stream *stream)
{
	char *text = stream->text;

	*stream = (struct json_stream){ .text = text };
}

/* The caller sees the text; the next byte begins another one. */
static enum json_stream_found show(struct json_stream *stream, enum json_stream_found what)
{
	stream->done = true;
	return what;
}

static enum json_stream_found give_up(struct json_stream *stream, char byte,
				      enum json_stream_found why)
{
	stream->text[0] = byte;
	stream->length = 1;
	stream->dropping = byte != '\n' && byte != RESYNC;
	return show(stream, why);
}

static enum json_stream_found put_in_string(struct json_stream *stream, char byte)
{
	/* Line ends are not allowed in strings: one whose end is missing ends here. */
	if ((unsigned char)byte < 0x20)
		return give_up(stream, byte, JSON_STREAM_STRAY);
	if (stream->escape)
		stream->escape = false;
	else if (byte == '\\')
		stream->escape = true;
	else if (byte == '"')
		stream->string = false;
	return JSON_STREAM_NOTHING;
}

static enum json_stream_found put_in_structure(struct json_stream *stream, char byte)
{
	switch (byte) {
	case '"':
		stream->string = true;
		break;
	case '{':
	case '[':
		if (++stream->depth > JSON_STREAM_DEPTH_MAX)
			return give_up(stream, byte, JSON_STREAM_TOO_DEEP);
		break;
	case '}':
	case ']':
		if (!--stream->depth)
			return show(stream, JSON_STREAM_VALUE);
		break;
	}
	return JSON_STREAM_NOTHING;
}

enum json_stream_found json_stream_put(struct json_stream *stream, char byte)
{
	if (stream->done) {
		bool dropping = stream->dropping;

		start_afresh(stream);
		stream->dropping = dropping;
	}
	if (byte == RESYNC) {
		start_afresh(stream);
		return give_up(stream, byte, JSON_STREAM_STRAY);
	}
	if (stream->dropping) {
		stream->dropping = byte != '\n';
		return JSON_STREAM_NOTHING;
	}
	if (!stream->length && is_blank(byte))
		return JSON_STREAM_NOTHING;
	if (!stream->length && (byte == '}' || byte == ']'))
		return give_up(stream, byte, JSON_STREAM_STRAY);
	/* No structure: a line. */
	if (stream->length && !stream->depth && byte == '\n')
		return show(stream, JSON_STREAM_VALUE);
	if (stream->length == JSON_STREAM_LENGTH_MAX)
		return give_up(stream, byte, JSON_STREAM_TOO_LONG);
	stream->text[stream->length++] = byte;
	if (stream->string)
		return put_in_string(stream, byte);
	if (stream->depth || (stream->length == 1 && (byte == '{' || byte == '[')))
		return put_in_structure(stream, byte);
	return JSON_STREAM_NOTHING;
}
