/* SPDX-License-Identifier: MIT */
/*
 * The states of a function: what each operation answers in each of them, and which
 * state follows. One table, which docs/zpci.md has too. A state is reached, and
 * looked at, by what a guest can do alone: nothing here sees inside.
 */
#include "guest.h"

#include <errno.h>
#include <stdio.h>

enum state { RESERVED, STANDBY, DISABLED, ENABLED, BLOCKED, ERROR, PERMANENT, STATES };

static const char *const state_names[STATES] = {
	"reserved", "standby", "disabled", "enabled", "blocked", "error", "permanent error",
};

#define BLOCK 0x2000

static uint8_t *clp(struct guest *g, unsigned command, uint32_t word, uint32_t word2)
{
	uint8_t *block = memset(guest_at(g, BLOCK), 0, 4096);

	store_be16(block, 32);
	store_be16(block + 2, command);
	store_be32(block + 16, word);
	store_be32(block + 20, word2);
	store_be16(block + 32, 4064);
	g->gr[4] = BLOCK;
	assert_int_equal(zpci_insn_clp(g->zpci, &g->vcpu, 3, 4, 0, 2), 0);
	assert_int_equal(g->vcpu.cc, 0);
	return block + 32;
}

/* --- operations; each gives an answer: a response code, or condition and status code --- */

#define CC(cc) (cc)
#define STATUS(status) (1 | (status) << 8)
#define GONE 0xf0000u /* there is no such function */
#define REFUSED 0xf0001u
#define DONE 0xf0002u

static unsigned condition(struct guest *g, unsigned r)
{
	return g->vcpu.cc == 1 ? STATUS(status_of(g->gr[r])) : CC(g->vcpu.cc);
}

static unsigned set(struct guest *g, unsigned operation)
{
	uint8_t *response = clp(g, 5, g->fh, operation << 8 | 1);
	unsigned code = load_be16(response + 2);

	if (code == 0x0010)
		g->fh = load_be32(response + 16);
	return code;
}

static unsigned enable(struct guest *g)
{
	return set(g, 0);
}

static unsigned disable(struct guest *g)
{
	return set(g, 1);
}

static unsigned enable_mio(struct guest *g)
{
	return set(g, 2);
}

static unsigned disable_mio(struct guest *g)
{
	return set(g, 3);
}

static unsigned configure(struct guest *g)
{
	return zpci_sclp_configure(g->zpci, GUEST_FID);
}

static unsigned deconfigure(struct guest *g)
{
	unsigned response = zpci_sclp_deconfigure(g->zpci, GUEST_FID);

	g->fh &= 0x7fffffff;
	return response;
}

static unsigned modify(struct guest *g, unsigned operation)
{
	guest_fib(g);
	assert_int_equal(guest_mpcifc(g, operation), 0);
	return condition(g, 5);
}

static unsigned reset_error(struct guest *g)
{
	return modify(g, 7);
}

static unsigned reset_block(struct guest *g)
{
	return modify(g, 9);
}

static unsigned deregister_translation(struct guest *g)
{
	return modify(g, 5);
}

static unsigned load(struct guest *g)
{
	uint32_t fh = g->fh;

	g->fh |= 0x80000000;
	assert_int_equal(guest_pcilg(g, 0, 0, 4), 0);
	g->fh = fh;
	return condition(g, 6);
}

static unsigned store_controls(struct guest *g)
{
	assert_int_equal(guest_stpcifc(g, g->fh), 0);
	return condition(g, 5);
}

static unsigned refresh(struct guest *g)
{
	assert_int_equal(guest_rpcit(g, SDMA, 4096), 0);
	return condition(g, 5);
}

static unsigned result(int rc)
{
	switch (rc) {
	case 0:
		return DONE;
	case -ENOENT:
		return GONE;
	default:
		return REFUSED;
	}
}

/* A transfer fails, the function breaks. */
static unsigned fail_transfer(struct guest *g)
{
	return result(zpci_inject_error(g->zpci, GUEST_FID, 0x0004, SDMA));
}

static unsigned break_for_good(struct guest *g)
{
	return result(zpci_inject_error(g->zpci, GUEST_FID, 0x003b, 0));
}

static unsigned request_unplug(struct guest *g)
{
	return result(zpci_request_unplug(g->zpci, GUEST_FID));
}

static unsigned unplug(struct guest *g)
{
	return result(zpci_unplug(g->zpci, GUEST_FID));
}

static unsigned reset(struct guest *g)
{
	zpci_reset(g->zpci);
	g->fh &= 0x7fffffff;
	return DONE;
}

