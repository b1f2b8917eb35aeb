/* SPDX-License-Identifier: MIT */
/*
 * What zvisor says to a person: one line on stderr, "zvisor: " and the message,
 * written by one system call so that lines of two threads do not mix.
 *
 * A message names the option and the value where there are any, and what would
 * do. Whatever a guest can cause again and again is a trace event, not a line
 * here.
 */
#ifndef ZVISOR_BASE_LOG_H
#define ZVISOR_BASE_LOG_H

#include <stdarg.h>

#define LOG_LINE_MAX 1024

void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A terminal in raw mode needs a carriage return at the end of a line. The
 * console says when that is so. Any thread.
 */
void log_set_raw(int raw);

/*
 * For lines made elsewhere: put the end of a line at `end` (2 bytes at most;
 * returns how many), and write all of a line to stderr, or as much as it takes.
 */
#define LOG_LINE_END_MAX 2
int log_line_end(char *end);
void log_write(const char *text, unsigned long length);

#endif
