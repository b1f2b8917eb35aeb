/* SPDX-License-Identifier: MIT */
/*
 * Functions: slots and handles, plugging, states and what moves between them.
 *
 *   reserved  --plug-->  standby  --SCLP configure-->  disabled
 *   disabled  --CLP enable-->  enabled  --CLP disable-->  disabled
 *   enabled   --a failed transfer-->  error
 *   error     --MPCIFC reset block-->  blocked  --MPCIFC reset error-->  enabled
 *   error     --MPCIFC reset error-->  enabled
 *   disabled, enabled, blocked, error  --breaks for good-->  permanent error
 *   permanent error  --CLP disable-->  disabled
 *   any       --SCLP deconfigure-->  standby  --unplug-->  reserved
 *
 * Sources: the states and transitions as Linux (arch/s390/pci/pci_event.c,
 * drivers/pci/hotplug/s390_pci_hpc.c) expects and QEMU (s390-pci-bus.h) names
 * them. What each operation answers in each state: "States" in docs/zpci.md.
 */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "zpci/internal.h"

void zpci_function_defaults_sized(struct zpci_function_config *config, size_t config_size,
				  uint32_t fid)
{
	const struct zpci_function_config defaults = {
		.fid = fid,
		.sdma = 0x100000000ull,
		.edma = 0x1ffffffffffffffull,
		.interrupts = 128,
		.store_block_max = 128,
		.update_interval = 4000,
		.mio = true,
	};

	/* What only the caller knows is 0. */
	memset(config, 0, config_size);
	memcpy(config, &defaults, MIN(config_size, sizeof(defaults)));
}

/* --- looking functions up ------------------------------------------------------ */

static struct zpci_function *enter(struct zpci_function *f)
{
	atomic_fetch_add(&f->users, 1);
	return f;
}

void function_leave(struct zpci_function *f)
{
	atomic_fetch_sub(&f->users, 1);
}

static struct zpci_function *slot(struct zpci *zpci, uint32_t index)
{
	if (index >= ZPCI_FUNCTIONS_MAX)
		return NULL;
	return atomic_load_explicit(&zpci->slots[index], memory_order_acquire);
}

static bool matches(const struct zpci_function *f, uint32_t fh, uint32_t ignored)
{
	uint32_t current = f->fh;

	return current && !((current ^ fh) & ~ignored);
}

static struct zpci_function *enter_matching(struct zpci *zpci, uint32_t fh, uint32_t ignored)
{
	struct zpci_function *f = slot(zpci, fh & FH_INDEX_MASK);

	/* Who has an old handle is not counted at all, and keeps no one from unplugging. */
	if (!f || !matches(f, fh, ignored))
		return NULL;
	/* Counted in before the handle is read: see internal.h. */
	enter(f);
	if (matches(f, fh, ignored))
		return f;
	function_leave(f);
	return NULL;
}

struct zpci_function *function_enter(struct zpci *zpci, uint32_t fh)
{
	return enter_matching(zpci, fh, 0);
}

struct zpci_function *function_enter_any(struct zpci *zpci, uint32_t fh)
{
	return enter_matching(zpci, fh, FH_ENABLED);
}

/*
 * The order that matters here is "hazard stored before handle read". With
 * membarrier it costs nothing but that the compiler keeps it.
 */
static void order_hazard(const struct zpci *zpci)
{
	if (likely(zpci->has_membarrier))
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
}

struct zpci_function *function_use(struct zpci *zpci, unsigned index, uint32_t fh)
{
	struct zpci_function *f;

	if (index >= ZPCI_FAST_VCPUS)
		return function_enter(zpci, fh);
	f = slot(zpci, fh & FH_INDEX_MASK);
	if (!f)
		return NULL;
	atomic_store_explicit(&zpci->hazards[index].f, f, memory_order_relaxed);
	order_hazard(zpci);
	if (likely(atomic_load_explicit(&f->fh, memory_order_acquire) == fh))
		return f;
	function_release(f, index);
	return NULL;
}

void function_release(struct zpci_function *f, unsigned index)
{
	if (index >= ZPCI_FAST_VCPUS)
		function_leave(f);
	else
		atomic_store_explicit(&f->zpci->hazards[index].f, NULL, memory_order_release);
}

