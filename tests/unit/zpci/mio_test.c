/* SPDX-License-Identifier: MIT */
/* PCI loads and stores by address: addresses, switching on and off, every answer. */
#include "guest.h"

#define BLOCK 0x2000
#define SOURCE 0x4000
#define OK 0x0010

enum { ENABLE, DISABLE, ENABLE_MIO, DISABLE_MIO };

static uint8_t *clp(struct guest *g, unsigned command, uint32_t word, uint32_t word2, unsigned length,
		    unsigned room)
{
	uint8_t *block = memset(guest_at(g, BLOCK), 0, 8192);

	store_be16(block, length);
	store_be16(block + 2, command);
	store_be32(block + 16, word);
	store_be32(block + 20, word2);
	store_be16(block + length, room);
	g->gr[4] = BLOCK;
	assert_int_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 2), 0);
	assert_int_equal(g->vcpu.cc, 0);
	g->vcpu.cc = 99;
	return block + length;
}

/* CLP set; the response code. The handle that it gives goes to `fh` if that is not NULL. */
static unsigned set(struct guest *g, uint32_t handle, unsigned operation, uint32_t *fh)
{
	uint8_t *response = clp(g, 5, handle, operation << 8 | 1, 32, 160);

	if (fh)
		*fh = load_be32(response + 16);
	return load_be16(response + 2);
}

/* The address of BAR 0; `write_back` of the two. */
static uint64_t bar0(struct guest *g, bool write_back)
{
	uint8_t *response = clp(g, 3, g->fh, 0, 32, 384);

	assert_int_equal(load_be16(response + 2), OK);
	return load_be64(response + 256 + 8 + (write_back ? 0 : 8));
}

static uint64_t enable(struct guest *g)
{
	guest_enable(g);
	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), OK);
	return bar0(g, false);
}

static int pcilgi(struct guest *g, uint64_t address, unsigned length)
{
	g->gr[6] = address;
	g->gr[7] = length;
	return zpci_insn_pcilgi(g->zpci, &g->vcpu, 5, 6);
}

static int pcistgi(struct guest *g, uint64_t address, unsigned length, uint64_t data)
{
	g->gr[5] = data;
	g->gr[6] = address;
	g->gr[7] = length;
	return zpci_insn_pcistgi(g->zpci, &g->vcpu, 5, 6);
}

static int pcistbi(struct guest *g, uint64_t address, unsigned length, uint64_t from)
{
	g->gr[6] = length;
	g->gr[8] = address;
	return zpci_insn_pcistbi(g->zpci, &g->vcpu, 6, 8, from, 1);
}

/* --- what is announced -------------------------------------------------------------- */

static void query_function_gives_two_addresses_for_each_bar(void **state)
{
	struct guest *g = *state;
	uint8_t *response = clp(g, 3, g->fh, 0, 32, 384);
	uint64_t wb = load_be64(response + 256 + 8), wt = load_be64(response + 256 + 16);

	assert_int_equal(load_be16(response + 2), OK);
	assert_true(response[18] & 0x02);
	assert_int_equal(load_be32(response + 256), 0x80000000); /* BAR 0 alone */
	assert_int_equal(wt & 0xfff, 0);
	assert_true(wt & MIO_BIT);
	assert_int_equal(wb ^ wt, 1ull << 62);
	assert_int_equal(load_be64(response + 256 + 24), 0);
	/* The bit in which they differ, numbered from the left. */
	response = clp(g, 1, 0, 0, 16, 128);
	assert_int_equal(load_be16(response + 2), OK);
	assert_int_equal(load_be32(response + 80), 0x81000000);
}

static void older_response_without_addresses_is_cut(void **state)
{
	struct guest *g = *state;
	uint8_t *response = guest_at(g, BLOCK + 32 + 192);

	clp(g, 3, g->fh, 0, 32, 192);
	for (unsigned i = 0; i < 192; i++)
		assert_int_equal(response[i], 0);
}

