/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <math.h>

#include "common/clock.h"
#include "tools/shares.h"

#define SEC RF_NS_PER_SEC

static void add(struct share_track *t, enum rf_state state, uint64_t ns, uint64_t bytes)
{
	struct rf_stats st = {.size = sizeof(st), .status = state};

	st.ram.transferred = bytes;
	share_track_add(t, ns, &st);
}

static void assert_close(double value, double wanted)
{
	if (fabs(value - wanted) > 1e-6)
		fail_msg("%f instead of %f", value, wanted);
}

static void only_precopy_counts(void **state)
{
	struct share_track t = {0};

	add(&t, RF_STATE_SETUP, 1, 10);
	add(&t, RF_STATE_ACTIVE, 2, 0);
	assert_int_equal(t.n, 0);
	add(&t, RF_STATE_ACTIVE, 3, 10);
	add(&t, RF_STATE_DEVICE, 4, 20);
	add(&t, RF_STATE_POSTCOPY_ACTIVE, 5, 30);
	add(&t, RF_STATE_COMPLETED, 6, 40);
	assert_int_equal(t.n, 1);
	share_track_fini(&t);
	assert_null(t.points);
}

static void between_points_it_is_a_line(void **state)
{
	struct share_track t = {0};

	assert_close(share_track_at(&t, 7), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		add(&t, RF_STATE_ACTIVE, i * 100, i * i);
	assert_close(share_track_at(&t, 0), 1);
	assert_close(share_track_at(&t, 100), 1);
	assert_close(share_track_at(&t, 200), 4);
	assert_close(share_track_at(&t, 250), 6.5);
	assert_close(share_track_at(&t, 100000), 1000000);
	assert_close(share_track_at(&t, 200000), 1000000);
	share_track_fini(&t);
}

/* One is there from 1 s to 11 s, the other from 3 s to 9 s and gets half as much. */
static void shares_are_those_of_the_time_all_were_there(void **state)
{
	struct share_track t[2] = {{0}};
	struct shares s;
	double part[2];

	for (uint64_t i = 1; i <= 11; i += 2)
		add(&t[0], RF_STATE_ACTIVE, i * SEC, i * 200);
	for (uint64_t i = 3; i <= 9; i++)
		add(&t[1], RF_STATE_ACTIVE, i * SEC, 5 + i * 100);
	assert_true(shares_compute(t, 2, part, &s));
	assert_close(s.seconds, 6);
	assert_close(s.bandwidth, 300);
	assert_close(part[0], 4.0 / 3);
	assert_close(part[1], 2.0 / 3);
	assert_close(s.least, 2.0 / 3);
	assert_close(s.most, 4.0 / 3);
	share_track_fini(&t[0]);
	share_track_fini(&t[1]);
}

static void without_such_a_time_there_are_none(void **state)
{
	struct share_track t[2] = {{0}};
	struct shares s;
	double part[2];

	assert_false(shares_compute(t, 0, part, &s));
	assert_false(shares_compute(t, 2, part, &s));
	add(&t[0], RF_STATE_ACTIVE, 1, 1);
	add(&t[0], RF_STATE_ACTIVE, 2, 2);
	add(&t[1], RF_STATE_ACTIVE, 2, 1);
	assert_false(shares_compute(t, 2, part, &s)); /* a single point */
	add(&t[1], RF_STATE_ACTIVE, 3, 2);
	assert_false(shares_compute(t, 2, part, &s)); /* one after the other */
	add(&t[0], RF_STATE_ACTIVE, 3, 2);
	assert_true(shares_compute(t, 2, part, &s));
	share_track_fini(&t[0]);
	share_track_fini(&t[1]);
	add(&t[0], RF_STATE_ACTIVE, 1, 1);
	add(&t[0], RF_STATE_ACTIVE, 2, 1);
	assert_false(shares_compute(t, 1, part, &s)); /* nothing sent */
	share_track_fini(&t[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_precopy_counts),
		cmocka_unit_test(between_points_it_is_a_line),
		cmocka_unit_test(shares_are_those_of_the_time_all_were_there),
		cmocka_unit_test(without_such_a_time_there_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
