/* SPDX-License-Identifier: BSD-3-Clause */
/* What client and server have in common. */
#include "bench/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench/say.h"

#define MIN_LANE_BYTES 4096 /* small messages go one behind the other, as in perftest */
#define MAX_LIST       16
#define LOOK_EVERY     (1u << 16) /* idle polls between two looks at the TCP connection */

uint64_t session_cpu(const struct session *s)
{
	struct timespec t;

	clock_gettime(s->hub ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t session_post_list(const struct session *s)
{
	uint64_t n = s->opts.want.post_list;

	/* Several to a window, or it runs empty before the last of a list tells that it is done;
	 * the scheduler's batches are no longer either. */
	if (!n)
		n = s->depth / 4 < MAX_LIST ? s->depth / 4 : MAX_LIST;
	return n ? n : 1;
}

int session_lane_failed(struct session *s, unsigned lane, int err)
{
	return say_code(err, "%s", s->engine->ops->why(s->engine, lane));
}

int session_idle(struct session *s)
{
	struct engine *e = s->engine;
	struct pollfd p[BENCH_MAX_LANES + 1] = {{.fd = s->peer.fd, .events = POLLIN}};
	int rc;

	if (!s->sleeps) {
		if (++s->idle % LOOK_EVERY)
			return 0;
		return poll(p, 1, 0) > 0;
	}
	for (unsigned i = 0; i < e->lanes; i++) {
		rc = e->ops->arm(e, i);
		if (rc == RF_AGAIN)
			return 0;
		if (rc)
			return session_lane_failed(s, i, rc);
		p[i + 1] = (struct pollfd){.fd = e->ops->fd(e, i), .events = POLLIN};
	}
	return poll(p, e->lanes + 1, 100) > 0 && p[0].revents;
}

int session_interrupted(struct session *s)
{
	struct msg m;

	if (!msg_recv(s->peer.fd, &m, MSG_ERROR, PEER_TIMEOUT))
		session_nonsense();
	return -1;
}

int session_nonsense(void)
{
	return say_error("the peer sent what this version does not understand");
}

struct engine_cfg session_engine_cfg(const struct session *s)
{
	return (struct engine_cfg){
		.rung = s->rung,
		.local_host = s->opts.local ? s->opts.local : s->peer.local_host,
		.peer_host = s->server ? NULL : s->peer.peer_host,
		.hub = s->hub,
		.link_timeout = (uint32_t)s->opts.link_timeout,
		.odp = s->opts.odp,
		.kind = s->kind->lane_kind,
		.lanes = (unsigned)s->opts.want.lanes,
		.sleeps = s->opts.event,
		.transmit = !strcmp(s->opts.raw_completion, "transmit"),
	};
}

int session_open(struct session *s)
{
	const struct bench_params *w = &s->opts.want;
	const struct engine_cfg cfg = session_engine_cfg(s);
	const struct engine_ops *ops = w->raw ? &engine_raw_ofi : &engine_lanes;
	uint64_t largest = s->kind->own_memory ? 0 : w->all ? BENCH_MAX_SIZE : w->size;
	int err = ops->open(&cfg, &s->engine);

	if (err)
		return say_code(err, "cannot use %s%s", w->raw ? "raw " : "", s->rung);
	s->max_write = s->engine->caps.max_write;
	s->depth = w->depth < s->engine->caps.depth ? w->depth : s->engine->caps.depth;
	s->sleeps = s->opts.event || !s->engine->caps.spin;
	if (!w->all && largest > s->max_write)
		return say_error("--size: %s writes at most %llu bytes at once", s->rung,
				 (unsigned long long)s->max_write);
	if (s->kind->lane_kind == RF_LANE_URGENT && !s->engine->caps.imm_bytes)
		return say_error("%s has no writes with immediate data", s->rung);
	s->lane_bytes = w->memory > largest && !s->kind->own_memory ? w->memory : largest;
	if (s->lane_bytes < MIN_LANE_BYTES)
		s->lane_bytes = MIN_LANE_BYTES;
	s->bytes = s->lane_bytes * w->lanes;
	return 0;
}

int session_add_memory(struct session *s, uint8_t **p, struct rf_remote_key *key)
{
	/* shared, as guest memory is */
	void *m = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int err;

	if (m == MAP_FAILED)
		return say_error("%llu bytes of memory: %s", (unsigned long long)s->bytes,
				 strerror(errno));
	*p = m;
	err = s->engine->ops->add_memory(s->engine, *p, s->bytes, key);
	return err ? say_code(err, "registering %llu bytes", (unsigned long long)s->bytes) : 0;
}

void session_put_key(struct msg *m, const struct rf_remote_key *key)
{
	msg_put_u64(m, key->base);
	for (unsigned k = 0; k < RF_LANE_KINDS; k++)
		msg_put_u64(m, key->key[k]);
}

void session_get_key(struct msg *m, struct rf_remote_key *key)
{
	key->base = msg_get_u64(m);
	for (unsigned k = 0; k < RF_LANE_KINDS; k++)
		key->key[k] = msg_get_u64(m);
}

int session_finish(struct session *s, int rc)
{
	if (rc)
		msg_send_error(s->peer.fd, say_last());
	if (s->engine)
		s->engine->ops->close(s->engine);
	if (s->src)
		munmap(s->src, s->bytes);
	if (s->dst)
		munmap(s->dst, s->bytes);
	peer_close(&s->peer);
	if (!rc)
		free(s->kept); /* otherwise threads that hang may use it */
	return rc;
}
