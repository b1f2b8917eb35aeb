/* SPDX-License-Identifier: MIT */
/*
 * Functions whose translations are made in a host's IOMMU beforehand.
 *
 * RPCIT, and the registration of tables, walk the range that they are about and bring
 * what is mapped (dma/mapping.h) in line with the tables. A guest can make tables that
 * name one page table everywhere, so a walk may be long without any memory behind it:
 * each attempt fetches a bounded number of entries and makes a bounded number of changes,
 * then the instruction ends with condition code 2, and the next attempt goes on where
 * this one ended. An attempt compares first (dma/plan.h), unmaps then, and maps at last.
 *
 * RPCIT has no operand that says how far it has come: Linux repeats it with its operands
 * as they were. So its progress is remembered here, for each vCPU. Only a repetition may
 * use it, as what has been walked already may have changed since: another RPCIT begins
 * anew. A repetition is one for the same range with the same stack pointer (register 15 in all
 * that compilers make), which a program that was dispatched in between has not. Other registers are
 * not to be gone by: Linux waits in between (udelay() in zpci_refresh_trans()), which leaves the
 * time of day in some, and who counts his attempts does so in one. And it may not once somebody has
 * come to the end of the same range, as a program does that was moved to another CPU.
 *
 * A program may repeat it on purpose after it has changed what had been walked. That is
 * none that we could tell from Linux, so it is believed of nobody that nothing has changed:
 * the attempt that comes to the end of the range looks once more at what earlier ones
 * have been through. As much as an attempt may, it walks as any; of the rest, the parts that are
 * mapped. So whatever the tables have been made before an instruction that ends with
 * condition code 0, nothing is mapped that was not in them; and this, too, is bounded, by what can be
 * mapped. Who changes more than an attempt may, over and over, keeps himself busy.
 *
 * When something cannot be mapped, the rest of the range is gone through nevertheless,
 * for what is to be taken away, and then the whole once more. If it is still too much
 * the program is told that there are not enough resources (status 16, which Linux's
 * answer is to unmap what it had kept for later).
 *
 * Nobody tells us of what such a function stores in memory, and CPUs keep what they know of
 * memory, decoded code for one. So a range counts as written when a program has it mapped:
 * what is known of it from before is forgotten, and nobody who has given a page to a device
 * looks at it before the device is done. With direct mapping no such moment comes: the owner
 * of memory is told of the state itself (stores_unseen).
 *
 * All of it happens with the function's `control` lock held.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "dma/mapping.h"
#include "dma/plan.h"
#include "zpci/internal.h"

/*
 * How far an attempt walks: some hundred microseconds. Entries that are fetched, and
 * pages, as there are frames of more than one. How much it changes is the plan's to say.
 */
#define ATTEMPT_ENTRIES 65536
#define NO_LIMIT UINT_MAX

#define MAPPINGS_DEFAULT 65536

enum pass {
	PASS_FIRST,
	PASS_LACKING, /* something could not be mapped */
	PASS_AGAIN, /* and what could be taken away has been */
};

struct progress {
	uint64_t stack_pointer;
	uint64_t first, last;
	uint64_t next;
	enum pass pass;
	bool valid;
};

struct function_mapping {
	struct dma_mapping *made;
	struct dma_plan plan;
	bool whole; /* what is mapped now is taken away as a whole */
	bool unseen; /* the function reaches all of memory */
	bool pending; /* tables are being registered: `target` */
	struct ioat target;
	struct progress registration;
	/* The last is shared by all vCPUs with higher numbers. */
	struct progress refresh[ZPCI_FAST_VCPUS + 1];
};

static int map(void *opaque, uint64_t iova, uint64_t absolute, uint64_t length, bool writable)
{
	struct zpci_function *f = opaque;
	const struct zpci_mapping_ops *ops = f->config.mapping;
	bool whole = f->mapping->whole && ops->map_whole;

	return (whole ? ops->map_whole : ops->map)(f->config.mapping_opaque, iova, absolute, length,
						   writable);
}

