/* SPDX-License-Identifier: MIT */
/* The model of a PCI function: config space, BARs, MSI-X, MSI, reset. */
#include "guest.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define EXPRESS_OFFSET 0x4c /* after the 12 bytes of MSI-X */

struct messages {
	unsigned count;
	uint64_t address[16];
	uint32_t data[16];
};

static void deliver(void *opaque, uint64_t address, uint32_t data)
{
	struct messages *messages = opaque;
	unsigned i = messages->count++ % 16;

	messages->address[i] = address;
	messages->data[i] = data;
}

static const struct pci_msi_ops msi_ops = { .deliver = deliver };

static int no_translation(void *opaque, uint64_t iova, enum pci_dma_direction direction,
			  struct dma_translation *t)
{
	return 1;
}

static const struct dma_space_ops no_dma = { .translate = no_translation };

struct world {
	struct device device;
	struct pci_function *f;
	struct dma_memory memory;
	struct pci_dma_space *dma;
	struct messages messages;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->f = device_function(&w->device);
	assert_int_equal(pci_function_add_express(w->f), EXPRESS_OFFSET);
	assert_true(pci_function_add_power_management(w->f) > 0);
	assert_true(pci_function_add_msi(w->f, 4) > 0);
	w->dma = dma_space_new(&w->memory, &no_dma, NULL);
	assert_int_equal(pci_function_attach(w->f, w->dma, &msi_ops, &w->messages), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	pci_function_free(w->f);
	dma_space_free(w->dma);
	free(w);
	return 0;
}

static uint32_t config(struct world *w, unsigned offset)
{
	return pci_function_config_read(w->f, offset, 4);
}

static unsigned find_capability(struct world *w, unsigned id)
{
	unsigned offset = config(w, PCI_CAPABILITY_LIST) & 0xff;

	for (unsigned i = 0; offset && i < 48; i++) {
		if ((config(w, offset) & 0xff) == id)
			return offset;
		offset = config(w, offset) >> 8 & 0xff;
	}
	return 0;
}

static void header_says_what_the_function_is(void **state)
{
	struct world *w = *state;

	assert_int_equal(config(w, 0), 0x00101b36);
	assert_int_equal(config(w, 8), 0x01080200);
	assert_int_equal(pci_function_config_read(w->f, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	assert_int_equal(find_capability(w, PCI_CAP_ID_MSIX), 0x40);
	assert_int_equal(find_capability(w, PCI_CAP_ID_EXP), EXPRESS_OFFSET);
	assert_int_not_equal(find_capability(w, PCI_CAP_ID_PM), 0);
	assert_int_not_equal(find_capability(w, PCI_CAP_ID_MSI), 0);
	assert_int_equal(find_capability(w, 0x77), 0);
}

static void bar_is_sized_by_writing_ones(void **state)
{
	struct world *w = *state;

	pci_function_config_write(w->f, PCI_BASE_ADDRESS_0, 4, ~0u);
	pci_function_config_write(w->f, PCI_BASE_ADDRESS_0 + 4, 4, ~0u);
	assert_int_equal(config(w, PCI_BASE_ADDRESS_0), (uint32_t)~(DEVICE_BAR0_SIZE - 1) | 4);
	assert_int_equal(config(w, PCI_BASE_ADDRESS_0 + 4), ~0u);
	pci_function_config_write(w->f, PCI_BASE_ADDRESS_0 + 8, 4, ~0u);
	assert_int_equal(config(w, PCI_BASE_ADDRESS_0 + 8), 0);
}

static void what_is_read_only_stays_as_it_is(void **state)
{
	struct world *w = *state;

	for (unsigned offset = 0; offset < 16; offset += 4) {
		uint32_t before = config(w, offset);

		pci_function_config_write(w->f, offset, 4, ~before & ~0xffffu);
		if (offset != PCI_COMMAND)
			assert_int_equal(config(w, offset), before);
	}
	assert_int_equal(pci_function_config_read(w->f, 4096, 4), ~0u);
	assert_int_equal(pci_function_config_read(w->f, 4096, 1), 0xff);
	pci_function_config_write(w->f, 4096, 4, 1);
}

static void descriptions_that_do_not_fit_are_refused(void **state)
{
	struct device device = { 0 };
	struct pci_function *f = device_function(&device);
	uint8_t body[100] = { 0 };

	assert_int_equal(pci_function_add_bar(f, 0, 4096, false, false), -EINVAL); /* used */
	assert_int_equal(pci_function_add_bar(f, 1, 4096, false, false), -EINVAL); /* upper half */
	assert_int_equal(pci_function_add_bar(f, 2, 4097, false, false), -EINVAL);
	assert_int_equal(pci_function_add_bar(f, 5, 4096, true, false), -EINVAL);
	assert_int_equal(pci_function_add_bar(f, 6, 4096, false, false), -EINVAL);
	assert_int_equal(pci_function_add_bar(f, 5, 4096, false, false), 0);
	assert_int_equal(pci_function_add_msix(f, 4, 0, 0, 0, 0x100), -EINVAL); /* a second one */
	assert_int_equal(pci_function_add_msi(f, 3), -EINVAL);
	assert_true(pci_function_add_capability(f, 9, body, NULL, 100) > 0);
	assert_int_equal(pci_function_add_capability(f, 9, body, NULL, 100), -ENOSPC);
	pci_function_free(f);
}

/* --- MSI-X --------------------------------------------------------------------------- */

static void set_vector(struct world *w, unsigned vector, uint32_t data, bool masked)
{
	uint64_t at = DEVICE_MSIX_TABLE + vector * 16;

	pci_function_bar_write(w->f, 0, at, 8, 0xfe00000000000000);
	pci_function_bar_write(w->f, 0, at + 8, 8, (uint64_t)masked << 32 | data);
}

static void enable_msix(struct world *w, uint16_t control)
{
	pci_function_config_write(w->f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pci_function_config_write(w->f, 0x42, 2, control);
}

static void vector_sends_its_message(void **state)
{
	struct world *w = *state;

	set_vector(w, 63, 0x1234, false);
	enable_msix(w, 0x8000);
	assert_true(pci_function_msix_enabled(w->f));
	pci_function_msix_notify(w->f, 63);
	assert_int_equal(w->messages.count, 1);
	assert_int_equal(w->messages.address[0], 0xfe00000000000000);
	assert_int_equal(w->messages.data[0], 0x1234);
	assert_int_equal(pci_function_config_read(w->f, 0x42, 2), 0x8000 | 63);
}

static void nothing_is_sent_unless_enabled_and_bus_master(void **state)
{
	struct world *w = *state;

	set_vector(w, 0, 1, false);
	pci_function_msix_notify(w->f, 0);
	enable_msix(w, 0x8000);
	pci_function_config_write(w->f, PCI_COMMAND, 2, 0);
	assert_false(pci_function_is_bus_master(w->f));
	pci_function_msix_notify(w->f, 0);
	pci_function_msix_notify(w->f, 64);
	pci_function_msix_notify(w->f, UINT32_MAX);
	assert_int_equal(w->messages.count, 0);
}

static void vectors_start_masked(void **state)
{
	struct world *w = *state;

	enable_msix(w, 0x8000);
	assert_true(pci_function_msix_masked(w->f, 0));
	pci_function_msix_notify(w->f, 0);
	assert_int_equal(w->messages.count, 0);
}

static void pending_vectors_are_sent_when_all_are_unmasked(void **state)
{
	struct world *w = *state;
	uint64_t pending;

	for (unsigned i = 0; i < 3; i++)
		set_vector(w, i, i, i == 1);
	enable_msix(w, 0xc000);
	for (unsigned i = 0; i < 3; i++)
		pci_function_msix_notify(w->f, i);
	pci_function_bar_read(w->f, 0, DEVICE_MSIX_PBA, 8, &pending);
	assert_int_equal(pending, 7);
	enable_msix(w, 0x8000);
	assert_int_equal(w->messages.count, 2);
	assert_int_equal(w->messages.data[1], 2);
	pci_function_bar_read(w->f, 0, DEVICE_MSIX_PBA, 8, &pending);
	assert_int_equal(pending, 2);
	pci_function_bar_write(w->f, 0, DEVICE_MSIX_PBA, 8, 0); /* read-only */
	pci_function_bar_read(w->f, 0, DEVICE_MSIX_PBA, 1, &pending);
	assert_int_equal(pending, 2);
}

static void table_holds_what_was_written_and_the_device_sees_nothing(void **state)
{
	struct world *w = *state;
	uint64_t value;

	w->device.reads = w->device.writes = 0;
	pci_function_bar_write(w->f, 0, DEVICE_MSIX_TABLE + 0x12, 2, 0xabcd);
	pci_function_bar_write(w->f, 0, DEVICE_MSIX_TABLE + 0x1c, 4, 0xffffffff);
	pci_function_bar_read(w->f, 0, DEVICE_MSIX_TABLE + 0x10, 4, &value);
	assert_int_equal(value, 0xabcd0000);
	pci_function_bar_read(w->f, 0, DEVICE_MSIX_TABLE + 0x1c, 4, &value);
	assert_int_equal(value, 1); /* the rest is reserved */
	assert_int_equal(w->device.reads + w->device.writes, 0);
	pci_function_bar_write(w->f, 0, DEVICE_MSIX_TABLE + 64 * 16, 4, 5);
	assert_int_equal(w->device.writes, 1);
}

/* --- MSI --------------------------------------------------------------------------------- */

static void msi_puts_the_vector_into_the_data(void **state)
{
	struct world *w = *state;
	unsigned cap = find_capability(w, PCI_CAP_ID_MSI);

	pci_function_config_write(w->f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pci_function_config_write(w->f, cap + 4, 4, 0x00001000);
	pci_function_config_write(w->f, cap + 8, 4, 0xfe000000);
	pci_function_config_write(w->f, cap + 12, 2, 0x0108);
	pci_function_config_write(w->f, cap + 2, 2, 0x0011); /* two vectors */
	assert_true(pci_function_msi_enabled(w->f));
	pci_function_msi_notify(w->f, 1);
	pci_function_msi_notify(w->f, 3); /* folded onto the last one */
	assert_int_equal(w->messages.count, 2);
	assert_int_equal(w->messages.address[0], 0xfe00000000001000);
	assert_int_equal(w->messages.data[0], 0x0109);
	assert_int_equal(w->messages.data[1], 0x0109);
	pci_function_config_write(w->f, cap + 16, 4, 1);
	pci_function_msi_notify(w->f, 0);
	assert_int_equal(w->messages.count, 2);
	assert_int_equal(config(w, cap + 20), 1);
	pci_function_config_write(w->f, cap + 16, 4, 0);
	assert_int_equal(w->messages.count, 3);
	assert_int_equal(w->messages.data[2], 0x0108);
	assert_int_equal(config(w, cap + 20), 0);
}

/* --- reset, attaching ---------------------------------------------------------------------- */

static void function_level_reset_forgets_everything(void **state)
{
	struct world *w = *state;
	uint64_t value;
	unsigned resets = w->device.resets;

	set_vector(w, 0, 5, false);
	enable_msix(w, 0x8000);
	pci_function_config_write(w->f, PCI_BASE_ADDRESS_0, 4, 0x12340000);
	pci_function_config_write(w->f, EXPRESS_OFFSET + 8, 2, 0x8000);
	assert_int_equal(w->device.resets, resets + 1);
	assert_int_equal(config(w, PCI_COMMAND) & 0xffff, 0);
	assert_int_equal(config(w, PCI_BASE_ADDRESS_0), 4);
	assert_false(pci_function_msix_enabled(w->f));
	pci_function_bar_read(w->f, 0, DEVICE_MSIX_TABLE + 8, 8, &value);
	assert_int_equal(value, 1ull << 32);
	pci_function_msix_notify(w->f, 0);
	assert_int_equal(w->messages.count, 0);
}

static void function_level_reset_does_not_wait_for_a_device_that_waits_for_its_host(void **state)
{
	struct world *w = *state;
	unsigned resets = w->device.resets;

	set_vector(w, 0, 5, false);
	enable_msix(w, 0x8000);
	w->device.busy = UINT_MAX;
	pci_function_config_write(w->f, EXPRESS_OFFSET + 8, 2, 0x8000);
	/* It is silent, and not there yet. */
	assert_int_equal(w->device.resets, resets);
	assert_false(pci_function_is_bus_master(w->f));
	pci_function_msix_notify(w->f, 0);
	assert_int_equal(w->messages.count, 0);
	assert_int_equal(config(w, 0), 0xffffffff);
	assert_int_equal(pci_function_config_read(w->f, PCI_COMMAND, 2), 0xffff);
	assert_int_equal(pci_function_config_read(w->f, PCI_COMMAND, 1), 0xff);
	assert_int_equal(pci_function_bar_value(w->f, 0), 4);
	pci_function_config_write(w->f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_false(pci_function_is_bus_master(w->f));

	w->device.busy = 1;
	assert_int_equal(config(w, 0), 0xffffffff);
	assert_int_equal(w->device.resets, resets);
	assert_int_not_equal(config(w, 0), 0xffffffff);
	assert_int_equal(w->device.resets, resets + 1);
	pci_function_config_write(w->f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_true(pci_function_is_bus_master(w->f));
	assert_int_equal(w->device.resets, resets + 1);
}

static void function_attaches_once_and_detaches(void **state)
{
	struct world *w = *state;

	assert_true(w->device.attached);
	assert_int_equal(pci_function_attach(w->f, w->dma, &msi_ops, &w->messages), -EBUSY);
	set_vector(w, 0, 5, false);
	enable_msix(w, 0x8000);
	pci_function_detach(w->f);
	assert_false(w->device.attached);
	assert_null(pci_function_dma(w->f));
	set_vector(w, 0, 5, false);
	enable_msix(w, 0x8000);
	pci_function_msix_notify(w->f, 0);
	assert_int_equal(w->messages.count, 0);
}

static void block_without_a_block_callback_is_ascending_writes(void **state)
{
	static const struct pci_function_info info = { .name = "plain" };
	struct pci_device_ops plain = device_ops;
	struct device device = { 0 };
	struct pci_function *f;
	uint8_t block[20];

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = i + 1;
	plain.bar_write_block = NULL;
	f = pci_function_new(&info, &plain, &device);
	assert_int_equal(pci_function_add_bar(f, 0, 4096, false, false), 0);
	assert_int_equal(pci_function_bar_write_block(f, 0, 0x10, block, 20), 0);
	assert_int_equal(device.writes, 3);
	assert_int_equal(device.offset, 0x20);
	assert_int_equal(device.size, 4);
	assert_int_equal(device.written, 0x14131211);
	assert_int_equal(pci_function_bar_write_block(f, 0, 4090, block, 20), -ERANGE);
	assert_int_equal(pci_function_bar_write_block(f, 0, 0, block, 0), -ERANGE);
	pci_function_free(f);
}

static void record_vector(void *opaque, bool msix, unsigned vector)
{
	deliver(opaque, msix, vector);
}

static void host_that_keeps_the_vectors_is_told_of_each(void **state)
{
	static const struct pci_msi_ops keeper = { .deliver = deliver, .notify = record_vector };
	struct world *w = *state;

	pci_function_detach(w->f);
	assert_int_equal(pci_function_attach(w->f, w->dma, &keeper, &w->messages), 0);
	pci_function_msix_notify(w->f, 1); /* no bus master */
	assert_int_equal(w->messages.count, 0);
	pci_function_config_write(w->f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pci_function_msix_notify(w->f, 1); /* masked here, and not enabled */
	pci_function_msix_notify(w->f, PCI_MSIX_VECTORS_MAX);
	pci_function_msi_notify(w->f, 3);
	assert_int_equal(w->messages.count, 2);
	assert_int_equal(w->messages.address[0], 1);
	assert_int_equal(w->messages.data[0], 1);
	assert_int_equal(w->messages.address[1], 0);
	assert_int_equal(w->messages.data[1], 3);
}

/* A device's thread that is not careful. */
struct raising {
	struct pci_function *f;
	atomic_bool stop;
	atomic_uint raised, heard;
};

static void *raise_vectors(void *opaque)
{
	struct raising *r = opaque;

	while (!r->stop) {
		pci_function_msix_notify(r->f, 0);
		pci_function_msi_notify(r->f, 0);
		r->raised++;
		sched_yield();
	}
	return NULL;
}

static void count_message(void *opaque, uint64_t address, uint32_t data)
{
	((struct raising *)opaque)->heard++;
}

static void count_vector(void *opaque, bool msix, unsigned vector)
{
	((struct raising *)opaque)->heard++;
}

static void vectors_may_be_raised_while_it_is_attached_and_detached(void **state)
{
	static const struct pci_msi_ops hosts[] = {
		{ .deliver = count_message },
		{ .notify = count_vector },
	};
	struct world *w = *state;
	struct raising r = { .f = w->f };
	pthread_t thread;

	pci_function_detach(w->f);
	assert_int_equal(pthread_create(&thread, NULL, raise_vectors, &r), 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned raised;

		assert_int_equal(pci_function_attach(w->f, w->dma, &hosts[i % 2], &r), 0);
		set_vector(w, 0, 1, false);
		enable_msix(w, 0x8000);
		for (raised = r.raised; r.raised == raised;)
			sched_yield();
		pci_function_detach(w->f);
	}
	r.stop = true;
	pthread_join(thread, NULL);
	assert_true(r.heard > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(header_says_what_the_function_is),
		TEST(bar_is_sized_by_writing_ones),
		TEST(what_is_read_only_stays_as_it_is),
		TEST(descriptions_that_do_not_fit_are_refused),
		TEST(vector_sends_its_message),
		TEST(nothing_is_sent_unless_enabled_and_bus_master),
		TEST(vectors_start_masked),
		TEST(pending_vectors_are_sent_when_all_are_unmasked),
		TEST(table_holds_what_was_written_and_the_device_sees_nothing),
		TEST(msi_puts_the_vector_into_the_data),
		TEST(function_level_reset_forgets_everything),
		TEST(function_level_reset_does_not_wait_for_a_device_that_waits_for_its_host),
		TEST(function_attaches_once_and_detaches),
		TEST(block_without_a_block_callback_is_ascending_writes),
		TEST(host_that_keeps_the_vectors_is_told_of_each),
		TEST(vectors_may_be_raised_while_it_is_attached_and_detached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
