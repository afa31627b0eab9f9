/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the source is told of pages that have landed, so that it need not keep them.
 *
 *   missing at first ─► untold ─┬─ still missing: stays
 *                               └─ landed: in the next message
 *
 * A page is told once, and only when its data are complete in the landing view: from then on
 * nobody here asks for it again. It is told in portions of a 64th of what was missing, so that a
 * huge guest's bitmaps are looked through 64 times and no more.
 *
 * Owner: the session thread; others only clear bits of what is missing.
 */
#ifndef RF_DEST_LANDED_H
#define RF_DEST_LANDED_H

#include "common/wire.h"
#include "dest/postcopy.h"

struct rf_dst_landed {
	struct rf_bitmap *untold; /* by region: host pages */
	uint32_t nregions;
	uint64_t portion; /* host pages */
	/* where the next message begins */
	uint32_t region;
	uint64_t word;
};

/* All that is missing now is untold; before the fault threads start. RF_ERR_NO_MEMORY. */
int rf_dst_landed_init(struct rf_dst_landed *l, struct rf_dst_postcopy *p);
void rf_dst_landed_fini(struct rf_dst_landed *l);

/* Has a portion landed? Then rf_dst_landed_next() until it says false. */
bool rf_dst_landed_due(struct rf_dst_landed *l, struct rf_dst_postcopy *p);

/* Puts a LANDED message of one region into b, which is empty. */
bool rf_dst_landed_next(struct rf_dst_landed *l, struct rf_dst_postcopy *p, struct rf_wbuf *b);

#endif
