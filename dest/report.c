/* SPDX-License-Identifier: BSD-3-Clause */
/* What a destination tells: state, statistics, and the one error that ended it. */
#include <stdarg.h>
#include <string.h>

#include "common/log.h"
#include "dest/dest.h"

int rf_dest_fail(struct rf_dest *d, int err, const char *fmt, ...)
{
	bool stranger = d->ctrl && d->visitor == RF_DST_STRANGER && !d->once;
	enum rf_log_level level = d->visitor == RF_DST_PROBER ? RF_LOG_INFO
				  : stranger		      ? RF_LOG_WARN
							      : RF_LOG_ERROR;
	const char *who = stranger && err != RF_ERR_CANCELLED ? "dest: turned away" : "dest";
	va_list ap;

	va_start(ap, fmt);
	err = rf_first_error_set(&d->failure, level, who, err, fmt, ap);
	va_end(ap);
	return err;
}

int rf_dest_malformed(struct rf_dest *d, uint32_t type)
{
	return rf_dest_fail(d, RF_ERR_PROTOCOL, "source %s sent a malformed %s",
			    rf_ctrl_peer(d->ctrl), rf_wire_type_str(type));
}

void rf_dest_forgive(struct rf_dest *d)
{
	rf_first_error_forget(&d->failure);
	d->peer_told = false;
}

void rf_dest_set_state(struct rf_dest *d, enum rf_state to)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	(void)rf_state_move(&d->state, rf_state_get(&d->state), to);
	if (!d->cfg.progress)
		return;
	rf_dest_stats(d, &stats);
	d->cfg.progress(d->cfg.progress_arg, &stats);
}

/* What the pollers cost, once they have ended. */
void rf_dest_keep_poll_stats(struct rf_dest *d)
{
	uint64_t ns = d->lanes.stats.cpu_ns, wakeups = d->lanes.stats.wakeups;

	for (unsigned i = 0; i < d->post.nfaults; i++) {
		ns += d->post.faults[i].stats.cpu_ns;
		wakeups += d->post.faults[i].stats.wakeups;
	}
	atomic_store(&d->poll_ms, rf_ns_to_ms(ns));
	atomic_store(&d->poll_wakeups, wakeups);
}

/* Counters and times of all fault threads, while they run too. */
static void add_up_faults(struct rf_dest *d, struct rf_postcopy_stats *s)
{
	struct rf_histogram all, request, wire, place;

	rf_histogram_init(&all);
	rf_histogram_init(&request);
	rf_histogram_init(&wire);
	rf_histogram_init(&place);
	s->active = 1;
	s->local_faults = atomic_load(&d->post.count.local);
	s->existed = atomic_load(&d->post.count.existed);
	for (unsigned i = 0; i < d->post.nfaults; i++) {
		const struct rf_dst_fault *f = &d->post.faults[i];

		s->requests += atomic_load(&f->requests);
		s->faults += atomic_load(&f->faults);
		s->duplicates += atomic_load(&f->waits);
		rf_histogram_merge(&all, &f->latency);
		rf_histogram_merge(&request, &f->part_request);
		rf_histogram_merge(&wire, &f->part_wire);
		rf_histogram_merge(&place, &f->part_place);
	}
	s->latency = rf_histogram_mean(&all) / 1e3;
	s->latency_p50 = (double)rf_histogram_percentile(&all, 50) / 1e3;
	s->latency_p99 = (double)rf_histogram_percentile(&all, 99) / 1e3;
	s->latency_max = (double)rf_histogram_percentile(&all, 100) / 1e3;
	s->part_request = rf_histogram_mean(&request) / 1e3;
	s->part_wire = rf_histogram_mean(&wire) / 1e3;
	s->part_place = rf_histogram_mean(&place) / 1e3;
	rf_histogram_pow2_us(&all, s->latency_dist, RF_LATENCY_BUCKETS);
}

