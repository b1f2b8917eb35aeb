/* SPDX-License-Identifier: MIT */
/*
 * The device types "vfio" and, by QEMU's name, "vfio-pci": a PCI function of the host, which
 * the host's kernel hands over (Linux, Documentation/driver-api/vfio.rst).
 */
#ifndef ZVISOR_VFIO_KERNEL_H
#define ZVISOR_VFIO_KERNEL_H

extern const struct device_type vfio_device_type;
extern const struct device_type vfio_pci_device_type;

#endif
