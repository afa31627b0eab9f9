/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When does precopy end? A pure function of what was measured: no I/O, no clock, so that a
 * table of cases tests it.
 */
#ifndef RF_SCHEDULER_CONVERGE_H
#define RF_SCHEDULER_CONVERGE_H

#include <stdbool.h>
#include <stdint.h>

enum rf_converge_action {
	RF_CONVERGE_ITERATE,	 /* another round */
	RF_CONVERGE_SWITCH_OVER, /* pause the guest and move the rest */
	RF_CONVERGE_POSTCOPY,	 /* pause the guest, let it run there, the rest follows */
	RF_CONVERGE_GIVE_UP,	 /* total time is over */
};
const char *rf_converge_action_str(enum rf_converge_action a);

struct rf_converge_in {
	uint64_t remaining;	 /* bytes dirty now */
	uint64_t device_state;	 /* bytes of it, estimated */
	double bandwidth;	 /* bytes a second, smoothed; 0: not measured */
	double fixed_ms;	 /* hand-over and end of a round, measured */
	uint32_t downtime_limit; /* ms */
	double elapsed_ms;
	uint32_t timeout; /* ms, 0: none */
	bool may_postcopy;
	uint64_t round;		 /* rounds done */
	unsigned postcopy_after; /* rounds, 0: no limit */
	unsigned stalled;	 /* rounds in a row after which no less was dirty than before */
};
#define RF_CONVERGE_STALLED 2u /* so many of them mean that precopy does not get anywhere */

struct rf_converge_out {
	enum rf_converge_action action;
	double expected_downtime; /* ms; INFINITY if nothing is known */
};

void rf_converge_decide(const struct rf_converge_in *in, struct rf_converge_out *out);

/*
 * Bandwidth as measured over rounds: an average that weighs each sample by its bytes, so that a
 * short last round of a few pages does not wipe out what long ones told.
 */
struct rf_rate {
	double bytes, seconds; /* decayed sums */
};
#define RF_RATE_HORIZON (256.0 * 1024 * 1024) /* bytes after which an old sample counts half */
void rf_rate_add(struct rf_rate *r, uint64_t bytes, double seconds);
double rf_rate_get(const struct rf_rate *r); /* bytes a second, 0 if unknown */

#endif
