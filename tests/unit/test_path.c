/* SPDX-License-Identifier: BSD-3-Clause */
/* What is found out about a link, and what the window makes of it, on links that are made up. */
#include "tests/unit/unit.h"

#include <string.h>

#include "scheduler/path.h"
#include "scheduler/window.h"

#define KIB    1024u
#define MIB    (1024u * 1024u)
#define US     1000u
#define MS     1000000u
#define SECOND 1000000000ull
#define START  (77 * SECOND)

/* ---- a link: writes go through one after the other and are done a round trip later ---- */

#define MOST 4096 /* writes in flight */

struct link {
	uint64_t rate, rtt_ns;
	uint64_t now_ns, free_ns; /* when it has carried all it was given */
	uint64_t completed, inflight;
	struct {
		uint64_t at, len;
	} w[MOST];
	unsigned head, tail;
	uint64_t longest_ns; /* something stood in its queue */
};

static void link_post(struct link *l, uint64_t len)
{
	uint64_t begin = l->free_ns > l->now_ns ? l->free_ns : l->now_ns;

	assert_true(l->head - l->tail < MOST);
	if (begin - l->now_ns > l->longest_ns)
		l->longest_ns = begin - l->now_ns;
	l->free_ns = begin + (uint64_t)((double)len * 1e9 / (double)l->rate);
	l->w[l->head % MOST].at = l->free_ns + l->rtt_ns;
	l->w[l->head++ % MOST].len = len;
	l->inflight += len;
	l->now_ns += 500; /* a post takes its time */
}

static void link_take(struct link *l)
{
	while (l->tail != l->head && l->w[l->tail % MOST].at <= l->now_ns) {
		uint64_t len = l->w[l->tail++ % MOST].len;

		l->completed += len;
		l->inflight -= len;
	}
}

static void link_wait(struct link *l)
{
	if (l->tail != l->head && l->w[l->tail % MOST].at > l->now_ns)
		l->now_ns = l->w[l->tail % MOST].at;
	link_take(l);
}

/* ---- a push over it ---- */

struct pusher {
	struct link link;
	struct rf_path path;
	bool open; /* a request is, all the time */
};

static const struct rf_window_cfg window_cfg = {.urgent = 64 * KIB,
						.full = 32 * MIB,
						.hold_ns = RF_WINDOW_HOLD_NS,
						.step_ns = RF_WINDOW_STEP_NS};

static void push_for(struct pusher *p, uint64_t ns)
{
	struct link *l = &p->link;
	uint64_t end = l->now_ns + ns;

	while (l->now_ns < end) {
		struct rf_window_in in = {.open = p->open, .now_ns = l->now_ns};
		struct rf_window w;

		link_take(l);
		rf_path_note(&p->path, l->now_ns, l->completed, l->inflight, p->open);
		in.rate = p->path.rate;
		in.rtt_ns = p->path.rtt_ns;
		in.probing = rf_path_probing(&p->path);
		w = rf_window_decide(&window_cfg, &in, MIB);
		if (!l->inflight || l->inflight + w.piece <= w.bytes)
			link_post(l, w.piece);
		else
			link_wait(l);
	}
}

static void start(struct pusher *p, uint64_t rate, uint64_t rtt_ns)
{
	memset(p, 0, sizeof(*p));
	p->link = (struct link){.rate = rate, .rtt_ns = rtt_ns, .now_ns = START};
}

/* Of what the link carries, in a time. */
static double used_in(struct pusher *p, uint64_t ns)
{
	uint64_t completed = p->link.completed, from = p->link.now_ns;

	push_for(p, ns);
	return (double)(p->link.completed - completed) * 1e9 / (double)(p->link.now_ns - from) /
	       (double)p->link.rate;
}

static const struct {
	const char *name;
	uint64_t rate, rtt_ns;
	uint64_t found_ns; /* time to find out what it carries */
	uint64_t queue_ns; /* the longest that may stand in its queue, ever */
} links[] = {
	{"a shaped one", 20000000, 200 * US, 100 * MS, 6 * MS},
	{"1 Gb/s", 125000000, 100 * US, 50 * MS, 6 * MS},
	{"100 Gb/s", 12500000000, 10 * US, 50 * MS, 6 * MS},
	{"10 Gb/s, 10 ms away", 1250000000, 10 * MS, 500 * MS, 11 * MS},
	{"1 Gb/s, 100 ms away", 125000000, 100 * MS, 3 * SECOND, 105 * MS},
	{"20 MB/s, 20 ms away", 20000000, 20 * MS, SECOND, 21 * MS},
};

