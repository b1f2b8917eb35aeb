/* SPDX-License-Identifier: MIT */
/*
 * What CLP query function says of functions that are configured in particular ways:
 * several of one device, function type, channel identifier, utility string.
 * docs/zpci.md, the section on that command.
 */
#include "../../../src/devices/testdev_regs.h"
#include "zpci/zpci.h"

#define VIRTIO_VENDOR 0x1af4
#define BAR_64BIT 0x4
#define FLAG_TOPOLOGY 0x20
#define FLAG_REQUESTER 0x10
#define MOST 16

static struct list_entry entries[MOST];
static struct function functions[MOST];
static unsigned count;

/* The bytes that Linux has as rid and tid; struct clp_rsp_query_pci. */
static uint16_t requester(const struct function *f)
{
	return ((const uint16_t *)&f->query)[40];
}

static uint16_t topology(const struct function *f)
{
	return ((const uint16_t *)&f->query)[43];
}

static void siblings(void)
{
	static const char requested[] = "functions of one device have one topology identifier";
	static const char own[] = "and each a requester identifier of its own";
	static const char channel[] = "and one channel identifier";
	static const char alone[] = "a function that is alone has neither";
	const struct function *first = NULL, *second = NULL, *single = NULL;

	for (unsigned i = 0; i < count; i++) {
		const struct function *f = &functions[i];

		if (!(f->query.flags & FLAG_TOPOLOGY))
			single = f;
		else if (!first)
			first = f;
		else if (topology(f) == topology(first))
			second = f;
	}
	if (second) {
		check((first->query.flags & FLAG_REQUESTER) &&
			      (second->query.flags & FLAG_REQUESTER),
		      'L', "clp.query.siblings", requested);
		check(requester(first) != requester(second), 'L', "clp.query.siblings.requester",
		      own);
		check_value(second->query.pchid, first->query.pchid, 'L',
			    "clp.query.siblings.pchid", channel);
	} else {
		not_here('L', "clp.query.siblings", requested, "several functions of one device");
		not_here('L', "clp.query.siblings.requester", own,
			 "several functions of one device");
		not_here('L', "clp.query.siblings.pchid", channel,
			 "several functions of one device");
	}
	if (single)
		check(!requester(single) && !topology(single) &&
			      !(single->query.flags & FLAG_REQUESTER),
		      'L', "clp.query.alone", alone);
	else
		not_here('L', "clp.query.alone", alone, "a function that is alone");
}

static void strings(void)
{
	static const char what[] = "a utility string: its flag, and EBCDIC padded with blanks";
	static const char without[] = "no utility string: no flag, and zeros";
	bool padded = false, some = false, none = true;

	for (unsigned i = 0; i < count; i++) {
		const struct function_response *q = &functions[i].query;

		if (q->flags & FUNCTION_UTIL_STRING) {
			some = true;
			/* "AB" and blanks. */
			padded = q->util_string[0] == 0xc1 && q->util_string[1] == 0xc2 &&
				 q->util_string[2] == 0x40 && q->util_string[63] == 0x40;
		} else {
			for (unsigned j = 0; j < 64; j++)
				none &= !q->util_string[j];
		}
	}
	check(none, 'Q', "clp.query.string.none", without);
	if (some)
		check(padded, 'C', "clp.query.string", what);
	else
		not_here('C', "clp.query.string", what, "a utility string of AB");
}

static void types(void)
{
	static const char what[] = "a function type other than 0";
	bool typed = false, unique = true, named = true;

	for (unsigned i = 0; i < count; i++) {
		typed |= functions[i].query.pft != 0;
		named &= functions[i].query.uid != 0;
		for (unsigned j = 0; j < i; j++)
			unique &= functions[i].query.uid != functions[j].query.uid;
	}
	if (typed)
		check(typed, 'C', "clp.query.type", what);
	else
		not_here('C', "clp.query.type", what, "a function of another type");
	clp_prepare(CLP_LIST, 4096);
	clp_call();
	if (CLP_RESPONSE(list_response)->flags & 1)
		check(unique && named, 'L', "clp.query.uid",
		      "where identifiers are announced as unique, they are, and none is 0");
	else
		not_here('L', "clp.query.uid",
			 "where identifiers are announced as unique, they are, and none is 0",
			 "unique identifiers");
}

/* What only some functions have; those here are no parts of others, and have none. */
static void none(void)
{
	static const char physical[] = "neither a virtual function nor one that has such: "
				       "number and flag are 0";
	static const char port[] = "nor does it have a port or a parameter: their bytes are 0";
	static const char bars[] = "a BAR that is not there: size and word are 0";
	bool known = true, zero = true, ports = true, missing = true;

	for (unsigned i = 0; i < count; i++) {
		const struct function *f = &functions[i];
		bool upper = false;

		known &= f->vendor == TESTDEV_PCI_VENDOR || f->vendor == VIRTIO_VENDOR;
		zero &= !f->query.vfn && !(f->query.flags & FUNCTION_PHYSICAL);
		ports &= !f->query.reserved1;
		for (unsigned bar = 0; bar < 6; bar++) {
			if (!f->query.bar_size[bar] && !upper)
				missing &= !f->query.bar[bar];
			upper = f->query.bar_size[bar] && f->query.bar[bar] >> 24 & BAR_64BIT;
		}
	}
	if (known) {
		check(zero, 'L', "clp.query.vfn", physical);
		check(ports, 'C', "clp.query.port", port);
	} else {
		not_here('L', "clp.query.vfn", physical, "functions of a known kind");
		not_here('C', "clp.query.port", port, "functions of a known kind");
	}
	check(missing, 'Q', "clp.query.bar-none", bars);
}

static void groups(void)
{
	bool zero = true;

	for (unsigned i = 0; i < count; i++) {
		const struct group_response *g = &functions[i].group;

		zero &= !g->version && !(g->flags & GROUP_FRAME) && !g->maxfaal && !g->dma_mask;
	}
	check(zero, 'C', "clp.group.zeros", "version, frame bit, maxfaal and DMA mask are 0");
}

void guest_main(void)
{
	count = functions_list(entries, MOST);
	if (count > MOST)
		count = MOST;
	for (unsigned i = 0; i < count; i++) {
		functions[i].fid = entries[i].fid;
		functions[i].fh = entries[i].fh;
		functions[i].vendor = entries[i].vendor;
		if (!function_query(&functions[i]))
			bail("function %x cannot be queried", functions[i].fid);
	}
	siblings();
	strings();
	types();
	none();
	groups();
}