struct zpci_function *function_use_slot(struct zpci *zpci, unsigned index, uint32_t number)
{
	struct zpci_function *f = slot(zpci, number);

	if (!f)
		return NULL;
	if (index >= ZPCI_FAST_VCPUS) {
		enter(f);
	} else {
		atomic_store_explicit(&zpci->hazards[index].f, f, memory_order_relaxed);
		order_hazard(zpci);
	}
	if (likely(atomic_load_explicit(&f->fh, memory_order_acquire)))
		return f;
	function_release(f, index);
	return NULL;
}

struct zpci_function *function_enter_slot(struct zpci *zpci, unsigned index)
{
	struct zpci_function *f = slot(zpci, index);

	if (!f || !f->fh)
		return NULL;
	enter(f);
	if (f->fh)
		return f;
	function_leave(f);
	return NULL;
}

struct zpci_function *function_enter_fid(struct zpci *zpci, uint32_t fid)
{
	struct zpci_function *found = NULL;

	pthread_mutex_lock(&zpci->slots_lock);
	for (unsigned i = 0; i < zpci->slots_used && !found; i++) {
		struct zpci_function *f = function_enter_slot(zpci, i);

		if (f && f->config.fid == fid)
			found = f;
		else if (f)
			function_leave(f);
	}
	pthread_mutex_unlock(&zpci->slots_lock);
	return found;
}

/*
 * With slots_lock held. A function that is being unplugged counts until the guest has
 * been told: it would hear of another one with this identifier first.
 */
static bool in_use(struct zpci *zpci, const uint32_t *fid, const uint16_t *uid)
{
	for (unsigned i = 0; i < zpci->slots_used; i++) {
		struct zpci_function *f = slot(zpci, i);

		if (f && f->pci && ((fid && f->config.fid == *fid) || (uid && f->config.uid == *uid)))
			return true;
	}
	return false;
}

bool zpci_fid_in_use(struct zpci *zpci, uint32_t fid)
{
	bool used;

	pthread_mutex_lock(&zpci->slots_lock);
	used = in_use(zpci, &fid, NULL);
	pthread_mutex_unlock(&zpci->slots_lock);
	return used;
}

bool zpci_uid_in_use(struct zpci *zpci, uint16_t uid)
{
	bool used;

	pthread_mutex_lock(&zpci->slots_lock);
	used = in_use(zpci, NULL, &uid);
	pthread_mutex_unlock(&zpci->slots_lock);
	return used;
}

/* --- plugging ------------------------------------------------------------------- */

static int check_config(const struct zpci_function_config *config, const char **what)
{
	if (config->sdma > config->edma || config->sdma & ~PAGE_MASK ||
	    (config->edma + 1) & ~PAGE_MASK)
		*what = "DMA addresses out of range";
	else if (!config->interrupts || config->interrupts > PCI_MSIX_VECTORS_MAX)
		*what = "number of interrupts out of range (1 to 2048)";
	else if (config->store_block_max < 16 || config->store_block_max > PCI_BLOCK_MAX ||
		 config->store_block_max % 8)
		*what = "size of a store block out of range (16 to 4096, a multiple of 8)";
	else
		return 0;
	return -EINVAL;
}

static bool same_group(const struct function_group *a, const struct function_group *b)
{
	return a->used && a->interrupts == b->interrupts &&
	       a->store_block_max == b->store_block_max &&
	       a->update_interval == b->update_interval && a->refresh == b->refresh &&
	       a->relaxed_translation == b->relaxed_translation;
}

/*
 * The group that describes such functions; the first one is 0xff, as on QEMU, and
 * more are numbered downward. A group stays when its last function has gone, until
 * there is no other number for a new one. -1 when all are taken.
 */
