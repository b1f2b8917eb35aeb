/* SPDX-License-Identifier: MIT */
/* The service processor; see sclp.h. */
#include "machine/sclp.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/trace.h"
#include "machine/ebcdic.h"
#include "machine/memory.h"

/* Command words; the second byte from the right can carry a resource. */
#define COMMAND_MASK 0xffff00ffu
#define COMMAND_READ_SCP_INFO 0x00020001u
#define COMMAND_READ_SCP_INFO_FORCED 0x00120001u
#define COMMAND_READ_CPU_INFO 0x00010001u
#define COMMAND_CONFIGURE_PCI 0x001a0001u
#define COMMAND_DECONFIGURE_PCI 0x001b0001u
#define COMMAND_READ_EVENT_DATA 0x00770005u
#define COMMAND_WRITE_EVENT_DATA 0x00760005u
#define COMMAND_WRITE_EVENT_MASK 0x00780005u

/* Response codes */
#define RESPONSE_READ 0x0010 /* normal, data was stored */
#define RESPONSE_NORMAL 0x0020
#define RESPONSE_BOUNDARY 0x0100 /* SCCB across a page boundary */
#define RESPONSE_INVALID_COMMAND 0x01f0
#define RESPONSE_INSUFFICIENT_LENGTH 0x0300
#define RESPONSE_INVALID_FUNCTION 0x40f0
#define RESPONSE_NO_EVENT 0x60f0
#define RESPONSE_INVALID_SELECTION 0x70f0
#define RESPONSE_INCONSISTENT_LENGTHS 0x72f0
#define RESPONSE_EVENT_SYNTAX 0x73f0
#define RESPONSE_INVALID_MASK_LENGTH 0x74f0
#define RESPONSE_ADAPTER_TYPE 0x06f0

/* Event types and their bits in a mask */
#define EVENT_OPERATOR_COMMAND 0x01
#define EVENT_MESSAGE 0x02
#define EVENT_VT220 0x1a
#define EVENT_QUIESCE 0x1d
#define EVENT_MASK(type) (BIT64(0) >> ((type) - 1))
#define EVENT_ACCEPTED 0x80 /* in the flags of an event buffer */
#define EVENT_HEADER 6      /* bytes: length, type, flags, two reserved */

#define FUNCTION_NORMAL_WRITE 0x00
#define FUNCTION_UNCONDITIONAL_READ 0x00
#define FUNCTION_SELECTIVE_READ 0x01
#define CONTROL_VARIABLE_LENGTH 0x80 /* in the third byte of the control mask */

#define SERVICE_EVENT_PENDING 1u

struct sccb_header {
	be16 length;
	uint8_t function;
	uint8_t control[3];
	be16 response;
};
static_assert(sizeof(struct sccb_header) == 8, "SCCB header");

struct cpu_entry {
	uint8_t address;
	uint8_t reserved1;
	uint8_t features[12];
	uint8_t type;
	uint8_t reserved2;
};
static_assert(sizeof(struct cpu_entry) == 16, "SCCB CPU entry");

struct read_info {
	struct sccb_header header;
	be16 increments;         /* 8: 0 when more than 65535 */
	uint8_t increment_size;  /* 10: MiB */
	uint8_t reserved1[5];
	be16 cpu_count;          /* 16 */
	be16 cpu_offset;         /* 18 */
	uint8_t reserved2[4];
	uint8_t load_parameter[8]; /* 24: EBCDIC */
	uint8_t reserved3[16];
	be64 facilities;         /* 48 */
	uint8_t reserved4[48];   /* 56: characteristics that this machine has not */
	uint8_t increments2[8];  /* 104: a doubleword */
	uint8_t reserved5[8];
	be16 highest_cpu;        /* 120 */
	uint8_t reserved6[6];
	/* The characteristics may end here, and the CPU entries begin. */
	uint8_t reserved7[7];
	uint8_t directed; /* 135: CPU-directed interruptions */
	uint8_t reserved8[8];
};
static_assert(offsetof(struct read_info, facilities) == 48, "facilities");
static_assert(offsetof(struct read_info, increments2) == 104, "increments");
static_assert(offsetof(struct read_info, highest_cpu) == 120, "highest CPU");
static_assert(offsetof(struct read_info, directed) == 135, "directed interruptions");

