/* SPDX-License-Identifier: MIT */
/*
 * Regions of a client's memory; see user_memory.h.
 *
 * Regions are in a search tree (tsearch(3), which is balanced in glibc) in which two that
 * overlap compare as equal: one look-up finds the region of an address, or says that a
 * new one would overlap.
 */
#include "vfio/user_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "vfio/user_protocol.h"

#define FILES_MAX 256

struct file {
	struct file *next;
	dev_t device;
	ino_t inode;
	int access; /* O_RDONLY, O_WRONLY, O_RDWR */
	uint64_t size;
	uint8_t *base; /* NULL: read and written by `fd` */
	int fd;
};

struct region {
	uint64_t first, last;
	struct file *file; /* NULL: by message */
	uint64_t offset;
	bool readable, writable;
};

struct user_memory {
	pthread_mutex_t lock;
	void *tree;
	unsigned region_count;
	struct file *files;
	struct file *last; /* of the region that was last added with one, or NULL */
	unsigned file_count;
};

static int compare(const void *left, const void *right)
{
	const struct region *a = left, *b = right;

	return a->last < b->first ? -1 : a->first > b->last;
}

static struct region *find(const struct user_memory *memory, const struct region *range)
{
	struct region *const *found = tfind(range, &memory->tree, compare);

	return found ? *found : NULL;
}

struct user_memory *user_memory_new(void)
{
	struct user_memory *memory = calloc(1, sizeof(*memory));

	if (memory)
		pthread_mutex_init(&memory->lock, NULL);
	return memory;
}

