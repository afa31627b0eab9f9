/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry's lanes, through the front door. */
#include "bench/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct lanes {
	struct engine base;
	enum rf_lane_kind kind;
	struct rf_transport *t;
	struct rf_mr *src_mr, *dst_mr;
	struct rf_lane *lane[BENCH_MAX_LANES];
};

static struct lanes *lanes_of(struct engine *e)
{
	return (struct lanes *)e;
}

static int open_lanes(const struct engine_cfg *cfg, struct engine **out)
{
	struct rf_transport_cfg t = {
		.local_host = cfg->local_host,
		.peer_host = cfg->peer_host,
		.link_timeout = cfg->link_timeout,
		.max_lanes = cfg->lanes,
		.odp = cfg->odp,
		.hub = cfg->hub,
	};
	struct lanes *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return RF_ERR_NO_MEMORY;
	err = rf_transport_open(cfg->rung, &t, &l->t);
	if (err) {
		free(l);
		return err;
	}
	l->base.ops = &engine_lanes;
	l->base.caps = *rf_transport_caps(l->t);
	l->base.lanes = cfg->lanes;
	l->kind = cfg->kind;
	snprintf(l->base.provider, sizeof(l->base.provider), "%s", rf_transport_provider(l->t));
	*out = &l->base;
	return RF_OK;
}

static void close_lanes(struct engine *e)
{
	struct lanes *l = lanes_of(e);

	for (unsigned i = 0; i < BENCH_MAX_LANES; i++)
		rf_lane_close(&l->lane[i]);
	rf_mr_deregister(&l->src_mr);
	rf_mr_deregister(&l->dst_mr);
	rf_transport_close(&l->t);
	free(l);
}

static int listen_lanes(struct engine *e, uint8_t *addr, uint32_t *len)
{
	return rf_transport_listen(lanes_of(e)->t, addr, len);
}

static int accept_lanes(struct engine *e, const uint8_t *token, uint32_t timeout, int cancel_fd)
{
	struct lanes *l = lanes_of(e);
	struct rf_lane *lane;
	unsigned i;
	int err;

	for (unsigned n = 0; n < e->lanes; n++) {
		err = rf_transport_accept(l->t, token, timeout, cancel_fd, &lane);
		if (err)
			return err;
		i = rf_lane_index(lane);
		if (rf_lane_kind(lane) != l->kind || i >= e->lanes || l->lane[i]) {
			rf_err_log("bench", "lane %s came, which is none of the %u asked for",
				   rf_lane_name(lane), e->lanes);
			rf_lane_close(&lane);
			return RF_ERR_PROTOCOL;
		}
		l->lane[i] = lane;
	}
	return RF_OK;
}

static int connect_lanes(struct engine *e, const uint8_t *addr, uint32_t len, const uint8_t *token,
			 uint32_t timeout)
{
	struct lanes *l = lanes_of(e);
	struct rf_wire_lane id = {.kind = (uint8_t)l->kind};
	int err = RF_OK;

	memcpy(id.token, token, RF_TOKEN_SIZE);
	for (unsigned i = 0; i < e->lanes && !err; i++) {
		id.index = (uint16_t)i;
		err = rf_transport_connect(l->t, addr, len, &id, timeout, -1, &l->lane[i]);
	}
	return err;
}

static int add_memory(struct engine *e, void *p, size_t len, struct rf_remote_key *key)
{
	struct lanes *l = lanes_of(e);
	int err;

	if (!key) {
		e->src = p;
		return rf_mr_register(l->t, p, len, RF_ACCESS_LOCAL_READ, &l->src_mr);
	}
	err = rf_mr_register(l->t, p, len, RF_ACCESS_REMOTE_WRITE, &l->dst_mr);
	if (!err)
		rf_mr_key(l->dst_mr, key);
	return err;
}

static struct rf_write write_of(const struct lanes *l, uint64_t off, uint32_t len)
{
	return (struct rf_write){
		.src = l->base.src + off,
		.src_mr = l->src_mr,
		.dst = &l->base.peer,
		.dst_off = off,
		.len = len,
	};
}

static int write_lane(struct engine *e, unsigned lane, const uint64_t *off, unsigned n,
		      uint32_t len)
{
	const struct lanes *l = lanes_of(e);
	struct rf_write w[BENCH_MAX_LIST];

	for (unsigned i = 0; i < n; i++)
		w[i] = write_of(l, off[i], len);
	return rf_lane_write(l->lane[lane], w, n);
}

static int write_imm(struct engine *e, unsigned lane, uint64_t off, uint32_t len, uint32_t imm)
{
	const struct lanes *l = lanes_of(e);
	struct rf_write w = write_of(l, off, len);

	return rf_lane_write_imm(l->lane[lane], &w, imm);
}

static int fence(struct engine *e, unsigned lane, uint64_t value)
{
	return rf_lane_fence(lanes_of(e)->lane[lane], value);
}

static int poll_lane(struct engine *e, unsigned lane, struct engine_seen *seen)
{
	struct rf_completion c[16];
	int n = rf_lane_poll(lanes_of(e)->lane[lane], c, sizeof(c) / sizeof(*c));

	if (n <= 0)
		return n ? n : RF_AGAIN;
	for (int i = 0; i < n; i++) {
		if (c[i].op == RF_OP_WRITE) {
			seen->writes += c[i].count;
		} else if (c[i].op == RF_OP_IMM) {
			seen->imms += c[i].count;
			seen->imm = c[i].value;
		} else if (c[i].op == RF_OP_FENCE_SEEN) {
			seen->fences += c[i].count;
			seen->fence = c[i].value;
		}
	}
	return RF_OK;
}

static int arm(struct engine *e, unsigned lane)
{
	return rf_lane_arm(lanes_of(e)->lane[lane]);
}

static int fd_of(struct engine *e, unsigned lane)
{
	return rf_lane_fd(lanes_of(e)->lane[lane]);
}

static const char *why(struct engine *e, unsigned lane)
{
	return rf_lane_error(lanes_of(e)->lane[lane]);
}

struct rf_transport *engine_transport(struct engine *e)
{
	return lanes_of(e)->t;
}

struct rf_lane *engine_lane(struct engine *e, unsigned lane)
{
	return lanes_of(e)->lane[lane];
}

const struct engine_ops engine_lanes = {
	.open = open_lanes,
	.close = close_lanes,
	.listen = listen_lanes,
	.accept = accept_lanes,
	.connect = connect_lanes,
	.add_memory = add_memory,
	.write = write_lane,
	.write_imm = write_imm,
	.fence = fence,
	.poll = poll_lane,
	.arm = arm,
	.fd = fd_of,
	.why = why,
};