static unsigned query_function(struct guest *g)
{
	return load_be16(clp(g, 3, g->fh, 0) + 2);
}

/* --- reaching and seeing a state ------------------------------------------------------ */

static struct guest *guest_in(enum state state)
{
	struct guest *g = guest_new();
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);

	config.standby = state == STANDBY;
	guest_plug(g, &config);
	if (state == RESERVED)
		assert_int_equal(unplug(g), DONE);
	if (state >= ENABLED) {
		assert_int_equal(enable(g), 0x0010);
		guest_register_translation(g);
	}
	if (state == BLOCKED || state == ERROR)
		assert_int_equal(fail_transfer(g), DONE);
	if (state == BLOCKED)
		assert_int_equal(reset_block(g), CC(0));
	if (state == PERMANENT)
		assert_int_equal(break_for_good(g), DONE);
	guest_clear(g);
	return g;
}

static enum state state_of(struct guest *g)
{
	uint8_t *list = clp(g, 2, 0, 0);
	uint8_t *fib = guest_at(g, FIB_AT);

	if (load_be16(list) == 32)
		return RESERVED;
	if (!(load_be32(list + 36) & 0x80000000))
		return STANDBY;
	fib[8] = 0x01;
	switch (store_controls(g)) {
	case STATUS(8):
		return PERMANENT;
	case CC(0):
		break;
	default:
		return STATES;
	}
	switch (fib[8] & 0xe0) {
	case 0x00:
		return DISABLED;
	case 0x80:
		return ENABLED;
	case 0xc0:
		return BLOCKED;
	case 0xe0:
		return ERROR;
	default:
		return STATES;
	}
}

/* --- the table ------------------------------------------------------------------------- */

#define SAME STATES

struct answer {
	unsigned answer;
	enum state next; /* SAME: as before */
};

#define STAYS(answer) { answer, SAME }

static const struct row {
	const char *name;
	unsigned (*operation)(struct guest *g);
	struct answer answers[SAME];
} table[] = {
	{ "SCLP configure", configure, {
		STAYS(0x09f0), { 0x0020, DISABLED }, STAYS(0x0120), STAYS(0x0120), STAYS(0x0120),
		STAYS(0x0120), STAYS(0x0120) } },
	{ "SCLP deconfigure", deconfigure, {
		STAYS(0x09f0), STAYS(0x0120), { 0x0020, STANDBY }, { 0x0020, STANDBY },
		{ 0x0020, STANDBY }, { 0x0020, STANDBY }, { 0x0020, STANDBY } } },
	{ "CLP query function", query_function, {
		STAYS(0x0101), STAYS(0x0010), STAYS(0x0010), STAYS(0x0010), STAYS(0x0010),
		STAYS(0x0010), STAYS(0x0010) } },
	{ "CLP enable", enable, {
		STAYS(0x0101), STAYS(0x0102), { 0x0010, ENABLED }, STAYS(0x0102), STAYS(0x0102),
		STAYS(0x0102), STAYS(0x0106) } },
	{ "CLP disable", disable, {
		STAYS(0x0101), STAYS(0x0102), STAYS(0x0102), { 0x0010, DISABLED },
		{ 0x0010, DISABLED }, { 0x0010, DISABLED }, { 0x0010, DISABLED } } },
	{ "CLP enable MIO", enable_mio, {
		STAYS(0x0101), STAYS(0x0102), STAYS(0x0102), STAYS(0x0010), STAYS(0x0010),
		STAYS(0x0010), STAYS(0x0106) } },
	{ "CLP disable MIO", disable_mio, {
		STAYS(0x0101), STAYS(0x0102), STAYS(0x0102), STAYS(0x0105), STAYS(0x0105),
		STAYS(0x0105), STAYS(0x0106) } },
	{ "PCILG", load, {
		STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(0)), STAYS(CC(0)),
		STAYS(STATUS(12)), STAYS(STATUS(12)) } },
	{ "STPCIFC", store_controls, {
		STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(0)), STAYS(CC(0)), STAYS(CC(0)),
		STAYS(CC(0)), STAYS(STATUS(8)) } },
	{ "RPCIT", refresh, {
		STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(0)), STAYS(CC(0)),
		STAYS(STATUS(40)), STAYS(CC(3)) } },
	{ "MPCIFC deregister translation", deregister_translation, {
		STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(0)), STAYS(CC(0)),
		STAYS(CC(0)), STAYS(CC(3)) } },
	{ "MPCIFC reset error", reset_error, {
		STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(3)), STAYS(STATUS(24)), { CC(0), ENABLED },
		{ CC(0), ENABLED }, STAYS(CC(3)) } },
	{ "MPCIFC reset block", reset_block, {
		STAYS(CC(3)), STAYS(CC(3)), STAYS(CC(3)), STAYS(STATUS(24)), STAYS(STATUS(24)),
		{ CC(0), BLOCKED }, STAYS(CC(3)) } },
	{ "a transfer fails", fail_transfer, {
		STAYS(GONE), STAYS(REFUSED), STAYS(REFUSED), { DONE, ERROR }, STAYS(REFUSED),
		STAYS(REFUSED), STAYS(REFUSED) } },
	{ "the function breaks", break_for_good, {
		STAYS(GONE), STAYS(REFUSED), { DONE, PERMANENT }, { DONE, PERMANENT },
		{ DONE, PERMANENT }, { DONE, PERMANENT }, STAYS(REFUSED) } },
	{ "request to unplug", request_unplug, {
		STAYS(GONE), STAYS(DONE), STAYS(DONE), STAYS(DONE), STAYS(DONE), STAYS(DONE),
		STAYS(DONE) } },
	{ "unplug", unplug, {
		STAYS(GONE), { DONE, RESERVED }, { DONE, RESERVED }, { DONE, RESERVED },
		{ DONE, RESERVED }, { DONE, RESERVED }, { DONE, RESERVED } } },
	{ "subsystem reset", reset, {
		STAYS(DONE), STAYS(DONE), STAYS(DONE), { DONE, DISABLED }, { DONE, DISABLED },
		{ DONE, DISABLED }, { DONE, DISABLED } } },
};