void user_memory_free(struct user_memory *memory)
{
	if (!memory)
		return;
	user_memory_unmap_all(memory);
	user_memory_forget_files(memory);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

/* --- files ------------------------------------------------------------------------------ */

static struct file *open_file(int fd, const struct stat *status, int access, bool sealed)
{
	struct file *file = calloc(1, sizeof(*file));
	int protection = access == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;

	if (!file)
		return NULL;
	*file = (struct file){
		.device = status->st_dev,
		.inode = status->st_ino,
		.access = access,
		.size = (uint64_t)status->st_size,
		.fd = -1,
	};
	if (!sealed || access == O_WRONLY) {
		file->fd = fd;
		return file;
	}
	file->base = mmap(NULL, file->size, protection, MAP_SHARED, fd, 0);
	if (file->base == MAP_FAILED) {
		free(file);
		return NULL;
	}
	close(fd);
	return file;
}

/* 0 or -EINVAL: not a file, or without [offset, offset + size). */
static int examine(int fd, uint64_t offset, uint64_t size, struct stat *status)
{
	if (fstat(fd, status) || !S_ISREG(status->st_mode) || status->st_size < 0 ||
	    offset & ~PAGE_MASK || !range_fits(offset, size, (uint64_t)status->st_size))
		return -EINVAL;
	return 0;
}

/* As find_file(). */
static int same_file(struct user_memory *memory, uint64_t offset, uint64_t size,
		     struct file **result)
{
	*result = memory->last;
	return memory->last && !(offset & ~PAGE_MASK) &&
			       range_fits(offset, size, memory->last->size) ?
		       0 :
		       -EINVAL;
}

/* The file of which [offset, offset + size) is wanted; `fd` is taken over if it returns 0. */
static int find_file(struct user_memory *memory, int fd, uint64_t offset, uint64_t size,
		     struct file **result)
{
	int access = fcntl(fd, F_GETFL), seals;
	struct file *file;
	struct stat status;

	if (access < 0 || examine(fd, offset, size, &status))
		return -EINVAL;
	access &= O_ACCMODE;
	for (file = memory->files; file; file = file->next) {
		if (file->device == status.st_dev && file->inode == status.st_ino &&
		    file->access == access && range_fits(offset, size, file->size)) {
			close(fd);
			*result = file;
			return 0;
		}
	}
	if (memory->file_count == FILES_MAX)
		return -ENOSPC;
	/* Before its size is looked at: from then on it is not less. */
	seals = fcntl(fd, F_GET_SEALS);
	if (examine(fd, offset, size, &status))
		return -EINVAL;
	file = open_file(fd, &status, access, seals >= 0 && seals & F_SEAL_SHRINK);
	if (!file)
		return -ENOMEM;
	file->next = memory->files;
	memory->files = file;
	memory->file_count++;
	*result = file;
	return 0;
}

void user_memory_forget_files(struct user_memory *memory)
{
	while (memory->files) {
		struct file *file = memory->files;

		memory->files = file->next;
		if (file->base)
			munmap(file->base, file->size);
		if (file->fd >= 0)
			close(file->fd);
		free(file);
	}
	memory->last = NULL;
	memory->file_count = 0;
}

/* --- regions ----------------------------------------------------------------------------- */

static int add_region(struct user_memory *memory, const struct region *wanted, int *fd)
{
	const uint64_t size = wanted->last - wanted->first + 1;
	struct region *region;
	int rc = 0;

	if (find(memory, wanted))
		return -EEXIST;
	if (memory->region_count == USER_REGIONS_MAX)
		return -ENOSPC;
	region = malloc(sizeof(*region));
	if (!region)
		return -ENOMEM;
	*region = *wanted;
	if (*fd == USER_MEMORY_SAME_FILE) {
		rc = same_file(memory, region->offset, size, &region->file);
	} else if (*fd >= 0) {
		rc = find_file(memory, *fd, region->offset, size, &region->file);
		if (!rc)
			*fd = -1;
	}
	if (!rc && region->file &&
	    ((region->readable && region->file->access == O_WRONLY) ||
	     (region->writable && region->file->access == O_RDONLY)))
		rc = -EINVAL;
	if (!rc && !tsearch(region, &memory->tree, compare))
		rc = -ENOMEM;
	if (rc) {
		free(region);
		return rc;
	}
	memory->region_count++;
	if (region->file)
		memory->last = region->file;
	return 0;
}

int user_memory_map(struct user_memory *memory, uint64_t address, uint64_t size, int fd,
		    uint64_t offset, bool readable, bool writable)
{
	const struct region region = {
		.first = address,
		.last = address + (size - 1),
		.offset = offset,
		.readable = readable,
		.writable = writable,
	};
	int rc = -EINVAL;

	if (size && !(address & ~PAGE_MASK) && !(size & ~PAGE_MASK) && region.last >= address) {
		pthread_mutex_lock(&memory->lock);
		rc = add_region(memory, &region, &fd);
		pthread_mutex_unlock(&memory->lock);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

int user_memory_unmap(struct user_memory *memory, uint64_t address, uint64_t size)
{
	const struct region range = { .first = address, .last = address + (size - 1) };
	struct region *region = NULL;

	if (!size || range.last < address)
		return -ENOENT;
	pthread_mutex_lock(&memory->lock);
	region = find(memory, &range);
	if (region && (region->first != range.first || region->last != range.last))
		region = NULL;
	if (region) {
		tdelete(region, &memory->tree, compare);
		memory->region_count--;
	}
	pthread_mutex_unlock(&memory->lock);
	free(region);
	return region ? 0 : -ENOENT;
}

void user_memory_unmap_all(struct user_memory *memory)
{
	void *tree;

	pthread_mutex_lock(&memory->lock);
	tree = memory->tree;
	memory->tree = NULL;
	memory->region_count = 0;
	pthread_mutex_unlock(&memory->lock);
	tdestroy(tree, free);
}

/* --- use ----------------------------------------------------------------------------------- */

/* The region of an address, copied. Returns 0 or a fault. */
static int look_up(struct user_memory *memory, uint64_t address, enum pci_dma_direction direction,
		   struct region *copy)
{
	const struct region range = { .first = address, .last = address };
	const struct region *region;
	int fault = 0;

	pthread_mutex_lock(&memory->lock);
	region = find(memory, &range);
	if (!region)
		fault = USER_MEMORY_UNMAPPED;
	else if (direction == PCI_DMA_TO_DEVICE ? !region->readable : !region->writable)
		fault = USER_MEMORY_PROTECTED;
	else
		*copy = *region;
	pthread_mutex_unlock(&memory->lock);
	return fault;
}

int user_memory_translate(struct user_memory *memory, uint64_t address,
			  enum pci_dma_direction direction, struct dma_translation *translation)
{
	uint64_t first, size = PAGE_SIZE;
	struct region region;
	int fault = look_up(memory, address, direction, &region);

	if (fault)
		return fault;
	/* The largest aligned block around it that the region has all of. */
	while (size << 1) {
		first = address & ~(2 * size - 1);
		if (first < region.first || first + (2 * size - 1) > region.last)
			break;
		size *= 2;
	}
	first = address & ~(size - 1);
	*translation = (struct dma_translation){
		.iova = first,
		.size = size,
		.writable = region.writable,
		/* What is cached can be read. */
		.once = !region.readable,
	};
	if (region.file && region.file->base)
		translation->host = region.file->base + region.offset + (first - region.first);
	else
		translation->remote = true;
	return 0;
}

static bool move_by_file(int fd, uint64_t offset, uint8_t *buffer, size_t length,
			 enum pci_dma_direction direction)
{
	while (length) {
		ssize_t done = direction == PCI_DMA_TO_DEVICE ?
				       pread(fd, buffer, length, (off_t)offset) :
				       pwrite(fd, buffer, length, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		buffer += done;
		offset += (uint64_t)done;
		length -= (size_t)done;
	}
	return true;
}

int user_memory_transfer(struct user_memory *memory, uint64_t address, void *buffer, size_t *length,
			 enum pci_dma_direction direction)
{
	struct region region;
	int fault = look_up(memory, address, direction, &region);

	if (fault)
		return fault;
	if (!*length)
		return USER_MEMORY_FAILED;
	*length = MIN(*length - 1, region.last - address) + 1;
	if (!region.file)
		return -1;
	if (region.file->base) /* it has been mapped anew meanwhile */
		return USER_MEMORY_FAILED;
	return move_by_file(region.file->fd, region.offset + (address - region.first), buffer,
			    *length, direction) ?
		       0 :
		       USER_MEMORY_FAILED;
}

/* --- as a list --------------------------------------------------------------------------- */

bool user_memory_find(struct user_memory *memory, uint64_t first, uint64_t last, uint64_t *address,
		      uint64_t *size)
{
	const struct region range = { .first = first, .last = last };
	const struct region *region;

	pthread_mutex_lock(&memory->lock);
	region = find(memory, &range);
	if (region) {
		*address = region->first;
		*size = region->last - region->first + 1;
	}
	pthread_mutex_unlock(&memory->lock);
	return region;
}

struct visit {
	void (*each)(void *opaque, const struct user_region *region);
	void *opaque;
};

static void visit_node(const void *node, VISIT when, void *opaque)
{
	const struct region *r = *(struct region *const *)node;
	const struct visit *visit = opaque;
	const struct user_region region = {
		.address = r->first,
		.size = r->last - r->first + 1,
		.offset = r->offset,
		.readable = r->readable,
		.writable = r->writable,
	};

	if (when == postorder || when == leaf)
		visit->each(visit->opaque, &region);
}

unsigned user_memory_count(struct user_memory *memory)
{
	unsigned count;

	pthread_mutex_lock(&memory->lock);
	count = memory->region_count;
	pthread_mutex_unlock(&memory->lock);
	return count;
}

void user_memory_each(struct user_memory *memory,
		      void (*each)(void *opaque, const struct user_region *region), void *opaque)
{
	struct visit visit = { each, opaque };

	pthread_mutex_lock(&memory->lock);
	twalk_r(memory->tree, visit_node, &visit);
	pthread_mutex_unlock(&memory->lock);
}

int user_memory_offset(struct user_memory *memory, uint64_t address,
		       enum pci_dma_direction direction, uint64_t *offset, uint64_t *length)
{
	struct region region;
	int fault = look_up(memory, address, direction, &region);

	if (fault)
		return fault;
	*offset = region.offset + (address - region.first);
	*length = region.last - address + 1;
	return 0;
}
