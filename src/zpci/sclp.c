/* SPDX-License-Identifier: MIT */
/*
 * SCLP configure and deconfigure I/O adapter: a function in standby becomes one that can
 * be enabled, and the other way round.
 *
 * A device whose host does not answer is not waited for. Linux has disabled the function
 * before (zpci_deconfigure_device() in arch/s390/pci/pci.c), and repeats that; of this
 * command it takes any answer but two for a failure, and leaves the slot as it is.
 *
 * Sources: Linux, drivers/s390/char/sclp_pci.c (which responses are good); QEMU,
 * s390_pci_sclp_configure() and s390_pci_sclp_deconfigure() in
 * hw/s390x/s390-pci-bus.c (which response in which state); the codes are in
 * include/hw/s390x/sclp.h.
 */
#include "zpci/internal.h"

/* Response codes. */
#define SCLP_NORMAL_COMPLETION 0x0020
#define SCLP_NO_ACTION_REQUIRED 0x0120
#define SCLP_EQUIPMENT_CHECK 0x0340
#define SCLP_ADAPTER_RESERVED 0x05f0
#define SCLP_ADAPTER_UNKNOWN 0x09f0

/*
 * Nobody repeats the command, so a slow disk has more time than for CLP disable; but other
 * commands of the service processor wait, too.
 */
#define SETTLE_US 200000

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
		if (!function_settle(f, SETTLE_US)) {
			response = SCLP_EQUIPMENT_CHECK;
			break;
		}
		function_disable(f, FUNCTION_STANDBY);
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
