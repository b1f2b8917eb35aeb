/* SPDX-License-Identifier: MIT */
/*
 * MODIFY and STORE PCI FUNCTION CONTROLS: the function information block (FIB),
 * in which a program registers interruptions, address translation and
 * measurement for a function, and in which it reads back what is in effect.
 *
 * Sources: Linux, arch/s390/include/asm/pci_insn.h (layout, operation controls)
 * and arch/s390/pci/pci_irq.c, pci.c (use); QEMU, hw/s390x/s390-pci-inst.c
 * (order of checks, status codes).
 */
#include <string.h>

#include "zpci/internal.h"

struct fib {
	uint8_t format;
	uint8_t reserved1[7];
	uint8_t controls;
	uint8_t reserved2[7];
	be64 pba;
	be64 pal;
	be64 iota;
	be32 interruption; /* ISC, NOI, offsets, summary; in format 1 the NOI alone */
	be16 dibvo; /* format 1, with 0 from here to fmb_address */
	be16 reserved3;
	be64 aibv;
	be64 aisb;
	be64 fmb_address;
	be32 reserved4;
	be32 gd;
};

static_assert(sizeof(struct fib) == 80, "layout of a FIB");

/* How interruptions are described: floating, directed. */
#define FORMAT_FLOATING 0
#define FORMAT_DIRECTED 1

/* Function controls, as stored. */
#define FIB_ENABLED 0x80
#define FIB_ERROR 0x40
#define FIB_BLOCKED 0x20
#define FIB_DMA_REGISTERED 0x10

/* Operation controls of MPCIFC. */
enum operation {
	OPERATION_REGISTER_INTERRUPTIONS = 2,
	OPERATION_DEREGISTER_INTERRUPTIONS = 3,
	OPERATION_REGISTER_TRANSLATION = 4,
	OPERATION_DEREGISTER_TRANSLATION = 5,
	OPERATION_REREGISTER_TRANSLATION = 6,
	OPERATION_RESET_ERROR = 7,
	OPERATION_RESET_BLOCK = 9,
	OPERATION_SET_MEASUREMENT = 10,
	OPERATION_REGISTER_DIRECTED = 16,
	OPERATION_DEREGISTER_DIRECTED = 17,
};

/* What both instructions take from their first operand. */
struct request {
	uint32_t fh;
	unsigned dma_space;
	unsigned operation;
};

static struct request request_of(uint64_t gr)
{
	return (struct request){ gr >> 32, gr >> 16 & 0xff, gr & 0xff };
}

/* How long DMA may take to drain before the program is told to try again. */
#define DRAIN_WAIT_US 1000

/* --- interruptions ------------------------------------------------------------- */

static struct interrupt_route route_of(const struct fib *fib)
{
	uint32_t word = be32_get(fib->interruption);

	return (struct interrupt_route){
		.registered = true,
		.isc = word >> 28 & 7,
		.noi = word >> 16 & 0xfff,
		.aibvo = word >> 8 & 0x3f,
		.summary = word >> 7 & 1,
		.aisbo = word & 0x3f,
		.aibv = be64_get(fib->aibv),
		.aisb = be64_get(fib->aisb),
	};
}

static struct interrupt_route directed_route_of(const struct fib *fib)
{
	return (struct interrupt_route){
		.registered = true,
		.directed = true,
		.noi = be32_get(fib->interruption) >> 16 & 0xfff,
		.dibvo = be16_get(fib->dibvo),
	};
}

static uint32_t route_word(const struct interrupt_route *route)
{
	if (route->directed)
		return (uint32_t)route->noi << 16;
	return (uint32_t)route->isc << 28 | (uint32_t)route->noi << 16 |
	       (uint32_t)route->aibvo << 8 | (uint32_t)route->summary << 7 | route->aisbo;
}

/* No message is being delivered by the route before when this returns. */
static void change_route(struct zpci_function *f, const struct interrupt_route *route)
{
	pthread_mutex_lock(&f->lock);
	f->route = *route;
	pthread_mutex_unlock(&f->lock);
}

static struct outcome register_interruptions(struct zpci_function *f, const struct fib *fib)
{
	struct interrupt_route route = route_of(fib);

