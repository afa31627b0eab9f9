/* SPDX-License-Identifier: BSD-3-Clause */
/* One rung after the other, until the lanes of one are up on both sides. */
#include "scheduler/ladder.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "scheduler/source.h"

/* Notes why a rung does not work. The next one is tried. */
static int leave_rung(struct rf_source *src, struct rf_ladder_rung *r, const char *where,
		      const char *why)
{
	r->err = RF_ERR_UNSUPPORTED;
	snprintf(r->why, sizeof(r->why), "%s%s", where, why);
	/* A probe is asked for the reasons and tells them itself; the reason of an only rung is
	 * that of the error that follows. */
	rf_log(src->probe || src->ladder.n == 1 ? RF_LOG_INFO : RF_LOG_WARN, "source",
	       "transport %s does not work: %s", r->name, r->why);
	return RF_ERR_UNSUPPORTED;
}

/* Asks the destination to get ready for a rung. RF_ERR_UNSUPPORTED: it cannot, the next one. */
static int ask_rung(struct rf_source *src, struct rf_ladder_rung *r,
		    struct rf_wire_rung_offer *offer)
{
	struct rf_wire_rung rung = {
		.bulk_lanes = (uint16_t)src->cfg.bulk_lanes,
		.urgent_lanes = (uint16_t)src->cfg.urgent_lanes,
	};
	struct rf_wire_status st;
	uint8_t buf[64];
	struct rf_frame f;
	struct rf_wbuf b;
	int rc;

	memcpy(rung.name, r->name, sizeof(rung.name));
	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_rung(&b, &rung);
	rc = rf_source_ask(src, RF_WIRE_RUNG, buf, (uint32_t)b.len, RF_WIRE_RUNG_OFFER,
			   src->cfg.connect_timeout, &f);
	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_rung_offer(f.payload, f.len, &st, offer) != RF_OK)
		rc = rf_source_malformed(src, f.type);
	else if (st.err != RF_OK)
		rc = leave_rung(src, r, "destination: ", st.text);
	rf_frame_free(&f);
	return rc;
}

static int connect_lanes(struct rf_source *src, const struct rf_wire_rung_offer *offer)
{
	struct rf_wire_lane id = {.kind = RF_LANE_BULK};

	memcpy(id.token, offer->token, sizeof(id.token));
	for (unsigned i = 0; i < src->cfg.bulk_lanes + src->cfg.urgent_lanes; i++) {
		bool bulk = i < src->cfg.bulk_lanes;
		struct rf_lane **lane =
			bulk ? &src->bulk.lanes[i] : &src->urgent_lanes[i - src->cfg.bulk_lanes];
		int rc;

		id.kind = bulk ? RF_LANE_BULK : RF_LANE_URGENT;
		id.index = (uint16_t)(bulk ? i : i - src->cfg.bulk_lanes);
		rc = rf_transport_connect(src->t, offer->addr, offer->addr_len, &id,
					  src->cfg.connect_timeout, src->cancel_fd, lane);
		if (rc != RF_OK)
			return rc;
		if (bulk)
			src->bulk.nlanes++;
	}
	return RF_OK;
}

void rf_source_close_lanes(struct rf_source *src)
{
	rf_source_stop_urgent(src);
	for (unsigned i = 0; i < RF_WIRE_MAX_LANES; i++)
		rf_lane_close(&src->urgent_lanes[i]);
	rf_bulk_close(&src->bulk);
}

static void drop_rung(struct rf_source *src)
{
	rf_source_close_lanes(src);
	rf_transport_close(&src->t);
}

/*
 * The destination answers every offer with exactly one lanes-up. If that crosses with our
 * rung-fail it does not answer again, so it is awaited in any case.
 */
static int await_lanes_up(struct rf_source *src, uint32_t type, const void *payload, uint32_t len,
			  struct rf_wire_status *st)
{
	struct rf_frame f;
	int rc = rf_source_ask(src, type, payload, len, RF_WIRE_LANES_UP, src->cfg.connect_timeout,
			       &f);

	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_status(f.payload, f.len, st) != RF_OK)
		rc = rf_source_malformed(src, f.type);
	rf_frame_free(&f);
	return rc;
}

/* Tells the destination that the lanes of its offer cannot be opened. */
static int give_up_rung(struct rf_source *src, struct rf_ladder_rung *r, int err, const char *why)
{
	struct rf_wire_status st = {.err = err};
	uint8_t buf[RF_WIRE_TEXT_SIZE + 16];
	struct rf_wbuf b;

	drop_rung(src);
	leave_rung(src, r, "lanes cannot be opened: ", why);
	snprintf(st.text, sizeof(st.text), "%.*s", (int)sizeof(st.text) - 1, why);
	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_status(&b, &st);
	err = await_lanes_up(src, RF_WIRE_RUNG_FAIL, buf, (uint32_t)b.len, &st);
	return err == RF_OK ? RF_ERR_UNSUPPORTED : err;
}

