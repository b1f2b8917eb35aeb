/* SPDX-License-Identifier: MIT */
/*
 * Guest memory: absolute addresses [0, size), one mapping of one memfd.
 *
 * A memfd because device servers and migration share it by file descriptor; it
 * is sealed against shrinking and growing, so that nobody who got it can turn
 * our accesses into SIGBUS. Pages come into being when they are first touched.
 *
 * The copying functions check the range and nothing else. They are for control
 * blocks that the machine reads or writes on a guest's request: fetch once, into
 * private memory, and check the copy.
 */
#ifndef ZVISOR_MACHINE_MEMORY_H
#define ZVISOR_MACHINE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory {
	uint8_t *base; /* host address of absolute 0 */
	uint64_t size; /* bytes */
	int fd;
	/* A host's IOMMU leads to its pages: they must stay what they are. Not set during a clear. */
	bool pinned;
	/* Told of each range written by memory_write() and memory_clear(); may be NULL. */
	void (*written)(void *opaque, uint64_t absolute, uint64_t length);
	void *opaque;
};

/* 0 or a negative errno. The memory reads as zeroes. */
int memory_create(struct memory *memory, uint64_t size);
void memory_destroy(struct memory *memory);

/* Host address of [absolute, absolute + length), or NULL if it is not all there. */
void *memory_pointer(const struct memory *memory, uint64_t absolute, uint64_t length);

/* 0, or -EFAULT if the range is not all in memory; then nothing was copied. */
int memory_read(const struct memory *memory, uint64_t absolute, void *to, size_t length);
int memory_write(struct memory *memory, uint64_t absolute, const void *from, size_t length);

/* All zeroes again, and the host's pages given back if they can be. 0 or a negative errno. */
int memory_clear(struct memory *memory);

#endif
