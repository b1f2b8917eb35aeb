/* SPDX-License-Identifier: MIT */
/*
 * MSI and MSI-X of a PCI function: the capabilities, the vectors and their masks. Messages
 * go to the host side, without the function's lock.
 *
 * The MSI-X table and the pending bits are kept as the little-endian bytes that
 * the guest reads, so that accesses of any size need no decoding.
 */
#include "pci/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MSI_VECTORS_MAX 32
#define MSI_LENGTH_MAX 24
#define MSI_QMASK_SHIFT 1 /* of PCI_MSI_FLAGS_QMASK: how many vectors there are, as a power of 2 */
#define MSI_QSIZE_SHIFT 4 /* of PCI_MSI_FLAGS_QSIZE: how many are enabled */

#define MSIX_BODY (PCI_MSIX_PBA + 4 - 2) /* the capability behind its two bytes of header */

/* --- capabilities ----------------------------------------------------------------- */

/* The body of an MSI capability, behind its header; returns its length, or -EINVAL. */
static int msi_body(struct pci_msi *msi, uint8_t *body, uint8_t *writable)
{
	unsigned log = 0, data = msi->is_64bit ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;

	while (1u << log < msi->vectors)
		log++;
	if (!msi->vectors || msi->vectors > MSI_VECTORS_MAX || 1u << log != msi->vectors)
		return -EINVAL;
	memset(body, 0, MSI_LENGTH_MAX - 2);
	memset(writable, 0, MSI_LENGTH_MAX - 2);
	store_le16(body, (msi->is_64bit ? PCI_MSI_FLAGS_64BIT : 0) |
				 (msi->masks ? PCI_MSI_FLAGS_MASKBIT : 0) | log << MSI_QMASK_SHIFT);
	store_le16(writable, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	store_le32(writable + PCI_MSI_ADDRESS_LO - 2, ~3u);
	if (msi->is_64bit)
		store_le32(writable + PCI_MSI_ADDRESS_HI - 2, ~0u);
	store_le16(writable + data - 2, 0xffff);
	if (msi->masks)
		store_le32(writable + data + 4 - 2,
			   msi->vectors == 32 ? ~0u : (1u << msi->vectors) - 1);
	return (int)(data + (msi->masks ? 12 : 2)) - 2;
}

static void set_msi(struct pci_function *f, struct pci_msi *msi, unsigned offset, unsigned length)
{
	msi->offset = offset;
	msi->data = offset + (msi->is_64bit ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32);
	msi->mask = msi->data + 4;
	msi->pending = msi->data + 8;
	msi->end = offset + 2 + length;
	f->msi = *msi;
}

int pci_function_add_msi(struct pci_function *f, unsigned vectors)
{
	struct pci_msi msi = { .vectors = vectors, .is_64bit = true, .masks = true };
	uint8_t body[MSI_LENGTH_MAX - 2], writable[MSI_LENGTH_MAX - 2];
	int length = msi_body(&msi, body, writable), offset;

	if (length < 0 || f->msi.vectors)
		return -EINVAL;
	offset = pci_function_add_capability(f, PCI_CAP_ID_MSI, body, writable, length);
	if (offset > 0)
		set_msi(f, &msi, offset, length);
	return offset;
}

/* Behind the two bytes of a header. */
static bool capability_fits(unsigned offset, unsigned length)
{
	return offset >= CAPABILITIES_START && offset % 4 == 0 &&
	       range_fits(offset + 2, length, CAPABILITIES_END);
}

int pci_function_place_msi(struct pci_function *f, unsigned offset, unsigned vectors, bool is_64bit,
			   bool masks)
{
	struct pci_msi msi = { .vectors = vectors, .is_64bit = is_64bit, .masks = masks };
	uint8_t body[MSI_LENGTH_MAX - 2], writable[MSI_LENGTH_MAX - 2];
	int length = msi_body(&msi, body, writable);

	if (length < 0 || f->msi.vectors || !capability_fits(offset, length))
		return -EINVAL;
	pci_describe(f, offset + 2, body, writable, length);
	set_msi(f, &msi, offset, length);
	return 0;
}

void pci_msix_reset(struct pci_msix *msix)
{
	memset(msix->table, 0, pci_msix_table_size(msix));
	for (unsigned i = 0; i < msix->vectors; i++)
		msix->table[i * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL] =
			PCI_MSIX_ENTRY_CTRL_MASKBIT;
	memset(msix->pending, 0, pci_msix_pba_size(msix));
}

/* Check and prepare; 0, -EINVAL, or -ENOMEM. */
static int msix_new(const struct pci_function *f, struct pci_msix *msix, uint8_t *body,
		    uint8_t *writable)
{
	uint64_t table_size = pci_msix_table_size(msix);
	uint64_t pba_size = pci_msix_pba_size(msix);

	if (!msix->vectors || msix->vectors > PCI_MSIX_VECTORS_MAX || f->msix.vectors ||
	    msix->table_offset % 8 || msix->pba_offset % 8 || msix->table_bar >= PCI_BAR_COUNT ||
	    msix->pba_bar >= PCI_BAR_COUNT ||
	    !range_fits(msix->table_offset, table_size, f->bars[msix->table_bar].size) ||
	    !range_fits(msix->pba_offset, pba_size, f->bars[msix->pba_bar].size))
		return -EINVAL;
	if (msix->table_bar == msix->pba_bar && msix->table_offset < msix->pba_offset + pba_size &&
	    msix->pba_offset < msix->table_offset + table_size)
		return -EINVAL;
	msix->table = malloc(table_size);
	msix->pending = malloc(pba_size);
	if (!msix->table || !msix->pending) {
		free(msix->pending);
		free(msix->table);
		return -ENOMEM;
	}
	pci_msix_reset(msix);
	memset(body, 0, MSIX_BODY);
	memset(writable, 0, MSIX_BODY);
	store_le16(body, msix->vectors - 1);
	store_le16(writable, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	store_le32(body + PCI_MSIX_TABLE - 2, (uint32_t)msix->table_offset | msix->table_bar);
	store_le32(body + PCI_MSIX_PBA - 2, (uint32_t)msix->pba_offset | msix->pba_bar);
	return 0;
}

int pci_function_add_msix(struct pci_function *f, unsigned vectors, unsigned table_bar,
			  uint32_t table_offset, unsigned pba_bar, uint32_t pba_offset)
{
	uint8_t body[MSIX_BODY], writable[MSIX_BODY];
	struct pci_msix msix = {
		.vectors = vectors,
		.table_bar = table_bar,
		.table_offset = table_offset,
		.pba_bar = pba_bar,
		.pba_offset = pba_offset,
	};
	int rc = msix_new(f, &msix, body, writable), offset;

	if (rc)
		return rc == -ENOMEM ? -ENOSPC : rc;
	offset = pci_function_add_capability(f, PCI_CAP_ID_MSIX, body, writable, sizeof(body));
	if (offset < 0) {
		free(msix.pending);
		free(msix.table);
		return -ENOSPC;
	}
	msix.offset = offset;
	f->msix = msix;
	return offset;
}

int pci_function_place_msix(struct pci_function *f, unsigned offset, unsigned vectors,
			    unsigned table_bar, uint32_t table_offset, unsigned pba_bar,
			    uint32_t pba_offset)
{
	uint8_t body[MSIX_BODY], writable[MSIX_BODY];
	struct pci_msix msix = {
		.vectors = vectors,
		.offset = offset,
		.table_bar = table_bar,
		.table_offset = table_offset,
		.pba_bar = pba_bar,
		.pba_offset = pba_offset,
	};
	int rc;

	if (!capability_fits(offset, MSIX_BODY))
		return -EINVAL;
	rc = msix_new(f, &msix, body, writable);
	if (rc)
		return rc;
	pci_describe(f, offset + 2, body, writable, sizeof(body));
	f->msix = msix;
	return 0;
}

void pci_msi_update(struct pci_function *f)
{
	f->msix_enabled = f->msix.vectors &&
			  load_le16(f->config + f->msix.offset + PCI_MSIX_FLAGS) &
				  PCI_MSIX_FLAGS_ENABLE;
	f->msi_enabled = f->msi.vectors && load_le16(f->config + f->msi.offset + PCI_MSI_FLAGS) &
						   PCI_MSI_FLAGS_ENABLE;
}

/* --- messages --------------------------------------------------------------------- */

/*
 * A vector of MSI-X or MSI as it is while the lock is held, with what has to be known of it
 * as soon as the lock is free: its message, and the host side that this goes to.
 */
struct vector {
	const struct pci_msi_ops *ops;
	void *opaque;
	uint64_t address;
	uint32_t data;
	bool enabled, blocked;
	uint8_t *pending; /* in the byte there it has a bit; both kinds are little-endian */
	uint8_t bit;
};

static void deliver(const struct vector *vector)
{
	if (vector->ops)
		vector->ops->deliver(vector->opaque, vector->address, vector->data);
}

/* Somebody else keeps the vectors. With the lock held. */
static bool kept_elsewhere(const struct pci_function *f)
{
	return unlikely(f->msi_ops && f->msi_ops->notify);
}

static uint8_t *msix_entry(struct pci_function *f, unsigned number)
{
	return f->msix.table + number * PCI_MSIX_ENTRY_SIZE;
}

/* With the lock held. */
static bool msix_blocked(struct pci_function *f, unsigned number)
{
	return load_le16(f->config + f->msix.offset + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_MASKALL ||
	       msix_entry(f, number)[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

static struct vector msix_vector(struct pci_function *f, unsigned number)
{
	const uint8_t *entry = msix_entry(f, number);

	return (struct vector){
		.ops = f->msi_ops,
		.opaque = f->msi_opaque,
		.address = load_le64(entry),
		.data = load_le32(entry + PCI_MSIX_ENTRY_DATA),
		.enabled = f->msix_enabled,
		.blocked = msix_blocked(f, number),
		.pending = f->msix.pending + number / 8,
		.bit = 1 << number % 8,
	};
}

/* How many vectors of MSI are in use. With the lock held. */
static unsigned msi_vectors_enabled(struct pci_function *f)
{
	unsigned flags = load_le16(f->config + f->msi.offset + PCI_MSI_FLAGS);
	unsigned log = (flags & PCI_MSI_FLAGS_QSIZE) >> MSI_QSIZE_SHIFT;

	return MIN(1u << log, f->msi.vectors);
}

/*
 * The low bits of a message's data name the vector, as many bits as the guest has
 * enabled vectors; more are folded onto the last one.
 */
static struct vector msi_vector(struct pci_function *f, unsigned number)
{
	const uint8_t *cap = f->config + f->msi.offset;
	unsigned enabled = msi_vectors_enabled(f);
	uint32_t data = load_le16(f->config + f->msi.data);

	return (struct vector){
		.ops = f->msi_ops,
		.opaque = f->msi_opaque,
		.address = f->msi.is_64bit ? load_le64(cap + PCI_MSI_ADDRESS_LO) :
					     load_le32(cap + PCI_MSI_ADDRESS_LO),
		.data = (data & ~(enabled - 1)) | MIN(number, enabled - 1),
		.enabled = f->msi_enabled,
		.blocked = f->msi.masks && load_le32(f->config + f->msi.mask) >> number & 1,
		.pending = f->config + f->msi.pending + number / 8,
		.bit = 1 << number % 8,
	};
}

static struct vector look_at(struct pci_function *f, bool msix, unsigned number)
{
	return msix ? msix_vector(f, number) : msi_vector(f, number);
}

/* With the lock held; config space is read without. */
static void set_pending(const struct vector *vector, bool pending)
{
	uint8_t others = *vector->pending & ~vector->bit;

	__atomic_store_n(vector->pending, others | (pending ? vector->bit : 0), __ATOMIC_RELAXED);
}

static void notify(struct pci_function *f, bool msix, unsigned number)
{
	struct vector vector;
	bool due = false, kept;

	pthread_mutex_lock(&f->lock);
	kept = kept_elsewhere(f);
	vector = look_at(f, msix, number);
	if (kept) {
		due = f->bus_master;
	} else if (vector.enabled && f->bus_master) {
		due = !vector.blocked;
		if (!due)
			set_pending(&vector, true);
	}
	pthread_mutex_unlock(&f->lock);
	if (due && kept)
		vector.ops->notify(vector.opaque, msix, number);
	else if (due)
		deliver(&vector);
}

void pci_function_msix_notify(struct pci_function *f, unsigned vector)
{
	if (vector < f->msix.vectors)
		notify(f, true, vector);
}

void pci_function_msi_notify(struct pci_function *f, unsigned vector)
{
	if (vector < f->msi.vectors)
		notify(f, false, vector);
}

/*
 * Pending vectors that are no longer masked are delivered, each once. Called
 * without the lock after something was unmasked.
 */
static void deliver_pending(struct pci_function *f, bool msix, unsigned first, unsigned last)
{
	for (unsigned number = first; number <= last; number++) {
		struct vector vector;
		bool due;

		pthread_mutex_lock(&f->lock);
		vector = look_at(f, msix, number);
		due = *vector.pending & vector.bit && vector.enabled && f->bus_master &&
		      !vector.blocked;
		if (due)
			set_pending(&vector, false);
		pthread_mutex_unlock(&f->lock);
		if (due)
			deliver(&vector);
	}
}

void pci_msix_deliver_pending(struct pci_function *f, unsigned first, unsigned last)
{
	deliver_pending(f, true, first, last);
}

void pci_msi_deliver_pending(struct pci_function *f)
{
	if (f->msi.masks) /* else nothing is ever pending, nor has it a place */
		deliver_pending(f, false, 0, f->msi.vectors - 1);
}

bool pci_function_msix_enabled(const struct pci_function *f)
{
	return f->msix_enabled;
}

bool pci_function_msi_enabled(const struct pci_function *f)
{
	return f->msi_enabled;
}

bool pci_function_msix_masked(struct pci_function *f, unsigned vector)
{
	bool masked;

	if (vector >= f->msix.vectors)
		return true;
	pthread_mutex_lock(&f->lock);
	masked = msix_blocked(f, vector);
	pthread_mutex_unlock(&f->lock);
	return masked;
}

unsigned pci_function_msix_vectors(const struct pci_function *f)
{
	return f->msix.vectors;
}

unsigned pci_function_msi_vectors(const struct pci_function *f)
{
	return f->msi.vectors;
}

unsigned pci_function_msi_enabled_vectors(struct pci_function *f)
{
	unsigned vectors = 0;

	pthread_mutex_lock(&f->lock);
	if (f->msi_enabled)
		vectors = msi_vectors_enabled(f);
	pthread_mutex_unlock(&f->lock);
	return vectors;
}

/* --- the MSI-X table in a BAR --------------------------------------------------------- */

uint64_t pci_msix_read(struct pci_function *f, const uint8_t *bytes, unsigned size)
{
	uint64_t value;

	pthread_mutex_lock(&f->lock);
	value = load_le_bytes(bytes, size);
	pthread_mutex_unlock(&f->lock);
	return value;
}

void pci_msix_table_write(struct pci_function *f, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned vector = offset / PCI_MSIX_ENTRY_SIZE;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = value >> 8 * i;

		switch ((offset + i) % PCI_MSIX_ENTRY_SIZE) {
		case 0:
			byte &= ~3;
			break; /* addresses are of words */
		case PCI_MSIX_ENTRY_VECTOR_CTRL:
			byte &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
			break;
		case PCI_MSIX_ENTRY_VECTOR_CTRL + 1 ... PCI_MSIX_ENTRY_SIZE - 1:
			byte = 0;
			break;
		}
		f->msix.table[offset + i] = byte;
	}
	pthread_mutex_unlock(&f->lock);
	pci_msix_deliver_pending(f, vector, vector);
	if (f->ops.msix_changed)
		f->ops.msix_changed(f->device, vector);
}
