/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fuzz/wire_codec.h"

#include <ramferry/err.h>

#include "common/wire_postcopy.h"

typedef int (*recode_fn)(const void *p, size_t len, struct rf_wbuf *out);

static int recode_hello(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_hello m;
	int rc = rf_wire_get_hello(p, len, &m);

	if (rc == RF_OK)
		rf_wire_put_hello(out, &m);
	return rc;
}

static int recode_hello_ack(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_hello_ack m;
	int rc = rf_wire_get_hello_ack(p, len, &m);

	if (rc == RF_OK)
		rf_wire_put_hello_ack(out, &m);
	return rc;
}

static int add_region(void *arg, uint32_t index, const struct rf_wire_region *r)
{
	struct rf_wbuf *out = arg;

	if (!out->len)
		rf_wire_begin_regions(out, index);
	return rf_wire_add_region(out, r);
}

static int recode_regions(const void *p, size_t len, struct rf_wbuf *out)
{
	return rf_wire_get_regions(p, len, add_region, out);
}

static int recode_rung(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_rung m;
	int rc = rf_wire_get_rung(p, len, &m);

	if (rc == RF_OK)
		rf_wire_put_rung(out, &m);
	return rc;
}

static int recode_rung_offer(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_status st;
	struct rf_wire_rung_offer m;
	int rc = rf_wire_get_rung_offer(p, len, &st, &m);

	if (rc == RF_OK)
		rf_wire_put_rung_offer(out, &st, st.err == RF_OK ? &m : NULL);
	return rc;
}

static int recode_status(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_status m;
	int rc = rf_wire_get_status(p, len, &m);

	if (rc == RF_OK)
		rf_wire_put_status(out, &m);
	return rc;
}

static int recode_key_req(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_array m;
	int rc = rf_wire_get_key_req(p, len, &m);

	for (uint32_t i = 0; rc == RF_OK && i < m.count; i++) {
		struct rf_wire_chunk c;

		rf_wire_chunk_at(&m, i, &c);
		rf_wire_put_chunk(out, &c);
	}
	return rc;
}

static int recode_key(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_array m;
	int rc = rf_wire_get_keys(p, len, &m);

	for (uint32_t i = 0; rc == RF_OK && i < m.count; i++) {
		struct rf_wire_key k;

		rf_wire_key_at(&m, i, &k);
		rf_wire_put_key(out, &k);
	}
	return rc;
}

static int recode_zero(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_array m;
	int rc = rf_wire_get_zero(p, len, &m);

	if (rc == RF_OK)
		rf_wire_begin_zero(out, m.region);
	for (uint32_t i = 0; rc == RF_OK && i < m.count; i++) {
		struct rf_wire_run r;

		rf_wire_run_at(&m, i, &r);
		rf_wire_put_run(out, &r);
	}
	return rc;
}

static int recode_round_end(const void *p, size_t len, struct rf_wbuf *out)
{
	uint64_t round;
	bool last;
	int rc = rf_wire_get_round_end(p, len, &round, &last);

	if (rc == RF_OK)
		rf_wire_put_round_end(out, round, last);
	return rc;
}

static int recode_u64(const void *p, size_t len, struct rf_wbuf *out)
{
	uint64_t v;
	int rc = rf_wire_get_u64(p, len, &v);

	if (rc == RF_OK)
		rf_wire_put_u64(out, v);
	return rc;
}

static int recode_empty(const void *p, size_t len, struct rf_wbuf *out)
{
	return rf_wire_get_empty(p, len);
}

static int recode_trial(const void *p, size_t len, struct rf_wbuf *out)
{
	int rc = rf_wire_get_trial(p, len);

	for (size_t i = 0; rc == RF_OK && i < len; i++)
		out->data[out->len++] = ((const uint8_t *)p)[i];
	return rc;
}

static int recode_digest(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_array m;
	int rc = rf_wire_get_digest(p, len, &m);

	if (rc == RF_OK)
		rf_wire_begin_digest(out, m.region, m.first);
	for (uint32_t i = 0; rc == RF_OK && i < m.count; i++)
		rf_wire_put_u64(out, rf_wire_digest_at(&m, i));
	return rc;
}

static int recode_digest_result(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_digest_result m;
	int rc = rf_wire_get_digest_result(p, len, &m);

	if (rc == RF_OK)
		rf_wire_put_digest_result(out, &m);
	return rc;
}

static int recode_state(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_state m;
	int rc = rf_wire_get_state(p, len, &m);

	if (rc == RF_OK)
		rf_wire_put_state(out, m.total, m.offset, m.data, m.len);
	return rc;
}

static int recode_lane(const void *p, size_t len, struct rf_wbuf *out)
{
	uint8_t bytes[RF_WIRE_LANE_SIZE];
	struct rf_wire_lane m;
	int rc = rf_wire_get_lane(p, len, &m);

	if (rc == RF_OK) {
		rf_wire_put_lane(bytes, &m);
		for (size_t i = 0; i < sizeof(bytes); i++)
			out->data[out->len++] = bytes[i];
	}
	return rc;
}

static int recode_fence(const void *p, size_t len, struct rf_wbuf *out)
{
	uint64_t value;
	int rc = rf_wire_get_fence(p, len, &value);

	if (rc == RF_OK) {
		rf_wire_put_fence(out->data, value);
		out->len = RF_WIRE_FENCE_SIZE;
	}
	return rc;
}

