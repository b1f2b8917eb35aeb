/* SPDX-License-Identifier: MIT */
/* The command line; see options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/words.h"
#include "cpu/vcpu.h"
#include "devices/device.h"
#include "machine/version.h"

struct parser {
	struct options *options;
	char *error;
	size_t error_size;
	/* Options that may be given once: the value, for the second one's message. */
	bool seen[256];
};

static int __attribute__((format(printf, 2, 3))) wrong(struct parser *parser, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(parser->error, parser->error_size, format, args);
	va_end(args);
	return -EINVAL;
}

/* A decimal number without sign or blanks; nothing else. */
static bool parse_number(const char *text, uint64_t *value, const char **rest)
{
	uint64_t number = 0;
	const char *c;

	for (c = text; *c >= '0' && *c <= '9'; c++)
		if (__builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*c - '0'), &number))
			return false;
	*value = number;
	*rest = c;
	return c != text;
}

/* Bytes, or with K, M, G or T behind it. Without one, MiB, as QEMU has it. */
static bool parse_size(const char *text, uint64_t *value)
{
	static const struct {
		char suffix;
		uint64_t unit;
	} units[] = {
		{ '\0', MIB }, { 'K', KIB }, { 'k', KIB }, { 'M', MIB }, { 'm', MIB },
		{ 'G', GIB },  { 'g', GIB }, { 'T', 1024 * GIB }, { 't', 1024 * GIB },
	};
	const char *rest;

	if (!parse_number(text, value, &rest) || (*rest && rest[1]))
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(units); i++)
		if (*rest == units[i].suffix)
			return !__builtin_mul_overflow(*value, units[i].unit, value);
	return false;
}

static int set_memory(struct parser *parser, const char *text)
{
	uint64_t size;

	if (!parse_size(text, &size))
		return wrong(parser, "--memory %s: not a size; write 1G, 512M or a number of MiB",
			     text);
	if (size < MACHINE_MEMORY_MIN)
		return wrong(parser, "--memory %s: too little; at least %lluM", text,
			     (unsigned long long)(MACHINE_MEMORY_MIN / MIB));
	if (size > MACHINE_MEMORY_MAX)
		return wrong(parser, "--memory %s: too much; at most %lluG", text,
			     (unsigned long long)(MACHINE_MEMORY_MAX / GIB));
	if (size % MIB)
		return wrong(parser, "--memory %s: not a multiple of 1M", text);
	parser->options->machine.memory_size = size;
	return 0;
}

static int set_cpus(struct parser *parser, const char *text)
{
	const char *rest;
	uint64_t count;

	if (!parse_number(text, &count, &rest) || *rest || !count || count > CPU_MAX_VCPUS)
		return wrong(parser, "--cpus %s: not a number from 1 to %u", text, CPU_MAX_VCPUS);
	parser->options->machine.cpus = (unsigned int)count;
	return 0;
}

/* PROPERTY=on|off; "on" is what it is already, if the version has it. */
static int set_machine_property(struct parser *parser, const char *text, const char *item,
				size_t length)
{
	struct machine_config *machine = &parser->options->machine;
	const struct machine_property *property;
	char name[32] = "";
	bool on;

	for (size_t i = 0; i < length && item[i] != '=' && i < sizeof(name) - 1; i++)
		name[i] = item[i];
	property = machine_property_find(name);
	if (!property)
		return wrong(
			parser,
			"--machine %s: there is no property \"%s\"; `zvisor machines` lists them",
			text, name);
	item += strlen(name);
	length -= strlen(name);
	on = length == 3 && !strncmp(item, "=on", 3);
	if (!on && (length != 4 || strncmp(item, "=off", 4)))
		return wrong(parser, "--machine %s: %s wants on or off", text, name);
	if (on && !(machine->version->features & property->feature))
		return wrong(parser,
			     "--machine %s: %s has no %s; `zvisor machines` lists which have", text,
			     machine->version->name, name);
	if (on)
		machine->features_off &= ~property->feature;
	else
		machine->features_off |= property->feature;
	return 0;
}

