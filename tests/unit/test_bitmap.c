/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <sched.h>
#include <sys/mman.h>

#include "common/bitmap.h"
#include "common/clock.h"

#define THREADS 4
#define BITS	100003ull /* not a multiple of 64 */

static void fresh_bitmap_is_clear(void **state)
{
	struct rf_bitmap b;

	assert_int_equal(rf_bitmap_init(&b, BITS), RF_OK);
	assert_int_equal(b.nwords, BITS / 64 + 1);
	assert_int_equal(rf_bitmap_count(&b), 0);
	assert_true(rf_bitmap_find_set(&b, 0, BITS) == RF_BITMAP_NONE);
	assert_int_equal(rf_bitmap_find_clear(&b, 0, BITS), 0);
	rf_bitmap_fini(&b);
	assert_null(b.words);
	rf_bitmap_fini(&b);
}

static void empty_bitmap_works(void **state)
{
	struct rf_bitmap b, c;

	assert_int_equal(rf_bitmap_init(&b, 0), RF_OK);
	assert_int_equal(rf_bitmap_init(&c, 0), RF_OK);
	rf_bitmap_set_range(&b, 0, 0);
	rf_bitmap_clear_range(&b, 0, 0);
	assert_int_equal(rf_bitmap_count(&b), 0);
	assert_true(rf_bitmap_find_set(&b, 0, 0) == RF_BITMAP_NONE);
	assert_int_equal(rf_bitmap_move(&b, &c), 0);
	rf_bitmap_fini(&b);
	rf_bitmap_fini(&c);
}

static void too_large_a_bitmap_is_no_memory(void **state)
{
	struct rf_bitmap b;

	assert_int_equal(rf_bitmap_init(&b, UINT64_MAX), RF_ERR_NO_MEMORY);
	rf_bitmap_fini(&b);
}

static void bits_of_a_16_tib_guest_cost_what_is_touched(void **state)
{
	const uint64_t pages = (16ull << 40) / 4096;
	unsigned char resident[4096];
	struct rf_bitmap b;
	size_t n = 0;

	assert_int_equal(rf_bitmap_init(&b, pages), RF_OK);
	rf_bitmap_set(&b, pages - 1);
	assert_true(rf_bitmap_test(&b, pages - 1));
	assert_false(rf_bitmap_test(&b, pages - 2));
	assert_int_equal(rf_bitmap_find_set(&b, pages - 1000, pages), pages - 1);
	/* The first 16 MiB of the 512 MiB of words were not touched. */
	assert_int_equal(mincore((void *)b.words, sizeof(resident) * 4096, resident), 0);
	for (size_t i = 0; i < sizeof(resident); i++)
		n += resident[i] & 1;
	assert_int_equal(n, 0);
	rf_bitmap_fini(&b);
}

static void single_bits_tell_what_they_were(void **state)
{
	struct rf_bitmap b;

	assert_int_equal(rf_bitmap_init(&b, 130), RF_OK);
	assert_false(rf_bitmap_test_and_set(&b, 129));
	assert_true(rf_bitmap_test_and_set(&b, 129));
	assert_true(rf_bitmap_test_and_clear(&b, 129));
	assert_false(rf_bitmap_test_and_clear(&b, 129));
	rf_bitmap_set(&b, 63);
	rf_bitmap_set(&b, 64);
	assert_int_equal(rf_bitmap_count(&b), 2);
	rf_bitmap_clear(&b, 63);
	assert_false(rf_bitmap_test(&b, 63));
	assert_true(rf_bitmap_test(&b, 64));
	rf_bitmap_fini(&b);
}

