/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new file that gets its name when it is complete, and not before: written through io_uring,
 * past the page cache where the file system can. Until rf_image_io_commit() it has no name
 * (O_TMPFILE), or, on file systems that lack that, a hidden one beside the target that
 * rf_image_io_close() takes away.
 *
 * Threads: one at a time.
 */
#ifndef RF_COMMON_IMAGE_IO_H
#define RF_COMMON_IMAGE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rf_image_io;

#define RF_IMAGE_IO_DEPTH 256u /* writes on their way at most */

/* RF_ERR_UNSUPPORTED (no io_uring), RF_ERR_PERMISSION, RF_ERR_NOT_FOUND (the directory),
 * RF_ERR_SYSTEM; logged. */
int rf_image_io_open(const char *path, struct rf_image_io **out);
bool rf_image_io_direct(const struct rf_image_io *io); /* past the page cache */
int rf_image_io_resize(struct rf_image_io *io, uint64_t len);

/* Queues a write; offset, buf and len are multiples of 4 KiB. buf must stay until its token comes
 * back. RF_NO_RESOURCE: RF_IMAGE_IO_DEPTH are on their way. */
int rf_image_io_write(struct rf_image_io *io, uint64_t offset, const void *buf, uint32_t len,
		      void *token);
int rf_image_io_submit(struct rf_image_io *io); /* what was queued */
/* Tokens of writes that are done: how many (cap: ask again), or the error of the first that
 * failed, logged. */
int rf_image_io_poll(struct rf_image_io *io, void **tokens, unsigned cap);
unsigned rf_image_io_inflight(const struct rf_image_io *io);
int rf_image_io_fd(const struct rf_image_io *io); /* readable when there is something to poll */

/* Writes and waits; the same alignment. */
int rf_image_io_put(struct rf_image_io *io, uint64_t offset, const void *buf, size_t len);

/* Makes it durable. Nothing in flight. */
int rf_image_io_sync(struct rf_image_io *io);
/* The same, and gives it its name, over a file that may be there. */
int rf_image_io_commit(struct rf_image_io *io);
/*
 * Ends it; without a commit nothing is left of the file. Waits for writes on their way, but not
 * for ever: false if some did not end. Then their buffers must not be freed or used again.
 */
bool rf_image_io_close(struct rf_image_io **io);

#endif
