/* SPDX-License-Identifier: BSD-3-Clause */
/* What to ask libfabric for, which rungs there are, what a provider can do. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

/* Registration modes this backend can serve. FI_MR_ENDPOINT is not among them: there a key
 * belongs to one endpoint, and ours is for all lanes of a kind. */
#define MR_MODES (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY)

static struct fi_info *make_hints(const char *provider, enum fi_ep_type type, uint64_t order)
{
	struct fi_info *h = fi_allocinfo();

	if (!h)
		return NULL;
	h->fabric_attr->prov_name = strdup(provider);
	if (!h->fabric_attr->prov_name) {
		fi_freeinfo(h);
		return NULL;
	}
	h->caps = FI_MSG | FI_SEND | FI_RECV | FI_RMA | FI_WRITE | FI_REMOTE_WRITE;
	h->mode = FI_CONTEXT | FI_CONTEXT2 | FI_RX_CQ_DATA;
	h->ep_attr->type = type;
	h->tx_attr->msg_order = order;
	h->rx_attr->msg_order = order;
	h->domain_attr->mr_mode = MR_MODES;
	h->domain_attr->threading = FI_THREAD_SAFE;
	h->domain_attr->resource_mgmt = FI_RM_ENABLED;
	return h;
}

/* Frees a list of infos but the first one of it that is ours. */
static struct fi_info *take_first(struct fi_info *list, const char *provider)
{
	struct fi_info *found = NULL;

	for (struct fi_info *i = list; i && !found; i = i->next) {
		/* Asked for "tcp" libfabric also tells of "tcp;ofi_rxm". */
		if (!strcmp(i->fabric_attr->prov_name, provider))
			found = fi_dupinfo(i);
	}
	fi_freeinfo(list);
	if (found) {
		/* libfabric fills in what another link has open; that may be closed before us */
		found->domain_attr->domain = NULL;
		found->fabric_attr->fabric = NULL;
	}
	return found;
}

static bool is_ip(const struct fi_info *info)
{
	return info->addr_format == FI_SOCKADDR || info->addr_format == FI_SOCKADDR_IN ||
	       info->addr_format == FI_SOCKADDR_IN6;
}

/* One question to libfabric; IP providers are asked for the device of the lanes' address. */
static int ask(const char *provider, enum fi_ep_type type, uint64_t order,
	       const struct rf_transport_cfg *cfg, struct fi_info **out)
{
	struct fi_info *hints = make_hints(provider, type, order), *list, *first;
	const char *node = cfg->local_host ? cfg->local_host : cfg->peer_host;
	int rc;

	if (!hints)
		return -FI_ENOMEM;
	rc = fi_getinfo(RF_OFI_API, NULL, NULL, 0, hints, &list);
	if (rc)
		goto free_hints;
	first = take_first(list, provider);
	if (first && is_ip(first) && node) {
		fi_freeinfo(first);
		first = NULL;
		/* Towards the peer any port will do: only the route matters here. */
		rc = fi_getinfo(RF_OFI_API, node, cfg->local_host ? NULL : "1",
				cfg->local_host ? FI_SOURCE : 0, hints, &list);
		if (rc)
			goto free_hints;
		first = take_first(list, provider);
	}
	if (first)
		*out = first;
	else
		rc = -FI_ENODATA;
free_hints:
	fi_freeinfo(hints);
	return rc;
}

int rf_ofi_provider_find(const char *provider, const struct rf_transport_cfg *cfg,
			 struct fi_info **info, char *why, size_t why_size)
{
	static const enum fi_ep_type types[] = {FI_EP_MSG, FI_EP_RDM};
	/* With ordering offered a fence needs no wait for acknowledgements. */
	static const uint64_t orders[] = {FI_ORDER_SAW | FI_ORDER_WAW | FI_ORDER_SAS, FI_ORDER_SAS};
	int rc = -FI_ENODATA;

	for (unsigned t = 0; t < 2 && rc; t++) {
		for (unsigned o = 0; o < 2 && rc; o++)
			rc = ask(provider, types[t], orders[o], cfg, info);
	}
	if (!rc)
		return RF_OK;
	snprintf(why, why_size,
		 "libfabric has no provider %s with messages and remote writes%s%s: %s", provider,
		 cfg->local_host ? " at " : "", cfg->local_host ? cfg->local_host : "",
		 fi_strerror(-rc));
	return cfg->local_host || cfg->peer_host ? RF_ERR_UNREACHABLE : RF_ERR_UNSUPPORTED;
}

int rf_ofi_provider_rungs(const char *provider, char rungs[][RF_WIRE_RUNG_SIZE], unsigned max)
{
	static const char *const ladder[] = {"tcp", "sockets"};
	const struct rf_transport_cfg cfg = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < (provider ? 1 : 2) && n < max; i++) {
		const char *name = provider ? provider : ladder[i];
		struct fi_info *info;
		char why[160];

		if (strlen(name) > RF_WIRE_RUNG_SIZE - sizeof("ofi:")) {
			rf_err_log("ofi", "provider name %s is too long", name);
			return RF_ERR_INVALID;
		}
		if (rf_ofi_provider_find(name, &cfg, &info, why, sizeof(why))) {
			rf_info("ofi", "rung ofi:%s left out: %s", name, why);
			continue;
		}
		fi_freeinfo(info);
		snprintf(rungs[n++], RF_WIRE_RUNG_SIZE, "ofi:%.27s", name);
	}
	return (int)n;
}

bool rf_ofi_provider_ordered(const struct fi_info *info)
{
	const uint64_t need = FI_ORDER_SAW | FI_ORDER_WAW | FI_ORDER_SAS;

	return (info->tx_attr->msg_order & info->rx_attr->msg_order & need) == need;
}

/*
 * `sockets` peeks until it has the whole head of a message. If TCP's receive window is closed while
 * part of a head is the rest of a large buffer, neither side ever moves again (seen on Linux 6.18).
 * Less than a receive buffer on the way keeps the window open; a large write goes alone.
 */
uint32_t rf_ofi_provider_window(const struct fi_info *info)
{
	return strcmp(info->fabric_attr->prov_name, "sockets") ? 0 : 32u << 10;
}

void rf_ofi_provider_caps(const struct fi_info *info, struct rf_transport_caps *caps)
{
	const char *name = info->fabric_attr->prov_name;
	size_t cq_data = info->domain_attr->cq_data_size;

	*caps = (struct rf_transport_caps){
		.max_write = RF_OFI_MAX_WRITE,
		.depth = RF_OFI_DEPTH,
		.inline_size = (uint32_t)(info->tx_attr->inject_size < RF_OFI_MAX_MSG
						  ? info->tx_attr->inject_size
						  : RF_OFI_MAX_MSG),
		.max_msg = RF_OFI_MAX_MSG,
		.imm_bytes = cq_data >= 8   ? 8
			     : cq_data >= 4 ? 4
					    : 0,
		/* tcp says automatic and moves only when its queue is read */
		.target_progress = info->domain_attr->data_progress == FI_PROGRESS_MANUAL ||
				   !strcmp(name, "tcp"),
		/* sockets starves its own progress thread when a poller spins */
		.spin = strcmp(name, "sockets") != 0,
		.pins = (info->domain_attr->mr_mode & FI_MR_ALLOCATED) != 0,
	};
	if (info->ep_attr->max_msg_size < caps->max_write)
		caps->max_write = (uint32_t)info->ep_attr->max_msg_size;
	if (info->tx_attr->size < caps->depth)
		caps->depth = (uint32_t)info->tx_attr->size;
}
