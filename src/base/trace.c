/* SPDX-License-Identifier: MIT */
/* Which trace events are enabled, and their lines. */
#include "base/trace.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

atomic_bool trace_wanted[TRACE_ID_COUNT];

static atomic_uint_fast64_t trace_start; /* nanoseconds; 0: not yet */

static const char *const trace_names[] = {
#define TRACE_EVENT(name, parameters, format, values) #name,
#include "base/trace-events.def"
#undef TRACE_EVENT
};

static uint64_t trace_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned int trace_enable(const char *pattern)
{
	unsigned int matches = 0;
	uint_fast64_t unset = 0;

	atomic_compare_exchange_strong(&trace_start, &unset, trace_now());
	for (unsigned int id = 0; id < TRACE_ID_COUNT; id++) {
		if (fnmatch(pattern, trace_names[id], 0))
			continue;
		atomic_store_explicit(&trace_wanted[id], true, memory_order_relaxed);
		matches++;
	}
	return matches;
}

unsigned int trace_matches(const char *pattern)
{
	unsigned int matches = 0;

	for (unsigned int id = 0; id < TRACE_ID_COUNT; id++)
		matches += !fnmatch(pattern, trace_names[id], 0);
	return matches;
}

bool trace_any_enabled(const char *prefix)
{
	for (unsigned int id = 0; id < TRACE_ID_COUNT; id++)
		if (trace_enabled(id) && !strncmp(trace_names[id], prefix, strlen(prefix)))
			return true;
	return false;
}

void trace_disable_all(void)
{
	for (unsigned int id = 0; id < TRACE_ID_COUNT; id++)
		atomic_store_explicit(&trace_wanted[id], false, memory_order_relaxed);
}

void trace_print_names(FILE *out)
{
	for (unsigned int id = 0; id < TRACE_ID_COUNT; id++)
		fprintf(out, "%s\n", trace_names[id]);
}

void trace_emit(enum trace_id id, const char *format, ...)
{
	char line[LOG_LINE_MAX + 1];
	uint64_t since = trace_now() - atomic_load(&trace_start);
	int used, more;
	va_list args;

	used = snprintf(line, sizeof(line), "%" PRIu64 ".%06" PRIu64 " %s: ",
			since / 1000000000u, since % 1000000000u / 1000u, trace_names[id]);
	va_start(args, format);
	more = vsnprintf(line + used, LOG_LINE_MAX - (size_t)used, format, args);
	va_end(args);
	if (more > 0)
		used = MIN(used + more, LOG_LINE_MAX - 1);
	line[used++] = '\n';
	log_write(line, (unsigned long)used);
}

bool trace_text(const char *name, const char *text)
{
	for (unsigned int id = 0; id < TRACE_ID_COUNT; id++) {
		if (strcmp(trace_names[id], name))
			continue;
		if (trace_enabled(id))
			trace_emit(id, "%s", text);
		return true;
	}
	return false;
}
