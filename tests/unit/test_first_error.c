/* SPDX-License-Identifier: BSD-3-Clause */
/* The first error stays and is the one line; the others are whispered. */
#include "tests/unit/unit.h"

#include <stdarg.h>

#include <ramferry/err.h>
#include <ramferry/log.h>

#include "common/first_error.h"

#define THREADS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rf_first_error e;
static _Atomic unsigned lines[RF_LOG_TRACE + 1];
static char last[256];

static int set(enum rf_log_level level, int err, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = rf_first_error_set(&e, level, "who", err, fmt, ap);
	va_end(ap);
	return rc;
}

static void count_line(void *arg, enum rf_log_level level, const char *line)
{
	lines[level]++;
	if (level < RF_LOG_DEBUG)
		snprintf(last, sizeof(last), "%s", line);
}

static int setup(void **state)
{
	rf_first_error_init(&e, &lock);
	memset(lines, 0, sizeof(lines));
	last[0] = 0;
	rf_log_set_sink(count_line, NULL);
	rf_log_set_level(RF_LOG_DEBUG);
	return 0;
}

static int teardown(void **state)
{
	rf_log_set_sink(NULL, NULL);
	rf_log_set_level(RF_LOG_WARN);
	return 0;
}

static void first_stays_and_is_logged(void **state)
{
	assert_int_equal(e.err, RF_OK);
	assert_string_equal(e.desc, "");
	assert_int_equal(set(RF_LOG_ERROR, RF_ERR_TIMEOUT, "%d is too long", 7), RF_ERR_TIMEOUT);
	assert_int_equal(set(RF_LOG_ERROR, RF_ERR_LANE, "and so on"), RF_ERR_TIMEOUT);
	assert_string_equal(e.desc, "7 is too long");
	assert_string_equal(last, "who: 7 is too long");
	assert_int_equal(lines[RF_LOG_ERROR], 1);
	assert_int_equal(lines[RF_LOG_DEBUG], 1);
}

static void level_is_the_callers_but_for_cancelling(void **state)
{
	set(RF_LOG_WARN, RF_ERR_PROTOCOL, "a stranger");
	assert_int_equal(lines[RF_LOG_WARN], 1);
	rf_first_error_forget(&e);
	assert_int_equal(e.err, RF_OK);
	assert_string_equal(e.desc, "");
	set(RF_LOG_ERROR, RF_ERR_CANCELLED, "enough");
	assert_int_equal(lines[RF_LOG_INFO], 1);
	assert_int_equal(lines[RF_LOG_ERROR], 0);
}

static void words_of_a_peer_are_made_harmless(void **state)
{
	set(RF_LOG_ERROR, RF_ERR_PEER_FAILED, "it said: %s", "one\ntwo\033[2J");
	assert_string_equal(e.desc, "it said: one?two?[2J");
}

static void long_words_are_cut(void **state)
{
	char many[600];

	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = 0;
	set(RF_LOG_ERROR, RF_ERR_LANE, "%s", many);
	assert_int_equal(strlen(e.desc), sizeof(e.desc) - 1);
}

static void it_may_amount_to_something_else(void **state)
{
	set(RF_LOG_ERROR, RF_ERR_PEER_GONE, "gone");
	assert_int_equal(rf_first_error_amount_to(&e, RF_ERR_GUEST_LOST), RF_ERR_GUEST_LOST);
	assert_int_equal(set(RF_LOG_ERROR, RF_ERR_LANE, "late"), RF_ERR_GUEST_LOST);
	assert_string_equal(e.desc, "gone");
	assert_int_equal(lines[RF_LOG_ERROR], 1);
}

static void *fail_often(void *arg)
{
	int mine = *(int *)arg, kept = 0;

	for (unsigned i = 0; i < 1000; i++) {
		int got = set(RF_LOG_ERROR, mine, "%d", mine);

		if (kept && got != kept)
			return arg;
		kept = got;
	}
	return NULL;
}

static void of_threads_one_is_first(void **state)
{
	int errs[THREADS] = {RF_ERR_LANE, RF_ERR_TIMEOUT, RF_ERR_PEER_GONE, RF_ERR_SYSTEM};
	pthread_t t[THREADS];
	void *wrong;

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fail_often, &errs[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(lines[RF_LOG_ERROR], 1);
	assert_int_equal(atoi(e.desc), e.err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_stays_and_is_logged, setup, teardown),
		cmocka_unit_test_setup_teardown(level_is_the_callers_but_for_cancelling, setup,
						teardown),
		cmocka_unit_test_setup_teardown(words_of_a_peer_are_made_harmless, setup, teardown),
		cmocka_unit_test_setup_teardown(long_words_are_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(it_may_amount_to_something_else, setup, teardown),
		cmocka_unit_test_setup_teardown(of_threads_one_is_first, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
