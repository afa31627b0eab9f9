/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/window.h"

#include <ramferry/region.h>

/* What a link of that rate carries in some time, but at least least and at most bytes. In whole
 * pages and eighths of a power of 2: a rate that wavers does not move it. */
static uint64_t within(uint64_t bytes, uint64_t rate, uint64_t ns, uint64_t least)
{
	uint64_t carried = (uint64_t)((double)rate * (double)ns / 1e9), step;

	if (bytes <= least)
		return bytes;
	if (carried < least)
		carried = least;
	step = (1ull << (63 - __builtin_clzll(carried))) / 8;
	if (step < RF_PAGE_SIZE)
		step = RF_PAGE_SIZE;
	carried = carried / step * step;
	return bytes < carried ? bytes : carried;
}

/* The urgent window keeps its size until the rate is known: it is small. */
static uint64_t urgent_bytes(const struct rf_window_cfg *cfg, const struct rf_window_in *in)
{
	return in->rate ? within(cfg->urgent, in->rate, RF_WINDOW_DELAY_NS, RF_PAGE_SIZE)
			: cfg->urgent;
}

static uint64_t full_bytes(const struct rf_window_cfg *cfg, const struct rf_window_in *in)
{
	uint64_t delay = RF_WINDOW_FULL_DELAY_NS;

	/* While the rate is only what the window lets it be, it doubles each round trip. */
	if (delay < in->rtt_ns)
		delay = in->rtt_ns;
	return within(cfg->full, in->rate, in->rtt_ns + delay, RF_WINDOW_FULL_MIN);
}

static uint64_t window_bytes(const struct rf_window_cfg *cfg, const struct rf_window_in *in)
{
	uint64_t quiet, steps, from, full, urgent;

	urgent = urgent_bytes(cfg, in);
	full = full_bytes(cfg, in);
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

struct rf_window rf_window_decide(const struct rf_window_cfg *cfg, const struct rf_window_in *in,
				  uint64_t piece)
{
	bool off = cfg->urgent >= cfg->full;
	struct rf_window w = {.bytes = off ? cfg->full : window_bytes(cfg, in), .piece = piece};
	uint64_t fit;

	if (w.bytes > cfg->full)
		w.bytes = cfg->full;
	if (in->probing && !off && w.bytes > RF_PAGE_SIZE)
		w.bytes = RF_PAGE_SIZE;
	/* Several fit in: while one is acknowledged others are on their way. */
	fit = w.bytes / 4 < RF_WINDOW_PIECE_MIN ? w.bytes / 2 : w.bytes / 4;
	if (w.piece > fit)
		w.piece = fit / RF_PAGE_SIZE * RF_PAGE_SIZE;
	if (w.piece < RF_PAGE_SIZE)
		w.piece = RF_PAGE_SIZE;
	return w;
}
