/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <math.h>

#include "common/histogram.h"

#define THREADS 4
#define ADDS	20000
#define SAMPLES 10000

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void empty_histogram_is_zero(void **state)
{
	struct rf_histogram h;
	uint64_t out[3];

	rf_histogram_init(&h);
	assert_int_equal(rf_histogram_percentile(&h, 50), 0);
	assert_true(rf_histogram_mean(&h) == 0);
	assert_true(rf_histogram_stdev(&h) == 0);
	rf_histogram_pow2_us(&h, out, 3);
	assert_int_equal(out[0] + out[1] + out[2], 0);
}

static void one_sample_is_every_percentile(void **state)
{
	static const uint64_t values[] = {0, 1, 15, 16, 17, 1000003, INT64_MAX, UINT64_MAX};
	static const double ps[] = {0, 0.001, 50, 99.9, 100};

	for (size_t i = 0; i < COUNT_OF(values); i++) {
		struct rf_histogram h;

		rf_histogram_init(&h);
		rf_histogram_add(&h, values[i]);
		for (size_t j = 0; j < COUNT_OF(ps); j++)
			assert_true(rf_histogram_percentile(&h, ps[j]) == values[i]);
	}
}

/* Every percentile of sorted v by its definition, nearest rank, in whole thousandths. */
static uint64_t exact_percentile(const uint64_t *v, uint64_t n, unsigned thousandths)
{
	uint64_t rank = (n * thousandths + 99999) / 100000;

	return v[rank ? rank - 1 : 0];
}

static void check_percentiles(uint64_t *v, uint64_t n)
{
	static const unsigned ps[] = {0,     1000,  10000, 25000, 50000, 75000,
				      90000, 95000, 99000, 99900, 99990, 100000};
	static struct rf_histogram h;

	rf_histogram_init(&h);
	for (uint64_t i = 0; i < n; i++)
		rf_histogram_add(&h, v[i]);
	qsort(v, n, sizeof(v[0]), compare);
	for (size_t i = 0; i < COUNT_OF(ps); i++) {
		uint64_t exact = exact_percentile(v, n, ps[i]);
		uint64_t got = rf_histogram_percentile(&h, ps[i] / 1000.0);

		/* The upper end of the exact value's bucket: never under, at most 1/16 over. */
		assert_true(got >= exact);
		assert_true(got - exact <= exact / 16);
		assert_true(got <= v[n - 1] && got >= v[0]);
	}
	assert_true(atomic_load(&h.min) == v[0]);
	assert_true(atomic_load(&h.max) == v[n - 1]);
	assert_true(rf_histogram_percentile(&h, 100) == v[n - 1]);
}

static void percentiles_agree_with_sorted_samples(void **state)
{
	static uint64_t v[SAMPLES];
	uint64_t seed = 7;

	for (unsigned width = 2; width <= 62; width += 6) {
		for (unsigned n = 1; n <= SAMPLES; n *= 10) {
			for (unsigned i = 0; i < n; i++) /* wide at the top, thin at the bottom */
				v[i] = next_random(&seed) >> (64 - width) >>
				       (next_random(&seed) % width);
			check_percentiles(v, n);
		}
	}
}

static void small_values_are_exact(void **state)
{
	struct rf_histogram h;

	rf_histogram_init(&h);
	for (uint64_t i = 1; i <= 10; i++)
		rf_histogram_add(&h, i);
	for (unsigned p = 1; p <= 100; p++)
		assert_int_equal(rf_histogram_percentile(&h, p), (p + 9) / 10);
	assert_int_equal(rf_histogram_percentile(&h, 0), 1);
}

static void a_rank_is_not_raised_by_rounding(void **state)
{
	struct rf_histogram h;

	/* 16.1% of 1000 is rank 161, but 161.00000000000003 in binary. */
	rf_histogram_init(&h);
	for (unsigned i = 0; i < 1000; i++)
		rf_histogram_add(&h, i < 161 ? 1 : 15);
	assert_int_equal(rf_histogram_percentile(&h, 16.1), 1);
	assert_int_equal(rf_histogram_percentile(&h, 16.11), 15);
}

