/* SPDX-License-Identifier: MIT */
/*
 * CALL LOGICAL PROCESSOR: the list of functions, what they are, enable and disable.
 *
 * A program hands over a block with a request and behind it room for a response.
 * The request's length is in its first halfword; the response's length, which the
 * program sets too, in the response's first. What is wrong with the block
 * itself is a program interruption; what is wrong with the request is a
 * response code in the response.
 *
 * The lengths are fetched once and checked once; the response is put together
 * here and stored only when the pages that take it are known to accept it, so
 * that an operation has not happened when an access exception says so.
 *
 * Sources: Linux, arch/s390/include/asm/clp.h and pci_clp.h (layouts, response
 * codes), arch/s390/pci/pci_clp.c (use); QEMU, clp_service_call() and list_pci()
 * (order of checks).
 */
#include <string.h>

#include "zpci/internal.h"

#define BLOCK_MAX 8192
#define REQUEST_SIZE 32 /* of each PCI command */
#define HEADER_SIZE 16

enum logical_processor {
	PROCESSOR_BASE = 0,
	PROCESSOR_PCI = 2,
};

enum command {
	COMMAND_CHARACTERISTICS = 0x0001,
	COMMAND_LIST = 0x0002,
	COMMAND_QUERY_FUNCTION = 0x0003,
	COMMAND_QUERY_GROUP = 0x0004,
	COMMAND_SET = 0x0005,
};

enum response_code {
	RESPONSE_OK = 0x0010,
	RESPONSE_COMMAND = 0x0020,
	RESPONSE_FORMAT = 0x0040,
	RESPONSE_LENGTH = 0x0050,
	RESPONSE_SMALL = 0x0060,
	RESPONSE_RESERVED = 0x0070,
	RESPONSE_HANDLE = 0x0101,
	RESPONSE_HANDLE_OPERATION = 0x0102,
	RESPONSE_DMA_SPACES = 0x0103,
	RESPONSE_RESOURCES = 0x0104,
	RESPONSE_ALREADY = 0x0105,
	RESPONSE_PERMANENT_ERROR = 0x0106,
	RESPONSE_BUSY = 0x0108,
	RESPONSE_RESUME_TOKEN = 0x010a,
	RESPONSE_GROUP = 0x010b,
};

struct request_header {
	be16 length;
	be16 command;
	be32 format; /* 4 bits; the others are reserved */
	be64 reserved;
};

struct response_header {
	be16 length;
	be16 code;
	be32 format;
	be64 reserved;
};

#define FORMAT_MASK 0xf0000000u

/* --- layouts ------------------------------------------------------------------------ */

struct characteristics_response {
	struct response_header header;
	be32 reserved1[4];
	be32 facilities[8];
	be32 reserved2[4];
	be32 write_back; /* of the PCI processor */
	be32 reserved3[3];
	be32 commands[8];
};

#define WRITE_BACK_VALID 0x80000000u
#define WRITE_BACK_BIT_SHIFT 24 /* 6 bits: number of a bit in an address */

struct list_request {
	struct request_header header;
	be64 resume_token;
	be64 reserved;
};

struct list_response {
	struct response_header header;
	be64 resume_token;
	be32 reserved;
	be16 functions_max;
	uint8_t flags;
	uint8_t entry_size;
};

#define LIST_UID_CHECKING 0x01

struct list_entry {
	be16 device_id;
	be16 vendor_id;
	be32 configured; /* leftmost bit */
	be32 fid;
	be32 fh;
};

#define LIST_CONFIGURED 0x80000000u

struct function_request { /* query function, set */
	struct request_header header;
	be32 fh;
	be16 reserved1;
	uint8_t operation;
	uint8_t dma_spaces;
	be64 reserved2;
};

/* Addresses of BARs, in query function and set. */
struct mio_addresses {
	be32 valid; /* bit 0: BAR 0, and so on */
	be32 reserved1;
	struct {
		be64 write_back;
		be64 write_through;
	} bar[PCI_BAR_COUNT];
	be32 reserved2[6];
};

