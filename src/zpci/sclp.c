/* SPDX-License-Identifier: MIT */
/*
 * SCLP configure and deconfigure I/O adapter: a function in standby becomes one that can
 * be enabled, and the other way round.
 *
 * Sources: Linux, drivers/s390/char/sclp_pci.c (which responses are good); QEMU,
 * s390_pci_sclp_configure() and s390_pci_sclp_deconfigure() in
 * hw/s390x/s390-pci-bus.c (which response in which state).
 */
#include "zpci/internal.h"

/* Response codes. */
#define SCLP_NORMAL_COMPLETION 0x0020
#define SCLP_NO_ACTION_REQUIRED 0x0120
#define SCLP_ADAPTER_RESERVED 0x05f0
#define SCLP_ADAPTER_UNKNOWN 0x09f0

uint16_t zpci_sclp_configure(struct zpci *zpci, uint32_t fid)
{
	struct zpci_function *f = function_enter_fid(zpci, fid);
	uint16_t response;

	if (!f)
		return SCLP_ADAPTER_UNKNOWN;
	pthread_mutex_lock(&f->control);
	pthread_mutex_lock(&f->lock);
	switch (function_state(f)) {
	case FUNCTION_RESERVED:
		response = SCLP_ADAPTER_RESERVED;
		break;
	case FUNCTION_STANDBY:
		f->state = FUNCTION_DISABLED;
		response = SCLP_NORMAL_COMPLETION;
		break;
	default:
		response = SCLP_NO_ACTION_REQUIRED;
	}
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_unlock(&f->control);
	function_leave(f);
	TRACE(zpci, "zpci_sclp_configure", "fid=%#x response=%04x", fid, response);
	return response;
}

uint16_t zpci_sclp_deconfigure(struct zpci *zpci, uint32_t fid)
{
	struct zpci_function *f = function_enter_fid(zpci, fid);
	bool unplug = false;
	uint16_t response;

	if (!f)
		return SCLP_ADAPTER_UNKNOWN;
	pthread_mutex_lock(&f->control);
	switch (function_state(f)) {
	case FUNCTION_RESERVED:
		response = SCLP_ADAPTER_RESERVED;
		break;
	case FUNCTION_STANDBY:
		response = SCLP_NO_ACTION_REQUIRED;
		break;
	default:
		function_reach_standby(f);
		unplug = f->unplug_requested;
		response = SCLP_NORMAL_COMPLETION;
	}
	pthread_mutex_unlock(&f->control);
	function_leave(f);
	TRACE(zpci, "zpci_sclp_deconfigure", "fid=%#x response=%04x", fid, response);
	if (unplug && zpci->config.machine->deconfigured)
		zpci->config.machine->deconfigured(zpci->config.opaque, fid);
	return response;
}
