/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores by address (memory I/O): where they are permitted, what addresses
 * a function has, and each answer. docs/zpci.md, the section of that name.
 */
#include "zpci/dat.h"
#include "zpci/msix.h"

#define CR2_MIO BIT64(58)
#define FACILITY_MIO 153

static struct function *f;
static struct msix msix;
static uint64_t base; /* of the BAR with the MSI-X table, written through */
static uint64_t back; /* written back */

SNIPPET(mio_pcilgi_odd, ".insn rre,0xb9d60000,4,3");
SNIPPET(mio_load, "lg 4,0(2)");
SNIPPET(mio_store, "stg 4,0(2)");

static struct answer load(uint64_t address, unsigned length)
{
	return insn_pcilgi(address, length, NULL);
}

static struct answer store(uint64_t address, unsigned length)
{
	return insn_pcistgi(address, length, 0);
}

/* ---- Where they are not permitted ---- */

static void absent(void)
{
	static const char *const ids[] = { "mio.facility.pcilgi", "mio.facility.pcistgi",
					   "mio.facility.pcistbi", "mio.facility.pciwb" };
	static const char what[] = "facility 153 not installed: operation exception";
	static uint64_t block[2];
	struct answer a[4];

	if (facility(FACILITY_MIO)) {
		for (unsigned i = 0; i < 4; i++)
			not_here('L', ids[i], what, "facility 153 is installed");
		return;
	}
	a[0] = load(0, 4);
	a[1] = store(0, 4);
	a[2] = insn_pcistbi(0, 16, block);
	a[3] = insn_pciwb();
	for (unsigned i = 0; i < 4; i++)
		check_answer(a[i], PGM(PGM_OPERATION), 'L', ids[i], what);
}

static void not_enabled(void)
{
	static uint64_t block[2];
	uint64_t cr2 = ctl_store(2);

	ctl_load(2, cr2 & ~CR2_MIO);
	check_answer(load(base, 4), PGM(PGM_SPECIAL_OPERATION), 'C', "mio.control.pcilgi",
		     "control bit 0: special-operation exception");
	check_answer(store(base, 4), PGM(PGM_SPECIAL_OPERATION), 'C', "mio.control.pcistgi",
		     "control bit 0: special-operation exception");
	check_answer(insn_pcistbi(base, 16, block), PGM(PGM_SPECIAL_OPERATION), 'C',
		     "mio.control.pcistbi", "control bit 0: special-operation exception");
	check_answer(insn_pciwb(), PGM(PGM_SPECIAL_OPERATION), 'C', "mio.control.pciwb",
		     "control bit 0: special-operation exception");
	ctl_load(2, cr2 | CR2_MIO);
}

/* ---- CLP ---- */

static void addresses(void)
{
	const struct mio *told = &f->query.mio;
	uint32_t expected = 0;
	bool outside = true;

	for (unsigned bar = 0; bar < 6; bar++) {
		if (!f->query.bar_size[bar])
			continue;
		expected |= 0x80000000u >> bar;
		outside &= told->bar[bar].wt >= memory_size() &&
			   told->bar[bar].wb >= memory_size() && !(told->bar[bar].wt & 0xfff) &&
			   !(told->bar[bar].wb & 0xfff);
	}
	check_value(told->valid, expected, 'L', "clp.query.mio.valid",
		    "addresses are told for the BARs that there are");
	check(outside, 'L', "clp.query.mio.outside", "they are pages outside memory");
}

