/* SPDX-License-Identifier: MIT */
/* The NVM commands: data, its addresses, and what is done to blocks without any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_image.h"

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

	assert_int_equal(rw(g, NVME_IO_READ, IMAGE_BLOCKS - 1, 1, PAGE), NVME_STATUS_SUCCESS);
	assert_pattern(g, guest_bus(PAGE), IMAGE_SIZE - 512, 512);
	assert_int_equal(rw(g, NVME_IO_READ, IMAGE_BLOCKS, 1, PAGE), NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_READ, IMAGE_BLOCKS - 1, 2, PAGE), NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_READ, UINT64_MAX, 1, PAGE), NVME_STATUS_LBA_RANGE);
	assert_int_equal(rw(g, NVME_IO_WRITE, UINT64_MAX / 512, 8, PAGE), NVME_STATUS_LBA_RANGE);
}

static void writes_reach_the_image(void **state)
{
	struct guest *g = *state;
	uint8_t data[9 * 512], expected[9 * 512];

	image_fill(expected, 77, sizeof(expected));
	guest_store(g, guest_bus(PAGE), expected, sizeof(expected));
	assert_int_equal(rw(g, NVME_IO_WRITE, 100, 9, PAGE), NVME_STATUS_SUCCESS);
	image_read(g->path, 100 * 512, data, sizeof(data));
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
		assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_INVALID_NAMESPACE);
		command.nsid = le32_of(0);
		assert_int_equal(guest_execute(g, 1, command, NULL), NVME_STATUS_INVALID_NAMESPACE);
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
		image_read(g->path, 1000 * 512, data, sizeof(data));
		assert_int_equal(load_le64(data), image_pattern(5 * 512));
		assert_int_equal(load_le64(data + 4088), image_pattern(5 * 512 + 4088));
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
	assert_int_equal(guest_page(g, PAGE)[512 + 16], (uint8_t)image_pattern(9 * 512 + 512));
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
	assert_int_equal(rw(g, NVME_IO_WRITE_ZEROES, IMAGE_BLOCKS - 1, 2, PAGE),
			 NVME_STATUS_LBA_RANGE);
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

	put_range(g, 0, IMAGE_BLOCKS, 1);
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
		{ "a_readonly_device_refuses_to_change_anything",
		  a_readonly_device_refuses_to_change_anything, setup_readonly, teardown, NULL },
	};

	return cmocka_run_group_tests_name("nvme io", tests, NULL, NULL);
}
