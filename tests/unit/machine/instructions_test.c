/* SPDX-License-Identifier: MIT */
/*
 * The instructions that the machine executes for a CPU: channel subsystem, STSI,
 * DIAG. The CPU is the structure below: registers, real addresses in 64 MiB.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/byteorder.h"
#include "machine/internal.h"
#include "machine/pci.h"

#define MEMORY (64 * MIB)
#define BLOCK 0x20000u
#define NO_ACCESS 0x7f0000u /* a page that the CPU cannot access */
#define SUBCHANNEL 0x00010000u
#define CC_UNSET 9

struct vcpu {
	struct cpu_state state;
	struct machine *machine;
	bool problem_state;
	unsigned int cc;
	enum pgm_code program;
};

struct cpu_complex {
	cpu_insn_handler *handlers[65536];
};

struct fixture {
	struct machine machine;
	struct vcpu vcpu;
	struct cpu_complex cpus;
	struct machine_pci_event event;
	bool has_event;
	bool page_goes; /* after it was found accessible, before it is stored to */
	enum machine_reset reset;
};

/* --- what the machine calls ------------------------------------------------------- */

int cpu_complex_set_handler(struct cpu_complex *cpus, uint16_t opcode, cpu_insn_handler *handler)
{
	cpus->handlers[opcode] = handler;
	return 0;
}

void cpu_complex_floating_pending(struct cpu_complex *cpus, enum cpu_floating_class class,
				  uint64_t mask)
{
}

void cpu_complex_directed_pending(struct cpu_complex *cpus, unsigned int cpu, uint64_t mask)
{
}

struct vcpu *cpu_complex_vcpu(struct cpu_complex *cpus, unsigned int index)
{
	return &container_of(cpus, struct fixture, cpus)->vcpu;
}

bool vcpu_is_stopped(const struct vcpu *v)
{
	return false;
}

struct cpu_state *vcpu_state(struct vcpu *v)
{
	return &v->state;
}

void vcpu_set_cc(struct vcpu *v, unsigned int cc)
{
	v->cc = cc;
}

bool vcpu_problem_state(struct vcpu *v)
{
	return v->problem_state;
}

int vcpu_program(struct vcpu *v, enum pgm_code code)
{
	v->program = code;
	return -EFAULT;
}

static struct fixture *fixture_of(struct machine *machine)
{
	return container_of(machine, struct fixture, machine);
}

static int access(struct vcpu *v, uint64_t address, size_t length)
{
	if (address / PAGE_SIZE == NO_ACCESS / PAGE_SIZE ||
	    (address + length - 1) / PAGE_SIZE == NO_ACCESS / PAGE_SIZE)
		return vcpu_program(v, PGM_PAGE_TRANSLATION);
	return 0;
}

int vcpu_read(struct vcpu *v, uint64_t address, unsigned int ar, void *to, size_t length)
{
	int rc = access(v, address, length);

	return rc ? rc : memory_read(&v->machine->memory, address, to, length);
}

int vcpu_write(struct vcpu *v, uint64_t address, unsigned int ar, const void *from, size_t length)
{
	int rc = access(v, address, length);

	if (fixture_of(v->machine)->page_goes)
		return vcpu_program(v, PGM_PAGE_TRANSLATION);
	return rc ? rc : memory_write(&v->machine->memory, address, from, length);
}

int vcpu_translate(struct vcpu *v, uint64_t address, unsigned int ar, bool write,
		   uint64_t *absolute)
{
	*absolute = address;
	return access(v, address, 1);
}

bool machine_pci_next_event(struct machine *machine, struct machine_pci_event *event)
{
	struct fixture *f = fixture_of(machine);
	bool has = f->has_event;

	*event = f->event;
	f->has_event = false;
	return has;
}

void machine_pci_return_event(struct machine *machine, const struct machine_pci_event *event)
{
	struct fixture *f = fixture_of(machine);

	f->event = *event;
	f->has_event = true;
}

void machine_request_reset(struct machine *machine, enum machine_reset kind, struct vcpu *vcpu)
{
	fixture_of(machine)->reset = kind;
}

