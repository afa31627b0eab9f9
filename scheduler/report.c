/* SPDX-License-Identifier: BSD-3-Clause */
/* What a source tells: state, statistics, and the one error that ended it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "scheduler/source.h"

int rf_source_fail(struct rf_source *src, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err = rf_first_error_set(&src->failure, RF_LOG_ERROR, "source", err, fmt, ap);
	va_end(ap);
	return err;
}

int rf_source_malformed(struct rf_source *src, uint32_t type)
{
	return rf_source_fail(src, RF_ERR_PROTOCOL, "destination %s sent a malformed %s",
			      rf_ctrl_peer(src->ctrl), rf_wire_type_str(type));
}

void rf_source_set_state(struct rf_source *src, enum rf_state to)
{
	(void)rf_state_move(&src->state, rf_state_get(&src->state), to);
	rf_source_progress(src);
}

void rf_source_progress(struct rf_source *src)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	if (!src->cfg.progress)
		return;
	rf_source_stats(src, &stats);
	src->cfg.progress(src->cfg.progress_arg, &stats);
}

static uint64_t wire_bytes(const struct rf_source *src)
{
	return atomic_load(&src->count.data_bytes) + atomic_load(&src->urgent.bytes) +
	       (src->ctrl ? rf_ctrl_sent_bytes(src->ctrl) : 0);
}

void rf_source_finish_stats(struct rf_source *src, int err)
{
	atomic_store(&src->count.total_ms, rf_ns_to_ms(rf_now_ns(src->clock) - src->start_ns));
	atomic_store(&src->count.transferred, wire_bytes(src));
	if (err == RF_OK)
		atomic_store(&src->count.remaining, 0);
}

static void fill_postcopy(struct rf_source *src, struct rf_postcopy_stats *p)
{
	struct rf_urgent_shared *u = &src->urgent;

	p->active = atomic_load(&src->count.postcopy);
	p->requests = atomic_load(&u->requests);
	p->bytes = atomic_load(&u->bytes);
	p->pushed_bytes = atomic_load(&src->count.pushed);
	p->duplicates = atomic_load(&u->duplicates);
	p->boosted = atomic_load(&u->boosted);
	p->zero_answers = atomic_load(&u->zeros);
	p->window_changes = atomic_load(&src->count.window_changes);
}

static void fill_hints(struct rf_source *src, struct rf_hint_stats *s)
{
	struct rf_hints *h = &src->hints;

	s->hints = atomic_load(&h->taken);
	s->stale = atomic_load(&h->stale);
	s->pages = atomic_load(&h->pages);
	s->avoided = atomic_load(&h->avoided);
	s->told = atomic_load(&h->told);
}

static void fill_ram(struct rf_source *src, struct rf_ram_stats *ram)
{
	struct rf_source_counters *c = &src->count;

	for (uint32_t i = 0; i < src->nregions; i++)
		ram->total += src->regions[i].info.len;
	ram->transferred = atomic_load(&c->transferred);
	if (!ram->transferred)
		ram->transferred = atomic_load(&c->data_bytes);
	ram->remaining = atomic_load(&c->remaining);
	ram->duplicate = atomic_load(&c->duplicate);
	ram->normal = atomic_load(&c->normal);
	ram->normal_bytes = ram->normal * RF_PAGE_SIZE;
	ram->dirty_sync_count = atomic_load(&c->sync_count);
	ram->dirty_pages_rate = atomic_load(&c->dirty_rate);
	ram->mbps = atomic_load(&c->mbps);
	ram->page_size = RF_PAGE_SIZE;
	ram->precopy_bytes = atomic_load(&c->precopy_bytes);
	ram->downtime_bytes = atomic_load(&c->downtime_bytes);
	ram->redundant_pages_avoided = atomic_load(&c->avoided);
	ram->hot_pages_deferred = atomic_load(&c->deferred);
	ram->background_sync_count = atomic_load(&c->sync_behind);
	ram->skipped = atomic_load(&c->skipped);
	ram->released = atomic_load(&c->released);
}

void rf_source_stats(struct rf_source *src, struct rf_stats *out)
{
	struct rf_source_counters *c = &src->count;
	struct rf_stats s = {.size = sizeof(s)};
	size_t size = out->size < sizeof(s) ? out->size : sizeof(s);

	s.status = rf_state_get(&src->state);
	pthread_mutex_lock(&src->lock);
	s.error = src->failure.err;
	memcpy(s.error_desc, src->failure.desc, sizeof(s.error_desc));
	memcpy(s.transport, src->transport_name, sizeof(s.transport));
	memcpy(s.provider, src->provider_name, sizeof(s.provider));
	pthread_mutex_unlock(&src->lock);
	snprintf(s.tracker, sizeof(s.tracker), "%s", src->cfg.tracker.ops->name);
	s.lanes = src->cfg.bulk_lanes;
	s.round = atomic_load(&c->round);
	s.cpu_throttle_percentage = atomic_load(&c->throttle);
	s.max_bandwidth = atomic_load(&src->limits.max_bandwidth);
	s.max_postcopy_bandwidth = atomic_load(&src->limits.max_postcopy_bandwidth);
	s.downtime_limit = atomic_load(&src->limits.downtime_limit);
	s.setup_time = atomic_load(&c->setup_ms);
	s.poll_cpu_time = atomic_load(&c->poll_ms);
	s.poll_wakeups = atomic_load(&c->poll_wakeups);
	s.downtime = atomic_load(&c->downtime_ms);
	s.expected_downtime = atomic_load(&c->expected_ms);
	s.verify_time = atomic_load(&c->verify_ms);
	if (s.downtime > 0)
		s.downtime_error = s.downtime - s.verify_time - s.expected_downtime;
	s.not_converging = atomic_load(&c->not_converging);
	s.total_time = atomic_load(&c->total_ms);
	if (s.total_time <= 0 && s.status != RF_STATE_NONE)
		s.total_time = rf_ns_to_ms(rf_now_ns(src->clock) - src->start_ns);
	s.verified = atomic_load(&c->verified);
	s.device_state = atomic_load(&c->device_state);
	fill_ram(src, &s.ram);
	fill_postcopy(src, &s.postcopy);
	fill_hints(src, &s.free_hints);
	s.size = out->size;
	memcpy(out, &s, size);
}