static int finish_rung(struct rf_source *src, struct rf_ladder_rung *r)
{
	struct rf_wire_status st;
	int rc = await_lanes_up(src, 0, NULL, 0, &st);

	if (rc == RF_OK && st.err != RF_OK) {
		drop_rung(src);
		rc = leave_rung(src, r, "destination: ", st.text);
	}
	return rc;
}

static int open_rung(struct rf_source *src, struct rf_ladder_rung *r)
{
	struct rf_transport_cfg cfg = {
		.local_host = rf_ctrl_local_host(src->ctrl),
		.peer_host = rf_ctrl_peer_host(src->ctrl),
		.link_timeout = src->cfg.link_timeout,
		.max_lanes = src->cfg.bulk_lanes + src->cfg.urgent_lanes,
		.odp = src->cfg.odp,
		.topology = src->plan.topology,
		.hub = src->hub,
	};
	struct rf_log_capture words;
	int rc;

	rf_log_capture_begin(&words);
	rc = rf_transport_open(r->name, &cfg, &src->t);
	rf_log_capture_end(&words);
	if (rc == RF_OK)
		return RF_OK;
	return leave_rung(src, r, "", words.text[0] ? words.text : rf_err_str(rc));
}

/* RF_OK: the lanes are up. RF_ERR_UNSUPPORTED: this rung does not work, try the next. */
static int try_rung(struct rf_source *src, struct rf_ladder_rung *r)
{
	struct rf_wire_rung_offer offer;
	struct rf_log_capture words;
	int rc = open_rung(src, r);

	if (rc != RF_OK)
		return rc;
	rc = ask_rung(src, r, &offer);
	if (rc != RF_OK) {
		rf_transport_close(&src->t);
		return rc;
	}
	rf_log_capture_begin(&words);
	rc = connect_lanes(src, &offer);
	rf_log_capture_end(&words);
	if (rc == RF_ERR_CANCELLED)
		return rf_source_fail(src, rc, "cancelled by the user");
	if (rc != RF_OK)
		return give_up_rung(src, r, rc, words.text[0] ? words.text : rf_err_str(rc));
	return finish_rung(src, r);
}

static bool is_offered(const struct rf_wire_hello_ack *ack, const char *name)
{
	for (uint32_t i = 0; i < ack->nrungs; i++)
		if (!strcmp(ack->rungs[i], name))
			return true;
	return false;
}

/*
 * Rungs to try: those this host has. A probe tries all there could be, so that for each of the
 * others there is a reason.
 */
static int list_rungs(struct rf_source *src)
{
	char names[RF_WIRE_MAX_RUNGS][RF_WIRE_RUNG_SIZE] = {0};
	int n = src->probe ? rf_transport_ladder(src->transport, src->provider, names,
						 RF_WIRE_MAX_RUNGS)
			   : rf_transport_rungs(src->transport, src->provider, names,
						RF_WIRE_MAX_RUNGS);

	if (n < 0)
		return rf_source_fail(src, n, "transport %s%s%s is not there on this host",
				      src->transport, src->provider ? ", provider " : "",
				      src->provider ? src->provider : "");
	src->ladder.n = (unsigned)n;
	for (int i = 0; i < n; i++) {
		src->ladder.rung[i] = (struct rf_ladder_rung){.err = RF_IN_PROGRESS};
		memcpy(src->ladder.rung[i].name, names[i], sizeof(names[i]));
	}
	return RF_OK;
}

/* "verbs: no RDMA device …; ofi:tcp: …" */
static int fail_all(struct rf_source *src)
{
	char text[sizeof(src->failure.desc)];
	size_t at = 0;

	text[0] = 0;
	for (unsigned i = 0; i < src->ladder.n && at < sizeof(text); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s: %s", i ? "; " : "",
				       src->ladder.rung[i].name, src->ladder.rung[i].why);
	return rf_source_fail(src, RF_ERR_UNSUPPORTED, "no transport works on both sides: %s",
			      text);
}

int rf_source_climb(struct rf_source *src, const struct rf_wire_hello_ack *ack)
{
	int rc = list_rungs(src);

	if (rc != RF_OK)
		return rc;
	for (unsigned i = 0; i < src->ladder.n; i++) {
		struct rf_ladder_rung *r = &src->ladder.rung[i];

		if (!src->probe && !is_offered(ack, r->name)) {
			leave_rung(src, r, "", "the destination does not offer it");
			continue;
		}
		rc = try_rung(src, r);
		if (rc == RF_OK)
			src->ladder.n = i + 1;
		if (rc != RF_ERR_UNSUPPORTED) {
			r->err = rc;
			if (rc != RF_OK)
				snprintf(r->why, sizeof(r->why), "%s", src->failure.desc);
			return rc;
		}
	}
	return fail_all(src);
}
