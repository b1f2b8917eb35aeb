/* SPDX-License-Identifier: MIT */
/*
 * NVM Express, as it is seen from outside: registers, queue entries, commands,
 * status codes and the data structures that commands transfer. Only what this
 * controller knows is named here.
 *
 * Source: NVM Express Base Specification 1.4, sections 3 (registers),
 * 4 (queues, PRP, SGL), 5 (admin commands), 6 (NVM commands). Numbers of
 * sections stand beside what they define.
 */
#ifndef ZVISOR_DEVICES_NVME_SPEC_H
#define ZVISOR_DEVICES_NVME_SPEC_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/byteorder.h"

/* --- controller registers (3.1) ------------------------------------------- */

#define NVME_REG_CAP 0x00   /* 64 bits: capabilities */
#define NVME_REG_VS 0x08    /* version */
#define NVME_REG_INTMS 0x0c /* interrupt mask set: not for MSI-X */
#define NVME_REG_INTMC 0x10 /* interrupt mask clear: not for MSI-X */
#define NVME_REG_CC 0x14    /* configuration */
#define NVME_REG_CSTS 0x1c  /* status */
#define NVME_REG_AQA 0x24   /* sizes of the admin queues */
#define NVME_REG_ASQ 0x28   /* 64 bits: address of the admin submission queue */
#define NVME_REG_ACQ 0x30   /* 64 bits: address of the admin completion queue */
#define NVME_REG_DOORBELLS 0x1000

#define NVME_CAP_MQES(v) ((uint64_t)(v))           /* entries of a queue, less one */
#define NVME_CAP_CQR (1ull << 16)                  /* queues must be contiguous */
#define NVME_CAP_TO(v) ((uint64_t)(v) << 24)       /* enable, disable: 500 ms units */
#define NVME_CAP_CSS_NVM (1ull << 37)              /* the NVM command set */
#define NVME_CAP_MPSMIN(v) ((uint64_t)(v) << 48)   /* page size 2^(12 + v) */
#define NVME_CAP_MPSMAX(v) ((uint64_t)(v) << 52)

#define NVME_VERSION_1_4 0x00010400

#define NVME_CC_EN 0x1u
#define NVME_CC_CSS(cc) (((cc) >> 4) & 7)
#define NVME_CC_MPS(cc) (((cc) >> 7) & 15)
#define NVME_CC_AMS(cc) (((cc) >> 11) & 7)
#define NVME_CC_SHN(cc) (((cc) >> 14) & 3)
#define NVME_CC_IOSQES(cc) (((cc) >> 16) & 15)
#define NVME_CC_IOCQES(cc) (((cc) >> 20) & 15)
#define NVME_CC_WRITABLE 0x00fffff1u

#define NVME_CSTS_RDY 0x1u
#define NVME_CSTS_CFS 0x2u
#define NVME_CSTS_SHST_MASK 0xcu
#define NVME_CSTS_SHST_OCCURRING 0x4u
#define NVME_CSTS_SHST_COMPLETE 0x8u

#define NVME_AQA_ASQS(aqa) ((aqa) & 0xfff)
#define NVME_AQA_ACQS(aqa) (((aqa) >> 16) & 0xfff)
#define NVME_AQA_WRITABLE 0x0fff0fffu

/* --- queue entries (4.2, 4.6) ----------------------------------------------- */

#define NVME_SQES 6 /* log2 of the size of a submission queue entry */
#define NVME_CQES 4 /* log2 of the size of a completion queue entry */

/* Where data is: two PRP entries, or one SGL descriptor (4.3, 4.4). */
struct nvme_sgl_descriptor {
	le64 address;
	le32 length;
	uint8_t reserved[3];
	uint8_t type; /* NVME_SGL_… << 4 | subtype */
};

#define NVME_SGL_DATA_BLOCK 0x0
#define NVME_SGL_BIT_BUCKET 0x1
#define NVME_SGL_SEGMENT 0x2
#define NVME_SGL_LAST_SEGMENT 0x3
#define NVME_SGL_SUBTYPE_ADDRESS 0x0

