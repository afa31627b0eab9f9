/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/urgent.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "common/log.h"
#include "scheduler/limiter.h"
#include "scheduler/region.h"

static void fail(struct rf_urgent *u, int err, const char *why)
{
	pthread_mutex_lock(&u->shared->lock);
	if (!atomic_load(&u->shared->error)) {
		snprintf(u->shared->error_desc, sizeof(u->shared->error_desc), "%s", why);
		atomic_store(&u->shared->error, err);
	}
	pthread_mutex_unlock(&u->shared->lock);
	eventfd_write(u->shared->wake_fd, 1);
}

/* Requests came (n > 0) or were answered. */
static void count_open(struct rf_urgent_shared *s, int n)
{
	uint64_t now = rf_now_ns(&rf_clock_monotonic);

	if (n > 0) {
		atomic_fetch_add(&s->open, (uint32_t)n);
		rf_limiter_open(s->limiter, now);
	} else {
		atomic_fetch_sub(&s->open, (uint32_t)-n);
		rf_limiter_close(s->limiter, (uint32_t)-n, now);
	}
	atomic_store_explicit(&s->last_ns, now, memory_order_relaxed);
}

/* ---- serving the head of the queue ---- */

static void finish_head(struct rf_urgent *u)
{
	rf_request_queue_pop(&u->queue);
	u->claimed = false;
	u->boosting = false;
	u->sent = 0;
	atomic_store(&u->ended, atomic_load(&u->begun));
	count_open(u->shared, -1);
}

static bool host_page_is_zero(const struct rf_urgent_shared *s, const struct rf_src_region *r,
			      const uint8_t *at)
{
	for (uint64_t i = 0; i < r->info.page_size; i += RF_PAGE_SIZE)
		if (!s->is_zero(at + i))
			return false;
	return true;
}

/* The whole host page is zero: a word is enough. RF_NO_RESOURCE: again later. */
static int answer_zero(struct rf_urgent *u, const struct rf_page_request *q)
{
	uint8_t msg[RF_WIRE_ZERO_SIZE];
	int rc;

	rf_wire_put_zero_answer(msg, q->slot);
	rc = rf_lane_send(u->lane, msg, sizeof(msg));
	if (rc == RF_OK)
		atomic_fetch_add_explicit(&u->shared->zeros, 1, memory_order_relaxed);
	return rc;
}

/* Posts as many pieces of the claimed head as go. True: all of it. */
static bool send_head(struct rf_urgent *u, const struct rf_page_request *q)
{
	const struct rf_urgent_shared *s = u->shared;
	struct rf_src_region *r = &s->regions[q->region];
	uint64_t begin = q->page * RF_PAGE_SIZE;
	int rc;

	if (!u->sent && host_page_is_zero(s, r, r->addr + begin))
		return answer_zero(u, q) == RF_OK;
	while (u->sent < r->info.page_size) {
		uint64_t at = begin + u->sent, left = r->info.page_size - u->sent;
		uint64_t room = s->chunk_size - at % s->chunk_size;
		struct rf_src_chunk *c = &r->chunks[at / s->chunk_size];
		uint64_t len = left < s->piece ? left : s->piece;
		struct rf_write w = {
			.src = r->addr + at,
			.src_mr = c->mr,
			.dst = &c->key,
			.dst_off = at % s->chunk_size,
		};

		w.len = (uint32_t)(len < room ? len : room);
		rc = rf_lane_write_imm(u->lane, &w, q->slot | (w.len < left ? RF_IMM_MORE : 0));
		if (rc != RF_OK)
			return false; /* full: again later; dead: the poller tells */
		u->sent += w.len;
		u->answering++;
		atomic_fetch_add(&u->posted, 1);
		atomic_fetch_add_explicit(&u->shared->bytes, w.len, memory_order_relaxed);
		rf_limiter_charge(s->limiter, w.len);
	}
	return true;
}