static int unmap(void *opaque, uint64_t iova, uint64_t length)
{
	const struct zpci_function_config *config = &((struct zpci_function *)opaque)->config;

	return config->mapping->unmap(config->mapping_opaque, iova, length);
}

static const struct dma_mapping_ops mapping_ops = { .map = map, .unmap = unmap };

int mapping_create(struct zpci_function *f)
{
	unsigned max = f->config.mappings_max ? f->config.mappings_max : MAPPINGS_DEFAULT;

	f->mapping = NULL;
	if (!f->config.mapping)
		return 0;
	f->mapping = calloc(1, sizeof(*f->mapping));
	if (!f->mapping)
		return -ENOMEM;
	f->mapping->made = dma_mapping_new(&mapping_ops, f, max);
	if (f->mapping->made)
		return 0;
	free(f->mapping);
	f->mapping = NULL;
	return -ENOMEM;
}

static void set_unseen(struct zpci_function *f, bool unseen)
{
	struct zpci *zpci = f->zpci;

	if (f->mapping->unseen != unseen && zpci->stores_unseen)
		zpci->stores_unseen(zpci->memory.opaque, unseen);
	f->mapping->unseen = unseen;
}

void mapping_destroy(struct zpci_function *f)
{
	if (!f->mapping)
		return;
	dma_mapping_free(f->mapping->made);
	set_unseen(f, false);
	free(f->mapping);
	f->mapping = NULL;
}

void mapping_gate(struct zpci_function *f, bool open)
{
	if (f->mapping)
		f->config.mapping->gate(f->config.mapping_opaque, open);
}

static int clear(struct zpci_function *f)
{
	struct function_mapping *m = f->mapping;

	m->pending = false;
	m->registration.valid = false;
	for (unsigned i = 0; i < ARRAY_SIZE(m->refresh); i++)
		m->refresh[i].valid = false;
	if (dma_mapping_take_away(m->made, 0, UINT64_MAX))
		return -EIO;
	set_unseen(f, false);
	return 0;
}

/*
 * If the host does not unmap, a function that works is put in error, where its DMA is kept back. Of
 * one that does not work it is; it is tried again before tables are registered anew.
 */
void mapping_clear(struct zpci_function *f)
{
	if (f->mapping && clear(f))
		function_fail(f, PEC_SYSTEM_ERROR, 0);
}

/* --- what is wanted against what is there --------------------------------------------- */

/* CPUs may know the old content of what the program gives to the device. */
static void tell_written(struct zpci_function *f, const struct dma_mapped *run)
{
	const struct dma_memory *memory = &f->zpci->memory;

	if (run->writable && memory->written)
		memory->written(memory->opaque, run->absolute, run->last - run->first + 1);
}

/*
 * What of a run lies in memory is wanted; DMA to the rest will fail in the host. The last address
 * that has been gone through: a valid piece as a whole, other runs until the plan is full.
 */
static uint64_t plan_run(struct zpci_function *f, const struct ioat_run *run)
{
	struct dma_plan *plan = &f->mapping->plan;
	struct dma_mapped wanted = { run->first, run->last, run->absolute, run->writable };
	uint64_t size = f->zpci->memory.size;
	bool some;

	if (!run->valid || run->absolute >= size)
		return dma_plan_nothing(plan, run->first, run->last);
	if (run->last - run->first >= size - run->absolute)
		wanted.last = run->first + (size - run->absolute) - 1;
	some = dma_plan_make(plan, &wanted);
	if (wanted.last != run->last)
		(void)dma_plan_nothing(plan, wanted.last + 1, run->last);
	/* The program may have let go of what was mapped already, and taken it again. */
	if (some)
		tell_written(f, &wanted);
	return run->last;
}

/* Take the first piece off a run; false: that was all of it. */
static bool cut_piece(struct ioat_run *run, struct ioat_run *piece)
{
	*piece = *run;
	if (!run->valid || run->last - run->first < DMA_PLAN_PIECE)
		return false;
	piece->last = run->first + DMA_PLAN_PIECE - 1;
	run->first += DMA_PLAN_PIECE;
	run->absolute += DMA_PLAN_PIECE;
	return true;
}

