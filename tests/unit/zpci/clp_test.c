/* SPDX-License-Identifier: MIT */
/* CALL LOGICAL PROCESSOR: each command, each response code, bad blocks. */
#include "guest.h"

#include <errno.h>
#include <limits.h>

#define BLOCK 0x2000
#define OK 0x0010

/* Put a request at BLOCK and call; the response header is at response(). */
static int call(struct guest *g, unsigned command, unsigned length, unsigned room)
{
	uint8_t *block = guest_at(g, BLOCK);

	store_be16(block, length);
	store_be16(block + 2, command);
	if (range_fits(BLOCK + length, 2, GUEST_MEMORY))
		store_be16(block + length, room);
	g->gr[4] = BLOCK;
	return zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 2);
}

static uint8_t *request(struct guest *g)
{
	return memset(guest_at(g, BLOCK), 0, 8192);
}

static uint8_t *response(struct guest *g)
{
	return guest_at(g, BLOCK + 32);
}

static unsigned code(struct guest *g)
{
	return load_be16(response(g) + 2);
}

/* --- list ------------------------------------------------------------------------ */

static void list_names_the_function(void **state)
{
	struct guest *g = *state;
	uint8_t *rsp;

	request(g);
	assert_int_equal(call(g, 2, 32, 4064), 0);
	assert_int_equal(g->vcpu.cc, 0);
	rsp = response(g);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be16(rsp), 32 + 16); /* the length that was used */
	assert_int_equal(load_be64(rsp + 16), 0);  /* no more to come */
	assert_int_equal(load_be16(rsp + 28), 4096);
	assert_int_equal(rsp[30], 1); /* identifiers are unique */
	assert_int_equal(rsp[31], 16);
	assert_int_equal(load_be16(rsp + 32), 0x0010);
	assert_int_equal(load_be16(rsp + 34), 0x1b36);
	assert_int_equal(load_be32(rsp + 36), 0x80000000);
	assert_int_equal(load_be32(rsp + 40), GUEST_FID);
	assert_int_equal(load_be32(rsp + 44), g->fh);
	assert_int_not_equal(g->fh, 0);
	assert_int_equal(g->fh & 0x80000000, 0);
}

static void list_of_no_functions_is_empty(void **state)
{
	struct guest *g = guest_new();

	request(g);
	assert_int_equal(call(g, 2, 32, 4064), 0);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be16(response(g)), 32);
	assert_int_equal(load_be64(response(g) + 16), 0);
	guest_free(g);
}

static void list_goes_on_with_a_resume_token(void **state)
{
	struct guest *g = guest_new();
	struct device devices[5] = { 0 };
	struct pci_function *f[5];
	uint64_t token = 0;
	unsigned seen = 0, calls = 0;

	for (unsigned i = 0; i < 5; i++) {
		struct zpci_function_config config = zpci_function_defaults(100 + i);

		f[i] = device_function(&devices[i]);
		assert_int_equal(zpci_plug(g->zpci, f[i], &config, false, NULL, 0), 0);
	}
	do {
		uint8_t *rsp = response(g);
		unsigned entries;

		store_be64(request(g) + 16, token);
		assert_int_equal(call(g, 2, 32, 32 + 2 * 16), 0);
		assert_int_equal(code(g), OK);
		entries = (load_be16(rsp) - 32) / 16;
		assert_in_range(entries, 1, 2);
		for (unsigned i = 0; i < entries; i++)
			assert_int_equal(load_be32(rsp + 32 + 16 * i + 8), 100 + seen++);
		token = load_be64(rsp + 16);
		calls++;
	} while (token);
	assert_int_equal(seen, 5);
	assert_int_equal(calls, 3);
	zpci_destroy(g->zpci);
	g->zpci = NULL;
	for (unsigned i = 0; i < 5; i++)
		pci_function_free(f[i]);
	guest_free(g);
}

