/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The share of time a throttled vCPU stands still. Numbers in, numbers out; no clock, no sleep.
 *
 *   run ▒▒▒░░░░░░░▒▒▒░░░░░░░▒▒▒▒▒▒▒▒░░░░░░░░░░▒▒▒░░░░░░░░░░▒▒▒░░░░░░░
 *       slice  stop         a tick came late  and what that owes is paid bit by bit
 *
 * A stop is never longer than a period: whoever waits for the guest, a network peer or its own
 * watchdog, meets no pause it would notice. What a late tick or a late wake-up changes is carried
 * on, so the share comes out right all the same.
 */
#ifndef RF_VMM_DUTY_H
#define RF_VMM_DUTY_H

#include <stdint.h>

#define RF_DUTY_PERIOD_NS   10000000 /* slice and stop together, and the longest stop */
#define RF_DUTY_MAX_OWED_NS 1000000000

struct rf_duty {
	int64_t owed_ns; /* of standing still; negative: it stood still for too long */
};

/* How long to run at a time; percent: 1 to 99. */
uint64_t rf_duty_slice(unsigned percent);
/* It ran for so long: how long to stand still now, at most a period. */
uint64_t rf_duty_stop(struct rf_duty *d, uint64_t ran_ns, unsigned percent);
/* So long it was in fact. */
void rf_duty_stopped(struct rf_duty *d, uint64_t ns);

#endif
