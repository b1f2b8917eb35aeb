/* SPDX-License-Identifier: MIT */
/* MPCIFC and STPCIFC, the states and what moves between them, events, measurement. */
#include "guest.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "zpci/internal.h"

#define CONTROLS(g) (*(uint8_t *)guest_at(g, FIB_AT + 8))

static struct pci_dma_space *space(struct guest *g)
{
	return pci_function_dma(g->function);
}

/* Bring the function into the error state by a transfer that has no translation. */
static void let_fail(struct guest *g)
{
	char byte;

	assert_int_equal(pci_dma_read(space(g), SDMA + 0x7123, &byte, 1), -EFAULT);
}

static void enable_with_everything(struct guest *g)
{
	guest_enable(g);
	guest_register_translation(g);
	guest_register_interruptions(g, 3, 8);
}

/* --- MPCIFC, STPCIFC ------------------------------------------------------------------ */

static void modify_checks_alignment_handle_format_and_operation(void **state)
{
	struct guest *g = *state;

	guest_fib(g);
	guest_mpcifc(g, 2); /* disabled */
	assert_int_equal(g->vcpu.cc, 3);
	guest_enable(g);
	g->gr[5] = (uint64_t)g->fh << 32 | 2;
	assert_int_not_equal(zpci_insn_mpcifc(g->zpci, &g->vcpu, 5, FIB_AT + 4, 1), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	guest_clear(g);
	*guest_fib(g) = 1;
	assert_int_not_equal(guest_mpcifc(g, 2), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	guest_fib(g);
	assert_int_not_equal(guest_mpcifc(g, 1), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	assert_int_not_equal(guest_mpcifc(g, 8), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	g->inaccessible = FIB_AT + 8;
	assert_int_not_equal(guest_mpcifc(g, 2), 0);
	assert_true(g->access_exception);
	guest_clear(g);
	g->inaccessible = 0;
	g->vcpu.problem_state = true;
	assert_int_not_equal(guest_mpcifc(g, 2), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
}

static void store_gives_back_what_was_registered(void **state)
{
	struct guest *g = *state;
	uint8_t *fib = guest_at(g, FIB_AT);

	enable_with_everything(g);
	memset(fib, 0xee, FIB_SIZE);
	assert_int_equal(guest_stpcifc(g, g->fh), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(fib[0], 0);
	assert_int_equal(CONTROLS(g), 0x90);
	assert_int_equal(load_be64(fib + 16), SDMA);
	assert_int_equal(load_be64(fib + 24), SDMA + 4 * GIB - 1);
	assert_int_equal(load_be64(fib + 32), TABLES_AT | IOTA_RTTO);
	assert_int_equal(load_be32(fib + 40), 3 << 28 | 8 << 16 | 1 << 7 | 9);
	assert_int_equal(load_be64(fib + 48), AIBV_AT);
	assert_int_equal(load_be64(fib + 56), AISB_AT);
	assert_int_equal(load_be32(fib + 76), 0);
}

static void store_of_a_disabled_function_is_a_block_of_zeros(void **state)
{
	struct guest *g = *state;
	static const uint8_t zeros[FIB_SIZE];

	memset(guest_at(g, FIB_AT), 0xee, FIB_SIZE);
	guest_stpcifc(g, g->fh);
	assert_int_equal(g->vcpu.cc, 0);
	assert_memory_equal(guest_at(g, FIB_AT), zeros, FIB_SIZE);
	guest_stpcifc(g, g->fh | 0x80000000);
	assert_int_equal(g->vcpu.cc, 3);
}

static void store_tells_that_the_handle_lacks_the_enabled_bit(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_stpcifc(g, g->fh & ~0x80000000);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->gr[5] >> 32, g->fh);
	assert_int_equal(CONTROLS(g), 0x80);
}

static void store_checks_space_alignment_handle_and_access(void **state)
{
	struct guest *g = *state;

	g->gr[5] = (uint64_t)g->fh << 32 | 1 << 16;
	zpci_insn_stpcifc(g->zpci, &g->vcpu, 5, FIB_AT, 1);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 28);
	g->gr[5] = (uint64_t)g->fh << 32;
	assert_int_not_equal(zpci_insn_stpcifc(g->zpci, &g->vcpu, 5, FIB_AT + 1, 1), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	guest_stpcifc(g, g->fh + 7);
	assert_int_equal(g->vcpu.cc, 3);
	g->inaccessible = FIB_AT;
	assert_int_not_equal(guest_stpcifc(g, g->fh), 0);
	assert_true(g->access_exception);
	g->vcpu.problem_state = true;
	assert_int_not_equal(guest_stpcifc(g, g->fh), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
}

static void interruptions_register_once_and_deregister_once(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_fib(g);
	guest_mpcifc(g, 3);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 24);
	guest_register_interruptions(g, 3, 8);
	guest_mpcifc(g, 2);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 24);
	guest_mpcifc(g, 3);
	assert_int_equal(g->vcpu.cc, 0);
}

static void registration_checks_where_the_indicators_are(void **state)
{
	struct guest *g = *state;
	uint8_t *fib = guest_fib(g);

	guest_enable(g);
	store_be32(fib + 40, 64 << 16 | 63 << 8 | 1 << 7);
	store_be64(fib + 48, GUEST_MEMORY - 8);
	guest_mpcifc(g, 2); /* bits 63 to 126 need 16 bytes */
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 4);
	store_be64(fib + 48, GUEST_MEMORY - 16);
	store_be64(fib + 56, UINT64_MAX);
	guest_mpcifc(g, 2);
	assert_int_equal(g->vcpu.cc, 1);
	store_be64(fib + 56, GUEST_MEMORY - 1);
	guest_mpcifc(g, 2);
	assert_int_equal(g->vcpu.cc, 0);
	guest_mpcifc(g, 3);
	store_be32(fib + 40, 129 << 16); /* more than the group has */
	assert_int_not_equal(guest_mpcifc(g, 2), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
}

/* --- events --------------------------------------------------------------------------------- */

/* A refresh without translation fails, each time that the function is back. */
static void make_event(struct guest *g)
{
	guest_rpcit(g, SDMA, 4096);
	assert_int_equal(g->vcpu.cc, 1);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
}

static void event_is_announced_when_one_was_fetched_since_the_last(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	guest_enable(g);
	for (int i = 0; i < 3; i++)
		make_event(g);
	assert_int_equal(g->event_calls, 1);
	/* There are more, but maybe nobody looks. */
	assert_true(zpci_next_event(g->zpci, &event));
	make_event(g);
	make_event(g);
	assert_int_equal(g->event_calls, 2);
	while (zpci_next_event(g->zpci, &event))
		;
	make_event(g);
	assert_int_equal(g->event_calls, 3);
	zpci_reset(g->zpci);
	g->fh &= ~FH_ENABLED;
	guest_enable(g);
	make_event(g);
	assert_int_equal(g->event_calls, 1); /* guest_enable() forgets */
}

static void events_that_find_no_room_are_told_of(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	unsigned lost = 0, count = 0;

	guest_enable(g);
	for (unsigned i = 0; i < EVENTS_MAX; i++)
		make_event(g);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_false(event.lost);
	make_event(g);
	make_event(g); /* no room */
	assert_true(zpci_next_event(g->zpci, &event));
	assert_true(event.lost);
	while (zpci_next_event(g->zpci, &event)) {
		lost += event.lost;
		count++;
	}
	assert_int_equal(lost, 0);
	assert_int_equal(count, EVENTS_MAX - 1);
}

static void event_that_is_put_back_is_the_next_one_again(void **state)
{
	struct guest *g = *state;
	struct zpci_event first, event;

	guest_enable(g);
	make_event(g);
	assert_true(zpci_next_event(g->zpci, &first));
	zpci_inject_error(g->zpci, GUEST_FID, PEC_FMB_ADDRESS, 0x1234);
	assert_int_equal(g->event_calls, 2);
	zpci_return_event(g->zpci, &first);
	assert_int_equal(g->event_calls, 2); /* announced already */
	assert_true(zpci_next_event(g->zpci, &event));
	assert_memory_equal(event.ccdf, first.ccdf, sizeof(first.ccdf));
	zpci_return_event(g->zpci, &event);
	assert_int_equal(g->event_calls, 3);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be64(event.ccdf + 16), 0x1234);
	assert_false(zpci_next_event(g->zpci, &event));

	for (unsigned i = 0; i < EVENTS_MAX; i++)
		make_event(g);
	zpci_return_event(g->zpci, &first);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_true(event.lost);
}

/* --- errors and recovery ------------------------------------------------------------------ */

static void failed_transfer_puts_the_function_into_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	char byte;

	enable_with_everything(g);
	let_fail(g);
	assert_int_equal(g->event_calls, 1);
	assert_true(zpci_has_event(g->zpci));
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(event.content_code, 1);
	assert_int_equal(load_be32(event.ccdf + 4), g->fh);
	assert_int_equal(load_be32(event.ccdf + 8), GUEST_FID);
	assert_int_equal(load_be64(event.ccdf + 16), SDMA + 0x7123);
	assert_int_equal(load_be16(event.ccdf + 30), 4);
	assert_false(zpci_next_event(g->zpci, &event));

	guest_stpcifc(g, g->fh);
	assert_int_equal(CONTROLS(g), 0xf0);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[6]), 12);
	guest_pcistg(g, 15, 0, 4, 0);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(pci_dma_read(space(g), SDMA + 0x7123, &byte, 1), -EPERM);
	assert_false(zpci_has_event(g->zpci)); /* once is enough */
}

