/* SPDX-License-Identifier: MIT */
/*
 * Compare instructions on storage operands (strings, translations, conversions)
 * between the soft CPU and qemu-s390x, case by case, on random operands: short
 * and long ones, across pages, overlapping, reaching behind the storage that there is.
 *
 *	operands GUEST [--count N] [--seed S] [--only MNEMONIC]
 *
 * GUEST is operands_guest, which runs under qemu-s390x. A difference is shown
 * with the seed that makes it again. Exit status 77 without qemu-s390x.
 *
 * Where qemu-s390x 7.2 is known to be wrong, no such case is made or compared
 * (the Principles of Operation, under the instruction, say what is right):
 *	tr	loses the condition code, which must stay
 *	unpk	fetches a byte of overlapping operands twice
 *	pka pku	leave the leftmost character out
 *	mvclu	takes odd lengths
 *	clst	takes a register 0 with other bits on
 *	stmh	stores nothing of the left half
 *	lmd, cvb, ap and all of chapter 8	are not there
 *	cu12 cu14	take E0A0xx to E0BFxx for malformed
 *	trXX	access storage although the length is zero
 *	clc clm	stop before a page that is missing (which they may)
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/byteorder.h"
#include "base/util.h"
#include "operands.h"
#include "unit/cpu_fixture.h"

/* Kinds of instructions, by what makes good operands for them. */
enum kind { SHORT, LONG, COMPARE, STRING, TABLE, UNICODE, MASK };

/*
 * Operands are at 6 and 7 (short), in the pairs 2 and 4 (long). In the template L
 * is a random digit of a length, M of a mask or register, D of a displacement.
 * With condition code 3 a BRC behind goes back.
 */
static const struct instruction {
	const char *mnemonic, *code;
	enum kind kind;
} instructions[] = {
	{ "mvc", "d2LL6DDD7DDD", SHORT }, { "mvn", "d1LL6DDD7DDD", SHORT },
	{ "mvz", "d3LL6DDD7DDD", SHORT }, { "nc", "d4LL6DDD7DDD", SHORT },
	{ "clc", "d5LL6DDD7DDD", SHORT }, { "oc", "d6LL6DDD7DDD", SHORT },
	{ "xc", "d7LL6DDD7DDD", SHORT }, { "mvcin", "e8LL6DDD7DDD", SHORT },
	{ "tr", "dcLL6DDD7DDD", SHORT }, { "trt", "ddLL6DDD7DDD", SHORT },
	{ "trtr", "d0LL6DDD7DDD", SHORT }, { "pack", "f2LL6DDD7DDD", SHORT },
	{ "mvo", "f1LL6DDD7DDD", SHORT }, { "tp", "ebL06DDD00c0", SHORT },
	{ "mvcl", "0e24", LONG }, { "clcl", "0f24", COMPARE },
	{ "mvcle", "a8247DDDa714fffe", LONG }, { "clcle", "a9247DDDa714fffe", COMPARE },
	{ "mvclu", "eb247DDD008ea714fffd", LONG }, { "clclu", "eb247DDD008fa714fffd", COMPARE },
	{ "cksm", "b2410024a714fffe", LONG },
	{ "mvst", "b2550024a714fffe", STRING }, { "clst", "b25d0024a714fffe", STRING },
	{ "srst", "b25e0024a714fffe", STRING }, { "srstu", "b9be0024a714fffe", STRING },
	{ "tre", "b2a50024a714fffe", TABLE }, { "troo", "b993M024a714fffe", TABLE },
	{ "trot", "b992M024a714fffe", TABLE }, { "trto", "b991M024a714fffe", TABLE },
	{ "trtt", "b990M024a714fffe", TABLE },
	{ "cu12", "b2a7M024a714fffe", UNICODE }, { "cu21", "b2a6M024a714fffe", UNICODE },
	{ "cu14", "b9b0M024a714fffe", UNICODE }, { "cu24", "b9b1M024a714fffe", UNICODE },
	{ "cu41", "b9b20024a714fffe", UNICODE }, { "cu42", "b9b30024a714fffe", UNICODE },
	{ "icm", "bf2M7DDD", MASK }, { "stcm", "be2M7DDD", MASK }, { "clm", "bd2M7DDD", MASK },
	{ "icmh", "eb2M7DDD0080", MASK }, { "stcmh", "eb2M7DDD002c", MASK },
	{ "clmh", "eb2M7DDD0020", MASK }, { "icmy", "eb2M7DDD0081", MASK },
	{ "stcmy", "eb2M7DDD002d", MASK }, { "clmy", "eb2M7DDD0021", MASK },
	{ "lm", "98MM7DDD", MASK }, { "stm", "90MM7DDD", MASK },
	{ "lmg", "ebMM7DDD0004", MASK }, { "stmg", "ebMM7DDD0024", MASK },
	{ "lmh", "ebMM7DDD0096", MASK }, { "lmy", "ebMM7DDD0098", MASK },
	{ "stmy", "ebMM7DDD0090", MASK }, { "cvd", "4e207DDD", MASK },
	{ "cvdy", "e3207DDD0026", MASK },
};

