/* SPDX-License-Identifier: BSD-3-Clause */
/* Precopy as the destination sees it: keys handed out, zero runs, ends of rounds. */
#include "common/log.h"
#include "common/wire_postcopy.h"
#include "dest/dest.h"

static int put_key(struct rf_dest *d, struct rf_wbuf *b, const struct rf_wire_chunk *c)
{
	struct rf_wire_key k = {.region = c->region, .chunk = c->chunk};
	struct rf_dst_region *r;
	struct rf_remote_key key;
	int rc;

	if (c->region >= d->nregions || c->chunk >= d->by_source[c->region]->nchunks)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source asks for a key of no chunk (%u/%u)",
				    c->region, c->chunk);
	r = d->by_source[c->region];
	rc = rf_dst_region_key(r, d->t, c->chunk, &key);
	if (rc != RF_OK)
		return rf_dest_fail(d, rc, "region %s: chunk %u cannot be registered: %s", r->id,
				    c->chunk, rf_err_str(rc));
	k.base = key.base;
	for (unsigned kind = 0; kind < RF_LANE_KINDS; kind++)
		k.key[kind] = key.key[kind];
	rf_wire_put_key(b, &k);
	return RF_OK;
}

int rf_dest_take_key_req(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wire_array chunks;
	struct rf_wbuf b;

	if (rf_wire_get_key_req(f->payload, f->len, &chunks) != RF_OK)
		return rf_dest_malformed(d, f->type);
	rf_wbuf_init(&b, d->reply, RF_WIRE_MAX_PAYLOAD);
	for (uint32_t i = 0; i < chunks.count; i++) {
		struct rf_wire_chunk c;
		int rc;

		rf_wire_chunk_at(&chunks, i, &c);
		rc = put_key(d, &b, &c);
		/* A key is sent at once, so the source can begin while the next registers. */
		if (rc == RF_OK)
			rc = rf_dest_send(d, RF_WIRE_KEY, d->reply, (uint32_t)b.len);
		if (rc != RF_OK)
			return rc;
		b.len = 0;
	}
	return RF_OK;
}

int rf_dest_take_zero(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wire_array runs;
	struct rf_dst_region *r;

	if (rf_wire_get_zero(f->payload, f->len, &runs) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (runs.region >= d->nregions)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source announces zeros in no region (%u)",
				    runs.region);
	r = d->by_source[runs.region];
	for (uint32_t i = 0; i < runs.count; i++) {
		uint64_t pages = r->len / RF_PAGE_SIZE;
		struct rf_wire_run run;
		int rc;

		rf_wire_run_at(&runs, i, &run);
		if (run.first >= pages || run.count > pages - run.first)
			return rf_dest_fail(d, RF_ERR_PROTOCOL,
					    "source announces zeros past region %s", r->id);
		rc = rf_dst_region_clear(r, run.first, run.count);
		if (rc != RF_OK)
			return rf_dest_fail(d, rc, "region %s: cannot be cleared: %s", r->id,
					    rf_err_str(rc));
		atomic_fetch_add(&d->zero_pages, run.count);
	}
	return RF_OK;
}

struct free_walk {
	struct rf_dest *d;
	struct rf_dst_region *region;
};

static int note_free(void *arg, uint64_t first, uint64_t count)
{
	struct free_walk *w = arg;
	uint64_t pages = w->region->len / RF_PAGE_SIZE;

	if (first >= pages || count > pages - first)
		return rf_dest_fail(w->d, RF_ERR_PROTOCOL, "source calls pages past region %s free",
				    w->region->id);
	if (rf_dst_region_note_free(w->region, first, count) != RF_OK)
		return rf_dest_fail(w->d, RF_ERR_NO_MEMORY, "no memory for free pages");
	atomic_fetch_add(&w->d->free_told, count);
	return RF_OK;
}

/* Pages the guest does not need: what is here of them, or zeros, will do. */
int rf_dest_take_free(struct rf_dest *d, const struct rf_frame *f)
{
	struct free_walk w = {.d = d};
	struct rf_wire_missing m;

	if (!(d->hello.flags & RF_HELLO_FREE_HINTS) || d->postcopy || d->digest_block ||
	    d->digest_region || d->device || d->post.pages)
		return rf_dest_fail(d, RF_ERR_PROTOCOL,
				    "source tells free pages where it must not");
	if (rf_wire_get_missing(f->payload, f->len, &m) != RF_OK || m.region >= d->nregions)
		return rf_dest_malformed(d, f->type);
	w.region = d->by_source[m.region];
	return rf_wire_walk_missing(&m, note_free, &w);
}

int rf_dest_take_round_end(struct rf_dest *d, const struct rf_frame *f)
{
	uint64_t round;
	bool last;

	if (rf_wire_get_round_end(f->payload, f->len, &round, &last) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (d->round_ending || round != atomic_load(&d->round) + 1)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source ends round %llu after round %llu",
				    (unsigned long long)round,
				    (unsigned long long)atomic_load(&d->round));
	d->round_ending = round;
	d->round_last = last;
	d->fence_deadline_ns = rf_now_ns(d->clock) + RF_DEST_FENCE_TIMEOUT * RF_NS_PER_MS;
	return rf_dest_try_ack(d);
}

int rf_dest_try_ack(struct rf_dest *d)
{
	uint64_t round = d->round_ending;
	struct rf_wbuf b;
	uint8_t buf[8];

	if (!round)
		return RF_OK;
	if (!rf_dst_lanes_fenced(&d->lanes, round)) {
		if (rf_now_ns(d->clock) < d->fence_deadline_ns)
			return RF_OK;
		return rf_dest_fail(d, RF_ERR_TIMEOUT,
				    "round %llu: fences of the lanes did not come within %u ms",
				    (unsigned long long)round, RF_DEST_FENCE_TIMEOUT);
	}
	d->round_ending = 0;
	atomic_store(&d->round, round);
	if (d->round_last) {
		d->phase = RF_DST_PAUSED;
		rf_dest_set_state(d, RF_STATE_DEVICE);
	}
	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_u64(&b, round);
	return rf_dest_send(d, RF_WIRE_ROUND_ACK, buf, (uint32_t)b.len);
}
