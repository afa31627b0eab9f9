/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/hint_model.h"

#include <string.h>

#include "tests/unit/explore.h"

#define HINTS	 2 /* under way at the same time */
#define WRITES	 3 /* of the guest */
#define FREES	 2
#define HARVESTS 3 /* before the last one */

enum hint_state { HINT_NONE, HINT_POSTED, HINT_ADMITTED };

struct hint {
	uint8_t state, epoch;
};

/* All there is, in bytes, so that two states are equal if their bytes are. */
struct state {
	/* guest */
	uint8_t version; /* what the page holds; grows with each write */
	uint8_t is_free, has_epoch, guest_epoch;
	uint8_t frees;
	uint8_t dirty; /* the tracker's bit */
	struct hint hints[HINTS];
	/* source */
	uint8_t pending, next, free;
	uint8_t epoch, open, paused;
	uint8_t harvest_pc, found, seen_pending, harvests;
	uint8_t claimed;
	uint8_t last; /* steps of the end */
	/* destination */
	uint8_t there; /* version */
	uint8_t told;
	uint8_t over;
};

struct model {
	const struct hint_case *c;
	uint64_t spared;
};

static struct model *model_of(const struct explorer *e)
{
	return (struct model *)e->arg;
}

/* ---- the guest; paused it does nothing ---- */

static bool guest_writes(struct state *s)
{
	if (s->paused || s->version == WRITES)
		return false;
	s->version++;
	s->dirty = 1;
	s->is_free = 0;
	s->has_epoch = 0;
	return true;
}

static bool guest_reads_epoch(struct state *s)
{
	if (s->paused || s->is_free || s->has_epoch || s->frees == FREES || !s->open ||
	    s->epoch & 1)
		return false;
	s->has_epoch = 1;
	s->guest_epoch = s->epoch;
	return true;
}

static bool guest_frees(struct state *s)
{
	if (s->paused || !s->has_epoch)
		return false;
	for (int i = 0; i < HINTS; i++) {
		if (s->hints[i].state != HINT_NONE)
			continue;
		s->hints[i] = (struct hint){.state = HINT_POSTED, .epoch = s->guest_epoch};
		s->is_free = 1;
		s->has_epoch = 0;
		s->guest_epoch = 0;
		s->frees++;
		return true;
	}
	return false;
}

/* ---- hints: from the VMM's threads, whenever they like ---- */

static bool admits(const struct model *m, const struct state *s, const struct hint *h)
{
	if (!s->open)
		return false;
	if (m->c->flaw == HINT_FLAW_NO_EPOCH)
		return true;
	return !(s->epoch & 1) && s->epoch == h->epoch;
}

static void apply_hint(struct state *s, struct hint *h)
{
	s->pending = s->next = 0;
	s->free = 1;
	*h = (struct hint){0};
}

static bool step_hint(const struct model *m, struct state *s, struct hint *h)
{
	if (h->state == HINT_NONE)
		return false;
	if (h->state == HINT_ADMITTED) {
		apply_hint(s, h);
		return true;
	}
	if (!admits(m, s, h))
		*h = (struct hint){0}; /* refused */
	else if (m->c->flaw == HINT_FLAW_NO_LOCK)
		h->state = HINT_ADMITTED;
	else
		apply_hint(s, h);
	return true;
}

/* ---- a harvest, in the order of its parts ---- */

/* The flaws count by twos, so that the epoch is never odd. */
static void advance_epoch(const struct model *m, struct state *s, bool begin)
{
	if (m->c->flaw == HINT_FLAW_EVEN_HARVEST)
		s->epoch += begin ? 2 : 0;
	else if (m->c->flaw == HINT_FLAW_LATE_EPOCH)
		s->epoch += begin ? 0 : 2;
	else
		s->epoch++;
}

static void absorb(const struct model *m, struct state *s)
{
	uint8_t to_next = s->found && !(m->c->background && s->seen_pending);

	s->next |= to_next;
	if (m->c->flaw == HINT_FLAW_STILL_FREE)
		return;
	if (m->c->flaw == HINT_FLAW_FREE_IF_NEXT ? to_next : s->found)
		s->free = 0;
}