static void list_that_is_exactly_full_needs_no_resume_token(void **state)
{
	struct guest *g = *state;

	request(g);
	call(g, 2, 32, 48);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be16(response(g)), 48);
	assert_int_equal(load_be64(response(g) + 16), 0);
}

static void list_refuses_a_token_that_it_never_gave(void **state)
{
	struct guest *g = *state;

	store_be64(request(g) + 16, 0x10000);
	call(g, 2, 32, 4064);
	assert_int_equal(code(g), 0x010a);
	store_be64(request(g) + 16, UINT64_MAX);
	call(g, 2, 32, 4064);
	assert_int_equal(code(g), 0x010a);
}

static void list_checks_format_reserved_fields_and_room(void **state)
{
	struct guest *g = *state;

	store_be32(request(g) + 4, 0x10000000);
	call(g, 2, 32, 4064);
	assert_int_equal(code(g), 0x0040);
	store_be32(request(g) + 4, 1);
	call(g, 2, 32, 4064);
	assert_int_equal(code(g), 0x0070);
	store_be64(request(g) + 8, 1);
	call(g, 2, 32, 4064);
	assert_int_equal(code(g), 0x0070);
	request(g);
	call(g, 2, 32, 40);
	assert_int_equal(code(g), 0x0060);
	assert_int_equal(g->vcpu.cc, 0);
	request(g);
	call(g, 2, 32, 56);
	assert_int_equal(code(g), 0x0050);
	assert_int_equal(g->vcpu.cc, 3);
}

static void standby_function_is_listed_as_not_configured(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.standby = true;
	guest_plug(g, &config);
	request(g);
	call(g, 2, 32, 4064);
	assert_int_equal(load_be32(response(g) + 36), 0);
	assert_int_equal(zpci_sclp_configure(g->zpci, 1), 0x0020);
	request(g);
	call(g, 2, 32, 4064);
	assert_int_equal(load_be32(response(g) + 36), 0x80000000);
	guest_free(g);
}

/* --- query ----------------------------------------------------------------------------- */

static void query_function_tells_what_it_is(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(0xabcd);
	uint8_t *rsp;

	config.uid = 0x1234;
	config.pchid = 0x0567;
	config.vfn = 3;
	config.pft = 5;
	config.has_util_string = true;
	memset(config.util_string, 0xc1, sizeof(config.util_string));
	memcpy(config.pfip, "\1\2\3\4", 4);
	guest_plug(g, &config);
	store_be32(request(g) + 16, g->fh);
	call(g, 3, 32, 4064);
	rsp = response(g);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be16(rsp), 4064);
	assert_int_equal(load_be16(rsp + 16), 3);
	assert_int_equal(rsp[18], 0x03);
	assert_int_equal(rsp[19], 0xff);
	assert_int_equal(load_be32(rsp + 20), 0xabcd);
	assert_int_equal(rsp[24], 16); /* BAR 0: 64 KiB */
	assert_int_equal(rsp[25], 0);
	assert_int_equal(load_be16(rsp + 30), 0x0567);
	assert_int_equal(load_le32(rsp + 32), 4); /* 64-bit memory */
	assert_memory_equal(rsp + 56, "\1\2\3\4", 4);
	assert_int_equal(rsp[62] * 4, 64); /* measurement block */
	assert_int_equal(rsp[63], 5);
	assert_int_equal(load_be64(rsp + 64), 0x100000000);
	assert_int_equal(load_be64(rsp + 72), 0x1ffffffffffffff);
	assert_int_equal(load_be32(rsp + 124), 0x1234);
	assert_int_equal(rsp[128], 0xc1);
	assert_int_equal(rsp[191], 0xc1);
	guest_free(g);
}

static void query_function_tells_the_place_of_one_of_several(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.has_rid = true;
	config.rid = 0x0103;
	config.tid = 0x4567;
	guest_plug(g, &config);
	store_be32(request(g) + 16, g->fh);
	call(g, 3, 32, 4064);
	assert_int_equal(response(g)[18] & 0x30, 0x30);
	assert_int_equal(load_be16(response(g) + 80), 0x0103);
	assert_int_equal(load_be16(response(g) + 86), 0x4567);
	guest_free(g);
}

