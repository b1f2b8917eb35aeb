/* SPDX-License-Identifier: MIT */
/*
 * The guest's console on the host; see console.h.
 *
 * One thread polls both descriptors. Writes are at most PIPE_BUF bytes after
 * poll() said that there is room, which a pipe and a terminal then take without
 * blocking, so that the thread stays able to read and to stop.
 */
#include "machine/console.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define ESCAPE 0x01 /* Ctrl-a */

/* A ring of bytes; `head` and `tail` count on, the buffer is a power of two. */
struct ring {
	uint8_t bytes[CONSOLE_BUFFER];
	size_t head; /* written so far */
	size_t tail; /* read so far */
};

struct console {
	struct console_config config;
	pthread_t thread;
	int wake;    /* eventfd: the thread shall look again */
	int drained; /* eventfd: readable while there is nothing to write */
	bool in_is_terminal;
	bool escaped; /* Ctrl-a was read; the thread's own */

	pthread_mutex_t lock; /* guards what follows */
	struct ring input;
	struct ring output;
	uint64_t input_due; /* nanoseconds: earlier than that the guest gets no more */
	bool input_told;    /* that there is some, and since then nothing has changed */
	bool stop;
	bool want_room;
	bool input_ended;
	bool output_broken;
};

/*
 * The terminal to restore. A handler of signals has no argument to carry it, so
 * it is process-wide, as the terminal is.
 */
static struct termios terminal_saved;
static int terminal_fd;
static atomic_bool terminal_raw;

/* --- terminal --------------------------------------------------------------- */

/* tcsetattr() is async-signal-safe. */
static void terminal_restore(void)
{
	if (atomic_exchange(&terminal_raw, false))
		tcsetattr(terminal_fd, TCSANOW, &terminal_saved);
}

static void terminal_die(int signal_number)
{
	terminal_restore();
	/* The handler was installed with SA_RESETHAND: now it is the default's turn. */
	raise(signal_number);
}

static void terminal_set_raw(void)
{
	struct termios raw = terminal_saved;

	cfmakeraw(&raw);
	/*
	 * Output stays as it is: the early consoles of Linux end their lines
	 * with a line feed alone, as the lines of zvisor itself do.
	 */
	raw.c_oflag = terminal_saved.c_oflag;
	if (!tcsetattr(terminal_fd, TCSANOW, &raw))
		atomic_store(&terminal_raw, true);
}

static void terminal_begin(int fd)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP };
	static atomic_bool registered;
	struct sigaction action = { .sa_handler = terminal_die, .sa_flags = SA_RESETHAND };

	if (tcgetattr(fd, &terminal_saved))
		return;
	terminal_fd = fd;
	if (!atomic_exchange(&registered, true))
		atexit(terminal_restore);
	for (unsigned int i = 0; i < ARRAY_SIZE(deadly); i++)
		sigaction(deadly[i], &action, NULL);
	terminal_set_raw();
}

/* --- rings ------------------------------------------------------------------ */

static size_t ring_used(const struct ring *ring)
{
	return ring->head - ring->tail;
}

static size_t ring_room(const struct ring *ring)
{
	return CONSOLE_BUFFER - ring_used(ring);
}

static void ring_put(struct ring *ring, const uint8_t *data, size_t length)
{
	while (length--)
		ring->bytes[ring->head++ % CONSOLE_BUFFER] = *data++;
}

static size_t ring_peek(const struct ring *ring, uint8_t *to, size_t most)
{
	size_t length = MIN(most, ring_used(ring));

	for (size_t i = 0; i < length; i++)
		to[i] = ring->bytes[(ring->tail + i) % CONSOLE_BUFFER];
	return length;
}

/* -------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void eventfd_raise(int fd)
{
	uint64_t one = 1;

	/* It cannot fail but by overflow, and then it is readable anyway. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void eventfd_lower(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return;
}

static void print_help(void)
{
	static const char *const lines[] = {
		"Ctrl-a x       end the guest at once",
		"Ctrl-a h       this help",
		"Ctrl-a Ctrl-a  send Ctrl-a",
	};

	/* The guest's line, into which this comes, is not at its end. */
	log_write("\n", 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(lines); i++)
		log_line("%s", lines[i]);
}

/*
 * Take the commands out of what was typed. Returns how many bytes are left for
 * the guest; *end is set when the machine shall end.
 */
