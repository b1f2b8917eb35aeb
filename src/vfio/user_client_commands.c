/* SPDX-License-Identifier: MIT */
/*
 * What the client says to the server, and what it answers.
 *
 * Stores to registers are posted, as they are on a bus: the server executes commands in
 * order, so whoever reads afterwards sees what they did. Mappings are answered, as servers
 * may have limits that they do not announce (libvfio-user, lib/dma.c: 16 regions); only to a
 * server that promises to take them all, as zvisor's does, are they posted. What is taken
 * away is waited for: that is the promise of RPCIT. Many at once are on their way together.
 */
#include <errno.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/shared.h"
#include "base/util.h"
#include "devices/device.h"
#include "vfio/user_client_internal.h"

/* A read that is not longer needs no memory of its own. */
#define SMALL_READ 64

static struct iovec part(const void *data, size_t length)
{
	return (struct iovec){ (void *)(uintptr_t)data, length };
}

/* --- registers -------------------------------------------------------------------------- */

static int read_piece(struct user_client *c, unsigned region, uint64_t offset, uint8_t *data,
		      uint32_t length, uint8_t *reply, uint64_t until)
{
	const struct user_region_access access = { offset, region, length };
	struct user_request request = {
		.command = USER_REGION_READ,
		.parts = { part(&access, sizeof(access)) },
		.part_count = 1,
		.reply = reply,
		.reply_max = (uint32_t)sizeof(access) + length,
		.until = until,
	};
	int rc = user_channel_call(c->channel, &request);

	if (request.reply_fd >= 0)
		close(request.reply_fd);
	if (rc)
		return rc;
	/* A part of it is as good as nothing. */
	if (request.reply_length != request.reply_max)
		return -EIO;
	memcpy(data, reply + sizeof(access), length);
	return 0;
}

int user_client_read(struct user_client *c, unsigned region, uint64_t offset, void *data,
		     size_t length)
{
	uint8_t small[sizeof(struct user_region_access) + SMALL_READ], *reply = small;
	uint32_t max = user_channel_transfer_max(c->channel);
	const uint64_t until = user_client_deadline(c);
	uint8_t *at = data;
	int rc = 0;

	if (length > SMALL_READ)
		reply = malloc(sizeof(struct user_region_access) + MIN(length, max));
	if (!reply)
		return -ENOMEM;
	while (!rc && length) {
		uint32_t piece = (uint32_t)MIN(length, max);

		rc = read_piece(c, region, offset, at, piece, reply, until);
		offset += piece;
		at += piece;
		length -= piece;
	}
	if (reply != small)
		free(reply);
	return rc;
}

int user_client_write(struct user_client *c, unsigned region, uint64_t offset, const void *data,
		      size_t length)
{
	struct user_region_access access = { offset, region, (uint32_t)length };
	struct user_region_access reply;
	struct user_request request = {
		.command = USER_REGION_WRITE,
		.parts = { part(&access, sizeof(access)), part(data, length) },
		.part_count = 2,
		.reply = &reply,
		.reply_max = sizeof(reply),
	};
	int rc;

	if (length > user_channel_transfer_max(c->channel))
		return -EINVAL;
	/* A block store can fail, and the guest is told. */
	if (length <= 8)
		return user_channel_post(c->channel, &request);
	rc = user_channel_call(c->channel, &request);
	if (request.reply_fd >= 0)
		close(request.reply_fd);
	return rc;
}

int user_client_reset(struct user_client *c, uint64_t until)
{
	struct user_request request = { .command = USER_DEVICE_RESET, .until = until };
	int rc = user_channel_call(c->channel, &request);

	if (request.reply_fd >= 0)
		close(request.reply_fd);
	return rc;
}

/* --- interrupts ---------------------------------------------------------------------------- */

static int set_some(struct user_client *c, const struct user_irq_set *set, const int *eventfds,
		    unsigned count, uint64_t until)
{
	struct user_request request = {
		.command = USER_DEVICE_SET_IRQS,
		.parts = { part(set, sizeof(*set)) },
		.part_count = 1,
		.fds = eventfds,
		.fd_count = count,
		.until = until,
	};
	int rc = user_channel_call(c->channel, &request);

	if (request.reply_fd >= 0)
		close(request.reply_fd);
	return rc;
}

/* How many from here on have one, or have none, up to `max`. */
static unsigned run_length(const int *eventfds, unsigned count, unsigned max)
{
	unsigned n = 1;

	while (n < MIN(count, max) && (eventfds[n] < 0) == (eventfds[0] < 0))
		n++;
	return n;
}

int user_client_set_irqs(struct user_client *c, unsigned index, unsigned start, unsigned count,
			 const int *eventfds, uint64_t until)
{
	struct user_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
	};
	unsigned max = MAX(user_channel_fds_max(c->channel), 1u);
	int rc = 0;

	if (!count)
		return set_some(c, &set, NULL, 0, until);
	set.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	for (unsigned done = 0; !rc && done < count; done += set.count) {
		set.start = start + done;
		set.count = run_length(eventfds + done, count - done, max);
		rc = set_some(c, &set, eventfds + done, eventfds[done] < 0 ? 0 : set.count, until);
	}
	return rc;
}

