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
 * Directed delivery: the message's address has a CPU address in it. SIC has
 * registered a vector for each CPU, in which a function has the bits that
 * MPCIFC gave it. The bit is set in the vector of that CPU, and an interruption made
 * pending for it alone. A CPU that cannot take it is helped by the others: its
 * bit is set in a vector of summary bits by CPU, and the interruption is a
 * floating one. It is presented whether or not the vector's bit was set before, since
 * a CPU that was stopped may have left bits behind.
 *
 * A message to another address is what it is on any PCI bus: a store to memory.
 *
 * Sources: Linux, arch/s390/pci/pci_irq.c (what is registered, the data and the
 * address of a message, how handlers look for bits) and
 * arch/s390/include/asm/pci_insn.h (operation controls and blocks of SIC); QEMU,
 * s390_msi_ctrl_write() (order of the bits).
 */
#include "zpci/internal.h"

bool interrupt_route_valid(const struct zpci_function *f, const struct interrupt_route *route)
{
	uint64_t vector_bytes = (route->aibvo + route->noi + 7) / 8;

	return memory_contains(f->zpci, route->aibv, vector_bytes) &&
	       (!route->summary || memory_contains(f->zpci, route->aisb, route->aisbo / 8 + 1));
}

/* Bits in the vector of a CPU: what Linux has for each, a cache line. */
#define DIBV_BITS 2048

