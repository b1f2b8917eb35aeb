/* SPDX-License-Identifier: MIT */
/*
 * The server of vfio-user; see user_server.h.
 *
 * Commands are executed in order by one thread. One of them may take long: an unmap is
 * answered when no access uses the memory any more (that is the promise of the
 * protocol), and such an access may end only after a command that comes later. So an unmap
 * that has to wait is put aside, and answered when it is done.
 */
#include "vfio/user_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/byteorder.h"
#include "base/trace.h"
#include "base/util.h"
#include "dma/dma.h"
#include "pci/host.h"
#include "vfio/user_channel.h"
#include "vfio/user_memory.h"
#include "vfio/user_version.h"

/* Offset and bit in the MSI-X and MSI capabilities; that of MSI is in byte 2, too. */
#define CAPABILITY_CONTROL 2
#define MSIX_ENABLE 0x8000
#define MSI_ENABLE 0x0001

/* Unmaps that are put aside, and how often they are looked at. */
#define PENDING_MAX 64
#define PENDING_INTERVAL_MS 1

/* Bytes of one message for memory that is not shared. */
#define REMOTE_PIECE 65536u

struct pending_unmap {
	struct user_header header;
	struct user_dma_unmap unmap;
};

struct user_server {
	struct pci_function *function;
	unsigned timeout_ms;
	struct dma_memory nothing; /* the space's own memory: there is none */
	struct pci_dma_space *space;
	struct user_memory *memory;
	uint8_t *data; /* of one transfer: USER_TRANSFER_MAX bytes */

	/* Guards the eventfds: a vector may be raised while it changes hands. */
	pthread_mutex_t irq_lock;
	int *msix, *msi; /* eventfds by vector, -1: none */
	int error, request;

	/* The client's: */
	struct user_channel *channel;
	bool maps_posted; /* user_version.h */
	struct pending_unmap pending[PENDING_MAX];
	unsigned pending_count;
};

/* --- interrupts --------------------------------------------------------------------------- */

struct irq_type {
	int *eventfds;
	unsigned count;
};

static struct irq_type irq_type(struct user_server *server, uint32_t index)
{
	switch (index) {
	case VFIO_PCI_MSI_IRQ_INDEX:
		return (struct irq_type){ server->msi, pci_function_msi_vectors(server->function) };
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return (struct irq_type){ server->msix,
					  pci_function_msix_vectors(server->function) };
	case VFIO_PCI_ERR_IRQ_INDEX:
		return (struct irq_type){ &server->error, 1 };
	case VFIO_PCI_REQ_IRQ_INDEX:
		return (struct irq_type){ &server->request, 1 };
	default:
		return (struct irq_type){ NULL, 0 };
	}
}

static void signal_irq(struct user_server *server, uint32_t index, unsigned vector)
{
	const struct irq_type type = irq_type(server, index);
	const uint64_t one = 1;

	pthread_mutex_lock(&server->irq_lock);
	/* It does not block, and a counter that is full has been signalled. */
	if (vector < type.count && type.eventfds[vector] >= 0 &&
	    write(type.eventfds[vector], &one, sizeof(one)) < 0)
		trace_user_server_irq_lost(vector, errno);
	pthread_mutex_unlock(&server->irq_lock);
}

/* `fd` is taken over; -1: none. */
static void set_irq(struct user_server *server, int *place, int fd)
{
	int old;

	pthread_mutex_lock(&server->irq_lock);
	old = *place;
	*place = fd;
	pthread_mutex_unlock(&server->irq_lock);
	if (old >= 0)
		close(old);
}

static void clear_irqs(struct user_server *server, uint32_t index)
{
	const struct irq_type type = irq_type(server, index);

	for (unsigned i = 0; i < type.count; i++)
		set_irq(server, &type.eventfds[i], -1);
}

/*
 * An eventfd, as far as can be seen: nothing in a file system, no pipe and no socket. It
 * must not block whoever raises a vector.
 */
