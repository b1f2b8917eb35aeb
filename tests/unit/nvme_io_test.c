/* SPDX-License-Identifier: MIT */
/* The NVM commands: data, its addresses, durability, and what goes wrong on the host. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_guest.h"
#include "pci/host.h"

#define SIZE (16 * MIB)
#define BLOCKS (SIZE / 512)
#define PAGE GUEST_DATA_PAGE
#define READ_PAGE (GUEST_DATA_PAGE + 1024)

/* The image has known content: each 8 bytes are their offset, mixed. */
static uint64_t pattern(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ull;
}

static void fill(uint8_t *to, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i += 8)
		store_le64(to + i, pattern(offset + i));
}

static void write_image(const char *path, uint64_t size)
{
	uint8_t *data = malloc(size);
	int fd = open(path, O_WRONLY);

	fill(data, 0, size);
	assert_int_equal(pwrite(fd, data, size, 0), size);
	close(fd);
	free(data);
}

static void read_image(const char *path, uint64_t offset, void *data, size_t size)
{
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, data, size, (off_t)offset), size);
	close(fd);
}

static void assert_image_is_zero(const char *path, uint64_t offset, size_t size)
{
	uint8_t *data = malloc(size);

	read_image(path, offset, data, size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(data[i], 0);
	free(data);
}

/* Memory from bus address `bus` on is what stands at `offset` of the image. */
static void assert_pattern(struct guest *g, uint64_t bus, uint64_t offset, size_t size)
{
	uint8_t *memory = malloc(size), *expected = malloc(size);

	guest_load(g, bus, memory, size);
	fill(expected, offset, size);
	assert_memory_equal(memory, expected, size);
	free(expected);
	free(memory);
}

static int setup_with(void **state, const char *properties)
{
	struct guest *g = guest_new(SIZE, properties);

	write_image(g->path, SIZE);
	guest_start(g);
	*state = g;
	return 0;
}

static int setup_direct(void **state)
{
	return setup_with(state, "");
}

static int setup_cached(void **state)
{
	return setup_with(state, ",direct=off");
}

static int setup_readonly(void **state)
{
	return setup_with(state, ",readonly=on");
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

static uint16_t rw(struct guest *g, uint8_t opcode, uint64_t slba, uint32_t blocks, unsigned page)
{
	return guest_execute(g, 1, guest_rw(g, opcode, slba, blocks, page), NULL);
}

/* --- read, write ------------------------------------------------------------------ */

static void reads_of_all_sizes_return_the_image(void **state)
{
	static const uint32_t sizes[] = { 1, 7, 8, 9, 16, 17, 24, 1024, 2047, 2048 };
	struct guest *g = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t before = guest_written_bytes(g);

		assert_int_equal(rw(g, NVME_IO_READ, 3, sizes[i], PAGE), NVME_STATUS_SUCCESS);
		assert_pattern(g, guest_bus(PAGE), 3 * 512, sizes[i] * 512);
		/* The owner of memory is told, of the data and of the completion. */
		guest_wait_written(g, before + sizes[i] * 512 + 16);
	}
	assert_true(guest_is_quiet(g));
}

static void the_last_block_is_readable_and_none_after_it(void **state)
{
	struct guest *g = *state;

	assert_int_equal(rw(g, NVME_IO_READ, BLOCKS - 1, 1, PAGE), NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(PAGE), SIZE - 512, 512);
	assert_int_equal(rw(g, NVME_IO_READ, BLOCKS, 1, PAGE), NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_READ, BLOCKS - 1, 2, PAGE), NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_READ, UINT64_MAX, 1, PAGE), NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_WRITE, UINT64_MAX / 512, 8, PAGE), NVME_STATUS_LBA_RANGE);
}

static void writes_reach_the_image(void **state)
{
	struct guest *g = *state;
	uint8_t data[9 * 512], expected[9 * 512];

	fill(expected, 77, sizeof(expected));
	guest_store(g, guest_bus(PAGE), expected, sizeof(expected));
	assert_int_equal(rw(g, NVME_IO_WRITE, 100, 9, PAGE), NVME_STATUS_SUCCESS);
	read_image(g->path, 100 * 512, data, sizeof(data));
	assert_memory_equal(data, expected, sizeof(data));
	/* And its neighbours are what they were. */
	assert_int_equal(rw(g, NVME_IO_READ, 99, 1, PAGE), 0);
	assert_pattern(g, guest_bus(PAGE), 99 * 512, 512);
	assert_int_equal(rw(g, NVME_IO_READ, 109, 1, PAGE), 0);
	assert_pattern(g, guest_bus(PAGE), 109 * 512, 512);
}

static void a_transfer_may_be_as_long_as_announced_and_no_longer(void **state)
{
	struct guest *g = *state;

	assert_int_equal(rw(g, NVME_IO_READ, 0, 2048, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 2049, PAGE), NVME_STATUS_INVALID_FIELD);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 2049, PAGE), NVME_STATUS_INVALID_FIELD);
	assert_int_equal(rw(g, NVME_IO_COMPARE, 0, 2049, PAGE), NVME_STATUS_INVALID_FIELD);
}

static void other_namespaces_are_refused(void **state)
{
	static const uint8_t opcodes[] = { NVME_IO_READ,	 NVME_IO_WRITE, NVME_IO_COMPARE,
					   NVME_IO_WRITE_ZEROES, NVME_IO_DSM,	NVME_IO_FLUSH };
	struct guest *g = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(opcodes); i++) {
		struct nvme_command command = guest_rw(g, opcodes[i], 0, 1, PAGE);

		command.nsid = le32_of(2);
		assert_int_equal(guest_execute(g, 1, command, NULL),
				 NVME_STATUS_INVALID_NAMESPACE);
		command.nsid = le32_of(0);
		assert_int_equal(guest_execute(g, 1, command, NULL),
				 NVME_STATUS_INVALID_NAMESPACE);
	}
}