/*
 * Compare [*next, last] with what is mapped, and plan the difference. 0; -EAGAIN when the plan
 * is full or the limit is reached, `next` being where; or a PCI event code, for the address there.
 */
static int compare(struct zpci_function *f, const struct ioat *ioat, uint64_t *next, uint64_t last,
		   unsigned limit)
{
	struct ioat_run run = { 0 }, piece;
	bool left = false; /* of `run` */
	uint64_t pages = 0, end;
	struct ioat_cursor c;
	int rc;

	ioat_cursor_init(&c, &f->zpci->memory, ioat->iota, *next, last);
	c.budget = limit;
	while (true) {
		*next = left ? run.first : c.has_ahead ? c.ahead.first : c.next;
		if ((dma_plan_full(&f->mapping->plan) || pages >= limit) && (left || !c.ended))
			return -EAGAIN;
		rc = left ? 0 : ioat_cursor_next(&c, &run);
		if (rc)
			return rc == -ENOENT ? 0 : rc;
		left = cut_piece(&run, &piece);
		end = plan_run(f, &piece);
		if (end != piece.last) {
			run.first = end + 1;
			left = true;
		}
		if (piece.valid)
			pages += (piece.last - piece.first) / PAGE_SIZE + 1;
	}
}

/* The same of what is mapped in the range only; as much as that is. */
static int compare_mapped(struct zpci_function *f, const struct ioat *ioat, uint64_t *next,
			  uint64_t last)
{
	struct dma_mapped run;

	while (*next <= last && dma_mapping_next(f->mapping->made, *next, &run) &&
	       run.first <= last) {
		uint64_t end = MIN(run.last, last);
		int rc;

		*next = MAX(run.first, *next);
		rc = compare(f, ioat, next, end, NO_LIMIT);
		if (rc)
			return rc;
		*next = end + 1;
	}
	return 0;
}

/* What was compared by attempts before this one: nothing has happened since but a program. */
static int compare_again(struct zpci_function *f, const struct ioat *ioat, struct progress *p,
			 uint64_t last)
{
	const struct dma_plan *plan = &f->mapping->plan;
	int rc;

	dma_plan_jump(&f->mapping->plan);
	p->next = p->first;
	rc = compare(f, ioat, &p->next, last, ATTEMPT_ENTRIES);
	if (rc == -EAGAIN && !dma_plan_full(plan))
		rc = compare_mapped(f, ioat, &p->next, last);
	if (rc == -EAGAIN)
		p->next = p->first;
	return rc;
}

/* Make it so. -EIO, or another errno: something could not be mapped. */
static int carry_out(struct zpci_function *f, bool to_the_end)
{
	const struct dma_plan *plan = &f->mapping->plan;
	struct dma_mapping *made = f->mapping->made;
	int rc, lacking = 0;

	for (unsigned i = 0; i < plan->stale_count; i++) {
		rc = dma_mapping_take_away(made, plan->stale[i].first, plan->stale[i].last);
		if (rc == -EIO)
			return rc;
		lacking = rc ? rc : lacking;
	}
	for (unsigned i = 0; i < plan->missing_count && (to_the_end || !lacking); i++) {
		const struct dma_mapped *run = &plan->missing[i];

		rc = dma_mapping_make(made, run->first, run->last, run->absolute, run->writable);
		/* After an error, too: part of it may be mapped. */
		tell_written(f, run);
		if (rc == -EIO)
			return rc;
		lacking = rc ? rc : lacking;
	}
	return lacking;
}

/* One attempt, from p->next on. 0, -EAGAIN, -ENOSPC, another errno, or a PCI event code. */
static int walk(struct zpci_function *f, const struct ioat *ioat, struct progress *p)
{
	uint64_t begin = p->next;
	int rc, lacking;

	dma_plan_begin(&f->mapping->plan, f->mapping->made);
	rc = compare(f, ioat, &p->next, p->last, ATTEMPT_ENTRIES);
	if (!rc && begin > p->first && p->pass != PASS_LACKING)
		rc = compare_again(f, ioat, p, begin - 1);
	if (rc > 0)
		return rc;
	lacking = carry_out(f, p->pass != PASS_AGAIN);
	if (lacking == -EIO || (lacking && p->pass == PASS_AGAIN))
		return lacking;
	if (lacking)
		p->pass = PASS_LACKING;
	return rc;
}

