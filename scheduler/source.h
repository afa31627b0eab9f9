/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a source. rf_source_run() is the scheduler thread; it owns everything but what is
 * marked otherwise.
 *
 *   handshake.c   connect, agree
 *   ladder.c      open lanes, by the best transport that works
 *   probe.c       the same without a migration
 *   keys.c        registered memory, ahead of the cursor
 *   round.c       one round: cut pieces, post, announce zeros, fence
 *   limits.c      bandwidth, downtime, throttle: what may be changed while it runs
 *   precopy.c     harvest, rounds
 *   sync.c        harvests, also in the middle of a round, by a thread of its own
 *   decide.c      what was measured, put to converge.c; what it says, done
 *   switchover.c  pause, last round, digests, device state, hand-over
 *   hints.c       pages the guest says are free
 *   postcopy.c    the same, with the rest of the memory to follow; push.c that rest
 *   release.c     memory given back as pages land there
 *   urgent.c      page requests, served by pollers of their own
 *   events.c      the one place that waits: completions, control frames, cancel, deadlines
 *   report.c      statistics, errors in words
 */
#ifndef RF_SCHEDULER_SOURCE_H
#define RF_SCHEDULER_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <ramferry/source.h>

#include "common/clock.h"
#include "common/first_error.h"
#include "common/state.h"
#include "common/wire.h"
#include "scheduler/bulk.h"
#include "scheduler/converge.h"
#include "scheduler/cursor.h"
#include "scheduler/hints.h"
#include "scheduler/ladder.h"
#include "scheduler/limiter.h"
#include "scheduler/pacer.h"
#include "scheduler/path.h"
#include "scheduler/region.h"
#include "scheduler/release.h"
#include "scheduler/sync.h"
#include "scheduler/urgent.h"
#include "scheduler/window.h"
#include "transport/ctrl.h"
#include "transport/transport.h"

/* ms a living peer may take for one answer (it may be clearing or registering much memory). */
#define RF_SOURCE_ANSWER_TIMEOUT 60000u
#define RF_SOURCE_DOWNTIME_LIMIT 300u /* ms, by default */

/* Counters any thread may read while the scheduler thread writes them. */
struct rf_source_counters {
	_Atomic uint64_t normal, duplicate, skipped, remaining, data_bytes;
	_Atomic uint64_t precopy_bytes, downtime_bytes, sync_count, dirty_rate, round;
	_Atomic uint64_t device_state, transferred;
	_Atomic double mbps, setup_ms, downtime_ms, expected_ms, verify_ms, total_ms;
	_Atomic int verified;
	_Atomic uint64_t pushed, window_changes, poll_wakeups, released;
	_Atomic double poll_ms;
	_Atomic int postcopy;
	_Atomic uint64_t sync_behind, avoided, deferred, not_converging;
	_Atomic unsigned throttle; /* percent, as the guest was last told while it was moved */
};

/* What any thread may set while it runs (rf_source_set_*); the scheduler thread reads it. */
struct rf_source_limits {
	_Atomic uint64_t max_bandwidth, max_postcopy_bandwidth; /* bytes a second, 0: none */
	_Atomic uint32_t downtime_limit;			/* ms */
	_Atomic unsigned throttle;				/* percent */
};

struct rf_source {
	/* fixed after new and add_region */
	struct rf_source_cfg cfg; /* defaults filled in; strings point to the copies below */
	char *host, *transport, *provider, *poll_mode, *poll_cpus;
	struct rf_src_region *regions;
	uint32_t nregions;
	const struct rf_clock *clock;
	struct rf_mem_hub *hub; /* tests: backend mem */
	bool probe;		/* connects, and that is all */
	bool snapshot;		/* pages come from a snapshot, the guest stays (snapshot_link.c) */

	/* any thread */
	int cancel_fd; /* eventfd */
	int wake_fd;   /* eventfd: look again */
	_Atomic bool go_postcopy;
	_Atomic bool cancelled;
	_Atomic bool ran;
	struct rf_hints hints;
	struct rf_state_cell state;
	struct rf_source_counters count;
	struct rf_source_limits limits;

	/* lock */
	pthread_mutex_t lock;
	struct rf_first_error failure;
	char transport_name[16], provider_name[32];

