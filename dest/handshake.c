/* SPDX-License-Identifier: BSD-3-Clause */
/* The destination's half of the agreement; scheduler/handshake.c has the picture. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "dest/dest.h"

/* Next frame, which must be of this type. The caller frees it. */
static int expect(struct rf_dest *d, uint32_t type, struct rf_frame *f)
{
	int rc = rf_dest_recv(d, (int)rf_dest_patience(d), f);

	if (rc == RF_AGAIN)
		return rf_dest_fail(d, RF_ERR_TIMEOUT, "source %s sent no %s within %u ms",
				    rf_ctrl_peer(d->ctrl), rf_wire_type_str(type),
				    d->cfg.connect_timeout);
	if (rc != RF_OK)
		return rc;
	if (f->type == type)
		return RF_OK;
	rc = rf_dest_fail(d, RF_ERR_PROTOCOL, "source %s sent %s instead of %s",
			  rf_ctrl_peer(d->ctrl), rf_wire_type_str(f->type), rf_wire_type_str(type));
	rf_frame_free(f);
	return rc;
}

static bool hello_is_sane(const struct rf_wire_hello *h)
{
	return h->chunk_size >= 1u << 20 && h->chunk_size <= 1u << 30 &&
	       !(h->chunk_size & (h->chunk_size - 1)) && h->bulk_lanes >= 1;
}

static int take_hello(struct rf_dest *d)
{
	struct rf_frame f;
	int rc = expect(d, RF_WIRE_HELLO, &f);

	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_hello(f.payload, f.len, &d->hello) != RF_OK || !hello_is_sane(&d->hello)) {
		rc = rf_dest_malformed(d, f.type);
		rf_frame_free(&f);
		return rc;
	}
	d->visitor = d->hello.flags & RF_HELLO_PROBE ? RF_DST_PROBER : RF_DST_SOURCE;
	if (d->save && !(d->hello.flags & (RF_HELLO_SNAPSHOT | RF_HELLO_PROBE)))
		rc = rf_dest_fail(d, RF_ERR_MISMATCH,
				  "this destination saves a snapshot to a file and takes no guest");
	/* Two steps that both take as long as they may. */
	d->probe_until_ns = rf_now_ns(d->clock) + 2 * d->cfg.connect_timeout * RF_NS_PER_MS;
	if ((d->hello.bulk_lanes > d->cfg.max_lanes || d->hello.urgent_lanes > d->cfg.max_lanes))
		rc = rf_dest_fail(d, RF_ERR_MISMATCH,
				  "source asks for %u lanes, at most %u are allowed here",
				  d->hello.bulk_lanes, d->cfg.max_lanes);
	rf_frame_free(&f);
	return rc;
}

static int answer_hello(struct rf_dest *d, struct rf_wire_hello_ack *ack)
{
	struct rf_wbuf b;
	int n = rf_transport_rungs(d->transport, d->provider, ack->rungs, RF_WIRE_MAX_RUNGS);

	if (n < 0)
		return rf_dest_fail(d, n, "transport %s%s%s is not there on this host",
				    d->transport, d->provider ? ", provider " : "",
				    d->provider ? d->provider : "");
	ack->nrungs = (uint32_t)n;
	ack->max_lanes = (uint16_t)d->cfg.max_lanes;
	ack->link_timeout = d->cfg.link_timeout;
	rf_wbuf_init(&b, d->reply, RF_WIRE_MAX_PAYLOAD);
	rf_wire_put_hello_ack(&b, ack);
	return rf_dest_send(d, RF_WIRE_HELLO_ACK, d->reply, (uint32_t)b.len);
}

static struct rf_dst_region *find_region(struct rf_dest *d, const char *id)
{
	for (uint32_t i = 0; i < d->nregions; i++)
		if (!strcmp(d->regions[i].id, id))
			return &d->regions[i];
	return NULL;
}

static int match_region(void *arg, uint32_t index, const struct rf_wire_region *w)
{
	struct rf_dest *d = arg;
	struct rf_dst_region *r = find_region(d, w->id);

	if (!r)
		return rf_dest_fail(d, RF_ERR_MISMATCH,
				    "source has a region \"%s\" of %llu bytes, "
				    "this destination has none of that name",
				    w->id, (unsigned long long)w->len);
	if (r->len != w->len || r->page_size != w->page_size)
		return rf_dest_fail(d, RF_ERR_MISMATCH,
				    "region \"%s\": source has %llu bytes in "
				    "pages of %u, destination %llu in pages of %u; "
				    "both must have the same",
				    w->id, (unsigned long long)w->len, w->page_size,
				    (unsigned long long)r->len, r->page_size);
	if (r->matched || index >= d->nregions || d->by_source[index])
		return rf_dest_fail(d, RF_ERR_MISMATCH, "source names region \"%s\" twice", w->id);
	r->matched = true;
	d->by_source[index] = r;
	if (rf_dst_region_make_chunks(r, d->hello.chunk_size) != RF_OK)
		return rf_dest_fail(d, RF_ERR_NO_MEMORY, "no memory for chunks");
	return RF_OK;
}

static int match_regions(struct rf_dest *d)
{
	uint32_t got = 0;

	if (d->hello.regions != d->nregions)
		return rf_dest_fail(d, RF_ERR_MISMATCH, "source has %u regions, destination %u",
				    d->hello.regions, d->nregions);
	while (got < d->nregions) {
		struct rf_frame f;
		int rc = expect(d, RF_WIRE_REGIONS, &f);

		if (rc != RF_OK)
			return rc;
		rc = rf_wire_get_regions(f.payload, f.len, match_region, d);
		rf_frame_free(&f);
		if (rc == RF_ERR_PROTOCOL)
			return rf_dest_malformed(d, RF_WIRE_REGIONS);
		if (rc != RF_OK)
			return rc;
		while (got < d->nregions && d->by_source[got])
			got++;
	}
	return rf_dest_send(d, RF_WIRE_REGIONS_ACK, NULL, 0);
}