/* ---- Chance ---- */

static uint64_t chance;

static uint64_t any(void)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return chance * 0x2545f4914f6cdd1dull;
}

static unsigned int below(unsigned int n)
{
	return (unsigned int)((any() >> 20) % n);
}

static bool one_in(unsigned int n)
{
	return below(n) == 0;
}

static uint32_t some_address(void)
{
	switch (below(8)) {
	case 0:
		return WINDOW + WINDOW_SIZE - 1 - below(300);
	case 1:
		return WINDOW + (uint32_t)PAGE_SIZE * (1 + below(7)) - below(40);
	case 2:
		return WINDOW + 8 * below(WINDOW_SIZE / 8);
	default:
		return WINDOW + below(WINDOW_SIZE - 0x1000);
	}
}

/* ---- Cases ---- */

struct trial {
	const struct instruction *instruction;
	char code[24]; /* hexadecimal */
	uint64_t gr[16];
	uint8_t window[WINDOW_SIZE];
};

static bool is(const struct trial *t, const char *mnemonic)
{
	return !strcmp(t->instruction->mnemonic, mnemonic);
}

static void make_code(struct trial *t)
{
	bool short_length = one_in(2);

	strcpy(t->code, t->instruction->code);
	for (char *p = t->code; *p; p++) {
		unsigned int digit = below(16);

		if (*p == 'L' && p == t->code + 2 && short_length)
			digit = below(2);
		if (*p == 'D' && !one_in(4))
			digit = 0;
		if (strchr("LMD", *p))
			*p = "0123456789abcdef"[digit];
	}
}

/* Random bytes, of many values or of few. */
static void make_window(struct trial *t)
{
	unsigned int alphabet = below(4);

	for (unsigned int i = 0; i < WINDOW_SIZE; i++) {
		uint8_t v = (uint8_t)(any() >> 24);

		if (alphabet == 0)
			v = v & 1 ? 'A' : 'B';
		else if (alphabet == 1)
			v = v < 8 ? v : '0';
		t->window[i] = v;
	}
}

static unsigned int put_utf8(uint8_t *p, uint32_t v)
{
	if (v < 0x80) {
		p[0] = (uint8_t)v;
		return 1;
	}
	if (v < 0x800) {
		p[0] = (uint8_t)(0xc0 | v >> 6);
		p[1] = 0x80 | (v & 63);
		return 2;
	}
	if (v < 0x10000) {
		/* 0800 to 0FFF: where the other side is wrong. */
		v |= v < 0x1000 ? 0x1000 : 0;
		p[0] = (uint8_t)(0xe0 | v >> 12);
		p[1] = 0x80 | (v >> 6 & 63);
		p[2] = 0x80 | (v & 63);
		return 3;
	}
	p[0] = (uint8_t)(0xf0 | v >> 18);
	p[1] = 0x80 | (v >> 12 & 63);
	p[2] = 0x80 | (v >> 6 & 63);
	p[3] = 0x80 | (v & 63);
	return 4;
}

