/* SPDX-License-Identifier: MIT */
/* PCI LOAD, PCI STORE, PCI STORE BLOCK: every answer. */
#include "guest.h"

static void load_returns_the_bytes_in_the_order_of_their_addresses(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	g->device.value = 0x11223344;
	assert_int_equal(guest_pcilg(g, 0, 0x1c, 4), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->gr[5], 0x44332211);
	assert_int_equal(g->device.offset, 0x1c);
	assert_int_equal(g->device.size, 4);
	g->device.value = 0x1122334455667788;
	guest_pcilg(g, 0, 0x20, 8);
	assert_int_equal(g->gr[5], 0x8877665544332211);
	assert_string_equal(g->trace, "zpci_pcilg fh=80010000 as=0 offset=0x20 length=8 "
			    "data=0x8877665544332211 cc=0");
}

static void store_takes_the_rightmost_bytes_of_the_register(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_equal(guest_pcistg(g, 0, 0x14, 4, 0xdeadbeef11223344), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.written, 0x44332211);
	assert_int_equal(g->device.size, 4);
	guest_pcistg(g, 0, 0x15, 1, 0xab12);
	assert_int_equal(g->device.written, 0x12);
	assert_int_equal(g->device.size, 1);
}

static void accesses_that_are_not_aligned_reach_the_device_in_pieces(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	g->device.writes = 0;
	guest_pcistg(g, 0, 0x11, 7, 0x01020304050607);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.writes, 3); /* 1 at 11, 2 at 12, 4 at 14 */
	assert_int_equal(g->device.offset, 0x14);
	assert_int_equal(g->device.written, 0x07060504);
}

static void config_space_is_address_space_15(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_pcilg(g, 15, 0, 4);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->gr[5], 0x361b1000); /* bytes 36 1b 10 00 */
	guest_pcistg(g, 15, 0x3c, 1, 0x5a);
	guest_pcilg(g, 15, 0x3c, 1);
	assert_int_equal(g->gr[5], 0x5a);
	/* Not aligned, but within a word. */
	guest_pcilg(g, 15, 1, 2);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->gr[5], 0x1b10);
}

