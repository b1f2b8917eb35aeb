/* SPDX-License-Identifier: MIT */
/*
 * The table of device types, and the parser and printer that read it.
 */
#include "devices/device.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "base/words.h"
#include "devices/nvme.h"
#include "devices/testdev.h"
#include "vfio/kernel.h"
#include "vfio/user_client.h"

static const struct device_type *const device_types[] = {
	&nvme_device_type,     &testdev_device_type,   &vfio_device_type,
	&vfio_pci_device_type, &vfio_user_device_type, &vfio_user_pci_device_type,
};

enum {
	COMMON_ID,
	COMMON_UID,
	COMMON_FID,
	COMMON_ADDRESS,
	COMMON_MULTIFUNCTION,
	COMMON_PCHID,
	COMMON_PFT,
	COMMON_UTIL_STRING,
	COMMON_INTERRUPTS,
	COMMON_STORE_BLOCK,
	COMMON_MEASUREMENT_INTERVAL,
	COMMON_RELAXED_TRANSLATION,
	COMMON_STANDBY,
};

/*
 * ID: the device's name in the monitor. The others as CLP query function and query
 * function group have them; UID: 16 bits, 0 is "no UID". The address is spelled as
 * on QEMU: devices with the same slot are functions of one device, on one bus.
 */
static const struct device_property common_properties[] = {
	[COMMON_ID] = { "id", DEVICE_IDENTIFIER, .minimum = 1, .maximum = DEVICE_ID_MAX,
			.help = "name of the device in the monitor" },
	[COMMON_UID] = { "uid", DEVICE_NUMBER, .preset = "next free", .maximum = UINT16_MAX,
			 .help = "user-defined identifier, the PCI domain in Linux" },
	[COMMON_FID] = { "fid", DEVICE_NUMBER, .preset = "next free", .minimum = 0,
			 .maximum = UINT32_MAX, .help = "function identifier" },
	[COMMON_ADDRESS] = { "addr", DEVICE_ADDRESS, .preset = "a slot of its own",
			     .help = "slot and function; functions with one slot share a bus" },
	[COMMON_MULTIFUNCTION] = { "multifunction", DEVICE_SWITCH, .preset = "off",
				   .help = "function 0 of a slot that has more" },
	[COMMON_PCHID] = { "pchid", DEVICE_NUMBER, .preset = "0, of several functions one number",
			   .maximum = UINT16_MAX, .help = "physical channel identifier" },
	[COMMON_PFT] = { "pft", DEVICE_NUMBER, .preset = "0", .maximum = UINT8_MAX,
			 .help = "function type" },
	[COMMON_UTIL_STRING] = { "util-string", DEVICE_TEXT, .minimum = 1, .maximum = 64,
				 .help = "utility string" },
	[COMMON_INTERRUPTS] = { "interrupts", DEVICE_NUMBER, .preset = "128, or the vectors it has",
				.minimum = 1, .maximum = 2048,
				.help = "vectors that the guest may register" },
	[COMMON_STORE_BLOCK] = { "store-block", DEVICE_NUMBER, .preset = "128, testdev 4096",
				 .minimum = 16, .maximum = 4096,
				 .help = "bytes of a block store at most, a multiple of 8" },
	[COMMON_MEASUREMENT_INTERVAL] = { "measurement-interval", DEVICE_NUMBER, .preset = "4000",
					  .minimum = 250, .maximum = UINT16_MAX,
					  .help = "milliseconds between updates of the "
						  "measurement block" },
	[COMMON_RELAXED_TRANSLATION] = { "relaxed-translation", DEVICE_SWITCH,
					 .preset = "on, in zvisor-0.9 and passed through off",
					 .help = "the guest may do without I/O address "
						 "translation" },
	[COMMON_STANDBY] = { "standby", DEVICE_SWITCH, .preset = "off",
			     .help = "the guest has to configure it before it can be used" },
	{ NULL },
};
static_assert(ARRAY_SIZE(common_properties) <= DEVICE_COMMON_MAX, "values fit");

