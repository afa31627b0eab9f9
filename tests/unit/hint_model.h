/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of free page hints with one page, small enough to walk through every interleaving of a
 * guest that writes, frees and writes again, hints that come late, harvests, a sender, and the
 * pause. Its steps are the atomic operations of the code, in the code's order:
 *
 *   guest      the VMM's           read epoch · free · post a hint · write …
 *   hints      scheduler/hints.c   look at the epoch and change the maps, under the lock
 *   harvester  scheduler/precopy.c, dirty_map.c
 *                                  epoch odd · take what was written, arm again · look at pending ·
 *                                  free &= ~found, next or pending |= found · epoch even
 *   sender     scheduler/cursor.c  claim · read and write, or give back
 *   round      scheduler/round.c   pending |= next, after a harvest
 *   the end    scheduler/switchover.c
 *                                  pause · close · harvest · last round · tell what is free
 *
 * At the end the destination must have what the guest wrote last, unless the guest has the page
 * free; and only then may it be told that it is.
 */
#ifndef RF_TESTS_HINT_MODEL_H
#define RF_TESTS_HINT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* What can be left out of the code, to see that the model notices. */
enum hint_flaw {
	HINT_FLAW_NONE,
	HINT_FLAW_NO_EPOCH,	/* stale hints are taken */
	HINT_FLAW_EVEN_HARVEST, /* the epoch advances once, before a harvest: hints are taken in it
				 */
	HINT_FLAW_LATE_EPOCH,	/* once, after it */
	HINT_FLAW_NO_LOCK,	/* a harvest may begin between a look at the epoch and the change */
	HINT_FLAW_STILL_FREE,	/* what a harvest finds stays free */
	HINT_FLAW_FREE_IF_NEXT, /* only what goes to the next round is no longer free */
	HINT_FLAWS,
};

struct hint_case {
	enum hint_flaw flaw;
	bool background; /* harvests while a round is under way: next |= found & ~pending */
};

struct hint_result {
	uint64_t states;
	uint64_t spared;       /* ends in which the last contents were never sent */
	const char *violation; /* NULL: none */
};

void hint_model_check(const struct hint_case *c, struct hint_result *r);

#endif
