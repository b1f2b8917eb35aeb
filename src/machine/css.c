/* SPDX-License-Identifier: MIT */
/* I/O instructions of a machine without subchannels; see css.h. */
#include "machine/css.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/trace.h"
#include "machine/internal.h"
#include "machine/pci.h"

/* Channel-report word: reporting-source code "channel subsystem", event pending. */
#define CRW_CSS_EVENT 0x0b000000u

#define SCHIB_SIZE 52
#define IRB_SIZE 64
#define ORB_SIZE 32
#define CHANNEL_PATH_STATUS_SIZE 32

/* --- subchannel instructions --------------------------------------------------- */

/*
 * A subchannel-identification word: bit 15 one; without the multiple-CSS
 * facility, the rest of the left half but the set number (bits 13, 14) zero.
 */
static bool subchannel_id_valid(uint32_t id)
{
	return (id & 0x00010000) && !(id & 0xfff80000);
}

/* Access exceptions of a storage operand come before the condition code. */
static int operand_accessible(struct vcpu *v, const struct cpu_insn *insn, unsigned int length,
			      bool write)
{
	uint64_t absolute;
	int rc;

	if (insn->address & 3)
		return vcpu_program(v, PGM_SPECIFICATION);
	rc = vcpu_translate(v, insn->address, insn->b2, write, &absolute);
	if (!rc && (insn->address & (PAGE_SIZE - 1)) + length > PAGE_SIZE)
		rc = vcpu_translate(v, insn->address + length - 1, insn->b2, write, &absolute);
	return rc;
}

/* What all of them are here: look at the operands, find no subchannel. */
static int no_subchannel(struct vcpu *v, const struct cpu_insn *insn, const char *name,
			 unsigned int length, bool write)
{
	int rc = machine_privileged(v);

	if (!rc && length)
		rc = operand_accessible(v, insn, length, write);
	if (rc)
		return rc;
	if (!subchannel_id_valid((uint32_t)vcpu_gr(v, 1)))
		return vcpu_program(v, PGM_OPERAND);
	vcpu_set_cc(v, 3);
	trace_css_instruction(name, vcpu_gr(v, 1), 3);
	return 0;
}

static int handle_csch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "csch", 0, false);
}

static int handle_hsch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "hsch", 0, false);
}

static int handle_rsch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "rsch", 0, false);
}

static int handle_xsch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "xsch", 0, false);
}

static int handle_msch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "msch", SCHIB_SIZE, false);
}

static int handle_ssch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "ssch", ORB_SIZE, false);
}

static int handle_stsch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "stsch", SCHIB_SIZE, true);
}

static int handle_tsch(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	return no_subchannel(v, insn, "tsch", IRB_SIZE, true);
}

/* --- others ------------------------------------------------------------------------ */

/* RESET CHANNEL PATH: there is none. */
static int handle_rchp(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if ((uint32_t)vcpu_gr(v, 1) & 0xff00ff00)
		return vcpu_program(v, PGM_OPERAND);
	vcpu_set_cc(v, 3);
	trace_css_instruction("rchp", vcpu_gr(v, 1), 3);
	return 0;
}

/* SET ADDRESS LIMIT: checked, and then without effect, as no subchannel checks. */
static int handle_sal(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if ((uint32_t)vcpu_gr(v, 1) & 0x8000ffff)
		return vcpu_program(v, PGM_OPERAND);
	return 0;
}

/* SET CHANNEL MONITOR: likewise; there is nothing to measure. */
static int handle_schm(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	uint32_t control = (uint32_t)vcpu_gr(v, 1);
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	/* Bit 30 starts measurement with blocks at the origin in register 2. */
	if ((control & 0x0ffffffc) || ((control & 2) && (vcpu_gr(v, 2) & 0x1f)))
		return vcpu_program(v, PGM_OPERAND);
	return 0;
}

static int handle_stcps(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	static const uint8_t all_idle[CHANNEL_PATH_STATUS_SIZE];
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if (insn->address & 31)
		return vcpu_program(v, PGM_SPECIFICATION);
	return vcpu_write(v, insn->address, insn->b2, all_idle, sizeof(all_idle));
}

/*
 * TEST PENDING INTERRUPTION: the interruption is cleared and its code stored, in
 * two words at the operand, or in three in the lowcore when the address is 0.
 */
static int handle_tpi(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct machine *machine = opaque;
	struct cpu_io_interruption io;
	uint8_t code[12];
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if (insn->address) {
		rc = operand_accessible(v, insn, 8, true);
		if (rc)
			return rc;
	}
	if (!floating_take_io(&machine->floating, machine_cpu_address(v), vcpu_state(v)->cr[6],
			      &io)) {
		vcpu_set_cc(v, 0);
		return 0;
	}
	store_be32(code, io.subchannel_id);
	store_be32(code + 4, io.parameter);
	store_be32(code + 8, io.interruption_word);
	if (insn->address)
		rc = vcpu_write(v, insn->address, insn->b2, code, 8);
	else
		rc = memory_write(&machine->memory,
				  vcpu_state(v)->prefix + LC_IO_SUBCHANNEL_ID, code, 12);
	if (rc) {
		/* Another CPU has taken the page away meanwhile: not stored, not taken. */
		floating_put_back_io(&machine->floating, machine_cpu_address(v), &io);
		return rc;
	}
	vcpu_set_cc(v, 1);
	trace_css_instruction("tpi", io.interruption_word, 1);
	return 0;
}

