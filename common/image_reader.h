/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads a snapshot file (image.h). Nothing in it is trusted: lengths are checked against the
 * file's, tables and maps against their digests, blocks against theirs when they are read.
 *
 * Threads: open and close one; what is between, any number at the same time.
 */
#ifndef RF_COMMON_IMAGE_READER_H
#define RF_COMMON_IMAGE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bitmap.h"
#include "common/image.h"

struct rf_image_reader {
	/* fixed after open */
	char *path;
	int fd;
	struct rf_image img;
	struct rf_image_order *order;
	uint8_t *state;		   /* img.state_len bytes */
	struct rf_bitmap *present; /* one a region */
	uint64_t **blocks;	   /* digests, one array a region */
};

/* RF_ERR_NOT_FOUND, RF_ERR_PERMISSION, RF_ERR_NOT_RAMFERRY, RF_ERR_VERSION, RF_ERR_PROTOCOL
 * (damaged, cut off), RF_ERR_NO_MEMORY, RF_ERR_SYSTEM; logged with the place. */
int rf_image_reader_open(const char *path, struct rf_image_reader **out);
void rf_image_reader_close(struct rf_image_reader **r);

/* Whether a block holds anything but zeros. */
bool rf_image_reader_has(const struct rf_image_reader *r, uint32_t region, uint64_t block);
/*
 * Reads a block, what is absent as zeros, and checks its digest. out: RF_IMAGE_BLOCK bytes, of
 * which the last block of a region may fill fewer. RF_ERR_VERIFY: it is damaged, RF_ERR_SYSTEM;
 * logged with the region and the offset.
 */
int rf_image_reader_block(const struct rf_image_reader *r, uint32_t region, uint64_t block,
			  uint8_t *out);

#endif