	/* scheduler thread */
	uint64_t start_ns, deadline_ns; /* deadline 0: none */
	uint64_t next_progress_ns;
	struct rf_ctrl *ctrl;
	struct rf_transport *t;
	struct rf_ladder ladder;
	struct rf_bulk bulk;
	struct rf_cursor cursor;
	uint64_t keys_wanted; /* chunks asked for and not answered */
	uint8_t *zero_buf;    /* a ZERO payload being built */
	struct rf_wbuf zeros;
	uint32_t zero_region;
	struct rf_wire_run zero_run; /* last run, still growing */
	uint32_t expect;	     /* type of the answer waited for, 0: none */
	struct rf_frame answer;
	uint64_t round;
	struct rf_region *tracked; /* what the tracker was started with; it may keep it */
	bool tracking, paused, told_to_run;
	struct rf_sync sync;		  /* as sync.h says */
	struct rf_converge_memory memory; /* of decisions */
	uint64_t sent_pages, again;	  /* since the last decision; again: must go once more */
	uint64_t round_again;		  /* the same, in this round */
	struct rf_rate dirty;		  /* bytes the guest writes a second */
	struct rf_recent harvest_ms;	  /* a harvest takes */
	bool break_off;			  /* the round, to switch over: time is over */
	bool may_hint;			  /* asked for, and the destination knows of hints */
	bool hinting;			  /* the guest was told that hints are taken */
	struct rf_lane *urgent_lanes[RF_WIRE_MAX_LANES]; /* until their pollers take them */
	struct rf_urgent *urgents;
	unsigned nurgents;
	struct rf_urgent_shared urgent;
	struct rf_poll_plan plan;
	struct rf_release release;
	uint64_t pushed;		/* bytes */
	struct rf_pacer pacer;		/* of the rounds, then of the push */
	struct rf_limiter_member share; /* of cfg.limiter; likewise */
	uint64_t idle_ns;		/* of this round: what kept it waiting was not the link */
	uint64_t window;		/* bytes, as last decided */
	struct rf_path path;		/* to the destination */
	int sleep_ms;			/* when to look again though nothing came; 0: as usual */
	bool throttle_broken;		/* the guest refused */
	uint64_t pause_ns;
	/* Bandwidth; of the first round apart, in which the destination's memory is made. */
	struct rf_rate cold_rate, rate;
	struct rf_recent ack_ms; /* end of a round to its acknowledgement */
	double state_rate;	 /* bytes a second of device state, as tried; 0: it was not */
	uint64_t round_bytes;	 /* data bytes of this round */
	bool last_round;	 /* the guest is paused */
};

/* source.c: as rf_source_new(), for who has neither guest nor tracker and will not run it. */
int rf_source_make(const struct rf_source_cfg *cfg, struct rf_source **out);
/* source.c: tells the destination why, if it is still there. */
void rf_source_say_goodbye(struct rf_source *src, int err);

/* handshake.c */
int rf_source_connect(struct rf_source *src);
void rf_source_disconnect(struct rf_source *src);

/* keys.c: makes sure the chunk may be written to and asks for those the cursor comes to next. */
int rf_source_need_chunk(struct rf_source *src, uint32_t region, uint64_t chunk,
			 struct rf_src_chunk **out);
int rf_source_take_keys(struct rf_source *src, const struct rf_frame *f);
int rf_source_pin_all(struct rf_source *src);
/* Keys and registrations of every chunk that has pending pages. */
int rf_source_need_pending(struct rf_source *src);

/* keys.c: as need_chunk, but never waits and registers nothing here. RF_NO_RESOURCE: its key is on
 * its way. */
int rf_source_want_chunk(struct rf_source *src, uint32_t region, uint64_t chunk);

/* round.c: everything pending, fenced and acknowledged. */
int rf_source_round(struct rf_source *src, bool last);
void rf_source_begin_round(struct rf_source *src);
/* Pages that are zero: told before the end of the round. */
int rf_source_announce_zero(struct rf_source *src, const struct rf_piece *p);

/* Posts what is left, announces, fences and waits for the acknowledgement. */
int rf_source_close_round(struct rf_source *src, bool last);

/* precopy.c: RF_OK: switch over now. RF_IN_PROGRESS: go over to postcopy now. */
int rf_source_precopy(struct rf_source *src);
/* Harvests all regions and makes what was found pending; pages pending then. */
int rf_source_harvest(struct rf_source *src, uint64_t *pending);
int rf_source_fail_harvest(struct rf_source *src, const struct rf_sync_sample *s);

/* decide.c */
/* Puts a sample into the statistics. */
void rf_source_note_sample(struct rf_source *src, const struct rf_sync_sample *s);
/* After a round, with so many pages pending. */
enum rf_converge_action rf_source_decide(struct rf_source *src, uint64_t pending);
/* In a round, if the sync thread has harvested. Cheap if not. */
int rf_source_decide_in_round(struct rf_source *src);
void rf_source_expect_postcopy(struct rf_source *src);
/* Of the link, as measured: bytes a second, 0 if it is not known yet. */
double rf_source_bandwidth(const struct rf_source *src);