	if (f->route.registered)
		return outcome_status(STATUS_SEQUENCE);
	if (route.noi > f->config.interrupts)
		return outcome_program(ZPCI_PGM_OPERAND);
	if (!interrupt_route_valid(f, &route))
		return outcome_status(STATUS_RESOURCES_NOT_AVAILABLE);
	change_route(f, &route);
	return outcome_cc(0);
}

static struct outcome register_directed(struct zpci_function *f, const struct fib *fib)
{
	struct interrupt_route route = directed_route_of(fib);

	if (f->route.registered)
		return outcome_status(STATUS_SEQUENCE);
	if (route.noi > f->config.interrupts || !interrupt_directed_valid(&route))
		return outcome_program(ZPCI_PGM_OPERAND);
	change_route(f, &route);
	return outcome_cc(0);
}

/* Of the one kind or the other. */
static struct outcome deregister_interruptions(struct zpci_function *f, bool directed)
{
	if (!f->route.registered || f->route.directed != directed)
		return outcome_status(STATUS_SEQUENCE);
	change_route(f, &(struct interrupt_route){ 0 });
	return outcome_cc(0);
}

/* --- translation ------------------------------------------------------------------ */

/*
 * Put `ioat` into effect; nothing uses what was before when this succeeds. While DMA
 * is still in flight the answer is condition code 2 and, apart from new DMA
 * being refused until the program has tried again, nothing has changed.
 */
static struct outcome change_translation(struct zpci_function *f, const struct ioat *ioat)
{
	dma_space_close(f->dma);
	mapping_gate(f, false);
	if (dma_space_drain(f->dma, DRAIN_WAIT_US))
		return outcome_cc(2);
	if (f->mapping && ioat->registered) {
		struct outcome outcome = mapping_register(f, ioat);

		if (!outcome_good(outcome))
			return outcome;
	} else {
		mapping_clear(f);
	}
	pthread_mutex_lock(&f->lock);
	ioat_set(f, ioat);
	function_update_access(f);
	pthread_mutex_unlock(&f->lock);
	return outcome_cc(0);
}

static struct outcome register_translation(struct zpci_function *f, const struct fib *fib)
{
	struct ioat ioat = {
		.registered = true,
		.pba = be64_get(fib->pba) & PAGE_MASK,
		.pal = be64_get(fib->pal) | ~PAGE_MASK,
		.iota = be64_get(fib->iota),
	};

	if (ioat_check(f, &ioat))
		return outcome_program(ZPCI_PGM_OPERAND);
	return change_translation(f, &ioat);
}

static struct outcome modify_translation(struct zpci_function *f, const struct fib *fib,
					 unsigned dma_space, enum operation operation)
{
	if (dma_space)
		return outcome_status(STATUS_INVALID_DMA_SPACE);
	if (f->ioat.registered != (operation != OPERATION_REGISTER_TRANSLATION))
		return outcome_status(STATUS_SEQUENCE);
	if (operation == OPERATION_DEREGISTER_TRANSLATION)
		return change_translation(f, &(struct ioat){ 0 });
	return register_translation(f, fib);
}

/* --- states -------------------------------------------------------------------------- */

static struct outcome change_state(struct zpci_function *f, enum operation operation)
{
	struct outcome outcome = outcome_cc(0);

	/* While it was in error no refresh was possible. */
	if (f->mapping && f->ioat.registered && operation == OPERATION_RESET_ERROR &&
	    (f->state == FUNCTION_ERROR || f->state == FUNCTION_BLOCKED)) {
		outcome = mapping_register(f, &f->ioat);
		if (!outcome_good(outcome))
			return outcome;
	}
	pthread_mutex_lock(&f->lock);
	if (f->state == FUNCTION_ERROR && operation == OPERATION_RESET_BLOCK)
		f->state = FUNCTION_BLOCKED;
	else if ((f->state == FUNCTION_ERROR || f->state == FUNCTION_BLOCKED) &&
		 operation == OPERATION_RESET_ERROR)
		f->state = FUNCTION_ENABLED;
	else
		outcome = outcome_status(STATUS_SEQUENCE);
	function_update_access(f);
	pthread_mutex_unlock(&f->lock);
	return outcome;
}

