/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The background push of postcopy: everything that nobody asked for, over all bulk lanes.
 *
 *   claim a run of target pages, or a host page ─► pieces within the window ─► announcement
 *
 * The pieces of an item and its announcement travel on one lane, so the announcement is behind
 * the data. While page requests are open the window is small; an item that somebody waits for
 * is finished whatever the window says.
 */
#include "common/log.h"
#include "scheduler/source.h"

/* ms: the window and the limit let more go with time, which wakes nobody. */
#define WINDOW_MS 1
#define LIMIT_MS  100

/* What is pushed as a whole. */
struct item {
	uint32_t region;
	struct rf_page_run pages;
	struct rf_lane *lane;
};

static bool is_boosted(const struct rf_source *src)
{
	return atomic_load_explicit(&src->urgent.current.boost, memory_order_relaxed);
}

/* ns until the limits let more go; 0: now. */
static uint64_t limits_wait(struct rf_source *src)
{
	uint64_t now = rf_now_ns(src->clock);
	uint64_t own = rf_pacer_wait(&src->pacer, now,
				     atomic_load_explicit(&src->limits.max_postcopy_bandwidth,
							  memory_order_relaxed));
	uint64_t shared = rf_limiter_wait(&src->share, now);

	return own > shared ? own : shared;
}

/* ms after which to look again though nothing came. */
static int sleep_of(uint64_t wait_ns)
{
	uint64_t ms = wait_ns / RF_NS_PER_MS;

	return ms < WINDOW_MS ? WINDOW_MS : ms > LIMIT_MS ? LIMIT_MS : (int)ms;
}

/* May len more bytes go out now? If not, sleep_ms says when to look again. */
static bool has_room(struct rf_source *src, uint64_t len)
{
	struct rf_window w = rf_source_window(src);
	uint64_t inflight = rf_bulk_inflight(&src->bulk), wait;

	if (is_boosted(src))
		return true;
	wait = limits_wait(src);
	src->sleep_ms = sleep_of(wait);
	if (wait)
		return false;
	/* A window smaller than a page still lets one go when nothing else is on its way. */
	return w.bytes && (!inflight || inflight + len <= w.bytes);
}

static int wait_for_room(struct rf_source *src, uint64_t len)
{
	int rc = RF_OK;

	while (rc == RF_OK && src->expect && !has_room(src, len))
		rc = rf_source_pump(src);
	src->sleep_ms = 0;
	return rc;
}

static void charge(struct rf_source *src, uint64_t bytes)
{
	src->pushed += bytes;
	atomic_fetch_add_explicit(&src->count.pushed, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&src->count.data_bytes, bytes, memory_order_relaxed);
	rf_pacer_take(&src->pacer, bytes);
	rf_limiter_take(&src->share, bytes);
}

/* Posts one write or one message on the item's lane, taking completions until it goes. */
static int post_write(struct rf_source *src, const struct item *it, const struct rf_write *w)
{
	int rc;

	while ((rc = rf_lane_write(it->lane, w, 1)) == RF_NO_RESOURCE) {
		rc = rf_source_pump(src);
		if (rc != RF_OK)
			return rc;
	}
	return rc < 0 ? rf_source_pump_error(src, rc) : RF_OK;
}

static int announce(struct rf_source *src, const struct item *it, const struct rf_page_run *run,
		    bool zero)
{
	struct rf_wire_announce a = {
		.region = it->region,
		.zero = zero,
		.first = run->first,
		.count = run->count,
	};
	uint8_t msg[RF_WIRE_ANNOUNCE_SIZE];
	int rc;

	rf_wire_put_announce(msg, &a);
	while ((rc = rf_lane_send(it->lane, msg, sizeof(msg))) == RF_NO_RESOURCE) {
		rc = rf_source_pump(src);
		if (rc != RF_OK)
			return rc;
	}
	if (zero)
		atomic_fetch_add_explicit(&src->count.duplicate, run->count, memory_order_relaxed);
	return rc < 0 ? rf_source_pump_error(src, rc) : RF_OK;
}

/* Writes a run in pieces of at most what the window says; no piece crosses a chunk. */
static int write_run(struct rf_source *src, const struct item *it, const struct rf_page_run *run)
{
	struct rf_src_region *r = &src->regions[it->region];
	uint64_t at = run->first * RF_PAGE_SIZE, end = at + run->count * RF_PAGE_SIZE;

	while (at < end) {
		uint64_t chunk_end = (at / src->cfg.chunk_size + 1) * src->cfg.chunk_size;
		uint64_t len = (end < chunk_end ? end : chunk_end) - at;
		uint64_t piece = rf_source_window(src).piece;
		struct rf_src_chunk *c = &r->chunks[at / src->cfg.chunk_size];
		struct rf_write w = {
			.src = r->addr + at,
			.src_mr = c->mr,
			.dst = &c->key,
			.dst_off = at % src->cfg.chunk_size,
		};
		int rc;

		w.len = (uint32_t)(len < piece ? len : piece);
		rc = wait_for_room(src, w.len);
		if (rc == RF_OK)
			rc = post_write(src, it, &w);
		if (rc != RF_OK)
			return rc;
		charge(src, w.len);
		at += w.len;
	}
	atomic_fetch_add_explicit(&src->count.normal, run->count, memory_order_relaxed);
	return RF_OK;
}

