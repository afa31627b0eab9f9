/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One round: every pending page goes out once, as data or as a zero announcement; then each
 * lane is fenced and the destination acknowledges.
 *
 *   lanes    w w w w … fence(r)          ─┐
 *   control  zero zero … round-end(r)    ─┴─► ack(r): all of it is in place there
 *
 * The next round starts after the acknowledgement, so a page sent twice is never written by two
 * lanes at the same time, and a zero run never races with data.
 */
#include "common/log.h"
#include "scheduler/source.h"

static int flush_zeros(struct rf_source *src)
{
	int rc = RF_OK;

	if (src->zero_run.count)
		rf_wire_put_run(&src->zeros, &src->zero_run);
	src->zero_run.count = 0;
	if (src->zeros.len)
		rc = rf_source_send(src, RF_WIRE_ZERO, src->zeros.data, (uint32_t)src->zeros.len);
	src->zeros.len = 0;
	return rc;
}

/* Announces a run of zero pages; runs that touch become one. */
int rf_source_announce_zero(struct rf_source *src, const struct rf_piece *p)
{
	struct rf_wire_run *run = &src->zero_run;
	int rc;

	atomic_fetch_add_explicit(&src->count.duplicate, p->pages.count, memory_order_relaxed);
	if (src->zeros.len && src->zero_region == p->region &&
	    run->first + run->count == p->pages.first) {
		run->count += p->pages.count;
		return RF_OK;
	}
	if (src->zeros.len && (src->zero_region != p->region ||
			       src->zeros.cap - src->zeros.len < 2 * RF_WIRE_RUN_SIZE)) {
		rc = flush_zeros(src);
		if (rc != RF_OK)
			return rc;
	}
	if (!src->zeros.len) {
		src->zero_region = p->region;
		rf_wire_begin_zero(&src->zeros, p->region);
	} else {
		rf_wire_put_run(&src->zeros, run);
	}
	*run = (struct rf_wire_run){.first = p->pages.first, .count = p->pages.count};
	return RF_OK;
}

/*
 * Calls post until it has done all, taking completions in between. When a lane is dead the pump
 * is who tells, with the reason.
 */
int rf_source_post_all(struct rf_source *src, int (*post)(struct rf_source *src))
{
	int rc, waited;

	while ((rc = post(src)) != RF_OK) {
		if (rc != RF_NO_RESOURCE && !rf_bulk_dead_lane(&src->bulk))
			return rf_source_fail(src, rc, "a write cannot be posted: %s",
					      rf_err_str(rc));
		waited = rf_source_pump(src);
		if (waited != RF_OK)
			return waited;
	}
	return RF_OK;
}

int rf_source_post_writes(struct rf_source *src)
{
	return rf_bulk_post(&src->bulk);
}

static int post_fence(struct rf_source *src)
{
	return rf_bulk_fence(&src->bulk, src->round);
}

/* One write: of a piece, or of as much of it as may be on its way. */
static int add_write(struct rf_source *src, const struct rf_write *w)
{
	int rc = RF_OK;

	if (!src->last_round)
		rc = rf_source_pace(src, w->len);
	else /* the guest waits: only the others have to make room */
		rf_limiter_charge(src->share.limiter, w->len);
	if (rc == RF_OK && !rf_bulk_has_room(&src->bulk, w->len))
		rc = rf_source_post_all(src, rf_source_post_writes);
	if (rc != RF_OK)
		return rc;
	rf_bulk_add(&src->bulk, w);
	atomic_fetch_add_explicit(&src->count.data_bytes, w->len, memory_order_relaxed);
	src->round_bytes += w->len;
	return RF_OK;
}

/* Registering takes its time once, and says nothing about the link's bandwidth. */
static int need_chunk(struct rf_source *src, uint32_t region, uint64_t i, struct rf_src_chunk **out)
{
	uint64_t begin;
	int rc;

	*out = &src->regions[region].chunks[i];
	if ((*out)->state == RF_CHUNK_READY && (*out)->mr)
		return RF_OK;
	begin = rf_now_ns(src->clock);
	rc = rf_source_need_chunk(src, region, i, out);
	src->idle_ns += rf_now_ns(src->clock) - begin;
	return rc;
}

