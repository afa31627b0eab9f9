/* SPDX-License-Identifier: BSD-3-Clause */
/* Control stream: heartbeats, silence, and peers that send what they must not. */
#include "tests/unit/ctrl_peer.h"
#include "transport/ctrl_impl.h"

static void wait_dead(struct rf_ctrl *c, int err)
{
	uint64_t start = test_ms();

	while (rf_ctrl_error(c) == RF_OK && test_ms() - start < SOON)
		usleep(500);
	assert_int_equal(rf_ctrl_error(c), err);
}

/* The stream has these words for its owner, and has not said them itself. */
static void assert_why(const struct rf_ctrl *c, const char *words)
{
	char last[512];

	if (!strstr(rf_ctrl_why(c), words))
		fail_msg("instead of '%s': %s", words, rf_ctrl_why(c));
	if (test_log_read(last))
		fail_msg("logged: %s", last);
}

/* Reads frames of the raw side until one of this type; false at the end of the stream. */
static bool raw_wait_frame(int raw, uint32_t type, uint64_t *value)
{
	uint8_t h[RF_WIRE_FRAME_HEADER], p[64];
	uint32_t t, len;

	while (raw_read(raw, h, sizeof(h))) {
		assert_int_equal(rf_wire_get_header(h, &t, &len), RF_OK);
		assert_true(len <= sizeof(p) && (!len || raw_read(raw, p, len)));
		if (t == type)
			return !value || rf_wire_get_u64(p, len, value) == RF_OK;
	}
	return false;
}

/* ---- liveness ---- */

static void test_silent_peer_is_dead_after_the_idle_timeout(void **state)
{
	struct rf_ctrl *c;
	uint64_t start = test_ms();
	int raw;

	c = ctrl_with_raw(150, &raw);
	wait_dead(c, RF_ERR_TIMEOUT);
	assert_true(test_ms() - start >= 149);
	assert_why(c, "is silent for over 150 ms");
	assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, -1), RF_ERR_TIMEOUT);
	assert_int_equal(rf_ctrl_send(c, RF_WIRE_RUN, NULL, 0), RF_ERR_TIMEOUT);
	rf_ctrl_close(&c);
	close(raw);
}

static void test_idle_streams_of_busy_owners_stay_alive(void **state)
{
	struct rf_ctrl *src, *dst;

	ctrl_pair(NULL, 600, 600, &src, &dst);
	usleep(1500000);
	assert_int_equal(rf_ctrl_error(src), RF_OK);
	assert_int_equal(rf_ctrl_error(dst), RF_OK);
	assert_true(rf_ctrl_rtt_ns(src) > 0 && rf_ctrl_rtt_ns(src) < RF_NS_PER_SEC);
	assert_true(rf_ctrl_rtt_ns(dst) > 0);
	/* Every 150 ms, not more: 10 of its own, as many answers, and some slack. */
	assert_in_range(rf_ctrl_sent_bytes(src), 6 * 16, 36 * 16);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

/* One side is impatient, the other one hardly ever pings; the impatient one sends all the
 * time, so that it is never silent itself. */
static void test_unlike_idle_timeouts_get_along(void **state)
{
	struct rf_ctrl *src, *dst;
	struct rf_frame f;
	uint64_t start;

	ctrl_pair(NULL, 600, 60000, &src, &dst);
	start = test_ms();
	while (test_ms() - start < 1500) {
		assert_int_equal(rf_ctrl_send(src, RF_WIRE_RUN, NULL, 0), RF_OK);
		assert_int_equal(rf_ctrl_recv(dst, &f, SOON), RF_OK);
		usleep(5000);
	}
	assert_int_equal(rf_ctrl_error(src), RF_OK);
	rf_ctrl_close(&src);
	rf_ctrl_close(&dst);
}

static void test_idle_timeout_can_be_changed(void **state)
{
	struct rf_ctrl *c;
	int raw;

	c = ctrl_with_raw(60000, &raw);
	usleep(20000);
	assert_int_equal(rf_ctrl_error(c), RF_OK);
	rf_ctrl_set_idle_timeout(c, 50);
	wait_dead(c, RF_ERR_TIMEOUT);
	rf_ctrl_close(&c);
	close(raw);
}

static void test_ping_is_answered_with_its_value(void **state)
{
	struct rf_ctrl *c;
	uint64_t v;
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	raw_frame(raw, RF_WIRE_PING, &(uint64_t){0x1122334455667788}, 8);
	assert_true(raw_wait_frame(raw, RF_WIRE_PONG, &v));
	assert_true(v == 0x1122334455667788);
	rf_ctrl_close(&c);
	close(raw);
}

/* Nothing is read while the queue is full, but the peer must not think us dead. */
static void test_heartbeats_go_out_while_the_queue_is_full(void **state)
{
	struct rf_ctrl *c;
	int raw;

	c = ctrl_with_raw(200, &raw);
	for (int i = 0; i < 200; i++)
		raw_frame(raw, RF_WIRE_RUN, NULL, 0);
	for (int i = 0; i < 8; i++)
		assert_true(raw_wait_frame(raw, RF_WIRE_PING, NULL));
	assert_int_equal(rf_ctrl_error(c), RF_OK);
	for (int i = 0; i < 200; i++)
		assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, SOON), RF_OK);
	/* From here on silence counts again. */
	wait_dead(c, RF_ERR_TIMEOUT);
	rf_ctrl_close(&c);
	close(raw);
}

