/* SPDX-License-Identifier: MIT */
/* Floating interruptions; see floating.h. */
#include "machine/floating.h"

#include <errno.h>

#include "base/trace.h"

/* CR6: I/O-interruption subclass mask, ISC 0 at bit 32. */
#define CR6_ISC(isc) (BIT64(32) >> (isc))
#define CR14_CHANNEL_REPORT BIT64(35)

#define ADAPTER_PENDING(isc) (BIT32(0) >> (isc))
#define ADAPTER_SINGLE(isc) (BIT32(8) >> (isc))
#define ADAPTER_NO_MORE(isc) (BIT32(16) >> (isc))

/* I/O-interruption-identification word: adapter, and the ISC in bits 2-4. */
#define IO_WORD_ADAPTER BIT32(0)
#define IO_WORD_ISC_SHIFT 27

#define SERVICE_PENDING BIT64(0)
#define SERVICE_SCCB 0xfffffff8u

/*
 * Machine-check interruption code: channel report pending, and the validity bits
 * of what the CPU stores: PSW (mask, program mask and condition code, address),
 * failing address not, registers, control registers, timer, clock comparator.
 */
#define MCIC_CHANNEL_REPORT BIT64(9)
#define MCIC_VALID (BIT64(20) | BIT64(21) | BIT64(22) | BIT64(23) | BIT64(27) | BIT64(28) | \
		    BIT64(29) | BIT64(31) | BIT64(33) | BIT64(42) | BIT64(43) | BIT64(46) | \
		    BIT64(47))

void floating_reset(struct floating *floating)
{
	atomic_store(&floating->adapter, 0);
	atomic_store(&floating->service, 0);
	atomic_store(&floating->channel_report, false);
}

void floating_adapter(struct floating *floating, unsigned int isc)
{
	unsigned int old = atomic_load_explicit(&floating->adapter, memory_order_relaxed);
	unsigned int new;

	do {
		if (old & ADAPTER_NO_MORE(isc)) {
			trace_floating_adapter(isc, "suppressed");
			return;
		}
		new = old | ADAPTER_PENDING(isc);
		if (old & ADAPTER_SINGLE(isc))
			new |= ADAPTER_NO_MORE(isc);
	} while (!atomic_compare_exchange_weak(&floating->adapter, &old, new));
	trace_floating_adapter(isc, old & ADAPTER_PENDING(isc) ? "merged" : "pending");
	if (!(old & ADAPTER_PENDING(isc)))
		cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_IO, CR6_ISC(isc));
}

int floating_set_mode(struct floating *floating, unsigned int isc, unsigned int mode)
{
	unsigned int old, new;

	if (isc >= FLOATING_ISCS || mode > FLOATING_MODE_SINGLE)
		return -EINVAL;
	old = atomic_load_explicit(&floating->adapter, memory_order_relaxed);
	do {
		new = old & ~(ADAPTER_SINGLE(isc) | ADAPTER_NO_MORE(isc));
		if (mode == FLOATING_MODE_SINGLE)
			new |= ADAPTER_SINGLE(isc);
	} while (!atomic_compare_exchange_weak(&floating->adapter, &old, new));
	trace_floating_mode(isc, mode == FLOATING_MODE_SINGLE ? "single" : "all");
	return 0;
}

bool floating_take_io(struct floating *floating, uint64_t cr6, struct cpu_io_interruption *io)
{
	unsigned int admitted = (unsigned int)cr6 & 0xff000000;
	unsigned int old = atomic_load_explicit(&floating->adapter, memory_order_relaxed);
	unsigned int isc;

	do {
		if (!(old & admitted))
			return false;
		/* The lowest number is the most urgent. */
		isc = (unsigned int)__builtin_clz(old & admitted);
	} while (!atomic_compare_exchange_weak(&floating->adapter, &old,
					       old & ~ADAPTER_PENDING(isc)));
	*io = (struct cpu_io_interruption){
		.interruption_word = IO_WORD_ADAPTER | isc << IO_WORD_ISC_SHIFT,
	};
	trace_floating_io(isc);
	return true;
}

void floating_service(struct floating *floating, uint32_t parameter)
{
	uint_fast64_t old = atomic_load_explicit(&floating->service, memory_order_relaxed);
	uint_fast64_t new;

	do {
		new = old | SERVICE_PENDING | parameter;
		/*
		 * A guest that starts an operation without having taken the
		 * interruption of the one before is told of the newer one.
		 */
		if (parameter & SERVICE_SCCB)
			new = SERVICE_PENDING | (old & FLOATING_SERVICE_EVENT) | parameter;
	} while (!atomic_compare_exchange_weak(&floating->service, &old, new));
	trace_floating_service(parameter, old & SERVICE_PENDING ? "merged" : "pending");
	cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_EXTERNAL, CR0_SERVICE_SIGNAL);
}

bool floating_service_pending(struct floating *floating)
{
	return atomic_load(&floating->service) & SERVICE_PENDING;
}

bool floating_take_external(struct floating *floating, uint64_t cr0,
			    struct cpu_external_interruption *external)
{
	uint_fast64_t old;

	if (!(cr0 & CR0_SERVICE_SIGNAL) ||
	    !atomic_load_explicit(&floating->service, memory_order_relaxed))
		return false;
	old = atomic_exchange(&floating->service, 0);
	if (!(old & SERVICE_PENDING))
		return false;
	*external = (struct cpu_external_interruption){
		.code = EXT_SERVICE_SIGNAL,
		.parameter = (uint32_t)old,
	};
	trace_floating_service((uint32_t)old, "taken");
	return true;
}

void floating_channel_report(struct floating *floating)
{
	atomic_store(&floating->channel_report, true);
	trace_floating_mchk(MCIC_CHANNEL_REPORT, "pending");
	cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_MCHK, CR14_CHANNEL_REPORT);
}

bool floating_take_mchk(struct floating *floating, uint64_t cr14,
			struct cpu_mchk_interruption *mchk)
{
	if (!(cr14 & CR14_CHANNEL_REPORT) ||
	    !atomic_load_explicit(&floating->channel_report, memory_order_relaxed) ||
	    !atomic_exchange(&floating->channel_report, false))
		return false;
	mchk->code = MCIC_CHANNEL_REPORT | MCIC_VALID;
	trace_floating_mchk(mchk->code, "taken");
	return true;
}
