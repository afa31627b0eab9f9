/* SPDX-License-Identifier: BSD-3-Clause */
/* Precopy: rounds until what is left fits into the downtime limit. */
#include <stdlib.h>

#include "common/log.h"
#include "scheduler/source.h"

int rf_source_fail_harvest(struct rf_source *src, const struct rf_sync_sample *s)
{
	return rf_source_fail(src, s->error, "region %s: tracker %s cannot harvest: %s",
			      src->regions[s->region].info.id, src->cfg.tracker.ops->name,
			      rf_err_str(s->error));
}

int rf_source_harvest(struct rf_source *src, uint64_t *pending)
{
	struct rf_sync_sample s;

	if (rf_sync_advance(&src->sync, pending, &s) != RF_OK)
		return rf_source_fail_harvest(src, &s);
	rf_source_note_sample(src, &s);
	src->round_again = 0;
	atomic_store(&src->count.remaining, *pending * RF_PAGE_SIZE);
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

static void begin_hints(struct rf_source *src)
{
	rf_hints_open(&src->hints, src->regions, src->nregions);
	src->hinting = true;
	if (src->cfg.guest.free_hint_start)
		src->cfg.guest.free_hint_start(src->cfg.guest_arg, rf_hints_epoch(&src->hints));
}

/* Tracking first, then the search for data: what is written from now on is in a harvest. */
int rf_source_start_tracking(struct rf_source *src, uint64_t *pending)
{
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
	if (rf_sync_init(&src->sync, src->regions, src->nregions, &src->cfg.tracker, src->clock,
			 src->wake_fd) != RF_OK)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for what harvests find");
	src->sync.hints = &src->hints;
	rf_source_find_data(src);
	rc = rf_source_harvest(src, pending);
	if (rc == RF_OK && src->may_hint)
		begin_hints(src);
	return rc;
}

/* A round with harvests behind it. */
static int send_round(struct rf_source *src, uint64_t pending)
{
	struct rf_sync_pace pace = {
		.pending = pending * RF_PAGE_SIZE,
		.bandwidth = rf_source_bandwidth(src),
		.spent_ns = (uint64_t)(rf_recent_median(&src->harvest_ms) * 1e6),
		.wanted_ms = src->cfg.sync_interval,
	};
	double limit = (double)atomic_load(&src->limits.max_bandwidth);

	if (limit > 0 && (pace.bandwidth <= 0 || limit < pace.bandwidth))
		pace.bandwidth = limit;
	rf_sync_begin_round(&src->sync, rf_sync_interval(&pace));
	return rf_source_round(src, false);
}

static int run_rounds(struct rf_source *src, uint64_t pending)
{
	int rc;

	for (;;) {
		if (atomic_load(&src->go_postcopy))
			return RF_IN_PROGRESS;
		rc = send_round(src, pending);
		if (rc == RF_OK)
			rc = rf_source_try_state(src);
		if (rc == RF_OK)
			rc = rf_source_harvest(src, &pending);
		if (rc != RF_OK)
			return rc;
		rf_source_progress(src);
		if (atomic_load(&src->go_postcopy))
			return RF_IN_PROGRESS;
		switch (rf_source_decide(src, pending)) {
		case RF_CONVERGE_SWITCH_OVER:
			return RF_OK;
		case RF_CONVERGE_POSTCOPY:
			return RF_IN_PROGRESS;
		case RF_CONVERGE_GIVE_UP: /* as rf_source_check says, in words */
		case RF_CONVERGE_THROTTLE:
		case RF_CONVERGE_ITERATE:
		default:
			rc = rf_source_check(src);
			if (rc != RF_OK)
				return rc;
		}
	}
}

int rf_source_precopy(struct rf_source *src)
{
	uint64_t pending = 0;
	int rc = rf_source_start_tracking(src, &pending);

	if (rc == RF_OK && src->cfg.pin_all)
		rc = rf_source_pin_all(src);
	if (rc == RF_OK && src->cfg.sync_interval != RF_SYNC_OFF && rf_sync_start(&src->sync))
		rc = rf_source_fail(src, RF_ERR_SYSTEM, "no thread for background sync");
	if (rc == RF_OK)
		rc = run_rounds(src, pending);
	/* Before the guest is paused: nobody but the scheduler harvests from here on. */
	rf_sync_stop(&src->sync);
	return rc;
}
