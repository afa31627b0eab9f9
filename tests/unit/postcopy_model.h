/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of postcopy with two pages and two vCPUs, small enough to walk through every
 * interleaving. Its steps are the atomic operations of the code, in the code's order:
 *
 *   bulk sender     scheduler/push.c, claim.c    publish current · claim · write · announce · clear
 *   urgent sender   scheduler/urgent.c, claim.c  receive · claim · current? · boost · current? ·
 * send lane thread     dest/postcopy.c, pages.c     take · missing = 0 · requested? · place fault
 * thread    dest/fault.c, pages.c        placed? · missing? · requested = 1 · missing? · ask vCPUs
 * the kernel                   touch · wait · woken
 *
 * Lanes keep their order; between lanes there is none.
 */
#ifndef RF_TESTS_POSTCOPY_MODEL_H
#define RF_TESTS_POSTCOPY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* What can be left out of the code, to see that the model notices. */
enum model_flaw {
	FLAW_NONE,
	FLAW_NO_SECOND_LOOK,  /* the fault thread does not look at missing again */
	FLAW_LATE_CURRENT,    /* the bulk sender claims before it publishes */
	FLAW_NO_BOOST,	      /* nobody boosts */
	FLAW_NO_URGENT_CHECK, /* the lane thread does not ask who waits, nor place in batches */
	FLAW_NO_CLAIM,	      /* the urgent sender sends without a claim */
};

struct model_case {
	enum model_flaw flaw;
	bool window_stop; /* no bulk while a request is open */
	int touches[2];	  /* page each vCPU touches */
};

struct model_result {
	uint64_t states;
	const char *violation; /* NULL: none */
};

void model_check(const struct model_case *c, struct model_result *r);

#endif
