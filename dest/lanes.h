/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bulk lanes of the destination: a poller each, which owns the lane, makes it progress
 * where the provider needs that, and tells the session of fences.
 *
 *   poller i:        poll ─► fence value v ─► fence_seen = v, wake
 *                         └► message ─► on_message (postcopy: announcements)
 *   session thread:  all fence_seen >= round ─► acknowledge
 */
#ifndef RF_DEST_LANES_H
#define RF_DEST_LANES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/poll_plan.h"
#include "transport/transport.h"

struct rf_dst_lanes;

struct rf_dst_lane {
	/* fixed after start */
	struct rf_dst_lanes *all;
	struct rf_lane *lane;
	struct rf_poller *poller;
	/* written by the poller's thread, read by the session */
	_Atomic uint64_t fence_seen;
	_Atomic int error;
	char error_desc[192]; /* before error is set */
};

struct rf_dst_lanes {
	struct rf_dst_lane lane[RF_WIRE_MAX_LANES];
	unsigned n;
	int wake_fd; /* eventfd: a fence came or a lane died */
	struct rf_poll_plan *plan;
	struct rf_poller_stats stats; /* sums of pollers that have ended */
	/* Set before the peer may send messages; NULL: none is expected, the lane fails. By the
	 * pollers' threads. Non-zero ends the lane. */
	int (*_Atomic on_message)(void *arg, const void *data, uint32_t len);
	void *arg;
};

int rf_dst_lanes_init(struct rf_dst_lanes *l);	/* RF_ERR_SYSTEM */
void rf_dst_lanes_fini(struct rf_dst_lanes *l); /* stopped before */

/* Takes over an accepted lane and starts its poller. On an error the lane stays the caller's. */
int rf_dst_lanes_start(struct rf_dst_lanes *l, struct rf_lane *lane);

/* True if every lane has seen this fence. */
bool rf_dst_lanes_fenced(const struct rf_dst_lanes *l, uint64_t value);

/* The first dead lane's error, RF_OK if all live; *why points into l. */
int rf_dst_lanes_error(const struct rf_dst_lanes *l, const char **why);

/* Ends the pollers and closes the lanes; from its return on nobody writes into our memory by
 * them. */
void rf_dst_lanes_stop(struct rf_dst_lanes *l);

#endif