/* NAME[,PROPERTY=on|off]... */
static int set_machine(struct parser *parser, const char *text)
{
	const char *item = text + strcspn(text, ",");
	const struct machine_version *version;
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "%.*s", (int)(item - text), text);
	version = machine_version_find(name);
	if (!version)
		return wrong(parser, "--machine %s: no such machine version; `zvisor machines` lists them",
			     text);
	parser->options->machine.version = version;
	while (*item) {
		size_t length = strcspn(++item, ",");

		rc = set_machine_property(parser, text, item, length);
		if (rc)
			return rc;
		item += length;
	}
	return 0;
}

static int set_console(struct parser *parser, const char *text)
{
	if (!strcmp(text, "vt220"))
		parser->options->machine.console = SCLP_CONSOLE_VT220;
	else if (!strcmp(text, "line-mode"))
		parser->options->machine.console = SCLP_CONSOLE_LINE_MODE;
	else
		return wrong(parser, "--console %s: not a console; there are vt220 and line-mode",
			     text);
	return 0;
}

/* N[@FROM],HOW,FILE */
static int set_lockstep(struct parser *parser, const char *text)
{
	static const struct {
		const char *name;
		enum cpu_execution execution;
	} ways[] = {
		{ "translated", CPU_EXECUTE_TRANSLATED }, { "cached", CPU_EXECUTE_CACHED },
		{ "flushed", CPU_EXECUTE_FLUSHED },	  { "unchained", CPU_EXECUTE_UNCHAINED },
		{ "uncached", CPU_EXECUTE_UNCACHED },
	};
	struct lockstep_config *lockstep = &parser->options->machine.lockstep;
	const char *how, *file;

	if (!parse_number(text, &lockstep->every, &how) || !lockstep->every ||
	    (*how == '@' && !parse_number(how + 1, &lockstep->from, &how)) || *how != ',')
		return wrong(parser, "--lockstep %s: it begins with a number of instructions and a comma",
			     text);
	how++;
	file = strchr(how, ',');
	if (!file || !file[1])
		return wrong(parser, "--lockstep %s: it ends with a comma and a file", text);
	for (unsigned int i = 0; i < ARRAY_SIZE(ways); i++) {
		if (strncmp(how, ways[i].name, (size_t)(file - how)) || ways[i].name[file - how])
			continue;
		lockstep->execution = ways[i].execution;
		lockstep->file = file + 1;
		return 0;
	}
	return wrong(parser,
		     "--lockstep %s: code is executed translated, cached, flushed, unchained or "
		     "uncached",
		     text);
}

/* unix:PATH, and of QEMU's options of a socket those that say what is done anyway. */
static int set_qmp(struct parser *parser, const char *text)
{
	static const char *const known[] = { "server", "server=on", "nowait", "wait=off" };
	static const char prefix[] = "unix:";
	struct options *options = parser->options;
	const char *word;
	char *rest;

	if (strncmp(text, prefix, strlen(prefix)))
		return wrong(parser, "--qmp %s: not a socket; write unix:PATH", text);
	options->qmp_path = strdup(text + strlen(prefix));
	if (!options->qmp_path) {
		wrong(parser, "out of memory");
		return -ENOMEM;
	}
	rest = options->qmp_path;
	words_next(&rest);
	if (!*options->qmp_path)
		return wrong(parser, "--qmp %s: the path is missing", text);
	while ((word = words_next(&rest))) {
		bool is_known = false;

		for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
			is_known |= !strcmp(word, known[i]);
		if (!is_known)
			return wrong(
				parser,
				"--qmp %s: %s: not an option; there are server=on and wait=off",
				text, word);
	}
	return 0;
}

static int add_trace(struct parser *parser, const char *pattern)
{
	struct options *options = parser->options;

	if (options->trace_count == OPTIONS_TRACES_MAX)
		return wrong(parser, "--trace %s: more than %u patterns", pattern,
			     OPTIONS_TRACES_MAX);
	if (!trace_matches(pattern))
		return wrong(parser, "--trace %s: no event has such a name; `zvisor trace-events` lists them",
			     pattern);
	options->traces[options->trace_count++] = pattern;
	return 0;
}

