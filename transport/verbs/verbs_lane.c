/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a lane: what it is made of, in which order it goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

#define BUFFERS	    (RF_VERBS_SENDS + RF_VERBS_RECVS)
#define BUFFER_SIZE ((size_t)BUFFERS * RF_VERBS_MAX_MSG)

static size_t ring_size(const struct rf_verbs *v)
{
	return v->base.caps.depth * sizeof(struct rf_verbs_slot);
}

int rf_verbs_lane_new(struct rf_verbs *v, const struct rf_wire_lane *id, struct rf_verbs_lane **out)
{
	struct rf_verbs_lane *l = calloc(1, sizeof(*l));

	if (!l)
		return RF_ERR_NO_MEMORY;
	rf_lane_init(&l->base, &v->base, id);
	l->wake_fd = l->timer_fd = -1;
	l->tx = rf_lane_memory_new(&v->base, ring_size(v));
	l->bufs = rf_lane_memory_new(&v->base, BUFFER_SIZE);
	if (!l->tx || !l->bufs || rf_fault_point()) {
		rf_verbs_lane_delete(l);
		return RF_ERR_NO_MEMORY;
	}
	memset(l->tx, 0, ring_size(v));
	l->events = rf_verbs_cm_channel();
	if (!l->events || rf_fault_point()) {
		rf_err_log("verbs", "lane %s: event channel: %s", l->base.name, strerror(errno));
		rf_verbs_lane_delete(l);
		return RF_ERR_SYSTEM;
	}
	*out = l;
	return RF_OK;
}

int rf_verbs_lane_open(struct rf_verbs_lane *l)
{
	struct rf_verbs *v = rf_verbs_of(l);
	int err = rf_verbs_mr_reg(v, l->bufs, BUFFER_SIZE, IBV_ACCESS_LOCAL_WRITE,
				  "message buffers", &l->buf_mr);

	if (!err)
		err = rf_verbs_qp_open(l);
	if (!err)
		err = rf_verbs_event_open(l);
	if (!err)
		err = rf_verbs_qp_init(l);
	if (err)
		return err;
	for (unsigned i = 0; i < RF_VERBS_RECVS; i++) {
		l->rx[i].rx = true;
		l->rx[i].buf = l->bufs + (size_t)(RF_VERBS_SENDS + i) * RF_VERBS_MAX_MSG;
		l->used_rx[i] = &l->rx[i];
	}
	l->nused = RF_VERBS_RECVS;
	return rf_verbs_post_recvs(l);
}

void rf_verbs_lane_list(struct rf_verbs_lane *l)
{
	struct rf_verbs *v = rf_verbs_of(l);

	pthread_mutex_lock(&v->lock);
	l->next = v->lanes;
	v->lanes = l;
	l->listed = true;
	pthread_mutex_unlock(&v->lock);
}

static void unlist(struct rf_verbs_lane *l)
{
	struct rf_verbs *v = rf_verbs_of(l);
	struct rf_verbs_lane **p;

	pthread_mutex_lock(&v->lock);
	for (p = &v->lanes; *p != l; p = &(*p)->next)
		;
	*p = l->next;
	pthread_mutex_unlock(&v->lock);
}

void rf_verbs_lane_delete(struct rf_verbs_lane *l)
{
	if (l->listed)
		unlist(l);
	/* Tells the peer. What is posted is flushed, and memory is at rest when the queue pair is
	 * gone; only then may the buffers go. */
	if (l->connected)
		rdma_disconnect(l->id);
	rf_verbs_event_close(l);
	rf_verbs_qp_close(l);
	if (l->buf_mr)
		ibv_dereg_mr(l->buf_mr);
	if (l->id)
		rdma_destroy_id(l->id);
	if (l->events)
		rdma_destroy_event_channel(l->events);
	rf_lane_memory_free(l->base.t, l->bufs, BUFFER_SIZE);
	rf_lane_memory_free(l->base.t, l->tx, ring_size(rf_verbs_of(l)));
	free(l);
}

void rf_verbs_lane_close(struct rf_lane *lane)
{
	rf_verbs_lane_delete(rf_verbs_lane(lane));
}
