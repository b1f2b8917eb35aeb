/* SPDX-License-Identifier: MIT */
/* The monitor's socket and its clients; see monitor.h. */
#include "monitor/monitor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/listen.h"
#include "base/util.h"
#include "machine/control.h"
#include "monitor/qmp.h"

/* Milliseconds that clients have, when the machine has ended, to read the rest. */
#define GOODBYE_LIMIT 500

/* Milliseconds until who calls is tried again, when there is no descriptor for it. */
#define DEAF_INTERVAL 100

#define INPUT_SIZE 4096

struct client {
	struct monitor *monitor;
	int fd;
	struct qmp *qmp;
	/* What was read and not executed yet. */
	char input[INPUT_SIZE];
	size_t input_start, input_end;
	bool said_all; /* nothing more comes; what is left to say is said */

	/* With the monitor's lock held: */
	char *output;
	size_t output_start, output_end, output_size;
	bool wants_events;
	bool lost; /* to be closed: it is gone, too slow, or memory is out */
};

struct monitor {
	struct machine *machine; /* NULL before the start */
	char *path;
	struct stat socket; /* what was made at `path` */
	int listener, wake;
	pthread_t thread;
	bool thread_started;

	/* Guards what other threads tell clients. */
	pthread_mutex_t lock;
	/* Who calls cannot be taken now, for want of descriptors; the thread alone knows. */
	bool deaf;
	struct client *clients[MONITOR_CLIENTS_MAX]; /* the thread alone changes these */
	bool quit;
};

static void wake(struct monitor *monitor)
{
	uint64_t one = 1;

	/* It cannot fail but by overflow, and then it is readable anyway. */
	if (write(monitor->wake, &one, sizeof(one)) < 0)
		return;
}

/* --- output: with the lock held ----------------------------------------------------------- */

static size_t waiting(const struct client *client)
{
	return client->output_end - client->output_start;
}

static bool make_room(struct client *client, size_t length)
{
	size_t wanted = waiting(client) + length, size = client->output_size;
	char *larger;

	if (client->output_size - client->output_end >= length)
		return true;
	if (client->output_start) {
		memmove(client->output, client->output + client->output_start, waiting(client));
		client->output_end -= client->output_start;
		client->output_start = 0;
	}
	if (wanted <= size)
		return true;
	while (size < wanted)
		size = size ? size * 2 : 4096;
	larger = realloc(client->output, size);
	if (!larger)
		return false;
	client->output = larger;
	client->output_size = size;
	return true;
}

static void append(struct client *client, const char *data, size_t length)
{
	if (!make_room(client, length)) {
		client->lost = true;
		return;
	}
	memcpy(client->output + client->output_end, data, length);
	client->output_end += length;
}

static void flush(struct client *client)
{
	while (waiting(client)) {
		ssize_t done = send(client->fd, client->output + client->output_start,
				    waiting(client), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN)
			return;
		if (done < 0) {
			client->lost = true;
			return;
		}
		client->output_start += (size_t)done;
	}
	/* Memory of a long answer is given back. */
	free(client->output);
	client->output = NULL;
	client->output_start = client->output_end = client->output_size = 0;
}

/* --- commands and events --------------------------------------------------------------------- */

static void on_reply(void *opaque, const char *line, size_t length)
{
	struct client *client = opaque;

	pthread_mutex_lock(&client->monitor->lock);
	append(client, line, length);
	pthread_mutex_unlock(&client->monitor->lock);
}

static void on_machine_event(void *opaque, const struct machine_event *event)
{
	struct monitor *monitor = opaque;
	char *line = qmp_event_line(event);

	pthread_mutex_lock(&monitor->lock);
	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++) {
		struct client *client = monitor->clients[i];

		if (!client || !client->wants_events)
			continue;
		if (!line || waiting(client) > MONITOR_OUTPUT_MAX)
			client->lost = true;
		else
			append(client, line, strlen(line));
	}
	pthread_mutex_unlock(&monitor->lock);
	free(line);
	wake(monitor);
}

static bool is_backed_up(struct client *client)
{
	bool full;

	pthread_mutex_lock(&client->monitor->lock);
	full = client->lost || waiting(client) > MONITOR_OUTPUT_HIGH;
	pthread_mutex_unlock(&client->monitor->lock);
	return full;
}

