/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rf_write_bw: bandwidth of one-sided writes on bulk lanes. The client keeps up to --tx-depth
 * writes in flight on each lane, and takes the time from the first post to the last completion.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/peak.h"
#include "bench/say.h"
#include "bench/start.h"
#include "bench/verify.h"
#include "common/clock.h"

/* clang-format off */
static const struct rf_opt table[] = {
	LINK_ROWS,
	SIZE_ROWS("64K", "5000", "messages per lane"),
	RF_OPT_UINT(struct bench_opts, want.lanes, "lanes", 'q', "N", "1",
		"bulk lanes (queue pairs)", .min = 1, .max = BENCH_MAX_LANES),
	RF_OPT_UINT(struct bench_opts, want.depth, "tx-depth", 't', "N", "64",
		"writes in flight on a lane; no more than the transport can",
		.min = 1, .max = BENCH_MAX_DEPTH),
	RF_OPT_UINT(struct bench_opts, want.post_list, "post-list", 'l', "N", "0",
		"writes posted with one call; 0: a quarter of the depth, at most 16", .max = BENCH_MAX_LIST),
	RF_OPT_SIZE(struct bench_opts, want.memory, "memory", 'm', "SIZE", "0",
		"memory each lane walks through; 0: one message or 4 KiB, as perftest",
		.max = 1ull << 36),
	RF_OPT_BOOL(struct bench_opts, want.verify, "verify", 0, "no",
		"compare what arrived with what was sent"),
	RAW_ROWS,
	OUTPUT_ROWS,
	RF_OPT_END,
};
/* clang-format on */

enum { PEAK, AVERAGE, RATE, CPU_CLIENT, CPU_SERVER };
static const struct column columns[] = {
	[PEAK] = {"BW peak[MB/sec]", "bw-peak", 2},
	[AVERAGE] = {"BW average[MB/sec]", "bw-average", 2},
	[RATE] = {"MsgRate[Mpps]", "msg-rate", 6},
	[CPU_CLIENT] = {"CPU client[s/GB]", "cpu-client", 4},
	[CPU_SERVER] = {"CPU server[s/GB]", "cpu-server", 4},
	{0},
};

/* One run of the client. */
struct stream {
	struct session *s;
	uint32_t size;
	uint64_t slots;	   /* messages that fit into a lane's memory */
	uint64_t quota;	   /* messages per lane */
	uint64_t deadline; /* ns; posting ends then */
	uint64_t list;
	uint64_t posted[BENCH_MAX_LANES], done[BENCH_MAX_LANES]; /* messages */
	uint64_t done_in_all;
	uint64_t last; /* when the last one was done */
	struct peak peak;
};

static void count_done(struct stream *st, unsigned lane, uint64_t n)
{
	st->last = rf_now_ns(&rf_clock_monotonic);
	st->done[lane] += n;
	st->done_in_all += n;
	peak_done(&st->peak, n, st->last);
}

/* Posts what the window has room for, at most one list. How many, or an error. */
static int post(struct stream *st, unsigned lane)
{
	struct engine *e = st->s->engine;
	uint64_t off[BENCH_MAX_LIST], begin = lane * st->s->lane_bytes;
	uint64_t n = st->s->depth - (st->posted[lane] - st->done[lane]);
	uint64_t now = rf_now_ns(&rf_clock_monotonic);
	int rc;

	if (n > st->quota - st->posted[lane])
		n = st->quota - st->posted[lane];
	if (n > st->list)
		n = st->list;
	if (!n)
		return 0;
	for (uint64_t i = 0; i < n; i++)
		off[i] = begin + (st->posted[lane] + i) % st->slots * st->size;
	rc = e->ops->write(e, lane, off, (unsigned)n, st->size);
	if (rc == RF_NO_RESOURCE)
		return 0;
	if (rc > 0) {
		peak_post(&st->peak, (uint64_t)rc, now);
		st->posted[lane] += (uint64_t)rc;
	}
	return rc;
}

/* Takes what is done on a lane. 1: something was, 0, or -1. */
static int reap(struct stream *st, unsigned lane)
{
	struct engine_seen seen = {0};
	int rc = st->s->engine->ops->poll(st->s->engine, lane, &seen);

	if (rc == RF_AGAIN)
		return 0;
	if (rc)
		return session_lane_failed(st->s, lane, rc);
	if (seen.writes)
		count_done(st, lane, seen.writes);
	return 1;
}

static bool all_done(const struct stream *st)
{
	for (unsigned i = 0; i < st->s->engine->lanes; i++)
		if (st->done[i] < st->quota)
			return false;
	return true;
}

/* The time is up: what was posted is all there will be. */
static void stop_posting(struct stream *st)
{
	st->deadline = 0;
	st->quota = 0;
	for (unsigned i = 0; i < st->s->engine->lanes; i++)
		if (st->quota < st->posted[i])
			st->quota = st->posted[i];
}

/* Posts and reaps until every lane has its quota. */
static int stream_all(struct stream *st)
{
	struct session *s = st->s;
	int rc;

	while (!all_done(st)) {
		bool moved = false;

		for (unsigned i = 0; i < s->engine->lanes; i++) {
			rc = post(st, i);
			if (rc < 0)
				return session_lane_failed(s, i, rc);
			moved |= rc > 0;
			rc = reap(st, i);
			if (rc < 0)
				return -1;
			moved |= rc > 0;
		}
		if (st->deadline && rf_now_ns(&rf_clock_monotonic) > st->deadline)
			stop_posting(st);
		rc = moved ? 0 : session_idle(s);
		if (rc)
			return rc < 0 ? -1 : session_interrupted(s);
	}
	return 0;
}

