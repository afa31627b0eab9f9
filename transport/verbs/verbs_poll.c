/* SPDX-License-Identifier: BSD-3-Clause */
/* Completions. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "transport/verbs/verbs.h"

#define BATCH	   16  /* completions read at once */
#define LOOK_EVERY 256 /* polls that found nothing between two looks at everything else */

/* A signalled request is done, and so are all before it. */
static void retire(struct rf_verbs_lane *l, const struct rf_verbs_slot *last)
{
	const struct rf_verbs_slot *s;

	do {
		s = &l->tx[l->tail++ % l->base.t->caps.depth];
		if (s->op == RF_OP_WRITE) {
			l->done.writes++;
			l->done.bytes += s->bytes;
			l->base.inflight -= s->bytes;
		} else {
			l->done.sends++;
			l->send_tail += s->buffered;
		}
	} while (s != last && l->tail != l->head);
	l->quiet_since = 0;
}

/* A message: the user's or a fence. */
static void take_message(const struct rf_verbs_slot *s, uint32_t len, struct rf_completion *c)
{
	uint64_t value;

	if (len == RF_WIRE_FENCE_SIZE && !rf_wire_get_fence(s->buf, len, &value))
		*c = (struct rf_completion){.op = RF_OP_FENCE_SEEN, .count = 1, .value = value};
	else
		*c = (struct rf_completion){.op = RF_OP_RECV,
					    .count = 1,
					    .data = s->buf,
					    .len = len};
}

/* True if c was filled in: a receive. What we had posted is only counted. */
static bool take_wc(struct rf_verbs_lane *l, const struct ibv_wc *wc, struct rf_completion *c)
{
	struct rf_verbs_slot *s = (struct rf_verbs_slot *)(uintptr_t)wc->wr_id;

	if (wc->status != IBV_WC_SUCCESS) {
		/* the first tells why; the rest is what it took with it */
		rf_verbs_error_fail(l, wc);
		return false;
	}
	if (!s->rx) {
		retire(l, s);
		return false;
	}
	if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM)
		*c = (struct rf_completion){.op = RF_OP_IMM,
					    .count = 1,
					    .value = be32toh(wc->imm_data)};
	else
		take_message(s, wc->byte_len, c);
	l->used_rx[l->nused++] = s;
	return true;
}

/* Tells of completed posts, as far as there is room. */
static unsigned tell_done(struct rf_verbs_lane *l, struct rf_completion *c, unsigned n)
{
	unsigned out = 0;

	if (l->done.writes && out < n) {
		c[out++] = (struct rf_completion){.op = RF_OP_WRITE,
						  .count = l->done.writes,
						  .bytes = l->done.bytes};
		l->done.writes = 0;
		l->done.bytes = 0;
	}
	if (l->done.sends && out < n) {
		c[out++] = (struct rf_completion){.op = RF_OP_SEND, .count = l->done.sends};
		l->done.sends = 0;
	}
	return out;
}

static int read_cq(struct rf_verbs_lane *l, struct ibv_wc *wc, int n)
{
	int got;

	if (l->has_peeked) {
		wc[0] = l->peeked;
		l->has_peeked = false;
		return 1;
	}
	got = ibv_poll_cq(l->cq, n, wc);
	if (got < 0)
		rf_lane_fail(&l->base, RF_ERR_LANE, "ibv_poll_cq: %s", strerror(errno));
	return got;
}

/* Reads until c is full of receives or the queue is empty. */
static unsigned read_queue(struct rf_verbs_lane *l, struct rf_completion *c, unsigned n)
{
	struct ibv_wc wc[BATCH];
	unsigned out = 0;

	while (out < n) {
		unsigned want = n - out < BATCH ? n - out : BATCH;
		int got = read_cq(l, wc, (int)want);

		if (got <= 0)
			break;
		for (int i = 0; i < got; i++)
			out += take_wc(l, &wc[i], &c[out]);
	}
	return out;
}

int rf_verbs_lane_poll(struct rf_lane *lane, struct rf_completion *c, unsigned n)
{
	struct rf_verbs_lane *l = rf_verbs_lane(lane);
	unsigned out;

	if (!lane->error)
		rf_verbs_post_recvs(l);
	out = tell_done(l, c, n);
	out += read_queue(l, c + out, n - out);
	out += tell_done(l, c + out, n - out);
	if (out) {
		l->empty_polls = 0;
		return (int)out;
	}
	if (!lane->error) {
		if (++l->empty_polls % LOOK_EVERY == 0)
			rf_verbs_event_look(l);
		rf_verbs_event_clock(l);
	}
	return lane->error;
}