/* One command at most, so that all clients have their turn. */
static void execute_input(struct client *client)
{
	if (client->input_start == client->input_end || is_backed_up(client))
		return;
	client->input_start += qmp_input(client->qmp, client->input + client->input_start,
					 client->input_end - client->input_start);
	pthread_mutex_lock(&client->monitor->lock);
	client->wants_events = qmp_wants_events(client->qmp);
	pthread_mutex_unlock(&client->monitor->lock);
}

static void read_input(struct client *client)
{
	ssize_t got;

	if (client->said_all || client->input_start != client->input_end)
		return;
	got = recv(client->fd, client->input, sizeof(client->input), MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	client->input_start = 0;
	client->input_end = got > 0 ? (size_t)got : 0;
	/* After an error, writing shows whether anybody is there. */
	client->said_all = got <= 0;
}

/* --- clients come and go ------------------------------------------------------------------------ */

static void destroy_client(struct client *client)
{
	qmp_destroy(client->qmp);
	close(client->fd);
	free(client->output);
	free(client);
}

static void drop_client(struct monitor *monitor, unsigned int number)
{
	struct client *client = monitor->clients[number];

	pthread_mutex_lock(&monitor->lock);
	monitor->clients[number] = NULL;
	pthread_mutex_unlock(&monitor->lock);
	destroy_client(client);
}

/* A free place, or that of a client that has nothing more to say. -1: there is none. */
static int find_place(struct monitor *monitor)
{
	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++)
		if (!monitor->clients[i])
			return (int)i;
	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++) {
		if (monitor->clients[i]->said_all) {
			drop_client(monitor, i);
			return (int)i;
		}
	}
	return -1;
}

static void accept_client(struct monitor *monitor)
{
	int fd = accept4(monitor->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client;
	int place;

	monitor->deaf = fd < 0 &&
			(errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
	if (fd < 0)
		return;
	place = find_place(monitor);
	client = place < 0 ? NULL : calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return;
	}
	client->monitor = monitor;
	client->fd = fd;
	client->qmp = qmp_create(monitor->machine, on_reply, client);
	if (!client->qmp) {
		destroy_client(client);
		return;
	}
	pthread_mutex_lock(&monitor->lock);
	monitor->clients[place] = client;
	pthread_mutex_unlock(&monitor->lock);
}

/* --- the thread ------------------------------------------------------------------------------------- */

static bool has_more_to_do(struct client *client)
{
	return client->input_start != client->input_end && !is_backed_up(client);
}

/* Write, execute, read; true when the client is to be dropped. */
static bool serve(struct client *client)
{
	struct monitor *monitor = client->monitor;
	bool over;

	read_input(client);
	execute_input(client);
	pthread_mutex_lock(&monitor->lock);
	flush(client);
	over = client->lost ||
	       (client->said_all && !waiting(client) && client->input_start == client->input_end);
	pthread_mutex_unlock(&monitor->lock);
	return over;
}

static short wanted_events(struct client *client)
{
	short events = 0;

	pthread_mutex_lock(&client->monitor->lock);
	if (waiting(client))
		events |= POLLOUT;
	pthread_mutex_unlock(&client->monitor->lock);
	if (!client->said_all && client->input_start == client->input_end)
		events |= POLLIN;
	return events;
}

/* True when somebody wants to become a client. */
static bool wait_for_something(struct monitor *monitor)
{
	struct pollfd fds[2 + MONITOR_CLIENTS_MAX] = {
		{ .fd = monitor->listener, .events = POLLIN },
		{ .fd = monitor->wake, .events = POLLIN },
	};
	bool busy = false;
	uint64_t count;

	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++) {
		struct client *client = monitor->clients[i];

		fds[2 + i].fd = -1;
		if (!client)
			continue;
		busy |= has_more_to_do(client);
		fds[2 + i].fd = client->fd;
		fds[2 + i].events = wanted_events(client);
	}
	if (monitor->deaf)
		fds[0].fd = -1;
	if (poll(fds, ARRAY_SIZE(fds), busy ? 0 : monitor->deaf ? DEAF_INTERVAL : -1) < 0)
		return false;
	if (fds[1].revents && read(monitor->wake, &count, sizeof(count)) < 0)
		return false;
	return fds[0].revents || monitor->deaf;
}

