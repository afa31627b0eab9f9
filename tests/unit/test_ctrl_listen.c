/* SPDX-License-Identifier: BSD-3-Clause */
/* Control stream: listening, and callers that are no ramferry. */
#include "tests/unit/ctrl_peer.h"

static struct rf_ctrl_listener *new_listener(void)
{
	struct rf_ctrl_listener *l;

	assert_int_equal(rf_ctrl_listen(NULL, 0, &l), RF_OK);
	return l;
}

static int accept_from(struct rf_ctrl_listener *l, uint32_t greet, uint32_t timeout)
{
	struct rf_ctrl_cfg cfg = {.connect_timeout = greet, .name = "dest"};
	struct rf_ctrl *c = NULL;
	int r = rf_ctrl_accept(l, &cfg, timeout, -1, &c);

	rf_ctrl_close(&c);
	return r;
}

static int accept_line(const void *line, size_t len, bool hang_up)
{
	struct rf_ctrl_listener *l = new_listener();
	int raw = raw_connect(rf_ctrl_listener_port(l)), r;

	if (len)
		raw_write(raw, line, len);
	if (hang_up)
		shutdown(raw, SHUT_WR);
	r = accept_from(l, 200, SOON);
	/* The listener goes on: the next one gets in. */
	int good = raw_connect(rf_ctrl_listener_port(l));

	raw_greet(good, RF_WIRE_MAJOR);
	assert_int_equal(accept_from(l, SOON, SOON), RF_OK);
	close(good);
	close(raw);
	rf_ctrl_listener_close(&l);
	return r;
}

static void test_accept_http_is_not_ramferry(void **state)
{
	assert_int_equal(accept_line("GET / HTTP/1.1\r\n\r\n", 18, false), RF_ERR_NOT_RAMFERRY);
	assert_one_line("turned away 127.0.0.1:", "speaks something else");
}

static void test_accept_noise_is_not_ramferry(void **state)
{
	uint8_t noise[64];
	unsigned seed = 7;

	for (unsigned i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)rand_r(&seed);
	assert_int_equal(accept_line(noise, sizeof(noise), false), RF_ERR_NOT_RAMFERRY);
	assert_int_equal(accept_line(noise, 1, false), RF_ERR_NOT_RAMFERRY);
}

static void test_accept_port_scan_is_not_ramferry(void **state)
{
	assert_int_equal(accept_line("", 0, true), RF_ERR_NOT_RAMFERRY);
	assert_one_line("turned away", "closed without a word");
}

static void test_accept_silence_is_not_ramferry(void **state)
{
	assert_int_equal(accept_line("", 0, false), RF_ERR_NOT_RAMFERRY);
	assert_one_line("turned away", "did not greet in time");
	assert_int_equal(accept_line("RAMFE", 5, false), RF_ERR_NOT_RAMFERRY);
}

static void test_accept_other_version_is_greeted_and_turned_away(void **state)
{
	struct rf_ctrl_listener *l = new_listener();
	int raw = raw_connect(rf_ctrl_listener_port(l));
	uint8_t p[RF_WIRE_PREAMBLE_SIZE];
	uint16_t major, minor;

	raw_greet(raw, RF_WIRE_MAJOR + 1);
	assert_int_equal(accept_from(l, SOON, SOON), RF_ERR_VERSION);
	assert_one_line("protocol 2." MINOR ", this side " VERSION, "matching versions");
	assert_true(raw_read(raw, p, sizeof(p)));
	assert_int_equal(rf_wire_get_preamble(p, &major, &minor), RF_OK);
	assert_false(raw_read(raw, p, 1));
	close(raw);
	rf_ctrl_listener_close(&l);
}