static void store_to_a_protected_page_is_an_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	char byte = 0;

	enable_with_everything(g);
	guest_map(g, SDMA, 0x9000, false);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), 0);
	assert_int_equal(pci_dma_write(space(g), SDMA, &byte, 1), -EFAULT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 4);
}

static void page_outside_memory_is_an_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	char byte = 0;

	enable_with_everything(g);
	guest_map(g, SDMA, GUEST_MEMORY, true);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), -EFAULT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_ADDRESSING);
}

static void recovery_unblocks_loads_first_and_dma_then(void **state)
{
	struct guest *g = *state;
	char byte;

	enable_with_everything(g);
	guest_map(g, SDMA, 0x9000, true);
	let_fail(g);
	guest_mpcifc(g, 9);
	assert_int_equal(g->vcpu.cc, 0);
	guest_stpcifc(g, g->fh);
	assert_int_equal(CONTROLS(g), 0xd0);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), -EPERM);
	guest_mpcifc(g, 9);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 24);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	guest_stpcifc(g, g->fh);
	assert_int_equal(CONTROLS(g), 0x90);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), 0);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 24);
}

static void error_can_be_left_in_one_step_or_by_disabling(void **state)
{
	struct guest *g = *state;
	char byte;

	enable_with_everything(g);
	guest_map(g, SDMA, 0x9000, true);
	let_fail(g);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), 0);
	let_fail(g);
	guest_disable(g);
	guest_enable(g);
	guest_stpcifc(g, g->fh);
	assert_int_equal(CONTROLS(g), 0x80);
}

