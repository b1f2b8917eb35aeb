/* SPDX-License-Identifier: MIT */
/*
 * The library as a whole: its life, how instructions end, traces, the mark on
 * guest memory that was stored to.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "zpci/internal.h"

unsigned zpci_version(void)
{
	return ZPCI_VERSION;
}

struct zpci *zpci_create_sized(const struct zpci_config *given, size_t config_size,
			       size_t vcpu_size, size_t machine_size)
{
	struct zpci *zpci = aligned_alloc(_Alignof(struct zpci), sizeof(*zpci));
	struct zpci_config *config;

	if (!zpci)
		return NULL;
	memset(zpci, 0, sizeof(*zpci));
	config = &zpci->config;
	if (abi_copy(config, sizeof(*config), given, config_size) ||
	    abi_copy(&zpci->vcpu_ops, sizeof(zpci->vcpu_ops), config->vcpu, vcpu_size) ||
	    abi_copy(&zpci->machine_ops, sizeof(zpci->machine_ops), config->machine,
		     machine_size)) {
		free(zpci);
		errno = E2BIG;
		return NULL;
	}
	config->vcpu = &zpci->vcpu_ops;
	config->machine = &zpci->machine_ops;
	zpci->traced = config->machine->trace;
	zpci->has_membarrier =
		!syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	zpci->directed.available = config->directed_interruptions &&
				   config->machine->directed_interruption &&
				   config->machine->set_directed_mode;
	zpci->memory = (struct dma_memory){
		.base = config->memory.base,
		.size = config->memory.size,
		.written = config->memory.written,
		.opaque = config->memory.opaque,
	};
	zpci->stores_unseen = config->memory.stores_unseen;
	pthread_mutex_init(&zpci->slots_lock, NULL);
	pthread_mutex_init(&zpci->events.lock, NULL);
	return zpci;
}

/*
 * For the time of destruction, when nobody is there to be told. Until a function is
 * unplugged, its device may still complete something and send its message.
 */
static void ignore_interruption(void *opaque, unsigned isc)
{
}

static bool ignore_directed(void *opaque, unsigned cpu, unsigned isc)
{
	return true;
}

static const struct zpci_machine_ops nobody = {
	.adapter_interruption = ignore_interruption,
	.directed_interruption = ignore_directed,
};

static void unplug_at_last(struct zpci *zpci, uint32_t fid)
{
	const struct timespec pause = { 0, 1000000 };

	while (zpci_unplug(zpci, fid) == -EBUSY)
		nanosleep(&pause, NULL);
}

void zpci_destroy(struct zpci *zpci)
{
	if (!zpci)
		return;
	zpci->config.machine = &nobody;
	zpci->traced = false;
	for (unsigned i = 0; i < zpci->slots_used; i++) {
		struct zpci_function *f = zpci->slots[i];

		if (f->state != FUNCTION_RESERVED)
			unplug_at_last(zpci, f->config.fid);
	}
	for (unsigned i = 0; i < zpci->slots_used; i++) {
		struct zpci_function *f = zpci->slots[i];

		pthread_mutex_destroy(&f->control);
		pthread_mutex_destroy(&f->lock);
		free(f);
	}
	pthread_mutex_destroy(&zpci->events.lock);
	pthread_mutex_destroy(&zpci->slots_lock);
	free(zpci);
}

/* The status code's place in the register that held the handle. */
#define STATUS_SHIFT 24
#define STATUS_MASK (0xffull << STATUS_SHIFT)

int insn_finish_otherwise(struct zpci *zpci, struct zpci_vcpu *vcpu, struct outcome outcome,
			  unsigned r)
{
	switch (outcome.kind) {
	case OUTCOME_STATUS:
		vcpu->registers[r] = (vcpu->registers[r] & ~STATUS_MASK) | (uint64_t)outcome.value
										   << STATUS_SHIFT;
		vcpu->cc = 1;
		return 0;
	case OUTCOME_PROGRAM:
		return zpci->config.vcpu->program(vcpu, outcome.value);
	default:
		return -1;
	}
}

void trace_record(struct zpci *zpci, const char *event, struct outcome outcome, const char *format,
		  ...)
{
	char text[256];
	size_t used, left;
	char *end;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	used = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);
	end = text + used;
	left = sizeof(text) - used;
	switch (outcome.kind) {
	case OUTCOME_CC:
		snprintf(end, left, " cc=%u", outcome.value);
		break;
	case OUTCOME_STATUS:
		snprintf(end, left, " cc=1 status=%u", outcome.value);
		break;
	case OUTCOME_PROGRAM:
		snprintf(end, left, " program=%#x", outcome.value);
		break;
	case OUTCOME_ACCESS:
		snprintf(end, left, " access exception");
		break;
	default:
		break;
	}
	zpci->config.machine->trace(zpci->config.opaque, event, text);
}

void zpci_memory_written(struct zpci *zpci, uint64_t absolute, uint64_t length)
{
	if (zpci->memory.written)
		zpci->memory.written(zpci->memory.opaque, absolute, length);
}
