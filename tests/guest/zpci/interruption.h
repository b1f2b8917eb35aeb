/* SPDX-License-Identifier: MIT */
/*
 * Interruptions of functions: the one that a program waits for, the indicators, what SIC
 * takes, and the translation that the program's own device needs (see dma.h). For one
 * file of a program.
 */
#ifndef ZPCI_INTERRUPTION_H
#define ZPCI_INTERRUPTION_H

#include "zpci/dma.h"
#include "zpci/iotable.h"

#define CR6_ISC(isc) (BIT64(32) >> (isc))
#define CR6_ALL 0xff000000ull
#define CR0_CLOCK_COMPARATOR BIT64(52)
#define IO_ADAPTER 0x80000000u
#define IO_DIRECTED 0x40000000u
#define IO_ISC(isc) ((uint32_t)(isc) << 27)

enum sic_mode {
	SIC_ALL = 0,
	SIC_SINGLE = 1,
	SIC_DIRECT = 4,
	SIC_DIRECTED_ALL = 16,
	SIC_DIRECTED_SINGLE = 17,
	SIC_SET_CPU = 18,
};

/* Blocks of SIC: struct zpci_diib, zpci_cdiib in Linux, asm/pci_insn.h. */
struct diib {
	uint32_t isc;
	uint16_t reserved1;
	uint16_t cpus;
	uint64_t summary;
	uint64_t reserved2[2];
} __attribute__((aligned(8)));

struct cdiib {
	uint64_t reserved1;
	uint64_t vector;
	uint64_t reserved2[3];
} __attribute__((aligned(8)));

SNIPPET(interruption_wait, "0: j 0b");

/* The next I/O interruption of these subclasses: its identification word, or 0. */
static inline uint32_t interruption_take(uint64_t subclasses, uint64_t limit)
{
	uint64_t cr0 = ctl_store(0), cr6 = ctl_store(6), until = tod_clock() + limit;
	struct run r = run_init(PSW_64 | PSW_IO | PSW_EXT, interruption_wait);
	volatile uint32_t *code = (volatile uint32_t *)&lowcore()->at_0b8[0];

	code[2] = 0;
	asm volatile("sckc %0" : : "Q"(until));
	ctl_load(0, cr0 | CR0_CLOCK_COMPARATOR);
	ctl_load(6, subclasses);
	run(&r);
	ctl_load(6, cr6);
	ctl_load(0, cr0);
	return r.exit == RUN_IO ? code[2] : 0;
}

/* Is the bit set, or is it soon? */
static inline bool bit(const uint8_t *from, unsigned number)
{
	return wait_for(((const volatile uint8_t *)from)[number / 8] & 0x80 >> number % 8,
			PATIENCE);
}

static inline unsigned bits_set(const uint8_t *from, unsigned bytes)
{
	unsigned n = 0;

	for (unsigned i = 0; i < bytes * 8; i++)
		n += from[i / 8] >> (7 - i % 8) & 1;
	return n;
}

/* A table is registered in which the pages are mapped that the device itself uses. */
static inline void service_start(const struct function *f, uint64_t *third, struct dma *dma)
{
	struct fib fib = {
		.pba = f->query.sdma,
		.pal = f->query.sdma + 0x7fffffff,
		.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE,
	};

	iotable_map(third, f->query.sdma + DMA_SERVICE, dma->service, 0);
	modify(f, REGISTER_TRANSLATION, &fib);
	insn_rpcit(f->fh, fib.pba, fib.pal - fib.pba + 1);
	dma_start(dma);
	dma_messages_on(dma);
}

#endif