static void words_tell_what_changed(void **state)
{
	struct rf_bitmap b;

	assert_int_equal(rf_bitmap_init(&b, 128), RF_OK);
	assert_int_equal(rf_bitmap_or_word(&b, 1, 0xf0), 0xf0);
	assert_int_equal(rf_bitmap_or_word(&b, 1, 0xff), 0x0f);
	assert_int_equal(rf_bitmap_or_word(&b, 1, 0), 0);
	assert_int_equal(rf_bitmap_word(&b, 1), 0xff);
	assert_int_equal(rf_bitmap_word(&b, 0), 0);
	assert_int_equal(rf_bitmap_take_word(&b, 1, 0xf00f), 0x0f);
	assert_int_equal(rf_bitmap_take_word(&b, 1, 0xf00f), 0);
	assert_int_equal(rf_bitmap_word(&b, 1), 0xf0);
	rf_bitmap_fini(&b);
}

/* Ranges against an array of bytes, one for a bit. */
static void ranges_agree_with_a_plain_model(void **state)
{
	static uint8_t model[1000];
	uint64_t seed = 1;
	struct rf_bitmap b;

	assert_int_equal(rf_bitmap_init(&b, sizeof(model)), RF_OK);
	for (int round = 0; round < 2000; round++) {
		uint64_t first = next_random(&seed) % (sizeof(model) + 1);
		uint64_t count = next_random(&seed) % (sizeof(model) + 1 - first);
		uint64_t end = first + count, set = RF_BITMAP_NONE, clear = RF_BITMAP_NONE, n = 0;
		bool on = next_random(&seed) & 1;

		if (on)
			rf_bitmap_set_range(&b, first, count);
		else
			rf_bitmap_clear_range(&b, first, count);
		memset(model + first, on, count);
		first = next_random(&seed) % (end + 1);
		for (uint64_t i = end; i-- > first;) {
			*(model[i] ? &set : &clear) = i;
			n += model[i];
		}
		assert_true(rf_bitmap_find_set(&b, first, end) == set);
		assert_true(rf_bitmap_find_clear(&b, first, end) == clear);
		assert_int_equal(rf_bitmap_count_range(&b, first, end - first), n);
	}
	for (uint64_t i = 0; i < sizeof(model); i++)
		assert_int_equal(rf_bitmap_test(&b, i), model[i]);
	rf_bitmap_fini(&b);
}

static void move_adds_to_the_target_and_empties_the_source(void **state)
{
	struct rf_bitmap dst, src;

	assert_int_equal(rf_bitmap_init(&dst, BITS), RF_OK);
	assert_int_equal(rf_bitmap_init(&src, BITS), RF_OK);
	rf_bitmap_set_range(&dst, 10, 10);
	rf_bitmap_set_range(&src, 15, 10);
	rf_bitmap_set(&src, BITS - 1);
	assert_int_equal(rf_bitmap_move(&dst, &src), 16);
	assert_int_equal(rf_bitmap_count(&src), 0);
	assert_int_equal(rf_bitmap_count(&dst), 16);
	assert_int_equal(rf_bitmap_find_clear(&dst, 10, BITS), 25);
	assert_true(rf_bitmap_test(&dst, BITS - 1));
	rf_bitmap_fini(&dst);
	rf_bitmap_fini(&src);
}

/* Threads that claim bits of one bitmap; taken has a bit's claims. */
struct claimer {
	struct rf_bitmap *b;
	_Atomic uint8_t *taken;
	unsigned index;
	uint64_t count;
};

static void *claim_bits(void *arg)
{
	struct claimer *c = arg;
	uint64_t bit = 0;

	if (c->index % 2) { /* half of them single bits, from the front */
		while ((bit = rf_bitmap_find_set(c->b, bit, BITS)) != RF_BITMAP_NONE) {
			if (rf_bitmap_test_and_clear(c->b, bit)) {
				atomic_fetch_add(&c->taken[bit], 1);
				c->count++;
			}
		}
		return NULL;
	}
	for (uint64_t w = c->b->nwords; w-- > 0;) { /* the others words, from the back */
		uint64_t mask = rf_bitmap_take_word(c->b, w, ~0ull << (c->index * 8));

		for (; mask; mask &= mask - 1) {
			atomic_fetch_add(&c->taken[w * 64 + (unsigned)__builtin_ctzll(mask)], 1);
			c->count++;
		}
	}
	return NULL;
}

