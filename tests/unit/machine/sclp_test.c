/* SPDX-License-Identifier: MIT */
/*
 * The service processor, with the tests as guest, console and interrupt
 * controller. SCCBs lie at 0x10000 of 64 MiB.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "machine/ebcdic.h"
#include "machine/memory.h"
#include "machine/sclp.h"

#define MEMORY (64 * MIB)
#define SCCB 0x10000u
#define NO_INTERRUPT UINT32_MAX

#define READ_SCP_INFO 0x00020001u
#define READ_CPU_INFO 0x00010001u
#define CONFIGURE_PCI 0x001a0001u
#define READ_EVENT 0x00770005u
#define WRITE_EVENT 0x00760005u
#define WRITE_MASK 0x00780005u

#define MASK_VT220 0x00000040u
#define MASK_QUIESCE 0x00000008u
#define MASK_MESSAGE 0x40000000u
#define MASK_COMMAND 0x80000000u

struct fixture {
	struct memory memory;
	struct sclp sclp;
	/* The interruption */
	uint32_t parameter;
	unsigned int interrupts;
	/* The console */
	char output[8192];
	size_t output_length;
	bool full;
	const char *input;
	/* The PCI function that was configured last */
	uint32_t fid;
	bool on;
};

static void on_interrupt(void *opaque, uint32_t parameter)
{
	struct fixture *f = opaque;

	f->parameter = parameter;
	f->interrupts++;
}

static int on_write(void *opaque, const void *data, size_t length)
{
	struct fixture *f = opaque;

	if (f->full)
		return -EAGAIN;
	assert_true(f->output_length + length < sizeof(f->output));
	memcpy(f->output + f->output_length, data, length);
	f->output_length += length;
	return 0;
}

static size_t on_read(void *opaque, void *to, size_t most)
{
	struct fixture *f = opaque;
	size_t length = MIN(most, strlen(f->input));

	memcpy(to, f->input, length);
	f->input += length;
	return length;
}

static bool on_read_line(void *opaque, void *to, size_t most, size_t *length)
{
	struct fixture *f = opaque;
	const char *end = strchr(f->input, '\n');

	if (!end)
		return false;
	*length = MIN(most, (size_t)(end - f->input));
	memcpy(to, f->input, *length);
	f->input = *length == (size_t)(end - f->input) ? end + 1 : f->input + *length;
	return true;
}

static bool on_has_input(void *opaque)
{
	return *((struct fixture *)opaque)->input;
}

static bool on_has_line(void *opaque)
{
	return strchr(((struct fixture *)opaque)->input, '\n');
}

static uint16_t on_pci_configure(void *opaque, uint32_t fid, bool on)
{
	struct fixture *f = opaque;

	f->fid = fid;
	f->on = on;
	return 0x0020;
}

static const struct sclp_ops ops = {
	.interrupt = on_interrupt,
	.write = on_write,
	.read = on_read,
	.read_line = on_read_line,
	.has_input = on_has_input,
	.has_line = on_has_line,
	.pci_configure = on_pci_configure,
};

static int setup_with(void **state, enum sclp_console console)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sclp_config config = {
		.memory = &f->memory,
		.cpus = 3,
		.console = console,
		.ops = &ops,
		.opaque = f,
	};

	assert_non_null(f);
	f->input = "";
	f->parameter = NO_INTERRUPT;
	assert_int_equal(memory_create(&f->memory, MEMORY), 0);
	sclp_init(&f->sclp, &config);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, SCLP_CONSOLE_VT220);
}

static int setup_line_mode(void **state)
{
	return setup_with(state, SCLP_CONSOLE_LINE_MODE);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sclp_destroy(&f->sclp);
	memory_destroy(&f->memory);
	free(f);
	return 0;
}

static uint8_t *sccb(struct fixture *f)
{
	return f->memory.base + SCCB;
}

static uint8_t *new_sccb(struct fixture *f, uint16_t length)
{
	memset(sccb(f), 0, 4096);
	store_be16(sccb(f), length);
	return sccb(f);
}

/* SERVC that is accepted and ends at once; the response code. */
static unsigned int call(struct fixture *f, uint32_t command)
{
	unsigned int interrupts = f->interrupts;
	unsigned int cc = 9;

	assert_int_equal(sclp_service_call(&f->sclp, command, SCCB, 0, &cc), PGM_NONE);
	assert_int_equal(cc, 0);
	assert_int_equal(f->interrupts, interrupts + 1);
	assert_int_equal(f->parameter & ~3u, SCCB);
	return load_be16(sccb(f) + 6);
}

