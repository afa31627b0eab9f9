/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics of a snapshot. */
#include <string.h>

#include "common/clock.h"
#include "scheduler/snapshot.h"

static void fill_latency(struct rf_snapshot *s, struct rf_snapshot_stats *st)
{
	const struct rf_histogram *h = &s->latency;

	st->write_fault_latency = rf_histogram_mean(h) / 1e3;
	st->write_fault_latency_p50 = (double)rf_histogram_percentile(h, 50) / 1e3;
	st->write_fault_latency_p99 = (double)rf_histogram_percentile(h, 99) / 1e3;
	st->write_fault_latency_max = (double)atomic_load(&h->max) / 1e3;
	rf_histogram_pow2_us(h, st->write_fault_latency_dist, RF_LATENCY_BUCKETS);
}

void rf_snapshot_stats(struct rf_snapshot *s, struct rf_snapshot_stats *st)
{
	struct rf_snap_counters *c = &s->count;
	uint64_t begin = atomic_load(&c->begin_ns), end = atomic_load(&c->end_ns);

	if (st->size != sizeof(*st))
		return;
	*st = (struct rf_snapshot_stats){
		.size = sizeof(*st),
		.status = (enum rf_state)atomic_load(&s->status),
		.total = s->total,
		.remaining = atomic_load(&c->left) * RF_PAGE_SIZE,
		.pages_saved = atomic_load(&c->saved),
		.pages_zero = atomic_load(&c->zero),
		.saved_by_fault = atomic_load(&c->by_fault),
		.bytes_written = atomic_load(&c->written),
		.file_size = atomic_load(&c->file_size),
		.write_faults = atomic_load(&c->faults),
		.copied = atomic_load(&c->copied),
		.pool_size = s->cfg.strategy == RF_SNAPSHOT_QUEUE ? 0 : s->cfg.pool,
		.pause_time = rf_ns_to_ms(atomic_load(&c->pause_ns)),
		.protect_time = rf_ns_to_ms(atomic_load(&c->protect_ns)),
		.device_state = atomic_load(&c->state_len),
	};
	if (atomic_load(&s->prepared))
		s->sink.ops->describe(s->sink.self, st);
	if (!end)
		end = rf_now_ns(&rf_clock_monotonic);
	st->total_time = begin ? rf_ns_to_ms(end - begin) : 0;
	for (unsigned i = 0; i < 2 && atomic_load(&s->prepared); i++) {
		uint64_t high, full;

		if (!s->pools[i].page_size)
			continue;
		rf_snap_pool_usage(&s->pools[i], &high, &full);
		st->pool_high_water += high;
		st->pool_full += full;
	}
	fill_latency(s, st);
	pthread_mutex_lock(&s->lock);
	st->error = s->error;
	memcpy(st->error_desc, s->error_desc, sizeof(st->error_desc));
	pthread_mutex_unlock(&s->lock);
}
