/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lanes of FI_EP_RDM: an endpoint of its own on each side, joined by an exchange of addresses.
 *
 *   connecting lane                      listening endpoint          accepted lane
 *     HELLO(token, kind, index, address) ───►  token right? ──makes──►
 *     ◄──────────────────────────────────────────── READY(address)
 *     ◄─────────────── REFUSED(wrong token)
 *   and when either end is closed: BYE. A peer that dies cannot say it: then posts stay
 *   unanswered until link_timeout, and the control stream's heartbeats end.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

#define BYE_MS 50 /* after that a BYE must have gone */

static int own_addr(struct rf_ofi_lane *l, uint8_t out[RF_OFI_ADDR_SIZE], size_t *len)
{
	int rc;

	*len = RF_OFI_ADDR_SIZE;
	rc = fi_getname(&l->ep->fid, out, len);
	if (rc) {
		rf_err_log("ofi", "lane %s: fi_getname: %s", l->base.name, fi_strerror(-rc));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}

static int insert_addr(struct rf_ofi_lane *l, const uint8_t *addr, fi_addr_t *out)
{
	if (fi_av_insert(l->av, addr, 1, out, 0, NULL) == 1)
		return RF_OK;
	rf_info("ofi", "lane %s: the provider does not take the peer's address", l->base.name);
	return RF_ERR_UNREACHABLE;
}

/* Waits for one completion. Other lanes' work goes on: nothing is locked. */
static int next_entry(struct rf_ofi *o, struct rf_ofi_lane *l, const struct rf_ofi_wait *w,
		      struct fi_cq_data_entry *e)
{
	int fd = rf_ofi_wait_fd(&l->cq->fid), err;
	ssize_t got;

	for (;;) {
		got = fi_cq_read(l->cq, e, 1);
		if (got == 1)
			return RF_OK;
		if (got == -FI_EAVAIL)
			return rf_ofi_poll_error(l);
		if (got < 0 && got != -FI_EAGAIN)
			return RF_ERR_SYSTEM;
		err = rf_ofi_wait_sleep(w, o->fabric, &l->cq->fid, fd);
		if (err)
			return err;
	}
}

/* Sends a message of ours and waits until it has gone. */
static int send_ctl(struct rf_ofi *o, struct rf_ofi_lane *l, fi_addr_t to, uint64_t ctl,
		    const void *data, size_t len, const struct rf_ofi_wait *w)
{
	int err;

	while ((err = rf_ofi_post_ctl(l, to, ctl, data, len)) == RF_NO_RESOURCE) {
		err = rf_ofi_wait_sleep(w, o->fabric, &l->cq->fid, -1);
		if (err)
			return err;
	}
	return err;
}

/* Waits for a message of ours; completions of sends are swallowed on the way. */
static int recv_ctl(struct rf_ofi *o, struct rf_ofi_lane *l, const struct rf_ofi_wait *w,
		    struct fi_cq_data_entry *e, struct rf_ofi_slot **msg)
{
	int err;

	for (;;) {
		err = next_entry(o, l, w, e);
		if (err)
			return err;
		*msg = e->op_context;
		if (!*msg)
			continue;
		if ((*msg)->rx && (e->flags & FI_REMOTE_CQ_DATA))
			return RF_OK;
		rf_ofi_poll_release(l, *msg);
	}
}

/* Lets sends go out before an endpoint is closed; what comes in is dropped. Bounded: the peer may
 * be gone. */
static void drain(struct rf_ofi_lane *l)
{
	struct fi_cq_data_entry e;
	struct rf_ofi_wait w;

	rf_ofi_wait_init(&w, BYE_MS, -1);
	while (l->nfree < l->base.t->caps.depth) {
		if (next_entry(rf_ofi_of(l), l, &w, &e))
			return;
		if (e.op_context)
			rf_ofi_poll_release(l, e.op_context);
	}
}

int rf_ofi_rdm_listen(struct rf_ofi *o, uint8_t *addr, uint32_t *addr_len)
{
	const struct rf_wire_lane id = {.kind = RF_LANE_BULK};
	int err = rf_ofi_lane_new(o, fi_dupinfo(o->info), &id, &o->front);

	if (err)
		return err;
	err = rf_ofi_addr_get(o, &o->front->ep->fid, addr, addr_len);
	if (err) {
		rf_ofi_lane_delete(o->front);
		o->front = NULL;
	}
	return err;
}

static int answer(struct rf_ofi *o, const struct rf_wire_lane *id, const uint8_t *peer,
		  const struct rf_ofi_wait *w, struct rf_ofi_lane **out)
{
	uint8_t addr[RF_OFI_ADDR_SIZE];
	struct rf_ofi_lane *l;
	size_t len;
	int err = rf_ofi_lane_new(o, fi_dupinfo(o->info), id, &l);

	if (err)
		return err;
	err = own_addr(l, addr, &len);
	if (!err)
		err = insert_addr(l, peer, &l->peer);
	if (!err)
		err = send_ctl(o, l, l->peer, RF_OFI_READY, addr, len, w);
	if (err) {
		rf_ofi_lane_delete(l);
		return err;
	}
	*out = l;
	return RF_OK;
}

static void refuse(struct rf_ofi *o, const uint8_t *peer, const struct rf_ofi_wait *w)
{
	static struct rf_log_limit limit;
	uint8_t nothing = 0;
	fi_addr_t to;

	rf_log_limited(&limit, RF_LOG_WARN, "ofi",
		       "turned away a lane without this session's token");
	if (insert_addr(o->front, peer, &to))
		return;
	/* The address stays in the vector: the message may not have gone yet. */
	send_ctl(o, o->front, to, RF_OFI_REFUSED, &nothing, sizeof(nothing), w);
}

/* A hello is the lane's id and an address of this provider's size. */
static bool parse_hello(const struct rf_ofi *o, const struct fi_cq_data_entry *e,
			const uint8_t *buf, struct rf_wire_lane *id, uint8_t *peer)
{
	size_t len = e->len;

	if (e->data != RF_OFI_HELLO || len <= RF_WIRE_LANE_SIZE ||
	    len - RF_WIRE_LANE_SIZE > RF_OFI_ADDR_SIZE)
		return false;
	len -= RF_WIRE_LANE_SIZE;
	if (o->info->addr_format == FI_ADDR_STR ? buf[RF_WIRE_LANE_SIZE + len - 1] != 0
						: len != o->info->src_addrlen)
		return false;
	memcpy(peer, buf + RF_WIRE_LANE_SIZE, len);
	return rf_wire_get_lane(buf, RF_WIRE_LANE_SIZE, id) == RF_OK;
}

int rf_ofi_rdm_accept(struct rf_ofi *o, const uint8_t *token, const struct rf_ofi_wait *w,
		      struct rf_ofi_lane **out)
{
	uint8_t peer[RF_OFI_ADDR_SIZE] = {0};
	struct fi_cq_data_entry e;
	struct rf_ofi_slot *msg;
	struct rf_wire_lane id;
	bool hello;
	int err;

	for (;;) {
		err = recv_ctl(o, o->front, w, &e, &msg);
		if (err)
			return err;
		hello = parse_hello(o, &e, msg->buf, &id, peer);
		rf_ofi_poll_release(o->front, msg);
		rf_ofi_post_recvs(o->front);
		if (!hello)
			continue;
		if (rf_token_equal(id.token, token))
			return answer(o, &id, peer, w, out);
		refuse(o, peer, w);
	}
}

/* The lane's other end, from READY. */
static int wait_ready(struct rf_ofi *o, struct rf_ofi_lane *l, const struct rf_ofi_wait *w)
{
	uint8_t peer[RF_OFI_ADDR_SIZE] = {0};
	struct fi_cq_data_entry e;
	struct rf_ofi_slot *msg;
	int err = recv_ctl(o, l, w, &e, &msg);

	if (err)
		return err;
	if (e.data == RF_OFI_READY && e.len <= sizeof(peer) &&
	    (o->info->addr_format != FI_ADDR_STR || (e.len && !msg->buf[e.len - 1])))
		memcpy(peer, msg->buf, e.len);
	else
		err = RF_ERR_REFUSED;
	rf_ofi_poll_release(l, msg);
	return err ? err : insert_addr(l, peer, &l->peer);
}

int rf_ofi_rdm_connect(struct rf_ofi *o, const uint8_t *addr, size_t addr_len,
		       const struct rf_wire_lane *id, const struct rf_ofi_wait *w,
		       struct rf_ofi_lane **out)
{
	uint8_t hello[RF_WIRE_LANE_SIZE + RF_OFI_ADDR_SIZE];
	struct rf_ofi_lane *l;
	fi_addr_t front;
	size_t len;
	int err = rf_ofi_lane_new(o, fi_dupinfo(o->info), id, &l);

	if (err)
		return err;
	rf_wire_put_lane(hello, id);
	err = own_addr(l, hello + RF_WIRE_LANE_SIZE, &len);
	if (!err)
		err = insert_addr(l, addr, &front);
	if (!err)
		err = send_ctl(o, l, front, RF_OFI_HELLO, hello, RF_WIRE_LANE_SIZE + len, w);
	if (!err)
		err = wait_ready(o, l, w);
	if (err)
		rf_ofi_lane_delete(l);
	else
		*out = l;
	return err;
}

void rf_ofi_rdm_bye(struct rf_ofi_lane *l)
{
	uint8_t nothing = 0;

	if (rf_ofi_post_ctl(l, l->peer, RF_OFI_BYE, &nothing, sizeof(nothing)) == RF_OK)
		drain(l);
}
