/* SPDX-License-Identifier: BSD-3-Clause */
/* A peer as a proper source. */
#include "common/digest.h"
#include "tests/migration/peer.h"

const char *peer_stage_str(enum peer_stage s)
{
	static const char *const names[PEER_STAGES] = {
		[PEER_GREETED] = "greeted",	  [PEER_HELLO] = "after hello",
		[PEER_REGIONS] = "after regions", [PEER_OFFER] = "after the offer",
		[PEER_PRECOPY] = "precopy",	  [PEER_PAUSED] = "paused",
		[PEER_COMPARED] = "compared",	  [PEER_LOADED] = "loaded",
	};

	return names[s];
}

void peer_hello(struct peer *p, const struct peer_plan *plan)
{
	struct rf_wire_hello h = {
		.flags = plan->flags,
		.regions = plan->regions,
		.chunk_size = MIB,
		.bulk_lanes = (uint16_t)plan->lanes,
		.link_timeout = 10000,
	};

	rf_wire_put_hello(&p->b, &h);
	peer_put(p, RF_WIRE_HELLO);
}

void peer_regions(struct peer *p, const struct peer_plan *plan)
{
	rf_wire_begin_regions(&p->b, 0);
	for (uint32_t i = 0; i < plan->regions; i++) {
		struct rf_wire_region r = {.len = plan->len, .page_size = RF_PAGE_SIZE};

		snprintf(r.id, sizeof(r.id), "ram%u", i);
		assert_int_equal(rf_wire_add_region(&p->b, &r), RF_OK);
	}
	peer_put(p, RF_WIRE_REGIONS);
}

void peer_rung(struct peer *p, const struct peer_plan *plan)
{
	struct rf_wire_rung r = {.name = "mem", .bulk_lanes = (uint16_t)plan->lanes};

	rf_wire_put_rung(&p->b, &r);
	peer_put(p, RF_WIRE_RUNG);
}

int peer_lane(struct peer *p, unsigned kind, unsigned index)
{
	struct rf_wire_lane id = {.kind = (uint8_t)kind, .index = (uint16_t)index};
	struct rf_wire_rung_offer offer;
	struct rf_wire_status st;
	int rc;

	assert_int_equal(rf_wire_get_rung_offer(p->in, p->len, &st, &offer), RF_OK);
	assert_int_equal(st.err, RF_OK);
	memcpy(id.token, offer.token, sizeof(id.token));
	rc = rf_transport_connect(p->t, offer.addr, offer.addr_len, &id, 2000, -1,
				  &p->lanes[p->nlanes]);
	p->nlanes += rc == RF_OK;
	return rc;
}

void peer_fence(struct peer *p, uint64_t value)
{
	for (unsigned i = 0; i < p->nlanes; i++)
		assert_int_equal(rf_lane_fence(p->lanes[i], value), RF_OK);
}

void peer_round(struct peer *p, uint64_t round, bool last)
{
	rf_wire_put_round_end(&p->b, round, last);
	peer_put(p, RF_WIRE_ROUND_END);
}

void peer_digests(struct peer *p, const struct peer_plan *plan)
{
	for (uint32_t r = 0; r < plan->regions; r++) {
		rf_wire_begin_digest(&p->b, r, 0);
		for (uint64_t at = 0; at < plan->len; at += RF_DIGEST_BLOCK)
			rf_wire_put_u64(&p->b, rf_digest_zero(plan->len - at < RF_DIGEST_BLOCK
								      ? plan->len - at
								      : RF_DIGEST_BLOCK));
		peer_put(p, RF_WIRE_DIGEST);
	}
	peer_send(p, RF_WIRE_DIGEST_END, NULL, 0);
}

void peer_state(struct peer *p, uint64_t total, uint64_t offset, uint32_t len)
{
	uint8_t *state = malloc(len ? len : 1);

	assert_non_null(state);
	for (uint64_t i = 0; i < len; i++)
		state[i] = mv_state_byte(offset + i);
	rf_wire_put_state(&p->b, total, offset, state, len);
	free(state);
	peer_put(p, RF_WIRE_STATE);
}

void peer_go(struct peer *p, const struct peer_plan *plan, enum peer_stage to)
{
	if (to >= PEER_HELLO) {
		peer_hello(p, plan);
		peer_expect(p, RF_WIRE_HELLO_ACK);
	}
	if (to >= PEER_REGIONS) {
		peer_regions(p, plan);
		peer_expect(p, RF_WIRE_REGIONS_ACK);
	}
	if (to >= PEER_OFFER) {
		peer_rung(p, plan);
		peer_expect(p, RF_WIRE_RUNG_OFFER);
	}
	if (to >= PEER_PRECOPY) {
		for (unsigned i = 0; i < plan->lanes; i++)
			assert_int_equal(peer_lane(p, RF_LANE_BULK, i), RF_OK);
		peer_expect(p, RF_WIRE_LANES_UP);
	}
	if (to >= PEER_PAUSED) {
		peer_fence(p, 1);
		peer_round(p, 1, true);
		peer_expect(p, RF_WIRE_ROUND_ACK);
	}
	if (to >= PEER_COMPARED && plan->flags & RF_HELLO_VERIFY) {
		peer_digests(p, plan);
		peer_expect(p, RF_WIRE_DIGEST_RESULT);
	}
	if (to >= PEER_LOADED) {
		peer_state(p, 1000, 0, 1000);
		peer_expect(p, RF_WIRE_STATE_LOADED);
	}
}
