/* SPDX-License-Identifier: BSD-3-Clause */
/* Control stream: connecting, refusals, and servers that are something else. */
#include "tests/unit/ctrl_peer.h"

/* ---- what works ---- */

static void check_family(const char *host, const char *numeric)
{
	struct rf_ctrl *src, *dst;
	char where[128];

	ctrl_pair(host, SOON, SOON, &src, &dst);
	assert_string_equal(rf_ctrl_peer_host(src), numeric);
	assert_string_equal(rf_ctrl_local_host(src), numeric);
	assert_int_equal(rf_ctrl_peer_minor(src), RF_WIRE_MINOR);
	assert_int_equal(rf_ctrl_peer_minor(dst), RF_WIRE_MINOR);
	assert_string_equal(rf_ctrl_peer_host(dst), numeric);
	snprintf(where, sizeof(where), strchr(numeric, ':') ? "[%s]:" : "%s:", numeric);
	assert_memory_equal(rf_ctrl_peer(dst), where, strlen(where));
	rf_ctrl_close(&src);
	assert_null(src);
	rf_ctrl_close(&dst);
	rf_ctrl_close(&dst);
}

static bool have_ipv6(void)
{
	struct rf_ctrl_listener *l = NULL;
	bool ok = rf_ctrl_listen("::1", 0, &l) == RF_OK;

	rf_ctrl_listener_close(&l);
	return ok;
}

static void test_ipv4_connects(void **state)
{
	check_family("127.0.0.1", "127.0.0.1");
}

static void test_ipv6_connects(void **state)
{
	if (!have_ipv6())
		skip_case("IPv6", "have ::1 on lo");
	check_family("::1", "::1");
}

static void test_ipv4_peer_of_dual_listener_shows_as_ipv4(void **state)
{
	struct connect_job j = {.host = "127.0.0.1", .cfg = ctrl_cfg("source", 0), .cancel_fd = -1};
	struct rf_ctrl_cfg cfg = ctrl_cfg("dest", 0);
	struct rf_ctrl_listener *l;
	struct rf_ctrl *dst;
	pthread_t t;

	if (!have_ipv6())
		skip_case("IPv4 peer of a dual listener", "have ::1 on lo");
	assert_int_equal(rf_ctrl_listen("::", 0, &l), RF_OK);
	j.port = rf_ctrl_listener_port(l);
	pthread_create(&t, NULL, run_connect, &j);
	assert_int_equal(rf_ctrl_accept(l, &cfg, SOON, -1, &dst), RF_OK);
	pthread_join(t, NULL);
	assert_int_equal(j.r, RF_OK);
	assert_string_equal(rf_ctrl_peer_host(dst), "127.0.0.1");
	rf_ctrl_close(&dst);
	rf_ctrl_close(&j.out);
	rf_ctrl_listener_close(&l);
}

/* "localhost" may have two addresses, of which the listener has one. */
static void test_every_address_of_a_name_is_tried(void **state)
{
	struct connect_job j = {.host = "localhost", .cfg = ctrl_cfg("source", 0), .cancel_fd = -1};
	struct rf_ctrl_cfg cfg = ctrl_cfg("dest", 0);
	struct rf_ctrl_listener *l;
	struct rf_ctrl *dst;
	pthread_t t;

	assert_int_equal(rf_ctrl_listen("127.0.0.1", 0, &l), RF_OK);
	j.port = rf_ctrl_listener_port(l);
	pthread_create(&t, NULL, run_connect, &j);
	assert_int_equal(rf_ctrl_accept(l, &cfg, SOON, -1, &dst), RF_OK);
	pthread_join(t, NULL);
	assert_int_equal(j.r, RF_OK);
	assert_int_equal(test_log.problems, 0);
	rf_ctrl_close(&j.out);
	rf_ctrl_close(&dst);
	rf_ctrl_listener_close(&l);
}

/* ---- connecting to what is no ramferry ---- */

static int connect_to(uint16_t port, uint32_t timeout, int cancel_fd)
{
	struct rf_ctrl_cfg cfg = {.connect_timeout = timeout, .name = "source"};
	struct rf_ctrl *c = (struct rf_ctrl *)1;
	int r = rf_ctrl_connect("127.0.0.1", port, &cfg, cancel_fd, &c);

	assert_ptr_equal(c, (struct rf_ctrl *)1); /* written only on success */
	return r;
}

static void test_nobody_listens_is_refused(void **state)
{
	uint16_t port;
	char words[32];

	close(raw_listen(1, &port));
	assert_int_equal(connect_to(port, SOON, -1), RF_ERR_REFUSED);
	/* at once, so no time is told, and no address but the one that was given */
	snprintf(words, sizeof(words), "port %u: nobody", port);
	assert_one_line(words, "start the destination first");
}

static void test_no_route_is_unreachable(void **state)
{
	struct rf_ctrl_cfg cfg = {.connect_timeout = SOON, .name = "source"};
	struct rf_ctrl *c;

	assert_int_equal(rf_ctrl_connect("255.255.255.255", 9, &cfg, -1, &c), RF_ERR_UNREACHABLE);
	assert_one_line("255.255.255.255", "check the address");
}

static void test_unknown_name_is_unreachable_in_time(void **state)
{
	struct rf_ctrl_cfg cfg = {.connect_timeout = 2000, .name = "source"};
	uint64_t start = test_ms();
	struct rf_ctrl *c;
	int r = rf_ctrl_connect("no-such-host.invalid", 9, &cfg, -1, &c);

	/* A resolver that does not answer is a timeout; both are told in one line. */
	assert_true(r == RF_ERR_UNREACHABLE || r == RF_ERR_TIMEOUT);
	assert_true(test_ms() - start < 10000);
	assert_one_line("no-such-host.invalid", "check the name");
}

