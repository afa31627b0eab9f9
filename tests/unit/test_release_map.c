/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "scheduler/release_map.h"

#define PAGES 200u

struct fixture {
	struct rf_bitmap missing;
	struct rf_release_map map;
	bool taken[1u << 16];
};

/* host, unit: in pages; first and n of `missing`: in host pages, pairs up to a count of 0. */
static void begin(struct fixture *f, uint64_t pages, uint64_t host, uint64_t unit,
		  const uint64_t (*missing)[2])
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(rf_bitmap_init(&f->missing, pages / host), RF_OK);
	for (; missing && (*missing)[1]; missing++)
		rf_bitmap_set_range(&f->missing, (*missing)[0], (*missing)[1]);
	assert_int_equal(rf_release_map_init(&f->map, &f->missing, pages, host, unit), RF_OK);
}

static void end(struct fixture *f)
{
	rf_bitmap_fini(&f->missing);
	rf_release_map_fini(&f->map);
}

/* Takes all there is in runs of about most pages; returns how many pages. None twice, none held. */
static uint64_t take_all(struct fixture *f, uint64_t most)
{
	uint64_t limit = most > f->map.unit ? most : f->map.unit, n = 0;
	struct rf_page_run run;

	while (rf_release_map_next(&f->map, most, &run)) {
		assert_true(run.count > 0 && run.count <= limit);
		assert_int_equal(run.first % f->map.unit, 0);
		assert_true(run.first + run.count <= f->map.npages);
		for (uint64_t p = run.first; p < run.first + run.count; p++) {
			assert_false(f->taken[p]);
			assert_false(rf_bitmap_test(&f->map.held, p / f->map.host));
			f->taken[p] = true;
		}
		n += run.count;
	}
	return n;
}

static void what_was_never_missing_goes_at_once(void **state)
{
	static const uint64_t missing[][2] = {{10, 5}, {100, 1}, {199, 1}, {0, 0}};
	static const uint64_t sizes[] = {1, 7, 64, 1000};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		static struct fixture f;

		begin(&f, PAGES, 1, 1, missing);
		assert_int_equal(take_all(&f, sizes[i]), PAGES - 7);
		assert_false(f.taken[10] || f.taken[14] || f.taken[100] || f.taken[199]);
		assert_int_equal(take_all(&f, sizes[i]), 0);
		end(&f);
	}
}

static void what_is_missing_goes_when_it_has_landed(void **state)
{
	static const uint64_t all[][2] = {{0, PAGES}, {0, 0}};
	static struct fixture f;

	begin(&f, PAGES, 1, 1, all);
	assert_int_equal(take_all(&f, 64), 0);
	assert_int_equal(rf_release_map_landed(&f.map, 20, 30), RF_OK);
	assert_int_equal(take_all(&f, 64), 30);
	assert_true(f.taken[20] && f.taken[49]);
	/* before and behind it, also where it was looked for last */
	assert_int_equal(rf_release_map_landed(&f.map, 0, 5), RF_OK);
	assert_int_equal(rf_release_map_landed(&f.map, 199, 1), RF_OK);
	assert_int_equal(take_all(&f, 2), 6);
	assert_int_equal(rf_release_map_landed(&f.map, 5, 15), RF_OK);
	assert_int_equal(rf_release_map_landed(&f.map, 50, 149), RF_OK);
	assert_int_equal(take_all(&f, 64), 164);
	assert_int_equal(take_all(&f, 64), 0);
	end(&f);
}

/* What lands before the sweep has come by is taken by it, once. */
static void landing_may_be_faster_than_the_sweep(void **state)
{
	static const uint64_t missing[][2] = {{50, 100}, {0, 0}};
	static struct fixture f;
	struct rf_page_run run;

	begin(&f, PAGES, 1, 1, missing);
	assert_true(rf_release_map_next(&f.map, 10, &run));
	for (uint64_t p = 0; p < run.count; p++)
		f.taken[run.first + p] = true;
	assert_int_equal(rf_release_map_landed(&f.map, 50, 70), RF_OK);
	assert_int_equal(take_all(&f, 64) + run.count, PAGES - 30);
	assert_int_equal(rf_release_map_landed(&f.map, 120, 30), RF_OK);
	assert_int_equal(take_all(&f, 64), 30);
	end(&f);
}

static void huge_pages_go_as_a_whole(void **state)
{
	static const uint64_t missing[][2] = {{1, 2}, {0, 0}};
	static struct fixture f;

	begin(&f, 4 * 512, 512, 512, missing);
	assert_int_equal(take_all(&f, 64), 2 * 512);
	assert_int_equal(rf_release_map_landed(&f.map, 512, 256), RF_ERR_PROTOCOL);
	assert_int_equal(rf_release_map_landed(&f.map, 513, 512), RF_ERR_PROTOCOL);
	assert_int_equal(take_all(&f, 64), 0);
	assert_int_equal(rf_release_map_landed(&f.map, 1024, 512), RF_OK);
	assert_int_equal(take_all(&f, 64), 512);
	assert_false(f.taken[512]);
	end(&f);
}

