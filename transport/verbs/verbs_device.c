/* SPDX-License-Identifier: BSD-3-Clause */
/* Which devices there are, which one serves an address, and what it can do. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

#define RESOLVE_MS 2000 /* to find the device that leads to the peer */

static const char *port_state(enum ibv_port_state state)
{
	return state == IBV_PORT_ACTIVE ? "active" : ibv_port_state_str(state);
}

/* First active port of dev, 0 if there is none; what is missing goes to the log. */
static uint8_t active_port(struct ibv_device *dev)
{
	const char *name = ibv_get_device_name(dev);
	struct ibv_device_attr attr;
	struct ibv_port_attr port;
	struct ibv_context *ctx;
	uint8_t found = 0;

	if (dev->transport_type != IBV_TRANSPORT_IB) {
		rf_info("verbs",
			"%s: neither InfiniBand nor RoCE, and so without the write with "
			"immediate that we need",
			name);
		return 0;
	}
	ctx = ibv_open_device(dev);
	if (!ctx) {
		rf_info("verbs", "%s: cannot be opened: %s", name, strerror(errno));
		return 0;
	}
	if (!ibv_query_device(ctx, &attr)) {
		for (uint8_t i = 1; i <= attr.phys_port_cnt && !found; i++) {
			if (ibv_query_port(ctx, i, &port))
				continue;
			if (port.state == IBV_PORT_ACTIVE)
				found = i;
			else
				rf_info("verbs", "%s: port %u is not active: %s", name, i,
					port_state(port.state));
		}
	}
	ibv_close_device(ctx);
	return found;
}

/* Opens the first device with an active port. *ctx stays NULL if there is none. */
static unsigned find_active(struct ibv_context **ctx, uint8_t *port)
{
	struct ibv_device **list;
	int n = 0;
	unsigned found = 0;

	list = ibv_get_device_list(&n);
	for (int i = 0; list && i < n; i++) {
		uint8_t p = active_port(list[i]);

		if (!p)
			continue;
		found++;
		if (!ctx || *ctx)
			continue;
		*ctx = ibv_open_device(list[i]);
		*port = p;
	}
	if (list)
		ibv_free_device_list(list);
	return found;
}

int rf_verbs_rungs(const char *provider, char rungs[][RF_WIRE_RUNG_SIZE], unsigned max)
{
	struct rdma_event_channel *ch;

	if (provider) {
		rf_info("verbs", "rung verbs left out: provider %s is asked for", provider);
		return 0;
	}
	if (!find_active(NULL, NULL)) {
		rf_info("verbs", "rung verbs left out: no RDMA device with an active port");
		return 0;
	}
	ch = rdma_create_event_channel();
	if (!ch) {
		rf_info("verbs", "rung verbs left out: no connection manager (module rdma_ucm): %s",
			strerror(errno));
		return 0;
	}
	rdma_destroy_event_channel(ch);
	snprintf(rungs[0], RF_WIRE_RUNG_SIZE, "verbs");
	return 1;
}

/* ---- opening ---- */

static bool is_wildcard(const struct sockaddr_storage *ss)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

	return ss->ss_family == AF_INET6
		       ? IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)
		       : ((const struct sockaddr_in *)ss)->sin_addr.s_addr == INADDR_ANY;
}

/* The device that has the address. */
static int bind_local(struct rdma_cm_id *id, struct rf_verbs *v, const char *host)
{
	int err = rf_verbs_addr_resolve(host, &v->local);

	if (err)
		return err;
	if (is_wildcard(&v->local)) {
		v->local.ss_family = AF_UNSPEC;
		return RF_OK;
	}
	/* a loopback address is bound without an error, and without a device */
	err = ENODEV;
	if (rdma_bind_addr(id, (struct sockaddr *)&v->local))
		err = errno;
	else if (id->verbs)
		return RF_OK;
	if (err == ENODEV)
		rf_err_log("verbs", "no RDMA device has the address %s", host);
	else
		rf_err_log("verbs", "address %s cannot be used: %s", host, strerror(err));
	return rf_verbs_error_of_errno(err);
}

/* The device that leads to the peer. */
static int route_to_peer(struct rdma_cm_id *id, const char *host)
{
	struct sockaddr_storage peer;
	struct rf_verbs_cm_event e;
	struct rf_verbs_wait w;
	char words[128];
	int err = rf_verbs_addr_resolve(host, &peer);

	if (err)
		return err;
	rf_verbs_wait_init(&w, RESOLVE_MS, -1);
	if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&peer, RESOLVE_MS)) {
		err = errno;
		rf_err_log("verbs", "no RDMA device leads to %s: %s", host, strerror(err));
		return rf_verbs_error_of_errno(err);
	}
	err = rf_verbs_cm_wait(id->channel, &w, &e);
	if (!err && e.type == RDMA_CM_EVENT_ADDR_RESOLVED && !e.status && id->verbs)
		return RF_OK;
	if (!err && e.type == RDMA_CM_EVENT_ADDR_RESOLVED)
		snprintf(words, sizeof(words), "it is this host itself");
	else if (err)
		snprintf(words, sizeof(words), "it did not answer in time");
	else
		rf_verbs_error_of_cm(e.type, e.status, words, sizeof(words));
	rf_err_log("verbs", "no RDMA device leads to %s: %s", host, words);
	return RF_ERR_UNREACHABLE;
}

