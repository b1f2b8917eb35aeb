/* SPDX-License-Identifier: MIT */
/*
 * The client's memory, as a server of vfio-user has it: regions of bus addresses, each
 * with a file behind it, or with none, and then it is read and written by messages.
 *
 * A client with an I/O MMU maps and unmaps pages all the time, of the same file each time.
 * So a file is mapped as a whole when it comes first, and kept until the client has
 * gone; a region is a piece of that, and coming and going costs no system call.
 *
 * Memory that the client could take away would be a SIGBUS for us. So only a file that is
 * sealed against shrinking (memfd) is mapped. Others are read and written by system
 * calls, which then fail: that is slow, but it works.
 *
 * Threads: all from any.
 */
#ifndef ZVISOR_VFIO_USER_MEMORY_H
#define ZVISOR_VFIO_USER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dma/dma.h"

struct user_memory;

struct user_memory *user_memory_new(void);
void user_memory_free(struct user_memory *memory);

/* For a region's descriptor: it has no file, or that of the region that was last added with one. */
enum { USER_MEMORY_REMOTE = -1, USER_MEMORY_SAME_FILE = -2 };

/*
 * Add a region. `fd` is taken over. 0, or -EINVAL (no pages, no such part of the file, no
 * file, no way to use it as asked), -EEXIST (overlaps a region), -ENOSPC (too many),
 * -ENOMEM.
 */
int user_memory_map(struct user_memory *memory, uint64_t address, uint64_t size, int fd,
		    uint64_t offset, bool readable, bool writable);

/*
 * Remove exactly this region: -ENOENT, it is not there. Then nobody finds it any more, but
 * what was found before is still there: dma_space_invalidate() waits for its end.
 */
int user_memory_unmap(struct user_memory *memory, uint64_t address, uint64_t size);

/* The same of all regions, and then, when nothing uses them, of their files. */
void user_memory_unmap_all(struct user_memory *memory);
void user_memory_forget_files(struct user_memory *memory);

/*
 * The other side of the protocol keeps the same list of what it has told: with no files, and
 * with guest-absolute addresses for offsets.
 */

/* Any region that has a byte of [first, last]. False: there is none. */
bool user_memory_find(struct user_memory *memory, uint64_t first, uint64_t last, uint64_t *address,
		      uint64_t *size);

/* How many regions there are. */
unsigned user_memory_count(struct user_memory *memory);

/* Call for each region, in order of addresses; no other function meanwhile. */
struct user_region {
	uint64_t address, size, offset;
	bool readable, writable;
};
void user_memory_each(struct user_memory *memory,
		      void (*each)(void *opaque, const struct user_region *region), void *opaque);

/* As dma_space_ops.translate; the reasons are of enum user_memory_fault. */
enum user_memory_fault {
	USER_MEMORY_UNMAPPED = 1,
	USER_MEMORY_PROTECTED,
	USER_MEMORY_FAILED,
};
int user_memory_translate(struct user_memory *memory, uint64_t address,
			  enum pci_dma_direction direction, struct dma_translation *translation);

/*
 * For regions that are remote: read or write what has a file. Returns 0, a fault, or -1: it
 * has none, and `*length` bytes are to be moved by message. `*length` is not 0, and does
 * not grow.
 */
int user_memory_transfer(struct user_memory *memory, uint64_t address, void *buffer, size_t *length,
			 enum pci_dma_direction direction);

/* Where `address` is: its offset, and how many bytes from there on are. 0 or a fault. */
int user_memory_offset(struct user_memory *memory, uint64_t address,
		       enum pci_dma_direction direction, uint64_t *offset, uint64_t *length);

#endif
