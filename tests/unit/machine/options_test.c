/* SPDX-License-Identifier: MIT */
/* The command line: what is taken, and how what is not is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "devices/device.h"
#include "machine/version.h"
#include "options.h"

#define WORDS_MAX 32

struct parsed {
	char *words[WORDS_MAX];
	char text[1024];
	struct options options;
	char error[1024];
};

/* Parse "zvisor" and the words of `line`, which are separated by blanks. */
static int parse(struct parsed *p, const char *line)
{
	int count = 0;

	p->error[0] = '\0';
	snprintf(p->text, sizeof(p->text), "zvisor %s", line);
	for (char *word = strtok(p->text, " "); word; word = strtok(NULL, " ")) {
		assert_true(count < WORDS_MAX - 1);
		p->words[count++] = word;
	}
	p->words[count] = NULL;
	return options_parse(count, p->words, &p->options, p->error, sizeof(p->error));
}

static void defaults_are_one_cpu_and_1g(void **state)
{
	struct parsed p;

	assert_int_equal(parse(&p, "run --kernel k"), 0);
	assert_int_equal(p.options.command, OPTIONS_RUN);
	assert_string_equal(p.options.machine.kernel, "k");
	assert_null(p.options.machine.initrd);
	assert_null(p.options.machine.append);
	assert_int_equal(p.options.machine.memory_size, GIB);
	assert_int_equal(p.options.machine.cpus, 1);
	assert_int_equal(p.options.machine.console, SCLP_CONSOLE_VT220);
	assert_ptr_equal(p.options.machine.version, machine_version_find(NULL));
	assert_int_equal(p.options.machine.device_count, 0);
	assert_false(p.options.machine.stats);
	options_clear(&p.options);
}

static void all_options_are_taken(void **state)
{
	struct parsed p;

	assert_int_equal(parse(&p, "run --kernel=k --initrd i --append quiet --memory 512M "
				   "--cpus 4 --machine zvisor-1.0 --console line-mode --stats "
				   "--trace sclp_* --trace css_crw "
				   "--device nvme,file=a,uid=7,fid=9 --device nvme,file=b"),
			 0);
	assert_string_equal(p.options.machine.kernel, "k");
	assert_string_equal(p.options.machine.initrd, "i");
	assert_string_equal(p.options.machine.append, "quiet");
	assert_int_equal(p.options.machine.memory_size, 512 * MIB);
	assert_int_equal(p.options.machine.cpus, 4);
	assert_int_equal(p.options.machine.console, SCLP_CONSOLE_LINE_MODE);
	assert_true(p.options.machine.stats);
	assert_int_equal(p.options.trace_count, 2);
	assert_int_equal(p.options.machine.device_count, 2);
	assert_int_equal(p.options.machine.devices[0].uid, 7);
	assert_int_equal(p.options.machine.devices[0].fid, 9);
	options_clear(&p.options);
}

static void sizes_have_the_usual_suffixes(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} cases[] = {
		{ "64M", 64 * MIB }, { "64m", 64 * MIB },     { "100", 100 * MIB },
		{ "2G", 2 * GIB },   { "65536K", 64 * MIB }, { "1T", 1024 * GIB },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct parsed p;
		char line[64];

		snprintf(line, sizeof(line), "run --kernel k --memory %s", cases[i].text);
		assert_int_equal(parse(&p, line), 0);
		assert_int_equal(p.options.machine.memory_size, cases[i].size);
		options_clear(&p.options);
	}
}

