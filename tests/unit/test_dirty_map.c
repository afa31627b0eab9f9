/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "scheduler/dirty_map.h"

static struct rf_dirty_map map;

static int make_map(void **state)
{
	return rf_dirty_map_init(&map, 1000);
}

static int drop_map(void **state)
{
	rf_dirty_map_fini(&map);
	return 0;
}

static uint64_t advance(struct rf_dirty_map *m)
{
	uint64_t avoided = 0;

	return rf_dirty_map_advance(m, &avoided);
}

static void set_pending(uint64_t first, uint64_t count)
{
	rf_bitmap_set_range(&map.pending, first, count);
}

/* The next claim is [first, first + count); count 0: there is none. */
static void assert_claims(uint64_t from, uint64_t end, uint64_t max, uint64_t first, uint64_t count)
{
	struct rf_page_run run = {0};

	assert_int_equal(rf_dirty_map_claim(&map, from, end, max, &run), count > 0);
	if (!count)
		return;
	assert_int_equal(run.first, first);
	assert_int_equal(run.count, count);
	assert_int_equal(rf_bitmap_count_range(&map.pending, first, count), 0);
}

static void nothing_is_pending_at_first(void **state)
{
	assert_claims(0, 1000, 1000, 0, 0);
	assert_int_equal(advance(&map), 0);
}

static void a_run_is_claimed_whole(void **state)
{
	/* runs that begin, end and lie around the borders of 64-bit words */
	static const struct rf_page_run runs[] = {
		{0, 1},	  {0, 64},  {0, 65},   {63, 1},	 {63, 2},   {1, 62},   {64, 64},
		{60, 10}, {5, 300}, {127, 66}, {999, 1}, {936, 64}, {0, 1000},
	};

	for (size_t i = 0; i < COUNT_OF(runs); i++) {
		set_pending(runs[i].first, runs[i].count);
		assert_claims(0, 1000, 1000, runs[i].first, runs[i].count);
		assert_claims(0, 1000, 1000, 0, 0);
	}
}

static void a_gap_ends_a_run(void **state)
{
	for (uint64_t gap = 1; gap < 200; gap++) {
		set_pending(0, 200);
		rf_bitmap_clear(&map.pending, gap);
		assert_claims(0, 1000, 1000, 0, gap);
		if (gap < 199)
			assert_claims(0, 1000, 1000, gap + 1, 199 - gap);
		assert_claims(0, 1000, 1000, 0, 0);
	}
}

static void no_more_than_max_is_claimed(void **state)
{
	for (uint64_t max = 1; max < 140; max++) {
		uint64_t at = 50, left = 150;

		set_pending(at, left);
		while (left) {
			uint64_t n = left < max ? left : max;

			assert_claims(0, 1000, max, at, n);
			at += n;
			left -= n;
		}
		assert_claims(0, 1000, max, 0, 0);
	}
}

static void the_range_is_kept(void **state)
{
	set_pending(100, 200);
	assert_claims(0, 100, 1000, 0, 0);
	assert_claims(300, 1000, 1000, 0, 0);
	assert_claims(0, 101, 1000, 100, 1);
	assert_claims(150, 193, 1000, 150, 43);
	assert_claims(0, 1000, 1000, 101, 49);
	assert_claims(0, 1000, 1000, 193, 107);
	assert_claims(0, 1000, 1000, 0, 0);
}

static void unclaimed_pages_are_pending_again(void **state)
{
	struct rf_page_run run;

	set_pending(60, 10);
	assert_true(rf_dirty_map_claim(&map, 0, 1000, 1000, &run));
	rf_dirty_map_unclaim(&map, &run);
	assert_claims(0, 1000, 1000, 60, 10);
}

static void advance_moves_next_and_counts(void **state)
{
	set_pending(0, 10);
	rf_bitmap_set_range(&map.next, 5, 100);
	assert_int_equal(advance(&map), 105);
	assert_int_equal(rf_bitmap_count(&map.next), 0);
	assert_claims(0, 1000, 1000, 0, 105);
	rf_bitmap_set(&map.next, 999);
	assert_int_equal(advance(&map), 1);
	assert_claims(0, 1000, 1000, 999, 1);
	assert_int_equal(advance(&map), 0);
}

/* ---- several senders ---- */

#define PAGES	20000u
#define CLAIMER 4u

static struct rf_dirty_map shared;
static _Atomic uint8_t times_claimed[PAGES];
static pthread_barrier_t start_line;

struct claimer {
	uint64_t max;
	uint64_t got;
	uint64_t given_back;
	uint64_t seed;
};