/* --- channel reports ---------------------------------------------------------------- */

void css_event_pending(struct machine *machine)
{
	struct css *css = &machine->css;
	bool announce;

	pthread_mutex_lock(&css->lock);
	css->crw_pending = true;
	announce = css->announce;
	css->announce = false;
	pthread_mutex_unlock(&css->lock);
	if (announce)
		floating_channel_report(&machine->floating);
}

static int handle_stcrw(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct machine *machine = opaque;
	struct css *css = &machine->css;
	uint32_t crw;
	uint8_t word[4];
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if (insn->address & 3)
		return vcpu_program(v, PGM_SPECIFICATION);
	pthread_mutex_lock(&css->lock);
	crw = css->crw_pending ? CRW_CSS_EVENT : 0;
	store_be32(word, crw);
	rc = vcpu_write(v, insn->address, insn->b2, word, sizeof(word));
	if (!rc) {
		css->crw_pending = false;
		css->announce = !crw;
	}
	pthread_mutex_unlock(&css->lock);
	if (rc)
		return rc;
	trace_css_crw(crw);
	vcpu_set_cc(v, crw ? 0 : 1);
	return 0;
}

/* --- CHSC --------------------------------------------------------------------------- */

#define CHSC_SIZE 4096
#define CHSC_REQUEST_MIN 16
#define CHSC_RESPONSE_HEADER 8 /* length, code, parameter */

#define CHSC_CHANNEL_PATH_DESCRIPTIONS 0x0002
#define CHSC_STORE_EVENT 0x000e
#define CHSC_CHARACTERISTICS 0x0010
#define CHSC_SET_DOMAIN_ATTRIBUTES 0x0031

#define CHSC_DONE 0x0001
#define CHSC_INVALID_BLOCK 0x0003
#define CHSC_INVALID_COMMAND 0x0004
#define CHSC_NO_EVENT 0x0005
#define CHSC_INVALID_FORMAT 0x0007
#define CHSC_INVALID_CSSID 0x0008
#define CHSC_NO_ATTRIBUTE 0x0101

/* Store event information: notification types asked for, as bits; type 2 is PCI. */
#define NOTIFICATION_PCI BIT64(2)
#define EVENT_RESPONSE 8           /* offset of the area that the type has */
#define EVENT_FLAG_MORE 0x80
#define EVENT_FLAG_LOST 0x40
#define EVENT_CONTENT 3            /* offset of the content code in that area */
#define EVENT_DATA 56              /* and of what depends on it */
#define EVENT_RESPONSE_SIZE 4080

struct chsc {
	const uint8_t *request;
	unsigned int request_length;
	uint8_t *response; /* behind the request, zero, CHSC_SIZE - request_length bytes */
	unsigned int response_length;
	struct machine_pci_event event; /* fetched, to be stored */
	bool has_event;
};

static uint16_t chsc_channel_paths(struct chsc *chsc)
{
	uint32_t word0 = load_be32(chsc->request + 4);
	uint32_t word1 = load_be32(chsc->request + 8);

	if (chsc->request_length != 16 || (word0 & 0xc000f000) || (word1 & 0xffffff00) ||
	    load_be32(chsc->request + 12) || (word1 & 0xff) < (word0 & 0xff))
		return CHSC_INVALID_BLOCK;
	if (word0 & 0x0f000000)
		return CHSC_INVALID_FORMAT;
	if (word0 & 0x00ff0000)
		return CHSC_INVALID_CSSID;
	/* No descriptions follow. */
	return CHSC_DONE;
}

/* Of all characteristics that there are, this channel subsystem has none. */
static uint16_t chsc_characteristics(struct chsc *chsc)
{
	uint32_t word0 = load_be32(chsc->request + 4);

	if (chsc->request_length != 16 || (word0 & 0xdff000ff) || load_be64(chsc->request + 8))
		return CHSC_INVALID_BLOCK;
	if (word0 & 0x000f0000)
		return CHSC_INVALID_FORMAT;
	if (word0 & 0x0000ff00)
		return CHSC_INVALID_CSSID;
	chsc->response_length = CHSC_SIZE - chsc->request_length;
	return CHSC_DONE;
}

static uint16_t chsc_set_domain_attributes(struct chsc *chsc)
{
	uint32_t word0 = load_be32(chsc->request + 4);

	if (chsc->request_length != 0x400 || (word0 & 0xf0ff0000))
		return CHSC_INVALID_BLOCK;
	if (word0 & 0x0f000000)
		return CHSC_INVALID_FORMAT;
	return CHSC_NO_ATTRIBUTE;
}