/*
 * Where the CPU entries begin, on a multiple of 16. A program looks at no
 * characteristics behind that (sclp_early_facilities_detect() in Linux,
 * drivers/s390/char/sclp_early.c).
 */
#define INFO_CPUS_SHORT 128
#define INFO_CPUS 144
static_assert(sizeof(struct read_info) == INFO_CPUS, "the characteristics");

#define SCLP_DIRECTED 0x80

#define SCLP_FACILITY_CPU_INFO 0x0800000000000000ull
#define SCLP_FACILITY_PCI_CONFIGURE 0x0000000040000000ull

struct read_cpu_info {
	struct sccb_header header;
	be16 configured_count;
	be16 configured_offset;
	be16 standby_count;
	be16 standby_offset;
	uint8_t reserved[8];
	struct cpu_entry cpus[];
};
static_assert(offsetof(struct read_cpu_info, cpus) == 24, "CPU entries");

struct pci_sccb {
	struct sccb_header header;
	uint8_t adapter_type;
	uint8_t reserved[3];
	be32 adapter_id; /* the function's fid */
};
#define ADAPTER_TYPE_PCI 2

struct event_mask_sccb {
	struct sccb_header header;
	be16 reserved;
	be16 mask_length;
	uint8_t masks[]; /* program receive, program send, SCLP receive, SCLP send */
};
static_assert(offsetof(struct event_mask_sccb, masks) == 12, "event masks");

/* The SCCB that is being worked on: private memory, length checked. */
struct sccb {
	union {
		struct sccb_header header;
		struct read_info info;
		struct read_cpu_info cpu_info;
		struct pci_sccb pci;
		struct event_mask_sccb mask;
		uint8_t bytes[SCLP_SCCB_MAX];
	};
};

static unsigned int sccb_length(const struct sccb *sccb)
{
	return be16_get(sccb->header.length);
}

/* --- configuration ----------------------------------------------------------- */

static void fill_cpus(struct cpu_entry *entries, unsigned int count)
{
	memset(entries, 0, count * sizeof(*entries));
	for (unsigned int i = 0; i < count; i++)
		entries[i].address = (uint8_t)i;
}

static uint16_t read_scp_info(struct sclp *sclp, struct sccb *sccb)
{
	struct read_info *info = &sccb->info;
	unsigned int cpus = sclp->config.cpus;
	uint64_t increments = sclp->config.memory->size / MIB;
	uint64_t facilities = SCLP_FACILITY_CPU_INFO;
	unsigned int entries = sclp->config.directed_interrupts ? INFO_CPUS : INFO_CPUS_SHORT;
	struct sccb_header header = info->header;

	if (sccb_length(sccb) < entries + cpus * sizeof(struct cpu_entry))
		return RESPONSE_INSUFFICIENT_LENGTH;
	memset(info, 0, sccb_length(sccb));
	info->header = header;
	if (sclp->config.ops->pci_configure)
		facilities |= SCLP_FACILITY_PCI_CONFIGURE;
	be16_set(&info->increments, increments <= UINT16_MAX ? (uint16_t)increments : 0);
	store_be64(info->increments2, increments);
	info->increment_size = 1;
	be16_set(&info->cpu_count, (uint16_t)cpus);
	be16_set(&info->cpu_offset, (uint16_t)entries);
	ebcdic_put(info->load_parameter, "", sizeof(info->load_parameter));
	be64_set(&info->facilities, facilities);
	be16_set(&info->highest_cpu, (uint16_t)(cpus - 1));
	if (sclp->config.directed_interrupts)
		info->directed = SCLP_DIRECTED;
	fill_cpus((struct cpu_entry *)(sccb->bytes + entries), cpus);
	return RESPONSE_READ;
}

