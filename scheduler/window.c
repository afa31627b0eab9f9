/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/window.h"

#include <ramferry/region.h>

static uint64_t window_bytes(const struct rf_window_cfg *cfg, const struct rf_window_in *in)
{
	uint64_t quiet, steps, from;

	if (in->open)
		return cfg->urgent;
	if (!in->last_ns)
		return cfg->full;
	quiet = in->now_ns > in->last_ns ? in->now_ns - in->last_ns : 0;
	if (quiet < cfg->hold_ns)
		return cfg->urgent;
	steps = 1 + (quiet - cfg->hold_ns) / cfg->step_ns;
	/* Nothing doubled stays nothing: a stopped window starts again with a page. */
	from = cfg->urgent > RF_PAGE_SIZE ? cfg->urgent : RF_PAGE_SIZE;
	if (steps >= 32 || from << steps >= cfg->full)
		return cfg->full;
	return from << steps;
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