static void unknown_commands_are_refused(void **state)
{
	struct guest *g = *state;
	struct nvme_command command = guest_rw(g, NVME_IO_READ, 0, 1, PAGE);

	assert_int_equal(rw(g, 0x04, 0, 1, PAGE), NVME_STATUS_INVALID_OPCODE);
	assert_int_equal(rw(g, 0xff, 0, 1, PAGE), NVME_STATUS_INVALID_OPCODE);
	command.flags = 1; /* fused */
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_INVALID_FIELD);
	command.flags = 3 << 6;
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_INVALID_FIELD);
}

static void data_off_the_bus_is_a_transfer_error(void **state)
{
	struct guest *g = *state;

	guest_unmap(g, PAGE + 1);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 16, PAGE), NVME_STATUS_DATA_TRANSFER_ERROR);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 16, PAGE), NVME_STATUS_DATA_TRANSFER_ERROR);
	assert_true(guest_is_quiet(g));
	guest_map(g, PAGE + 1);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 16, PAGE), NVME_STATUS_SUCCESS);
}

/* --- PRPs ----------------------------------------------------------------------------- */

static void prps_may_begin_anywhere_in_a_page(void **state)
{
	static const uint32_t offsets[] = { 4, 8, 512, 0xe00, 0xffc };
	struct guest *g = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
		struct nvme_command command = guest_rw(g, NVME_IO_READ, 5, 8, PAGE);
		uint8_t data[4096];

		command.prp1 = le64_of(guest_bus(PAGE) + offsets[i]);
		command.prp2 = le64_of(guest_bus(PAGE + 1));
		assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
		assert_pattern(g, guest_bus(PAGE) + offsets[i], 5 * 512, 4096);

		/* And out again, misaligned for the disk as it is. */
		command.opcode = NVME_IO_WRITE;
		command.cdw10 = le32_of(1000);
		assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
		read_image(g->path, 1000 * 512, data, sizeof(data));
		assert_int_equal(load_le64(data), pattern(5 * 512));
		assert_int_equal(load_le64(data + 4088), pattern(5 * 512 + 4088));
	}
}

static void many_misaligned_transfers_at_once_all_complete(void **state)
{
	struct guest *g = *state;

	/* 24 MiB of buffers that have to be copied, more than is allowed at a time. */
	for (unsigned i = 0; i < 24; i++) {
		struct nvme_command command = guest_rw(g, NVME_IO_READ, i * 8, 2040, PAGE);
		/* A list of its own, for 255 pages and the rest of the first one's. */
		unsigned list = READ_PAGE + i;

		for (unsigned p = 0; p < 256; p++)
			store_le64(guest_page(g, list) + 8 * p, guest_bus(PAGE + 1 + p));
		command.prp1 = le64_of(guest_bus(PAGE) + 4);
		command.prp2 = le64_of(guest_bus(list));
		guest_put(g, 1, command);
	}
	guest_ring(g, 1);
	for (unsigned i = 0; i < 24; i++) {
		struct nvme_completion completion = guest_wait(g, 1);

		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	}
	assert_true(guest_is_quiet(g));
}

static void prp_lists_may_begin_late_in_a_page_and_continue_in_others(void **state)
{
	struct guest *g = *state;
	struct nvme_command command = guest_rw(g, NVME_IO_READ, 0, 2048, PAGE);
	unsigned entry = 510, list = READ_PAGE, page = PAGE + 1;

	command.prp2 = le64_of(guest_bus(list) + entry * 8);
	while (page < PAGE + 256) {
		uint64_t value = guest_bus(page);

		if (entry == 511 && page < PAGE + 255) {
			value = guest_bus(++list);
			store_le64(guest_page(g, list - 1) + entry * 8, value);
			entry = 0;
			continue;
		}
		store_le64(guest_page(g, list) + entry++ * 8, value);
		page++;
	}
	assert_int_equal(list, READ_PAGE + 1);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(PAGE), 0, MIB);

	/* The list has one entry more, and is full: it ends without another page. */
	store_le64(guest_page(g, READ_PAGE) + 511 * 8, guest_bus(READ_PAGE + 1) + 8);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_PRP_OFFSET_INVALID);
	guest_unmap(g, READ_PAGE + 1);
	store_le64(guest_page(g, READ_PAGE) + 511 * 8, guest_bus(READ_PAGE + 1));
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_DATA_TRANSFER_ERROR);
}

static void misaligned_prps_are_refused(void **state)
{
	struct guest *g = *state;
	struct nvme_command command = guest_rw(g, NVME_IO_READ, 0, 8, PAGE);

	command.prp1 = le64_of(guest_bus(PAGE) + 2);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_PRP_OFFSET_INVALID);
	command = guest_rw(g, NVME_IO_READ, 0, 16, PAGE);
	command.prp2 = le64_of(guest_bus(PAGE + 1) + 8);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_PRP_OFFSET_INVALID);
	command = guest_rw(g, NVME_IO_READ, 0, 24, PAGE);
	command.prp2 = le64_of(le64_get(command.prp2) + 4);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_PRP_OFFSET_INVALID);
	command = guest_rw(g, NVME_IO_READ, 0, 24, PAGE);
	store_le64(guest_page(g, (unsigned)((le64_get(command.prp2) - GUEST_BUS) / PAGE_SIZE)),
		   guest_bus(PAGE + 1) + 512);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_PRP_OFFSET_INVALID);
}

/* --- SGLs ------------------------------------------------------------------------------- */

static struct nvme_sgl_descriptor sgl(unsigned kind, uint64_t bus, uint32_t length)
{
	return (struct nvme_sgl_descriptor){
		.address = le64_of(bus),
		.length = le32_of(length),
		.type = (uint8_t)(kind << 4),
	};
}

static void put_sgl(struct guest *g, unsigned page, unsigned index, struct nvme_sgl_descriptor d)
{
	guest_store(g, guest_bus(page) + index * sizeof(d), &d, sizeof(d));
}

static uint16_t rw_sgl(struct guest *g, uint8_t opcode, uint64_t slba, uint32_t blocks,
		       struct nvme_sgl_descriptor first)
{
	struct nvme_command command = guest_rw(g, opcode, slba, blocks, PAGE);

	command.flags = NVME_PSDT_SGL_MPTR_BUFFER << 6;
	command.sgl = first;
	return guest_execute(g, 1, command, NULL);
}

