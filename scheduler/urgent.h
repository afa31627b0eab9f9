/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The urgent lanes of the source: a poller each serves page requests by itself, without a
 * hand-off to the scheduler thread and without a lock shared with it.
 *
 *   request ─► queue ─► head: claim ─won──► zero(slot), or write-with-immediate(slot) pieces
 *                                   ─boost─► waits at its place until the bulk sender posted it
 *                                   ─sent──► counted
 */
#ifndef RF_SCHEDULER_URGENT_H
#define RF_SCHEDULER_URGENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/zero.h"
#include "scheduler/claim.h"
#include "scheduler/request.h"
#include "transport/poll_plan.h"

struct rf_src_region;

/* What all urgent senders and the bulk sender share. */
struct rf_urgent_shared {
	/* fixed while pollers run */
	struct rf_src_region *regions;
	uint32_t nregions;
	uint64_t chunk_size;
	uint64_t piece; /* most bytes of one write */
	rf_zero_fn is_zero;
	struct rf_limiter *limiter; /* shared with other sources; NULL: none */
	int wake_fd;		    /* the scheduler's: a boost, an error, a request (locality) */
	/* any thread */
	struct rf_bulk_current current;
	_Atomic uint32_t open;	     /* requests taken and not answered in full */
	_Atomic uint64_t last_ns;    /* when one last came or was answered */
	_Atomic uint64_t last_fault; /* region << 40 | page, of the last request */
	_Atomic uint64_t requests, bytes, boosted, duplicates, zeros;
	_Atomic int error;    /* of a lane or a peer; its words in the failed lane's struct */
	pthread_mutex_t lock; /* error_desc, until error is set */
	char error_desc[192];
};

struct rf_urgent {
	struct rf_urgent_shared *shared;
	struct rf_lane *lane;
	struct rf_poller *poller;
	/* the poller's thread */
	struct rf_request_queue queue;
	bool claimed;	    /* the head is being sent */
	uint64_t sent;	    /* bytes of it */
	bool boosting;	    /* the head is on the bulk lane */
	uint32_t answering; /* writes posted and not completed */
	/* any thread may read (release.c) */
	_Atomic uint64_t begun;	    /* requests it may claim the page of, before it does */
	_Atomic uint64_t ended;	    /* of these, all posted, or not to be answered here */
	_Atomic uint64_t posted;    /* writes */
	_Atomic uint64_t completed; /* writes */
};

/* Starts the poller; on success it owns the lane. */
int rf_urgent_start(struct rf_urgent *u, struct rf_urgent_shared *shared, struct rf_lane *lane,
		    struct rf_poll_plan *plan);
/* Ends it and closes the lane; stats may be NULL. */
void rf_urgent_stop(struct rf_urgent *u, struct rf_poller_stats *stats);

#endif
