/* SPDX-License-Identifier: MIT */
/* CALL LOGICAL PROCESSOR: each command, each answer. docs/zpci.md, the section of that name. */
#include "zpci/dat.h"
#include "zpci/zpci.h"

static struct function *f;

/* ---- The block ---- */

static struct answer with_lengths(unsigned request, unsigned response)
{
	memset(clp_block, 0, sizeof(clp_block));
	((struct clp_header *)clp_block)->length = request;
	((struct clp_header *)clp_block)->code = CLP_LIST;
	if (request + 8 <= sizeof(clp_block))
		((struct clp_header *)(clp_block + request))->length = response;
	return insn_clp(clp_block);
}

static void block_lengths(void)
{
	check_answer(with_lengths(8, 64), PGM(PGM_OPERAND), 'Q', "clp.request.short",
		     "request of 8 bytes: operand exception");
	check_answer(with_lengths(0, 64), PGM(PGM_OPERAND), 'Q', "clp.request.zero",
		     "request of 0 bytes: operand exception");
	check_answer(with_lengths(36, 64), PGM(PGM_OPERAND), 'Q', "clp.request.multiple",
		     "request length not a multiple of 8: operand exception");
	check_answer(with_lengths(8192, 64), PGM(PGM_OPERAND), 'Q', "clp.request.long",
		     "request of 8192 bytes: operand exception");
	check_answer(with_lengths(32, 0), PGM(PGM_OPERAND), 'Q', "clp.response.zero",
		     "response of 0 bytes: operand exception");
	check_answer(with_lengths(32, 60), PGM(PGM_OPERAND), 'Q', "clp.response.multiple",
		     "response length not a multiple of 8: operand exception");
	check_answer(with_lengths(32, 8184), PGM(PGM_OPERAND), 'Q', "clp.response.long",
		     "response of 8184 bytes: operand exception");
	check_answer(with_lengths(32, 8168), PGM(PGM_OPERAND), 'Q', "clp.lengths.sum",
		     "request and response above 8192 bytes: operand exception");
	check_answer(with_lengths(32, 8160), CC(0), 'Q', "clp.lengths.most",
		     "request and response of 8192 bytes: condition code 0");
	with_lengths(40, 64);
	check_value(((struct clp_header *)(clp_block + 40))->code, 0x50, 'Q', "clp.request.not-32",
		    "PCI command with a request of 40 bytes: response 0050");
}

static void block_access(void)
{
	uint8_t *block = frames(3 * PAGE_SIZE, PAGE_SIZE);
	struct clp_request *request;
	uint32_t before = f->fh;

	check_answer(insn_clp((void *)memory_size()), PGM(PGM_ADDRESSING), 'C', "clp.access.memory",
		     "block outside memory: addressing exception");
	dat_prepare(block + PAGE_SIZE, NULL);
	/* The response lies in a page that can be fetched from only. */
	request = (void *)(block + PAGE_SIZE - CLP_REQUEST);
	memset(request, 0, CLP_REQUEST + 64);
	request->header.length = CLP_REQUEST;
	request->header.code = CLP_SET;
	request->fh = f->fh;
	request->operation = CLP_ENABLE;
	request->dma_spaces = 1;
	((struct clp_header *)(request + 1))->length = 32;
	insn_psw = PSW_DAT;
	check_answer(insn_clp(request), PGM(PGM_PROTECTION), 'C', "clp.access.protected",
		     "response in a protected page: protection exception");
	insn_psw = 0;
	function_refresh_handle(f);
	if (!check_value(f->fh, before, 'C', "clp.access.nothing-done",
			 "a command whose response could not be stored has not happened"))
		function_disable(f);
	dat_prepare(NULL, block + PAGE_SIZE);
	insn_psw = PSW_DAT;
	check_answer(insn_clp(request), PGM(PGM_PAGE), 'Q', "clp.access.missing",
		     "response in a page that is not there: page-translation exception");
	insn_psw = 0;
}

static void write_back(void)
{
	static const char what[] = "with facility 153 a write-back bit is announced";
	struct clp_header *response = (void *)(clp_block + 16);

	if (!facility(153)) {
		not_here('L', "clp.characteristics.write-back", what, "facility 153");
		return;
	}
	memset(clp_block, 0, 256);
	((struct clp_header *)clp_block)->length = 16;
	((struct clp_header *)clp_block)->code = CLP_CHARACTERISTICS;
	response->length = 128;
	insn_clp_processor(2, clp_block);
	check_value(clp_block[16 + 80] & 0x80, 0x80, 'L', "clp.characteristics.write-back", what);
}

