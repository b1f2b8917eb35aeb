/* SPDX-License-Identifier: MIT */
/* What the programs of the zPCI conformance suite share; see zpci.h. */
#include "zpci/zpci.h"

/* ---- Checks ---- */

uint64_t patience_seconds = 30;

static bool judged(bool passed)
{
	if (!passed)
		patience_seconds = 5;
	return passed;
}

bool check(bool passed, char grade, const char *id, const char *what)
{
	return judged(ok(passed, "%s [%c] %s", id, grade, what));
}

bool check_value(uint64_t got, uint64_t want, char grade, const char *id, const char *what)
{
	return judged(check_eq(got, want, "%s [%c] %s", id, grade, what));
}

void not_here(char grade, const char *id, const char *what, const char *why)
{
	char name[400], *p = name;
	char bracket[] = " [?] ";

	bracket[2] = grade;
	for (const char *const *part = (const char *const[]){ id, bracket, what, NULL }; *part;
	     part++)
		for (const char *s = *part; *s && p < name + sizeof(name) - 1;)
			*p++ = *s++;
	*p = 0;
	skip(name, why);
}

void rest_not_here(const char *why)
{
	print("# not here: %s\n", why);
}

bool answered(struct answer got, struct answer want)
{
	return got.pgm == want.pgm && got.cc == want.cc && got.status == want.status;
}

static void say(const char *verb, struct answer a)
{
	if (a.pgm)
		note("%s program interruption %04x", verb, a.pgm);
	else if (a.cc == 1)
		note("%s condition code 1, status %u", verb, a.status);
	else
		note("%s condition code %u", verb, a.cc);
}

bool check_answer(struct answer got, struct answer want, char grade, const char *id,
		  const char *what)
{
	bool passed = check(answered(got, want), grade, id, what);

	if (!passed) {
		say("got", got);
		say("want", want);
	}
	return passed;
}

uint64_t option(const char *name)
{
	size_t n = strlen(name);
	uint64_t value = 0;

	for (const char *p = command_line; *p; p++) {
		if ((p != command_line && p[-1] != ' ') || memcmp(p, name, n) || p[n] != '=')
			continue;
		for (p += n + 1; *p >= '0' && *p <= '9'; p++)
			value = value * 10 + (uint64_t)(*p - '0');
		return value;
	}
	return 0;
}

/* ---- Instructions ---- */

uint64_t insn_psw;
uint64_t insn_gr[16];

SNIPPET(do_clp_pci, ".insn rrf,0xb9a00000,4,2,0,2");
SNIPPET(do_clp_base, ".insn rrf,0xb9a00000,4,2,0,0");
SNIPPET(do_clp_other, ".insn rrf,0xb9a00000,4,2,0,1");
SNIPPET(do_clp_immediate, ".insn rrf,0xb9a00000,4,2,8,0");
SNIPPET(do_pcilg, ".insn rre,0xb9d20000,4,2");
SNIPPET(do_pcilg_odd, ".insn rre,0xb9d20000,4,3");
SNIPPET(do_pcistg, ".insn rre,0xb9d00000,4,2");
SNIPPET(do_pcistg_odd, ".insn rre,0xb9d00000,4,3");
SNIPPET(do_rpcit, ".insn rre,0xb9d30000,4,2");
SNIPPET(do_rpcit_odd, ".insn rre,0xb9d30000,4,3");
SNIPPET(do_mpcifc, ".insn rxy,0xe300000000d0,2,0(4)");
SNIPPET(do_stpcifc, ".insn rxy,0xe300000000d4,2,0(4)");
SNIPPET(do_pcistb, ".insn rsy,0xeb00000000d0,2,3,0(4)");
SNIPPET(do_sic, ".insn rsy,0xeb00000000d1,2,3,0(4)");
SNIPPET(do_pcilgi, ".insn rre,0xb9d60000,4,2");
SNIPPET(do_pcistgi, ".insn rre,0xb9d40000,4,2");
SNIPPET(do_pcistbi, ".insn rsy,0xeb00000000d4,2,3,0(4)");
SNIPPET(do_pciwb, ".insn rre,0xb9d50000,0,0");
SNIPPET(do_chsc, ".insn rre,0xb25f0000,2,0");
SNIPPET(do_stcrw, ".insn s,0xb2390000,0(2)");
SNIPPET(do_tpi, ".insn s,0xb2360000,0(0)");

