/* SPDX-License-Identifier: BSD-3-Clause */
/* The side that is written to; it does what the client asks for. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "bench/device.h"
#include "bench/say.h"
#include "bench/session.h"

/* Does this server's command line agree with the client's? */
static int check_params(struct session *s, const struct bench_params *theirs)
{
	const struct bench_opts *o = &s->opts;
	const char *colon = strchr(s->rung, ':');
	size_t name = colon ? (size_t)(colon - s->rung) : strlen(s->rung);
	char texts[2][32];
	const char *option;

	option = options_conflict(s->kind->table, &o->want, theirs, texts);
	if (option)
		return say_error("--%s differs: %s at the server, %s at the client", option,
				 texts[0], texts[1]);
	if (strcmp(o->transport, "auto") &&
	    (strlen(o->transport) != name || memcmp(o->transport, s->rung, name) != 0))
		return say_error("--transport differs: %s at the server, %s at the client",
				 o->transport, s->rung);
	if (o->provider && (!colon || strcmp(o->provider, colon + 1)))
		return say_error("--provider differs: %s at the server, %s at the client",
				 o->provider, s->rung);
	return 0;
}

static int receive_params(struct session *s)
{
	struct bench_params theirs = s->opts.want;
	struct msg m;

	if (msg_recv(s->peer.fd, &m, MSG_PARAMS, PEER_TIMEOUT))
		return -1;
	msg_get_text(&m, s->rung, sizeof(s->rung));
	options_get(s->kind->table, &theirs, &m);
	if (!msg_end(&m))
		return session_nonsense();
	if (check_params(s, &theirs))
		return -1;
	s->opts.want = theirs;
	return 0;
}

static int offer(struct session *s, uint8_t token[RF_TOKEN_SIZE])
{
	struct engine *e = s->engine;
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	struct rf_remote_key key;
	uint32_t len = 0;
	struct msg m;
	int err;

	if (getrandom(token, RF_TOKEN_SIZE, 0) != RF_TOKEN_SIZE)
		return say_error("getrandom: %s", strerror(errno));
	err = e->ops->listen(e, addr, &len);
	if (err)
		return say_code(err, "cannot listen for lanes with %s", s->rung);
	if (session_add_memory(s, &s->dst, &key) ||
	    (s->kind->both_ways && session_add_memory(s, &s->src, NULL)))
		return -1;
	msg_init(&m, MSG_OFFER);
	msg_put_bytes(&m, addr, len);
	msg_put_bytes(&m, token, RF_TOKEN_SIZE);
	session_put_key(&m, &key);
	msg_put_u64(&m, e->caps.depth);
	msg_put_u64(&m, e->caps.max_write);
	return msg_send(s->peer.fd, &m);
}

static int accept_lanes(struct session *s, const uint8_t token[RF_TOKEN_SIZE])
{
	struct engine *e = s->engine;
	struct msg m;
	int err;

	if (msg_recv(s->peer.fd, &m, MSG_KEYS, PEER_TIMEOUT))
		return -1;
	session_get_key(&m, &e->peer);
	if (!msg_end(&m))
		return session_nonsense();
	/* The client is silent until it hears of this, unless it fails. */
	err = e->ops->accept(e, token, PEER_TIMEOUT, s->peer.fd);
	if (err == RF_ERR_CANCELLED)
		return session_interrupted(s);
	if (err)
		return say_code(err, "waiting for the client's lanes over %s", s->rung);
	msg_init(&m, MSG_UP);
	return msg_send(s->peer.fd, &m);
}

static int start(struct session *s)
{
	uint8_t token[RF_TOKEN_SIZE];

	if (device_resolve(&s->opts) || receive_params(s) || session_open(s) || offer(s, token))
		return -1;
	return accept_lanes(s, token);
}

/* 1: there are no more */
static int receive_run(struct session *s, struct run *r)
{
	struct msg m;

	if (msg_recv(s->peer.fd, &m, MSG_RUN, -1))
		return -1;
	r->number = msg_get_u64(&m);
	r->variant = (unsigned)msg_get_u64(&m);
	r->turn = (unsigned)msg_get_u64(&m);
	r->last = msg_get_u64(&m) != 0;
	r->size = msg_get_u64(&m);
	r->iters = msg_get_u64(&m);
	r->duration = msg_get_u64(&m);
	if (!msg_end(&m) || (!s->kind->own_memory && r->size > s->lane_bytes))
		return session_nonsense();
	return r->size == 0;
}

static int serve(struct session *s)
{
	struct run r;
	struct row row = {0};
	struct msg m;
	int rc;

	while (!(rc = receive_run(s, &r))) {
		if (s->kind->server(s, &r))
			return -1;
		if (!r.last)
			continue;
		if (msg_recv(s->peer.fd, &m, MSG_ROW, PEER_TIMEOUT))
			return -1;
		if (report_get(&s->report, &row, &m))
			return session_nonsense();
		report_row(&s->report, &row);
	}
	return rc < 0 ? rc : 0;
}

int session_server(struct session *s)
{
	int rc = start(s);

	if (!rc) {
		report_begin(&s->report, s);
		rc = serve(s);
		report_end(&s->report, rc == 0);
	}
	return session_finish(s, rc);
}
