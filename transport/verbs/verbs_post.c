/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Posting. Work requests go to the device as linked lists, one doorbell each; completions are
 * asked for now and then and for the last of each call, so that what a caller waits for is told.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "transport/verbs/verbs.h"

static uint32_t room(const struct rf_verbs_lane *l)
{
	return l->base.t->caps.depth - (uint32_t)(l->head - l->tail);
}

/* Fills in the slot of the i-th request to be posted; it counts only once it is posted. */
static struct rf_verbs_slot *next_slot(struct rf_verbs_lane *l, uint32_t i, enum rf_op op,
				       uint32_t bytes)
{
	struct rf_verbs_slot *s = &l->tx[(l->head + i) % l->base.t->caps.depth];

	*s = (struct rf_verbs_slot){.op = op, .bytes = bytes};
	return s;
}

/* Whether this request, the last of a call or not, asks for a completion. */
static unsigned signal_flag(struct rf_verbs_lane *l, uint32_t bytes, bool last)
{
	l->unsignalled++;
	l->unsignalled_bytes += bytes;
	if (!last && l->unsignalled < RF_VERBS_SIGNAL_EVERY &&
	    l->unsignalled_bytes < RF_VERBS_SIGNAL_BYTES)
		return 0;
	l->unsignalled = 0;
	l->unsignalled_bytes = 0;
	return IBV_SEND_SIGNALED;
}

/* Posts a list of n. RF_OK, RF_NO_RESOURCE, or the lane is dead. */
static int post(struct rf_verbs_lane *l, struct ibv_send_wr *first, uint32_t n)
{
	struct ibv_send_wr *bad = NULL;
	int rc = ibv_post_send(l->qp, first, &bad);

	if (!rc) {
		if (l->head == l->tail)
			l->quiet_since = 0;
		l->head += n;
		return RF_OK;
	}
	/* Full: our count says there is room, but some devices count otherwise. With something
	 * outstanding, whose last was signalled, there will be room. */
	if (rc == ENOMEM && bad == first && l->head != l->tail)
		return RF_NO_RESOURCE;
	rf_verbs_qp_stop(l);
	return rf_lane_fail(&l->base, RF_ERR_LANE, "posting to %s: %s", l->peer, strerror(rc));
}

static void write_request(struct rf_verbs_lane *l, const struct rf_write *w, struct ibv_send_wr *wr,
			  struct ibv_sge *sge, uint32_t i)
{
	*sge = (struct ibv_sge){
		.addr = (uintptr_t)w->src,
		.length = w->len,
		.lkey = rf_verbs_mr_lkey(w->src_mr),
	};
	*wr = (struct ibv_send_wr){
		.wr_id = (uintptr_t)next_slot(l, i, RF_OP_WRITE, w->len),
		.sg_list = sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.wr.rdma =
			{
				.remote_addr = w->dst->base + w->dst_off,
				/* 32 bits; more, and it is the wrong key anyway */
				.rkey = (uint32_t)w->dst->key[l->base.kind],
			},
	};
}

/* Posts up to RF_VERBS_CHAIN writes for which there is room. */
static int post_writes(struct rf_verbs_lane *l, const struct rf_write *w, uint32_t n, bool last)
{
	struct ibv_send_wr wr[RF_VERBS_CHAIN];
	struct ibv_sge sge[RF_VERBS_CHAIN];
	uint64_t bytes = 0;
	int err;

	for (uint32_t i = 0; i < n; i++) {
		write_request(l, &w[i], &wr[i], &sge[i], i);
		wr[i].send_flags = signal_flag(l, w[i].len, last && i + 1 == n);
		wr[i].next = i + 1 < n ? &wr[i + 1] : NULL;
		bytes += w[i].len;
	}
	err = post(l, wr, n);
	if (!err)
		l->base.inflight += bytes;
	return err;
}

