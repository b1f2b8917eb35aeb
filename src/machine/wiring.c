/* SPDX-License-Identifier: MIT */
/*
 * Who asks whom in a machine: the functions by which CPUs, console and service processor
 * reach the other parts without knowing them.
 */
#include "base/irq_sources.h"
#include "machine/internal.h"
#include "machine/pci.h"

/* --- what the CPUs ask ------------------------------------------------------------- */

static bool take_io(void *opaque, struct vcpu *vcpu, uint64_t cr6, struct cpu_io_interruption *io)
{
	return floating_take_io(&((struct machine *)opaque)->floating, machine_cpu_address(vcpu),
				cr6, io);
}

static bool take_external(void *opaque, struct vcpu *vcpu, uint64_t cr0,
			  struct cpu_external_interruption *external)
{
	return floating_take_external(&((struct machine *)opaque)->floating, cr0, external);
}

static bool take_mchk(void *opaque, struct vcpu *vcpu, uint64_t cr14,
		      struct cpu_mchk_interruption *mchk)
{
	return floating_take_mchk(&((struct machine *)opaque)->floating, cr14, mchk);
}

static void remind(void *opaque)
{
	floating_remind(&((struct machine *)opaque)->floating);
}

const struct cpu_floating_ops machine_floating_ops = {
	.remind = remind,
	.take_io = take_io,
	.take_external = take_external,
	.take_mchk = take_mchk,
};

bool machine_irq_sources_wanted(void *opaque)
{
	return irq_sources_any(((struct machine *)opaque)->irq_sources);
}

void machine_irq_sources_serve(void *opaque, const struct epoll_event *events, unsigned int count)
{
	irq_sources_serve(((struct machine *)opaque)->irq_sources, events, count);
}

void machine_irq_sources_serve_rest(void *opaque)
{
	irq_sources_serve_rest(((struct machine *)opaque)->irq_sources);
}

void machine_irq_sources_watch(void *opaque, bool on)
{
	irq_sources_watch(((struct machine *)opaque)->irq_sources, on);
}

void machine_on_vcpu_state_changed(void *opaque, struct vcpu *vcpu)
{
	struct machine *machine = opaque;

	pthread_mutex_lock(&machine->lock);
	machine->cpu[machine_cpu_address(vcpu)].kicks++;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
}

void machine_on_memory_written(void *opaque, uint64_t absolute, uint64_t length)
{
	cpu_complex_memory_written(((struct machine *)opaque)->cpus, absolute, length);
}

/* --- what the console and the service processor ask -------------------------------- */

static void on_console_input(void *opaque)
{
	sclp_console_input(&((struct machine *)opaque)->sclp);
}

static void on_console_room(void *opaque)
{
	sclp_console_room(&((struct machine *)opaque)->sclp);
}

static void on_console_end(void *opaque)
{
	machine_request_end(opaque, "host-ui");
}

const struct console_ops machine_console_ops = {
	.input = on_console_input,
	.room = on_console_room,
	.end = on_console_end,
};

static void sclp_interrupt(void *opaque, uint32_t parameter)
{
	floating_service(&((struct machine *)opaque)->floating, parameter);
}

static int sclp_write(void *opaque, const void *data, size_t length)
{
	struct machine *machine = opaque;

	if (machine->lockstep.file) {
		lockstep_write_console(data, length);
		return 0;
	}
	return console_write(machine->console, data, length);
}

static size_t sclp_read(void *opaque, void *to, size_t most)
{
	return console_read(((struct machine *)opaque)->console, to, most);
}

static bool sclp_read_line(void *opaque, void *to, size_t most, size_t *length)
{
	return console_read_line(((struct machine *)opaque)->console, to, most, length);
}

static bool sclp_has_input(void *opaque)
{
	return console_has_input(((struct machine *)opaque)->console);
}

static bool sclp_has_line(void *opaque)
{
	return console_has_line(((struct machine *)opaque)->console);
}

static uint16_t sclp_pci_configure(void *opaque, uint32_t fid, bool on)
{
	return machine_pci_configure(opaque, fid, on);
}

const struct sclp_ops machine_sclp_ops = {
	.interrupt = sclp_interrupt,
	.write = sclp_write,
	.read = sclp_read,
	.read_line = sclp_read_line,
	.has_input = sclp_has_input,
	.has_line = sclp_has_line,
	.pci_configure = sclp_pci_configure,
};