static int find_group(struct zpci *zpci, const struct zpci_function_config *config)
{
	const struct function_group wanted = {
		.interrupts = config->interrupts,
		.store_block_max = config->store_block_max,
		.update_interval = config->update_interval,
		.refresh = config->refresh || config->mapping,
		.relaxed_translation = config->relaxed_translation,
		.used = true,
	};
	int unused = -1, empty = -1;

	/* The group that it has on a host, where that means nothing else here. */
	if (config->pfgid && !zpci->groups[config->pfgid].used)
		zpci->groups[config->pfgid] = wanted;
	if (config->pfgid && same_group(&zpci->groups[config->pfgid], &wanted))
		return config->pfgid;
	for (int i = 0; i < GROUPS; i++) {
		const struct function_group *group = &zpci->groups[i];

		if (same_group(group, &wanted))
			return i;
		if (!group->used)
			unused = i;
		else if (!group->functions)
			empty = i;
	}
	if (unused < 0)
		unused = empty;
	if (unused >= 0)
		zpci->groups[unused] = wanted;
	return unused;
}

/* A slot that is free, made if need be; NULL with the errno in `error`. */
static struct zpci_function *free_slot(struct zpci *zpci, int *error)
{
	struct zpci_function *f;
	unsigned i;

	for (i = 0; i < zpci->slots_used; i++) {
		f = slot(zpci, i);
		if (!f->fh && !f->pci)
			return f;
	}
	*error = -ENOSPC;
	if (i == ZPCI_FUNCTIONS_MAX)
		return NULL;
	*error = -ENOMEM;
	f = aligned_alloc(_Alignof(struct zpci_function), sizeof(*f));
	if (!f)
		return NULL;
	memset(f, 0, sizeof(*f));
	f->zpci = zpci;
	f->index = i;
	f->state = FUNCTION_RESERVED;
	pthread_mutex_init(&f->control, NULL);
	pthread_mutex_init(&f->lock, NULL);
	atomic_store_explicit(&zpci->slots[i], f, memory_order_release);
	zpci->slots_used++;
	return f;
}

/* Never 0 together with the index 0, which would make a handle of 0. */
static uint32_t next_handle(struct zpci *zpci, uint32_t index)
{
	uint16_t *generation = &zpci->next_generation[index];

	*generation = (*generation + 1) & FH_GENERATION_MASK;
	if (!*generation)
		*generation = 1;
	return (uint32_t)*generation << FH_GENERATION_SHIFT | index;
}

static int plug(struct zpci *zpci, struct pci_function *pci,
		const struct zpci_function_config *config, bool announce, const char **what)
{
	struct zpci_function *f;
	int error, group;
	uint32_t fh;

	error = check_config(config, what);
	if (error)
		return error;
	*what = "fid in use";
	if (in_use(zpci, &config->fid, NULL))
		return -EEXIST;
	*what = "uid in use";
	if (zpci->config.uid_checking && config->uid && in_use(zpci, NULL, &config->uid))
		return -EEXIST;
	*what = "no room for another function";
	f = free_slot(zpci, &error);
	if (!f)
		return error;
	group = find_group(zpci, config);
	if (group < 0)
		return -ENOSPC;
	*what = "out of memory";
	f->dma = dma_space_new(&zpci->memory, &ioat_dma_ops, f);
	if (!f->dma)
		return -ENOMEM;
	f->config = *config;
	if (config->mapping) {
		f->mapping_ops = *config->mapping;
		f->config.mapping = &f->mapping_ops;
	}
	error = mapping_create(f);
	if (error)
		goto free_dma;
	f->pfgid = group;
	f->pci = pci;
	f->unplug_requested = false;
	f->has_windows = window_possible(f);
	ioat_set(f, &(struct ioat){ 0 });
	memset(f->lanes, 0, sizeof(f->lanes));
	error = pci_function_attach(pci, f->dma, &interrupt_msi_ops, f);
	if (error) {
		*what = "the device is in use";
		f->pci = NULL;
		goto destroy_mapping;
	}
	zpci->groups[group].functions++;
	f->state = config->standby ? FUNCTION_STANDBY : FUNCTION_DISABLED;
	fh = next_handle(zpci, f->index);
	f->fh = fh; /* from here on the guest can reach it */
	TRACE(zpci, "zpci_plug", "fid=%#x fh=%08x %s", config->fid, fh, pci_function_name(pci));
	if (announce)
		event_availability(f, config->standby ? PEC_RESERVED_TO_STANDBY :
						      PEC_TO_CONFIGURED, fh);
	return 0;
destroy_mapping:
	mapping_destroy(f);
free_dma:
	dma_space_free(f->dma);
	f->dma = NULL;
	return error;
}

