/* SPDX-License-Identifier: BSD-3-Clause */
/* The sink that harvests fill, and the end of trackers. */
#include "tests/unit/guest_fixture.h"

#define PAGES 200ull

struct sink_fixture {
	struct rf_bitmap bits;
	struct rf_dirty_sink sink;
};

static int make_sink(void **state)
{
	struct sink_fixture *f = calloc(1, sizeof(*f));

	if (!f || rf_bitmap_init(&f->bits, PAGES))
		return -1;
	f->sink = (struct rf_dirty_sink){.bits = &f->bits, .npages = PAGES, .region = "ram"};
	*state = f;
	return 0;
}

static int drop_sink(void **state)
{
	struct sink_fixture *f = *state;

	rf_bitmap_fini(&f->bits);
	free(f);
	return 0;
}

static void run_sets_its_pages(void **state)
{
	struct sink_fixture *f = *state;

	rf_dirty_sink_run(&f->sink, 60, 10);
	rf_dirty_sink_run(&f->sink, PAGES - 1, 1);
	rf_dirty_sink_run(&f->sink, 0, 0);
	assert_int_equal(rf_bitmap_count(&f->bits), 11);
	assert_int_equal(rf_bitmap_count_range(&f->bits, 60, 10), 10);
	assert_true(rf_bitmap_test(&f->bits, PAGES - 1));
	assert_int_equal(f->sink.reported, 11);
	/* What is set already stays. */
	rf_dirty_sink_run(&f->sink, 65, 10);
	assert_int_equal(rf_bitmap_count(&f->bits), 16);
	assert_int_equal(f->sink.reported, 21);
}

static void runs_outside_are_cut_and_logged_once(void **state)
{
	struct sink_fixture *f = *state;
	struct log_watch log;

	watch_log(&log);
	rf_dirty_sink_run(&f->sink, PAGES - 2, 10);
	rf_dirty_sink_run(&f->sink, PAGES, 1);
	rf_dirty_sink_run(&f->sink, UINT64_MAX, 1);
	rf_dirty_sink_run(&f->sink, 1, UINT64_MAX);
	rf_dirty_sink_run(&f->sink, UINT64_MAX, UINT64_MAX);
	unwatch_log();
	assert_int_equal(log.warnings, 1);
	assert_non_null(strstr(log.last, "outside"));
	assert_int_equal(rf_bitmap_count(&f->bits), PAGES - 1);
	assert_false(rf_bitmap_test(&f->bits, 0));
}

static void words_set_their_pages(void **state)
{
	struct sink_fixture *f = *state;
	const uint64_t words[] = {1, 0, UINT64_C(1) << 63};

	rf_dirty_sink_words(&f->sink, 0, words, 3);
	assert_int_equal(rf_bitmap_count(&f->bits), 2);
	assert_true(rf_bitmap_test(&f->bits, 0) && rf_bitmap_test(&f->bits, 191));
	rf_dirty_sink_words(&f->sink, 64, words, 1);
	assert_true(rf_bitmap_test(&f->bits, 64));
	assert_int_equal(f->sink.reported, 3);
}

static void bits_past_the_end_are_ignored(void **state)
{
	struct sink_fixture *f = *state;
	const uint64_t words[] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

	rf_dirty_sink_words(&f->sink, 128, words, 3);
	assert_int_equal(rf_bitmap_count(&f->bits), PAGES - 128);
	assert_int_equal(f->sink.reported, PAGES - 128);
	/* A region begins at an address that wraps. */
	rf_dirty_sink_words(&f->sink, UINT64_MAX - 63, words, 3);
	assert_int_equal(rf_bitmap_count(&f->bits), PAGES - 128);
}

static void unaligned_words_lose_nothing(void **state)
{
	struct sink_fixture *f = *state;
	const uint64_t words[] = {UINT64_MAX, UINT64_MAX};

	rf_dirty_sink_words(&f->sink, 10, words, 1);
	assert_int_equal(rf_bitmap_count(&f->bits), 64);
	assert_true(rf_bitmap_test(&f->bits, 10) && rf_bitmap_test(&f->bits, 73));
	rf_dirty_sink_words(&f->sink, 199, words, 2);
	assert_int_equal(rf_bitmap_count(&f->bits), 65);
}

static void delete_takes_what_is_there(void **state)
{
	static const struct rf_tracker_ops foreign = {.size = sizeof(foreign), .name = "foreign"};
	struct rf_tracker t = {0};
	struct log_watch log;

	rf_tracker_delete(NULL);
	rf_tracker_delete(&t);
	assert_int_equal(rf_tracker_manual_new(&t), RF_OK);
	rf_tracker_delete(&t);
	assert_null(t.ops);
	assert_null(t.self);
	/* One that is not ours is left alone. */
	t = (struct rf_tracker){.ops = &foreign, .self = &t};
	watch_log(&log);
	rf_tracker_delete(&t);
	unwatch_log();
	assert_int_equal(log.errors, 1);
	assert_ptr_equal(t.ops, &foreign);
}

#define with_sink(fn) cmocka_unit_test_setup_teardown(fn, make_sink, drop_sink)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_sink(run_sets_its_pages),
		with_sink(runs_outside_are_cut_and_logged_once),
		with_sink(words_set_their_pages),
		with_sink(bits_past_the_end_are_ignored),
		with_sink(unaligned_words_lose_nothing),
		cmocka_unit_test(delete_takes_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
