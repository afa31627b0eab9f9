/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A token bucket in time: when may the next batch begin. Numbers in, numbers out; no clock, no
 * sleep.
 */
#ifndef RF_VMM_PACE_H
#define RF_VMM_PACE_H

#include <stdint.h>

struct rf_pace {
	uint64_t due_ns; /* not before this; 0: at once */
};

/* So far a guest that fell behind its rate may run ahead to catch up. */
#define RF_PACE_BURST_NS 20000000ull

/* A batch of bytes was done at now_ns, at a rate of bytes_per_s. */
void rf_pace_done(struct rf_pace *p, uint64_t now_ns, uint64_t bytes, uint64_t bytes_per_s);
/* Time during which the vCPU was not to run does not count. */
void rf_pace_shift(struct rf_pace *p, uint64_t ns);
/* Pages between two looks at the clock for a vCPU with this rate; 0: none are needed. */
uint64_t rf_pace_batch(uint64_t bytes_per_s);

#endif
