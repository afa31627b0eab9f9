/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

#define THREADS 4
#define LINES	200

struct capture {
	unsigned calls;
	enum rf_log_level level;
	char line[2048];
};

static void keep_line(void *arg, enum rf_log_level level, const char *line)
{
	struct capture *c = arg;

	c->calls++;
	c->level = level;
	snprintf(c->line, sizeof(c->line), "%s", line);
	errno = EIO; /* a sink may spoil errno; the log must keep the caller's */
}

static int set_up(void **state)
{
	static struct capture c;

	memset(&c, 0, sizeof(c));
	*state = &c;
	rf_log_set_sink(keep_line, &c);
	rf_log_set_level(RF_LOG_WARN);
	return 0;
}

static int tear_down(void **state)
{
	rf_log_set_sink(NULL, NULL);
	return 0;
}

static int evaluated;

static int count_evaluation(void)
{
	return ++evaluated;
}

static void messages_above_the_level_are_neither_made_nor_evaluated(void **state)
{
	struct capture *c = *state;

	evaluated = 0;
	rf_info("x", "%d", count_evaluation());
	assert_int_equal(c->calls, 0);
	assert_int_equal(evaluated, 0);
	rf_warn("x", "%d", count_evaluation());
	assert_int_equal(c->calls, 1);
	assert_int_equal(c->level, RF_LOG_WARN);
	rf_log_set_level(RF_LOG_NONE);
	rf_err_log("x", "%d", count_evaluation());
	assert_int_equal(c->calls, 1);
	assert_int_equal(evaluated, 1);
	/* Called without its macro it checks as well. */
	rf_log_msg(RF_LOG_ERROR, "x", "no");
	rf_log_set_level(RF_LOG_TRACE);
	rf_log_msg(RF_LOG_NONE, "x", "no");
	assert_int_equal(c->calls, 1);
}

static void line_carries_the_objects_name(void **state)
{
	struct capture *c = *state;

	rf_err_log("lane bulk/0", "no completion for %u ms", 2000u);
	assert_string_equal(c->line, "lane bulk/0: no completion for 2000 ms");
	assert_int_equal(c->level, RF_LOG_ERROR);
	rf_warn(NULL, "alone");
	assert_string_equal(c->line, "alone");
}

static void errno_is_kept_and_can_be_printed(void **state)
{
	struct capture *c = *state;

	errno = ENOENT;
	rf_err_log("file", "%m");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(c->line, "file: No such file or directory");
}

static void control_bytes_cannot_forge_a_line(void **state)
{
	struct capture *c = *state;

	rf_err_log("peer", "%s", "a\nramferry: error: b\r\x1b[2J\x7f");
	assert_string_equal(c->line, "peer: a?ramferry: error: b??[2J?");
	rf_err_log("peer\n", "µs");
	assert_string_equal(c->line, "peer?: µs");
}

static void long_lines_are_cut_and_say_so(void **state)
{
	struct capture *c = *state;
	char big[3000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	rf_err_log("obj", "%s", big);
	assert_int_equal(strlen(c->line), 1023);
	assert_string_equal(c->line + 1023 - 4, " ...");
	rf_err_log(big, "lost");
	assert_int_equal(c->calls, 2);
	assert_true(strlen(c->line) <= 1023);
}

static void limited_messages_pass_once_a_second_and_count_the_rest(void **state)
{
	struct rf_log_limit limit = {0};
	struct capture *c = *state;

	for (int i = 0; i < 10; i++)
		rf_log_limited(&limit, RF_LOG_WARN, "x", "round %d", i);
	assert_int_equal(c->calls, 1);
	assert_string_equal(c->line, "x: round 0");
	atomic_store(&limit.next_ns, 1); /* as if the second were over */
	rf_log_limited(&limit, RF_LOG_WARN, "x", "again");
	assert_int_equal(c->calls, 2);
	assert_string_equal(c->line, "x: again (9 more since the last time)");
	/* What is not logged at all does not count as left out. */
	rf_log_limited(&limit, RF_LOG_DEBUG, "x", "quiet");
	assert_int_equal(atomic_load(&limit.dropped), 0);
}

static void level_names_are_parsed(void **state)
{
	static const char *const names[] = {"none", "error", "warn", "info", "debug", "trace"};
	enum rf_log_level level;

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		assert_int_equal(rf_log_level_parse(names[i], &level), RF_OK);
		assert_int_equal(level, i);
	}
	assert_int_equal(rf_log_level_parse("Error", &level), RF_ERR_INVALID);
	assert_int_equal(rf_log_level_parse("", &level), RF_ERR_INVALID);
	assert_int_equal(rf_log_level_parse(NULL, &level), RF_ERR_INVALID);
	assert_int_equal(level, RF_LOG_TRACE);
}