static int open_any(struct rf_verbs *v)
{
	unsigned n = find_active(&v->ctx, &v->port);

	if (!v->ctx) {
		rf_err_log("verbs", "no RDMA device with an active port");
		return RF_ERR_UNSUPPORTED;
	}
	if (n > 1)
		rf_warn("verbs",
			"%u RDMA devices and neither a local address nor the peer's is known: "
			"taking %s",
			n, ibv_get_device_name(v->ctx->device));
	return RF_OK;
}

static int open_found(struct rf_verbs *v, const struct rdma_cm_id *id, const char *host)
{
	if (id->verbs->device->transport_type != IBV_TRANSPORT_IB) {
		rf_err_log("verbs", "%s: the device of %s is neither InfiniBand nor RoCE",
			   ibv_get_device_name(id->verbs->device), host);
		return RF_ERR_UNSUPPORTED;
	}
	v->ctx = ibv_open_device(id->verbs->device);
	v->port = id->port_num;
	if (!v->ctx) {
		rf_err_log("verbs", "opening %s: %s", ibv_get_device_name(id->verbs->device),
			   strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}

int rf_verbs_device_open(struct rf_verbs *v, const struct rf_transport_cfg *cfg)
{
	const char *host = cfg->local_host ? cfg->local_host : cfg->peer_host;
	struct rdma_event_channel *ch = rf_verbs_cm_channel();
	struct rdma_cm_id *id;
	int err;

	if (!ch) {
		rf_err_log("verbs",
			   "no RDMA device, or no connection manager (module rdma_ucm): %s",
			   strerror(errno));
		return errno == EACCES || errno == EPERM ? RF_ERR_PERMISSION : RF_ERR_UNSUPPORTED;
	}
	if (!host) {
		err = open_any(v);
		goto destroy_channel;
	}
	if (rf_fault_point() || rdma_create_id(ch, &id, NULL, RDMA_PS_TCP)) {
		rf_err_log("verbs", "rdma_create_id: %s", strerror(errno));
		err = RF_ERR_SYSTEM;
		goto destroy_channel;
	}
	err = cfg->local_host ? bind_local(id, v, host) : route_to_peer(id, host);
	if (!err)
		err = id->verbs ? open_found(v, id, host) : open_any(v);
	rdma_destroy_id(id);
destroy_channel:
	rdma_destroy_event_channel(ch);
	return err;
}

/* ---- capabilities ---- */

/* How much the device takes inline is known only when a queue pair is made. */
static int probe_inline(struct rf_verbs *v)
{
	struct ibv_cq *cq = ibv_create_cq(v->ctx, 1, NULL, NULL, 0);
	struct ibv_qp *qp = NULL;

	v->inline_size = RF_VERBS_INLINE;
	if (cq)
		qp = rf_verbs_qp_new(v, cq, v->base.caps.depth, &v->inline_size);
	if (!qp)
		rf_err_log("verbs", "%s: cannot make a queue pair: %s", v->base.provider,
			   strerror(errno));
	else
		ibv_destroy_qp(qp);
	if (cq)
		ibv_destroy_cq(cq);
	return qp ? RF_OK : RF_ERR_SYSTEM;
}

int rf_verbs_device_caps(struct rf_verbs *v)
{
	struct rf_transport_caps *caps = &v->base.caps;
	struct ibv_device_attr attr;
	struct ibv_port_attr port;
	int err;

	snprintf(v->base.provider, sizeof(v->base.provider), "%s",
		 ibv_get_device_name(v->ctx->device));
	if (ibv_query_device(v->ctx, &attr) || ibv_query_port(v->ctx, v->port, &port) ||
	    rf_fault_point()) {
		rf_err_log("verbs", "%s: asking for its limits: %s", v->base.provider,
			   strerror(errno));
		return RF_ERR_SYSTEM;
	}
	*caps = (struct rf_transport_caps){
		.max_write = RF_VERBS_MAX_WRITE,
		.depth = RF_VERBS_DEPTH,
		.max_msg = RF_VERBS_MAX_MSG,
		.imm_bytes = 4,
		.spin = sysconf(_SC_NPROCESSORS_ONLN) > 2,
		.pins = !v->odp,
	};
	if (port.max_msg_sz < caps->max_write)
		caps->max_write = port.max_msg_sz;
	if (attr.max_qp_wr < (int)caps->depth)
		caps->depth = (uint32_t)attr.max_qp_wr;
	if (attr.max_cqe < (int)(caps->depth + RF_VERBS_RECVS))
		caps->depth = (uint32_t)attr.max_cqe - RF_VERBS_RECVS;
	err = probe_inline(v);
	caps->inline_size = v->inline_size;
	return err;
}
