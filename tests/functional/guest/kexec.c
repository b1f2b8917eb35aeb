/* SPDX-License-Identifier: MIT */
/*
 * Puts another kernel in the place of the running one, from inside a guest.
 *
 *   kexec load KERNEL INITRD COMMAND-LINE	for a later "kexec now"
 *   kexec now					leave for the kernel loaded
 *
 * The kernel is a raw image, whose first byte belongs at absolute 0. Debian's kernels
 * for s390x have no kexec_file_load(2), so where things go is worked out here.
 *
 * Sources: kexec_load(2), reboot(2); Linux arch/s390/boot/head.S and
 * include/asm/setup.h (parameter area).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_SIZE 4096ul

#define KERNEL_AT 0x10000
#define INITRD_AT 0x4000000

/* Where in the image a kernel finds its parameters. */
#define PARAM_INITRD_START 0x10408
#define PARAM_INITRD_SIZE 0x10410
#define PARAM_COMMAND_LINE 0x10480
#define COMMAND_LINE_MAX 896

static int fail(const char *what)
{
	printf("kexec: %s: %s\n", what, strerror(errno));
	return 1;
}

/* A file as memory that may be changed. */
static char *contents(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY);
	struct stat status;
	char *data;

	if (fd < 0 || fstat(fd, &status))
		return NULL;
	*size = (size_t)status.st_size;
	data = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	return data == MAP_FAILED ? NULL : data;
}

static struct kexec_segment segment(const void *data, size_t size, uint64_t at)
{
	return (struct kexec_segment){
		.buf = data,
		.bufsz = size,
		.mem = (void *)at,
		.memsz = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1),
	};
}

static void set_parameter(char *image, size_t at, uint64_t value)
{
	memcpy(image + at, &value, sizeof(value));
}

static int load(const char *kernel, const char *initrd, const char *command_line)
{
	size_t image_size, disk_size;
	char *image = contents(kernel, &image_size);
	char *disk = contents(initrd, &disk_size);
	struct kexec_segment segments[2];

	if (!image)
		return fail(kernel);
	if (!disk)
		return fail(initrd);
	if (strlen(command_line) >= COMMAND_LINE_MAX || image_size > INITRD_AT ||
	    image_size < PARAM_COMMAND_LINE + COMMAND_LINE_MAX) {
		printf("kexec: does not fit\n");
		return 1;
	}
	set_parameter(image, PARAM_INITRD_START, INITRD_AT);
	set_parameter(image, PARAM_INITRD_SIZE, disk_size);
	strcpy(image + PARAM_COMMAND_LINE, command_line);
	segments[0] = segment(image + KERNEL_AT, image_size - KERNEL_AT, KERNEL_AT);
	segments[1] = segment(disk, disk_size, INITRD_AT);
	if (syscall(SYS_kexec_load, KERNEL_AT, 2ul, segments, KEXEC_ARCH_S390))
		return fail("kexec_load");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "load"))
		return load(argv[2], argv[3], argv[4]);
	if (argc == 2 && !strcmp(argv[1], "now")) {
		syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			LINUX_REBOOT_CMD_KEXEC, NULL);
		return fail("reboot");
	}
	printf("kexec: load or now?\n");
	return 2;
}