/* Characters in the encoding that the instruction reads, a few of them broken. */
static void make_text(struct trial *t)
{
	char from = t->instruction->mnemonic[2];
	unsigned int broken = one_in(3) ? 20 : 2000;

	for (unsigned int i = 0; i + 4 <= WINDOW_SIZE;) {
		uint8_t *p = t->window + i;
		uint32_t v = below(one_in(3) ? 0x110000 : one_in(2) ? 0x10000 : 0x80);

		if (v >= 0xd800 && v <= 0xdfff)
			v = 'x';
		if (one_in(broken)) {
			*p = (uint8_t)(any() >> 13);
			if (*p == 0xe0)
				*p = 0xff;
			i += from == '1' ? 1 : from == '2' ? 2 : 4;
		} else if (from == '1') {
			i += put_utf8(p, v);
		} else if (from == '4') {
			store_be32(p, v);
			i += 4;
		} else if (v < 0x10000) {
			store_be16(p, (uint16_t)v);
			i += 2;
		} else {
			store_be16(p, (uint16_t)(0xd800 | (v - 0x10000) >> 10));
			store_be16(p + 2, 0xdc00 | (v & 0x3ff));
			i += 4;
		}
	}
}

static void make_long(struct trial *t)
{
	unsigned int most = one_in(4) ? 9000 : 300, n = below(most), m = one_in(2) ? n : below(most);
	bool pairs = is(t, "mvclu") || is(t, "clclu");
	bool old = is(t, "mvcl") || is(t, "clcl");

	if (one_in(3))
		n += below(3);
	t->gr[3] = pairs ? n & ~1u : n;
	t->gr[5] = pairs ? m & ~1u : m;
	if (old) {
		t->gr[3] |= any() << 24;
		t->gr[5] |= any() << 24;
	}
	if (t->instruction->kind == COMPARE && one_in(2)) {
		t->gr[4] = WINDOW + below(0x2000);
		t->gr[2] = WINDOW + 0x4800 + below(0x1000);
		n = MIN(MIN(n, m), 0x2800);
		memcpy(t->window + (t->gr[2] - WINDOW), t->window + (t->gr[4] - WINDOW), n);
		if (n && one_in(2))
			t->window[t->gr[2] - WINDOW + below(n)] ^= 1u << below(8);
	} else if (!old) {
		/* Overlap is only defined for MVCL. */
		t->gr[4] = WINDOW + below(0x2000);
		t->gr[2] = WINDOW + 0x4800 + below(0x1000);
		if (one_in(6))
			t->gr[2] = WINDOW + WINDOW_SIZE - below(4000);
	}
}

static void make_string(struct trial *t)
{
	uint64_t high = t->gr[0] & ~0xffffffffull;
	uint8_t ending = t->window[below(WINDOW_SIZE)];

	t->gr[0] = high | (is(t, "srstu") ? load_be16(t->window + below(1000)) : ending);
	if (one_in(3)) {
		for (unsigned int i = 0; i < WINDOW_SIZE; i++) {
			if (t->window[i] == ending && !one_in(50))
				t->window[i]++;
		}
	}
	if (t->instruction->mnemonic[0] == 's') {
		t->gr[4] = some_address();
		t->gr[2] = one_in(4) ? 0 : t->gr[4] + below(3000);
		return;
	}
	t->gr[4] = WINDOW + below(0x2000);
	t->gr[2] = WINDOW + 0x4800 + below(0x2000);
	if (is(t, "mvst")) {
		t->window[0x4000] = ending;
	} else if (one_in(2)) {
		memcpy(t->window + 0x4800, t->window, 0x3000);
		t->gr[2] = t->gr[4] + 0x4800;
	}
}

static void make_table(struct trial *t)
{
	bool pairs = t->instruction->mnemonic[2] == 't';

	t->gr[3] = 1 + below(one_in(3) ? 2000 : 200);
	if (is(t, "tre")) {
		t->gr[4] = WINDOW + 0x6000 + below(0x1000);
		t->gr[2] = WINDOW + below(0x5000);
		return;
	}
	t->gr[1] = WINDOW + 0x6000 + below(0x1800);
	t->gr[2] = one_in(6) ? WINDOW + WINDOW_SIZE - below(600) : WINDOW + below(0x1800);
	t->gr[4] = WINDOW + 0x3000 + below(0x1800);
	if (pairs) {
		t->gr[3] = (t->gr[3] & ~1ull) + 2;
		t->gr[4] &= ~1ull;
		/* Few characters, or the table would have to be 128 KiB. */
		for (unsigned int i = 0x3000; i < 0x6000; i += 2)
			t->window[i] = 0;
	}
}