static void processors(void)
{
	struct clp_header *response = (void *)(clp_block + 16);
	const uint32_t *commands = (const uint32_t *)(clp_block + 16 + 96);
	uint64_t mask = 0;

	insn_psw = PSW_PROBLEM;
	check_answer(insn_clp(clp_block), PGM(PGM_PRIVILEGED), 'Q', "clp.problem",
		     "in the problem state: privileged-operation exception");
	insn_psw = 0;
	check_answer(insn_clp_immediate(1, &mask), CC(0), 'L', "clp.immediate",
		     "immediate command 1: condition code 0");
	check_value(mask, BIT64(0) | BIT64(2), 'L', "clp.immediate.mask",
		    "immediate command 1: logical processors 0 and 2");
	check_answer(insn_clp_immediate(0x77, &mask), CC(3), 'C', "clp.immediate.unknown",
		     "another immediate command: condition code 3");
	clp_prepare(CLP_LIST, 64);
	check_answer(insn_clp_processor(1, clp_block), CC(3), 'C', "clp.processor.unknown",
		     "logical processor 1: condition code 3");

	for (unsigned processor = 0; processor <= 2; processor += 2) {
		memset(clp_block, 0, 256);
		((struct clp_header *)clp_block)->length = 16;
		((struct clp_header *)clp_block)->code = CLP_CHARACTERISTICS;
		response->length = 128;
		insn_clp_processor(processor, clp_block);
		check_value(response->code, CLP_OK, 'L',
			    processor ? "clp.characteristics.pci" : "clp.characteristics.base",
			    "store logical-processor characteristics: response 0010");
		check_value(*commands & 0x7fffffff, processor ? 0x7c000000 : 0x40000000, 'C',
			    processor ? "clp.characteristics.pci.commands" :
					"clp.characteristics.base.commands",
			    processor ? "commands 1 to 5 are installed" : "command 1 is installed");
		response->length = 64;
		insn_clp_processor(processor, clp_block);
		check_value(response->code, 0x50, 'C',
			    processor ? "clp.characteristics.pci.small" :
					"clp.characteristics.base.small",
			    "room below 128 bytes: response 0050");
	}
	write_back();
}

static unsigned command_with(unsigned command, uint32_t format, uint64_t reserved)
{
	struct clp_request *request = clp_prepare(command, 512);

	request->header.format = format;
	request->header.reserved = reserved;
	request->fh = f->fh;
	if (command == CLP_QUERY_GROUP)
		request->pfgid = f->query.pfgid;
	if (command == CLP_SET)
		request->operation = 0x7f; /* nothing happens */
	return clp_call();
}

static void headers(void)
{
	static const struct {
		unsigned command;
		char grade;
		const char *format, *reserved, *reserved2;
	} commands[] = {
		{ CLP_LIST, 'Q', "clp.list.format", "clp.list.reserved", "clp.list.reserved-word" },
		{ CLP_QUERY_FUNCTION, 'C', "clp.query.format", "clp.query.reserved",
		  "clp.query.reserved-word" },
		{ CLP_QUERY_GROUP, 'C', "clp.group.format", "clp.group.reserved",
		  "clp.group.reserved-word" },
		{ CLP_SET, 'C', "clp.set.format", "clp.set.reserved", "clp.set.reserved-word" },
	};

	check_value(command_with(0x00ff, 0, 0), 0x20, 'Q', "clp.command.unknown",
		    "command 00ff: response 0020");
	check_value(command_with(0x0000, 0, 0), 0x20, 'Q', "clp.command.zero",
		    "command 0000: response 0020");
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		check_value(command_with(commands[i].command, 0x10000000, 0), 0x40,
			    commands[i].grade, commands[i].format,
			    "format bits not 0: response 0040");
		check_value(command_with(commands[i].command, 0x00000001, 0), 0x70,
			    commands[i].grade, commands[i].reserved,
			    "bits behind the format not 0: response 0070");
		check_value(command_with(commands[i].command, 0, 1), 0x70, commands[i].grade,
			    commands[i].reserved2, "reserved bytes 8-15 not 0: response 0070");
	}
}

static void errors_store_little(void)
{
	uint8_t *response = clp_block + CLP_REQUEST;
	bool kept = true;

	clp_prepare(0x00ff, 64);
	memset(response + 4, 0xa5, 96);
	clp_call();
	for (unsigned i = 4; i < 100; i++)
		kept &= response[i] == 0xa5;
	check(kept, 'Q', "clp.error",
	      "an error: length and response code are stored, nothing else");
	check_value(((struct clp_header *)response)->length, 64, 'Q', "clp.error.length",
		    "an error: the length stays what the program said");
}

