/* SPDX-License-Identifier: MIT */
/*
 * PCI LOAD, PCI STORE, PCI STORE BLOCK: registers of a function, and its
 * configuration space, by handle, address space and offset.
 *
 * A register's bytes stand in a general register's rightmost bytes in the order
 * of their addresses; that is what a big-endian machine calls a value read from a
 * little-endian device without swapping. The function model speaks in values of
 * little-endian registers, so the bytes turn around here.
 *
 * This is the hot road: no lock, no allocation, no locked operation.
 *
 * Sources: Linux, arch/s390/pci/pci_insn.c and pci_io.h; QEMU,
 * hw/s390x/s390-pci-inst.c.
 */
#include "zpci/internal.h"

#define ADDRESS_SPACE_CONFIG 15

/* Of the second operand of a load or store, and what a block store has likewise. */
static struct place place_of(uint64_t request, uint64_t offset, unsigned length_mask)
{
	return (struct place){
		.fh = request >> 32,
		.address_space = request >> 16 & 0xf,
		.length = request & length_mask,
		.offset = offset,
	};
}

static uint64_t swap(uint64_t value, unsigned length)
{
	return __builtin_bswap64(value) >> (64 - 8 * length);
}

struct outcome access_check(const struct zpci_function *f)
{
	switch (function_state(f)) {
	case FUNCTION_ENABLED:
	case FUNCTION_BLOCKED:
		return outcome_cc(0);
	default:
		return outcome_status(STATUS_BLOCKED);
	}
}

/*
 * Find the function and see whether its state allows an access. On success the
 * result is OUTCOME_CC 0 and the function is in use until function_release().
 */
static struct outcome enter(struct zpci *zpci, unsigned index, uint32_t fh,
			    struct zpci_function **f)
{
	struct outcome outcome;

	if (!(fh & FH_ENABLED))
		return outcome_cc(CC_INVALID_HANDLE);
	*f = function_use(zpci, index, fh);
	if (!*f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = access_check(*f);
	if (!outcome_good(outcome))
		function_release(*f, index);
	return outcome;
}

/* The same for a load or store, whose R2 names an even-odd pair of registers. */
static struct outcome enter_by_pair(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r2,
				    uint32_t fh, struct zpci_function **f)
{
	if (vcpu->problem_state)
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	if (r2 & 1)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	return enter(zpci, vcpu->index, fh, f);
}

/* Config space: 1, 2 or 4 bytes within a word. */
static bool config_place_valid(const struct place *place)
{
	return place->length && place->length != 3 &&
	       place->length <= 4 - (place->offset & 3) &&
	       range_fits(place->offset, place->length, PCI_CONFIG_SIZE);
}

/* A BAR: 1 to 8 bytes within a doubleword; the function model knows its end. */
static bool bar_place_valid(const struct place *place)
{
	return place->length && place->length <= 8 - (place->offset & 7);
}

/* The model wants config accesses aligned. Others are made of bytes; nobody does that. */
static bool config_place_aligned(const struct place *place)
{
	return !(place->offset & (place->length - 1));
}

static COLD uint32_t config_read_bytes(struct pci_function *pci, uint64_t offset, unsigned length)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < length; i++)
		value |= pci_function_config_read(pci, offset + i, 1) << 8 * i;
	return value;
}

static COLD void config_write_bytes(struct pci_function *pci, uint64_t offset, unsigned length,
				    uint32_t value)
{
	for (unsigned i = 0; i < length; i++)
		pci_function_config_write(pci, offset + i, 1, value >> 8 * i & 0xff);
}

/* The accesses themselves are part of each instruction: here it pays. */
static ALWAYS_INLINE struct outcome load(struct zpci_function *f, const struct place *place,
					 unsigned index, uint64_t *data)
{
	uint64_t value;

	if (place->address_space < PCI_BAR_COUNT) {
		if (!bar_place_valid(place) ||
		    pci_function_bar_read(f->pci, place->address_space, place->offset,
					  place->length, &value))
			return outcome_program(ZPCI_PGM_OPERAND);
	} else if (place->address_space == ADDRESS_SPACE_CONFIG) {
		if (!config_place_valid(place))
			return outcome_program(ZPCI_PGM_OPERAND);
		value = likely(config_place_aligned(place)) ?
				pci_function_config_read(f->pci, place->offset, place->length) :
				config_read_bytes(f->pci, place->offset, place->length);
	} else {
		return outcome_status(STATUS_INVALID_ADDRESS_SPACE);
	}
	*data = swap(value, place->length);
	measurement_count(f, FMB_LOADS, index);
	return outcome_cc(0);
}

static ALWAYS_INLINE struct outcome store(struct zpci_function *f, const struct place *place,
					  unsigned index, uint64_t data)
{
	if (place->address_space < PCI_BAR_COUNT) {
		if (!bar_place_valid(place) ||
		    pci_function_bar_write(f->pci, place->address_space, place->offset,
					   place->length, swap(data, place->length)))
			return outcome_program(ZPCI_PGM_OPERAND);
	} else if (place->address_space == ADDRESS_SPACE_CONFIG) {
		if (!config_place_valid(place))
			return outcome_program(ZPCI_PGM_OPERAND);
		data = swap(data, place->length);
		if (likely(config_place_aligned(place)))
			pci_function_config_write(f->pci, place->offset, place->length, data);
		else
			config_write_bytes(f->pci, place->offset, place->length, data);
	} else {
		return outcome_status(STATUS_INVALID_ADDRESS_SPACE);
	}
	measurement_count(f, FMB_STORES, index);
	return outcome_cc(0);
}