static void query_function_stores_no_more_than_there_is_room_for(void **state)
{
	struct guest *g = *state;

	store_be32(request(g) + 16, g->fh);
	memset(response(g), 0xee, 256);
	call(g, 3, 32, 64);
	assert_int_equal(code(g), OK);
	assert_int_equal(response(g)[63], 0);
	assert_int_equal(response(g)[64], 0xee);
}

static void query_function_refuses_a_handle_that_is_not_valid(void **state)
{
	struct guest *g = *state;

	store_be32(request(g) + 16, g->fh | 0x80000000);
	call(g, 3, 32, 4064);
	assert_int_equal(code(g), 0x0101);
	store_be32(request(g) + 16, 0x00011000);
	call(g, 3, 32, 4064);
	assert_int_equal(code(g), 0x0101);
}

static void query_group_tells_what_is_common(void **state)
{
	struct guest *g = *state;
	uint8_t *rsp;

	store_be32(request(g) + 16, 0xff);
	call(g, 4, 32, 4064);
	rsp = response(g);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be16(rsp + 16), 128);
	assert_int_equal(rsp[19], 0);
	assert_int_equal(load_be16(rsp + 20), 128);
	assert_int_equal(load_be16(rsp + 22), 4000);
	assert_int_equal(rsp[24], 0xfd);
	assert_int_equal(load_be16(rsp + 28), 128);
	assert_int_equal(load_be16(rsp + 30), ZPCI_DIRECTED_CPUS);
	assert_int_equal(load_be64(rsp + 40), 0xfe00000000000000);
	store_be32(request(g) + 16, 0x42);
	call(g, 4, 32, 4064);
	assert_int_equal(code(g), 0x010b);
}

static void functions_that_differ_are_in_groups_that_differ(void **state)
{
	struct guest *g = *state;
	struct zpci_function_config config = zpci_function_defaults(0x99);
	struct device device = { 0 };
	struct pci_function *f = device_function(&device);

	config.relaxed_translation = true;
	config.refresh = true;
	assert_int_equal(zpci_plug(g->zpci, f, &config, false, NULL, 0), 0);
	store_be32(request(g) + 16, 0xfe);
	call(g, 4, 32, 4064);
	assert_int_equal(code(g), OK);
	assert_int_equal(response(g)[19], 0x21);
	assert_int_equal(zpci_unplug(g->zpci, 0x99), 0);
	pci_function_free(f);
}

/* --- set -------------------------------------------------------------------------------- */

static void set(struct guest *g, uint32_t fh, unsigned operation, unsigned spaces)
{
	uint8_t *block = request(g);

	store_be32(block + 16, fh);
	block[22] = operation;
	block[23] = spaces;
	assert_int_equal(call(g, 5, 32, 64), 0);
	assert_int_equal(g->vcpu.cc, 0);
}

static void enable_gives_the_handle_its_enabled_bit(void **state)
{
	struct guest *g = *state;

	set(g, g->fh, 0, 1);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be32(response(g) + 16), g->fh | 0x80000000);
	set(g, g->fh | 0x80000000, 1, 0);
	assert_int_equal(code(g), OK);
	assert_int_equal(load_be32(response(g) + 16), g->fh);
}

static void enable_checks_the_number_of_dma_spaces(void **state)
{
	struct guest *g = *state;

	set(g, g->fh, 0, 0);
	assert_int_equal(code(g), 0x0103);
	set(g, g->fh, 0, 2);
	assert_int_equal(code(g), 0x0104);
}