/*
 * Condition code 2 goes in, so that an instruction that sets none is seen to.
 * `status` is the register whose bits 32-39 have the status code.
 */
static struct answer execute(const void *code, uint64_t r2, uint64_t r3, uint64_t r4,
			     unsigned status)
{
	struct run r = run_init(PSW_64 | PSW_CC(2) | insn_psw, code);
	struct answer a = { 0 };

	r.gr[2] = r2;
	r.gr[3] = r3;
	r.gr[4] = r4;
	run(&r);
	for (unsigned i = 0; i < 16; i++)
		insn_gr[i] = r.gr[i];
	if (r.exit == RUN_PGM) {
		a.pgm = r.code & 0xff;
	} else if (r.exit == RUN_SVC) {
		a.cc = PSW_CC_GET(r.psw.mask);
		if (a.cc == 1)
			a.status = r.gr[status] >> 24 & 0xff;
	} else {
		bail("interruption of class %d in an instruction", (int)r.exit);
	}
	return a;
}

struct answer insn_clp(void *block)
{
	return execute(do_clp_pci, (uint64_t)block, 0, 0, 0);
}

struct answer insn_clp_processor(unsigned processor, void *block)
{
	return execute(processor == 0 ? do_clp_base :
		       processor == 2 ? do_clp_pci :
					do_clp_other,
		       (uint64_t)block, 0, 0, 0);
}

struct answer insn_clp_immediate(uint64_t command, uint64_t *mask)
{
	struct answer a = execute(do_clp_immediate, command, 0, 0, 0);

	*mask = insn_gr[4];
	return a;
}

struct answer insn_pcilg(uint64_t request, uint64_t offset, uint64_t *data)
{
	struct answer a = execute(do_pcilg, request, offset, 0x5555555555555555ull, 2);

	if (data)
		*data = insn_gr[4];
	return a;
}

struct answer insn_pcilg_odd(uint64_t request, uint64_t offset)
{
	return execute(do_pcilg_odd, offset, request, offset, 3);
}

struct answer insn_pcistg(uint64_t request, uint64_t offset, uint64_t data)
{
	return execute(do_pcistg, request, offset, data, 2);
}

struct answer insn_pcistg_odd(uint64_t request, uint64_t offset)
{
	return execute(do_pcistg_odd, offset, request, offset, 3);
}

struct answer insn_pcistb(uint64_t request, uint64_t offset, const void *from)
{
	return execute(do_pcistb, request, offset, (uint64_t)from, 2);
}

struct answer insn_mpcifc(uint64_t request, const void *fib)
{
	return execute(do_mpcifc, request, 0, (uint64_t)fib, 2);
}

struct answer insn_stpcifc(uint64_t request, void *fib)
{
	return execute(do_stpcifc, request, 0, (uint64_t)fib, 2);
}

struct answer insn_rpcit(uint32_t fh, uint64_t start, uint64_t length)
{
	return execute(do_rpcit, start, length, (uint64_t)fh << 32, 4);
}

struct answer insn_rpcit_odd(uint32_t fh, uint64_t start, uint64_t length)
{
	return execute(do_rpcit_odd, length, start, (uint64_t)fh << 32, 4);
}

struct answer insn_sic_raw(uint64_t r1, uint64_t r3, const void *block)
{
	return execute(do_sic, r1, r3, (uint64_t)block, 0);
}

struct answer insn_sic(unsigned mode, unsigned isc, const void *block)
{
	return insn_sic_raw(mode, (uint64_t)isc << 27, block);
}

