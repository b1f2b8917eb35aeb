/* SPDX-License-Identifier: MIT */
/*
 * What the programs of the zPCI conformance suite share.
 *
 * Each program is a guest of its own (see ../lib/guest.h) that looks for PCI
 * functions with CLP and checks one part of the architecture. A check has a name
 * (clp.list.small), a grade, and an expectation in words:
 *
 *	ok 3 - clp.list.small [Q] room below 48 bytes: response 0060
 *
 * The grade is that of the row in docs/zpci.md which the check shows: L what Linux
 * requires, Q what QEMU shows, C conjecture. A check that wants something of the
 * machine that it does not have is skipped ("not here"), and says what.
 *
 * The PCI instructions are executed as code under test, so that a program
 * interruption is an answer like a condition code: struct answer is either.
 *
 * Sources: Linux, arch/s390/include/asm/clp.h, pci_clp.h, pci_insn.h, pci_dma.h,
 * drivers/s390/cio/chsc.h (layouts); arch/s390/pci/pci_insn.c (the
 * instructions' operands).
 */
#ifndef ZPCI_H
#define ZPCI_H

#include "lib/guest.h"

#define PGM_OPERAND 0x15

/* ---- Checks ---- */

bool check(bool passed, char grade, const char *id, const char *what);
bool check_value(uint64_t got, uint64_t want, char grade, const char *id, const char *what);
void not_here(char grade, const char *id, const char *what, const char *why);
/* None of the program's checks from here on. */
void rest_not_here(const char *why);

/* The value of "NAME=VALUE" on the command line, 0 if there is none. */
uint64_t option(const char *name);

/* ---- How an instruction ended ---- */

/* A program interruption, or a condition code; with 1 goes a status code. */
struct answer {
	uint16_t pgm;
	uint8_t cc;
	uint8_t status;
};

#define CC(n) ((struct answer){ .cc = (n) })
#define STATUS(s) ((struct answer){ .cc = 1, .status = (s) })
#define PGM(code) ((struct answer){ .pgm = (code) })

bool check_answer(struct answer got, struct answer want, char grade, const char *id,
		  const char *what);
bool answered(struct answer got, struct answer want);

/* How instructions are executed: PSW bits besides PSW_64, 0 as a rule. */
extern uint64_t insn_psw;
/* The general registers after the last one. */
extern uint64_t insn_gr[16];

struct answer insn_clp(void *block);
struct answer insn_clp_processor(unsigned processor, void *block);
struct answer insn_clp_immediate(uint64_t command, uint64_t *mask);

/* A load or store designates its place with a pair of registers. */
static inline uint64_t place(uint32_t fh, unsigned space, unsigned length)
{
	return (uint64_t)fh << 32 | (uint64_t)space << 16 | length;
}

#define CONFIG_SPACE 15

struct answer insn_pcilg(uint64_t request, uint64_t offset, uint64_t *data);
struct answer insn_pcistg(uint64_t request, uint64_t offset, uint64_t data);
struct answer insn_pcistb(uint64_t request, uint64_t offset, const void *from);
/* The same with an odd register for the pair. */
struct answer insn_pcilg_odd(uint64_t request, uint64_t offset);
struct answer insn_pcistg_odd(uint64_t request, uint64_t offset);

struct fib;
static inline uint64_t control(uint32_t fh, unsigned dma_space, unsigned operation)
{
	return (uint64_t)fh << 32 | (uint64_t)dma_space << 16 | operation;
}

struct answer insn_mpcifc(uint64_t request, const void *fib);
struct answer insn_stpcifc(uint64_t request, void *fib);
struct answer insn_rpcit(uint32_t fh, uint64_t start, uint64_t length);
struct answer insn_rpcit_odd(uint32_t fh, uint64_t start, uint64_t length);
/* SIC leaves the condition code: it was 2 before. */
struct answer insn_sic(unsigned mode, unsigned isc, const void *block);
/* With all of R1 and R3. */
struct answer insn_sic_raw(uint64_t r1, uint64_t r3, const void *block);

/* With addresses, where MIO instructions are used. */
struct answer insn_pcilgi(uint64_t address, uint64_t length, uint64_t *data);
struct answer insn_pcistgi(uint64_t address, uint64_t length, uint64_t data);
struct answer insn_pcistbi(uint64_t address, uint64_t length, const void *from);
struct answer insn_pciwb(void);
/* How often they have answered with condition code 2. */
extern unsigned insn_mio_busy;

