/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rf_urgent_lat: how long a touch of memory that is not there yet takes in postcopy, from the
 * touch to its return. The server is the destination, on which the guest runs; the client is the
 * source. Each size is measured in several cases, one after the other in the same run:
 *
 *   floor   the bare path: floor.h
 *   idle    a migration by postcopy that pushes nothing
 *   bulk    the same while the rest of the guest is pushed as fast as it goes
 *   off     the same with the urgent window switched off
 *
 * The cases take turns, so that a host that is now busy and then not treats them alike.
 *
 * Times come from a histogram: minimum, maximum, average and deviation are exact, the others at
 * most 1/16 too high.
 */
#include <math.h>
#include <stdlib.h>

#include "bench/floor.h"
#include "bench/moving.h"
#include "bench/say.h"
#include "bench/start.h"
#include "bench/toucher.h"

enum { FLOOR, IDLE, BULK, OFF, VARIANTS };
static const char *const variants[] = {
	[FLOOR] = "floor", [IDLE] = "idle", [BULK] = "bulk", [OFF] = "off", NULL,
};
static const uint64_t sizes[] = {4096, 2u << 20, 0};

/* clang-format off */
static const struct rf_opt table[] = {
	LINK_ROWS,
	RF_OPT_GROUP("Measurement (the client's count; a server told otherwise refuses)"),
	RF_OPT_SIZE(struct bench_opts, want.size, "size", 's', "SIZE", "4K",
		"bytes of a host page: 4K or 2M"),
	RF_OPT_BOOL(struct bench_opts, want.all, "all", 'a', "no", "both sizes"),
	RF_OPT_UINT(struct bench_opts, want.iters, "iters", 'n', "N", "1000",
		"faults that count, in each case, at least", .min = 1, .max = 1ull << 32),
	RF_OPT_UINT(struct bench_opts, want.turns, "turns", 0, "N", "5",
		"parts each case is cut into; the cases take turns, as the host may change",
		.min = 1, .max = 1000),
	RF_OPT_UINT(struct bench_opts, want.fault_threads, "fault-threads", 0, "N", "1",
		"guest threads that touch pages", .min = 1, .max = TOUCHER_MAX),
	RF_OPT_UINT(struct bench_opts, want.gap, "gap", 0, "US", "0",
		"microseconds between two touches of a thread", .max = 10000000),
	RF_OPT_UINT(struct bench_opts, want.urgent_lanes, "urgent-lanes", 0, "N", "1",
		"lanes for page requests", .min = 1, .max = RF_WIRE_MAX_LANES),
	RF_OPT_SIZE(struct bench_opts, want.urgent_window, "urgent-window", 0, "SIZE", "64K",
		"case bulk: bytes in flight beside open requests; 0: none", .max = UINT32_MAX),
	RF_OPT_SIZE(struct bench_opts, want.bulk, "bulk", 0, "SIZE", "256M",
		"memory that is pushed beside the faults of one migration",
		.min = 1u << 20, .max = 1ull << 40),
	RF_OPT_UINT(struct bench_opts, bulk_lanes, "bulk-lanes", 0, "N", "1",
		"lanes it is pushed on", .min = 1, .max = RF_WIRE_MAX_LANES),
	RF_OPT_SIZE(struct bench_opts, want.memory, "memory", 'm', "SIZE", "64M",
		"most memory that is touched in one migration; then there is another",
		.min = 1u << 20, .max = 1ull << 36),
	RF_OPT_BOOL(struct bench_opts, want.floor, "floor", 0, "no",
		"measure the bare path too: same lane and userfaultfd, no scheduler"),
	RF_OPT_BOOL(struct bench_opts, want.window_off, "window-off", 0, "no",
		"measure bulk with the window switched off too"),
	RF_OPT_CHOICE(struct bench_opts, poll_mode, "poll-mode", 0, "adaptive|busy|event",
		"adaptive", "how the threads that serve lanes wait, on this side"),
	OUTPUT_ROWS,
	RF_OPT_END,
};
/* clang-format on */

enum {
	MIN,
	MAX,
	TYPICAL,
	AVERAGE,
	STDEV,
	P99,
	P999,
	REQUEST,
	WIRE,
	PLACE,
	OTHER,
	PUSHED,
	TO_FLOOR,
	TO_IDLE,
};
static const struct column columns[] = {
	[MIN] = {"t_min[usec]", "t-min", 2},
	[MAX] = {"t_max[usec]", "t-max", 2},
	[TYPICAL] = {"t_typical[usec]", "t-typical", 2},
	[AVERAGE] = {"t_avg[usec]", "t-avg", 2},
	[STDEV] = {"t_stdev[usec]", "t-stdev", 2},
	[P99] = {"99% percentile[usec]", "t-p99", 2},
	[P999] = {"99.9% percentile[usec]", "t-p99.9", 2},
	[REQUEST] = {"request", "part-request", 2},
	[WIRE] = {"wire", "part-wire", 2},
	[PLACE] = {"place", "part-place", 2},
	[OTHER] = {"wake-ups", "part-wake-ups", 2},
	[PUSHED] = {"bulk[MB/sec]", "bulk", 1},
	[TO_FLOOR] = {"/floor", "to-floor", 2},
	[TO_IDLE] = {"/idle", "to-idle", 2},
	{0},
};

