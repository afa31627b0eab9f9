/* SPDX-License-Identifier: BSD-3-Clause */
/* Background sync, and what is done about a guest that is too fast, in whole migrations. */
#include "tests/migration/move.h"

#include "common/log.h"

#define PAGES 1024u /* of the region: 4 MiB */
#define A_TIB (1ull << 40)

static uint64_t stat_of(struct mv *m, size_t offset)
{
	struct rf_stats st = {.size = sizeof(st)};

	rf_source_stats(m->source, &st);
	return *(const uint64_t *)((const char *)&st + offset);
}
#define STAT(m, field) stat_of(m, offsetof(struct rf_stats, field))

/* ---- what a harvest in the middle of a round saves ---- */

/*
 * At a byte a second a round stands still behind its first piece: there is time to write and to
 * harvest, as often as it takes.
 */
struct halt {
	uint64_t page, count; /* the guest writes these before each look */
	uint64_t harvests;    /* in the round, until it goes on */
	bool written, done;
};

static int write_while_it_stands(struct mv *m, enum mv_step s)
{
	struct halt *h = m->cfg.hook_arg;
	uint64_t harvests = STAT(m, ram.background_sync_count);

	if (s != MV_SRC_PROGRESS || h->done)
		return RF_OK;
	if (!h->written || harvests < h->harvests) {
		for (uint64_t i = 0; i < h->count; i++)
			mv_guest_write(m, 0, h->page + i, false);
		h->written = true;
		return RF_OK;
	}
	h->done = true;
	rf_source_set_max_bandwidth(m->source, 0);
	return RF_OK;
}

static struct mv_cfg halted(struct halt *h)
{
	return (struct mv_cfg){
		.name = "halted",
		.content = MV_DATA,
		.len = PAGES * PAGE,
		.piece_size = 64 * PAGE,
		.max_bandwidth = 1,
		.sync_interval = 1,
		.state_told = A_TIB, /* switch over when nothing is left, no sooner */
		.hook = write_while_it_stands,
		.hook_writes = true,
		.hook_arg = h,
	};
}

static void a_page_written_before_its_turn_is_sent_once(void **state)
{
	struct halt h = {.page = 1000, .count = 3, .harvests = 4};
	struct mv_cfg cfg = halted(&h);
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_true(h.done);
	assert_int_equal(m.src.stats.ram.normal, PAGES);
	assert_int_equal(m.src.stats.ram.redundant_pages_avoided, 3);
	mv_close(&m);
}

static void without_background_sync_it_is_sent_twice(void **state)
{
	struct halt h = {.page = 1000, .count = 3};
	struct mv_cfg cfg = halted(&h);
	struct mv m;

	cfg.sync_interval = RF_SYNC_OFF;
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_true(h.done);
	assert_int_equal(m.src.stats.ram.normal, PAGES + 3);
	assert_int_equal(m.src.stats.ram.background_sync_count, 0);
	assert_int_equal(m.src.stats.ram.redundant_pages_avoided, 0);
	mv_close(&m);
}

static void a_page_written_after_its_turn_is_sent_again(void **state)
{
	struct halt h = {.page = 0, .count = 3, .harvests = 4};
	struct mv_cfg cfg = halted(&h);
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(m.src.stats.ram.normal, PAGES + 3);
	assert_int_equal(m.src.stats.ram.redundant_pages_avoided, 0);
	mv_close(&m);
}

/* In the first round no harvest finds these pages clean. */
static int write_before_each_harvest(struct mv *m, enum mv_step s)
{
	struct halt *h = m->cfg.hook_arg;

	if (s == MV_HARVEST && STAT(m, round) == 1)
		for (uint64_t i = 0; i < h->count; i++)
			mv_guest_write(m, 0, h->page + i, false);
	if (s == MV_SRC_PROGRESS && STAT(m, ram.background_sync_count) >= h->harvests)
		rf_source_set_max_bandwidth(m->source, 0);
	return RF_OK;
}

