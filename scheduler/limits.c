/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits that may be changed while a migration runs. Any thread writes them; only the scheduler
 * thread acts on them, so the guest's throttle is called by that thread alone.
 */
#include <unistd.h>

#include "common/log.h"
#include "scheduler/source.h"

#define MAX_THROTTLE 99u

/* The scheduler may sleep with the old value in mind. */
static void wake(struct rf_source *src)
{
	uint64_t one = 1;

	if (write(src->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

void rf_source_set_max_bandwidth(struct rf_source *src, uint64_t bytes_per_s)
{
	atomic_store(&src->limits.max_bandwidth, bytes_per_s);
	wake(src);
}

void rf_source_set_max_postcopy_bandwidth(struct rf_source *src, uint64_t bytes_per_s)
{
	atomic_store(&src->limits.max_postcopy_bandwidth, bytes_per_s);
	wake(src);
}

void rf_source_set_downtime_limit(struct rf_source *src, uint32_t ms)
{
	atomic_store(&src->limits.downtime_limit, ms ? ms : RF_SOURCE_DOWNTIME_LIMIT);
	wake(src);
}

int rf_source_set_throttle(struct rf_source *src, unsigned percent)
{
	if (percent > MAX_THROTTLE)
		return RF_ERR_INVALID;
	if (!src->cfg.guest.throttle)
		return RF_ERR_UNSUPPORTED;
	atomic_store(&src->limits.throttle, percent);
	wake(src);
	return RF_OK;
}

/* A guest that cannot be throttled is moved all the same, so a failure only ends the attempts. */
static bool call_throttle(struct rf_source *src, unsigned percent)
{
	int rc = src->cfg.guest.throttle(src->cfg.guest_arg, percent);

	if (rc == RF_OK)
		return true;
	rf_warn("source", "the guest cannot be throttled to %u %%: %s", percent, rf_err_str(rc));
	src->throttle_broken = true;
	return false;
}

void rf_source_apply_throttle(struct rf_source *src)
{
	unsigned want = atomic_load_explicit(&src->limits.throttle, memory_order_relaxed);

	if (src->paused || src->throttle_broken)
		return;
	if (want == atomic_load_explicit(&src->count.throttle, memory_order_relaxed))
		return;
	if (call_throttle(src, want)) {
		rf_info("source", "the guest is throttled to %u %%", want);
		atomic_store(&src->count.throttle, want);
	}
}

void rf_source_end_throttle(struct rf_source *src)
{
	/* The statistics keep the last value. */
	if (atomic_load(&src->count.throttle))
		(void)call_throttle(src, 0);
}

static int sleep_ms(uint64_t ns)
{
	return ns < 100 * RF_NS_PER_MS ? (int)((ns + RF_NS_PER_MS - 1) / RF_NS_PER_MS) : 100;
}

struct rf_window rf_source_window(struct rf_source *src)
{
	const struct rf_limiter *all = src->share.limiter;
	struct rf_window_cfg cfg = {
		.urgent = src->cfg.urgent_window == RF_URGENT_WINDOW_STOP ? 0
									  : src->cfg.urgent_window,
		.full = src->bulk.window * src->bulk.nlanes,
		.hold_ns = RF_WINDOW_HOLD_NS,
		.step_ns = RF_WINDOW_STEP_NS,
	};
	struct rf_window_in in = {
		.open = atomic_load_explicit(all ? &all->open : &src->urgent.open,
					     memory_order_relaxed),
		.last_ns = atomic_load_explicit(all ? &all->last_ns : &src->urgent.last_ns,
						memory_order_relaxed),
		.now_ns = rf_now_ns(src->clock),
	};
	bool squeezed = in.open || in.last_ns > src->path.sample_ns;
	struct rf_window w;

	rf_path_note(&src->path, in.now_ns, src->bulk.completed, rf_bulk_inflight(&src->bulk),
		     squeezed);
	in.rate = src->path.rate;
	in.rtt_ns = src->path.rtt_ns;
	in.probing = rf_path_probing(&src->path);
	w = rf_window_decide(&cfg, &in, src->cursor.piece_pages * RF_PAGE_SIZE);
	if (w.bytes != src->window) {
		src->window = w.bytes;
		atomic_fetch_add_explicit(&src->count.window_changes, 1, memory_order_relaxed);
	}
	return w;
}

static uint64_t time_to_wait(struct rf_source *src)
{
	uint64_t now = rf_now_ns(src->clock);
	uint64_t own = rf_pacer_wait(&src->pacer, now,
				     atomic_load_explicit(&src->limits.max_bandwidth,
							  memory_order_relaxed));
	uint64_t shared = rf_limiter_wait(&src->share, now);

	return own > shared ? own : shared;
}

bool rf_source_leaves_room(const struct rf_source *src)
{
	const struct rf_limiter *all = src->share.limiter;

	return all && atomic_load_explicit(&all->postcopies, memory_order_relaxed);
}

/* The guest of another migration may wait for a page, and this write would be in its way. Something
 * always goes when nothing is on its way. */
static bool is_in_the_way(struct rf_source *src, uint32_t len)
{
	uint64_t inflight = rf_bulk_inflight(&src->bulk) + src->bulk.batch_bytes;
	struct rf_window w;

	if (!rf_source_leaves_room(src) || !inflight)
		return false;
	w = rf_source_window(src);
	return w.bytes < src->bulk.window * src->bulk.nlanes && inflight + len > w.bytes;
}

/*
 * Nothing is kept back in the batch while it waits. Time in which the lanes had nothing to do is
 * the limit's doing and says nothing about the link's bandwidth, so it is counted apart.
 */
int rf_source_pace(struct rf_source *src, uint32_t len)
{
	uint64_t ns = time_to_wait(src);
	bool blocked = ns || is_in_the_way(src, len);
	int rc = blocked ? rf_source_post_all(src, rf_source_post_writes) : RF_OK;

	while (rc == RF_OK && blocked && !src->break_off && !atomic_load(&src->go_postcopy)) {
		bool idle = !rf_bulk_inflight(&src->bulk);
		uint64_t before = rf_now_ns(src->clock);

		src->sleep_ms = ns ? sleep_ms(ns) : 1; /* the window opens with time */
		rc = rf_source_pump(src);
		src->sleep_ms = 0;
		if (idle)
			src->idle_ns += rf_now_ns(src->clock) - before;
		ns = time_to_wait(src);
		blocked = ns || is_in_the_way(src, len);
	}
	rf_pacer_take(&src->pacer, len);
	rf_limiter_take(&src->share, len);
	return rc;
}
