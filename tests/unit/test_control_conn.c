/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the control socket, over a socket pair. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/control_conn.h"

struct fixture {
	struct control_conn conn;
	int client;
	unsigned answered;
	size_t answer_size; /* 0: the line itself */
};

/* "line N" becomes "N: line\n". */
static char *answer(void *arg, struct control_conn *c, const char *line, size_t len)
{
	struct fixture *f = arg;
	char *out = NULL;

	f->answered++;
	if (len == 6 && !memcmp(line, "events", 6))
		c->events = true;
	if (f->answer_size)
		assert_true(asprintf(&out, "%*s\n", (int)f->answer_size, "x") >= 0);
	else
		assert_true(asprintf(&out, "%u: %.*s\n", f->answered, (int)len, line) >= 0);
	return out;
}

static void open_fixture(struct fixture *f)
{
	int fds[2];

	*f = (struct fixture){0};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_true(control_conn_open(&f->conn, fds[0]));
	f->client = fds[1];
}

static void close_fixture(struct fixture *f)
{
	control_conn_close(&f->conn);
	if (f->client >= 0)
		close(f->client);
}

static void say(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->client, text, strlen(text)), (ssize_t)strlen(text));
}

/* What is there now. */
static size_t hear(struct fixture *f, char *buf, size_t cap)
{
	ssize_t n = recv(f->client, buf, cap - 1, MSG_DONTWAIT);

	buf[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static bool serve(struct fixture *f)
{
	return control_conn_serve(&f->conn, answer, f);
}

static void lines_are_answered_in_order(void **state)
{
	struct fixture f;
	char buf[256];

	open_fixture(&f);
	say(&f, "one\ntwo\nthr");
	assert_true(serve(&f));
	hear(&f, buf, sizeof(buf));
	assert_string_equal(buf, "1: one\n2: two\n");
	say(&f, "ee\n");
	assert_true(serve(&f));
	hear(&f, buf, sizeof(buf));
	assert_string_equal(buf, "3: three\n");
	assert_int_equal(control_conn_wants(&f.conn), POLLIN);
	close_fixture(&f);
}

static void what_comes_before_the_end_is_answered(void **state)
{
	struct fixture f;
	char buf[256];

	open_fixture(&f);
	say(&f, "one\ntwo");
	shutdown(f.client, SHUT_WR);
	assert_true(serve(&f));
	assert_false(serve(&f)); /* done: to be closed */
	hear(&f, buf, sizeof(buf));
	assert_string_equal(buf, "1: one\n2: two\n");
	close_fixture(&f);
}

static void a_client_that_wants_events_may_end_its_side(void **state)
{
	struct fixture f;
	char buf[256];

	open_fixture(&f);
	say(&f, "events\n");
	shutdown(f.client, SHUT_WR);
	assert_true(serve(&f));
	assert_true(serve(&f));
	assert_true(f.conn.ended);
	control_conn_event(&f.conn, strdup("news\n"));
	assert_true(control_conn_flush(&f.conn));
	hear(&f, buf, sizeof(buf));
	assert_string_equal(buf, "1: events\nnews\n");
	close_fixture(&f);
}

static void a_line_of_the_longest_length_is_answered(void **state)
{
	static char line[CONTROL_LINE_MAX + 1];
	struct fixture f;

	open_fixture(&f);
	memset(line, 'a', CONTROL_LINE_MAX - 1);
	line[CONTROL_LINE_MAX - 1] = '\n';
	say(&f, line);
	assert_true(serve(&f));
	assert_int_equal(f.answered, 1);
	close_fixture(&f);
}

static void a_longer_line_ends_the_connection_with_one_error(void **state)
{
	static char line[3 * CONTROL_LINE_MAX];
	struct fixture f;
	char buf[512];

	open_fixture(&f);
	memset(line, 'a', sizeof(line) - 1);
	say(&f, line);
	assert_false(serve(&f));
	assert_int_equal(f.answered, 0);
	hear(&f, buf, sizeof(buf));
	assert_non_null(strstr(buf, "longer than"));
	assert_ptr_equal(strchr(buf, '\n'), buf + strlen(buf) - 1);
	close_fixture(&f);
}

/* Sends requests for as long as they are taken and reads nothing. */
static void a_client_that_does_not_read_is_not_read_either(void **state)
{
	struct fixture f;
	unsigned said = 0, turns = 0;
	char buf[4096];

	open_fixture(&f);
	f.answer_size = 1000;
	/* The socket takes some, the queue some; then its requests stay in the socket. */
	while (control_conn_wants(&f.conn) & POLLIN) {
		if (send(f.client, "more\n", 5, MSG_DONTWAIT) == 5)
			said++;
		assert_true(serve(&f));
		assert_true(++turns < 100000);
	}
	assert_true(f.conn.out_len >= CONTROL_OUT_MAX);
	assert_true(f.conn.out_len < CONTROL_OUT_MAX + 2000);
	assert_true(f.answered <= said);

	/* It reads again, and gets every answer. */
	shutdown(f.client, SHUT_WR);
	for (size_t left = (size_t)said * 1001; left;) {
		(void)serve(&f);
		left -= hear(&f, buf, sizeof(buf));
	}
	assert_int_equal(f.answered, said);
	close_fixture(&f);
}

static void events_that_do_not_fit_are_counted_and_told(void **state)
{
	enum { SENT = 5000 };
	struct fixture f;
	unsigned got = 0, lost = 0;
	char buf[65536], *at;
	size_t n = 0, len;

	open_fixture(&f);
	say(&f, "events\n");
	assert_true(serve(&f));
	hear(&f, buf, sizeof(buf));
	for (unsigned i = 0; i < SENT; i++) {
		char *line = NULL;

		assert_true(asprintf(&line, "%0200u\n", i) > 0);
		control_conn_event(&f.conn, line);
		assert_true(control_conn_flush(&f.conn));
		assert_true(f.conn.out_len < CONTROL_OUT_MAX + 1000);
	}
	assert_true(f.conn.lost > 0);
	/* It reads: what was kept, and with the next event how many are missing. */
	for (bool told = false; !told;) {
		assert_true(control_conn_flush(&f.conn));
		while ((len = hear(&f, buf + n, sizeof(buf) - n))) {
			n += len;
			while ((at = memchr(buf, '\n', n))) {
				*at = 0;
				if (sscanf(buf,
					   "{\"event\":\"EVENTS_LOST\",\"data\":{\"count\":%u}",
					   &lost) == 1)
					told = true;
				else
					got++;
				n -= (size_t)(at + 1 - buf);
				memmove(buf, at + 1, n);
			}
			assert_true(control_conn_flush(&f.conn));
		}
		if (!told)
			control_conn_event(&f.conn, strdup("one more\n"));
	}
	assert_true(got + lost >= SENT && got + lost <= SENT + 1);
	assert_int_equal(f.conn.lost, 0);
	close_fixture(&f);
}

static void who_does_not_want_events_gets_none(void **state)
{
	struct fixture f;
	char buf[64];

	open_fixture(&f);
	control_conn_event(&f.conn, strdup("news\n"));
	assert_true(control_conn_flush(&f.conn));
	assert_int_equal(hear(&f, buf, sizeof(buf)), 0);
	assert_int_equal(f.conn.lost, 0);
	close_fixture(&f);
}

static void a_client_that_is_gone_is_noticed(void **state)
{
	struct fixture f;

	open_fixture(&f);
	say(&f, "one\n");
	close(f.client);
	f.client = -1;
	assert_false(serve(&f));
	assert_int_equal(f.answered, 1); /* what it asked for is done all the same */
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_answered_in_order),
		cmocka_unit_test(what_comes_before_the_end_is_answered),
		cmocka_unit_test(a_client_that_wants_events_may_end_its_side),
		cmocka_unit_test(a_line_of_the_longest_length_is_answered),
		cmocka_unit_test(a_longer_line_ends_the_connection_with_one_error),
		cmocka_unit_test(a_client_that_does_not_read_is_not_read_either),
		cmocka_unit_test(events_that_do_not_fit_are_counted_and_told),
		cmocka_unit_test(who_does_not_want_events_gets_none),
		cmocka_unit_test(a_client_that_is_gone_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
