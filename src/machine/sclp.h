/* SPDX-License-Identifier: MIT */
/*
 * The service-call logical processor (SCLP): configuration, consoles, shutdown.
 *
 * A guest executes SERVC with a command word and the absolute address of a
 * service-call control block (SCCB). The block is fetched once, worked on
 * in private memory, and what the command changed is stored back; then a service
 * signal makes the end known. All commands end at once but one: output to a
 * console that has no room. That one stays in progress, SERVC answers
 * "busy" meanwhile, and it ends when the console has room.
 *
 * The event facility moves event buffers: the guest says in a mask which types
 * it wants (write event mask), is told by a bit in the service signal's
 * parameter that there are some, and fetches them (read event data).
 *
 * What is around it (memory, the interruption, console, PCI) are functions, so that
 * the tests can be that.
 *
 * The SCLP interface is not in the Principles of Operation. Sources: Linux
 * drivers/s390/char/sclp*.[ch] and what QEMU's hw/s390x/sclp.c and
 * event-facility.c answer.
 */
#ifndef ZVISOR_MACHINE_SCLP_H
#define ZVISOR_MACHINE_SCLP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/arch.h"

struct memory;

#define SCLP_SCCB_MAX 4096

enum sclp_console {
	SCLP_CONSOLE_VT220,
	SCLP_CONSOLE_LINE_MODE,
};

struct sclp_ops {
	/* The service signal. Called with the SCLP's lock held. */
	void (*interrupt)(void *opaque, uint32_t parameter);
	/* The console: as the functions of console.h with the same names. */
	int (*write)(void *opaque, const void *data, size_t length);
	size_t (*read)(void *opaque, void *to, size_t most);
	bool (*read_line)(void *opaque, void *to, size_t most, size_t *length);
	bool (*has_input)(void *opaque);
	bool (*has_line)(void *opaque);
	/*
	 * Configure (on) or deconfigure the PCI function `fid`: returns the SCLP
	 * response code. NULL: the machine has no PCI.
	 */
	uint16_t (*pci_configure)(void *opaque, uint32_t fid, bool on);
};

struct sclp_config {
	struct memory *memory;
	unsigned int cpus;
	enum sclp_console console;
	bool directed_interrupts; /* announce that interruptions can be directed to a CPU */
	const struct sclp_ops *ops;
	void *opaque;
};

struct sclp {
	struct sclp_config config;
	pthread_mutex_t lock;
	/* Guest-visible */
	uint64_t receive_mask; /* event types that the guest wants, type 1 leftmost */
	uint16_t mask_length;  /* bytes, as the guest last wrote its masks */
	bool quiesce_pending;
	/* The operation in progress: output that waits for the console */
	bool busy;
	uint32_t busy_command;
	uint64_t busy_address;
	uint8_t busy_sccb[SCLP_SCCB_MAX];
	size_t busy_offset; /* of the event buffer to go on with */
};

void sclp_init(struct sclp *sclp, const struct sclp_config *config);
void sclp_destroy(struct sclp *sclp);
void sclp_reset(struct sclp *sclp);

/*
 * SERVC. `prefix` is that of the CPU. Returns PGM_NONE with the condition code
 * (0 started, 2 busy) in *cc, or the program interruption that it is.
 */
enum pgm_code sclp_service_call(struct sclp *sclp, uint32_t command, uint64_t address,
				uint32_t prefix, unsigned int *cc);

/* The console has input, or room for output again. Any thread. */
void sclp_console_input(struct sclp *sclp);
void sclp_console_room(struct sclp *sclp);

/*
 * Ask the guest to shut down (signal quiesce). -EOPNOTSUPP when it has not said
 * that it takes such events.
 */
int sclp_quiesce(struct sclp *sclp);

#endif
