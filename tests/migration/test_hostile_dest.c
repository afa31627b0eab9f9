/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A destination that is up to no good, against a real source: it answers rightly up to a frame, and
 * that one wrongly. The source ends with an error, in time, and its guest runs on, unless it was
 * told to run there.
 */
#include "tests/migration/hostile_dest.h"

/* ---- answers ---- */

static const struct rf_wire_hello_ack good_ack = {.max_lanes = 16,
						  .link_timeout = 10000,
						  .nrungs = 1,
						  .rungs = {"mem"}};

static void put_ack(struct rf_wire_hello_ack ack)
{
	rf_wire_put_hello_ack(&peer.b, &ack);
	peer_put(&peer, RF_WIRE_HELLO_ACK);
}

static void no_lanes(void)
{
	struct rf_wire_hello_ack a = good_ack;

	a.max_lanes = 0;
	put_ack(a);
}

static void one_lane(void)
{
	struct rf_wire_hello_ack a = good_ack;

	a.max_lanes = 1;
	put_ack(a);
}

static void no_patience(void)
{
	struct rf_wire_hello_ack a = good_ack;

	a.link_timeout = 0;
	put_ack(a);
}

static void no_rungs(void)
{
	struct rf_wire_hello_ack a = good_ack;

	a.nrungs = 0;
	put_ack(a);
}

static void other_rungs(void)
{
	struct rf_wire_hello_ack a = good_ack;

	strcpy(a.rungs[0], "pigeon");
	put_ack(a);
	peer_send(&peer, RF_WIRE_REGIONS_ACK, NULL, 0);
}

static void ack_and_half(void)
{
	rf_wire_put_hello_ack(&peer.b, &good_ack);
	rf_wire_put_u64(&peer.b, 0);
	peer_put(&peer, RF_WIRE_HELLO_ACK);
}

static void put_key(uint32_t region, uint32_t chunk)
{
	peer_key(&peer, &plan, region, chunk);
}

static void key_before_any(void)
{
	put_key(0, 0);
}

static void key_of_no_region(void)
{
	put_key(2, 0);
}

static void key_of_no_chunk(void)
{
	put_key(1, 3);
}

static void key_twice(void)
{
	put_key(0, 0);
	put_key(0, 0);
}

static void key_that_opens_nothing(void)
{
	peer_answer(&peer, &plan);
	rf_mr_deregister(&peer.mr);
	/* Pages of zeros may be told in between. */
	while (peer_recv(&peer))
		if (peer.type == RF_WIRE_KEY_REQ)
			peer_answer(&peer, &plan);
}

static void offer_of_no_address(void)
{
	static const uint8_t status_only[6 + RF_TOKEN_SIZE + 4];

	peer_send(&peer, RF_WIRE_RUNG_OFFER, status_only, sizeof(status_only));
}

static void offer_of_nobody(void)
{
	struct rf_wire_rung_offer offer = {.addr_len = 8, .addr = {99}};
	struct rf_wire_status st = {0};

	rf_wire_put_rung_offer(&peer.b, &st, &offer);
	peer_put(&peer, RF_WIRE_RUNG_OFFER);
	peer_expect(&peer, RF_WIRE_RUNG_FAIL);
	st.err = RF_ERR_TIMEOUT;
	rf_wire_put_status(&peer.b, &st);
	peer_put(&peer, RF_WIRE_LANES_UP);
}

static void lanes_that_failed(void)
{
	peer_offer(&peer);
	peer_take_lanes(&peer, &plan, RF_ERR_TIMEOUT);
}

static void lanes_up_twice(void)
{
	peer_offer(&peer);
	peer_take_lanes(&peer, &plan, RF_OK);
	peer_take_lanes(&peer, &plan, RF_OK);
}

static void put_round(uint64_t round)
{
	rf_wire_put_u64(&peer.b, round);
	peer_put(&peer, RF_WIRE_ROUND_ACK);
}

static void ack_of_round_zero(void)
{
	put_round(0);
}