__attribute__((format(printf, 4, 5))) static int complain(int code, char *error,
							  size_t error_size, const char *format,
							  ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, error_size, format, args);
	va_end(args);
	return code;
}

const struct device_type *device_find_type(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(device_types); i++) {
		if (!strcmp(device_types[i]->name, name))
			return device_types[i];
	}
	return NULL;
}

static const struct device_property *find_property(const struct device_property *table,
						   const char *name)
{
	for (; table->name; table++) {
		if (!strcmp(table->name, name))
			return table;
	}
	return NULL;
}

const char *device_config_of_machine(const struct device_config *config)
{
	for (size_t i = 0; i < ARRAY_SIZE(common_properties); i++)
		if (i != COMMON_FID && common_properties[i].name && config->common[i].given)
			return common_properties[i].name;
	return NULL;
}

bool device_has_property(const struct device_type *type, const char *name)
{
	return find_property(type->properties, name) || find_property(common_properties, name);
}

const struct device_value *device_config_value(const struct device_config *config,
					       const char *property)
{
	const struct device_property *p = find_property(config->type->properties, property);

	if (p)
		return &config->values[p - config->type->properties];
	p = find_property(common_properties, property);
	return p ? &config->common[p - common_properties] : NULL;
}

static void list_names(char *out, size_t size, const struct device_property *table)
{
	for (; table->name; table++) {
		size_t used = strlen(out);

		snprintf(out + used, size - used, "%s%s", used ? ", " : "", table->name);
	}
}

static bool parse_number(const char *text, uint64_t *number)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	char *end;

	/* strtoull takes signs and spaces, and octal for base 0. */
	if (strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits) ||
	    !*digits)
		return false;
	errno = 0;
	*number = strtoull(digits, &end, hex ? 16 : 10);
	return !errno && !*end;
}

static bool is_printable(const char *text)
{
	for (; *text; text++) {
		if (*text < 0x20 || *text > 0x7e)
			return false;
	}
	return true;
}