static int map_all(struct zpci_function *f, const struct ioat *ioat)
{
	const struct ioat_run run = {
		.first = ioat->pba,
		.last = ioat->pal,
		.absolute = ioat->pba - f->config.sdma,
		.valid = true,
		.writable = true,
	};
	int rc;

	set_unseen(f, true);
	dma_plan_begin(&f->mapping->plan, f->mapping->made);
	(void)plan_run(f, &run);
	f->mapping->whole = true;
	rc = carry_out(f, true);
	f->mapping->whole = false;
	return rc;
}

static int attempt(struct zpci_function *f, const struct ioat *ioat, struct progress *p)
{
	int rc;

	if (!ioat_translates(ioat))
		return map_all(f, ioat);
	rc = walk(f, ioat, p);
	if (rc || p->pass != PASS_LACKING)
		return rc;
	p->pass = PASS_AGAIN;
	p->next = p->first;
	return -EAGAIN;
}

/* `address` is for the event. */
static struct outcome answer(struct zpci_function *f, int rc, uint64_t address)
{
	switch (rc) {
	case 0:
		return outcome_cc(0);
	case -EAGAIN:
		return outcome_cc(2);
	default:
		break;
	}
	/* Whatever is mapped still: in error its DMA is kept back. */
	if (rc == -EIO)
		rc = PEC_SYSTEM_ERROR;
	if (rc < 0)
		return outcome_status(STATUS_INSUFFICIENT_RESOURCES);
	function_fail(f, rc, address);
	return outcome_status(STATUS_FUNCTION_IN_ERROR);
}

struct outcome mapping_register(struct zpci_function *f, const struct ioat *ioat)
{
	struct function_mapping *m = f->mapping;
	struct progress *p = &m->registration;
	int rc;

	if (!m->pending || !ioat_equal(&m->target, ioat)) {
		rc = clear(f);
		if (rc)
			return answer(f, rc, ioat->pba);
		m->pending = true;
		m->target = *ioat;
		*p = (struct progress){ .first = ioat->pba, .last = ioat->pal, .next = ioat->pba };
	}
	rc = attempt(f, ioat, p);
	if (rc != -EAGAIN)
		m->pending = false;
	if (rc && rc != -EAGAIN)
		mapping_clear(f);
	return answer(f, rc, p->next);
}

/*
 * A refresh of [first, last] has ended. Whoever was at it on another CPU as well was
 * perhaps the same program, which will not repeat it there.
 */
static void forget_progress(struct function_mapping *m, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < ARRAY_SIZE(m->refresh); i++) {
		if (m->refresh[i].first == first && m->refresh[i].last == last)
			m->refresh[i].valid = false;
	}
}

struct outcome mapping_refresh(struct zpci_function *f, struct zpci_vcpu *vcpu, unsigned index,
			       uint64_t first, uint64_t last)
{
	struct progress *kept = &f->mapping->refresh[MIN(index, ZPCI_FAST_VCPUS)];
	struct progress p = { .stack_pointer = vcpu->registers[15] };
	int rc;

	if (f->mapping->pending)
		return outcome_cc(2);
	first = MAX(first, f->ioat.pba);
	last = MIN(last, f->ioat.pal);
	if (kept->valid && kept->stack_pointer == p.stack_pointer && kept->first == first &&
	    kept->last == last) {
		p = *kept;
	} else {
		p.first = p.next = first;
		p.last = last;
	}
	rc = attempt(f, &f->ioat, &p);
	/* One that ends at once is in nobody's way. */
	if (rc == -EAGAIN) {
		*kept = p;
		kept->valid = true;
	} else {
		forget_progress(f->mapping, first, last);
	}
	return answer(f, rc, p.next);
}