static void one_sgl_data_block_is_enough(void **state)
{
	struct guest *g = *state;

	assert_int_equal(rw_sgl(g, NVME_IO_READ, 9, 8,
				sgl(NVME_SGL_DATA_BLOCK, guest_bus(PAGE) + 16, 4096)),
			 NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(PAGE) + 16, 9 * 512, 4096);
	/* Longer than the data. */
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 10, 1,
				sgl(NVME_SGL_DATA_BLOCK, guest_bus(PAGE), 4096)),
			 NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(PAGE), 10 * 512, 512);
	assert_int_equal(guest_page(g, PAGE)[512 + 16], (uint8_t)pattern(9 * 512 + 512));
}

static void sgl_segments_are_walked(void **state)
{
	struct guest *g = *state;
	uint64_t bus = guest_bus(PAGE);

	/* 4096 bytes as 1000 + 0 + 1096 | 1000 + 1000, apart from each other. */
	put_sgl(g, READ_PAGE, 0, sgl(NVME_SGL_DATA_BLOCK, bus, 1000));
	put_sgl(g, READ_PAGE, 1, sgl(NVME_SGL_DATA_BLOCK, 0, 0));
	put_sgl(g, READ_PAGE, 2, sgl(NVME_SGL_DATA_BLOCK, bus + 2000, 1096));
	put_sgl(g, READ_PAGE, 3, sgl(NVME_SGL_LAST_SEGMENT, guest_bus(READ_PAGE + 1), 32));
	put_sgl(g, READ_PAGE + 1, 0, sgl(NVME_SGL_DATA_BLOCK, bus + 4000, 1000));
	put_sgl(g, READ_PAGE + 1, 1, sgl(NVME_SGL_DATA_BLOCK, bus + 6000, 1000));
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 8, 8,
				sgl(NVME_SGL_SEGMENT, guest_bus(READ_PAGE), 64)),
			 NVME_STATUS_SUCCESS);
	assert_pattern(g, bus, 4096, 1000);
	assert_pattern(g, bus + 2000, 4096 + 1000, 1096);
	assert_pattern(g, bus + 4000, 4096 + 2096, 1000);
	assert_pattern(g, bus + 6000, 4096 + 3096, 1000);

	assert_int_equal(rw_sgl(g, NVME_IO_WRITE, 2000, 8,
				sgl(NVME_SGL_SEGMENT, guest_bus(READ_PAGE), 64)),
			 NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_READ, 2000, 8, PAGE + 100), NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(PAGE + 100), 4096, 4096);
}

static void bad_sgls_are_refused(void **state)
{
	struct guest *g = *state;
	uint64_t list = guest_bus(READ_PAGE), bus = guest_bus(PAGE);
	struct nvme_sgl_descriptor d;

	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_DATA_BLOCK, bus, 4095)),
			 NVME_STATUS_SGL_LENGTH_INVALID);
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_BIT_BUCKET, bus, 4096)),
			 NVME_STATUS_SGL_TYPE_INVALID);
	d = sgl(NVME_SGL_DATA_BLOCK, bus, 4096);
	d.type |= 1;
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, d), NVME_STATUS_SGL_TYPE_INVALID);
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_SEGMENT, list, 0)),
			 NVME_STATUS_SGL_SEGMENT_INVALID);
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_SEGMENT, list, 20)),
			 NVME_STATUS_SGL_SEGMENT_INVALID);
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_SEGMENT, list, 0xfffffff0)),
			 NVME_STATUS_SGL_COUNT_INVALID);

	/* A segment that does not lead on, and a last one that does. */
	put_sgl(g, READ_PAGE, 0, sgl(NVME_SGL_DATA_BLOCK, bus, 4096));
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_SEGMENT, list, 16)),
			 NVME_STATUS_SGL_SEGMENT_INVALID);
	put_sgl(g, READ_PAGE, 0, sgl(NVME_SGL_LAST_SEGMENT, list, 16));
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_LAST_SEGMENT, list, 16)),
			 NVME_STATUS_SGL_SEGMENT_INVALID);
	put_sgl(g, READ_PAGE, 0, sgl(NVME_SGL_SEGMENT, list, 32));
	put_sgl(g, READ_PAGE, 1, sgl(NVME_SGL_SEGMENT, list, 32));
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_SEGMENT, list, 32)),
			 NVME_STATUS_SGL_SEGMENT_INVALID);
	guest_unmap(g, READ_PAGE);
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8, sgl(NVME_SGL_LAST_SEGMENT, list, 16)),
			 NVME_STATUS_DATA_TRANSFER_ERROR);
}

static void an_sgl_that_leads_to_itself_ends(void **state)
{
	struct guest *g = *state;

	put_sgl(g, READ_PAGE, 0, sgl(NVME_SGL_SEGMENT, guest_bus(READ_PAGE), 16));
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8,
				sgl(NVME_SGL_SEGMENT, guest_bus(READ_PAGE), 16)),
			 NVME_STATUS_SGL_COUNT_INVALID);
}

static void an_sgl_of_too_many_pieces_is_refused(void **state)
{
	struct guest *g = *state;

	for (unsigned i = 0; i < 600; i++)
		put_sgl(g, READ_PAGE, i, sgl(NVME_SGL_DATA_BLOCK, guest_bus(PAGE) + i * 16, 8));
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 9,
				sgl(NVME_SGL_LAST_SEGMENT, guest_bus(READ_PAGE), 600 * 16)),
			 NVME_STATUS_SGL_COUNT_INVALID);
	/* 512 of them are not too many. */
	assert_int_equal(rw_sgl(g, NVME_IO_READ, 0, 8,
				sgl(NVME_SGL_LAST_SEGMENT, guest_bus(READ_PAGE), 600 * 16)),
			 NVME_STATUS_SUCCESS);
}

/* --- compare ------------------------------------------------------------------------------ */

