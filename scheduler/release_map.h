/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of a region's memory the source need not keep in postcopy (release-ram), by what is given
 * back at once: a host page, or a chunk where registration pins memory.
 *
 *   held ──the destination says it has landed──► due ──next──► taken, to be given back
 *
 *   held   the destination was told that it lacks it, and has not said that it has it: by host
 *          page
 *   due    nothing of it is held any more: by unit
 *   swept  up to here all that was never held has been taken as well: it came in precopy, or is
 *          free, or holds nothing. So that holes of a huge guest cost no bits.
 *
 *   units  | taken | held | taken |  swept ─►  held |   |   |
 *
 * Pure; owner: the scheduler thread.
 */
#ifndef RF_SCHEDULER_RELEASE_MAP_H
#define RF_SCHEDULER_RELEASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bitmap.h"
#include "scheduler/dirty_map.h"

struct rf_release_map {
	/* fixed */
	uint64_t npages; /* target pages, as all numbers of pages outside of the bitmaps */
	uint64_t host;	 /* pages of a host page */
	uint64_t unit;	 /* pages of a unit: whole host pages */
	uint64_t nunits;
	/* changed */
	struct rf_bitmap held; /* by host page */
	struct rf_bitmap due;  /* by unit */
	uint64_t ndue;	       /* units */
	uint64_t swept;	       /* units */
	uint64_t at;	       /* unit at which to look for what is due */
};

/* missing: by host page, what the destination was told it lacks. RF_ERR_NO_MEMORY. */
int rf_release_map_init(struct rf_release_map *m, const struct rf_bitmap *missing, uint64_t npages,
			uint64_t host, uint64_t unit);
void rf_release_map_fini(struct rf_release_map *m);

/* The destination says that pages [first, first + count) have landed. RF_ERR_PROTOCOL if they are
 * no whole host pages of the region, or not all held: then nothing has changed. */
int rf_release_map_landed(struct rf_release_map *m, uint64_t first, uint64_t count);

/* Takes the next run that need not be kept, of about most pages: at least a unit. False if there
 * is none for now. */
bool rf_release_map_next(struct rf_release_map *m, uint64_t most, struct rf_page_run *run);

#endif
