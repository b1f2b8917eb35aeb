/* SPDX-License-Identifier: MIT */
/* zvisor: options to a machine configuration, and nothing more. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "devices/device.h"
#include "machine/machine.h"
#include "machine/version.h"
#include "monitor/monitor.h"
#include "options.h"
#include "serve.h"

/* Somebody may have closed them; then no file that is opened shall take their place. */
static void open_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static enum machine_status status_of(int rc)
{
	return rc == -ENOMEM || rc == -EIO ? MACHINE_FAILED : MACHINE_WRONG_REQUEST;
}

static enum machine_status run_machine(struct machine *machine, struct monitor *monitor)
{
	char error[LOG_LINE_MAX] = "";
	int rc = monitor ? monitor_start(monitor, machine, error, sizeof(error)) : 0;

	if (!rc)
		return machine_run(machine);
	log_line("%s", error);
	return status_of(rc);
}

static enum machine_status run(const struct options *options)
{
	char error[LOG_LINE_MAX] = "";
	struct monitor *monitor = NULL;
	struct machine *machine = NULL;
	enum machine_status status;
	int rc = 0;

	for (unsigned int i = 0; i < options->trace_count; i++)
		trace_enable(options->traces[i]);
	/* The socket first: opening devices may reset them. */
	if (options->qmp_path)
		rc = monitor_create(options->qmp_path, &monitor, error, sizeof(error));
	if (rc) {
		log_line("%s", error);
		return status_of(rc);
	}
	status = machine_create(&options->machine, &machine, error, sizeof(error));
	if (status)
		log_line("%s", error);
	else
		status = run_machine(machine, monitor);
	monitor_destroy(monitor);
	machine_destroy(machine);
	return status;
}

static enum machine_status serve(const struct options *options)
{
	char error[LOG_LINE_MAX] = "";
	int rc;

	for (unsigned int i = 0; i < options->trace_count; i++)
		trace_enable(options->traces[i]);
	rc = serve_device(options->devices, options->socket_path, error, sizeof(error));
	log_line("%s", error);
	return status_of(rc);
}

int main(int argc, char **argv)
{
	char error[LOG_LINE_MAX] = "";
	enum machine_status status = MACHINE_POWERED_OFF;
	struct options options;

	open_standard_descriptors();
	signal(SIGPIPE, SIG_IGN);
	/* A disk image at the limit of file sizes is the guest's error, not our end. */
	signal(SIGXFSZ, SIG_IGN);
	if (options_parse(argc, argv, &options, error, sizeof(error))) {
		log_line("%s", error);
		return MACHINE_WRONG_REQUEST;
	}
	switch (options.command) {
	case OPTIONS_RUN:
		status = run(&options);
		break;
	case OPTIONS_DEVICE:
		status = serve(&options);
		break;
	case OPTIONS_DEVICES:
		device_print_types(stdout);
		break;
	case OPTIONS_MACHINES:
		machine_version_print_all(stdout);
		break;
	case OPTIONS_TRACE_EVENTS:
		trace_print_names(stdout);
		break;
	case OPTIONS_HELP:
		options_print_help();
		break;
	case OPTIONS_VERSION:
		puts("zvisor " ZVISOR_VERSION);
		break;
	}
	options_clear(&options);
	if (fflush(stdout) && status == MACHINE_POWERED_OFF)
		status = MACHINE_FAILED;
	return status;
}