struct nvme_command {
	uint8_t opcode;
	uint8_t flags; /* FUSE, PSDT */
	le16 cid;
	le32 nsid;
	le32 cdw2;
	le32 cdw3;
	le64 metadata;
	union {
		struct {
			le64 prp1;
			le64 prp2;
		};
		struct nvme_sgl_descriptor sgl;
	};
	le32 cdw10;
	le32 cdw11;
	le32 cdw12;
	le32 cdw13;
	le32 cdw14;
	le32 cdw15;
};
static_assert(sizeof(struct nvme_command) == 1 << NVME_SQES, "submission queue entry");

#define NVME_FLAGS_FUSE(flags) ((flags) & 3)
#define NVME_FLAGS_PSDT(flags) ((flags) >> 6)
#define NVME_PSDT_PRP 0
#define NVME_PSDT_SGL_MPTR_BUFFER 1
#define NVME_PSDT_SGL_MPTR_SGL 2

struct nvme_completion {
	le32 result;
	le32 reserved;
	le16 sq_head;
	le16 sq_id;
	le16 cid;
	le16 status; /* phase tag in bit 0, status field above it */
};
static_assert(sizeof(struct nvme_completion) == 1 << NVME_CQES, "completion queue entry");

/* --- status field (4.6.1): status code type << 8 | status code -------------- */

#define NVME_STATUS_SUCCESS 0x000
#define NVME_STATUS_INVALID_OPCODE 0x001
#define NVME_STATUS_INVALID_FIELD 0x002
#define NVME_STATUS_CID_CONFLICT 0x003
#define NVME_STATUS_DATA_TRANSFER_ERROR 0x004
#define NVME_STATUS_INTERNAL_ERROR 0x006
#define NVME_STATUS_ABORT_REQUESTED 0x007
#define NVME_STATUS_ABORTED_SQ_DELETION 0x008
#define NVME_STATUS_INVALID_NAMESPACE 0x00b
#define NVME_STATUS_SEQUENCE_ERROR 0x00c
#define NVME_STATUS_SGL_SEGMENT_INVALID 0x00d
#define NVME_STATUS_SGL_COUNT_INVALID 0x00e
#define NVME_STATUS_SGL_LENGTH_INVALID 0x00f
#define NVME_STATUS_SGL_TYPE_INVALID 0x011
#define NVME_STATUS_PRP_OFFSET_INVALID 0x013
#define NVME_STATUS_WRITE_PROTECTED 0x020
#define NVME_STATUS_LBA_RANGE 0x080
#define NVME_STATUS_CAPACITY_EXCEEDED 0x081

#define NVME_STATUS_CQ_INVALID 0x100
#define NVME_STATUS_QID_INVALID 0x101
#define NVME_STATUS_QUEUE_SIZE_INVALID 0x102
#define NVME_STATUS_ASYNC_LIMIT 0x105
#define NVME_STATUS_VECTOR_INVALID 0x108
#define NVME_STATUS_LOG_PAGE_INVALID 0x109
#define NVME_STATUS_QUEUE_DELETION_INVALID 0x10c
#define NVME_STATUS_FEATURE_NOT_SAVEABLE 0x10d
#define NVME_STATUS_FEATURE_NOT_CHANGEABLE 0x10e
#define NVME_STATUS_FEATURE_NOT_PER_NAMESPACE 0x10f

#define NVME_STATUS_WRITE_FAULT 0x280
#define NVME_STATUS_READ_ERROR 0x281
#define NVME_STATUS_COMPARE_FAILURE 0x285

#define NVME_STATUS_MORE 0x2000 /* the error log has more about it */
#define NVME_STATUS_DNR 0x4000  /* do not retry: it would fail again */

/* --- admin commands (5) ------------------------------------------------------ */

