/* SPDX-License-Identifier: MIT */
/*
 * Uses a disk from inside a guest, for the functional tests and the benchmark.
 *
 *   disktool reads DEVICE BYTES COUNT [random]   time reads of one size, one at a time
 *   disktool writers DEVICE WRITERS COUNT        concurrent writers, each in its own part
 *   disktool log DEVICE ROUNDS SECTORS           append rounds, say when each is flushed
 *
 * Sectors that it writes say what they are: sector number, round and writer,
 * repeated through the sector. What "writers" leaves on the disk follows from its
 * arguments alone, so the host can work it out; tests/functional/disktool.py does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECTOR_SIZE	512
#define MAX_SECTORS	256	/* of one request: 128 KiB */

struct tag {
	uint64_t sector;
	uint32_t round;
	uint32_t writer;
};

static void fail(const char *what)
{
	printf("disktool: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The generator of the host's side as well: xorshift64. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void *aligned(size_t size)
{
	void *buffer;

	if (posix_memalign(&buffer, 4096, size))
		fail("memory");
	return buffer;
}

static int open_disk(const char *path, int flags, uint64_t *sectors)
{
	uint64_t size;
	int fd = open(path, flags);

	if (fd < 0)
		fail(path);
	if (ioctl(fd, BLKGETSIZE64, &size))
		fail("BLKGETSIZE64");
	*sectors = size / SECTOR_SIZE;
	return fd;
}

static void fill(char *buffer, uint64_t sector, uint32_t count, uint32_t round, uint32_t writer)
{
	struct tag tag = { .round = round, .writer = writer };

	for (uint32_t i = 0; i < count; i++) {
		tag.sector = sector + i;
		for (size_t at = 0; at < SECTOR_SIZE; at += sizeof(tag), buffer += sizeof(tag))
			memcpy(buffer, &tag, sizeof(tag));
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int reads(const char *path, size_t size, uint64_t count, int random)
{
	uint64_t sectors, state = 88172645463325252ULL;
	int fd = open_disk(path, O_RDONLY | O_DIRECT, &sectors);
	uint64_t places = sectors * SECTOR_SIZE / size;
	char *buffer = aligned(size);
	double start;

	if (!places) {
		printf("disktool: the disk is smaller than one read\n");
		return 1;
	}
	start = now();
	for (uint64_t i = 0; i < count; i++) {
		uint64_t place = (random ? next_random(&state) : i) % places;

		if (pread(fd, buffer, size, (off_t)(place * size)) != (ssize_t)size)
			fail("read");
	}
	printf("disktool: %llu reads of %zu bytes in %.6f seconds\n", (unsigned long long)count,
	       size, now() - start);
	return 0;
}

/* One writer: its sectors are those of its own part, its requests of any size. */
static void write_part(const char *path, uint32_t writer, uint32_t writers, uint32_t count)
{
	uint64_t sectors, state = 0x9e3779b97f4a7c15ULL * (writer + 1);
	int fd = open_disk(path, O_RDWR | O_DIRECT, &sectors);
	uint64_t part = sectors / writers, first = part * writer;
	char *buffer = aligned(MAX_SECTORS * SECTOR_SIZE);
	char *check = aligned(MAX_SECTORS * SECTOR_SIZE);

	for (uint32_t round = 0; round < count; round++) {
		/* Whole pages, so that a disk with larger blocks would do as well. */
		uint64_t length = (next_random(&state) % (MAX_SECTORS / 8) + 1) * 8;
		uint64_t place = next_random(&state) % ((part - length) / 8) * 8;
		size_t size = length * SECTOR_SIZE;
		off_t at = (off_t)((first + place) * SECTOR_SIZE);

		fill(buffer, first + place, (uint32_t)length, round, writer);
		if (pwrite(fd, buffer, size, at) != (ssize_t)size)
			fail("write");
		/* Now and then a flush, and a look at what has just been written. */
		if (round % 16 == 7 && fdatasync(fd))
			fail("flush");
		if (round % 8 != 3)
			continue;
		memset(check, 0, size);
		if (pread(fd, check, size, at) != (ssize_t)size)
			fail("read back");
		if (memcmp(buffer, check, size)) {
			printf("disktool: writer %u read back something else in round %u\n",
			       writer, round);
			exit(1);
		}
	}
	if (fdatasync(fd))
		fail("flush");
	exit(0);
}

static int writers(const char *path, uint32_t count, uint32_t rounds)
{
	int status, result = 0;

	fflush(stdout);
	for (uint32_t writer = 0; writer < count; writer++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (!pid)
			write_part(path, writer, count, rounds);
	}
	while (wait(&status) > 0)
		result |= status != 0;
	printf("disktool: %u writers of %u rounds: %s\n", count, rounds, result ? "failed" : "done");
	return result;
}

/*
 * Round after round, each behind the one before. A round counts as flushed once
 * fsync has returned; only then is it said, and only then may it not be lost.
 * Every other round goes through the page cache.
 */
static int append_log(const char *path, uint32_t rounds, uint32_t length)
{
	uint64_t sectors;
	int direct = open_disk(path, O_RDWR | O_DIRECT, &sectors);
	int cached = open_disk(path, O_RDWR, &sectors);
	char *buffer = aligned((size_t)length * SECTOR_SIZE);

	for (uint32_t round = 0; round < rounds; round++) {
		uint64_t first = (uint64_t)round * length;
		ssize_t size = (ssize_t)length * SECTOR_SIZE;
		int fd = round % 2 ? cached : direct;

		if (first + length > sectors)
			break;
		fill(buffer, first, length, round, 0);
		if (pwrite(fd, buffer, (size_t)size, (off_t)(first * SECTOR_SIZE)) != size)
			fail("write");
		if (fsync(fd))
			fail("flush");
		printf("disktool: flushed %u\n", round);
		fflush(stdout);
	}
	printf("disktool: log is full\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5 && !strcmp(argv[1], "reads"))
		return reads(argv[2], strtoul(argv[3], NULL, 0), strtoull(argv[4], NULL, 0),
			     argc > 5);
	if (argc == 5 && !strcmp(argv[1], "writers"))
		return writers(argv[2], (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "log"))
		return append_log(argv[2], (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]));
	printf("disktool: reads, writers or log?\n");
	return 2;
}