/* Whatever the link: soon it is busy, and nothing ever stands long in its queue. */
static void fills_the_link_and_never_floods_it(void **state)
{
	static struct pusher p;

	for (size_t i = 0; i < COUNT_OF(links); i++) {
		double used;

		start(&p, links[i].rate, links[i].rtt_ns);
		push_for(&p, links[i].found_ns);
		used = used_in(&p, 5 * SECOND);
		if (used < 0.9)
			fail_msg("%s: used to %.2f only", links[i].name, used);
		if (p.link.longest_ns > links[i].queue_ns)
			fail_msg("%s: %.1f ms stood in its queue", links[i].name,
				 (double)p.link.longest_ns / MS);
	}
}

/* Requests that are open for a minute make the link look as slow as the window: still it is known
 * what it carries, and it is used again at once. */
static void requests_do_not_make_it_slow(void **state)
{
	static struct pusher p;
	uint64_t rate;

	start(&p, 1250000000, 2 * MS);
	push_for(&p, SECOND);
	rate = p.path.rate;
	p.open = true;
	assert_true(used_in(&p, 60 * SECOND) < 0.1);
	assert_true(p.path.rate >= rate / 10 * 9);
	p.open = false;
	assert_true(used_in(&p, SECOND) > 0.9);
}

/* Another route: found at the next probing, and the rate with it. */
static void a_way_that_becomes_longer_is_found(void **state)
{
	static struct pusher p;

	start(&p, 125000000, 100 * US);
	push_for(&p, 2 * SECOND);
	assert_true(p.path.rtt_ns < MS);
	p.link.rtt_ns = 20 * MS;
	push_for(&p, 15 * SECOND);
	assert_true(p.path.rtt_ns >= 20 * MS && p.path.rtt_ns < 25 * MS);
	assert_true(used_in(&p, 5 * SECOND) > 0.9);
	p.link.rtt_ns = 100 * US;
	push_for(&p, 15 * SECOND);
	assert_true(p.path.rtt_ns < MS);
}

static void a_slower_link_is_found(void **state)
{
	static struct pusher p;

	start(&p, 1250000000, 100 * US);
	push_for(&p, SECOND);
	p.link.rate = 20000000;
	push_for(&p, 60 * SECOND);
	assert_true(p.path.rate < 30000000);
	p.link.longest_ns = 0;
	push_for(&p, SECOND);
	assert_true(p.link.longest_ns < 6 * MS);
}

/* Big writes complete in leaps: one in a sample's time is not its rate. */
static void leaps_are_no_rate(void **state)
{
	struct rf_path p = {0};
	uint64_t t = START, completed = 12345;

	for (int i = 0; i < 50; i++) {
		rf_path_note(&p, t, completed, MIB, false);
		t += 50 * MS;
		rf_path_note(&p, t - 5 * MS, completed, MIB, false);
		completed += MIB;
	}
	assert_true(p.rate > 20 * MIB - KIB && p.rate < 20 * MIB + KIB);
}

/* Even one who posts and takes completions between two looks is alone on the link. */
static void done_before_it_is_looked_at(void **state)
{
	struct rf_path p = {0};
	uint64_t t = START;

	for (int i = 0; i <= RF_PATH_PROBES; i++, t += 7 * US) {
		assert_true(rf_path_probing(&p));
		rf_path_note(&p, t, (uint64_t)i * 4096, 0, false);
	}
	assert_false(rf_path_probing(&p));
	assert_int_equal(p.rtt_ns, 7 * US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_the_link_and_never_floods_it),
		cmocka_unit_test(requests_do_not_make_it_slow),
		cmocka_unit_test(a_way_that_becomes_longer_is_found),
		cmocka_unit_test(a_slower_link_is_found),
		cmocka_unit_test(leaps_are_no_rate),
		cmocka_unit_test(done_before_it_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
