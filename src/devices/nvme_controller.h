/* SPDX-License-Identifier: MIT */
/*
 * The inside of the NVMe controller: one PCI function, one namespace, one image.
 *
 *   nvme.c           registers, enable, disable, shutdown, reset; the device's thread
 *   nvme_queue.c     queues: doorbells, fetching commands, posting completions
 *   nvme_transfer.c  PRPs and SGLs to ranges of memory, small transfers
 *   nvme_io.c        the NVM commands
 *   nvme_admin.c     the admin commands, and asynchronous events
 *   nvme_identify.c, nvme_features.c, nvme_log.c   what some of those talk about
 *
 * The road of a command. A doorbell store runs the completion queue that the
 * submission queue belongs to, on the vCPU's thread: entries are copied out of
 * guest memory once, checked, and handed to the kernel; what is answered at once
 * is posted and interrupts before the store ends. The rest is posted by the
 * device's thread when the kernel wakes it up.
 *
 * A completion queue has a fixed number of requests, allocated when it is made. When
 * all are under way, commands stay in guest memory until one is free. A completion
 * that finds the queue full waits, and keeps its request, until the guest makes room.
 *
 * Locks, outermost first:
 *	controller lock     CC, CSTS, enable and disable
 *	lock of queue 0     the admin queues; held while an admin command executes
 *	lock of queue n     a completion queue, its submission queues, their requests,
 *			    and its block queue; no two of these at once
 *	event lock          events and the error log
 * A vCPU that rings a doorbell never waits for the lock of a queue: whoever has it
 * looks for new work after giving it up (nvme_queue_run). What is found out under an
 * inner lock and needs an outer one is noted in `notes` and done after unlocking.
 *
 * State that the guest can see is in the structs named …_state, and nowhere else.
 */
#ifndef ZVISOR_DEVICES_NVME_CONTROLLER_H
#define ZVISOR_DEVICES_NVME_CONTROLLER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/util.h"
#include "devices/block.h"
#include "devices/nvme_spec.h"
#include "zpci/dma.h"
#include "zpci/pci.h"

#define NVME_IO_QUEUES_MAX 64
#define NVME_QUEUES (NVME_IO_QUEUES_MAX + 1) /* with the admin queue, number 0 */
#define NVME_VECTORS NVME_QUEUES
#define NVME_ENTRIES_MAX 1024 /* of an I/O queue */
#define NVME_REQUESTS 64      /* under way per completion queue */
#define NVME_FETCH_MAX 16     /* commands taken from a submission queue in its turn */
#define NVME_MDTS 8           /* largest transfer: 2^8 pages */
#define NVME_TRANSFER_MAX ((uint64_t)PAGE_SIZE << NVME_MDTS)
/*
 * Pieces of a transfer, in bus or host addresses: twice what PRPs can have. A list (SGL) of
 * more is refused by its status; Linux makes 128 at most (NVME_MAX_SEGS in
 * drivers/nvme/host/pci.c).
 */
#define NVME_SEGMENTS_MAX 512
#define NVME_ASYNC_REQUESTS_MAX 4
#define NVME_EVENTS_MAX 16
#define NVME_ERROR_ENTRIES 64
#define NVME_NSID 1
#define NVME_BLOCK_SHIFT 9
#define NVME_NO_STATUS 0xffff /* the command completes later */

static_assert(NVME_TRANSFER_MAX <= BLOCK_LENGTH_MAX, "a transfer is one block request");
static_assert(BLOCK_SECTOR == 1 << NVME_BLOCK_SHIFT, "a logical block is a sector");

struct nvme_controller;
struct nvme_cq;
struct nvme_sq;

/* --- what the guest can see ------------------------------------------------- */

struct nvme_register_state {
	uint32_t cc;
	uint32_t aqa;
	uint64_t asq;
	uint64_t acq;
};

struct nvme_sq_state {
	bool exists;
	uint16_t cqid;
	uint32_t size; /* entries */
	uint32_t head, tail;
	uint64_t address;
};

struct nvme_cq_state {
	bool exists;
	bool interrupts;
	bool phase;
	uint16_t vector;
	uint32_t size;
	uint32_t head, tail;
	uint64_t address;
};

struct nvme_feature_state {
	uint32_t arbitration;
	uint32_t power_management;
	uint16_t over_temperature, under_temperature; /* kelvin */
	uint32_t error_recovery;
	uint32_t interrupt_coalescing;
	uint32_t interrupt_vector[NVME_VECTORS];
	uint32_t write_atomicity;
	uint32_t async_events;
};