struct function_response {
	struct response_header header;
	be16 vfn;
	uint8_t flags;
	uint8_t pfgid;
	be32 fid;
	uint8_t bar_size[PCI_BAR_COUNT]; /* exponents of 2 */
	be16 pchid;
	le32 bar[PCI_BAR_COUNT]; /* as in config space */
	uint8_t pfip[4];
	be16 reserved1;
	uint8_t fmb_length; /* in words */
	uint8_t pft;
	be64 sdma;
	be64 edma;
	be16 rid;
	be16 reserved2[2];
	be16 tid;
	be32 reserved3[9];
	be32 uid;
	uint8_t util_string[ZPCI_UTIL_STRING_SIZE];
	be32 reserved4[16];
	struct mio_addresses mio;
};

#define FUNCTION_HAS_UTIL_STRING 0x01
#define FUNCTION_HAS_MIO 0x02
#define FUNCTION_HAS_RID 0x10
#define FUNCTION_HAS_TID 0x20

struct group_request {
	struct request_header header;
	be32 pfgid; /* rightmost byte */
	be32 reserved1;
	be64 reserved2;
};

struct group_response {
	struct response_header header;
	be16 interrupts; /* 12 bits */
	uint8_t version;
	uint8_t flags;
	be16 store_block_max; /* 13 bits */
	be16 update_interval;
	uint8_t designations;
	uint8_t reserved1;
	be16 maxfaal;
	be16 directed_interrupts; /* 12 bits */
	be16 directed_cpus;
	be64 dma_mask;
	be64 msi_address;
	be64 reserved2[2];
};

#define GROUP_REFRESH 0x01
#define GROUP_RELAXED_TRANSLATION 0x20

struct set_response {
	struct response_header header;
	be32 fh;
	be32 reserved1;
	be64 reserved2;
	struct mio_addresses mio;
};

enum set_operation {
	SET_ENABLE = 0,
	SET_DISABLE = 1,
	SET_ENABLE_MIO = 2,
	SET_DISABLE_MIO = 3,
};

static_assert(sizeof(struct characteristics_response) == 128, "layout");
static_assert(sizeof(struct list_response) == 32, "layout");
static_assert(sizeof(struct list_entry) == 16, "layout");
static_assert(sizeof(struct function_request) == REQUEST_SIZE, "layout");
static_assert(sizeof(struct mio_addresses) == 128, "layout");
static_assert(sizeof(struct function_response) == 384, "layout");
static_assert(sizeof(struct group_response) == 64, "layout");
static_assert(sizeof(struct set_response) == 160, "layout");

/*
 * A call under way. `request` is the caller's copy; `response` is `room` bytes of
 * which the first `length` will be stored.
 */
struct call {
	struct zpci *zpci;
	uint8_t request[REQUEST_SIZE] __attribute__((aligned(8)));
	unsigned request_length;
	uint8_t response[BLOCK_MAX] __attribute__((aligned(8)));
	unsigned room;
	unsigned length;
	unsigned cc;
};

/* An error: only the response code is stored. */
static void respond(struct call *call, enum response_code code)
{
	struct response_header *header = (void *)call->response;

	be16_set(&header->length, call->room);
	be16_set(&header->code, code);
	call->length = 4;
}

/*
 * Success: `size` bytes of `response`, cut to the room there is. The header's
 * length stays what the program said.
 */
static void respond_with(struct call *call, void *response, unsigned size)
{
	struct response_header *header = response;

	be16_set(&header->length, call->room);
	be16_set(&header->code, RESPONSE_OK);
	call->length = MIN(size, call->room);
	memcpy(call->response, response, call->length);
}

/* --- commands ---------------------------------------------------------------------------- */

static void characteristics(struct call *call, enum logical_processor processor, uint32_t commands)
{
	struct characteristics_response response = { 0 };

	if (call->request_length != HEADER_SIZE || call->room < sizeof(response)) {
		respond(call, RESPONSE_LENGTH);
		return;
	}
	be32_set(&response.commands[0], commands);
	if (processor == PROCESSOR_PCI && call->zpci->config.mio)
		be32_set(&response.write_back,
			 WRITE_BACK_VALID | MIO_WRITE_BACK_BIT << WRITE_BACK_BIT_SHIFT);
	respond_with(call, &response, sizeof(response));
}