/* As QEMU's id_wellformed() has it: a letter, then letters, digits, '-', '.', '_'. */
static bool is_identifier(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	static const char more[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789-._";

	return *text && strchr(letters, *text) && strspn(text, more) == strlen(text);
}

/* SLOT or SLOT.FUNCTION, in hexadecimal. */
static bool parse_address(const char *text, uint64_t *number)
{
	unsigned long slot, function = 0;
	char *end;

	if (!isxdigit((unsigned char)*text))
		return false;
	slot = strtoul(text, &end, 16);
	if (*end == '.') {
		if (!isxdigit((unsigned char)end[1]))
			return false;
		function = strtoul(end + 1, &end, 16);
	}
	*number = slot << 3 | function;
	return !*end && slot <= DEVICE_SLOT_MAX && function < 8;
}

static int parse_value(const struct device_type *type, const struct device_property *p,
		       const char *text, struct device_value *value, char *error, size_t error_size)
{
	size_t length = strlen(text);

	if (value->given)
		return complain(-EINVAL, error, error_size, "device %s: %s=%s: %s is given twice",
				type->name, p->name, text, p->name);
	switch (p->type) {
	case DEVICE_TEXT:
		if (length < p->minimum || length > p->maximum || !is_printable(text))
			return complain(-EINVAL, error, error_size,
					"device %s: %s=%s: wants %llu to %llu printable characters",
					type->name, p->name, text, (unsigned long long)p->minimum,
					(unsigned long long)p->maximum);
		break;
	case DEVICE_IDENTIFIER:
		if (length > p->maximum || !is_identifier(text))
			return complain(-EINVAL, error, error_size,
					"device %s: %s=%s: wants an identifier: a letter, then at "
					"most %llu letters, digits, '-', '.' and '_'",
					type->name, p->name, text,
					(unsigned long long)p->maximum - 1);
		break;
	case DEVICE_PATH:
		if (!length)
			return complain(-EINVAL, error, error_size,
					"device %s: %s=: wants the name of a file", type->name,
					p->name);
		break;
	case DEVICE_SWITCH:
		value->number = !strcmp(text, "on");
		if (!value->number && strcmp(text, "off"))
			return complain(-EINVAL, error, error_size,
					"device %s: %s=%s: wants on or off", type->name, p->name,
					text);
		break;
	case DEVICE_NUMBER:
		if (!parse_number(text, &value->number) || value->number < p->minimum ||
		    value->number > p->maximum)
			return complain(-EINVAL, error, error_size,
					"device %s: %s=%s: wants a number from %llu to %llu",
					type->name, p->name, text, (unsigned long long)p->minimum,
					(unsigned long long)p->maximum);
		break;
	case DEVICE_ADDRESS:
		if (!parse_address(text, &value->number))
			return complain(-EINVAL, error, error_size,
					"device %s: %s=%s: wants SLOT.FUNCTION, hexadecimal, 0.0 "
					"to %x.7",
					type->name, p->name, text, DEVICE_SLOT_MAX);
		break;
	}
	value->text = strdup(text);
	if (!value->text)
		return complain(-ENOMEM, error, error_size, "device %s: out of memory", type->name);
	value->given = true;
	return 0;
}

static int no_such_property(const struct device_config *config, const char *name, const char *text,
			    char *error, size_t error_size)
{
	static const struct device_property served[] = {
		{ .name = "fid" },
		{ .name = "socket" },
		{ NULL },
	};
	const struct device_type *type = config->type;
	char known[384] = "";

	list_names(known, sizeof(known), type->properties);
	list_names(known, sizeof(known), config->served ? served : common_properties);
	return complain(-EINVAL, error, error_size,
			"device %s: %s=%s: there is no such property (there are %s)", type->name,
			name, text, known);
}

static int parse_property(struct device_config *config, const char *name, const char *text,
			  char *error, size_t error_size)
{
	const struct device_type *type = config->type;
	const struct device_property *p = find_property(type->properties, name);

	if (p)
		return parse_value(type, p, text, &config->values[p - type->properties], error,
				   error_size);
	p = find_property(common_properties, name);
	if (p)
		return parse_value(type, p, text, &config->common[p - common_properties], error,
				   error_size);
	return no_such_property(config, name, text, error, error_size);
}

static int find_asked_type(struct device_config *config, const char *name, char *error,
			   size_t error_size)
{
	char known[256] = "";

	config->type = device_find_type(name);
	if (config->type && (config->type->create || !config->served))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(device_types); i++) {
		size_t used = strlen(known);

		if (device_types[i]->create || !config->served)
			snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "",
				 device_types[i]->name);
	}
	if (config->type)
		return complain(-EINVAL, error, error_size,
				"device %s: only devices of zvisor itself can be served (%s)", name,
				known);
	return complain(
		-EINVAL, error, error_size,
		"device \"%s\": there is no such device type (there are %s; `zvisor devices` "
		"lists their properties)",
		name, known);
}

static int check_required(const struct device_config *config, char *error, size_t error_size)
{
	for (const struct device_property *p = config->type->properties; p->name; p++) {
		if (p->required && !config->values[p - config->type->properties].given)
			return complain(-EINVAL, error, error_size, "device %s: wants %s=…: %s",
					config->type->name, p->name, p->help);
	}
	return 0;
}

/* Take over what is common to all types, or free everything when `rc` is not 0. */
static int finish(struct device_config *config, int rc)
{
	const struct device_value *common = config->common;

	config->has_uid = common[COMMON_UID].given;
	config->uid = (uint32_t)common[COMMON_UID].number;
	config->has_fid = common[COMMON_FID].given;
	config->fid = (uint32_t)common[COMMON_FID].number;
	config->has_relaxed_translation = common[COMMON_RELAXED_TRANSLATION].given;
	config->relaxed_translation = common[COMMON_RELAXED_TRANSLATION].number;
	if (common[COMMON_ID].given)
		snprintf(config->id, sizeof(config->id), "%s", common[COMMON_ID].text);
	if (rc)
		device_config_clear(config);
	return rc;
}