static void test_peer_that_does_not_read_kills_the_send(void **state)
{
	uint8_t *p = calloc(1, RF_WIRE_MAX_PAYLOAD);
	struct rf_ctrl *c;
	int raw, r = RF_OK;

	c = ctrl_with_raw(SOON, &raw);
	rf_ctrl_set_idle_timeout(c, 300);
	for (int i = 0; i < 1000 && !r; i++) {
		/* It talks all the time, so it is the send that has to find out. */
		raw_frame(raw, RF_WIRE_PONG, &(uint64_t){0}, 8);
		r = rf_ctrl_send(c, RF_WIRE_STATE, p, RF_WIRE_MAX_PAYLOAD);
	}
	assert_int_equal(r, RF_ERR_TIMEOUT);
	assert_int_equal(rf_ctrl_send(c, RF_WIRE_RUN, NULL, 0), RF_ERR_TIMEOUT);
	assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, -1), RF_ERR_TIMEOUT);
	rf_ctrl_close(&c);
	close(raw);
	free(p);
}

/* ---- hostile peers ---- */

static void check_poison(const void *bytes, size_t len, const char *words)
{
	struct rf_ctrl *c;
	char trash[64];
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	raw_frame(raw, RF_WIRE_RUN, NULL, 0);
	raw_write(raw, bytes, len);
	wait_dead(c, RF_ERR_PROTOCOL);
	assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, -1), RF_OK);
	assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, -1), RF_ERR_PROTOCOL);
	while (recv(raw, trash, sizeof(trash), 0) > 0)
		; /* ends: the peer sees the end of the stream */
	assert_why(c, words);
	rf_ctrl_close(&c);
	close(raw);
}

static void test_frames_that_must_not_be_are_refused(void **state)
{
	static const uint32_t bad[][2] = {
		{RF_WIRE_ZERO, RF_WIRE_MAX_PAYLOAD + 1},
		{RF_WIRE_ZERO, UINT32_MAX},
		{RF_WIRE_TYPE_COUNT, 0},
		{0, 0},
		{UINT32_MAX, 16},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t h[RF_WIRE_FRAME_HEADER];

		rf_wire_put_header(h, bad[i][0], bad[i][1]);
		check_poison(h, sizeof(h), "not a frame");
	}
}

static void test_heartbeats_of_wrong_size_are_refused(void **state)
{
	static const uint32_t sizes[] = {0, 7, 9, 4096};

	for (unsigned i = 0; i < 4; i++) {
		uint8_t b[RF_WIRE_FRAME_HEADER + 4096] = {0};

		rf_wire_put_header(b, i & 1 ? RF_WIRE_PONG : RF_WIRE_PING, sizes[i]);
		check_poison(b, RF_WIRE_FRAME_HEADER + sizes[i], "bad heartbeat");
	}
}