static void compare_tells_equal_from_different(void **state)
{
	struct guest *g = *state;

	assert_int_equal(rw(g, NVME_IO_READ, 1, 300, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_COMPARE, 1, 300, PAGE), NVME_STATUS_SUCCESS);
	/* The last byte is another: found in the last of several chunks. */
	guest_page(g, PAGE + 37)[300 * 512 % 4096 - 1] ^= 1;
	assert_int_equal(rw(g, NVME_IO_COMPARE, 1, 300, PAGE), NVME_STATUS_COMPARE_FAILURE);
	assert_int_equal(rw(g, NVME_IO_COMPARE, 1, 299, PAGE), NVME_STATUS_SUCCESS);
	guest_page(g, PAGE)[0] ^= 1;
	assert_int_equal(rw(g, NVME_IO_COMPARE, 1, 1, PAGE), NVME_STATUS_COMPARE_FAILURE);
	assert_true(guest_is_quiet(g));
}

/* --- write zeroes, dataset management ------------------------------------------------------- */

static void write_zeroes_zeroes_exactly_the_range(void **state)
{
	static const uint32_t flags[] = { 0, NVME_RW_DEALLOCATE, NVME_RW_FUA,
					  NVME_RW_DEALLOCATE | NVME_RW_FUA };
	struct guest *g = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		uint32_t slba = 1001 + 5000 * i;
		struct nvme_command command = guest_rw(g, NVME_IO_WRITE_ZEROES, slba, 4500, PAGE);

		command.cdw12 = le32_of(4499 | flags[i]);
		assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
		assert_image_is_zero(g->path, slba * 512, 4500 * 512);
		assert_int_equal(rw(g, NVME_IO_READ, slba - 1, 1, PAGE), 0);
		assert_pattern(g, guest_bus(PAGE), (slba - 1) * 512, 512);
		assert_int_equal(rw(g, NVME_IO_READ, slba + 4500, 1, PAGE), 0);
		assert_pattern(g, guest_bus(PAGE), (slba + 4500) * 512, 512);
	}
	assert_int_equal(rw(g, NVME_IO_WRITE_ZEROES, BLOCKS - 1, 2, PAGE), NVME_STATUS_LBA_RANGE);
}

static struct nvme_command dsm(unsigned count, uint32_t attributes)
{
	struct nvme_command command = guest_admin(NVME_IO_DSM, count - 1, attributes,
						  guest_bus(PAGE));

	command.nsid = le32_of(1);
	return command;
}

static void put_range(struct guest *g, unsigned index, uint64_t slba, uint32_t blocks)
{
	struct nvme_dsm_range range = { .length = le32_of(blocks), .slba = le64_of(slba) };

	guest_store(g, guest_bus(PAGE) + index * sizeof(range), &range, sizeof(range));
}

static uint64_t allocated(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void deallocate_gives_space_back(void **state)
{
	struct guest *g = *state;
	uint64_t before;

	sync();
	before = allocated(g->path);
	put_range(g, 0, 0, 4096);
	put_range(g, 1, 100, 0);
	put_range(g, 2, 8192, 8192);
	assert_int_equal(guest_execute(g, 1, dsm(3, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_SUCCESS);
	assert_image_is_zero(g->path, 0, 4096 * 512);
	assert_image_is_zero(g->path, 8192 * 512, 8192 * 512);
	assert_true(allocated(g->path) + 12288 * 512 <= before);
	assert_int_equal(rw(g, NVME_IO_READ, 4096, 1, PAGE), 0);
	assert_pattern(g, guest_bus(PAGE), 4096 * 512, 512);
}

static void deallocate_of_256_ranges_works(void **state)
{
	struct guest *g = *state;

	for (unsigned i = 0; i < 256; i++)
		put_range(g, i, i * 16, 8);
	assert_int_equal(guest_execute(g, 1, dsm(256, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_SUCCESS);
	for (unsigned i = 0; i < 256; i += 85) {
		assert_image_is_zero(g->path, i * 8192, 4096);
		assert_int_equal(rw(g, NVME_IO_READ, i * 16 + 8, 8, READ_PAGE), 0);
		assert_pattern(g, guest_bus(READ_PAGE), i * 8192 + 4096, 4096);
	}
}

static void deallocate_checks_all_ranges_before_the_first(void **state)
{
	struct guest *g = *state;

	put_range(g, 0, BLOCKS, 1);
	put_range(g, 1, 0, 8);
	assert_int_equal(guest_execute(g, 1, dsm(2, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_LBA_RANGE);
	put_range(g, 0, 8, UINT32_MAX);
	assert_int_equal(guest_execute(g, 1, dsm(2, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_LBA_RANGE);
	put_range(g, 0, UINT64_MAX, 1);
	assert_int_equal(guest_execute(g, 1, dsm(2, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 8, READ_PAGE), 0);
	assert_pattern(g, guest_bus(READ_PAGE), 0, 4096);
	/* Without "deallocate" it is a hint, and nothing happens. */
	assert_int_equal(guest_execute(g, 1, dsm(2, 0x3), NULL), NVME_STATUS_SUCCESS);
	guest_unmap(g, PAGE);
	assert_int_equal(guest_execute(g, 1, dsm(2, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_DATA_TRANSFER_ERROR);
}

/* --- queues with data -------------------------------------------------------------------------- */

static void more_commands_than_requests_all_complete_once(void **state)
{
	enum { ENTRIES = 1024, COMMANDS = ENTRIES - 1 };
	struct guest *g = *state;
	static bool seen[65536];
	uint16_t first = g->next_cid;

	memset(seen, 0, sizeof(seen));
	g->queues[2] = (struct guest_queue){
		.sq_size = ENTRIES,
		.cq_size = ENTRIES,
		.phase = true,
		.sq_bus = guest_bus(READ_PAGE),
		.cq_bus = guest_bus(READ_PAGE + 16),
	};
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, ENTRIES, 2, guest_bus(READ_PAGE + 16)),
				       NULL), 0);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, ENTRIES, 2, guest_bus(READ_PAGE)),
				       NULL), 0);
	first = g->next_cid;
	for (unsigned i = 0; i < COMMANDS; i++)
		guest_put(g, 2, guest_rw(g, NVME_IO_READ, i * 8, 8, PAGE + i));
	guest_ring(g, 2);
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct nvme_completion completion = guest_wait(g, 2);
		uint16_t cid = le16_get(completion.cid);

		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		assert_in_range((uint16_t)(cid - first), 0, COMMANDS - 1);
		assert_false(seen[cid]);
		seen[cid] = true;
	}
	assert_pattern(g, guest_bus(PAGE), 0, COMMANDS * 4096);
}

static void completions_wait_for_room_in_the_queue(void **state)
{
	enum { CQ_ENTRIES = 4, COMMANDS = 40 };
	struct guest *g = *state;
	struct nvme_completion completion;

	g->queues[2] = (struct guest_queue){
		.sq_size = GUEST_ENTRIES,
		.cq_size = CQ_ENTRIES,
		.phase = true,
		.sq_bus = guest_bus(READ_PAGE),
		.cq_bus = guest_bus(READ_PAGE + 4),
	};
	assert_int_equal(guest_execute(g, 0, guest_create_cq(2, CQ_ENTRIES, 2,
							     guest_bus(READ_PAGE + 4)), NULL), 0);
	assert_int_equal(guest_execute(g, 0, guest_create_sq(2, GUEST_ENTRIES, 2,
							     guest_bus(READ_PAGE)), NULL), 0);
	for (unsigned i = 0; i < COMMANDS; i++)
		guest_put(g, 2, guest_rw(g, NVME_IO_READ, i, 1, PAGE + i));
	guest_ring(g, 2);
	/* An entry that the guest has not taken is never written over. */
	while (guest_interrupts(g, 2) == 0)
		usleep(10);
	usleep(1000);
	for (unsigned i = 0; i < COMMANDS; i++) {
		completion = guest_wait(g, 2);
		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	}
	assert_false(guest_peek(g, 2, &completion));
}

static void several_submission_queues_share_a_completion_queue(void **state)
{
	struct guest *g = *state;
	unsigned from[5] = { 0 };

	for (unsigned id = 2; id <= 4; id++) {
		g->queues[id] = (struct guest_queue){
			.sq_size = GUEST_ENTRIES,
			.sq_bus = guest_bus(READ_PAGE + id),
		};
		assert_int_equal(guest_execute(g, 0, guest_create_sq(id, GUEST_ENTRIES, 1,
								     guest_bus(READ_PAGE + id)),
					       NULL), 0);
	}
	for (unsigned i = 0; i < 15; i++) {
		for (unsigned id = 1; id <= 4; id++)
			guest_put(g, id, guest_rw(g, NVME_IO_READ, i, 1, PAGE + 4 * i + id));
	}
	for (unsigned id = 1; id <= 4; id++)
		guest_ring(g, id);
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_completion completion = guest_wait(g, 1);

		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		from[le16_get(completion.sq_id)]++;
	}
	for (unsigned id = 1; id <= 4; id++)
		assert_int_equal(from[id], 15);
	assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_DELETE_SQ, 3, 0, 0), NULL), 0);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 1, PAGE), NVME_STATUS_SUCCESS);
}

