/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peak bandwidth as perftest has it: over all pairs of messages i <= j, the best of what was
 * carried from the posting of i to the completion of j. At most PEAK_SAMPLES messages are
 * remembered, evenly spread: when they are full every other one is forgotten.
 *
 *   message      0        stride      2·stride
 *                ▼           ▼            ▼
 *   posted[]     when message i·stride was posted
 *   done[]              when (j + 1)·stride messages were done
 */
#ifndef RF_BENCH_PEAK_H
#define RF_BENCH_PEAK_H

#include <stdint.h>

#define PEAK_SAMPLES 2048

struct peak {
	uint64_t stride;
	uint64_t nposted, ndone; /* messages so far */
	uint32_t posts, dones;	 /* samples */
	uint64_t posted[PEAK_SAMPLES], done[PEAK_SAMPLES];
};

void peak_init(struct peak *p);
/* n more messages were posted, or are done, at time t (ns). */
void peak_post(struct peak *p, uint64_t n, uint64_t t);
void peak_done(struct peak *p, uint64_t n, uint64_t t);
/* Messages per second; 0 if there were too few. */
double peak_rate(const struct peak *p);

#endif
