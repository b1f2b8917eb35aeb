/* SPDX-License-Identifier: MIT */
/*
 * Registers of testdev, the synthetic PCI function: what guests and tests that
 * drive it include. Nothing but numbers, so that freestanding programs can.
 *
 *   BAR 0  4096 bytes of registers, then the log        8 KiB
 *   BAR 1  the recorder: memory whose every access is   64 KiB
 *          noted in the log with its length
 *   BAR 2  plain memory (64 bits, prefetchable), also   property `memory`
 *          what DMA moves
 *   BAR 4  MSI-X table, and pending bits at 0x8000      64 KiB
 *   BAR 5  plain memory, small                          4 KiB
 *
 * Registers are little-endian and have 8 bytes; they can be accessed in pieces. A
 * command begins when its first byte is stored to, so a command takes one store.
 * What is not described reads as 0 and ignores stores.
 */
#ifndef ZVISOR_DEVICES_TESTDEV_REGS_H
#define ZVISOR_DEVICES_TESTDEV_REGS_H

#define TESTDEV_PCI_VENDOR 0x1234
#define TESTDEV_PCI_DEVICE 0x5a54
#define TESTDEV_PCI_CLASS 0xff0000 /* fits no class */

#define TESTDEV_BAR_REGISTERS 0
#define TESTDEV_BAR_RECORDER 1
#define TESTDEV_BAR_MEMORY 2
#define TESTDEV_BAR_MSIX 4
#define TESTDEV_BAR_SMALL 5

#define TESTDEV_REGISTERS_SIZE 0x2000
#define TESTDEV_RECORDER_SIZE 0x10000
#define TESTDEV_MSIX_SIZE 0x10000
#define TESTDEV_MSIX_PENDING 0x8000
#define TESTDEV_SMALL_SIZE 0x1000

/* --- what it is ------------------------------------------------------------ */

#define TESTDEV_ID 0x000 /* read: TESTDEV_ID_VALUE */
#define TESTDEV_ID_VALUE 0x315645445453455aull
#define TESTDEV_VECTORS 0x008 /* read: MSI-X vectors; bits 16-31 (from the right) MSI */
#define TESTDEV_MEMORY_SIZE 0x010 /* read: bytes of BAR 2 */
#define TESTDEV_RESETS 0x018 /* read: resets since it was made; the one that survives them */
#define TESTDEV_SCRATCH 0x020 /* what was stored */

/* --- DMA --------------------------------------------------------------------- */

/*
 * Parameters, then the command. One transfer is executed at a time; a command
 * that comes meanwhile is counted and ignored. A transfer of at most
 * TESTDEV_INLINE_MAX bytes is over when the store of the command is, longer
 * ones and those with a flag are executed by the device's own thread.
 * Byte i of the pattern is byte i % 8 (from the least significant on) of
 * PATTERN + i / 8 * STEP.
 */
#define TESTDEV_DMA_ADDRESS 0x100
#define TESTDEV_DMA_LENGTH 0x108
#define TESTDEV_DMA_PATTERN 0x110
#define TESTDEV_DMA_STEP 0x118
#define TESTDEV_DMA_LOCAL 0x120 /* offset in BAR 2, for READ and WRITE */
#define TESTDEV_DMA_DELAY 0x128 /* microseconds: see HOLD and REPEAT */
#define TESTDEV_DMA_COMMAND 0x130
#define TESTDEV_DMA_STATUS 0x138 /* read: bit 0 busy; bits 8-15 how the last one ended */
#define TESTDEV_DMA_DONE 0x140 /* read: bytes that the last one moved */
#define TESTDEV_DMA_RESULT 0x148 /* read: see CHECKSUM, COMPARE */
#define TESTDEV_DMA_COUNT 0x150 /* read: transfers that have ended, one way or the other */
#define TESTDEV_DMA_HELD 0x158 /* read: accesses that are being held */
#define TESTDEV_DMA_REJECTED 0x160 /* read: commands that were ignored */

#define TESTDEV_INLINE_MAX 0x100000
#define TESTDEV_HOLD_MAX 0x10000 /* bytes of a HOLD */
#define TESTDEV_HOLDS 8 /* that can be held at once */