static void test_silent_peers_do_not_keep_a_source_out(void **state)
{
	struct rf_ctrl_listener *l = new_listener();
	int quiet[24], good;

	/* More than the listener keeps: the oldest are turned away. */
	for (int i = 0; i < 24; i++) {
		quiet[i] = raw_connect(rf_ctrl_listener_port(l));
		assert_int_equal(accept_from(l, SOON, 1), RF_ERR_TIMEOUT);
	}
	good = raw_connect(rf_ctrl_listener_port(l));
	raw_greet(good, RF_WIRE_MAJOR);
	assert_int_equal(accept_from(l, SOON, SOON), RF_OK);
	for (int i = 0; i < 24; i++)
		close(quiet[i]);
	close(good);
	rf_ctrl_listener_close(&l);
	assert_null(l);
	rf_ctrl_listener_close(&l);
}

static void test_accept_times_out(void **state)
{
	struct rf_ctrl_listener *l = new_listener();
	uint64_t start = test_ms();

	assert_int_equal(accept_from(l, SOON, 50), RF_ERR_TIMEOUT);
	assert_true(test_ms() - start >= 49);
	rf_ctrl_listener_close(&l);
}

/* ---- listening ---- */

static void test_port_in_use_is_busy(void **state)
{
	struct rf_ctrl_listener *l = new_listener(), *second = NULL;

	assert_int_equal(rf_ctrl_listen("127.0.0.1", rf_ctrl_listener_port(l), &second),
			 RF_ERR_BUSY);
	assert_null(second);
	assert_one_line("cannot listen on '127.0.0.1'", "choose another port");
	rf_ctrl_listener_close(&l);
}

static void test_foreign_address_is_unreachable(void **state)
{
	struct rf_ctrl_listener *l;

	assert_int_equal(rf_ctrl_listen("192.0.2.1", 0, &l), RF_ERR_UNREACHABLE);
	assert_one_line("192.0.2.1", "address of this host");
}

static void test_port_can_be_taken_again_at_once(void **state)
{
	struct rf_ctrl_listener *l = new_listener();
	uint16_t port = rf_ctrl_listener_port(l);
	int raw = raw_connect(port);

	raw_greet(raw, RF_WIRE_MAJOR);
	assert_int_equal(accept_from(l, SOON, SOON), RF_OK); /* closed by us: TIME_WAIT */
	rf_ctrl_listener_close(&l);
	close(raw);
	assert_int_equal(rf_ctrl_listen(NULL, port, &l), RF_OK);
	rf_ctrl_listener_close(&l);
}

/* ---- cancelling ---- */

static void test_cancel_ends_accept(void **state)
{
	struct cancel_job j = {.fd = eventfd(0, EFD_CLOEXEC), .after_ms = 30};
	struct rf_ctrl_cfg cfg = ctrl_cfg("dest", 0);
	struct rf_ctrl_listener *l = new_listener();
	int raw = raw_connect(rf_ctrl_listener_port(l));
	struct rf_ctrl *c;
	pthread_t t;

	pthread_create(&t, NULL, cancel_later, &j);
	assert_int_equal(rf_ctrl_accept(l, &cfg, 0, j.fd, &c), RF_ERR_CANCELLED);
	pthread_join(t, NULL);
	assert_int_equal(test_log.problems, 0);
	rf_ctrl_listener_close(&l);
	close(raw);
	close(j.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_accept_http_is_not_ramferry, test_log_start),
		cmocka_unit_test_setup(test_accept_noise_is_not_ramferry, test_log_start),
		cmocka_unit_test_setup(test_accept_port_scan_is_not_ramferry, test_log_start),
		cmocka_unit_test_setup(test_accept_silence_is_not_ramferry, test_log_start),
		cmocka_unit_test_setup(test_accept_other_version_is_greeted_and_turned_away,
				       test_log_start),
		cmocka_unit_test_setup(test_silent_peers_do_not_keep_a_source_out, test_log_start),
		cmocka_unit_test_setup(test_accept_times_out, test_log_start),
		cmocka_unit_test_setup(test_port_in_use_is_busy, test_log_start),
		cmocka_unit_test_setup(test_foreign_address_is_unreachable, test_log_start),
		cmocka_unit_test_setup(test_port_can_be_taken_again_at_once, test_log_start),
		cmocka_unit_test_setup(test_cancel_ends_accept, test_log_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
