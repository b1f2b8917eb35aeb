/* SPDX-License-Identifier: MIT */
/*
 * Runs a program that was linked for qemu-s390x on the soft CPU, without an
 * operating system: one CPU, the program at the addresses that it was linked
 * for, 64-bit mode, no DAT, until it executes DIAG. Then writes what it
 * recorded to the standard output. The program finds 1 in the word `bare`. See
 * general, which makes it.
 *
 *	machine PROGRAM
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu/vcpu.h"

#define MEMORY_SIZE (256 * MIB)

/* At the start of the program, behind the 16 registers that it saves */
#define BARE 128
#define FIRST 136
#define NEXT 144

static bool no_io(void *opaque, struct vcpu *c, uint64_t cr6, struct cpu_io_interruption *i)
{
	return false;
}

static bool no_external(void *opaque, struct vcpu *c, uint64_t cr0,
			struct cpu_external_interruption *i)
{
	return false;
}

static bool no_mchk(void *opaque, struct vcpu *c, uint64_t cr14, struct cpu_mchk_interruption *i)
{
	return false;
}

static const struct cpu_floating_ops no_interruptions = {
	.take_io = no_io,
	.take_external = no_external,
	.take_mchk = no_mchk,
};

static void state_changed(void *opaque, struct vcpu *c)
{
}

static int end(void *opaque, struct vcpu *c, const struct cpu_insn *insn)
{
	vcpu_request_exit(c);
	return 0;
}

/* The one segment of the program to memory; its address, or 0. */
static uint64_t load(const char *path, uint8_t *memory, uint64_t *entry)
{
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	uint64_t address, size;
	FILE *f = fopen(path, "rb");

	if (!f)
		return 0;
	if (fread(&ehdr, sizeof(ehdr), 1, f) != 1 ||
	    fseek(f, (long)load_be64(&ehdr.e_phoff), SEEK_SET) ||
	    fread(&phdr, sizeof(phdr), 1, f) != 1 ||
	    fseek(f, (long)load_be64(&phdr.p_offset), SEEK_SET))
		goto err_close;
	*entry = load_be64(&ehdr.e_entry);
	address = load_be64(&phdr.p_vaddr);
	size = load_be64(&phdr.p_filesz);
	if (!range_fits(address, size, MEMORY_SIZE) || size < NEXT + 8 ||
	    fread(memory + address, size, 1, f) != 1)
		goto err_close;
	fclose(f);
	return address;

err_close:
	fclose(f);
	return 0;
}

int main(int argc, char **argv)
{
	uint8_t *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct cpu_complex_config config = {
		.memory = memory,
		.memory_size = MEMORY_SIZE,
		.vcpus = 1,
		.model.facilities = { ~0ull, ~0ull },
		.floating = &no_interruptions,
		.vcpu_state_changed = state_changed,
	};
	uint64_t program, entry, first, next;
	struct cpu_complex *complex;
	struct cpu_state *s;
	struct vcpu *c;
	enum vcpu_exit why;

	if (memory == MAP_FAILED || argc != 2) {
		fprintf(stderr, "machine: one argument, a program, is wanted\n");
		return 2;
	}
	program = load(argv[1], memory, &entry);
	if (!program) {
		fprintf(stderr, "machine: %s is no such program\n", argv[1]);
		return 2;
	}
	store_be64(memory + program + BARE, 1);

	complex = cpu_complex_create(&config);
	if (!complex || cpu_complex_set_handler(complex, 0x83, end)) {
		perror("machine");
		return 1;
	}
	c = cpu_complex_vcpu(complex, 0);
	vcpu_initial_reset(c);
	s = vcpu_state(c);
	s->psw_mask = PSW_EA | PSW_BA;
	s->psw_addr = entry;
	/* A program interruption ends in a disabled wait. */
	store_be64(memory + LC_PGM_NEW_PSW, PSW_WAIT | PSW_EA | PSW_BA);
	vcpu_state_changed(c);
	vcpu_start(c);
	why = vcpu_run(c);
	if (why != VCPU_EXIT_REQUEST) {
		fprintf(stderr, "machine: exit %d, program interruption %#x at %#llx\n", why,
			load_be16(memory + LC_PGM_CODE),
			(unsigned long long)load_be64(memory + LC_PGM_OLD_PSW + 8));
		return 1;
	}
	first = load_be64(memory + program + FIRST);
	next = load_be64(memory + program + NEXT);
	if (next < first || !range_fits(first, next - first, MEMORY_SIZE) ||
	    fwrite(memory + first, 1, next - first, stdout) != next - first || fflush(stdout)) {
		fprintf(stderr, "machine: no good record\n");
		return 1;
	}
	cpu_complex_destroy(complex);
	return 0;
}