/* --- memory ------------------------------------------------------------------------------------ */

struct telling {
	struct user_dma_map map;
	struct user_request request;
};

static void make_map(struct user_client *c, struct telling *t, const struct user_region *region,
		     uint64_t until)
{
	t->map = (struct user_dma_map){
		.argsz = sizeof(t->map),
		.flags = USER_DMA_READABLE | (region->writable ? USER_DMA_WRITABLE : 0),
		.offset = c->share_memory ? region->offset : 0,
		.address = region->address,
		.size = region->size,
	};
	t->request = (struct user_request){
		.command = USER_DMA_MAP,
		.parts = { part(&t->map, sizeof(t->map)) },
		.part_count = 1,
		.fds = &c->host->memory_fd,
		.fd_count = c->share_memory,
		.until = until,
	};
}

/* It has the file of all of them, if it gets one at all. */
static int post_maps(struct user_client *c, const struct user_region *regions, size_t count,
		     uint64_t until)
{
	struct telling t;
	int rc = 0;

	for (size_t i = 0; !rc && i < count; i++) {
		make_map(c, &t, &regions[i], until);
		t.map.flags |= c->share_memory ? USER_DMA_SAME_FILE : 0;
		t.request.fd_count = 0;
		rc = user_channel_post(c->channel, &t.request);
		if (rc || !t.request.error)
			continue;
		/* As it promises to do itself where it is not asked; see user_version.h. */
		user_channel_end(c->channel, "it does not map memory that it has promised to map");
		rc = -ENOTCONN;
	}
	return rc;
}

/* At most USER_WINDOW. */
static int ask_for_maps(struct user_client *c, const struct user_region *regions, size_t count,
			bool again, uint64_t until)
{
	struct telling window[USER_WINDOW];
	int rc = 0;

	for (size_t i = 0; i < count; i++) {
		make_map(c, &window[i], &regions[i], until);
		(void)user_channel_send(c->channel, &window[i].request);
	}
	for (size_t i = 0; i < count; i++) {
		struct user_request *request = &window[i].request;
		/* Also for one that could not be sent: until it is done, it is the channel's. */
		int error = user_channel_wait(c->channel, request);

		if (request->reply_fd >= 0)
			close(request->reply_fd);
		if (!error)
			c->has_file = true;
		else if (error == -ENOTCONN)
			rc = error;
		else if (!rc)
			rc = -ENOSPC;
		if (error && !again)
			(void)user_memory_unmap(c->mapped, regions[i].address, regions[i].size);
	}
	return rc;
}

int user_client_tell_maps(struct user_client *c, const struct user_region *regions, size_t count,
			  bool again, uint64_t until)
{
	size_t window;
	int rc = 0;

	for (size_t done = 0; !rc && done < count; done += window) {
		if (c->maps_posted && (c->has_file || !c->share_memory))
			return post_maps(c, regions + done, count - done, until);
		window = c->maps_posted ? 1 : MIN(count - done, USER_WINDOW);
		rc = ask_for_maps(c, regions + done, window, again, until);
	}
	return rc;
}

/* Before the server hears of it: it may use it at once. */
static int note_map(struct user_client *c, const struct user_region *region)
{
	if (!user_channel_is_open(c->channel))
		return -ENOTCONN;
	if (user_memory_count(c->mapped) >= c->regions_max)
		return -ENOSPC;
	return user_memory_map(c->mapped, region->address, region->size, USER_MEMORY_REMOTE,
			       region->offset, true, region->writable);
}

int user_client_map(struct user_client *c, uint64_t iova, uint64_t absolute, uint64_t length,
		    uint64_t piece, bool writable)
{
	const uint64_t until = user_client_deadline(c);
	uint64_t done = 0;
	int rc = 0;

	while (!rc && done < length) {
		struct user_region window[USER_WINDOW];
		size_t count = 0;
		int told;

		while (!rc && count < USER_WINDOW && done < length) {
			window[count] = (struct user_region){ iova + done,
							      MIN(piece, length - done),
							      absolute + done, true, writable };
			rc = note_map(c, &window[count]);
			if (!rc)
				done += window[count++].size;
		}
		/* With an error, what has been noted is told as well: it is taken back as told. */
		told = user_client_tell_maps(c, window, count, false, until);
		rc = rc ? rc : told;
	}
	if (rc && done)
		user_client_unmap(c, iova, done);
	return rc;
}

struct unmapping {
	struct user_dma_unmap unmap, reply;
	struct user_request request;
};

static void send_unmap(struct user_client *c, struct unmapping *u, uint64_t address, uint64_t size,
		       uint64_t until)
{
	u->unmap = (struct user_dma_unmap){ sizeof(u->unmap), 0, address, size };
	u->request = (struct user_request){
		.command = USER_DMA_UNMAP,
		.parts = { part(&u->unmap, sizeof(u->unmap)) },
		.part_count = 1,
		.reply = &u->reply,
		.reply_max = sizeof(u->reply),
		.until = until,
	};
	(void)user_channel_send(c->channel, &u->request);
}