static unsigned int set_mask(struct fixture *f, uint32_t receive)
{
	new_sccb(f, 12 + 16);
	store_be16(sccb(f) + 10, 4);
	store_be32(sccb(f) + 12, receive);
	return call(f, WRITE_MASK);
}

static unsigned int write_vt220(struct fixture *f, const char *text)
{
	uint16_t length = (uint16_t)(6 + strlen(text));

	new_sccb(f, (uint16_t)(8 + length));
	store_be16(sccb(f) + 8, length);
	sccb(f)[10] = 0x1a;
	memcpy(sccb(f) + 14, text, strlen(text));
	return call(f, WRITE_EVENT);
}

static unsigned int read_events(struct fixture *f)
{
	new_sccb(f, 4096);
	sccb(f)[5] = 0x80;
	return call(f, READ_EVENT);
}

/* --- the call itself -------------------------------------------------------------- */

static void sccb_address_is_checked(void **state)
{
	static const struct {
		uint64_t address;
		uint32_t prefix;
		enum pgm_code code;
	} cases[] = {
		{ SCCB + 4, 0, PGM_SPECIFICATION },
		{ 0x1000, 0x8000, PGM_SPECIFICATION },
		{ 0x80010000, 0, PGM_SPECIFICATION },
		{ 0x100010000, 0, PGM_SPECIFICATION },
		{ 0x9000, 0x8000, PGM_SPECIFICATION },
		{ MEMORY, 0, PGM_ADDRESSING },
		{ 0x7ffffff8, 0, PGM_ADDRESSING },
	};
	struct fixture *f = *state;
	unsigned int cc;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(sclp_service_call(&f->sclp, READ_SCP_INFO, cases[i].address,
						   cases[i].prefix, &cc),
				 cases[i].code);
	assert_int_equal(f->interrupts, 0);
}

static void sccb_shorter_than_its_header_is_a_specification_exception(void **state)
{
	struct fixture *f = *state;
	unsigned int cc;

	new_sccb(f, 7);
	assert_int_equal(sclp_service_call(&f->sclp, READ_SCP_INFO, SCCB, 0, &cc),
			 PGM_SPECIFICATION);
}

static void sccb_across_a_page_is_answered_and_nothing_else_written(void **state)
{
	struct fixture *f = *state;
	uint64_t address = SCCB + 4096 - 16;
	unsigned int cc;

	store_be16(f->memory.base + address, 24);
	memset(f->memory.base + SCCB + 4096, 0xaa, 16);
	assert_int_equal(sclp_service_call(&f->sclp, READ_SCP_INFO, address, 0, &cc), PGM_NONE);
	assert_int_equal(load_be16(f->memory.base + address + 6), 0x0100);
	assert_int_equal(f->memory.base[SCCB + 4096], 0xaa);
}

static void sccb_that_claims_64k_is_answered(void **state)
{
	struct fixture *f = *state;

	new_sccb(f, 0xffff);
	assert_int_equal(call(f, WRITE_EVENT), 0x0100);
}

static void unknown_command_is_answered(void **state)
{
	struct fixture *f = *state;

	new_sccb(f, 8);
	assert_int_equal(call(f, 0x00550001), 0x01f0);
}

/* --- configuration ------------------------------------------------------------------- */

static void read_scp_info_shows_memory_and_cpus(void **state)
{
	struct fixture *f = *state;
	uint8_t *block = new_sccb(f, 4096);
	unsigned int offset;

	memset(block + 8, 0xff, 4088);
	assert_int_equal(call(f, READ_SCP_INFO), 0x0010);
	assert_int_equal(load_be16(block + 8), 64);
	assert_int_equal(block[10], 1);
	assert_int_equal(load_be64(block + 104), 64);
	assert_int_equal(load_be16(block + 16), 3);
	offset = load_be16(block + 18);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(block[offset + 16 * i], i);
		assert_int_equal(block[offset + 16 * i + 14], 0);
	}
	assert_int_equal(block[135], 0);
	assert_int_equal(load_be64(block + 48), 0x0800000040000000);
	assert_int_equal(load_be16(block + 120), 2);
}

