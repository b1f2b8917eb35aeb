/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest's instructions at libzpci, with an array for memory.
 *
 * An input is a program: registers, bytes in memory, and the PCI instructions with
 * them as operands, for two functions whose device does DMA and interruptions when
 * its registers are stored to, keeps accesses in flight, fails, comes and goes. Wrong
 * are: a crash, a sanitizer's finding, an instruction that ends in no or in two ways,
 * a condition code that does not exist, and a device that is used while it is reset
 * or gone.
 *
 *	zpci_fuzz [-max_total_time=SECONDS] [CORPUS]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "dma/dma.h"
#include "zpci/pci.h"
#include "zpci/zpci.h"

#include "input.h"

#define MEMORY_SIZE (128 * KIB)
#define FUNCTIONS 2u
#define VCPUS 2u
#define OPERATIONS_MAX 300
#define BAR_SIZE 0x4000u
#define VECTORS 64u
#define SDMA 0x100000000ull

/* Where the parts of a guest lie; inputs may store anywhere else as well. */
#define BLOCK_AT 0x2000ull
#define FIB_AT 0x6000ull
#define TABLES_AT 0x8000ull

struct device {
	struct pci_function *function;
	struct pci_dma_access access;
	struct pci_dma_range range;
	struct iovec iov[4];
	bool in_flight;
	bool attached;
	uint64_t registers[BAR_SIZE / 8];
};

struct vcpu {
	struct zpci_vcpu zpci; /* condition code NOTHING: not set */
	uint64_t gr[16];
	unsigned program; /* 0: none */
	bool access_exception;
};

#define NOTHING 99u

struct fuzz {
	uint8_t *memory;
	struct zpci *zpci;
	struct device devices[FUNCTIONS];
	struct vcpu vcpus[VCPUS];
	uint64_t now_ms;
	bool mapped; /* the first function is, in a host */
};

static struct fuzz fuzz;

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

/* --- the device ------------------------------------------------------------------- */

enum {
	REGISTER_READ = 0,      /* DMA, from the address stored */
	REGISTER_WRITE = 8,
	REGISTER_MSIX = 0x10,
	REGISTER_MSI = 0x18,
	REGISTER_BEGIN = 0x20,  /* an access that stays in flight … */
	REGISTER_END = 0x28,    /* … until here */
	REGISTER_ERROR = 0x30,
};

static void end_access(struct device *d)
{
	if (d->in_flight)
		pci_dma_access_end(&d->access, 1);
	d->in_flight = false;
}

static void begin_access(struct device *d, uint64_t value)
{
	end_access(d);
	d->range = (struct pci_dma_range){ value, value & 0x3fff };
	d->in_flight = pci_dma_access_begin(pci_function_dma(d->function), &d->access,
					    value & 1 ? PCI_DMA_FROM_DEVICE : PCI_DMA_TO_DEVICE,
					    &d->range, 1, d->iov, ARRAY_SIZE(d->iov)) >= 0;
	for (unsigned i = 0; d->in_flight && (value & 1) && i < d->access.iov_count; i++)
		memset(d->iov[i].iov_base, 0x40, d->iov[i].iov_len);
}

static uint64_t bar_read(void *opaque, unsigned bar, uint64_t offset, unsigned size)
{
	struct device *d = opaque;

	check(offset + size <= BAR_SIZE && !(offset % size), "a load outside the BAR");
	return d->registers[offset / 8];
}

static void bar_write(void *opaque, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	static uint8_t buffer[0x1800];
	struct device *d = opaque;

	check(offset + size <= BAR_SIZE && !(offset % size), "a store outside the BAR");
	check(d->attached, "a store to a device that is not there");
	d->registers[offset / 8] = value;
	switch (offset) {
	case REGISTER_READ:
		(void)pci_dma_read(pci_function_dma(d->function), value, buffer,
				   value % sizeof(buffer));
		break;
	case REGISTER_WRITE:
		(void)pci_dma_write(pci_function_dma(d->function), value, buffer,
				    value % sizeof(buffer));
		break;
	case REGISTER_MSIX:
		pci_function_msix_notify(d->function, (unsigned)value);
		break;
	case REGISTER_MSI:
		pci_function_msi_notify(d->function, (unsigned)value);
		break;
	case REGISTER_BEGIN:
		begin_access(d, value);
		break;
	case REGISTER_END:
		end_access(d);
		break;
	case REGISTER_ERROR:
		pci_function_raise_error(d->function, value % 16 ? PCI_ERROR_FUNCTION :
								   PCI_ERROR_PERMANENT);
		break;
	default:
		break;
	}
}

