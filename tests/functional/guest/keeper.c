/* SPDX-License-Identifier: MIT */
/*
 * A guest that keeps the function with fid 1, whatever it is asked: it configures it
 * over and over, and says so once a second or so. Ends with its machine.
 */
#include "lib/guest.h"

#define SCLP_CONFIGURE_PCI 0x001a0001
#define ADAPTER_PCI 2
#define NO_ACTION_REQUIRED 0x0120

static struct {
	uint16_t length;
	uint8_t control[4];
	uint16_t response;
	uint8_t type;
	uint8_t reserved[3];
	uint32_t fid;
} sccb __attribute__((aligned(4096)));

void guest_main(void)
{
	for (uint64_t i = 0;; i++) {
		memset(&sccb, 0, sizeof(sccb));
		sccb.length = sizeof(sccb);
		sccb.type = ADAPTER_PCI;
		sccb.fid = 1;
		if (sclp(SCLP_CONFIGURE_PCI, &sccb) || sccb.response != NO_ACTION_REQUIRED)
			break;
		if (i % 100000 == 0)
			note("kept");
	}
	ok(false, "the function can be configured, again and again: %x", sccb.response);
}
