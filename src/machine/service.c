/* SPDX-License-Identifier: MIT */
/*
 * Instructions that ask the machine about itself or order it about: SERVC, DIAG,
 * STSI.
 *
 * Sources: Principles of Operation, chapter 10 (STORE SYSTEM INFORMATION). DIAG is
 * described by who uses it: Linux arch/s390/include/asm/diag.h, kernel/ipl.c;
 * the answers are those of QEMU's target/s390x/diag.c.
 */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/trace.h"
#include "machine/ebcdic.h"
#include "machine/internal.h"

/* --- SERVC ----------------------------------------------------------------------- */

static int handle_servc(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct machine *machine = opaque;
	unsigned int cc = 0;
	enum pgm_code code;
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	code = sclp_service_call(&machine->sclp, (uint32_t)vcpu_gr(v, insn->r1),
				 vcpu_gr(v, insn->r2), vcpu_state(v)->prefix, &cc);
	if (code != PGM_NONE)
		return vcpu_program(v, code);
	vcpu_set_cc(v, cc);
	return 0;
}

/* --- DIAG ------------------------------------------------------------------------- */

#define DIAG_YIELD 0x44
#define DIAG_YIELD_TO 0x9c
#define DIAG_IPL 0x308

#define DIAG_IPL_RESET_CLEAR 0
#define DIAG_IPL_RESET_LOAD 1
#define DIAG_IPL_LOAD_CLEAR 3
#define DIAG_IPL_SET 5
#define DIAG_IPL_STORE 6
#define DIAG_IPL_BLOCK_SIZE 4096
#define DIAG_IPL_RC_NO_BLOCK 0x0102
#define DIAG_IPL_RC_INVALID 0x0402

/* The machine is loaded from files of the host: there is no device to name. */
static int ipl_block(struct machine *machine, struct vcpu *v, const struct cpu_insn *insn,
		     uint64_t rc)
{
	uint64_t address = vcpu_gr(v, insn->r1);

	if ((insn->r1 & 1) || (address & (PAGE_SIZE - 1)))
		return vcpu_program(v, PGM_SPECIFICATION);
	if (!memory_pointer(&machine->memory, address, DIAG_IPL_BLOCK_SIZE))
		return vcpu_program(v, PGM_ADDRESSING);
	vcpu_set_gr(v, insn->r1 + 1, rc);
	return 0;
}

static int diag_ipl(struct machine *machine, struct vcpu *v, const struct cpu_insn *insn)
{
	switch (vcpu_gr(v, insn->r3)) {
	case DIAG_IPL_RESET_CLEAR:
		machine_request_reset(machine, MACHINE_RESET_MODIFIED_CLEAR, v);
		return 0;
	case DIAG_IPL_RESET_LOAD:
		machine_request_reset(machine, MACHINE_RESET_LOAD_NORMAL, v);
		return 0;
	case DIAG_IPL_LOAD_CLEAR:
		machine_request_reset(machine, MACHINE_RESET_REIPL, v);
		return 0;
	case DIAG_IPL_SET:
		return ipl_block(machine, v, insn, DIAG_IPL_RC_INVALID);
	case DIAG_IPL_STORE:
		return ipl_block(machine, v, insn, DIAG_IPL_RC_NO_BLOCK);
	default:
		return vcpu_program(v, PGM_SPECIFICATION);
	}
}

static int handle_diag(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct machine *machine = opaque;
	unsigned int code = insn->address & 0xffff;
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	trace_machine_diag(code, vcpu_gr(v, insn->r1), vcpu_gr(v, insn->r3));
	switch (code) {
	case DIAG_YIELD:
	case DIAG_YIELD_TO:
		/* The host's scheduler knows best whom to run instead. */
		sched_yield();
		return 0;
	case DIAG_IPL:
		return diag_ipl(machine, v, insn);
	default:
		return vcpu_program(v, PGM_SPECIFICATION);
	}
}

/* --- STSI -------------------------------------------------------------------------- */

/* The blocks as the Principles of Operation draw them; text is EBCDIC. */
struct sysib_111 {
	uint8_t reserved1[32];
	uint8_t manufacturer[16];
	uint8_t type[4];
	uint8_t reserved2[12];
	uint8_t model[16];
	uint8_t sequence[16];
	uint8_t plant[4];
};

struct sysib_cpu { /* 1.2.1 and 2.2.1 */
	uint8_t reserved1[80];
	uint8_t sequence[16];
	uint8_t plant[4];
	be16 cpu_id; /* 2.2.1 only */
	be16 cpu_address;
};

struct sysib_122 {
	uint8_t reserved1[32];
	be32 capability;
	be16 total, configured, standby, reserved;
};

struct sysib_222 {
	uint8_t reserved1[32];
	be16 number;
	uint8_t reserved2;
	uint8_t characteristics;
	be16 total, configured, standby, reserved;
	uint8_t name[8];
	be32 capability_adjustment;
	uint8_t reserved3[8];
	be16 dedicated, shared;
};

struct sysib_322 {
	uint8_t reserved1[31];
	uint8_t count;
	struct {
		uint8_t reserved1[4];
		be16 total, configured, standby, reserved;
		uint8_t name[8];
		be32 capability_adjustment;
		uint8_t control_program[16];
		uint8_t reserved2[24];
	} vm[1];
};

union sysib {
	struct sysib_111 basic_machine;
	struct sysib_cpu cpu;
	struct sysib_122 basic_cpus;
	struct sysib_222 logical_cpus;
	struct sysib_322 virtual_machine;
	uint8_t bytes[4096];
};