static bool is_eventfd(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat status;

	return flags >= 0 && !fstat(fd, &status) && !(status.st_mode & S_IFMT) &&
	       (flags & O_ACCMODE) != O_RDONLY &&
	       (flags & O_NONBLOCK || !fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

/* What the function itself goes by: does anybody take its vectors? */
static void enable_capability(struct user_server *server, uint32_t index, bool on)
{
	bool msix = index == VFIO_PCI_MSIX_IRQ_INDEX;
	uint8_t wanted = msix ? PCI_CAPABILITY_MSIX : PCI_CAPABILITY_MSI;
	uint16_t bit = msix ? MSIX_ENABLE : MSI_ENABLE;
	struct pci_function *f = server->function;
	unsigned offset = pci_function_config_read(f, PCI_CAPABILITY_POINTER, 1);
	uint32_t control;

	if (!msix && index != VFIO_PCI_MSI_IRQ_INDEX)
		return;
	for (unsigned i = 0; offset && i < PCI_CONFIG_SIZE / 4; i++) {
		if (pci_function_config_read(f, offset, 1) == wanted)
			break;
		offset = pci_function_config_read(f, offset + 1, 1);
	}
	if (!offset)
		return;
	control = pci_function_config_read(f, offset + CAPABILITY_CONTROL, 2);
	control = on ? control | bit : control & ~(uint32_t)bit;
	pci_function_config_write(f, offset + CAPABILITY_CONTROL, 2, control);
}

static void on_vector(void *opaque, bool msix, unsigned vector)
{
	signal_irq(opaque, msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX, vector);
}

static void on_error(void *opaque, enum pci_error error)
{
	signal_irq(opaque, VFIO_PCI_ERR_IRQ_INDEX, 0);
}

static const struct pci_msi_ops msi_ops = { .notify = on_vector, .error = on_error };

/* --- memory --------------------------------------------------------------------------------- */

static int translate(void *opaque, uint64_t iova, enum pci_dma_direction direction,
		     struct dma_translation *translation)
{
	struct user_server *server = opaque;

	return user_memory_translate(server->memory, iova, direction, translation);
}

static void fault(void *opaque, uint64_t iova, enum pci_dma_direction direction, int reason)
{
	trace_user_server_fault(iova, direction == PCI_DMA_FROM_DEVICE ? "write" : "read", reason);
	on_error(opaque, PCI_ERROR_FUNCTION);
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

static const struct dma_space_ops space_ops = {
	.translate = translate,
	.fault = fault,
	.reason_protected = USER_MEMORY_PROTECTED,
	.reason_addressing = USER_MEMORY_UNMAPPED,
	.transfer = transfer,
};

/* --- commands --------------------------------------------------------------------------------- */

/*
 * Each answers, and returns 0; or -EPROTO, and `why` says what is wrong with the message.
 * The payload need not be aligned: it is copied.
 */
typedef int command_function(struct user_server *server, struct user_message *message,
			     const char **why);

#define WRONG_SIZE "it has the wrong size"

static int answer(struct user_server *server, const struct user_message *message, int error,
		  const void *payload, size_t length)
{
	const struct iovec part = { (void *)(uintptr_t)payload, length };

	/* Where this fails, the channel has ended, and knows why. */
	(void)user_channel_reply(server->channel, &message->header, error, &part, length ? 1 : 0);
	return 0;
}

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EPROTO;
}

static int dma_map(struct user_server *server, struct user_message *message, const char **why)
{
	const void *payload = user_payload(message, sizeof(struct user_dma_map), 0);
	struct user_dma_map map;
	int rc;

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&map, payload, sizeof(map));
	if (message->fds.count > 1)
		return refuse(why, "it has more than one file descriptor");
	if (map.flags & ~(uint32_t)(USER_DMA_READABLE | USER_DMA_WRITABLE))
		return answer(server, message, EINVAL, NULL, 0);
	rc = user_memory_map(server->memory, map.address, map.size, user_fds_take(&message->fds, 0),
			     map.offset, map.flags & USER_DMA_READABLE,
			     map.flags & USER_DMA_WRITABLE);
	trace_user_server_map(map.address, map.size, map.flags, rc);
	/* A client that relies on it has to learn that it cannot; see user_version.h. */
	if (rc && server->maps_posted && message->header.flags & USER_NO_REPLY)
		return refuse(why, "it cannot be mapped, and no reply is wanted");
	return answer(server, message, -rc, NULL, 0);
}

/* True when no access uses what has been unmapped. */
static bool finish_unmap(struct user_server *server, const struct user_dma_unmap *unmap,
			 uint64_t timeout_us)
{
	if (unmap->flags & USER_UNMAP_ALL)
		return !dma_space_drain(server->space, timeout_us);
	return !dma_space_invalidate(server->space, unmap->address, unmap->size, timeout_us);
}

static void finish_pending(struct user_server *server)
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

static int dma_unmap(struct user_server *server, struct user_message *message, const char **why)
{
	const void *payload = user_payload(message, sizeof(struct user_dma_unmap), 0);
	struct user_dma_unmap unmap;
	int rc = 0;

	if (!payload)
		return refuse(why, WRONG_SIZE);
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
		return answer(server, message, -rc, NULL, 0);
	if (finish_unmap(server, &unmap, 0))
		return answer(server, message, 0, &unmap, sizeof(unmap));
	if (server->pending_count == PENDING_MAX)
		return refuse(why, "too many before the memory is free");
	server->pending[server->pending_count++] =
		(struct pending_unmap){ message->header, unmap };
	return 0;
}

static int device_get_info(struct user_server *server, struct user_message *message,
			   const char **why)
{
	struct user_device_info info;
	const void *payload = user_payload(message, sizeof(info), USER_ANY_TAIL);

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info))
		return answer(server, message, EINVAL, NULL, 0);
	info = (struct user_device_info){
		.argsz = sizeof(info),
		.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
		.regions = VFIO_PCI_NUM_REGIONS,
		.irqs = VFIO_PCI_NUM_IRQS,
	};
	return answer(server, message, 0, &info, sizeof(info));
}

