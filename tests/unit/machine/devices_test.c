/* SPDX-License-Identifier: MIT */
/*
 * The machine's devices, while they are made: by a function of the test's own, which takes as
 * long as the test likes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/device.h"
#include "machine/devices.h"
#include "machine/internal.h"

#define MEMORY_SIZE 0x100000u

static struct {
	sem_t entered, go_on;
} making;

int __wrap_device_create_on(const struct device_config *config, const char *name,
			    const struct device_host *host, struct device_made *made, char *error,
			    size_t error_size);

int __wrap_device_create_on(const struct device_config *config, const char *name,
			    const struct device_host *host, struct device_made *made, char *error,
			    size_t error_size)
{
	*host->memory = 1;
	sem_post(&making.entered);
	sem_wait(&making.go_on);
	return -EIO;
}

static struct machine *new_machine(void)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	char error[DEVICE_ERROR_MAX] = "";

	assert_non_null(machine);
	sem_init(&making.entered, 0, 0);
	sem_init(&making.go_on, 0, 0);
	assert_int_equal(memory_create(&machine->memory, MEMORY_SIZE), 0);
	if (machine_devices_create(machine, error, sizeof(error)))
		fail_msg("%s", error);
	return machine;
}

static void free_machine(struct machine *machine)
{
	machine_devices_destroy(machine);
	memory_destroy(&machine->memory);
	free(machine);
	sem_destroy(&making.entered);
	sem_destroy(&making.go_on);
}

static void *add_device(void *opaque)
{
	struct device_config config;
	char error[DEVICE_ERROR_MAX];

	if (device_parse("testdev,fid=1,uid=1", &config, error, sizeof(error)))
		return NULL;
	(void)machine_device_add(opaque, &config, error, sizeof(error));
	device_config_clear(&config);
	return NULL;
}

struct clearing {
	struct machine *machine;
	atomic_bool done;
};

static void *clear_memory(void *opaque)
{
	struct clearing *clearing = opaque;

	(void)machine_devices_clear_memory(clearing->machine);
	clearing->done = true;
	return NULL;
}

static void memory_is_not_cleared_while_a_device_that_may_pin_it_is_made(void **state)
{
	struct machine *machine = new_machine();
	struct clearing clearing = { .machine = machine };
	pthread_t adding, thread;

	assert_int_equal(pthread_create(&adding, NULL, add_device, machine), 0);
	sem_wait(&making.entered);
	assert_int_equal(pthread_create(&thread, NULL, clear_memory, &clearing), 0);
	/* It cannot be seen to wait, only not to wait: it would be done by then. */
	usleep(50000);
	assert_false(clearing.done);
	assert_int_equal(*machine->memory.base, 1);
	sem_post(&making.go_on);
	pthread_join(adding, NULL);
	pthread_join(thread, NULL);
	assert_int_equal(*machine->memory.base, 0);
	free_machine(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_not_cleared_while_a_device_that_may_pin_it_is_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
