/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/explore.h"

#include <stdlib.h>
#include <string.h>

#define STATES_MIN (1u << 12)
#define STATES_MAX (1u << 22)
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

static uint8_t *state_at(const struct explorer *e, uint64_t i)
{
	return e->all + i * e->size;
}

/* Where the table has a state, or has room for it. */
static uint32_t *find(const struct explorer *e, const void *s)
{
	uint64_t at = hash(s, e->size) & (2 * e->room - 1);

	while (e->table[at] && memcmp(state_at(e, e->table[at] - 1), s, e->size) != 0)
		at = (at + 1) & (2 * e->room - 1);
	return &e->table[at];
}

/* Twice as many states. */
static bool grow(struct explorer *e)
{
	uint64_t room = e->room ? 2 * e->room : STATES_MIN;
	uint8_t *all = room <= STATES_MAX ? realloc(e->all, room * e->size) : NULL;

	if (!all)
		return false;
	e->all = all;
	free(e->table);
	e->room = room;
	e->table = calloc(2 * room, sizeof(*e->table));
	for (uint64_t i = 0; e->table && i < e->states; i++)
		*find(e, state_at(e, i)) = (uint32_t)i + 1;
	return e->table;
}

/* Remembers a state; one that is new will be looked at. */
static void reach(struct explorer *e, const void *s)
{
	uint32_t *entry;

	if (e->states == e->room && !grow(e)) {
		explore_violated(e, "the model is too large");
		return;
	}
	entry = find(e, s);
	if (*entry)
		return;
	memcpy(state_at(e, e->states++), s, e->size);
	*entry = (uint32_t)e->states;
}

static void expand(struct explorer *e, const uint8_t *from)
{
	uint8_t s[STATE_SIZE];
	bool any = false;

	for (int actor = 0; actor < e->actors && !e->violation; actor++) {
		memcpy(s, from, e->size);
		if (!e->step(e, s, actor))
			continue;
		any = true;
		reach(e, s);
	}
	if (!any && !e->violation)
		e->check_end(e, from);
}

void explore(struct explorer *e, const void *start)
{
	uint8_t from[STATE_SIZE];

	e->states = 0;
	e->violation = NULL;
	e->all = NULL;
	e->table = NULL;
	e->room = 0;
	if (e->size > STATE_SIZE)
		explore_violated(e, "a state is too large");
	else
		reach(e, start);
	for (uint64_t i = 0; i < e->states && !e->violation; i++) {
		memcpy(from, state_at(e, i), e->size);
		expand(e, from);
	}
	free(e->table);
	free(e->all);
	e->table = NULL;
	e->all = NULL;
}
