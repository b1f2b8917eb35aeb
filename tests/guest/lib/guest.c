/* SPDX-License-Identifier: MIT */
/*
 * Runtime of the freestanding guests: lowcores, SCLP console, TAP, run(), and
 * starting further CPUs. What each function promises is in guest.h.
 *
 * Sources: Principles of Operation (assigned storage, SIGP, interruptions);
 * for SCLP, which has no public specification, the Linux driver
 * (drivers/s390/char/sclp.h) and QEMU's include/hw/s390x/sclp.h.
 */
#include "guest.h"

#define SCLP_READ_SCP_INFO	0x00020001u
#define SCLP_WRITE_EVENT_DATA	0x00760005u
#define SCLP_WRITE_EVENT_MASK	0x00780005u
#define EVENT_VT220		0x1a
#define EVENT_MASK(type)	(1u << (32 - (type)))
#define CR0_SERVICE_SIGNAL	BIT64(54)

struct sccb_header {
	uint16_t length;
	uint8_t function;
	uint8_t control[3];
	uint16_t response;
};

struct sccb_mask {
	struct sccb_header header;
	uint16_t reserved;
	uint16_t mask_length;
	uint32_t receive;
	uint32_t send;
	uint32_t sclp_receive;
	uint32_t sclp_send;
};

struct sccb_event {
	struct sccb_header header;
	uint16_t length;
	uint8_t type;
	uint8_t flags;
	uint16_t reserved;
	char text[];
};

struct sccb_scp_info {
	struct sccb_header header;
	uint16_t increments;
	uint8_t increment_mib;
	uint8_t at_00b[5];
	uint16_t cpus;
	uint8_t rest[4096 - 18];
};

extern char _end[];
extern char entry_restart[], entry_ext[], entry_svc[], entry_pgm[],
	entry_mcck[], entry_io[], smp_entry[];

extern long run_asm(struct run *r);
void guest_start(void);
void guest_unexpected(long class);
void smp_return(void);

static uint8_t sccb_page[4096] __attribute__((aligned(4096)));
static struct lowcore lowcores[MAX_CPUS] __attribute__((aligned(8192)));
static uint8_t stacks[MAX_CPUS][16384] __attribute__((aligned(16)));
static uint8_t panic_stack[8192] __attribute__((aligned(16)));
static uint64_t next_frame;
static uint64_t memory_bytes;
static unsigned cpus;
static unsigned tests_done;
static unsigned tests_failed;

void *memset(void *p, int c, size_t n)
{
	char *d = p;

	while (n--) {
		*d++ = (char)c;
		barrier();
	}
	return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
	char *to = d;
	const char *from = s;

	while (n--) {
		*to++ = *from++;
		barrier();
	}
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* Formatting: %s %c %d %u %x with l, field width and 0; %%. */

static char *format_number(char *p, char *end, uint64_t v, unsigned base,
			   int width, char fill)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (width-- > n && p < end)
		*p++ = fill;
	while (n && p < end)
		*p++ = digits[--n];
	return p;
}

static char *format(char *p, char *end, const char *f, va_list ap)
{
	for (; *f && p < end; f++) {
		bool is_long = false;
		char fill = ' ';
		int width = 0;
		const char *s;
		int64_t v;

		if (*f != '%') {
			*p++ = *f;
			continue;
		}
		f++;
		if (*f == '0')
			fill = *f++;
		while (*f >= '0' && *f <= '9')
			width = width * 10 + *f++ - '0';
		while (*f == 'l') {
			is_long = true;
			f++;
		}
		switch (*f) {
		case 's':
			for (s = va_arg(ap, const char *); *s && p < end;)
				*p++ = *s++;
			break;
		case 'c':
			*p++ = (char)va_arg(ap, int);
			break;
		case 'd':
			v = is_long ? va_arg(ap, long) : va_arg(ap, int);
			if (v < 0) {
				*p++ = '-';
				v = -v;
			}
			p = format_number(p, end, (uint64_t)v, 10, width, fill);
			break;
		case 'u':
		case 'x':
			v = is_long ? va_arg(ap, unsigned long) :
				      va_arg(ap, unsigned);
			p = format_number(p, end, (uint64_t)v,
					  *f == 'x' ? 16 : 10, width, fill);
			break;
		default:
			*p++ = *f;
		}
	}
	return p;
}

/*
 * One SCLP command. The interruption that ends it is taken here, so that none
 * stays pending for a test to stumble over.
 */
