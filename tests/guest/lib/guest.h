/* SPDX-License-Identifier: MIT */
/*
 * Runtime of the freestanding s390x guests.
 *
 * A guest is one program: void guest_main(void) checks things and reports each
 * with ok() or check_eq() as a line of TAP (Test Anything Protocol) on the SCLP
 * console; then the runtime prints the plan and powers the machine off.
 *
 * The heart is run(): it loads all general and access registers and a PSW, and
 * comes back with everything that the next interruption stored. Code under test
 * is a SNIPPET, assembled apart; it ends in SVC 255, so that "nothing happened"
 * is seen as that. So a test sets the state, runs an instruction, and looks at
 * code, instruction length, translation-exception identification, old PSW and
 * registers. The runtime itself runs with DAT off, in the supervisor state, key
 * 0, disabled; a test changes control registers as it likes, and restores them.
 *
 * Only CPU 0 may print.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096ull
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT64(n) (1ull << (63 - (n)))

/* PSW mask, z/Architecture format. */
#define PSW_PER		BIT64(1)
#define PSW_DAT		BIT64(5)
#define PSW_IO		BIT64(6)
#define PSW_EXT		BIT64(7)
#define PSW_KEY(k)	((uint64_t)(k) << 52)
#define PSW_MCCK	BIT64(13)
#define PSW_WAIT	BIT64(14)
#define PSW_PROBLEM	BIT64(15)
#define PSW_PRIMARY	0ull
#define PSW_AR		BIT64(17)
#define PSW_SECONDARY	BIT64(16)
#define PSW_HOME	(BIT64(16) | BIT64(17))
#define PSW_CC(c)	((uint64_t)(c) << 44)
#define PSW_CC_GET(m)	((unsigned)((m) >> 44) & 3)
#define PSW_PM(m)	((uint64_t)(m) << 40)
#define PSW_EA		BIT64(31)
#define PSW_BA		BIT64(32)
#define PSW_64		(PSW_EA | PSW_BA)

/* Program-interruption codes. */
enum {
	PGM_OPERATION = 0x01,
	PGM_PRIVILEGED = 0x02,
	PGM_EXECUTE = 0x03,
	PGM_PROTECTION = 0x04,
	PGM_ADDRESSING = 0x05,
	PGM_SPECIFICATION = 0x06,
	PGM_DATA = 0x07,
	PGM_FIXED_OVERFLOW = 0x08,
	PGM_FIXED_DIVIDE = 0x09,
	PGM_DECIMAL_OVERFLOW = 0x0a,
	PGM_DECIMAL_DIVIDE = 0x0b,
	PGM_SEGMENT = 0x10,
	PGM_PAGE = 0x11,
	PGM_TRANSLATION_SPEC = 0x12,
	PGM_SPECIAL_OPERATION = 0x13,
	PGM_SPACE_SWITCH = 0x1c,
	PGM_PRIMARY_AUTHORITY = 0x24,
	PGM_SECONDARY_AUTHORITY = 0x25,
	PGM_ALET_SPEC = 0x28,
	PGM_ALEN_TRANSLATION = 0x29,
	PGM_ALE_SEQUENCE = 0x2a,
	PGM_ASTE_VALIDITY = 0x2b,
	PGM_ASTE_SEQUENCE = 0x2c,
	PGM_EXTENDED_AUTHORITY = 0x2d,
	PGM_ASCE_TYPE = 0x38,
	PGM_REGION1 = 0x39,
	PGM_REGION2 = 0x3a,
	PGM_REGION3 = 0x3b,
	PGM_MONITOR = 0x40,
	PGM_PER = 0x80,
};

/* External-interruption codes. */
enum {
	EXT_EMERGENCY = 0x1201,
	EXT_CALL = 0x1202,
	EXT_CLOCK_COMPARATOR = 0x1004,
	EXT_CPU_TIMER = 0x1005,
	EXT_SERVICE_SIGNAL = 0x2401,
};

