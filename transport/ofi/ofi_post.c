/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Posting. Writes ask for FI_DELIVERY_COMPLETE: what is completed has landed, so bytes in flight
 * mean what the scheduler thinks they mean, and a write that is refused never completes.
 */
#include <string.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

static struct rf_ofi_slot *take_slot(struct rf_ofi_lane *l, enum rf_op op, uint32_t bytes)
{
	uint32_t window = rf_ofi_of(l)->window;
	struct rf_ofi_slot *s;

	if (!l->nfree || (window && l->posted && l->posted + bytes > window))
		return NULL;
	s = l->free_tx[--l->nfree];
	l->posted += bytes;
	s->op = op;
	s->bytes = bytes;
	s->ctl = s->done = false;
	return s;
}

/* A post did not go: full for now, or the end of the lane. Lock held. */
static int post_failed(struct rf_ofi_lane *l, struct rf_ofi_slot *s, const char *what, ssize_t rc)
{
	l->free_tx[l->nfree++] = s;
	l->posted -= s->bytes;
	if (rc == -FI_EAGAIN || rc == -FI_ENOMEM) {
		/* only reading the queue makes room; nothing is taken from it here */
		fi_cq_read(l->cq, NULL, 0);
		return RF_NO_RESOURCE;
	}
	/* The connection's end has better words, if it was noticed. */
	rf_ofi_poll_events(l);
	return rf_lane_fail(&l->base, rf_ofi_poll_map((int)-rc), "a %s to %s: %s", what,
			    l->peer_name, fi_strerror((int)-rc));
}

/* Enters the lane if it can take a post: RF_OK with the lock held, else an answer without. */
static int enter_to_post(struct rf_ofi_lane *l)
{
	rf_ofi_lane_enter(l);
	if (l->ended) {
		rf_ofi_lane_leave(l);
		return rf_lane_fail(&l->base, RF_ERR_LANE_CLOSED,
				    "ended because memory was deregistered here");
	}
	/* nothing may overtake a fence that waits for earlier writes */
	if (l->fence_waits || !l->nfree) {
		rf_ofi_lane_leave(l);
		return RF_NO_RESOURCE;
	}
	return RF_OK;
}

/* One write; bytes and slot are accounted on success. Lock held. */
static int post_write(struct rf_ofi_lane *l, const struct rf_write *w, uint64_t flags, uint64_t imm)
{
	struct rf_ofi_slot *s = take_slot(l, RF_OP_WRITE, w->len);
	struct iovec iov = {.iov_base = (void *)w->src, .iov_len = w->len};
	void *desc = rf_ofi_mr_desc(w->src_mr, l->base.kind);
	struct fi_rma_iov rma = {
		.addr = w->dst->base + w->dst_off,
		.len = w->len,
		.key = w->dst->key[l->base.kind],
	};
	struct fi_msg_rma msg = {
		.msg_iov = &iov,
		.desc = &desc,
		.iov_count = 1,
		.addr = l->peer,
		.rma_iov = &rma,
		.rma_iov_count = 1,
		.context = s,
		.data = imm,
	};
	ssize_t rc;

	if (!s)
		return RF_NO_RESOURCE;
	rc = fi_writemsg(l->ep, &msg, FI_COMPLETION | FI_DELIVERY_COMPLETE | flags);
	if (rc)
		return post_failed(l, s, "write", rc);
	l->order[l->order_head++ % RF_OFI_DEPTH] = s;
	l->writes++;
	l->base.inflight += w->len;
	l->quiet_since = 0;
	return RF_OK;
}

