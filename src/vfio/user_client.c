/* SPDX-License-Identifier: MIT */
/* The device type "vfio-user": see user_client.h, and user_client_internal.h for the ideas. */
#include "vfio/user_client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/irq_sources.h"
#include "base/log.h"
#include "base/util.h"
#include "devices/device.h"
#include "vfio/user_client_internal.h"
#include "zpci/pci.h"

/* --- what the function asks of us ------------------------------------------------------- */

static int region_info(void *backend, unsigned region, struct passthrough_region *info)
{
	struct user_client *c = backend;

	*info = region < ARRAY_SIZE(c->identity.regions) ? c->identity.regions[region] :
							   (struct passthrough_region){ 0 };
	return 0;
}

static void wake_thread(struct user_client *c)
{
	const uint64_t one = 1;

	if (write(c->wake, &one, sizeof(one)) < 0)
		return; /* it has been woken often enough */
}

/* In `command`, beside the register's value. */
#define COMMAND_IS_NEW 0x10000u

/*
 * A server may let us wait for the socket or a reply, which who calls this may not. So it is only
 * noted, and told by whoever has something to say to the server next, before he does, or by
 * the client's thread. While the connection is exchanged there is nobody to tell: whoever does
 * that is a reset, after which the register is set again.
 */
static void set_command(void *backend, uint16_t command)
{
	struct user_client *c = backend;

	c->bus_master = command & PCI_COMMAND_MASTER;
	/* A copy that has begun before ends before. */
	pthread_mutex_lock(&c->copying);
	pthread_mutex_unlock(&c->copying);
	c->command = command | COMMAND_IS_NEW;
	if (pthread_rwlock_tryrdlock(&c->lock))
		return;
	if (user_channel_is_open(c->channel))
		wake_thread(c);
	pthread_rwlock_unlock(&c->lock);
}

/* With the lock held for reading. When it returns, what was noted before it is sent. */
static void tell_command(struct user_client *c)
{
	unsigned command = c->command;
	uint8_t bytes[2];

	if (likely(!command))
		return;
	pthread_mutex_lock(&c->telling);
	command = c->command;
	if (command) {
		bytes[0] = (uint8_t)command;
		bytes[1] = (uint8_t)(command >> 8);
		/* If it fails the connection has ended, and a reset, which makes another, sets it again. */
		(void)user_client_write(c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, bytes,
					sizeof(bytes));
		/* A newer one is told by the next. */
		atomic_compare_exchange_strong(&c->command, &command, 0);
	}
	pthread_mutex_unlock(&c->telling);
}

static int region_read(void *backend, unsigned region, uint64_t offset, void *data, size_t length)
{
	struct user_client *c = backend;
	int rc;

	pthread_rwlock_rdlock(&c->lock);
	tell_command(c);
	rc = user_client_read(c, region, offset, data, length);
	pthread_rwlock_unlock(&c->lock);
	return rc;
}

/*
 * A device that is fast answers some stores, such as that to a doorbell, by an interrupt
 * within the time that it takes the guest to find that it has nothing else to do. To go idle
 * and come back takes it longer than this wait. It is tried, for each register.
 */
static void wait_for_answer(struct user_client *c, unsigned region, uint64_t offset)
{
	struct spin_guess *guess = &c->answers[(offset / 4 + region) % ARRAY_SIZE(c->answers)];

	if (c->may_spin && spin_guess(guess))
		spin_guess_was(guess, irq_sources_look(c->irq_sources, USER_CLIENT_ANSWER_NS));
}

static int region_write(void *backend, unsigned region, uint64_t offset, const void *data,
			size_t length)
{
	struct user_client *c = backend;
	int rc;

	pthread_rwlock_rdlock(&c->lock);
	tell_command(c);
	rc = user_client_write(c, region, offset, data, length);
	pthread_rwlock_unlock(&c->lock);
	if (!rc && region <= VFIO_PCI_BAR5_REGION_INDEX)
		wait_for_answer(c, region, offset);
	return rc;
}

