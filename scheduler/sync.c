/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/sync.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "scheduler/tracker.h"

int rf_sync_init(struct rf_sync *s, struct rf_src_region *regions, uint32_t nregions,
		 const struct rf_tracker *tracker, const struct rf_clock *clock, int wake_fd)
{
	pthread_condattr_t attr;
	uint64_t largest = 0;

	*s = (struct rf_sync){
		.regions = regions,
		.nregions = nregions,
		.tracker = *tracker,
		.clock = clock,
		.wake_fd = wake_fd,
	};
	for (uint32_t i = 0; i < nregions; i++)
		if (regions[i].map.npages > largest)
			largest = regions[i].map.npages;
	if (rf_bitmap_init(&s->found, largest) != RF_OK)
		return RF_ERR_NO_MEMORY;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	return RF_OK;
}

void rf_sync_fini(struct rf_sync *s)
{
	if (!s->found.words)
		return;
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
	rf_bitmap_fini(&s->found);
}

/* ---- a harvest, with the lock held ---- */

static void begin_epoch(struct rf_sync *s)
{
	if (s->hints)
		rf_hints_begin_harvest(s->hints);
}

/* After one that failed no hint is taken any more. */
static void end_epoch(struct rf_sync *s, int rc)
{
	if (s->hints && rc == RF_OK)
		rf_hints_end_harvest(s->hints);
}

/* First all of a region's pages are found and armed again, then pending is looked at. */
static int harvest_region(struct rf_sync *s, uint32_t i, bool in_round)
{
	struct rf_src_region *r = &s->regions[i];
	struct rf_dirty_sink sink = {
		.bits = &s->found,
		.npages = r->map.npages,
		.region = r->info.id,
	};
	int rc = s->tracker.ops->harvest(s->tracker.self, i, &sink);

	rf_dirty_map_absorb(&r->map, &s->found, in_round, &s->sample.found);
	return rc;
}

static int harvest_all(struct rf_sync *s, bool in_round)
{
	uint64_t begin = rf_now_ns(s->clock);
	int rc = RF_OK;

	for (uint32_t i = 0; rc == RF_OK && i < s->nregions; i++) {
		s->sample.region = i;
		rc = harvest_region(s, i, in_round);
	}
	s->sample.error = rc;
	s->sample.harvests++;
	s->sample.behind += in_round;
	s->sample.spent_ns = rf_now_ns(s->clock) - begin;
	if (s->last_ns)
		s->sample.ns += begin - s->last_ns;
	s->last_ns = begin;
	atomic_store_explicit(&s->fresh, true, memory_order_relaxed);
	return rc;
}

static void take_sample(struct rf_sync *s, struct rf_sync_sample *out)
{
	*out = s->sample;
	s->sample = (struct rf_sync_sample){.spent_ns = out->spent_ns};
	atomic_store_explicit(&s->fresh, false, memory_order_relaxed);
}

int rf_sync_advance(struct rf_sync *s, uint64_t *pending, struct rf_sync_sample *sample)
{
	int rc;

	*pending = 0;
	pthread_mutex_lock(&s->lock);
	s->due_ns = 0;
	begin_epoch(s);
	rc = harvest_all(s, false);
	for (uint32_t i = 0; rc == RF_OK && i < s->nregions; i++)
		*pending += rf_dirty_map_advance(&s->regions[i].map, &s->sample.avoided);
	end_epoch(s, rc);
	take_sample(s, sample);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

bool rf_sync_take(struct rf_sync *s, struct rf_sync_sample *out)
{
	if (!atomic_load_explicit(&s->fresh, memory_order_relaxed))
		return false;
	/* A harvest of a huge guest takes long, and who sends must not wait for it. */
	if (pthread_mutex_trylock(&s->lock))
		return false;
	take_sample(s, out);
	pthread_mutex_unlock(&s->lock);
	return true;
}

/* ---- the thread ---- */

static void wait_until_due(struct rf_sync *s)
{
	struct timespec ts = {
		.tv_sec = (time_t)(s->due_ns / RF_NS_PER_SEC),
		.tv_nsec = (long)(s->due_ns % RF_NS_PER_SEC),
	};

	if (s->due_ns)
		pthread_cond_timedwait(&s->cond, &s->lock, &ts);
	else
		pthread_cond_wait(&s->cond, &s->lock);
}

static void harvest_behind(struct rf_sync *s)
{
	int rc;

	begin_epoch(s);
	rc = harvest_all(s, true);
	end_epoch(s, rc);
	/* After an error only the scheduler goes on, and ends the migration. */
	if (rc == RF_OK)
		s->due_ns = rf_now_ns(s->clock) + s->interval_ns;
	else
		s->stop = true;
	/* Who is woken takes the sample, for which the lock must be free; and others get a turn. */
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake_fd, 1);
	pthread_mutex_lock(&s->lock);
}

static void *sync_thread(void *arg)
{
	struct rf_sync *s = arg;

	pthread_setname_np(pthread_self(), "rf-sync");
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		if (s->due_ns && rf_now_ns(s->clock) >= s->due_ns)
			harvest_behind(s);
		else
			wait_until_due(s);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int rf_sync_start(struct rf_sync *s)
{
	sigset_t all, old;
	int rc;

	/* Signals of the program are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&s->thread, NULL, sync_thread, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		rf_err_log("source", "background sync: thread: %s", strerror(rc));
		return RF_ERR_SYSTEM;
	}
	s->has_thread = true;
	return RF_OK;
}

void rf_sync_stop(struct rf_sync *s)
{
	if (!s->has_thread)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->has_thread = false;
}

void rf_sync_begin_round(struct rf_sync *s, uint64_t interval_ns)
{
	if (!s->has_thread)
		return;
	pthread_mutex_lock(&s->lock);
	s->interval_ns = interval_ns;
	s->due_ns = rf_now_ns(s->clock) + interval_ns;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

uint64_t rf_sync_interval(const struct rf_sync_pace *p)
{
	uint64_t ns = RF_SYNC_MIN_NS, least = p->spent_ns * RF_SYNC_COST;

	if (p->wanted_ms)
		return p->wanted_ms * RF_NS_PER_MS;
	if (p->bandwidth > 0) {
		double round = (double)p->pending / p->bandwidth * (double)RF_NS_PER_SEC;
		double part = round / RF_SYNC_A_ROUND;

		if (part > (double)RF_SYNC_MAX_NS)
			ns = RF_SYNC_MAX_NS;
		else if (part > (double)ns)
			ns = (uint64_t)part;
	}
	return ns > least ? ns : least;
}