static_assert(offsetof(struct sysib_111, plant) == 96, "SYSIB 1.1.1");
static_assert(offsetof(struct sysib_cpu, cpu_address) == 102, "SYSIB 1.2.1");
static_assert(offsetof(struct sysib_122, total) == 36, "SYSIB 1.2.2");
static_assert(offsetof(struct sysib_222, shared) == 66, "SYSIB 2.2.2");
static_assert(offsetof(struct sysib_322, vm[0].control_program) == 56, "SYSIB 3.2.2");
static_assert(sizeof(struct sysib_322) == 96, "SYSIB 3.2.2");

#define SEQUENCE "0000000000000000"
#define CAPABILITY_ADJUSTMENT 1000 /* per mille of the machine's: all of it */
#define LOGICAL_CPUS_SHARED 0x20

static void put_hex16(uint8_t *field, uint16_t value)
{
	static const char digits[] = "0123456789ABCDEF";

	for (int i = 0; i < 4; i++)
		field[i] = ebcdic_encode((uint8_t)digits[value >> (12 - 4 * i) & 15]);
}

/* Returns false when there is no such block. */
static bool fill_sysib(const struct machine *machine, unsigned int cpu_address, unsigned int fc,
		       unsigned int sel1, unsigned int sel2, union sysib *b)
{
	uint16_t cpus = (uint16_t)machine->config.cpus;

	switch (fc << 8 | sel1 << 4 | sel2) {
	case 0x111:
		ebcdic_put(b->basic_machine.manufacturer, "ZVISOR",
			   sizeof(b->basic_machine.manufacturer));
		put_hex16(b->basic_machine.type, machine->version->machine_type);
		ebcdic_put(b->basic_machine.model, machine->version->model,
			   sizeof(b->basic_machine.model));
		ebcdic_put(b->basic_machine.sequence, SEQUENCE,
			   sizeof(b->basic_machine.sequence));
		ebcdic_put(b->basic_machine.plant, "", sizeof(b->basic_machine.plant));
		return true;
	case 0x121:
	case 0x221:
		ebcdic_put(b->cpu.sequence, SEQUENCE, sizeof(b->cpu.sequence));
		ebcdic_put(b->cpu.plant, "", sizeof(b->cpu.plant));
		be16_set(&b->cpu.cpu_id, fc == 2 ? (uint16_t)cpu_address : 0);
		be16_set(&b->cpu.cpu_address, (uint16_t)cpu_address);
		return true;
	case 0x122:
		/* Capability 0 would be none; larger numbers are slower machines. */
		be32_set(&b->basic_cpus.capability, 10000);
		be16_set(&b->basic_cpus.total, cpus);
		be16_set(&b->basic_cpus.configured, cpus);
		return true;
	case 0x222:
		be16_set(&b->logical_cpus.number, 0);
		b->logical_cpus.characteristics = LOGICAL_CPUS_SHARED;
		be16_set(&b->logical_cpus.total, cpus);
		be16_set(&b->logical_cpus.configured, cpus);
		ebcdic_put(b->logical_cpus.name, "ZVISOR", sizeof(b->logical_cpus.name));
		be32_set(&b->logical_cpus.capability_adjustment, CAPABILITY_ADJUSTMENT);
		be16_set(&b->logical_cpus.shared, cpus);
		return true;
	case 0x322:
		b->virtual_machine.count = 1;
		be16_set(&b->virtual_machine.vm[0].total, cpus);
		be16_set(&b->virtual_machine.vm[0].configured, cpus);
		ebcdic_put(b->virtual_machine.vm[0].name, "zvisor",
			   sizeof(b->virtual_machine.vm[0].name));
		be32_set(&b->virtual_machine.vm[0].capability_adjustment, CAPABILITY_ADJUSTMENT);
		/* Linux takes whatever does not say "KVM" here for z/VM, and asks CP. */
		ebcdic_put(b->virtual_machine.vm[0].control_program, "KVM/Linux",
			   sizeof(b->virtual_machine.vm[0].control_program));
		return true;
	default:
		return false;
	}
}

static int handle_stsi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct machine *machine = opaque;
	uint32_t r0 = (uint32_t)vcpu_gr(v, 0);
	uint32_t r1 = (uint32_t)vcpu_gr(v, 1);
	unsigned int fc = r0 >> 28;
	union sysib block;
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if (fc <= 3 && fc && ((r0 & 0x0fffff00) || (r1 & 0xffff0000)))
		return vcpu_program(v, PGM_SPECIFICATION);
	if (!fc) {
		/* The current level: a virtual machine. */
		vcpu_set_gr(v, 0, (vcpu_gr(v, 0) & ~0xffffffffull) | 3u << 28 |
					  (r0 & 0x0fffffff));
		vcpu_set_cc(v, 0);
		return 0;
	}
	memset(&block, 0, sizeof(block));
	if (fc > 3 || (r0 & 0xff) > 15 || r1 > 15 ||
	    !fill_sysib(machine, machine_cpu_address(v), fc, r0 & 0xff, r1, &block)) {
		vcpu_set_cc(v, 3);
		trace_machine_stsi(fc, r0 & 0xff, r1, 3);
		return 0;
	}
	if (insn->address & (PAGE_SIZE - 1))
		return vcpu_program(v, PGM_SPECIFICATION);
	rc = vcpu_write(v, insn->address, insn->b2, &block, sizeof(block));
	if (rc)
		return rc;
	vcpu_set_cc(v, 0);
	trace_machine_stsi(fc, r0 & 0xff, r1, 0);
	return 0;
}

int service_install(struct machine *machine)
{
	int rc = cpu_complex_set_handler(machine->cpus, 0xb220, handle_servc);

	if (!rc)
		rc = cpu_complex_set_handler(machine->cpus, 0x83, handle_diag);
	if (!rc)
		rc = cpu_complex_set_handler(machine->cpus, 0xb27d, handle_stsi);
	return rc;
}