static void list_function(struct zpci_function *f, struct list_entry *entry)
{
	uint32_t identity = pci_function_identity(f->pci);

	be16_set(&entry->device_id, identity >> 16);
	be16_set(&entry->vendor_id, identity & 0xffff);
	be32_set(&entry->configured, f->state == FUNCTION_STANDBY ? 0 : LIST_CONFIGURED);
	be32_set(&entry->fid, f->config.fid);
	be32_set(&entry->fh, f->fh);
}

/* A resume token is one more than the number of the slot to go on with. */
static void list(struct call *call)
{
	const struct list_request *request = (const void *)call->request;
	struct list_response *response = (void *)call->response;
	struct list_entry *entry = (void *)(response + 1);
	uint64_t token = be64_get(request->resume_token);
	unsigned index, room;

	if (token > ZPCI_FUNCTIONS_MAX) {
		respond(call, RESPONSE_RESUME_TOKEN);
		return;
	}
	if (call->room < sizeof(*response) + sizeof(*entry)) {
		respond(call, RESPONSE_SMALL);
		return;
	}
	if ((call->room - sizeof(*response)) % sizeof(*entry)) {
		respond(call, RESPONSE_LENGTH);
		call->cc = 3;
		return;
	}
	room = (call->room - sizeof(*response)) / sizeof(*entry);
	memset(response, 0, sizeof(*response));
	for (index = token ? token - 1 : 0; index < ZPCI_FUNCTIONS_MAX; index++) {
		struct zpci_function *f = function_enter_slot(call->zpci, index);

		if (!f)
			continue;
		if (room) {
			memset(entry, 0, sizeof(*entry));
			list_function(f, entry++);
		} else {
			be64_set(&response->resume_token, index + 1);
		}
		function_leave(f);
		if (!room--)
			break;
	}
	be16_set(&response->functions_max, ZPCI_FUNCTIONS_MAX);
	response->flags = call->zpci->config.uid_checking ? LIST_UID_CHECKING : 0;
	response->entry_size = sizeof(*entry);
	call->length = (uint8_t *)entry - call->response;
	be16_set(&response->header.length, call->length);
	be16_set(&response->header.code, RESPONSE_OK);
}

static unsigned exponent(uint64_t size)
{
	return size ? __builtin_ctzll(size) : 0;
}

static void describe_mio(const struct zpci_function *f, struct mio_addresses *mio)
{
	uint32_t valid = 0;

	for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
		if (!pci_function_bar_size(f->pci, i))
			continue;
		valid |= BIT32(i);
		be64_set(&mio->bar[i].write_back, mio_address(f, i, true));
		be64_set(&mio->bar[i].write_through, mio_address(f, i, false));
	}
	be32_set(&mio->valid, valid);
}

static void query_function(struct call *call)
{
	const struct function_request *request = (const void *)call->request;
	struct function_response response = { 0 };
	const struct zpci_function_config *config;
	struct zpci_function *f = function_enter(call->zpci, be32_get(request->fh));

	if (!f) {
		respond(call, RESPONSE_HANDLE);
		return;
	}
	config = &f->config;
	be16_set(&response.vfn, config->vfn);
	response.pfgid = f->pfgid;
	be32_set(&response.fid, config->fid);
	for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
		response.bar_size[i] = exponent(pci_function_bar_size(f->pci, i));
		le32_set(&response.bar[i], pci_function_bar_value(f->pci, i));
	}
	be16_set(&response.pchid, config->pchid);
	memcpy(response.pfip, config->pfip, sizeof(response.pfip));
	response.fmb_length = measurement_words(f);
	response.pft = config->pft;
	be64_set(&response.sdma, config->sdma);
	be64_set(&response.edma, config->edma);
	if (config->has_rid) {
		response.flags |= FUNCTION_HAS_RID | FUNCTION_HAS_TID;
		be16_set(&response.rid, config->rid);
		be16_set(&response.tid, config->tid);
	}
	be32_set(&response.uid, config->uid);
	if (config->has_util_string) {
		response.flags |= FUNCTION_HAS_UTIL_STRING;
		memcpy(response.util_string, config->util_string, sizeof(response.util_string));
	}
	if (mio_available(f)) {
		response.flags |= FUNCTION_HAS_MIO;
		describe_mio(f, &response.mio);
	}
	function_leave(f);
	respond_with(call, &response, sizeof(response));
}