int rf_ofi_lane_write(struct rf_lane *lane, const struct rf_write *w, unsigned n)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	int err = enter_to_post(l);
	/* where a window may end the batch early, nothing may wait for the rest of it */
	uint64_t more = rf_ofi_of(l)->window ? 0 : FI_MORE;
	unsigned i;

	if (err)
		return err;
	if (n > l->nfree)
		n = l->nfree;
	for (i = 0; i < n && !err; i++)
		err = post_write(l, &w[i], i + 1 < n ? more : 0, 0);
	rf_ofi_lane_leave(l);
	if (!err)
		return (int)n;
	/* the last one did not go; those before it did */
	return i > 1 ? (int)i - 1 : err;
}

int rf_ofi_lane_write_imm(struct rf_lane *lane, const struct rf_write *w, uint32_t imm)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	int err = enter_to_post(l);

	if (err)
		return err;
	err = post_write(l, w, FI_REMOTE_CQ_DATA, imm);
	rf_ofi_lane_leave(l);
	return err;
}

static int post_send(struct rf_ofi_lane *l, const void *data, size_t len, fi_addr_t to,
		     uint64_t flags, uint64_t ctl)
{
	struct rf_ofi_slot *s = take_slot(l, RF_OP_SEND, (uint32_t)len);
	struct iovec iov;
	struct fi_msg msg;
	ssize_t rc;

	if (!s)
		return RF_NO_RESOURCE;
	s->ctl = flags & FI_REMOTE_CQ_DATA;
	memcpy(s->buf, data, len);
	iov = (struct iovec){.iov_base = s->buf, .iov_len = len};
	msg = (struct fi_msg){
		.msg_iov = &iov,
		.desc = &l->buf_desc,
		.iov_count = 1,
		.addr = to,
		.context = s,
		.data = ctl,
	};
	rc = fi_sendmsg(l->ep, &msg, FI_COMPLETION | flags);
	if (rc)
		return post_failed(l, s, "send", rc);
	l->quiet_since = 0;
	return RF_OK;
}

int rf_ofi_lane_send(struct rf_lane *lane, const void *data, uint32_t len)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	int err = enter_to_post(l);

	if (err)
		return err;
	err = post_send(l, data, len, l->peer, 0, 0);
	rf_ofi_lane_leave(l);
	return err;
}

int rf_ofi_post_ctl(struct rf_ofi_lane *l, fi_addr_t to, uint64_t ctl, const void *data, size_t len)
{
	return post_send(l, data, len, to, FI_REMOTE_CQ_DATA, ctl);
}

static int post_fence(struct rf_ofi_lane *l, uint64_t value)
{
	uint8_t fence[RF_WIRE_FENCE_SIZE];

	rf_wire_put_fence(fence, value);
	return post_send(l, fence, sizeof(fence), l->peer, 0, 0);
}

int rf_ofi_lane_fence(struct rf_lane *lane, uint64_t value)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	int err = enter_to_post(l);

	if (err)
		return err;
	if (rf_ofi_of(l)->ordered || !l->writes) {
		err = post_fence(l, value);
	} else {
		l->fence_waits = true;
		l->fence_value = value;
	}
	rf_ofi_lane_leave(l);
	return err;
}

void rf_ofi_post_waiting_fence(struct rf_ofi_lane *l)
{
	if (!l->fence_waits || l->writes || l->ended || l->base.error)
		return;
	/* RF_NO_RESOURCE: the next poll tries again */
	if (post_fence(l, l->fence_value) == RF_OK)
		l->fence_waits = false;
}

int rf_ofi_post_recvs(struct rf_ofi_lane *l)
{
	while (l->nused) {
		struct rf_ofi_slot *s = l->used_rx[l->nused - 1];
		ssize_t rc = fi_recv(l->ep, s->buf, RF_OFI_MAX_MSG, l->buf_desc, FI_ADDR_UNSPEC, s);

		if (rc == -FI_EAGAIN)
			return RF_OK; /* the next poll goes on */
		if (rc)
			return rf_lane_fail(&l->base, RF_ERR_LANE_CLOSED, "receive: %s",
					    fi_strerror((int)-rc));
		l->nused--;
	}
	return RF_OK;
}
