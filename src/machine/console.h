/* SPDX-License-Identifier: MIT */
/*
 * The guest's console on the host: a descriptor to read, one to write.
 *
 * A thread of its own moves bytes between the descriptors and two bounded
 * buffers, so that a terminal that is stopped or a pipe that is full never holds
 * up a vCPU. What the guest writes comes out complete and in order: when the
 * buffer is full, the service processor waits (the guest sees an operation that
 * takes longer) until there is room. What is read from a pipe or a file waits
 * there until the guest has taken what came before, and reaches the guest at the
 * speed of a fast line: systems have small buffers between a terminal's driver
 * and its reader, and drop what arrives faster than the reader reads.
 *
 * On a terminal, Ctrl-a introduces a command: x ends the machine, h prints help,
 * Ctrl-a sends itself. The terminal is put into raw mode and brought back when
 * the console stops, when the process exits, and when it dies of a signal
 * that can be caught.
 */
#ifndef ZVISOR_MACHINE_CONSOLE_H
#define ZVISOR_MACHINE_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct console;

#define CONSOLE_BUFFER 65536 /* bytes, each way */
#define CONSOLE_INPUT_RATE 262144 /* bytes a second to the guest */

/* Called on the console's thread with no lock held. */
struct console_ops {
	void (*input)(void *opaque); /* there is more to read */
	void (*room)(void *opaque);  /* there is more room to write, after console_write() failed */
	void (*end)(void *opaque);   /* Ctrl-a x */
};

struct console_config {
	int in, out; /* descriptors; in may be -1 */
	bool raw;    /* put a terminal into raw mode */
	const struct console_ops *ops;
	void *opaque;
};

/* 0 or a negative errno. Starts the thread. */
int console_create(const struct console_config *config, struct console **console);

/* Stop the thread, restore the terminal, free. What was not written is lost. */
void console_destroy(struct console *console);

/*
 * Wait until all that the guest wrote is written, or cannot be, or
 * `cancel_fd` becomes readable (then -ECANCELED).
 */
int console_drain(struct console *console, int cancel_fd);

/* All of it or nothing: -EAGAIN when there is no room; ops->room() follows. Any thread. */
int console_write(struct console *console, const void *data, size_t length);

/* Up to `most` bytes of input; returns how many. Any thread. */
size_t console_read(struct console *console, void *to, size_t most);

/*
 * Up to `most` bytes of one line of input, without its end; what of a longer
 * line does not fit is the next line. Returns false when there is none yet.
 */
bool console_read_line(struct console *console, void *to, size_t most, size_t *length);
bool console_has_input(struct console *console);
bool console_has_line(struct console *console);

/* For a terminal that a stop signal takes away and a continue signal gives back. */
void console_suspend(struct console *console);
void console_resume(struct console *console);

#endif