static void set(void)
{
	struct function other = *f;
	uint32_t enabled;

	check_value(function_set(f, CLP_ENABLE_MIO, 0), 0x102, 'C', "clp.set.mio.disabled",
		    "enable MIO, function disabled: response 0102");
	function_enable(f);
	enabled = f->fh;
	check_answer(load(base, 4), CC(3), 'C', "mio.off", "MIO not enabled: condition code 3");
	check_value(function_set(f, CLP_DISABLE_MIO, 0), 0x105, 'C', "clp.set.mio.disable.off",
		    "disable MIO, not enabled: response 0105");
	check_value(function_set(f, CLP_ENABLE_MIO, 0), CLP_OK, 'L', "clp.set.mio.enable",
		    "enable MIO: response 0010");
	check_value(f->fh, enabled, 'L', "clp.set.mio.enable.handle",
		    "enable MIO: the handle is the function's");
	check(!memcmp(&CLP_RESPONSE(set_response)->mio, &f->query.mio, sizeof(f->query.mio)), 'L',
	      "clp.set.mio.addresses", "enable MIO: the response has the addresses of the query");
	check_value(function_set(f, CLP_ENABLE_MIO, 0), 0x105, 'C', "clp.set.mio.enable.twice",
		    "enable MIO twice: response 0105");
	check_answer(load(base + msix.table, 4), CC(0), 'L', "mio.on",
		     "MIO enabled: condition code 0");
	check_value(function_set(f, CLP_DISABLE_MIO, 0), CLP_OK, 'L', "clp.set.mio.disable",
		    "disable MIO: response 0010");
	check_answer(load(base + msix.table, 4), CC(3), 'C', "mio.off.again",
		     "MIO disabled: condition code 3");
	other.fh = enabled & ~(1u << 31);
	check_value(function_set(&other, CLP_ENABLE_MIO, 0), CLP_OK, 'L', "clp.set.mio.stale",
		    "enable MIO with the handle from before enabling: response 0010");
	check_value(other.fh, enabled, 'L', "clp.set.mio.stale.handle",
		    "enable MIO with that handle: the response has the current one");
	function_restart(f);
	check_answer(load(base + msix.table, 4), CC(3), 'C', "mio.restarted",
		     "after disable and enable: condition code 3");
	function_set(f, CLP_ENABLE_MIO, 0);
}

/* ---- Loads and stores ---- */