static void query_group(struct call *call)
{
	const struct group_request *request = (const void *)call->request;
	struct zpci *zpci = call->zpci;
	unsigned pfgid = be32_get(request->pfgid) & 0xff;
	struct group_response response = { 0 };
	struct function_group group;

	pthread_mutex_lock(&zpci->slots_lock);
	group = zpci->groups[pfgid];
	pthread_mutex_unlock(&zpci->slots_lock);
	if (!group.used) {
		respond(call, RESPONSE_GROUP);
		return;
	}
	be16_set(&response.interrupts, group.interrupts);
	if (group.refresh)
		response.flags |= GROUP_REFRESH;
	if (group.relaxed_translation)
		response.flags |= GROUP_RELAXED_TRANSLATION;
	be16_set(&response.store_block_max, group.store_block_max);
	be16_set(&response.update_interval, group.update_interval);
	response.designations = ioat_designation_mask();
	if (zpci->directed.available) {
		be16_set(&response.directed_interrupts, group.interrupts);
		be16_set(&response.directed_cpus, ZPCI_DIRECTED_CPUS);
	}
	be64_set(&response.msi_address, MSI_ADDRESS);
	respond_with(call, &response, sizeof(response));
}

/* With the function's `control` lock held. */
static enum response_code enable(struct zpci_function *f, const struct function_request *request)
{
	if (request->dma_spaces == 0)
		return RESPONSE_DMA_SPACES;
	if (request->dma_spaces > 1)
		return RESPONSE_RESOURCES;
	switch (function_state(f)) {
	case FUNCTION_DISABLED:
		pci_function_enabling(f->pci);
		function_enable(f);
		return RESPONSE_OK;
	case FUNCTION_PERMANENT_ERROR:
		return RESPONSE_PERMANENT_ERROR;
	default:
		return RESPONSE_HANDLE_OPERATION;
	}
}

/* A disk that works has answered by then; Linux tries again 100 times, 20 ms apart. */
#define SETTLE_US 10000

/*
 * The vCPU takes no interruption meanwhile, so a device that waits for its host is not
 * waited for: the program hears that the function is busy and tries again.
 */
static enum response_code disable(struct zpci_function *f, uint32_t fh)
{
	if (f->state == FUNCTION_STANDBY)
		return RESPONSE_HANDLE_OPERATION;
	if (f->state == FUNCTION_DISABLED)
		return fh & FH_ENABLED ? RESPONSE_ALREADY : RESPONSE_HANDLE_OPERATION;
	if (!function_settle(f, SETTLE_US))
		return RESPONSE_BUSY;
	function_disable(f, FUNCTION_DISABLED);
	return RESPONSE_OK;
}

/*
 * The function is enabled; `f->fh` says so, whatever the program's handle does: Linux
 * takes the one that it has just enabled the function with.
 */
static enum response_code switch_mio(struct zpci_function *f, bool on)
{
	switch (function_state(f)) {
	case FUNCTION_ENABLED:
	case FUNCTION_BLOCKED:
	case FUNCTION_ERROR:
		break;
	case FUNCTION_PERMANENT_ERROR:
		return RESPONSE_PERMANENT_ERROR;
	default:
		return RESPONSE_HANDLE_OPERATION;
	}
	if (!mio_available(f))
		return RESPONSE_HANDLE_OPERATION;
	if (f->mio == on)
		return RESPONSE_ALREADY;
	f->mio = on;
	return RESPONSE_OK;
}

/*
 * Does the operation take a handle whose enabled bit is not the function's? A
 * handle that was enabled and is not any more is known all the same when the
 * program wants to disable: it hears that this is done.
 */
static bool takes_any_handle(unsigned operation, uint32_t fh)
{
	switch (operation) {
	case SET_DISABLE:
		return fh & FH_ENABLED;
	case SET_ENABLE_MIO:
	case SET_DISABLE_MIO:
		return true;
	default:
		return false;
	}
}

