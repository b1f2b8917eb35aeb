/* SPDX-License-Identifier: MIT */
/* Asking for devices: what is accepted, and the one line for what is not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/device.h"
#include "zpci/pci.h"

static char directory[] = "/var/tmp/zvisor-device-XXXXXX";

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
	assert_null(strchr(text, '\n'));
}

/* The text is refused before anything is opened, with a line that has both parts. */
static void refuse(const char *text, const char *part, const char *other)
{
	struct device_config config;
	char error[DEVICE_ERROR_MAX] = "";

	assert_int_equal(device_parse(text, &config, error, sizeof(error)), -EINVAL);
	assert_contains(error, part);
	assert_contains(error, other);
}

static void properties_are_parsed(void **state)
{
	struct device_config config;
	char error[DEVICE_ERROR_MAX];

	assert_int_equal(device_parse("nvme,file=/a,,b,serial=X 1,readonly=on,uid=0x10,fid=7",
				      &config, error, sizeof(error)),
			 0);
	assert_string_equal(config.type->name, "nvme");
	assert_string_equal(device_config_value(&config, "file")->text, "/a,b");
	assert_string_equal(device_config_value(&config, "serial")->text, "X 1");
	assert_int_equal(device_config_value(&config, "readonly")->number, 1);
	assert_false(device_config_value(&config, "direct")->given);
	assert_true(config.has_uid && config.has_fid);
	assert_int_equal(config.uid, 0x10);
	assert_int_equal(config.fid, 7);
	device_config_clear(&config);

	assert_int_equal(device_parse("nvme,file=x,fid=0xffffffff", &config, error, sizeof(error)),
			 0);
	assert_false(config.has_uid);
	assert_int_equal(config.fid, 0xffffffff);
	assert_false(config.has_relaxed_translation);
	device_config_clear(&config);

	assert_int_equal(device_parse("nvme,file=x,relaxed-translation=on", &config, error,
				      sizeof(error)),
			 0);
	assert_true(config.has_relaxed_translation && config.relaxed_translation);
	device_config_clear(&config);
	assert_int_equal(device_parse("nvme,file=x,relaxed-translation=off", &config, error,
				      sizeof(error)),
			 0);
	assert_true(config.has_relaxed_translation && !config.relaxed_translation);
	device_config_clear(&config);
}

static void addresses_are_hexadecimal(void **state)
{
	struct device_config config;
	char error[DEVICE_ERROR_MAX];
	uint64_t number;

	assert_int_equal(device_parse("testdev,addr=0x1f.7,multifunction=on", &config, error,
				      sizeof(error)),
			 0);
	number = device_config_value(&config, "addr")->number;
	assert_int_equal(DEVICE_ADDRESS_SLOT(number), 0x1f);
	assert_int_equal(DEVICE_ADDRESS_FUNCTION(number), 7);
	assert_int_equal(device_config_value(&config, "multifunction")->number, 1);
	device_config_clear(&config);
	assert_int_equal(device_parse("testdev,addr=a", &config, error, sizeof(error)), 0);
	assert_int_equal(device_config_value(&config, "addr")->number, 0xa << 3);
	device_config_clear(&config);
	refuse("testdev,addr=1000", "addr=1000", "SLOT.FUNCTION");
	refuse("testdev,addr=1.8", "addr=1.8", "SLOT.FUNCTION");
	refuse("testdev,addr=1.", "addr=1.", "SLOT.FUNCTION");
	refuse("testdev,addr=-1", "addr=-1", "SLOT.FUNCTION");
	refuse("testdev,addr=1.0x", "addr=1.0x", "SLOT.FUNCTION");
}

static void unknown_types_are_refused(void **state)
{
	refuse("floppy", "floppy", "nvme");
	refuse("", "there is no such device type", "nvme");
	refuse(",file=x", "there is no such device type", "nvme");
}

static void unknown_properties_are_refused(void **state)
{
	refuse("nvme,file=x,colour=red", "colour=red", "readonly");
	refuse("nvme,file=x,readonly", "readonly", "property=value");
	refuse("nvme,file=x,", "\"\"", "property=value");
	refuse("nvme,=x", "=x", "no such property");
}

static void bad_values_are_refused(void **state)
{
	refuse("nvme", "file=", "image");
	refuse("nvme,file=", "file=", "name of a file");
	refuse("nvme,file=x,file=y", "file=y", "twice");
	refuse("nvme,file=x,readonly=yes", "readonly=yes", "on or off");
	refuse("nvme,file=x,serial=", "serial=", "1 to 20");
	refuse("nvme,file=x,serial=123456789012345678901", "serial=123456789012345678901",
	       "1 to 20");
	refuse("nvme,file=x,serial=a\tb", "serial=", "printable");
	refuse("nvme,file=x,uid=65536", "uid=65536", "0 to 65535");
	refuse("nvme,file=x,uid=-1", "uid=-1", "0 to 65535");
	refuse("nvme,file=x,uid= 1", "uid= 1", "0 to 65535");
	refuse("nvme,file=x,uid=0x", "uid=0x", "0 to 65535");
	refuse("nvme,file=x,fid=4294967296", "fid=4294967296", "0 to 4294967295");
	refuse("nvme,file=x,fid=99999999999999999999999", "fid=999", "0 to 4294967295");
	refuse("nvme,file=x,fid=12a", "fid=12a", "0 to 4294967295");
}

