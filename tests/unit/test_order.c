/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of answers on an urgent lane. The test plays the bulk sender, which is in the middle
 * of a host page, and the destination, which asks:
 *
 *   k others ─ the page on the bulk lane ─ a stream without end
 *
 * The k are answered first, then nothing before the bulk sender is done, then the stream.
 */
#include "tests/unit/order_fixture.h"

static const struct order orders[] = {
	{RF_PAGE_SIZE, RF_PAGE_SIZE, 0, 40},
	{RF_PAGE_SIZE, RF_PAGE_SIZE, 1, 100},
	{RF_PAGE_SIZE, 1u << 20, 30, 150},
	{2u << 20, 256u << 10, 3, 8}, /* eight writes a page: the lane is full now and then */
};

static uint64_t passes(const struct fixture *f)
{
	struct rf_poller_stats st;

	rf_poller_stats(f->urgent.poller, &st);
	return st.passes;
}

/* All requests are taken, and the urgent sender has had every chance to answer them. */
static void let_it_try(struct fixture *f)
{
	step_until(f,
		   atomic_load(&f->shared.requests) == f->asked && f->nanswers >= f->row->others);
	for (int i = 0; i < 3; i++) {
		uint64_t before = passes(f);

		/* the pass that may have been running, and one from its beginning */
		for (; passes(f) < before + 2; usleep(100)) {
			rf_poller_wake(f->urgent.poller);
			step(f);
		}
		step(f);
	}
}

/* The bulk sender is in the middle of its page: it has told so, if it does, and has claimed it. */
static void begin_bulk_page(struct fixture *f, bool tell)
{
	uint64_t pages = f->row->page_size / RF_PAGE_SIZE;

	/* otherwise it is in the middle of another region */
	rf_bulk_current_set(&f->shared.current, tell ? 0 : 1, BULK_PAGE * pages,
			    (BULK_PAGE + 1) * pages);
	assert_true(rf_bitmap_test_and_clear(rf_src_region_claims(&f->region), BULK_PAGE));
}

/* Slots from begin to end but for `left_out`, in this order, behind the first `seen`. */
static void expect_answers(const struct fixture *f, unsigned seen, uint32_t begin, uint32_t end,
			   uint32_t left_out)
{
	for (uint32_t slot = begin; slot < end; slot++)
		if (slot != left_out)
			assert_int_equal(f->answers[seen++], slot);
	assert_int_equal(f->nanswers, seen);
}

static void check_counters(const struct fixture *f, uint64_t boosted, uint64_t duplicates)
{
	const struct rf_urgent_shared *s = &f->shared;
	uint64_t data = f->nanswers - f->zeros, per_page = f->row->page_size / f->row->piece;

	assert_int_equal(atomic_load(&s->open), 0);
	assert_int_equal(atomic_load(&s->requests), f->asked);
	assert_int_equal(atomic_load(&s->boosted), boosted);
	assert_int_equal(atomic_load(&s->duplicates), duplicates);
	assert_int_equal(atomic_load(&s->zeros), f->zeros);
	assert_int_equal(atomic_load(&s->bytes), data * f->row->page_size);
	assert_int_equal(f->pieces, data * (per_page ? per_page : 1));
}

static bool woken(const struct fixture *f)
{
	eventfd_t v;

	return eventfd_read(f->shared.wake_fd, &v) == 0;
}

static void page_on_the_bulk_lane_keeps_its_place(void **state)
{
	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		const struct order *o = &orders[i];
		uint64_t next = 0;
		struct fixture f;

		open_fixture(&f, o);
		begin_bulk_page(&f, true);
		ask_others(&f, o->others, &next);
		ask(&f, BULK_PAGE);
		ask_others(&f, o->stream / 2, &next);
		let_it_try(&f);
		/* those in front, and nothing of the stream however long it gets */
		expect_answers(&f, 0, 0, o->others, UINT32_MAX);
		ask_others(&f, o->stream - o->stream / 2, &next);
		let_it_try(&f);
		expect_answers(&f, 0, 0, o->others, UINT32_MAX);
		assert_int_equal(atomic_load(&f.shared.open), 1 + o->stream);
		assert_true(woken(&f));
		/* the bulk sender hears of it, posts the rest, and takes the page back */
		assert_true(rf_bulk_current_clear(&f.shared.current));
		rf_poller_wake(f.urgent.poller);
		step_until(&f, !atomic_load(&f.shared.open) && f.nanswers == f.asked - 1);
		expect_answers(&f, 0, 0, f.asked, o->others);
		check_counters(&f, 1, 0);
		close_fixture(&f);
	}
}

/* Its announcement is on its way: nothing waits for it, nothing is sent a second time. */
static void page_that_was_posted_is_a_duplicate(void **state)
{
	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		const struct order *o = &orders[i];
		uint64_t next = 0;
		struct fixture f;

		open_fixture(&f, o);
		begin_bulk_page(&f, false);
		ask_others(&f, o->others, &next);
		ask(&f, BULK_PAGE);
		ask_others(&f, o->stream, &next);
		step_until(&f, f.nanswers == f.asked - 1);
		step_until(&f, !atomic_load(&f.shared.open));
		expect_answers(&f, 0, 0, f.asked, o->others);
		check_counters(&f, 0, 1);
		assert_false(woken(&f));
		assert_false(rf_bulk_current_clear(&f.shared.current));
		close_fixture(&f);
	}
}

/* The second comes to its turn when the page is posted: nothing is held up for it again. */
static void asked_for_twice_it_holds_up_once(void **state)
{
	uint64_t next = 0;
	struct fixture f;

	open_fixture(&f, &orders[0]);
	begin_bulk_page(&f, true);
	ask(&f, BULK_PAGE);
	ask(&f, BULK_PAGE);
	ask_others(&f, 20, &next);
	let_it_try(&f);
	assert_int_equal(f.nanswers, 0);
	assert_int_equal(atomic_load(&f.shared.boosted), 1);
	assert_true(rf_bulk_current_clear(&f.shared.current));
	rf_poller_wake(f.urgent.poller);
	step_until(&f, !atomic_load(&f.shared.open) && f.nanswers == 20);
	expect_answers(&f, 0, 2, f.asked, UINT32_MAX);
	check_counters(&f, 1, 1);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_on_the_bulk_lane_keeps_its_place),
		cmocka_unit_test(page_that_was_posted_is_a_duplicate),
		cmocka_unit_test(asked_for_twice_it_holds_up_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