static void level_out_of_range_is_clamped(void **state)
{
	rf_log_set_level((enum rf_log_level)99);
	assert_int_equal(rf_log_get_level(), RF_LOG_TRACE);
	rf_log_set_level((enum rf_log_level) - 1);
	assert_int_equal(rf_log_get_level(), RF_LOG_NONE);
}

static void *log_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		rf_err_log("thread", "%u line %d end", *(unsigned *)arg, i);
	return NULL;
}

/* Takes what arrives; a datagram is one write. Returns how many were whole lines. */
static void *count_lines(void *arg)
{
	int fd = *(int *)arg;
	uintptr_t good = 0;
	char buf[4096];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf) - 1, 0)) > 0) {
		buf[n] = '\0';
		good += !strncmp(buf, "ramferry: error: thread: ", 25) &&
			!strcmp(buf + n - 5, " end\n") && strchr(buf, '\n') == buf + n - 1;
	}
	return (void *)good;
}

static void default_sink_writes_each_line_at_once(void **state)
{
	unsigned ids[THREADS] = {0, 1, 2, 3};
	int sock[2], saved = dup(STDERR_FILENO);
	pthread_t reader;
	void *good;

	rf_log_set_sink(NULL, NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock), 0);
	assert_int_equal(pthread_create(&reader, NULL, count_lines, &sock[0]), 0);
	dup2(sock[1], STDERR_FILENO);
	run_threads(THREADS, log_lines, ids, sizeof(ids[0]));
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(sock[1]);
	assert_int_equal(pthread_join(reader, &good), 0);
	close(sock[0]);
	assert_int_equal((uintptr_t)good, THREADS * LINES);
}

static void captured_errors_are_kept_and_not_logged(void **state)
{
	struct capture *c = *state;
	struct rf_log_capture outer, inner;

	rf_log_set_level(RF_LOG_NONE);
	rf_log_capture_begin(&outer);
	rf_log_capture_begin(&inner);
	assert_string_equal(inner.text, "");
	rf_err_log("verbs", "no device %d", 7);
	rf_err_log("verbs", "another");
	rf_warn("verbs", "less than an error");
	rf_log_capture_end(&inner);
	assert_string_equal(inner.text, "no device 7");
	assert_string_equal(outer.text, "");
	rf_log_capture_end(&outer);
	assert_int_equal(c->calls, 0);
	rf_log_set_level(RF_LOG_WARN);
	rf_err_log("verbs", "after the capture");
	assert_int_equal(c->calls, 1);
	assert_int_equal(c->level, RF_LOG_ERROR);
	assert_string_equal(inner.text, "no device 7");
}

static void captured_errors_are_logged_at_debug(void **state)
{
	struct capture *c = *state;
	struct rf_log_capture why;

	rf_log_set_level(RF_LOG_DEBUG);
	rf_log_capture_begin(&why);
	rf_err_log("verbs", "no device");
	rf_warn("verbs", "low");
	rf_log_capture_end(&why);
	assert_int_equal(c->calls, 2);
	assert_int_equal(c->level, RF_LOG_WARN);
	assert_string_equal(why.text, "no device");
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(messages_above_the_level_are_neither_made_nor_evaluated),
		case_of(line_carries_the_objects_name),
		case_of(errno_is_kept_and_can_be_printed),
		case_of(control_bytes_cannot_forge_a_line),
		case_of(long_lines_are_cut_and_say_so),
		case_of(limited_messages_pass_once_a_second_and_count_the_rest),
		case_of(level_names_are_parsed),
		case_of(level_out_of_range_is_clamped),
		case_of(captured_errors_are_kept_and_not_logged),
		case_of(captured_errors_are_logged_at_debug),
		case_of(default_sink_writes_each_line_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
