/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of CPUs. */
#include "tests/unit/unit.h"

#include "common/cpulist.h"

static void check_list(const char *text, const char *canonical)
{
	cpu_set_t set;
	char buf[256];

	assert_int_equal(rf_cpulist_parse(text, &set), RF_OK);
	assert_string_equal(rf_cpulist_format(&set, buf, sizeof(buf)), canonical);
}

static void test_lists_are_read_and_written(void **state)
{
	check_list("0", "0");
	check_list("2,4-7", "2,4-7");
	check_list("7,6,5,4,2", "2,4-7");
	check_list("1-3,2-5,3", "1-5");
	check_list("9-9", "9");
	check_list("0-1023", "0-1023");
	check_list("1023,0", "0,1023");
	check_list("007", "7");
}

static void test_other_texts_are_refused(void **state)
{
	static const char *const bad[] = {
		"",    ",",    "1,",	 ",1",	       "1,,2",
		"-",   "1-",   "-1",	 "3-2",	       "1-2-3",
		"a",   "1 ",   " 1",	 "1, 2",       "+1",
		"0x1", "1024", "0-1024", "1;2",	       "1.",
		"all", "1-a",  "1\n",	 "4294967296", "99999999999999999999",
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cpu_set_t set, before;

		CPU_ZERO(&set);
		CPU_SET(3, &set);
		before = set;
		if (rf_cpulist_parse(bad[i], &set) != RF_ERR_INVALID)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(CPU_EQUAL(&set, &before));
	}
}

static void test_format_cuts_at_whole_items(void **state)
{
	cpu_set_t set;
	char buf[16];

	rf_cpulist_parse("0,2,4,6,8,10,12", &set);
	assert_string_equal(rf_cpulist_format(&set, buf, 12), "0,2,4,6…");
	assert_string_equal(rf_cpulist_format(&set, buf, 5), "0…");
	assert_string_equal(rf_cpulist_format(&set, buf, 1), "");
	CPU_ZERO(&set);
	assert_string_equal(rf_cpulist_format(&set, buf, sizeof(buf)), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists_are_read_and_written),
		cmocka_unit_test(test_other_texts_are_refused),
		cmocka_unit_test(test_format_cuts_at_whole_items),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
