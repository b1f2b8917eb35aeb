/* SPDX-License-Identifier: MIT */
/* testdev, driven through libzpci as a guest drives it. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "devices/device.h"
#include "devices/testdev_regs.h"
#include "guest.h"

#define FRAME_AT 0x200000 /* memory behind the page that is mapped */
#define FRAME_2_AT 0x280000
#define STATE_ERROR_CC 1

static struct pci_function *make(const char *text)
{
	struct pci_function *function = NULL;
	struct device_config config;
	char error[DEVICE_ERROR_MAX] = "";

	if (device_parse(text, &config, error, sizeof(error)) ||
	    device_create(&config, "testdev0", &function, error, sizeof(error)))
		fail_msg("%s", error);
	device_config_clear(&config);
	return function;
}

/* Enabled, with two pages mapped and 64 vectors registered. */
static struct guest *plug(const char *text)
{
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	struct guest *g = guest_new();

	config.store_block_max = PCI_BLOCK_MAX;
	config.interrupts = 2048;
	guest_plug_function(g, make(text), &config);
	guest_enable(g);
	guest_register_translation(g);
	guest_map(g, SDMA, FRAME_AT, true);
	guest_map(g, SDMA + PAGE_SIZE, FRAME_2_AT, true);
	return g;
}

static int setup(void **state)
{
	*state = plug("testdev,vectors=64");
	return 0;
}

static uint64_t reg(struct guest *g, uint64_t offset)
{
	assert_int_equal(guest_pcilg(g, TESTDEV_BAR_REGISTERS, offset, 8), 0);
	assert_int_equal(g->vcpu.cc, 0);
	return __builtin_bswap64(g->gr[5]);
}

static void set_reg(struct guest *g, uint64_t offset, uint64_t value)
{
	assert_int_equal(
		guest_pcistg(g, TESTDEV_BAR_REGISTERS, offset, 8, __builtin_bswap64(value)), 0);
	assert_int_equal(g->vcpu.cc, 0);
}

static void transfer(struct guest *g, uint64_t address, uint64_t length, uint64_t command)
{
	set_reg(g, TESTDEV_DMA_ADDRESS, address);
	set_reg(g, TESTDEV_DMA_LENGTH, length);
	set_reg(g, TESTDEV_DMA_COMMAND, command);
}

static unsigned outcome(struct guest *g)
{
	return TESTDEV_STATUS_OUTCOME(reg(g, TESTDEV_DMA_STATUS));
}

/* Waits until the register has the value, ten seconds at most. */
static void wait_for(struct guest *g, uint64_t offset, uint64_t mask, uint64_t value)
{
	time_t end = time(NULL) + 10;

	while ((reg(g, offset) & mask) != value) {
		if (time(NULL) > end)
			fail_msg("register %#llx is %#llx", (unsigned long long)offset,
				 (unsigned long long)reg(g, offset));
		sched_yield();
	}
}

static void wait_for_transfers(struct guest *g, uint64_t count)
{
	time_t end = time(NULL) + 10;

	while (reg(g, TESTDEV_DMA_COUNT) < count) {
		if (time(NULL) > end)
			fail_msg("fewer than %llu transfers", (unsigned long long)count);
		sched_yield();
	}
}

struct entry {
	uint64_t number, address, value, length;
	unsigned kind, outcome;
};

static struct entry log_entry(struct guest *g, uint64_t n)
{
	uint64_t at = TESTDEV_LOG + n % TESTDEV_LOG_ENTRIES * TESTDEV_LOG_ENTRY_SIZE;
	uint64_t what = reg(g, at + TESTDEV_LOG_WHAT);

	return (struct entry){
		.number = reg(g, at + TESTDEV_LOG_NUMBER),
		.address = reg(g, at + TESTDEV_LOG_ADDRESS),
		.value = reg(g, at + TESTDEV_LOG_VALUE),
		.length = what >> 16,
		.kind = what & 0xff,
		.outcome = what >> 8 & 0xff,
	};
}

