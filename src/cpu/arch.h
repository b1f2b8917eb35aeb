/* SPDX-License-Identifier: MIT */
/*
 * z/Architecture as numbers: PSW bits, control-register bits, interruption
 * codes, assigned storage locations, translation-table formats.
 *
 * Source: Principles of Operation (SA22-7832-13): chapter 3 "Storage"
 * (translation, assigned storage), 4 "Control" (PSW), 6 "Interruption".
 */
#ifndef ZVISOR_CPU_ARCH_H
#define ZVISOR_CPU_ARCH_H

#include "base/util.h"

/* PSW, first doubleword */
#define PSW_PER BIT64(1)
#define PSW_DAT BIT64(5)
#define PSW_IO BIT64(6)
#define PSW_EXT BIT64(7)
#define PSW_KEY (0xfull << 52)
#define PSW_KEY_SHIFT 52
#define PSW_BIT12 BIT64(12) /* 1 in the short format only */
#define PSW_MCHK BIT64(13)
#define PSW_WAIT BIT64(14)
#define PSW_PROBLEM BIT64(15)
#define PSW_ASC (3ull << 46)
#define PSW_ASC_PRIMARY (0ull << 46)
#define PSW_ASC_AR (1ull << 46)
#define PSW_ASC_SECONDARY (2ull << 46)
#define PSW_ASC_HOME (3ull << 46)
#define PSW_CC (3ull << 44)
#define PSW_CC_SHIFT 44
#define PSW_PGM_MASK (0xfull << 40)
#define PSW_PGM_FIXED BIT64(20)
#define PSW_PGM_DECIMAL BIT64(21)
#define PSW_PGM_HFP_UNDERFLOW BIT64(22)
#define PSW_PGM_SIGNIFICANCE BIT64(23)
#define PSW_EA BIT64(31) /* extended addressing: 64 bits, with BA */
#define PSW_BA BIT64(32)
/* Bits that must be zero in a valid z/Architecture PSW. */
#define PSW_RESERVED (BIT64(0) | (7ull << 59) | BIT64(12) | BIT64(24) | \
		      (0x3full << 33) | 0x7fffffffull)

/* CR0 */
#define CR0_LOW_ADDRESS_PROTECTION BIT64(35)
#define CR0_SSM_SUPPRESSION BIT64(33)
#define CR0_EXTRACTION_AUTHORITY BIT64(36)
#define CR0_SECONDARY_SPACE BIT64(37)
#define CR0_FETCH_PROTECTION_OVERRIDE BIT64(38)
#define CR0_STORAGE_PROTECTION_OVERRIDE BIT64(39)
#define CR0_EDAT BIT64(40)
#define CR0_AFP BIT64(45)
#define CR0_VECTOR BIT64(46)
#define CR0_MALFUNCTION_ALERT BIT64(48)
#define CR0_EMERGENCY_SIGNAL BIT64(49)
#define CR0_EXTERNAL_CALL BIT64(50)
#define CR0_CLOCK_COMPARATOR BIT64(52)
#define CR0_CPU_TIMER BIT64(53)
#define CR0_SERVICE_SIGNAL BIT64(54)
#define CR0_INTERRUPT_KEY BIT64(57)
#define CR0_IUCV BIT64(62)

/* CR2, beside the dispatchable-unit-control-table origin */
#define CR2_MIO_ADDRESSING BIT64(58)

/* CR9: PER */
#define CR9_BRANCH BIT64(32)
#define CR9_IFETCH BIT64(33)
#define CR9_STORE BIT64(34)
#define CR9_STURA BIT64(36)
#define CR9_NULLIFICATION BIT64(39)
#define CR9_BRANCH_ADDRESS_CONTROL BIT64(40)
#define CR9_STORE_SPACE BIT64(42)

