/* SPDX-License-Identifier: MIT */
/* What the disk behind the namespace fails, and what has reached it when a command ends. */
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
#include <unistd.h>

#include <cmocka.h>

#include "nvme_image.h"

/* --- what the host fails --------------------------------------------------------------------------- */

static void get_error_log(struct guest *g, struct nvme_error_entry *entry)
{
	struct nvme_command command = guest_admin(
		NVME_ADMIN_GET_LOG_PAGE, 15u << 16 | NVME_LOG_ERROR, 0, guest_bus(READ_PAGE));

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

	image_read(path, offset, data, size);
	image_fill(expected, offset, size);
	equal = !memcmp(data, expected, size);
	free(expected);
	free(data);
	return equal;
}

static void put_pattern(struct guest *g, unsigned page, uint64_t offset, size_t size)
{
	uint8_t *data = malloc(size);

	image_fill(data, offset, size);
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
	assert_int_equal(guest_execute(g, 0,
				       guest_admin(NVME_ADMIN_SET_FEATURES,
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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

	return cmocka_run_group_tests_name("nvme disk", tests, NULL, NULL);
}