static void function_that_is_not_bus_master_does_no_dma_and_no_harm(void **state)
{
	struct guest *g = *state;
	char byte;

	enable_with_everything(g);
	guest_map(g, SDMA, 0x9000, true);
	guest_pcistg(g, 15, PCI_COMMAND, 2, 0);
	assert_int_equal(pci_dma_read(space(g), SDMA, &byte, 1), -EPERM);
	assert_false(zpci_has_event(g->zpci));
}

static void events_that_nobody_fetches_are_bounded(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	unsigned events = 0;

	enable_with_everything(g);
	for (unsigned i = 0; i < 5000; i++) {
		let_fail(g);
		guest_mpcifc(g, 7);
	}
	while (zpci_next_event(g->zpci, &event))
		events++;
	assert_in_range(events, 100, 4096);
	let_fail(g);
	assert_true(zpci_has_event(g->zpci));
}

/* --- configuring, plugging ------------------------------------------------------------------ */

static void service_processor_configures_and_deconfigures(void **state)
{
	struct guest *g = *state;
	uint32_t fh;

	assert_int_equal(zpci_sclp_configure(g->zpci, 0x77), 0x09f0);
	assert_int_equal(zpci_sclp_deconfigure(g->zpci, 0x77), 0x09f0);
	assert_int_equal(zpci_sclp_configure(g->zpci, GUEST_FID), 0x0120);
	enable_with_everything(g);
	fh = g->fh;
	assert_int_equal(zpci_sclp_deconfigure(g->zpci, GUEST_FID), 0x0020);
	assert_int_equal(zpci_sclp_deconfigure(g->zpci, GUEST_FID), 0x0120);
	assert_int_equal(g->deconfigured, 0);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
	guest_stpcifc(g, fh & ~0x80000000);
	assert_int_equal(g->vcpu.cc, 3);
	assert_int_equal(zpci_sclp_configure(g->zpci, GUEST_FID), 0x0020);
	g->fh = fh & ~0x80000000;
	guest_enable(g);
}