static size_t filter_commands(struct console *console, uint8_t *typed, size_t length, bool *end)
{
	size_t left = 0;

	for (size_t i = 0; i < length; i++) {
		uint8_t c = typed[i];

		if (!console->escaped) {
			if (c == ESCAPE)
				console->escaped = true;
			else
				typed[left++] = c;
			continue;
		}
		console->escaped = false;
		if (c == 'x' || c == 'X')
			*end = true;
		else if (c == ESCAPE)
			typed[left++] = c;
		else if (c == 'h' || c == 'H' || c == '?')
			print_help();
	}
	return left;
}

static void read_input(struct console *console)
{
	uint8_t buffer[4096];
	size_t length, room;
	ssize_t got;
	bool end = false;

	pthread_mutex_lock(&console->lock);
	room = ring_room(&console->input);
	pthread_mutex_unlock(&console->lock);
	/*
	 * A person at a terminal must be able to end a guest that does not
	 * read; what is typed beyond the buffer is lost, as on any terminal.
	 */
	length = console->in_is_terminal ? sizeof(buffer) : MIN(room, sizeof(buffer));
	if (!length)
		return;
	got = read(console->config.in, buffer, length);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	length = got > 0 ? (size_t)got : 0;
	if (console->in_is_terminal)
		length = filter_commands(console, buffer, length, &end);

	pthread_mutex_lock(&console->lock);
	if (got <= 0)
		console->input_ended = true;
	ring_put(&console->input, buffer, MIN(length, room));
	console->input_told = false;
	pthread_mutex_unlock(&console->lock);

	if (end)
		console->config.ops->end(console->config.opaque);
}

/*
 * Tell that there is input, if there is and it is time. Returns how long poll() may
 * wait for that time, in milliseconds, or -1.
 */
static int tell_input(struct console *console)
{
	bool tell = false;
	int timeout = -1;

	pthread_mutex_lock(&console->lock);
	if (!console->input_told && ring_used(&console->input)) {
		uint64_t now = now_ns();

		if (now >= console->input_due)
			tell = console->input_told = true;
		else
			timeout = (int)((console->input_due - now) / 1000000 + 1);
	}
	pthread_mutex_unlock(&console->lock);
	if (tell)
		console->config.ops->input(console->config.opaque);
	return timeout;
}

static void write_output(struct console *console)
{
	uint8_t buffer[PIPE_BUF];
	bool tell = false;
	size_t length;
	ssize_t done;

	pthread_mutex_lock(&console->lock);
	length = ring_peek(&console->output, buffer, sizeof(buffer));
	pthread_mutex_unlock(&console->lock);
	if (!length)
		return;
	done = write(console->config.out, buffer, length);
	if (done < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (done < 0)
		log_line("console output: %s; what the guest writes is dropped from now on",
			 strerror(errno));

	pthread_mutex_lock(&console->lock);
	if (done < 0) {
		console->output_broken = true;
		console->output.tail = console->output.head;
	} else {
		console->output.tail += (size_t)done;
	}
	if (!ring_used(&console->output))
		eventfd_raise(console->drained);
	if (console->want_room && ring_room(&console->output) >= CONSOLE_BUFFER / 2) {
		console->want_room = false;
		tell = true;
	}
	pthread_mutex_unlock(&console->lock);
	if (tell)
		console->config.ops->room(console->config.opaque);
}

static void *console_thread(void *argument)
{
	struct console *console = argument;

	for (;;) {
		struct pollfd fds[3] = {
			{ .fd = console->wake, .events = POLLIN },
			{ .fd = -1, .events = POLLIN },
			{ .fd = -1, .events = POLLOUT },
		};
		int timeout = tell_input(console);

		pthread_mutex_lock(&console->lock);
		if (console->stop) {
			pthread_mutex_unlock(&console->lock);
			return NULL;
		}
		if (!console->input_ended &&
		    (console->in_is_terminal || ring_room(&console->input)))
			fds[1].fd = console->config.in;
		if (ring_used(&console->output))
			fds[2].fd = console->config.out;
		pthread_mutex_unlock(&console->lock);

		if (poll(fds, ARRAY_SIZE(fds), timeout) < 0)
			continue;
		if (fds[0].revents)
			eventfd_lower(console->wake);
		/* An error or a hang-up shows in the read or write. */
		if (fds[1].revents)
			read_input(console);
		if (fds[2].revents)
			write_output(console);
	}
}

int console_create(const struct console_config *config, struct console **result)
{
	struct console *console = calloc(1, sizeof(*console));
	int error;

	if (!console)
		return -ENOMEM;
	console->config = *config;
	pthread_mutex_init(&console->lock, NULL);
	console->input_ended = config->in < 0;
	console->in_is_terminal = config->in >= 0 && isatty(config->in);
	console->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->wake < 0) {
		error = errno;
		goto free_console;
	}
	console->drained = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->drained < 0) {
		error = errno;
		goto close_wake;
	}
	if (console->in_is_terminal && config->raw)
		terminal_begin(config->in);
	error = pthread_create(&console->thread, NULL, console_thread, console);
	if (error)
		goto restore;
	*result = console;
	return 0;
