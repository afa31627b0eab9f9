/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/raw_ofi.h"
#include "common/log.h"

#define API	  FI_VERSION(1, 15)
#define MR_MODES  (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY)
#define MAX_WRITE (1u << 30)

static int failed(const char *what, ssize_t rc)
{
	rf_err_log("raw", "%s: %s", what, fi_strerror((int)-rc));
	return RF_ERR_SYSTEM;
}

static struct fi_info *find(const char *provider, const char *local, const char *peer)
{
	struct fi_info *hints = fi_allocinfo(), *list = NULL, *found = NULL;

	if (!hints)
		return NULL;
	hints->fabric_attr->prov_name = strdup(provider);
	hints->caps = FI_MSG | FI_RMA;
	hints->mode = FI_CONTEXT | FI_CONTEXT2 | FI_RX_CQ_DATA;
	hints->ep_attr->type = FI_EP_MSG;
	hints->domain_attr->mr_mode = MR_MODES;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAS | FI_ORDER_SAW;
	if (fi_getinfo(API, local ? local : peer, local ? NULL : "1", local ? FI_SOURCE : 0, hints,
		       &list))
		list = NULL;
	for (struct fi_info *i = list; i && !found; i = i->next)
		if (!strcmp(i->fabric_attr->prov_name, provider))
			found = fi_dupinfo(i);
	fi_freeinfo(list);
	fi_freeinfo(hints);
	return found;
}

static void close_fid(void *fid)
{
	if (fid)
		fi_close(fid);
}

void raw_ofi_close(struct engine *e)
{
	struct raw *r = raw_of(e);

	for (unsigned i = 0; i < BENCH_MAX_LANES; i++) {
		close_fid(r->lane[i].ep);
		close_fid(r->lane[i].cq);
		close_fid(r->lane[i].eq);
	}
	close_fid(r->pep);
	close_fid(r->eq);
	close_fid(r->src_mr);
	close_fid(r->dst_mr);
	close_fid(r->domain);
	close_fid(r->fabric);
	if (r->info)
		fi_freeinfo(r->info);
	free(r);
}

int raw_ofi_open(const struct engine_cfg *cfg, struct engine **out)
{
	const char *provider = strchr(cfg->rung, ':') ? strchr(cfg->rung, ':') + 1 : "tcp";
	struct raw *r = calloc(1, sizeof(*r));
	bool sockets = !strcmp(provider, "sockets");
	int rc = 0;

	if (!r)
		return RF_ERR_NO_MEMORY;
	r->base.ops = &engine_raw_ofi;
	r->base.lanes = cfg->lanes;
	snprintf(r->base.provider, sizeof(r->base.provider), "%s", provider);
	r->info = find(provider, cfg->local_host, cfg->peer_host);
	if (!r->info) {
		rf_err_log("raw", "libfabric has no connected endpoints with remote writes for %s",
			   provider);
		raw_ofi_close(&r->base);
		return RF_ERR_UNSUPPORTED;
	}
	r->flags = FI_COMPLETION | (cfg->transmit ? FI_TRANSMIT_COMPLETE : FI_DELIVERY_COMPLETE);
	r->base.caps = (struct rf_transport_caps){
		.max_write = r->info->ep_attr->max_msg_size < MAX_WRITE
				     ? (uint32_t)r->info->ep_attr->max_msg_size
				     : MAX_WRITE,
		.depth = r->info->tx_attr->size < BENCH_MAX_DEPTH ? (uint32_t)r->info->tx_attr->size
								  : BENCH_MAX_DEPTH,
		.imm_bytes = (uint32_t)r->info->domain_attr->cq_data_size,
		.spin = !sockets, /* its progress thread starves beside a poller */
	};
	r->sleeps = cfg->sleeps || sockets;
	rc = fi_fabric(r->info->fabric_attr, &r->fabric, NULL);
	if (!rc)
		rc = fi_domain(r->fabric, r->info, &r->domain, NULL);
	if (rc) {
		raw_ofi_close(&r->base);
		return failed(provider, rc);
	}
	*out = &r->base;
	return RF_OK;
}

static int open_eq(struct raw *r, struct fid_eq **eq)
{
	struct fi_eq_attr attr = {.wait_obj = FI_WAIT_UNSPEC};
	int rc = fi_eq_open(r->fabric, &attr, eq, NULL);

	return rc ? failed("fi_eq_open", rc) : RF_OK;
}