/* Chunks of 16 pages, the last one shorter: one goes when nothing of it is held. */
static void chunks_go_as_a_whole(void **state)
{
	static const uint64_t missing[][2] = {{3, 1}, {30, 40}, {199, 1}, {0, 0}};
	static struct fixture f;

	begin(&f, PAGES, 1, 16, missing);
	/* held: chunks 0, 1 to 4, 12 */
	assert_int_equal(take_all(&f, 64), PAGES - 5 * 16 - 8);
	assert_int_equal(rf_release_map_landed(&f.map, 30, 20), RF_OK);
	assert_int_equal(take_all(&f, 64), 2 * 16);
	assert_true(f.taken[16] && f.taken[47]);
	assert_int_equal(rf_release_map_landed(&f.map, 199, 1), RF_OK);
	assert_int_equal(take_all(&f, 64), 8);
	assert_int_equal(rf_release_map_landed(&f.map, 50, 20), RF_OK);
	assert_int_equal(take_all(&f, 64), 2 * 16);
	assert_int_equal(rf_release_map_landed(&f.map, 3, 1), RF_OK);
	assert_int_equal(take_all(&f, 64), 16);
	for (unsigned p = 0; p < PAGES; p++)
		assert_true(f.taken[p]);
	end(&f);
}

static void what_cannot_have_landed_is_refused(void **state)
{
	static const uint64_t missing[][2] = {{10, 10}, {0, 0}};
	static const struct {
		uint64_t first, count;
	} wrong[] = {
		{9, 1},		      /* never missing */
		{19, 2},	      /* in part */
		{9, 12},	      /* likewise */
		{10, 0},	      /* nothing */
		{PAGES, 1},	      /* outside */
		{10, PAGES},	      /* out of it */
		{10, UINT64_MAX - 5}, /* round the corner */
		{UINT64_MAX, 1},
	};
	static struct fixture f;

	begin(&f, PAGES, 1, 1, missing);
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		assert_int_equal(rf_release_map_landed(&f.map, wrong[i].first, wrong[i].count),
				 RF_ERR_PROTOCOL);
	/* nothing has changed */
	assert_int_equal(take_all(&f, 64), PAGES - 10);
	assert_int_equal(rf_release_map_landed(&f.map, 10, 10), RF_OK);
	assert_int_equal(rf_release_map_landed(&f.map, 10, 1), RF_ERR_PROTOCOL); /* twice */
	assert_int_equal(take_all(&f, 64), 10);
	end(&f);
}

/* Any order of landing and taking gives back every page once and no held one. */
static void in_any_order_every_page_goes_once(void **state)
{
	static const uint64_t shapes[][2] = {{1, 1},  {1, 64},	  {4, 4},
					     {4, 32}, {512, 512}, {512, 4096}};
	uint64_t seed = 20260101;

	for (unsigned run = 0; run < 120; run++) {
		static struct fixture f;
		uint64_t host = shapes[run % 6][0], pages = host * (1 + next_random(&seed) % 100);
		uint64_t left, taken = 0;

		begin(&f, pages, host, shapes[run % 6][1], NULL);
		for (uint64_t i = 0; i < pages / host; i++)
			if (next_random(&seed) % 3)
				rf_bitmap_set(&f.map.held, i);
		left = rf_bitmap_count(&f.map.held);
		while (left) {
			uint64_t at = next_random(&seed) % (pages / host), n = 1;

			at = rf_bitmap_find_set(&f.map.held, at, pages / host);
			if (at == RF_BITMAP_NONE)
				continue;
			while (n < 5 && at + n < pages / host &&
			       rf_bitmap_test(&f.map.held, at + n))
				n++;
			assert_int_equal(rf_release_map_landed(&f.map, at * host, n * host), RF_OK);
			left -= n;
			if (next_random(&seed) % 2)
				taken += take_all(&f, 1 + next_random(&seed) % 1000);
		}
		assert_int_equal(taken + take_all(&f, 100), pages);
		end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_never_missing_goes_at_once),
		cmocka_unit_test(what_is_missing_goes_when_it_has_landed),
		cmocka_unit_test(landing_may_be_faster_than_the_sweep),
		cmocka_unit_test(huge_pages_go_as_a_whole),
		cmocka_unit_test(chunks_go_as_a_whole),
		cmocka_unit_test(what_cannot_have_landed_is_refused),
		cmocka_unit_test(in_any_order_every_page_goes_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
