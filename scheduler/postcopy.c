/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Going over to postcopy:
 *
 *   keys of all chunks with pending pages (the guest still runs)
 *   pause ─ harvest ─ fence of all lanes ─ keys of new chunks ─ missing pages ─► armed there
 *   page requests are served from here on
 *   device state ─► state-loaded ─ run ─► running      (downtime ends)
 *   push the rest ─► postcopy-done
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "scheduler/source.h"

int rf_source_tell_bits(struct rf_source *src, uint32_t type, uint32_t region,
			const struct rf_bitmap *bits)
{
	/* The scheduler thread is the only one that has the bits now. */
	const uint64_t *words = (const uint64_t *)bits->words;
	uint8_t *buf = malloc(RF_WIRE_MAX_PAYLOAD);
	uint64_t first = 0;
	int rc = RF_OK;

	if (!buf)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for %s pages",
				      rf_wire_type_str(type));
	while (rc == RF_OK &&
	       (first = rf_bitmap_find_set(bits, first, bits->nbits)) != RF_BITMAP_NONE) {
		struct rf_wbuf b;
		uint64_t n;

		first = first / 64 * 64;
		n = bits->nbits - first;
		if (n > RF_WIRE_MISSING_MAX)
			n = RF_WIRE_MISSING_MAX;
		rf_wbuf_init(&b, buf, RF_WIRE_MAX_PAYLOAD);
		if (rf_wire_put_missing(&b, region, first, n, words + first / 64))
			rc = rf_source_send(src, type, buf, (uint32_t)b.len);
		first += n;
		if (first >= bits->nbits)
			break;
	}
	free(buf);
	return rc;
}

int rf_source_tell_free(struct rf_source *src)
{
	int rc = RF_OK;

	for (uint32_t i = 0; rc == RF_OK && src->may_hint && i < src->nregions; i++) {
		struct rf_bitmap *bits = &src->regions[i].map.free;
		const struct rf_bitmap *pending = &src->regions[i].map.pending;

		/* A page the sender had claimed and gave back is to be sent after all. */
		for (uint64_t w = 0; w < bits->nwords; w++)
			(void)rf_bitmap_take_word(bits, w, rf_bitmap_word(pending, w));
		atomic_fetch_add(&src->hints.told, rf_bitmap_count(bits));
		rc = rf_source_tell_bits(src, RF_WIRE_FREE, i, bits);
	}
	return rc;
}

static int tell_missing(struct rf_source *src)
{
	int rc = rf_source_tell_free(src);

	for (uint32_t i = 0; rc == RF_OK && i < src->nregions; i++) {
		rc = rf_source_tell_bits(src, RF_WIRE_MISSING, i, &src->regions[i].map.pending);
		if (rc == RF_OK && rf_src_region_make_claims(&src->regions[i]) != RF_OK)
			rc = rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for claims");
	}
	if (rc == RF_OK)
		rc = rf_source_prepare_release(src);
	return rc == RF_OK ? rf_source_send(src, RF_WIRE_POSTCOPY, NULL, 0) : rc;
}

static int start_urgent(struct rf_source *src)
{
	struct rf_urgent_shared *s = &src->urgent;

	s->regions = src->regions;
	s->nregions = src->nregions;
	s->chunk_size = src->cfg.chunk_size;
	s->piece = src->cursor.piece_pages * RF_PAGE_SIZE;
	s->is_zero = src->cursor.is_zero;
	s->limiter = src->share.limiter;
	s->wake_fd = src->wake_fd;
	src->urgents = calloc(src->cfg.urgent_lanes, sizeof(*src->urgents));
	if (!src->urgents)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for urgent lanes");
	for (unsigned i = 0; i < src->cfg.urgent_lanes; i++) {
		int rc = rf_urgent_start(&src->urgents[i], s, src->urgent_lanes[i], &src->plan);

		if (rc != RF_OK)
			return rf_source_fail(src, rc, "urgent lane %u cannot be served: %s", i,
					      rf_err_str(rc));
		src->urgent_lanes[i] = NULL;
		src->nurgents++;
	}
	return RF_OK;
}

void rf_source_stop_urgent(struct rf_source *src)
{
	for (unsigned i = 0; i < src->nurgents; i++) {
		struct rf_poller_stats s;

		rf_urgent_stop(&src->urgents[i], &s);
		atomic_store(&src->count.poll_ms,
			     atomic_load(&src->count.poll_ms) + rf_ns_to_ms(s.cpu_ns));
		atomic_fetch_add(&src->count.poll_wakeups, s.wakeups);
	}
	src->nurgents = 0;
	/* What was not answered is not waited for any more. */
	rf_limiter_close(src->urgent.limiter, atomic_exchange(&src->urgent.open, 0),
			 rf_now_ns(src->clock));
	src->urgent.limiter = NULL;
}