static enum response_code set_function(struct zpci_function *f,
				       const struct function_request *request,
				       struct set_response *response)
{
	uint32_t fh = be32_get(request->fh);
	enum response_code code;

	pthread_mutex_lock(&f->control);
	if ((f->fh ^ fh) & ~FH_ENABLED) {
		code = RESPONSE_HANDLE; /* unplugged meanwhile */
	} else {
		switch (request->operation) {
		case SET_ENABLE:
			code = enable(f, request);
			break;
		case SET_DISABLE:
			code = disable(f, fh);
			break;
		case SET_ENABLE_MIO:
		case SET_DISABLE_MIO:
			code = switch_mio(f, request->operation == SET_ENABLE_MIO);
			break;
		default:
			code = RESPONSE_HANDLE_OPERATION;
		}
		if (f->mio)
			describe_mio(f, &response->mio);
	}
	be32_set(&response->fh, f->fh);
	pthread_mutex_unlock(&f->control);
	return code;
}

static void set(struct call *call)
{
	const struct function_request *request = (const void *)call->request;
	struct set_response response = { 0 };
	uint32_t fh = be32_get(request->fh);
	enum response_code code;
	struct zpci_function *f;

	if (takes_any_handle(request->operation, fh))
		f = function_enter_any(call->zpci, fh);
	else
		f = function_enter(call->zpci, fh);
	if (!f) {
		respond(call, RESPONSE_HANDLE);
		return;
	}
	code = set_function(f, request, &response);
	function_leave(f);
	TRACE(call->zpci, "zpci_set", "fh=%08x operation=%u spaces=%u new fh=%08x", fh,
	      request->operation, request->dma_spaces, be32_get(response.fh));
	if (code == RESPONSE_OK)
		respond_with(call, &response, sizeof(response));
	else
		respond(call, code);
}

/* --- dispatch ------------------------------------------------------------------------------ */

#define COMMAND_BIT(command) BIT32(command)

static bool reserved_clear(struct call *call)
{
	const struct request_header *header = (const void *)call->request;
	uint32_t format = be32_get(header->format);

	if (format & FORMAT_MASK) {
		respond(call, RESPONSE_FORMAT);
		return false;
	}
	if (format || be64_get(header->reserved)) {
		respond(call, RESPONSE_RESERVED);
		return false;
	}
	return true;
}

static void execute_base(struct call *call, unsigned command)
{
	if (command == COMMAND_CHARACTERISTICS && reserved_clear(call))
		characteristics(call, PROCESSOR_BASE, COMMAND_BIT(COMMAND_CHARACTERISTICS));
	else if (command != COMMAND_CHARACTERISTICS)
		respond(call, RESPONSE_COMMAND);
}

static void execute_pci(struct call *call, unsigned command)
{
	void (*handler)(struct call *);

	switch (command) {
	case COMMAND_CHARACTERISTICS:
		if (reserved_clear(call))
			characteristics(call, PROCESSOR_PCI,
					COMMAND_BIT(COMMAND_CHARACTERISTICS) |
						COMMAND_BIT(COMMAND_LIST) |
						COMMAND_BIT(COMMAND_QUERY_FUNCTION) |
						COMMAND_BIT(COMMAND_QUERY_GROUP) |
						COMMAND_BIT(COMMAND_SET));
		return;
	case COMMAND_LIST:
		handler = list;
		break;
	case COMMAND_QUERY_FUNCTION:
		handler = query_function;
		break;
	case COMMAND_QUERY_GROUP:
		handler = query_group;
		break;
	case COMMAND_SET:
		handler = set;
		break;
	default:
		handler = NULL;
	}
	if (call->request_length != REQUEST_SIZE)
		respond(call, RESPONSE_LENGTH);
	else if (!handler)
		respond(call, RESPONSE_COMMAND);
	else if (reserved_clear(call))
		handler(call);
}

/* Both lengths are multiples of 8, the response's header is its first 8 bytes. */
static bool lengths_valid(unsigned request, unsigned response)
{
	return response >= 8 && response % 8 == 0 && response <= BLOCK_MAX - HEADER_SIZE &&
	       request + response <= BLOCK_MAX;
}

static bool request_length_valid(unsigned length)
{
	return length >= HEADER_SIZE && length % 8 == 0 && length <= BLOCK_MAX - 8;
}

