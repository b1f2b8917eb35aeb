/* SPDX-License-Identifier: MIT */
/*
 * SIGNAL PROCESSOR, the resets of a CPU, and storing its status.
 *
 * Orders that need the addressed CPU to stand still (the resets) stop it and
 * answer "busy" until it has: waiting here could wait for one that waits for this
 * CPU. So do orders that would start a CPU that is about to stop. One CPU at a time
 * signals; another one that tries meanwhile is told "busy" too. The architecture lets
 * the program try again.
 *
 * Source: Principles of Operation, chapter 4: "CPU Signaling and Response",
 * "Resets", "Store-Status Operation".
 */
#include "cpu/soft/complex.h"

enum sigp_order {
	SIGP_SENSE = 0x01,
	SIGP_EXTERNAL_CALL = 0x02,
	SIGP_EMERGENCY_SIGNAL = 0x03,
	SIGP_START = 0x04,
	SIGP_STOP = 0x05,
	SIGP_RESTART = 0x06,
	SIGP_STOP_STORE_STATUS = 0x09,
	SIGP_INITIAL_CPU_RESET = 0x0b,
	SIGP_CPU_RESET = 0x0c,
	SIGP_SET_PREFIX = 0x0d,
	SIGP_STORE_STATUS = 0x0e,
	SIGP_SET_ARCHITECTURE = 0x12,
	SIGP_CONDITIONAL_EMERGENCY = 0x13,
	SIGP_SENSE_RUNNING = 0x15,
};

#define STATUS_INCORRECT_STATE 0x200
#define STATUS_INVALID_PARAMETER 0x100
#define STATUS_EXTERNAL_CALL_PENDING 0x80
#define STATUS_STOPPED 0x40
#define STATUS_INVALID_ORDER 0x02
#define STATUS_NOT_RUNNING 0x400

void store_status(struct vcpu *c, uint64_t absolute)
{
	uint8_t *p = absolute_host(c->complex, absolute);

	/* The save area is at 4608 when `absolute` is the prefix, else as given. */
	for (unsigned int i = 0; i < 16; i++) {
		host_store64(p + LC_FPR_SAVE + 8 * i, c->s.fpr[i]);
		host_store64(p + LC_GR_SAVE + 8 * i, c->s.gr[i]);
		host_store32(p + LC_AR_SAVE + 4 * i, c->s.ar[i]);
		host_store64(p + LC_CR_SAVE + 8 * i, c->s.cr[i]);
	}
	host_store64(p + LC_PSW_SAVE, c->s.psw_mask);
	host_store64(p + LC_PSW_SAVE + 8, c->s.psw_addr);
	host_store32(p + LC_PREFIX_SAVE, c->s.prefix);
	host_store32(p + LC_FPC_SAVE, c->s.fpc);
	host_store32(p + LC_TODPR_SAVE, c->s.todpr);
	host_store64(p + LC_CPU_TIMER_SAVE, clock_cpu_timer(c, NULL));
	host_store64(p + LC_CLOCK_COMPARATOR_SAVE, c->s.clock_comparator >> 8);
	cpu_complex_memory_written(c->complex, absolute + LC_FPR_SAVE, 0x200);
}

/* ---- Resets ---- */

/* "Stopped" comes last: from then on other CPUs may change this one's state. */
void vcpu_cpu_reset(struct vcpu *c)
{
	atomic_store(&c->pending, 0);
	atomic_store(&c->emergency_from, 0);
	atomic_store(&c->external_call_from, 0);
	c->pgm_code = 0;
	c->psw_invalid = false;
	c->check_stop = false;
	c->s.psw_mask &= ~PSW_WAIT;
	__atomic_store_n(&c->s.stopped, 1, __ATOMIC_RELEASE);
}

