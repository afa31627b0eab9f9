/* SPDX-License-Identifier: BSD-3-Clause */
/* Pollers: nothing is lost between polling and sleeping; lanes that come, go and die. */
#include "tests/unit/poller_fixture.h"

/* ---- nothing is lost ---- */

struct sender {
	struct fixture *f;
	unsigned lane, n;
	uint64_t seed;
	uint64_t pause_max; /* ns */
};

/* Busy waits are as long as asked for, which sleeps are not; now and then a real sleep. */
static void pause_random(uint64_t *seed, uint64_t max)
{
	uint64_t r = next_random(seed);
	uint64_t end = rf_now_ns(&rf_clock_monotonic) + r % (max + 1);

	if (r >> 60 == 0)
		usleep(100);
	while (rf_now_ns(&rf_clock_monotonic) < end)
		;
}

static void *run_sender(void *arg)
{
	struct sender *s = arg;
	struct rf_lane *src = s->f->lanes[s->lane].src;
	struct rf_completion c[8];

	for (unsigned i = 0; i < s->n; i++) {
		if (send_number(src, i))
			s->f->wrong = true;
		rf_lane_poll(src, c, COUNT_OF(c));
		pause_random(&s->seed, s->pause_max);
	}
	return NULL;
}

static void check_stress(const char *rung, enum rf_poll_mode mode, unsigned n)
{
	struct fixture *f = open_fixture(rung, mode);
	struct rf_poller_stats st;
	struct sender s[LANES];

	f->cfg.spin_us = 10; /* pauses are around it */
	start_poller(f, LANES);
	for (unsigned i = 0; i < LANES; i++)
		s[i] = (struct sender){f, i, n, i + 1, 20000};
	run_threads(LANES, run_sender, s, sizeof(s[0]));
	for (unsigned i = 0; i < LANES; i++) {
		struct rf_completion c[8];

		/* Providers that only progress when polled: the sending end goes on. */
		while (f->got[i] < n && !f->wrong)
			rf_lane_poll(f->lanes[i].src, c, COUNT_OF(c));
	}
	rf_poller_delete(&f->p, &st);
	assert_int_equal(st.completions, LANES * n);
	assert_in_range(st.batches, st.completions / RF_POLLER_BATCH, st.completions);
	assert_int_equal(st.timeouts, 0);
	assert_int_equal(st.rescues, 0);
	assert_true(st.wakeups <= st.sleeps);
	close_fixture(f);
}

/*
 * One lane, and the next message only after the last one has been taken: nothing that comes later
 * makes up for a wake-up that is lost. The pause puts the message anywhere between the poll that
 * found nothing and the sleep.
 */
static void check_lonely_messages(const char *rung, enum rf_poll_mode mode, unsigned n)
{
	struct fixture *f = open_fixture(rung, mode);
	struct rf_poller_stats st;
	uint64_t seed = 7;

	f->cfg.spin_us = 2;
	start_poller(f, 1);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t end = now_ms() + CT_TIMEOUT;
		struct rf_completion c[8];

		assert_int_equal(send_number(f->lanes[0].src, i), RF_OK);
		while (f->got[0] == i && now_ms() < end)
			rf_lane_poll(f->lanes[0].src, c, COUNT_OF(c));
		assert_int_equal(f->got[0], i + 1);
		pause_random(&seed, 3000);
	}
	rf_poller_delete(&f->p, &st);
	assert_int_equal(st.completions, n);
	assert_int_equal(st.timeouts, 0);
	assert_true(st.sleeps > 0);
	close_fixture(f);
}

static void test_event_mode_loses_no_wakeup(void **state)
{
	check_lonely_messages("mem", RF_POLL_EVENT, 10000);
	check_stress("mem", RF_POLL_EVENT, 5000);
}

static void test_adaptive_mode_loses_no_wakeup(void **state)
{
	check_lonely_messages("mem", RF_POLL_ADAPTIVE, 10000);
	check_stress("mem", RF_POLL_ADAPTIVE, 5000);
}

static void test_busy_mode_loses_nothing(void **state)
{
	check_stress("mem", RF_POLL_BUSY, 1000);
}

static void test_tcp_lanes_lose_no_wakeup(void **state)
{
	char rungs[1][RF_WIRE_RUNG_SIZE];

	if (rf_transport_rungs("ofi", "tcp", rungs, 1) < 1)
		skip_case("pollers on ofi:tcp", "install libfabric's tcp provider");
	check_lonely_messages("ofi:tcp", RF_POLL_EVENT, 1000);
	check_stress("ofi:tcp", RF_POLL_EVENT, 500);
	check_stress("ofi:tcp", RF_POLL_ADAPTIVE, 500);
}

/* Not await(): a test fails in its main thread only. */
static bool wait_taken(struct fixture *f, uint64_t n)
{
	uint64_t end = now_ms() + CT_TIMEOUT;

	while (f->taken < n && now_ms() < end)
		;
	return f->taken >= n;
}

