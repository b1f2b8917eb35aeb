/* SPDX-License-Identifier: MIT */
/*
 * Programs that were compiled with an older or a newer version of the headers; see
 * zpci/version.h.
 */
#include "guest.h"

#include <errno.h>
#include <stdlib.h>

#include "zpci/internal.h"

/* As a later version may have them. */
struct newer_config {
	struct zpci_config config;
	uint64_t more;
};

struct newer_ops {
	struct pci_device_ops ops;
	void (*more)(void *device);
};

struct newer_function_config {
	struct zpci_function_config config;
	uint8_t more[40];
};

static const struct zpci_vcpu_ops vcpu_ops;
static const struct zpci_machine_ops machine_ops;

static struct zpci *create(const struct zpci_config *config, size_t size)
{
	return zpci_create_sized(config, size, sizeof(vcpu_ops), sizeof(machine_ops));
}

static void library_and_headers_have_the_same_version(void **state)
{
	assert_int_equal(zpci_version(), ZPCI_VERSION);
}

static void what_an_older_program_does_not_know_is_off(void **state)
{
	const struct zpci_config config = {
		.vcpu = &vcpu_ops, .machine = &machine_ops, .uid_checking = true, .mio = true,
	};
	struct zpci *zpci = create(&config, offsetof(struct zpci_config, mio));

	assert_non_null(zpci);
	assert_true(zpci->config.uid_checking);
	assert_false(zpci->config.mio);
	zpci_destroy(zpci);
}

static void callbacks_that_an_older_program_does_not_know_are_not_called(void **state)
{
	struct guest *g = guest_new();
	const struct pci_function_info info = { .name = "old" };
	struct pci_function *f =
		pci_function_new_sized(&info, sizeof(info), &device_ops,
				       offsetof(struct pci_device_ops, reset), &g->device);

	assert_non_null(f);
	pci_function_reset(f);
	assert_int_equal(g->device.resets, 0);
	pci_function_free(f);
	guest_free(g);
}

static void a_newer_program_that_asks_for_nothing_new_is_served(void **state)
{
	const struct newer_config config = {
		.config = { .vcpu = &vcpu_ops, .machine = &machine_ops, .mio = true },
	};
	struct zpci *zpci = create(&config.config, sizeof(config));

	assert_non_null(zpci);
	assert_true(zpci->config.mio);
	zpci_destroy(zpci);
}

static void a_newer_program_is_told_that_something_is_not_there(void **state)
{
	const struct newer_config config = {
		.config = { .vcpu = &vcpu_ops, .machine = &machine_ops }, .more = 1,
	};
	const struct newer_ops ops = { .ops = device_ops, .more = (void (*)(void *))abort };
	const struct pci_function_info info = { .name = "new" };
	struct guest *g = guest_new();
	struct pci_function *f = device_function(&g->device);
	struct newer_function_config function = { .config = zpci_function_defaults(1) };
	char error[256] = "";

	errno = 0;
	assert_null(create(&config.config, sizeof(config)));
	assert_int_equal(errno, E2BIG);
	errno = 0;
	assert_null(pci_function_new_sized(&info, sizeof(info), &ops.ops, sizeof(ops), g));
	assert_int_equal(errno, E2BIG);
	function.more[39] = 1;
	assert_int_equal(zpci_plug_sized(g->zpci, f, &function.config, sizeof(function), 0, false,
					 error, sizeof(error)), -E2BIG);
	assert_string_equal(error, "test0: fid 0x1, uid 0: asks for what this version of libzpci "
				   "does not have");
	assert_false(zpci_fid_in_use(g->zpci, 1));
	pci_function_free(f);
	guest_free(g);
}

static void defaults_fill_the_callers_structure_and_no_more(void **state)
{
	struct newer_function_config function;

	memset(&function, 0xaa, sizeof(function));
	zpci_function_defaults_sized(&function.config, offsetof(struct zpci_function_config, mio),
				     5);
	assert_int_equal(function.config.fid, 5);
	assert_int_equal(function.config.interrupts, 128);
	assert_int_equal(*(uint8_t *)&function.config.mio, 0xaa);
	zpci_function_defaults_sized(&function.config, sizeof(function), 5);
	assert_true(function.config.mio);
	assert_int_equal(function.more[39], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(library_and_headers_have_the_same_version),
		cmocka_unit_test(what_an_older_program_does_not_know_is_off),
		cmocka_unit_test(callbacks_that_an_older_program_does_not_know_are_not_called),
		cmocka_unit_test(a_newer_program_that_asks_for_nothing_new_is_served),
		cmocka_unit_test(a_newer_program_is_told_that_something_is_not_there),
		cmocka_unit_test(defaults_fill_the_callers_structure_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
