/* SPDX-License-Identifier: MIT */
/*
 * The smallest machine that embeds libzpci: an array for memory, sixteen registers
 * and a condition code for a vCPU, one device. A guest's zPCI driver, played by main(),
 * finds the function, enables it, lets it do DMA, and is interrupted.
 *
 *	cc embed.c $(pkg-config --cflags --libs libzpci) && ./a.out
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zpci/dma.h>
#include <zpci/pci.h>
#include <zpci/zpci.h>

static void expect(int good, const char *what)
{
	printf("%s: %s\n", what, good ? "yes" : "NO");
	if (!good)
		exit(1);
}

/* --- memory, big-endian -------------------------------------------------------- */

#define MEMORY_SIZE 0x100000
static _Alignas(4096) uint8_t memory[MEMORY_SIZE];

static void put(uint64_t address, unsigned bytes, uint64_t value)
{
	for (; bytes--; value >>= 8)
		memory[address + bytes] = (uint8_t)value;
}

static uint64_t get(uint64_t address, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | memory[address + i];
	return value;
}

/* --- a vCPU whose addresses are absolute ones -------------------------------------- */

static uint64_t gr[16];
static struct zpci_vcpu cpu = { .registers = gr };

static int program(struct zpci_vcpu *vcpu, enum zpci_program code)
{
	return 1;
}

static int translate(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, bool write,
		     uint64_t *absolute)
{
	return (*absolute = address) >= MEMORY_SIZE;
}

static int read_memory(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, void *to,
		       size_t length)
{
	return address > MEMORY_SIZE - length || !memcpy(to, memory + address, length);
}

static int write_memory(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, const void *from,
			size_t length)
{
	return address > MEMORY_SIZE - length || !memcpy(memory + address, from, length);
}

static const struct zpci_vcpu_ops vcpu_ops = {
	.program = program,
	.read = read_memory,
	.write = write_memory,
	.translate = translate,
};

/* --- the machine: it only counts interruptions --------------------------------------- */

static unsigned interruptions[8];
static void adapter_interruption(void *opaque, unsigned isc) { interruptions[isc]++; }
static const struct zpci_machine_ops machine_ops = { .adapter_interruption = adapter_interruption };

/* --- a device: give it an address, and it inverts the doubleword there --------------- */

static struct pci_function *inverter;
static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size) { return 0; }

static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t iova)
{
	struct pci_dma_space *dma = pci_function_dma(inverter);
	uint64_t data;

	if (pci_dma_read(dma, iova, &data, sizeof(data)))
		return; /* the guest knows already */
	data = ~data;
	if (!pci_dma_write(dma, iova, &data, sizeof(data)))
		pci_function_msi_notify(inverter, 0);
}

static const struct pci_device_ops inverter_ops = { .bar_read = bar_read, .bar_write = bar_write };

/* --- the guest ------------------------------------------------------------------------ */

enum { CLP_BLOCK = 0x1000, FIB = 0x3000, VECTOR = 0x4000, DATA = 0x5000 };
enum { REGIONS = 0x10000, SEGMENTS = 0x14000, PAGES = 0x18000 };
#define IOVA 0x100000000ull /* the first address of the function's bus */
#define MSI_ADDRESS 0xfe00000000000000ull /* CLP query group tells it */
#define ISC 3

static struct zpci *zpci;

/* CALL LOGICAL PROCESSOR; returns the address of the response. */
static uint64_t clp(unsigned command, uint32_t fh, uint32_t operation)
{
	put(CLP_BLOCK, 2, 32);
	put(CLP_BLOCK + 2, 2, command);
	put(CLP_BLOCK + 16, 4, fh);
	put(CLP_BLOCK + 20, 4, operation);
	put(CLP_BLOCK + 32, 2, 4064);
	gr[4] = CLP_BLOCK;
	expect(!zpci_insn_clp(zpci, &cpu, 2, 4, 0, 2) && get(CLP_BLOCK + 34, 2) == 0x10, "CLP");
	return CLP_BLOCK + 32;
}

