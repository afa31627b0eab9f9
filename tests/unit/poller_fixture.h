/* SPDX-License-Identifier: BSD-3-Clause */
/* A poller on some lanes, and what its callbacks note down. */
#ifndef RF_TESTS_POLLER_FIXTURE_H
#define RF_TESTS_POLLER_FIXTURE_H

#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/contract/contract.h"

#include "transport/poller.h"

#define FOREVER 60000 /* ms of sleep: a wake-up that is lost fails the test */

/* ---- a poller on some urgent lanes, served at the accepting end ---- */

#define LANES 3

struct fixture {
	struct rf_poller_cfg cfg;
	struct ct_link link;
	struct ct_lane lanes[LANES];
	struct rf_poller *p;

	/* by callbacks */
	_Atomic uint64_t got[LANES]; /* messages, in order */
	_Atomic bool wrong;
	_Atomic int failed[LANES]; /* how it died */
	_Atomic unsigned failures, works;
	_Atomic int ran_on;
	_Atomic int todo; /* for work(): 1 add lane 2, 2 remove lane 2 */
	_Atomic int done; /* its result, + 1000 */
	_Atomic uint64_t handed, taken;
	uint64_t linger; /* ns that work() takes after it looked; fixed */
};

static inline void take_messages(void *arg, struct rf_lane *l, const struct rf_completion *c,
				 unsigned n)
{
	struct fixture *f = arg;
	unsigned lane = rf_lane_index(l);

	f->ran_on = sched_getcpu();
	if (!n || n > RF_POLLER_BATCH)
		f->wrong = true;
	for (unsigned i = 0; i < n; i++) {
		uint64_t v;

		if (c[i].op != RF_OP_RECV)
			continue;
		memcpy(&v, c[i].data, sizeof(v));
		if (c[i].len != sizeof(v) || v != f->got[lane])
			f->wrong = true;
		f->got[lane]++;
	}
}

static inline void take_failure(void *arg, struct rf_lane *l, int err)
{
	struct fixture *f = arg;

	f->failed[rf_lane_index(l)] = err;
	f->failures++;
}

static inline bool do_work(void *arg)
{
	struct fixture *f = arg;
	int todo = atomic_exchange(&f->todo, 0);
	bool news = f->taken != f->handed;
	uint64_t end;

	f->works++;
	f->taken = f->handed;
	if (todo == 1)
		f->done = 1000 + rf_poller_add(f->p, f->lanes[2].dst);
	if (todo == 2)
		f->done = 1000 + rf_poller_remove(f->p, f->lanes[2].dst);
	end = rf_now_ns(&rf_clock_monotonic) + f->linger;
	while (f->linger && rf_now_ns(&rf_clock_monotonic) < end)
		;
	return news;
}

static const struct rf_poller_ops ops = {
	.completions = take_messages,
	.lane_failed = take_failure,
	.work = do_work,
};

static inline struct fixture *open_fixture(const char *rung, enum rf_poll_mode mode)
{
	struct ct_env env = {.rung = rung, .local = "127.0.0.1", .peer = "127.0.0.1"};
	struct fixture *f = calloc(1, sizeof(*f));

	f->cfg = (struct rf_poller_cfg){.name = "test",
					.ops = &ops,
					.arg = f,
					.mode = mode,
					.max_sleep = FOREVER,
					.cpu = -1,
					.cores = 8};
	ct_link_open(&env, &f->link);
	for (uint16_t i = 0; i < LANES; i++)
		ct_lane_open(&f->link, RF_LANE_URGENT, i, &f->lanes[i]);
	return f;
}

/* The first n lanes are the poller's. */
static inline void start_poller(struct fixture *f, unsigned n)
{
	struct rf_lane *dst[LANES] = {f->lanes[0].dst, f->lanes[1].dst, f->lanes[2].dst};

	assert_int_equal(rf_poller_new(&f->cfg, dst, n, &f->p), RF_OK);
}

static inline void close_fixture(struct fixture *f)
{
	rf_poller_delete(&f->p, NULL);
	assert_null(f->p);
	assert_false(f->wrong);
	for (unsigned i = 0; i < LANES; i++)
		ct_lane_close(&f->lanes[i]);
	ct_link_close(&f->link);
	free(f);
}

static inline uint64_t now_ms(void)
{
	return rf_now_ns(&rf_clock_monotonic) / RF_NS_PER_MS;
}

/* Polls a condition; the sleep of the poller must not be what it waits for. */
#define await(cond)                                                    \
	do {                                                           \
		uint64_t end_ = now_ms() + CT_TIMEOUT;                 \
		while (!(cond)) {                                      \
			if (now_ms() > end_)                           \
				fail_msg("waited in vain for " #cond); \
			usleep(200);                                   \
		}                                                      \
	} while (0)

static inline int send_number(struct rf_lane *src, uint64_t v)
{
	struct rf_completion c[8];
	int r;

	while ((r = rf_lane_send(src, &v, sizeof(v))) == RF_NO_RESOURCE)
		rf_lane_poll(src, c, COUNT_OF(c));
	return r;
}

#endif