/* Each is refused with one line that names the option and the value. */
static void wrong_requests_name_option_and_value(void **state)
{
	static const struct {
		const char *line, *option, *value;
	} cases[] = {
		{ "run", "--kernel", "missing" },
		{ "run --memory 1G", "--kernel", "missing" },
		{ "run --kernel", "--kernel", "needs a value" },
		{ "run --kernel a --kernel b", "--kernel", "b" },
		{ "run --kernel k --memory 63M", "--memory", "63M" },
		{ "run --kernel k --memory 0", "--memory", "0" },
		{ "run --kernel k --memory 65537K", "--memory", "65537K" },
		{ "run --kernel k --memory 5000G", "--memory", "5000G" },
		{ "run --kernel k --memory 99999999999999999999", "--memory",
		  "99999999999999999999" },
		{ "run --kernel k --memory 18446744073709551615T", "--memory",
		  "18446744073709551615T" },
		{ "run --kernel k --memory 1GB", "--memory", "1GB" },
		{ "run --kernel k --memory -1G", "--memory", "-1G" },
		{ "run --kernel k --memory G", "--memory", "G" },
		{ "run --kernel k --cpus 0", "--cpus", "0" },
		{ "run --kernel k --cpus 65", "--cpus", "65" },
		{ "run --kernel k --cpus two", "--cpus", "two" },
		{ "run --kernel k --cpus 2x", "--cpus", "2x" },
		{ "run --kernel k --machine z9", "--machine", "z9" },
		{ "run --kernel k --console tty", "--console", "tty" },
		{ "run --kernel k --trace nonsense_*", "--trace", "nonsense_*" },
		{ "run --kernel k --device floppy", "--device", "floppy" },
		{ "run --kernel k --device help", "help", "zvisor devices" },
		{ "device nvme,file=d,socket=s,uid=5", "uid=", "vfio-user" },
		{ "device nvme,file=d,socket=s,fid=5,standby=on", "standby=", "vfio-user" },
		{ "device nvme,file=d", "socket=", "nvme" },
		{ "device vfio-user,socket=s", "vfio-user", "served (nvme, testdev)" },
		{ "device floppy,socket=s", "floppy", "(there are nvme, testdev;" },
		{ "device nvme,file=d,socket=s,share-memory=off", "share-memory=off",
		  "direct, fid, socket)" },
		{ "run --kernel k --device nvme", "--device", "file" },
		{ "run --kernel k --device nvme,file=d,colour=red", "--device", "colour" },
		{ "run --kernel k --device nvme,file=d,readonly=maybe", "--device", "maybe" },
		{ "run --kernel k --device nvme,file=d,uid=0", "--device", "uid" },
		{ "run --kernel k --device nvme,file=d,uid=65536", "--device", "65536" },
		{ "run --kernel k --device nvme,file=a,uid=1 --device nvme,file=b,uid=1",
		  "--device", "uid=1" },
		{ "run --kernel k --device nvme,file=a,fid=3 --device nvme,file=b,fid=3",
		  "--device", "fid=3" },
		{ "run --kernel k stray", "stray", "without an option" },
		{ "run --kernel k --colour", "--colour", "no such option" },
		{ "run --kernel k --stats=3", "--stats", "takes no value" },
		{ "fly", "fly", "no such command" },
		{ "devices all", "all", "devices" },
		{ "", "", "--help" },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct parsed p;

		if (!parse(&p, cases[i].line))
			fail_msg("taken: zvisor %s", cases[i].line);
		if (!strstr(p.error, cases[i].option) || !strstr(p.error, cases[i].value) ||
		    strchr(p.error, '\n'))
			fail_msg("zvisor %s: %s", cases[i].line, p.error);
	}
}

static void more_than_4096_devices_are_refused(void **state)
{
	static char *words[2 * 4097 + 5] = { "zvisor", "run", "--kernel", "k" };
	struct options options;
	char error[512] = "";

	for (int i = 0; i < 4097; i++) {
		words[4 + 2 * i] = "--device";
		words[5 + 2 * i] = "nvme,file=d";
	}
	assert_int_equal(options_parse(4 + 2 * 4096, words, &options, error, sizeof(error)), 0);
	assert_int_equal(options.machine.device_count, 4096);
	options_clear(&options);
	assert_int_equal(options_parse(4 + 2 * 4097, words, &options, error, sizeof(error)),
			 -EINVAL);
	assert_non_null(strstr(error, "more than 4096"));
}