/* SIGP orders. */
enum {
	SIGP_SENSE = 0x1,
	SIGP_EXTERNAL_CALL = 0x2,
	SIGP_EMERGENCY = 0x3,
	SIGP_START = 0x4,
	SIGP_STOP = 0x5,
	SIGP_RESTART = 0x6,
	SIGP_STOP_STORE = 0x9,
	SIGP_INITIAL_RESET = 0xb,
	SIGP_CPU_RESET = 0xc,
	SIGP_SET_PREFIX = 0xd,
	SIGP_STORE_STATUS = 0xe,
	SIGP_SET_ARCH = 0x12,
	SIGP_COND_EMERGENCY = 0x13,
	SIGP_SENSE_RUNNING = 0x15,
};

struct psw {
	uint64_t mask;
	uint64_t addr;
};

struct lowcore {
	uint8_t at_000[0x80];
	uint32_t ext_params;
	uint16_t ext_cpu;
	uint16_t ext_code;
	uint16_t svc_ilc;
	uint16_t svc_code;
	uint16_t pgm_ilc;
	uint16_t pgm_code;
	uint32_t dxc;
	uint16_t monitor_class;
	uint8_t per_code;
	uint8_t per_atmid;
	uint64_t per_address;
	uint8_t exc_access_id;
	uint8_t per_access_id;
	uint8_t op_access_id;
	uint8_t arch_mode;
	uint8_t at_0a4[4];
	uint64_t teid;
	uint64_t monitor_code;
	uint8_t at_0b8[0x110 - 0xb8];
	uint64_t breaking_event;
	uint8_t at_118[8];
	struct psw restart_old;
	struct psw ext_old;
	struct psw svc_old;
	struct psw pgm_old;
	struct psw mcck_old;
	struct psw io_old;
	uint8_t at_180[0x20];
	struct psw restart_new;
	struct psw ext_new;
	struct psw svc_new;
	struct psw pgm_new;
	struct psw mcck_new;
	struct psw io_new;
	uint8_t at_200[0x200];
	/* From here to 0x500 it is this runtime's; start.S knows the offsets. */
	uint64_t save_gr[16];
	uint32_t save_ar[16];
	uint64_t run;
	uint64_t run_sp;
	struct psw run_psw;
	uint64_t boot_sp;
	uint64_t boot_fn;
	uint64_t boot_arg;
	uint64_t panic_sp;
	uint8_t at_500[0x1200 - 0x500];
	/* Store-status areas. */
	uint64_t status_fpr[16];
	uint64_t status_gr[16];
	struct psw status_psw;
	uint8_t at_1310[8];
	uint32_t status_prefix;
	uint32_t status_fpc;
	uint8_t at_1320[4];
	uint32_t status_todpr;
	uint64_t status_cpu_timer;
	uint64_t status_clock_comparator;
	uint8_t at_1338[8];
	uint32_t status_ar[16];
	uint64_t status_cr[16];
	uint8_t at_1400[0xc00];
};

_Static_assert(offsetof(struct lowcore, teid) == 0xa8, "teid");
_Static_assert(offsetof(struct lowcore, restart_old) == 0x120, "old PSWs");
_Static_assert(offsetof(struct lowcore, restart_new) == 0x1a0, "new PSWs");
_Static_assert(offsetof(struct lowcore, save_gr) == 0x400, "save area");
_Static_assert(offsetof(struct lowcore, panic_sp) == 0x4f8, "panic stack");
_Static_assert(offsetof(struct lowcore, status_cr) == 0x1380, "status");
_Static_assert(sizeof(struct lowcore) == 0x2000, "two pages");

/* The lowcore of the CPU that asks: real address 0. */
static inline volatile struct lowcore *lowcore(void)
{
	volatile struct lowcore *lc = NULL;

	asm("" : "+a"(lc));
	return lc;
}

enum run_exit { RUN_RESTART, RUN_EXT, RUN_SVC, RUN_PGM, RUN_MCCK, RUN_IO };

/* start.S knows the offsets of gr, psw and ar. */
struct run {
	/* In: the state to start from. Out: the state that was interrupted. */
	uint64_t gr[16];
	struct psw psw;
	uint32_t ar[16];
	/* Out. */
	enum run_exit exit;
	uint16_t code;		/* program, external or SVC code */
	uint8_t ilc;		/* instruction length in bytes, PGM and SVC */
	uint32_t dxc;
	uint64_t teid;
	uint8_t exc_access_id;
	uint8_t op_access_id;
	uint8_t per_code;
	uint8_t per_atmid;
	uint64_t per_address;
	uint8_t per_access_id;
	uint16_t monitor_class;
	uint64_t monitor_code;
	uint64_t breaking_event;
	uint32_t ext_params;
	uint16_t ext_cpu;
};