/* ---- List ---- */

#define MOST 64
static struct list_entry all[MOST], resumed[MOST];

static unsigned list_with(unsigned room, uint64_t token)
{
	struct clp_request *request = clp_prepare(CLP_LIST, room);

	request->token = token;
	return clp_call();
}

static void list_errors(void)
{
	struct answer a;

	check_value(list_with(40, 0), 0x60, 'Q', "clp.list.small",
		    "room below 48 bytes: response 0060");
	clp_prepare(CLP_LIST, 56);
	a = insn_clp(clp_block);
	check_value(CLP_RESPONSE(clp_header)->code, 0x50, 'Q', "clp.list.multiple",
		    "room for the list not a multiple of 16: response 0050");
	check_answer(a, CC(3), 'Q', "clp.list.multiple.cc",
		     "room for the list not a multiple of 16: condition code 3");
	check_value(list_with(4096, 0x123456789aull), 0x10a, 'Q', "clp.list.token.unknown",
		    "resume token never given: response 010a");
}

static void list_contents(unsigned count)
{
	struct list_response *response = CLP_RESPONSE(list_response);
	bool unique = true, found = false;

	check_value(list_with(8192 - 64, 0), CLP_OK, 'L', "clp.list", "response 0010");
	check_value(response->header.length, sizeof(*response) + 16 * count, 'L', "clp.list.length",
		    "the response's length is what was used");
	check_value(response->entry_size, 16, 'L', "clp.list.entry-size", "an entry has 16 bytes");
	check_value(response->token, 0, 'L', "clp.list.token.end",
		    "resume token 0: all have been listed");
	check_value(response->functions, 4096, 'Q', "clp.list.functions",
		    "number of functions: 4096");
	check_value(response->reserved, 0, 'L', "clp.list.reserved-response",
		    "bytes 24-27 of the response are 0");
	check_value(response->flags & 0xfe, 0, 'L', "clp.list.flags",
		    "no flag but that of unique identifiers");
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < i; j++)
			unique &= response->entries[i].fid != response->entries[j].fid &&
				  response->entries[i].fh != response->entries[j].fh;
		found |= response->entries[i].fid == f->fid && response->entries[i].fh == f->fh;
	}
	check(unique, 'L', "clp.list.unique", "no two functions have a fid or a handle in common");
	check(found, 'L', "clp.list.found", "a function is listed with its fid and its handle");
	check_value(f->fh >> 31, 0, 'L', "clp.list.handle.disabled",
		    "the handle of a disabled function: bit 0 is 0");
	check_value(f->configured, true, 'L', "clp.list.configured",
		    "a disabled function is configured");
}

static void list_resumed(unsigned count)
{
	struct list_response *response = CLP_RESPONSE(list_response);
	bool one_each = true, tokens = true;
	uint64_t token = 0;
	unsigned n = 0;

	if (count < 2) {
		not_here('L', "clp.list.resume", "one at a time, the same list", "one function");
		not_here('L', "clp.list.resume.length", "one entry in each response",
			 "one function");
		not_here('L', "clp.list.resume.token", "a token as long as there are more",
			 "one function");
		not_here('Q', "clp.list.resume.twice", "a token can be used again", "one function");
		return;
	}
	do {
		if (list_with(sizeof(*response) + 16, token) != CLP_OK)
			break;
		one_each &= response->header.length == sizeof(*response) + 16;
		if (n < MOST)
			resumed[n] = response->entries[0];
		n++;
		token = response->token;
		tokens &= (token != 0) == (n < count);
	} while (token && n < MOST);
	check(n == count && !memcmp(all, resumed, n * sizeof(all[0])), 'L', "clp.list.resume",
	      "one at a time, the same list");
	check(one_each, 'L', "clp.list.resume.length", "one entry in each response");
	check(tokens, 'L', "clp.list.resume.token", "a token as long as there are more");
	list_with(sizeof(*response) + 16, 0);
	token = response->token;
	list_with(sizeof(*response) + 16, token);
	list_with(sizeof(*response) + 16, token);
	check(!memcmp(&response->entries[0], &all[1], sizeof(all[1])), 'Q', "clp.list.resume.twice",
	      "a token can be used again");
}