/* Starts the tracker; what holds data is pending then. Hints are taken from then on. */
int rf_source_start_tracking(struct rf_source *src, uint64_t *pending);
/* Tells the destination of free pages; the guest is paused. */
int rf_source_tell_free(struct rf_source *src);
/* Sends the bits of a region as MISSING or FREE frames. */
int rf_source_tell_bits(struct rf_source *src, uint32_t type, uint32_t region,
			const struct rf_bitmap *bits);

/* Makes pending what holds data, without touching it. */
void rf_source_find_data(struct rf_source *src);

/* switchover.c */
int rf_source_switch_over(struct rf_source *src);
int rf_source_pause(struct rf_source *src);
int rf_source_send_state(struct rf_source *src);
/* In precopy: measures once how fast device state gets there, by something as long. */
int rf_source_try_state(struct rf_source *src);
int rf_source_tell_state(struct rf_source *src, const void *state, size_t len);
/* Sends type (0: nothing) and takes the answer, which has no payload. */
int rf_source_exchange(struct rf_source *src, uint32_t type, uint32_t expect);
int rf_source_hand_over(struct rf_source *src);

/* postcopy.c */
int rf_source_postcopy(struct rf_source *src);
void rf_source_stop_urgent(struct rf_source *src);
/* push.c: everything that nobody asked for. */
int rf_source_push(struct rf_source *src);
/* Calls post until it has done all, taking completions in between (round.c). */
int rf_source_post_all(struct rf_source *src, int (*post)(struct rf_source *src));
/* The batch of bulk writes; a function for post_all (round.c). */
int rf_source_post_writes(struct rf_source *src);

/* limits.c */
/* Waits until the bandwidth limit lets len bytes go; they count as gone then. */
int rf_source_pace(struct rf_source *src, uint32_t len);
/* Bulk that may be in flight now, and in one write: less while a page request is open, here or at
 * a source that shares the limiter. */
struct rf_window rf_source_window(struct rf_source *src);
/* Guests of other migrations wait for pages: bulk of the rounds keeps to the window, too. */
bool rf_source_leaves_room(const struct rf_source *src);
/* Tells the guest its throttle if that has changed. Cheap. */
void rf_source_apply_throttle(struct rf_source *src);
/* The guest runs at full speed again, if it runs. */
void rf_source_end_throttle(struct rf_source *src);

/* verify.c: digests of all memory, compared by the destination. */
int rf_source_verify(struct rf_source *src);

/* events.c */
/* Takes what there is of completions and control frames; if there is nothing, sleeps until
 * something comes (100 ms at most). RF_OK: look again at what you wait for. */
int rf_source_pump(struct rf_source *src);
/* A post failed with rc: pumps until the lane's end is told, with its reason. */
int rf_source_pump_error(struct rf_source *src, int rc);
/* A bulk lane broke with err: asks the destination why, which takes up to a second. */
int rf_source_fail_by_bulk(struct rf_source *src, int err);
/* Cancelled? Out of time? Neither counts once the destination has been told to run. Also calls
 * progress now and then. Cheap. */
int rf_source_check(struct rf_source *src);
/* Takes the frames that are there, without waiting. */
int rf_source_look(struct rf_source *src);
/* Sends a frame; what the peer said last, or the stream's error in words, if it fails. */
int rf_source_send(struct rf_source *src, uint32_t type, const void *payload, uint32_t len);
/* Sends (type 0: nothing) and waits for the one answer of type `expect`, which the caller frees;
 * timeout ms. */
int rf_source_ask(struct rf_source *src, uint32_t type, const void *payload, uint32_t len,
		  uint32_t expect, uint32_t timeout, struct rf_frame *answer);

/* report.c */
/* Keeps the first error and its words, and logs it. Returns that one: a migration ends with what
 * went wrong first, whatever follows from it. */
int rf_source_fail(struct rf_source *src, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int rf_source_malformed(struct rf_source *src, uint32_t type);
void rf_source_set_state(struct rf_source *src, enum rf_state to);
void rf_source_progress(struct rf_source *src);
void rf_source_finish_stats(struct rf_source *src, int err);

/* tests: the hub that transport "mem" connects through; before run. */
void rf_source_set_hub(struct rf_source *src, struct rf_mem_hub *hub);

#endif
