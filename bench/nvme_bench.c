/* SPDX-License-Identifier: MIT */
/*
 * What a command costs in the NVMe controller, without a guest: from the store to
 * the doorbell until the completion has been taken. Prints a table:
 *
 *	nvme_bench [FILE]
 *
 * FILE, at least 64 MiB, is read; without it, a sparse one is made and removed.
 * "inline" is the share of commands that were complete when the doorbell's store
 * returned, with no other thread involved.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../tests/unit/nvme_guest.h"

#define SIZE (64 * MIB)
#define SECONDS 0.5

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void take(struct guest *g, unsigned count, uint64_t *inlined)
{
	struct nvme_completion completion;

	while (count && guest_poll(g, 1, &completion)) {
		count--;
		++*inlined;
	}
	while (count) {
		if (!guest_poll(g, 1, &completion))
			continue;
		if (guest_status(&completion)) {
			fprintf(stderr, "status 0x%x\n", guest_status(&completion));
			exit(1);
		}
		count--;
	}
}

static void measure(struct guest *g, const char *name, uint8_t opcode, uint32_t blocks,
		    unsigned depth)
{
	uint64_t commands = 0, inlined = 0, regions = SIZE / 512 / blocks, seed = 1;
	double begin = now(), elapsed;

	do {
		for (unsigned i = 0; i < depth; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			guest_put(g, 1, guest_rw(g, opcode, (seed >> 33) % regions * blocks, blocks,
						 GUEST_DATA_PAGE + i * ((blocks + 7) / 8)));
		}
		guest_ring(g, 1);
		take(g, depth, &inlined);
		commands += depth;
		elapsed = now() - begin;
	} while (elapsed < SECONDS);
	printf("%-28s %5u %10.0f/s %9.2f us %8.0f MB/s %6.0f%%\n", name, depth,
	       (double)commands / elapsed, elapsed / (double)commands * 1e6,
	       (double)commands * blocks * 512 / elapsed / 1e6,
	       100 * (double)inlined / (double)commands);
}

static void measure_image(const char *path, const char *kind, const char *properties)
{
	struct guest *g;
	char name[64], text[256];

	if (path) {
		snprintf(text, sizeof(text), "nvme,readonly=on,file=%s%s", path, properties);
		g = guest_new_device(text);
	} else {
		g = guest_new(SIZE, properties);
	}
	guest_start(g);
	snprintf(name, sizeof(name), "%s read 4 KiB", kind);
	measure(g, name, NVME_IO_READ, 8, 1);
	measure(g, name, NVME_IO_READ, 8, 16);
	snprintf(name, sizeof(name), "%s read 1 MiB", kind);
	measure(g, name, NVME_IO_READ, 2048, 1);
	if (!path) {
		snprintf(name, sizeof(name), "%s write 4 KiB", kind);
		measure(g, name, NVME_IO_WRITE, 8, 1);
		snprintf(name, sizeof(name), "%s flush", kind);
		measure(g, name, NVME_IO_FLUSH, 1, 1);
	}
	guest_free(g);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : NULL;

	printf("%-28s %5s %12s %12s %13s %7s\n", "", "depth", "commands", "each", "data", "inline");
	measure_image(path, "direct", "");
	measure_image(path, "cached", ",direct=off");
	return 0;
}
