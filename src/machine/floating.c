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
#define ADAPTER_ALL_PENDING 0xff000000u
#define ADAPTER_ALL_NO_MORE 0x0000ff00u

/*
 * I/O-interruption-identification word: adapter, directed, and the ISC in bits 2-4
 * (struct tpi_adapter_info in Linux, arch/s390/include/asm/tpi.h).
 */
#define IO_WORD_ADAPTER BIT32(0)
#define IO_WORD_DIRECTED BIT32(1)
#define IO_WORD_ISC_SHIFT 27

#define SERVICE_PENDING BIT64(0)
#define SERVICE_SCCB 0xfffffff8u

/*
 * Machine-check interruption code: channel report pending, and the validity bits
 * of what the CPU stores: PSW (mask, program mask and condition code, address),
 * failing address not, registers, control registers, timer, clock comparator.
 * Vector registers count as valid although there are none: newer Linux (since it
 * asks no more whether there are, nmi_registers_valid() in arch/s390/kernel/nmi.c)
 * takes their absence for damage and stops.
 */
#define MCIC_CHANNEL_REPORT BIT64(9)
#define MCIC_VALID (BIT64(20) | BIT64(21) | BIT64(22) | BIT64(23) | BIT64(25) | BIT64(27) | \
		    BIT64(28) | BIT64(29) | BIT64(31) | BIT64(33) | BIT64(42) | BIT64(43) | BIT64(46) | \
		    BIT64(47))

void floating_reset(struct floating *floating)
{
	atomic_store(&floating->adapter, 0);
	for (unsigned int i = 0; i < CPU_MAX_VCPUS; i++)
		atomic_store(&floating->directed[i], 0);
	atomic_store(&floating->service, 0);
	atomic_store(&floating->channel_report, false);
}

/* --- adapter interruptions, floating or of one CPU --------------------------------- */

enum presentation { PENDING, MERGED, SUPPRESSED };

static const char *const presentation_names[] = { "pending", "merged", "suppressed" };

static enum presentation present(floating_adapters *adapters, unsigned int isc)
{
	unsigned int old = atomic_load_explicit(adapters, memory_order_relaxed);
	unsigned int new;

	do {
		new = old;
		if (!(old & ADAPTER_NO_MORE(isc)))
			new |= ADAPTER_PENDING(isc);
		if (old & ADAPTER_SINGLE(isc))
			new |= ADAPTER_NO_MORE(isc);
		/* Also when nothing changes: who reads the word next shall see the indicators. */
	} while (!atomic_compare_exchange_weak(adapters, &old, new));
	if (old & ADAPTER_NO_MORE(isc))
		return SUPPRESSED;
	return old & ADAPTER_PENDING(isc) ? MERGED : PENDING;
}

static int set_mode(floating_adapters *adapters, unsigned int isc, unsigned int mode)
{
	unsigned int old = atomic_load_explicit(adapters, memory_order_relaxed);
	unsigned int new;

	if (isc >= FLOATING_ISCS || mode > FLOATING_MODE_SINGLE)
		return -EINVAL;
	do {
		new = old & ~(ADAPTER_SINGLE(isc) | ADAPTER_NO_MORE(isc));
		if (mode == FLOATING_MODE_SINGLE)
			new |= ADAPTER_SINGLE(isc);
	} while (!atomic_compare_exchange_weak(adapters, &old, new));
	return 0;
}

static const char *mode_name(unsigned int mode)
{
	return mode == FLOATING_MODE_SINGLE ? "single" : "all";
}

/* The most urgent one that CR6 admits: its ISC, or FLOATING_ISCS if there is none. */
static unsigned int most_urgent(unsigned int adapters, uint64_t cr6)
{
	unsigned int admitted = adapters & (unsigned int)cr6 & ADAPTER_ALL_PENDING;

	return admitted ? (unsigned int)__builtin_clz(admitted) : FLOATING_ISCS;
}

void floating_adapter(struct floating *floating, unsigned int isc)
{
	enum presentation how = present(&floating->adapter, isc);

	trace_floating_adapter(isc, presentation_names[how]);
	if (how == PENDING)
		cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_IO, CR6_ISC(isc));
}

