/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a limiter: a bucket for each source, all filled from one tap.
 *
 *              limit × time
 *                   │ ── half of it at most pays for what was sent without asking
 *      ┌────────┬───┴────┬────────┐
 *      │▒▒▒▒▒▒▒▒│        │        │  cap: what may be made up for after a late wake-up
 *      │▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒│        │  0: below it the source waits
 *      └────────┘▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒│
 *       not in   └────────┘────────┘
 *       need      sources that want to send
 *
 * Those that are not full get equal parts. A source that does not send is full soon, and its part
 * goes to the others: nobody has to be told who wants to send. A write goes when the level is not
 * below 0 and may take it there, so shares are exact whatever the sizes of the writes.
 *
 * Time is given by the caller: numbers in, numbers out.
 */
#ifndef RF_SCHEDULER_LIMITER_H
#define RF_SCHEDULER_LIMITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ramferry/limiter.h>

#define RF_LIMITER_CAP_NS 50000000u /* of the whole limit, for each member */

struct rf_limiter_member {
	struct rf_limiter *limiter; /* NULL: none; then nothing is limited */
	bool postcopy;		    /* counted in postcopies; its source's */
	/* the limiter's lock */
	struct rf_limiter_member *next;
	double level; /* bytes */
};

struct rf_limiter {
	/* any thread */
	_Atomic uint64_t limit;
	_Atomic uint64_t charged;    /* bytes sent without asking and not accounted for yet */
	_Atomic uint32_t postcopies; /* members whose guest may wait for pages */
	_Atomic uint32_t open;	     /* page requests of all members */
	_Atomic uint64_t last_ns;    /* when one last came or was answered */

	/* lock; nothing else is locked under it */
	pthread_mutex_t lock;
	struct rf_limiter_member *members;
	uint64_t filled_ns; /* when the tap last ran; 0: never */
	double debt;	    /* bytes that were charged and are not paid */
};

/* l may be NULL: then all of the following do nothing. */
void rf_limiter_join(struct rf_limiter *l, struct rf_limiter_member *m);
void rf_limiter_leave(struct rf_limiter_member *m);

/* ns until this member may send; 0: now. */
uint64_t rf_limiter_wait(struct rf_limiter_member *m, uint64_t now_ns);
void rf_limiter_take(struct rf_limiter_member *m, uint64_t bytes);

/* The member's guest is about to leave: until the member does, the others leave room for requests.
 */
void rf_limiter_begin_postcopy(struct rf_limiter_member *m);

/* What cannot wait has been sent. Any thread, takes no lock. */
void rf_limiter_charge(struct rf_limiter *l, uint64_t bytes);

/* A page request came, and was answered in full. Any thread, takes no lock. */
void rf_limiter_open(struct rf_limiter *l, uint64_t now_ns);
void rf_limiter_close(struct rf_limiter *l, uint32_t n, uint64_t now_ns);

#endif