static unsigned indicators(struct guest *g)
{
	unsigned set = 0;

	for (unsigned i = 0; i < 2048 / 8; i++)
		set += (unsigned)__builtin_popcount(*(uint8_t *)guest_at(g, AIBV_AT + i));
	return set;
}

static void program_vectors(struct guest *g, unsigned vectors)
{
	guest_register_interruptions(g, 3, vectors);
	for (unsigned v = 0; v < vectors; v++) {
		uint64_t at = 16 * v;

		guest_pcistg(g, TESTDEV_BAR_MSIX, at, 8, __builtin_bswap64(0xfe00000000000000ull));
		guest_pcistg(g, TESTDEV_BAR_MSIX, at + 8, 8, __builtin_bswap64(v));
		assert_int_equal(g->vcpu.cc, 0);
	}
}

static unsigned find_capability(struct guest *g, uint8_t id)
{
	unsigned at = pci_function_config_read(g->function, PCI_CAPABILITY_LIST, 1);

	while (at && pci_function_config_read(g->function, at, 1) != id)
		at = pci_function_config_read(g->function, at + 1, 1);
	assert_true(at);
	return at;
}

static void enable_msix(struct guest *g)
{
	pci_function_config_write(g->function, find_capability(g, PCI_CAP_ID_MSIX) + 2, 2,
				  0x8000);
}

/* --- registers and BARs ---------------------------------------------------------------- */

static void it_says_what_it_is(void **state)
{
	struct guest *g = *state;

	assert_int_equal(reg(g, TESTDEV_ID), TESTDEV_ID_VALUE);
	assert_int_equal(reg(g, TESTDEV_VECTORS), 64);
	assert_int_equal(reg(g, TESTDEV_MEMORY_SIZE), 65536);
	assert_int_equal(reg(g, 0xff8), 0);
}

static void registers_can_be_stored_in_pieces(void **state)
{
	struct guest *g = *state;

	set_reg(g, TESTDEV_SCRATCH, 0x1122334455667788);
	guest_pcistg(g, 0, TESTDEV_SCRATCH + 4, 4, __builtin_bswap32(0xaabbccdd));
	guest_pcistg(g, 0, TESTDEV_SCRATCH + 1, 1, 0xee);
	assert_int_equal(reg(g, TESTDEV_SCRATCH), 0xaabbccdd5566ee88);
}

static void plain_memory_keeps_what_is_stored(void **state)
{
	struct guest *g = *state;

	for (unsigned bar = TESTDEV_BAR_MEMORY; bar <= TESTDEV_BAR_SMALL; bar += 3) {
		guest_pcistg(g, bar, 0xff8, 8, 0x0102030405060708);
		assert_int_equal(g->vcpu.cc, 0);
		guest_pcilg(g, bar, 0xffa, 4);
		assert_int_equal(g->gr[5], 0x03040506);
		guest_pcilg(g, bar, 0xfff, 1);
		assert_int_equal(g->gr[5], 0x08);
	}
	assert_int_equal(reg(g, TESTDEV_LOG_COUNT), 0);
}

