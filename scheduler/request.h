/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page requests of one urgent lane, served in the order they came.
 *
 * A request has two independent properties: it is urgent (somebody waits for it), and it has a
 * lane it travels on. Normally that is the urgent lane. A host page whose pieces are already
 * partly on a bulk lane stays there, because a page is never split over lanes; then its
 * remaining pieces are boosted: they go next, whatever the window says, and later requests of
 * this lane wait until they are posted.
 */
#ifndef RF_SCHEDULER_REQUEST_H
#define RF_SCHEDULER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire_postcopy.h"
#include "transport/transport.h"

struct rf_page_request {
	uint32_t region;
	uint64_t page; /* first target page of the host page */
	uint32_t slot;
	bool urgent;		/* somebody waits: always true of requests of a destination */
	enum rf_lane_kind lane; /* where it travels */
};

/* A ring of as many as a peer may have open. Owner: one urgent poller's thread. */
struct rf_request_queue {
	struct rf_page_request ring[RF_WIRE_MAX_SLOTS];
	uint64_t head, tail; /* head is served next */
};

static inline bool rf_request_queue_push(struct rf_request_queue *q,
					 const struct rf_page_request *r)
{
	if (q->tail - q->head == RF_WIRE_MAX_SLOTS)
		return false;
	q->ring[q->tail++ % RF_WIRE_MAX_SLOTS] = *r;
	return true;
}

static inline struct rf_page_request *rf_request_queue_head(struct rf_request_queue *q)
{
	return q->head == q->tail ? NULL : &q->ring[q->head % RF_WIRE_MAX_SLOTS];
}

static inline void rf_request_queue_pop(struct rf_request_queue *q)
{
	q->head++;
}

#endif
