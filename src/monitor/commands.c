/* SPDX-License-Identifier: MIT */
/*
 * The commands, each a few lines between JSON and machine/control.h.
 *
 * Names, arguments, results and error texts are QEMU's (qapi/run-state.json,
 * machine.json, pci.json, qdev.json, softmmu/qdev-monitor.c). Where zvisor has more,
 * the name begins with "x-", as QEMU's names of what is not settled do.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "devices/device.h"
#include "machine/control.h"
#include "monitor/command.h"
#include "zpci/pci.h"

#define GENERIC_ERROR "GenericError"
#define DEVICE_NOT_FOUND "DeviceNotFound"

/* --- the machine --------------------------------------------------------------------- */

json_t *command_version(void)
{
	int major = 0, minor = 0, micro = 0;

	sscanf(ZVISOR_VERSION, "%d.%d.%d", &major, &minor, &micro);
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", micro, "minor", minor,
			 "major", major, "package", "zvisor-" ZVISOR_VERSION);
}

static json_t *query_version(struct machine *machine, json_t *arguments,
			     struct command_error *error)
{
	return command_version();
}

static json_t *query_status(struct machine *machine, json_t *arguments,
			    struct command_error *error)
{
	static const char *const names[] = {
		[MACHINE_RUNNING] = "running",
		[MACHINE_PAUSED] = "paused",
		[MACHINE_SHUT_DOWN] = "shutdown",
	};
	enum machine_run_state state = machine_run_state(machine);

	return json_pack("{s:s, s:b, s:b}", "status", names[state], "singlestep", 0, "running",
			 state == MACHINE_RUNNING);
}

static json_t *stop(struct machine *machine, json_t *arguments, struct command_error *error)
{
	machine_pause(machine);
	return NULL;
}

static json_t *cont(struct machine *machine, json_t *arguments, struct command_error *error)
{
	machine_resume(machine);
	return NULL;
}

static json_t *system_reset(struct machine *machine, json_t *arguments,
			    struct command_error *error)
{
	machine_system_reset(machine);
	return NULL;
}

static json_t *system_powerdown(struct machine *machine, json_t *arguments,
				struct command_error *error)
{
	machine_power_down(machine);
	return NULL;
}

static json_t *quit(struct machine *machine, json_t *arguments, struct command_error *error)
{
	machine_quit(machine);
	return NULL;
}

/* --- query-pci ------------------------------------------------------------------------- */

/* There are no buses on Z; functions are shown in the order of plugging. */
#define SLOTS_OF_BUS 32

#define BAR_64BIT 0x4u
#define BAR_PREFETCHABLE 0x8u

static json_t *describe_regions(struct pci_function *function)
{
	json_t *regions = json_array();

	for (unsigned int bar = 0; bar < PCI_BAR_COUNT; bar++) {
		uint64_t size = pci_function_bar_size(function, bar);
		uint32_t value = pci_function_bar_value(function, bar);

		if (!size)
			continue;
		/* No BAR has an address: -1, as QEMU shows one that is not mapped. */
		json_array_append_new(
			regions, json_pack("{s:b, s:b, s:i, s:I, s:i, s:s}", "prefetch",
					   (value & BAR_PREFETCHABLE) != 0, "mem_type_64",
					   (value & BAR_64BIT) != 0, "bar", (int)bar, "size",
					   (json_int_t)size, "address", (json_int_t)-1, "type", "memory"));
	}
	return regions;
}

static int config_word(struct pci_function *function, unsigned int offset)
{
	return (int)pci_function_config_read(function, offset, 2);
}

struct pci_list {
	json_t *buses;
	json_t *devices; /* of the last bus */
	int count;
};