/* --- measurement ------------------------------------------------------------------------ */

/* The address has a storage key in its rightmost bits. */
#define FMB_KEY_MASK 0xfull

static struct outcome set_measurement(struct zpci_function *f, const struct fib *fib)
{
	uint64_t address = be64_get(fib->fmb_address);
	bool keyed = address & FMB_KEY_MASK;

	if (!address || keyed) {
		pthread_mutex_lock(&f->lock);
		measurement_stop(f);
		pthread_mutex_unlock(&f->lock);
	} else {
		measurement_start(f, address);
	}
	if (!keyed)
		return outcome_cc(0);
	event_error(f, PEC_FMB_PROTECTION, address);
	return outcome_cc(1);
}

/* --- MODIFY PCI FUNCTION CONTROLS ---------------------------------------------------------- */

static struct outcome modify(struct zpci_function *f, const struct request *request,
			     const struct fib *fib)
{
	switch (request->operation) {
	case OPERATION_REGISTER_INTERRUPTIONS:
		return register_interruptions(f, fib);
	case OPERATION_DEREGISTER_INTERRUPTIONS:
		return deregister_interruptions(f, false);
	case OPERATION_REGISTER_DIRECTED:
		return register_directed(f, fib);
	case OPERATION_DEREGISTER_DIRECTED:
		return deregister_interruptions(f, true);
	case OPERATION_REGISTER_TRANSLATION:
	case OPERATION_DEREGISTER_TRANSLATION:
	case OPERATION_REREGISTER_TRANSLATION:
		return modify_translation(f, fib, request->dma_space, request->operation);
	case OPERATION_RESET_ERROR:
	case OPERATION_RESET_BLOCK:
		return change_state(f, request->operation);
	case OPERATION_SET_MEASUREMENT:
		return set_measurement(f, fib);
	default:
		return outcome_program(ZPCI_PGM_OPERAND);
	}
}

/* Directed delivery has its own format, and its operations are not there without it. */
static bool format_valid(const struct zpci *zpci, unsigned operation, unsigned format)
{
	if (operation == OPERATION_REGISTER_DIRECTED || operation == OPERATION_DEREGISTER_DIRECTED)
		return zpci->directed.available && format == FORMAT_DIRECTED;
	return format == FORMAT_FLOATING;
}

static struct outcome mpcifc_function(struct zpci_function *f, struct zpci_vcpu *vcpu,
				      const struct request *request, uint64_t address, unsigned ar)
{
	struct outcome outcome;
	struct fib fib;

	switch (function_state(f)) {
	case FUNCTION_ENABLED:
	case FUNCTION_BLOCKED:
	case FUNCTION_ERROR:
		break;
	default:
		return outcome_cc(CC_INVALID_HANDLE);
	}
	if (f->zpci->config.vcpu->read(vcpu, address, ar, &fib, sizeof(fib)))
		return outcome_access();
	if (!format_valid(f->zpci, request->operation, fib.format))
		return outcome_program(ZPCI_PGM_OPERAND);
	pthread_mutex_lock(&f->control);
	/* It may have been disabled, or taken away, while we were waiting. */
	if (f->fh == request->fh)
		outcome = modify(f, request, &fib);
	else
		outcome = outcome_cc(CC_INVALID_HANDLE);
	pthread_mutex_unlock(&f->control);
	return outcome;
}