static void enable_and_disable_check_the_state(void **state)
{
	struct guest *g = *state;
	uint32_t enabled = g->fh | 0x80000000;

	set(g, g->fh, 1, 0); /* disabled already, and the handle says so */
	assert_int_equal(code(g), 0x0102);
	set(g, enabled, 1, 0); /* disabled already, the program did not know */
	assert_int_equal(code(g), 0x0105);
	set(g, enabled, 0, 1);
	assert_int_equal(code(g), 0x0101);
	set(g, g->fh, 0, 1);
	set(g, enabled, 0, 1);
	assert_int_equal(code(g), 0x0102);
	set(g, g->fh, 0, 1);
	assert_int_equal(code(g), 0x0101);
	set(g, enabled, 7, 1);
	assert_int_equal(code(g), 0x0102);
	set(g, 0x00017777, 0, 1);
	assert_int_equal(code(g), 0x0101);
}

static void disable_resets_the_device_and_what_was_registered(void **state)
{
	struct guest *g = *state;
	unsigned resets;

	guest_enable(g);
	guest_register_translation(g);
	guest_register_interruptions(g, 3, 8);
	resets = g->device.resets;
	guest_disable(g);
	assert_int_equal(g->device.resets, resets + 1);
	guest_enable(g);
	guest_register_translation(g); /* would be out of sequence otherwise */
	guest_register_interruptions(g, 3, 8);
}

static void the_device_is_told_of_an_enable_that_happens(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_equal(g->device.enablings, 1);
	set(g, g->fh, 0, 1);
	assert_int_equal(code(g), 0x0102);
	assert_int_equal(g->device.enablings, 1);
	guest_disable(g);
	assert_int_equal(g->device.enablings, 1);
	guest_enable(g);
	assert_int_equal(g->device.enablings, 2);
}

static void disable_does_not_wait_for_a_device_that_waits_for_its_host(void **state)
{
	struct guest *g = *state;
	unsigned resets;

	guest_enable(g);
	resets = g->device.resets;
	g->device.busy = UINT_MAX;
	set(g, g->fh, 1, 0);
	assert_int_equal(code(g), 0x0108);
	assert_int_equal(g->device.resets, resets);
	guest_pcilg(g, 0, 0, 4); /* it is still enabled */
	assert_int_equal(g->vcpu.cc, 0);

	g->device.busy = 1; /* it comes to rest soon */
	set(g, g->fh, 1, 0);
	assert_int_equal(code(g), OK);
	assert_int_equal(g->device.resets, resets + 1);
}

static void standby_function_cannot_be_enabled(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.standby = true;
	guest_plug(g, &config);
	set(g, g->fh, 0, 1);
	assert_int_equal(code(g), 0x0102);
	set(g, g->fh, 1, 0);
	assert_int_equal(code(g), 0x0102);
	guest_free(g);
}

/* --- the instruction ---------------------------------------------------------------------- */

static void lengths_out_of_bounds_are_operand_exceptions(void **state)
{
	struct guest *g = *state;
	static const struct { unsigned request, response; } bad[] = {
		{ 0, 64 }, { 8, 64 }, { 33, 64 }, { 8192, 64 }, { 65528, 64 },
		{ 32, 0 }, { 32, 4 }, { 32, 9 }, { 32, 8184 }, { 32, 65528 }, { 4096, 4104 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		guest_clear(g);
		request(g);
		assert_int_not_equal(call(g, 2, bad[i].request, bad[i].response), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	}
}

static void request_of_another_length_is_answered_0050(void **state)
{
	struct guest *g = *state;

	for (unsigned command = 2; command <= 5; command++) {
		request(g);
		assert_int_equal(call(g, command, 40, 64), 0);
		assert_int_equal(load_be16(guest_at(g, BLOCK + 40 + 2)), 0x0050);
	}
}

static void unknown_command_is_answered_0020(void **state)
{
	struct guest *g = *state;

	request(g);
	assert_int_equal(call(g, 0x77, 32, 64), 0);
	assert_int_equal(code(g), 0x0020);
	assert_int_equal(load_be16(response(g)), 64);
}

static void characteristics_tell_the_commands(void **state)
{
	struct guest *g = *state;

	request(g);
	assert_int_equal(call(g, 1, 16, 128), 0);
	assert_int_equal(load_be16(guest_at(g, BLOCK + 16 + 2)), OK);
	assert_int_equal(load_be32(guest_at(g, BLOCK + 16 + 96)), 0x7c000000);
	request(g);
	assert_int_equal(call(g, 1, 16, 64), 0);
	assert_int_equal(load_be16(guest_at(g, BLOCK + 16 + 2)), 0x0050);
}

static void immediate_command_tells_the_logical_processors(void **state)
{
	struct guest *g = *state;

	g->gr[4] = 1;
	assert_int_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 8, 0), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->gr[3], 0xa000000000000000);
	g->gr[4] = 2;
	assert_int_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 8, 0), 0);
	assert_int_equal(g->vcpu.cc, 3);
}

