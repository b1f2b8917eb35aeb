/* SPDX-License-Identifier: MIT */
/*
 * A guest for tests of libzpci: an array for memory, a vCPU that is sixteen
 * registers and a condition code, a device that writes down what reaches it, and a
 * machine that counts.
 *
 * Guest-virtual addresses are absolute ones, those of PCI registers too. Pages from `inaccessible` on (0:
 * none) cause an access exception.
 */
#ifndef TESTS_ZPCI_GUEST_H
#define TESTS_ZPCI_GUEST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "dma/dma.h"
#include "pci/host.h"
#include "zpci/zpci.h"

#define GUEST_MEMORY (4 * MIB)
#define MIO_BIT (1ull << 63)
#define GUEST_FID 0x11
#define GUEST_UID 0x22
#define DEVICE_BAR0_SIZE 0x10000
#define DEVICE_VECTORS 64
#define DEVICE_MSIX_TABLE 0x8000
#define DEVICE_MSIX_PBA 0xc000
#define DEVICE_MSI_VECTORS 8

struct device {
	uint64_t value;      /* what a read returns */
	unsigned bar, size;  /* of the last access */
	uint64_t offset, written;
	unsigned reads, writes;
	uint8_t block[PCI_BLOCK_MAX];
	unsigned block_length, blocks;
	int block_error;
	unsigned resets;
	unsigned enablings;
	unsigned busy; /* so many times it cannot be reset at once */
	bool attached;
	/* If not NULL, this is called when it is about to be detached. */
	void (*on_detaching)(void *opaque);
	void *opaque;
};

struct guest {
	uint8_t *memory;
	struct zpci *zpci;
	struct device device;
	struct pci_function *function;
	uint32_t fh;
	bool plugged;

	struct zpci_vcpu vcpu; /* condition code 99: not set */
	uint64_t gr[16];
	unsigned program; /* interruption that was raised, 0: none */
	bool access_exception;
	uint64_t inaccessible;
	uint8_t storage_key; /* of every page */
	bool mio_unmapped, mio_read_only;

	unsigned interruptions[8]; /* by interruption subclass */
	unsigned modes[8];         /* last SIC mode, 99: none */
	unsigned directed[4]; /* directed interruptions, by CPU address */
	unsigned directed_isc; /* of the last */
	bool stopped[4]; /* CPUs that take none */
	unsigned directed_modes[4][8];
	/* If not NULL, these are called for interruptions and stores. */
	void (*present)(struct guest *g, unsigned isc);
	bool (*present_directed)(struct guest *g, unsigned cpu, unsigned isc);
	void (*on_written)(struct guest *g);
	int unseen_writers; /* stores_unseen: begins less ends */
	void *controller;
	unsigned event_calls;
	uint32_t deconfigured;     /* fid of the last call */
	uint64_t written_first, written_length; /* last report of a store */
	unsigned written_calls;
	pthread_mutex_t lock; /* of what the machine's functions write */
	char trace[512];           /* the last record: event, space, text */
	unsigned traces;
};

/* A guest with one disabled function; as cmocka's setup and teardown. */
int guest_setup(void **state);
int guest_teardown(void **state);

/* The same with its parts: no function is plugged. */
struct guest *guest_new(void);
struct guest *guest_new_without_directed(void);
struct guest *guest_new_without_mio(void); /* the memory-I/O facility */
void guest_free(struct guest *g);
void guest_plug(struct guest *g, const struct zpci_function_config *config);
/* A function of another kind; the guest frees it. */
void guest_plug_function(struct guest *g, struct pci_function *function,
			 const struct zpci_function_config *config);

extern const struct pci_device_ops device_ops;

/* A device and function model of the test's kind, not plugged. */
struct pci_function *device_function(struct device *device);

/* Forget what instructions left behind. */
void guest_clear(struct guest *g);

static inline void *guest_at(struct guest *g, uint64_t absolute)
{
	return g->memory + absolute;
}

/* --- instructions, by name and with the usual registers ------------------------ */

/* The status code in a register that held a handle. */
static inline unsigned status_of(uint64_t gr)
{
	return gr >> 24 & 0xff;
}

/* Enable the function (and make it bus master), or disable it. */
void guest_enable(struct guest *g);
void guest_disable(struct guest *g);

/* PCILG, PCISTG with R1 = 5 and R2 = 6; the second operand is put together here. */
int guest_pcilg(struct guest *g, unsigned space, uint64_t offset, unsigned length);
int guest_pcistg(struct guest *g, unsigned space, uint64_t offset, unsigned length,
		 uint64_t data);

/* A FIB at FIB_AT, and MPCIFC, STPCIFC with R1 = 5 on it. */
#define FIB_AT 0x3000
#define FIB_SIZE 80
uint8_t *guest_fib(struct guest *g);
int guest_mpcifc(struct guest *g, unsigned operation);
int guest_stpcifc(struct guest *g, uint32_t fh);

/* Register a region-third table that maps `iova` to `absolute` and nothing else. */
#define TABLES_AT 0x100000
#define IOTA_RTTO 0x804
void guest_register_translation(struct guest *g);
void guest_map(struct guest *g, uint64_t iova, uint64_t absolute, bool writable);
void guest_unmap(struct guest *g, uint64_t iova);
int guest_rpcit(struct guest *g, uint64_t start, uint64_t length);

#define SDMA 0x100000000ull

/* Register `noi` vectors with their bits at AIBV_AT and a summary bit. */
#define AIBV_AT 0x5000
#define AISB_AT 0x6000
void guest_register_interruptions(struct guest *g, unsigned isc, unsigned noi);
/* The same directed: summary bits for 4 CPUs at DISB_AT, a vector for each at DIBV_AT. */
#define DISB_AT 0x6100
#define DIBV_AT(cpu) (0x7000 + 0x100 * (cpu))
#define SIC_BLOCK_AT 0x4000
int guest_sic(struct guest *g, unsigned operation, unsigned isc);
void guest_direct(struct guest *g, unsigned isc);
void guest_register_directed(struct guest *g, unsigned noi, unsigned dibvo);
/* Offset in config space. */
unsigned guest_find_capability(struct guest *g, unsigned id);
/* Program and unmask an MSI-X entry, and enable MSI-X. */
void guest_program_vector(struct guest *g, unsigned entry, uint64_t address, uint32_t data);

#endif
