/* SPDX-License-Identifier: MIT */
/* PCI STORE by the CPU's window: what it does, and when it is the machine's after all. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "cpu_fixture.h"
#include "zpci/window.h"

#define REQUEST 0x8001000000000004ull
#define OFFSET 0x1008u

static unsigned int handled;
static uint32_t registers[64];
static uint64_t count;

static int handle(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	assert_int_equal(vcpu_window(v)->in_use, 0);
	handled++;
	vcpu_set_cc(v, 3);
	return 0;
}

/* Three stores, of GR 4, 5 and 4; between them registers change; the last cc is put into GR9. */
static const uint8_t program[] = {
	0xb9, 0xd0, 0x00, 0x42, /* pcistg %r4,%r2 */
	0xa7, 0x3b, 0x00, 0x04, /* aghi %r3,4 */
	0xb9, 0xd0, 0x00, 0x52, /* pcistg %r5,%r2 */
	0xb9, 0xd0, 0x00, 0x42, /* pcistg %r4,%r2 */
	0xa7, 0x8b, 0x00, 0x01, /* aghi %r8,1 */
	0xb9, 0xd0, 0x00, 0x52, /* pcistg %r5,%r2 */
	0xb2, 0x22, 0x00, 0x90, /* ipm %r9 */
	0x00, 0x00,
};

static int setup_unused(void **state)
{
	struct cpu_fixture *f;
	struct zpci_window *w;

	cpu_fixture_setup(state);
	f = *state;
	assert_int_equal(cpu_complex_set_handler(f->complex, 0xb9d0, handle), 0);
	memcpy(f->memory + CPU_CODE, program, sizeof(program));
	memset(registers, 0, sizeof(registers));
	handled = 0;
	count = 0;
	w = vcpu_window(f->vcpu);
	assert_int_equal(w->shut, 1);
	w->request = REQUEST;
	w->mask = ~0xffull | 3;
	w->first = 0x1000;
	w->host = (uint8_t *)registers;
	w->count = &count;
	w->shut = 0;
	return 0;
}

static int setup(void **state)
{
	setup_unused(state);
	cpu_complex_use_windows(((struct cpu_fixture *)*state)->complex);
	return 0;
}

static unsigned int execute(struct cpu_fixture *f, uint64_t request, uint64_t offset)
{
	f->s->gr[2] = request;
	f->s->gr[3] = offset;
	f->s->gr[4] = 0x1111111144332211;
	f->s->gr[5] = 0x88776655;
	f->s->gr[8] = f->s->gr[9] = 0;
	handled = 0;
	return cpu_execute_there(f);
}

static void open_window_takes_stores(void **state)
{
	struct cpu_fixture *f = *state;

	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(execute(f, REQUEST, OFFSET), PGM_OPERATION);
		assert_int_equal(handled, 0);
		assert_int_equal(le32toh(registers[2]), 0x11223344);
		assert_int_equal(le32toh(registers[3]), 0x55667788);
		assert_int_equal(count, 4 * i);
		assert_int_equal(f->s->gr[8], 1);
		assert_int_equal(f->s->gr[9] >> 28, 0);
		assert_int_equal(vcpu_window(f->vcpu)->in_use, 0);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(registers); i++)
		assert_true(i == 2 || i == 3 || !registers[i]);
}

static void expect_handled(struct cpu_fixture *f, unsigned int times, uint64_t request,
			   uint64_t offset)
{
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(execute(f, request, offset), PGM_OPERATION);
		assert_int_equal(handled, times);
		assert_int_equal(f->s->gr[3], offset + 4);
		assert_int_equal(f->s->gr[8], 1);
		assert_int_equal(vcpu_window(f->vcpu)->in_use, 0);
	}
}

static void other_stores_are_the_machines(void **state)
{
	struct cpu_fixture *f = *state;

	expect_handled(f, 4, REQUEST ^ 1, OFFSET);
	expect_handled(f, 4, REQUEST ^ 1ull << 63, OFFSET);
	expect_handled(f, 4, 0, OFFSET);
	expect_handled(f, 4, REQUEST, OFFSET + 1);
	expect_handled(f, 4, REQUEST, OFFSET + 2);
	expect_handled(f, 4, REQUEST, 0x1100);
	expect_handled(f, 4, REQUEST, OFFSET + (1ull << 40));
	expect_handled(f, 4, REQUEST, UINT64_MAX & ~3ull);
	for (unsigned int i = 0; i < ARRAY_SIZE(registers); i++)
		assert_int_equal(registers[i], 0);
	assert_int_equal(count, 0);
	assert_int_equal(f->s->gr[9] >> 28, 3);
	/* The first is inside, those behind it are not. */
	expect_handled(f, 3, REQUEST, 0x10fc);
	assert_int_equal(le32toh(registers[63]), 0x11223344);
	expect_handled(f, 1, REQUEST, 0x0ffc);
	assert_int_equal(le32toh(registers[0]), 0x55667788);
}

/* Code that was made before is made again. */
static void windows_are_used_once_somebody_has_said_so(void **state)
{
	struct cpu_fixture *f = *state;

	expect_handled(f, 4, REQUEST, OFFSET);
	assert_int_equal(count, 0);
	cpu_complex_use_windows(f->complex);
	expect_handled(f, 0, REQUEST, OFFSET);
	assert_int_equal(count, 12);
}

static void shut_window_takes_none(void **state)
{
	struct cpu_fixture *f = *state;

	execute(f, REQUEST, OFFSET);
	vcpu_window(f->vcpu)->shut = 1;
	expect_handled(f, 4, REQUEST, OFFSET);
	assert_int_equal(count, 4);
}

static void problem_state_is_an_exception(void **state)
{
	struct cpu_fixture *f = *state;

	execute(f, REQUEST, OFFSET);
	execute(f, REQUEST, OFFSET);
	f->mask |= PSW_PROBLEM;
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(execute(f, REQUEST, OFFSET), PGM_PRIVILEGED);
		assert_int_equal(f->old_psw_addr, CPU_CODE + 4);
	}
	assert_int_equal(count, 8);
	assert_int_equal(handled, 0);
	f->mask &= ~PSW_PROBLEM;
	execute(f, REQUEST, OFFSET);
	assert_int_equal(count, 12);
}

static void odd_register_is_the_machines(void **state)
{
	struct cpu_fixture *f = *state;

	f->memory[CPU_CODE + 3] = 0x43;
	f->s->gr[4] = 0;
	for (unsigned int i = 0; i < 3; i++) {
		execute(f, REQUEST, OFFSET);
		assert_int_equal(handled, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, cpu_fixture_teardown)
		TEST(open_window_takes_stores),
		TEST(other_stores_are_the_machines),
		TEST(shut_window_takes_none),
		TEST(problem_state_is_an_exception),
		TEST(odd_register_is_the_machines),
#undef TEST
		cmocka_unit_test_setup_teardown(windows_are_used_once_somebody_has_said_so,
						setup_unused, cpu_fixture_teardown),
	};

#if !defined(__x86_64__)
	/* There is no translator, and the machine executes all of them. */
	return 77;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