static uint16_t read_cpu_info(struct sclp *sclp, struct sccb *sccb)
{
	struct read_cpu_info *info = &sccb->cpu_info;
	unsigned int cpus = sclp->config.cpus;

	if (sccb_length(sccb) < sizeof(*info) + cpus * sizeof(struct cpu_entry))
		return RESPONSE_INSUFFICIENT_LENGTH;
	be16_set(&info->configured_count, (uint16_t)cpus);
	be16_set(&info->configured_offset, offsetof(struct read_cpu_info, cpus));
	be16_set(&info->standby_count, 0);
	be16_set(&info->standby_offset,
		 (uint16_t)(sizeof(*info) + cpus * sizeof(struct cpu_entry)));
	memset(info->reserved, 0, sizeof(info->reserved));
	fill_cpus(info->cpus, cpus);
	return RESPONSE_READ;
}

static uint16_t configure_pci(struct sclp *sclp, struct sccb *sccb, bool on)
{
	if (!sclp->config.ops->pci_configure)
		return RESPONSE_INVALID_COMMAND;
	if (sccb_length(sccb) < sizeof(struct pci_sccb))
		return RESPONSE_INSUFFICIENT_LENGTH;
	if (sccb->pci.adapter_type != ADAPTER_TYPE_PCI)
		return RESPONSE_ADAPTER_TYPE;
	return sclp->config.ops->pci_configure(sclp->config.opaque,
					       be32_get(sccb->pci.adapter_id), on);
}

/* --- events from the guest ---------------------------------------------------- */

/* Line mode: a message data block (MDB) with objects, of which text lines matter. */
#define MDB_HEADER 12 /* length, type, tag, revision */
#define MDB_TYPE 1
#define MDB_TAG 0xd4c4c240u /* "MDB " in EBCDIC */
#define OBJECT_HEADER 4 /* length, type */
#define OBJECT_TEXT 4   /* message text object */
#define TEXT_HEADER 10  /* length, type, flags, alarm, reserved */

/*
 * The text lines of one message event, as ISO 8859-1, at `to`, which is as large
 * as the event: each line has a longer header than its end here. Returns the
 * length, or -EINVAL.
 */
static int decode_message(const uint8_t *event, size_t length, uint8_t *to)
{
	const uint8_t *block = event + EVENT_HEADER;
	uint8_t *next = to;
	size_t block_length, offset;

	if (length < EVENT_HEADER + MDB_HEADER)
		return -EINVAL;
	block_length = load_be16(block);
	if (block_length < MDB_HEADER || block_length > length - EVENT_HEADER ||
	    load_be16(block + 2) != MDB_TYPE || load_be32(block + 4) != MDB_TAG)
		return -EINVAL;
	for (offset = MDB_HEADER; offset + OBJECT_HEADER <= block_length;) {
		const uint8_t *object = block + offset;
		size_t object_length = load_be16(object);

		if (object_length < OBJECT_HEADER || object_length > block_length - offset)
			return -EINVAL;
		if (load_be16(object + 2) == OBJECT_TEXT && object_length >= TEXT_HEADER) {
			for (size_t i = TEXT_HEADER; i < object_length; i++)
				*next++ = ebcdic_decode(object[i]);
			*next++ = '\n';
		}
		offset += object_length;
	}
	return (int)(next - to);
}

/* The response code of one event buffer, or 0: the console has no room now. */
static uint16_t write_event(struct sclp *sclp, uint8_t *event, size_t length)
{
	const struct sclp_config *config = &sclp->config;
	uint8_t text[SCLP_SCCB_MAX];
	int rc;

	trace_sclp_event(event[2], (unsigned int)length);
	switch (event[2]) {
	case EVENT_VT220:
		if (config->console != SCLP_CONSOLE_VT220)
			return RESPONSE_INVALID_FUNCTION;
		rc = config->ops->write(config->opaque, event + EVENT_HEADER,
					length - EVENT_HEADER);
		break;
	case EVENT_MESSAGE:
		if (config->console != SCLP_CONSOLE_LINE_MODE)
			return RESPONSE_INVALID_FUNCTION;
		rc = decode_message(event, length, text);
		if (rc < 0)
			return RESPONSE_EVENT_SYNTAX;
		rc = config->ops->write(config->opaque, text, (size_t)rc);
		break;
	default:
		return RESPONSE_INVALID_FUNCTION;
	}
	if (rc == -EAGAIN)
		return 0;
	event[3] |= EVENT_ACCEPTED;
	return RESPONSE_NORMAL;
}

