/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "common/digest.h"

#define THREADS 4

static void digest_is_xxh3(void **state)
{
	/* Both sides must agree, whatever they are built with: vectors of the xxHash project. */
	assert_true(rf_digest("", 0) == 0x2d06800538d394c2ull);
	assert_true(rf_digest("a", 1) == 0xe6c632b61e964e1full);
	assert_true(rf_digest("abc", 3) == 0x78af5f94892f3950ull);
}

static void one_bit_makes_another_digest(void **state)
{
	uint8_t *block = calloc(1, RF_DIGEST_BLOCK);
	uint64_t zero = rf_digest(block, RF_DIGEST_BLOCK);

	for (size_t at = 0; at < RF_DIGEST_BLOCK; at += RF_DIGEST_BLOCK / 16 - 1) {
		block[at] ^= 0x10;
		assert_true(rf_digest(block, RF_DIGEST_BLOCK) != zero);
		block[at] ^= 0x10;
	}
	assert_true(rf_digest(block, RF_DIGEST_BLOCK) == zero);
	free(block);
}

static void zero_digests_are_those_of_zeros(void **state)
{
	uint8_t *block = calloc(1, RF_DIGEST_BLOCK);

	/* More lengths than are cached, twice, so that hits and misses are compared. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i <= 20; i++) {
			size_t len = RF_DIGEST_BLOCK - i * 4096;

			assert_true(rf_digest_zero(len) == rf_digest(block, len));
		}
	}
	assert_true(rf_digest_zero(0) == rf_digest(block, 0));
	free(block);
}

struct asker {
	const uint64_t *want;
	unsigned wrong;
};

static void *ask_zero_digests(void *arg)
{
	struct asker *a = arg;

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < 12; i++)
			a->wrong += rf_digest_zero(i * 512 + 64) != a->want[i];
	}
	return NULL;
}

static void threads_may_ask_at_once(void **state)
{
	static uint8_t zeros[12 * 512];
	struct asker askers[THREADS];
	uint64_t want[12];

	for (size_t i = 0; i < COUNT_OF(want); i++)
		want[i] = rf_digest(zeros, i * 512 + 64);
	for (unsigned i = 0; i < THREADS; i++)
		askers[i] = (struct asker){want, 0};
	run_threads(THREADS, ask_zero_digests, askers, sizeof(askers[0]));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(askers[i].wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first, while the cache is empty */
		cmocka_unit_test(threads_may_ask_at_once),
		cmocka_unit_test(digest_is_xxh3),
		cmocka_unit_test(one_bit_makes_another_digest),
		cmocka_unit_test(zero_digests_are_those_of_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