unsigned sclp(uint32_t command, void *sccb)
{
	struct run r = run_init(PSW_64 | PSW_WAIT | PSW_EXT, NULL);
	uint64_t cr0 = ctl_store(0);
	unsigned cc;

	do {
		asm volatile(".insn rre,0xb2200000,%1,%2\n"
			     "ipm %0\n"
			     "srl %0,28"
			     : "=d"(cc)
			     : "d"(command), "a"(sccb)
			     : "cc", "memory");
	} while (cc == 2);
	if (cc != 0)
		return cc;

	ctl_load(0, CR0_SERVICE_SIGNAL);
	run(&r);
	ctl_load(0, cr0);
	if (r.exit != RUN_EXT || r.code != EXT_SERVICE_SIGNAL)
		panic(0x5c1b);
	return 0;
}

static void console_init(void)
{
	struct sccb_mask *m = (void *)sccb_page;

	memset(m, 0, sizeof(*m));
	m->header.length = sizeof(*m);
	m->mask_length = sizeof(m->receive);
	m->send = EVENT_MASK(EVENT_VT220);
	sclp(SCLP_WRITE_EVENT_MASK, m);
}

static void console_write(const char *text, size_t n)
{
	struct sccb_event *e = (void *)sccb_page;

	memset(e, 0, sizeof(*e));
	e->header.length = (uint16_t)(sizeof(*e) + n);
	e->length = (uint16_t)(sizeof(*e) - sizeof(e->header) + n);
	e->type = EVENT_VT220;
	memcpy(e->text, text, n);
	sclp(SCLP_WRITE_EVENT_DATA, e);
}

static void console_vprint(const char *f, va_list ap)
{
	char line[512];

	console_write(line, (size_t)(format(line, line + sizeof(line), f, ap) -
				     line));
}

void print(const char *f, ...)
{
	va_list ap;

	va_start(ap, f);
	console_vprint(f, ap);
	va_end(ap);
}

static void result(bool passed, const char *f, va_list ap)
{
	char line[400];
	char *end = format(line, line + sizeof(line) - 1, f, ap);

	*end = 0;
	tests_done++;
	tests_failed += !passed;
	print("%s %u - %s\n", passed ? "ok" : "not ok", tests_done, line);
}

bool ok(bool passed, const char *f, ...)
{
	va_list ap;

	va_start(ap, f);
	result(passed, f, ap);
	va_end(ap);
	return passed;
}

bool check_eq(uint64_t got, uint64_t want, const char *f, ...)
{
	va_list ap;

	va_start(ap, f);
	result(got == want, f, ap);
	va_end(ap);
	if (got != want)
		note("got 0x%lx, want 0x%lx", got, want);
	return got == want;
}

void skip(const char *name, const char *why)
{
	tests_done++;
	print("ok %u - %s # SKIP %s\n", tests_done, name, why);
}

void note(const char *f, ...)
{
	char line[400];
	va_list ap;
	char *end;

	va_start(ap, f);
	end = format(line, line + sizeof(line) - 1, f, ap);
	va_end(ap);
	*end = 0;
	print("#   %s\n", line);
}

void bail(const char *f, ...)
{
	char line[400];
	va_list ap;
	char *end;

	va_start(ap, f);
	end = format(line, line + sizeof(line) - 1, f, ap);
	va_end(ap);
	*end = 0;
	print("Bail out! %s\n", line);
	panic(0xbad);
}

/* run() */

struct run run_init(uint64_t mask, const void *code)
{
	struct run r;

	memset(&r, 0, sizeof(r));
	r.psw.mask = mask;
	r.psw.addr = (uint64_t)code;
	return r;
}

void run_at(struct run *r, const void *code)
{
	r->psw.mask = PSW_64;
	r->psw.addr = (uint64_t)code;
	run(r);
}