/* True: the last part was done. */
static bool step_harvest(const struct model *m, struct state *s)
{
	switch (s->harvest_pc++) {
	case 0:
		advance_epoch(m, s, true);
		return false;
	case 1:
		s->found = s->dirty;
		s->dirty = 0;
		return false;
	case 2:
		s->seen_pending = s->pending;
		return false;
	case 3:
		absorb(m, s);
		return false;
	default:
		advance_epoch(m, s, false);
		s->harvest_pc = s->found = s->seen_pending = 0;
		return true;
	}
}

static bool run_harvest(const struct model *m, struct state *s)
{
	if (s->paused || (!s->harvest_pc && s->harvests == HARVESTS))
		return false;
	/* Without a background harvest the sender is at rest meanwhile. */
	if (!m->c->background && (s->claimed || (s->pending && !s->harvest_pc)))
		return false;
	if (step_harvest(m, s)) {
		s->harvests++;
		if (!m->c->background) {
			s->pending |= s->next;
			s->next = 0;
		}
	}
	return true;
}

/* ---- the sender ---- */

static bool begin_round(const struct model *m, struct state *s)
{
	if (!m->c->background || s->paused || s->pending || s->claimed || !s->next || s->harvest_pc)
		return false;
	s->pending = 1;
	s->next = 0;
	return true;
}

static bool step_sender(struct state *s)
{
	if (s->paused)
		return false;
	if (s->claimed) {
		s->claimed = 0;
		s->there = s->version;
		return true;
	}
	if (!s->pending)
		return false;
	s->pending = 0;
	s->claimed = 1;
	return true;
}

/* The round is broken off. */
static bool unclaim(struct state *s)
{
	if (!s->claimed || s->paused)
		return false;
	s->claimed = 0;
	s->pending = 1;
	return true;
}

/* ---- the end ---- */

static bool step_end(const struct model *m, struct state *s)
{
	switch (s->last) {
	case 0: /* between harvests and rounds, but some of a round may be left */
		if (s->harvest_pc || s->claimed)
			return false;
		s->paused = 1;
		break;
	case 1:
		s->open = 0;
		break;
	case 2:
		if (!step_harvest(m, s))
			return true; /* goes on */
		break;
	case 3:
		s->pending |= s->next;
		s->next = 0;
		break;
	case 4:
		if (s->pending)
			s->there = s->version;
		s->pending = 0;
		break;
	case 5:
		s->told = s->free;
		s->over = 1;
		break;
	default:
		return false;
	}
	s->last++;
	return true;
}

static void check_end(struct explorer *e, const void *state)
{
	const struct state *s = state;

	if (!s->over)
		explore_violated(e, "nothing goes on");
	if (s->told && !s->is_free)
		explore_violated(e, "the destination is told that a page in use is free");
	if (!s->is_free && s->there != s->version)
		explore_violated(e, "a page in use was lost");
	if (s->there != s->version)
		model_of(e)->spared++;
}

/* ---- the walk ---- */

static bool step(struct explorer *e, void *state, int actor)
{
	const struct model *m = model_of(e);
	struct state *s = state;

	switch (actor) {
	case 0:
		return guest_writes(s);
	case 1:
		return guest_reads_epoch(s);
	case 2:
		return guest_frees(s);
	case 3:
	case 4:
		return step_hint(m, s, &s->hints[actor - 3]);
	case 5:
		return run_harvest(m, s);
	case 6:
		return begin_round(m, s);
	case 7:
		return step_sender(s);
	case 8:
		return unclaim(s);
	default:
		return step_end(m, s);
	}
}

void hint_model_check(const struct hint_case *c, struct hint_result *r)
{
	struct model m = {.c = c};
	struct explorer e = {
		.size = sizeof(struct state),
		.actors = 10,
		.step = step,
		.check_end = check_end,
		.arg = &m,
	};
	struct state start;

	memset(&start, 0, sizeof(start));
	/* The first harvest is over: the page is to be sent. */
	start.pending = start.open = 1;
	start.epoch = 2;
	explore(&e, &start);
	*r = (struct hint_result){.states = e.states, .spared = m.spared, .violation = e.violation};
}