int rf_verbs_lane_write(struct rf_lane *lane, const struct rf_write *w, unsigned n)
{
	struct rf_verbs_lane *l = rf_verbs_lane(lane);
	uint32_t todo = room(l), done = 0;
	int err;

	if (!todo)
		return RF_NO_RESOURCE;
	if (n < todo)
		todo = n;
	while (done < todo) {
		uint32_t some = todo - done < RF_VERBS_CHAIN ? todo - done : RF_VERBS_CHAIN;

		err = post_writes(l, w + done, some, done + some == todo);
		if (err)
			return done && !l->base.error ? (int)done : err;
		done += some;
	}
	return (int)done;
}

int rf_verbs_lane_write_imm(struct rf_lane *lane, const struct rf_write *w, uint32_t imm)
{
	struct rf_verbs_lane *l = rf_verbs_lane(lane);
	struct ibv_send_wr wr;
	struct ibv_sge sge;
	int err;

	if (!room(l))
		return RF_NO_RESOURCE;
	write_request(l, w, &wr, &sge, 0);
	wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	wr.imm_data = htobe32(imm);
	wr.send_flags = signal_flag(l, w->len, true);
	err = post(l, &wr, 1);
	if (!err)
		l->base.inflight += w->len;
	return err;
}

/* Posts a message: inline if it fits, else from a buffer that is taken until it completes. */
static int post_send(struct rf_verbs_lane *l, const void *data, uint32_t len)
{
	bool buffered = len > rf_verbs_of(l)->inline_size;
	struct rf_verbs_slot *s;
	struct ibv_sge sge = {.addr = (uintptr_t)data, .length = len};
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND};
	int err;

	if (!room(l) || (buffered && l->send_head - l->send_tail == RF_VERBS_SENDS))
		return RF_NO_RESOURCE;
	s = next_slot(l, 0, RF_OP_SEND, 0);
	wr.wr_id = (uintptr_t)s;
	wr.send_flags = signal_flag(l, len, true);
	if (buffered) {
		sge.addr = (uintptr_t)l->bufs + l->send_head % RF_VERBS_SENDS * RF_VERBS_MAX_MSG;
		sge.lkey = l->buf_mr->lkey;
		memcpy((void *)(uintptr_t)sge.addr, data, len);
		s->buffered = true;
	} else {
		wr.send_flags |= IBV_SEND_INLINE;
	}
	err = post(l, &wr, 1);
	if (!err)
		l->send_head += buffered;
	return err;
}

int rf_verbs_lane_send(struct rf_lane *lane, const void *data, uint32_t len)
{
	return post_send(rf_verbs_lane(lane), data, len);
}

/* A message behind the writes: an RC queue pair delivers in order, and what arrived before a
 * message is visible before it. */
int rf_verbs_lane_fence(struct rf_lane *lane, uint64_t value)
{
	uint8_t fence[RF_WIRE_FENCE_SIZE];

	rf_wire_put_fence(fence, value);
	return post_send(rf_verbs_lane(lane), fence, sizeof(fence));
}

int rf_verbs_post_recvs(struct rf_verbs_lane *l)
{
	struct ibv_recv_wr wr[RF_VERBS_RECVS], *bad;
	struct ibv_sge sge[RF_VERBS_RECVS];
	int rc;

	if (!l->nused)
		return RF_OK;
	for (unsigned i = 0; i < l->nused; i++) {
		struct rf_verbs_slot *s = l->used_rx[i];

		sge[i] = (struct ibv_sge){
			.addr = (uintptr_t)s->buf,
			.length = RF_VERBS_MAX_MSG,
			.lkey = l->buf_mr->lkey,
		};
		wr[i] = (struct ibv_recv_wr){
			.wr_id = (uintptr_t)s,
			.next = i + 1 < l->nused ? &wr[i + 1] : NULL,
			.sg_list = &sge[i],
			.num_sge = 1,
		};
	}
	rc = ibv_post_recv(l->qp, wr, &bad);
	if (rc)
		return rf_lane_fail(&l->base, RF_ERR_LANE, "posting receives: %s", strerror(rc));
	l->nused = 0;
	return RF_OK;
}
