/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/postcopy_model.h"

#include <string.h>

#include "tests/unit/explore.h"

#define PAGES 2
#define VCPUS 2
#define QUEUE 6
#define NONE  7

enum { MSG_WRITE = 0x10, MSG_ANNOUNCE = 0x20 };

/* A lane or an event queue; entries are small numbers. */
struct queue {
	uint8_t e[QUEUE];
	uint8_t n;
};

/* All there is. */
struct state {
	/* source */
	uint8_t claim[PAGES]; /* 1: to be sent */
	uint8_t current, boost, open;
	uint8_t bulk_pc, bulk_page;
	uint8_t posted[PAGES]; /* announced or answered */
	uint8_t urgent_pc;
	struct queue requests; /* taken, the head is served */
	/* lanes */
	struct queue bulk_lane, answers, asked;
	/* destination */
	uint8_t missing[PAGES], requested[PAGES], placed[PAGES], writes[PAGES];
	uint8_t lane_pc, lane_page, lane_urgent;
	uint8_t fault_pc, fault_page;
	struct queue uffd;
	/* vCPUs: 0 runs, 1 waits, 2 done */
	uint8_t vcpu[VCPUS];
};

/* What the steps are given. */
struct model {
	struct explorer *e;
	const struct model_case *c;
};

static void push(struct queue *q, uint8_t v)
{
	q->e[q->n++] = v;
}

static uint8_t pop(struct queue *q)
{
	uint8_t v = q->e[0];

	q->n--;
	memmove(q->e, q->e + 1, q->n);
	q->e[q->n] = 0;
	return v;
}

static void violated(struct model *m, const char *what)
{
	explore_violated(m->e, what);
}

/* ---- the kernel ---- */

static void wake(struct model *m, struct state *s, uint8_t page)
{
	for (int v = 0; v < VCPUS; v++)
		if (s->vcpu[v] == 1 && m->c->touches[v] == page)
			s->vcpu[v] = 0; /* touches again */
}

/* CONTINUE: maps and wakes; EEXIST wakes nobody, so the code does. */
static void place(struct model *m, struct state *s, uint8_t page)
{
	if (!s->writes[page])
		violated(m, "a page was placed before it was complete");
	wake(m, s, page);
	s->placed[page] = 1;
}

static void land_data(struct model *m, struct state *s, uint8_t page)
{
	if (s->placed[page])
		violated(m, "a page was written after it was placed");
	if (s->writes[page]++)
		violated(m, "a page was written twice");
}

static bool step_vcpu(struct model *m, struct state *s, int v)
{
	uint8_t page = (uint8_t)m->c->touches[v];

	if (s->vcpu[v] != 0)
		return false;
	if (s->placed[page]) {
		s->vcpu[v] = 2;
		return true;
	}
	s->vcpu[v] = 1;
	push(&s->uffd, page);
	return true;
}

/* ---- source ---- */

static bool window_lets(const struct model *m, const struct state *s)
{
	return !m->c->window_stop || !s->open || s->boost;
}

static void publish(struct state *s, uint8_t page)
{
	s->boost = 0;
	s->current = page;
}

static bool step_bulk(struct model *m, struct state *s)
{
	bool late = m->c->flaw == FLAW_LATE_CURRENT;

	switch (s->bulk_pc) {
	case 0: /* next page; nothing is claimed that cannot go */
		if (s->bulk_page == PAGES || !window_lets(m, s))
			return false;
		if (!late)
			publish(s, s->bulk_page);
		s->bulk_pc = 1;
		return true;
	case 1:
		s->bulk_pc = s->claim[s->bulk_page] ? 2 : 5;
		s->claim[s->bulk_page] = 0;
		return true;
	case 2:
		if (late)
			publish(s, s->bulk_page);
		s->bulk_pc = 3;
		return true;
	case 3: /* preempted here: claimed, not posted */
		if (!window_lets(m, s))
			return false;
		push(&s->bulk_lane, MSG_WRITE | s->bulk_page);
		s->bulk_pc = 4;
		return true;
	case 4:
		push(&s->bulk_lane, MSG_ANNOUNCE | s->bulk_page);
		s->posted[s->bulk_page] = 1;
		s->bulk_pc = 5;
		return true;
	default:
		s->current = NONE;
		s->boost = 0;
		s->bulk_page++;
		s->bulk_pc = 0;
		return true;
	}
}

static void finish_request(struct state *s)
{
	pop(&s->requests);
	s->open--;
	s->urgent_pc = 0;
}

/* Nothing is sent for it: what wakes the guest must be on its way. */
static void take_as_sent(struct model *m, struct state *s, uint8_t page)
{
	if (!s->posted[page])
		violated(m, "a request was dropped for a page that was not posted");
	finish_request(s);
}

static bool take_request(struct state *s)
{
	if (!s->asked.n)
		return false;
	push(&s->requests, pop(&s->asked));
	s->open++;
	return true;
}