static uint16_t check_events(const struct sccb *sccb)
{
	unsigned int length = sccb_length(sccb);
	unsigned int offset = sizeof(struct sccb_header);

	while (offset < length) {
		unsigned int event_length;

		if (length - offset < EVENT_HEADER)
			return RESPONSE_INCONSISTENT_LENGTHS;
		event_length = load_be16(sccb->bytes + offset);
		if (event_length < EVENT_HEADER || event_length > length - offset)
			return RESPONSE_EVENT_SYNTAX;
		offset += event_length;
	}
	return RESPONSE_NORMAL;
}

/*
 * Write the event buffers from *offset on. Returns the response code, or 0 when the
 * console had no room for the one at *offset.
 */
static uint16_t write_events(struct sclp *sclp, struct sccb *sccb, size_t *offset)
{
	size_t length = sccb_length(sccb);

	while (*offset < length) {
		uint8_t *event = sccb->bytes + *offset;
		size_t event_length = load_be16(event);
		uint16_t response = write_event(sclp, event, event_length);

		if (response != RESPONSE_NORMAL)
			return response;
		*offset += event_length;
	}
	return RESPONSE_NORMAL;
}

/* 0: in progress; the caller does not touch the SCCB any more. */
static uint16_t write_event_data(struct sclp *sclp, struct sccb *sccb, uint64_t address)
{
	size_t offset = sizeof(struct sccb_header);
	uint16_t response;

	if (sccb->header.function != FUNCTION_NORMAL_WRITE)
		return RESPONSE_INVALID_FUNCTION;
	response = check_events(sccb);
	if (response != RESPONSE_NORMAL)
		return response;
	response = write_events(sclp, sccb, &offset);
	if (!response) {
		sclp->busy = true;
		sclp->busy_command = COMMAND_WRITE_EVENT_DATA;
		sclp->busy_address = address;
		memcpy(sclp->busy_sccb, sccb->bytes, sccb_length(sccb));
		sclp->busy_offset = offset;
	}
	return response;
}

/* --- events to the guest ------------------------------------------------------- */

static uint64_t sclp_send_mask(const struct sclp *sclp)
{
	uint64_t console = sclp->config.console == SCLP_CONSOLE_VT220 ?
				   EVENT_MASK(EVENT_VT220) :
				   EVENT_MASK(EVENT_OPERATOR_COMMAND);

	return console | EVENT_MASK(EVENT_QUIESCE);
}

static uint64_t sclp_receive_mask(const struct sclp *sclp)
{
	return sclp->config.console == SCLP_CONSOLE_VT220 ? EVENT_MASK(EVENT_VT220) :
							    EVENT_MASK(EVENT_MESSAGE);
}

/* The types of which an event waits and that `mask` admits. */
static uint64_t pending_events(struct sclp *sclp, uint64_t mask)
{
	const struct sclp_config *config = &sclp->config;
	uint64_t pending = 0;

	mask &= sclp_send_mask(sclp);
	if (sclp->quiesce_pending)
		pending |= EVENT_MASK(EVENT_QUIESCE);
	if ((mask & EVENT_MASK(EVENT_VT220)) && config->ops->has_input(config->opaque))
		pending |= EVENT_MASK(EVENT_VT220);
	if ((mask & EVENT_MASK(EVENT_OPERATOR_COMMAND)) && config->ops->has_line(config->opaque))
		pending |= EVENT_MASK(EVENT_OPERATOR_COMMAND);
	return pending & mask;
}

static size_t put_header(uint8_t *at, size_t length, uint8_t type)
{
	memset(at, 0, EVENT_HEADER);
	store_be16(at, (uint16_t)length);
	at[2] = type;
	trace_sclp_event(type, (unsigned int)length);
	return length;
}