static int irq_count(void *backend, unsigned index, unsigned *count)
{
	struct user_client *c = backend;

	*count = index < ARRAY_SIZE(c->identity.irqs) ? c->identity.irqs[index] : 0;
	return 0;
}

static int set_irqs(void *backend, unsigned index, unsigned start, unsigned count,
		    const int *eventfds)
{
	struct user_client *c = backend;
	int rc;

	pthread_rwlock_rdlock(&c->lock);
	if (index == VFIO_PCI_ERR_IRQ_INDEX)
		c->error_fd = count ? eventfds[0] : -1;
	if (index == VFIO_PCI_REQ_IRQ_INDEX)
		c->request_fd = count ? eventfds[0] : -1;
	tell_command(c);
	rc = user_client_set_irqs(c, index, start, count, eventfds, user_client_deadline(c));
	pthread_rwlock_unlock(&c->lock);
	return rc;
}

/*
 * With the lock held for writing; 0 or -ENOTCONN. Until `end`, a server that is not there is waited
 * for. A guest may try again and again: one line for each loss.
 */
static int connect_again(struct user_client *c, uint64_t end, uint64_t until)
{
	char why[200] = "";
	int rc = user_client_reconnect(c, end, until, why, sizeof(why));

	if (!rc)
		log_line("%s: connected to the server at %s again", c->name, c->path);
	else if (!c->refusal_told)
		log_line("%s: cannot connect to the server at %s again: %s", c->name, c->path, why);
	c->refusal_told = rc;
	return rc ? -ENOTCONN : 0;
}

/* The thread listens to the new connection, or says that the function is still in error. */
static void end_try(struct user_client *c)
{
	c->tries++;
	wake_thread(c);
}

static int reset_device(struct user_client *c, uint64_t until)
{
	if (!(c->identity.flags & VFIO_DEVICE_FLAGS_RESET))
		return -ENOTTY;
	return user_client_reset(c, MIN(until, user_client_deadline(c)));
}

/*
 * A server that has gone may be found out by this very command, which is then said again. But
 * one that dies of the very first reset is none to begin with.
 */
static int reset(void *backend)
{
	struct user_client *c = backend;
	const uint64_t until = deadline_in_ms(c->timeout_ms + USER_CLIENT_RETURN_MS);
	int rc = 0;

	pthread_rwlock_wrlock(&c->lock);
	/* After the reset it is set again. */
	c->command = 0;
	if (user_channel_is_open(c->channel))
		rc = reset_device(c, until);
	if (c->function && !user_channel_is_open(c->channel)) {
		rc = connect_again(c, MIN(until, deadline_in_ms(USER_CLIENT_RETURN_MS)), until);
		end_try(c);
		if (!rc)
			rc = reset_device(c, until);
	}
	pthread_rwlock_unlock(&c->lock);
	/* It has had its time: there is no sense in trying again at once. */
	return rc == -EAGAIN ? -EBUSY : rc;
}

/*
 * A guest that has given the function up leaves it disabled, and wants it back by enabling
 * alone. It is not waited for again: the disable did that.
 */
static bool come_back(void *backend)
{
	struct user_client *c = backend;
	bool is_back = false;

	pthread_rwlock_wrlock(&c->lock);
	if (!user_channel_is_open(c->channel))
		is_back = !connect_again(c, 0, user_client_deadline(c));
	if (is_back) {
		end_try(c);
		(void)reset_device(c, user_client_deadline(c));
	}
	pthread_rwlock_unlock(&c->lock);
	return is_back;
}

/* What the server does not take away goes with the connection. */
static int unmap(void *backend, uint64_t iova, uint64_t length)
{
	struct user_client *c = backend;

	pthread_rwlock_rdlock(&c->lock);
	tell_command(c);
	user_client_unmap(c, iova, length);
	pthread_rwlock_unlock(&c->lock);
	return 0;
}