struct answer insn_chsc(void *block);
struct answer insn_stcrw(uint32_t *crw);
struct answer insn_tpi(uint32_t code[3]);

/* ---- CLP ---- */

enum clp_command {
	CLP_CHARACTERISTICS = 1,
	CLP_LIST = 2,
	CLP_QUERY_FUNCTION = 3,
	CLP_QUERY_GROUP = 4,
	CLP_SET = 5,
};

enum clp_operation {
	CLP_ENABLE = 0,
	CLP_DISABLE = 1,
	CLP_ENABLE_MIO = 2,
	CLP_DISABLE_MIO = 3,
};

#define CLP_OK 0x10
#define CLP_REQUEST 32

struct clp_header {
	uint16_t length;
	uint16_t code; /* command of a request, response code of a response */
	uint32_t format;
	uint64_t reserved;
};

struct list_entry {
	uint16_t device;
	uint16_t vendor;
	uint32_t configured;
	uint32_t fid;
	uint32_t fh;
};

struct list_response {
	struct clp_header header;
	uint64_t token;
	uint32_t reserved;
	uint16_t functions;
	uint8_t flags;
	uint8_t entry_size;
	struct list_entry entries[];
};

struct mio_address {
	uint64_t wb;
	uint64_t wt;
};

struct mio {
	uint32_t valid; /* leftmost 6 bits */
	uint32_t reserved1;
	struct mio_address bar[6];
	uint32_t reserved2[6];
};

struct function_response {
	struct clp_header header;
	uint16_t vfn;
	uint8_t flags;
	uint8_t pfgid;
	uint32_t fid;
	uint8_t bar_size[6];
	uint16_t pchid;
	uint32_t bar[6]; /* little-endian */
	uint8_t pfip[4];
	uint16_t reserved1;
	uint8_t fmb_length;
	uint8_t pft;
	uint64_t sdma;
	uint64_t edma;
	uint32_t reserved2[11];
	uint32_t uid;
	uint8_t util_string[64];
	uint32_t reserved3[16];
	struct mio mio;
};

#define FUNCTION_PHYSICAL 0x08
#define FUNCTION_MIO 0x02
#define FUNCTION_UTIL_STRING 0x01

struct group_response {
	struct clp_header header;
	uint16_t interrupts;
	uint8_t version;
	uint8_t flags;
	uint16_t store_block_max;
	uint16_t update_interval;
	uint8_t designations;
	uint8_t reserved1;
	uint16_t maxfaal;
	uint16_t dnoi;
	uint16_t maxcpu;
	uint64_t dma_mask;
	uint64_t msi_address;
	uint64_t reserved2[2];
};

#define GROUP_REFRESH 0x01
#define GROUP_FRAME 0x02
#define GROUP_RELAXED_TRANSLATION 0x20

struct set_response {
	struct clp_header header;
	uint32_t fh;
	uint32_t reserved1;
	uint64_t reserved2;
	struct mio mio;
};

_Static_assert(sizeof(struct function_response) == 0x180, "layout");
_Static_assert(sizeof(struct group_response) == 64, "layout");

/* A block for CLP: a request of 32 bytes and the response behind it. */
struct clp_request {
	struct clp_header header;
	union {
		uint64_t token;
		struct {
			uint32_t fh;
			uint16_t reserved1;
			uint8_t operation;
			uint8_t dma_spaces;
		};
		uint32_t pfgid;
	};
	uint64_t reserved2;
};

_Static_assert(sizeof(struct clp_request) == CLP_REQUEST, "layout");

/* The one block that the functions below use; two pages. */
extern uint8_t clp_block[8192];
/* Zero it and fill in the headers of a request with room for a response. */
struct clp_request *clp_prepare(enum clp_command command, unsigned room);
#define CLP_RESPONSE(type) ((struct type *)(clp_block + CLP_REQUEST))
/* The response code of what was prepared, or 0x10000 and more: it has none. */
unsigned clp_call(void);

/* ---- Functions ---- */

struct function {
	uint32_t fid;
	uint32_t fh;
	uint16_t vendor;
	uint16_t device;
	bool configured;
	struct function_response query; /* of functions_find() */
	struct group_response group;
};