static void hot_pages_go_last_unless_told_otherwise(void **state)
{
	for (int in_order = 0; in_order < 2; in_order++) {
		struct halt h = {.page = 256, .count = 64, .harvests = 4};
		struct mv_cfg cfg = halted(&h);
		struct mv m;

		cfg.hook = write_before_each_harvest;
		cfg.hot_in_order = in_order;
		mv_open(&m, &cfg);
		mv_run(&m);
		mv_assert_moved(&m);
		if (in_order)
			assert_int_equal(m.src.stats.ram.hot_pages_deferred, 0);
		else
			assert_true(m.src.stats.ram.hot_pages_deferred >= 64);
		mv_close(&m);
	}
}

/* ---- a guest that writes on ---- */

static void a_writer_beside_background_sync(void **state)
{
	static const enum mv_tracker trackers[] = {MV_MANUAL, MV_UFFD_WP};

	for (size_t i = 0; i < COUNT_OF(trackers); i++) {
		struct mv_cfg cfg = {
			.name = i ? "background sync, uffd-wp" : "background sync, manual",
			.content = MV_MIXED,
			.regions = 3,
			.len = 4 * MIB,
			.tracker = trackers[i],
			.writer = true,
			.verify = true,
			.lanes = 2,
			.max_bandwidth = 32 * MIB,
			.sync_interval = 1,
		};
		struct mv m;

		mv_need(&cfg);
		mv_open(&m, &cfg);
		mv_run(&m);
		mv_assert_moved(&m);
		assert_true(m.src.stats.ram.background_sync_count > 0);
		mv_close(&m);
	}
}

static int break_harvest(struct mv *m, enum mv_step s)
{
	return s == MV_HARVEST && STAT(m, ram.background_sync_count) ? RF_ERR_SYSTEM : RF_OK;
}

static void a_tracker_that_breaks_in_a_round_ends_it(void **state)
{
	struct mv_cfg cfg = {
		.name = "harvest fails in a round",
		.content = MV_DATA,
		.max_bandwidth = 1,
		.sync_interval = 1,
		.hook = break_harvest,
	};
	struct mv_log log;
	struct mv m;

	mv_open(&m, &cfg);
	mv_log_start();
	mv_run(&m);
	mv_log_stop(&log);
	mv_assert_stayed(&m, RF_ERR_SYSTEM, RF_ERR_PEER_FAILED);
	assert_int_equal(log.src, 1);
	mv_close(&m);
}

/* ---- a guest that is too fast ---- */

static unsigned said; /* lines that say so; only the scheduler thread does */

static void count_said(void *arg, enum rf_log_level level, const char *line)
{
	if (level == RF_LOG_WARN && strstr(line, "does not converge"))
		said++;
}

/* It is let go as soon as it has been said, some rounds later. */
static int let_go(struct mv *m, enum mv_step s)
{
	uint64_t said_in = s == MV_SRC_PROGRESS ? STAT(m, not_converging) : 0;

	if (said_in && STAT(m, round) >= said_in + 5)
		rf_source_set_downtime_limit(m->source, UINT32_MAX);
	return RF_OK;
}

static struct mv_cfg endless(const char *name)
{
	return (struct mv_cfg){
		.name = name,
		.rounds = UINT32_MAX,
		.state_told = A_TIB, /* 11 seconds and more at any bandwidth there is */
	};
}

static void what_does_not_converge_is_said_once(void **state)
{
	struct mv_cfg cfg = endless("said once");
	struct mv m;

	cfg.hook = let_go;
	said = 0;
	mv_open(&m, &cfg);
	rf_log_set_sink(count_said, NULL);
	mv_run(&m);
	rf_log_set_sink(NULL, NULL);
	mv_assert_moved(&m);
	assert_int_equal(said, 1);
	assert_true(m.src.stats.not_converging >= 3);
	assert_true(m.src.stats.round >= m.src.stats.not_converging + 5);
	mv_close(&m);
}

