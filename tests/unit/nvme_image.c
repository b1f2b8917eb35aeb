/* SPDX-License-Identifier: MIT */
#include "nvme_image.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

uint64_t image_pattern(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ull;
}

void image_fill(uint8_t *to, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i += 8)
		store_le64(to + i, image_pattern(offset + i));
}

void image_write(const char *path, uint64_t size)
{
	uint8_t *data = malloc(size);
	int fd = open(path, O_WRONLY);

	image_fill(data, 0, size);
	assert_int_equal(pwrite(fd, data, size, 0), size);
	close(fd);
	free(data);
}

void image_read(const char *path, uint64_t offset, void *data, size_t size)
{
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, data, size, (off_t)offset), size);
	close(fd);
}

void assert_image_is_zero(const char *path, uint64_t offset, size_t size)
{
	uint8_t *data = malloc(size);

	image_read(path, offset, data, size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(data[i], 0);
	free(data);
}

void assert_pattern(struct guest *g, uint64_t bus, uint64_t offset, size_t size)
{
	uint8_t *memory = malloc(size), *expected = malloc(size);

	guest_load(g, bus, memory, size);
	image_fill(expected, offset, size);
	assert_memory_equal(memory, expected, size);
	free(expected);
	free(memory);
}

static int setup_with(void **state, const char *properties)
{
	struct guest *g = guest_new(IMAGE_SIZE, properties);

	image_write(g->path, IMAGE_SIZE);
	guest_start(g);
	*state = g;
	return 0;
}

int setup_direct(void **state)
{
	return setup_with(state, "");
}

int setup_cached(void **state)
{
	return setup_with(state, ",direct=off");
}

int setup_readonly(void **state)
{
	return setup_with(state, ",readonly=on");
}

int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

uint16_t rw(struct guest *g, uint8_t opcode, uint64_t slba, uint32_t blocks, unsigned page)
{
	return guest_execute(g, 1, guest_rw(g, opcode, slba, blocks, page), NULL);
}

struct nvme_command dsm(unsigned count, uint32_t attributes)
{
	struct nvme_command command =
		guest_admin(NVME_IO_DSM, count - 1, attributes, guest_bus(PAGE));

	command.nsid = le32_of(1);
	return command;
}

void put_range(struct guest *g, unsigned index, uint64_t slba, uint32_t blocks)
{
	struct nvme_dsm_range range = { .length = le32_of(blocks), .slba = le64_of(slba) };

	guest_store(g, guest_bus(PAGE) + index * sizeof(range), &range, sizeof(range));
}
