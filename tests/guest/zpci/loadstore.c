/* SPDX-License-Identifier: MIT */
/*
 * PCI LOAD, PCI STORE, PCI STORE BLOCK: places, lengths, states. docs/zpci.md, the
 * sections of these names. The BAR that is used is the one with the MSI-X table.
 */
#include "zpci/dat.h"
#include "zpci/msix.h"

static struct function *f;
static struct msix msix;

static struct answer load(unsigned space, uint64_t offset, unsigned length)
{
	return insn_pcilg(place(f->fh, space, length), offset, NULL);
}

static struct answer store(unsigned space, uint64_t offset, unsigned length)
{
	return insn_pcistg(place(f->fh, space, length), offset, 0);
}

/* The same checks for loads and stores, whose names differ in the first word. */
static void both(struct answer (*access)(unsigned, uint64_t, unsigned), unsigned space,
		 uint64_t offset, unsigned length, struct answer want, char grade, const char *id,
		 const char *what)
{
	check_answer(access(space, offset, length), want, grade, id, what);
}

static void handles(void)
{
	uint64_t disabled = place(f->fh & ~(1u << 31), CONFIG_SPACE, 4);
	uint64_t unknown = place(f->fh ^ 0xffff, CONFIG_SPACE, 4);
	uint64_t data;

	insn_psw = PSW_PROBLEM;
	check_answer(load(CONFIG_SPACE, 0, 4), PGM(PGM_PRIVILEGED), 'Q', "pcilg.problem",
		     "in the problem state: privileged-operation exception");
	check_answer(store(CONFIG_SPACE, 0, 4), PGM(PGM_PRIVILEGED), 'Q', "pcistg.problem",
		     "in the problem state: privileged-operation exception");
	insn_psw = 0;
	check_answer(insn_pcilg_odd(place(f->fh, CONFIG_SPACE, 4), 0), PGM(PGM_SPECIFICATION), 'Q',
		     "pcilg.odd", "R2 odd: specification exception");
	check_answer(insn_pcistg_odd(place(f->fh, CONFIG_SPACE, 4), 0), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistg.odd", "R2 odd: specification exception");
	check_answer(insn_pcilg(disabled, 0, &data), CC(3), 'Q', "pcilg.handle.disabled",
		     "handle without the enabled bit: condition code 3");
	check_value(data, 0x5555555555555555ull, 'C', "pcilg.handle.kept",
		    "a load that fails leaves R1 as it was");
	check_answer(insn_pcistg(disabled, 0, 0), CC(3), 'Q', "pcistg.handle.disabled",
		     "handle without the enabled bit: condition code 3");
	check_answer(insn_pcilg(unknown, 0, NULL), CC(3), 'Q', "pcilg.handle.unknown",
		     "handle of no function: condition code 3");
	check_answer(insn_pcistg(unknown, 0, 0), CC(3), 'Q', "pcistg.handle.unknown",
		     "handle of no function: condition code 3");
	check_answer(insn_pcilg(place(0xffffffff, CONFIG_SPACE, 4), 0, NULL), CC(3), 'Q',
		     "pcilg.handle.ones", "handle of ones: condition code 3");
}

static void spaces(void)
{
	bool loads = true, stores = true, kept;
	uint64_t request = place(f->fh, 6, 4);

	for (unsigned space = 6; space < CONFIG_SPACE; space++) {
		loads &= answered(load(space, 0, 4), STATUS(20));
		stores &= answered(store(space, 0, 4), STATUS(20));
	}
	check(loads, 'Q', "pcilg.space", "address spaces 6 to 14: condition code 1, status 20");
	check(stores, 'Q', "pcistg.space", "address spaces 6 to 14: condition code 1, status 20");
	insn_pcilg(request | 0xa500000000ull >> 32, 0, NULL);
	insn_pcilg(request, 0, NULL);
	kept = (insn_gr[2] & ~0xff000000ull) == (request & ~0xff000000ull);
	check(kept, 'L', "pcilg.status.kept",
	      "the status code changes bits 32-39 of the register only");
}

static void config_space(void)
{
	uint64_t data, whole = 0, bytes = 0;

	check_answer(insn_pcilg(place(f->fh, CONFIG_SPACE, 4), 0, &whole), CC(0), 'L',
		     "pcilg.config", "config space, 4 bytes: condition code 0");
	check_value(whole, swap(f->vendor | (uint32_t)f->device << 16, 4), 'L',
		    "pcilg.config.order",
		    "bytes in the order of their addresses, the rest of R1 is 0");
	for (unsigned i = 0; i < 4; i++) {
		insn_pcilg(place(f->fh, CONFIG_SPACE, 1), i, &data);
		bytes = bytes << 8 | data;
	}
	check_value(bytes, whole, 'L', "pcilg.config.bytes", "4 loads of 1 byte give the same");
	insn_pcilg(place(f->fh, CONFIG_SPACE, 2), 2, &data);
	check_value(data, whole & 0xffff, 'L', "pcilg.config.halfword",
		    "2 bytes at offset 2 are the rightmost half");
	insn_pcilg(place(f->fh, CONFIG_SPACE, 2), 1, &data);
	check_value(data, whole >> 8 & 0xffff, 'C', "pcilg.config.unaligned",
		    "2 bytes at offset 1, within the word");

	both(load, CONFIG_SPACE, 0, 0, PGM(PGM_OPERAND), 'Q', "pcilg.config.length-0",
	     "config space, length 0: operand exception");
	both(load, CONFIG_SPACE, 0, 3, PGM(PGM_OPERAND), 'Q', "pcilg.config.length-3",
	     "config space, length 3: operand exception");
	both(load, CONFIG_SPACE, 0, 5, PGM(PGM_OPERAND), 'Q', "pcilg.config.length-5",
	     "config space, length 5: operand exception");
	both(load, CONFIG_SPACE, 0, 8, PGM(PGM_OPERAND), 'Q', "pcilg.config.length-8",
	     "config space, length 8: operand exception");
	both(load, CONFIG_SPACE, 3, 2, PGM(PGM_OPERAND), 'Q', "pcilg.config.word",
	     "config space, across a word: operand exception");
	both(load, CONFIG_SPACE, 4096, 4, PGM(PGM_OPERAND), 'C', "pcilg.config.end",
	     "config space, offset 4096: operand exception");
	both(load, CONFIG_SPACE, 0xfffffffffffffffcull, 4, PGM(PGM_OPERAND), 'C',
	     "pcilg.config.last", "config space, the last word of all: operand exception");
	both(store, CONFIG_SPACE, 0x3c, 0, PGM(PGM_OPERAND), 'Q', "pcistg.config.length-0",
	     "config space, length 0: operand exception");
	both(store, CONFIG_SPACE, 0x3c, 3, PGM(PGM_OPERAND), 'Q', "pcistg.config.length-3",
	     "config space, length 3: operand exception");
	both(store, CONFIG_SPACE, 0x3c, 8, PGM(PGM_OPERAND), 'Q', "pcistg.config.length-8",
	     "config space, length 8: operand exception");
	both(store, CONFIG_SPACE, 0x3f, 2, PGM(PGM_OPERAND), 'Q', "pcistg.config.word",
	     "config space, across a word: operand exception");
	both(store, CONFIG_SPACE, 4096, 4, PGM(PGM_OPERAND), 'C', "pcistg.config.end",
	     "config space, offset 4096: operand exception");

	check_answer(insn_pcistg(place(f->fh, CONFIG_SPACE, 1), 0x3c, 0x15), CC(0), 'L',
		     "pcistg.config", "config space, 1 byte: condition code 0");
	insn_pcilg(place(f->fh, CONFIG_SPACE, 1), 0x3c, &data);
	check_value(data, 0x15, 'L', "pcistg.config.kept", "what was stored is loaded");
	insn_pcistg(place(f->fh, CONFIG_SPACE, 1), 0x3c, 0xffffff00);
	insn_pcilg(place(f->fh, CONFIG_SPACE, 1), 0x3c, &data);
	check_value(data, 0, 'L', "pcistg.config.rightmost", "only the rightmost byte is stored");
	insn_pcistg(place(f->fh, CONFIG_SPACE, 4), 0, 0);
	insn_pcilg(place(f->fh, CONFIG_SPACE, 4), 0, &data);
	check_value(data, whole, 'L', "pcistg.config.read-only",
		    "a store to the identifiers changes nothing");
}

static void bars(void)
{
	uint64_t data, end = bar_bytes(f, msix.bar), at = msix.table;

	both(load, msix.bar, at, 0, PGM(PGM_OPERAND), 'Q', "pcilg.bar.length-0",
	     "BAR, length 0: operand exception");
	both(load, msix.bar, at, 9, PGM(PGM_OPERAND), 'Q', "pcilg.bar.length-9",
	     "BAR, length 9: operand exception");
	both(load, msix.bar, at, 15, PGM(PGM_OPERAND), 'Q', "pcilg.bar.length-15",
	     "BAR, length 15: operand exception");
	both(load, msix.bar, at + 4, 8, PGM(PGM_OPERAND), 'Q', "pcilg.bar.doubleword",
	     "BAR, across a doubleword: operand exception");
	both(load, msix.bar, end, 4, PGM(PGM_OPERAND), 'Q', "pcilg.bar.end",
	     "beyond the BAR's end: operand exception");
	both(load, msix.bar, 0xfffffffffffffff8ull, 8, PGM(PGM_OPERAND), 'C', "pcilg.bar.last",
	     "the last doubleword of all: operand exception");
	both(store, msix.bar, at, 0, PGM(PGM_OPERAND), 'Q', "pcistg.bar.length-0",
	     "BAR, length 0: operand exception");
	both(store, msix.bar, at, 9, PGM(PGM_OPERAND), 'Q', "pcistg.bar.length-9",
	     "BAR, length 9: operand exception");
	both(store, msix.bar, at + 4, 8, PGM(PGM_OPERAND), 'Q', "pcistg.bar.doubleword",
	     "BAR, across a doubleword: operand exception");
	both(store, msix.bar, end, 4, PGM(PGM_OPERAND), 'Q', "pcistg.bar.end",
	     "beyond the BAR's end: operand exception");

	check_answer(insn_pcistg(place(f->fh, msix.bar, 8), at, 0x0011223344556677ull), CC(0), 'L',
		     "pcistg.bar.8", "BAR, 8 bytes: condition code 0");
	check_answer(insn_pcilg(place(f->fh, msix.bar, 8), at, &data), CC(0), 'L', "pcilg.bar.8",
		     "BAR, 8 bytes: condition code 0");
	check_value(data, 0x0011223344556677ull, 'L', "pcilg.bar.8.kept",
		    "BAR: what was stored in 8 bytes is loaded");
	insn_pcilg(place(f->fh, msix.bar, 4), at, &data);
	check_value(data, 0x00112233, 'L', "pcilg.bar.first-word",
		    "4 bytes at the same place are the leftmost of them");
	insn_pcilg(place(f->fh, msix.bar, 4), at + 4, &data);
	check_value(data, 0x44556677, 'L', "pcilg.bar.second-word",
		    "4 bytes behind them are the rightmost");
	insn_pcistg(place(f->fh, msix.bar, 4), at + 4, 0xdeadbeef8899aabbull);
	insn_pcilg(place(f->fh, msix.bar, 8), at, &data);
	check_value(data, 0x001122338899aabbull, 'L', "pcistg.bar.4",
		    "a store of 4 bytes takes the rightmost of R1");
	both(load, msix.bar, at, 3, CC(0), 'C', "pcilg.bar.length-3",
	     "BAR, 3 bytes: condition code 0");
	config_write(f, PCI_COMMAND, 2, 0);
	check_answer(load(msix.bar, at, 4), CC(0), 'Q', "pcilg.bar.memory-off",
		     "BAR, memory space off in the command register: condition code 0");
	check_answer(store(msix.bar, at, 4), CC(0), 'Q', "pcistg.bar.memory-off",
		     "BAR, memory space off in the command register: condition code 0");
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

/* ---- PCI STORE BLOCK ---- */

static uint8_t block[8192] __attribute__((aligned(4096)));

static struct answer store_block(unsigned space, uint64_t offset, unsigned length, const void *from)
{
	return insn_pcistb(place(f->fh, space, length), offset, from);
}

static void blocks(void)
{
	unsigned most = f->group.store_block_max;
	uint64_t at = msix.table, end = bar_bytes(f, msix.bar), data, data2;
	uint8_t *page = frames(2 * PAGE_SIZE, PAGE_SIZE);

	insn_psw = PSW_PROBLEM;
	check_answer(store_block(msix.bar, at, 16, block), PGM(PGM_PRIVILEGED), 'Q',
		     "pcistb.problem", "in the problem state: privileged-operation exception");
	insn_psw = 0;
	check_answer(insn_pcistb(place(f->fh & ~(1u << 31), msix.bar, 16), at, block), CC(3), 'Q',
		     "pcistb.handle.disabled", "handle without the enabled bit: condition code 3");
	check_answer(insn_pcistb(place(f->fh ^ 0xffff, msix.bar, 16), at, block), CC(3), 'Q',
		     "pcistb.handle.unknown", "handle of no function: condition code 3");
	check_answer(store_block(6, 0, 16, block), STATUS(20), 'Q', "pcistb.space",
		     "address space 6: condition code 1, status 20");
	check_answer(store_block(CONFIG_SPACE, 0, 16, block), STATUS(20), 'Q', "pcistb.config",
		     "config space: condition code 1, status 20");
	check_answer(store_block(msix.bar, at, 0, block), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.length-0", "length 0: specification exception");
	check_answer(store_block(msix.bar, at, 8, block), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.length-8", "length 8: specification exception");
	check_answer(store_block(msix.bar, at, 20, block), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.multiple", "length not a multiple of 8: specification exception");
	check_answer(store_block(msix.bar, at, most + 8, block), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.maximum", "length above the group's maximum: specification exception");
	check_answer(store_block(msix.bar, at + 4, 16, block), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.offset", "offset not a multiple of 8: specification exception");
	check_answer(store_block(msix.bar, at, 16, block + 4), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.operand", "operand not on a doubleword: specification exception");
	check_answer(store_block(msix.bar, 4096 - 8, 16, block), PGM(PGM_SPECIFICATION), 'Q',
		     "pcistb.page", "across 4 KiB of the BAR: specification exception");
	check_answer(store_block(msix.bar, end, 16, block), PGM(PGM_OPERAND), 'Q', "pcistb.end",
		     "beyond the BAR's end: operand exception");
	check_answer(store_block(msix.bar, at, 16, (void *)memory_size()), PGM(PGM_ADDRESSING), 'Q',
		     "pcistb.memory", "operand outside memory: addressing exception");
	dat_prepare(NULL, page + PAGE_SIZE);
	insn_psw = PSW_DAT;
	insn_pcistg(place(f->fh, msix.bar, 8), at, 0);
	check_answer(store_block(msix.bar, at, 16, page + PAGE_SIZE - 8), PGM(PGM_PAGE), 'Q',
		     "pcistb.missing", "operand in part not there: page-translation exception");
	insn_psw = 0;

	for (unsigned i = 0; i < 16; i++)
		block[i] = 0x10 + i;
	block[0] &= ~3u;
	block[15] = 0;
	block[12] = 1; /* masked */
	check_answer(store_block(msix.bar, at, 16, block), CC(0), 'L', "pcistb",
		     "16 bytes: condition code 0");
	insn_pcilg(place(f->fh, msix.bar, 8), at, &data);
	insn_pcilg(place(f->fh, msix.bar, 4), at + 8, &data2);
	check(data == 0x1011121314151617ull && data2 == 0x18191a1b, 'L', "pcistb.order",
	      "bytes are stored in the order of their addresses");
}

/* ---- States ---- */

static void states(void)
{
	/* RPCIT with no translation registered brings the error state. */
	insn_rpcit(f->fh, f->query.sdma, 4096);
	check_answer(load(CONFIG_SPACE, 0, 4), STATUS(12), 'Q', "pcilg.error",
		     "error state: condition code 1, status 12");
	check_answer(store(CONFIG_SPACE, 0x3c, 1), STATUS(12), 'Q', "pcistg.error",
		     "error state: condition code 1, status 12");
	check_answer(store_block(msix.bar, msix.table, 16, block), STATUS(12), 'Q', "pcistb.error",
		     "error state: condition code 1, status 12");
	modify(f, RESET_BLOCK, NULL);
	check_answer(load(CONFIG_SPACE, 0, 4), CC(0), 'Q', "pcilg.blocked",
		     "blocked state: condition code 0");
	check_answer(store(CONFIG_SPACE, 0x3c, 1), CC(0), 'Q', "pcistg.blocked",
		     "blocked state: condition code 0");
	modify(f, RESET_ERROR, NULL);
	events_drop();
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	handles();
	spaces();
	config_space();
	if (!msix_find(f, &msix))
		bail("the function has no MSI-X");
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	bars();
	blocks();
	states();
	function_disable(f);
	check_answer(load(CONFIG_SPACE, 0, 4), CC(3), 'Q', "pcilg.disabled",
		     "disabled function: condition code 3");
	check_answer(store(CONFIG_SPACE, 0, 4), CC(3), 'Q', "pcistg.disabled",
		     "disabled function: condition code 3");
	check_answer(store_block(msix.bar, msix.table, 16, block), CC(3), 'Q', "pcistb.disabled",
		     "disabled function: condition code 3");
}