void run(struct run *r)
{
	volatile struct lowcore *lc = lowcore();
	unsigned i;

	/* What a field holds that an interruption should have stored, but did not. */
	lc->teid = 0xdeadbeefdeadbeefull;
	lc->exc_access_id = 0xee;
	lc->op_access_id = 0xee;
	lc->dxc = 0xdeadbeef;
	lc->per_code = 0;
	lc->per_atmid = 0;
	lc->per_address = 0;
	lc->per_access_id = 0;
	lc->ext_params = 0;

	r->exit = (enum run_exit)run_asm(r);
	lc->run = 0;

	for (i = 0; i < 16; i++) {
		r->gr[i] = lc->save_gr[i];
		r->ar[i] = lc->save_ar[i];
	}
	r->code = 0;
	r->ilc = 0;
	switch (r->exit) {
	case RUN_RESTART:
		r->psw.mask = lc->restart_old.mask;
		r->psw.addr = lc->restart_old.addr;
		break;
	case RUN_EXT:
		r->psw.mask = lc->ext_old.mask;
		r->psw.addr = lc->ext_old.addr;
		r->code = lc->ext_code;
		r->ext_cpu = lc->ext_cpu;
		r->ext_params = lc->ext_params;
		break;
	case RUN_SVC:
		r->psw.mask = lc->svc_old.mask;
		r->psw.addr = lc->svc_old.addr;
		r->code = lc->svc_code;
		r->ilc = (uint8_t)lc->svc_ilc;
		break;
	case RUN_PGM:
		r->psw.mask = lc->pgm_old.mask;
		r->psw.addr = lc->pgm_old.addr;
		r->code = lc->pgm_code;
		r->ilc = (uint8_t)lc->pgm_ilc;
		break;
	case RUN_MCCK:
		r->psw.mask = lc->mcck_old.mask;
		r->psw.addr = lc->mcck_old.addr;
		break;
	case RUN_IO:
		r->psw.mask = lc->io_old.mask;
		r->psw.addr = lc->io_old.addr;
		break;
	}
	r->dxc = lc->dxc;
	r->teid = lc->teid;
	r->exc_access_id = lc->exc_access_id;
	r->op_access_id = lc->op_access_id;
	r->per_code = lc->per_code;
	r->per_atmid = lc->per_atmid;
	r->per_address = lc->per_address;
	r->per_access_id = lc->per_access_id;
	r->monitor_class = lc->monitor_class;
	r->monitor_code = lc->monitor_code;
	r->breaking_event = lc->breaking_event;
}

static void describe(const struct run *r)
{
	static const char *const names[] = {
		"restart", "external", "SVC", "program", "machine-check", "I/O"
	};

	note("got %s 0x%x ilc %u PSW %016lx %016lx teid %lx",
	     names[r->exit], r->code, r->ilc, r->psw.mask, r->psw.addr, r->teid);
}

bool expect_done(const struct run *r, const char *f, ...)
{
	bool passed = r->exit == RUN_SVC && r->code == DONE;
	va_list ap;

	va_start(ap, f);
	result(passed, f, ap);
	va_end(ap);
	if (!passed)
		describe(r);
	return passed;
}

bool expect_pgm(const struct run *r, unsigned code, const void *insn,
		enum ending ending, const char *f, ...)
{
	unsigned length = *(const uint8_t *)insn < 0x40 ? 2 :
			  *(const uint8_t *)insn < 0xc0 ? 4 : 6;
	uint64_t addr = (uint64_t)insn + (ending == NULLIFIED ? 0 : length);
	bool passed = r->exit == RUN_PGM && r->code == code &&
		      r->ilc == length && r->psw.addr == addr;
	va_list ap;

	va_start(ap, f);
	result(passed, f, ap);
	va_end(ap);
	if (!passed) {
		describe(r);
		note("want program 0x%x ilc %u PSW address %lx", code, length,
		     addr);
	}
	return passed;
}

void guest_unexpected(long class)
{
	volatile struct lowcore *lc = lowcore();
	struct run r;

	/* A second one, while this is printed, must not come back here. */
	lc->pgm_new.mask = PSW_WAIT | PSW_64;
	lc->pgm_new.addr = 0xdead;
	memset(&r, 0, sizeof(r));
	switch (class) {
	case RUN_PGM:
		r.psw = *(struct psw *)&lc->pgm_old;
		r.code = lc->pgm_code;
		break;
	case RUN_EXT:
		r.psw = *(struct psw *)&lc->ext_old;
		r.code = lc->ext_code;
		break;
	case RUN_SVC:
		r.psw = *(struct psw *)&lc->svc_old;
		r.code = lc->svc_code;
		break;
	}
	bail("unexpected interruption, class %ld code 0x%x PSW %016lx %016lx r14 %lx",
	     class, r.code, r.psw.mask, r.psw.addr, (uint64_t)lc->save_gr[14]);
}

/* Machine */

bool facility(unsigned n)
{
	uint64_t list[4] = { 0 };
	register unsigned long r0 asm("0") = 3;

	asm volatile(".insn s,0xb2b00000,%0"
		     : "=Q"(list), "+d"(r0) : : "cc");
	return n < 256 && (list[n / 64] & BIT64(n % 64));
}