static void logical_processor_that_is_not_there_is_cc_3(void **state)
{
	struct guest *g = *state;

	request(g);
	g->gr[4] = BLOCK;
	assert_int_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 5), 0);
	assert_int_equal(g->vcpu.cc, 3);
}

static void nothing_has_happened_when_the_response_cannot_be_stored(void **state)
{
	struct guest *g = *state;
	uint8_t *block = guest_at(g, 0x2fe0);

	memset(block, 0, 64);
	store_be16(block, 32);
	store_be16(block + 2, 5);
	store_be32(block + 16, g->fh);
	block[23] = 1;
	/* The request ends with the page; its response's length is fetched first. */
	g->inaccessible = 0x3008;
	store_be16(guest_at(g, 0x3000), 32);
	g->gr[4] = 0x2fe0;
	/* Room for 8 bytes is accessible, the page after it is not. */
	store_be16(guest_at(g, 0x3000), 4096 + 32);
	assert_int_not_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 2), 0);
	assert_true(g->access_exception);
	guest_clear(g);
	g->inaccessible = 0;
	set(g, g->fh, 0, 1); /* it is still disabled */
	assert_int_equal(code(g), OK);
}

static void problem_state_is_a_privileged_operation_exception(void **state)
{
	struct guest *g = *state;

	g->vcpu.problem_state = true;
	request(g);
	assert_int_not_equal(call(g, 2, 32, 64), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
}

/* --- plugging ---------------------------------------------------------------------------- */

static void same_fid_or_uid_twice_is_refused(void **state)
{
	struct guest *g = *state;
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	struct device device = { 0 };
	struct pci_function *f = device_function(&device);
	char error[128];

	assert_int_equal(zpci_plug(g->zpci, f, &config, false, error, sizeof(error)), -EEXIST);
	assert_string_equal(error, "test0: fid 0x11, uid 0: fid in use");
	config.fid = 1;
	config.uid = GUEST_UID;
	assert_int_equal(zpci_plug(g->zpci, f, &config, false, error, sizeof(error)), -EEXIST);
	assert_string_equal(error, "test0: fid 0x1, uid 0x22: uid in use");
	assert_true(zpci_fid_in_use(g->zpci, GUEST_FID));
	assert_false(zpci_fid_in_use(g->zpci, 1));
	assert_true(zpci_uid_in_use(g->zpci, GUEST_UID));
	pci_function_free(f);
}

static void values_out_of_range_are_refused(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config;
	struct device device = { 0 };
	struct pci_function *f = device_function(&device);

	config = zpci_function_defaults(1);
	config.interrupts = 2049;
	assert_int_equal(zpci_plug(g->zpci, f, &config, false, NULL, 0), -EINVAL);
	config = zpci_function_defaults(1);
	config.store_block_max = 4104;
	assert_int_equal(zpci_plug(g->zpci, f, &config, false, NULL, 0), -EINVAL);
	config = zpci_function_defaults(1);
	config.edma = config.sdma - 1;
	assert_int_equal(zpci_plug(g->zpci, f, &config, false, NULL, 0), -EINVAL);
	/* Ranges are rounded to pages: a guest could not register one to the end of this. */
	config = zpci_function_defaults(1);
	config.edma -= 1;
	assert_int_equal(zpci_plug(g->zpci, f, &config, false, NULL, 0), -EINVAL);
	pci_function_free(f);
	guest_free(g);
}

static void slot_that_is_filled_again_has_another_handle(void **state)
{
	struct guest *g = *state;
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	uint32_t old = g->fh;

	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	assert_false(g->device.attached);
	pci_function_free(g->function);
	guest_plug(g, &config);
	assert_true(g->device.attached);
	assert_int_not_equal(g->fh, old);
	assert_int_equal(g->fh & 0xffff, old & 0xffff);
	store_be32(request(g) + 16, old);
	call(g, 3, 32, 4064);
	assert_int_equal(code(g), 0x0101);
}

static void all_4096_slots_can_be_filled(void **state)
{
	struct guest *g = guest_new();
	static struct pci_function *f[4097];
	static struct device devices[4097];
	struct zpci_function_config config = zpci_function_defaults(0);
	unsigned seen = 0;
	uint64_t token = 0;

	for (unsigned i = 0; i < 4097; i++) {
		config.fid = i;
		f[i] = device_function(&devices[i]);
		assert_int_equal(zpci_plug(g->zpci, f[i], &config, false, NULL, 0),
				 i < 4096 ? 0 : -ENOSPC);
	}
	do {
		store_be64(request(g) + 16, token);
		assert_int_equal(call(g, 2, 32, 4064), 0);
		assert_int_equal(code(g), OK);
		seen += (load_be16(response(g)) - 32) / 16;
		token = load_be64(response(g) + 16);
	} while (token);
	assert_int_equal(seen, 4096);
	zpci_destroy(g->zpci);
	g->zpci = NULL;
	for (unsigned i = 0; i < 4097; i++)
		pci_function_free(f[i]);
	guest_free(g);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(list_names_the_function),
		cmocka_unit_test(list_of_no_functions_is_empty),
		cmocka_unit_test(list_goes_on_with_a_resume_token),
		TEST(list_that_is_exactly_full_needs_no_resume_token),
		TEST(list_refuses_a_token_that_it_never_gave),
		TEST(list_checks_format_reserved_fields_and_room),
		cmocka_unit_test(standby_function_is_listed_as_not_configured),
		cmocka_unit_test(query_function_tells_what_it_is),
		cmocka_unit_test(query_function_tells_the_place_of_one_of_several),
		TEST(query_function_stores_no_more_than_there_is_room_for),
		TEST(query_function_refuses_a_handle_that_is_not_valid),
		TEST(query_group_tells_what_is_common),
		TEST(functions_that_differ_are_in_groups_that_differ),
		TEST(enable_gives_the_handle_its_enabled_bit),
		TEST(enable_checks_the_number_of_dma_spaces),
		TEST(enable_and_disable_check_the_state),
		TEST(disable_resets_the_device_and_what_was_registered),
		TEST(the_device_is_told_of_an_enable_that_happens),
		TEST(disable_does_not_wait_for_a_device_that_waits_for_its_host),
		cmocka_unit_test(standby_function_cannot_be_enabled),
		TEST(lengths_out_of_bounds_are_operand_exceptions),
		TEST(request_of_another_length_is_answered_0050),
		TEST(unknown_command_is_answered_0020),
		TEST(characteristics_tell_the_commands),
		TEST(immediate_command_tells_the_logical_processors),
		TEST(logical_processor_that_is_not_there_is_cc_3),
		TEST(nothing_has_happened_when_the_response_cannot_be_stored),
		TEST(problem_state_is_a_privileged_operation_exception),
		TEST(same_fid_or_uid_twice_is_refused),
		cmocka_unit_test(values_out_of_range_are_refused),
		TEST(slot_that_is_filled_again_has_another_handle),
		cmocka_unit_test(all_4096_slots_can_be_filled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