/* One step for the head. True: it is done with. */
static bool serve_head(struct rf_urgent *u, const struct rf_page_request *q)
{
	struct rf_urgent_shared *s = u->shared;
	struct rf_src_region *r = &s->regions[q->region];

	if (u->claimed)
		return send_head(u, q);
	if (!u->boosting) /* otherwise it has begun already */
		atomic_fetch_add(&u->begun, 1);
	switch (rf_claim_urgent(rf_src_region_claims(r), rf_src_region_claim_bit(r, q->page),
				&s->current, q->region, q->page)) {
	case RF_CLAIM_WON:
		u->claimed = true;
		return send_head(u, q);
	case RF_CLAIM_BOOST:
		if (!u->boosting) {
			u->boosting = true;
			atomic_fetch_add_explicit(&s->boosted, 1, memory_order_relaxed);
			eventfd_write(s->wake_fd, 1);
		}
		return false;
	case RF_CLAIM_SENT:
	default:
		/* Its announcement or answer is behind the data on its way. */
		if (!u->boosting)
			atomic_fetch_add_explicit(&s->duplicates, 1, memory_order_relaxed);
		return true;
	}
}

static bool work(void *arg)
{
	struct rf_urgent *u = arg;
	struct rf_page_request *q;
	bool any = false;

	while ((q = rf_request_queue_head(&u->queue)) && serve_head(u, q)) {
		finish_head(u);
		any = true;
	}
	return any;
}

/* ---- taking requests ---- */

static void take_request(struct rf_urgent *u, const struct rf_completion *c)
{
	struct rf_urgent_shared *s = u->shared;
	struct rf_wire_request w;
	struct rf_page_request q = {.urgent = true, .lane = RF_LANE_URGENT};
	const struct rf_src_region *r;

	if (rf_wire_get_request(c->data, c->len, &w) != RF_OK || w.region >= s->nregions) {
		fail(u, RF_ERR_PROTOCOL, "destination sent a malformed page request");
		return;
	}
	r = &s->regions[w.region];
	if (w.page >= r->map.npages || w.page % (r->info.page_size / RF_PAGE_SIZE)) {
		fail(u, RF_ERR_PROTOCOL, "destination asked for a page that is none");
		return;
	}
	q.region = w.region;
	q.page = w.page;
	q.slot = w.slot;
	if (!rf_request_queue_push(&u->queue, &q)) {
		fail(u, RF_ERR_PROTOCOL, "destination has more requests open than it may");
		return;
	}
	count_open(s, 1);
	atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
	atomic_store_explicit(&s->last_fault, (uint64_t)w.region << 40 | w.page,
			      memory_order_relaxed);
}

static void take_done(struct rf_urgent *u, uint32_t n)
{
	u->answering -= n;
	atomic_fetch_add(&u->completed, n);
}

static void take_completions(void *arg, struct rf_lane *l, const struct rf_completion *c,
			     unsigned n)
{
	struct rf_urgent *u = arg;

	(void)l;
	for (unsigned i = 0; i < n; i++) {
		if (c[i].op == RF_OP_RECV)
			take_request(u, &c[i]);
		else if (c[i].op == RF_OP_WRITE)
			take_done(u, c[i].count);
	}
}

static void lane_failed(void *arg, struct rf_lane *l, int err)
{
	fail(arg, err, rf_lane_error(l));
}

int rf_urgent_start(struct rf_urgent *u, struct rf_urgent_shared *shared, struct rf_lane *lane,
		    struct rf_poll_plan *plan)
{
	static const struct rf_poller_ops ops = {
		.completions = take_completions,
		.lane_failed = lane_failed,
		.work = work,
	};
	struct rf_poller_cfg cfg = {
		.name = rf_lane_name(lane),
		.ops = &ops,
		.arg = u,
	};

	u->shared = shared;
	u->lane = lane;
	rf_poll_plan_next(plan, &cfg);
	return rf_poller_new(&cfg, &lane, 1, &u->poller);
}

void rf_urgent_stop(struct rf_urgent *u, struct rf_poller_stats *stats)
{
	rf_poller_delete(&u->poller, stats);
	rf_lane_close(&u->lane);
}