static void describe_function(void *opaque, const struct machine_device_info *info)
{
	struct pci_list *list = opaque;
	struct pci_function *function = info->function;
	int bus = list->count / SLOTS_OF_BUS, slot = list->count % SLOTS_OF_BUS;

	if (list->count && !slot) {
		list->devices = json_array();
		json_array_append_new(list->buses, json_pack("{s:i, s:o}", "bus", bus, "devices",
							     list->devices));
	}
	list->count++;
	json_array_append_new(
		list->devices,
		json_pack("{s:i, s:i, s:s, s:i, s:{s:i}, s:{s:i, s:i, s:i, s:i}, s:i, s:o, "
			  "s:{s:I, s:I, s:s}}",
			  "irq_pin", 0, "bus", bus, "qdev_id", info->id, "slot", slot,
			  "class_info", "class", config_word(function, PCI_CLASS_PROG + 1), "id",
			  "device", config_word(function, PCI_DEVICE_ID), "subsystem-vendor",
			  config_word(function, PCI_SUBSYSTEM_VENDOR_ID), "vendor",
			  config_word(function, PCI_VENDOR_ID), "subsystem",
			  config_word(function, PCI_SUBSYSTEM_ID), "function", 0, "regions",
			  describe_regions(function), "x-zpci", "fid", (json_int_t)info->fid,
			  "uid", (json_int_t)info->uid, "path", info->path));
}

static json_t *query_pci(struct machine *machine, json_t *arguments, struct command_error *error)
{
	struct pci_list list = { .buses = json_array(), .devices = json_array() };

	json_array_append_new(list.buses,
			      json_pack("{s:i, s:o}", "bus", 0, "devices", list.devices));
	machine_for_each_device(machine, describe_function, &list);
	return list.buses;
}

/* --- device_add, device_del --------------------------------------------------------------- */

#define PROPERTIES_MAX 32
#define NUMBER_LENGTH 24

/*
 * A value as it would stand on the command line; NULL when none would do. `number` has
 * room for NUMBER_LENGTH characters.
 */
static const char *text_of(const json_t *value, char *number)
{
	if (json_is_string(value))
		return json_string_value(value);
	if (json_is_boolean(value))
		return json_is_true(value) ? "on" : "off";
	if (!json_is_integer(value))
		return NULL;
	snprintf(number, NUMBER_LENGTH, "%lld", (long long)json_integer_value(value));
	return number;
}

/* 0 with `config` filled, or -EINVAL with the error. */
static int parse_device(json_t *arguments, struct device_config *config,
			struct command_error *error)
{
	const char *driver = json_string_value(json_object_get(arguments, "driver"));
	const struct device_type *type = device_find_type(driver);
	struct device_pair pairs[PROPERTIES_MAX];
	char numbers[PROPERTIES_MAX][NUMBER_LENGTH];
	char reason[DEVICE_ERROR_MAX];
	size_t count = 0;
	const char *name;
	json_t *value;

	if (!type) {
		command_fail(error, GENERIC_ERROR, "'%s' is not a valid device model name", driver);
		return -EINVAL;
	}
	json_object_foreach(arguments, name, value) {
		if (!strcmp(name, "driver"))
			continue;
		/* No object has a name twice: more than all properties is one too many. */
		if (!device_has_property(type, name) || count == PROPERTIES_MAX) {
			command_fail(error, GENERIC_ERROR, "Property '%s.%s' not found",
				     type->name, name);
			return -EINVAL;
		}
		pairs[count].name = name;
		pairs[count].text = text_of(value, numbers[count]);
		if (!pairs[count].text) {
			command_fail(error, GENERIC_ERROR,
				     "Parameter '%s' expects a string, a number or a boolean", name);
			return -EINVAL;
		}
		count++;
	}
	if (device_parse_pairs(type->name, pairs, count, config, reason, sizeof(reason))) {
		command_fail(error, GENERIC_ERROR, "%s", reason);
		return -EINVAL;
	}
	return 0;
}

static json_t *device_add(struct machine *machine, json_t *arguments,
			  struct command_error *error)
{
	struct device_config config;
	char reason[DEVICE_ERROR_MAX];

	if (parse_device(arguments, &config, error))
		return NULL;
	if (machine_device_add(machine, &config, reason, sizeof(reason)))
		command_fail(error, GENERIC_ERROR, "%s", reason);
	device_config_clear(&config);
	return NULL;
}