static void a_block_of_4096_bytes_arrives_as_one_store(void **state)
{
	struct guest *g = *state;
	struct entry entry;

	for (unsigned i = 0; i < 512; i++)
		store_be64(guest_at(g, 0x8000 + 8 * i), 0x1000000 + i);
	g->gr[5] = (uint64_t)g->fh << 32 | TESTDEV_BAR_RECORDER << 16 | 4096;
	g->gr[7] = 0x3000;
	assert_int_equal(zpci_insn_pcistb(g->zpci, &g->vcpu, 5, 7, 0x8000, 1), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(reg(g, TESTDEV_LOG_COUNT), 1);
	entry = log_entry(g, 0);
	assert_int_equal(entry.kind, TESTDEV_LOG_BLOCK);
	assert_int_equal(entry.length, 4096);
	assert_int_equal(entry.address, 0x3000);
	assert_int_equal(entry.value, __builtin_bswap64(0x1000000));
	guest_pcilg(g, TESTDEV_BAR_RECORDER, 0x3ff8, 8);
	assert_int_equal(g->gr[5], 0x1000000 + 511);
}

static void loads_and_stores_are_recorded_with_their_length(void **state)
{
	struct guest *g = *state;

	guest_pcistg(g, TESTDEV_BAR_RECORDER, 0x102, 2, 0x1234);
	guest_pcilg(g, TESTDEV_BAR_RECORDER, 0x100, 4);
	assert_int_equal(g->gr[5], 0x00001234);
	assert_int_equal(reg(g, TESTDEV_LOG_COUNT), 2);
	assert_int_equal(log_entry(g, 0).kind, TESTDEV_LOG_STORE);
	assert_int_equal(log_entry(g, 0).length, 2);
	assert_int_equal(log_entry(g, 0).address, 0x102);
	assert_int_equal(log_entry(g, 0).value, 0x3412);
	assert_int_equal(log_entry(g, 1).kind, TESTDEV_LOG_LOAD);
	assert_int_equal(log_entry(g, 1).length, 4);
	set_reg(g, TESTDEV_LOG_COUNT, 0);
	assert_int_equal(reg(g, TESTDEV_LOG_COUNT), 0);
	assert_int_equal(log_entry(g, 0).number, 0);
}

static void a_block_store_can_be_made_to_fail(void **state)
{
	struct guest *g = *state;

	set_reg(g, TESTDEV_FAIL, TESTDEV_FAIL_BLOCKS);
	g->gr[5] = (uint64_t)g->fh << 32 | TESTDEV_BAR_RECORDER << 16 | 16;
	g->gr[7] = 0;
	assert_int_not_equal(zpci_insn_pcistb(g->zpci, &g->vcpu, 5, 7, 0x8000, 1), 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	assert_int_equal(log_entry(g, 0).outcome, TESTDEV_DONE_INVALID);
}

/* --- DMA ------------------------------------------------------------------------------------ */

static void a_pattern_is_stored_across_pages(void **state)
{
	struct guest *g = *state;

	set_reg(g, TESTDEV_DMA_PATTERN, 0x100);
	set_reg(g, TESTDEV_DMA_STEP, 1);
	transfer(g, SDMA + 4088, 16, TESTDEV_OP_FILL);
	assert_int_equal(outcome(g), TESTDEV_DONE_OK);
	assert_int_equal(reg(g, TESTDEV_DMA_DONE), 16);
	assert_int_equal(load_le64(guest_at(g, FRAME_AT + 4088)), 0x100);
	assert_int_equal(load_le64(guest_at(g, FRAME_2_AT)), 0x101);
	assert_int_equal(load_le64(guest_at(g, FRAME_2_AT + 8)), 0);

	transfer(g, SDMA + 4088, 16, TESTDEV_OP_COMPARE);
	assert_int_equal(reg(g, TESTDEV_DMA_RESULT), UINT64_MAX);
	*(uint8_t *)guest_at(g, FRAME_2_AT + 3) ^= 1;
	transfer(g, SDMA + 4088, 16, TESTDEV_OP_COMPARE);
	assert_int_equal(reg(g, TESTDEV_DMA_RESULT), 11);
}

static void memory_is_read_and_written_back(void **state)
{
	struct guest *g = *state;

	memcpy(guest_at(g, FRAME_AT + 1), "as it was", 9);
	set_reg(g, TESTDEV_DMA_LOCAL, 0x40);
	transfer(g, SDMA + 1, 9, TESTDEV_OP_READ);
	guest_pcilg(g, TESTDEV_BAR_MEMORY, 0x40, 8);
	assert_int_equal(g->gr[5], 0x6173206974207761); /* "as it wa" */
	transfer(g, SDMA + 4092, 9, TESTDEV_OP_WRITE);
	assert_memory_equal(guest_at(g, FRAME_AT + 4092), "as i", 4);
	assert_memory_equal(guest_at(g, FRAME_2_AT), "t was", 5);
	assert_int_equal(reg(g, TESTDEV_DMA_COUNT), 2);
	assert_int_equal(log_entry(g, 1).kind, TESTDEV_OP_WRITE);
	assert_int_equal(log_entry(g, 1).address, SDMA + 4092);
	assert_int_equal(log_entry(g, 1).length, 9);
}

static void a_checksum_is_fnv_1a(void **state)
{
	struct guest *g = *state;

	memcpy(guest_at(g, FRAME_AT), "foobar", 6);
	transfer(g, SDMA, 6, TESTDEV_OP_CHECKSUM);
	assert_int_equal(reg(g, TESTDEV_DMA_RESULT), 0x85944171f73967e8ull);
}

static void what_cannot_be_is_refused(void **state)
{
	struct guest *g = *state;

	transfer(g, SDMA, 65537, TESTDEV_OP_READ);
	assert_int_equal(outcome(g), TESTDEV_DONE_INVALID);
	set_reg(g, TESTDEV_DMA_LOCAL, UINT64_MAX - 3);
	transfer(g, SDMA, 8, TESTDEV_OP_WRITE);
	assert_int_equal(outcome(g), TESTDEV_DONE_INVALID);
	transfer(g, UINT64_MAX, 2, TESTDEV_OP_FILL);
	assert_int_equal(outcome(g), TESTDEV_DONE_INVALID);
	transfer(g, SDMA, 8, 0xff);
	assert_int_equal(outcome(g), TESTDEV_DONE_INVALID);
	transfer(g, SDMA, TESTDEV_HOLD_MAX + 1, TESTDEV_OP_HOLD_FILL);
	assert_int_equal(outcome(g), TESTDEV_DONE_INVALID);
	assert_int_equal(reg(g, TESTDEV_DMA_HELD), 0);
}

static void a_page_that_is_not_mapped_puts_the_function_into_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	transfer(g, SDMA + 2 * PAGE_SIZE, 8, TESTDEV_OP_FILL);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(event.content_code, 1);
	assert_int_equal(load_be64(event.ccdf + 16), SDMA + 2 * PAGE_SIZE);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(outcome(g), TESTDEV_DONE_FAULT);
	assert_int_equal(reg(g, TESTDEV_DMA_DONE), 0);
}

static void a_transfer_by_the_thread_ends_where_it_fails(void **state)
{
	struct guest *g = *state;
	time_t end = time(NULL) + 10;

	/* The third page is not mapped. */
	transfer(g, SDMA, 1ull << 40, TESTDEV_OP_CHECKSUM | TESTDEV_DMA_THREAD);
	while (!zpci_has_event(g->zpci) && time(NULL) < end)
		sched_yield();
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	wait_for(g, TESTDEV_DMA_STATUS, TESTDEV_STATUS_BUSY, 0);
	assert_int_equal(outcome(g), TESTDEV_DONE_FAULT);
}

static void a_held_access_keeps_rpcit_from_ending(void **state)
{
	struct guest *g = *state;

	set_reg(g, TESTDEV_DMA_PATTERN, 0x5a5a);
	transfer(g, SDMA, 4096, TESTDEV_OP_HOLD_FILL);
	assert_int_equal(reg(g, TESTDEV_DMA_HELD), 1);
	guest_unmap(g, SDMA);
	assert_int_equal(guest_rpcit(g, SDMA, PAGE_SIZE), 0);
	assert_int_equal(g->vcpu.cc, 2);
	assert_int_equal(load_le64(guest_at(g, FRAME_AT)), 0);
	guest_clear(g);
	set_reg(g, TESTDEV_DMA_COMMAND, TESTDEV_OP_RELEASE);
	assert_int_equal(g->written_calls, 1);
	assert_int_equal(g->written_first, FRAME_AT);
	assert_int_equal(g->written_length, PAGE_SIZE);
	assert_int_equal(load_le64(guest_at(g, FRAME_AT + 4088)), 0x5a5a);
	assert_int_equal(guest_rpcit(g, SDMA, PAGE_SIZE), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(reg(g, TESTDEV_DMA_HELD), 0);
}

static void a_held_access_ends_after_its_time(void **state)
{
	struct guest *g = *state;

	memcpy(guest_at(g, FRAME_AT), "foobar", 6);
	set_reg(g, TESTDEV_DMA_DELAY, 1000);
	transfer(g, SDMA, 6, TESTDEV_OP_HOLD_CHECKSUM);
	wait_for(g, TESTDEV_DMA_HELD, UINT64_MAX, 0);
	assert_int_equal(reg(g, TESTDEV_DMA_RESULT), 0x85944171f73967e8ull);
}

static void no_more_accesses_are_held_than_there_is_room_for(void **state)
{
	struct guest *g = *state;

	for (unsigned i = 0; i <= TESTDEV_HOLDS; i++)
		transfer(g, SDMA + 8 * i, 8, TESTDEV_OP_HOLD_FILL);
	assert_int_equal(reg(g, TESTDEV_DMA_HELD), TESTDEV_HOLDS);
	assert_int_equal(reg(g, TESTDEV_DMA_REJECTED), 1);
}

static void disabling_ends_everything(void **state)
{
	struct guest *g = *state;

	transfer(g, SDMA, 4096, TESTDEV_OP_HOLD_FILL);
	transfer(g, SDMA, 4096, TESTDEV_OP_FILL | TESTDEV_DMA_REPEAT);
	set_reg(g, TESTDEV_RATE, 1 << 16);
	wait_for_transfers(g, 4);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(reg(g, TESTDEV_DMA_HELD), 0);
	assert_int_equal(reg(g, TESTDEV_DMA_STATUS), 0);
	assert_int_equal(reg(g, TESTDEV_DMA_COUNT), 0);
	assert_int_equal(reg(g, TESTDEV_RATE), 0);
	assert_int_equal(reg(g, TESTDEV_LOG_COUNT), 0);
	assert_int_equal(reg(g, TESTDEV_RESETS), 1);
}

static void a_repeated_transfer_can_be_stopped(void **state)
{
	struct guest *g = *state;
	uint64_t count;

	transfer(g, SDMA, 8, TESTDEV_OP_FILL | TESTDEV_DMA_REPEAT);
	wait_for_transfers(g, 4);
	transfer(g, SDMA, 8, TESTDEV_OP_FILL);
	assert_int_equal(reg(g, TESTDEV_DMA_REJECTED), 1);
	set_reg(g, TESTDEV_DMA_COMMAND, TESTDEV_OP_STOP);
	wait_for(g, TESTDEV_DMA_STATUS, TESTDEV_STATUS_BUSY, 0);
	count = reg(g, TESTDEV_DMA_COUNT);
	transfer(g, SDMA, 8, TESTDEV_OP_FILL);
	assert_int_equal(reg(g, TESTDEV_DMA_COUNT), count + 1);
	assert_int_equal(outcome(g), TESTDEV_DONE_OK);
}

/* --- interrupts --------------------------------------------------------------------------------- */

static void vectors_are_fired_one_and_many(void **state)
{
	struct guest *g = *state;

	program_vectors(g, 64);
	enable_msix(g);
	set_reg(g, TESTDEV_FIRE, 5);
	assert_int_equal(load_be64(guest_at(g, AIBV_AT)), BIT64(5));
	assert_int_equal(g->interruptions[3], 1);
	set_reg(g, TESTDEV_FIRE, 64 << 16);
	assert_int_equal(load_be64(guest_at(g, AIBV_AT)), UINT64_MAX);
	assert_int_equal(reg(g, TESTDEV_FIRED), 65);
}

static void all_of_2048_vectors_can_be_fired(void **state)
{
	struct guest *g = plug("testdev,vectors=2048");

	program_vectors(g, 2048);
	enable_msix(g);
	set_reg(g, TESTDEV_FIRE, 2048 << 16);
	assert_int_equal(indicators(g), 2048);
	guest_free(g);
}

static void msi_vectors_are_fired(void **state)
{
	struct guest *g = plug("testdev,vectors=0,msi=8");
	unsigned at = find_capability(g, PCI_CAP_ID_MSI);

	guest_register_interruptions(g, 3, 8);
	pci_function_config_write(g->function, at + 8, 4, 0xfe000000);
	pci_function_config_write(g->function, at + 2, 2, 3 << 4 | 1);
	assert_int_equal(reg(g, TESTDEV_VECTORS), 8 << 16);
	set_reg(g, TESTDEV_FIRE, 2 | 3 << 16);
	assert_int_equal(load_be64(guest_at(g, AIBV_AT)), BIT64(2) | BIT64(3) | BIT64(4));
	guest_free(g);
}

static void interrupts_come_at_a_rate_from_its_own_thread(void **state)
{
	struct guest *g = *state;

	program_vectors(g, 64);
	enable_msix(g);
	set_reg(g, TESTDEV_RATE_INTERVAL, 1000);
	set_reg(g, TESTDEV_RATE_COUNT, 500);
	set_reg(g, TESTDEV_RATE, 8 | 4 << 16);
	wait_for(g, TESTDEV_RATE, UINT64_MAX, 0);
	assert_int_equal(reg(g, TESTDEV_FIRED), 500);
	assert_int_equal(load_be64(guest_at(g, AIBV_AT)), 0xf0ull << 48);
}

static void the_end_of_a_transfer_can_interrupt(void **state)
{
	struct guest *g = *state;

	program_vectors(g, 64);
	enable_msix(g);
	transfer(g, SDMA, 8, TESTDEV_OP_FILL | TESTDEV_DMA_NOTIFY | 7 << 16);
	assert_int_equal(load_be64(guest_at(g, AIBV_AT)), BIT64(7));
}

/* --- errors -------------------------------------------------------------------------------------- */

static void a_function_error_can_be_recovered_from(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	set_reg(g, TESTDEV_ERROR, TESTDEV_ERROR_FUNCTION);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(event.content_code, 1);
	assert_int_equal(load_be16(event.ccdf + 30), 0x000b);
	guest_pcilg(g, 0, TESTDEV_ID, 8);
	assert_int_equal(g->vcpu.cc, STATE_ERROR_CC);
	guest_mpcifc(g, 7);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(reg(g, TESTDEV_ID), TESTDEV_ID_VALUE);
}

static void a_permanent_error_cannot(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	set_reg(g, TESTDEV_ERROR, TESTDEV_ERROR_PERMANENT);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), 0x003b);
	guest_pcilg(g, 0, TESTDEV_ID, 8);
	assert_int_equal(g->vcpu.cc, STATE_ERROR_CC);
	guest_mpcifc(g, 7);
	assert_int_not_equal(g->vcpu.cc, 0);
	guest_pcilg(g, 0, TESTDEV_ID, 8);
	assert_int_equal(g->vcpu.cc, STATE_ERROR_CC);
}