/* Program-interruption codes (chapter 6, figure "Program-Interruption Conditions") */
enum pgm_code {
	PGM_NONE = 0,
	PGM_OPERATION = 0x01,
	PGM_PRIVILEGED = 0x02,
	PGM_EXECUTE = 0x03,
	PGM_PROTECTION = 0x04,
	PGM_ADDRESSING = 0x05,
	PGM_SPECIFICATION = 0x06,
	PGM_DATA = 0x07,
	PGM_FIXED_OVERFLOW = 0x08,
	PGM_FIXED_DIVIDE = 0x09,
	PGM_DECIMAL_OVERFLOW = 0x0a,
	PGM_DECIMAL_DIVIDE = 0x0b,
	PGM_HFP_EXPONENT_OVERFLOW = 0x0c,
	PGM_HFP_EXPONENT_UNDERFLOW = 0x0d,
	PGM_HFP_SIGNIFICANCE = 0x0e,
	PGM_HFP_DIVIDE = 0x0f,
	PGM_SEGMENT_TRANSLATION = 0x10,
	PGM_PAGE_TRANSLATION = 0x11,
	PGM_TRANSLATION_SPEC = 0x12,
	PGM_SPECIAL_OPERATION = 0x13,
	PGM_OPERAND = 0x15,
	PGM_TRACE_TABLE = 0x16,
	PGM_SPACE_SWITCH = 0x1c,
	PGM_HFP_SQUARE_ROOT = 0x1d,
	PGM_PC_TRANSLATION_SPEC = 0x1f,
	PGM_AFX_TRANSLATION = 0x20,
	PGM_ASX_TRANSLATION = 0x21,
	PGM_LX_TRANSLATION = 0x22,
	PGM_EX_TRANSLATION = 0x23,
	PGM_PRIMARY_AUTHORITY = 0x24,
	PGM_SECONDARY_AUTHORITY = 0x25,
	PGM_LFX_TRANSLATION = 0x26,
	PGM_LSX_TRANSLATION = 0x27,
	PGM_ALET_SPECIFICATION = 0x28,
	PGM_ALEN_TRANSLATION = 0x29,
	PGM_ALE_SEQUENCE = 0x2a,
	PGM_ASTE_VALIDITY = 0x2b,
	PGM_ASTE_SEQUENCE = 0x2c,
	PGM_EXTENDED_AUTHORITY = 0x2d,
	PGM_STACK_FULL = 0x30,
	PGM_STACK_EMPTY = 0x31,
	PGM_STACK_SPECIFICATION = 0x32,
	PGM_STACK_TYPE = 0x33,
	PGM_STACK_OPERATION = 0x34,
	PGM_ASCE_TYPE = 0x38,
	PGM_REGION_FIRST_TRANSLATION = 0x39,
	PGM_REGION_SECOND_TRANSLATION = 0x3a,
	PGM_REGION_THIRD_TRANSLATION = 0x3b,
	PGM_MONITOR_EVENT = 0x40,
	PGM_PER = 0x80,
	PGM_CRYPTO = 0x119,
};

/* External-interruption codes */
#define EXT_INTERRUPT_KEY 0x0040
#define EXT_CLOCK_COMPARATOR 0x1004
#define EXT_CPU_TIMER 0x1005
#define EXT_MALFUNCTION_ALERT 0x1200
#define EXT_EMERGENCY_SIGNAL 0x1201
#define EXT_EXTERNAL_CALL 0x1202
#define EXT_SERVICE_SIGNAL 0x2401