/* ----------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct sclp_config sclp = { .memory = &f->machine.memory, .cpus = 3 };

	assert_non_null(f);
	assert_int_equal(memory_create(&f->machine.memory, MEMORY), 0);
	f->machine.config.cpus = 3;
	f->machine.version = machine_version_find(NULL);
	f->machine.cpus = &f->cpus;
	f->machine.floating.cpus = &f->cpus;
	f->vcpu.machine = &f->machine;
	f->vcpu.state.cpu_address = 1;
	floating_reset(&f->machine.floating);
	css_init(&f->machine.css);
	sclp_init(&f->machine.sclp, &sclp);
	assert_int_equal(css_install(&f->machine), 0);
	assert_int_equal(service_install(&f->machine), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sclp_destroy(&f->machine.sclp);
	css_destroy(&f->machine.css);
	memory_destroy(&f->machine.memory);
	free(f);
	return 0;
}

static uint64_t *gr(struct fixture *f)
{
	return f->vcpu.state.gr;
}

static uint8_t *block(struct fixture *f)
{
	return f->machine.memory.base + BLOCK;
}

/* Execute; the program interruption, or PGM_NONE. */
static enum pgm_code execute(struct fixture *f, uint16_t opcode, unsigned int r1, unsigned int r3,
			     uint64_t address)
{
	const struct cpu_insn insn = {
		.r1 = (uint8_t)r1,
		.r2 = (uint8_t)r3,
		.r3 = (uint8_t)r3,
		.address = address,
	};
	int rc;

	f->vcpu.cc = CC_UNSET;
	f->vcpu.program = PGM_NONE;
	assert_non_null(f->cpus.handlers[opcode]);
	rc = f->cpus.handlers[opcode](&f->machine, &f->vcpu, &insn);
	assert_int_equal(rc != 0, f->vcpu.program != PGM_NONE);
	return f->vcpu.program;
}

static void all_of_them_are_privileged(void **state)
{
	static const uint16_t opcodes[] = {
		0xb230, 0xb231, 0xb232, 0xb233, 0xb234, 0xb235, 0xb236, 0xb237, 0xb238, 0xb239,
		0xb23a, 0xb23b, 0xb23c, 0xb25f, 0xb276, 0xb220, 0xb27d, 0x83,
	};
	struct fixture *f = *state;

	f->vcpu.problem_state = true;
	for (unsigned int i = 0; i < ARRAY_SIZE(opcodes); i++) {
		assert_int_equal(execute(f, opcodes[i], 0, 0, BLOCK), PGM_PRIVILEGED);
		assert_int_equal(f->vcpu.cc, CC_UNSET);
	}
}

static void there_are_no_subchannels(void **state)
{
	static const uint16_t opcodes[] = {
		0xb230, 0xb231, 0xb232, 0xb233, 0xb234, 0xb235, 0xb238, 0xb276,
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(opcodes); i++) {
		gr(f)[1] = SUBCHANNEL;
		assert_int_equal(execute(f, opcodes[i], 0, 0, BLOCK), PGM_NONE);
		assert_int_equal(f->vcpu.cc, 3);
		gr(f)[1] = 0;
		assert_int_equal(execute(f, opcodes[i], 0, 0, BLOCK), PGM_OPERAND);
	}
}

static void subchannel_operand_is_checked_before_the_subchannel(void **state)
{
	static const uint16_t opcodes[] = { 0xb232, 0xb233, 0xb234, 0xb235 };
	struct fixture *f = *state;

	gr(f)[1] = SUBCHANNEL;
	for (unsigned int i = 0; i < ARRAY_SIZE(opcodes); i++) {
		assert_int_equal(execute(f, opcodes[i], 0, 0, BLOCK + 2), PGM_SPECIFICATION);
		assert_int_equal(execute(f, opcodes[i], 0, 0, NO_ACCESS), PGM_PAGE_TRANSLATION);
		assert_int_equal(execute(f, opcodes[i], 0, 0, NO_ACCESS - 8),
				 PGM_PAGE_TRANSLATION);
	}
}