/* --- measurement ---------------------------------------------------------------------------------- */

#define FMB_AT 0x7000

static void measure(unsigned format, unsigned values)
{
	static const char names[][32] = { "testdev,measurement=0", "testdev,measurement=1",
					  "testdev,measurement=2", "testdev,measurement=3" };
	struct guest *g = plug(names[format]);
	uint8_t *fmb = guest_at(g, FMB_AT);

	memset(fmb, 0xee, 128);
	for (unsigned i = 0; i < 4; i++)
		set_reg(g, TESTDEV_COUNTERS + 8 * i, 1000);
	store_be64(guest_fib(g) + 64, FMB_AT);
	guest_mpcifc(g, 10);
	assert_int_equal(g->vcpu.cc, 0);
	for (unsigned i = 0; i < 4; i++)
		set_reg(g, TESTDEV_COUNTERS + 8 * i, 1001 + i);
	zpci_update_measurements(g->zpci, 10000);
	assert_int_equal(fmb[0], format);
	assert_int_equal(load_be64(fmb + 24), 4); /* the stores of these registers */
	for (unsigned i = 0; i < values; i++) {
		bool level = format == 2 && i == 1;

		assert_int_equal(load_be64(fmb + 48 + 8 * i), level ? 1002 : 1 + i);
	}
	assert_int_equal(fmb[48 + 8 * values], 0xee);
	guest_free(g);
}

