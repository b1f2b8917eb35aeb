/* SPDX-License-Identifier: MIT */
/*
 * The identify command: what the controller and its namespace say of themselves.
 *
 * Source: NVM Express Base Specification 1.4, section 5.15.
 */
#include <stdio.h>
#include <string.h>

#include "devices/nvme_controller.h"
#include "devices/nvme_ids.h"

#define FAIL(status) ((uint16_t)((status) | NVME_STATUS_DNR))

/* Filled up with spaces, no terminator. */
static void set_text(char *field, size_t size, const char *text)
{
	memset(field, ' ', size);
	memcpy(field, text, MIN(strlen(text), size));
}

static uint16_t identify_controller(struct nvme_request *r)
{
	const struct nvme_controller *c = r->cq->controller;
	const uint8_t *u = c->identity.uuid;
	struct nvme_identify_controller id = {
		.vid = le16_of(NVME_PCI_VENDOR),
		.ssvid = le16_of(NVME_PCI_VENDOR),
		.rab = 4,
		.ieee = { NVME_OUI_2, NVME_OUI_1, NVME_OUI_0 }, /* little-endian */
		.mdts = NVME_MDTS,
		.ver = le32_of(NVME_VERSION_1_4),
		.cntrltype = NVME_CNTRLTYPE_IO,
		.acl = 3,
		.aerl = NVME_ASYNC_REQUESTS_MAX - 1,
		.frmw = NVME_FRMW_SLOTS(1) | NVME_FRMW_SLOT1_READ_ONLY,
		.lpa = NVME_LPA_COMMANDS_SUPPORTED | NVME_LPA_EXTENDED,
		.elpe = NVME_ERROR_ENTRIES - 1,
		.wctemp = le16_of(0x157),
		.cctemp = le16_of(0x175),
		.sqes = NVME_SQES << 4 | NVME_SQES,
		.cqes = NVME_CQES << 4 | NVME_CQES,
		.nn = le32_of(1),
		.oncs = le16_of(NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES |
				NVME_ONCS_SELECT),
		.vwc = NVME_VWC_PRESENT | NVME_VWC_FLUSH_ALL,
		.sgls = le32_of(NVME_SGLS_SUPPORTED | NVME_SGLS_EXCESS_LENGTH),
		.psd[0] = { .max_power = le16_of(2500) },
	};

	memcpy(id.sn, c->identity.serial, sizeof(id.sn));
	set_text(id.mn, sizeof(id.mn), NVME_MODEL);
	set_text(id.fr, sizeof(id.fr), NVME_FIRMWARE);
	snprintf(id.subnqn, sizeof(id.subnqn),
		 "nqn.2014-08.org.nvmexpress:uuid:"
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
	return nvme_copy_to_host(r, &id, sizeof(id));
}

static uint16_t identify_namespace(struct nvme_request *r)
{
	const struct nvme_controller *c = r->cq->controller;
	/* File systems of hosts work in pages: fewer than that is read and written back. */
	const uint16_t page = (PAGE_SIZE >> NVME_BLOCK_SHIFT) - 1;
	struct nvme_identify_namespace id = {
		.nsze = le64_of(c->blocks),
		.ncap = le64_of(c->blocks),
		.nuse = le64_of(c->blocks),
		.nsfeat = NVME_NSFEAT_OPTIMAL_SIZES,
		.dlfeat = NVME_DLFEAT_ZEROES | NVME_DLFEAT_WRITE_ZEROES_DEALLOCATES,
		.nvmcap[0] = le64_of(c->blocks << NVME_BLOCK_SHIFT),
		.npwg = le16_of(page),
		.npwa = le16_of(page),
		.npdg = le16_of(page),
		.npda = le16_of(page),
		.nsattr = c->readonly ? NVME_NSATTR_WRITE_PROTECTED : 0,
		.lbaf[0] = { .data_size = NVME_BLOCK_SHIFT },
	};

	if (le32_get(r->command.nsid) != NVME_NSID)
		return FAIL(NVME_STATUS_INVALID_NAMESPACE);
	memcpy(id.eui64, c->identity.eui64, sizeof(id.eui64));
	return nvme_copy_to_host(r, &id, sizeof(id));
}

static uint16_t list_namespaces(struct nvme_request *r)
{
	le32 list[NVME_IDENTIFY_SIZE / sizeof(le32)] = { 0 };
	uint32_t above = le32_get(r->command.nsid);

	if (above >= NVME_NSID_ALL - 1)
		return FAIL(NVME_STATUS_INVALID_NAMESPACE);
	if (above < NVME_NSID)
		list[0] = le32_of(NVME_NSID);
	return nvme_copy_to_host(r, list, sizeof(list));
}

static uint8_t *add_descriptor(uint8_t *at, uint8_t type, const void *value, uint8_t length)
{
	at[0] = type;
	at[1] = length;
	memcpy(at + 4, value, length);
	return at + 4 + length;
}

static uint16_t list_descriptors(struct nvme_request *r)
{
	const struct nvme_identity_state *identity = &r->cq->controller->identity;
	uint8_t list[NVME_IDENTIFY_SIZE] = { 0 };
	uint8_t *at = list;

	if (le32_get(r->command.nsid) != NVME_NSID)
		return FAIL(NVME_STATUS_INVALID_NAMESPACE);
	at = add_descriptor(at, NVME_NIDT_EUI64, identity->eui64, sizeof(identity->eui64));
	add_descriptor(at, NVME_NIDT_UUID, identity->uuid, sizeof(identity->uuid));
	return nvme_copy_to_host(r, list, sizeof(list));
}

uint16_t nvme_identify(struct nvme_request *r)
{
	switch (le32_get(r->command.cdw10) & 0xff) {
	case NVME_CNS_NAMESPACE:
		return identify_namespace(r);
	case NVME_CNS_CONTROLLER:
		return identify_controller(r);
	case NVME_CNS_ACTIVE_NAMESPACES:
		return list_namespaces(r);
	case NVME_CNS_NAMESPACE_DESCRIPTORS:
		return list_descriptors(r);
	}
	return FAIL(NVME_STATUS_INVALID_FIELD);
}