struct outcome access_load(struct zpci_function *f, const struct place *place, unsigned index,
			   uint64_t *data)
{
	return load(f, place, index, data);
}

struct outcome access_store(struct zpci_function *f, const struct place *place, unsigned index,
			    uint64_t data)
{
	return store(f, place, index, data);
}

int zpci_insn_pcilg(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2)
{
	uint64_t *gr = vcpu->registers;
	struct place place = place_of(gr[r2], gr[r2 | 1], LENGTH_MASK);
	struct zpci_function *f;
	struct outcome outcome = enter_by_pair(zpci, vcpu, r2, place.fh, &f);
	uint64_t data = 0;

	if (likely(outcome_good(outcome))) {
		outcome = load(f, &place, vcpu->index, &data);
		function_release(f, vcpu->index);
		if (likely(outcome_good(outcome)))
			gr[r1] = data;
	}
	TRACE_INSN(zpci, "zpci_pcilg", outcome, "fh=%08x as=%u offset=%#llx length=%u data=%#llx",
		   place.fh, place.address_space, (unsigned long long)place.offset, place.length,
		   (unsigned long long)data);
	return insn_finish(zpci, vcpu, outcome, r2);
}

int zpci_insn_pcistg(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2)
{
	const uint64_t *gr = vcpu->registers;
	struct place place = place_of(gr[r2], gr[r2 | 1], LENGTH_MASK);
	uint64_t data = gr[r1];
	struct zpci_function *f;
	struct outcome outcome = enter_by_pair(zpci, vcpu, r2, place.fh, &f);

	if (likely(outcome_good(outcome))) {
		outcome = store(f, &place, vcpu->index, data);
		if (unlikely(f->has_windows) && outcome_good(outcome))
			window_open(f, vcpu, &place, gr[r2]);
		function_release(f, vcpu->index);
	}
	TRACE_INSN(zpci, "zpci_pcistg", outcome, "fh=%08x as=%u offset=%#llx length=%u data=%#llx",
		   place.fh, place.address_space, (unsigned long long)place.offset, place.length,
		   (unsigned long long)data);
	return insn_finish(zpci, vcpu, outcome, r2);
}

/* --- PCI STORE BLOCK ------------------------------------------------------------------ */

/* Neither the store nor its source may be anything but whole, aligned doublewords. */
static bool block_valid(const struct zpci_function *f, const struct place *place,
			uint64_t address)
{
	if ((place->offset & 0xfff) + place->length > PCI_BLOCK_MAX)
		return false;
	if (f->config.relaxed_store_block)
		return place->length > 0 && place->length <= f->config.store_block_max;
	return place->offset % 8 == 0 && place->length > 8 && place->length % 8 == 0 &&
	       place->length <= f->config.store_block_max && address % 8 == 0;
}

struct outcome access_store_block(struct zpci_function *f, struct zpci_vcpu *vcpu,
				  const struct place *place, unsigned index, uint64_t address,
				  unsigned ar)
{
	struct zpci *zpci = f->zpci;
	uint8_t data[PCI_BLOCK_MAX];

	if (place->address_space >= PCI_BAR_COUNT)
		return outcome_status(STATUS_INVALID_ADDRESS_SPACE);
	if (!block_valid(f, place, address))
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	if (!range_fits(place->offset, place->length,
			pci_function_bar_size(f->pci, place->address_space)))
		return outcome_program(ZPCI_PGM_OPERAND);
	if (zpci->config.vcpu->read(vcpu, address, ar, data, place->length))
		return outcome_access();
	if (pci_function_bar_write_block(f->pci, place->address_space, place->offset, data,
					 place->length))
		return outcome_program(ZPCI_PGM_OPERAND);
	measurement_count(f, FMB_STORE_BLOCKS, index);
	return outcome_cc(0);
}

static struct outcome pcistb(struct zpci *zpci, struct zpci_vcpu *vcpu, const struct place *place,
			     uint64_t address, unsigned ar)
{
	struct zpci_function *f;
	struct outcome outcome;

	if (vcpu->problem_state)
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	outcome = enter(zpci, vcpu->index, place->fh, &f);
	if (!outcome_good(outcome))
		return outcome;
	outcome = access_store_block(f, vcpu, place, vcpu->index, address, ar);
	function_release(f, vcpu->index);
	return outcome;
}

int zpci_insn_pcistb(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r3,
		     uint64_t address, unsigned ar)
{
	const uint64_t *gr = vcpu->registers;
	struct place place = place_of(gr[r1], gr[r3], BLOCK_LENGTH_MASK);
	struct outcome outcome = pcistb(zpci, vcpu, &place, address, ar);

	TRACE_INSN(zpci, "zpci_pcistb", outcome, "fh=%08x as=%u offset=%#llx length=%u from=%#llx",
		   place.fh, place.address_space, (unsigned long long)place.offset, place.length,
		   (unsigned long long)address);
	return insn_finish(zpci, vcpu, outcome, r1);
}
