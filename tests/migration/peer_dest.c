/* SPDX-License-Identifier: BSD-3-Clause */
/* A peer as a proper destination. */
#include "tests/migration/peer.h"

static void answer_hello(struct peer *p)
{
	struct rf_wire_hello_ack ack = {.max_lanes = RF_WIRE_MAX_LANES,
					.link_timeout = 10000,
					.nrungs = 1,
					.rungs = {"mem"}};

	rf_wire_put_hello_ack(&p->b, &ack);
	peer_put(p, RF_WIRE_HELLO_ACK);
}

void peer_offer(struct peer *p)
{
	struct rf_wire_rung_offer offer = {.token = {7}};
	struct rf_wire_status st = {0};

	assert_int_equal(rf_transport_listen(p->t, offer.addr, &offer.addr_len), RF_OK);
	rf_wire_put_rung_offer(&p->b, &st, &offer);
	peer_put(p, RF_WIRE_RUNG_OFFER);
}

void peer_take_lanes(struct peer *p, const struct peer_plan *plan, int err)
{
	const uint8_t token[RF_TOKEN_SIZE] = {7};
	struct rf_wire_status st = {.err = err, .text = "as you like it"};

	for (; p->nlanes < plan->lanes; p->nlanes++)
		assert_int_equal(rf_transport_accept(p->t, token, PEER_PATIENCE, -1,
						     &p->lanes[p->nlanes]),
				 RF_OK);
	rf_wire_put_status(&p->b, &st);
	peer_put(p, RF_WIRE_LANES_UP);
}

void peer_key(struct peer *p, const struct peer_plan *plan, uint32_t region, uint32_t chunk)
{
	struct rf_wire_key k = {.region = region, .chunk = chunk};

	if (!p->memory) {
		p->memory = aligned_alloc(RF_PAGE_SIZE, plan->regions * plan->len);
		assert_non_null(p->memory);
		assert_int_equal(rf_mr_register(p->t, p->memory, plan->regions * plan->len,
						RF_ACCESS_REMOTE_WRITE, &p->mr),
				 RF_OK);
		rf_mr_key(p->mr, &p->key);
	}
	k.base = p->key.base + region * plan->len + chunk * MIB;
	memcpy(k.key, p->key.key, sizeof(k.key));
	rf_wire_put_key(&p->b, &k);
	peer_put(p, RF_WIRE_KEY);
}

static void answer_keys(struct peer *p, const struct peer_plan *plan)
{
	struct rf_wire_array a;

	assert_int_equal(rf_wire_get_key_req(p->in, p->len, &a), RF_OK);
	for (uint32_t i = 0; i < a.count; i++) {
		struct rf_wire_chunk c;

		rf_wire_chunk_at(&a, i, &c);
		peer_key(p, plan, c.region, c.chunk);
	}
}

static void answer_round(struct peer *p)
{
	uint64_t round;
	bool last;

	assert_int_equal(rf_wire_get_round_end(p->in, p->len, &round, &last), RF_OK);
	for (unsigned i = 0; i < p->nlanes; i++) {
		struct rf_completion c[1];
		int n;

		if (rf_lane_kind(p->lanes[i]) != RF_LANE_BULK)
			continue;
		do
			n = rf_lane_poll(p->lanes[i], c, 1);
		while (n == 0 || (n == 1 && c[0].value != round));
		assert_int_equal(n, 1);
	}
	rf_wire_put_u64(&p->b, round);
	peer_put(p, RF_WIRE_ROUND_ACK);
}

static void answer_state(struct peer *p)
{
	struct rf_wire_state s;

	assert_int_equal(rf_wire_get_state(p->in, p->len, &s), RF_OK);
	if (s.offset + s.len == s.total)
		peer_send(p, RF_WIRE_STATE_LOADED, NULL, 0);
}

void peer_answer(struct peer *p, const struct peer_plan *plan)
{
	struct rf_wire_digest_result equal = {.equal = true};

	switch (p->type) {
	case RF_WIRE_HELLO:
		return answer_hello(p);
	case RF_WIRE_REGIONS:
		return peer_send(p, RF_WIRE_REGIONS_ACK, NULL, 0);
	case RF_WIRE_RUNG:
		peer_offer(p);
		return peer_take_lanes(p, plan, RF_OK);
	case RF_WIRE_KEY_REQ:
		return answer_keys(p, plan);
	case RF_WIRE_ROUND_END:
		return answer_round(p);
	case RF_WIRE_DIGEST_END:
		rf_wire_put_digest_result(&p->b, &equal);
		return peer_put(p, RF_WIRE_DIGEST_RESULT);
	case RF_WIRE_STATE:
		return answer_state(p);
	case RF_WIRE_TRIAL:
		return peer_send(p, RF_WIRE_TRIAL_SEEN, NULL, 0);
	case RF_WIRE_RUN:
		return peer_send(p, RF_WIRE_RUNNING, NULL, 0);
	default:
		return; /* nothing is due */
	}
}
