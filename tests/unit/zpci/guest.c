/* SPDX-License-Identifier: MIT */
/* The guest of the tests of libzpci; see guest.h. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>

/* --- the vCPU -------------------------------------------------------------------- */

static struct guest *guest_of(struct zpci_vcpu *vcpu)
{
	return container_of(vcpu, struct guest, vcpu);
}

static int program(struct zpci_vcpu *vcpu, enum zpci_program code)
{
	guest_of(vcpu)->program = code;
	return -1;
}

static int access_memory(struct guest *g, uint64_t address, size_t length)
{
	uint64_t end = g->inaccessible ? g->inaccessible : GUEST_MEMORY;

	assert_true(length <= 4096);
	if (range_fits(address, length, end))
		return 0;
	g->access_exception = true;
	return -1;
}

static int read_memory(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, void *to,
		       size_t length)
{
	struct guest *g = guest_of(vcpu);

	if (access_memory(g, address, length))
		return -1;
	memcpy(to, g->memory + address, length);
	return 0;
}

static int write_memory(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, const void *from,
			size_t length)
{
	struct guest *g = guest_of(vcpu);

	if (access_memory(g, address, length))
		return -1;
	memcpy(g->memory + address, from, length);
	return 0;
}

static int translate(struct zpci_vcpu *vcpu, uint64_t address, unsigned ar, bool write,
		     uint64_t *absolute)
{
	struct guest *g = guest_of(vcpu);

	if (address & MIO_BIT) {
		/* As mapped where it is, or not at all. */
		g->access_exception = g->mio_unmapped || (write && g->mio_read_only);
		*absolute = address;
		return g->access_exception ? -1 : 0;
	}
	if (access_memory(g, address, 1))
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

/* --- the machine ------------------------------------------------------------------ */

static void adapter_interruption(void *opaque, unsigned isc)
{
	struct guest *g = opaque;

	if (g->present)
		g->present(g, isc);
	__atomic_fetch_add(&((struct guest *)opaque)->interruptions[isc], 1, __ATOMIC_SEQ_CST);
}

static void set_interruption_mode(void *opaque, unsigned isc, enum zpci_interruption_mode mode)
{
	((struct guest *)opaque)->modes[isc] = mode;
}

static bool directed_interruption(void *opaque, unsigned cpu, unsigned isc)
{
	struct guest *g = opaque;

	if (g->present_directed)
		return g->present_directed(g, cpu, isc);
	if (cpu >= ARRAY_SIZE(g->directed) || g->stopped[cpu])
		return false;
	__atomic_store_n(&g->directed_isc, isc, __ATOMIC_RELAXED);
	__atomic_fetch_add(&g->directed[cpu], 1, __ATOMIC_SEQ_CST);
	return true;
}

static void set_directed_mode(void *opaque, unsigned cpu, unsigned isc,
			      enum zpci_interruption_mode mode)
{
	struct guest *g = opaque;

	assert_in_range(cpu, 0, ARRAY_SIZE(g->directed) - 1);
	g->directed_modes[cpu][isc] = mode;
}

static void event_pending(void *opaque)
{
	((struct guest *)opaque)->event_calls++;
}

static void deconfigured(void *opaque, uint32_t fid)
{
	((struct guest *)opaque)->deconfigured = fid;
}

static uint64_t tod(void *opaque)
{
	return 0x1234567890abcdefull;
}

static void trace(void *opaque, const char *event, const char *text)
{
	struct guest *g = opaque;

	pthread_mutex_lock(&g->lock);
	snprintf(g->trace, sizeof(g->trace), "%s %s", event, text);
	g->traces++;
	pthread_mutex_unlock(&g->lock);
}

static const struct zpci_machine_ops machine_ops = {
	.adapter_interruption = adapter_interruption,
	.set_interruption_mode = set_interruption_mode,
	.directed_interruption = directed_interruption,
	.set_directed_mode = set_directed_mode,
	.event_pending = event_pending,
	.deconfigured = deconfigured,
	.tod = tod,
	.trace = trace,
};

static void written(void *opaque, uint64_t absolute, uint64_t length)
{
	struct guest *g = opaque;

	pthread_mutex_lock(&g->lock);
	g->written_first = absolute;
	g->written_length = length;
	g->written_calls++;
	pthread_mutex_unlock(&g->lock);
	if (g->on_written)
		g->on_written(g);
}

static uint8_t storage_key(void *opaque, uint64_t absolute)
{
	assert_true(absolute < GUEST_MEMORY);
	return ((struct guest *)opaque)->storage_key;
}

/* --- the device ---------------------------------------------------------------------- */

static uint64_t bar_read(void *opaque, unsigned bar, uint64_t offset, unsigned size)
{
	struct device *device = opaque;

	device->bar = bar;
	device->offset = offset;
	device->size = size;
	device->reads++;
	return device->value;
}

static void bar_write(void *opaque, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct device *device = opaque;

	device->bar = bar;
	device->offset = offset;
	device->size = size;
	device->written = value;
	device->writes++;
}

static int bar_write_block(void *opaque, unsigned bar, uint64_t offset, const void *data,
			   unsigned length)
{
	struct device *device = opaque;

	device->bar = bar;
	device->offset = offset;
	memcpy(device->block, data, length);
	device->block_length = length;
	device->blocks++;
	return device->block_error;
}

static void reset(void *opaque)
{
	((struct device *)opaque)->resets++;
}

static void enabling(void *opaque)
{
	((struct device *)opaque)->enablings++;
}

static void attached(void *opaque)
{
	((struct device *)opaque)->attached = true;
}

static void detaching(void *opaque)
{
	struct device *d = opaque;

	d->attached = false;
	if (d->on_detaching)
		d->on_detaching(d->opaque);
}

static bool quiesce(void *opaque)
{
	struct device *d = opaque;

	if (!d->busy)
		return true;
	d->busy--;
	return false;
}

const struct pci_device_ops device_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_write_block = bar_write_block,
	.reset = reset,
	.attached = attached,
	.detaching = detaching,
	.quiesce = quiesce,
	.enabling = enabling,
};

