/* SPDX-License-Identifier: BSD-3-Clause */
/* Control stream: how it ends, and what still arrives then. */
#include "tests/unit/ctrl_frames.h"

#include "tests/leaks.h"

static void test_close_with_full_queue_is_quick(void **state)
{
	struct rf_ctrl *src, *dst;
	struct sender s;
	uint64_t start;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	start_sender(&s, src, RF_WIRE_ZERO, 64, RF_WIRE_MAX_PAYLOAD);
	while (s.sent < 8)
		usleep(1000);
	start = test_ms();
	rf_ctrl_close(&dst);
	assert_int_not_equal(join_sender(&s), RF_OK);
	assert_true(test_ms() - start < 3000);
	assert_int_equal(rf_ctrl_error(src), RF_ERR_PEER_GONE);
	rf_ctrl_close(&src);
}

static void test_queued_frames_come_before_the_error(void **state)
{
	struct rf_ctrl *c;
	struct rf_frame f;
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	for (uint32_t i = 0; i < 3; i++)
		raw_frame(raw, RF_WIRE_ROUND_ACK, &(uint64_t){i}, 8);
	raw_reset(raw);
	while (rf_ctrl_error(c) == RF_OK)
		usleep(1000);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(rf_ctrl_recv(c, &f, SOON), RF_OK);
		assert_int_equal(*f.payload, i);
		rf_frame_free(&f);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(rf_ctrl_recv(c, &f, -1), RF_ERR_PEER_GONE);
	assert_int_equal(rf_ctrl_send(c, RF_WIRE_RUN, NULL, 0), RF_ERR_PEER_GONE);
	rf_ctrl_close(&c);
}

/* The peer tells its error and closes while this side sends and sends. */
static void test_last_words_are_heard_by_a_sender(void **state)
{
	for (int round = 0; round < 20; round++) {
		struct rf_ctrl *src, *dst;
		struct sender s;

		ctrl_pair(NULL, SOON, SOON, &src, &dst);
		start_sender(&s, src, RF_WIRE_ZERO, UINT32_MAX, 50000);
		assert_true(recv_seeded(dst, RF_WIRE_ZERO, 50000, 0));
		assert_int_equal(send_seeded(dst, RF_WIRE_ERROR, 100, 5), RF_OK);
		rf_ctrl_close(&dst); /* with plenty unread */
		assert_int_equal(join_sender(&s), RF_ERR_PEER_GONE);
		assert_true(recv_seeded(src, RF_WIRE_ERROR, 100, 5));
		assert_int_equal(rf_ctrl_recv(src, &(struct rf_frame){0}, -1), RF_ERR_PEER_GONE);
		rf_ctrl_close(&src);
	}
}

static void test_close_delivers_what_was_sent(void **state)
{
	for (uint32_t round = 0; round < 50; round++) {
		struct rf_ctrl *src, *dst;

		ctrl_pair(NULL, SOON, SOON, &src, &dst);
		/* Unread data at the side that closes would make a reset of a plain close. */
		for (uint32_t i = 0; i < 80; i++)
			assert_int_equal(send_seeded(dst, RF_WIRE_KEY, 2000, i), RF_OK);
		assert_int_equal(send_seeded(src, RF_WIRE_STATE, 400000, round), RF_OK);
		assert_int_equal(rf_ctrl_send(src, RF_WIRE_CANCEL, NULL, 0), RF_OK);
		rf_ctrl_close(&src);
		assert_true(recv_seeded(dst, RF_WIRE_STATE, 400000, round));
		assert_true(recv_seeded(dst, RF_WIRE_CANCEL, 0, 0));
		rf_ctrl_close(&dst);
	}
	assert_int_equal(test_log.problems, 0);
}

static void test_close_does_not_wait_for_a_frozen_peer(void **state)
{
	uint64_t start;
	struct rf_ctrl *c;
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	rf_ctrl_send(c, RF_WIRE_CANCEL, NULL, 0);
	start = test_ms();
	rf_ctrl_close(&c);
	assert_true(test_ms() - start < 1000);
	close(raw);
}

static void *run_recv(void *arg)
{
	static struct rf_frame f;

	return (void *)(intptr_t)rf_ctrl_recv(arg, &f, -1);
}

static void test_waiting_receiver_hears_of_the_end(void **state)
{
	struct rf_ctrl *c;
	pthread_t t;
	void *r;
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	pthread_create(&t, NULL, run_recv, c);
	usleep(20000);
	close(raw);
	pthread_join(t, &r);
	assert_int_equal((intptr_t)r, RF_ERR_PEER_GONE);
	rf_ctrl_close(&c);
}

static void test_thousands_of_streams_leak_nothing(void **state)
{
	struct rf_ctrl *src, *dst;
	unsigned fds, threads;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
	fds = count_fds();
	threads = count_threads();
	for (uint32_t i = 0; i < 2000; i++) {
		ctrl_pair(NULL, SOON, SOON, &src, &dst);
		send_seeded(src, RF_WIRE_ZERO, 100, i);
		send_seeded(dst, RF_WIRE_KEY, 100, i);
		rf_ctrl_close(i & 1 ? &src : &dst);
		rf_ctrl_close(i & 1 ? &dst : &src);
	}
	assert_true(fds_settle_at(fds));
	assert_true(threads_settle_at(threads));
	assert_int_equal(test_log.problems, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_close_with_full_queue_is_quick, test_log_start),
		cmocka_unit_test_setup(test_queued_frames_come_before_the_error, test_log_start),
		cmocka_unit_test_setup(test_last_words_are_heard_by_a_sender, test_log_start),
		cmocka_unit_test_setup(test_close_delivers_what_was_sent, test_log_start),
		cmocka_unit_test_setup(test_close_does_not_wait_for_a_frozen_peer, test_log_start),
		cmocka_unit_test_setup(test_waiting_receiver_hears_of_the_end, test_log_start),
		cmocka_unit_test_setup(test_thousands_of_streams_leak_nothing, test_log_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
