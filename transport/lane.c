/* SPDX-License-Identifier: BSD-3-Clause */
/* The front door of lanes: arguments, dead lanes and fault points, once for all backends. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "transport/ops.h"

void rf_lane_init(struct rf_lane *l, struct rf_transport *t, const struct rf_wire_lane *id)
{
	l->t = t;
	l->kind = id->kind;
	l->index = id->index;
	l->fd = -1;
	snprintf(l->name, sizeof(l->name), "%s/%u", rf_lane_kind_str(l->kind), l->index);
}

enum rf_lane_kind rf_lane_kind(const struct rf_lane *l)
{
	return l->kind;
}

unsigned rf_lane_index(const struct rf_lane *l)
{
	return l->index;
}

const char *rf_lane_name(const struct rf_lane *l)
{
	return l->name;
}

int rf_lane_fd(const struct rf_lane *l)
{
	return l->fd;
}

uint64_t rf_lane_inflight(const struct rf_lane *l)
{
	return l->inflight;
}

const char *rf_lane_error(const struct rf_lane *l)
{
	return l->error_desc;
}

int rf_lane_fail(struct rf_lane *l, int err, const char *fmt, ...)
{
	int n;
	va_list ap;

	if (l->error)
		return l->error;
	l->error = err;
	n = snprintf(l->error_desc, sizeof(l->error_desc), "lane %s: ", l->name);
	va_start(ap, fmt);
	vsnprintf(l->error_desc + n, sizeof(l->error_desc) - (size_t)n, fmt, ap);
	va_end(ap);
	/* A lane the peer closed is how links end: the caller knows whether that was expected. */
	rf_log(err == RF_ERR_LANE_CLOSED ? RF_LOG_INFO : RF_LOG_ERROR, l->t->ops->name, "%s: %s",
	       l->error_desc, rf_err_str(err));
	return err;
}

/* RF_OK, the error of a dead lane, or an injected one. */
static int check_lane(struct rf_lane *l)
{
	if (l->error)
		return l->error;
	if (rf_fault_point())
		return rf_lane_fail(l, RF_ERR_LANE, "injected fault");
	return RF_OK;
}

static int check_write(const struct rf_lane *l, const struct rf_write *w)
{
	const struct rf_mr *mr = w->src_mr;
	uint64_t from;

	if (!w->src || !mr || !w->dst || !w->len || w->len > l->t->caps.max_write)
		return RF_ERR_INVALID;
	if (mr->t != l->t || mr->access != RF_ACCESS_LOCAL_READ)
		return RF_ERR_INVALID;
	from = (uint64_t)((const uint8_t *)w->src - mr->addr);
	if ((const uint8_t *)w->src < mr->addr || from > mr->len || w->len > mr->len - from)
		return RF_ERR_INVALID;
	/* The peer's range is for the peer to check, but its end must be a number at all. */
	if (w->dst_off > UINT64_MAX - w->dst->base ||
	    w->len > UINT64_MAX - w->dst->base - w->dst_off)
		return RF_ERR_INVALID;
	return RF_OK;
}

int rf_lane_write(struct rf_lane *l, const struct rf_write *w, unsigned n)
{
	int err;

	if (!l || !w || !n)
		return RF_ERR_INVALID;
	for (unsigned i = 0; i < n; i++) {
		err = check_write(l, &w[i]);
		if (err)
			return err;
	}
	err = check_lane(l);
	return err ? err : l->t->ops->lane_write(l, w, n);
}

int rf_lane_fence(struct rf_lane *l, uint64_t value)
{
	int err;

	if (!l)
		return RF_ERR_INVALID;
	err = check_lane(l);
	return err ? err : l->t->ops->lane_fence(l, value);
}

int rf_lane_send(struct rf_lane *l, const void *data, uint32_t len)
{
	uint64_t value;
	int err;

	if (!l || !data || !len || len > l->t->caps.max_msg)
		return RF_ERR_INVALID;
	/* The peer could not tell it from a fence. */
	if (len == RF_WIRE_FENCE_SIZE && rf_wire_get_fence(data, len, &value) == RF_OK)
		return RF_ERR_INVALID;
	err = check_lane(l);
	return err ? err : l->t->ops->lane_send(l, data, len);
}

int rf_lane_write_imm(struct rf_lane *l, const struct rf_write *w, uint32_t imm)
{
	int err;

	if (!l || !w || l->kind != RF_LANE_URGENT)
		return RF_ERR_INVALID;
	if (!l->t->caps.imm_bytes)
		return RF_ERR_UNSUPPORTED;
	err = check_write(l, w);
	if (!err)
		err = check_lane(l);
	return err ? err : l->t->ops->lane_write_imm(l, w, imm);
}

int rf_lane_poll(struct rf_lane *l, struct rf_completion *c, unsigned n)
{
	if (!l || !c || !n)
		return RF_ERR_INVALID;
	if (!l->error && rf_fault_point())
		return rf_lane_fail(l, RF_ERR_LANE, "injected fault");
	return l->t->ops->lane_poll(l, c, n);
}

int rf_lane_arm(struct rf_lane *l)
{
	if (!l)
		return RF_ERR_INVALID;
	/* The next poll has the error to tell. */
	if (l->error)
		return RF_AGAIN;
	return l->t->ops->lane_arm(l);
}

void rf_lane_close(struct rf_lane **l)
{
	struct rf_transport *t;

	if (!l || !*l)
		return;
	t = (*l)->t;
	(*l)->t->ops->lane_close(*l);
	atomic_fetch_sub(&t->lanes, 1);
	*l = NULL;
}