struct pci_function *device_function(struct device *device)
{
	static const struct pci_function_info info = {
		.name = "test0", .vendor_id = 0x1b36, .device_id = 0x0010,
		.class_code = 0x010802,
	};
	struct pci_function *f = pci_function_new(&info, &device_ops, device);

	assert_non_null(f);
	assert_int_equal(pci_function_add_bar(f, 0, DEVICE_BAR0_SIZE, true, false), 0);
	assert_true(pci_function_add_msix(f, DEVICE_VECTORS, 0, DEVICE_MSIX_TABLE, 0,
					  DEVICE_MSIX_PBA) > 0);
	return f;
}

/* --- the whole -------------------------------------------------------------------------- */

static void stores_unseen(void *opaque, bool begin)
{
	((struct guest *)opaque)->unseen_writers += begin ? 1 : -1;
}

static struct guest *new_guest(bool directed, bool mio)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct zpci_config config = {
		.vcpu = &vcpu_ops,
		.machine = &machine_ops,
		.opaque = g,
		.uid_checking = true,
		.directed_interruptions = directed,
		.mio = mio,
	};

	assert_non_null(g);
	g->vcpu.registers = g->gr;
	g->vcpu.mio_addressing = true;
	pthread_mutex_init(&g->lock, NULL);
	g->memory = aligned_alloc(4096, GUEST_MEMORY);
	assert_non_null(g->memory);
	memset(g->memory, 0, GUEST_MEMORY);
	config.memory = (struct zpci_guest_memory){ g->memory, GUEST_MEMORY, written, g,
						    storage_key, stores_unseen };
	g->zpci = zpci_create(&config);
	assert_non_null(g->zpci);
	guest_clear(g);
	return g;
}

struct guest *guest_new(void)
{
	return new_guest(true, true);
}

struct guest *guest_new_without_directed(void)
{
	return new_guest(false, true);
}

struct guest *guest_new_without_mio(void)
{
	return new_guest(true, false);
}

static uint32_t find_handle(struct guest *g);

void guest_plug(struct guest *g, const struct zpci_function_config *config)
{
	struct pci_function *f = device_function(&g->device);

	assert_true(pci_function_add_msi(f, DEVICE_MSI_VECTORS) > 0);
	guest_plug_function(g, f, config);
}

void guest_plug_function(struct guest *g, struct pci_function *function,
			 const struct zpci_function_config *config)
{
	char error[256] = "";

	g->function = function;
	if (zpci_plug(g->zpci, g->function, config, false, error, sizeof(error)))
		fail_msg("%s", error);
	g->fh = find_handle(g);
	g->plugged = true;
	guest_clear(g);
}

