/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/explore.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_MAX  (1u << 22)
#define STATE_SIZE 256

void explore_violated(struct explorer *e, const char *what)
{
	if (!e->violation)
		e->violation = what;
}

static uint64_t hash(const uint8_t *p, size_t n)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h ^ h >> 29;
}

/* Remembers a state; one that is new will be looked at. */
static void reach(struct explorer *e, const void *s)
{
	uint64_t at = hash(s, e->size) % TABLE_MAX;

	while (e->used[at]) {
		if (!memcmp(e->table + at * e->size, s, e->size))
			return;
		at = (at + 1) % TABLE_MAX;
	}
	if (e->states == TABLE_MAX / 2) {
		explore_violated(e, "the model is too large for its table");
		return;
	}
	e->used[at] = true;
	memcpy(e->table + at * e->size, s, e->size);
	memcpy(e->todo + e->ntodo++ * e->size, s, e->size);
	e->states++;
}

static void expand(struct explorer *e, const uint8_t *from)
{
	uint8_t s[STATE_SIZE];
	bool any = false;

	for (int actor = 0; actor < e->actors; actor++) {
		memcpy(s, from, e->size);
		if (!e->step(e, s, actor))
			continue;
		any = true;
		reach(e, s);
	}
	if (!any)
		e->check_end(e, from);
}

void explore(struct explorer *e, const void *start)
{
	uint8_t next[STATE_SIZE];

	e->states = 0;
	e->violation = NULL;
	e->ntodo = 0;
	e->table = calloc(TABLE_MAX, e->size);
	e->todo = calloc(TABLE_MAX, e->size);
	e->used = calloc(TABLE_MAX, sizeof(*e->used));
	if (!e->table || !e->todo || !e->used || e->size > STATE_SIZE)
		explore_violated(e, "no memory");
	else
		reach(e, start);
	while (e->ntodo && !e->violation) {
		memcpy(next, e->todo + --e->ntodo * e->size, e->size);
		expand(e, next);
	}
	free(e->table);
	free(e->todo);
	free(e->used);
}
