/* SPDX-License-Identifier: MIT */
/*
 * Memory of the client, as a served function reaches it: what is mapped, by files or by
 * messages, and commands that map and unmap; see user_server.h.
 *
 * An unmap is answered when no access uses the memory any more (that is the promise of the
 * protocol), and such an access may end only after a command that comes later. So an unmap
 * that has to wait is put aside, and answered when it is done.
 */
#include "vfio/user_server_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/trace.h"
#include "base/util.h"

/* Bytes of one message for memory that is not shared. */
#define REMOTE_PIECE 65536u

static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *translation)
{
	struct user_server *server = opaque;

	return user_memory_translate(server->memory, iova, direction, translation);
}

static void fault(void *opaque, uint64_t iova, enum pci_dma_direction direction, int reason)
{
	trace_user_server_fault(iova, direction == PCI_DMA_FROM_DEVICE ? "write" : "read", reason);
	user_server_on_error(opaque, PCI_ERROR_FUNCTION);
}

static bool remote_read(struct user_server *server, uint64_t address, void *buffer, uint32_t length)
{
	struct {
		struct user_dma_access access;
		uint8_t data[REMOTE_PIECE];
	} reply;
	const struct user_dma_access access = { address, length };
	struct user_request request = {
		.command = USER_DMA_READ,
		.parts = { { (void *)(uintptr_t)&access, sizeof(access) } },
		.part_count = 1,
		.reply = &reply,
		.reply_max = (uint32_t)sizeof(access) + length,
	};

	if (length > sizeof(reply.data))
		return false;
	if (user_channel_call(server->channel, &request))
		return false;
	if (request.reply_fd >= 0)
		close(request.reply_fd);
	if (request.reply_length != request.reply_max || reply.access.count != length)
		return false;
	memcpy(buffer, reply.data, length);
	return true;
}

static bool remote_write(struct user_server *server, uint64_t address, const void *buffer,
			 uint32_t length)
{
	const struct user_dma_access access = { address, length };
	struct user_dma_access reply;
	struct user_request request = {
		.command = USER_DMA_WRITE,
		.parts = { { (void *)(uintptr_t)&access, sizeof(access) },
			   { (void *)(uintptr_t)buffer, length } },
		.part_count = 2,
		.reply = &reply,
		.reply_max = sizeof(reply),
	};

	if (user_channel_call(server->channel, &request))
		return false;
	if (request.reply_fd >= 0)
		close(request.reply_fd);
	return true;
}

/* It ends, since the other side answers in time, or the connection ends. */
static int transfer(void *opaque, uint64_t iova, void *buffer, size_t length,
		    enum pci_dma_direction direction, size_t *moved)
{
	struct user_server *server = opaque;
	uint32_t most = MIN(REMOTE_PIECE, user_channel_transfer_max(server->channel));

	for (*moved = 0; *moved < length;) {
		uint8_t *at = (uint8_t *)buffer + *moved;
		uint64_t address = iova + *moved;
		size_t part = MIN(length - *moved, most);
		int rc = user_memory_transfer(server->memory, address, at, &part, direction);

		if (rc > 0)
			return rc;
		if (rc < 0 && !(direction == PCI_DMA_TO_DEVICE ?
					remote_read(server, address, at, (uint32_t)part) :
					remote_write(server, address, at, (uint32_t)part)))
			return USER_MEMORY_FAILED;
		*moved += part;
	}
	return 0;
}

const struct dma_space_ops user_server_space_ops = {
	.translate = translate,
	.fault = fault,
	.reason_protected = USER_MEMORY_PROTECTED,
	.reason_addressing = USER_MEMORY_UNMAPPED,
	.transfer = transfer,
};

/* --- commands ---------------------------------------------------------------------- */

int user_server_dma_map(struct user_server *server, struct user_message *message, const char **why)
{
	const void *payload = user_payload(message, sizeof(struct user_dma_map), 0);
	uint32_t known = USER_DMA_READABLE | USER_DMA_WRITABLE;
	struct user_dma_map map;
	int rc;

	if (server->maps_posted)
		known |= USER_DMA_SAME_FILE;
	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&map, payload, sizeof(map));
	if (message->fds.count > 1)
		return user_server_refuse(why, "it has more than one file descriptor");
	if (map.flags & ~known || (map.flags & USER_DMA_SAME_FILE && message->fds.count)) {
		rc = -EINVAL;
	} else {
		/* Without one, memory is remote. */
		int fd = map.flags & USER_DMA_SAME_FILE ? USER_MEMORY_SAME_FILE :
							  user_fds_take(&message->fds, 0);

		rc = user_memory_map(server->memory, map.address, map.size, fd, map.offset,
				     map.flags & USER_DMA_READABLE, map.flags & USER_DMA_WRITABLE);
	}
	trace_user_server_map(map.address, map.size, map.flags, rc);
	/* A client that relies on it has to learn that it cannot; see user_version.h. */
	if (rc && server->maps_posted && message->header.flags & USER_NO_REPLY)
		return user_server_refuse(why, "it cannot be mapped, and no reply is wanted");
	return user_server_answer(server, message, -rc, NULL, 0);
}

/* True when no access uses what has been unmapped. */
static bool finish_unmap(struct user_server *server, const struct user_dma_unmap *unmap,
			 uint64_t timeout_us)
{
	if (unmap->flags & USER_UNMAP_ALL)
		return !dma_space_drain(server->space, timeout_us);
	return !dma_space_invalidate(server->space, unmap->address, unmap->size, timeout_us);
}

void user_server_finish_pending(struct user_server *server)
{
	unsigned left = 0;

	for (unsigned i = 0; i < server->pending_count; i++) {
		const struct pending_unmap *p = &server->pending[i];
		const struct iovec part = { (void *)(uintptr_t)&p->unmap, sizeof(p->unmap) };

		if (finish_unmap(server, &p->unmap, 0))
			(void)user_channel_reply(server->channel, &p->header, 0, &part, 1);
		else
			server->pending[left++] = *p;
	}
	server->pending_count = left;
}

int user_server_dma_unmap(struct user_server *server, struct user_message *message,
			  const char **why)
{
	const void *payload = user_payload(message, sizeof(struct user_dma_unmap), 0);
	struct user_dma_unmap unmap;
	int rc = 0;

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&unmap, payload, sizeof(unmap));
	if (unmap.flags & ~(uint32_t)USER_UNMAP_ALL ||
	    (unmap.flags && (unmap.address || unmap.size)))
		rc = -EINVAL;
	else if (unmap.flags)
		user_memory_unmap_all(server->memory);
	else
		rc = user_memory_unmap(server->memory, unmap.address, unmap.size);
	trace_user_server_unmap(unmap.address, unmap.size, unmap.flags, rc);
	if (rc)
		return user_server_answer(server, message, -rc, NULL, 0);
	if (finish_unmap(server, &unmap, 0))
		return user_server_answer(server, message, 0, &unmap, sizeof(unmap));
	if (server->pending_count == PENDING_MAX)
		return user_server_refuse(why, "too many before the memory is free");
	server->pending[server->pending_count++] = (struct pending_unmap){ message->header, unmap };
	return 0;
}