static void read_scp_info_needs_room_for_all_cpus(void **state)
{
	struct fixture *f = *state;

	new_sccb(f, 128 + 3 * 16 - 1);
	assert_int_equal(call(f, READ_SCP_INFO), 0x0300);
	new_sccb(f, 128 + 3 * 16);
	assert_int_equal(call(f, READ_SCP_INFO), 0x0010);
}

static void directed_interruptions_are_announced_before_the_cpus(void **state)
{
	struct fixture *f = *state;
	uint8_t *block;

	f->sclp.config.directed_interrupts = true;
	new_sccb(f, 144 + 3 * 16 - 1);
	assert_int_equal(call(f, READ_SCP_INFO), 0x0300);
	block = new_sccb(f, 144 + 3 * 16);
	assert_int_equal(call(f, READ_SCP_INFO), 0x0010);
	assert_int_equal(block[135], 0x80);
	assert_int_equal(load_be16(block + 18), 144);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(block[144 + 16 * i], i);
}

static void read_cpu_info_lists_configured_cpus(void **state)
{
	struct fixture *f = *state;
	uint8_t *block = new_sccb(f, 4096);

	assert_int_equal(call(f, READ_CPU_INFO), 0x0010);
	assert_int_equal(load_be16(block + 8), 3);
	assert_int_equal(load_be16(block + 12), 0);
	assert_int_equal(block[load_be16(block + 10) + 32], 2);
	new_sccb(f, 24 + 3 * 16 - 1);
	assert_int_equal(call(f, READ_CPU_INFO), 0x0300);
}

static void pci_function_is_configured_by_its_fid(void **state)
{
	struct fixture *f = *state;
	uint8_t *block = new_sccb(f, 16);

	block[8] = 2;
	store_be32(block + 12, 0x12345678);
	assert_int_equal(call(f, CONFIGURE_PCI), 0x0020);
	assert_int_equal(f->fid, 0x12345678);
	assert_true(f->on);
	block = new_sccb(f, 16);
	block[8] = 3;
	assert_int_equal(call(f, CONFIGURE_PCI), 0x06f0);
	new_sccb(f, 15);
	assert_int_equal(call(f, CONFIGURE_PCI), 0x0300);
}

/* --- events ------------------------------------------------------------------------------ */

static void masks_say_what_both_sides_take(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_mask(f, MASK_VT220), 0x0020);
	assert_int_equal(load_be32(sccb(f) + 12 + 8), MASK_VT220);
	assert_int_equal(load_be32(sccb(f) + 12 + 12), MASK_VT220 | MASK_QUIESCE);
}

static void masks_of_8_bytes_are_as_good(void **state)
{
	struct fixture *f = *state;
	uint8_t *block = new_sccb(f, 12 + 32);

	store_be16(block + 10, 8);
	store_be64(block + 12, (uint64_t)MASK_QUIESCE << 32);
	assert_int_equal(call(f, WRITE_MASK), 0x0020);
	assert_int_equal(load_be64(block + 12 + 24), (uint64_t)(MASK_VT220 | MASK_QUIESCE) << 32);
	assert_int_equal(sclp_quiesce(&f->sclp), 0);
}

static void masks_of_a_bad_length_are_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t *block = new_sccb(f, 4096);

	assert_int_equal(call(f, WRITE_MASK), 0x74f0);
	store_be16(block + 10, 1022);
	assert_int_equal(call(f, WRITE_MASK), 0x74f0);
	block = new_sccb(f, 12 + 15);
	store_be16(block + 10, 4);
	assert_int_equal(call(f, WRITE_MASK), 0x0300);
}

static void vt220_output_reaches_the_console(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write_vt220(f, "hello"), 0x0020);
	assert_int_equal(f->output_length, 5);
	assert_memory_equal(f->output, "hello", 5);
	assert_int_equal(sccb(f)[11], 0x80);
}

static void event_buffers_that_do_not_add_up_are_refused(void **state)
{
	static const struct {
		uint16_t sccb, event, response;
	} cases[] = {
		{ 16, 9, 0x73f0 },  /* beyond the SCCB */
		{ 16, 5, 0x73f0 },  /* shorter than its header */
		{ 16, 0, 0x73f0 },
		{ 20, 7, 0x72f0 },  /* what is left is no event buffer */
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *block = new_sccb(f, cases[i].sccb);

		store_be16(block + 8, cases[i].event);
		block[10] = 0x1a;
		assert_int_equal(call(f, WRITE_EVENT), cases[i].response);
	}
	assert_int_equal(f->output_length, 0);
}