static void tpi_stores_and_clears_an_interruption(void **state)
{
	struct fixture *f = *state;

	f->vcpu.state.cr[6] = 0xff000000;
	assert_int_equal(execute(f, 0xb236, 0, 0, 0), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
	floating_adapter(&f->machine.floating, 3);
	f->vcpu.state.prefix = 0x40000;
	assert_int_equal(execute(f, 0xb236, 0, 0, 0), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 1);
	assert_int_equal(load_be32(f->machine.memory.base + 0x40000 + 0xc0), 0x98000000);
	assert_int_equal(execute(f, 0xb236, 0, 0, 0), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
}

static void tpi_that_cannot_store_clears_nothing(void **state)
{
	struct fixture *f = *state;

	f->vcpu.state.cr[6] = 0xff000000;
	floating_adapter(&f->machine.floating, 3);
	assert_int_equal(execute(f, 0xb236, 0, 0, NO_ACCESS), PGM_PAGE_TRANSLATION);
	assert_int_equal(execute(f, 0xb236, 0, 0, BLOCK), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 1);
}

static void tpi_finds_what_is_directed_to_its_cpu(void **state)
{
	struct fixture *f = *state;

	f->vcpu.state.cr[6] = 0xff000000;
	assert_true(floating_directed(&f->machine.floating, 0, 2));
	assert_int_equal(execute(f, 0xb236, 0, 0, BLOCK), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
	assert_true(floating_directed(&f->machine.floating, 1, 2));
	f->vcpu.state.prefix = 0x40000;
	assert_int_equal(execute(f, 0xb236, 0, 0, 0), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 1);
	assert_int_equal(load_be32(f->machine.memory.base + 0x40000 + 0xc0), 0xd0000000);
}

static bool machine_check_pending(struct fixture *f)
{
	struct cpu_mchk_interruption mchk;

	return floating_take_mchk(&f->machine.floating, UINT64_MAX, &mchk);
}

static void pci_event_makes_one_channel_report(void **state)
{
	struct fixture *f = *state;

	css_event_pending(&f->machine);
	assert_true(machine_check_pending(f));
	/* Until the guest has read that there is no more, none is announced. */
	css_event_pending(&f->machine);
	assert_false(machine_check_pending(f));
	assert_int_equal(execute(f, 0xb239, 0, 0, BLOCK), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
	assert_int_equal(load_be32(block(f)), 0x0b000000);
	css_event_pending(&f->machine);
	assert_false(machine_check_pending(f));
	assert_int_equal(execute(f, 0xb239, 0, 0, BLOCK), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
	assert_int_equal(execute(f, 0xb239, 0, 0, BLOCK), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 1);
	assert_int_equal(load_be32(block(f)), 0);
	css_event_pending(&f->machine);
	assert_true(machine_check_pending(f));
}

static void channel_report_that_cannot_be_stored_stays(void **state)
{
	struct fixture *f = *state;

	css_event_pending(&f->machine);
	assert_int_equal(execute(f, 0xb239, 0, 0, NO_ACCESS), PGM_PAGE_TRANSLATION);
	assert_int_equal(execute(f, 0xb239, 0, 0, BLOCK), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
}

/* CHSC with a request of `length` bytes; the response code. */
static unsigned int chsc(struct fixture *f, uint16_t command, uint16_t length)
{
	store_be16(block(f), length);
	store_be16(block(f) + 2, command);
	gr(f)[2] = BLOCK;
	assert_int_equal(execute(f, 0xb25f, 2, 0, 0), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
	return load_be16(block(f) + length + 2);
}

static void chsc_block_is_checked(void **state)
{
	static const uint16_t lengths[] = { 0, 8, 15, 17, 4089, 4096, 0xffff };
	struct fixture *f = *state;

	gr(f)[2] = BLOCK + 8;
	assert_int_equal(execute(f, 0xb25f, 2, 0, 0), PGM_SPECIFICATION);
	gr(f)[2] = NO_ACCESS;
	assert_int_equal(execute(f, 0xb25f, 2, 0, 0), PGM_PAGE_TRANSLATION);
	gr(f)[2] = BLOCK;
	for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
		store_be16(block(f), lengths[i]);
		assert_int_equal(execute(f, 0xb25f, 2, 0, 0), PGM_OPERAND);
	}
}

static void chsc_command_that_is_not_there_is_answered(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(chsc(f, 0x0033, 16), 0x0004);
	assert_int_equal(load_be16(block(f) + 16), 8);
	assert_int_equal(chsc(f, 0x0031, 0x400), 0x0101);
}

static void chsc_characteristics_are_none(void **state)
{
	struct fixture *f = *state;

	memset(block(f) + 16, 0xff, 4080);
	memset(block(f) + 4, 0, 12);
	assert_int_equal(chsc(f, 0x0010, 16), 0x0001);
	assert_int_equal(load_be16(block(f) + 16), 4080);
	for (unsigned int i = 20; i < 4096; i++)
		assert_int_equal(block(f)[i], 0);
}

static void chsc_stores_a_pci_event(void **state)
{
	struct fixture *f = *state;

	memset(block(f), 0, 4096);
	store_be64(block(f) + 8, BIT64(2));
	assert_int_equal(chsc(f, 0x000e, 16), 0x0005);
	f->has_event = true;
	f->event = (struct machine_pci_event){
		.content_code = 2,
		.data = { 0xca, 0xfe },
		.length = 32,
		.more = true,
	};
	assert_int_equal(chsc(f, 0x000e, 16), 0x0001);
	assert_int_equal(block(f)[16 + 7], 2);
	assert_int_equal(block(f)[16 + 8], 0x80);
	assert_int_equal(block(f)[16 + 8 + 3], 2);
	assert_int_equal(load_be16(block(f) + 16 + 8 + 56), 0xcafe);
	f->has_event = true;
	f->event.more = false;
	f->event.lost = true;
	store_be64(block(f) + 8, BIT64(2));
	assert_int_equal(chsc(f, 0x000e, 16), 0x0001);
	assert_int_equal(block(f)[16 + 8], 0x40);
	/* One who does not ask for PCI events leaves them where they are. */
	memset(block(f), 0, 4096);
	store_be64(block(f) + 8, BIT64(0));
	f->has_event = true;
	assert_int_equal(chsc(f, 0x000e, 16), 0x0005);
	assert_true(f->has_event);
}

static void event_that_cannot_be_stored_stays(void **state)
{
	struct fixture *f = *state;

	memset(block(f), 0, 4096);
	store_be64(block(f) + 8, BIT64(2));
	f->has_event = true;
	f->event = (struct machine_pci_event){ .content_code = 1, .length = 32 };
	f->page_goes = true;
	store_be16(block(f), 16);
	store_be16(block(f) + 2, 0x000e);
	gr(f)[2] = BLOCK;
	assert_int_equal(execute(f, 0xb25f, 2, 0, 0), PGM_PAGE_TRANSLATION);
	f->page_goes = false;
	assert_int_equal(chsc(f, 0x000e, 16), 0x0001);
	assert_int_equal(block(f)[16 + 8 + 3], 1);
}

static unsigned int stsi(struct fixture *f, unsigned int fc, unsigned int sel1, unsigned int sel2)
{
	gr(f)[0] = fc << 28 | sel1;
	gr(f)[1] = sel2;
	memset(block(f), 0xff, 4096);
	assert_int_equal(execute(f, 0xb27d, 0, 0, BLOCK), PGM_NONE);
	return f->vcpu.cc;
}

static void stsi_level_is_that_of_a_virtual_machine(void **state)
{
	struct fixture *f = *state;

	gr(f)[0] = 0xdeadbeef00000000;
	assert_int_equal(execute(f, 0xb27d, 0, 0, 1), PGM_NONE);
	assert_int_equal(f->vcpu.cc, 0);
	assert_int_equal(gr(f)[0], 0xdeadbeef30000000);
}

static void stsi_says_kvm_and_how_many_cpus(void **state)
{
	/* "KVM/Linux" in EBCDIC */
	static const uint8_t kvm[] = { 0xd2, 0xe5, 0xd4, 0x61, 0xd3, 0x89, 0x95, 0xa4, 0xa7, 0x40 };
	struct fixture *f = *state;

	assert_int_equal(stsi(f, 3, 2, 2), 0);
	assert_int_equal(block(f)[31], 1);
	assert_memory_equal(block(f) + 56, kvm, sizeof(kvm));
	assert_int_equal(load_be16(block(f) + 36), 3);
	assert_int_equal(load_be16(block(f) + 38), 3);
	assert_int_equal(stsi(f, 1, 2, 2), 0);
	assert_int_equal(load_be16(block(f) + 36), 3);
	assert_int_equal(stsi(f, 2, 2, 2), 0);
	assert_int_equal(load_be16(block(f) + 36), 3);
	assert_int_equal(stsi(f, 1, 1, 1), 0);
	assert_int_equal(block(f)[48], 0xf2); /* type 2817 */
	assert_int_equal(stsi(f, 2, 2, 1), 0);
	assert_int_equal(load_be16(block(f) + 102), 1);
}

static void stsi_block_that_is_not_there_is_condition_code_3(void **state)
{
	static const unsigned int selectors[][3] = {
		{ 1, 1, 2 }, { 1, 3, 1 }, { 3, 1, 1 }, { 4, 1, 1 }, { 15, 1, 2 }, { 1, 0x11, 1 },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(selectors); i++) {
		assert_int_equal(stsi(f, selectors[i][0], selectors[i][1], selectors[i][2]), 3);
		assert_int_equal(block(f)[0], 0xff);
	}
}

static void stsi_operands_are_checked(void **state)
{
	struct fixture *f = *state;

	gr(f)[0] = 0x10000001;
	gr(f)[1] = 1;
	assert_int_equal(execute(f, 0xb27d, 0, 0, BLOCK + 8), PGM_SPECIFICATION);
	assert_int_equal(execute(f, 0xb27d, 0, 0, NO_ACCESS), PGM_PAGE_TRANSLATION);
	gr(f)[0] = 0x10000101;
	assert_int_equal(execute(f, 0xb27d, 0, 0, BLOCK), PGM_SPECIFICATION);
	gr(f)[0] = 0x10000001;
	gr(f)[1] = 0x10001;
	assert_int_equal(execute(f, 0xb27d, 0, 0, BLOCK), PGM_SPECIFICATION);
}

static void diag_that_is_not_there_is_a_specification_exception(void **state)
{
	static const uint16_t codes[] = { 0, 8, 0x204, 0x258, 0x260, 0x288, 0x318, 0x500 };
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(codes); i++)
		assert_int_equal(execute(f, 0x83, 2, 4, codes[i]), PGM_SPECIFICATION);
	assert_int_equal(execute(f, 0x83, 2, 4, 0x44), PGM_NONE);
	assert_int_equal(execute(f, 0x83, 2, 4, 0x9c), PGM_NONE);
}

static void diag_308_asks_for_resets(void **state)
{
	static const struct {
		uint64_t subcode;
		enum machine_reset kind;
	} cases[] = {
		{ 0, MACHINE_RESET_MODIFIED_CLEAR },
		{ 1, MACHINE_RESET_LOAD_NORMAL },
		{ 3, MACHINE_RESET_REIPL },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		gr(f)[4] = cases[i].subcode;
		assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_NONE);
		assert_int_equal(f->reset, cases[i].kind);
	}
	f->reset = MACHINE_RESET_NONE;
	gr(f)[4] = 2;
	assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_SPECIFICATION);
	gr(f)[4] = 0x100000003;
	assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_SPECIFICATION);
	assert_int_equal(f->reset, MACHINE_RESET_NONE);
}

static void diag_308_has_no_parameters_to_give(void **state)
{
	struct fixture *f = *state;

	gr(f)[2] = BLOCK;
	gr(f)[4] = 6;
	assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_NONE);
	assert_int_equal(gr(f)[3], 0x0102);
	gr(f)[4] = 5;
	assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_NONE);
	assert_int_equal(gr(f)[3], 0x0402);
	assert_int_equal(execute(f, 0x83, 3, 4, 0x308), PGM_SPECIFICATION);
	gr(f)[2] = BLOCK + 8;
	assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_SPECIFICATION);
	gr(f)[2] = MEMORY;
	assert_int_equal(execute(f, 0x83, 2, 4, 0x308), PGM_ADDRESSING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_of_them_are_privileged),
		TEST(there_are_no_subchannels),
		TEST(subchannel_operand_is_checked_before_the_subchannel),
		TEST(tpi_stores_and_clears_an_interruption),
		TEST(tpi_that_cannot_store_clears_nothing),
		TEST(tpi_finds_what_is_directed_to_its_cpu),
		TEST(pci_event_makes_one_channel_report),
		TEST(channel_report_that_cannot_be_stored_stays),
		TEST(chsc_block_is_checked),
		TEST(chsc_command_that_is_not_there_is_answered),
		TEST(chsc_characteristics_are_none),
		TEST(chsc_stores_a_pci_event),
		TEST(event_that_cannot_be_stored_stays),
		TEST(stsi_level_is_that_of_a_virtual_machine),
		TEST(stsi_says_kvm_and_how_many_cpus),
		TEST(stsi_block_that_is_not_there_is_condition_code_3),
		TEST(stsi_operands_are_checked),
		TEST(diag_that_is_not_there_is_a_specification_exception),
		TEST(diag_308_asks_for_resets),
		TEST(diag_308_has_no_parameters_to_give),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
