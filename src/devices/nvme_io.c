/* SPDX-License-Identifier: MIT */
/*
 * The NVM commands: read, write, compare, flush, write zeroes, dataset management.
 *
 * Each is checked whole before anything happens, then becomes one block request,
 * or one after the other (compare, dataset management).
 *
 * Source: NVM Express Base Specification 1.4, section 6.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "devices/nvme_controller.h"

#define FAIL(status) ((uint16_t)((status) | NVME_STATUS_DNR))

/* What a compare reads at a time. */
#define COMPARE_CHUNK (16 * KIB)

const uint32_t nvme_io_effects[256] = {
	[NVME_IO_FLUSH] = NVME_COMMAND_SUPPORTED,
	[NVME_IO_WRITE] = NVME_COMMAND_SUPPORTED | NVME_COMMAND_CHANGES_DATA,
	[NVME_IO_READ] = NVME_COMMAND_SUPPORTED,
	[NVME_IO_COMPARE] = NVME_COMMAND_SUPPORTED,
	[NVME_IO_WRITE_ZEROES] = NVME_COMMAND_SUPPORTED | NVME_COMMAND_CHANGES_DATA,
	[NVME_IO_DSM] = NVME_COMMAND_SUPPORTED | NVME_COMMAND_CHANGES_DATA,
};

uint16_t nvme_status_of_host(enum block_operation operation, int result)
{
	switch (-result) {
	case 0:
		return NVME_STATUS_SUCCESS;
	case ECANCELED:
		return NVME_STATUS_ABORT_REQUESTED;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NVME_STATUS_CAPACITY_EXCEEDED | NVME_STATUS_MORE;
	case EROFS:
	case EPERM:
	case EACCES:
		return FAIL(NVME_STATUS_WRITE_PROTECTED | NVME_STATUS_MORE);
	case ENOMEM:
		return NVME_STATUS_INTERNAL_ERROR;
	}
	if (operation == BLOCK_READ)
		return NVME_STATUS_READ_ERROR | NVME_STATUS_MORE;
	return NVME_STATUS_WRITE_FAULT | NVME_STATUS_MORE;
}

static bool is_media_error(uint16_t status)
{
	status &= 0x7ff;
	return status == NVME_STATUS_READ_ERROR || status == NVME_STATUS_WRITE_FAULT;
}

/* --- ends ------------------------------------------------------------------------ */

static uint16_t end_status(struct nvme_request *r, int result)
{
	uint16_t status = nvme_status_of_host(r->block.operation, result);

	if (result)
		trace_nvme_host_error(r->cq->controller->name, r->block.operation, r->block.offset,
				      r->block.length, -result);
	if (is_media_error(status))
		r->cq->counters.media_errors++;
	return status;
}

static void read_done(struct block_request *block, int result)
{
	struct nvme_request *r = nvme_end_block(block);

	if (!r)
		return;
	/* Also after an error some of it may have been stored. */
	nvme_end_access(r, r->length);
	r->cq->counters.read_commands++;
	r->cq->counters.read_sectors += r->length >> NVME_BLOCK_SHIFT;
	nvme_complete(r, end_status(r, result));
}

static void write_done(struct block_request *block, int result)
{
	struct nvme_request *r = nvme_end_block(block);

	if (!r)
		return;
	nvme_end_access(r, 0);
	r->cq->counters.write_commands++;
	r->cq->counters.write_sectors += r->length >> NVME_BLOCK_SHIFT;
	nvme_complete(r, end_status(r, result));
}

static void plain_done(struct block_request *block, int result)
{
	struct nvme_request *r = nvme_end_block(block);

	if (r)
		nvme_complete(r, end_status(r, result));
}

/* --- read, write, compare ----------------------------------------------------------- */

static uint16_t check_namespace(const struct nvme_request *r)
{
	return le32_get(r->command.nsid) == NVME_NSID ? NVME_STATUS_SUCCESS
						       : FAIL(NVME_STATUS_INVALID_NAMESPACE);
}