static void event_of_an_unknown_type_is_refused_and_the_rest_not_accepted(void **state)
{
	struct fixture *f = *state;
	uint8_t *block = new_sccb(f, 8 + 7 + 6 + 7);

	store_be16(block + 8, 7);
	block[10] = 0x1a;
	block[14] = 'a';
	store_be16(block + 15, 6);
	block[17] = 0x55;
	store_be16(block + 21, 7);
	block[23] = 0x1a;
	block[27] = 'b';
	assert_int_equal(call(f, WRITE_EVENT), 0x40f0);
	assert_int_equal(f->output_length, 1);
	assert_int_equal(block[11], 0x80);
	assert_int_equal(block[18], 0);
	assert_int_equal(block[24], 0);
}

static void output_without_room_stays_in_progress_until_there_is(void **state)
{
	struct fixture *f = *state;
	unsigned int cc;

	f->full = true;
	new_sccb(f, 8 + 7);
	store_be16(sccb(f) + 8, 7);
	sccb(f)[10] = 0x1a;
	sccb(f)[14] = 'a';
	assert_int_equal(sclp_service_call(&f->sclp, WRITE_EVENT, SCCB, 0, &cc), PGM_NONE);
	assert_int_equal(cc, 0);
	assert_int_equal(f->interrupts, 0);
	store_be16(sccb(f) + 4096, 8);
	assert_int_equal(sclp_service_call(&f->sclp, READ_SCP_INFO, SCCB + 4096, 0, &cc),
			 PGM_NONE);
	assert_int_equal(cc, 2);
	sclp_console_room(&f->sclp);
	assert_int_equal(f->interrupts, 0);
	/* What the guest does to the SCCB meanwhile has no effect. */
	sccb(f)[14] = 'b';
	f->full = false;
	sclp_console_room(&f->sclp);
	assert_int_equal(f->interrupts, 1);
	assert_int_equal(f->parameter, SCCB);
	assert_int_equal(load_be16(sccb(f) + 6), 0x0020);
	assert_int_equal(f->output_length, 1);
	assert_int_equal(f->output[0], 'a');
	sclp_console_room(&f->sclp);
	assert_int_equal(f->interrupts, 1);
}

static void reset_forgets_output_in_progress_and_masks(void **state)
{
	struct fixture *f = *state;
	unsigned int cc;

	set_mask(f, MASK_QUIESCE);
	f->full = true;
	new_sccb(f, 8 + 7);
	store_be16(sccb(f) + 8, 7);
	sccb(f)[10] = 0x1a;
	sclp_service_call(&f->sclp, WRITE_EVENT, SCCB, 0, &cc);
	sclp_reset(&f->sclp);
	f->full = false;
	f->interrupts = 0;
	sclp_console_room(&f->sclp);
	assert_int_equal(f->interrupts, 0);
	assert_int_equal(f->output_length, 0);
	assert_int_equal(sclp_quiesce(&f->sclp), -EOPNOTSUPP);
}

static void input_is_announced_only_to_who_wants_it(void **state)
{
	struct fixture *f = *state;

	f->input = "ls\r";
	sclp_console_input(&f->sclp);
	assert_int_equal(f->interrupts, 0);
	assert_int_equal(read_events(f), 0x60f0);
	set_mask(f, MASK_VT220);
	assert_int_equal(f->parameter, SCCB | 1);
	sclp_console_input(&f->sclp);
	assert_int_equal(f->parameter, 1);
}

static void input_is_read_as_an_event(void **state)
{
	struct fixture *f = *state;

	set_mask(f, MASK_VT220);
	f->input = "ls\r";
	assert_int_equal(read_events(f), 0x0020);
	assert_int_equal(load_be16(sccb(f)), 8 + 6 + 1 + 3);
	assert_int_equal(sccb(f)[5], 0);
	assert_int_equal(load_be16(sccb(f) + 8), 6 + 1 + 3);
	assert_int_equal(sccb(f)[10], 0x1a);
	assert_memory_equal(sccb(f) + 14, "\0ls\r", 4);
	assert_int_equal(f->parameter, SCCB);
	assert_int_equal(read_events(f), 0x60f0);
}