/* 0: there is no such region. */
static uint64_t region_size(struct user_server *server, uint32_t index)
{
	if (index <= VFIO_PCI_BAR5_REGION_INDEX)
		return pci_function_bar_size(server->function, index);
	return index == VFIO_PCI_CONFIG_REGION_INDEX ? PCI_CONFIG_SIZE : 0;
}

static int get_region_info(struct user_server *server, struct user_message *message,
			   const char **why)
{
	struct user_region_info info;
	const void *payload = user_payload(message, sizeof(info), USER_ANY_TAIL);
	uint64_t size;

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_REGIONS)
		return answer(server, message, EINVAL, NULL, 0);
	size = region_size(server, info.index);
	info = (struct user_region_info){
		.argsz = sizeof(info),
		.flags = size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0,
		.index = info.index,
		.size = size,
	};
	return answer(server, message, 0, &info, sizeof(info));
}

static int get_irq_info(struct user_server *server, struct user_message *message, const char **why)
{
	struct user_irq_info info;
	const void *payload = user_payload(message, sizeof(info), USER_ANY_TAIL);
	struct irq_type type;

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return answer(server, message, EINVAL, NULL, 0);
	type = irq_type(server, info.index);
	info = (struct user_irq_info){
		.argsz = sizeof(info),
		.flags = type.count ? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE : 0,
		.index = info.index,
		.count = type.count,
	};
	return answer(server, message, 0, &info, sizeof(info));
}

/* The action is "trigger", the range is there. Returns 0 or a positive errno. */
static int assign_irqs(struct user_server *server, const struct user_irq_set *set,
		       struct user_fds *fds)
{
	const struct irq_type type = irq_type(server, set->index);

