/* SPDX-License-Identifier: MIT */
/*
 * Loading of kernels, initrds and command lines from files that the tests make,
 * into 64 MiB of memory.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "machine/ipl.h"
#include "machine/memory.h"

#define MEMORY (64 * MIB)
#define KERNEL_SIZE (2 * MIB)
#define COMMAND_LINE_SIZE 4096

struct fixture {
	struct memory memory;
	char directory[64];
	char kernel[128], initrd[128];
	struct ipl_request request;
	struct ipl_entry entry;
	char error[512];
};

static void write_file(const char *name, const void *data, size_t length)
{
	FILE *file = fopen(name, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* A raw image that looks like Linux from outside, with marks at both ends. */
static uint8_t *linux_image(void)
{
	uint8_t *image = calloc(1, KERNEL_SIZE);

	assert_non_null(image);
	memcpy(image + 0x10008, "S390EP", 6);
	store_be64(image + 0x10430, COMMAND_LINE_SIZE);
	strcpy((char *)image + 0x10480, "root=/dev/ram0 ro and a long default behind it");
	image[0x10000] = 0xa7;
	image[KERNEL_SIZE - 1] = 0x5a;
	return image;
}

static void write_linux(struct fixture *f)
{
	uint8_t *image = linux_image();

	write_file(f->kernel, image, KERNEL_SIZE);
	free(image);
}

struct elf_file {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	uint8_t data[64];
};

/* An executable of two segments: 64 bytes at 0x20000 of 128, and nothing at 0x30000. */
static struct elf_file elf_file(void)
{
	struct elf_file elf = { 0 };

	memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
	elf.header.e_ident[EI_CLASS] = ELFCLASS64;
	elf.header.e_ident[EI_DATA] = ELFDATA2MSB;
	elf.header.e_ident[EI_VERSION] = EV_CURRENT;
	store_be16(&elf.header.e_type, ET_EXEC);
	store_be16(&elf.header.e_machine, EM_S390);
	store_be64(&elf.header.e_entry, 0x20010);
	store_be64(&elf.header.e_phoff, offsetof(struct elf_file, segment));
	store_be16(&elf.header.e_phentsize, sizeof(Elf64_Phdr));
	store_be16(&elf.header.e_phnum, 2);
	store_be32(&elf.segment[0].p_type, PT_LOAD);
	store_be64(&elf.segment[0].p_offset, offsetof(struct elf_file, data));
	store_be64(&elf.segment[0].p_filesz, sizeof(elf.data));
	store_be64(&elf.segment[0].p_memsz, 2 * sizeof(elf.data));
	store_be64(&elf.segment[0].p_paddr, 0x20000);
	store_be32(&elf.segment[1].p_type, PT_LOAD);
	store_be64(&elf.segment[1].p_memsz, 0x1000);
	store_be64(&elf.segment[1].p_paddr, 0x30000);
	memset(elf.data, 0xe1, sizeof(elf.data));
	return elf;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->directory, "/tmp/zvisor-ipl-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->kernel, sizeof(f->kernel), "%s/kernel", f->directory);
	snprintf(f->initrd, sizeof(f->initrd), "%s/initrd", f->directory);
	assert_int_equal(memory_create(&f->memory, MEMORY), 0);
	f->request.kernel = f->kernel;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->kernel);
	unlink(f->initrd);
	rmdir(f->directory);
	memory_destroy(&f->memory);
	free(f);
	return 0;
}

static int load(struct fixture *f)
{
	return ipl_load(&f->request, &f->memory, &f->entry, f->error, sizeof(f->error));
}

static void assert_refused(struct fixture *f, int error, const char *option, const char *why)
{
	assert_int_equal(load(f), error);
	assert_non_null(strstr(f->error, option));
	assert_non_null(strstr(f->error, why));
	assert_null(strchr(f->error, '\n'));
}

/* -------------------------------------------------------------------------------- */

static void raw_linux_image_is_entered_at_64k_in_64_bit_mode(void **state)
{
	struct fixture *f = *state;

	write_linux(f);
	assert_int_equal(load(f), 0);
	assert_int_equal(f->entry.psw_addr, 0x10000);
	assert_int_equal(f->entry.psw_mask, 0x0000000180000000);
	assert_int_equal(f->memory.base[0x10000], 0xa7);
	assert_int_equal(f->memory.base[KERNEL_SIZE - 1], 0x5a);
}

static void command_line_replaces_the_default_of_the_image(void **state)
{
	struct fixture *f = *state;

	write_linux(f);
	f->request.append = "quiet";
	assert_int_equal(load(f), 0);
	assert_memory_equal(f->memory.base + 0x10480, "quiet\0\0\0\0", 9);
}

static void absent_command_line_is_an_empty_one(void **state)
{
	struct fixture *f = *state;

	write_linux(f);
	assert_int_equal(load(f), 0);
	assert_int_equal(f->memory.base[0x10480], 0);
}