static void deleting_a_queue_waits_for_its_commands(void **state)
{
	struct guest *g = *state;
	unsigned completed = 0;
	struct nvme_completion completion;

	for (unsigned i = 0; i < 60; i++) {
		struct nvme_command command = guest_rw(g, NVME_IO_WRITE, i * 64, 64, PAGE);

		command.cdw12 = le32_of(63 | NVME_RW_FUA);
		guest_put(g, 1, command);
	}
	guest_ring(g, 1);
	guest_submit(g, 0, guest_admin(NVME_ADMIN_DELETE_SQ, 1, 0, 0));
	completion = guest_wait(g, 0);
	assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	/* All completions that will ever come are there. */
	assert_true(guest_is_quiet(g));
	while (guest_poll(g, 1, &completion)) {
		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		completed++;
	}
	assert_int_equal(completed, 60);
	assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_DELETE_CQ, 1, 0, 0), NULL), 0);
}

/*
 * The kernel runs a few flushes at a time, and the others wait: one of those can be
 * aborted. Whether it was still waiting is the kernel's business; that the answer of
 * the abort and the end of the command agree is ours.
 */
static bool abort_last_of_many_flushes(struct guest *g)
{
	struct nvme_completion completion;
	uint16_t cid = 0, status = 0xffff;
	uint32_t not_aborted;

	for (unsigned i = 0; i < 8; i++)
		guest_put(g, 1, guest_rw(g, NVME_IO_WRITE, i * 2048, 2048, PAGE));
	for (unsigned i = 0; i < 50; i++)
		cid = guest_put(g, 1, guest_rw(g, NVME_IO_FLUSH, 0, 1, PAGE));
	guest_ring(g, 1);
	assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_ABORT,
							 (uint32_t)cid << 16 | 1, 0, 0),
				       &not_aborted),
			 NVME_STATUS_SUCCESS);
	for (unsigned i = 0; i < 58; i++) {
		completion = guest_wait(g, 1);
		if (le16_get(completion.cid) == cid)
			status = guest_status(&completion);
		else
			assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
	}
	assert_int_equal(status, not_aborted ? NVME_STATUS_SUCCESS : NVME_STATUS_ABORT_REQUESTED);
	return !not_aborted;
}

static void a_command_that_the_host_has_not_begun_can_be_aborted(void **state)
{
	bool aborted = false;

	for (unsigned round = 0; round < 50 && !aborted; round++)
		aborted = abort_last_of_many_flushes(*state);
	assert_true(aborted);
}

/* Both aborts are executed before the queue is looked at again. */
static bool abort_twice(struct guest *g)
{
	struct nvme_completion completion;
	uint16_t cid = 0, status = 0xffff;
	bool aborted = false;

	for (unsigned i = 0; i < 8; i++)
		guest_put(g, 1, guest_rw(g, NVME_IO_WRITE, i * 2048, 2048, PAGE));
	for (unsigned i = 0; i < 50; i++)
		cid = guest_put(g, 1, guest_rw(g, NVME_IO_FLUSH, 0, 1, PAGE));
	guest_ring(g, 1);
	for (unsigned i = 0; i < 2; i++)
		guest_put(g, 0, guest_admin(NVME_ADMIN_ABORT, (uint32_t)cid << 16 | 1, 0, 0));
	guest_ring(g, 0);
	for (unsigned i = 0; i < 2; i++) {
		completion = guest_wait(g, 0);
		assert_int_equal(guest_status(&completion), NVME_STATUS_SUCCESS);
		aborted |= !le32_get(completion.result);
	}
	for (unsigned i = 0; i < 58; i++) {
		completion = guest_wait(g, 1);
		if (le16_get(completion.cid) == cid)
			status = guest_status(&completion);
	}
	assert_int_equal(status, aborted ? NVME_STATUS_ABORT_REQUESTED : NVME_STATUS_SUCCESS);
	return aborted;
}