static void make_unicode(struct trial *t)
{
	make_text(t);
	t->gr[3] = below(one_in(3) ? 5000 : 100);
	t->gr[5] = below(one_in(3) ? 3000 : 100);
	t->gr[4] = WINDOW + below(0x1800);
	t->gr[2] = WINDOW + 0x3000 + below(0x2000);
	if (one_in(8))
		t->gr[4] = WINDOW + WINDOW_SIZE - below(100);
	else if (one_in(8))
		t->gr[2] = WINDOW + WINDOW_SIZE - below(100);
	if (t->instruction->mnemonic[2] != '1') {
		t->gr[4] &= ~3ull;
		if (!one_in(3))
			t->gr[5] &= ~3ull;
	} else {
		/* From the start of a character: the middle of one might look like E0xxxx. */
		t->gr[4] = WINDOW;
	}
}

static void make_trial(struct trial *t, const struct instruction *i)
{
	t->instruction = i;
	make_code(t);
	for (unsigned int r = 0; r < 16; r++)
		t->gr[r] = any();
	t->gr[2] = some_address();
	t->gr[4] = some_address();
	t->gr[6] = some_address();
	t->gr[7] = one_in(5) ? t->gr[6] : one_in(5) ? t->gr[6] + below(40) : some_address();
	make_window(t);
	switch (i->kind) {
	case LONG:
	case COMPARE:
		make_long(t);
		break;
	case STRING:
		make_string(t);
		break;
	case TABLE:
		make_table(t);
		break;
	case UNICODE:
		make_unicode(t);
		break;
	case MASK:
		if (!one_in(3))
			t->gr[7] &= ~7ull;
		break;
	case SHORT:
		break;
	}
}

/* ---- The other side ---- */

struct peer {
	const char *guest;
	pid_t pid;
	FILE *to, *from;
};

static int peer_start(struct peer *p)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		return -errno;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (!p->pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[1]);
		close(from[0]);
		execlp("qemu-s390x-static", "qemu-s390x-static", "-cpu", "max", p->guest, NULL);
		execlp("qemu-s390x", "qemu-s390x", "-cpu", "max", p->guest, NULL);
		_exit(77);
	}
	close(to[0]);
	close(from[1]);
	p->to = fdopen(to[1], "w");
	p->from = fdopen(from[0], "r");
	return p->to && p->from ? 0 : -errno;
}