void *frames(uint64_t size, uint64_t align)
{
	uint64_t p = (next_frame + align - 1) & ~(align - 1);

	size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	if (p + size > memory_bytes)
		bail("out of memory");
	next_frame = p + size;
	for (uint64_t i = 0; i < size; i += 256)
		asm volatile("xc 0(256,%0),0(%0)" : : "a"(p + i) : "memory", "cc");
	return (void *)p;
}

uint64_t memory_size(void)
{
	return memory_bytes;
}

unsigned cpu_count(void)
{
	return cpus;
}

struct lowcore *cpu_lowcore(unsigned cpu)
{
	return cpu ? &lowcores[cpu] : NULL;
}

unsigned sigp_once(unsigned cpu, unsigned order, uint64_t parameter,
		   uint64_t *status)
{
	register uint64_t r0 asm("0") = 0;
	register uint64_t r1 asm("1") = parameter;
	unsigned cc;

	asm volatile("sigp %[status],%[cpu],0(%[order])\n"
		     "ipm %[cc]\n"
		     "srl %[cc],28"
		     : [cc] "=&d"(cc), [status] "+d"(r0)
		     : [cpu] "d"((uint64_t)cpu), [order] "a"((uint64_t)order),
		       "d"(r1)
		     : "cc", "memory");
	if (status)
		*status = r0;
	return cc;
}

unsigned sigp(unsigned cpu, unsigned order, uint64_t parameter, uint64_t *status)
{
	unsigned cc;

	do {
		cc = sigp_once(cpu, order, parameter, status);
	} while (cc == 2);
	return cc;
}

static unsigned own_address(void)
{
	uint16_t a;

	asm volatile("stap %0" : "=Q"(a));
	return a;
}

static void lowcore_init(volatile struct lowcore *lc)
{
	static char *const entries[] = { entry_restart, entry_ext, entry_svc,
					 entry_pgm, entry_mcck, entry_io };
	volatile struct psw *new = &lc->restart_new;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		new[i].mask = PSW_64;
		new[i].addr = (uint64_t)entries[i];
	}
	lc->run = 0;
	lc->panic_sp = (uint64_t)(panic_stack + sizeof(panic_stack) - 160);
}

void cpu_start(unsigned cpu, void (*fn)(void *), void *arg)
{
	struct lowcore *lc = &lowcores[cpu];

	memset(lc, 0, sizeof(*lc));
	lowcore_init(lc);
	lc->restart_new.addr = (uint64_t)smp_entry;
	lc->boot_sp = (uint64_t)(stacks[cpu] + sizeof(stacks[cpu]) - 160);
	lc->boot_fn = (uint64_t)fn;
	lc->boot_arg = (uint64_t)arg;
	if (sigp(cpu, SIGP_INITIAL_RESET, 0, NULL) != 0 ||
	    sigp(cpu, SIGP_SET_PREFIX, (uint64_t)lc, NULL) != 0 ||
	    sigp(cpu, SIGP_RESTART, 0, NULL) != 0)
		bail("CPU %u does not start", cpu);
}

void smp_return(void)
{
	for (;;)
		sigp(own_address(), SIGP_STOP, 0, NULL);
}

static bool cpu_stopped(unsigned cpu)
{
	uint64_t status = 0;

	return sigp(cpu, SIGP_SENSE, 0, &status) == 1 && (status & 0x40);
}

void cpu_join(unsigned cpu)
{
	while (!cpu_stopped(cpu))
		;
}

void power_off(void)
{
	unsigned i;

	for (i = 1; i < cpus; i++)
		sigp(i, SIGP_STOP, 0, NULL);
	for (;;)
		sigp(0, SIGP_STOP, 0, NULL);
}

void panic(uint64_t code)
{
	struct psw psw = { PSW_WAIT | PSW_64, code };

	asm volatile("lpswe %0" : : "Q"(psw) : "memory");
	__builtin_unreachable();
}

static void read_machine(void)
{
	struct sccb_scp_info *info = (void *)sccb_page;

	memset(info, 0, sizeof(*info));
	info->header.length = sizeof(*info);
	if (sclp(SCLP_READ_SCP_INFO, info) || info->header.response != 0x10)
		bail("no SCP information");
	memory_bytes = (uint64_t)info->increments * info->increment_mib << 20;
	cpus = info->cpus;
	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	next_frame = ((uint64_t)_end + 0xfffff) & ~0xfffffull;
}

void guest_start(void)
{
	lowcore_init(lowcore());
	console_init();
	read_machine();
	guest_main();
	print("1..%u\n", tests_done);
	power_off();
}