static void mean_and_deviation_are_exact(void **state)
{
	static const uint64_t values[] = {2, 4, 4, 4, 5, 5, 7, 9};
	struct rf_histogram h;

	rf_histogram_init(&h);
	for (size_t i = 0; i < COUNT_OF(values); i++)
		rf_histogram_add(&h, values[i]);
	assert_true(rf_histogram_mean(&h) == 5);
	assert_true(fabs(rf_histogram_stdev(&h) - 2) < 1e-9);
	rf_histogram_init(&h);
	for (int i = 0; i < 1000; i++)
		rf_histogram_add(&h, 123456789);
	assert_true(rf_histogram_stdev(&h) < 100); /* of rounding only */
}

static void merged_histograms_are_one(void **state)
{
	struct rf_histogram a, b, both;
	uint64_t seed = 3;

	rf_histogram_init(&a);
	rf_histogram_init(&b);
	rf_histogram_init(&both);
	for (int i = 0; i < 1000; i++) {
		uint64_t v = next_random(&seed) >> 40;

		rf_histogram_add(i % 3 ? &a : &b, v);
		rf_histogram_add(&both, v);
	}
	rf_histogram_merge(&a, &b);
	rf_histogram_init(&b);
	rf_histogram_merge(&a, &b); /* an empty one changes nothing */
	for (unsigned p = 0; p <= 100; p += 5)
		assert_int_equal(rf_histogram_percentile(&a, p), rf_histogram_percentile(&both, p));
	assert_int_equal(atomic_load(&a.n), 1000);
	assert_int_equal(atomic_load(&a.sum), atomic_load(&both.sum));
	assert_int_equal(atomic_load(&a.min), atomic_load(&both.min));
	assert_int_equal(atomic_load(&a.max), atomic_load(&both.max));
	assert_true(fabs(rf_histogram_stdev(&a) - rf_histogram_stdev(&both)) < 1);
}

static void microseconds_fall_into_powers_of_two(void **state)
{
	static const struct {
		uint64_t ns;
		unsigned bucket;
	} cases[] = {
		{0, 0},	   {999, 0},   {1500, 0},  {2200, 1},	 {3500, 1},
		{4300, 2}, {15000, 3}, {17500, 4}, {1000000, 9}, {3000000000, 9},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t out[10], total = 0;
		struct rf_histogram h;

		rf_histogram_init(&h);
		rf_histogram_add(&h, cases[i].ns);
		rf_histogram_pow2_us(&h, out, COUNT_OF(out));
		for (size_t j = 0; j < COUNT_OF(out); j++)
			total += out[j];
		assert_int_equal(out[cases[i].bucket], 1);
		assert_int_equal(total, 1);
	}
}

static void *add_samples(void *arg)
{
	struct rf_histogram *h = *(struct rf_histogram **)arg;

	for (uint64_t i = 1; i <= ADDS; i++)
		rf_histogram_add(h, i);
	return NULL;
}

static void threads_lose_no_sample(void **state)
{
	struct rf_histogram h, *args[THREADS];
	const uint64_t sum = (uint64_t)ADDS * (ADDS + 1) / 2;

	rf_histogram_init(&h);
	for (unsigned i = 0; i < THREADS; i++)
		args[i] = &h;
	run_threads(THREADS, add_samples, args, sizeof(void *));
	assert_int_equal(atomic_load(&h.n), THREADS * ADDS);
	assert_int_equal(atomic_load(&h.sum), THREADS * sum);
	assert_int_equal(atomic_load(&h.min), 1);
	assert_int_equal(atomic_load(&h.max), ADDS);
	/* The sum of squares is n(n+1)(2n+1)/6; all its parts are whole numbers under 2^53. */
	assert_true(atomic_load(&h.sumsq) * 3 == (double)(THREADS * sum * (2 * ADDS + 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_histogram_is_zero),
		cmocka_unit_test(one_sample_is_every_percentile),
		cmocka_unit_test(percentiles_agree_with_sorted_samples),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(a_rank_is_not_raised_by_rounding),
		cmocka_unit_test(mean_and_deviation_are_exact),
		cmocka_unit_test(merged_histograms_are_one),
		cmocka_unit_test(microseconds_fall_into_powers_of_two),
		cmocka_unit_test(threads_lose_no_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
