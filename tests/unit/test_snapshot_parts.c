/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a snapshot by themselves: policy, queue of requests, pool of copies. */
#include "tests/unit/unit.h"

#include "scheduler/snapshot_policy.h"
#include "scheduler/snapshot_queue.h"

static void policy_follows_its_table(void **state)
{
	static const struct {
		enum rf_snapshot_strategy strategy;
		bool copying;
		uint64_t wait_us;
		bool copy;
	} rows[] = {
		{RF_SNAPSHOT_QUEUE, false, 0, false},
		{RF_SNAPSHOT_QUEUE, false, 1000000, false},
		{RF_SNAPSHOT_COPY, false, 0, true},
		{RF_SNAPSHOT_COPY, true, 1000000, true},
		{RF_SNAPSHOT_AUTO, false, 0, false},
		{RF_SNAPSHOT_AUTO, false, 60, false},
		{RF_SNAPSHOT_AUTO, false, 200, false},
		{RF_SNAPSHOT_AUTO, false, 201, true},
		{RF_SNAPSHOT_AUTO, false, 1000000, true},
		{RF_SNAPSHOT_AUTO, true, 201, true},
		{RF_SNAPSHOT_AUTO, true, 100, true},
		{RF_SNAPSHOT_AUTO, true, 99, false},
		{RF_SNAPSHOT_AUTO, true, 0, false},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rf_snap_should_copy(rows[i].strategy, rows[i].copying,
					rows[i].wait_us * 1000) != rows[i].copy)
			fail_msg("row %zu", i);
}

static void the_average_goes_to_what_it_sees(void **state)
{
	uint64_t a = 0;

	for (unsigned i = 0; i < 100; i++)
		a = rf_snap_average(a, 1000000);
	assert_in_range(a, 990000, 1000000);
	for (unsigned i = 0; i < 200; i++)
		a = rf_snap_average(a, 0);
	assert_in_range(a, 0, 10);
}

static void requests_come_out_in_order(void **state)
{
	static struct rf_snap_queue q;
	struct rf_snap_request r = {0};

	rf_snap_queue_init(&q);
	assert_false(rf_snap_queue_pop(&q, &r));
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < RF_SNAP_QUEUE_ROOM; i++) {
			r.page = i;
			assert_true(rf_snap_queue_push(&q, &r));
		}
		for (uint64_t i = 0; i < RF_SNAP_QUEUE_ROOM; i++) {
			assert_true(rf_snap_queue_pop(&q, &r));
			assert_int_equal(r.page, i);
		}
	}
	rf_snap_queue_fini(&q);
}

static void *push_many(void *arg)
{
	struct rf_snap_queue *q = *(struct rf_snap_queue **)arg;
	struct rf_snap_request r = {0};

	while (rf_snap_queue_push(q, &r))
		r.page++;
	return NULL;
}

/* Three threads push more than there is room for: none is lost, and closing lets them go. */
static void a_full_queue_makes_wait_and_closing_ends_it(void **state)
{
	static struct rf_snap_queue q;
	struct rf_snap_request r;
	pthread_t threads[3];
	struct rf_snap_queue *arg = &q;
	uint64_t got = 0;

	rf_snap_queue_init(&q);
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, push_many, &arg), 0);
	while (got < 10 * RF_SNAP_QUEUE_ROOM)
		got += rf_snap_queue_pop(&q, &r);
	rf_snap_queue_close(&q);
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	rf_snap_queue_fini(&q);
}

static void the_pool_counts_what_it_gives(void **state)
{
	struct rf_snap_pool p;
	struct rf_snap_buf *b[4];
	uint64_t high, full;

	assert_int_equal(rf_snap_pool_init(&p, 3 * 4096 + 100, 4096), RF_OK);
	assert_null(rf_snap_pool_next(&p));
	for (unsigned i = 0; i < 3; i++) {
		b[i] = rf_snap_pool_take(&p);
		assert_non_null(b[i]);
		b[i]->mem[4095] = 1;
	}
	assert_null(rf_snap_pool_take(&p));
	rf_snap_pool_ready(b[2]);
	rf_snap_pool_ready(b[0]);
	assert_ptr_equal(rf_snap_pool_next(&p), b[2]);
	assert_ptr_equal(rf_snap_pool_next(&p), b[0]);
	assert_null(rf_snap_pool_next(&p));
	rf_snap_pool_give(b[2]);
	/* the one that was used last, for its memory is there already */
	assert_ptr_equal(rf_snap_pool_take(&p), b[2]);
	rf_snap_pool_usage(&p, &high, &full);
	assert_int_equal(high, 3 * 4096);
	assert_int_equal(full, 1);
	rf_snap_pool_fini(&p);
	rf_snap_pool_fini(&p);
}

static void a_pool_smaller_than_a_page_is_always_full(void **state)
{
	struct rf_snap_pool p;

	assert_int_equal(rf_snap_pool_init(&p, 4096, 2u << 20), RF_OK);
	assert_null(rf_snap_pool_take(&p));
	rf_snap_pool_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy_follows_its_table),
		cmocka_unit_test(the_average_goes_to_what_it_sees),
		cmocka_unit_test(requests_come_out_in_order),
		cmocka_unit_test(a_full_queue_makes_wait_and_closing_ends_it),
		cmocka_unit_test(the_pool_counts_what_it_gives),
		cmocka_unit_test(a_pool_smaller_than_a_page_is_always_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