/* A full backlog drops what comes, as a firewall does. */
static void test_no_answer_times_out(void **state)
{
	uint16_t port;
	int l = raw_listen(0, &port), in[4];
	uint64_t start;

	for (int i = 0; i < 4; i++) {
		struct sockaddr_in sa = loopback(port);

		in[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(in[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	start = test_ms();
	assert_int_equal(connect_to(port, 200, -1), RF_ERR_TIMEOUT);
	assert_true(test_ms() - start >= 199);
	assert_one_line("within 200 ms", "no answer");
	for (int i = 0; i < 4; i++)
		close(in[i]);
	close(l);
}

/* A server that says its line to the first who comes, and waits until he is gone. */
struct server {
	int fd;
	const void *line;
	size_t len;
	bool hang_up;
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->fd, NULL, NULL);
	char trash[64];

	if (s->len)
		raw_write(fd, s->line, s->len);
	if (s->hang_up)
		shutdown(fd, SHUT_WR);
	while (recv(fd, trash, sizeof(trash), 0) > 0)
		;
	close(fd);
	return NULL;
}

static int connect_to_server(const void *line, size_t len, bool hang_up, uint32_t timeout)
{
	struct server s = {.line = line, .len = len, .hang_up = hang_up};
	uint16_t port;
	int r;

	s.fd = raw_listen(1, &port);
	pthread_create(&s.thread, NULL, serve, &s);
	r = connect_to(port, timeout, -1);
	pthread_join(s.thread, NULL);
	close(s.fd);
	return r;
}

static void test_connect_to_ssh_is_not_ramferry_at_once(void **state)
{
	/* Shorter than a preamble, and the server waits: must not take the whole timeout. */
	assert_int_equal(connect_to_server("SSH-2.0-x\r\n", 11, false, SOON), RF_ERR_NOT_RAMFERRY);
	assert_one_line("does not speak ramferry's protocol", "check the port");
}

static void test_connect_to_http_is_not_ramferry(void **state)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

	assert_int_equal(connect_to_server(http, sizeof(http) - 1, true, SOON),
			 RF_ERR_NOT_RAMFERRY);
	assert_one_line("does not speak", "check the port");
}

static void test_connect_to_server_that_hangs_up_is_not_ramferry(void **state)
{
	assert_int_equal(connect_to_server("", 0, true, SOON), RF_ERR_NOT_RAMFERRY);
	assert_one_line("without a word", "check the port");
}

static void test_connect_cut_greeting_is_not_ramferry(void **state)
{
	assert_int_equal(connect_to_server("RAMFERRY\1", 9, true, SOON), RF_ERR_NOT_RAMFERRY);
}

static void test_connect_to_silence_times_out(void **state)
{
	assert_int_equal(connect_to_server("", 0, false, 100), RF_ERR_TIMEOUT);
	assert_one_line("says nothing", "busy with another source?");
}

static void test_connect_to_slow_greeting_times_out(void **state)
{
	assert_int_equal(connect_to_server("RAMFER", 6, false, 100), RF_ERR_TIMEOUT);
}

static void test_connect_to_other_version_says_both(void **state)
{
	uint8_t p[RF_WIRE_PREAMBLE_SIZE];

	rf_wire_put_preamble(p, RF_WIRE_MAJOR + 1, 7);
	assert_int_equal(connect_to_server(p, sizeof(p), false, SOON), RF_ERR_VERSION);
	assert_one_line("protocol 2.7, this side " VERSION, "matching versions");
}

/* ---- cancelling ---- */

static void test_cancel_ends_connect(void **state)
{
	struct cancel_job j = {.fd = eventfd(0, EFD_CLOEXEC), .after_ms = 30};
	uint16_t port;
	int l = raw_listen(1, &port); /* takes connections, says nothing */
	pthread_t t;

	pthread_create(&t, NULL, cancel_later, &j);
	assert_int_equal(connect_to(port, SOON, j.fd), RF_ERR_CANCELLED);
	pthread_join(t, NULL);
	assert_int_equal(connect_to(port, SOON, j.fd), RF_ERR_CANCELLED);
	assert_int_equal(test_log.problems, 0);
	close(l);
	close(j.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ipv4_connects, test_log_start),
		cmocka_unit_test_setup(test_ipv6_connects, test_log_start),
		cmocka_unit_test_setup(test_ipv4_peer_of_dual_listener_shows_as_ipv4,
				       test_log_start),
		cmocka_unit_test_setup(test_every_address_of_a_name_is_tried, test_log_start),
		cmocka_unit_test_setup(test_nobody_listens_is_refused, test_log_start),
		cmocka_unit_test_setup(test_no_route_is_unreachable, test_log_start),
		cmocka_unit_test_setup(test_unknown_name_is_unreachable_in_time, test_log_start),
		cmocka_unit_test_setup(test_no_answer_times_out, test_log_start),
		cmocka_unit_test_setup(test_connect_to_ssh_is_not_ramferry_at_once, test_log_start),
		cmocka_unit_test_setup(test_connect_to_http_is_not_ramferry, test_log_start),
		cmocka_unit_test_setup(test_connect_to_server_that_hangs_up_is_not_ramferry,
				       test_log_start),
		cmocka_unit_test_setup(test_connect_cut_greeting_is_not_ramferry, test_log_start),
		cmocka_unit_test_setup(test_connect_to_silence_times_out, test_log_start),
		cmocka_unit_test_setup(test_connect_to_slow_greeting_times_out, test_log_start),
		cmocka_unit_test_setup(test_connect_to_other_version_says_both, test_log_start),
		cmocka_unit_test_setup(test_cancel_ends_connect, test_log_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
