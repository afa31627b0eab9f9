/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/clock.h"

#include <limits.h>
#include <time.h>

static uint64_t monotonic_now_ns(const struct rf_clock *self)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * RF_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

const struct rf_clock rf_clock_monotonic = {.now_ns = monotonic_now_ns};

static uint64_t manual_now_ns(const struct rf_clock *self)
{
	/* base is the first member. */
	return ((const struct rf_clock_manual *)self)->ns;
}

void rf_clock_manual_init(struct rf_clock_manual *m, uint64_t start_ns)
{
	m->base.now_ns = manual_now_ns;
	m->ns = start_ns;
}

int rf_ms_left(const struct rf_clock *c, uint64_t deadline_ns)
{
	uint64_t now, ms;

	if (!deadline_ns)
		return -1;
	now = rf_now_ns(c);
	if (now >= deadline_ns)
		return 0;
	/* Rounded up: poll() must not return early and find the deadline still ahead. */
	ms = (deadline_ns - now - 1) / RF_NS_PER_MS + 1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}
