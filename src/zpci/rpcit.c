/* SPDX-License-Identifier: MIT */
/*
 * REFRESH PCI TRANSLATIONS: a program has changed the translation of a range of
 * DMA addresses, and wants to know when the function uses what was before no
 * longer.
 *
 * Sources: QEMU, rpcit_service_call() in hw/s390x/s390-pci-inst.c (order of checks,
 * status codes); Linux, zpci_refresh_trans() in arch/s390/pci/pci_insn.c (condition
 * code 2 is repeated with the same operands).
 */
#include "zpci/internal.h"

/*
 * How long the instruction waits for DMA in flight before it tells the program to
 * try again. The vCPU takes no interruption meanwhile.
 */
#define REFRESH_WAIT_US 200

static struct outcome refresh(struct zpci_function *f, uint64_t start, uint64_t length)
{
	enum function_state state;
	struct ioat ioat;
	uint64_t last;

	pthread_mutex_lock(&f->lock);
	state = f->state;
	ioat = f->ioat;
	pthread_mutex_unlock(&f->lock);
	switch (state) {
	case FUNCTION_ENABLED:
	case FUNCTION_BLOCKED:
		break;
	case FUNCTION_ERROR:
		return outcome_status(STATUS_ERROR_RECOVERY);
	default:
		return outcome_cc(CC_INVALID_HANDLE);
	}
	if (!ioat.registered) {
		function_fail(f, PEC_INVALID_ADDRESS_SPACE, start);
		return outcome_status(STATUS_FUNCTION_IN_ERROR);
	}
	if (!length)
		return outcome_cc(0);
	last = length - 1 > UINT64_MAX - start ? UINT64_MAX : start + (length - 1);
	if (last < ioat.pba || start > ioat.pal) {
		function_fail(f, PEC_OUT_OF_RANGE, start);
		return outcome_status(STATUS_FUNCTION_IN_ERROR);
	}
	/*
	 * Translations are made when they are used, so there is nothing to walk:
	 * it is enough to forget, and to wait for who still uses what was.
	 */
	if (dma_space_invalidate(f->dma, start, last - start + 1, REFRESH_WAIT_US))
		return outcome_cc(2);
	measurement_count(f, FMB_REFRESHES, COUNTER_LANE_SHARED);
	return outcome_cc(0);
}

static struct outcome rpcit(struct zpci *zpci, void *vcpu, unsigned r1, unsigned r2)
{
	struct zpci_function *f;
	struct outcome outcome;

	if (insn_problem_state(zpci, vcpu))
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	if (r2 & 1)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	f = function_enter(zpci, insn_gr(zpci, vcpu, r1) >> 32);
	if (!f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = refresh(f, insn_gr(zpci, vcpu, r2), insn_gr(zpci, vcpu, r2 + 1));
	function_leave(f);
	return outcome;
}

int zpci_insn_rpcit(struct zpci *zpci, void *vcpu, unsigned r1, unsigned r2)
{
	struct outcome outcome = rpcit(zpci, vcpu, r1, r2);

	TRACE_INSN(zpci, "zpci_rpcit", outcome, "fh=%08llx address=%#llx length=%#llx",
		   (unsigned long long)insn_gr(zpci, vcpu, r1) >> 32,
		   (unsigned long long)insn_gr(zpci, vcpu, r2 & ~1u),
		   (unsigned long long)insn_gr(zpci, vcpu, r2 | 1));
	return insn_finish(zpci, vcpu, outcome, r1);
}
