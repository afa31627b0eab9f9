/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When does precopy end, and what is done so that it does? A pure function of what was measured:
 * no I/O, no clock, so that a table of cases tests it.
 *
 * It is asked at the end of a round, with what is dirty then, and after a harvest in the middle
 * of one. The time between two questions is a period:
 *
 *   high    of what a period sent, more than half must be sent again already: throttle after two
 *   losing  all of it, or more
 *   stalled a round ended with no less dirty than the one before (a tenth less is no less)
 *   lost    precopy as it is does not get anywhere: two stalled rounds; one, if memory is also
 *           written as fast as it is sent; or three losing periods of a round that is not the first
 */
#ifndef RF_SCHEDULER_CONVERGE_H
#define RF_SCHEDULER_CONVERGE_H

#include <stdbool.h>
#include <stdint.h>

#include <ramferry/source.h>

enum rf_converge_action {
	RF_CONVERGE_ITERATE,	 /* go on */
	RF_CONVERGE_THROTTLE,	 /* go on with a slower guest */
	RF_CONVERGE_SWITCH_OVER, /* pause the guest and move the rest */
	RF_CONVERGE_POSTCOPY,	 /* pause the guest, let it run there, the rest follows */
	RF_CONVERGE_GIVE_UP,	 /* total time is over */
};
const char *rf_converge_action_str(enum rf_converge_action a);

/* What is remembered from one decision to the next; all zero at first. */
struct rf_converge_memory {
	uint64_t last_remaining; /* bytes, at the end of the round before */
	unsigned high, losing;	 /* periods in a row */
	unsigned stalled;	 /* rounds in a row */
};

/* Throttling, in percent, as the user wants it; max 0: not at all. */
struct rf_throttle_cfg {
	unsigned initial, increment, max;
	bool tail_slow; /* near the end in smaller steps than increment */
};

struct rf_converge_in {
	bool in_round;		 /* asked in the middle of a round */
	uint64_t remaining;	 /* bytes the next round has to send, as known now */
	uint64_t device_state;	 /* bytes of it, estimated */
	double state_rate;	 /* bytes a second of it, measured; 0: as the rest */
	double bandwidth;	 /* of the link, bytes a second, smoothed; 0: not measured */
	double avail_bandwidth;	 /* the same while the guest is paused, if the user knows; 0: no */
	uint64_t max_bandwidth;	 /* limit while the guest runs; 0: none */
	double dirty_rate;	 /* bytes a second, smoothed */
	double fixed_ms;	 /* hand-over, harvest and end of a round, measured */
	uint32_t downtime_limit; /* ms */
	double elapsed_ms;
	uint32_t timeout; /* ms, 0: none */
	enum rf_timeout_action timeout_action;
	bool may_postcopy;
	uint64_t round;		 /* under way, or just over */
	unsigned postcopy_after; /* rounds, 0: no limit */
	uint64_t sent, again;	 /* bytes of this period: sent; to be sent once more */
	struct rf_throttle_cfg throttle_cfg;
	unsigned throttle; /* percent, now */
	struct rf_converge_memory memory;
};
#define RF_CONVERGE_STALLED 2u
#define RF_CONVERGE_HIGH    2u
#define RF_CONVERGE_LOSING  3u

struct rf_converge_out {
	enum rf_converge_action action;
	double expected_downtime; /* ms, if it switched over now; INFINITY if nothing is known */
	unsigned throttle;	  /* RF_CONVERGE_THROTTLE: percent from now on */
	bool hopeless;		  /* lost, and nothing that is allowed helps */
	struct rf_converge_memory memory;
};

void rf_converge_decide(const struct rf_converge_in *in, struct rf_converge_out *out);

/* The percentage that follows on now, of which sent and again are the effect. */
unsigned rf_throttle_next(const struct rf_throttle_cfg *cfg, unsigned now, uint64_t sent,
			  uint64_t again);

/*
 * A rate that is smoothed: sums that decay. Of bandwidth, old samples fade with the bytes that
 * came after them, so that a short last round of a few pages does not wipe out what long ones
 * told; of dirtying, with time.
 */
struct rf_rate {
	double bytes, seconds; /* decayed sums */
};
#define RF_RATE_HORIZON	  (256.0 * 1024 * 1024) /* bytes after which an old sample counts half */
#define RF_RATE_HALF_LIFE 1.0			/* the same in seconds */
void rf_rate_add(struct rf_rate *r, uint64_t bytes, double seconds);
void rf_rate_add_timed(struct rf_rate *r, uint64_t bytes, double seconds);
double rf_rate_get(const struct rf_rate *r); /* bytes a second, 0 if unknown */

/* What something takes that should always take as long: the median of the last few times, for a
 * time when the machine was busy with something else says nothing about the next. */
#define RF_RECENT 5u
struct rf_recent {
	double v[RF_RECENT];
	unsigned n; /* ever added */
};
void rf_recent_add(struct rf_recent *r, double v);
double rf_recent_median(const struct rf_recent *r); /* the lower one of two; 0 if there is none */

#endif
