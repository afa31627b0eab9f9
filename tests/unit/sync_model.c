/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/sync_model.h"

#include <string.h>

#include "tests/unit/explore.h"

#define PAGES 2

/* Where a harvest is; the page in h.page. */
enum { H_IDLE, H_LOCK, H_GET, H_PROTECT, H_PENDING, H_NEXT, H_UNLOCK };
/* Where the scheduler is. */
enum { S_CLAIM, S_READ, S_HARVEST, S_TAKE, S_PENDING, S_PAUSE, S_OVER };
enum { ACTOR_SENDER = PAGES, ACTOR_SYNC, ACTORS };

struct harvest {
	uint8_t pc, page;
	uint8_t found[PAGES], pending[PAGES];
};

struct state {
	/* guest: version of each page, writes left, and whether one is between its two steps */
	uint8_t data[PAGES], writes[PAGES], half[PAGES];
	uint8_t paused;
	/* tracker */
	uint8_t dirty[PAGES], writable[PAGES];
	/* maps; taken: out of next, not in pending yet */
	uint8_t pending[PAGES], next[PAGES], taken[PAGES];
	uint8_t locked;
	/* scheduler; read: of a sender that reads too early */
	uint8_t pc, page, read, rounds, last;
	struct harvest own;
	/* sync thread */
	struct harvest sync;
	uint8_t sync_left;
	/* destination */
	uint8_t there[PAGES];
};

static const struct sync_case *case_of(const struct explorer *e)
{
	return e->arg;
}

/* ---- guest ---- */

static bool write_protected(struct state *s, int p)
{
	if (!s->writable[p]) { /* the fault notes the page and lets the write try again */
		s->dirty[p] = 1;
		s->writable[p] = 1;
		return true;
	}
	s->data[p]++;
	s->writes[p]--;
	return true;
}

static bool write_marked(struct state *s, int p, bool mark_first)
{
	bool mark = s->half[p] != mark_first;

	if (mark)
		s->dirty[p] = 1;
	else
		s->data[p]++;
	s->half[p] ^= 1;
	if (!s->half[p])
		s->writes[p]--;
	return true;
}

static bool step_guest(const struct sync_case *c, struct state *s, int p)
{
	if (!s->writes[p] || (s->paused && !s->half[p]))
		return false;
	return c->marks ? write_marked(s, p, c->flaw == SYNC_FLAW_MARK_FIRST)
			: write_protected(s, p);
}

/* ---- harvest ---- */

/* The step behind this one, page by page; a new step begins with page 0. */
static void next_page(struct harvest *h, uint8_t then)
{
	if (++h->page < PAGES)
		return;
	h->page = 0;
	h->pc = then;
}

static void get_dirty(const struct sync_case *c, struct state *s, struct harvest *h)
{
	uint8_t p = h->page;

	h->found[p] = s->dirty[p];
	if (c->marks)
		s->dirty[p] = 0; /* taken with one atomic operation */
	switch (c->flaw) {
	case SYNC_FLAW_PENDING_FIRST:
		next_page(h, c->marks ? H_NEXT : H_PROTECT);
		break;
	case SYNC_FLAW_BEFORE_PROTECT:
		next_page(h, H_PENDING);
		break;
	default:
		next_page(h, c->marks ? H_PENDING : H_PROTECT);
	}
}

static void protect(const struct sync_case *c, struct state *s, struct harvest *h)
{
	uint8_t p = h->page;

	if (!c->marks && (h->found[p] || c->flaw == SYNC_FLAW_PROTECT_ALL)) {
		s->dirty[p] = 0;
		s->writable[p] = 0;
	}
	next_page(h, c->flaw == SYNC_FLAW_PENDING_FIRST || c->flaw == SYNC_FLAW_BEFORE_PROTECT
			     ? H_NEXT
			     : H_PENDING);
}

static void look_at_pending(const struct sync_case *c, struct state *s, struct harvest *h)
{
	h->pending[h->page] = s->pending[h->page];
	next_page(h, c->flaw == SYNC_FLAW_PENDING_FIRST	   ? H_GET
		     : c->flaw == SYNC_FLAW_BEFORE_PROTECT ? H_PROTECT
							   : H_NEXT);
}

static bool step_harvest(const struct sync_case *c, struct state *s, struct harvest *h)
{
	bool unlocked = c->flaw == SYNC_FLAW_NO_LOCK;

	switch (h->pc) {
	case H_LOCK:
		if (s->locked && !unlocked)
			return false;
		s->locked = !unlocked;
		h->pc = c->flaw == SYNC_FLAW_PENDING_FIRST ? H_PENDING : H_GET;
		return true;
	case H_GET:
		get_dirty(c, s, h);
		return true;
	case H_PROTECT:
		protect(c, s, h);
		return true;
	case H_PENDING:
		look_at_pending(c, s, h);
		return true;
	case H_NEXT:
		if (h->found[h->page] && !h->pending[h->page])
			s->next[h->page] = 1;
		h->found[h->page] = h->pending[h->page] = 0;
		next_page(h, H_UNLOCK);
		return true;
	default:
		return false;
	}
}