static void each_operation_has_an_answer_in_each_state(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		for (enum state from = 0; from < STATES; from++) {
			const struct answer *wanted = &table[i].answers[from];
			struct guest *g = guest_in(from);
			enum state next = wanted->next == SAME ? from : wanted->next;
			unsigned answer;

			assert_int_equal(state_of(g), from);
			answer = table[i].operation(g);
			if (answer != wanted->answer || g->program)
				fail_msg("%s, %s: answer %x, program %x", table[i].name,
					 state_names[from], answer, g->program);
			if (state_of(g) != next)
				fail_msg("%s, %s: then %s instead of %s", table[i].name,
					 state_names[from], state_names[state_of(g)],
					 state_names[next]);
			guest_free(g);
		}
	}
}

/* What was registered is there as long as the function is enabled, whatever else happens. */
static void registrations_last_until_the_function_is_disabled(void **state)
{
	static unsigned (*const ends[])(struct guest *g) = { disable, deconfigure, reset };

	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		struct guest *g = guest_in(ENABLED);
		uint8_t *fib = guest_at(g, FIB_AT);

		guest_register_interruptions(g, 3, 4);
		assert_int_equal(enable_mio(g), 0x0010);
		assert_int_equal(fail_transfer(g), DONE);
		assert_int_equal(reset_block(g), CC(0));
		assert_int_equal(reset_error(g), CC(0));
		assert_int_equal(store_controls(g), CC(0));
		assert_int_equal(fib[8], 0x90);
		assert_int_equal(load_be64(fib + 48), AIBV_AT);

		ends[i](g);
		if (state_of(g) == STANDBY)
			configure(g);
		assert_int_equal(enable(g), 0x0010);
		assert_int_equal(store_controls(g), CC(0));
		assert_int_equal(fib[8], 0x80);
		assert_int_equal(load_be64(fib + 32), 0);
		assert_int_equal(load_be64(fib + 48), 0);
		assert_int_equal(disable_mio(g), 0x0105);
		guest_free(g);
	}
}

/* A handle of before is never valid again, and one that lost its enabled bit is told apart. */
static void old_handles_are_answered_by_what_they_were(void **state)
{
	struct guest *g = guest_in(ENABLED);
	struct zpci_function_config config = zpci_function_defaults(GUEST_FID);
	uint32_t enabled = g->fh;

	assert_int_equal(disable(g), 0x0010);
	assert_int_equal(g->fh, enabled & 0x7fffffff);
	g->fh = enabled;
	assert_int_equal(disable(g), 0x0105);
	assert_int_equal(enable(g), 0x0101);
	assert_int_equal(unplug(g), DONE);
	pci_function_free(g->function);
	guest_plug(g, &config);
	assert_int_not_equal(g->fh & 0x7fffffff, enabled & 0x7fffffff);
	assert_int_equal(g->fh & 0xffff, enabled & 0xffff);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_operation_has_an_answer_in_each_state),
		cmocka_unit_test(registrations_last_until_the_function_is_disabled),
		cmocka_unit_test(old_handles_are_answered_by_what_they_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
