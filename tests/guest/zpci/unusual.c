/* SPDX-License-Identifier: MIT */
/*
 * A function as few are: it takes blocks of any length and alignment, as ISM does,
 * and its DMA range is smaller than memory, so that there can be no direct mapping.
 * docs/zpci.md, the sections on PCISTB and MPCIFC.
 */
#include "zpci/dma.h"
#include "zpci/iotable.h"

#include "../../../src/devices/testdev_regs.h"

#define AT 0x4000u

static struct function *f;
static uint8_t block[2 * PAGE_SIZE] __attribute__((aligned(4096)));

static struct answer store(unsigned offset, unsigned length, const uint8_t *from)
{
	return insn_pcistb(place(f->fh, TESTDEV_BAR_RECORDER, length), offset, from);
}

static uint8_t byte(unsigned offset)
{
	return (uint8_t)bar_read(f, TESTDEV_BAR_RECORDER, offset, 1);
}

static void blocks(void)
{
	unsigned longest = f->group.store_block_max & 0x1fff;

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 7 + 1);
	check_answer(store(AT + 5, 7, block + 3), CC(0), 'C', "pcistb.relaxed",
		     "7 bytes from and to anywhere: condition code 0");
	check(byte(AT + 5) == block[3] && byte(AT + 11) == block[9], 'C', "pcistb.relaxed.bytes",
	      "and they are there, in order");
	check(byte(AT + 4) != block[2] && byte(AT + 12) != block[10], 'C', "pcistb.relaxed.no-more",
	      "and no others");
	check_answer(store(AT, 1, block + 1), CC(0), 'C', "pcistb.relaxed.length-1",
		     "1 byte: condition code 0");
	check_answer(store(AT, 0, block), PGM(PGM_SPECIFICATION), 'C', "pcistb.relaxed.length-0",
		     "length 0: specification exception");
	check_answer(store(AT + 1, longest - 1, block + 1), CC(0), 'C', "pcistb.relaxed.longest",
		     "up to the end of 4 KiB: condition code 0");
	check_answer(store(AT + PAGE_SIZE - 6, 7, block), PGM(PGM_SPECIFICATION), 'C',
		     "pcistb.relaxed.page", "across 4 KiB of the BAR: specification exception");
	check_answer(store(AT, 7, (const uint8_t *)memory_size()), PGM(PGM_ADDRESSING), 'C',
		     "pcistb.relaxed.memory", "operand outside memory: addressing exception");
}

static void range(void)
{
	struct fib fib = { .pba = f->query.sdma, .pal = f->query.edma };

	check(f->query.edma - f->query.sdma < memory_size() - 1, 'L', "direct.small.query",
	      "the query tells the DMA range, here smaller than memory");
	check_answer(modify(f, REGISTER_TRANSLATION, &fib), PGM(PGM_OPERAND), 'C', "direct.small",
		     "register with translation off: operand exception");
	fib.iota = (uint64_t)iotable_new() | IOTA_TYPE(REGION_THIRD) | IOTA_TRANSLATE;
	check_answer(modify(f, REGISTER_TRANSLATION, &fib), CC(0), 'C', "direct.small.table",
		     "a table for the same range: condition code 0");
	modify(f, DEREGISTER_TRANSLATION, &fib);
	fib.pal += PAGE_SIZE;
	check_answer(modify(f, REGISTER_TRANSLATION, &fib), PGM(PGM_OPERAND), 'C',
		     "direct.small.beyond", "a table for a larger one: operand exception");
}

void guest_main(void)
{
	struct dma dma;

	f = function_find();
	function_enable(f);
	if (!dma_find(&dma, f) || dma.kind != DMA_TESTDEV)
		bail("not here: testdev");
	check(!(f->query.flags & FUNCTION_MIO), 'C', "clp.query.mio.relaxed",
	      "block stores of any length: no addresses for loads and stores");
	blocks();
	range();
	function_disable(f);
}
