/* SPDX-License-Identifier: MIT */
/* The machine's side of libzpci; see pci.h. */
#include "machine/pci.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/trace.h"
#include "machine/devices.h"
#include "machine/internal.h"
#include "zpci/zpci.h"

/* The answer to configuring what is configured. */
#define SCLP_NO_ACTION_REQUIRED 0x0120

static_assert(ZPCI_CCDF_SIZE <= CSS_EVENT_MAX, "an event fits");

/* --- what libzpci asks of a vCPU ------------------------------------------------------- */

struct machine_pci_vcpu {
	struct zpci_vcpu zpci;
	struct vcpu *cpu;
};

static struct vcpu *cpu_of(struct zpci_vcpu *vcpu)
{
	return container_of(vcpu, struct machine_pci_vcpu, zpci)->cpu;
}

static int pci_program(struct zpci_vcpu *vcpu, enum zpci_program code)
{
	/* Both enumerations have the architecture's numbers. */
	return vcpu_program(cpu_of(vcpu), (enum pgm_code)code);
}

static int pci_read(struct zpci_vcpu *vcpu, uint64_t address, unsigned int ar, void *to,
		    size_t length)
{
	return vcpu_read(cpu_of(vcpu), address, ar, to, length);
}

static int pci_write(struct zpci_vcpu *vcpu, uint64_t address, unsigned int ar, const void *from,
		     size_t length)
{
	return vcpu_write(cpu_of(vcpu), address, ar, from, length);
}

static int pci_translate(struct zpci_vcpu *vcpu, uint64_t address, unsigned int ar, bool write,
			 uint64_t *absolute)
{
	return vcpu_translate(cpu_of(vcpu), address, ar, write, absolute);
}

static const struct zpci_vcpu_ops vcpu_ops = {
	.program = pci_program,
	.read = pci_read,
	.write = pci_write,
	.translate = pci_translate,
};

/* --- … and of the machine ---------------------------------------------------------------- */

static void pci_adapter_interruption(void *opaque, unsigned int isc)
{
	floating_adapter(&((struct machine *)opaque)->floating, isc);
}

static void pci_set_interruption_mode(void *opaque, unsigned int isc,
				      enum zpci_interruption_mode mode)
{
	floating_set_mode(&((struct machine *)opaque)->floating, isc, mode);
}

static bool pci_directed_interruption(void *opaque, unsigned int cpu, unsigned int isc)
{
	return floating_directed(&((struct machine *)opaque)->floating, cpu, isc);
}

static void pci_set_directed_mode(void *opaque, unsigned int cpu, unsigned int isc,
				  enum zpci_interruption_mode mode)
{
	floating_set_directed_mode(&((struct machine *)opaque)->floating, cpu, isc, mode);
}

static void pci_event_pending(void *opaque)
{
	css_event_pending(opaque);
}

static void pci_deconfigured(void *opaque, uint32_t fid)
{
	machine_device_deconfigured(opaque, fid);
}

static uint64_t pci_tod(void *opaque)
{
	return cpu_complex_tod(((struct machine *)opaque)->cpus);
}

static void pci_trace(void *opaque, const char *event, const char *text)
{
	trace_text(event, text);
}

static void pci_memory_written(void *opaque, uint64_t absolute, uint64_t length)
{
	cpu_complex_memory_written(((struct machine *)opaque)->cpus, absolute, length);
}

static void pci_stores_unseen(void *opaque, bool begin)
{
	cpu_complex_stores_unseen(((struct machine *)opaque)->cpus, begin);
}

static uint8_t pci_storage_key(void *opaque, uint64_t absolute)
{
	return cpu_complex_storage_key(((struct machine *)opaque)->cpus, absolute);
}

static const struct zpci_machine_ops machine_ops = {
	.adapter_interruption = pci_adapter_interruption,
	.set_interruption_mode = pci_set_interruption_mode,
	.directed_interruption = pci_directed_interruption,
	.set_directed_mode = pci_set_directed_mode,
	.event_pending = pci_event_pending,
	.deconfigured = pci_deconfigured,
	.tod = pci_tod,
};

