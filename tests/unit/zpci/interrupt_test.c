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
	assert_int_equal(g->vcpu.cc, 0);
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

/* MSI in config space: several vectors, which the data's low bits tell apart. */
static void program_msi(struct guest *g, unsigned log, uint64_t address, uint16_t data)
{
	unsigned msi = guest_find_capability(g, PCI_CAP_ID_MSI);

	guest_pcistg(g, 15, msi + 4, 4, __builtin_bswap32((uint32_t)address));
	guest_pcistg(g, 15, msi + 8, 4, __builtin_bswap32(address >> 32));
	guest_pcistg(g, 15, msi + 12, 2, __builtin_bswap16(data));
	guest_pcistg(g, 15, msi + 2, 2, __builtin_bswap16(1 | log << 4));
	assert_int_equal(g->vcpu.cc, 0);
	guest_clear(g);
}

static void messages_of_msi_are_like_those_of_msix(void **state)
{
	struct guest *g = ready(state);

	program_msi(g, 3, MSI, 8);
	pci_function_msi_notify(g->function, 0);
	pci_function_msi_notify(g->function, 7);
	assert_int_equal(aibv(g)[0], 0);
	assert_int_equal(aibv(g)[1], 0x81);
	assert_true(summary(g));
	assert_int_equal(g->interruptions[5], 1);

	guest_mpcifc(g, 3);
	guest_direct(g, 2);
	guest_register_directed(g, 16, 0);
	program_msi(g, 0, MSI | 3 << 8, 8);
	pci_function_msi_notify(g->function, 7); /* one is enabled: folded onto it */
	assert_int_equal(((uint8_t *)guest_at(g, DIBV_AT(3)))[1], 0x80);
	assert_int_equal(g->directed[3], 1);
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
	pci_dma_read(pci_function_dma(g->function), SDMA, &byte, 1); /* fails */
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(aibv(g)[0], 0);
	guest_mpcifc(g, 7);
	guest_mpcifc(g, 3);
	assert_int_equal(g->vcpu.cc, 0);
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

static void modes_go_to_the_interrupt_controller(void **state)
{
	struct guest *g = *state;

	assert_int_equal(guest_sic(g, 1, 3), 0);
	assert_int_equal(g->modes[3], 1);
	assert_int_equal(guest_sic(g, 0, 7), 0);
	assert_int_equal(g->modes[7], 0);
	assert_int_equal(g->modes[3], 1);
	assert_int_equal(g->vcpu.cc, 99); /* unchanged */
}

static void other_modes_are_operand_exceptions(void **state)
{
	struct guest *g = *state;
	static const unsigned modes[] = { 2, 3, 5, 15, 19, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		guest_clear(g);
		assert_int_not_equal(guest_sic(g, modes[i], 3), 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
		assert_int_equal(g->modes[3], 99);
	}
}

static void every_operation_is_privileged(void **state)
{
	struct guest *g = *state;
	static const unsigned modes[] = { 0, 1, 2, 4, 16, 17, 18 };

	g->vcpu.problem_state = true;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		guest_clear(g);
		assert_int_not_equal(guest_sic(g, modes[i], 3), 0);
		assert_int_equal(g->program, ZPCI_PGM_PRIVILEGED_OPERATION);
	}
}

static void only_bits_of_operation_and_subclass_count(void **state)
{
	struct guest *g = *state;

	g->gr[1] = ~0xffffull | 1;
	g->gr[3] = ~(7ull << 27) | 5ull << 27;
	assert_int_equal(zpci_insn_sic(g->zpci, &g->vcpu, 1, 3, 1, 0),
			 0); /* no operand is fetched */
	assert_int_equal(g->modes[5], 1);
}

/* --- directed delivery ------------------------------------------------------------------ */

#define MSI_TO(cpu) (MSI | (uint64_t)(cpu) << 8)

static bool dibv_bit(struct guest *g, unsigned cpu, unsigned bit)
{
	return ((uint8_t *)guest_at(g, DIBV_AT(cpu)))[bit / 8] & 0x80 >> bit % 8;
}

static uint8_t *disb(struct guest *g)
{
	return guest_at(g, DISB_AT);
}

static struct guest *directed(void **state)
{
	struct guest *g = *state;

	guest_enable(g);
	guest_direct(g, 2);
	guest_register_directed(g, 16, 100);
	return g;
}

static void message_goes_to_the_cpu_that_its_address_names(void **state)
{
	struct guest *g = directed(state);

	guest_program_vector(g, 0, MSI_TO(3), 11);
	pci_function_msix_notify(g->function, 0);
	assert_true(dibv_bit(g, 3, 111));
	assert_int_equal(g->directed[3], 1);
	assert_int_equal(g->directed_isc, 2);
	for (unsigned cpu = 0; cpu < 3; cpu++) {
		assert_int_equal(g->directed[cpu], 0);
		assert_false(dibv_bit(g, cpu, 111));
	}
	assert_int_equal(g->interruptions[2], 0);
	assert_int_equal(disb(g)[0], 0);
	assert_int_equal(g->written_calls, 1);
}

static void directed_interruption_is_presented_again_for_a_bit_that_is_set(void **state)
{
	struct guest *g = directed(state);

	guest_program_vector(g, 0, MSI_TO(1), 0);
	pci_function_msix_notify(g->function, 0);
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(g->directed[1], 2);
}

static void cpu_that_takes_none_is_helped_by_a_floating_interruption(void **state)
{
	struct guest *g = directed(state);

	g->stopped[2] = true;
	guest_program_vector(g, 0, MSI_TO(2), 5);
	pci_function_msix_notify(g->function, 0);
	assert_true(dibv_bit(g, 2, 105));
	assert_int_equal(disb(g)[0], 0x20);
	assert_int_equal(g->interruptions[2], 1);
	/* One is enough until the summary has been looked at. */
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(g->interruptions[2], 1);
	disb(g)[0] = 0;
	zpci_directed_fallback(g->zpci, 2);
	assert_int_equal(disb(g)[0], 0x20);
	assert_int_equal(g->interruptions[2], 2);
	zpci_directed_fallback(g->zpci, 4); /* there is no summary bit for it */
	assert_int_equal(disb(g)[0], 0x20);
	assert_int_equal(g->interruptions[2], 2);
}

static void message_to_a_cpu_without_vector_is_an_error(void **state)
{
	static const unsigned cpus[] = { 4, 511, 512, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct guest *g = *state;
		struct zpci_event event;

		guest_enable(g);
		guest_direct(g, 2);
		guest_register_directed(g, 16, 0);
		guest_program_vector(g, 0, MSI_TO(cpus[i]), 5);
		pci_function_msix_notify(g->function, 0);
		assert_true(zpci_next_event(g->zpci, &event));
		assert_int_equal(load_be16(event.ccdf + 30), PEC_NO_MSI);
		guest_mpcifc(g, 7);
		guest_disable(g);
	}
}

static void directed_vector_that_is_not_registered_is_an_error(void **state)
{
	struct guest *g = directed(state);
	struct zpci_event event;

	guest_program_vector(g, 0, MSI_TO(1), 16);
	pci_function_msix_notify(g->function, 0);
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_INVALID_VECTOR);
	assert_false(dibv_bit(g, 1, 116));
}

