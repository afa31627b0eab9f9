/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing, and the table. */
#include "transport/ofi/ofi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define DEFAULT_LINK_TIMEOUT 10000 /* ms */

static void close_ofi(struct rf_transport *t)
{
	struct rf_ofi *o = rf_ofi(t);

	if (o->front)
		rf_ofi_lane_delete(o->front);
	if (o->pep) {
		rf_ofi_msg_turn_away(o);
		fi_close(&o->pep->fid);
	}
	if (o->eq)
		fi_close(&o->eq->fid);
	if (o->pep_info)
		fi_freeinfo(o->pep_info);
	for (unsigned k = 0; k < RF_LANE_KINDS; k++) {
		if (o->domain[k])
			fi_close(&o->domain[k]->fid);
	}
	if (o->fabric)
		fi_close(&o->fabric->fid);
	if (o->info)
		fi_freeinfo(o->info);
	pthread_mutex_destroy(&o->gate);
	free(o->peer_host);
	free(o);
}

static int open_fabric(struct rf_ofi *o)
{
	int rc = fi_fabric(o->info->fabric_attr, &o->fabric, NULL);

	for (unsigned k = 0; k < RF_LANE_KINDS && !rc; k++)
		rc = fi_domain(o->fabric, o->info, &o->domain[k], NULL);
	if (!rc)
		return RF_OK;
	rf_err_log("ofi", "opening provider %s: %s", o->base.provider, fi_strerror(-rc));
	return rc == -FI_ENOMEM ? RF_ERR_NO_MEMORY : RF_ERR_SYSTEM;
}

static int open_ofi(const char *detail, const struct rf_transport_cfg *cfg,
		    struct rf_transport **out)
{
	const char *provider = *detail ? detail : "tcp";
	struct rf_ofi *o = calloc(1, sizeof(*o));
	char why[200];
	int err;

	if (!o)
		return RF_ERR_NO_MEMORY;
	pthread_mutex_init(&o->gate, NULL);
	err = rf_ofi_provider_find(provider, cfg, &o->info, why, sizeof(why));
	if (err) {
		rf_err_log("ofi", "%s", why);
		goto close;
	}
	snprintf(o->base.provider, sizeof(o->base.provider), "%s", provider);
	rf_ofi_provider_caps(o->info, &o->base.caps);
	o->msg = o->info->ep_attr->type == FI_EP_MSG;
	o->ordered = rf_ofi_provider_ordered(o->info);
	o->blocking_connect = !strcmp(provider, "sockets");
	o->window = rf_ofi_provider_window(o->info);
	o->any_host = !cfg->local_host;
	o->link_timeout = cfg->link_timeout ? cfg->link_timeout : DEFAULT_LINK_TIMEOUT;
	if (cfg->peer_host) {
		o->peer_host = strdup(cfg->peer_host);
		err = o->peer_host ? RF_OK : RF_ERR_NO_MEMORY;
	}
	if (!err)
		err = open_fabric(o);
	if (err)
		goto close;
	rf_debug("ofi", "provider %s: %s endpoints, fences %s, registration mode %#x", provider,
		 o->msg ? "connected" : "datagram", o->ordered ? "in order" : "after a drain",
		 (unsigned)o->info->domain_attr->mr_mode);
	*out = &o->base;
	return RF_OK;
close:
	close_ofi(&o->base);
	return err;
}

static int listen_ofi(struct rf_transport *t, uint8_t *addr, uint32_t *addr_len)
{
	struct rf_ofi *o = rf_ofi(t);

	if (o->eq || o->front)
		return RF_ERR_STATE;
	return o->msg ? rf_ofi_msg_listen(o, addr, addr_len) : rf_ofi_rdm_listen(o, addr, addr_len);
}

static int accept_ofi(struct rf_transport *t, const uint8_t *token, uint32_t timeout, int cancel_fd,
		      struct rf_lane **out)
{
	struct rf_ofi *o = rf_ofi(t);
	struct rf_ofi_lane *l;
	struct rf_ofi_wait w;
	int err;

	if (!o->pep && !o->front)
		return RF_ERR_STATE;
	rf_ofi_wait_init(&w, timeout, cancel_fd);
	err = o->msg ? rf_ofi_msg_accept(o, token, &w, &l) : rf_ofi_rdm_accept(o, token, &w, &l);
	if (err)
		return err;
	rf_ofi_lane_up(l);
	*out = &l->base;
	return RF_OK;
}

static int connect_ofi(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
		       const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
		       struct rf_lane **out)
{
	struct rf_ofi *o = rf_ofi(t);
	uint8_t raw[RF_OFI_ADDR_SIZE];
	struct rf_ofi_lane *l;
	struct rf_ofi_wait w;
	size_t len;
	int err = rf_ofi_addr_parse(o, addr, addr_len, raw, &len);

	if (err)
		return err;
	rf_ofi_wait_init(&w, timeout, cancel_fd);
	err = o->msg ? rf_ofi_msg_connect(o, raw, len, id, &w, &l)
		     : rf_ofi_rdm_connect(o, raw, len, id, &w, &l);
	if (err)
		return err;
	rf_ofi_lane_up(l);
	*out = &l->base;
	return RF_OK;
}

static void close_lane(struct rf_lane *lane)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	struct rf_completion c[RF_OFI_DEPTH];

	/* The other end may have said goodbye; then there is nobody to say it to. */
	if (!rf_ofi_of(l)->msg && !l->ended) {
		rf_ofi_lane_poll(lane, c, RF_OFI_DEPTH);
		if (!l->peer_gone)
			rf_ofi_rdm_bye(l);
	}
	rf_ofi_lane_delete(l);
}

const struct rf_transport_ops rf_ofi_ops = {
	.name = "ofi",
	.rungs = rf_ofi_provider_rungs,
	.open = open_ofi,
	.close = close_ofi,
	.listen = listen_ofi,
	.accept = accept_ofi,
	.connect = connect_ofi,
	.mr_register = rf_ofi_mr_register,
	.mr_deregister = rf_ofi_mr_deregister,
	.lane_write = rf_ofi_lane_write,
	.lane_fence = rf_ofi_lane_fence,
	.lane_send = rf_ofi_lane_send,
	.lane_write_imm = rf_ofi_lane_write_imm,
	.lane_poll = rf_ofi_lane_poll,
	.lane_arm = rf_ofi_lane_arm,
	.lane_close = close_lane,
};