static int add_device(struct parser *parser, const char *argument)
{
	struct options *options = parser->options;
	struct device_config *device = &options->devices[options->device_count];
	char reason[DEVICE_ERROR_MAX];
	int rc;

	if (options->device_count == OPTIONS_DEVICES_MAX)
		return wrong(parser, "--device %s: more than %u devices", argument,
			     OPTIONS_DEVICES_MAX);
	rc = device_parse(argument, device, reason, sizeof(reason));
	if (rc) {
		/* It begins with "device" and the type. */
		wrong(parser, "--%s", reason);
		return rc;
	}
	for (unsigned int i = 0; i < options->device_count; i++) {
		const struct device_config *other = &options->devices[i];
		if (*device->id && !strcmp(device->id, other->id)) {
			device_config_clear(device);
			return wrong(parser,
				     "--device %s: the id is taken by another device; each needs "
				     "its own",
				     argument);
		}
		if (device->has_fid && other->has_fid && device->fid == other->fid) {
			uint32_t fid = device->fid;

			device_config_clear(device);
			return wrong(parser,
				     "--device %s: fid=%" PRIu32
				     " is taken by another device; each needs its own",
				     argument, fid);
		}
	}
	options->device_count++;
	return 0;
}

/* --- run ------------------------------------------------------------------------------- */

static const struct option run_options[] = {
	{ "kernel", required_argument, NULL, 'k' },  { "initrd", required_argument, NULL, 'i' },
	{ "append", required_argument, NULL, 'a' },  { "memory", required_argument, NULL, 'm' },
	{ "cpus", required_argument, NULL, 'c' },    { "machine", required_argument, NULL, 'M' },
	{ "console", required_argument, NULL, 'C' }, { "device", required_argument, NULL, 'd' },
	{ "trace", required_argument, NULL, 't' },   { "stats", no_argument, NULL, 's' },
	{ "qmp", required_argument, NULL, 'q' },     { "lockstep", required_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },	     { NULL, 0, NULL, 0 },
};

static const char *option_name(int letter)
{
	for (const struct option *option = run_options; option->name; option++)
		if (option->val == letter)
			return option->name;
	return "";
}

static int set_option(struct parser *parser, int letter, const char *value)
{
	struct machine_config *machine = &parser->options->machine;

	if (parser->seen[letter] && letter != 'd' && letter != 't' && letter != 's')
		return wrong(parser, "--%s %s: given twice", option_name(letter), value);
	parser->seen[letter] = true;
	switch (letter) {
	case 'k':
		machine->kernel = value;
		return 0;
	case 'i':
		machine->initrd = value;
		return 0;
	case 'a':
		machine->append = value;
		return 0;
	case 'm':
		return set_memory(parser, value);
	case 'c':
		return set_cpus(parser, value);
	case 'M':
		return set_machine(parser, value);
	case 'C':
		return set_console(parser, value);
	case 'd':
		return add_device(parser, value);
	case 't':
		return add_trace(parser, value);
	case 'q':
		return set_qmp(parser, value);
	case 'l':
		return set_lockstep(parser, value);
	case 's':
		machine->stats = true;
		return 0;
	default:
		parser->options->command = OPTIONS_HELP;
		return 0;
	}
}

/* Two devices may have the same one where nobody checks. */
static int check_uids(struct parser *parser)
{
	const struct options *options = parser->options;
	bool seen[UINT16_MAX + 1] = { false };

	if (!(options->machine.version->features & ~options->machine.features_off &
	      MACHINE_UID_CHECKING))
		return 0;
	for (unsigned int i = 0; i < options->device_count; i++) {
		const struct device_config *device = &options->devices[i];

		if (!device->has_uid)
			continue;
		if (!device->uid || seen[device->uid])
			return wrong(parser,
				     "--device %s,uid=%" PRIu32
				     ": each device needs its own, from 1 to 65535 (or --machine "
				     "%s,uid-checking=off)",
				     device->type->name, device->uid,
				     options->machine.version->name);
		seen[device->uid] = true;
	}
	return 0;
}