uint32_t rf_dest_patience(const struct rf_dest *d)
{
	int left = d->visitor == RF_DST_PROBER ? rf_ms_left(d->clock, d->probe_until_ns) : -1;

	if (left < 0 || (uint32_t)left > d->cfg.connect_timeout)
		return d->cfg.connect_timeout;
	return left ? (uint32_t)left : 1;
}

/* Next peer that greets as a ramferry source does; others are turned away. */
static int accept_source(struct rf_dest *d, uint64_t until)
{
	struct rf_ctrl_cfg cfg = {
		.connect_timeout = d->cfg.connect_timeout,
		.idle_timeout = d->cfg.link_timeout,
		.name = "dest",
	};

	for (;;) {
		int left = rf_ms_left(d->clock, until);
		int rc = left == 0
				 ? RF_ERR_TIMEOUT
				 : rf_ctrl_accept(d->listener, &cfg, left < 0 ? 0 : (uint32_t)left,
						  d->cancel_fd, &d->ctrl);

		if (rc == RF_OK)
			return RF_OK;
		if (rc == RF_ERR_CANCELLED)
			return rf_dest_fail(d, rc, "cancelled by the user");
		if (rc == RF_ERR_TIMEOUT && until && rf_ms_left(d->clock, until) == 0)
			return rf_dest_fail(d, rc, "no source came within %u ms",
					    d->cfg.accept_timeout);
		if (rc == RF_ERR_SYSTEM || rc == RF_ERR_NO_MEMORY)
			return rf_dest_fail(d, rc, "no connection can be accepted: %s",
					    rf_err_str(rc));
		/* wrong peer or version: logged where it was found out */
	}
}

static int agree(struct rf_dest *d)
{
	struct rf_wire_hello_ack ack = {0};
	int rc = rf_poll_plan_init(&d->plan, d->poll_mode, d->poll_cpus,
				   rf_ctrl_local_host(d->ctrl));

	if (rc != RF_OK) {
		d->visitor =
			RF_DST_SOURCE; /* the fault is ours: the next one would fare no better */
		return rf_dest_fail(d, rc, "threads cannot be placed as asked");
	}
	d->lanes.plan = &d->plan;
	rc = take_hello(d);
	if (rc == RF_OK)
		rc = answer_hello(d, &ack);
	if (rc == RF_OK && d->visitor == RF_DST_SOURCE)
		rc = match_regions(d);
	return rc == RF_OK ? rf_dest_serve_rungs(d, &ack) : rc;
}

/* A prober has what it wants, or somebody did what he must not. All is as before he came. */
static int see_off(struct rf_dest *d, int rc)
{
	struct rf_frame f;

	/* A prober leaves by itself once its lanes are up. */
	if (rc == RF_OK && rf_dest_recv(d, (int)rf_dest_patience(d), &f) == RF_OK) {
		rf_dest_fail(d, RF_ERR_PROTOCOL, "it sent %s instead of leaving",
			     rf_wire_type_str(f.type));
		rf_frame_free(&f);
	}
	if (d->visitor == RF_DST_PROBER)
		rf_info("dest", "probed by %s: %s", rf_ctrl_peer(d->ctrl),
			rc == RF_OK ? rf_transport_name(d->t) : d->failure.desc);
	if (rc != RF_OK)
		rf_dest_say_goodbye(d, rc);
	rf_dest_disconnect(d);
	rf_dest_forgive(d);
	d->hello = (struct rf_wire_hello){0};
	d->visitor = RF_DST_STRANGER;
	return atomic_load(&d->cancelled)
		       ? rf_dest_fail(d, RF_ERR_CANCELLED, "cancelled by the user")
		       : RF_OK;
}

int rf_dest_connect(struct rf_dest *d)
{
	uint64_t until = d->cfg.accept_timeout
				 ? rf_now_ns(d->clock) + d->cfg.accept_timeout * RF_NS_PER_MS
				 : 0;
	bool again;
	int rc;

	do {
		rc = accept_source(d, until);
		if (rc != RF_OK)
			return rc;
		d->start_ns = rf_now_ns(d->clock);
		rc = agree(d);
		again = d->visitor == RF_DST_PROBER || (d->visitor == RF_DST_STRANGER && !d->once);
		if (again)
			rc = see_off(d, rc);
	} while (again && rc == RF_OK);
	if (rc != RF_OK)
		return rc;
	pthread_mutex_lock(&d->lock);
	snprintf(d->transport_name, sizeof(d->transport_name), "%s", rf_transport_name(d->t));
	snprintf(d->provider_name, sizeof(d->provider_name), "%s", rf_transport_provider(d->t));
	pthread_mutex_unlock(&d->lock);
	return RF_OK;
}

/* Lanes first: then nobody writes any more, and the keys can die. */
void rf_dest_disconnect(struct rf_dest *d)
{
	rf_dest_close_lanes(d);
	if (d->postcopy) {
		(void)rf_dst_postcopy_finish(&d->post);
		rf_dest_keep_postcopy_stats(d);
	}
	rf_dest_keep_poll_stats(d);
	for (uint32_t i = 0; i < d->nregions; i++)
		rf_dst_region_deregister(&d->regions[i]);
	rf_transport_close(&d->t);
	rf_poll_plan_fini(&d->plan);
	rf_ctrl_close(&d->ctrl);
}