static void guest_is_asked_before_a_function_is_taken_away(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	guest_enable(g);
	assert_int_equal(zpci_request_unplug(g->zpci, GUEST_FID), 0);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(event.content_code, 2);
	assert_int_equal(load_be32(event.ccdf + 4), g->fh);
	assert_int_equal(load_be32(event.ccdf + 8), GUEST_FID);
	assert_int_equal(load_be16(event.ccdf + 30), 0x0303);
	assert_int_equal(g->deconfigured, 0);
	zpci_sclp_deconfigure(g->zpci, GUEST_FID);
	assert_int_equal(g->deconfigured, GUEST_FID);
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 0x0308);
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), -ENOENT);
	assert_int_equal(zpci_request_unplug(g->zpci, GUEST_FID), -ENOENT);
}

static void surprise_removal_ends_everything(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	enable_with_everything(g);
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	assert_null(space(g));
	assert_false(g->device.attached);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 0x0304);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
	guest_mpcifc(g, 3);
	assert_int_equal(g->vcpu.cc, 3);
	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(g->vcpu.cc, 3);
}

static void function_whose_device_waits_for_its_host_is_removed_later(void **state)
{
	struct guest *g = *state;
	unsigned resets;

	enable_with_everything(g);
	resets = g->device.resets;
	g->device.busy = 2;
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), -EBUSY);
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), -EBUSY);
	/* For the guest nothing has happened: memory of transfers is not free yet. */
	assert_false(zpci_has_event(g->zpci));
	assert_int_equal(g->device.resets, resets);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	assert_int_equal(g->device.resets, resets + 1);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
}

static void deconfiguring_does_not_wait_for_a_device_that_waits_for_its_host(void **state)
{
	struct guest *g = *state;
	unsigned resets;

	enable_with_everything(g);
	resets = g->device.resets;
	g->device.busy = UINT_MAX;
	assert_int_equal(zpci_sclp_deconfigure(g->zpci, GUEST_FID), 0x0340);
	assert_int_equal(g->device.resets, resets);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
	g->device.busy = 20;
	assert_int_equal(zpci_sclp_deconfigure(g->zpci, GUEST_FID), 0x0020);
	assert_int_equal(g->device.resets, resets + 1);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
}

static void functions_are_asked_to_come_to_rest_before_a_reset(void **state)
{
	struct guest *g = *state;
	uint32_t fid = 0;

	enable_with_everything(g);
	g->device.busy = 1;
	assert_false(zpci_quiesce(g->zpci, &fid));
	assert_int_equal(fid, GUEST_FID);
	assert_true(zpci_quiesce(g->zpci, &fid));
	zpci_reset(g->zpci);
	/* One in standby begins nothing; it would not be reset afterwards, either. */
	zpci_sclp_deconfigure(g->zpci, GUEST_FID);
	g->device.busy = 1;
	assert_true(zpci_quiesce(g->zpci, &fid));
	assert_int_equal(g->device.busy, 1);
	g->device.busy = 0;
}

/* What a device that is there returns. */
#define WITNESS 0x11223344

/* A vCPU of its own that loads from whatever function has the handle. */
struct loader {
	struct guest guest;
	atomic_uint *fh;
	atomic_bool *stop;
	atomic_uint loads, wrong;
};

static void *keep_loading(void *opaque)
{
	struct loader *loader = opaque;

	while (!*loader->stop) {
		loader->guest.fh = *loader->fh;
		guest_pcilg(&loader->guest, 0, 0x10, 4);
		if (loader->guest.vcpu.cc != 0)
			continue;
		loader->loads++;
		if (loader->guest.gr[5] != __builtin_bswap32(WITNESS))
			loader->wrong++;
	}
	return NULL;
}

