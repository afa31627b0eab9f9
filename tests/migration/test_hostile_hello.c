/* SPDX-License-Identifier: BSD-3-Clause */
/* A source that is up to no good before the migration begins. */
#include "tests/migration/hostile.h"

static void put_hello(struct rf_wire_hello h)
{
	rf_wire_put_hello(&peer.b, &h);
	peer_put(&peer, RF_WIRE_HELLO);
}

static const struct rf_wire_hello good_hello = {.regions = 2,
						.chunk_size = MIB,
						.bulk_lanes = 2,
						.link_timeout = 10000};

#define HELLO(name, change)                          \
	static void name(void)                       \
	{                                            \
		struct rf_wire_hello h = good_hello; \
                                                     \
		change;                              \
		put_hello(h);                        \
	}
HELLO(unknown_flags, h.flags = 1u << 31)
HELLO(no_regions, h.regions = 0)
HELLO(many_regions, h.regions = UINT32_MAX)
HELLO(tiny_chunks, h.chunk_size = 4096)
HELLO(huge_chunks, h.chunk_size = 1ull << 40)
HELLO(odd_chunks, h.chunk_size = 3 * MIB)
HELLO(no_lanes, h.bulk_lanes = 0)
HELLO(many_lanes, h.bulk_lanes = 17)
HELLO(no_patience, h.link_timeout = 0)
HELLO(one_region_only, h.regions = 1)

static void put_region(uint32_t first, unsigned i, uint64_t len, uint32_t page_size)
{
	struct rf_wire_region r = {.len = len, .page_size = page_size};

	snprintf(r.id, sizeof(r.id), "ram%u", i);
	rf_wire_begin_regions(&peer.b, first);
	assert_int_equal(rf_wire_add_region(&peer.b, &r), RF_OK);
	peer_put(&peer, RF_WIRE_REGIONS);
}

static void region_past_the_last(void)
{
	put_region(2, 0, LEN, RF_PAGE_SIZE);
}

static void region_at_4095(void)
{
	put_region(4095, 0, LEN, RF_PAGE_SIZE);
}

static void region_twice(void)
{
	put_region(0, 0, LEN, RF_PAGE_SIZE);
	put_region(1, 0, LEN, RF_PAGE_SIZE);
}

static void index_twice(void)
{
	put_region(0, 0, LEN, RF_PAGE_SIZE);
	put_region(0, 1, LEN, RF_PAGE_SIZE);
}

static void region_without_end(void)
{
	put_region(0, 0, 1ull << 62, RF_PAGE_SIZE);
}

static void put_rung(const char *name, unsigned lanes)
{
	struct rf_wire_rung r = {.bulk_lanes = (uint16_t)lanes};

	snprintf(r.name, sizeof(r.name), "%s", name);
	rf_wire_put_rung(&peer.b, &r);
	peer_put(&peer, RF_WIRE_RUNG);
}

static void rung_not_offered(void)
{
	put_rung("ofi:tcp", 2);
}

static void rung_with_more_lanes(void)
{
	put_rung("mem", 16);
}

static const struct row rows[] = {
	ROW(PEER_GREETED, unknown_flags, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, no_regions, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, many_regions, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, tiny_chunks, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, huge_chunks, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, odd_chunks, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, no_lanes, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, many_lanes, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, no_patience, RF_ERR_PROTOCOL),
	ROW(PEER_GREETED, one_region_only, RF_ERR_MISMATCH),
	ROW(PEER_HELLO, region_past_the_last, RF_ERR_MISMATCH),
	ROW(PEER_HELLO, region_at_4095, RF_ERR_MISMATCH),
	ROW(PEER_HELLO, region_twice, RF_ERR_MISMATCH),
	ROW(PEER_HELLO, index_twice, RF_ERR_MISMATCH),
	ROW(PEER_HELLO, region_without_end, RF_ERR_PROTOCOL),
	ROW(PEER_REGIONS, rung_not_offered, RF_ERR_PROTOCOL),
	ROW(PEER_REGIONS, rung_with_more_lanes, RF_ERR_PROTOCOL),
};

static void wrong_words(void **state)
{
	hostile_rows(rows, COUNT_OF(rows));
}

/* ---- lanes ---- */

/* The rung fails, which is no error yet; then the source gives up. */
static void bad_lane(unsigned kind, unsigned index)
{
	struct rf_wire_status st;

	rf_log_set_level(RF_LOG_NONE);
	hostile_begin(PEER_OFFER, 10000);
	assert_int_equal(peer_lane(&peer, kind, index), RF_OK);
	peer_expect(&peer, RF_WIRE_LANES_UP);
	assert_int_equal(rf_wire_get_status(peer.in, peer.len, &st), RF_OK);
	assert_int_not_equal(st.err, RF_OK);
	peer_hang_up(&peer);
	hostile_end("a lane that was not due", RF_ERR_PEER_GONE, false);
	rf_log_set_level(RF_LOG_WARN);
}

static void lanes_that_were_not_due(void **state)
{
	bad_lane(RF_LANE_BULK, 1);
	bad_lane(RF_LANE_BULK, 16);
	bad_lane(RF_LANE_URGENT, 0);
}

/* Who does not know the token gets no lane, and keeps nobody else out. */
static void lane_without_the_token(void **state)
{
	uint8_t token_at;

	rf_log_set_level(RF_LOG_NONE);
	hostile_begin(PEER_OFFER, 10000);
	/* the token is behind the status: two empty fields and an empty text */
	token_at = 4 + 2;
	peer.in[token_at] ^= 1;
	assert_int_equal(peer_lane(&peer, RF_LANE_BULK, 0), RF_ERR_REFUSED);
	peer.in[token_at] ^= 1;
	for (unsigned i = 0; i < plan.lanes; i++)
		assert_int_equal(peer_lane(&peer, RF_LANE_BULK, i), RF_OK);
	peer_expect(&peer, RF_WIRE_LANES_UP);
	peer_hang_up(&peer);
	hostile_end("hang up", RF_ERR_PEER_GONE, false);
	rf_log_set_level(RF_LOG_WARN);
}

/* A source may try a rung again; one that offers nothing but failures is heard out as well. */
static void rungs_without_end(void **state)
{
	struct rf_wire_status st = {.err = RF_ERR_REFUSED};

	rf_log_set_level(RF_LOG_NONE);
	hostile_begin(PEER_OFFER, 10000);
	for (unsigned i = 0; i < 20; i++) {
		rf_wire_put_status(&peer.b, &st);
		peer_put(&peer, RF_WIRE_RUNG_FAIL);
		peer_expect(&peer, RF_WIRE_LANES_UP);
		peer_rung(&peer, &plan);
		peer_expect(&peer, RF_WIRE_RUNG_OFFER);
	}
	peer_hang_up(&peer);
	hostile_end("hang up", RF_ERR_PEER_GONE, false);
	rf_log_set_level(RF_LOG_WARN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_words),
		cmocka_unit_test(lanes_that_were_not_due),
		cmocka_unit_test(lane_without_the_token),
		cmocka_unit_test(rungs_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
