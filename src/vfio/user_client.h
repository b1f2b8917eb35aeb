/* SPDX-License-Identifier: MIT */
/*
 * The client of vfio-user: the device type "vfio-user" (or, by QEMU's name, "vfio-user-pci"), a
 * PCI function that another process serves. `zvisor device` is one such process.
 */
#ifndef ZVISOR_VFIO_USER_CLIENT_H
#define ZVISOR_VFIO_USER_CLIENT_H

extern const struct device_type vfio_user_device_type;
extern const struct device_type vfio_user_pci_device_type;

#endif
