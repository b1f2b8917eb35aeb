/* SPDX-License-Identifier: MIT */
/*
 * The model of a PCI function.
 *
 * A device is one file that implements struct pci_device_ops and describes
 * itself with a struct pci_function_info, some pci_function_add_…() calls for
 * its BARs and capabilities, and from then on knows four things: its registers
 * (the ops), its configuration space (kept here), its interrupts
 * (pci_function_msix_notify) and its memory (pci_function_dma, see dma.h).
 *
 *   device  --pci_function_new-->  function  --zpci_plug-->  libzpci
 *
 * While it is plugged in, the function is attached to libzpci: has memory, and
 * somebody who takes its interrupts. One that is not can be read and written, but
 * reaches neither.
 *
 * Registers. A BAR access from the guest arrives as read or write of 1, 2, 4 or
 * 8 bytes at an offset that is a multiple of its size and inside the BAR; the
 * value is the little-endian register's number in host order. Accesses of other
 * sizes or alignments are cut into such pieces, in ascending order. A block
 * store (PCISTB) of up to 4096 bytes arrives at write_block as one, if the device
 * has it, otherwise as ascending writes of 8 bytes and less.
 * The MSI-X table and pending bits live in a BAR of the device but are kept
 * here: the device never sees accesses to them.
 *
 * Threads. Register callbacks come from any vCPU's thread, several at once, with
 * no lock held: a device guards its registers itself and may, in a callback,
 * do DMA, raise interrupts, or fail. pci_function_…_notify() may be called from
 * any thread, also with the device's own lock held. Each function has its own
 * lock for config space and MSI-X; it is never held during a callback to the
 * device or to the host side, except that the MSI taker must tolerate being
 * called while the device holds its locks.
 *
 * Sources: PCI Local Bus Specification 3.0 (chapter 6, config space, MSI,
 * MSI-X), PCI Express Base Specification (capability, function-level reset),
 * PCI Power Management 1.2.
 */
#ifndef ZPCI_PCI_H
#define ZPCI_PCI_H

/* Registers of config space and their bits have the names that Linux gives them. */
#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct pci_dma_space; /* zpci/dma.h */
struct pci_function;

#define PCI_BAR_COUNT 6
#define PCI_CONFIG_SIZE 4096
#define PCI_MSIX_VECTORS_MAX 2048
#define PCI_BLOCK_MAX 4096 /* bytes of one block store */

/*
 * What a function counts beside loads and stores, as formats of the measurement
 * block have it (struct zpci_fmb in Linux, arch/s390/include/asm/pci.h).
 */
enum pci_measurement {
	PCI_MEASURES_DMA, /* bytes that DMA read and wrote; nobody asks the device */
	PCI_MEASURES_PACKETS, /* bytes and packets received, bytes and packets sent */
	PCI_MEASURES_WORK, /* work units consumed, and how many are possible */
	PCI_MEASURES_SENT, /* bytes sent */
};
#define PCI_COUNTERS_MAX 4

/* What a function is; copied by pci_function_new(). */
struct pci_function_info {
	const char *name; /* for messages and traces, e.g. "nvme0"; copied */
	uint16_t vendor_id;
	uint16_t device_id;
	uint16_t subsystem_vendor_id;
	uint16_t subsystem_id;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
	enum pci_measurement measurement;
	/*
	 * bar_read and bar_write get each access as the guest made it: 1 to 8 bytes
	 * at any offset, except where it touches what is kept here.
	 */
	bool unsplit;
};

/*
 * The device behind a function; `device` is what pci_function_new() was given.
 * All but bar_read and bar_write may be NULL.
 */
