/* SPDX-License-Identifier: MIT */
/*
 * Functions whose translations are made in a host's IOMMU beforehand.
 *
 * RPCIT, and the registration of tables, walk the range that they are about and bring
 * what is mapped (dma/mapping.h) in line with the tables. A guest can make tables that
 * name one page table everywhere, so a walk may be long without any memory behind it:
 * each attempt fetches a bounded number of entries and makes a bounded number of calls,
 * then the instruction ends with condition code 2, and the next attempt goes on where
 * this one ended.
 *
 * RPCIT has no operand that says how far it has come: Linux repeats it with the registers
 * as they were. So its progress is remembered here, for each vCPU. Only a repetition may
 * use it, as what has been walked already may have changed since: another RPCIT begins
 * anew. A repetition is one with all general registers as before, which neither a program
 * that has done something else meanwhile (its stack pointer, its loop counter), nor one
 * that was dispatched in between, is likely to have. And it may not once somebody has
 * come to the end of the same range, as a program does that was moved to another CPU.
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
#include <stdlib.h>

#include "dma/mapping.h"
#include "zpci/internal.h"

/* The work of one attempt: some hundred microseconds of walking; calls of the host. */
#define ATTEMPT_ENTRIES 65536
#define ATTEMPT_CALLS 256

/* A run is mapped in pieces, as a host may need a call for each page; and so many of them. */
#define PIECE (256 * PAGE_SIZE)
#define ATTEMPT_BYTES (8 * PIECE)

#define MAPPINGS_DEFAULT 65536

enum pass {
	PASS_FIRST,
	PASS_LACKING, /* something could not be mapped */
	PASS_AGAIN,   /* and what could be taken away has been */
};

struct progress {
	uint64_t token; /* of the registers */
	uint64_t first, last;
	uint64_t next;
	enum pass pass;
	bool valid;
};

struct function_mapping {
	struct dma_mapping *made;
	bool whole;   /* what is mapped now is taken away as a whole */
	bool unseen;  /* the function reaches all of memory */
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

static void unmap(void *opaque, uint64_t iova, uint64_t length)
{
	const struct zpci_function_config *config = &((struct zpci_function *)opaque)->config;

	config->mapping->unmap(config->mapping_opaque, iova, length);
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

void mapping_clear(struct zpci_function *f)
{
	struct function_mapping *m = f->mapping;

	if (!m)
		return;
	(void)dma_mapping_take_away(m->made, 0, UINT64_MAX);
	set_unseen(f, false);
	m->pending = false;
	m->registration.valid = false;
	for (unsigned i = 0; i < ARRAY_SIZE(m->refresh); i++)
		m->refresh[i].valid = false;
}

/* What of a run lies in memory is mapped; DMA to the rest will fail in the host. */
static int apply(struct zpci_function *f, const struct ioat_run *run)
{
	struct dma_mapping *made = f->mapping->made;
	uint64_t size = f->zpci->memory.size, last = run->last;
	int rc;

	if (!run->valid || run->absolute >= size)
		return dma_mapping_take_away(made, run->first, run->last);
	if (last - run->first >= size - run->absolute) {
		last = run->first + (size - run->absolute) - 1;
		rc = dma_mapping_take_away(made, last + 1, run->last);
		if (rc)
			return rc;
	}
	rc = dma_mapping_make(made, run->first, last, run->absolute, run->writable);
	/*
	 * Also of what was mapped already: the program may have let go of it, and taken it
	 * again. And after an error: part of it may be mapped.
	 */
	if (run->writable && f->zpci->memory.written)
		f->zpci->memory.written(f->zpci->memory.opaque, run->absolute, last - run->first + 1);
	return rc;
}

/* Take the first piece off a run; false: that was all of it. */
static bool cut_piece(struct ioat_run *run, struct ioat_run *piece)
{
	*piece = *run;
	if (!run->valid || run->last - run->first < PIECE)
		return false;
	piece->last = run->first + PIECE - 1;
	run->first += PIECE;
	run->absolute += PIECE;
	return true;
}

/* One attempt, from p->next on. 0, -EAGAIN, -ENOSPC, another errno, or a PCI event code. */
static int walk(struct zpci_function *f, const struct ioat *ioat, struct progress *p)
{
	uint64_t calls = dma_mapping_calls(f->mapping->made), done;
	struct ioat_run run = { 0 }, piece;
	bool left = false; /* of `run` */
	uint64_t mapped = 0;
	struct ioat_cursor c;
	int rc;

	ioat_cursor_init(&c, &f->zpci->memory, ioat->iota, p->next, p->last);
	c.budget = ATTEMPT_ENTRIES;
	while (true) {
		p->next = left ? run.first : c.has_ahead ? c.ahead.first : c.next;
		done = dma_mapping_calls(f->mapping->made) - calls;
		if ((done >= ATTEMPT_CALLS || mapped >= ATTEMPT_BYTES) && (left || !c.ended))
			return -EAGAIN;
		rc = left ? 0 : ioat_cursor_next(&c, &run);
		if (rc == -ENOENT)
			return 0;
		if (rc)
			return rc;
		left = cut_piece(&run, &piece);
		rc = apply(f, &piece);
		if (piece.valid && dma_mapping_calls(f->mapping->made) - calls > done)
			mapped += piece.last - piece.first + 1;
		if (rc && p->pass != PASS_AGAIN)
			p->pass = PASS_LACKING;
		else if (rc)
			return rc;
	}
}

static int attempt(struct zpci_function *f, const struct ioat *ioat, struct progress *p)
{
	int rc;

	if (!ioat_translates(ioat)) {
		struct ioat_run run = {
			.first = ioat->pba,
			.last = ioat->pal,
			.absolute = ioat->pba - f->config.sdma,
			.valid = true,
			.writable = true,
		};

		set_unseen(f, true);
		f->mapping->whole = true;
		rc = apply(f, &run);
		f->mapping->whole = false;
		return rc;
	}
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
		mapping_clear(f);
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

/* Everything that a repetition has as it was. */
static uint64_t token(struct zpci *zpci, struct zpci_vcpu *vcpu)
{
	uint64_t sum = 0;

	for (unsigned r = 0; r < 16; r++)
		sum = (sum ^ vcpu->registers[r]) * 0x9e3779b97f4a7c15ull + (sum >> 29);
	return sum;
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
	struct progress *p = &f->mapping->refresh[MIN(index, ZPCI_FAST_VCPUS)];
	uint64_t now = token(f->zpci, vcpu);
	int rc;

	if (f->mapping->pending)
		return outcome_cc(2);
	first = MAX(first, f->ioat.pba);
	last = MIN(last, f->ioat.pal);
	if (!p->valid || p->token != now || p->first != first || p->last != last)
		*p = (struct progress){ .token = now, .first = first, .last = last, .next = first };
	rc = attempt(f, &f->ioat, p);
	if (rc == -EAGAIN)
		p->valid = true;
	else
		forget_progress(f->mapping, first, last);
	return answer(f, rc, p->next);
}
