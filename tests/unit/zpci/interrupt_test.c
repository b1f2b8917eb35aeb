/* SPDX-License-Identifier: MIT */
/* From a function's message to an adapter interruption; SIC. */
#include "guest.h"

#include <pthread.h>
#include <stdatomic.h>

#include "zpci/internal.h"

#define MSI 0xfe00000000000000ull

static uint8_t *aibv(struct guest *g)
{
	return guest_at(g, AIBV_AT);
}

/* The summary bit has offset 9: the second byte's second bit. */
static bool summary(struct guest *g)
{
	return ((uint8_t *)guest_at(g, AISB_AT))[1] == 0x40;
}

static void clear_summary(struct guest *g)
{
	((uint8_t *)guest_at(g, AISB_AT))[1] = 0;
}

static struct guest *ready(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_register_interruptions(g, 5, 16);
	return g;
}

static void message_sets_vector_and_summary_and_interrupts(void **state)
{
	struct guest *g = ready(state);

	guest_program_vector(g, 2, MSI, 11);
	pci_function_msix_notify(g->function, 2);
	assert_int_equal(aibv(g)[0], 0);
	assert_int_equal(aibv(g)[1], 0x10); /* the data names the vector: bit 11 */
	assert_true(summary(g));
	assert_int_equal(g->interruptions[5], 1);
	assert_int_equal(g->written_calls, 2);
}

static void nothing_is_presented_while_the_summary_is_set(void **state)
{
	struct guest *g = ready(state);

	guest_program_vector(g, 0, MSI, 0);
	guest_program_vector(g, 1, MSI, 1);
	pci_function_msix_notify(g->function, 0);
	pci_function_msix_notify(g->function, 1);
	assert_int_equal(aibv(g)[0], 0xc0);
	assert_int_equal(g->interruptions[5], 1);
	clear_summary(g);
	pci_function_msix_notify(g->function, 1);
	assert_int_equal(g->interruptions[5], 2);
}

static void vectors_start_at_their_offset(void **state)
{
	struct guest *g = *state;
	uint8_t *fib = guest_fib(g);

	guest_enable(g);
	store_be32(fib + 40, 6 << 28 | 64 << 16 | 61 << 8 | 1 << 7 | 63);
	store_be64(fib + 48, AIBV_AT);
	store_be64(fib + 56, AISB_AT);
	guest_mpcifc(g, 2);
	assert_int_equal(g->cc, 0);
	guest_program_vector(g, 0, MSI, 10);
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(aibv(g)[71 / 8], 0x80 >> 71 % 8);
	assert_int_equal(((uint8_t *)guest_at(g, AISB_AT))[7], 0x01);
	assert_int_equal(g->interruptions[6], 1);
}

static void without_summary_each_new_vector_interrupts(void **state)
{
	struct guest *g = *state;
	uint8_t *fib = guest_fib(g);

	guest_enable(g);
	store_be32(fib + 40, 3 << 28 | 16 << 16 | 9);
	store_be64(fib + 48, AIBV_AT);
	store_be64(fib + 56, AISB_AT);
	guest_mpcifc(g, 2);
	guest_program_vector(g, 0, MSI, 0);
	guest_program_vector(g, 1, MSI, 1);
	pci_function_msix_notify(g->function, 0);
	pci_function_msix_notify(g->function, 0);
	pci_function_msix_notify(g->function, 1);
	assert_int_equal(g->interruptions[3], 2);
	assert_false(summary(g));
}

static void vector_that_is_not_registered_is_an_error(void **state)
{
	struct guest *g = ready(state);
	struct zpci_event event;

	guest_program_vector(g, 0, MSI, 16);
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(g->interruptions[5], 0);
	assert_false(summary(g));
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_INVALID_VECTOR);
}

static void message_without_registration_is_an_error(void **state)
{
	struct guest *g = *state;
	struct zpci_event event;

	guest_enable(g);
	guest_program_vector(g, 0, MSI, 0);
	pci_function_msix_notify(g->function, 0);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_NO_MSI);
}

static void message_to_another_address_is_a_store_to_memory(void **state)
{
	struct guest *g = ready(state);

	guest_register_translation(g);
	guest_map(g, SDMA, 0x9000, true);
	guest_program_vector(g, 0, SDMA + 0x40, 0x12345678);
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(load_le32(guest_at(g, 0x9040)), 0x12345678);
	assert_int_equal(g->interruptions[5], 0);
}

