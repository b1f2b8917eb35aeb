/* SPDX-License-Identifier: MIT */
/*
 * Lines on stderr. The one piece of state is process-wide as stderr itself is:
 * whether its terminal is in raw mode.
 */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"

static atomic_int log_raw;

void log_set_raw(int raw)
{
	atomic_store_explicit(&log_raw, raw && isatty(STDERR_FILENO), memory_order_relaxed);
}

void log_write(const char *text, unsigned long length)
{
	while (length) {
		ssize_t done = write(STDERR_FILENO, text, length);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		text += done;
		length -= (unsigned long)done;
	}
}

int log_line_end(char *end)
{
	int used = 0;

	if (atomic_load_explicit(&log_raw, memory_order_relaxed))
		end[used++] = '\r';
	end[used++] = '\n';
	return used;
}

void log_line(const char *format, ...)
{
	char line[LOG_LINE_MAX + LOG_LINE_END_MAX];
	int used = snprintf(line, LOG_LINE_MAX, "zvisor: ");
	int more;
	va_list args;

	va_start(args, format);
	more = vsnprintf(line + used, (size_t)(LOG_LINE_MAX - used), format, args);
	va_end(args);
	if (more > 0)
		used = MIN(used + more, LOG_LINE_MAX - 1);
	/* A message is one line, whatever the file names in it look like. */
	for (int i = 0; i < used; i++)
		if (line[i] == '\n' || line[i] == '\r')
			line[i] = '?';
	used += log_line_end(line + used);
	log_write(line, (unsigned long)used);
}