static void every_bit_is_claimed_by_one_thread(void **state)
{
	_Atomic uint8_t *taken = calloc(BITS, 1);
	struct claimer claimers[THREADS];
	uint64_t total = 0;
	struct rf_bitmap b;

	assert_int_equal(rf_bitmap_init(&b, BITS), RF_OK);
	for (int round = 0; round < 5; round++) {
		rf_bitmap_set_range(&b, 0, BITS);
		for (unsigned i = 0; i < THREADS; i++)
			claimers[i] = (struct claimer){&b, taken, i, 0};
		run_threads(THREADS, claim_bits, claimers, sizeof(claimers[0]));
		for (unsigned i = 0; i < THREADS; i++)
			total += claimers[i].count;
		for (uint64_t i = 0; i < BITS; i++)
			assert_int_equal(taken[i], round + 1);
		assert_int_equal(total, BITS * (unsigned)(round + 1));
		assert_int_equal(rf_bitmap_count(&b), 0);
	}
	rf_bitmap_fini(&b);
	free(taken);
}

/*
 * Setters each set a burst of bits of src and wait until a mover has brought them to dst, over
 * and over. All bits are in one word, so that a move that is not atomic would soon lose one.
 */
#define HAND_OVERS 1000
#define BURST	   16

struct setter {
	struct rf_bitmap *src, *dst;
	_Atomic unsigned *running;
	unsigned index; /* THREADS - 1 moves, the others set */
	bool lost;
};

/* False if the bit does not come within ten seconds. */
static bool await_bit(struct rf_bitmap *b, uint64_t bit)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + 10 * RF_NS_PER_SEC;

	while (!rf_bitmap_test_and_clear(b, bit)) {
		if (rf_now_ns(&rf_clock_monotonic) > deadline)
			return false;
		sched_yield();
	}
	return true;
}

static void *set_or_move(void *arg)
{
	struct setter *s = arg;

	if (s->index == THREADS - 1) {
		while (atomic_load(s->running))
			rf_bitmap_move(s->dst, s->src);
		return NULL;
	}
	for (unsigned i = 0; i < HAND_OVERS && !s->lost; i++) {
		uint64_t first = (uint64_t)s->index * BURST;

		for (uint64_t bit = first; bit < first + BURST; bit++) {
			if (bit % 2)
				rf_bitmap_set(s->src, bit);
			else
				rf_bitmap_or_word(s->src, 0, 1ull << bit);
		}
		for (uint64_t bit = first; bit < first + BURST; bit++)
			s->lost = s->lost || !await_bit(s->dst, bit);
	}
	atomic_fetch_sub(s->running, 1);
	return NULL;
}

static void move_loses_no_bit_that_is_set_meanwhile(void **state)
{
	_Atomic unsigned running = THREADS - 1;
	struct setter setters[THREADS];
	struct rf_bitmap src, dst;

	assert_int_equal(rf_bitmap_init(&src, 64), RF_OK);
	assert_int_equal(rf_bitmap_init(&dst, 64), RF_OK);
	for (unsigned i = 0; i < THREADS; i++)
		setters[i] = (struct setter){&src, &dst, &running, i, false};
	run_threads(THREADS, set_or_move, setters, sizeof(setters[0]));
	for (unsigned i = 0; i < THREADS; i++)
		assert_false(setters[i].lost);
	rf_bitmap_fini(&src);
	rf_bitmap_fini(&dst);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fresh_bitmap_is_clear),
		cmocka_unit_test(empty_bitmap_works),
		cmocka_unit_test(too_large_a_bitmap_is_no_memory),
		cmocka_unit_test(bits_of_a_16_tib_guest_cost_what_is_touched),
		cmocka_unit_test(single_bits_tell_what_they_were),
		cmocka_unit_test(words_tell_what_changed),
		cmocka_unit_test(ranges_agree_with_a_plain_model),
		cmocka_unit_test(move_adds_to_the_target_and_empties_the_source),
		cmocka_unit_test(every_bit_is_claimed_by_one_thread),
		cmocka_unit_test(move_loses_no_bit_that_is_set_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
