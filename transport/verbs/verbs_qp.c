/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lane's completion queue and queue pair. librdmacm knows the attributes of a connection
 * (rdma_init_qp_attr); the transitions, and what it does not set to our liking, are ours.
 */
#include <errno.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

static int failed(const struct rf_verbs_lane *l, const char *what, int err)
{
	rf_err_log("verbs", "lane %s: %s: %s", l->base.name, what, strerror(err));
	return err == ENOMEM ? RF_ERR_NO_MEMORY : RF_ERR_SYSTEM;
}

struct ibv_qp *rf_verbs_qp_new(struct rf_verbs *v, struct ibv_cq *cq, uint32_t depth,
			       uint32_t *inline_size)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_RC,
		.cap =
			{
				.max_send_wr = depth,
				.max_recv_wr = RF_VERBS_RECVS,
				.max_send_sge = 1,
				.max_recv_sge = 1,
				.max_inline_data = *inline_size,
			},
	};
	struct ibv_qp *qp = ibv_create_qp(v->pd, &attr);

	/* some devices have no inline data, and say so by refusing */
	if (!qp && attr.cap.max_inline_data) {
		attr.cap.max_inline_data = 0;
		qp = ibv_create_qp(v->pd, &attr);
	}
	if (qp)
		*inline_size = attr.cap.max_inline_data;
	return qp;
}

int rf_verbs_qp_open(struct rf_verbs_lane *l)
{
	struct rf_verbs *v = rf_verbs_of(l);
	const uint32_t depth = v->base.caps.depth;
	uint32_t inline_size = v->inline_size;

	l->wakeups = ibv_create_comp_channel(v->ctx);
	if (!l->wakeups || rf_fault_point())
		return failed(l, "ibv_create_comp_channel", errno);
	/* a dead queue pair completes everything: there must be room for all */
	l->cq = ibv_create_cq(v->ctx, (int)(depth + RF_VERBS_RECVS), NULL, l->wakeups, 0);
	if (!l->cq || rf_fault_point())
		return failed(l, "ibv_create_cq", errno);
	l->qp = rf_verbs_qp_new(v, l->cq, depth, &inline_size);
	if (!l->qp || rf_fault_point())
		return failed(l, "ibv_create_qp", errno);
	if (inline_size < v->inline_size) {
		rf_err_log("verbs", "lane %s: %u bytes inline, %u before", l->base.name,
			   inline_size, v->inline_size);
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}

/* Moves to `state` with the attributes of the connection, which tune may change. */
static int advance(struct rf_verbs_lane *l, enum ibv_qp_state state)
{
	const struct rf_verbs_timing *timing = &rf_verbs_of(l)->timing;
	struct ibv_qp_attr attr = {.qp_state = state};
	int mask, rc;

	if (rdma_init_qp_attr(l->id, &attr, &mask) || rf_fault_point())
		return failed(l, "rdma_init_qp_attr", errno);
	if (state == IBV_QPS_INIT && l->base.kind == RF_LANE_URGENT) {
		/* both ends may write there; rdma_cm grants it to the accepting one alone */
		attr.qp_access_flags |= IBV_ACCESS_REMOTE_WRITE;
		mask |= IBV_QP_ACCESS_FLAGS;
	} else if (state == IBV_QPS_RTR) {
		attr.min_rnr_timer = RF_VERBS_RNR_TIMER;
	} else if (state == IBV_QPS_RTS) {
		attr.timeout = timing->timeout;
		attr.retry_cnt = timing->retries;
		attr.rnr_retry = 7;
	}
	rc = rf_fault_point() ? EIO : ibv_modify_qp(l->qp, &attr, mask);
	return rc ? failed(l, "ibv_modify_qp", rc) : RF_OK;
}

int rf_verbs_qp_init(struct rf_verbs_lane *l)
{
	return advance(l, IBV_QPS_INIT);
}

int rf_verbs_qp_ready(struct rf_verbs_lane *l)
{
	int err = advance(l, IBV_QPS_RTR);

	return err ? err : advance(l, IBV_QPS_RTS);
}

void rf_verbs_qp_stop(struct rf_verbs_lane *l)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	/* fails only if the device is gone, and everything with it */
	ibv_modify_qp(l->qp, &attr, IBV_QP_STATE);
}

static void warn_close(const struct rf_verbs_lane *l, const char *what, int rc)
{
	if (rc && rc != EIO) /* EIO: the device is gone */
		rf_warn("verbs", "lane %s: closing its %s: %s", l->base.name, what, strerror(rc));
}

void rf_verbs_qp_close(struct rf_verbs_lane *l)
{
	if (l->qp)
		warn_close(l, "queue pair", ibv_destroy_qp(l->qp));
	if (l->cq)
		warn_close(l, "completion queue", ibv_destroy_cq(l->cq));
	if (l->wakeups)
		warn_close(l, "completion channel", ibv_destroy_comp_channel(l->wakeups));
	l->qp = NULL;
	l->cq = NULL;
	l->wakeups = NULL;
}