/* Namespace and blocks of a command with SLBA and NLB; fills in the block request's range. */
static uint16_t check_blocks(struct nvme_request *r)
{
	uint64_t slba = (uint64_t)le32_get(r->command.cdw11) << 32 | le32_get(r->command.cdw10);
	uint64_t count = NVME_RW_NLB(le32_get(r->command.cdw12));
	uint16_t status = check_namespace(r);

	if (status)
		return status;
	if (!range_fits(slba, count, r->cq->controller->blocks))
		return FAIL(NVME_STATUS_LBA_RANGE);
	r->block.offset = slba << NVME_BLOCK_SHIFT;
	r->block.length = count << NVME_BLOCK_SHIFT;
	return NVME_STATUS_SUCCESS;
}

static uint16_t check_writable(const struct nvme_request *r)
{
	return r->cq->controller->readonly ? FAIL(NVME_STATUS_WRITE_PROTECTED)
					   : NVME_STATUS_SUCCESS;
}

/* Up to where the data is in memory, and an access to it has begun. */
static uint16_t begin_transfer(struct nvme_request *r, enum pci_dma_direction direction)
{
	uint16_t status = check_blocks(r);

	if (!status && r->block.length > NVME_TRANSFER_MAX)
		status = FAIL(NVME_STATUS_INVALID_FIELD);
	if (!status)
		status = nvme_map_data(r, r->block.length);
	if (!status)
		status = nvme_begin_access(r, direction);
	return status;
}

static uint16_t read_blocks(struct nvme_request *r)
{
	uint16_t status = begin_transfer(r, PCI_DMA_FROM_DEVICE);

	if (status)
		return status;
	r->block.operation = BLOCK_READ;
	r->block.iov = r->iov;
	r->block.iov_count = r->iov_count;
	nvme_start_block(r, read_done);
	return NVME_NO_STATUS;
}

/* A write must reach the disk before it is done, if asked, or without a write cache. */
static bool is_durable(const struct nvme_request *r)
{
	return (le32_get(r->command.cdw12) & NVME_RW_FUA) ||
	       !atomic_load(&r->cq->controller->write_cache);
}

static uint16_t write_blocks(struct nvme_request *r)
{
	uint16_t status = check_writable(r);

	if (!status)
		status = begin_transfer(r, PCI_DMA_TO_DEVICE);
	if (status)
		return status;
	r->block.operation = BLOCK_WRITE;
	r->block.durable = is_durable(r);
	r->block.iov = r->iov;
	r->block.iov_count = r->iov_count;
	nvme_start_block(r, write_done);
	return NVME_NO_STATUS;
}

/* Is the chunk in r->buffer what stands in memory at r->position of the data? */
static bool equals_memory(const struct nvme_request *r)
{
	const uint8_t *at = r->buffer;
	uint64_t skip = r->position, left = r->block.length;

	for (unsigned i = 0; left; i++) {
		const struct iovec *v = &r->iov[i];
		uint64_t length;

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		length = MIN(v->iov_len - skip, left);
		if (memcmp(at, (const uint8_t *)v->iov_base + skip, length))
			return false;
		at += length;
		left -= length;
		skip = 0;
	}
	return true;
}

static void compare_done(struct block_request *block, int result);

static void compare_chunk(struct nvme_request *r)
{
	r->block.operation = BLOCK_READ;
	r->block.length = MIN(r->length - r->position, COMPARE_CHUNK);
	r->buffer_iov = (struct iovec){ r->buffer, r->block.length };
	r->block.iov = &r->buffer_iov;
	r->block.iov_count = 1;
	nvme_start_block(r, compare_done);
}

static void compare_done(struct block_request *block, int result)
{
	struct nvme_request *r = nvme_end_block(block);
	uint16_t status;

	if (!r)
		return;
	status = end_status(r, result);
	if (!status && !equals_memory(r))
		status = FAIL(NVME_STATUS_COMPARE_FAILURE);
	if (!status && r->position + r->block.length < r->length) {
		r->position += r->block.length;
		r->block.offset += r->block.length;
		compare_chunk(r);
		return;
	}
	nvme_end_access(r, 0);
	r->cq->counters.read_commands++;
	nvme_complete(r, status);
}