static int bar_write_block(void *opaque, unsigned bar, uint64_t offset, const void *data,
			   unsigned length)
{
	check(length && length <= PCI_BLOCK_MAX && offset + length <= BAR_SIZE,
	      "a block outside the BAR");
	check(((struct device *)opaque)->attached, "a block to a device that is not there");
	memcpy((uint8_t *)((struct device *)opaque)->registers + offset, data, length);
	return length == 64 ? -1 : 0;
}

static void device_reset(void *opaque)
{
	end_access(opaque);
}

static void device_attached(void *opaque)
{
	((struct device *)opaque)->attached = true;
}

static void device_detaching(void *opaque)
{
	((struct device *)opaque)->attached = false;
}

static const struct pci_device_ops device_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_write_block = bar_write_block,
	.reset = device_reset,
	.attached = device_attached,
	.detaching = device_detaching,
};

static void make_device(struct device *d, unsigned number)
{
	const struct pci_function_info info = {
		.name = "fuzz", .vendor_id = 0x1234, .device_id = (uint16_t)number,
		.class_code = 0xff0000,
	};

	memset(d, 0, sizeof(*d));
	d->function = pci_function_new(&info, &device_ops, d);
	check(d->function && !pci_function_add_bar(d->function, 0, BAR_SIZE, true, false) &&
		      pci_function_add_msi(d->function, 4) > 0 &&
		      pci_function_add_express(d->function) > 0 &&
		      pci_function_add_msix(d->function, VECTORS, 0, 0x1000, 0, 0x2000) > 0,
	      "no device");
}

/* A host's IOMMU for the first function, in small. */
#define HOST_PAGES 4096u
static uint8_t host_pages[HOST_PAGES];

static int host_map(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	check(length && !((iova | absolute | length) % PAGE_SIZE), "a range of no pages");
	check(range_fits(absolute, length, MEMORY_SIZE), "a mapping outside memory");
	if (iova < SDMA || !range_fits(iova - SDMA, length, HOST_PAGES * PAGE_SIZE))
		return -ENOSPC;
	for (uint64_t page = (iova - SDMA) / PAGE_SIZE; length; page++, length -= PAGE_SIZE) {
		check(!host_pages[page], "a page mapped twice");
		host_pages[page] = 1;
	}
	return 0;
}

static int host_unmap(void *opaque, uint64_t iova, uint64_t length)
{
	check(length && iova >= SDMA && range_fits(iova - SDMA, length, HOST_PAGES * PAGE_SIZE),
	      "a range that was never mapped");
	memset(host_pages + (iova - SDMA) / PAGE_SIZE, 0, length / PAGE_SIZE);
	return 0;
}

static void host_gate(void *opaque, bool open)
{
}

static const struct zpci_mapping_ops mapping_ops = {
	.map = host_map,
	.unmap = host_unmap,
	.gate = host_gate,
};

static void plug(struct fuzz *f, unsigned number, bool announce)
{
	struct zpci_function_config config = zpci_function_defaults(number);

	config.uid = (uint16_t)(number + 1);
	config.relaxed_translation = number & 1;
	config.mio = number & 1;
	config.relaxed_store_block = number & 1;
	config.interrupts = number & 1 ? 2048 : 128;
	config.store_block_max = number & 1 ? 4096 : 128;
	config.standby = announce;
	if (f->mapped && !number) {
		config.mapping = &mapping_ops;
		config.mappings_max = 20;
	}
	(void)zpci_plug(f->zpci, f->devices[number].function, &config, announce, NULL, 0);
}

/* --- the vCPU and the machine ---------------------------------------------------------- */

static int program(struct zpci_vcpu *vcpu, enum zpci_program code)
{
	struct vcpu *v = container_of(vcpu, struct vcpu, zpci);

	check(!v->program, "two program interruptions");
	v->program = code;
	return -1;
}

static int no_access(struct zpci_vcpu *vcpu, uint64_t address, size_t length)
{
	check(length <= PAGE_SIZE, "a long operand at once");
	if (range_fits(address, length, MEMORY_SIZE))
		return 0;
	container_of(vcpu, struct vcpu, zpci)->access_exception = true;
	return -1;
}

