/* SPDX-License-Identifier: MIT */
/*
 * The messages of vfio-user, and how they go over a socket.
 *
 * A message is a header of 16 bytes, a payload whose form follows from the command, and
 * file descriptors beside it. A command is answered by a reply with the same number,
 * unless it says that it wants none. Both sides send commands: the client nearly all of
 * them, the server those that read and write the client's memory. All numbers have the
 * byte order of the host.
 *
 * A message is read in one place, and it is checked there that its parts are there: the
 * header's size is at least a header and at most what the reader has room for, the type
 * is one of two, the command exists, descriptors are no more than may be. What follows
 * after that is a payload of a known length, and user_payload() says whether it is one of
 * the wanted form.
 *
 * Sources: "vfio-user Protocol Specification", docs/vfio-user.rst of libvfio-user, and
 * hw/vfio-user of QEMU 10.1 (protocol.h, proxy.c). Structures that are the kernel's are
 * those of <linux/vfio.h> without what has been added at their ends.
 */
#ifndef ZVISOR_VFIO_USER_PROTOCOL_H
#define ZVISOR_VFIO_USER_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define USER_VERSION_MAJOR 0
#define USER_VERSION_MINOR 1

enum user_command {
	USER_VERSION = 1,
	USER_DMA_MAP = 2,
	USER_DMA_UNMAP = 3,
	USER_DEVICE_GET_INFO = 4,
	USER_DEVICE_GET_REGION_INFO = 5,
	USER_DEVICE_GET_REGION_IO_FDS = 6,
	USER_DEVICE_GET_IRQ_INFO = 7,
	USER_DEVICE_SET_IRQS = 8,
	USER_REGION_READ = 9,
	USER_REGION_WRITE = 10,
	USER_DMA_READ = 11,
	USER_DMA_WRITE = 12,
	USER_DEVICE_RESET = 13,
	USER_REGION_WRITE_MULTI = 15,
	USER_COMMAND_MAX = 31, /* of those that may come yet */
	/* Ours, where it has been agreed on (user_version.h). */
	USER_RING = 31,
};

/* For messages to a person and traces; never NULL. */
const char *user_command_name(unsigned command);

struct user_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* of the whole message */
	uint32_t flags;
	uint32_t error; /* an errno, in a reply with USER_ERROR */
};

#define USER_TYPE_MASK 0xf
#define USER_TYPE_COMMAND 0
#define USER_TYPE_REPLY 1
#define USER_NO_REPLY 0x10
#define USER_ERROR 0x20

/* Followed by JSON text that ends with a NUL, or nothing. */
struct user_version {
	uint16_t major, minor;
};

#define USER_DMA_READABLE 1
#define USER_DMA_WRITABLE 2
/* Ours, where it has been agreed on (user_version.h): of the same file as the last, none comes. */
#define USER_DMA_SAME_FILE (1u << 31)

struct user_dma_map {
	uint32_t argsz, flags;
	uint64_t offset; /* in the file that comes with it */
	uint64_t address;
	uint64_t size;
};

#define USER_UNMAP_ALL 2 /* as VFIO_DMA_UNMAP_FLAG_ALL: address and size are 0 */

struct user_dma_unmap {
	uint32_t argsz, flags;
	uint64_t address;
	uint64_t size;
};

struct user_device_info {
	uint32_t argsz, flags;
	uint32_t regions, irqs;
};

struct user_region_info {
	uint32_t argsz, flags;
	uint32_t index;
	uint32_t cap_offset;
	uint64_t size;
	uint64_t offset; /* in the file that comes with it */
};

struct user_irq_info {
	uint32_t argsz, flags;
	uint32_t index;
	uint32_t count;
};

/* Followed by `count` bytes if the flags say "boolean". */
struct user_irq_set {
	uint32_t argsz, flags;
	uint32_t index;
	uint32_t start, count;
};

/* Reads and writes of a region, and their replies; followed by the bytes, if any. */
struct user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};

/* The same of memory. */
struct user_dma_access {
	uint64_t address;
	uint64_t count;
};

/* --- limits ------------------------------------------------------------------------ */

/*
 * Bytes of data that one message may carry: what we announce, what holds when a peer says
 * nothing, and what we never send more of.
 */