static void *run_waker(void *arg)
{
	struct fixture *f = arg;
	uint64_t seed = (uint64_t)gettid();

	for (int i = 0; i < 3000 && !f->wrong; i++) {
		++f->handed;
		rf_poller_wake(f->p);
		pause_random(&seed, 3000);
	}
	return NULL;
}

static void test_no_wake_is_lost(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_EVENT);
	uint64_t seed = 11;

	f->linger = 500;
	start_poller(f, 1);
	for (uint64_t i = 0; i < 10000; i++) {
		++f->handed;
		rf_poller_wake(f->p);
		assert_true(wait_taken(f, i + 1));
		pause_random(&seed, 3000);
	}
	run_threads(3, run_waker, f, 0);
	assert_true(wait_taken(f, 19000));
	close_fixture(f);
}

/* ---- lanes that come and go ---- */

static void test_delete_wakes_a_sleeper_and_gives_lanes_back(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_EVENT);
	struct rf_poller_stats s;
	struct rf_completion c;
	uint64_t start;

	start_poller(f, LANES);
	await((rf_poller_stats(f->p, &s), s.sleeps > 0));
	usleep(10000);
	start = now_ms();
	rf_poller_delete(&f->p, NULL);
	assert_true(now_ms() - start < CT_TIMEOUT);
	assert_int_equal(send_number(f->lanes[1].src, 5), RF_OK);
	assert_int_equal(rf_lane_poll(f->lanes[1].dst, &c, 1), 1);
	assert_int_equal(c.op, RF_OP_RECV);
	close_fixture(f);
}

static void test_dead_lane_is_told_once_and_others_go_on(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_EVENT);

	start_poller(f, LANES);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(send_number(f->lanes[1].src, i), RF_OK);
	rf_lane_close(&f->lanes[1].src);
	await(f->failures == 1);
	assert_int_equal(f->failed[1], RF_ERR_LANE_CLOSED);
	assert_int_equal(f->got[1], 10);
	assert_int_equal(send_number(f->lanes[2].src, 0), RF_OK);
	await(f->got[2] == 1);
	usleep(5000);
	assert_int_equal(f->failures, 1);
	close_fixture(f);
}

static int ask(struct fixture *f, int todo)
{
	f->done = 0;
	f->todo = todo;
	rf_poller_wake(f->p);
	await(f->done);
	return f->done - 1000;
}

static void test_callbacks_add_and_remove_lanes(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_EVENT);

	start_poller(f, 2);
	assert_int_equal(rf_poller_add(f->p, f->lanes[2].dst), RF_ERR_STATE);
	assert_int_equal(rf_poller_remove(f->p, f->lanes[1].dst), RF_ERR_STATE);
	assert_int_equal(ask(f, 2), RF_ERR_NOT_FOUND);
	assert_int_equal(ask(f, 1), RF_OK);
	assert_int_equal(send_number(f->lanes[2].src, 0), RF_OK);
	await(f->got[2] == 1);
	assert_int_equal(ask(f, 2), RF_OK);
	assert_int_equal(send_number(f->lanes[2].src, 1), RF_OK);
	assert_int_equal(send_number(f->lanes[1].src, 0), RF_OK);
	await(f->got[1] == 1);
	assert_int_equal(f->got[2], 1); /* nobody looked */
	assert_int_equal(ask(f, 1), RF_OK);
	await(f->got[2] == 2);
	close_fixture(f);
}

static void test_wrong_arguments_are_refused(void **state)
{
	struct fixture *f = open_fixture("mem", RF_POLL_EVENT);
	struct rf_poller_ops none = {.work = do_work};
	struct rf_poller *p = NULL;

	f->cfg.mode = RF_POLL_MODES;
	assert_int_equal(rf_poller_new(&f->cfg, NULL, 0, &p), RF_ERR_INVALID);
	f->cfg.mode = RF_POLL_EVENT;
	assert_int_equal(rf_poller_new(&f->cfg, NULL, RF_POLLER_MAX_LANES + 1, &p), RF_ERR_INVALID);
	f->cfg.ops = &none;
	assert_int_equal(rf_poller_new(&f->cfg, NULL, 0, &p), RF_ERR_INVALID);
	assert_null(p);
	close_fixture(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_mode_loses_no_wakeup),
		cmocka_unit_test(test_adaptive_mode_loses_no_wakeup),
		cmocka_unit_test(test_busy_mode_loses_nothing),
		cmocka_unit_test(test_tcp_lanes_lose_no_wakeup),
		cmocka_unit_test(test_no_wake_is_lost),
		cmocka_unit_test(test_delete_wakes_a_sleeper_and_gives_lanes_back),
		cmocka_unit_test(test_dead_lane_is_told_once_and_others_go_on),
		cmocka_unit_test(test_callbacks_add_and_remove_lanes),
		cmocka_unit_test(test_wrong_arguments_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