/* It would be paused at once otherwise, and say nothing. In precopy it has the rounds. */
static int await_hints(struct rf_source *src)
{
	uint64_t until = rf_now_ns(src->clock) + src->cfg.hint_wait * RF_NS_PER_MS;
	int rc = RF_OK, left;

	while (rc == RF_OK && src->hinting && (left = rf_ms_left(src->clock, until)) > 0) {
		src->sleep_ms = left;
		rc = rf_source_pump(src);
	}
	src->sleep_ms = 0;
	return rc;
}

/* Keys while the guest still runs, so that few are left for the pause. */
static int prepare(struct rf_source *src)
{
	uint64_t pending;
	int rc = RF_OK;

	/* Without hints nothing need be tracked: all that holds data is missing. */
	if (src->cfg.mode == RF_MODE_POSTCOPY && src->may_hint)
		rc = rf_source_start_tracking(src, &pending);
	else if (src->cfg.mode == RF_MODE_POSTCOPY)
		rf_source_find_data(src);
	if (rc == RF_OK)
		rc = rf_source_need_pending(src);
	return rc == RF_OK && src->cfg.mode == RF_MODE_POSTCOPY ? await_hints(src) : rc;
}

/* What the destination lacks: everything with data, or what was not sent since it was written. */
static int find_missing(struct rf_source *src)
{
	uint64_t pending = 0, skipped = 0, holes;

	if (src->tracking)
		return rf_source_harvest(src, &pending);
	for (uint32_t i = 0; i < src->nregions; i++) {
		int rc = rf_src_region_find_more(&src->regions[i], &holes);

		if (rc != RF_OK)
			return rf_source_fail(src, rc, "region %s: holes cannot be told: %s",
					      src->regions[i].info.id, rf_err_str(rc));
		skipped += holes;
		pending += rf_bitmap_count(&src->regions[i].map.pending);
	}
	atomic_store(&src->count.skipped, skipped);
	atomic_store(&src->count.remaining, pending * RF_PAGE_SIZE);
	return RF_OK;
}

static int end_rounds(struct rf_source *src)
{
	rf_source_begin_round(src);
	return rf_source_close_round(src, true);
}

static int load_state(struct rf_source *src)
{
	int rc = rf_source_send_state(src);

	return rc == RF_OK ? rf_source_exchange(src, 0, RF_WIRE_STATE_LOADED) : rc;
}

/* While the guest stands still. The log says at info what took how long. */
static const struct {
	const char *name;
	int (*take)(struct rf_source *src);
} steps[] = {
	{"pause", rf_source_pause},	 {"harvest", find_missing},
	{"fences", end_rounds},		 {"keys", rf_source_need_pending},
	{"missing pages", tell_missing}, {"urgent lanes", start_urgent},
	{"device state", load_state},	 {"hand-over", rf_source_hand_over},
};

static int switch_to_postcopy(struct rf_source *src)
{
	char parts[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		uint64_t begin = rf_now_ns(src->clock);
		int rc = steps[i].take(src);

		if (rc != RF_OK)
			return rc;
		len += (size_t)snprintf(parts + len, sizeof(parts) - len, "%s %s %.2f",
					i ? "," : "", steps[i].name,
					rf_ns_to_ms(rf_now_ns(src->clock) - begin));
	}
	rf_info("source", "switched to postcopy in %.2f ms:%s",
		atomic_load(&src->count.downtime_ms), parts);
	return RF_OK;
}

/* All is posted: the destination says when all is in place. */
static int await_done(struct rf_source *src)
{
	uint64_t until = rf_now_ns(src->clock) + RF_SOURCE_ANSWER_TIMEOUT * RF_NS_PER_MS;

	while (src->expect) {
		int rc = rf_source_pump(src);

		if (rc != RF_OK)
			return rc;
		if (rf_bulk_inflight(&src->bulk) || atomic_load(&src->urgent.open))
			until = rf_now_ns(src->clock) + RF_SOURCE_ANSWER_TIMEOUT * RF_NS_PER_MS;
		else if (rf_now_ns(src->clock) >= until)
			return rf_source_fail(
				src, RF_ERR_TIMEOUT,
				"all pages are sent, but the destination does not say "
				"that they are in place");
	}
	rf_frame_free(&src->answer);
	return RF_OK;
}

int rf_source_postcopy(struct rf_source *src)
{
	int rc = prepare(src);

	rf_source_expect_postcopy(src);

	rf_limiter_begin_postcopy(&src->share);
	if (rc == RF_OK)
		rc = switch_to_postcopy(src);
	if (rc != RF_OK)
		return rc;
	/* The last page may be one that was asked for, so the end may come at any time. */
	src->expect = RF_WIRE_POSTCOPY_DONE;
	atomic_store(&src->count.postcopy, 1);
	rf_source_set_state(src, RF_STATE_POSTCOPY_ACTIVE);
	rf_source_begin_release(src);
	rc = rf_source_push(src);
	return rc == RF_OK ? await_done(src) : rc;
}
