/* SPDX-License-Identifier: MIT */
/*
 * Functions that come and go: availability events, and the handles before and after.
 * docs/zpci.md, "Events and states".
 *
 * Who runs the program plugs and unplugs a function with fid 12 when it is told so
 * by a line "# host: plug", "# host: unplug" (ask for it) or "# host: remove" (take it
 * away without asking); scripts/conformance does that through QMP.
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

#include "../../../src/devices/testdev_regs.h"

#define FID 12
/* For what somebody else has to do first. */
#define HOST_PATIENCE (30 * SECOND)

enum {
	PEC_TO_CONFIGURED = 0x0301,
	PEC_RESERVED_TO_STANDBY = 0x0302,
	PEC_DECONFIGURE_REQUEST = 0x0303,
	PEC_CONFIGURED_TO_STANDBY = 0x0304,
	PEC_STANDBY_TO_RESERVED = 0x0308,
};

static struct function *f; /* one that stays */
static struct function new;

static void host(const char *what)
{
	print("# host: %s\n", what);
}

static struct event next_event(void)
{
	uint64_t begin = tod_clock();
	struct event event;

	do {
		event = event_next();
	} while (!event.content && tod_clock() - begin < HOST_PATIENCE);
	return event;
}

static bool listed(void)
{
	new.fid = FID;
	return function_refresh_handle(&new);
}

static bool available(struct event event, unsigned pec, uint32_t fh)
{
	bool good = event.content == 2 && event.pec == pec && event.fid == FID &&
		    (!fh || event.fh == fh);

	if (!good)
		note("event content %u code %04x fid %x fh %08x, expected fh %08x", event.content,
		     event.pec, event.fid, event.fh, fh);
	return good;
}

static bool other_works(void)
{
	return config_read(f, 0, 2) == f->vendor;
}

static bool plug(void)
{
	struct event event;

	host("plug");
	event = next_event();
	return event.content == 2 && event.pec == PEC_TO_CONFIGURED && listed();
}

static void comes(void)
{
	struct event event;

	check(!listed(), 'L', "hotplug.before", "a function that is not there is not listed");
	check_value(sclp_configure(FID, true), 0x9f0, 'Q', "hotplug.before.configure",
		    "configure: response 09f0");
	host("plug");
	event = next_event();
	check(available(event, PEC_TO_CONFIGURED, 0), 'L', "hotplug.plug.event",
	      "it comes: availability event 0301 with its fid");
	check_value(event_next().content, 0, 'L', "hotplug.plug.event.one", "one event, not more");
	check(listed() && new.configured && !(new.fh >> 31), 'L', "hotplug.plug.listed",
	      "it is listed as configured and disabled");
	check_value(new.fh, event.fh, 'L', "hotplug.plug.handle", "with the handle of the event");
	check_value(function_set(&new, CLP_ENABLE, 1), CLP_OK, 'L', "hotplug.plug.enable",
		    "it can be enabled");
	check(function_query(&new) && config_read(&new, 0, 2) == new.vendor, 'L',
	      "hotplug.plug.works", "and used");
	check(other_works(), 'L', "hotplug.plug.other", "another function works on");
}

static void goes(void)
{
	struct event event;
	uint32_t last = new.fh;

	host("unplug");
	event = next_event();
	check(available(event, PEC_DECONFIGURE_REQUEST, last), 'L', "hotplug.request.event",
	      "it is wanted back: event 0303 with fid and handle");
	check_value(config_read(&new, 0, 2), new.vendor, 'L', "hotplug.request.works",
		    "it works until the program gives it back");
	function_set(&new, CLP_DISABLE, 0);
	check_value(sclp_configure(FID, false), 0x20, 'L', "hotplug.request.deconfigure",
		    "deconfigure: response 0020");
	event = next_event();
	check(available(event, PEC_STANDBY_TO_RESERVED, 0), 'L', "hotplug.gone.event",
	      "then it goes: event 0308");
	check(!listed(), 'L', "hotplug.gone.listed", "it is not listed any more");
	check_answer(insn_pcilg(place(last, CONFIG_SPACE, 4), 0, NULL), CC(3), 'L',
		     "hotplug.gone.handle", "its handle: condition code 3");
	check_value(sclp_configure(FID, true), 0x9f0, 'Q', "hotplug.gone.configure",
		    "configure: response 09f0");
	check(other_works(), 'L', "hotplug.gone.other", "another function works on");
}