void guest_free(struct guest *g)
{
	zpci_destroy(g->zpci);
	pci_function_free(g->function);
	pthread_mutex_destroy(&g->lock);
	free(g->memory);
	free(g);
}

int guest_setup(void **state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);

	config.uid = GUEST_UID;
	guest_plug(g, &config);
	*state = g;
	return 0;
}

int guest_teardown(void **state)
{
	guest_free(*state);
	return 0;
}

void guest_clear(struct guest *g)
{
	g->vcpu.cc = 99;
	g->program = 0;
	g->access_exception = false;
	memset(g->interruptions, 0, sizeof(g->interruptions));
	for (unsigned i = 0; i < 8; i++)
		g->modes[i] = 99;
	memset(g->directed, 0, sizeof(g->directed));
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 8; j++)
			g->directed_modes[i][j] = 99;
	g->event_calls = 0;
	g->written_calls = 0;
}

/* --- instructions -------------------------------------------------------------------------- */

#define CLP_AT 0x2000

static uint8_t *clp(struct guest *g, unsigned command, uint32_t word, uint32_t word2)
{
	uint8_t *block = guest_at(g, CLP_AT);

	memset(block, 0, 4096);
	store_be16(block, 32);
	store_be16(block + 2, command);
	store_be32(block + 16, word);
	store_be32(block + 20, word2);
	store_be16(block + 32, 4064);
	g->gr[4] = CLP_AT;
	assert_int_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 2), 0);
	assert_int_equal(g->vcpu.cc, 0);
	assert_int_equal(load_be16(block + 34), 0x0010);
	return block + 32;
}

static uint32_t find_handle(struct guest *g)
{
	return load_be32(clp(g, 2, 0, 0) + 32 + 12);
}

void guest_enable(struct guest *g)
{
	g->fh = load_be32(clp(g, 5, g->fh, 0x00000001) + 16);
	guest_pcistg(g, 15, PCI_COMMAND, 2, __builtin_bswap16(PCI_COMMAND_MASTER));
	assert_int_equal(g->vcpu.cc, 0);
	guest_clear(g);
}

void guest_disable(struct guest *g)
{
	g->fh = load_be32(clp(g, 5, g->fh, 0x00000100) + 16);
	guest_clear(g);
}

int guest_pcilg(struct guest *g, unsigned space, uint64_t offset, unsigned length)
{
	g->gr[6] = (uint64_t)g->fh << 32 | space << 16 | length;
	g->gr[7] = offset;
	return zpci_insn_pcilg(g->zpci, &g->vcpu, 5, 6);
}

int guest_pcistg(struct guest *g, unsigned space, uint64_t offset, unsigned length,
		 uint64_t data)
{
	g->gr[5] = data;
	g->gr[6] = (uint64_t)g->fh << 32 | space << 16 | length;
	g->gr[7] = offset;
	return zpci_insn_pcistg(g->zpci, &g->vcpu, 5, 6);
}

uint8_t *guest_fib(struct guest *g)
{
	return memset(guest_at(g, FIB_AT), 0, FIB_SIZE);
}

int guest_mpcifc(struct guest *g, unsigned operation)
{
	g->gr[5] = (uint64_t)g->fh << 32 | operation;
	return zpci_insn_mpcifc(g->zpci, &g->vcpu, 5, FIB_AT, 1);
}

int guest_stpcifc(struct guest *g, uint32_t fh)
{
	g->gr[5] = (uint64_t)fh << 32;
	return zpci_insn_stpcifc(g->zpci, &g->vcpu, 5, FIB_AT, 1);
}

/* Region-third table, then one segment table, then one page table. */
#define SEGMENTS_AT (TABLES_AT + 0x4000)
#define PAGES_AT (TABLES_AT + 0x8000)