/* The functions there are, in the order of the list; at most `room` are told. */
unsigned functions_list(struct list_entry *entries, unsigned room);
/* The function with the option fid=, or the first that is configured. */
struct function *function_find(void);
/* Another one; false if there is none. */
bool function_find_other(const struct function * not, struct function *f);
bool function_query(struct function *f);
/* CLP set; the handle follows. The response code. */
unsigned function_set(struct function *f, unsigned operation, unsigned spaces);
void function_enable(struct function *f); /* bails when that fails */
void function_disable(struct function *f);
/* Disable and enable. */
void function_restart(struct function *f);
/* What the list says of its handle and state; false if it is not there. */
bool function_refresh_handle(struct function *f);

/* Config space and BARs, with values as a little-endian device means them. */
uint32_t config_read(const struct function *f, unsigned offset, unsigned length);
void config_write(const struct function *f, unsigned offset, unsigned length, uint32_t value);
uint64_t bar_read(const struct function *f, unsigned bar, uint64_t offset, unsigned length);
void bar_write(const struct function *f, unsigned bar, uint64_t offset, unsigned length,
	       uint64_t value);
uint64_t swap(uint64_t value, unsigned length);
/* Offset of a capability, 0 if there is none. */
unsigned capability(const struct function *f, unsigned id);
bool bar_exists(const struct function *f, unsigned bar);
uint64_t bar_bytes(const struct function *f, unsigned bar);

#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4

/* ---- Function controls ---- */

struct fib {
	uint8_t format;
	uint8_t reserved1[7];
	uint8_t controls;
	uint8_t reserved2[7];
	uint64_t pba;
	uint64_t pal;
	uint64_t iota;
	uint32_t interruption;
	uint32_t reserved3;
	uint64_t aibv;
	uint64_t aisb;
	uint64_t fmb_address;
	uint32_t reserved4;
	uint32_t gd;
} __attribute__((aligned(8)));

_Static_assert(sizeof(struct fib) == 80, "layout");

#define FIB_ENABLED 0x80
#define FIB_ERROR 0x40
#define FIB_BLOCKED 0x20
#define FIB_DMA_REGISTERED 0x10

enum fib_operation {
	REGISTER_INTERRUPTIONS = 2,
	DEREGISTER_INTERRUPTIONS = 3,
	REGISTER_TRANSLATION = 4,
	DEREGISTER_TRANSLATION = 5,
	REREGISTER_TRANSLATION = 6,
	RESET_ERROR = 7,
	RESET_BLOCK = 9,
	SET_MEASUREMENT = 10,
	REGISTER_DIRECTED = 16,
	DEREGISTER_DIRECTED = 17,
};

#define FIB_ISC(isc) ((uint32_t)(isc) << 28)
#define FIB_NOI(noi) ((uint32_t)(noi) << 16)
#define FIB_AIBVO(offset) ((uint32_t)(offset) << 8)
#define FIB_SUMMARY 0x80u
#define FIB_AISBO(offset) ((uint32_t)(offset))

/* MPCIFC, repeated while it answers condition code 2. */
struct answer modify(const struct function *f, unsigned operation, const struct fib *fib);
/* What STPCIFC says; all ones in `controls` if it says nothing. */
struct fib stored_controls(const struct function *f);

/* ---- Events ---- */

struct event {
	uint8_t content; /* 1 error, 2 availability; 0: there was none */
	uint32_t fh;
	uint32_t fid;
	uint64_t address;
	uint16_t pec;
};

/* The next event; content 0 if there is none. */
struct event event_next(void);
/* The next one, waited for with patience. */
struct event event_wait(void);
void events_drop(void);

/* ---- SCLP ---- */

/* Configure or deconfigure the function: the response code. */
unsigned sclp_configure(uint32_t fid, bool on);
/* Is directed delivery of interruptions announced? */
bool sclp_directed(void);
unsigned sclp_configure_type(uint8_t type, uint32_t fid, bool on, unsigned length);

/* ---- Waiting ---- */

extern uint64_t patience_seconds;

#define SECOND (1000000 * TOD_MICROSECOND)
/*
 * For what has to come, however busy the host is: less when a check has failed, as many do
 * on some machines, each after its wait.
 */
#define PATIENCE (patience_seconds * SECOND)
/* For what must not come. */
#define QUIET (20000 * TOD_MICROSECOND)
/* Until the condition holds, at most so long; does it hold? */
#define wait_for(condition, limit) \
	({ \
		uint64_t wait_begin = tod_clock(); \
		while (!(condition) && tod_clock() - wait_begin < (limit)) \
			barrier(); \
		(bool)(condition); \
	})

#endif
