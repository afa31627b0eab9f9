/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who sends a host page in postcopy. Bulk and urgent senders claim with one atomic
 * test-and-clear, so each page is sent once; and the bulk sender tells which pages it is in the
 * middle of, so that an urgent sender that comes too late knows whether the page is on its way
 * already or only partly posted.
 *
 *   bulk:    current = [first, end) ─► claim ─► post pieces … announce ─► current = none
 *   urgent:  claim  won: send it · lost: is it in current?  yes: boost  no: its announcement
 *                                                                       is posted already
 *
 * current is published before the claim and taken back after the announcement, so a page that
 * cannot be claimed and is not in current has been announced.
 *
 * Threads: one bulk sender; urgent senders any.
 */
#ifndef RF_SCHEDULER_CLAIM_H
#define RF_SCHEDULER_CLAIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bitmap.h"

/* The pages the bulk sender is in the middle of; a sequence lock with one writer. */
struct rf_bulk_current {
	_Atomic uint32_t seq; /* odd: being changed */
	_Atomic uint32_t region;
	_Atomic uint64_t first, end; /* target pages; first == end: none */
	_Atomic bool boost;	     /* an urgent sender waits for the rest of it */
};

void rf_bulk_current_set(struct rf_bulk_current *c, uint32_t region, uint64_t first, uint64_t end);
/* Takes it back; true if somebody had asked for it meanwhile. */
bool rf_bulk_current_clear(struct rf_bulk_current *c);
bool rf_bulk_current_has(const struct rf_bulk_current *c, uint32_t region, uint64_t page);

enum rf_claim_result {
	RF_CLAIM_WON,	/* send it */
	RF_CLAIM_BOOST, /* the bulk sender is in the middle of it: boosted now, look again */
	RF_CLAIM_SENT,	/* its announcement or answer is posted */
};

/* By an urgent sender. claims: one bit a host page; bit: its index; page: its first target page.
 */
enum rf_claim_result rf_claim_urgent(struct rf_bitmap *claims, uint64_t bit,
				     struct rf_bulk_current *current, uint32_t region,
				     uint64_t page);

#endif
