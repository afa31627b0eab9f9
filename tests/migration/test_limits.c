/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits, and changing them while the migration runs. */
#include "tests/migration/move.h"

#include "common/log.h"

/* ---- bandwidth ---- */

static void a_limit_is_kept(void **state)
{
	struct mv_cfg cfg = {
		.name = "bandwidth limit",
		.content = MV_DATA,
		.len = 4 * MIB,
		.max_bandwidth = 16 * MIB,
		.piece_size = 65536,
	};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	/* 250 ms, less what goes at once: the bucket, the last round */
	assert_true(m.src.stats.total_time - m.src.stats.setup_time > 200);
	assert_int_equal(m.src.stats.max_bandwidth, 16 * MIB);
	mv_close(&m);
}

static int lift_limit(struct mv *m, enum mv_step s)
{
	if (s == MV_SRC_ACTIVE)
		rf_source_set_max_bandwidth(m->source, 1);
	if (s == MV_SRC_PROGRESS) /* in the middle of a round, too */
		rf_source_set_max_bandwidth(m->source, 0);
	return RF_OK;
}

/* At a byte a second it would take two months. */
static void a_limit_is_lifted_in_the_middle_of_a_round(void **state)
{
	struct mv_cfg cfg = {
		.name = "limit lifted",
		.content = MV_DATA,
		.hook = lift_limit,
	};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(m.src.stats.max_bandwidth, 0);
	mv_close(&m);
}

static int cancel_in_round(struct mv *m, enum mv_step s)
{
	if (s == MV_SRC_PROGRESS)
		rf_source_cancel(m->source);
	return RF_OK;
}

static void a_migration_that_waits_for_its_limit_is_cancelled(void **state)
{
	struct mv_cfg cfg = {
		.name = "cancel at a limit",
		.content = MV_DATA,
		.max_bandwidth = 1,
		.hook = cancel_in_round,
	};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_stayed(&m, RF_ERR_CANCELLED, RF_ERR_CANCELLED);
	mv_close(&m);
}

/* ---- downtime ---- */

static int allow_more_downtime(struct mv *m, enum mv_step s)
{
	if (s == MV_SRC_PROGRESS && atomic_load(&m->harvests) >= 4)
		rf_source_set_downtime_limit(m->source, UINT32_MAX);
	return RF_OK;
}

/* A TiB of device state, as told, takes from 11 seconds to 12 days at any bandwidth there is. */
static void a_higher_downtime_limit_ends_it(void **state)
{
	struct mv_cfg cfg = {
		.name = "downtime limit raised",
		.rounds = UINT32_MAX,
		.state_told = 1ull << 40,
		.hook = allow_more_downtime,
	};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_true(m.src.stats.round >= 4);
	assert_int_equal(m.src.stats.downtime_limit, UINT32_MAX);
	mv_close(&m);
}

/* ---- throttle ---- */

static int throttle(struct mv *m, enum mv_step s)
{
	if (s == MV_SRC_ACTIVE)
		assert_int_equal(rf_source_set_throttle(m->source, 40), RF_OK);
	return RF_OK;
}

static void the_guest_is_throttled_and_let_go(void **state)
{
	struct mv_cfg cfg = {.name = "throttle", .throttle = true, .rounds = 3, .hook = throttle};
	struct mv m;

	mv_open(&m, &cfg);
	assert_int_equal(rf_source_set_throttle(m.source, 100), RF_ERR_INVALID);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(m.src.throttles, 2);
	assert_int_equal(m.src.max_throttle, 40);
	assert_int_equal(m.src.throttle, 0);
	assert_true(pthread_equal(m.src.throttled_by, m.src_thread));
	assert_int_equal(m.src.stats.cpu_throttle_percentage, 40);
	mv_close(&m);
}

static int throttle_and_fail(struct mv *m, enum mv_step s)
{
	if (s == MV_SRC_RESUME)
		assert_int_equal(m->src.throttle, 0);
	(void)throttle(m, s);
	return s == MV_SAVE ? RF_ERR_GUEST : RF_OK;
}

static void a_guest_that_stays_is_not_throttled_any_more(void **state)
{
	struct mv_cfg cfg = {.name = "throttled and failed",
			     .throttle = true,
			     .rounds = 3,
			     .hook = throttle_and_fail};
	struct mv m;

	mv_open(&m, &cfg);
	rf_log_set_level(RF_LOG_NONE);
	mv_run(&m);
	rf_log_set_level(RF_LOG_WARN);
	mv_assert_stayed(&m, RF_ERR_GUEST, RF_ERR_PEER_FAILED);
	assert_int_equal(m.src.max_throttle, 40);
	assert_int_equal(m.src.throttle, 0);
	mv_close(&m);
}

static void a_guest_that_refuses_is_moved_all_the_same(void **state)
{
	struct mv_cfg cfg = {.name = "throttle refused",
			     .throttle = true,
			     .throttle_fails = true,
			     .rounds = 3,
			     .hook = throttle};
	struct mv m;

	mv_open(&m, &cfg);
	rf_log_set_level(RF_LOG_NONE);
	mv_run(&m);
	rf_log_set_level(RF_LOG_WARN);
	mv_assert_moved(&m);
	assert_int_equal(m.src.throttles, 1); /* and is not asked again */
	assert_int_equal(m.src.stats.cpu_throttle_percentage, 0);
	mv_close(&m);
}

static void a_guest_without_the_function_cannot_be(void **state)
{
	struct mv_cfg cfg = {.name = "no throttle"};
	struct mv m;

	mv_open(&m, &cfg);
	assert_int_equal(rf_source_set_throttle(m.source, 10), RF_ERR_UNSUPPORTED);
	mv_run(&m);
	mv_assert_moved(&m);
	mv_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_is_kept),
		cmocka_unit_test(a_limit_is_lifted_in_the_middle_of_a_round),
		cmocka_unit_test(a_migration_that_waits_for_its_limit_is_cancelled),
		cmocka_unit_test(a_higher_downtime_limit_ends_it),
		cmocka_unit_test(the_guest_is_throttled_and_let_go),
		cmocka_unit_test(a_guest_that_stays_is_not_throttled_any_more),
		cmocka_unit_test(a_guest_that_refuses_is_moved_all_the_same),
		cmocka_unit_test(a_guest_without_the_function_cannot_be),
	};

	rf_log_set_level(RF_LOG_WARN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