unsigned insn_mio_busy;

static struct answer noted(struct answer a)
{
	insn_mio_busy += answered(a, CC(2));
	return a;
}

struct answer insn_pcilgi(uint64_t address, uint64_t length, uint64_t *data)
{
	struct answer a = noted(execute(do_pcilgi, address, length, 0, 3));

	if (data)
		*data = insn_gr[4];
	return a;
}

struct answer insn_pcistgi(uint64_t address, uint64_t length, uint64_t data)
{
	return noted(execute(do_pcistgi, address, length, data, 3));
}

struct answer insn_pcistbi(uint64_t address, uint64_t length, const void *from)
{
	return noted(execute(do_pcistbi, length, address, (uint64_t)from, 2));
}

struct answer insn_pciwb(void)
{
	return execute(do_pciwb, 0, 0, 0, 0);
}

struct answer insn_chsc(void *block)
{
	return execute(do_chsc, (uint64_t)block, 0, 0, 0);
}

struct answer insn_stcrw(uint32_t *crw)
{
	return execute(do_stcrw, (uint64_t)crw, 0, 0, 0);
}

/* With an operand of 0 the code comes into the lowcore. */
struct answer insn_tpi(uint32_t code[3])
{
	struct answer a = execute(do_tpi, 0, 0, 0, 0);
	volatile const uint32_t *stored = (volatile const uint32_t *)&lowcore()->at_0b8[0];

	for (unsigned i = 0; i < 3; i++)
		code[i] = stored[i];
	return a;
}

/* ---- CLP ---- */

uint8_t clp_block[8192] __attribute__((aligned(4096)));

struct clp_request *clp_prepare(enum clp_command command, unsigned room)
{
	struct clp_request *request = (void *)clp_block;

	memset(clp_block, 0, CLP_REQUEST + 512);
	request->header.length = CLP_REQUEST;
	request->header.code = command;
	CLP_RESPONSE(clp_header)->length = room;
	return request;
}

unsigned clp_call(void)
{
	struct answer a = insn_clp(clp_block);

	if (!answered(a, CC(0)))
		return 0x10000 | a.pgm << 8 | a.cc;
	return CLP_RESPONSE(clp_header)->code;
}

/* ---- Functions ---- */

unsigned functions_list(struct list_entry *entries, unsigned room)
{
	struct list_response *response = CLP_RESPONSE(list_response);
	unsigned found = 0;
	uint64_t token = 0;

	do {
		struct clp_request *request = clp_prepare(CLP_LIST, 8192 - 2 * CLP_REQUEST);
		unsigned n;

		request->token = token;
		if (clp_call() != CLP_OK)
			return found;
		n = (response->header.length - sizeof(*response)) / sizeof(*entries);
		for (unsigned i = 0; i < n; i++, found++)
			if (found < room)
				entries[found] = response->entries[i];
		token = response->token;
	} while (token);
	return found;
}

static void from_entry(struct function *f, const struct list_entry *entry)
{
	f->fid = entry->fid;
	f->fh = entry->fh;
	f->vendor = entry->vendor;
	f->device = entry->device;
	f->configured = entry->configured >> 31;
}

bool function_query(struct function *f)
{
	struct clp_request *request = clp_prepare(CLP_QUERY_FUNCTION, sizeof(f->query));

	request->fh = f->fh;
	if (clp_call() != CLP_OK)
		return false;
	f->query = *CLP_RESPONSE(function_response);
	request = clp_prepare(CLP_QUERY_GROUP, sizeof(f->group));
	request->pfgid = f->query.pfgid;
	if (clp_call() != CLP_OK)
		return false;
	f->group = *CLP_RESPONSE(group_response);
	return true;
}

static struct list_entry listed[64];