static void accesses(void)
{
	uint64_t at = base + msix.table, data, end = bar_bytes(f, msix.bar);
	struct run r;

	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	check_answer(insn_pcistgi(at, 8, 0x0011223344556677ull), CC(0), 'L', "pcistgi",
		     "8 bytes: condition code 0");
	check_answer(insn_pcilgi(at, 8, &data), CC(0), 'L', "pcilgi", "8 bytes: condition code 0");
	check_value(data, 0x0011223344556677ull, 'L', "pcilgi.kept", "what was stored is loaded");
	check_value(bar_read(f, msix.bar, msix.table, 8), swap(data, 8), 'L', "pcilgi.same",
		    "by handle the same is loaded");
	insn_pcilgi(at + 4, 4, &data);
	check_value(data, 0x44556677, 'L', "pcilgi.word", "4 bytes are the rightmost of R1");
	insn_pcistgi(back + msix.table, 4, 0x04020300);
	insn_pciwb();
	insn_pcilgi(at, 4, &data);
	check_value(data, 0x04020300, 'L', "pcistgi.back",
		    "a store to the write-back address and a barrier: it is loaded");
	insn_pcilgi(back + msix.table, 4, &data);
	check_value(data, 0x04020300, 'L', "pcilgi.back", "a load from the write-back address");
	check_answer(load(at, 0), PGM(PGM_OPERAND), 'C', "pcilgi.length-0",
		     "length 0: operand exception");
	check_answer(load(at, 9), PGM(PGM_OPERAND), 'C', "pcilgi.length-9",
		     "length 9: operand exception");
	check_answer(load(at + 4, 8), PGM(PGM_OPERAND), 'C', "pcilgi.doubleword",
		     "across a doubleword: operand exception");
	check_answer(load(base + end, 4), PGM(PGM_OPERAND), 'C', "pcilgi.end",
		     "beyond the BAR's end: operand exception");
	check_answer(store(at, 0), PGM(PGM_OPERAND), 'C', "pcistgi.length-0",
		     "length 0: operand exception");
	check_answer(store(at + 4, 8), PGM(PGM_OPERAND), 'C', "pcistgi.doubleword",
		     "across a doubleword: operand exception");
	check_answer(store(base + end, 4), PGM(PGM_OPERAND), 'C', "pcistgi.end",
		     "beyond the BAR's end: operand exception");
	check_answer(load(0x10000, 4), CC(3), 'C', "pcilgi.memory",
		     "an address in memory: condition code 3");
	check_answer(store(0x10000, 4), CC(3), 'C', "pcistgi.memory",
		     "an address in memory: condition code 3");
	check_answer(insn_pciwb(), CC(2), 'L', "pciwb", "the condition code stays as it was");

	r = run_init(PSW_64, mio_pcilgi_odd);
	r.gr[3] = at;
	run(&r);
	check_answer((struct answer){ .pgm = r.exit == RUN_PGM ? r.code : 0 },
		     PGM(PGM_SPECIFICATION), 'C', "pcilgi.odd", "R2 odd: specification exception");
	r = run_init(PSW_64, mio_load);
	r.gr[2] = at;
	run(&r);
	check_value(r.exit == RUN_PGM ? r.code : 0, PGM_ADDRESSING, 'C', "mio.ordinary.load",
		    "an ordinary load: addressing exception");
	r = run_init(PSW_64, mio_store);
	r.gr[2] = at;
	run(&r);
	check_value(r.exit == RUN_PGM ? r.code : 0, PGM_ADDRESSING, 'C', "mio.ordinary.store",
		    "an ordinary store: addressing exception");
	insn_psw = PSW_PROBLEM;
	check_answer(load(at, 4), CC(0), 'L', "pcilgi.problem",
		     "in the problem state: condition code 0");
	check_answer(store(at, 4), CC(0), 'L', "pcistgi.problem",
		     "in the problem state: condition code 0");
	check_answer(insn_pciwb(), CC(2), 'L', "pciwb.problem", "in the problem state: permitted");
	insn_psw = 0;
}

static void blocks(void)
{
	static uint8_t block[64] __attribute__((aligned(64)));
	uint64_t at = base + msix.table, data;

	for (unsigned i = 0; i < 12; i++)
		block[i] = 0x40 + i;
	block[12] = 1; /* masked */
	check_answer(insn_pcistbi(at, 16, block), CC(0), 'L', "pcistbi",
		     "16 bytes: condition code 0");
	insn_pcilgi(at, 8, &data);
	check_value(data, 0x4041424344454647ull, 'L', "pcistbi.order",
		    "bytes are stored in the order of their addresses");
	check_answer(insn_pcistbi(at, 8, block), PGM(PGM_SPECIFICATION), 'C', "pcistbi.length-8",
		     "length 8: specification exception");
	check_answer(insn_pcistbi(at, 20, block), PGM(PGM_SPECIFICATION), 'C', "pcistbi.multiple",
		     "length not a multiple of 8: specification exception");
	check_answer(insn_pcistbi(at + 4, 16, block), PGM(PGM_SPECIFICATION), 'C', "pcistbi.offset",
		     "offset not a multiple of 8: specification exception");
	check_answer(insn_pcistbi(at, 16, block + 4), PGM(PGM_SPECIFICATION), 'C',
		     "pcistbi.operand", "operand not on a doubleword: specification exception");
	check_answer(insn_pcistbi(base + 4096 - 8, 16, block), PGM(PGM_SPECIFICATION), 'C',
		     "pcistbi.page", "across 4 KiB of the BAR: specification exception");
	check_answer(insn_pcistbi(base + bar_bytes(f, msix.bar), 16, block), PGM(PGM_OPERAND), 'C',
		     "pcistbi.end", "beyond the BAR's end: operand exception");
	check_answer(insn_pcistbi(0x10000, 16, block), CC(3), 'C', "pcistbi.memory",
		     "an address in memory: condition code 3");
	check_answer(insn_pcistbi(at, 16, (void *)memory_size()), PGM(PGM_ADDRESSING), 'C',
		     "pcistbi.outside", "operand outside memory: addressing exception");
}