static void input_longer_than_an_sccb_comes_in_pieces(void **state)
{
	struct fixture *f = *state;
	char long_input[6000];
	size_t first;

	set_mask(f, MASK_VT220);
	memset(long_input, 'z', sizeof(long_input));
	long_input[sizeof(long_input) - 1] = '\0';
	f->input = long_input;
	assert_int_equal(read_events(f), 0x0020);
	assert_int_equal(f->parameter, SCCB | 1);
	first = load_be16(sccb(f) + 8) - 7u;
	assert_int_equal(read_events(f), 0x0020);
	assert_int_equal(first + load_be16(sccb(f) + 8) - 7u, sizeof(long_input) - 1);
	assert_int_equal(f->parameter, SCCB);
}

static void selective_read_takes_only_types_that_were_asked_for(void **state)
{
	struct fixture *f = *state;

	set_mask(f, MASK_VT220 | MASK_QUIESCE);
	f->input = "x";
	assert_int_equal(sclp_quiesce(&f->sclp), 0);
	new_sccb(f, 4096);
	sccb(f)[2] = 1;
	store_be32(sccb(f) + 8, MASK_QUIESCE);
	assert_int_equal(call(f, READ_EVENT), 0x0020);
	assert_int_equal(sccb(f)[10], 0x1d);
	assert_int_equal(*f->input, 'x');
	new_sccb(f, 4096);
	sccb(f)[2] = 1;
	store_be32(sccb(f) + 8, MASK_MESSAGE);
	assert_int_equal(call(f, READ_EVENT), 0x70f0);
	new_sccb(f, 4096);
	sccb(f)[2] = 2;
	assert_int_equal(call(f, READ_EVENT), 0x40f0);
}

static void events_that_do_not_fit_stay(void **state)
{
	struct fixture *f = *state;

	set_mask(f, MASK_VT220);
	f->input = "x";
	new_sccb(f, 8 + 7);
	assert_int_equal(call(f, READ_EVENT), 0x0300);
	assert_int_equal(f->parameter, SCCB | 1);
	assert_int_equal(*f->input, 'x');
}

static void quiesce_is_told_to_who_listens(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(sclp_quiesce(&f->sclp), -EOPNOTSUPP);
	set_mask(f, MASK_QUIESCE);
	f->interrupts = 0;
	assert_int_equal(sclp_quiesce(&f->sclp), 0);
	assert_int_equal(f->interrupts, 1);
	assert_int_equal(f->parameter, 1);
	assert_int_equal(read_events(f), 0x0020);
	assert_int_equal(sccb(f)[10], 0x1d);
	assert_int_equal(read_events(f), 0x60f0);
}

/* --- line mode ------------------------------------------------------------------------------- */

/* A message event with two lines, as Linux composes it. */
static uint16_t put_message(uint8_t *event)
{
	static const char *const lines[] = { "first", "second [x]!" };
	uint8_t *block = event + 6;
	uint8_t *next = block + 12;

	store_be16(next, 28); /* general object */
	store_be16(next + 2, 1);
	next += 28;
	for (unsigned int i = 0; i < 2; i++) {
		size_t length = strlen(lines[i]);

		store_be16(next, (uint16_t)(10 + length));
		store_be16(next + 2, 4);
		ebcdic_put(next + 10, lines[i], length);
		next += 10 + length;
	}
	store_be16(event, (uint16_t)(next - event));
	event[2] = 2;
	store_be16(block, (uint16_t)(next - block));
	store_be16(block + 2, 1);
	store_be32(block + 4, 0xd4c4c240);
	store_be32(block + 8, 1);
	return (uint16_t)(next - event);
}

static void message_lines_reach_the_console_as_ascii(void **state)
{
	static const char expected[] = "first\nsecond [x]!\n";
	struct fixture *f = *state;

	new_sccb(f, 0);
	store_be16(sccb(f), (uint16_t)(8 + put_message(sccb(f) + 8)));
	assert_int_equal(call(f, WRITE_EVENT), 0x0020);
	assert_int_equal(f->output_length, strlen(expected));
	assert_memory_equal(f->output, expected, strlen(expected));
}

