/* SPDX-License-Identifier: MIT */
/* The NVMe controller as the rest of the house sees it: a row of the device table. */
#ifndef ZVISOR_DEVICES_NVME_H
#define ZVISOR_DEVICES_NVME_H

#include "devices/device.h"

extern const struct device_type nvme_device_type;

#endif
