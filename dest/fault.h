/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fault thread: one userfaultfd and one urgent lane in one loop, so that between reading a
 * fault, asking for the page, receiving and placing it nothing is handed to another thread.
 *
 *   uffd ──fault──► placed? wake · landed? place · free? zeros · asked? nothing · else a slot and a
 * request ─► lane ──imm(slot)──► land, place, wake · zero(slot)──► clear, land, place, wake
 */
#ifndef RF_DEST_FAULT_H
#define RF_DEST_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/histogram.h"
#include "common/wire_postcopy.h"
#include "transport/poll_plan.h"
#include "transport/transport.h"

struct rf_dst_postcopy;

#define RF_DST_FAULT_THREADS 64u /* guest threads whose waiting is told apart */

struct rf_dst_slot {
	bool open;
	bool sent; /* the request went out */
	uint32_t region;
	uint64_t page; /* host page */
	uint32_t thread;
	uint64_t read_ns, sent_ns;
};

/* How long each guest thread stood still. */
struct rf_dst_blocked {
	uint32_t thread;
	uint64_t ns, faults;
};

struct rf_dst_fault {
	/* fixed after start */
	struct rf_dst_postcopy *post;
	struct rf_lane *lane;
	struct rf_poller *poller;
	struct rf_poller_stats stats; /* once it has ended */
	int uffd;
	unsigned index;
	/* the poller's thread */
	struct rf_dst_slot *slots;
	uint32_t *free_slots;
	uint32_t nfree, nopen;
	uint32_t unsent; /* open slots whose request waits for room in the lane */
	struct rf_dst_blocked blocked[RF_DST_FAULT_THREADS];
	unsigned nblocked;
	/* any thread may read */
	_Atomic uint64_t faults, requests, waits, wakes, free_faults;
	struct rf_histogram latency; /* fault read to placed, requested pages */
	struct rf_histogram part_request, part_wire, part_place;
	struct rf_histogram free_latency; /* fault read to placed, free pages */
};

/* Starts the thread; on success it owns the lane. */
int rf_dst_fault_start(struct rf_dst_fault *f, struct rf_dst_postcopy *post, unsigned index,
		       int uffd, struct rf_lane *lane);
/* Ends the thread and closes the lane. The userfaultfd stays. */
void rf_dst_fault_stop(struct rf_dst_fault *f);
void rf_dst_fault_fini(struct rf_dst_fault *f); /* after stop: frees the slots */
/* A page somebody waits for was placed by another thread: its slot can be taken back. */
void rf_dst_fault_nudge(struct rf_dst_fault *f);

#endif
