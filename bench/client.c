/* SPDX-License-Identifier: BSD-3-Clause */
/* The side that decides what is measured, and measures. */
#include <string.h>

#include "bench/device.h"
#include "bench/say.h"
#include "bench/session.h"

static int choose_rung(struct session *s)
{
	char rungs[RF_WIRE_MAX_RUNGS][RF_WIRE_RUNG_SIZE];
	const struct bench_opts *o = &s->opts;
	const char *transport = o->transport;
	int n;

	/* a plain loop is there for libfabric only, and so are providers */
	if (o->want.raw || o->provider)
		transport = "ofi";
	n = rf_transport_rungs(transport, o->provider, rungs, RF_WIRE_MAX_RUNGS);
	if (n < 0)
		return say_code(n, "no transport");
	memcpy(s->rung, rungs[0], sizeof(s->rung));
	return 0;
}

static int send_params(struct session *s)
{
	struct msg m;

	msg_init(&m, MSG_PARAMS);
	msg_put_bytes(&m, s->rung, (uint32_t)strlen(s->rung));
	options_put(s->kind->table, &s->opts.want, &m);
	return msg_send(s->peer.fd, &m);
}

static int connect_lanes(struct session *s)
{
	struct engine *e = s->engine;
	uint8_t addr[RF_WIRE_ADDR_SIZE], token[RF_TOKEN_SIZE];
	struct rf_remote_key key = {0};
	uint64_t depth, max_write;
	uint32_t len;
	struct msg m;
	int err;

	if (msg_recv(s->peer.fd, &m, MSG_OFFER, PEER_TIMEOUT))
		return -1;
	len = msg_get_bytes(&m, addr, sizeof(addr));
	m.bad |= msg_get_bytes(&m, token, sizeof(token)) != sizeof(token);
	session_get_key(&m, &e->peer);
	depth = msg_get_u64(&m);
	max_write = msg_get_u64(&m);
	if (!msg_end(&m) || !depth)
		return session_nonsense();
	s->depth = depth < s->depth ? depth : s->depth;
	s->max_write = max_write < s->max_write ? max_write : s->max_write;
	if (session_add_memory(s, &s->src, NULL) ||
	    (s->kind->both_ways && session_add_memory(s, &s->dst, &key)))
		return -1;
	msg_init(&m, MSG_KEYS);
	session_put_key(&m, &key);
	if (msg_send(s->peer.fd, &m))
		return -1;
	err = e->ops->connect(e, addr, len, token, PEER_TIMEOUT);
	if (err)
		return say_code(err, "cannot connect the lanes to %s over %s", s->peer.peer_host,
				s->rung);
	return msg_recv(s->peer.fd, &m, MSG_UP, PEER_TIMEOUT);
}

/* The next size, 0 at the end. */
static uint64_t next_size(const struct session *s, uint64_t size)
{
	const struct bench_params *w = &s->opts.want;
	const uint64_t *sizes = s->kind->sizes;

	if (!w->all)
		return size ? 0 : w->size;
	if (sizes && size)
		while (*sizes++ != size)
			;
	if (sizes)
		return *sizes;
	size = size ? size * 2 : 2;
	return size <= BENCH_MAX_SIZE && size <= s->max_write ? size : 0;
}

static int send_run(struct session *s, const struct run *r)
{
	struct msg m;

	msg_init(&m, MSG_RUN);
	msg_put_u64(&m, r->number);
	msg_put_u64(&m, r->variant);
	msg_put_u64(&m, r->turn);
	msg_put_u64(&m, r->last);
	msg_put_u64(&m, r->size);
	msg_put_u64(&m, r->iters);
	msg_put_u64(&m, r->duration);
	return msg_send(s->peer.fd, &m);
}

static int measure_one(struct session *s, const struct run *r)
{
	struct row row = {.bytes = r->size, .variant = r->variant};
	struct msg m;

	if (send_run(s, r) || msg_recv(s->peer.fd, &m, MSG_GO, -1) || s->kind->client(s, r, &row))
		return -1;
	if (!r->last)
		return 0;
	report_row(&s->report, &row);
	msg_init(&m, MSG_ROW);
	report_put(&s->report, &row, &m);
	return msg_send(s->peer.fd, &m);
}

/* One turn: every variant once. */
static int measure_variants(struct session *s, struct run *r)
{
	const struct bench_kind *k = s->kind;

	for (r->variant = 0; !r->variant || (k->variants && k->variants[r->variant]);
	     r->variant++) {
		if (k->wants && !k->wants(&s->opts.want, r->variant))
			continue;
		r->number++;
		if (measure_one(s, r))
			return -1;
	}
	return 0;
}

static int measure(struct session *s)
{
	const struct bench_params *w = &s->opts.want;
	uint64_t turns = w->turns ? w->turns : 1;
	struct run r = {.duration = w->duration};

	while ((r.size = next_size(s, r.size)) != 0) {
		memset(s->baseline, 0, sizeof(s->baseline));
		for (r.turn = 0; r.turn < turns; r.turn++) {
			r.iters = w->duration ? 0 : (w->iters * (r.turn + 1) + turns - 1) / turns;
			r.last = r.turn + 1 == turns;
			if (measure_variants(s, &r))
				return -1;
		}
	}
	r = (struct run){0};
	return send_run(s, &r);
}

int session_client(struct session *s)
{
	int rc = device_resolve(&s->opts) || choose_rung(s) || session_open(s) || send_params(s) ||
				 connect_lanes(s)
			 ? -1
			 : 0;

	if (!rc) {
		report_begin(&s->report, s);
		rc = measure(s);
		report_end(&s->report, rc == 0);
	}
	return session_finish(s, rc);
}
