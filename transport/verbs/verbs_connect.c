/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lanes coming up. The token travels as private data of the request: a stranger is rejected
 * before anything is made for it, and the wait goes on.
 *
 *   source                                     destination
 *   resolve address, route                     listen
 *   make queues, receives posted
 *   rdma_connect ──── request: token ────────► is it ours? make queues, receives posted
 *                                              ready to receive and send
 *   ready to receive and send ◄──── reply ──── rdma_accept
 *   rdma_establish ────────────────────────►   established
 *
 * Each lane has an event channel of its own, so that its end wakes its owner and nobody else.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

#define BACKLOG 64

/* The reply has these, the request as well; 7: a peer without a receive is asked again without
 * end, as our clock is there to end it. */
static struct rdma_conn_param conn_param(const struct rf_verbs_lane *l)
{
	return (struct rdma_conn_param){
		.qp_num = l->qp->qp_num,
		.retry_count = rf_verbs_of(l)->timing.retries,
		.rnr_retry_count = 7,
	};
}

/* ---- destination ---- */

/* IPv6's "any" serves both families, unless the host has no IPv6. */
static int bind_listener(struct rf_verbs *v)
{
	struct sockaddr_storage ss = v->local;

	if (ss.ss_family != AF_UNSPEC)
		return rdma_bind_addr(v->listener, (struct sockaddr *)&ss);
	ss.ss_family = AF_INET6;
	if (!rdma_bind_addr(v->listener, (struct sockaddr *)&ss))
		return 0;
	ss.ss_family = AF_INET;
	return rdma_bind_addr(v->listener, (struct sockaddr *)&ss);
}

int rf_verbs_listen(struct rf_transport *t, uint8_t *addr, uint32_t *addr_len)
{
	struct rf_verbs *v = rf_verbs(t);
	char host[RF_VERBS_HOST_SIZE] = "any address";
	int err;

	if (v->requests)
		return RF_ERR_STATE;
	if (v->local.ss_family != AF_UNSPEC)
		rf_verbs_addr_text((struct sockaddr *)&v->local, host);
	v->requests = rf_verbs_cm_channel();
	if (!v->requests || rdma_create_id(v->requests, &v->listener, NULL, RDMA_PS_TCP))
		goto failed;
	if (bind_listener(v) || rdma_listen(v->listener, BACKLOG) || rf_fault_point())
		goto failed;
	rf_verbs_addr_put(rdma_get_local_addr(v->listener), addr);
	*addr_len = RF_VERBS_ADDR_SIZE;
	return RF_OK;
failed:
	err = errno;
	rf_err_log("verbs", "listening at %s: %s", host, strerror(err));
	if (v->listener)
		rdma_destroy_id(v->listener);
	if (v->requests)
		rdma_destroy_event_channel(v->requests);
	v->listener = NULL;
	v->requests = NULL;
	return rf_verbs_error_of_errno(err);
}

static void turn_away(struct rdma_cm_id *id, const char *why)
{
	static struct rf_log_limit limit;
	char peer[RF_VERBS_HOST_SIZE];

	rf_verbs_addr_text(rdma_get_peer_addr(id), peer);
	rf_log_limited(&limit, RF_LOG_WARN, "verbs", "turned away a lane from %s: %s", peer, why);
	rdma_reject(id, NULL, 0);
	rdma_destroy_id(id);
}

/* Memory is registered with one device. */
static bool on_our_device(const struct rf_verbs *v, const struct rdma_cm_id *id)
{
	return id->verbs &&
	       !strcmp(ibv_get_device_name(id->verbs->device), ibv_get_device_name(v->ctx->device));
}

/* A request whose sender has given up has no attributes any more. There is no event that tells of
 * it: the kernel keeps those back until the request is answered. */
static bool given_up(const struct rf_verbs_lane *l)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT};
	int mask;

	return rdma_init_qp_attr(l->id, &attr, &mask) != 0;
}

