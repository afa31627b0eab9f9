/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Postcopy on the destination: the guest runs while pages are missing.
 *
 *   session thread  missing … postcopy: arms userfaultfd, starts fault threads; then device
 *                   state, run; waits for the last page; disarms, postcopy-done
 *   fault threads   fault.h
 *   lane threads    announcements of pushed pages: land, place
 *
 * Never disarmed while a page is missing: a guest thread that waits for a page the source took
 * with it waits until its process ends, it never runs on wrong memory.
 */
#ifndef RF_DEST_POSTCOPY_H
#define RF_DEST_POSTCOPY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "dest/fault.h"
#include "dest/pages.h"
#include "dest/region.h"

struct rf_dst_postcopy {
	/* fixed after arm */
	struct rf_dst_region **regions; /* in the source's order; the session's */
	uint32_t nregions;
	struct rf_dst_pages *pages;
	struct rf_poll_plan *plan;
	int *uffds;
	struct rf_dst_fault *faults;
	unsigned nfaults;
	bool armed;
	int wake_fd;	/* the session's: the last page came, or an error */
	uint64_t total; /* host pages that were missing */
	/* any thread */
	_Atomic uint64_t remaining; /* host pages missing or not placed yet */
	_Atomic uint64_t tell_at;   /* wakes the session when no more than these remain */
	_Atomic bool *nudged;	    /* by fault thread */
	struct rf_dst_place_counters count;
	_Atomic int error;
	pthread_mutex_t lock; /* error_desc, until error is set */
	char error_desc[256];
};

int rf_dst_postcopy_init(struct rf_dst_postcopy *p, struct rf_dst_region **regions,
			 uint32_t nregions, int wake_fd);
void rf_dst_postcopy_fini(struct rf_dst_postcopy *p);

/* One MISSING frame; RF_ERR_PROTOCOL if it does not fit the regions. */
int rf_dst_postcopy_missing(struct rf_dst_postcopy *p, const struct rf_wire_missing *m);

/* Arms userfaultfd on all guest views and starts a fault thread on each urgent lane, which it
 * then owns. */
int rf_dst_postcopy_arm(struct rf_dst_postcopy *p, struct rf_lane **lanes, unsigned n);

/* All pages have landed: those that were not asked for and are not the guest's yet, because its
 * memory is its own, are copied. The guest runs meanwhile. */
int rf_dst_postcopy_settle(struct rf_dst_postcopy *p);

/* Ends the fault threads; with all pages placed also disarms. */
int rf_dst_postcopy_finish(struct rf_dst_postcopy *p);

static inline bool rf_dst_postcopy_done(const struct rf_dst_postcopy *p)
{
	return atomic_load(&p->remaining) == 0;
}

/* A message of a bulk lane, by its thread. */
int rf_dst_postcopy_announced(struct rf_dst_postcopy *p, const void *data, uint32_t len);

/* The region and host page of an address of a guest view, NULL if there is none. */
struct rf_dst_pages *rf_dst_postcopy_find(struct rf_dst_postcopy *p, uint64_t addr,
					  uint32_t *region, uint64_t *page);

/* n missing host pages are in place. */
void rf_dst_postcopy_landed(struct rf_dst_postcopy *p, uint64_t n);

/* Keeps the first error and wakes the session. Returns err. */
int rf_dst_postcopy_fail(struct rf_dst_postcopy *p, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline bool rf_dst_postcopy_failed(const struct rf_dst_postcopy *p)
{
	return atomic_load_explicit(&p->error, memory_order_relaxed) != 0;
}

#endif