	if (fds->count && fds->count != set->count)
		return EINVAL;
	for (unsigned i = 0; i < fds->count; i++)
		if (!is_eventfd(fds->fd[i]))
			return EINVAL;
	for (unsigned i = 0; i < set->count; i++)
		set_irq(server, &type.eventfds[set->start + i], user_fds_take(fds, i));
	if (fds->count)
		enable_capability(server, set->index, true);
	return 0;
}

static int set_irqs(struct user_server *server, struct user_message *message, const char **why)
{
	struct user_irq_set set;
	const uint8_t *payload = user_payload(message, sizeof(set), USER_ANY_TAIL);
	uint32_t data, action;
	struct irq_type type;

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&set, payload, sizeof(set));
	data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	if (data == VFIO_IRQ_SET_DATA_BOOL && message->length - sizeof(set) != set.count)
		return refuse(why, WRONG_SIZE);
	if (data != VFIO_IRQ_SET_DATA_EVENTFD && message->fds.count)
		return refuse(why, "it has file descriptors");
	type = irq_type(server, set.index);
	if (set.flags != (data | action) || action != VFIO_IRQ_SET_ACTION_TRIGGER ||
	    !range_fits(set.start, set.count, type.count))
		return answer(server, message, EINVAL, NULL, 0);
	switch (data) {
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return answer(server, message, assign_irqs(server, &set, &message->fds), NULL, 0);
	case VFIO_IRQ_SET_DATA_NONE:
		if (!set.count) {
			clear_irqs(server, set.index);
			enable_capability(server, set.index, false);
		}
		for (uint32_t i = 0; i < set.count; i++)
			signal_irq(server, set.index, set.start + i);
		break;
	case VFIO_IRQ_SET_DATA_BOOL:
		for (uint32_t i = 0; i < set.count; i++)
			if (payload[sizeof(set) + i])
				signal_irq(server, set.index, set.start + i);
		break;
	default:
		return answer(server, message, EINVAL, NULL, 0);
	}
	return answer(server, message, 0, NULL, 0);
}

/* --- registers ---------------------------------------------------------------------------------- */

/* How much of an access is one of `most` bytes or less, naturally aligned. */
static unsigned piece_at(uint64_t offset, uint32_t left, unsigned most)
{
	while (most > left || offset & (most - 1))
		most /= 2;
	return most;
}

static void put_bytes(uint8_t *to, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_bytes(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << 8 * i;
	return value;
}

static void read_region(struct user_server *server, const struct user_region_access *access,
			uint8_t *to)
{
	bool config = access->region == VFIO_PCI_CONFIG_REGION_INDEX;

	for (uint32_t done = 0, size; done < access->count; done += size) {
		uint64_t offset = access->offset + done, value = 0;

		size = piece_at(offset, access->count - done, config ? 4 : 8);
		if (config)
			value = pci_function_config_read(server->function, (unsigned)offset, size);
		else
			(void)pci_function_bar_read(server->function, access->region, offset, size,
						    &value);
		put_bytes(to + done, value, size);
	}
}

/*
 * What is no longer than a register is a store to one; what is longer, a block: as one, up
 * to what a block can be. Returns 0 or a negative errno.
 */
static int write_bar(struct user_server *server, const struct user_region_access *access,
		     const uint8_t *from)
{
	int rc = 0;

	if (access->count <= 8)
		return pci_function_bar_write(server->function, access->region, access->offset,
					      access->count, get_bytes(from, access->count));
	for (uint32_t done = 0, size; !rc && done < access->count; done += size) {
		size = MIN(access->count - done, PCI_BLOCK_MAX);
		rc = pci_function_bar_write_block(server->function, access->region,
						  access->offset + done, from + done, size);
	}
	return rc;
}

static void write_config(struct user_server *server, const struct user_region_access *access,
			 const uint8_t *from)
{
	for (uint32_t done = 0, size; done < access->count; done += size) {
		unsigned offset = (unsigned)access->offset + done;

		size = piece_at(offset, access->count - done, 4);
		pci_function_config_write(server->function, offset, size,
					  (uint32_t)get_bytes(from + done, size));
	}
}

static int write_region(struct user_server *server, const struct user_region_access *access,
			const uint8_t *from)
{
	if (!access->count ||
	    !range_fits(access->offset, access->count, region_size(server, access->region)))
		return EINVAL;
	if (access->region != VFIO_PCI_CONFIG_REGION_INDEX)
		return -write_bar(server, access, from);
	write_config(server, access, from);
	return 0;
}

static int region_read(struct user_server *server, struct user_message *message, const char **why)
{
	struct user_region_access access;
	const void *payload = user_payload(message, sizeof(access), 0);
	struct iovec parts[2] = { { &access, sizeof(access) } };

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&access, payload, sizeof(access));
	if (access.count > USER_TRANSFER_MAX)
		return refuse(why, "it asks for more than there is room for");
	if (!access.count ||
	    !range_fits(access.offset, access.count, region_size(server, access.region)))
		return answer(server, message, EINVAL, NULL, 0);
	read_region(server, &access, server->data);
	parts[1] = (struct iovec){ server->data, access.count };
	(void)user_channel_reply(server->channel, &message->header, 0, parts, 2);
	return 0;
}