#define NVME_ADMIN_DELETE_SQ 0x00
#define NVME_ADMIN_CREATE_SQ 0x01
#define NVME_ADMIN_GET_LOG_PAGE 0x02
#define NVME_ADMIN_DELETE_CQ 0x04
#define NVME_ADMIN_CREATE_CQ 0x05
#define NVME_ADMIN_IDENTIFY 0x06
#define NVME_ADMIN_ABORT 0x08
#define NVME_ADMIN_SET_FEATURES 0x09
#define NVME_ADMIN_GET_FEATURES 0x0a
#define NVME_ADMIN_ASYNC_EVENT_REQUEST 0x0c

#define NVME_QUEUE_CONTIGUOUS 0x1u     /* CDW11 of create queue */
#define NVME_CQ_INTERRUPTS 0x2u        /* CDW11 of create completion queue */

#define NVME_NSID_ALL 0xffffffffu

#define NVME_CNS_NAMESPACE 0x00
#define NVME_CNS_CONTROLLER 0x01
#define NVME_CNS_ACTIVE_NAMESPACES 0x02
#define NVME_CNS_NAMESPACE_DESCRIPTORS 0x03

#define NVME_IDENTIFY_SIZE 4096

struct nvme_power_state {
	le16 max_power; /* centiwatts */
	uint8_t reserved2[2];
	le32 entry_latency; /* microseconds */
	le32 exit_latency;
	uint8_t reserved12[20];
};
static_assert(sizeof(struct nvme_power_state) == 32, "power state descriptor");

/* 5.15.2.2 */
struct nvme_identify_controller {
	le16 vid;
	le16 ssvid;
	char sn[20];
	char mn[40];
	char fr[8];
	uint8_t rab;
	uint8_t ieee[3];
	uint8_t cmic;
	uint8_t mdts;
	le16 cntlid;
	le32 ver;
	le32 rtd3r;
	le32 rtd3e;
	le32 oaes;
	le32 ctratt;
	le16 rrls;
	uint8_t reserved102[9];
	uint8_t cntrltype;
	uint8_t fguid[16];
	le16 crdt[3];
	uint8_t reserved134[122];
	le16 oacs;
	uint8_t acl;
	uint8_t aerl;
	uint8_t frmw;
	uint8_t lpa;
	uint8_t elpe;
	uint8_t npss;
	uint8_t avscc;
	uint8_t apsta;
	le16 wctemp;
	le16 cctemp;
	le16 mtfa;
	le32 hmpre;
	le32 hmmin;
	le64 tnvmcap[2];
	le64 unvmcap[2];
	uint8_t reserved312[200]; /* RPMB, self-test, sanitize, ANA: none */
	uint8_t sqes;
	uint8_t cqes;
	le16 maxcmd;
	le32 nn;
	le16 oncs;
	le16 fuses;
	uint8_t fna;
	uint8_t vwc;
	le16 awun;
	le16 awupf;
	uint8_t nvscc;
	uint8_t nwpc;
	le16 acwu;
	uint8_t reserved534[2];
	le32 sgls;
	le32 mnan;
	uint8_t reserved544[224];
	char subnqn[256];
	uint8_t reserved1024[1024];
	struct nvme_power_state psd[32];
	uint8_t vendor[1024];
};
static_assert(sizeof(struct nvme_identify_controller) == NVME_IDENTIFY_SIZE, "size");
static_assert(offsetof(struct nvme_identify_controller, cntrltype) == 111, "cntrltype");
static_assert(offsetof(struct nvme_identify_controller, oacs) == 256, "oacs");
static_assert(offsetof(struct nvme_identify_controller, tnvmcap) == 280, "tnvmcap");
static_assert(offsetof(struct nvme_identify_controller, sqes) == 512, "sqes");
static_assert(offsetof(struct nvme_identify_controller, sgls) == 536, "sgls");
static_assert(offsetof(struct nvme_identify_controller, subnqn) == 768, "subnqn");
static_assert(offsetof(struct nvme_identify_controller, psd) == 2048, "psd");