/* With no `trace`, libzpci composes no text: what to use is decided once. */
static const struct zpci_machine_ops traced_machine_ops = {
	.adapter_interruption = pci_adapter_interruption,
	.set_interruption_mode = pci_set_interruption_mode,
	.directed_interruption = pci_directed_interruption,
	.set_directed_mode = pci_set_directed_mode,
	.event_pending = pci_event_pending,
	.deconfigured = pci_deconfigured,
	.tod = pci_tod,
	.trace = pci_trace,
};

/* --- instructions ---------------------------------------------------------------------------- */

/*
 * That the CPU is not in the problem state has been seen to before a handler of a privileged
 * instruction is called, so zpci_vcpu.problem_state is never set.
 */
static struct zpci *zpci_of(void *opaque)
{
	return ((struct machine *)opaque)->zpci;
}

static struct zpci_vcpu *begin(struct machine *machine, struct vcpu *v)
{
	const struct cpu_state *state = vcpu_state(v);
	struct zpci_vcpu *vcpu = &machine->pci_vcpus[state->cpu_address].zpci;

	vcpu->mio_addressing = state->cr[2] & CR2_MIO_ADDRESSING;
	return vcpu;
}

static int finish(struct vcpu *v, const struct zpci_vcpu *vcpu, int error)
{
	if (!error)
		vcpu_set_cc(v, vcpu->cc);
	return error;
}

static int handle_clp(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);
	unsigned int r3 = insn->raw >> 44 & 15;
	unsigned int m4 = insn->raw >> 40 & 15;

	return finish(v, vcpu, zpci_insn_clp(zpci_of(opaque), vcpu, insn->r1, insn->r2, r3, m4));
}

static int handle_pciwb(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	/* The condition code stays. */
	return zpci_insn_pciwb(zpci_of(opaque), begin(opaque, v));
}

static int handle_sic(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	/* Here, too. */
	return zpci_insn_sic(zpci_of(opaque), begin(opaque, v), insn->r1, insn->r3, insn->address,
			     insn->b2);
}

static int handle_pcistg(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu, zpci_insn_pcistg(zpci_of(opaque), vcpu, insn->r1, insn->r2));
}

static int handle_pcilg(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu, zpci_insn_pcilg(zpci_of(opaque), vcpu, insn->r1, insn->r2));
}

static int handle_pcistgi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu, zpci_insn_pcistgi(zpci_of(opaque), vcpu, insn->r1, insn->r2));
}

static int handle_pcilgi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu, zpci_insn_pcilgi(zpci_of(opaque), vcpu, insn->r1, insn->r2));
}

static int handle_rpcit(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu, zpci_insn_rpcit(zpci_of(opaque), vcpu, insn->r1, insn->r2));
}

static int handle_mpcifc(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu,
		      zpci_insn_mpcifc(zpci_of(opaque), vcpu, insn->r1, insn->address, insn->b2));
}

static int handle_stpcifc(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu,
		      zpci_insn_stpcifc(zpci_of(opaque), vcpu, insn->r1, insn->address, insn->b2));
}

static int handle_pcistb(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu,
		      zpci_insn_pcistb(zpci_of(opaque), vcpu, insn->r1, insn->r3, insn->address,
				       insn->b2));
}

static int handle_pcistbi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct zpci_vcpu *vcpu = begin(opaque, v);

	return finish(v, vcpu,
		      zpci_insn_pcistbi(zpci_of(opaque), vcpu, insn->r1, insn->r3, insn->address,
					insn->b2));
}

static const struct {
	uint16_t opcode;
	cpu_insn_handler *handler;
} instructions[] = {
	{ 0xb9a0, handle_clp },	   { 0xb9d0, handle_pcistg },  { 0xb9d2, handle_pcilg },
	{ 0xb9d3, handle_rpcit },  { 0xb9d4, handle_pcistgi }, { 0xb9d5, handle_pciwb },
	{ 0xb9d6, handle_pcilgi }, { 0xe3d0, handle_mpcifc },  { 0xe3d4, handle_stpcifc },
	{ 0xebd0, handle_pcistb }, { 0xebd1, handle_sic },     { 0xebd4, handle_pcistbi },
};

