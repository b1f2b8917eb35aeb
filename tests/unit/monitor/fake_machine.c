/* SPDX-License-Identifier: MIT */
/* A machine for the monitor's tests; see fake_machine.h. */
#include "fake_machine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "devices/device.h"
#include "zpci/pci.h"

static void __attribute__((format(printf, 2, 3)))
record(struct machine *machine, const char *format, ...)
{
	size_t used = strlen(machine->record);
	va_list args;

	va_start(args, format);
	vsnprintf(machine->record + used, sizeof(machine->record) - used, format, args);
	va_end(args);
}

enum machine_run_state machine_run_state(struct machine *machine)
{
	return machine->state;
}

void fake_machine_tell(struct machine *machine, enum machine_event_kind kind)
{
	const struct machine_event event = {
		.kind = kind,
		.reason = "disabled-wait",
		.psw_addr = 0x123,
		.id = "one",
		.path = "/machine/peripheral/one",
	};

	if (machine->listener)
		machine->listener(machine->opaque, &event);
}

void machine_pause(struct machine *machine)
{
	machine->state = MACHINE_PAUSED;
	record(machine, "pause ");
	fake_machine_tell(machine, MACHINE_EVENT_PAUSED);
}

void machine_resume(struct machine *machine)
{
	machine->state = MACHINE_RUNNING;
	record(machine, "resume ");
	fake_machine_tell(machine, MACHINE_EVENT_RESUMED);
}

void machine_system_reset(struct machine *machine)
{
	record(machine, "reset ");
}

void machine_power_down(struct machine *machine)
{
	record(machine, "power-down ");
}

void machine_quit(struct machine *machine)
{
	record(machine, "quit ");
}

void machine_listen(struct machine *machine, machine_listener *listener, void *opaque)
{
	machine->listener = listener;
	machine->opaque = opaque;
}

int machine_device_add(struct machine *machine, struct device_config *config, char *error,
		       size_t error_size)
{
	record(machine, "add(%s,%s,%s,%" PRIu32 ",%d) ", config->type->name, config->id,
	       device_config_value(config, "file")->text, config->has_uid ? config->uid : 0,
	       (int)device_config_value(config, "readonly")->number);
	if (machine->answer)
		snprintf(error, error_size, "it \"failed\"");
	return machine->answer;
}

int machine_device_del(struct machine *machine, const char *id, bool force)
{
	record(machine, "del(%s,%d) ", id, force);
	return machine->answer;
}

int machine_device_inject_error(struct machine *machine, const char *id, uint16_t code,
				uint64_t address)
{
	record(machine, "error(%s,%#x,%#" PRIx64 ") ", id, code, address);
	return machine->answer;
}

int machine_device_fail_translation(struct machine *machine, const char *id, uint16_t code,
				    uint64_t count)
{
	record(machine, "fail(%s,%#x,%" PRIu64 ") ", id, code, count);
	return machine->answer;
}

/* --- one function, for query-pci -------------------------------------------------------- */

static uint64_t bar_read(void *device, unsigned int bar, uint64_t offset, unsigned int size)
{
	return 0;
}

static void bar_write(void *device, unsigned int bar, uint64_t offset, unsigned int size,
		      uint64_t value)
{
}

static const struct pci_device_ops ops = { .bar_read = bar_read, .bar_write = bar_write };

void machine_for_each_device(struct machine *machine,
			     void (*visit)(void *opaque, const struct machine_device_info *info),
			     void *opaque)
{
	static const struct pci_function_info info = {
		.name = "fake",
		.vendor_id = 0x1234,
		.device_id = 0x5678,
		.class_code = 0x010802,
	};
	struct pci_function *function = pci_function_new(&info, &ops, NULL);

	pci_function_add_bar(function, 0, 0x4000, true, false);
	for (unsigned int i = 0; i < machine->functions; i++) {
		const struct machine_device_info device = {
			.id = i ? "" : "one",
			.path = "/machine/peripheral/one",
			.type = device_find_type("nvme"),
			.function = function,
			.fid = i,
			.uid = (uint16_t)(i + 1),
		};

		visit(opaque, &device);
	}
	pci_function_free(function);
}