_Static_assert(offsetof(struct run, psw) == 0x80, "psw");
_Static_assert(offsetof(struct run, ar) == 0x90, "ar");

#define DONE 255	/* SVC at the end of each snippet */

/*
 * Code under test, for run(): name is its first instruction, name_end the SVC
 * after its last.
 */
#define SNIPPET(name, code)                                                    \
	extern char name[], name##_end[];                                      \
	asm(".pushsection .snippets,\"ax\"\n"                                  \
	    ".machine push\n.machine \"z16\"\n"                                \
	    ".balign 8\n" #name ":\n" code "\n" #name "_end:\n\tsvc 255\n"     \
	    ".machine pop\n.popsection")

void run(struct run *r);

/* run() in the supervisor state, DAT off, 64-bit, disabled, from code. */
void run_at(struct run *r, const void *code);

/* A zeroed state with this PSW. */
struct run run_init(uint64_t mask, const void *code);

/* Did the snippet come to its end? Reports it as a test of that name. */
bool expect_done(const struct run *r, const char *name, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Did the instruction at insn end with this program interruption, with its own
 * length as instruction-length code, and an old PSW that points at the
 * instruction when nullified, behind it otherwise? One test.
 */
enum ending { NULLIFIED, SUPPRESSED };
bool expect_pgm(const struct run *r, unsigned code, const void *insn,
		enum ending ending, const char *name, ...)
	__attribute__((format(printf, 5, 6)));

/* TAP */
bool ok(bool passed, const char *name, ...) __attribute__((format(printf, 2, 3)));
bool check_eq(uint64_t got, uint64_t want, const char *name, ...)
	__attribute__((format(printf, 3, 4)));
void skip(const char *name, const char *why);
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bail(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void power_off(void) __attribute__((noreturn));
void panic(uint64_t code) __attribute__((noreturn));

/*
 * One SCLP command, to its end: the condition code of SERVC; the answer is in the
 * control block, which is a page or lies in one.
 */
unsigned sclp(uint32_t command, void *sccb);

/* Is facility bit n installed (STFLE)? */
bool facility(unsigned n);

/* Zeroed frames that nobody gives back; size and alignment in bytes. */
void *frames(uint64_t size, uint64_t align);
uint64_t memory_size(void);

/* Other CPUs. */
#define MAX_CPUS 8
unsigned cpu_count(void);
/* Orders to a CPU; wait out cc 2. Return the condition code. */
unsigned sigp(unsigned cpu, unsigned order, uint64_t parameter, uint64_t *status);
unsigned sigp_once(unsigned cpu, unsigned order, uint64_t parameter,
		   uint64_t *status);
/* Start a stopped CPU in fn(arg); when fn returns, the CPU stops. */
void cpu_start(unsigned cpu, void (*fn)(void *), void *arg);
/* Wait until it has stopped. */
void cpu_join(unsigned cpu);
struct lowcore *cpu_lowcore(unsigned cpu);

void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#define ctl_load(n, value)                                                     \
	do {                                                                   \
		uint64_t ctl_value = (value);                                  \
		asm volatile("lctlg %1,%1,%0"                                  \
			     : : "Q"(ctl_value), "i"(n) : "memory");           \
	} while (0)

#define ctl_store(n)                                                           \
	({                                                                     \
		uint64_t ctl_value;                                            \
		asm volatile("stctg %1,%1,%0"                                  \
			     : "=Q"(ctl_value) : "i"(n));                      \
		ctl_value;                                                     \
	})

static inline uint64_t tod_clock(void)
{
	uint64_t t;

	asm volatile("stck %0" : "=Q"(t) : : "cc");
	return t;
}

#define TOD_MICROSECOND (1ull << 12)

static inline void barrier(void)
{
	asm volatile("" : : : "memory");
}

static inline void serialize(void)
{
	asm volatile("bcr 15,0" : : : "memory");
}

extern char command_line[];

/* The guest itself. */
void guest_main(void);

#endif