/* The device of the test is slow, and made anew for each plug. */
static uint64_t witness_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	usleep(200);
	return __atomic_load_n((const uint64_t *)device, __ATOMIC_RELAXED);
}

static void witness_write(void *device, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value)
{
}

static void look_for_identifiers(void *opaque)
{
	struct guest *g = opaque;

	assert_true(zpci_fid_in_use(g->zpci, GUEST_FID));
	assert_true(zpci_uid_in_use(g->zpci, GUEST_UID));
	assert_false(zpci_has_event(g->zpci));
}

static void identifiers_are_taken_until_the_guest_knows_of_the_removal(void **state)
{
	struct guest *g = *state;

	g->device.on_detaching = look_for_identifiers;
	g->device.opaque = g;
	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	g->device.on_detaching = NULL;
	assert_true(zpci_has_event(g->zpci));
	assert_false(zpci_fid_in_use(g->zpci, GUEST_FID));
	assert_false(zpci_uid_in_use(g->zpci, GUEST_UID));
}

static void *request_unplug(void *opaque)
{
	struct guest *g = opaque;

	assert_int_equal(zpci_request_unplug(g->zpci, GUEST_FID), -ENOENT);
	return NULL;
}

static void no_function_is_asked_for_that_was_unplugged_meanwhile(void **state)
{
	struct guest *g = *state;
	struct zpci_function *f = g->zpci->slots[0];
	uint32_t fh = f->fh;
	pthread_t thread;

	/* As zpci_unplug() does it, while the other thread waits for the lock. */
	pthread_mutex_lock(&f->control);
	assert_int_equal(pthread_create(&thread, NULL, request_unplug, g), 0);
	while (!f->users)
		sched_yield();
	f->fh = 0;
	pthread_mutex_unlock(&f->control);
	pthread_join(thread, NULL);
	assert_false(zpci_has_event(g->zpci));
	f->fh = fh;
}

static void nobody_uses_a_function_that_has_been_unplugged(void **state)
{
	static const struct pci_function_info info = { .name = "witness" };
	static const struct pci_device_ops ops = {
		.bar_read = witness_read, .bar_write = witness_write,
	};
	/* One that has a place of its own, one that has none. */
	static const unsigned indexes[2] = { 1, ZPCI_FAST_VCPUS };
	struct guest *g = *state;
	struct zpci_function_config config = zpci_function_defaults(0x66);
	atomic_uint fh = 0;
	atomic_bool stop = false;
	static struct loader loaders[2];
	pthread_t threads[2];

	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	for (unsigned i = 0; i < 2; i++) {
		loaders[i] = (struct loader){ .guest = *g, .fh = &fh, .stop = &stop };
		loaders[i].guest.vcpu.index = indexes[i];
		loaders[i].guest.vcpu.registers = loaders[i].guest.gr;
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, keep_loading, &loaders[i]), 0);
	for (unsigned i = 0; i < 50 || !loaders[0].loads || !loaders[1].loads; i++) {
		uint64_t witness = WITNESS;
		struct pci_function *f = pci_function_new(&info, &ops, &witness);

		assert_int_equal(pci_function_add_bar(f, 0, 4096, false, false), 0);
		assert_int_equal(zpci_plug(g->zpci, f, &config, false, NULL, 0), 0);
		g->fh = 0x00010000 * (i % 0x7ffe + 2);
		guest_enable(g);
		fh = g->fh;
		usleep(300 + i % 7 * 50);
		assert_int_equal(zpci_unplug(g->zpci, 0x66), 0);
		/* A load that is still under way, or comes later, reads this. */
		__atomic_store_n(&witness, 0, __ATOMIC_RELAXED);
		pci_function_free(f);
	}
	stop = true;
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(loaders[i].wrong, 0);
	}
}

/* A device that resets itself when the guest has written to it, and is being unplugged by then. */
struct self_resetting {
	struct guest *guest;
	struct zpci_function *f;
	struct pci_function *pci;
	atomic_bool written, unplugged;
	unsigned resets;
};

