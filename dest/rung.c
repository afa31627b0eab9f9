/* SPDX-License-Identifier: BSD-3-Clause */
/* The ladder as the destination climbs it: opens what the source asks for, takes its lanes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/log.h"
#include "dest/dest.h"

static int send_offer(struct rf_dest *d, const struct rf_wire_status *st,
		      const struct rf_wire_rung_offer *offer)
{
	struct rf_wbuf b;

	rf_wbuf_init(&b, d->reply, RF_WIRE_MAX_PAYLOAD);
	rf_wire_put_rung_offer(&b, st, offer);
	return rf_dest_send(d, RF_WIRE_RUNG_OFFER, d->reply, (uint32_t)b.len);
}

static int send_lanes_up(struct rf_dest *d, int err, const char *text)
{
	struct rf_wire_status st = {.err = err};
	struct rf_wbuf b;

	snprintf(st.text, sizeof(st.text), "%s", text);
	rf_wbuf_init(&b, d->reply, RF_WIRE_MAX_PAYLOAD);
	rf_wire_put_status(&b, &st);
	return rf_dest_send(d, RF_WIRE_LANES_UP, d->reply, (uint32_t)b.len);
}

void rf_dest_close_lanes(struct rf_dest *d)
{
	rf_dst_lanes_stop(&d->lanes);
	for (unsigned i = 0; i < d->nurgent; i++)
		rf_lane_close(&d->urgent[i]);
	d->nurgent = 0;
}

static void drop_rung(struct rf_dest *d)
{
	rf_dest_close_lanes(d);
	rf_transport_close(&d->t);
}

static void set_why(struct rf_wire_status *st, const struct rf_log_capture *words)
{
	snprintf(st->text, sizeof(st->text), "%.*s", (int)sizeof(st->text) - 1,
		 words->text[0] ? words->text : rf_err_str(st->err));
}

/* Opens the rung and listens. An error is told to the source and in st; not fatal. */
static int open_rung(struct rf_dest *d, const char *name, struct rf_wire_rung_offer *offer,
		     struct rf_wire_status *st)
{
	struct rf_transport_cfg cfg = {
		.local_host = rf_ctrl_local_host(d->ctrl),
		.peer_host = rf_ctrl_peer_host(d->ctrl),
		.link_timeout = d->cfg.link_timeout,
		.max_lanes = d->hello.bulk_lanes + d->hello.urgent_lanes,
		.odp = d->cfg.odp,
		.topology = d->plan.topology,
		.hub = d->hub,
	};
	struct rf_log_capture words;

	rf_log_capture_begin(&words);
	st->err = rf_transport_open(name, &cfg, &d->t);
	if (st->err == RF_OK)
		st->err = rf_transport_listen(d->t, offer->addr, &offer->addr_len);
	rf_log_capture_end(&words);
	if (st->err == RF_OK)
		return RF_OK;
	set_why(st, &words);
	rf_info("dest", "transport %s does not work: %s", name, st->text);
	drop_rung(d);
	return st->err;
}

/* An fd that is readable when a frame comes or the user cancels: both end an accept. */
static int make_interrupt_fd(struct rf_dest *d)
{
	int fds[] = {rf_ctrl_fd(d->ctrl), d->cancel_fd};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	for (size_t i = 0; ep >= 0 && i < sizeof(fds) / sizeof(*fds); i++) {
		struct epoll_event ev = {.events = EPOLLIN};

		if (epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev) < 0) {
			close(ep);
			ep = -1;
		}
	}
	if (ep < 0)
		rf_err_log("dest", "epoll: %s", strerror(errno));
	return ep;
}

/* Bulk lanes come first, then urgent ones, each kind in order of its index. */
static int take_lane(struct rf_dest *d, struct rf_lane *lane, enum rf_lane_kind kind,
		     unsigned index)
{
	int rc;

	if (rf_lane_kind(lane) != kind || rf_lane_index(lane) != index) {
		rf_info("dest", "lane %s came where %s/%u was due", rf_lane_name(lane),
			rf_lane_kind_str(kind), index);
		rf_lane_close(&lane);
		return RF_ERR_PROTOCOL;
	}
	if (kind == RF_LANE_URGENT) {
		d->urgent[d->nurgent++] = lane;
		return RF_OK;
	}
	rc = rf_dst_lanes_start(&d->lanes, lane);
	if (rc != RF_OK)
		rf_lane_close(&lane);
	return rc;
}

static int accept_lanes(struct rf_dest *d, const struct rf_wire_rung_offer *offer)
{
	int interrupt = make_interrupt_fd(d), rc = RF_OK;
	unsigned bulk = d->hello.bulk_lanes;

	if (interrupt < 0)
		return RF_ERR_SYSTEM;
	for (unsigned i = 0; rc == RF_OK && i < bulk + d->hello.urgent_lanes; i++) {
		struct rf_lane *lane;

		rc = rf_transport_accept(d->t, offer->token, rf_dest_patience(d), interrupt, &lane);
		if (rc == RF_OK)
			rc = i < bulk ? take_lane(d, lane, RF_LANE_BULK, i)
				      : take_lane(d, lane, RF_LANE_URGENT, i - bulk);
	}
	close(interrupt);
	return rc;
}

