/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/window.h"

#include <ramferry/region.h>

/* No more than the link carries in delay_ns, but at least least. A power of 2: a rate that
 * wavers does not move it. */
static uint64_t within_delay(uint64_t bytes, uint64_t rate, uint64_t delay_ns, uint64_t least)
{
	uint64_t carried = (uint64_t)((double)rate * (double)delay_ns / 1e9);

	if (!rate || bytes <= least)
		return bytes;
	if (carried < least)
		carried = least;
	carried = 1ull << (63 - __builtin_clzll(carried));
	return bytes < carried ? bytes : carried;
}

static uint64_t window_bytes(const struct rf_window_cfg *cfg, const struct rf_window_in *in)
{
	uint64_t quiet, steps, from, full, urgent;

	if (cfg->urgent >= cfg->full)
		return cfg->full;
	urgent = within_delay(cfg->urgent, in->rate, RF_WINDOW_DELAY_NS, RF_PAGE_SIZE);
	full = within_delay(cfg->full, in->rate, RF_WINDOW_FULL_DELAY_NS, RF_WINDOW_FULL_MIN);
	if (in->open)
		return urgent;
	if (!in->last_ns)
		return full;
	quiet = in->now_ns > in->last_ns ? in->now_ns - in->last_ns : 0;
	if (quiet < cfg->hold_ns)
		return urgent;
	steps = 1 + (quiet - cfg->hold_ns) / cfg->step_ns;
	/* Nothing doubled stays nothing: a stopped window starts again with a page. */
	from = urgent > RF_PAGE_SIZE ? urgent : RF_PAGE_SIZE;
	if (steps >= 32 || from << steps >= full)
		return full;
	return from << steps;
}

uint64_t rf_link_rate_note(struct rf_link_rate *r, uint64_t now_ns, uint64_t bytes)
{
	uint64_t ns = now_ns - r->since_ns, rate;

	if (!r->since_ns) {
		r->since_ns = now_ns;
		r->bytes = bytes;
	} else if (ns >= RF_LINK_RATE_SAMPLE_NS) {
		rate = (uint64_t)((double)(bytes - r->bytes) * 1e9 / (double)ns);
		r->best -= r->best / 512; /* forgets: half of it in 350 samples */
		if (rate > r->best)
			r->best = rate;
		r->since_ns = now_ns;
		r->bytes = bytes;
	}
	return r->best;
}

struct rf_window rf_window_decide(const struct rf_window_cfg *cfg, const struct rf_window_in *in,
				  uint64_t piece)
{
	struct rf_window w = {.bytes = window_bytes(cfg, in), .piece = piece};

	if (w.bytes > cfg->full)
		w.bytes = cfg->full;
	if (w.piece > w.bytes)
		w.piece = w.bytes / RF_PAGE_SIZE * RF_PAGE_SIZE;
	if (w.piece < RF_PAGE_SIZE)
		w.piece = RF_PAGE_SIZE;
	return w;
}
