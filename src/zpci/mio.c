/* SPDX-License-Identifier: MIT */
/*
 * PCI loads and stores by address (memory I/O, MIO).
 *
 * With the facility, each BAR has two addresses of its own, outside of memory: one
 * for stores that are written through, one for stores that may be written back
 * (combined) and need a barrier. They differ in one bit. An operating system
 * makes page tables point there, and from then on a program, also one in the
 * problem state, names a register by its virtual address. They are still special
 * instructions: an ordinary load from there is an addressing exception.
 *
 * An address is put together so that nothing needs to be searched:
 *
 *   bit 0      one
 *   bit 1      write back
 *   bits 5-16  number of the function's slot
 *   bits 17-19 number of the BAR
 *   bits 20-63 offset
 *
 * Here each store is done when the instruction ends, whichever address is used, so
 * the barrier has nothing to wait for.
 *
 * Sources: Linux, arch/s390/pci/pci_insn.c (operands; status in the register with
 * the length; the barrier leaves the condition code), pci_mmio.c (use in the
 * secondary space), pci_clp.c (bit for write back), pci.c (control register 2).
 * What is not to be seen there is answered as the instructions with handles do.
 */
#include "zpci/internal.h"

#define MIO_ADDRESS BIT64(0)
#define MIO_WRITE_BACK BIT64(MIO_WRITE_BACK_BIT)
#define MIO_ZERO (BIT64(2) | BIT64(3) | BIT64(4))
#define MIO_SLOT_SHIFT 47
#define MIO_SLOT_MASK 0xfffull
#define MIO_BAR_SHIFT 44
#define MIO_BAR_MASK 0x7ull
#define MIO_OFFSET_MASK ((1ull << MIO_BAR_SHIFT) - 1)

static_assert(ZPCI_FUNCTIONS_MAX - 1 <= MIO_SLOT_MASK, "each slot has addresses");
static_assert(PCI_BAR_COUNT - 1 <= MIO_BAR_MASK, "each BAR has addresses");

/*
 * Functions with relaxed block stores (ISM) have none: their driver uses handles even
 * where the kernel uses addresses (__ism_write_cmd() in drivers/s390/net/ism.h).
 */
bool mio_available(const struct zpci_function *f)
{
	if (!f->zpci->config.mio || !f->config.mio || f->config.relaxed_store_block)
		return false;
	for (unsigned bar = 0; bar < PCI_BAR_COUNT; bar++)
		if (pci_function_bar_size(f->pci, bar) > MIO_OFFSET_MASK + 1)
			return false;
	return true;
}

uint64_t mio_address(const struct zpci_function *f, unsigned bar, bool write_back)
{
	return MIO_ADDRESS | (write_back ? MIO_WRITE_BACK : 0) |
	       (uint64_t)f->index << MIO_SLOT_SHIFT | (uint64_t)bar << MIO_BAR_SHIFT;
}

/* What is checked before the operands are. */
static struct outcome permitted(struct zpci *zpci, struct zpci_vcpu *vcpu)
{
	if (!zpci->config.mio)
		return outcome_program(ZPCI_PGM_OPERATION);
	if (!vcpu->mio_addressing)
		return outcome_program(ZPCI_PGM_SPECIAL_OPERATION);
	return outcome_cc(0);
}

/* The function that an absolute address belongs to, as enter() of load_store.c. */
static struct outcome enter(struct zpci *zpci, unsigned index, uint64_t absolute,
			    struct zpci_function **f)
{
	struct outcome outcome;