static void without_the_facility_nothing_is_announced_and_nothing_works(void **state)
{
	struct guest *g = guest_new_without_mio();
	struct zpci_function_config config = zpci_function_defaults(1);
	uint8_t *response;

	guest_plug(g, &config);
	response = clp(g, 3, g->fh, 0, 32, 384);
	assert_false(response[18] & 0x02);
	assert_int_equal(load_be32(response + 256), 0);
	assert_int_equal(load_be32(clp(g, 1, 0, 0, 16, 128) + 80), 0);
	guest_enable(g);
	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), 0x0102);
	assert_int_not_equal(pcilgi(g, MIO_BIT, 4), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERATION);
	guest_clear(g);
	assert_int_not_equal(pcistgi(g, MIO_BIT, 4, 0), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERATION);
	guest_clear(g);
	assert_int_not_equal(pcistbi(g, MIO_BIT, 16, SOURCE), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERATION);
	guest_clear(g);
	assert_int_not_equal(zpci_insn_pciwb(g->zpci, &g->vcpu), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERATION);
	guest_free(g);
}

static void function_can_have_no_addresses(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct guest *g = guest_new();
		struct zpci_function_config config = zpci_function_defaults(1);

		config.mio = i;
		config.relaxed_store_block = i;
		guest_plug(g, &config);
		assert_false(clp(g, 3, g->fh, 0, 32, 384)[18] & 0x02);
		guest_enable(g);
		assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), 0x0102);
		guest_free(g);
	}
}

/* --- switching ------------------------------------------------------------------------- */

static void addresses_work_from_enable_to_disable(void **state)
{
	struct guest *g = *state;
	uint64_t address = bar0(g, false);

	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 3);
	guest_enable(g);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 3);
	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), OK);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(set(g, g->fh, DISABLE_MIO, NULL), OK);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 3);
	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), OK);
	guest_disable(g);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 3);
	/* Enabling the function does not bring them back. */
	guest_enable(g);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 3);
	/* Handles work beside them all the time. */
	guest_pcilg(g, 0, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
}

static void enable_takes_the_handle_of_before_and_gives_the_current_one(void **state)
{
	struct guest *g = *state;
	uint32_t before = g->fh, fh;
	uint64_t address = bar0(g, false);
	uint8_t *response;

	guest_enable(g);
	assert_int_equal(set(g, before, ENABLE_MIO, &fh), OK);
	assert_int_equal(fh, g->fh);
	assert_true(fh & 0x80000000);
	response = guest_at(g, BLOCK + 32);
	assert_int_equal(load_be32(response + 32), 0x80000000);
	assert_int_equal(load_be64(response + 32 + 16), address);
}

static void switching_has_a_response_for_each_state(void **state)
{
	struct guest *g = *state;

	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), 0x0102); /* disabled */
	assert_int_equal(set(g, g->fh + 1, ENABLE_MIO, NULL), 0x0101);
	guest_enable(g);
	assert_int_equal(set(g, g->fh, DISABLE_MIO, NULL), 0x0105);
	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), OK);
	assert_int_equal(set(g, g->fh, ENABLE_MIO, NULL), 0x0105);
	assert_int_equal(set(g, g->fh, 4, NULL), 0x0102);
	zpci_sclp_deconfigure(g->zpci, GUEST_FID);
	assert_int_equal(set(g, g->fh, DISABLE_MIO, NULL), 0x0102); /* standby */
}

/* --- the instructions ---------------------------------------------------------------------- */

static void load_by_address_is_a_load_by_handle(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	g->device.value = 0x11223344;
	assert_int_equal(pcilgi(g, address + 0x1c, 4), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->gr[5], 0x44332211);
	assert_int_equal(g->device.bar, 0);
	assert_int_equal(g->device.offset, 0x1c);
	assert_int_equal(g->device.size, 4);
	assert_string_equal(g->trace, "zpci_pcilgi address=0x800000000000001c length=4 "
			    "data=0x44332211 cc=0");
}

static void store_by_either_address_reaches_the_register(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	assert_int_equal(pcistgi(g, address + 0x14, 4, 0xdeadbeef11223344), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.written, 0x44332211);
	assert_int_equal(g->device.offset, 0x14);
	pcistgi(g, bar0(g, true) + 0x18, 2, 0x1234);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.written, 0x3412);
	assert_int_equal(g->device.offset, 0x18);
}

