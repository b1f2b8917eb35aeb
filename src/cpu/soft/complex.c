/* SPDX-License-Identifier: MIT */
/* Making and taking apart what the vCPUs share. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/soft/complex.h"

/* Which instructions there are follows from the facilities of the model. */
static void fill_rows(struct cpu_complex *x)
{
	for (unsigned int i = 0; i < insn_table_size; i++) {
		unsigned int f = insn_table[i].facility;

		if (f && !(x->config.model.facilities[f / 64] & BIT64(f % 64)))
			continue;
		x->rows[insn_table[i].opcode] = (uint16_t)(i + 1);
	}
}

static struct vcpu *vcpu_create(struct cpu_complex *x, unsigned int index)
{
	struct vcpu *c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ull);
	pthread_condattr_t monotonic;

	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->window.shut = 1;
	c->complex = x;
	c->index = index;
	c->s.cpu_address = (uint16_t)index;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	c->asid_next = TLB_ASID_MAX + 1; /* the first use clears the TLB */
	vcpu_clear_reset(c);
	psw_load(c, 0, 0);
	return c;
}

void cpu_complex_clear(struct cpu_complex *x)
{
	memset(x->storage_keys, 0, x->size >> PAGE_SHIFT);
}

struct cpu_complex *cpu_complex_create(const struct cpu_complex_config *config)
{
	struct cpu_complex *x;
	size_t frames = config->memory_size >> PAGE_SHIFT;

	if (!config->vcpus || config->vcpus > CPU_MAX_VCPUS || !config->memory || !frames) {
		errno = EINVAL;
		return NULL;
	}
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->config = *config;
	x->memory = config->memory;
	x->size = config->memory_size;
	x->page_flags = calloc(frames, 1);
	x->storage_keys = calloc(frames, 1);
	x->handlers = calloc(insn_table_size, sizeof(*x->handlers));
	pthread_mutex_init(&x->exclusive_lock, NULL);
	pthread_cond_init(&x->exclusive_cond, NULL);
	pthread_mutex_init(&x->plo_lock, NULL);
	pthread_mutex_init(&x->sigp_lock, NULL);
	if (!x->page_flags || !x->storage_keys || !x->handlers || code_init(x))
		goto fail;
	if (idle_init(x))
		goto fail;
	fill_rows(x);
	clock_init(x);
	for (unsigned int i = 0; i < config->vcpus; i++) {
		x->vcpus[i] = vcpu_create(x, i);
		if (!x->vcpus[i])
			goto fail;
		x->count++;
	}
	return x;
fail:
	cpu_complex_destroy(x);
	errno = ENOMEM;
	return NULL;
}

void cpu_complex_destroy(struct cpu_complex *x)
{
	if (!x)
		return;
	for (unsigned int i = 0; i < x->count; i++) {
		clock_exit_thread(x->vcpus[i]);
		pthread_mutex_destroy(&x->vcpus[i]->lock);
		pthread_cond_destroy(&x->vcpus[i]->wake);
		free(x->vcpus[i]);
	}
	if (x->code.pages)
		code_destroy(x);
	pthread_mutex_destroy(&x->exclusive_lock);
	pthread_cond_destroy(&x->exclusive_cond);
	pthread_mutex_destroy(&x->plo_lock);
	pthread_mutex_destroy(&x->sigp_lock);
	free(x->handlers);
	free(x->storage_keys);
	free(x->page_flags);
	free(x);
}

struct vcpu *cpu_complex_vcpu(struct cpu_complex *x, unsigned int index)
{
	return index < x->count ? x->vcpus[index] : NULL;
}

uint8_t cpu_complex_storage_key(struct cpu_complex *x, uint64_t absolute)
{
	if (absolute >= x->size)
		return 0;
	return __atomic_load_n(&x->storage_keys[absolute >> PAGE_SHIFT], __ATOMIC_RELAXED);
}

unsigned int cpu_complex_count(struct cpu_complex *x)
{
	return x->count;
}

size_t cpu_complex_code_memory(struct cpu_complex *x)
{
	return MAX(x->code.host.most, x->code.host.used);
}

int cpu_complex_set_handler(struct cpu_complex *x, uint16_t opcode, cpu_insn_handler *handler)
{
	for (unsigned int i = 0; i < insn_table_size; i++) {
		if (insn_table[i].opcode == opcode && (insn_table[i].flags & MACHINE)) {
			x->handlers[i] = handler;
			return 0;
		}
	}
	return -EINVAL;
}
