/* SPDX-License-Identifier: BSD-3-Clause */
/* Pollers: modes, what they cost, and where they run. */
#include "common/log.h"
#include "tests/unit/poller_fixture.h"
#include "transport/ops.h"

/* ---- modes ---- */

static void test_modes_have_names(void **state)
{
	enum rf_poll_mode mode = RF_POLL_MODES;

	for (int i = 0; i < RF_POLL_MODES; i++) {
		assert_int_equal(rf_poll_mode_parse(rf_poll_mode_str(i), &mode), RF_OK);
		assert_int_equal(mode, i);
	}
	assert_int_equal(rf_poll_mode_parse("Busy", &mode), RF_ERR_INVALID);
	assert_int_equal(rf_poll_mode_parse("", &mode), RF_ERR_INVALID);
	assert_int_equal(mode, RF_POLL_MODES - 1);
	assert_string_equal(rf_poll_mode_str(RF_POLL_MODES), "unknown");
}

static void test_mode_fits_the_machine(void **state)
{
	static const struct {
		enum rf_poll_mode wanted;
		unsigned cores;
		bool spin;
		enum rf_poll_mode mode;
	} cases[] = {
		{RF_POLL_BUSY, 8, true, RF_POLL_BUSY},
		{RF_POLL_BUSY, 3, true, RF_POLL_BUSY},
		{RF_POLL_BUSY, 2, true, RF_POLL_ADAPTIVE},
		{RF_POLL_BUSY, 1, true, RF_POLL_ADAPTIVE},
		{RF_POLL_BUSY, 0, true, RF_POLL_BUSY},
		{RF_POLL_BUSY, 8, false, RF_POLL_EVENT},
		{RF_POLL_BUSY, 1, false, RF_POLL_EVENT},
		{RF_POLL_ADAPTIVE, 1, true, RF_POLL_ADAPTIVE},
		{RF_POLL_ADAPTIVE, 64, false, RF_POLL_EVENT},
		{RF_POLL_EVENT, 64, true, RF_POLL_EVENT},
		{RF_POLL_EVENT, 1, false, RF_POLL_EVENT},
	};

	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		const char *why = "unset";

		assert_int_equal(rf_poll_mode_fit(cases[i].wanted, cases[i].cores, cases[i].spin,
						  &why),
				 cases[i].mode);
		assert_int_equal(!why, cases[i].wanted == cases[i].mode);
	}
}

/* ---- counting and modes ---- */

static void test_idle_poller_sleeps(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_ADAPTIVE);
	struct rf_poller_stats a, b;

	f->cfg.max_sleep = 20;
	start_poller(f, 2);
	usleep(50000);
	rf_poller_stats(f->p, &a);
	usleep(400000);
	rf_poller_stats(f->p, &b);
	assert_in_range(b.timeouts - a.timeouts, 2, 22);
	assert_true(b.passes - a.passes < 200);
	assert_int_equal(b.rescues, 0);
	assert_int_equal(b.completions, 0);
	assert_true(b.wall_ns - a.wall_ns >= 390 * RF_NS_PER_MS);
	assert_true(b.cpu_ns >= a.cpu_ns && b.cpu_ns - a.cpu_ns < 100 * RF_NS_PER_MS);
	rf_poller_delete(&f->p, &a);
	assert_true(a.cpu_ns >= b.cpu_ns && a.cpu_ns > 0);
	close_fixture(f);
}

static void test_busy_poller_never_sleeps(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_BUSY);
	struct rf_poller_stats s;

	start_poller(f, 1);
	await((rf_poller_stats(f->p, &s), s.passes > 10000));
	assert_int_equal(s.sleeps, 0);
	assert_int_equal(s.mode, RF_POLL_BUSY);
	assert_true(s.cpu_ns > 0);
	close_fixture(f);
}

static void test_busy_poller_without_lanes_sleeps(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_BUSY);
	struct rf_poller_stats s;

	start_poller(f, 0);
	await((rf_poller_stats(f->p, &s), s.sleeps > 0));
	close_fixture(f);
}

static char last_info[256];

static void keep_info(void *arg, enum rf_log_level level, const char *line)
{
	if (level <= RF_LOG_INFO && strstr(line, "test:"))
		snprintf(last_info, sizeof(last_info), "%s", line);
}

static enum rf_poll_mode mode_taken(unsigned cores, bool spin, const char *words)
{
	struct fixture *f = open_fixture("mem", RF_POLL_BUSY);
	struct rf_poller_stats s;

	last_info[0] = '\0';
	f->link.dst->caps.spin = spin;
	f->cfg.cores = cores;
	rf_log_set_sink(keep_info, NULL);
	rf_log_set_level(RF_LOG_INFO);
	start_poller(f, 2);
	rf_poller_stats(f->p, &s);
	rf_poller_delete(&f->p, NULL);
	rf_log_set_level(RF_LOG_WARN);
	rf_log_set_sink(NULL, NULL);
	if (!strstr(last_info, words))
		fail_msg("said '%s'", last_info);
	close_fixture(f);
	return s.mode;
}

static void test_mode_is_lowered_and_told(void **state)
{
	assert_int_equal(mode_taken(2, true, "polls adaptive instead of busy: there are too few"),
			 RF_POLL_ADAPTIVE);
	assert_int_equal(mode_taken(8, false, "polls event instead of busy: the provider's own"),
			 RF_POLL_EVENT);
	assert_int_equal(mode_taken(8, true, ""), RF_POLL_BUSY);
	assert_string_equal(last_info, "");
}

static void test_poller_runs_where_it_is_told(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_EVENT);
	struct rf_poller_stats s;
	cpu_set_t set;
	int cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		cpu = CPU_ISSET(i, &set) ? i : cpu; /* the last one */
	f->cfg.cpu = cpu;
	start_poller(f, 1);
	assert_int_equal(send_number(f->lanes[0].src, 0), RF_OK);
	await(f->got[0] == 1);
	assert_int_equal(f->ran_on, cpu);
	rf_poller_delete(&f->p, &s);
	assert_int_equal(s.cpu, cpu);

	f->cfg.cpu = CPU_SETSIZE - 1; /* no machine has so many */
	rf_log_set_level(RF_LOG_ERROR);
	start_poller(f, 1);
	assert_int_equal(send_number(f->lanes[0].src, 1), RF_OK);
	await(f->got[0] == 2);
	rf_log_set_level(RF_LOG_WARN);
	rf_poller_delete(&f->p, &s);
	assert_int_equal(s.cpu, -1);
	close_fixture(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes_have_names),
		cmocka_unit_test(test_mode_fits_the_machine),
		cmocka_unit_test(test_idle_poller_sleeps),
		cmocka_unit_test(test_busy_poller_never_sleeps),
		cmocka_unit_test(test_busy_poller_without_lanes_sleeps),
		cmocka_unit_test(test_mode_is_lowered_and_told),
		cmocka_unit_test(test_poller_runs_where_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