static void command_line_may_fill_what_the_image_says_but_not_more(void **state)
{
	struct fixture *f = *state;
	char line[COMMAND_LINE_SIZE + 1];

	write_linux(f);
	memset(line, 'x', sizeof(line));
	line[COMMAND_LINE_SIZE - 1] = '\0';
	f->request.append = line;
	assert_int_equal(load(f), 0);
	assert_int_equal(f->memory.base[0x10480 + COMMAND_LINE_SIZE - 2], 'x');
	assert_int_equal(f->memory.base[0x10480 + COMMAND_LINE_SIZE - 1], 0);
	line[COMMAND_LINE_SIZE - 1] = 'x';
	line[COMMAND_LINE_SIZE] = '\0';
	assert_refused(f, -ENOSPC, "--append", "at most 4095");
}

static void old_kernel_takes_895_characters(void **state)
{
	struct fixture *f = *state;
	uint8_t *image = linux_image();
	char line[897];

	store_be64(image + 0x10430, 0);
	write_file(f->kernel, image, KERNEL_SIZE);
	free(image);
	memset(line, 'x', sizeof(line));
	line[895] = '\0';
	f->request.append = line;
	assert_int_equal(load(f), 0);
	line[895] = 'x';
	line[896] = '\0';
	assert_refused(f, -ENOSPC, "--append", "at most 895");
}

static void initrd_lies_behind_the_kernel_and_the_kernel_is_told(void **state)
{
	struct fixture *f = *state;
	uint64_t start, size;

	write_linux(f);
	write_file(f->initrd, "cpio archive", 12);
	f->request.initrd = f->initrd;
	assert_int_equal(load(f), 0);
	start = load_be64(f->memory.base + 0x10408);
	size = load_be64(f->memory.base + 0x10410);
	assert_int_equal(size, 12);
	assert_true(start >= KERNEL_SIZE + MIB);
	assert_int_equal(start % PAGE_SIZE, 0);
	assert_memory_equal(f->memory.base + start, "cpio archive", 12);
}

static void initrd_that_does_not_fit_is_refused(void **state)
{
	struct fixture *f = *state;

	write_linux(f);
	write_file(f->initrd, "x", 1);
	assert_int_equal(truncate(f->initrd, MEMORY - 8 * MIB), 0);
	f->request.initrd = f->initrd;
	assert_int_equal(load(f), 0);
	assert_int_equal(truncate(f->initrd, MEMORY - 8 * MIB + 1), 0);
	assert_refused(f, -ENOSPC, "--initrd", "do not fit");
}

static void initrd_that_is_missing_or_empty_is_refused(void **state)
{
	struct fixture *f = *state;

	write_linux(f);
	f->request.initrd = f->initrd;
	assert_refused(f, -ENOENT, "--initrd", f->initrd);
	write_file(f->initrd, "", 0);
	assert_refused(f, -EINVAL, "--initrd", "empty");
}

static void kernel_that_is_missing_or_a_directory_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, -ENOENT, "--kernel", f->kernel);
	f->request.kernel = f->directory;
	assert_refused(f, -EINVAL, "--kernel", "directory");
}

static void kernel_larger_than_memory_is_refused(void **state)
{
	struct fixture *f = *state;

	write_linux(f);
	assert_int_equal(truncate(f->kernel, MEMORY + 1), 0);
	assert_refused(f, -ENOSPC, "--kernel", "do not fit");
}

static void file_that_is_no_kernel_is_refused(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "#!/bin/sh\necho this is a script, not a kernel\n";
	uint8_t *image = calloc(1, KERNEL_SIZE);

	write_file(f->kernel, text, sizeof(text));
	assert_refused(f, -ENOEXEC, "--kernel", "neither");
	write_file(f->kernel, "", 0);
	assert_refused(f, -ENOEXEC, "--kernel", "neither");
	write_file(f->kernel, image, KERNEL_SIZE);
	assert_refused(f, -ENOEXEC, "--kernel", "neither");
	free(image);
}

static void raw_image_that_is_not_linux_is_entered_at_its_psw(void **state)
{
	struct fixture *f = *state;
	uint8_t image[0x400] = { 0 };

	store_be64(image, 0x0008000080000200);
	write_file(f->kernel, image, sizeof(image));
	assert_int_equal(load(f), 0);
	assert_int_equal(f->entry.psw_addr, 0x200);
	store_be64(image, 0x0008000080000400);
	write_file(f->kernel, image, sizeof(image));
	assert_refused(f, -ENOEXEC, "--kernel", "neither");
}

static void elf_is_loaded_by_its_program_headers(void **state)
{
	struct fixture *f = *state;
	struct elf_file elf = elf_file();

	write_file(f->kernel, &elf, sizeof(elf));
	assert_int_equal(load(f), 0);
	assert_int_equal(f->entry.psw_addr, 0x20010);
	assert_int_equal(f->memory.base[0x20000], 0xe1);
	assert_int_equal(f->memory.base[0x2003f], 0xe1);
	assert_int_equal(f->memory.base[0x20040], 0);
}

static void elf_of_another_machine_is_refused(void **state)
{
	struct fixture *f = *state;
	struct elf_file elf = elf_file();

#ifndef __s390x__
	f->request.kernel = "/proc/self/exe";
	assert_refused(f, -ENOEXEC, "--kernel", "another machine");
	f->request.kernel = f->kernel;
#endif
	store_be16(&elf.header.e_machine, EM_PPC64);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "another machine");
}

