/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walks through every state a model can reach. A state is a struct of bytes without gaps, so that
 * two are equal if their bytes are. In each state each actor that can makes its next step.
 */
#ifndef RF_TESTS_EXPLORE_H
#define RF_TESTS_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct explorer {
	/* by the model */
	size_t size; /* of a state */
	int actors;
	/* Makes the actor's next step in s. False: it cannot, and s is as it was. */
	bool (*step)(struct explorer *e, void *s, int actor);
	/* No actor can make a step: is that a good end? */
	void (*check_end)(struct explorer *e, const void *s);
	const void *arg;
	/* by the walk */
	uint64_t states;
	const char *violation; /* the first one; NULL: none */
	uint8_t *all;	       /* states, in the order they are reached and looked at */
	uint32_t *table; /* hashed: index in all, plus 1; 0: free. Twice as many as there is room */
	uint64_t room;	 /* states */
};

/* A rule is broken; the walk ends. */
void explore_violated(struct explorer *e, const char *what);

/* From this state on; states and violation are its outcome. */
void explore(struct explorer *e, const void *start);

#endif