static void list_standby(void)
{
	struct function standby = *f;
	uint32_t configured_handle = f->fh;

	sclp_configure(f->fid, false);
	if (!check(function_refresh_handle(&standby), 'L', "clp.list.standby",
		   "a function in standby is listed")) {
		sclp_configure(f->fid, true);
		return;
	}
	check_value(standby.configured, false, 'L', "clp.list.standby.bit",
		    "a function in standby: bit 0 of word 1 is 0");
	check_value(function_set(&standby, CLP_ENABLE, 1), 0x102, 'C', "clp.set.enable.standby",
		    "enable in standby: response 0102");
	function_refresh_handle(&standby);
	check_value(function_set(&standby, CLP_DISABLE, 0), 0x102, 'C', "clp.set.disable.standby",
		    "disable in standby: response 0102");
	check(function_query(&standby), 'L', "clp.query.standby", "query of a function in standby");
	sclp_configure(f->fid, true);
	function_refresh_handle(f);
	check_value(f->fh, configured_handle, 'C', "clp.list.standby.handle",
		    "through standby and back, the handle stays");
}

/* ---- Query ---- */

static unsigned query_code(uint32_t fh)
{
	clp_prepare(CLP_QUERY_FUNCTION, sizeof(struct function_response))->fh = fh;
	return clp_call();
}

static void query(void)
{
	const struct function_response *q = &f->query;
	uint32_t stale = f->fh;
	uint8_t *response = clp_block + CLP_REQUEST;
	bool bars = true;

	check_value(query_code(0), 0x101, 'Q', "clp.query.handle.zero", "handle 0: response 0101");
	check_value(query_code(f->fh ^ 0xffff), 0x101, 'Q', "clp.query.handle.unknown",
		    "handle of no function: response 0101");
	check_value(query_code(f->fh | 1u << 31), 0x101, 'Q', "clp.query.handle.enabled",
		    "enabled handle of a disabled function: response 0101");
	check_value(query_code(f->fh), CLP_OK, 'L', "clp.query", "response 0010");
	check_value(q->fid, f->fid, 'L', "clp.query.fid", "the function's fid");
	check(q->sdma <= q->edma && !(q->sdma & 0xfff) && (q->edma & 0xfff) == 0xfff, 'L',
	      "clp.query.dma", "start and end of DMA addresses are a range of pages");
	check_value(q->fmb_length, 16, 'L', "clp.query.fmb", "the measurement block has 16 words");
	check((q->flags & FUNCTION_MIO) || !q->mio.valid, 'L', "clp.query.mio.flag",
	      "no MIO addresses without the flag");

	memset(clp_block, 0, 512);
	clp_prepare(CLP_QUERY_FUNCTION, 32)->fh = f->fh;
	memset(response + 32, 0xa5, 64);
	check_value(clp_call(), CLP_OK, 'C', "clp.query.room", "room for 32 bytes: response 0010");
	check(response[32] == 0xa5 && response[95] == 0xa5, 'Q', "clp.query.room.kept",
	      "room for 32 bytes: nothing is stored behind them");
	check_value(((struct clp_header *)response)->length, 32, 'C', "clp.query.length",
		    "the length stays what the program said");

	function_enable(f);
	check_value(query_code(stale), 0x101, 'Q', "clp.query.handle.stale",
		    "disabled handle of an enabled function: response 0101");
	for (unsigned bar = 0; bar < 6; bar++)
		bars &= q->bar[bar] == swap(config_read(f, 0x10 + 4 * bar, 4), 4) ||
			!q->bar_size[bar];
	check(bars, 'L', "clp.query.bars", "BARs are little-endian words as in config space");
	for (unsigned bar = 0; bar < 6; bar++) {
		uint32_t before = config_read(f, 0x10 + 4 * bar, 4), size;

		if (!q->bar_size[bar])
			continue;
		config_write(f, 0x10 + 4 * bar, 4, 0xffffffff);
		size = ~(config_read(f, 0x10 + 4 * bar, 4) & ~0xfu) + 1;
		config_write(f, 0x10 + 4 * bar, 4, before);
		check_value(size, 1u << q->bar_size[bar], 'L', "clp.query.bar-size",
			    "the size of the first BAR is 2 to the power told");
		break;
	}
	function_disable(f);
}

