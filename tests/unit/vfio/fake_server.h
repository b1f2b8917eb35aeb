/* SPDX-License-Identifier: MIT */
/*
 * A server of vfio-user that says whatever a test wants. It serves one client after the other
 * in a thread of its own, as a simple device would: a BAR of 1 MiB, which may be mapped, and a
 * config space; and a test may answer what it likes itself, or not at all.
 */
#ifndef ZVISOR_TESTS_UNIT_VFIO_FAKE_SERVER_H
#define ZVISOR_TESTS_UNIT_VFIO_FAKE_SERVER_H

#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfio/user_protocol.h"

#define FAKE_BAR_SIZE 0x100000u
#define FAKE_AREAS_MAX 4

struct fake_server {
	/* What it says of itself: to be changed while nobody is served, or by `answer`. */
	const char *capabilities; /* JSON */
	int registers; /* the file of the BAR; -1: it cannot be mapped */
	unsigned areas; /* 0: without a list, all of it can */
	struct vfio_region_sparse_mmap_area area[FAKE_AREAS_MAX];
	/* True: it has dealt with the command. NULL: it wants none of them. */
	bool (*answer)(struct fake_server *s, int socket, struct user_message *message);
	void *opaque;

	/* What has happened. */
	atomic_uint connections;
	atomic_uint commands[USER_COMMAND_MAX + 1];
	atomic_uint answered[USER_COMMAND_MAX + 1]; /* those that wanted to be */

	/* Its own. */
	char folder[32], path[64];
	int listener;
	atomic_int socket;
	atomic_bool quit;
	pthread_t thread;
	uint8_t payload[USER_PAYLOAD_MAX];
};

/* Both fail the test if they cannot. `s` has the fields of the first paragraph. */
void fake_server_start(struct fake_server *s);
void fake_server_stop(struct fake_server *s);

/* Throw the client out, whom it has; it comes back when it likes. */
void fake_server_drop(struct fake_server *s);

/* A reply to `message`, whether it wants one or not. `error`: a positive errno, or 0. */
void fake_server_reply(int socket, const struct user_message *message, uint32_t error,
		       const void *payload, size_t length);

/* A memfd that can be registers. */
int fake_server_registers(size_t size);

#endif
