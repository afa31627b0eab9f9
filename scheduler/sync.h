/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Harvests: the tracker's findings are put into the dirty maps, at the end of a round by the
 * scheduler thread, and in the middle of a long one by a thread of its own.
 *
 *   scheduler   |─ round ──────────────────────────────|H|─ round ──
 *   sync thread        H         H         H         H
 *
 * A harvest in a round tells how fast memory is written now, not how fast it was when the round
 * began, and takes out of the next round what this one still carries (dirty_map.h).
 */
#ifndef RF_SCHEDULER_SYNC_H
#define RF_SCHEDULER_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ramferry/tracker.h>

#include "common/clock.h"
#include "scheduler/hints.h"
#include "scheduler/region.h"

/* What harvests brought since the sample was taken last. */
struct rf_sync_sample {
	struct rf_dirty_found found;
	uint64_t ns;	   /* they cover */
	uint64_t spent_ns; /* the last of them took */
	unsigned harvests;
	unsigned behind;  /* of these, by the thread */
	uint64_t avoided; /* pages that need not be sent again, thanks to them */
	int error;	  /* RF_OK, or what a harvest of that region ended with */
	uint32_t region;
};

struct rf_sync {
	/* fixed after new */
	struct rf_src_region *regions;
	uint32_t nregions;
	struct rf_tracker tracker;
	const struct rf_clock *clock;
	int wake_fd;		/* written to when there is a sample */
	struct rf_hints *hints; /* told of every harvest; NULL: none */
	bool has_thread;
	pthread_t thread;

	/*
	 * The one lock: whoever calls the tracker holds it, until what was found is in the maps,
	 * so that no harvest ends while another still has pages in its hands. Taken with no other
	 * lock held, and never while pages are claimed or sent.
	 */
	pthread_mutex_t lock;
	pthread_cond_t cond; /* due_ns or stop changed */
	struct rf_bitmap found;
	uint64_t last_ns; /* of the last harvest; 0: none */
	uint64_t due_ns;  /* of the thread's next one; 0: none, no round is under way */
	uint64_t interval_ns;
	bool stop;
	struct rf_sync_sample sample;

	/* any thread */
	_Atomic bool fresh; /* there is a sample, or an error */
};

/* Makes no thread yet. RF_ERR_NO_MEMORY. */
int rf_sync_init(struct rf_sync *s, struct rf_src_region *regions, uint32_t nregions,
		 const struct rf_tracker *tracker, const struct rf_clock *clock, int wake_fd);
void rf_sync_fini(struct rf_sync *s); /* also of a zeroed struct; the thread has been stopped */

/*
 * The scheduler's harvest, at the end of a round: all that was found becomes pending. *pending:
 * pages, then. The sample is taken with it; it has the error, which is returned, too.
 */
int rf_sync_advance(struct rf_sync *s, uint64_t *pending, struct rf_sync_sample *sample);

/* The thread: starts it, without which the rest has no effect; ends it. */
int rf_sync_start(struct rf_sync *s);
void rf_sync_stop(struct rf_sync *s);
/* A round begins: the thread harvests every interval from now on, until rf_sync_advance(). */
void rf_sync_begin_round(struct rf_sync *s, uint64_t interval_ns);

/* What came since the last sample. False: nothing, or somebody harvests right now. After an error
 * the thread has given up. Cheap. */
bool rf_sync_take(struct rf_sync *s, struct rf_sync_sample *out);

/*
 * How far harvests in a round should be apart: often enough for a few a round, seldom enough
 * that they cost a twentieth of the time. A pure function.
 */
struct rf_sync_pace {
	uint64_t pending;   /* bytes of the round */
	double bandwidth;   /* bytes a second, 0: unknown */
	uint64_t spent_ns;  /* a harvest took */
	uint32_t wanted_ms; /* by the user; 0: adaptive */
};
#define RF_SYNC_MIN_NS	(100 * RF_NS_PER_MS)
#define RF_SYNC_MAX_NS	(5 * RF_NS_PER_SEC)
#define RF_SYNC_A_ROUND 8u  /* harvests in it */
#define RF_SYNC_COST	20u /* times what it takes: the least interval */
uint64_t rf_sync_interval(const struct rf_sync_pace *p);

#endif
