/* SPDX-License-Identifier: MIT */
/* `zvisor device`: a built-in function in a process of its own, for a client of vfio-user. */
#ifndef ZVISOR_SERVE_H
#define ZVISOR_SERVE_H

#include <stddef.h>

struct device_config;

/*
 * Serve one client after the other at a socket, in a sandbox, until a signal ends the
 * process. It returns only what went wrong before: a negative errno (-ENOMEM and -EIO are
 * failures, the rest wrong requests), and one line in `error`.
 */
int serve_device(struct device_config *config, const char *socket_path, char *error,
		 size_t error_size);

#endif