static int read_memory(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, void *to,
		       size_t length)
{
	if (no_access(vcpu, address, length))
		return -1;
	memcpy(to, fuzz.memory + address, length);
	return 0;
}

static int write_memory(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, const void *from,
			size_t length)
{
	if (no_access(vcpu, address, length))
		return -1;
	memcpy(fuzz.memory + address, from, length);
	return 0;
}

static int translate(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, bool write,
		     uint64_t *absolute)
{
	/* What leads out of memory is there, too: the addresses of BARs. */
	if (!(address >> 63) && no_access(vcpu, address, 1))
		return -1;
	*absolute = address;
	return 0;
}

static const struct zpci_vcpu_ops vcpu_ops = {
	.program = program,
	.read = read_memory,
	.write = write_memory,
	.translate = translate,
};

static void adapter_interruption(void *opaque, unsigned isc)
{
	check(isc < 8, "no such subclass");
}

static void set_mode(void *opaque, unsigned isc, enum zpci_interruption_mode mode)
{
	check(isc < 8 && mode <= ZPCI_INTERRUPTION_SINGLE, "no such mode");
}

static bool directed_interruption(void *opaque, unsigned cpu, unsigned isc)
{
	check(isc < 8, "no such subclass");
	return cpu < VCPUS;
}

static void set_directed_mode(void *opaque, unsigned cpu, unsigned isc,
			      enum zpci_interruption_mode mode)
{
	check(cpu < VCPUS && isc < 8 && mode <= ZPCI_INTERRUPTION_SINGLE, "no such mode");
}

static void event_pending(void *opaque)
{
}

/* So that composing the text is fuzzed, too. */
static void trace(void *opaque, const char *event, const char *text)
{
	check(strlen(text) < 256, "a long trace");
}

static const struct zpci_machine_ops machine_ops = {
	.adapter_interruption = adapter_interruption,
	.set_interruption_mode = set_mode,
	.directed_interruption = directed_interruption,
	.set_directed_mode = set_directed_mode,
	.event_pending = event_pending,
	.trace = trace,
};

static void written(void *opaque, uint64_t absolute, uint64_t length)
{
	check(length && range_fits(absolute, length, MEMORY_SIZE), "a store outside memory");
}

static uint8_t storage_key(void *opaque, uint64_t absolute)
{
	check(absolute < MEMORY_SIZE, "a key outside memory");
	return fuzz.memory[absolute];
}

/* --- operands ---------------------------------------------------------------------------- */

/* Mostly a handle that was good once. */
static uint32_t take_handle(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	if (kind >= 250)
		return (uint32_t)take(in, 4);
	return (kind & 0x40 ? 0 : 0x80000000u) | ((kind >> 4 & 3) + 1) << 16 | kind % (FUNCTIONS + 1);
}

static uint64_t take_dma(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	return kind >= 240 ? take(in, 8) : SDMA + (uint64_t)kind % 16 * PAGE_SIZE + take(in, 1);
}

static uint64_t take_address(struct input *in, uint64_t usual)
{
	uint8_t kind = (uint8_t)take(in, 1);

	return kind < 230 ? usual + (kind >= 200 ? kind : 0) : take(in, 3);
}

static void finish(struct vcpu *v, int rc)
{
	if (rc)
		check((v->program != 0) != v->access_exception && v->zpci.cc == NOTHING,
		      "an interruption that is none");
	else
		check(!v->program && !v->access_exception, "an interruption that goes on");
	v->program = 0;
	v->access_exception = false;
	v->zpci.cc = NOTHING;
}

static void op_clp(struct fuzz *f, struct vcpu *v, struct input *in)
{
	uint8_t *block = f->memory + BLOCK_AT;
	uint8_t kind = (uint8_t)take(in, 1);

	store_be16(block, kind & 0x80 ? (uint16_t)take(in, 2) : 32);
	store_be16(block + 2, kind % 7);
	memset(block + 4, 0, 28);
	if (kind & 0x40)
		store_be32(block + 4 + take(in, 1) % 28 / 4 * 4, (uint32_t)take(in, 4));
	store_be32(block + 16, take_handle(in));
	store_be16(block + 22, (uint16_t)take(in, 2));
	store_be16(block + 32, kind & 0x20 ? (uint16_t)take(in, 2) : 4064);
	v->gr[4] = take_address(in, BLOCK_AT);
	v->gr[5] = take(in, 1) << 56;
	finish(v, zpci_insn_clp(f->zpci, &v->zpci, 3, 4, kind & 0x10 ? 5 : 0,
				kind & 8 ? 2 : kind >> 4));
}

