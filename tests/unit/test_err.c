/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <ramferry/version.h>

static const int codes[] = {
	RF_OK,
	RF_AGAIN,
	RF_NO_RESOURCE,
	RF_IN_PROGRESS,
	RF_ERR_INVALID,
	RF_ERR_NO_MEMORY,
	RF_ERR_SYSTEM,
	RF_ERR_PERMISSION,
	RF_ERR_UNSUPPORTED,
	RF_ERR_BUSY,
	RF_ERR_STATE,
	RF_ERR_NOT_FOUND,
	RF_ERR_MEMLOCK,
	RF_ERR_REMOTE_ACCESS,
	RF_ERR_LANE_TIMEOUT,
	RF_ERR_LANE_CLOSED,
	RF_ERR_LANE,
	RF_ERR_REFUSED,
	RF_ERR_UNREACHABLE,
	RF_ERR_TIMEOUT,
	RF_ERR_PEER_GONE,
	RF_ERR_PROTOCOL,
	RF_ERR_NOT_RAMFERRY,
	RF_ERR_VERSION,
	RF_ERR_MISMATCH,
	RF_ERR_PEER_FAILED,
	RF_ERR_CANCELLED,
	RF_ERR_NOT_CONVERGED,
	RF_ERR_VERIFY,
	RF_ERR_GUEST,
	RF_ERR_UNKNOWN_OUTCOME,
	RF_ERR_GUEST_LOST,
};

static bool has_code(int code)
{
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		if (codes[i] == code)
			return true;
	}
	return false;
}

static void every_code_has_words_of_its_own(void **state)
{
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		assert_true(strlen(rf_err_str(codes[i])) > 0);
		assert_string_not_equal(rf_err_str(codes[i]), "unknown error");
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(rf_err_str(codes[i]), rf_err_str(codes[j]));
	}
}

static void other_numbers_are_unknown(void **state)
{
	/* Also finds a code that was added and is not listed above. */
	for (int code = -200; code <= 200; code++) {
		if (!has_code(code))
			assert_string_equal(rf_err_str(code), "unknown error");
	}
	assert_string_equal(rf_err_str(INT32_MIN), "unknown error");
	assert_string_equal(rf_err_str(INT32_MAX), "unknown error");
}

static void version_is_that_of_the_header(void **state)
{
	char text[32];

	snprintf(text, sizeof(text), "%d.%d.%d", RF_VERSION_MAJOR, RF_VERSION_MINOR,
		 RF_VERSION_PATCH);
	assert_string_equal(rf_version(), text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_words_of_its_own),
		cmocka_unit_test(other_numbers_are_unknown),
		cmocka_unit_test(version_is_that_of_the_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
