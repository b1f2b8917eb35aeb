/* SPDX-License-Identifier: MIT */
/*
 * What zvisor would say to a person goes nowhere: an input makes it say thousands of
 * lines. The linker finds these before those of the base library.
 */
#include "base/log.h"

void log_line(const char *format, ...)
{
}

void log_write(const char *text, unsigned long length)
{
}