static void op_load_store(struct fuzz *f, struct vcpu *v, struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);
	uint64_t offset = kind & 8 ? take(in, 1) * 8 : take(in, kind & 0x10 ? 8 : 2);

	v->gr[6] = (uint64_t)take_handle(in) << 32 | (kind & 1 ? 15 : take(in, 1) % 8) << 16 |
		   (kind & 2 ? 8 : take(in, 1));
	v->gr[7] = offset;
	if (kind & 4) {
		finish(v, zpci_insn_pcilg(f->zpci, &v->zpci, 5, kind & 0x20 ? 6 : kind >> 4));
		return;
	}
	v->gr[5] = kind & 0x40 ? take(in, 8) : __builtin_bswap64(take_dma(in));
	finish(v, zpci_insn_pcistg(f->zpci, &v->zpci, 5, kind & 0x20 ? 6 : kind >> 4));
}

static void op_store_block(struct fuzz *f, struct vcpu *v, struct input *in)
{
	v->gr[5] = (uint64_t)take_handle(in) << 32 | take(in, 1) % 16 << 16 | take(in, 2);
	v->gr[7] = take(in, 2);
	finish(v, zpci_insn_pcistb(f->zpci, &v->zpci, 5, 7, take_address(in, BLOCK_AT), 0));
}

/* An address that CLP has given, mostly. */
static uint64_t take_bar_address(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	if (kind >= 240)
		return take(in, 8);
	return 1ull << 63 | (kind & 0x20 ? 1ull << 62 : 0) |
	       (uint64_t)(kind & 0x10 ? kind % 4 : 1) << 47 | (kind & 8 ? take(in, 1) << 44 : 0) |
	       (kind & 4 ? take(in, 3) : take(in, 1) * 8);
}

static void op_by_address(struct fuzz *f, struct vcpu *v, struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	v->gr[6] = take_bar_address(in);
	v->gr[7] = kind & 0x10 ? take(in, 2) : 8;
	v->gr[5] = kind & 0x20 ? take(in, 8) : __builtin_bswap64(take_dma(in));
	switch (kind % 4) {
	case 0:
		finish(v, zpci_insn_pcilgi(f->zpci, &v->zpci, 5, kind & 0x40 ? kind >> 4 : 6));
		break;
	case 1:
		finish(v, zpci_insn_pcistgi(f->zpci, &v->zpci, 5, kind & 0x40 ? kind >> 4 : 6));
		break;
	case 2:
		v->gr[5] = take(in, 2);
		finish(v,
		       zpci_insn_pcistbi(f->zpci, &v->zpci, 5, 6, take_address(in, BLOCK_AT), 0));
		break;
	default:
		finish(v, zpci_insn_pciwb(f->zpci, &v->zpci));
		break;
	}
}

/* A function information block of which the input may change anything. */
static void op_modify(struct fuzz *f, struct vcpu *v, struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);
	uint8_t *fib = f->memory + FIB_AT;

	memset(fib, 0, 80);
	fib[0] = kind & 0x40 ? (uint8_t)take(in, 1) % 3 : 0;
	store_be64(fib + 16, kind & 0x10 ? take_dma(in) : SDMA);
	store_be64(fib + 24, kind & 0x20 ? take_dma(in) : SDMA + 4 * GIB - 1);
	store_be64(fib + 32, TABLES_AT | 0x804 | (kind & 0x80 ? take(in, 2) : 0));
	store_be32(fib + 40, (uint32_t)take(in, 4));
	store_be64(fib + 48, take(in, 3));
	store_be64(fib + 56, take(in, 3));
	store_be64(fib + 64, kind & 8 ? take(in, 3) : take(in, 1) << 4);
	if (kind & 0x80)
		store_be32(fib + take(in, 1) % 20 * 4, (uint32_t)take(in, 4));
	v->gr[5] = (uint64_t)take_handle(in) << 32 | (kind & 4 ? take(in, 1) : 0) << 16 |
		   take(in, 1) % 24;
	finish(v, zpci_insn_mpcifc(f->zpci, &v->zpci, 5, take_address(in, FIB_AT), 0));
}

