/* SPDX-License-Identifier: MIT */
/* What becomes of the properties of a device that a host has made. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "devices/device.h"
#include "machine/function_config.h"
#include "zpci/pci.h"

#define SDMA 0x100000000ull
#define EDMA 0x7fffffffffull /* an IOMMU of 39 bits */

struct made {
	struct device_made made;
	struct zpci_function_config function;
	char error[DEVICE_ERROR_MAX];
};

/* The text is a testdev's, made by a host with 39 bits of addresses, 8 vectors, 128 bytes a store. */
static int configure(struct made *m, const char *text)
{
	struct device_config config;
	int rc;

	memset(m, 0, sizeof(*m));
	if (device_parse(text, &config, m->error, sizeof(m->error)))
		fail_msg("%s", m->error);
	rc = device_create(&config, "testdev0", &m->made.function, m->error, sizeof(m->error));
	assert_int_equal(rc, 0);
	m->made.sdma = SDMA;
	m->made.edma = EDMA;
	m->made.interrupts = 8;
	m->made.store_block_max = 128;
	config.uid = 1;
	rc = function_config(0, &config, &m->made, &m->function, m->error, sizeof(m->error));
	pci_function_free(m->made.function);
	device_config_clear(&config);
	return rc;
}

static void expect_refusal(const char *text, const char *part)
{
	struct made m;

	assert_int_equal(configure(&m, text), -EINVAL);
	if (!strstr(m.error, part))
		fail_msg("\"%s\" is not in \"%s\"", part, m.error);
	assert_null(strchr(m.error, '\n'));
}

static void a_host_gives_what_is_asked_for_and_has(void **state)
{
	struct made m;

	assert_int_equal(configure(&m, "testdev,interrupts=4,store-block=64"), 0);
	assert_true(m.function.sdma == SDMA);
	assert_true(m.function.edma == EDMA);
	assert_int_equal(m.function.interrupts, 4);
	assert_int_equal(m.function.store_block_max, 64);
	/* All of it. */
	assert_int_equal(configure(&m, "testdev,interrupts=8,store-block=128"), 0);
}

static void a_host_gives_no_more_than_it_has(void **state)
{
	expect_refusal("testdev,store-block=64,interrupts=9", "interrupts=: the host has 8");
	expect_refusal("testdev,store-block=136", "store-block=: the host has 128");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_gives_what_is_asked_for_and_has),
		cmocka_unit_test(a_host_gives_no_more_than_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
