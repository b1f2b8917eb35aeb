/* SPDX-License-Identifier: MIT */
/*
 * Where a command's data is.
 *
 * A command names its data by two physical region page (PRP) entries, of which
 * the second may lead to lists, or by a scatter-gather list (SGL) of segments.
 * Both end as a list of ranges in r->ranges. Lists and segments are copied out of
 * guest memory before they are looked at, and their number is bounded: whatever
 * the guest has written there, the walk ends.
 *
 * Source: NVM Express Base Specification 1.4, sections 4.3 and 4.4.
 */
#include <errno.h>

#include "devices/nvme_controller.h"

#define PRP_PER_PAGE (PAGE_SIZE / sizeof(le64))
#define SGL_PER_READ (PAGE_SIZE / sizeof(struct nvme_sgl_descriptor))

static struct pci_dma_space *space_of(const struct nvme_request *r)
{
	return pci_function_dma(r->cq->controller->function);
}

static uint16_t fetch(struct nvme_request *r, uint64_t address, void *buffer, uint64_t length)
{
	struct pci_dma_space *space = space_of(r);

	if (!space || pci_dma_read(space, address, buffer, length))
		return NVME_STATUS_DATA_TRANSFER_ERROR;
	return NVME_STATUS_SUCCESS;
}

/* False: too many pieces. */
static bool add_range(struct nvme_request *r, uint64_t address, uint64_t length)
{
	struct pci_dma_range *last = r->range_count ? &r->ranges[r->range_count - 1] : NULL;

	if (last && last->iova + last->length == address) {
		last->length += length;
		return true;
	}
	if (r->range_count == NVME_SEGMENTS_MAX)
		return false;
	r->ranges[r->range_count++] = (struct pci_dma_range){ address, length };
	return true;
}

static uint16_t add_prp_page(struct nvme_request *r, uint64_t address, uint64_t *left)
{
	uint64_t length = MIN(*left, PAGE_SIZE);

	if (address & ~PAGE_MASK)
		return NVME_STATUS_PRP_OFFSET_INVALID | NVME_STATUS_DNR;
	if (!add_range(r, address, length))
		return NVME_STATUS_INTERNAL_ERROR; /* more pages than a transfer has: never */
	*left -= length;
	return NVME_STATUS_SUCCESS;
}

/* The last entry of a list's page leads to the next page, if one is needed. */
static uint16_t map_prp_list(struct nvme_request *r, uint64_t list, uint64_t left)
{
	le64 entries[PRP_PER_PAGE];

	if (list & 7)
		return NVME_STATUS_PRP_OFFSET_INVALID | NVME_STATUS_DNR;
	while (left) {
		uint64_t needed = (left + PAGE_SIZE - 1) / PAGE_SIZE;
		uint64_t room = (PAGE_SIZE - (list & ~PAGE_MASK)) / sizeof(le64);
		bool chained = needed > room;
		uint64_t count = chained ? room : needed;
		uint16_t status = fetch(r, list, entries, count * sizeof(le64));

		if (status)
			return status;
		for (uint64_t i = 0; i < count - chained; i++) {
			status = add_prp_page(r, le64_get(entries[i]), &left);
			if (status)
				return status;
		}
		if (chained) {
			list = le64_get(entries[count - 1]);
			if (list & ~PAGE_MASK)
				return NVME_STATUS_PRP_OFFSET_INVALID | NVME_STATUS_DNR;
		}
	}
	return NVME_STATUS_SUCCESS;
}

static uint16_t map_prps(struct nvme_request *r, uint64_t length)
{
	uint64_t prp1 = le64_get(r->command.prp1);
	uint64_t prp2 = le64_get(r->command.prp2);
	uint64_t first = MIN(length, PAGE_SIZE - (prp1 & ~PAGE_MASK));
	uint64_t left = length - first;

	if (prp1 & 3)
		return NVME_STATUS_PRP_OFFSET_INVALID | NVME_STATUS_DNR;
	(void)add_range(r, prp1, first);
	if (!left)
		return NVME_STATUS_SUCCESS;
	if (left <= PAGE_SIZE)
		return add_prp_page(r, prp2, &left);
	return map_prp_list(r, prp2, left);
}

static unsigned sgl_kind(const struct nvme_sgl_descriptor *d)
{
	return d->type >> 4;
}

static bool is_segment(const struct nvme_sgl_descriptor *d)
{
	return sgl_kind(d) == NVME_SGL_SEGMENT || sgl_kind(d) == NVME_SGL_LAST_SEGMENT;
}

static uint16_t check_sgl_type(const struct nvme_sgl_descriptor *d)
{
	if ((sgl_kind(d) != NVME_SGL_DATA_BLOCK && !is_segment(d)) ||
	    (d->type & 15) != NVME_SGL_SUBTYPE_ADDRESS)
		return NVME_STATUS_SGL_TYPE_INVALID | NVME_STATUS_DNR;
	return NVME_STATUS_SUCCESS;
}

/* The list may be longer than the data: the excess is not used. */
static uint16_t add_sgl_data(struct nvme_request *r, const struct nvme_sgl_descriptor *d,
			     uint64_t *left)
{
	uint64_t length = MIN(*left, le32_get(d->length));

	if (!length)
		return NVME_STATUS_SUCCESS;
	if (!add_range(r, le64_get(d->address), length))
		return NVME_STATUS_SGL_COUNT_INVALID | NVME_STATUS_DNR;
	*left -= length;
	return NVME_STATUS_SUCCESS;
}

