/* SPDX-License-Identifier: BSD-3-Clause */
/* Precopy: rounds until what is left fits into the downtime limit. */
#include <stdlib.h>

#include "common/log.h"
#include "scheduler/source.h"
#include "scheduler/tracker.h"

static int harvest_region(struct rf_source *src, uint32_t i)
{
	struct rf_src_region *r = &src->regions[i];
	struct rf_dirty_sink sink = {
		.bits = &r->map.next,
		.npages = r->map.npages,
		.region = r->info.id,
	};
	int rc = src->cfg.tracker.ops->harvest(src->cfg.tracker.self, i, &sink);

	if (rc != RF_OK)
		return rf_source_fail(src, rc, "region %s: tracker %s cannot harvest: %s",
				      r->info.id, src->cfg.tracker.ops->name, rf_err_str(rc));
	return RF_OK;
}

int rf_source_harvest(struct rf_source *src, uint64_t *pending)
{
	uint64_t sum = 0, dirtied = 0, now, since = src->harvest_ns;

	for (uint32_t i = 0; i < src->nregions; i++) {
		int rc = harvest_region(src, i);

		if (rc != RF_OK)
			return rc;
		dirtied += rf_bitmap_count(&src->regions[i].map.next);
		sum += rf_dirty_map_advance(&src->regions[i].map);
	}
	now = rf_now_ns(src->clock);
	if (since && now > since)
		atomic_store(&src->count.dirty_rate,
			     (uint64_t)((double)dirtied * 1e9 / (double)(now - since)));
	src->harvest_ns = now;
	atomic_fetch_add(&src->count.sync_count, 1);
	atomic_store(&src->count.remaining, sum * RF_PAGE_SIZE);
	*pending = sum;
	return RF_OK;
}

void rf_source_find_data(struct rf_source *src)
{
	uint64_t skipped = 0, holes;

	for (uint32_t i = 0; i < src->nregions; i++) {
		rf_src_region_find_data(&src->regions[i], &holes);
		skipped += holes;
	}
	atomic_store(&src->count.skipped, skipped);
}

/* Tracking first, then the search for data: what is written from now on is in a harvest. */
static int start_tracking(struct rf_source *src)
{
	uint64_t pending;
	int rc;

	src->tracked = calloc(src->nregions, sizeof(*src->tracked));
	if (!src->tracked)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for the region list");
	for (uint32_t i = 0; i < src->nregions; i++)
		src->tracked[i] = src->regions[i].info;
	rc = src->cfg.tracker.ops->start(src->cfg.tracker.self, src->tracked, src->nregions);
	if (rc != RF_OK)
		return rf_source_fail(src, rc, "tracker %s cannot start: %s",
				      src->cfg.tracker.ops->name, rf_err_str(rc));
	src->tracking = true;
	rf_source_find_data(src);
	return rf_source_harvest(src, &pending);
}

static void decide(struct rf_source *src, uint64_t pending, struct rf_converge_out *out)
{
	struct rf_converge_in in = {
		.remaining = pending * RF_PAGE_SIZE,
		.bandwidth = rf_rate_get(&src->rate),
		.fixed_ms = src->ack_ms + 3 * rf_ns_to_ms(rf_ctrl_rtt_ns(src->ctrl)),
		.downtime_limit = atomic_load(&src->limits.downtime_limit),
		.elapsed_ms = rf_ns_to_ms(rf_now_ns(src->clock) - src->start_ns),
		.timeout = src->cfg.timeout,
		.may_postcopy = src->cfg.mode == RF_MODE_HYBRID,
		.round = src->round,
		.postcopy_after = src->cfg.postcopy_after,
	};

	/* A tenth less is no progress worth a round. */
	src->stalled =
		src->last_pending && pending >= src->last_pending / 10 * 9 ? src->stalled + 1 : 0;
	src->last_pending = pending;
	in.stalled = src->stalled;

	if (src->cfg.guest.state_size)
		in.device_state = src->cfg.guest.state_size(src->cfg.guest_arg);
	rf_converge_decide(&in, out);
	atomic_store(&src->count.expected_ms, out->expected_downtime);
	rf_debug("source",
		 "after round %llu: %.1f MiB dirty at %.0f pages/s, %.0f MiB/s, expected downtime "
		 "%.1f ms: %s",
		 (unsigned long long)src->round, (double)in.remaining / 1048576,
		 (double)atomic_load(&src->count.dirty_rate), in.bandwidth / 1048576,
		 out->expected_downtime, rf_converge_action_str(out->action));
}

int rf_source_precopy(struct rf_source *src)
{
	struct rf_converge_out out;
	uint64_t pending;
	int rc = start_tracking(src);

	if (rc == RF_OK && src->cfg.pin_all)
		rc = rf_source_pin_all(src);
	while (rc == RF_OK) {
		if (atomic_load(&src->go_postcopy))
			return RF_IN_PROGRESS;
		rc = rf_source_round(src, false);
		if (rc == RF_OK)
			rc = rf_source_harvest(src, &pending);
		if (rc != RF_OK)
			break;
		rf_source_progress(src);
		decide(src, pending, &out);
		if (out.action == RF_CONVERGE_SWITCH_OVER)
			return RF_OK;
		if (out.action == RF_CONVERGE_POSTCOPY)
			return RF_IN_PROGRESS;
		rc = rf_source_check(src); /* gives up when the time is over */
	}
	return rc;
}
