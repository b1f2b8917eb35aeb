/* SPDX-License-Identifier: MIT */
/*
 * A built-in function, served by vfio-user to a client in another process: to zvisor, to
 * QEMU, or to whoever speaks the protocol.
 *
 * The function runs unchanged. Its memory is what the client maps (user_memory.h), its
 * registers and config space are the regions that the client reads and writes, its
 * vectors are eventfds of the client. The client keeps the guest's MSI-X table, and the
 * masks in it: a vector that has an eventfd is signalled, whatever the table says that the
 * function has here.
 *
 * One client at a time, in the thread that calls user_server_serve(). When it has gone,
 * nothing of it is left: the function is reset, memory and descriptors are given back.
 *
 * A client whose eventfd blocks, and is full, for more than about a second, is cut off by a
 * thread of the server's: with SIGRTMIN + 2, which is the server's in a process that has one
 * (user_events.h).
 *
 * A message that is not well-formed, or whose turn it is not, ends the connection. A
 * command that is, and cannot be done, gets an error for an answer. A transfer of the
 * function to memory that is not mapped is signalled as an error of the device.
 */
#ifndef ZVISOR_VFIO_USER_SERVER_H
#define ZVISOR_VFIO_USER_SERVER_H

#include <stddef.h>

struct pci_function;
struct user_server;

/*
 * `function` is not attached; it stays the caller's, and outlives the server. A client has
 * `timeout_ms` to answer, and to say its first word. NULL when out of memory, when there can be no
 * thread, or when the function is attached, and then it stays so.
 */
struct user_server *user_server_new(struct pci_function *function, unsigned timeout_ms);
void user_server_free(struct user_server *server);

/*
 * Serve one client until it goes; `socket` is taken over. Why it has ended is told in one
 * line.
 */
void user_server_serve(struct user_server *server, int socket, char *why, size_t why_size);

#endif