static bool find(struct function *f, const struct function * not, uint32_t wanted)
{
	unsigned n = functions_list(listed, ARRAY_SIZE(listed));

	if (n > ARRAY_SIZE(listed))
		n = ARRAY_SIZE(listed);
	for (unsigned i = 0; i < n; i++) {
		const struct list_entry *entry = &listed[i];

		if (!(entry->configured >> 31) || (not &&entry->fid == not ->fid) ||
		    (wanted && entry->fid != wanted))
			continue;
		memset(f, 0, sizeof(*f));
		from_entry(f, entry);
		return function_query(f);
	}
	return false;
}

struct function *function_find(void)
{
	static struct function f;

	if (!find(&f, NULL, (uint32_t)option("fid")))
		bail("no PCI function");
	return &f;
}

bool function_find_other(const struct function * not, struct function *f)
{
	return find(f, not, 0);
}

bool function_refresh_handle(struct function *f)
{
	unsigned n = functions_list(listed, ARRAY_SIZE(listed));

	for (unsigned i = 0; i < n && i < ARRAY_SIZE(listed); i++) {
		if (listed[i].fid == f->fid) {
			from_entry(f, &listed[i]);
			return true;
		}
	}
	return false;
}

unsigned function_set(struct function *f, unsigned operation, unsigned spaces)
{
	struct clp_request *request = clp_prepare(CLP_SET, sizeof(struct set_response));
	unsigned code;

	request->fh = f->fh;
	request->operation = operation;
	request->dma_spaces = spaces;
	code = clp_call();
	if (code == CLP_OK)
		f->fh = CLP_RESPONSE(set_response)->fh;
	return code;
}

void function_enable(struct function *f)
{
	unsigned code = function_set(f, CLP_ENABLE, 1);

	if (code != CLP_OK)
		bail("the function cannot be enabled: %04x", code);
}

void function_disable(struct function *f)
{
	unsigned code = function_set(f, CLP_DISABLE, 0);

	if (code != CLP_OK)
		bail("the function cannot be disabled: %04x", code);
}

void function_restart(struct function *f)
{
	function_disable(f);
	function_enable(f);
}

uint64_t swap(uint64_t value, unsigned length)
{
	return __builtin_bswap64(value) >> (64 - 8 * length);
}

uint32_t config_read(const struct function *f, unsigned offset, unsigned length)
{
	uint64_t data;

	if (!answered(insn_pcilg(place(f->fh, CONFIG_SPACE, length), offset, &data), CC(0)))
		return 0xffffffff;
	return swap(data, length);
}

void config_write(const struct function *f, unsigned offset, unsigned length, uint32_t value)
{
	insn_pcistg(place(f->fh, CONFIG_SPACE, length), offset, swap(value, length));
}

uint64_t bar_read(const struct function *f, unsigned bar, uint64_t offset, unsigned length)
{
	uint64_t data;

	if (!answered(insn_pcilg(place(f->fh, bar, length), offset, &data), CC(0)))
		return ~0ull;
	return swap(data, length);
}

void bar_write(const struct function *f, unsigned bar, uint64_t offset, unsigned length,
	       uint64_t value)
{
	insn_pcistg(place(f->fh, bar, length), offset, swap(value, length));
}

unsigned capability(const struct function *f, unsigned id)
{
	unsigned at = config_read(f, 0x34, 1);

	for (unsigned left = 48; at && left; left--) {
		if (config_read(f, at, 1) == id)
			return at;
		at = config_read(f, at + 1, 1);
	}
	return 0;
}

bool bar_exists(const struct function *f, unsigned bar)
{
	return f->query.bar_size[bar] != 0;
}

uint64_t bar_bytes(const struct function *f, unsigned bar)
{
	return f->query.bar_size[bar] ? 1ull << f->query.bar_size[bar] : 0;
}

/* ---- Function controls ---- */

struct answer modify(const struct function *f, unsigned operation, const struct fib *fib)
{
	static const struct fib empty;
	struct answer a;
	uint64_t begin = tod_clock();

	do {
		a = insn_mpcifc(control(f->fh, 0, operation), fib ? fib : &empty);
	} while (answered(a, CC(2)) && tod_clock() - begin < PATIENCE);
	return a;
}