/* ---- With translation ---- */

static void translated(void)
{
	uint8_t *page = frames(2 * PAGE_SIZE, PAGE_SIZE);
	uint64_t first = base + (msix.table & ~0xfffull), within = msix.table & 0xfff, data;

	dat_prepare(page, page + PAGE_SIZE);
	dat_map(page + PAGE_SIZE, first);
	insn_psw = PSW_DAT;
	check_answer(insn_pcistgi((uint64_t)page + PAGE_SIZE + within, 8, 0x0001020304050607ull),
		     CC(0), 'L', "pcistgi.virtual", "a page mapped to the BAR: condition code 0");
	check_answer(insn_pcilgi((uint64_t)page + PAGE_SIZE + within, 8, &data), CC(0), 'L',
		     "pcilgi.virtual", "a page mapped to the BAR: condition code 0");
	check_value(data, 0x0001020304050607ull, 'L', "pcilgi.virtual.kept",
		    "what was stored is loaded");
	dat_map(page + PAGE_SIZE, first | DAT_PAGE_PROTECTED);
	check_answer(store((uint64_t)page + PAGE_SIZE + within, 4), PGM(PGM_PROTECTION), 'L',
		     "pcistgi.protected", "a protected page: protection exception");
	check_answer(load((uint64_t)page + PAGE_SIZE + within, 4), CC(0), 'L', "pcilgi.protected",
		     "a protected page: condition code 0");
	dat_map(page + PAGE_SIZE, DAT_PAGE_INVALID);
	check_answer(load((uint64_t)page + PAGE_SIZE + within, 4), PGM(PGM_PAGE), 'L',
		     "pcilgi.missing", "a page not mapped: page-translation exception");
	check_answer(store((uint64_t)page + PAGE_SIZE + within, 4), PGM(PGM_PAGE), 'L',
		     "pcistgi.missing", "a page not mapped: page-translation exception");
	insn_psw = 0;
}

static void states(void)
{
	static uint64_t block[2];

	insn_rpcit(f->fh, f->query.sdma, PAGE_SIZE);
	check_answer(load(base + msix.table, 4), STATUS(12), 'C', "pcilgi.error",
		     "error state: condition code 1, status 12 in R2 + 1");
	check_answer(store(base + msix.table, 4), STATUS(12), 'C', "pcistgi.error",
		     "error state: condition code 1, status 12 in R2 + 1");
	check_answer(insn_pcistbi(base + msix.table, 16, block), STATUS(12), 'C', "pcistbi.error",
		     "error state: condition code 1, status 12 in R1");
	modify(f, RESET_ERROR, NULL);
	check_answer(load(base + msix.table, 4), CC(0), 'C', "pcilgi.recovered",
		     "after reset error: condition code 0");
	events_drop();
	function_disable(f);
	check_answer(load(base + msix.table, 4), CC(3), 'C', "pcilgi.disabled",
		     "disabled function: condition code 3");
}

void guest_main(void)
{
	f = function_find();
	absent();
	if (!facility(FACILITY_MIO)) {
		rest_not_here("facility 153");
		return;
	}
	if (!check(f->query.flags & FUNCTION_MIO, 'L', "clp.query.mio",
		   "with the facility there are addresses"))
		return;
	function_enable(f);
	if (!msix_find(f, &msix))
		bail("the function has no MSI-X");
	function_disable(f);
	base = f->query.mio.bar[msix.bar].wt;
	back = f->query.mio.bar[msix.bar].wb;
	not_enabled();
	addresses();
	set();
	accesses();
	blocks();
	translated();
	states();
	check_value(insn_mio_busy, 0, 'L', "mio.busy",
		    "in none of the cases above, condition code 2");
}