static void self_reset(void *device)
{
	((struct self_resetting *)device)->resets++;
}

static void reset_when_unplugged(void *device, unsigned offset, unsigned size, uint32_t value)
{
	struct self_resetting *d = device;

	if (offset != PCI_INTERRUPT_LINE)
		return;
	d->written = true;
	while (d->f->fh)
		sched_yield();
	pci_function_reset(d->pci);
}

static void *write_config(void *opaque)
{
	struct self_resetting *d = opaque;

	guest_pcistg(d->guest, 15, PCI_INTERRUPT_LINE, 1, 1);
	return NULL;
}

static void *unplug_it(void *opaque)
{
	struct self_resetting *d = opaque;

	d->unplugged = !zpci_unplug(d->guest->zpci, 0x66);
	return NULL;
}

static void device_may_reset_itself_while_it_is_being_unplugged(void **state)
{
	static const struct pci_function_info info = { .name = "self" };
	static const struct pci_device_ops ops = {
		.bar_read = witness_read,
		.bar_write = witness_write,
		.reset = self_reset,
		.config_write = reset_when_unplugged,
	};
	static struct self_resetting d;
	struct guest *g = *state;
	struct zpci_function_config config = zpci_function_defaults(0x66);
	pthread_t writer, unplugger;
	struct timespec limit;

	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	d.guest = g;
	d.f = g->zpci->slots[0];
	d.pci = pci_function_new(&info, &ops, &d);
	assert_non_null(d.pci);
	assert_int_equal(zpci_plug(g->zpci, d.pci, &config, false, NULL, 0), 0);
	g->fh = d.f->fh;
	guest_enable(g);
	assert_int_equal(pthread_create(&writer, NULL, write_config, &d), 0);
	while (!d.written)
		sched_yield();
	assert_int_equal(pthread_create(&unplugger, NULL, unplug_it, &d), 0);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 60;
	assert_int_equal(pthread_timedjoin_np(unplugger, NULL, &limit), 0);
	pthread_join(writer, NULL);
	assert_true(d.unplugged);
	/* That of the device, and the last one. */
	assert_int_equal(d.resets, 2);
	pci_function_free(d.pci);
}

static void function_that_is_plugged_while_the_guest_runs_is_announced(void **state)
{
	struct guest *g = *state;
	struct zpci_function_config config = zpci_function_defaults(0x55);
	struct device device = { 0 };
	struct pci_function *f = device_function(&device);
	struct zpci_event event;

	config.standby = true;
	assert_int_equal(zpci_plug(g->zpci, f, &config, true, NULL, 0), 0);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(event.content_code, 2);
	assert_int_equal(load_be32(event.ccdf + 8), 0x55);
	assert_int_equal(load_be16(event.ccdf + 30), 0x0302);
	zpci_unplug(g->zpci, 0x55);
	pci_function_free(f);
}

static void reset_disables_everything_and_drops_events(void **state)
{
	struct guest *g = *state;
	uint32_t fh = g->fh;
	unsigned resets;

	enable_with_everything(g);
	let_fail(g);
	resets = g->device.resets;
	zpci_reset(g->zpci);
	assert_false(zpci_has_event(g->zpci));
	assert_int_equal(g->device.resets, resets + 1);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
	g->fh = fh;
	enable_with_everything(g);
}

/* --- groups ------------------------------------------------------------------------------------ */

static void groups_of_functions_that_have_gone_are_used_again(void **state)
{
	struct guest *g = *state;
	struct device device = { 0 };
	struct pci_function *other = device_function(&device);
	struct zpci_function_config config = zpci_function_defaults(0x55);
	char error[256] = "";

	for (unsigned i = 0; i < 1000; i++) {
		config.update_interval = (uint16_t)(i + 1);
		if (zpci_plug(g->zpci, other, &config, false, error, sizeof(error)))
			fail_msg("round %u: %s", i, error);
		assert_int_equal(zpci_unplug(g->zpci, 0x55), 0);
	}
	pci_function_free(other);
}

/* --- measurement ------------------------------------------------------------------------------ */

#define FMB_AT 0x7000