/* RF_OK: lanes are up. RF_ERR_UNSUPPORTED: this rung does not work, the source tries another. */
static int serve_rung(struct rf_dest *d, const char *name)
{
	struct rf_wire_rung_offer offer = {0};
	struct rf_wire_status st = {0};
	struct rf_log_capture words;
	int rc;

	d->rung_offered = false;
	if (getrandom(offer.token, sizeof(offer.token), 0) != (ssize_t)sizeof(offer.token))
		return rf_dest_fail(d, RF_ERR_SYSTEM, "no random bytes for a token");
	if (open_rung(d, name, &offer, &st) != RF_OK) {
		rc = send_offer(d, &st, NULL);
		return rc == RF_OK ? RF_ERR_UNSUPPORTED : rc;
	}
	rc = send_offer(d, &st, &offer);
	if (rc != RF_OK)
		return rc;
	d->rung_offered = true;
	rf_log_capture_begin(&words);
	st.err = accept_lanes(d, &offer);
	rf_log_capture_end(&words);
	if (st.err == RF_OK)
		return send_lanes_up(d, RF_OK, "");
	if (atomic_load(&d->cancelled))
		return rf_dest_fail(d, RF_ERR_CANCELLED, "cancelled by the user");
	set_why(&st, &words);
	rf_info("dest", "transport %s: lanes did not come up: %s", name, st.text);
	drop_rung(d);
	rc = send_lanes_up(d, st.err, st.text);
	return rc == RF_OK ? RF_ERR_UNSUPPORTED : rc;
}

/* A probe asks for a rung that was not offered: why not? */
static int refuse_rung(struct rf_dest *d, const char *name)
{
	char names[RF_WIRE_MAX_RUNGS][RF_WIRE_RUNG_SIZE];
	int n = rf_transport_ladder(d->transport, d->provider, names, RF_WIRE_MAX_RUNGS);
	struct rf_wire_rung_offer offer;
	struct rf_wire_status st = {0};

	for (int i = 0; i < n; i++) {
		if (strcmp(names[i], name))
			continue;
		if (open_rung(d, name, &offer, &st) == RF_OK) { /* a device came up just now */
			drop_rung(d);
			st.err = RF_ERR_UNSUPPORTED;
			snprintf(st.text, sizeof(st.text), "it was not there a moment ago");
		}
	}
	if (st.err == RF_OK) {
		st.err = RF_ERR_UNSUPPORTED;
		snprintf(st.text, sizeof(st.text), "it was told to use transport %s%s%s only",
			 d->transport, d->provider ? ", provider " : "",
			 d->provider ? d->provider : "");
	}
	n = send_offer(d, &st, NULL);
	return n == RF_OK ? RF_ERR_UNSUPPORTED : n;
}

static bool is_offered(const struct rf_wire_hello_ack *ack, const char *name)
{
	for (uint32_t i = 0; i < ack->nrungs; i++)
		if (!strcmp(ack->rungs[i], name))
			return true;
	return false;
}

static int take_rung(struct rf_dest *d, const struct rf_frame *f,
		     const struct rf_wire_hello_ack *ack)
{
	struct rf_wire_rung rung;

	if (rf_wire_get_rung(f->payload, f->len, &rung) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (!is_offered(ack, rung.name) && d->visitor == RF_DST_PROBER)
		return refuse_rung(d, rung.name);
	if (!is_offered(ack, rung.name))
		return rf_dest_fail(d, RF_ERR_PROTOCOL,
				    "source wants rung %s, which was not offered", rung.name);
	if (rung.bulk_lanes != d->hello.bulk_lanes || rung.urgent_lanes != d->hello.urgent_lanes)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source changed its mind about lanes");
	return serve_rung(d, rung.name);
}

/* A good offer may have one. It has been answered by lanes-up; only the reason is news. */
static int take_rung_fail(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wire_status st;

	if (rf_wire_get_status(f->payload, f->len, &st) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (!d->rung_offered)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source sent %s where it must not",
				    rf_wire_type_str(f->type));
	d->rung_offered = false;
	rf_info("dest", "source: %s", st.text);
	return RF_ERR_UNSUPPORTED;
}

/* The source gives up by an error or by closing. */
int rf_dest_serve_rungs(struct rf_dest *d, const struct rf_wire_hello_ack *ack)
{
	for (;;) {
		struct rf_frame f;
		int rc = rf_dest_recv(d, (int)rf_dest_patience(d), &f);

		if (rc == RF_AGAIN)
			return rf_dest_fail(d, RF_ERR_TIMEOUT, "source chose no transport");
		if (rc != RF_OK)
			return rc;
		if (f.type == RF_WIRE_RUNG) {
			rc = take_rung(d, &f, ack);
		} else if (f.type == RF_WIRE_RUNG_FAIL) {
			rc = take_rung_fail(d, &f);
		} else {
			rc = rf_dest_fail(d, RF_ERR_PROTOCOL, "source sent %s instead of a rung",
					  rf_wire_type_str(f.type));
		}
		rf_frame_free(&f);
		if (rc != RF_ERR_UNSUPPORTED)
			return rc;
	}
}