static void *claim_all(void *arg)
{
	struct claimer *c = arg;
	struct rf_page_run run;

	pthread_barrier_wait(&start_line);
	while (rf_dirty_map_claim(&shared, 0, PAGES, c->max, &run)) {
		if (next_random(&c->seed) % 8 == 0) {
			rf_dirty_map_unclaim(&shared, &run);
			c->given_back++;
			continue;
		}
		for (uint64_t i = 0; i < run.count; i++)
			atomic_fetch_add_explicit(&times_claimed[run.first + i], 1,
						  memory_order_relaxed);
		c->got += run.count;
	}
	return NULL;
}

static void each_page_is_claimed_by_one(void **state)
{
	struct claimer c[CLAIMER] = {{.max = 1, .seed = 1},
				     {.max = 7, .seed = 2},
				     {.max = 64, .seed = 3},
				     {.max = 1000, .seed = 4}};
	uint64_t expected = 0, got = 0;

	assert_int_equal(rf_dirty_map_init(&shared, PAGES), RF_OK);
	for (uint64_t p = 0; p < PAGES; p++) {
		times_claimed[p] = 0;
		if (p % 13 == 0)
			continue;
		rf_bitmap_set(&shared.pending, p);
		expected++;
	}
	pthread_barrier_init(&start_line, NULL, CLAIMER);
	run_threads(CLAIMER, claim_all, c, sizeof(c[0]));
	pthread_barrier_destroy(&start_line);
	/* A claim that was given back behind the last look of all others is still there. */
	assert_true(rf_bitmap_count(&shared.pending) == 0);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(times_claimed[p], p % 13 != 0);
	for (unsigned i = 0; i < CLAIMER; i++)
		got += c[i].got;
	assert_int_equal(got, expected);
	rf_dirty_map_fini(&shared);
}

/* ---- a tracker marks while a sender claims ---- */

static _Atomic bool marking;

static void *mark_next(void *arg)
{
	pthread_barrier_wait(&start_line);
	for (unsigned round = 0; round < 50; round++)
		rf_bitmap_set_range(&shared.next, 0, PAGES);
	atomic_store(&marking, false);
	return NULL;
}

static void *advance_and_claim(void *arg)
{
	struct claimer *c = arg;
	struct rf_page_run run;
	bool last;

	pthread_barrier_wait(&start_line);
	do {
		last = !atomic_load(&marking);
		c->given_back = advance(&shared);
		for (c->got = 0; rf_dirty_map_claim(&shared, 0, PAGES, c->max, &run);)
			c->got += run.count;
		if (c->got != c->given_back)
			break;
	} while (!last);
	return NULL;
}

struct job {
	void *(*fn)(void *);
	struct claimer c;
};

static void *run_job(void *arg)
{
	struct job *j = arg;

	return j->fn(&j->c);
}

static void marks_while_advancing_are_kept(void **state)
{
	struct job jobs[] = {{.fn = mark_next}, {.fn = advance_and_claim, .c = {.max = 256}}};

	assert_int_equal(rf_dirty_map_init(&shared, PAGES), RF_OK);
	atomic_store(&marking, true);
	pthread_barrier_init(&start_line, NULL, 2);
	run_threads(2, run_job, jobs, sizeof(jobs[0]));
	pthread_barrier_destroy(&start_line);
	/* what advance counted is what was claimed then, each time */
	assert_int_equal(jobs[1].c.got, jobs[1].c.given_back);
	assert_int_equal(rf_bitmap_count(&shared.next), 0);
	rf_dirty_map_fini(&shared);
}

/* ---- what harvests find ---- */

static struct rf_bitmap found;

/* A harvest finds these pages. */
static struct rf_dirty_found absorb(const uint64_t *pages, size_t n, bool in_round)
{
	struct rf_dirty_found sum = {0};