/* Bits 0-7 of a command. */
#define TESTDEV_OP_READ 1 /* guest memory to BAR 2 */
#define TESTDEV_OP_WRITE 2 /* BAR 2 to guest memory */
#define TESTDEV_OP_FILL 3 /* the pattern to guest memory */
#define TESTDEV_OP_CHECKSUM 4 /* RESULT: FNV-1a, 64 bits, of guest memory */
#define TESTDEV_OP_COMPARE 5 /* RESULT: offset of the first byte unlike the pattern, or ~0 */
/*
 * Begin an access and keep it in flight until RELEASE, which ends all, or for
 * DELAY microseconds if that is not 0, or until reset. Only when it ends is
 * memory stored to (HOLD_FILL: the pattern) or read (HOLD_CHECKSUM: RESULT).
 */
#define TESTDEV_OP_HOLD_FILL 6
#define TESTDEV_OP_HOLD_CHECKSUM 7
#define TESTDEV_OP_RELEASE 8
#define TESTDEV_OP_STOP 9 /* end what the thread does, and REPEAT */
/* Flags of a command. Bits 16-31 are the vector for NOTIFY. */
#define TESTDEV_DMA_THREAD 0x100 /* on the device's thread */
#define TESTDEV_DMA_REPEAT \
	0x200 /* again DELAY microseconds after it ended, until STOP or failure */
#define TESTDEV_DMA_NOTIFY 0x400 /* interrupt when it has ended */

#define TESTDEV_STATUS_BUSY 0x1
#define TESTDEV_STATUS_OUTCOME(status) ((status) >> 8 & 0xff)
/* How a transfer ended. */
#define TESTDEV_DONE_OK 0
#define TESTDEV_DONE_BLOCKED 1 /* no bus master, or the function may not do DMA now */
#define TESTDEV_DONE_FAULT 2 /* translation failed */
#define TESTDEV_DONE_INVALID 3 /* a parameter is out of range, or no such operation */
#define TESTDEV_DONE_STOPPED 4 /* by STOP */

/* --- interrupts ---------------------------------------------------------------- */

/*
 * By MSI-X where the guest has enabled that, by MSI otherwise. Both commands take
 * the first vector in bits 0-15 and how many in bits 16-31.
 */
#define TESTDEV_FIRE 0x200 /* each of them once, now; a number of 0 means one */
#define TESTDEV_FIRED 0x208 /* read: interrupts raised since the reset */
#define TESTDEV_RATE_INTERVAL 0x210 /* nanoseconds */
#define TESTDEV_RATE_COUNT 0x218 /* 0: until stopped */
#define TESTDEV_RATE 0x220 /* one of them each interval, by turns; a number of 0 stops */

/* --- errors --------------------------------------------------------------------- */

#define TESTDEV_ERROR 0x300 /* TESTDEV_ERROR_… happens to the function */
#define TESTDEV_ERROR_FUNCTION 1
#define TESTDEV_ERROR_PERMANENT 2
#define TESTDEV_FAIL 0x308 /* what fails from now on */
#define TESTDEV_FAIL_BLOCKS 0x1 /* block stores to BAR 1 */

/* --- measurement -------------------------------------------------------------------- */

/* Four counters for the measurement block, of the formats that ask the device. */
#define TESTDEV_COUNTERS 0x500

/* --- the log ---------------------------------------------------------------------- */

/*
 * Transfers and accesses to the recorder, the newest TESTDEV_LOG_ENTRIES. Entry
 * n, counted from 0, is at TESTDEV_LOG + n % TESTDEV_LOG_ENTRIES * 32.
 */
#define TESTDEV_LOG_COUNT 0x400 /* read: how many there were; a store makes it 0 */
#define TESTDEV_LOG 0x1000
#define TESTDEV_LOG_ENTRIES 128
#define TESTDEV_LOG_ENTRY_SIZE 32

/* The doublewords of an entry. */
#define TESTDEV_LOG_NUMBER 0 /* n + 1 */
#define TESTDEV_LOG_WHAT 8 /* bits 0-7 kind; 8-15 outcome as in STATUS; 16-63 bytes */
#define TESTDEV_LOG_ADDRESS 16 /* of DMA, or offset in the recorder */
#define TESTDEV_LOG_VALUE 24 /* of a store the first 8 bytes; of a transfer RESULT */

/* Kinds: a transfer's is its operation. */
#define TESTDEV_LOG_LOAD 0x10
#define TESTDEV_LOG_STORE 0x11
#define TESTDEV_LOG_BLOCK 0x12

#endif
