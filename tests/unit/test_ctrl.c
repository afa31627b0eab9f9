/* SPDX-License-Identifier: BSD-3-Clause */
/* Control stream: frames, several threads, back-pressure. */
#include "tests/unit/ctrl_frames.h"
#include "transport/ctrl_impl.h"

/* ---- frames ---- */

static void test_frames_of_all_sizes_arrive_in_order(void **state)
{
	static const uint32_t sizes[] = {0, 1, 7, 8, 9, 4096, 65537, 0, RF_WIRE_MAX_PAYLOAD, 3};
	struct rf_ctrl *src, *dst;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(send_seeded(src, RF_WIRE_ZERO, sizes[i], i), RF_OK);
	for (uint32_t i = 0; i < 10; i++)
		assert_true(recv_seeded(dst, RF_WIRE_ZERO, sizes[i], i));
	assert_int_equal(send_seeded(dst, RF_WIRE_RUNNING, 0, 0), RF_OK);
	assert_true(recv_seeded(src, RF_WIRE_RUNNING, 0, 0));
	assert_true(rf_ctrl_sent_bytes(src) >= RF_WIRE_MAX_PAYLOAD);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

static void test_recv_without_frames_says_again(void **state)
{
	struct rf_ctrl *src, *dst;
	struct rf_frame f;
	uint64_t start;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	assert_int_equal(rf_ctrl_recv(dst, &f, 0), RF_AGAIN);
	start = test_ms();
	assert_int_equal(rf_ctrl_recv(dst, &f, 30), RF_AGAIN);
	assert_true(test_ms() - start >= 29);
	assert_int_equal(rf_ctrl_error(dst), RF_OK);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static void test_fd_is_readable_while_there_is_something(void **state)
{
	struct rf_ctrl *src, *dst;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	assert_false(readable(rf_ctrl_fd(dst), 0));
	send_seeded(src, RF_WIRE_ZERO, 9, 1);
	send_seeded(src, RF_WIRE_ZERO, 9, 2);
	assert_true(readable(rf_ctrl_fd(dst), SOON));
	assert_true(recv_seeded(dst, RF_WIRE_ZERO, 9, 1));
	assert_true(readable(rf_ctrl_fd(dst), SOON));
	assert_true(recv_seeded(dst, RF_WIRE_ZERO, 9, 2));
	assert_false(readable(rf_ctrl_fd(dst), 0));
	rf_ctrl_close(&src);
	assert_true(readable(rf_ctrl_fd(dst), SOON));
	assert_int_equal(rf_ctrl_recv(dst, &(struct rf_frame){0}, -1), RF_ERR_PEER_GONE);
	assert_true(readable(rf_ctrl_fd(dst), 0)); /* for ever */
	rf_ctrl_close(&dst);
}

static void test_frame_byte_by_byte(void **state)
{
	uint8_t h[RF_WIRE_FRAME_HEADER + 5];
	struct rf_ctrl *c;
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	rf_wire_put_header(h, RF_WIRE_HELLO, 5);
	fill(h + RF_WIRE_FRAME_HEADER, 5, 3);
	for (unsigned i = 0; i < sizeof(h); i++)
		raw_write(raw, h + i, 1);
	assert_true(recv_seeded(c, RF_WIRE_HELLO, 5, 3));
	close(raw);
	rf_ctrl_close(&c);
}

static void test_bad_send_is_refused_and_harmless(void **state)
{
	struct rf_ctrl *src, *dst;
	uint8_t byte = 0;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	assert_int_equal(rf_ctrl_send(src, 0, &byte, 1), RF_ERR_INVALID);
	assert_int_equal(rf_ctrl_send(src, RF_WIRE_TYPE_COUNT, &byte, 1), RF_ERR_INVALID);
	assert_int_equal(rf_ctrl_send(src, RF_WIRE_ZERO, &byte, RF_WIRE_MAX_PAYLOAD + 1),
			 RF_ERR_INVALID);
	assert_int_equal(send_seeded(src, RF_WIRE_ZERO, 1, 1), RF_OK);
	assert_true(recv_seeded(dst, RF_WIRE_ZERO, 1, 1));
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

/* ---- several threads ---- */

static void test_large_frames_both_ways_at_once(void **state)
{
	struct rf_ctrl *src, *dst;
	struct sender a, b;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	start_sender(&a, src, RF_WIRE_STATE, 24, RF_WIRE_MAX_PAYLOAD);
	start_sender(&b, dst, RF_WIRE_KEY, 24, RF_WIRE_MAX_PAYLOAD);
	for (uint32_t i = 0; i < 24; i++) {
		assert_true(recv_seeded(dst, RF_WIRE_STATE, RF_WIRE_MAX_PAYLOAD, i));
		assert_true(recv_seeded(src, RF_WIRE_KEY, RF_WIRE_MAX_PAYLOAD, i));
	}
	assert_int_equal(join_sender(&a), RF_OK);
	assert_int_equal(join_sender(&b), RF_OK);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

static void test_frames_of_several_threads_stay_whole(void **state)
{
	uint32_t next[4] = {0};
	struct rf_ctrl *src, *dst;
	struct sender s[4];

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	for (uint32_t i = 0; i < 4; i++)
		start_sender(&s[i], src, RF_WIRE_HELLO + i, 200, 1000 + i);
	for (unsigned n = 0; n < 4 * 200; n++) {
		struct rf_frame f;

		assert_int_equal(rf_ctrl_recv(dst, &f, SOON), RF_OK);
		/* The answers get in between, as often as they go. */
		assert_int_equal(rf_ctrl_send(dst, RF_WIRE_PING, &(uint64_t){n}, 8), RF_OK);
		uint32_t i = f.type - RF_WIRE_HELLO;

		assert_true(i < 4);
		uint8_t *p = new_payload(1000 + i, next[i]++);

		assert_int_equal(f.len, 1000 + i);
		assert_memory_equal(f.payload, p, f.len);
		free(p);
		rf_frame_free(&f);
	}
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(join_sender(&s[i]), RF_OK);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

/* ---- back-pressure ---- */

static bool reader_waits(struct rf_ctrl *c)
{
	pthread_mutex_lock(&c->queue.lock);
	bool stalled = c->queue.stalled;
	pthread_mutex_unlock(&c->queue.lock);
	return stalled;
}

static void check_back_pressure(uint32_t n, uint32_t len)
{
	struct rf_ctrl *src, *dst;
	struct sender s;

	ctrl_pair(NULL, SOON, SOON, &src, &dst);
	start_sender(&s, src, RF_WIRE_ZERO, n, len);
	while (!reader_waits(dst))
		usleep(1000);
	/* It would give up after 100 ms without a byte, and reads none for longer. */
	rf_ctrl_set_idle_timeout(dst, 100);
	usleep(400000);
	assert_int_equal(rf_ctrl_error(dst), RF_OK);
	assert_int_equal(rf_ctrl_error(src), RF_OK);
	assert_true(s.sent < n);
	rf_ctrl_set_idle_timeout(dst, SOON);
	for (uint32_t i = 0; i < n; i++)
		assert_true(recv_seeded(dst, RF_WIRE_ZERO, len, i));
	assert_int_equal(join_sender(&s), RF_OK);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

static void test_full_queue_holds_large_frames_back(void **state)
{
	check_back_pressure(96, RF_WIRE_MAX_PAYLOAD);
}

static void test_full_queue_holds_small_frames_back(void **state)
{
	check_back_pressure(200000, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_frames_of_all_sizes_arrive_in_order, test_log_start),
		cmocka_unit_test_setup(test_recv_without_frames_says_again, test_log_start),
		cmocka_unit_test_setup(test_fd_is_readable_while_there_is_something,
				       test_log_start),
		cmocka_unit_test_setup(test_frame_byte_by_byte, test_log_start),
		cmocka_unit_test_setup(test_bad_send_is_refused_and_harmless, test_log_start),
		cmocka_unit_test_setup(test_large_frames_both_ways_at_once, test_log_start),
		cmocka_unit_test_setup(test_frames_of_several_threads_stay_whole, test_log_start),
		cmocka_unit_test_setup(test_full_queue_holds_large_frames_back, test_log_start),
		cmocka_unit_test_setup(test_full_queue_holds_small_frames_back, test_log_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
