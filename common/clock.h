/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The monotonic clock behind a pointer, so that tests of timeouts and rates need not wait.
 */
#ifndef RF_COMMON_CLOCK_H
#define RF_COMMON_CLOCK_H

#include <stdint.h>

struct rf_clock {
	uint64_t (*now_ns)(const struct rf_clock *self);
};

/* CLOCK_MONOTONIC. */
extern const struct rf_clock rf_clock_monotonic;

/* A clock that stands still until it is told to move. Not for several threads. */
struct rf_clock_manual {
	struct rf_clock base; /* give &m.base to the user */
	uint64_t ns;
};
void rf_clock_manual_init(struct rf_clock_manual *m, uint64_t start_ns);

static inline uint64_t rf_now_ns(const struct rf_clock *c)
{
	return c->now_ns(c);
}

#define RF_NS_PER_MS  1000000ull
#define RF_NS_PER_SEC 1000000000ull

static inline double rf_ns_to_ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* What is left of a deadline in ms for poll(), rounded up; 0 if past, -1 if deadline is 0
 * (never). */
int rf_ms_left(const struct rf_clock *c, uint64_t deadline_ns);

#endif