/* Are [address, address + length) accessible? At most three pages. */
static int probe(struct zpci *zpci, struct zpci_vcpu *vcpu, uint64_t address, unsigned ar,
		 unsigned length, bool write)
{
	uint64_t absolute;
	int rc = 0;

	for (uint64_t at = address; !rc && at - address < length;
	     at = (at & PAGE_MASK) + PAGE_SIZE)
		rc = zpci->config.vcpu->translate(vcpu, at, ar, write, &absolute);
	return rc;
}

static int store_response(struct zpci *zpci, struct zpci_vcpu *vcpu, uint64_t address, unsigned ar,
			  const struct call *call)
{
	unsigned done = 0;

	while (done < call->length) {
		unsigned part = MIN(call->length - done, PAGE_SIZE);
		int rc = zpci->config.vcpu->write(vcpu, address + done, ar, call->response + done,
						  part);

		if (rc)
			return rc;
		done += part;
	}
	return 0;
}

static struct outcome call_processor(struct zpci *zpci, struct zpci_vcpu *vcpu, uint64_t address,
				     unsigned ar, unsigned processor, unsigned *command)
{
	const struct zpci_vcpu_ops *ops = zpci->config.vcpu;
	struct call call; /* 8 KiB of it are written only as far as needed */
	uint8_t length[2];

	call.zpci = zpci;
	call.cc = 0;
	call.length = 0;
	memset(call.request, 0, sizeof(call.request));
	if (ops->read(vcpu, address, ar, call.request, HEADER_SIZE))
		return outcome_access();
	call.request_length = load_be16(call.request);
	*command = load_be16(call.request + 2);
	if (!request_length_valid(call.request_length))
		return outcome_program(ZPCI_PGM_OPERAND);
	if (call.request_length >= REQUEST_SIZE &&
	    ops->read(vcpu, address + HEADER_SIZE, ar, call.request + HEADER_SIZE,
		      REQUEST_SIZE - HEADER_SIZE))
		return outcome_access();
	if (ops->read(vcpu, address + call.request_length, ar, length, sizeof(length)))
		return outcome_access();
	call.room = load_be16(length);
	if (!lengths_valid(call.request_length, call.room))
		return outcome_program(ZPCI_PGM_OPERAND);
	if (probe(zpci, vcpu, address, ar, call.request_length, false) ||
	    probe(zpci, vcpu, address + call.request_length, ar, call.room, true))
		return outcome_access();

	if (processor == PROCESSOR_PCI)
		execute_pci(&call, *command);
	else
		execute_base(&call, *command);
	if (store_response(zpci, vcpu, address + call.request_length, ar, &call))
		return outcome_access();
	TRACE(zpci, "zpci_clp_response", "command=%04x response=%04x length=%u", *command,
	      load_be16(call.response + 2), load_be16(call.response));
	return outcome_cc(call.cc);
}

/* Immediate command: which logical processors are there? */
static struct outcome immediate(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1,
				uint64_t command)
{
	if (command != 1)
		return outcome_cc(3);
	vcpu->registers[r1] = BIT64(PROCESSOR_BASE) | BIT64(PROCESSOR_PCI);
	return outcome_cc(0);
}

int zpci_insn_clp(struct zpci *zpci, struct zpci_vcpu *vcpu, unsigned r1, unsigned r2, unsigned r3,
		  unsigned m4)
{
	uint64_t address = vcpu->registers[r2];
	struct outcome outcome;
	unsigned command = 0;

	if (vcpu->problem_state)
		outcome = outcome_program(ZPCI_PGM_PRIVILEGED_OPERATION);
	else if (r3 & 8)
		outcome = immediate(zpci, vcpu, r1, address);
	else if (m4 == PROCESSOR_PCI || m4 == PROCESSOR_BASE)
		outcome = call_processor(zpci, vcpu, address, r2, m4, &command);
	else
		outcome = outcome_cc(3);
	TRACE_INSN(zpci, "zpci_clp", outcome, "processor=%u command=%04x block=%#llx", m4, command,
		   (unsigned long long)address);
	return insn_finish(zpci, vcpu, outcome, r1);
}