static void masked_vector_is_delivered_when_it_is_unmasked(void **state)
{
	struct guest *g = ready(state);

	guest_program_vector(g, 3, MSI, 3);
	guest_pcistg(g, 0, DEVICE_MSIX_TABLE + 3 * 16 + 12, 4, 0x01000000);
	pci_function_msix_notify(g->function, 3);
	assert_int_equal(g->interruptions[5], 0);
	guest_pcilg(g, 0, DEVICE_MSIX_PBA, 8);
	assert_int_equal(g->gr[5], 0x0800000000000000);
	guest_pcistg(g, 0, DEVICE_MSIX_TABLE + 3 * 16 + 12, 4, 0);
	assert_int_equal(g->interruptions[5], 1);
	guest_pcilg(g, 0, DEVICE_MSIX_PBA, 8);
	assert_int_equal(g->gr[5], 0);
}

static void nothing_is_set_in_error_or_after_deregistration(void **state)
{
	struct guest *g = ready(state);
	char byte;

	guest_program_vector(g, 0, MSI, 0);
	guest_register_translation(g);
	dma_read(pci_function_dma(g->function), SDMA, &byte, 1); /* fails */
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(aibv(g)[0], 0);
	guest_mpcifc(g, 7);
	guest_mpcifc(g, 3);
	assert_int_equal(g->cc, 0);
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(aibv(g)[0], 0);
	assert_false(summary(g));
}

/* --- no bit is left unnoticed ------------------------------------------------------- */

#define SENDERS 3
#define MESSAGES 20000

struct sender {
	struct guest *g;
	unsigned vector;
	atomic_uint *sent;
};

static void *send(void *opaque)
{
	struct sender *sender = opaque;

	for (unsigned i = 0; i < MESSAGES; i++) {
		pci_function_msix_notify(sender->g->function, sender->vector);
		atomic_fetch_add(sender->sent, 1);
	}
	return NULL;
}

/*
 * What the guest does in its handler: clear the summary, then collect the vector's
 * bits. After the last message and a last look nothing may be left, unless an
 * interruption is still to come.
 */
static void no_indicator_is_left_without_an_interruption(void **state)
{
	struct guest *g = ready(state);
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	atomic_uint sent = 0;
	unsigned taken = 0, presented;

	for (unsigned i = 0; i < SENDERS; i++) {
		guest_program_vector(g, i, MSI, i);
		senders[i] = (struct sender){ g, i, &sent };
	}
	for (unsigned i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send, &senders[i]), 0);
	do {
		presented = __atomic_load_n(&g->interruptions[5], __ATOMIC_SEQ_CST);
		if (presented != taken) {
			taken = presented;
			__atomic_fetch_and((uint8_t *)guest_at(g, AISB_AT) + 1, (uint8_t)~0x40,
					   __ATOMIC_SEQ_CST);
			__atomic_store_n(aibv(g), 0, __ATOMIC_SEQ_CST);
		}
	} while (sent < SENDERS * MESSAGES);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	if (aibv(g)[0]) {
		assert_true(summary(g));
		assert_int_not_equal(g->interruptions[5], taken);
	}
	/* The handler may not have had a turn before the last message. */
	assert_true(g->interruptions[5] > 0);
}

/* --- SET INTERRUPTION CONTROLS ---------------------------------------------------------- */

static int sic(struct guest *g, unsigned mode, unsigned isc)
{
	g->gr[1] = mode;
	g->gr[3] = (uint64_t)isc << 27;
	return zpci_insn_sic(g->zpci, g, 1, 3, 0, 0);
}

static void modes_go_to_the_interrupt_controller(void **state)
{
	struct guest *g = *state;

	assert_int_equal(sic(g, 1, 3), 0);
	assert_int_equal(g->modes[3], 1);
	assert_int_equal(sic(g, 0, 7), 0);
	assert_int_equal(g->modes[7], 0);
	assert_int_equal(g->modes[3], 1);
	assert_int_equal(g->cc, 99); /* unchanged */
}

static void other_modes_are_operand_exceptions(void **state)
{
	struct guest *g = *state;
	static const unsigned modes[] = { 2, 4, 16, 17, 18, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		guest_clear(g);
		assert_int_not_equal(sic(g, modes[i], 3), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
		assert_int_equal(g->modes[3], 99);
	}
	guest_clear(g);
	g->problem_state = true;
	assert_int_not_equal(sic(g, 0, 3), 0);
	assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(message_sets_vector_and_summary_and_interrupts),
		TEST(nothing_is_presented_while_the_summary_is_set),
		TEST(vectors_start_at_their_offset),
		TEST(without_summary_each_new_vector_interrupts),
		TEST(vector_that_is_not_registered_is_an_error),
		TEST(message_without_registration_is_an_error),
		TEST(message_to_another_address_is_a_store_to_memory),
		TEST(masked_vector_is_delivered_when_it_is_unmasked),
		TEST(nothing_is_set_in_error_or_after_deregistration),
		TEST(no_indicator_is_left_without_an_interruption),
		TEST(modes_go_to_the_interrupt_controller),
		TEST(other_modes_are_operand_exceptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
