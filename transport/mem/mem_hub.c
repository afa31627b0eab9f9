/* SPDX-License-Identifier: BSD-3-Clause */
/* The hub: which lanes there are, whose memory is registered, and the script's steps. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "transport/mem/mem_hub.h"

#define DEFAULT_DEPTH	  64u
#define DEFAULT_MAX_WRITE (1u << 20)

int rf_mem_hub_new(const struct rf_mem_hub_cfg *cfg, struct rf_mem_hub **out)
{
	struct rf_mem_hub *h = calloc(1, sizeof(*h));

	if (!h)
		return RF_ERR_NO_MEMORY;
	if (cfg)
		h->cfg = *cfg;
	if (!h->cfg.depth)
		h->cfg.depth = DEFAULT_DEPTH;
	if (!h->cfg.max_write)
		h->cfg.max_write = DEFAULT_MAX_WRITE;
	pthread_mutex_init(&h->step, NULL);
	pthread_mutex_init(&h->lock, NULL);
	pthread_rwlock_init(&h->mr_lock, NULL);
	*out = h;
	return RF_OK;
}

void rf_mem_hub_delete(struct rf_mem_hub **hub)
{
	struct rf_mem_hub *h = hub ? *hub : NULL;

	if (!h)
		return;
	if (h->pairs || h->listeners)
		rf_err_log("mem", "hub deleted with lanes or listeners open");
	pthread_rwlock_destroy(&h->mr_lock);
	pthread_mutex_destroy(&h->lock);
	pthread_mutex_destroy(&h->step);
	free(h);
	*hub = NULL;
}

/* ---- pairs ---- */

static bool comes_before(const struct rf_mem_pair *a, const struct rf_mem_pair *b)
{
	if (a->id.kind != b->id.kind)
		return a->id.kind < b->id.kind;
	return a->id.index <= b->id.index;
}