static void wait_for_unmap(struct user_client *c, struct unmapping *u)
{
	int rc = user_channel_wait(c->channel, &u->request);

	if (u->request.reply_fd >= 0)
		close(u->request.reply_fd);
	/* If it does not take it away, the memory goes with the connection. */
	if (rc)
		user_channel_end(c->channel, "it does not unmap memory");
}

void user_client_unmap(struct user_client *c, uint64_t iova, uint64_t length)
{
	const uint64_t until = user_client_deadline(c);
	struct unmapping window[USER_WINDOW];
	uint64_t address, size;
	unsigned count;

	do {
		for (count = 0; count < USER_WINDOW; count++) {
			if (!user_memory_find(c->mapped, iova, iova + (length - 1), &address,
					      &size))
				break;
			(void)user_memory_unmap(c->mapped, address, size);
			send_unmap(c, &window[count], address, size, until);
		}
		for (unsigned i = 0; i < count; i++)
			wait_for_unmap(c, &window[i]);
	} while (count == USER_WINDOW);
	/* A connection that has ended meanwhile may have left a thread in the midst of a copy. */
	pthread_mutex_lock(&c->copying);
	pthread_mutex_unlock(&c->copying);
}

/* --- what the server says ------------------------------------------------------------------------ */

/*
 * Copy between guest memory and `data`, all of it or nothing. Only what the guest's tables
 * have mapped, and only while the function may do DMA. 0 or a positive errno.
 */
static int copy_memory(struct user_client *c, const struct user_dma_access *access, uint8_t *data,
		       enum pci_dma_direction direction)
{
	uint64_t offset, length;

	if (!access->count || access->address + (access->count - 1) < access->address)
		return EINVAL;
	if (!c->bus_master)
		return EPERM;
	for (uint64_t done = 0; done < access->count; done += length)
		if (user_memory_offset(c->mapped, access->address + done, direction, &offset,
				       &length))
			return EFAULT;
	for (uint64_t done = 0; done < access->count; done += length) {
		/* It may have been taken away since; and a run lies in memory as a whole. */
		if (user_memory_offset(c->mapped, access->address + done, direction, &offset,
				       &length))
			return EFAULT;
		length = MIN(length, access->count - done);
		if (!range_fits(offset, length, c->host->memory_size))
			return EFAULT;
		if (direction == PCI_DMA_TO_DEVICE)
			shared_read(data + done, c->host->memory + offset, length);
		else
			shared_write(c->host->memory + offset, data + done, length);
	}
	return 0;
}

static int dma_read(struct user_client *c, struct user_channel *channel,
		    struct user_message *message, const char **why)
{
	struct user_dma_access access;
	const void *payload = user_payload(message, sizeof(access), 0);
	struct iovec parts[2];
	int error;

	if (payload)
		memcpy(&access, payload, sizeof(access));
	if (!payload || access.count > USER_TRANSFER_MAX) {
		*why = payload ? "it asks for more than there is room for" :
				 "it has the wrong size";
		return -EPROTO;
	}
	pthread_mutex_lock(&c->copying);
	error = copy_memory(c, &access, c->data, PCI_DMA_TO_DEVICE);
	pthread_mutex_unlock(&c->copying);
	parts[0] = part(&access, sizeof(access));
	parts[1] = part(c->data, access.count);
	(void)user_channel_reply(channel, &message->header, error, parts, 2);
	return 0;
}

static int dma_write(struct user_client *c, struct user_channel *channel,
		     struct user_message *message, const char **why)
{
	struct user_dma_access access;
	const void *payload = user_payload(message, sizeof(access), USER_ANY_TAIL);
	struct iovec parts[1] = { part(&access, sizeof(access)) };
	int error;

	if (payload)
		memcpy(&access, payload, sizeof(access));
	if (!payload || access.count != message->length - sizeof(access)) {
		*why = "it has the wrong size";
		return -EPROTO;
	}
	pthread_mutex_lock(&c->copying);
	error = copy_memory(c, &access, message->payload + sizeof(access), PCI_DMA_FROM_DEVICE);
	pthread_mutex_unlock(&c->copying);
	(void)user_channel_reply(channel, &message->header, error, parts, 1);
	return 0;
}

/* The connection may not be the client's yet: it is being made. */
static int command(void *opaque, struct user_channel *channel, struct user_message *message,
		   const char **why)
{
	struct user_client *c = opaque;

	if (message->fds.count) {
		*why = "it has file descriptors";
		return -EPROTO;
	}
	switch (message->header.command) {
	case USER_DMA_READ:
		return dma_read(c, channel, message, why);
	case USER_DMA_WRITE:
		return dma_write(c, channel, message, why);
	default:
		*why = "it is not the server's to send";
		return -EPROTO;
	}
}

const struct user_channel_ops user_client_channel_ops = { .command = command };
