/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/converge.h"

#include <math.h>

const char *rf_converge_action_str(enum rf_converge_action a)
{
	static const char *const names[] = {
		[RF_CONVERGE_ITERATE] = "iterate",	   [RF_CONVERGE_THROTTLE] = "throttle",
		[RF_CONVERGE_SWITCH_OVER] = "switch over", [RF_CONVERGE_POSTCOPY] = "go postcopy",
		[RF_CONVERGE_GIVE_UP] = "give up",
	};

	return a < sizeof(names) / sizeof(*names) ? names[a] : "unknown";
}

static double expect_downtime(const struct rf_converge_in *in)
{
	double bandwidth = in->avail_bandwidth > 0 ? in->avail_bandwidth : in->bandwidth;
	double state_rate = bandwidth;

	/* It goes over the control stream, which may be slower than the lanes. */
	if (in->state_rate > 0 && (in->state_rate < bandwidth || !(in->avail_bandwidth > 0)))
		state_rate = in->state_rate;
	if (bandwidth > 0)
		return in->fixed_ms + (double)in->remaining / bandwidth * 1e3 +
		       (double)in->device_state / state_rate * 1e3;
	/* without a measured bandwidth only an empty rest is a known quantity */
	return in->remaining ? INFINITY : in->fixed_ms;
}

static struct rf_converge_memory remember(const struct rf_converge_in *in)
{
	struct rf_converge_memory m = in->memory;

	/* A period in which nothing went out says nothing. */
	if (in->sent) {
		m.high = in->again > in->sent / 2 ? m.high + 1 : 0;
		m.losing = in->again >= in->sent ? m.losing + 1 : 0;
	}
	if (in->in_round)
		return m;
	m.stalled =
		m.last_remaining && in->remaining >= m.last_remaining / 10 * 9 ? m.stalled + 1 : 0;
	m.last_remaining = in->remaining;
	return m;
}

/* Bytes a second while the guest runs. */
static double running_bandwidth(const struct rf_converge_in *in)
{
	double limit = (double)in->max_bandwidth;

	return limit > 0 && limit < in->bandwidth ? limit : in->bandwidth;
}

static bool is_lost(const struct rf_converge_in *in, const struct rf_converge_memory *m)
{
	if (in->in_round || m->losing >= RF_CONVERGE_LOSING)
		return m->losing >= RF_CONVERGE_LOSING && in->round > 1;
	return m->stalled >= RF_CONVERGE_STALLED ||
	       (m->stalled && in->dirty_rate >= running_bandwidth(in));
}

static bool is_after_rounds(const struct rf_converge_in *in)
{
	return !in->in_round && in->postcopy_after && in->round >= in->postcopy_after;
}

static enum rf_converge_action out_of_time(const struct rf_converge_in *in)
{
	switch (in->timeout_action) {
	case RF_TIMEOUT_POSTCOPY:
		return in->may_postcopy ? RF_CONVERGE_POSTCOPY : RF_CONVERGE_GIVE_UP;
	case RF_TIMEOUT_SWITCH:
		return RF_CONVERGE_SWITCH_OVER;
	case RF_TIMEOUT_CANCEL:
	default:
		return RF_CONVERGE_GIVE_UP;
	}
}

void rf_converge_decide(const struct rf_converge_in *in, struct rf_converge_out *out)
{
	bool may_throttle = in->throttle < in->throttle_cfg.max;
	bool fits, lost;

	*out = (struct rf_converge_out){
		.action = RF_CONVERGE_ITERATE,
		.expected_downtime = expect_downtime(in),
		.throttle = in->throttle,
		.memory = remember(in),
	};
	fits = in->remaining == 0 || out->expected_downtime <= in->downtime_limit;
	lost = !fits && is_lost(in, &out->memory);
	if (!in->in_round && fits) {
		out->action = RF_CONVERGE_SWITCH_OVER;
	} else if (in->timeout && in->elapsed_ms >= in->timeout) {
		out->action = out_of_time(in);
	} else if (in->may_postcopy && (is_after_rounds(in) || (lost && !may_throttle))) {
		out->action = RF_CONVERGE_POSTCOPY;
	} else if (may_throttle) {
		if (out->memory.high < RF_CONVERGE_HIGH || fits)
			return;
		out->action = RF_CONVERGE_THROTTLE;
		out->throttle =
			rf_throttle_next(&in->throttle_cfg, in->throttle, in->sent, in->again);
		out->memory =
			(struct rf_converge_memory){.last_remaining = out->memory.last_remaining};
	} else {
		out->hopeless = lost;
	}
}

unsigned rf_throttle_next(const struct rf_throttle_cfg *cfg, unsigned now, uint64_t sent,
			  uint64_t again)
{
	unsigned step = now ? cfg->increment : cfg->initial;

	if (now && cfg->tail_slow && again > sent / 2) {
		/* the share of time with which half of what is sent would be dirtied again */
		double runs = 100 - now, ideal = runs * ((double)sent / 2) / (double)again;

		if (runs - ideal < step)
			step = (unsigned)(runs - ideal);
		if (!step)
			step = 1;
	}
	return now + step < cfg->max ? now + step : cfg->max;
}

static void add_decayed(struct rf_rate *r, uint64_t bytes, double seconds, double keep)
{
	r->bytes = r->bytes * keep + (double)bytes;
	r->seconds = r->seconds * keep + seconds;
}

void rf_rate_add(struct rf_rate *r, uint64_t bytes, double seconds)
{
	if (bytes && seconds > 0)
		add_decayed(r, bytes, seconds, exp2(-(double)bytes / RF_RATE_HORIZON));
}

void rf_rate_add_timed(struct rf_rate *r, uint64_t bytes, double seconds)
{
	if (seconds > 0)
		add_decayed(r, bytes, seconds, exp2(-seconds / RF_RATE_HALF_LIFE));
}

double rf_rate_get(const struct rf_rate *r)
{
	return r->seconds > 0 ? r->bytes / r->seconds : 0;
}

void rf_recent_add(struct rf_recent *r, double v)
{
	r->v[r->n++ % RF_RECENT] = v;
}

double rf_recent_median(const struct rf_recent *r)
{
	unsigned n = r->n < RF_RECENT ? r->n : RF_RECENT;

	for (unsigned i = 0; i < n; i++) {
		unsigned less = 0, equal = 0;

		for (unsigned k = 0; k < n; k++) {
			less += r->v[k] < r->v[i];
			equal += r->v[k] == r->v[i];
		}
		if (less <= (n - 1) / 2 && (n - 1) / 2 < less + equal)
			return r->v[i];
	}
	return 0;
}