/* A fence on every lane, then the server's word that it has seen them. */
static int end_run(struct stream *st, uint64_t number, uint64_t *server_cpu)
{
	struct session *s = st->s;
	struct engine *e = s->engine;
	unsigned fenced = 0;
	struct msg m;
	int rc = 0;

	while (!rc) {
		bool moved = false;

		if (fenced < e->lanes) {
			rc = e->ops->fence(e, fenced, number);
			if (rc != RF_OK && rc != RF_NO_RESOURCE)
				return session_lane_failed(s, fenced, rc);
			moved = rc == RF_OK;
			fenced += moved;
		}
		for (unsigned i = 0; i < e->lanes; i++) {
			rc = reap(st, i);
			if (rc < 0)
				return -1;
			moved |= rc > 0;
		}
		rc = moved ? 0 : session_idle(s);
	}
	if (rc < 0 || msg_recv(s->peer.fd, &m, MSG_DONE, PEER_TIMEOUT))
		return -1;
	*server_cpu = msg_get_u64(&m);
	return msg_end(&m) ? 0 : session_nonsense();
}

static void fill_row(const struct stream *st, struct row *row, uint64_t start, uint64_t n)
{
	double seconds = (double)(st->last - start) / 1e9;
	double mib = (double)st->size / (1 << 20);

	row->iters = n;
	row->value[PEAK] = peak_rate(&st->peak) * mib;
	row->value[AVERAGE] = (double)n * mib / seconds;
	row->value[RATE] = (double)n / seconds / 1e6;
	/* over a short run the window's edges may look better than all of it */
	if (row->value[PEAK] < row->value[AVERAGE])
		row->value[PEAK] = row->value[AVERAGE];
}

static int measure(struct stream *st, const struct run *r, struct row *row)
{
	uint64_t warm = st->s->depth, start, cpu, server_cpu = 0, n;
	double gb;

	/* a window full first: page faults, growing buffers, slow starts */
	st->quota = warm;
	peak_init(&st->peak);
	if (stream_all(st))
		return -1;
	n = st->done_in_all;
	peak_init(&st->peak);
	start = rf_now_ns(&rf_clock_monotonic);
	cpu = session_cpu(st->s);
	st->quota = r->iters ? warm + r->iters : UINT64_MAX;
	st->deadline = r->duration ? start + r->duration * RF_NS_PER_MS : 0;
	if (stream_all(st))
		return -1;
	cpu = session_cpu(st->s) - cpu;
	n = st->done_in_all - n;
	fill_row(st, row, start, n);
	if (end_run(st, r->number, &server_cpu))
		return -1;
	gb = (double)st->size / 1e9;
	row->value[CPU_CLIENT] = (double)cpu / 1e9 / (gb * (double)n);
	/* its share of the warm-up is in its time and in its bytes */
	row->value[CPU_SERVER] = (double)server_cpu / 1e9 / (gb * (double)st->done_in_all);
	return 0;
}

static int client(struct session *s, const struct run *r, struct row *row)
{
	struct stream *st = calloc(1, sizeof(*st));
	int rc;

	if (!st)
		return say_error("out of memory");
	st->s = s;
	st->size = (uint32_t)r->size;
	st->slots = s->lane_bytes / r->size;
	st->list = session_post_list(s);
	if (s->opts.want.verify)
		verify_fill(s, r);
	rc = measure(st, r, row);
	if (!rc && s->opts.want.verify)
		rc = verify_client(s, r, st->posted, st->slots, row);
	free(st);
	return rc;
}

/* Until all fences of this run are there: whatever the lanes need from this side. */
static int watch(struct session *s, const struct run *r)
{
	struct engine *e = s->engine;
	unsigned fences = 0;

	while (fences < e->lanes) {
		bool moved = false;
		int rc;

		for (unsigned i = 0; i < e->lanes; i++) {
			struct engine_seen seen = {0};

			rc = e->ops->poll(e, i, &seen);
			if (rc < 0 && rc != RF_AGAIN)
				return session_lane_failed(s, i, rc);
			if (seen.fences && seen.fence != r->number)
				return say_error("lane %u: the fence of another run", i);
			fences += (unsigned)seen.fences;
			moved |= rc == RF_OK;
		}
		rc = moved ? 0 : session_idle(s);
		if (rc)
			return rc < 0 ? -1 : session_interrupted(s);
	}
	return 0;
}

static int server(struct session *s, const struct run *r)
{
	uint64_t cpu;
	struct msg m;

	if (s->opts.want.verify)
		memset(s->dst, 0, s->bytes);
	msg_init(&m, MSG_GO);
	cpu = session_cpu(s);
	if (msg_send(s->peer.fd, &m) || watch(s, r))
		return -1;
	msg_init(&m, MSG_DONE);
	msg_put_u64(&m, session_cpu(s) - cpu);
	if (msg_send(s->peer.fd, &m))
		return -1;
	return s->opts.want.verify ? verify_server(s) : 0;
}

int main(int argc, char **argv)
{
	static const struct bench_kind kind = {
		.name = "rf_write_bw",
		.title = "ramferry RDMA_Write BW Test",
		.purpose = "Bandwidth of writes into the memory of the other side.",
		.table = table,
		.columns = columns,
		.lane_kind = RF_LANE_BULK,
		.client = client,
		.server = server,
	};

	return bench_main(&kind, argc, argv);
}
