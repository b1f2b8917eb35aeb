/* SPDX-License-Identifier: MIT */
/*
 * The instruction table: opcode, format, mnemonic, facility and handler of every
 * instruction, put together from one insn-*.def file for each kind of
 * instruction. The decoder, the disassembler, traces and tests all read it.
 *
 * Source: Principles of Operation, appendix B "Lists of Instructions".
 */
#include "cpu/soft/complex.h"

#define INSN_ROW(opcode, format, mnemonic, facility, function, flags) op_fn insn_##function;
#include "cpu/soft/insn-all.def"
#undef INSN_ROW

const struct insn insn_table[] = {
#define INSN_ROW(opcode, format, mnemonic, facility, function, flags) \
	{ opcode, F_##format, flags, facility, mnemonic, insn_##function },
#include "cpu/soft/insn-all.def"
#undef INSN_ROW
};
const unsigned int insn_table_size = ARRAY_SIZE(insn_table);

uint16_t insn_opcode(uint64_t raw)
{
	uint8_t first = (uint8_t)(raw >> 56);
	uint8_t second = (uint8_t)(raw >> 48);
	uint8_t last = (uint8_t)(raw >> 16);

	switch (first) {
	case 0x01: case 0xb2: case 0xb3: case 0xb9: case 0xe5:
		return (uint16_t)(first << 8 | second);
	case 0xa5: case 0xa7:
	case 0xc0: case 0xc2: case 0xc4: case 0xc6: case 0xc8: case 0xcc:
		return (uint16_t)(first << 8 | (second & 15));
	case 0xe3: case 0xe7: case 0xeb: case 0xec: case 0xed:
		return (uint16_t)(first << 8 | last);
	default:
		return first;
	}
}

const struct insn *insn_lookup(uint64_t raw)
{
	uint16_t opcode = insn_opcode(raw);

	for (unsigned int i = 0; i < insn_table_size; i++) {
		if (insn_table[i].opcode == opcode)
			return &insn_table[i];
	}
	return NULL;
}
