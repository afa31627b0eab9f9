/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a restore. Memory comes in blocks of 2 MiB, each with a digest in the file; whoever
 * sets the `claimed` bit of a block reads it, and sets `placed` behind the last of its pages.
 *
 * Thread    does
 * run       the caller's of rf_restore_run(): eager, all; lazy, the blocks nobody asked for
 * fault     lazy: reads the userfaultfd; zeros, or the block around the touched page
 */
#ifndef RF_DEST_RESTORE_H
#define RF_DEST_RESTORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ramferry/snapshot.h>

#include "common/bitmap.h"
#include "common/histogram.h"
#include "common/image_reader.h"

struct rf_restore_mem {
	/* fixed when the run begins */
	struct rf_region info;
	uint8_t *addr; /* NULL: not given yet */
	bool armed;

	/* lazy: one bit a block, any thread */
	struct rf_bitmap claimed, placed;
};

struct rf_restore {
	/* fixed after new, mem when the run begins */
	struct rf_restore_cfg cfg;
	struct rf_image_reader *file;
	struct rf_restore_mem *mem; /* as the regions of the file */
	uint64_t total;
	int uffd, stop_fd;

	_Atomic bool ran, cancelled;
	_Atomic int status; /* enum rf_state; written by run */
	_Atomic uint64_t bytes_read, faults, blocks_faulted, begin_ns, start_ns, end_ns;
	struct rf_histogram latency;

	pthread_mutex_t lock;
	/* guarded by lock */
	bool guest_runs; /* from here on nothing is disarmed while pages are missing */
	int error;
	char error_desc[256];
};

/* restore_lazy.c. The guest is resumed in it. */
int rf_restore_lazy(struct rf_restore *r);
/* restore.c */
int rf_restore_start_guest(struct rf_restore *r);
/* Takes a block from the file and checks it; buf has RF_IMAGE_BLOCK bytes. */
int rf_restore_read(struct rf_restore *r, uint32_t region, uint64_t block, uint8_t *buf);
void rf_restore_keep_error(struct rf_restore *r, int rc, const char *words);
int rf_restore_error(struct rf_restore *r);

#endif
