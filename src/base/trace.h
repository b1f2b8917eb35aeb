/* SPDX-License-Identifier: MIT */
/*
 * Trace events.
 *
 * trace-events.def is the one list of them: a name, parameters, a format. From
 * it come trace_NAME(…) for the code, the names that --trace matches, and a USDT
 * probe "zvisor:NAME" for bpftrace and perf where <sys/sdt.h> exists.
 *
 * An event that nobody asked for costs one relaxed load and a branch that is not
 * taken. Arguments are evaluated all the same, so they should be values at hand.
 * One that was asked for is a line on stderr: seconds since the first event was
 * enabled, name, text.
 *
 * What is enabled is process-wide state, as stderr is; any thread may look and
 * may change it.
 */
#ifndef ZVISOR_BASE_TRACE_H
#define ZVISOR_BASE_TRACE_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/util.h"

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif

enum trace_id {
#define TRACE_EVENT(name, parameters, format, values) TRACE_ID_##name,
#include "base/trace-events.def"
#undef TRACE_EVENT
	TRACE_ID_COUNT
};

extern atomic_bool trace_wanted[TRACE_ID_COUNT];

static inline bool trace_enabled(enum trace_id id)
{
	return unlikely(atomic_load_explicit(&trace_wanted[id], memory_order_relaxed));
}

/*
 * Enable the events whose name matches a shell pattern. Returns how many do.
 */
unsigned int trace_enable(const char *pattern);
/* How many would. */
unsigned int trace_matches(const char *pattern);
/* Is one enabled whose name begins so? */
bool trace_any_enabled(const char *prefix);
void trace_disable_all(void);
void trace_print_names(FILE *out);

/*
 * For a library that names its events by strings: the same as trace_NAME(text).
 * Returns false when the table has no such event.
 */
bool trace_text(const char *name, const char *text);

void trace_emit(enum trace_id id, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define TRACE_UNPACK(...) __VA_ARGS__
#ifdef STAP_PROBEV
#define TRACE_PROBE(name, ...) STAP_PROBEV(zvisor, name, __VA_ARGS__)
#else
#define TRACE_PROBE(name, ...) ((void)0)
#endif

#define TRACE_EVENT(name, parameters, format, values)                          \
	static inline void trace_##name parameters                             \
	{                                                                      \
		TRACE_PROBE(name, TRACE_UNPACK values);                        \
		if (trace_enabled(TRACE_ID_##name))                            \
			trace_emit(TRACE_ID_##name, format, TRACE_UNPACK values); \
	}
#include "base/trace-events.def"
#undef TRACE_EVENT

#endif
