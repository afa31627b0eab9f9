/* SPDX-License-Identifier: BSD-3-Clause */
/* What the errors of devices and of the connection manager mean. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transport/verbs/verbs.h"

/* Reasons of a rejection that the InfiniBand connection manager tells, and what we make of them. */
enum cm_reason {
	REASON_TIMEOUT = 4,
	REASON_NO_SERVICE = 8,
	REASON_STALE = 10,
	REASON_CONSUMER = 28,
};

static const struct {
	enum ibv_wc_status status;
	int err;
	const char *words;
} statuses[] = {
	{IBV_WC_LOC_LEN_ERR, RF_ERR_LANE, "a message was longer than the receive for it"},
	{IBV_WC_LOC_QP_OP_ERR, RF_ERR_LANE, "the device could not carry it out"},
	{IBV_WC_LOC_PROT_ERR, RF_ERR_LANE, "the local memory is not registered"},
	{IBV_WC_LOC_ACCESS_ERR, RF_ERR_LANE, "the local memory may not be accessed so"},
	{IBV_WC_WR_FLUSH_ERR, RF_ERR_LANE_CLOSED,
	 "flushed, as the peer ended the connection or refused a write"},
	{IBV_WC_REM_INV_REQ_ERR, RF_ERR_LANE, "the peer's device found the request invalid"},
	{IBV_WC_REM_ACCESS_ERR, RF_ERR_REMOTE_ACCESS, "the address or the key is not valid there"},
	{IBV_WC_REM_OP_ERR, RF_ERR_LANE, "the peer's device could not carry it out"},
	{IBV_WC_RETRY_EXC_ERR, RF_ERR_LANE_TIMEOUT, "the peer does not answer"},
	{IBV_WC_RNR_RETRY_EXC_ERR, RF_ERR_LANE_TIMEOUT, "the peer posts no receives"},
	{IBV_WC_REM_ABORT_ERR, RF_ERR_LANE_CLOSED, "the peer aborted it"},
	{IBV_WC_RESP_TIMEOUT_ERR, RF_ERR_LANE_TIMEOUT, "the peer does not answer"},
	{IBV_WC_FATAL_ERR, RF_ERR_LANE, "the device failed"},
};

int rf_verbs_error_of_wc(enum ibv_wc_status status)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i].status == status)
			return statuses[i].err;
	}
	return status == IBV_WC_SUCCESS ? RF_OK : RF_ERR_LANE;
}

const char *rf_verbs_error_wc_words(enum ibv_wc_status status)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i].status == status)
			return statuses[i].words;
	}
	return "it failed";
}

int rf_verbs_error_of_errno(int err)
{
	switch (err) {
	case ENODEV:
	case ENXIO:
	case EADDRNOTAVAIL:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EAFNOSUPPORT:
		return RF_ERR_UNREACHABLE;
	case ENOMEM:
		return RF_ERR_NO_MEMORY;
	case EPERM:
	case EACCES:
		return RF_ERR_PERMISSION;
	case EADDRINUSE:
		return RF_ERR_BUSY;
	default:
		return RF_ERR_SYSTEM;
	}
}

static int of_rejection(int reason, char *words, size_t size)
{
	switch (reason) {
	case REASON_NO_SERVICE:
		snprintf(words, size, "nobody listens there");
		return RF_ERR_REFUSED;
	case REASON_CONSUMER:
		snprintf(words, size,
			 "the peer turned it away: a wrong token, or an error that its log tells");
		return RF_ERR_REFUSED;
	case REASON_STALE:
		snprintf(words, size, "the peer's device takes it for an old connection");
		return RF_ERR_REFUSED;
	case REASON_TIMEOUT:
		snprintf(words, size, "the peer gave up waiting");
		return RF_ERR_TIMEOUT;
	default:
		snprintf(words, size, "the peer's connection manager rejected it, reason %d",
			 reason);
		return RF_ERR_REFUSED;
	}
}

/* status is a negative errno for all but rejections. */
int rf_verbs_error_of_cm(enum rdma_cm_event_type type, int status, char *words, size_t size)
{
	const char *cause = strerror(status < 0 ? -status : EIO);

	switch (type) {
	case RDMA_CM_EVENT_REJECTED:
		return of_rejection(status, words, size);
	case RDMA_CM_EVENT_ADDR_ERROR:
		if (status == -ENODEV || status == -EADDRNOTAVAIL)
			snprintf(words, size, "no RDMA device leads there");
		else
			snprintf(words, size, "its address does not resolve: %s", cause);
		return RF_ERR_UNREACHABLE;
	case RDMA_CM_EVENT_ROUTE_ERROR:
		snprintf(words, size, "no RDMA route: %s", cause);
		return RF_ERR_UNREACHABLE;
	case RDMA_CM_EVENT_UNREACHABLE:
		snprintf(words, size, "it cannot be reached: %s", cause);
		return status == -ETIMEDOUT ? RF_ERR_TIMEOUT : RF_ERR_UNREACHABLE;
	case RDMA_CM_EVENT_DISCONNECTED:
		snprintf(words, size, "the peer hung up");
		return RF_ERR_REFUSED;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		snprintf(words, size, "the device was removed");
		return RF_ERR_UNREACHABLE;
	default:
		snprintf(words, size, "%s, status %d", rdma_event_str(type), status);
		return RF_ERR_SYSTEM;
	}
}

bool rf_verbs_error_port_down(const struct rf_verbs *v)
{
	struct ibv_port_attr attr;

	return ibv_query_port(v->ctx, v->port, &attr) || attr.state != IBV_PORT_ACTIVE;
}

void rf_verbs_error_fail(struct rf_verbs_lane *l, const struct ibv_wc *wc)
{
	const struct rf_verbs_slot *s = (const struct rf_verbs_slot *)(uintptr_t)wc->wr_id;
	const struct rf_verbs *v = rf_verbs_of(l);
	const char *what = s->rx ? "receive from" : s->op == RF_OP_WRITE ? "write to" : "send to";
	const char *port = "";
	int err = rf_verbs_error_of_wc(wc->status);

	if (l->base.error)
		return;
	if (rf_verbs_error_port_down(v)) {
		/* soft-RoCE does not try when it has no route */
		err = err == RF_ERR_LANE ? RF_ERR_LANE_TIMEOUT : err;
		port = "; the port here is down";
	}
	if (wc->status == IBV_WC_RETRY_EXC_ERR)
		rf_lane_fail(&l->base, err, "%s %s: no answer to %u tries in %u ms%s", what,
			     l->peer, v->timing.retries + 1u,
			     rf_verbs_timing_detection_ms(v->timing), port);
	else if (err == RF_ERR_LANE_CLOSED)
		rf_lane_fail(&l->base, err, "%s %s: %s%s", what, l->peer,
			     rf_verbs_error_wc_words(wc->status), port);
	else
		rf_lane_fail(&l->base, err, "%s %s: %s (status %d, vendor %#x)%s", what, l->peer,
			     rf_verbs_error_wc_words(wc->status), wc->status, wc->vendor_err, port);
}
