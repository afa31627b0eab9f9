/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing, and the table. */
#include "transport/verbs/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"

#define DEFAULT_LINK_TIMEOUT 10000 /* ms */

static void close_verbs(struct rf_transport *t)
{
	struct rf_verbs *v = rf_verbs(t);

	if (v->listener)
		rdma_destroy_id(v->listener);
	if (v->requests)
		rdma_destroy_event_channel(v->requests);
	if (v->pd && ibv_dealloc_pd(v->pd))
		rf_err_log("verbs", "%s: memory is still registered", t->provider);
	if (v->ctx)
		ibv_close_device(v->ctx);
	pthread_mutex_destroy(&v->lock);
	free(v->peer_host);
	free(v);
}

/* Events of the device are read by whichever lane is awake, and never waited for. */
static int open_context(struct rf_verbs *v)
{
	int flags = fcntl(v->ctx->async_fd, F_GETFL);

	if (flags < 0 || fcntl(v->ctx->async_fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		rf_err_log("verbs", "async events: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	v->pd = ibv_alloc_pd(v->ctx);
	if (!v->pd || rf_fault_point()) {
		rf_err_log("verbs", "ibv_alloc_pd: %s", strerror(errno));
		return errno == ENOMEM ? RF_ERR_NO_MEMORY : RF_ERR_SYSTEM;
	}
	return RF_OK;
}

/* Who asks for it does not want his memory pinned: then that is no way out. */
static int require_odp(struct rf_verbs *v)
{
	v->odp = rf_verbs_mr_odp(v->ctx);
	if (v->odp)
		return RF_OK;
	rf_err_log(
		"verbs",
		"%s offers no on-demand paging of RDMA writes, which is asked for (odp); without "
		"it memory is pinned while it is registered",
		ibv_get_device_name(v->ctx->device));
	return RF_ERR_UNSUPPORTED;
}

static int open_verbs(const char *detail, const struct rf_transport_cfg *cfg,
		      struct rf_transport **out)
{
	uint32_t link_timeout = cfg->link_timeout ? cfg->link_timeout : DEFAULT_LINK_TIMEOUT;
	struct rf_verbs *v;
	int err;

	if (*detail) {
		rf_err_log("verbs", "there is no rung verbs:%s, only verbs", detail);
		return RF_ERR_NOT_FOUND;
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		return RF_ERR_NO_MEMORY;
	pthread_mutex_init(&v->lock, NULL);
	v->timing = rf_verbs_timing_of(link_timeout);
	v->silence_ms = rf_verbs_timing_silence_ms(link_timeout);
	if (cfg->peer_host) {
		v->peer_host = strdup(cfg->peer_host);
		if (!v->peer_host) {
			err = RF_ERR_NO_MEMORY;
			goto close;
		}
	}
	err = rf_verbs_device_open(v, cfg);
	if (!err)
		err = open_context(v);
	if (!err && cfg->odp)
		err = require_odp(v);
	if (!err)
		err = rf_verbs_device_caps(v);
	if (err)
		goto close;
	rf_debug("verbs",
		 "%s port %u: depth %u, inline %u, writes to %u KiB, %s, a dead path is noticed "
		 "after %u ms",
		 v->base.provider, v->port, v->base.caps.depth, v->inline_size,
		 v->base.caps.max_write / 1024, v->odp ? "on-demand paging" : "pinned",
		 rf_verbs_timing_detection_ms(v->timing));
	*out = &v->base;
	return RF_OK;
close:
	close_verbs(&v->base);
	return err;
}

const struct rf_transport_ops rf_verbs_ops = {
	.name = "verbs",
	.rungs = rf_verbs_rungs,
	.open = open_verbs,
	.close = close_verbs,
	.listen = rf_verbs_listen,
	.accept = rf_verbs_accept,
	.connect = rf_verbs_connect,
	.mr_register = rf_verbs_mr_register,
	.mr_deregister = rf_verbs_mr_deregister,
	.lane_write = rf_verbs_lane_write,
	.lane_fence = rf_verbs_lane_fence,
	.lane_send = rf_verbs_lane_send,
	.lane_write_imm = rf_verbs_lane_write_imm,
	.lane_poll = rf_verbs_lane_poll,
	.lane_arm = rf_verbs_lane_arm,
	.lane_close = rf_verbs_lane_close,
};