static void op_store_controls(struct fuzz *f, struct vcpu *v, struct input *in)
{
	v->gr[5] = (uint64_t)take_handle(in) << 32 | take(in, 1) % 2 << 16;
	finish(v, zpci_insn_stpcifc(f->zpci, &v->zpci, 5, take_address(in, FIB_AT), 0));
}

static void op_refresh(struct fuzz *f, struct vcpu *v, struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	v->gr[5] = (uint64_t)take_handle(in) << 32;
	v->gr[6] = take_dma(in);
	v->gr[7] = kind & 1 ? take(in, 8) : PAGE_SIZE * (uint64_t)kind;
	finish(v, zpci_insn_rpcit(f->zpci, &v->zpci, 5, kind == 2 ? 7 : 6));
}

static void op_interruption_controls(struct fuzz *f, struct vcpu *v, struct input *in)
{
	v->gr[1] = take(in, 2);
	v->gr[3] = take(in, 1) << 27;
	finish(v, zpci_insn_sic(f->zpci, &v->zpci, 1, 3, take_address(in, BLOCK_AT), 0));
}

/* Valid tables: a region-third, a segment and a page table that maps what is named. */
static void op_tables(struct fuzz *f, struct input *in)
{
	uint64_t segments = TABLES_AT + 0x4000, pages = TABLES_AT + 0x8000;

	store_be64(f->memory + TABLES_AT + 8 * (SDMA >> 31), segments | 7);
	store_be64(f->memory + segments, pages | (take(in, 1) & 0x200));
	for (unsigned i = 0; i < 16; i++) {
		uint64_t page = take(in, 1);

		store_be64(f->memory + pages + 8 * i,
			   page == 255 ? 0x400 : page % 40 * PAGE_SIZE | (page & 0x80) << 2);
	}
}

static void op_memory(struct fuzz *f, struct input *in)
{
	store_be64(f->memory + take(in, 3) % (MEMORY_SIZE / 8) * 8, take(in, 8));
}

/* What comes from outside. */
static void op_outside(struct fuzz *f, struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);
	unsigned fid = kind >> 4 & 3;
	struct zpci_event event;

	switch (kind % 16) {
	case 0:
	case 1:
		(void)zpci_sclp_configure(f->zpci, fid);
		break;
	case 2:
		(void)zpci_sclp_deconfigure(f->zpci, fid);
		break;
	case 3:
		(void)zpci_request_unplug(f->zpci, fid);
		break;
	case 4:
		if (!zpci_unplug(f->zpci, fid))
			check(!f->devices[fid].attached && !f->devices[fid].in_flight,
			      "a device that is gone is used");
		break;
	case 5:
	case 6:
		if (fid < FUNCTIONS)
			plug(f, fid, kind & 0x80);
		break;
	case 7:
		if (kind & 0x80)
			zpci_reset(f->zpci);
		break;
	case 8:
		f->now_ms += take(in, 2);
		zpci_update_measurements(f->zpci, f->now_ms);
		break;
	case 9:
		(void)zpci_inject_error(f->zpci, fid, (uint16_t)take(in, 2), take(in, 1));
		break;
	case 10:
		(void)zpci_inject_translation_failure(f->zpci, fid, (uint16_t)take(in, 1),
						      take(in, 1));
		break;
	case 11:
		zpci_directed_fallback(f->zpci, (unsigned)take(in, 2));
		break;
	default:
		while (zpci_next_event(f->zpci, &event))
			check(event.content_code == 1 || event.content_code == 2, "no such event");
		break;
	}
}

static void operation(struct fuzz *f, struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);
	struct vcpu *v = &f->vcpus[kind >> 7];

	v->zpci.problem_state = (kind & 0x70) == 0x70;
	v->zpci.mio_addressing = (kind & 0x70) != 0x60;
	switch (kind % 16) {
	case 0:
	case 1:
		op_clp(f, v, in);
		break;
	case 2:
		op_by_address(f, v, in);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		op_load_store(f, v, in);
		break;
	case 7:
		op_store_block(f, v, in);
		break;
	case 8:
	case 9:
		op_modify(f, v, in);
		break;
	case 10:
		op_store_controls(f, v, in);
		break;
	case 11:
		op_refresh(f, v, in);
		break;
	case 12:
		op_interruption_controls(f, v, in);
		break;
	case 13:
		op_tables(f, in);
		break;
	case 14:
		op_memory(f, in);
		break;
	default:
		op_outside(f, in);
		break;
	}
}