static void directed_routes_fit_into_the_vector_of_a_cpu(void **state)
{
	static const struct {
		unsigned noi, dibvo, program;
	} cases[] = {
		{ 64, 1984, 0 },
		{ 64, 1985, ZPCI_PGM_OPERAND },
		{ 1, 0xffff, ZPCI_PGM_OPERAND },
		{ 1, 2047, 0 },
		{ 129, 0, ZPCI_PGM_OPERAND } /* the group has 128 */,
	};
	struct guest *g = *state;

	guest_enable(g);
	guest_direct(g, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *fib = guest_fib(g);

		fib[0] = 1;
		store_be32(fib + 40, cases[i].noi << 16);
		store_be16(fib + 44, cases[i].dibvo);
		guest_clear(g);
		guest_mpcifc(g, 16);
		assert_int_equal(g->program, cases[i].program);
		if (g->program)
			continue;
		guest_program_vector(g, 0, MSI_TO(0), cases[i].noi - 1);
		pci_function_msix_notify(g->function, 0);
		assert_true(dibv_bit(g, 0, cases[i].dibvo + cases[i].noi - 1));
		guest_fib(g)[0] = 1;
		guest_mpcifc(g, 17);
		assert_int_equal(g->vcpu.cc, 0);
	}
}

static void each_kind_of_registration_has_its_format_and_its_end(void **state)
{
	static const struct {
		unsigned operation, format, program;
	} wrong[] = {
		{ 2, 1, ZPCI_PGM_OPERAND },  { 3, 1, ZPCI_PGM_OPERAND },
		{ 16, 0, ZPCI_PGM_OPERAND }, { 17, 0, ZPCI_PGM_OPERAND },
		{ 16, 2, ZPCI_PGM_OPERAND }, { 4, 1, ZPCI_PGM_OPERAND },
	};
	struct guest *g = *state;

	guest_enable(g);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		guest_clear(g);
		guest_fib(g)[0] = (uint8_t)wrong[i].format;
		guest_mpcifc(g, wrong[i].operation);
		assert_int_equal(g->program, wrong[i].program);
	}
	guest_clear(g);
	guest_fib(g)[0] = 1;
	guest_mpcifc(g, 17); /* none registered */
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), STATUS_SEQUENCE);

	guest_register_directed(g, 8, 0);
	guest_fib(g)[0] = 1;
	guest_mpcifc(g, 16); /* twice */
	assert_int_equal(status_of(g->gr[5]), STATUS_SEQUENCE);
	guest_fib(g);
	guest_mpcifc(g, 2); /* the other kind */
	assert_int_equal(status_of(g->gr[5]), STATUS_SEQUENCE);
	guest_mpcifc(g, 3);
	assert_int_equal(status_of(g->gr[5]), STATUS_SEQUENCE);
	guest_fib(g)[0] = 1;
	guest_mpcifc(g, 17);
	assert_int_equal(g->vcpu.cc, 0);

	guest_register_interruptions(g, 3, 8);
	guest_fib(g)[0] = 1;
	guest_mpcifc(g, 17);
	assert_int_equal(g->vcpu.cc, 1);
	assert_int_equal(status_of(g->gr[5]), STATUS_SEQUENCE);
}