void rf_mem_hub_add(struct rf_mem_hub *hub, struct rf_mem_pair *p)
{
	struct rf_mem_pair **at = &hub->pairs;

	while (*at && comes_before(*at, p))
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

void rf_mem_hub_put(struct rf_mem_hub *hub, struct rf_mem_pair *p)
{
	struct rf_mem_pair **at = &hub->pairs;

	if (--p->refs)
		return;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	rf_mem_pair_free(p);
}

/* ---- steps ---- */

/* Asks the script about the head of one direction and does as it says. hub.step and hub.lock
 * are held, so pairs stay; the pair's lock is not held while the script thinks. */
static bool step_one(struct rf_mem_hub *hub, struct rf_mem_pair *p, unsigned from)
{
	struct rf_mem_op_info info = {
		.lane_kind = p->id.kind,
		.lane_index = p->id.index,
		.from_source = from == 0,
	};
	enum rf_mem_fate fate = RF_MEM_DELIVER;
	struct rf_mem_op *op;
	bool taken = false;

	pthread_mutex_lock(&p->lock);
	op = p->end[1].t ? rf_mem_pair_head(p, from) : NULL;
	if (op) {
		info.op = op->op;
		info.len = op->len;
		info.value = op->value;
		info.seq = op->seq;
	}
	pthread_mutex_unlock(&p->lock);
	if (!op)
		return false;
	if (hub->cfg.script)
		fate = hub->cfg.script(hub->cfg.arg, &info);
	pthread_mutex_lock(&p->lock);
	op = rf_mem_pair_head(p, from);
	if (op && op->seq == info.seq)
		taken = rf_mem_pair_take(p, from, fate);
	pthread_mutex_unlock(&p->lock);
	return taken;
}

unsigned rf_mem_hub_step(struct rf_mem_hub *hub)
{
	unsigned n = 0;

	pthread_mutex_lock(&hub->step);
	pthread_mutex_lock(&hub->lock);
	for (struct rf_mem_pair *p = hub->pairs; p; p = p->next) {
		n += step_one(hub, p, 0);
		n += step_one(hub, p, 1);
	}
	pthread_mutex_unlock(&hub->lock);
	pthread_mutex_unlock(&hub->step);
	return n;
}

bool rf_mem_hub_step_lane(struct rf_mem_hub *hub, unsigned kind, unsigned index, bool from_source)
{
	bool taken = false;

	pthread_mutex_lock(&hub->step);
	pthread_mutex_lock(&hub->lock);
	/* after a reconnection there may be two of that name: the dead one has nothing */
	for (struct rf_mem_pair *p = hub->pairs; p && !taken; p = p->next) {
		if (p->id.kind == kind && p->id.index == index)
			taken = step_one(hub, p, from_source ? 0 : 1);
	}
	pthread_mutex_unlock(&hub->lock);
	pthread_mutex_unlock(&hub->step);
	return taken;
}

unsigned rf_mem_hub_pending(struct rf_mem_hub *hub)
{
	unsigned n = 0;

	pthread_mutex_lock(&hub->lock);
	for (struct rf_mem_pair *p = hub->pairs; p; p = p->next) {
		pthread_mutex_lock(&p->lock);
		for (unsigned i = 0; i < 2; i++)
			n += p->end[i].error ? 0 : p->end[i].count - p->end[i].done;
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_unlock(&hub->lock);
	return n;
}

/* ---- registrations ---- */

void rf_mem_hub_add_mr(struct rf_mem_hub *hub, struct rf_mem_mr *m)
{
	uint64_t key;

	pthread_rwlock_wrlock(&hub->mr_lock);
	/* never used twice in a hub, so a revoked key stays revoked */
	key = ++hub->last_key;
	m->base.key.base = (uintptr_t)m->base.addr;
	for (unsigned k = 0; k < RF_LANE_KINDS; k++) {
		struct rf_mem_mr **b = &hub->buckets[k][key % RF_MEM_BUCKETS];

		m->base.key.key[k] = key * RF_LANE_KINDS + k;
		m->next[k] = *b;
		*b = m;
	}
	pthread_rwlock_unlock(&hub->mr_lock);
}

void rf_mem_hub_remove_mr(struct rf_mem_hub *hub, struct rf_mem_mr *m)
{
	uint64_t key = m->base.key.key[0] / RF_LANE_KINDS;

	pthread_rwlock_wrlock(&hub->mr_lock);
	for (unsigned k = 0; k < RF_LANE_KINDS; k++) {
		struct rf_mem_mr **b = &hub->buckets[k][key % RF_MEM_BUCKETS];

		while (*b != m)
			b = &(*b)->next[k];
		*b = m->next[k];
	}
	pthread_rwlock_unlock(&hub->mr_lock);
}

static bool reads(const struct rf_mem_end *e, uint32_t depth, const struct rf_mr *mr)
{
	for (uint32_t i = e->done; i < e->count; i++) {
		const struct rf_mem_op *op = &e->ring[(e->tail + i) % depth];

		if ((op->op == RF_OP_WRITE || op->op == RF_OP_IMM) && op->src >= mr->addr &&
		    op->src < mr->addr + mr->len)
			return true;
	}
	return false;
}

void rf_mem_hub_stop_reads(struct rf_mem_hub *hub, const struct rf_mr *mr)
{
	pthread_mutex_lock(&hub->lock);
	for (struct rf_mem_pair *p = hub->pairs; p; p = p->next) {
		pthread_mutex_lock(&p->lock);
		for (unsigned i = 0; i < 2; i++) {
			struct rf_mem_end *e = &p->end[i];

			if (!e->t || &e->t->base != mr->t || e->error ||
			    !reads(e, hub->cfg.depth, mr))
				continue;
			rf_mem_pair_kill(p, i, RF_ERR_LANE,
					 "memory was deregistered under a write");
			rf_mem_pair_kill(p, 1 - i, RF_ERR_LANE_CLOSED, "the peer's end has failed");
		}
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_unlock(&hub->lock);
}

int rf_mem_hub_write(struct rf_mem_hub *hub, const struct rf_mem *t, unsigned kind,
		     const struct rf_mem_op *op, uint32_t len)
{
	uint64_t bucket = op->key / RF_LANE_KINDS % RF_MEM_BUCKETS, off;
	int err = RF_ERR_REMOTE_ACCESS;
	struct rf_mem_mr *m;

	pthread_rwlock_rdlock(&hub->mr_lock);
	for (m = hub->buckets[kind][bucket]; m; m = m->next[kind]) {
		if (m->base.key.key[kind] == op->key && m->base.t == &t->base)
			break;
	}
	if (m) {
		off = op->addr - m->base.key.base;
		/* op->len, not len: a cut write must be refused just as the whole one */
		if (op->addr >= m->base.key.base && off <= m->base.len &&
		    op->len <= m->base.len - off) {
			memcpy(m->base.addr + off, op->src, len);
			err = RF_OK;
		}
	}
	pthread_rwlock_unlock(&hub->mr_lock);
	return err;
}