static int map_pieces(struct user_client *c, uint64_t iova, uint64_t absolute, uint64_t length,
		      uint64_t piece, bool writable)
{
	int rc;

	pthread_rwlock_rdlock(&c->lock);
	tell_command(c);
	rc = user_client_map(c, iova, absolute, length, piece, writable);
	pthread_rwlock_unlock(&c->lock);
	return rc;
}

static int map_whole(void *backend, uint64_t iova, uint64_t absolute, uint64_t length,
		     bool writable)
{
	return map_pieces(backend, iova, absolute, length, length, writable);
}

/* A region is unmapped as it was mapped, and a guest takes away single pages. */
static int map(void *backend, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	return map_pieces(backend, iova, absolute, length, PAGE_SIZE, writable);
}

void user_client_free(struct user_client *c)
{
	c->quit = true;
	if (c->thread_started) {
		/* It may be in the midst of a message that does not come to its end. */
		user_channel_end(c->channel, "it is not used any more");
		wake_thread(c);
		pthread_join(c->thread, NULL);
	}
	user_client_forget_regions(&c->identity);
	user_channel_free(c->channel);
	user_memory_free(c->mapped);
	if (c->wake >= 0)
		close(c->wake);
	pthread_mutex_destroy(&c->telling);
	pthread_mutex_destroy(&c->copying);
	pthread_rwlock_destroy(&c->lock);
	free(c->data);
	free(c->path);
	free(c);
}

static void close_client(void *backend)
{
	user_client_free(backend);
}

static const struct passthrough_backend_ops backend_ops = {
	.region_info = region_info,
	.region_read = region_read,
	.region_write = region_write,
	.irq_count = irq_count,
	.set_irqs = set_irqs,
	.reset = reset,
	.map = map,
	.map_whole = map_whole,
	.unmap = unmap,
	.set_command = set_command,
	.come_back = come_back,
	.close = close_client,
};

/* --- the client's own thread ---------------------------------------------------------------- */

/* `told`: how many connections there were when an end was told of last, or UINT_MAX. */
static void tell_end(struct user_client *c, unsigned *told)
{
	unsigned connections;
	char why[200];
	bool open;

	pthread_rwlock_rdlock(&c->lock);
	open = user_channel_is_open(c->channel);
	user_channel_why(c->channel, why, sizeof(why));
	connections = c->connections;
	pthread_rwlock_unlock(&c->lock);
	/* A reset was faster, and it has been connected again. */
	if (open)
		return;
	/* A reset that has found no server leaves the function in error, but that is no news. */
	if (connections != *told)
		log_line("%s: the server at %s is gone: %s; a reset of the function connects again",
			 c->name, c->path, why);
	*told = connections;
	passthrough_fail(c->function, PCI_ERROR_FUNCTION);
}

static void clear_wake(struct user_client *c)
{
	uint64_t count;

	if (read(c->wake, &count, sizeof(count)) < 0)
		return; /* nobody has woken it */
}

/* Deals with what there is to say and to read; false: the connection has ended. */
static bool listen_once(struct user_client *c)
{
	struct pollfd fds[2] = { { .fd = c->wake, .events = POLLIN }, { .events = POLLIN } };
	bool open;

	pthread_rwlock_rdlock(&c->lock);
	fds[1].fd = user_channel_watch(c->channel);
	open = user_channel_is_open(c->channel);
	pthread_rwlock_unlock(&c->lock);
	if (open) {
		poll(fds, 2, -1);
		/* Before it looks what it was woken for. */
		clear_wake(c);
	}
	/* The connection may be another one by now: then nothing is there to read. */
	pthread_rwlock_rdlock(&c->lock);
	if (open)
		tell_command(c);
	open = open && !user_channel_poll(c->channel);
	pthread_rwlock_unlock(&c->lock);
	return open;
}