/*
 * One segment. Only its last descriptor may lead to another, and must, unless
 * this is the last segment. `*next` becomes it, or a descriptor of type data block.
 */
static uint16_t map_sgl_segment(struct nvme_request *r, struct nvme_sgl_descriptor *next,
				unsigned *budget, uint64_t *left)
{
	struct nvme_sgl_descriptor descriptors[SGL_PER_READ];
	uint64_t address = le64_get(next->address);
	uint32_t length = le32_get(next->length);
	bool last_segment = sgl_kind(next) == NVME_SGL_LAST_SEGMENT;

	if (!length || length % sizeof(descriptors[0]))
		return NVME_STATUS_SGL_SEGMENT_INVALID | NVME_STATUS_DNR;
	if (length / sizeof(descriptors[0]) > *budget)
		return NVME_STATUS_SGL_COUNT_INVALID | NVME_STATUS_DNR;
	*budget -= length / (unsigned)sizeof(descriptors[0]);
	next->type = NVME_SGL_DATA_BLOCK << 4;

	while (length) {
		uint32_t part = MIN(length, (uint32_t)sizeof(descriptors));
		uint16_t status = fetch(r, address, descriptors, part);

		if (status)
			return status;
		address += part;
		length -= part;
		for (unsigned i = 0; i < part / sizeof(descriptors[0]); i++) {
			const struct nvme_sgl_descriptor *d = &descriptors[i];
			bool final = !length && i + 1 == part / sizeof(descriptors[0]);

			status = check_sgl_type(d);
			if (status)
				return status;
			if (is_segment(d) != (final && !last_segment))
				return NVME_STATUS_SGL_SEGMENT_INVALID | NVME_STATUS_DNR;
			if (is_segment(d))
				*next = *d;
			else
				status = add_sgl_data(r, d, left);
			if (status)
				return status;
		}
	}
	return NVME_STATUS_SUCCESS;
}

static uint16_t map_sgl(struct nvme_request *r, uint64_t length)
{
	struct nvme_sgl_descriptor next = r->command.sgl;
	unsigned budget = 2 * NVME_SEGMENTS_MAX; /* descriptors, empty ones included */
	uint64_t left = length;
	uint16_t status = check_sgl_type(&next);

	if (!status && !is_segment(&next))
		status = add_sgl_data(r, &next, &left);
	while (!status && is_segment(&next))
		status = map_sgl_segment(r, &next, &budget, &left);
	if (!status && left)
		status = NVME_STATUS_SGL_LENGTH_INVALID | NVME_STATUS_DNR;
	return status;
}

uint16_t nvme_map_data(struct nvme_request *r, uint64_t length)
{
	r->length = length;
	r->range_count = 0;
	switch (NVME_FLAGS_PSDT(r->command.flags)) {
	case NVME_PSDT_PRP:
		return map_prps(r, length);
	case NVME_PSDT_SGL_MPTR_BUFFER:
	case NVME_PSDT_SGL_MPTR_SGL:
		/* PRPs only for admin commands over PCI (4.4). */
		if (r->cq->id)
			return map_sgl(r, length);
		break;
	}
	return NVME_STATUS_INVALID_FIELD | NVME_STATUS_DNR;
}

uint16_t nvme_begin_access(struct nvme_request *r, enum pci_dma_direction direction)
{
	struct pci_dma_space *space = space_of(r);
	int count;

	if (!space)
		return NVME_STATUS_DATA_TRANSFER_ERROR;
	count = pci_dma_access_begin(space, &r->access, direction, r->ranges, r->range_count,
				     r->iov, NVME_SEGMENTS_MAX);
	if (count == -E2BIG)
		return NVME_STATUS_SGL_COUNT_INVALID | NVME_STATUS_DNR;
	if (count < 0)
		return NVME_STATUS_DATA_TRANSFER_ERROR;
	r->iov_count = (unsigned)count;
	r->accessing = true;
	return NVME_STATUS_SUCCESS;
}

void nvme_end_access(struct nvme_request *r, uint64_t written)
{
	if (!r->accessing)
		return;
	r->accessing = false;
	pci_dma_access_end(&r->access, written);
}

uint16_t nvme_copy_to_host(struct nvme_request *r, const void *data, uint64_t length)
{
	struct pci_dma_space *space = space_of(r);
	const uint8_t *at = data;
	uint16_t status = nvme_map_data(r, length);

	for (unsigned i = 0; !status && i < r->range_count; i++) {
		const struct pci_dma_range *range = &r->ranges[i];

		if (!space || pci_dma_write(space, range->iova, at, range->length))
			return NVME_STATUS_DATA_TRANSFER_ERROR;
		at += range->length;
	}
	return status;
}

uint16_t nvme_copy_from_host(struct nvme_request *r, void *data, uint64_t length)
{
	uint8_t *at = data;
	uint16_t status = nvme_map_data(r, length);

	for (unsigned i = 0; !status && i < r->range_count; i++) {
		status = fetch(r, r->ranges[i].iova, at, r->ranges[i].length);
		at += r->ranges[i].length;
	}
	return status;
}