/* Each returns the length of the event stored at `at`, 0: it does not fit. */
static size_t put_quiesce(struct sclp *sclp, uint8_t *at, size_t room)
{
	/* Time until power goes: a number and a unit; 0: none is set. */
	const size_t length = EVENT_HEADER + 3;

	if (room < length)
		return 0;
	memset(at, 0, length);
	sclp->quiesce_pending = false;
	return put_header(at, length, EVENT_QUIESCE);
}

static size_t put_vt220_input(struct sclp *sclp, uint8_t *at, size_t room)
{
	size_t length;

	if (room < EVENT_HEADER + 2)
		return 0;
	at[EVENT_HEADER] = 0; /* session data follows */
	length = sclp->config.ops->read(sclp->config.opaque, at + EVENT_HEADER + 1,
					room - EVENT_HEADER - 1);
	return put_header(at, EVENT_HEADER + 1 + length, EVENT_VT220);
}

/*
 * A line from the operator is a nest of general data stream (GDS) vectors: each has
 * a length and an identification, and the innermost is a subvector with lengths
 * of one byte.
 */
#define GDS_MDS_MESSAGE_UNIT 0x1310
#define GDS_CP_MESSAGE_UNIT 0x1212
#define GDS_TEXT_COMMAND 0x1320
#define GDS_SELF_DEFINING_TEXT 0x31
#define GDS_TEXT 0x30
#define LINE_OVERHEAD (4 + 4 + 4 + 2 + 2)
#define LINE_MAX_TEXT (255 - 4) /* both subvectors count themselves in a byte */

static size_t put_operator_line(struct sclp *sclp, uint8_t *at, size_t room)
{
	uint8_t *vector = at + EVENT_HEADER;
	uint8_t *text = vector + LINE_OVERHEAD;
	size_t length;

	if (room < EVENT_HEADER + LINE_OVERHEAD + LINE_MAX_TEXT ||
	    !sclp->config.ops->read_line(sclp->config.opaque, text, LINE_MAX_TEXT, &length))
		return 0;
	for (size_t i = 0; i < length; i++)
		text[i] = ebcdic_encode(text[i]);
	store_be16(vector, (uint16_t)(LINE_OVERHEAD + length));
	store_be16(vector + 2, GDS_MDS_MESSAGE_UNIT);
	store_be16(vector + 4, (uint16_t)(LINE_OVERHEAD - 4 + length));
	store_be16(vector + 6, GDS_CP_MESSAGE_UNIT);
	store_be16(vector + 8, (uint16_t)(LINE_OVERHEAD - 8 + length));
	store_be16(vector + 10, GDS_TEXT_COMMAND);
	vector[12] = (uint8_t)(4 + length);
	vector[13] = GDS_SELF_DEFINING_TEXT;
	vector[14] = (uint8_t)(2 + length);
	vector[15] = GDS_TEXT;
	return put_header(at, EVENT_HEADER + LINE_OVERHEAD + length, EVENT_OPERATOR_COMMAND);
}

static uint16_t read_event_data(struct sclp *sclp, struct sccb *sccb)
{
	size_t length = sccb_length(sccb);
	size_t offset = sizeof(struct sccb_header);
	uint64_t mask = sclp->receive_mask;
	uint64_t pending;

	switch (sccb->header.function) {
	case FUNCTION_UNCONDITIONAL_READ:
		break;
	case FUNCTION_SELECTIVE_READ: {
		uint8_t selected[8] = { 0 };
		size_t mask_length = MIN(sclp->mask_length, sizeof(selected));

		if (length < offset + mask_length)
			return RESPONSE_INSUFFICIENT_LENGTH;
		memcpy(selected, sccb->bytes + offset, mask_length);
		mask = load_be64(selected);
		if (!sclp->receive_mask || (mask & ~sclp->receive_mask))
			return RESPONSE_INVALID_SELECTION;
		break;
	}
	default:
		return RESPONSE_INVALID_FUNCTION;
	}
	pending = pending_events(sclp, mask);
	if (!pending)
		return RESPONSE_NO_EVENT;
	if (pending & EVENT_MASK(EVENT_QUIESCE))
		offset += put_quiesce(sclp, sccb->bytes + offset, length - offset);
	if (pending & EVENT_MASK(EVENT_VT220))
		offset += put_vt220_input(sclp, sccb->bytes + offset, length - offset);
	if (pending & EVENT_MASK(EVENT_OPERATOR_COMMAND))
		offset += put_operator_line(sclp, sccb->bytes + offset, length - offset);
	if (offset == sizeof(struct sccb_header))
		return RESPONSE_INSUFFICIENT_LENGTH;
	memset(sccb->bytes + offset, 0, length - offset);
	if (sccb->header.control[2] & CONTROL_VARIABLE_LENGTH) {
		sccb->header.control[2] &= (uint8_t)~CONTROL_VARIABLE_LENGTH;
		be16_set(&sccb->header.length, (uint16_t)offset);
	}
	return RESPONSE_NORMAL;
}