static json_t *device_del(struct machine *machine, json_t *arguments,
			  struct command_error *error)
{
	const char *id = json_string_value(json_object_get(arguments, "id"));

	if (machine_device_del(machine, id, json_is_true(json_object_get(arguments, "force"))))
		command_fail(error, DEVICE_NOT_FOUND, "Device '%s' not found", id);
	return NULL;
}

/* --- errors on purpose ----------------------------------------------------------------------- */

/* The usual reason of a failed translation: an invalid entry. See docs/zpci.md. */
#define CODE_INVALID_ENTRY 0x07
#define COUNT_MAX (1ll << 48)

/* An optional number, within limits; -1 and an error otherwise. */
static json_int_t number_of(json_t *arguments, const char *name, json_int_t preset,
			    json_int_t most, struct command_error *error)
{
	json_t *value = json_object_get(arguments, name);
	json_int_t number = value ? json_integer_value(value) : preset;

	if (number >= 0 && number <= most)
		return number;
	command_fail(error, GENERIC_ERROR, "Parameter '%s' expects a number from 0 to %lld", name,
		     (long long)most);
	return -1;
}

static void report_injection(int rc, const char *id, struct command_error *error)
{
	if (rc == -ENOENT)
		command_fail(error, DEVICE_NOT_FOUND, "Device '%s' not found", id);
	else if (rc == -EINVAL)
		command_fail(error, GENERIC_ERROR, "Parameter 'code' expects an event code of an error");
	else if (rc)
		command_fail(error, GENERIC_ERROR,
			     "Device '%s' is not in a state in which it could fail", id);
}

/* The function goes into the error state, with code 59 (3b) into permanent error. */
static json_t *inject_error(struct machine *machine, json_t *arguments,
			    struct command_error *error)
{
	const char *id = json_string_value(json_object_get(arguments, "id"));
	json_int_t code = number_of(arguments, "code", 0, UINT16_MAX, error);
	json_int_t address = number_of(arguments, "address", 0, INT64_MAX, error);

	if (!error->error_class)
		report_injection(machine_device_inject_error(machine, id, (uint16_t)code,
							     (uint64_t)address), id, error);
	return NULL;
}

/* Of the pages that the device's DMA will go to, number `count` is not translated. */
static json_t *fail_translation(struct machine *machine, json_t *arguments,
				struct command_error *error)
{
	const char *id = json_string_value(json_object_get(arguments, "id"));
	json_int_t code = number_of(arguments, "code", CODE_INVALID_ENTRY, UINT16_MAX, error);
	json_int_t count = number_of(arguments, "count", 1, COUNT_MAX, error);

	if (!error->error_class)
		report_injection(machine_device_fail_translation(machine, id, (uint16_t)code,
								 (uint64_t)count), id, error);
	return NULL;
}

/* ---------------------------------------------------------------------------------------------- */

const struct command commands[] = {
	{ "query-version", .run = query_version },
	{ "query-status", .run = query_status },
	{ "query-pci", .run = query_pci },
	{ "stop", .run = stop },
	{ "cont", .run = cont },
	{ "system_reset", .run = system_reset },
	{ "system_powerdown", .run = system_powerdown },
	{ "quit", .run = quit },
	{ "device_add", { { "driver", ARGUMENT_STRING, true } }, .any_argument = true,
	  .run = device_add },
	{ "device_del", { { "id", ARGUMENT_STRING, true }, { "force", ARGUMENT_BOOLEAN, false } },
	  .run = device_del },
	{ "x-zpci-inject-error", { { "id", ARGUMENT_STRING, true },
				   { "code", ARGUMENT_INTEGER, true },
				   { "address", ARGUMENT_INTEGER, false } },
	  .run = inject_error },
	{ "x-zpci-fail-translation", { { "id", ARGUMENT_STRING, true },
				       { "count", ARGUMENT_INTEGER, false },
				       { "code", ARGUMENT_INTEGER, false } },
	  .run = fail_translation },
};
const size_t command_count = ARRAY_SIZE(commands);
