/* SPDX-License-Identifier: MIT */
/* Version and capabilities; see user_version.h. */
#include "vfio/user_version.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

void user_version_compose(struct user_version_text *message, uint16_t minor, bool maps_posted,
			  bool ring)
{
	message->version = (struct user_version){ USER_VERSION_MAJOR, minor };
	message->length =
		1 + (uint32_t)snprintf(
			    message->text, sizeof(message->text),
			    "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
			    "\"max_dma_maps\":%u,\"pgsizes\":%llu%s%s}}",
			    USER_FDS_MAX, USER_TRANSFER_MAX, USER_REGIONS_MAX,
			    (unsigned long long)PAGE_SIZE,
			    maps_posted ? ",\"zvisor_posted_maps\":true" : "",
			    ring ? ",\"zvisor_ring\":true" : "");
}

/* A number that is not negative, if it is there at all. */
static bool take_number(const json_t *capabilities, const char *name, uint64_t limit,
			uint64_t *value)
{
	const json_t *number = json_object_get(capabilities, name);

	if (!number)
		return true;
	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return false;
	*value = MIN((uint64_t)json_integer_value(number), limit);
	return true;
}

static const char *parse_text(const char *text, struct user_capabilities *peer)
{
	uint64_t transfer = peer->transfer_max, fds = peer->fds_max, regions = peer->regions_max;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const json_t *capabilities = json_object_get(root, "capabilities");
	const char *why = NULL;

	if (!json_is_object(root))
		why = "its capabilities are not a JSON object";
	else if (capabilities && !json_is_object(capabilities))
		why = "\"capabilities\" is not an object";
	else if (!take_number(capabilities, "max_msg_fds", USER_FDS_MAX, &fds) ||
		 !take_number(capabilities, "max_data_xfer_size", USER_TRANSFER_MAX, &transfer) ||
		 !take_number(capabilities, "max_dma_maps", USER_REGIONS_MAX, &regions) ||
		 !take_number(capabilities, "pgsizes", UINT64_MAX, &peer->page_sizes))
		why = "a capability is not a number";
	peer->maps_posted = json_is_true(json_object_get(capabilities, "zvisor_posted_maps"));
	peer->ring = json_is_true(json_object_get(capabilities, "zvisor_ring"));
	json_decref(root);
	peer->transfer_max = (uint32_t)transfer;
	peer->fds_max = (uint32_t)fds;
	peer->regions_max = (uint32_t)regions;
	return why;
}

int user_version_parse(const void *payload, uint32_t length, struct user_capabilities *peer,
		       const char **why)
{
	struct user_version version;
	const char *text;

	*peer = (struct user_capabilities){
		.transfer_max = USER_TRANSFER_MAX,
		.fds_max = 1,
		.regions_max = USER_REGIONS_MAX,
		.page_sizes = PAGE_SIZE,
	};
	if (length < sizeof(version)) {
		*why = "too short for a version";
		return -EPROTO;
	}
	memcpy(&version, payload, sizeof(version));
	peer->major = version.major;
	peer->minor = version.minor;
	length -= (uint32_t)sizeof(version);
	if (!length)
		return 0;
	text = (const char *)payload + sizeof(version);
	if (length > USER_VERSION_TEXT_MAX)
		*why = "its capabilities are too long";
	else if (memchr(text, 0, length) != text + length - 1)
		*why = "its capabilities do not end with a NUL";
	else
		*why = parse_text(text, peer);
	return *why ? -EPROTO : 0;
}
