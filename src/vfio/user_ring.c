/* SPDX-License-Identifier: MIT */
/* Commands in shared memory; see user_ring.h. */
#include "vfio/user_ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/shared.h"
#include "base/util.h"

struct slot {
	_Atomic uint64_t after;
	uint8_t command[USER_RING_COMMAND_MAX];
};

/* What each side writes has a cache line of its own. */
struct ring_memory {
	_Alignas(64) _Atomic uint64_t written; /* by the client: how many, ever */
	_Alignas(64) _Atomic uint32_t watched; /* by the server */
	_Alignas(64) struct slot slots[USER_RING_SLOTS];
};

static_assert(sizeof(struct slot) == 64 && offsetof(struct ring_memory, watched) == 64 &&
		      offsetof(struct ring_memory, slots) == 128 &&
		      !(USER_RING_SLOTS & (USER_RING_SLOTS - 1)),
	      "the same in all programs that share it");

#define FILE_SIZE ((sizeof(struct ring_memory) + PAGE_SIZE - 1) & PAGE_MASK)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static_assert(FILE_SIZE == 36864, "as user_ring.h says");

struct user_ring {
	struct ring_memory *memory;
	uint64_t done; /* put there, or taken */
	uint8_t command[USER_RING_COMMAND_MAX]; /* that was taken */
};

void user_ring_free(struct user_ring *ring)
{
	if (ring)
		munmap(ring->memory, FILE_SIZE);
	free(ring);
}

static struct user_ring *map_ring(int fd)
{
	struct user_ring *ring = calloc(1, sizeof(*ring));
	void *memory = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (ring && memory != MAP_FAILED) {
		ring->memory = memory;
		return ring;
	}
	if (memory != MAP_FAILED)
		munmap(memory, FILE_SIZE);
	free(ring);
	return NULL;
}

/* --- the client's side ---------------------------------------------------------------- */

struct user_ring *user_ring_new(int *fd)
{
	struct user_ring *ring = NULL;
	int file = memfd_create("zvisor-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (file < 0)
		return NULL;
	if (!ftruncate(file, FILE_SIZE) && !fcntl(file, F_ADD_SEALS, SEALS | F_SEAL_SEAL))
		ring = map_ring(file);
	if (ring)
		*fd = file;
	else
		close(file);
	return ring;
}

bool user_ring_is_watched(const struct user_ring *ring)
{
	return atomic_load_explicit(&ring->memory->watched, memory_order_relaxed);
}

bool user_ring_put(struct user_ring *ring, uint64_t after, struct user_header *header,
		   const struct iovec *parts, unsigned part_count)
{
	struct slot *slot = &ring->memory->slots[ring->done % USER_RING_SLOTS];
	size_t size = sizeof(*header);

	for (unsigned i = 0; i < part_count; i++) {
		assert(parts[i].iov_len <= sizeof(slot->command) - size);
		shared_write(slot->command + size, parts[i].iov_base, parts[i].iov_len);
		size += parts[i].iov_len;
	}
	header->size = (uint32_t)size;
	shared_write(slot->command, header, sizeof(*header));
	atomic_store_explicit(&slot->after, after, memory_order_relaxed);
	atomic_store_explicit(&ring->memory->written, ++ring->done, memory_order_release);
	/* Either it is seen there, or it is seen here that nobody looks: user_ring_watch(). */
	atomic_thread_fence(memory_order_seq_cst);
	return user_ring_is_watched(ring);
}

/* --- the server's side -------------------------------------------------------------------- */

struct user_ring *user_ring_open(int fd)
{
	struct stat status;

	if (!user_file_can_be_mapped(fd, SEALS) || fstat(fd, &status) ||
	    status.st_size != (off_t)FILE_SIZE)
		return NULL;
	return map_ring(fd);
}

static struct slot *next_slot(const struct user_ring *ring)
{
	return &ring->memory->slots[ring->done % USER_RING_SLOTS];
}

static uint64_t read_written(const struct user_ring *ring)
{
	return atomic_load_explicit(&ring->memory->written, memory_order_acquire);
}

static bool has_next(const struct user_ring *ring, uint64_t written, uint64_t taken)
{
	return written != ring->done &&
	       atomic_load_explicit(&next_slot(ring)->after, memory_order_relaxed) <= taken;
}

bool user_ring_is_ready(const struct user_ring *ring, uint64_t taken)
{
	return has_next(ring, read_written(ring), taken);
}

int user_ring_take(struct user_ring *ring, uint64_t taken, struct user_message *message,
		   const char **why)
{
	uint64_t written = read_written(ring);
	struct user_header *header = &message->header;

	if (!has_next(ring, written, taken))
		return -EAGAIN;
	shared_read(ring->command, next_slot(ring)->command, sizeof(ring->command));
	memcpy(header, ring->command, sizeof(*header));
	message->payload = ring->command + sizeof(*header);
	message->length = 0;
	message->fds.count = 0;
	*why = NULL;
	if (written - ring->done > USER_RING_SLOTS)
		*why = "more commands in the ring than it has room for";
	else if (header->size < sizeof(*header) || header->size > sizeof(ring->command))
		*why = "the ring has no room for it";
	else if (header->flags != (USER_TYPE_COMMAND | USER_NO_REPLY))
		*why = "in the ring there are only commands without replies";
	else
		*why = user_header_fault(header);
	if (*why)
		return -EPROTO;
	message->length = header->size - (uint32_t)sizeof(*header);
	ring->done++;
	return 0;
}

void user_ring_watch(struct user_ring *ring, bool watched)
{
	atomic_store_explicit(&ring->memory->watched, watched, memory_order_relaxed);
	/* Either what was put there is seen after this, or who did sees this: user_ring_put(). */
	atomic_thread_fence(memory_order_seq_cst);
}