static bool wants(const struct bench_params *p, unsigned variant)
{
	return variant == FLOOR ? p->floor : variant == OFF ? p->window_off : true;
}

static const char *refuses(const struct bench_opts *o)
{
	if (o->want.size != sizes[0] && o->want.size != sizes[1])
		return "--size is 4K or 2M";
	return NULL;
}

static enum moving_bulk bulk_of(unsigned variant)
{
	return variant == IDLE ? MOVING_IDLE : variant == BULK ? MOVING_PUSH : MOVING_FLOOD;
}

static void fill_row(struct row *row, const struct rf_histogram *h, const struct moving_seen *seen)
{
	const double us = 1 / 1000.0, mib = 1 << 20;
	/* without a migration there are no parts */
	double n = seen->requests ? (double)seen->requests : NAN;
	double s = seen->ns ? (double)seen->ns / 1e9 : NAN;
	double *v = row->value;

	row->iters = h->n;
	row->verified = true; /* each touch looked at what it found */
	v[MIN] = (double)h->min * us;
	v[MAX] = (double)h->max * us;
	v[TYPICAL] = (double)rf_histogram_percentile(h, 50) * us;
	v[AVERAGE] = rf_histogram_mean(h) * us;
	v[STDEV] = rf_histogram_stdev(h) * us;
	v[P99] = (double)rf_histogram_percentile(h, 99) * us;
	v[P999] = (double)rf_histogram_percentile(h, 99.9) * us;
	v[REQUEST] = seen->request / n;
	v[WIRE] = seen->wire / n;
	v[PLACE] = seen->place / n;
	v[OTHER] = v[AVERAGE] - v[REQUEST] - v[WIRE] - v[PLACE];
	v[PUSHED] = (double)seen->pages * RF_PAGE_SIZE / mib / s;
	v[TO_FLOOR] = v[TO_IDLE] = NAN;
}

/* A case between its turns. */
struct measured {
	struct rf_histogram h; /* ns */
	struct moving_seen seen;
};

static int server(struct session *s, const struct run *r)
{
	struct measured *all = s->kept, *one;
	struct row row = {.bytes = r->size, .variant = r->variant};
	struct msg m;
	int rc;

	if (!all)
		all = s->kept = calloc(VARIANTS, sizeof(*all));
	if (!all)
		return say_error("out of memory");
	if (r->variant >= VARIANTS)
		return session_nonsense();
	one = &all[r->variant];
	if (!r->turn) {
		one->seen = (struct moving_seen){0};
		rf_histogram_init(&one->h);
	}
	msg_init(&m, MSG_GO);
	if (msg_send(s->peer.fd, &m))
		return -1;
	rc = r->variant == FLOOR ? floor_server(s, r, &one->h)
				 : moving_server(s, r, bulk_of(r->variant), &one->h, &one->seen);
	if (rc)
		return -1;
	fill_row(&row, &one->h, &one->seen);
	msg_init(&m, MSG_DONE);
	report_put(&s->report, &row, &m);
	return msg_send(s->peer.fd, &m);
}

static int client(struct session *s, const struct run *r, struct row *row)
{
	double *base = s->baseline;
	struct msg m;

	if (r->variant == FLOOR ? floor_client(s, r) : moving_client(s, r, bulk_of(r->variant)))
		return -1;
	if (msg_recv(s->peer.fd, &m, MSG_DONE, PEER_TIMEOUT))
		return -1;
	if (report_get(&s->report, row, &m))
		return session_nonsense();
	base[r->variant] = row->value[TYPICAL];
	if (r->variant != FLOOR && base[FLOOR] > 0)
		row->value[TO_FLOOR] = base[r->variant] / base[FLOOR];
	if (r->variant > IDLE && base[IDLE] > 0)
		row->value[TO_IDLE] = base[r->variant] / base[IDLE];
	return 0;
}

int main(int argc, char **argv)
{
	static const struct bench_kind kind = {
		.name = "rf_urgent_lat",
		.title = "ramferry Page Fault Latency Test",
		.purpose = "How long touching a page takes that is still at the other side.",
		.table = table,
		.columns = columns,
		.lane_kind = RF_LANE_URGENT,
		.own_memory = true,
		.sizes = sizes,
		.variants = variants,
		.wants = wants,
		.refuses = refuses,
		.client = client,
		.server = server,
	};

	return bench_main(&kind, argc, argv);
}
