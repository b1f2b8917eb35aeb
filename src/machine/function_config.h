/* SPDX-License-Identifier: MIT */
/*
 * What libzpci is told of a function: what was asked for, what the device is, and
 * what the machine version has for the rest.
 */
#ifndef ZVISOR_MACHINE_FUNCTION_CONFIG_H
#define ZVISOR_MACHINE_FUNCTION_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "zpci/zpci.h"

struct device_config;
struct device_made;

/*
 * `config` has fid and uid, `features` are the machine's. The device's header
 * may be changed to fit. 0, or -EINVAL with a line in `error` that begins with
 * "device" and the type.
 */
int function_config(uint32_t features, const struct device_config *config,
		    const struct device_made *made, struct zpci_function_config *function, char *error,
		    size_t error_size);

#endif