static void each_format_of_the_measurement_block_has_its_counters(void **state)
{
	measure(1, 4);
	measure(2, 2);
	measure(3, 1);
}

static void device_that_was_reset_is_measured_from_then_on(void **state)
{
	struct guest *g = plug("testdev,measurement=3");

	set_reg(g, TESTDEV_COUNTERS, 1000);
	store_be64(guest_fib(g) + 64, FMB_AT);
	guest_mpcifc(g, 10);
	assert_int_equal(g->vcpu.cc, 0);
	pci_function_reset(g->function);
	set_reg(g, TESTDEV_COUNTERS, 5);
	zpci_update_measurements(g->zpci, 10000);
	assert_int_equal(load_be64(guest_at(g, FMB_AT + 48)), 5);
	guest_free(g);
}

static void dma_is_counted_from_when_measurement_began(void **state)
{
	struct guest *g = *state;

	transfer(g, SDMA, 1000, TESTDEV_OP_FILL);
	store_be64(guest_fib(g) + 64, FMB_AT);
	guest_mpcifc(g, 10);
	transfer(g, SDMA, 24, TESTDEV_OP_FILL);
	transfer(g, SDMA, 17, TESTDEV_OP_CHECKSUM);
	zpci_update_measurements(g->zpci, 10000);
	assert_int_equal(load_be64(guest_at(g, FMB_AT + 48)), 17);
	assert_int_equal(load_be64(guest_at(g, FMB_AT + 56)), 24);
}