restore:
	terminal_restore();
	close(console->drained);
close_wake:
	close(console->wake);
free_console:
	pthread_mutex_destroy(&console->lock);
	free(console);
	return -error;
}

void console_destroy(struct console *console)
{
	if (!console)
		return;
	pthread_mutex_lock(&console->lock);
	console->stop = true;
	pthread_mutex_unlock(&console->lock);
	eventfd_raise(console->wake);
	pthread_join(console->thread, NULL);
	if (console->in_is_terminal && console->config.raw)
		terminal_restore();
	close(console->drained);
	close(console->wake);
	pthread_mutex_destroy(&console->lock);
	free(console);
}

int console_drain(struct console *console, int cancel_fd)
{
	struct pollfd fds[2] = {
		{ .fd = console->drained, .events = POLLIN },
		{ .fd = cancel_fd, .events = POLLIN },
	};

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		;
	return fds[0].revents ? 0 : -ECANCELED;
}

int console_write(struct console *console, const void *data, size_t length)
{
	bool wake = false;
	int rc = 0;

	pthread_mutex_lock(&console->lock);
	if (console->output_broken) {
		/* Nobody will read it. */
	} else if (ring_room(&console->output) < length) {
		console->want_room = true;
		rc = -EAGAIN;
	} else if (length) {
		wake = !ring_used(&console->output);
		if (wake)
			eventfd_lower(console->drained);
		ring_put(&console->output, data, length);
	}
	pthread_mutex_unlock(&console->lock);
	if (wake)
		eventfd_raise(console->wake);
	return rc;
}

/* With the lock held, after something was taken from the input. */
static void input_taken(struct console *console, size_t length)
{
	if (!length)
		return;
	console->input.tail += length;
	console->input_due = now_ns() + length * 1000000000u / CONSOLE_INPUT_RATE;
	console->input_told = false;
	/* There may be room to read again, or more to tell of. */
	if (ring_room(&console->input) == length || ring_used(&console->input))
		eventfd_raise(console->wake);
}

/* With the lock held. */
static bool input_is_due(const struct console *console)
{
	return ring_used(&console->input) && now_ns() >= console->input_due;
}

size_t console_read(struct console *console, void *to, size_t most)
{
	size_t length;

	pthread_mutex_lock(&console->lock);
	length = input_is_due(console) ? ring_peek(&console->input, to, most) : 0;
	input_taken(console, length);
	pthread_mutex_unlock(&console->lock);
	return length;
}

static bool is_line_end(uint8_t c)
{
	return c == '\n' || c == '\r';
}

/* With the lock held: the bytes up to the end of the first line, SIZE_MAX: none yet. */
static size_t line_length(const struct console *console)
{
	size_t used = ring_used(&console->input);

	if (!input_is_due(console))
		return SIZE_MAX;
	for (size_t i = 0; i < used; i++)
		if (is_line_end(console->input.bytes[(console->input.tail + i) % CONSOLE_BUFFER]))
			return i;
	/* A last line without an end, or one longer than the buffer. */
	if (used && (console->input_ended || !ring_room(&console->input)))
		return used;
	return SIZE_MAX;
}

bool console_read_line(struct console *console, void *to, size_t most, size_t *length)
{
	bool found = false;
	size_t line;

	pthread_mutex_lock(&console->lock);
	line = line_length(console);
	if (line != SIZE_MAX) {
		found = true;
		*length = ring_peek(&console->input, to, MIN(line, most));
		/* The end of the line goes with its last piece. */
		input_taken(console, *length +
				     (*length == line && line < ring_used(&console->input)));
	}
	pthread_mutex_unlock(&console->lock);
	return found;
}

bool console_has_input(struct console *console)
{
	bool has;

	pthread_mutex_lock(&console->lock);
	has = input_is_due(console);
	pthread_mutex_unlock(&console->lock);
	return has;
}

bool console_has_line(struct console *console)
{
	bool has;

	pthread_mutex_lock(&console->lock);
	has = line_length(console) != SIZE_MAX;
	pthread_mutex_unlock(&console->lock);
	return has;
}

void console_suspend(struct console *console)
{
	if (console->in_is_terminal && console->config.raw)
		terminal_restore();
}

void console_resume(struct console *console)
{
	if (console->in_is_terminal && console->config.raw)
		terminal_begin(console->config.in);
}
