/* SPDX-License-Identifier: MIT */
/*
 * Who the controller says that it is.
 *
 * There is no vendor behind it. The vendor is the one that emulators have used for
 * inventions of their own for decades; drivers bind to the class code. The OUI
 * has the bit "locally administered" set, so it cannot collide with a real one.
 */
#ifndef ZVISOR_DEVICES_NVME_IDS_H
#define ZVISOR_DEVICES_NVME_IDS_H

#define NVME_PCI_VENDOR 0x1234
#define NVME_PCI_DEVICE 0x5a4e
#define NVME_PCI_CLASS 0x010802 /* mass storage, non-volatile memory, NVM Express */

#define NVME_OUI_0 0x52
#define NVME_OUI_1 0x5a
#define NVME_OUI_2 0x4e

#define NVME_MODEL "zvisor NVMe"
#define NVME_FIRMWARE "1"

#endif