static void measurement_block_counts_what_was_done(void **state)
{
	struct guest *g = *state;
	uint8_t *fmb = guest_at(g, FMB_AT);
	uint8_t *fib;
	char bytes[100];

	enable_with_everything(g);
	guest_pcilg(g, 0, 0, 4); /* before: not counted */
	fib = guest_fib(g);
	store_be64(fib + 64, FMB_AT);
	guest_mpcifc(g, 10);
	assert_int_equal(g->vcpu.cc, 0);
	for (unsigned i = 0; i < 3; i++)
		guest_pcilg(g, 0, 0, 4);
	for (unsigned i = 0; i < 2; i++)
		guest_pcistg(g, 0, 0, 4, 0);
	guest_rpcit(g, SDMA, 0x1000);
	guest_map(g, SDMA, 0x9000, true);
	pci_dma_read(space(g), SDMA, bytes, 100);
	pci_dma_write(space(g), SDMA, bytes, 60);
	zpci_update_measurements(g->zpci, 10000);
	assert_int_equal(fmb[0], 0);
	assert_int_equal(load_be32(fmb) & 0xffffff, 1 << 23);
	assert_int_equal(load_be32(fmb + 4), 1);
	assert_int_equal(load_be64(fmb + 8), 0x1234567890abcdee);
	assert_int_equal(load_be64(fmb + 16), 3);
	assert_int_equal(load_be64(fmb + 24), 2);
	assert_int_equal(load_be64(fmb + 32), 0);
	assert_int_equal(load_be64(fmb + 40), 1);
	assert_int_equal(load_be64(fmb + 48), 100);
	assert_int_equal(load_be64(fmb + 56), 60);
	assert_int_equal(g->written_first, FMB_AT);
	zpci_update_measurements(g->zpci, 10001); /* the interval has not passed */
	assert_int_equal(load_be32(fmb + 4), 1);
	zpci_update_measurements(g->zpci, 14000);
	assert_int_equal(load_be32(fmb + 4), 2);
	guest_fib(g);
	guest_mpcifc(g, 10); /* off */
	zpci_update_measurements(g->zpci, 20000);
	assert_int_equal(load_be32(fmb + 4), 2);
}

static void measurement_block_in_no_memory_or_with_a_key_is_an_event(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;
	uint8_t *fib = guest_fib(g);

	guest_enable(g);
	store_be64(fib + 64, FMB_AT | 8);
	guest_mpcifc(g, 10);
	assert_int_equal(g->vcpu.cc, 1);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 0x2c);
	store_be64(fib + 64, GUEST_MEMORY - 48);
	guest_mpcifc(g, 10);
	assert_int_equal(g->vcpu.cc, 0);
	zpci_update_measurements(g->zpci, 10000);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 0x2a);
	guest_stpcifc(g, g->fh);
	assert_int_equal(load_be64(guest_at(g, FIB_AT + 64)), 0);
}

/* --- injected errors ----------------------------------------------------------------------- */

static void expect_error_event(struct guest *g, unsigned pec, uint64_t address)
{
	struct zpci_event event;

	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(event.content_code, 1);
	assert_int_equal(load_be32(event.ccdf + 4), g->fh);
	assert_int_equal(load_be32(event.ccdf + 8), GUEST_FID);
	assert_int_equal(load_be64(event.ccdf + 16), address);
	assert_int_equal(load_be16(event.ccdf + 30), pec);
	assert_false(zpci_has_event(g->zpci));
}

static void injected_error_is_like_one_of_the_function(void **state)
{
	struct guest *g = *state;

	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x000b, 0), -EBUSY);
	guest_enable(g);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID + 1, 0x000b, 0), -ENOENT);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0, 0), -EINVAL);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x0301, 0), -EINVAL);
	assert_false(zpci_has_event(g->zpci));
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x000b, 0x123), 0);
	expect_error_event(g, 0x000b, 0x123);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x000b, 0), -EBUSY);
	guest_fib(g);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
}

static void injected_measurement_error_changes_no_state(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x002a, 0), 0);
	expect_error_event(g, 0x002a, 0);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
}

