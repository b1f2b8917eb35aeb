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

/* Is there something to do for [start, last]? If not, why; with the function's lock. */
static struct outcome permitted(struct zpci_function *f, uint64_t start, uint64_t last)
{
	enum function_state state;
	struct ioat ioat;

	pthread_mutex_lock(&f->lock);
	state = function_state(f);
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
	if (last < ioat.pba || start > ioat.pal) {
		function_fail(f, PEC_OUT_OF_RANGE, start);
		return outcome_status(STATUS_FUNCTION_IN_ERROR);
	}
	return outcome_cc(0);
}

/*
 * The same without a lock, for when all is well. A program that registers another
 * range at this moment may be told that all is well or be sent the long way.
 */
static bool plainly_permitted(const struct zpci_function *f, uint64_t start, uint64_t last)
{
	enum function_state state = function_state(f);

	return (state == FUNCTION_ENABLED || state == FUNCTION_BLOCKED) &&
	       last >= atomic_load_explicit(&f->refreshable_first, memory_order_relaxed) &&
	       start <= atomic_load_explicit(&f->refreshable_last, memory_order_relaxed);
}

/*
 * For a function with a mapping in a host. Whatever changes the registration, or takes
 * the function away, has to wait, and may have been faster.
 */
static struct outcome refresh_mapping(struct zpci_function *f, struct zpci_vcpu *vcpu,
				      unsigned index, uint32_t fh, uint64_t start, uint64_t last)
{
	struct outcome outcome;

	pthread_mutex_lock(&f->control);
	outcome = f->fh == fh ? permitted(f, start, last) : outcome_cc(CC_INVALID_HANDLE);
	if (outcome_good(outcome))
		outcome = mapping_refresh(f, vcpu, index, start, last);
	pthread_mutex_unlock(&f->control);
	return outcome;
}

static struct outcome refresh(struct zpci_function *f, struct zpci_vcpu *vcpu, unsigned index,
			      uint32_t fh, uint64_t start, uint64_t length)
{
	uint64_t last = length - 1 > UINT64_MAX - start ? UINT64_MAX : start + (length - 1);

	if (unlikely(!length || !plainly_permitted(f, start, last))) {
		struct outcome outcome = permitted(f, start, length ? last : start);

		if (!length || !outcome_good(outcome))
			return outcome;
	}
	/*
	 * Where translations are made when they are used there is nothing to walk:
	 * it is enough to forget, and to wait for who still uses what was. Not for who uses
	 * what is: Linux refreshes everything at once while its disks are busy.
	 */
	if (dma_space_refresh(f->dma, start, last - start + 1, REFRESH_WAIT_US))
		return outcome_cc(2);
	if (f->mapping) {
		struct outcome outcome = refresh_mapping(f, vcpu, index, fh, start, last);

		if (!outcome_good(outcome))
			return outcome;
	}
	measurement_count(f, FMB_REFRESHES, index);
	return outcome_cc(0);
}

static struct outcome rpcit(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2)
{
	uint32_t fh = vcpu->registers[r1] >> 32;
	unsigned index = vcpu->index;
	struct zpci_function *f;
	struct outcome outcome;

	if (vcpu->problem_state)
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	if (r2 & 1)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	f = function_use(zpci, index, fh);
	if (!f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = refresh(f, vcpu, index, fh, vcpu->registers[r2], vcpu->registers[r2 + 1]);
	function_release(f, index);
	return outcome;
}

int zpci_insn_rpcit(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2)
{
	struct outcome outcome = rpcit(zpci, vcpu, r1, r2);

	TRACE_INSN(zpci, "zpci_rpcit", outcome, "fh=%08llx address=%#llx length=%#llx",
		   (unsigned long long)vcpu->registers[r1] >> 32,
		   (unsigned long long)vcpu->registers[r2 & ~1u],
		   (unsigned long long)vcpu->registers[r2 | 1]);
	return insn_finish(zpci, vcpu, outcome, r1);
}
