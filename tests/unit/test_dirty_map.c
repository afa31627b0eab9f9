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
	assert_int_equal(rf_dirty_map_advance(&map), 0);
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
	assert_int_equal(rf_dirty_map_advance(&map), 105);
	assert_int_equal(rf_bitmap_count(&map.next), 0);
	assert_claims(0, 1000, 1000, 0, 105);
	rf_bitmap_set(&map.next, 999);
	assert_int_equal(rf_dirty_map_advance(&map), 1);
	assert_claims(0, 1000, 1000, 999, 1);
	assert_int_equal(rf_dirty_map_advance(&map), 0);
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
		c->given_back = rf_dirty_map_advance(&shared);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