	if (!(absolute & MIO_ADDRESS) || absolute & MIO_ZERO ||
	    (absolute >> MIO_BAR_SHIFT & MIO_BAR_MASK) >= PCI_BAR_COUNT)
		return outcome_cc(CC_INVALID_HANDLE);
	*f = function_use_slot(zpci, index, absolute >> MIO_SLOT_SHIFT & MIO_SLOT_MASK);
	if (!*f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = (*f)->mio ? access_check(*f) : outcome_cc(CC_INVALID_HANDLE);
	if (!outcome_good(outcome))
		function_release(*f, index);
	return outcome;
}

/*
 * Translate the address and find the function, which is in use when OUTCOME_CC 0
 * is the result.
 */
static struct outcome find(struct zpci *zpci, struct zpci_vcpu *vcpu, uint64_t address, unsigned ar,
			   bool write, struct place *place, struct zpci_function **f)
{
	uint64_t absolute;

	if (zpci->config.vcpu->translate(vcpu, address, ar, write, &absolute))
		return outcome_access();
	place->address_space = absolute >> MIO_BAR_SHIFT & MIO_BAR_MASK;
	place->offset = absolute & MIO_OFFSET_MASK;
	return enter(zpci, vcpu->index, absolute, f);
}

/* The same for a load or store, whose R2 names an even-odd pair of registers. */
static struct outcome find_by_pair(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r2,
				   uint64_t address, bool write, struct place *place,
				   struct zpci_function **f)
{
	struct outcome outcome = permitted(zpci, vcpu);

	if (!outcome_good(outcome))
		return outcome;
	if (r2 & 1)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	return find(zpci, vcpu, address, r2, write, place, f);
}

static struct outcome pcilgi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r2,
			     uint64_t address, struct place *place, uint64_t *data)
{
	unsigned index = vcpu->index;
	struct zpci_function *f;
	struct outcome outcome = find_by_pair(zpci, vcpu, r2, address, false, place, &f);

	if (!outcome_good(outcome))
		return outcome;
	outcome = access_load(f, place, index, data);
	function_release(f, index);
	return outcome;
}

int zpci_insn_pcilgi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2)
{
	uint64_t address = vcpu->registers[r2], data = 0;
	struct place place = { .length = vcpu->registers[r2 | 1] & LENGTH_MASK };
	struct outcome outcome = pcilgi(zpci, vcpu, r2, address, &place, &data);

	if (outcome_good(outcome))
		vcpu->registers[r1] = data;
	TRACE_INSN(zpci, "zpci_pcilgi", outcome, "address=%#llx length=%u data=%#llx",
		   (unsigned long long)address, place.length, (unsigned long long)data);
	return insn_finish(zpci, vcpu, outcome, r2 | 1);
}

static struct outcome pcistgi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r2,
			      uint64_t address, struct place *place, uint64_t data)
{
	unsigned index = vcpu->index;
	struct zpci_function *f;
	struct outcome outcome = find_by_pair(zpci, vcpu, r2, address, true, place, &f);

	if (!outcome_good(outcome))
		return outcome;
	outcome = access_store(f, place, index, data);
	function_release(f, index);
	return outcome;
}

int zpci_insn_pcistgi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2)
{
	uint64_t address = vcpu->registers[r2], data = vcpu->registers[r1];
	struct place place = { .length = vcpu->registers[r2 | 1] & LENGTH_MASK };
	struct outcome outcome = pcistgi(zpci, vcpu, r2, address, &place, data);

	TRACE_INSN(zpci, "zpci_pcistgi", outcome, "address=%#llx length=%u data=%#llx",
		   (unsigned long long)address, place.length, (unsigned long long)data);
	return insn_finish(zpci, vcpu, outcome, r2 | 1);
}

int zpci_insn_pcistbi(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r3,
		      uint64_t address, unsigned ar)
{
	uint64_t to = vcpu->registers[r3];
	unsigned index = vcpu->index;
	struct place place = { .length = vcpu->registers[r1] & BLOCK_LENGTH_MASK };
	struct zpci_function *f;
	struct outcome outcome = permitted(zpci, vcpu);

	if (outcome_good(outcome))
		outcome = find(zpci, vcpu, to, r3, true, &place, &f);
	if (outcome_good(outcome)) {
		outcome = access_store_block(f, vcpu, &place, index, address, ar);
		function_release(f, index);
	}
	TRACE_INSN(zpci, "zpci_pcistbi", outcome, "address=%#llx length=%u from=%#llx",
		   (unsigned long long)to, place.length, (unsigned long long)address);
	return insn_finish(zpci, vcpu, outcome, r1);
}

int zpci_insn_pciwb(struct zpci *zpci, struct zpci_vcpu *vcpu)
{
	struct outcome outcome = permitted(zpci, vcpu);

	TRACE_INSN(zpci, "zpci_pciwb", outcome, "barrier");
	if (outcome_good(outcome))
		return 0; /* the condition code stays */
	return insn_finish(zpci, vcpu, outcome, 0);
}