static void group(void)
{
	const struct group_response *g = &f->group;
	struct clp_request *request;

	request = clp_prepare(CLP_QUERY_GROUP, sizeof(*g));
	request->pfgid = f->query.pfgid ^ 0x5a;
	check_value(clp_call(), 0x10b, 'Q', "clp.group.unknown", "unknown group: response 010b");
	request = clp_prepare(CLP_QUERY_GROUP, sizeof(*g));
	request->pfgid = f->query.pfgid;
	check_value(clp_call(), CLP_OK, 'L', "clp.group", "response 0010");
	check(g->interrupts && g->interrupts <= 2048, 'L', "clp.group.interrupts",
	      "1 to 2048 interrupts");
	check(g->store_block_max >= 16 && g->store_block_max <= 4096 && !(g->store_block_max & 7),
	      'Q', "clp.group.store-block", "a maximum store block of 16 to 4096 bytes");
	check(g->msi_address != 0, 'L', "clp.group.msi", "there is an MSI address");
	check(g->designations & 0x40, 'C', "clp.group.region-third",
	      "the designation type that Linux uses (region-third table) is announced");
	check_value(g->update_interval, 4000, 'Q', "clp.group.interval",
		    "an update interval of 4000 ms");
	check_value(f->query.pfgid, 0xff, 'Q', "clp.group.first", "the first group is ff");
}

/* ---- Set ---- */

static void set(void)
{
	uint32_t disabled = f->fh, enabled;
	struct function other = *f;

	other.fh = f->fh ^ 0xffff;
	check_value(function_set(&other, CLP_ENABLE, 1), 0x101, 'Q', "clp.set.handle",
		    "handle of no function: response 0101");
	other.fh = f->fh | 1u << 31;
	check_value(function_set(&other, CLP_ENABLE, 1), 0x101, 'Q', "clp.set.enable.handle",
		    "enable with the enabled handle of a disabled function: response 0101");
	check_value(function_set(f, CLP_ENABLE, 0), 0x103, 'Q', "clp.set.enable.spaces-0",
		    "enable with 0 DMA spaces: response 0103");
	check_value(function_set(f, CLP_ENABLE, 2), 0x104, 'Q', "clp.set.enable.spaces-2",
		    "enable with 2 DMA spaces: response 0104");
	check_value(function_set(f, CLP_ENABLE, 255), 0x104, 'Q', "clp.set.enable.spaces-255",
		    "enable with 255 DMA spaces: response 0104");
	check_value(function_set(f, CLP_DISABLE, 0), 0x102, 'Q', "clp.set.disable.disabled",
		    "disable of a disabled function: response 0102");
	check_value(function_set(f, 0x7f, 1), 0x102, 'Q', "clp.set.operation",
		    "unknown operation: response 0102");

	check_value(function_set(f, CLP_ENABLE, 1), CLP_OK, 'L', "clp.set.enable",
		    "enable: response 0010");
	enabled = f->fh;
	check_value(enabled, disabled | 1u << 31, 'Q', "clp.set.enable.new-handle",
		    "enable: bit 0 of the handle is set, all else stays");
	function_refresh_handle(&other);
	check_value(other.fh, enabled, 'L', "clp.list.handle.enabled",
		    "the list has the enabled handle");
	check_value(function_set(f, CLP_ENABLE, 1), 0x102, 'Q', "clp.set.enable.enabled",
		    "enable of an enabled function: response 0102");
	other.fh = disabled;
	check_value(function_set(&other, CLP_ENABLE, 1), 0x101, 'Q', "clp.set.enable.stale",
		    "enable with a handle from before: response 0101");
	check_value(function_set(&other, CLP_DISABLE, 0), 0x101, 'Q', "clp.set.disable.stale",
		    "disable with the handle from before: response 0101");

	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	check_value(config_read(f, PCI_COMMAND, 2) & 6, 6, 'L', "clp.set.enable.usable",
		    "an enabled function's command register can be written");
	check_value(function_set(f, CLP_DISABLE, 0), CLP_OK, 'L', "clp.set.disable",
		    "disable: response 0010");
	check_value(f->fh, disabled, 'Q', "clp.set.disable.new-handle",
		    "disable: bit 0 of the handle is 0, all else stays");
	other.fh = enabled;
	check_value(function_set(&other, CLP_DISABLE, 0), 0x105, 'L', "clp.set.disable.already",
		    "disable with the enabled handle of a disabled function: response 0105");
	function_enable(f);
	check_value(config_read(f, PCI_COMMAND, 2) & 6, 0, 'C', "clp.set.disable.reset",
		    "disable: the device has been reset");
	function_disable(f);
}

void guest_main(void)
{
	unsigned count;

	f = function_find();
	count = functions_list(all, MOST);
	if (count > MOST)
		count = MOST;
	processors();
	block_lengths();
	block_access();
	headers();
	errors_store_little();
	list_errors();
	list_contents(count);
	list_resumed(count);
	list_standby();
	query();
	group();
	set();
}