/* Answers a request. RF_AGAIN: its sender is gone. */
static int answer(struct rf_verbs_lane *l, const struct rf_verbs_wait *w)
{
	struct rdma_conn_param param;
	int err = given_up(l) ? RF_AGAIN : rf_verbs_lane_open(l);

	if (!err)
		err = rf_verbs_qp_ready(l);
	if (err)
		return given_up(l) ? RF_AGAIN : err;
	param = conn_param(l);
	if (rf_fault_point() || rdma_accept(l->id, &param)) {
		rf_info("verbs", "lane %s: rdma_accept: %s", l->base.name, strerror(errno));
		return RF_AGAIN;
	}
	err = rf_verbs_cm_expect(l->events, w, RDMA_CM_EVENT_ESTABLISHED, l->base.name, l->peer);
	return err == RF_ERR_REFUSED ? RF_AGAIN : err;
}

static int take_request(struct rf_verbs *v, struct rdma_cm_id *id, const struct rf_wire_lane *wire,
			const struct rf_verbs_wait *w, struct rf_verbs_lane **out)
{
	struct rf_verbs_lane *l;
	int err = rf_verbs_lane_new(v, wire, &l);

	if (err) {
		turn_away(id, rf_err_str(err));
		return err;
	}
	/* its events are the lane's from here on */
	if (rf_fault_point() || rdma_migrate_id(id, l->events)) {
		rf_err_log("verbs", "lane %s: rdma_migrate_id: %s", l->base.name, strerror(errno));
		turn_away(id, "no event channel for it");
		rf_verbs_lane_delete(l);
		return RF_ERR_SYSTEM;
	}
	l->id = id;
	rf_verbs_addr_text(rdma_get_peer_addr(id), l->peer);
	err = answer(l, w);
	if (err) {
		rf_verbs_lane_delete(l);
		return err;
	}
	l->connected = true;
	*out = l;
	return RF_OK;
}

int rf_verbs_accept(struct rf_transport *t, const uint8_t *token, uint32_t timeout, int cancel_fd,
		    struct rf_lane **out)
{
	struct rf_verbs *v = rf_verbs(t);
	struct rf_verbs_lane *l = NULL;
	struct rf_verbs_cm_event e;
	struct rf_verbs_wait w;
	struct rf_wire_lane id;
	int err;

	if (!v->requests)
		return RF_ERR_STATE;
	rf_verbs_wait_init(&w, timeout, cancel_fd);
	for (;;) {
		err = rf_verbs_cm_wait(v->requests, &w, &e);
		if (err)
			return err;
		if (e.type == RDMA_CM_EVENT_DEVICE_REMOVAL) {
			rf_err_log("verbs", "%s: the device was removed", v->base.provider);
			return RF_ERR_UNREACHABLE;
		}
		if (e.type != RDMA_CM_EVENT_CONNECT_REQUEST)
			continue;
		if (rf_wire_get_lane(e.data, e.data_len, &id) || id.kind >= RF_LANE_KINDS ||
		    !rf_token_equal(id.token, token)) {
			turn_away(e.id, "it has not this session's token");
			continue;
		}
		if (!on_our_device(v, e.id)) {
			turn_away(e.id, "it came by another device; name the local address to use");
			continue;
		}
		err = take_request(v, e.id, &id, &w, &l);
		if (err == RF_AGAIN)
			continue;
		if (err)
			return err;
		rf_verbs_lane_list(l);
		*out = &l->base;
		return RF_OK;
	}
}

/* ---- source ---- */

/* Urgent lanes ask the network for its urgent class. Before the route is resolved. */
static void set_service(struct rf_verbs_lane *l)
{
	uint8_t tos = RF_VERBS_URGENT_TOS;

	if (l->base.kind != RF_LANE_URGENT)
		return;
	if (rdma_set_option(l->id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos, sizeof(tos)))
		rf_info("verbs", "lane %s: type of service cannot be set: %s", l->base.name,
			strerror(errno));
}