struct nvme_event_state {
	uint32_t events[NVME_EVENTS_MAX]; /* as in dword 0 of the completion */
	unsigned event_count;
	uint32_t masked_types; /* reported, and the log page not read yet */
	bool temperature_reported;
	uint64_t error_count;
	struct nvme_error_entry errors[NVME_ERROR_ENTRIES]; /* ring, by error_count */
};

struct nvme_counter_state {
	uint64_t read_commands, write_commands;
	uint64_t read_sectors, write_sectors;
	uint64_t media_errors;
};

struct nvme_identity_state {
	char serial[20]; /* padded with spaces */
	uint8_t uuid[16];
	uint8_t eui64[8];
};

/* --- requests and queues --------------------------------------------------------- */

struct nvme_request {
	struct block_request block;
	struct nvme_request *next; /* free, done or fetched */
	struct nvme_cq *cq;
	struct nvme_sq *sq;
	bool busy;    /* taken from the free list */
	bool in_block; /* the block queue has it */
	uint16_t status;
	uint32_t result;
	struct nvme_command command; /* private: the guest's may change */

	/* Its data: where the guest says it is, and where that is for us. */
	uint64_t length;
	struct pci_dma_range *ranges;
	struct iovec *iov;
	unsigned range_count, iov_count;
	struct pci_dma_access access;
	bool accessing;

	/* Compare and dataset management, which take more than one block request. */
	void *buffer;
	struct iovec buffer_iov;
	unsigned index;
	uint64_t position;
};

struct nvme_request_list {
	struct nvme_request *first, **last;
};

struct nvme_sq {
	struct nvme_sq_state state;
	uint16_t id;
	/* What the guest last stored in the doorbell; any value, from any thread. */
	_Atomic uint32_t doorbell;
	/* NULL: there is no such queue. Changed under the lock of the cq. */
	struct nvme_cq *_Atomic cq;
	struct nvme_sq *next; /* of the same cq */
	unsigned requests;    /* its commands that have not been completed */
	struct nvme_request *deletion; /* delete command that waits for them */
};

struct nvme_cq {
	pthread_mutex_t lock;
	struct nvme_controller *controller;
	struct nvme_cq_state state;
	uint16_t id;
	_Atomic bool open;	   /* as state.exists, for doorbells, which take no lock */
	_Atomic uint32_t doorbell; /* the guest's head */
	_Atomic bool work;         /* somebody rang: run the queue */
	_Atomic bool full;         /* completions wait for room */
	struct nvme_sq *sqs;

	/* Made with the queue's first use, kept until the device goes. */
	struct block_queue *blocks;
	struct nvme_request *requests;
	void *segments; /* ranges and iovs of all requests */
	size_t segments_size;

	struct nvme_request *free;
	struct nvme_request_list done; /* to be posted */
	unsigned busy;                 /* requests not free */
	_Atomic unsigned in_block;     /* … of which the block queue has */
	bool posted;                   /* an interrupt is due */
	struct nvme_counter_state counters;
};

/* Notes for after unlocking. */
#define NVME_NOTE_ADMIN 0x1u /* an event, or the last command of a deleted queue */
#define NVME_NOTE_QUIET 0x2u /* a disabled controller may have become quiet */

enum nvme_phase {
	NVME_DISABLED,
	NVME_ENABLED,
	NVME_STOPPING, /* disabled by the guest, but commands are still under way */
};

struct nvme_controller {
	struct pci_function *function;
	struct block *block;
	uint64_t blocks; /* of the namespace */
	bool readonly;
	char name[32];
	struct timespec created;

	pthread_mutex_t lock;
	pthread_cond_t quiet; /* phase has become disabled */
	enum nvme_phase phase;
	bool resetting;
	struct nvme_register_state registers;
	_Atomic uint32_t csts;
	_Atomic uint32_t entry_sizes; /* of I/O queues, from CC: CQES << 4 | SQES */
	_Atomic uint32_t notes;
	_Atomic bool short_of_resources; /* try again soon, but not at once */

	struct nvme_cq cq[NVME_QUEUES];
	struct nvme_sq sq[NVME_QUEUES];

	/* Under the lock of queue 0. */
	struct nvme_feature_state features;
	_Atomic bool write_cache; /* a feature too, but read by writes */
	bool io_queues_made;      /* since the controller was enabled */
	struct nvme_request *async_requests[NVME_ASYNC_REQUESTS_MAX];
	unsigned async_request_count;

	pthread_mutex_t event_lock;
	struct nvme_event_state events;

	struct nvme_identity_state identity;

	/* A flush for a shutdown, by queue 0, under whose lock these are. */
	struct block_request shutdown;
	bool shutdown_busy;
	bool shutdown_again; /* asked for while it was under way */

	pthread_t thread;
	bool thread_running;
	int wake_fd;
	_Atomic bool quit;
};

/* --- nvme.c ------------------------------------------------------------------------ */