static void put_mask(uint8_t *field, size_t length, uint64_t mask)
{
	uint8_t bytes[8];

	store_be64(bytes, mask);
	memset(field, 0, length);
	memcpy(field, bytes, MIN(length, sizeof(bytes)));
}

static uint16_t write_event_mask(struct sclp *sclp, struct sccb *sccb)
{
	uint8_t *masks = sccb->mask.masks;
	uint8_t wanted[8] = { 0 };
	size_t length;

	if (sccb_length(sccb) < sizeof(struct event_mask_sccb))
		return RESPONSE_INSUFFICIENT_LENGTH;
	length = be16_get(sccb->mask.mask_length);
	if (!length || length > (SCLP_SCCB_MAX - sizeof(struct event_mask_sccb)) / 4)
		return RESPONSE_INVALID_MASK_LENGTH;
	if (sccb_length(sccb) < sizeof(struct event_mask_sccb) + 4 * length)
		return RESPONSE_INSUFFICIENT_LENGTH;
	memcpy(wanted, masks, MIN(length, sizeof(wanted)));
	sclp->receive_mask = load_be64(wanted);
	sclp->mask_length = (uint16_t)length;
	put_mask(masks + 2 * length, length, sclp_receive_mask(sclp));
	put_mask(masks + 3 * length, length, sclp_send_mask(sclp));
	return RESPONSE_NORMAL;
}

/* -------------------------------------------------------------------------------- */

/* The response code, or 0 when the operation stays in progress. */
static uint16_t execute(struct sclp *sclp, uint32_t command, struct sccb *sccb, uint64_t address)
{
	/* Control blocks are confined to a page. */
	if ((address & (PAGE_SIZE - 1)) + sccb_length(sccb) > PAGE_SIZE)
		return RESPONSE_BOUNDARY;
	switch (command & COMMAND_MASK) {
	case COMMAND_READ_SCP_INFO:
	case COMMAND_READ_SCP_INFO_FORCED:
		return read_scp_info(sclp, sccb);
	case COMMAND_READ_CPU_INFO:
		return read_cpu_info(sclp, sccb);
	case COMMAND_CONFIGURE_PCI:
		return configure_pci(sclp, sccb, true);
	case COMMAND_DECONFIGURE_PCI:
		return configure_pci(sclp, sccb, false);
	case COMMAND_READ_EVENT_DATA:
		return read_event_data(sclp, sccb);
	case COMMAND_WRITE_EVENT_DATA:
		return write_event_data(sclp, sccb, address);
	case COMMAND_WRITE_EVENT_MASK:
		return write_event_mask(sclp, sccb);
	default:
		return RESPONSE_INVALID_COMMAND;
	}
}

/* With the lock held: store the result and signal it. */
static void finish(struct sclp *sclp, uint32_t command, struct sccb *sccb, uint64_t address,
		   size_t length, uint16_t response)
{
	uint32_t parameter = (uint32_t)address;

	be16_set(&sccb->header.response, response);
	trace_sclp_command(command, address, response);
	/* The range was in memory when the SCCB was fetched; memory does not shrink. */
	memory_write(sclp->config.memory, address, sccb->bytes, length);
	if (pending_events(sclp, sclp->receive_mask))
		parameter |= SERVICE_EVENT_PENDING;
	sclp->config.ops->interrupt(sclp->config.opaque, parameter);
}