void vcpu_initial_reset(struct vcpu *c)
{
	c->s.psw_mask = 0;
	c->s.psw_addr = 0;
	__atomic_store_n(&c->s.prefix, 0, __ATOMIC_RELAXED);
	c->s.fpc = 0;
	c->s.todpr = 0;
	c->s.breaking_event = 1;
	c->s.clock_comparator = 0;
	c->s.cpu_timer = 0;
	c->cpu_timer_base = clock_steady(c, NULL);
	memset(c->s.cr, 0, sizeof(c->s.cr));
	c->s.cr[0] = 0xe0;
	c->s.cr[14] = 0xc2000000;
	vcpu_cpu_reset(c);
}

void vcpu_clear_reset(struct vcpu *c)
{
	memset(c->s.gr, 0, sizeof(c->s.gr));
	memset(c->s.fpr, 0, sizeof(c->s.fpr));
	memset(c->s.ar, 0, sizeof(c->s.ar));
	vcpu_initial_reset(c);
}

void vcpu_start(struct vcpu *c)
{
	atomic_fetch_and(&c->pending, ~(unsigned int)PENDING_STOP);
	__atomic_store_n(&c->s.stopped, 0, __ATOMIC_RELEASE);
}

/*
 * The PSW is complete in s. No order comes between what was asked for and "stopped", so
 * none is lost; a CPU that signals never waits for another one with the lock held.
 */
void sigp_stop_here(struct vcpu *c)
{
	unsigned int pending;

	pthread_mutex_lock(&c->complex->sigp_lock);
	pending = atomic_load(&c->pending);
	if (pending & PENDING_STORE_STATUS)
		store_status(c, c->s.prefix);
	atomic_fetch_and(&c->pending, ~(unsigned int)(PENDING_STOP | PENDING_STORE_STATUS));
	if (pending & PENDING_INITIAL_RESET)
		vcpu_initial_reset(c);
	else if (pending & PENDING_CPU_RESET)
		vcpu_cpu_reset(c);
	else
		__atomic_store_n(&c->s.stopped, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&c->complex->sigp_lock);
}

/* ---- The orders ---- */

bool vcpu_is_stopped(const struct vcpu *v)
{
	return __atomic_load_n(&v->s.stopped, __ATOMIC_ACQUIRE);
}

/* Make it look, even if it is in a disabled wait, where its thread has left vcpu_run(). */
static void notify(struct vcpu *v)
{
	vcpu_kick(v);
	if (v->complex->config.vcpu_state_changed)
		v->complex->config.vcpu_state_changed(v->complex->config.opaque, v);
}

static void set_operating(struct vcpu *v)
{
	vcpu_start(v);
	notify(v);
}

/* Ask a running CPU to do something and stop. */
static void stop_with(struct vcpu *v, unsigned int pending)
{
	atomic_fetch_or(&v->pending, PENDING_STOP | pending);
	notify(v);
}

static bool is_stopping(const struct vcpu *v)
{
	return !vcpu_is_stopped(v) && atomic_load(&v->pending) & PENDING_STOP;
}