static void other_commands_are_taken(void **state)
{
	static const struct {
		const char *line;
		enum options_command command;
	} cases[] = {
		{ "devices", OPTIONS_DEVICES },
		{ "machines", OPTIONS_MACHINES },
		{ "--help", OPTIONS_HELP },
		{ "--version", OPTIONS_VERSION },
		{ "trace-events", OPTIONS_TRACE_EVENTS },
		{ "run --help", OPTIONS_HELP },
		{ "devices --help", OPTIONS_HELP },
		{ "machines -h", OPTIONS_HELP },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct parsed p;

		assert_int_equal(parse(&p, cases[i].line), 0);
		assert_int_equal(p.options.command, cases[i].command);
		options_clear(&p.options);
	}
}

static void machine_version_announces_what_linux_needs_for_pci(void **state)
{
	const struct machine_version *version = machine_version_find("zvisor-1.0");
	struct cpu_model model = machine_version_cpu_model(version, version->features);

	assert_true(model.facilities[69 / 64] & BIT64(69 % 64));
	assert_true(model.facilities[71 / 64] & BIT64(71 % 64));
	assert_true(model.facilities[0] & BIT64(45));
	/* Cryptography, vectors: not there. */
	assert_false(model.facilities[0] & BIT64(17));
	assert_false(model.facilities[129 / 64] & BIT64(129 % 64));
	assert_true(model.facilities[153 / 64] & BIT64(153 % 64));
	assert_null(machine_version_find("zvisor-0.8"));
}

static void older_machine_version_has_no_newer_feature(void **state)
{
	const struct machine_version *newest = machine_version_find(NULL);
	const struct machine_version *old = machine_version_find("zvisor-0.9");
	struct cpu_model model = machine_version_cpu_model(old, old->features);

	assert_string_equal(newest->name, "zvisor-1.0");
	assert_false(old->features & (MACHINE_MIO | MACHINE_RELAXED_TRANSLATION));
	assert_false(model.facilities[153 / 64] & BIT64(153 % 64));
	assert_true(model.facilities[69 / 64] & BIT64(69 % 64));
}

static void uids_may_be_the_same_where_nobody_checks(void **state)
{
	struct parsed p;

	assert_int_equal(parse(&p, "run --kernel k --machine zvisor-1.0,uid-checking=off "
				   "--device testdev,uid=1 --device testdev,uid=1 "
				   "--device testdev,uid=0"),
			 0);
	options_clear(&p.options);
	assert_int_equal(parse(&p, "run --kernel k --device testdev,uid=0"), -EINVAL);
	assert_non_null(strstr(p.error, "uid=0"));
}

static void feature_of_a_machine_version_can_be_left_out(void **state)
{
	struct parsed p;

	assert_int_equal(parse(&p, "run --kernel k --machine zvisor-1.0"), 0);
	assert_int_equal(p.options.machine.features_off, 0);
	options_clear(&p.options);
	assert_int_equal(parse(&p, "run --kernel k --machine zvisor-1.0,mio=off"), 0);
	assert_int_equal(p.options.machine.features_off, MACHINE_MIO);
	options_clear(&p.options);
	assert_int_equal(parse(&p, "run --kernel k --machine zvisor-1.0,mio=off,mio=on"), 0);
	assert_int_equal(p.options.machine.features_off, 0);
	options_clear(&p.options);
	assert_int_equal(parse(&p, "run --kernel k --machine zvisor-0.9,mio=off"), 0);
	options_clear(&p.options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_one_cpu_and_1g),
		cmocka_unit_test(all_options_are_taken),
		cmocka_unit_test(sizes_have_the_usual_suffixes),
		cmocka_unit_test(wrong_requests_name_option_and_value),
		cmocka_unit_test(more_than_4096_devices_are_refused),
		cmocka_unit_test(other_commands_are_taken),
		cmocka_unit_test(machine_version_announces_what_linux_needs_for_pci),
		cmocka_unit_test(older_machine_version_has_no_newer_feature),
		cmocka_unit_test(uids_may_be_the_same_where_nobody_checks),
		cmocka_unit_test(feature_of_a_machine_version_can_be_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