	if (!found.words)
		assert_int_equal(rf_bitmap_init(&found, 2000), RF_OK); /* of a larger region */
	for (size_t i = 0; i < n; i++)
		rf_bitmap_set(&found, pages[i]);
	rf_dirty_map_absorb(&map, &found, in_round, &sum);
	assert_int_equal(rf_bitmap_count(&found), 0);
	return sum;
}
#define ABSORB(in_round, ...) \
	absorb((const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8, in_round)

static void what_is_still_pending_is_not_sent_twice(void **state)
{
	struct rf_dirty_found f;
	uint64_t avoided = 0;

	set_pending(60, 10);
	f = ABSORB(true, 61, 63, 64, 500, 999);
	assert_int_equal(f.dirtied, 5);
	assert_int_equal(f.again, 2);
	assert_claims(0, 1000, 1000, 60, 10);
	assert_int_equal(rf_dirty_map_advance(&map, &avoided), 2);
	assert_int_equal(avoided, 3);
	assert_claims(0, 1000, 1000, 500, 1);
	assert_claims(0, 1000, 1000, 999, 1);
	/* and each is counted once */
	assert_int_equal(rf_dirty_map_advance(&map, &avoided), 0);
	assert_int_equal(avoided, 3);
}

static void what_is_written_after_all_was_not_avoided(void **state)
{
	uint64_t avoided = 0;

	set_pending(60, 10);
	(void)ABSORB(true, 61, 62);
	assert_claims(0, 1000, 1000, 60, 10);
	assert_int_equal(ABSORB(false, 62, 300).again, 2);
	assert_int_equal(ABSORB(false, 62).again, 0); /* it is in next already */
	assert_int_equal(rf_dirty_map_advance(&map, &avoided), 2);
	assert_int_equal(avoided, 1);
}

/* Between rounds nothing is on its way: what is found pending would have gone once anyhow. */
static void only_in_a_round_is_something_avoided(void **state)
{
	uint64_t avoided = 0;

	set_pending(0, 1000);
	assert_int_equal(ABSORB(false, 1, 2, 3).again, 0);
	assert_int_equal(rf_dirty_map_advance(&map, &avoided), 1000);
	assert_int_equal(avoided, 0);
}

static void twice_in_a_round_is_hot(void **state)
{
	set_pending(0, 1000);
	(void)ABSORB(true, 64, 65, 66, 128);
	assert_int_equal(rf_bitmap_count(&map.hot), 0);
	(void)ABSORB(true, 900);
	(void)ABSORB(true, 64, 65, 129);
	assert_int_equal(rf_bitmap_count(&map.hot), 2);
	/* and in the next one */
	(void)advance(&map);
	assert_int_equal(rf_bitmap_count(&map.hot), 2);
	(void)ABSORB(true, 66, 128); /* counted anew */
	assert_int_equal(rf_bitmap_count(&map.hot), 2);
	(void)ABSORB(true, 128);
	assert_int_equal(rf_bitmap_count(&map.hot), 3);
	/* but not in that after it, unless it is hot again */
	(void)advance(&map);
	assert_int_equal(rf_bitmap_count(&map.hot), 1);
	assert_true(rf_bitmap_test(&map.hot, 128));
	(void)advance(&map);
	assert_int_equal(rf_bitmap_count(&map.hot), 0);
}

/* With a harvest a round nobody knows what is hot. */
static void a_harvest_a_round_makes_nothing_hot(void **state)
{
	for (unsigned round = 0; round < 5; round++) {
		(void)ABSORB(false, 64, 65);
		(void)advance(&map);
		assert_int_equal(rf_bitmap_count(&map.hot), 0);
	}
}

static void a_word_is_hot_if_most_of_what_is_pending_is(void **state)
{
	set_pending(64, 5);
	(void)ABSORB(true, 64, 65, 200);
	(void)ABSORB(true, 64, 65, 200);
	assert_false(rf_dirty_map_is_hot(&map, 64)); /* two of five */
	assert_claims(66, 1000, 2, 66, 2);
	assert_true(rf_dirty_map_is_hot(&map, 127));  /* two of three */
	assert_false(rf_dirty_map_is_hot(&map, 200)); /* not pending */
}

static int drop_both(void **state)
{
	rf_bitmap_fini(&found);
	return drop_map(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_still_pending_is_not_sent_twice, make_map,
						drop_both),
		cmocka_unit_test_setup_teardown(what_is_written_after_all_was_not_avoided, make_map,
						drop_both),
		cmocka_unit_test_setup_teardown(only_in_a_round_is_something_avoided, make_map,
						drop_both),
		cmocka_unit_test_setup_teardown(twice_in_a_round_is_hot, make_map, drop_both),
		cmocka_unit_test_setup_teardown(a_harvest_a_round_makes_nothing_hot, make_map,
						drop_both),
		cmocka_unit_test_setup_teardown(a_word_is_hot_if_most_of_what_is_pending_is,
						make_map, drop_both),
		cmocka_unit_test_setup_teardown(nothing_is_pending_at_first, make_map, drop_map),
		cmocka_unit_test_setup_teardown(a_run_is_claimed_whole, make_map, drop_map),
		cmocka_unit_test_setup_teardown(a_gap_ends_a_run, make_map, drop_map),
		cmocka_unit_test_setup_teardown(no_more_than_max_is_claimed, make_map, drop_map),
		cmocka_unit_test_setup_teardown(the_range_is_kept, make_map, drop_map),
		cmocka_unit_test_setup_teardown(unclaimed_pages_are_pending_again, make_map,
						drop_map),
		cmocka_unit_test_setup_teardown(advance_moves_next_and_counts, make_map, drop_map),
		cmocka_unit_test(each_page_is_claimed_by_one),
		cmocka_unit_test(marks_while_advancing_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