/* --- service processor, channel subsystem, reset ------------------------------------------------ */

uint16_t machine_pci_configure(struct machine *machine, uint32_t fid, bool on)
{
	uint16_t response;

	if (!on)
		return zpci_sclp_deconfigure(machine->zpci, fid);
	response = zpci_sclp_configure(machine->zpci, fid);
	if (response == SCLP_NO_ACTION_REQUIRED)
		machine_device_kept(machine, fid);
	return response;
}

bool machine_pci_next_event(struct machine *machine, struct machine_pci_event *event)
{
	struct zpci *zpci = machine->zpci;
	struct zpci_event next;

	if (!zpci_next_event(zpci, &next))
		return false;
	event->content_code = next.content_code;
	event->length = sizeof(next.ccdf);
	memcpy(event->data, next.ccdf, sizeof(next.ccdf));
	event->more = zpci_has_event(zpci);
	event->lost = next.lost;
	return true;
}

void machine_pci_return_event(struct machine *machine, const struct machine_pci_event *event)
{
	struct zpci_event back = { .content_code = event->content_code, .lost = event->lost };

	memcpy(back.ccdf, event->data, sizeof(back.ccdf));
	zpci_return_event(machine->zpci, &back);
}

bool machine_pci_quiesce(struct machine *machine, uint32_t *fid)
{
	return zpci_quiesce(machine->zpci, fid);
}

void machine_pci_reset(struct machine *machine)
{
	zpci_reset(machine->zpci);
}

void machine_pci_cpu_stopped(struct machine *machine, unsigned int cpu)
{
	if (floating_withdraw_directed(&machine->floating, cpu))
		zpci_directed_fallback(machine->zpci, cpu);
}

void machine_pci_update(struct machine *machine)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	zpci_update_measurements(machine->zpci,
				 (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

/* --- made and taken apart ------------------------------------------------------------------ */

int machine_pci_create(struct machine *machine, char *error, size_t error_size)
{
	struct zpci_config config = {
		.memory = {
			.base = machine->memory.base,
			.size = machine->memory.size,
			.written = pci_memory_written,
			.stores_unseen = pci_stores_unseen,
			.storage_key = pci_storage_key,
			.opaque = machine,
		},
		.vcpu = &vcpu_ops,
		.machine = trace_any_enabled("zpci_") ? &traced_machine_ops : &machine_ops,
		.opaque = machine,
		.directed_interruptions = machine->features & MACHINE_DIRECTED_INTERRUPTS,
		.mio = machine->features & MACHINE_MIO,
		.uid_checking = machine->features & MACHINE_UID_CHECKING,
	};
	unsigned int count = cpu_complex_count(machine->cpus);
	int rc;

	machine->pci_vcpus = calloc(count, sizeof(*machine->pci_vcpus));
	machine->zpci = machine->pci_vcpus ? zpci_create(&config) : NULL;
	if (!machine->zpci) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < count; i++) {
		struct vcpu *cpu = cpu_complex_vcpu(machine->cpus, i);

		machine->pci_vcpus[i].cpu = cpu;
		machine->pci_vcpus[i].zpci.index = i;
		machine->pci_vcpus[i].zpci.window = vcpu_window(cpu);
		machine->pci_vcpus[i].zpci.registers = vcpu_state(cpu)->gr;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(instructions); i++) {
		rc = cpu_complex_set_handler(machine->cpus, instructions[i].opcode,
					     instructions[i].handler);
		if (rc) {
			snprintf(error, error_size, "this CPU has no PCI instructions");
			return -EIO;
		}
	}
	return 0;
}

void machine_pci_destroy(struct machine *machine)
{
	zpci_destroy(machine->zpci);
	machine->zpci = NULL;
	free(machine->pci_vcpus);
	machine->pci_vcpus = NULL;
}