static void test_foreign_pongs_are_harmless(void **state)
{
	static const uint64_t values[] = {0, 2, 77, UINT64_MAX, UINT64_MAX / 2};
	struct rf_ctrl *c;
	int raw;

	c = ctrl_with_raw(SOON, &raw);
	assert_true(raw_wait_frame(raw, RF_WIRE_PING, NULL));
	for (unsigned i = 0; i < 5; i++)
		raw_frame(raw, RF_WIRE_PONG, &values[i], 8);
	raw_frame(raw, RF_WIRE_RUN, NULL, 0);
	assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, SOON), RF_OK);
	assert_int_equal(rf_ctrl_rtt_ns(c), 0);
	raw_frame(raw, RF_WIRE_PONG, &(uint64_t){1}, 8);
	for (int i = 0; i < SOON && !rf_ctrl_rtt_ns(c); i++)
		usleep(1000);
	assert_true(rf_ctrl_rtt_ns(c) > 0);
	rf_ctrl_close(&c);
	close(raw);
}

/* Fills the socket to the brim, as unread answers would. Returns how many bytes that took. */
static size_t plug_socket(int fd)
{
	static const uint8_t junk[65536];
	size_t total = 0;
	ssize_t n;

	while ((n = send(fd, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		total += (size_t)n;
	return total;
}

/* A flood whose answers nobody reads: no answer may wait for room, nothing may grow, and what
 * gets out in the end are whole frames, the last one with the newest value. */
static void test_ping_flood_is_survived(void **state)
{
	const uint64_t pings = 4096;
	uint8_t *b = malloc(pings * 16), trash[4096];
	struct rf_ctrl *c;
	uint64_t v;
	int raw;

	for (uint64_t i = 1; i <= pings; i++) {
		rf_wire_put_header(b + (i - 1) * 16, RF_WIRE_PING, 8);
		memcpy(b + (i - 1) * 16 + 8, &i, 8);
	}
	c = ctrl_with_raw(60000, &raw);
	assert_true(raw_wait_frame(raw, RF_WIRE_PING, NULL));
	size_t junk = plug_socket(c->fd);

	raw_write(raw, b, pings * 16);
	raw_frame(raw, RF_WIRE_RUN, NULL, 0);
	assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, SOON), RF_OK);
	assert_int_equal(rf_ctrl_error(c), RF_OK);
	for (size_t n; junk; junk -= n) {
		n = junk < sizeof(trash) ? junk : sizeof(trash);
		assert_true(raw_read(raw, trash, n));
	}
	do {
		assert_true(raw_wait_frame(raw, RF_WIRE_PONG, &v));
	} while (v != pings);
	assert_true(rf_ctrl_sent_bytes(c) < pings * 16 / 4);
	rf_ctrl_close(&c);
	close(raw);
	free(b);
}

static void test_end_inside_a_frame_is_told(void **state)
{
	uint8_t h[RF_WIRE_FRAME_HEADER + 3] = {0};
	struct rf_ctrl *c;
	int raw;

	for (unsigned cut = 1; cut <= sizeof(h); cut += 5) {
		rf_wire_put_header(h, RF_WIRE_STATE, 100);
		c = ctrl_with_raw(SOON, &raw);
		raw_write(raw, h, cut);
		shutdown(raw, SHUT_WR);
		wait_dead(c, RF_ERR_PEER_GONE);
		assert_int_equal(rf_ctrl_recv(c, &(struct rf_frame){0}, -1), RF_ERR_PEER_GONE);
		assert_why(c, "middle of a frame");
		rf_ctrl_close(&c);
		close(raw);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_silent_peer_is_dead_after_the_idle_timeout,
				       test_log_start),
		cmocka_unit_test_setup(test_idle_streams_of_busy_owners_stay_alive, test_log_start),
		cmocka_unit_test_setup(test_unlike_idle_timeouts_get_along, test_log_start),
		cmocka_unit_test_setup(test_idle_timeout_can_be_changed, test_log_start),
		cmocka_unit_test_setup(test_ping_is_answered_with_its_value, test_log_start),
		cmocka_unit_test_setup(test_heartbeats_go_out_while_the_queue_is_full,
				       test_log_start),
		cmocka_unit_test_setup(test_peer_that_does_not_read_kills_the_send, test_log_start),
		cmocka_unit_test_setup(test_frames_that_must_not_be_are_refused, test_log_start),
		cmocka_unit_test_setup(test_heartbeats_of_wrong_size_are_refused, test_log_start),
		cmocka_unit_test_setup(test_foreign_pongs_are_harmless, test_log_start),
		cmocka_unit_test_setup(test_ping_flood_is_survived, test_log_start),
		cmocka_unit_test_setup(test_end_inside_a_frame_is_told, test_log_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