int zpci_plug_sized(struct zpci *zpci, struct pci_function *pci,
		    const struct zpci_function_config *given, size_t config_size,
		    size_t mapping_size, bool announce, char *error, size_t error_size)
{
	struct zpci_function_config config = { .fid = given->fid, .uid = given->uid };
	struct zpci_mapping_ops mapping;
	const char *what = "";
	int rc;

	rc = abi_copy(&config, sizeof(config), given, config_size);
	if (!rc && config.mapping) {
		rc = abi_copy(&mapping, sizeof(mapping), config.mapping, mapping_size);
		config.mapping = &mapping;
	}
	if (rc) {
		what = "asks for what this version of libzpci does not have";
	} else {
		pthread_mutex_lock(&zpci->slots_lock);
		rc = plug(zpci, pci, &config, announce, &what);
		pthread_mutex_unlock(&zpci->slots_lock);
	}
	if (rc && error)
		snprintf(error, error_size, "%s: fid %#x, uid %#x: %s", pci_function_name(pci),
			 config.fid, config.uid, what);
	return rc;
}

/*
 * Cut a function off: in its new state nobody reaches it, it reaches nothing. With `control`
 * held.
 */
static void cut_off(struct zpci_function *f, enum function_state state)
{
	pthread_mutex_lock(&f->lock);
	f->fh = state == FUNCTION_RESERVED ? 0 : f->fh & ~FH_ENABLED;
	f->mio = false;
	f->state = state;
	f->route = (struct interrupt_route){ 0 };
	function_update_access(f);
	pthread_mutex_unlock(&f->lock);
}

/* The device is quiet: forget what was registered. With `control` held. */
static void forget(struct zpci_function *f)
{
	dma_space_drain(f->dma, UINT64_MAX);
	mapping_clear(f);

	pthread_mutex_lock(&f->lock);
	ioat_set(f, &(struct ioat){ 0 });
	measurement_stop(f);
	pthread_mutex_unlock(&f->lock);
}

/*
 * Wait until no instruction executes on it; they are short, or wait for DMA. The
 * handle is invalid already, so a vCPU that has been seen elsewhere once does not come
 * back: one that tries the old handle over and over holds nobody up.
 */
static void wait_for_users(struct zpci_function *f, unsigned own)
{
	const struct timespec pause = { 0, 20000 };

	if (f->zpci->has_membarrier)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < ZPCI_FAST_VCPUS; i++) {
		while (atomic_load_explicit(&f->zpci->hazards[i].f, memory_order_acquire) == f)
			nanosleep(&pause, NULL);
	}
	window_wait_all(f);
	while (atomic_load(&f->users) > own)
		nanosleep(&pause, NULL);
}

int zpci_unplug(struct zpci *zpci, uint32_t fid)
{
	struct zpci_function *f = function_enter_fid(zpci, fid);
	bool configured;
	uint32_t fh;

	if (!f)
		return -ENOENT;
	pthread_mutex_lock(&f->control);
	/* Somebody else may have been faster. */
	fh = f->fh & ~FH_ENABLED;
	if (!fh || f->config.fid != fid) {
		pthread_mutex_unlock(&f->control);
		function_leave(f);
		return -ENOENT;
	}
	if (!function_settle(f, 0)) {
		pthread_mutex_unlock(&f->control);
		function_leave(f);
		return -EBUSY;
	}
	configured = f->state != FUNCTION_STANDBY;
	cut_off(f, FUNCTION_RESERVED);
	/* An instruction in progress may be about to reset the device, and is waited for. */
	pci_function_unsettle(f->pci);
	pthread_mutex_unlock(&f->control);

	wait_for_users(f, 1);
	TRACE(zpci, "zpci_unplug", "fid=%#x fh=%08x", fid, fh);
	pthread_mutex_lock(&f->control);
	pci_function_detach(f->pci);
	forget(f);
	pthread_mutex_unlock(&f->control);
	event_availability(f, configured ? PEC_CONFIGURED_TO_STANDBY : PEC_STANDBY_TO_RESERVED, fh);
	/* The slot is free once `pci` is NULL, which the lock makes others see. */
	pthread_mutex_lock(&zpci->slots_lock);
	mapping_destroy(f);
	dma_space_free(f->dma);
	f->dma = NULL;
	f->pci = NULL;
	zpci->groups[f->pfgid].functions--;
	function_leave(f);
	pthread_mutex_unlock(&zpci->slots_lock);
	return 0;
}

