/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <limits.h>

#include "common/clock.h"

static void monotonic_clock_does_not_go_back(void **state)
{
	uint64_t last = rf_now_ns(&rf_clock_monotonic);

	assert_true(last > 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = rf_now_ns(&rf_clock_monotonic);

		assert_true(now >= last);
		last = now;
	}
}

static void manual_clock_moves_only_when_told(void **state)
{
	struct rf_clock_manual m;

	rf_clock_manual_init(&m, 5);
	assert_int_equal(rf_now_ns(&m.base), 5);
	assert_int_equal(rf_now_ns(&m.base), 5);
	m.ns += RF_NS_PER_SEC;
	assert_int_equal(rf_now_ns(&m.base), RF_NS_PER_SEC + 5);
}

static void time_left_is_rounded_up(void **state)
{
	struct rf_clock_manual m;
	const struct rf_clock *c = &m.base;

	rf_clock_manual_init(&m, 10 * RF_NS_PER_MS);
	assert_int_equal(rf_ms_left(c, 10 * RF_NS_PER_MS + 1), 1);
	assert_int_equal(rf_ms_left(c, 11 * RF_NS_PER_MS), 1);
	assert_int_equal(rf_ms_left(c, 11 * RF_NS_PER_MS + 1), 2);
}

static void past_deadline_has_nothing_left(void **state)
{
	struct rf_clock_manual m;

	rf_clock_manual_init(&m, 10);
	assert_int_equal(rf_ms_left(&m.base, 10), 0);
	assert_int_equal(rf_ms_left(&m.base, 9), 0);
	assert_int_equal(rf_ms_left(&m.base, 1), 0);
}

static void no_deadline_never_ends(void **state)
{
	assert_int_equal(rf_ms_left(&rf_clock_monotonic, 0), -1);
}

static void far_deadline_fits_poll(void **state)
{
	struct rf_clock_manual m;

	rf_clock_manual_init(&m, 0);
	assert_int_equal(rf_ms_left(&m.base, UINT64_MAX), INT_MAX);
	assert_true(rf_ns_to_ms(1500000) == 1.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(monotonic_clock_does_not_go_back),
		cmocka_unit_test(manual_clock_moves_only_when_told),
		cmocka_unit_test(time_left_is_rounded_up),
		cmocka_unit_test(past_deadline_has_nothing_left),
		cmocka_unit_test(no_deadline_never_ends),
		cmocka_unit_test(far_deadline_fits_poll),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