static void ack_of_round_two(void)
{
	put_round(2);
}

static void ack_too_short(void)
{
	peer_send(&peer, RF_WIRE_ROUND_ACK, "abc", 3);
}

static void ack_twice(void)
{
	put_round(1);
	put_round(1);
}

static void neither_equal_nor_not(void)
{
	static const uint8_t two[16] = {2};

	peer_send(&peer, RF_WIRE_DIGEST_RESULT, two, sizeof(two));
}

static void differs_nowhere(void)
{
	struct rf_wire_digest_result r = {.region = 4000, .block = 1u << 20};

	rf_wire_put_digest_result(&peer.b, &r);
	peer_put(&peer, RF_WIRE_DIGEST_RESULT);
}

static void loaded_with_something(void)
{
	peer_send(&peer, RF_WIRE_STATE_LOADED, "x", 1);
}

static void running_too_early(void)
{
	peer_send(&peer, RF_WIRE_RUNNING, NULL, 0);
}

static void running_with_something(void)
{
	peer_send(&peer, RF_WIRE_RUNNING, "x", 1);
}

static void failed(void)
{
	struct rf_wire_status st = {.err = RF_ERR_GUEST, .text = "it\ndoes not start"};

	rf_wire_put_status(&peer.b, &st);
	peer_put(&peer, RF_WIRE_ERROR);
}

/* To what it is said, and how the source ends. */
static const struct row {
	const char *what;
	uint32_t to;
	void (*say)(void);
	int rc;
} rows[] = {
#define ROW(to, say, rc)          \
	{                         \
#say, to, say, rc \
	}
	ROW(RF_WIRE_HELLO, no_lanes, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_HELLO, one_lane, RF_ERR_MISMATCH),
	ROW(RF_WIRE_HELLO, no_patience, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_HELLO, no_rungs, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_HELLO, other_rungs, RF_ERR_UNSUPPORTED),
	ROW(RF_WIRE_HELLO, ack_and_half, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_HELLO, key_before_any, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_HELLO, failed, RF_ERR_PEER_FAILED),
	ROW(RF_WIRE_REGIONS, key_before_any, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_RUNG, offer_of_no_address, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_RUNG, offer_of_nobody, RF_ERR_UNSUPPORTED),
	ROW(RF_WIRE_RUNG, lanes_that_failed, RF_ERR_UNSUPPORTED),
	ROW(RF_WIRE_RUNG, lanes_up_twice, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_KEY_REQ, key_of_no_region, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_KEY_REQ, key_of_no_chunk, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_KEY_REQ, key_twice, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_KEY_REQ, key_that_opens_nothing, RF_ERR_REMOTE_ACCESS),
	ROW(RF_WIRE_ROUND_END, ack_of_round_zero, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_ROUND_END, ack_of_round_two, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_ROUND_END, ack_too_short, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_ROUND_END, ack_twice, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_DIGEST_END, neither_equal_nor_not, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_DIGEST_END, differs_nowhere, RF_ERR_VERIFY),
	ROW(RF_WIRE_STATE, loaded_with_something, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_STATE, running_too_early, RF_ERR_PROTOCOL),
	ROW(RF_WIRE_STATE, failed, RF_ERR_PEER_FAILED),
	ROW(RF_WIRE_RUN, running_with_something, RF_ERR_UNKNOWN_OUTCOME),
	ROW(RF_WIRE_RUN, failed, RF_ERR_UNKNOWN_OUTCOME),
#undef ROW
};

static void wrong_answers(void **state)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct mv_log log;

		mv_log_start();
		hostile_begin(rows[i].what, 10000);
		hostile_serve(rows[i].to);
		rows[i].say();
		hostile_end(rows[i].to, rows[i].rc);
		mv_log_stop(&log);
		/* and one more for a lane that died, and for a guest that is nowhere */
		if (log.src != (rows[i].to == RF_WIRE_RUN ? 2 : 1))
			fail_msg("%s: %u lines; last: %s", rows[i].what, log.src, log.last);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