enum pgm_code sclp_service_call(struct sclp *sclp, uint32_t command, uint64_t address,
				uint32_t prefix, unsigned int *cc)
{
	struct sccb sccb;
	uint16_t response;
	size_t length, fetched;

	if (address & ~0x7ffffff8ull || address < 2 * PAGE_SIZE ||
	    (address & ~(2 * PAGE_SIZE - 1)) == prefix)
		return PGM_SPECIFICATION;
	if (memory_read(sclp->config.memory, address, &sccb.header, sizeof(sccb.header)))
		return PGM_ADDRESSING;
	length = sccb_length(&sccb);
	if (length < sizeof(sccb.header))
		return PGM_SPECIFICATION;
	/* Of one that is too long, only the header is needed to say so. */
	fetched = MIN(length, PAGE_SIZE - (address & (PAGE_SIZE - 1)));
	if (fetched > sizeof(sccb.header) &&
	    memory_read(sclp->config.memory, address + sizeof(sccb.header),
			sccb.bytes + sizeof(sccb.header), fetched - sizeof(sccb.header)))
		return PGM_ADDRESSING;

	pthread_mutex_lock(&sclp->lock);
	if (sclp->busy) {
		pthread_mutex_unlock(&sclp->lock);
		trace_sclp_busy(command);
		*cc = 2;
		return PGM_NONE;
	}
	response = execute(sclp, command, &sccb, address);
	if (response)
		finish(sclp, command, &sccb, address, fetched, response);
	pthread_mutex_unlock(&sclp->lock);
	*cc = 0;
	return PGM_NONE;
}

void sclp_console_room(struct sclp *sclp)
{
	struct sccb sccb;
	uint16_t response;

	pthread_mutex_lock(&sclp->lock);
	if (sclp->busy) {
		memcpy(&sccb, sclp->busy_sccb, sizeof(sccb));
		response = write_events(sclp, &sccb, &sclp->busy_offset);
		if (response) {
			sclp->busy = false;
			finish(sclp, sclp->busy_command, &sccb, sclp->busy_address,
			       sccb_length(&sccb), response);
		} else {
			/* Some of it went; what is accepted is marked. */
			memcpy(sclp->busy_sccb, &sccb, sizeof(sccb));
		}
	}
	pthread_mutex_unlock(&sclp->lock);
}

void sclp_console_input(struct sclp *sclp)
{
	pthread_mutex_lock(&sclp->lock);
	if (pending_events(sclp, sclp->receive_mask))
		sclp->config.ops->interrupt(sclp->config.opaque, SERVICE_EVENT_PENDING);
	pthread_mutex_unlock(&sclp->lock);
}

int sclp_quiesce(struct sclp *sclp)
{
	int rc = -EOPNOTSUPP;

	pthread_mutex_lock(&sclp->lock);
	if (sclp->receive_mask & EVENT_MASK(EVENT_QUIESCE)) {
		sclp->quiesce_pending = true;
		sclp->config.ops->interrupt(sclp->config.opaque, SERVICE_EVENT_PENDING);
		rc = 0;
	}
	pthread_mutex_unlock(&sclp->lock);
	return rc;
}

void sclp_reset(struct sclp *sclp)
{
	pthread_mutex_lock(&sclp->lock);
	sclp->receive_mask = 0;
	sclp->mask_length = 4;
	sclp->quiesce_pending = false;
	sclp->busy = false;
	pthread_mutex_unlock(&sclp->lock);
}

void sclp_init(struct sclp *sclp, const struct sclp_config *config)
{
	memset(sclp, 0, sizeof(*sclp));
	sclp->config = *config;
	pthread_mutex_init(&sclp->lock, NULL);
	sclp_reset(sclp);
}

void sclp_destroy(struct sclp *sclp)
{
	pthread_mutex_destroy(&sclp->lock);
}
