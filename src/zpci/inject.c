/* SPDX-License-Identifier: MIT */
/* Errors made on purpose, to see how a guest recovers; see zpci.h. */
#include <errno.h>

#include "zpci/internal.h"

#define PEC_ERROR_MAX 0xff

int zpci_inject_error(struct zpci *zpci, uint32_t fid, uint16_t pec, uint64_t address)
{
	struct zpci_function *f;
	int rc = 0;

	if (!pec || pec > PEC_ERROR_MAX)
		return -EINVAL;
	f = function_enter_fid(zpci, fid);
	if (!f)
		return -ENOENT;
	TRACE(zpci, "zpci_inject", "fid=%#x pec=%04x address=%#llx", fid, pec,
	      (unsigned long long)address);
	if (pec >= PEC_FMB_ADDRESS && pec <= PEC_FMB_PROTECTION)
		event_error(f, pec, address);
	else if (!function_fail(f, pec, address))
		rc = -EBUSY;
	function_leave(f);
	return rc;
}

int zpci_inject_translation_failure(struct zpci *zpci, uint32_t fid, uint16_t pec, uint64_t count)
{
	struct zpci_function *f;

	if (!pec || pec > PEC_ERROR_MAX)
		return -EINVAL;
	f = function_enter_fid(zpci, fid);
	if (!f)
		return -ENOENT;
	TRACE(zpci, "zpci_inject", "fid=%#x pec=%04x count=%llu", fid, pec,
	      (unsigned long long)count);
	dma_space_inject(f->dma, count, pec);
	function_leave(f);
	return 0;
}