static void stpcifc_tells_a_directed_registration_in_format_1(void **state)
{
	struct guest *g = directed(state);
	const uint8_t *fib = guest_fib(g);

	guest_stpcifc(g, g->fh);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(fib[0], 1);
	assert_int_equal(load_be32(fib + 40), 16 << 16);
	assert_int_equal(load_be16(fib + 44), 100);
	assert_int_equal(load_be64(fib + 48), 0);
	guest_fib(g)[0] = 1;
	guest_mpcifc(g, 17);
	guest_stpcifc(g, g->fh);
	assert_int_equal(fib[0], 0);
	assert_int_equal(load_be16(fib + 44), 0);
}

static void directed_modes_are_those_of_the_cpu_that_executes_sic(void **state)
{
	struct guest *g = *state;

	g->vcpu.index = 3;
	assert_int_equal(guest_sic(g, 17, 5), 0);
	assert_int_equal(g->directed_modes[3][5], ZPCI_INTERRUPTION_SINGLE);
	g->vcpu.index = 1;
	assert_int_equal(guest_sic(g, 16, 5), 0);
	assert_int_equal(g->directed_modes[1][5], ZPCI_INTERRUPTION_ALL);
	assert_int_equal(g->directed_modes[3][5], ZPCI_INTERRUPTION_SINGLE);
	assert_int_equal(g->modes[5], 99);
	assert_int_equal(g->vcpu.cc, 99);
}

static void blocks_of_sic_are_checked(void **state)
{
	static const struct {
		unsigned operation, cpus;
		uint64_t address; /* of indicators */
		unsigned program;
	} cases[] = {
		{ 4, 4, DISB_AT, 0 },
		{ 4, 4, DISB_AT + 4, ZPCI_PGM_OPERAND },
		{ 4, 8, GUEST_MEMORY - 8, 0 },
		{ 4, 65, GUEST_MEMORY - 8, ZPCI_PGM_OPERAND },
		{ 4, 513, DISB_AT, ZPCI_PGM_OPERAND },
		{ 4, 4, ~7ull, ZPCI_PGM_OPERAND },
		{ 4, 4, DISB_AT, 0 },
		{ 18, 0, GUEST_MEMORY - 256, 0 },
		{ 18, 0, GUEST_MEMORY - 248, ZPCI_PGM_OPERAND },
		{ 18, 0, DIBV_AT(0) + 1, ZPCI_PGM_OPERAND },
		{ 18, 0, ~7ull, ZPCI_PGM_OPERAND },
	};
	struct guest *g = *state;
	uint8_t *block = memset(guest_at(g, SIC_BLOCK_AT), 0, 40);

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		guest_clear(g);
		store_be16(block + 6, cases[i].cpus);
		store_be64(block + 8, cases[i].address);
		guest_sic(g, cases[i].operation, 0);
		assert_int_equal(g->program, cases[i].program);
	}
	guest_clear(g);
	g->vcpu.index = 4; /* there are to be 4 */
	store_be64(block + 8, DIBV_AT(0));
	guest_sic(g, 18, 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	for (unsigned i = 0; i < 2; i++) {
		g->gr[1] = i ? 18 : 4;
		guest_clear(g);
		zpci_insn_sic(g->zpci, &g->vcpu, 1, 3, SIC_BLOCK_AT + 4, 0);
		assert_int_equal(g->program, ZPCI_PGM_SPECIFICATION);
		guest_clear(g);
		zpci_insn_sic(g->zpci, &g->vcpu, 1, 3, GUEST_MEMORY - 24, 0);
		assert_int_equal(g->program, 0);
		assert_true(g->access_exception);
	}
}