static int region_write(struct user_server *server, struct user_message *message, const char **why)
{
	struct user_region_access access;
	const uint8_t *payload = user_payload(message, sizeof(access), USER_ANY_TAIL);
	int error;

	if (!payload)
		return refuse(why, WRONG_SIZE);
	memcpy(&access, payload, sizeof(access));
	if (access.count != message->length - sizeof(access))
		return refuse(why, WRONG_SIZE);
	error = write_region(server, &access, payload + sizeof(access));
	return answer(server, message, error, &access, sizeof(access));
}

static int device_reset(struct user_server *server, struct user_message *message, const char **why)
{
	if (message->length)
		return refuse(why, WRONG_SIZE);
	pci_function_reset(server->function);
	return answer(server, message, 0, NULL, 0);
}

static const struct {
	command_function *function;
	bool takes_fds;
} commands[] = {
	[USER_DMA_MAP] = { dma_map, true },
	[USER_DMA_UNMAP] = { dma_unmap },
	[USER_DEVICE_GET_INFO] = { device_get_info },
	[USER_DEVICE_GET_REGION_INFO] = { get_region_info },
	[USER_DEVICE_GET_IRQ_INFO] = { get_irq_info },
	[USER_DEVICE_SET_IRQS] = { set_irqs, true },
	[USER_REGION_READ] = { region_read },
	[USER_REGION_WRITE] = { region_write },
	[USER_DEVICE_RESET] = { device_reset },
};

/* One that is known by name, but not done here, is answered: a client may do without. */
static int execute(struct user_server *server, struct user_message *message, const char **why)
{
	unsigned command = message->header.command;

	if (command == USER_VERSION)
		return refuse(why, "it has been sent before");
	if (command == USER_DMA_READ || command == USER_DMA_WRITE)
		return refuse(why, "it is not the client's to send");
	if (command >= ARRAY_SIZE(commands) || !commands[command].function)
		return answer(server, message, EOPNOTSUPP, NULL, 0);
	if (message->fds.count && !commands[command].takes_fds)
		return refuse(why, "it has file descriptors");
	return commands[command].function(server, message, why);
}

/* --- a client --------------------------------------------------------------------------------------- */

static void end_for(struct user_server *server, const struct user_message *message, const char *why)
{
	char text[160];

	snprintf(text, sizeof(text), "%s (%u) of %u bytes: %s",
		 user_command_name(message->header.command), message->header.command,
		 message->header.size, why);
	user_channel_end(server->channel, text);
}

