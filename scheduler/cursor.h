/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cursor walks the pending pages of all regions once, in order, and cuts them into pieces:
 *
 *   pending   .####..#########################..##
 *   claimed    ^--^  ^---- up to a piece ----^        within one chunk
 *   read       d00d                                   each page: data or zero?
 *   pieces     D Z D                                  runs of one kind
 *
 * A data piece is one write: it never crosses a chunk and is never longer than piece_pages.
 * Pages are claimed before they are looked at.
 */
#ifndef RF_SCHEDULER_CURSOR_H
#define RF_SCHEDULER_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/zero.h"
#include "scheduler/dirty_map.h"

struct rf_src_region;

struct rf_piece {
	uint32_t region;
	bool zero; /* all pages are zero: announce, do not send */
	struct rf_page_run pages;
};

struct rf_cursor {
	struct rf_src_region *regions;
	uint32_t nregions;
	uint64_t chunk_pages;
	uint64_t piece_pages;
	rf_zero_fn is_zero;
	uint64_t deferred; /* pages, ever */
	/* position */
	bool hot_last;	/* still in the first of two turns */
	bool left_out;	/* and it has left out something */
	bool last_turn; /* the second one */
	uint32_t region;
	uint64_t page;		    /* next page to look for pending ones at */
	struct rf_page_run claimed; /* of region, not yet handed out */
};

void rf_cursor_init(struct rf_cursor *c, struct rf_src_region *regions, uint32_t nregions,
		    uint64_t chunk_pages, uint64_t piece_pages);
/*
 * Back to the first page. With hot_last the cursor goes round twice: first without the words of
 * 64 pages that are mostly hot, then with them. By words, so that pieces stay long.
 */
void rf_cursor_rewind(struct rf_cursor *c, bool hot_last);

/* Gives back what was claimed and not handed out: the round is broken off. */
void rf_cursor_abandon(struct rf_cursor *c);

/* False at the end of the round. The pages of the piece are claimed. */
bool rf_cursor_next(struct rf_cursor *c, struct rf_piece *piece);

#endif