static struct outcome mpcifc(struct zpci *zpci, struct zpci_vcpu *vcpu,
			     const struct request *request, uint64_t address, unsigned ar)
{
	struct zpci_function *f;
	struct outcome outcome;

	if (vcpu->problem_state)
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	if (address % 8)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	f = function_enter(zpci, request->fh);
	if (!f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = mpcifc_function(f, vcpu, request, address, ar);
	function_leave(f);
	return outcome;
}

int zpci_insn_mpcifc(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, uint64_t address,
		     unsigned ar)
{
	struct request request = request_of(vcpu->registers[r1]);
	struct outcome outcome = mpcifc(zpci, vcpu, &request, address, ar);

	TRACE_INSN(zpci, "zpci_mpcifc", outcome, "fh=%08x operation=%u space=%u fib=%#llx",
		   request.fh, request.operation, request.dma_space,
		   (unsigned long long)address);
	return insn_finish(zpci, vcpu, outcome, r1);
}

/* --- STORE PCI FUNCTION CONTROLS ------------------------------------------------------------ */

static void describe(const struct zpci_function *f, struct fib *fib)
{
	enum function_state state = function_state(f);

	if (state == FUNCTION_ERROR)
		fib->controls |= FIB_BLOCKED;
	if (state == FUNCTION_ERROR || state == FUNCTION_BLOCKED)
		fib->controls |= FIB_ERROR;
	fib->controls |= FIB_ENABLED;
	if (f->ioat.registered)
		fib->controls |= FIB_DMA_REGISTERED;
	be64_set(&fib->pba, f->ioat.pba);
	be64_set(&fib->pal, f->ioat.pal);
	be64_set(&fib->iota, f->ioat.iota);
	fib->format = f->route.directed ? FORMAT_DIRECTED : FORMAT_FLOATING;
	be32_set(&fib->interruption, route_word(&f->route));
	be16_set(&fib->dibvo, f->route.dibvo);
	be64_set(&fib->aibv, f->route.aibv);
	be64_set(&fib->aisb, f->route.aisb);
	be64_set(&fib->fmb_address, f->measurement.address);
}

/* Fill the block; `enabled` says whether the function's handle has the bit. */
static struct outcome inspect(struct zpci_function *f, const struct request *request,
			      struct fib *fib, bool *enabled)
{
	struct outcome outcome = outcome_cc(0);

	*enabled = false;
	memset(fib, 0, sizeof(*fib));
	pthread_mutex_lock(&f->lock);
	switch (function_state(f)) {
	case FUNCTION_RESERVED:
	case FUNCTION_STANDBY:
		outcome = outcome_cc(CC_INVALID_HANDLE);
		break;
	case FUNCTION_DISABLED:
		if (request->fh & FH_ENABLED)
			outcome = outcome_cc(CC_INVALID_HANDLE);
		break;
	case FUNCTION_PERMANENT_ERROR:
		outcome = outcome_status(STATUS_FUNCTION_IN_ERROR);
		break;
	default:
		*enabled = true;
		describe(f, fib);
	}
	pthread_mutex_unlock(&f->lock);
	return outcome;
}

static struct outcome stpcifc(struct zpci *zpci, struct zpci_vcpu *vcpu,
			      const struct request *request, unsigned r1, uint64_t address,
			      unsigned ar)
{
	struct zpci_function *f;
	struct outcome outcome;
	struct fib fib;
	bool enabled;

	if (vcpu->problem_state)
		return outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	if (request->dma_space)
		return outcome_status(STATUS_INVALID_DMA_SPACE);
	if (address % 8)
		return outcome_program(ZPCI_PGM_SPECIFICATION);
	f = function_enter_any(zpci, request->fh);
	if (!f)
		return outcome_cc(CC_INVALID_HANDLE);
	outcome = inspect(f, request, &fib, &enabled);
	function_leave(f);
	if (outcome.kind != OUTCOME_CC || outcome.value != 0)
		return outcome;
	if (zpci->config.vcpu->write(vcpu, address, ar, &fib, sizeof(fib)))
		return outcome_access();
	if (enabled && !(request->fh & FH_ENABLED))
		vcpu->registers[r1] |= (uint64_t)FH_ENABLED << 32;
	return outcome;
}

int zpci_insn_stpcifc(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, uint64_t address,
		      unsigned ar)
{
	struct request request = request_of(vcpu->registers[r1]);
	struct outcome outcome = stpcifc(zpci, vcpu, &request, r1, address, ar);

	TRACE_INSN(zpci, "zpci_stpcifc", outcome, "fh=%08x space=%u fib=%#llx", request.fh,
		   request.dma_space, (unsigned long long)address);
	return insn_finish(zpci, vcpu, outcome, r1);
}