static void goes_from_standby(void)
{
	uint32_t before = new.fh & ~(1u << 31);
	struct event event;

	if (!check(plug(), 'L', "hotplug.again", "it comes again")) {
		rest_not_here("a function that comes again");
		return;
	}
	check(new.fh != before, 'C', "hotplug.again.handle", "with another handle than before");
	check_value(sclp_configure(FID, false), 0x20, 'L', "hotplug.standby",
		    "deconfigure without a request: response 0020");
	check(listed() && !new.configured, 'L', "hotplug.standby.listed",
	      "without a request it stays in standby");
	host("unplug");
	event = next_event();
	check(available(event, PEC_STANDBY_TO_RESERVED, 0), 'L', "hotplug.standby.event",
	      "from standby it goes at once: event 0308");
	check(!listed(), 'L', "hotplug.standby.gone", "it is not listed any more");
}

/* ---- What only some hosts do ---- */

static void comes_in_standby(void)
{
	struct event event;

	host("plug in standby");
	event = next_event();
	check(available(event, PEC_RESERVED_TO_STANDBY, 0), 'L', "hotplug.arrival.event",
	      "it comes in standby: event 0302 with its fid");
	check(listed() && !new.configured &&new.fh == event.fh, 'L', "hotplug.arrival.listed",
	      "it is listed in standby, with the handle of the event");
	check_value(function_set(&new, CLP_ENABLE, 1), 0x102, 'C', "hotplug.arrival.enable",
		    "enable: response 0102");
	check_value(sclp_configure(FID, true), 0x20, 'L', "hotplug.arrival.configure",
		    "configure: response 0020");
	check(function_refresh_handle(&new) && function_set(&new, CLP_ENABLE, 1) == CLP_OK &&
		      function_query(&new) && config_read(&new, 0, 2) == new.vendor,
	      'L', "hotplug.arrival.works", "then it can be enabled, and used");
	host("remove");
	event = next_event();
	check(available(event, PEC_CONFIGURED_TO_STANDBY, 0), 'L', "hotplug.arrival.removed",
	      "taken away: event 0304");
}

static void taken_away(void)
{
	static struct dma dma;
	uint64_t *third = iotable_new();
	volatile uint8_t *page = frames(PAGE_SIZE, PAGE_SIZE);
	struct fib fib;
	struct event event;

	if (!plug() || function_set(&new, CLP_ENABLE, 1) != CLP_OK || !function_query(&new) ||
	    !dma_find(&dma, &new)) {
		check(false, 'L', "hotplug.removed.event", "taken away: event 0304");
		return;
	}
	iotable_map(third, new.query.sdma, (void *)page, 0);
	memset(&fib, 0, sizeof(fib));
	fib.pba = new.query.sdma;
	fib.pal = new.query.sdma + 0xfffff;
	fib.iota = (uint64_t)third | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	modify(&new, REGISTER_TRANSLATION, &fib);
	dma_start(&dma);
	bar_write(&new, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_ADDRESS, 8, new.query.sdma);
	bar_write(&new, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_LENGTH, 8, 64);
	bar_write(&new, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_PATTERN, 8, ~0ull);
	bar_write(&new, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_DELAY, 8, 1);
	bar_write(&new, TESTDEV_BAR_REGISTERS, TESTDEV_DMA_COMMAND, 8,
		  TESTDEV_OP_FILL | TESTDEV_DMA_THREAD | TESTDEV_DMA_REPEAT);
	wait_for(*page, PATIENCE);
	host("remove");
	event = next_event();
	check(available(event, PEC_CONFIGURED_TO_STANDBY, 0), 'L', "hotplug.removed.event",
	      "taken away: event 0304");
	check_answer(insn_pcilg(place(new.fh, CONFIG_SPACE, 4), 0, NULL), CC(3), 'L',
		     "hotplug.removed.handle", "its handle: condition code 3");
	*page = 0;
	check(!wait_for(*page, QUIET), 'L', "hotplug.removed.dma", "nothing is stored any more");
	check(!listed(), 'L', "hotplug.removed.listed", "it is not listed any more");
	check(other_works(), 'L', "hotplug.removed.other", "another function works on");
}

void guest_main(void)
{
	f = function_find();
	function_enable(f);
	events_drop();
	comes();
	goes();
	goes_from_standby();
	if (f->vendor == TESTDEV_PCI_VENDOR && f->device == TESTDEV_PCI_DEVICE) {
		comes_in_standby();
		taken_away();
	} else {
		rest_not_here("a host that takes functions away without asking");
	}
	function_disable(f);
}
