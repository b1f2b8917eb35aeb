/* SPDX-License-Identifier: MIT */
/* A peer of vfio-user that says whatever a test wants: messages by hand, over a socket. */
#ifndef ZVISOR_TESTS_UNIT_VFIO_PEER_H
#define ZVISOR_TESTS_UNIT_VFIO_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/vfio.h>
#include <stdbool.h>

#include "vfio/user_protocol.h"

/* Wait no longer than this for anything. */
#define PEER_PATIENCE_MS 20000

/* struct vfio_region_info_cap_sparse_mmap, with the areas left to whoever puts them behind it. */
struct peer_sparse {
	struct vfio_info_cap_header header;
	uint32_t nr_areas, reserved;
};

/* Send; `size` in the header is that of header and payload, unless `header` says otherwise. */
void peer_send(int socket, unsigned command, uint32_t flags, const void *payload, size_t length,
	       const int *fds, unsigned fd_count);
void peer_send_raw(int socket, const struct user_header *header, const void *payload,
		   size_t length, const int *fds, unsigned fd_count);

/* The next message; false: the other side has closed. */
bool peer_receive(int socket, struct user_message *message);

/* Send a command and take the reply to it: its error, or 0 and `reply` filled. */
int peer_call(int socket, unsigned command, const void *payload, size_t length, void *reply,
	      size_t reply_length);
int peer_call_fds(int socket, unsigned command, const void *payload, size_t length, const int *fds,
		  unsigned fd_count);

void peer_greet(int socket);

/* Registers, in one message each. */
void peer_write(int socket, unsigned region, uint64_t offset, uint64_t value, unsigned size);
uint64_t peer_read(int socket, unsigned region, uint64_t offset, unsigned size);

/* Memory: `fd` -1: none. */
int peer_map(int socket, uint64_t address, uint64_t size, int fd, uint64_t offset, uint32_t flags);
int peer_unmap(int socket, uint64_t address, uint64_t size);

/* A memfd of `size` bytes, sealed or not. */
int peer_memory(size_t size, bool sealed);

/* Wait for an eventfd: its count, 0: nothing came. */
uint64_t peer_event(int fd, int timeout_ms);

#endif
