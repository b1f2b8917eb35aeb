/* SPDX-License-Identifier: MIT */
/*
 * Initial program load from files of the host: a kernel, an initial RAM disk
 * and a command line are put into memory as a boot loader would leave them.
 *
 * The kernel is an ELF executable for s390x, loaded by its program headers, or a
 * raw image as Linux distributions install it, whose first byte belongs at
 * absolute 0. A Linux kernel of either kind is entered at 0x10000 and finds its
 * parameters at 0x10400; any other program at the ELF entry point, or at the
 * address in the PSW that a raw image has in its first 8 bytes.
 *
 * Whatever overlaps or does not fit is refused before the guest starts.
 *
 * Sources: Linux arch/s390/boot/head.S and include/asm/setup.h (parameter
 * area); the ELF specification with its s390x supplement; what
 * `qemu-system-s390x -kernel` does, so that a guest for one runs on the other.
 */
#ifndef ZVISOR_MACHINE_IPL_H
#define ZVISOR_MACHINE_IPL_H

#include <stddef.h>
#include <stdint.h>

struct memory;

struct ipl_request {
	const char *kernel; /* file name */
	const char *initrd; /* file name, or NULL */
	const char *append; /* command line, or NULL */
};

/* Where CPU 0 starts. */
struct ipl_entry {
	uint64_t psw_mask;
	uint64_t psw_addr;
};

/*
 * Load into memory that is all zeroes. On failure returns a negative errno and
 * leaves one line in `error` that names the option and the value; -EIO is a host
 * that failed, all else a request that cannot be.
 */
int ipl_load(const struct ipl_request *request, struct memory *memory, struct ipl_entry *entry,
	     char *error, size_t error_size);

#endif