struct pci_device_ops {
	/* See "Registers" above. A register that does not exist reads as 0. */
	uint64_t (*bar_read)(void *device, unsigned bar, uint64_t offset, unsigned size);
	void (*bar_write)(void *device, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value);
	/*
	 * A block store: `length` bytes (1 to 4096) at `offset`, all inside the BAR.
	 * They are doublewords at a multiple of 8, unless the function takes others
	 * (zpci_function_config.relaxed_store_block). Returns 0, or a negative errno,
	 * which the guest sees as a failed store.
	 */
	int (*bar_write_block)(void *device, unsigned bar, uint64_t offset, const void *data,
			       unsigned length);
	/*
	 * Back to the state after power on. When it returns, the device has no
	 * access in flight, and no DMA and no interrupt of the time before will
	 * happen. Called for a function-level reset, disable, and machine reset,
	 * never twice at once.
	 */
	void (*reset)(void *device);
	/* The counters of the function's kind of measurement, those of DMA excepted. */
	void (*counters)(void *device, uint64_t counters[PCI_COUNTERS_MAX]);
	/* The function is attached (may use DMA and interrupts) or about to be detached. */
	void (*attached)(void *device);
	void (*detaching)(void *device);
	/* The last call: free everything. The function is quiet and detached. */
	void (*destroy)(void *device);
	/*
	 * A reset is wanted: begin nothing new until there is one, and say at once whether
	 * what is under way has ended, so that the reset would not have to wait for the
	 * host (for a disk that does not answer). False: it is asked again, but perhaps
	 * never, when the guest has given up. What can be broken off is not to be waited
	 * for. NULL: a reset never waits.
	 */
	bool (*quiesce)(void *device);
	/*
	 * For a device with a configuration space of its own, of which the one here is
	 * an image (see pci_function_place_config()). What a guest is to read, where
	 * here it reads `value`; and: it has written, and here all is as it should be
	 * after that. `size` is 1, 2 or 4, `offset` a multiple of it. A read must not
	 * call back into the function, a write may, also to reset it.
	 */
	uint32_t (*config_read)(void *device, unsigned offset, unsigned size, uint32_t value);
	void (*config_write)(void *device, unsigned offset, unsigned size, uint32_t value);
	/* The guest has changed the entry of a vector in the MSI-X table. */
	void (*msix_changed)(void *device, unsigned vector);
	/*
	 * The memory of the host that the register at `offset` of a BAR is in, if a store
	 * there is all that bar_write would do: where the byte at offset *first is, and
	 * *length bytes from there on. It stays as it is until destroy(). NULL: none.
	 */
	void *(*bar_memory)(void *device, unsigned bar, uint64_t offset, uint64_t *first,
			    uint64_t *length);
	/*
	 * The guest is about to enable the function, which was reset when it was disabled. A
	 * device that could not be, as it was not there, may be by now. Never during a reset.
	 */
	void (*enabling)(void *device);
};

/*
 * `info` and `ops` are copied. The caller then adds BARs and capabilities, all before
 * the function is attached. NULL with errno ENOMEM, or E2BIG (version.h).
 */
struct pci_function *pci_function_new_sized(const struct pci_function_info *info, size_t info_size,
					    const struct pci_device_ops *ops, size_t ops_size,
					    void *device);

static inline struct pci_function *pci_function_new(const struct pci_function_info *info,
						    const struct pci_device_ops *ops, void *device)
{
	return pci_function_new_sized(info, sizeof(*info), ops, sizeof(*ops), device);
}

/* Detach if attached, reset, destroy the device, free. NULL is allowed. */
void pci_function_free(struct pci_function *f);

const char *pci_function_name(const struct pci_function *f);
void *pci_function_device(const struct pci_function *f);

/* --- description, before attaching ---------------------------------------- */

/*
 * A memory BAR. `size` is a power of two from 16 bytes (4096 is what Linux on Z
 * can use well) to 2^63; is_64bit takes the next BAR number too. Returns 0 or
 * -EINVAL (bad or used number or size).
 */
int pci_function_add_bar(struct pci_function *f, unsigned bar, uint64_t size, bool is_64bit,
			 bool prefetchable);

/*
 * An entry in the list of capabilities: id and `length` bytes after the two of
 * the header; `writable` (NULL: none) says which bits config writes can change.
 * Returns the offset of the header in config space, or -ENOSPC.
 */
int pci_function_add_capability(struct pci_function *f, uint8_t id, const void *body,
				const uint8_t *writable, unsigned length);

/* The header says that the device has several functions. */
void pci_function_set_multifunction(struct pci_function *f);

/*
 * The usual ones. They return the offset or -ENOSPC, -EINVAL.
 * PCI Express: an endpoint with function-level reset. Power management: D0 and
 * D3hot, no reset on the way back. MSI: `vectors` is 1, 2, 4, 8, 16 or 32, with
 * 64-bit address and masks. MSI-X: 1 to 2048 vectors; the table takes 16 bytes a
 * vector from table_offset of table_bar (a multiple of 8), the pending bits 8
 * bytes each 64 vectors from pba_offset of pba_bar.
 */
