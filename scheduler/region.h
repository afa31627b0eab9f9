/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region on the source: the guest's memory, what of it is to be sent, and its chunks.
 *
 *   region  |  chunk 0  |  chunk 1  |  chunk 2  |…|
 *   local      mr          mr          -             registered here (reads)
 *   remote     key         asked       -             registered there (writes)
 */
#ifndef RF_SCHEDULER_REGION_H
#define RF_SCHEDULER_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include <ramferry/region.h>

#include "common/zero.h"
#include "scheduler/dirty_map.h"
#include "transport/transport.h"

enum rf_chunk_state {
	RF_CHUNK_NONE,	/* never needed so far */
	RF_CHUNK_ASKED, /* KEY_REQ is on its way */
	RF_CHUNK_READY, /* key is here */
};

struct rf_src_chunk {
	enum rf_chunk_state state;
	struct rf_mr *mr;
	struct rf_remote_key key;
};

/* Owner: the scheduler thread; map also as dirty_map.h says. */
struct rf_src_region {
	struct rf_region info; /* copied; info.addr and info.memfd are the VMM's */
	uint8_t *addr;
	struct rf_dirty_map map;
	struct rf_bitmap host_pending; /* postcopy, huge pages: one claim a host page */
	struct rf_bitmap data;	       /* pages of the file that were seen to hold data */
	struct rf_src_chunk *chunks;   /* made when chunk_size is known */
	uint64_t nchunks;
	bool kept; /* its memory cannot be given back */
};

/* Checks info and makes the bitmaps. RF_ERR_INVALID (logged), RF_ERR_NO_MEMORY. */
int rf_src_region_init(struct rf_src_region *r, const struct rf_region *info);
void rf_src_region_fini(struct rf_src_region *r); /* chunks deregistered before */

/*
 * Postcopy: the unit that is claimed is the host page. Where that is a target page the pending
 * bits are the claims; otherwise make_claims sets one for each host page with a pending page.
 */
int rf_src_region_make_claims(struct rf_src_region *r);
static inline struct rf_bitmap *rf_src_region_claims(struct rf_src_region *r)
{
	return r->info.page_size == RF_PAGE_SIZE ? &r->map.pending : &r->host_pending;
}
static inline uint64_t rf_src_region_claim_bit(const struct rf_src_region *r, uint64_t page)
{
	return page / (r->info.page_size / RF_PAGE_SIZE);
}

int rf_src_region_make_chunks(struct rf_src_region *r, uint64_t chunk_size);
void rf_src_region_deregister(struct rf_src_region *r);

/*
 * First round: marks every page that holds data as pending, without touching memory, and tells
 * in *holes how many hold none. Tracking has been started before, so that a page that comes
 * into being later is in a harvest.
 */
void rf_src_region_find_data(struct rf_src_region *r, uint64_t *holes);

/* Later, without tracking, while the guest stands still: what held nothing at find_data and may
 * hold data now is pending too. Looks at large holes only; small ones, of which there may be very
 * many, become pending without a look. */
int rf_src_region_find_more(struct rf_src_region *r, uint64_t *holes);

/*
 * Looks at claimed pages from `first` on: true if that one is zero; *count: how many up to end
 * are like it. A hole of the file is zero without being read, for reading it would fill it.
 * The scheduler thread.
 */
bool rf_src_region_zeros(struct rf_src_region *r, rf_zero_fn is_zero, uint64_t first, uint64_t end,
			 uint64_t *count);

#endif