#define NVME_CNTRLTYPE_IO 1
#define NVME_FRMW_SLOT1_READ_ONLY 0x01
#define NVME_FRMW_SLOTS(n) ((n) << 1)
#define NVME_LPA_COMMANDS_SUPPORTED 0x02
#define NVME_LPA_EXTENDED 0x04
#define NVME_ONCS_COMPARE 0x01
#define NVME_ONCS_DSM 0x04
#define NVME_ONCS_WRITE_ZEROES 0x08
#define NVME_ONCS_SELECT 0x10
#define NVME_VWC_PRESENT 0x01
#define NVME_VWC_FLUSH_ALL 0x06
#define NVME_SGLS_SUPPORTED 0x00000001
#define NVME_SGLS_EXCESS_LENGTH 0x00040000

struct nvme_lba_format {
	le16 metadata_size;
	uint8_t data_size; /* log2 */
	uint8_t relative_performance;
};

/* 5.15.2.1 */
struct nvme_identify_namespace {
	le64 nsze;
	le64 ncap;
	le64 nuse;
	uint8_t nsfeat;
	uint8_t nlbaf;
	uint8_t flbas;
	uint8_t mc;
	uint8_t dpc;
	uint8_t dps;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	uint8_t dlfeat;
	le16 nawun;
	le16 nawupf;
	le16 nacwu;
	le16 nabsn;
	le16 nabo;
	le16 nabspf;
	le16 noiob;
	le64 nvmcap[2];
	le16 npwg;
	le16 npwa;
	le16 npdg;
	le16 npda;
	le16 nows;
	uint8_t reserved74[18];
	le32 anagrpid;
	uint8_t reserved96[3];
	uint8_t nsattr;
	le16 nvmsetid;
	le16 endgid;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lba_format lbaf[16];
	uint8_t reserved192[192];
	uint8_t vendor[3712];
};
static_assert(sizeof(struct nvme_identify_namespace) == NVME_IDENTIFY_SIZE, "size");
static_assert(offsetof(struct nvme_identify_namespace, nvmcap) == 48, "nvmcap");
static_assert(offsetof(struct nvme_identify_namespace, nsattr) == 99, "nsattr");
static_assert(offsetof(struct nvme_identify_namespace, lbaf) == 128, "lbaf");

#define NVME_NSFEAT_THIN 0x01
#define NVME_NSFEAT_OPTIMAL_SIZES 0x10 /* NPWG, NPWA, NPDG, NPDA and NOWS hold */
#define NVME_DLFEAT_ZEROES 0x01
#define NVME_DLFEAT_WRITE_ZEROES_DEALLOCATES 0x08
#define NVME_NSATTR_WRITE_PROTECTED 0x01

/* Namespace identification descriptors (5.15.2.3): type, length, 2 reserved, value. */
#define NVME_NIDT_EUI64 1
#define NVME_NIDT_NGUID 2
#define NVME_NIDT_UUID 3

/* --- features (5.21) ---------------------------------------------------------- */

#define NVME_FEATURE_ARBITRATION 0x01
#define NVME_FEATURE_POWER_MANAGEMENT 0x02
#define NVME_FEATURE_TEMPERATURE_THRESHOLD 0x04
#define NVME_FEATURE_ERROR_RECOVERY 0x05
#define NVME_FEATURE_VOLATILE_WRITE_CACHE 0x06
#define NVME_FEATURE_NUMBER_OF_QUEUES 0x07
#define NVME_FEATURE_INTERRUPT_COALESCING 0x08
#define NVME_FEATURE_INTERRUPT_VECTOR 0x09
#define NVME_FEATURE_WRITE_ATOMICITY 0x0a
#define NVME_FEATURE_ASYNC_EVENTS 0x0b

#define NVME_FEATURE_SAVE 0x80000000u /* CDW10 of set features */

#define NVME_SELECT_CURRENT 0
#define NVME_SELECT_DEFAULT 1
#define NVME_SELECT_SAVED 2
#define NVME_SELECT_CAPABILITIES 3