bool interrupt_directed_valid(const struct interrupt_route *route)
{
	return route->dibvo + route->noi <= DIBV_BITS;
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

/* --- directed -------------------------------------------------------------------- */

/* directed.control; the number of CPUs is never 0 when registered. */
#define CONTROL_CPUS 0xffffu
#define CONTROL_ISC_SHIFT 16

void zpci_directed_fallback(struct zpci *zpci, unsigned cpu)
{
	uint32_t control = atomic_load(&zpci->directed.control);
	uint64_t summary = atomic_load(&zpci->directed.summary);

	if (cpu >= (control & CONTROL_CPUS) || !memory_contains(zpci, summary, cpu / 8 + 1))
		return;
	/* A summary bit that is set has its interruption already, or will be looked at. */
	if (!set_indicator(zpci, summary, cpu))
		zpci->config.machine->adapter_interruption(zpci->config.opaque,
							   control >> CONTROL_ISC_SHIFT);
	TRACE(zpci, "zpci_directed_fallback", "cpu=%u", cpu);
}

/* 0, or the event that it is when the CPU has no vector. */
static enum pci_event_code present_directed(struct zpci_function *f, uint64_t address,
					    unsigned vector)
{
	struct zpci *zpci = f->zpci;
	unsigned cpu = (address & MSI_ADDRESS_CPU) >> MSI_ADDRESS_CPU_SHIFT;
	unsigned isc = atomic_load_explicit(&zpci->directed.control, memory_order_relaxed) >>
		       CONTROL_ISC_SHIFT;
	uint64_t bits = 0;

	if (cpu < ZPCI_DIRECTED_CPUS)
		bits = atomic_load_explicit(&zpci->directed.vectors[cpu], memory_order_acquire);
	if (!bits)
		return PEC_NO_MSI;
	set_indicator(zpci, bits, f->route.dibvo + vector);
	if (!zpci->config.machine->directed_interruption(zpci->config.opaque, cpu, isc))
		zpci_directed_fallback(zpci, cpu);
	return 0;
}

void interrupt_reset(struct zpci *zpci)
{
	atomic_store(&zpci->directed.control, 0);
	atomic_store(&zpci->directed.summary, 0);
	for (unsigned i = 0; i < ZPCI_DIRECTED_CPUS; i++)
		atomic_store_explicit(&zpci->directed.vectors[i], 0, memory_order_relaxed);
}

/* --- messages -------------------------------------------------------------------- */

static void deliver(void *opaque, uint64_t address, uint32_t data)
{
	struct zpci_function *f = opaque;
	enum pci_event_code wrong = 0;

	if ((address & ~MSI_ADDRESS_CPU) != MSI_ADDRESS) {
		le32 message;

		le32_set(&message, data);
		pci_dma_write(f->dma, address, &message, sizeof(message));
		return;
	}
	/* The lock is held so that nothing is set after a deregistration. */
	pthread_mutex_lock(&f->lock);
	if (f->state == FUNCTION_ENABLED) {
		if (!f->route.registered)
			wrong = PEC_NO_MSI;
		else if (data >= f->route.noi)
			wrong = PEC_INVALID_VECTOR;
		else if (f->route.directed)
			wrong = present_directed(f, address, data);
		else
			present(f, &f->route, data);
	}
	pthread_mutex_unlock(&f->lock);
	TRACE(f->zpci, "zpci_msi", "fid=%#x vector=%u", f->config.fid, data);
	if (wrong)
		function_fail(f, wrong, address);
}

/* The device says that it does not work any more. */
static void device_error(void *opaque, enum pci_error error)
{
	function_fail(opaque, error == PCI_ERROR_PERMANENT ? PEC_PERMANENT_ERROR : PEC_SYSTEM_ERROR,
		      0);
}

const struct pci_msi_ops interrupt_msi_ops = { .deliver = deliver, .error = device_error };

/* --- SET INTERRUPTION CONTROLS --------------------------------------------------- */

/* Operation controls. */
enum sic_operation {
	SIC_ALL = 0, /* mode of a subclass, floating */
	SIC_SINGLE = 1,
	SIC_DIRECT = 4, /* register directed delivery */
	SIC_DIRECTED_ALL = 16, /* mode of a subclass for this CPU, directed */
	SIC_DIRECTED_SINGLE = 17,
	SIC_SET_CPU = 18, /* register this CPU's vector */
};

/* Second operand of SIC_DIRECT. */
struct diib {
	be32 isc; /* in bits 1-3 */
	be16 reserved1;
	be16 cpus;
	be64 summary; /* guest-absolute: a bit for each CPU */
	be64 reserved2[2];
};

/* … and of SIC_SET_CPU. */
struct cdiib {
	be64 reserved1;
	be64 vector; /* guest-absolute */
	be64 reserved2[3];
};

static_assert(sizeof(struct diib) == 32 && sizeof(struct cdiib) == 40, "layout of SIC's blocks");

struct sic_request {
	unsigned operation;
	unsigned isc;
	uint64_t address;
	unsigned ar;
};

/* All CPUs lose their vectors: they are registered after this. */
static struct outcome sic_direct(struct zpci *zpci, struct zpci_vcpu *vcpu,
				 const struct sic_request *request)
{
	struct diib diib;
	uint64_t summary;
	uint32_t cpus;

	if (request->address % 8)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	if (zpci->config.vcpu->read(vcpu, request->address, request->ar, &diib, sizeof(diib)))
		return outcome_access();
	summary = be64_get(diib.summary);
	cpus = be16_get(diib.cpus);
	if (cpus > ZPCI_DIRECTED_CPUS || summary % 8 ||
	    !memory_contains(zpci, summary, (cpus + 7) / 8))
		return outcome_program(ZPCI_PGM_OPERAND);
	interrupt_reset(zpci);
	if (!cpus)
		return outcome_cc(0);
	atomic_store(&zpci->directed.summary, summary);
	atomic_store(&zpci->directed.control, cpus | (be32_get(diib.isc) >> 28 & 7)
							      << CONTROL_ISC_SHIFT);
	return outcome_cc(0);
}

static struct outcome sic_set_cpu(struct zpci *zpci, struct zpci_vcpu *vcpu,
				  const struct sic_request *request)
{
	uint32_t cpus = atomic_load(&zpci->directed.control) & CONTROL_CPUS;
	unsigned cpu = vcpu->index;
	struct cdiib cdiib;
	uint64_t vector;

	if (request->address % 8)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	if (zpci->config.vcpu->read(vcpu, request->address, request->ar, &cdiib, sizeof(cdiib)))
		return outcome_access();
	vector = be64_get(cdiib.vector);
	if (cpu >= cpus || vector % 8 || !memory_contains(zpci, vector, DIBV_BITS / 8))
		return outcome_program(ZPCI_PGM_OPERAND);
	atomic_store(&zpci->directed.vectors[cpu], vector);
	return outcome_cc(0);
}

static struct outcome sic_directed(struct zpci *zpci, struct zpci_vcpu *vcpu,
				   const struct sic_request *request)
{
	if (!zpci->directed.available)
		return outcome_program(ZPCI_PGM_OPERAND);
	switch (request->operation) {
	case SIC_DIRECT:
		return sic_direct(zpci, vcpu, request);
	case SIC_SET_CPU:
		return sic_set_cpu(zpci, vcpu, request);
	default:
		zpci->config.machine->set_directed_mode(zpci->config.opaque, vcpu->index,
							request->isc,
							request->operation == SIC_DIRECTED_SINGLE ?
								ZPCI_INTERRUPTION_SINGLE :
								ZPCI_INTERRUPTION_ALL);
		return outcome_cc(0);
	}
}

static struct outcome sic(struct zpci *zpci, struct zpci_vcpu *vcpu,
			  const struct sic_request *request)
{
	if (!zpci->config.machine->set_interruption_mode)
		return outcome_program(ZPCI_PGM_OPERATION);
	if (vcpu->problem_state)
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	switch (request->operation) {
	case SIC_ALL:
		zpci->config.machine->set_interruption_mode(zpci->config.opaque, request->isc,
							    ZPCI_INTERRUPTION_ALL);
		return outcome_cc(0);
	case SIC_SINGLE:
		zpci->config.machine->set_interruption_mode(zpci->config.opaque, request->isc,
							    ZPCI_INTERRUPTION_SINGLE);
		return outcome_cc(0);
	case SIC_DIRECT:
	case SIC_DIRECTED_ALL:
	case SIC_DIRECTED_SINGLE:
	case SIC_SET_CPU:
		return sic_directed(zpci, vcpu, request);
	default:
		return outcome_program(ZPCI_PGM_OPERAND);
	}
}

int zpci_insn_sic(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r3,
		  uint64_t address, unsigned ar)
{
	const struct sic_request request = {
		.operation = vcpu->registers[r1] & 0xffff,
		.isc = vcpu->registers[r3] >> 27 & 7,
		.address = address,
		.ar = ar,
	};
	struct outcome outcome = sic(zpci, vcpu, &request);

	TRACE_INSN(zpci, "zpci_sic", outcome, "mode=%u isc=%u", request.operation, request.isc);
	if (outcome.kind == OUTCOME_CC)
		return 0; /* the condition code stays as it was */
	return insn_finish(zpci, vcpu, outcome, r1);
}
