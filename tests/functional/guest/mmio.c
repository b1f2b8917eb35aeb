/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes registers of a PCI function from a program, for the functional
 * tests: by its own instructions (PCILGI, PCISTGI, PCISTBI, in the problem state),
 * and by the kernel's system calls (which execute them in the secondary space).
 *
 *   mmio RESOURCE       "resource0" of an NVMe controller that no driver uses
 *
 * It reads the version (at 8), and writes the addresses of the admin queues (at 28
 * and 30, hexadecimal), which the controller keeps while it is disabled.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VERSION 0x08
#define ASQ 0x28
#define ACQ 0x30

#define HWCAP_PCI_MIO (1ul << 21)

static void fail(const char *what)
{
	printf("mmio: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Condition code; the data in the order of their addresses, rightmost. */
static int pcilgi(const volatile void *from, uint64_t length, uint64_t *data)
{
	register uint64_t address asm("2") = (uint64_t)(uintptr_t)from;
	register uint64_t size asm("3") = length;
	int cc;

	asm volatile(".insn rre,0xb9d60000,%[data],%[address]\n"
		     "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=d"(cc), [data] "=d"(*data), "+d"(size)
		     : [address] "d"(address)
		     : "cc", "memory");
	return cc;
}

static int pcistgi(volatile void *to, uint64_t length, uint64_t data)
{
	register uint64_t address asm("2") = (uint64_t)(uintptr_t)to;
	register uint64_t size asm("3") = length;
	int cc;

	asm volatile(".insn rre,0xb9d40000,%[data],%[address]\n"
		     "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=d"(cc), "+d"(size)
		     : [data] "d"(data), [address] "d"(address)
		     : "cc", "memory");
	return cc;
}

static int pcistbi(volatile void *to, uint64_t length, const void *from)
{
	int cc;

	asm volatile(".insn rsy,0xeb00000000d4,%[length],%[to],0(%[from])\n"
		     "ipm %[cc]\n"
		     "srl %[cc],28\n"
		     ".insn rre,0xb9d50000,0,0" /* PCIWB */
		     : [cc] "=d"(cc), [length] "+d"(length)
		     : [to] "d"(to), [from] "a"(from)
		     : "cc", "memory");
	return cc;
}

int main(int argc, char **argv)
{
	const uint64_t queues[2] __attribute__((aligned(8))) = { 0x0070560000000000, 0x0090780000000000 };
	uint64_t data = 0, got[2] = { 0 };
	char *bar;
	int fd;

	if (argc != 2 || !(getauxval(AT_HWCAP) & HWCAP_PCI_MIO)) {
		printf("mmio: not told of PCI memory I/O\n");
		return 1;
	}
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		fail(argv[1]);
	bar = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		fail("mmap");
	setvbuf(stdout, NULL, _IOLBF, 0);

	printf("mmio: load cc %d", pcilgi(bar + VERSION, 4, &data));
	printf(" version %08llx\n", (unsigned long long)data);
	printf("mmio: store cc %d", pcistgi(bar + ASQ, 8, 0x0030120000000000));
	pcilgi(bar + ASQ, 8, &data);
	printf(" asq %016llx\n", (unsigned long long)data);
	printf("mmio: block cc %d", pcistbi(bar + ASQ, 16, queues));
	pcilgi(bar + ASQ, 8, &got[0]);
	pcilgi(bar + ACQ, 8, &got[1]);
	printf(" asq %016llx acq %016llx\n", (unsigned long long)got[0], (unsigned long long)got[1]);

	if (syscall(SYS_s390_pci_mmio_read, bar + VERSION, &data, 4))
		fail("s390_pci_mmio_read");
	printf("mmio: system call version %08llx\n", (unsigned long long)(data >> 32));
	data = 0x0050340000000000;
	if (syscall(SYS_s390_pci_mmio_write, bar + ASQ, &data, 8))
		fail("s390_pci_mmio_write");
	pcilgi(bar + ASQ, 8, &data);
	printf("mmio: system call asq %016llx\n", (unsigned long long)data);
	return 0;
}
