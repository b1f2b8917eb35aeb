/* SPDX-License-Identifier: MIT */
/*
 * Cuts a stream of bytes into JSON values.
 *
 * A client may send several values in one piece, or one in many, with or without
 * line ends; a value ends where its braces and brackets are closed. What is outside of
 * braces goes to the end of its line. Whether a value is good is the parser's
 * business; here it is only found, in bounded memory. After something that cannot
 * be a value, all is dropped to the end of the line. The byte 0xff, which no
 * text has, brings a client and us back together at any time, as on QEMU
 * (docs/interop/qmp-spec: "Out-of-band … resynchronize").
 */
#ifndef ZVISOR_MONITOR_JSON_STREAM_H
#define ZVISOR_MONITOR_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_STREAM_LENGTH_MAX 65536 /* bytes of one value */
#define JSON_STREAM_DEPTH_MAX 1024

enum json_stream_found {
	JSON_STREAM_NOTHING, /* more bytes are needed */
	JSON_STREAM_VALUE,   /* text[0 … length) may be one */
	JSON_STREAM_TOO_LONG,
	JSON_STREAM_TOO_DEEP,
	JSON_STREAM_STRAY, /* text[0] cannot be where it is */
};

struct json_stream {
	char *text; /* not terminated */
	size_t length;
	unsigned int depth;
	bool string;   /* inside of one */
	bool escape;   /* after a backslash in one */
	bool dropping; /* up to the end of the line */
	bool done;     /* the text was shown to the caller */
};

/* -ENOMEM or 0. */
int json_stream_init(struct json_stream *stream);
void json_stream_destroy(struct json_stream *stream);

/* The next byte. What is found stays until the next call. */
enum json_stream_found json_stream_put(struct json_stream *stream, char byte);

#endif