#define NVME_CAPABILITY_PER_NAMESPACE 0x2
#define NVME_CAPABILITY_CHANGEABLE 0x4

/* --- asynchronous events (5.2): log page, information, type -------------------- */

#define NVME_EVENT_TYPE_ERROR 0
#define NVME_EVENT_TYPE_SMART 1
#define NVME_EVENT_ERROR_INVALID_DOORBELL 0
#define NVME_EVENT_ERROR_INVALID_DOORBELL_VALUE 1
#define NVME_EVENT_SMART_TEMPERATURE 1

/* --- log pages (5.14) ----------------------------------------------------------- */

#define NVME_LOG_ERROR 0x01
#define NVME_LOG_SMART 0x02
#define NVME_LOG_FIRMWARE 0x03
#define NVME_LOG_COMMANDS 0x05

#define NVME_LOG_RETAIN_EVENT 0x8000u /* CDW10 of get log page */

struct nvme_error_entry {
	le64 count;
	le16 sqid;
	le16 cid;
	le16 status;
	le16 parameter_location;
	le64 lba;
	le32 nsid;
	uint8_t vendor_log;
	uint8_t transport;
	uint8_t reserved30[2];
	le64 command_specific;
	uint8_t reserved40[24];
};
static_assert(sizeof(struct nvme_error_entry) == 64, "error information log entry");

struct nvme_smart_log {
	uint8_t critical_warning;
	uint8_t temperature[2]; /* kelvin, little-endian */
	uint8_t available_spare;
	uint8_t spare_threshold;
	uint8_t percentage_used;
	uint8_t endurance_warning;
	uint8_t reserved7[25];
	le64 data_units_read[2]; /* thousands of 512 bytes, rounded up */
	le64 data_units_written[2];
	le64 host_reads[2];
	le64 host_writes[2];
	le64 busy_minutes[2];
	le64 power_cycles[2];
	le64 power_on_hours[2];
	le64 unsafe_shutdowns[2];
	le64 media_errors[2];
	le64 error_entries[2];
	le32 warning_minutes;
	le32 critical_minutes;
	uint8_t reserved200[312];
};
static_assert(sizeof(struct nvme_smart_log) == 512, "SMART log");

#define NVME_SMART_WARNING_TEMPERATURE 0x02

struct nvme_firmware_log {
	uint8_t active;
	uint8_t reserved1[7];
	char revision[7][8];
	uint8_t reserved64[448];
};
static_assert(sizeof(struct nvme_firmware_log) == 512, "firmware slot log");

struct nvme_commands_log {
	le32 admin[256];
	le32 io[256];
	uint8_t reserved[2048];
};
static_assert(sizeof(struct nvme_commands_log) == 4096, "commands supported log");

#define NVME_COMMAND_SUPPORTED 0x1u
#define NVME_COMMAND_CHANGES_DATA 0x2u

/* --- NVM commands (6) -------------------------------------------------------------- */

#define NVME_IO_FLUSH 0x00
#define NVME_IO_WRITE 0x01
#define NVME_IO_READ 0x02
#define NVME_IO_COMPARE 0x05
#define NVME_IO_WRITE_ZEROES 0x08
#define NVME_IO_DSM 0x09

/* CDW12 of read, write, compare, write zeroes */
#define NVME_RW_NLB(cdw12) (((cdw12) & 0xffff) + 1)
#define NVME_RW_FUA 0x40000000u
#define NVME_RW_PRINFO_MASK 0x3c000000u
#define NVME_RW_DEALLOCATE 0x02000000u /* write zeroes only */

#define NVME_DSM_DEALLOCATE 0x4u /* CDW11 */
#define NVME_DSM_RANGES_MAX 256

struct nvme_dsm_range {
	le32 attributes;
	le32 length; /* logical blocks */
	le64 slba;
};
static_assert(sizeof(struct nvme_dsm_range) == 16, "range of dataset management");

#endif