static int parse_items(struct device_config *config, char *rest, char *error, size_t error_size)
{
	char *item = words_next(&rest);
	int rc = find_asked_type(config, item, error, error_size);

	while (!rc && (item = words_next(&rest))) {
		char *text = strchr(item, '=');

		if (!text)
			return complain(-EINVAL, error, error_size,
					"device %s: \"%s\": wants property=value",
					config->type->name, item);
		*text++ = '\0';
		rc = parse_property(config, item, text, error, error_size);
	}
	return rc ? rc : check_required(config, error, error_size);
}

static int parse(const char *argument, bool served, struct device_config *config, char *error,
		 size_t error_size)
{
	char *copy = strdup(argument);
	int rc;

	*config = (struct device_config){ .served = served };
	if (!copy)
		return complain(-ENOMEM, error, error_size, "device %s: out of memory", argument);
	rc = parse_items(config, copy, error, error_size);
	free(copy);
	return finish(config, rc);
}

int device_parse(const char *argument, struct device_config *config, char *error, size_t error_size)
{
	return parse(argument, false, config, error, error_size);
}

int device_parse_served(const char *argument, struct device_config *config, char *error,
			size_t error_size)
{
	return parse(argument, true, config, error, error_size);
}

int device_parse_pairs(const char *type, const struct device_pair *pairs, size_t count,
		       struct device_config *config, char *error, size_t error_size)
{
	int rc;

	*config = (struct device_config){ 0 };
	rc = find_asked_type(config, type, error, error_size);
	for (size_t i = 0; !rc && i < count; i++)
		rc = parse_property(config, pairs[i].name, pairs[i].text, error, error_size);
	if (!rc)
		rc = check_required(config, error, error_size);
	return finish(config, rc);
}

void device_config_clear(struct device_config *config)
{
	for (size_t i = 0; i < ARRAY_SIZE(config->values); i++)
		free(config->values[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(config->common); i++)
		free(config->common[i].text);
	*config = (struct device_config){ 0 };
}

int device_create(const struct device_config *config, const char *name,
		  struct pci_function **function, char *error, size_t error_size)
{
	*function = NULL;
	if (!config->type->create)
		return complain(-EINVAL, error, error_size, "device %s: is for a machine only",
				config->type->name);
	return config->type->create(config, name, function, error, error_size);
}

int device_create_on(const struct device_config *config, const char *name,
		     const struct device_host *host, struct device_made *made, char *error,
		     size_t error_size)
{
	*made = (struct device_made){ 0 };
	if (!config->type->create_on)
		return device_create(config, name, &made->function, error, error_size);
	return config->type->create_on(config, name, host, made, error, error_size);
}

static void print_properties(FILE *out, const struct device_property *p)
{
	for (; p->name; p++) {
		static const char *const kinds[] = {
			[DEVICE_TEXT] = "TEXT", [DEVICE_IDENTIFIER] = "ID",
			[DEVICE_PATH] = "FILE", [DEVICE_SWITCH] = "on|off",
			[DEVICE_NUMBER] = "N",	[DEVICE_ADDRESS] = "SLOT.FUNCTION",
		};
		char left[40];

		snprintf(left, sizeof(left), "%s=%s", p->name, kinds[p->type]);
		fprintf(out, "  %-27s %s", left, p->help);
		if (p->type == DEVICE_NUMBER)
			fprintf(out, ", %llu to %llu", (unsigned long long)p->minimum,
				(unsigned long long)p->maximum);
		if (p->type == DEVICE_TEXT || p->type == DEVICE_IDENTIFIER)
			fprintf(out, ", at most %llu characters", (unsigned long long)p->maximum);
		if (p->required)
			fprintf(out, " (required)");
		else if (p->preset)
			fprintf(out, " (default: %s)", p->preset);
		fputc('\n', out);
	}
}

void device_print_types(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(device_types); i++) {
		fprintf(out, "%s: %s\n", device_types[i]->name, device_types[i]->help);
		print_properties(out, device_types[i]->properties);
		fputc('\n', out);
	}
	fputs("all of them have, too:\n", out);
	print_properties(out, common_properties);
}
