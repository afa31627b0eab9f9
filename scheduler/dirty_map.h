/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a region must still be sent, one bit a page:
 *
 *   tracker ──harvest──► next ──rf_dirty_map_advance──► pending ──claim──► on the wire
 *
 *   pending  must be sent in this round
 *   next     written since, for the next round
 *
 * Claim. Whoever wins the atomic test-and-clear of a pending bit sends the page, and reads it
 * only after that. So several senders need no common lock, and a write that comes after the
 * claim is in a later harvest.
 *
 * Threads: claim, mark and count from any thread; advance from one thread at a time.
 */
#ifndef RF_SCHEDULER_DIRTY_MAP_H
#define RF_SCHEDULER_DIRTY_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bitmap.h"

struct rf_dirty_map {
	struct rf_bitmap pending;
	struct rf_bitmap next;
	uint64_t npages;
};

/* Pages [first, first + count). */
struct rf_page_run {
	uint64_t first;
	uint64_t count;
};

int rf_dirty_map_init(struct rf_dirty_map *m, uint64_t npages);
void rf_dirty_map_fini(struct rf_dirty_map *m);

/* pending |= next, next = 0. Returns how many pages are pending then. */
uint64_t rf_dirty_map_advance(struct rf_dirty_map *m);

/*
 * Claims the next run of pending pages in [from, end), at most max pages: the first pending
 * page and those right behind it. False if nothing is pending there. The pages are the
 * caller's to send.
 */
bool rf_dirty_map_claim(struct rf_dirty_map *m, uint64_t from, uint64_t end, uint64_t max,
			struct rf_page_run *run);

/* Gives claimed pages back: they could not be posted. */
void rf_dirty_map_unclaim(struct rf_dirty_map *m, const struct rf_page_run *run);

#endif