/* Likewise, of faults on free pages. */
static void add_up_free_faults(const struct rf_dest *d, struct rf_hint_stats *s)
{
	struct rf_histogram all;

	rf_histogram_init(&all);
	s->faults = 0;
	for (unsigned i = 0; i < d->post.nfaults; i++) {
		s->faults += atomic_load(&d->post.faults[i].free_faults);
		rf_histogram_merge(&all, &d->post.faults[i].free_latency);
	}
	s->latency = rf_histogram_mean(&all) / 1e3;
	s->latency_p50 = (double)rf_histogram_percentile(&all, 50) / 1e3;
	s->latency_max = (double)rf_histogram_percentile(&all, 100) / 1e3;
}

/* Once the fault threads have ended; who waited how long is theirs before. */
void rf_dest_keep_postcopy_stats(struct rf_dest *d)
{
	struct rf_postcopy_stats s = {0};
	struct rf_hint_stats hints = {0};

	add_up_faults(d, &s);
	add_up_free_faults(d, &hints);
	for (unsigned i = 0; i < d->post.nfaults; i++) {
		const struct rf_dst_fault *f = &d->post.faults[i];

		for (unsigned k = 0; k < f->nblocked && s.nblocked < RF_MAX_BLOCKED; k++) {
			s.blocked[s.nblocked].thread = f->blocked[k].thread;
			s.blocked[s.nblocked].faults = f->blocked[k].faults;
			s.blocked[s.nblocked++].blocked_ms = rf_ns_to_ms(f->blocked[k].ns);
		}
	}
	pthread_mutex_lock(&d->lock);
	d->post_stats = s;
	d->hint_stats = hints;
	pthread_mutex_unlock(&d->lock);
}

/* Host pages that are missing, in bytes of the smallest kind: exact if all are of one size. */
static uint64_t missing_bytes(const struct rf_dest *d)
{
	uint64_t size = d->nregions ? d->regions[0].page_size : 0;

	for (uint32_t i = 1; i < d->nregions; i++)
		if (d->regions[i].page_size < size)
			size = d->regions[i].page_size;
	return atomic_load(&d->post.remaining) * size;
}

void rf_dest_stats(struct rf_dest *d, struct rf_stats *out)
{
	struct rf_stats s = {.size = sizeof(s)};
	size_t size = out->size < sizeof(s) ? out->size : sizeof(s);

	s.status = rf_state_get(&d->state);
	pthread_mutex_lock(&d->lock);
	s.error = d->failure.err;
	memcpy(s.error_desc, d->failure.desc, sizeof(s.error_desc));
	memcpy(s.transport, d->transport_name, sizeof(s.transport));
	memcpy(s.provider, d->provider_name, sizeof(s.provider));
	s.postcopy = d->post_stats;
	s.free_hints = d->hint_stats;
	pthread_mutex_unlock(&d->lock);
	/* The fault threads are there for as long as it is in this state, and their counters after.
	 */
	if (s.status == RF_STATE_POSTCOPY_ACTIVE) {
		if (!s.postcopy.active) {
			add_up_faults(d, &s.postcopy);
			add_up_free_faults(d, &s.free_hints);
		}
		s.ram.remaining = missing_bytes(d);
	}
	s.lanes = d->hello.bulk_lanes;
	s.round = atomic_load(&d->round);
	s.total_time = atomic_load(&d->total_ms);
	if (s.total_time <= 0 && s.status != RF_STATE_NONE)
		s.total_time = rf_ns_to_ms(rf_now_ns(d->clock) - d->start_ns);
	s.setup_time = atomic_load(&d->setup_ms);
	s.poll_cpu_time = atomic_load(&d->poll_ms);
	s.poll_wakeups = atomic_load(&d->poll_wakeups);
	s.verified = atomic_load(&d->verified);
	s.device_state = atomic_load(&d->device_state);
	for (uint32_t i = 0; i < d->nregions; i++) {
		s.ram.total += d->regions[i].len;
		s.ram.resident += rf_dst_region_resident(&d->regions[i]);
	}
	s.free_hints.told = atomic_load(&d->free_told);
	s.ram.duplicate = atomic_load(&d->zero_pages);
	s.ram.page_size = RF_PAGE_SIZE;
	s.size = out->size;
	memcpy(out, &s, size);
}
