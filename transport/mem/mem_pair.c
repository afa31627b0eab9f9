/* SPDX-License-Identifier: BSD-3-Clause */
/* A lane with both its ends: what is on the wire, and carrying it out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "transport/mem/mem_hub.h"

static struct rf_mem_op *new_ring(uint32_t depth)
{
	struct rf_mem_op *r = calloc(depth, sizeof(*r));
	uint8_t *msgs = r ? malloc((size_t)depth * RF_MEM_MAX_MSG) : NULL;

	if (!msgs) {
		free(r);
		return NULL;
	}
	for (uint32_t i = 0; i < depth; i++)
		r[i].msg = msgs + (size_t)i * RF_MEM_MAX_MSG;
	return r;
}

static void free_ring(struct rf_mem_op *r)
{
	if (r)
		free(r[0].msg);
	free(r);
}

int rf_mem_pair_new(struct rf_mem_hub *hub, const struct rf_wire_lane *id, struct rf_mem_pair **out)
{
	struct rf_mem_pair *p = calloc(1, sizeof(*p));
	int err = RF_OK;

	if (!p)
		return RF_ERR_NO_MEMORY;
	p->hub = hub;
	p->id = *id;
	pthread_mutex_init(&p->lock, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct rf_mem_end *e = &p->end[i];

		e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		e->ring = new_ring(hub->cfg.depth);
		e->inbox = new_ring(hub->cfg.depth);
		if (!e->ring || !e->inbox)
			err = RF_ERR_NO_MEMORY;
		else if (e->fd < 0)
			err = RF_ERR_SYSTEM;
	}
	if (err) {
		rf_mem_pair_free(p);
		return err;
	}
	*out = p;
	return RF_OK;
}

void rf_mem_pair_free(struct rf_mem_pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		if (p->end[i].fd >= 0)
			close(p->end[i].fd);
		free_ring(p->end[i].ring);
		free_ring(p->end[i].inbox);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void rf_mem_pair_wake(struct rf_mem_end *e)
{
	const uint64_t one = 1;

	if (!e->armed)
		return;
	e->armed = false;
	if (write(e->fd, &one, sizeof(one)) < 0)
		rf_warn("mem", "waking a lane failed");
}

void rf_mem_pair_kill(struct rf_mem_pair *p, unsigned side, int err, const char *why)
{
	struct rf_mem_end *e = &p->end[side];

	if (e->error)
		return;
	e->error = err;
	snprintf(e->why, sizeof(e->why), "%s", why);
	rf_mem_pair_wake(e);
}

struct rf_mem_op *rf_mem_pair_head(struct rf_mem_pair *p, unsigned from)
{
	struct rf_mem_end *e = &p->end[from];

	if (e->error || p->end[1 - from].error || e->done == e->count)
		return NULL;
	return &e->ring[(e->tail + e->done) % p->hub->cfg.depth];
}

/* Puts what the other end is to be told into its inbox; false if it is full. */
static bool deliver(struct rf_mem_pair *p, unsigned to, const struct rf_mem_op *op)
{
	struct rf_mem_end *e = &p->end[to];
	struct rf_mem_op *slot = &e->inbox[(e->in_tail + e->in_count) % p->hub->cfg.depth];

	if (e->in_count == p->hub->cfg.depth)
		return false;
	slot->op = op->op == RF_OP_SEND ? RF_OP_RECV : op->op;
	slot->len = op->len;
	slot->value = op->value;
	if (op->op == RF_OP_SEND)
		memcpy(slot->msg, op->msg, op->len);
	e->in_count++;
	rf_mem_pair_wake(e);
	return true;
}

/* RF_OK, RF_NO_RESOURCE (inbox full), RF_ERR_REMOTE_ACCESS. */
static int carry_out(struct rf_mem_pair *p, unsigned from, const struct rf_mem_op *op, bool half)
{
	const struct rf_mem_end *peer = &p->end[1 - from];
	bool write = op->op == RF_OP_WRITE || op->op == RF_OP_IMM;
	int err = RF_OK;

	if (op->op != RF_OP_WRITE && !half && peer->in_count == p->hub->cfg.depth)
		return RF_NO_RESOURCE;
	if (write)
		err = rf_mem_hub_write(p->hub, peer->t, p->id.kind, op,
				       half ? op->len / 2 : op->len);
	if (!err && !half && op->op != RF_OP_WRITE)
		deliver(p, 1 - from, op);
	return err;
}

bool rf_mem_pair_take(struct rf_mem_pair *p, unsigned from, enum rf_mem_fate fate)
{
	struct rf_mem_op *op = rf_mem_pair_head(p, from);
	int err = RF_OK;

	if (!op || fate == RF_MEM_HOLD)
		return false;
	if (fate == RF_MEM_DELIVER || fate == RF_MEM_LOSE_ACK || fate == RF_MEM_CUT)
		err = carry_out(p, from, op, fate == RF_MEM_CUT);
	if (err == RF_NO_RESOURCE)
		return false;
	if (err) {
		rf_mem_pair_kill(p, from, err, "the peer refused the range or the key of a write");
	} else if (fate == RF_MEM_DELIVER) {
		p->end[from].done++;
		rf_mem_pair_wake(&p->end[from]);
		return true;
	} else if (fate == RF_MEM_LOSE_ACK) {
		rf_mem_pair_kill(p, from, RF_ERR_LANE_TIMEOUT,
				 "an acknowledgement was lost (script)");
	} else {
		rf_mem_pair_kill(p, from, RF_ERR_LANE, "an operation failed (script)");
	}
	rf_mem_pair_kill(p, 1 - from, RF_ERR_LANE_CLOSED, "the peer's end has failed");
	return true;
}

void rf_mem_pair_pump(struct rf_mem_pair *p, unsigned from)
{
	if (p->hub->cfg.scripted)
		return;
	while (rf_mem_pair_take(p, from, RF_MEM_DELIVER))
		;
}