static void long_values_do_not_overflow_the_message(void **state)
{
	struct pci_function *function;
	struct device_config config;
	char text[4096], error[64];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "nvme,file=y,uid=", 16);
	assert_int_equal(device_parse(text, &config, error, sizeof(error)), -EINVAL);
	assert_int_equal(strlen(error), sizeof(error) - 1);
	memcpy(text, "nvme,file=xxxxxx", 16);
	assert_int_equal(device_parse(text, &config, error, sizeof(error)), 0);
	assert_int_equal(device_create(&config, "d", &function, error, sizeof(error)),
			 -ENAMETOOLONG);
	device_config_clear(&config);
}

static void the_list_of_devices_names_every_property(void **state)
{
	static const char *const names[] = { "nvme", "file=", "serial=", "readonly=", "direct=",
					     "uid=", "fid=" };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	device_print_types(out);
	fclose(out);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(text, names[i]));
	free(text);
}

/* --- creating ----------------------------------------------------------------- */

static int make_directory(void **state)
{
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static void make_file(const char *name, off_t size, mode_t mode)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int create(const char *name, const char *properties, struct pci_function **function,
		  char *error)
{
	struct device_config config;
	char text[256];
	int ret;

	snprintf(text, sizeof(text), "nvme,file=%s/%s%s", directory, name, properties);
	assert_int_equal(device_parse(text, &config, error, DEVICE_ERROR_MAX), 0);
	ret = device_create(&config, "nvme0", function, error, DEVICE_ERROR_MAX);
	device_config_clear(&config);
	return ret;
}

static void fail_to_create(const char *name, const char *properties, int expected,
			   const char *part)
{
	struct pci_function *function;
	char error[DEVICE_ERROR_MAX] = "", path[128];

	assert_int_equal(create(name, properties, &function, error), expected);
	assert_null(function);
	snprintf(path, sizeof(path), "file=%s/%s:", directory, name);
	assert_contains(error, path);
	assert_contains(error, part);
}

static void bad_files_are_refused(void **state)
{
	char path[128];

	fail_to_create("missing", "", -ENOENT, "No such file");
	fail_to_create("", "", -EISDIR, "is a directory");
	make_file("odd", 1000, 0600);
	fail_to_create("odd", "", -EINVAL, "1000 bytes is not a multiple of 512");
	make_file("empty", 0, 0600);
	fail_to_create("empty", "", -EINVAL, "is empty");
	snprintf(path, sizeof(path), "%s/fifo", directory);
	assert_int_equal(mkfifo(path, 0600), 0);
	fail_to_create("fifo", "", -EINVAL, "neither a file nor a block device");
	fail_to_create("odd/below", "", -ENOTDIR, "Not a directory");
}

static void a_readonly_file_wants_readonly(void **state)
{
	struct pci_function *function;
	char error[DEVICE_ERROR_MAX];

	make_file("ro", 4096, 0400);
	fail_to_create("ro", "", geteuid() ? -EACCES : -EROFS, "add readonly=on");
	fail_to_create("ro", ",readonly=off", geteuid() ? -EACCES : -EROFS, "add readonly=on");
	assert_int_equal(create("ro", ",readonly=on", &function, error), 0);
	pci_function_free(function);
}

static void a_file_has_one_writer_or_many_readers(void **state)
{
	struct pci_function *first, *second;
	char error[DEVICE_ERROR_MAX];

	make_file("shared", 4096, 0600);
	assert_int_equal(create("shared", "", &first, error), 0);
	fail_to_create("shared", "", -EBUSY, "in use by another");
	fail_to_create("shared", ",readonly=on", -EBUSY, "in use by another");
	pci_function_free(first);

	assert_int_equal(create("shared", ",readonly=on", &first, error), 0);
	assert_int_equal(create("shared", ",readonly=on", &second, error), 0);
	fail_to_create("shared", "", -EBUSY, "in use by another");
	pci_function_free(second);
	pci_function_free(first);
	assert_int_equal(create("shared", "", &first, error), 0);
	pci_function_free(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(properties_are_parsed),
		cmocka_unit_test(addresses_are_hexadecimal),
		cmocka_unit_test(unknown_types_are_refused),
		cmocka_unit_test(unknown_properties_are_refused),
		cmocka_unit_test(bad_values_are_refused),
		cmocka_unit_test(long_values_do_not_overflow_the_message),
		cmocka_unit_test(the_list_of_devices_names_every_property),
		cmocka_unit_test(bad_files_are_refused),
		cmocka_unit_test(a_readonly_file_wants_readonly),
		cmocka_unit_test(a_file_has_one_writer_or_many_readers),
	};

	return cmocka_run_group_tests_name("device", tests, make_directory, remove_directory);
}