/* Returns the condition code; *status is stored for 1. */
static unsigned int order(struct vcpu *c, struct vcpu *v, unsigned int code, uint64_t parameter,
			  uint32_t *status)
{
	struct cpu_complex *x = c->complex;

	*status = 0;
	switch (code) {
	case SIGP_SENSE:
		if (vcpu_is_stopped(v))
			*status |= STATUS_STOPPED;
		if (atomic_load(&v->pending) & PENDING_EXTERNAL_CALL)
			*status |= STATUS_EXTERNAL_CALL_PENDING;
		return *status ? 1 : 0;
	case SIGP_EXTERNAL_CALL: {
		unsigned int none = 0;

		if (!atomic_compare_exchange_strong(&v->external_call_from, &none, c->index + 1)) {
			*status = STATUS_EXTERNAL_CALL_PENDING;
			return 1;
		}
		atomic_fetch_or(&v->pending, PENDING_EXTERNAL_CALL);
		vcpu_kick(v);
		return 0;
	}
	case SIGP_CONDITIONAL_EMERGENCY:
		/* It asks about ASNs, which nobody here uses: the condition is always met. */
	case SIGP_EMERGENCY_SIGNAL:
		atomic_fetch_or(&v->emergency_from, 1ull << c->index);
		atomic_fetch_or(&v->pending, PENDING_EMERGENCY);
		vcpu_kick(v);
		return 0;
	case SIGP_START:
		if (is_stopping(v))
			return 2;
		if (vcpu_is_stopped(v))
			set_operating(v);
		return 0;
	case SIGP_STOP:
		if (!vcpu_is_stopped(v))
			stop_with(v, 0);
		return 0;
	case SIGP_RESTART:
		if (is_stopping(v))
			return 2;
		atomic_fetch_or(&v->pending, PENDING_RESTART);
		if (vcpu_is_stopped(v))
			set_operating(v);
		else
			notify(v);
		return 0;
	case SIGP_STOP_STORE_STATUS:
		if (is_stopping(v))
			return 2;
		if (vcpu_is_stopped(v))
			store_status(v, v->s.prefix);
		else
			stop_with(v, PENDING_STORE_STATUS);
		return 0;
	case SIGP_INITIAL_CPU_RESET:
		if (!vcpu_is_stopped(v)) {
			stop_with(v, PENDING_INITIAL_RESET);
			return v == c ? 0 : 2;
		}
		vcpu_initial_reset(v);
		return 0;
	case SIGP_CPU_RESET:
		if (!vcpu_is_stopped(v)) {
			stop_with(v, PENDING_CPU_RESET);
			return v == c ? 0 : 2;
		}
		vcpu_cpu_reset(v);
		return 0;
	case SIGP_SET_PREFIX:
		parameter &= 0x7fffe000;
		if (!range_fits(parameter, 0x2000, x->size)) {
			*status = STATUS_INVALID_PARAMETER;
			return 1;
		}
		if (!vcpu_is_stopped(v)) {
			*status = STATUS_INCORRECT_STATE;
			return 1;
		}
		__atomic_store_n(&v->s.prefix, (uint32_t)parameter, __ATOMIC_RELAXED);
		return 0;
	case SIGP_STORE_STATUS:
		parameter &= 0x7ffffe00;
		if (!range_fits(parameter, 0x200, x->size)) {
			*status = STATUS_INVALID_PARAMETER;
			return 1;
		}
		if (!vcpu_is_stopped(v)) {
			*status = STATUS_INCORRECT_STATE;
			return 1;
		}
		store_status(v, parameter - LC_FPR_SAVE);
		return 0;
	case SIGP_SENSE_RUNNING:
		if (!vcpu_is_stopped(v) && !atomic_load(&v->waiting))
			return 0;
		*status = STATUS_NOT_RUNNING;
		return 1;
	default:
		*status = STATUS_INVALID_ORDER;
		return 1;
	}
}

/*
 * There is no architecture but z/Architecture to be set (facility 138), and the
 * answer to the attempt says so, as QEMU's does (target/s390x/sigp.c).
 */
static unsigned int set_architecture(struct vcpu *c, uint32_t *status)
{
	struct cpu_complex *x = c->complex;

	*status = STATUS_INVALID_PARAMETER;
	for (unsigned int i = 0; i < x->count; i++) {
		if (x->vcpus[i] != c && !vcpu_is_stopped(x->vcpus[i]))
			*status = STATUS_INCORRECT_STATE;
	}
	return 1;
}

INSN_LAST(sigp)
{
	struct cpu_complex *x = c->complex;
	unsigned int code = (uint8_t)ea2(c, o), address = (uint16_t)c->s.gr[o->r3], cc;
	uint64_t parameter = c->s.gr[o->r1 | 1];
	uint32_t status;

	if (pthread_mutex_trylock(&x->sigp_lock)) {
		set_cc(c, 2);
		return;
	}
	if (code == SIGP_SET_ARCHITECTURE)
		cc = set_architecture(c, &status);
	else if (address >= x->count)
		cc = 3;
	else
		cc = order(c, x->vcpus[address], code, parameter, &status);
	pthread_mutex_unlock(&x->sigp_lock);
	if (cc == 1)
		set_lo32(c, o->r1, status);
	set_cc(c, cc);
}
