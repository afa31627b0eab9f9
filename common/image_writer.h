/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes a snapshot file (image.h): pages in any order, then the tables.
 *
 *   open → begin → (page | absent | write)* → finish (or close, and nothing is left)
 *
 * Threads: one at a time.
 */
#ifndef RF_COMMON_IMAGE_WRITER_H
#define RF_COMMON_IMAGE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/image.h"
#include "common/image_io.h"

struct rf_image_writer;

int rf_image_writer_open(const char *path, struct rf_image_writer **out); /* as rf_image_io_open */
/* Fixes the layout. RF_ERR_INVALID, RF_ERR_NO_MEMORY, RF_ERR_SYSTEM; logged. */
int rf_image_writer_begin(struct rf_image_writer *w, const struct rf_region *regions, unsigned n,
			  const void *state, size_t state_len);

/* Notes that a page is present and what it holds; its bytes follow by rf_image_writer_write().
 * Once a page. */
void rf_image_writer_page(struct rf_image_writer *w, unsigned region, uint64_t page,
			  const void *data);
/* Notes that pages [first, first + n) are zero. Nothing is written. Pages of which nothing is
 * said count as zero, too. */
void rf_image_writer_absent(struct rf_image_writer *w, unsigned region, uint64_t first, uint64_t n);
/* Queues the bytes of pages from `first` on; as rf_image_io_write(). */
int rf_image_writer_write(struct rf_image_writer *w, unsigned region, uint64_t first,
			  const void *data, uint32_t len, void *token);
struct rf_image_io *rf_image_writer_io(struct rf_image_writer *w);

/* The guest wrote to this page: the first time in its block, the block's place in the order. */
void rf_image_writer_touched(struct rf_image_writer *w, unsigned region, uint64_t page);

uint64_t rf_image_writer_len(const struct rf_image_writer *w); /* of the file, holes included */

/* Writes the tables and makes the file durable. Nothing in flight, and nothing more comes.
 * RF_ERR_SYSTEM. */
int rf_image_writer_complete(struct rf_image_writer *w);
/* Completes it unless that was done, and gives it its name. RF_ERR_SYSTEM. */
int rf_image_writer_finish(struct rf_image_writer *w);
bool rf_image_writer_close(struct rf_image_writer **w); /* as rf_image_io_close() */

#endif