static void block_by_address_is_one_store(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	memset(guest_at(g, SOURCE), 0x5a, 128);
	assert_int_equal(pcistbi(g, address + 0x1000, 128, SOURCE), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.blocks, 1);
	assert_int_equal(g->device.block_length, 128);
	assert_int_equal(g->device.offset, 0x1000);
	assert_memory_equal(g->device.block, guest_at(g, SOURCE), 128);
}

static void barrier_leaves_the_condition_code(void **state)
{
	struct guest *g = *state;

	guest_clear(g);
	assert_int_equal(zpci_insn_pciwb(g->zpci, &g->vcpu), 0);
	assert_int_equal(g->vcpu.cc, 99);
}

static void problem_state_may_use_addresses(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	g->vcpu.problem_state = true;
	assert_int_equal(pcilgi(g, address, 4), 0);
	assert_int_equal(pcistgi(g, address, 4, 0), 0);
	assert_int_equal(pcistbi(g, address, 16, SOURCE), 0);
	assert_int_equal(zpci_insn_pciwb(g->zpci, &g->vcpu), 0);
	assert_int_equal(g->program, 0);
}

static void control_register_can_forbid_addresses(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);
	unsigned reads = g->device.reads;

	g->vcpu.mio_addressing = false;
	assert_int_not_equal(pcilgi(g, address, 4), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIAL_OPERATION);
	guest_clear(g);
	assert_int_not_equal(pcistgi(g, address, 4, 0), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIAL_OPERATION);
	guest_clear(g);
	assert_int_not_equal(pcistbi(g, address, 16, SOURCE), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIAL_OPERATION);
	guest_clear(g);
	assert_int_not_equal(zpci_insn_pciwb(g->zpci, &g->vcpu), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIAL_OPERATION);
	assert_int_equal(g->device.reads, reads);
	/* Handles do not mind. */
	guest_clear(g);
	assert_int_equal(guest_pcilg(g, 0, 0, 4), 0);
	assert_int_equal(g->vcpu.cc, 0);
}

static void odd_register_is_a_specification_exception(void **state)
{
	struct guest *g = *state;

	enable(g);
	assert_int_not_equal(zpci_insn_pcilgi(g->zpci, &g->vcpu, 4, 7), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	guest_clear(g);
	assert_int_not_equal(zpci_insn_pcistgi(g->zpci, &g->vcpu, 4, 7), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
}

static void address_that_cannot_be_translated_is_an_access_exception(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	g->mio_read_only = true;
	assert_int_equal(pcilgi(g, address, 4), 0);
	assert_int_not_equal(pcistgi(g, address, 4, 0), 0);
	assert_true(g->access_exception);
	guest_clear(g);
	assert_int_not_equal(pcistbi(g, address, 16, SOURCE), 0);
	assert_true(g->access_exception);
	guest_clear(g);
	g->mio_unmapped = true;
	assert_int_not_equal(pcilgi(g, address, 4), 0);
	assert_true(g->access_exception);
	assert_int_equal(g->vcpu.cc, 99);
	assert_int_equal(g->device.writes, 0);
	assert_int_equal(g->device.blocks, 0);
}

static void address_of_no_function_is_cc_3(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);
	const uint64_t bad[] = {
		0x3000,                  /* memory */
		address ^ 1ull << 47,    /* a slot that is empty */
		address ^ 0xfffull << 47,
		address ^ 1ull << 59,    /* bits that are 0 in each address */
		address ^ 1ull << 61,
		address | 6ull << 44,    /* there are six BARs */
		address | 7ull << 44,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(pcilgi(g, bad[i], 4), 0);
		assert_int_equal(g->vcpu.cc, 3);
		assert_int_equal(pcistgi(g, bad[i], 4, 0), 0);
		assert_int_equal(g->vcpu.cc, 3);
		assert_int_equal(pcistbi(g, bad[i], 16, SOURCE), 0);
		assert_int_equal(g->vcpu.cc, 3);
	}
	assert_int_equal(g->device.writes, 0);
}

static void lengths_and_boundaries_are_those_of_handles(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);
	static const struct { uint64_t offset; unsigned length; } bad[] = {
		{ 0, 0 }, { 0, 9 }, { 1, 8 }, { 7, 2 }, { DEVICE_BAR0_SIZE, 1 },
		{ DEVICE_BAR0_SIZE - 4, 8 }, { 1ull << 44, 4 }, { (1ull << 44) - 8, 8 },
	};
	static const struct { uint64_t offset; unsigned length; enum zpci_program program; } blocks[] = {
		{ 4, 16, ZPCI_PGM_SPECIFICATION },    { 0, 8, ZPCI_PGM_SPECIFICATION },
		{ 0, 20, ZPCI_PGM_SPECIFICATION },    { 0, 136, ZPCI_PGM_SPECIFICATION },
		{ 0xff8, 16, ZPCI_PGM_SPECIFICATION }, { DEVICE_BAR0_SIZE, 16, ZPCI_PGM_OPERAND },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		guest_clear(g);
		assert_int_not_equal(pcilgi(g, address + bad[i].offset, bad[i].length), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
		guest_clear(g);
		assert_int_not_equal(pcistgi(g, address + bad[i].offset, bad[i].length, 0), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
		guest_clear(g);
		assert_int_not_equal(pcistbi(g, address + blocks[i].offset, blocks[i].length, SOURCE), 0);
		assert_int_equal(g->program, blocks[i].program);
	}
	assert_int_equal(g->device.writes, 0);
	assert_int_equal(g->device.blocks, 0);
}

static void function_in_error_is_status_12_in_the_register_with_the_length(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	/* Nothing is registered: RPCIT puts it into the error state. */
	guest_rpcit(g, SDMA, 4096);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[7]), 12);
	assert_int_equal(g->gr[7] & 0xffffff, 4);
	assert_int_equal(g->gr[6], address);
	pcistgi(g, address, 4, 0);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[7]), 12);
	pcistbi(g, address, 16, SOURCE);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[6]), 12);
	/* Blocked: loads and stores are possible again. */
	guest_fib(g);
	guest_mpcifc(g, 9);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 0);
}