static void elf_object_file_is_refused(void **state)
{
	struct fixture *f = *state;
	struct elf_file elf = elf_file();

	store_be16(&elf.header.e_type, ET_REL);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "not an executable");
}

static void elf_with_a_segment_outside_of_memory_is_refused(void **state)
{
	static const uint64_t addresses[] = { MEMORY - 127, MEMORY, UINT64_MAX - 10 };
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++) {
		struct elf_file elf = elf_file();

		store_be64(&elf.segment[0].p_paddr, addresses[i]);
		write_file(f->kernel, &elf, sizeof(elf));
		assert_refused(f, -ENOSPC, "--kernel", "64 MiB");
	}
}

static void elf_with_headers_that_lie_is_refused(void **state)
{
	struct fixture *f = *state;
	struct elf_file elf = elf_file();

	store_be64(&elf.segment[0].p_offset, UINT64_MAX - 8);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "outside of the file");
	elf = elf_file();
	store_be64(&elf.segment[0].p_memsz, 8);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "outside of the file");
	elf = elf_file();
	store_be64(&elf.header.e_phoff, UINT64_MAX - 4);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "program headers");
	elf = elf_file();
	store_be16(&elf.header.e_phnum, UINT16_MAX);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "program headers");
	elf = elf_file();
	write_file(f->kernel, &elf, sizeof(Elf64_Ehdr) - 1);
	assert_refused(f, -ENOEXEC, "--kernel", "");
}

static void elf_with_segments_that_overlap_is_refused(void **state)
{
	struct fixture *f = *state;
	struct elf_file elf = elf_file();

	store_be64(&elf.segment[1].p_paddr, 0x20000 + 127);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_refused(f, -ENOEXEC, "--kernel", "overlap");
	store_be64(&elf.segment[1].p_paddr, 0x20000 + 128);
	write_file(f->kernel, &elf, sizeof(elf));
	assert_int_equal(load(f), 0);
}

static void program_that_is_not_linux_takes_no_command_line_and_no_initrd(void **state)
{
	struct fixture *f = *state;
	struct elf_file elf = elf_file();

	write_file(f->kernel, &elf, sizeof(elf));
	f->request.append = "quiet";
	assert_refused(f, -EINVAL, "--append", "not a Linux kernel");
	f->request.append = NULL;
	f->request.initrd = f->initrd;
	write_file(f->initrd, "x", 1);
	assert_refused(f, -EINVAL, "--initrd", "not a Linux kernel");
}

static void memory_that_was_cleared_reads_as_zeroes(void **state)
{
	struct fixture *f = *state;

	memset(f->memory.base, 0xff, 3 * MIB);
	assert_int_equal(memory_clear(&f->memory), 0);
	for (uint64_t i = 0; i < 3 * MIB; i += 511)
		assert_int_equal(f->memory.base[i], 0);
}

static void memory_copies_never_leave_it(void **state)
{
	struct fixture *f = *state;
	uint8_t buffer[16] = { 1 };

	assert_int_equal(memory_write(&f->memory, MEMORY - 16, buffer, 16), 0);
	assert_int_equal(memory_write(&f->memory, MEMORY - 15, buffer, 16), -EFAULT);
	assert_int_equal(memory_read(&f->memory, MEMORY, buffer, 1), -EFAULT);
	assert_int_equal(memory_read(&f->memory, UINT64_MAX - 3, buffer, 16), -EFAULT);
	assert_null(memory_pointer(&f->memory, 16, UINT64_MAX - 8));
	assert_int_equal(ftruncate(f->memory.fd, 4096), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(raw_linux_image_is_entered_at_64k_in_64_bit_mode),
		TEST(command_line_replaces_the_default_of_the_image),
		TEST(absent_command_line_is_an_empty_one),
		TEST(command_line_may_fill_what_the_image_says_but_not_more),
		TEST(old_kernel_takes_895_characters),
		TEST(initrd_lies_behind_the_kernel_and_the_kernel_is_told),
		TEST(initrd_that_does_not_fit_is_refused),
		TEST(initrd_that_is_missing_or_empty_is_refused),
		TEST(kernel_that_is_missing_or_a_directory_is_refused),
		TEST(kernel_larger_than_memory_is_refused),
		TEST(file_that_is_no_kernel_is_refused),
		TEST(raw_image_that_is_not_linux_is_entered_at_its_psw),
		TEST(elf_is_loaded_by_its_program_headers),
		TEST(elf_of_another_machine_is_refused),
		TEST(elf_object_file_is_refused),
		TEST(elf_with_a_segment_outside_of_memory_is_refused),
		TEST(elf_with_headers_that_lie_is_refused),
		TEST(elf_with_segments_that_overlap_is_refused),
		TEST(program_that_is_not_linux_takes_no_command_line_and_no_initrd),
		TEST(memory_that_was_cleared_reads_as_zeroes),
		TEST(memory_copies_never_leave_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
