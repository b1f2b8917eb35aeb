/* SPDX-License-Identifier: MIT */
/* One instruction at a time; see cpu_fixture.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "cpu_fixture.h"

#define MODE (PSW_EA | PSW_BA)

static bool nothing_io(void *opaque, struct vcpu *v, uint64_t cr6, struct cpu_io_interruption *i)
{
	return false;
}

static bool nothing_external(void *opaque, struct vcpu *v, uint64_t cr0,
			     struct cpu_external_interruption *i)
{
	return false;
}

static bool nothing_mchk(void *opaque, struct vcpu *v, uint64_t cr14,
			 struct cpu_mchk_interruption *i)
{
	return false;
}

static const struct cpu_floating_ops nothing_floats = {
	.take_io = nothing_io,
	.take_external = nothing_external,
	.take_mchk = nothing_mchk,
};

static void told(void *opaque, struct vcpu *v)
{
	((struct cpu_fixture *)opaque)->told = v;
}

void cpu_fixture_catch(struct cpu_fixture *f)
{
	store_be64(f->memory + LC_PGM_NEW_PSW, MODE | PSW_WAIT);
	store_be64(f->memory + LC_PGM_NEW_PSW + 8, 0);
}

static int setup(void **state, enum cpu_execution execution, bool deterministic)
{
	struct cpu_fixture *f = calloc(1, sizeof(*f));
	struct cpu_complex_config config = {
		.memory_size = CPU_MEMORY,
		.vcpus = 2,
		.model = { .facilities = { ~0ull, ~0ull } },
		.floating = &nothing_floats,
		.execution = execution,
		.deterministic = deterministic,
		.opaque = f,
		.vcpu_state_changed = told,
	};

	assert_non_null(f);
	f->memory = aligned_alloc(1 << 20, CPU_MEMORY);
	assert_non_null(f->memory);
	memset(f->memory, 0, CPU_MEMORY);
	config.memory = f->memory;
	f->complex = cpu_complex_create(&config);
	assert_non_null(f->complex);
	f->vcpu = cpu_complex_vcpu(f->complex, 0);
	f->other = cpu_complex_vcpu(f->complex, 1);
	vcpu_clear_reset(f->vcpu);
	f->s = vcpu_state(f->vcpu);
	memset(f->memory, 0, CPU_MEMORY);
	cpu_fixture_catch(f);
	f->mask = MODE;
	*state = f;
	return 0;
}

int cpu_fixture_setup_as(void **state, enum cpu_execution execution)
{
	return setup(state, execution, false);
}

int cpu_fixture_setup_deterministic(void **state, enum cpu_execution execution)
{
	return setup(state, execution, true);
}

int cpu_fixture_setup(void **state)
{
	return cpu_fixture_setup_as(state, CPU_EXECUTE_TRANSLATED);
}

int cpu_fixture_teardown(void **state)
{
	struct cpu_fixture *f = *state;

	cpu_complex_destroy(f->complex);
	free(f->memory);
	free(f);
	return 0;
}

unsigned int cpu_execute_at(struct cpu_fixture *f, uint64_t address)
{
	enum vcpu_exit why;

	f->s->psw_mask = f->mask;
	f->s->psw_addr = address;
	vcpu_state_changed(f->vcpu);
	vcpu_start(f->vcpu);
	do {
		why = vcpu_run(f->vcpu);
		f->exits++;
	} while (why == VCPU_EXIT_REQUEST);
	if (why == VCPU_EXIT_CHECK_STOP)
		return CPU_CHECK_STOP;
	assert_int_equal(why, VCPU_EXIT_DISABLED_WAIT);
	f->old_psw_addr = load_be64(f->memory + LC_PGM_OLD_PSW + 8);
	return load_be16(f->memory + LC_PGM_CODE);
}

unsigned int cpu_execute_there(struct cpu_fixture *f)
{
	return cpu_execute_at(f, CPU_CODE);
}

unsigned int cpu_execute(struct cpu_fixture *f, const char *hex, unsigned int *cc)
{
	uint8_t *code = f->memory + CPU_CODE;
	unsigned int pgm;

	for (; *hex; hex += 2) {
		char byte[3] = { hex[0], hex[1], 0 };

		*code++ = (uint8_t)strtoul(byte, NULL, 16);
	}
	/* Behind the instruction an operation code that does not exist: it shows the PSW. */
	memset(code, 0, 2);
	cpu_complex_memory_written(f->complex, CPU_CODE, 8);
	pgm = cpu_execute_there(f);
	*cc = (unsigned int)(load_be64(f->memory + LC_PGM_OLD_PSW) >> PSW_CC_SHIFT) & 3;
	if (pgm == PGM_OPERATION && f->old_psw_addr == (size_t)(code - f->memory) + 2)
		return PGM_NONE;
	return pgm;
}