int floating_set_mode(struct floating *floating, unsigned int isc, unsigned int mode)
{
	int rc = set_mode(&floating->adapter, isc, mode);

	if (!rc)
		trace_floating_mode(isc, mode_name(mode));
	return rc;
}

/*
 * The CPU may stop at any moment. Who stops says so first and then withdraws; here it is
 * the other way round, so that at least one of the two sees what the other has done.
 */
bool floating_directed(struct floating *floating, unsigned int cpu, unsigned int isc)
{
	const struct vcpu *vcpu = cpu_complex_vcpu(floating->cpus, cpu);
	enum presentation how;

	if (!vcpu || vcpu_is_stopped(vcpu)) {
		trace_floating_directed(cpu, isc, "stopped");
		return false;
	}
	how = present(&floating->directed[cpu], isc);
	trace_floating_directed(cpu, isc, presentation_names[how]);
	atomic_thread_fence(memory_order_seq_cst);
	if (vcpu_is_stopped(vcpu))
		return !floating_withdraw_directed(floating, cpu);
	if (how == PENDING)
		cpu_complex_directed_pending(floating->cpus, cpu, CR6_ISC(isc));
	return true;
}

int floating_set_directed_mode(struct floating *floating, unsigned int cpu, unsigned int isc,
			       unsigned int mode)
{
	int rc = cpu < CPU_MAX_VCPUS ? set_mode(&floating->directed[cpu], isc, mode) : -EINVAL;

	if (!rc)
		trace_floating_directed_mode(cpu, isc, mode_name(mode));
	return rc;
}

bool floating_withdraw_directed(struct floating *floating, unsigned int cpu)
{
	const unsigned int open = ADAPTER_ALL_PENDING | ADAPTER_ALL_NO_MORE;

	atomic_thread_fence(memory_order_seq_cst);
	return atomic_fetch_and(&floating->directed[cpu], ~open) & open;
}

/* Take the one on `isc`; false: another CPU was faster. */
static bool take(floating_adapters *adapters, unsigned int isc)
{
	return atomic_fetch_and(adapters, ~ADAPTER_PENDING(isc)) & ADAPTER_PENDING(isc);
}

bool floating_take_io(struct floating *floating, unsigned int cpu, uint64_t cr6,
		      struct cpu_io_interruption *io)
{
	floating_adapters *own = &floating->directed[cpu];

	for (;;) {
		unsigned int floating_isc = most_urgent(
			atomic_load_explicit(&floating->adapter, memory_order_relaxed), cr6);
		unsigned int own_isc =
			most_urgent(atomic_load_explicit(own, memory_order_relaxed), cr6);
		bool directed = own_isc <= floating_isc;
		unsigned int isc = directed ? own_isc : floating_isc;

		if (isc == FLOATING_ISCS)
			return false;
		if (!take(directed ? own : &floating->adapter, isc))
			continue;
		*io = (struct cpu_io_interruption){
			.interruption_word = IO_WORD_ADAPTER | isc << IO_WORD_ISC_SHIFT |
					     (directed ? IO_WORD_DIRECTED : 0),
		};
		trace_floating_io(isc, directed ? "directed" : "floating", cpu);
		return true;
	}
}

void floating_put_back_io(struct floating *floating, unsigned int cpu,
			  const struct cpu_io_interruption *io)
{
	unsigned int isc = io->interruption_word >> IO_WORD_ISC_SHIFT & 7;

	if (io->interruption_word & IO_WORD_DIRECTED) {
		atomic_fetch_or(&floating->directed[cpu], ADAPTER_PENDING(isc));
		cpu_complex_directed_pending(floating->cpus, cpu, CR6_ISC(isc));
	} else {
		atomic_fetch_or(&floating->adapter, ADAPTER_PENDING(isc));
		cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_IO, CR6_ISC(isc));
	}
}

/* --- the others ------------------------------------------------------------------------ */

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

void floating_remind(struct floating *floating)
{
	uint64_t iscs = atomic_load(&floating->adapter) & ADAPTER_ALL_PENDING;

	if (iscs)
		cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_IO, iscs);
	if (floating_service_pending(floating))
		cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_EXTERNAL,
					     CR0_SERVICE_SIGNAL);
	if (atomic_load(&floating->channel_report))
		cpu_complex_floating_pending(floating->cpus, CPU_FLOATING_MCHK,
					     CR14_CHANNEL_REPORT);
}
