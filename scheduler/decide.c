/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between what is measured and what is decided: collects the numbers for converge.c, asks it, and
 * does what it says. Called by the scheduler thread at the end of a round, and from within a
 * round whenever the sync thread has harvested.
 */
#include <math.h>

#include "common/log.h"
#include "scheduler/source.h"

#define MIB	   1048576.0
#define WARM_BYTES (1.0 * MIB) /* so many of later rounds tell more than all of the first one */

void rf_source_note_sample(struct rf_source *src, const struct rf_sync_sample *s)
{
	struct rf_source_counters *c = &src->count;

	/* The first harvest covers no time: tracking had just begun. */
	if (s->ns) {
		rf_rate_add_timed(&src->dirty, s->found.dirtied * RF_PAGE_SIZE,
				  (double)s->ns / 1e9);
		atomic_store(&c->dirty_rate, (uint64_t)(rf_rate_get(&src->dirty) / RF_PAGE_SIZE));
	}
	rf_recent_add(&src->harvest_ms, rf_ns_to_ms(s->spent_ns));
	src->again += s->found.again;
	src->round_again += s->found.again;
	atomic_fetch_add(&c->sync_count, s->harvests);
	atomic_fetch_add(&c->sync_behind, s->behind);
	atomic_fetch_add(&c->avoided, s->avoided);
}

double rf_source_bandwidth(const struct rf_source *src)
{
	return src->rate.bytes >= WARM_BYTES ? rf_rate_get(&src->rate)
					     : rf_rate_get(&src->cold_rate);
}

/*
 * What the hand-over costs whatever is left: a harvest, the end of a round, and three exchanges on
 * the control stream, each of which takes no longer than the end of a round, of which it is a part.
 */
static double fixed_ms(const struct rf_source *src)
{
	double rtt = rf_ns_to_ms(rf_ctrl_rtt_ns(src->ctrl)), ack = rf_recent_median(&src->ack_ms);

	return ack + rf_recent_median(&src->harvest_ms) + 3 * (ack > 0 && ack < rtt ? ack : rtt);
}

static bool can_throttle(const struct rf_source *src)
{
	return src->cfg.auto_converge && src->cfg.guest.throttle && !src->throttle_broken;
}

static void fill(const struct rf_source *src, uint64_t remaining, bool in_round,
		 struct rf_converge_in *in)
{
	const struct rf_source_cfg *cfg = &src->cfg;

	*in = (struct rf_converge_in){
		.in_round = in_round,
		.remaining = remaining,
		.bandwidth = rf_source_bandwidth(src),
		.avail_bandwidth = (double)cfg->avail_switchover_bandwidth,
		.max_bandwidth = atomic_load(&src->limits.max_bandwidth),
		.dirty_rate = rf_rate_get(&src->dirty),
		.fixed_ms = fixed_ms(src),
		.downtime_limit = atomic_load(&src->limits.downtime_limit),
		.elapsed_ms = rf_ns_to_ms(rf_now_ns(src->clock) - src->start_ns),
		.timeout = cfg->timeout,
		.timeout_action = cfg->timeout_action,
		.may_postcopy = cfg->mode == RF_MODE_HYBRID,
		.round = src->round,
		.postcopy_after = cfg->postcopy_after,
		.sent = src->sent_pages * RF_PAGE_SIZE,
		.again = src->again * RF_PAGE_SIZE,
		.throttle = atomic_load(&src->limits.throttle),
		.memory = src->memory,
	};
	if (can_throttle(src))
		in->throttle_cfg = (struct rf_throttle_cfg){
			.initial = cfg->cpu_throttle_initial,
			.increment = cfg->cpu_throttle_increment,
			.max = cfg->max_cpu_throttle,
			.tail_slow = cfg->cpu_throttle_tailslow,
		};
	if (cfg->guest.state_size)
		in->device_state = cfg->guest.state_size(src->cfg.guest_arg);
	in->state_rate = src->state_rate;
}

/* Once, and as soon as it is known: the user may still choose another way. */
static void say_hopeless(struct rf_source *src, const struct rf_converge_in *in,
			 const struct rf_converge_out *out)
{
	double limit = (double)in->max_bandwidth;
	double sends = limit > 0 && limit < in->bandwidth ? limit : in->bandwidth;

	if (atomic_load(&src->count.not_converging))
		return;
	atomic_store(&src->count.not_converging, src->round);
	rf_warn("source",
		"this precopy does not converge: in round %llu the guest dirties %.0f MiB/s, "
		"%.0f MiB/s are sent%s, so %.1f MiB are left, for %.0f ms of downtime with a limit "
		"of %u ms. What helps: --auto-converge, --mode hybrid, more --downtime-limit%s",
		(unsigned long long)src->round, in->dirty_rate / MIB, sends / MIB,
		sends < in->bandwidth ? " (--max-bandwidth)" : "", (double)in->remaining / MIB,
		out->expected_downtime, in->downtime_limit,
		sends < in->bandwidth ? ", more --max-bandwidth" : "");
}

static enum rf_converge_action decide(struct rf_source *src, uint64_t remaining, bool in_round)
{
	struct rf_converge_out out;
	struct rf_converge_in in;

	fill(src, remaining, in_round, &in);
	rf_converge_decide(&in, &out);
	src->memory = out.memory;
	src->sent_pages = 0;
	src->again = 0;
	if (!in_round) /* what it finds so far is not what the round will leave */
		atomic_store(&src->count.expected_ms, out.expected_downtime);
	if (out.hopeless)
		say_hopeless(src, &in, &out);
	if (out.action == RF_CONVERGE_THROTTLE)
		atomic_store(&src->limits.throttle, out.throttle);
	rf_debug("source",
		 "%s round %llu: sent %.1f MiB, %.1f of it once more; %.1f MiB for the next, "
		 "dirtied "
		 "%.0f MiB/s, sent %.0f MiB/s, expected downtime %.1f ms, throttle %u %%: %s",
		 in_round ? "in" : "after", (unsigned long long)src->round, (double)in.sent / MIB,
		 (double)in.again / MIB, (double)remaining / MIB, in.dirty_rate / MIB,
		 in.bandwidth / MIB, out.expected_downtime, out.throttle,
		 rf_converge_action_str(out.action));
	return out.action;
}

enum rf_converge_action rf_source_decide(struct rf_source *src, uint64_t pending)
{
	return decide(src, pending * RF_PAGE_SIZE, false);
}

/*
 * Only throttling and postcopy happen in the middle of a round; time that is over is looked after
 * by rf_source_check() itself, harvest or not.
 */
int rf_source_decide_in_round(struct rf_source *src)
{
	struct rf_sync_sample s;

	if (src->paused || !src->tracking || !rf_sync_take(&src->sync, &s))
		return RF_OK;
	if (s.error != RF_OK)
		return rf_source_fail_harvest(src, &s);
	rf_source_note_sample(src, &s);
	atomic_fetch_add(&src->count.remaining, s.found.again * RF_PAGE_SIZE);
	if (decide(src, src->round_again * RF_PAGE_SIZE, true) == RF_CONVERGE_POSTCOPY)
		atomic_store(&src->go_postcopy, true);
	return RF_OK;
}

/* The estimate for the case that the guest leaves before its memory does. */
void rf_source_expect_postcopy(struct rf_source *src)
{
	struct rf_converge_out out;
	struct rf_converge_in in;

	fill(src, 0, false, &in);
	rf_converge_decide(&in, &out);
	atomic_store(&src->count.expected_ms, out.expected_downtime);
}
