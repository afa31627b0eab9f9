/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the trackers: the sink a harvest fills, and what rf_tracker_delete() knows about
 * the built-in ones.
 */
#ifndef RF_SCHEDULER_TRACKER_H
#define RF_SCHEDULER_TRACKER_H

#include <stdint.h>

#include <ramferry/tracker.h>

#include "common/bitmap.h"

/* Lives on the stack of whoever harvests, for the time of one harvest of one region. */
struct rf_dirty_sink {
	struct rf_bitmap *bits; /* found pages are or-ed in; at least npages bits */
	uint64_t npages;	/* of the region; what lies beyond is dropped */
	const char *region;	/* its id, for the log */
	uint64_t reported;	/* pages reported so far, a page counted as often as reported */
};

/* A built-in tracker: what users see, and how to free its object. */
struct rf_tracker_type {
	struct rf_tracker_ops ops;
	void (*destroy)(void *self); /* after stop */
};

extern const struct rf_tracker_type rf_tracker_kvm_log_type;
extern const struct rf_tracker_type rf_tracker_kvm_ring_type;
extern const struct rf_tracker_type rf_tracker_uffd_wp_type;
extern const struct rf_tracker_type rf_tracker_manual_type;
extern const struct rf_tracker_type rf_tracker_soft_dirty_type;

#endif
