/* SPDX-License-Identifier: MIT */
/* Registers and config space of a served function: the regions that the client accesses. */
#include "vfio/user_server_internal.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/util.h"

/* 0: there is no such region. */
static uint64_t region_size(struct user_server *server, uint32_t index)
{
	if (index <= VFIO_PCI_BAR5_REGION_INDEX)
		return pci_function_bar_size(server->function, index);
	return index == VFIO_PCI_CONFIG_REGION_INDEX ? PCI_CONFIG_SIZE : 0;
}

int user_server_get_region_info(struct user_server *server, struct user_message *message,
				const char **why)
{
	struct user_region_info info;
	const void *payload = user_payload(message, sizeof(info), USER_ANY_TAIL);
	uint64_t size;

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_REGIONS)
		return user_server_answer(server, message, EINVAL, NULL, 0);
	size = region_size(server, info.index);
	info = (struct user_region_info){
		.argsz = sizeof(info),
		.flags = size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0,
		.index = info.index,
		.size = size,
	};
	return user_server_answer(server, message, 0, &info, sizeof(info));
}

static void read_region(struct user_server *server, const struct user_region_access *access,
			uint8_t *to)
{
	bool config = access->region == VFIO_PCI_CONFIG_REGION_INDEX;

	for (uint32_t done = 0, size; done < access->count; done += size) {
		uint64_t offset = access->offset + done, value = 0;

		size = aligned_piece(offset, access->count - done, config ? 4 : 8);
		if (config)
			value = pci_function_config_read(server->function, (unsigned)offset, size);
		else
			(void)pci_function_bar_read(server->function, access->region, offset, size,
						    &value);
		store_le_bytes(to + done, value, size);
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
					      access->count, load_le_bytes(from, access->count));
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

		size = aligned_piece(offset, access->count - done, 4);
		pci_function_config_write(server->function, offset, size,
					  (uint32_t)load_le_bytes(from + done, size));
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

int user_server_region_read(struct user_server *server, struct user_message *message,
			    const char **why)
{
	struct user_region_access access;
	const void *payload = user_payload(message, sizeof(access), 0);
	struct iovec parts[2] = { { &access, sizeof(access) } };

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&access, payload, sizeof(access));
	if (access.count > USER_TRANSFER_MAX)
		return user_server_refuse(why, "it asks for more than there is room for");
	if (!access.count ||
	    !range_fits(access.offset, access.count, region_size(server, access.region)))
		return user_server_answer(server, message, EINVAL, NULL, 0);
	read_region(server, &access, server->data);
	parts[1] = (struct iovec){ server->data, access.count };
	(void)user_channel_reply(server->channel, &message->header, 0, parts, 2);
	return 0;
}

int user_server_region_write(struct user_server *server, struct user_message *message,
			     const char **why)
{
	struct user_region_access access;
	const uint8_t *payload = user_payload(message, sizeof(access), USER_ANY_TAIL);
	int error;

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&access, payload, sizeof(access));
	if (access.count != message->length - sizeof(access))
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	error = write_region(server, &access, payload + sizeof(access));
	return user_server_answer(server, message, error, &access, sizeof(access));
}
