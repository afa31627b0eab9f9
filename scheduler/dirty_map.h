/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a region must still be sent, one bit a page:
 *
 *   tracker ──harvest──► found ─┬─absorb──► next ──advance──► pending ──claim──► on the wire
 *                               └─► warm, hot; saved
 *
 *   found    written since the harvest before (one bitmap for all regions, owned by rf_sync)
 *   pending  must be sent in this round
 *   next     written since it was sent, for the next round
 *   warm     in a harvest of this round; twice: in two of them
 *   hot      in two of this round or of the one before: worth to be sent late
 *   saved    written while it was pending: this round's turn carries that write, too
 *   free     the guest said so (hints.h) and has not written to it since: need not be sent
 *
 * Absorb. A page that is pending after the harvest, tracking of it armed again by then, will be
 * claimed and read later still: its write travels in this round. So next |= found & ~pending,
 * in this order: write protect, then look at pending, as tests/unit/sync_model.c shows. Whatever
 * was found is no longer free, wherever else it goes (tests/unit/hint_model.c).
 *
 * Claim. Whoever wins the atomic test-and-clear of a pending bit sends the page, and reads it
 * only after that. So several senders need no common lock, and a write that comes after the
 * claim is in a later harvest.
 *
 * Threads: claim and unclaim from any thread; absorb and advance from whoever holds the lock of
 * rf_sync. pending and next are shared, hot is written under the lock and read by the cursor; warm,
 * twice and saved belong to the lock.
 */
#ifndef RF_SCHEDULER_DIRTY_MAP_H
#define RF_SCHEDULER_DIRTY_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bitmap.h"

struct rf_dirty_map {
	struct rf_bitmap pending;
	struct rf_bitmap next;
	struct rf_bitmap warm, twice, hot, saved, free;
	uint64_t npages;
};

/* Pages [first, first + count). */
struct rf_page_run {
	uint64_t first;
	uint64_t count;
};

int rf_dirty_map_init(struct rf_dirty_map *m, uint64_t npages);
void rf_dirty_map_fini(struct rf_dirty_map *m);

/* What a harvest brought, in pages. */
struct rf_dirty_found {
	uint64_t dirtied; /* written since the harvest before */
	uint64_t again;	  /* of these, new in next */
};

/*
 * Takes what was found, which is empty afterwards. The scheduler's last one of a round counts for
 * heat, too, so without harvests in a round nothing gets hot. in_round: the sender is at work, so
 * what it need not send twice counts as saved. Adds to *sum.
 */
void rf_dirty_map_absorb(struct rf_dirty_map *m, struct rf_bitmap *found, bool in_round,
			 struct rf_dirty_found *sum);

/* A round is over: pending |= next, next = 0, and heat is counted anew. Returns how many pages are
 * pending then; adds to *avoided those that would be, had they not been saved. */
uint64_t rf_dirty_map_advance(struct rf_dirty_map *m, uint64_t *avoided);

/* Most of what is pending in the 64 pages around this one is hot. */
bool rf_dirty_map_is_hot(const struct rf_dirty_map *m, uint64_t page);

/* These pages are free: neither pending nor next. Returns how many were pending. By hints.h. */
uint64_t rf_dirty_map_free(struct rf_dirty_map *m, uint64_t first, uint64_t count);

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
