/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <math.h>

#include "scheduler/converge.h"

#define MIB (1ull << 20)

struct row {
	const char *what;
	struct rf_converge_in in;
	enum rf_converge_action action;
	double expected; /* ms */
};

/* Bandwidth of 1000 MiB/s: a MiB takes a millisecond. */
#define FAST (1000.0 * MIB)

static const struct row rows[] = {
	{"nothing left, nothing measured", {.downtime_limit = 300}, RF_CONVERGE_SWITCH_OVER, 0},
	{"nothing left, only fixed costs",
	 {.fixed_ms = 5, .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 5},
	{"nothing left counts as enough even if fixed costs are over the limit",
	 {.fixed_ms = 500, .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 500},
	{"nothing left, device state at a known bandwidth",
	 {.device_state = 10 * MIB, .bandwidth = FAST, .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 10},
	{"something left and no bandwidth: nobody knows",
	 {.remaining = 4096, .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 INFINITY},
	{"something left, no bandwidth, out of time",
	 {.remaining = 4096, .downtime_limit = 300, .timeout = 1000, .elapsed_ms = 1000},
	 RF_CONVERGE_GIVE_UP,
	 INFINITY},
	{"fits",
	 {.remaining = 100 * MIB, .bandwidth = FAST, .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 100},
	{"fits just so",
	 {.remaining = 300 * MIB, .bandwidth = FAST, .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 300},
	{"does not fit by a page",
	 {.remaining = 300 * MIB + 4096, .bandwidth = FAST, .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 300 + 1.0 / 256},
	{"memory fits, device state on top does not",
	 {.remaining = 200 * MIB,
	  .device_state = 150 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 350},
	{"both fit",
	 {.remaining = 200 * MIB,
	  .device_state = 50 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 250},
	{"device state takes the time that was measured",
	 {.remaining = 100 * MIB,
	  .device_state = 50 * MIB,
	  .state_rate = FAST / 10,
	  .bandwidth = FAST,
	  .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 600},
	{"device state may be faster than the rest",
	 {.remaining = 10 * MIB,
	  .device_state = 100 * MIB,
	  .state_rate = FAST,
	  .bandwidth = FAST / 10,
	  .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 200},
	{"not faster than what the user says is to be had",
	 {.remaining = 10 * MIB,
	  .device_state = 10 * MIB,
	  .state_rate = FAST,
	  .bandwidth = FAST,
	  .avail_bandwidth = FAST / 10,
	  .downtime_limit = 300},
	 RF_CONVERGE_SWITCH_OVER,
	 200},
	{"but slower",
	 {.remaining = 10 * MIB,
	  .device_state = 10 * MIB,
	  .state_rate = FAST / 100,
	  .bandwidth = FAST,
	  .avail_bandwidth = FAST / 10,
	  .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 1100},
	{"measured, and no bandwidth: nobody knows",
	 {.remaining = 4096, .device_state = 10 * MIB, .state_rate = FAST, .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 INFINITY},
	{"fixed costs count",
	 {.remaining = 290 * MIB, .fixed_ms = 20, .bandwidth = FAST, .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 310},
	{"another limit",
	 {.remaining = 290 * MIB, .fixed_ms = 20, .bandwidth = FAST, .downtime_limit = 310},
	 RF_CONVERGE_SWITCH_OVER,
	 310},
	{"a slow link",
	 {.remaining = 10 * MIB, .bandwidth = 1.0 * MIB, .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 10000},
	{"time is not over",
	 {.remaining = 400 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300,
	  .timeout = 1000,
	  .elapsed_ms = 999.9},
	 RF_CONVERGE_ITERATE,
	 400},
	{"time is over",
	 {.remaining = 400 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300,
	  .timeout = 1000,
	  .elapsed_ms = 1000},
	 RF_CONVERGE_GIVE_UP,
	 400},
	{"time is over, but it fits",
	 {.remaining = 100 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300,
	  .timeout = 1000,
	  .elapsed_ms = 5000},
	 RF_CONVERGE_SWITCH_OVER,
	 100},
	{"no limit of time",
	 {.remaining = 400 * MIB, .bandwidth = FAST, .downtime_limit = 300, .elapsed_ms = 1e12},
	 RF_CONVERGE_ITERATE,
	 400},
	{"a guest of 16 TiB, all dirty",
	 {.remaining = 16ull << 40, .bandwidth = FAST, .downtime_limit = 300},
	 RF_CONVERGE_ITERATE,
	 16.0 * 1024 * 1024},
};

static void decisions(void **state)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct row *r = &rows[i];
		struct rf_converge_out out = {0};
		bool same;

		rf_converge_decide(&r->in, &out);
		same = isinf(r->expected)
			       ? isinf(out.expected_downtime) && out.expected_downtime > 0
			       : fabs(out.expected_downtime - r->expected) < 1e-6;
		if (out.action != r->action || !same)
			fail_msg("%s: %s, %f ms instead of %s, %f ms", r->what,
				 rf_converge_action_str(out.action), out.expected_downtime,
				 rf_converge_action_str(r->action), r->expected);
	}
}

static void more_left_is_never_sooner(void **state)
{
	struct rf_converge_in in = {.bandwidth = FAST, .fixed_ms = 3, .downtime_limit = 50};
	bool over = false;
	double last = 0;

	for (in.remaining = 0; in.remaining < 200 * MIB; in.remaining += MIB / 2) {
		struct rf_converge_out out;

		rf_converge_decide(&in, &out);
		assert_true(out.expected_downtime >= last);
		assert_false(over && out.action == RF_CONVERGE_SWITCH_OVER);
		over = out.action != RF_CONVERGE_SWITCH_OVER;
		last = out.expected_downtime;
	}
	assert_true(over);
}

static void names(void **state)
{
	assert_string_equal(rf_converge_action_str(RF_CONVERGE_ITERATE), "iterate");
	assert_string_equal(rf_converge_action_str(RF_CONVERGE_SWITCH_OVER), "switch over");
	assert_string_equal(rf_converge_action_str(RF_CONVERGE_GIVE_UP), "give up");
	assert_string_equal(rf_converge_action_str((enum rf_converge_action)99), "unknown");
}

/* ---- bandwidth ---- */

static void rate_is_unknown_at_first(void **state)
{
	struct rf_rate r = {0};

	assert_true(rf_rate_get(&r) == 0);
	rf_rate_add(&r, 0, 1); /* a round without data says nothing */
	assert_true(rf_rate_get(&r) == 0);
	rf_rate_add(&r, 1000, 0); /* nor one without time */
	rf_rate_add(&r, 1000, -1);
	assert_true(rf_rate_get(&r) == 0);
}

static void rate_of_steady_samples_is_theirs(void **state)
{
	struct rf_rate r = {0};

	for (unsigned i = 0; i < 1000; i++) {
		rf_rate_add(&r, 100 * MIB, 0.1);
		assert_true(fabs(rf_rate_get(&r) / FAST - 1) < 1e-9);
	}
}

static void a_short_round_hardly_moves_the_rate(void **state)
{
	struct rf_rate r = {0};

	rf_rate_add(&r, 256 * MIB, 0.256);
	rf_rate_add(&r, 4096, 0.0005); /* one page: all overhead */
	assert_true(rf_rate_get(&r) > 0.99 * FAST);
}

static void dirtying_fades_with_time(void **state)
{
	struct rf_rate r = {0};

	for (unsigned i = 0; i < 100; i++)
		rf_rate_add_timed(&r, 30 * MIB, 0.1);
	assert_true(fabs(rf_rate_get(&r) / (300.0 * MIB) - 1) < 1e-9);
	/* it stops: after a second half of that is left, whatever the number of samples */
	for (unsigned i = 0; i < 10; i++)
		rf_rate_add_timed(&r, 0, 0.1);
	assert_true(rf_rate_get(&r) < 170.0 * MIB && rf_rate_get(&r) > 130.0 * MIB);
	rf_rate_add_timed(&r, 1000, 0);
	assert_true(rf_rate_get(&r) < 170.0 * MIB);
}

static void the_median_of_the_last_few(void **state)
{
	struct rf_recent r = {0};

	assert_true(rf_recent_median(&r) == 0);
	rf_recent_add(&r, 7);
	assert_true(rf_recent_median(&r) == 7);
	rf_recent_add(&r, 1000);
	assert_true(rf_recent_median(&r) == 7);
	rf_recent_add(&r, 9);
	rf_recent_add(&r, 9);
	rf_recent_add(&r, 2000);
	assert_true(rf_recent_median(&r) == 9);
	for (unsigned i = 0; i < RF_RECENT; i++)
		rf_recent_add(&r, 5); /* what was before is forgotten */
	assert_true(rf_recent_median(&r) == 5);
}

static void old_samples_fade(void **state)
{
	struct rf_rate r = {0};

	rf_rate_add(&r, 256 * MIB, 0.256);
	/* ten times slower from now on */
	for (unsigned i = 0; i < 20; i++)
		rf_rate_add(&r, 256 * MIB, 2.56);
	assert_true(fabs(rf_rate_get(&r) / (FAST / 10) - 1) < 0.01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions),
		cmocka_unit_test(more_left_is_never_sooner),
		cmocka_unit_test(names),
		cmocka_unit_test(rate_is_unknown_at_first),
		cmocka_unit_test(rate_of_steady_samples_is_theirs),
		cmocka_unit_test(a_short_round_hardly_moves_the_rate),
		cmocka_unit_test(old_samples_fade),
		cmocka_unit_test(the_median_of_the_last_few),
		cmocka_unit_test(dirtying_fades_with_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