static int send_data(struct rf_source *src, const struct rf_piece *p)
{
	struct rf_src_region *r = &src->regions[p->region];
	uint64_t at = p->pages.first * RF_PAGE_SIZE, end = at + p->pages.count * RF_PAGE_SIZE;
	struct rf_src_chunk *chunk;
	int rc = need_chunk(src, p->region, at / src->cfg.chunk_size, &chunk);

	while (rc == RF_OK && at < end) {
		uint64_t piece =
			rf_source_leaves_room(src) ? rf_source_window(src).piece : end - at;
		struct rf_write w = {
			.src = r->addr + at,
			.src_mr = chunk->mr,
			.dst = &chunk->key,
			.dst_off = at % src->cfg.chunk_size,
			.len = (uint32_t)(end - at < piece ? end - at : piece),
		};

		rc = add_write(src, &w);
		at += w.len;
	}
	if (rc == RF_OK)
		atomic_fetch_add_explicit(&src->count.normal, p->pages.count, memory_order_relaxed);
	return rc;
}

/* All that is pending; a round that is not the last one may be broken off for postcopy. */
static int send_pending(struct rf_source *src, bool last)
{
	struct rf_piece p;

	rf_cursor_rewind(&src->cursor, !last && !src->cfg.hot_in_order);
	while (rf_cursor_next(&src->cursor, &p)) {
		int rc = rf_source_check(src);

		if (rc == RF_OK)
			rc = p.zero ? rf_source_announce_zero(src, &p) : send_data(src, &p);
		if (rc != RF_OK)
			return rc;
		atomic_fetch_sub_explicit(&src->count.remaining, p.pages.count * RF_PAGE_SIZE,
					  memory_order_relaxed);
		src->sent_pages += p.pages.count;
		if (!last && (src->break_off ||
			      atomic_load_explicit(&src->go_postcopy, memory_order_relaxed))) {
			rf_cursor_abandon(&src->cursor);
			return RF_OK;
		}
	}
	return RF_OK;
}

static int end_round(struct rf_source *src, bool last)
{
	uint8_t buf[32];
	struct rf_frame ack;
	struct rf_wbuf b;
	uint64_t round = 0;
	int rc;

	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_round_end(&b, src->round, last);
	rc = rf_source_ask(src, RF_WIRE_ROUND_END, buf, (uint32_t)b.len, RF_WIRE_ROUND_ACK,
			   RF_SOURCE_ANSWER_TIMEOUT, &ack);
	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_u64(ack.payload, ack.len, &round) != RF_OK || round != src->round)
		rc = rf_source_fail(src, RF_ERR_PROTOCOL,
				    "destination acknowledged round %llu instead of %llu",
				    (unsigned long long)round, (unsigned long long)src->round);
	rf_frame_free(&ack);
	/* Writes complete on their own path; their memory must be free before the round is over. */
	while (rc == RF_OK && rf_bulk_inflight(&src->bulk))
		rc = rf_source_pump(src);
	return rc;
}

int rf_source_close_round(struct rf_source *src, bool last)
{
	int rc = rf_source_post_all(src, rf_source_post_writes);
	uint64_t sent;

	if (rc == RF_OK)
		rc = flush_zeros(src);
	if (rc == RF_OK)
		rc = rf_source_post_all(src, post_fence);
	sent = rf_now_ns(src->clock);
	if (rc == RF_OK)
		rc = end_round(src, last);
	/* What the end of a round costs by itself shows where little was in flight. */
	if (rc == RF_OK && src->round_bytes < RF_BULK_WINDOW)
		rf_recent_add(&src->ack_ms, rf_ns_to_ms(rf_now_ns(src->clock) - sent));
	return rc;
}

void rf_source_begin_round(struct rf_source *src)
{
	src->round++;
	src->round_bytes = 0;
	src->idle_ns = 0;
	atomic_store(&src->count.round, src->round);
}

int rf_source_round(struct rf_source *src, bool last)
{
	uint64_t start = rf_now_ns(src->clock), done;
	int rc;

	rf_source_begin_round(src);
	src->last_round = last; /* the guest waits: no limit of bandwidth */
	rc = send_pending(src, last);
	if (rc == RF_OK)
		rc = rf_source_close_round(src, last);
	if (rc != RF_OK)
		return rc;
	atomic_store(&src->count.deferred, src->cursor.deferred);
	done = rf_now_ns(src->clock);
	rf_rate_add(src->round == 1 ? &src->cold_rate : &src->rate, src->round_bytes,
		    (double)(done - start - src->idle_ns) / 1e9);
	atomic_fetch_add(last ? &src->count.downtime_bytes : &src->count.precopy_bytes,
			 src->round_bytes);
	if (src->round_bytes)
		atomic_store(&src->count.mbps,
			     (double)src->round_bytes * 8e3 / (double)(done - start));
	rf_debug("source", "round %llu: %.1f MiB in %.1f ms%s", (unsigned long long)src->round,
		 (double)src->round_bytes / 1048576, rf_ns_to_ms(done - start),
		 last ? " (last)" : "");
	return RF_OK;
}
