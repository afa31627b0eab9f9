/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the way to the destination carries and how long it is, by the bytes that are done. From it
 * the window knows how much fills the link and what would only stand in a queue.
 *
 *   rate   the best of the last seconds: a small window, a limit or a busy peer only ever make it
 *          look slower than it is. A sample goes from one completion to another, as big writes
 *          complete in leaps.
 *   rtt    what a write on an empty link takes, both hosts and their schedulers included: on busy
 *          ones more must be on its way. It can only be seen while nothing else is, so at first
 *          and every ten seconds the path is probed, and writes go out one by one. Like BBR
 *          (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 2016).
 *
 * Pure code that is told the time; a test goes through it on a link that it makes up. Owner: the
 * scheduler thread.
 */
#ifndef RF_SCHEDULER_PATH_H
#define RF_SCHEDULER_PATH_H

#include <stdbool.h>
#include <stdint.h>

struct rf_path {
	uint64_t rate;	 /* bytes a second; 0: not known */
	uint64_t rtt_ns; /* 0: not known */

	uint64_t noted_ns, inflight, completed; /* when it was last looked at */
	/* sample of the rate; 0 ns: none yet */
	uint64_t sample_ns, sample_completed;
	/* the write that is alone on its way ends at so many bytes; 0: none is */
	uint64_t alone_ns, alone_ends;
	/* the probing under way, or its end */
	unsigned probed;
	uint64_t probed_sum_ns, probed_ns;
};

#define RF_PATH_SAMPLE_NS   10000000u	 /* and a round trip: completions come in bursts */
#define RF_PATH_PROBE_EVERY 10000000000u /* ns */
#define RF_PATH_PROBES	    4		 /* writes, of which the first does not count */

/*
 * To be called before each write and when completions were taken: completed bytes since the
 * beginning of time, and those in flight. squeezed: the window was made small for somebody since
 * the last call, so that a rate below the best one says nothing.
 */
void rf_path_note(struct rf_path *p, uint64_t now_ns, uint64_t completed, uint64_t inflight,
		  bool squeezed);

/* One write at a time is to be on its way. */
bool rf_path_probing(const struct rf_path *p);

#endif