static int call_failed(const struct rf_verbs_lane *l, const char *call)
{
	int err = errno;

	if (err == ENODEV)
		rf_err_log("verbs", "lane %s: no RDMA device leads to %s", l->base.name, l->peer);
	else
		rf_err_log("verbs", "lane %s: %s to %s: %s", l->base.name, call, l->peer,
			   strerror(err));
	return rf_verbs_error_of_errno(err);
}

static int resolve(struct rf_verbs_lane *l, struct sockaddr *to, const struct rf_verbs_wait *w)
{
	struct rf_verbs *v = rf_verbs_of(l);
	struct sockaddr *from =
		v->local.ss_family != AF_UNSPEC ? (struct sockaddr *)&v->local : NULL;
	int err;

	set_service(l);
	if (rdma_resolve_addr(l->id, from, to, rf_verbs_wait_left(w)) || rf_fault_point())
		return call_failed(l, "resolving the address");
	err = rf_verbs_cm_expect(l->events, w, RDMA_CM_EVENT_ADDR_RESOLVED, l->base.name, l->peer);
	if (err)
		return err;
	if (!on_our_device(v, l->id)) {
		rf_err_log("verbs", "lane %s: the way to %s is not by %s", l->base.name, l->peer,
			   v->base.provider);
		return RF_ERR_UNREACHABLE;
	}
	if (rdma_resolve_route(l->id, rf_verbs_wait_left(w)) || rf_fault_point())
		return call_failed(l, "resolving the route");
	return rf_verbs_cm_expect(l->events, w, RDMA_CM_EVENT_ROUTE_RESOLVED, l->base.name,
				  l->peer);
}

static int shake_hands(struct rf_verbs_lane *l, const struct rf_wire_lane *id,
		       const struct rf_verbs_wait *w)
{
	uint8_t data[RF_WIRE_LANE_SIZE];
	struct rdma_conn_param param = conn_param(l);
	int err;

	rf_wire_put_lane(data, id);
	param.private_data = data;
	param.private_data_len = sizeof(data);
	if (rdma_connect(l->id, &param) || rf_fault_point())
		return call_failed(l, "rdma_connect");
	err = rf_verbs_cm_expect(l->events, w, RDMA_CM_EVENT_CONNECT_RESPONSE, l->base.name,
				 l->peer);
	if (err)
		return err;
	err = rf_verbs_qp_ready(l);
	if (err)
		return err;
	return rf_fault_point() || rdma_establish(l->id) ? call_failed(l, "rdma_establish") : RF_OK;
}

int rf_verbs_connect(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
		     const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
		     struct rf_lane **out)
{
	struct rf_verbs *v = rf_verbs(t);
	struct sockaddr_storage to;
	struct rf_verbs_lane *l;
	struct rf_verbs_wait w;
	int err = rf_verbs_addr_get(v, addr, addr_len, &to);

	if (err)
		return err;
	rf_verbs_wait_init(&w, timeout, cancel_fd);
	err = rf_verbs_lane_new(v, id, &l);
	if (err)
		return err;
	rf_verbs_addr_text((struct sockaddr *)&to, l->peer);
	if (rdma_create_id(l->events, &l->id, NULL, RDMA_PS_TCP) || rf_fault_point()) {
		err = call_failed(l, "rdma_create_id");
		goto delete_lane;
	}
	err = resolve(l, (struct sockaddr *)&to, &w);
	if (!err)
		err = rf_verbs_lane_open(l);
	if (!err)
		err = shake_hands(l, id, &w);
	if (err)
		goto delete_lane;
	l->connected = true;
	rf_verbs_lane_list(l);
	*out = &l->base;
	return RF_OK;
delete_lane:
	rf_verbs_lane_delete(l);
	return err;
}