int pci_function_add_express(struct pci_function *f);
int pci_function_add_power_management(struct pci_function *f);
int pci_function_add_msi(struct pci_function *f, unsigned vectors);
int pci_function_add_msix(struct pci_function *f, unsigned vectors, unsigned table_bar,
			  uint32_t table_offset, unsigned pba_bar, uint32_t pba_offset);

/*
 * The same where the layout is not ours, because the function exists elsewhere: bytes
 * of config space at their offset, and bits of them that a guest can change (NULL:
 * none); the capabilities of MSI and MSI-X, whose headers and links are among these
 * bytes, at theirs. MSI comes with and without 64-bit addresses and masks, and its
 * `vectors` as above. -EINVAL, or -ENOMEM.
 */
int pci_function_place_config(struct pci_function *f, unsigned offset, const void *bytes,
			      const void *writable, unsigned length);
int pci_function_place_msi(struct pci_function *f, unsigned offset, unsigned vectors,
			   bool is_64bit, bool masks);
int pci_function_place_msix(struct pci_function *f, unsigned offset, unsigned vectors,
			    unsigned table_bar, uint32_t table_offset, unsigned pba_bar,
			    uint32_t pba_offset);

/* --- for the device ------------------------------------------------------- */

/* The function's memory; NULL while it is not attached. */
struct pci_dma_space *pci_function_dma(struct pci_function *f);

bool pci_function_is_bus_master(const struct pci_function *f);

/*
 * Raise vector `vector`. A masked vector becomes pending and is delivered when
 * the guest unmasks it; one that does not exist, or MSI-X not enabled, or no bus
 * master, is ignored. Everything that the device stored in memory before the
 * call is visible to the guest before the interrupt is.
 */
void pci_function_msix_notify(struct pci_function *f, unsigned vector);
void pci_function_msi_notify(struct pci_function *f, unsigned vector);

/*
 * The function does not work any more: until the guest has reset it (the first),
 * or for good. It is told, and the function is cut off from DMA and interrupts.
 */
enum pci_error {
	PCI_ERROR_FUNCTION,
	PCI_ERROR_PERMANENT,
};
void pci_function_raise_error(struct pci_function *f, enum pci_error error);

/* Which of the two has the guest enabled? */
bool pci_function_msix_enabled(const struct pci_function *f);
bool pci_function_msi_enabled(const struct pci_function *f);

/* Is the vector masked, by itself or with all? True for one that does not exist. */
bool pci_function_msix_masked(struct pci_function *f, unsigned vector);

/* --- for whoever reaches the function, or looks at it ----------------------- */

/*
 * libzpci does all this when a guest does. It is here for monitors, and for tests of
 * a device with no guest at all.
 */

/* Reset the device, config space and MSI-X. It waits as long as the device does. */
void pci_function_reset(struct pci_function *f);

/*
 * Config space: `size` is 1, 2 or 4, `offset` a multiple of it below 4096. Values
 * are little-endian numbers in host order. Out of range reads as all ones. So does
 * everything, and nothing can be written, while a function-level reset waits for what
 * the device has under way; whoever looks finds out that it has ended.
 */
uint32_t pci_function_config_read(struct pci_function *f, unsigned offset, unsigned size);
void pci_function_config_write(struct pci_function *f, unsigned offset, unsigned size,
			       uint32_t value);

/* Size in bytes of a BAR, 0: there is none (also for the upper half of a 64-bit one). */
uint64_t pci_function_bar_size(const struct pci_function *f, unsigned bar);

/* The config word of a BAR, with its type bits, as CLP query function shows it. */
uint32_t pci_function_bar_value(struct pci_function *f, unsigned bar);

/*
 * A load or store of 1 to 8 bytes. Returns 0, or -ERANGE when it is not inside a
 * BAR that exists; then nothing has happened. `value` as under "Registers": byte 0
 * of the access is its least significant byte.
 */
int pci_function_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t *value);
int pci_function_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t value);

/* `length` is 1 to PCI_BLOCK_MAX. -ERANGE as above, or what the device answered. */
int pci_function_bar_write_block(struct pci_function *f, unsigned bar, uint64_t offset,
				 const void *data, unsigned length);

/* How many vectors the MSI-X (MSI) capability has, 0: none. */
unsigned pci_function_msix_vectors(const struct pci_function *f);
unsigned pci_function_msi_vectors(const struct pci_function *f);

/* How many of MSI the guest has enabled, 0: none. */
unsigned pci_function_msi_enabled_vectors(struct pci_function *f);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