/* MSI-X, half of the vectors directed to a CPU. */
static void set_up_vectors(struct pci_function *function)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		uint64_t address = 0xfe00000000000000 | (i & 1 ? (i & 2) << 7 : 0);

		check(!pci_function_bar_write(function, 0, 0x1000 + 16 * i, 8, address) &&
			      !pci_function_bar_write(function, 0, 0x1008 + 16 * i, 8, i),
		      "no table of vectors");
	}
	for (unsigned at = pci_function_config_read(function, PCI_CAPABILITY_LIST, 1); at;
	     at = pci_function_config_read(function, at + 1, 1)) {
		if (pci_function_config_read(function, at, 1) == PCI_CAP_ID_MSIX)
			pci_function_config_write(function, at + 2, 2, 0x8000);
	}
}

/* So that an input need not begin with it: both enabled, with translation and MSI-X. */
static void set_up_functions(struct fuzz *f)
{
	static const uint8_t tables[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255 };
	struct vcpu *v = &f->vcpus[0];

	op_tables(f, &(struct input){ tables, sizeof(tables) });
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		uint8_t *block = f->memory + BLOCK_AT, *fib = f->memory + FIB_AT;

		memset(block, 0, 64);
		store_be16(block, 32);
		store_be16(block + 2, 5);
		store_be32(block + 16, 0x10000 | i);
		block[23] = 1;
		store_be16(block + 32, 64);
		v->gr[4] = BLOCK_AT;
		finish(v, zpci_insn_clp(f->zpci, &v->zpci, 3, 4, 0, 2));
		v->gr[5] = __builtin_bswap16(PCI_COMMAND_MASTER);
		v->gr[6] = 0x8001000000000000 | (uint64_t)i << 32 | 15 << 16 | 2;
		v->gr[7] = PCI_COMMAND;
		finish(v, zpci_insn_pcistg(f->zpci, &v->zpci, 5, 6));
		memset(fib, 0, 80);
		store_be64(fib + 16, SDMA);
		store_be64(fib + 24, SDMA + 4 * GIB - 1);
		store_be64(fib + 32, TABLES_AT | 0x804);
		v->gr[5] = 0x8001000000000000 | (uint64_t)i << 32 | 4;
		finish(v, zpci_insn_mpcifc(f->zpci, &v->zpci, 5, FIB_AT, 0));
		memset(fib, 0, 80);
		store_be32(fib + 40, 2u << 28 | VECTORS << 16 | 1 << 7);
		store_be64(fib + 48, 0x1000);
		store_be64(fib + 56, 0x1100);
		v->gr[5] = 0x8001000000000000 | (uint64_t)i << 32 | 2;
		finish(v, zpci_insn_mpcifc(f->zpci, &v->zpci, 5, FIB_AT, 0));
		set_up_vectors(f->devices[i].function);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz *f = &fuzz;
	struct input in = { data, size };
	uint8_t features;
	struct zpci_config config = {
		.memory = { .size = MEMORY_SIZE, .written = written, .storage_key = storage_key },
		.vcpu = &vcpu_ops,
		.machine = &machine_ops,
		.uid_checking = true,
	};

	if (!f->memory)
		f->memory = aligned_alloc(PAGE_SIZE, MEMORY_SIZE);
	check(f->memory, "no memory");
	memset(f->memory, 0, MEMORY_SIZE);
	config.memory.base = f->memory;
	features = (uint8_t)take(&in, 1);
	config.directed_interruptions = features & 1;
	config.mio = features & 2;
	f->mapped = features & 4;
	f->now_ms = 0;
	f->zpci = zpci_create(&config);
	check(f->zpci, "no memory");
	for (unsigned i = 0; i < VCPUS; i++)
		f->vcpus[i] = (struct vcpu){
			.zpci = { .registers = f->vcpus[i].gr, .index = i, .cc = NOTHING }
		};
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		make_device(&f->devices[i], i);
		plug(f, i, false);
	}
	set_up_functions(f);
	for (unsigned i = 0; in.size && i < OPERATIONS_MAX; i++)
		operation(f, &in);
	zpci_destroy(f->zpci);
	for (unsigned i = 0; i < HOST_PAGES; i++)
		check(!host_pages[i], "a page is mapped for a function that is gone");
	for (unsigned i = 0; i < FUNCTIONS; i++)
		pci_function_free(f->devices[i].function);
	return 0;
}