static void permanent_error_lasts_until_the_function_is_disabled(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x0004, 0), 0);
	expect_error_event(g, 0x0004, 0);
	assert_int_equal(zpci_inject_error(g->zpci, GUEST_FID, 0x003b, 0), 0);
	expect_error_event(g, 0x003b, 0);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[6]), 12);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 3);
	guest_stpcifc(g, g->fh);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), 8);
	guest_rpcit(g, SDMA, 0x1000);
	assert_int_equal(g->vcpu.cc, 3);
	guest_disable(g);
	guest_enable(g);
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
}

static void injected_translation_failure_hits_the_page_that_was_named(void **state)
{
	struct guest *g = *state;
	struct pci_dma_space *space = pci_function_dma(g->function);
	char bytes[0x1800];

	guest_enable(g);
	guest_register_translation(g);
	for (unsigned i = 0; i < 4; i++)
		guest_map(g, SDMA + i * 0x1000, 0x9000, true);
	assert_int_equal(pci_dma_read(space, SDMA, bytes, 1), 0); /* a warm cache changes nothing */
	assert_int_equal(zpci_inject_translation_failure(g->zpci, GUEST_FID, 0x0004, 4), 0);
	assert_int_equal(pci_dma_read(space, SDMA, bytes, 1), 0);
	assert_int_equal(pci_dma_read(space, SDMA, bytes, sizeof(bytes)), 0);
	assert_int_equal(pci_dma_write(space, SDMA + 0x2000, bytes, 1), -EFAULT);
	expect_error_event(g, 0x0004, SDMA + 0x2000);
	guest_mpcifc(g, 7);
	assert_int_equal(pci_dma_write(space, SDMA + 0x2000, bytes, 1), 0);
	assert_int_equal(zpci_inject_translation_failure(g->zpci, GUEST_FID + 1, 0x0004, 1),
			 -ENOENT);
	assert_int_equal(zpci_inject_translation_failure(g->zpci, GUEST_FID, 0, 1), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(modify_checks_alignment_handle_format_and_operation),
		TEST(store_gives_back_what_was_registered),
		TEST(store_of_a_disabled_function_is_a_block_of_zeros),
		TEST(store_tells_that_the_handle_lacks_the_enabled_bit),
		TEST(store_checks_space_alignment_handle_and_access),
		TEST(interruptions_register_once_and_deregister_once),
		TEST(registration_checks_where_the_indicators_are),
		TEST(event_is_announced_when_one_was_fetched_since_the_last),
		TEST(events_that_find_no_room_are_told_of),
		TEST(event_that_is_put_back_is_the_next_one_again),
		TEST(failed_transfer_puts_the_function_into_error),
		TEST(store_to_a_protected_page_is_an_error),
		TEST(page_outside_memory_is_an_error),
		TEST(recovery_unblocks_loads_first_and_dma_then),
		TEST(error_can_be_left_in_one_step_or_by_disabling),
		TEST(function_that_is_not_bus_master_does_no_dma_and_no_harm),
		TEST(events_that_nobody_fetches_are_bounded),
		TEST(service_processor_configures_and_deconfigures),
		TEST(guest_is_asked_before_a_function_is_taken_away),
		TEST(surprise_removal_ends_everything),
		TEST(function_whose_device_waits_for_its_host_is_removed_later),
		TEST(deconfiguring_does_not_wait_for_a_device_that_waits_for_its_host),
		TEST(functions_are_asked_to_come_to_rest_before_a_reset),
		TEST(identifiers_are_taken_until_the_guest_knows_of_the_removal),
		TEST(no_function_is_asked_for_that_was_unplugged_meanwhile),
		TEST(nobody_uses_a_function_that_has_been_unplugged),
		TEST(device_may_reset_itself_while_it_is_being_unplugged),
		TEST(function_that_is_plugged_while_the_guest_runs_is_announced),
		TEST(reset_disables_everything_and_drops_events),
		TEST(groups_of_functions_that_have_gone_are_used_again),
		TEST(measurement_block_counts_what_was_done),
		TEST(measurement_block_in_no_memory_or_with_a_key_is_an_event),
		TEST(injected_error_is_like_one_of_the_function),
		TEST(injected_measurement_error_changes_no_state),
		TEST(permanent_error_lasts_until_the_function_is_disabled),
		TEST(injected_translation_failure_hits_the_page_that_was_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