static bool step_urgent(struct model *m, struct state *s)
{
	uint8_t page = s->requests.n ? s->requests.e[0] : NONE;

	if (page == NONE)
		return false;
	switch (s->urgent_pc) {
	case 0: /* claim */
		if (s->claim[page] || m->c->flaw == FLAW_NO_CLAIM) {
			s->claim[page] = 0;
			s->urgent_pc = 1;
		} else {
			s->urgent_pc = 2;
		}
		return true;
	case 1:
		push(&s->answers, page);
		s->posted[page] = 1;
		finish_request(s);
		return true;
	case 2: /* in the middle of it? */
		if (s->current == page && m->c->flaw != FLAW_NO_BOOST)
			s->urgent_pc = 3;
		else
			take_as_sent(m, s, page);
		return true;
	case 3:
		s->boost = 1;
		s->urgent_pc = 4;
		return true;
	default: /* looks again until the bulk sender has moved on */
		if (s->current == page)
			return false;
		take_as_sent(m, s, page);
		return true;
	}
}

/* ---- destination ---- */

static bool step_lane_thread(struct model *m, struct state *s)
{
	uint8_t msg;

	switch (s->lane_pc) {
	case 0:
		if (!s->bulk_lane.n)
			return false;
		msg = pop(&s->bulk_lane);
		s->lane_page = msg & 0xf;
		if (msg & MSG_WRITE)
			land_data(m, s, s->lane_page);
		else
			s->lane_pc = 1;
		return true;
	case 1:
		if (!s->missing[s->lane_page])
			violated(m, "a page was announced twice");
		s->missing[s->lane_page] = 0;
		s->lane_pc = 2;
		return true;
	case 2:
		s->lane_urgent = s->requested[s->lane_page];
		s->lane_pc = 3;
		return true;
	default:
		/* In the code the rest is placed in batches; without it only who asked is served.
		 */
		if (m->c->flaw != FLAW_NO_URGENT_CHECK &&
		    (s->lane_urgent || m->c->flaw != FLAW_NO_SECOND_LOOK))
			place(m, s, s->lane_page);
		s->lane_pc = 0;
		s->lane_page = s->lane_urgent = 0;
		return true;
	}
}

static bool take_answer(struct model *m, struct state *s)
{
	uint8_t page;

	if (!s->answers.n || s->fault_pc)
		return false;
	page = pop(&s->answers);
	land_data(m, s, page);
	if (!s->missing[page])
		violated(m, "an answer came for a page that is there");
	s->missing[page] = 0;
	place(m, s, page);
	return true;
}

static bool step_fault_thread(struct model *m, struct state *s)
{
	uint8_t page = s->fault_page, asked;

	switch (s->fault_pc) {
	case 0:
		if (!s->uffd.n)
			return false;
		s->fault_page = pop(&s->uffd);
		s->fault_pc = 1;
		return true;
	case 1:
		if (s->placed[page]) {
			wake(m, s, page);
			break;
		}
		s->fault_pc = 2;
		return true;
	case 2:
		if (!s->missing[page]) {
			place(m, s, page);
			break;
		}
		s->fault_pc = 3;
		return true;
	case 3:
		asked = s->requested[page];
		s->requested[page] = 1;
		s->fault_pc = asked ? 5 : 4;
		return true;
	default:
		if (!s->missing[page] && m->c->flaw != FLAW_NO_SECOND_LOOK)
			place(m, s, page);
		else if (s->fault_pc == 4)
			push(&s->asked, page);
		break;
	}
	s->fault_pc = s->fault_page = 0;
	return true;
}

/* ---- the walk ---- */

static bool step(struct explorer *e, void *state, int actor)
{
	struct model model = {.e = e, .c = e->arg}, *m = &model;
	struct state *s = state;

	switch (actor) {
	case 0:
	case 1:
		return step_vcpu(m, s, actor);
	case 2:
		return step_bulk(m, s);
	case 3:
		return take_request(s);
	case 4:
		return step_urgent(m, s);
	case 5:
		return step_lane_thread(m, s);
	case 6:
		return take_answer(m, s);
	default:
		return step_fault_thread(m, s);
	}
}

static void check_end(struct explorer *e, const void *state)
{
	const struct state *s = state;

	for (int v = 0; v < VCPUS; v++)
		if (s->vcpu[v] != 2)
			explore_violated(e, "a vCPU waits for ever");
	for (int p = 0; p < PAGES; p++)
		if (s->writes[p] != 1 || s->missing[p])
			explore_violated(e, "a page was lost");
}

void model_check(const struct model_case *c, struct model_result *r)
{
	struct explorer e = {
		.size = sizeof(struct state),
		.actors = 8,
		.step = step,
		.check_end = check_end,
		.arg = c,
	};
	struct state start;

	memset(&start, 0, sizeof(start));
	memset(start.claim, 1, sizeof(start.claim));
	memset(start.missing, 1, sizeof(start.missing));
	start.current = NONE;
	explore(&e, &start);
	*r = (struct model_result){.states = e.states, .violation = e.violation};
}
