/* SPDX-License-Identifier: MIT */
/*
 * Registers of a PCI function. Accesses are checked here and go to the device in pieces that
 * registers have, except what the MSI-X table and the pending bits take.
 */
#include "pci/internal.h"

#include <errno.h>

int pci_function_add_bar(struct pci_function *f, unsigned bar, uint64_t size, bool is_64bit,
			 bool prefetchable)
{
	uint32_t flags = (is_64bit ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
			 (prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
	uint8_t value[8], mask[8];
	unsigned words = is_64bit ? 2 : 1;

	if (bar + words > PCI_BAR_COUNT || f->bars[bar].size || size < 16 || size & (size - 1))
		return -EINVAL;
	if (is_64bit ? f->bars[bar + 1].size != 0 : size > 1ull << 31)
		return -EINVAL;
	if (bar && f->bars[bar - 1].flags & PCI_BASE_ADDRESS_MEM_TYPE_64)
		return -EINVAL;
	f->bars[bar] = (struct pci_bar){ size, flags };
	store_le64(value, flags);
	store_le64(mask, ~(size - 1));
	pci_describe(f, PCI_BASE_ADDRESS_0 + 4 * bar, value, mask, 4 * words);
	return 0;
}

uint64_t pci_function_bar_size(const struct pci_function *f, unsigned bar)
{
	return bar < PCI_BAR_COUNT ? f->bars[bar].size : 0;
}

uint32_t pci_function_bar_value(struct pci_function *f, unsigned bar)
{
	return bar < PCI_BAR_COUNT ? pci_config_word(f, PCI_BASE_ADDRESS_0 + 4 * bar) : 0;
}

/* Where in the MSI-X table, or the pending bits, is this offset? */
static bool in_msix_table(const struct pci_function *f, unsigned bar, uint64_t offset)
{
	return f->msix.vectors && bar == f->msix.table_bar &&
	       offset - f->msix.table_offset < pci_msix_table_size(&f->msix);
}

static bool in_msix_pba(const struct pci_function *f, unsigned bar, uint64_t offset)
{
	return f->msix.vectors && bar == f->msix.pba_bar &&
	       offset - f->msix.pba_offset < pci_msix_pba_size(&f->msix);
}

/* Pieces: 1, 2, 4 or 8 bytes at a multiple of their size. */

static uint64_t read_piece(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size)
{
	if (unlikely(in_msix_table(f, bar, offset)))
		return pci_msix_read(f, f->msix.table + (offset - f->msix.table_offset), size);
	if (unlikely(in_msix_pba(f, bar, offset)))
		return pci_msix_read(f, f->msix.pending + (offset - f->msix.pba_offset), size);
	return f->ops.bar_read(f->device, bar, offset, size);
}

static void write_piece(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			uint64_t value)
{
	if (unlikely(in_msix_table(f, bar, offset)))
		pci_msix_table_write(f, offset - f->msix.table_offset, size, value);
	else if (likely(!in_msix_pba(f, bar, offset)))
		f->ops.bar_write(f->device, bar, offset, size, value);
}

/* Is the access one piece, as nearly all are? */
static bool is_piece(uint64_t offset, unsigned size)
{
	return !(size & (size - 1)) && !(offset & (size - 1));
}

static uint64_t low_bytes(uint64_t value, unsigned size)
{
	return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

static bool in_bar(const struct pci_function *f, unsigned bar, uint64_t offset, unsigned size)
{
	return bar < PCI_BAR_COUNT && range_fits(offset, size, f->bars[bar].size);
}

static bool touches_msix(const struct pci_function *f, unsigned bar, uint64_t offset,
			 unsigned length)
{
	const struct pci_msix *msix = &f->msix;

	if (!msix->vectors)
		return false;
	return (bar == msix->table_bar && offset < msix->table_offset + pci_msix_table_size(msix) &&
		msix->table_offset < offset + length) ||
	       (bar == msix->pba_bar && offset < msix->pba_offset + pci_msix_pba_size(msix) &&
		msix->pba_offset < offset + length);
}

/* What is not one piece goes to the device in one nevertheless. */
static bool takes_unsplit(const struct pci_function *f, unsigned bar, uint64_t offset,
			  unsigned size)
{
	return f->unsplit && !touches_msix(f, bar, offset, size);
}

int pci_function_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t *value)
{
	unsigned done = 0;

	if (!size || size > 8 || !in_bar(f, bar, offset, size))
		return -ERANGE;
	if (likely(is_piece(offset, size))) {
		*value = low_bytes(read_piece(f, bar, offset, size), size);
		return 0;
	}
	if (takes_unsplit(f, bar, offset, size)) {
		*value = low_bytes(f->ops.bar_read(f->device, bar, offset, size), size);
		return 0;
	}
	*value = 0;
	while (done < size) {
		unsigned piece = aligned_piece(offset + done, size - done, 8);

		*value |= low_bytes(read_piece(f, bar, offset + done, piece), piece) << 8 * done;
		done += piece;
	}
	return 0;
}

int pci_function_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t value)
{
	unsigned done = 0;

	if (!size || size > 8 || !in_bar(f, bar, offset, size))
		return -ERANGE;
	if (likely(is_piece(offset, size))) {
		write_piece(f, bar, offset, size, low_bytes(value, size));
		return 0;
	}
	if (takes_unsplit(f, bar, offset, size)) {
		f->ops.bar_write(f->device, bar, offset, size, low_bytes(value, size));
		return 0;
	}
	while (done < size) {
		unsigned piece = aligned_piece(offset + done, size - done, 8);

		write_piece(f, bar, offset + done, piece, low_bytes(value >> 8 * done, piece));
		done += piece;
	}
	return 0;
}

bool pci_function_has_memory(const struct pci_function *f)
{
	return f->ops.bar_memory;
}

/* Of [*first, *end), keep the part that `offset` is in and [from, to) is not. */
static void cut_out(uint64_t offset, uint64_t from, uint64_t to, uint64_t *first, uint64_t *end)
{
	if (offset < from)
		*end = MIN(*end, from);
	else
		*first = MAX(*first, to);
}

void *pci_function_bar_memory(const struct pci_function *f, unsigned bar, uint64_t offset,
			      uint64_t *first, uint64_t *length)
{
	const struct pci_msix *msix = &f->msix;
	uint64_t at, end;
	uint8_t *host;

	if (!f->ops.bar_memory || !in_bar(f, bar, offset, 1) || in_msix_table(f, bar, offset) ||
	    in_msix_pba(f, bar, offset))
		return NULL;
	host = f->ops.bar_memory(f->device, bar, offset, &at, length);
	if (!host)
		return NULL;
	*first = at;
	end = MIN(at + *length, f->bars[bar].size);
	if (msix->vectors && bar == msix->table_bar)
		cut_out(offset, msix->table_offset, msix->table_offset + pci_msix_table_size(msix),
			first, &end);
	if (msix->vectors && bar == msix->pba_bar)
		cut_out(offset, msix->pba_offset, msix->pba_offset + pci_msix_pba_size(msix), first,
			&end);
	*length = end - *first;
	return host + (*first - at);
}

int pci_function_bar_write_block(struct pci_function *f, unsigned bar, uint64_t offset,
				 const void *data, unsigned length)
{
	const uint8_t *bytes = data;

	if (!length || length > PCI_BLOCK_MAX || !in_bar(f, bar, offset, length))
		return -ERANGE;
	if (f->ops.bar_write_block && !touches_msix(f, bar, offset, length))
		return f->ops.bar_write_block(f->device, bar, offset, data, length);
	while (length) {
		unsigned piece = aligned_piece(offset, length, 8);

		write_piece(f, bar, offset, piece, load_le_bytes(bytes, piece));
		bytes += piece;
		offset += piece;
		length -= piece;
	}
	return 0;
}
