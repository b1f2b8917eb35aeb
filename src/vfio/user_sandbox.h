/* SPDX-License-Identifier: MIT */
/*
 * The walls around a process that serves a device: whoever takes it over by what a client
 * sends has the device's files, the client, and nothing else.
 *
 * Two of them. Landlock: the thread that calls, and those that it makes later, open only
 * the files that are named. Seccomp: from then on only the system calls that serving takes,
 * for all threads; opening a file, connecting, executing are not among them. What an
 * io_uring does is no system call: none is made any more, and those that the device has
 * are for files that are open (devices/block_ring.h).
 */
#ifndef ZVISOR_VFIO_USER_SANDBOX_H
#define ZVISOR_VFIO_USER_SANDBOX_H

/*
 * Before a thread exists. 0; or a negative errno, with nothing done: -ENOSYS, -EOPNOTSUPP
 * the kernel has no Landlock; -ENOENT and its like, a file cannot be named.
 */
int user_sandbox_files(const char *const *paths, unsigned count);

/* 0, or a negative errno: -ENOSYS when built without libseccomp. */
int user_sandbox_calls(void);

#endif