static uint16_t compare_blocks(struct nvme_request *r)
{
	uint16_t status = begin_transfer(r, PCI_DMA_TO_DEVICE);

	if (status)
		return status;
	if (posix_memalign(&r->buffer, PAGE_SIZE, COMPARE_CHUNK)) {
		r->buffer = NULL;
		nvme_end_access(r, 0);
		return NVME_STATUS_INTERNAL_ERROR;
	}
	r->position = 0;
	compare_chunk(r);
	return NVME_NO_STATUS;
}

/* --- without data -------------------------------------------------------------------------- */

static uint16_t flush(struct nvme_request *r)
{
	uint32_t nsid = le32_get(r->command.nsid);

	if (nsid != NVME_NSID && nsid != NVME_NSID_ALL)
		return FAIL(NVME_STATUS_INVALID_NAMESPACE);
	r->block.operation = BLOCK_FLUSH;
	r->block.offset = r->block.length = 0;
	nvme_start_block(r, plain_done);
	return NVME_NO_STATUS;
}

static uint16_t write_zeroes(struct nvme_request *r)
{
	uint16_t status = check_writable(r);

	if (!status)
		status = check_blocks(r);
	if (status)
		return status;
	r->block.operation = BLOCK_ZERO;
	r->block.durable = is_durable(r);
	r->block.may_unmap = le32_get(r->command.cdw12) & NVME_RW_DEALLOCATE;
	nvme_start_block(r, plain_done);
	return NVME_NO_STATUS;
}

/* --- dataset management ------------------------------------------------------------------------ */

static void discard_done(struct block_request *block, int result);

/* False: there is no range left. */
static bool discard_next(struct nvme_request *r)
{
	const struct nvme_dsm_range *ranges = r->buffer;

	while (r->index-- > 0) {
		const struct nvme_dsm_range *range = &ranges[r->index];

		if (!le32_get(range->length))
			continue;
		r->block.operation = BLOCK_DISCARD;
		r->block.durable = false;
		r->block.offset = le64_get(range->slba) << NVME_BLOCK_SHIFT;
		r->block.length = (uint64_t)le32_get(range->length) << NVME_BLOCK_SHIFT;
		nvme_start_block(r, discard_done);
		return true;
	}
	return false;
}

static void discard_done(struct block_request *block, int result)
{
	struct nvme_request *r = nvme_end_block(block);
	uint16_t status;

	if (!r)
		return;
	status = end_status(r, result);
	if (status || !discard_next(r))
		nvme_complete(r, status);
}

static uint16_t fetch_dsm_ranges(struct nvme_request *r, unsigned count)
{
	const struct nvme_dsm_range *ranges;
	uint16_t status;

	r->buffer = malloc(count * sizeof(*ranges));
	if (!r->buffer)
		return NVME_STATUS_INTERNAL_ERROR;
	status = nvme_copy_from_host(r, r->buffer, count * sizeof(*ranges));
	ranges = r->buffer;
	for (unsigned i = 0; !status && i < count; i++) {
		if (!range_fits(le64_get(ranges[i].slba), le32_get(ranges[i].length),
				r->cq->controller->blocks))
			status = FAIL(NVME_STATUS_LBA_RANGE);
	}
	return status;
}

/* Hints other than deallocate are taken and ignored. */
static uint16_t dataset_management(struct nvme_request *r)
{
	unsigned count = (le32_get(r->command.cdw10) & 0xff) + 1;
	uint16_t status = check_namespace(r);

	if (status || !(le32_get(r->command.cdw11) & NVME_DSM_DEALLOCATE))
		return status;
	status = check_writable(r);
	if (!status)
		status = fetch_dsm_ranges(r, count);
	if (status)
		return status;
	r->index = count;
	return discard_next(r) ? NVME_NO_STATUS : NVME_STATUS_SUCCESS;
}

uint16_t nvme_io_execute(struct nvme_request *r)
{
	switch (r->command.opcode) {
	case NVME_IO_FLUSH:
		return flush(r);
	case NVME_IO_WRITE:
		return write_blocks(r);
	case NVME_IO_READ:
		return read_blocks(r);
	case NVME_IO_COMPARE:
		return compare_blocks(r);
	case NVME_IO_WRITE_ZEROES:
		return write_zeroes(r);
	case NVME_IO_DSM:
		return dataset_management(r);
	}
	return FAIL(NVME_STATUS_INVALID_OPCODE);
}