static void a_command_that_was_aborted_twice_stays_aborted(void **state)
{
	bool aborted = false;

	for (unsigned round = 0; round < 50 && !aborted; round++)
		aborted = abort_twice(*state);
	assert_true(aborted);
}

static void put_slow_writes(struct guest *g)
{
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_command command = guest_rw(g, i % 2 ? NVME_IO_WRITE : NVME_IO_READ,
						       i * 256, 256, PAGE + 32 * i);

		command.cdw12 = le32_of(255 | NVME_RW_FUA);
		guest_put(g, 1, command);
	}
	guest_ring(g, 1);
}

static void nothing_happens_after_a_reset_with_commands_in_flight(void **state)
{
	struct guest *g = *state;

	for (unsigned round = 0; round < 10; round++) {
		unsigned interrupts;
		uint64_t written;

		put_slow_writes(g);
		if (round % 2)
			guest_reset_function(g);
		else
			guest_disable(g);
		assert_true(guest_is_quiet(g));
		interrupts = guest_interrupts(g, 1);
		written = guest_written_bytes(g);
		usleep(2000);
		assert_int_equal(guest_interrupts(g, 1), interrupts);
		assert_int_equal(guest_written_bytes(g), written);
		guest_start(g);
		assert_int_equal(rw(g, NVME_IO_READ, 1, 1, PAGE), NVME_STATUS_SUCCESS);
	}
}

static void a_controller_that_has_come_to_rest_has_nothing_in_flight(void **state)
{
	struct guest *g = *state;

	for (unsigned round = 0; round < 5; round++) {
		unsigned attempts = 0;

		put_slow_writes(g);
		while (!pci_function_quiesce(g->function)) {
			assert_true(attempts++ < 10000);
			usleep(1000);
		}
		assert_true(guest_is_quiet(g));
		assert_int_equal(guest_read_register(g, NVME_REG_CSTS, 4) & NVME_CSTS_RDY, 0);
		guest_reset_function(g);
		guest_start(g);
		assert_int_equal(rw(g, NVME_IO_READ, 1, 1, PAGE), NVME_STATUS_SUCCESS);
	}
}

static void a_device_with_commands_in_flight_can_be_removed(void **state)
{
	struct guest *g = guest_new(SIZE, "");

	write_image(g->path, SIZE);
	guest_start(g);
	put_slow_writes(g);
	guest_free(g);
}

static void enabling_at_once_after_disabling_waits_for_commands_in_flight(void **state)
{
	struct guest *g = *state;

	for (unsigned round = 0; round < 10; round++) {
		put_slow_writes(g);
		guest_write_register(g, NVME_REG_CC, 4, 0);
		guest_enable(g);
		/* RDY may still have been the old one: nothing of queue 1 is left. */
		guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_RDY, NVME_CSTS_RDY);
		guest_disable(g);
		guest_start(g);
	}
	assert_int_equal(rw(g, NVME_IO_READ, 1, 1, PAGE), NVME_STATUS_SUCCESS);
}

/* --- read-only ------------------------------------------------------------------------------------ */