static int recode_request(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_request m;
	int rc = rf_wire_get_request(p, len, &m);

	if (rc == RF_OK) {
		rf_wire_put_request(out->data, &m);
		out->len = RF_WIRE_REQUEST_SIZE;
	}
	return rc;
}

static int recode_zero_answer(const void *p, size_t len, struct rf_wbuf *out)
{
	uint32_t slot;
	int rc = rf_wire_get_zero_answer(p, len, &slot);

	if (rc == RF_OK) {
		rf_wire_put_zero_answer(out->data, slot);
		out->len = RF_WIRE_ZERO_SIZE;
	}
	return rc;
}

static int recode_announce(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_announce m;
	int rc = rf_wire_get_announce(p, len, &m);

	if (rc == RF_OK) {
		rf_wire_put_announce(out->data, &m);
		out->len = RF_WIRE_ANNOUNCE_SIZE;
	}
	return rc;
}

static int add_missing(void *arg, uint64_t first, uint64_t count)
{
	uint64_t *end = arg;

	if (first < *end || !count)
		return RF_ERR_PROTOCOL; /* the decoder let runs pass that are not in order */
	*end = first + count;
	return RF_OK;
}

/* Which of the two encodings is smaller is for the writer to say, so it is not written anew. */
static int recode_missing(const void *p, size_t len, struct rf_wbuf *out)
{
	struct rf_wire_missing m;
	uint64_t end = 0;
	int rc = rf_wire_get_missing(p, len, &m);

	if (rc == RF_OK && rf_wire_walk_missing(&m, add_missing, &end) == RF_OK &&
	    end <= m.first + m.count)
		for (size_t i = 0; i < len; i++)
			out->data[out->len++] = ((const uint8_t *)p)[i];
	return rc;
}

static const struct {
	const char *name; /* of what is no frame */
	recode_fn recode;
} kinds[WIRE_KIND_COUNT] = {
	[RF_WIRE_HELLO] = {NULL, recode_hello},
	[RF_WIRE_HELLO_ACK] = {NULL, recode_hello_ack},
	[RF_WIRE_REGIONS] = {NULL, recode_regions},
	[RF_WIRE_REGIONS_ACK] = {NULL, recode_empty},
	[RF_WIRE_RUNG] = {NULL, recode_rung},
	[RF_WIRE_RUNG_OFFER] = {NULL, recode_rung_offer},
	[RF_WIRE_RUNG_FAIL] = {NULL, recode_status},
	[RF_WIRE_LANES_UP] = {NULL, recode_status},
	[RF_WIRE_KEY_REQ] = {NULL, recode_key_req},
	[RF_WIRE_KEY] = {NULL, recode_key},
	[RF_WIRE_ZERO] = {NULL, recode_zero},
	[RF_WIRE_ROUND_END] = {NULL, recode_round_end},
	[RF_WIRE_ROUND_ACK] = {NULL, recode_u64},
	[RF_WIRE_DIGEST] = {NULL, recode_digest},
	[RF_WIRE_DIGEST_END] = {NULL, recode_empty},
	[RF_WIRE_DIGEST_RESULT] = {NULL, recode_digest_result},
	[RF_WIRE_STATE] = {NULL, recode_state},
	[RF_WIRE_STATE_LOADED] = {NULL, recode_empty},
	[RF_WIRE_RUN] = {NULL, recode_empty},
	[RF_WIRE_RUNNING] = {NULL, recode_empty},
	[RF_WIRE_PING] = {NULL, recode_u64},
	[RF_WIRE_PONG] = {NULL, recode_u64},
	[RF_WIRE_ERROR] = {NULL, recode_status},
	[RF_WIRE_CANCEL] = {NULL, recode_empty},
	[RF_WIRE_MISSING] = {NULL, recode_missing},
	[RF_WIRE_FREE] = {NULL, recode_missing},
	[RF_WIRE_LANDED] = {NULL, recode_zero},
	[RF_WIRE_TRIAL] = {NULL, recode_trial},
	[RF_WIRE_TRIAL_SEEN] = {NULL, recode_empty},
	[RF_WIRE_POSTCOPY] = {NULL, recode_empty},
	[RF_WIRE_POSTCOPY_DONE] = {NULL, recode_empty},
	[WIRE_KIND_LANE] = {"lane", recode_lane},
	[WIRE_KIND_FENCE] = {"fence", recode_fence},
	[WIRE_KIND_REQUEST] = {"request", recode_request},
	[WIRE_KIND_ZERO_ANSWER] = {"zero-answer", recode_zero_answer},
	[WIRE_KIND_ANNOUNCE] = {"announce", recode_announce},
};

const char *wire_kind_str(uint32_t kind)
{
	if (kind < WIRE_KIND_COUNT && kinds[kind].name)
		return kinds[kind].name;
	return rf_wire_type_str(kind);
}

int wire_recode(uint32_t kind, const void *p, size_t len, struct rf_wbuf *out)
{
	if (kind >= WIRE_KIND_COUNT || !kinds[kind].recode)
		return RF_ERR_PROTOCOL;
	return kinds[kind].recode(p, len, out);
}
