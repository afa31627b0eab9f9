/* SPDX-License-Identifier: BSD-3-Clause */
/* A source that is up to no good while the guest is moved. */
#include "tests/migration/hostile.h"

#include "common/digest.h"
#include "common/wire_postcopy.h"

static void put_chunk(uint32_t region, uint32_t chunk)
{
	struct rf_wire_chunk c = {.region = region, .chunk = chunk};

	rf_wire_put_chunk(&peer.b, &c);
	peer_put(&peer, RF_WIRE_KEY_REQ);
}

static void key_of_no_region(void)
{
	put_chunk(2, 0);
}

static void key_of_no_chunk(void)
{
	put_chunk(1, 3);
}

static void key_of_far_chunk(void)
{
	put_chunk(0, UINT32_MAX);
}

static void put_zeros(uint32_t region, uint64_t first, uint64_t count)
{
	struct rf_wire_run r = {.first = first, .count = count};

	rf_wire_begin_zero(&peer.b, region);
	rf_wire_put_run(&peer.b, &r);
	peer_put(&peer, RF_WIRE_ZERO);
}

static void zeros_in_no_region(void)
{
	put_zeros(2, 0, 1);
}

static void zeros_past_the_end(void)
{
	put_zeros(0, LEN / PAGE - 1, 2);
}

static void zeros_behind_the_end(void)
{
	put_zeros(0, LEN / PAGE, 1);
}

static void zeros_that_wrap(void)
{
	put_zeros(0, UINT64_MAX - 1, 4);
}

static void no_zeros(void)
{
	put_zeros(0, 0, 0);
}

static void round_skipped(void)
{
	peer_round(&peer, 2, false);
}

static void round_zero(void)
{
	peer_round(&peer, 0, false);
}

static void round_in_a_round(void)
{
	peer_round(&peer, 1, false); /* no fence: it does not end */
	peer_round(&peer, 2, false);
}

static void round_after_the_last(void)
{
	peer_round(&peer, 2, true);
}

static void put_digests(uint32_t region, uint64_t first, unsigned n)
{
	rf_wire_begin_digest(&peer.b, region, first);
	for (unsigned i = 0; i < n; i++)
		rf_wire_put_u64(&peer.b, rf_digest_zero(RF_DIGEST_BLOCK));
	peer_put(&peer, RF_WIRE_DIGEST);
}

static void digests_from_the_second(void)
{
	put_digests(0, 1, 1);
}

static void digests_of_the_second_region(void)
{
	put_digests(1, 0, 1);
}

static void digests_past_the_region(void)
{
	put_digests(0, 0, 3);
}

static void digests_of_no_region(void)
{
	put_digests(UINT32_MAX, 0, 1);
}

static void half_the_digests(void)
{
	put_digests(0, 0, 1);
	peer_send(&peer, RF_WIRE_DIGEST_END, NULL, 0);
}

static void put_free(uint32_t region, uint64_t first, uint64_t count)
{
	uint64_t words[16];

	memset(words, 0xff, sizeof(words));
	if (rf_wire_put_missing(&peer.b, region, first, count, words))
		peer_put(&peer, RF_WIRE_FREE);
}

static void free_pages_of_no_region(void)
{
	put_free(2, 0, 1);
}

static void free_pages_past_the_end(void)
{
	put_free(0, LEN / PAGE - 64, 65);
}

static void free_pages_while_it_runs(void)
{
	put_free(0, 0, 64);
}

static void free_pages_after_digests(void)
{
	put_free(0, 0, 64);
}

static void free_pages_after_state(void)
{
	put_free(1, 0, 64);
}

static void state_without_digests(void)
{
	peer_state(&peer, 1000, 0, 1000);
}

static void digests_again(void)
{
	put_digests(0, 0, 1);
}

static void state_without_limit(void)
{
	peer_state(&peer, UINT64_MAX, 0, 1000);
}

static void state_over_the_limit(void)
{
	peer_state(&peer, (256ull << 20) + 1, 0, 1000);
}

