/* SPDX-License-Identifier: MIT */
/* testdev as the rest of the house sees it: a row of the device table. */
#ifndef ZVISOR_DEVICES_TESTDEV_H
#define ZVISOR_DEVICES_TESTDEV_H

#include "devices/device.h"

extern const struct device_type testdev_device_type;

#endif