static void *thread_main(void *opaque)
{
	struct user_client *c = opaque;
	struct pollfd woken = { .fd = c->wake, .events = POLLIN };
	unsigned told = UINT_MAX;

	while (!c->quit) {
		unsigned tries = c->tries;

		if (listen_once(c) || c->quit)
			continue;
		tell_end(c, &told);
		while (!c->quit && c->tries == tries) {
			poll(&woken, 1, -1);
			clear_wake(c);
		}
	}
	return NULL;
}

/* --- made --------------------------------------------------------------------------------------- */

struct user_client *user_client_new(const char *name, const char *path, bool share_memory,
				    const struct device_host *host, unsigned timeout_ms)
{
	struct user_client *c = calloc(1, sizeof(*c));
	pthread_rwlockattr_t writers_first;

	if (!c)
		return NULL;
	pthread_rwlockattr_init(&writers_first);
	pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&c->lock, &writers_first);
	pthread_rwlockattr_destroy(&writers_first);
	pthread_mutex_init(&c->copying, NULL);
	pthread_mutex_init(&c->telling, NULL);
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->share_memory = share_memory;
	c->host = host;
	c->timeout_ms = timeout_ms;
	c->error_fd = c->request_fd = -1;
	c->path = strdup(path);
	c->mapped = user_memory_new();
	c->data = malloc(USER_TRANSFER_MAX);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->path && c->mapped && c->data && c->wake >= 0)
		return c;
	user_client_free(c);
	return NULL;
}

static int make(struct user_client *c, const struct device_config *config, struct device_made *made,
		char *reason, size_t reason_size)
{
	const struct passthrough_setup setup = {
		.name = c->name,
		.fid = config->fid,
		.ops = &backend_ops,
		.backend = c,
		.irq_sources = config->irq_sources,
		.host = c->host,
	};
	int rc = user_client_connect(c, reason, reason_size);

	if (rc)
		return rc;
	c->irq_sources = config->irq_sources;
	c->may_spin = spin_cpus() > 1;
	made->mappings_max = c->regions_max;
	c->function = passthrough_create(&setup, made, &rc, reason, reason_size);
	if (!c->function)
		return rc;
	rc = pthread_create(&c->thread, NULL, thread_main, c);
	if (rc) {
		/* The function has taken the client over. */
		snprintf(reason, reason_size, "out of memory");
		pci_function_free(made->function);
		made->function = NULL;
		return 1;
	}
	c->thread_started = true;
	return 0;
}

static int create_on(const struct device_config *config, const char *name,
		     const struct device_host *host, struct device_made *made, char *error,
		     size_t error_size)
{
	const struct device_value *path = device_config_value(config, "socket");
	const struct device_value *share = device_config_value(config, "share-memory");
	struct user_client *c = user_client_new(name, path->text, !share->given || share->number,
						host, USER_CLIENT_TIMEOUT_MS);
	char reason[DEVICE_ERROR_MAX] = "";
	int rc;

	if (!c) {
		snprintf(error, error_size, "device %s: out of memory", config->type->name);
		return -ENOMEM;
	}
	rc = make(c, config, made, reason, sizeof(reason));
	if (!rc)
		return 0;
	snprintf(error, error_size, "device %s: socket=%.200s: %.200s", config->type->name,
		 path->text, reason);
	if (rc > 0)
		return -ENOMEM;
	user_client_free(c);
	return rc;
}

static const struct device_property properties[] = {
	{ "socket", DEVICE_PATH, .required = true, .help = "where the server listens" },
	{ "share-memory", DEVICE_SWITCH, .preset = "on",
	  .help = "the server maps guest memory; off: it asks for each access, and is not "
		  "trusted" },
	{ NULL },
};

const struct device_type vfio_user_device_type = {
	.name = "vfio-user",
	.help = "PCI function that another process serves",
	.properties = properties,
	.create_on = create_on,
};

const struct device_type vfio_user_pci_device_type = {
	.name = "vfio-user-pci",
	.help = "the same by QEMU's name",
	.properties = properties,
	.create_on = create_on,
};