static void a_readonly_device_refuses_to_change_anything(void **state)
{
	struct guest *g = *state;

	assert_int_equal(rw(g, NVME_IO_READ, 0, 8, READ_PAGE), NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(READ_PAGE), 0, 4096);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 8, PAGE), NVME_STATUS_WRITE_PROTECTED);
	assert_int_equal(rw(g, NVME_IO_WRITE_ZEROES, 0, 8, PAGE), NVME_STATUS_WRITE_PROTECTED);
	put_range(g, 0, 0, 8);
	assert_int_equal(guest_execute(g, 1, dsm(1, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_WRITE_PROTECTED);
	assert_int_equal(rw(g, NVME_IO_FLUSH, 0, 1, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 8, READ_PAGE), NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(READ_PAGE), 0, 4096);
}

/* --- what the host fails --------------------------------------------------------------------------- */

static void get_error_log(struct guest *g, struct nvme_error_entry *entry)
{
	struct nvme_command command = guest_admin(NVME_ADMIN_GET_LOG_PAGE,
						  15u << 16 | NVME_LOG_ERROR, 0,
						  guest_bus(READ_PAGE));

	command.nsid = le32_of(NVME_NSID_ALL);
	assert_int_equal(guest_execute(g, 0, command, NULL), NVME_STATUS_SUCCESS);
	guest_load(g, guest_bus(READ_PAGE), entry, sizeof(*entry));
}

static void a_file_that_was_cut_is_a_read_error(void **state)
{
	struct guest *g = *state;
	struct nvme_error_entry entry;

	assert_int_equal(truncate(g->path, 4096), 0);
	assert_int_equal(rw(g, NVME_IO_READ, 0, 8, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_READ, 8, 8, PAGE), NVME_STATUS_READ_ERROR);
	/* In part there: no less an error. */
	assert_int_equal(rw(g, NVME_IO_READ, 4, 8, PAGE), NVME_STATUS_READ_ERROR);
	assert_int_equal(rw(g, NVME_IO_COMPARE, 8, 8, PAGE), NVME_STATUS_READ_ERROR);
	get_error_log(g, &entry);
	assert_int_equal(le64_get(entry.count), 3);
	assert_int_equal(le64_get(entry.lba), 8);
	assert_int_equal(le16_get(entry.sqid), 1);
	assert_int_equal(le16_get(entry.status) >> 1 & 0x7ff, NVME_STATUS_READ_ERROR);
}

static void a_file_size_limit_is_capacity_exceeded(void **state)
{
	struct guest *g = *state;
	struct rlimit old, limit;

	/* As for a disk quota: the file may not grow past 1 MiB. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){ MIB, old.rlim_max };
	assert_int_equal(truncate(g->path, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 8, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_WRITE, 2048, 8, PAGE), NVME_STATUS_CAPACITY_EXCEEDED);
	/* The device goes on. */
	assert_int_equal(rw(g, NVME_IO_WRITE, 8, 8, PAGE), NVME_STATUS_SUCCESS);
	setrlimit(RLIMIT_FSIZE, &old);
}

static void a_full_disk_is_capacity_exceeded_and_the_device_goes_on(void **state)
{
	char directory[] = "/tmp/zvisor-full-XXXXXX", text[128];
	struct guest *g;
	unsigned failed = 0;
	int fd;

	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(directory));
	if (mount("none", directory, "tmpfs", 0, "size=1m")) {
		rmdir(directory);
		skip();
	}
	snprintf(text, sizeof(text), "%s/image", directory);
	fd = open(text, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	close(fd);
	snprintf(text, sizeof(text), "nvme,file=%s/image", directory);
	g = guest_new_device(text);
	guest_start(g);
	for (unsigned i = 0; i < 8; i++) {
		uint16_t status = rw(g, NVME_IO_WRITE, i * 1024, 1024, PAGE);

		if (status) {
			assert_int_equal(status, NVME_STATUS_CAPACITY_EXCEEDED);
			failed++;
		}
	}
	assert_in_range(failed, 6, 8);
	/* Zeroing where there is no room has to fail as well, if it cannot be done. */
	assert_int_equal(rw(g, NVME_IO_READ, 7 * 1024, 1024, PAGE), NVME_STATUS_SUCCESS);
	put_range(g, 0, 0, 8192);
	assert_int_equal(guest_execute(g, 1, dsm(1, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_WRITE, 7 * 1024, 512, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_FLUSH, 0, 1, PAGE), NVME_STATUS_SUCCESS);
	guest_free(g);
	assert_int_equal(umount(directory), 0);
	rmdir(directory);
}

/* --- durability -------------------------------------------------------------------------------------- */

/*
 * A loop device has a cache of its own, separate from that of the file behind it:
 * what is in the file has gone through a flush. Makes one, or skips the test.
 */
struct loop {
	char file[64], device[64];
	struct guest *guest;
};

static bool run(const char *format, const char *a, const char *b)
{
	char command[256];

	snprintf(command, sizeof(command), format, a, b);
	return system(command) == 0;
}

static struct loop make_loop(const char *properties)
{
	struct loop loop = { .file = "/var/tmp/zvisor-loop-XXXXXX" };
	char text[160];
	FILE *pipe;
	int fd;

	if (geteuid() != 0)
		skip();
	fd = mkstemp(loop.file);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	close(fd);
	snprintf(text, sizeof(text), "losetup --show -f %s 2>/dev/null", loop.file);
	pipe = popen(text, "r");
	if (!pipe || !fgets(loop.device, sizeof(loop.device), pipe) ||
	    strncmp(loop.device, "/dev/loop", 9)) {
		if (pipe)
			pclose(pipe);
		unlink(loop.file);
		skip();
	}
	pclose(pipe);
	loop.device[strcspn(loop.device, "\n")] = '\0';
	snprintf(text, sizeof(text), "nvme,file=%s%s", loop.device, properties);
	loop.guest = guest_new_device(text);
	guest_start(loop.guest);
	return loop;
}

static void end_loop(struct loop *loop)
{
	guest_free(loop->guest);
	run("losetup -d %s%s", loop->device, "");
	unlink(loop->file);
}

static bool has_pattern(const char *path, uint64_t offset, size_t size)
{
	uint8_t *data = malloc(size), *expected = malloc(size);
	bool equal;

	read_image(path, offset, data, size);
	fill(expected, offset, size);
	equal = !memcmp(data, expected, size);
	free(expected);
	free(data);
	return equal;
}

static void put_pattern(struct guest *g, unsigned page, uint64_t offset, size_t size)
{
	uint8_t *data = malloc(size);

	fill(data, offset, size);
	guest_store(g, guest_bus(page), data, size);
	free(data);
}

static void a_completed_flush_has_reached_the_disk(void **state)
{
	struct loop loop = make_loop(",direct=off");
	struct guest *g = loop.guest;

	put_pattern(g, PAGE, 0, 512 * 512);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 512, PAGE), NVME_STATUS_SUCCESS);
	/* Otherwise this test would not show anything. */
	assert_false(has_pattern(loop.file, 0, 512 * 512));
	assert_int_equal(rw(g, NVME_IO_FLUSH, 0, 1, PAGE), NVME_STATUS_SUCCESS);
	assert_true(has_pattern(loop.file, 0, 512 * 512));
	end_loop(&loop);
}

static void a_flush_of_all_namespaces_is_one_too(void **state)
{
	struct loop loop = make_loop(",direct=off");
	struct guest *g = loop.guest;
	struct nvme_command command = guest_rw(g, NVME_IO_FLUSH, 0, 1, PAGE);

	put_pattern(g, PAGE, 0, 4096);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 8, PAGE), NVME_STATUS_SUCCESS);
	command.nsid = le32_of(NVME_NSID_ALL);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
	assert_true(has_pattern(loop.file, 0, 4096));
	end_loop(&loop);
}

static void a_completed_fua_write_has_reached_the_disk(void **state)
{
	struct loop loop = make_loop(",direct=off");
	struct guest *g = loop.guest;
	struct nvme_command command;

	put_pattern(g, PAGE, 0, 512 * 512);
	command = guest_rw(g, NVME_IO_WRITE, 0, 512, PAGE);
	command.cdw12 = le32_of(511 | NVME_RW_FUA);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
	assert_true(has_pattern(loop.file, 0, 512 * 512));
	/* Zeroes as well. */
	command = guest_rw(g, NVME_IO_WRITE_ZEROES, 0, 512, PAGE);
	command.cdw12 = le32_of(511 | NVME_RW_FUA);
	assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_SUCCESS);
	assert_image_is_zero(loop.file, 0, 512 * 512);
	end_loop(&loop);
}

