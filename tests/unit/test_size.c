/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "common/size.h"

static void sizes_are_parsed(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{"0", 0},
		{"4096", 4096},
		{"007", 7},
		{"512B", 512},
		{"64K", 64ull << 10},
		{"64k", 64ull << 10},
		{"64KB", 64ull << 10},
		{"64KiB", 64ull << 10},
		{"64kib", 64ull << 10},
		{"512M", 512ull << 20},
		{"4G", 4ull << 30},
		{"1T", 1ull << 40},
		{"1P", 1ull << 50},
		{"7E", 7ull << 60},
		{"1.5G", 3ull << 29},
		{"0.5K", 512},
		{"1.0", 1},
		{"0.0009765625K", 1},
		{"0.000000000000000000E", 0},
		{"9223372036854775807", INT64_MAX},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t bytes = ~0ull;

		assert_int_equal(rf_size_parse(cases[i].text, &bytes), RF_OK);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void wrong_sizes_are_refused_and_change_nothing(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		" 1",
		"1 ",
		"1 K",
		"-1",
		"+1",
		"K",
		"12Q",
		"1KK",
		"1Ki",
		"1iB",
		"1BB",
		"1.5",
		"1.",
		".5G",
		"1..5G",
		"1,5G",
		"0x10",
		"1e3",
		"0.0001K",
		"9223372036854775808",
		"8E",
		"8388608T",
		"18446744073709551616",
		"99999999999999999999999999",
		"1.0000000000000000001K",
	};
	uint64_t bytes = 42;

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(rf_size_parse(cases[i], &bytes), RF_ERR_INVALID);
	assert_int_equal(rf_size_parse(NULL, &bytes), RF_ERR_INVALID);
	assert_int_equal(bytes, 42);
}

static void durations_are_parsed(void **state)
{
	static const struct {
		const char *text;
		uint64_t unit, ms;
	} cases[] = {
		{"500ms", 1000, 500}, {"30s", 1, 30000}, {"2m", 1, 120000},
		{"1h", 1, 3600000},   {"1.5s", 1, 1500}, {"300", 1, 300},
		{"2", 1000, 2000},    {"0", 1000, 0},	 {"0.5", 1000, 500},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t ms = ~0ull;

		assert_int_equal(rf_duration_parse(cases[i].text, cases[i].unit, &ms), RF_OK);
		assert_int_equal(ms, cases[i].ms);
	}
}

static void wrong_durations_are_refused_and_change_nothing(void **state)
{
	static const char *const cases[] = {
		"",
		"s",
		"ms",
		"1us",
		"1S",
		"1 s",
		"-1s",
		"1.s",
		"1sx",
		"1.5ms",
		"0.0001s",
		"1d",
		"9223372036854775807s",
	};
	uint64_t ms = 42;

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(rf_duration_parse(cases[i], 1, &ms), RF_ERR_INVALID);
	assert_int_equal(rf_duration_parse(NULL, 1, &ms), RF_ERR_INVALID);
	assert_int_equal(ms, 42);
}

static void sizes_are_written_for_people(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{4096, "4 KiB"},
		{(1 << 20) - 1, "1.0 MiB"},
		{1 << 20, "1 MiB"},
		{3ull << 29, "1.5 GiB"},
		{(1ull << 40) + 1, "1.0 TiB"},
		{1ull << 60, "1 EiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char buf[16];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_ptr_equal(rf_size_format(cases[i].bytes, buf, sizeof(buf)), buf);
		assert_string_equal(buf, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_parsed),
		cmocka_unit_test(wrong_sizes_are_refused_and_change_nothing),
		cmocka_unit_test(durations_are_parsed),
		cmocka_unit_test(wrong_durations_are_refused_and_change_nothing),
		cmocka_unit_test(sizes_are_written_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
