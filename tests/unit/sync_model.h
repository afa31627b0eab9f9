/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of background sync with two pages, small enough to walk through every interleaving of a
 * guest that writes, a sender that claims and reads, and harvests. Its steps are the atomic
 * operations of the code, in the code's order:
 *
 *   guest       the kernel, or a VMM       fault: dirty, writable · write        (write-protecting)
 *                                          write · mark                          (marks)
 *   sender      cursor.c, round.c          claim · read
 *   harvest     tracker_*.c, dirty_map.c   dirty bits · protect what they tell · pending? · next
 *   advance     dirty_map.c                take next · pending
 *   the end     precopy.c, switchover.c    join the sync thread · pause · harvest · send
 *
 * At the end the destination must have what the guest wrote last.
 */
#ifndef RF_TESTS_SYNC_MODEL_H
#define RF_TESTS_SYNC_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* What can be done wrong in the code, to see that the model notices. */
enum sync_flaw {
	SYNC_FLAW_NONE,
	SYNC_FLAW_PENDING_FIRST,     /* pending is read before the dirty bits */
	SYNC_FLAW_BEFORE_PROTECT,    /* pending is read before pages are protected again */
	SYNC_FLAW_READ_BEFORE_CLAIM, /* the sender reads, then claims */
	SYNC_FLAW_NO_LOCK,	     /* a harvest does not wait for the end of another */
	SYNC_FLAW_PROTECT_ALL,	     /* also what the harvest does not report */
	SYNC_FLAW_MARK_FIRST,	     /* the VMM marks, then writes */
};

struct sync_case {
	enum sync_flaw flaw;
	bool marks;		/* the VMM marks; otherwise pages are write-protected */
	unsigned writes;	/* of each page */
	unsigned rounds;	/* while the guest runs */
	unsigned sync_harvests; /* in them */
};

struct sync_result {
	uint64_t states;
	const char *violation; /* NULL: none */
};

void sync_check(const struct sync_case *c, struct sync_result *r);

#endif
