/* SPDX-License-Identifier: MIT */
/*
 * Says what CLP answers about each function and its group, a line for each:
 *
 *	# function NAME=VALUE...
 *	# group NAME=VALUE...
 *
 * with values in hexadecimal and the fields' names in Linux (struct clp_rsp_query_pci,
 * struct clp_rsp_query_pci_grp in arch/s390/include/asm/pci_clp.h). So one can compare a
 * function with what a guest sees of it that it was passed through to.
 */
#include "zpci/zpci.h"

#define FUNCTIONS 16u

static void function(const struct list_entry *entry)
{
	struct function f = { .fid = entry->fid, .fh = entry->fh };
	const struct function_response *q = &f.query;
	const struct group_response *g = &f.group;

	if (!ok(function_query(&f), "function %x and its group are described", entry->fid))
		return;
	print("# function vendor=%x device=%x fid=%x uid=%x vfn=%x pfgid=%x pchid=%x pft=%x "
	      "fmb_len=%x sdma=%lx edma=%lx flags=%x bar_size=%02x%02x%02x%02x%02x%02x "
	      "pfip=%02x%02x%02x%02x util_str=",
	      entry->vendor, entry->device, q->fid, q->uid, q->vfn, q->pfgid, q->pchid, q->pft,
	      q->fmb_length, q->sdma, q->edma, q->flags, q->bar_size[0], q->bar_size[1],
	      q->bar_size[2], q->bar_size[3], q->bar_size[4], q->bar_size[5], q->pfip[0],
	      q->pfip[1], q->pfip[2], q->pfip[3]);
	for (unsigned i = 0; i < sizeof(q->util_string); i++)
		print("%02x", q->util_string[i]);
	print("\n# group pfgid=%x noi=%x version=%x flags=%x maxstbl=%x mui=%x dtsm=%x maxfaal=%x "
	      "dnoi=%x maxcpu=%x dasm=%lx msia=%lx\n",
	      q->pfgid, g->interrupts, g->version, g->flags, g->store_block_max,
	      g->update_interval, g->designations, g->maxfaal, g->dnoi, g->maxcpu, g->dma_mask,
	      g->msi_address);
}

void guest_main(void)
{
	struct list_entry entries[FUNCTIONS];
	unsigned n = functions_list(entries, FUNCTIONS);

	ok(n != 0, "there are functions");
	for (unsigned i = 0; i < n && i < FUNCTIONS; i++)
		function(&entries[i]);
}