/* The controller cannot go on: only a reset by the guest helps. Any lock may be held. */
void nvme_fatal(struct nvme_controller *c);

/* Let the device's thread look at all queues. Any lock may be held. */
void nvme_wake(struct nvme_controller *c);

void nvme_note(struct nvme_controller *c, uint32_t note);

/* If the controller is stopping and nothing is under way, it is disabled now. */
void nvme_check_quiet(struct nvme_controller *c);

/* --- nvme_queue.c ------------------------------------------------------------------- */

int nvme_cq_init(struct nvme_controller *c, uint16_t id);
void nvme_cq_destroy(struct nvme_cq *cq);

/* The parts that are made with the first use. 0 or a negative errno; idempotent. */
int nvme_cq_prepare(struct nvme_cq *cq);

/* Let the queues exist (lock of the cq held) … */
void nvme_cq_open(struct nvme_cq *cq, uint64_t address, uint32_t size, bool interrupts,
		  uint16_t vector);
void nvme_sq_open(struct nvme_sq *sq, struct nvme_cq *cq, uint64_t address, uint32_t size);
/*
 * … and no more. Closing a cq closes its sqs and drops what was not posted; the lock
 * of queue 0 is held as well, as it is by all that make and end queues.
 */
void nvme_cq_close(struct nvme_cq *cq);
void nvme_sq_close(struct nvme_sq *sq);

void nvme_ring_sq(struct nvme_controller *c, unsigned id, uint32_t value);
void nvme_ring_cq(struct nvme_controller *c, unsigned id, uint32_t value);

/*
 * Somebody has work for the queue: do it here, or leave it to the thread that is
 * at the queue now. No lock may be held.
 */
void nvme_queue_run(struct nvme_cq *cq);

/* Do what was noted. No lock may be held. */
void nvme_run_notes(struct nvme_controller *c);

/* The command has ended with `status`; lock of the cq held. */
void nvme_complete(struct nvme_request *r, uint16_t status);

/* Give the request back without a completion. */
void nvme_release(struct nvme_request *r);

/* r->block is filled in but for done(); `done` is called with the cq's lock held. */
void nvme_start_block(struct nvme_request *r,
		      void (*done)(struct block_request *block, int result));

/*
 * To be called first by each `done`. NULL: the queue was closed meanwhile, and the
 * request is gone.
 */
struct nvme_request *nvme_end_block(struct block_request *block);

/* --- nvme_transfer.c ----------------------------------------------------------------- */

/*
 * Fill r->ranges from the data pointer of r->command for `length` bytes (above 0,
 * at most NVME_TRANSFER_MAX). These return a status.
 */
uint16_t nvme_map_data(struct nvme_request *r, uint64_t length);
uint16_t nvme_begin_access(struct nvme_request *r, enum pci_dma_direction direction);
void nvme_end_access(struct nvme_request *r, uint64_t written);
uint16_t nvme_copy_to_host(struct nvme_request *r, const void *data, uint64_t length);
uint16_t nvme_copy_from_host(struct nvme_request *r, void *data, uint64_t length);

/* --- commands: they return a status, or NVME_NO_STATUS ---------------------------------- */

uint16_t nvme_io_execute(struct nvme_request *r);
uint16_t nvme_admin_execute(struct nvme_request *r);
uint16_t nvme_identify(struct nvme_request *r);
uint16_t nvme_get_features(struct nvme_request *r);
uint16_t nvme_set_features(struct nvme_request *r);
uint16_t nvme_get_log_page(struct nvme_request *r);

/* The status for what the host answered to an operation: 0 or a negative errno. */
uint16_t nvme_status_of_host(enum block_operation operation, int result);

extern const uint32_t nvme_admin_effects[256], nvme_io_effects[256];

/* --- nvme_features.c ---------------------------------------------------------------------- */

#define NVME_TEMPERATURE 0x137 /* kelvin: 38 °C, always */

void nvme_features_reset(struct nvme_controller *c);
bool nvme_temperature_exceeded(const struct nvme_controller *c);

/* --- events: nvme_admin.c ------------------------------------------------------------------ */

/* Any queue's lock may be held; the event is delivered after unlocking. */
void nvme_raise_event(struct nvme_controller *c, unsigned type, unsigned information,
		      unsigned log_page);

/* Note the failed command in the error log. */
void nvme_log_error(struct nvme_controller *c, const struct nvme_request *r, uint16_t status);

/* The events of a type may be reported again, now that its log page was read. */
void nvme_unmask_events(struct nvme_controller *c, unsigned type);

/* Lock of queue 0 held: what was noted for the admin queue. */
void nvme_admin_work(struct nvme_controller *c);

void nvme_events_reset(struct nvme_controller *c);

#endif
