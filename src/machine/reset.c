/* SPDX-License-Identifier: MIT */
/*
 * Loading and resetting a machine, while no vCPU runs.
 *
 * Source: Principles of Operation, chapter 4, "Resets"; what DIAG X'308' asks for: Linux,
 * arch/s390/kernel/ipl.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/trace.h"
#include "machine/devices.h"
#include "machine/internal.h"
#include "machine/pci.h"

int machine_load(struct machine *machine, char *error, size_t error_size)
{
	const struct ipl_request request = {
		.kernel = machine->config.kernel,
		.initrd = machine->config.initrd,
		.append = machine->config.append,
	};

	return ipl_load(&request, &machine->memory, &machine->entry, error, error_size);
}

/* I/O and interruptions as after power on. */
static void reset_subsystems(struct machine *machine)
{
	machine_devices_reset(machine);
	machine_pci_reset(machine);
	sclp_reset(&machine->sclp);
	floating_reset(&machine->floating);
	/*
	 * Behind the interruptions: the monitor may plug a device meanwhile, and a channel
	 * report that was taken away after it is noted as announced would be the last.
	 */
	css_reset(&machine->css);
}

void machine_enter(struct machine *machine, unsigned int cpu, uint64_t psw_mask, uint64_t psw_addr)
{
	struct vcpu *vcpu = machine->cpu[cpu].vcpu;

	vcpu_state(vcpu)->psw_mask = psw_mask;
	vcpu_state(vcpu)->psw_addr = psw_addr;
	vcpu_state_changed(vcpu);
	vcpu_start(vcpu);
}

/* Load normal without loading: the short PSW at absolute 0 becomes the PSW. */
static void enter_at_short_psw(struct machine *machine, unsigned int cpu)
{
	uint64_t psw = load_be64(machine->memory.base);

	/* In its long form bit 12 is zero; one that was zero makes it invalid. */
	machine_enter(machine, cpu, (psw & ~0x7fffffffull) ^ PSW_BIT12, psw & 0x7fffffff);
}

int machine_perform_reset(struct machine *machine, enum machine_reset kind, unsigned int cpu,
			  char *error, size_t error_size)
{
	unsigned int cpus = machine->config.cpus;
	int rc;

	switch (kind) {
	case MACHINE_RESET_MODIFIED_CLEAR:
		trace_machine_reset("modified clear reset", cpu);
		for (unsigned int i = 0; i < cpus; i++)
			vcpu_clear_reset(machine->cpu[i].vcpu);
		reset_subsystems(machine);
		enter_at_short_psw(machine, cpu);
		return 0;
	case MACHINE_RESET_LOAD_NORMAL:
		trace_machine_reset("load normal reset", cpu);
		for (unsigned int i = 0; i < cpus; i++)
			if (i != cpu)
				vcpu_cpu_reset(machine->cpu[i].vcpu);
		reset_subsystems(machine);
		vcpu_initial_reset(machine->cpu[cpu].vcpu);
		enter_at_short_psw(machine, cpu);
		return 0;
	case MACHINE_RESET_REIPL:
		trace_machine_reset("load clear", cpu);
		for (unsigned int i = 0; i < cpus; i++)
			vcpu_clear_reset(machine->cpu[i].vcpu);
		reset_subsystems(machine);
		cpu_complex_clear(machine->cpus);
		rc = machine_devices_clear_memory(machine);
		if (rc) {
			snprintf(error, error_size, "cannot clear memory: %s", strerror(-rc));
			return rc;
		}
		rc = machine_load(machine, error, error_size);
		if (rc)
			return rc;
		machine_enter(machine, 0, machine->entry.psw_mask, machine->entry.psw_addr);
		return 0;
	case MACHINE_RESET_NONE:
		break;
	}
	return 0;
}
