/* SPDX-License-Identifier: BSD-3-Clause */
/* How link timeouts become ack timeouts. */
#include "tests/unit/unit.h"

#include "transport/verbs/verbs_timing.h"

static void known_values(void **state)
{
	static const struct {
		uint32_t link, timeout, detection;
	} table[] = {
		{0, 10, 30},	    {1, 10, 30},	  {58, 10, 30},
		{59, 11, 59},	    {100, 11, 59},	  {117, 11, 59},
		{118, 12, 118},	    {1000, 15, 940},	  {3000, 16, 1880},
		{10000, 18, 7517},  {30000, 19, 15033},	  {30065, 20, 30065},
		{60000, 20, 30065}, {3600000, 20, 30065}, {UINT32_MAX, 20, 30065},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		struct rf_verbs_timing t = rf_verbs_timing_of(table[i].link);

		assert_int_equal(t.timeout, table[i].timeout);
		assert_int_equal(rf_verbs_timing_detection_ms(t), table[i].detection);
	}
}

/* Soft-RoCE takes 7 for "without end". */
static void retries_end(void **state)
{
	for (uint32_t link = 0; link < 100000; link += 37)
		assert_in_range(rf_verbs_timing_of(link).retries, 1, 6);
}

static void between_half_and_whole(void **state)
{
	for (uint32_t link = 60; link < 60000; link += 11) {
		uint32_t ms = rf_verbs_timing_detection_ms(rf_verbs_timing_of(link));

		assert_true(ms <= link + 1);
		assert_true(ms * 2 >= link || link > 30065);
	}
}

static void longer_links_are_never_given_up_sooner(void **state)
{
	uint32_t before = 0;

	for (uint32_t link = 0; link < 100000; link += 13) {
		uint32_t ms = rf_verbs_timing_detection_ms(rf_verbs_timing_of(link));

		assert_true(ms >= before);
		before = ms;
	}
}

/* The lane's clock is the last resort: the device comes first, with room to spare. */
static void clock_is_behind_the_device(void **state)
{
	for (uint32_t link = 1; link < 1000000; link += 997) {
		uint32_t ms = rf_verbs_timing_detection_ms(rf_verbs_timing_of(link));

		assert_true(rf_verbs_timing_silence_ms(link) >= 2 * ms);
		assert_true(rf_verbs_timing_silence_ms(link) >= 2 * link);
	}
	assert_int_equal(rf_verbs_timing_silence_ms(UINT32_MAX), UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(retries_end),
		cmocka_unit_test(between_half_and_whole),
		cmocka_unit_test(longer_links_are_never_given_up_sooner),
		cmocka_unit_test(clock_is_behind_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
