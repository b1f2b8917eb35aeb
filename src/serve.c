/* SPDX-License-Identifier: MIT */
/*
 * Serving a device; see serve.h.
 *
 * The socket is made and the device's files are found first. Then files are closed off,
 * the device is made (with its threads and rings), and system calls are closed off: all of
 * it before the first client is heard.
 */
#include "serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/listen.h"
#include "base/log.h"
#include "devices/device.h"
#include "vfio/user_sandbox.h"
#include "vfio/user_server.h"
#include "zpci/pci.h"

/* A client answers within this time, and says its first word. */
#define TIMEOUT_MS 10000

/* Who has not been let in by then waits for somebody else to go. */
#define WAITING_MS 500

/* For a file that is in use. */
#define BUSY_MS 3000
#define BUSY_PAUSE_MS 50

/* --- the sandbox ---------------------------------------------------------------------------- */

/* The files that the device is to be made of. */
static unsigned name_files(const struct device_config *config,
			   const char *paths[DEVICE_PROPERTIES_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; config->type->properties[i].name; i++)
		if (config->type->properties[i].type == DEVICE_PATH && config->values[i].given)
			paths[count++] = config->values[i].text;
	return count;
}

static void close_off_files(const struct device_config *config)
{
	const char *paths[DEVICE_PROPERTIES_MAX];
	int rc = user_sandbox_files(paths, name_files(config, paths));

	/* If a file is not there, making the device says so. */
	if (rc && rc != -ENOENT)
		log_line("device %s: no sandbox for files: Landlock: %s", config->type->name,
			 strerror(-rc));
}

static void close_off_calls(const struct device_config *config)
{
	int rc = user_sandbox_calls();

	if (rc)
		log_line("device %s: no sandbox for system calls: seccomp: %s", config->type->name,
			 strerror(-rc));
}

/*
 * A server that was killed may have left its file in use for a moment: the kernel waits for
 * the transfers that it had begun.
 */
static int create_device(const struct device_config *config, struct pci_function **function,
			 char *error, size_t error_size)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_MS * 1000000 };
	int rc = -EBUSY;

	for (unsigned waited = 0; rc == -EBUSY && waited <= BUSY_MS; waited += BUSY_PAUSE_MS) {
		if (waited)
			nanosleep(&pause, NULL);
		rc = device_create(config, config->type->name, function, error, error_size);
	}
	return rc;
}

/* --- clients ----------------------------------------------------------------------------------- */

struct doorman {
	pthread_t thread;
	int listener;
	const char *name;
};

/*
 * A client may keep its place and say nothing for days: that is a guest that does nothing.
 * So others are not let in, but that they wait is told, once each time that somebody begins
 * to. Ends when the listener is shut down.
 */
static void *tell_who_waits(void *opaque)
{
	const struct doorman *d = opaque;
	struct pollfd door = { .fd = d->listener, .events = POLLIN };
	bool told = false;

	for (;;) {
		if (poll(&door, 1, told ? 0 : -1) < 0 && errno != EINTR)
			return NULL;
		if (door.revents & ~POLLIN)
			return NULL;
		if (!door.revents) {
			told = false;
			continue;
		}
		poll(NULL, 0, WAITING_MS);
		if (!told && poll(&door, 1, 0) == 1 && door.revents == POLLIN) {
			log_line("device %s: another client waits for this one to go", d->name);
			told = true;
		}
	}
}

/* The host has no more of something, at this moment. */
static bool is_lack(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static int serve_clients(struct user_server *server, int listener, const char *name)
{
	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		char why[LOG_LINE_MAX] = "";

		if (client < 0 && is_lack(errno))
			poll(NULL, 0, WAITING_MS);
		else if (client < 0 && errno != EINTR && errno != ECONNABORTED)
			return -errno;
		if (client < 0)
			continue;
		log_line("device %s: a client has connected", name);
		user_server_serve(server, client, why, sizeof(why));
		log_line("device %s: the client is gone: %s", name, why);
	}
}

int serve_device(struct device_config *config, const char *socket_path, char *error,
		 size_t error_size)
{
	const char *name = config->type->name;
	char reason[DEVICE_ERROR_MAX] = "";
	struct doorman doorman = { .name = name };
	struct user_server *server = NULL;
	struct pci_function *function;
	int listener, rc;

	listener = listen_at("socket=", socket_path, 0, reason, sizeof(reason));
	if (listener < 0) {
		snprintf(error, error_size, "device %s: %s", name, reason);
		return listener;
	}
	close_off_files(config);
	config->ahead = true;
	rc = create_device(config, &function, reason, sizeof(reason));
	if (rc) {
		snprintf(error, error_size, "%s", reason);
		goto close_listener;
	}
	close_off_calls(config);
	server = user_server_new(function, TIMEOUT_MS);
	doorman.listener = listener;
	rc = server ? -pthread_create(&doorman.thread, NULL, tell_who_waits, &doorman) : -ENOMEM;
	if (!rc) {
		log_line("device %s: waiting for a client at %s", name, socket_path);
		rc = serve_clients(server, listener, name);
		shutdown(listener, SHUT_RDWR);
		pthread_join(doorman.thread, NULL);
	}
	snprintf(error, error_size, "device %s: socket=%s: %s", name, socket_path, strerror(-rc));
	user_server_free(server);
	pci_function_free(function);
close_listener:
	unlink(socket_path);
	close(listener);
	return rc;
}