static uint16_t chsc_store_event(struct machine *machine, struct chsc *chsc)
{
	uint8_t *area = chsc->response + EVENT_RESPONSE;
	struct machine_pci_event *event = &chsc->event;

	if (chsc->request_length != 16)
		return CHSC_INVALID_BLOCK;
	if (!(load_be64(chsc->request + 8) & NOTIFICATION_PCI) ||
	    !machine_pci_next_event(machine, event))
		return CHSC_NO_EVENT;
	chsc->has_event = true;
	chsc->response[EVENT_RESPONSE - 1] = 2; /* notification type */
	if (event->more)
		area[0] |= EVENT_FLAG_MORE;
	if (event->lost)
		area[0] |= EVENT_FLAG_LOST;
	area[EVENT_CONTENT] = event->content_code;
	memcpy(area + EVENT_DATA, event->data, MIN(event->length, CSS_EVENT_MAX));
	chsc->response_length = EVENT_RESPONSE_SIZE;
	return CHSC_DONE;
}

static int handle_chsc(void *opaque, struct vcpu *v, const struct cpu_insn *insn)
{
	struct machine *machine = opaque;
	uint64_t address = vcpu_gr(v, insn->r1);
	uint8_t block[CHSC_SIZE];
	uint64_t absolute;
	struct chsc chsc = { .request = block };
	unsigned int command;
	uint16_t code;
	int rc = machine_privileged(v);

	if (rc)
		return rc;
	if (address & (CHSC_SIZE - 1))
		return vcpu_program(v, PGM_SPECIFICATION);
	rc = vcpu_read(v, address, insn->r1, block, sizeof(block));
	if (!rc)
		rc = vcpu_translate(v, address, insn->r1, true, &absolute);
	if (rc)
		return rc;
	chsc.request_length = load_be16(block);
	command = load_be16(block + 2);
	if (chsc.request_length < CHSC_REQUEST_MIN ||
	    chsc.request_length > CHSC_SIZE - CHSC_RESPONSE_HEADER || (chsc.request_length & 7))
		return vcpu_program(v, PGM_OPERAND);
	chsc.response = block + chsc.request_length;
	chsc.response_length = CHSC_RESPONSE_HEADER;
	memset(chsc.response, 0, CHSC_SIZE - chsc.request_length);
	switch (command) {
	case CHSC_CHANNEL_PATH_DESCRIPTIONS:
		code = chsc_channel_paths(&chsc);
		break;
	case CHSC_STORE_EVENT:
		code = chsc_store_event(machine, &chsc);
		break;
	case CHSC_CHARACTERISTICS:
		code = chsc_characteristics(&chsc);
		break;
	case CHSC_SET_DOMAIN_ATTRIBUTES:
		code = chsc_set_domain_attributes(&chsc);
		break;
	default:
		code = CHSC_INVALID_COMMAND;
		break;
	}
	store_be16(chsc.response, (uint16_t)chsc.response_length);
	store_be16(chsc.response + 2, code);
	rc = vcpu_write(v, address + chsc.request_length, insn->r1, chsc.response,
			chsc.response_length);
	if (rc) {
		/* Another CPU has taken the page away meanwhile: not stored, not fetched. */
		if (chsc.has_event)
			machine_pci_return_event(machine, &chsc.event);
		return rc;
	}
	trace_css_chsc(command, chsc.request_length, code);
	vcpu_set_cc(v, 0);
	return 0;
}

/* ------------------------------------------------------------------------------------- */

static const struct {
	uint16_t opcode;
	cpu_insn_handler *handler;
} instructions[] = {
	{ 0xb230, handle_csch },
	{ 0xb231, handle_hsch },
	{ 0xb232, handle_msch },
	{ 0xb233, handle_ssch },
	{ 0xb234, handle_stsch },
	{ 0xb235, handle_tsch },
	{ 0xb236, handle_tpi },
	{ 0xb237, handle_sal },
	{ 0xb238, handle_rsch },
	{ 0xb239, handle_stcrw },
	{ 0xb23a, handle_stcps },
	{ 0xb23b, handle_rchp },
	{ 0xb23c, handle_schm },
	{ 0xb25f, handle_chsc },
	{ 0xb276, handle_xsch },
};

int css_install(struct machine *machine)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(instructions); i++) {
		int rc = cpu_complex_set_handler(machine->cpus, instructions[i].opcode,
						 instructions[i].handler);

		if (rc)
			return rc;
	}
	return 0;
}

void css_reset(struct css *css)
{
	pthread_mutex_lock(&css->lock);
	css->crw_pending = false;
	css->announce = true;
	pthread_mutex_unlock(&css->lock);
}

void css_init(struct css *css)
{
	pthread_mutex_init(&css->lock, NULL);
	css_reset(css);
}

void css_destroy(struct css *css)
{
	pthread_mutex_destroy(&css->lock);
}