static void message_whose_lengths_lie_is_refused(void **state)
{
	static const struct {
		unsigned int offset; /* in the event */
		uint16_t value;
	} lies[] = {
		{ 6, 0 }, { 6, 11 }, { 6, 4000 },  /* the block */
		{ 18, 0 }, { 18, 3 }, { 18, 4000 }, /* its first object */
		{ 8, 2 },                            /* another type of block */
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(lies); i++) {
		new_sccb(f, 0);
		store_be16(sccb(f), (uint16_t)(8 + put_message(sccb(f) + 8)));
		store_be16(sccb(f) + 8 + lies[i].offset, lies[i].value);
		assert_int_equal(call(f, WRITE_EVENT), 0x73f0);
	}
	assert_int_equal(f->output_length, 0);
}

static void operator_line_is_a_nest_of_vectors(void **state)
{
	struct fixture *f = *state;
	uint8_t *event = sccb(f) + 8;

	set_mask(f, MASK_COMMAND);
	assert_int_equal(load_be32(sccb(f) + 12 + 8), MASK_MESSAGE);
	f->input = "ls -l\nunfinished";
	assert_int_equal(read_events(f), 0x0020);
	assert_int_equal(event[2], 1);
	assert_int_equal(load_be16(event), 6 + 16 + 5);
	assert_int_equal(load_be16(event + 6), 16 + 5);
	assert_int_equal(load_be16(event + 8), 0x1310);
	assert_int_equal(load_be16(event + 10), 12 + 5);
	assert_int_equal(load_be16(event + 12), 0x1212);
	assert_int_equal(load_be16(event + 14), 8 + 5);
	assert_int_equal(load_be16(event + 16), 0x1320);
	assert_int_equal(event[18], 4 + 5);
	assert_int_equal(event[19], 0x31);
	assert_int_equal(event[20], 2 + 5);
	assert_int_equal(event[21], 0x30);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(ebcdic_decode(event[22 + i]), "ls -l"[i]);
	assert_int_equal(read_events(f), 0x60f0);
}

static void vt220_event_is_not_for_a_line_mode_console(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write_vt220(f, "hello"), 0x40f0);
	assert_int_equal(f->output_length, 0);
}

static void ebcdic_goes_there_and_back(void **state)
{
	for (unsigned int c = 0x20; c < 0x7f; c++)
		assert_int_equal(ebcdic_decode(ebcdic_encode((uint8_t)c)), c);
	assert_int_equal(ebcdic_encode('K'), 0xd2);
	assert_int_equal(ebcdic_encode(' '), 0x40);
	assert_int_equal(ebcdic_decode(0x15), '\n');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LINE_MODE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_line_mode, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sccb_address_is_checked),
		TEST(sccb_shorter_than_its_header_is_a_specification_exception),
		TEST(sccb_across_a_page_is_answered_and_nothing_else_written),
		TEST(sccb_that_claims_64k_is_answered),
		TEST(unknown_command_is_answered),
		TEST(read_scp_info_shows_memory_and_cpus),
		TEST(read_scp_info_needs_room_for_all_cpus),
		TEST(directed_interruptions_are_announced_before_the_cpus),
		TEST(read_cpu_info_lists_configured_cpus),
		TEST(pci_function_is_configured_by_its_fid),
		TEST(masks_say_what_both_sides_take),
		TEST(masks_of_8_bytes_are_as_good),
		TEST(masks_of_a_bad_length_are_refused),
		TEST(vt220_output_reaches_the_console),
		TEST(event_buffers_that_do_not_add_up_are_refused),
		TEST(event_of_an_unknown_type_is_refused_and_the_rest_not_accepted),
		TEST(output_without_room_stays_in_progress_until_there_is),
		TEST(reset_forgets_output_in_progress_and_masks),
		TEST(input_is_announced_only_to_who_wants_it),
		TEST(input_is_read_as_an_event),
		TEST(input_longer_than_an_sccb_comes_in_pieces),
		TEST(selective_read_takes_only_types_that_were_asked_for),
		TEST(events_that_do_not_fit_stay),
		TEST(quiesce_is_told_to_who_listens),
		LINE_MODE_TEST(message_lines_reach_the_console_as_ascii),
		LINE_MODE_TEST(message_whose_lengths_lie_is_refused),
		LINE_MODE_TEST(operator_line_is_a_nest_of_vectors),
		LINE_MODE_TEST(vt220_event_is_not_for_a_line_mode_console),
		cmocka_unit_test(ebcdic_goes_there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