/* A run of 4 KiB pages: data and zero pages are told apart, each part announced behind it. */
static int push_small(struct rf_source *src, const struct item *it)
{
	struct rf_src_region *r = &src->regions[it->region];
	struct rf_page_run part = {.first = it->pages.first};
	uint64_t end = it->pages.first + it->pages.count;

	while (part.first < end) {
		bool zero =
			rf_src_region_zeros(r, src->cursor.is_zero, part.first, end, &part.count);
		int rc = RF_OK;

		if (!zero)
			rc = write_run(src, it, &part);
		if (rc == RF_OK)
			rc = announce(src, it, &part, zero);
		if (rc != RF_OK)
			return rc;
		part.first += part.count;
	}
	return RF_OK;
}

/* A huge host page: what of it is pending, then one announcement of the whole. */
static int push_huge(struct rf_source *src, const struct item *it)
{
	struct rf_bitmap *pending = &src->regions[it->region].map.pending;
	uint64_t end = it->pages.first + it->pages.count;
	struct rf_page_run run = {.first = it->pages.first};

	while ((run.first = rf_bitmap_find_set(pending, run.first, end)) != RF_BITMAP_NONE) {
		uint64_t to = rf_bitmap_find_clear(pending, run.first, end);
		int rc;

		run.count = (to == RF_BITMAP_NONE ? end : to) - run.first;
		rc = write_run(src, it, &run);
		if (rc != RF_OK)
			return rc;
		run.first += run.count;
		if (run.first >= end)
			break;
	}
	return announce(src, it, &it->pages, false);
}

/* Nothing is in the middle of being pushed any more: who waits for it looks again. */
static void release_item(struct rf_source *src)
{
	if (!rf_bulk_current_clear(&src->urgent.current))
		return;
	for (unsigned i = 0; i < src->nurgents; i++)
		rf_poller_wake(src->urgents[i].poller);
}

/* Claims what comes next at or after page, having told before what it is going to claim. */
static bool claim_item(struct rf_source *src, uint32_t region, uint64_t page, struct item *it)
{
	struct rf_src_region *r = &src->regions[region];
	struct rf_bulk_current *current = &src->urgent.current;
	uint64_t unit = r->info.page_size / RF_PAGE_SIZE, max, chunk_end;

	it->region = region;
	for (;;) {
		uint64_t bit = rf_bitmap_find_set(rf_src_region_claims(r), page / unit,
						  r->map.npages / unit);

		if (bit == RF_BITMAP_NONE)
			return false;
		page = bit * unit;
		if (unit > 1) {
			it->pages = (struct rf_page_run){.first = page, .count = unit};
			rf_bulk_current_set(current, region, page, page + unit);
			if (rf_bitmap_test_and_clear(&r->host_pending, bit))
				return true;
		} else {
			max = rf_source_window(src).piece / RF_PAGE_SIZE;
			chunk_end = (page * RF_PAGE_SIZE / src->cfg.chunk_size + 1) *
				    (src->cfg.chunk_size / RF_PAGE_SIZE);
			if (page + max > chunk_end)
				max = chunk_end - page;
			if (page + max > r->map.npages)
				max = r->map.npages - page;
			rf_bulk_current_set(current, region, page, page + max);
			if (rf_dirty_map_claim(&r->map, page, page + max, max, &it->pages))
				return true;
		}
		release_item(src); /* an urgent sender was faster */
		page += unit;
		if (page >= r->map.npages)
			return false;
	}
}

static int push_item(struct rf_source *src, struct item *it)
{
	int rc;

	it->lane = rf_bulk_idlest(&src->bulk);
	rc = src->regions[it->region].info.page_size == RF_PAGE_SIZE ? push_small(src, it)
								     : push_huge(src, it);
	release_item(src);
	atomic_fetch_sub_explicit(&src->count.remaining, it->pages.count * RF_PAGE_SIZE,
				  memory_order_relaxed);
	return rc;
}

/* --locality follow: behind the page that was last asked for, most likely the next ones. True: the
 * turn begins anew there. */
static bool follow_faults(struct rf_source *src, uint32_t *region, uint64_t *page,
			  uint64_t *followed)
{
	uint64_t last = atomic_load_explicit(&src->urgent.last_fault, memory_order_relaxed);

	if (!src->cfg.follow_faults || last == *followed)
		return false;
	*followed = last;
	*region = (uint32_t)(last >> 40);
	*page = last & ((1ull << 40) - 1);
	return true;
}

int rf_source_push(struct rf_source *src)
{
	uint32_t region = 0, empty = 0;
	uint64_t page = 0, followed = 0;
	int rc = RF_OK;

	/* Over when a whole turn found nothing to claim. */
	while (rc == RF_OK && src->expect && empty <= src->nregions) {
		struct item it;

		if (follow_faults(src, &region, &page, &followed))
			empty = 0;
		/* Nothing is claimed before it can go: it would only be in the way of requests. */
		rc = wait_for_room(src, RF_PAGE_SIZE);
		if (rc != RF_OK || !src->expect)
			break;
		if (claim_item(src, region, page, &it)) {
			page = it.pages.first + it.pages.count;
			empty = 0;
			rc = push_item(src, &it);
			(void)rf_source_release_some(src);
			if (rc == RF_OK && page < src->regions[region].map.npages)
				continue;
		} else {
			empty++;
		}
		page = 0;
		region = (region + 1) % src->nregions;
	}
	return rc;
}
