/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of a snapshot with two pages, two vCPUs and two fault threads, small enough to walk
 * through every interleaving. Its steps are the atomic operations of the code, in its order:
 *
 *   saver          scheduler/snapshot_save.c   next · claim · copy · release · write
 *   fault thread   scheduler/snapshot_fault.c  read · pool? · claim · copy · release · ready
 *   the kernel                                 a write goes through, or waits; release wakes
 *
 * A page holds 0 when the guest is paused, and 1 once a vCPU has written to it.
 */
#include "tests/unit/unit.h"

#define PAGES	2
#define VCPUS	2
#define FAULTS	2
#define BUCKETS (1u << 20)

/* What can be left out of the code, to see that the model notices. */
enum flaw {
	FLAW_NONE,
	FLAW_NO_CLAIM,	    /* a fault thread copies whatever it is told of */
	FLAW_RELEASE_FIRST, /* the saver takes the protection off before it copies */
	FLAW_RELEASE_SPAN,  /* ... and off the neighbour's page, too */
	FLAW_NO_WAKE,	    /* release does not wake */
	FLAW_DONE_EARLY,    /* the saver ends when nothing is to be claimed any more */
	FLAW_NO_UNPROTECT,  /* at its end it does not take all protection off */
};

struct model_case {
	enum flaw flaw;
	bool copy;     /* strategy */
	bool may_fail; /* the sink may, at any time */
	int touches[VCPUS];
};

enum { VCPU_RUNS, VCPU_WAITS, VCPU_DONE };
enum { SAVER_NEXT, SAVER_CLAIM, SAVER_COPY, SAVER_RELEASE, SAVER_WRITE, SAVER_END, SAVER_GONE };
enum { FAULT_READ, FAULT_CLAIM, FAULT_COPY, FAULT_RELEASE, FAULT_READY };

struct actor {
	uint8_t at, page, value;
};

struct model {
	uint8_t protected[PAGES], todo[PAGES], content[PAGES], saved[PAGES];
	uint8_t vcpu[VCPUS], message[VCPUS];
	struct actor saver, fault[FAULTS];
	uint8_t queue[VCPUS + 1], queued;
	uint8_t pool_free, ready, ready_page, ready_value;
	uint8_t left, failed, wrong;
};

struct walk {
	const struct model_case *c;
	struct model *table;
	uint8_t *used;
	uint32_t *stack, depth;
	uint64_t states, steps;
	const char *violation;
};

