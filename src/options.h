/* SPDX-License-Identifier: MIT */
/*
 * The command line: from words to a machine configuration. Nothing outside of the
 * process is looked at or touched here.
 */
#ifndef ZVISOR_OPTIONS_H
#define ZVISOR_OPTIONS_H

#include <stddef.h>

#include "machine/machine.h"

#define OPTIONS_DEVICES_MAX 4096
#define OPTIONS_TRACES_MAX 64

enum options_command {
	OPTIONS_RUN,
	OPTIONS_DEVICE,
	OPTIONS_DEVICES,
	OPTIONS_MACHINES,
	OPTIONS_TRACE_EVENTS,
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

struct options {
	enum options_command command;
	struct machine_config machine; /* for OPTIONS_RUN; points into argv and here */
	struct device_config *devices;
	unsigned int device_count;
	const char *traces[OPTIONS_TRACES_MAX]; /* patterns */
	unsigned int trace_count;
	char *qmp_path; /* of the monitor's socket; NULL: there is no monitor */
	char *socket_path; /* for OPTIONS_DEVICE: where devices[0] is served */
};

/*
 * 0, or -EINVAL (-ENOMEM) with one line in `error` that names the option and the value
 * and says what would do. On success options_clear() is owed. `argv` must live as
 * long as `options`, and may be permuted.
 */
int options_parse(int argc, char **argv, struct options *options, char *error, size_t error_size);
void options_clear(struct options *options);

/* The text of --help. */
void options_print_help(void);

#endif