void guest_register_translation(struct guest *g)
{
	uint8_t *fib = guest_fib(g);

	for (unsigned i = 0; i < 2048; i++) {
		store_be64(guest_at(g, TABLES_AT + 8 * i), 0x27);
		store_be64(guest_at(g, SEGMENTS_AT + 8 * i), 0x20);
	}
	for (unsigned i = 0; i < 256; i++)
		store_be64(guest_at(g, PAGES_AT + 8 * i), 0x400);
	store_be64(guest_at(g, TABLES_AT + 8 * (SDMA >> 31)), SEGMENTS_AT | 0x7);
	store_be64(guest_at(g, SEGMENTS_AT), PAGES_AT);
	store_be64(fib + 16, SDMA);
	store_be64(fib + 24, SDMA + 4 * GIB - 1);
	store_be64(fib + 32, TABLES_AT | IOTA_RTTO);
	assert_int_equal(guest_mpcifc(g, 4), 0);
	assert_int_equal(g->vcpu.cc, 0);
	guest_clear(g);
}

void guest_map(struct guest *g, uint64_t iova, uint64_t absolute, bool writable)
{
	store_be64(guest_at(g, PAGES_AT + 8 * (iova >> 12 & 0xff)),
		   absolute | (writable ? 0 : 0x200));
}

void guest_unmap(struct guest *g, uint64_t iova)
{
	store_be64(guest_at(g, PAGES_AT + 8 * (iova >> 12 & 0xff)), 0x400);
}

int guest_rpcit(struct guest *g, uint64_t start, uint64_t length)
{
	g->gr[5] = (uint64_t)g->fh << 32;
	g->gr[6] = start;
	g->gr[7] = length;
	return zpci_insn_rpcit(g->zpci, &g->vcpu, 5, 6);
}

void guest_register_interruptions(struct guest *g, unsigned isc, unsigned noi)
{
	uint8_t *fib = guest_fib(g);

	store_be32(fib + 40, isc << 28 | noi << 16 | 1 << 7 | 9);
	store_be64(fib + 48, AIBV_AT);
	store_be64(fib + 56, AISB_AT);
	assert_int_equal(guest_mpcifc(g, 2), 0);
	assert_int_equal(g->vcpu.cc, 0);
	guest_clear(g);
}

int guest_sic(struct guest *g, unsigned operation, unsigned isc)
{
	g->gr[1] = operation;
	g->gr[3] = (uint64_t)isc << 27;
	return zpci_insn_sic(g->zpci, &g->vcpu, 1, 3, SIC_BLOCK_AT, 0);
}

void guest_direct(struct guest *g, unsigned isc)
{
	uint8_t *block = memset(guest_at(g, SIC_BLOCK_AT), 0, 40);

	store_be32(block, isc << 28);
	store_be16(block + 6, 4);
	store_be64(block + 8, DISB_AT);
	assert_int_equal(guest_sic(g, 4, 0), 0);
	memset(block, 0, 40);
	for (g->vcpu.index = 0; g->vcpu.index < 4; g->vcpu.index++) {
		store_be64(block + 8, DIBV_AT(g->vcpu.index));
		assert_int_equal(guest_sic(g, 18, 0), 0);
	}
	g->vcpu.index = 0;
}

void guest_register_directed(struct guest *g, unsigned noi, unsigned dibvo)
{
	uint8_t *fib = guest_fib(g);

	fib[0] = 1;
	store_be32(fib + 40, noi << 16);
	store_be16(fib + 44, dibvo);
	assert_int_equal(guest_mpcifc(g, 16), 0);
	assert_int_equal(g->vcpu.cc, 0);
	guest_clear(g);
}

static unsigned config_byte(struct guest *g, unsigned offset)
{
	guest_pcilg(g, 15, offset, 1);
	assert_int_equal(g->vcpu.cc, 0);
	return (unsigned)g->gr[5];
}

unsigned guest_find_capability(struct guest *g, unsigned id)
{
	unsigned offset = config_byte(g, PCI_CAPABILITY_LIST);

	while (offset && config_byte(g, offset) != id)
		offset = config_byte(g, offset + 1);
	assert_int_not_equal(offset, 0);
	return offset;
}

void guest_program_vector(struct guest *g, unsigned entry, uint64_t address, uint32_t data)
{
	uint64_t at = DEVICE_MSIX_TABLE + 16 * entry;

	guest_pcistg(g, 0, at, 8, __builtin_bswap64(address));
	assert_int_equal(g->vcpu.cc, 0);
	guest_pcistg(g, 0, at + 8, 4, __builtin_bswap32(data));
	guest_pcistg(g, 0, at + 12, 4, 0);
	guest_pcistg(g, 15, 0x42, 2, __builtin_bswap16(0x8000));
	assert_int_equal(g->vcpu.cc, 0);
	guest_clear(g);
}