static int parse_run(struct parser *parser, int argc, char **argv)
{
	struct options *options = parser->options;
	int letter, rc;

	optind = 0; /* start afresh, also when called again */
	opterr = 0;
	while ((letter = getopt_long_only(argc, argv, ":h", run_options, NULL)) != -1) {
		const char *word = argv[optind - 1];

		if (letter == ':')
			return wrong(parser, "%s: needs a value", word);
		if (letter == '?' && *option_name(optopt) && strchr(word, '='))
			return wrong(parser, "%s: takes no value", word);
		if (letter == '?')
			return wrong(parser, "%s: no such option; see `zvisor --help`", word);
		rc = set_option(parser, letter, optarg);
		if (rc)
			return rc;
	}
	if (options->command == OPTIONS_HELP)
		return 0;
	if (optind < argc)
		return wrong(parser, "%s: an argument without an option; see `zvisor --help`",
			     argv[optind]);
	if (!options->machine.kernel)
		return wrong(parser, "--kernel: missing; name the file to boot");
	if (options->machine.lockstep.file && (options->machine.cpus > 1 || options->device_count))
		return wrong(parser, "--lockstep: only with one CPU and no device");
	if (options->machine.lockstep.file && options->qmp_path)
		return wrong(parser, "--lockstep: not together with --qmp");
	options->machine.devices = options->devices;
	options->machine.device_count = options->device_count;
	return check_uids(parser);
}

/* --- device ---------------------------------------------------------------------------- */

/*
 * "TYPE,property=value,…,socket=PATH": the socket is not a property of the device. What is
 * left is put together again, with commas inside values written twice as they were.
 */
static int split_socket(struct parser *parser, const char *text, char *device)
{
	static const char prefix[] = "socket=";
	char *copy = strdup(text), *rest = copy, *word, *out = device;
	int rc = 0;

	if (!copy) {
		wrong(parser, "out of memory");
		return -ENOMEM;
	}
	while (!rc && (word = words_next(&rest))) {
		if (strncmp(word, prefix, strlen(prefix))) {
			if (out != device)
				*out++ = ',';
			for (; *word; word++) {
				*out++ = *word;
				if (*word == ',')
					*out++ = ',';
			}
		} else if (parser->options->socket_path) {
			rc = wrong(parser, "device %s: socket= is given twice", text);
		} else {
			parser->options->socket_path = strdup(word + strlen(prefix));
			if (!parser->options->socket_path) {
				wrong(parser, "out of memory");
				rc = -ENOMEM;
			}
		}
	}
	*out = 0;
	free(copy);
	return rc;
}

static int set_served_device(struct parser *parser, const char *text)
{
	struct options *options = parser->options;
	char *device = malloc(2 * strlen(text) + 1);
	char reason[DEVICE_ERROR_MAX];
	const char *property;
	int rc;

	if (!device) {
		wrong(parser, "out of memory");
		return -ENOMEM;
	}
	rc = split_socket(parser, text, device);
	if (!rc && (!options->socket_path || !*options->socket_path))
		rc = wrong(parser, "device %s: wants socket=PATH: where clients connect", text);
	if (!rc) {
		rc = device_parse_served(device, options->devices, reason, sizeof(reason));
		if (rc)
			snprintf(parser->error, parser->error_size, "%s", reason);
		else
			options->device_count = 1;
	}
	free(device);
	property = rc ? NULL : device_config_of_machine(options->devices);
	if (property)
		rc = wrong(parser,
			   "device %s: %s=: belongs to the machine: give it to its "
			   "`--device vfio-user`",
			   options->devices->type->name, property);
	return rc;
}

static int parse_device(struct parser *parser, int argc, char **argv)
{
	struct options *options = parser->options;
	int rc = 0;

	options->command = OPTIONS_DEVICE;
	for (int i = 1; !rc && i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			options->command = OPTIONS_HELP;
			return 0;
		}
		if (!strcmp(argv[i], "--trace") && i + 1 < argc)
			rc = add_trace(parser, argv[++i]);
		else if (*argv[i] == '-')
			rc = wrong(parser, "%s: device has no such option; see `zvisor --help`",
				   argv[i]);
		else if (options->device_count)
			rc = wrong(parser, "device %s: one device at a time", argv[i]);
		else
			rc = set_served_device(parser, argv[i]);
	}
	if (!rc && !options->device_count)
		rc = wrong(parser, "device: write TYPE,PROPERTY=VALUE,...,socket=PATH");
	return rc;
}

/* ------------------------------------------------------------------------------------------ */

static const struct {
	const char *word;
	enum options_command command;
} commands[] = {
	{ "devices", OPTIONS_DEVICES },
	{ "machines", OPTIONS_MACHINES },
	{ "trace-events", OPTIONS_TRACE_EVENTS },
	{ "help", OPTIONS_HELP },
	{ "--help", OPTIONS_HELP },
	{ "-h", OPTIONS_HELP },
	{ "--version", OPTIONS_VERSION },
	{ "-V", OPTIONS_VERSION },
};

