/* SPDX-License-Identifier: MIT */
/* Listening sockets; see listen.h. */
#include "base/listen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Clients that may wait to be let in. */
#define BACKLOG 8

/*
 * 0 when there is nothing at the address, or a socket that nobody listens at any more,
 * and it is gone now. What is said of it instead is left in *why.
 */
static int clear_path(const struct sockaddr_un *address, const char **why)
{
	struct stat there;
	int fd, rc;

	if (lstat(address->sun_path, &there))
		return 0; /* if it is more than absence, bind() will say so */
	if (!S_ISSOCK(there.st_mode)) {
		*why = "exists and is not a socket";
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
	close(fd);
	if (rc != ECONNREFUSED) {
		*why = "another program listens there";
		return -EADDRINUSE;
	}
	return unlink(address->sun_path) && errno != ENOENT ? -errno : 0;
}

int listen_at(const char *what, const char *path, int flags, char *error, size_t error_size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *why = NULL, *hint = "";
	int fd = -1, rc;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(error, error_size,
			 "%s%s: longer than the %zu bytes that a socket's name can have", what,
			 path, sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	rc = clear_path(&address, &why);
	if (!rc) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
		/* Who may connect may do what the user may: nobody else. bind() takes this over. */
		if (fd < 0 || fchmod(fd, 0600) ||
		    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG))
			rc = -errno;
	}
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	if (rc == -ENOENT)
		hint = ": the folder is not there; make it (mkdir -p), or name another";
	snprintf(error, error_size, "%s%s: %s%s", what, path, why ? why : strerror(-rc), hint);
	return rc;
}