static void vectors_of_cpus_come_after_directed_delivery_as_a_whole(void **state)
{
	struct guest *g = *state;
	uint8_t *block = memset(guest_at(g, SIC_BLOCK_AT), 0, 40);

	store_be64(block + 8, DIBV_AT(0));
	guest_sic(g, 18, 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	guest_clear(g);
	guest_direct(g, 1);
	memset(block, 0, 40);
	assert_int_equal(guest_sic(g, 4, 0), 0); /* no CPU: it ends */
	store_be64(block + 8, DIBV_AT(0));
	guest_sic(g, 18, 0);
	assert_int_equal(g->program, ZPCI_PGM_OPERAND);
}

static void reset_forgets_vectors(void **state)
{
	struct guest *g = directed(state);
	struct zpci_event event;

	zpci_reset(g->zpci);
	zpci_directed_fallback(g->zpci, 0);
	assert_int_equal(disb(g)[0], 0);
	g->fh &= ~FH_ENABLED;
	guest_enable(g);
	guest_register_directed(g, 16, 0);
	guest_program_vector(g, 0, MSI_TO(0), 0);
	pci_function_msix_notify(g->function, 0);
	assert_false(dibv_bit(g, 0, 0));
	assert_true(zpci_next_event(g->zpci, &event));
	assert_int_equal(load_be16(event.ccdf + 30), PEC_NO_MSI);
}

static void floating_routes_ignore_the_cpu_in_the_address(void **state)
{
	struct guest *g = ready(state);

	guest_program_vector(g, 0, MSI_TO(0xffff), 2);
	pci_function_msix_notify(g->function, 0);
	assert_int_equal(aibv(g)[0], 0x20);
	assert_int_equal(g->interruptions[5], 1);
}

/* A machine that has none refuses its operations as those that there never were. */
static void without_directed_delivery_its_operations_are_refused(void **state)
{
	static const unsigned modes[] = { 4, 16, 17, 18 };
	struct guest *g = guest_new_without_directed();
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);

	guest_plug(g, &config);
	guest_enable(g);
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		guest_clear(g);
		guest_sic(g, modes[i], 0);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	}
	for (unsigned operation = 16; operation <= 17; operation++) {
		guest_clear(g);
		guest_fib(g)[0] = 1;
		guest_mpcifc(g, operation);
		assert_int_equal(g->program, ZPCI_PGM_OPERAND);
	}
	guest_free(g);
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
		TEST(messages_of_msi_are_like_those_of_msix),
		TEST(masked_vector_is_delivered_when_it_is_unmasked),
		TEST(nothing_is_set_in_error_or_after_deregistration),
		TEST(no_indicator_is_left_without_an_interruption),
		TEST(modes_go_to_the_interrupt_controller),
		TEST(other_modes_are_operand_exceptions),
		TEST(every_operation_is_privileged),
		TEST(only_bits_of_operation_and_subclass_count),
		TEST(message_goes_to_the_cpu_that_its_address_names),
		TEST(directed_interruption_is_presented_again_for_a_bit_that_is_set),
		TEST(cpu_that_takes_none_is_helped_by_a_floating_interruption),
		TEST(message_to_a_cpu_without_vector_is_an_error),
		TEST(directed_vector_that_is_not_registered_is_an_error),
		TEST(directed_routes_fit_into_the_vector_of_a_cpu),
		TEST(each_kind_of_registration_has_its_format_and_its_end),
		TEST(stpcifc_tells_a_directed_registration_in_format_1),
		TEST(directed_modes_are_those_of_the_cpu_that_executes_sic),
		TEST(blocks_of_sic_are_checked),
		TEST(vectors_of_cpus_come_after_directed_delivery_as_a_whole),
		TEST(reset_forgets_vectors),
		TEST(floating_routes_ignore_the_cpu_in_the_address),
		cmocka_unit_test(without_directed_delivery_its_operations_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