int options_parse(int argc, char **argv, struct options *options, char *error, size_t error_size)
{
	struct parser parser = { .options = options, .error = error, .error_size = error_size };
	int rc;

	*options = (struct options){
		.command = OPTIONS_RUN,
		.machine = {
			.memory_size = MACHINE_MEMORY_DEFAULT,
			.cpus = 1,
			.version = machine_version_find(NULL),
		},
	};
	if (argc < 2)
		return wrong(&parser, "a command is missing; see `zvisor --help`");
	if (!strcmp(argv[1], "run") || !strcmp(argv[1], "device")) {
		options->devices = calloc(OPTIONS_DEVICES_MAX + 1, sizeof(*options->devices));
		if (!options->devices) {
			wrong(&parser, "out of memory");
			return -ENOMEM;
		}
		rc = (argv[1][0] == 'r' ? parse_run : parse_device)(&parser, argc - 1, argv + 1);
		if (rc)
			options_clear(options);
		return rc;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].word))
			continue;
		if (argc == 3 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
			options->command = OPTIONS_HELP;
			return 0;
		}
		if (argc > 2)
			return wrong(&parser, "%s: %s takes no arguments", argv[2], argv[1]);
		options->command = commands[i].command;
		return 0;
	}
	return wrong(&parser, "%s: no such command; see `zvisor --help`", argv[1]);
}

void options_clear(struct options *options)
{
	for (unsigned int i = 0; i < options->device_count; i++)
		device_config_clear(&options->devices[i]);
	free(options->devices);
	free(options->qmp_path);
	free(options->socket_path);
	options->devices = NULL;
	options->qmp_path = NULL;
	options->socket_path = NULL;
	options->device_count = 0;
}

void options_print_help(void)
{
	fputs("usage: zvisor run --kernel FILE [OPTION]...\n"
	      "       zvisor device TYPE[,PROPERTY=VALUE]...,socket=PATH [--trace PATTERN]...\n"
	      "       zvisor devices | machines | trace-events | --help | --version\n"
	      "\n"
	      "Boots Linux for IBM Z, or another s390x program, in a virtual machine.\n"
	      "\n"
	      "  --kernel FILE      kernel: a raw image as distributions install it, or ELF\n"
	      "  --initrd FILE      initial RAM disk\n"
	      "  --append TEXT      kernel command line\n"
	      "  --memory SIZE      guest memory: 512M, 1G, ... (default 1G, at least 64M)\n",
	      stdout);
	printf("  --cpus N           virtual CPUs, 1 to %u (default 1)\n", CPU_MAX_VCPUS);
	fputs("  --device TYPE[,PROPERTY=VALUE]...\n"
	      "                     plug a PCI function in; `zvisor devices` lists the types\n"
	      "  --console TYPE     vt220 (default) or line-mode\n"
	      "  --machine NAME[,PROPERTY=on|off]...\n"
	      "                     machine version; `zvisor machines` lists them\n"
	      "  --trace PATTERN    print trace events whose name matches, like 'sclp_*';\n"
	      "                     `zvisor trace-events` lists them\n"
	      "  --qmp unix:PATH    listen for QMP, QEMU's monitor protocol, at a socket\n"
	      "  --stats            at the end, print how many instructions were executed\n"
	      "  --lockstep N[@FROM],HOW,FILE\n"
	      "                     for tests: write a hash of the registers each N instructions;\n"
	      "                     HOW is translated, cached, flushed, unchained or uncached\n"
	      "\n"
	      "`zvisor device` serves a device from a process of its own, by vfio-user: to\n"
	      "--device vfio-user,socket=PATH, to QEMU's vfio-user-pci, or to another client.\n"
	      "\n"
	      "On a terminal, Ctrl-a x ends the guest and Ctrl-a h shows help.\n"
	      "\n"
	      "Exit status: 0 the guest powered off (or was ended by Ctrl-a x), 1 zvisor\n"
	      "failed or was ended by a signal, 2 wrong request, 3 the guest crashed.\n",
	      stdout);
}