/* Assigned storage locations, real addresses ("Assigned Storage Locations") */
#define LC_EXT_PARAMETER 0x080
#define LC_EXT_CPU_ADDRESS 0x084
#define LC_EXT_CODE 0x086
#define LC_SVC_ILC 0x088
#define LC_SVC_CODE 0x08a
#define LC_PGM_ILC 0x08c
#define LC_PGM_CODE 0x08e
#define LC_DATA_EXC_CODE 0x090
#define LC_MONITOR_CLASS 0x094
#define LC_PER_CODE 0x096
#define LC_PER_ATMID 0x097
#define LC_PER_ADDRESS 0x098
#define LC_EXC_ACCESS_ID 0x0a0
#define LC_PER_ACCESS_ID 0x0a1
#define LC_OP_ACCESS_ID 0x0a2
#define LC_AR_MODE_ID 0x0a3
#define LC_TEID 0x0a8
#define LC_MONITOR_CODE 0x0b0
#define LC_IO_SUBCHANNEL_ID 0x0b8
#define LC_IO_PARAMETER 0x0bc
#define LC_IO_WORD 0x0c0
#define LC_STFL 0x0c8
#define LC_MCHK_CODE 0x0e8
#define LC_MCHK_DAMAGE 0x0f4
#define LC_FAILING_ADDRESS 0x0f8
#define LC_BREAKING_EVENT 0x110
#define LC_RESTART_OLD_PSW 0x120
#define LC_EXT_OLD_PSW 0x130
#define LC_SVC_OLD_PSW 0x140
#define LC_PGM_OLD_PSW 0x150
#define LC_MCHK_OLD_PSW 0x160
#define LC_IO_OLD_PSW 0x170
#define LC_RESTART_NEW_PSW 0x1a0
#define LC_EXT_NEW_PSW 0x1b0
#define LC_SVC_NEW_PSW 0x1c0
#define LC_PGM_NEW_PSW 0x1d0
#define LC_MCHK_NEW_PSW 0x1e0
#define LC_IO_NEW_PSW 0x1f0
#define LC_EXT_PARAMETER64 0x11b8
#define LC_FPR_SAVE 0x1200
#define LC_GR_SAVE 0x1280
#define LC_PSW_SAVE 0x1300
#define LC_PREFIX_SAVE 0x1318
#define LC_FPC_SAVE 0x131c
#define LC_TODPR_SAVE 0x1324
#define LC_CPU_TIMER_SAVE 0x1328
#define LC_CLOCK_COMPARATOR_SAVE 0x1330 /* bits 0-55, shifted right by 8 */
#define LC_AR_SAVE 0x1340
#define LC_CR_SAVE 0x1380

/* Address-space-control elements and translation tables */
#define ASCE_TABLE_ORIGIN (~0xfffull)
#define ASCE_SUBSPACE_GROUP 0x200
#define ASCE_PRIVATE_SPACE 0x100
#define ASCE_STORAGE_ALTERATION 0x080
#define ASCE_SPACE_SWITCH 0x040
#define ASCE_REAL_SPACE 0x020
#define ASCE_TYPE 0x00c
#define ASCE_TYPE_REGION1 0x00c
#define ASCE_TYPE_REGION2 0x008
#define ASCE_TYPE_REGION3 0x004
#define ASCE_TYPE_SEGMENT 0x000
#define ASCE_LENGTH 0x003

#define REGION_ORIGIN (~0xfffull)
#define REGION_PROTECT 0x200
#define REGION_OFFSET 0x0c0
#define REGION_INVALID 0x020
#define REGION_TYPE 0x00c
#define REGION_LENGTH 0x003
#define REGION3_FORMAT 0x400 /* EDAT-2: maps a 2 GiB frame */
#define REGION3_FRAME (~0x7fffffffull)
#define REGION3_ACC 0xf000
#define REGION3_FETCH 0x0800
#define REGION3_ACC_VALID 0x10000
#define REGION3_COMMON 0x010

#define SEGMENT_ORIGIN (~0x7ffull)
#define SEGMENT_FORMAT 0x400 /* EDAT-1: maps a 1 MiB frame */
#define SEGMENT_FRAME (~0xfffffull)
#define SEGMENT_PROTECT 0x200
#define SEGMENT_INVALID 0x020
#define SEGMENT_COMMON 0x010
#define SEGMENT_TYPE 0x00c

#define PTE_FRAME (~0xfffull)
#define PTE_ZERO 0x800
#define PTE_INVALID 0x400
#define PTE_PROTECT 0x200

/* Storage key byte, as ISKE gives it */
#define KEY_ACC 0xf0
#define KEY_FETCH 0x08
#define KEY_REFERENCE 0x04
#define KEY_CHANGE 0x02

/* Facility numbers that code looks at */
#define FACILITY_EDAT1 8
#define FACILITY_EDAT2 78

#endif
