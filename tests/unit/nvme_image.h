/* SPDX-License-Identifier: MIT */
/*
 * A guest of nvme_guest.h whose disk is an image with known content: each 8 bytes are their
 * offset, mixed. What tests of the NVM commands do with it.
 */
#ifndef ZVISOR_TESTS_NVME_IMAGE_H
#define ZVISOR_TESTS_NVME_IMAGE_H

#include "nvme_guest.h"

#define IMAGE_SIZE (16 * MIB)
#define IMAGE_BLOCKS (IMAGE_SIZE / 512)

/* Memory for data, and for what leads to it or is beside it. */
#define PAGE GUEST_DATA_PAGE
#define READ_PAGE (GUEST_DATA_PAGE + 1024)

uint64_t image_pattern(uint64_t offset);
void image_fill(uint8_t *to, uint64_t offset, size_t size);
void image_write(const char *path, uint64_t size);
void image_read(const char *path, uint64_t offset, void *data, size_t size);

void assert_image_is_zero(const char *path, uint64_t offset, size_t size);

/* Memory from bus address `bus` on is what stands at `offset` of the image. */
void assert_pattern(struct guest *g, uint64_t bus, uint64_t offset, size_t size);

/* The guest has started, with one queue pair. */
int setup_direct(void **state);
int setup_cached(void **state);
int setup_readonly(void **state);
int teardown(void **state);

/* clang-format off */
#define DIRECT(f) { #f " (direct)", f, setup_direct, teardown, NULL }
#define CACHED(f) { #f " (cached)", f, setup_cached, teardown, NULL }
/* clang-format on */

/* A command with data at `page`; its status. */
uint16_t rw(struct guest *g, uint8_t opcode, uint64_t slba, uint32_t blocks, unsigned page);

/* Dataset management, of `count` ranges that are at PAGE. */
struct nvme_command dsm(unsigned count, uint32_t attributes);
void put_range(struct guest *g, unsigned index, uint64_t slba, uint32_t blocks);

#endif