static int open_lane(struct raw *r, struct raw_lane *l, struct fi_info *info)
{
	struct fi_cq_attr attr = {
		.size = 2 * BENCH_MAX_DEPTH,
		.format = FI_CQ_FORMAT_DATA,
		.wait_obj = r->sleeps ? FI_WAIT_FD : FI_WAIT_NONE,
	};
	int rc;

	if (open_eq(r, &l->eq))
		return RF_ERR_SYSTEM;
	rc = fi_cq_open(r->domain, &attr, &l->cq, NULL);
	if (!rc)
		rc = fi_endpoint(r->domain, info, &l->ep, NULL);
	if (!rc)
		rc = fi_ep_bind(l->ep, &l->cq->fid, FI_TRANSMIT | FI_RECV);
	if (!rc)
		rc = fi_ep_bind(l->ep, &l->eq->fid, 0);
	if (!rc)
		rc = fi_enable(l->ep);
	if (!rc && r->sleeps)
		rc = fi_control(&l->cq->fid, FI_GETWAIT, &l->fd);
	for (unsigned i = 0; i < RAW_RECVS && !rc; i++)
		rc = raw_ofi_post_recv(l, i);
	return rc ? failed("opening an endpoint", rc) : RF_OK;
}

/* The event that must come next; info of a request goes to the caller. */
static int await(struct fid_eq *eq, uint32_t wanted, uint32_t timeout, struct fi_info **info)
{
	struct fi_eq_cm_entry e;
	uint32_t event;
	ssize_t rc = fi_eq_sread(eq, &event, &e, sizeof(e), (int)timeout, 0);

	if (rc < 0)
		return failed("connecting", rc);
	if (info)
		*info = e.info;
	return event == wanted ? RF_OK : RF_ERR_REFUSED;
}

/* The lanes' address on the bench's own connection is the provider's. */
int raw_ofi_listen(struct engine *e, uint8_t *addr, uint32_t *len)
{
	struct raw *r = raw_of(e);
	size_t size = RF_WIRE_ADDR_SIZE;
	int rc;

	if (open_eq(r, &r->eq))
		return RF_ERR_SYSTEM;
	rc = fi_passive_ep(r->fabric, r->info, &r->pep, NULL);
	if (!rc)
		rc = fi_pep_bind(r->pep, &r->eq->fid, 0);
	if (!rc)
		rc = fi_listen(r->pep);
	if (!rc)
		rc = fi_getname(&r->pep->fid, addr, &size);
	*len = (uint32_t)size;
	return rc ? failed("listening", rc) : RF_OK;
}

int raw_ofi_accept(struct engine *e, const uint8_t *token, uint32_t timeout, int cancel_fd)
{
	struct raw *r = raw_of(e);
	struct fi_info *info;
	int rc = RF_OK;

	for (unsigned i = 0; i < e->lanes && !rc; i++) {
		rc = await(r->eq, FI_CONNREQ, timeout, &info);
		if (rc)
			break;
		rc = open_lane(r, &r->lane[i], info);
		if (!rc)
			rc = fi_accept(r->lane[i].ep, NULL, 0);
		if (!rc)
			rc = await(r->lane[i].eq, FI_CONNECTED, timeout, NULL);
		fi_freeinfo(info);
	}
	return rc;
}

int raw_ofi_connect(struct engine *e, const uint8_t *addr, uint32_t len, const uint8_t *token,
		    uint32_t timeout)
{
	struct raw *r = raw_of(e);
	struct fi_info *info = fi_dupinfo(r->info);
	int rc = RF_OK;

	if (!info)
		return RF_ERR_NO_MEMORY;
	free(info->dest_addr);
	info->dest_addr = malloc(len);
	info->dest_addrlen = info->dest_addr ? len : 0;
	if (!info->dest_addr)
		rc = RF_ERR_NO_MEMORY;
	else
		memcpy(info->dest_addr, addr, len);
	for (unsigned i = 0; i < e->lanes && !rc; i++) {
		rc = open_lane(r, &r->lane[i], info);
		if (!rc && fi_connect(r->lane[i].ep, addr, NULL, 0))
			rc = RF_ERR_REFUSED;
		if (!rc)
			rc = await(r->lane[i].eq, FI_CONNECTED, timeout, NULL);
	}
	fi_freeinfo(info);
	return rc;
}

int raw_ofi_add_memory(struct engine *e, void *p, size_t len, struct rf_remote_key *key)
{
	struct raw *r = raw_of(e);
	int mode = r->info->domain_attr->mr_mode;
	int rc = fi_mr_reg(r->domain, p, len, key ? FI_REMOTE_WRITE : FI_WRITE, 0, key ? 2 : 1, 0,
			   key ? &r->dst_mr : &r->src_mr, NULL);

	if (rc)
		return failed("fi_mr_reg", rc);
	if (!key) {
		e->src = p;
		return RF_OK;
	}
	key->base = mode & FI_MR_VIRT_ADDR ? (uintptr_t)p : 0;
	for (unsigned k = 0; k < RF_LANE_KINDS; k++)
		key->key[k] = fi_mr_key(r->dst_mr);
	return RF_OK;
}