int zpci_request_unplug(struct zpci *zpci, uint32_t fid)
{
	struct zpci_function *f = function_enter_fid(zpci, fid);
	bool standby;

	if (!f)
		return -ENOENT;
	pthread_mutex_lock(&f->control);
	/* It may have been unplugged while we were waiting. */
	if (!f->fh || f->config.fid != fid) {
		pthread_mutex_unlock(&f->control);
		function_leave(f);
		return -ENOENT;
	}
	standby = f->state == FUNCTION_STANDBY;
	f->unplug_requested = true;
	if (!standby)
		event_availability(f, PEC_DECONFIGURE_REQUEST, f->fh);
	pthread_mutex_unlock(&f->control);
	function_leave(f);
	if (standby && zpci->config.machine->deconfigured)
		zpci->config.machine->deconfigured(zpci->config.opaque, fid);
	return 0;
}

/* --- states ----------------------------------------------------------------------- */

void function_update_access(struct zpci_function *f)
{
	if (f->state != FUNCTION_ENABLED && f->state != FUNCTION_BLOCKED)
		window_shut_all(f);
	if (f->state == FUNCTION_ENABLED)
		dma_space_open(f->dma);
	else
		dma_space_close(f->dma);
	mapping_gate(f, f->state == FUNCTION_ENABLED && f->ioat.registered);
}

void function_enable(struct zpci_function *f)
{
	pthread_mutex_lock(&f->lock);
	f->state = FUNCTION_ENABLED;
	f->fh |= FH_ENABLED;
	function_update_access(f);
	pthread_mutex_unlock(&f->lock);
}

bool function_settle(struct zpci_function *f, unsigned limit_us)
{
	return pci_function_settle(f->pci, limit_us);
}

void function_disable(struct zpci_function *f, enum function_state state)
{
	/* Nothing new begins; then the device forgets; then what is left ends. */
	cut_off(f, state);
	pci_function_reset_settled(f->pci);
	forget(f);
}

/* A function that works can fail; one that is configured can break for good. */
static bool can_fail(enum function_state state, bool permanent)
{
	switch (state) {
	case FUNCTION_ENABLED:
		return true;
	case FUNCTION_DISABLED:
	case FUNCTION_BLOCKED:
	case FUNCTION_ERROR:
		return permanent;
	default:
		return false;
	}
}

bool function_fail(struct zpci_function *f, enum pci_event_code pec, uint64_t address)
{
	bool permanent = pec == PEC_PERMANENT_ERROR, failed;

	pthread_mutex_lock(&f->lock);
	failed = can_fail(function_state(f), permanent);
	if (failed) {
		f->state = permanent ? FUNCTION_PERMANENT_ERROR : FUNCTION_ERROR;
		function_update_access(f);
	}
	pthread_mutex_unlock(&f->lock);
	if (failed)
		event_error(f, pec, address);
	return failed;
}

bool zpci_quiesce(struct zpci *zpci, uint32_t *fid)
{
	bool quiet = true;

	for (unsigned i = 0; i < ZPCI_FUNCTIONS_MAX; i++) {
		struct zpci_function *f = function_enter_slot(zpci, i);

		if (!f)
			continue;
		if (f->state != FUNCTION_STANDBY && !pci_function_quiesce(f->pci)) {
			quiet = false;
			*fid = f->config.fid;
		}
		function_leave(f);
	}
	return quiet;
}

void zpci_reset(struct zpci *zpci)
{
	for (unsigned i = 0; i < ZPCI_FUNCTIONS_MAX; i++) {
		struct zpci_function *f = function_enter_slot(zpci, i);

		if (!f)
			continue;
		pthread_mutex_lock(&f->control);
		if (f->state != FUNCTION_STANDBY) {
			while (!function_settle(f, UINT_MAX))
				;
			function_disable(f, FUNCTION_DISABLED);
		}
		pthread_mutex_unlock(&f->control);
		function_leave(f);
	}
	interrupt_reset(zpci);
	event_drop_all(zpci);
}