static void lengths_and_boundaries_out_of_bounds_are_operand_exceptions(void **state)
{
	struct guest *g = *state;
	static const struct { unsigned space, offset, length; } bad[] = {
		{ 0, 0, 0 }, { 0, 0, 9 }, { 0, 1, 8 }, { 0, 7, 2 }, { 0, DEVICE_BAR0_SIZE, 1 },
		{ 0, DEVICE_BAR0_SIZE - 4, 8 }, { 1, 0, 4 }, { 5, 0, 1 },
		{ 15, 0, 0 }, { 15, 0, 3 }, { 15, 0, 8 }, { 15, 3, 2 }, { 15, 2, 4 },
		{ 15, 4096, 4 },
	};

	guest_enable(g);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		guest_clear(g);
		assert_int_not_equal(guest_pcilg(g, bad[i].space, bad[i].offset, bad[i].length), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
		guest_clear(g);
		assert_int_not_equal(guest_pcistg(g, bad[i].space, bad[i].offset, bad[i].length, 0),
				     0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	}
	assert_int_equal(g->device.writes, 0);
}

static void offset_near_the_end_of_the_address_space_does_not_wrap(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_not_equal(guest_pcilg(g, 0, UINT64_MAX - 7, 8), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	assert_int_not_equal(guest_pcilg(g, 15, UINT64_MAX - 3, 4), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
}

static void other_address_spaces_are_status_20(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	for (unsigned space = 6; space < 15; space++) {
		assert_int_equal(guest_pcilg(g, space, 0, 4), 0);
		assert_int_equal(g->vcpu.cc, 1);
		assert_int_equal(status_of(g->gr[6]), 20);
		assert_int_equal(guest_pcistg(g, space, 0, 4, 0), 0);
		assert_int_equal(g->vcpu.cc, 1);
		assert_int_equal(status_of(g->gr[6]), 20);
	}
}

static void handle_that_is_not_enabled_or_unknown_is_cc_3(void **state)
{
	struct guest *g = *state;
	uint32_t fh = g->fh, enabled;

	guest_pcilg(g, 15, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
	guest_enable(g);
	enabled = g->fh;
	g->fh = fh; /* without the enabled bit */
	guest_pcilg(g, 15, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
	g->fh = enabled + 1;
	guest_pcilg(g, 15, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
	g->fh = enabled + 0x10000; /* another generation */
	guest_pcistg(g, 15, 0, 4, 0);
	assert_int_equal(g->vcpu.cc, 3);
	g->fh = 0x8001ffff;
	guest_pcistg(g, 15, 0, 4, 0);
	assert_int_equal(g->vcpu.cc, 3);
	g->fh = enabled;
	guest_disable(g);
	g->fh = enabled;
	guest_pcilg(g, 15, 0, 4);
	assert_int_equal(g->vcpu.cc, 3);
}

static void odd_second_register_is_a_specification_exception(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_not_equal(zpci_insn_pcilg(g->zpci, &g->vcpu, 4, 7), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	guest_clear(g);
	assert_int_not_equal(zpci_insn_pcistg(g->zpci, &g->vcpu, 4, 7), 0);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
}

static void problem_state_is_a_privileged_operation_exception(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	g->vcpu.problem_state = true;
	assert_int_not_equal(guest_pcilg(g, 0, 0, 4), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
	guest_clear(g);
	assert_int_not_equal(guest_pcistg(g, 0, 0, 4, 0), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
	guest_clear(g);
	assert_int_not_equal(zpci_insn_pcistb(g->zpci, &g->vcpu, 6, 8, 0x4000, 1), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
}

/* --- block stores ----------------------------------------------------------------- */

#define BLOCK_AT 0x4000

static int pcistb(struct guest *g, unsigned space, uint64_t offset, unsigned length,
		  uint64_t address)
{
	g->gr[6] = (uint64_t)g->fh << 32 | space << 16 | length;
	g->gr[8] = offset;
	return zpci_insn_pcistb(g->zpci, &g->vcpu, 6, 8, address, 1);
}

static void block_reaches_the_device_as_one_store(void **state)
{
	struct guest *g = *state;
	uint8_t *source = guest_at(g, BLOCK_AT);

	for (unsigned i = 0; i < 128; i++)
		source[i] = i + 1;
	guest_enable(g);
	assert_int_equal(pcistb(g, 0, 0x1000, 128, BLOCK_AT), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.blocks, 1);
	assert_int_equal(g->device.block_length, 128);
	assert_int_equal(g->device.offset, 0x1000);
	assert_memory_equal(g->device.block, source, 128);
	assert_int_equal(g->device.writes, 0);
}

static void block_of_4096_bytes_is_one_store_where_the_group_allows_it(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.store_block_max = 4096;
	guest_plug(g, &config);
	guest_enable(g);
	memset(guest_at(g, BLOCK_AT), 0x5a, 4096);
	pcistb(g, 0, 0x2000, 4096, BLOCK_AT);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.blocks, 1);
	assert_int_equal(g->device.block_length, 4096);
	guest_free(g);
}

static void block_alignment_and_length_are_specification_exceptions(void **state)
{
	struct guest *g = *state;
	static const struct { uint64_t offset; unsigned length; uint64_t address; } bad[] = {
		{ 0x1004, 16, BLOCK_AT },     { 0x1000, 8, BLOCK_AT },  { 0x1000, 0, BLOCK_AT },
		{ 0x1000, 20, BLOCK_AT },     { 0x1000, 136, BLOCK_AT },
		{ 0x1ff8, 16, BLOCK_AT },     { 0x1000, 16, BLOCK_AT + 4 },
	};

	guest_enable(g);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		guest_clear(g);
		assert_int_not_equal(pcistb(g, 0, bad[i].offset, bad[i].length, bad[i].address), 0);
		assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	}
	assert_int_equal(g->device.blocks, 0);
}

static void relaxed_function_takes_blocks_of_any_length_and_alignment(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(1);

	config.relaxed_store_block = true;
	config.store_block_max = 4096;
	guest_plug(g, &config);
	guest_enable(g);
	strcpy(guest_at(g, BLOCK_AT + 3), "seven b");
	pcistb(g, 0, 0x1005, 7, BLOCK_AT + 3);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.block_length, 7);
	assert_memory_equal(g->device.block, "seven b", 7);
	guest_clear(g);
	pcistb(g, 0, 0x1ffa, 7, BLOCK_AT);
	assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
	guest_free(g);
}

static void block_outside_the_bar_is_an_operand_exception(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	assert_int_not_equal(pcistb(g, 0, DEVICE_BAR0_SIZE, 16, BLOCK_AT), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	assert_int_not_equal(pcistb(g, 3, 0, 16, BLOCK_AT), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	pcistb(g, 15, 0, 16, BLOCK_AT); /* config space takes none */
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[6]), 20);
}

static void block_that_cannot_be_fetched_is_an_access_exception(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	g->inaccessible = BLOCK_AT + 0x1000;
	assert_int_not_equal(pcistb(g, 0, 0x1000, 128, BLOCK_AT + 0x1000 - 64), 0);
	assert_true(g->access_exception);
	assert_int_equal(g->vcpu.cc, 99);
	assert_int_equal(g->device.blocks, 0);
}

static void block_over_the_msix_table_programs_it(void **state)
{
	struct guest *g = *state;
	uint8_t *source = guest_at(g, BLOCK_AT);

	guest_enable(g);
	memset(source, 0, 16);
	store_le64(source, 0xfe00000000000000);
	store_le32(source + 8, 7);
	pcistb(g, 0, DEVICE_MSIX_TABLE + 16, 16, BLOCK_AT);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(g->device.blocks, 0);
	guest_pcilg(g, 0, DEVICE_MSIX_TABLE + 24, 4);
	assert_int_equal(g->gr[5], 0x07000000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(load_returns_the_bytes_in_the_order_of_their_addresses),
		TEST(store_takes_the_rightmost_bytes_of_the_register),
		TEST(accesses_that_are_not_aligned_reach_the_device_in_pieces),
		TEST(config_space_is_address_space_15),
		TEST(lengths_and_boundaries_out_of_bounds_are_operand_exceptions),
		TEST(offset_near_the_end_of_the_address_space_does_not_wrap),
		TEST(other_address_spaces_are_status_20),
		TEST(handle_that_is_not_enabled_or_unknown_is_cc_3),
		TEST(odd_second_register_is_a_specification_exception),
		TEST(problem_state_is_a_privileged_operation_exception),
		TEST(block_reaches_the_device_as_one_store),
		cmocka_unit_test(block_of_4096_bytes_is_one_store_where_the_group_allows_it),
		TEST(block_alignment_and_length_are_specification_exceptions),
		cmocka_unit_test(relaxed_function_takes_blocks_of_any_length_and_alignment),
		TEST(block_outside_the_bar_is_an_operand_exception),
		TEST(block_that_cannot_be_fetched_is_an_access_exception),
		TEST(block_over_the_msix_table_programs_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