static bool shall_quit(struct monitor *monitor)
{
	bool quit;

	pthread_mutex_lock(&monitor->lock);
	quit = monitor->quit;
	pthread_mutex_unlock(&monitor->lock);
	return quit;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What was said until the end is to arrive, if somebody reads it in time. */
static void say_goodbye(struct monitor *monitor)
{
	int64_t end = now_ms() + GOODBYE_LIMIT;

	for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++) {
		struct client *client = monitor->clients[i];
		bool more = client;

		while (more) {
			struct pollfd fd = { .fd = client->fd, .events = POLLOUT };
			int64_t left = end - now_ms();

			pthread_mutex_lock(&monitor->lock);
			flush(client);
			more = waiting(client) && !client->lost && left > 0;
			pthread_mutex_unlock(&monitor->lock);
			if (more)
				poll(&fd, 1, (int)left);
		}
		if (client)
			drop_client(monitor, i);
	}
}

static void *monitor_thread(void *argument)
{
	struct monitor *monitor = argument;

	while (!shall_quit(monitor)) {
		bool somebody_calls = wait_for_something(monitor);

		for (unsigned int i = 0; i < MONITOR_CLIENTS_MAX; i++)
			if (monitor->clients[i] && serve(monitor->clients[i]))
				drop_client(monitor, i);
		/* Whose place is free now is known. */
		if (somebody_calls)
			accept_client(monitor);
	}
	say_goodbye(monitor);
	return NULL;
}

/* --- the socket ----------------------------------------------------------------------------------------- */

static int open_socket(struct monitor *monitor, char *error, size_t error_size)
{
	int listener = listen_at("--qmp unix:", monitor->path, SOCK_NONBLOCK, error, error_size);

	if (listener < 0)
		return listener;
	monitor->listener = listener;
	/* Not there any more: somebody has removed it, and there is nothing of ours to remove. */
	if (stat(monitor->path, &monitor->socket))
		monitor->socket.st_ino = 0;
	return 0;
}

/* The socket file, unless somebody has put another one in its place. */
static void remove_socket(struct monitor *monitor)
{
	struct stat there;

	if (monitor->socket.st_ino && !lstat(monitor->path, &there) &&
	    there.st_ino == monitor->socket.st_ino && there.st_dev == monitor->socket.st_dev)
		unlink(monitor->path);
}

/* --- made and taken apart -------------------------------------------------------------------------------- */

int monitor_create(const char *path, struct monitor **result, char *error, size_t error_size)
{
	struct monitor *monitor = calloc(1, sizeof(*monitor));
	int rc = -ENOMEM;

	snprintf(error, error_size, "--qmp unix:%s: out of memory", path);
	if (!monitor)
		return -ENOMEM;
	pthread_mutex_init(&monitor->lock, NULL);
	monitor->listener = -1;
	monitor->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	monitor->path = strdup(path);
	if (!monitor->path || monitor->wake < 0)
		goto fail;
	rc = open_socket(monitor, error, error_size);
	if (rc)
		goto fail;
	*result = monitor;
	return 0;
fail:
	monitor_destroy(monitor);
	return rc;
}

int monitor_start(struct monitor *monitor, struct machine *machine, char *error, size_t error_size)
{
	int rc;

	monitor->machine = machine;
	machine_listen(machine, on_machine_event, monitor);
	rc = pthread_create(&monitor->thread, NULL, monitor_thread, monitor);
	if (rc) {
		snprintf(error, error_size, "cannot start the monitor's thread: %s", strerror(rc));
		return -EIO;
	}
	monitor->thread_started = true;
	pthread_setname_np(monitor->thread, "monitor");
	return 0;
}

void monitor_destroy(struct monitor *monitor)
{
	if (!monitor)
		return;
	if (monitor->thread_started) {
		pthread_mutex_lock(&monitor->lock);
		monitor->quit = true;
		pthread_mutex_unlock(&monitor->lock);
		wake(monitor);
		pthread_join(monitor->thread, NULL);
	}
	if (monitor->machine)
		machine_listen(monitor->machine, NULL, NULL);
	remove_socket(monitor);
	if (monitor->listener >= 0)
		close(monitor->listener);
	if (monitor->wake >= 0)
		close(monitor->wake);
	free(monitor->path);
	pthread_mutex_destroy(&monitor->lock);
	free(monitor);
}