#define USER_TRANSFER_MAX (1u << 20)
#define USER_PAYLOAD_MAX (USER_TRANSFER_MAX + 64)

/* A register is the least that a peer takes; with less it is not spoken to. */
#define USER_TRANSFER_MIN 8

/*
 * Descriptors in one message: what we announce, and what QEMU takes for malformed if it is more
 * (VFIO_USER_MAX_MAX_FDS). A peer that says nothing takes one.
 */
#define USER_FDS_MAX 16

/* DMA regions at once: what we announce, and what holds when a peer says nothing. */
#define USER_REGIONS_MAX 65535

/* Longest JSON text of a version message, with its NUL. */
#define USER_VERSION_TEXT_MAX 4096

/* --- reading and writing -------------------------------------------------------------- */

struct user_fds {
	unsigned count;
	int fd[USER_FDS_MAX];
};

void user_fds_close(struct user_fds *fds);

/* Take one out; it is the caller's then. -1 when it is not there. */
int user_fds_take(struct user_fds *fds, unsigned index);

/*
 * Can a file that came from the peer be mapped without fear of SIGBUS? It has the seals that are
 * asked for, F_SEAL_SHRINK at least, and pages of the usual size: of others, more is mapped than
 * what is asked for (mmap(2), "Huge page mappings"), and what is punched out may not come back.
 */
bool user_file_can_be_mapped(int fd, int seals);

struct user_message {
	struct user_header header;
	uint8_t *payload; /* where user_message_read() was told to put it */
	uint32_t length; /* of the payload */
	struct user_fds fds;
};

/* What is wrong with a header by itself; NULL: nothing. */
const char *user_header_fault(const struct user_header *header);

/*
 * How long a message is waited for: until `until` (base/deadline.h; 0: only what is there),
 * and from its first byte on no longer than `message_ms`. A peer that sends one byte after the
 * other gains nothing by it.
 */
struct user_patience {
	uint64_t until;
	unsigned message_ms;
};

/*
 * Read one message from a stream socket. `payload` has room for USER_PAYLOAD_MAX bytes;
 * `patience` NULL: as long as it takes.
 * 0, and the caller owns the descriptors; or a negative errno and nothing is left open:
 *	-ECONNRESET  the peer has closed, at the end of a message
 *	-EPROTO      malformed, or not there in time; `why` is set to a text that says in what
 *	-EAGAIN      no message has begun
 *	other        of recvmsg(2)
 */
int user_message_read(int socket, struct user_message *message, uint8_t *payload,
		      const struct user_patience *patience, const char **why);

/*
 * The same of a socket that only this reader reads: with `more`, one system call may take
 * what follows the message, too, which is kept in `ahead` for the next call. All zeros at first.
 * As long as something is left there the socket does not say that there is something to be read.
 *
 * Descriptors that came with several messages are the last one's: Linux ends a read behind what
 * was sent with descriptors (unix_stream_read_generic() in net/unix/af_unix.c).
 */
#define USER_AHEAD_MAX 512

struct user_ahead {
	unsigned begin, end;
	struct user_fds fds;
	uint8_t bytes[USER_AHEAD_MAX];
};

static inline bool user_ahead_any(const struct user_ahead *ahead)
{
	return ahead->begin < ahead->end;
}

int user_message_read_ahead(int socket, struct user_ahead *ahead, bool more,
			    struct user_message *message, uint8_t *payload,
			    const struct user_patience *patience, const char **why);

/*
 * Write a message: the header, whose size is set here, and up to USER_PARTS_MAX pieces of
 * payload, until a deadline. 0 or a negative errno, -EAGAIN when it is past; then part of
 * it may have been written. One thread at a time.
 */
#define USER_PARTS_MAX 3
int user_message_write(int socket, struct user_header *header, const struct iovec *parts,
		       unsigned part_count, const int *fds, unsigned fd_count, uint64_t until);

/*
 * Is the payload a structure of `size` bytes and then `tail` more? NULL: no. If `tail` is
 * USER_ANY_TAIL, as many as there are.
 */
#define USER_ANY_TAIL UINT32_MAX
static inline const void *user_payload(const struct user_message *message, uint32_t size,
				       uint32_t tail)
{
	if (message->length < size || (tail != USER_ANY_TAIL && message->length - size != tail))
		return NULL;
	return message->payload;
}

#endif