/* --- a hostile guest ------------------------------------------------------------------------------- */

static uint64_t random_number(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Mostly what is nearly right: addresses that are mapped, small lengths, registers there are. */
static uint64_t random_value(uint64_t *state)
{
	uint64_t n = random_number(state);

	switch (n >> 60) {
	case 0 ... 3:
		return n & 0xff;
	case 4 ... 7:
		return SDMA + (n & 0x3fff);
	case 8 ... 11:
		return n & 0x1ffff;
	case 12 ... 13:
		return n & 0xff0fff;
	default:
		return n;
	}
}

static void random_stores_do_no_harm(void **state)
{
	static const uint16_t registers[] = {
		TESTDEV_DMA_ADDRESS, TESTDEV_DMA_LENGTH,  TESTDEV_DMA_LOCAL, TESTDEV_DMA_DELAY,
		TESTDEV_DMA_COMMAND, TESTDEV_DMA_COMMAND, TESTDEV_FIRE,	     TESTDEV_RATE_INTERVAL,
		TESTDEV_RATE_COUNT,  TESTDEV_RATE,	  TESTDEV_FAIL,	     TESTDEV_LOG_COUNT,
	};
	struct guest *g = *state;
	uint64_t seed = 0x9e3779b97f4a7c15;

	program_vectors(g, 64);
	enable_msix(g);
	for (unsigned round = 0; round < 30000; round++) {
		uint64_t n = random_number(&seed);
		unsigned bar = n % 6, size = 1u << (n >> 8 & 3);
		uint64_t offset = n >> 16 & 0x1ffff & ~(uint64_t)(size - 1), value;

		switch (n >> 61) {
		case 0:
			pci_function_bar_read(g->function, bar, offset, size, &value);
			break;
		case 1:
			pci_function_bar_write(g->function, bar, offset, size, n);
			break;
		case 2:
			pci_function_bar_write_block(g->function, bar, offset,
						     guest_at(g, FRAME_AT), n >> 40 & 0x1fff);
			break;
		default:
			pci_function_bar_write(g->function, TESTDEV_BAR_REGISTERS,
					       registers[n % ARRAY_SIZE(registers)], 8,
					       random_value(&seed));
		}
		if (n % 97 == 0) { /* out of the error state; nothing may still be in flight */
			guest_disable(g);
			guest_enable(g);
			guest_register_translation(g);
			guest_map(g, SDMA, FRAME_AT, true);
			guest_map(g, SDMA + PAGE_SIZE, FRAME_2_AT, true);
			assert_int_equal(reg(g, TESTDEV_DMA_HELD), 0);
			assert_int_equal(reg(g, TESTDEV_DMA_STATUS), 0);
		}
	}
}

/* --- being asked for ------------------------------------------------------------------------------ */

static void sizes_that_are_no_power_of_two_are_refused(void **state)
{
	static const char *const wrong[] = { "testdev,memory=12288", "testdev,msi=3" };

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct pci_function *function;
		struct device_config config;
		char error[DEVICE_ERROR_MAX] = "";

		assert_int_equal(device_parse(wrong[i], &config, error, sizeof(error)), 0);
		assert_int_equal(device_create(&config, "t", &function, error, sizeof(error)),
				 -EINVAL);
		assert_non_null(strstr(error, "power of two"));
		device_config_clear(&config);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_says_what_it_is),
		TEST(registers_can_be_stored_in_pieces),
		TEST(plain_memory_keeps_what_is_stored),
		TEST(a_block_of_4096_bytes_arrives_as_one_store),
		TEST(loads_and_stores_are_recorded_with_their_length),
		TEST(a_block_store_can_be_made_to_fail),
		TEST(a_pattern_is_stored_across_pages),
		TEST(memory_is_read_and_written_back),
		TEST(a_checksum_is_fnv_1a),
		TEST(what_cannot_be_is_refused),
		TEST(a_page_that_is_not_mapped_puts_the_function_into_error),
		TEST(a_transfer_by_the_thread_ends_where_it_fails),
		TEST(a_held_access_keeps_rpcit_from_ending),
		TEST(a_held_access_ends_after_its_time),
		TEST(no_more_accesses_are_held_than_there_is_room_for),
		TEST(disabling_ends_everything),
		TEST(a_repeated_transfer_can_be_stopped),
		TEST(vectors_are_fired_one_and_many),
		cmocka_unit_test(all_of_2048_vectors_can_be_fired),
		cmocka_unit_test(msi_vectors_are_fired),
		TEST(interrupts_come_at_a_rate_from_its_own_thread),
		TEST(the_end_of_a_transfer_can_interrupt),
		TEST(a_function_error_can_be_recovered_from),
		TEST(a_permanent_error_cannot),
		cmocka_unit_test(each_format_of_the_measurement_block_has_its_counters),
		cmocka_unit_test(device_that_was_reset_is_measured_from_then_on),
		TEST(dma_is_counted_from_when_measurement_began),
		TEST(random_stores_do_no_harm),
		cmocka_unit_test(sizes_that_are_no_power_of_two_are_refused),
	};

	return cmocka_run_group_tests_name("testdev", tests, NULL, NULL);
}
