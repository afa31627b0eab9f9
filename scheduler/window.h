/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much bulk may be in flight beside urgent answers. A pure function: a table of cases tests
 * it.
 *
 * An urgent answer that is posted behind W bytes of bulk waits W / bandwidth. So while requests
 * are open, bulk shrinks to the urgent window at once; when it has been quiet for a while the
 * window doubles step by step, so that a guest that faults again and again does not meet a full
 * pipe each time.
 *
 * Neither window is larger than the link needs: the urgent one is at most what it carries in
 * RF_WINDOW_DELAY_NS, the full one, which the first fault after a quiet time meets, what it carries
 * in its round trip and RF_WINDOW_FULL_DELAY_NS (or another round trip). As long as the link is not
 * known (path.h) it is taken for a slow one: what floods it at first would stand before each answer
 * until it is through. An urgent window as large as the full one switches all this off.
 */
#ifndef RF_SCHEDULER_WINDOW_H
#define RF_SCHEDULER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct rf_window_cfg {
	uint64_t urgent;  /* bytes of bulk in flight while requests are open; 0: none */
	uint64_t full;	  /* bytes when quiet */
	uint64_t hold_ns; /* quiet time after the last request before it grows */
	uint64_t step_ns; /* then it doubles each step */
};
#define RF_WINDOW_HOLD_NS	1000000u
#define RF_WINDOW_STEP_NS	500000u
#define RF_WINDOW_DELAY_NS	500000u
#define RF_WINDOW_FULL_DELAY_NS 4000000u
#define RF_WINDOW_FULL_MIN	(64u << 10) /* bytes: less would not keep a fast link busy */
#define RF_WINDOW_PIECE_MIN	(16u << 10) /* bytes: where four are smaller, two fit in */

struct rf_window_in {
	uint32_t open; /* requests taken and not answered in full */
	uint64_t now_ns;
	uint64_t last_ns; /* when a request last came or was answered; 0: never */
	uint64_t rate;	  /* bytes a second the link carries; 0: not known */
	uint64_t rtt_ns;  /* its round trip; 0: not known */
	bool probing;	  /* one write at a time, to find that out */
};

struct rf_window {
	uint64_t bytes; /* bulk in flight, at most */
	uint64_t piece; /* one write, at most; whole pages, at least one */
};

struct rf_window rf_window_decide(const struct rf_window_cfg *cfg, const struct rf_window_in *in,
				  uint64_t piece);

#endif