static bool step_sync(const struct sync_case *c, struct state *s)
{
	struct harvest *h = &s->sync;

	if (h->pc == H_IDLE) {
		if (!s->sync_left)
			return false;
		s->sync_left--;
		h->pc = H_LOCK;
		return true;
	}
	if (h->pc == H_UNLOCK) {
		s->locked = 0;
		h->pc = H_IDLE;
		return true;
	}
	return step_harvest(c, s, h);
}

/* ---- scheduler ---- */

static void next_to_send(struct state *s)
{
	s->pc = S_CLAIM;
	if (++s->page < PAGES)
		return;
	s->page = 0;
	s->pc = s->last ? S_OVER : S_HARVEST;
	s->own.pc = s->last ? H_IDLE : H_LOCK;
}

static bool step_sending(const struct sync_case *c, struct state *s)
{
	bool early = c->flaw == SYNC_FLAW_READ_BEFORE_CLAIM;

	if (s->pc == S_CLAIM) {
		if (!s->pending[s->page]) {
			next_to_send(s);
			return true;
		}
		if (early)
			s->read = s->data[s->page];
		else
			s->pending[s->page] = 0;
		s->pc = S_READ;
		return true;
	}
	if (early)
		s->pending[s->page] = 0;
	s->there[s->page] = early ? s->read : s->data[s->page];
	s->read = 0;
	next_to_send(s);
	return true;
}

static bool step_advance(struct state *s)
{
	uint8_t p = s->page;

	if (s->pc == S_TAKE) {
		s->taken[p] = s->next[p];
		s->next[p] = 0;
		s->pc = S_PENDING;
		return true;
	}
	s->pending[p] |= s->taken[p];
	s->taken[p] = 0;
	s->pc = S_TAKE;
	if (++s->page < PAGES)
		return true;
	s->page = 0;
	s->locked = 0;
	if (s->paused)
		s->last = 1;
	s->pc = s->last || s->rounds ? S_CLAIM : S_PAUSE;
	if (!s->last && s->rounds)
		s->rounds--;
	return true;
}

static bool step_sender(const struct sync_case *c, struct state *s)
{
	switch (s->pc) {
	case S_CLAIM:
	case S_READ:
		return step_sending(c, s);
	case S_HARVEST:
		if (s->own.pc == H_UNLOCK) { /* after the advance */
			s->own.pc = H_IDLE;
			s->pc = S_TAKE;
			return true;
		}
		return step_harvest(c, s, &s->own);
	case S_TAKE:
	case S_PENDING:
		return step_advance(s);
	case S_PAUSE:
		s->sync_left = 0; /* it begins no other */
		if (s->sync.pc != H_IDLE && c->flaw != SYNC_FLAW_NO_LOCK)
			return false;
		if (s->half[0] || s->half[1])
			return false;
		s->paused = 1;
		s->pc = S_HARVEST;
		s->own.pc = H_LOCK;
		return true;
	default:
		return false;
	}
}

static bool step(struct explorer *e, void *state, int actor)
{
	struct state *s = state;

	if (actor < PAGES)
		return step_guest(case_of(e), s, actor);
	return actor == ACTOR_SENDER ? step_sender(case_of(e), s) : step_sync(case_of(e), s);
}

static void check_end(struct explorer *e, const void *state)
{
	const struct state *s = state;

	if (s->pc != S_OVER)
		explore_violated(e, "the migration hangs");
	for (int p = 0; p < PAGES; p++)
		if (s->there[p] != s->data[p])
			explore_violated(e, "a write was lost");
}

void sync_check(const struct sync_case *c, struct sync_result *r)
{
	struct explorer e = {
		.size = sizeof(struct state),
		.actors = ACTORS,
		.step = step,
		.check_end = check_end,
		.arg = c,
	};
	struct state s;

	memset(&s, 0, sizeof(s));
	for (int p = 0; p < PAGES; p++) {
		s.pending[p] = 1; /* the first round: all that holds data */
		s.data[p] = 1;
		s.writes[p] = (uint8_t)c->writes;
	}
	s.rounds = (uint8_t)(c->rounds - 1);
	s.sync_left = (uint8_t)c->sync_harvests;
	explore(&e, &s);
	*r = (struct sync_result){.states = e.states, .violation = e.violation};
}