static void without_write_cache_every_write_reaches_the_disk(void **state)
{
	struct loop loop = make_loop(",direct=off");
	struct guest *g = loop.guest;

	put_pattern(g, PAGE, 0, 4096);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 8, PAGE), NVME_STATUS_SUCCESS);
	assert_false(has_pattern(loop.file, 0, 4096));
	/* Switching it off writes what is in it. */
	assert_int_equal(guest_execute(g, 0, guest_admin(NVME_ADMIN_SET_FEATURES,
							 NVME_FEATURE_VOLATILE_WRITE_CACHE, 0, 0),
				       NULL),
			 NVME_STATUS_SUCCESS);
	assert_true(has_pattern(loop.file, 0, 4096));
	put_pattern(g, PAGE, 4096, 4096);
	assert_int_equal(rw(g, NVME_IO_WRITE, 8, 8, PAGE), NVME_STATUS_SUCCESS);
	assert_true(has_pattern(loop.file, 4096, 4096));
	end_loop(&loop);
}

static void a_completed_shutdown_has_reached_the_disk(void **state)
{
	struct loop loop = make_loop(",direct=off");
	struct guest *g = loop.guest;

	put_pattern(g, PAGE, 0, 4096);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 8, PAGE), NVME_STATUS_SUCCESS);
	guest_write_register(g, NVME_REG_CC, 4,
			     NVME_CQES << 20 | NVME_SQES << 16 | 1 << 14 | NVME_CC_EN);
	guest_wait_register(g, NVME_REG_CSTS, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
	assert_true(has_pattern(loop.file, 0, 4096));
	end_loop(&loop);
}

static void block_devices_deallocate_and_write_zeroes(void **state)
{
	struct loop loop = make_loop("");
	struct guest *g = loop.guest;

	put_pattern(g, PAGE, 0, MIB);
	assert_int_equal(rw(g, NVME_IO_WRITE, 0, 2048, PAGE), NVME_STATUS_SUCCESS);
	put_range(g, 0, 8, 8);
	assert_int_equal(guest_execute(g, 1, dsm(1, NVME_DSM_DEALLOCATE), NULL),
			 NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_WRITE_ZEROES, 100, 24, PAGE), NVME_STATUS_SUCCESS);
	assert_int_equal(rw(g, NVME_IO_FLUSH, 0, 1, PAGE), NVME_STATUS_SUCCESS);
	assert_image_is_zero(loop.file, 100 * 512, 24 * 512);
	assert_true(has_pattern(loop.file, 99 * 512, 512));
	assert_true(has_pattern(loop.file, 124 * 512, 512));
	end_loop(&loop);
}

#define DIRECT(f) { #f " (direct)", f, setup_direct, teardown, NULL }
#define CACHED(f) { #f " (cached)", f, setup_cached, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIRECT(reads_of_all_sizes_return_the_image),
		CACHED(reads_of_all_sizes_return_the_image),
		DIRECT(the_last_block_is_readable_and_none_after_it),
		DIRECT(writes_reach_the_image),
		CACHED(writes_reach_the_image),
		DIRECT(a_transfer_may_be_as_long_as_announced_and_no_longer),
		DIRECT(other_namespaces_are_refused),
		DIRECT(unknown_commands_are_refused),
		DIRECT(data_off_the_bus_is_a_transfer_error),
		DIRECT(prps_may_begin_anywhere_in_a_page),
		CACHED(prps_may_begin_anywhere_in_a_page),
		DIRECT(many_misaligned_transfers_at_once_all_complete),
		DIRECT(prp_lists_may_begin_late_in_a_page_and_continue_in_others),
		DIRECT(misaligned_prps_are_refused),
		DIRECT(one_sgl_data_block_is_enough),
		DIRECT(sgl_segments_are_walked),
		CACHED(sgl_segments_are_walked),
		DIRECT(bad_sgls_are_refused),
		DIRECT(an_sgl_that_leads_to_itself_ends),
		DIRECT(an_sgl_of_too_many_pieces_is_refused),
		DIRECT(compare_tells_equal_from_different),
		DIRECT(write_zeroes_zeroes_exactly_the_range),
		CACHED(write_zeroes_zeroes_exactly_the_range),
		DIRECT(deallocate_gives_space_back),
		DIRECT(deallocate_of_256_ranges_works),
		DIRECT(deallocate_checks_all_ranges_before_the_first),
		DIRECT(more_commands_than_requests_all_complete_once),
		CACHED(more_commands_than_requests_all_complete_once),
		DIRECT(completions_wait_for_room_in_the_queue),
		CACHED(completions_wait_for_room_in_the_queue),
		DIRECT(several_submission_queues_share_a_completion_queue),
		DIRECT(deleting_a_queue_waits_for_its_commands),
		CACHED(deleting_a_queue_waits_for_its_commands),
		CACHED(a_command_that_the_host_has_not_begun_can_be_aborted),
		CACHED(a_command_that_was_aborted_twice_stays_aborted),
		DIRECT(nothing_happens_after_a_reset_with_commands_in_flight),
		CACHED(nothing_happens_after_a_reset_with_commands_in_flight),
		DIRECT(a_controller_that_has_come_to_rest_has_nothing_in_flight),
		cmocka_unit_test(a_device_with_commands_in_flight_can_be_removed),
		DIRECT(enabling_at_once_after_disabling_waits_for_commands_in_flight),
		{ "a_readonly_device_refuses_to_change_anything",
		  a_readonly_device_refuses_to_change_anything, setup_readonly, teardown, NULL },
		DIRECT(a_file_that_was_cut_is_a_read_error),
		CACHED(a_file_that_was_cut_is_a_read_error),
		CACHED(a_file_size_limit_is_capacity_exceeded),
		DIRECT(a_file_size_limit_is_capacity_exceeded),
		cmocka_unit_test(a_full_disk_is_capacity_exceeded_and_the_device_goes_on),
		cmocka_unit_test(a_completed_flush_has_reached_the_disk),
		cmocka_unit_test(a_flush_of_all_namespaces_is_one_too),
		cmocka_unit_test(a_completed_fua_write_has_reached_the_disk),
		cmocka_unit_test(without_write_cache_every_write_reaches_the_disk),
		cmocka_unit_test(a_completed_shutdown_has_reached_the_disk),
		cmocka_unit_test(block_devices_deallocate_and_write_zeroes),
	};

	return cmocka_run_group_tests_name("nvme io", tests, NULL, NULL);
}
