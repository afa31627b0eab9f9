/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "scheduler/pacer.h"

#define MS  1000000ull
#define SEC (1000 * MS)
#define MIB (1ull << 20)

static void without_a_limit_nothing_waits(void **state)
{
	struct rf_pacer p = {0};

	for (uint64_t t = 1; t < 100; t++) {
		assert_int_equal(rf_pacer_wait(&p, t, 0), 0);
		rf_pacer_take(&p, MIB);
	}
}

/* Bytes that went by `end`, with someone who sleeps as told and wakes up `late` after that. */
static uint64_t send_until(struct rf_pacer *p, uint64_t limit, uint64_t len, uint64_t end,
			   uint64_t late)
{
	uint64_t now = SEC, sum = 0, ns;

	for (end += now; now < end;) {
		ns = rf_pacer_wait(p, now, limit);
		if (ns) {
			now += ns + late;
			continue;
		}
		rf_pacer_take(p, len);
		sum += len;
	}
	return sum;
}

static void assert_near(uint64_t got, uint64_t want, uint64_t slack)
{
	if (got > want + slack || got + slack < want)
		fail_msg("%llu bytes instead of %llu", (unsigned long long)got,
			 (unsigned long long)want);
}

static void the_average_is_the_limit_whatever_the_size(void **state)
{
	static const uint64_t lens[] = {4096, 65536, MIB, 16 * MIB};

	for (size_t i = 0; i < COUNT_OF(lens); i++) {
		struct rf_pacer p = {0};

		assert_near(send_until(&p, 100 * MIB, lens[i], 10 * SEC, 0), 1000 * MIB,
			    lens[i] + 2 * MIB);
	}
}

static void who_wakes_up_late_makes_up_for_it(void **state)
{
	struct rf_pacer p = {0};

	/* up to the burst; without one, 64 KiB that come 5 ms late would be an eighth short */
	assert_near(send_until(&p, 100 * MIB, 65536, 10 * SEC, 5 * MS), 1000 * MIB, 2 * MIB);
}

static void nobody_makes_up_for_a_long_rest(void **state)
{
	struct rf_pacer p = {0};
	uint64_t sum = 0;

	assert_int_equal(rf_pacer_wait(&p, SEC, 100 * MIB), 0);
	while (rf_pacer_wait(&p, 3600 * SEC, 100 * MIB) == 0) {
		rf_pacer_take(&p, 65536);
		sum += 65536;
	}
	assert_true(sum <= 100 * MIB * RF_PACER_BURST_NS / SEC + 65536);
}

static void a_new_limit_counts_at_once(void **state)
{
	struct rf_pacer p = {0};

	assert_int_equal(rf_pacer_wait(&p, SEC, 1024), 0);
	rf_pacer_take(&p, MIB);
	/* a thousand seconds of debt under the old limit, ten milliseconds under the new one */
	assert_true(rf_pacer_wait(&p, SEC + 1, 1024) > 1000 * SEC);
	assert_true(rf_pacer_wait(&p, SEC + 2, 100 * MIB) <= 10 * MS + 1);
	assert_int_equal(rf_pacer_wait(&p, SEC + 3, 0), 0);
	/* and one that is taken off leaves no debt behind */
	assert_int_equal(rf_pacer_wait(&p, SEC + 4, 1024), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nothing_waits),
		cmocka_unit_test(the_average_is_the_limit_whatever_the_size),
		cmocka_unit_test(who_wakes_up_late_makes_up_for_it),
		cmocka_unit_test(nobody_makes_up_for_a_long_rest),
		cmocka_unit_test(a_new_limit_counts_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
