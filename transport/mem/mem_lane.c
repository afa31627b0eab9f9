/* SPDX-License-Identifier: BSD-3-Clause */
/* Posting to and polling one end of a pair. */
#include <string.h>
#include <unistd.h>

#include "transport/mem/mem_hub.h"

static struct rf_mem_lane *mem_lane(struct rf_lane *l)
{
	return (struct rf_mem_lane *)l;
}

/* Locks the pair and looks whether the lane lives; not locked on error. */
static int enter(struct rf_mem_lane *l)
{
	struct rf_mem_end *e = &l->pair->end[l->side];
	int err;

	pthread_mutex_lock(&l->pair->lock);
	err = e->error;
	if (!err)
		return RF_OK;
	rf_lane_fail(&l->base, err, "%s", e->why);
	pthread_mutex_unlock(&l->pair->lock);
	return err;
}

static struct rf_mem_op *next_slot(struct rf_mem_lane *l)
{
	struct rf_mem_end *e = &l->pair->end[l->side];
	uint32_t depth = l->pair->hub->cfg.depth;

	if (e->count == depth)
		return NULL;
	return &e->ring[(e->tail + e->count) % depth];
}

static void push(struct rf_mem_lane *l, struct rf_mem_op *op)
{
	struct rf_mem_end *e = &l->pair->end[l->side];

	op->seq = ++e->seq;
	e->count++;
}

static int leave(struct rf_mem_lane *l, int result)
{
	rf_mem_pair_pump(l->pair, l->side);
	pthread_mutex_unlock(&l->pair->lock);
	return result;
}

static bool push_write(struct rf_mem_lane *l, const struct rf_write *w, enum rf_op op, uint32_t imm)
{
	struct rf_mem_op *o = next_slot(l);

	if (!o)
		return false;
	o->op = op;
	o->len = w->len;
	o->value = imm;
	o->src = w->src;
	o->addr = w->dst->base + w->dst_off;
	o->key = w->dst->key[l->base.kind];
	push(l, o);
	l->base.inflight += w->len;
	return true;
}

int rf_mem_lane_write(struct rf_lane *lane, const struct rf_write *w, unsigned n)
{
	struct rf_mem_lane *l = mem_lane(lane);
	unsigned i = 0;
	int err = enter(l);

	if (err)
		return err;
	while (i < n && push_write(l, &w[i], RF_OP_WRITE, 0))
		i++;
	return leave(l, i ? (int)i : RF_NO_RESOURCE);
}

int rf_mem_lane_write_imm(struct rf_lane *lane, const struct rf_write *w, uint32_t imm)
{
	struct rf_mem_lane *l = mem_lane(lane);
	int err = enter(l);

	if (err)
		return err;
	return leave(l, push_write(l, w, RF_OP_IMM, imm) ? RF_OK : RF_NO_RESOURCE);
}

static int push_message(struct rf_mem_lane *l, enum rf_op op, uint64_t value, const void *data,
			uint32_t len)
{
	struct rf_mem_op *o;
	int err = enter(l);

	if (err)
		return err;
	o = next_slot(l);
	if (!o)
		return leave(l, RF_NO_RESOURCE);
	o->op = op;
	o->len = len;
	o->value = value;
	if (len)
		memcpy(o->msg, data, len);
	push(l, o);
	return leave(l, RF_OK);
}

int rf_mem_lane_fence(struct rf_lane *l, uint64_t value)
{
	return push_message(mem_lane(l), RF_OP_FENCE_SEEN, value, NULL, 0);
}

int rf_mem_lane_send(struct rf_lane *l, const void *data, uint32_t len)
{
	return push_message(mem_lane(l), RF_OP_SEND, 0, data, len);
}

/* What is done of our own posts; neighbours of one kind become one completion. */
static unsigned take_done(struct rf_mem_lane *l, struct rf_completion *c, unsigned n)
{
	struct rf_mem_end *e = &l->pair->end[l->side];
	uint32_t depth = l->pair->hub->cfg.depth;
	unsigned out = 0;

	for (; e->done; e->tail++, e->done--, e->count--) {
		const struct rf_mem_op *o = &e->ring[e->tail % depth];
		bool write = o->op == RF_OP_WRITE || o->op == RF_OP_IMM;
		enum rf_op op = write ? RF_OP_WRITE : RF_OP_SEND;

		if (!out || c[out - 1].op != op) {
			if (out == n)
				break;
			c[out++] = (struct rf_completion){.op = op};
		}
		c[out - 1].count++;
		if (write) {
			c[out - 1].bytes += o->len;
			l->base.inflight -= o->len;
		}
	}
	return out;
}

static unsigned take_inbox(struct rf_mem_lane *l, struct rf_completion *c, unsigned n)
{
	struct rf_mem_end *e = &l->pair->end[l->side];
	uint32_t depth = l->pair->hub->cfg.depth;
	unsigned out = 0;

	/* What the last poll handed out is free now. */
	e->in_tail += e->handed;
	e->in_count -= e->handed;
	e->handed = 0;
	for (; out < n && e->handed < e->in_count; e->handed++, out++) {
		const struct rf_mem_op *o = &e->inbox[(e->in_tail + e->handed) % depth];

		c[out] = (struct rf_completion){
			.op = o->op,
			.count = 1,
			.value = o->value,
			.data = o->op == RF_OP_RECV ? o->msg : NULL,
			.len = o->op == RF_OP_RECV ? o->len : 0,
		};
	}
	return out;
}

int rf_mem_lane_poll(struct rf_lane *lane, struct rf_completion *c, unsigned n)
{
	struct rf_mem_lane *l = mem_lane(lane);
	struct rf_mem_pair *p = l->pair;
	unsigned out;

	pthread_mutex_lock(&p->lock);
	out = take_done(l, c, n);
	out += take_inbox(l, c + out, n - out);
	/* Room in our inbox lets the peer's operations go on. */
	rf_mem_pair_pump(p, 1 - l->side);
	if (!out && p->end[l->side].error)
		rf_lane_fail(lane, p->end[l->side].error, "%s", p->end[l->side].why);
	pthread_mutex_unlock(&p->lock);
	return out ? (int)out : lane->error;
}

int rf_mem_lane_arm(struct rf_lane *lane)
{
	struct rf_mem_lane *l = mem_lane(lane);
	struct rf_mem_end *e = &l->pair->end[l->side];
	uint64_t n;
	bool news;

	pthread_mutex_lock(&l->pair->lock);
	news = e->done || e->handed < e->in_count || e->error;
	e->armed = !news;
	while (!news && read(e->fd, &n, sizeof(n)) > 0)
		;
	pthread_mutex_unlock(&l->pair->lock);
	return news ? RF_AGAIN : RF_OK;
}
