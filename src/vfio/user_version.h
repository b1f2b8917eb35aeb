/* SPDX-License-Identifier: MIT */
/*
 * The first message of a connection of vfio-user: version and capabilities, which are
 * JSON text. Each side says what it can take.
 */
#ifndef ZVISOR_VFIO_USER_VERSION_H
#define ZVISOR_VFIO_USER_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#include "vfio/user_protocol.h"

/* What the peer has said, or what holds if it has not. */
struct user_capabilities {
	uint16_t major, minor;
	uint32_t transfer_max; /* bytes of data that it takes in one message */
	uint32_t fds_max;
	uint32_t regions_max; /* DMA regions at once */
	uint64_t page_sizes; /* of DMA regions, together */
	bool maps_posted; /* see below */
	bool ring; /* the same */
};

/*
 * A capability of our own, "zvisor_posted_maps": true. A client that says it may send
 * DMA_MAP and want no reply; a server that says it, which it does only to such a client,
 * takes all of them that are as they should be: pages that are not mapped, no more of them than
 * it has announced, with no file or one that it has taken before. If it cannot, the connection
 * ends; other servers would say nothing. A map may then also have USER_DMA_SAME_FILE and no
 * descriptor: it is of the file of the last map that had one and was taken. A descriptor costs
 * either side more than the rest of the message.
 */

/*
 * Another one, "zvisor_ring": true. A client that says it, to a server that says it (again only to
 * such a client), may send USER_RING with the file of a ring (user_ring.h), once. If it is taken,
 * commands that want no reply may come through it. USER_RING without a file, and with
 * nothing else, wakes the server that it may look there.
 */

/* A version message of ours with this minor number: its length has the NUL of the text. */
struct user_version_text {
	struct user_version version;
	char text[256];
	uint32_t length;
};
void user_version_compose(struct user_version_text *message, uint16_t minor, bool maps_posted,
			  bool ring);

/* The peer's; 0, or -EPROTO with the reason in `why`. */
int user_version_parse(const void *payload, uint32_t length, struct user_capabilities *peer,
		       const char **why);

#endif
