/* SPDX-License-Identifier: MIT */
/* Guest memory. */
#include "machine/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/shared.h"
#include "base/util.h"

int memory_create(struct memory *memory, uint64_t size)
{
	void *base;
	int error;

	*memory = (struct memory){ .fd = -1 };
	memory->fd = memfd_create("zvisor-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory->fd < 0)
		return -errno;
	if (ftruncate(memory->fd, (off_t)size) ||
	    fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		goto fail;
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		    memory->fd, 0);
	if (base == MAP_FAILED)
		goto fail;
	/* Both are wishes: not every host has huge pages for shared memory. */
	madvise(base, size, MADV_HUGEPAGE);
	madvise(base, size, MADV_DONTDUMP);
	memory->base = base;
	memory->size = size;
	return 0;
fail:
	error = -errno;
	close(memory->fd);
	memory->fd = -1;
	return error;
}

void memory_destroy(struct memory *memory)
{
	if (memory->base)
		munmap(memory->base, memory->size);
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct memory){ .fd = -1 };
}

void *memory_pointer(const struct memory *memory, uint64_t absolute, uint64_t length)
{
	return range_fits(absolute, length, memory->size) ? memory->base + absolute : NULL;
}

int memory_read(const struct memory *memory, uint64_t absolute, void *to, size_t length)
{
	const void *from = memory_pointer(memory, absolute, length);

	if (!from)
		return -EFAULT;
	shared_read(to, from, length);
	return 0;
}

int memory_write(struct memory *memory, uint64_t absolute, const void *from, size_t length)
{
	void *to = memory_pointer(memory, absolute, length);

	if (!to)
		return -EFAULT;
	shared_write(to, from, length);
	if (memory->written && length)
		memory->written(memory->opaque, absolute, length);
	return 0;
}

int memory_clear(struct memory *memory)
{
	if (memory->pinned)
		memset(memory->base, 0, memory->size);
	else if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			   (off_t)memory->size))
		return -errno;
	if (memory->written)
		memory->written(memory->opaque, 0, memory->size);
	return 0;
}