/* The first message says the version. */
static bool greet(struct user_server *server)
{
	struct user_capabilities peer;
	struct user_version_text ours;
	struct user_message *message;
	const char *why = NULL;
	int rc = user_channel_command(server->channel, &message, (int)server->timeout_ms);

	if (rc) {
		user_channel_end(server->channel, "it says nothing");
		return false;
	}
	if (message->header.command != USER_VERSION)
		why = "it comes before the version";
	else if (message->fds.count)
		why = "it has file descriptors";
	else if (!user_version_parse(message->payload, message->length, &peer, &why) &&
		 peer.major != USER_VERSION_MAJOR)
		why = "there is no such version";
	else if (peer.transfer_max < USER_TRANSFER_MIN)
		why = "it takes too little data in a message";
	if (why) {
		end_for(server, message, why);
		return false;
	}
	user_channel_set_limits(server->channel, peer.transfer_max, peer.fds_max);
	server->maps_posted = peer.maps_posted;
	user_version_compose(&ours, MIN(peer.minor, USER_VERSION_MINOR), peer.maps_posted);
	return !user_channel_reply(server->channel, &message->header, 0,
				   (const struct iovec[]){
					   { &ours.version, sizeof(ours.version) },
					   { ours.text, ours.length },
				   }, 2);
}

static void serve_commands(struct user_server *server)
{
	struct user_message *message;
	const char *why;
	int rc;

	for (;;) {
		rc = user_channel_command(server->channel, &message,
					  server->pending_count ? PENDING_INTERVAL_MS : -1);
		if (server->pending_count)
			finish_pending(server);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			return;
		trace_user_server_command(user_command_name(message->header.command),
					  message->header.id, message->length);
		if (execute(server, message, &why))
			end_for(server, message, why);
	}
}

void user_server_serve(struct user_server *server, int socket, char *why, size_t why_size)
{
	server->channel = user_channel_new(socket, server->timeout_ms, NULL, NULL);
	if (!server->channel) {
		close(socket);
		snprintf(why, why_size, "out of memory");
		return;
	}
	dma_space_open(server->space);
	if (greet(server))
		serve_commands(server);
	user_channel_why(server->channel, why, why_size);

	/* Nothing of this client is found any more; then, nothing of it is used any more. */
	user_memory_unmap_all(server->memory);
	dma_space_close(server->space);
	pci_function_reset(server->function);
	(void)dma_space_drain(server->space, UINT64_MAX);
	user_memory_forget_files(server->memory);
	for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; index++)
		clear_irqs(server, index);
	server->pending_count = 0;
	user_channel_free(server->channel);
	server->channel = NULL;
}

/* --- made and taken apart ---------------------------------------------------------------------------- */

static int *new_eventfds(unsigned count)
{
	int *eventfds = malloc((count + 1) * sizeof(*eventfds));

	for (unsigned i = 0; eventfds && i < count; i++)
		eventfds[i] = -1;
	return eventfds;
}

/* All but the function, which another may have. */
static void free_server(struct user_server *server)
{
	dma_space_free(server->space);
	user_memory_free(server->memory);
	pthread_mutex_destroy(&server->irq_lock);
	free(server->msix);
	free(server->msi);
	free(server->data);
	free(server);
}

struct user_server *user_server_new(struct pci_function *function, unsigned timeout_ms)
{
	struct user_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->function = function;
	server->timeout_ms = timeout_ms;
	server->error = server->request = -1;
	pthread_mutex_init(&server->irq_lock, NULL);
	server->msix = new_eventfds(pci_function_msix_vectors(function));
	server->msi = new_eventfds(pci_function_msi_vectors(function));
	server->memory = user_memory_new();
	server->space = dma_space_new(&server->nothing, &space_ops, server);
	server->data = malloc(USER_TRANSFER_MAX);
	if (server->msix && server->msi && server->memory && server->space && server->data &&
	    !pci_function_attach(function, server->space, &msi_ops, server))
		return server;
	free_server(server);
	return NULL;
}

void user_server_free(struct user_server *server)
{
	if (!server)
		return;
	pci_function_detach(server->function);
	free_server(server);
}
