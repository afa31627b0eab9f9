/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rf_write_lat: latency of a write with immediate data on an urgent lane, by ping-pong. Each side
 * answers the other's number with its own; the last one of the client says that it was the last.
 * Times are half a round trip, as in perftest, and come from a histogram: minimum, maximum,
 * average and deviation are exact, the others at most 1/16 too high.
 */
#include <stdlib.h>

#include "bench/say.h"
#include "bench/start.h"
#include "common/clock.h"
#include "common/histogram.h"

#define WARM_UP 100	    /* round trips before the clock runs, at most */
#define LAST	0xffffffffu /* immediate of the message that is not answered */

/* clang-format off */
static const struct rf_opt table[] = {
	LINK_ROWS,
	SIZE_ROWS("2", "1000", "round trips"),
	RAW_ROWS,
	OUTPUT_ROWS,
	RF_OPT_END,
};
/* clang-format on */

enum { MIN, MAX, TYPICAL, AVERAGE, STDEV, P99, P999 };
static const struct column columns[] = {
	[MIN] = {"t_min[usec]", "t-min", 2},
	[MAX] = {"t_max[usec]", "t-max", 2},
	[TYPICAL] = {"t_typical[usec]", "t-typical", 2},
	[AVERAGE] = {"t_avg[usec]", "t-avg", 2},
	[STDEV] = {"t_stdev[usec]", "t-stdev", 2},
	[P99] = {"99% percentile[usec]", "t-p99", 2},
	[P999] = {"99.9% percentile[usec]", "t-p99.9", 2},
	{0},
};

/* Sends a message; polls while there is no room. */
static int send_imm(struct session *s, const struct run *r, uint32_t imm, struct engine_seen *seen)
{
	struct engine *e = s->engine;
	int rc, polled;

	while ((rc = e->ops->write_imm(e, 0, 0, (uint32_t)r->size, imm)) == RF_NO_RESOURCE) {
		polled = e->ops->poll(e, 0, seen);
		if (polled != RF_OK && polled != RF_AGAIN)
			return session_lane_failed(s, 0, polled);
		polled = polled == RF_OK ? 0 : session_idle(s);
		if (polled)
			return polled < 0 ? -1 : session_interrupted(s);
	}
	return rc == RF_OK ? 0 : session_lane_failed(s, 0, rc);
}

/* Waits for the next message. */
static int await_imm(struct session *s, struct engine_seen *seen)
{
	struct engine *e = s->engine;
	int rc;

	while (!seen->imms) {
		rc = e->ops->poll(e, 0, seen);
		if (rc == RF_OK)
			continue;
		if (rc != RF_AGAIN)
			return session_lane_failed(s, 0, rc);
		rc = session_idle(s);
		if (rc)
			return rc < 0 ? -1 : session_interrupted(s);
	}
	seen->imms--;
	return 0;
}

static int round_trip(struct session *s, const struct run *r, uint32_t number,
		      struct engine_seen *seen)
{
	if (send_imm(s, r, number, seen) || await_imm(s, seen))
		return -1;
	if (seen->imm != number)
		return say_error("round trip %u was answered with %llu", number,
				 (unsigned long long)seen->imm);
	return 0;
}

static void fill_row(struct row *row, const struct rf_histogram *h)
{
	const double half_us = 1 / 2000.0;

	row->iters = h->n;
	row->value[MIN] = (double)h->min * half_us;
	row->value[MAX] = (double)h->max * half_us;
	row->value[TYPICAL] = (double)rf_histogram_percentile(h, 50) * half_us;
	row->value[AVERAGE] = rf_histogram_mean(h) * half_us;
	row->value[STDEV] = rf_histogram_stdev(h) * half_us;
	row->value[P99] = (double)rf_histogram_percentile(h, 99) * half_us;
	row->value[P999] = (double)rf_histogram_percentile(h, 99.9) * half_us;
}

static int measure(struct session *s, const struct run *r, struct rf_histogram *h)
{
	struct engine_seen seen = {0};
	uint64_t then, now, deadline;
	uint32_t number = 0, warm = WARM_UP;

	if (r->iters && r->iters < warm)
		warm = (uint32_t)r->iters;
	for (uint32_t i = 0; i < warm; i++)
		if (round_trip(s, r, number++, &seen))
			return -1;
	now = rf_now_ns(&rf_clock_monotonic);
	deadline = r->duration ? now + r->duration * RF_NS_PER_MS : UINT64_MAX;
	for (uint64_t i = 0; (r->duration || i < r->iters) && now < deadline; i++) {
		then = now;
		if (round_trip(s, r, number++ % LAST, &seen))
			return -1;
		now = rf_now_ns(&rf_clock_monotonic);
		rf_histogram_add(h, now - then);
	}
	return send_imm(s, r, LAST, &seen);
}

/* The server has seen the last one; the lane may need us until then. */
static int end_run(struct session *s)
{
	struct engine *e = s->engine;
	struct engine_seen seen = {0};
	struct msg m;
	int rc;

	do {
		rc = e->ops->poll(e, 0, &seen);
		if (rc != RF_OK && rc != RF_AGAIN)
			return session_lane_failed(s, 0, rc);
		rc = rc == RF_OK ? 0 : session_idle(s);
	} while (!rc);
	return rc < 0 ? -1 : msg_recv(s->peer.fd, &m, MSG_DONE, PEER_TIMEOUT);
}

static int client(struct session *s, const struct run *r, struct row *row)
{
	struct rf_histogram *h = malloc(sizeof(*h));
	int rc;

	if (!h)
		return say_error("out of memory");
	rf_histogram_init(h);
	rc = measure(s, r, h);
	fill_row(row, h);
	free(h);
	return rc || end_run(s) ? -1 : 0;
}

static int answer_all(struct session *s, const struct run *r)
{
	struct engine_seen seen = {0};

	for (;;) {
		if (await_imm(s, &seen))
			return -1;
		if (seen.imm == LAST)
			return 0;
		if (send_imm(s, r, (uint32_t)seen.imm, &seen))
			return -1;
	}
}

static int server(struct session *s, const struct run *r)
{
	struct msg m;

	msg_init(&m, MSG_GO);
	if (msg_send(s->peer.fd, &m) || answer_all(s, r))
		return -1;
	msg_init(&m, MSG_DONE);
	return msg_send(s->peer.fd, &m);
}

int main(int argc, char **argv)
{
	static const struct bench_kind kind = {
		.name = "rf_write_lat",
		.title = "ramferry RDMA_Write with immediate Latency Test",
		.purpose = "Half the time in which a write with immediate data is answered by "
			   "another.",
		.table = table,
		.columns = columns,
		.lane_kind = RF_LANE_URGENT,
		.both_ways = true,
		.client = client,
		.server = server,
	};

	return bench_main(&kind, argc, argv);
}