/* Returns the exit status, or -1 when a signal ended it. */
static int peer_end(struct peer *p)
{
	int status = 0;

	fclose(p->to);
	fclose(p->from);
	waitpid(p->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool peer_execute(struct peer *p, const struct trial *t, struct operands_outcome *o)
{
	static struct operands_case c;
	const char *hex = t->code;

	for (unsigned int i = 0; i < sizeof(c.code); i++)
		c.code[i] = i & 1 ? 0 : 7; /* no operation: BCR 0,0 */
	for (unsigned int i = 0; hex[2 * i]; i++) {
		char byte[3] = { hex[2 * i], hex[2 * i + 1], 0 };

		c.code[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	for (unsigned int r = 0; r < 16; r++)
		store_be64(&c.gr[r], t->gr[r]);
	memcpy(c.window, t->window, WINDOW_SIZE);
	if (fwrite(&c, sizeof(c), 1, p->to) != 1 || fflush(p->to) ||
	    fread(o, sizeof(*o), 1, p->from) != 1)
		return false;
	o->signal = load_be32(&o->signal);
	o->cc = load_be32(&o->cc);
	for (unsigned int r = 0; r < 16; r++)
		o->gr[r] = load_be64(&o->gr[r]);
	return true;
}

/* ---- Comparing ---- */

static unsigned int signal_of(unsigned int pgm)
{
	switch (pgm) {
	case PGM_NONE:
		return 0;
	case PGM_OPERATION: case PGM_SPECIFICATION: case PGM_PRIVILEGED:
		return SIGILL;
	case PGM_ADDRESSING: case PGM_PROTECTION:
		return SIGSEGV;
	default:
		return SIGFPE;
	}
}

/* May this register differ? After condition code 3 the strings have moved on. */
static bool register_unpredictable(const struct trial *t, unsigned int r, unsigned int cc)
{
	return t->instruction->kind == STRING && (r == 4 || (r == 2 && cc == 0));
}

/* Returns whether there is a difference, and tells of it. */
static bool compare(struct cpu_fixture *f, const struct trial *t, unsigned int pgm, unsigned int cc,
		    const struct operands_outcome *o)
{
	const uint8_t *window = f->memory + WINDOW;
	bool different = false;

	if (signal_of(pgm) != o->signal) {
		/* A compare may find its result in front of a page that is missing. */
		if (pgm == PGM_ADDRESSING && !o->signal && !strncmp(t->code, "d5", 2))
			return false;
		if (pgm == PGM_ADDRESSING && !o->signal && strstr(t->instruction->mnemonic, "clm"))
			return false;
		printf("%s: interruption %u, not signal %u\n", t->code, pgm, o->signal);
		return true;
	}
	if (pgm)
		return false;
	if (cc != o->cc && !is(t, "tr")) {
		printf("%s: condition code %u, not %u\n", t->code, cc, o->cc);
		different = true;
	}
	for (unsigned int r = 0; r < 16; r++) {
		if (f->s->gr[r] != o->gr[r] && !register_unpredictable(t, r, cc)) {
			printf("%s: r%u is %016llx, not %016llx\n", t->code, r,
			       (unsigned long long)f->s->gr[r], (unsigned long long)o->gr[r]);
			different = true;
		}
	}
	for (unsigned int i = 0; i < WINDOW_SIZE; i++) {
		if (window[i] != o->window[i]) {
			printf("%s: %06x is %02x, not %02x\n", t->code, WINDOW + i, window[i],
			       o->window[i]);
			return true;
		}
	}
	return different;
}

/* The two that go to the left must not leave the window: here there is storage, there none. */
static bool comparable(const struct trial *t)
{
	return !(is(t, "mvcin") && t->gr[7] < WINDOW + 256) &&
	       !(is(t, "trtr") && t->gr[6] < WINDOW + 256);
}

int main(int argc, char **argv)
{
	static struct trial t;
	static struct operands_outcome o;
	unsigned int count = 300, cases = 0, differences = 0;
	unsigned long long seed = 1;
	const char *only = NULL;
	struct peer peer = { 0 };
	struct cpu_fixture *f;
	void *state;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--count") && i + 1 < argc)
			count = (unsigned int)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else
			peer.guest = argv[i];
	}
	if (!peer.guest) {
		fprintf(stderr, "usage: operands GUEST [--count N] [--seed S] [--only MNEMONIC]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (peer_start(&peer)) {
		perror("operands: cannot start qemu-s390x");
		return 1;
	}
	cpu_fixture_setup(&state);
	f = state;
	for (size_t k = 0; k < ARRAY_SIZE(instructions); k++) {
		if (only && strcmp(only, instructions[k].mnemonic))
			continue;
		for (unsigned int i = 0; i < count; i++) {
			unsigned int pgm, cc;

			/* A case of its own seed, so that one can be made again alone. */
			chance = (seed + i) * 0x9e3779b97f4a7c15ull + k * 0xbf58476d1ce4e5b9ull;
			for (unsigned int j = 0; j < 8; j++)
				any();
			make_trial(&t, &instructions[k]);
			if (!peer_execute(&peer, &t, &o)) {
				int status = peer_end(&peer);

				if (status == 77)
					return 77;
				/* It dies of some signals; that says nothing of the instruction. */
				if (peer_start(&peer))
					return 1;
				continue;
			}
			if (!comparable(&t))
				continue;
			memcpy(f->memory + WINDOW, t.window, WINDOW_SIZE);
			memcpy(f->s->gr, t.gr, sizeof(t.gr));
			pgm = cpu_execute(f, t.code, &cc);
			cases++;
			if (!compare(f, &t, pgm, cc, &o))
				continue;
			printf("%s again: --only %s --count 1 --seed %llu\n",
			       instructions[k].mnemonic, instructions[k].mnemonic, seed + i);
			if (++differences > 20) {
				peer_end(&peer);
				return 1;
			}
		}
	}
	peer_end(&peer);
	cpu_fixture_teardown(&state);
	printf("%u cases, %u differences\n", cases, differences);
	return differences || !cases;
}
