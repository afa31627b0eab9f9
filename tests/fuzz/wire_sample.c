/* SPDX-License-Identifier: BSD-3-Clause */
/* One valid message of each kind: the seeds of the fuzzer, and what unit tests spoil. */
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "tests/fuzz/wire_codec.h"

#include "common/wire_postcopy.h"

/* With several entries it is that of a probe. */
static void put_hello(struct rf_wbuf *out, unsigned entries)
{
	struct rf_wire_hello m = {
		.flags = entries > 1 ? RF_HELLO_PROBE : RF_HELLO_VERIFY,
		.regions = entries > 1 ? 0 : 3,
		.chunk_size = 64u << 20,
		.bulk_lanes = 2,
		.urgent_lanes = 1,
		.link_timeout = 10000,
	};

	memset(m.session, 0xa5, sizeof(m.session));
	rf_wire_put_hello(out, &m);
}

static void put_hello_ack(struct rf_wbuf *out, unsigned entries)
{
	struct rf_wire_hello_ack m = {.max_lanes = 16, .link_timeout = 5000};

	for (; m.nrungs < entries && m.nrungs < RF_WIRE_MAX_RUNGS; m.nrungs++)
		snprintf(m.rungs[m.nrungs], RF_WIRE_RUNG_SIZE, "ofi:provider%u", m.nrungs);
	rf_wire_put_hello_ack(out, &m);
}

static void put_regions(struct rf_wbuf *out, unsigned entries)
{
	static const uint32_t page_sizes[] = {4096, 2u << 20, 1u << 30};

	rf_wire_begin_regions(out, 1);
	for (unsigned i = 0; i < entries; i++) {
		struct rf_wire_region r = {.page_size = page_sizes[i % 3]};

		r.len = (i + 1ull) * r.page_size;
		snprintf(r.id, sizeof(r.id), "pc.ram%u", i);
		if (rf_wire_add_region(out, &r))
			return;
	}
}

static void put_rung(struct rf_wbuf *out)
{
	const struct rf_wire_rung m = {.name = "ofi:tcp", .bulk_lanes = 2, .urgent_lanes = 1};

	rf_wire_put_rung(out, &m);
}

static void put_rung_offer(struct rf_wbuf *out)
{
	const struct rf_wire_status ok = {.err = RF_OK};
	struct rf_wire_rung_offer m = {.addr_len = 16};

	memset(m.token, 0x5a, sizeof(m.token));
	memset(m.addr, 2, m.addr_len);
	rf_wire_put_rung_offer(out, &ok, &m);
}

static void put_status(struct rf_wbuf *out)
{
	const struct rf_wire_status m = {.err = RF_ERR_MISMATCH, .text = "region pc.ram: length"};

	rf_wire_put_status(out, &m);
}

static void put_entries(uint32_t kind, unsigned entries, struct rf_wbuf *out)
{
	if (kind == RF_WIRE_ZERO || kind == RF_WIRE_LANDED)
		rf_wire_begin_zero(out, 2);
	if (kind == RF_WIRE_DIGEST)
		rf_wire_begin_digest(out, 2, 7);
	for (uint32_t i = 0; i < entries; i++) {
		const struct rf_wire_chunk c = {.region = i, .chunk = i * 3};
		const struct rf_wire_key k = {i, i * 3, 0x7f0000000000ull + i, {0xabcd, i}};
		const struct rf_wire_run r = {.first = i * 512ull, .count = i + 1};

		if (kind == RF_WIRE_KEY_REQ)
			rf_wire_put_chunk(out, &c);
		else if (kind == RF_WIRE_KEY)
			rf_wire_put_key(out, &k);
		else if (kind == RF_WIRE_ZERO || kind == RF_WIRE_LANDED)
			rf_wire_put_run(out, &r);
		else
			rf_wire_put_u64(out, 0x0123456789abcdefull * (i + 1));
	}
}

static void put_digest_result(struct rf_wbuf *out)
{
	const struct rf_wire_digest_result m = {.equal = false, .region = 2, .block = 9};

	rf_wire_put_digest_result(out, &m);
}

static void put_lane(struct rf_wbuf *out)
{
	struct rf_wire_lane m = {.kind = 1, .index = 3};

	memset(m.token, 0x5a, sizeof(m.token));
	rf_wire_put_lane(out->data, &m);
	out->len = RF_WIRE_LANE_SIZE;
}

static void put_missing(struct rf_wbuf *out, unsigned entries)
{
	/* Few runs are written as such, many as a bitmap. */
	const uint64_t words[2] = {entries > 4 ? 0x5555555555555555 : (1ull << entries) - 1, 7};

	rf_wire_put_missing(out, 1, 64, 100, words);
}

static void put_request(struct rf_wbuf *out)
{
	const struct rf_wire_request m = {.region = 1, .page = 512, .slot = 7};

	rf_wire_put_request(out->data, &m);
	out->len = RF_WIRE_REQUEST_SIZE;
}

static void put_announce(struct rf_wbuf *out)
{
	const struct rf_wire_announce m = {.region = 1, .zero = true, .first = 8, .count = 16};

	rf_wire_put_announce(out->data, &m);
	out->len = RF_WIRE_ANNOUNCE_SIZE;
}

void wire_sample(uint32_t kind, unsigned entries, struct rf_wbuf *out)
{
	switch (kind) {
	case RF_WIRE_HELLO:
		return put_hello(out, entries);
	case RF_WIRE_HELLO_ACK:
		return put_hello_ack(out, entries);
	case RF_WIRE_REGIONS:
		return put_regions(out, entries);
	case RF_WIRE_RUNG:
		return put_rung(out);
	case RF_WIRE_RUNG_OFFER:
		return put_rung_offer(out);
	case RF_WIRE_RUNG_FAIL:
	case RF_WIRE_LANES_UP:
	case RF_WIRE_ERROR:
		return put_status(out);
	case RF_WIRE_KEY_REQ:
	case RF_WIRE_KEY:
	case RF_WIRE_ZERO:
	case RF_WIRE_LANDED:
	case RF_WIRE_DIGEST:
		return put_entries(kind, entries, out);
	case RF_WIRE_ROUND_END:
		return rf_wire_put_round_end(out, 4, true);
	case RF_WIRE_ROUND_ACK:
	case RF_WIRE_PING:
	case RF_WIRE_PONG:
		return rf_wire_put_u64(out, 4);
	case RF_WIRE_TRIAL:
		return rf_wire_put_trial(out, 1);
	case RF_WIRE_DIGEST_RESULT:
		return put_digest_result(out);
	case RF_WIRE_STATE:
		return rf_wire_put_state(out, 4096, 1024, "device state bytes", entries);
	case WIRE_KIND_LANE:
		return put_lane(out);
	case WIRE_KIND_FENCE:
		rf_wire_put_fence(out->data, 12);
		out->len = RF_WIRE_FENCE_SIZE;
		return;
	case RF_WIRE_MISSING:
	case RF_WIRE_FREE:
		return put_missing(out, entries);
	case WIRE_KIND_REQUEST:
		return put_request(out);
	case WIRE_KIND_ZERO_ANSWER:
		rf_wire_put_zero_answer(out->data, 9);
		out->len = RF_WIRE_ZERO_SIZE;
		return;
	case WIRE_KIND_ANNOUNCE:
		return put_announce(out);
	default:
		return; /* no payload */
	}
}