static void a_throttled_guest_converges(void **state)
{
	struct mv_cfg cfg = endless("auto-converge");
	struct mv m;

	cfg.throttle = true;
	cfg.auto_converge = true;
	cfg.calm_at = 50; /* percent */
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(m.src.max_throttle, 50); /* 20, 30, 40, 50: no more than it takes */
	assert_int_equal(m.src.throttles, 5);
	assert_int_equal(m.src.throttle, 0);
	assert_int_equal(m.src.stats.cpu_throttle_percentage, 50);
	assert_int_equal(m.src.stats.not_converging, 0);
	mv_close(&m);
}

/* ---- time ---- */

static void when_time_is_over_it_switches(void **state)
{
	struct mv_cfg cfg = endless("timeout: switch");
	struct mv m;

	cfg.timeout = 300;
	cfg.timeout_action = RF_TIMEOUT_SWITCH;
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_true(m.src.stats.total_time >= 300);
	mv_close(&m);
}

static void when_time_is_over_in_a_round_it_switches(void **state)
{
	struct mv_cfg cfg = endless("timeout in a round: switch");
	struct mv m;

	cfg.content = MV_DATA;
	cfg.max_bandwidth = 1;
	cfg.timeout = 300;
	cfg.timeout_action = RF_TIMEOUT_SWITCH;
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(m.src.stats.round, 2);
	mv_close(&m);
}

/* ---- expectations ---- */

static void the_error_of_the_estimate_is_told(void **state)
{
	struct mv_cfg cfg = {.name = "expected downtime", .content = MV_DATA, .verify = true};
	const struct rf_stats *st;
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	st = &m.src.stats;
	assert_true(st->downtime_error == st->downtime - st->verify_time - st->expected_downtime);
	mv_close(&m);
}

/* ---- configurations that cannot be ---- */

static void bad_configurations_are_refused(void **state)
{
	struct mv_cfg cfg = {.name = "configurations"};
	struct rf_source_cfg good, bad;
	struct rf_source *src = NULL;
	struct mv m;

	mv_open(&m, &cfg);
	good = (struct rf_source_cfg){
		.size = sizeof(good),
		.host = "127.0.0.1",
		.port = 1,
		.guest = mv_src_ops,
		.guest_arg = &m,
		.tracker = m.tracker,
		.mode = RF_MODE_HYBRID,
		.auto_converge = 1,
		.timeout_action = RF_TIMEOUT_POSTCOPY,
		.max_cpu_throttle = 99,
	};
	assert_int_equal(rf_source_new(&good, &src), RF_OK);
	rf_source_delete(&src);
	rf_log_set_level(RF_LOG_NONE);
	bad = good;
	bad.mode = RF_MODE_PRECOPY;
	assert_int_equal(rf_source_new(&bad, &src), RF_ERR_INVALID);
	bad = good;
	bad.timeout_action = (enum rf_timeout_action)3;
	assert_int_equal(rf_source_new(&bad, &src), RF_ERR_INVALID);
	bad = good;
	bad.max_cpu_throttle = 100;
	assert_int_equal(rf_source_new(&bad, &src), RF_ERR_INVALID);
	bad = good;
	bad.guest.throttle = NULL;
	assert_int_equal(rf_source_new(&bad, &src), RF_ERR_INVALID);
	rf_log_set_level(RF_LOG_WARN);
	mv_run(&m);
	mv_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_written_before_its_turn_is_sent_once),
		cmocka_unit_test(without_background_sync_it_is_sent_twice),
		cmocka_unit_test(a_page_written_after_its_turn_is_sent_again),
		cmocka_unit_test(hot_pages_go_last_unless_told_otherwise),
		cmocka_unit_test(a_writer_beside_background_sync),
		cmocka_unit_test(a_tracker_that_breaks_in_a_round_ends_it),
		cmocka_unit_test(what_does_not_converge_is_said_once),
		cmocka_unit_test(a_throttled_guest_converges),
		cmocka_unit_test(when_time_is_over_it_switches),
		cmocka_unit_test(when_time_is_over_in_a_round_it_switches),
		cmocka_unit_test(the_error_of_the_estimate_is_told),
		cmocka_unit_test(bad_configurations_are_refused),
	};

	rf_log_set_level(RF_LOG_WARN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