static void state_from_the_middle(void)
{
	peer_state(&peer, 1000, 500, 500);
}

static void state_past_its_end(void)
{
	peer_state(&peer, 1000, 0, 1001);
}

static void state_that_grows(void)
{
	peer_state(&peer, 1000, 0, 500);
	peer_state(&peer, 2000, 500, 500);
}

static void state_with_a_gap(void)
{
	peer_state(&peer, 1000, 0, 500);
	peer_state(&peer, 1000, 501, 499);
}

static void state_in_no_bytes(void)
{
	peer_state(&peer, 1000, 0, 0);
}

static void run_with_a_payload(void)
{
	peer_send(&peer, RF_WIRE_RUN, "now", 3);
}

static const struct row rows[] = {
	ROW(PEER_PAUSED, free_pages_of_no_region, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, free_pages_past_the_end, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, free_pages_while_it_runs, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, free_pages_after_digests, RF_ERR_PROTOCOL),
	ROW(PEER_LOADED, free_pages_after_state, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, key_of_no_region, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, key_of_no_chunk, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, key_of_far_chunk, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, zeros_in_no_region, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, zeros_past_the_end, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, zeros_behind_the_end, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, zeros_that_wrap, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, no_zeros, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, round_skipped, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, round_zero, RF_ERR_PROTOCOL),
	ROW(PEER_PRECOPY, round_in_a_round, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, round_after_the_last, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, digests_from_the_second, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, digests_of_the_second_region, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, digests_past_the_region, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, digests_of_no_region, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, half_the_digests, RF_ERR_PROTOCOL),
	ROW(PEER_PAUSED, state_without_digests, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, digests_again, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_without_limit, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_over_the_limit, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_from_the_middle, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_past_its_end, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_that_grows, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_with_a_gap, RF_ERR_PROTOCOL),
	ROW(PEER_COMPARED, state_in_no_bytes, RF_ERR_PROTOCOL),
	ROW(PEER_LOADED, run_with_a_payload, RF_ERR_PROTOCOL),
};

static void wrong_words(void **state)
{
	hostile_rows(rows, COUNT_OF(rows));
}

/* Once the state is loaded nobody writes to the guest's memory any more. */
static void late_write(void **state)
{
	uint8_t page[PAGE] = {1};
	struct rf_remote_key key;
	struct rf_wire_array a;
	struct rf_wire_key k;
	struct rf_mr *mr;
	struct rf_write w;

	rf_log_set_level(RF_LOG_NONE);
	hostile_begin(PEER_PRECOPY, 10000);
	assert_int_equal(rf_mr_register(peer.t, page, sizeof(page), RF_ACCESS_LOCAL_READ, &mr),
			 RF_OK);
	put_chunk(0, 0);
	peer_expect(&peer, RF_WIRE_KEY);
	assert_int_equal(rf_wire_get_keys(peer.in, peer.len, &a), RF_OK);
	rf_wire_key_at(&a, 0, &k);
	key.base = k.base;
	memcpy(key.key, k.key, sizeof(key.key));
	w = (struct rf_write){.src = page, .src_mr = mr, .dst = &key, .len = sizeof(page)};
	peer_fence(&peer, 1);
	peer_round(&peer, 1, true);
	peer_expect(&peer, RF_WIRE_ROUND_ACK);
	peer_digests(&peer, &plan);
	peer_expect(&peer, RF_WIRE_DIGEST_RESULT);
	peer_state(&peer, 1000, 0, 1000);
	peer_expect(&peer, RF_WIRE_STATE_LOADED);
	assert_int_equal(rf_lane_write(peer.lanes[0], &w, 1), RF_ERR_LANE_CLOSED);
	assert_int_equal(*(uint8_t *)victim.regions[0].there.guest_view, 0);
	rf_mr_deregister(&mr);
	peer_hang_up(&peer);
	hostile_end("late write", RF_ERR_PEER_GONE, false);
	rf_log_set_level(RF_LOG_WARN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_words),
		cmocka_unit_test(late_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
