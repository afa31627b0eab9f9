/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region in postcopy, by host page:
 *
 *   missing ──its last write and announcement, or an urgent answer──► landed ──place──► placed
 *      │ fault                                                          ▲
 *      └──► requested (once) ───────────────────────────────────────────┘
 *
 *   missing    the source still has the only valid copy
 *   requested  a fault thread asked for it
 *   placed     mapped into the guest view: the guest may have changed it, nobody writes there
 *
 * A page that was never missing is landed from the start. If it is free, too, who touches it gets
 * zeros: nobody but the fault thread of its shard places it, so it is cleared before anybody can
 * have written to it. No wake-up is lost between the two
 * threads that may see a page at the same time, because each writes its own bit before it reads
 * the other's:
 *
 *   fault thread:  requested = 1, then missing?  no → place          (both may place: the second
 *   lane thread:   missing = 0, then requested?  yes → place at once  finds EEXIST and wakes)
 *
 * Threads: mark_missing by the session thread before the others start; then any.
 */
#ifndef RF_DEST_PAGES_H
#define RF_DEST_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bitmap.h"

struct rf_dst_region;

#define RF_DST_PLACE_BATCH 64u /* more pages in a call gain nothing */

/* Counted by all threads of a destination. */
struct rf_dst_place_counters {
	_Atomic uint64_t placed, existed, local; /* host pages; local: placed without a request */
};

struct rf_dst_pages {
	/* fixed after init */
	struct rf_dst_region *region;
	uint64_t npages;  /* host pages */
	unsigned shift;	  /* of a host page's size */
	const int *uffds; /* shard s is [s * shard_pages, …) */
	uint64_t shard_pages;
	struct rf_dst_place_counters *count;
	/* any thread */
	struct rf_bitmap missing, requested, placed;
};

/* What a fault thread has to do about a fault. */
enum rf_dst_fault_action {
	RF_DST_FAULT_WAKE,    /* it is placed: the guest only has to look again */
	RF_DST_FAULT_PLACE,   /* it has landed: place it */
	RF_DST_FAULT_ZERO,    /* the guest does not need what it held: clear and place it */
	RF_DST_FAULT_REQUEST, /* ask the source */
	RF_DST_FAULT_WAIT,    /* it has been asked for: whoever receives it places it */
};

int rf_dst_pages_init(struct rf_dst_pages *p, struct rf_dst_region *r,
		      struct rf_dst_place_counters *count);
void rf_dst_pages_fini(struct rf_dst_pages *p);

/* Target pages [first, first + count) are missing: so are their host pages. Returns how many
 * host pages became it. */
uint64_t rf_dst_pages_mark_missing(struct rf_dst_pages *p, uint64_t first, uint64_t count);

enum rf_dst_fault_action rf_dst_pages_fault(struct rf_dst_pages *p, uint64_t page);

/* The page is complete in the landing view. False: it was not missing (a peer's mistake).
 * *urgent: somebody waits for it. */
bool rf_dst_pages_land(struct rf_dst_pages *p, uint64_t page, bool *urgent);

/* Maps landed host pages [first, first + n) into the guest view and wakes who waits; pages that
 * are placed are left out. A page that is in nobody's file reads as zero. */
int rf_dst_pages_place(struct rf_dst_pages *p, uint64_t first, uint64_t n);

/* A page to which RF_DST_FAULT_ZERO applies; by the fault thread it was told to. */
int rf_dst_pages_place_zero(struct rf_dst_pages *p, uint64_t page);

/* The userfaultfd that a host page belongs to. */
int rf_dst_pages_uffd(const struct rf_dst_pages *p, uint64_t page);

#endif
