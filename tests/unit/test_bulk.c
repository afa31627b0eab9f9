/* SPDX-License-Identifier: BSD-3-Clause */
/* The bulk lanes of the source: window, batches, fences, and lanes that die. */
#include "tests/unit/bulk_wire.h"

static void all_arrives_within_the_window(void **state)
{
	static const struct {
		unsigned lanes;
		uint64_t window;
		uint32_t depth, piece;
	} rows[] = {
		{1, 4 * PIECE, 64, PIECE},     {3, 4 * PIECE, 64, PIECE},
		{16, 2 * PIECE, 64, PIECE},    {2, 32 * PIECE, 4, PIECE},
		{1, 3 * PIECE, 64, 2 * PIECE}, {2, PIECE / 2, 64, PIECE},
		{4, 8 * PIECE, 1, 4096},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		/* a write that is larger than the window goes alone */
		uint64_t most = rows[i].window > rows[i].piece ? rows[i].window : rows[i].piece;
		struct fixture f;

		open_fixture(&f, rows[i].lanes, rows[i].window, rows[i].depth);
		assert_int_equal(send_all(&f, rows[i].piece), RF_OK);
		assert_int_equal(drain(&f), RF_OK);
		assert_memory_equal(f.from, f.to, MEM);
		assert_int_equal(f.bulk.completed, MEM);
		assert_true(f.most_inflight > 0 && f.most_inflight <= most);
		close_fixture(&f);
	}
}

static void a_full_batch_has_no_room(void **state)
{
	struct fixture f;

	open_fixture(&f, 1, 1u << 30, 64);
	for (unsigned i = 0; i < RF_BULK_BATCH; i++)
		add(&f, i * PIECE, PIECE);
	assert_false(rf_bulk_has_room(&f.bulk, PIECE));
	assert_int_equal(rf_bulk_post(&f.bulk), RF_OK);
	assert_true(rf_bulk_has_room(&f.bulk, PIECE));
	close_fixture(&f);
}

static void a_batch_is_no_larger_than_half_the_window(void **state)
{
	struct fixture f;

	open_fixture(&f, 1, 4 * PIECE, 64);
	add(&f, 0, PIECE);
	add(&f, PIECE, PIECE);
	assert_false(rf_bulk_has_room(&f.bulk, PIECE));
	assert_int_equal(rf_bulk_post(&f.bulk), RF_OK);
	assert_true(
		rf_bulk_has_room(&f.bulk, 64 * PIECE)); /* one of any size, into an empty batch */
	close_fixture(&f);
}

static void a_held_lane_pushes_back_and_goes_on(void **state)
{
	struct fixture f;

	open_fixture(&f, 1, 4 * PIECE, 64);
	f.bad_seq = 3; /* two go through, then nothing */
	f.fate = RF_MEM_HOLD;
	for (unsigned i = 0; i < 4; i++) {
		add(&f, i * PIECE, PIECE);
		assert_int_equal(rf_bulk_post(&f.bulk), RF_OK);
	}
	add(&f, 4 * PIECE, PIECE);
	assert_int_equal(rf_bulk_post(&f.bulk), RF_NO_RESOURCE);
	for (unsigned i = 0; i < 20; i++)
		assert_true(step(&f) >= 0);
	assert_int_equal(f.bulk.completed, 2 * PIECE);
	assert_int_equal(rf_bulk_inflight(&f.bulk), 2 * PIECE);
	assert_int_equal(rf_bulk_post(&f.bulk), RF_OK); /* room for two again */
	assert_int_equal(rf_bulk_poll(&f.bulk), 0);
	assert_int_equal(rf_bulk_inflight(&f.bulk), 3 * PIECE);
	f.bad_seq = UINT64_MAX;
	assert_int_equal(drain(&f), RF_OK);
	assert_memory_equal(f.from, f.to, 5 * PIECE);
	close_fixture(&f);
}

static void the_idlest_lane_is_taken(void **state)
{
	struct fixture f;

	open_fixture(&f, 3, 1u << 30, 64);
	f.bad_lane = 0; /* this one does not get rid of its bytes */
	f.bad_seq = 1;
	f.fate = RF_MEM_HOLD;
	for (unsigned i = 0; i < 30; i++) {
		add(&f, i * PIECE, PIECE);
		assert_int_equal(rf_bulk_post(&f.bulk), RF_OK);
		assert_true(step(&f) >= 0);
	}
	assert_int_equal(rf_lane_inflight(f.bulk.lanes[0]), PIECE);
	assert_int_equal(f.bulk.completed, 29 * PIECE);
	close_fixture(&f);
}

