/* SPDX-License-Identifier: MIT */
/* Lines on stderr. */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"

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

void log_line(const char *format, ...)
{
	char line[LOG_LINE_MAX + 1];
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
	line[used++] = '\n';
	log_write(line, (unsigned long)used);
}