static void accesses_by_address_are_measured(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);
	uint8_t *fib = guest_fib(g);

	store_be64(fib + 64, 0x7000);
	assert_int_equal(guest_mpcifc(g, 10), 0);
	pcilgi(g, address, 4);
	pcistgi(g, address, 4, 0);
	pcistgi(g, address, 4, 0);
	pcistbi(g, address, 16, SOURCE);
	zpci_update_measurements(g->zpci, 1000000);
	assert_int_equal(load_be64(guest_at(g, 0x7000 + 16)), 1);
	assert_int_equal(load_be64(guest_at(g, 0x7000 + 24)), 2);
	assert_int_equal(load_be64(guest_at(g, 0x7000 + 32)), 1);
}

static void addresses_end_with_the_function(void **state)
{
	struct guest *g = *state;
	uint64_t address = enable(g);

	assert_int_equal(zpci_unplug(g->zpci, GUEST_FID), 0);
	pcilgi(g, address, 4);
	assert_int_equal(g->vcpu.cc, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(query_function_gives_two_addresses_for_each_bar),
		TEST(older_response_without_addresses_is_cut),
		cmocka_unit_test(without_the_facility_nothing_is_announced_and_nothing_works),
		cmocka_unit_test(function_can_have_no_addresses),
		TEST(addresses_work_from_enable_to_disable),
		TEST(enable_takes_the_handle_of_before_and_gives_the_current_one),
		TEST(switching_has_a_response_for_each_state),
		TEST(load_by_address_is_a_load_by_handle),
		TEST(store_by_either_address_reaches_the_register),
		TEST(block_by_address_is_one_store),
		TEST(barrier_leaves_the_condition_code),
		TEST(problem_state_may_use_addresses),
		TEST(control_register_can_forbid_addresses),
		TEST(odd_register_is_a_specification_exception),
		TEST(address_that_cannot_be_translated_is_an_access_exception),
		TEST(address_of_no_function_is_cc_3),
		TEST(lengths_and_boundaries_are_those_of_handles),
		TEST(function_in_error_is_status_12_in_the_register_with_the_length),
		TEST(accesses_by_address_are_measured),
		TEST(addresses_end_with_the_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
