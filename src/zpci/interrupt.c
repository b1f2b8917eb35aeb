/* SPDX-License-Identifier: MIT */
/*
 * Interruptions: from a function's message to an adapter interruption.
 *
 * A message is a store of the vector's number to the MSI address that CLP query
 * function group tells. Where it goes is the function's route, which MPCIFC
 * registers: a bit of the vector (AIBV), then a bit that sums up the function
 * (AISB), then, if the summary was clear, an adapter interruption on an
 * interruption subclass. Bits are set atomically and in this order, so that a
 * program that clears the summary and then looks at the vector misses nothing.
 *
 * A message to another address is what it is on any PCI bus: a store to memory.
 *
 * Sources: Linux, arch/s390/pci/pci_irq.c (what is registered, the data and the
 * address of a message); QEMU, s390_msi_ctrl_write() (order of the bits).
 */
#include "zpci/internal.h"

bool interrupt_route_valid(const struct zpci_function *f, const struct interrupt_route *route)
{
	uint64_t vector_bytes = (route->aibvo + route->noi + 7) / 8;

	return memory_contains(f->zpci, route->aibv, vector_bytes) &&
	       (!route->summary || memory_contains(f->zpci, route->aisb, route->aisbo / 8 + 1));
}

/* Set bit `bit` from `absolute` on; was it set before? The place was checked. */
static bool set_indicator(struct zpci *zpci, uint64_t absolute, unsigned bit)
{
	uint8_t mask = 0x80 >> bit % 8;
	uint8_t before;

	absolute += bit / 8;
	before = __atomic_fetch_or(zpci->memory.base + absolute, mask, __ATOMIC_SEQ_CST);
	if (!(before & mask))
		zpci_memory_written(zpci, absolute, 1);
	return before & mask;
}

static void present(struct zpci_function *f, const struct interrupt_route *route, unsigned vector)
{
	struct zpci *zpci = f->zpci;
	bool known = set_indicator(zpci, route->aibv, route->aibvo + vector);

	if (route->summary)
		known = set_indicator(zpci, route->aisb, route->aisbo);
	if (!known)
		zpci->config.machine->adapter_interruption(zpci->config.opaque, route->isc);
}

static void deliver(void *opaque, uint64_t address, uint32_t data)
{
	struct zpci_function *f = opaque;
	enum pci_event_code wrong = 0;

	if ((address & ~MSI_ADDRESS_CPU) != MSI_ADDRESS) {
		le32 message;

		le32_set(&message, data);
		dma_write(f->dma, address, &message, sizeof(message));
		return;
	}
	/* The lock is held so that nothing is set after a deregistration. */
	pthread_mutex_lock(&f->lock);
	if (f->state == FUNCTION_ENABLED) {
		if (!f->route.registered)
			wrong = PEC_NO_MSI;
		else if (data >= f->route.noi)
			wrong = PEC_INVALID_VECTOR;
		else
			present(f, &f->route, data);
	}
	pthread_mutex_unlock(&f->lock);
	TRACE(f->zpci, "zpci_msi", "fid=%#x vector=%u", f->config.fid, data);
	if (wrong)
		function_fail(f, wrong, address);
}

const struct pci_msi_ops interrupt_msi_ops = { .deliver = deliver };

/* --- SET INTERRUPTION CONTROLS --------------------------------------------------- */

static struct outcome sic(struct zpci *zpci, void *vcpu, unsigned mode, unsigned isc)
{
	if (!zpci->config.machine->set_interruption_mode)
		return outcome_program(ZPCI_PGM_OPERATION);
	if (insn_problem_state(zpci, vcpu))
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	switch (mode) {
	case ZPCI_INTERRUPTION_ALL:
	case ZPCI_INTERRUPTION_SINGLE:
		zpci->config.machine->set_interruption_mode(zpci->config.opaque, isc, mode);
		return outcome_cc(0);
	default:
		/* Directed delivery is not announced, so neither are its controls. */
		return outcome_program(ZPCI_PGM_OPERAND);
	}
}

int zpci_insn_sic(struct zpci *zpci, void *vcpu, unsigned r1, unsigned r3, uint64_t address,
		  unsigned ar)
{
	unsigned mode = insn_gr(zpci, vcpu, r1) & 0xffff;
	unsigned isc = insn_gr(zpci, vcpu, r3) >> 27 & 7;
	struct outcome outcome = sic(zpci, vcpu, mode, isc);

	TRACE_INSN(zpci, "zpci_sic", outcome, "mode=%u isc=%u", mode, isc);
	if (outcome.kind == OUTCOME_CC)
		return 0; /* the condition code stays as it was */
	return insn_finish(zpci, vcpu, outcome, r1);
}
