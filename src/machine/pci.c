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

static uint64_t *pci_registers(void *vcpu)
{
	return vcpu_state(vcpu)->gr;
}

static void pci_set_cc(void *vcpu, unsigned int cc)
{
	vcpu_set_cc(vcpu, cc);
}

static bool pci_problem_state(void *vcpu)
{
	return vcpu_problem_state(vcpu);
}

static int pci_program(void *vcpu, enum zpci_program code)
{
	/* Both enumerations have the architecture's numbers. */
	return vcpu_program(vcpu, (enum pgm_code)code);
}

static int pci_read(void *vcpu, uint64_t address, unsigned int ar, void *to, size_t length)
{
	return vcpu_read(vcpu, address, ar, to, length);
}

static int pci_write(void *vcpu, uint64_t address, unsigned int ar, const void *from,
		     size_t length)
{
	return vcpu_write(vcpu, address, ar, from, length);
}

static int pci_translate(void *vcpu, uint64_t address, unsigned int ar, bool write,
			 uint64_t *absolute)
{
	return vcpu_translate(vcpu, address, ar, write, absolute);
}

static unsigned int pci_index(void *vcpu)
{
	return vcpu_state(vcpu)->cpu_address;
}

static bool pci_mio_addressing(void *vcpu)
{
	return vcpu_state(vcpu)->cr[2] & CR2_MIO_ADDRESSING;
}

static const struct zpci_vcpu_ops vcpu_ops = {
	.registers = pci_registers,
	.set_cc = pci_set_cc,
	.problem_state = pci_problem_state,
	.program = pci_program,
	.read = pci_read,
	.write = pci_write,
	.translate = pci_translate,
	.index = pci_index,
	.mio_addressing = pci_mio_addressing,
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

static struct zpci *zpci_of(void *opaque)
{
	return ((struct machine *)opaque)->zpci;
}

static int handle_clp(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	unsigned int r3 = insn->raw >> 44 & 15;
	unsigned int m4 = insn->raw >> 40 & 15;

	return zpci_insn_clp(zpci_of(opaque), v, insn->r1, insn->r2, r3, m4);
}

static int handle_pcistg(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pcistg(zpci_of(opaque), v, insn->r1, insn->r2);
}

static int handle_pcilg(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pcilg(zpci_of(opaque), v, insn->r1, insn->r2);
}

static int handle_pcistgi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pcistgi(zpci_of(opaque), v, insn->r1, insn->r2);
}

static int handle_pcilgi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pcilgi(zpci_of(opaque), v, insn->r1, insn->r2);
}

static int handle_pciwb(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pciwb(zpci_of(opaque), v);
}

static int handle_rpcit(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_rpcit(zpci_of(opaque), v, insn->r1, insn->r2);
}

static int handle_mpcifc(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_mpcifc(zpci_of(opaque), v, insn->r1, insn->address, insn->b2);
}

static int handle_stpcifc(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_stpcifc(zpci_of(opaque), v, insn->r1, insn->address, insn->b2);
}

static int handle_pcistb(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pcistb(zpci_of(opaque), v, insn->r1, insn->r3, insn->address, insn->b2);
}

static int handle_pcistbi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_pcistbi(zpci_of(opaque), v, insn->r1, insn->r3, insn->address, insn->b2);
}

static int handle_sic(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return zpci_insn_sic(zpci_of(opaque), v, insn->r1, insn->r3, insn->address, insn->b2);
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
	int rc;

	machine->zpci = zpci_create(&config);
	if (!machine->zpci) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
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
}
