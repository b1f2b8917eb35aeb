/* SPDX-License-Identifier: MIT */
/*
 * The server of vfio-user: made, a client's life from its greeting to its end, and which
 * command is whose; see user_server.h. Commands are executed in order by one thread.
 */
#include "vfio/user_server.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/trace.h"
#include "base/util.h"
#include "vfio/user_server_internal.h"
#include "vfio/user_version.h"

/* How often unmaps that are put aside are looked at. */
#define PENDING_INTERVAL_MS 1

/* For so long, or twice as long, a client holds up who signals an interrupt. */
#define EVENTS_LOOK_MS 1000

/* --- commands ---------------------------------------------------------------------- */

int user_server_answer(struct user_server *server, const struct user_message *message, int error,
		       const void *payload, size_t length)
{
	const struct iovec part = { (void *)(uintptr_t)payload, length };

	/* Where this fails, the channel has ended, and knows why. */
	(void)user_channel_reply(server->channel, &message->header, error, &part, length ? 1 : 0);
	return 0;
}

static int device_get_info(struct user_server *server, struct user_message *message,
			   const char **why)
{
	struct user_device_info info;
	const void *payload = user_payload(message, sizeof(info), USER_ANY_TAIL);

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info))
		return user_server_answer(server, message, EINVAL, NULL, 0);
	info = (struct user_device_info){
		.argsz = sizeof(info),
		.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
		.regions = VFIO_PCI_NUM_REGIONS,
		.irqs = VFIO_PCI_NUM_IRQS,
	};
	return user_server_answer(server, message, 0, &info, sizeof(info));
}

static int device_reset(struct user_server *server, struct user_message *message, const char **why)
{
	if (message->length)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	pci_function_reset(server->function);
	return user_server_answer(server, message, 0, NULL, 0);
}

/* The file of the ring; or, without one, a call to look there. */
static int take_ring(struct user_server *server, struct user_message *message, const char **why)
{
	struct user_ring *ring;
	int fd;

	if (message->length)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	if (!server->ring)
		return user_server_answer(server, message, EOPNOTSUPP, NULL, 0);
	if (!message->fds.count)
		return user_server_answer(server, message, 0, NULL, 0);
	if (message->fds.count > 1)
		return user_server_refuse(why, "it has more than one file descriptor");
	if (user_channel_has_ring(server->channel))
		return user_server_refuse(why, "there is one ring");
	fd = user_fds_take(&message->fds, 0);
	ring = user_ring_open(fd);
	close(fd);
	if (ring)
		user_channel_set_ring(server->channel, ring);
	return user_server_answer(server, message, ring ? 0 : EINVAL, NULL, 0);
}

static const struct {
	user_server_command *function;
	bool takes_fds;
} commands[] = {
	[USER_DMA_MAP] = { user_server_dma_map, true },
	[USER_DMA_UNMAP] = { user_server_dma_unmap },
	[USER_DEVICE_GET_INFO] = { device_get_info },
	[USER_DEVICE_GET_REGION_INFO] = { user_server_get_region_info },
	[USER_DEVICE_GET_IRQ_INFO] = { user_server_get_irq_info },
	[USER_DEVICE_SET_IRQS] = { user_server_set_irqs, true },
	[USER_REGION_READ] = { user_server_region_read },
	[USER_REGION_WRITE] = { user_server_region_write },
	[USER_DEVICE_RESET] = { device_reset },
	[USER_RING] = { take_ring, true },
};

/* One that is known by name, but not done here, is answered: a client may do without. */
static int execute(struct user_server *server, struct user_message *message, const char **why)
{
	unsigned command = message->header.command;

	if (command == USER_VERSION)
		return user_server_refuse(why, "it has been sent before");
	if (command == USER_DMA_READ || command == USER_DMA_WRITE)
		return user_server_refuse(why, "it is not the client's to send");
	if (command >= ARRAY_SIZE(commands) || !commands[command].function)
		return user_server_answer(server, message, EOPNOTSUPP, NULL, 0);
	if (message->fds.count && !commands[command].takes_fds)
		return user_server_refuse(why, "it has file descriptors");
	return commands[command].function(server, message, why);
}

/* --- a client ---------------------------------------------------------------------- */

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
	server->ring = peer.ring;
	user_version_compose(&ours, MIN(peer.minor, USER_VERSION_MINOR), peer.maps_posted,
			     peer.ring);
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
			user_server_finish_pending(server);
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
	user_events_open(server->events, socket);
	if (greet(server))
		serve_commands(server);
	user_channel_why(server->channel, why, why_size);

	/* Nothing of this client is found any more; then, nothing of it is used any more. */
	user_events_close(server->events);
	user_memory_unmap_all(server->memory);
	dma_space_close(server->space);
	pci_function_reset(server->function);
	(void)dma_space_drain(server->space, UINT64_MAX);
	user_memory_forget_files(server->memory);
	for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; index++)
		user_server_clear_irqs(server, index);
	server->pending_count = 0;
	user_channel_free(server->channel);
	server->channel = NULL;
}

/* --- made and taken apart ---------------------------------------------------------- */

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
	user_events_free(server->events);
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
	server->events = user_events_new(EVENTS_LOOK_MS);
	server->space = dma_space_new(&server->nothing, &user_server_space_ops, server);
	server->data = malloc(USER_TRANSFER_MAX);
	if (server->msix && server->msi && server->memory && server->events && server->space &&
	    server->data &&
	    !pci_function_attach(function, server->space, &user_server_msi_ops, server))
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