/* PCI STORE to an address space (15: config space); registers are little-endian. */
static void store(uint32_t fh, unsigned space, uint64_t offset, unsigned length, uint64_t value)
{
	gr[2] = __builtin_bswap64(value) >> (64 - 8 * length);
	gr[6] = (uint64_t)fh << 32 | space << 16 | length;
	gr[7] = offset;
	expect(!zpci_insn_pcistg(zpci, &cpu, 2, 6) && cpu.cc == 0, "PCISTG");
}

/* MODIFY PCI FUNCTION CONTROLS with what is in the function information block. */
static void modify(uint32_t fh, unsigned operation)
{
	gr[2] = (uint64_t)fh << 32 | operation;
	expect(!zpci_insn_mpcifc(zpci, &cpu, 2, FIB, 0) && cpu.cc == 0, "MPCIFC");
}

int main(void)
{
	const struct pci_function_info info = { .vendor_id = 0x1234, .device_id = 0x5678 };
	const struct zpci_config machine = { .memory = { .base = memory, .size = MEMORY_SIZE },
					     .vcpu = &vcpu_ops, .machine = &machine_ops };
	struct zpci_function_config config = zpci_function_defaults(1);
	uint32_t fh;
	int msi;

	/* The machine: a device with one BAR and one vector, plugged in. */
	inverter = pci_function_new(&info, &inverter_ops, NULL);
	zpci = zpci_create(&machine);
	expect(inverter && zpci, "made");
	expect(!pci_function_add_bar(inverter, 0, 4096, true, false), "BAR");
	msi = pci_function_add_msi(inverter, 1);
	expect(!zpci_plug(zpci, inverter, &config, false, NULL, 0), "plugged in");

	/* The driver: list functions, enable the first, look who it is. */
	fh = (uint32_t)get(clp(2, 0, 0) + 32 + 12, 4);
	fh = (uint32_t)get(clp(5, fh, 1) + 16, 4);
	gr[6] = (uint64_t)fh << 32 | 15 << 16 | 4;
	gr[7] = PCI_VENDOR_ID;
	expect(!zpci_insn_pcilg(zpci, &cpu, 2, 6) && cpu.cc == 0, "PCILG");
	expect(gr[2] == 0x34127856, "the inverter");

	/* Translation tables with one valid page, and where they are. */
	for (unsigned i = 0; i < 2048; i++) {
		put(REGIONS + 8 * i, 8, 0x27);
		put(SEGMENTS + 8 * i, 8, 0x20);
		put(PAGES + 8 * (i % 256), 8, 0x400);
	}
	put(REGIONS + 8 * (IOVA >> 31), 8, SEGMENTS | 0x7);
	put(SEGMENTS, 8, PAGES);
	put(PAGES, 8, DATA);
	put(FIB + 16, 8, IOVA);
	put(FIB + 24, 8, IOVA + 0xffffffff);
	put(FIB + 32, 8, REGIONS | 0x804);
	modify(fh, 4);

	/* One interrupt bit; a message sets it. */
	put(FIB + 40, 4, (uint32_t)ISC << 28 | 1 << 16);
	put(FIB + 48, 8, VECTOR);
	modify(fh, 2);
	store(fh, 15, msi + 4, 4, MSI_ADDRESS & 0xffffffff);
	store(fh, 15, msi + 8, 4, MSI_ADDRESS >> 32);
	store(fh, 15, msi + 12, 2, 0);
	store(fh, 15, msi + 2, 2, 1);

	/* Work. */
	store(fh, 15, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	put(DATA, 8, 0x0123456789abcdef);
	store(fh, 0, 0, 8, IOVA);
	expect(get(DATA, 8) == 0xfedcba9876543210, "inverted");
	expect(interruptions[ISC] == 1 && memory[VECTOR] == 0x80, "interrupted");

	zpci_destroy(zpci);
	pci_function_free(inverter);
}
