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

/* For lines made elsewhere: write all of `text` to stderr, or as much as it takes. */
void log_write(const char *text, unsigned long length);

#endif
