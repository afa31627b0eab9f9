/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread that serves lanes: polls them, hands their completions out in batches, and goes to
 * sleep in between without losing a wake-up.
 *
 *             ┌──────────── something came, or work() did something ────────────┐
 *             ▼                                                                 │
 *   ┌─► poll each lane once, work() ──nothing──► BUSY: again                    │
 *   │                                            ADAPTIVE: again for spin_us ───┤
 *   │                                            then, and EVENT at once:       │
 *   │          flag "sleeping", look for wake/stop, arm each lane ──RF_AGAIN────┤
 *   │                                            │ all armed                    │
 *   └─────────── poll(2) on their fds and the wake eventfd, at most max_sleep ──┘
 *
 * Ownership: from rf_poller_new() (or rf_poller_add()) until the lane is removed, fails or the
 * poller is deleted, its thread owns the lane: nobody else may touch it. Other threads hand posts
 * over in memory of their own and call rf_poller_wake(); work() then posts them.
 *
 * Threads: callbacks run on the poller's thread, one at a time, and must not block. Only they
 * may call add, remove and the lanes' functions. wake and stats: any thread. new and delete: one
 * thread that is not the poller's.
 */
#ifndef RF_TRANSPORT_POLLER_H
#define RF_TRANSPORT_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/transport.h"

#define RF_POLLER_MAX_LANES 64u
#define RF_POLLER_BATCH	    32u /* completions a lane gets out at once */

enum rf_poll_mode {
	RF_POLL_ADAPTIVE, /* polls for spin_us after the last news, then sleeps */
	RF_POLL_BUSY,	  /* never sleeps: least latency for a whole core */
	RF_POLL_EVENT,	  /* sleeps at once */
	RF_POLL_MODES,
};
const char *rf_poll_mode_str(enum rf_poll_mode mode);
/* "adaptive", "busy", "event"; RF_ERR_INVALID for others, then *mode is unchanged. */
int rf_poll_mode_parse(const char *name, enum rf_poll_mode *mode);
/*
 * The mode that fits: event where polling starves the provider (spin false), adaptive instead of
 * busy with one or two cores, where a poller takes the place of who it waits for. cores 0: not
 * known. *why: in words, NULL if nothing was changed.
 */
enum rf_poll_mode rf_poll_mode_fit(enum rf_poll_mode wanted, unsigned cores, bool spin,
				   const char **why);

struct rf_poller;

struct rf_poller_ops {
	/* n > 0 completions of one lane, in order; what they point to is valid during the call. */
	void (*completions)(void *arg, struct rf_lane *l, const struct rf_completion *c,
			    unsigned n);
	/* The lane is dead, all its completions have been handed out, and it has been removed:
	 * it is the callback's now. Optional. */
	void (*lane_failed)(void *arg, struct rf_lane *l, int err);
	/* Called in each pass after all lanes, so it has to be cheap when there is nothing to do.
	 * True: something was done, look at the lanes again soon. Optional. */
	bool (*work)(void *arg);
};

/* Zero in a field means its default, but for cpu. */
struct rf_poller_cfg {
	const char *name; /* for the log (default "poller"); copied */
	const struct rf_poller_ops *ops;
	void *arg;
	enum rf_poll_mode mode;
	uint32_t spin_us; /* default 50; with one or two cores 2 */
	int extra_fd;	  /* one more fd that ends a sleep; work() reads it. Stays the caller's */
	bool has_extra_fd;
	uint32_t max_sleep; /* ms after which it looks at the lanes in any case (default 100) */
	int cpu;	    /* to run on (rf_topology_nth_cpu); -1: any */
	unsigned cores;	    /* next to the NIC (struct rf_place); 0: those of this process */
};

struct rf_poller_stats {
	enum rf_poll_mode mode; /* in force */
	int cpu;		/* it is bound to; -1: to none */
	uint64_t passes;	/* over all lanes */
	uint64_t completions, batches;
	uint64_t sleeps;   /* in poll(2) */
	uint64_t wakeups;  /* sleeps ended by a lane or rf_poller_wake() */
	uint64_t timeouts; /* sleeps ended by max_sleep */
	uint64_t rescues;  /* timeouts after which something was there: more than a stray one
			      means that a lane loses wake-ups */
	uint64_t cpu_ns;   /* of its thread */
	uint64_t wall_ns;  /* since it was started */
};

/*
 * Starts a poller on n lanes, which it owns from then on. On failure they stay the caller's.
 * RF_ERR_INVALID, RF_ERR_NO_MEMORY, RF_ERR_SYSTEM. That a CPU cannot be had is logged, and the
 * poller runs without.
 */
int rf_poller_new(const struct rf_poller_cfg *cfg, struct rf_lane *const *lanes, unsigned n,
		  struct rf_poller **out);

/* From callbacks only; RF_ERR_STATE on another thread. add: RF_NO_RESOURCE if there are
 * RF_POLLER_MAX_LANES. remove: RF_ERR_NOT_FOUND; the lane is the callback's then. */
int rf_poller_add(struct rf_poller *p, struct rf_lane *l);
int rf_poller_remove(struct rf_poller *p, struct rf_lane *l);

/* work() is called at least once from now on, at once if the thread sleeps. Cheap if it does
 * not. What the caller has stored before, work() sees. Any thread, callbacks too. */
void rf_poller_wake(struct rf_poller *p);

void rf_poller_stats(const struct rf_poller *p, struct rf_poller_stats *stats);

/* Ends the pass it is in, joins the thread. The lanes are open and the caller's again; stats, if
 * not NULL, are the last ones. NULLs *pp; a pointer to NULL is fine. */
void rf_poller_delete(struct rf_poller **pp, struct rf_poller_stats *stats);

#endif
