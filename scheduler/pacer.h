/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A limit of bytes a second, as a bucket that fills with time: numbers in, numbers out.
 *
 *   level   ──────── burst: what may be made up for after a late wake-up
 *             ▒▒▒▒
 *           ──────── 0: below it nothing goes
 *
 * A write goes while the level is not below zero and may take it there, so the average is the
 * limit whatever the sizes of the writes. The limit is asked for each time: a change counts at
 * once, also for a debt made under the old one.
 */
#ifndef RF_SCHEDULER_PACER_H
#define RF_SCHEDULER_PACER_H

#include <stdint.h>

struct rf_pacer {
	double level;	  /* bytes */
	uint64_t last_ns; /* when it was filled last; 0: never */
};
#define RF_PACER_BURST_NS 10000000u

/* How long, in ns, nothing may go; 0: something may. limit: bytes a second, 0: none. */
uint64_t rf_pacer_wait(struct rf_pacer *p, uint64_t now_ns, uint64_t limit);
void rf_pacer_take(struct rf_pacer *p, uint64_t bytes);

#endif