static void visit(struct walk *w, const struct model *m)
{
	const uint8_t *p = (const uint8_t *)m;
	uint64_t h = 0xcbf29ce484222325ull;

	w->steps++;
	for (size_t i = 0; i < sizeof(*m); i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	for (uint32_t i = (uint32_t)(h % BUCKETS);; i = (i + 1) % BUCKETS) {
		if (w->used[i] && memcmp(&w->table[i], m, sizeof(*m)) == 0)
			return;
		if (w->used[i])
			continue;
		assert_true(++w->states < BUCKETS / 2);
		w->used[i] = 1;
		w->table[i] = *m;
		w->stack[w->depth++] = i;
		return;
	}
}

static void release(struct walk *w, struct model *m, int page)
{
	m->protected[page] = 0;
	for (int v = 0; v < VCPUS; v++)
		if (m->vcpu[v] == VCPU_WAITS && w->c->touches[v] == page &&
		    w->c->flaw != FLAW_NO_WAKE)
			m->vcpu[v] = VCPU_RUNS;
}

static void save(struct model *m, int page, int value)
{
	m->saved[page]++;
	m->left--;
	if (value)
		m->wrong = 1;
}

/* The kernel looks again after it has queued a waiter, so waiting and being woken do not cross. */
static void step_vcpu(struct walk *w, const struct model *from, int v)
{
	struct model m = *from;
	int page = w->c->touches[v];

	if (m.vcpu[v] != VCPU_RUNS)
		return;
	if (m.protected[page]) {
		m.vcpu[v] = VCPU_WAITS;
		m.message[v] = 1;
	} else {
		m.content[page] = 1;
		m.vcpu[v] = VCPU_DONE;
	}
	visit(w, &m);
}

static void read_fault(struct walk *w, const struct model *from, int f)
{
	for (int v = 0; v < VCPUS; v++) {
		struct model m = *from;

		if (!m.message[v])
			continue;
		m.message[v] = 0;
		if (w->c->copy && m.pool_free) {
			m.pool_free = 0;
			m.fault[f] = (struct actor){FAULT_CLAIM, (uint8_t)w->c->touches[v], 0};
		} else {
			m.queue[m.queued++] = (uint8_t)w->c->touches[v];
		}
		visit(w, &m);
	}
}

static void step_fault(struct walk *w, const struct model *from, int f)
{
	struct model m = *from;
	struct actor *a = &m.fault[f];

	/* The saver ends them between two faults. */
	if (a->at == FAULT_READ && m.saver.at >= SAVER_END)
		return;
	switch (a->at) {
	case FAULT_READ:
		read_fault(w, from, f);
		return;
	case FAULT_CLAIM:
		if (m.todo[a->page] || w->c->flaw == FLAW_NO_CLAIM) {
			m.todo[a->page] = 0;
			a->at = FAULT_COPY;
		} else {
			m.pool_free = 1;
			*a = (struct actor){0};
		}
		break;
	case FAULT_COPY:
		a->value = m.content[a->page];
		a->at = FAULT_RELEASE;
		break;
	case FAULT_RELEASE:
		release(w, &m, a->page);
		a->at = FAULT_READY;
		break;
	default:
		m.ready = 1;
		m.ready_page = a->page;
		m.ready_value = a->value;
		*a = (struct actor){0};
	}
	visit(w, &m);
}

static bool nothing_left(const struct walk *w, const struct model *m)
{
	return w->c->flaw == FLAW_DONE_EARLY ? !m->todo[0] && !m->todo[1] : !m->left;
}

/* Requests, then what was copied, then the linear pass. */
static void choose_next(struct walk *w, struct model *m)
{
	if (nothing_left(w, m)) {
		m->saver.at = SAVER_END;
	} else if (m->queued) {
		m->saver = (struct actor){SAVER_CLAIM, m->queue[0], 0};
		m->queued--;
		memmove(m->queue, m->queue + 1, sizeof(m->queue) - 1);
		m->queue[VCPUS] = 0;
	} else if (m->ready) {
		m->ready = 0;
		m->pool_free = 1;
		save(m, m->ready_page, m->ready_value);
		m->ready_page = m->ready_value = 0;
	} else if (m->todo[0] || m->todo[1]) {
		m->saver = (struct actor){SAVER_CLAIM, m->todo[0] ? 0 : 1, 0};
	} else {
		return; /* waits for a fault thread */
	}
	visit(w, m);
}

static void take_part(struct walk *w, struct model *m, bool releases)
{
	struct actor *s = &m->saver;

	if (!releases) {
		s->value = m->content[s->page];
		return;
	}
	release(w, m, s->page);
	if (w->c->flaw == FLAW_RELEASE_SPAN)
		release(w, m, !s->page);
}

static void end_saver(struct walk *w, struct model *m)
{
	for (int f = 0; f < FAULTS; f++)
		if (m->fault[f].at != FAULT_READ)
			return; /* it is joined first */
	for (int p = 0; p < PAGES && w->c->flaw != FLAW_NO_UNPROTECT; p++)
		release(w, m, p);
	m->saver.at = SAVER_GONE;
	visit(w, m);
}

static void step_saver(struct walk *w, const struct model *from)
{
	bool release_first = w->c->flaw == FLAW_RELEASE_FIRST;
	struct model m = *from;

	switch (m.saver.at) {
	case SAVER_NEXT:
		choose_next(w, &m);
		return;
	case SAVER_CLAIM:
		m.saver.at = m.todo[m.saver.page] ? SAVER_COPY : SAVER_NEXT;
		m.todo[m.saver.page] = 0;
		if (m.saver.at == SAVER_NEXT)
			m.saver = (struct actor){0};
		break;
	case SAVER_COPY:
	case SAVER_RELEASE:
		take_part(w, &m, (m.saver.at == SAVER_RELEASE) != release_first);
		m.saver.at++;
		break;
	case SAVER_WRITE:
		save(&m, m.saver.page, m.saver.value);
		m.saver = (struct actor){0};
		break;
	case SAVER_END:
		end_saver(w, &m);
		return;
	default:
		return;
	}
	visit(w, &m);
}

static void fail_sink(struct walk *w, const struct model *from)
{
	struct model m = *from;

	if (!w->c->may_fail || m.saver.at >= SAVER_END)
		return;
	m.failed = 1;
	m.saver = (struct actor){SAVER_END, 0, 0};
	visit(w, &m);
}

static void check_state(struct walk *w, const struct model *m, bool final)
{
	for (int p = 0; p < PAGES; p++) {
		if (m->saved[p] > 1)
			w->violation = "a page is saved twice";
		if (final && !m->failed && !m->saved[p])
			w->violation = "a page is not saved";
	}
	if (m->wrong)
		w->violation = "a page is saved as it was not";
	for (int v = 0; v < VCPUS && final; v++)
		if (m->vcpu[v] != VCPU_DONE)
			w->violation = "a vCPU waits for ever";
}

static uint64_t walk_case(const struct model_case *c, const char **violation)
{
	struct walk w = {.c = c};
	struct model m;

	memset(&m, 0, sizeof(m));
	memset(m.protected, 1, sizeof(m.protected));
	memset(m.todo, 1, sizeof(m.todo));
	m.pool_free = 1;
	m.left = PAGES;
	w.table = calloc(BUCKETS, sizeof(*w.table));
	w.used = calloc(BUCKETS, 1);
	w.stack = calloc(BUCKETS, sizeof(*w.stack));
	assert_true(w.table && w.used && w.stack);
	visit(&w, &m);
	while (w.depth && !w.violation) {
		uint64_t before = w.steps;

		m = w.table[w.stack[--w.depth]];
		for (int v = 0; v < VCPUS; v++)
			step_vcpu(&w, &m, v);
		for (int f = 0; f < FAULTS; f++)
			step_fault(&w, &m, f);
		step_saver(&w, &m);
		fail_sink(&w, &m);
		check_state(&w, &m, w.steps == before);
	}
	free(w.table);
	free(w.used);
	free(w.stack);
	*violation = w.violation;
	return w.states;
}

static uint64_t walk_all(enum flaw flaw, const char **violation)
{
	uint64_t states = 0;

	*violation = NULL;
	for (int i = 0; i < 16 && !*violation; i++) {
		struct model_case c = {
			.flaw = flaw,
			.copy = i & 1,
			.may_fail = i & 2,
			.touches = {i >> 2 & 1, i >> 3 & 1},
		};

		states += walk_case(&c, violation);
	}
	return states;
}

static void no_interleaving_breaks_a_rule(void **state)
{
	const char *violation;
	uint64_t states = walk_all(FLAW_NONE, &violation);

	if (violation)
		fail_msg("%s", violation);
	print_message("%llu states\n", (unsigned long long)states);
	assert_true(states > 5000);
}

/* The model is worth something only if it notices what is wrong. */
static void every_flaw_is_noticed(void **state)
{
	for (int flaw = FLAW_NO_CLAIM; flaw <= FLAW_NO_UNPROTECT; flaw++) {
		const char *violation;

		walk_all((enum flaw)flaw, &violation);
		if (!violation)
			fail_msg("flaw %d is not noticed", flaw);
		print_message("flaw %d: %s\n", flaw, violation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_breaks_a_rule),
		cmocka_unit_test(every_flaw_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
