/* SPDX-License-Identifier: MIT */
/*
 * What the files of the server share: user_server.c (a client's life, the table of commands),
 * user_server_irq.c, user_server_memory.c and user_server_region.c, with the commands that
 * are theirs.
 */
#ifndef ZVISOR_VFIO_USER_SERVER_INTERNAL_H
#define ZVISOR_VFIO_USER_SERVER_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "dma/dma.h"
#include "pci/host.h"
#include "vfio/user_channel.h"
#include "vfio/user_events.h"
#include "vfio/user_memory.h"
#include "vfio/user_server.h"

/* Unmaps that are put aside. */
#define PENDING_MAX 64

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

	/* Guards the eventfds: a vector may be raised while it changes hands. One at a time. */
	pthread_mutex_t irq_lock;
	struct user_events *events;
	int *msix, *msi; /* eventfds by vector, -1: none */
	int error, request;

	/* The client's: */
	struct user_channel *channel;
	bool maps_posted; /* user_version.h */
	bool ring; /* it may give us one; the same */
	struct pending_unmap pending[PENDING_MAX];
	unsigned pending_count;
};

/*
 * A command: it answers, and returns 0; or -EPROTO, and `why` says what is wrong with the
 * message. The payload need not be aligned: it is copied.
 */
typedef int user_server_command(struct user_server *server, struct user_message *message,
				const char **why);

/* `error` is a positive errno, or 0 and there may be a payload. Returns 0. */
int user_server_answer(struct user_server *server, const struct user_message *message, int error,
		       const void *payload, size_t length);

static inline int user_server_refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EPROTO;
}

#define USER_SERVER_WRONG_SIZE "it has the wrong size"

/* --- user_server_irq.c ------------------------------------------------------------- */

extern const struct pci_msi_ops user_server_msi_ops;
user_server_command user_server_get_irq_info, user_server_set_irqs;
void user_server_clear_irqs(struct user_server *server, uint32_t index);
void user_server_on_error(void *opaque, enum pci_error error);

/* --- user_server_memory.c ---------------------------------------------------------- */

extern const struct dma_space_ops user_server_space_ops;
user_server_command user_server_dma_map, user_server_dma_unmap;

/* Answers the unmaps that were put aside and are done. */
void user_server_finish_pending(struct user_server *server);

/* --- user_server_region.c ---------------------------------------------------------- */

user_server_command user_server_get_region_info, user_server_region_read, user_server_region_write;

#endif
