/* SPDX-License-Identifier: MIT */
/* Sockets with a name in the file system, which clients connect to. */
#ifndef ZVISOR_BASE_LISTEN_H
#define ZVISOR_BASE_LISTEN_H

#include <stddef.h>

/*
 * A socket that listens at `path`, for this user alone; `flags` beside SOCK_CLOEXEC, as of
 * socket(2). What a program that was killed has left there is replaced. Returns a descriptor,
 * which the caller owns as well as the file; or a negative errno, and `error` is a line that
 * begins with `what` and the path.
 */
int listen_at(const char *what, const char *path, int flags, char *error, size_t error_size);

#endif