static unsigned fences_seen(struct fixture *f, unsigned lane, uint64_t value)
{
	struct rf_completion c[8];
	unsigned seen = 0;
	int n;

	while ((n = rf_lane_poll(f->far[lane], c, COUNT_OF(c))) > 0)
		for (int i = 0; i < n; i++)
			seen += c[i].op == RF_OP_FENCE_SEEN && c[i].value == value;
	assert_true(n >= 0);
	return seen;
}

/* Each lane gets the fence once, however often it has to be tried, and behind its writes. */
static void every_lane_is_fenced_once(void **state)
{
	static const uint32_t depths[] = {1, 2, 5, 64};

	for (size_t d = 0; d < COUNT_OF(depths); d++) {
		struct fixture f;

		open_fixture(&f, 4, 1u << 30, depths[d]);
		f.bad_lane = 2;
		f.bad_seq = 1;
		f.fate = RF_MEM_HOLD;
		assert_int_equal(send_all(&f, 4 * PIECE), RF_OK);
		for (unsigned i = 0; i < 10; i++) {
			(void)rf_bulk_fence(&f.bulk, 7);
			assert_true(step(&f) >= 0);
		}
		assert_int_equal(fences_seen(&f, 2, 7), 0); /* its writes are held */
		f.bad_seq = UINT64_MAX;
		assert_int_equal(drive(&f, post_fence), RF_OK);
		assert_int_equal(rf_bulk_fence(&f.bulk, 7), RF_OK); /* again: nothing to do */
		while (rf_mem_hub_pending(f.hub))
			assert_true(step(&f) >= 0);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(fences_seen(&f, i, 7), 1);
		assert_memory_equal(f.from, f.to, MEM);
		close_fixture(&f);
	}
}

/* Whatever ends a lane, at whichever operation: an error, and the lane that died is known. */
static void a_dead_lane_is_told(void **state)
{
	static const struct {
		enum rf_mem_fate fate;
		int err;
	} rows[] = {
		{RF_MEM_FAIL, RF_ERR_LANE},
		{RF_MEM_CUT, RF_ERR_LANE},
		{RF_MEM_LOSE_ACK, RF_ERR_LANE_TIMEOUT},
	};

	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		for (uint64_t at = 1; at <= 20; at += 3) {
			struct fixture f;
			int rc;

			open_fixture(&f, 3, 4 * PIECE, 64);
			assert_null(rf_bulk_dead_lane(&f.bulk));
			f.bad_lane = 1;
			f.bad_seq = at;
			f.fate = rows[i].fate;
			rc = send_all(&f, PIECE);
			if (rc == RF_OK)
				rc = drain(&f);
			assert_int_equal(rc, rows[i].err);
			assert_ptr_equal(rf_bulk_dead_lane(&f.bulk), f.bulk.lanes[1]);
			assert_string_not_equal(rf_lane_error(f.bulk.lanes[1]), "");
			close_fixture(&f);
		}
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void closing_twice_is_harmless(void **state)
{
	struct fixture f;

	open_fixture(&f, 2, 4 * PIECE, 64);
	add(&f, 0, PIECE);
	rf_bulk_close(&f.bulk);
	assert_int_equal(f.bulk.nlanes, 0);
	assert_int_equal(f.bulk.nbatch, 0);
	assert_true(rf_bulk_has_room(&f.bulk, PIECE));
	rf_bulk_close(&f.bulk);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_arrives_within_the_window),
		cmocka_unit_test(a_full_batch_has_no_room),
		cmocka_unit_test(a_batch_is_no_larger_than_half_the_window),
		cmocka_unit_test(a_held_lane_pushes_back_and_goes_on),
		cmocka_unit_test(the_idlest_lane_is_taken),
		cmocka_unit_test(every_lane_is_fenced_once),
		cmocka_unit_test(a_dead_lane_is_told),
		cmocka_unit_test(closing_twice_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