struct fib stored_controls(const struct function *f)
{
	struct fib fib;

	memset(&fib, 0xff, sizeof(fib));
	insn_stpcifc(control(f->fh, 0, 0), &fib);
	return fib;
}

/* ---- Events ---- */

/* CHSC store event information; Linux, struct chsc_sei in drivers/s390/cio/chsc.c. */
struct sei {
	uint16_t length;
	uint16_t command;
	uint32_t reserved1;
	uint64_t types;
	uint16_t response_length;
	uint16_t code;
	uint32_t type;
	uint8_t flags;
	uint8_t reserved2[2];
	uint8_t content;
	uint8_t reserved3[52];
	uint32_t ccdf_reserved;
	uint32_t fh;
	uint32_t fid;
	uint32_t ett;
	uint64_t address;
	uint32_t ccdf_reserved2;
	uint16_t ccdf_reserved3;
	uint16_t pec;
} __attribute__((packed));

_Static_assert(offsetof(struct sei, ccdf_reserved) == 80, "layout");

static uint8_t chsc_page[4096] __attribute__((aligned(4096)));

struct event event_next(void)
{
	struct sei *sei = (void *)chsc_page;

	memset(chsc_page, 0, sizeof(*sei));
	sei->length = 16;
	sei->command = 0x000e;
	sei->types = BIT64(2);
	if (!answered(insn_chsc(sei), CC(0)) || sei->code != 1)
		return (struct event){ 0 };
	return (struct event){
		.content = sei->content,
		.fh = sei->fh,
		.fid = sei->fid,
		.address = sei->content == 1 ? sei->address : 0,
		.pec = sei->pec,
	};
}

struct event event_wait(void)
{
	uint64_t begin = tod_clock();
	struct event event;

	do {
		event = event_next();
	} while (!event.content && tod_clock() - begin < PATIENCE);
	return event;
}

void events_drop(void)
{
	uint32_t crw;

	while (event_next().content)
		;
	for (unsigned i = 0; i < 16 && answered(insn_stcrw(&crw), CC(0)); i++)
		;
}

/* ---- SCLP ---- */

#define SCLP_CONFIGURE 0x001a0001u
#define SCLP_DECONFIGURE 0x001b0001u
#define SCLP_READ_SCP_INFO 0x00020001u
#define ADAPTER_PCI 2

/* Linux, struct pci_cfg_sccb in drivers/s390/char/sclp_pci.c. */
struct pci_sccb {
	uint16_t length;
	uint8_t function;
	uint8_t control[3];
	uint16_t response;
	uint8_t type;
	uint8_t reserved1;
	uint16_t reserved2;
	uint32_t fid;
};

static uint8_t sccb_page[4096] __attribute__((aligned(4096)));

unsigned sclp_configure_type(uint8_t type, uint32_t fid, bool on, unsigned length)
{
	struct pci_sccb *sccb = (void *)sccb_page;

	memset(sccb_page, 0, 64);
	sccb->length = length;
	sccb->type = type;
	sccb->fid = fid;
	if (sclp(on ? SCLP_CONFIGURE : SCLP_DECONFIGURE, sccb))
		return 0x10000;
	return sccb->response;
}

/*
 * Read SCP information, byte 135; Linux, sclp_early_facilities_detect() in
 * drivers/s390/char/sclp_early.c: it counts if the CPU entries begin behind it.
 */
bool sclp_directed(void)
{
	memset(sccb_page, 0, sizeof(sccb_page));
	*(uint16_t *)sccb_page = sizeof(sccb_page);
	if (sclp(SCLP_READ_SCP_INFO, sccb_page))
		return false;
	return *(uint16_t *)(sccb_page + 18) > 135 && sccb_page[135] & 0x80;
}

unsigned sclp_configure(uint32_t fid, bool on)
{
	return sclp_configure_type(ADAPTER_PCI, fid, on, sizeof(struct pci_sccb));
}
